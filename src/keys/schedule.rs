//! When to fetch, and what an answer changes: plain functions of what is known.

use std::time::{Duration, UNIX_EPOCH};

use crate::core::time::UnixTime;

/// The shortest time a key set is taken as fresh, whatever its `Cache-Control` says.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Where `Cache-Control` says nothing.
const USUAL: Duration = Duration::from_secs(10 * 60);

/// Between two fetches while there are no usable keys.
const NO_KEYS: Duration = Duration::from_secs(1);
/// The longest time between two fetches that fail, while there are usable keys.
const BACK_OFF: Duration = Duration::from_secs(60);
/// The longest time an issuer is left alone because it asks for it, while there are usable keys.
const HOLD_OFF: Duration = Duration::from_secs(5 * 60);
/// The same without usable keys: within two seconds of the issuer's return tokens are good again.
const HOLD_OFF_WITHOUT_KEYS: Duration = Duration::from_secs(2);
/// What is kept for further tries, whatever the issuer asks for, before keys can be used no longer.
const LAST_TRIES: Duration = Duration::from_secs(30);

/// The longest a refresh takes: a fetch has five seconds, and one by discovery is two.
const LONGEST_REFRESH: Duration = Duration::from_secs(10);

/// How much depends on a fetch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stake {
    /// There are keys, whatever becomes of it.
    Freshness,
    /// There are none, or none by the time it has ended: every request waits for it.
    Service,
}

impl Stake {
    /// Says how much depends on a fetch that begins while keys may be used for so long.
    pub(super) fn of(usable_for: Duration) -> Self {
        if usable_for > LONGEST_REFRESH { Self::Freshness } else { Self::Service }
    }
}

/// A random number from 0 to 1, so that a thousand sidecars do not fetch at the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(f64);

impl Jitter {
    /// Makes one out of random bytes.
    pub(super) fn from_random(bytes: [u8; 4]) -> Self {
        Self(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }

    fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0
    }
}

/// Returns how long a key set is fresh (RFC 9111 §5.2.2): `max-age`, within bounds.
///
/// `no-store` and `no-cache` ask for a fetch before each use, which no verifier does: the shortest
/// time stands for them.
pub(super) fn lifetime(cache_control: Option<&str>) -> Duration {
    let Some(directives) = cache_control else { return USUAL };
    let mut lifetime = USUAL;
    for directive in directives.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return SHORTEST,
            // A number too large to read is as good as endless (RFC 9111 §1.2.2).
            "max-age" if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() => {
                lifetime = value.parse().map_or(LONGEST, Duration::from_secs);
            }
            _ => {}
        }
    }
    lifetime.clamp(SHORTEST, LONGEST)
}

/// Returns how long an issuer asks to be left alone at the time `now` (RFC 9110 §10.2.3): seconds,
/// or a date. Anything else says nothing.
pub(super) fn retry_after(text: &str, now: UnixTime) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(LONGEST, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(UnixTime::from_secs(0).plus(date).since(now))
}

/// What the time of the next fetch depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// How many fetches failed since the last good one.
    pub(super) failures: u32,
    /// How long the keys that are held may still be used; zero where there are none.
    pub(super) usable_for: Duration,
    /// How long a key set that just came is fresh.
    pub(super) lifetime: Duration,
    /// How long the issuer asks to be left alone, where it does.
    pub(super) retry_after: Option<Duration>,
}

/// When to fetch again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wait {
    /// How long to wait, unless a request asks for a fetch.
    pub(super) next: Duration,
    /// How long no request may ask for one.
    pub(super) held_off: Duration,
}

impl Outlook {
    /// Returns how long to wait before the next fetch.
    ///
    /// After a good one: until 80 % of the key set's lifetime are over, or a little less. While
    /// keys are held, waiting doubles from one second to a minute: nobody is hurt meanwhile; but
    /// the moment they can be used no longer is one to fetch at. Without any usable key each
    /// second counts, since every request is being answered with 503.
    pub(super) fn wait(self, jitter: Jitter) -> Wait {
        if self.failures == 0 {
            // Keys that are not fetched again in time are past it while their issuer is well.
            let fresh_for = self.lifetime.min(self.usable_for);
            return Wait {
                next: fresh_for.mul_f64(jitter.between(0.7, 0.8)),
                held_off: Duration::ZERO,
            };
        }
        let held_off = self.hold_off(jitter);
        let next = if self.usable_for.is_zero() {
            NO_KEYS.mul_f64(jitter.between(0.8, 1.2)).max(held_off)
        } else {
            let doubled = Duration::from_secs(1 << (self.failures - 1).min(6));
            let back_off = doubled.min(BACK_OFF).mul_f64(jitter.between(0.8, 1.0));
            back_off.max(held_off).min(self.usable_for)
        };
        Wait { next, held_off }
    }

