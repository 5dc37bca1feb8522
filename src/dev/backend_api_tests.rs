//! Tests of what a backend is told about sessions.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{HOST, LOCATION, ORIGIN};
use http_body_util::Full;

use super::*;
use crate::clock::Clock;
use crate::core::clerk::cookies::CookieSuffix;
use crate::core::clerk::directives::Directives;
use crate::core::clerk::publishable_key::PublishableKey;
use crate::core::time::UnixTime;
use crate::dev::frontend_api::{HANDSHAKE_PATH, SIGN_IN, SIGN_OUT};
use crate::dev::issuer::Issuer;
use crate::dev::mint;
use crate::dev::server::client::send;
use crate::dev::users::USERS;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const BACK: &str = "redirect_url=http://localhost/";

fn issuer() -> Issuer {
    Issuer::start(Clock::fixed(NOW)).unwrap()
}

/// What somebody is answered who shows these in `Authorization`.
async fn ask(
    issuer: &Issuer,
    method: &str,
    path: &str,
    shown: &[&str],
    body: impl Into<Bytes>,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path).header(HOST, "api");
    for value in shown {
        request = request.header(AUTHORIZATION, *value);
    }
    let (head, body) = send(&issuer.origin(), request.body(Full::new(body.into())).unwrap()).await;
    (head.status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// What a backend is answered.
async fn call(issuer: &Issuer, method: &str, path: &str, body: String) -> (StatusCode, Value) {
    let key = format!("Bearer {}", issuer.secret_key());
    ask(issuer, method, path, &[&key], body).await
}

/// Does something in a browser, and returns a parameter of the address that it leads to.
async fn browse(issuer: &Issuer, method: &str, path: &str, asked: &str, name: &str) -> String {
    let (path, form) = match method {
        "POST" => (path.to_owned(), asked.to_owned()),
        _ => (format!("{path}?{asked}"), String::new()),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, issuer.origin().replace("http://", ""))
        .header(ORIGIN, issuer.origin());
    let (head, body) = send(&issuer.origin(), request.body(Full::from(form)).unwrap()).await;
    let location = head.headers.get(LOCATION).expect(&body).to_str().unwrap();
    let query = location.split_once('?').unwrap().1;
    parameters(query).find(|(own, _)| own == name).expect(location).1
}

/// Somebody who is signed in: the id of the browser, and the cookies it has.
struct SignedIn {
    browser: String,
    cookies: Vec<(String, String)>,
    suffix: CookieSuffix,
}

impl SignedIn {
    async fn new(issuer: &Issuer) -> Self {
        let form = format!("{BACK}&user={}", USERS[1].id);
        let browser = browse(issuer, "POST", SIGN_IN, &form, "__clerk_db_jwt").await;
        let lines = payload(issuer, &nonce(issuer, &browser).await).await.1;
        let lines: Vec<String> = serde_json::from_value(lines["directives"].clone()).unwrap();
        let cookies = lines.iter().map(|line| line.split(';').next().unwrap().split_once('='));
        let cookies = cookies.map(|pair| pair.unwrap());
        let cookies = cookies.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let key = PublishableKey::parse(&issuer.publishable_key()).unwrap();
        Self { browser, cookies, suffix: CookieSuffix::of(&key) }
    }

    fn cookie(&self, base: &str) -> &str {
        let name = self.suffix.name(base);
        &self.cookies.iter().find(|(own, _)| *own == name).unwrap().1
    }

    fn session(&self) -> String {
        claims(self.cookie("__session"))["sid"].as_str().unwrap().to_owned()
    }

    fn refresh(&self) -> Value {
        json!({
            "format": "cookie",
            "expired_token": self.cookie("__session"),
            "refresh_token": self.cookie("__refresh"),
            "request_origin": "http://localhost",
            "request_headers": { "user-agent": ["a"] },
        })
    }
}

fn claims(token: &str) -> Value {
    UnverifiedToken::parse(BearerToken::of(token)).unwrap().claims().into()
}

async fn nonce(issuer: &Issuer, browser: &str) -> String {
    let asked = format!("{BACK}&format=nonce&__clerk_db_jwt={browser}");
    browse(issuer, "GET", HANDSHAKE_PATH, &asked, "__clerk_handshake_nonce").await
}

async fn payload(issuer: &Issuer, nonce: &str) -> (StatusCode, Value) {
    let path = format!("/v1/clients/handshake_payload?nonce={nonce}");
    call(issuer, "GET", &path, String::new()).await
}

#[tokio::test(flavor = "local")]
async fn nobody_is_told_anything_without_the_key() {
    let issuer = issuer();
    let key = issuer.secret_key();
    assert!(key.starts_with("sk_test_") && !format!("{issuer:?}").contains(&key));
    let good = format!("Bearer {key}");
    let (short, long) = (&good[..good.len() - 1], format!("{good}0"));
    let session = format!("/v1/sessions/{}", mint::SESSION);

    for (shown, want) in [
        (vec![good.as_str()], None),
        (vec![], Some("authentication_invalid")),
        (vec![&key], Some("authentication_invalid")),
        (vec!["Basic c2s6"], Some("authentication_invalid")),
        (vec![&good, &good], Some("authentication_invalid")),
        (vec!["Bearer "], Some("authentication_invalid")),
        (vec!["Bearer sk_test_0"], Some("clerk_key_invalid")),
        (vec![short], Some("clerk_key_invalid")),
        (vec![&long], Some("clerk_key_invalid")),
    ] {
        for (method, path) in [
            ("GET", session.clone()),
            ("GET", "/v1/clients/handshake_payload?nonce=0".to_owned()),
            ("POST", format!("{session}/refresh")),
        ] {
            let (status, body) = ask(&issuer, method, &path, &shown, "").await;
            match want {
                None => assert_ne!(status, StatusCode::UNAUTHORIZED, "{path}: {body}"),
                Some(code) => {
                    assert_eq!(status, StatusCode::UNAUTHORIZED, "{shown:?} {path}: {body}");
                    assert_eq!(body["errors"][0]["code"], code, "{shown:?} {path}");
                    assert!(body["clerk_trace_id"].is_string(), "{body}");
                }
            }
        }
    }
    assert_eq!(issuer.session_checks(), 1, "only those with the key count");
}

#[tokio::test(flavor = "local")]
async fn a_nonce_is_good_once() {
    let issuer = issuer();
    let nonce = nonce(&issuer, "").await;

    let first = payload(&issuer, &nonce).await;
    let second = payload(&issuer, &nonce).await;

    assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::NOT_FOUND));
    let body = first.1.to_string();
    let directives = Directives::of_answer(body.as_bytes(), "directives").unwrap();
    assert_eq!(directives.lines().len(), 7, "{body}");
    for unknown in ["", "0"] {
        assert_eq!(payload(&issuer, unknown).await.0, StatusCode::NOT_FOUND, "{unknown:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_session_has_the_status_that_became_of_it() {
    let issuer = issuer();
    let status = async |id: &str| {
        let (code, body) = call(&issuer, "GET", &format!("/v1/sessions/{id}"), String::new()).await;
        let told = body["status"].as_str().or(body["errors"][0]["code"].as_str());
        (code.as_u16(), told.unwrap_or_default().to_owned())
    };
    let (stays, leaves) = (SignedIn::new(&issuer).await, SignedIn::new(&issuer).await);
    let (stayed, left) = (stays.session(), leaves.session());

    let form = format!("{BACK}&__clerk_db_jwt={}", leaves.browser);
    browse(&issuer, "POST", SIGN_OUT, &form, "__clerk_db_jwt").await;
    for (id, want) in [
        (&*stayed, (200, "active")),
        (&left, (200, "ended")),
        (mint::SESSION, (200, "active")),
        ("sess_0", (404, "resource_not_found")),
        ("", (404, "resource_not_found")),
    ] {
        assert_eq!(status(id).await, (want.0, want.1.to_owned()), "{id}");
    }
    assert_eq!(issuer.session_checks(), 5);

    for (id, is_one) in [(&*stayed, true), (&left, true), (mint::SESSION, true), ("sess_0", false)]
    {
        assert_eq!(issuer.revoke_session(id), is_one, "{id}");
    }
    for (id, want) in [(&*stayed, "revoked"), (&left, "ended"), (mint::SESSION, "revoked")] {
        assert_eq!(status(id).await, (200, want.to_owned()), "{id}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_session_is_shown_as_clerk_shows_it() {
    let issuer = issuer();
    let path = format!("/v1/sessions/{}", mint::SESSION);

    let (_, mut session) = call(&issuer, "GET", &path, String::new()).await;

    let client = session["client_id"].take();
    assert!(client.as_str().unwrap().starts_with("client_"), "{client}");
    let created = 1_700_000_000_000_i64;
    assert_eq!(
        session,
        json!({
            "object": "session", "id": mint::SESSION, "client_id": null, "user_id": mint::USER,
            "actor": null, "status": "active", "tasks": [],
            "last_active_organization_id": "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS",
            "last_active_at": created, "latest_activity": null,
            "expire_at": created + 604_800_000, "abandon_at": created + 2_592_000_000_i64,
            "created_at": created, "updated_at": created,
        })
    );
}

#[tokio::test(flavor = "local")]
async fn a_refresh_brings_a_new_token_of_the_same_session() {
    let issuer = issuer();
    issuer.set_session_lifetime(Duration::from_secs(7));
    let somebody = SignedIn::new(&issuer).await;
    let path = format!("/v1/sessions/{}/refresh?suffixed_cookies=true", somebody.session());

    let (status, body) = call(&issuer, "POST", &path, somebody.refresh().to_string()).await;

    assert_eq!((status, &body["object"]), (StatusCode::OK, &json!("cookies")), "{body}");
    let text = body.to_string();
    let directives = Directives::of_answer(text.as_bytes(), "cookies").unwrap();
    let (old, new) = (somebody.cookie("__session"), directives.session_token().unwrap());
    let (before, after) = (claims(old), claims(new));
    assert_ne!(old, new);
    for claim in ["sid", "sub", "o", "exp"] {
        assert_eq!(before[claim], after[claim], "{claim}");
    }
    assert_eq!((&after["exp"], after.get("azp")), (&json!(1_700_000_007), None));
}

#[tokio::test(flavor = "local")]
async fn a_refresh_with_anything_wrong_brings_nothing() {
    let issuer = issuer();
    let (somebody, other) = (SignedIn::new(&issuer).await, SignedIn::new(&issuer).await);
    let with = |name: &str, value: &str| {
        let mut body = somebody.refresh();
        body[name] = json!(value);
        body.to_string()
    };
    let (own, of_other) = (somebody.session(), other.session());
    let elsewhere = issuer.mint(json!({ "sid": own, "iss": "https://clerk.example.com" }));

    for (id, body, want) in [
        (&*own, "{".to_owned(), 400),
        (&own, "[]".to_owned(), 400),
        (&own, with("format", "token"), 422),
        (&own, with("refresh_token", ""), 401),
        (&own, with("refresh_token", other.cookie("__refresh")), 401),
        (&own, with("expired_token", "a.b.c"), 401),
        (&own, with("expired_token", other.cookie("__session")), 401),
        (&own, with("expired_token", &elsewhere), 401),
        (&own, json!({ "format": "cookie" }).to_string(), 401),
        (&of_other, somebody.refresh().to_string(), 401),
        ("sess_0", somebody.refresh().to_string(), 404),
        (&own, somebody.refresh().to_string(), 200),
    ] {
        let path = format!("/v1/sessions/{id}/refresh");
        let (status, told) = call(&issuer, "POST", &path, body.clone()).await;
        assert_eq!(status, want, "{id} {body}: {told}");
    }

    issuer.revoke_session(&own);
    let path = format!("/v1/sessions/{own}/refresh");
    let (status, _) = call(&issuer, "POST", &path, somebody.refresh().to_string()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "revoked");
}
