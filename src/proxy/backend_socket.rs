//! A connection to the backend on which an answer is heard also where the request is not.

use std::fmt;
use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::gathered::{SMALL, gathered};

/// More than most answers. What is longer comes in pieces.
const LONG: usize = 16 * 1024;

/// A stream from a backend.
pub(super) trait Acknowledge {
    /// Has the backend's system told at once what was read.
    ///
    /// Ours waits for another segment, 40 ms at most. So does a backend's before it sends a piece that
    /// is none (RFC 9293 §3.7.4, and nginx's `tcp_nopush`): on one machine, where a segment is 64 KiB, that
    /// is the end of most answers which are longer than one.
    fn acknowledge(&self);

    /// Tells whether there may be something to read that there was not when last it was tried; without a call
    /// to the system.
    fn has_news(&self) -> bool;
}

impl Acknowledge for TcpStream {
    fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        drop(self.set_quickack(true)); // without it, it is late
    }

    fn has_news(&self) -> bool {
        self.try_io(Interest::READABLE, || Ok(())).is_ok()
    }
}

impl Acknowledge for UnixStream {
    fn acknowledge(&self) {} // whoever reads takes it from whoever writes

    fn has_news(&self) -> bool {
        self.try_io(Interest::READABLE, || Ok(())).is_ok()
    }
}

impl<S: Acknowledge> Acknowledge for TlsStream<S> {
    fn acknowledge(&self) {
        self.get_ref().0.acknowledge();
    }

    fn has_news(&self) -> bool {
        self.get_ref().0.has_news()
    }
}

impl Acknowledge for Box<dyn Transport> {
    fn acknowledge(&self) {
        (**self).acknowledge();
    }

    fn has_news(&self) -> bool {
        (**self).has_news()
    }
}

/// What a connection to a backend is made of: TCP, a Unix socket, and TLS over one of them.
pub(super) trait Transport: AsyncRead + AsyncWrite + Acknowledge + Unpin {}

impl<S: AsyncRead + AsyncWrite + Acknowledge + Unpin> Transport for S {}

/// A connection over any of them.
pub(super) type Socket = BackendSocket<Box<dyn Transport>>;

/// A socket whose end is told by its read half alone.
///
/// A backend that has heard enough answers, and closes while the request is still being written
/// (RFC 9112 §9.5). To whoever ends a connection with the first write that fails, the answer that lies in
/// the system's buffer is lost: so from then on whatever is written is taken for written, and
/// reading goes on to the answer, or to the error where there is none.
pub(super) struct BackendSocket<S> {
    socket: S,
    /// Whether the backend hears nothing any more.
    is_deaf: bool,
    /// Whether there is an answer to come for which that does not count.
    is_awaited: bool,
    /// How much was read since something was written.
    read: usize,
    /// What [`release`](Self::release) is to write, what that has left, or why that failed.
    held: io::Result<Vec<u8>>,
    /// When it was last its turn to be written, until somebody has asked.
    released: Option<Instant>,
    /// Held for as long as the socket is open, whatever is spoken on it.
    _place: OwnedSemaphorePermit,
}

impl<S> BackendSocket<S> {
    pub(super) fn new(socket: S, place: OwnedSemaphorePermit) -> Self {
        Self {
            socket,
            is_deaf: false,
            is_awaited: true,
            read: 0,
            held: Ok(Vec::new()),
            released: None,
            _place: place,
        }
    }

    /// Tells whether there may be something to read that there was not when last it was tried.
    pub(super) fn has_news(&self) -> bool
    where
        S: Acknowledge,
    {
        self.socket.has_news()
    }

    /// Tells whether the backend hears nothing any more.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// Keeps what is to be [released](Self::release). Until that is done, or it was [taken](Self::take_held) back,
    /// nothing else is to be written.
    pub(super) fn hold(&mut self, bytes: Vec<u8>) {
        debug_assert!(matches!(&self.held, Ok(held) if held.is_empty()));
        self.held = Ok(bytes);
    }

    /// Takes what is left of it.
    ///
    /// # Errors
    ///
    /// What there was in the way of writing it.
    pub(super) fn take_held(&mut self) -> io::Result<Vec<u8>> {
        mem::replace(&mut self.held, Ok(Vec::new()))
    }

    /// Tells when it was its turn, once.
    pub(super) fn take_released(&mut self) -> Option<Instant> {
        self.released.take()
    }

