//! Every metric there is. Their names, labels and meanings are part of the interface.
//!
//! Each file here counts one thing, with a set of the vectors of its metrics that [`Metrics`] holds
//! and the methods by which the other rooms count. Handles that the request path uses are taken
//! once.

mod callers;
mod clerk_api;
mod keys;
mod maker;
mod process;
mod requests;
mod streams;
mod tally;
mod upstream;

use prometheus::{Encoder, IntCounter, IntGauge, Registry, TextEncoder};

use self::callers::Callers;
pub use self::callers::{AuthSource, Lookup};
use self::clerk_api::Questions;
pub use self::clerk_api::{ClerkApiMetrics, ClerkCall, SessionAnswer};
use self::keys::Keys;
pub use self::keys::{KeyMetrics, RefreshResult, UnknownKid};
use self::maker::Maker;
use self::process::Process;
pub use self::process::{CertificateMetrics, ReloadMetrics};
use self::requests::Requests;
pub use self::requests::{Carrier, Decision, Outcome, RouteMetrics};
pub use self::streams::StreamEnd;
use self::streams::Streams;
pub use self::tally::{GaugeTally, Tally, add_up};
use self::upstream::Upstream;
pub use self::upstream::UpstreamResult;

/// All metrics, with the handles that the request path uses taken once.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    callers: Callers,
    /// Tokens remembered.
    pub cache_entries: IntGauge,
    keys: Keys,
    questions: Questions,
    /// Handshakes that were not begun because there were so many in a row.
    pub handshake_loops: IntCounter,
    upstream: Upstream,
    /// Connections to the backend that wait for a request.
    upstream_idle: IntGauge,
    /// Connections to the backend that have one.
    upstream_active: IntGauge,
    /// Client connections.
    pub connections: IntGauge,
    /// As many of them as there may be.
    pub connections_limit: IntGauge,
    /// Requests under way.
    in_flight: IntGauge,
    /// Requests and connections refused because there were too many.
    pub overload: IntCounter,
    /// Bugs of ours that ended a connection.
    pub panics: IntCounter,
    streams: Streams,
    /// How the settings were last reloaded.
    pub reloads: ReloadMetrics,
    process: Process,
}

impl Metrics {
    /// Creates the metrics and adds them to `registry`.
    ///
    /// # Errors
    ///
    /// Where the registry already has a metric of one of these names.
    pub fn register(registry: Registry) -> prometheus::Result<Self> {
        let made = Maker(&registry);
        let upstream_connections =
            made.gauges("upstream_connections", "Connections to the backend.", &["state"])?;
        Ok(Self {
            requests: Requests::register(&made)?,
            callers: Callers::register(&made)?,
            cache_entries: made.gauge("token_cache_entries", "Tokens remembered.")?,
            keys: Keys::register(&made)?,
            questions: Questions::register(&made)?,
            handshake_loops: made.counter(
                "handshake_loops_total",
                "Handshakes and sign-ins not begun because the browser came from three in a row.",
            )?,
            upstream: Upstream::register(&made)?,
            upstream_idle: upstream_connections.with_label_values(&["idle"]),
            upstream_active: upstream_connections.with_label_values(&["active"]),
            connections: made.gauge("connections", "Client connections.")?,
            connections_limit: made.gauge(
                "connections_limit",
                "Client connections that are served at a time, at most.",
            )?,
            in_flight: made.gauge("requests_in_flight", "Requests under way.")?,
            overload: made.counter(
                "overload_total",
                "Requests and connections refused because there were too many.",
            )?,
            panics: made.counter("panics_total", "Bugs of the proxy that ended a connection.")?,
            streams: Streams::register(&made)?,
            reloads: ReloadMetrics::register(&made)?,
            process: Process::register(&made)?,
            registry,
        })
    }

    /// Renders everything in Prometheus' text format; what this thread has counted is in it.
    pub fn render(&self) -> Vec<u8> {
        add_up();
        let mut text = Vec::new();
        let encoder = TextEncoder::new();
        if let Err(error) = encoder.encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics not rendered");
        }
        text
    }

    /// Returns the media type of [`render`](Self::render).
    pub fn content_type() -> &'static str {
        prometheus::TEXT_FORMAT
    }
}
