//! UPG: preflights, upgrades and expectations: what makes something else of a connection or a request.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use countersign::core::time::UnixTime;
use countersign::proxy::StreamLifetime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time;

use super::frames::H2;
use super::raw::{Ask, PLAIN, Scene, Socket, on_every_lane, only_ours};
use super::recorder::{Recorder, Reply};
use crate::support::upstream::head;
use crate::support::{Issuer, Proxy, Upstream, settings};

const PREFLIGHT: &str = "Origin: https://evil.test\r\nAccess-Control-Request-Method: DELETE";

#[tokio::test(flavor = "local")]
async fn upg_02_a_preflight_goes_on_as_nobodys_and_without_a_body() {
    on_every_lane(async |scene| {
        let ask = Ask::new("OPTIONS", "/admin/x")
            .lines(PREFLIGHT)
            .lines("X-Clerk-User-Id: root\r\nAuthorization: Bearer root\r\nCookie: __session=root; a=root")
            .body("root");
        assert_eq!(scene.ask(&ask).await.status, 200);
        let seen = scene.take().remove(0);
        only_ours(&seen, "anonymous", "a preflight");
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("OPTIONS", "/admin/x"));
        assert!(seen.body.is_empty() && seen.trailers.is_none());
        for gone in ["authorization", "cookie", "transfer-encoding"] {
            assert_eq!(seen.header(gone), None, "{gone}");
        }
        // Over HTTP/2 we say that there is none.
        assert!([None, Some("0")].contains(&seen.header("content-length")));
        // What looks like one and is none is a request like others.
        for lines in [
            "Origin: https://evil.test",
            "Access-Control-Request-Method: DELETE",
            "Origin: a\r\nOrigin: b\r\nAccess-Control-Request-Method: DELETE",
            "Origin: a\r\nAccess-Control-Request-Method: DELETE\r\nAccess-Control-Request-Method: GET",
        ] {
            scene.refuses(&Ask::new("OPTIONS", "/admin/x").lines(lines), 401).await;
        }
        for method in ["GET", "POST", "options"] {
            scene.refuses(&Ask::new(method, "/admin/x").lines(PREFLIGHT), 401).await;
        }
    })
    .await;
    // Its body is not the next request either.
    let scene = Scene::start().await;
    let inner = format!("GET /smuggled HTTP/1.1\r\nHost: p\r\n{}\r\n", scene.bearer());
    let outer = PREFLIGHT.to_owned() + &format!("\r\nContent-Length: {}", inner.len());
    let answers =
        scene.send(format!("OPTIONS /x HTTP/1.1\r\nHost: p\r\n{outer}\r\n\r\n{inner}")).await;
    assert_eq!((answers.len(), answers[0].header("connection")), (1, Some("close")));
    assert_eq!(scene.take().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn upg_03_a_preflight_stays_the_options_it_was_taken_for() {
    on_every_lane(async |scene| {
        for name in [
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "X-HTTP-Method",
            "X_HTTP_Method_Override",
        ] {
            let ask = Ask::new("OPTIONS", "/admin/x").lines(PREFLIGHT).line(name, "DELETE");
            assert_eq!(scene.ask(&ask).await.status, 200, "{name}");
            let seen = scene.take().remove(0);
            assert_eq!((seen.method.as_str(), seen.header(name)), ("OPTIONS", None), "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn upg_16_nobody_is_told_to_send_a_body_before_a_token_was_seen() {
    let scene = Scene::start().await;
    for (line, status) in [("POST /api", 401), ("POST /api//x", 400), ("TRACE /api", 405)] {
        let since = scene.mark().await;
        let mut client = Socket::open(&scene.proxy.address).await;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n"
        );
        client.send(head.as_bytes()).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{line}");
        client.half_close().await;
        assert!(client.rest().await.is_empty(), "{line}");
        scene.nothing_passed(&since, line).await;
    }
    // An expectation that is none of ours changes nothing.
    let mut client = Socket::open(&scene.proxy.address).await;
    client
        .send(b"POST /api HTTP/1.1\r\nHost: p\r\nExpect: 200-ok\r\nContent-Length: 9\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.unwrap().status, 401);
}

#[tokio::test(flavor = "local")]
async fn upg_18_a_client_hears_at_most_one_continue_and_then_the_answer() {
    for before in [
        "",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let backend = Recorder::replying(PLAIN.backend, Reply { before, ..Reply::ok() }).await;
            let scene = Scene::before(PLAIN, backend, |_| {}).await;
            let mut client = Socket::open(&scene.proxy.address).await;
            let head = format!(
                "POST /api HTTP/1.1\r\nHost: p\r\n{}{expect}Content-Length: 5\r\nConnection: close\r\n\r\n",
                scene.bearer()
            );
            client.send(head.as_bytes()).await;
            let mut statuses = Vec::new();
            if !expect.is_empty() {
                statuses.push(client.answer().await.unwrap().status);
            }
            client.send(b"hello").await;
            statuses.extend(client.rest().await.iter().map(|answer| answer.status));
            let want = if expect.is_empty() { &[200][..] } else { &[100, 200] };
            assert_eq!(statuses, want, "{before:?} {expect:?}");
            let seen = scene.take().remove(0);
            assert_eq!((&seen.body[..], seen.header("expect")), (&b"hello"[..], None));
        }
    }
    // A backend that answers before it has asked for the body: that is the answer.
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let upstream = Upstream::speaking("HTTP/1.1 417 X\r\ncontent-length: 0\r\n\r\n").await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut client = Socket::open(&proxy.address).await;
    let ask = Ask::new("POST", "/api").bearer(&issuer.token()).line("Expect", "100-continue");
    client.send(&ask.line("Content-Length", "5").h1()).await;
    let first = client.answer().await.unwrap().status;
    let last = if first == 100 { client.answer().await.unwrap().status } else { first };
    assert_eq!(last, 417);
}

#[tokio::test(flavor = "local")]
async fn upg_19_what_follows_a_connect_goes_nowhere() {
    let scene = Scene::start().await;
    for early in [
        "GET /public/x HTTP/1.1\r\nHost: p\r\n\r\n".to_owned(),
        format!("GET /api HTTP/1.1\r\nHost: p\r\n{}\r\n", scene.bearer()),
        "\u{16}\u{3}\u{1}\u{2}".to_owned(),
    ] {
        for lines in ["", "Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
            let head =
                format!("CONNECT p:80 HTTP/1.1\r\nHost: p:80\r\n{}{lines}\r\n", scene.bearer());
            let since = scene.mark().await;
            let answers = scene.send(format!("{head}{early}")).await;
            assert_eq!(answers.len(), 1, "{lines:?} {answers:?}");
            let status = answers[0].status;
            assert!([400, 405].contains(&status), "{lines:?}: {status}");
            assert_eq!(answers[0].header("connection"), Some("close"), "{lines:?}");
            scene.nothing_passed(&since, lines).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn upg_20_an_answer_that_comes_early_is_passed_on_and_its_connection_is_not_used_again() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 401 X\r\ncontent-length: 5\r\n\r\nearly").await.unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest).await; // a reset is an end too
        assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "no second request on it");
    })
    .await;
    let upstream = Rc::new(upstream);
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    for round in 1..=5 {
        let mut client = Socket::open(&proxy.address).await;
        let ask = Ask::new("POST", "/api").bearer(&issuer.token()).line("Content-Length", "100000");
        client.send(&ask.h1()).await;
        client.send(b"some").await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (401, "early"));
        assert_eq!(upstream.connections(), round);
    }
}

/// The head that asks for a WebSocket.
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A backend that answers each head with this, and after a 101 sends back what it is sent.
async fn speaking(answer: &'static str) -> (Rc<RefCell<String>>, Upstream) {
    let kept = Rc::<RefCell<String>>::default();
    let heads = Rc::clone(&kept);
    let upstream = Upstream::raw(move |mut socket| {
        let heads = Rc::clone(&heads);
        async move {
            loop {
                let asked = head(&mut socket).await;
                if asked.is_empty() {
                    return;
                }
                heads.borrow_mut().push_str(&asked);
                let _ = socket.write_all(answer.as_bytes()).await; // the proxy may close
                if answer.contains(" 101 ") {
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    return;
                }
            }
        }
    })
    .await;
    (kept, upstream)
}

#[tokio::test(flavor = "local")]
async fn upg_05_a_websocket_without_a_token_gets_no_further_than_the_proxy() {
    let scene = Scene::start().await;
    for lines in [
        WEBSOCKET.to_owned(),
        format!("{WEBSOCKET}\r\nOrigin: https://evil.test"),
        format!("{WEBSOCKET}\r\nSec-WebSocket-Protocol: bearer, {}", scene.token()),
    ] {
        let answer = scene.refuses(&Ask::get("/api").lines(&lines), 401).await;
        assert_eq!(answer.header("upgrade"), None);
    }
}

#[tokio::test(flavor = "local")]
async fn upg_06_what_follows_a_request_for_a_websocket_is_a_request_unless_the_backend_agreed() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    for (answer, status) in [
        ("HTTP/1.1 426 X\r\ncontent-length: 0\r\n\r\n", 426),
        ("HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n", 403),
        ("HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n", 200),
        (
            "HTTP/1.1 200 X\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n",
            200,
        ),
        // A 101 to something else is no agreement.
        ("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 502),
        ("HTTP/1.1 101 X\r\n\r\n", 502),
    ] {
        let (heads, upstream) = speaking(answer).await;
        let proxy = Proxy::start(settings(&issuer, &upstream)).await;
        let ask = Ask::get("/api").bearer(&issuer.token()).lines(WEBSOCKET).h1();
        let next = b"GET /admin HTTP/1.1\r\nHost: p\r\n\r\n";
        let mut client = Socket::open(&proxy.address).await;
        client.send(&[&ask[..], next].concat()).await;
        let first = client.answer().await.unwrap();
        assert_eq!(first.status, status, "{answer:?}");
        assert!(!heads.borrow().contains("/admin"), "{answer:?}: {}", heads.borrow());
        if let Some(second) = client.answer().await {
            assert_eq!(second.status, 401, "{answer:?}: it was decided on");
        }
        assert!(!heads.borrow().contains("/admin"), "{answer:?}: {}", heads.borrow());
    }
}

#[tokio::test(flavor = "local")]
async fn upg_07_a_handshake_that_failed_leaves_a_connection_of_http() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let (heads, upstream) =
        speaking("HTTP/1.1 426 X\r\nsec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n").await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    for wrong in [
        WEBSOCKET.replace(": 13", ": 1337"),
        WEBSOCKET.replace("Sec-WebSocket-Key", "Sec-WebSocket-Kay"),
        WEBSOCKET.replace("dGhlIHNhbXBsZSBub25jZQ==", "x"),
    ] {
        let mut client = Socket::open(&proxy.address).await;
        client.send(&Ask::get("/api").bearer(&issuer.token()).lines(&wrong).h1()).await;
        assert_eq!(client.answer().await.unwrap().status, 426, "{wrong}");
        client.send(b"GET /smuggled HTTP/1.1\r\nHost: p\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().status, 401, "{wrong}");
    }
    assert!(!heads.borrow().contains("/smuggled"));
}

#[tokio::test(flavor = "local")]
async fn upg_09_no_upgrade_to_http_2_reaches_a_backend_that_would_take_it() {
    on_every_lane(async |scene| {
        if scene.over_h2() {
            return; // there is no upgrade there (H2-11)
        }
        let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                     HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA";
        let ask = Ask::get("/api").bearer(&scene.token()).lines(lines);
        let mut client = Socket::open(&scene.proxy.address).await;
        client.send(&ask.h1()).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        let seen = scene.take().remove(0);
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(seen.header(gone), None, "{gone}");
        }
        // Nor is it a tunnel: what follows is a request, or none.
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        let answers = client.rest().await;
        assert!(answers.iter().all(|answer| answer.status == 400), "{answers:?}");
        assert!(scene.take().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn upg_10_only_a_websocket_and_nothing_beside_it_is_upgraded_to() {
    let scene = Scene::start().await;
    for lines in [
        "Connection: Upgrade\r\nUpgrade: websocket, h2c",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket",
        "Connection: Upgrade\r\nUpgrade: foo",
        "Connection: Upgrade\r\nUpgrade: WebSocket/13",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket",
        "Connection: close\r\nUpgrade: websocket",
        "Upgrade: websocket",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0",
        "Connection: Upgrade\r\nUpgrade:",
    ] {
        let ask = Ask::get("/api").bearer(&scene.token()).lines(lines);
        assert_eq!(scene.ask(&ask).await.status, 200, "{lines}");
        let seen = scene.take().remove(0);
        only_ours(&seen, "user", lines);
        for gone in ["upgrade", "connection"] {
            assert_eq!(seen.header(gone), None, "{lines}");
        }
    }
    let ask = Ask::new("POST", "/api").bearer(&scene.token()).lines(WEBSOCKET).body("x");
    assert_eq!(scene.ask(&ask).await.status, 200);
    assert_eq!(scene.take()[0].header("upgrade"), None);
}

#[tokio::test(flavor = "local")]
async fn upg_12_http_2_at_once_is_served_where_it_is_on_and_each_stream_is_asked() {
    let off = Scene::with(PLAIN, |it| it.proxy.http2 = false).await;
    let since = off.mark().await;
    let answers = off.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(answers.iter().all(|answer| answer.status >= 400), "{answers:?}");
    off.untouched(&since, "off").await;

    let on = Scene::start().await;
    let mut h2 = H2::open(&on.proxy.address).await;
    let token = on.token();
    for _ in 0..2 {
        for (ask, status) in [
            (Ask::get("/api").bearer(&token), 200),
            (Ask::get("/api"), 401),
            (Ask::get("/public"), 200),
            (Ask::get("/admin").bearer("junk"), 401),
            (Ask::get("/public/%2e%2e/admin"), 400),
        ] {
            assert_eq!(h2.ask(&ask).await.status(), Some(status), "{ask:?}");
        }
    }
    // Half a preface is one of nothing.
    let cut = on.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert!(cut.iter().all(|answer| answer.status >= 400), "{cut:?}");
}

#[tokio::test(flavor = "local")]
async fn upg_14_a_stream_outlives_its_token_by_so_much_and_that_is_counted() {
    let clock = countersign::clock::Clock::fixed(UnixTime::from_secs(1_700_000_000));
    for (lifetime, seconds) in [
        (StreamLifetime::Token, Some(60)),
        (StreamLifetime::Beyond(Duration::from_secs(30)), Some(90)),
        (StreamLifetime::default(), Some(3660)),
        (StreamLifetime::Unlimited, None),
    ] {
        let issuer = Issuer::start(clock.clone()).unwrap();
        let (_, upstream) = speaking(AGREED).await;
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.stream_lifetime = lifetime;
        let proxy = Proxy::start_with(settings, clock.clone()).await;
        let mut client = Socket::open(&proxy.address).await;
        client.send(&Ask::get("/").bearer(&issuer.token()).lines(WEBSOCKET).h1()).await;
        assert_eq!(client.answer().await.unwrap().status, 101);
        time::pause();
        let began = time::Instant::now();
        let over = time::timeout(Duration::from_secs(40_000), client.closed()).await;
        time::resume();
        assert_eq!(over.is_ok(), seconds.is_some(), "{lifetime:?}");
        let ended = r#"countersign_streams_ended_total{cause="lifetime"}"#;
        if let Some(seconds) = seconds {
            let took = began.elapsed().as_secs();
            assert!((seconds..seconds + 13).contains(&took), "{lifetime:?}: {took}");
            assert_eq!(proxy.metric(ended).await, 1.0, "{lifetime:?}");
        } else {
            assert_eq!(proxy.metric(ended).await, 0.0, "{lifetime:?}");
        }
    }
}

/// A tunnel is a connection like others: it counts in the limit of them. That neither side says
/// anything is no fault of a WebSocket's; its lifetime ends it.
#[tokio::test(flavor = "local")]
async fn upg_15_tunnels_count_as_connections_and_hold_no_frame() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let (_, upstream) = speaking(AGREED).await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.limits.connections = Some(40);
    let proxy = Proxy::start(settings).await;
    let ask = Ask::get("/").bearer(&issuer.token()).lines(WEBSOCKET).h1();
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut client = Socket::open(&proxy.address).await;
        client.send(&ask).await;
        assert_eq!(client.answer().await.unwrap().status, 101);
        open.push(client);
    }
    let mut big = open.pop().unwrap();
    let mut late = Socket::open(&proxy.address).await;
    late.send(&ask).await;
    assert_eq!(proxy.metric("countersign_connections").await, 40.0);
    drop(open);
    assert_eq!(late.answer().await.unwrap().status, 101, "there is room again");

    // A frame of 64 MiB goes as fast as it is read at the other end, and comes back whole.
    big.send(&[0x82, 127, 0, 0, 0, 0, 4, 0, 0, 0]).await;
    let echoed = big.echo(64 * 1024 * 1024).await;
    assert_eq!(echoed, 64 * 1024 * 1024 + 10);
}
