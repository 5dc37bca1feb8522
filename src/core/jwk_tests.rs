//! Tests of the key sets, and of the library that verifies, as far as we rely on it.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::io::Positive;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as lib, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding,
    RsaKeyPair,
};
use serde_json::{Value, json};

use super::*;
use crate::core::json::tests::object;
use crate::core::jwk_set::{BadKeySet, KeyNames, KeySet, KeySetNotes};

static RSA_PAIR: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

const MESSAGE: &[u8] = b"header.payload";

fn rsa_numbers(pair: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let key = pair.public_key();
    let bytes = |number: Positive<'_>| number.big_endian_without_leading_zero().to_vec();
    (bytes(key.modulus()), bytes(key.exponent()))
}

fn rsa_jwk() -> Value {
    let (n, e) = rsa_numbers(&RSA_PAIR);
    json!({"kty": "RSA", "kid": "good", "n": encode(&n), "e": encode(&e)})
}

fn rsa_signature(encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; RSA_PAIR.public_modulus_len()];
    RSA_PAIR.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn ec_pair(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

fn ec_jwk(pair: &EcdsaKeyPair, curve: &str) -> Value {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    json!({"kty": "EC", "crv": curve, "kid": "ec", "x": encode(x), "y": encode(y)})
}

fn okp_jwk(x: &[u8]) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(x)})
}

fn encode(bytes: &[u8]) -> String {
    base64url::encode(bytes)
}

/// `jwk` with these members; `"-"` takes one off.
fn with(mut jwk: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        if value == "-" {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    jwk
}

fn key(jwk: &Value) -> VerificationKey {
    VerificationKey::from_jwk(&object(jwk), Algorithms::ALL).unwrap().0
}

fn refusal(jwk: &Value, allowed: Algorithms) -> Option<BadKey> {
    VerificationKey::from_jwk(&object(jwk), allowed).err()
}

fn set(keys: &Value) -> Result<(KeySet, KeySetNotes), BadKeySet> {
    KeySet::parse(
        json!({"keys": keys}).to_string().as_bytes(),
        Algorithms::CLERK,
        KeyNames::Required,
    )
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

#[test]
fn a_key_id_is_visible_ascii_and_not_too_long() {
    let longest = "a".repeat(KeyId::MAX_BYTES);
    for (text, good) in [
        ("ins_2oracle0000000000000000001", true),
        ("../../dev/null", true), // a name, never a path
        ("\"\\", true),
        (longest.as_str(), true),
        (&format!("{longest}a"), false),
        ("", false),
        ("a b", false),
        ("a\r\nlevel=info", false),
        ("a\0", false),
        ("\u{1b}[2J", false),
        ("a\u{7f}", false),
        ("schlüssel", false),
    ] {
        assert_eq!(KeyId::parse(text).is_ok(), good, "{text:?}");
    }
}

#[test]
fn an_algorithm_is_read_to_the_letter() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::parse(algorithm.as_str()), Some(algorithm));
    }
    for text in ["none", "HS256", "HS384", "HS512", "rs256", "RS256 ", "ES512", "ES256K", ""] {
        assert_eq!(Algorithm::parse(text), None, "{text}");
    }
}

