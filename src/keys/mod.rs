//! Where verification keys come from: find, fetch, refresh.
//!
//! One task a key set ([`Refresher::run`]) fetches and publishes; every request reads a snapshot.
//! A request waits for a fetch in two cases only: the first has not ended yet, or its token names
//! a key nobody knows. However many such requests there are, they share one fetch, and there is
//! at most one in ten seconds, so that a stranger who invents key names moves nothing.

mod held;
mod schedule;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::CACHE_CONTROL;
use tokio::sync::{Notify, watch};
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use self::held::GONE_AFTER;
pub use self::held::Held;
use self::schedule::{Jitter, lifetime, second_look, wait_before_fetch};
use crate::clock::Clock;
use crate::core::jwk::{Algorithms, KeyId, VerificationKey};
use crate::core::jwk_set::{KeySet, KeySetNotes};
use crate::core::reject::Reject;
use crate::core::time::UnixTime;
use crate::http_client::{FetchUrl, HttpClient};
use crate::telemetry::metrics::{KeyMetrics, RefreshResult, UnknownKid};

/// How one issuer's keys are had.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// What metrics and logs call the issuer: its URL.
    pub issuer: String,
    /// Where the keys are.
    pub source: KeySource,
    /// What the issuer may sign with.
    pub algorithms: Algorithms,
    /// How long the last good keys serve while no newer ones can be had.
    ///
    /// File: `clerk.max_stale = "24h"`. At least 1 min. Default: 24 h.
    pub max_stale: Duration,
}

impl KeySettings {
    /// One day: longer than any outage that nobody mends, shorter than a key that leaked is let live.
    pub const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// A JWK Set behind an address, refreshed in the background.
    Url(FetchUrl),
    /// A JWK Set in a file, read again as often as an address would be.
    File(PathBuf),
    /// Public keys in PEM, which never change; they are read again all the same, so as not to age.
    Pem(String),
}

/// How long a request waits for an issuer's first key set.
const FIRST_FETCH: Duration = Duration::from_secs(2);
/// How long a request waits for a key nobody knows: what a fetch may take, and a little.
const UNKNOWN_KEY: Duration = Duration::from_millis(5_500);
/// For an unknown key there is at most one fetch in this time.
const UNKNOWN_EVERY: Duration = Duration::from_secs(10);
/// How many unknown names are kept in mind. Beyond that, throttling alone guards the issuer.
const UNKNOWN_NAMES: usize = 1024;

/// The keys of one issuer, for those who verify.
///
/// Cheap to clone; each clone sees every later key set. A fetch builds a whole new set and swaps
/// it in, so a reader neither waits nor sees half of one.
#[derive(Clone, Debug)]
pub struct Keys {
    held: watch::Receiver<Arc<Held>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: KeySettings,
    metrics: KeyMetrics,
    /// Asks the refresher for a fetch.
    wanted: Notify,
    /// Held for a few lines, never across a wait; only requests with unknown keys come here.
    unknown: Mutex<Unknown>,
}

#[derive(Debug, Default)]
struct Unknown {
    /// How many fetches have begun.
    begun: u64,
    /// When a fetch was last asked for, and which: the first to begin after that.
    asked: Option<(Instant, u64)>,
    /// Names that were not in a good key set, and until when that is taken as known.
    names: HashMap<KeyId, Instant>,
}

/// What to do for a key nobody knows.
enum Ask {
    /// Have this fetch made and wait for it.
    Refetch(u64),
    /// Wait for this one, which somebody else asked for.
    Wait(u64),
    Refuse(UnknownKid),
}

/// The keys a token may be verified with, and whether a fetch had to be waited for.
#[derive(Clone, Debug)]
pub struct Found {
    /// The key set they are of.
    pub held: Arc<Held>,
    /// Whether the request waited.
    pub waited: bool,
}

impl Keys {
    /// Returns the keys of this moment, to be used for one request.
    pub fn snapshot(&self) -> Arc<Held> {
        Arc::clone(&self.held.borrow())
    }

    /// Tells whether there are newer keys than those this clone has seen.
    pub fn have_changed(&self) -> bool {
        self.held.has_changed().unwrap_or(false)
    }

    /// Returns the keys of this moment and takes them as seen.
    pub fn latest(&mut self) -> Arc<Held> {
        Arc::clone(&self.held.borrow_and_update())
    }

    /// Returns what the keys were set up with.
    pub fn settings(&self) -> &KeySettings {
        &self.shared.settings
    }

