//! A request on its way to the backend over HTTP/1.1.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::backend_socket::Socket;
use super::body::Patience;
use super::broken::Broken;
use super::outbox::Outbox;
use crate::core::request_head::Framing;

/// What is written in one piece with what stands before it: a call costs more than to copy so much.
const SMALL: usize = 8 * 1024;

/// What is left of a request. As a future, it is over when all of that was written.
pub(super) struct Sending<B> {
    socket: Rc<RefCell<Socket>>,
    /// To be written: this from `written` on, and then `piece`, and then `behind`.
    out: Vec<u8>,
    written: usize,
    piece: Bytes,
    behind: &'static [u8],
    body: Option<B>,
    framing: Framing,
    patience: Patience,
    /// Whether the socket has what is left of the head.
    is_with_others: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Sending<B> {
    pub(super) fn new(
        socket: Rc<RefCell<Socket>>,
        head: Vec<u8>,
        body: B,
        framing: Framing,
    ) -> Self {
        let has_body = !matches!(framing, Framing::Nothing | Framing::Length(0));
        Self {
            socket,
            out: head,
            written: 0,
            piece: Bytes::new(),
            behind: b"",
            body: Some(body).filter(|_| has_body),
            framing,
            patience: Patience::endless(),
            is_with_others: false,
        }
    }

    /// Has it sent with others, where its head is all there is of it. Tells whether it will be.
    pub(super) fn goes_with_others(&mut self, outbox: &Outbox, writer: &Waker) -> bool {
        self.is_with_others = self.body.is_none() && outbox.is_open();
        if self.is_with_others {
            self.socket.borrow_mut().hold(mem::take(&mut self.out));
            outbox.put(&self.socket, writer.clone());
        }
        self.is_with_others
    }

    /// Ends once the backend has taken nothing for so long.
    pub(super) fn at_most(self, patience: Duration) -> Self {
        Self { patience: Patience::new(patience), ..self }
    }

    /// Takes more of the body where there is room for it. Tells whether there will be any.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        while self.piece.is_empty() && self.behind.is_empty() && self.out.len() < SMALL {
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(false)) };
            let frame = match ready!(Pin::new(body).poll_frame(context)) {
                None => None,
                Some(Ok(frame)) => Some(frame),
                Some(Err(_)) => return Poll::Ready(Err(Broken::Request)),
            };
            match frame.map(http_body::Frame::into_data) {
                Some(Ok(data)) => self.push(data)?,
                Some(Err(frame)) => self.end(frame.into_trailers().ok())?,
                None => self.end(None)?,
            }
        }
        Poll::Ready(Ok(true))
    }

    fn push(&mut self, data: Bytes) -> Result<(), Broken> {
        if data.is_empty() {
            return Ok(()); // as a chunk it would be the last
        }
        let behind = match &mut self.framing {
            Framing::Nothing => return Err(Broken::Request),
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Broken::Request)?;
                if *left == 0 {
                    self.body = None;
                }
                &b""[..]
            }
            Framing::Chunks(_) => {
                let _ = write!(self.out, "{:x}\r\n", data.len()); // it grows
                b"\r\n"
            }
        };
        if self.out.len() + data.len() <= SMALL {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(behind);
        } else {
            self.piece = data;
            self.behind = behind;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Broken> {
        self.body = None;
        match &self.framing {
            Framing::Nothing | Framing::Length(0) => {}
            Framing::Length(_) => return Err(Broken::Request),
            Framing::Chunks(announced) => {
                self.out.extend_from_slice(b"0\r\n");
                let trailers = trailers.unwrap_or_default();
                let told = trailers.iter().filter(|(name, _)| announced.contains(name));
                for (name, value) in told {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        self.out.extend_from_slice(part);
                    }
                }
                self.out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut socket = self.socket.borrow_mut();
        if mem::take(&mut self.is_with_others) {
            self.out = socket.take_held()?;
        }
        loop {
            let out = &self.out[self.written..];
            let has_piece = !(self.piece.is_empty() && self.behind.is_empty());
            let polled = match (out, has_piece) {
                ([], false) => break,
                (out, false) => Pin::new(&mut *socket).poll_write(context, out),
                (out, true) => {
                    let parts = [out, &self.piece, self.behind].map(IoSlice::new);
                    Pin::new(&mut *socket).poll_write_vectored(context, &parts)
                }
            };
            let Poll::Ready(left) = polled else {
                return self.patience.poll(context).map(|()| Err(Broken::Stuck));
            };
            self.patience.renew();
            let mut left = left?;
            if left == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
            }
            let of_out = left.min(out.len());
            self.written += of_out;
            left -= of_out;
            let of_piece = left.min(self.piece.len());
            self.piece.advance(of_piece);
            self.behind = &self.behind[left - of_piece..];
        }
        self.out.clear();
        self.written = 0;
        // Under TLS that may be all that the backend has not taken.
        match Pin::new(&mut *socket).poll_flush(context) {
            Poll::Ready(flushed) => {
                self.patience.renew();
                Poll::Ready(flushed.map_err(Broken::from))
            }
            Poll::Pending => self.patience.poll(context).map(|()| Err(Broken::Stuck)),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Future for Sending<B> {
    type Output = Result<(), Broken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let more = self.poll_more(context)?;
            ready!(self.poll_write(context))?;
            if !ready!(more) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<B> fmt::Debug for Sending<B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Sending({:?})", self.framing)
    }
}
