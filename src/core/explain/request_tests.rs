//! What is said of requests of each kind, with the row that decided.

use std::collections::HashSet;

use http::HeaderName;
use serde_json::{Value, json};

use super::super::tests::{ISSUER, KEYS, NOW, PARTY, clerk, policy, token};
use super::super::{KeysFound, Written};
use super::*;
use crate::core::access::{Mode, Unauthenticated};
use crate::core::browser::Cookies;
use crate::core::clerk::instance::{Instance, Payload, Satellite};
use crate::core::clerk::organization_sync::{OrganizationSync, Pattern};
use crate::core::clerk::publishable_key::PublishableKey;
use crate::core::clerk::revoked::Revoked;
use crate::core::clerk::row::Row;
use crate::core::identity::{Field, IdentityPolicy, Source};
use crate::core::origin::{CrossSite, OwnOrigins};
use crate::core::route::{Case, PathPattern, Route, Routes};

const LIVE: &str = "pk_live_Y2xlcmsuZXhhbXBsZS5jb20k"; // clerk.example.com
const TEST: &str = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k";

/// The settings that requests are held against.
struct Scene {
    browsers: BrowserSettings,
    rules: Vec<(&'static str, Rule)>,
    trusted: bool,
    scheme: Scheme,
}

impl Scene {
    fn of(key: &str, payload: Payload) -> Self {
        let instance = Instance::of(&PublishableKey::parse(key).unwrap(), payload);
        let origins = OwnOrigins {
            public: Some(PARTY.to_owned()),
            parties: vec![PARTY.to_owned()],
            satellite: None,
        };
        let (cookies, cross_site) = (Cookies::Accepted, CrossSite::Refuse);
        let prefix = String::new();
        let browsers = BrowserSettings { instance, cookies, cross_site, origins, prefix };
        Self { browsers, rules: Vec::new(), trusted: false, scheme: Scheme::Http }
    }

