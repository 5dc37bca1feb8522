//! Whether a session still is.
//!
//! A session token is good for a minute after its session has ended. Where that is too long, the
//! Backend API is asked; its answer is remembered for 5 s, and however many requests of one session
//! wait for it, it is asked once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::{ClerkApi, Unanswered};
use crate::core::json;
use crate::telemetry::metrics::{SessionAnswer, SessionMetrics};

/// How long an answer is taken as known.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How many sessions are kept in mind.
const SESSIONS: u64 = 10_000;

/// What the Backend API says of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionState {
    /// It is active.
    Active,
    /// It has ended, was revoked, or never was.
    Over,
}

/// Asks whether sessions still are. Cheap to clone; clones share what is remembered.
#[derive(Clone)]
pub struct SessionChecks {
    api: ClerkApi,
    metrics: SessionMetrics,
    known: Cache<Arc<str>, SessionState>,
}

impl SessionChecks {
    /// Creates the memory before the API.
    pub fn new(api: ClerkApi, metrics: SessionMetrics) -> Self {
        let known = Cache::builder().max_capacity(SESSIONS).time_to_live(REMEMBERED).build();
        Self { api, metrics, known }
    }

    /// Says what is of a session: from memory, or from the API.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] where nobody can tell. That is not remembered.
    pub async fn state(&self, session: &str) -> Result<SessionState, Arc<Unanswered>> {
        self.known.try_get_with(session.into(), self.ask(session)).await
    }

    async fn ask(&self, session: &str) -> Result<SessionState, Unanswered> {
        let state = self.api.session(session).await;
        self.metrics.answered(match &state {
            Ok(SessionState::Active) => SessionAnswer::Active,
            Ok(SessionState::Over) => SessionAnswer::Over,
            Err(_) => SessionAnswer::Error,
        });
        state
    }
}

impl ClerkApi {
    async fn session(&self, id: &str) -> Result<SessionState, Unanswered> {
        // It stands in an address: it is one of Clerk's ids, or there is no such session.
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(SessionState::Over);
        }
        let fetched = self.get(&format!("/v1/sessions/{id}")).await?;
        if fetched.status.as_u16() == 404 {
            return Ok(SessionState::Over);
        }
        super::succeeded(&fetched)?;
        let session = json::parse_object(&fetched.body);
        let session =
            session.map_err(|_| Unanswered("the session is no JSON object".to_owned()))?;
        match session.get("status").and_then(serde_json::Value::as_str) {
            Some("active") => Ok(SessionState::Active),
            Some(_) => Ok(SessionState::Over),
            None => Err(Unanswered("the session has no status".to_owned())),
        }
    }
}

impl fmt::Debug for SessionChecks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SessionChecks({} known)", self.known.entry_count())
    }
}
