//! HTTP/2 connections and streams: how they are refused, how long they live, and how they end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use countersign::clock::Clock;
use countersign::core::time::UnixTime;
use countersign::proxy::{Drained, StreamLifetime, UpstreamProtocol};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task;
use tokio::time::{self, Instant};

use crate::attacks::frames::{self, H2};
use crate::support::client::raw;
use crate::support::settings::settings_for;
use crate::support::wires::{Back, Backend, Front, Script, Sender, Then};
use crate::support::{HandMoved, Issuer, Proxy, Upstream, settings, until, until_every};

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A token that is good for 10 s from `NOW`, and for the leeway.
pub(crate) fn brief(issuer: &Issuer) -> String {
    issuer.mint(json!({"exp": NOW.as_secs() + 10}))
}

/// A backend over HTTP/2 that begins to answer with one piece, and says no more.
async fn begins(request: Request<Incoming>) -> Response<Script> {
    let mut response = Response::new(Script::of(["data: 1\n\n".into()], Then::Wait));
    let media_type = request.headers().get("content-type").cloned();
    let media_type = media_type.unwrap_or_else(|| "text/event-stream".parse().unwrap());
    response.headers_mut().insert("content-type", media_type);
    response
}

#[tokio::test(flavor = "local")]
async fn a_stream_ends_its_lifetime_after_its_token_in_the_way_its_client_takes() {
    for media_type in ["text/event-stream", "application/grpc"] {
        for front in [Front::Http1, Front::H2c] {
            let clock = Clock::fixed(NOW);
            let issuer = Issuer::start(clock.clone()).unwrap();
            let backend = Back::H2c.start(begins).await;
            let mut settings = settings_for(&issuer.origin(), &backend.address);
            settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
            settings.proxy.stream_lifetime = StreamLifetime::Beyond(Duration::from_secs(10));
            settings.proxy.timeouts.body = Duration::from_secs(27);
            let proxy = Proxy::start_with(settings, clock).await;
            let mut request = front.request("/", &brief(&issuer), Script::empty());
            request.headers_mut().insert("content-type", media_type.parse().unwrap());
            let sent = Instant::now();
            let answer = front.open(&proxy.address).await.send(request).await.unwrap();
            time::pause();

            let began = Instant::now();
            let collected = answer.into_body().collect().await;

            let is_call = media_type == "application/grpc" && front.is_http2();
            let took = began.elapsed().as_secs();
            // What is no stream to us ends in a fault once nothing has come for `timeouts.body`.
            if media_type == "application/grpc" && !is_call {
                assert!(collected.is_err() && took <= 27, "{took}");
                let took = sent.elapsed().as_secs(); // the clock may have gone on after the piece
                assert!(took >= 27, "{took}");
                time::resume();
                continue;
            }
            let collected = collected.unwrap();
            let code = collected.trailers().and_then(|it| it.get("grpc-status")).cloned();
            assert_eq!(code.is_some_and(|code| code == "16"), is_call, "{media_type} {front:?}");
            assert_eq!(collected.to_bytes(), "data: 1\n\n", "{media_type} {front:?}");
            assert!((24..=25).contains(&took), "{media_type} {front:?}: {took}");
            let ended = r#"countersign_streams_ended_total{cause="lifetime"}"#;
            assert_eq!(proxy.metric(ended).await, 1.0);
            time::resume();
        }
    }
}

/// A proxy before a backend over HTTP/2, less patient than usual: no test takes so long that either
/// side would be asked whether it still is, which takes the system's time and not the test's.
pub(crate) async fn proxy() -> (Issuer, Backend, Proxy) {
    proxy_before(begins).await
}

async fn proxy_before<A, F>(answer: A) -> (Issuer, Backend, Proxy)
where
    A: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<Script>> + 'static,
{
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Back::H2c.start(answer).await;
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    settings.proxy.timeouts.body = Duration::from_secs(25);
    settings.proxy.timeouts.idle = Duration::from_secs(15);
    let proxy = Proxy::start(settings).await;
    (issuer, backend, proxy)
}

#[tokio::test(flavor = "local")]
async fn a_stream_that_its_client_takes_nothing_of_is_reset_and_no_other() {
    const PIECE: usize = 64 * 1024;
    const WINDOW: usize = 2 * 1024 * 1024 / PIECE; // of hyper's client, which is the widest
    let taken = Rc::<Cell<usize>>::default();
    let count = Rc::clone(&taken);
    let answer = move |_| {
        let pieces = vec![Bytes::from(vec![0; PIECE]); 256];
        let body = Script::of(pieces, Then::End).counted(&count);
        async { Response::new(body) }
    };
    let (issuer, _backend, proxy) = proxy_before(answer).await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let token = issuer.token();
    let ask = || Front::H2c.request("/", &token, Script::empty());
    let stalled = sender.send(ask()).await.unwrap();
    let mut before = 0;
    until_every(Duration::from_millis(50), "all windows are full", async || {
        std::mem::replace(&mut before, taken.get()) == taken.get() && before > WINDOW
    })
    .await;
    let clock = HandMoved::pause();

    let in_flight = async || proxy.metric("countersign_requests_in_flight").await;
    let took = clock.until("it is given up", async || in_flight().await == 0.0).await;
    drop(clock);
    time::resume();
    let other = sender.send(ask()).await.unwrap();

    assert!((24..=27).contains(&took), "{took}");
    assert!(stalled.into_body().collect().await.is_err(), "it was reset");
    assert_eq!(other.status(), 200, "its connection lives on");
}

