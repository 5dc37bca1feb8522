//! Tests of signing in and out, as a browser does it.

use bytes::Bytes;
use http::Request;
use http::header::{COOKIE, HOST, SET_COOKIE};
use http_body_util::Full;
use jsonwebtoken::decode_header;
use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::core::clerk::claimed::{Claimed, Shown};
use crate::core::clerk::cookies::{ClerkCookies, CookieOwner, CookieSuffix};
use crate::core::clerk::directives::Directives;
use crate::core::clerk::handshake::{Exchange, Next};
use crate::core::clerk::instance::{Instance, Payload};
use crate::core::clerk::public_url::{PublicUrl, push_parameter};
use crate::core::clerk::publishable_key::PublishableKey;
use crate::core::credential::BearerToken;
use crate::core::jws::UnverifiedToken;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;
use crate::dev::issuer::Issuer;
use crate::dev::server::client::send;
use crate::dev::users::ORGANIZATION;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const BACK: &str = "http://127.0.0.1:4000/a?b=c";

fn issuer() -> Issuer {
    Issuer::start(Clock::fixed(NOW)).unwrap()
}

fn host(issuer: &Issuer) -> String {
    issuer.origin().replace("http://", "")
}

/// Returns a path with parameters.
fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut path = path.to_owned();
    for (name, value) in parameters {
        push_parameter(&mut path, name, value);
    }
    path
}

/// What a browser gets when it follows a link.
async fn get(issuer: &Issuer, path: &str) -> (http::response::Parts, String) {
    let request = Request::get(path).header(HOST, host(issuer)).body(Full::default()).unwrap();
    send(&issuer.origin(), request).await
}

/// What a browser gets when it posts the form of a page.
async fn post(
    issuer: &Issuer,
    path: &str,
    form: &[(&str, &str)],
) -> (http::response::Parts, String) {
    let form = with("", form).trim_start_matches('?').to_owned();
    let request = Request::post(path)
        .header(HOST, host(issuer))
        .header(ORIGIN, issuer.origin())
        .body(Full::<Bytes>::from(form))
        .unwrap();
    send(&issuer.origin(), request).await
}

/// Returns a parameter of the address that an answer leads to.
fn parameter(answer: &(http::response::Parts, String), name: &str) -> String {
    let location = answer.0.headers[LOCATION].to_str().unwrap();
    assert!(location.starts_with(BACK), "{location}");
    let query = location.split_once('?').unwrap().1;
    parameters(query).find(|(own, _)| own == name).expect(location).1
}

/// Signs a new browser in, and returns its id.
async fn signed_in(issuer: &Issuer, user: &str) -> String {
    let answer = post(issuer, SIGN_IN, &[("redirect_url", BACK), ("user", user)]).await;
    assert_eq!(answer.0.status, StatusCode::SEE_OTHER, "{}", answer.1);
    parameter(&answer, DEV_BROWSER)
}

fn claims(token: &str) -> Value {
    UnverifiedToken::parse(BearerToken::of(token)).unwrap().claims().into()
}

/// Returns the cookies that a handshake brings, in their order.
async fn handshake(issuer: &Issuer, more: &[(&str, &str)]) -> Vec<String> {
    let asked = [&[("redirect_url", BACK)], more].concat();
    let answer = get(issuer, &with(HANDSHAKE_PATH, &asked)).await;
    assert_eq!(answer.0.status, StatusCode::TEMPORARY_REDIRECT, "{}", answer.1);
    assert!(!answer.0.headers.contains_key(SET_COOKIE));
    let token = parameter(&answer, HANDSHAKE);
    let (header, claims) = (decode_header(&token).unwrap(), claims(&token));
    assert_eq!(header.extras.inner()["cat"], "cl_B7d4PD111AAA");
    assert_eq!((&claims["iss"], &claims["iat"]), (&json!(issuer.origin()), &json!(NOW.as_secs())));
    assert_eq!(claims.as_object().unwrap().len(), 4, "{claims}");
    serde_json::from_value(claims["handshake"].clone()).unwrap()
}

fn session(lines: &[String]) -> Option<Value> {
    let answer = json!({ "directives": lines }).to_string();
    let directives = Directives::of_answer(answer.as_bytes(), "directives").unwrap();
    assert_eq!(directives.lines().len(), lines.len(), "all are Clerk's");
    directives.session_token().map(claims)
}

