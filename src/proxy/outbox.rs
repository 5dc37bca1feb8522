//! Requests that were decided together go out together.
//!
//! Sent as each is decided, a backend on the same machine is done with one before the next comes, sleeps, and has
//! to be woken: once a request, at 3 to 6 µs each. So what is to be sent waits until all who could go on have had
//! their turn, signed as before that, as it does where they go through a step [together](super::in_step); and one
//! task sends for all, so that nobody needs another turn for it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use tokio::task::{self, AbortHandle, coop};
use tokio::time::Instant;

use super::backend_socket::Socket;

/// When a request is sent that may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Now.
    Now,
    /// When all others who could go on have had their turn.
    AfterOthers,
}

/// What one worker is about to send over HTTP/1.1.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Rc<Waiting>,
    sender: AbortHandle,
}

#[derive(Default)]
struct Waiting {
    requests: RefCell<Vec<Unsent>>,
    /// Wakes whoever sends them; nothing while that is woken.
    sender: Cell<Option<Waker>>,
}

/// A request that was written as far as its socket.
struct Unsent {
    /// Holds it. Gone where its writer left before it was sent, and closed the connection: then nobody gets it.
    socket: Weak<RefCell<Socket>>,
    writer: Waker,
}

impl Outbox {
    /// Runs on a local runtime.
    pub(super) fn new() -> Self {
        let waiting = Rc::<Waiting>::default();
        let sender = task::spawn_local(coop::unconstrained(Rc::clone(&waiting).send()));
        Self { waiting, sender: sender.abort_handle() }
    }

