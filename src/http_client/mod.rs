//! One bounded GET, or POST.
//!
//! What the proxy fetches, it fetches here: a JWK Set, an answer of Clerk's Backend API. The other
//! side is taken for broken or hostile until its answer is whole, so everything has a bound. One
//! deadline covers the look-up of the name, every attempt to connect, the handshakes, the head and
//! the body; the head and the body have a size; redirects stay within their origin and are counted.
//!
//! A fetch has a connection of its own and lets go of it at the end. Fetches of keys are minutes apart,
//! and a connection kept for the next one would be closed by then; questions to Clerk's Backend API
//! pay for a new one.

mod connect;
mod error;
mod url;

#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap,
    HeaderValue, LOCATION, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use self::connect::Connector;
pub use self::error::{BadClient, BadRedirect, FetchError};
pub use self::url::{BadUrl, FetchUrl};

/// The longest response head, in bytes. A key set's is below 2 KiB, with a CDN's cookies below 8.
const MAX_HEAD: usize = 64 * 1024;

/// The most header fields in a response head.
const MAX_HEADERS: usize = 100;

/// How a fetch introduces itself.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION")));

/// How fetches are made.
///
/// `Debug` tells the certificates by their hash: the system's bundle is 200 KiB, and would be a text of a
/// megabyte at each start.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct HttpClientSettings {
    /// Certificates, in PEM, of authorities to trust beside the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// The way out of the network.
    pub proxy: ProxySettings,
    /// How much of everything.
    pub limits: FetchLimits,
}

impl fmt::Debug for HttpClientSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca_pem, proxy, limits } = self;
        out.debug_struct("HttpClientSettings")
            .field("ca_pem", &ca_pem.as_deref().map(|pem| digest(&SHA256, pem)))
            .field("proxy", proxy)
            .field("limits", limits)
            .finish()
    }
}

/// The way out of the network, spelled as in the environment variables of the same names.
///
/// `Debug` tells what is set and not to what: the proxy's URL may carry a password.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct ProxySettings {
    /// The proxy for `https` addresses; one with a password reads `http://user:password@host:3128`.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without it: names with all below them, addresses, networks, or `*`.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ProxySettings")
            .field("https_proxy", &self.https_proxy.as_ref().map(|_| "***"))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// How much a fetch may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FetchLimits {
    /// The time for all of it, redirects included. Default: 5 s.
    pub total: Duration,
    /// The longest body, in bytes. Default: 1 MiB.
    pub body: usize,
    /// The most redirects followed. Default: 3.
    pub redirects: u8,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { total: Duration::from_secs(5), body: 1024 * 1024, redirects: 3 }
    }
}

/// Fetches, within bounds.
///
/// Cheap to clone. Works on every kind of tokio runtime that has time and I/O, and starts no task
/// of its own: a fetch that is dropped is over.
#[derive(Clone)]
pub struct HttpClient {
    connector: Arc<Connector>,
    limits: FetchLimits,
}

/// An answer as it was given, whatever its status.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status; a redirect only if it is none of the five that are followed.
    pub status: StatusCode,
    /// The head without its status line.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl HttpClient {
    /// Creates a client.
    ///
    /// # Errors
    ///
    /// [`BadClient`] where the own authorities or the proxy cannot be used as they are written.
    pub fn new(settings: &HttpClientSettings) -> Result<Self, BadClient> {
        let HttpClientSettings { ca_pem, proxy, limits } = settings;
        let connector = Connector::new(ca_pem.as_deref(), proxy, limits.total)?;
        Ok(Self { connector: Arc::new(connector), limits: *limits })
    }

    /// Fetches what is at `url`, sending `headers` beside its own.
    ///
    /// Any status is an answer; only the redirects 301, 302, 303, 307 and 308 are followed. They
    /// stay within the origin of `url`, so `headers` may hold a secret meant for it.
    ///
    /// # Errors
    ///
    /// [`FetchError`] where no whole answer came, or one out of bounds.
    pub async fn get(&self, url: &FetchUrl, headers: &HeaderMap) -> Result<Fetched, FetchError> {
        let fetch = Box::pin(self.follow(url.clone(), headers));
        timeout(self.limits.total, fetch).await.unwrap_or(Err(FetchError::TimedOut))
    }

    /// Sends `body`, which is JSON, to `url`, with `headers` beside its own. No redirect is followed:
    /// what is told one address is not told another.
    ///
    /// # Errors
    ///
    /// [`FetchError`] where no whole answer came, or one out of bounds.
    pub async fn post(
        &self,
        url: &FetchUrl,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Fetched, FetchError> {
        let mut headers = headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let fetch = Box::pin(self.fetch(url, Method::POST, &headers, body));
        timeout(self.limits.total, fetch).await.unwrap_or(Err(FetchError::TimedOut))
    }

    async fn follow(&self, mut url: FetchUrl, headers: &HeaderMap) -> Result<Fetched, FetchError> {
        for _ in 0..=self.limits.redirects {
            let fetched = self.fetch(&url, Method::GET, headers, Bytes::new()).await?;
            if !is_redirect(fetched.status) {
                return Ok(fetched);
            }
            let location = fetched.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            url = url.redirected(location.ok_or(BadRedirect::Location)?)?;
        }
        Err(BadRedirect::TooMany.into())
    }

    async fn fetch(
        &self,
        url: &FetchUrl,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Fetched, FetchError> {
        let stream = self.connector.connect(url).await?;
        let (mut sender, connection) = http1().handshake(TokioIo::new(stream)).await?;
        let exchange = async move {
            let response = sender.send_request(request(url, method, headers, body)).await?;
            read(response, self.limits.body).await
        };
        drive(connection, exchange).await
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("HttpClient").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Makes a request to `url`. What the headers below say is ours to say, whatever `headers` hold.
fn request(
    url: &FetchUrl,
    method: Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.origin_form();
    *request.headers_mut() = headers.clone();
    let ours = [
        (HOST, url.host()),
        (USER_AGENT, AGENT),
        (ACCEPT, HeaderValue::from_static("application/json")),
        // What arrives is what there is: a bound on one is a bound on the other.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (CONNECTION, HeaderValue::from_static("close")),
    ];
    for (name, value) in ours {
        request.headers_mut().insert(name, value); // `extend` would keep theirs beside it
    }
    request
}

/// Reads a whole answer whose body is at most `limit` bytes long.
async fn read(response: Response<Incoming>, limit: usize) -> Result<Fetched, FetchError> {
    let (head, mut body) = response.into_parts();
    if !body.is_end_stream() && is_encoded(&head.headers) {
        return Err(FetchError::Encoded);
    }
    // A length that was announced is refused before a byte of it is read.
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(FetchError::TooLarge);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        if bytes.len() > limit - whole.len() {
            return Err(FetchError::TooLarge);
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(Fetched { status: head.status, headers: head.headers, body: whole.freeze() })
}

/// Says whether a body is anything but itself (RFC 9110 §8.4).
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    values.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// An HTTP/1.1 connection, to a server or a proxy, that bounds the head it reads.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEAD).max_headers(MAX_HEADERS);
    builder
}

/// Drives `connection` while `exchange` waits for what it reads.
async fn drive<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        outcome = &mut exchange => outcome,
        // It closed or broke. `exchange` has been handed the rest of the answer, or the reason.
        _ = connection => exchange.await,
    }
}
