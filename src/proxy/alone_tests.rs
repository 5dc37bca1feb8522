use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Semaphore;
use tokio::task;
use tokio::time::{self, Instant, Sleep};

use super::*;
use crate::proxy::backend_socket::{Acknowledge, BackendSocket, Transport};

const A_WHILE: Duration = Duration::from_secs(30);

/// What an answer comes to: its head, and what came of its body and its trailers before it ended, or broke off.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    is_whole: bool,
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(LocalOptions::default());
    runtime.unwrap().block_on(test)
}

fn over(transport: impl Transport + 'static) -> Alone {
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let socket = BackendSocket::new(Box::new(transport) as Box<dyn Transport>, place);
    Alone::new(socket, Rc::new(Outbox::new()))
}

/// A backend that sends this in pieces, and closes.
fn sends(text: &str, at_once: usize) -> DuplexStream {
    let (near, mut far) = duplex(at_once);
    let text = text.to_owned();
    task::spawn_local(async move {
        let _ = far.write_all(text.as_bytes()).await; // or we have hung up
    });
    near
}

async fn outcome(
    response: Response<()>,
    mut next: impl AsyncFnMut() -> Option<Option<Frame<Bytes>>>,
) -> Outcome {
    let (status, headers) = (response.status(), response.headers().clone());
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    let is_whole = loop {
        match next().await {
            None => break true,
            Some(None) => break false,
            Some(Some(frame)) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            },
        }
    };
    Outcome { status, headers, body, trailers, is_whole }
}

async fn ours(method: &Method, text: &str, at_once: usize) -> Option<Outcome> {
    let mut connection = over(sends(text, at_once));
    let body = Empty::<Bytes>::new();
    let response = connection
        .exchange(method, Vec::new(), body, Framing::Nothing, A_WHILE, Turn::AfterOthers)
        .await
        .ok()?;
    let next = async || poll_fn(|context| connection.poll_frame(context)).await.map(Result::ok);
    Some(outcome(response, next).await)
}

/// The same, as hyper reads it.
async fn hypers(method: &Method, text: &str, at_once: usize) -> Option<Outcome> {
    let (mut sender, connection) =
        client::handshake(TokioIo::new(sends_when_asked(text, at_once))).await.ok()?;
    task::spawn_local(async { drop(connection.with_upgrades().await) });
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method.clone();
    let (head, mut body) = sender.send_request(request).await.ok()?.into_parts();
    let next = async || body.frame().await.map(Result::ok);
    Some(outcome(Response::from_parts(head, ()), next).await)
}

/// A backend that sends this once there is a request, as hyper wants it.
fn sends_when_asked(text: &str, at_once: usize) -> DuplexStream {
    let (near, mut far) = duplex(at_once.max(64));
    let text = text.to_owned();
    task::spawn_local(async move {
        let mut room = [0; 64];
        let _ = tokio::io::AsyncReadExt::read(&mut far, &mut room).await;
        let _ = far.write_all(text.as_bytes()).await;
        let _ = far.shutdown().await;
        while matches!(tokio::io::AsyncReadExt::read(&mut far, &mut room).await, Ok(1..)) {}
    });
    near
}

/// Some answers, some near them.
fn answers() -> impl Strategy<Value = String> {
    let start = prop::sample::select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 Not Modified",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 500",
        "HTTP/1.1 200 ",
        "HTTP/1.2 200 OK",
        "HTTP/1.1 2000 OK",
    ]);
    let line = prop::sample::select(vec![
        "content-length: 5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: 05\r\n",
        "content-length: +5\r\n",
        "content-length: 7\r\n",
        "content-length: \r\n",
        "transfer-encoding: chunked\r\n",
        "Transfer-Encoding: gzip, CHUNKED\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: \r\n",
        "connection: close\r\n",
        "x-a: b\r\n",
        "X-A:\tc\t\r\n",
        "x-a: b\n",
        "x-a : b\r\n",
        "x-a: \u{e9}\r\n",
        " folded\r\n",
    ]);
    let piece = prop::sample::select(vec![
        "hello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n",
        "5;a=b\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "05\r\nhello\r\n",
        "5\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "fffffffffffffffff\r\n",
        "0\r\n",
        "0\r\n\r\n",
        "0\r\nx-a: b\r\n\r\n",
        "\r\n",
    ]);
    let lines = prop::collection::vec(line, 0..4);
    let pieces = prop::collection::vec(piece, 0..5);
    (start, lines, pieces).prop_map(|(start, lines, pieces)| {
        [start, "\r\n", &lines.concat(), "\r\n", &pieces.concat()].concat()
    })
}

