//! What each claim says, and what it would have to.

use super::steps::Scene;
use super::words::{date, one_of, shown, span};
use super::{Step, advice};
use crate::core::caller::{check_active, check_session, session_of};
use crate::core::claims::{self, AzpPolicy, ClaimError, ClaimsPolicy};
use crate::core::issuer::{IssuerPolicy, TokenClass};
use crate::core::json::{Object, Value};
use crate::core::reject::Reject;
use crate::core::time::UnixTime;

/// Looks at each claim that a rule is about, in the order of the proxy.
pub(super) fn steps(scene: &Scene<'_>) -> Vec<Step> {
    let claims = scene.token.claims();
    let known = scene.issuer.zip(scene.class);
    let policy =
        known.and_then(|(issuer, class)| issuer.claims(class).map(|it| (issuer, class, it)));
    let now = scene.question.now;
    let Some((issuer, class, policy)) = policy else { return unjudged(claims, now) };
    let looking = Looking { claims, class, policy, now };
    let mut steps = looking.registered();
    steps.extend(looking.session(issuer));
    steps.extend(looking.revoked(scene));
    steps
}

/// What a token says that no rule here is for.
fn unjudged(claims: &Object, now: UnixTime) -> Vec<Step> {
    let text = |name| Step::skipped(name, shown(claims.get(name)));
    let date = |name| Step::skipped(name, date(claims, name, now));
    vec![text("sub"), text("aud"), text("azp"), date("exp"), date("nbf"), date("iat"), text("sid")]
}

/// Claims, and the rules for their class.
struct Looking<'a> {
    claims: &'a Object,
    class: TokenClass,
    policy: &'a ClaimsPolicy,
    now: UnixTime,
}

