//! Every metric there is. Their names, labels and meanings are part of the interface.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::core::header::{StripCount, Stripped};
use crate::core::reject::Reject;
use crate::core::time::UnixTime;

/// Upper bounds of the latency buckets, in seconds.
///
/// From 500 µs, about what a backend on the same machine needs, to 10 s, where a client has given
/// up. `request` and `upstream` share them, so that the difference is what we add.
const LATENCY: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds for deciding who calls, in seconds: a look-up is some µs, a signature some tens of
/// them, a fetch of keys a fraction of a second.
const AUTH: &[f64] =
    &[0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.001, 0.01, 0.1, 1.0, 5.0];

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It went to the backend as from a caller.
    Allowed,
    /// It went to the backend as from nobody in particular.
    Anonymous,
    /// It went to the backend as from nobody, and would have been refused: refusals are only
    /// reported there.
    WouldReject,
    /// We answered it ourselves: the request is at fault.
    Rejected,
    /// The browser was sent to Clerk, or is back from there and sent to where it wanted to go.
    Handshake,
    /// We answered it ourselves: the issuer, the backend or we are at fault.
    Failed,
}

impl Decision {
    /// Returns the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Anonymous => "anonymous",
            Self::WouldReject => "would_reject",
            Self::Rejected => "rejected",
            Self::Handshake => "handshake",
            Self::Failed => "failed",
        }
    }
}

/// Where the credential of a request stood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// In `Authorization`.
    Header,
    /// In a cookie.
    Cookie,
    /// Nowhere.
    None,
}

impl Carrier {
    /// Returns the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::None => "none",
        }
    }
}

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

/// How a refresh of keys ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum RefreshResult {
    Ok,
    Unchanged,
    Error,
}

/// Why the proxy ended a stream that both its sides wanted to go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// It had outlived its token for as long as it may.
    Lifetime,
    /// The process ended.
    Drain,
}

/// What became of a token whose key nobody knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum UnknownKid {
    Refetched,
    Throttled,
    NegativeCached,
}

/// All metrics, with the handles that the request path uses taken once.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    responses: IntCounterVec,
    durations: HistogramVec,
    upstream_durations: HistogramVec,
    auth: [Histogram; 3],
    cache_hit: IntCounter,
    cache_miss: IntCounter,
    /// Tokens remembered.
    pub cache_entries: IntGauge,
    azp_missing: IntCounterVec,
    stripped: [IntCounter; 3],
    upstream: Vec<IntCounter>,
    /// Connections to the backend that wait for a request.
    pub upstream_idle: IntGauge,
    /// Connections to the backend that have one.
    pub upstream_active: IntGauge,
    /// Client connections.
    pub connections: IntGauge,
    /// Requests under way.
    pub in_flight: IntGauge,
    /// Requests and connections refused because there were too many.
    pub overload: IntCounter,
    /// Bugs of ours that ended a connection.
    pub panics: IntCounter,
    /// Handshakes that were not begun because there were so many in a row.
    pub handshake_loops: IntCounter,
    streams_ended: [IntCounter; 2],
    session_checks: IntCounterVec,
    clerk_requests: IntCounterVec,
    certificate_expiry: GaugeVec,
    /// Nothing in it where nobody can tell.
    exposed: IntGaugeVec,
    /// How the settings were last reloaded.
    pub reloads: ReloadMetrics,
    keys: KeyMetricVecs,
}

