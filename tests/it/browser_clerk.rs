//! What comes from Clerk with a browser: a handshake's result, a refreshed session, and whether a
//! session still is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::core::access::{Access, Demand, Demands, Rule, Session};
use countersign::core::clerk::cookies::CookieSuffix;
use countersign::core::clerk::has::{Asked, Privilege};
use countersign::core::clerk::instance::Payload;
use countersign::core::clerk::publishable_key::Environment;
use countersign::core::route::{Case, Route, Routes};
use http::Response;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::{task, time};

use crate::browser::{expired, page, sent_to, set, signed_in};
use crate::support::settings::{
    browsers, clerk_api, publishable_key, route, settings_for_browsers,
};
use crate::support::upstream::{Seen, head};
use crate::support::{Issuer, Proxy, Upstream, until, until_every};

/// The token of a handshake that has brought these cookies.
fn handshake(issuer: &Issuer, cookies: &Value) -> String {
    issuer.mint(json!({
        "handshake": cookies, "sub": null, "sid": null, "azp": null, "nbf": null, "exp": null,
    }))
}

/// Cookies as Clerk has them set for whoever is signed in with this token.
fn lines(token: &str) -> Value {
    json!([
        format!("__session={token}; Path=/; SameSite=Lax"),
        "__client_uat=1700000000; Path=/",
        "admin=true; Path=/",
        "__sessionfoo=1",
    ])
}

fn answer(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).body(body.to_string().into()).unwrap()
}

async fn served(
    api: Option<&Upstream>,
    change: impl FnOnce(&mut Settings, &Issuer),
) -> (Issuer, Upstream, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::answering(|_| {
        Response::builder().header("set-cookie", "own=1").body("ok".into()).unwrap()
    })
    .await;
    let mut settings = settings_for_browsers(&issuer, &upstream);
    if let Some(api) = api {
        settings.clerk_api = Some(clerk_api(&api.address));
        settings.proxy.browsers.as_mut().unwrap().instance.payload = Payload::Nonce;
    }
    change(&mut settings, &issuer);
    let proxy = Proxy::start(settings).await;
    (issuer, upstream, proxy)
}

fn of_development(settings: &mut Settings, issuer: &Issuer) {
    settings.proxy.browsers = Some(browsers(issuer, Environment::Development));
}

#[tokio::test(flavor = "local")]
async fn a_production_handshake_comes_in_a_cookie_and_goes_on_with_the_page() {
    let (issuer, upstream, proxy) = served(None, |_, _| {}).await;
    let token = issuer.mint(json!({"sub": "user_ada"}));
    let result = handshake(&issuer, &lines(&token));

    let back = page(&proxy, &format!("__clerk_handshake={result}")).get("/a").await;

    assert_eq!(back.status, 200);
    assert_eq!(upstream.last().header("x-clerk-user-id"), Some("user_ada"));
    let session = format!("__session={token}; Path=/; SameSite=Lax");
    assert_eq!(set(&back), ["own=1", &session, "__client_uat=1700000000; Path=/"]);
    assert_eq!(back.header("cache-control"), Some("no-store"));

    let in_address = page(&proxy, "").get(&format!("/a?__clerk_handshake={result}")).await;
    assert_eq!(sent_to(&in_address), Some(&*format!("{}/sign-in", issuer.origin())));
    assert!(!in_address.header("location").unwrap().contains(&result), "it is of no use there");
    let by_script =
        proxy.client().header("cookie", &format!("__clerk_handshake={result}")).get("/a").await;
    assert_eq!((by_script.status, set(&by_script).len()), (401, 0));
}

