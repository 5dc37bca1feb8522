//! Requests of web pages of other origins: preflights, and refusals a script can read.

use countersign::clock::Clock;
use countersign::proxy::Preflight;
use http::Method;

use crate::support::settings::settings_with_public;
use crate::support::{Issuer, Proxy, Upstream, client, settings};

const PARTY: &str = "http://localhost:3000";
const METHOD: &str = "access-control-request-method";

#[tokio::test(flavor = "local")]
async fn a_preflight_goes_to_the_backend_as_from_nobody() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    for origin in [PARTY, "https://other.example", "null"] {
        let answer = proxy
            .client()
            .header("origin", origin)
            .header(METHOD, "PUT")
            .header("access-control-request-headers", "authorization")
            .header("cookie", "__session=x; a=1")
            .header("authorization", "Bearer forged")
            .header("x-clerk-user-id", "root")
            .header("x-http-method-override", "DELETE")
            .header("x-method-override", "DELETE")
            .header("x-http-method", "DELETE")
            .send(Method::OPTIONS, "/orders?a=b", "with a body")
            .await;

        assert_eq!(answer.status, 200, "{origin}");
        let seen = upstream.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("OPTIONS", "/orders?a=b"));
        assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"));
        assert_eq!(seen.header("x-clerk-user-id"), Some(""));
        assert_eq!((seen.header("origin"), seen.header(METHOD)), (Some(origin), Some("PUT")));
        assert!(seen.body.is_empty() && seen.trailers.is_none());
        for gone in [
            "authorization",
            "cookie",
            "content-length",
            "transfer-encoding",
            "x-http-method-override",
            "x-method-override",
            "x-http-method",
        ] {
            assert_eq!(seen.header(gone), None, "{gone}");
        }
    }
    let decided = r#"countersign_requests_total{carrier="none",decision="anonymous",reason="none",route="default"}"#;
    assert_eq!(proxy.metric(decided).await, 3.0);
}

#[tokio::test(flavor = "local")]
async fn the_body_of_a_preflight_is_no_request() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
    let inner = "GET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let head = format!(
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: {PARTY}\r\nAccess-Control-Request-Method: PUT\r\n\
         Content-Length: {}\r\n\r\n{inner}",
        inner.len()
    );

    let answers = client::raw(&proxy.address, head.as_bytes()).await;

    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn any_other_options_request_is_a_request_like_others() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let forwarding = settings(&issuer, &upstream);
    let mut refusing = forwarding.clone();
    refusing.proxy.preflight = Preflight::Refuse;
    let (forwarding, refusing) = (Proxy::start(forwarding).await, Proxy::start(refusing).await);
    let token = issuer.token();

    for (proxy, method, headers) in [
        (&forwarding, Method::OPTIONS, &[][..]),
        (&forwarding, Method::OPTIONS, &[("origin", PARTY)]),
        (&forwarding, Method::OPTIONS, &[(METHOD, "PUT")]),
        (&forwarding, Method::OPTIONS, &[("origin", PARTY), ("origin", PARTY), (METHOD, "PUT")]),
        (&forwarding, Method::OPTIONS, &[("origin", PARTY), (METHOD, "PUT"), (METHOD, "GET")]),
        (&forwarding, Method::GET, &[("origin", PARTY), (METHOD, "PUT")]),
        (
            &forwarding,
            Method::from_bytes(b"options").unwrap(),
            &[("origin", PARTY), (METHOD, "PUT")],
        ),
        (&refusing, Method::OPTIONS, &[("origin", PARTY), (METHOD, "PUT")]),
    ] {
        let before = upstream.seen().len();
        let client =
            headers.iter().fold(proxy.client(), |it, (name, value)| it.header(name, value));
        let nobody = client.clone().send(method.clone(), "/", "").await;
        assert_eq!(nobody.status, 401, "{method} {headers:?}");
        assert_eq!(upstream.seen().len(), before, "{method} {headers:?}");

        let somebody = client.bearer(&token).send(method.clone(), "/", "").await;
        assert_eq!(somebody.status, 200, "{method} {headers:?}");
        assert_eq!(upstream.last().header("x-clerk-principal"), Some("user"));
        assert!(upstream.last().header("authorization").is_some());
    }
}

#[tokio::test(flavor = "local")]
async fn a_script_of_a_party_may_read_why_it_was_refused() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    for (path, authorization, status) in
        [("/", "", 401), ("/", "Bearer junk", 401), ("/a//b", "", 400)]
    {
        for (origins, shared) in [
            (&[PARTY][..], true),
            (&["http://localhost:3001"], false),
            (&["https://localhost:3000"], false),
            (&["http://localhost:3000.evil.example"], false),
            (&["HTTP://LOCALHOST:3000"], false),
            (&["null"], false),
            (&["*"], false),
            (&[""], false),
            (&[PARTY, PARTY], false),
            (&[], false),
        ] {
            let client = proxy.client().header("authorization", authorization);
            let client = origins.iter().fold(client, |client, it| client.header("origin", it));
            let answer = client.get(path).await;

            let case = format!("{path} {origins:?}");
            assert_eq!(answer.status, status, "{case}");
            let want = |value: &'static str| shared.then_some(value);
            let allowed = answer.header("access-control-allow-origin");
            assert_eq!(allowed, want(PARTY), "{case}");
            let credentials = answer.header("access-control-allow-credentials");
            assert_eq!(credentials, want("true"), "{case}");
            assert_eq!(answer.header("vary"), want("Origin"), "{case}");
            let exposed = answer.header("access-control-expose-headers");
            let four = "WWW-Authenticate, x-clerk-auth-reason, x-clerk-auth-status, x-request-id";
            assert_eq!(exposed, want(four), "{case}");
        }
    }
    // What the backend answers is the backend's own.
    let answer = proxy.client().bearer(&issuer.token()).header("origin", PARTY).get("/").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
}
