//! The straight line: one request, from its head to the answer.

use std::cell::RefCell;
use std::convert::Infallible;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONNECTION, RETRY_AFTER, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use rustls::ServerConfig;

use super::body::Patience;
use super::browser::Visit;
use super::forwarded::{Forwarded, RequestIds};
use super::in_flight::InFlight;
use super::in_step::others_first;
use super::lifetime::Lifetime;
use super::link::{Link, Wire};
use super::local::Local;
use super::outbox::Turn;
use super::present;
use super::record::Record;
use super::request_body::RequestBody;
use super::respond;
use super::response_body::{FromUpstream, ResponseBody, Stream, StreamKind};
use super::seen::Seen;
use super::settings::UpstreamProtocol;
use super::snapshot::Snapshot;
use super::tunnel::Tunnel;
use super::upstream::{Answer, Outgoing, Upstream};
use crate::core::access::{Access, Rule};
use crate::core::clerk::revoked::Revoked;
use crate::core::credential;
use crate::core::form::Way;
use crate::core::grpc;
use crate::core::header;
use crate::core::http2;
use crate::core::reject::{Refusal, Reject};
use crate::core::stream;
use crate::core::target::Target;
use crate::core::trace_context::TraceContext;
use crate::core::upgrade::Wish;
use crate::keys::Held;
use crate::signing::Signers;
use crate::telemetry::metrics::StreamEnd;

/// What handles the requests of one worker.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) shared: Rc<Local>,
    /// The keys of each issuer, in their order.
    pub(super) keys: Vec<Snapshot<Held>>,
    pub(super) seen: RefCell<Seen>,
    pub(super) signers: Rc<Snapshot<Signers>>,
    pub(super) revoked: Snapshot<Revoked>,
    /// What is asked of a CORS preflight that goes to the backend: nothing.
    of_preflights: Rule,
    upstream: Upstream,
    /// What new connections over TCP are shown; nothing where they come without TLS.
    tls: Option<Snapshot<ServerConfig>>,
    ids: RequestIds,
}

impl Pipeline {
    pub(super) fn new(shared: Rc<Local>) -> Self {
        let keys = shared.issuers.iter().map(|issuer| Snapshot::new(issuer.keys.watch()));
        let signers = Rc::new(Snapshot::new(shared.signers.clone()));
        Self {
            keys: keys.collect(),
            seen: RefCell::new(Seen::new(shared.remembered.clone())),
            upstream: Upstream::new(Rc::clone(&shared), Rc::clone(&signers)),
            signers,
            revoked: Snapshot::new(shared.revoked.clone()),
            tls: shared.tls.clone().map(Snapshot::new),
            of_preflights: Access::Public.into(),
            ids: RequestIds::new(),
            shared,
        }
    }

    pub(super) fn shared(&self) -> &Rc<Local> {
        &self.shared
    }

