//! OPT: routes on which a caller is optional, and the rôle of an authorization service for another
//! proxy, which this one does not play: there is no endpoint that answers a decision.

use countersign::listen::ListenAddress;
use countersign::proxy::TrustedProxies;
use http::Method;
use serde_json::json;

use super::tokens::{ALICE, By, Scene, bearer, forged, good, load, mistakes, oidc, session};
use crate::support::Client;

const MISSING: (u16, &str) = (401, "session-token-and-uat-missing");

/// What is wrong with a route of which this is written.
fn mistakes_of_a_route(line: &str) -> Vec<String> {
    mistakes(&format!("[[route]]\npath = \"/a\"\n{line}"))
}

#[tokio::test(flavor = "local")]
async fn opt_01_a_bad_token_is_refused_where_none_is_needed() {
    let scene = Scene::set().await;
    for (what, token, reason) in [
        ("expired", session(json!({"exp": 1})), "session-token-expired"),
        ("forged", forged(&good()), "token-invalid-signature"),
        ("junk", "junk".to_owned(), "token-invalid"),
        ("pending", session(json!({"sts": "pending"})), "session-pending"),
        ("another's", oidc(By::Es256, json!({"aud": "web"})), "token-verification-failed"),
    ] {
        scene.refuses_at("/optional/a", what, &bearer(&token), (401, reason)).await;
    }
    let seen = scene.passes_lines("none", "/optional/a", "").await;
    assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"));
    let seen = scene.passes_lines("a good one", "/optional/a", &bearer(&good())).await;
    assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
    // There is no way to have a bad one taken for none.
    for access in ["optional_lenient", "optional-lenient", "allow_missing_or_failed", "permissive"]
    {
        assert!(!mistakes_of_a_route(&format!("access = \"{access}\"")).is_empty(), "{access}");
    }
    assert!(mistakes_of_a_route("access = \"optional\"").is_empty());
}

#[tokio::test(flavor = "local")]
async fn opt_02_nobody_is_told_as_nobody_whatever_a_client_says_of_itself() {
    let scene = Scene::set().await;
    let lines = "X-Clerk-Principal: user\r\nX-Clerk-User-Id: user_root\r\nX_Clerk_User_Id: user_root\r\nX-Clerk-Anonymous: false\r\nX-Clerk-Org-Role: org:admin\r\n";
    for path in ["/optional/a", "/public/a"] {
        let seen = scene.passes_lines(path, path, lines).await;
        assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"), "{path}");
        let told = seen.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-clerk-"));
        let told: Vec<_> = told.filter(|(_, value)| !value.is_empty()).collect();
        assert_eq!(told.len(), 1, "{path}: {told:?}");
        assert!(!format!("{:?}", seen.headers).contains("root"), "{path}");
    }
}

#[test]
fn opt_03_nothing_can_be_taken_out_of_a_token_that_was_not_verified() {
    for line in [
        "access = \"extract_only\"",
        "access = \"unverified\"",
        "access = \"required\"\nverify = false",
        "access = \"required\"\nmode = \"extract\"",
    ] {
        assert!(!mistakes_of_a_route(line).is_empty(), "{line}");
    }
    for line in ["mode = \"extract\"", "clerk.verify = false", "clerk.extract_only = true"] {
        assert!(!mistakes(line).is_empty(), "{line}");
    }
}

/// A proxy that copies headers from our answer does not exist here; what would protect one is so all
/// the same: every name is always there, empty where there is nothing to say.
#[tokio::test(flavor = "local")]
async fn opt_04_every_identity_header_is_always_there() {
    let scene = Scene::set().await;
    let names = |seen: &crate::support::upstream::Seen| {
        let names = seen.headers.keys().filter(|name| name.as_str().starts_with("x-clerk-"));
        let mut names: Vec<_> = names.map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    };
    let all = names(&scene.passes("a user", &good()).await);
    for (what, path, lines) in [
        ("nobody", "/optional/a", String::new()),
        ("public", "/public/a", String::new()),
        ("no organization", "/api", bearer(&session(json!({"o": null})))),
        ("another issuer's", "/api", bearer(&oidc(By::Es256, json!({})))),
    ] {
        assert_eq!(names(&scene.passes_lines(what, path, &lines).await), all, "{what}");
    }
    for line in
        ["forward_auth = true", "mode = \"forward-auth\"", "forward_auth.listen = \"127.0.0.1:1\""]
    {
        assert!(!mistakes(line).is_empty(), "{line}: there is no such thing");
    }
}

