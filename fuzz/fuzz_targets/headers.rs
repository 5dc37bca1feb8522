//! Headers: nothing that a backend could take for ours comes through, in any spelling.
//!
//! The first line may say `strip` (credentials go too); the rest is headers, `name: value`.

#![no_main]

use countersign::core::access::{Access, Rule};
use countersign::core::header::{Credentials, FOREIGN_IDENTITY, StripPolicy};
use countersign::core::header::{check_framing, strip_response};
use countersign::core::header_name::NamePattern;
use countersign::core::identity::{Identity, IdentityPolicy};
use countersign::core::sign::{RequestLine, Signer, Stamped};
use countersign::core::time::UnixTime;
use countersign_fuzz::{first_line, way, without_way};
use http::{HeaderMap, HeaderName, Method};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

const OURS: [&str; 2] = ["x-clerk-email", "x-tenant"];

fuzz_target!(|data: &[u8]| {
    let (word, lines) = first_line(data);
    let credentials = if word == b"strip" { Credentials::Strip } else { Credentials::Forward };
    let policy = policy(credentials);
    let client = countersign_fuzz::headers(lines);

    let sent = forwarded(&policy, client.clone());
    for name in sent.keys() {
        assert!(!is_to_go(name.as_str(), &client), "{name} comes through");
    }
    for (name, value) in &client {
        let kept = sent.get_all(name).iter().any(|own| own == value);
        assert!(kept || may_go(name.as_str(), &client, credentials), "{name} is missing");
    }
    let again = forwarded(&policy, sent.clone());
    assert_eq!(again, sent, "a second proxy takes nothing off that this one left");

    let mut trailers = client.clone();
    policy.strip_trailers(&mut trailers);
    for name in trailers.keys() {
        assert!(!is_forged(name.as_str()) && !is_alias(name.as_str()), "{name} is a trailer");
    }
    let mut answer = client.clone();
    let ours = OURS.map(HeaderName::from_static);
    strip_response(&mut answer, &ours.iter().collect());
    for name in answer.keys() {
        assert!(!OURS.contains(&&*folded(name.as_str())), "{name} goes back");
    }
    let codings: Vec<_> = client
        .get_all("transfer-encoding")
        .iter()
        .map(|it| it.as_bytes().to_ascii_lowercase())
        .collect();
    // As whoever counts would write it.
    let counted = |length: &[u8]| {
        let count = std::str::from_utf8(length).ok()?.parse::<u64>().ok()?;
        (count.to_string().as_bytes() == length).then_some(count)
    };
    let lengths: Vec<_> =
        client.get_all("content-length").iter().map(|it| counted(it.as_bytes())).collect();
    let length = match lengths[..] {
        [] => Some(None),
        [length @ Some(_), ref more @ ..] if more.iter().all(|it| *it == length) => Some(length),
        _ => None,
    };
    let is_one = codings.is_empty() || codings == [b"chunked"];
    let length = length.filter(|_| is_one).map(|said| said.filter(|_| codings.is_empty()));
    assert_eq!(check_framing(&client).ok(), length);
});

fn policy(credentials: Credentials) -> StripPolicy {
    StripPolicy {
        prefix: "x-clerk-".to_owned(),
        ours: OURS.iter().map(|name| HeaderName::from_static(name)).collect(),
        foreign: FOREIGN_IDENTITY
            .iter()
            .map(|it| NamePattern::parse(it).expect("a pattern"))
            .collect(),
        credentials,
    }
}

/// What is left of a request's headers, where nothing is added.
fn forwarded(policy: &StripPolicy, headers: HeaderMap) -> HeaderMap {
    let nobody = Arc::new(Identity::default());
    let permit = Rule::from(Access::Public).permit(Ok(None), &nobody).expect("it is public");
    let signer = Signer::new(&IdentityPolicy::new(Vec::new()), None, None);
    let line = RequestLine { method: &Method::GET, authority: "app.test", path: "/", query: None };
    let signer = Stamped::new(Arc::new(signer), UnixTime::from_secs(0));
    let head = policy.strip(headers).0;
    without_way(signer.sign(&head, &way(), &permit, line).into_headers())
}

/// A name as CGI and its kin have it: letters and digits, and one character for all others.
fn folded(name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect()
}

/// What a client could forge: ours, and other products'.
fn is_forged(name: &str) -> bool {
    let name = folded(name);
    let foreign = FOREIGN_IDENTITY.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    });
    let told = name.starts_with("x-forwarded-")
        || ["forwarded", "path-info", "script-name"].contains(&&*name);
    name.starts_with("x-clerk-") || OURS.contains(&&*name) || foreign || told
}

/// Another spelling of a header that we set ourselves or that frames the request.
fn is_alias(name: &str) -> bool {
    let set = [
        "content-length",
        "host",
        "signature",
        "signature-input",
        "transfer-encoding",
        "x-request-id",
    ];
    folded(name) != name && set.contains(&&*folded(name))
}

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

fn is_named_by_connection(name: &str, client: &HeaderMap) -> bool {
    let values = client
        .get_all("connection")
        .iter()
        .map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
    values
        .flat_map(|it| it.split(',').map(|it| it.trim().to_owned()).collect::<Vec<_>>())
        .any(|it| it.eq_ignore_ascii_case(name))
}

fn is_to_go(name: &str, client: &HeaderMap) -> bool {
    let hop = HOP_BY_HOP.contains(&name) || is_named_by_connection(name, client);
    let hop = hop && name != "te"; // which may stay, saying no more than `trailers`
    is_forged(name) || is_alias(name) || hop
}

/// What may be missing: what has to go, and what is mended.
fn may_go(name: &str, client: &HeaderMap, credentials: Credentials) -> bool {
    let mended =
        ["expect", "host", "te", "signature", "signature-input", "x-request-id"].contains(&name);
    let credential =
        credentials == Credentials::Strip && ["authorization", "cookie"].contains(&name);
    is_to_go(name, client) || mended || credential
}
