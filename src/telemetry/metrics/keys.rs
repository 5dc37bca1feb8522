//! Verification keys, of each issuer.

use std::time::Duration;

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::maker::Maker;

/// How a refresh of keys ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum RefreshResult {
    Ok,
    Unchanged,
    Error,
}

/// What became of a token whose key nobody knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum UnknownKid {
    Refetched,
    Throttled,
    NegativeCached,
}

/// The metrics of keys, of every issuer.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    refreshes: IntCounterVec,
    keys: IntGaugeVec,
    last_success: GaugeVec,
    stale: IntGaugeVec,
    max_stale: GaugeVec,
    unknown_kid: IntCounterVec,
}

impl Keys {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            refreshes: made.counters(
                "jwks_refreshes_total",
                "Fetches of a key set.",
                &["issuer", "result"],
            )?,
            keys: made.gauges("jwks_keys", "Keys in use.", &["issuer"])?,
            last_success: made.float_gauges(
                "jwks_last_success_timestamp_seconds",
                "When a key set was last fetched, or confirmed by a 304.",
                &["issuer"],
            )?,
            stale: made.gauges(
                "jwks_stale",
                "1 where the keys are past their time and none newer can be had.",
                &["issuer"],
            )?,
            max_stale: made.float_gauges(
                "keys_max_stale_seconds",
                "How long the last good keys serve after they were last confirmed.",
                &["issuer"],
            )?,
            unknown_kid: made.counters(
                "jwks_unknown_kid_total",
                "Tokens whose key was not in the key set.",
                &["issuer", "action"],
            )?,
        })
    }
}

impl Metrics {
    /// Takes the handles for one issuer's keys.
    pub fn of_issuer(&self, issuer: &str) -> KeyMetrics {
        let refreshes = |result| self.keys.refreshes.with_label_values(&[issuer, result]);
        let unknown = |action| self.keys.unknown_kid.with_label_values(&[issuer, action]);
        KeyMetrics {
            refreshes: ["ok", "unchanged", "error"].map(refreshes),
            keys: self.keys.keys.with_label_values(&[issuer]),
            last_success: self.keys.last_success.with_label_values(&[issuer]),
            stale: self.keys.stale.with_label_values(&[issuer]),
            unknown_kid: ["refetched", "throttled", "negative_cached"].map(unknown),
        }
    }

    /// Says how long the last good keys of an issuer serve.
    pub fn serve_for(&self, issuer: &str, max_stale: Duration) {
        self.keys.max_stale.with_label_values(&[issuer]).set(max_stale.as_secs_f64());
    }

    /// Takes away what is said of the keys of an issuer that is none any more; what was counted
    /// stays.
    pub fn forget_issuer(&self, issuer: &str) {
        // Fails where there is nothing to take away.
        let _ = self.keys.keys.remove_label_values(&[issuer]);
        let _ = self.keys.last_success.remove_label_values(&[issuer]);
        let _ = self.keys.stale.remove_label_values(&[issuer]);
        let _ = self.keys.max_stale.remove_label_values(&[issuer]);
    }
}

/// The metrics of one issuer's keys.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    refreshes: [IntCounter; 3],
    keys: IntGauge,
    last_success: Gauge,
    stale: IntGauge,
    unknown_kid: [IntCounter; 3],
}

impl KeyMetrics {
    /// Counts a fetch.
    pub fn refreshed(&self, result: RefreshResult) {
        self.refreshes[result as usize].inc();
    }

    /// Says which keys are in use: how many, fetched when (in seconds since 1970), and whether
    /// they are past their time.
    pub fn holds(&self, keys: usize, last_success: Option<i64>, stale: bool) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.last_success.set(last_success.unwrap_or(0) as f64);
        self.stale.set(i64::from(stale));
    }

    /// Counts a token whose key was not in the key set.
    pub fn unknown_kid(&self, action: UnknownKid) {
        self.unknown_kid[action as usize].inc();
    }
}