#[test]
fn one_bad_key_costs_only_itself() {
    let wrong = |members: Value| with(rsa_jwk(), &members);
    for (bad, why) in [
        (json!("key"), BadKey::Malformed("not an object")),
        (json!(null), BadKey::Malformed("not an object")),
        (wrong(json!({"kty": "-"})), BadKey::Malformed("kty")),
        (wrong(json!({"kty": 5})), BadKey::Malformed("kty")),
        (wrong(json!({"kty": "rsa"})), BadKey::Kind),
        (wrong(json!({"n": "-"})), BadKey::Malformed("n")),
        (wrong(json!({"n": 5})), BadKey::Malformed("n")),
        (wrong(json!({"n": "AQ+/"})), BadKey::Malformed("n")),
        (wrong(json!({"e": "-"})), BadKey::Malformed("e")),
        (wrong(json!({"kid": "-"})), BadKey::Malformed("no kid")),
        (wrong(json!({"kid": ""})), BadKey::Malformed("kid")),
        (wrong(json!({"kid": 5})), BadKey::Malformed("kid")),
        (wrong(json!({"kid": null})), BadKey::Malformed("kid")),
        (wrong(json!({"kid": "a".repeat(129)})), BadKey::Malformed("kid")),
        (wrong(json!({"kid": "a\nb"})), BadKey::Malformed("kid")),
        (wrong(json!({"use": "enc"})), BadKey::Use),
        (wrong(json!({"use": "SIG"})), BadKey::Use),
        (wrong(json!({"use": null})), BadKey::Use),
        (wrong(json!({"key_ops": ["sign"]})), BadKey::Use),
        (wrong(json!({"key_ops": ["encrypt"]})), BadKey::Use),
        (wrong(json!({"key_ops": []})), BadKey::Use),
        (wrong(json!({"key_ops": "verify"})), BadKey::Use),
        (wrong(json!({"alg": "RSA-OAEP"})), BadKey::Algorithm),
        (wrong(json!({"alg": "HS256"})), BadKey::Algorithm),
        (wrong(json!({"alg": "none"})), BadKey::Algorithm),
        (wrong(json!({"alg": "PS256"})), BadKey::Algorithm), // not one of Clerk's
        (wrong(json!({"alg": "ES256"})), BadKey::Algorithm),
        (wrong(json!({"alg": 5})), BadKey::Algorithm),
        (wrong(json!({"alg": null})), BadKey::Algorithm),
        (wrong(json!({"e": "Ag"})), BadKey::WeakRsa),
        (json!({"kty": "oct", "kid": "good", "k": "c2VjcmV0"}), BadKey::Kind),
        (json!({"kty": "oct", "kid": "good", "k": "c2VjcmV0", "alg": "HS256"}), BadKey::Kind),
    ] {
        let (keys, notes) = set(&json!([bad, rsa_jwk()])).unwrap();
        assert_eq!(notes.skipped, [(0, why)], "{bad}");
        assert_eq!(keys.len(), 1, "{bad}");
        assert_eq!(keys.find(Some(&id("good"))).len(), 1, "{bad}");
    }
}

#[test]
fn what_a_key_may_say_beside_its_numbers_is_no_matter() {
    for members in [
        json!({"use": "sig"}),
        json!({"key_ops": ["sign", "verify"]}),
        json!({"alg": "RS256"}),
        json!({"alg": "RS512"}),
        json!({"x5c": ["junk"], "x5t": 5, "x5u": "http://169.254.169.254/", "ext": true}),
        json!({"crv": "P-256"}),
    ] {
        let (keys, notes) = set(&json!([with(rsa_jwk(), &members)])).unwrap();
        assert_eq!((keys.len(), notes), (1, KeySetNotes::default()), "{members}");
    }
}

/// A number of so many bits, even or odd.
fn number(bits: usize, low: u8) -> Vec<u8> {
    let mut number = vec![0; bits.div_ceil(8)];
    number[0] = 1 << ((bits - 1) % 8);
    *number.last_mut().unwrap() |= low;
    number
}

#[test]
fn a_weak_rsa_key_is_no_key() {
    let ok = || vec![1, 0, 1];
    let padded = [vec![0, 0], number(2048, 1)].concat();
    for (what, n, e, good) in [
        ("512 bits", number(512, 1), ok(), false),
        ("1024 bits", number(1024, 1), ok(), false),
        ("2047 bits", number(2047, 1), ok(), false),
        ("1024 bits in 256 bytes", [vec![0; 128], number(1024, 1)].concat(), ok(), false),
        ("2048 bits", number(2048, 1), ok(), true),
        ("2048 bits and zeros before", padded, ok(), true),
        ("4096 bits", number(4096, 1), ok(), true),
        ("8192 bits", number(8192, 1), ok(), true),
        ("8193 bits", number(8193, 1), ok(), false),
        ("16384 bits", number(16384, 1), ok(), false),
        ("n even", number(2048, 0), ok(), false),
        ("n = 0", vec![0], ok(), false),
        ("n = 0 in 256 bytes", vec![0; 256], ok(), false),
        ("n empty", vec![], ok(), false),
        ("e = 0", number(2048, 1), vec![0], false),
        ("e empty", number(2048, 1), vec![], false),
        ("e = 1", number(2048, 1), vec![1], false),
        ("e = 1 after zeros", number(2048, 1), vec![0, 0, 1], false),
        ("e = 2", number(2048, 1), vec![2], false),
        ("e = 3", number(2048, 1), vec![3], true),
        ("e even", number(2048, 1), vec![1, 0, 0], false),
        ("e of 33 bits", number(2048, 1), number(33, 1), false),
        ("e of 64 bits", number(2048, 1), number(64, 1), false),
        ("e as long as n", number(2048, 1), number(2048, 1), false),
    ] {
        let jwk = with(rsa_jwk(), &json!({"n": encode(&n), "e": encode(&e)}));
        let want = (!good).then_some(BadKey::WeakRsa);
        assert_eq!(refusal(&jwk, Algorithms::CLERK), want, "{what}");
    }
}

