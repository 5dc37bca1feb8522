//! ALG: algorithms that are none, or another's, and signatures that are almost one.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::core::jwk::Algorithms;
use countersign::core::jwk_set::{BadKeySet, KeyNames, KeySet};
use serde_json::{Value, json};

use super::tokens::{
    By, RSA, Scene, bearer, clerk_set, ed_jwk, encode, forged, good, mistakes, oidc, oidc_input,
    oidc_set, oidc_signature, payload, public_der, session, signed,
};
use crate::support::key_server::{KeyServer, Reply};

/// A header with this `alg`, whatever it is.
fn alg(alg: &Value) -> String {
    json!({"alg": alg, "cat": "cl_B7d4PD111AAA", "kid": "ins_A", "typ": "JWT"}).to_string()
}

/// Header and payload, and the signature that Clerk made over them.
fn halves(token: &str) -> (&str, &str) {
    token.rsplit_once('.').unwrap()
}

#[tokio::test(flavor = "local")]
async fn alg_01_a_token_that_nobody_signed_is_refused_however_none_is_written() {
    let scene = Scene::set().await;
    for none in ["none", "None", "NONE", "nOnE", "none ", "\u{ff4e}one"] {
        let token = signed(alg(&json!(none)), payload(&json!({})));
        let unsigned = format!("{}.", halves(&token).0);
        scene.refuses(none, &unsigned, "token-invalid-algorithm").await;
        let other = format!("{}.", oidc_input(json!({"$header": {"alg": none}})));
        scene.refuses(none, &other, "token-invalid-algorithm").await;
    }
    scene.passes("a good one", &good()).await;
    scene.passes("a good one of the other issuer's", &oidc(By::Es256, json!({}))).await;
}

#[tokio::test(flavor = "local")]
async fn alg_02_two_parts_are_no_token() {
    let scene = Scene::set().await;
    for name in ["none", "RS256"] {
        let token = signed(alg(&json!(name)), payload(&json!({})));
        scene.refuses(name, halves(&token).0, "token-invalid").await;
    }
}

#[tokio::test(flavor = "local")]
async fn alg_04_a_good_signature_does_not_make_up_for_an_algorithm_that_is_none() {
    let scene = Scene::set().await;
    let (good, none) = (good(), signed(alg(&json!("none")), payload(&json!({}))));
    let borrowed = format!("{}.{}", halves(&none).0, halves(&good).1);
    for (what, token) in [("of another token", borrowed), ("of this one", none)] {
        scene.refuses(what, &token, "token-invalid-algorithm").await;
    }
}

