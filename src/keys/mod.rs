//! Where verification keys come from: find, fetch, refresh.

use std::path::PathBuf;
use std::time::Duration;

use crate::core::jwk::Algorithms;
use crate::http_client::FetchUrl;

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
    /// A JWK Set in a file.
    File(PathBuf),
    /// Public keys in PEM, which never change.
    Pem(String),
}
