//! One fetch from each kind of source: an answer, or why there is none.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::discovery::Discovery;
use super::remote::Remote;
use super::schedule::Stake;
use super::{KeySettings, KeySource};
use crate::clock::Clock;
use crate::core::jwk::{Algorithms, VerificationKey};
use crate::core::jwk_set::KeySet;
use crate::http_client::HttpClient;
use crate::watched;

/// A key file is read again this often, changed or not: 80 % of this, less jitter.
const FILE_AGAIN: Duration = Duration::from_secs(60);
/// For ever, as far as timers go.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A fetch that brought keys.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The keys that can be used.
    pub(super) set: KeySet,
    /// How long they are fresh.
    pub(super) lifetime: Duration,
}

/// A fetch that brought none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failure {
    /// What went wrong, for an operator.
    pub(super) problem: String,
    /// How long the issuer asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that says nothing of when to come again.
    pub(super) fn of(problem: impl Display) -> Self {
        Self { problem: problem.to_string(), retry_after: None }
    }
}

/// Fetches from one source, and keeps what makes the next fetch cheaper.
#[derive(Debug)]
pub(super) struct Source {
    remote: Remote,
    discovery: Discovery,
}

impl Source {
    /// Creates a source from which nothing was fetched yet.
    pub(super) fn new(client: HttpClient, clock: Clock) -> Self {
        Self { remote: Remote::new(client, clock), discovery: Discovery::default() }
    }

    /// Fetches the keys once; with everything at stake, not put off by a server that hangs.
    ///
    /// # Errors
    ///
    /// [`Failure`] where no key set came that could be used.
    pub(super) async fn fetch(
        &mut self,
        settings: &KeySettings,
        stake: Stake,
    ) -> Result<Answer, Failure> {
        self.remote.stake = stake;
        match &settings.source {
            KeySource::Url(url) => self.remote.fetch(url, settings).await,
            KeySource::Discovery(issuer) => {
                self.discovery.fetch(issuer, &mut self.remote, settings).await
            }
            KeySource::File(path) => from_file(path, settings),
            KeySource::Pem(text) => from_pem(text, settings.algorithms),
        }
    }
}

fn from_file(path: &Path, settings: &KeySettings) -> Result<Answer, Failure> {
    let text = watched::read(path);
    let text = text.map_err(|error| Failure::of(format!("{}: {error}", path.display())))?;
    Ok(Answer { set: parse(settings, &text)?, lifetime: FILE_AGAIN })
}

fn from_pem(text: &str, algorithms: Algorithms) -> Result<Answer, Failure> {
    let keys = VerificationKey::all_from_pem(text, algorithms).map_err(Failure::of)?;
    Ok(Answer { set: KeySet::unnamed(keys), lifetime: LONG })
}

/// Reads a JWK Set, and tells the operator of keys in it that are not used.
///
/// # Errors
///
/// [`Failure`] where nothing in it can be used.
pub(super) fn parse(settings: &KeySettings, text: &[u8]) -> Result<KeySet, Failure> {
    let issuer = &settings.issuer;
    let (set, notes) =
        KeySet::parse(text, settings.algorithms, settings.names).map_err(Failure::of)?;
    if !notes.private.is_empty() {
        warn!(issuer, keys = ?notes.private, "the key set was published with private parts; they are ignored, and known to everybody");
    }
    if !notes.unusual.is_empty() {
        warn!(issuer, keys = ?notes.unusual, "RSA keys with another exponent than 65537 are used");
    }
    for (place, problem) in &notes.skipped {
        warn!(issuer, key = place, %problem, "a key of the set is not used");
    }
    Ok(set)
}