proptest! {
    #[test]
    fn an_answer_is_read_as_hyper_reads_it(
        text in answers(),
        head in any::<bool>(),
        at_once in prop::sample::select(vec![1_usize, 3, 64, 4096]),
    ) {
        let method = if head { Method::HEAD } else { Method::GET };
        let (ours, hypers) = run(async {
            (ours(&method, &text, at_once).await, hypers(&method, &text, at_once).await)
        });
        prop_assert_eq!(ours, hypers);
    }

    #[test]
    fn a_request_is_read_as_it_was_sent(
        sizes in prop::collection::vec(prop::sample::select(vec![0_usize, 1, 5, 4000, 8191, 8192, 8193, 30_000]), 0..5),
        in_chunks in any::<bool>(),
        with_trailers in any::<bool>(),
        at_once in prop::sample::select(vec![7_usize, 4096, 65_536]),
    ) {
        let pieces: Vec<Bytes> = sizes.iter().map(|size| vec![b'a'; *size].into()).collect();
        let all = pieces.concat();
        let trailers = (in_chunks && with_trailers).then(|| {
            HeaderMap::from_iter(["x-a", "x-not-announced"].map(|name| (name.parse().unwrap(), HeaderValue::from_static("b"))))
        });
        let framing = match in_chunks {
            true => Framing::Chunks(vec!["x-a".parse().unwrap()]),
            false => Framing::Length(all.len() as u64),
        };
        let told = match in_chunks {
            true => "transfer-encoding: chunked\r\ntrailer: x-a".to_owned(),
            false => format!("content-length: {}", all.len()),
        };
        let head = format!("POST /a HTTP/1.1\r\nhost: a\r\n{told}\r\n\r\n").into_bytes();
        let (body, after) = run(heard(head, pieces, trailers.clone(), framing, at_once));
        prop_assert!(body == all, "{} bytes of {}", body.len(), all.len());
        let want = trailers.map(|mut trailers| {
            trailers.remove("x-not-announced");
            trailers
        });
        prop_assert_eq!(after, want);
    }
}

struct Frames(VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// Sends a request, and returns what hyper hears of its body.
async fn heard(
    head: Vec<u8>,
    pieces: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    framing: Framing,
    at_once: usize,
) -> (Vec<u8>, Option<HeaderMap>) {
    let (near, far) = duplex(at_once);
    let heard = Rc::new(Cell::new(None));
    let told = Rc::clone(&heard);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let told = Rc::clone(&told);
        async move {
            let collected = request.into_body().collect().await.unwrap();
            let trailers = collected.trailers().cloned();
            told.set(Some((collected.to_bytes().to_vec(), trailers)));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"heard"))))
        }
    });
    task::spawn_local(async {
        drop(server::Builder::new().serve_connection(TokioIo::new(far), service).await);
    });
    let frames = pieces.into_iter().map(Frame::data).chain(trailers.map(Frame::trailers));
    let body = Frames(frames.collect());
    let mut connection = over(near);
    let response = connection
        .exchange(&Method::POST, head, body, framing, A_WHILE, Turn::AfterOthers)
        .await
        .unwrap();
    let next = async || poll_fn(|context| connection.poll_frame(context)).await.map(Result::ok);
    assert_eq!(outcome(response, next).await.body, b"heard");
    assert!(connection.is_end_stream() && connection.stays_quiet(Waker::noop()));
    heard.take().unwrap()
}

