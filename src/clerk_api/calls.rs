//! How often Clerk's Backend API is asked.
//!
//! Anybody can make up a nonce, and whoever was signed in once has an expired token to be refreshed.
//! The API allows an instance some hundred requests a second, for the whole application: so few
//! questions are under way at a time, one that was asked just now is not asked again, and where the
//! API has enough of us we leave it alone for as long as it says.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use moka::Expiry;
use moka::future::Cache;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Unanswered;
use crate::http_client::{FetchError, Fetched};

/// How many questions may be under way: each costs a connection.
const AT_A_TIME: usize = 64;
/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the API is left alone, where it does not say how long, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How many answers of a kind are kept in mind.
const ANSWERS: u64 = 10_000;
/// How long it is kept in mind that there was no answer: a page that is loaded again at once, or
/// has twenty scripts, asks once.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// The questions under way, and when the next may be asked.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    rest_until: Mutex<Option<Instant>>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { free: Semaphore::new(AT_A_TIME), rest_until: Mutex::default() }
    }

    /// Asks once it is this question's turn.
    pub(super) async fn take(
        &self,
        asking: impl Future<Output = Result<Fetched, FetchError>>,
    ) -> Result<Fetched, Unanswered> {
        let turn = timeout(PATIENCE, self.free.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Unanswered("too many questions are under way".to_owned()));
        };
        if self.is_resting() {
            return Err(Unanswered("it has asked us to wait".to_owned()));
        }
        let fetched = asking.await.map_err(|error| Unanswered(error.to_string()))?;
        if fetched.status.as_u16() == 429 {
            self.rest(&fetched);
        }
        Ok(fetched)
    }

    fn is_resting(&self) -> bool {
        let until = *self.rest_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, fetched: &Fetched) {
        let told = fetched.headers.get(http::header::RETRY_AFTER);
        let told = told.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let rest = told.map_or(REST.0, Duration::from_secs).clamp(REST.0, REST.1);
        let mut until = self.rest_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + rest);
    }
}

/// Answers to questions of one kind, by what was asked. Cheap to clone.
#[derive(Clone)]
pub(super) struct Answers<T, E>(Cache<Box<str>, Result<T, E>>);

/// For how long an answer counts.
struct Counts(Duration);

impl<T, E> Expiry<Box<str>, Result<T, E>> for Counts {
    fn expire_after_create(
        &self,
        _: &Box<str>,
        answer: &Result<T, E>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(if answer.is_ok() { self.0 } else { NO_ANSWER })
    }
}

impl<T, E> Answers<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A memory in which an answer counts for so long.
    pub(super) fn new(counts: Duration) -> Self {
        let cache = Cache::builder().max_capacity(ANSWERS).expire_after(Counts(counts));
        Self(cache.build())
    }

    /// Returns what was answered a moment ago, or is being asked by somebody; else asks.
    pub(super) async fn of(
        &self,
        question: String,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.0.get_with(question.into(), asking).await
    }
}
