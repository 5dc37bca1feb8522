//! The proof that the identity headers are ours, as a backend verifies it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Clock;
use countersign::core::jwk::KeyId;
use countersign::core::path::PathPolicy;
use countersign::core::sign::Cover;
use countersign::core::time::UnixTime;
use countersign::dev::verifier::{Countersignature, Verifier};
use countersign::signing::Secret;
use http::{Method, Request};
use tokio::io::AsyncWriteExt;

use crate::support::settings::{SECRET, settings_with_public};
use crate::support::upstream::{Seen, head};
use crate::support::{Issuer, Proxy, Upstream, settings};

/// Verifies what the backend saw, as it saw it, at the time `now`.
pub(crate) fn verify(
    seen: &Seen,
    verifier: &Verifier,
    now: UnixTime,
) -> Result<Countersignature, String> {
    let mut request = Request::new(());
    *request.method_mut() = seen.method.parse().unwrap();
    *request.uri_mut() = seen.target.parse().unwrap();
    *request.headers_mut() = seen.headers.clone();
    let head = request.into_parts().0;
    let found = Countersignature::parse(&head.headers).map_err(|problem| problem.to_string())?;
    verifier.verify(&found, &head, now).map_err(|problem| problem.to_string())?;
    Ok(found)
}

#[tokio::test(flavor = "local")]
async fn a_backend_verifies_every_request_it_gets() {
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_with_public(&issuer, &upstream);
    settings.proxy.paths =
        PathPolicy { encoded_slash: true, double_slash: true, ..PathPolicy::default() };
    let proxy = Proxy::start_with(settings, clock.clone()).await;
    let verifier = Verifier::hmac(SECRET);
    let token = issuer.token();

    for (method, host, target, forwarded) in [
        (Method::GET, "app.test", "/", "/"),
        (Method::GET, "App.TEST", "/orders?page=2&q=%2f", "/orders?page=2&q=%2f"),
        (Method::GET, "app.test:80", "/a", "/a"),
        (Method::GET, "APP.test:8443", "/a", "/a"),
        (Method::GET, "[::1]:8443", "/a", "/a"),
        (Method::GET, "app.test.", "/a", "/a"),
        (Method::POST, "app.test", "/a%2fb", "/a%2Fb"),
        (Method::PUT, "app.test", "/%61%7e%c3%bc//x|y", "/a~%C3%BC//x%7Cy"),
        (Method::DELETE, "app.test", "/a?", "/a?"),
        (Method::HEAD, "app.test", "/a", "/a"),
        (Method::OPTIONS, "app.test", "/a", "/a"),
        (Method::from_bytes(b"PROPFIND").unwrap(), "app.test", "/a", "/a"),
        (Method::GET, "app.test", "/public/x", "/public/x"),
    ] {
        let client = proxy.client().bearer(&token).header("host", host);
        let answer = client.send(method.clone(), target, "").await;

        assert_eq!(answer.status, 200, "{method} {host}{target}");
        let seen = upstream.last();
        assert_eq!(seen.target, forwarded, "{method} {host}{target}");
        let found = verify(&seen, &verifier, clock.now()).unwrap_or_else(|problem| {
            panic!("{method} {host}{target}: {problem}");
        });
        assert_eq!(found.created, clock.now());
        assert_eq!(found.expires, clock.now().plus(Duration::from_secs(30)));
        assert_eq!(found.alg, "hmac-sha256");
        let input = seen.header("signature-input").unwrap();
        let covered = r#"countersign=("x-clerk-principal" "x-clerk-token-type" "x-clerk-user-id" "x-clerk-session-id" "x-clerk-org-id" "x-clerk-org-slug" "x-clerk-org-role" "x-clerk-org-permissions" "x-clerk-actor-id" "@method" "@authority" "@path");created="#;
        assert!(input.starts_with(covered), "{input}");
        assert!(input.ends_with(r#";tag="countersign""#), "{input}");

        let mut told = seen.clone();
        told.headers.insert("x-clerk-user-id", "user_root".parse().unwrap());
        assert!(verify(&told, &verifier, clock.now()).is_err(), "another user");
        let later = clock.now().plus(Duration::from_secs(60));
        assert!(verify(&seen, &verifier, later).is_err(), "a minute later");
    }
}

#[tokio::test(flavor = "local")]
async fn the_key_is_the_secrets_or_one_that_is_published() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let token = issuer.token();
    let mut settings = settings(&issuer, &upstream);

    let proxy = Proxy::start(settings.clone()).await;
    assert_eq!(proxy.get("/", &token).await.status, 200);
    let found = verify(&upstream.last(), &Verifier::hmac(SECRET), Clock::System.now()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let tag = aws_lc_rs::hmac::sign(&key, b"kid");
    let name: String = tag.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found.keyid, name);
    let published = proxy.admin("/.well-known/jwks.json").await;
    assert_eq!(published.text(), r#"{"keys":[]}"#, "a secret is not published");

    settings.signing.secret =
        Some((Secret::new(SECRET.to_vec()), Some(KeyId::parse("k1").unwrap())));
    let proxy = Proxy::start(settings.clone()).await;
    assert_eq!(proxy.get("/", &token).await.status, 200);
    let found = verify(&upstream.last(), &Verifier::hmac(SECRET), Clock::System.now()).unwrap();
    assert_eq!(found.keyid, "k1");

    settings.signing.secret = None;
    let proxy = Proxy::start(settings).await;
    assert_eq!(proxy.get("/", &token).await.status, 200);
    let published = proxy.admin("/.well-known/jwks.json").await.json();
    let jwk = &published["keys"][0];
    assert!(jwk["d"].is_null(), "{published}");
    let public = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let verifier = Verifier::ed25519(&public.try_into().unwrap());
    let found = verify(&upstream.last(), &verifier, Clock::System.now()).unwrap();
    assert_eq!((found.alg.as_str(), &jwk["kid"]), ("ed25519", &found.keyid.as_str().into()));
    assert!(verify(&upstream.last(), &Verifier::hmac(SECRET), Clock::System.now()).is_err());
}

#[tokio::test(flavor = "local")]
async fn a_query_that_is_covered_is_the_one_that_was_sent() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.signing.requests = Some(Cover { query: true });
    let proxy = Proxy::start(settings).await;
    let verified = |seen: &Seen| verify(seen, &Verifier::hmac(SECRET), Clock::System.now());
    for target in ["/a", "/a?", "/a?b=c&d=%20+'", "/a?b=[c]|{d}"] {
        assert_eq!(proxy.get(target, &issuer.token()).await.status, 200, "{target}");
        let seen = upstream.last();
        assert_eq!(seen.target, target);
        verified(&seen).unwrap();
        assert!(seen.header("signature-input").unwrap().contains(r#""@path" "@query")"#));
        let other = Seen { target: "/a?b=x".to_owned(), ..seen };
        assert!(verified(&other).is_err(), "{target}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_clients_own_signatures_stay_before_ours_and_forged_ones_go() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let token = issuer.token();
    let sig = |label: &str| format!("{label}=:cGFydG5lcg==:");
    let input = |label: &str, tag: &str| format!(r#"{label}=("@method");created=1;tag="{tag}""#);
    let (theirs, by_theirs) = (sig("partner"), input("partner", "theirs"));

    for (signature, signature_input, kept) in [
        (theirs.clone(), by_theirs.clone(), true),
        // Ours by label, by tag, first or last: goes, and the partner's stays.
        (
            format!("{}, {theirs}", sig("countersign")),
            format!("{}, {by_theirs}", input("countersign", "x")),
            true,
        ),
        (
            format!("{theirs}, {}", sig("other")),
            format!("{by_theirs}, {}", input("other", "countersign")),
            true,
        ),
        // Members without their other half.
        (theirs.clone(), String::new(), false),
        (theirs.clone(), input("other", "x"), false),
        (String::new(), by_theirs.clone(), false),
        // No dictionaries.
        (theirs.clone(), "partner=(".to_owned(), false),
        ("partner=:!:".to_owned(), by_theirs.clone(), false),
    ] {
        let client = proxy.client().bearer(&token);
        let client =
            client.header("signature", &signature).header("signature-input", &signature_input);
        assert_eq!(client.get("/").await.status, 200);

        let seen = upstream.last();
        let case = format!("{signature} / {signature_input}");
        verify(&seen, &Verifier::hmac(SECRET), Clock::System.now()).expect(&case);
        for (name, before) in [("signature", &theirs), ("signature-input", &by_theirs)] {
            let lines: Vec<_> = seen.headers.get_all(name).iter().collect();
            assert_eq!(lines.len(), 1, "{case}");
            let line = lines[0].to_str().unwrap();
            let start =
                if kept { format!("{before}, countersign=") } else { "countersign=".into() };
            assert!(line.starts_with(&start), "{case}: {line}");
            assert_eq!(line.matches("countersign=").count(), 1, "{case}: {line}");
            assert!(!line.contains("other"), "{case}: {line}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_sent_again_is_signed_again() {
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let heads = Rc::<RefCell<Vec<String>>>::default();
    let (kept, moved) = (Rc::clone(&heads), clock.clone());
    // A backend that answers once, and closes the kept connection on the next request, unanswered.
    let upstream = Upstream::raw(move |mut socket| {
        let (kept, moved) = (Rc::clone(&kept), moved.clone());
        async move {
            let first = head(&mut socket).await;
            kept.borrow_mut().push(first);
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            let second = head(&mut socket).await;
            kept.borrow_mut().push(second);
            moved.set(UnixTime::from_secs(1_700_000_007));
        }
    })
    .await;
    let proxy = Proxy::start_with(settings(&issuer, &upstream), clock).await;
    let token = issuer.token();

    for _ in 0..2 {
        assert_eq!(proxy.get("/", &token).await.status, 200);
    }

    let created = |head: &String| {
        let after = head.split_once("created=").unwrap().1;
        after.split_once(';').unwrap().0.to_owned()
    };
    let created: Vec<_> = heads.borrow().iter().map(created).collect();
    assert_eq!(created, ["1700000000", "1700000000", "1700000007"]);
    assert_eq!(proxy.metric(r#"countersign_upstream_requests_total{result="retried"}"#).await, 1.0);
}
