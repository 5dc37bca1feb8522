//! What an operator sees: metrics, log lines, the admin listener; and what nobody sees.

use std::collections::BTreeSet;

use countersign::admin::StatusAccess;
use countersign::clock::Clock;
use countersign::core::access::Access;
use countersign::core::route::{Case, Routes};
use countersign::core::time::UnixTime;
use countersign::http_client::FetchUrl;
use countersign::keys::KeySource;
use countersign::proxy::TrustedProxies;
use countersign::telemetry::{CallerShown, LogFormat};
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::settings::{SECRET, route, settings_for, settings_with_public};
use crate::support::{Answer, Client, Issuer, Proxy, Upstream, settings, until};

/// Every metric of the interface that there is by now.
const METRICS: &[&str] = &[
    "countersign_auth_duration_seconds",
    "countersign_azp_missing_total",
    "countersign_build_info",
    "countersign_config_last_reload_success_timestamp_seconds",
    "countersign_config_last_reload_successful",
    "countersign_connections",
    "countersign_connections_limit",
    "countersign_handshake_loops_total",
    "countersign_jwks_keys",
    "countersign_jwks_last_success_timestamp_seconds",
    "countersign_jwks_refreshes_total",
    "countersign_jwks_stale",
    "countersign_jwks_unknown_kid_total",
    "countersign_keys_max_stale_seconds",
    "countersign_overload_total",
    "countersign_panics_total",
    "countersign_request_duration_seconds",
    "countersign_requests_in_flight",
    "countersign_requests_total",
    "countersign_responses_total",
    "countersign_streams_ended_total",
    "countersign_stripped_headers_total",
    "countersign_token_cache_entries",
    "countersign_token_cache_lookups_total",
    "countersign_upstream_connections",
    #[cfg(target_os = "linux")]
    "countersign_upstream_exposed",
    "countersign_upstream_request_duration_seconds",
    "countersign_upstream_requests_total",
];

