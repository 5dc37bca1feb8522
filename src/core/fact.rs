//! What is known of a caller, one thing at a time: as the text of a header and as JSON.

use std::fmt::{self, Write};

use serde_json::json;

use crate::core::base64url;
use crate::core::caller::Caller;
use crate::core::identity::{Field, Source};
use crate::core::json::{Kind, Value};

/// One thing that is known of a caller.
#[derive(Clone, Debug)]
pub(super) enum Fact<'a> {
    /// Nothing.
    None,
    /// One identifier.
    Id(&'a str),
    /// Several.
    Ids(Vec<&'a str>),
    /// What may be done, as OAuth parts it: with spaces, where there is one text for all.
    Scopes(Vec<&'a str>),
    /// Who really acts.
    Actor(&'a str),
    /// Two numbers.
    Pair(i64, i64),
    /// A number.
    Number(i64),
    /// What a claim holds, whatever that is.
    Claim(Value<'a>),
    /// All claims.
    Payload(&'a Caller),
}

impl<'a> Fact<'a> {
    /// Finds what a header or an assertion is to say of `caller`.
    pub(super) fn of(source: &Source, caller: &'a Caller) -> Self {
        match source {
            Source::Field(field) => Self::of_field(*field, caller),
            Source::Claim(pointer) => {
                caller.claims.pointed(pointer).map_or(Self::None, Self::Claim)
            }
        }
    }

    fn of_field(field: Field, caller: &'a Caller) -> Self {
        let organization = caller.session.organization.as_ref();
        let member = |name: &str| caller.claims.get(name);
        match field {
            Field::Principal => Self::Id("user"),
            Field::TokenType => Self::Id(caller.class.as_str()),
            Field::UserId => Self::id(caller.user_id()),
            Field::Subject => Self::Id(&caller.subject),
            Field::SessionId => Self::id(caller.session_id.as_deref()),
            Field::OrgId => Self::id(organization.map(|org| org.id.as_str())),
            Field::OrgSlug => Self::id(organization.and_then(|org| org.slug.as_deref())),
            Field::OrgRole => Self::id(organization.and_then(|org| org.role.as_deref())),
            Field::OrgPermissions => {
                let permissions = organization.into_iter().flat_map(|org| &org.permissions);
                Self::Ids(permissions.map(String::as_str).collect())
            }
            Field::ActorId => caller.session.actor.as_deref().map_or(Self::None, Self::Actor),
            Field::Issuer => Self::Id(&caller.issuer),
            Field::Scopes => match member("scope").or_else(|| member("scp")).map(Value::kind) {
                Some(Kind::Text(scopes)) => Self::Scopes(scopes.split_ascii_whitespace().collect()),
                Some(Kind::Array(scopes)) => {
                    Self::Scopes(scopes.filter_map(Value::as_str).collect())
                }
                _ => Self::None,
            },
            Field::Features => Self::Ids(caller.session.features.items().collect()),
            Field::Plans => Self::Ids(caller.session.plans.items().collect()),
            Field::FactorAge => {
                caller.session.factor_age.map_or(Self::None, |(a, b)| Self::Pair(a, b))
            }
            Field::ExpiresAt => Self::Number(caller.validity.expires.as_secs()),
            Field::Claims => Self::Payload(caller),
        }
    }

    fn id(text: Option<&'a str>) -> Self {
        text.map_or(Self::None, Self::Id)
    }

    /// Writes the value of a header: visible ASCII, and nothing where nothing is known.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::None => {}
            Self::Id(id) | Self::Actor(id) => write_identifier(out, id),
            Self::Ids(ids) | Self::Scopes(ids) => {
                write_list(out, ids, |out, id| write_identifier(out, id))
            }
            Self::Pair(first, second) => write_formatted(out, format_args!("{first}, {second}")),
            Self::Number(number) => write_formatted(out, format_args!("{number}")),
            Self::Claim(value) => write_claim(out, *value),
            Self::Payload(caller) => out.push_str(&caller.payload),
        }
    }

    /// Renders a claim of an assertion; nothing where nothing is known.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        match self {
            Self::None => None,
            Self::Id(id) => Some(json!(id)),
            Self::Ids(ids) => Some(json!(ids)).filter(|_| !ids.is_empty()),
            Self::Scopes(ids) => Some(json!(ids.join(" "))).filter(|_| !ids.is_empty()), // RFC 8693 §4.2
            Self::Actor(id) => Some(json!({"sub": id})), // RFC 8693 §4.1
            Self::Pair(first, second) => Some(json!([first, second])),
            Self::Number(number) => Some(json!(number)),
            Self::Claim(value) => Some((*value).into()).filter(|_| !value.is_null()),
            Self::Payload(caller) => Some((&caller.claims).into()),
        }
    }
}

/// Writes a claim of any form: text percent-encoded, lists of simple values joined by a comma,
/// anything deeper as base64url of its JSON.
fn write_claim(out: &mut String, value: Value<'_>) {
    match value.kind() {
        Kind::Array(items) if items.clone().all(is_simple) => write_list(out, items, write_simple),
        Kind::Array(_) | Kind::Object(_) => {
            out.push_str(&base64url::encode(value.to_string().as_bytes()));
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => write_simple(out, value),
    }
}

fn is_simple(value: Value<'_>) -> bool {
    !matches!(value.kind(), Kind::Array(_) | Kind::Object(_))
}

/// Writes a value that has no others in it.
fn write_simple(out: &mut String, value: Value<'_>) {
    match value.kind() {
        Kind::Text(text) => write_percent_encoded(out, text),
        Kind::Number(digits) => out.push_str(digits),
        Kind::Bool(truth) => out.push_str(if truth { "true" } else { "false" }),
        Kind::Null | Kind::Array(_) | Kind::Object(_) => {}
    }
}

/// Writes one after the other, parted by commas.
fn write_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
}

/// Writes an identifier: as it is, but one with a `%`, a comma or anything but visible ASCII
/// percent-encoded whole. So decoding is always right, and a comma always parts two items.
fn write_identifier(out: &mut String, text: &str) {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%' && byte != b',');
    if plain { out.push_str(text) } else { write_percent_encoded(out, text) }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 §2.3, so that no CR, no
/// LF and no comma of a claim reaches a header.
fn write_percent_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write_formatted(out, format_args!("%{byte:02X}"));
        }
    }
}