#[test]
fn a_point_that_is_not_on_its_curve_is_no_key() {
    let p256 = ec_jwk(&ec_pair(&lib::ECDSA_P256_SHA256_FIXED_SIGNING), "P-256");
    let p384 = ec_jwk(&ec_pair(&lib::ECDSA_P384_SHA384_FIXED_SIGNING), "P-384");
    let shorter = |jwk: &Value, name: &str| {
        encode(&base64url::decode(jwk[name].as_str().unwrap()).unwrap()[1..])
    };
    let longer = |jwk: &Value, name: &str| {
        encode(&[vec![0], base64url::decode(jwk[name].as_str().unwrap()).unwrap()].concat())
    };
    let zeros = encode(&[0; 32]);
    for (jwk, members, want) in [
        (&p256, json!({}), None),
        (&p384, json!({}), None),
        (&p256, json!({"y": p256["x"]}), Some(BadKey::OffCurve)),
        (&p384, json!({"y": p384["x"]}), Some(BadKey::OffCurve)),
        (&p256, json!({"x": zeros, "y": zeros}), Some(BadKey::OffCurve)), // infinity, as some write it
        (&p256, json!({"x": encode(&[0xff; 32])}), Some(BadKey::OffCurve)),
        (&p256, json!({"x": shorter(&p256, "x")}), Some(BadKey::OffCurve)),
        (&p256, json!({"y": shorter(&p256, "y")}), Some(BadKey::OffCurve)),
        (&p256, json!({"x": longer(&p256, "x")}), Some(BadKey::OffCurve)),
        (&p256, json!({"x": "", "y": ""}), Some(BadKey::OffCurve)),
        (&p256, json!({"y": "-"}), Some(BadKey::Malformed("y"))),
        (&p256, json!({"crv": "P-384"}), Some(BadKey::OffCurve)),
        (&p384, json!({"crv": "P-256"}), Some(BadKey::OffCurve)),
        (&p256, json!({"crv": "P-192"}), Some(BadKey::Kind)),
        (&p256, json!({"crv": "P-521"}), Some(BadKey::Kind)),
        (&p256, json!({"crv": "secp256k1"}), Some(BadKey::Kind)),
        (&p256, json!({"crv": "-"}), Some(BadKey::Kind)),
        (&p256, json!({"alg": "ES384"}), Some(BadKey::Algorithm)),
        (&p256, json!({"alg": "RS256"}), Some(BadKey::Algorithm)),
    ] {
        assert_eq!(refusal(&with(jwk.clone(), &members), Algorithms::ALL), want, "{members}");
    }
    assert_eq!(refusal(&p256, Algorithms::CLERK), Some(BadKey::Algorithm));
}

#[test]
fn an_edwards_point_of_small_order_is_no_key() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let good = pair.public_key().as_ref().to_vec();
    let hex = |low: &str, middle: &str, high: &str| decode_hex(&format!("{low}{middle}{high}"));
    let (zeros, ones) = ("00".repeat(30), "ff".repeat(30));
    let order_8 = "e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc";
    let order_8_too = "176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03";
    for (x, good) in [
        (good.clone(), true),
        (good[..31].to_vec(), false),
        ([good.as_slice(), &[0]].concat(), false),
        (vec![], false),
        (hex("01", &zeros, "00"), false),
        (hex("01", &zeros, "80"), false),
        (hex("00", &zeros, "00"), false),
        (hex("00", &zeros, "80"), false),
        (hex("ec", &ones, "7f"), false),
        (hex("ec", &ones, "ff"), false),
        (hex("ed", &ones, "7f"), false),
        (hex("ed", &ones, "ff"), false),
        (hex("ee", &ones, "7f"), false),
        (hex("ee", &ones, "ff"), false),
        (hex("26", order_8, "05"), false),
        (hex("26", order_8, "85"), false),
        (hex("c7", order_8_too, "7a"), false),
        (hex("c7", order_8_too, "fa"), false),
    ] {
        let want = (!good).then_some(BadKey::OffCurve);
        assert_eq!(refusal(&okp_jwk(&x), Algorithms::ALL), want, "{x:02x?}");
    }
    for curve in ["X25519", "Ed448", "X448"] {
        let jwk = with(okp_jwk(&good), &json!({"crv": curve}));
        assert_eq!(refusal(&jwk, Algorithms::ALL), Some(BadKey::Kind), "{curve}");
    }
}

