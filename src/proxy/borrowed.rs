//! A socket that outlives what was spoken on it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A socket that is back with its owner once whoever speaks on it is done: hyper keeps that of an
/// HTTP/2 connection, and closes it.
#[derive(Debug)]
pub(super) struct Borrowed<S>(Rc<RefCell<S>>);

/// Whose socket it is.
#[derive(Debug)]
pub(super) struct Owner<S>(Rc<RefCell<S>>);

/// Lends a socket.
pub(super) fn lend<S>(socket: S) -> (Owner<S>, Borrowed<S>) {
    let socket = Rc::new(RefCell::new(socket));
    (Owner(Rc::clone(&socket)), Borrowed(socket))
}

impl<S> Owner<S> {
    /// Takes the socket back; nothing while it is still lent.
    pub(super) fn back(self) -> Option<S> {
        Rc::into_inner(self.0).map(RefCell::into_inner)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Borrowed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Borrowed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)
    }
}
