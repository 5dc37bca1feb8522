//! What bodies in both directions have in common: they pass as they come, bounded in time, never
//! in memory.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{self, Sleep};

use super::broken::Broken;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the body was broken off")]
pub(super) struct BrokenOff(#[source] pub(super) Option<Broken>);

/// Ends a body that nothing was heard of for a while. Costs a timer only while somebody waits.
#[derive(Debug)]
pub(super) struct Patience {
    /// Nothing where a body may be silent for as long as it likes.
    at_most: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn new(at_most: Duration) -> Self {
        Self { at_most: Some(at_most), timer: None }
    }

    /// Waits for a side of a call of gRPC, which may have nothing to say for hours. Whether it is
    /// there at all, HTTP/2 asks (PING).
    pub(super) fn endless() -> Self {
        Self { at_most: None, timer: None }
    }

    /// Something came.
    pub(super) fn renew(&mut self) {
        self.timer = None;
    }

    /// Nothing came yet: ready once that has been so for too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at_most) = self.at_most else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep(at_most)));
        timer.as_mut().poll(context)
    }
}
