//! H2: what one connection of HTTP/2 can ask of us, and what it can hide.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::proxy::{Drained, UpstreamProtocol};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task;
use tokio::time::{self, Instant};

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, GOAWAY, H2,
    HEADERS, Outcome, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, literal, setting,
};
use super::raw::{Ask, Lane, Scene, Wire};
use super::recorder::LocalExec;
use crate::support::key_server::{KeyServer, Reply, published_by};
use crate::support::upstream::head;
use crate::support::{Issuer, Proxy, Upstream, settings, until};

const OVER_H2: Lane = Lane { client: Wire::H2c, backend: Wire::H1 };

/// Holds that whoever else comes is served.
async fn others_are_served(scene: &Scene) {
    assert_eq!(scene.ask(&Ask::get("/public/other")).await.status, 200);
    let ask = Ask::get("/api").bearer(&scene.token());
    assert_eq!(scene.ask(&ask).await.status, 200);
    assert_eq!(scene.proxy.metric("countersign_panics_total").await, 0.0);
}

/// Reads until the proxy has closed, and returns what the last GOAWAY said.
async fn end(h2: &mut H2) -> Option<u32> {
    while h2.frame().await.is_some() {}
    h2.gone
}

#[tokio::test(flavor = "local")]
async fn h2_01_streams_that_are_reset_as_soon_as_they_are_opened_end_their_connection() {
    let scene = Scene::alone(OVER_H2).await;
    let fetches = scene.issuer.fetches();
    for ask in [Ask::get("/api").bearer(&scene.token()), Ask::get("/api"), Ask::get("/public")] {
        let mut h2 = H2::open(&scene.proxy.address).await;
        let block = block(&ask);
        let mut sent = 0;
        while sent < 20_000 {
            let mut burst = Vec::new();
            for _ in 0..100 {
                let stream = h2.stream();
                burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
                burst.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            }
            sent += 100;
            if !h2.send(&burst).await {
                break;
            }
        }
        assert_eq!(end(&mut h2).await, Some(ENHANCE_YOUR_CALM), "{ask:?}");
        assert!(scene.backend.connections() < 300, "{}", scene.backend.connections());
    }
    assert_eq!(scene.issuer.fetches(), fetches, "no key was asked for");
    scene.backend.odd();
    others_are_served(&scene).await;
}

#[tokio::test(flavor = "local")]
async fn h2_02_streams_that_make_us_reset_them_end_their_connection() {
    let scene = Scene::on(OVER_H2).await;
    type Attack = fn(u32) -> Vec<u8>;
    let zero: Attack = |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
    let overflow: Attack = |stream| {
        let most = frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
        [most.clone(), most].concat()
    };
    let itself: Attack =
        |stream| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat());
    for (what, attack) in [("zero", zero), ("overflow", overflow), ("itself", itself)] {
        let mut h2 = H2::open(&scene.proxy.address).await;
        let block = block(&Ask::new("POST", "/api").bearer(&scene.token()));
        for _ in 0..100 {
            let mut burst = Vec::new();
            for _ in 0..100 {
                let stream = h2.stream();
                burst.extend(frame(HEADERS, END_HEADERS, stream, &block));
                burst.extend(attack(stream));
            }
            if !h2.send(&burst).await {
                break;
            }
        }
        let said = end(&mut h2).await;
        assert!(said.is_some_and(|code| code != 0), "{what}: {said:?}");
    }
    scene.backend.odd();
    others_are_served(&scene).await;
}

/// A block that enters one field into the table and names it again and again, a byte each time.
fn bomb(entry: &[u8], count: usize) -> Vec<u8> {
    let mut block = vec![0x82, 0x84, 0x86];
    block.extend(literal(":authority", "a.test"));
    block.extend(entry);
    block.extend(vec![0xbe; count]);
    block
}

#[tokio::test(flavor = "local")]
async fn h2_04_one_byte_a_field_buys_no_memory() {
    let scene = Scene::on(OVER_H2).await;
    let (named, cookie) = ([0x40, 1, b'a', 0], [0x60, 0]);
    for (what, entry) in [("a field", &named[..]), ("a crumb of a cookie", &cookie)] {
        let mut h2 = H2::bare(&scene.proxy.address).await;
        h2.send(PREFACE).await;
        h2.send(&frame(SETTINGS, 0, 0, &setting(4, 0))).await; // no window: no answer can go
        for count in [16_000, 1_000, 101] {
            let stream = h2.stream();
            h2.head(stream, &bomb(entry, count), END_STREAM).await;
            let outcome = h2.outcome(stream).await;
            assert!(
                outcome.status().is_none_or(|status| status == 431),
                "{what} {count}: {outcome:?}"
            );
            if h2.gone.is_some() {
                break;
            }
        }
        assert_eq!(scene.backend.connections(), 0, "{what}");
    }
    others_are_served(&scene).await;
}