    /// Finds the key set that has a key named `kid`, at the time `now`.
    ///
    /// # Errors
    ///
    /// [`Reject::KeysUnavailable`] where no usable key set was to be had, [`Reject::KeyUnknown`]
    /// where there is one and the key is not in it.
    pub async fn find(&self, kid: Option<&KeyId>, now: UnixTime) -> Result<Found, Reject> {
        let max_stale = self.shared.settings.max_stale;
        let mut waited = false;
        let mut held = self.snapshot();
        if held.failures == 0 && !held.usable(max_stale, now) {
            if held.fetches > 0 {
                // The machine slept: the keys grew old, and the refresher's timer did not run.
                self.shared.wanted.notify_one();
            }
            waited = true;
            held = self.after(held.fetches + 1, None, FIRST_FETCH).await;
        }
        if !held.usable(max_stale, now) {
            return Err(Reject::KeysUnavailable);
        }
        if !held.set.find(kid).is_empty() {
            return Ok(Found { held, waited });
        }
        let unknown = Reject::KeyUnknown { kid: kid.cloned() };
        let Some(kid) = kid else { return Err(unknown) };
        let held = self.fetched_for(kid, &held).await?;
        if held.set.find(Some(kid)).is_empty() {
            Err(unknown)
        } else {
            Ok(Found { held, waited: true })
        }
    }

    /// Has keys fetched for one nobody knows, or waits for the fetch that is under way.
    ///
    /// # Errors
    ///
    /// [`Reject::KeyUnknown`] where there was a fetch just now, [`Reject::KeysUnavailable`] where
    /// none succeeded: the key may exist, and we cannot tell.
    async fn fetched_for(&self, kid: &KeyId, held: &Held) -> Result<Arc<Held>, Reject> {
        let fetch = match self.shared.ask(kid, held) {
            Ask::Refuse(action) => {
                self.shared.metrics.unknown_kid(action);
                return Err(match action {
                    UnknownKid::Throttled if held.failures > 0 => Reject::KeysUnavailable,
                    _ => Reject::KeyUnknown { kid: Some(kid.clone()) },
                });
            }
            Ask::Refetch(fetch) => {
                self.shared.metrics.unknown_kid(UnknownKid::Refetched);
                debug!(issuer = self.shared.settings.issuer, %kid, "unknown key: fetching the key set");
                self.shared.wanted.notify_one();
                fetch
            }
            Ask::Wait(fetch) => {
                self.shared.metrics.unknown_kid(UnknownKid::Refetched);
                fetch
            }
        };
        let held = self.after(fetch, Some(kid), UNKNOWN_KEY).await;
        if !held.set.find(Some(kid)).is_empty() {
            return Ok(held);
        }
        if held.failures > 0 || held.fetches < fetch {
            return Err(Reject::KeysUnavailable);
        }
        self.shared.remember_unknown(kid);
        Ok(held)
    }

    /// Waits, no longer than `at_most`, until this fetch has ended, or one before it has brought
    /// the key that is asked for.
    async fn after(&self, fetch: u64, kid: Option<&KeyId>, at_most: Duration) -> Arc<Held> {
        let mut held = self.held.clone();
        let brought = |held: &Held| kid.is_some_and(|kid| !held.set.find(Some(kid)).is_empty());
        let fetched = held.wait_for(|held| held.fetches >= fetch || brought(held));
        // Past the time, or with the refresher gone, what is held is all there is.
        drop(time::timeout(at_most, fetched).await);
        self.snapshot()
    }

    /// Waits until there are usable keys.
    pub async fn usable(&self, clock: &Clock) {
        let max_stale = self.shared.settings.max_stale;
        let mut held = self.held.clone();
        // An error says that the refresher has ended: then there will be none, and nobody to tell.
        drop(held.wait_for(|held| held.usable(max_stale, clock.now())).await);
    }

    /// Tells whether there are usable keys at the time `now`.
    pub fn are_usable(&self, now: UnixTime) -> bool {
        self.held.borrow().usable(self.shared.settings.max_stale, now)
    }
}

