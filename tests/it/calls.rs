//! Calls of gRPC: how they are refused, how long they may be silent, and how they end.

use std::time::Duration;

use countersign::clock::Clock;
use countersign::core::access::Access;
use countersign::core::route::{Case, Routes};
use countersign::proxy::{Drained, StreamLifetime, UpstreamProtocol};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task;
use tokio::time::{self, Instant};

use crate::streams::{NOW, brief, proxy};
use crate::support::settings::{route, settings_for};
use crate::support::wires::{Back, Front, Script, Then};
use crate::support::{Issuer, Proxy, Upstream, settings, until};

fn call(path: &str, token: Option<&str>, body: Script) -> Request<Script> {
    let mut request = Front::H2c.request(path, token.unwrap_or_default(), body);
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    if token.is_none() {
        request.headers_mut().remove("authorization");
    }
    request
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test(flavor = "local")]
async fn a_refused_call_is_told_by_a_code() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await; // it speaks HTTP/1.1, which is no use
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    settings.proxy.routes = Routes::new(vec![route("/open", Access::Public)], Case::Sensitive);
    let proxy = Proxy::start(settings).await;
    let token = issuer.token();
    let mut sender = Front::H2c.open(&proxy.address).await;
    for (path, token, code, message) in [
        ("/s/m", None, "16", "session-token-and-uat-missing"),
        ("/s/m", Some("junk"), "16", "token-invalid"),
        ("/s//m", Some(token.as_str()), "13", "request-malformed"),
        ("/open", None, "14", "upstream-unreachable"),
    ] {
        let answer = sender.send(call(path, token, Script::empty())).await.unwrap();
        let got = (
            answer.status().as_u16(),
            header(&answer, "grpc-status"),
            header(&answer, "grpc-message"),
        );
        assert_eq!(got, (200, Some(code), Some(message)), "{path}");
        assert_eq!(header(&answer, "content-type"), Some("application/grpc"));
        let body = answer.into_body().collect().await.unwrap();
        assert!(body.trailers().is_none() && body.to_bytes().is_empty(), "{path}: a head alone");
    }
    let answers = r#"countersign_responses_total{code="200",route="default"}"#;
    assert_eq!(proxy.metric(answers).await, 2.0);
}

