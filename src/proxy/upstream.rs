//! Sends permitted requests to the backend.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;
use tracing::debug;

use super::alone::Alone;
use super::broken::Broken;
use super::connector::Connector;
use super::in_step::others_first;
use super::local::Local;
use super::outbox::Turn;
use super::pool::{Lease, Line};
use super::present;
use super::request_body::{Progress, RequestBody};
use super::snapshot::Snapshot;
use super::timers::Timers;
use crate::core::access::Permit;
use crate::core::again::Got;
use crate::core::form::Way;
use crate::core::header::{self, CleanHead};
use crate::core::reject::Reject;
use crate::core::request_head::{self, Framing};
use crate::core::sign::{RequestLine, Stamped};
use crate::core::target::Target;
use crate::core::upgrade::{self, Wish};
use crate::signing::Signers;
use crate::telemetry::metrics::UpstreamResult;

/// The way to the backend: one a worker.
#[derive(Debug)]
pub(super) struct Upstream {
    connector: Connector,
    timers: Timers,
    signers: Rc<Snapshot<Signers>>,
    /// What signed the last request.
    stamped: RefCell<Rc<Stamped>>,
    shared: Rc<Local>,
}

/// The head of the backend's answer, and what its body needs.
#[derive(Debug)]
pub(super) struct Answer {
    /// With its body, where a connection carries several at a time; or the lease has that.
    pub(super) response: Response<Option<Incoming>>,
    pub(super) lease: Lease,
    pub(super) request: Rc<Progress>,
    /// From sending the request to the head of the answer.
    pub(super) took: Duration,
}

/// A request that may go to the backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) permit: &'a Permit,
    pub(super) head: &'a CleanHead,
    pub(super) way: &'a Way,
    pub(super) target: &'a Target<'a>,
    /// How long its body is, where its head said so; also where `Connection` named that header, and it went.
    pub(super) length: Option<u64>,
    pub(super) wish: Wish,
    /// When it is sent, where it has no body.
    pub(super) turn: Turn,
    /// Whether it is a call that may be silent, where the backend's connection says that it is there.
    pub(super) may_be_silent: bool,
}

/// Why there is no answer.
enum Missed {
    /// The connection was closed under us and the backend has seen nothing: try once more.
    Stale(RequestBody),
    Failed(Reject),
}

/// A request that no head of an answer came to.
struct Unanswered {
    error: Broken,
    /// Its body, where nothing of it was written.
    unsent: Option<RequestBody>,
}

impl From<TrySendError<Request<RequestBody>>> for Unanswered {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        let unsent = error.take_message().map(Request::into_body);
        Self { error: error.into_error().into(), unsent }
    }
}

impl Upstream {
    /// Runs on a local runtime.
    pub(super) fn new(shared: Rc<Local>, signers: Rc<Snapshot<Signers>>) -> Self {
        let stamped = Stamped::new(Arc::clone(&signers.look().signer), shared.clock.now());
        let stamped = RefCell::new(Rc::new(stamped));
        let connector = Connector::new(Rc::clone(&shared));
        Self { connector, timers: Timers::default(), signers, stamped, shared }
    }

    /// Sends a permitted request and returns the head of the answer.
    ///
    /// Sends once more, over a new connection, where no whole head of an answer came and that [can do no
    /// harm](Got::may_be_sent_again).
    pub(super) async fn forward(
        &self,
        outgoing: Outgoing<'_>,
        body: RequestBody,
    ) -> Result<Answer, Reject> {
        let missed = match self.connector.take(outgoing.wish).await {
            Ok((lease, now)) => match self.send(lease, now, outgoing, body).await {
                // At once: an answer is a few hundred bytes, which each name it is given copies.
                Ok(answer) => {
                    self.shared.tally.upstream(UpstreamResult::Ok);
                    return Ok(answer);
                }
                Err(missed) => missed,
            },
            Err(reject) => Missed::Failed(reject),
        };
        let answer = match missed {
            Missed::Failed(reject) => Err(reject),
            // In a box: what is seldom needed is no room in each request.
            Missed::Stale(body) => Box::pin(self.send_again(outgoing, body)).await,
        };
        self.count(&answer);
        answer
    }

