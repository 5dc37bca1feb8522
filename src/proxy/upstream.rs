//! Sends permitted requests to the backend.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio::task::{self, AbortHandle};
use tokio::time::{self, Instant};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::Shared;
use super::pool::{Lease, Pool};
use super::request_body::{Progress, RequestBody};
use super::settings::UpstreamAddress;
use super::snapshot::Snapshot;
use crate::core::access::Permit;
use crate::core::header::{self, CleanHead};
use crate::core::reject::Reject;
use crate::core::sign::RequestLine;
use crate::core::target::Target;
use crate::signing::Signers;
use crate::telemetry::metrics::UpstreamResult;
use crate::tls::Backend;

/// The way to the backend: one a worker.
#[derive(Debug)]
pub(super) struct Upstream {
    pool: Rc<Pool>,
    reaper: AbortHandle,
    tls: Option<Tls>,
    signers: Rc<Snapshot<Signers>>,
    shared: Arc<Shared>,
}

/// How the backend is spoken with under TLS.
#[derive(Debug)]
struct Tls {
    server_name: ServerName<'static>,
    configs: Snapshot<ClientConfig>,
}

/// The head of the backend's answer, and what its body needs.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease,
    pub(super) request: Rc<Progress>,
    /// From sending the request to the head of the answer.
    pub(super) took: Duration,
}

/// How an attempt to send ended.
enum Attempt {
    Answered(Box<Answer>),
    /// The connection was closed under us and the backend has seen nothing: try once more.
    Stale(RequestBody),
    Failed(Reject),
}

impl Upstream {
    /// Runs on a local runtime.
    pub(super) fn new(shared: Arc<Shared>, signers: Rc<Snapshot<Signers>>) -> Self {
        let keep = shared.settings.timeouts.upstream_idle;
        let tls = shared.upstream_tls.clone().map(|Backend { server_name, configs }| Tls {
            server_name,
            configs: Snapshot::new(configs),
        });
        let pool = Pool::new(keep, shared.metrics.clone());
        let reaper = task::spawn_local(Rc::clone(&pool).reap()).abort_handle();
        Self { pool, reaper, tls, signers, shared }
    }

    /// Sends a permitted request and returns the head of the answer.
    ///
    /// Sends once more, over a new connection, where a kept one turned out closed and the backend
    /// can have acted on nothing, or on nothing that may not be repeated: no whole head of an answer
    /// came, and the request was never written, or has no body and an idempotent method (RFC 9110
    /// §9.2.2).
    pub(super) async fn forward(
        &self,
        permit: &Permit,
        head: CleanHead,
        target: &Target<'_>,
        body: RequestBody,
    ) -> Result<Answer, Reject> {
        let answer = self.try_forward(permit, head, target, body).await;
        let metrics = &self.shared.metrics;
        match &answer {
            Ok(_) => metrics.upstream(UpstreamResult::Ok),
            Err(Reject::UpstreamUnreachable(_)) => metrics.upstream(UpstreamResult::Unreachable),
            Err(Reject::UpstreamTimeout) => metrics.upstream(UpstreamResult::Timeout),
            Err(_) => metrics.upstream(UpstreamResult::Broken),
        }
        answer
    }

    async fn try_forward(
        &self,
        permit: &Permit,
        head: CleanHead,
        target: &Target<'_>,
        body: RequestBody,
    ) -> Result<Answer, Reject> {
        let Some(lease) = self.pool.take() else {
            let lease = self.connect().await?;
            return self.send(lease, permit, head, target, body).await.last();
        };
        match self.send(lease, permit, head.clone(), target, body).await {
            Attempt::Answered(answer) => Ok(*answer),
            Attempt::Failed(reject) => Err(reject),
            Attempt::Stale(body) => {
                self.shared.metrics.upstream(UpstreamResult::Retried);
                let lease = self.connect().await?;
                self.send(lease, permit, head, target, body).await.last()
            }
        }
    }

