//! A connection to the backend over HTTP/1.1, which carries one request after another.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backend_socket::Socket;
use super::broken::Broken;
use super::outbox::{Outbox, Turn};
use super::reader::Reader;
use super::sending::Sending;
use crate::core::answer::{AnswerHead, End};
use crate::core::chunked::{Chunked, Piece};
use crate::core::request_head::Framing;

/// A connection over HTTP/1.1.
pub(super) struct Alone {
    socket: Rc<RefCell<Socket>>,
    outbox: Rc<Outbox>,
    reader: Reader,
    body: Body,
    keeps_alive: bool,
    /// What is left of a request whose answer has begun. It goes on beside that: a backend may send
    /// its answer while it reads, and a client may read none of it while it sends.
    rest: Option<JoinSet<Result<(), Broken>>>,
    /// What went wrong, while what came before it is on its way to the client.
    broken: Option<Broken>,
    /// Whether it goes on as something else.
    goes_on: bool,
}

/// What is left of the body of an answer.
#[derive(Debug)]
enum Body {
    Length(u64),
    Chunks(Box<Chunked>),
    UntilClosed,
}

/// What comes next of the body of an answer; nothing: that was all.
pub(super) type Next = Option<Result<Frame<Bytes>, Broken>>;

fn piece(frame: Frame<Bytes>) -> Poll<Next> {
    Poll::Ready(Some(Ok(frame)))
}

impl Alone {
    pub(super) fn new(socket: Socket, outbox: Rc<Outbox>) -> Self {
        Self {
            socket: Rc::new(RefCell::new(socket)),
            outbox,
            reader: Reader::default(),
            body: Body::Length(0),
            keeps_alive: true,
            rest: None,
            broken: None,
            goes_on: false,
        }
    }