    /// Returns how long the issuer is left alone because it asked for it, or a little longer: it
    /// asked a thousand others too. An issuer that asks for too much does not decide how long
    /// tokens are refused here.
    fn hold_off(self, jitter: Jitter) -> Duration {
        let Some(asked) = self.retry_after else { return Duration::ZERO };
        let most = if self.usable_for.is_zero() {
            HOLD_OFF_WITHOUT_KEYS
        } else {
            HOLD_OFF.min(self.usable_for.saturating_sub(LAST_TRIES))
        };
        asked.min(most).mul_f64(jitter.between(1.0, 1.2)).min(most)
    }
}

/// Returns how long to wait before a look that must come `at_least` this much later to count.
pub(super) fn second_look(at_least: Duration, jitter: Jitter) -> Duration {
    at_least.mul_f64(jitter.between(1.05, 1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Jitter = Jitter(0.0);
    const HIGH: Jitter = Jitter(1.0);

    #[test]
    fn a_key_set_is_fresh_for_a_minute_to_a_day() {
        for (cache_control, secs) in [
            (None, 600),
            (Some("max-age=300"), 300),
            (Some("public, Max-Age=\"300\""), 300),
            (Some("max-age=0"), 60),
            (Some("max-age=31536000, immutable"), 86_400),
            (Some("max-age=99999999999999999999999"), 86_400),
            (Some("max-age=-5"), 600),
            (Some("max-age="), 600),
            (Some("garbage"), 600),
            (Some("no-store, max-age=300"), 60),
            (Some("no-cache"), 60),
        ] {
            assert_eq!(lifetime(cache_control).as_secs(), secs, "{cache_control:?}");
        }
    }

    #[test]
    fn waiting_depends_on_what_is_at_stake() {
        const DAY: u64 = 86_400;
        for (failures, usable_for, low, high) in [
            (0, DAY, 420_000, 480_000),
            (0, 60, 42_000, 48_000), // usable for less than fresh
            (1, 0, 800, 1200),
            (50, 0, 800, 1200),
            (1, DAY, 800, 1000),
            (2, DAY, 1600, 2000),
            (6, DAY, 25_600, 32_000),
            (7, DAY, 48_000, 60_000),
            (7, 50, 48_000, 50_000), // the moment they can be used no longer
            (7, 1, 1000, 1000),
            (u32::MAX, DAY, 48_000, 60_000),
        ] {
            let outlook = outlook(failures, usable_for, None);
            for (jitter, millis) in [(LOW, low), (HIGH, high)] {
                let Wait { next, held_off } = outlook.wait(jitter);
                assert_eq!(next.as_millis(), millis, "{outlook:?} {jitter:?}");
                assert_eq!(held_off, Duration::ZERO, "{outlook:?}");
            }
        }
    }

    #[test]
    fn an_issuer_that_asks_to_be_left_alone_is_within_bounds() {
        const DAY: u64 = 86_400;
        for (failures, usable_for, asked, next, held_off) in [
            (1, DAY, 0, 1, 0),
            (1, DAY, 1, 1, 1),
            (1, DAY, 20, 20, 20),
            (7, DAY, 20, 48, 20), // the back-off is longer, and only that
            (1, DAY, 299, 299, 299),
            (1, DAY, 300, 300, 300),
            (1, DAY, 301, 300, 300),
            (1, DAY, u64::MAX, 300, 300),
            (1, 100, 300, 70, 70), // 30 s are kept for further tries
            (1, 30, 300, 1, 0),
            (7, 29, 300, 29, 0),
            (1, 0, 0, 1, 0),
            (1, 0, 1, 1, 1),
            (1, 0, 2, 2, 2),
            (9, 0, 3, 2, 2),
            (9, 0, 3600, 2, 2),
            (0, DAY, 20, 420, 0), // a good answer asks for nothing
        ] {
            let outlook = outlook(failures, usable_for, Some(asked));
            let wait = outlook.wait(LOW);
            let got = (wait.next.as_secs_f64().ceil() as u64, wait.held_off.as_secs());
            assert_eq!(got, (next, held_off), "{outlook:?}");
        }
        let late = outlook(1, DAY, Some(100)).wait(HIGH);
        assert_eq!(late.next.as_secs(), 120, "others were asked the same");
    }

    fn outlook(failures: u32, usable_for: u64, retry_after: Option<u64>) -> Outlook {
        Outlook {
            failures,
            usable_for: Duration::from_secs(usable_for),
            lifetime: USUAL,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn everything_depends_on_a_fetch_that_may_end_without_keys() {
        for (secs, stake) in [
            (0, Stake::Service),
            (10, Stake::Service),
            (11, Stake::Freshness),
            (86_400, Stake::Freshness),
        ] {
            assert_eq!(Stake::of(Duration::from_secs(secs)), stake, "{secs}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixTime::from_secs(784_111_777 - 60);
        for (text, secs) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)), // RFC 850
            ("Sun Nov  6 08:49:37 1994", Some(60)),       // asctime()
            ("Sun, 06 Nov 1994 08:47:37 GMT", Some(0)),   // over
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(252_618_189_082)),
            ("Sun, 06 Nov 1894 08:49:37 GMT", None),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("5 s", None),
            ("soon", None),
        ] {
            let got = retry_after(text, now).map(|span| span.as_secs());
            assert_eq!(got, secs, "{text:?}");
        }
    }
}
