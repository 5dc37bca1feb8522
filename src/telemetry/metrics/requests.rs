//! Requests: what became of them, by route, and how long that took.

use std::sync::Arc;

use http::StatusCode;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::Metrics;
use super::maker::Maker;
use crate::core::header::{StripCount, Stripped};
use crate::core::reject::Reject;

/// Upper bounds of the latency buckets, in seconds.
///
/// From 500 µs, about what a backend on the same machine needs, to 10 s, where a client has given
/// up. `request` and `upstream` share them, so that the difference is what we add.
const LATENCY: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

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

/// The metrics of requests, of every route.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    requests: IntCounterVec,
    responses: IntCounterVec,
    durations: HistogramVec,
    upstream_durations: HistogramVec,
    stripped: [IntCounter; 3],
}

impl Requests {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        let stripped =
            made.counters("stripped_headers_total", "Headers taken off requests.", &["kind"])?;
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
            stripped: Stripped::ALL.map(|kind| stripped.with_label_values(&[kind.label()])),
        })
    }
}

#[cfg(test)]
impl Requests {
    pub(super) fn allowed(&self, route: &str) -> u64 {
        let labels = [route, Decision::Allowed.label(), "none", Carrier::Header.label()];
        self.requests.with_label_values(&labels).get()
    }
}

impl Metrics {
    /// Takes the handles for one route's requests.
    pub fn of_route(&self, name: &str) -> RouteMetrics {
        let requests = |decision: Decision, carrier: Carrier| {
            self.requests.requests.with_label_values(&[
                name,
                decision.label(),
                "none",
                carrier.label(),
            ])
        };
        RouteMetrics {
            name: name.into(),
            allowed: requests(Decision::Allowed, Carrier::Header),
            anonymous: requests(Decision::Anonymous, Carrier::None),
            duration: self.requests.durations.with_label_values(&[name]),
            upstream: self.requests.upstream_durations.with_label_values(&[name]),
            ok: self.requests.responses.with_label_values(&[name, "200"]),
            all: self.requests.clone(),
        }
    }

    /// Counts a request that ended before a route was known: its head could not be read, or was
    /// not.
    pub fn unreadable(&self, reject: &Reject) {
        let decision = if reject.is_failure() { Decision::Failed } else { Decision::Rejected };
        let labels = ["none", decision.label(), reject.label(), Carrier::None.label()];
        self.requests.requests.with_label_values(&labels).inc();
        self.requests.responses.with_label_values(&["none", reject.status().as_str()]).inc();
    }

    /// Counts the headers taken off one request.
    pub fn stripped(&self, count: StripCount) {
        for kind in Stripped::ALL {
            if count.of(kind) > 0 {
                self.requests.stripped[kind as usize].inc_by(u64::from(count.of(kind)));
            }
        }
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
    all: Requests,
}

impl RouteMetrics {
    /// Returns the route's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What became of a request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What became of it.
    pub decision: Decision,
    /// Why it was refused, or would have been.
    pub reason: Option<&'static str>,
    /// Where its credential stood.
    pub carrier: Carrier,
    /// What the client was answered.
    pub status: StatusCode,
    /// From the end of its head to the end of the answer.
    pub seconds: f64,
    /// From sending it to the backend to the head of its answer, where there was one.
    pub upstream: Option<f64>,
}

/// The metrics of one route as one thread counts them for itself. What is seldom goes to those of all at once.
pub(super) struct RouteTally {
    allowed: LocalIntCounter,
    anonymous: LocalIntCounter,
    duration: LocalHistogram,
    upstream: LocalHistogram,
    ok: LocalIntCounter,
    of: RouteMetrics,
}

impl RouteTally {
    pub(super) fn of(route: &RouteMetrics) -> Self {
        Self {
            allowed: route.allowed.local(),
            anonymous: route.anonymous.local(),
            duration: route.duration.local(),
            upstream: route.upstream.local(),
            ok: route.ok.local(),
            of: route.clone(),
        }
    }

    pub(super) fn count(&self, outcome: &Outcome) {
        let Outcome { decision, reason, carrier, status, seconds, upstream } = *outcome;
        let RouteMetrics { name, all, .. } = &self.of;
        match (decision, reason, carrier) {
            (Decision::Allowed, None, Carrier::Header) => self.allowed.inc(),
            (Decision::Anonymous, None, Carrier::None) => self.anonymous.inc(),
            _ => {
                let labels = [name, decision.label(), reason.unwrap_or("none"), carrier.label()];
                all.requests.with_label_values(&labels).inc();
            }
        }
        match status {
            StatusCode::OK => self.ok.inc(),
            _ => all.responses.with_label_values(&[&**name, status.as_str()]).inc(),
        }
        self.duration.observe(seconds);
        if let Some(upstream) = upstream {
            self.upstream.observe(upstream);
        }
    }

    pub(super) fn add_up(&self) {
        for counter in [&self.allowed, &self.anonymous, &self.ok] {
            counter.flush();
        }
        self.duration.flush();
        self.upstream.flush();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn a_kind_of_header_stands_where_its_variant_does() {
        for (place, kind) in Stripped::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{}", kind.label());
        }
    }

    #[test]
    fn a_refusal_is_counted_by_route_and_reason() {
        let metrics = Metrics::register(Registry::new()).unwrap();
        RouteTally::of(&metrics.of_route("/admin/**")).count(&Outcome {
            decision: Decision::Rejected,
            reason: Some("session-token-expired"),
            carrier: Carrier::Header,
            status: StatusCode::UNAUTHORIZED,
            seconds: 0.0,
            upstream: None,
        });
        let text = String::from_utf8(metrics.render()).unwrap();
        let line = r#"countersign_requests_total{carrier="header",decision="rejected",reason="session-token-expired",route="/admin/**"} 1"#;
        assert!(text.contains(line), "{text}");
    }
}
