//! Clients and backends of every protocol, each with bodies that go as a test says.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn as client;
use hyper::rt::Executor;
use hyper::server::conn as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{self, JoinHandle};
use tokio_rustls::TlsAcceptor;

use super::tls;

/// A body in pieces, and how it goes on after them.
#[derive(Debug)]
pub(crate) struct Script {
    frames: VecDeque<Frame<Bytes>>,
    then: Then,
    /// How many pieces were asked for.
    taken: Rc<Cell<usize>>,
}

/// What comes after the pieces of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// Its end.
    End,
    /// Nothing, for as long as anybody waits.
    Wait,
    /// A fault.
    Break,
}

impl Script {
    pub(crate) fn of(pieces: impl IntoIterator<Item = Bytes>, then: Then) -> Self {
        let frames = pieces.into_iter().map(Frame::data).collect();
        Self { frames, then, taken: Rc::default() }
    }

    /// Counts the pieces that are asked for there.
    pub(crate) fn counted(self, taken: &Rc<Cell<usize>>) -> Self {
        Self { taken: Rc::clone(taken), ..self }
    }

    pub(crate) fn empty() -> Self {
        Self::of([], Then::End)
    }

    pub(crate) fn with_trailer(mut self, name: &'static str, value: &str) -> Self {
        let trailers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        self.frames.push_back(Frame::trailers(trailers));
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.taken.set(self.taken.get() + 1);
        match (self.frames.pop_front(), self.then) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, Then::End) => Poll::Ready(None),
            (None, Then::Wait) => Poll::Pending, // whoever waits is dropped at some time
            (None, Then::Break) => Poll::Ready(Some(Err(io::Error::other("broken off")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.then == Then::End
    }
}

/// How the proxy is reached.
#[derive(Clone, Debug)]
pub(crate) enum Front {
    Http1,
    Http1Tls(Arc<ClientConfig>),
    /// At once, without TLS.
    H2c,
    Http2(Arc<ClientConfig>),
}

/// A client's connection.
pub(crate) enum Sender {
    Http1(client::http1::SendRequest<Script>),
    Http2(client::http2::SendRequest<Script>),
}

/// Runs what hyper has to do beside a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here;

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, future: F) {
        drop(task::spawn_local(async { drop(future.await) }));
    }
}

impl Front {
    /// Opens a connection to `address`.
    pub(crate) async fn open(&self, address: &str) -> Sender {
        match self {
            Self::Http1 => http1(TcpStream::connect(address).await.unwrap()).await,
            Self::H2c => http2(TcpStream::connect(address).await.unwrap()).await,
            Self::Http1Tls(config) => http1(tls::connect(address, config).await.unwrap()).await,
            Self::Http2(config) => {
                let mut config = ClientConfig::clone(config);
                config.alpn_protocols = vec![b"h2".to_vec()];
                let socket = tls::connect(address, &Arc::new(config)).await.unwrap();
                assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                http2(socket).await
            }
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::H2c | Self::Http2(_))
    }

    /// A request in the form that this protocol has it.
    pub(crate) fn request(&self, path: &str, token: &str, body: Script) -> Request<Script> {
        let authorization = format!("Bearer {token}");
        let request = Request::builder().method("POST").header("authorization", authorization);
        let request = match self {
            Self::Http1 | Self::Http1Tls(_) => request.uri(path).header("host", "app.test"),
            Self::H2c => request.uri(format!("http://app.test{path}")).version(Version::HTTP_2),
            Self::Http2(_) => {
                request.uri(format!("https://app.test{path}")).version(Version::HTTP_2)
            }
        };
        request.body(body).unwrap()
    }
}

async fn http1(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Sender {
    let (sender, connection) = client::http1::handshake(TokioIo::new(socket)).await.unwrap();
    task::spawn_local(async { drop(connection.await) });
    Sender::Http1(sender)
}

async fn http2(socket: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Sender {
    let (sender, connection) = client::http2::handshake(Here, TokioIo::new(socket)).await.unwrap();
    task::spawn_local(async { drop(connection.await) });
    Sender::Http2(sender)
}

impl Sender {
    pub(crate) async fn send(
        &mut self,
        request: Request<Script>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// What a backend speaks.
#[derive(Clone, Debug)]
pub(crate) enum Back {
    Http1,
    Unix(std::path::PathBuf),
    H2c,
    /// Under TLS, HTTP/2 chosen.
    Http2(Arc<ServerConfig>),
}

/// A backend that answers as `answer` says.
pub(crate) struct Backend {
    /// Of TCP: address and port.
    pub(crate) address: String,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Back {
    pub(crate) async fn start<A, F>(&self, answer: A) -> Backend
    where
        A: Fn(Request<Incoming>) -> F + 'static,
        F: Future<Output = Response<Script>> + 'static,
    {
        let answer = Rc::new(answer);
        if let Self::Unix(path) = self {
            let listener = UnixListener::bind(path).unwrap();
            let task = task::spawn_local(async move {
                let mut tasks = task::JoinSet::new();
                loop {
                    let (socket, _): (UnixStream, _) = listener.accept().await.unwrap();
                    tasks.spawn_local(serve_http1(socket, Rc::clone(&answer)));
                }
            });
            return Backend { address: "127.0.0.1:1".to_owned(), task };
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let back = self.clone();
        let task = task::spawn_local(async move {
            let mut tasks = task::JoinSet::new(); // ended with the backend
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let answer = Rc::clone(&answer);
                match &back {
                    Self::Http1 | Self::Unix(_) => tasks.spawn_local(serve_http1(socket, answer)),
                    Self::H2c => tasks.spawn_local(serve_http2(socket, answer)),
                    Self::Http2(config) => {
                        let mut config = ServerConfig::clone(config);
                        config.alpn_protocols = vec![b"h2".to_vec()];
                        tasks.spawn_local(async move {
                            let acceptor = TlsAcceptor::from(Arc::new(config));
                            let socket = acceptor.accept(socket).await.unwrap();
                            serve_http2(socket, answer).await;
                        })
                    }
                };
            }
        });
        Backend { address, task }
    }
}

async fn serve_http1<A, F>(socket: impl AsyncRead + AsyncWrite + Unpin + 'static, answer: Rc<A>)
where
    A: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Script>> + 'static,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let _ = server::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn serve_http2<A, F>(socket: impl AsyncRead + AsyncWrite + Unpin + 'static, answer: Rc<A>)
where
    A: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Script>> + 'static,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let _ = server::http2::Builder::new(Here).serve_connection(TokioIo::new(socket), service).await;
}
