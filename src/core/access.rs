//! Who may use a route.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde_json::Value;

use crate::core::assertion::Assertion;
use crate::core::clerk::has::Asked;
use crate::core::clerk::session_claims::SessionClaims;
use crate::core::identity::Identity;
use crate::core::json::Object;
use crate::core::reject::{Refusal, Reject};

/// What a route asks of the caller, and what becomes of whoever has it not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// What it asks.
    pub access: Access,
    /// What becomes of whoever is signed out.
    ///
    /// File: `route.unauthenticated`. Default: [`Unauthenticated::Auto`].
    pub unauthenticated: Unauthenticated,
    /// What becomes of a caller who is not allowed.
    ///
    /// File: `route.forbidden`. Default: [`Forbidden::Forbidden`].
    pub forbidden: Forbidden,
    /// Whether Clerk is asked, too, that the caller is still signed in.
    ///
    /// File: `route.session`. Default: [`Session::Token`].
    pub session: Session,
    /// Whether anybody is refused at all.
    ///
    /// File: `mode`, `route.mode`. Default: [`Mode::Enforce`].
    pub mode: Mode,
}

/// What a route asks of the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Nothing: no credential is looked at.
    Public,
    /// A good credential or none.
    Optional,
    /// A good credential, and that the caller has all of this.
    Required(Demands),
}

/// What is asked of a caller beside a good credential: everything, where there is anything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Demands(Vec<Demand>);

/// One thing that is asked of a caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Demand {
    /// What Clerk's `has()` tells of a session.
    Has(Asked),
    /// What a claim says.
    Claim(ClaimDemand),
}

/// What a claim must say, of any token.
///
/// It holds one of the values to the letter, or is a list with one of them among its items. So
/// `5` is not `"5"`, and neither an object nor a list within a list ever matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimDemand {
    /// Where the claim stands: a JSON pointer (RFC 6901).
    pub pointer: Arc<str>,
    /// The values. Nobody meets a demand without any.
    pub allowed: Vec<Scalar>,
}

/// A value of a claim that can be compared in one way only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Bool(bool),
}

/// What becomes of whoever is signed out where a route asks for a caller.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unauthenticated {
    /// Pages are sent to sign in, all else is challenged.
    #[default]
    Auto,
    /// 401 and a challenge.
    Challenge,
    /// A 404 that gives nothing away.
    NotFound,
}

/// What becomes of a caller who has not what a route asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Forbidden {
    /// 403.
    #[default]
    Forbidden,
    /// A 404 that gives nothing away.
    NotFound,
}

/// How a session is known to be one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Session {
    /// By its token: for a minute after it has ended, still.
    #[default]
    Token,
    /// By its token, and as Clerk says: for 5 s after it has ended at most.
    Active,
}

/// Whether requests are refused for their credential, or for what their route asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are counted, and go to the backend as from nobody: for a first look at what would be.
    Report,
}

/// What routes may ask about a caller: all that a [`Demand`] looks at.
#[derive(Clone, Default)]
pub struct Standing {
    /// What Clerk says of the session.
    pub session: SessionClaims,
    /// The claims that some route asks about and the token has, by their pointers.
    claims: Box<[(Arc<str>, Value)]>,
}

/// Where a caller's credential stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presented {
    /// In `Authorization`.
    Bearer,
    /// In a cookie.
    Cookie,
}

/// What is known of one caller: to routes, to the backend, and what proves it beyond one request.
#[derive(Clone, Debug)]
pub struct Testimony {
    /// What routes may ask about.
    pub standing: Arc<Standing>,
    /// Where the credential stood.
    pub presented: Presented,
    /// The identity headers.
    pub identity: Arc<Identity>,
    /// The same as a JWT; nothing where none is wanted, or there is nobody to assert.
    pub assertion: Option<Arc<Assertion>>,
}

/// Proof that a request may go to the backend, and as whom.
///
/// Only [`Rule::permit`] makes one, and forwarding takes one: a request that was not authorized
/// has no way to the backend.
#[derive(Clone, Debug)]
pub struct Permit {
    identity: Arc<Identity>,
    assertion: Option<Arc<Assertion>>,
    reported: Option<Reject>,
}