#[tokio::test(flavor = "local")]
async fn a_development_handshake_comes_in_the_address_which_is_cleaned() {
    let (issuer, _upstream, proxy) = served(None, of_development).await;
    let result = handshake(&issuer, &lines(&issuer.token()));

    let target = format!("/a?x=1&__clerk_handshake={result}&__clerk_db_jwt=dvb_1&y=%20");
    let back = page(&proxy, "").get(&target).await;

    let clean = Some("http://localhost:4600/a?x=1&y=%20");
    assert_eq!((back.status, back.header("location")), (307, clean));
    assert_eq!(set(&back).len(), 2);
    assert_eq!(back.header("x-clerk-auth-status"), None);
    let line = r#"requests_total{carrier="none",decision="handshake",reason="handshake-over",route="default"}"#;
    assert_eq!(proxy.metric(&format!("countersign_{line}")).await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn a_development_handshake_that_brings_nobody_ends_with_a_clean_address_too() {
    let (issuer, _upstream, proxy) = served(None, of_development).await;
    let result = handshake(&issuer, &json!(["__clerk_db_jwt=dvb_1", "__client_uat=0"]));

    let back = page(&proxy, "").get(&format!("/a?__clerk_handshake={result}")).await;
    let elsewhere = proxy.client().header("host", "evil.test").header("accept", "text/html");
    let elsewhere = elsewhere.get(&format!("/a?__clerk_handshake={result}")).await;

    let clean = Some("http://localhost:4600/a");
    assert_eq!((back.status, back.header("location")), (307, clean));
    assert_eq!(set(&back), ["__clerk_db_jwt=dvb_1", "__client_uat=0"]);
    assert_eq!(back.header("x-clerk-auth-reason"), Some("session-token-missing"));
    assert_eq!((elsewhere.status, elsewhere.header("location")), (401, None));
}

/// A handshake's token is believed for its signature, and a session's for everything.
#[tokio::test(flavor = "local")]
async fn what_a_handshake_brings_is_looked_at_like_anything_else() {
    let (issuer, _upstream, proxy) = served(None, |_, _| {}).await;
    let good = handshake(&issuer, &lines(&issuer.token()));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let template = issuer.mint(json!({
        "handshake": lines(&issuer.token()), "sid": null, "$header": {"cat": "cl_B7d4PD222AAA"},
    }));
    let elsewhere = issuer.mint(json!({"iss": "https://clerk.other.test"}));
    let machine = issuer.mint(json!({"sub": "mch_1"}));

    for (result, status, cookies) in [
        (good, 200, 3),
        (forged, 307, 1),
        (template, 307, 1),
        ("junk".to_owned(), 307, 1),
        (handshake(&issuer, &lines(&elsewhere)), 307, 1),
        (handshake(&issuer, &lines(&machine)), 307, 1),
        (handshake(&issuer, &lines(&expired(&issuer))), 307, 1),
        // Signed out for certain: Clerk says so, and the cookies that say it are set.
        (handshake(&issuer, &json!(["__session=; Max-Age=0", "__client_uat=0"])), 307, 3),
    ] {
        let back = page(&proxy, &format!("__clerk_handshake={result}")).get("/").await;
        assert_eq!((back.status, set(&back).len()), (status, cookies), "{back:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_nonce_is_exchanged_with_the_secret_key() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let directives = Rc::new(RefCell::new((200, json!({"directives": []}))));
    let told = Rc::clone(&directives);
    let api = Upstream::answering(move |_| answer(told.borrow().0, &told.borrow().1)).await;
    let upstream = Upstream::start().await;
    let mut settings = settings_for_browsers(&issuer, &upstream);
    settings.clerk_api = Some(clerk_api(&api.address));
    settings.proxy.browsers.as_mut().unwrap().instance.payload = Payload::Nonce;
    let proxy = Proxy::start(settings).await;
    let token = issuer.mint(json!({"sub": "user_ada"}));
    let get = async |nonce: &str| {
        page(&proxy, &format!("__clerk_handshake_nonce={nonce}")).get("/").await
    };

    *directives.borrow_mut() = (200, json!({"directives": lines(&token)}));
    for _ in 0..3 {
        let status = get("n%2B1").await.status;
        let seen = upstream.last();
        assert_eq!((status, seen.header("x-clerk-user-id")), (200, Some("user_ada")));
    }
    assert_eq!(api.seen().len(), 1, "a page that was opened thrice comes with one nonce");
    let asked = api.last();
    assert_eq!(asked.target, "/v1/clients/handshake_payload?nonce=n%2B1");
    assert_eq!(asked.header("authorization"), Some("Bearer sk_test_hunter2"));
    assert_eq!(asked.header("cookie"), None);

    for (reply, status, reason) in [
        ((404, json!({"errors": []})), 307, "session-token-missing"),
        ((200, json!({"directives": []})), 307, "session-token-missing"),
        ((500, json!({})), 503, "clerk-unavailable"),
        ((401, json!({})), 503, "clerk-unavailable"),
        ((200, json!([])), 503, "clerk-unavailable"),
        ((429, json!({})), 503, "clerk-unavailable"),
    ] {
        *directives.borrow_mut() = reply.clone();
        let back = get(&format!("n{}", api.seen().len())).await;
        assert_eq!((back.status, back.reason().as_str()), (status, reason), "{reply:?}");
        assert_eq!(back.header("retry-after").is_some(), status == 503);
    }
    let before = api.seen().len();
    assert_eq!(get("rests").await.reason(), "clerk-unavailable");
    assert_eq!(api.seen().len(), before, "it was told to wait");
    for (result, count) in [("ok", 3.0), ("error", 5.0)] {
        let labels = format!(r#"{{call="handshake",result="{result}"}}"#);
        let line = format!("countersign_clerk_api_requests_total{labels}");
        assert_eq!(proxy.metric(&line).await, count, "{result}");
    }
    drop(api);
    assert_eq!(get("nobody").await.reason(), "clerk-unavailable");
    assert!(!proxy.logged().contains("hunter2"));
}

/// The Backend API, which refreshes sessions as this says; it keeps what it was asked.
async fn refreshing(reply: impl Fn() -> Response<Bytes> + 'static) -> Upstream {
    Upstream::answering(move |_: &Seen| reply()).await
}

#[tokio::test(flavor = "local")]
async fn an_expired_session_is_refreshed_without_a_redirect() {
    let issuer = Rc::new(Issuer::start(Clock::System).unwrap());
    let reply = Rc::new(RefCell::new((200, json!({}))));
    let told = Rc::clone(&reply);
    let api = refreshing(move || answer(told.borrow().0, &told.borrow().1)).await;
    let upstream = Upstream::start().await;
    let mut settings = settings_for_browsers(&issuer, &upstream);
    settings.clerk_api = Some(clerk_api(&api.address));
    let proxy = Proxy::start(settings).await;
    let suffix = CookieSuffix::of(&publishable_key(&issuer, Environment::Production));
    let (old, new) = (expired(&issuer), issuer.mint(json!({"sub": "user_new"})));
    let others = issuer.mint(json!({"sid": "sess_other"}));
    let cookies = |refresh: &str| {
        format!("{}; {}={refresh}; other=secret", signed_in(&old), suffix.name("__refresh"))
    };

    *reply.borrow_mut() = (200, json!({"object": "cookies", "cookies": lines(&new)}));
    let fresh = page(&proxy, &cookies("rt_1")).header("user-agent", "tests");
    let fresh = fresh.header("x-forwarded-for", "6.6.6.6").get("/a?x").await;

    assert_eq!((fresh.status, upstream.last().header("x-clerk-user-id")), (200, Some("user_new")));
    assert_eq!(set(&fresh).len(), 2);
    let asked = api.last();
    assert_eq!(asked.target, "/v1/sessions/sess_2xHq8aKd3MnP5rTv7XzB9cFhJmW/refresh");
    assert_eq!(
        serde_json::from_slice::<Value>(&asked.body).unwrap(),
        json!({
            "format": "cookie", "expired_token": old, "refresh_token": "rt_1",
            "request_origin": "http://localhost:4600",
            "request_headers": {"user-agent": ["tests"], "x-forwarded-for": ["127.0.0.1"]},
        })
    );
    assert_eq!(page(&proxy, &cookies("rt_1")).get("/script.js").await.status, 200);
    assert_eq!(api.seen().len(), 1, "a page and its scripts have one token refreshed");

    for (answered, detail) in [
        ((401, json!({})), "unexpected-bapi-error"),
        ((200, json!({"cookies": []})), "unexpected-sdk-error"),
        ((200, json!({"cookies": lines(&old)})), "invalid-session-token"),
        ((200, json!({"cookies": lines(&others)})), "invalid-session-token"),
        ((200, json!([])), "fetch-error"),
    ] {
        *reply.borrow_mut() = answered;
        let sent = page(&proxy, &cookies(&format!("again_{}", api.seen().len()))).get("/").await;
        let reason = format!("__clerk_hs_reason=session-token-expired-refresh-{detail}&");
        assert!(sent.header("location").unwrap().contains(&reason), "{sent:?}");
        assert!(set(&sent).iter().all(|line| !line.starts_with("__session")), "{detail}");
    }
    let before = api.seen().len();
    let posted = proxy.client().header("cookie", &cookies("rt_posted")).post("/", "").await;
    assert_eq!((posted.status, api.seen().len()), (401, before));
}

/// What the Backend API says of every session.
struct Sessions {
    api: Upstream,
    status: Rc<Cell<&'static str>>,
}

impl Sessions {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let status = Rc::new(Cell::new("active"));
        let told = Rc::clone(&status);
        let api = Upstream::on(listener, move |_| {
            answer(200, &json!({"object": "session", "status": told.get()}))
        });
        Self { api, status }
    }

    fn calls(&self) -> usize {
        self.api.seen().len()
    }
}

fn asks_clerk(settings: &mut Settings, _: &Issuer) {
    let role = Demand::Has(Asked::Role(Privilege::parse("org:admin").unwrap()));
    let of = |path, access: Access| Route {
        rule: Rule { session: Session::Active, ..access.into() },
        ..route(path, Access::Public)
    };
    let routes = vec![
        of("/active", Access::SIGNED_IN),
        of("/admin", Access::Required(Demands::new(vec![role]))),
    ];
    settings.proxy.routes = Routes::new(routes, Case::Sensitive);
}

/// A script's request with a session of this name.
async fn ask(proxy: &Proxy, issuer: &Issuer, sid: &str, path: &str) -> (u16, String) {
    let cookies = signed_in(&issuer.mint(json!({"sid": sid})));
    let answer = proxy.client().header("cookie", &cookies).get(path).await;
    (answer.status, answer.reason())
}

#[tokio::test(flavor = "local")]
async fn a_session_counts_where_clerk_calls_it_active() {
    let sessions = Sessions::start().await;
    let (issuer, _upstream, proxy) = served(Some(&sessions.api), asks_clerk).await;

    for (place, status) in
        ["active", "revoked", "ended", "expired", "removed", "abandoned", "replaced", "pending"]
            .into_iter()
            .enumerate()
    {
        sessions.status.set(status);
        let sid = format!("sess_{place}");
        let want = if status == "active" { (200, "") } else { (401, "session-revoked") };
        let got = ask(&proxy, &issuer, &sid, "/active").await;
        assert_eq!((got.0, got.1.as_str()), want, "{status}");
        assert_eq!(sessions.api.last().target, format!("/v1/sessions/{sid}"));
        let bearer = proxy.get("/active", &issuer.mint(json!({"sid": sid}))).await;
        assert_eq!((bearer.status, bearer.reason().as_str()), want, "{status}");
        assert_eq!(ask(&proxy, &issuer, &sid, "/").await.0, 200, "only such a route asks");
    }
    assert_eq!(sessions.calls(), 8);
    let asked = sessions.api.last();
    assert_eq!(asked.header("authorization"), Some("Bearer sk_test_hunter2"));
    for (result, count) in [("active", 1.0), ("over", 7.0)] {
        let line = format!("countersign_session_checks_total{{result=\"{result}\"}}");
        assert_eq!(proxy.metric(&line).await, count);
    }
}

#[tokio::test(flavor = "local")]
async fn clerk_is_not_asked_of_a_session_that_would_not_pass_anyway() {
    let sessions = Sessions::start().await;
    let (issuer, _upstream, proxy) = served(Some(&sessions.api), asks_clerk).await;

    let member = issuer.mint(json!({"o": {"id": "org_1", "slg": "acme", "rol": "member"}}));
    assert_eq!(proxy.get("/admin", &member).await.status, 403);
    assert_eq!(proxy.get("/active", &expired(&issuer)).await.status, 401);
    assert_eq!(proxy.client().get("/active").await.status, 401);
    assert_eq!(sessions.calls(), 0);

    assert_eq!(
        ask(&proxy, &issuer, "sess_a/../b", "/active").await,
        (401, "session-revoked".into())
    );
    assert_eq!(sessions.calls(), 0, "what is no id of Clerk's never stands in an address");
}

#[tokio::test(flavor = "local")]
async fn a_session_that_is_revoked_is_refused_within_five_seconds() {
    let sessions = Sessions::start().await;
    let (issuer, _upstream, proxy) = served(Some(&sessions.api), asks_clerk).await;
    let token = issuer.token();
    let get = async || proxy.get("/active", &token).await.status;
    assert_eq!(get().await, 200);

    sessions.status.set("revoked");
    let revoked = time::Instant::now();
    until_every(Duration::from_millis(20), "a refusal", async || get().await == 401).await;

    assert!(revoked.elapsed() < Duration::from_secs(6), "{:?}", revoked.elapsed());
    assert_eq!(sessions.calls(), 2, "however often somebody asked meanwhile");
}

#[tokio::test(flavor = "local")]
async fn a_thousand_requests_of_one_session_ask_once() {
    let sessions = Sessions::start().await;
    let (issuer, _upstream, proxy) = served(Some(&sessions.api), asks_clerk).await;
    let token = issuer.token();

    let started = time::Instant::now();
    for _ in 0..20 {
        let mut requests = task::JoinSet::new();
        for _ in 0..50 {
            let client = proxy.client().bearer(&token);
            requests.spawn_local(async move { client.get("/active").await.status });
        }
        assert!(requests.join_all().await.into_iter().all(|status| status == 200));
    }
    let most = 1 + started.elapsed().as_secs() / 5;
    assert!(sessions.calls() as u64 <= most, "{} calls", sessions.calls());
}

#[tokio::test(flavor = "local")]
async fn where_clerk_does_not_answer_nobody_can_tell() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sessions = Sessions::on(listener);
    let (issuer, upstream, proxy) = served(Some(&sessions.api), asks_clerk).await;
    drop(sessions);

    let before = upstream.seen().len();
    for _ in 0..20 {
        let refused = proxy.get("/active", &issuer.token()).await;
        assert_eq!((refused.status, refused.reason().as_str()), (503, "clerk-unavailable"));
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(upstream.seen().len(), before);
    let line = r#"countersign_session_checks_total{result="error"}"#;
    assert!(proxy.metric(line).await <= 2.0, "nobody is asked again at once");

    let sessions = Sessions::on(TcpListener::bind(address).await.unwrap());
    let get = async || proxy.get("/active", &issuer.token()).await.status;
    until_every(Duration::from_millis(20), "an answer", async || get().await == 200).await;
    assert_eq!(sessions.calls(), 1);
}

/// Whoever makes up nonces has us ask Clerk, and no more often at a time than this.
#[tokio::test(flavor = "local")]
async fn questions_to_clerk_take_turns() {
    let most = Rc::new(Cell::new((0, 0)));
    let counted = Rc::clone(&most);
    let api = Upstream::raw(move |mut socket| {
        let counted = Rc::clone(&counted);
        async move {
            head(&mut socket).await;
            let (now, before) = counted.get();
            counted.set((now + 1, before.max(now + 1)));
            until("others are here too", async || counted.get().1 >= 64).await;
            let _ =
                socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}").await;
            counted.set((counted.get().0 - 1, counted.get().1));
        }
    })
    .await;
    let (_issuer, _upstream, proxy) = served(Some(&api), |_, _| {}).await;

    let mut pages = task::JoinSet::new();
    for number in 0..200 {
        let page = page(&proxy, &format!("__clerk_handshake_nonce=n{number}"));
        pages.spawn_local(async move { page.get("/").await.status });
    }
    assert!(pages.join_all().await.into_iter().all(|status| status == 307));
    assert_eq!(most.get(), (0, 64));
}
