//! Takes a token apart and verifies its signature (RFC 7515, 7519).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::core::clerk::token_class::{self, Category};
use crate::core::credential::BearerToken;
use crate::core::json::{self, Object};
use crate::core::jwk::{Algorithm, Algorithms, KeyId, VerificationKey};
use crate::core::{base64url, reject::Reject};

/// A session token whose signature nobody has verified yet.
///
/// Its form is right, its class is that of a session token, and its algorithm is one the issuer
/// may use. What it claims is known, and not to be believed.
pub struct UnverifiedToken<'a> {
    signing_input: &'a str,
    signature: &'a str,
    payload: &'a str,
    algorithm: Algorithm,
    kid: Option<KeyId>,
    claims: Object,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token in compact form apart (RFC 7515 §7.1).
    ///
    /// # Errors
    ///
    /// In this order: [`Reject::TokenMalformed`] where it is not three base64url parts of which
    /// two are JSON objects, or names extensions in `crit`, of which we understand none (RFC 7515
    /// §4.1.11); [`Reject::TokenClassRefused`] where it is no session token;
    /// [`Reject::TokenMalformed`] where `typ` is not `JWT`; [`Reject::AlgorithmRefused`].
    pub fn parse(token: BearerToken<'a>, allowed: Algorithms) -> Result<Self, Reject> {
        let text = token.reveal();
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reject::TokenMalformed);
        };
        let signature = signature.trim_end_matches('=');
        if base64url::decode(signature).is_none() {
            return Err(Reject::TokenMalformed);
        }
        let (head, claims) = (object(header)?, object(payload)?);
        if head.contains_key("crit") {
            return Err(Reject::TokenMalformed);
        }
        if !Category::of(&head).may_be_session() || token_class::is_machine(&head, &claims) {
            return Err(Reject::TokenClassRefused);
        }
        if head.get("typ").is_some_and(|typ| typ.as_str() != Some("JWT")) {
            return Err(Reject::TokenMalformed);
        }
        let algorithm = head
            .get("alg")
            .and_then(Value::as_str)
            .and_then(Algorithm::parse)
            .filter(|algorithm| allowed.allow(*algorithm))
            .ok_or(Reject::AlgorithmRefused)?;
        let kid = head.get("kid").and_then(Value::as_str).and_then(|kid| KeyId::parse(kid).ok());
        let signing_input = &text[..header.len() + 1 + payload.len()];
        Ok(Self { signing_input, signature, payload, algorithm, kid, claims })
    }

    /// Returns the key the token says it was signed with; nothing where it names none, or in a
    /// way no key could be named.
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Verifies the signature with the first of `keys` that does.
    ///
    /// # Errors
    ///
    /// [`Reject::KeyMismatch`] where no key was published for the token's algorithm,
    /// [`Reject::SignatureInvalid`] where the signature is not one of theirs.
    pub fn verify(self, keys: &[Arc<VerificationKey>]) -> Result<VerifiedToken, Reject> {
        let mut fitting = keys.iter().filter(|key| key.is_for(self.algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Reject::KeyMismatch);
        }
        let message = self.signing_input.as_bytes();
        let key = fitting
            .find(|key| key.verify(self.algorithm, message, self.signature))
            .ok_or(Reject::SignatureInvalid)?;
        let payload = self.payload.trim_end_matches('=').into();
        Ok(VerifiedToken { claims: self.claims, payload, key: Arc::clone(key) })
    }
}

fn object(part: &str) -> Result<Object, Reject> {
    let text = base64url::decode(part).ok_or(Reject::TokenMalformed)?;
    json::parse_object(&text).map_err(|_| Reject::TokenMalformed)
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "UnverifiedToken({}, {:?})", self.algorithm.as_str(), self.kid)
    }
}

/// A token that a key of the issuer signed. Whether it is good now, and for us, is another matter.
pub struct VerifiedToken {
    /// What it says.
    pub claims: Object,
    /// Its payload as it came, in base64url without padding.
    pub payload: Box<str>,
    /// The key that signed it.
    pub key: Arc<VerificationKey>,
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "VerifiedToken({:?})", self.key.kid())
    }
}

#[cfg(test)]
#[path = "jws_tests.rs"]
mod tests;
