//! LEK: what answers and logs give away.

use countersign::proxy::TrustedProxies;
use countersign::telemetry::LogFormat;
use serde_json::{Value, json};

use super::raw::{Ask, PLAIN, Scene, Socket};
use super::recorder::{Recorder, Reply};
use crate::browser::page;
use crate::support::settings::{SECRET, settings_for, settings_for_browsers};
use crate::support::tls::{Authority, Mounted};
use crate::support::{Answer, Issuer, Proxy, Upstream};

/// What is sent, by the class of its fault: forged tokens and good ones that say something wrong.
fn faults(scene: &Scene) -> Vec<(&'static str, String)> {
    let forged = |claims: Value| {
        let token = scene.mint(claims);
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        format!("{rest}.{first}{}", &signature[1..])
    };
    vec![
        ("junk", "junk".to_owned()),
        ("a bad signature", forged(json!({}))),
        ("an expired one, forged", forged(json!({"exp": 1}))),
        ("of another party, forged", forged(json!({"azp": "https://evil.test"}))),
        ("of a session that is pending, forged", forged(json!({"sts": "pending"}))),
        ("expired", scene.mint(json!({"exp": 1}))),
        ("not yet good", scene.mint(json!({"nbf": 4_000_000_000_u64, "exp": 4_000_000_060_u64}))),
        ("of another issuer", scene.mint(json!({"iss": "https://evil.test"}))),
        ("of another party", scene.mint(json!({"azp": "https://evil.test"}))),
        ("of an unknown key", scene.mint(json!({"$header": {"kid": "ins_unknown"}}))),
        ("of another class", scene.mint(json!({"$header": {"cat": "cl_B7d4PD333AAA"}}))),
        ("of no algorithm", scene.mint(json!({"$header": {"alg": "none"}}))),
        ("without a subject", scene.mint(json!({"sub": null}))),
        ("pending", scene.mint(json!({"sts": "pending"}))),
    ]
}

/// An answer without what is new in each.
fn face(answer: &Answer) -> String {
    let mut headers = answer.headers.clone();
    headers.remove("date");
    let id = headers.remove("x-request-id").unwrap();
    format!("{} {headers:?} {}", answer.status, answer.text().replace(id.to_str().unwrap(), "ID"))
}

/// By default the client is told one word of a closed set, as Clerk's own middleware tells it;
/// where that is too much, `log.reveal_reason = false` leaves it to the log.
#[tokio::test(flavor = "local")]
async fn lek_01_every_bad_token_has_one_answer_where_reasons_are_not_revealed() {
    let silent = Scene::with(PLAIN, |it| it.proxy.reveal_reason = false).await;
    let mut faces = Vec::new();
    for (what, token) in faults(&silent) {
        let answer = silent.refuses(&Ask::get("/api").bearer(&token), 401).await;
        faces.push((what, face(&answer)));
    }
    let first = &faces[0].1;
    assert!(faces.iter().all(|(_, face)| face == first), "{faces:#?}");

    let scene = Scene::start().await;
    for (what, token) in faults(&scene) {
        let answer = scene.refuses(&Ask::get("/api").bearer(&token), 401).await;
        let body = answer.json();
        let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["reason", "request_id", "status", "title"], "{what}");
        assert_eq!(answer.header("x-clerk-auth-message"), None, "{what}");
        assert!(!answer.text().contains("evil"), "{what}: {}", answer.text());
    }
}

