//! Connections to the backend: one pool a worker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::sync::Notify;
use tokio::time::{self, Instant};
use tokio_util::either::Either;

use super::Shared;
use super::backend_socket::Deaf;
use super::request_body::RequestBody;
use super::trunk::{Stream, Trunk, Trunks};
use crate::core::upgrade::Wish;

/// How many idle connections a worker keeps: as many as may well be in use at a time, or each of them
/// would be made anew. `timeouts.upstream_idle` closes what a peak leaves.
const MOST: usize = 1024;

/// The connections of one worker. Those over HTTP/1.1 are here while they are idle, the one used
/// last on top, so that the others age out; those over HTTP/2 always, since they take one request
/// beside another.
#[derive(Debug)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    trunks: Rc<Trunks>,
    spoken: Cell<Option<Version>>,
    keep: Duration,
    filled: Notify,
    shared: Arc<Shared>,
}

/// A connection over HTTP/1.1, which carries one request after another.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) deaf: Deaf,
}

impl Alone {
    fn is_over(&self) -> bool {
        self.sender.is_closed() || self.deaf.is_so()
    }

    fn is_ready(&self) -> bool {
        self.sender.is_ready() && !self.deaf.is_so()
    }
}

struct Idle {
    connection: Alone,
    since: Instant,
}

impl fmt::Debug for Idle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Idle({:?})", self.since)
    }
}

/// A connection that was just made.
#[derive(Debug)]
pub(super) enum Made {
    Http1(Alone),
    Http2(Trunk),
}

impl Pool {
    pub(super) fn new(keep: Duration, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            trunks: Trunks::new(shared.metrics.clone()),
            spoken: Cell::new(None),
            keep,
            filled: Notify::new(),
            shared,
        })
    }

    /// Takes a connection that can be used at once, if there is one.
    pub(super) fn take(self: &Rc<Self>) -> Option<Lease> {
        self.take_shared().or_else(|| self.take_alone())
    }

    /// Takes a place on one over HTTP/2.
    pub(super) fn take_shared(self: &Rc<Self>) -> Option<Lease> {
        self.trunks.take().map(|stream| self.lease(Line::Shared(stream), true))
    }

    /// Takes one over HTTP/1.1.
    pub(super) fn take_alone(self: &Rc<Self>) -> Option<Lease> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let usable = idle.iter().rposition(|idle| {
            idle.connection.is_ready() && now.duration_since(idle.since) < self.keep
        })?;
        let connection = idle.remove(usable).connection;
        self.shared.metrics.upstream_idle.dec();
        drop(idle);
        Some(self.alone(connection, true))
    }

    /// Returns what the backend was last seen to speak, with who may have chosen: not where a
    /// WebSocket asked for HTTP/1.1.
    pub(super) fn spoken(&self) -> Option<Version> {
        self.spoken.get()
    }

    /// Returns how many requests a connection over HTTP/2 takes, by those there were.
    pub(super) fn places(&self) -> usize {
        self.trunks.places()
    }

    /// Takes charge of a connection that was just made.
    pub(super) fn made(self: &Rc<Self>, made: Made, wish: Wish) -> Lease {
        match (&made, wish) {
            (Made::Http2(_), _) => self.spoken.set(Some(Version::HTTP_2)),
            (Made::Http1(_), Wish::Http) => self.spoken.set(Some(Version::HTTP_11)),
            (Made::Http1(_), Wish::WebSocket) => {}
        }
        match made {
            Made::Http1(connection) => self.alone(connection, false),
            Made::Http2(trunk) => {
                self.filled.notify_one();
                self.lease(Line::Shared(self.trunks.add(trunk)), false)
            }
        }
    }

    fn alone(self: &Rc<Self>, connection: Alone, reused: bool) -> Lease {
        self.shared.metrics.upstream_active.inc();
        self.lease(Line::Alone(Some(connection)), reused)
    }

    fn lease(self: &Rc<Self>, line: Line, reused: bool) -> Lease {
        Lease { line, reused, pool: Rc::clone(self) }
    }

    fn put(&self, connection: Alone) {
        let mut idle = self.idle.borrow_mut();
        let is_full = self.shared.upstream_room.is_full();
        if connection.is_over() || idle.len() >= MOST || is_full {
            return;
        }
        idle.push(Idle { connection, since: Instant::now() });
        self.shared.metrics.upstream_idle.inc();
        drop(idle);
        self.filled.notify_one();
    }

    /// Closes connections that have been idle for too long, and all where there is no place for
    /// another; never ends.
    pub(super) async fn reap(self: Rc<Self>) {
        loop {
            let oldest = self.idle.borrow().first().map(|idle| idle.since);
            // One that is in use now may be idle by then, so there is a look at it in any case.
            let oldest = oldest.into_iter().chain(self.trunks.oldest()).min();
            match oldest {
                None => self.filled.notified().await,
                Some(since) => tokio::select! {
                    () = time::sleep_until(since + self.keep) => self.drop_older_than(self.keep),
                    () = self.shared.upstream_room.is_short() => self.drop_older_than(Duration::ZERO),
                },
            }
        }
    }

    fn drop_older_than(&self, keep: Duration) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| !idle.connection.is_over() && now.duration_since(idle.since) < keep);
        self.shared.metrics.upstream_idle.sub((before - idle.len()) as i64);
        self.trunks.drop_old(keep);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.metrics.upstream_idle.sub(self.idle.borrow().len() as i64);
    }
}

/// A connection that has a request. Dropped, it is closed where it has no other; given back, it may
/// take the next.
#[derive(Debug)]
pub(super) struct Lease {
    line: Line,
    reused: bool,
    pool: Rc<Pool>,
}

#[derive(Debug)]
enum Line {
    Alone(Option<Alone>),
    Shared(Stream),
}

/// What a request that was sent comes to.
pub(super) type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

impl Lease {
    /// Tells whether the connection has carried a request before: the backend may have closed it
    /// in this very moment.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns what is spoken on it.
    pub(super) fn version(&self) -> Version {
        match self.line {
            Line::Alone(_) => Version::HTTP_11,
            Line::Shared(_) => Version::HTTP_2,
        }
    }

    /// Sends a request. Over HTTP/1.1 it is on its way when this returns, so that whoever waits for
    /// the answer has no room for it.
    pub(super) fn send(&mut self, request: Request<RequestBody>) -> impl Future<Output = Answered> {
        match &mut self.line {
            Line::Alone(connection) => {
                let connection = connection.as_mut().expect("it is taken only when the lease ends");
                Either::Left(connection.sender.try_send_request(request))
            }
            Line::Shared(stream) => Either::Right(Box::pin(stream.send(request))),
        }
    }

    /// Says that the connection takes no other request.
    pub(super) fn is_the_last(&self) {
        if let Line::Shared(stream) = &self.line {
            stream.is_the_last();
        }
    }

    pub(super) fn give_back(mut self) {
        if let Line::Alone(connection) = &mut self.line
            && let Some(connection) = connection.take()
        {
            self.pool.put(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Line::Alone(_) = self.line {
            self.pool.shared.metrics.upstream_active.dec();
        }
    }
}
