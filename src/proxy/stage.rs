//! How far the process is on its way out.

use std::time::Duration;

use tokio::time::Instant;

/// How long before the end of a drain streams end, so that their connections end in peace: one that is
/// kept alive is quiet for a second before it is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long before that end what is not answered is, so that the answer arrives.
const LAST_WORD: Duration = Duration::from_millis(500);
/// How long before that end nobody is waited for any more.
const LAST: Duration = Duration::from_millis(50);

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Running,
    /// Nothing new is listened for; what is under way ends.
    Closing(Closing),
}

/// A drain whose delay is over, and what is when in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Closing {
    pub(super) since: Instant,
    grace: Duration,
}

impl Closing {
    /// A drain that may take so long from `since` on.
    pub(super) fn new(since: Instant, grace: Duration) -> Self {
        Self { since, grace }
    }

    /// Returns when streams end.
    pub(super) fn farewell(self) -> Instant {
        self.before_end(FAREWELL)
    }

    /// Returns when we answer what the backend has not.
    pub(super) fn last_word(self) -> Instant {
        self.before_end(LAST_WORD)
    }

    /// Returns when clients that have their answer are not waited for any more.
    pub(super) fn in_peace(self) -> Instant {
        self.since + self.grace.saturating_sub(LAST)
    }

    fn before_end(self, span: Duration) -> Instant {
        self.since + self.grace.saturating_sub(span.min(self.grace / 2))
    }
}

impl Stage {
    pub(super) fn is_closing(&self) -> bool {
        self.closing().is_some()
    }

    pub(super) fn closing(self) -> Option<Closing> {
        match self {
            Self::Running => None,
            Self::Closing(closing) => Some(closing),
        }
    }

    /// Returns for how long a client is waited for that has its answer: `at_most`, and in a drain no
    /// longer than that ends in peace.
    pub(super) fn patience(self, at_most: Duration) -> Duration {
        let left = |closing: Closing| closing.in_peace().saturating_duration_since(Instant::now());
        self.closing().map_or(at_most, |closing| at_most.min(left(closing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_end_before_the_last_word_and_that_before_the_end() {
        let since = Instant::now();
        for (grace, want) in [
            (25_000, [23_000, 24_500, 24_950]),
            (4_000, [2_000, 3_500, 3_950]),
            (3_000, [1_500, 2_500, 2_950]),
            (1_000, [500, 500, 950]),
            (200, [100, 100, 150]),
            (0, [0, 0, 0]),
        ] {
            let closing = Closing::new(since, Duration::from_millis(grace));
            let spans =
                [closing.farewell(), closing.last_word(), closing.in_peace()].map(|it| it - since);
            assert_eq!(spans.map(|span| span.as_millis()), want, "{grace}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_waited_for_no_longer_than_the_drain() {
        let (span, since) = (Duration::from_secs, Instant::now());
        assert_eq!(Stage::Running.patience(span(2)), span(2));
        let stage = Stage::Closing(Closing::new(since, span(10)));
        for (after, want) in [(0, 2_000), (8, 1_950), (9, 950), (10, 0), (20, 0)] {
            tokio::time::sleep_until(since + span(after)).await;
            assert_eq!(stage.patience(span(2)), Duration::from_millis(want), "{after}");
        }
    }
}
