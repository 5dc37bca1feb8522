//! What becomes of a token or of a request, step by step: for whoever asks why it was refused.
//!
//! The verdict is that of the proxy: it comes out of [`verdict`], as for a request.
//! The steps call the same rules one by one, and go on after the first that fails, so that all is
//! told at once. What a step tells are claims and settings, never the token or its signature.

mod advice;
mod answer;
mod asked;
mod browsing;
mod claims;
mod pasted;
mod request;
mod shown_url;
mod steps;
mod words;

use std::sync::Arc;

use crate::core::access::{Access, Presented, Standing, Testimony};
use crate::core::caller::Caller;
use crate::core::clerk::revoked::Revoked;
use crate::core::credential::BearerToken;
use crate::core::identity::{Field, Identity, IdentityPolicy, Source};
use crate::core::issuer::{IssuerPolicy, TokenClass};
use crate::core::json::Object;
use crate::core::jwk::KeyId;
use crate::core::jwk_set::KeySet;
use crate::core::reject::Reject;
use crate::core::route::{Route, Routes};
use crate::core::time::UnixTime;
use crate::core::verdict;

pub use self::answer::{
    Address, Answer, Ask, CookiesSeen, Deciding, Judged, Matched, RequestReport, Ruling, Stands,
};
pub use self::asked::{Asked, BadRequest, Written};
pub use self::pasted::Pasted;
pub use self::request::{RequestQuestion, explain_request};
pub use self::shown_url::Redirection;
pub use self::words::escaped;

/// What a token is held against.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The time of the question.
    pub now: UnixTime,
    /// The longest token that is looked at, in bytes.
    pub longest: usize,
    /// Whose tokens are good.
    pub issuers: &'a [IssuerPolicy],
    /// The keys of the issuer that [`wanted`] names; nothing where no key is asked for.
    pub keys: Option<&'a KeysFound>,
    /// Who is not let in any more.
    pub revoked: &'a Revoked,
    /// Which identity headers the backend gets.
    pub identity: &'a IdentityPolicy,
    /// Who may go where.
    pub routes: &'a Routes,
}

/// An issuer's keys, as they were to be had.
#[derive(Clone, Debug)]
pub struct KeysFound {
    /// The key set that has the key, or why there is none.
    pub found: Result<Arc<KeySet>, Reject>,
    /// The keys there are, whether the one is among them or not.
    pub set: Arc<KeySet>,
    /// Where they come from.
    pub source: String,
    /// When a good key set last came.
    pub fetched: Option<UnixTime>,
    /// Why the last fetch failed.
    pub problem: Option<String>,
}

/// What would become of a token.
#[derive(Debug)]
pub struct Report {
    /// As what the token is good, or why it is not: the answer of the proxy.
    pub verdict: Result<TokenClass, Reject>,
    /// Whether a key of the issuer signed the claims; otherwise they are not to be believed.
    pub verified: bool,
    /// What was taken off the text before it was looked at.
    pub notes: Vec<&'static str>,
    /// What was looked at, in the order of the proxy.
    pub steps: Vec<Step>,
    /// All claims.
    pub claims: Object,
    /// What the backend would be told; nothing where the token is refused.
    pub identity: Option<Told>,
    /// Where the token would be let in: the routes in their order, then all other paths.
    pub routes: Vec<RouteAnswer>,
}

/// One thing that is looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// What: a claim's name, a header parameter's, or a word.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What would be right; empty where nothing says so.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

/// What came of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is as it must be.
    Passed,
    /// It is not, and this is how the proxy would say it.
    Failed(Reject),
    /// Nobody can tell: what is needed for it is missing.
    Skipped,
}

/// The identity headers of one caller.
#[derive(Clone, Debug)]
pub struct Told {
    /// Names and values, in the order in which they are signed.
    pub headers: Vec<(String, String)>,
    /// How to fill those that are empty for want of a claim; empty where none is.
    pub advice: String,
}

/// What a route would answer.
#[derive(Clone, Debug)]
pub struct RouteAnswer {
    /// The route; nothing: all paths that no route matches.
    pub route: Option<Route>,
    /// What is asked of the caller.
    pub access: Access,
    /// Whether the token is let in, or why not.
    pub answer: Result<(), Reject>,
}

/// Says whose keys are needed to judge a token: the issuer's place, and the key the token names.
/// Nothing where it is refused before any key is asked for.
pub fn wanted(
    pasted: &Pasted<'_>,
    longest: usize,
    issuers: &[IssuerPolicy],
) -> Option<(usize, Option<KeyId>)> {
    let (place, token) = verdict::admit(pasted.token, longest, issuers.iter()).ok()?;
    Some((place, token.kid()))
}