/// Counts how often it wakes.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_quiet_connection_stays_quiet_however_often_it_is_looked_at() {
    // In a task, which has its share of the runtime's time.
    let test = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut backend, _) = listener.accept().await.unwrap();
        let mut connection = over(near);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        for _ in 0..1000 {
            assert!(connection.stays_quiet(&waker));
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "nothing has happened");

        backend.write_all(b"HTTP/1.1 408 ").await.unwrap();
        while woken.0.load(Ordering::Relaxed) == 0 {
            task::yield_now().await;
        }
        assert!(!connection.stays_quiet(&waker), "nobody asked");
    };
    run(async { task::spawn_local(test).await.unwrap() });
}

/// Takes whatever is written, as TLS does, and passes nothing on.
struct Keeping(DuplexStream);

impl Acknowledge for Keeping {
    fn acknowledge(&self) {}

    fn has_news(&self) -> bool {
        true // for all that is known
    }
}

impl AsyncRead for Keeping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Keeping {
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
        Poll::Ready(Ok(()))
    }
}

/// A byte a second, for ever.
struct Trickle(Pin<Box<Sleep>>);

impl http_body::Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.0.as_mut().poll(context));
        self.0.set(time::sleep(Duration::from_secs(1)));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))))
    }
}

const REFUSED: &[u8] = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";

/// Sends a POST to a backend that answers early; returns how long what is left of it takes then.
async fn rest_of<B>(connection: &mut Alone, body: B, length: u64) -> Duration
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
{
    let answer = connection.exchange(
        &Method::POST,
        Vec::new(),
        body,
        Framing::Length(length),
        A_WHILE,
        Turn::AfterOthers,
    );
    assert_eq!(answer.await.unwrap().status(), 413);
    assert!(connection.is_end_stream() && connection.is_sending());
    let since = Instant::now();
    connection.finish().await;
    since.elapsed()
}

#[test]
fn what_a_backend_takes_nothing_of_is_given_up_also_where_tls_has_it() {
    run(async {
        let (near, mut far) = duplex(1024);
        far.write_all(REFUSED).await.unwrap();
        let mut connection = over(Keeping(near));
        let took = rest_of(&mut connection, Full::new(Bytes::from_static(b"body")), 4).await;
        assert!((A_WHILE..A_WHILE * 2).contains(&took), "{took:?}");
        assert!(!connection.stays_quiet(Waker::noop()));
    });
}

