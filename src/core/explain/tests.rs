//! What is said of tokens of each kind; and that it is what the proxy says.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use http::HeaderName;
use serde_json::{Value, json};

use super::*;
use crate::core::base64url;
use crate::core::claims::{AzpPolicy, ClaimsPolicy};
use crate::core::issuer::{ClerkPolicy, Impersonation, TokenPolicy};
use crate::core::jwk::Algorithms;
use crate::core::jwk_set::KeyNames;
use crate::core::route::{Case, PathPattern};

pub(super) const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
pub(super) const ISSUER: &str = "https://clerk.example.com";
pub(super) const PARTY: &str = "https://app.example.com";

static PAIR: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

pub(super) static KEYS: LazyLock<Arc<KeySet>> = LazyLock::new(|| {
    let x = base64url::encode(PAIR.public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ins_1", "x": x}]});
    Arc::new(
        KeySet::parse(set.to_string().as_bytes(), Algorithms::ALL, KeyNames::Required).unwrap().0,
    )
});

pub(super) fn policy() -> ClaimsPolicy {
    ClaimsPolicy {
        audience: None,
        parties: vec![PARTY.to_owned()],
        azp: AzpPolicy::Auto,
        leeway: Duration::from_secs(5),
        max_lifetime: Some(ClaimsPolicy::MAX_LIFETIME),
    }
}

pub(super) fn clerk(
    sessions: Option<ClaimsPolicy>,
    templates: Option<ClaimsPolicy>,
) -> IssuerPolicy {
    let clerk = ClerkPolicy { sessions, templates, impersonation: Impersonation::Refuse };
    let (names, algorithms) = (vec![ISSUER.to_owned()], Algorithms::ALL);
    IssuerPolicy { names, algorithms, tokens: TokenPolicy::Clerk(clerk) }
}

/// Puts `changes` over an object; `null` removes a member.
fn changed(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    object
}

/// A session token with these changes to its header and its claims.
pub(super) fn token(header: &Value, claims: &Value) -> String {
    let usual = json!({"alg": "EdDSA", "typ": "JWT", "kid": "ins_1", "cat": "cl_B7d4PD111AAA"});
    let header = changed(usual, header);
    let now = NOW.as_secs();
    let usual = json!({
        "iss": ISSUER, "sub": "user_1", "sid": "sess_1", "azp": PARTY,
        "exp": now + 60, "nbf": now - 10, "iat": now,
    });
    let claims = changed(usual, claims);
    let part = |part: &Value| base64url::encode(part.to_string().as_bytes());
    let input = format!("{}.{}", part(&header), part(&claims));
    format!("{input}.{}", base64url::encode(PAIR.sign(input.as_bytes()).as_ref()))
}

/// A scene in which tokens are judged.
struct Scene {
    issuers: Vec<IssuerPolicy>,
    keys: KeysFound,
    identity: IdentityPolicy,
}

impl Scene {
    fn of(issuer: IssuerPolicy) -> Self {
        let keys = KeysFound {
            found: Ok(Arc::clone(&KEYS)),
            set: Arc::clone(&KEYS),
            source: format!("{ISSUER}/.well-known/jwks.json"),
            fetched: Some(NOW),
            problem: None,
        };
        let email = (HeaderName::from_static("x-clerk-email"), Source::Claim("/email".into()));
        let whole = (HeaderName::from_static("x-clerk-claims"), Source::Field(Field::Claims));
        Self { issuers: vec![issuer], keys, identity: IdentityPolicy::new(vec![email, whole]) }
    }

    fn explain(&self, text: &str) -> Report {
        let open = Route {
            name: "open".into(),
            host: None,
            path: PathPattern::parse("/open/**").unwrap(),
            methods: None,
            rule: Access::Public.into(),
        };
        let pasted = Pasted::read(text);
        let wanted = wanted(&pasted, 2000, &self.issuers);
        // Keys are looked for by name, as whoever holds them does.
        let keys = wanted.map(|(_, kid)| match &self.keys.found {
            Ok(set) if set.find(kid.as_ref()).is_empty() => {
                KeysFound { found: Err(Reject::KeyUnknown { kid }), ..self.keys.clone() }
            }
            Ok(_) | Err(_) => self.keys.clone(),
        });
        let (revoked, _) = Revoked::parse("user_revoked");
        explain(
            &pasted,
            &Question {
                now: NOW,
                longest: 2000,
                issuers: &self.issuers,
                keys: keys.as_ref(),
                revoked: &revoked,
                identity: &self.identity,
                routes: &Routes::new(vec![open], Case::Sensitive),
            },
        )
    }
}

/// The first step that failed.
fn failed(report: &Report) -> Option<(&Step, &Reject)> {
    report.steps.iter().find_map(|step| match &step.outcome {
        Outcome::Failed(reject) => Some((step, reject)),
        Outcome::Passed | Outcome::Skipped => None,
    })
}

/// Holds that a text is refused at this step for this reason, with this in the advice, and that
/// nothing of it is told again.
fn assert_refused(scene: &Scene, text: &str, (name, reason, advice): (&str, &str, &str)) {
    let report = scene.explain(text);
    let reject = report.verdict.as_ref().expect_err(name);
    let (step, first) = failed(&report).expect(name);
    assert_eq!((first, reject.label()), (reject, reason), "{name}: the steps say what decides");
    assert_eq!(step.name, name, "{reason}: {}", step.found);
    assert!(step.advice.contains(advice), "{name}: {}", step.advice);
    assert!(report.identity.is_none(), "{name}");
    assert_hidden(&report, text);
}

/// Holds that neither the token nor a part of it is in a report.
fn assert_hidden(report: &Report, text: &str) {
    let told = format!("{report:?}");
    for part in text.trim().split('.').filter(|part| part.len() > 20) {
        assert!(!told.contains(part), "{told}");
    }
}

#[test]
fn a_good_token_is_accepted_and_what_the_backend_would_be_told_is_shown() {
    let scene = Scene::of(clerk(Some(policy()), None));

    let text = format!("Bearer {}\n", token(&json!({}), &json!({})));
    let report = scene.explain(&text);

    assert_eq!(report.verdict, Ok(TokenClass::SessionToken));
    assert!(report.verified && failed(&report).is_none(), "{report:?}");
    let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
    let before = ["token", "iss", "class", "typ", "alg", "kid", "signature"];
    let claims = ["sub", "aud", "azp", "exp", "nbf", "iat", "lifetime", "sid", "sts", "revoked"];
    assert_eq!(names, [&before[..], &claims].concat());
    let told = report.identity.as_ref().unwrap();
    assert_eq!(told.headers[0], ("x-clerk-email".into(), String::new()));
    let paste = "{\n  \"email\": \"{{user.primary_email_address}}\"\n}";
    assert!(told.advice.ends_with(paste), "{}", told.advice);
    assert_eq!(report.notes.len(), 1);
    assert_hidden(&report, text.trim_start_matches("Bearer "));
}

#[test]
fn a_refused_token_fails_at_the_step_that_decided_with_advice() {
    let scene = Scene::of(clerk(Some(policy()), None));
    let now = NOW.as_secs();
    let header = |name: &str, value: &str| token(&json!({name: value}), &json!({}));
    let claims = |claims: Value| token(&json!({}), &claims);
    let cut = claims(json!({}));
    for (text, want) in [
        ("undefined", ("token", "token-invalid", "await getToken()")),
        (&cut[..cut.rfind('.').unwrap()], ("token", "token-invalid", "cut off")),
        (
            &claims(json!({"iss": "https://clerk.other.com", "aud": "api"})),
            (
                "iss",
                "token-invalid-issuer",
                "url = \"https://clerk.other.com\"\naudience = [\"api\"]",
            ),
        ),
        (
            &claims(json!({"iss": "https://clerk.example.com/"})),
            ("iss", "token-invalid-issuer", "to the letter"),
        ),
        (&claims(json!({"iss": null})), ("iss", "token-invalid-issuer", "does not say")),
        (
            &token(&json!({"cat": "cl_B7d4PD222AAA"}), &json!({"sid": null, "aud": "convex"})),
            ("class", "token-type-mismatch", "clerk.jwt_template.audience = [\"convex\"]"),
        ),
        (
            &token(&json!({"cat": "cl_B7d4PD222AAA"}), &json!({"sid": null})),
            ("class", "token-type-mismatch", "{\"aud\": \"my-backend\"}"),
        ),
        (&header("typ", "at+jwt"), ("class", "token-type-mismatch", "not supported")),
        (&claims(json!({"sub": "mch_1"})), ("class", "token-type-mismatch", "not supported")),
        (&header("typ", "jwt"), ("typ", "token-invalid", "another purpose")),
        (&header("alg", "HS256"), ("alg", "token-invalid-algorithm", "Custom signing key")),
        (&header("kid", "ins_2"), ("kid", "jwk-kid-mismatch", "another instance")),
        (&header("alg", "RS256"), ("signature", "token-verification-failed", "another algorithm")),
        (&claims(json!({"sub": ""})), ("sub", "token-verification-failed", "`sub`")),
        (
            &claims(json!({"azp": "https://evil.example"})),
            (
                "azp",
                "token-invalid-authorized-parties",
                "[\"https://app.example.com\", \"https://evil.example\"]",
            ),
        ),
        (&claims(json!({"exp": now - 60})), ("exp", "session-token-expired", "live 60 s")),
        (&claims(json!({"exp": "soon"})), ("exp", "token-verification-failed", "a number")),
        (&claims(json!({"nbf": now + 60})), ("nbf", "session-token-nbf", "NTP")),
        (&claims(json!({"iat": now + 30})), ("iat", "session-token-iat-in-the-future", "NTP")),
        (
            &claims(json!({"exp": now + 100_000})),
            ("lifetime", "token-lifetime-exceeded", "clerk.max_lifetime"),
        ),
        (&claims(json!({"sid": null})), ("sid", "token-type-mismatch", "getToken()")),
        (&claims(json!({"sts": "pending"})), ("sts", "session-pending", "task")),
        (&claims(json!({"act": {"sub": "u"}})), ("act", "impersonation-refused", "impersonation")),
        (&claims(json!({"sub": "user_revoked"})), ("revoked", "session-revoked", "2 s")),
    ] {
        assert_refused(&scene, text, want);
    }
}

#[test]
fn stricter_settings_are_explained_too() {
    let audience = Some(vec!["api".to_owned()]);
    let strict = ClaimsPolicy { audience, azp: AzpPolicy::Enforce, ..policy() };
    let scene = Scene::of(clerk(Some(strict.clone()), Some(strict)));
    let template = |claims: &Value| token(&json!({"cat": "cl_B7d4PD222AAA"}), claims);
    for (text, want) in [
        (
            &token(&json!({}), &json!({})),
            (
                "aud",
                "token-verification-failed",
                "Customize session token, add\n{\"aud\": \"api\"}",
            ),
        ),
        (
            &token(&json!({}), &json!({"aud": "web"})),
            ("aud", "token-verification-failed", "clerk.audience = [\"api\", \"web\"]"),
        ),
        (
            &token(&json!({}), &json!({"aud": "api", "azp": null})),
            ("azp", "token-invalid-authorized-parties", "\"auto\""),
        ),
        (&template(&json!({})), ("aud", "token-verification-failed", "JWT templates")),
        (
            &template(&json!({"aud": "api", "exp": NOW.as_secs() - 60})),
            ("exp", "token-expired", "getToken({ template })"),
        ),
    ] {
        assert_refused(&scene, text, want);
    }
    let good = scene.explain(&template(&json!({"aud": ["api"]})));
    assert_eq!(good.verdict, Ok(TokenClass::JwtTemplate));
}

#[test]
fn claims_that_nobody_signed_are_looked_at_and_not_believed() {
    let scene = Scene::of(clerk(Some(policy()), None));
    let mut text = token(&json!({}), &json!({"exp": NOW.as_secs() - 60}));
    let end = text.rfind('.').unwrap() + 1;
    text.replace_range(end.., &"A".repeat(86));

    let report = scene.explain(&text);

    assert_eq!(report.verdict, Err(Reject::SignatureInvalid));
    assert!(!report.verified);
    let step = |name| report.steps.iter().find(|step| step.name == name).unwrap();
    assert!(matches!(step("exp").outcome, Outcome::Failed(_)));
    assert!(step("exp").found.ends_with("1 min ago"), "{}", step("exp").found);
    assert_eq!(step("sub").outcome, Outcome::Passed);
    assert_hidden(&report, &text);
}

#[test]
fn keys_that_are_not_to_be_had_leave_the_claims_to_be_looked_at() {
    let mut scene = Scene::of(clerk(Some(policy()), None));
    scene.keys.found = Err(Reject::KeysUnavailable);
    scene.keys.problem = Some("connection refused".to_owned());

    let text = token(&json!({}), &json!({}));

    assert_refused(&scene, &text, ("kid", "keys-unavailable", "connection refused"));
    let report = scene.explain(&text);
    let signature = report.steps.iter().find(|step| step.name == "signature").unwrap();
    assert_eq!(signature.outcome, Outcome::Skipped);
    assert_eq!(report.steps.last().unwrap().outcome, Outcome::Passed);
}

#[test]
fn public_routes_admit_anybody_and_others_the_good_alone() {
    let scene = Scene::of(clerk(Some(policy()), None));
    for (text, rest) in
        [(token(&json!({}), &json!({})), Ok(())), ("null".to_owned(), Err(Reject::TokenMalformed))]
    {
        let routes = scene.explain(&text).routes;
        let answers: Vec<_> = routes.iter().map(|it| it.answer.clone()).collect();
        assert_eq!(answers, [Ok(()), rest]);
        assert!(routes[1].route.is_none());
    }
}

#[test]
fn a_token_of_another_issuer_names_its_key_or_names_none() {
    let (names, algorithms) = (vec![ISSUER.to_owned()], Algorithms::ALL);
    let claims = ClaimsPolicy { azp: AzpPolicy::Off, parties: Vec::new(), ..policy() };
    let mut scene =
        Scene::of(IssuerPolicy { names, algorithms, tokens: TokenPolicy::Oidc(claims) });
    let x = base64url::encode(PAIR.public_key().as_ref());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}).to_string();
    let set = KeySet::parse(set.as_bytes(), Algorithms::ALL, KeyNames::Optional).unwrap().0;
    scene.keys.set = Arc::new(set);
    scene.keys.found = Ok(Arc::clone(&scene.keys.set));

    for (kid, refused) in [(json!(null), false), (json!("ins_1"), true), (json!(5), true)] {
        let report = scene.explain(&token(&json!({ "kid": kid }), &json!({})));
        assert_eq!(report.verdict.is_err(), refused, "{kid}");
        let failed = failed(&report).map(|(step, reject)| (step.name, reject.clone()));
        assert_eq!(failed, report.verdict.err().map(|reject| ("kid", reject)), "{kid}");
        let step = report.steps.iter().find(|step| step.name == "kid").unwrap();
        assert!(kid == 5 || step.expected.starts_with("no name for EdDSA; "), "{step:?}");
    }
}
