//! Clerk's own verdicts on requests with a bearer token, held against the whole proxy's.
//!
//! Families A and N of `request.jsonl`: what Clerk's library said to exactly that request at that
//! moment. Ours is the same, or stands in [`DEVIATIONS`] with its reason.

use std::io::Write;

use std::path::PathBuf;

use countersign::clock::Clock;
use countersign::core::claims::AzpPolicy;
use countersign::core::clerk::publishable_key::PublishableKey;
use countersign::core::time::UnixTime;
use countersign::keys::KeySource;
use http::Method;
use serde_json::Value;

use crate::support::settings::{session_claims, settings_for};
use crate::support::upstream::Seen;
use crate::support::{Proxy, Upstream};

/// Cases in which our verdict is another, ours, and why.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("A-lower", "signed-in", "the scheme's case is free (RFC 9110 §11.1)"),
    (
        "A-bare",
        "signed-out session-token-and-uat-missing",
        "a token without a scheme is no bearer token (RFC 6750 §2.1)",
    ),
    ("A-wrong-iss-same-key", "signed-out token-invalid-issuer", "`iss` must be the instance's"),
    (
        "A-nosid",
        "signed-out token-type-mismatch",
        "a session token names its session; ID tokens and templates of the same key do not",
    ),
    (
        "A-header-null",
        "signed-out token-invalid",
        "Clerk's library fails on its own; ours reads it",
    ),
    (
        "A-jwks-down",
        "unavailable keys-unavailable",
        "nothing is wrong with the token, so it is not a 401",
    ),
    ("N-pending-keep", "signed-out session-pending", "a pending session is no signed-in one"),
    (
        "N-v2-bad-fea-throws",
        "signed-in",
        "a feature without a scope grants nothing; Clerk's library fails on it",
    ),
];

/// Cases that ask for something no bearer token decides, and what that is.
const NOT_APPLICABLE: &[(&str, &str)] = &[
    ("A-basic+cookies", "a cookie decides"),
    ("A-nbf-bearer-doc", "a handshake follows"),
    ("A-secret-invalid", "no secret key is asked to fetch keys"),
    ("A-nopk", "refused when settings are read"),
    ("A-badpk", "refused when settings are read"),
];

