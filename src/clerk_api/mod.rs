//! The few calls to Clerk's Backend API.
//!
//! They need the instance's secret key, which goes to that API and nowhere else. Without one there
//! is no [`ClerkApi`], and what needs it is off.

mod calls;
mod sessions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::core::clerk::directives::Directives;
use crate::core::clerk::handshake::API_VERSION;
use crate::core::clerk::public_url::push_parameter;
use crate::core::clerk::refresh::{self, Failure};
use crate::http_client::{FetchUrl, Fetched, HttpClient};

use self::calls::{Answers, Turns};
pub use self::sessions::SessionState;
use crate::telemetry::metrics::{ClerkApiMetrics, ClerkCall};

/// Where the Backend API is, and the key to it.
#[derive(Clone)]
pub struct ClerkApiSettings {
    /// File: `clerk.api_url = "https://api.clerk.com"`.
    pub url: FetchUrl,
    /// File: `clerk.secret_key_file`; environment: `CLERK_SECRET_KEY`.
    pub secret_key: String,
}

impl PartialEq for ClerkApiSettings {
    fn eq(&self, other: &Self) -> bool {
        let keys = [self, other].map(|it| it.secret_key.as_bytes());
        self.url == other.url && verify_slices_are_equal(keys[0], keys[1]).is_ok()
    }
}

impl fmt::Debug for ClerkApiSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ClerkApiSettings({:?}, {} bytes)", self.url, self.secret_key.len())
    }
}

/// The Backend API of one instance. Cheap to clone.
#[derive(Clone)]
pub struct ClerkApi {
    client: HttpClient,
    url: FetchUrl,
    headers: HeaderMap,
    metrics: ClerkApiMetrics,
    turns: Arc<Turns>,
    /// What nonces were exchanged for: each can be once, and a page that is opened in two tabs
    /// comes with one twice.
    payloads: Answers<Directives, Unanswered>,
    refreshed: Answers<Directives, Failure>,
    sessions: Answers<SessionState, Unanswered>,
}

/// For how long the exchange of a nonce counts: no longer than two tabs take to be loaded, since a
/// nonce is meant to be of use once.
const PAYLOAD_COUNTS: Duration = Duration::from_secs(1);
/// For how long a new token, and what is said of a session, count.
const SESSION_COUNTS: Duration = Duration::from_secs(5);

/// The Backend API cannot be asked, or does not answer as it should.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("Clerk's Backend API: {0}")]
pub struct Unanswered(String);

/// The key cannot stand in a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the secret key is none: it has characters no key has")]
pub struct BadSecretKey;

impl ClerkApi {
    /// Creates the way to the API.
    ///
    /// # Errors
    ///
    /// [`BadSecretKey`].
    pub fn new(
        settings: &ClerkApiSettings,
        client: HttpClient,
        metrics: ClerkApiMetrics,
    ) -> Result<Self, BadSecretKey> {
        let bearer = format!("Bearer {}", settings.secret_key);
        let mut bearer = HeaderValue::try_from(bearer).map_err(|_| BadSecretKey)?;
        bearer.set_sensitive(true);
        let version = HeaderName::from_static("clerk-api-version");
        let headers = [(AUTHORIZATION, bearer), (version, HeaderValue::from_static(API_VERSION))];
        Ok(Self {
            client,
            url: settings.url.clone(),
            headers: headers.into_iter().collect(),
            metrics,
            turns: Arc::new(Turns::new()),
            payloads: Answers::new(PAYLOAD_COUNTS),
            refreshed: Answers::new(SESSION_COUNTS),
            sessions: Answers::new(SESSION_COUNTS),
        })
    }

    /// Exchanges a handshake's nonce for what the handshake has brought.
    ///
    /// A nonce that the API does not know, because it is old or made up, has brought nothing. What
    /// else it refuses is about us: the key, or how often we ask.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] where nobody can tell.
    pub async fn handshake_payload(&self, nonce: &str) -> Result<Directives, Unanswered> {
        let asking = async {
            let answer = self.ask_for_payload(nonce).await;
            self.metrics.asked(ClerkCall::Handshake, answer.is_ok());
            answer
        };
        self.payloads.of(nonce.to_owned(), asking).await
    }

    async fn ask_for_payload(&self, nonce: &str) -> Result<Directives, Unanswered> {
        let mut path = "/v1/clients/handshake_payload".to_owned();
        push_parameter(&mut path, "nonce", nonce);
        let fetched = self.get(&path).await?;
        if matches!(fetched.status.as_u16(), 400 | 404 | 410 | 422) {
            return Ok(Directives::default());
        }
        succeeded(&fetched)?;
        Directives::of_answer(&fetched.body, "directives")
            .ok_or_else(|| Unanswered("the handshake's payload is no JSON object".to_owned()))
    }

    /// Asks for a new token of a session. `refresh_token` stands in `body` too: with it, and for
    /// the same family of cookies, what was answered a moment ago counts.
    ///
    /// # Errors
    ///
    /// Why there is none, in Clerk's words.
    pub async fn refresh(
        &self,
        session: &str,
        refresh_token: &str,
        body: &Value,
        suffixed: bool,
    ) -> Result<Directives, Failure> {
        let asking = async {
            let answer = self.ask_for_token(session, body, suffixed).await;
            self.metrics.asked(ClerkCall::Refresh, answer.is_ok());
            answer
        };
        self.refreshed.of(format!("{session} {suffixed} {refresh_token}"), asking).await
    }

    async fn ask_for_token(
        &self,
        session: &str,
        body: &Value,
        suffixed: bool,
    ) -> Result<Directives, Failure> {
        let query = if suffixed { "?suffixed_cookies=true" } else { "" };
        let url = self.url.join(&format!("/v1/sessions/{session}/refresh{query}"));
        let url = url.map_err(|_| Failure::FetchError)?;
        let body = Bytes::from(body.to_string());
        let sent = self.turns.take(self.client.post(&url, &self.headers, body)).await;
        let fetched = sent.map_err(|_| Failure::FetchError)?;
        refresh::answer(fetched.status.as_u16(), &fetched.body)
    }

    async fn get(&self, path: &str) -> Result<Fetched, Unanswered> {
        let url = self.url.join(path).map_err(|error| Unanswered(error.to_string()))?;
        self.turns.take(self.client.get(&url, &self.headers)).await
    }
}

fn succeeded(fetched: &Fetched) -> Result<(), Unanswered> {
    if fetched.status.is_success() {
        return Ok(());
    }
    Err(Unanswered(format!("the answer has status {}", fetched.status.as_u16())))
}

/// Says where the API is, and not with which key.
impl fmt::Debug for ClerkApi {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ClerkApi({:?})", self.url)
    }
}