fn decode_hex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn a_key_that_can_be_read_in_two_ways_costs_only_itself() {
    let twice = rsa_jwk().to_string().replacen('{', r#"{"kid":"other","#, 1);
    let text = format!(r#"{{"keys":[{twice},{}]}}"#, with(rsa_jwk(), &json!({"kid": "good"})));

    let (set, notes) =
        KeySet::parse(text.as_bytes(), Algorithms::CLERK, KeyNames::Required).unwrap();

    assert_eq!(set.len(), 1);
    assert_eq!(notes.skipped, [(0, BadKey::Malformed("no JSON that can be read in one way"))]);
}

/// Lists in lists, deeper than anything is read.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!([]), |inner, _| json!([inner]))
}

#[test]
fn an_answer_that_is_no_key_set_is_a_failure_and_not_an_empty_set() {
    let twice = format!(r#"{{"keys":[],"keys":[{}]}}"#, rsa_jwk());
    let bom = format!("\u{feff}{}", json!({"keys": [rsa_jwk()]}));
    let list = json!([[rsa_jwk()]]).to_string();
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"Keys":[]}"#,
        r#"{"keys":[]"#,
        r#"{"keys":[]}x"#,
        &twice,
        &bom,
        &list,
    ] {
        let shown = &text[..text.len().min(80)];
        let answer = KeySet::parse(text.as_bytes(), Algorithms::CLERK, KeyNames::Required);
        assert_eq!(answer.err(), Some(BadKeySet::Malformed), "{shown}");
    }
    for (keys, skipped) in [
        (json!([]), vec![]),
        (
            json!([{"kty": "oct", "k": "AA"}, 5]),
            vec![(0, BadKey::Kind), (1, BadKey::Malformed("not an object"))],
        ),
        (json!([nested(200)]), vec![(0, BadKey::Malformed("no JSON that can be read in one way"))]),
    ] {
        let notes = KeySetNotes { skipped, ..KeySetNotes::default() };
        assert_eq!(set(&keys).err(), Some(BadKeySet::NoUsableKey(notes)), "{keys}");
    }
}

#[test]
fn a_hundred_keys_are_read_and_more_are_not() {
    let keys = |count: usize| {
        let named = |place: usize| with(rsa_jwk(), &json!({"kid": format!("k{place}")}));
        set(&(0..count).map(named).collect()).map(|(keys, _)| keys.len())
    };
    assert_eq!(keys(100), Ok(100));
    assert_eq!(keys(101), Err(BadKeySet::TooMany(101)));
}

#[test]
fn of_two_keys_with_one_name_the_last_counts() {
    let other = json!({"n": encode(&number(2048, 1))});
    for (keys, ours) in [
        (json!([with(rsa_jwk(), &other), rsa_jwk()]), true),
        (json!([rsa_jwk(), with(rsa_jwk(), &other)]), false),
        (json!([rsa_jwk(), with(rsa_jwk(), &json!({"use": "enc"}))]), true), // no key at all
    ] {
        let (keys, _) = set(&keys).unwrap();
        let [key] = keys.find(Some(&id("good"))) else { panic!("one key") };
        let signature = rsa_signature(&lib::RSA_PKCS1_SHA256, MESSAGE);
        assert_eq!(key.verify(Algorithm::Rs256, MESSAGE, &signature), ours);
    }
}

#[test]
fn a_key_is_found_by_its_name_alone() {
    let (named, _) = set(&json!([rsa_jwk()])).unwrap();
    let (n, e) = rsa_numbers(&RSA_PAIR);
    let fitting = [Algorithm::Rs256];
    let key = VerificationKey::new(None, Material::Rsa { n, e }, &fitting).unwrap();
    let unnamed = KeySet::unnamed(vec![key]);
    for (kid, in_named, in_unnamed) in
        [(Some("good"), 1, 1), (Some("Good"), 0, 1), (Some("goo"), 0, 1), (None, 0, 1)]
    {
        let kid = kid.map(id);
        assert_eq!(named.find(kid.as_ref()).len(), in_named, "{kid:?}");
        assert_eq!(unnamed.find(kid.as_ref()).len(), in_unnamed, "{kid:?}");
    }
}