    async fn send(
        &self,
        mut lease: Lease,
        permit: &Permit,
        head: CleanHead,
        target: &Target<'_>,
        body: RequestBody,
    ) -> Attempt {
        let line = RequestLine {
            method: target.method,
            authority: target.authority.as_str(),
            path: target.path.as_str(),
            query: target.uri.query(),
        };
        let repeatable = lease.is_reused() && body.is_empty() && may_be_repeated(target.method);
        let progress = body.progress();
        let mut request = Request::new(body);
        *request.method_mut() = target.method.clone();
        *request.uri_mut() = target.uri.clone();
        let now = self.shared.clock.now();
        let signed = self.signers.look().signer.sign(head, permit, line, now);
        *request.headers_mut() = signed.into_headers();

        let sent = Instant::now();
        let answer = lease.sender().try_send_request(request);
        let Some(answer) = self.in_time(&progress, answer).await else {
            return Attempt::Failed(Reject::UpstreamTimeout);
        };
        match answer {
            Ok(response) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
                Attempt::Failed(Reject::UpstreamBroken("101 without an upgrade".into()))
            }
            Ok(response) if header::is_framed_twice(response.headers()) => {
                Attempt::Failed(Reject::UpstreamBroken("an answer that is framed twice".into()))
            }
            Ok(response) => {
                let took = sent.elapsed();
                Attempt::Answered(Box::new(Answer { response, lease, request: progress, took }))
            }
            Err(mut error) => match error.take_message() {
                Some(request) if lease.is_reused() => Attempt::Stale(request.into_body()),
                // Under TLS 1.3 a certificate of ours is refused when we think we are through.
                _ if !lease.is_reused()
                    && let Some(alert) = refusal(error.error()) =>
                {
                    Attempt::Failed(Reject::UpstreamUnreachable(alert))
                }
                _ => self.failed(error.error(), repeatable, &progress),
            },
        }
    }

    fn failed(&self, error: &hyper::Error, repeatable: bool, request: &Progress) -> Attempt {
        debug!(%error, repeatable, "the backend broke off");
        let unanswered = error.is_incomplete_message() || error.is_closed() || is_reset(error);
        match request.fault() {
            Some(fault) => Attempt::Failed(fault),
            None if repeatable && unanswered => {
                Attempt::Stale(RequestBody::empty(Arc::clone(&self.shared)))
            }
            None => Attempt::Failed(Reject::UpstreamBroken(error.to_string())),
        }
    }

    /// Waits for an answer: `timeouts.response` from the last piece of the request on, and never
    /// while it is the client we wait for, so that a long upload is not taken for a slow backend.
    async fn in_time<T>(&self, request: &Progress, answer: impl Future<Output = T>) -> Option<T> {
        let at_most = self.shared.settings.timeouts.response;
        let mut answer = std::pin::pin!(answer);
        let mut since = request.last();
        loop {
            if let Ok(answer) = time::timeout_at(since + at_most, answer.as_mut()).await {
                return Some(answer);
            }
            if request.waits_for_client() {
                since = Instant::now();
            } else if request.last() > since {
                since = request.last();
            } else {
                return None;
            }
        }
    }

    async fn connect(&self) -> Result<Lease, Reject> {
        let at_most = self.shared.settings.timeouts.connect;
        let connected = time::timeout(at_most, async {
            match &self.shared.settings.upstream {
                UpstreamAddress::Tcp { host, port } => {
                    let stream = dial((host.as_str(), *port)).await?;
                    match &self.tls {
                        None => self.start(stream).await,
                        // In a box, so that what TLS needs takes no room in requests without.
                        Some(tls) => {
                            let secured = async { self.start(tls.connect(stream).await?).await };
                            Box::pin(secured).await
                        }
                    }
                }
                UpstreamAddress::Unix(path) => self.start(UnixStream::connect(path).await?).await,
                UpstreamAddress::Child { port } => {
                    if let Some(awaited) = &self.shared.awaited {
                        awaited.there().await;
                    }
                    self.start(dial((Ipv4Addr::LOCALHOST, *port)).await?).await
                }
            }
        });
        match connected.await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) => Err(Reject::UpstreamUnreachable(error.to_string())),
            Err(_) => Err(Reject::UpstreamTimeout),
        }
    }

    async fn start(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    ) -> std::io::Result<Lease> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // Ends when the lease and the pool have dropped the sender, or the backend closes. What
        // went wrong, the request that was under way is told.
        task::spawn_local(async { drop(connection.await) });
        Ok(self.pool.made(sender))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

impl Tls {
    async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.configs.look());
        TlsConnector::from(config).connect(self.server_name.clone(), stream).await
    }
}

async fn dial(address: impl ToSocketAddrs) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Attempt {
    /// What the attempt came to where there will be no other.
    fn last(self) -> Result<Answer, Reject> {
        match self {
            Self::Answered(answer) => Ok(*answer),
            Self::Stale(_) => {
                Err(Reject::UpstreamBroken("closed before the request was written".into()))
            }
            Self::Failed(reject) => Err(reject),
        }
    }
}

/// RFC 9110 §9.2.2.
fn may_be_repeated(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method)
}

fn is_reset(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    // The last is a connection under TLS that ends without a word of TLS's.
    io(error).is_some_and(|io| {
        matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    })
}

/// What the backend's TLS said where it wanted nothing to do with us.
fn refusal(error: &hyper::Error) -> Option<String> {
    let tls = io(error)?.get_ref()?.downcast_ref::<rustls::Error>()?;
    matches!(tls, rustls::Error::AlertReceived(_)).then(|| tls.to_string())
}

fn io(error: &hyper::Error) -> Option<&std::io::Error> {
    use std::error::Error;
    error.source()?.downcast_ref::<std::io::Error>()
}