    fn count(&self, answer: &Result<Answer, Reject>) {
        self.shared.tally.upstream(match answer {
            Ok(_) => UpstreamResult::Ok,
            Err(Reject::UpstreamUnreachable(_)) => UpstreamResult::Unreachable,
            Err(Reject::UpstreamTimeout) => UpstreamResult::Timeout,
            Err(Reject::Overloaded) => return self.shared.metrics.overload.inc(), // nothing was sent
            Err(_) => UpstreamResult::Broken,
        });
    }

    async fn send_again(
        &self,
        outgoing: Outgoing<'_>,
        body: RequestBody,
    ) -> Result<Answer, Reject> {
        self.shared.tally.upstream(UpstreamResult::Retried);
        let lease = self.connector.make(outgoing.wish).await?;
        self.send(lease, Instant::now(), outgoing, body).await.map_err(Missed::at_last)
    }

    fn send(
        &self,
        mut lease: Lease,
        sent: Instant,
        outgoing: Outgoing<'_>,
        body: RequestBody,
    ) -> impl Future<Output = Result<Answer, Missed>> {
        let (has_body, request) = (!body.is_empty(), body.progress());
        async move {
            let answer =
                self.in_time(&request, sent, pin!(self.exchange(&mut lease, outgoing, body))).await;
            match answer.ok_or(Missed::Failed(Reject::UpstreamTimeout))? {
                Ok(response) => match fault(&response, outgoing.wish) {
                    Some(fault) => Err(Missed::Failed(Reject::UpstreamBroken(fault.into()))),
                    None => {
                        let sent = lease.connection().and_then(Alone::take_sent).unwrap_or(sent);
                        let took = present::now() - sent;
                        Ok(Answer { response, lease, request, took })
                    }
                },
                Err(unanswered) => {
                    let method = outgoing.target.method;
                    Err(self.missed(unanswered, &lease, &request, method, has_body))
                }
            }
        }
    }

    /// Sends a request as it is now, and waits for the head of the answer.
    fn exchange(
        &self,
        lease: &mut Lease,
        outgoing: Outgoing<'_>,
        body: RequestBody,
    ) -> impl Future<Output = Result<Response<Option<Incoming>>, Unanswered>> {
        let line = lease.line();
        async move {
            match line {
                Line::Alone(connection) => {
                    let connection =
                        connection.as_mut().expect("it is taken only when the lease ends");
                    let framing = Framing::of(outgoing.length, !body.is_empty(), outgoing.head);
                    let head = self.head(outgoing, &framing);
                    let method = outgoing.target.method;
                    let at_most = self.shared.settings.timeouts.body;
                    let turn = outgoing.turn;
                    let answer =
                        connection.exchange(method, head, body, framing, at_most, turn).await;
                    let answer = answer.map_err(|error| Unanswered { error, unsent: None })?;
                    Ok(answer.map(|()| None))
                }
                Line::Shared(stream) => {
                    if outgoing.turn == Turn::AfterOthers {
                        others_first().await;
                    }
                    let answer = Box::pin(stream.send(self.request(outgoing, body))).await;
                    Ok(answer.map_err(Unanswered::from)?.map(Some))
                }
            }
        }
    }

    /// The head of a request as it is sent over HTTP/1.1, signed now.
    fn head(&self, outgoing: Outgoing<'_>, framing: &Framing) -> Vec<u8> {
        let Outgoing { permit, head, way, target, .. } = outgoing;
        let stamped = self.stamped();
        let signed = stamped.sign(head, way, permit, RequestLine::of(target));
        request_head::write(target, &signed, framing)
    }

