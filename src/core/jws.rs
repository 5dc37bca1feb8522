//! Takes a token apart and verifies its signature (RFC 7515, 7519).

use std::fmt;
use std::sync::Arc;

use crate::core::credential::BearerToken;
use crate::core::issuer::TokenClass;
use crate::core::json::{self, Object, Value};
use crate::core::jwk::{Algorithm, Algorithms, KeyId, VerificationKey};
use crate::core::{base64url, reject::Reject};

/// A token whose signature nobody has verified yet.
///
/// Its form is right. What it claims is known, and not to be believed: `iss` chooses among the
/// issuers that are configured, and nothing else is done with it.
pub struct UnverifiedToken<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    payload: &'a str,
    header: Object,
    claims: Object,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token in compact form apart (RFC 7515 §7.1).
    ///
    /// # Errors
    ///
    /// [`Reject::TokenMalformed`] where it is not three base64url parts of which two are JSON
    /// objects, or names extensions in `crit`, of which we understand none (RFC 7515 §4.1.11).
    pub fn parse(token: BearerToken<'a>) -> Result<Self, Reject> {
        let text = token.reveal();
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reject::TokenMalformed);
        };
        let signing_input = &text[..header.len() + 1 + payload.len()];
        let signature = base64url::decode(signature).ok_or(Reject::TokenMalformed)?;
        let (header, claims) = (object(header)?, object(payload)?);
        if header.contains_key("crit") {
            return Err(Reject::TokenMalformed);
        }
        Ok(Self { signing_input, signature, payload, header, claims })
    }

    /// Returns who the token says has issued it.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Returns the key the token says it was signed with; nothing where it names none, or in a
    /// way no key could be named.
    pub fn kid(&self) -> Option<KeyId> {
        self.header.get("kid").and_then(Value::as_str).and_then(|kid| KeyId::parse(kid).ok())
    }

    /// Tells whether the token names a key in a way no key could be named.
    pub(super) fn has_odd_kid(&self) -> bool {
        self.header.contains_key("kid") && self.kid().is_none()
    }

    /// Returns the algorithm it says it was signed with, where that is one of those `allowed`.
    pub(super) fn algorithm(&self, allowed: Algorithms) -> Option<Algorithm> {
        let algorithm = self.header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        algorithm.filter(|algorithm| allowed.allow(*algorithm))
    }

    /// Returns the JOSE header (RFC 7515 §4).
    pub fn header(&self) -> &Object {
        &self.header
    }

    /// Returns what the token claims, which is not to be believed.
    pub fn claims(&self) -> &Object {
        &self.claims
    }

    /// Takes the token for one of `class`, whose issuer may use the algorithms `allowed`.
    ///
    /// # Errors
    ///
    /// [`Reject::TokenMalformed`] where `typ` is not one of the class, and then
    /// [`Reject::AlgorithmRefused`].
    pub(super) fn admitted(
        self,
        class: TokenClass,
        allowed: Algorithms,
    ) -> Result<AdmittedToken<'a>, Reject> {
        if !class.goes_with(self.header.get("typ")) {
            return Err(Reject::TokenMalformed);
        }
        let algorithm = self.algorithm(allowed).ok_or(Reject::AlgorithmRefused)?;
        Ok(AdmittedToken { token: self, class, algorithm })
    }
}

/// An unverified token of a class that its issuer's policy admits, and of an algorithm that the
/// issuer may use. Only [`IssuerPolicy::admit`](crate::core::issuer::IssuerPolicy::admit) makes one.
pub struct AdmittedToken<'a> {
    token: UnverifiedToken<'a>,
    class: TokenClass,
    algorithm: Algorithm,
}

impl AdmittedToken<'_> {
    /// Returns the key the token says it was signed with.
    pub fn kid(&self) -> Option<KeyId> {
        self.token.kid()
    }

    /// Verifies the signature with the first of `keys`, its issuer's, that does.
    ///
    /// # Errors
    ///
    /// [`Reject::KeyMismatch`] where no key was published for the token's algorithm,
    /// [`Reject::SignatureInvalid`] where the signature is not one of theirs.
    pub fn verify(self, keys: &[Arc<VerificationKey>]) -> Result<VerifiedToken, Reject> {
        let Self { token, class, algorithm } = self;
        let mut fitting = keys.iter().filter(|key| key.is_for(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Reject::KeyMismatch);
        }
        let message = token.signing_input.as_bytes();
        let key = fitting
            .find(|key| key.verify(algorithm, message, &token.signature))
            .ok_or(Reject::SignatureInvalid)?;
        let payload = token.payload.trim_end_matches('=').into();
        Ok(VerifiedToken { class, claims: token.claims, payload, key: Arc::clone(key) })
    }
}

fn object(part: &str) -> Result<Object, Reject> {
    let text = base64url::decode(part).ok_or(Reject::TokenMalformed)?;
    json::parse_object(text).map_err(|_| Reject::TokenMalformed)
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "UnverifiedToken({:?})", self.kid())
    }
}

impl fmt::Debug for AdmittedToken<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "AdmittedToken({:?}, {})", self.class, self.algorithm.as_str())
    }
}

/// A token that a key of the issuer signed. Whether it is good now, and for us, is another matter.
pub struct VerifiedToken {
    /// What kind of token it is.
    pub class: TokenClass,
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
