//! How much of everything, and for how long.

use std::time::Duration;

use countersign::clock::Clock;
use countersign::config::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};

use crate::support::upstream::head;
use crate::support::{Issuer, Proxy, Upstream, client, settings, until};

/// An issuer, a backend that answers `ok`, and a proxy whose settings were changed by `change`.
async fn with(change: impl Fn(&mut Settings)) -> (Issuer, Upstream, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    change(&mut settings);
    let proxy = Proxy::start(settings).await;
    (issuer, upstream, proxy)
}

/// A request to be sent as it is, with a good token and further header lines.
fn request(issuer: &Issuer, line: &str, headers: &str) -> String {
    let token = issuer.token();
    format!("{line} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{headers}\r\n")
}

/// Reads until the other side closes, and returns how long that took.
async fn closes(mut socket: TcpStream) -> Duration {
    let since = Instant::now();
    let _ = socket.read_to_end(&mut Vec::new()).await; // a reset is a close too
    since.elapsed()
}

fn refused(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "local")]
async fn a_head_is_as_long_as_it_may_be_or_refused() {
    let (issuer, upstream, proxy) = with(|_| {}).await;
    let lines = |count: usize| -> String {
        (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>()
            + "connection: close\r\n"
    };
    let long = |bytes: usize| format!("connection: close\r\nx-long: {}\r\n", "a".repeat(bytes));
    let token = |bytes: usize| {
        format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
            "a".repeat(bytes)
        )
    };
    let target = |bytes: usize| format!("GET /{}", "a".repeat(bytes));

    for (what, bytes, status) in [
        ("100 headers", request(&issuer, "GET /", &lines(97)), 200),
        ("101 headers", request(&issuer, "GET /", &lines(98)), 431),
        ("10,000 headers", request(&issuer, "GET /", &lines(10_000)), 431),
        ("30 KiB", request(&issuer, "GET /", &long(30 * 1024)), 200),
        ("33 KiB", request(&issuer, "GET /", &long(33 * 1024)), 431),
        ("100 KiB", request(&issuer, "GET /", &long(100 * 1024)), 431),
        ("a token of 17 KiB", token(17 * 1024), 401),
        ("a token of 1 MiB", token(1024 * 1024), 431),
        ("a target of 8,000 bytes", request(&issuer, &target(8_000), "connection: close\r\n"), 200),
        ("a target of 40,000 bytes", request(&issuer, &target(40_000), ""), 431),
    ] {
        let before = upstream.seen().len();
        let answer = client::raw(&proxy.address, bytes.as_bytes()).await;
        assert_eq!(refused(&answer), status, "{what}: {answer}");
        assert_eq!(upstream.seen().len() - before, usize::from(status == 200), "{what}");
    }
    let too_large = r#"countersign_requests_total{carrier="none",decision="rejected",reason="head-too-large",route="none"}"#;
    assert_eq!(proxy.metric(too_large).await, 6.0);
}

