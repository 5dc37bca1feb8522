//! An answer's body on its way to the client.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::alone::{Alone, Next};
use super::body::{BrokenOff, Patience};
use super::broken::Broken;
use super::lifetime::Lifetime;
use super::local::Local;
use super::pool::Lease;
use super::record::Record;
use super::request_body::Progress;
use super::streams::Stall;
use crate::core::grpc::Code;
use crate::telemetry::metrics::StreamEnd;

/// An answer's body on its way to the client. When it ends, so does the request.
pub(super) struct ResponseBody {
    source: Source,
    /// Nothing where the connection goes on as a tunnel, which has it.
    record: Option<Box<Record>>,
    stall: Option<Rc<Stall>>,
}

enum Source {
    Own(Option<Bytes>),
    Upstream(Box<FromUpstream>),
}

/// A body of the backend's, and what it needs.
pub(super) struct FromUpstream {
    /// Nothing where the lease has it.
    pub(super) incoming: Option<Incoming>,
    pub(super) lease: Option<Lease>,
    pub(super) request: Rc<Progress>,
    pub(super) shared: Rc<Local>,
    pub(super) patience: Patience,
    pub(super) stream: Option<Stream>,
}

/// A body that has no end of its own.
pub(super) struct Stream {
    over: Pin<Box<dyn Future<Output = StreamEnd>>>,
    kind: StreamKind,
}

/// How a client takes the end of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum StreamKind {
    /// It comes again by itself.
    Events,
    /// It is told by a code.
    Grpc,
}

impl Stream {
    pub(super) fn new(kind: StreamKind, lifetime: Lifetime) -> Self {
        Self { over: Box::pin(lifetime.over()), kind }
    }
}

impl StreamKind {
    fn last(self, end: StreamEnd) -> Option<Frame<Bytes>> {
        match (self, end) {
            (Self::Events, _) => None,
            (Self::Grpc, StreamEnd::Lifetime) => Some(trailers(Code::Unauthenticated)),
            (Self::Grpc, StreamEnd::Drain) => Some(trailers(Code::Unavailable)),
        }
    }
}

/// The last word of a call.
fn trailers(code: Code) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(Code::STATUS, code.number().into())]))
}

impl ResponseBody {
    /// A body of ours.
    pub(super) fn own(bytes: Bytes, record: Box<Record>) -> Self {
        Self { source: Source::Own(Some(bytes)), record: Some(record), stall: None }
    }

    /// No body: the connection goes on as a tunnel.
    pub(super) fn tunnel() -> Self {
        Self { source: Source::Own(None), record: None, stall: None }
    }

    /// A body of the backend's.
    pub(super) fn upstream(
        mut from: Box<FromUpstream>,
        record: Box<Record>,
        stall: Option<Rc<Stall>>,
    ) -> Self {
        if from.is_end_stream() {
            from.end();
        }
        Self { source: Source::Upstream(from), record: Some(record), stall }
    }
}

impl FromUpstream {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(context).map_err(Broken::from),
            None => match self.lease.as_mut().and_then(Lease::connection_mut) {
                Some(connection) => connection.poll_frame(context),
                None => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.incoming {
            Some(incoming) => incoming.is_end_stream(),
            None => {
                self.lease.as_ref().and_then(Lease::connection).is_none_or(Alone::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => match self.lease.as_ref().and_then(Lease::connection) {
                Some(connection) => connection.size_hint(),
                None => SizeHint::with_exact(0),
            },
        }
    }

    /// The answer is over: the connection may take another request, unless it still has this one.
    fn end(&mut self) {
        match self.lease.take() {
            Some(lease) if lease.version() == Version::HTTP_2 && !self.request.has_ended() => {
                self.request.hold(lease);
            }
            Some(lease) => lease.give_back(),
            None => {}
        }
    }

    /// Says that the backend broke off: to a call whose backend is gone in gRPC's words, so that its
    /// client knows that it may call again.
    fn broken_off(&mut self, error: Broken) -> Result<Frame<Bytes>, BrokenOff> {
        match self.stream.take() {
            Some(Stream { kind: StreamKind::Grpc, .. }) if !error.is_of_a_stream() => {
                Ok(trailers(Code::Unavailable))
            }
            _ => Err(BrokenOff(Some(error))),
        }
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
        record: Option<&Record>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(stream) = &mut self.stream
            && let Poll::Ready(end) = stream.over.as_mut().poll(context)
        {
            record.inspect(|record| record.stream_ended(end));
            let last = stream.kind.last(end);
            self.stream = None;
            self.lease = None;
            return Poll::Ready(last.map(Ok));
        }
        let Poll::Ready(frame) = self.poll_next(context) else {
            ready!(self.patience.poll(context));
            record.inspect(|record| record.fell_silent());
            return Poll::Ready(Some(Err(BrokenOff(None))));
        };
        self.patience.renew();
        let frame = match frame {
            None => None,
            Some(Err(error)) => {
                record.inspect(|record| record.broken_off());
                return Poll::Ready(Some(self.broken_off(error)));
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    self.shared.settings.strip.strip_trailers(trailers);
                }
                Some(Ok(frame))
            }
        };
        if frame.is_none() || self.is_end_stream() {
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
        let Self { source, record, stall } = &mut *self;
        if let Some(stall) = stall {
            stall.ends();
        }
        let frame = match source {
            Source::Own(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Source::Upstream(from) => ready!(from.poll_frame(context, record.as_deref())),
        };
        if let (Some(record), Some(Ok(frame))) = (record, &frame) {
            record.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        if let (Some(stall), Some(_)) = (stall, &frame) {
            stall.begins();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Source::Upstream(from) => from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(from) => from.size_hint(),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ResponseBody")
    }
}