    fn explain(&self, url: &str, headers: &[String], cookies: &str) -> RequestReport {
        let method = if headers.iter().any(|it| it.starts_with("Origin")) { "POST" } else { "GET" };
        let written = Written {
            url: Some(url.to_owned()),
            method: Some(method.to_owned()),
            headers: headers.to_vec(),
            cookies: vec![cookies.to_owned()],
            has_body: false,
        };
        let asked = Asked::parse(&written, Some(&self.browsers)).unwrap();
        let route = |(path, rule): &(&str, Rule)| Route {
            name: (*path).to_owned(),
            host: None,
            path: PathPattern::parse(path).unwrap(),
            methods: None,
            rule: rule.clone(),
        };
        let routes = Routes::new(self.rules.iter().map(route).collect(), Case::Sensitive);
        let issuers = [clerk(Some(policy()), None)];
        let user = (HeaderName::from_static("x-clerk-user-id"), Source::Field(Field::UserId));
        let identity = IdentityPolicy::new(vec![user]);
        let (revoked, _) = Revoked::parse("user_revoked");
        let keys = KeysFound {
            found: Ok(Arc::clone(&KEYS)),
            set: Arc::clone(&KEYS),
            source: format!("{ISSUER}/.well-known/jwks.json"),
            fetched: Some(NOW),
            problem: None,
        };
        let question = |keys| RequestQuestion {
            tokens: Question {
                now: NOW,
                longest: 2000,
                issuers: &issuers,
                keys,
                revoked: &revoked,
                identity: &identity,
                routes: &routes,
            },
            browsers: Some(&self.browsers),
            scheme: self.scheme,
            paths: PathPolicy::default(),
            preflight: Preflight::Forward,
            trusted: self.trusted,
            longest_handshake: 4000,
        };
        let first = explain_request(&asked, &question(None));
        let keys = first.wanted.is_some().then_some(&keys);
        explain_request(&asked, &question(keys))
    }
}

#[test]
fn a_request_comes_as_the_proxys_listener_has_it() {
    for (scheme, want, told) in
        [(Scheme::Http, "http://a.test/x", true), (Scheme::Https, "https://a.test/x", false)]
    {
        let mut scene = Scene::of(LIVE, Payload::Token);
        (scene.browsers.origins, scene.scheme) = (OwnOrigins::default(), scheme);

        let report = scene.explain("https://a.test/x", &[], "");

        let address = report.address.map(|address| address.text);
        assert_eq!(address.as_deref(), Some(want), "{scheme:?}");
        let noted = report.notes.iter().any(|note| note.contains("takes that for http://a.test"));
        assert_eq!(noted, told, "{scheme:?}: {:?}", report.notes);
    }
}

/// A good session token with these changes to its claims.
fn session(claims: &Value) -> String {
    token(&json!({}), claims)
}

/// Cookies of somebody who is signed in with this token.
fn cookies(token: &str) -> String {
    format!("__session={token}; __client_uat=1; __clerk_db_jwt=dvb_secret; theme=dark-secret")
}

/// Holds that nothing that proves anything is told again.
fn assert_hidden(report: &RequestReport, cookies: &str) {
    let told = format!("{report:?}");
    let values = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    let secret = |(name, value): &(&str, &str)| *name != "__client_uat" && value.len() > 6;
    for (_, value) in values.filter(secret) {
        for part in value.split('.').filter(|part| part.len() > 6) {
            assert!(!told.contains(part), "{part}: {told}");
        }
    }
}

#[test]
#[rustfmt::skip] // a case a line
fn each_row_of_the_decision_is_told() {
    let live = || Scene::of(LIVE, Payload::Token);
    let test = || Scene::of(TEST, Payload::Token);
    let with_secret = || Scene::of(LIVE, Payload::Nonce);
    let satellite = |auto_sync| {
        let mut scene = live();
        scene.browsers.instance.satellite = Some(Satellite { auto_sync });
        scene
    };
    let organizations = || {
        let mut scene = live();
        let patterns = vec![Pattern::parse("/orgs/:slug").unwrap()];
        scene.browsers.instance.organizations =
            OrganizationSync { organizations: patterns, personal: Vec::new() };
        scene
    };
    let now = NOW.as_secs();
    let (good, none) = (session(&json!({})), json!(null));
    let expired = session(&json!({"exp": now - 60}));
    let mut forged = good.clone();
    forged.replace_range(good.rfind('.').unwrap() + 1.., &"A".repeat(86));
    let brought = session(&json!({"handshake": [format!("__session={good}; Path=/")]}));
    let empty = session(&json!({"handshake": ["__client_uat=0"]}));
    let late = session(&json!({"handshake": [format!("__session={expired}; Path=/")]}));
    let template = token(&json!({"cat": "cl_B7d4PD222AAA"}), &json!({}));
    let suffix = "__client_uat_yCVSbVKK"; // any suffix that is not the instance's
    let handshake = "307 to https://clerk.example.com/v1/client/handshake";
    let sign_in = "307 to https://accounts.example.com/sign-in";
    let home = "307 to https://app.example.com/a (handshake-over)";
    let clerk_decides = "Clerk decides, which was not asked: ";
    let backend = "200: goes to the backend as user_1";
    let mut seen = HashSet::new();
    for (scene, url, header, cookies, row, verdict, short) in [
        (live(), "/a", "", format!("__clerk_handshake={brought}"), Row::HandshakeBrought, "signed-in", backend),
        (test(), &*format!("/a?__clerk_handshake={brought}"), "", String::new(), Row::HandshakeBrought, "signed-in", home),
        (test(), &format!("/a?__clerk_handshake={late}"), "", String::new(), Row::HandshakeBrought, "signed-in", home),
        (live(), "/a", "", format!("__clerk_handshake={late}"), Row::NothingShown, "signed-out", sign_in),
        (live(), "/a", "", format!("__clerk_handshake={empty}"), Row::HandshakeBrought, "signed-out", sign_in),
        (live(), "/a", "", "__clerk_handshake=junk-secret".into(), Row::NothingShown, "signed-out", sign_in),
        (live(), "/a", "", "__clerk_handshake_nonce=secret1".into(), Row::NothingShown, "signed-out", sign_in),
        (with_secret(), "/a", "", "__clerk_handshake_nonce=secret1".into(), Row::HandshakeBrought, "clerk-decides", clerk_decides),
        (satellite(true), "/a", "", String::new(), Row::SatelliteWithoutState, "handshake", handshake),
        (satellite(false), "/a", "", String::new(), Row::SatelliteWithoutState, "signed-out", sign_in),
        (satellite(false), "/a?__clerk_synced=false", "", cookies(&good), Row::SatelliteWithoutState, "handshake", handshake),
        (test(), "/a?__clerk_db_jwt=dvb_secret", "", String::new(), Row::DevBrowserInAddress, "handshake", handshake),
        (test(), "/a", "", format!("__session={good}; __client_uat=1"), Row::DevBrowserUnknown, "handshake", handshake),
        (test(), "/a", "Accept: */*", String::new(), Row::DevBrowserUnknown, "signed-out", "401 dev-browser-missing"),
        (live(), "/a", "", format!("__session={good}; __session={expired}; __client_uat=1"), Row::SessionsContradict, "handshake", handshake),
        (live(), "/a", "", String::new(), Row::NothingShown, "signed-out", sign_in),
        (live(), "/a", "Accept: */*", "theme=dark-secret".into(), Row::NothingShown, "signed-out", "401 session-token-and-uat-missing"),
        (live(), "/a", "", format!("__session={good}"), Row::SessionWithoutClient, "handshake", handshake),
        (live(), "/a", "", format!("__session={good}; {suffix}=5"), Row::SessionWithoutClient, "handshake", handshake),
        (live(), "/a", "Accept: */*", format!("__session={good}"), Row::SessionWithoutClient, "signed-out", "401 session-token-but-no-client-uat"),
        (live(), "/a", "", "__client_uat=1".into(), Row::ClientWithoutSession, "handshake", handshake),
        (live(), "/a", "", "__client_uat=1; __clerk_redirect_count=3".into(), Row::ClientWithoutSession, "signed-out", "401 client-uat-but-no-session-token"),
        (live(), "/a", "Accept: */*", cookies("junk-secret"), Row::SessionUnreadable, "refused", "401 token-invalid"),
        (live(), "/a", "Accept: */*", cookies(&template), Row::SessionOfAnotherClass, "refused", "401 token-type-mismatch"),
        (live(), "/a", "", format!("__session={good}; __client_uat={}", now + 1), Row::SessionOlderThanClient, "handshake", handshake),
        (live(), "/a", "", cookies(&expired), Row::TokenRefused, "handshake", handshake),
        (live(), "/a", "Accept: */*", cookies(&expired), Row::TokenRefused, "signed-out", "401 session-token-expired"),
        (live(), "/a", "", cookies(&session(&json!({"nbf": now + 60}))), Row::TokenRefused, "handshake", handshake),
        (live(), "/a", "Accept: */*", cookies(&forged), Row::TokenRefused, "refused", "401 token-invalid-signature"),
        (live(), "/a", "", cookies(&forged), Row::TokenRefused, "refused", sign_in),
        (live(), "/a", "Referer: https://www.google.com/", cookies(&good), Row::FromAnotherSite, "handshake", handshake),
        (organizations(), "/orgs/acme", "", cookies(&good), Row::OrganizationDiffers, "handshake", handshake),
        (live(), "/a", "", cookies(&good), Row::SignedIn, "signed-in", backend),
        (test(), "/a", "", cookies(&session(&json!({"azp": none}))), Row::SignedIn, "signed-in", backend),
        (live(), "/a", "", cookies(&session(&json!({"sub": "user_revoked"}))), Row::SignedIn, "signed-in", sign_in),
    ] {
        let mut headers = vec![header.to_owned()];
        if header.starts_with("Referer") {
            headers.extend(["Sec-Fetch-Dest: document", "Accept: text/html"].map(str::to_owned));
        }
        let report = scene.explain(url, &headers, &cookies);
        let ruling = report.ruling.as_ref().unwrap();
        let told = (ruling.row, ruling.verdict);
        assert_eq!(told, (row, verdict), "{url} {header} {cookies}: {report:?}");
        assert!(
            report.answer.in_short().starts_with(short),
            "{row:?}: {}",
            report.answer.in_short()
        );
        assert_hidden(&report, &cookies);
        seen.insert(row.sentence());
    }
    assert_eq!(seen.len(), Row::ALL.len(), "each row has its sentence and its line in this table");
}

#[test]
#[rustfmt::skip] // a case a line
fn the_route_has_the_last_word() {
    let rule = |access: Access| Rule::from(access);
    let mut scene = Scene::of(LIVE, Payload::Token);
    let report = Rule { mode: Mode::Report, ..rule(Access::SIGNED_IN) };
    let hidden = Rule { unauthenticated: Unauthenticated::NotFound, ..rule(Access::SIGNED_IN) };
    let challenge = Rule { unauthenticated: Unauthenticated::Challenge, ..rule(Access::SIGNED_IN) };
    let active = Rule { session: Session::Active, ..rule(Access::SIGNED_IN) };
    scene.rules = vec![
        ("/public", rule(Access::Public)),
        ("/optional", rule(Access::Optional)),
        ("/report", report),
        ("/hidden", hidden),
        ("/challenge", challenge),
        ("/active", active),
    ];
    let (good, page) = (session(&json!({})), "");
    let expired = session(&json!({"exp": NOW.as_secs() - 60}));
    let (junk, bearer) = (cookies("junk-secret"), format!("Authorization: Bearer {good}"));
    let late = format!("Authorization: Bearer {expired}");
    let without_party = cookies(&session(&json!({"azp": null})));
    for (url, header, cookies, short) in [
        ("/public", page, &*junk, "200: goes to the backend as nobody"),
        ("/optional", page, &junk, "200: goes to the backend as nobody"),
        ("/report", page, &junk, "200: goes to the backend as nobody, since refusals are only reported: 401 token-invalid"),
        ("/hidden", page, &junk, "404 that hides token-invalid"),
        ("/challenge", page, &junk, "401 token-invalid"),
        ("/a", &bearer, &junk, "200: goes to the backend as user_1"),
        ("/a", &late, "", "401 session-token-expired"),
        ("/a", "Authorization: Bearer a b", &cookies(&good), "401 token-invalid"),
        ("/active", &bearer, "", "401 token-type-mismatch"),
        ("/a", "Origin: https://evil.com", &cookies(&good), "403 cross-site-request"),
        ("/a", "Origin: https://app.example.com", &cookies(&good), "200: goes to the backend as user_1"),
        ("/a", "Origin: null", &without_party, "403 cross-site-request"),
        ("/a", "Origin: https://app.example.com", &without_party, "200: goes to the backend as user_1"),
        ("/a/../b", page, "", "400 request-malformed"),
        ("/a%2fb", page, "", "400 request-malformed"),
    ] {
        let report = scene.explain(url, &[header.to_owned()], cookies);
        assert_eq!(report.answer.in_short(), short, "{url} {header}: {report:?}");
        assert_hidden(&report, cookies);
        let passes = matches!(report.answer, Answer::Backend { .. });
        assert_eq!(report.identity.is_some(), passes, "{url}");
    }
}

#[test]
#[rustfmt::skip] // a case a line
fn where_clerk_decides_both_answers_are_told() {
    let mut scene = Scene::of(LIVE, Payload::Nonce);
    let active = Rule { session: Session::Active, ..Access::SIGNED_IN.into() };
    scene.rules = vec![("/active", active)];
    let good = session(&json!({}));
    let expired = session(&json!({"exp": NOW.as_secs() - 60}));
    let name = scene.browsers.instance.owner.suffix.name("__refresh");
    let refresh = |token: &str| format!("{}; {name}=rt-secret", cookies(token));
    let script = "Accept: */*";
    let late = format!("Authorization: Bearer {expired}");
    for (url, header, cookies, yes, no) in [
        ("/active", script, cookies(&good), "200: goes to the backend as user_1", "401 session-revoked"),
        ("/a", script, refresh(&expired), "with a new token it goes on as with a good one", "401 session-token-expired"),
        ("/a", &*late, refresh(&good), "with a new token it goes on as with a good one", "401 session-token-expired"),
        ("/a", "Accept: text/html", refresh(&expired), "with a new token it goes on as with a good one", "307 to https://clerk.example.com/v1/client/handshake (session-token-expired)"),
        ("/a", "Accept: text/html", "__clerk_handshake_nonce=secret1".into(), "it goes on with the new session", "307 to https://accounts.example.com/sign-in (session-token-missing)"),
    ] {
        let report = scene.explain(url, &[header.to_owned()], &cookies);
        let Answer::Asks(ask) = &report.answer else { panic!("{url} {cookies}: {report:?}") };
        assert_eq!((&*ask.yes, &*ask.no), (yes, no), "{url} {cookies}");
        assert!(report.is_open());
        assert_hidden(&report, &cookies);
    }
}

#[test]
fn the_parameters_of_a_redirect_are_told_and_credentials_in_it_are_lengths() {
    let scene = Scene::of(TEST, Payload::Token);
    let token = session(&json!({"exp": NOW.as_secs() - 60}));

    let report = scene.explain("https://app.example.com/orders?x=1", &[], &cookies(&token));

    let sent = report.redirect.unwrap();
    let length = format!("({} bytes)", token.len());
    let want = [
        ("redirect_url", "https://app.example.com/orders?x=1"),
        ("__clerk_api_version", "2026-05-12"),
        ("suffixed_cookies", "false"),
        ("__clerk_hs_reason", "session-token-expired-refresh-non-eligible-no-refresh-cookie"),
        ("format", "token"),
        ("__session", &length),
        ("__clerk_db_jwt", "(10 bytes)"),
    ];
    let want = want.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent.parameters, want);
    assert_eq!(report.cookies.unwrap().names, ["__clerk_db_jwt", "__client_uat", "__session"]);
}

