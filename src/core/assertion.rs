//! The assertion: who is calling, as a JWT of ours that any JWT library verifies.
//!
//! Unlike the signature over a request it is not bound to one, so it is made once per token and
//! kept. What binds it is a short life and one audience.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jsonwebtoken::Header;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::core::caller::Caller;
use crate::core::fact::Fact;
use crate::core::header_name::lasting;
use crate::core::identity::{Field, Source};
use crate::core::jwk::KeyId;
use crate::core::signing_key::SigningKey;
use crate::core::time::UnixTime;

/// `iss` of every assertion. No issuer of clients' tokens is called so: what we say of a caller
/// never lets anybody in (SIG-02).
pub const ISSUER: &str = "countersign";

/// How long an assertion is good at most.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// With less than this left, it is made again: it has a way to go and a queue to wait in.
const ENOUGH: Duration = Duration::from_secs(10);

/// The claims every assertion has, which no other claim may be called.
pub const REGISTERED: [&str; 7] = ["iss", "aud", "sub", "iat", "nbf", "exp", "jti"];

/// What an assertion says, and for whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AssertionPolicy {
    /// The header it stands in.
    pub header: HeaderName,
    /// `aud`: the backend, as one text.
    pub audience: String,
    /// Its claims beside those that every assertion has. Of one name the last counts.
    pub claims: Vec<(String, Source)>,
}

/// One assertion, ready to be sent.
pub struct Assertion {
    /// The JWT.
    pub(super) value: HeaderValue,
    key: KeyId,
    issued_at: UnixTime,
    expires: UnixTime,
    /// When the token it is made of ends: nothing of it is good beyond that.
    token_ends: UnixTime,
}

/// Returns the header of an assertion beside identity headers with this prefix; nothing where that begins
/// no header's name.
pub fn header_after(prefix: &str) -> Option<HeaderName> {
    HeaderName::try_from(format!("{prefix}assertion")).ok().as_ref().map(lasting)
}

impl AssertionPolicy {
    /// Returns what is asserted of `caller`, but for the dates: the inside of a JSON object.
    ///
    /// What the caller has not is left out.
    pub fn of(&self, caller: &Caller) -> Box<str> {
        let mut claims = Map::new();
        for (name, source) in &self.claims {
            if let Some(value) = Fact::of(source, caller).json() {
                claims.insert(name.clone(), value);
            }
        }
        claims.insert("iss".to_owned(), ISSUER.into());
        claims.insert("aud".to_owned(), self.audience.clone().into());
        claims.insert("sub".to_owned(), caller.subject.clone().into());
        let object = Value::Object(claims).to_string();
        object[1..object.len() - 1].into()
    }

    /// Returns the claim that says what a header of ours does, by what the header is called after
    /// the prefix; nothing for what `sub` says already.
    pub fn claim_name(field: Field) -> Option<&'static str> {
        match field {
            Field::UserId | Field::Subject => None,
            Field::Principal => Some("principal"),
            Field::TokenType => Some("token_type"),
            Field::SessionId => Some("sid"),
            Field::OrgId => Some("org_id"),
            Field::OrgSlug => Some("org_slug"),
            Field::OrgRole => Some("org_role"),
            Field::OrgPermissions => Some("org_permissions"),
            Field::ActorId => Some("act"),
            Field::Issuer => Some("issuer"),
            Field::Scopes => Some("scope"),
            Field::Features => Some("features"),
            Field::Plans => Some("plans"),
            Field::FactorAge => Some("fva"),
            Field::ExpiresAt => Some("expires_at"),
            Field::Claims => Some("claims"),
        }
    }
}

/// Makes assertions with one key.
#[derive(Clone, Debug)]
pub struct AssertionSigner {
    policy: AssertionPolicy,
    key: Arc<SigningKey>,
}

impl AssertionSigner {
    /// Creates a signer with this key, of what `policy` says.
    pub fn new(policy: AssertionPolicy, key: Arc<SigningKey>) -> Self {
        Self { policy, key }
    }

    /// Returns what is asserted of `caller`.
    pub fn claims_of(&self, caller: &Caller) -> Box<str> {
        self.policy.of(caller)
    }

    /// Asserts `claims`, which [`AssertionPolicy::of`] gave, from the time `now` until the token
    /// they are from ends, and for [`LIFETIME`] at most.
    ///
    /// # Panics
    ///
    /// Never: a key that was read signs any text, and the parts of a JWT are visible ASCII.
    pub fn make(&self, claims: &str, token_ends: UnixTime, now: UnixTime) -> Assertion {
        let expires = token_ends.min(now.plus(LIFETIME));
        let (iat, exp) = (now.as_secs(), expires.as_secs());
        let nbf = iat.saturating_sub(1);
        let object = format!(r#"{{{claims},"iat":{iat},"nbf":{nbf},"exp":{exp}}}"#);
        let object = RawValue::from_string(object).expect("JSON with three numbers more is JSON");
        let mut header = Header::new(self.key.jwt_algorithm());
        header.kid = Some(self.key.id().as_str().to_owned());
        let jwt = jsonwebtoken::encode(&header, &object, self.key.jwt());
        let jwt = jwt.expect("a key that was read signs any text");
        let value = HeaderValue::try_from(jwt).expect("the parts of a JWT are visible ASCII");
        Assertion { value, key: self.key.id().clone(), issued_at: now, expires, token_ends }
    }

    /// Tells whether `assertion` may be sent again at the time `now`: it is of the key that signs
    /// now, and there is enough left of it, or a new one would end no later.
    pub fn may_send(&self, assertion: &Assertion, now: UnixTime) -> bool {
        let lasts = assertion.expires >= now.plus(ENOUGH)
            || assertion.expires == assertion.token_ends && assertion.expires > now;
        // A clock that was set back would make it one of the future.
        lasts && assertion.issued_at <= now && assertion.key == *self.key.id()
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Assertion(by {}, until {})", self.key, self.expires)
    }
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