#[derive(Clone, Debug)]
struct KeyMetricVecs {
    refreshes: IntCounterVec,
    keys: IntGaugeVec,
    last_success: GaugeVec,
    stale: IntGaugeVec,
    unknown_kid: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics and adds them to `registry`.
    ///
    /// # Errors
    ///
    /// Where the registry already has a metric of one of these names.
    pub fn register(registry: Registry) -> prometheus::Result<Self> {
        let made = Maker(&registry);
        let auth = made.histograms(
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
        let stripped =
            made.counters("stripped_headers_total", "Headers taken off requests.", &["kind"])?;
        let upstream = made.counters(
            "upstream_requests_total",
            "Requests sent to the backend, by how that ended.",
            &["result"],
        )?;
        let streams_ended = made.counters(
            "streams_ended_total",
            "WebSockets, event streams and calls of gRPC that the proxy ended.",
            &["cause"],
        )?;
        let upstream_connections =
            made.gauges("upstream_connections", "Connections to the backend.", &["state"])?;
        let build =
            made.gauges("build_info", "Always 1; the version is in the label.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            requests: made.counters(
                "requests_total",
                "Requests, by what became of them.",
                &["route", "decision", "reason", "carrier"],
            )?,
            responses: made.counters(
                "responses_total",
                "Answers to clients.",
                &["route", "code"],
            )?,
            durations: made.histograms(
                "request_duration_seconds",
                "Time from the end of a request's head to the end of the answer.",
                &["route"],
                LATENCY,
            )?,
            upstream_durations: made.histograms(
                "upstream_request_duration_seconds",
                "Time from sending a request to the backend to the head of its answer.",
                &["route"],
                LATENCY,
            )?,
            auth: ["cache", "verified", "waited"].map(|source| auth.with_label_values(&[source])),
            cache_hit: cache.with_label_values(&["hit"]),
            cache_miss: cache.with_label_values(&["miss"]),
            cache_entries: made.gauge("token_cache_entries", "Tokens remembered.")?,
            azp_missing: made.counters(
                "azp_missing_total",
                "Good tokens that name no authorized party.",
                &["carrier"],
            )?,
            stripped: Stripped::ALL.map(|kind| stripped.with_label_values(&[kind.label()])),
            upstream: UpstreamResult::ALL
                .iter()
                .map(|(_, label)| upstream.with_label_values(&[label]))
                .collect(),
            upstream_idle: upstream_connections.with_label_values(&["idle"]),
            upstream_active: upstream_connections.with_label_values(&["active"]),
            connections: made.gauge("connections", "Client connections.")?,
            in_flight: made.gauge("requests_in_flight", "Requests under way.")?,
            overload: made.counter(
                "overload_total",
                "Requests and connections refused because there were too many.",
            )?,
            handshake_loops: made.counter(
                "handshake_loops_total",
                "Handshakes and sign-ins not begun because the browser came from three in a row.",
            )?,
            streams_ended: ["lifetime", "drain"]
                .map(|cause| streams_ended.with_label_values(&[cause])),
            session_checks: made.counters(
                "session_checks_total",
                "Questions to Clerk whether a session still is.",
                &["result"],
            )?,
            clerk_requests: made.counters(
                "clerk_api_requests_total",
                "Requests to Clerk's Backend API for what a browser needs.",
                &["call", "result"],
            )?,
            certificate_expiry: made.float_gauges(
                "tls_certificate_expiry_timestamp_seconds",
                "When the certificate that clients are shown expires.",
                &["listener"],
            )?,
            exposed: made.gauges(
                "upstream_exposed",
                "1 where the port of a backend on loopback is open on other addresses too.",
                &[],
            )?,
            reloads: ReloadMetrics {
                successful: made.gauge(
                    "config_last_reload_successful",
                    "1 where the settings were good when they were last read, else 0.",
                )?,
                last_success: made.float_gauge(
                    "config_last_reload_success_timestamp_seconds",
                    "When settings were last put in force.",
                )?,
            },
            panics: made.counter("panics_total", "Bugs of the proxy that ended a connection.")?,
            keys: KeyMetricVecs {
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
                unknown_kid: made.counters(
                    "jwks_unknown_kid_total",
                    "Tokens whose key was not in the key set.",
                    &["issuer", "action"],
                )?,
            },
            registry,
        })
    }

    /// Takes the handles for one route's requests.
    pub fn of_route(&self, name: &str) -> RouteMetrics {
        let requests = |decision: Decision, carrier: Carrier| {
            self.requests.with_label_values(&[name, decision.label(), "none", carrier.label()])
        };
        RouteMetrics {
            name: name.into(),
            allowed: requests(Decision::Allowed, Carrier::Header),
            anonymous: requests(Decision::Anonymous, Carrier::None),
            duration: self.durations.with_label_values(&[name]),
            upstream: self.upstream_durations.with_label_values(&[name]),
            ok: self.responses.with_label_values(&[name, "200"]),
            all: self.clone(),
        }
    }

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

    /// Takes the handles for the certificate of these listeners.
    pub fn of_certificate(
        &self,
        listeners: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> CertificateMetrics {
        let expiry = |name: &str| self.certificate_expiry.with_label_values(&[name]);
        CertificateMetrics(listeners.into_iter().map(|name| expiry(name.as_ref())).collect())
    }

    /// Takes the handles for requests to Clerk's Backend API.
    pub fn of_clerk_api(&self) -> ClerkApiMetrics {
        let session = |result| self.session_checks.with_label_values(&[result]);
        let requests = |call: &'static str| {
            ["ok", "error"].map(|result| self.clerk_requests.with_label_values(&[call, result]))
        };
        ClerkApiMetrics {
            sessions: ["active", "over", "error"].map(session),
            calls: ["handshake", "refresh"].map(requests),
        }
    }

    /// Takes the metric of a backend that can be reached past the proxy, which is there from now on.
    pub fn of_exposure(&self) -> IntGauge {
        self.exposed.with_label_values::<&str>(&[])
    }

    /// Takes that metric away again: there is none where nobody can tell.
    pub fn forget_exposure(&self) {
        self.exposed.reset();
    }

    /// Takes away what is said of the keys of an issuer that is none any more; what was counted
    /// stays.
    pub fn forget_issuer(&self, issuer: &str) {
        // Fails where there is nothing to take away.
        let _ = self.keys.keys.remove_label_values(&[issuer]);
        let _ = self.keys.last_success.remove_label_values(&[issuer]);
        let _ = self.keys.stale.remove_label_values(&[issuer]);
    }

    /// Counts how long it took to know who calls, in seconds.
    pub fn authenticated(&self, source: AuthSource, seconds: f64) {
        self.auth[source as usize].observe(seconds);
    }

    /// Counts a look-up among the tokens verified before, whatever becomes of the token.
    pub fn looked_up(&self, lookup: Lookup) {
        match lookup {
            Lookup::Hit => self.cache_hit.inc(),
            Lookup::Miss => self.cache_miss.inc(),
        }
    }

    /// Counts a good token that names no authorized party.
    pub fn azp_missing(&self, carrier: Carrier) {
        self.azp_missing.with_label_values(&[carrier.label()]).inc();
    }

    /// Counts the headers taken off one request.
    pub fn stripped(&self, count: StripCount) {
        for kind in Stripped::ALL {
            if count.of(kind) > 0 {
                self.stripped[kind as usize].inc_by(u64::from(count.of(kind)));
            }
        }
    }

    /// Counts how sending to the backend ended.
    pub fn upstream(&self, result: UpstreamResult) {
        self.upstream[result as usize].inc();
    }

    /// Counts a stream that the proxy ended.
    pub fn stream_ended(&self, end: StreamEnd) {
        self.streams_ended[end as usize].inc();
    }

    /// Counts a request that ended before a route was known: its head could not be read, or was
    /// not.
    pub fn unreadable(&self, reject: &Reject) {
        let decision = if reject.is_failure() { Decision::Failed } else { Decision::Rejected };
        let labels = ["none", decision.label(), reject.label(), Carrier::None.label()];
        self.requests.with_label_values(&labels).inc();
        self.responses.with_label_values(&["none", reject.status().as_str()]).inc();
    }

    /// Renders everything in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
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