impl Shared {
    fn ask(&self, kid: &KeyId, held: &Held) -> Ask {
        if !matches!(self.settings.source, KeySource::Url(_)) {
            return Ask::Refuse(UnknownKid::NegativeCached);
        }
        let now = Instant::now();
        let mut unknown = self.unknown();
        if unknown.names.get(kid).is_some_and(|until| now < *until) {
            return Ask::Refuse(UnknownKid::NegativeCached);
        }
        match unknown.asked {
            Some((then, fetch)) if held.fetches < fetch && now < then + UNKNOWN_KEY => {
                Ask::Wait(fetch)
            }
            Some((then, _)) if now < then + UNKNOWN_EVERY => Ask::Refuse(UnknownKid::Throttled),
            _ => {
                // One that is under way may have been answered before the key was published.
                let fetch = unknown.begun + 1;
                unknown.asked = Some((now, fetch));
                Ask::Refetch(fetch)
            }
        }
    }

    fn remember_unknown(&self, kid: &KeyId) {
        let now = Instant::now();
        let mut unknown = self.unknown();
        if unknown.names.len() >= UNKNOWN_NAMES {
            unknown.names.retain(|_, until| now < *until);
        }
        if unknown.names.len() < UNKNOWN_NAMES {
            unknown.names.insert(kid.clone(), now + UNKNOWN_EVERY);
        }
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches an issuer's keys, again and again.
#[derive(Debug)]
pub struct Refresher {
    shared: Arc<Shared>,
    publish: watch::Sender<Arc<Held>>,
    client: HttpClient,
    clock: Clock,
}

/// Sets up an issuer's keys: those who verify get the first, a task runs the second.
pub fn keys(
    settings: KeySettings,
    client: HttpClient,
    clock: Clock,
    metrics: KeyMetrics,
) -> (Keys, Refresher) {
    let (publish, held) = watch::channel(Arc::new(Held::default()));
    let shared =
        Arc::new(Shared { settings, metrics, wanted: Notify::new(), unknown: Mutex::default() });
    let keys = Keys { held, shared: Arc::clone(&shared) };
    (keys, Refresher { shared, publish, client, clock })
}

/// A fetch that brought keys.
struct Answer {
    set: KeySet,
    lifetime: Duration,
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
        self.shared.unknown().begun += 1;
        let answer = self.fetch().await;
        let before = Arc::clone(&self.publish.borrow());
        let now = self.clock.now();
        let (mut held, fresh_for) = match answer {
            Ok(answer) => (before.renewed(answer.set, now), answer.lifetime),
            Err(problem) => (before.failed(problem), lifetime(None)),
        };
        self.tell(&before, &held, now);
        if held.failures == 0 {
            self.shared.unknown().names.clear();
        }
        let mut random = [0; 4];
        aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
        let jitter = Jitter::from_random(random);
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

    async fn fetch(&self) -> Result<Answer, String> {
        let settings = &self.shared.settings;
        let (text, lifetime) = match &settings.source {
            KeySource::Pem(text) => {
                let keys = VerificationKey::all_from_pem(text, settings.algorithms);
                let keys = keys.map_err(|problem| problem.to_string())?;
                return Ok(Answer { set: KeySet::unnamed(keys), lifetime: LONG });
            }
            KeySource::File(path) => {
                let text = read_bounded(path).map_err(|error| error.to_string())?;
                (text.into(), FILE_AGAIN)
            }
            KeySource::Url(url) => {
                let fetched = self.client.get(url, &HeaderMap::new()).await;
                let fetched = fetched.map_err(|error| error.to_string())?;
                if fetched.status != http::StatusCode::OK {
                    return Err(format!("the answer has status {}", fetched.status.as_u16()));
                }
                let cache_control = fetched.headers.get(CACHE_CONTROL);
                let lifetime = lifetime(cache_control.and_then(|value| value.to_str().ok()));
                (fetched.body, lifetime)
            }
        };
        let (set, notes) =
            KeySet::parse(&text, settings.algorithms).map_err(|problem| problem.to_string())?;
        self.warn_of(&notes);
        Ok(Answer { set, lifetime })
    }

    fn warn_of(&self, notes: &KeySetNotes) {
        let issuer = &self.shared.settings.issuer;
        if !notes.private.is_empty() {
            warn!(issuer, keys = ?notes.private, "the key set was published with private parts; they are ignored, and known to everybody");
        }
        for (place, problem) in &notes.skipped {
            warn!(issuer, key = place, %problem, "a key of the set is not used");
        }
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

/// A key file is read again this often: 80 % of this, less jitter.
const FILE_AGAIN: Duration = Duration::from_secs(60);
/// For ever, as far as timers go.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads a key file, no more of it than a fetch would take.
fn read_bounded(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    const MAX: u64 = 1024 * 1024;
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX {
        return Err(std::io::Error::other("the key file is larger than 1 MiB"));
    }
    Ok(text)
}
