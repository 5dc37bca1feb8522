//! What is kept of a request until it is over: then it is counted and logged.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use super::activity::Busy;
use super::in_flight::InFlight;
use super::local::Local;
use super::present;
use super::request_body::Progress;
use super::seen::Known;
use crate::core::reject::{Refusal, Reject};
use crate::core::trace_context::TraceContext;
use crate::telemetry::access_log::{CallerLine, Line};
use crate::telemetry::metrics::{Carrier, Decision, Outcome, StreamEnd};

/// How much of a body takes no time to hand on that could be told from none.
const AT_ONCE: u64 = 16 * 1024;

/// One request, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct Record {
    shared: Rc<Local>,
    started: Instant,
    pub(super) request_id: HeaderValue,
    pub(super) origin: Option<HeaderValue>,
    pub(super) method: Method,
    /// For the log; empty where there is none.
    path: Box<str>,
    /// The place of the route's metrics; nothing until a route was found.
    pub(super) route: Option<usize>,
    pub(super) carrier: Carrier,
    /// Whether it is a call of gRPC.
    pub(super) is_call: bool,
    pub(super) caller: Option<Arc<Known>>,
    /// Why the request would have been refused, where that is only reported.
    pub(super) reported: Option<Reject>,
    /// Cookies to set on the way back, whatever the answer.
    pub(super) cookies: Vec<HeaderValue>,
    /// Cookies to set as well where the request was let in.
    pub(super) on_arrival: Vec<HeaderValue>,
    pub(super) client: Option<IpAddr>,
    /// For the log; nothing where there is none.
    pub(super) trace: Option<TraceContext>,
    pub(super) auth: Duration,
    /// What others took who went first, while a token waited to be verified; no part of `auth`.
    pub(super) others: Duration,
    pub(super) upstream: Option<Duration>,
    pub(super) body: Option<Rc<Progress>>,
    decision: Decision,
    reject: Option<Reject>,
    status: StatusCode,
    sent: u64,
    /// Bytes that came by other ways than a body.
    received: u64,
    end: Cell<End>,
    _slot: Option<InFlight>,
    _busy: Busy,
}

/// How an answer of the backend's ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// As the backend would have it, or the client.
    AsSent,
    /// The backend broke it off.
    BrokenOff,
    /// The backend said nothing for too long.
    Silent,
    /// We ended it.
    Over(StreamEnd),
}

impl End {
    fn detail(self) -> Option<&'static str> {
        match self {
            Self::AsSent => None,
            Self::BrokenOff => Some("the backend broke its answer off"),
            Self::Silent => Some("the backend said nothing more of its answer"),
            Self::Over(StreamEnd::Lifetime) => Some("the stream had outlived its token"),
            Self::Over(StreamEnd::Drain) => Some("the stream ended with the proxy"),
        }
    }
}

impl Record {
    pub(super) fn new(
        shared: Rc<Local>,
        started: Instant,
        request_id: HeaderValue,
        method: Method,
        path: &str,
        busy: Busy,
    ) -> Box<Self> {
        let path = shared.log.as_ref().map(|_| path.into()).unwrap_or_default();
        Box::new(Self {
            shared,
            started,
            request_id,
            origin: None,
            method,
            path,
            route: None,
            carrier: Carrier::None,
            is_call: false,
            caller: None,
            reported: None,
            cookies: Vec::new(),
            on_arrival: Vec::new(),
            client: None,
            trace: None,
            auth: Duration::ZERO,
            others: Duration::ZERO,
            upstream: None,
            body: None,
            // Until there is an answer: a client that leaves has its request dropped in the middle.
            decision: Decision::Rejected,
            status: Reject::ClientGone.status(),
            reject: Some(Reject::ClientGone),
            sent: 0,
            received: 0,
            end: Cell::new(End::AsSent),
            _slot: None,
            _busy: busy,
        })
    }

    /// Tells whether its two sides may have nothing to say for as long as they like: a call does that
    /// now and then. One of nobody's has no end of its own, so it may not.
    pub(super) fn may_be_silent(&self) -> bool {
        self.is_call && self.caller.is_some()
    }

