//! One fetch from each kind of source.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use tracing::warn;

use super::schedule::lifetime;
use super::{KeySettings, KeySource};
use crate::core::jwk::VerificationKey;
use crate::core::jwk_set::{KeySet, KeySetNotes};
use crate::http_client::{FetchUrl, HttpClient};

/// A key file is read again this often: 80 % of this, less jitter.
const FILE_AGAIN: Duration = Duration::from_secs(60);
/// For ever, as far as timers go.
const LONG: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The largest key file that is read, in bytes: no more than a fetch would take.
const MAX_FILE: u64 = 1024 * 1024;

/// A fetch that brought keys.
#[derive(Debug)]
pub(super) struct Answer {
    /// The keys that can be used.
    pub(super) set: KeySet,
    /// How long they are fresh.
    pub(super) lifetime: Duration,
}

/// Fetches the keys once.
pub(super) async fn fetch(settings: &KeySettings, client: &HttpClient) -> Result<Answer, String> {
    match &settings.source {
        KeySource::Pem(text) => {
            let keys = VerificationKey::all_from_pem(text, settings.algorithms);
            let keys = keys.map_err(|problem| problem.to_string())?;
            Ok(Answer { set: KeySet::unnamed(keys), lifetime: LONG })
        }
        KeySource::File(path) => {
            let text = read(path).map_err(|error| error.to_string())?;
            Ok(Answer { set: parse(settings, &text)?, lifetime: FILE_AGAIN })
        }
        KeySource::Url(url) => from_url(settings, client, url).await,
    }
}

async fn from_url(
    settings: &KeySettings,
    client: &HttpClient,
    url: &FetchUrl,
) -> Result<Answer, String> {
    let fetched = client.get(url, &HeaderMap::new()).await.map_err(|error| error.to_string())?;
    if fetched.status != StatusCode::OK {
        return Err(format!("the answer has status {}", fetched.status.as_u16()));
    }
    let cache_control = fetched.headers.get(CACHE_CONTROL);
    let lifetime = lifetime(cache_control.and_then(|value| value.to_str().ok()));
    Ok(Answer { set: parse(settings, &fetched.body)?, lifetime })
}

fn parse(settings: &KeySettings, text: &[u8]) -> Result<KeySet, String> {
    let parsed = KeySet::parse(text, settings.algorithms);
    let (set, notes) = parsed.map_err(|problem| problem.to_string())?;
    warn_of(&notes, &settings.issuer);
    Ok(set)
}

fn warn_of(notes: &KeySetNotes, issuer: &str) {
    if !notes.private.is_empty() {
        warn!(issuer, keys = ?notes.private, "the key set was published with private parts; they are ignored, and known to everybody");
    }
    for (place, problem) in &notes.skipped {
        warn!(issuer, key = place, %problem, "a key of the set is not used");
    }
}

/// Reads a key file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("the key file is larger than 1 MiB"));
    }
    Ok(text)
}