    /// Tells whether somebody sends what is put here: a bug there is to cost one connection, and not all.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_finished()
    }

    /// Has what the socket [holds](Socket::hold) sent when all others have had their turn. The `writer` is woken
    /// where that does not take all of it, and has the rest to send.
    pub(super) fn put(&self, socket: &Rc<RefCell<Socket>>, writer: Waker) {
        let unsent = Unsent { socket: Rc::downgrade(socket), writer };
        self.waiting.requests.borrow_mut().push(unsent);
        if let Some(sender) = self.waiting.sender.take() {
            sender.wake(); // to the end of the queue
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

impl Waiting {
    /// Never ends.
    async fn send(self: Rc<Self>) {
        let mut taken = Vec::new();
        poll_fn(|context| {
            self.sender.set(Some(context.waker().clone()));
            mem::swap(&mut taken, &mut *self.requests.borrow_mut());
            if !taken.is_empty() {
                let now = Instant::now();
                taken.drain(..).for_each(|unsent: Unsent| unsent.send(now));
            }
            Poll::Pending
        })
        .await
    }
}

impl Unsent {
    fn send(self, now: Instant) {
        let Some(socket) = self.socket.upgrade() else { return };
        if !socket.borrow_mut().release(now) {
            self.writer.wake();
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Waiting({})", self.requests.borrow().len())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};
    use std::time::Duration;

    use http::Method;
    use http_body_util::Empty;
    use tokio::io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
    };
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    use super::*;
    use crate::core::request_head::Framing;
    use crate::proxy::alone::Alone;
    use crate::proxy::backend_socket::{Acknowledge, BackendSocket, Transport};

    /// Runs a test with an outbox whose sender waits.
    fn run(test: impl AsyncFnOnce(Rc<Outbox>)) {
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default());
        runtime.unwrap().block_on(async {
            let outbox = Rc::new(Outbox::new());
            task::yield_now().await;
            test(outbox).await;
        });
    }

    /// A socket that takes so many bytes at once, and its backend.
    fn socket(room: usize) -> (Rc<RefCell<Socket>>, DuplexStream) {
        let (near, far) = duplex(room);
        (Rc::new(RefCell::new(over(near))), far)
    }

    fn over(transport: impl Transport + 'static) -> Socket {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        BackendSocket::new(Box::new(transport) as Box<dyn Transport>, place)
    }

    /// What the backend has got that it did not have before.
    fn got(backend: &mut DuplexStream) -> Vec<u8> {
        let (mut bytes, mut context) = (Vec::new(), Context::from_waker(Waker::noop()));
        while let Poll::Ready(Ok(1..)) = pin!(backend.read_buf(&mut bytes)).poll(&mut context) {}
        bytes
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn all_are_sent_when_all_have_had_their_turn() {
        run(async |outbox| {
            let (texts, mut turns) = (["a", "b", "c"], JoinSet::new());
            let (sockets, backends): (Vec<_>, Vec<_>) =
                texts.map(|_| socket(64)).into_iter().unzip();
            let backends = Rc::new(RefCell::new(backends));
            for (text, socket) in
                texts.into_iter().zip(&sockets).map(|(text, it)| (text, Rc::clone(it)))
            {
                let (outbox, backends) = (Rc::clone(&outbox), Rc::clone(&backends));
                turns.spawn_local(async move {
                    socket.borrow_mut().hold(text.into());
                    outbox.put(&socket, Waker::noop().clone());
                    let none =
                        backends.borrow_mut().iter_mut().all(|backend| got(backend).is_empty());
                    assert!(none, "one was sent before {text} had its turn");
                });
            }
            turns.join_all().await;
            task::yield_now().await;
            for ((text, socket), backend) in
                texts.iter().zip(&sockets).zip(&mut *backends.borrow_mut())
            {
                assert_eq!(got(backend), text.as_bytes());
                assert!(socket.borrow_mut().take_released().is_some());
            }
        });
    }

    #[test]
    fn what_does_not_fit_is_left_to_its_writer() {
        run(async |outbox| {
            for (room, sent, left) in [(64, "GET /", ""), (5, "GET /", ""), (4, "GET ", "/")] {
                let ((socket, mut backend), woken) = (socket(room), Arc::<Woken>::default());
                socket.borrow_mut().hold(b"GET /".to_vec());
                outbox.put(&socket, Arc::clone(&woken).into());
                assert_eq!(got(&mut backend), b"", "before its turn");
                task::yield_now().await;
                assert_eq!(got(&mut backend), sent.as_bytes(), "{room}");
                assert_eq!(woken.0.load(Ordering::Relaxed), !left.is_empty(), "{room}");
                assert_eq!(socket.borrow_mut().take_held().unwrap(), left.as_bytes(), "{room}");
            }
        });
    }

    #[test]
    fn what_was_taken_back_is_not_sent_and_nobody_is_told() {
        run(async |outbox| {
            let ((socket, mut backend), woken) = (socket(64), Arc::<Woken>::default());
            socket.borrow_mut().hold(b"GET /".to_vec());
            outbox.put(&socket, Arc::clone(&woken).into());
            assert_eq!(socket.borrow_mut().take_held().unwrap(), b"GET /");
            task::yield_now().await;
            assert_eq!((got(&mut backend), woken.0.load(Ordering::Relaxed)), (Vec::new(), false));
        });
    }

    #[test]
    fn nothing_is_sent_for_a_writer_that_is_gone() {
        run(async |outbox| {
            let (socket, mut backend) = socket(64);
            socket.borrow_mut().hold(b"GET /".to_vec());
            outbox.put(&socket, Waker::noop().clone());
            drop(socket);
            task::yield_now().await;
            let mut heard = Vec::new();
            assert_eq!(backend.read_to_end(&mut heard).await.unwrap(), 0, "closed");
        });
    }

    /// Takes nothing.
    struct Broken;

    impl Acknowledge for Broken {
        fn acknowledge(&self) {}

        fn has_news(&self) -> bool {
            false
        }
    }

    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn why_nothing_can_be_sent_is_told_to_its_writer() {
        run(async |outbox| {
            let (socket, woken) = (Rc::new(RefCell::new(over(Broken))), Arc::<Woken>::default());
            socket.borrow_mut().hold(b"GET /".to_vec());
            outbox.put(&socket, Arc::clone(&woken).into());
            task::yield_now().await;
            assert!(woken.0.load(Ordering::Relaxed));
            let problem = socket.borrow_mut().take_held().unwrap_err();
            assert_eq!(problem.kind(), io::ErrorKind::TimedOut);
            assert_eq!(socket.borrow_mut().take_held().unwrap(), b"", "once");
        });
    }

    #[test]
    fn without_a_sender_requests_are_sent_all_the_same() {
        run(async |outbox| {
            outbox.sender.abort();
            task::yield_now().await;
            assert!(!outbox.is_open());
            let (near, mut far) = duplex(64);
            let mut connection = Alone::new(over(near), outbox);
            let (head, body) = (b"GET / HTTP/1.1\r\n\r\n", Empty::new());
            let answer = connection.exchange(
                &Method::GET,
                head.into(),
                body,
                Framing::Nothing,
                Duration::ZERO,
                Turn::AfterOthers,
            );
            let backend = async {
                let mut heard = [0; 18];
                far.read_exact(&mut heard).await.unwrap();
                far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                heard
            };
            let (answer, heard) = tokio::join!(answer, backend);
            assert_eq!((answer.unwrap().status().as_u16(), &heard), (204, head));
        });
    }
}