#[tokio::test(flavor = "local")]
async fn requests_with_a_bearer_token_end_as_clerk_ends_them() {
    let (mut equal, mut wrong) = (0, Vec::new());
    let (mut deviated, mut skipped) = (Vec::new(), Vec::new());
    for line in include_str!("../fixtures/corpus/request.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (case, clerk) = (&line["case"], &line["clerk"]);
        let id = case["id"].as_str().unwrap();
        if !id.starts_with("A-") && !id.starts_with("N-") {
            continue;
        }
        if NOT_APPLICABLE.iter().any(|(other, _)| *other == id) {
            skipped.push(id.to_owned());
            continue;
        }
        let (verdict, identity) = ours(case).await;
        let same_identity = identity.as_ref().is_none_or(|seen| told(seen) == of(&clerk["auth"]));
        if verdict == clerks(clerk) && same_identity {
            equal += 1;
            continue;
        }
        match DEVIATIONS.iter().find(|(other, ..)| *other == id) {
            Some((_, want, _)) if *want == verdict => deviated.push(id.to_owned()),
            _ => wrong.push(format!(
                "{id}: ours {verdict} {:?}, Clerk's {} {:?}",
                identity.as_ref().map(told),
                clerks(clerk),
                of(&clerk["auth"]),
            )),
        }
    }
    // Past the capture of the test harness, so that `cargo test` shows it.
    let _ = writeln!(
        std::io::stdout(),
        "bearer requests: {equal} equal, {} deviating, {} not applicable",
        deviated.len(),
        skipped.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let rows: Vec<_> = DEVIATIONS.iter().map(|(id, ..)| id.to_owned()).collect();
    assert_eq!(deviated, rows, "each row of the table deviates, in the order of the corpus");
    let rows: Vec<_> = NOT_APPLICABLE.iter().map(|(id, _)| id.to_owned()).collect();
    assert_eq!(skipped, rows, "each row is a case, in the order of the corpus");
}

/// Clerk's verdict, in the words the proxy has for it.
fn clerks(clerk: &Value) -> String {
    let reason = clerk["reason"].as_str().unwrap_or_default();
    let reason = match reason.starts_with("session-token-expired-refresh-") {
        true => "session-token-expired",
        false => reason,
    };
    format!("{} {reason}", clerk["status"].as_str().unwrap()).trim_end().to_owned()
}

/// What becomes of the case's request, and what the backend saw of it.
async fn ours(case: &Value) -> (String, Option<Seen>) {
    let options = &case["options"];
    let key = PublishableKey::parse(options["publishableKey"].as_str().unwrap()).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_for(&key.frontend_api(), &upstream.address);
    settings.issuers[0].keys.source = KeySource::File(key_file(case));
    let claims = session_claims(&mut settings);
    claims.parties = match options["authorizedParties"].as_array() {
        Some(parties) => parties.iter().map(|party| party.as_str().unwrap().to_owned()).collect(),
        None => Vec::new(),
    };
    claims.azp = if claims.parties.is_empty() { AzpPolicy::Off } else { AzpPolicy::Enforce };
    let now = UnixTime::from_secs(case["now"].as_i64().unwrap());
    let proxy = Proxy::start_at(settings, Clock::fixed(now)).await;

    let url: http::Uri = case["url"].as_str().unwrap().parse().unwrap();
    let mut client = proxy.client().header("host", url.authority().unwrap().as_str());
    for (name, value) in case["headers"].as_object().unwrap() {
        client = client.header(name, value.as_str().unwrap());
    }
    let method: Method = case["method"].as_str().unwrap_or("GET").parse().unwrap();
    let answer = client.send(method, url.path_and_query().unwrap().as_str(), "").await;

    match answer.status {
        200 => ("signed-in".to_owned(), Some(upstream.last())),
        401 => {
            assert!(upstream.seen().is_empty());
            assert_eq!(answer.header("x-clerk-auth-status"), Some("signed-out"));
            (format!("signed-out {}", answer.header("x-clerk-auth-reason").unwrap()), None)
        }
        503 => (format!("unavailable {}", answer.reason()), None),
        status => (format!("{status} {}", answer.reason()), None),
    }
}

/// A file with the keys that the case's issuer serves; one that is not there where it serves none.
fn key_file(case: &Value) -> PathBuf {
    let name = format!("{}.jwks.json", case["id"].as_str().unwrap());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if case["bapi"]["GET /v1/jwks"].is_null() {
        std::fs::write(&path, case["jwks"].to_string()).unwrap();
    }
    path
}

/// The identity headers, with the names that Clerk's `auth` has.
fn told(seen: &Seen) -> Vec<(&'static str, String)> {
    IDENTITY.iter().map(|(name, header)| (*name, seen.header(header).unwrap().to_owned())).collect()
}

/// Clerk's `auth`, as headers would tell it.
fn of(auth: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| match value {
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(", ")
        }
        Value::Object(actor) => actor["sub"].as_str().unwrap().to_owned(),
        value => value.as_str().unwrap_or_default().to_owned(),
    };
    IDENTITY.iter().map(|(name, _)| (*name, text(&auth[name]))).collect()
}

const IDENTITY: [(&str, &str); 8] = [
    ("tokenType", "x-clerk-token-type"),
    ("userId", "x-clerk-user-id"),
    ("sessionId", "x-clerk-session-id"),
    ("orgId", "x-clerk-org-id"),
    ("orgSlug", "x-clerk-org-slug"),
    ("orgRole", "x-clerk-org-role"),
    ("orgPermissions", "x-clerk-org-permissions"),
    ("actor", "x-clerk-actor-id"),
];
