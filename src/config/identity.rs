//! `identity`: what the backend is told about a caller, and what it never sees.

use std::collections::BTreeSet;

use http::HeaderName;

use crate::core::assertion::header_after;
use crate::core::header::{Credentials, FOREIGN_IDENTITY, StripPolicy};
use crate::core::header_name::{NamePattern, NamePatterns, folded};
use crate::core::identity::{Field, IdentityPolicy, PROFILE_CLAIMS, Source};

use super::reader::Reader;

/// The prefix Clerk's own libraries have for the headers they set.
const PREFIX: &str = "x-clerk-";

/// Names that mean something to HTTP, to Clerk's libraries or to us, and cannot be a claim's.
const TAKEN: &[&str] = &[
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "baggage",
    "connection",
    "cookie",
    "date",
    "dnt",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "retry-after",
    "server",
    "signature",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "warning",
    "x-clerk-assertion",
    "x-clerk-auth-message",
    "x-clerk-auth-reason",
    "x-clerk-auth-signature",
    "x-clerk-auth-status",
    "x-clerk-auth-token",
    "x-clerk-clerk-url",
    "x-clerk-debug",
    "x-clerk-redirect-to",
    "x-clerk-request-data",
    "x-real-ip",
    "x-request-id",
];

/// The beginnings of such names.
const TAKEN_FAMILIES: &[&str] = &[
    "accept-",
    "access-control-",
    "cache-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "set-",
    "signature-",
    "transfer-",
    "www-",
    "x-forwarded-",
];

/// Reads the section. Where there are issuers beside Clerk, a caller is told with its issuer: a
/// subject means something to the issuer alone.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    has_other_issuers: bool,
) -> (IdentityPolicy, StripPolicy) {
    let prefix = reader.one("identity.prefix", prefix).unwrap_or_else(|| PREFIX.to_owned());
    let mut headers = fields(reader, &prefix, has_other_issuers);
    let claims = claims(reader, &headers, &prefix);

    let ours =
        claims.iter().map(|(name, _)| name).filter(|name| !name.as_str().starts_with(&prefix));
    let strip = StripPolicy {
        ours: ours.cloned().collect(),
        foreign: foreign(reader),
        credentials: match reader.switch("identity.strip_credentials") {
            Some(true) => Credentials::Strip,
            Some(false) | None => Credentials::Forward,
        },
        prefix,
    };
    headers.extend(claims);
    (IdentityPolicy::new(headers), strip)
}

/// The headers with our own names.
fn fields(
    reader: &mut Reader<'_>,
    prefix: &str,
    has_other_issuers: bool,
) -> Vec<(HeaderName, Source)> {
    let mut known: Vec<Field> = Vec::new();
    let read = reader.many("identity.headers", |text| match Field::parse(text) {
        None => Err(format!("not one of {}", field_names())),
        Some(field) if known.contains(&field) => Err("stands there twice".to_owned()),
        Some(field) => {
            known.push(field);
            Ok(())
        }
    });
    if read.is_none() {
        known.extend(Field::DEFAULT);
    }
    let named = |name: &str| {
        HeaderName::try_from(format!("{prefix}{name}")).expect("a prefix begins a header name")
    };
    let profile = reader.switch("identity.profile").unwrap_or(false);
    if profile || has_other_issuers {
        let missing =
            [Field::Issuer, Field::Subject].into_iter().filter(|field| !known.contains(field));
        let missing: Vec<_> = missing.collect();
        known.extend(missing);
    }
    let mut headers: Vec<_> =
        known.into_iter().map(|field| (named(field.name()), Source::Field(field))).collect();
    if profile {
        let claim =
            |name: &&str| (named(&name.replace('_', "-")), Source::Claim(format!("/{name}")));
        headers.extend(PROFILE_CLAIMS.iter().map(claim));
    }
    headers
}

