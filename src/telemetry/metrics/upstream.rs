//! The way to the backend.

use prometheus::local::LocalIntCounter;
use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::Metrics;
use super::maker::Maker;

/// How sending a request to the backend ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum UpstreamResult {
    Ok,
    Retried,
    Unreachable,
    Timeout,
    Broken,
}

impl UpstreamResult {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Ok, "ok"),
        (Self::Retried, "retried"),
        (Self::Unreachable, "unreachable"),
        (Self::Timeout, "timeout"),
        (Self::Broken, "broken"),
    ];
}

/// The metrics of the way to the backend.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    results: [IntCounter; 5],
    /// Nothing in it where nobody can tell.
    exposed: IntGaugeVec,
}

impl Upstream {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        let results = made.counters(
            "upstream_requests_total",
            "Requests sent to the backend, by how that ended.",
            &["result"],
        )?;
        Ok(Self {
            results: UpstreamResult::ALL.map(|(_, label)| results.with_label_values(&[label])),
            exposed: made.gauges(
                "upstream_exposed",
                "1 where the port of a backend on loopback is open on other addresses too.",
                &[],
            )?,
        })
    }
}

/// The part of them that one thread counts for itself.
pub(super) struct UpstreamTally([LocalIntCounter; 5]);

impl UpstreamTally {
    pub(super) fn of(upstream: &Upstream) -> Self {
        Self(upstream.results.each_ref().map(IntCounter::local))
    }

    pub(super) fn count(&self, result: UpstreamResult) {
        self.0[result as usize].inc();
    }

    pub(super) fn add_up(&self) {
        self.0.iter().for_each(LocalIntCounter::flush);
    }
}

impl Metrics {
    /// Takes the metric of a backend that can be reached past the proxy, which is there from now on.
    pub fn of_exposure(&self) -> IntGauge {
        self.upstream.exposed.with_label_values::<&str>(&[])
    }

    /// Takes that metric away again: there is none where nobody can tell.
    pub fn forget_exposure(&self) {
        self.upstream.exposed.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_stands_where_its_variant_does() {
        for (place, (result, label)) in UpstreamResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place, "{label}");
        }
    }
}