/// Returns the cookies that a browser has which was given these.
fn kept(lines: &[String]) -> HeaderMap {
    let kept = lines.iter().filter(|line| !line.contains("Max-Age=0"));
    let pairs: Vec<_> = kept.map(|line| line.split(';').next().unwrap()).collect();
    HeaderMap::from_iter([(COOKIE, pairs.join("; ").parse().unwrap())])
}

#[tokio::test(flavor = "local")]
async fn a_handshake_brings_the_cookies_of_whoever_is_signed_in() {
    let issuer = issuer();
    let key = PublishableKey::parse(&issuer.publishable_key()).unwrap();
    let suffix = CookieSuffix::of(&key);
    let browser = signed_in(&issuer, USERS[0].id).await;

    let lines = handshake(&issuer, &[(DEV_BROWSER, &browser), ("format", "token")]).await;

    let shapes: Vec<_> = lines.iter().map(|line| line.split_once('=').unwrap()).collect();
    let ends: Vec<_> =
        shapes.iter().map(|(name, line)| (*name, line.split_once(';').unwrap().1)).collect();
    let lasting = " Path=/; SameSite=Lax; Max-Age=31536000";
    assert_eq!(
        ends,
        [
            ("__clerk_db_jwt", lasting),
            (&suffix.name("__clerk_db_jwt"), lasting),
            ("__client_uat", lasting),
            (&suffix.name("__client_uat"), lasting),
            ("__session", lasting),
            (&suffix.name("__session"), lasting),
            (&suffix.name("__refresh"), " Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"),
        ]
    );
    assert!(lines[0].starts_with(&format!("__clerk_db_jwt={browser};")), "{}", lines[0]);
    assert!(lines[2].starts_with("__client_uat=1700000000;"), "{}", lines[2]);
    let session = session(&lines).unwrap();
    assert_eq!((&session["sub"], session.get("azp")), (&json!(USERS[0].id), None));
    assert_eq!(session["exp"], 1_700_000_060);
}

#[tokio::test(flavor = "local")]
async fn a_browser_that_was_there_needs_no_other_handshake() {
    let issuer = issuer();
    let key = PublishableKey::parse(&issuer.publishable_key()).unwrap();
    let instance = Instance::of(&key, Payload::Token);
    let owner = CookieOwner { ..instance.owner.clone() };
    let url = PublicUrl {
        origin: "http://127.0.0.1:4000".to_owned(),
        prefix: String::new(),
        target: "/".to_owned(),
    };
    let next = |lines: &[String]| {
        let mut headers = kept(lines);
        let cookies = ClerkCookies::read(&headers, &owner, NOW, Claimed::read);
        let a_session = |token: &str| {
            let claimed = Claimed::read(token).ok_or(Reject::TokenMalformed)?;
            Ok(Shown { is_session: true, claimed })
        };
        headers.insert("sec-fetch-dest", HeaderValue::from_static("document"));
        let (method, instance) = (&Method::GET, &instance);
        let exchange = Exchange {
            instance,
            method,
            headers: &headers,
            url: &url,
            leads_home: true,
            cookies: &cookies,
        };
        (exchange.before(false, a_session), cookies.uses_suffix(), cookies.refresh.is_some())
    };

    let signed_out = handshake(&issuer, &[]).await;
    let browser = signed_in(&issuer, USERS[1].id).await;
    let signed_in = handshake(&issuer, &[(DEV_BROWSER, &browser)]).await;

    assert_eq!(next(&signed_in), (Next::Verify, true, true));
    assert_eq!(session(&signed_out), None);
    let (next, uses_suffix, can_refresh) = next(&signed_out);
    assert!(matches!(next, Next::Decided(_)) && uses_suffix && !can_refresh, "{next:?}");
    assert!(format!("{next:?}").contains("SignedOut(SessionTokenAndUatMissing)"), "{next:?}");
}

