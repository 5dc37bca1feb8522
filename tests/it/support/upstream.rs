//! A backend that keeps what it was sent and answers as it is told.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, JoinHandle};

/// A backend.
pub(crate) struct Upstream {
    pub(crate) address: String,
    seen: Rc<RefCell<Vec<Seen>>>,
    connections: Rc<RefCell<u64>>,
    task: JoinHandle<()>,
}

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Upstream {
    /// A backend that answers `ok`.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| Response::new("ok".into())).await
    }

    /// A backend that answers as `answer` says.
    pub(crate) async fn answering(answer: impl Fn(&Seen) -> Response<Bytes> + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, answer)
    }

    /// A backend on a listener of the test's.
    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(&Seen) -> Response<Bytes> + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap().to_string();
        let seen = Rc::<RefCell<Vec<Seen>>>::default();
        let connections = Rc::<RefCell<u64>>::default();
        let (kept, counted, answer) = (Rc::clone(&seen), Rc::clone(&connections), Rc::new(answer));
        let task = task::spawn_local(async move {
            let mut tasks = task::JoinSet::new(); // ended with the backend
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                *counted.borrow_mut() += 1;
                let (kept, answer) = (Rc::clone(&kept), Rc::clone(&answer));
                tasks.spawn_local(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let (kept, answer) = (Rc::clone(&kept), Rc::clone(&answer));
                        async move {
                            let seen = read(request).await;
                            let response = answer(&seen);
                            kept.borrow_mut().push(seen);
                            Ok::<_, Infallible>(response.map(Full::new))
                        }
                    });
                    let connection = http1::Builder::new()
                        .max_headers(200) // what a client sends, and what we add
                        .serve_connection(TokioIo::new(socket), service);
                    let _ = connection.await; // the proxy may close at any time
                });
            }
        });
        Self { address, seen, connections, task }
    }

    /// A backend that answers each head with these bytes, whatever they are, and closes.
    pub(crate) async fn speaking(bytes: &'static str) -> Self {
        Self::raw(move |mut socket| async move {
            head(&mut socket).await;
            let _ = socket.write_all(bytes.as_bytes()).await; // the proxy may close at any time
        })
        .await
    }

    /// A backend that does with each connection what `script` does.
    pub(crate) async fn raw<F: Future<Output = ()> + 'static>(
        script: impl Fn(TcpStream) -> F + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Rc::<RefCell<u64>>::default();
        let counted = Rc::clone(&connections);
        let task = task::spawn_local(async move {
            let mut tasks = task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                *counted.borrow_mut() += 1;
                tasks.spawn_local(script(socket));
            }
        });
        Self { address, seen: Rc::default(), connections, task }
    }

    /// Everything that came, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Everything that came since this was asked before, in order.
    pub(crate) fn take(&self) -> Vec<Seen> {
        self.seen.take()
    }

    /// What came last.
    pub(crate) fn last(&self) -> Seen {
        self.seen.borrow().last().expect("a request came").clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> u64 {
        *self.connections.borrow()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(request: Request<Incoming>) -> Seen {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let collected = body.collect().await.ok();
    let trailers = collected.as_ref().and_then(|body| body.trailers().cloned());
    let body = collected.map(|body| body.to_bytes()).unwrap_or_default();
    Seen { method: method.to_string(), target: uri.to_string(), headers, body, trailers }
}

/// Reads the head of a message, and nothing of what follows; less where the other side closes.
pub(crate) async fn head(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}