#[tokio::test(flavor = "local")]
async fn alg_05_no_algorithm_is_not_any_algorithm_and_a_public_key_is_no_secret() {
    let scene = Scene::set().await;
    let missing = signed(r#"{"kid":"ins_A","typ":"JWT"}"#, payload(&json!({})));
    scene.refuses("none named, signed as RS256", &missing, "token-invalid-algorithm").await;

    let der = public_der();
    let body = STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    for header in [r#"{"kid":"ins_A","typ":"JWT"}"#.to_owned(), alg(&json!("HS256"))] {
        for (what, secret) in [
            ("its DER", der.as_slice()),
            ("its PEM", pem.as_bytes()),
            ("its PEM in one line", pem.replace('\n', "").as_bytes()),
            ("nothing", b""),
        ] {
            let input = format!("{}.{}", encode(&header), encode(payload(&json!({}))));
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let token = format!("{input}.{}", encode(hmac::sign(&key, input.as_bytes())));
            let case = format!("{header} with {what} for a secret");
            scene.refuses(&case, &token, "token-invalid-algorithm").await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn alg_06_an_algorithm_is_a_text_and_one_of_ours_to_the_letter() {
    let scene = Scene::set().await;
    for it in [
        json!(null),
        json!(0),
        json!([]),
        json!(["RS256"]),
        json!({}),
        json!(""),
        json!(true),
        json!("rs256"),
        json!(" RS256"),
        json!("RS256\u{0}"),
        json!({"RS256": 1}),
    ] {
        let token = signed(alg(&it), payload(&json!({})));
        scene.refuses(&it.to_string(), &token, "token-invalid-algorithm").await;
    }
}

#[tokio::test(flavor = "local")]
async fn alg_12_a_key_of_one_curve_verifies_no_signature_of_another() {
    let scene = Scene::set().await;
    for (what, by, alg, kid) in [
        ("ES256 of P-384", By::Es384, "ES256", "p384_A"),
        ("ES384 of P-256", By::Es256, "ES384", "ec_A"),
        ("ES256 of Ed25519", By::EdDsa, "ES256", "ed_A"),
        ("EdDSA of P-256", By::Es256, "EdDSA", "ec_A"),
        ("ES256 of RSA", By::Rs256, "ES256", "rs_A"),
        ("RS256 of P-256", By::Es256, "RS256", "ec_A"),
    ] {
        let token = oidc(by, json!({"$header": {"alg": alg, "kid": kid}}));
        scene.refuses(what, &token, "token-verification-failed").await;
    }
    for (by, alg, kid) in [(By::Es384, "ES384", "p384_A"), (By::EdDsa, "EdDSA", "ed_A")] {
        scene.passes(alg, &oidc(by, json!({"$header": {"alg": alg, "kid": kid}}))).await;
    }
    // One that says it is for the other's algorithm is no key at all.
    let mut set = oidc_set();
    for (place, alg) in [(1, "ES384"), (2, "ES256")] {
        set["keys"][place]["alg"] = alg.into();
        let alone = json!({ "keys": [set["keys"][place]] }).to_string();
        let read = KeySet::parse(alone.as_bytes(), Algorithms::ALL, KeyNames::Optional);
        assert!(matches!(read, Err(BadKeySet::NoUsableKey(_))), "{alg}: {read:?}");
    }
}

/// A token of ES256 with these two numbers for a signature.
fn es256(r: [u8; 32], s: [u8; 32]) -> String {
    format!("{}.{}", oidc_input(json!({})), encode([r, s].concat()))
}

#[tokio::test(flavor = "local")]
async fn alg_13_a_signature_of_zeros_is_none() {
    let scene = Scene::set().await;
    scene.refuses("64 zeros", &es256([0; 32], [0; 32]), "token-invalid-signature").await;
    for size in [0, 1, 63, 65, 96] {
        let token = format!("{}.{}", oidc_input(json!({})), encode(vec![0; size]));
        scene.refuses(&format!("{size} zeros"), &token, "token-invalid-signature").await;
    }
}

#[tokio::test(flavor = "local")]
async fn alg_14_the_numbers_of_a_signature_are_within_their_bounds() {
    /// The order of P-256 (SEC 2 §2.4.2).
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (zero, most) = ([0; 32], [0xff; 32]);
    let mut one = zero;
    one[31] = 1;
    let scene = Scene::set().await;
    for (what, r, s) in [
        ("0, 1", zero, one),
        ("1, 0", one, zero),
        ("n, n", N, N),
        ("n, 1", N, one),
        ("1, n", one, N),
        ("1, 1", one, one),
        ("all bits", most, most),
    ] {
        scene.refuses(what, &es256(r, s), "token-invalid-signature").await;
    }
}

#[tokio::test(flavor = "local")]
async fn alg_15_a_good_signature_in_der_is_no_signature_of_a_jwt() {
    let scene = Scene::set().await;
    scene.refuses("DER", &oidc(By::Es256InDer, json!({})), "token-invalid-signature").await;
    scene.passes("R and S", &oidc(By::Es256, json!({}))).await;
}

#[tokio::test(flavor = "local")]
async fn alg_18_a_point_of_small_order_is_no_key_and_a_signature_has_one_spelling() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut set = oidc_set();
    set["keys"].as_array_mut().unwrap().push(ed_jwk(&identity, "ed_small"));
    let clerk = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
    let other = KeyServer::start(Reply::json(&set.to_string())).await;
    let scene = Scene::among(clerk, other, |_| ()).await;
    let of = |kid: &str| json!({"$header": {"alg": "EdDSA", "kid": kid}});
    let with =
        |kid: &str, signature: &[u8]| format!("{}.{}", oidc_input(of(kid)), encode(signature));
    let nobodys = [identity, [0; 32]].concat();

    // By a key of order 1, R = identity and S = 0 is a signature of everything.
    scene.refuses("by a small key", &with("ed_small", &nobodys), "jwk-kid-mismatch").await;
    scene.refuses("by a good key", &with("ed_A", &nobodys), "token-invalid-signature").await;

    // The order of the group, in little endian (RFC 8032 §5.1); S + ℓ verifies where S is not
    // held against it.
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = oidc_signature(By::EdDsa, &oidc_input(of("ed_A")));
    scene.passes("S", &with("ed_A", &signature)).await;
    let mut carry = 0;
    for (digit, more) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*digit) + more + carry;
        (*digit, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    scene.refuses("S and the order", &with("ed_A", &signature), "token-invalid-signature").await;
}

/// Each of the signatures of `make_rsa.py` for this row, of which the sound ones pass.
async fn rsa_signatures(id: &str) {
    let scene = Scene::set().await;
    let rows = RSA["tokens"].as_array().unwrap().iter().filter(|row| row["id"] == id);
    let mut tried = (0, 0);
    for row in rows {
        let (what, token) = (row["what"].as_str().unwrap(), row["token"].as_str().unwrap());
        if row["good"] == true {
            scene.passes(what, token).await;
            tried.0 += 1;
        } else {
            scene.refuses(what, token, "token-invalid-signature").await;
            tried.1 += 1;
        }
    }
    assert!(tried.0 > 0 && tried.1 > 0, "{id}: {tried:?}");
}

#[tokio::test(flavor = "local")]
async fn alg_20_a_signature_is_as_long_as_its_modulus_and_less() {
    rsa_signatures("ALG-20").await;
}

#[tokio::test(flavor = "local")]
async fn alg_21_a_cube_with_garbage_after_the_digest_is_no_signature() {
    rsa_signatures("ALG-21").await;
}

#[tokio::test(flavor = "local")]
async fn alg_22_the_padding_has_one_form_to_the_last_byte() {
    rsa_signatures("ALG-22").await;
}

#[tokio::test(flavor = "local")]
async fn alg_23_a_salt_is_as_long_as_the_hash() {
    rsa_signatures("ALG-23").await;
    // PS256 is for an issuer whose settings say so, and not for Clerk.
    let scene = Scene::set().await;
    let token = session(json!({"$header": {"alg": "PS256"}}));
    scene.refuses("PS256 of Clerk's", &token, "token-invalid-algorithm").await;
}

#[test]
fn alg_27_settings_cannot_allow_none_or_a_shared_secret() {
    let issuer = |algorithms: &str| {
        format!(
            "[[issuer]]\nurl = \"https://o.a.test\"\njwks_url = \"https://o.a.test/k\"\naudience = [\"api\"]\nalgorithms = {algorithms}"
        )
    };
    for (algorithms, refused) in [
        (r#"["none"]"#, true),
        (r#"["RS256", "none"]"#, true),
        (r#"["None"]"#, true),
        (r#"["HS256"]"#, true),
        (r#"["RS256", "HS512"]"#, true),
        (r#"["rs256"]"#, true),
        (r#"[""]"#, true),
        ("[]", true),
        (r#"["RS256", "ES256", "EdDSA"]"#, false),
    ] {
        let told = mistakes(&issuer(algorithms));
        assert_eq!(!told.is_empty(), refused, "{algorithms}: {told:?}");
        assert!(told.iter().all(|it| it.starts_with("issuer[1].algorithms: ")), "{told:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn alg_28_a_forged_token_is_refused_for_its_signature_whatever_it_says() {
    let scene = Scene::set().await;
    let said = async |token: &str| {
        let answer =
            scene.refuses_lines("forged", &bearer(token), (401, "token-invalid-signature")).await;
        let headers = answer
            .headers
            .iter()
            .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
        let headers: Vec<_> = headers.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("request_id");
        (answer.status, headers, body)
    };
    let plain = said(&forged(&good())).await;
    for claims in [
        json!({"exp": 1}),
        json!({"exp": null}),
        json!({"nbf": 9_999_999_999_i64}),
        json!({"iat": 9_999_999_999_i64}),
        json!({"aud": "https://other.test"}),
        json!({"azp": "https://evil.test"}),
        json!({"sub": 5}),
        json!({"sub": "user_root"}),
        json!({"sts": "pending"}),
        json!({"act": {"sub": "user_admin"}}),
    ] {
        assert_eq!(said(&forged(&session(claims.clone()))).await, plain, "{claims}");
    }
    // To others than Clerk it is the same.
    let other = said(&forged(&oidc(By::Es256, json!({})))).await;
    for claims in [json!({"exp": 1}), json!({"aud": "web"}), json!({"sub": null})] {
        assert_eq!(said(&forged(&oidc(By::Es256, claims.clone()))).await, other, "{claims}");
    }
}