#[tokio::test(flavor = "local")]
async fn an_unknown_browser_becomes_a_new_one_in_which_nobody_is() {
    let issuer = issuer();
    let (own, invented) = (signed_in(&issuer, USERS[0].id).await, "dvb_0");

    for asked in [&[][..], &[(DEV_BROWSER, "")], &[(DEV_BROWSER, invented)]] {
        let lines = handshake(&issuer, asked).await;
        let id = lines[0].split(['=', ';']).nth(1).unwrap();
        assert!(id.starts_with("dvb_") && id != invented && id != own, "{asked:?}: {id}");
        assert!(lines[2].starts_with("__client_uat=0;"), "{asked:?}: {}", lines[2]);
        for line in &lines[4..] {
            assert!(line.contains("=; ") && line.ends_with("Max-Age=0"), "{asked:?}: {line}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn users_differ_and_so_does_each_session() {
    let issuer = issuer();
    let mut seen = Vec::new();

    for (user, role, permissions) in
        [(0, "admin", "manage,read"), (1, "member", "read"), (0, "admin", "manage,read")]
    {
        let browser = signed_in(&issuer, USERS[user].id).await;
        let session = session(&handshake(&issuer, &[(DEV_BROWSER, &browser)]).await).unwrap();
        let o = &session["o"];
        assert_eq!((&session["sub"], &o["rol"]), (&json!(USERS[user].id), &json!(role)));
        assert_eq!((&o["slg"], &o["per"]), (&json!("acme"), &json!(permissions)));
        let id = session["sid"].as_str().unwrap().to_owned();
        assert!(id.len() == 32 && id.starts_with("sess_") && !seen.contains(&id), "{id}");
        seen.push(id);
    }
}

#[tokio::test(flavor = "local")]
async fn an_organization_is_activated_where_the_user_is_a_member() {
    let issuer = issuer();
    let browser = signed_in(&issuer, USERS[0].id).await;

    for (asked, is_active) in [
        ("org_of_others", true),
        ("", false),
        ("org_of_others", false),
        ("acme", true),
        ("", false),
        (ORGANIZATION, true),
    ] {
        let more = [(DEV_BROWSER, browser.as_str()), ("organization_id", asked)];
        let session = session(&handshake(&issuer, &more).await).unwrap();
        assert_eq!(session.get("o").is_some(), is_active, "{asked:?}");
        assert_eq!(session.get("fea").is_some(), is_active, "{asked:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn who_signs_out_is_signed_out_and_whose_session_is_revoked_too() {
    let issuer = issuer();

    for signs_out in [true, false] {
        let browser = signed_in(&issuer, USERS[0].id).await;
        let named = [("redirect_url", BACK), (DEV_BROWSER, &browser)];
        let before = session(&handshake(&issuer, &named[1..]).await).unwrap();

        let again = get(&issuer, &with(SIGN_IN, &named)).await;
        assert_eq!(again.0.status, StatusCode::SEE_OTHER, "signed in: straight back");
        let asks = get(&issuer, &with(SIGN_OUT, &named)).await;
        assert!(asks.0.status == StatusCode::OK && asks.1.contains("Ada Lovelace"), "{}", asks.1);
        assert!(session(&handshake(&issuer, &named[1..]).await).is_some(), "asking is not doing");

        if signs_out {
            let answer = post(&issuer, SIGN_OUT, &named).await;
            assert_eq!(answer.0.status, StatusCode::SEE_OTHER);
            assert_eq!(parameter(&answer, DEV_BROWSER), browser);
        } else {
            assert!(issuer.revoke_session(before["sid"].as_str().unwrap()));
        }

        assert_eq!(session(&handshake(&issuer, &named[1..]).await), None, "{signs_out}");
        assert_eq!(get(&issuer, &with(SIGN_IN, &named)).await.0.status, StatusCode::OK);
        assert_eq!(get(&issuer, &with(SIGN_OUT, &named)).await.0.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test(flavor = "local")]
async fn nobody_is_sent_anywhere_but_to_this_machine() {
    let issuer = issuer();

    for (back, is_local) in [
        (BACK, true),
        ("http://localhost:4000/", true),
        ("http://evil.example/", false),
        ("//evil.example/", false),
        ("http://127.0.0.1@evil.example/", false),
        ("http://127.0.0.1:4000\r\nSet-Cookie: a=b", false),
        ("javascript:alert(1)", false),
        ("", false),
    ] {
        let asked = [("redirect_url", back), ("user", USERS[0].id)];
        for (answer, want) in [
            (get(&issuer, &with(HANDSHAKE_PATH, &asked)).await, 307),
            (get(&issuer, &with(SIGN_IN, &asked)).await, 200),
            (get(&issuer, &with(SIGN_OUT, &asked)).await, 303),
            (post(&issuer, SIGN_IN, &asked).await, 303),
            (post(&issuer, SIGN_OUT, &asked).await, 303),
        ] {
            let want = if is_local { want } else { 400 };
            assert_eq!(answer.0.status, want, "{back:?}: {}", answer.1);
            assert!(is_local || !answer.0.headers.contains_key(LOCATION), "{back:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn only_a_page_of_ours_signs_anybody_in_or_out() {
    let issuer = issuer();
    let (own, evil) = (issuer.origin(), "https://evil.example".to_owned());
    let (named, other_port) = (own.replace("127.0.0.1", "localhost"), "http://127.0.0.1:1".into());
    let (same, cross) = (Some("same-origin"), Some("cross-site"));

    for (origin, site, want) in [
        (Some(&own), None, 303),
        (Some(&own), same, 303),
        (Some(&named), same, 303),
        (None, same, 303),
        (None, None, 403),
        (None, cross, 403),
        (None, Some("same-site"), 403),
        (None, Some("none"), 403),
        (Some(&own), cross, 403),
        (Some(&evil), None, 403),
        (Some(&evil), same, 403),
        (Some(&other_port), None, 403),
        (Some(&"null".to_owned()), None, 403),
        (Some(&"null".to_owned()), same, 403),
    ] {
        for path in [SIGN_IN, SIGN_OUT] {
            let mut request = Request::post(path).header(HOST, host(&issuer));
            let headers = [("origin", origin.map(String::as_str)), ("sec-fetch-site", site)];
            for (name, value) in headers.into_iter().filter_map(|(name, it)| Some((name, it?))) {
                request = request.header(name, value);
            }
            let form = with("", &[("redirect_url", BACK), ("user", USERS[0].id)]);
            let form = Full::from(form.trim_start_matches('?').to_owned());
            let (head, _) = send(&issuer.origin(), request.body(form).unwrap()).await;
            assert_eq!(head.status, want, "{origin:?} {site:?} {path}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn nothing_is_answered_under_another_name() {
    let issuer = issuer();
    let port = host(&issuer).replace("127.0.0.1", "");

    for (host, is_ours) in [
        (format!("127.0.0.1{port}"), true),
        (format!("localhost{port}"), true),
        (format!("evil.example{port}"), false),
        ("127.0.0.1".to_owned(), false),
    ] {
        for path in [HANDSHAKE_PATH, SIGN_IN, SIGN_OUT] {
            let path = with(path, &[("redirect_url", BACK)]);
            let request = Request::get(path).header(HOST, &host).body(Full::default()).unwrap();
            let (head, _) = send(&issuer.origin(), request).await;
            assert_eq!(head.status != StatusCode::FORBIDDEN, is_ours, "{host}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn what_a_page_shows_of_an_address_is_text() {
    let issuer = issuer();
    let back = "http://127.0.0.1:4000/?\"><script>alert(1)</script>&'";

    let (head, page) = get(&issuer, &with(SIGN_IN, &[("redirect_url", back)])).await;

    assert_eq!(head.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(head.headers["x-frame-options"], "DENY");
    assert_eq!(head.headers["cache-control"], "no-store");
    let escaped = "?&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;";
    assert!(page.contains(escaped) && !page.contains("<script"), "{page}");
    for user in &USERS {
        assert!(page.contains(user.name) && page.contains(user.id), "{page}");
    }
}

#[tokio::test(flavor = "local")]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let issuer = issuer();
    let (back, wrong) =
        ("redirect_url=http://localhost/", "redirect_url=http://localhost/&user=user_x");

    for (method, path, want, says) in [
        ("GET", HANDSHAKE_PATH.to_owned(), 400, "`redirect_url` is missing"),
        ("GET", SIGN_IN.to_owned(), 400, "`redirect_url` is missing"),
        ("GET", format!("{SIGN_OUT}?redirect_url=/a"), 400, "`redirect_url` must be"),
        ("GET", format!("{HANDSHAKE_PATH}?{back}&format=cookie"), 400, "`format` must be"),
        ("HEAD", format!("{HANDSHAKE_PATH}?{back}"), 405, ""),
        ("POST", format!("{HANDSHAKE_PATH}?{back}"), 405, "method"),
        ("PUT", SIGN_IN.to_owned(), 405, "method"),
        ("GET", "/sign-in/tasks".to_owned(), 404, "nothing"),
        ("GET", "/v1/client".to_owned(), 404, "nothing"),
    ] {
        let request = Request::builder().method(method).uri(&path).header(HOST, host(&issuer));
        let request = request.body(Full::default()).unwrap();
        let (head, body) = send(&issuer.origin(), request).await;
        assert_eq!(head.status, want, "{method} {path}: {body}");
        assert!(body.contains(says), "{method} {path}: {body}");
    }
    for form in [back, wrong] {
        let request = Request::post(SIGN_IN).header(HOST, host(&issuer));
        let request = request.header(ORIGIN, issuer.origin()).body(Full::from(form)).unwrap();
        let (head, body) = send(&issuer.origin(), request).await;
        assert_eq!((head.status, body.contains("`user` must be")), (StatusCode::BAD_REQUEST, true));
    }
}
