//! DOS: how much of us a stranger can use up. Each attack has an end, and others are served meanwhile.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use countersign::app::App;
use countersign::clock::Clock;
use countersign::core::access::Access;
use countersign::core::route::{Case, PathPattern, Routes};
use countersign::proxy::Threads;
use countersign::telemetry::sink::Sink;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};

use super::ops::{built_in, locked};
use super::raw::{Ask, PLAIN, Scene, Socket};
use crate::forward::{pour, settled};
use crate::support::settings::{route, settings_for};
use crate::support::tls::{Authority, Mounted};
use crate::support::upstream::head;
use crate::support::{Client, Issuer, Proxy, Upstream, settings, until, until_every};

const MIB: usize = 1024 * 1024;

#[tokio::test(flavor = "local")]
async fn dos_01_a_head_that_drips_is_cut_off_and_nobody_waits_for_it() {
    const SLOW: usize = 200;
    let scene = Scene::start().await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut client = Socket::open(&scene.proxy.address).await;
        client.send(b"GET / HTTP/1.1\r\nHost: p\r\nX").await;
        slow.push(client);
    }
    let connections = "countersign_connections";
    let all = SLOW as f64;
    until("all are served", async || scene.proxy.metric(connections).await == all).await;
    time::pause();

    let began = Instant::now();
    for _ in 0..9 {
        let answer = scene.ask(&Ask::get("/api").bearer(&scene.token())).await;
        assert_eq!(answer.status, 200);
        for client in &mut slow {
            client.send(b"y").await;
        }
        time::sleep(Duration::from_secs(1)).await;
    }
    for client in &mut slow {
        assert_eq!(client.rest().await.iter().map(|it| it.status).collect::<Vec<_>>(), [408]);
    }
    assert_eq!(began.elapsed().as_secs_f64().round(), 10.0);
    until("all are gone", async || scene.proxy.metric(connections).await == 0.0).await;
}

