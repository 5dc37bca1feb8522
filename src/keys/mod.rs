//! Where verification keys come from: find, fetch, refresh.
//!
//! One task a key set ([`Refresher::run`]) fetches and publishes; every request reads a snapshot.
//! A request waits for a fetch in three cases only: the first has not ended yet, its token names a
//! key nobody knows, or its signature is not of the key that it names, in whose place there may be
//! another by now. However many such requests there are, they share one fetch, and there is at most
//! one in ten seconds, so that a stranger who invents key names or signatures moves nothing.
//!
//! ```text
//!  find a key       mod → unknown    the keys of this moment; may this token have them fetched?
//!  the task         refresher        waits, fetches, publishes, counts
//!  one fetch        source → remote, discovery    an address, the issuer's own word for it, a file
//!  what it changes  held             the keys, which are missing, until when they are good
//!  and when next    schedule         Cache-Control, Retry-After, back-off, chance
//! ```

mod discovery;
mod held;
mod refresher;
mod remote;
mod schedule;
mod source;
mod unknown;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{self, Instant};
use tracing::debug;

pub use self::held::Held;
pub use self::refresher::Refresher;
use self::unknown::{Ask, UNKNOWN_KEY, Unknown};
use crate::clock::Clock;
use crate::core::jwk::{Algorithms, KeyId};
use crate::core::jwk_set::KeyNames;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;
use crate::http_client::{FetchUrl, HttpClient};
use crate::telemetry::metrics::{KeyMetrics, UnknownKid};

/// How one issuer's keys are had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySettings {
    /// What metrics and logs call the issuer: its URL.
    pub issuer: String,
    /// Where the keys are.
    pub source: KeySource,
    /// What the issuer may sign with.
    pub algorithms: Algorithms,
    /// What the names of its keys are to the issuer.
    pub names: KeyNames,
    /// How long the last good keys serve while no newer ones can be had.
    ///
    /// File: `clerk.max_stale = "24h"`. At least 1 min. Default: 24 h.
    pub max_stale: Duration,
}

impl KeySettings {
    /// One day: longer than any outage that nobody mends, shorter than a key that leaked is let live.
    pub const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);

    /// Tells whether the keys are the same ones, however long they serve.
    fn has_keys_of(&self, other: &Self) -> bool {
        Self { max_stale: other.max_stale, ..self.clone() } == *other
    }
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// A JWK Set behind an address, refreshed in the background.
    Url(FetchUrl),
    /// The JWK Set that the issuer at this URL names in its discovery document (OpenID Connect
    /// Discovery 1.0 §4), whose `issuer` must be [`KeySettings::issuer`] to the letter.
    Discovery(FetchUrl),
    /// A JWK Set in a file, read again within about a second of a change, and every minute. A key
    /// that is taken out of it is gone as one of an address is: after two looks 30 s apart.
    File(PathBuf),
    /// Public keys in PEM, which never change; they are read again all the same, so as not to age.
    Pem(String),
}

