//! The proof that we told the backend who is calling: an HTTP message signature (RFC 9421).

use std::fmt::{self, Write};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sfv::{Dictionary, ListEntry, Parser};

use crate::core::access::Permit;
use crate::core::form::{self, Filled, Form, Way};
use crate::core::header::CleanHead;
use crate::core::identity::{Identity, IdentityPolicy};
use crate::core::signing_key::RequestKey;
use crate::core::target::Target;
use crate::core::time::UnixTime;

/// The label of our member in `Signature` and `Signature-Input`, and its `tag`.
pub const LABEL: &str = "countersign";

/// For how many seconds a signature is good. Long enough for a slow connection, short enough that
/// a captured request is of little use.
const LIFETIME: i64 = 30;

/// More than what stands between the parts of a signature base, and than a signature in base64: a text
/// that is made with so much has all the memory it needs.
const ROOM: usize = 128;

/// More than what is told of most requests beside who is calling, with a signature.
const OF_A_REQUEST: usize = 1024;

static EMPTY: HeaderValue = HeaderValue::from_static("");

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// Where a signature stands.
const PROOF: [HeaderName; 2] = [SIGNATURE_INPUT, SIGNATURE];

/// What a request is, as the signature covers it.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// `@method`
    pub method: &'a Method,
    /// `@authority`
    pub authority: &'a str,
    /// `@path`
    pub path: &'a str,
    /// `@query`, without its question mark.
    pub query: Option<&'a str>,
}

impl<'a> RequestLine<'a> {
    /// Returns the line of a request for this target.
    pub fn of(target: &'a Target<'_>) -> Self {
        Self {
            method: target.method,
            authority: target.authority.as_str(),
            path: target.path.as_str(),
            query: target.uri.query(),
        }
    }
}

/// Which parts of a request a signature covers beside the identity headers, the method, the
/// authority and the path, which it always does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cover {
    /// `@query`. Off unless asked for: some verifiers write a query anew before they compare.
    pub query: bool,
}

/// Adds the identity headers to requests, and what proves that they are ours.
#[derive(Debug)]
pub struct Signer {
    form: Form,
    /// The header of the assertion, where there is to be one.
    assertion: Option<HeaderName>,
    requests: Option<RequestSigner>,
}

/// Signs requests (RFC 9421).
#[derive(Debug)]
struct RequestSigner {
    key: RequestKey,
    cover: Cover,
    /// The covered components as they stand in `@signature-params`: fixed by the settings.
    covered: String,
    /// The parameters that are the same for every request.
    fixed: String,
}

/// A signer in one second: what it says of its signatures is the same for all that it makes then.
#[derive(Debug)]
pub struct Stamped {
    signer: Arc<Signer>,
    created: i64,
    /// Our member of `Signature-Input`, where requests are signed.
    input: Option<HeaderValue>,
}

/// A request's headers with our identity headers and the proof that they are ours.
///
/// Made anew for each attempt to send: a signature is of the moment of sending.
pub struct SignedHead<'a> {
    form: &'a Form,
    way: &'a Way,
    identity: &'a Identity,
    asserted: Option<&'a HeaderValue>,
    /// What stands in the headers of [`PROOF`] where a signature of ours does.
    ours: Option<[HeaderValue; 2]>,
    /// And where none does.
    theirs: Option<[HeaderValue; 2]>,
    client: &'a CleanHead,
}

impl fmt::Debug for SignedHead<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SignedHead({:?})", self.client)
    }
}

impl SignedHead<'_> {
    fn filled(&self) -> Filled<'_, impl Iterator<Item = &HeaderValue>> {
        let proof = self.asserted.into_iter().chain(self.ours.iter().flatten());
        self.form.fill(self.way, self.identity, proof, self.client)
    }

    fn theirs(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        PROOF.into_iter().zip(self.theirs.iter().flatten())
    }

    /// Returns the headers, to be sent over HTTP/2.
    pub fn into_headers(self) -> HeaderMap {
        let mut headers = self.filled().into_headers();
        headers.extend(self.theirs().map(|(name, value)| (name, value.clone())));
        headers
    }

    /// Writes the headers as they are sent over HTTP/1.1, each after the end of the line before it.
    pub(super) fn write(&self, head: &mut Vec<u8>) {
        self.filled().write(head);
        for (name, value) in self.theirs() {
            form::write_line(head, &name, value);
        }
    }

    /// About how long that is: more than less.
    pub(super) fn length(&self) -> usize {
        let asserted = self.asserted.map_or(0, HeaderValue::len);
        let theirs =
            self.client.length() + self.theirs().map(|(_, value)| value.len()).sum::<usize>();
        self.form.length() + self.identity.lines.len() + asserted + theirs + OF_A_REQUEST
    }

    /// What is left of the client's headers.
    pub(super) fn client(&self) -> &CleanHead {
        self.client
    }
}