#[tokio::test(flavor = "local")]
async fn opt_05_a_request_is_decided_by_its_own_method_and_path() {
    let trusting = Scene::with(|settings| {
        settings.proxy.trusted_proxies = TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]);
    })
    .await;
    for scene in [&Scene::set().await, &trusting] {
        for lines in [
            "X-Forwarded-Method: OPTIONS\r\nX-Forwarded-Uri: /public/a\r\n",
            "X-Forwarded-Method: options\r\n",
            "X-Forwarded-Uri: http://localhost/public/a\r\nX-Forwarded-Host: localhost\r\n",
            "X-Original-URL: /public/a\r\nX-Original-Method: GET\r\n",
            "X-Rewrite-URL: /public/a\r\n",
            "X-Auth-Request-Redirect: /public/a\r\n",
            "X-Envoy-Original-Path: /public/a\r\n",
            "X-HTTP-Method-Override: OPTIONS\r\n",
        ] {
            scene.refuses_lines(lines, lines, MISSING).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn opt_06_no_path_is_an_endpoint_of_decisions() {
    let scene = Scene::set().await;
    for path in
        ["/auth", "/oauth2/auth", "/verify", "/api/auth/verify", "/_auth", "/decisions", "/check"]
    {
        scene.refuses_at(path, path, "", MISSING).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
        let answer = scene.proxy.raw(head).await;
        assert_eq!((answer.status, answer.reason().as_str()), MISSING, "{path}");
        assert_eq!(
            answer.header("connection"),
            Some("close"),
            "{path}: its body is not waited for"
        );
        let admin = scene.proxy.admin(path).await.status;
        assert_eq!(admin, 404, "{path}: nor on the admin listener");
        scene.catch_up().await;
    }
    for target in ["localhost:443", "169.254.169.254:80"] {
        let bytes = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\nGET /api HTTP/1.1\r\nHost: a\r\n\r\n",
            bearer(&good())
        );
        let answer = scene.proxy.raw(bytes).await;
        assert_eq!(answer.status, 405, "{target}");
        assert_eq!(answer.header("connection"), Some("close"), "{target}");
        assert!(!answer.text().contains("HTTP/1.1"), "what follows is no request");
    }
    assert!(scene.upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn opt_07_no_odd_header_opens_or_breaks_anything() {
    let scene = Scene::set().await;
    let token = bearer(&good());
    for (name, odd) in [
        ("X-Odd", &b"\xff\xfe"[..]),
        ("X-Odd", b"\xc3\x28"),
        ("User-Agent", b"\x80"),
        ("Cookie", b"\xff=\xff; __session=\xff"),
        ("Accept-Language", b"\xed\xa0\x80"),
        ("X-Forwarded-For", b"\xff"),
        ("X-Request-Id", b"\xff"),
        ("Origin", b"\xff"),
        ("Traceparent", b"\xff"),
        ("Signature-Input", b"\xff"),
    ] {
        let with = |lines: &str| {
            let head = b"GET /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
            [&head[..], lines.as_bytes(), name.as_bytes(), b": ", odd, b"\r\n\r\n"].concat()
        };
        let refused = scene.proxy.raw(with("")).await;
        assert_eq!((refused.status, refused.reason().as_str()), MISSING, "{name} {odd:?}");
        assert!(scene.upstream.take().is_empty(), "{name} {odd:?}");
        let served = scene.proxy.raw(with(&token)).await;
        assert_eq!((served.status, scene.upstream.take().len()), (200, 1), "{name} {odd:?}");
    }
    for odd in [&b"\xff"[..], b"Bearer \xff", b"Bearer a.b.\xff", b"\xffBearer a"] {
        let head = b"GET /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: ";
        let answer = scene.proxy.raw([&head[..], odd, b"\r\n\r\n"].concat()).await;
        assert_eq!(answer.status, 401, "{odd:?}");
    }
    assert_eq!(scene.proxy.metric("countersign_panics_total").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn opt_08_another_spelling_of_a_forwarded_path_is_ignored_too() {
    let scene = Scene::set().await;
    for name in [
        "X_Forwarded_Uri",
        "X-Forwarded_Uri",
        "x_forwarded_method",
        "X_Original_URL",
        "X.Forwarded.Uri",
    ] {
        let lines = format!("{name}: /public/a\r\n");
        scene.refuses_lines(name, &lines, MISSING).await;
    }
}

#[tokio::test(flavor = "local")]
async fn opt_09_nothing_a_token_says_is_in_an_answer() {
    let scene = Scene::set().await;
    for text in ["a\r\nX-Evil: 1", "a\nb", "\u{0}", "\u{85}", "\u{2028}", "user_evil"] {
        let token = session(json!({"sub": text, "email": text, "o": {"id": text, "rol": text}}));
        for path in ["/api", "/admin/a"] {
            let answer = scene.send(path, &bearer(&token)).await;
            let status = if path == "/api" { 200 } else { 403 };
            assert_eq!(answer.status, status, "{text:?}");
            for (name, value) in &answer.headers {
                let ours = ["x-clerk-auth-status", "x-clerk-auth-reason"].contains(&name.as_str());
                assert!(ours || !name.as_str().starts_with("x-clerk-"), "{text:?}: {name}");
                assert_ne!(name, "x-evil");
                assert!(!value.as_bytes().windows(4).any(|it| it == b"evil"), "{text:?}: {name}");
            }
            assert!(!answer.text().contains("evil"), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn opt_10_who_guesses_tokens_learns_nothing_and_only_on_this_machine() {
    let scene = Scene::set().await;
    let mut said = None;
    for number in 0..50 {
        let guess = forged(&session(json!({"sub": format!("user_{number}"), "jti": number})));
        let answer =
            scene.refuses_lines("a guess", &bearer(&guess), (401, "token-invalid-signature")).await;
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("request_id");
        assert_eq!(*said.get_or_insert(body.clone()), body);
    }
    let line = r#"requests_total{carrier="header",decision="rejected",reason="token-invalid-signature",route="default"}"#;
    assert_eq!(scene.proxy.metric(&format!("countersign_{line}")).await, 50.0);
    assert_eq!(
        scene.clerk_keys.fetches(),
        2,
        "one at the start, one for signatures that are another's"
    );
    // The admin listener says nothing of a token either.
    let client = Client::to(&scene.proxy.admin).bearer(&good());
    assert_eq!(client.send(Method::POST, "/", "").await.status, 405);

    let settings = load("").unwrap().settings;
    let addresses = settings.proxy.listen.iter().chain([&settings.admin.listen]);
    for address in addresses {
        let ListenAddress::Tcp(address) = address else { panic!("an address") };
        assert!(address.ip().is_loopback(), "{address}");
    }
}
