//! Tests of how a token is taken apart. The ids are those of attacks that were seen elsewhere.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;

use super::*;
use crate::core::claims::{AzpPolicy, ClaimsPolicy};
use crate::core::issuer::{ClerkPolicy, Impersonation, IssuerPolicy, TokenPolicy};
use crate::core::jwk_set::{KeyNames, KeySet};

static PAIR: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

const HEADER: &str = r#"{"alg":"RS256","kid":"ins_1","typ":"JWT"}"#;
const PAYLOAD: &str = r#"{"sub":"user_1","sid":"sess_1","exp":1700000060}"#;

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let key = PAIR.public_key();
    let n = encode(key.modulus().big_endian_without_leading_zero());
    let e = encode(key.exponent().big_endian_without_leading_zero());
    let set = json!({"keys": [{"kty": "RSA", "kid": "ins_1", "n": n, "e": e, "alg": "RS256"}]});
    KeySet::parse(set.to_string().as_bytes(), Algorithms::CLERK, KeyNames::Required).unwrap().0
});

fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64url::encode(bytes.as_ref())
}

fn signature(input: &str) -> String {
    let mut signature = vec![0; PAIR.public_modulus_len()];
    let random = SystemRandom::new();
    PAIR.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature).unwrap();
    encode(signature)
}

/// A token of these parts, signed whatever they say.
fn token(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    format!("{input}.{}", signature(&input))
}

/// What becomes of a token: the reason in a word.
fn verdict(token: &str) -> &'static str {
    verdict_of(token, Algorithms::CLERK)
}

fn verdict_of(token: &str, allowed: Algorithms) -> &'static str {
    let token = match admitted(token, allowed) {
        Ok(token) => token,
        Err(reject) => return reject.label(),
    };
    let keys = KEYS.find(token.kid().as_ref());
    if keys.is_empty() {
        return Reject::KeyUnknown { kid: None }.label();
    }
    token.verify(keys).map_or_else(|reject| reject.label(), |_| "verified")
}

/// Takes a token for one of a Clerk instance that may use the algorithms `allowed`.
fn admitted(token: &str, allowed: Algorithms) -> Result<AdmittedToken<'_>, Reject> {
    let claims = ClaimsPolicy {
        audience: None,
        parties: Vec::new(),
        azp: AzpPolicy::Off,
        leeway: ClaimsPolicy::LEEWAY,
        max_lifetime: None,
    };
    let impersonation = Impersonation::Allow;
    let clerk = ClerkPolicy { sessions: Some(claims), templates: None, impersonation };
    let issuer = IssuerPolicy {
        names: vec!["https://clerk.example.com".into()],
        algorithms: allowed,
        tokens: TokenPolicy::Clerk(clerk),
    };
    issuer.admit(UnverifiedToken::parse(BearerToken::of(token))?)
}

#[test]
fn a_token_that_is_signed_is_verified_and_gives_its_claims() {
    let text = token(HEADER, PAYLOAD);
    let parsed = admitted(&text, Algorithms::CLERK).unwrap();
    let kid = parsed.kid();
    let verified = parsed.verify(KEYS.find(kid.as_ref())).unwrap();
    assert_eq!(verified.claims.get("sub").and_then(Value::as_str), Some("user_1"));
    assert_eq!(&*verified.payload, encode(PAYLOAD));
    assert!(KEYS.holds(&verified.key));
}

#[test]
fn a_token_has_three_parts() {
    let good = token(HEADER, PAYLOAD);
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    for (id, text) in [
        ("SER-02", String::new()),
        ("SER-02", header.to_owned()),
        ("SER-02", format!("{header}.{payload}")),
        ("SER-02", format!("{good}.{signature}")),
        ("SER-02", format!("{good}.{good}")),
        ("SER-01", format!("{header}..{payload}.{signature}")),
        ("SER-01", format!(".{good}")),
        ("SER-01", format!("{good}.")),
        ("SER-01", "..".to_owned()),
        ("SER-01", "...".to_owned()),
        ("SER-01", format!(".{payload}.{signature}")),
        ("SER-01", format!("{header}..{signature}")),
        ("SER-16", good.replace('.', "\u{ff0e}")),
        ("SER-16", good.replace('.', "\u{3002}")),
        ("SER-16", good.replace('.', "%2E")),
    ] {
        assert_eq!(verdict(&text), "token-invalid", "{id}: {text}");
    }
}