    /// Sends a request, and waits for the head of its answer. `at_most` is how long the backend may take
    /// nothing of a request that it has answered; one with a body takes no [`Turn`] but the present one.
    pub(super) fn exchange(
        &mut self,
        method: &Method,
        head: Vec<u8>,
        body: impl http_body::Body<Data = Bytes> + Unpin + 'static,
        framing: Framing,
        at_most: Duration,
        mut turn: Turn,
    ) -> impl Future<Output = Result<Response<()>, Broken>> {
        let mut sending = Some(Sending::new(Rc::clone(&self.socket), head, body, framing));
        async move {
            let AnswerHead { response, end, keeps_alive } = poll_fn(|context| {
                if mem::replace(&mut turn, Turn::Now) == Turn::AfterOthers
                    && let Some(rest) = &mut sending
                    && rest.goes_with_others(&self.outbox, context.waker())
                {
                    let head = ready!(self.poll_head(context, method));
                    return Poll::Ready(head.and(Err(Broken::Early))); // to what was not sent
                }
                if let Some(rest) = &mut sending
                    && Pin::new(rest).poll(context)?.is_ready()
                {
                    sending = None; // what was sent is not kept while the backend thinks
                }
                self.poll_head(context, method)
            })
            .await?;
            self.keeps_alive = keeps_alive;
            self.body = match end {
                End::After(length) => Body::Length(length),
                End::InChunks => Body::Chunks(Box::default()),
                End::OnClose => Body::UntilClosed,
            };
            if sending.is_some() && response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Broken::Early);
            }
            self.rest = sending.map(|sending| {
                let mut rest = JoinSet::new();
                rest.spawn_local(sending.at_most(at_most));
                rest
            });
            Ok(response)
        }
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<AnswerHead, Broken>> {
        loop {
            if let Some(head) = self.reader.head(method)? {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_read(context))? == 0 {
                return Poll::Ready(Err(Broken::Unanswered));
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = match self.body {
            Body::Length(left @ 1..) => Some(left),
            Body::Length(0) | Body::Chunks(_) | Body::UntilClosed => None,
        };
        self.reader.poll(&mut self.socket.borrow_mut(), left, context)
    }

    /// Reads on in the body of the answer.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        match ready!(self.poll_next(context)) {
            Some(Err(broken)) => {
                // Whoever writes to the client drops what is not written yet when it hears of this.
                self.broken = Some(broken);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(rest) = &mut self.rest
            && let Poll::Ready(ended) = rest.poll_join_next(context)
        {
            self.rest = None;
            match ended {
                Some(Ok(Ok(()))) => {}
                // The backend does not want the rest, and has an answer all the same.
                Some(Ok(Err(Broken::Stuck | Broken::Io(_)))) => self.keeps_alive = false,
                Some(Ok(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                Some(Err(_)) | None => return Poll::Ready(Some(Err(Broken::Lost))),
            }
        }
        loop {
            match &mut self.body {
                Body::Length(0) => return Poll::Ready(None),
                Body::Length(left) => {
                    if let Some(data) = self.reader.bytes(*left) {
                        *left -= data.len() as u64;
                        return piece(Frame::data(data));
                    }
                }
                Body::Chunks(chunks) => match self.reader.piece(chunks)? {
                    Some(Piece::Data(data)) => return piece(Frame::data(data)),
                    Some(Piece::Trailers(trailers)) => return piece(Frame::trailers(trailers)),
                    Some(Piece::End) => {
                        self.body = Body::Length(0);
                        return Poll::Ready(None);
                    }
                    None => {}
                },
                Body::UntilClosed => {
                    if let Some(data) = self.reader.bytes(u64::MAX) {
                        return piece(Frame::data(data));
                    }
                }
            }
            if ready!(self.poll_read(context))? == 0 {
                if matches!(self.body, Body::UntilClosed) {
                    self.body = Body::Length(0);
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Err(Broken::Short)));
            }
        }
    }

    /// Tells when its request was sent, where that waited for others; once.
    pub(super) fn take_sent(&self) -> Option<Instant> {
        self.socket.borrow_mut().take_released()
    }

    /// Tells whether its request is still being sent.
    pub(super) fn is_sending(&self) -> bool {
        self.rest.is_some()
    }

    /// Sends what is left of the request: a backend may have answered before it has read all that it needs.
    pub(super) async fn finish(&mut self) {
        if let Some(mut rest) = self.rest.take() {
            self.socket.borrow_mut().awaits(false);
            let is_sent = matches!(rest.join_next().await, Some(Ok(Ok(()))));
            self.socket.borrow_mut().awaits(true);
            self.keeps_alive &= is_sent;
        }
    }

    /// Tells whether all of the answer was read.
    pub(super) fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Length(left) => *left == 0,
            Body::Chunks(chunks) => chunks.is_over(),
            Body::UntilClosed => false,
        }
    }

    /// How long the rest of the answer's body is, where that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.body {
            Body::Length(left) => SizeHint::with_exact(left),
            Body::Chunks(_) | Body::UntilClosed => SizeHint::default(),
        }
    }

    /// Listens whether it can carry another request: it is through with the last, and nothing comes, its end
    /// neither, that nobody asked for. Once something has, it never is again. `told` is woken when it does.
    pub(super) fn stays_quiet(&mut self, told: &Waker) -> bool {
        let mut room = [0; 1];
        let heard = Pin::new(&mut *self.socket.borrow_mut())
            .poll_read(&mut Context::from_waker(told), &mut ReadBuf::new(&mut room));
        self.keeps_alive &= heard.is_pending() && self.reader.is_empty();
        self.keeps_alive && self.rest.is_none() && !self.socket.borrow().is_deaf()
    }

    /// Tells the same of one that has been listened to since it was through with the last.
    pub(super) fn is_quiet_still(&mut self) -> bool {
        self.keeps_alive && (!self.socket.borrow().has_news() || self.stays_quiet(Waker::noop()))
    }

    /// Gives the connection to what it goes on as, and what was read of that.
    pub(super) fn into_parts(mut self) -> Option<(Socket, Bytes)> {
        let (socket, reader) = (Rc::clone(&self.socket), mem::take(&mut self.reader));
        self.goes_on = true;
        drop(self);
        Some((Rc::into_inner(socket)?.into_inner(), reader.into_rest()))
    }
}

impl Drop for Alone {
    /// Says what TLS says at the end of all (RFC 8446 §6.1), where there is room for it.
    fn drop(&mut self) {
        if !self.goes_on {
            let mut socket = self.socket.borrow_mut();
            let _ = Pin::new(&mut *socket).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl fmt::Debug for Alone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Alone({:?})", self.body)
    }
}

#[cfg(test)]
#[path = "alone_tests.rs"]
mod tests;
