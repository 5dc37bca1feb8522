//! A client connection that goes on as a WebSocket: bytes both ways until one side ends, or its time
//! is over.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{self, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time;
use tokio_util::io::InspectReader;
use tracing::debug;

use super::activity::Activity;
use super::lifetime::Lifetime;
use super::pool::Lease;
use super::record::Record;

/// How long one side may go on after the other has ended.
const HALF_CLOSED: Duration = Duration::from_secs(10);

/// What a connection goes on as once the answer that says so is sent.
#[derive(Debug)]
pub(super) struct Tunnel {
    /// The connection to the backend, which counts until the tunnel ends.
    pub(super) lease: Lease,
    pub(super) lifetime: Lifetime,
    pub(super) client: Activity,
    /// How long the client may take nothing of what there is for it.
    pub(super) at_most: Duration,
    /// The request, which is over when the tunnel is.
    pub(super) record: Box<Record>,
}

impl Tunnel {
    /// Hands bytes on, first those that came behind the request's head.
    pub(super) async fn run(mut self, client: impl AsyncRead + AsyncWrite, head: Bytes) {
        let Some((backend, ahead)) = self.lease.take().and_then(|backend| backend.into_parts())
        else {
            return;
        };
        let (sent, received) = (Rc::<Cell<u64>>::default(), Rc::<Cell<u64>>::default());
        let ended = {
            let (read, write) = io::split(client);
            let (backend_read, backend_write) = io::split(backend);
            let read = counted(io::AsyncReadExt::chain(&head[..], read), &received);
            let backend_read = io::AsyncReadExt::chain(&ahead[..], backend_read);
            let backend_read = counted(backend_read, &sent);
            let both = both(pass(read, backend_write), pass(backend_read, write));
            tokio::select! {
                () = both => None,
                end = self.lifetime.over() => Some(end),
                () = self.client.takes_nothing(self.at_most) => {
                    debug!("tunnel ended: the client takes nothing");
                    None
                }
            }
        };
        self.record.tunnelled(received.get(), sent.get());
        if let Some(end) = ended {
            self.record.stream_ended(end);
        }
        drop(self.lease);
    }
}

fn counted<R: AsyncRead>(reader: R, count: &Rc<Cell<u64>>) -> impl AsyncRead + use<R> {
    let count = Rc::clone(count);
    InspectReader::new(reader, move |bytes: &[u8]| count.set(count.get() + bytes.len() as u64))
}

/// Hands on what one side sends, and its end.
async fn pass(from: impl AsyncRead, to: impl AsyncWrite) -> io::Result<()> {
    let (mut from, mut to) = (std::pin::pin!(from), std::pin::pin!(to));
    io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Waits until both directions have ended, or one is broken, or one goes on for too long alone.
async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        ended = &mut up => rest(ended, down).await,
        ended = &mut down => rest(ended, up).await,
    }
}

async fn rest(ended: io::Result<()>, other: impl Future<Output = io::Result<()>>) {
    match ended {
        Ok(()) => drop(time::timeout(HALF_CLOSED, other).await),
        Err(problem) => debug!(%problem, "tunnel ended"),
    }
}