/// The metrics of one route.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    name: Arc<str>,
    allowed: IntCounter,
    anonymous: IntCounter,
    duration: Histogram,
    upstream: Histogram,
    ok: IntCounter,
    all: Metrics,
}

impl RouteMetrics {
    /// Returns the route's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts what became of a request, and why it was refused.
    pub fn decided(&self, decision: Decision, reason: Option<&'static str>, carrier: Carrier) {
        match (decision, reason, carrier) {
            (Decision::Allowed, None, Carrier::Header) => self.allowed.inc(),
            (Decision::Anonymous, None, Carrier::None) => self.anonymous.inc(),
            _ => {
                let reason = reason.unwrap_or("none");
                let labels = [&*self.name, decision.label(), reason, carrier.label()];
                self.all.requests.with_label_values(&labels).inc();
            }
        }
    }

    /// Counts an answer that ended after `seconds`.
    pub fn answered(&self, status: StatusCode, seconds: f64) {
        match status {
            StatusCode::OK => self.ok.inc(),
            _ => self.all.responses.with_label_values(&[&*self.name, status.as_str()]).inc(),
        }
        self.duration.observe(seconds);
    }

    /// Counts the head of an answer of the backend's that came after `seconds`.
    pub fn upstream_answered(&self, seconds: f64) {
        self.upstream.observe(seconds);
    }
}

