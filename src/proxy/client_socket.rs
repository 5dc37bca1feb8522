//! A client's socket, by which its connection's activity is known.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::gathered::{SMALL, gathered};

/// How much is read at once of a request that ends a rest: most heads.
const AHEAD: usize = 2048;

/// A socket that tells the connection's [`Activity`] when bytes come, and when none can go.
#[derive(Debug)]
pub(super) struct ClientSocket<S> {
    socket: S,
    activity: Activity,
    /// What was read of the connection already, and is to be read once more.
    before: Bytes,
}

impl<S> ClientSocket<S> {
    pub(super) fn new(socket: S, activity: Activity) -> Self {
        Self { socket, activity, before: Bytes::new() }
    }

    /// Has these bytes read before those that are still to come.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.before = Bytes::copy_from_slice(bytes);
    }
}

impl<S: AsyncRead + Unpin> ClientSocket<S> {
    /// Waits for bytes, and puts them back; false where none come any more.
    pub(super) async fn look_ahead(&mut self) -> bool {
        if !self.before.is_empty() {
            self.activity.head_began_before();
            return true;
        }
        let read = poll_fn(|context| {
            let mut bytes = [MaybeUninit::uninit(); AHEAD]; // here, so that whoever waits has none of it
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
            self.put_back(buffer.filled());
            Poll::Ready(io::Result::Ok(()))
        });
        read.await.is_ok() && !self.before.is_empty()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let now = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(now));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.activity.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        let mut room = [MaybeUninit::uninit(); SMALL];
        let polled = match gathered(slices, &mut ReadBuf::uninit(&mut room)) {
            Some(bytes) => socket.poll_write(context, bytes),
            None => socket.poll_write_vectored(context, slices),
        };
        self.activity.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        self.activity.flushed(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(context);
        self.activity.flushed(polled)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{self, Instant};

    use super::*;

    /// Takes whatever is written, as TLS does, and gets rid of none of it.
    struct Full;

    impl AsyncWrite for Full {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_takes_nothing_where_tls_has_it_all() {
        let (at_most, activity) = (Duration::from_secs(5), Activity::start());
        let mut socket = ClientSocket::new(Full, activity.clone());
        socket.write_all(b"an answer").await.unwrap();
        assert_eq!(activity.read_due(at_most), None);
        let due = Instant::now() + at_most;
        for _ in 0..2 {
            let flushed = poll_fn(|context| {
                Poll::Ready(Pin::new(&mut socket).poll_flush(context).is_pending())
            });
            assert!(flushed.await);
            time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(activity.read_due(at_most), Some(due));
    }

    #[tokio::test]
    async fn a_look_ahead_takes_nothing_away() {
        let (mut client, ours) = tokio::io::duplex(8 * AHEAD);
        let mut socket = ClientSocket::new(ours, Activity::start());
        let sent = vec![b'a'; 2 * AHEAD];
        client.write_all(&sent).await.unwrap();
        assert!(socket.look_ahead().await);
        assert!(socket.look_ahead().await, "twice");
        let mut read = vec![0; sent.len()];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(read, sent);
        drop(client);
        assert!(!socket.look_ahead().await, "closed");
    }
}