/// Says what becomes of a token.
pub fn explain(pasted: &Pasted<'_>, question: &Question<'_>) -> Report {
    let caller = judge(pasted.token, question);
    let steps::Looked { steps, verified, claims } = steps::look(pasted, question);
    let testimony = caller.as_ref().map_err(Clone::clone);
    let testimony = testimony.map(|caller| testimony_of(caller, Presented::Bearer, question));
    let told = |caller: &Caller| told(caller, question.identity);
    Report {
        identity: caller.as_ref().ok().map(told),
        verdict: caller.map(|caller| caller.class),
        verified,
        notes: pasted.notes.clone(),
        steps,
        claims,
        routes: routes(&testimony, question),
    }
}

/// The way of the proxy, from the token to its caller.
fn judge(token: BearerToken<'_>, question: &Question<'_>) -> Result<Caller, Reject> {
    let caller = caller_of(token, question)?;
    check_revoked(&caller, question)?;
    Ok(caller)
}

/// Says whose token it is, and that it is good.
fn caller_of(token: BearerToken<'_>, question: &Question<'_>) -> Result<Caller, Reject> {
    let (place, token) = verdict::admit(token, question.longest, question.issuers.iter())?;
    let kid = token.kid();
    let set = question.set_with(kid.as_ref())?;
    let policy = &question.issuers[place];
    let (caller, _) = verdict::caller(token, policy, set.find(kid.as_ref()), question.now)?;
    Ok(caller)
}

fn check_revoked(caller: &Caller, question: &Question<'_>) -> Result<(), Reject> {
    let session_id = caller.session_id.as_deref();
    let holds = question.revoked.holds(caller.class, &caller.subject, session_id);
    if holds { Err(Reject::SessionRevoked) } else { Ok(()) }
}

fn testimony_of(caller: &Caller, presented: Presented, question: &Question<'_>) -> Testimony {
    let (session, asked) = (caller.session.clone(), question.routes.asked_claims());
    Testimony {
        standing: Arc::new(Standing::new(session, &caller.claims, asked)),
        presented,
        identity: Arc::new(question.identity.of(caller)),
        assertion: None,
    }
}

impl Question<'_> {
    /// Returns the key set that has the key of this name: the one that was looked for, or another
    /// that came with it.
    fn set_with(&self, kid: Option<&KeyId>) -> Result<&Arc<KeySet>, Reject> {
        let keys = self.keys.ok_or(Reject::KeysUnavailable)?;
        let set = match &keys.found {
            Ok(set) => set,
            Err(Reject::KeyUnknown { .. }) => &keys.set,
            Err(reject) => return Err(reject.clone()),
        };
        let unknown = || Reject::KeyUnknown { kid: kid.cloned() };
        if set.find(kid).is_empty() { Err(unknown()) } else { Ok(set) }
    }
}

fn told(caller: &Caller, policy: &IdentityPolicy) -> Told {
    let Identity { values, .. } = policy.of(caller);
    let headers = policy.headers().zip(&values).map(|((name, source), value)| {
        let value = match source {
            // The token's own text: whoever wants to see it has the claims.
            Source::Field(Field::Claims) => format!("(the claims, {} bytes)", value.len()),
            Source::Field(_) | Source::Claim(_) => {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            }
        };
        (name.to_string(), value)
    });
    Told { headers: headers.collect(), advice: advice::missing_claims(caller, policy) }
}

/// Asks each route, as the proxy does: on a public one no credential is looked at.
fn routes(testimony: &Result<Testimony, Reject>, question: &Question<'_>) -> Vec<RouteAnswer> {
    let answer = |access: &Access| {
        let caller = if access.asks_who() { Some(testimony.as_ref()) } else { None };
        access.check(caller.transpose().map_err(Clone::clone)?)
    };
    let of = |route: &Route| RouteAnswer {
        route: Some(route.clone()),
        access: route.rule.access.clone(),
        answer: answer(&route.rule.access),
    };
    let rest = &question.routes.otherwise().access;
    let rest = RouteAnswer { route: None, access: rest.clone(), answer: answer(rest) };
    question.routes.iter().map(of).chain([rest]).collect()
}

impl Step {
    /// A step that a rule has judged; `advice` is asked for where it failed.
    fn judged(
        name: &'static str,
        (expected, found): (String, String),
        result: Result<(), Reject>,
        advice: impl FnOnce() -> String,
    ) -> Self {
        match result {
            Ok(()) => {
                let advice = String::new();
                Self { name, outcome: Outcome::Passed, expected, found, advice }
            }
            Err(reject) => {
                let outcome = Outcome::Failed(reject);
                Self { name, outcome, expected, found, advice: advice() }
            }
        }
    }

    /// A step that no rule could judge.
    fn skipped(name: &'static str, found: String) -> Self {
        let (expected, advice) = (String::new(), String::new());
        Self { name, outcome: Outcome::Skipped, expected, found, advice }
    }
}

#[cfg(test)]
mod tests;
