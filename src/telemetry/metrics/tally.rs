//! What one thread counts for itself: what every request counts, without an atomic operation for each.
//!
//! It is added to the metrics when the thread has nothing else to do, and before that whenever 64 requests have
//! ended: whoever reads them sees what was so a moment ago.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use prometheus::IntGauge;

use super::Metrics;
use super::callers::{AuthSource, CallersTally, Lookup};
use super::requests::{Outcome, RouteMetrics, RouteTally};
use super::upstream::{UpstreamResult, UpstreamTally};

/// How many requests have ended when a thread that is never without work adds up what it has counted.
const OFTEN: usize = 64;

thread_local! {
    /// Those of this thread: the one of its settings, and those of settings before while requests go on by them.
    static TALLIES: RefCell<Vec<Weak<Tally>>> = const { RefCell::new(Vec::new()) };
}

/// Adds what this thread has counted to the metrics.
pub fn add_up() {
    TALLIES.with_borrow_mut(|tallies| {
        tallies.retain(|tally| tally.upgrade().inspect(|tally| tally.add_up()).is_some());
    });
}

/// What one thread counts by one set of settings.
pub struct Tally {
    routes: Box<[RouteTally]>,
    callers: CallersTally,
    upstream: UpstreamTally,
    /// Of which routes there were requests since this was last added up; one for each request.
    counted: RefCell<Vec<usize>>,
    /// Requests under way.
    pub in_flight: GaugeTally,
    /// Connections to the backend that wait for a request.
    pub upstream_idle: GaugeTally,
    /// Connections to the backend that have one.
    pub upstream_active: GaugeTally,
}

impl Tally {
    /// Begins to count, on this thread, what belongs to `metrics` and the `routes`.
    pub fn new(metrics: &Metrics, routes: &[RouteMetrics]) -> Rc<Self> {
        let tally = Rc::new(Self {
            routes: routes.iter().map(RouteTally::of).collect(),
            callers: CallersTally::of(&metrics.callers),
            upstream: UpstreamTally::of(&metrics.upstream),
            counted: RefCell::new(Vec::with_capacity(OFTEN)),
            in_flight: GaugeTally::of(&metrics.in_flight),
            upstream_idle: GaugeTally::of(&metrics.upstream_idle),
            upstream_active: GaugeTally::of(&metrics.upstream_active),
        });
        TALLIES.with_borrow_mut(|tallies| tallies.push(Rc::downgrade(&tally)));
        tally
    }

    /// Counts a request that is over, of the route at this place.
    pub fn request(&self, route: usize, outcome: &Outcome) {
        self.routes[route].count(outcome);
        let mut counted = self.counted.borrow_mut();
        counted.push(route);
        if counted.len() >= OFTEN {
            drop(counted);
            add_up(); // also what settings before these have left
        }
    }

    /// Counts how long it took to know who calls, in seconds.
    pub fn authenticated(&self, source: AuthSource, seconds: f64) {
        self.callers.authenticated(source, seconds);
    }

    /// Counts a look-up among the tokens verified before, whatever becomes of the token.
    pub fn looked_up(&self, lookup: Lookup) {
        self.callers.looked_up(lookup);
    }

    /// Counts how sending to the backend ended.
    pub fn upstream(&self, result: UpstreamResult) {
        self.upstream.count(result);
    }

    fn add_up(&self) {
        for route in self.counted.borrow_mut().drain(..) {
            self.routes[route].add_up();
        }
        self.callers.add_up();
        self.upstream.add_up();
        for gauge in [&self.in_flight, &self.upstream_idle, &self.upstream_active] {
            gauge.add_up();
        }
    }
}

/// What is left is told.
impl Drop for Tally {
    fn drop(&mut self) {
        self.add_up();
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tally")
    }
}

/// By how much one thread has moved a gauge.
#[derive(Debug)]
pub struct GaugeTally {
    gauge: IntGauge,
    moved: Cell<i64>,
}

impl GaugeTally {
    fn of(gauge: &IntGauge) -> Self {
        Self { gauge: gauge.clone(), moved: Cell::new(0) }
    }

    /// One more.
    pub fn inc(&self) {
        self.moved.set(self.moved.get() + 1);
    }

    /// One less.
    pub fn dec(&self) {
        self.sub(1);
    }

    /// So many less.
    pub fn sub(&self, less: i64) {
        self.moved.set(self.moved.get() - less);
    }

    fn add_up(&self) {
        match self.moved.take() {
            0 => {}
            moved => self.gauge.add(moved),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use prometheus::Registry;

    use super::super::{Carrier, Decision};
    use super::*;

    fn outcome(status: u16, reason: Option<&'static str>) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        let decision = if reason.is_some() { Decision::Rejected } else { Decision::Allowed };
        Outcome {
            decision,
            reason,
            carrier: Carrier::Header,
            status,
            seconds: 0.002,
            upstream: Some(0.001),
        }
    }

    /// The value of the one line that has all of this in it; 0 where there is none.
    fn value(metrics: &Metrics, parts: &[&str]) -> f64 {
        let text = String::from_utf8(metrics.render()).unwrap();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Those of a route that were told.
    fn counted(metrics: &Metrics) -> u64 {
        metrics.requests.allowed("a")
    }

    #[test]
    fn what_a_thread_counts_is_told_once_it_is_added_up() {
        let metrics = Metrics::register(Registry::new()).unwrap();
        let routes = ["a", "b"].map(|name| metrics.of_route(name));
        let tally = Tally::new(&metrics, &routes);
        tally.request(0, &outcome(200, None));
        tally.request(0, &outcome(200, None));
        tally.request(1, &outcome(401, Some("session-token-expired")));
        tally.authenticated(AuthSource::Verified, 0.000_03);
        tally.looked_up(Lookup::Hit);
        tally.upstream(UpstreamResult::Retried);
        tally.in_flight.inc();
        tally.upstream_active.inc();
        tally.upstream_active.dec();
        assert_eq!((counted(&metrics), metrics.in_flight.get()), (0, 0), "it is with the thread");
        for (parts, want) in [
            (&["requests_total{", r#""a""#, "allowed"][..], 2.0),
            (&["requests_total{", r#""b""#, "session-token-expired"], 1.0),
            (&["responses_total{", r#""a""#, r#""200""#], 2.0),
            (&["responses_total{", r#""b""#, r#""401""#], 1.0),
            (&["request_duration_seconds_count", r#""a""#], 2.0),
            (&["request_duration_seconds_sum", r#""b""#], 0.002),
            (&["upstream_request_duration_seconds_bucket", r#""a""#, r#"le="0.001""#], 2.0),
            (&["auth_duration_seconds_count", "verified"], 1.0),
            (&["token_cache_lookups_total", "hit"], 1.0),
            (&["upstream_requests_total", "retried"], 1.0),
            (&["requests_in_flight "], 1.0),
            (&["upstream_connections", "active"], 0.0),
        ] {
            assert_eq!(value(&metrics, parts), want, "{parts:?}"); // which adds up, and once
        }
    }

    #[test]
    fn a_thread_that_always_has_work_and_settings_that_end_keep_nothing_back() {
        let metrics = Metrics::register(Registry::new()).unwrap();
        let tally = Tally::new(&metrics, &[metrics.of_route("a")]);
        for _ in 0..OFTEN + 1 {
            tally.request(0, &outcome(200, None));
        }
        assert_eq!(counted(&metrics), OFTEN as u64);
        drop(tally);
        assert_eq!(counted(&metrics), OFTEN as u64 + 1);
        add_up();
        TALLIES.with_borrow(|tallies| assert!(tallies.is_empty(), "{tallies:?}"));
    }
}
