//! Connections to a backend over HTTP/2, which many requests share: how many there are, and what
//! becomes of the requests when one ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::proxy::UpstreamProtocol;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio::time;

use crate::attacks::frames::{self, H2};
use crate::support::settings::settings_for;
use crate::support::wires::{Front, Here, Script, Sender, Then};
use crate::support::{Issuer, Proxy, Upstream, until};

/// Serves one connection over HTTP/2, which allows so many streams at a time and begins no more once
/// it has had so many.
async fn serve(socket: TcpStream, at_a_time: u32, in_all: usize) {
    let (begun, enough) = (Cell::new(0), Notify::new());
    let service = service_fn(|request: Request<Incoming>| {
        begun.set(begun.get() + 1);
        if begun.get() == in_all {
            enough.notify_one();
        }
        async move {
            let response = answer(&request);
            // What is still to come is wanted: the stream is open until then.
            task::spawn_local(request.into_body().collect());
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http2::Builder::new(Here)
            .max_concurrent_streams(at_a_time)
            .serve_connection(TokioIo::new(socket), service)
    );
    loop {
        tokio::select! {
            _ = connection.as_mut() => return, // the proxy may close at any time
            () = enough.notified() => connection.as_mut().graceful_shutdown(),
        }
    }
}

fn answer(request: &Request<Incoming>) -> Response<Script> {
    let then = if request.uri().path() == "/endless" { Then::Wait } else { Then::End };
    Response::new(Script::of(["begins".into()], then))
}

async fn proxy_before(upstream: &Upstream) -> (Issuer, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let mut settings = settings_for(&issuer.origin(), &upstream.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    let proxy = Proxy::start(settings).await;
    (issuer, proxy)
}

/// Sends so many requests at once over one connection; returns the statuses.
async fn burst(proxy: &Proxy, path: &str, token: &str, count: usize) -> Vec<u16> {
    let Sender::Http2(sender) = Front::H2c.open(&proxy.address).await else { unreachable!() };
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let request = Front::H2c.request(path, token, Script::empty());
        let mut sender = sender.clone();
        asked.spawn_local(async move { sender.send_request(request).await.unwrap() });
    }
    asked.join_all().await.iter().map(|answer| answer.status().as_u16()).collect()
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_allows_few_streams_gets_no_more_on_one_connection() {
    let upstream = Upstream::raw(|socket| serve(socket, 2, usize::MAX)).await;
    let (issuer, proxy) = proxy_before(&upstream).await;
    let token = issuer.token();
    let mut sender = Front::H2c.open(&proxy.address).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        let request = Front::H2c.request("/endless", &token, Script::empty());
        let answer = sender.send(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    assert_eq!(upstream.connections(), 3);
    drop(answers);
    let idle = r#"countersign_upstream_connections{state="idle"}"#;
    until("all are idle", async || proxy.metric(idle).await == 3.0).await;
}

#[tokio::test(flavor = "local")]
async fn a_request_that_is_still_being_sent_after_its_answer_has_its_place() {
    let upstream = Upstream::raw(|socket| serve(socket, 1, usize::MAX)).await;
    let (issuer, proxy) = proxy_before(&upstream).await;
    let token = issuer.token();
    for front in [Front::Http1, Front::H2c] {
        let mut sender = front.open(&proxy.address).await;
        let unfinished = Script::of(["begins".into()], Then::Wait);
        let answer = sender.send(front.request("/", &token, unfinished)).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "begins");
        let before = upstream.connections();
        assert_eq!(proxy.get("/", &token).await.status, 200, "{front:?}");
        assert_eq!(upstream.connections(), before + 1, "{front:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn connections_that_are_needed_are_made_side_by_side() {
    // Each takes a while, as on another machine: one after the other they would take 6 s.
    let upstream = Upstream::raw(async |socket| {
        time::sleep(Duration::from_millis(150)).await;
        serve(socket, 1, usize::MAX).await;
    })
    .await;
    let (issuer, proxy) = proxy_before(&upstream).await;
    time::pause();
    let statuses = burst(&proxy, "/endless", &issuer.token(), 40).await;
    assert_eq!(statuses, [200; 40]);
}

#[tokio::test(flavor = "local")]
async fn a_burst_at_the_start_gets_the_connections_that_it_needs() {
    let upstream = Upstream::raw(|socket| serve(socket, 10, usize::MAX)).await;
    let (issuer, proxy) = proxy_before(&upstream).await;
    let statuses = burst(&proxy, "/", &issuer.token(), 60).await;
    assert_eq!(statuses, [200; 60]);
    assert!(upstream.connections() <= 6, "{}", upstream.connections());
}

#[tokio::test(flavor = "local")]
async fn requests_that_a_closing_connection_leaves_behind_share_the_next() {
    const WAITING: usize = 60;
    let first = Rc::new(Cell::new(true));
    let upstream = Upstream::raw(move |socket| {
        let is_first = first.replace(false);
        async move {
            match is_first {
                true => leave_behind(socket, WAITING).await,
                false => serve(socket, 100, usize::MAX).await,
            }
        }
    })
    .await;
    let (issuer, proxy) = proxy_before(&upstream).await;
    let statuses = burst(&proxy, "/", &issuer.token(), WAITING).await;
    assert_eq!(statuses, [200; WAITING]);
    assert_eq!(upstream.connections(), 2);
}

/// Reads so many heads, and says that none of them will be answered (RFC 9113 §6.8).
async fn leave_behind(socket: TcpStream, heads: usize) {
    let mut server = H2::over(socket);
    server.skip_preface().await;
    server.send(&frames::frame(frames::SETTINGS, 0, 0, &[])).await;
    let mut left = heads;
    while left > 0 {
        let Some(frame) = server.frame().await else { return };
        left -= usize::from(frame.kind == frames::HEADERS);
    }
    server.send(&frames::frame(frames::GOAWAY, 0, 0, &[0; 8])).await;
    while server.frame().await.is_some() {}
}

#[tokio::test(flavor = "local")]
async fn no_request_fails_while_a_backend_closes_one_connection_after_another() {
    let upstream = Upstream::raw(|socket| serve(socket, 100, 25)).await;
    let (issuer, proxy) = proxy_before(&upstream).await;
    let token = issuer.token();
    for front in [Front::Http1, Front::H2c] {
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let (front, token, address) = (front.clone(), token.clone(), proxy.address.clone());
            clients.spawn_local(async move {
                let mut sender = front.open(&address).await;
                for _ in 0..50 {
                    let request = front.request("/", &token, Script::empty());
                    let answer = sender.send(request).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "begins");
                }
            });
        }
        clients.join_all().await;
    }
    let connections = upstream.connections();
    assert!((16..=40).contains(&connections), "{connections}");
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_does_not_speak_http2_is_unreachable() {
    for said in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", ""] {
        let upstream = Upstream::speaking(said).await;
        let (issuer, proxy) = proxy_before(&upstream).await;
        let answer = proxy.get("/", &issuer.token()).await;
        assert_eq!(answer.status, 502);
        let log = proxy.logged();
        assert!(log.contains("it did not begin to speak HTTP/2: "), "{log}");
    }
}
