//! Who may use a route: each thing that one may ask, and what whoever has it not is told.

use countersign::clock::Clock;
use countersign::core::access::{
    Access, ClaimDemand, Demand, Demands, Forbidden, Mode, Rule, Scalar, Unauthenticated,
};
use countersign::core::clerk::has::{Asked, Entitlement, Level, Privilege, Reverification};
use countersign::core::route::{Case, Route, Routes};
use http::Method;
use serde_json::{Value, json};

use crate::support::settings::route;
use crate::support::{Answer, Issuer, Proxy, Upstream, settings};

fn role(name: &str) -> Demand {
    Demand::Has(Asked::Role(Privilege::parse(name).unwrap()))
}

fn permission(name: &str) -> Demand {
    Demand::Has(Asked::Permission(Privilege::parse(name).unwrap()))
}

fn feature(name: &str) -> Demand {
    Demand::Has(Asked::Feature(Entitlement::parse(name).unwrap()))
}

fn plan(name: &str) -> Demand {
    Demand::Has(Asked::Plan(Entitlement::parse(name).unwrap()))
}

fn verified(it: Reverification) -> Demand {
    Demand::Has(Asked::Reverification(it))
}

fn claim(pointer: &str, allowed: &str) -> Demand {
    let allowed = vec![Scalar::Text(allowed.to_owned())];
    Demand::Claim(ClaimDemand { pointer: pointer.into(), allowed })
}

fn required(demands: &[Demand]) -> Access {
    Access::Required(Demands::new(demands.to_vec()))
}

