//! The proof that we told the backend who is calling: an HTTP message signature (RFC 9421).

use std::fmt::{self, Write};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{error::KeyRejected, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method};
use sfv::{Dictionary, ListEntry, Parser};

use crate::core::access::Permit;
use crate::core::base64url;
use crate::core::header::CleanHead;
use crate::core::identity::IdentityPolicy;
use crate::core::jwk::KeyId;
use crate::core::time::UnixTime;

/// The label of our member in `Signature` and `Signature-Input`, and its `tag`.
pub const LABEL: &str = "countersign";

/// For how many seconds a signature is good. Long enough for a slow connection, short enough that
/// a captured request is of little use.
const LIFETIME: i64 = 30;

static SIGNATURE: HeaderName = HeaderName::from_static("signature");
static SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// A key that signs requests, and the name verifiers know it by.
pub struct SigningKey {
    id: KeyId,
    kind: Kind,
}

enum Kind {
    Hmac(Box<hmac::Key>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// Creates an HMAC-SHA256 key (RFC 9421 §3.3.3) from a secret of the backend's and ours.
    ///
    /// Its name, where none is given: the first 8 hex digits of HMAC(secret, "kid"), so that it
    /// tells two secrets apart and tells nothing of either.
    #[expect(clippy::missing_panics_doc, reason = "hex digits are a key id")]
    pub fn hmac(secret: &[u8], id: Option<KeyId>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let id = id.unwrap_or_else(|| {
            let mut name = String::new();
            for byte in &hmac::sign(&key, b"kid").as_ref()[..4] {
                let _ = write!(name, "{byte:02x}"); // writing to a String does not fail
            }
            KeyId::parse(&name).expect("hex digits are visible")
        });
        Self { id, kind: Kind::Hmac(Box::new(key)) }
    }

    /// Creates an Ed25519 key (RFC 9421 §3.3.6) from PKCS #8 in DER.
    ///
    /// Its name, where none is given: its thumbprint (RFC 7638, 8037 appendix A.3).
    ///
    /// # Errors
    ///
    /// [`KeyRejected`] where `der` is no Ed25519 private key.
    pub fn ed25519(der: &[u8], id: Option<KeyId>) -> Result<Self, KeyRejected> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)?;
        let id = id.unwrap_or_else(|| thumbprint(pair.public_key().as_ref()));
        Ok(Self { id, kind: Kind::Ed25519(Box::new(pair)) })
    }

    /// Returns the name verifiers know the key by.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Returns the algorithm in the words of RFC 9421 §6.2.
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Hmac(_) => "hmac-sha256",
            Kind::Ed25519(_) => "ed25519",
        }
    }

    /// Returns the public part as a JWK; nothing for a shared secret.
    pub fn public_jwk(&self) -> Option<serde_json::Value> {
        let Kind::Ed25519(pair) = &self.kind else { return None };
        let x = base64url::encode(pair.public_key().as_ref());
        Some(serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id.as_str(), "use": "sig", "alg": "EdDSA",
        }))
    }

    fn sign(&self, base: &[u8]) -> String {
        match &self.kind {
            Kind::Hmac(key) => STANDARD.encode(hmac::sign(key, base)),
            Kind::Ed25519(pair) => STANDARD.encode(pair.sign(base)),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({}, {})", self.algorithm(), self.id)
    }
}

fn thumbprint(public: &[u8]) -> KeyId {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64url::encode(public));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.as_bytes());
    KeyId::parse(&base64url::encode(digest.as_ref())).expect("base64url is visible")
}

/// What a request is, as the signature covers it.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// `@method`
    pub method: &'a Method,
    /// `@authority`
    pub authority: &'a str,
    /// `@path`
    pub path: &'a str,
}

/// Signs what the backend is told.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
    /// The covered components as they stand in `@signature-params`: fixed by the settings.
    covered: String,
    /// The parameters that are the same for every request.
    fixed: String,
}

/// The headers of a request with our identity headers and the proof that they are ours.
///
/// Made anew for each attempt to send: a signature is of the moment of sending.
pub struct SignedHead(http::HeaderMap);

impl fmt::Debug for SignedHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SignedHead({} headers)", self.0.len())
    }
}

impl SignedHead {
    /// Returns the headers, to be sent.
    pub fn into_headers(self) -> http::HeaderMap {
        self.0
    }
}

impl Signer {
    /// Creates a signer for the identity headers of `identity`.
    pub fn new(key: SigningKey, identity: &IdentityPolicy) -> Self {
        let mut covered = String::from("(");
        for name in identity.names() {
            let _ = write!(covered, "\"{name}\" "); // writing to a String does not fail
        }
        covered.push_str(r#""@method" "@authority" "@path")"#);
        let (id, algorithm) = (escaped(key.id.as_str()), key.algorithm());
        let fixed = format!(r#"keyid="{id}";alg="{algorithm}";tag="{LABEL}""#);
        Self { key, covered, fixed }
    }

    /// Returns the key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Adds the identity headers to `head`, and a signature over them and the request line, made
    /// at the time `now`.
    ///
    /// Members of `Signature` that the client sent for others stay before ours, because libraries
    /// differ in which of several they verify; a member with our label or tag goes.
    #[expect(clippy::missing_panics_doc, reason = "structured fields are ASCII")]
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
        let parameters = self.parameters(now);
        let signature = self.key.sign(base(&identity.base, line, &parameters).as_bytes());
        let mut input = format!("{LABEL}={parameters}");
        let mut signature = format!("{LABEL}=:{signature}:");
        if let Some((their_input, their_signature)) = others(&headers) {
            input = format!("{their_input}, {input}");
            signature = format!("{their_signature}, {signature}");
        }
        let value = |text| HeaderValue::try_from(text).expect("structured fields are ASCII");
        headers.insert(&SIGNATURE_INPUT, value(input));
        headers.insert(&SIGNATURE, value(signature));
        SignedHead(headers)
    }

    /// The covered components and the parameters (RFC 9421 §2.3), in the order libraries expect.
    fn parameters(&self, now: UnixTime) -> String {
        let created = now.as_secs();
        let expires = created.saturating_add(LIFETIME);
        format!("{};created={created};expires={expires};{}", self.covered, self.fixed)
    }
}

/// A text as it stands between quotes in a structured field (RFC 9651 §3.3.3).
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#)
}

/// The exact bytes that are signed (RFC 9421 §2.5).
fn base(identity: &str, line: RequestLine<'_>, parameters: &str) -> String {
    format!(
        "{identity}\"@method\": {}\n\"@authority\": {}\n\"@path\": {}\n\"@signature-params\": {parameters}",
        line.method, line.authority, line.path,
    )
}

/// Returns the client's own members of `Signature-Input` and `Signature`, without any of ours;
/// nothing where there are none, or where one of the two is no dictionary: then both go.
fn others(headers: &http::HeaderMap) -> Option<(String, String)> {
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

fn dictionary(headers: &http::HeaderMap, name: &HeaderName) -> Option<Dictionary> {
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
