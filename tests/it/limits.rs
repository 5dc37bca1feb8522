//! How much of everything, and for how long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::descriptors;
use countersign::proxy::{Limits, Room};
use countersign::tls::ClientTlsSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task;
use tokio::time::{self, Instant};

use crate::support::tls::{Authority, Mounted};
use crate::support::upstream::head;
use crate::support::{Answer, HandMoved, Issuer, Proxy, Upstream, client, settings, until};

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
async fn the_limits_of_head_and_token_are_to_the_byte() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let good = issuer.token();
    let asked = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {good}\r\n\r\n"
    );
    let filled = |bytes: usize| {
        let line = "\r\nx-fill: ";
        let fill = "a".repeat(bytes - asked.len() - line.len());
        asked.replacen("\r\n", &format!("{line}{fill}\r\n"), 1)
    };
    let usual = Limits::default();

    for (what, limits, bytes, status) in [
        ("a head of 32 KiB", usual, filled(usual.head), 200),
        ("and a byte", usual, filled(usual.head + 1), 431),
        ("a token as long", Limits { token: good.len(), ..usual }, asked.clone(), 200),
        ("a byte less", Limits { token: good.len() - 1, ..usual }, asked.clone(), 401),
    ] {
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.limits = limits;
        let proxy = Proxy::start(settings).await;
        let answer = client::raw(&proxy.address, bytes.as_bytes()).await;
        assert_eq!(refused(&answer), status, "{what}: {answer}");
    }
}

/// A backend that answers a request each time it is told to, and the paths it has got so far.
async fn patient() -> (Upstream, Rc<Notify>, Rc<RefCell<Vec<String>>>) {
    let (go, got) = (Rc::new(Notify::new()), Rc::<RefCell<Vec<String>>>::default());
    let told = (Rc::clone(&go), Rc::clone(&got));
    let upstream = Upstream::raw(move |mut socket| {
        let (go, got) = told.clone();
        async move {
            loop {
                let head = head(&mut socket).await;
                let Some(path) = head.split(' ').nth(1) else { return };
                got.borrow_mut().push(path.to_owned());
                go.notified().await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                let _ = socket.write_all(answer).await; // the client may have left
            }
        }
    })
    .await;
    (upstream, go, got)
}

/// As much of the clock, which is paused, as everything that is ready takes.
async fn a_moment() {
    time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "local")]
