//! Tokens shaped like Clerk's: which key signs them, what they say, what they are asked to say.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::core::time::UnixTime;

/// The category that Clerk stamps on session tokens.
const SESSION_TOKEN: &str = "cl_B7d4PD111AAA";

/// The session that tokens are of unless they are asked to be of another.
pub(super) const SESSION: &str = "sess_2xHq8aKd3MnP5rTv7XzB9cFhJmW";

/// The user that tokens are of unless they are asked to be of another.
pub(super) const USER: &str = "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR";

/// An RSA key of 2,048 bits, and its name.
#[derive(Debug)]
pub(super) struct SigningKey {
    kid: String,
    pair: RsaKeyPair,
}

impl SigningKey {
    /// Generates a key with a name like the one Clerk gives: `ins_` and 27 letters and digits.
    ///
    /// # Errors
    ///
    /// Where the system has no random bytes to give.
    pub(super) fn generate() -> Result<Self, Unspecified> {
        let kid = format!("ins_{}", base62(random::<27>()?));
        Ok(Self { kid, pair: RsaKeyPair::generate(KeySize::Rsa2048)? })
    }

    /// Returns the `kid`.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the public half as Clerk publishes it.
    pub(super) fn jwk(&self) -> Value {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({
            "use": "sig",
            "kty": "RSA",
            "kid": self.kid,
            "alg": "RS256",
            "n": URL_SAFE_NO_PAD.encode(public.n),
            "e": URL_SAFE_NO_PAD.encode(public.e),
        })
    }

    /// Returns a token of `issuer` that is issued at `now` and says what is `wanted`.
    ///
    /// The signature is RS256 with this key, whatever `alg` and `kid` the wish puts in the header.
    pub(super) fn mint(&self, issuer: &str, now: UnixTime, wanted: Wanted) -> String {
        let header = merged(self.header(), wanted.header);
        let claims = merged(session_claims(issuer, now, wanted.ttl), wanted.claims);
        self.sign(&header.into(), &claims.into())
    }

    /// Returns a token with the header of a session's that says `claims` and nothing else.
    pub(super) fn mint_bare(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));

        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("an RSA key signs any text");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> Value {
        json!({ "alg": "RS256", "cat": SESSION_TOKEN, "kid": self.kid, "typ": "JWT" })
    }
}

/// Returns the claims of a session token, version 2, of somebody signed in to an organization.
fn session_claims(issuer: &str, now: UnixTime, ttl: i64) -> Value {
    let iat = now.as_secs();
    let jti = random::<10>().expect("the system had random bytes for the key");
    json!({
        "azp": "http://localhost:3000",
        "exp": iat.saturating_add(ttl),
        "fea": "o:dashboard,o:teams",
        "fva": [1, -1],
        "iat": iat,
        "iss": issuer,
        "jti": hex(&jti),
        "nbf": iat.saturating_sub(10),
        "o": {
            "id": "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS",
            "slg": "acme",
            "rol": "admin",
            "per": "manage,read",
            "fpm": "3,2",
        },
        "pla": "o:pro",
        "sid": SESSION,
        "sts": "active",
        "sub": USER,
        "v": 2,
    })
}

/// Puts `changes` over an object: `null` removes a member, anything else replaces it whole.
fn merged(defaults: Value, changes: Map<String, Value>) -> Map<String, Value> {
    let Value::Object(mut members) = defaults else { return changes };
    for (name, value) in changes {
        match value {
            Value::Null => members.remove(&name),
            value => members.insert(name, value),
        };
    }
    members
}

/// What a token is asked to say beyond the defaults.
#[derive(Debug)]
pub(super) struct Wanted {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    ttl: i64,
}

/// Why a token was not minted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum BadWish {
    #[error("`ttl` must be a whole number of seconds")]
    Ttl,
    #[error("the body must be a JSON object of claims")]
    NotAnObject,
    #[error("`$header` must be a JSON object")]
    Header,
}

impl Wanted {
    /// The lifetime of a token, in seconds, as Clerk has it.
    pub(super) const TTL: i64 = 60;

