//! Keys nobody knows: when a token that names one may have the key set fetched, or one that is not
//! signed with the key that it names.
//!
//! A stranger can invent names and signatures as fast as the network carries them. However many
//! there are, they share one fetch, and there is at most one in ten seconds; none while the issuer
//! asked to be left alone.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::held::Held;
use crate::core::jwk::KeyId;
use crate::telemetry::metrics::UnknownKid;

/// How long a request waits for a key nobody knows: what a fetch may take, and a little.
pub(super) const UNKNOWN_KEY: Duration = Duration::from_millis(5_500);
/// For an unknown key there is at most one fetch in this time.
const UNKNOWN_EVERY: Duration = Duration::from_secs(10);
/// How many unknown names are kept in mind. Beyond that, throttling alone guards the issuer.
const UNKNOWN_NAMES: usize = 1024;

/// What is remembered of the keys nobody knows.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// How many fetches have begun.
    begun: u64,
    /// When a fetch was last asked for, and which: the first to begin after that.
    asked: Option<(Instant, u64)>,
    /// Names that were not in a good key set, and until when that is taken as known.
    names: HashMap<KeyId, Instant>,
}

/// What to do for a key nobody knows, or that may have been replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ask {
    /// Have this fetch made and wait for it.
    Refetch(u64),
    /// Wait for this one, which somebody else asked for.
    Wait(u64),
    /// Do without a fetch.
    Refuse(UnknownKid),
}

impl Unknown {
    /// Takes note that a fetch begins.
    pub(super) fn begin(&mut self) {
        self.begun += 1;
    }

    /// Decides what to do at the time `now` for `kid`, which is not among the keys `held`, or is not
    /// the key that signed.
    pub(super) fn ask(&mut self, kid: &KeyId, held: &Held, now: Instant) -> Ask {
        if self.names.get(kid).is_some_and(|until| now < *until) {
            return Ask::Refuse(UnknownKid::NegativeCached);
        }
        if held.is_held_off(now) {
            return Ask::Refuse(UnknownKid::Throttled);
        }
        match self.asked {
            Some((then, fetch)) if held.fetches < fetch && now < then + UNKNOWN_KEY => {
                Ask::Wait(fetch)
            }
            Some((then, _)) if now < then + UNKNOWN_EVERY => Ask::Refuse(UnknownKid::Throttled),
            _ => {
                // One that is under way may have been answered before the key was published.
                let fetch = self.begun + 1;
                self.asked = Some((now, fetch));
                Ask::Refetch(fetch)
            }
        }
    }

    /// Remembers that `kid` was in no key set at the time `now`.
    pub(super) fn remember(&mut self, kid: &KeyId, now: Instant) {
        if self.names.len() >= UNKNOWN_NAMES {
            self.names.retain(|_, until| now < *until);
        }
        if self.names.len() < UNKNOWN_NAMES {
            self.names.insert(kid.clone(), now + UNKNOWN_EVERY);
        }
    }

    /// Forgets which keys were in none: a newer key set may have them.
    pub(super) fn forget(&mut self) {
        self.names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(name: &str) -> KeyId {
        KeyId::parse(name).unwrap()
    }

    /// What is held after this many fetches.
    fn held(fetches: u64) -> Held {
        Held { fetches, ..Held::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_strangers_invent_share_one_fetch_in_ten_seconds() {
        use UnknownKid::{NegativeCached, Throttled};
        let mut unknown = Unknown::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        unknown.begin(); // the first fetch, which ended
        unknown.remember(&kid("known-to-be-none"), start);
        for (millis, name, fetches, want) in [
            (0, "known-to-be-none", 1, Ask::Refuse(NegativeCached)),
            (0, "a", 1, Ask::Refetch(2)),
            (0, "b", 1, Ask::Wait(2)),
            (5_499, "c", 1, Ask::Wait(2)),
            (5_500, "c", 1, Ask::Refuse(Throttled)), // it takes longer than any may
            (100, "c", 2, Ask::Refuse(Throttled)),
            (9_999, "c", 2, Ask::Refuse(Throttled)),
            (9_999, "known-to-be-none", 2, Ask::Refuse(NegativeCached)),
            (10_000, "known-to-be-none", 2, Ask::Refetch(2)), // none of ours began meanwhile
            (10_000, "d", 1, Ask::Wait(2)),
        ] {
            let got = unknown.ask(&kid(name), &held(fetches), at(millis));
            assert_eq!(got, want, "{millis} {name} {fetches}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_asked_to_be_left_alone_is() {
        let mut unknown = Unknown::default();
        let start = Instant::now();
        let until = start + Duration::from_secs(60);
        let held = Held { held_off: Some(until), ..held(1) };
        let just_before = until - Duration::from_millis(1);
        let refused = Ask::Refuse(UnknownKid::Throttled);
        for (now, want) in [(start, refused), (just_before, refused), (until, Ask::Refetch(1))] {
            assert_eq!(unknown.ask(&kid("a"), &held, now), want, "{:?}", now - start);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_of_names_is_remembered_until_a_good_fetch() {
        let mut unknown = Unknown::default();
        let start = Instant::now();
        for number in 0..2 * UNKNOWN_NAMES {
            unknown.remember(&kid(&format!("key-{number}")), start);
        }
        assert_eq!(unknown.names.len(), UNKNOWN_NAMES);
        unknown.remember(&kid("later"), start + UNKNOWN_EVERY);
        assert_eq!(unknown.names.len(), 1, "those whose time is over make room");
        unknown.forget();
        assert!(unknown.names.is_empty());
    }
}
