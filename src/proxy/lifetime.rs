//! When what outlives its request has to end: a WebSocket, an event stream, a call of gRPC.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant};

use super::Stage;
use super::connection::QUIET;
use super::link::Link;
use super::record::Record;
use crate::telemetry::metrics::StreamEnd;

use super::Shared;

/// How long before the end of a drain what goes on ends, so that its connections end in peace: one that
/// is kept alive is quiet for a second before it is closed.
const FAREWELL: Duration = QUIET.saturating_add(Duration::from_secs(1));

/// When streams end, and what is not answered is, in a drain that began at `closing`.
pub(super) fn last_word(closing: Instant, grace: Duration) -> Instant {
    closing + grace.saturating_sub(FAREWELL.min(grace / 2))
}

/// When a stream has to end, whatever its two sides want.
#[derive(Debug)]
pub(super) struct Lifetime {
    /// With its token's time; nothing where nobody's token let it in.
    until: Option<Instant>,
    /// And with the process.
    stage: watch::Receiver<Stage>,
    grace: Duration,
}

impl Lifetime {
    /// The lifetime of the stream that begins with this request.
    pub(super) fn of(record: &Record, link: &Link, shared: &Shared) -> Self {
        Self {
            until: end(record, shared),
            stage: link.stage.clone(),
            grace: shared.settings.drain.grace,
        }
    }

    /// Waits until it is over; says why.
    pub(super) async fn over(self) -> StreamEnd {
        let Self { until, mut stage, grace } = self;
        let token = async {
            match until {
                Some(until) => time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let drained = async {
            let closing = stage.wait_for(Stage::is_closing).await.map(|stage| *stage);
            let since = closing.ok().and_then(Stage::closing_since).unwrap_or_else(Instant::now);
            time::sleep_until(last_word(since, grace)).await;
        };
        tokio::select! {
            () = token => StreamEnd::Lifetime,
            () = drained => StreamEnd::Drain,
        }
    }
}

/// Returns when the stream that begins with this request outlives its token for too long.
fn end(record: &Record, shared: &Shared) -> Option<Instant> {
    let expires = record.caller.as_ref()?.expires();
    let end = shared.settings.stream_lifetime.end(expires)?;
    let left = end.since(shared.clock.now());
    Instant::now().checked_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_said_two_seconds_before_the_end_or_half_way() {
        let closing = Instant::now();
        for (grace, want) in [(25_000, 23_000), (4_000, 2_000), (3_000, 1_500), (0, 0)] {
            let said = last_word(closing, Duration::from_millis(grace));
            assert_eq!(said - closing, Duration::from_millis(want), "{grace}");
        }
    }
}
