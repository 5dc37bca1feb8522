//! Whether a session still is.
//!
//! A session token is good for a minute after its session has ended. Where that is too long, the
//! Backend API is asked; its answer is remembered for 5 s, and however many requests of one session
//! wait for it, it is asked once.

use super::{ClerkApi, Unanswered};
use crate::core::json::{self, Value};
use crate::telemetry::metrics::SessionAnswer;

/// What the Backend API says of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionState {
    /// It is active.
    Active,
    /// It has ended, was revoked, or never was.
    Over,
}

impl ClerkApi {
    /// Says what is of a session: from memory, or from the API.
    ///
    /// # Errors
    ///
    /// [`Unanswered`] where nobody can tell.
    pub async fn session(&self, id: &str) -> Result<SessionState, Unanswered> {
        // It stands in an address: it is one of Clerk's ids, or there is no such session.
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(SessionState::Over);
        }
        self.sessions.of(id.to_owned(), self.ask_of_session(id)).await
    }

    async fn ask_of_session(&self, id: &str) -> Result<SessionState, Unanswered> {
        let state = self.state_of_session(id).await;
        self.metrics.session(match &state {
            Ok(SessionState::Active) => SessionAnswer::Active,
            Ok(SessionState::Over) => SessionAnswer::Over,
            Err(_) => SessionAnswer::Error,
        });
        state
    }

    async fn state_of_session(&self, id: &str) -> Result<SessionState, Unanswered> {
        let fetched = self.get(&format!("/v1/sessions/{id}")).await?;
        if fetched.status.as_u16() == 404 {
            return Ok(SessionState::Over);
        }
        super::succeeded(&fetched)?;
        let session = json::parse_object(fetched.body);
        let session =
            session.map_err(|_| Unanswered("the session is no JSON object".to_owned()))?;
        match session.get("status").and_then(Value::as_str) {
            Some("active") => Ok(SessionState::Active),
            Some(_) => Ok(SessionState::Over),
            None => Err(Unanswered("the session has no status".to_owned())),
        }
    }
}