#[test]
fn what_nobody_hears_is_not_sent_once_the_answer_is_there() {
    run(async {
        let (near, mut far) = duplex(1024);
        far.write_all(REFUSED).await.unwrap();
        drop(far);
        let body = Trickle(Box::pin(time::sleep(Duration::from_secs(1))));
        let took = rest_of(&mut over(near), body, 1_000_000).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn a_connection_takes_another_request_once_the_rest_of_this_one_is_sent() {
    run(async {
        let (near, mut far) = duplex(1024);
        far.write_all(REFUSED).await.unwrap();
        task::spawn_local(async move {
            let _ = tokio::io::copy(&mut far, &mut tokio::io::sink()).await;
        });
        let mut connection = over(near);
        let body = Trickle(Box::pin(time::sleep(Duration::from_secs(1))));
        rest_of(&mut connection, body, 3).await;
        assert!(connection.stays_quiet(Waker::noop()));
    });
}

#[test]
fn an_answer_goes_on_whose_request_the_backend_does_not_want() {
    run(async {
        let (near, mut far) = duplex(1024);
        task::spawn_local(async move {
            far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            for _ in 0..5 {
                time::sleep(A_WHILE / 2).await;
                far.write_all(b"1\r\na\r\n").await.unwrap();
            }
            far.write_all(b"0\r\n\r\n").await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut connection = over(near);
        let body = Full::new(Bytes::from(vec![b'a'; 100_000]));
        let answer = connection.exchange(
            &Method::POST,
            Vec::new(),
            body,
            Framing::Length(100_000),
            A_WHILE,
            Turn::AfterOthers,
        );
        let response = answer.await.unwrap();
        let next = async || poll_fn(|context| connection.poll_frame(context)).await.map(Result::ok);
        let outcome = outcome(response, next).await;
        assert_eq!((&outcome.body[..], outcome.is_whole), (&b"aaaaa"[..], true));
        assert!(!connection.stays_quiet(Waker::noop()));
    });
}

#[test]
fn what_was_sent_is_not_kept_while_the_backend_thinks() {
    struct Sent {
        _alive: Arc<()>,
    }
    impl AsRef<[u8]> for Sent {
        fn as_ref(&self) -> &[u8] {
            &[b'a'; 64 * 1024]
        }
    }
    run(async {
        let (near, mut far) = duplex(1024);
        let (mut connection, kept) = (over(near), Arc::new(()));
        let piece = Bytes::from_owner(Sent { _alive: Arc::clone(&kept) });
        let framing = Framing::Length(piece.len() as u64);
        let exchanged = connection.exchange(
            &Method::PUT,
            b"PUT / HTTP/1.1\r\n\r\n".to_vec(),
            Full::new(piece),
            framing,
            A_WHILE,
            Turn::AfterOthers,
        );
        let backend = async {
            let mut request = vec![0; 64 * 1024 + "PUT / HTTP/1.1\r\n\r\n".len()];
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut request).await.unwrap();
            task::yield_now().await;
            assert_eq!(Arc::strong_count(&kept), 1, "it waits for its answer alone");
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };
        assert!(tokio::join!(exchanged, backend).0.is_ok());
    });
}

#[test]
fn when_a_request_was_sent_is_told_of_none_but_that_one() {
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    run(async {
        let (near, mut far) = duplex(1024);
        let mut connection = over(near);
        for (turn, framing) in [
            (Turn::AfterOthers, Framing::Nothing),
            (Turn::Now, Framing::Nothing),
            (Turn::AfterOthers, Framing::Length(1)),
            (Turn::AfterOthers, Framing::Nothing),
        ] {
            let is_alone = matches!(framing, Framing::Nothing);
            time::advance(Duration::from_secs(1)).await;
            let body = Full::new(Bytes::from_static(if is_alone { b"" } else { b"a" }));
            let head = b"GET / HTTP/1.1\r\n\r\n".to_vec();
            let answer = connection.exchange(&Method::GET, head, body, framing, A_WHILE, turn);
            let backend = async {
                let mut room = [0; 64];
                tokio::io::AsyncReadExt::read(&mut far, &mut room).await.unwrap();
                far.write_all(ANSWER).await.unwrap();
            };
            assert!(tokio::join!(answer, backend).0.is_ok());
            let want = (turn == Turn::AfterOthers && is_alone).then(Instant::now);
            assert_eq!(connection.take_sent(), want, "{turn:?} {is_alone}");
        }
    });
}

#[test]
fn an_answer_that_was_there_before_its_request_is_none() {
    run(async {
        for (turn, is_one) in [(Turn::AfterOthers, false), (Turn::Now, true)] {
            let (near, mut far) = duplex(1024);
            far.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            let mut connection = over(near);
            let (head, body) = (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Empty::<Bytes>::new());
            let answer = connection
                .exchange(&Method::GET, head, body, Framing::Nothing, A_WHILE, turn)
                .await;
            assert_eq!(answer.is_ok(), is_one, "{turn:?}");
            assert!(is_one || matches!(answer, Err(Broken::Early)), "{answer:?}");
        }
    });
}