    /// Reads a query, whose parameters are claims of type string but for `ttl`, and a body, whose
    /// claims are JSON and come last. Either may be empty.
    ///
    /// # Errors
    ///
    /// The first part that is not as it should be.
    pub(super) fn parse(query: &str, body: &[u8]) -> Result<Self, BadWish> {
        let mut claims = Map::new();
        let mut ttl = Self::TTL;
        for (name, value) in parameters(query) {
            if name == "ttl" {
                ttl = value.parse().map_err(|_| BadWish::Ttl)?;
            } else {
                claims.insert(name, value.into());
            }
        }
        if !body.is_empty() {
            let body: Map<String, Value> =
                serde_json::from_slice(body).map_err(|_| BadWish::NotAnObject)?;
            claims.extend(body);
        }
        Ok(Self { ttl, ..Self::from_claims(claims.into())? })
    }

    /// Reads an object of claims; its member `$header` is for the header.
    ///
    /// # Errors
    ///
    /// Where `claims` or the member `$header` is no object.
    pub(super) fn from_claims(claims: Value) -> Result<Self, BadWish> {
        let Value::Object(mut claims) = claims else { return Err(BadWish::NotAnObject) };
        let header = match claims.remove("$header") {
            None => Map::new(),
            Some(Value::Object(header)) => header,
            Some(_) => return Err(BadWish::Header),
        };
        Ok(Self { header, claims, ttl: Self::TTL })
    }

    /// Sets how long the token is good, in seconds.
    pub(super) fn lasting(self, ttl: i64) -> Self {
        Self { ttl, ..self }
    }
}

/// Returns the parameters of a query: `application/x-www-form-urlencoded`.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// Decodes `+` and percent-escapes; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape =
            after.first_chunk().filter(|_| *first == b'%').and_then(|digits| byte(*digits));
        bytes.push(match first {
            b'+' => b' ',
            other => escape.unwrap_or(*other),
        });
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads two hexadecimal digits.
fn byte(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// Returns `N` random bytes.
///
/// # Errors
///
/// Where the system has none to give.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// Writes bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes each byte as one letter or digit. Some come up more often: good for a name, not a secret.
pub(super) fn base62<const N: usize>(bytes: [u8; N]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    bytes.into_iter().map(|byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        for (query, want) in [
            ("", vec![]),
            ("&&", vec![]),
            ("a", vec![("a", "")]),
            ("a=b=c&d=", vec![("a", "b=c"), ("d", "")]),
            ("a=b+c%20d", vec![("a", "b c d")]),
            ("%61=%2B%2b%25", vec![("a", "++%")]),
            ("a=%&b=%4&c=%zz%+1", vec![("a", "%"), ("b", "%4"), ("c", "%zz% 1")]),
            ("a=J%C3%BC&b=%ff", vec![("a", "Jü"), ("b", "\u{fffd}")]),
        ] {
            let read: Vec<_> = parameters(query).collect();
            let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(read, want, "{query:?}");
        }
    }

    #[test]
    fn a_wish_that_makes_no_sense_earns_a_sentence() {
        for (query, body, want) in [
            ("", "", None),
            ("ttl=-60", r#"{"$header": {}}"#, None),
            ("ttl=1h", "", Some(BadWish::Ttl)),
            ("ttl=99999999999999999999", "", Some(BadWish::Ttl)),
            ("", "[]", Some(BadWish::NotAnObject)),
            ("", "{", Some(BadWish::NotAnObject)),
            ("", r#"{"$header": "RS256"}"#, Some(BadWish::Header)),
            ("$header=RS256", "", Some(BadWish::Header)),
        ] {
            let problem = Wanted::parse(query, body.as_bytes()).err();
            assert_eq!(problem, want, "{query:?} {body:?}");
        }
    }

    #[test]
    fn claims_of_the_body_come_over_those_of_the_query_and_null_removes() {
        let wanted = Wanted::parse("sub=a&sid=b&ttl=7", br#"{"sub": "c", "azp": null}"#).unwrap();

        let claims =
            merged(session_claims("i", UnixTime::from_secs(100), wanted.ttl), wanted.claims);

        for (claim, want) in [
            ("sub", Some(json!("c"))),
            ("sid", Some(json!("b"))),
            ("azp", None),
            ("ttl", None),
            ("exp", Some(json!(107))),
            ("iat", Some(json!(100))),
            ("nbf", Some(json!(90))),
        ] {
            assert_eq!(claims.get(claim), want.as_ref(), "{claim}");
        }
    }
}
