//! Cookies: read as the library reads them that Clerk's own reads them with.
//!
//! The first line says `development` or something else; each further one is a `Cookie` header, in
//! which what stands between `<` and `>` is claims, written out as a token.

#![no_main]

use std::collections::BTreeMap;

use countersign::core::clerk::claimed::Claimed;
use countersign::core::clerk::cookies::{ClerkCookies, CookieOwner, CookieSuffix};
use countersign::core::clerk::publishable_key::{Environment, PublishableKey};
use countersign::core::cookie;
use countersign::core::time::UnixTime;
use countersign_fuzz::{base64url, first_line, json, token};
use http::header::COOKIE;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const NOW: i64 = 1_700_000_000;
const HOST: &str = "clerk.example.com";

fuzz_target!(|data: &[u8]| {
    let (word, lines) = first_line(data);
    let is_development = word == b"development";
    let owner = owner(if is_development { "pk_test_" } else { "pk_live_" });
    let headers = countersign_fuzz::values(&COOKIE, &with_tokens(lines));
    if headers.values().any(|line| json::is_of_the_library(line.as_bytes())) {
        return;
    }

    let got = ClerkCookies::read(&headers, &owner, UnixTime::from_secs(NOW), Claimed::read);
    let latin1 = |line: &[u8]| line.iter().map(|byte| char::from(*byte)).collect::<String>();
    let lines: Vec<String> = headers.values().map(|line| latin1(line.as_bytes())).collect();
    let want =
        Seen { jar: parsed(&lines.join("; ")), suffix: owner.suffix.name(""), is_development };
    want.compare(&got);

    for line in headers.values() {
        without_clerk(line.as_bytes());
    }
});

fn owner(kind: &str) -> CookieOwner {
    let key = PublishableKey::parse(&format!("{kind}Y2xlcmsuZXhhbXBsZS5jb20k")).expect("a key");
    CookieOwner {
        suffix: CookieSuffix::of(&key),
        issuer_host: HOST.to_owned(),
        environment: if kind == "pk_test_" {
            Environment::Development
        } else {
            Environment::Production
        },
    }
}

/// Writes `<{"iss":…}>` out as a token whose header says nothing.
fn with_tokens(lines: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(lines) {
        Ok(text) => token::written_out(&text.replace('<', "e30.<").replace('>', ">.AA")).into(),
        Err(_) => lines.to_vec(),
    }
}

/// A line without Clerk's cookies has the others as they were, and none of Clerk's.
fn without_clerk(line: &[u8]) {
    let pairs = |line: &[u8]| {
        let parts = line.split(|byte| *byte == b';').map(|pair| pair.trim_ascii().to_vec());
        parts.filter(|pair| !pair.is_empty()).collect::<Vec<_>>()
    };
    let is_clerks = |pair: &Vec<u8>| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let name = String::from_utf8_lossy(pair[..end].trim_ascii());
        let with_suffix = |base: &str| name == base || name.starts_with(&format!("{base}_"));
        ["__session", "__refresh", "__client_uat"].into_iter().any(with_suffix)
            || name.starts_with("__clerk_")
            || name.starts_with("__countersign_")
    };
    let want: Vec<_> = pairs(line).into_iter().filter(|pair| !is_clerks(pair)).collect();
    let got = cookie::without_clerk(line);
    assert_eq!(got.is_none(), want.is_empty(), "{}", line.escape_ascii());
    assert_eq!(pairs(&got.unwrap_or_default()), want, "{}", line.escape_ascii());
}

/// npm's `cookie`, `parse`: the first of a name counts.
fn parsed(header: &str) -> BTreeMap<String, Vec<String>> {
    let mut jar: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in header.split(';') {
        let Some(equals) = pair.find('=') else { continue };
        let trimmed = |text: &str| text.trim_matches([' ', '\t']).to_owned();
        let (name, value) = (trimmed(&pair[..equals]), trimmed(&pair[equals + 1..]));
        let value = decode_uri_component(&value).unwrap_or(value);
        jar.entry(name).or_default().push(value);
    }
    jar
}

/// ECMA-262 §19.2.6.2; nothing where it throws.
fn decode_uri_component(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at..];
        let mut octets = Vec::new();
        while let Some(tail) = rest.strip_prefix('%') {
            let digits = tail.get(..2).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        }
        out += str::from_utf8(&octets).ok()?;
    }
    Some(out + rest)
}

/// A request's cookies as Clerk's library sees them.
struct Seen {
    jar: BTreeMap<String, Vec<String>>,
    suffix: String,
    is_development: bool,
}

