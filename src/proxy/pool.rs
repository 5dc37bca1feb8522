//! Connections to the backend: one pool a worker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::Version;
use tokio::sync::Notify;
use tokio::task;
use tokio::time::{self, Instant};

use super::alone::Alone;
use super::local::Local;
use super::present;
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
    /// Wakes whoever closes idle connections.
    reaper: RefCell<Waker>,
    shared: Rc<Local>,
}

struct Idle {
    /// In a box, as in a lease: that goes with the answer, which is moved many times a request.
    connection: Box<Alone>,
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
    Http1(Box<Alone>),
    Http2(Trunk),
}

impl Pool {
    pub(super) fn new(keep: Duration, shared: Rc<Local>) -> Rc<Self> {
        Rc::new(Self {
            idle: RefCell::default(),
            trunks: Trunks::new(Rc::clone(&shared.tally)),
            spoken: Cell::new(None),
            keep,
            filled: Notify::new(),
            reaper: RefCell::new(Waker::noop().clone()),
            shared,
        })
    }

    /// Takes a connection that can be used `now`, if there is one.
    pub(super) fn take(self: &Rc<Self>, now: Instant) -> Option<Lease> {
        self.take_shared().or_else(|| self.take_alone(now))
    }

    /// Takes a place on one over HTTP/2.
    pub(super) fn take_shared(self: &Rc<Self>) -> Option<Lease> {
        self.trunks.take().map(|stream| self.lease(Line::Shared(stream), true))
    }

    /// Takes one over HTTP/1.1.
    pub(super) fn take_alone(self: &Rc<Self>, now: Instant) -> Option<Lease> {
        loop {
            let Idle { mut connection, since } = self.idle.borrow_mut().pop()?;
            self.shared.tally.upstream_idle.dec();
            if now.duration_since(since) >= self.keep {
                self.drop_older_than(self.keep); // as those under it have been idle for longer
                return None;
            }
            if connection.is_quiet_still() {
                return Some(self.lease_alone(connection, true));
            }
        }
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
            Made::Http1(connection) => self.lease_alone(connection, false),
            Made::Http2(trunk) => {
                self.filled.notify_one();
                self.lease(Line::Shared(self.trunks.add(trunk)), false)
            }
        }
    }

    fn lease_alone(self: &Rc<Self>, connection: Box<Alone>, reused: bool) -> Lease {
        self.shared.tally.upstream_active.inc();
        self.lease(Line::Alone(Some(connection)), reused)
    }

    fn lease(self: &Rc<Self>, line: Line, reused: bool) -> Lease {
        Lease { line, reused, pool: Rc::clone(self) }
    }

    fn put(&self, mut connection: Box<Alone>) {
        let mut idle = self.idle.borrow_mut();
        let is_full = self.shared.upstream_room.is_full();
        if idle.len() >= MOST || is_full || !connection.stays_quiet(&self.reaper.borrow()) {
            return;
        }
        if idle.is_empty() {
            self.filled.notify_one();
        }
        idle.push(Idle { connection, since: present::now() });
        self.shared.tally.upstream_idle.inc();
    }

    /// Closes connections that have been idle for too long or that the backend has closed, and all where
    /// there is no place for another; never ends.
    pub(super) async fn reap(self: Rc<Self>) {
        let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        self.reaper.replace(waker);
        loop {
            let oldest = self.idle.borrow().first().map(|idle| idle.since);
            // One that is in use now may be idle by then, so there is a look at it in any case.
            let oldest = oldest.into_iter().chain(self.trunks.oldest()).min();
            match oldest {
                None => self.filled.notified().await,
                Some(since) => tokio::select! {
                    () = time::sleep_until(since + self.keep) => self.drop_older_than(self.keep),
                    () = self.shared.upstream_room.is_short() => self.drop_older_than(Duration::ZERO),
                    () = self.one_is_over() => self.drop_older_than(self.keep),
                },
            }
        }
    }

    /// Waits until one of the idle connections is of no use any more.
    async fn one_is_over(&self) {
        poll_fn(|context| {
            let is_over = |idle: &mut Idle| !idle.connection.stays_quiet(context.waker());
            match self.idle.borrow_mut().iter_mut().any(is_over) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    fn drop_older_than(&self, keep: Duration) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        let waker = self.reaper.borrow();
        idle.retain_mut(|Idle { connection, since }| {
            now.duration_since(*since) < keep && connection.stays_quiet(&waker)
        });
        self.shared.tally.upstream_idle.sub((before - idle.len()) as i64);
        self.trunks.drop_old(keep);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.tally.upstream_idle.sub(self.idle.borrow().len() as i64);
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

/// What a request has of a connection.
#[derive(Debug)]
pub(super) enum Line {
    /// All of it, until it goes on as something else.
    Alone(Option<Box<Alone>>),
    Shared(Stream),
}

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

    pub(super) fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// The connection, where it is one that carries one request after another.
    pub(super) fn connection(&self) -> Option<&Alone> {
        match &self.line {
            Line::Alone(connection) => connection.as_deref(),
            Line::Shared(_) => None,
        }
    }

    /// The connection, to read on, where it is one that carries one request after another.
    pub(super) fn connection_mut(&mut self) -> Option<&mut Alone> {
        match &mut self.line {
            Line::Alone(connection) => connection.as_deref_mut(),
            Line::Shared(_) => None,
        }
    }

    /// Takes the connection, where it is one that carries one request after another.
    pub(super) fn take(&mut self) -> Option<Box<Alone>> {
        match &mut self.line {
            Line::Alone(connection) => connection.take(),
            Line::Shared(_) => None,
        }
    }

    /// Says that the connection takes no other request.
    pub(super) fn is_the_last(&self) {
        if let Line::Shared(stream) = &self.line {
            stream.is_the_last();
        }
    }

    pub(super) fn give_back(mut self) {
        match self.take() {
            // It counts until then.
            Some(mut connection) if connection.is_sending() => {
                drop(task::spawn_local(async move {
                    connection.finish().await;
                    self.pool.put(connection);
                }))
            }
            Some(connection) => self.pool.put(connection),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Line::Alone(_) = self.line {
            self.pool.shared.tally.upstream_active.dec();
        }
    }
}
