//! A small HTTP/1 server on a loopback port of its own.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The most header lines a request may have: more than the proxy lets through and adds.
const MAX_HEADERS: usize = 1024;

/// Wait after a connection could not be accepted, which is when file descriptors are short.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Returns an answer with a body of the media type `content_type`.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// A server that runs until it is dropped, and its connections with it.
#[derive(Debug)]
pub(super) struct Server(AbortHandle);

impl Server {
    /// Binds a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// What the system says, where it has no port to give.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn bind() -> io::Result<(TcpListener, SocketAddr)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    }

    /// Spawns the task that answers every request to `listener` with `handler`.
    pub(super) fn spawn<H, F>(listener: TcpListener, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        Self(tokio::spawn(accept(listener, handler)).abort_handle())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts connections for ever. The set of them belongs to this future: they end with it.
async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, handler.clone())); }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
        }
    }
}

/// Answers the requests of one connection.
///
/// There is no timer: a test that pauses the time must not lose its idle connections to it.
async fn serve<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    connection.await.ok(); // a connection that broke has nobody to tell
}

/// What the tests of this room ask with.
#[cfg(test)]
pub(super) mod client {
    use http::response::Parts;
    use http_body_util::BodyExt;

    use super::*;

    /// Sends `request` to `origin` over a connection of its own, exactly as it is.
    pub(in crate::dev) async fn send(
        origin: &str,
        request: Request<Full<Bytes>>,
    ) -> (Parts, String) {
        let address = origin.strip_prefix("http://").expect("an http origin");
        let stream = TcpStream::connect(address).await.expect("a server");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        (head, String::from_utf8(body.to_vec()).expect("text"))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn a_dropped_server_closes_its_port_and_its_connections() {
        let (listener, address) = Server::bind().unwrap();
        let server =
            Server::spawn(listener, async |_| answer(StatusCode::OK, "text/plain", "here"));
        let origin = format!("http://{address}");
        let request = || Request::get("/").header("host", "here").body(Full::default()).unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        assert_eq!(client::send(&origin, request()).await.1, "here");

        drop(server);

        let end = idle.read(&mut [0; 1]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
