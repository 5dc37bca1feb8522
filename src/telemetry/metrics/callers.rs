//! Who calls: how long it took to know, and what had to be looked up.

use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::Metrics;
use super::maker::Maker;
use super::requests::Carrier;

/// Upper bounds for deciding who calls, in seconds: a look-up is some µs, a signature some tens of
/// them, a fetch of keys a fraction of a second.
const AUTH: &[f64] =
    &[0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.001, 0.01, 0.1, 1.0, 5.0];

/// What it took to know who calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthSource {
    /// The token was verified before.
    Cache,
    /// Its signature was verified.
    Verified,
    /// Keys had to be waited for.
    Waited,
}

/// How a look-up among the tokens verified before ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// The token was verified before, with a key that is still one of the issuer's.
    Hit,
    /// It has to be verified.
    Miss,
}

/// The metrics of knowing who calls.
#[derive(Clone, Debug)]
pub(super) struct Callers {
    durations: [Histogram; 3],
    hit: IntCounter,
    miss: IntCounter,
    azp_missing: IntCounterVec,
}

impl Callers {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        let durations = made.histograms(
            "auth_duration_seconds",
            "Time to know who calls, by what it took.",
            &["source"],
            AUTH,
        )?;
        let cache = made.counters(
            "token_cache_lookups_total",
            "Look-ups among the tokens verified before.",
            &["result"],
        )?;
        let durations = |source| durations.with_label_values(&[source]);
        Ok(Self {
            durations: ["cache", "verified", "waited"].map(durations),
            hit: cache.with_label_values(&["hit"]),
            miss: cache.with_label_values(&["miss"]),
            azp_missing: made.counters(
                "azp_missing_total",
                "Good tokens that name no authorized party.",
                &["carrier"],
            )?,
        })
    }
}

/// The part of them that one thread counts for itself.
pub(super) struct CallersTally {
    durations: [LocalHistogram; 3],
    hit: LocalIntCounter,
    miss: LocalIntCounter,
}

impl CallersTally {
    pub(super) fn of(callers: &Callers) -> Self {
        Self {
            durations: callers.durations.each_ref().map(Histogram::local),
            hit: callers.hit.local(),
            miss: callers.miss.local(),
        }
    }

    pub(super) fn authenticated(&self, source: AuthSource, seconds: f64) {
        self.durations[source as usize].observe(seconds);
    }

    pub(super) fn looked_up(&self, lookup: Lookup) {
        match lookup {
            Lookup::Hit => self.hit.inc(),
            Lookup::Miss => self.miss.inc(),
        }
    }

    pub(super) fn add_up(&self) {
        self.durations.iter().for_each(LocalHistogram::flush);
        self.hit.flush();
        self.miss.flush();
    }
}

impl Metrics {
    /// Counts a good token that names no authorized party.
    pub fn azp_missing(&self, carrier: Carrier) {
        self.callers.azp_missing.with_label_values(&[carrier.label()]).inc();
    }
}