impl Seen {
    fn compare(&self, got: &ClerkCookies) {
        let suffixed = self.uses_suffix();
        let name =
            |base: &str| if suffixed { format!("{base}{}", self.suffix) } else { base.to_owned() };
        assert_eq!(got.uses_suffix(), suffixed, "{:?}", self.jar);
        assert_eq!(got.session.as_deref(), self.text(&name("__session")), "{:?}", self.jar);
        assert_eq!(got.dev_browser.as_deref(), self.text(&name("__clerk_db_jwt")));
        let refresh = format!("__refresh{}", self.suffix);
        assert_eq!(got.refresh.as_deref(), self.text(&refresh));
        assert_eq!(got.handshake.as_deref(), self.text("__clerk_handshake"));
        assert_eq!(got.nonce.as_deref(), self.text("__clerk_handshake_nonce"));
        let uat = self.text(&name("__client_uat")).unwrap_or("0");
        let (got_uat, uat_there) = (got.client_uat as f64, parse_int(uat));
        let uat_there = uat_there.clamp(i64::MIN as f64, i64::MAX as f64);
        assert!((got_uat - uat_there).abs() <= uat_there.abs() * 1e-12, "{uat:?}: {got_uat}");
        let sessions = self.jar.get(&name("__session")).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(got.contradicts, sessions.iter().any(|other| *other != sessions[0]));
    }

    /// A cookie that is there and, as JavaScript has it, truthy.
    fn text(&self, name: &str) -> Option<&str> {
        self.jar.get(name).map(|values| &*values[0]).filter(|value| !value.is_empty())
    }

    /// `usesSuffixedCookies` of Clerk's library, step by step.
    fn uses_suffix(&self) -> bool {
        let of = |base: &str| self.text(&format!("{base}{}", self.suffix));
        let (session, uat) = (self.text("__session"), self.text("__client_uat"));
        let (own, own_uat) = (of("__session"), of("__client_uat"));
        let payload = |token: Option<&str>| token.and_then(claims);
        let plain = payload(session);
        if session.is_some() {
            match plain.as_ref().and_then(|claims| claims.get("iss")).filter(|iss| is_truthy(iss)) {
                None => return false,
                Some(iss) if !is_host(iss) => return true,
                Some(_) => {}
            }
        }
        if own.is_none() && own_uat.is_none() {
            return false;
        }
        let own_claims = payload(own);
        let newer = number(plain.as_ref(), "iat") > number(own_claims.as_ref(), "iat");
        if own_uat != Some("0") && uat != Some("0") && newer {
            return false;
        }
        if own_uat == Some("0") && uat != Some("0") {
            return false;
        }
        let exp = own_claims.as_ref().and_then(|claims| claims.get("exp")?.as_number()?.as_f64());
        let expired = exp.is_some_and(|exp| exp <= NOW as f64);
        if self.is_development && own_uat != Some("0") && uat == Some("0") && expired {
            return false;
        }
        own_uat.is_some() || own.is_none()
    }
}

fn claims(token: &str) -> Option<Map<String, Value>> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = &*parts else { return None };
    let decoded = |part: &str| base64url::decode(part.trim_end_matches('='));
    decoded(signature)?;
    let header = json::object(&decoded(header)?)?;
    json::object(&decoded(payload)?).filter(|_| !header.contains_key("crit"))
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn is_host(iss: &Value) -> bool {
    let Some(iss) = iss.as_str() else { return false };
    let lower = iss.to_ascii_lowercase();
    let scheme = ["https://", "http://"].into_iter().find(|scheme| lower.starts_with(scheme));
    iss[scheme.map_or(0, str::len)..] == *HOST
}

fn number(claims: Option<&Map<String, Value>>, name: &str) -> f64 {
    claims.and_then(|claims| claims.get(name)?.as_number()?.as_f64()).unwrap_or(0.0)
}

/// `parseInt(text) || 0` (ECMA-262 §19.2.5), as far as our type goes.
fn parse_int(text: &str) -> f64 {
    // White space to JavaScript: a byte order mark is, a next-line character is not.
    let is_blank = |c: char| c == '\u{feff}' || c != '\u{85}' && c.is_whitespace();
    let text = text.trim_start_matches(is_blank);
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1.0, text),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let (text, radix) = hex.map_or((text, 10), |text| (text, 16));
    let mut value = 0.0_f64;
    for digit in text.chars().map_while(|digit| digit.to_digit(radix)) {
        value = value * f64::from(radix) + f64::from(digit);
    }
    sign * value
}