#[tokio::test(flavor = "local")]
async fn an_http2_connection_without_requests_is_closed_when_it_has_been_idle() {
    let (_issuer, _backend, proxy) = proxy().await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let refused = Front::H2c.request("/", "junk", Script::empty());
    assert_eq!(sender.send(refused).await.unwrap().status(), 401);
    let _never_asks = Front::H2c.open(&proxy.address).await;
    let connections = async || proxy.metric("countersign_connections").await;
    until("both are there", async || connections().await == 2.0).await;
    let clock = HandMoved::pause();

    let took = clock.until("both are gone", async || connections().await == 0.0).await;

    assert!((14..=28).contains(&took), "{took}");
}

#[tokio::test(flavor = "local")]
async fn a_connection_grows_old_after_an_hour_and_what_is_under_way_goes_on() {
    const MINUTE: Duration = Duration::from_secs(60);
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Back::H2c.start(begins).await;
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    settings.proxy.stream_lifetime = StreamLifetime::Unlimited;
    let proxy = Proxy::start(settings).await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let mut call = Front::H2c.request("/", &issuer.token(), Script::empty());
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let mut answer = sender.send(call).await.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    let clock = HandMoved::pause();

    let began = Instant::now();
    while began.elapsed() < 70 * MINUTE {
        clock.by(Duration::from_secs(5)).await;
        let refused = Front::H2c.request("/", "junk", Script::empty());
        if sender.send(refused).await.is_err() {
            break;
        }
    }
    let took = began.elapsed();
    let a_while = async {
        for _ in 0..100 {
            clock.by(Duration::from_secs(5)).await;
        }
    };
    tokio::select! {
        came = answer.frame() => panic!("{came:?}"),
        () = a_while => {}
    }

    assert!((54 * MINUTE..=67 * MINUTE).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_never_says_what_it_speaks_is_closed_on() {
    let (_issuer, _backend, proxy) = proxy().await;
    time::pause();
    for (said, want) in [
        ("", "HTTP/1.1 408 "),
        ("P", "HTTP/1.1 408 "),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n", "HTTP/1.1 408 "),
    ] {
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        socket.write_all(said.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(want), "{said:?}: {answer}");
        assert_eq!(began.elapsed().as_secs(), 10, "{said:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn http2_can_be_turned_off() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.http2 = false;
    let proxy = Proxy::start(settings).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(raw(&proxy.address, preface).await, "", "it is closed on");
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn a_drain_finishes_the_streams_of_a_connection_and_lets_no_other_begin() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Back::H2c
        .start(async |_| {
            time::sleep(Duration::from_secs(15)).await;
            Response::new(Script::of(["done".into()], Then::End))
        })
        .await;
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    let proxy = Proxy::start(settings).await;
    let mut sender = Front::H2c.open(&proxy.address).await;
    let idle = Front::H2c.open(&proxy.address).await;
    let request = Front::H2c.request("/", &issuer.token(), Script::empty());
    let late = Front::H2c.request("/", &issuer.token(), Script::empty());
    let under_way = task::spawn_local(async move { (sender.send(request).await, sender) });
    until("it is under way", async || proxy.metric("countersign_requests_in_flight").await == 1.0)
        .await;
    time::pause();

    let began = Instant::now();
    let drained = task::spawn_local(proxy.drain());
    let (answer, mut sender) = under_way.await.unwrap();
    let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
    let refused = sender.send(late).await;

    assert_eq!(body, "done");
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(drained.await.unwrap(), Drained::Clean);
    assert!((14..=17).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(matches!(idle, Sender::Http2(sender) if sender.is_closed()));
}

/// Opens a connection over HTTP/2 whose windows are wide and whose socket holds little, asks on it
/// and reads nothing.
async fn ask_and_wait(address: &str, token: &str) -> H2 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = H2::over(socket.connect(address.parse().unwrap()).await.unwrap());
    let authorization = format!("Bearer {token}");
    let head =
        [(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")];
    let head = head.into_iter().chain([("authorization", &*authorization)]);
    let block: Vec<u8> = head.flat_map(|(name, value)| frames::literal(name, value)).collect();
    let widest = 0x7fff_ffff_u32;
    let sent = [
        frames::PREFACE.to_vec(),
        frames::frame(frames::SETTINGS, 0, 0, &frames::setting(4, widest)),
        frames::frame(frames::WINDOW_UPDATE, 0, 0, &(widest - 65_535).to_be_bytes()),
        frames::frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &block),
    ];
    assert!(client.send(&sent.concat()).await);
    client
}

/// Reads an answer to its end, opening windows as it goes; returns how long its body was.
async fn read_slowly(client: &mut H2) -> usize {
    let mut body = 0;
    while let Some(came) = client.frame().await {
        if came.kind == frames::DATA {
            body += came.payload.len();
        }
        if came.kind == frames::DATA && came.flags & frames::END_STREAM != 0 {
            break;
        }
    }
    body
}

#[tokio::test(flavor = "local")]
async fn an_answer_is_read_to_its_end_however_slowly_in_a_drain_and_after_an_idle_while() {
    const SIZE: usize = 1024 * 1024;
    for end in [Ends::Drained, Ends::Idle] {
        let answer = async |_| Response::new(Script::of([Bytes::from(vec![0; SIZE])], Then::End));
        let (issuer, _backend, proxy) = proxy_before(answer).await;
        let mut client = ask_and_wait(&proxy.address, &issuer.token()).await;
        let served = r#"countersign_responses_total{code="200",route="default"}"#;
        until("all is handed on", async || proxy.metric(served).await == 1.0).await;
        time::pause();

        let (proxy, draining) = match end {
            Ends::Drained => (None, Some(task::spawn_local(proxy.drain()))),
            Ends::Idle => (Some(proxy), None),
        };
        time::sleep(Duration::from_secs(if end == Ends::Idle { 35 } else { 20 })).await;
        time::resume();
        let body = read_slowly(&mut client).await;
        drop(client);

        assert_eq!(body, SIZE, "{end:?}");
        if let Some(draining) = draining {
            assert_eq!(draining.await.unwrap(), Drained::Clean);
        }
        drop(proxy);
    }
}

/// What ends a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ends {
    Drained,
    Idle,
}

#[tokio::test(flavor = "local")]
async fn a_client_that_is_gone_without_a_word_holds_no_drain_up() {
    let (_issuer, _backend, proxy) = proxy().await;
    // It says that it speaks HTTP/2, and never anything more: no acknowledgement, no end.
    let mut client = TcpStream::connect(&proxy.address).await.unwrap();
    client.write_all(frames::PREFACE).await.unwrap();
    let settings = frames::frame(frames::SETTINGS, 0, 0, &[]);
    client.write_all(&settings).await.unwrap();
    until("it is there", async || proxy.metric("countersign_connections").await == 1.0).await;
    let mut greeting = [0; 9];
    client.read_exact(&mut greeting).await.unwrap();
    time::pause();

    let began = Instant::now();
    let drained = proxy.drain().await;

    let took = began.elapsed().as_secs();
    assert_eq!(drained, Drained::Clean);
    assert!((10..=12).contains(&took), "{took}");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_stays_when_it_has_its_last_answer_holds_no_drain_up() {
    let (issuer, _backend, proxy) = proxy_before(async |_| std::future::pending().await).await;
    let mut client = ask_and_wait(&proxy.address, &issuer.token()).await;
    let in_flight = "countersign_requests_in_flight";
    until("it is under way", async || proxy.metric(in_flight).await == 1.0).await;
    time::pause();

    let began = Instant::now();
    let draining = task::spawn_local(async move { (proxy.drain().await, began.elapsed()) });
    time::sleep(Duration::from_millis(24_600)).await;
    let body = read_slowly(&mut client).await;
    let (drained, took) = draining.await.unwrap();

    assert!(body > 0, "it was told");
    assert_eq!(drained, Drained::Clean);
    assert_eq!(took.as_secs(), 24);
    drop(client);
}

#[tokio::test(flavor = "local")]
async fn streams_end_with_a_drain_in_the_way_their_clients_take() {
    for (front, media_type, code) in [
        (Front::Http1, "text/event-stream", None),
        (Front::H2c, "text/event-stream", None),
        (Front::H2c, "application/grpc", Some("14")),
    ] {
        let (issuer, _backend, proxy) = proxy().await;
        let mut request = front.request("/", &issuer.token(), Script::empty());
        request.headers_mut().insert("content-type", media_type.parse().unwrap());
        let mut client = front.open(&proxy.address).await; // kept alive
        let answer = client.send(request).await.unwrap();
        time::pause();

        let began = Instant::now();
        let drained = task::spawn_local(proxy.drain());
        let collected = answer.into_body().collect().await.unwrap();
        let took = began.elapsed().as_secs();

        let told = collected.trailers().and_then(|it| it.get("grpc-status")).cloned();
        assert_eq!(told.as_ref().map(|it| it.to_str().unwrap()), code, "{media_type}");
        assert_eq!((drained.await.unwrap(), took), (Drained::Clean, 23), "{media_type}");
        time::resume();
    }
}
