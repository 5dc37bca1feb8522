//! Who is calling, once that is known.

use std::fmt;

use crate::core::claims::{ClaimError, Validity};
use crate::core::clerk::session_claims::{self, SessionClaims};
use crate::core::issuer::{Impersonation, IssuerPolicy, TokenClass, TokenPolicy};
use crate::core::json::{Object, Value};
use crate::core::jws::VerifiedToken;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;

/// Somebody with a good token, as the token says it.
pub struct Caller {
    /// What kind of token it is.
    pub class: TokenClass,
    /// `iss`.
    pub issuer: String,
    /// `sub`: `user_…`, or what another issuer calls its own.
    pub subject: String,
    /// `sid`: `sess_…`. Every session token has one, and no other token.
    pub session_id: Option<String>,
    /// What else Clerk says about the session; of any other token, who really acts.
    pub session: SessionClaims,
    /// When the token is good.
    pub validity: Validity,
    /// All claims.
    pub claims: Object,
    /// The payload in base64url.
    pub payload: Box<str>,
}

impl IssuerPolicy {
    /// Says who calls with `token`, which a key of this issuer signed, at the time `now`.
    ///
    /// # Errors
    ///
    /// [`Reject::ClaimRefused`] by [`ClaimsPolicy::check`](super::claims::ClaimsPolicy::check).
    /// Then, of a session token, [`Reject::TokenClassRefused`] where there is no `sid`: an ID token
    /// of Clerk's has none, though the same key signed it; [`Reject::SessionPending`]. Then, of any
    /// token of Clerk's, [`Reject::ImpersonationRefused`].
    pub fn caller(&self, token: VerifiedToken, now: UnixTime) -> Result<Caller, Reject> {
        let VerifiedToken { class, claims, payload, .. } = token;
        let policy = self.claims(class).ok_or(Reject::TokenClassRefused)?;
        let refused = |error| Reject::ClaimRefused { class, error };
        let validity = policy.check(&claims, now).map_err(refused)?;
        let subject = text(&claims, "sub").ok_or(refused(ClaimError::SubjectMissing))?;
        let issuer = text(&claims, "iss").ok_or(Reject::IssuerUnknown)?;
        let session_id = check_session(class, &claims)?;
        let session = session_of(class, &claims);
        check_active(&session)?;
        self.check_actor(&claims)?;
        Ok(Caller { class, issuer, subject, session_id, session, validity, claims, payload })
    }

    /// Checks that nobody acts for the user, where that is refused.
    ///
    /// # Errors
    ///
    /// [`Reject::ImpersonationRefused`].
    pub fn check_actor(&self, claims: &Object) -> Result<(), Reject> {
        if self.refuses_actors() && session_claims::is_impersonated(claims) {
            return Err(Reject::ImpersonationRefused);
        }
        Ok(())
    }

    fn refuses_actors(&self) -> bool {
        match &self.tokens {
            TokenPolicy::Clerk(clerk) => clerk.impersonation == Impersonation::Refuse,
            TokenPolicy::Oidc(_) => false,
        }
    }
}

/// Checks that a session token names its session, and returns it; another token has none.
///
/// # Errors
///
/// [`Reject::TokenClassRefused`] where a session token has no `sid`.
pub fn check_session(class: TokenClass, claims: &Object) -> Result<Option<String>, Reject> {
    match class {
        TokenClass::SessionToken => text(claims, "sid").map(Some).ok_or(Reject::TokenClassRefused),
        TokenClass::JwtTemplate | TokenClass::Oidc => Ok(None),
    }
}

/// Checks that the session has no task left.
///
/// # Errors
///
/// [`Reject::SessionPending`].
pub fn check_active(session: &SessionClaims) -> Result<(), Reject> {
    if session.pending { Err(Reject::SessionPending) } else { Ok(()) }
}

/// Reads what a token of this class says about a session.
pub fn session_of(class: TokenClass, claims: &Object) -> SessionClaims {
    match class {
        TokenClass::SessionToken => SessionClaims::read(claims),
        TokenClass::JwtTemplate | TokenClass::Oidc => SessionClaims::only_actor(claims),
    }
}

impl Caller {
    /// Tells whether the token names the party it was given to, where that is an origin of the
    /// application: another issuer's `azp` is something else.
    pub fn names_party(&self) -> bool {
        self.class == TokenClass::Oidc || self.claims.contains_key("azp")
    }

    /// Returns the id of the Clerk user; another issuer's subject is none.
    pub fn user_id(&self) -> Option<&str> {
        match self.class {
            TokenClass::SessionToken | TokenClass::JwtTemplate => Some(&self.subject),
            TokenClass::Oidc => None,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Caller({}, {} claims)", self.class.as_str(), self.claims.iter().count())
    }
}

fn text(claims: &Object, name: &str) -> Option<String> {
    let text = claims.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}