/// What a token says of a member of an organization, with these changes.
fn member(changes: &Value) -> Value {
    let mut claims = json!({
        "fea": "o:invoices,u:gold", "pla": "o:pro", "fva": [5, 30], "department": ["audit"],
        "o": {"id": "org_1", "slg": "acme", "rol": "member", "per": "read,manage", "fpm": "1"},
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A route for each of these, at `/0`, `/1` and so on.
fn numbered(rules: impl IntoIterator<Item = Rule>) -> Routes {
    let route = |(place, rule)| Route { rule, ..route(&format!("/{place}/**"), Access::Public) };
    Routes::new(rules.into_iter().enumerate().map(route).collect(), Case::Sensitive)
}

async fn start(issuer: &Issuer, upstream: &Upstream, routes: Routes) -> Proxy {
    let mut settings = settings(issuer, upstream);
    settings.proxy.routes = routes;
    Proxy::start(settings).await
}

fn counted(decision: &str, reason: &str, carrier: &str, route: &str) -> String {
    format!(
        "countersign_requests_total{{carrier=\"{carrier}\",decision=\"{decision}\",reason=\"{reason}\",route=\"{route}\"}}"
    )
}

#[tokio::test(flavor = "local")]
async fn all_that_a_route_asks_must_hold() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let strict = verified(Reverification::Strict);
    let admin = json!({"o": {"id": "org_1", "rol": "admin"}});
    let rows = [
        (vec![role("org:member")], json!({}), Ok(())),
        (vec![role("admin")], json!({}), Err("scope-insufficient")),
        (vec![role("admin")], admin, Ok(())),
        (vec![role("member")], json!({"o": null}), Err("scope-insufficient")),
        (vec![permission("invoices:read")], json!({}), Ok(())),
        (vec![permission("invoices:manage")], json!({}), Err("scope-insufficient")),
        (vec![permission("invoices:read")], json!({"fea": null}), Err("scope-insufficient")),
        (vec![feature("invoices")], json!({}), Ok(())),
        (vec![feature("user:invoices")], json!({}), Err("access-denied")),
        (vec![feature("gold")], json!({"fea": null}), Err("access-denied")),
        (vec![plan("org:pro")], json!({}), Ok(())),
        (vec![plan("free")], json!({}), Err("access-denied")),
        (vec![plan("pro")], json!({"pla": null}), Err("access-denied")),
        (vec![claim("/department", "audit")], json!({}), Ok(())),
        (vec![claim("/department", "sales")], json!({}), Err("access-denied")),
        (vec![claim("/department", "audit")], json!({"department": null}), Err("access-denied")),
        (vec![verified(Reverification::Moderate)], json!({}), Ok(())),
        (vec![strict.clone()], json!({}), Err("reverification-error")),
        (vec![strict.clone()], json!({"fva": null}), Err("reverification-error")),
        (vec![role("member"), plan("pro"), claim("/department", "audit")], json!({}), Ok(())),
        (vec![role("member"), plan("free")], json!({}), Err("access-denied")),
        (vec![strict, role("admin")], json!({}), Err("scope-insufficient")),
    ];
    let rules = rows.iter().map(|(demands, ..)| required(demands).into());
    let proxy = start(&issuer, &upstream, numbered(rules)).await;

    for (place, (demands, changes, want)) in rows.iter().enumerate() {
        let before = upstream.seen().len();
        let token = issuer.mint(member(changes));
        let answer = proxy.get(&format!("/{place}/x"), &token).await;

        let case = format!("{demands:?} {changes}");
        assert_eq!(answer.status, if want.is_ok() { 200 } else { 403 }, "{case}");
        assert_eq!(upstream.seen().len() - before, usize::from(want.is_ok()), "{case}");
        if let Err(reason) = want {
            let line = counted("rejected", reason, "header", &format!("/{place}/**"));
            assert_eq!(proxy.metric(&line).await, 1.0, "{case}");
            assert_eq!(answer.header("x-clerk-auth-status"), None, "{case}: signed in");
        }
        let nobody = proxy.client().get(&format!("/{place}/x")).await;
        assert_eq!(nobody.status, 401, "{case}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_bearer_token_that_is_not_enough_is_told_what_would_be() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let rule = required(&[role("admin"), permission("invoices:manage"), plan("pro")]).into();
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.routes = numbered([rule]);
    let mut silent = settings.clone();
    silent.proxy.reveal_reason = false;
    let (proxy, silent) = (Proxy::start(settings).await, Proxy::start(silent).await);
    let token = issuer.mint(member(&json!({})));

    let answer = proxy.get("/0", &token).await;
    assert_eq!((answer.status, answer.reason().as_str()), (403, "scope-insufficient"));
    let challenge = r#"Bearer realm="countersign", error="insufficient_scope""#;
    let scope = r#", scope="org:admin org:invoices:manage""#;
    assert_eq!(answer.header("www-authenticate"), Some(format!("{challenge}{scope}").as_str()));
    assert_eq!(silent.get("/0", &token).await.header("www-authenticate"), Some(challenge));
    assert!(proxy.logged().contains("org:admin org:invoices:manage"), "the log has it");
}

#[tokio::test(flavor = "local")]
async fn whoever_has_to_verify_again_is_told_as_clerks_front_end_takes_it() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let after_minutes = 3.try_into().unwrap();
    let within = Reverification::Within { level: Level::FirstFactor, after_minutes };
    let rules = [Reverification::StrictMfa, within].map(|it| required(&[verified(it)]).into());
    let proxy = start(&issuer, &upstream, numbered(rules)).await;
    let token = issuer.mint(member(&json!({})));

    for (path, config) in
        [("/0", json!("strict_mfa")), ("/1", json!({"level": "first_factor", "afterMinutes": 3}))]
    {
        let client = proxy.client().bearer(&token).header("origin", "http://localhost:3000");
        let answer = client.get(path).await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
        assert_eq!(answer.header("www-authenticate"), None);
        let metadata = json!({"reverification": config});
        let error =
            json!({"type": "forbidden", "reason": "reverification-error", "metadata": metadata});
        assert_eq!(answer.json(), json!({"clerk_error": error}));
    }
    let fresh = issuer.mint(member(&json!({"fva": [0, 0]})));
    assert_eq!(proxy.get("/0", &fresh).await.status, 200);
    assert_eq!(proxy.get("/1", &fresh).await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn on_an_optional_route_a_good_token_counts_none_is_nobody_and_a_bad_one_is_refused() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let routes = Routes::new(vec![route("/feed", Access::Optional)], Case::Sensitive);
    let proxy = start(&issuer, &upstream, routes).await;
    let token = |claims: Value| format!("Bearer {}", issuer.mint(claims));

    for (authorization, status, principal) in [
        (Some(token(json!({}))), 200, "user"),
        (None, 200, "anonymous"),
        (Some("Basic dTpw".to_owned()), 200, "anonymous"), // the backend's own business
        (Some(token(json!({"exp": 1}))), 401, ""),
        (Some(token(json!({"iss": "https://b.test"}))), 401, ""),
        (Some("Bearer junk".to_owned()), 401, ""),
        (Some("Bearer".to_owned()), 401, ""),
    ] {
        let client = proxy.client().header("x-clerk-principal", "user");
        let client =
            authorization.iter().fold(client, |client, it| client.header("authorization", it));
        let before = upstream.seen().len();
        let answer = client.get("/feed").await;

        assert_eq!(answer.status, status, "{authorization:?}");
        assert_eq!(upstream.seen().len() - before, usize::from(status == 200));
        if status == 200 {
            assert_eq!(upstream.last().header("x-clerk-principal"), Some(principal));
            let user = upstream.last().header("x-clerk-user-id").unwrap().to_owned();
            assert_eq!(user.is_empty(), principal == "anonymous");
        }
    }
    let twice = proxy.client().bearer(&issuer.token()).bearer(&issuer.token());
    assert_eq!(twice.get("/feed").await.status, 400);
    assert_eq!(proxy.metric(&counted("anonymous", "none", "none", "/feed")).await, 2.0);
    assert_eq!(proxy.metric(&counted("allowed", "none", "header", "/feed")).await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn what_is_not_to_be_found_gives_nothing_away_and_is_counted_as_what_it_is() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let demands = required(&[role("admin"), verified(Reverification::Strict)]);
    let hide = |unauthenticated, forbidden| Rule {
        unauthenticated,
        forbidden,
        ..Rule::from(demands.clone())
    };
    let rules = [
        hide(Unauthenticated::NotFound, Forbidden::NotFound),
        hide(Unauthenticated::Auto, Forbidden::NotFound),
        hide(Unauthenticated::NotFound, Forbidden::Forbidden),
        hide(Unauthenticated::Challenge, Forbidden::Forbidden),
    ];
    let proxy = start(&issuer, &upstream, numbered(rules)).await;
    let admin = json!({"id": "org_1", "rol": "admin"});
    let not_admin = issuer.mint(member(&json!({})));
    let not_fresh = issuer.mint(member(&json!({"o": admin.clone()})));
    let good = issuer.mint(member(&json!({"o": admin, "fva": [0, 0]})));
    let ask = async |path: &str, token: Option<&str>| {
        let client = token.iter().fold(proxy.client(), |client, token| client.bearer(token));
        client.get(path).await
    };

    for (path, signed_out, forbidden) in
        [("/0", 404, 404), ("/1", 401, 404), ("/2", 404, 403), ("/3", 401, 403)]
    {
        let route = format!("{path}/**");
        for (token, status, reason, carrier) in [
            (None, signed_out, "session-token-and-uat-missing", "none"),
            (Some("junk"), signed_out, "token-invalid", "header"),
            (Some(&*not_admin), forbidden, "scope-insufficient", "header"),
            (Some(&*not_fresh), forbidden, "reverification-error", "header"),
        ] {
            let answer = ask(path, token).await;
            let case = format!("{path} {reason}");
            assert_eq!(answer.status, status, "{case}");
            let line = counted("rejected", reason, carrier, &route);
            assert_eq!(proxy.metric(&line).await, 1.0, "{case}");
            if status == 404 {
                assert_is_nothing(&answer);
            }
        }
        assert_eq!(ask(path, Some(&good)).await.status, 200);
    }
    let line = r#"countersign_responses_total{code="404",route="/0/**"}"#;
    assert_eq!(proxy.metric(line).await, 4.0);
    let logged = proxy.logged();
    let hidden = r#""status":404,"decision":"rejected","reason":"scope-insufficient""#;
    assert!(logged.contains(hidden), "{logged}");
}

/// Asserts that an answer says there is nothing, and no more.
fn assert_is_nothing(answer: &Answer) {
    let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let plain = [
        "cache-control",
        "content-length",
        "content-type",
        "date",
        "x-content-type-options",
        "x-request-id",
    ];
    assert_eq!(names, plain);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(answer.json(), json!({"title": "Not Found", "status": 404, "request_id": id}));
}

#[tokio::test(flavor = "local")]
async fn a_token_that_was_good_on_one_route_is_asked_again_on_the_next() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let rules = [
        Access::SIGNED_IN,
        required(&[role("admin")]),
        required(&[claim("/department", "sales")]),
        required(&[role("member"), claim("/department", "audit")]),
        required(&[verified(Reverification::Strict)]),
    ];
    let proxy = start(&issuer, &upstream, numbered(rules.map(Rule::from))).await;
    let token = issuer.mint(member(&json!({})));

    for _ in 0..2 {
        for (path, status) in [("/0", 200), ("/1", 403), ("/2", 403), ("/3", 200), ("/4", 403)] {
            assert_eq!(proxy.get(path, &token).await.status, status, "{path}");
        }
    }
    let hits = r#"countersign_token_cache_lookups_total{result="hit"}"#;
    assert_eq!(proxy.metric(hits).await, 9.0, "verified once");
    // Another token of the same user is another caller.
    let admin = issuer.mint(member(&json!({"o": {"id": "org_1", "rol": "admin"}})));
    assert_eq!(proxy.get("/1", &admin).await.status, 200);
    assert_eq!(proxy.get("/1", &token).await.status, 403);
}

#[tokio::test(flavor = "local")]
async fn what_a_get_is_asked_a_head_is_asked_too() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let gets = Route {
        methods: Some(vec![Method::GET]),
        rule: required(&[role("admin")]).into(),
        ..route("/report", Access::Public)
    };
    let routes = Routes::new(vec![gets, route("/report", Access::Public)], Case::Sensitive);
    let proxy = start(&issuer, &upstream, routes).await;
    let token = issuer.mint(member(&json!({})));

    for (method, status) in [(Method::GET, 403), (Method::HEAD, 403), (Method::POST, 200)] {
        let answer = proxy.client().bearer(&token).send(method.clone(), "/report", "").await;
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 403, "{method}");
    }
}

/// Requests that enforcement refuses for their credential or their route, or lets through.
fn mixed(issuer: &Issuer) -> Vec<(&'static str, Option<String>)> {
    let token = |claims: Value| Some(issuer.mint(claims));
    vec![
        ("/", None),
        ("/", Some("junk".into())),
        ("/", token(json!({}))),
        ("/", token(json!({"exp": 1}))),
        ("/", token(json!({"iss": "https://b.test"}))),
        ("/", token(json!({"sts": "pending"}))),
        ("/", token(json!({"$header": {"kid": "x"}}))),
        ("/0/a", None),
        ("/0/a", token(member(&json!({})))),
        ("/0/a", token(member(&json!({"o": {"id": "org_1", "rol": "admin"}})))),
        ("/1/a", None),
        ("/1/a", token(member(&json!({})))),
        ("/1/a", Some("junk".into())),
        ("/2/a", token(member(&json!({})))),
        ("/3/a", Some("junk".into())),
        ("/3/a", None),
    ]
}

fn mixed_routes(mode: Mode) -> Routes {
    let accesses = [
        required(&[role("admin")]),
        required(&[plan("free")]),
        required(&[verified(Reverification::Strict)]),
        Access::Optional,
    ];
    let hidden = |access| Rule {
        mode,
        unauthenticated: Unauthenticated::NotFound,
        forbidden: Forbidden::NotFound,
        ..Rule::from(access)
    };
    numbered(accesses.map(hidden)).otherwise_in(mode)
}

#[tokio::test(flavor = "local")]
async fn in_report_mode_all_reach_the_backend_and_are_counted_as_they_would_be_refused() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let enforcing = start(&issuer, &upstream, mixed_routes(Mode::Enforce)).await;
    let reporting = start(&issuer, &upstream, mixed_routes(Mode::Report)).await;
    let refused = async |proxy: &Proxy, decision: &str| {
        let metrics = proxy.admin("/metrics").await.text();
        let of_decision = format!("decision=\"{decision}\"");
        let lines = metrics.lines().filter(|line| {
            line.starts_with("countersign_requests_total") && line.contains(&of_decision)
        });
        let mut lines: Vec<_> = lines.map(|line| line.replace(&of_decision, "")).collect();
        lines.sort();
        lines
    };

    let mut would_be = 0;
    for (path, token) in mixed(&issuer) {
        let ask = async |proxy: &Proxy| {
            let client = proxy.client().header("x-clerk-user-id", "root");
            let client = token.iter().fold(client, |client, token| client.bearer(token));
            client.post(path, "body").await
        };
        let enforced = ask(&enforcing).await.status;
        let before = upstream.seen().len();
        assert_eq!(ask(&reporting).await.status, 200, "{path} {token:?}");

        let seen = upstream.last();
        assert_eq!(upstream.seen().len(), before + 1);
        assert_eq!((seen.target.as_str(), &seen.body[..]), (path, &b"body"[..]));
        assert!(seen.header("signature").is_some(), "signed as ever");
        assert_ne!(seen.header("x-clerk-user-id"), Some("root"), "stripped as ever");
        if enforced != 200 {
            would_be += 1;
            assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"), "{path}");
            for name in ["user-id", "session-id", "org-role"] {
                assert_eq!(seen.header(&format!("x-clerk-{name}")), Some(""), "{path} {name}");
            }
        }
    }
    let (enforced, reported) =
        (refused(&enforcing, "rejected").await, refused(&reporting, "would_reject").await);
    assert_eq!(enforced, reported);
    assert!(would_be >= 10 && enforced.len() >= 8, "{enforced:#?}");
    assert_eq!(refused(&enforcing, "allowed").await, refused(&reporting, "allowed").await);
    assert_eq!(refused(&reporting, "rejected").await, [""; 0]);
    let logged = reporting.logged();
    let line = r#""status":200,"decision":"would_reject","reason":"scope-insufficient""#;
    assert!(logged.contains(line), "{logged}");
}

#[tokio::test(flavor = "local")]
async fn in_report_mode_what_is_malformed_or_too_much_is_refused_as_ever() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.routes = mixed_routes(Mode::Report);
    settings.proxy.limits.body = Some(3);
    let mut full = settings.clone();
    full.proxy.limits.in_flight = Some(0);
    let (proxy, full) = (Proxy::start(settings).await, Proxy::start(full).await);

    assert_eq!(proxy.client().get("/0/../a").await.status, 400);
    assert_eq!(proxy.client().post("/0/a", "four").await.status, 413);
    assert_eq!(full.client().get("/0/a").await.status, 503);
    assert!(upstream.seen().is_empty());
    assert_eq!(proxy.client().get("/0/a").await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn one_route_can_report_while_the_others_enforce() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let rules = [Mode::Report, Mode::Enforce].map(|mode| Rule { mode, ..Access::SIGNED_IN.into() });
    let proxy = start(&issuer, &upstream, numbered(rules)).await;

    for (path, status) in [("/0", 200), ("/1", 401), ("/", 401)] {
        assert_eq!(proxy.client().get(path).await.status, status, "{path}");
    }
    let line = counted("would_reject", "session-token-and-uat-missing", "none", "/0/**");
    assert_eq!(proxy.metric(&line).await, 1.0);
}

#[tokio::test(flavor = "local")]
async fn nobody_is_refused_on_a_public_route_whatever_it_shows() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = start(&issuer, &upstream, numbered([Access::Public.into()])).await;

    for token in [None, Some("junk".to_owned()), Some(issuer.token())] {
        let client = token.iter().fold(proxy.client(), |client, token| client.bearer(token));
        assert_eq!(client.get("/0").await.status, 200);
        assert_eq!(upstream.last().header("x-clerk-principal"), Some("anonymous"));
    }
}