impl Signer {
    /// Creates a signer for the identity headers of `identity` and, where there is one, the header
    /// of an `assertion`. `requests` says what signs each request and what that covers; nothing:
    /// the assertion is all the proof there is.
    pub fn new(
        identity: &IdentityPolicy,
        assertion: Option<HeaderName>,
        requests: Option<(RequestKey, Cover)>,
    ) -> Self {
        let proof: &[HeaderName] = if requests.is_some() { &PROOF } else { &[] };
        let form = Form::new(identity.names(), assertion.iter().chain(proof));
        let told = identity.names().chain(&assertion);
        let requests = requests.map(|(key, cover)| RequestSigner::new(key, cover, told));
        Self { form, assertion, requests }
    }
}

impl Stamped {
    /// Has `signer` sign in the second of `now`.
    pub fn new(signer: Arc<Signer>, now: UnixTime) -> Self {
        let created = now.as_secs();
        let input = signer.requests.as_ref().map(|requests| field(requests.input(created)));
        Self { signer, created, input }
    }

    /// Tells whether this is what `signer` signs with at the time `now`.
    pub fn is_of(&self, signer: &Arc<Signer>, now: UnixTime) -> bool {
        Arc::ptr_eq(&self.signer, signer) && self.created == now.as_secs()
    }

    /// Writes the head of a request: its way, the identity headers with the proof that they are ours,
    /// and what is left of the client's.
    ///
    /// Members of `Signature` that the client sent for others stay before ours, because libraries
    /// differ in which of several they verify; a member with our label or tag goes.
    pub fn sign<'a>(
        &'a self,
        client: &'a CleanHead,
        way: &'a Way,
        permit: &'a Permit,
        line: RequestLine<'_>,
    ) -> SignedHead<'a> {
        let Signer { form, assertion, requests } = &*self.signer;
        let identity = permit.identity();
        // Nobody's is empty, and there all the same: so none can be added.
        let asserted = assertion.as_ref().map(|name| (name, permit.assertion().unwrap_or(&EMPTY)));
        let proof = self.proof(&client.0, identity, asserted, line);
        let (ours, theirs) = if requests.is_some() { (proof, None) } else { (None, proof) };
        let asserted = asserted.map(|(_, value)| value);
        SignedHead { form, way, identity, asserted, ours, theirs, client }
    }

    /// What stands in the headers of [`PROOF`]: our members, after those that the client sent for
    /// others.
    fn proof(
        &self,
        client: &HeaderMap,
        identity: &Identity,
        asserted: Option<(&HeaderName, &HeaderValue)>,
        line: RequestLine<'_>,
    ) -> Option<[HeaderValue; 2]> {
        let ours = self.signer.requests.as_ref().zip(self.input.as_ref());
        let ours = ours.map(|(requests, input)| {
            let rest = requests.rest_of_base(asserted, line, parameters(input));
            [input.clone(), field(requests.signature(identity, &rest))]
        });
        match (others(client), ours) {
            (Some(theirs), None) => Some(theirs.map(field)),
            (Some([their_input, their_signature]), Some([input, signature])) => {
                Some([after(their_input, &input), after(their_signature, &signature)])
            }
            (None, ours) => ours,
        }
    }
}

