//! A key set: which keys are believed, and under which name.
//!
//! The first line says what names are (`optional`, else required) and what may be signed with
//! (`all`, else what Clerk does); the rest is the set.

#![no_main]

use std::sync::Arc;

use countersign::core::jwk::{Algorithms, KeyId, VerificationKey};
use countersign::core::jwk_set::{KeyNames, KeySet};
use countersign_fuzz::{base64url, first_line, json};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let (words, set) = first_line(data);
    let has = |word: &str| words.split(|byte| *byte == b' ').any(|own| own == word.as_bytes());
    let names = if has("optional") { KeyNames::Optional } else { KeyNames::Required };
    let allowed = if has("all") { Algorithms::ALL } else { Algorithms::CLERK };
    if json::is_of_the_library(set) {
        return;
    }
    let got = KeySet::parse(set, allowed, names);
    let written = keys(set);
    assert!(got.is_err() || written.is_some(), "a set out of what is none");
    let (Ok((got, notes)), Some(written)) = (got, written) else { return };

    let usable: Vec<Usable> = written
        .iter()
        .enumerate()
        .filter_map(|(place, key)| usable(place, key, has("all")))
        .collect();
    for key in got.iter() {
        stands_in_the_set(key, &usable, &got, names);
    }
    let skipped = |place: usize| notes.skipped.iter().any(|(own, _)| *own == place);
    for (place, key) in written.iter().enumerate().filter(|(place, _)| !skipped(*place)) {
        assert!(usable.iter().any(|own| own.place == place), "{key} is used");
    }
    no_name_stands_for_two(&got, &written, &skipped, (names, allowed));
    renewal_keeps_what_is_the_same(set, got, allowed, names);
});

/// A key as it is written that may be used, as far as can be said without arithmetic on curves.
struct Usable {
    place: usize,
    kid: Option<String>,
    algorithms: Vec<&'static str>,
}

/// The keys of a set (RFC 7517 §5) as they are written, each for itself.
fn keys(set: &[u8]) -> Option<Vec<String>> {
    #[derive(Default)]
    struct Set(Vec<String>);
    // The set may hold keys that can be read in two ways: those are skipped, and no other.
    let members: Map<String, Value> = serde_json::from_slice(set).ok()?;
    members.get("keys")?.as_array()?;
    let members: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_slice(set).ok()?;
    let keys: Vec<&RawValue> = serde_json::from_str(members.get("keys")?.get()).ok()?;
    Some(Set(keys.iter().map(|key| key.get().to_owned()).collect()).0)
}

fn usable(place: usize, key: &str, all: bool) -> Option<Usable> {
    let jwk = json::object(key.as_bytes())?;
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let kid = jwk.get("kid").map(|kid| kid.as_str().unwrap_or_default().to_owned());
    let is_name = |kid: &String| {
        (1..=128).contains(&kid.len()) && kid.bytes().all(|it| (0x21..=0x7e).contains(&it))
    };
    let named = kid.as_ref().is_none_or(is_name);
    let used = jwk.get("use").is_none_or(|it| it == "sig");
    let verifies = jwk
        .get("key_ops")
        .is_none_or(|it| it.as_array().is_some_and(|ops| ops.contains(&"verify".into())));
    let fitting: &[&'static str] = match (text("kty")?, text("crv")) {
        ("RSA", _) if is_strong(&jwk) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        ("EC", Some("P-256")) if wide(&jwk, "x", 32) && wide(&jwk, "y", 32) => &["ES256"],
        ("EC", Some("P-384")) if wide(&jwk, "x", 48) && wide(&jwk, "y", 48) => &["ES384"],
        ("OKP", Some("Ed25519")) if wide(&jwk, "x", 32) => &["EdDSA"],
        _ => return None,
    };
    let clerks = |own: &&&str| all || own.starts_with("RS");
    let own = |own: &&&str| jwk.get("alg").is_none_or(|alg| alg == **own);
    let algorithms: Vec<_> = fitting.iter().filter(clerks).filter(own).copied().collect();
    let good = named && used && verifies && !algorithms.is_empty();
    good.then_some(Usable { place, kid, algorithms })
}

