//! The keys of one issuer as they stand at a moment, and how an answer changes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::jwk::{KeyId, VerificationKey};
use crate::core::jwk_set::KeySet;
use crate::core::time::UnixTime;

/// A key must be missing from two fetches at least this far apart before it is given up: behind a
/// load balancer, an old and a new key set may be served in turn.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(30);

/// A fetch that is due for longer than any may take was never begun.
const LATE: Duration = Duration::from_secs(15);

/// The keys held, and what is known about them.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The usable keys.
    pub set: Arc<KeySet>,
    /// Changes whenever a key came or went; what was verified under another one is looked at again.
    pub generation: u64,
    /// When a good key set last came.
    pub last_success: Option<UnixTime>,
    /// Good keys that were not in the last key set, and since when.
    pub(super) missing: Vec<(Arc<VerificationKey>, UnixTime)>,
    /// When each key was first seen.
    pub first_seen: HashMap<KeyId, UnixTime>,
    /// Fetches that ended, well or not.
    pub fetches: u64,
    /// Failures since the last good fetch.
    pub failures: u32,
    /// Why the last fetch failed.
    pub last_error: Option<String>,
    /// When the next fetch is due.
    pub next_refresh: Option<UnixTime>,
    /// Until when the last good key set is fresh.
    pub(super) fresh_until: Option<UnixTime>,
    /// Until when the issuer asked to be left alone, where it did: no request has keys fetched.
    pub(super) held_off: Option<Instant>,
}

impl Held {
    /// Returns the state after a good answer, whose keys are fresh for `lifetime`.
    #[must_use]
    pub fn renewed(&self, fetched: KeySet, lifetime: Duration, now: UnixTime) -> Self {
        let missing: Vec<_> = self
            .set
            .iter()
            .filter(|key| !fetched.succeeds(key))
            .map(|key| (Arc::clone(key), self.missing_since(key).unwrap_or(now)))
            .filter(|(_, since)| now < since.plus(GONE_AFTER))
            .collect();
        let is_missing = |key: &_| missing.iter().any(|(missing, _)| Arc::ptr_eq(missing, key));
        let set = self.set.renewed(fetched, is_missing);
        let same = set.len() == self.set.len() && set.iter().all(|key| self.set.holds(key));
        let first_seen = set
            .iter()
            .filter_map(|key| key.kid())
            .map(|kid| (kid.clone(), self.first_seen.get(kid).copied().unwrap_or(now)));
        Self {
            first_seen: first_seen.collect(),
            generation: self.generation + u64::from(!same),
            set: if same { Arc::clone(&self.set) } else { Arc::new(set) },
            last_success: Some(now),
            missing,
            fetches: self.fetches + 1,
            failures: 0,
            last_error: None,
            next_refresh: None,
            fresh_until: Some(now.plus(lifetime)),
            held_off: None,
        }
    }

    fn missing_since(&self, key: &Arc<VerificationKey>) -> Option<UnixTime> {
        let found = self.missing.iter().find(|(missing, _)| Arc::ptr_eq(missing, key));
        found.map(|(_, since)| *since)
    }

    /// Returns the state after a failure: the keys stay.
    #[must_use]
    pub fn failed(&self, error: String) -> Self {
        Self {
            fetches: self.fetches + 1,
            failures: self.failures.saturating_add(1),
            last_error: Some(error),
            held_off: None,
            ..self.clone()
        }
    }

