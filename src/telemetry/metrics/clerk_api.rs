//! What Clerk's Backend API is asked, and what it says.

use prometheus::{IntCounter, IntCounterVec};

use super::Metrics;
use super::maker::Maker;

/// What was said of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum SessionAnswer {
    Active,
    Over,
    Error,
}

/// What is asked of Clerk's Backend API for a browser, beside whether its session still is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the labels say it")]
pub enum ClerkCall {
    Handshake,
    Refresh,
}

/// The metrics of every question.
#[derive(Clone, Debug)]
pub(super) struct Questions {
    sessions: IntCounterVec,
    calls: IntCounterVec,
}

impl Questions {
    pub(super) fn register(made: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            sessions: made.counters(
                "session_checks_total",
                "Questions to Clerk whether a session still is.",
                &["result"],
            )?,
            calls: made.counters(
                "clerk_api_requests_total",
                "Requests to Clerk's Backend API for what a browser needs.",
                &["call", "result"],
            )?,
        })
    }
}

impl Metrics {
    /// Takes the handles for requests to Clerk's Backend API.
    pub fn of_clerk_api(&self) -> ClerkApiMetrics {
        let session = |result| self.questions.sessions.with_label_values(&[result]);
        let requests = |call: &'static str| {
            ["ok", "error"].map(|result| self.questions.calls.with_label_values(&[call, result]))
        };
        ClerkApiMetrics {
            sessions: ["active", "over", "error"].map(session),
            calls: ["handshake", "refresh"].map(requests),
        }
    }
}

/// The metrics of requests to Clerk's Backend API.
#[derive(Clone, Debug)]
pub struct ClerkApiMetrics {
    sessions: [IntCounter; 3],
    calls: [[IntCounter; 2]; 2],
}

impl ClerkApiMetrics {
    /// Counts what was said of a session.
    pub fn session(&self, answer: SessionAnswer) {
        self.sessions[answer as usize].inc();
    }

    /// Counts another request, and whether there was an answer to go by.
    pub fn asked(&self, call: ClerkCall, answered: bool) {
        self.calls[call as usize][usize::from(!answered)].inc();
    }
}