/// How long a request waits for an issuer's first key set.
const FIRST_FETCH: Duration = Duration::from_secs(2);

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
    /// Held for a few lines, never across a wait; only requests with unknown or other keys come here.
    unknown: Mutex<Unknown>,
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

    /// Returns what every later key set comes through.
    pub fn watch(&self) -> watch::Receiver<Arc<Held>> {
        self.held.clone()
    }

    /// Tells whether these are the keys of the same refresher.
    pub fn is_same(&self, other: &Self) -> bool {
        self.held.same_channel(&other.held)
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
        let found = self.usable_at(now).await?;
        if !found.held.set.find(kid).is_empty() {
            return Ok(found);
        }
        let unknown = Reject::KeyUnknown { kid: kid.cloned() };
        let Some(kid) = kid else { return Err(unknown) };
        let held = self.fetched_for(kid, &found.held).await?;
        if held.set.find(Some(kid)).is_empty() {
            Err(unknown)
        } else {
            Ok(Found { held, waited: true })
        }
    }

    /// Returns keys that are usable at the time `now`; waits where none could be fetched yet.
    async fn usable_at(&self, now: UnixTime) -> Result<Found, Reject> {
        let max_stale = self.shared.settings.max_stale;
        let mut found = Found { held: self.snapshot(), waited: false };
        if found.held.usable(max_stale, now) {
            return Ok(found);
        }
        if found.held.overdue(now) {
            // The machine slept: the keys grew old, and the refresher's timer did not run.
            self.shared.wanted.notify_one();
        }
        if found.held.failures == 0 {
            let held = self.after(found.held.fetches + 1, |_| false, FIRST_FETCH).await;
            found = Found { held, waited: true };
        }
        if found.held.usable(max_stale, now) { Ok(found) } else { Err(Reject::KeysUnavailable) }
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
                    UnknownKid::Throttled | UnknownKid::NegativeCached | UnknownKid::Refetched => {
                        Reject::KeyUnknown { kid: Some(kid.clone()) }
                    }
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
        let brought = |held: &Held| !held.set.find(Some(kid)).is_empty();
        let held = self.after(fetch, brought, UNKNOWN_KEY).await;
        if brought(&held) {
            return Ok(held);
        }
        if held.failures > 0 || held.fetches < fetch {
            return Err(Reject::KeysUnavailable);
        }
        self.shared.unknown().remember(kid, Instant::now());
        Ok(held)
    }

    /// Finds the key set in which another key has taken the place of the one named `kid` in those
    /// `held`, for a token whose signature is not of that; nothing where none has, or that cannot
    /// be found out now.
    ///
    /// The name may well stay the same when a key is replaced: Clerk's is the instance's.
    pub async fn replaced(&self, kid: Option<&KeyId>, held: &Held) -> Option<Arc<Held>> {
        let before = held.set.find(Some(kid?));
        let replaced = |held: &Held| {
            let now = held.set.find(kid);
            !now.is_empty() && !now.iter().all(|key| before.iter().any(|it| Arc::ptr_eq(it, key)))
        };
        let now = self.snapshot();
        if replaced(&now) {
            return Some(now);
        }
        let fetch = match self.shared.ask(kid?, &now) {
            Ask::Refuse(_) => return None,
            Ask::Refetch(fetch) => {
                debug!(issuer = self.shared.settings.issuer, kid = %kid?, "bad signature: fetching the key set");
                self.shared.wanted.notify_one();
                fetch
            }
            Ask::Wait(fetch) => fetch,
        };
        let now = self.after(fetch, replaced, UNKNOWN_KEY).await;
        replaced(&now).then_some(now)
    }

    /// Waits, no longer than `at_most`, until this fetch has ended, or one before it has brought
    /// what is looked for.
    async fn after(
        &self,
        fetch: u64,
        brought: impl Fn(&Held) -> bool,
        at_most: Duration,
    ) -> Arc<Held> {
        let mut held = self.held.clone();
        let fetched = held.wait_for(|held| {
            held.fetches >= fetch || brought(held) || held.is_held_off(Instant::now())
        });
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

    /// Says in the metrics which keys are in use at the time `now`, and whether they are stale.
    pub fn measure(&self, now: UnixTime) {
        let held = self.held.borrow();
        let usable = held.usable(self.shared.settings.max_stale, now);
        let keys = if usable { held.set.len() } else { 0 };
        let last_success = held.last_success.map(UnixTime::as_secs);
        self.shared.metrics.holds(keys, last_success, held.stale(now));
    }

    /// Tells whether there are usable keys at the time `now`.
    pub fn are_usable(&self, now: UnixTime) -> bool {
        self.held.borrow().usable(self.shared.settings.max_stale, now)
    }
}

impl Shared {
    fn ask(&self, kid: &KeyId, held: &Held) -> Ask {
        match self.settings.source {
            KeySource::Url(_) | KeySource::Discovery(_) => {
                self.unknown().ask(kid, held, Instant::now())
            }
            KeySource::File(_) | KeySource::Pem(_) => Ask::Refuse(UnknownKid::NegativeCached),
        }
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets up an issuer's keys: those who verify get the first, a task runs the second.
///
/// What it `had` under other settings, it has until the first fetch, where it is of the same source.
pub fn keys(
    settings: KeySettings,
    had: Option<&Keys>,
    client: HttpClient,
    clock: Clock,
    metrics: KeyMetrics,
) -> (Keys, Refresher) {
    let had = had.filter(|had| had.settings().has_keys_of(&settings));
    let (publish, held) = watch::channel(had.map(Keys::snapshot).unwrap_or_default());
    let shared =
        Arc::new(Shared { settings, metrics, wanted: Notify::new(), unknown: Mutex::default() });
    let keys = Keys { held, shared: Arc::clone(&shared) };
    (keys, Refresher::new(shared, publish, client, clock))
}
