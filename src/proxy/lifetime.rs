//! When what outlives its request has to end: a WebSocket, an event stream, a call of gRPC.

use tokio::sync::watch;
use tokio::time::{self, Instant};

use super::link::Link;
use super::record::Record;
use super::stage::Stage;
use crate::telemetry::metrics::StreamEnd;

use super::Shared;

/// When a stream has to end, whatever its two sides want.
#[derive(Debug)]
pub(super) struct Lifetime {
    /// With its token's time; nothing where nobody's token let it in.
    until: Option<Instant>,
    /// And with the process.
    stage: watch::Receiver<Stage>,
}

impl Lifetime {
    /// The lifetime of the stream that begins with this request.
    pub(super) fn of(record: &Record, link: &Link, shared: &Shared) -> Self {
        Self { until: end(record, shared), stage: link.stage.clone() }
    }

    /// Waits until it is over; says why.
    pub(super) async fn over(self) -> StreamEnd {
        let Self { until, mut stage } = self;
        let token = async {
            match until {
                Some(until) => time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let drained = async {
            let closing = stage.wait_for(Stage::is_closing).await.map(|stage| stage.closing());
            if let Ok(Some(closing)) = closing {
                time::sleep_until(closing.farewell()).await;
            }
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
