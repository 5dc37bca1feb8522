//! What a handshake brings: cookies of Clerk's and nothing else, and the session token among them
//! that the browser will show.
//!
//! An input is the payload of a handshake: a JSON object with the list `handshake`.

#![no_main]

use std::sync::{Arc, LazyLock};

use countersign::core::clerk::directives::Directives;
use countersign::core::issuer::TokenClass;
use countersign::core::json as ours;
use countersign::core::jwk::{Algorithms, VerificationKey};
use countersign::core::jws::VerifiedToken;
use countersign_fuzz::json;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    if json::is_of_the_library(data) {
        return;
    }
    let answer = Directives::of_answer(data, "handshake");
    let payload = json::object(data);
    assert_eq!(answer.is_some(), payload.is_some());
    let (Some(got), Some(payload)) = (answer, payload) else { return };

    let texts = match payload.get("handshake") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let want: Vec<&str> = texts.into_iter().filter(|text| is_clerks_cookie(text)).collect();
    let lines: Vec<&[u8]> = got.lines().iter().map(|line| line.as_bytes()).collect();
    let bytes: Vec<&[u8]> = want.iter().map(|text| text.as_bytes()).collect();
    assert_eq!(lines, bytes, "{want:?}");
    assert!(got.lines().iter().all(|line| line.is_sensitive()));
    assert_eq!(format!("{got:?}"), format!("Directives({})", want.len()));
    assert_eq!(got.session_token(), session(&want), "{want:?}");
    assert_eq!(Directives::of_handshake(&verified(data)), got);
});

/// A line of `Set-Cookie` as a browser takes it apart (RFC 6265 §5.2): name and value.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split(';').next()?.split_once('=')?;
    let blank = [' ', '\t'];
    Some((name.trim_matches(blank), value.trim_matches(blank)))
}

fn is_clerks_cookie(line: &str) -> bool {
    let one_line = line.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte));
    let named = |own: &str, base: &str| own == base || own.starts_with(&format!("{base}_"));
    let is_clerks = |own: &str| {
        ["__session", "__refresh", "__client_uat"].iter().any(|base| named(own, base))
            || own.starts_with("__clerk_")
    };
    one_line && pair(line).is_some_and(|(name, _)| is_clerks(name))
}

/// The session token that a browser has after these lines: of the last that sets one, or none.
fn session<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let sessions = lines.iter().filter_map(|line| pair(line));
    let mut sessions =
        sessions.filter(|(name, _)| *name == "__session" || name.starts_with("__session_"));
    sessions.next_back().map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// The same payload in a token, signed.
fn verified(payload: &[u8]) -> VerifiedToken {
    VerifiedToken {
        class: TokenClass::SessionToken,
        claims: ours::parse_object(payload).expect("it was one"),
        payload: "".into(),
        key: Arc::clone(&KEY),
    }
}

static KEY: LazyLock<Arc<VerificationKey>> = LazyLock::new(|| {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let jwk = ours::parse_object(jwk).expect("an object");
    let (key, _) =
        VerificationKey::from_jwk(&jwk, Algorithms::ALL).expect("the key of RFC 8037 §A.2");
    Arc::new(key)
});
