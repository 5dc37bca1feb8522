//! A token in compact form: taken apart as RFC 7515 has it, or not at all.
//!
//! An input is a token; what stands between `<` and `>` in it is written out in base64url.

#![no_main]

use countersign::core::credential::BearerToken;
use countersign::core::jws::UnverifiedToken;
use countersign_fuzz::{base64url, json, token};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let text = token::written_out(text);
    if !is_ours_to_compare(&text) {
        return;
    }
    let got = UnverifiedToken::parse(BearerToken::of(&text)).ok();
    let want = taken_apart(&text);

    assert_eq!(got.is_some(), want.is_some(), "{text}: {want:?}");
    let (Some(got), Some((header, claims))) = (got, want) else { return };
    for (got, want) in [(got.header(), &header), (got.claims(), &claims)] {
        let (got, want) = (Value::from(got), Value::from(want.clone()));
        assert!(json::same(&got, &want), "{got} is not {want}");
    }
    assert_eq!(got.issuer(), claims.get("iss").and_then(Value::as_str));
    let kid = header.get("kid").and_then(Value::as_str).filter(|kid| is_key_name(kid));
    assert_eq!(got.kid().as_ref().map(|kid| kid.as_str()), kid);
});

/// `BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)` (RFC 7515 §7.1), padding
/// left aside as Clerk does, and no `crit`.
fn taken_apart(text: &str) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = &*parts else { return None };
    let decoded = |part: &str| base64url::decode(part.trim_end_matches('='));
    decoded(signature)?;
    let (header, claims) = (json::object(&decoded(header)?)?, json::object(&decoded(payload)?)?);
    (!header.contains_key("crit")).then_some((header, claims))
}

fn is_key_name(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

fn is_ours_to_compare(text: &str) -> bool {
    let mut parts = text.split('.').filter_map(|it| base64url::decode(it.trim_end_matches('=')));
    parts.all(|part| !json::is_of_the_library(&part))
}