impl Rule {
    /// Lets a caller in, or nobody in particular where the route asks for nobody. `caller` is who
    /// shows a credential, or why that was refused.
    ///
    /// # Errors
    ///
    /// The refusal of the credential, or of [`Access::check`]; nothing in [`Mode::Report`], where
    /// whoever is refused goes on as nobody.
    pub fn permit(
        &self,
        caller: Result<Option<Testimony>, Reject>,
        anonymous: &Arc<Identity>,
    ) -> Result<Permit, Refusal> {
        let checked = caller.and_then(|caller| self.access.check(caller.as_ref()).map(|()| caller));
        match (checked, self.mode) {
            (Ok(Some(caller)), _) => Ok(Permit::of(caller)),
            (Ok(None), _) => Ok(Permit::nobody(anonymous, None)),
            (Err(reject), Mode::Report) => Ok(Permit::nobody(anonymous, Some(reject))),
            (Err(reject), Mode::Enforce) => Err(self.refusal(reject)),
        }
    }

    /// Tells whether whoever is refused like this may be sent to sign in.
    pub fn sends_to_sign_in(&self, refusal: &Refusal) -> bool {
        refusal.status() == StatusCode::UNAUTHORIZED
            && self.unauthenticated == Unauthenticated::Auto
    }

    /// Chooses what the client is to see.
    fn refusal(&self, reject: Reject) -> Refusal {
        let hidden = match reject.status() {
            StatusCode::UNAUTHORIZED => self.unauthenticated == Unauthenticated::NotFound,
            StatusCode::FORBIDDEN => self.forbidden == Forbidden::NotFound,
            _ => false,
        };
        if hidden { Refusal::hidden(reject) } else { Refusal::from(reject) }
    }
}

impl From<Access> for Rule {
    /// What a route is that says nothing but this.
    fn from(access: Access) -> Self {
        Self {
            access,
            unauthenticated: Unauthenticated::default(),
            forbidden: Forbidden::default(),
            session: Session::default(),
            mode: Mode::default(),
        }
    }
}

impl Access {
    /// Any caller with a good credential.
    pub const SIGNED_IN: Self = Self::Required(Demands(Vec::new()));

    /// Returns the word that settings have for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Optional => "optional",
            Self::Required(_) => "required",
        }
    }

    /// Tells whether a credential is looked at.
    pub fn asks_who(&self) -> bool {
        match self {
            Self::Public => false,
            Self::Optional | Self::Required(_) => true,
        }
    }

    /// Says who calls where cookies were refused: nobody, on an optional route.
    ///
    /// A browser shows whatever cookies it has, asked or not; what Clerk calls signed out is no
    /// reason to keep it from a page that is for everybody. A bearer token was shown on purpose.
    ///
    /// # Errors
    ///
    /// `reject`, where a caller is asked for, or something else than being signed out is at fault.
    pub fn without_cookie(&self, reject: Reject) -> Result<Option<Testimony>, Reject> {
        match (self, reject.status()) {
            (Self::Public | Self::Optional, StatusCode::UNAUTHORIZED) => Ok(None),
            _ => Err(reject),
        }
    }

    /// Checks that `caller` has what is asked.
    ///
    /// # Errors
    ///
    /// [`Reject::CredentialMissing`] where a caller is asked for and there is none; else what
    /// [`Demands::check`] says.
    pub fn check(&self, caller: Option<&Testimony>) -> Result<(), Reject> {
        match (self, caller) {
            (Self::Public | Self::Optional, _) => Ok(()),
            (Self::Required(_), None) => Err(Reject::CredentialMissing),
            (Self::Required(demands), Some(caller)) => {
                demands.check(&caller.standing, caller.presented)
            }
        }
    }
}

impl Demands {
    /// Creates the demands.
    pub fn new(demands: Vec<Demand>) -> Self {
        Self(demands)
    }