impl RequestSigner {
    fn new<'a>(key: RequestKey, cover: Cover, names: impl Iterator<Item = &'a HeaderName>) -> Self {
        let mut covered = String::from("(");
        for name in names {
            let _ = write!(covered, "\"{name}\" "); // writing to a String does not fail
        }
        covered.push_str(r#""@method" "@authority" "@path""#);
        covered.push_str(if cover.query { r#" "@query")"# } else { ")" });
        let (id, algorithm) = (escaped(key.id().as_str()), key.algorithm());
        let fixed = format!(r#"keyid="{id}";alg="{algorithm}";tag="{LABEL}""#);
        Self { key, cover, covered, fixed }
    }

    /// Our member of `Signature-Input`: the covered components and the parameters (RFC 9421 §2.3), in
    /// the order libraries expect.
    fn input(&self, created: i64) -> String {
        let Self { covered, fixed, .. } = self;
        let expires = created.saturating_add(LIFETIME);
        format!("{LABEL}={covered};created={created};expires={expires};{fixed}")
    }

    /// Our member of `Signature`.
    fn signature(&self, identity: &Identity, rest: &[u8]) -> String {
        let mut signature = String::with_capacity(ROOM);
        signature.push_str(LABEL);
        signature.push_str("=:");
        self.key.sign(identity, rest, &mut signature);
        signature.push(':');
        signature
    }

    /// The exact bytes that are signed (RFC 9421 §2.5) after the lines of the identity.
    fn rest_of_base(
        &self,
        asserted: Option<(&HeaderName, &HeaderValue)>,
        line: RequestLine<'_>,
        parameters: &[u8],
    ) -> Vec<u8> {
        let RequestLine { method, authority, path, query } = line;
        let query = query.filter(|_| self.cover.query).unwrap_or_default();
        let given = [authority, path, query].map(str::len).iter().sum::<usize>();
        let more = asserted.map_or(0, |(name, value)| name.as_str().len() + value.len());
        let mut rest = Vec::with_capacity(given + more + parameters.len() + ROOM);
        if let Some((name, value)) = asserted {
            for part in [b"\"", name.as_str().as_bytes(), b"\": ", value.as_bytes(), b"\n"] {
                rest.extend(part);
            }
        }
        for (name, value) in [
            ("\"@method\": ", method.as_str()),
            ("\n\"@authority\": ", authority),
            ("\n\"@path\": ", path),
        ] {
            rest.extend(name.as_bytes());
            rest.extend(value.as_bytes());
        }
        if self.cover.query {
            // RFC 9421 §2.2.7: with its question mark, which stands there without a query too.
            rest.extend(b"\n\"@query\": ?");
            rest.extend(query.as_bytes());
        }
        rest.extend(b"\n\"@signature-params\": ");
        rest.extend(parameters);
        rest
    }
}

/// The parameters of our member of `Signature-Input`, as they stand in the signature base.
fn parameters(input: &HeaderValue) -> &[u8] {
    &input.as_bytes()[LABEL.len() + "=".len()..]
}

fn field(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("structured fields are ASCII")
}

fn after(mut theirs: String, ours: &HeaderValue) -> HeaderValue {
    theirs.push_str(", ");
    theirs.push_str(ours.to_str().expect("what we write is ASCII"));
    field(theirs)
}

/// A text as it stands between quotes in a structured field (RFC 9651 §3.3.3).
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#)
}

/// Returns the client's own members of `Signature-Input` and `Signature`, without any of ours;
/// nothing where there are none, or where one of the two is no dictionary: then both go.
fn others(headers: &HeaderMap) -> Option<[String; 2]> {
    if !headers.contains_key(SIGNATURE_INPUT) {
        return None; // as most clients have it
    }
    let mut inputs = dictionary(headers, &SIGNATURE_INPUT)?;
    let mut signatures = dictionary(headers, &SIGNATURE)?;
    let ours =
        |name: &sfv::Key, entry: &ListEntry| name.as_str() == LABEL || tag(entry) == Some(LABEL);
    // Once through each: taken out one by one, those of one head would move the others for half a second.
    inputs.retain(|name, entry| !ours(name, entry) && signatures.contains_key(name));
    signatures.retain(|name, _| inputs.contains_key(name));
    Some([written(&inputs)?, written(&signatures)?])
}

fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Dictionary> {
    let mut text = Vec::new();
    for value in headers.get_all(name) {
        if !text.is_empty() {
            text.extend(b", ");
        }
        text.extend(value.as_bytes());
    }
    Parser::new(&text).parse::<Dictionary>().ok().filter(|members| !members.is_empty())
}

/// The `tag` of a member, a text; or a token, which verifiers that compare loosely take for one.
fn tag(entry: &ListEntry) -> Option<&str> {
    let parameters = match entry {
        ListEntry::Item(item) => &item.params,
        ListEntry::InnerList(list) => &list.params,
    };
    let tag = parameters.get("tag")?;
    let text = tag.as_string().map(sfv::StringRef::as_str);
    text.or_else(|| tag.as_token().map(sfv::TokenRef::as_str))
}

fn written(members: &Dictionary) -> Option<String> {
    use sfv::FieldType;
    members.serialize()
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
