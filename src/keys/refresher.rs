//! The task that fetches an issuer's keys, again and again.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use super::held::{GONE_AFTER, Held};
use super::schedule::{Jitter, Outlook, Stake, Wait, second_look};
use super::source::{Answer, Failure, Source};
use super::{KeySource, Shared};
use crate::clock::Clock;
use crate::core::time::UnixTime;
use crate::http_client::HttpClient;
use crate::telemetry::metrics::RefreshResult;
use crate::watched::Watched;

/// Fetches an issuer's keys, again and again.
#[derive(Debug)]
pub struct Refresher {
    shared: Arc<Shared>,
    publish: watch::Sender<Arc<Held>>,
    clock: Clock,
    source: Source,
    /// The key file, where the keys come from one.
    file: Option<Watched>,
}

impl Refresher {
    pub(super) fn new(
        shared: Arc<Shared>,
        publish: watch::Sender<Arc<Held>>,
        client: HttpClient,
        clock: Clock,
    ) -> Self {
        let file = match &shared.settings.source {
            KeySource::File(path) => Some(Watched::new(path.clone())),
            KeySource::Url(_) | KeySource::Discovery(_) | KeySource::Pem(_) => None,
        };
        Self { shared, publish, source: Source::new(client, clock.clone()), clock, file }
    }

    /// Fetches and publishes until nobody holds the keys any more.
    pub async fn run(mut self) {
        if let Some(file) = &mut self.file {
            file.changed().await; // the first look: what comes after it is a change
        }
        loop {
            let wait = self.refresh().await;
            let now = Instant::now();
            tokio::select! {
                () = time::sleep_until(now + wait.next) => {}
                () = self.shared.asked_for(now + wait.held_off) => {}
                () = changed(&mut self.file) => {}
                () = self.publish.closed() => return,
            }
        }
    }

    /// Fetches once, publishes what that changes, and returns how long to wait.
    async fn refresh(&mut self) -> Wait {
        let settings = &self.shared.settings;
        self.shared.begin();
        let before = Arc::clone(&self.publish.borrow());
        let stake = Stake::of(before.usable_for(settings.max_stale, self.clock.now()));
        let outcome = self.source.fetch(settings, stake).await;
        let now = self.clock.now();
        let (mut held, wait) = next(&before, outcome, settings.max_stale, now, jitter());
        held.held_off = (!wait.held_off.is_zero()).then(|| Instant::now() + wait.held_off);
        if held.failures == 0 {
            self.shared.unknown().forget();
        }
        self.tell(&before, &held, now);
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
        match &held.last_error {
            Some(problem) => {
                let usable = held.usable(settings.max_stale, now);
                warn!(issuer, problem, failures = held.failures, usable, "key set not refreshed");
            }
            None if result == RefreshResult::Ok => {
                info!(issuer, keys = held.set.len(), "key set refreshed");
            }
            None => debug!(issuer, "key set unchanged"),
        }
    }
}

impl Shared {
    /// Takes note that a fetch begins: whoever asked for one so far is served by it.
    fn begin(&self) {
        pin!(self.wanted.notified()).enable();
        self.unknown().begin();
    }

    /// Waits until a request asks for a fetch, which none does before `not_before`.
    async fn asked_for(&self, not_before: Instant) {
        time::sleep_until(not_before).await;
        self.wanted.notified().await;
    }
}

/// Waits until the file looks other than before; for ever where there is none.
async fn changed(file: &mut Option<Watched>) {
    match file {
        Some(file) => file.changed().await,
        None => pending().await,
    }
}

/// Returns what is held after a fetch that ended at the time `now`, and how long to wait.
fn next(
    before: &Held,
    outcome: Result<Answer, Failure>,
    max_stale: Duration,
    now: UnixTime,
    jitter: Jitter,
) -> (Held, Wait) {
    let (mut held, lifetime, retry_after) = match outcome {
        Ok(Answer { set, lifetime }) => (before.renewed(set, lifetime, now), lifetime, None),
        Err(Failure { problem, retry_after }) => {
            (before.failed(problem), Duration::ZERO, retry_after)
        }
    };
    let (failures, usable_for) = (held.failures, held.usable_for(max_stale, now));
    let mut wait = Outlook { failures, usable_for, lifetime, retry_after }.wait(jitter);
    if failures == 0 && held.misses_any() {
        // Whether a key is gone shows at the next fetch; until then its tokens are good.
        wait.next = wait.next.min(second_look(GONE_AFTER, jitter));
    }
    held.next_refresh = Some(now.plus(wait.next));
    (held, wait)
}

fn jitter() -> Jitter {
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
    Jitter::from_random(random)
}
