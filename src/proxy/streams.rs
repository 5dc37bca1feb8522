//! The streams of one HTTP/2 connection: a task each, which can end alone.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{self, Instant};
use tracing::debug;

use super::present::during;

/// Runs the streams of one connection; they end with it.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    tasks: Rc<RefCell<JoinSet<()>>>,
    patience: Duration,
}

tokio::task_local! {
    static STALL: Rc<Stall>;
}

impl Streams {
    /// Streams that a client takes nothing of for so long are reset.
    pub(super) fn new(patience: Duration) -> Self {
        Self { tasks: Rc::default(), patience }
    }

    /// Waits for the next stream that ends in a panic; polled after the connection, which starts
    /// them.
    pub(super) async fn panicked(&self) -> JoinError {
        poll_fn(|context| {
            // With none under way there is nobody to wake us; the next is started by the
            // connection, in the same task as this.
            while let Poll::Ready(Some(ended)) = self.tasks.borrow_mut().poll_join_next(context) {
                if let Err(error) = ended {
                    return Poll::Ready(error);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (stall, patience) = (Rc::<Stall>::default(), self.patience);
        let stalled = Rc::clone(&stall);
        let stream = STALL.scope(stall, stream);
        self.tasks.borrow_mut().spawn_local(async move {
            let mut stream = pin!(stream);
            tokio::select! {
                biased;
                () = during(&mut stream) => {}
                // Whoever drops a stream before its end resets it.
                () = stalled.is_over(patience) => debug!("stream reset: the client takes nothing"),
            }
        });
    }
}

/// Whether a client takes what there is for it on one stream: HTTP/2 asks for no more of an answer
/// while it does not (RFC 9113 §5.2), so nothing else would notice.
#[derive(Debug, Default)]
pub(super) struct Stall(Cell<Option<Instant>>);

impl Stall {
    /// Returns that of the stream whose task this is.
    pub(super) fn of_this_stream() -> Rc<Self> {
        STALL.try_with(Rc::clone).unwrap_or_default()
    }

    /// There is something for the client.
    pub(super) fn begins(&self) {
        self.0.set(Some(Instant::now()));
    }

    /// More is asked for.
    pub(super) fn ends(&self) {
        self.0.set(None);
    }

    async fn is_over(&self, patience: Duration) {
        loop {
            let since = self.0.get();
            if since.is_some_and(|since| since.elapsed() >= patience) {
                return;
            }
            time::sleep_until(since.unwrap_or_else(Instant::now) + patience).await;
        }
    }
}