#[tokio::test(flavor = "local")]
async fn h2_05_a_long_field_named_again_and_again_is_counted_each_time() {
    let scene = Scene::on(OVER_H2).await;
    let mut entry = vec![0x40, 1, b'a', 127, 0xa1, 0x1d]; // 127 + 3745
    entry.extend(vec![b'x'; 3872]);
    for count in [10_000, 100, 12] {
        let mut h2 = H2::open(&scene.proxy.address).await;
        let stream = h2.stream();
        h2.head(stream, &bomb(&entry, count), END_STREAM).await;
        let outcome = h2.outcome(stream).await;
        assert!(outcome.status().is_none_or(|status| status == 431), "{count}: {outcome:?}");
    }
    assert_eq!(scene.backend.connections(), 0);
    others_are_served(&scene).await;
}

#[tokio::test(flavor = "local")]
async fn h2_06_data_without_a_byte_is_no_body_for_ever() {
    let scene = Scene::on(OVER_H2).await;
    let mut h2 = H2::open(&scene.proxy.address).await;
    let stream = h2.stream();
    h2.head(stream, &block(&Ask::new("POST", "/api").bearer(&scene.token())), 0).await;
    let burst = frame(DATA, 0, stream, &[]).repeat(1_000);
    let mut sent = 0;
    while sent < 200 && h2.send(&burst).await {
        sent += 1;
    }
    let outcome = h2.outcome(stream).await;
    assert!(matches!(outcome, Outcome::Gone(ENHANCE_YOUR_CALM) | Outcome::Reset(_)), "{outcome:?}");
    scene.backend.odd();
    others_are_served(&scene).await;
}

/// What makes us answer is answered only as fast as it is read, and what does not costs a look.
#[tokio::test(flavor = "local")]
async fn h2_07_a_flood_of_small_frames_hurts_nobody_else() {
    let scene = Scene::on(OVER_H2).await;
    let ask = block(&Ask::get("/public"));
    for (what, burst) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &setting(3, 100))),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("answers to no ping", frame(PING, 1, 0, &[7; 8])),
        ("unknown frames", frame(0xbe, 0, 0, &[0; 8])),
        ("continuations", frame(CONTINUATION, 0, 1, &[])),
        ("blocks without an end", frame(HEADERS, 0, 1, &[])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    ] {
        let mut h2 = H2::open(&scene.proxy.address).await;
        if what == "continuations" {
            h2.send(&frame(HEADERS, END_STREAM, 1, &ask)).await;
        }
        // Nobody reads what they are answered with.
        let burst = burst.repeat(1_000);
        let flood = async {
            for _ in 0..30 {
                if !h2.send(&burst).await {
                    return;
                }
            }
        };
        drop(time::timeout(Duration::from_millis(100), flood).await);
        others_are_served(&scene).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h2_08_settings_are_what_they_may_be_or_end_the_connection() {
    let scene = Scene::on(OVER_H2).await;
    for (what, settings, said) in [
        ("a table of any size", [setting(1, u32::MAX), setting(1, 0)].concat().repeat(50), None),
        ("a window that is too large", setting(4, 1 << 31), Some(FLOW_CONTROL_ERROR)),
        ("a frame that is too large", setting(5, 1 << 24), Some(PROTOCOL_ERROR)),
        ("a frame that is too small", setting(5, 100), Some(PROTOCOL_ERROR)),
        ("a push that is neither", setting(2, 2), Some(PROTOCOL_ERROR)),
        ("unknown ones", setting(0xbeef, 7).repeat(100), None),
    ] {
        let mut h2 = H2::open(&scene.proxy.address).await;
        for _ in 0..10 {
            h2.send(&frame(SETTINGS, 0, 0, &settings)).await;
        }
        let outcome = h2.ask(&Ask::get("/public")).await;
        match said {
            None => assert_eq!(outcome.status(), Some(200), "{what}"),
            // The reader of settings has one word for all of their values.
            Some(code) => assert!(
                [Outcome::Gone(code), Outcome::Gone(PROTOCOL_ERROR)].contains(&outcome),
                "{what}: {outcome:?}"
            ),
        }
    }
}

/// A backend that never answers.
async fn silent(
    proxy: impl FnOnce(&mut countersign::config::Settings),
) -> (Issuer, Upstream, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        std::future::pending().await
    })
    .await;
    let mut settings = settings(&issuer, &upstream);
    proxy(&mut settings);
    let proxy = Proxy::start(settings).await;
    (issuer, upstream, proxy)
}

