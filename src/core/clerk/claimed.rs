//! What a session token says of itself, before anybody believes it: with that, and nothing else, it is
//! decided which family of cookies counts, and whether a client has signed in or out since.

use std::sync::Arc;

use crate::core::credential::BearerToken;
use crate::core::issuer::IssuerPolicy;
use crate::core::json::{Kind, Object, Value};
use crate::core::jws::UnverifiedToken;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;

/// Three claims of a token, as JavaScript reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// `iss`, where it counts as there; empty where it does and is no text.
    issuer: Option<Arc<str>>,
    /// `iat`
    issued_at: Option<f64>,
    /// `exp`
    expires: Option<f64>,
}

impl Claimed {
    /// Reads them among all claims of a token.
    pub fn of(claims: &Object) -> Self {
        let number = |name| claims.get(name).and_then(Value::as_f64);
        let issuer = claims.get("iss").filter(|iss| is_truthy(*iss));
        Self {
            issuer: issuer.map(|iss| iss.as_str().unwrap_or_default().into()),
            issued_at: number("iat"),
            expires: number("exp"),
        }
    }

    /// Takes a token apart for them; nothing where it is none.
    pub fn read(token: &str) -> Option<Self> {
        Some(Self::of(UnverifiedToken::parse(BearerToken::of(token)).ok()?.claims()))
    }

    /// Tells whether it names an issuer.
    pub(super) fn has_issuer(&self) -> bool {
        self.issuer.is_some()
    }

    /// Tells whether it names this host as its issuer, under any scheme.
    pub(super) fn is_of(&self, host: &str) -> bool {
        let is_host = |iss: &str| {
            let lower = iss.to_ascii_lowercase();
            let start = ["https://", "http://"].iter().find(|scheme| lower.starts_with(**scheme));
            iss[start.map_or(0, |scheme| scheme.len())..] == *host
        };
        self.issuer.as_deref().is_some_and(is_host)
    }

    /// Returns when it was issued, in seconds since 1970.
    pub(super) fn issued_at(&self) -> Option<f64> {
        self.issued_at
    }

    /// Tells whether it has expired at the time `now`, to the second.
    pub(super) fn has_expired(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|exp| exp <= now.as_secs() as f64)
    }
}

/// A session cookie as it was shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whether it may be the token of a session, by its class.
    pub is_session: bool,
    /// What it says.
    pub claimed: Claimed,
}

impl Shown {
    /// Takes a token apart that is to be one of a session of the issuer whose `policy` this is.
    ///
    /// # Errors
    ///
    /// Those of [`UnverifiedToken::parse`].
    pub fn read(token: &str, policy: &IssuerPolicy) -> Result<Self, Reject> {
        let token = UnverifiedToken::parse(BearerToken::of(token))?;
        let claimed = Claimed::of(token.claims());
        Ok(Self { is_session: policy.is_session(&token), claimed })
    }
}

/// Tells whether a value counts as there, as JavaScript has it.
fn is_truthy(value: Value<'_>) -> bool {
    match value.kind() {
        Kind::Null | Kind::Bool(false) => false,
        Kind::Text(text) => !text.is_empty(),
        Kind::Number(_) => value.as_f64() != Some(0.0),
        Kind::Bool(true) | Kind::Array(_) | Kind::Object(_) => true,
    }
}
