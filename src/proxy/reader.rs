//! What was read of a backend's answers and belongs to nobody yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio_util::io::poll_read_buf;

use super::backend_socket::Socket;
use super::broken::Broken;
use crate::core::answer::{self, AnswerHead};
use crate::core::chunked::{Chunked, Piece};

/// What is read at once: more than most answers have.
const USUAL: usize = 8 * 1024;
/// And at most, where there is more.
const MOST: usize = 64 * 1024;

/// Reads the answers on a connection to the backend.
pub(super) struct Reader {
    read: BytesMut,
    /// How much of it was looked at for a head.
    looked: usize,
    /// How much is read next, where nobody knows how much there is.
    at_once: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { read: BytesMut::new(), looked: 0, at_once: USUAL }
    }
}

impl Reader {
    /// Reads on; `left` is how much there is, where that is known. Nothing: the backend has ended.
    pub(super) fn poll(
        &mut self,
        socket: &mut Socket,
        left: Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let room = left.map_or(self.at_once, |left| left.min(MOST as u64) as usize);
        self.read.reserve(room);
        let read = ready!(poll_read_buf(Pin::new(socket), context, &mut self.read))?;
        self.at_once = if read < room { USUAL } else { MOST };
        Poll::Ready(Ok(read))
    }

    /// Takes the head of the answer to a request of this method; nothing where more of it is to come.
    pub(super) fn head(&mut self, method: &Method) -> Result<Option<AnswerHead>, Broken> {
        Ok(answer::take_head(&mut self.read, &mut self.looked, method)?)
    }

    /// Takes what comes next of a body in chunks; nothing where more is to come before that.
    pub(super) fn piece(&mut self, chunks: &mut Chunked) -> Result<Option<Piece>, Broken> {
        Ok(chunks.next_piece(&mut self.read)?)
    }

    /// Takes what there is, but no more than so much; nothing where there is none.
    pub(super) fn bytes(&mut self, at_most: u64) -> Option<Bytes> {
        let length = self.read.len().min(usize::try_from(at_most).unwrap_or(usize::MAX));
        (length > 0).then(|| answer::take(&mut self.read, length))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// Returns what nobody has taken.
    pub(super) fn into_rest(self) -> Bytes {
        self.read.freeze()
    }
}