#[tokio::test(flavor = "local")]
async fn dos_04_an_answer_goes_no_faster_than_it_is_read_and_who_reads_nothing_is_let_go() {
    const SIZE: usize = 1024 * MIB;
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(move |mut socket| {
        let count = Rc::clone(&count);
        async move {
            head(&mut socket).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
            pour(&mut socket, SIZE, &count).await;
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    socket.write_all(&Ask::get("/").bearer(&issuer.token()).h1()).await.unwrap();
    head(&mut socket).await;
    time::pause();

    settled(&written).await;
    for _ in 0..20 {
        socket.read_u8().await.unwrap();
        time::sleep(Duration::from_secs(1)).await;
    }
    let ahead = settled(&written).await;
    let stopped = Instant::now();
    until_every(Duration::from_secs(1), "it is let go", async || {
        proxy.metric("countersign_connections").await == 0.0
    })
    .await;

    assert!(ahead < SIZE / 16, "{ahead} bytes ahead, in the buffers of the system");
    assert!((260..=320).contains(&stopped.elapsed().as_secs()), "{:?}", stopped.elapsed());
    assert_eq!(proxy.metric("countersign_requests_in_flight").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn dos_05_a_head_is_as_long_as_it_may_be_or_refused() {
    let scene = Scene::start().await;
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    for (what, lines) in [
        ("101 headers", lines(100)),
        ("10,000 headers", lines(10_000)),
        ("33 KiB", format!("x: {}\r\n", "a".repeat(33 * 1024))),
        ("64 KiB", format!("x: {}\r\n", "a".repeat(64 * 1024))),
        ("64 KiB of a name", format!("{}: 1\r\n", "a".repeat(64 * 1024))),
        ("4 MiB without an end", format!("x: {}", "a".repeat(4 * MIB))),
    ] {
        let bytes = format!("GET /public HTTP/1.1\r\nHost: p\r\n{lines}\r\n");
        let answer = scene.refuses_bytes(bytes, 431).await;
        assert!(answer.body.len() < 1024, "{what}");
    }
    let near = format!("GET /public HTTP/1.1\r\nHost: p\r\nConnection: close\r\n{}\r\n", lines(98));
    assert_eq!(scene.send(near).await[0].status, 200);
}

#[tokio::test(flavor = "local")]
async fn dos_06_a_body_passes_through_or_is_refused_and_is_never_kept() {
    const SIZE: usize = 10 * 1024 * MIB;
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        std::future::pending().await
    })
    .await;
    let plain = settings(&issuer, &upstream);
    let mut limited = plain.clone();
    limited.proxy.limits.body = Some(MIB as u64);
    let (plain, limited) = (Proxy::start(plain).await, Proxy::start(limited).await);
    let ask = Ask::new("POST", "/").bearer(&issuer.token());

    for lines in [format!("Content-Length: {SIZE}"), format!("Content-Length: {}", MIB + 1)] {
        let mut client = Socket::open(&limited.address).await;
        client.send(&ask.clone().lines(&lines).h1()).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (413, Some("close")), "{lines}");
    }
    assert_eq!(upstream.connections(), 0);
    let mut socket = TcpStream::connect(&plain.address).await.unwrap();
    socket.write_all(&ask.line("Content-Length", &SIZE.to_string()).h1()).await.unwrap();
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    time::pause();
    let pouring = tokio::task::spawn_local(async move { pour(&mut socket, SIZE, &count).await });
    let ahead = settled(&written).await;
    pouring.abort();
    assert!((MIB..64 * MIB).contains(&ahead), "{ahead} bytes ahead, in the buffers of the system");
}

#[tokio::test(flavor = "local")]
async fn dos_07_a_bad_token_costs_at_most_a_signature_and_leaves_nothing() {
    let scene = Scene::alone(PLAIN).await;
    let token = scene.token();
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let fetches = scene.issuer.fetches();
    let mut client = Socket::open(&scene.proxy.address).await;
    for n in 0..300 {
        let fresh: String =
            signature.chars().rev().cycle().skip(n).take(signature.len() - 1).collect();
        let forged = format!("{rest}.{fresh}A");
        client.send(&Ask::get("/api").bearer(&forged).h1()).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // Refused by what a look at them tells, before there is any arithmetic.
    for claims in [
        json!({"$header": {"alg": "none"}}),
        json!({"$header": {"alg": "HS256"}}),
        json!({"$header": {"cat": "cl_x"}}),
        json!({"iss": "https://evil.test"}),
    ] {
        let answer = scene.refuses(&Ask::get("/api").bearer(&scene.mint(claims)), 401).await;
        assert_ne!(answer.reason(), "token-invalid-signature");
    }
    assert_eq!(scene.issuer.fetches() - fetches, 1, "a signature of a key that may be new: once");
    assert_eq!(scene.proxy.metric("countersign_token_cache_entries").await, 0.0);
    assert_eq!(scene.ask(&Ask::get("/api").bearer(&token)).await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn dos_09_no_request_makes_a_series() {
    let scene = Scene::start().await;
    let run = async |n: u32| {
        let unique =
            |ask: Ask| ask.host(&format!("h{n}.test")).line("user-agent", &format!("a{n}"));
        scene.ask(&unique(Ask::new(&format!("M{n}"), &format!("/p{n}")))).await;
        scene.ask(&unique(Ask::get(&format!("/public/{n}?q={n}")))).await;
        scene.ask(&unique(Ask::get(&format!("//{n}")))).await;
        for claims in [
            json!({"sub": format!("user_{n}"), "sid": format!("sess_{n}")}),
            json!({"iss": format!("https://{n}.test")}),
            json!({"azp": format!("https://{n}.test")}),
            json!({"$header": {"kid": format!("kid{n}")}}),
            json!({"$header": {"alg": format!("alg{n}")}}),
        ] {
            scene.ask(&unique(Ask::get("/api")).bearer(&scene.mint(claims))).await;
        }
    };
    let series = async || {
        let text = scene.proxy.admin("/metrics").await.text();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    // The action for an unknown key differs between the first and those after it.
    run(0).await;
    run(1).await;
    let before = series().await;
    for n in 2..30 {
        run(n).await;
    }
    assert_eq!(series().await, before);
}

/// A reader of the log that takes nothing until it is let.
#[derive(Clone, Default)]
struct Stuck(Arc<(Mutex<Taken>, Condvar)>);

/// Whether it takes anything by now, and what it has taken.
type Taken = (bool, Vec<u8>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (state, open) = &*self.0;
        let mut state = open.wait_while(state.lock().unwrap(), |state| !state.0).unwrap();
        state.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stuck {
    fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().1.clone()).unwrap()
    }
}

#[tokio::test(flavor = "local")]
async fn dos_10_a_log_that_nobody_reads_slows_nobody_down_and_says_what_it_dropped() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let log = Stuck::default();
    let sink = Sink::start(log.clone()).unwrap();
    let settings = settings(&issuer, &upstream);
    let app = App::start(settings, Clock::System, sink.clone(), Threads::Here).await.unwrap();
    let address = app.listening[0].to_string();

    // As many lines as the queue holds and the writer has at hand, and more.
    let line = format!("{}\n", "x".repeat(100));
    for _ in 0..10_000 {
        sink.write(line.clone().into_bytes());
    }
    let mut client = Client::to(&address).open().await.unwrap();
    for _ in 0..50 {
        assert_eq!(client.get("/").await.status, 401);
    }
    log.open();
    until("the rest is written", async || log.text().contains("log lines dropped")).await;

    let text = log.text();
    let dropped = text.split("\"count\":").nth(1).unwrap().split('}').next().unwrap();
    assert!(dropped.parse::<u32>().unwrap() >= 50, "{dropped}");
    drop(app);
}

/// No expression of anybody's is run: patterns are segments and stars, compared once from left to
/// right, and there is no rule on claims that is more than a comparison.
#[tokio::test(flavor = "local")]
async fn dos_11_no_pattern_is_an_expression() {
    let built_in = built_in();
    assert!(built_in.contains("hyper") && built_in.contains("httparse"), "{built_in:?}");
    for engine in ["regex", "regex-lite", "regex-automata", "fancy-regex", "pcre2", "onig"] {
        assert!(!built_in.contains(engine), "{engine}");
    }
    let scene = Scene::with(PLAIN, |it| {
        it.proxy.routes = Routes::new(vec![route("/(a+)+$/**", Access::Public)], Case::Sensitive);
    })
    .await;
    let long = format!("/{}!", "a".repeat(16 * 1024));
    scene.refuses(&Ask::get(&long), 401).await;
    assert_eq!(scene.ask(&Ask::get("/(a+)+$/x")).await.status, 200);
    for pattern in ["/a*", "/**/a", "/a/***", "/*a*a*a*a*b"] {
        assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
    }
}

#[tokio::test(flavor = "local")]
async fn dos_14_handshakes_that_come_to_nothing_leave_nothing() {
    assert!(locked("rustls").iter().all(|version| *version >= (0, 23, 18)), "RUSTSEC-2024-0399");
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let scene = Scene::with(PLAIN, |it| it.tls = crate::tls::shows(&files)).await;
    for n in 0..60_u8 {
        let mut client = Socket::open(&scene.proxy.address).await;
        match n % 4 {
            0 => client.send(b"").await,
            1 => client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await,
            2 => client.send(&[n; 300]).await,
            _ => drop(
                crate::support::tls::connect(&scene.proxy.address, &authority.client(None)).await,
            ),
        }
    }
    let secure = Client::to(&scene.proxy.address).tls(&authority.client(None));
    assert_eq!(secure.get("/public").await.status, 200);
    until("all are gone", async || scene.proxy.metric("countersign_connections").await == 0.0)
        .await;
    assert_eq!(scene.proxy.metric("countersign_panics_total").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn dos_16_a_stream_without_an_end_does_not_keep_the_process() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(answer).await.unwrap();
        while socket.write_all(b"6\r\ndata\n\n\r\n").await.is_ok() {
            time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    socket.write_all(&Ask::get("/").bearer(&issuer.token()).h1()).await.unwrap();
    head(&mut socket).await;
    time::pause();

    let began = Instant::now();
    let reading = tokio::task::spawn_local(async move {
        let _ = socket.read_to_end(&mut Vec::new()).await; // a reset is an end too
    });
    let drained = proxy.drain().await;
    let took = began.elapsed().as_secs();
    assert!((24..=25).contains(&took), "{took} s: {drained:?}");
    reading.await.unwrap();
}

/// Every count that grows with what strangers send is back where it was. How much memory that is over
/// millions of requests is measured outside of these tests.
#[tokio::test(flavor = "local")]
async fn dos_17_nothing_is_left_of_what_is_over() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_for(&issuer.origin(), &upstream.address);
    settings.proxy.routes = Routes::new(vec![route("/public/**", Access::Public)], Case::Sensitive);
    let proxy = Proxy::start(settings).await;
    let mut after = Vec::new();
    for round in 0..3 {
        for n in 0..40 {
            let unknown = issuer.mint(json!({"$header": {"kid": format!("kid{round}{n}")}}));
            let bad = proxy.client().bearer(&unknown).header("host", &format!("h{round}{n}"));
            assert_eq!(bad.get(&format!("/x{round}{n}")).await.status, 401);
            let open = proxy.client().send(Method::POST, "/public/x", &"b".repeat(n * 100)).await;
            assert_eq!(open.status, 200);
            drop(TcpStream::connect(&proxy.address).await.unwrap());
        }
        assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
        for name in ["countersign_connections", "countersign_requests_in_flight"] {
            until(name, async || proxy.metric(name).await == 0.0).await;
        }
        let idle = proxy.metric(r#"countersign_upstream_connections{state="idle"}"#).await;
        let entries = proxy.metric("countersign_token_cache_entries").await;
        let lines = proxy.admin("/metrics").await.text().lines().count();
        after.push((idle, entries, lines));
    }
    assert!(
        after.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].2 == pair[1].2),
        "{after:?}"
    );
    assert!(after.iter().all(|(_, entries, _)| *entries <= 3.0), "good tokens alone: {after:?}");
}
