//! Streams that the proxy ended.

use prometheus::IntCounter;

use super::Metrics;
use super::maker::Maker;

/// Why the proxy ended a stream that both its sides wanted to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// It had outlived its token for as long as it may.
    Lifetime,
    /// The process ended.
    Drain,
}

/// The metrics of streams.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    ended: [IntCounter; 2],
}

impl Streams {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        let ended = made.counters(
            "streams_ended_total",
            "WebSockets, event streams and calls of gRPC that the proxy ended.",
            &["cause"],
        )?;
        Ok(Self { ended: ["lifetime", "drain"].map(|cause| ended.with_label_values(&[cause])) })
    }
}

impl Metrics {
    /// Counts a stream that the proxy ended.
    pub fn stream_ended(&self, end: StreamEnd) {
        self.streams.ended[end as usize].inc();
    }
}