fn write_formatted(out: &mut String, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text); // writing to a String does not fail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::caller::session_of;
    use crate::core::identity::tests::caller;
    use crate::core::issuer::TokenClass;
    use crate::core::json::tests::object;

    #[test]
    fn identifiers_stay_as_they_are_or_are_encoded_whole() {
        for (text, want) in [
            ("user_2a", "user_2a"),
            ("org:a:read", "org:a:read"),
            ("a,b", "a%2Cb"),
            ("100%", "100%25"),
            ("ålice", "%C3%A5lice"),
            ("a b", "a%20b"),
        ] {
            let mut written = String::new();
            write_identifier(&mut written, text);
            assert_eq!(written, want);
        }
    }

    #[test]
    fn another_issuers_subject_is_no_user_of_clerks_and_has_no_plan() {
        let claims = json!({"fea": "o:dashboard", "pla": "o:pro", "scope": "read write"});
        for (class, user, plan) in [
            (TokenClass::SessionToken, "user_1", "o:pro"),
            (TokenClass::JwtTemplate, "user_1", ""),
            (TokenClass::Oidc, "", ""),
        ] {
            let session = session_of(class, &object(&claims));
            let caller = Caller { class, session, ..caller(&claims) };
            let told = |field| {
                let mut text = String::new();
                Fact::of_field(field, &caller).write(&mut text);
                text
            };
            assert_eq!(told(Field::TokenType), class.as_str());
            assert_eq!((told(Field::UserId), told(Field::Plans)), (user.into(), plan.into()));
            assert_eq!(told(Field::Features).is_empty(), plan.is_empty());
            assert_eq!(told(Field::Subject), "user_1");
            assert_eq!(told(Field::Scopes), "read, write");
        }
    }
}
