//! An answer's body on its way to the client.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::Shared;
use super::body::{BrokenOff, Patience};
use super::pool::Lease;
use super::record::Record;
use super::request_body::Progress;

/// An answer's body on its way to the client. When it ends, so does the request.
pub(super) struct ResponseBody {
    source: Source,
    record: Box<Record>,
}

enum Source {
    Own(Option<Bytes>),
    Upstream(Box<FromUpstream>),
}

struct FromUpstream {
    incoming: Incoming,
    lease: Option<Lease>,
    request: Rc<Progress>,
    shared: Arc<Shared>,
    patience: Patience,
}

impl ResponseBody {
    /// A body of ours.
    pub(super) fn own(bytes: Bytes, record: Box<Record>) -> Self {
        Self { source: Source::Own(Some(bytes)), record }
    }

    /// A body of the backend's.
    pub(super) fn upstream(
        incoming: Incoming,
        lease: Lease,
        request: Rc<Progress>,
        shared: Arc<Shared>,
        record: Box<Record>,
    ) -> Self {
        let patience = Patience::new(shared.settings.timeouts.body);
        let mut from =
            Box::new(FromUpstream { incoming, lease: Some(lease), request, shared, patience });
        if from.incoming.is_end_stream() {
            from.end();
        }
        Self { source: Source::Upstream(from), record }
    }
}

impl FromUpstream {
    /// The answer is over: the connection may take another request, unless it still has this one.
    fn end(&mut self) {
        if let Some(lease) = self.lease.take().filter(|_| self.request.has_ended()) {
            lease.give_back();
        }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
            ready!(self.patience.poll(context));
            return Poll::Ready(Some(Err(BrokenOff(None))));
        };
        self.patience.renew();
        let frame = match frame {
            None => None,
            Some(Err(error)) => return Poll::Ready(Some(Err(BrokenOff(Some(error))))),
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    self.shared.settings.strip.strip_trailers(trailers);
                }
                Some(Ok(frame))
            }
        };
        if frame.is_none() || self.incoming.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = match &mut self.source {
            Source::Own(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Upstream(from) => ready!(from.poll_frame(context)),
        };
        match &frame {
            Some(Ok(frame)) => self.record.sent(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) => self.record.broken_off(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Source::Upstream(from) => from.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(from) => from.incoming.size_hint(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ResponseBody")
    }
}