#[tokio::test(flavor = "local")]
async fn lek_02_the_realm_is_the_same_for_every_request() {
    let scene = Scene::start().await;
    for target in ["/api", "/a?token=hunter2", "/%22x%22", "/a?x=%0d%0aX:%201", "/admin/hunter2"] {
        for host in ["a.test", "hunter2.test"] {
            let answer = scene.refuses(&Ask::get(target).host(host), 401).await;
            assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="countersign""#));
            assert!(!format!("{answer:?}").contains("hunter2"), "{target}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn lek_03_who_names_an_unknown_key_is_told_of_no_other() {
    let scene = Scene::start().await;
    let status = scene.proxy.admin("/status").await.text();
    let known = status.split("\"kid\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let token = scene.mint(json!({"$header": {"kid": "ins_unknown"}}));
    let answer = scene.refuses(&Ask::get("/api").bearer(&token), 401).await;
    let shown = format!("{answer:?}");
    assert!(known.starts_with("ins_") && !shown.contains(&known), "{shown}");
    assert!(!shown.contains("ins_unknown") && !shown.contains(&scene.issuer.origin()), "{shown}");
}

/// What a forged token says is not looked at, so it takes no time of its own: all of them fail at
/// one step, before any claim. An unknown key fails earlier; which keys there are is public.
#[tokio::test(flavor = "local")]
async fn lek_04_no_claim_of_a_forged_token_is_looked_at() {
    let scene = Scene::alone(PLAIN).await;
    let faults = faults(&scene);
    for (what, token) in faults.iter().filter(|(what, _)| what.ends_with("forged")) {
        let answer = scene.refuses(&Ask::get("/api").bearer(token), 401).await;
        assert_eq!(answer.reason(), "token-invalid-signature", "{what}");
    }
    let refetches = scene.issuer.fetches();
    for (what, token) in &faults {
        if what.ends_with("forged") {
            scene.ask(&Ask::get("/api").bearer(token)).await;
        }
    }
    assert_eq!(scene.issuer.fetches(), refetches, "nor does one cause a fetch again");
}

#[tokio::test(flavor = "local")]
async fn lek_05_no_answer_and_no_line_has_a_key_in_it() {
    let scene = Scene::start().await;
    let mut told = Vec::new();
    let mut asks: Vec<_> =
        faults(&scene).iter().map(|(_, it)| Ask::get("/api").bearer(it)).collect();
    asks.extend(["/a//b", "/%zz", "*", "/admin"].map(Ask::get));
    asks.push(Ask::new("TRACE", "/").bearer(&scene.token()));
    asks.push(Ask::get("/api").bearer(&scene.token()).host("a, b"));
    asks.push(Ask::get("/api").line("authorization", "Basic aHVudGVyMg=="));
    asks.push(Ask::get("/api").line("authorization", "a").line("authorization", "b"));
    for ask in &asks {
        told.push(format!("{:?}", scene.ask(ask).await));
    }
    for raw in
        ["\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n"]
    {
        told.push(format!("{:?}", scene.send(raw).await));
    }
    for path in ["/status", "/metrics", "/readyz", "/.well-known/jwks.json", "/"] {
        told.push(format!("{:?}", scene.proxy.admin(path).await));
    }
    told.push(scene.proxy.logged());
    let secret = std::str::from_utf8(SECRET).unwrap();
    for told in told {
        for gone in [secret, "PRIVATE KEY", "\"d\"", "aHVudGVyMg", "sk_test"] {
            assert!(!told.contains(gone), "{gone}: {told}");
        }
    }
}

/// Answers of the backend's own are the backend's to say so of.
#[tokio::test(flavor = "local")]
async fn lek_06_no_cache_keeps_a_refusal() {
    let scene = Scene::with(PLAIN, |it| it.proxy.limits.body = Some(3)).await;
    let member = scene.mint(json!({"o": {"id": "org_1", "rol": "member"}}));
    for (ask, status) in [
        (Ask::get("/api"), 401),
        (Ask::get("/admin").bearer(&member), 403),
        (Ask::get("/a//b"), 400),
        (Ask::new("TRACE", "/api"), 405),
        (Ask::new("POST", "/api").bearer(&member).body("long"), 413),
    ] {
        let answer = scene.ask(&ask).await;
        assert_eq!((answer.status, answer.header("cache-control")), (status, Some("no-store")));
    }
    let away = Scene::with(PLAIN, |it| {
        it.proxy.upstream =
            countersign::proxy::UpstreamAddress::Tcp { host: "127.0.0.1".into(), port: 1 };
    })
    .await;
    let answer = away.ask(&Ask::get("/public")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (502, Some("no-store")));
    // To a page of ours they are of its origin.
    let answer = scene.ask(&Ask::get("/api").line("origin", "http://localhost:3000")).await;
    assert_eq!(answer.header("vary"), Some("Origin"));
}

/// `Server` and `X-Powered-By` are the backend's to say; what is for one hop, and what is ours, ends
/// here.
#[tokio::test(flavor = "local")]
async fn lek_07_what_a_backend_says_for_one_hop_ends_there() {
    let reply = Reply::ok()
        .line("connection", "x-internal, keep-alive, x-clerk-hop")
        .line("x-internal", "10.0.0.1")
        .line("x-clerk-hop", "1")
        .line("keep-alive", "timeout=5")
        .line("proxy-connection", "keep-alive")
        .line("proxy-authenticate", "Basic")
        .line("upgrade", "h2c")
        .line("te", "trailers")
        .line("x-clerk-user-id", "user_1")
        .line("x-request-id", "theirs")
        .line("via", "1.1 inner")
        .line("server", "backend/1")
        .line("x-powered-by", "PHP/5");
    let scene = Scene::before(PLAIN, Recorder::replying(PLAIN.backend, reply).await, |_| {}).await;
    let answer = scene.ask(&Ask::get("/public")).await;
    for gone in [
        "connection",
        "x-internal",
        "x-clerk-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "upgrade",
        "te",
        "x-clerk-user-id",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    for (kept, value) in [("via", "1.1 inner"), ("server", "backend/1"), ("x-powered-by", "PHP/5")]
    {
        assert_eq!(answer.header(kept), Some(value));
    }
    assert_ne!(answer.header("x-request-id"), Some("theirs"));
}

#[tokio::test(flavor = "local")]
async fn lek_09_who_asks_learns_nothing_of_where_the_backend_is() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let authority = Authority::new();
    let under_tls = crate::tls::backend(authority.pair("backend.internal").server()).await;
    let files = crate::tls::only_ca(&Authority::new());
    let (other, refused) = crate::tls::before(&under_tls, "backend.internal", &files).await;
    let nowhere = Proxy::start(settings_for(&issuer.origin(), "127.0.0.1:1")).await;
    let unnamed = Proxy::start(settings_for(&issuer.origin(), "nowhere.invalid:80")).await;
    let broken = Upstream::speaking("HTTP/1.1 200 OK\r\nbad name: hunter2\r\n\r\n").await;
    let junk = Proxy::start(settings_for(&issuer.origin(), &broken.address)).await;

    for (what, proxy, token, reason) in [
        ("no port", &nowhere, issuer.token(), "upstream-unreachable"),
        ("no name", &unnamed, issuer.token(), "upstream-unreachable"),
        ("no certificate", &refused, other.token(), "upstream-unreachable"),
        ("no answer", &junk, issuer.token(), "upstream-broken"),
    ] {
        let answer = proxy.get("/", &token).await;
        assert!([502, 504].contains(&answer.status), "{what}: {answer:?}");
        let members = answer.json();
        let members: Vec<_> = members.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["reason", "request_id", "status", "title"], "{what}");
        assert!(answer.status == 504 || answer.reason() == reason, "{what}: {answer:?}");
        let shown = format!("{answer:?}");
        for gone in [
            "127.0.0.1",
            "nowhere.invalid",
            "backend.internal",
            "UnknownIssuer",
            "hunter2",
            "refused",
        ] {
            assert!(!shown.contains(gone), "{what}: {shown}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn lek_12_whatever_a_request_says_is_one_line_of_the_log() {
    let evil = "\r\n{\"level\":\"INFO\",\"forged\":true}\r\n\u{1b}[2J\u{7}\u{85}\u{2028}\"}";
    for format in [LogFormat::Json, LogFormat::Text] {
        let authority = Authority::new();
        let files = Mounted::of(&authority.pair("localhost"));
        let scene = Scene::with(PLAIN, |it| it.log.format = format).await;
        for claims in [
            json!({"sub": format!("user_{evil}")}),
            json!({"sid": format!("sess_{evil}")}),
            json!({"act": {"sub": evil}}),
            json!({"$header": {"kid": format!("ins_{evil}")}}),
            json!({"iss": evil}),
            json!({"azp": evil}),
            json!({"$header": {"alg": evil}}),
            json!({"$header": {"cat": evil}}),
            json!({"o": {"id": evil, "rol": evil}}),
        ] {
            scene.ask(&Ask::get("/api").bearer(&scene.mint(claims))).await;
        }
        for ask in [
            Ask::get("/public/\"}{\"forged\":true}"),
            Ask::get("/public/%1b[2J%0a"),
            Ask::get("/public/x?\u{1b}[2J"),
            Ask::get("/public/\u{9b}2J"),
            Ask::get("/public").host("a\"}{\"forged\":true}"),
            Ask::get("/public").line("user-agent", "\u{9b}2J\"}{\"forged\":true}"),
            Ask::get("/public").line("x-request-id", "\"}{\"forged\":true}"),
            Ask::get("/public").line("x-forwarded-for", "\"}{\"forged\":true}"),
            Ask::new("M\"'", "/public"),
            Ask::new("FORGED", "/public"),
        ] {
            scene.send(ask.line("connection", "close").h1()).await;
        }
        let tls = Scene::with(PLAIN, |it| {
            it.log.format = format;
            it.tls = crate::tls::shows(&files);
        })
        .await;
        tls.send(b"\x16\x03\x01\x00\x05\x1b[2J\n").await;
        for scene in [&scene, &tls] {
            let logged = scene.proxy.logged();
            assert!(logged.lines().count() > 1, "there is a log");
            for control in ['\u{1b}', '\r', '\u{7}', '\u{85}', '\u{9b}'] {
                assert!(!logged.contains(control), "{control:?} {format:?}");
            }
            for line in logged.lines() {
                if format == LogFormat::Json {
                    let line: Value = serde_json::from_str(line).expect(line);
                    assert_eq!(line["forged"], Value::Null, "{line}");
                }
                assert!(!line.starts_with("{\"level\":\"INFO\",\"forged\""), "{line}");
            }
        }
    }
}

/// We take no part in traces: what a client says of one is the backend's to read, as long as a head
/// may be.
#[tokio::test(flavor = "local")]
async fn lek_15_a_trace_header_of_any_shape_is_no_error() {
    let scene = Scene::start().await;
    for value in ["", "00-0-0-0", "junk", &"f".repeat(8 * 1024), "00-\u{e9}-\u{ff}-01", "a,b"] {
        let ask = Ask::get("/public").line("traceparent", value).line("tracestate", value);
        let answer = scene.ask(&ask).await;
        assert_eq!(answer.status, 200, "{value}");
        assert_eq!(scene.take().len(), 1);
    }
    scene.refuses(&Ask::get("/public").line("traceparent", &"f".repeat(40 * 1024)), 431).await;
    assert!(scene.backend.text().contains("\r\ntraceparent: 00-0-0-0\r\n"));
}

#[tokio::test(flavor = "local")]
async fn lek_16_a_name_of_a_request_that_does_not_fit_a_log_is_replaced() {
    let trusting = Scene::with(PLAIN, |it| {
        it.proxy.trusted_proxies = TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]);
    })
    .await;
    let distrusting = Scene::start().await;
    let long = "x".repeat(10 * 1024);
    for (scene, given, kept) in [
        (&trusting, "own-name", true),
        (&trusting, &long, false),
        (&trusting, "a b", false),
        (&trusting, "\u{1b}", false),
        (&trusting, "a\u{e9}", false),
        (&trusting, "", false),
        (&distrusting, "own-name", false),
    ] {
        if given == "\u{1b}" {
            scene.refuses(&Ask::get("/public").line("x-request-id", given), 400).await;
            continue;
        }
        let answer = scene.ask(&Ask::get("/public").line("x-request-id", given)).await;
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(id == given, kept, "{given:.20}: {id}");
        assert!(id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
        assert_eq!(scene.take()[0].header("x-request-id"), Some(id));
        assert!(scene.proxy.logged().contains(id));
    }
    // Two of them are none, and a line that would hide one is no head.
    let twice = Ask::get("/public").line("x-request-id", "one").line("x-request-id", "two");
    let answer = trusting.ask(&twice).await;
    assert!(!["one", "two"].contains(&answer.header("x-request-id").unwrap()));
    trusting
        .refuses_bytes("GET /public HTTP/1.1\r\nHost: p\r\nX-Request-Id: a\rb\r\n\r\n", 400)
        .await;
}

#[tokio::test(flavor = "local")]
async fn lek_17_a_browser_is_sent_back_to_a_host_of_ours_alone_and_without_what_clerk_put_there() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_for_browsers(&issuer, &upstream)).await;
    for (host, path) in [
        ("evil.test", "/page"),
        ("localhost.evil.test", "/page"),
        ("evil.test:3000", "/page"),
        ("localhost:3000@evil.test", "/page"),
        ("localhost:3000", "//evil.test/page"),
        ("localhost:3000", "/\\evil.test"),
    ] {
        let mut ask = Ask::get(path).host(host);
        ask = ask
            .lines("Accept: text/html\r\nSec-Fetch-Dest: document\r\nX-Forwarded-Host: evil.test");
        let mut client = Socket::open(&proxy.address).await;
        client.send(&ask.h1()).await;
        let got = client.answer().await.unwrap();
        assert!([400, 401].contains(&got.status), "{host} {path}: {got:?}");
        assert_eq!(got.header("location"), None, "{host} {path}");
    }
    let query =
        "a=1&__clerk_handshake=hunter2&__clerk_db_jwt=hunter2&__clerk_handshake_nonce=hunter2";
    let ask =
        Ask::get(&format!("/page?{query}")).host("localhost:3000").line("Accept", "text/html");
    let mut client = Socket::open(&proxy.address).await;
    client.send(&ask.h1()).await;
    let answer = client.answer().await.unwrap();
    let location = answer.header("location").unwrap_or_default().to_owned();
    assert!(!location.contains("evil"), "{location}");
    assert!(answer.status != 307 || !location.contains("hunter2"), "{location}");
    assert!(upstream.seen().is_empty());
}

/// There are no sessions of ours: no answer to a bearer token sets a cookie, and to browsers none but
/// Clerk's own, and the count that ends a loop of sign-ins.
#[tokio::test(flavor = "local")]
async fn lek_18_the_proxy_has_no_session_that_could_be_fixed() {
    let scene = Scene::start().await;
    for (what, token) in faults(&scene) {
        let answer = scene.ask(&Ask::get("/api").bearer(&token)).await;
        assert_eq!(answer.header("set-cookie"), None, "{what}");
    }
    for ask in [Ask::get("/api"), Ask::get("/public"), Ask::get("/api").bearer(&scene.token())] {
        assert_eq!(scene.ask(&ask).await.header("set-cookie"), None);
    }
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_for_browsers(&issuer, &upstream)).await;
    for cookies in ["", "__session=junk", "__client_uat=1700000000", "session=fixed; __session=x"] {
        let answer = page(&proxy, cookies).get("/page").await;
        for cookie in answer.headers.get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split_once('=').unwrap();
            let count = value.split(';').next().unwrap();
            let is_count = name.starts_with("__countersign_")
                && count.bytes().all(|byte| byte.is_ascii_digit());
            assert!(
                is_count || name.starts_with("__clerk") || name.starts_with("__session"),
                "{cookie:?}"
            );
        }
    }
}

#[tokio::test(flavor = "local")]
async fn lek_19_an_answer_to_head_has_no_body_and_leaves_the_connection_to_others() {
    let scene = Scene::start().await;
    for (target, status) in [("/api", 401), ("/nowhere", 401), ("/a//b", 400), ("/public/x", 200)] {
        let get = scene.ask(&Ask::get(target)).await;
        let mut client = Socket::open(&scene.proxy.address).await;
        client.to_head(true);
        client.send(&Ask::new("HEAD", target).h1()).await;
        let head = client.answer().await.unwrap();
        client.to_head(false);
        client.send(&Ask::get("/public/y").h1()).await;
        let next = client.answer().await.unwrap();

        assert_eq!((head.status, get.status, next.status), (status, status, 200), "{target}");
        for name in ["content-length", "content-type", "www-authenticate", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
        assert_eq!(next.text(), "ok", "{target}");
    }
    let backend =
        Recorder::replying(PLAIN.backend, Reply { status: 204, body: "", ..Reply::ok() }).await;
    let scene = Scene::before(PLAIN, backend, |_| {}).await;
    let mut client = Socket::open(&scene.proxy.address).await;
    for _ in 0..3 {
        client.send(&Ask::get("/public/y").h1()).await;
        assert_eq!(client.answer().await.unwrap().status, 204);
    }
}

#[tokio::test(flavor = "local")]
async fn lek_20_no_answer_of_ours_has_a_word_of_the_request_in_it() {
    let scene = Scene::start().await;
    let script = "<script>alert(1)</script>";
    for ask in [
        Ask::get("/<script>alert(1)<script>"),
        Ask::get("/%3Cscript%3Ealert(1)"),
        Ask::get(&format!("/x?{script}")),
        Ask::get("/x").line("referer", script).line("user-agent", script),
        Ask::get("/x").line("authorization", &format!("Bearer {script}")),
        Ask::get("/x").line("origin", script).line("cookie", script),
        Ask::new("TRACE", "/x").line("x-alert", script),
        Ask::get("//alert"),
    ] {
        let answer = scene.ask(&ask.line("accept", "text/html")).await;
        assert!(answer.status >= 400, "{answer:?}");
        assert!(!format!("{answer:?}").contains("alert"), "{answer:?}");
        if answer.body.is_empty() {
            continue; // of what is no request to the reader of HTTP nothing is said
        }
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}
