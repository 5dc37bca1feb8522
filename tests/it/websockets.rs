//! Connections that go on as a WebSocket: when they do, what passes then, and when they end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::core::time::UnixTime;
use countersign::proxy::{Drained, StreamLifetime, UpstreamProtocol};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task;
use tokio::time::{self, Instant};

use crate::support::settings::settings_with_public;
use crate::support::upstream::head;
use crate::support::{HandMoved, Issuer, Proxy, Upstream, settings, until};

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// What a client asks for.
const ASKED: &str = "connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A backend that agrees, says so with these headers too, and sends back what it is sent. Keeps
/// the heads that it got.
async fn echo(also: &'static str) -> (Upstream, Rc<RefCell<Vec<String>>>) {
    let heads = Rc::<RefCell<Vec<String>>>::default();
    let kept = Rc::clone(&heads);
    let upstream = Upstream::raw(move |mut socket| {
        let kept = Rc::clone(&kept);
        async move {
            let asked = head(&mut socket).await;
            kept.borrow_mut().push(asked);
            socket.write_all(format!("{AGREED}{also}\r\n").as_bytes()).await.unwrap();
            let (mut read, mut write) = socket.split();
            let _ = tokio::io::copy(&mut read, &mut write).await; // a test may end in the middle
        }
    })
    .await;
    (upstream, heads)
}

/// Asks for a WebSocket at `path`, with these headers too; returns the head of the answer.
async fn ask(proxy: &Proxy, path: &str, also: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n{ASKED}{also}\r\n");
    socket.write_all(asked.as_bytes()).await.unwrap();
    let answer = head(&mut socket).await;
    (socket, answer)
}

fn bearer(issuer: &Issuer) -> String {
    format!("authorization: Bearer {}\r\n", issuer.token())
}

/// Reads to the end of a connection, and says when that came.
async fn ends(mut socket: TcpStream) -> Instant {
    let _ = socket.read_to_end(&mut Vec::new()).await; // a reset is an end too
    Instant::now()
}

#[tokio::test(flavor = "local")]
async fn bytes_pass_both_ways_once_the_backend_has_agreed() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, heads) =
        echo("sec-websocket-protocol: chat\r\nx-clerk-user-id: forged\r\n").await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let (mut socket, answer) =
        ask(&proxy, "/socket", &format!("{}sec-websocket-protocol: chat\r\n", bearer(&issuer)))
            .await;
    socket.write_all(b"\x81\x05hello").await.unwrap();
    let mut echoed = [0; 7];
    socket.read_exact(&mut echoed).await.unwrap();

    let asked = heads.borrow()[0].to_lowercase();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "sec-websocket-protocol: chat",
        "x-request-id: ",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    assert!(!answer.contains("forged"), "{answer}");
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-key: dghlihnhbxbszsbub25jzq==",
        "x-clerk-principal: user",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    assert_eq!(&echoed, b"\x81\x05hello");
    assert_eq!(proxy.metric("countersign_requests_in_flight").await, 1.0);
    drop(socket);
    until("it is over", async || proxy.metric("countersign_requests_in_flight").await == 0.0).await;
    let line = proxy.logged().lines().find(|line| line.contains("\"/socket\"")).unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let counted = (&line["status"], &line["bytes_in"], &line["bytes_out"]);
    assert_eq!(counted, (&json!(101), &json!(7), &json!(7)), "{line}");
}