#[tokio::test(flavor = "local")]
async fn a_call_that_is_not_answered_ends_with_its_callers_time_too() {
    let clock = Clock::fixed(NOW);
    let issuer = Issuer::start(clock.clone()).unwrap();
    let backend = Back::H2c.start(async |_| std::future::pending().await).await;
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    settings.proxy.stream_lifetime = StreamLifetime::Token;
    let proxy = Proxy::start_with(settings, clock).await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let token = brief(&issuer);
    let body = Script::of(["the first of many".into()], Then::Wait);
    let asked = task::spawn_local(async move { sender.send(call("/", Some(&token), body)).await });
    until("it is under way", async || proxy.metric("countersign_requests_in_flight").await == 1.0)
        .await;
    time::pause();

    let began = Instant::now();
    let answer = asked.await.unwrap().unwrap();

    assert_eq!(
        (header(&answer, "grpc-status"), header(&answer, "grpc-message")),
        (Some("16"), Some("stream-over"))
    );
    assert!((14..=15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

/// The line of the one request in a log.
fn line(logged: &str) -> Value {
    let mut lines = logged.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["target"] == "access").unwrap()
}

/// What the log says of how the one request ended.
fn detail(proxy: &Proxy) -> Option<String> {
    line(&proxy.logged())["detail"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "local")]
async fn a_call_may_be_silent_on_both_sides() {
    let (issuer, _backend, proxy) = proxy().await;
    let body = Script::of(["the first of many".into()], Then::Wait);
    let mut sender = Front::H2c.open(&proxy.address).await;
    let answer = sender.send(call("/", Some(&issuer.token()), body)).await.unwrap();
    time::pause();

    // For longer than a body of another request may be, and no longer than until PINGs.
    time::sleep(Duration::from_secs(28)).await;

    assert_eq!(proxy.metric("countersign_requests_in_flight").await, 1.0);
    drop(answer);
}

#[tokio::test(flavor = "local")]
async fn a_call_may_not_be_silent_for_ever_where_nothing_else_ends_it() {
    for upstream in [UpstreamProtocol::Usual, UpstreamProtocol::Http2] {
        let issuer = Issuer::start(Clock::System).unwrap();
        let back = if upstream == UpstreamProtocol::Http2 { Back::H2c } else { Back::Http1 };
        let backend = back.start(async |_| std::future::pending().await).await;
        let mut settings = settings_for(&issuer.origin(), &backend.address);
        settings.proxy.upstream_protocol = upstream;
        settings.proxy.routes = Routes::new(vec![route("/open", Access::Public)], Case::Sensitive);
        settings.proxy.timeouts.body = Duration::from_secs(25);
        let proxy = Proxy::start(settings).await;
        let mut sender = Front::H2c.open(&proxy.address).await;
        let body = Script::of(["the first of many".into()], Then::Wait);
        // Before HTTP/1.1 nothing asks whether the backend is there, whoever calls.
        let token = (upstream == UpstreamProtocol::Usual).then(|| issuer.token());
        time::pause();

        let answer = sender.send(call("/open", token.as_deref(), body)).await.unwrap();

        assert_eq!(header(&answer, "grpc-message"), Some("request-timeout"), "{upstream:?}");
        time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn a_call_that_is_not_answered_ends_with_the_proxy_too() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Back::H2c.start(async |_| std::future::pending().await).await;
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    let proxy = Proxy::start(settings).await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let body = Script::of(["the first of many".into()], Then::Wait);
    let ask = call("/", Some(&issuer.token()), body);
    let asked = task::spawn_local(async move { sender.send(ask).await });
    until("it is under way", async || proxy.metric("countersign_requests_in_flight").await == 1.0)
        .await;
    time::pause();

    let drained = task::spawn_local(proxy.drain_and_tell());
    let answer = asked.await.unwrap().unwrap();

    // Not a slow backend's doing: nobody is to look for what is wrong with it.
    for (name, want) in [("grpc-status", "14"), ("grpc-message", "draining"), ("retry-after", "1")]
    {
        assert_eq!(header(&answer, name), Some(want), "{name}");
    }
    let (drained, logged) = drained.await.unwrap();
    let line = line(&logged);
    let told = (&line["decision"], &line["reason"], &line["detail"]);
    let want = ("failed", "draining", "the proxy ended before the backend answered");
    assert_eq!(told, (&want.0.into(), &want.1.into(), &want.2.into()));
    assert_eq!(drained, Drained::Clean);
}

#[tokio::test(flavor = "local")]
async fn a_call_whose_backend_is_gone_is_told_that_it_may_be_made_again() {
    let (issuer, backend, proxy) = proxy().await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let ask = call("/", Some(&issuer.token()), Script::empty());
    let answer = sender.send(ask).await.unwrap();

    drop(backend);
    let collected = answer.into_body().collect().await.unwrap();

    let code = collected.trailers().and_then(|it| it.get("grpc-status")).cloned();
    assert_eq!(code.unwrap(), "14");
    until("it is over", async || proxy.metric("countersign_requests_in_flight").await == 0.0).await;
    assert_eq!(detail(&proxy).unwrap(), "the backend broke its answer off");
}

#[tokio::test(flavor = "local")]
async fn the_log_says_whose_silence_ended_an_answer() {
    for (then, want) in [
        (Then::Wait, "the request did not come in time"),
        (Then::End, "the backend said nothing more of its answer"),
    ] {
        let (issuer, _backend, proxy) = proxy().await;
        let mut sender = Front::H2c.open(&proxy.address).await;
        let body = Script::of(["the first of many".into()], then);
        let mut ask = Front::H2c.request("/", &issuer.token(), body);
        ask.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        let answer = sender.send(ask).await.unwrap();
        time::pause();

        let collected = answer.into_body().collect().await;
        time::resume();

        assert!(collected.is_err(), "{then:?}");
        assert_eq!(detail(&proxy).unwrap(), want, "{then:?}");
    }
}
