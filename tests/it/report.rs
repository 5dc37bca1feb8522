//! A thousand requests of every kind, refused by one proxy and only reported by another.

use std::collections::BTreeMap;

use countersign::clock::Clock;
use countersign::core::access::{Access, Demand, Demands, Mode, Rule, Session};
use countersign::core::clerk::has::{Asked, Privilege};
use countersign::core::route::{Case, Route, Routes};
use http::{Method, Response};
use serde_json::json;

use crate::browser::{expired, signed_in};
use crate::support::settings::{clerk_api, route, settings_for_browsers};
use crate::support::{Answer, Client, Issuer, Proxy, Upstream};

/// Numbers that are as good as random and the same each time (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Everything a request of the thousand is made of.
struct Parts {
    paths: Vec<&'static str>,
    methods: Vec<Method>,
    tokens: Vec<String>,
    headers: Vec<Vec<(&'static str, &'static str)>>,
    uats: Vec<&'static str>,
}

fn parts(issuer: &Issuer) -> Parts {
    let good = issuer.token();
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let tokens = [
        json!({"o": {"id": "org_1", "slg": "acme", "rol": "member"}}),
        json!({"azp": "https://evil.test"}),
        json!({"azp": null}),
        json!({"sts": "pending"}),
        json!({"sub": "mch_1"}),
        json!({"sid": "sess_revoked"}),
        json!({"$header": {"kid": "ins_unknown"}}),
    ];
    let tokens = tokens.into_iter().map(|claims| issuer.mint(claims));
    Parts {
        paths: vec!["/", "/admin", "/active", "/optional", "/public/x", "/a%2Db?q=1"],
        methods: vec![Method::GET, Method::GET, Method::HEAD, Method::POST, Method::DELETE],
        tokens: tokens
            .chain([good.clone(), good, forged, expired(issuer), "junk".into()])
            .collect(),
        headers: vec![
            vec![],
            vec![("accept", "text/html")],
            vec![("sec-fetch-dest", "document"), ("referer", "https://elsewhere.test/")],
            vec![("origin", "https://evil.test")],
            vec![("origin", "http://localhost:3000")],
            vec![("sec-fetch-site", "same-site"), ("x-clerk-user-id", "root")],
        ],
        uats: vec!["; __client_uat=1700000000", "; __client_uat=0", ""],
    }
}

/// One request; the same for every proxy that is asked.
struct Visit {
    method: Method,
    path: &'static str,
    headers: Vec<(String, String)>,
}

impl Visit {
    fn any(parts: &Parts, numbers: &mut Numbers) -> Self {
        let token = numbers.one_of(&parts.tokens);
        let mut headers = vec![("host".to_owned(), "localhost:4600".to_owned())];
        let told = numbers.one_of(&parts.headers).iter();
        headers.extend(told.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        match numbers.below(4) {
            0 => headers.push(("authorization".into(), format!("Bearer {token}"))),
            1 => {}
            2 => headers.push(("cookie".into(), signed_in(token))),
            _ => {
                let uat = numbers.one_of(&parts.uats);
                headers.push(("cookie".into(), format!("__session={token}{uat}")));
            }
        }
        let method = numbers.one_of(&parts.methods).clone();
        let path = parts.paths[numbers.below(parts.paths.len())];
        Self { method, path, headers }
    }

    async fn of(&self, proxy: &Proxy) -> Answer {
        let client = self
            .headers
            .iter()
            .fold(proxy.client(), |client: Client, (name, value)| client.header(name, value));
        client.send(self.method.clone(), self.path, "").await
    }
}

/// What was counted, by all labels but the decision, for these decisions.
async fn counted(proxy: &Proxy, decisions: &[&str]) -> BTreeMap<String, u64> {
    let metrics = proxy.admin("/metrics").await.text();
    let mut counted = BTreeMap::new();
    for line in metrics.lines().filter(|it| it.starts_with("countersign_requests_total{")) {
        let (labels, value) = line.rsplit_once(' ').unwrap();
        let of = |decision: &&&str| labels.contains(&format!("decision=\"{decision}\""));
        let Some(decision) = decisions.iter().find(of) else { continue };
        let labels = labels.replace(&format!("decision=\"{decision}\""), "");
        *counted.entry(labels).or_default() += value.parse::<u64>().unwrap();
    }
    counted
}

fn routes(mode: Mode) -> Routes {
    let role = Demand::Has(Asked::Role(Privilege::parse("org:admin").unwrap()));
    let of = |path, access: Access, session| Route {
        rule: Rule { mode, session, ..access.into() },
        ..route(path, Access::Public)
    };
    let routes = vec![
        of("/admin", Access::Required(Demands::new(vec![role])), Session::Token),
        of("/active", Access::SIGNED_IN, Session::Active),
        of("/optional", Access::Optional, Session::Token),
        of("/public/**", Access::Public, Session::Token),
    ];
    Routes::new(routes, Case::Sensitive).otherwise_in(mode)
}

#[tokio::test(flavor = "local")]
async fn a_thousand_mixed_requests_all_reach_the_backend_and_are_counted_as_enforce_refuses() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let api = Upstream::answering(|seen| {
        let status = if seen.target.ends_with("sess_revoked") { "revoked" } else { "active" };
        Response::new(json!({"status": status}).to_string().into())
    })
    .await;
    let mut proxies = Vec::new();
    for mode in [Mode::Enforce, Mode::Report] {
        let mut settings = settings_for_browsers(&issuer, &upstream);
        settings.clerk_api = Some(clerk_api(&api.address));
        settings.proxy.routes = routes(mode);
        proxies.push(Proxy::start(settings).await);
    }
    let [enforcing, reporting] = &proxies[..] else { panic!("two proxies") };
    let (parts, mut numbers) = (parts(&issuer), Numbers(4));

    let mut refused = 0;
    for number in 0..1000 {
        let asked = Visit::any(&parts, &mut numbers);
        let enforced = asked.of(enforcing).await.status;
        let before = upstream.seen().len();
        let reported = asked.of(reporting).await.status;
        assert_eq!((reported, upstream.seen().len()), (200, before + 1), "request {number}");
        let seen = upstream.last();
        assert_ne!(seen.header("x-clerk-user-id"), Some("root"), "stripped as ever");
        if enforced != 200 {
            refused += 1;
            assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"), "request {number}");
        }
    }

    let would = counted(reporting, &["would_reject"]).await;
    assert_eq!(counted(enforcing, &["rejected", "handshake", "failed"]).await, would);
    assert_eq!(would.values().sum::<u64>(), refused);
    assert_eq!(counted(reporting, &["rejected", "handshake", "failed"]).await, BTreeMap::new());
    let passed = &["allowed", "anonymous"];
    assert_eq!(counted(enforcing, passed).await, counted(reporting, passed).await);
    assert!(refused > 400 && would.len() > 40, "{refused} refused, {} kinds", would.len());
}