/// The headers that tell one claim each, under a name of the operator's.
fn claims(
    reader: &mut Reader<'_>,
    fields: &[(HeaderName, Source)],
    prefix: &str,
) -> Vec<(HeaderName, Source)> {
    // Many a backend takes `_` and `-` for the same.
    let key = |name: &HeaderName| folded(name.as_str()).into_owned();
    let mut known: BTreeSet<String> = fields.iter().map(|(name, _)| key(name)).collect();
    known.extend(header_after(prefix).as_ref().map(key));
    let claims = reader.many("identity.claims", |text| {
        let (name, pointer) = text
            .split_once('=')
            .ok_or("a header and a JSON pointer, like `x-clerk-email=/email`")?;
        let (name, pointer) = (claim_header(name.trim())?, pointer.trim());
        if !is_pointer(pointer) {
            return Err(
                "a JSON pointer starts with `/` and has `~` only as `~0` and `~1`, like `/email`"
                    .to_owned(),
            );
        }
        if !known.insert(key(&name)) {
            return Err(format!("the header `{name}` is there already"));
        }
        Ok((name, Source::Claim(pointer.to_owned())))
    });
    claims.unwrap_or_default()
}

fn claim_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text).map_err(|_| "not the name of a header")?;
    let folded = folded(name.as_str());
    if TAKEN.contains(&&*folded) || TAKEN_FAMILIES.iter().any(|own| folded.starts_with(own)) {
        return Err(format!("`{name}` means something else already; choose another header"));
    }
    Ok(name)
}

/// Tells whether a text is a JSON pointer to a member (RFC 6901 §3).
pub(super) fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn prefix(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    // Names are compared with `-` for `_`: a prefix with `_` would be found in none.
    if text.len() < 4 || !text.ends_with('-') || !text.bytes().all(letters) {
        return Err("at least 4 letters, digits and dashes, the last a dash, like `x-clerk-`");
    }
    let is_family = |own: &&str| text.starts_with(*own) || own.starts_with(&text);
    let is_clerks = |own: &&str| own.starts_with("x-clerk-");
    if TAKEN_FAMILIES.iter().any(is_family)
        || TAKEN.iter().filter(|own| !is_clerks(own)).any(|own| own.starts_with(&text))
    {
        return Err(
            "headers of HTTP start so, and none with it would pass; choose one like `x-clerk-`",
        );
    }
    Ok(text)
}

fn foreign(reader: &mut Reader<'_>) -> NamePatterns {
    let written: Option<Vec<_>> = reader.many("identity.strip", NamePattern::parse);
    let usual = || {
        let pattern = |text: &&str| NamePattern::parse(text).expect("a pattern in the table");
        FOREIGN_IDENTITY.iter().map(pattern).collect()
    };
    written.unwrap_or_else(usual).into_iter().collect()
}