#[tokio::test(flavor = "local")]
async fn whoever_is_refused_reaches_no_backend() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, _) = echo("").await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    for (also, status) in [
        (String::new(), "401"),
        ("authorization: Bearer junk\r\n".to_owned(), "401"),
        (format!("{0}{0}", bearer(&issuer)), "400"),
        // The setting for this is off.
        (format!("sec-websocket-protocol: bearer, {}\r\n", issuer.token()), "401"),
    ] {
        let (_socket, answer) = ask(&proxy, "/", &also).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn what_follows_a_request_is_one_of_its_own_until_the_backend_agrees() {
    let issuer = Issuer::start(Clock::System).unwrap();
    for (answer, status) in [
        ("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n", "426"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "200"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "403"),
        ("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", "502"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "502"),
    ] {
        let seen = Rc::<RefCell<Vec<String>>>::default();
        let kept = Rc::clone(&seen);
        let upstream = Upstream::raw(move |mut socket| {
            let kept = Rc::clone(&kept);
            async move {
                loop {
                    let asked = head(&mut socket).await;
                    if asked.is_empty() {
                        return;
                    }
                    kept.borrow_mut().push(asked);
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let proxy = Proxy::start(settings(&issuer, &upstream)).await;

        let smuggled = "GET /admin HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n";
        let answers = proxy
            .raw(format!(
                "GET / HTTP/1.1\r\nhost: app.test\r\n{ASKED}{}\r\n{smuggled}",
                bearer(&issuer)
            ))
            .await;

        assert_eq!(answers.status.to_string(), status, "{answer}");
        assert!(answers.text().contains("HTTP/1.1 401 "), "{answer}: {}", answers.text());
        assert_eq!(seen.borrow().len(), 1, "{answer}: {seen:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_agrees_unasked_is_broken() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, _) = echo("").await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 502);
}

#[tokio::test(flavor = "local")]
async fn over_http2_to_the_backend_there_is_no_websocket_to_ask_for() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    let proxy = Proxy::start(settings).await;
    // The backend of this test speaks HTTP/1.1, and takes the preface for nonsense.
    let (_socket, answer) = ask(&proxy, "/", &bearer(&issuer)).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test(flavor = "local")]
async fn a_token_among_the_protocols_counts_where_settings_say_so_and_goes_no_further() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let token = issuer.token();
    for (offered, chosen, told, answered) in [
        ("bearer, T", "", None, Some("bearer")),
        ("bearer, T, chat", "sec-websocket-protocol: chat\r\n", Some("chat"), Some("chat")),
        ("chat, bearer, T, json", "", Some("chat, json"), Some("bearer")),
    ] {
        let (upstream, heads) = echo(chosen).await;
        let mut settings = settings_with_public(&issuer, &upstream);
        settings.proxy.websocket_protocol_token = true;
        let proxy = Proxy::start(settings).await;
        for path in ["/", "/public/"] {
            let also = format!("sec-websocket-protocol: {}\r\n", offered.replace('T', &token));
            let (_socket, answer) = ask(&proxy, path, &also).await;

            let line = |head: &str| {
                let lines = head.lines().map(str::to_lowercase);
                let mut found = lines.filter_map(|line| {
                    line.strip_prefix("sec-websocket-protocol: ").map(str::to_owned)
                });
                (found.next(), found.count())
            };
            assert!(answer.starts_with("HTTP/1.1 101 "), "{offered}: {answer}");
            assert_eq!(line(&answer), (answered.map(str::to_owned), 0), "{offered} {path}");
            let asked = heads.borrow_mut().pop().unwrap();
            assert_eq!(line(&asked), (told.map(str::to_owned), 0), "{offered} {path}");
            assert!(!asked.contains(&token), "{offered} {path}");
        }
        assert!(!proxy.logged().contains(&token));
    }
}

#[tokio::test(flavor = "local")]
async fn two_tokens_are_two_callers() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, _) = echo("").await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.websocket_protocol_token = true;
    let proxy = Proxy::start(settings).await;
    let token = issuer.token();
    for (also, status) in [
        (format!("{}sec-websocket-protocol: bearer, {token}\r\n", bearer(&issuer)), "400"),
        (format!("sec-websocket-protocol: bearer, {token}, bearer, {token}\r\n"), "400"),
        ("sec-websocket-protocol: bearer\r\n".to_owned(), "401"),
        ("sec-websocket-protocol: bearer, junk\r\n".to_owned(), "401"),
    ] {
        let (_socket, answer) = ask(&proxy, "/", &also).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{also}: {answer}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_websocket_ends_its_lifetime_after_its_token_and_one_of_nobodys_does_not() {
    let now = UnixTime::from_secs(1_800_000_000);
    for (lifetime, seconds) in [
        (StreamLifetime::Token, Some(65.0)), // of a token that lives a minute, and the leeway
        (StreamLifetime::default(), Some(3665.0)),
        (StreamLifetime::Unlimited, None),
    ] {
        let clock = Clock::fixed(now);
        let issuer = Issuer::start(clock.clone()).unwrap();
        let (upstream, _) = echo("").await;
        let mut settings = settings_with_public(&issuer, &upstream);
        settings.proxy.stream_lifetime = lifetime;
        let proxy = Proxy::start_with(settings, clock).await;
        let (socket, answer) = ask(&proxy, "/", &bearer(&issuer)).await;
        let (open, public) = ask(&proxy, "/public/", "").await;
        assert!(answer.starts_with("HTTP/1.1 101 ") && public.starts_with("HTTP/1.1 101 "));
        let mut open = task::spawn_local(ends(open));
        let ended = r#"countersign_streams_ended_total{cause="lifetime"}"#;
        time::pause();

        let began = Instant::now();
        let end = time::timeout(Duration::from_secs(10_000), ends(socket)).await.ok();

        let took = end.map(|end| end.duration_since(began).as_secs_f64().ceil());
        assert_eq!(took, seconds, "{lifetime:?}");
        assert!(time::timeout(Duration::from_secs(10_000), &mut open).await.is_err());
        let count = f64::from(u8::from(seconds.is_some()));
        assert_eq!(proxy.metric(ended).await, count, "{lifetime:?}");
        time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn a_drain_lets_websockets_live_until_just_before_its_end_and_is_clean() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, _) = echo("").await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let (mut socket, _) = ask(&proxy, "/", &bearer(&issuer)).await;
    time::pause();

    let began = Instant::now();
    let drain = task::spawn_local(proxy.drain());
    time::sleep(Duration::from_secs(20)).await;
    socket.write_all(b"still here").await.unwrap();
    let mut echoed = [0; 10];
    socket.read_exact(&mut echoed).await.unwrap();
    let end = ends(socket).await.duration_since(began).as_secs();

    assert_eq!((&echoed, end), (b"still here", 23));
    assert_eq!(drain.await.unwrap(), Drained::Clean);
}

#[tokio::test(flavor = "local")]
async fn where_one_side_ends_the_other_may_say_its_last_word_and_no_more() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        socket.write_all(format!("{AGREED}\r\n").as_bytes()).await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
        socket.write_all(b"goodbye").await.unwrap();
        std::future::pending().await // and never closes
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let (mut socket, _) = ask(&proxy, "/", &bearer(&issuer)).await;
    time::pause();

    let began = Instant::now();
    socket.shutdown().await.unwrap();
    let mut last = Vec::new();
    let _ = socket.read_to_end(&mut last).await;

    assert_eq!((last.as_slice(), began.elapsed().as_secs()), (&b"goodbye"[..], 10));
}

#[tokio::test(flavor = "local")]
async fn a_socket_whose_client_takes_nothing_ends() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        socket.write_all(format!("{AGREED}\r\n").as_bytes()).await.unwrap();
        while socket.write_all(&[0; 64 * 1024]).await.is_ok() {}
    })
    .await;
    let mut settings = settings_with_public(&issuer, &upstream);
    settings.proxy.timeouts.body = Duration::from_secs(25);
    let proxy = Proxy::start(settings).await;
    let (_client, answer) = ask(&proxy, "/public/socket", "").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let clock = HandMoved::pause();

    let in_flight = async || proxy.metric("countersign_requests_in_flight").await;
    let took = clock.until("it is given up", async || in_flight().await == 0.0).await;

    assert!((24..=55).contains(&took), "{took}");
}