fn octets(jwk: &Map<String, Value>, name: &str) -> Vec<u8> {
    let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    base64url::decode(text.trim_end_matches('=')).unwrap_or_default()
}

fn wide(jwk: &Map<String, Value>, name: &str, width: usize) -> bool {
    octets(jwk, name).len() == width
}

/// RSA: 2048 to 8192 bits and odd; an exponent that is odd and at least 3.
fn is_strong(jwk: &Map<String, Value>) -> bool {
    let bits = |name: &str| -> Vec<u8> {
        let bits =
            octets(jwk, name).into_iter().flat_map(|it| (0..8).rev().map(move |bit| it >> bit & 1));
        bits.skip_while(|bit| *bit == 0).collect()
    };
    let (n, e) = (bits("n"), bits("e"));
    (2048..=8192).contains(&n.len()) && n.ends_with(&[1]) && e.ends_with(&[1]) && e.len() > 1
}

/// A key that is believed is written, under its name and for no other algorithms.
fn stands_in_the_set(key: &Arc<VerificationKey>, usable: &[Usable], set: &KeySet, names: KeyNames) {
    let kid = key.kid().map(KeyId::as_str);
    let algorithms: Vec<_> = key.algorithms().collect();
    let is_it = |own: &Usable| own.kid.as_deref() == kid && own.algorithms == algorithms;
    assert!(usable.iter().any(is_it), "{kid:?} for {algorithms:?}");
    assert!(kid.is_some() || names == KeyNames::Optional, "a key without a name");
    match key.kid() {
        Some(name) => {
            let [found] = set.find(Some(name)) else { panic!("{kid:?} is there once") };
            assert!(Arc::ptr_eq(found, key) && set.holds(key));
        }
        None => assert!(set.holds(key)),
    }
    let unknown = KeyId::parse("no-such-key").expect("a name");
    assert!(
        kid == Some("no-such-key")
            || !set.find(Some(&unknown)).iter().any(|it| Arc::ptr_eq(it, key))
    );
    assert!(names == KeyNames::Optional || set.find(None).is_empty(), "a guess");
}

/// Of several keys with one name the last that can be used is believed, and no other.
fn no_name_stands_for_two(
    got: &KeySet,
    written: &[String],
    skipped: &dyn Fn(usize) -> bool,
    (names, allowed): (KeyNames, Algorithms),
) {
    for key in got.iter().filter(|key| key.kid().is_some()) {
        let kid = key.kid().map(KeyId::as_str);
        assert_eq!(got.iter().filter(|own| own.kid() == key.kid()).count(), 1, "{kid:?} twice");
        let named = |text: &str| {
            json::object(text.as_bytes())
                .is_some_and(|it| it.get("kid").and_then(Value::as_str) == kid)
        };
        let last =
            (0..written.len()).rev().find(|place| named(&written[*place]) && !skipped(*place));
        let alone = format!(r#"{{"keys":[{}]}}"#, written[last.expect("it is written")]);
        let (alone, _) = KeySet::parse(alone.as_bytes(), allowed, names).expect("it could be used");
        let renewed = got.renewed(alone, |_| false);
        assert!(renewed.holds(key), "{kid:?} is not the last of its name");
    }
}

/// The same set once more changes nothing, and a key that is not in the newer one goes.
fn renewal_keeps_what_is_the_same(set: &[u8], got: KeySet, allowed: Algorithms, names: KeyNames) {
    let (newer, _) = KeySet::parse(set, allowed, names).expect("it was one");
    let renewed = got.renewed(newer, |_| true);
    assert_eq!(renewed.len(), got.len());
    assert!(got.iter().filter(|key| key.kid().is_some()).all(|key| renewed.holds(key)));
    assert!(got.renewed(KeySet::default(), |_| false).is_empty());
}