    /// Keeps the request's place among those under way until it is over.
    pub(super) fn hold(&mut self, slot: InFlight) {
        self._slot = Some(slot);
    }

    /// The backend answered.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.reject = self.reported.take();
        self.decision = match (&self.reject, &self.caller) {
            (Some(_), _) => Decision::WouldReject,
            (None, Some(_)) => Decision::Allowed,
            (None, None) => Decision::Anonymous,
        };
    }

    /// We answered, with this status.
    pub(super) fn refused(&mut self, refusal: Refusal, status: StatusCode) {
        self.status = status;
        self.decision = match &refusal.reject {
            Reject::Handshake(_) | Reject::HandshakeOver { .. } => Decision::Handshake,
            reject if reject.is_failure() => Decision::Failed,
            _ => Decision::Rejected,
        };
        self.reject = Some(refusal.reject);
    }

    /// A piece of the answer's body was handed on.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The backend broke the answer off.
    pub(super) fn broken_off(&self) {
        self.end.set(End::BrokenOff);
    }

    /// The backend said nothing more of the answer for too long.
    pub(super) fn fell_silent(&self) {
        self.end.set(End::Silent);
    }

    /// We ended the stream that the answer is, or has become.
    pub(super) fn stream_ended(&self, end: StreamEnd) {
        self.shared.metrics.stream_ended(end);
        self.end.set(End::Over(end));
    }

    /// So many bytes passed through the tunnel that the answer has become.
    pub(super) fn tunnelled(&mut self, received: u64, sent: u64) {
        self.received += received;
        self.sent += sent;
    }
}

/// The request is over, in whatever way: it is counted and logged.
impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.refused(Reject::Internal.into(), Reject::Internal.status());
        }
        let route = self.route.unwrap_or(self.shared.no_metrics_place());
        let reason = self.reject.as_ref().map(Reject::label);
        let over = if self.sent > AT_ONCE { present::looked() } else { present::now() };
        let total = over - self.started;
        self.shared.tally.request(
            route,
            &Outcome {
                decision: self.decision,
                reason,
                carrier: self.carrier,
                status: self.status,
                seconds: total.as_secs_f64(),
                upstream: self.upstream.map(|took| took.as_secs_f64()),
            },
        );
        let Some(log) = &self.shared.log else { return };
        // A backend breaks off where the request was broken off before.
        let fault = || self.body.as_ref().and_then(|body| body.fault());
        let detail = match (&self.reject, self.end.get()) {
            (Some(reject), _) => Some(reject.to_string()),
            (None, End::BrokenOff) if let Some(fault) = fault() => Some(fault.to_string()),
            (None, end) => end.detail().map(str::to_owned),
        };
        log.write(&Line {
            time: self.shared.clock.now(),
            request_id: self.request_id.to_str().unwrap_or_default(),
            method: shown(&self.method),
            route: self.shared.routes.0[route].name(),
            path: &self.path,
            status: self.status.as_u16(),
            decision: self.decision.label(),
            reason: reason.unwrap_or("none"),
            detail,
            carrier: self.carrier.label(),
            caller: self.caller.as_deref().map(caller_line),
            bytes_in: self.received + self.body.as_ref().map_or(0, |body| body.bytes()),
            bytes_out: self.sent,
            total,
            auth: self.auth,
            upstream: self.upstream,
            client: self.client,
            trace: self.trace.as_ref(),
        });
    }
}

/// A method as the log has it. A client may make one up, of any length: one put its token there.
fn shown(method: &Method) -> &str {
    const LONGEST: usize = "UPDATEREDIRECTREF".len(); // of those that are registered
    let method = method.as_str();
    if method.len() <= LONGEST { method } else { "(longer than any)" }
}

fn caller_line(known: &Known) -> CallerLine<'_> {
    CallerLine {
        token_type: known.class.as_str(),
        sub: &known.subject,
        sid: known.session_id.as_deref(),
        org_id: known.standing.session.organization.as_ref().map(|org| org.id.as_str()),
        actor: known.standing.session.actor.as_deref(),
        kid: known.key.kid().map(crate::core::jwk::KeyId::as_str),
        iss: &known.issuer,
    }
}
