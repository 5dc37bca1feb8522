//! When to fetch, and what an answer changes: plain functions of what is known.

use std::time::Duration;

/// The shortest time a key set is taken as fresh, whatever its `Cache-Control` says.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Where `Cache-Control` says nothing.
const USUAL: Duration = Duration::from_secs(10 * 60);

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

/// Returns how long to wait before the fetch that follows `failures` failures in a row.
///
/// After a good one: until 80 % of the key set's lifetime are over, or a little less. While keys
/// are held, waiting doubles from one second to a minute: nobody is hurt meanwhile. Without any
/// usable key each second counts, since every request is being answered with 503.
pub(super) fn wait_before_fetch(
    failures: u32,
    keys_held: bool,
    lifetime: Duration,
    jitter: Jitter,
) -> Duration {
    match (failures, keys_held) {
        (0, _) => lifetime.mul_f64(jitter.between(0.7, 0.8)),
        (_, false) => Duration::from_secs(1).mul_f64(jitter.between(0.8, 1.2)),
        (_, true) => {
            let doubled = Duration::from_secs(1 << (failures - 1).min(6));
            doubled.min(Duration::from_secs(60)).mul_f64(jitter.between(0.8, 1.0))
        }
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
        for (failures, keys_held, low, high) in [
            (0, true, 420_000, 480_000),
            (1, false, 800, 1200),
            (50, false, 800, 1200),
            (1, true, 800, 1000),
            (2, true, 1600, 2000),
            (6, true, 25_600, 32_000),
            (7, true, 48_000, 60_000),
            (u32::MAX, true, 48_000, 60_000),
        ] {
            for (jitter, millis) in [(LOW, low), (HIGH, high)] {
                let wait = wait_before_fetch(failures, keys_held, USUAL, jitter);
                assert_eq!(wait.as_millis(), millis, "{failures} {keys_held} {jitter:?}");
            }
        }
    }
}