#[test]
fn a_part_is_base64url_in_one_spelling() {
    let good = token(HEADER, PAYLOAD);
    let parts: Vec<&str> = good.split('.').collect();
    let with = |place: usize, part: &str| {
        let mut parts = parts.clone();
        parts[place] = part;
        parts.join(".")
    };
    for (place, part) in parts.iter().copied().enumerate() {
        // SER-10. Only where the last character has bits to spare; the signature's always does.
        let last = part.chars().last().unwrap();
        let spare = [0, 0, 4, 2][part.len() % 4];
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = alphabet.find(last).unwrap();
        for bits in 1..1 << spare {
            let other = &alphabet[value ^ bits..][..1];
            let text = with(place, &format!("{}{other}", &part[..part.len() - 1]));
            assert_eq!(verdict(&text), "token-invalid", "SER-10: part {place}, bits {bits}");
        }
        for junk in ["\n", " ", "\t", "!", "%0A", "\u{200b}", "+", "/", "%3D", "=A", "\0"] {
            for at in [0, part.len() / 2, part.len()] {
                let text = with(place, &format!("{}{junk}{}", &part[..at], &part[at..]));
                assert_eq!(
                    verdict(&text),
                    "token-invalid",
                    "SER-13: part {place} {junk:?} at {at}"
                );
            }
        }
        for short in ["A", "AAAAA"] {
            assert_eq!(verdict(&with(place, short)), "token-invalid", "SER-14: part {place}");
        }
    }
    // SER-11: padding after the signature counts for nothing, as in Clerk's library. After the
    // other parts it is among what was signed.
    for (text, want) in [
        (format!("{good}="), "verified"),
        (format!("{good}=="), "verified"),
        (with(0, &format!("{}==", parts[0])), "token-invalid-signature"),
        (with(1, &format!("{}=", parts[1])), "token-invalid-signature"),
        (format!("{good}%3D"), "token-invalid"),
    ] {
        assert_eq!(verdict(&text), want, "SER-11: {text}");
    }
    // SER-12: the other alphabet.
    let other = good.replace('-', "+").replace('_', "/");
    assert!(other == good || verdict(&other) == "token-invalid");
}

#[test]
fn nothing_follows_a_token() {
    let good = token(HEADER, PAYLOAD);
    for text in [
        format!("{good}."),
        format!("{good},"),
        format!("{good};x"),
        format!("{good}%00"),
        format!("{good} extra"),
        format!("\"{good}\""),
        format!("<{good}>"),
        format!("{good}{good}"),
        format!("{good}\t"),
        format!("{good}\r\n"),
        format!(" {good}"),
    ] {
        assert_eq!(verdict(&text), "token-invalid", "SER-15: {text:?}");
    }
}

