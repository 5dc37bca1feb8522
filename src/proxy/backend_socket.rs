//! A connection to the backend on which an answer is heard also where the request is not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::gathered::{SMALL, gathered};

/// A socket whose end is told by its read half alone.
///
/// A backend that has heard enough answers, and closes while the request is still being written
/// (RFC 9112 §9.5). hyper ends a connection with the first write that fails, and the answer that
/// lies in the system's buffer is lost: so from then on whatever is written is taken for written,
/// and reading goes on to the answer, or to the error where there is none.
#[derive(Debug)]
pub(super) struct BackendSocket<S> {
    socket: S,
    deaf: Deaf,
    /// Held for as long as the socket is open, whatever is spoken on it.
    _place: OwnedSemaphorePermit,
}

/// Whether the backend hears nothing any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Deaf(Arc<AtomicBool>);

impl Deaf {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S> BackendSocket<S> {
    pub(super) fn new(socket: S, place: OwnedSemaphorePermit) -> (Self, Deaf) {
        let deaf = Deaf::default();
        (Self { socket, deaf: deaf.clone(), _place: place }, deaf)
    }

    /// Takes the end of the connection for a success, in which so much was done.
    fn forgive<T>(&self, done: T, result: io::Result<T>) -> io::Result<T> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match result {
            Err(error)
                if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) =>
            {
                self.deaf.0.store(true, Ordering::Relaxed);
                Ok(done)
            }
            result => result,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BackendSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BackendSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf.is_so() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes));
        Poll::Ready(self.forgive(bytes.len(), written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(bytes) = gathered(slices, &mut [0; SMALL]) {
            return self.poll_write(context, bytes);
        }
        let all = || slices.iter().map(|slice| slice.len()).sum();
        if self.deaf.is_so() {
            return Poll::Ready(Ok(all()));
        }
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(context, slices));
        Poll::Ready(self.forgive(all(), written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(context));
        Poll::Ready(self.forgive((), flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.socket).poll_shutdown(context));
        Poll::Ready(self.forgive((), shut))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_after_the_request_broke_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut backend, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (mut socket, deaf) = BackendSocket::new(socket, place);
        socket.write_all(b"request").await.unwrap();
        backend.write_all(b"answer").await.unwrap();
        drop(backend); // with something unread: a reset

        while !deaf.is_so() {
            socket.write_all(b"more").await.unwrap();
            tokio::task::yield_now().await;
        }
        socket.write_all(b"and more").await.unwrap();
        let mut answer = [0; 6];
        socket.read_exact(&mut answer).await.unwrap();

        assert_eq!(&answer, b"answer");
    }
}
