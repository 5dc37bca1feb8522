//! What a request has to do with the connection it came by.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use tokio::sync::watch;

use super::activity::Activity;
use super::forwarded::Peer;
use super::stage::Stage;
use super::streams::Stall;
use super::tunnel::Tunnel;

/// A request's connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Who is at the other end.
    pub(super) peer: Peer,
    pub(super) activity: Activity,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) wire: Wire,
}

/// What is spoken on the connection, and what only that can do.
#[derive(Debug)]
pub(super) enum Wire {
    /// The connection can go on as a tunnel.
    Http1 { tunnel: Rc<Handover> },
    /// A request's stream can end without its connection.
    Http2 { stall: Rc<Stall> },
}

impl Wire {
    /// Returns what tells whether the client takes its answer, where that is a request's own.
    pub(super) fn stall(&self) -> Option<Rc<Stall>> {
        match self {
            Self::Http1 { .. } => None,
            Self::Http2 { stall } => Some(Rc::clone(stall)),
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2 { .. })
    }
}

/// The tunnel that a connection goes on as, from the request that asked for it to whoever has the
/// socket.
#[derive(Default)]
pub(super) struct Handover(Cell<Option<Box<Tunnel>>>);

impl Handover {
    pub(super) fn put(&self, tunnel: Tunnel) {
        self.0.set(Some(Box::new(tunnel)));
    }

    pub(super) fn take(&self) -> Option<Box<Tunnel>> {
        self.0.take()
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Handover")
    }
}