#[tokio::test(flavor = "local")]
async fn every_metric_appears_with_its_labels() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    let routes = vec![route("/public/**", Access::Public), route("/admin/**", Access::SIGNED_IN)];
    settings.proxy.routes = Routes::new(routes, Case::Sensitive);
    let proxy = Proxy::start(settings).await;
    let token = issuer.mint(json!({"azp": null}));

    for _ in 0..3 {
        assert_eq!(proxy.get("/", &token).await.status, 200);
    }
    let spoofed = proxy.client().header("x-clerk-user-id", "root").header("remote-user", "root");
    assert_eq!(spoofed.header("keep-alive", "1").get("/public/x").await.status, 200);
    assert_eq!(proxy.client().get("/admin/x").await.status, 401);
    assert_eq!(proxy.get("/", "junk").await.status, 401);
    assert_eq!(proxy.client().header("authorization", "Bearer").get("/").await.status, 401);
    assert_eq!(proxy.get("/", &issuer.mint(json!({"$header": {"kid": "x"}}))).await.status, 401);
    assert_eq!(proxy.client().get("/a//b").await.status, 400);

    let text = proxy.admin("/metrics").await.text();
    let names: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("countersign_"))
        .collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), METRICS);
    let origin = issuer.origin();
    for (line, want) in [
        (
            r#"requests_total{carrier="header",decision="allowed",reason="none",route="default"}"#,
            3.0,
        ),
        (
            r#"requests_total{carrier="none",decision="anonymous",reason="none",route="/public/**"}"#,
            1.0,
        ),
        (
            r#"requests_total{carrier="none",decision="rejected",reason="session-token-and-uat-missing",route="/admin/**"}"#,
            1.0,
        ),
        (
            r#"requests_total{carrier="header",decision="rejected",reason="token-invalid",route="default"}"#,
            2.0,
        ),
        (
            r#"requests_total{carrier="header",decision="rejected",reason="jwk-kid-mismatch",route="default"}"#,
            1.0,
        ),
        (
            r#"requests_total{carrier="none",decision="rejected",reason="request-malformed",route="none"}"#,
            1.0,
        ),
        (r#"responses_total{code="200",route="default"}"#, 3.0),
        (r#"responses_total{code="200",route="/public/**"}"#, 1.0),
        (r#"responses_total{code="401",route="/admin/**"}"#, 1.0),
        (r#"responses_total{code="400",route="none"}"#, 1.0),
        (r#"request_duration_seconds_count{route="default"}"#, 6.0),
        (r#"upstream_request_duration_seconds_count{route="default"}"#, 3.0),
        (r#"auth_duration_seconds_count{source="verified"}"#, 1.0),
        (r#"auth_duration_seconds_count{source="cache"}"#, 2.0),
        (r#"auth_duration_seconds_count{source="waited"}"#, 0.0),
        (r#"auth_duration_seconds_bucket{source="cache",le="0.000005"}"#, f64::NAN),
        (r#"token_cache_lookups_total{result="hit"}"#, 2.0),
        (r#"token_cache_lookups_total{result="miss"}"#, 3.0), // a bad token is looked up too
        (r#"jwks_refreshes_total{issuer="ISSUER",result="ok"}"#, 1.0),
        (r#"jwks_refreshes_total{issuer="ISSUER",result="unchanged"}"#, 1.0),
        (r#"jwks_refreshes_total{issuer="ISSUER",result="error"}"#, 0.0),
        (r#"jwks_keys{issuer="ISSUER"}"#, 1.0),
        (r#"jwks_stale{issuer="ISSUER"}"#, 0.0),
        (r#"keys_max_stale_seconds{issuer="ISSUER"}"#, 86400.0),
        (r#"jwks_last_success_timestamp_seconds{issuer="ISSUER"}"#, f64::NAN),
        (r#"jwks_unknown_kid_total{action="refetched",issuer="ISSUER"}"#, 1.0),
        (r#"jwks_unknown_kid_total{action="throttled",issuer="ISSUER"}"#, 0.0),
        (r#"jwks_unknown_kid_total{action="negative_cached",issuer="ISSUER"}"#, 0.0),
        (r#"azp_missing_total{carrier="header"}"#, 3.0),
        (r#"stripped_headers_total{kind="identity"}"#, 1.0),
        (r#"stripped_headers_total{kind="foreign_identity"}"#, 1.0),
        (r#"stripped_headers_total{kind="hop_by_hop"}"#, 1.0),
        (r#"upstream_requests_total{result="ok"}"#, 4.0),
        (r#"upstream_requests_total{result="retried"}"#, 0.0),
        (r#"upstream_requests_total{result="unreachable"}"#, 0.0),
        (r#"upstream_requests_total{result="timeout"}"#, 0.0),
        (r#"upstream_requests_total{result="broken"}"#, 0.0),
        (r#"upstream_connections{state="idle"}"#, 1.0),
        (r#"upstream_connections{state="active"}"#, 0.0),
        ("connections_limit", f64::NAN),
        ("requests_in_flight", 0.0),
        ("overload_total", 0.0),
        ("panics_total", 0.0),
        ("config_last_reload_successful", 1.0),
        ("config_last_reload_success_timestamp_seconds", f64::NAN),
        (concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1.0),
    ] {
        let line = format!("countersign_{} ", line.replace("ISSUER", &origin));
        let value = text.lines().find_map(|it| it.strip_prefix(&line)?.parse::<f64>().ok());
        let Some(value) = value else { panic!("no {line}\n{text}") };
        assert!(want.is_nan() || (value - want).abs() < f64::EPSILON, "{line}{value}, not {want}");
    }
    #[cfg(target_os = "linux")]
    assert!(text.contains("\nprocess_resident_memory_bytes "));
}

#[tokio::test(flavor = "local")]
async fn what_is_not_the_requests_fault_counts_as_failed() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let nobody = settings_for(&issuer.origin(), "127.0.0.1:1");
    let proxy = Proxy::start(nobody).await;
    assert_eq!(proxy.get("/", &issuer.token()).await.reason(), "upstream-unreachable");
    let failed = r#"countersign_requests_total{carrier="header",decision="failed",reason="upstream-unreachable",route="default"}"#;
    assert_eq!(proxy.metric(failed).await, 1.0);
    assert_eq!(
        proxy.metric(r#"countersign_upstream_requests_total{result="unreachable"}"#).await,
        1.0
    );

    let mut keyless = settings_for(&issuer.origin(), "127.0.0.1:1");
    let nowhere = FetchUrl::parse("http://127.0.0.1:1/keys").unwrap();
    keyless.issuers[0].keys.source = KeySource::Url(nowhere);
    let proxy = Proxy::start_at(keyless, Clock::System).await;
    let answer = proxy.get("/", &issuer.token()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let failed = r#"countersign_requests_total{carrier="header",decision="failed",reason="keys-unavailable",route="default"}"#;
    assert_eq!(proxy.metric(failed).await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn no_label_comes_from_a_request() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
    let origin = issuer.origin();
    let run = async |n: u32| {
        let client = || proxy.client().header("host", &format!("h{n}.test"));
        let method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
        assert_eq!(client().send(method, &format!("/p{n}"), "").await.status, 401);
        client().get(&format!("/public/{n}?q={n}")).await;
        for claims in [
            json!({"sub": format!("user_{n}"), "sid": format!("sess_{n}")}),
            json!({"iss": format!("{origin}/{n}")}),
            json!({"azp": format!("https://{n}.test")}),
            json!({"$header": {"kid": format!("kid{n}")}}),
            json!({"$header": {"alg": format!("alg{n}")}}),
            json!({"$header": {"cat": format!("cat{n}")}}),
        ] {
            client()
                .header("origin", &format!("https://{n}.test"))
                .bearer(&issuer.mint(claims))
                .get("/")
                .await;
        }
    };
    let series = async || {
        let text = proxy.admin("/metrics").await.text();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };

    run(0).await;
    let before = series().await;
    for n in 1..20 {
        run(n).await;
    }
    assert_eq!(series().await, before);
}

/// The access log's lines so far.
fn lines(proxy: &Proxy) -> Vec<Value> {
    let logged = proxy.logged();
    let lines = logged.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["target"] == "access").collect()
}

#[tokio::test(flavor = "local")]
async fn each_request_is_one_line_of_the_access_log() {
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(settings_with_public(&issuer, &upstream), clock).await;
    let token = issuer.mint(json!({
        "sub": "user_1", "sid": "sess_1", "act": {"sub": "user_2"},
        "o": {"id": "org_1", "slg": "a", "rol": "admin"},
    }));

    let allowed = proxy.client().bearer(&token).post("/orders?secret=1", "hello").await;
    let anonymous = proxy.client().get("/public/a%20b").await;
    let refused = proxy.get("/x|y{\"z\"}", "junk").await;
    let malformed = proxy.raw("GET /\u{1b}[2J%zz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let broken = proxy.raw("GET /%0a%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;

    let lines = lines(&proxy);
    let first = &lines[0];
    for (field, want) in [
        ("timestamp", json!("2023-11-14T22:13:20.000Z")),
        ("level", json!("INFO")),
        ("request_id", json!(allowed.header("x-request-id"))),
        ("method", json!("POST")),
        ("route", json!("default")),
        ("path", json!("/orders")),
        ("status", json!(200)),
        ("decision", json!("allowed")),
        ("reason", json!("none")),
        ("carrier", json!("header")),
        ("token_type", json!("session_token")),
        ("sub", json!("user_1")),
        ("sid", json!("sess_1")),
        ("org_id", json!("org_1")),
        ("actor", json!("user_2")),
        ("iss", json!(issuer.origin())),
        ("bytes_in", json!(5)),
        ("bytes_out", json!(2)),
        ("client", json!("127.0.0.1")),
    ] {
        assert_eq!(first[field], want, "{field} of {first}");
    }
    for field in ["duration_us", "auth_us", "upstream_us"] {
        assert!(first[field].is_u64(), "{field} of {first}");
    }
    assert!(first["kid"].as_str().unwrap().starts_with("ins_"));

    let of = |line: &Value, answer: &Answer| {
        assert_eq!(line["request_id"], json!(answer.header("x-request-id")), "{line}");
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (
            line["status"].as_u64().unwrap(),
            text("path"),
            text("decision"),
            text("reason"),
            text("carrier"),
        )
    };
    let row = |status, path: &str, decision: &str, reason: &str, carrier: &str| {
        (status, path.to_owned(), decision.to_owned(), reason.to_owned(), carrier.to_owned())
    };
    assert_eq!(of(&lines[1], &anonymous), row(200, "/public/a%20b", "anonymous", "none", "none"));
    assert_eq!(lines[1]["sub"], Value::Null);
    assert_eq!(
        of(&lines[2], &refused),
        row(401, "/x|y{\"z\"}", "rejected", "token-invalid", "header")
    );
    assert_eq!(malformed.status, 400);
    assert_eq!(
        of(&lines[3], &broken),
        row(400, "/%0a%zz", "rejected", "request-malformed", "none")
    );
    assert_eq!(lines.len(), 4, "what is no request has no line");
}

#[tokio::test(flavor = "local")]
async fn a_trace_passes_as_it_is_and_is_logged_where_it_is_one() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (baggage, state) = ("a=1;p=%20, b=2", ["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]);

    for (parents, parent, told) in [
        (&[good][..], json!(good), json!("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")),
        (&[good, good], Value::Null, Value::Null),
        (&["00-junk\u{a0}"], Value::Null, Value::Null),
        (&[], Value::Null, Value::Null),
    ] {
        let mut client = proxy.client().bearer(&issuer.token()).header("baggage", baggage);
        for value in parents {
            client = client.header("traceparent", value);
        }
        for value in state {
            client = client.header("tracestate", value);
        }
        assert_eq!(client.get("/").await.status, 200);

        let seen = upstream.last();
        let values = |name: &str| -> Vec<&[u8]> {
            seen.headers.get_all(name).iter().map(|it| it.as_bytes()).collect()
        };
        let bytes = |texts: &[&'static str]| -> Vec<&[u8]> {
            texts.iter().map(|it| it.as_bytes()).collect()
        };
        assert_eq!(values("traceparent"), bytes(parents));
        assert_eq!(values("tracestate"), bytes(&state));
        assert_eq!(values("baggage"), bytes(&[baggage]));
        let lines = lines(&proxy);
        let line = lines.last().unwrap();
        assert_eq!((&line["traceparent"], &line["tracestate"]), (&parent, &told), "{line}");
    }
}

#[tokio::test(flavor = "local")]
async fn the_access_log_shows_callers_as_the_settings_say() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let token = issuer.mint(json!({"sub": "user_1", "sid": "sess_1", "act": {"sub": "user_2"}}));
    for (caller, format) in [
        (CallerShown::Hash, LogFormat::Json),
        (CallerShown::Omit, LogFormat::Json),
        (CallerShown::Hash, LogFormat::Text),
        (CallerShown::Omit, LogFormat::Text),
    ] {
        let mut settings = settings(&issuer, &upstream);
        settings.log.caller = caller;
        settings.log.format = format;
        let proxy = Proxy::start(settings).await;
        for _ in 0..2 {
            assert_eq!(proxy.get("/", &token).await.status, 200);
        }
        let logged = proxy.logged();
        for gone in ["user_1", "sess_1", "user_2"] {
            assert!(!logged.contains(gone), "{caller:?} {format:?}: {gone}");
        }
        if format == LogFormat::Json {
            let lines = lines(&proxy);
            assert_eq!(lines[0]["sub"], lines[1]["sub"], "one caller is one hash");
            assert_eq!(lines[0]["sub"].is_string(), caller == CallerShown::Hash);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_method_that_somebody_made_up_does_not_fill_the_log() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let token = issuer.token();
    for (method, logged) in [
        ("UPDATEREDIRECTREF", "UPDATEREDIRECTREF"),
        ("UPDATEREDIRECTREFS", "(longer than any)"),
        (token.as_str(), "(longer than any)"),
    ] {
        let asked = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(proxy.raw(asked).await.status, 401);
        let log = proxy.logged();
        let line = log.lines().rfind(|line| line.contains("\"target\":\"access\"")).unwrap();
        assert!(line.contains(&format!("\"method\":\"{logged}\"")), "{line}");
        assert!(!log.contains(&token[..40]));
    }
}

#[tokio::test(flavor = "local")]
async fn no_access_log_is_written_where_none_is_wanted() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.log.access = false;
    let proxy = Proxy::start(settings).await;

    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
    assert!(lines(&proxy).is_empty());
}

#[tokio::test(flavor = "local")]
async fn no_token_and_no_secret_is_written_anywhere() {
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(settings_with_public(&issuer, &upstream), clock.clone()).await;
    let tokens: Vec<String> = [
        json!({}),
        json!({"exp": 1}),
        json!({"iss": "https://evil.example"}),
        json!({"$header": {"cat": "zzz"}}),
        json!({"$header": {"alg": "none"}}),
        json!({"$header": {"kid": "unknown"}}),
        json!({"sts": "pending", "email": "somebody@private.example"}),
    ]
    .map(|claims| issuer.mint(claims))
    .into();

    let mut told = Vec::new();
    for token in &tokens {
        for path in ["/", "/public", "/a//b", "/"] {
            let client = proxy
                .client()
                .bearer(token)
                .header("cookie", "__session=cookie-secret; a=cookie-secret")
                .header("proxy-authorization", "Basic hop-secret");
            told.push(client.get(&format!("{path}?access_token=query-secret")).await);
        }
        let twice = proxy.client().bearer(token).header("authorization", "Basic basic-secret");
        told.push(twice.get("/").await);
        told.push(proxy.client().header("authorization", token).get("/").await);
        told.push(
            proxy.raw(format!("GET / HTTP/1.1\r\nAuthorization : Bearer {token}\r\n\r\n")).await,
        );
        told.push(proxy.client().bearer(token).post("/", "body-secret").await);
    }
    clock.set(UnixTime::from_secs(1_700_001_000));
    told.push(proxy.get("/", &tokens[0]).await);
    for path in ["/status", "/metrics", "/readyz", "/.well-known/jwks.json", "/secret"] {
        told.push(proxy.admin(path).await);
    }
    let mut all = proxy.logged();
    for answer in told {
        all.push_str(&format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body)));
    }

    assert!(all.contains("rejected") && all.contains("jwk-kid-mismatch"), "there is a log");
    let parts = tokens.iter().flat_map(|token| token.split('.').skip(1)); // a header is no secret
    for secret in parts.chain([
        "cookie-secret",
        "hop-secret",
        "query-secret",
        "basic-secret",
        "body-secret",
        "somebody@private.example",
        std::str::from_utf8(SECRET).unwrap(),
    ]) {
        assert!(secret.len() > 8 && !all.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "local")]
async fn the_admin_listener_answers_what_is_asked_and_takes_no_orders() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let (text, object) = ("text/plain; charset=utf-8", "application/json");

    for (path, status, kind, cache) in [
        ("/livez", 200, text, "no-store"),
        ("/readyz", 200, text, "no-store"),
        ("/readyz?verbose", 200, text, "no-store"),
        ("/metrics", 200, "text/plain; version=0.0.4", "no-store"),
        ("/status", 200, object, "no-store"),
        ("/.well-known/jwks.json", 200, object, "public, max-age=60"),
        ("/", 404, text, "no-store"),
        ("/livez/", 404, text, "no-store"),
        ("/debug/pprof", 404, text, "no-store"),
        ("/.well-known/../status", 404, text, "no-store"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = Client::to(&proxy.admin).send(method.clone(), path, "").await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.header("content-type"), Some(kind), "{method} {path}");
            assert_eq!(answer.header("cache-control"), Some(cache), "{method} {path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(answer.body.is_empty(), method == Method::HEAD, "{method} {path}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = Client::to(&proxy.admin).send(method.clone(), path, "x").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
    // What the admin listener has is not on the other one, and the other way round.
    for path in ["/livez", "/readyz", "/metrics", "/status", "/.well-known/jwks.json"] {
        assert_eq!(proxy.client().get(path).await.status, 401, "{path}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn status_tells_of_keys_and_readiness_of_what_is_missing() {
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.admin.status = StatusAccess::Loopback;
    let proxy = Proxy::start_with(settings.clone(), clock.clone()).await;
    clock.set(UnixTime::from_secs(1_700_000_010));

    let status = proxy.admin("/status").await.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["settings_fingerprint"].as_str().is_some_and(|text| text.len() >= 12));
    assert_eq!(status["draining"], false);
    let told = &status["issuers"][0];
    assert_eq!(told["issuer"], issuer.origin());
    assert!(told["keys"][0]["kid"].as_str().unwrap().starts_with("ins_"));
    assert_eq!(told["keys"][0]["algorithms"], json!(["RS256"]));
    assert_eq!(told["keys"][0]["age_seconds"], 10);
    assert_eq!(told["last_success_age_seconds"], 10);
    assert!(told["next_refresh_seconds"].as_u64().is_some_and(|wait| wait > 0), "{told}");
    assert_eq!(told["last_error"], Value::Null);

    let mut other = settings.clone();
    other.proxy.reveal_reason = false;
    let other = Proxy::start_with(other, clock.clone()).await;
    let fingerprint = other.admin("/status").await.json()["settings_fingerprint"].clone();
    assert_ne!(fingerprint, status["settings_fingerprint"], "other settings, another one");

    let mut keyless = settings;
    keyless.issuers[0].keys.source = KeySource::File("/nowhere/keys.json".into());
    let keyless = Proxy::start_at(keyless, clock).await;
    assert_eq!(keyless.get("/", &issuer.token()).await.status, 503);
    let ready = keyless.admin("/readyz").await;
    assert_eq!(
        (ready.status, ready.text().as_str()),
        (503, "no usable key set of any issuer yet\n")
    );
    assert_eq!(keyless.admin("/livez").await.status, 200);
    let told = &keyless.admin("/status").await.json()["issuers"][0];
    assert_eq!((&told["usable"], told["last_error"].is_string()), (&json!(false), true), "{told}");
}

#[tokio::test(flavor = "local")]
async fn a_refusal_is_a_problem_that_gives_nothing_away() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let revealing = settings_with_public(&issuer, &upstream);
    let mut silent = revealing.clone();
    silent.proxy.reveal_reason = false;
    let (revealing, silent) = (Proxy::start(revealing).await, Proxy::start(silent).await);
    let token = |claims: Value| Some(issuer.mint(claims));
    let mut silenced = Vec::new();

    for (path, token, status, title, reason) in [
        ("/", None, 401, "Unauthorized", "session-token-and-uat-missing"),
        ("/", Some("junk".to_owned()), 401, "Unauthorized", "token-invalid"),
        ("/", token(json!({"exp": 1})), 401, "Unauthorized", "session-token-expired"),
        ("/", token(json!({"iss": "x"})), 401, "Unauthorized", "token-invalid-issuer"),
        ("/", token(json!({"azp": "x"})), 401, "Unauthorized", "token-invalid-authorized-parties"),
        ("/", token(json!({"$header": {"kid": "x"}})), 401, "Unauthorized", "jwk-kid-mismatch"),
        ("/", token(json!({"sts": "pending"})), 401, "Unauthorized", "session-pending"),
        ("/a//b", None, 400, "Bad Request", "request-malformed"),
    ] {
        let ask = async |proxy: &Proxy| {
            let client = proxy.client();
            let client = token.iter().fold(client, |client, token| client.bearer(token));
            client.get(&format!("{path}?script")).await
        };
        let answer = ask(&revealing).await;
        assert_eq!(answer.status, status, "{reason}");
        let id = answer.header("x-request-id").unwrap();
        let want = json!({"title": title, "status": status, "reason": reason, "request_id": id});
        assert_eq!(answer.json(), want);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-clerk-auth-message"), None);
        let of_401 = |value: &'static str| (status == 401).then_some(value);
        assert_eq!(answer.header("x-clerk-auth-status"), of_401("signed-out"));
        assert_eq!(answer.header("x-clerk-auth-reason"), of_401(reason));

        let answer = ask(&silent).await;
        assert!(!format!("{answer:?}").contains(reason), "{answer:?}");
        let mut body = answer.json();
        assert!(body["request_id"].take().is_string());
        if token.is_some() {
            silenced.push((
                answer.status,
                answer.header("www-authenticate").map(str::to_owned),
                body,
            ));
        }
        assert!(silent.logged().contains(reason), "the log has it");
    }
    assert!(silenced.windows(2).all(|pair| pair[0] == pair[1]), "{silenced:?}");
}

#[tokio::test(flavor = "local")]
async fn a_request_has_one_name_everywhere() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let distrusting = settings(&issuer, &upstream);
    let mut trusting = distrusting.clone();
    trusting.proxy.trusted_proxies = TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]);
    let (distrusting, trusting) = (Proxy::start(distrusting).await, Proxy::start(trusting).await);
    let long = "x".repeat(129);

    for (proxy, given, kept) in [
        (&distrusting, "abc-1", false),
        (&trusting, "abc-1", true),
        (&trusting, "a b", false),
        (&trusting, "a\"b", true),
        (&trusting, &long, false),
        (&trusting, "", false),
    ] {
        for token in [issuer.token(), "junk".to_owned()] {
            let client = proxy.client().bearer(&token).header("x-request-id", given);
            let answer = client.get("/").await;

            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id == given, kept, "{given:?}: {id}");
            let line = lines(proxy).pop().unwrap();
            assert_eq!(line["request_id"], id);
            match answer.status {
                200 => assert_eq!(upstream.last().header("x-request-id"), Some(id)),
                _ => assert_eq!(answer.json()["request_id"], id),
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn forwarded_headers_are_believed_of_trusted_proxies_alone() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let distrusting = settings(&issuer, &upstream);
    let mut trusting = distrusting.clone();
    trusting.proxy.trusted_proxies = TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]);
    let (distrusting, trusting) = (Proxy::start(distrusting).await, Proxy::start(trusting).await);

    for (proxy, chain, proto, host, port, client) in [
        (&distrusting, "127.0.0.1", "http", "app.test", None, "127.0.0.1"),
        (&trusting, "6.6.6.6, 127.0.0.1", "https", "public.test", Some("443"), "6.6.6.6"),
    ] {
        let answer = proxy
            .client()
            .bearer(&issuer.token())
            .header("host", "app.test")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "public.test")
            .header("x-forwarded-port", "443")
            .header("x-forwarded-uri", "/admin")
            .header("forwarded", "for=6.6.6.6")
            .get("/")
            .await;

        assert_eq!(answer.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.header("x-forwarded-for"), Some(chain));
        assert_eq!(seen.header("x-forwarded-proto"), Some(proto));
        assert_eq!(seen.header("x-forwarded-host"), Some(host));
        assert_eq!(seen.header("x-forwarded-port"), port);
        assert_eq!((seen.header("forwarded"), seen.header("x-forwarded-uri")), (None, None));
        assert_eq!(seen.header("host"), Some("app.test"), "the host is the request's own");
        assert_eq!(lines(proxy)[0]["client"], client);
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_left_before_the_answer_is_counted_and_logged() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|socket| async move {
        let _kept = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let request = format!(
        "GET /slow HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
        issuer.token()
    );

    let mut client = TcpStream::connect(&proxy.address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    until("the backend is asked", async || upstream.connections() == 1).await;
    drop(client);

    let line = r#"countersign_requests_total{carrier="header",decision="rejected",reason="client-gone",route="default"}"#;
    until("it is counted", async || proxy.metric(line).await == 1.0).await;
    assert!(proxy.logged().contains(r#""path":"/slow","status":499"#), "{}", proxy.logged());
}

/// Its end is read with its request, before anything was done about that.
#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_at_once_is_counted_and_logged() {
    const CLIENTS: usize = 8;
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(&proxy.address).await.unwrap();
        client.write_all(b"GET /at-once HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    }
    let line = r#"countersign_requests_total{carrier="none",decision="rejected",reason="client-gone",route="none"}"#;
    until("all are counted", async || proxy.metric(line).await == CLIENTS as f64).await;
    assert!(proxy.logged().contains(r#""path":"/at-once","status":499"#), "{}", proxy.logged());
}

#[test]
fn the_readme_tells_of_every_metric() {
    let readme = include_str!("../../README.md");
    for metric in METRICS.iter().filter(|metric| metric.starts_with("countersign_")) {
        assert!(readme.contains(&format!("`{metric}`")), "{metric}");
    }
}
