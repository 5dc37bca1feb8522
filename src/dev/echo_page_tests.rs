//! Tests of the page that a browser is shown.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;

use super::*;
use crate::clock::Clock;
use crate::dev::echo::Echo;
use crate::dev::server::client::send;
use crate::dev::verifier::Verifier;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const ISSUER: &str = "http://127.0.0.1:5000";
const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// What the backend answers to a request with these headers.
async fn ask(issuer: Option<&str>, path: &str, headers: &[(&str, &str)]) -> (String, String) {
    let (verifier, clock) = (Verifier::hmac(&[0; 32]), Clock::fixed(NOW));
    let echo = match issuer {
        Some(issuer) => Echo::start_beside(verifier, clock, issuer),
        None => Echo::start_at(verifier, clock),
    };
    let echo = echo.unwrap();
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let (head, body) = send(&echo.url(), request).await;
    assert_eq!(head.status, StatusCode::OK);
    (head.headers["content-type"].to_str().unwrap().to_owned(), body)
}

#[tokio::test(flavor = "local")]
async fn a_page_is_for_who_asks_for_one() {
    for (accept, is_page) in [
        (None, false),
        (Some("*/*"), false),
        (Some("application/json"), false),
        (Some("text/*"), false),
        (Some("text/html"), true),
        (Some("application/json, Text/HTML;q=0.1"), true),
        (Some(BROWSER), true),
    ] {
        let headers: Vec<_> =
            [("host", "a")].into_iter().chain(accept.map(|it| ("accept", it))).collect();
        let (kind, _) = ask(None, "/", &headers).await;
        let want = if is_page { "text/html; charset=utf-8" } else { "application/json" };
        assert_eq!(kind, want, "{accept:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn who_is_calling_is_told_and_what_that_is_worth() {
    let caller = [
        ("host", "127.0.0.1:4000"),
        ("accept", BROWSER),
        ("x-clerk-user-id", "user_1"),
        ("x-clerk-session-id", "sess_1"),
        ("x-clerk-org-slug", "acme"),
        ("x-clerk-org-role", "org:admin"),
        ("x-clerk-org-permissions", "org:teams:read"),
    ];
    let expires = |at: &'static str| [&caller[..], &[("x-clerk-expires-at", at)]].concat();
    let told = |label: &str, text: &str| format!("<dt>{label}</dt><dd>{text}</dd>");

    let (_, nobody) = ask(None, "/", &caller[..2]).await;
    let (_, somebody) = ask(None, "/", &caller).await;

    assert!(
        nobody.contains("<h1>Nobody is signed in</h1>") && !nobody.contains("<dl>"),
        "{nobody}"
    );
    assert!(nobody.contains("there is no `Signature-Input`"), "{nobody}");
    assert!(somebody.contains("<h1>Anybody could have said who you are</h1>"), "{somebody}");
    for (label, text) in [
        ("User", "user_1"),
        ("Session", "sess_1"),
        ("Organization", "acme"),
        ("Role", "org:admin"),
        ("Permissions", "org:teams:read"),
    ] {
        assert!(somebody.contains(&told(label, text)), "{label}: {somebody}");
    }
    assert!(!somebody.contains("<dt>Token</dt>"), "{somebody}");
    for (at, left) in [("1700000042", 42), ("1700000000", 0), ("1699999999", 0)] {
        let (_, page) = ask(None, "/", &expires(at)).await;
        let want = told("Token", &format!("good for {left} more seconds"));
        assert!(page.contains(&want), "{at}: {page}");
    }
    let (_, page) = ask(None, "/", &expires("soon")).await;
    assert!(!page.contains("<dt>Token</dt>"), "{page}");
}

#[tokio::test(flavor = "local")]
async fn a_link_to_sign_in_or_out_leads_back_here() {
    let plain = ("host", "127.0.0.1:4000");
    let user = ("x-clerk-user-id", "user_1");
    let cookie = ("cookie", "a=1; __clerk_db_jwt=dvb_1; __clerk_db_jwt_x=dvb_2");
    let outside = ("x-forwarded-host", "localhost:4001");
    let secure = ("x-forwarded-proto", "https");

    for (headers, want) in [
        (vec![plain], "/sign-in?redirect_url=http%3A%2F%2F127.0.0.1%3A4000%2Fa%3Fb%3Dc"),
        (vec![plain, user], "/sign-out?redirect_url=http%3A%2F%2F127.0.0.1%3A4000%2Fa%3Fb%3Dc"),
        (
            vec![plain, outside, secure],
            "/sign-in?redirect_url=https%3A%2F%2Flocalhost%3A4001%2Fa%3Fb%3Dc",
        ),
        (
            vec![plain, user, cookie],
            "/sign-out?redirect_url=http%3A%2F%2F127.0.0.1%3A4000%2Fa%3Fb%3Dc&amp;__clerk_db_jwt=dvb_1",
        ),
    ] {
        let headers = [&[("accept", BROWSER)], &headers[..]].concat();
        let (_, page) = ask(Some(ISSUER), "/a?b=c", &headers).await;
        assert!(page.contains(&format!("href=\"{ISSUER}{want}\"")), "{headers:?}: {page}");
    }
    let (_, page) = ask(None, "/", &[plain, ("accept", BROWSER)]).await;
    assert!(!page.contains("/sign-"), "nobody knows where: {page}");
}

#[tokio::test(flavor = "local")]
async fn what_a_client_sends_is_shown_as_text_and_credentials_not_at_all() {
    let headers = [
        ("host", "127.0.0.1:4000"),
        ("accept", BROWSER),
        ("authorization", "Bearer abcdef"),
        ("cookie", "__session=abcdef; __clerk_db_jwt=\"><script>"),
        ("x-clerk-user-id", "<script>alert(1)</script>"),
        ("x-other", "<img src=x onerror='alert(1)'>"),
        ("x-forwarded-host", "\"><script>"),
    ];

    let (_, page) = ask(Some(ISSUER), "/%3Cscript%3E?'&b", &headers).await;

    for markup in ["<script", "<img", "'alert", "abcdef"] {
        assert!(!page.contains(markup), "{markup}: {page}");
    }
    for row in [
        "<th scope=\"row\">authorization</th><td>(13 bytes)</td>",
        "<th scope=\"row\">cookie</th><td>(43 bytes)</td>",
        "<th scope=\"row\">x-other</th><td>&lt;img src=x onerror=&#39;alert(1)&#39;&gt;</td>",
        "<dd>&lt;script&gt;alert(1)&lt;/script&gt;</dd>",
    ] {
        assert!(page.contains(row), "{row}: {page}");
    }
}
