//! The proof that we told the backend who is calling: an HTTP message signature (RFC 9421).

use std::borrow::Cow;
use std::fmt::{self, Write};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sfv::{Dictionary, ListEntry, Parser};

use crate::core::access::Permit;
use crate::core::header::CleanHead;
use crate::core::identity::IdentityPolicy;
use crate::core::signing_key::RequestKey;
use crate::core::time::UnixTime;

/// The label of our member in `Signature` and `Signature-Input`, and its `tag`.
pub const LABEL: &str = "countersign";

/// For how many seconds a signature is good. Long enough for a slow connection, short enough that
/// a captured request is of little use.
const LIFETIME: i64 = 30;

/// More than what stands between the parts of a signature base, of its parameters, and than a
/// signature in base64: a text that is made with so much has all the memory it needs.
const ROOM: usize = 128;

static EMPTY: HeaderValue = HeaderValue::from_static("");
static SIGNATURE: HeaderName = HeaderName::from_static("signature");
static SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

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

/// Which parts of a request a signature covers beside the identity headers, the method, the
/// authority and the path, which it always does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cover {
    /// `@query`. Off unless asked for: some verifiers write a query anew before they compare.
    pub query: bool,
}

/// Adds the identity headers to a request, and what proves that they are ours.
#[derive(Debug)]
pub struct Signer {
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

/// The headers of a request with our identity headers and the proof that they are ours.
///
/// Made anew for each attempt to send: a signature is of the moment of sending.
pub struct SignedHead(HeaderMap);

impl fmt::Debug for SignedHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SignedHead({} headers)", self.0.len())
    }
}

impl SignedHead {
    /// Returns the headers, to be sent.
    pub fn into_headers(self) -> HeaderMap {
        self.0
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
        let requests = requests.map(|(key, cover)| {
            let names = identity.names().chain(&assertion);
            RequestSigner::new(key, cover, names)
        });
        Self { assertion, requests }
    }

    /// Adds the identity headers to `head`, and the proof that they are ours, made at the time
    /// `now`.
    ///
    /// Members of `Signature` that the client sent for others stay before ours, because libraries
    /// differ in which of several they verify; a member with our label or tag goes.
    #[expect(clippy::missing_panics_doc, reason = "a JWT is visible ASCII")]
    pub fn sign(
        &self,
        head: CleanHead,
        permit: &Permit,
        line: RequestLine<'_>,
        now: UnixTime,
    ) -> SignedHead {
        let mut headers = head.0;
        let identity = permit.identity();
        for (name, value) in &identity.headers {
            headers.insert(name, value.clone());
        }
        let mut proven = Cow::Borrowed(&*identity.base);
        if let Some(name) = &self.assertion {
            // Nobody's is empty, and there all the same: so none can be added.
            let value = permit.assertion().unwrap_or(&EMPTY).clone();
            let text = value.to_str().expect("the parts of a JWT are visible ASCII");
            let _ = writeln!(proven.to_mut(), "\"{name}\": {text}"); // a String takes all
            headers.insert(name, value);
        }
        let ours = self.requests.as_ref().map(|requests| requests.member(&proven, line, now));
        set_members(&mut headers, ours);
        SignedHead(headers)
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

    /// Our member of `Signature-Input`, and of `Signature`.
    fn member(&self, identity: &str, line: RequestLine<'_>, now: UnixTime) -> (String, String) {
        let mut input = String::with_capacity(self.covered.len() + self.fixed.len() + ROOM);
        input.push_str(LABEL);
        input.push('=');
        let begin = input.len();
        self.write_parameters(now, &mut input);
        let base = self.base(identity, line, &input[begin..]);
        let mut signature = String::with_capacity(ROOM);
        signature.push_str(LABEL);
        signature.push_str("=:");
        self.key.sign(base.as_bytes(), &mut signature);
        signature.push(':');
        (input, signature)
    }

    /// The exact bytes that are signed (RFC 9421 §2.5).
    fn base(&self, identity: &str, line: RequestLine<'_>, parameters: &str) -> String {
        let RequestLine { method, authority, path, query } = line;
        let query = query.filter(|_| self.cover.query).unwrap_or_default();
        let given = [identity, authority, path, query, parameters].map(str::len);
        let mut base = String::with_capacity(given.iter().sum::<usize>() + ROOM);
        base.push_str(identity);
        for (name, value) in [
            ("\"@method\": ", method.as_str()),
            ("\n\"@authority\": ", authority),
            ("\n\"@path\": ", path),
        ] {
            base.push_str(name);
            base.push_str(value);
        }
        if self.cover.query {
            // RFC 9421 §2.2.7: with its question mark, which stands there without a query too.
            base.push_str("\n\"@query\": ?");
            base.push_str(query);
        }
        base.push_str("\n\"@signature-params\": ");
        base.push_str(parameters);
        base
    }

    /// The covered components and the parameters (RFC 9421 §2.3), in the order libraries expect.
    fn write_parameters(&self, now: UnixTime, out: &mut String) {
        let created = now.as_secs();
        out.push_str(&self.covered);
        for (name, time) in
            [(";created=", created), (";expires=", created.saturating_add(LIFETIME))]
        {
            let _ = write!(out, "{name}{time}"); // a String takes all
        }
        out.push(';');
        out.push_str(&self.fixed);
    }
}

/// A text as it stands between quotes in a structured field (RFC 9651 §3.3.3).
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#)
}

/// Puts our members after those that the client sent for others.
fn set_members(headers: &mut HeaderMap, ours: Option<(String, String)>) {
    let members = match (others(headers), ours) {
        (Some((their_input, their_signature)), Some((input, signature))) => {
            Some((format!("{their_input}, {input}"), format!("{their_signature}, {signature}")))
        }
        (theirs, ours) => ours.or(theirs),
    };
    headers.remove(&SIGNATURE_INPUT);
    headers.remove(&SIGNATURE);
    if let Some((input, signature)) = members {
        let value = |text| HeaderValue::try_from(text).expect("structured fields are ASCII");
        headers.insert(&SIGNATURE_INPUT, value(input));
        headers.insert(&SIGNATURE, value(signature));
    }
}

/// Returns the client's own members of `Signature-Input` and `Signature`, without any of ours;
/// nothing where there are none, or where one of the two is no dictionary: then both go.
fn others(headers: &HeaderMap) -> Option<(String, String)> {
    if !headers.contains_key(&SIGNATURE_INPUT) {
        return None; // as most clients have it
    }
    let mut inputs = dictionary(headers, &SIGNATURE_INPUT)?;
    let mut signatures = dictionary(headers, &SIGNATURE)?;
    let ours =
        |name: &sfv::Key, entry: &ListEntry| name.as_str() == LABEL || tag(entry) == Some(LABEL);
    let marked: Vec<sfv::Key> = inputs
        .iter()
        .filter(|(name, entry)| ours(name, entry) || !signatures.contains_key(*name))
        .map(|(name, _)| name.clone())
        .collect();
    for name in marked {
        inputs.shift_remove(&name);
        signatures.shift_remove(&name);
    }
    signatures.retain(|name, _| inputs.contains_key(name));
    Some((written(&inputs)?, written(&signatures)?))
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