fn field_names() -> String {
    let names: Vec<_> = Field::ALL.iter().map(|field| format!("`{}`", field.name())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{mistakes, settings};
    use crate::core::header::Credentials;

    fn names(text: &str) -> Vec<String> {
        settings(text).proxy.identity.names().map(ToString::to_string).collect()
    }

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            ("prefix = \"x-\"", "prefix: \"x-\": at least 4"),
            ("prefix = \"x-id\"", "prefix: \"x-id\": at least 4"),
            ("prefix = \"x_id_-\"", "prefix: \"x_id_-\": at least 4"),
            ("prefix = \"x-ü-\"", "prefix: \"x-ü-\": at least 4"),
            ("headers = [\"email\"]", "headers: \"email\": not one of `principal`, "),
            ("headers = [\"user-id\", \"user-id\"]", "headers: \"user-id\": stands there twice"),
            ("headers = []", "headers: an empty list"),
            (
                "claims = {x-email = \"email\"}",
                "claims: \"x-email=email\": a JSON pointer starts with `/`",
            ),
            ("claims = {x-email = \"/a~2\"}", "claims: \"x-email=/a~2\": a JSON pointer"),
            ("claims = {x-email = \"/a~\"}", "claims: \"x-email=/a~\": a JSON pointer"),
            (
                "claims = {x-clerk-user-id = \"/a\"}",
                "claims: \"x-clerk-user-id=/a\": the header `x-clerk-user-id` is there already",
            ),
            (
                "claims = {x-a = \"/a\", x_a = \"/b\"}",
                "claims: \"x_a=/b\": the header `x_a` is there already",
            ),
            ("claims = {\"x a\" = \"/a\"}", "claims: \"x a=/a\": not the name of a header"),
            ("strip = [\"*\"]", "strip: \"*\": a header name"),
            ("strip = [\"a b\"]", "strip: \"a b\": a header name"),
        ] {
            let got = mistakes(&format!("identity.{text}"));
            assert!(
                got.len() == 1 && got[0].starts_with(&format!("identity.{want}")),
                "{text}: {got:?}"
            );
        }
    }

    #[test]
    fn a_claim_takes_no_header_that_means_something_already() {
        for name in [
            "host",
            "Host",
            "connection",
            "te",
            "content-type",
            "Authorization",
            "cookie",
            "x-request-id",
            "X_Request_Id",
            "signature",
            "signature-input",
            "x-forwarded-for",
            "proxy-authorization",
            "x-clerk-auth-token",
            "x-clerk-debug",
            "x-clerk-request-data",
            "sec-fetch-site",
        ] {
            let got = mistakes(&format!("identity.claims = {{{name} = \"/a\"}}"));
            assert!(
                got.len() == 1 && got[0].contains("means something else already"),
                "{name}: {got:?}"
            );
        }
        assert_eq!(
            mistakes("identity.claims = {last-name = \"/a\", user-email = \"/b\"}"),
            [""; 0]
        );
    }

    #[test]
    fn a_prefix_is_not_one_of_http() {
        for prefix in [
            "content-",
            "accept-",
            "access-",
            "access-control-",
            "x-forwarded-",
            "sec-",
            "sec-fetch-",
            "proxy-",
            "if-none-",
            "www-",
            "user-",
            "last-",
            "x-request-",
            "keep-",
            "x-real-",
        ] {
            let got = mistakes(&format!("identity.prefix = \"{prefix}\""));
            assert!(
                got.len() == 1 && got[0].contains("headers of HTTP start so"),
                "{prefix}: {got:?}"
            );
        }
        assert_eq!(settings("identity.prefix = \"X-Id-\"").proxy.strip.prefix, "x-id-");
    }

    #[test]
    fn the_headers_stand_in_the_order_in_which_they_were_written() {
        let own = "identity = {prefix = \"x-id-\", headers = [\"user-id\", \"principal\"]}";
        assert_eq!(names(own), ["x-id-user-id", "x-id-principal"]);
        assert_eq!(names("").len(), 9);

        let profile =
            "identity = {headers = [\"subject\"], profile = true, claims = {x-plan = \"/plan\"}}";
        let names = names(profile);
        assert_eq!(
            names[..4],
            ["x-clerk-subject", "x-clerk-issuer", "x-clerk-email", "x-clerk-email-verified"]
        );
        assert_eq!((names.len(), names[12].as_str()), (13, "x-plan"));
    }

    #[test]
    fn what_is_ours_is_stripped_under_any_name() {
        let text = "identity = {claims = {x-plan = \"/a\", x-clerk-email = \"/b\"}, strip_credentials = true, strip = [\"remote-*\"]}";
        let strip = settings(text).proxy.strip;
        assert_eq!(strip.ours, ["x-plan"]);
        assert_eq!(strip.credentials, Credentials::Strip);
        let foreign = |name| strip.foreign.matches(name);
        assert!(foreign("remote-user") && !foreign("x-consumer-id"), "{:?}", strip.foreign);
    }
}