    /// A request as it is sent over HTTP/2, signed now.
    fn request(&self, outgoing: Outgoing<'_>, mut body: RequestBody) -> Request<RequestBody> {
        let Outgoing { permit, head, way, target, may_be_silent, .. } = outgoing;
        if may_be_silent {
            body.may_be_silent();
        }
        let stamped = self.stamped();
        let signed = stamped.sign(head, way, permit, RequestLine::of(target));
        let mut headers = signed.into_headers();
        headers.remove(HOST); // it is `:authority` there
        let mut request = Request::new(body);
        *request.method_mut() = target.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.absolute(target);
        *request.headers_mut() = headers;
        request
    }

    /// What signs in this second.
    fn stamped(&self) -> Rc<Stamped> {
        let (now, signers) = (self.shared.clock.last_tick(), self.signers.look());
        let mut stamped = self.stamped.borrow_mut();
        if !stamped.is_of(&signers.signer, now) {
            *stamped = Rc::new(Stamped::new(Arc::clone(&signers.signer), now));
        }
        Rc::clone(&stamped)
    }

    /// The target as HTTP/2 has it, with the scheme and the host.
    fn absolute(&self, target: &Target<'_>) -> Uri {
        let mut parts = target.uri.clone().into_parts();
        let scheme = if self.connector.speaks_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        parts.scheme = Some(scheme);
        parts.authority = Authority::try_from(target.authority.as_str()).ok();
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        Uri::from_parts(parts).expect("it has a scheme, a host and a path")
    }

    fn missed(
        &self,
        Unanswered { error, unsent }: Unanswered,
        lease: &Lease,
        request: &Progress,
        method: &Method,
        has_body: bool,
    ) -> Missed {
        let got = if unsent.is_some() { Got::Nowhere } else { error.got() };
        debug!(%error, ?got, "the backend broke off");
        // Under TLS 1.3 a certificate of ours is refused when we think we are through.
        if let Some(alert) = error.refusal().filter(|_| !lease.is_reused()) {
            return Missed::Failed(Reject::UpstreamUnreachable(alert));
        }
        if got != Got::Nowhere && !error.is_of_a_stream() {
            lease.is_the_last();
        }
        if let Some(fault) = request.fault() {
            return Missed::Failed(fault);
        }
        match got.may_be_sent_again(method, has_body, lease.is_reused()) {
            true => {
                let nothing = || RequestBody::empty(Rc::clone(&self.shared));
                Missed::Stale(unsent.unwrap_or_else(nothing))
            }
            false => Missed::Failed(Reject::UpstreamBroken(error.to_string())),
        }
    }

    /// Waits for an answer to what was sent: `timeouts.response` from the last piece of the request on,
    /// and never while it is the client we wait for, so that a long upload is not taken for a slow
    /// backend.
    async fn in_time<T>(
        &self,
        request: &Progress,
        sent: Instant,
        mut answer: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let at_most = self.shared.settings.timeouts.response;
        let (mut since, mut timer) = (sent, self.timers.take());
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            loop {
                ready!(timer.poll(since + at_most, context));
                let last = match request.waits_for_client() {
                    true => Some(Instant::now()),
                    false => request.last().filter(|last| *last > since),
                };
                let Some(last) = last else { return Poll::Ready(None) };
                since = last;
            }
        })
        .await
    }
}

impl Missed {
    /// Why there is none where there will be no other attempt.
    fn at_last(self) -> Reject {
        match self {
            Self::Stale(_) => {
                Reject::UpstreamBroken("closed before the request was written".into())
            }
            Self::Failed(reject) => reject,
        }
    }
}

/// What is wrong with the head of an answer, if something is.
fn fault<B>(response: &Response<B>, wish: Wish) -> Option<&'static str> {
    if header::is_framed_twice(response.headers()) {
        return Some("an answer that is framed twice");
    }
    let is_unasked = response.status() == StatusCode::SWITCHING_PROTOCOLS
        && !(wish == Wish::WebSocket && upgrade::is_agreed(response.headers()));
    is_unasked.then_some("101 without an upgrade")
}
