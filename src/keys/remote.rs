//! A key set behind an address: asked for again only where it changed.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::header::{
    CACHE_CONTROL, ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{self, Instant, MissedTickBehavior};

use super::KeySettings;
use super::schedule::{Stake, lifetime, retry_after};
use super::source::{Answer, Failure, parse};
use crate::clock::Clock;
use crate::core::time::UnixTime;
use crate::http_client::{FetchUrl, Fetched, HttpClient};

/// A validator this long, in bytes, or longer is not sent back. Known ones have 20 to 70.
const MAX_VALIDATOR: usize = 1024;
/// With everything at stake, so long after one try the next begins, though the first may hang:
/// what a server that is back was asked before, it will never answer.
const TRY_AGAIN: Duration = Duration::from_millis(800);

/// Fetches a key set from its address.
#[derive(Debug)]
pub(super) struct Remote {
    client: HttpClient,
    clock: Clock,
    /// How much depends on the next fetch.
    pub(super) stake: Stake,
    last: Option<Last>,
}

/// The last good answer.
#[derive(Debug)]
struct Last {
    url: FetchUrl,
    answer: Answer,
    /// What the next request is conditional on (RFC 9110 §13.1); empty where nothing can be.
    conditions: HeaderMap,
}

impl Remote {
    /// Creates one that has fetched nothing yet.
    pub(super) fn new(client: HttpClient, clock: Clock) -> Self {
        Self { client, clock, stake: Stake::Service, last: None }
    }

    /// Fetches the key set at `url`.
    ///
    /// # Errors
    ///
    /// [`Failure`] where there is no whole answer, or one that is no usable key set.
    pub(super) async fn fetch(
        &mut self,
        url: &FetchUrl,
        settings: &KeySettings,
    ) -> Result<Answer, Failure> {
        // What is known of one address says nothing of another.
        self.last.take_if(|last| last.url != *url);
        let conditions = self.last.as_ref().map(|last| last.conditions.clone());
        let fetched = self.get(url, &conditions.unwrap_or_default()).await?;
        match fetched.status {
            StatusCode::OK => {
                // An answer that cannot be read must not be confirmed by the next one.
                self.last = None;
                let answer = Answer {
                    set: parse(settings, &fetched.body)?,
                    lifetime: lifetime(cache_control(&fetched.headers).as_deref()),
                };
                let conditions = conditions_from(&fetched.headers);
                self.last = Some(Last { url: url.clone(), answer: answer.clone(), conditions });
                Ok(answer)
            }
            StatusCode::NOT_MODIFIED => self.not_modified(&fetched.headers),
            _ => Err(refused(&fetched, self.clock.now())),
        }
    }

    /// Fetches what is at `url`, whatever it is, if its status is 200.
    ///
    /// # Errors
    ///
    /// [`Failure`] where there is no whole answer, or one of another status.
    pub(super) async fn document(&self, url: &FetchUrl) -> Result<Fetched, Failure> {
        let fetched = self.get(url, &HeaderMap::new()).await?;
        match fetched.status {
            StatusCode::OK => Ok(fetched),
            _ => Err(refused(&fetched, self.clock.now())),
        }
    }

    async fn get(&self, url: &FetchUrl, headers: &HeaderMap) -> Result<Fetched, Failure> {
        let get = || self.client.get(url, headers);
        let fetched = match self.stake {
            Stake::Freshness => get().await,
            Stake::Service => first_answer(get).await,
        };
        fetched.map_err(Failure::of)
    }

    /// Returns the last good answer again; its lifetime may have changed (RFC 9111 §4.3.4).
    fn not_modified(&mut self, headers: &HeaderMap) -> Result<Answer, Failure> {
        let last = self.last.as_mut().filter(|last| !last.conditions.is_empty());
        let last = last.ok_or_else(|| Failure::of("a 304 to a request without conditions"))?;
        if let Some(directives) = cache_control(headers) {
            last.answer.lifetime = lifetime(Some(&directives));
        }
        Ok(last.answer.clone())
    }
}

/// Tries, and again while earlier tries hang. The first answer counts; without one, what became of
/// the first try.
async fn first_answer<T, E, F>(begin: impl Fn() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut first = pin!(begin());
    let mut later = Vec::new();
    let mut again = time::interval_at(Instant::now() + TRY_AGAIN, TRY_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    poll_fn(|context| {
        if let Poll::Ready(outcome) = first.as_mut().poll(context) {
            return Poll::Ready(outcome);
        }
        while again.poll_tick(context).is_ready() {
            later.push(Box::pin(begin()));
        }
        let mut answer = None;
        later.retain_mut(|attempt| match attempt.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                answer = answer.take().or(outcome.ok());
                false
            }
        });
        answer.map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
    })
    .await
}

/// What an answer of this status says: nothing of keys, and perhaps when to come again.
fn refused(fetched: &Fetched, now: UnixTime) -> Failure {
    let asked = fetched.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Failure {
        problem: format!("the answer has status {}", fetched.status.as_u16()),
        retry_after: asked.and_then(|text| retry_after(text, now)),
    }
}

/// Joins the lines of `Cache-Control`: it is one list (RFC 9110 §5.3).
fn cache_control(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    lines.map(str::to_owned).reduce(|list, line| format!("{list}, {line}"))
}

