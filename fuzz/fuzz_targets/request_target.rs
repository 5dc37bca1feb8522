//! The target of a request: one canonical form, which is what is matched and what is forwarded.
//!
//! The first line has the method, the scheme and what `paths.allow` names; the second the target,
//! and each further one is a `Host`.

#![no_main]

use countersign::core::access::{Access, Rule};
use countersign::core::origin::Scheme;
use countersign::core::path::{CanonicalPath, PathPolicy};
use countersign::core::route::{Case, PathPattern, Route, Routes};
use countersign::core::target::Target;
use countersign_fuzz::{first_line, values};
use http::header::HOST;
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (words, rest) = first_line(data);
    let (target, hosts) = first_line(rest);
    let words = String::from_utf8_lossy(words);
    let policy = policy(&words);
    let mut words = words.split(' ');
    let Ok(method) = words.next().unwrap_or_default().parse::<Method>() else { return };
    let scheme = words.next().and_then(Scheme::parse).unwrap_or(Scheme::Http);

    if let Ok(text) = str::from_utf8(target) {
        path_is_canonical(text, policy);
    }
    let Ok(uri) = Uri::try_from(target) else { return };
    let headers = values(&HOST, hosts);
    let hosts: Vec<&[u8]> = headers.values().map(|host| host.as_bytes()).collect();
    let got = Target::read(&method, &uri, &headers, scheme, policy);
    let want = read(&method, &uri, &hosts, scheme, policy);
    let shown = |it: &Target<'_>| (it.authority.as_str().to_owned(), it.uri.to_string());
    assert_eq!(got.as_ref().map(shown).ok(), want, "{got:?}");
    if let Ok(got) = got {
        what_was_matched_is_forwarded(&got, policy);
    }
});

fn policy(words: &str) -> PathPolicy {
    let allows = |word: &str| words.split(' ').any(|own| own == word);
    PathPolicy {
        encoded_slash: allows("encoded-slash"),
        encoded_backslash: allows("encoded-backslash"),
        encoded_dot: allows("encoded-dot"),
        encoded_percent: allows("encoded-percent"),
        double_slash: allows("double-slash"),
        semicolon: allows("semicolon"),
        backslash: allows("backslash"),
    }
}

/// A path comes out as the slow reading has it, and a second time as it came out.
fn path_is_canonical(text: &str, policy: PathPolicy) {
    let got = CanonicalPath::parse(text, policy).map(CanonicalPath::into_owned).ok();
    assert_eq!(got, canonical(text, policy), "{text:?}");
    if let Some(path) = got {
        let again = CanonicalPath::parse(&path, policy).map(CanonicalPath::into_owned).ok();
        assert_eq!(again.as_ref(), Some(&path), "{text:?}");
    }
}

/// The forwarded target, sent once more, is matched by the same rule; and where nothing is allowed
/// that readers differ in, whoever decodes it all finds what the rule said.
fn what_was_matched_is_forwarded(target: &Target<'_>, policy: PathPolicy) {
    assert_eq!(target.uri.path(), target.path.as_str());
    assert!(target.uri.authority().is_none() && target.uri.scheme().is_none());
    let host = values(&HOST, target.authority.as_str().as_bytes());
    let again = Target::read(target.method, &target.uri, &host, target.scheme, policy).unwrap();
    assert_eq!((&again.uri, &again.authority), (&target.uri, &target.authority));

    let routes = routes();
    let found = |it: &Target<'_>| routes.find(it.method, &it.authority, &it.path).place;
    assert_eq!(found(&again), found(target));
    if policy == PathPolicy::default() {
        let rules: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
        let found = found(target).map(|place| rules[place]);
        assert_eq!(found, rule_for(&as_backends_read(target.uri.path())), "{:?}", target.uri);
    }
}

/// RFC 3986 §3.3 and §6.2.2, a pass for each rule, and a refusal for what readers differ in.
fn canonical(text: &str, policy: PathPolicy) -> Option<String> {
    let parts = parts(text)?;
    let has = |part: Part| parts.contains(&part);
    let refused = [
        (!policy.semicolon, has(Part::Plain(b';')) || has(Part::Escaped(b';'))),
        (!policy.backslash, has(Part::Plain(b'\\'))),
        (!policy.encoded_backslash, has(Part::Escaped(b'\\'))),
        (!policy.encoded_slash, has(Part::Escaped(b'/'))),
        (!policy.encoded_dot, has(Part::Escaped(b'.'))),
        (!policy.encoded_percent, has(Part::Escaped(b'%'))),
        (!policy.double_slash, text.contains("//")),
        (true, parts.iter().any(|it| matches!(it, Part::Escaped(0..=0x1f | 0x7f)))),
        (true, !text.starts_with('/')),
    ];
    if refused.iter().any(|(rule, found)| *rule && *found) {
        return None;
    }
    let octets: Vec<u8> = octets(&parts);
    let decoded = String::from_utf8(octets).ok()?;
    let names = decoded.split(['/', '\\']).map(|segment| segment.split(';').next());
    if names.into_iter().any(|name| matches!(name, Some("." | ".."))) {
        return None;
    }
    Some(parts.iter().map(written).collect())
}