/// What was said of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum SessionAnswer {
    Active,
    Over,
    Error,
}

/// What is asked of Clerk's Backend API for a browser, beside whether its session still is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum ClerkCall {
    Handshake,
    Refresh,
}

/// The metrics of requests to Clerk's Backend API.
#[derive(Clone, Debug)]
pub struct ClerkApiMetrics {
    sessions: [IntCounter; 3],
    calls: [[IntCounter; 2]; 2],
}

impl ClerkApiMetrics {
    /// Counts what was said of a session.
    pub fn session(&self, answer: SessionAnswer) {
        self.sessions[answer as usize].inc();
    }

    /// Counts another request, and whether there was an answer to go by.
    pub fn asked(&self, call: ClerkCall, answered: bool) {
        self.calls[call as usize][usize::from(!answered)].inc();
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

/// The metrics of settings that are read again.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    successful: IntGauge,
    last_success: Gauge,
}

impl ReloadMetrics {
    /// Says that settings were put in force at this time.
    pub fn succeeded(&self, at: UnixTime) {
        self.successful.set(1);
        self.last_success.set(at.as_secs() as f64);
    }

    /// Says that there was a mistake in them.
    pub fn failed(&self) {
        self.successful.set(0);
    }
}

/// The metrics of a certificate, one a listener that shows it.
#[derive(Clone, Debug, Default)]
pub struct CertificateMetrics(Vec<Gauge>);

impl CertificateMetrics {
    /// Says when the certificate in use expires.
    pub fn expires(&self, at: UnixTime) {
        for gauge in &self.0 {
            gauge.set(at.as_secs() as f64);
        }
    }
}

/// Makes metrics and registers them: the prefix and the registry in one place.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.added(IntCounterVec::new(options(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.added(IntCounter::with_opts(options(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.added(IntGaugeVec::new(options(name, help), labels)?)
    }

    fn float_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<GaugeVec> {
        self.added(GaugeVec::new(options(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.added(IntGauge::with_opts(options(name, help))?)
    }

    fn float_gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.added(Gauge::with_opts(options(name, help))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        self.added(HistogramVec::new(options, labels)?)
    }

    fn added<M: Clone + prometheus::core::Collector + 'static>(
        &self,
        metric: M,
    ) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts {
        variable_labels: Vec::new(),
        const_labels: HashMap::new(),
        ..Opts::new(format!("countersign_{name}"), help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_enums_stand_where_their_variants_do() {
        for (place, (result, label)) in UpstreamResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place, "{label}");
        }
        for (place, kind) in Stripped::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.label());
        }
    }

    #[test]
    fn a_refusal_is_counted_by_route_and_reason() {
        let metrics = Metrics::register(Registry::new()).unwrap();
        let route = metrics.of_route("/admin/**");
        route.decided(Decision::Rejected, Some("session-token-expired"), Carrier::Header);
        let text = String::from_utf8(metrics.render()).unwrap();
        let line = r#"countersign_requests_total{carrier="header",decision="rejected",reason="session-token-expired",route="/admin/**"} 1"#;
        assert!(text.contains(line), "{text}");
    }
}
