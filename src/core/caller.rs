//! Who is calling, once that is known.

use std::fmt;

use serde_json::Value;

use crate::core::claims::{ClaimError, ClaimsPolicy, Validity};
use crate::core::clerk::session_claims::{self, SessionClaims};
use crate::core::json::Object;
use crate::core::jws::VerifiedToken;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;

/// What the tokens of a Clerk instance must say, and who may come with them.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// The rules every token is held against.
    pub claims: ClaimsPolicy,
    /// Whether somebody may act for a user.
    pub impersonation: Impersonation,
}

/// What becomes of a token that somebody else uses in a user's name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Impersonation {
    /// It passes; who really acts is among the identity headers.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
}

/// A user with a session, as a verified token says it.
pub struct Caller {
    /// `iss`.
    pub issuer: String,
    /// `sub`: `user_…`.
    pub user_id: String,
    /// `sid`: `sess_…`.
    pub session_id: String,
    /// What else Clerk says about the session.
    pub session: SessionClaims,
    /// When the token is good.
    pub validity: Validity,
    /// All claims.
    pub claims: Object,
    /// The payload in base64url.
    pub payload: Box<str>,
}

impl SessionPolicy {
    /// Says who calls with `token` at the time `now`.
    ///
    /// # Errors
    ///
    /// [`Reject::ClaimRefused`] by [`ClaimsPolicy::check`]; then [`Reject::TokenClassRefused`]
    /// where there is no `sid`: an ID token and a token from a template have none, though the
    /// same key signed them; [`Reject::SessionPending`]; [`Reject::ImpersonationRefused`].
    pub fn caller(&self, token: VerifiedToken, now: UnixTime) -> Result<Caller, Reject> {
        let VerifiedToken { claims, payload, .. } = token;
        let validity = self.claims.check(&claims, now)?;
        let session_id = text(&claims, "sid").ok_or(Reject::TokenClassRefused)?;
        let user_id = text(&claims, "sub").ok_or(ClaimError::SubjectMissing)?;
        let session = SessionClaims::read(&claims);
        if session.pending {
            return Err(Reject::SessionPending);
        }
        let refuse_actors = self.impersonation == Impersonation::Refuse;
        if refuse_actors && session_claims::is_impersonated(&claims) {
            return Err(Reject::ImpersonationRefused);
        }
        let issuer = text(&claims, "iss").ok_or(ClaimError::IssuerMismatch)?;
        Ok(Caller { issuer, user_id, session_id, session, validity, claims, payload })
    }
}

impl Caller {
    /// Tells whether the token names the party it was given to.
    pub fn names_party(&self) -> bool {
        self.claims.contains_key("azp")
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Caller({} claims)", self.claims.len())
    }
}

fn text(claims: &Object, name: &str) -> Option<String> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}