    /// Returns what a TLS handshake that begins now goes by; nothing where there is none.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.look()))
    }

    /// Answers a request. Never fails: a reject is an answer too. It is hyper that asks for a result.
    ///
    /// A request is one from the call on, and not from when its answer is first waited for: a client that is
    /// gone by then is counted.
    ///
    /// Here and in most of what it goes through, an async block uses the arguments where they are: an async fn
    /// would keep each of them twice (rust-lang/rust#62958), and they are most of what there is.
    pub(super) fn serve(
        self: Rc<Self>,
        request: Request<Incoming>,
        link: Rc<Link>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
        let (mut head, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let for_a_tunnel = head.method == Method::CONNECT;
        let without_body = self.shared.settings.preflight.forwards(&head.method, &head.headers);
        let started = present::now();
        let mut record = Record::new(
            Rc::clone(&self.shared),
            started,
            self.ids.next(),
            head.method.clone(),
            head.uri.path(),
            link.activity.busy(started),
        );
        record.client = link.peer.address;
        record.is_call = link.wire.is_http2() && grpc::is_call(&head.headers);
        async move {
            let handled = {
                let is_call = record.is_call;
                let handled = pin!(self.handle(&mut head, body, &link, &mut record));
                match is_call {
                    true => Some(handled.await), // it ends as streams do
                    false => link.activity.or_cut(handled).await,
                }
            };
            let (mut response, refused) = match handled {
                Some(Ok(answer)) => (self.pass(answer, record, &link), false),
                Some(Err(refusal)) => (self.refuse(refusal, record), true),
                None => (self.cut(record), true),
            };
            // What was refused is not read to its end, and a preflight goes on without its body, so
            // nothing can follow. What follows a CONNECT was meant for a tunnel and is no request.
            // Over HTTP/2 that is a stream's own matter.
            let unread = has_body && (refused || without_body);
            let is_last = unread || for_a_tunnel || self.shared.is_leaving();
            if is_last && !link.wire.is_http2() && !is_tunnel(&response) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }

    /// The straight line. Each step needs what the step above it returned, so none can be left
    /// out and no two change places.
    fn handle(
        &self,
        head: &mut Parts,
        body: Incoming,
        link: &Link,
        record: &mut Record,
    ) -> impl Future<Output = Result<Answer, Refusal>> {
        let (settings, peer) = (&self.shared.settings, &link.peer);
        async move {
            let Parts { method, uri, version, headers, .. } = head;
            record.origin = respond::origin(headers);
            record.trace = self.shared.log.as_ref().and_then(|_| TraceContext::read(headers));
            record.hold(InFlight::enter(&self.shared).await?);

            if link.wire.is_http2() {
                *uri = http2::as_http1(method, mem::take(uri), headers, settings.limits.headers)?;
            }
            let length = header::check_framing(headers)?;
            let wish = match settings.upstream_protocol {
                UpstreamProtocol::Usual => Wish::of(method, *version, headers),
                UpstreamProtocol::Http2 => Wish::Http, // there it has another handshake (RFC 8441)
            };
            let target = Target::read(method, uri, headers, peer.scheme, settings.paths)?;
            // A proxy before us ends TLS, mostly: what settings say the browser used, the backend is
            // told, or it would send every request to `https` again.
            let scheme = settings.browsers.as_ref().map_or(peer.scheme, |browsers| {
                browsers.origins.scheme_of(target.authority.as_str(), peer.scheme)
            });
            let (host, id) = (host(&target), record.request_id.clone());
            let forwarded =
                Forwarded::read(headers, peer, scheme, host, id, &settings.trusted_proxies);
            record.client = forwarded.client;
            if forwarded.believed {
                record.request_id = forwarded.way.request_id.clone();
            }
            let route = settings.routes.find(method, &target.authority, &target.path);
            record.route = Some(self.shared.metrics_place(route.place));

            let preflight = settings.preflight.forwards(method, headers);
            let rule = if preflight { &self.of_preflights } else { route.rule };
            let visit = Visit { method, headers, target: &target, forwarded: &forwarded, wish };
            let caller = match rule.access.asks_who() {
                true => self.authenticate(&visit, rule, record).await,
                false => Ok(None),
            };
            let is_known = matches!(caller, Ok(Some(_)));
            let permit = rule.permit(caller, &self.shared.anonymous);
            let permit = permit.map_err(|refusal| self.or_sign_in(refusal, rule, &visit))?;
            record.reported = permit.reported().cloned();
            if is_known {
                record.cookies.append(&mut record.on_arrival);
            }
            // Who calls is known of all before one is sent. To clients over HTTP/2 that costs more than it saves.
            let turn = match (link.wire.is_http2(), body.is_end_stream()) {
                (true, _) => Turn::Now,
                (false, true) => Turn::AfterOthers,
                (false, false) => {
                    others_first().await; // a head goes with the first of its body
                    Turn::Now
                }
            };
            let length = length.filter(|_| !preflight);
            let body = self.admit_body(body, length, preflight, link)?;
            record.body = Some(body.progress());
            // Also where it is no WebSocket to us, as before a backend over HTTP/2.
            let protocol_token =
                self.shared.settings.websocket_protocol_token && credential::in_protocols(headers);

            let (mut clean, stripped) = settings.strip.strip(mem::take(headers));
            self.shared.metrics.stripped(stripped);
            if preflight {
                clean = clean.without_credentials_and_body();
            } else if settings.routes.look_at_methods() {
                clean = clean.without_method_overrides();
            }
            if body.has_a_length() {
                clean = clean.without_trailers();
            }
            if protocol_token {
                clean.remove_protocol_token();
            }
            if wish == Wish::WebSocket {
                clean.ask_for_websocket();
            }
            let outgoing = Outgoing {
                permit: &permit,
                head: &clean,
                way: &forwarded.way,
                target: &target,
                length,
                wish,
                turn,
                may_be_silent: record.may_be_silent(),
            };
            let mut answer = match record.is_call {
                true => Box::pin(self.forward_call(outgoing, body, record, link)).await?,
                false => self.upstream.forward(outgoing, body).await?,
            };
            if protocol_token {
                header::choose_protocol_token(&mut answer.response);
            }
            record.upstream = Some(answer.took);
            Ok(answer)
        }
    }

    /// Sends a call of gRPC to the backend. Its answer may not begin before the client has sent all
    /// that it has to say, so it ends as one that is answered does: with its caller's token, or with
    /// the proxy.
    async fn forward_call(
        &self,
        outgoing: Outgoing<'_>,
        body: RequestBody,
        record: &Record,
        link: &Link,
    ) -> Result<Answer, Refusal> {
        tokio::select! {
            answer = self.upstream.forward(outgoing, body) => Ok(answer?),
            end = Lifetime::of(record, link, &self.shared).over() => {
                record.stream_ended(end);
                Err(match end {
                    StreamEnd::Lifetime => Reject::StreamOver.into(),
                    StreamEnd::Drain => Reject::Draining.into(),
                })
            }
        }
    }

    /// Tells whether a token may stand among the protocols that a request offers.
    pub(super) fn takes_protocol_token(&self, wish: Wish) -> bool {
        self.shared.settings.websocket_protocol_token && wish == Wish::WebSocket
    }

    /// Sends whoever is signed out to sign in, where the route does so and the request is a page's.
    fn or_sign_in(&self, refusal: Refusal, rule: &Rule, visit: &Visit<'_>) -> Refusal {
        if !rule.sends_to_sign_in(&refusal) {
            return refusal;
        }
        match self.sign_in(visit, &refusal.reject) {
            Some(sign_in) => refusal.with_sign_in(sign_in),
            None => refusal,
        }
    }

    fn admit_body(
        &self,
        body: Incoming,
        length: Option<u64>,
        preflight: bool,
        link: &Link,
    ) -> Result<RequestBody, Reject> {
        let shared = Rc::clone(&self.shared);
        if preflight {
            return Ok(RequestBody::empty(shared));
        }
        if let (Some(length), Some(most)) = (length, self.shared.settings.limits.body)
            && length > most
        {
            return Err(Reject::BodyTooLarge);
        }
        Ok(RequestBody::new(body, shared, link))
    }

    /// Passes the backend's answer on.
    fn pass(&self, answer: Answer, mut record: Box<Record>, link: &Link) -> Response<ResponseBody> {
        let Answer { response, lease, request, .. } = answer;
        let status = response.status();
        let (mut parts, incoming) = response.into_parts();
        record.answered(status);
        header::strip_response(&mut parts.headers, &self.shared.ours);
        parts.headers.insert(Way::REQUEST_ID, record.request_id.clone());
        set_cookies(&mut parts.headers, &mut record);
        parts.extensions.clear();
        // The version is of a hop (RFC 9110 §2.5): with the backend's 1.0 the client would lose its
        // connection, and a body without a length its end.
        parts.version = Version::HTTP_11;
        if let (StatusCode::SWITCHING_PROTOCOLS, Wire::Http1 { tunnel }) = (status, &link.wire) {
            header::go_on_as_websocket(&mut parts.headers);
            let lifetime = Lifetime::of(&record, link, &self.shared);
            let client = link.activity.clone();
            let at_most = self.shared.settings.timeouts.body;
            tunnel.put(Tunnel { lease, lifetime, client, at_most, record });
            return Response::from_parts(parts, ResponseBody::tunnel());
        }
        let kind = match () {
            () if record.is_call => Some(StreamKind::Grpc),
            () if stream::is_of_events(&parts.headers) => Some(StreamKind::Events),
            () => None,
        };
        let patience = match record.may_be_silent() && lease.version() == Version::HTTP_2 {
            true => Patience::endless(),
            false => Patience::new(self.shared.settings.timeouts.body),
        };
        let from = Box::new(FromUpstream {
            incoming,
            lease: Some(lease),
            request,
            shared: Rc::clone(&self.shared),
            patience,
            stream: kind.map(|kind| Stream::new(kind, Lifetime::of(&record, link, &self.shared))),
        });
        Response::from_parts(parts, ResponseBody::upstream(from, record, link.wire.stall()))
    }

    /// Answers because the proxy ends before the backend has. It may have done what it was asked for, so
    /// only what may be done twice is asked for again (RFC 9110 §9.2.2).
    fn cut(&self, record: Box<Record>) -> Response<ResponseBody> {
        let repeatable = record.method.is_idempotent();
        let mut answer = self.refuse(Reject::Draining.into(), record);
        if !repeatable {
            answer.headers_mut().remove(RETRY_AFTER);
        }
        answer
    }

    /// Answers in the backend's place.
    fn refuse(&self, refusal: Refusal, mut record: Box<Record>) -> Response<ResponseBody> {
        let respond = &self.shared.respond;
        let (id, origin) = (&record.request_id, record.origin.as_ref());
        let mut answer = match record.is_call {
            true => respond.to_call(&refusal, id, origin),
            false => respond.with(&refusal, id, origin),
        };
        set_cookies(answer.headers_mut(), &mut record);
        record.refused(refusal, answer.status());
        present::looked(); // what it took is told though nothing may have been waited for
        answer.map(|bytes| ResponseBody::own(bytes, record))
    }
}

fn is_tunnel(response: &Response<ResponseBody>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Sets what Clerk has us set, beside the cookies of the backend's.
fn set_cookies(headers: &mut HeaderMap, record: &mut Record) {
    if record.cookies.is_empty() {
        return;
    }
    // Whoever keeps the answer for others would keep somebody's session with it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for line in record.cookies.drain(..) {
        headers.append(SET_COOKIE, line);
    }
}

/// The host as it is signed.
fn host(target: &Target<'_>) -> HeaderValue {
    HeaderValue::from_str(target.authority.as_str()).expect("an authority is visible ASCII")
}