async fn a_request_too_many_waits_a_second_and_is_told_to_come_back() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, _go, got) = patient().await;
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
    until("two are under way", async || got.borrow().len() == 2).await;
    time::pause();
    let since = Instant::now();
    let third = proxy.get("/", &issuer.token()).await;
    let waited = since.elapsed();
    assert_eq!(proxy.metric(in_flight).await, 2.0);
    drop(two);
    until("none is under way", async || proxy.metric(in_flight).await == 0.0).await;

    assert_eq!((third.status, third.reason().as_str()), (503, "overloaded"));
    assert_eq!((third.header("retry-after"), waited.as_secs()), (Some("1"), 1));
    assert_eq!(proxy.metric("countersign_overload_total").await, 1.0);
    let active = r#"countersign_upstream_connections{state="active"}"#;
    assert_eq!(proxy.metric(active).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn as_many_requests_wait_as_there_are_places_and_in_order() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, go, got) = patient().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.limits.in_flight = Some(2);
    let proxy = Proxy::start(settings).await;
    let ask = |path: &'static str| {
        let client = proxy.client().bearer(&issuer.token());
        task::spawn_local(async move { client.get(path).await.status })
    };
    let (first, second) = (ask("/1"), ask("/2"));
    until("two are under way", async || got.borrow().len() == 2).await;
    time::pause();

    let third = ask("/3");
    a_moment().await;
    let leaves = ask("/leaves");
    a_moment().await;
    let since = Instant::now();
    let refused = proxy.get("/refused", &issuer.token()).await;
    let waited = since.elapsed();
    leaves.abort();
    a_moment().await;
    let fourth = ask("/4");
    a_moment().await;
    assert_eq!(got.borrow().len(), 2);
    for number in 3..=4 {
        go.notify_one();
        until("another is under way", async || got.borrow().len() == number).await;
    }
    assert_eq!(got.borrow()[2..], ["/3", "/4"]);
    for _ in 0..2 {
        go.notify_one();
        a_moment().await;
    }

    assert_eq!((refused.status, refused.reason().as_str()), (503, "overloaded"));
    assert!(waited < Duration::from_millis(100), "at once, not after {waited:?}");
    for served in [first, second, third, fourth] {
        assert_eq!(served.await.unwrap(), 200);
    }
    assert_eq!(proxy.metric("countersign_overload_total").await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_too_many_waits_for_another_to_close() {
    let (issuer, _upstream, proxy) = with(|it| it.proxy.limits.connections = Some(2)).await;
    let open = async || proxy.client().bearer(&issuer.token()).open().await.unwrap();
    let (mut first, mut second, mut third) = (open().await, open().await, open().await);
    assert_eq!((first.get("/").await.status, second.get("/").await.status), (200, 200));
    time::pause();

    let waiting = task::spawn_local(async move { third.get("/").await.status });
    a_moment().await;
    assert_eq!(proxy.metric("countersign_connections").await, 2.0);
    assert_eq!(proxy.metric("countersign_connections_limit").await, 2.0);
    assert_eq!((first.get("/").await.status, waiting.is_finished()), (200, false));
    drop(second);

    assert_eq!(waiting.await.unwrap(), 200);
    assert_eq!(proxy.metric("countersign_overload_total").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_waited_a_second_is_told_to_come_back() {
    let (issuer, upstream, proxy) = with(|it| it.proxy.limits.connections = Some(1)).await;
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.status, 200);
    time::pause();

    let since = Instant::now();
    let asks = task::spawn_local({
        let (address, asked) = (proxy.address.clone(), request(&issuer, "GET /", ""));
        async move { Answer::parse(&client::raw(&address, asked.as_bytes()).await) }
    });
    a_moment().await;
    let mut silent = TcpStream::connect(&proxy.address).await.unwrap();
    let (answer, waited) = (asks.await.unwrap(), since.elapsed());
    let mut told = Vec::new();
    silent.read_to_end(&mut told).await.unwrap();

    assert_eq!((answer.status, answer.body.len(), waited.as_secs()), (503, 0, 1));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(told.is_empty(), "who asked nothing is told nothing: {told:?}");
    assert_eq!(since.elapsed().as_secs(), 2, "and has another second to ask");
    assert_eq!((kept.get("/").await.status, upstream.seen().len()), (200, 2));
    let refused = r#"countersign_requests_total{carrier="none",decision="failed",reason="overloaded",route="none"}"#;
    assert_eq!(proxy.metric(refused).await, 1.0);
    assert_eq!(proxy.metric("countersign_overload_total").await, 2.0);
}

#[tokio::test(flavor = "local")]
async fn the_answer_to_a_connection_too_many_is_not_lost_to_what_is_still_sent() {
    let (issuer, _upstream, proxy) = with(|it| it.proxy.limits.connections = Some(1)).await;
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.status, 200);
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    time::pause();

    let head = request(&issuer, "POST /", "content-length: 100000\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    time::sleep(Duration::from_millis(1500)).await; // it is answered by now
    socket.write_all(&[b'a'; 100_000]).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();

    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
}

#[tokio::test(flavor = "local")]
async fn a_connection_too_many_is_closed_where_only_tls_is_spoken() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let (_issuer, _upstream, proxy) = with(|it| {
        it.proxy.limits.connections = Some(1);
        it.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca: None, http2: true });
    })
    .await;
    let _held = TcpStream::connect(&proxy.address).await.unwrap();
    until("it has a place", async || proxy.metric("countersign_connections").await == 1.0).await;
    time::pause();

    let since = Instant::now();
    let mut second = TcpStream::connect(&proxy.address).await.unwrap();
    let mut told = Vec::new();
    second.read_to_end(&mut told).await.unwrap();

    assert_eq!((told.len(), since.elapsed().as_secs()), (0, 1));
    assert_eq!(proxy.metric("countersign_overload_total").await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn a_flood_takes_nothing_from_those_that_wait() {
    let (issuer, _upstream, proxy) = with(|it| it.proxy.limits.connections = Some(1)).await;
    let limits = Limits { connections: Some(1), ..Limits::default() };
    let Room { waiting, .. } = Room::new(&limits, 1, descriptors::limit());
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.status, 200);
    time::pause();
    let connect = async || TcpStream::connect(&proxy.address).await.unwrap();

    let first = proxy.client().bearer(&issuer.token());
    let first = task::spawn_local(async move { first.get("/").await.status });
    a_moment().await;
    let mut flood = Vec::new();
    for _ in 1..waiting {
        flood.push(connect().await);
    }
    a_moment().await;
    let since = Instant::now();
    let told =
        Answer::parse(&client::raw(&proxy.address, request(&issuer, "GET /", "").as_bytes()).await);
    for _ in 0..waiting {
        flood.push(connect().await);
    }
    a_moment().await;
    let mut beyond = Vec::new();
    let _ = connect().await.read_to_end(&mut beyond).await; // a reset is a close too
    let took = since.elapsed();
    drop(kept);

    assert_eq!(first.await.unwrap(), 200, "it came before the flood");
    assert_eq!((told.status, beyond.len()), (503, 0));
    assert!(took < Duration::from_millis(500), "at once, not after {took:?}");
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
        let dripping = task::spawn_local(async move {
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
async fn a_head_that_began_behind_another_request_has_ten_seconds_too() {
    let (issuer, _upstream, proxy) = with(|_| {}).await;
    let clock = HandMoved::pause();
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let both = request(&issuer, "GET /", "") + "GET / HT";
    socket.write_all(both.as_bytes()).await.unwrap();
    head(&mut socket).await;
    socket.read_exact(&mut [0; 2]).await.unwrap();

    let ends = task::spawn_local(async move {
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer).await;
        answer
    });
    for (millis, is_over) in [(1_500, false), (8_300, false), (500, true)] {
        clock.by(Duration::from_millis(millis)).await;
        assert_eq!(ends.is_finished(), is_over, "after {millis} ms more");
    }

    assert_eq!(refused(&ends.await.unwrap()), 408);
}

#[tokio::test(flavor = "local")]
async fn a_head_has_its_ten_seconds_also_where_silence_has_three() {
    let (issuer, _upstream, proxy) =
        with(|it| it.proxy.timeouts.idle = Duration::from_secs(3)).await;
    let served = request(&issuer, "GET /", "");
    for (what, before, rest) in [
        ("the first", None, 0),
        ("one at once after an answer", Some(&served), 0),
        ("one after a rest", Some(&served), 2),
    ] {
        let clock = HandMoved::pause();
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        if let Some(served) = before {
            socket.write_all(served.as_bytes()).await.unwrap();
            head(&mut socket).await;
            socket.read_exact(&mut [0; 2]).await.unwrap();
        }
        clock.by(Duration::from_secs(rest)).await;
        socket.write_all(b"GET / HT").await.unwrap();
        let ends = task::spawn_local(async move {
            let mut answer = String::new();
            let _ = socket.read_to_string(&mut answer).await;
            answer
        });
        for (millis, is_over) in [(0, false), (9_900, false), (200, true)] {
            clock.by(Duration::from_millis(millis)).await;
            assert_eq!(ends.is_finished(), is_over, "{what}: after {millis} ms more");
        }
        assert_eq!(refused(&ends.await.unwrap()), 408, "{what}");
        time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn what_comes_after_a_silence_is_read_to_the_byte() {
    let (issuer, upstream, proxy) = with(|_| {}).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let get = |path: &str| request(&issuer, &format!("GET {path}"), "");
    let post = |path: &str, length: usize| {
        let head =
            request(&issuer, &format!("POST {path}"), &format!("content-length: {length}\r\n"));
        head + &"b".repeat(length)
    };
    let long = format!("x-long: {}\r\n", "a".repeat(10_000));
    let clock = HandMoved::pause();
    for (what, sent, answers) in [
        ("a request", get("/first"), 1),
        ("another", get("/second"), 1),
        ("a body", post("/body", 5_000), 1),
        ("a head that is longer than what is looked at", request(&issuer, "GET /long", &long), 1),
        ("several at once", get("/a") + &post("/b", 3) + &get("/c"), 3),
    ] {
        socket.write_all(sent.as_bytes()).await.unwrap();
        for _ in 0..answers {
            let answer = head(&mut socket).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
            socket.read_exact(&mut [0; 2]).await.unwrap();
        }
        clock.by(Duration::from_secs(12)).await;
        clock.by(Duration::from_secs(12)).await;
    }

    let seen: Vec<_> = upstream.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(seen, ["/first", "/second", "/body", "/long", "/a", "/b", "/c"]);
}

#[tokio::test(flavor = "local")]
async fn an_idle_connection_to_the_backend_is_closed_after_four_seconds() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let kept = Rc::<Cell<Option<Duration>>>::default();
    let tell = Rc::clone(&kept);
    let upstream = Upstream::raw(move |mut socket| {
        let tell = Rc::clone(&tell);
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
    let mut tasks = task::JoinSet::new();
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