#[test]
fn an_issuer_may_give_its_keys_no_names() {
    let nameless = |x: &str| with(okp_jwk(&decode_hex(x)), &json!({"kid": "-"}));
    let one = nameless("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let named = rsa_jwk();
    let keys = json!([one, named]).to_string();
    let text = format!(r#"{{"keys":{keys}}}"#);
    let parse = |names| KeySet::parse(text.as_bytes(), Algorithms::ALL, names).unwrap();
    for (names, len, skipped, of_named, of_other, of_none) in [
        (KeyNames::Required, 1, 1, 1, 0, 0),
        (KeyNames::Optional, 2, 0, 1, 0, 2),
        (KeyNames::Ignored, 2, 0, 1, 1, 1),
    ] {
        let (set, notes) = parse(names);
        assert_eq!((set.len(), notes.skipped.len()), (len, skipped), "{names:?}");
        let found = |kid: Option<&str>| set.find(kid.map(id).as_ref()).len();
        let found = (found(Some("good")), found(Some("other")), found(None));
        assert_eq!(found, (of_named, of_other, of_none), "{names:?}");
        assert!(set.iter().all(|key| set.holds(key)), "{names:?}");
    }
    let alone = format!(r#"{{"keys":[{one}]}}"#);
    assert!(KeySet::parse(alone.as_bytes(), Algorithms::ALL, KeyNames::Optional).is_ok());
    assert!(KeySet::parse(alone.as_bytes(), Algorithms::ALL, KeyNames::Required).is_err());
}

#[test]
fn the_key_of_a_token_is_guessed_among_eight_and_no_more() {
    let ed = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    for (count, guesses) in [(0, 1), (1, 2), (8, 9), (9, 1), (50, 1)] {
        let rsa = |place: usize| with(rsa_jwk(), &json!({"kid": format!("k{place}")}));
        let mut keys: Vec<_> = (0..count).map(rsa).collect();
        keys.push(with(okp_jwk(&decode_hex(ed)), &json!({"kid": "-"})));
        let text = json!({ "keys": keys }).to_string();
        let parsed = KeySet::parse(text.as_bytes(), Algorithms::ALL, KeyNames::Optional);
        assert_eq!(parsed.unwrap().0.find(None).len(), guesses, "{count}");
    }
}

#[test]
fn a_key_verifies_what_it_was_published_for_and_the_issuer_may_use() {
    for (alg, allowed, want) in [
        (json!("-"), Algorithms::CLERK, &["RS256", "RS384", "RS512"][..]),
        (json!("RS256"), Algorithms::CLERK, &["RS256"]),
        (json!("RS512"), Algorithms::CLERK, &["RS512"]),
        (json!("-"), Algorithms::ALL, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]),
        (json!("PS256"), Algorithms::ALL, &["PS256"]),
    ] {
        let jwk = with(rsa_jwk(), &json!({"alg": alg}));
        let (key, _) = VerificationKey::from_jwk(&object(&jwk), allowed).unwrap();
        assert_eq!(key.algorithms().collect::<Vec<_>>(), want, "{alg}");
        for algorithm in Algorithm::ALL {
            assert_eq!(key.is_for(algorithm), want.contains(&algorithm.as_str()), "{alg}");
        }
    }
}

#[test]
fn private_parts_are_noted_and_not_used() {
    let private = with(rsa_jwk(), &json!({"d": "AQ", "p": "AQ", "q": "AQ"}));
    let (keys, notes) = set(&json!([private, with(rsa_jwk(), &json!({"kid": "other"}))])).unwrap();
    assert_eq!((keys.len(), notes.private, notes.skipped), (2, vec![0], vec![]));
}

#[test]
fn a_renewed_set_keeps_the_keys_that_did_not_change() {
    let own = |members: Value| set(&json!([with(rsa_jwk(), &members)])).unwrap().0;
    let old = own(json!({"alg": "RS256"}));
    for (newer, same) in [
        (own(json!({"alg": "RS256"})), true),
        (own(json!({"alg": "RS256", "use": "sig"})), true),
        (own(json!({"alg": "RS512"})), false),
        (own(json!({"alg": "-"})), false),
        (own(json!({"alg": "RS256", "n": encode(&number(2048, 1))})), false),
        (own(json!({"alg": "RS256", "kid": "other"})), false),
    ] {
        let renewed = old.renewed(newer, |_| false);
        let old_key = old.iter().next().unwrap();
        assert_eq!(renewed.len(), 1);
        assert_eq!(renewed.holds(old_key), same, "{renewed:?}");
    }
    let renewed = old.renewed(own(json!({"kid": "other"})), |key| key.kid() == Some(&id("good")));
    assert_eq!(renewed.len(), 2);
}

#[test]
fn a_prepared_key_agrees_with_the_library() {
    let encodings: [(Algorithm, &'static dyn RsaEncoding); 6] = [
        (Algorithm::Rs256, &lib::RSA_PKCS1_SHA256),
        (Algorithm::Rs384, &lib::RSA_PKCS1_SHA384),
        (Algorithm::Rs512, &lib::RSA_PKCS1_SHA512),
        (Algorithm::Ps256, &lib::RSA_PSS_SHA256),
        (Algorithm::Ps384, &lib::RSA_PSS_SHA384),
        (Algorithm::Ps512, &lib::RSA_PSS_SHA512),
    ];
    let key = key(&rsa_jwk());
    for (made_for, encoding) in encodings {
        let signature = rsa_signature(encoding, MESSAGE);
        for (asked_for, _) in encodings {
            for (message, right) in [(MESSAGE, true), (b"header.payloae", false)] {
                let want = right && made_for == asked_for;
                let ours = key.verify(asked_for, message, &signature);
                let theirs = key.verify_by_reference(asked_for, message, &signature);
                assert_eq!((ours, theirs), (want, want), "{made_for:?} as {asked_for:?}");
            }
        }
    }
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        assert!(!key.verify(algorithm, MESSAGE, b""), "{algorithm:?}");
    }
}

/// RFC 7515 appendices A.2 and A.3, RFC 8037 appendix A.4.
#[test]
fn the_signatures_of_the_standards_verify() {
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for (algorithm, jwk, message, signature) in [
        (
            Algorithm::Rs256,
            json!({
                "kty": "RSA", "e": "AQAB",
                "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            }),
            format!("eyJhbGciOiJSUzI1NiJ9.{claims}"),
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            Algorithm::Es256,
            json!({
                "kty": "EC", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }),
            format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            Algorithm::EdDsa,
            json!({
                "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let (key, signature) = (key(&jwk), base64url::decode(signature).unwrap());
        assert!(key.verify(algorithm, message.as_bytes(), &signature), "{algorithm:?}");
        assert!(!key.verify(algorithm, b"another message", &signature), "{algorithm:?}");
    }
}

#[test]
fn a_curve_verifies_with_its_own_algorithm_only() {
    for (signing, curve, algorithm) in [
        (&lib::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", Algorithm::Es256),
        (&lib::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", Algorithm::Es384),
    ] {
        let pair = ec_pair(signing);
        let key = key(&ec_jwk(&pair, curve));
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
        for asked_for in Algorithm::ALL {
            let got = key.verify(asked_for, MESSAGE, &signature);
            assert_eq!(got, asked_for == algorithm, "{curve} as {asked_for:?}");
        }
        assert!(!key.verify(algorithm, b"another message", &signature));
    }
}

/// The order of P-256.
const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

#[test]
fn an_ecdsa_signature_that_nobody_made_is_refused() {
    let pair = ec_pair(&lib::ECDSA_P256_SHA256_FIXED_SIGNING);
    let key = key(&ec_jwk(&pair, "P-256"));
    let good = pair.sign(&SystemRandom::new(), MESSAGE).unwrap().as_ref().to_vec();
    assert!(key.verify(Algorithm::Es256, MESSAGE, &good));

    let (zero, one) = ("00".repeat(32), format!("{}01", "00".repeat(31)));
    let (order, most) = (N.to_owned(), "ff".repeat(32));
    let scalars = [&zero, &one, &order, &most];
    for (r, s) in scalars.iter().flat_map(|r| scalars.iter().map(move |s| (r, s))) {
        let signature = decode_hex(&format!("{r}{s}"));
        assert!(!key.verify(Algorithm::Es256, MESSAGE, &signature), "{r} {s}");
    }
    let (r, s) = good.split_at(32);
    let der = {
        let integer = |n: &[u8]| {
            let zero = if n[0] >= 0x80 { &[0][..] } else { &[] };
            let length = u8::try_from(zero.len() + n.len()).unwrap();
            [&[2, length], zero, n].concat()
        };
        let both = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(both.len()).unwrap()][..], &both].concat()
    };
    for (what, signature) in [
        ("nothing", vec![]),
        ("a byte short", good[..63].to_vec()),
        ("a byte long", [&good[..], &[0]].concat()),
        ("a zero before each", [&[0], r, &[0], s].concat()),
        ("the other way round", [s, r].concat()),
        ("in DER", der),
    ] {
        assert!(!key.verify(Algorithm::Es256, MESSAGE, &signature), "{what}");
    }
}

#[test]
fn an_rsa_signature_has_one_form() {
    let key = key(&rsa_jwk());
    let (n, _) = rsa_numbers(&RSA_PAIR);
    let good = rsa_signature(&lib::RSA_PKCS1_SHA256, MESSAGE);
    assert!(key.verify(Algorithm::Rs256, MESSAGE, &good));
    for (what, signature) in [
        ("nothing", vec![]),
        ("a byte short", good[..255].to_vec()),
        ("without its first byte", good[1..].to_vec()),
        ("a zero before", [&[0], &good[..]].concat()),
        ("a zero after", [&good[..], &[0]].concat()),
        ("and n", sum(&good, &n)),
        ("n", n.clone()),
        ("zeros", vec![0; 256]),
        ("one", [vec![0; 255], vec![1]].concat()),
        ("ones", vec![0xff; 256]),
    ] {
        assert!(!key.verify(Algorithm::Rs256, MESSAGE, &signature), "{what}");
    }
    // A signature of 256 bytes over n is one only for some messages.
    let over_n = (0_u32..).map(|count| {
        let message = count.to_string();
        let signature = sum(&rsa_signature(&lib::RSA_PKCS1_SHA256, message.as_bytes()), &n);
        (message, signature)
    });
    let (message, signature) =
        over_n.take(500).find(|(_, signature)| signature.len() == 256).unwrap_or_default();
    assert!(!key.verify(Algorithm::Rs256, message.as_bytes(), &signature));
}

/// Adds two big-endian numbers of one length.
fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let digit = u16::from(*a) + u16::from(*b) + carry;
            carry = digit >> 8;
            (digit & 0xff) as u8
        })
        .collect();
    sum.extend((carry > 0).then_some(1));
    sum.reverse();
    sum
}

/// Blocks that lax readers of PKCS #1 take for good, and salts of another length than the digest's.
#[test]
fn an_rsa_signature_with_lax_padding_is_refused() {
    let file = include_str!("../../tests/fixtures/keys/test-rsa-signatures.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let key = key(&json!({"kty": "RSA", "n": file["n"], "e": file["e"]}));
    let message = file["message"].as_str().unwrap();
    for case in file["signatures"].as_array().unwrap() {
        let algorithm = Algorithm::parse(case["alg"].as_str().unwrap()).unwrap();
        let signature = base64url::decode(case["signature"].as_str().unwrap()).unwrap();
        let good = case["good"].as_bool().unwrap();
        assert_eq!(key.verify(algorithm, message.as_bytes(), &signature), good, "{}", case["name"]);
    }
}

/// The order of the base point of Ed25519, little endian (RFC 8032 §5.1).
const L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[test]
fn an_edwards_signature_has_one_form() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = key(&okp_jwk(pair.public_key().as_ref()));
    let good = pair.sign(MESSAGE).as_ref().to_vec();
    assert!(key.verify(Algorithm::EdDsa, MESSAGE, &good));
    let (r, s) = good.split_at(32);
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
    let s_and_l = reversed(&sum(&reversed(s), &reversed(&decode_hex(L))));
    let neutral = [vec![1], vec![0; 31]].concat();
    for (what, signature) in [
        ("nothing", vec![]),
        ("a byte short", good[..63].to_vec()),
        ("a byte long", [&good[..], &[0]].concat()),
        ("S and the order", [r, &s_and_l].concat()),
        ("zeros", vec![0; 64]),
        ("R neutral, S zero", [&neutral[..], &[0; 32]].concat()),
    ] {
        assert!(!key.verify(Algorithm::EdDsa, MESSAGE, &signature), "{what}");
    }
}

const SPKI: &str = include_str!("../../tests/fixtures/keys/test-rsa-2048-spki.pem");
const PKCS1: &str = include_str!("../../tests/fixtures/keys/test-rsa-2048-pkcs1.pem");
const SHORT: &str = include_str!("../../tests/fixtures/keys/test-rsa-1024-spki.pem");

#[test]
fn a_pem_is_read_however_it_came_through_an_environment() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let bare = |pem: &str| pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let framed = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    };
    let private = RSA_PAIR.as_der().unwrap();
    let private: &[u8] = private.as_ref();
    let ec = ec_pair(&lib::ECDSA_P256_SHA256_FIXED_SIGNING);
    let ec = ec.public_key().as_der().unwrap();
    let malformed = || Err(BadKey::Pem);
    for (what, text, want) in [
        ("SubjectPublicKeyInfo", SPKI.to_owned(), Ok(1)),
        ("PKCS #1", PKCS1.to_owned(), Ok(1)),
        ("several", format!("{SPKI}{PKCS1}\n{SPKI}"), Ok(3)),
        ("several on a line", format!("{SPKI}{PKCS1}").replace('\n', " "), Ok(2)),
        ("CRLF", SPKI.replace('\n', "\r\n"), Ok(1)),
        ("line breaks written out", SPKI.replace('\n', "\\n"), Ok(1)),
        ("CRLF written out", SPKI.replace('\n', "\\r\\n"), Ok(1)),
        ("spaces for line breaks", SPKI.replace('\n', " "), Ok(1)),
        ("no line breaks", SPKI.replace('\n', ""), Ok(1)),
        ("text around", format!("# ours\n{SPKI}# end\n"), Ok(1)),
        ("white space around", format!("  \n{SPKI}\n  "), Ok(1)),
        ("no frame", bare(SPKI), Ok(1)),
        ("PKCS #1 without a frame", bare(PKCS1), Ok(1)),
        ("base64 of PEM", STANDARD.encode(SPKI), Ok(1)),
        ("base64 of several", STANDARD.encode(format!("{SPKI}{PKCS1}")), Ok(2)),
        ("1024 bits", SHORT.to_owned(), Err(BadKey::WeakRsa)),
        ("1024 bits among others", format!("{SPKI}{SHORT}"), Err(BadKey::WeakRsa)),
        ("nothing", String::new(), malformed()),
        ("white space", " \n ".to_owned(), malformed()),
        ("junk", "garbage".to_owned(), malformed()),
        ("junk in base64", STANDARD.encode("garbage"), malformed()),
        ("junk in a frame", framed("PUBLIC KEY", b"garbage"), malformed()),
        ("an empty frame", framed("PUBLIC KEY", b""), malformed()),
        ("half a frame", SPKI.replace("-----END PUBLIC KEY-----", ""), malformed()),
        ("two labels", SPKI.replace("END PUBLIC", "END RSA PUBLIC"), malformed()),
        ("a byte more", bare(SPKI) + "AAAA", malformed()),
        (
            "a byte less",
            STANDARD_NO_PAD.encode(&STANDARD.decode(bare(SPKI)).unwrap()[..293]),
            malformed(),
        ),
        ("junk after a key", format!("{SPKI}-----BEGIN PUBLIC KEY-----"), malformed()),
        ("a private key", framed("PRIVATE KEY", private), malformed()),
        ("a private key under another label", framed("PUBLIC KEY", private), malformed()),
        ("a private key without a frame", STANDARD.encode(private), malformed()),
        (
            "a private key beside its public one",
            format!("{SPKI}{}", framed("PRIVATE KEY", private)),
            malformed(),
        ),
        ("a certificate", framed("CERTIFICATE", b"0"), malformed()),
        ("a key of a curve", framed("PUBLIC KEY", ec.as_ref()), malformed()),
    ] {
        let keys = VerificationKey::all_from_pem(&text, Algorithms::CLERK);
        assert_eq!(keys.map(|keys| keys.len()), want, "{what}");
    }
}

#[test]
fn a_key_from_pem_verifies_as_the_same_key_from_a_set() {
    let file = include_str!("../../tests/fixtures/keys/test-rsa-signatures.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let jwk = key(&json!({"kty": "RSA", "n": file["n"], "e": file["e"]}));
    for pem in [SPKI, PKCS1] {
        let keys = VerificationKey::all_from_pem(pem, Algorithms::ALL).unwrap();
        assert!(keys[0].is_same(&jwk));
        assert_eq!(keys[0].kid(), None);
    }
}