    /// Writes what is held, as far as that goes without waiting. Tells whether that was all; what is left is for
    /// whoever takes it.
    pub(super) fn release(&mut self, now: Instant) -> bool
    where
        S: AsyncWrite + Unpin,
    {
        let held = match self.take_held() {
            Ok(held) if held.is_empty() => return true, // it was taken back
            Ok(held) => held,
            Err(problem) => {
                self.held = Err(problem); // nobody has come for it yet
                return false;
            }
        };
        let mut nobody = Context::from_waker(Waker::noop());
        let written = match Pin::new(&mut *self).poll_write(&mut nobody, &held) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(problem)) => {
                self.held = Err(problem); // not once more: some of it may be with TLS
                return false;
            }
            Poll::Pending => 0,
        };
        self.released = Some(now);
        if written < held.len() {
            self.held = Ok(held[written..].to_vec());
            return false;
        }
        matches!(Pin::new(self).poll_flush(&mut nobody), Poll::Ready(Ok(())))
    }

    fn taken(&self, bytes: usize) -> io::Result<usize> {
        if self.is_awaited { Ok(bytes) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    /// Says whether there is more to be read. Where there is none, its end is one to whoever writes, too.
    pub(super) fn awaits(&mut self, more: bool) {
        self.is_awaited = more;
    }

    /// Takes the end of the connection for a success, in which so much was done.
    fn forgive<T>(&mut self, done: T, result: io::Result<T>) -> io::Result<T> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match result {
            Err(error)
                if self.is_awaited
                    && matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) =>
            {
                self.is_deaf = true;
                Ok(done)
            }
            result => result,
        }
    }
}

impl<S> fmt::Debug for BackendSocket<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BackendSocket({} bytes read)", self.read)
    }
}

impl<S: AsyncRead + Acknowledge + Unpin> AsyncRead for BackendSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.read = self.read.saturating_add(read);
        if read > 0 && self.read > LONG {
            self.socket.acknowledge();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BackendSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(self.taken(bytes.len()));
        }
        self.read = 0;
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes));
        Poll::Ready(self.forgive(bytes.len(), written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut room = [MaybeUninit::uninit(); SMALL];
        if let Some(bytes) = gathered(slices, &mut ReadBuf::uninit(&mut room)) {
            return self.poll_write(context, bytes);
        }
        let all = || slices.iter().map(|slice| slice.len()).sum();
        if self.is_deaf {
            return Poll::Ready(self.taken(all()));
        }
        self.read = 0;
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
    use std::cell::Cell;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    impl Acknowledge for DuplexStream {
        fn acknowledge(&self) {}

        fn has_news(&self) -> bool {
            true // for all that is known
        }
    }

    /// Counts how often what was read is acknowledged.
    struct Counted(DuplexStream, Cell<usize>);

    impl Acknowledge for Counted {
        fn acknowledge(&self) {
            self.1.set(self.1.get() + 1);
        }

        fn has_news(&self) -> bool {
            self.0.has_news()
        }
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn each_piece_of_a_long_answer_is_acknowledged_and_no_short_one_is() {
        let (near, mut backend) = duplex(8 * LONG);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut socket = BackendSocket::new(Counted(near, Cell::new(0)), place);
        for (pieces, want) in
            [(&[48][..], 0), (&[LONG], 0), (&[LONG, 1, 1], 2), (&[200, 4096], 0), (&[2 * LONG], 1)]
        {
            socket.write_all(b"request").await.unwrap();
            socket.socket.1.set(0);
            for piece in pieces {
                backend.write_all(&vec![b'a'; *piece]).await.unwrap();
                socket.read_exact(&mut vec![0; *piece]).await.unwrap();
            }
            assert_eq!(socket.socket.1.get(), want, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_after_the_request_broke_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut backend, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut socket = BackendSocket::new(socket, place);
        socket.write_all(b"request").await.unwrap();
        backend.write_all(b"answer").await.unwrap();
        drop(backend); // with something unread: a reset

        while !socket.is_deaf() {
            socket.write_all(b"more").await.unwrap();
            tokio::task::yield_now().await;
        }
        socket.write_all(b"and more").await.unwrap();
        let mut answer = [0; 6];
        socket.read_exact(&mut answer).await.unwrap();

        assert_eq!(&answer, b"answer");
    }
}
