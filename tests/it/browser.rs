//! Browsers: what becomes of their cookies, and where they are sent.

use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::core::access::{Access, Mode, Rule, Unauthenticated};
use countersign::core::clerk::cookies::CookieSuffix;
use countersign::core::clerk::publishable_key::Environment;
use countersign::core::route::{Case, Route, Routes};
use countersign::core::time::UnixTime;
use countersign::proxy::{Cookies, TrustedProxies};
use http::Method;
use serde_json::json;

use crate::support::settings::{
    browsers, publishable_key, route, session_claims, settings_for_browsers,
};
use crate::support::{Answer, Client, Issuer, Proxy, Upstream};

/// When a session began that every test's tokens are newer than.
const UAT: &str = "__client_uat=1700000000";

/// The cookies of somebody who is signed in with this token.
pub(crate) fn signed_in(token: &str) -> String {
    format!("__session={token}; {UAT}")
}

/// A browser's request for a page at this host.
pub(crate) fn page(proxy: &Proxy, cookies: &str) -> Client {
    let client = proxy.client().header("host", "localhost:4600").header("accept", "text/html");
    if cookies.is_empty() { client } else { client.header("cookie", cookies) }
}

/// A session token that has expired.
pub(crate) fn expired(issuer: &Issuer) -> String {
    let now = Clock::System.now().as_secs();
    issuer.mint(json!({"iat": now - 120, "nbf": now - 130, "exp": now - 60}))
}

/// Every cookie that is set.
pub(crate) fn set(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect()
}

/// Where the browser is sent: the address without its query.
pub(crate) fn sent_to(answer: &Answer) -> Option<&str> {
    answer.header("location")?.split('?').next()
}

async fn served(change: impl FnOnce(&mut Settings, &Issuer)) -> (Issuer, Upstream, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_for_browsers(&issuer, &upstream);
    change(&mut settings, &issuer);
    let proxy = Proxy::start(settings).await;
    (issuer, upstream, proxy)
}