/// Makes the conditions of the next request out of an answer's validators (RFC 9110 §8.8).
fn conditions_from(answer: &HeaderMap) -> HeaderMap {
    type Rule = fn(&HeaderValue) -> bool;
    let rules: [(HeaderName, HeaderName, Rule); 2] =
        [(ETAG, IF_NONE_MATCH, is_entity_tag), (LAST_MODIFIED, IF_MODIFIED_SINCE, is_http_date)];
    let conditions = rules.into_iter().filter_map(|(validator, condition, good)| {
        let value = answer.get(validator)?;
        (value.len() < MAX_VALIDATOR && good(value)).then(|| (condition, value.clone()))
    });
    conditions.collect()
}

/// Tells whether this is `"…"` or `W/"…"`. Sent back, a `*` would match whatever there is.
fn is_entity_tag(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let opaque = bytes.strip_prefix(b"W/").unwrap_or(bytes);
    let inner = opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| !inner.contains(&b'"'))
}

fn is_http_date(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| httpdate::parse_http_date(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::jwk_set::KeySet;
    use crate::http_client::HttpClientSettings;
    use std::cell::Cell;

    fn headers(lines: &[(HeaderName, &[u8])]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_request_is_conditional_on_validators_that_are_some() {
        let date = b"Tue, 15 Nov 1994 12:45:26 GMT".as_slice();
        let long = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        for (answer, sent) in [
            (headers(&[(ETAG, b"\"a\"")]), true),
            (headers(&[(ETAG, b"W/\"a\"")]), true),
            (headers(&[(ETAG, b"\"\"")]), true),
            (headers(&[(ETAG, b"\"\xe4\"")]), true), // obs-text (RFC 9110 §8.8.3)
            (headers(&[(ETAG, b"a")]), false),
            (headers(&[(ETAG, b"\"")]), false),
            (headers(&[(ETAG, b"*")]), false),
            (headers(&[(ETAG, b"\"a\", \"b\"")]), false),
            (headers(&[(ETAG, b"")]), false),
            (headers(&[(ETAG, long(MAX_VALIDATOR - 1).as_bytes())]), true),
            (headers(&[(ETAG, long(MAX_VALIDATOR).as_bytes())]), false),
            (headers(&[(LAST_MODIFIED, date)]), true),
            (headers(&[(LAST_MODIFIED, b"yesterday")]), false),
            (headers(&[]), false),
        ] {
            let conditions = conditions_from(&answer);
            assert_eq!(!conditions.is_empty(), sent, "{answer:?}");
        }
        let both = conditions_from(&headers(&[(ETAG, b"\"a\""), (LAST_MODIFIED, date)]));
        assert_eq!(both, headers(&[(IF_NONE_MATCH, b"\"a\""), (IF_MODIFIED_SINCE, date)]));
    }

    #[test]
    fn the_lines_of_cache_control_are_one_list() {
        for (lines, want) in [
            (&[][..], None),
            (&["max-age=5"], Some("max-age=5")),
            (&["public", "max-age=5"], Some("public, max-age=5")),
        ] {
            let lines: Vec<_> = lines.iter().map(|it| (CACHE_CONTROL, it.as_bytes())).collect();
            assert_eq!(cache_control(&headers(&lines)).as_deref(), want);
        }
    }

    #[test]
    fn a_304_renews_what_was_asked_for_conditionally() {
        let remote = |conditions| {
            let client = HttpClient::new(&HttpClientSettings::default());
            let url = FetchUrl::parse("https://a.example").unwrap();
            let hour = Duration::from_secs(3600);
            let answer = Answer { set: KeySet::default(), lifetime: hour };
            let last = Some(Last { url, answer, conditions });
            Remote { last, ..Remote::new(client.unwrap(), Clock::System) }
        };
        let conditions = headers(&[(IF_NONE_MATCH, b"\"a\"")]);
        for (conditions, cache_control, want) in [
            (HeaderMap::new(), None, None),
            (conditions.clone(), None, Some(3600)),
            (conditions.clone(), Some("max-age=300"), Some(300)),
            (conditions, Some("no-store"), Some(60)),
        ] {
            let lines: Vec<_> =
                cache_control.iter().map(|it| (CACHE_CONTROL, it.as_bytes())).collect();
            let got = remote(conditions).not_modified(&headers(&lines));
            assert_eq!(got.ok().map(|it| it.lifetime.as_secs()), want, "{cache_control:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_try_hangs_the_next_begins() {
        const NEVER: u64 = 100_000;
        // What becomes of each try, after how many milliseconds; the others hang.
        for (tries, want, tried, took) in [
            (&[(10, Ok(1))][..], Ok(1), 1, 10),
            (&[(10, Err(1))], Err(1), 1, 10),
            (&[(5_000, Err(1))], Err(1), 7, 5_000),
            (&[(3_000, Ok(1))], Ok(1), 4, 3_000),
            (&[(NEVER, Ok(1)), (10, Ok(2))], Ok(2), 2, 810),
            (&[(5_000, Err(1)), (10, Err(2)), (NEVER, Ok(3)), (10, Ok(4))], Ok(4), 4, 2_410),
            (&[(900, Err(1)), (10, Err(2))], Err(1), 2, 900),
            (&[(NEVER, Ok(1)), (2_000, Ok(2)), (100, Ok(3))], Ok(3), 3, 1_700),
        ] {
            let (began, count) = (Instant::now(), Cell::new(0));
            let got: Result<i32, i32> = first_answer(|| {
                let (millis, outcome) = *tries.get(count.get()).unwrap_or(&(NEVER, Ok(0)));
                count.set(count.get() + 1);
                async move {
                    time::sleep(Duration::from_millis(millis)).await;
                    outcome
                }
            })
            .await;
            let elapsed = began.elapsed().as_millis();
            assert_eq!((got, count.get(), elapsed), (want, tried, took), "{tries:?}");
        }
    }
}