    /// Tells whether a key is held that was not in the last key set.
    pub fn misses_any(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Tells whether the keys may be used at the time `now`: there are some, and a good key set
    /// came within `max_stale`.
    pub fn usable(&self, max_stale: Duration, now: UnixTime) -> bool {
        !self.usable_for(max_stale, now).is_zero()
    }

    /// Returns how long the keys may still be used; zero where there are none.
    pub(super) fn usable_for(&self, max_stale: Duration, now: UnixTime) -> Duration {
        match self.last_success {
            Some(then) if !self.set.is_empty() => then.plus(max_stale).since(now),
            _ => Duration::ZERO,
        }
    }

    /// Tells whether the keys are past their time at the time `now` and none newer can be had: the
    /// last fetch failed. Keys within theirs are as the issuer wants them, whatever failed.
    pub(super) fn stale(&self, now: UnixTime) -> bool {
        let past = self.fresh_until.is_some_and(|until| now >= until);
        self.failures > 0 && !self.set.is_empty() && past
    }

    /// Tells whether the next fetch should long have ended at the time `now`.
    pub(super) fn overdue(&self, now: UnixTime) -> bool {
        self.next_refresh.is_some_and(|due| now >= due.plus(LATE))
    }

    /// Tells whether the issuer is left alone at the time `now`, because it asked for it.
    pub(super) fn is_held_off(&self, now: Instant) -> bool {
        self.held_off.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json::tests::object;
    use crate::core::jwk::Algorithms;
    use crate::core::jwk_set::KeyNames;
    use serde_json::json;

    const HOUR: Duration = Duration::from_secs(3600);

    fn set(keys: &[(&str, &str)]) -> KeySet {
        let keys: Vec<_> = keys.iter().map(|(kid, x)| ec(kid, x)).collect();
        let text = json!({ "keys": keys }).to_string();
        KeySet::parse(text.as_bytes(), Algorithms::ALL, KeyNames::Required).unwrap().0
    }

    /// Two Ed25519 keys: that of RFC 8037 appendix A.2, and that of RFC 8032 §7.1, test 2.
    fn ec(kid: &str, which: &str) -> serde_json::Value {
        let x = match which {
            "one" => "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            _ => "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
        };
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
    }

    fn names(held: &Held) -> Vec<String> {
        let mut names: Vec<_> =
            held.set.iter().map(|key| key.kid().unwrap().as_str().to_owned()).collect();
        names.sort();
        names
    }

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn a_key_is_gone_after_two_fetches_without_it_30_s_apart() {
        let held = Held::default().renewed(set(&[("a", "one"), ("b", "two")]), HOUR, at(0));
        let held = held.renewed(set(&[("b", "two")]), HOUR, at(100));
        assert_eq!(names(&held), ["a", "b"], "one fetch without it may be a stale replica");
        let held = held.renewed(set(&[("b", "two")]), HOUR, at(129));
        assert_eq!(names(&held), ["a", "b"], "29 s are too close");
        let held = held.failed("down".into());
        assert_eq!(names(&held), ["a", "b"], "a failure says nothing");
        let generation = held.generation;
        let held = held.renewed(set(&[("b", "two")]), HOUR, at(130));
        assert_eq!(names(&held), ["b"]);
        assert_eq!(held.generation, generation + 1);
    }

    #[test]
    fn a_key_that_comes_back_starts_anew() {
        let held = Held::default().renewed(set(&[("a", "one"), ("b", "two")]), HOUR, at(0));
        let held = held.renewed(set(&[("b", "two")]), HOUR, at(100));
        let held = held.renewed(set(&[("a", "one"), ("b", "two")]), HOUR, at(110));
        let held = held.renewed(set(&[("b", "two")]), HOUR, at(140));
        assert_eq!(names(&held), ["a", "b"]);
        let held = held.renewed(set(&[("b", "two")]), HOUR, at(170));
        assert_eq!(names(&held), ["b"]);
    }

    #[test]
    fn the_same_keys_again_change_nothing_and_new_material_does() {
        let held = Held::default().renewed(set(&[("a", "one")]), HOUR, at(0));
        let key = Arc::clone(held.set.iter().next().unwrap());
        let again = held.renewed(set(&[("a", "one")]), HOUR, at(10));
        assert_eq!((again.generation, again.set.holds(&key)), (held.generation, true));
        let changed = again.renewed(set(&[("a", "two")]), HOUR, at(20));
        assert_eq!((changed.generation, changed.set.holds(&key)), (held.generation + 1, false));
    }

    #[test]
    fn keys_without_a_name_that_are_read_again_change_nothing() {
        let unnamed = || {
            let mut jwk = ec("a", "one");
            jwk.as_object_mut().unwrap().remove("kid");
            KeySet::unnamed(vec![
                VerificationKey::from_jwk(&object(&jwk), Algorithms::ALL).unwrap().0,
            ])
        };
        let held = Held::default().renewed(unnamed(), HOUR, at(0));
        assert_eq!(held.renewed(unnamed(), HOUR, at(600)).generation, held.generation);
    }

    /// Keys of an issuer that gives them no names.
    fn nameless(which: &[&str]) -> KeySet {
        let mut keys: Vec<_> = which.iter().map(|which| ec("a", which)).collect();
        for jwk in &mut keys {
            jwk.as_object_mut().unwrap().remove("kid");
        }
        let text = json!({ "keys": keys }).to_string();
        KeySet::parse(text.as_bytes(), Algorithms::ALL, KeyNames::Optional).unwrap().0
    }

    #[test]
    fn a_key_without_a_name_is_gone_after_two_fetches_without_it_30_s_apart() {
        let held = Held::default().renewed(nameless(&["one", "two"]), HOUR, at(0));
        let keys: Vec<_> = held.set.iter().map(Arc::clone).collect();
        let holds = |held: &Held| [held.set.holds(&keys[0]), held.set.holds(&keys[1])];

        let again = held.renewed(nameless(&["two", "one"]), HOUR, at(90));
        assert_eq!((again.generation, holds(&again)), (held.generation, [true, true]));
        assert!(!again.misses_any());
        for (secs, still) in [(100, true), (129, true)] {
            let held = again.renewed(nameless(&["two"]), HOUR, at(100));
            let held = held.renewed(nameless(&["two"]), HOUR, at(secs));
            assert_eq!((holds(&held), held.misses_any()), ([still, true], true), "{secs}");
            assert_eq!(held.set.find(None).len(), 2, "either may have signed");
        }
        let held = again.renewed(nameless(&["two"]), HOUR, at(100));
        let held = held.renewed(nameless(&["two"]), HOUR, at(130));
        assert_eq!((holds(&held), held.misses_any()), ([false, true], false));
        assert_eq!(held.generation, again.generation + 1);
    }

    #[test]
    fn keys_serve_until_they_are_stale() {
        let held = Held::default().renewed(set(&[("a", "one")]), HOUR, at(100));
        let day = Duration::from_secs(86_400);
        for (now, usable) in [(100, true), (86_499, true), (86_500, false)] {
            assert_eq!(held.usable(day, at(now)), usable, "{now}");
        }
        assert!(!Held::default().usable(day, at(0)), "no keys are never usable");
    }

    #[test]
    fn a_fetch_is_overdue_once_it_would_have_ended() {
        let due = |secs| Held { next_refresh: Some(at(secs)), ..Held::default() };
        for (held, now, overdue) in [
            (due(100), 114, false),
            (due(100), 115, true),
            (Held::default(), 1_000_000, false), // the first is under way
        ] {
            assert_eq!(held.overdue(at(now)), overdue, "{now}");
        }
    }

    #[test]
    fn keys_are_stale_past_their_time_where_the_last_fetch_failed() {
        let good = Held::default().renewed(set(&[("a", "one")]), HOUR, at(100));
        let failed = good.failed("down".into());
        let back = failed.renewed(set(&[("a", "one")]), HOUR, at(4000));
        for (what, held, now, stale) in [
            ("in time", &good, 3699, false),
            ("nobody has asked", &good, 3700, false),
            ("failed in time", &failed, 3699, false),
            ("failed and past it", &failed, 3700, true),
            ("good again", &back, 4000, false),
            ("without keys", &Held::default().failed("down".into()), 4000, false),
        ] {
            assert_eq!(held.stale(at(now)), stale, "{what}");
        }
    }
}