#[tokio::test(flavor = "local")]
async fn a_target_that_no_head_could_hold_is_a_414() {
    let (issuer, upstream, proxy) = with(|it| it.proxy.limits.head = 1024 * 1024).await;

    let target = format!("GET /{}", "a".repeat(70_000));
    let asked = request(&issuer, &target, "connection: close\r\n");
    let answer = client::raw(&proxy.address, asked.as_bytes()).await;

    assert_eq!(refused(&answer), 414, "{answer}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn limits_of_the_head_can_be_moved() {
    let (issuer, _upstream, proxy) = with(|it| {
        it.proxy.limits.headers = 4;
        it.proxy.limits.head = 8 * 1024;
        it.proxy.limits.token = 100;
    })
    .await;
    let close = "connection: close\r\n";

    for (what, bytes, status) in [
        ("a token", request(&issuer, "GET /", close), 401),
        ("four headers", format!("GET / HTTP/1.1\r\nhost: a\r\nb: 1\r\nc: 1\r\n{close}\r\n"), 401),
        ("five", format!("GET / HTTP/1.1\r\nhost: a\r\nb: 1\r\nc: 1\r\nd: 1\r\n{close}\r\n"), 431),
        ("9 KiB", format!("GET /{} HTTP/1.1\r\nhost: a\r\n{close}\r\n", "a".repeat(9_000)), 431),
    ] {
        let answer = client::raw(&proxy.address, bytes.as_bytes()).await;
        assert_eq!(refused(&answer), status, "{what}: {answer}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_over_the_limit_is_a_413() {
    let (issuer, upstream, proxy) = with(|it| it.proxy.limits.body = Some(10)).await;
    let (length, chunked) = ("content-length: ", "transfer-encoding: chunked\r\n");
    let close = "connection: close\r\n";

    for (headers, body, status) in [
        (format!("{length}10\r\n{close}"), "0123456789", 200),
        (format!("{length}11\r\n{close}"), "0123456789a", 413),
        (format!("{length}9223372036854775807\r\n"), "", 413),
        (format!("{chunked}{close}"), "a\r\n0123456789\r\n0\r\n\r\n", 200),
        (chunked.to_owned(), "a\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n", 413),
    ] {
        let before = upstream.seen().iter().filter(|seen| seen.body.len() == 10).count();
        let asked = request(&issuer, "POST /", &headers) + body;
        let answer = client::raw(&proxy.address, asked.as_bytes()).await;
        assert_eq!(refused(&answer), status, "{headers}: {answer}");
        assert_eq!(answer.contains("body-too-large"), status == 413, "{answer}");
        let whole = upstream.seen().iter().filter(|seen| seen.body.len() == 10).count();
        assert!(status == 200 || whole - before <= 1, "{headers}");
    }
    assert!(upstream.seen().iter().all(|seen| seen.body.len() <= 10));
}

#[tokio::test(flavor = "local")]
async fn a_request_beyond_those_under_way_is_told_to_come_back() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        std::future::pending().await
    })
    .await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.limits.in_flight = Some(2);
    let proxy = Proxy::start(settings).await;
    let in_flight = "countersign_requests_in_flight";

    let mut two = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        socket.write_all(request(&issuer, "GET /", "").as_bytes()).await.unwrap();
        two.push(socket);
    }
    until("two are under way", async || proxy.metric(in_flight).await == 2.0).await;
    let third = proxy.get("/", &issuer.token()).await;
    drop(two);
    until("none is under way", async || proxy.metric(in_flight).await == 0.0).await;

    assert_eq!((third.status, third.reason().as_str()), (503, "overloaded"));
    assert_eq!(third.header("retry-after"), Some("1"));
    assert_eq!(proxy.metric("countersign_overload_total").await, 1.0);
    let active = r#"countersign_upstream_connections{state="active"}"#;
    assert_eq!(proxy.metric(active).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_too_many_waits_for_another_to_close() {
    let (issuer, _upstream, proxy) = with(|it| it.proxy.limits.connections = Some(2)).await;
    let open = async || proxy.client().bearer(&issuer.token()).open().await.unwrap();
    let (mut first, mut second, mut third) = (open().await, open().await, open().await);
    assert_eq!((first.get("/").await.status, second.get("/").await.status), (200, 200));

    let waiting = tokio::task::spawn_local(async move { third.get("/").await.status });
    until("two are served", async || proxy.metric("countersign_connections").await == 2.0).await;
    assert_eq!((first.get("/").await.status, waiting.is_finished()), (200, false));
    drop(second);

    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_says_nothing_is_closed_after_ten_seconds() {
    let (_issuer, _upstream, proxy) = with(|_| {}).await;
    let silent = TcpStream::connect(&proxy.address).await.unwrap();
    let mut partial = TcpStream::connect(&proxy.address).await.unwrap();
    partial.write_all(b"GET / HT").await.unwrap();
    until("both are served", async || proxy.metric("countersign_connections").await == 2.0).await;
    time::pause();

    let (silent, partial) = tokio::join!(closes(silent), closes(partial));

    let seconds = [silent, partial].map(|took| took.as_secs_f64().round());
    assert_eq!(seconds, [10.0, 10.0]);
    let timeouts = r#"countersign_requests_total{carrier="none",decision="rejected",reason="request-timeout",route="none"}"#;
    assert_eq!(proxy.metric(timeouts).await, 2.0);
    assert_eq!(proxy.metric("countersign_connections").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn a_head_that_drips_is_closed_after_ten_seconds_first_or_later() {
    let (issuer, _upstream, proxy) = with(|_| {}).await;
    for first in ["", &request(&issuer, "GET /", "")] {
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        if !first.is_empty() {
            socket.write_all(first.as_bytes()).await.unwrap();
            head(&mut socket).await;
            socket.read_exact(&mut [0; 2]).await.unwrap();
        }
        time::pause();
        if !first.is_empty() {
            time::sleep(Duration::from_secs(33)).await;
        }

        let since = Instant::now();
        let (mut reader, mut writer) = socket.into_split();
        let dripping = tokio::task::spawn_local(async move {
            for byte in b"GET / HTTP/1.1\r\nhost: a\r\n" {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                time::sleep(Duration::from_secs(5)).await;
            }
        });
        let _ = reader.read_to_end(&mut Vec::new()).await;
        let took = since.elapsed();
        dripping.abort();
        time::resume();

        assert_eq!(took.as_secs(), 10, "{first:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_kept_connection_may_be_silent_for_75_seconds() {
    let (issuer, _upstream, proxy) = with(|_| {}).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    socket.write_all(request(&issuer, "GET /", "").as_bytes()).await.unwrap();
    head(&mut socket).await;
    socket.read_exact(&mut [0; 2]).await.unwrap();
    time::pause();

    assert_eq!(closes(socket).await.as_secs_f64().round(), 75.0);
    assert_eq!(proxy.metric("countersign_connections").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn a_kept_connection_serves_after_a_minute_of_silence() {
    let (issuer, _upstream, proxy) = with(|_| {}).await;
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.status, 200);
    time::pause();

    time::sleep(Duration::from_secs(74)).await;
    let answer = kept.get("/").await;

    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "local")]
async fn an_idle_connection_to_the_backend_is_closed_after_four_seconds() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let kept = std::rc::Rc::<std::cell::Cell<Option<Duration>>>::default();
    let tell = std::rc::Rc::clone(&kept);
    let upstream = Upstream::raw(move |mut socket| {
        let tell = std::rc::Rc::clone(&tell);
        async move {
            head(&mut socket).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            socket.write_all(answer).await.unwrap();
            tell.set(Some(closes(socket).await));
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let idle = r#"countersign_upstream_connections{state="idle"}"#;
    time::pause();

    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
    assert_eq!(proxy.metric(idle).await, 1.0);
    until("the connection is closed", async || kept.get().is_some()).await;

    assert_eq!(kept.get().unwrap().as_secs(), 4);
    assert_eq!(proxy.metric(idle).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn every_count_is_back_at_nothing_when_the_load_is_over() {
    let (issuer, _upstream, proxy) = with(|_| {}).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (client, token) = (proxy.client(), issuer.token());
        let address = proxy.address.clone();
        let asked = request(&issuer, "POST /", "content-length: 100000\r\n");
        tasks.spawn_local(async move {
            match number % 4 {
                0 => drop(client.bearer(&token).get("/").await),
                1 => drop(client.get("/").await),
                2 => drop(client.bearer(&token).post("/", "body").await),
                // Leaves in the middle of its own request.
                _ => {
                    let mut socket = TcpStream::connect(address).await.unwrap();
                    socket.write_all(asked.as_bytes()).await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;

    for name in [
        "countersign_connections",
        "countersign_requests_in_flight",
        r#"countersign_upstream_connections{state="active"}"#,
        r#"countersign_upstream_connections{state="idle"}"#,
    ] {
        until(name, async || proxy.metric(name).await == 0.0).await;
    }
    assert_eq!(proxy.metric("countersign_panics_total").await, 0.0);
}
