//! The task that fetches an issuer's keys, again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use super::Shared;
use super::held::{GONE_AFTER, Held};
use super::schedule::{Jitter, lifetime, second_look, wait_before_fetch};
use super::source;
use crate::clock::Clock;
use crate::core::time::UnixTime;
use crate::http_client::HttpClient;
use crate::telemetry::metrics::RefreshResult;

/// Fetches an issuer's keys, again and again.
#[derive(Debug)]
pub struct Refresher {
    pub(super) shared: Arc<Shared>,
    pub(super) publish: watch::Sender<Arc<Held>>,
    pub(super) client: HttpClient,
    pub(super) clock: Clock,
}

impl Refresher {
    /// Fetches and publishes until nobody holds the keys any more.
    pub async fn run(self) {
        loop {
            let wait = self.refresh().await;
            let next = Instant::now() + wait;
            tokio::select! {
                () = time::sleep_until(next) => {}
                () = self.shared.wanted.notified() => {}
                () = self.publish.closed() => return,
            }
        }
    }

    /// Fetches once, publishes what that changes, and returns how long to wait.
    async fn refresh(&self) -> Duration {
        let settings = &self.shared.settings;
        self.shared.unknown().begin();
        let answer = source::fetch(settings, &self.client).await;
        let before = Arc::clone(&self.publish.borrow());
        let now = self.clock.now();
        let (mut held, fresh_for) = match answer {
            Ok(answer) => (before.renewed(answer.set, now), answer.lifetime),
            Err(problem) => (before.failed(problem), lifetime(None)),
        };
        self.tell(&before, &held, now);
        if held.failures == 0 {
            self.shared.unknown().forget();
        }
        let jitter = jitter();
        let usable = held.usable(settings.max_stale, now);
        // Keys that are not fetched again in time are past it while their issuer is well.
        let fresh_for = fresh_for.min(settings.max_stale);
        let mut wait = wait_before_fetch(held.failures, usable, fresh_for, jitter);
        if held.failures == 0 && held.misses_any() {
            // Whether a key is gone shows at the next fetch; until then its tokens are good.
            wait = wait.min(second_look(GONE_AFTER, jitter));
        }
        held.next_refresh = Some(now.plus(wait));
        self.publish.send_replace(Arc::new(held));
        wait
    }

    fn tell(&self, before: &Held, held: &Held, now: UnixTime) {
        let settings = &self.shared.settings;
        let issuer = &settings.issuer;
        let result = match (held.failures, held.generation == before.generation) {
            (0, true) => RefreshResult::Unchanged,
            (0, false) => RefreshResult::Ok,
            _ => RefreshResult::Error,
        };
        self.shared.metrics.refreshed(result);
        let usable = held.usable(settings.max_stale, now);
        let last_success = held.last_success.map(UnixTime::as_secs);
        self.shared.metrics.holds(
            held.set.len(),
            last_success,
            held.failures > 0 && !held.set.is_empty(),
        );
        match &held.last_error {
            Some(problem) => {
                warn!(issuer, problem, failures = held.failures, usable, "key set not refreshed");
            }
            None if result == RefreshResult::Ok => {
                info!(issuer, keys = held.set.len(), "key set refreshed");
            }
            None => debug!(issuer, "key set unchanged"),
        }
    }
}

fn jitter() -> Jitter {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
    Jitter::from_random(random)
}