impl Looking<'_> {
    fn registered(&self) -> Vec<Step> {
        let mut steps = vec![
            self.subject(),
            self.audience(),
            self.party(),
            self.expires(),
            self.not_before(),
            self.issued_at(),
        ];
        steps.extend(self.lifetime());
        steps
    }

    /// A step about one claim.
    fn claim<T>(
        &self,
        name: &'static str,
        told: (String, String),
        result: Result<T, ClaimError>,
        advice: impl FnOnce(&ClaimError) -> String,
    ) -> Step {
        let error = result.as_ref().err().cloned();
        let refused = |error| Reject::ClaimRefused { class: self.class, error };
        let advice = || error.as_ref().map_or_else(String::new, advice);
        Step::judged(name, told, result.map(drop).map_err(refused), advice)
    }

    fn subject(&self) -> Step {
        let told = ("whom the token is of".to_owned(), shown(self.claims.get("sub")));
        let advice = |_: &ClaimError| advice::SUBJECT.to_owned();
        self.claim("sub", told, self.policy.check_subject(self.claims), advice)
    }

    fn audience(&self) -> Step {
        let expected = match &self.policy.audience {
            Some(ours) => one_of(ours),
            None => "anything: no audience is configured".to_owned(),
        };
        let found = self.claims.get("aud");
        let advice = |_: &ClaimError| advice::audience(found, self.class, self.policy);
        let result = self.policy.check_audience(self.claims);
        self.claim("aud", (expected, shown(found)), result, advice)
    }

    fn party(&self) -> Step {
        let parties = &self.policy.parties;
        let expected = match self.policy.azp {
            AzpPolicy::Off => "anything: it is not looked at".to_owned(),
            _ if parties.is_empty() => "anything: no authorized parties are configured".to_owned(),
            AzpPolicy::Auto => format!("{}, or none", one_of(parties)),
            AzpPolicy::Enforce => one_of(parties),
        };
        let found = self.claims.get("azp");
        let advice = |_: &ClaimError| advice::party(found, parties);
        let result = self.policy.check_party(self.claims);
        self.claim("azp", (expected, shown(found)), result, advice)
    }

    fn expires(&self) -> Step {
        let told = (self.around("later than", "less"), date(self.claims, "exp", self.now));
        let advice = |error: &ClaimError| advice::date(error, self.class, self.policy.leeway);
        self.claim("exp", told, self.policy.check_expires(self.claims, self.now), advice)
    }

    fn not_before(&self) -> Step {
        let expected = self.around("none, or not later than", "and");
        let told = (expected, date(self.claims, "nbf", self.now));
        let advice = |error: &ClaimError| advice::date(error, self.class, self.policy.leeway);
        self.claim("nbf", told, self.policy.check_not_before(self.claims, self.now), advice)
    }

    fn issued_at(&self) -> Step {
        let expected = self.around("none, or not later than", "and");
        let told = (expected, date(self.claims, "iat", self.now));
        let advice = |error: &ClaimError| advice::date(error, self.class, self.policy.leeway);
        self.claim("iat", told, self.policy.check_issued_at(self.claims, self.now), advice)
    }

    /// Says what a date is held against: our clock, and the leeway.
    fn around(&self, relation: &str, sign: &str) -> String {
        let now = self.now.rfc3339();
        let leeway = self.policy.leeway;
        if leeway.is_zero() {
            return format!("{relation} now, {now:.0}");
        }
        format!("{relation} now, {now:.0}, {sign} a leeway of {}", span(leeway))
    }

    /// Looks at how long the token lives; nothing where its dates are none.
    fn lifetime(&self) -> Option<Step> {
        let expires = claims::date(self.claims, "exp").ok()??;
        let issued_at = claims::date(self.claims, "iat").ok()?;
        let expected = match self.policy.max_lifetime {
            Some(longest) => format!("at most {}", span(longest)),
            None => "any that ends before the year 10000".to_owned(),
        };
        let from = if issued_at.is_some() { "from iat" } else { "from now" };
        let lifetime = expires.since(issued_at.unwrap_or(self.now));
        let found = format!("{} {from} to exp", span(lifetime));
        let result = self.policy.check_lifetime(expires, issued_at, self.now);
        let advice = |_: &ClaimError| advice::LIFETIME.to_owned();
        Some(self.claim("lifetime", (expected, found), result, advice))
    }

    /// Looks at what Clerk alone says.
    fn session(&self, issuer: &IssuerPolicy) -> Vec<Step> {
        let found = |name| shown(self.claims.get(name));
        let mut steps = Vec::new();
        if self.class == TokenClass::SessionToken {
            let told = ("a session".to_owned(), found("sid"));
            let result = check_session(self.class, self.claims).map(drop);
            steps.push(Step::judged("sid", told, result, || advice::SESSION.to_owned()));
            let told = ("\"active\", or none".to_owned(), found("sts"));
            let result = check_active(&session_of(self.class, self.claims));
            steps.push(Step::judged("sts", told, result, || advice::PENDING.to_owned()));
        }
        let result = issuer.check_actor(self.claims);
        let expected = if result.is_ok() { "anything" } else { "none" };
        let told = (expected.to_owned(), found("act"));
        if self.claims.contains_key("act") {
            steps.push(Step::judged("act", told, result, || advice::ACTOR.to_owned()));
        }
        steps
    }

    /// Looks for user and session in the list of the revoked; nothing where nobody stands there.
    fn revoked(&self, scene: &Scene<'_>) -> Option<Step> {
        let list = scene.question.revoked;
        if list.is_empty() {
            return None;
        }
        let text = |name| self.claims.get(name).and_then(Value::as_str);
        let session_id = check_session(self.class, self.claims).ok().flatten();
        let holds = list.holds(self.class, text("sub").unwrap_or(""), session_id.as_deref());
        let result = if holds { Err(Reject::SessionRevoked) } else { Ok(()) };
        let found = if holds { "listed there" } else { "not listed there" };
        let expected = "neither user nor session in clerk.revoked_file";
        let told = (expected.to_owned(), found.to_owned());
        Some(Step::judged("revoked", told, result, || advice::REVOKED.to_owned()))
    }
}