    /// Tells whether a good credential is enough.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Demand> {
        self.0.iter()
    }

    /// Checks that all of them are met.
    ///
    /// # Errors
    ///
    /// By the first that is not: [`Reject::ScopeInsufficient`] where a bearer token lacks a role
    /// or a permission (RFC 6750 §3.1), else [`Reject::AccessDenied`].
    /// [`Reject::ReverificationMissing`] only where nothing else is missing: whoever verifies once
    /// more on being told so should not be turned away then.
    pub fn check(&self, standing: &Standing, presented: Presented) -> Result<(), Reject> {
        let unmet = self.0.iter().filter(|demand| !demand.is_met_by(standing));
        let curable = |demand: &&Demand| matches!(demand, Demand::Has(Asked::Reverification(_)));
        match (unmet.min_by_key(curable), presented) {
            (None, _) => Ok(()),
            (Some(Demand::Has(Asked::Reverification(missing))), _) => {
                Err(Reject::ReverificationMissing(*missing))
            }
            (Some(Demand::Has(Asked::Role(_) | Asked::Permission(_))), Presented::Bearer) => {
                Err(Reject::ScopeInsufficient { needed: self.scope() })
            }
            (Some(demand), _) => Err(Reject::AccessDenied(demand.clone())),
        }
    }

    /// The roles and permissions that are asked for, as a challenge names them (RFC 6750 §3).
    fn scope(&self) -> Box<str> {
        let scopes = self.0.iter().filter_map(|demand| match demand {
            Demand::Has(Asked::Role(name) | Asked::Permission(name)) => Some(name.as_str()),
            Demand::Has(Asked::Feature(_) | Asked::Plan(_) | Asked::Reverification(_))
            | Demand::Claim(_) => None,
        });
        scopes.collect::<Vec<_>>().join(" ").into()
    }
}

impl Demand {
    fn is_met_by(&self, standing: &Standing) -> bool {
        match self {
            Self::Has(asked) => standing.session.has(std::slice::from_ref(asked)),
            Self::Claim(claim) => claim.is_met_by(standing),
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Has(asked) => asked.fmt(out),
            Self::Claim(claim) => write!(out, "an allowed value of the claim {}", claim.pointer),
        }
    }
}

impl ClaimDemand {
    fn is_met_by(&self, standing: &Standing) -> bool {
        let is_allowed = |value: &Value| self.allowed.iter().any(|allowed| allowed.is(value));
        match standing.claim(&self.pointer) {
            None => false,
            Some(Value::Array(items)) => items.iter().any(is_allowed),
            Some(value) => is_allowed(value),
        }
    }
}

impl Scalar {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Number(number) => value.as_i64() == Some(*number),
            Self::Bool(truth) => value.as_bool() == Some(*truth),
        }
    }
}

impl Standing {
    /// Keeps of a caller what routes ask about: of the claims, those at these pointers.
    pub fn new<'a>(
        session: SessionClaims,
        claims: &Object,
        asked: impl Iterator<Item = &'a Arc<str>>,
    ) -> Self {
        let claims = asked.filter_map(|pointer| {
            let value = claims.pointed(pointer)?;
            Some((Arc::clone(pointer), Value::from(value)))
        });
        Self { session, claims: claims.collect() }
    }

    /// Returns how much memory the claims take, in bytes, about.
    pub fn bytes(&self) -> usize {
        let lists = self.session.features.bytes() + self.session.plans.bytes();
        let claims = self.claims.iter().map(|(_, value)| 2 * value.to_string().len());
        lists + claims.sum::<usize>()
    }

    fn claim(&self, pointer: &str) -> Option<&Value> {
        let found = self.claims.iter().find(|(own, _)| **own == *pointer);
        found.map(|(_, value)| value)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Standing({} claims)", self.claims.len())
    }
}

impl Permit {
    fn of(caller: Testimony) -> Self {
        Self { identity: caller.identity, assertion: caller.assertion, reported: None }
    }

    fn nobody(anonymous: &Arc<Identity>, reported: Option<Reject>) -> Self {
        Self { identity: Arc::clone(anonymous), assertion: None, reported }
    }

    /// Returns what the backend is told about the caller.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the same as a JWT, where there is one.
    pub fn assertion(&self) -> Option<&HeaderValue> {
        self.assertion.as_ref().map(|assertion| &assertion.value)
    }

    /// Returns why the request would have been refused, where it is only reported.
    pub fn reported(&self) -> Option<&Reject> {
        self.reported.as_ref()
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
