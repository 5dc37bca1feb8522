//! Tests of assertions. Whether other libraries believe them is tried in `tests/interop`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::json;

use super::*;
use crate::core::identity::tests::caller;
use crate::core::issuer::TokenClass;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn ed25519() -> Arc<SigningKey> {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    Arc::new(SigningKey::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref(), None).unwrap())
}

fn p256() -> Arc<SigningKey> {
    let der = rcgen::KeyPair::generate().unwrap().serialize_der();
    Arc::new(SigningKey::from_pkcs8(&der, None).unwrap())
}

fn policy(claims: Vec<(String, Source)>) -> AssertionPolicy {
    let header = HeaderName::from_static("x-clerk-assertion");
    AssertionPolicy { header, audience: "orders".into(), claims }
}

/// Every claim there is for a header of ours.
fn all() -> Vec<(String, Source)> {
    let named = |field: &Field| {
        Some((AssertionPolicy::claim_name(*field)?.to_owned(), Source::Field(*field)))
    };
    Field::ALL.iter().filter_map(named).collect()
}

fn claims(policy: &AssertionPolicy, caller: &Caller) -> Value {
    serde_json::from_str(&format!("{{{}}}", policy.of(caller))).unwrap()
}

#[test]
fn what_a_caller_has_is_asserted_and_what_it_has_not_is_left_out() {
    let nobody_special = caller(&json!({}));
    assert_eq!(
        claims(&policy(all()), &nobody_special),
        json!({
            "iss": "countersign", "aud": "orders", "sub": "user_1", "sid": "sess_1",
            "principal": "user", "token_type": "session_token",
            "issuer": "https://clerk.example.com", "expires_at": 200, "claims": {},
        })
    );
    let said = json!({
        "v": 2, "fea": "o:dashboard,u:x", "pla": "o:pro", "fva": [1, -1], "scope": "read write",
        "act": {"sub": "user_admin"},
        "o": {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3"},
    });
    let mut got = claims(&policy(all()), &caller(&said));
    assert_eq!(got["claims"].take(), said);
    for (name, want) in [
        ("org_id", json!("org_1")),
        ("org_slug", json!("acme")),
        ("org_role", json!("org:admin")),
        ("org_permissions", json!(["org:dashboard:read", "org:dashboard:manage"])),
        ("act", json!({"sub": "user_admin"})),
        ("scope", json!("read write")),
        ("features", json!(["o:dashboard", "u:x"])),
        ("plans", json!(["o:pro"])),
        ("fva", json!([1, -1])),
    ] {
        assert_eq!(got[name], want, "{name}");
    }
}

#[test]
fn a_claim_of_the_token_is_asserted_as_it_is() {
    let own = |name: &str| (name.to_owned(), Source::Claim(format!("/{name}")));
    let text =
        r#"{"name":"Jürgen","roles":["a,b"],"n":9007199254740993,"null":null,"deep":{"a":[1]}}"#;
    let said = serde_json::from_str(text).unwrap();
    let policy = policy(["name", "roles", "n", "null", "deep", "none"].map(own).to_vec());
    let got = policy.of(&caller(&said));
    assert!(got.contains(r#""n":9007199254740993"#), "digit by digit: {got}");
    let got = claims(&policy, &caller(&said));
    assert_eq!(got["name"], "Jürgen");
    assert_eq!(got["roles"], json!(["a,b"]));
    assert_eq!(got["deep"], json!({"a": [1]}));
    assert_eq!((got.get("null"), got.get("none")), (None, None));
}

/// The settings refuse such names; were there one, it would change nothing.
#[test]
fn no_claim_of_a_token_takes_the_place_of_ours() {
    let said = json!({"x": "https://evil.example"});
    let own = |name: &str| (name.to_owned(), Source::Claim("/x".into()));
    let got = claims(&policy(["iss", "aud", "sub"].map(own).to_vec()), &caller(&said));
    assert_eq!(got, json!({"iss": "countersign", "aud": "orders", "sub": "user_1"}));
}

#[test]
fn another_issuers_subject_is_asserted_with_its_issuer() {
    let caller = Caller { class: TokenClass::Oidc, session_id: None, ..caller(&json!({})) };
    let got = claims(&policy(all()), &caller);
    assert_eq!(
        (&got["sub"], &got["issuer"]),
        (&json!("user_1"), &json!("https://clerk.example.com"))
    );
    assert_eq!((&got["token_type"], got.get("sid")), (&json!("oidc"), None));
}

#[test]
fn an_assertion_is_a_jwt_that_the_published_key_verifies() {
    for key in [ed25519(), p256()] {
        let (jwk, alg) = (key.public_jwk(), key.jwt_algorithm());
        let made = AssertionSigner::new(policy(Vec::new()), Arc::clone(&key)).make(
            r#""iss":"countersign","aud":"orders","sub":"user_1""#,
            NOW.plus(Duration::from_secs(300)),
            NOW,
        );
        let jwt = made.value.to_str().unwrap();
        let [header, payload, signature] = jwt.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts: {jwt}")
        };
        let part = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(
            part(header),
            json!({"alg": jwk["alg"], "kid": key.id().as_str(), "typ": "JWT"})
        );
        assert_eq!(
            part(payload),
            json!({
                "iss": "countersign", "aud": "orders", "sub": "user_1",
                "iat": 1_700_000_000, "nbf": 1_699_999_999, "exp": 1_700_000_060,
            })
        );
        let library = serde_json::from_value(jwk).unwrap();
        let verifier = DecodingKey::from_jwk(&library).unwrap();
        let message = format!("{header}.{payload}");
        let good = |message: &str| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &verifier, alg).unwrap()
        };
        assert!(good(&message));
        assert!(!good(&message.replace('.', "x")));
    }
}

#[test]
fn an_assertion_never_outlives_its_token_and_is_made_again_in_time() {
    let signer = AssertionSigner::new(policy(Vec::new()), ed25519());
    let at = |secs: i64| UnixTime::from_secs(1_700_000_000 + secs);
    for (token_ends, expires, good_until) in [(300, 60, 50), (60, 60, 59), (30, 30, 29), (5, 5, 4)]
    {
        let made = signer.make(r#""sub":"user_1""#, at(token_ends), NOW);
        assert_eq!(made.expires, at(expires), "{token_ends}");
        assert!(signer.may_send(&made, at(good_until)), "{token_ends}");
        assert!(!signer.may_send(&made, at(good_until + 1)), "{token_ends}");
    }
    let made = signer.make(r#""sub":"user_1""#, at(300), NOW);
    assert!(!signer.may_send(&made, at(-1)), "the clock was set back");
    let successor = AssertionSigner::new(policy(Vec::new()), ed25519());
    assert!(!successor.may_send(&made, NOW), "another key signs now");
    assert_eq!(format!("{made:?}").matches("eyJ").count(), 0);
}
