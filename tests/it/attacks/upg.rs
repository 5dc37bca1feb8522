//! UPG: preflights, upgrades and expectations: what makes something else of a connection or a request.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        for gone in ["authorization", "cookie", "content-length", "transfer-encoding"] {
            assert_eq!(seen.header(gone), None, "{gone}");
        }
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
