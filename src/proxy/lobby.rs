//! Connections for which there is no place: they wait a moment, then are told to come back.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::http1::{LINGER, linger};
use super::room::{PATIENCE, places};
use crate::core::reject::Reject;
use crate::listen::Socket;
use crate::telemetry::metrics::Metrics;

/// Where connections are that are not served. It has two bounds: without the first a flood would
/// hold all descriptors, and without the second so would those who are told to come back and do
/// not leave.
#[derive(Clone, Debug)]
pub(super) struct Lobby {
    seats: Arc<Semaphore>,
    exits: Arc<Semaphore>,
}

impl Lobby {
    /// A lobby in which so many wait, and so many are told to come back, at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { seats: places(most), exits: places(most) }
    }

    /// Takes a seat to wait in, where one is free.
    pub(super) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    /// Takes the way to be told to come back, where that is free.
    pub(super) fn exit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.exits).try_acquire_owned().ok()
    }
}

/// Tells a client that there is no place for it (RFC 9110 §15.6.4), and closes.
pub(super) async fn turn_away(socket: Socket, metrics: &Metrics) {
    // Fails where the runtime does; there is nobody to tell.
    match socket {
        Socket::Tcp(socket) => {
            if let Ok(socket) = TcpStream::from_std(socket) {
                answer(socket, metrics).await;
            }
        }
        Socket::Unix(socket) => {
            if let Ok(socket) = UnixStream::from_std(socket) {
                answer(socket, metrics).await;
            }
        }
    }
}

async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, metrics: &Metrics) {
    if let Ok(Ok(true)) = time::timeout(PATIENCE, tell(&mut socket)).await {
        metrics.unreadable(&Reject::Overloaded);
        linger(socket, LINGER).await;
    }
}

/// Answers once the client has asked something: an answer that comes before may be taken for a
/// fault, or for the answer to another question. Says whether it did.
async fn tell(socket: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        connection: close\r\nretry-after: 1\r\ncache-control: no-store\r\ncontent-length: 0\r\n\r\n";
    if socket.read(&mut [0; 1024]).await? == 0 {
        return Ok(false);
    }
    socket.write_all(ANSWER).await?;
    socket.shutdown().await?;
    Ok(true)
}
