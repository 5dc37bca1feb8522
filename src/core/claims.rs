//! What a token must say.

use std::time::Duration;

use crate::core::json::{Kind, Object, Value};
use crate::core::time::UnixTime;

/// What the claims of one class of an issuer's tokens are held against.
#[derive(Clone, Debug)]
pub struct ClaimsPolicy {
    /// One of these must stand in `aud`; nothing: `aud` is not looked at.
    pub audience: Option<Vec<String>>,
    /// The origins a token may have been given to.
    pub parties: Vec<String>,
    /// What `azp` must say.
    pub azp: AzpPolicy,
    /// How far our clock and the issuer's may differ.
    pub leeway: Duration,
    /// The longest a token may live, from `iat` to `exp`; nothing: any time.
    pub max_lifetime: Option<Duration>,
}

impl ClaimsPolicy {
    /// 5 s, as in Clerk's libraries.
    pub const LEEWAY: Duration = Duration::from_secs(5);
    /// One day. Clerk's session tokens live a minute; one that lives for years cannot be taken back.
    pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
}

/// How `azp` is checked, where the authorized parties are known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AzpPolicy {
    /// A wrong one is refused. A missing one passes: Clerk itself mints tokens without (native
    /// apps, handshakes), and refusing them would sign real users out.
    #[default]
    Auto,
    /// A missing one is refused too, as in Clerk's library.
    Enforce,
    /// It is not looked at.
    Off,
}

