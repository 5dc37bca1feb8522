//! What a request is for: matched, signed and forwarded in one reading, or refused.

use countersign::clock::Clock;
use countersign::core::access::{Access, Demand, Demands};
use countersign::core::clerk::has::{Asked, Privilege};
use countersign::core::path::PathPolicy;
use countersign::core::route::{Case, Route, Routes};
use countersign::core::time::UnixTime;
use countersign::dev::verifier::Verifier;
use http::Method;
use serde_json::json;

use crate::signature::verify;
use crate::support::settings::{SECRET, route, settings_with_public};
use crate::support::{Answer, Issuer, Proxy, Upstream, settings};

/// Sends one request line and these header lines as they are.
async fn send(proxy: &Proxy, line: &str, headers: &str) -> Answer {
    // Latin-1, so that a row can hold any byte.
    let head = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    proxy.raw(head.chars().map(|it| u8::try_from(it).unwrap()).collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "local")]
async fn a_path_has_one_reading_or_goes_nowhere() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
    let host = "Host: a.test\r\n";
    let bearer = format!("{host}Authorization: Bearer {}\r\n", issuer.token());

    for (target, forwarded) in [
        // Read in two ways: refused, whoever asks.
        ("/public/../admin", None),
        ("/public/./admin", None),
        ("/public/..", None),
        ("/public/%2e%2e/admin", None),
        ("/public/.%2E/admin", None),
        ("/admin%2fsecret", None),
        ("/admin%2Fsecret", None),
        ("/public/..%2fadmin", None),
        ("/public/%252e%252e/admin", None),
        ("/public%252fx", None),
        ("/public\\..\\admin", None),
        ("/public%5c..%5cadmin", None),
        ("/admin%5cx", None),
        ("//public/x", None),
        ("/public//../admin", None),
        ("/public;/../admin", None),
        ("/admin;/public", None),
        ("/public/x;a=1", None),
        ("/public%3b/x", None),
        ("/admin%00", None),
        ("/public%00/../admin", None),
        ("/public%0a", None),
        ("/public%0d%0aX-Clerk-User-Id:%20root", None),
        ("/public%09", None),
        ("/public/%7f", None),
        ("/%c0%ae%c0%ae/admin", None),
        ("/public%c0%af", None),
        ("/public/\u{ff}", None),
        ("/public/\u{c3}\u{bc}", None),
        ("/%", None),
        ("/public/%2", None),
        ("/public/%zz", None),
        ("/%u002e", None),
        ("*", None),
        ("http://a.test/public/../admin", None),
        // Read in one way: what is matched is what is forwarded.
        ("/%70ublic", Some("/public")),
        ("/publi%63/x", Some("/public/x")),
        ("/public%7e", Some("/public~")),
        ("/public%20x", Some("/public%20x")),
        ("/%ef%bc%8e%ef%bc%8e/admin", Some("/%EF%BC%8E%EF%BC%8E/admin")),
        ("/PUBLIC", Some("/PUBLIC")),
        ("/Public/x", Some("/Public/x")),
        ("/publicadmin", Some("/publicadmin")),
        ("/public.admin", Some("/public.admin")),
        ("/public-/x", Some("/public-/x")),
        ("/admin?x=/public/", Some("/admin?x=/public/")),
        ("/admin?/public", Some("/admin?/public")),
        ("/admin?/../public", Some("/admin?/../public")),
        ("/nowhere", Some("/nowhere")),
        ("/", Some("/")),
        ("http://a.test", Some("/")),
        ("http://a.test/admin?q", Some("/admin?q")),
        ("http://A.TEST:80/%61dmin", Some("/admin")),
    ] {
        let before = upstream.seen().len();
        let is_public =
            forwarded.is_some_and(|path| path == "/public" || path.starts_with("/public/"));

        let answer = send(&proxy, &format!("GET {target}"), host).await;
        let want = match forwarded {
            None => 400,
            Some(_) if is_public => 200,
            Some(_) => 401,
        };
        assert_eq!(answer.status, want, "{target}: nobody");
        assert_eq!(upstream.seen().len() - before, usize::from(is_public), "{target}: nobody");

        let answer = send(&proxy, &format!("GET {target}"), &bearer).await;
        assert_eq!(answer.status, if forwarded.is_some() { 200 } else { 400 }, "{target}");
        if let Some(path) = forwarded {
            assert_eq!(upstream.last().target, path, "{target}");
            let principal = if is_public { "anonymous" } else { "user" };
            assert_eq!(upstream.last().header("x-clerk-principal"), Some(principal), "{target}");
        } else {
            assert_eq!(upstream.seen().len(), before, "{target}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_fragment_is_no_part_of_a_target() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;

    for target in ["/admin#/public", "/admin%23/public", "/admin?#/public"] {
        assert_ne!(send(&proxy, &format!("GET {target}"), "Host: a\r\n").await.status, 200);
    }
    for target in ["/public/x#/admin", "/public/x#/../../admin"] {
        let answer = send(&proxy, &format!("GET {target}"), "Host: a\r\n").await;
        let gone = answer.status == 400 || upstream.last().target == "/public/x";
        assert!(gone, "{target}: {answer:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn what_the_settings_allow_in_a_path_is_literal_text() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_with_public(&issuer, &upstream);
    settings.proxy.paths = PathPolicy {
        encoded_slash: true,
        encoded_backslash: true,
        encoded_dot: true,
        encoded_percent: true,
        double_slash: true,
        semicolon: true,
        backslash: true,
    };
    let proxy = Proxy::start(settings).await;

    for (target, nobody) in [
        ("/public/a%2fb", 200),
        ("/public%2fa", 401), // one segment, and not `public`
        ("/public;x/a", 401),
        ("/public/a;x", 200),
        ("//public/a", 401),
        ("/public/%252e%252e/a", 200),
        ("/public\\a", 401),
        ("/public/%2e%2e/a", 400),
        ("/public/..%2fa", 400),
        ("/public\\..\\a", 400),
        ("/public%5c..", 400),
        ("/public/a%00", 400),
    ] {
        let answer = send(&proxy, &format!("GET {target}"), "Host: a\r\n").await;
        assert_eq!(answer.status, nobody, "{target}");
        if nobody == 200 {
            assert!(upstream.last().target.eq_ignore_ascii_case(target), "{target}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn the_first_route_that_matches_decides() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    let hooks = Route { methods: Some(vec![Method::POST]), ..route("/hooks/**", Access::Public) };
    let page = Route { methods: Some(vec![Method::GET]), ..route("/page", Access::Public) };
    let of_host = Route { host: Some("open.test".into()), ..route("/app", Access::Public) };
    let rows = vec![
        hooks,
        page,
        of_host,
        route("/files/private/**", Access::SIGNED_IN),
        route("/files/**", Access::Public),
        route("/late", Access::Public),
        route("/late", Access::SIGNED_IN),
        route("/users/*/avatar", Access::Public),
    ];
    settings.proxy.routes = Routes::new(rows, Case::Sensitive);
    let proxy = Proxy::start(settings).await;

    for (method, host, path, status) in [
        ("POST", "a", "/hooks/1", 200),
        ("POST", "a", "/hooks", 200),
        ("GET", "a", "/hooks/1", 401),
        ("FOO", "a", "/hooks/1", 401),
        ("post", "a", "/hooks/1", 401),
        ("GET", "a", "/page", 200),
        ("GET", "a", "/page/", 200),
        ("HEAD", "a", "/page", 200),
        ("DELETE", "a", "/page", 401),
        ("OPTIONS", "a", "/page", 401),
        ("GET", "open.test", "/app", 200),
        ("GET", "OPEN.test:8080", "/app", 200),
        ("GET", "open.test.", "/app", 200),
        ("GET", "a", "/app", 401),
        ("GET", "open.test.evil", "/app", 401),
        ("GET", "a", "/files/x", 200),
        ("GET", "a", "/files/private/x", 401),
        ("GET", "a", "/files/private", 401),
        ("GET", "a", "/files/privates", 200),
        ("GET", "a", "/late", 200),
        ("GET", "a", "/users/7/avatar", 200),
        ("GET", "a", "/users/7/8/avatar", 401),
        ("GET", "a", "/users//avatar", 400),
        ("GET", "a", "/nowhere", 401),
    ] {
        let answer = send(&proxy, &format!("{method} {path}"), &format!("Host: {host}\r\n")).await;
        assert_eq!(answer.status, status, "{method} {host} {path}");
    }
    for name in ["x-http-method-override", "x-method-override", "x-http-method"] {
        let answer = send(&proxy, "GET /hooks/1", &format!("Host: a\r\n{name}: POST\r\n")).await;
        assert_eq!(answer.status, 401, "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn no_spelling_of_a_path_gets_past_a_role() {
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    let admin = Demand::Has(Asked::Role(Privilege::parse("org:admin").unwrap()));
    let admin = Access::Required(Demands::new(vec![admin]));
    let rows = vec![route("/public/**", Access::Public), route("/admin/**", admin)];
    settings.proxy.routes = Routes::new(rows, Case::Insensitive);
    let proxy = Proxy::start_with(settings, clock.clone()).await;
    let member = issuer.mint(json!({"o": {"id": "org_1", "rol": "member"}}));
    let verifier = Verifier::hmac(SECRET);

    let words = |word: &str| {
        let escaped: String = word.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let mixed = word.replacen('a', "%61", 1).replacen('p', "%50", 1);
        [word.to_owned(), word.to_uppercase(), escaped.clone(), mixed, escaped.replace('%', "%25")]
    };
    let separators =
        ["/", "//", "/./", "/x/../", "\\", "%2f", "%5c", ";a/", "%252f", "/%2e/", "%00/"];
    let (mut passed, mut refused) = (0, 0);
    for first in words("admin").into_iter().chain(words("public")) {
        for separator in separators {
            for second in ["admin", "%2e%2e/admin", "..%2fadmin", "a"] {
                let target = format!("/{first}{separator}{second}");
                let before = upstream.seen().len();
                let bearer = format!("Host: a\r\nAuthorization: Bearer {member}\r\n");
                let answer = send(&proxy, &format!("GET {target}"), &bearer).await;

                assert_eq!(upstream.seen().len() - before, usize::from(answer.status == 200));
                if answer.status != 200 {
                    assert!([400, 403].contains(&answer.status), "{target}: {}", answer.status);
                    refused += 1;
                    continue;
                }
                let seen = upstream.last();
                passed += 1;
                let plain = seen.target.to_ascii_lowercase();
                assert!(plain.starts_with("/public/"), "{target} was sent as {}", seen.target);
                assert!(!plain.contains(['%', '\\', ';']) && !plain.contains("/.."), "{target}");
                verify(&seen, &verifier, clock.now()).unwrap(); // over the very path that was sent
            }
        }
    }
    assert!(passed >= 8 && refused >= 300, "{passed} passed, {refused} refused");
}

#[tokio::test(flavor = "local")]
async fn a_request_has_one_host() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;

    for (target, hosts, forwarded) in [
        ("/public", &["a.test"][..], Some("a.test")),
        ("/public", &["A.Test"], Some("a.test")),
        ("/public", &["a.test:80"], Some("a.test")),
        ("/public", &["a.test:8080"], Some("a.test:8080")),
        ("/public", &["[::1]:81"], Some("[::1]:81")),
        ("http://A.test/public", &["a.TEST:80"], Some("a.test")),
        ("/public", &[], None),
        ("/public", &[""], None),
        ("/public", &["a", "a"], None),
        ("/public", &["a", "b"], None),
        ("/public", &["a, b"], None),
        ("/public", &["a b"], None),
        ("/public", &["a/b"], None),
        ("/public", &["a?b"], None),
        ("/public", &["a\\b"], None),
        ("/public", &["a@b"], None),
        ("/public", &["a:99999"], None),
        ("/public", &["a:0"], None),
        ("/public", &["a:"], None),
        ("/public", &["[fe80::1%25eth0]"], None),
        ("/public", &["\u{ff}"], None),
        ("http://other/public", &["self"], None),
        ("http://self/public", &[], None),
        ("http://public@self/public", &["self"], None),
        ("https://self/public", &["self"], None),
        ("hTTps://self/public", &["self"], None),
        ("ftp://self/public", &["self"], None),
        ("javascript://self/public", &["self"], None),
        ("self/public", &["self"], None),
    ] {
        let before = upstream.seen().len();
        let lines: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let answer = send(&proxy, &format!("GET {target}"), &lines).await;

        let case = format!("{target} {hosts:?}");
        assert_eq!(answer.status, if forwarded.is_some() { 200 } else { 400 }, "{case}");
        assert_eq!(upstream.seen().len() - before, usize::from(forwarded.is_some()), "{case}");
        if let Some(host) = forwarded {
            assert_eq!(upstream.last().header("host"), Some(host), "{case}");
            assert_eq!(upstream.last().header("x-forwarded-host"), Some(host), "{case}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn trace_and_connect_are_refused_and_end_the_connection() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;

    for line in ["TRACE /public", "CONNECT evil.test:25", "CONNECT a.test:80", "TRACE *"] {
        let answer = send(&proxy, line, "Host: a.test\r\nAuthorization: Bearer secret\r\n").await;
        assert_eq!((answer.status, answer.reason().as_str()), (405, "method-refused"), "{line}");
        assert!(answer.header("allow").is_some_and(|allow| !allow.contains("TRACE")), "{line}");
        assert!(!answer.text().contains("secret"), "{line}");
    }
    // What follows a CONNECT was meant for a tunnel, and is no request.
    let head = "CONNECT evil.test:25 HTTP/1.1\r\nHost: evil.test:25\r\n\r\n";
    let next = "GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers =
        crate::support::client::raw(&proxy.address, format!("{head}{next}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_refusal_of_head_has_the_fields_of_get_and_no_body() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
    let get = send(&proxy, "GET /", "Host: a\r\n").await;
    let head = send(&proxy, "HEAD /", "Host: a\r\n").await;

    assert_eq!((head.status, head.body.len()), (401, 0));
    for name in ["content-length", "content-type", "www-authenticate", "x-clerk-auth-reason"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_target_over_the_limit_is_refused() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;

    for (length, statuses) in
        [(8 * 1024, &[200][..]), (33 * 1024, &[414, 431]), (70 * 1024, &[414, 431])]
    {
        let target = format!("/public/{}", "x".repeat(length));
        let answer = send(&proxy, &format!("GET {target}"), "Host: a\r\n").await;
        assert!(statuses.contains(&answer.status), "{length}: {}", answer.status);
    }
    let dots = "../".repeat(5000);
    assert_eq!(send(&proxy, &format!("GET /public/{dots}admin"), "Host: a\r\n").await.status, 400);
}