#[tokio::test(flavor = "local")]
async fn h2_09_of_more_streams_than_there_may_be_the_rest_is_refused() {
    let (issuer, upstream, proxy) = silent(|_| {}).await;
    let mut h2 = H2::open(&proxy.address).await;
    let block = block(&Ask::get("/api").bearer(&issuer.token()));
    for _ in 0..600 {
        let stream = h2.stream();
        h2.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
    }
    let mut refused = 0;
    while refused < 300 && h2.gone.is_none() {
        let Some(frame) = h2.frame().await else { break };
        if frame.kind == RST_STREAM {
            assert_eq!(frame.payload, REFUSED_STREAM.to_be_bytes());
            refused += 1;
        }
    }
    assert!(refused >= 300 || h2.gone.is_some(), "{refused} refused");
    assert!(upstream.connections() <= 300, "{}", upstream.connections());
}

#[tokio::test(flavor = "local")]
async fn h2_10_who_takes_nothing_of_an_answer_is_let_go() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.unwrap();
        crate::forward::pour(&mut socket, 64 * 1024 * 1024, &Cell::new(0)).await;
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut h2 = H2::open(&proxy.address).await;
    h2.reads = false;
    h2.request(&Ask::get("/").bearer(&issuer.token())).await;
    until("it begins", async || proxy.metric("countersign_requests_in_flight").await == 1.0).await;
    time::pause();

    let began = Instant::now();
    let pings = task::spawn_local(h2.answer_pings());
    until("it is let go", async || {
        time::sleep(Duration::from_secs(1)).await;
        proxy.metric("countersign_requests_in_flight").await == 0.0
    })
    .await;

    assert!(began.elapsed().as_secs() <= 330, "{:?}", began.elapsed());
    pings.abort();
    let active = r#"countersign_upstream_connections{state="active"}"#;
    assert_eq!(proxy.metric(active).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn h2_11_what_frames_a_body_in_http_1_frames_none_here() {
    let scene = Scene::on(OVER_H2).await;
    let post = Ask::new("POST", "/api").bearer(&scene.token());
    for (ask, body) in [
        (post.clone().line("content-length", "5"), "12345678901234567890"),
        (post.clone().line("content-length", "5"), "123"),
        (post.clone().line("content-length", "0"), "1"),
        (post.clone().line("content-length", "+5"), "12345"),
        (post.clone().line("content-length", "5, 5"), "12345"),
        (post.clone().line("content-length", "5").line("content-length", "6"), "12345"),
        (post.clone().line("transfer-encoding", "chunked"), "5\r\nhello\r\n0\r\n\r\n"),
        (post.clone().line("transfer-encoding", "identity"), "hello"),
        (post.clone().line("connection", "x"), "hello"),
        (post.clone().line("connection", "close"), "hello"),
        (post.clone().line("keep-alive", "1"), "hello"),
        (post.clone().line("proxy-connection", "x"), "hello"),
        (post.clone().line("upgrade", "websocket"), "hello"),
        (post.clone().line("te", "chunked"), "hello"),
    ] {
        let mut h2 = H2::open(&scene.proxy.address).await;
        let outcome = h2.ask(&ask.clone().body(body)).await;
        assert!(outcome.status().is_none_or(|status| status == 400), "{ask:?}: {outcome:?}");
        assert!(scene.take().is_empty(), "{ask:?}: no whole request");
    }
    let odd = scene.backend.odd();
    assert!(odd.iter().all(|odd| odd.starts_with("an end in a ")), "{odd:?}");
    let text = scene.backend.text();
    assert!(!text.contains("90"), "of a body no more than its length: {text}");
    others_are_served(&scene).await;
}

#[tokio::test(flavor = "local")]
async fn h2_13_a_line_end_in_what_names_a_request_is_refused() {
    let scene = Scene::on(OVER_H2).await;
    for crlf in ["\r\n", "\n", "\r", "\0"] {
        let evil = format!(" HTTP/1.1{crlf}x-clerk-user-id: root{crlf}x: ");
        for (method, path, host) in [
            ("GET".to_owned(), format!("/public{evil}"), "a.test".to_owned()),
            (format!("GET /public{evil}"), "/public".to_owned(), "a.test".to_owned()),
            ("GET".to_owned(), "/public".to_owned(), format!("a.test{evil}")),
        ] {
            let ask = Ask::new(&method, &path).host(&host);
            let mut h2 = H2::open(&scene.proxy.address).await;
            let outcome = h2.ask(&ask).await;
            assert!(outcome.status().is_none_or(|it| it == 400), "{ask:?}: {outcome:?}");
        }
        let mut h2 = H2::open(&scene.proxy.address).await;
        let stream = h2.stream();
        let mut block = literal(":method", "GET");
        block.extend(literal(":scheme", &format!("http{evil}")));
        block.extend(literal(":authority", "a.test"));
        block.extend(literal(":path", "/public"));
        h2.head(stream, &block, END_STREAM).await;
        let outcome = h2.outcome(stream).await;
        assert!(outcome.status().is_none_or(|it| it == 400), "{outcome:?}");
    }
    assert_eq!(scene.backend.connections(), 0);
    others_are_served(&scene).await;
}

#[tokio::test(flavor = "local")]
async fn h2_14_the_crumbs_of_a_cookie_are_one_line_to_the_backend() {
    let scene = Scene::on(OVER_H2).await;
    let ask = Ask::get("/public").lines("cookie: a=1\r\ncookie: __session=T\r\ncookie: b=2; c=3");
    assert_eq!(scene.ask(&ask).await.status, 200);
    let seen = scene.take().remove(0);
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; __session=T; b=2; c=3"]);
}

#[tokio::test(flavor = "local")]
async fn h2_15_who_leaves_while_a_key_is_fetched_leaves_nothing_and_the_fetch_goes_on() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let keys = published_by(&issuer).await;
    let server = KeyServer::start(Reply::json(&keys)).await;
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.issuers[0].keys.source = server.source();
    let proxy = Proxy::start(settings).await;
    let before = server.fetches();
    issuer.rotate();
    let token = issuer.token();
    server.reply(Reply::json(&published_by(&issuer).await).after(Duration::from_secs(1)));
    time::pause();

    let mut h2 = H2::open(&proxy.address).await;
    let block = block(&Ask::get("/").bearer(&token));
    let streams: Vec<u32> = (0..50).map(|_| h2.stream()).collect();
    for stream in &streams {
        h2.send(&frame(HEADERS, END_HEADERS | END_STREAM, *stream, &block)).await;
    }
    until("the fetch is there", async || server.fetches() > before).await;
    for stream in &streams {
        h2.send(&frame(RST_STREAM, 0, *stream, &8_u32.to_be_bytes())).await;
    }
    let answer = proxy.get("/", &token).await;

    assert_eq!((answer.status, server.fetches() - before), (200, 1));
    let in_flight = "countersign_requests_in_flight";
    until("nothing is left", async || proxy.metric(in_flight).await == 0.0).await;
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn h2_16_a_drain_says_so_and_finishes_what_is_under_way() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let go = Rc::new(tokio::sync::Notify::new());
    let may = Rc::clone(&go);
    let upstream = Upstream::raw(move |mut socket| {
        let may = Rc::clone(&may);
        async move {
            head(&mut socket).await;
            may.notified().await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut h2 = H2::open(&proxy.address).await;
    let stream = h2.request(&Ask::get("/").bearer(&issuer.token())).await;
    until("it is under way", async || upstream.connections() == 1).await;

    let drain = task::spawn_local(proxy.drain());
    let mut said = false;
    while !said {
        said = h2.frame().await.expect("it is told").kind == GOAWAY;
    }
    go.notify_one();
    let outcome = h2.outcome(stream).await;

    assert_eq!((outcome.status(), h2.gone), (Some(200), Some(0)), "no error, and no request lost");
    assert_eq!(drain.await.unwrap(), Drained::Clean);
}

#[tokio::test(flavor = "local")]
async fn h2_17_a_body_that_nobody_wants_ends_its_stream_and_no_other() {
    let scene = Scene::on(OVER_H2).await;
    let mut h2 = H2::open(&scene.proxy.address).await;
    let since = scene.mark().await;
    let refused = h2.stream();
    h2.head(refused, &block(&Ask::new("POST", "/api")), 0).await;
    h2.send(&frame(DATA, 0, refused, &[b'x'; 1000])).await;
    let outcome = h2.outcome(refused).await;
    assert_eq!(outcome.status(), Some(401), "{outcome:?}");
    scene.nothing_passed(&since, "a body that goes on").await;
    h2.send(&frame(DATA, 0, refused, &[b'x'; 1000])).await;
    for _ in 0..3 {
        let ask = Ask::new("POST", "/api").bearer(&scene.token()).body("hello");
        assert_eq!(h2.ask(&ask).await.status(), Some(200));
        assert_eq!(scene.take()[0].body, "hello");
    }
}

#[tokio::test(flavor = "local")]
async fn h2_18_a_call_of_grpc_is_refused_in_its_own_words() {
    let scene = Scene::on(OVER_H2).await;
    let socket = TcpStream::connect(&scene.proxy.address).await.unwrap();
    let (mut client, connection) = http2::handshake(LocalExec, TokioIo::new(socket)).await.unwrap();
    let running = task::spawn_local(async { drop(connection.await) });
    for (path, token, status) in [
        ("/pkg.Service/Call", None, "16"),
        ("/pkg.Service/Call", Some("junk"), "16"),
        ("/a//b", None, "13"),
    ] {
        let mut request = Request::post(format!("http://a.test{path}"))
            .header("content-type", "application/grpc");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer =
            client.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        assert_eq!(
            (head.status.as_u16(), head.headers["grpc-status"].to_str().unwrap()),
            (200, status),
            "{path}"
        );
        let body = body.collect().await.unwrap();
        assert!(body.to_bytes().is_empty(), "{path}: trailers alone");
        let told = format!("{:?}", head.headers);
        assert!(!told.contains("evil") && !told.contains("127.0.0.1"), "{told}");
    }
    assert_eq!(scene.backend.connections(), 0);
    running.abort();
}

/// A backend that speaks frames of the test's.
async fn attacker(script: Vec<u8>) -> Upstream {
    let script = Rc::new(script);
    Upstream::raw(move |socket| {
        let script = Rc::clone(&script);
        async move {
            let mut h2 = H2::over(socket);
            h2.send(&frame(SETTINGS, 0, 0, &[])).await;
            h2.skip_preface().await;
            while let Some(came) = h2.frame().await {
                if came.kind == HEADERS {
                    h2.send(&script).await;
                }
            }
        }
    })
    .await
}

#[tokio::test(flavor = "local")]
async fn h2_20_a_backend_that_attacks_is_a_502_to_its_client_alone() {
    let long = |length: usize| {
        let mut bytes = frame(HEADERS, 0, 1, &[0x88]);
        let mut rest = literal("x", &"y".repeat(length));
        while rest.len() > 16_000 {
            let piece: Vec<u8> = rest.drain(..16_000).collect();
            bytes.extend(frame(CONTINUATION, 0, 1, &piece));
        }
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &rest));
        bytes
    };
    let goaway =
        |code: u32| frame(GOAWAY, 0, 0, &[&0_u32.to_be_bytes()[..], &code.to_be_bytes()].concat());
    let promise = frame(
        PUSH_PROMISE,
        END_HEADERS,
        1,
        &[&2_u32.to_be_bytes()[..], &[0x82, 0x84, 0x86]].concat(),
    );
    let refuse = frame(RST_STREAM, 0, 1, &PROTOCOL_ERROR.to_be_bytes());
    for (what, script) in [
        ("it goes away", goaway(0)),
        ("it goes away, in anger", goaway(ENHANCE_YOUR_CALM)),
        ("it resets", refuse),
        ("a head of 1 MiB", long(1024 * 1024)),
        ("it pushes", promise),
        ("no status", frame(HEADERS, END_HEADERS | END_STREAM, 1, &literal("x", "y"))),
        ("data before a head", frame(DATA, END_STREAM, 1, b"hi")),
        ("no frame", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
    ] {
        let upstream = attacker(script).await;
        let issuer = Issuer::start(Clock::System).unwrap();
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
        let proxy = Proxy::start(settings).await;
        let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
        let mut nobody = proxy.client().open().await.unwrap();
        time::pause(); // a backend that says nothing more has its minute
        for _ in 0..2 {
            let answer = kept.try_send(Method::POST, "/", "").await.unwrap();
            assert!([502, 504].contains(&answer.status), "{what}: {answer:?}");
            assert_eq!(nobody.get("/").await.status, 401, "{what}: others are served");
        }
        time::resume();
        assert_eq!(proxy.metric("countersign_panics_total").await, 0.0, "{what}");
    }
    // Interim answers without an end are none.
    let flood = frame(HEADERS, END_HEADERS, 1, &literal(":status", "103")).repeat(2_000);
    let upstream = attacker(flood).await;
    let issuer = Issuer::start(Clock::System).unwrap();
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    let proxy = Proxy::start(settings).await;
    time::pause();
    let answer = proxy.get("/", &issuer.token()).await;
    assert!([502, 504].contains(&answer.status), "{answer:?}");
}