#[test]
#[rustfmt::skip] // a case a line
fn where_the_address_comes_from_is_told() {
    let of = |public: Option<&str>, trusted, headers: &[&str]| {
        let mut scene = Scene::of(TEST, Payload::Token);
        scene.browsers.origins = OwnOrigins {
            public: public.map(str::to_owned),
            parties: vec!["https://www.example.com".into()],
            satellite: None,
        };
        scene.trusted = trusted;
        let headers: Vec<_> = headers.iter().map(|&it| it.to_owned()).collect();
        let report = scene.explain("https://app.example.com/x", &headers, "");
        let notes = report.notes.iter().any(|note| note.contains("set `public_url`"));
        let address = report.address.unwrap();
        (address.text, address.from, notes)
    };
    let www = "X-Forwarded-Host: www.example.com";
    for (public, trusted, headers, text, from, warns) in [
        (None, false, &[][..], "http://app.example.com/x", "Host", true),
        (Some(PARTY), false, &[], "https://app.example.com/x", "public_url", false),
        (None, false, &[www], "http://app.example.com/x", "Host", true),
        (None, true, &[www], "https://www.example.com/x", "a setting names this host", true),
        (None, true, &["X-Forwarded-Proto: https"], "https://app.example.com/x", "Host and X-Forwarded-Proto", false),
        (None, true, &["X-Forwarded-Host: b.com"], "http://b.com/x", "X-Forwarded-Host", true),
    ] {
        let got = of(public, trusted, headers);
        assert_eq!((&*got.0, &*got.1, got.2), (text, from, warns), "{public:?} {headers:?}");
    }
}
