//! Connections to the backend over HTTP/2, which carry many requests side by side.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{self, AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task;
use tokio::time::Instant;

use super::request_body::RequestBody;
use crate::telemetry::metrics::Tally;

/// Requests at a time on one connection, or less where the backend allows less; for more there is
/// another.
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
    /// How many streams the backend allows at the moment.
    allowed: Box<dyn Fn() -> usize>,
    streams: Cell<usize>,
    /// Whether the backend has said that it takes no more requests on it.
    is_spent: Cell<bool>,
    /// When the last of its streams ended, or it was made.
    since: Cell<Instant>,
}

impl fmt::Debug for Trunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Trunk({} streams)", self.streams.get())
    }
}

/// Runs what hyper has to do beside a connection, and tells whoever waits for what comes of it.
#[derive(Clone, Debug, Default)]
struct Here(Rc<Notify>);

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, future: F) {
        let told = Rc::clone(&self.0);
        drop(task::spawn_local(async move {
            let mut future = pin!(future);
            poll_fn(|context| {
                let polled = future.as_mut().poll(context);
                told.notify_waiters();
                polled.map(drop)
            })
            .await;
        }));
    }
}

impl Trunk {
    /// Begins to speak HTTP/2 over a connection. It is there once the backend has spoken, too, and
    /// has said how many streams it allows: more than those it might refuse.
    pub(super) async fn start(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    ) -> io::Result<Self> {
        let here = Here::default();
        let mut builder = http2::Builder::new(here.clone());
        builder
            .timer(TokioTimer::new())
            .initial_max_send_streams(0) // until it speaks
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEAD)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let mut connection = Box::pin(connection);
        while connection.current_max_send_streams() == 0 {
            let more = here.0.notified();
            tokio::select! {
                ended = &mut connection => return Err(no_http2(&ended)),
                () = more => {}
            }
        }
        Ok(Self {
            sender,
            allowed: run(connection),
            streams: Cell::new(0),
            is_spent: Cell::new(false),
            since: Cell::new(Instant::now()),
        })
    }

    fn takes_more(&self) -> bool {
        !self.is_over() && self.streams.get() < self.places()
    }

    fn places(&self) -> usize {
        (self.allowed)().min(STREAMS)
    }

    fn is_over(&self) -> bool {
        self.is_spent.get() || self.sender.is_closed()
    }
}

/// What is wrong with a backend whose connection was over before it said how it speaks HTTP/2.
fn no_http2(ended: &hyper::Result<()>) -> io::Error {
    let problem = match ended {
        Ok(()) => "closed".to_owned(),
        Err(error) => error.source().map_or_else(|| error.to_string(), ToString::to_string),
    };
    io::Error::other(format!("it did not begin to speak HTTP/2: {problem}"))
}

/// Runs a connection: until nobody has its sender any more, or the backend closes. What went wrong,
/// the requests that were under way are told.
///
/// Returns what tells how many streams it may have.
fn run<T>(connection: Pin<Box<http2::Connection<T, RequestBody, Here>>>) -> Box<dyn Fn() -> usize>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    let connection = Rc::new(RefCell::new(Some(connection)));
    let same = Rc::clone(&connection);
    drop(task::spawn_local(async move {
        poll_fn(|context| match &mut *same.borrow_mut() {
            Some(connection) => connection.as_mut().poll(context).map(drop),
            None => Poll::Ready(()),
        })
        .await;
        same.take(); // what it has of the socket goes at once
    }));
    Box::new(move || connection.borrow().as_ref().map_or(0, |it| it.current_max_send_streams()))
}

/// The connections over HTTP/2 of one worker.
#[derive(Debug)]
pub(super) struct Trunks {
    all: RefCell<Vec<Rc<Trunk>>>,
    places: Cell<usize>,
    tally: Rc<Tally>,
}

impl Trunks {
    pub(super) fn new(tally: Rc<Tally>) -> Rc<Self> {
        Rc::new(Self { all: RefCell::default(), places: Cell::new(STREAMS), tally })
    }

    /// Returns how many streams a connection takes, by the one that was made last.
    pub(super) fn places(&self) -> usize {
        self.places.get()
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
        self.places.set(trunk.places());
        self.tally.upstream_idle.inc();
        self.all.borrow_mut().push(Rc::clone(&trunk));
        self.stream(&trunk)
    }

    fn stream(self: &Rc<Self>, trunk: &Rc<Trunk>) -> Stream {
        if trunk.streams.get() == 0 {
            self.tally.upstream_idle.dec();
            self.tally.upstream_active.inc();
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
            is_used || !trunk.is_over() && trunk.since.get().elapsed() < keep
        };
        let mut all = self.all.borrow_mut();
        let before = all.len();
        all.retain(is_kept);
        self.tally.upstream_idle.sub((before - all.len()) as i64);
    }

    fn forget(&self, trunk: &Rc<Trunk>) {
        self.all.borrow_mut().retain(|other| !Rc::ptr_eq(other, trunk));
    }
}

impl Drop for Trunks {
    fn drop(&mut self) {
        // Every stream holds us, so none is left.
        self.tally.upstream_idle.sub(self.all.borrow().len() as i64);
    }
}

/// What a request that was sent comes to.
pub(super) type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A place for one request on a connection.
#[derive(Debug)]
pub(super) struct Stream {
    trunk: Rc<Trunk>,
    trunks: Rc<Trunks>,
}

impl Stream {
    pub(super) fn send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Answered> + use<> {
        self.trunk.sender.clone().try_send_request(request)
    }

    /// Says that there will be no other request on this connection.
    pub(super) fn is_the_last(&self) {
        self.trunk.is_spent.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.trunk.streams.get() - 1;
        self.trunk.streams.set(left);
        if left == 0 {
            self.trunk.since.set(Instant::now());
            self.trunks.tally.upstream_active.dec();
            match self.trunk.is_over() {
                true => self.trunks.forget(&self.trunk),
                false => self.trunks.tally.upstream_idle.inc(),
            }
        }
    }
}
