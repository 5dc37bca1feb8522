//! A request's body on its way to the backend.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::activity::BodyOf;
use super::body::{BrokenOff, Patience};
use super::broken::Broken;
use super::link::Link;
use super::local::Local;
use super::pool::Lease;
use super::present;
use crate::core::reject::Reject;

/// A request's body on its way to the backend.
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    shared: Rc<Local>,
    patience: Patience,
    progress: Rc<Progress>,
    /// What it is to the connection, where no other request is on that.
    alone: Option<BodyOf>,
}

/// How far a request's body has come. The body itself is with the connection to the backend.
#[derive(Debug)]
pub(super) struct Progress {
    bytes: Cell<u64>,
    ended: Cell<bool>,
    waiting: Cell<bool>,
    last: Cell<Option<Instant>>,
    fault: RefCell<Option<Reject>>,
    /// The place on the backend's connection, once the answer is over and this is not.
    held: RefCell<Option<Lease>>,
}

impl Progress {
    /// Keeps the request's place on a connection that has others until its body is over, too: to the
    /// backend it is under way until then.
    pub(super) fn hold(&self, lease: Lease) {
        *self.held.borrow_mut() = Some(lease);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Tells whether all of the body was handed on.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Tells whether the backend is ready for more than the client has sent.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waiting.get()
    }

    /// Returns when a piece last came, if one did.
    pub(super) fn last(&self) -> Option<Instant> {
        self.last.get()
    }

    /// Returns what was wrong with the body, if that is why the request ended.
    pub(super) fn fault(&self) -> Option<Reject> {
        self.fault.borrow_mut().take()
    }
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, shared: Rc<Local>, link: &Link) -> Self {
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        let alone = (!link.wire.is_http2()).then(|| link.activity.body());
        Self::of(incoming, shared, alone)
    }

    /// A body of nothing.
    pub(super) fn empty(shared: Rc<Local>) -> Self {
        Self::of(None, shared, None)
    }

    fn of(incoming: Option<Incoming>, shared: Rc<Local>, alone: Option<BodyOf>) -> Self {
        let patience = Patience::new(shared.settings.timeouts.body);
        let progress = Progress {
            bytes: Cell::new(0),
            ended: Cell::new(incoming.is_none()),
            waiting: Cell::new(false),
            last: Cell::default(),
            fault: RefCell::new(None),
            held: RefCell::new(None),
        };
        Self { incoming, shared, patience, progress: Rc::new(progress), alone }
    }

    /// Whoever sends it may have nothing to say for as long as they like.
    pub(super) fn may_be_silent(&mut self) {
        self.patience = Patience::endless();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }

    /// Tells whether it is known how long it is: no trailers follow it then.
    pub(super) fn has_a_length(&self) -> bool {
        self.size_hint().exact().is_some()
    }

    pub(super) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    fn ended(&self) {
        self.progress.ended.set(true);
        if let Some(body) = &self.alone {
            body.has_ended();
        }
    }

    fn break_off(&self, fault: Reject, error: Option<Broken>) -> BrokenOff {
        *self.progress.fault.borrow_mut() = Some(fault);
        BrokenOff(error)
    }

    fn pass(&self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BrokenOff> {
        if let Some(data) = frame.data_ref() {
            if let Some(body) = &self.alone {
                body.goes_on();
            }
            let bytes = self.progress.bytes.get() + data.len() as u64;
            self.progress.bytes.set(bytes);
            if self.shared.settings.limits.body.is_some_and(|most| bytes > most) {
                return Err(self.break_off(Reject::BodyTooLarge, None));
            }
        } else if let Some(trailers) = frame.trailers_mut() {
            // A lone LF ends no line of trailers for hyper, and the section for its parser: what was
            // meant for another request may have gone with them, and nobody would answer it.
            if let Some(body) = &self.alone {
                body.is_last();
            }
            self.shared.settings.strip.strip_trailers(trailers);
        }
        Ok(frame)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(context);
        self.progress.waiting.set(polled.is_pending());
        let Poll::Ready(frame) = polled else {
            ready!(self.patience.poll(context));
            return Poll::Ready(Some(Err(self.break_off(Reject::RequestTimeout, None))));
        };
        self.patience.renew();
        self.progress.last.set(Some(present::now()));
        Poll::Ready(match frame {
            None => {
                self.ended();
                None
            }
            Some(Ok(frame)) => Some(self.pass(frame)),
            Some(Err(error)) => {
                let fault = Reject::RequestMalformed("the body was broken off");
                Some(Err(self.break_off(fault, Some(error.into()))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Nobody asks for the end of a body whose length is known.
        if self.is_end_stream() {
            self.ended();
        }
        drop(self.progress.held.take());
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RequestBody({:?})", self.progress.bytes)
    }
}