#[tokio::test(flavor = "local")]
async fn a_cookie_says_who_calls() {
    let (issuer, upstream, proxy) = served(|_, _| {}).await;
    let token = issuer.mint(json!({"sub": "user_ada"}));

    let answer = page(&proxy, &signed_in(&token)).get("/orders").await;

    assert_eq!(answer.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-clerk-user-id"), Some("user_ada"));
    assert_eq!(seen.header("x-clerk-principal"), Some("user"));
    let line =
        r#"requests_total{carrier="cookie",decision="allowed",reason="none",route="default"}"#;
    assert_eq!(proxy.metric(&format!("countersign_{line}")).await, 1.0);
    assert!(!proxy.logged().contains(&token));
}

/// Clerk's words for each state of a production instance's cookies: for a page, where the browser
/// is sent and why; for a script, why it is refused.
#[tokio::test(flavor = "local")]
async fn a_page_is_sent_to_clerk_and_a_script_is_told_why() {
    let (issuer, _upstream, proxy) = served(|_, _| {}).await;
    let handshake = format!("{}/v1/client/handshake", issuer.origin());
    let sign_in = format!("{}/sign-in", issuer.origin());
    let (good, old) = (issuer.token(), expired(&issuer));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let early = issuer.mint(json!({"nbf": Clock::System.now().as_secs() + 600}));

    for (cookies, place, reason) in [
        (String::new(), &sign_in, "session-token-and-uat-missing"),
        (format!("__session={good}"), &handshake, "session-token-but-no-client-uat"),
        (UAT.to_owned(), &handshake, "client-uat-but-no-session-token"),
        (signed_in(&old), &handshake, "session-token-expired"),
        (signed_in(&early), &handshake, "session-token-nbf"),
        (
            format!("__session={good}; __client_uat=99999999999"),
            &handshake,
            "session-token-iat-before-client-uat",
        ),
        (signed_in(&forged), &sign_in, "token-invalid-signature"),
        (signed_in("junk"), &sign_in, "token-invalid"),
        (format!("__session=a; __session={good}; {UAT}"), &handshake, "session-token-missing"),
    ] {
        let sent = page(&proxy, &cookies).get("/orders?x=1").await;
        let told = proxy.client().header("cookie", &cookies).get("/orders").await;

        assert_eq!((sent.status, sent_to(&sent)), (307, Some(&**place)), "{reason}: {sent:?}");
        let state = if *place == handshake { "handshake" } else { "signed-out" };
        for (name, want) in [
            ("x-clerk-auth-reason", reason),
            ("x-clerk-auth-status", state),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(sent.header(name), Some(want), "{reason}");
        }
        let back = "redirect_url=http%3A%2F%2Flocalhost%3A4600%2Forders%3Fx%3D1";
        assert!(sent.header("location").unwrap().contains(back), "{sent:?}");
        assert_eq!((told.status, told.reason().as_str()), (401, reason));
        assert_eq!(told.header("location"), None, "{reason}");
    }
    let log = proxy.logged();
    assert!(!log.contains(&good) && !log.contains(&old), "a token is in the log");
}

/// What decides about cookies is claimed by tokens nobody has verified yet; of one that was, it is
/// remembered.
#[tokio::test(flavor = "local")]
async fn a_token_that_is_remembered_decides_about_cookies_as_it_did() {
    let (issuer, upstream, proxy) = served(|_, _| {}).await;
    let now = Clock::System.now().as_secs();
    let of = |user: &str, iat: i64| issuer.mint(json!({"sub": user, "iat": iat, "nbf": iat}));
    let (older, newer) = (of("user_older", now - 30), of("user_newer", now - 10));
    let suffix = CookieSuffix::of(&publishable_key(&issuer, Environment::Production));
    let both = |plain: &str, suffixed: &str| {
        let names = ["__session", "__client_uat"].map(|name| suffix.name(name));
        format!("{}; {}={suffixed}; {}=1700000000", signed_in(plain), names[0], names[1])
    };
    let signed_in_since = format!("__session={newer}; __client_uat=99999999999");

    for time in ["first", "again"] {
        for (cookies, want) in
            [(both(&newer, &older), "user_newer"), (both(&older, &newer), "user_newer")]
        {
            assert_eq!(page(&proxy, &cookies).get("/").await.status, 200, "{time}: {want}");
            assert_eq!(upstream.last().header("x-clerk-user-id"), Some(want), "{time}");
        }
        assert_eq!(page(&proxy, &signed_in(&older)).get("/").await.status, 200, "{time}");
        let sent = page(&proxy, &signed_in_since).get("/").await;
        assert_eq!(sent.reason(), "session-token-iat-before-client-uat", "{time}");
    }
}

#[tokio::test(flavor = "local")]
async fn two_sessions_are_nobodys_and_neither_is_shown_to_clerk() {
    let (issuer, upstream, proxy) = served(|_, _| {}).await;
    let (one, other) = (issuer.mint(json!({"sub": "user_eve"})), issuer.token());
    let cookies = format!("__session={one}; {}", signed_in(&other));

    let sent = page(&proxy, &cookies).get("/").await;
    let by_script = proxy.client().header("cookie", &cookies).get("/").await;

    assert_eq!((sent.status, sent.reason().as_str()), (307, "session-token-missing"));
    assert!(!sent.header("location").unwrap().contains("__session="), "{sent:?}");
    assert_eq!((by_script.status, by_script.reason().as_str()), (401, "session-token-missing"));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn an_expired_bearer_token_of_a_page_is_renewed_too_and_that_of_a_script_is_refused() {
    let (issuer, _upstream, proxy) = served(|_, _| {}).await;
    let old = expired(&issuer);

    let sent = page(&proxy, "").bearer(&old).get("/").await;
    let told = proxy.get("/", &old).await;
    let forged = page(&proxy, "").bearer("junk").get("/").await;

    assert_eq!((sent.status, sent.header("x-clerk-auth-status")), (307, Some("handshake")));
    assert!(sent.header("location").unwrap().contains(&format!("&__session={old}")));
    assert_eq!((told.status, told.reason().as_str()), (401, "session-token-expired"));
    assert!(told.header("www-authenticate").unwrap().contains("invalid_token"));
    assert_eq!(sent_to(&forged), Some(&*format!("{}/sign-in", issuer.origin())));
}

#[tokio::test(flavor = "local")]
async fn a_development_instance_wants_to_know_its_browser() {
    let change = |settings: &mut Settings, issuer: &Issuer| {
        settings.proxy.browsers = Some(browsers(issuer, Environment::Development));
    };
    let (issuer, _upstream, proxy) = served(change).await;
    let token = signed_in(&issuer.token());

    for (target, cookies, reason) in [
        ("/", token.clone(), "dev-browser-missing"),
        ("/?__clerk_db_jwt=dvb_1", format!("{token}; __clerk_db_jwt=dvb_1"), "dev-browser-sync"),
    ] {
        let sent = page(&proxy, &cookies).get(target).await;
        assert_eq!(sent.header("x-clerk-auth-reason"), Some(reason), "{sent:?}");
        assert!(!sent.header("location").unwrap().contains("localhost%3A4600%2F%3F__clerk_db"));
    }
    let answer = page(&proxy, &format!("{token}; __clerk_db_jwt=dvb_1")).get("/").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "local")]
async fn a_loop_ends_after_three_turns() {
    let (issuer, _upstream, proxy) = served(|_, _| {}).await;
    let old = signed_in(&expired(&issuer));

    for (count, status, cookie) in [
        ("0", 307, Some("__clerk_redirect_count=1; SameSite=Lax; HttpOnly; Max-Age=2")),
        ("2", 307, Some("__clerk_redirect_count=3; SameSite=Lax; HttpOnly; Max-Age=2")),
        ("3", 401, None),
    ] {
        let cookies = format!("{old}; __clerk_redirect_count={count}");
        let answer = page(&proxy, &cookies).get("/").await;
        assert_eq!((answer.status, set(&answer).first().copied()), (status, cookie), "{count}");
        assert_eq!(answer.header("x-clerk-auth-reason"), Some("session-token-expired"));
    }
    assert_eq!(proxy.metric("countersign_handshake_loops_total").await, 1.0);

    for (count, status) in [(0, 307), (2, 307), (3, 401)] {
        let cookies = format!("__countersign_sign_ins={count}");
        let answer = page(&proxy, &cookies).get("/").await;
        assert_eq!(answer.status, status, "{count}");
        let counts = set(&answer).iter().any(|it| it.contains(&format!("sign_ins={}", count + 1)));
        assert_eq!(counts, status == 307, "{answer:?}");
    }
    assert_eq!(proxy.metric("countersign_handshake_loops_total").await, 2.0);
}

#[tokio::test(flavor = "local")]
async fn whoever_is_let_in_after_a_sign_in_begins_anew() {
    let (issuer, _upstream, proxy) = served(|settings, _| {
        session_claims(settings).parties = vec!["https://a.test".into()];
        settings.proxy.routes =
            Routes::new(vec![route("/feed", Access::Optional)], Case::Sensitive);
    })
    .await;
    let good = signed_in(&issuer.mint(json!({"azp": "https://a.test"})));
    let refused = signed_in(&issuer.mint(json!({"azp": "https://b.test"})));
    let anew = "__countersign_sign_ins=; Path=/; SameSite=Lax; HttpOnly; Max-Age=0";

    for (path, cookies, status, begins) in [
        ("/", format!("{good}; __countersign_sign_ins=3"), 200, true),
        ("/feed", format!("{good}; __countersign_sign_ins=1"), 200, true),
        ("/", good, 200, false),
        ("/", format!("{refused}; __countersign_sign_ins=2"), 307, false),
        ("/", format!("{refused}; __countersign_sign_ins=3"), 401, false),
        ("/feed", "__countersign_sign_ins=1".to_owned(), 200, false),
    ] {
        let answer = page(&proxy, &cookies).get(path).await;
        assert_eq!((answer.status, set(&answer).contains(&anew)), (status, begins), "{answer:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn another_sites_page_may_look_and_not_act() {
    let (issuer, upstream, proxy) = served(|_, _| {}).await;
    let named = signed_in(&issuer.token());
    let nameless = signed_in(&issuer.mint(json!({"azp": null})));
    let party = "http://localhost:3000";
    let cross_site = (403, "cross-site-request");
    let no_party = (401, "token-invalid-authorized-parties");
    let good = (200, "");

    for (method, headers, cookies, want) in [
        ("POST", &[("origin", "https://evil.test")][..], &named, cross_site),
        ("POST", &[("origin", "null")], &named, cross_site),
        ("POST", &[("sec-fetch-site", "cross-site")], &named, cross_site),
        ("POST", &[("sec-fetch-site", "same-site")], &named, cross_site),
        ("DELETE", &[("origin", "https://evil.test")], &named, cross_site),
        (
            "GET",
            &[("origin", "https://evil.test"), ("upgrade", "websocket"), ("connection", "upgrade")],
            &named,
            cross_site,
        ),
        ("GET", &[("origin", "https://evil.test")], &named, good),
        ("POST", &[("origin", party)], &named, good),
        ("POST", &[("origin", "http://localhost:4600")], &named, good),
        ("POST", &[("sec-fetch-site", "same-origin")], &named, good),
        ("POST", &[], &named, good),
        ("POST", &[], &nameless, no_party),
        ("POST", &[("origin", party)], &nameless, good),
        ("POST", &[("origin", "https://evil.test")], &nameless, cross_site),
        ("GET", &[], &nameless, good),
    ] {
        let mut client = proxy.client().header("host", "localhost:4600").header("cookie", cookies);
        for (name, value) in headers {
            client = client.header(name, value);
        }
        let before = upstream.seen().len();
        let answer = client.send(method.parse::<Method>().unwrap(), "/", "").await;
        assert_eq!((answer.status, answer.reason().as_str()), want, "{method} {headers:?}");
        assert_eq!(upstream.seen().len() - before, usize::from(want == good));
    }
    let bearer = proxy.client().header("origin", "https://evil.test").bearer(&issuer.token());
    assert_eq!(bearer.post("/", "").await.status, 200, "no browser adds a bearer token by itself");
    assert_eq!(proxy.metric(r#"countersign_azp_missing_total{carrier="cookie"}"#).await, 4.0);
}

#[tokio::test(flavor = "local")]
async fn cookies_of_a_production_instance_need_a_page_to_be_ours() {
    let change = |settings: &mut Settings, _: &Issuer| {
        settings.proxy.browsers.as_mut().unwrap().cookies = Cookies::Refused;
    };
    let (issuer, _upstream, proxy) = served(change).await;

    let shown = page(&proxy, &signed_in(&issuer.token())).get("/").await;
    let nothing = page(&proxy, "").get("/").await;

    assert_eq!((shown.status, shown.reason().as_str()), (401, "cookies-refused"));
    assert_eq!((nothing.status, nothing.header("location")), (401, None));
    assert!(proxy.logged().contains("`clerk.authorized_parties` or `public_url`"));
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn whoever_is_signed_out_is_nobody_where_a_caller_is_optional() {
    let change = |settings: &mut Settings, _: &Issuer| {
        settings.proxy.routes = Routes::new(vec![route("/**", Access::Optional)], Case::Sensitive);
    };
    let (issuer, upstream, proxy) = served(change).await;
    let good = issuer.token();
    let forged = format!("{}AAAA", &good[..good.len() - 4]);

    for (cookies, principal) in [
        (String::new(), "anonymous"),
        (signed_in(&good), "user"),
        (signed_in(&forged), "anonymous"),
        (signed_in("junk"), "anonymous"),
    ] {
        assert_eq!(page(&proxy, &cookies).get("/").await.status, 200, "{principal}");
        assert_eq!(upstream.last().header("x-clerk-principal"), Some(principal));
    }
    let handshake = page(&proxy, UAT).get("/").await;
    assert_eq!(handshake.header("x-clerk-auth-status"), Some("handshake"));
    assert_eq!(proxy.get("/", &forged).await.status, 401, "a bearer token is shown on purpose");
    let cross =
        proxy.client().header("cookie", &signed_in(&good)).header("origin", "https://e.vil");
    assert_eq!(cross.post("/", "").await.status, 403);
}

#[tokio::test(flavor = "local")]
async fn a_route_may_answer_otherwise_than_with_the_sign_in_page() {
    let change = |settings: &mut Settings, _: &Issuer| {
        let rule = |unauthenticated| Rule { unauthenticated, ..Access::SIGNED_IN.into() };
        let of = |path, rule| Route { rule, ..route(path, Access::Public) };
        let report = Rule { mode: Mode::Report, ..Access::SIGNED_IN.into() };
        settings.proxy.routes = Routes::new(
            vec![
                of("/challenge", rule(Unauthenticated::Challenge)),
                of("/hidden", rule(Unauthenticated::NotFound)),
                of("/report", report),
            ],
            Case::Sensitive,
        );
    };
    let (_issuer, upstream, proxy) = served(change).await;

    for (path, signed_out, handshake) in
        [("/challenge", 401, 307), ("/hidden", 404, 307), ("/report", 200, 200), ("/", 307, 307)]
    {
        assert_eq!(page(&proxy, "").get(path).await.status, signed_out, "{path}");
        assert_eq!(page(&proxy, UAT).get(path).await.status, handshake, "{path}");
    }
    assert_eq!(upstream.last().header("x-clerk-principal"), Some("anonymous"));
    let line = r#"requests_total{carrier="none",decision="would_reject",reason="client-uat-but-no-session-token",route="/report"}"#;
    assert_eq!(proxy.metric(&format!("countersign_{line}")).await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn a_browser_is_told_to_come_back_to_a_host_of_ours_alone() {
    for (trusted, headers, origin) in [
        (false, &[("host", "localhost:4600")][..], Some("http://localhost:4600")),
        (false, &[("host", "evil.test")], None),
        (false, &[("host", "localhost.evil.test")], None),
        (
            false,
            &[("host", "localhost:4600"), ("x-forwarded-host", "evil.test")],
            Some("http://localhost:4600"),
        ),
        (true, &[("host", "localhost:4600"), ("x-forwarded-host", "evil.test")], None),
        (
            true,
            &[
                ("host", "inner:80"),
                ("x-forwarded-host", "localhost:5000, inner"),
                ("x-forwarded-proto", "https, http"),
            ],
            Some("https://localhost:5000"),
        ),
        (
            true,
            &[
                ("host", "inner:80"),
                ("x-forwarded-host", "LocalHost"),
                ("x-forwarded-proto", "https"),
            ],
            Some("https://localhost"),
        ),
        (
            true,
            &[("host", "localhost:4600"), ("x-forwarded-proto", "javascript")],
            Some("http://localhost:4600"),
        ),
    ] {
        let change = |settings: &mut Settings, _: &Issuer| {
            if trusted {
                settings.proxy.trusted_proxies =
                    TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]);
            }
        };
        let (_issuer, _upstream, proxy) = served(change).await;
        for cookies in ["", UAT] {
            let mut client = proxy.client().header("accept", "text/html").header("cookie", cookies);
            for (name, value) in headers {
                client = client.header(name, value);
            }
            let answer = client.get("/a").await;
            let back = origin.map(|it| format!("{it}/a").replace(':', "%3A").replace('/', "%2F"));
            let want = if origin.is_some() { 307 } else { 401 };
            assert_eq!(answer.status, want, "{headers:?}");
            let location = answer.header("location").unwrap_or_default();
            assert!(location.contains(&*back.unwrap_or_default()), "{headers:?} {location}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_path_that_looks_like_another_host_stays_a_path() {
    let change = |settings: &mut Settings, _: &Issuer| settings.proxy.paths.double_slash = true;
    let (_issuer, _upstream, proxy) = served(change).await;

    let answer = page(&proxy, UAT).get("//evil.test/a").await;

    let back = "redirect_url=http%3A%2F%2Flocalhost%3A4600%2F%2Fevil.test%2Fa&";
    assert!(answer.header("location").unwrap().contains(back), "{answer:?}");
}

#[tokio::test(flavor = "local")]
async fn a_cookie_is_good_as_long_as_its_token() {
    let clock = Clock::fixed(UnixTime::from_secs(1_800_000_000));
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(settings_for_browsers(&issuer, &upstream), clock.clone()).await;
    let cookies = signed_in(&issuer.token());

    for (second, status) in [(0, 200), (64, 200), (65, 307)] {
        clock.set(UnixTime::from_secs(1_800_000_000 + second));
        assert_eq!(page(&proxy, &cookies).get("/").await.status, status, "{second}");
    }
}

#[tokio::test(flavor = "local")]
async fn two_enforced_parties_and_an_azp_of_neither() {
    let change = |settings: &mut Settings, _: &Issuer| {
        session_claims(settings).parties = vec!["https://a.test".into(), "https://b.test".into()];
    };
    let (issuer, _upstream, proxy) = served(change).await;

    for (azp, status) in [(json!("https://b.test"), 200), (json!("https://c.test"), 401)] {
        let cookies = signed_in(&issuer.mint(json!({ "azp": azp })));
        let answer = proxy.client().header("cookie", &cookies).get("/").await;
        assert_eq!(answer.status, status, "{azp}");
    }
}

/// What ends TLS before us says `http` to us; the backend would send every request to `https` again.
#[tokio::test(flavor = "local")]
async fn the_backend_is_told_the_scheme_that_settings_say_the_browser_used() {
    let change = |settings: &mut Settings, _: &Issuer| {
        let browsers = settings.proxy.browsers.as_mut().unwrap();
        browsers.origins.parties.push("https://www.app.test".to_owned());
    };
    let (issuer, upstream, proxy) = served(change).await;

    for (host, scheme) in [("www.app.test", "https"), ("localhost:4600", "http")] {
        proxy.client().header("host", host).bearer(&issuer.token()).get("/").await;
        assert_eq!(upstream.last().header("x-forwarded-proto"), Some(scheme), "{host}");
    }
}