/// Why claims were refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// `sub` is missing, empty or no text.
    #[error("no subject")]
    SubjectMissing,
    /// `aud` holds none of ours.
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// `azp` is not one of the authorized parties.
    #[error("the token was given to a party that is not authorized")]
    AuthorizedPartyMismatch,
    /// `exp` is missing, or one of `exp`, `nbf`, `iat` is no date.
    #[error("`{0}` is missing or no date")]
    DateMalformed(&'static str),
    /// Past `exp` and leeway.
    #[error("expired at {exp}; it is {now}")]
    Expired {
        /// When it expired.
        exp: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// Before `nbf` and leeway.
    #[error("not valid before {nbf}; it is {now}")]
    NotYetValid {
        /// From when it is good.
        nbf: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// `iat` lies in the future.
    #[error("issued in the future, at {iat}; it is {now}")]
    IssuedInFuture {
        /// When it says it was issued.
        iat: UnixTime,
        /// The time of the check.
        now: UnixTime,
    },
    /// It lives longer than `max_lifetime`.
    #[error("it lives longer than a token may")]
    LifetimeTooLong,
}

/// When a token is good. The one thing about a remembered token that changes by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// `exp`.
    pub expires: UnixTime,
    /// `nbf`, where there is one.
    pub not_before: Option<UnixTime>,
    /// `iat`, where there is one.
    pub issued_at: Option<UnixTime>,
}

impl Validity {
    /// Checks that the token is good at the time `now`.
    ///
    /// # Errors
    ///
    /// The first date broken, in the order `exp`, `nbf`, `iat`.
    pub fn check(&self, leeway: Duration, now: UnixTime) -> Result<(), ClaimError> {
        check_expires(self.expires, leeway, now)?;
        check_not_before(self.not_before, leeway, now)?;
        check_issued_at(self.issued_at, leeway, now)
    }

    /// Checks the same by `tick`, a time that may be a moment ago. A token that begins with this second is not good
    /// by that, so who would be refused is held against the present; one that has ended since is good for that moment.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check) at the present.
    pub fn check_by_tick(
        &self,
        leeway: Duration,
        tick: UnixTime,
        now: impl FnOnce() -> UnixTime,
    ) -> Result<(), ClaimError> {
        self.check(leeway, tick).or_else(|_| self.check(leeway, now()))
    }
}

fn check_expires(exp: UnixTime, leeway: Duration, now: UnixTime) -> Result<(), ClaimError> {
    if exp.plus(leeway) <= now { Err(ClaimError::Expired { exp, now }) } else { Ok(()) }
}

fn check_not_before(
    nbf: Option<UnixTime>,
    leeway: Duration,
    now: UnixTime,
) -> Result<(), ClaimError> {
    match nbf {
        Some(nbf) if nbf > now.plus(leeway) => Err(ClaimError::NotYetValid { nbf, now }),
        Some(_) | None => Ok(()),
    }
}

fn check_issued_at(
    iat: Option<UnixTime>,
    leeway: Duration,
    now: UnixTime,
) -> Result<(), ClaimError> {
    match iat {
        Some(iat) if iat > now.plus(leeway) => Err(ClaimError::IssuedInFuture { iat, now }),
        Some(_) | None => Ok(()),
    }
}

impl ClaimsPolicy {
    /// Checks what `claims` say against this policy at the time `now`.
    ///
    /// # Errors
    ///
    /// The first rule broken, in the order of Clerk's library: `sub`, `aud`, `azp`, `exp`, `nbf`,
    /// `iat`; then the lifetime. `iss` has chosen this policy, so it is right.
    pub fn check(&self, claims: &Object, now: UnixTime) -> Result<Validity, ClaimError> {
        self.check_subject(claims)?;
        self.check_audience(claims)?;
        self.check_party(claims)?;
        // A date that is none is found only where the ones before it are in order, as Clerk does.
        let expires = self.check_expires(claims, now)?;
        let not_before = self.check_not_before(claims, now)?;
        let issued_at = self.check_issued_at(claims, now)?;
        self.check_lifetime(expires, issued_at, now)?;
        Ok(Validity { expires, not_before, issued_at })
    }

    /// Checks that `sub` is a text and not empty.
    ///
    /// # Errors
    ///
    /// [`ClaimError::SubjectMissing`].
    pub fn check_subject(&self, claims: &Object) -> Result<(), ClaimError> {
        let subject = claims.get("sub").and_then(Value::as_str);
        if subject.is_none_or(str::is_empty) { Err(ClaimError::SubjectMissing) } else { Ok(()) }
    }

    /// Checks that `aud` names one of ours, where there are any.
    ///
    /// # Errors
    ///
    /// [`ClaimError::AudienceMismatch`].
    pub fn check_audience(&self, claims: &Object) -> Result<(), ClaimError> {
        let good = self.audience.as_ref().is_none_or(|ours| is_for(claims.get("aud"), ours));
        if good { Ok(()) } else { Err(ClaimError::AudienceMismatch) }
    }

    /// Checks that `azp` is one of the authorized parties, as far as that is asked.
    ///
    /// # Errors
    ///
    /// [`ClaimError::AuthorizedPartyMismatch`].
    pub fn check_party(&self, claims: &Object) -> Result<(), ClaimError> {
        let good = self.allows_party(claims.get("azp"));
        if good { Ok(()) } else { Err(ClaimError::AuthorizedPartyMismatch) }
    }

    /// Checks that `exp` is a date that is not past at the time `now`, and returns it.
    ///
    /// # Errors
    ///
    /// [`ClaimError::DateMalformed`], [`ClaimError::Expired`].
    pub fn check_expires(&self, claims: &Object, now: UnixTime) -> Result<UnixTime, ClaimError> {
        let expires = date(claims, "exp")?.ok_or(ClaimError::DateMalformed("exp"))?;
        check_expires(expires, self.leeway, now).map(|()| expires)
    }

    /// Checks that `nbf`, where there is one, is a date that is past at the time `now`, and
    /// returns it.
    ///
    /// # Errors
    ///
    /// [`ClaimError::DateMalformed`], [`ClaimError::NotYetValid`].
    pub fn check_not_before(
        &self,
        claims: &Object,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, ClaimError> {
        let not_before = date(claims, "nbf")?;
        check_not_before(not_before, self.leeway, now).map(|()| not_before)
    }

    /// Checks that `iat`, where there is one, is a date that is past at the time `now`, and
    /// returns it.
    ///
    /// # Errors
    ///
    /// [`ClaimError::DateMalformed`], [`ClaimError::IssuedInFuture`].
    pub fn check_issued_at(
        &self,
        claims: &Object,
        now: UnixTime,
    ) -> Result<Option<UnixTime>, ClaimError> {
        let issued_at = date(claims, "iat")?;
        check_issued_at(issued_at, self.leeway, now).map(|()| issued_at)
    }

    /// Checks that a token does not live too long, from when it was issued or else from `now`.
    ///
    /// # Errors
    ///
    /// [`ClaimError::LifetimeTooLong`].
    pub fn check_lifetime(
        &self,
        expires: UnixTime,
        issued_at: Option<UnixTime>,
        now: UnixTime,
    ) -> Result<(), ClaimError> {
        let lifetime = expires.since(issued_at.unwrap_or(now));
        let too_long = self.max_lifetime.is_some_and(|longest| lifetime > longest);
        if too_long || expires > YEAR_9999 { Err(ClaimError::LifetimeTooLong) } else { Ok(()) }
    }

    fn allows_party(&self, azp: Option<Value<'_>>) -> bool {
        match (self.azp, azp) {
            (AzpPolicy::Off, _) => true,
            _ if self.parties.is_empty() => true,
            (AzpPolicy::Auto, None) => true,
            (AzpPolicy::Enforce, None) => false,
            (AzpPolicy::Auto | AzpPolicy::Enforce, Some(azp)) => {
                azp.as_str().is_some_and(|azp| self.parties.iter().any(|party| party == azp))
            }
        }
    }
}

/// The last second of the year 9999; what lies beyond is a token that never ends.
const YEAR_9999: UnixTime = UnixTime::from_secs(253_402_300_799);

/// Tells whether one of `ours` stands in `aud`, a text or a list of texts (RFC 7519 §4.1.3).
///
/// Fails closed: no `aud`, an empty one, or one with anything but texts is for nobody.
fn is_for(aud: Option<Value<'_>>, ours: &[String]) -> bool {
    let among = |audience: &str| ours.iter().any(|own| own == audience);
    match aud.map(Value::kind) {
        Some(Kind::Text(audience)) => among(audience),
        Some(Kind::Array(mut audiences)) => {
            audiences.clone().all(|audience| audience.as_str().is_some())
                && audiences.any(|audience| audience.as_str().is_some_and(among))
        }
        _ => false,
    }
}

/// Reads a NumericDate (RFC 7519 §2), its fraction cut off toward zero as Clerk does.
///
/// # Errors
///
/// [`ClaimError::DateMalformed`] where the claim is there and no number that ends.
pub(super) fn date(claims: &Object, name: &'static str) -> Result<Option<UnixTime>, ClaimError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| {
        // A cast from `f64` saturates and cuts off toward zero.
        value.as_f64().map(|number| number as i64)
    });
    seconds.map(|secs| Some(UnixTime::from_secs(secs))).ok_or(ClaimError::DateMalformed(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json;
    use serde_json::json;

    fn policy() -> ClaimsPolicy {
        ClaimsPolicy {
            audience: None,
            parties: Vec::new(),
            azp: AzpPolicy::Auto,
            leeway: ClaimsPolicy::LEEWAY,
            max_lifetime: Some(ClaimsPolicy::MAX_LIFETIME),
        }
    }

    fn claims(change: serde_json::Value) -> Object {
        let mut claims = json!({
            "iss": "https://clerk.example.com", "sub": "user_1", "iat": 100, "nbf": 100, "exp": 200,
        });
        let members = claims.as_object_mut().unwrap();
        let serde_json::Value::Object(change) = change else { panic!("claims are an object") };
        for (name, value) in change {
            if value == "-" {
                members.remove(&name);
            } else {
                members.insert(name, value);
            }
        }
        json::tests::object(&claims)
    }

    fn check_at(
        policy: &ClaimsPolicy,
        change: serde_json::Value,
        now: i64,
    ) -> Result<(), ClaimError> {
        policy.check(&claims(change), UnixTime::from_secs(now)).map(drop)
    }

    #[test]
    fn a_token_is_good_from_nbf_to_exp_give_or_take_the_leeway() {
        for (now, good) in [(94, false), (95, true), (100, true), (204, true), (205, false)] {
            let answer = check_at(&policy(), json!({}), now);
            assert_eq!(answer.is_ok(), good, "now = {now}: {answer:?}");
        }
    }

    #[test]
    fn dates_are_numbers_that_end() {
        for (change, good) in [
            (json!({"exp": 200.9}), true),
            (json!({"exp": "-"}), false),
            (json!({"exp": null}), false),
            (json!({"exp": "200"}), false),
            (json!({"exp": true}), false),
            (json!({"exp": 0}), false),
            (json!({"exp": -1}), false),
            (json!({"exp": 1e20}), false),
            (json!({"exp": 9_223_372_036_854_775_807_i64}), false),
            (json!({"exp": 18_446_744_073_709_551_615_u64}), false),
            (json!({"nbf": "-"}), true),
            (json!({"nbf": null}), false),
            (json!({"nbf": 1e20}), false),
            (json!({"iat": "-"}), true),
            (json!({"iat": "100"}), false),
            (json!({"iat": -5}), true),
            (json!({"iat": 156}), false),
        ] {
            let answer = check_at(&policy(), change.clone(), 150);
            assert_eq!(answer.is_ok(), good, "{change}: {answer:?}");
        }
        let endless = json::parse_object(
            br#"{"iss":"https://clerk.example.com","sub":"u","exp":1e999999999}"#,
        );
        let answer = policy().check(&endless.unwrap(), UnixTime::from_secs(150));
        assert_eq!(answer, Err(ClaimError::DateMalformed("exp")));
    }

    #[test]
    fn a_lifetime_is_measured_from_iat_or_else_from_now() {
        let day = 86_400;
        let forever = ClaimsPolicy { max_lifetime: None, ..policy() };
        for (change, now, good, good_without_maximum) in [
            (json!({"exp": 100 + day}), 150, true, true),
            (json!({"exp": 101 + day}), 150, false, true),
            (json!({"exp": 150 + day, "iat": "-"}), 150, true, true),
            (json!({"exp": 151 + day, "iat": "-"}), 150, false, true),
            (json!({"exp": 253_402_300_799_i64}), 150, false, true),
            (json!({"exp": 253_402_300_800_i64}), 150, false, false),
        ] {
            assert_eq!(check_at(&policy(), change.clone(), now).is_ok(), good, "{change}");
            assert_eq!(
                check_at(&forever, change.clone(), now).is_ok(),
                good_without_maximum,
                "{change}"
            );
        }
    }

    #[test]
    fn an_audience_that_is_configured_is_required() {
        let policy = ClaimsPolicy { audience: Some(vec!["api".into(), "web".into()]), ..policy() };
        for (aud, good) in [
            (json!("api"), true),
            (json!(["other", "web"]), true),
            (json!("-"), false),
            (json!(""), false),
            (json!([]), false),
            (json!([""]), false),
            (json!([1]), false),
            (json!(["api", 1]), false),
            (json!({"api": true}), false),
            (json!(null), false),
            (json!("API"), false),
            (json!("api.evil"), false),
        ] {
            assert_eq!(check_at(&policy, json!({"aud": aud}), 150).is_ok(), good, "{aud}");
        }
    }

    #[test]
    fn a_party_that_is_not_authorized_is_refused_a_missing_one_only_where_asked() {
        use AzpPolicy::{Auto, Enforce, Off};
        for (azp, auto, enforce) in [
            (json!("https://app.example.com"), true, true),
            (json!("-"), true, false),
            (json!(""), false, false),
            (json!(null), false, false),
            (json!(5), false, false),
            (json!(["https://app.example.com"]), false, false),
            (json!("https://app.example.com/"), false, false),
            (json!("https://evil.app.example.com"), false, false),
        ] {
            for (how, good) in [(Auto, auto), (Enforce, enforce), (Off, true)] {
                let parties = vec!["https://app.example.com".to_owned()];
                let policy = ClaimsPolicy { parties, azp: how, ..policy() };
                assert_eq!(
                    check_at(&policy, json!({"azp": azp}), 150).is_ok(),
                    good,
                    "{how:?} {azp}"
                );
                let nobody_known = ClaimsPolicy { parties: Vec::new(), ..policy };
                assert!(check_at(&nobody_known, json!({"azp": azp}), 150).is_ok(), "{how:?} {azp}");
            }
        }
    }

    #[test]
    fn a_subject_is_needed() {
        for sub in [json!("-"), json!(""), json!(5), json!(["user_1"]), json!({})] {
            let answer = check_at(&policy(), json!({"sub": sub}), 150);
            assert_eq!(answer, Err(ClaimError::SubjectMissing), "{sub}");
        }
    }

    #[test]
    fn a_token_is_good_once_it_begins_whatever_the_tick_knows() {
        let at = UnixTime::from_millis;
        let (leeway, validity) = (
            Duration::ZERO,
            Validity { expires: at(2000), not_before: Some(at(1000)), issued_at: Some(at(1000)) },
        );
        for (tick, now, is_good) in [
            (996, 999, false),
            (996, 1000, true),
            (1000, 1003, true),
            (1996, 1999, true),
            (2000, 2003, false),
        ] {
            let checked = validity.check_by_tick(leeway, at(tick), || at(now));
            assert_eq!(checked.is_ok(), is_good, "{tick} at {now}");
        }
        let asked = || panic!("the tick has said so");
        assert_eq!(validity.check_by_tick(leeway, at(1500), asked), Ok(()));
    }
}