#[test]
fn a_signature_that_is_not_there_verifies_nothing() {
    let good = token(HEADER, PAYLOAD);
    let (input, signature) = good.rsplit_once('.').unwrap();
    for (text, want) in [
        (format!("{input}."), "token-invalid-signature"), // SER-18
        (format!("{input}.="), "token-invalid-signature"),
        (format!("{input}.AAAA"), "token-invalid-signature"),
        (format!("{input}.{}", &signature[4..]), "token-invalid-signature"),
        (
            token(HEADER, r#"{"sub":"root"}"#)
                .replace(&encode(r#"{"sub":"root"}"#), &encode(PAYLOAD)),
            "token-invalid-signature",
        ),
    ] {
        assert_eq!(verdict(&text), want, "{text}");
    }
}

#[test]
fn the_algorithm_is_one_the_issuer_may_use() {
    for (id, alg) in [
        ("ALG-01", json!("none")),
        ("ALG-01", json!("None")),
        ("ALG-01", json!("NONE")),
        ("ALG-06", json!(null)),
        ("ALG-06", json!(0)),
        ("ALG-06", json!([])),
        ("ALG-06", json!(["RS256"])),
        ("ALG-06", json!({})),
        ("ALG-06", json!("")),
        ("ALG-06", json!(true)),
        ("ALG-06", json!("RS256\0")),
        ("ALG-06", json!("rs256")),
        ("ALG", json!("HS256")),
        ("ALG", json!("PS256")),
        ("ALG", json!("ES256")),
        ("ALG", json!("EdDSA")),
        ("ALG", json!("RSA-OAEP")),
    ] {
        let header = json!({"alg": alg, "kid": "ins_1", "typ": "JWT"}).to_string();
        let signed = token(header, PAYLOAD);
        assert_eq!(verdict(&signed), "token-invalid-algorithm", "{id}: {alg}"); // ALG-04
        let (input, _) = signed.rsplit_once('.').unwrap();
        assert_eq!(verdict(&format!("{input}.")), "token-invalid-algorithm", "{id}: {alg}");
        assert_eq!(verdict(input), "token-invalid", "ALG-02: {alg}");
    }
    let missing = token(r#"{"kid":"ins_1","typ":"JWT"}"#, PAYLOAD);
    assert_eq!(verdict(&missing), "token-invalid-algorithm", "ALG-05");
    // Allowed to the issuer, but not what the key was published for.
    for alg in ["RS384", "PS256", "ES256", "EdDSA"] {
        let header = json!({"alg": alg, "kid": "ins_1"}).to_string();
        let got = verdict_of(&token(header, PAYLOAD), Algorithms::ALL);
        assert_eq!(got, "token-verification-failed", "{alg}");
    }
}

#[test]
fn a_kid_is_a_name_or_names_no_key() {
    let long = "a".repeat(1 << 20);
    for kid in [
        json!("ins_2"),
        json!(null),
        json!(1),
        json!([]),
        json!(["ins_1"]),
        json!({}),
        json!(""),
        json!(" ins_1"),
        json!("ins_1\0"),
        json!("a\r\nlevel=info"),
        json!("../../../../dev/null"),
        json!(long),
    ] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        let got = verdict(&token(header, PAYLOAD));
        assert_eq!(got, "jwk-kid-mismatch", "HDR-10: {:.40}", kid.to_string());
    }
    assert_eq!(verdict(&token(r#"{"alg":"RS256"}"#, PAYLOAD)), "jwk-kid-mismatch");
}

#[test]
fn extensions_that_must_be_understood_are_refused() {
    for (id, members) in [
        ("HDR-13", json!({"crit": ["x"], "x": 1})),
        ("HDR-14", json!({"crit": []})),
        ("HDR-14", json!({"crit": "exp"})),
        ("HDR-14", json!({"crit": [1]})),
        ("HDR-14", json!({"crit": ["alg"]})),
        ("HDR-14", json!({"crit": ["x", "x"]})),
        ("HDR-14", json!({"crit": ["absent"]})),
        ("HDR-14", json!({"crit": null})),
        ("HDR-15", json!({"crit": ["b64"], "b64": false})),
    ] {
        assert_eq!(
            verdict(&token(header_with(&members), PAYLOAD)),
            "token-invalid",
            "{id}: {members}"
        );
    }
    for members in [
        json!({"oiat": 1}),
        json!({"foo": {}}),
        json!({"jku": "https://evil.test/k", "x5c": ["junk"], "jwk": {"kty": "oct"}}),
        json!({"b64": true}),
        json!({"alg ": "none", "ALG": "none"}),
    ] {
        assert_eq!(
            verdict(&token(header_with(&members), PAYLOAD)),
            "verified",
            "HDR-19: {members}"
        );
    }
}

fn header_with(members: &serde_json::Value) -> String {
    let mut header: serde_json::Value = serde_json::from_str(HEADER).unwrap();
    header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    header.to_string()
}

#[test]
fn only_a_session_token_is_one() {
    for (typ, want) in [
        (json!("JWT"), "verified"),
        (json!("at+jwt"), "token-type-mismatch"),
        (json!("application/at+jwt"), "token-type-mismatch"),
        (json!("dpop+jwt"), "token-invalid"),
        (json!("logout+jwt"), "token-invalid"),
        (json!("JWE"), "token-invalid"),
        (json!("jwt"), "token-invalid"),
        (json!(""), "token-invalid"),
        (json!(5), "token-invalid"),
        (json!(null), "token-invalid"),
        (json!(["JWT"]), "token-invalid"),
    ] {
        let header = header_with(&json!({"typ": typ}));
        assert_eq!(verdict(&token(header, PAYLOAD)), want, "HDR-17: {typ}");
    }
    let absent = r#"{"alg":"RS256","kid":"ins_1"}"#;
    assert_eq!(verdict(&token(absent, PAYLOAD)), "verified", "HDR-17: absent");
    for (cat, payload, want) in [
        ("cl_B7d4PD111AAA", PAYLOAD, "verified"),
        ("cl_I7d4PD111III", PAYLOAD, "verified"),
        ("cl_B7d4PD222AAA", PAYLOAD, "token-type-mismatch"),
        ("cl_B7d4PD333AAA", PAYLOAD, "token-type-mismatch"),
        ("cl_B7d4PD111AAA", r#"{"sub":"mch_1"}"#, "token-type-mismatch"),
    ] {
        let header = header_with(&json!({"cat": cat}));
        assert_eq!(verdict(&token(header, payload)), want, "HDR-18: {cat} {payload}");
    }
}

#[test]
fn header_and_payload_are_objects_in_one_reading() {
    let inner = token(HEADER, PAYLOAD);
    for (id, text) in [
        ("PAY-01", "[]"),
        ("PAY-01", "\"x\""),
        ("PAY-01", "1"),
        ("PAY-01", "null"),
        ("PAY-01", "true"),
        ("PAY-01", ""),
        ("PAY-02", r#"{"sub":"alice","sub":"root"}"#),
        ("PAY-02", r#"{"sub":"root","sub":"alice"}"#),
        ("PAY-02", r#"{"o":{"rol":"member","rol":"admin"}}"#),
        ("PAY-02", r#"{"a":[{"b":1,"b":1}]}"#),
        ("PAY-03", r#"{"sub":"alice","\u0073ub":"root"}"#),
        ("PAY-06", r#"{"sub":"a",}"#),
        (
            "PAY-06",
            r#"{"sub":"a"//x
}"#,
        ),
        ("PAY-06", r#"{"sub":"a"/*x*/}"#),
        ("PAY-06", "{'sub':'a'}"),
        ("PAY-06", r#"{sub:"a"}"#),
        ("PAY-06", r#"{"exp":NaN}"#),
        ("PAY-06", r#"{"exp":Infinity}"#),
        ("PAY-06", r#"{"exp":01}"#),
        ("PAY-06", r#"{"exp":0x1}"#),
        ("PAY-06", r#"{"exp":+1}"#),
        ("PAY-06", r#"{"exp":.5}"#),
        ("PAY-06", "\u{feff}{}"),
        ("PAY-06", "{}}"),
        ("PAY-06", "{} {}"),
        ("PAY-06", "{}\0"),
        ("PAY-06", "{\"sub\":\"a\nb\"}"),
        ("PAY-09", r#"{"sub":"\ud800"}"#),
        ("HDR-20", &inner),
    ] {
        assert_eq!(verdict(&token(HEADER, text)), "token-invalid", "{id}: {text}");
        assert_eq!(verdict(&token(text, PAYLOAD)), "token-invalid", "{id}, header: {text}");
    }
    for bytes in [&b"{\"sub\":\"\xff\"}"[..], b"{\"sub\":\"\xed\xa0\x80\"}", b"\xfe\xff\0{\0}"] {
        assert_eq!(verdict(&token(HEADER, bytes)), "token-invalid", "{bytes:?}");
    }
    let quoted = json!(inner).to_string();
    let header = header_with(&json!({"cty": "JWT"}));
    assert_eq!(verdict(&token(header, quoted)), "token-invalid", "HDR-20");
    assert_eq!(verdict(&token(HEADER, format!(" {PAYLOAD}\n"))), "verified");
}

#[test]
fn deep_nesting_is_refused_and_harmless() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [200, 10_000, 100_000] {
            let deep = format!(r#"{{"a":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
            assert_eq!(verdict(&token(HEADER, &deep)), "token-invalid", "HDR-22: {depth}");
            assert_eq!(verdict(&token(&deep, PAYLOAD)), "token-invalid", "HDR-22: {depth}");
            let open_only = format!(r#"{{"a":{}"#, open.repeat(depth));
            assert_eq!(verdict(&token(HEADER, &open_only)), "token-invalid", "HDR-22: {depth}");
        }
    }
}

#[test]
fn any_of_several_unnamed_keys_may_have_signed() {
    let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pem = |pair: &RsaKeyPair| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(pair.public_key())
    };
    let keys = |pairs: [&RsaKeyPair; 2]| {
        let key = |pair| VerificationKey::all_from_pem(&pem(pair), Algorithms::CLERK).unwrap();
        KeySet::unnamed(pairs.into_iter().flat_map(key).collect())
    };
    let text = token(r#"{"alg":"RS256","kid":"whatever"}"#, PAYLOAD);
    for (keys, verified) in [
        (keys([&other, &PAIR]), true),
        (keys([&PAIR, &other]), true),
        (keys([&other, &other]), false),
    ] {
        let token = admitted(&text, Algorithms::CLERK).unwrap();
        let kid = token.kid();
        assert_eq!(token.verify(keys.find(kid.as_ref())).is_ok(), verified);
    }
}

#[test]
fn debug_shows_no_token() {
    let text = token(HEADER, PAYLOAD);
    let token = UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
    assert_eq!(format!("{token:?}"), r#"UnverifiedToken(Some(KeyId("ins_1")))"#);
    let token = admitted(&text, Algorithms::CLERK).unwrap();
    assert_eq!(format!("{token:?}"), "AdmittedToken(SessionToken, RS256)");
    let verified = token.verify(KEYS.find(KeyId::parse("ins_1").ok().as_ref())).unwrap();
    assert_eq!(format!("{verified:?}"), r#"VerifiedToken(Some(KeyId("ins_1")))"#);
}
