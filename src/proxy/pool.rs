//! Connections to the backend that wait for a request: one pool a worker.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::Shared;
use super::request_body::RequestBody;

/// How many idle connections a worker keeps. More are closed: a peak is over.
const MOST: usize = 128;

/// The idle connections of one worker, the one used last on top, so that the others age out.
#[derive(Debug)]
pub(super) struct Pool {
    idle: RefCell<Vec<Idle>>,
    keep: Duration,
    filled: Notify,
    shared: Arc<Shared>,
}

struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

impl fmt::Debug for Idle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Idle({:?})", self.since)
    }
}

impl Pool {
    pub(super) fn new(keep: Duration, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), keep, filled: Notify::new(), shared })
    }

    /// Takes a connection that can be used at once, if there is one.
    pub(super) fn take(self: &Rc<Self>) -> Option<Lease> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        let usable = idle.iter().rposition(|idle| {
            idle.sender.is_ready() && now.duration_since(idle.since) < self.keep
        })?;
        let sender = idle.remove(usable).sender;
        self.shared.metrics.upstream_idle.dec();
        drop(idle);
        Some(self.lease(sender, true))
    }

    /// Takes charge of a connection that was just made.
    pub(super) fn made(self: &Rc<Self>, sender: SendRequest<RequestBody>) -> Lease {
        self.lease(sender, false)
    }

    fn lease(self: &Rc<Self>, sender: SendRequest<RequestBody>, reused: bool) -> Lease {
        self.shared.metrics.upstream_active.inc();
        Lease { sender: Some(sender), reused, pool: Rc::clone(self) }
    }

    fn put(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.borrow_mut();
        if sender.is_closed() || idle.len() >= MOST || self.shared.upstream_room.is_full() {
            return;
        }
        idle.push(Idle { sender, since: Instant::now() });
        self.shared.metrics.upstream_idle.inc();
        drop(idle);
        self.filled.notify_one();
    }

    /// Closes connections that have been idle for too long, and all where there is no place for
    /// another; never ends.
    pub(super) async fn reap(self: Rc<Self>) {
        loop {
            let oldest = self.idle.borrow().first().map(|idle| idle.since);
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
        idle.retain(|idle| !idle.sender.is_closed() && now.duration_since(idle.since) < keep);
        self.shared.metrics.upstream_idle.sub((before - idle.len()) as i64);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.metrics.upstream_idle.sub(self.idle.borrow().len() as i64);
    }
}

/// A connection that has a request. Dropped, it is closed; given back, it may take the next.
#[derive(Debug)]
pub(super) struct Lease {
    sender: Option<SendRequest<RequestBody>>,
    reused: bool,
    pool: Rc<Pool>,
}

impl Lease {
    /// Tells whether the connection has carried a request before: the backend may have closed it
    /// in this very moment.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        self.sender.as_mut().expect("it is taken only when the lease ends")
    }

    pub(super) fn give_back(mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.put(sender);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.shared.metrics.upstream_active.dec();
    }
}