#[derive(PartialEq)]
enum Part {
    Plain(u8),
    Escaped(u8),
}

/// Characters and escapes; nothing where a byte stands there that no target has.
fn parts(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        parts.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digit = |at: usize| char::from(digits[at]).to_digit(16);
                Part::Escaped((digit(0)? * 16 + digit(1)?) as u8)
            }
            0x21..=0x7e if !matches!(byte, b'?' | b'#') => Part::Plain(byte),
            _ => return None,
        });
    }
    Some(parts)
}

fn octets(parts: &[Part]) -> Vec<u8> {
    let octet = |part: &Part| match part {
        Part::Plain(octet) | Part::Escaped(octet) => *octet,
    };
    parts.iter().map(octet).collect()
}

/// Writes `pchar` (RFC 3986 §3.3) as it is and everything else escaped; what is unreserved in no
/// other way, but for the dot.
fn written(part: &Part) -> String {
    let unreserved = |it: u8| it.is_ascii_alphanumeric() || b"-_~".contains(&it);
    match *part {
        Part::Escaped(it) if unreserved(it) => char::from(it).into(),
        Part::Plain(it) if unreserved(it) || b"/\\.!$&'()*+,;=:@".contains(&it) => {
            char::from(it).into()
        }
        Part::Plain(it) | Part::Escaped(it) => format!("%{it:02X}"),
    }
}

/// What is forwarded of a request: its host, and its target in origin form.
fn read(
    method: &Method,
    uri: &Uri,
    hosts: &[&[u8]],
    scheme: Scheme,
    policy: PathPolicy,
) -> Option<(String, String)> {
    let [host] = hosts else { return None };
    let host = authority(str::from_utf8(host).ok()?, scheme)?;
    let own_is_same =
        |own: &http::uri::Authority| authority(own.as_str(), scheme).as_ref() == Some(&host);
    let right = !["TRACE", "CONNECT"].contains(&method.as_str())
        && uri.authority().is_none_or(own_is_same)
        && uri.scheme_str().is_none_or(|own| own == scheme.as_str())
        && uri.query().unwrap_or_default().bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = canonical(uri.path(), policy).filter(|_| right)?;
    Some((host, path + &query))
}

/// `host [ ":" port ]` (RFC 9110 §7.2), in lower case and without the port that goes without saying.
fn authority(text: &str, scheme: Scheme) -> Option<String> {
    let end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(end);
    let is_address = || {
        let inner = host.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok()
    };
    let is_name = !host.is_empty()
        && host.bytes().all(|it| it.is_ascii_alphanumeric() || b".-_".contains(&it));
    if !is_name && is_address().is_none() {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let usual = if scheme == Scheme::Https { 443 } else { 80 };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some(host),
        Some(digits) if !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()) => {
            let number = digits.parse::<u32>().ok().filter(|it| (1..65536).contains(it))?;
            Some(if number == usual { host } else { format!("{host}:{digits}") })
        }
        _ => None,
    }
}

const RULES: [&str; 6] =
    ["/public/**", "/admin/help", "/admin/**", "/users/*/avatar", "/users/**", "/feed"];

fn routes() -> Routes {
    let route = |path: &&str| Route {
        name: (*path).to_owned(),
        host: None,
        path: PathPattern::parse(path).expect("a pattern"),
        methods: None,
        rule: Rule::from(Access::Public),
    };
    Routes::new(RULES.iter().map(route).collect(), Case::Sensitive)
}

/// What [`RULES`] say of a path in segments, in other words than theirs.
fn rule_for(path: &[String]) -> Option<&'static str> {
    match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["public", ..] => Some(RULES[0]),
        ["admin", "help"] => Some(RULES[1]),
        ["admin", ..] => Some(RULES[2]),
        ["users", _, "avatar"] => Some(RULES[3]),
        ["users", ..] => Some(RULES[4]),
        ["feed"] => Some(RULES[5]),
        _ => None,
    }
}

/// Reads a path as the most obliging of backends: decodes it as often as it can, takes a backslash
/// for a slash and several slashes for one, cuts parameters off, and climbs.
fn as_backends_read(path: &str) -> Vec<String> {
    let (mut text, mut before) = (path.to_owned(), String::new());
    while text != before {
        let decoded = parts(&text).map(|parts| octets(&parts));
        before = text;
        text = decoded
            .and_then(|octets| String::from_utf8(octets).ok())
            .unwrap_or_else(|| before.clone());
    }
    let mut segments = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}
