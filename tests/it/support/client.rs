//! A client that sends exactly what it is told.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::tls;

/// A request in the making, to one address.
#[derive(Clone)]
pub(crate) struct Client {
    address: String,
    tls: Option<Arc<ClientConfig>>,
    headers: HeaderMap,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn to(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None, headers: HeaderMap::new() }
    }

    /// Speaks TLS.
    pub(crate) fn tls(self, config: &Arc<ClientConfig>) -> Self {
        Self { tls: Some(Arc::clone(config)), ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.headers.append(name, HeaderValue::try_from(value).unwrap());
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) async fn get(self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn post(self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, body).await
    }

    pub(crate) async fn send(self, method: Method, path: &str, body: &str) -> Answer {
        self.try_send(method, path, body).await.unwrap()
    }

    /// Sends over a connection of its own.
    pub(crate) async fn try_send(
        self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<Answer, Box<dyn std::error::Error>> {
        self.open().await?.try_send(method, path, body).await
    }

    /// Opens a connection that carries one request after another.
    pub(crate) async fn open(mut self) -> Result<Kept, Box<dyn std::error::Error>> {
        if !self.headers.contains_key("host") {
            let host = if self.address.starts_with("unix:") { "localhost" } else { &self.address };
            self.headers.insert("host", host.parse()?);
        }
        let sender = match (self.address.strip_prefix("unix:"), &self.tls) {
            (Some(path), _) => connected(UnixStream::connect(path).await?).await?,
            (None, None) => connected(TcpStream::connect(&self.address).await?).await?,
            (None, Some(tls)) => connected(tls::connect(&self.address, tls).await?).await?,
        };
        Ok(Kept { sender, headers: self.headers })
    }
}

/// A connection that is kept alive, and what each request on it has in its head.
pub(crate) struct Kept {
    sender: http1::SendRequest<Full<Bytes>>,
    headers: HeaderMap,
}

impl Kept {
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.try_send(Method::GET, path, "").await.unwrap()
    }

    pub(crate) async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse()?;
        *request.headers_mut() = self.headers.clone();
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

async fn connected<S>(socket: S) -> hyper::Result<http1::SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

impl Answer {
    /// Reads an answer as it came over the wire: its head, and whatever follows as its body.
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::try_from(name).unwrap();
            headers.append(name, HeaderValue::try_from(value.trim()).unwrap());
        }
        let body = Bytes::copy_from_slice(body.as_bytes());
        Self { status: status.unwrap_or_else(|| panic!("no answer: {text:?}")), headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The reason of a refusal; nothing where the backend answered.
    pub(crate) fn reason(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends `bytes` as they are and returns everything that comes until the other side closes.
pub(crate) async fn raw(address: &str, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // Who is refused before everything was sent may find the connection closed.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    // A reset after the answer is a close too.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
