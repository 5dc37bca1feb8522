//! The second listener: what an operator and a cluster ask about the proxy.
//!
//! It shows no secret and no token, and takes no orders: every address of it is for reading.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::{task, time};
use tracing::{debug, warn};

use crate::child::Awaited;
use crate::clock::Clock;
use crate::core::jwk::KeyId;
use crate::core::path::Authority;
use crate::core::time::UnixTime;
use crate::keys::Keys;
use crate::listen::{ListenAddress, Listener, Socket};
use crate::signing::Signers;
use crate::telemetry::metrics::Metrics;

/// Where the admin listener is, and who may read all of it.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// File: `admin.listen = "127.0.0.1:4601"`.
    pub listen: ListenAddress,
    /// File: `admin.status = "loopback"`.
    pub status: StatusAccess,
}

/// Who may read `/status`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StatusAccess {
    /// Who connects from this machine, and by an address or as `localhost`.
    #[default]
    Loopback,
    /// Everybody who reaches the listener.
    All,
}

/// When the proxy calls itself ready.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Readiness {
    /// Once one issuer has usable keys.
    #[default]
    Keys,
    /// Once it listens.
    Listening,
}

/// What the admin listener tells about.
#[derive(Debug)]
pub struct Admin {
    /// What follows from the settings in force.
    pub told: watch::Receiver<Arc<Told>>,
    /// A backend that may not listen yet; nothing where it is no child of ours.
    pub awaited: Option<Awaited>,
    /// Everything that is counted.
    pub metrics: Metrics,
    /// The present.
    pub clock: Clock,
    /// Set once the proxy is on its way out.
    pub leaving: Arc<AtomicBool>,
}

/// What is told of the settings in force.
#[derive(Debug)]
pub struct Told {
    /// Who may read `/status`.
    pub status: StatusAccess,
    /// What readiness waits for.
    pub readiness: Readiness,
    /// The keys of each issuer.
    pub keys: Vec<Keys>,
    /// What signs for us, with the public keys that backends verify it with.
    pub signers: watch::Receiver<Arc<Signers>>,
    /// A fingerprint of the settings without their secrets.
    pub fingerprint: String,
}

/// How long a head, or a wait for the next request, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last: who asks for longer connects again, who reads nothing is gone.
const LONGEST: Duration = Duration::from_secs(60);
/// How many connections there may be at a time. They are taken from the file descriptors that the
/// proxy leaves for other things.
const MOST: usize = 16;
/// How long to wait where no connection can be accepted.
const BREATH: Duration = Duration::from_millis(500);
/// How long backends may keep our public keys, in seconds: 60.
const KEYS_FRESH: HeaderValue = HeaderValue::from_static("public, max-age=60");

