//! Connections to the backend over HTTP/2, which carry many requests side by side.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task;
use tokio::time::Instant;

use super::request_body::RequestBody;
use crate::telemetry::metrics::Metrics;

/// Requests at a time on one connection; for more there is another. What servers allow by default
/// is this or more, and one that allows less has the rest wait.
const STREAMS: usize = 100;
/// What the backend may send of one answer before the client takes it.
const STREAM_WINDOW: u32 = 65_535;
/// And of all answers on the connection: so that one that stands still does not stop the others.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// What waits to be sent on one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// The longest head of an answer.
const HEAD: u32 = 128 * 1024;
/// How often a backend that says nothing is asked whether it still is, and how long it may take to
/// say so: without it, a call whose backend is gone would wait for its own time to be over.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// A connection over HTTP/2.
pub(super) struct Trunk {
    sender: http2::SendRequest<RequestBody>,
    streams: Cell<usize>,
    /// When the last of its streams ended, or it was made.
    since: Cell<Instant>,
}

impl fmt::Debug for Trunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Trunk({} streams)", self.streams.get())
    }
}

/// Runs what hyper has to do beside a connection.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, future: F) {
        drop(task::spawn_local(async { drop(future.await) }));
    }
}

impl Trunk {
    /// Begins to speak HTTP/2 over a connection.
    pub(super) async fn start(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    ) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(Here);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEAD)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // Ends when nobody has its sender any more, or the backend closes. What went wrong, the
        // requests that were under way are told.
        task::spawn_local(async { drop(connection.await) });
        Ok(Self { sender, streams: Cell::new(0), since: Cell::new(Instant::now()) })
    }

    fn takes_more(&self) -> bool {
        !self.sender.is_closed() && self.streams.get() < STREAMS
    }
}

/// The connections over HTTP/2 of one worker.
#[derive(Debug)]
pub(super) struct Trunks {
    all: RefCell<Vec<Rc<Trunk>>>,
    metrics: Metrics,
}

impl Trunks {
    pub(super) fn new(metrics: Metrics) -> Rc<Self> {
        Rc::new(Self { all: RefCell::default(), metrics })
    }

    pub(super) fn are_there(&self) -> bool {
        !self.all.borrow().is_empty()
    }

    /// Begins a stream on a connection that has room for one. The first that has is the fullest, so
    /// that the others get to be idle and go.
    pub(super) fn take(self: &Rc<Self>) -> Option<Stream> {
        let all = self.all.borrow();
        let trunk = all.iter().find(|trunk| trunk.takes_more())?;
        Some(self.stream(trunk))
    }

    /// Adds a connection, and begins a stream on it.
    pub(super) fn add(self: &Rc<Self>, trunk: Trunk) -> Stream {
        let trunk = Rc::new(trunk);
        self.metrics.upstream_idle.inc();
        self.all.borrow_mut().push(Rc::clone(&trunk));
        self.stream(&trunk)
    }

    fn stream(self: &Rc<Self>, trunk: &Rc<Trunk>) -> Stream {
        if trunk.streams.get() == 0 {
            self.metrics.upstream_idle.dec();
            self.metrics.upstream_active.inc();
        }
        trunk.streams.set(trunk.streams.get() + 1);
        Stream { trunk: Rc::clone(trunk), trunks: Rc::clone(self) }
    }

    /// Returns since when the one that has been idle longest is; now for those in use.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let all = self.all.borrow();
        let since = |trunk: &Rc<Trunk>| match trunk.streams.get() {
            0 => trunk.since.get(),
            _ => Instant::now(),
        };
        all.iter().map(since).min()
    }

    /// Lets go of those that have been idle for so long, and of those that are closed.
    pub(super) fn drop_old(&self, keep: Duration) {
        let is_kept = |trunk: &Rc<Trunk>| {
            let is_used = trunk.streams.get() > 0;
            is_used || !trunk.sender.is_closed() && trunk.since.get().elapsed() < keep
        };
        let mut all = self.all.borrow_mut();
        let before = all.len();
        all.retain(is_kept);
        self.metrics.upstream_idle.sub((before - all.len()) as i64);
    }
}

impl Drop for Trunks {
    fn drop(&mut self) {
        // Every stream holds us, so none is left.
        self.metrics.upstream_idle.sub(self.all.borrow().len() as i64);
    }
}

/// A place for one request on a connection.
#[derive(Debug)]
pub(super) struct Stream {
    trunk: Rc<Trunk>,
    trunks: Rc<Trunks>,
}

impl Stream {
    pub(super) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.trunk.sender.clone().try_send_request(request).await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.trunk.streams.get() - 1;
        self.trunk.streams.set(left);
        if left == 0 {
            self.trunk.since.set(Instant::now());
            self.trunks.metrics.upstream_active.dec();
            self.trunks.metrics.upstream_idle.inc();
        }
    }
}