impl Admin {
    /// Answers until the task is ended.
    pub async fn run(self, listener: Listener) {
        let admin = Rc::new(self);
        let room = Arc::new(Semaphore::new(MOST));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let socket = match listener.accept().await {
                Ok(socket) => socket,
                Err(problem) => {
                    warn!(%problem, "no connection accepted by the admin listener");
                    time::sleep(BREATH).await;
                    continue;
                }
            };
            let admin = Rc::clone(&admin);
            task::spawn_local(async move {
                match socket {
                    Socket::Tcp(socket) => {
                        let peer = socket.peer_addr().map(|peer| peer.ip()).ok();
                        if let Ok(socket) = TcpStream::from_std(socket) {
                            admin.serve(socket, peer).await;
                        }
                    }
                    Socket::Unix(socket) => {
                        if let Ok(socket) = UnixStream::from_std(socket) {
                            admin.serve(socket, Some(IpAddr::from([127, 0, 0, 1]))).await;
                        }
                    }
                }
                drop(permit);
            });
        }
    }

    async fn serve<S>(self: Rc<Self>, socket: S, peer: Option<IpAddr>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let local = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
        let service = service_fn(|request: Request<_>| {
            let local = local && !is_led_here(request.headers());
            let answer = self.answer(request.method(), request.uri().path(), local);
            async { Ok::<_, Infallible>(answer.map(Full::new)) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(socket), service);
        match time::timeout(LONGEST, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "admin connection ended"),
            Err(_) => debug!("admin connection ended: it lasted too long"),
        }
    }

    fn answer(&self, method: &Method, path: &str, local: bool) -> Response<Bytes> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let told = Arc::clone(&self.told.borrow());
        match path {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.missing(&told) {
                None => text(StatusCode::OK, "ok\n"),
                Some(what) => text(StatusCode::SERVICE_UNAVAILABLE, what),
            },
            "/metrics" => {
                let now = self.clock.now();
                told.keys.iter().for_each(|keys| keys.measure(now));
                answer(Metrics::content_type(), self.metrics.render())
            }
            "/.well-known/jwks.json" => {
                let mut answer = json_answer(&told.signers.borrow().published);
                answer.headers_mut().insert(CACHE_CONTROL, KEYS_FRESH);
                answer
            }
            "/status" if local || told.status == StatusAccess::All => {
                json_answer(&self.state(&told))
            }
            "/status" => text(
                StatusCode::FORBIDDEN,
                "only from this machine, at an address or localhost (admin.status)
",
            ),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /livez /readyz /metrics /status /.well-known/jwks.json\n",
            ),
        }
    }

    /// What keeps the proxy from being ready; nothing where it is.
    fn missing(&self, told: &Told) -> Option<&'static str> {
        if self.leaving.load(Ordering::Relaxed) {
            return Some("draining\n");
        }
        let now = self.clock.now();
        let waiting =
            told.readiness == Readiness::Keys && !told.keys.iter().any(|keys| keys.are_usable(now));
        if waiting {
            return Some("no usable key set of any issuer yet\n");
        }
        let is_up = self.awaited.as_ref().is_none_or(Awaited::is_there);
        (!is_up).then_some("the backend does not listen yet\n")
    }

    fn state(&self, told: &Told) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "settings_fingerprint": told.fingerprint,
            "draining": self.leaving.load(Ordering::Relaxed),
            "issuers": told.keys.iter().map(|keys| self.state_of(keys)).collect::<Vec<_>>(),
        })
    }

    fn state_of(&self, keys: &Keys) -> Value {
        let (held, now) = (keys.snapshot(), self.clock.now());
        let age = |then: UnixTime| now.since(then).as_secs();
        let known: Vec<_> = held
            .set
            .iter()
            .map(|key| {
                let first_seen = key.kid().and_then(|kid| held.first_seen.get(kid)).copied();
                json!({
                    "kid": key.kid().map(KeyId::as_str),
                    "algorithms": key.algorithms().collect::<Vec<_>>(),
                    "age_seconds": first_seen.map(age),
                })
            })
            .collect();
        json!({
            "issuer": keys.settings().issuer,
            "keys": known,
            "usable": keys.are_usable(now),
            "last_success_age_seconds": held.last_success.map(age),
            "next_refresh_seconds": held.next_refresh.map(|next| next.since(now).as_secs()),
            "failures": held.failures,
            "last_error": held.last_error,
        })
    }
}

/// Tells whether a page may have had a name of its own lead to this machine (DNS rebinding): its
/// requests come from loopback, and are for a host that is neither an address nor `localhost`.
fn is_led_here(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| Authority::parse(host.to_str().ok()?).ok());
    let (Some(host), None) = (host, hosts.next()) else { return true };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name != "localhost" && name.parse::<IpAddr>().is_err()
}

fn text(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut text = answer("text/plain; charset=utf-8", body);
    *text.status_mut() = status;
    text
}

fn json_answer(value: &Value) -> Response<Bytes> {
    answer("application/json", value.to_string())
}

/// What is told is of this moment, so nobody keeps it, unless the address says otherwise.
fn answer(media_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::new(body.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
