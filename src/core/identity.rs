//! What the backend is told about a caller.

use std::fmt::{self, Write};

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::core::base64url;
use crate::core::caller::Caller;
use crate::core::issuer::TokenClass;

/// Which identity headers the backend gets. The set is fixed by the settings: every header is
/// always there, and what a caller has not is an empty value. So none can be added beside them.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    headers: Vec<(HeaderName, Source)>,
}

/// What an identity header says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// One of our own headers.
    Field(Field),
    /// The claim at this JSON pointer (RFC 6901).
    Claim(String),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One of our own headers, by its name after the prefix.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Field { $($(#[$doc])* $variant,)* }

        impl Field {
            /// Every field there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name after the prefix.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

fields! {
    /// `user` or `anonymous`.
    Principal = "principal",
    /// `session_token`, `jwt_template` or `oidc`; empty for nobody.
    TokenType = "token-type",
    /// `sub`, where it is a user of Clerk's.
    UserId = "user-id",
    /// `sid`.
    SessionId = "session-id",
    /// The active organization's id.
    OrgId = "org-id",
    /// The active organization's slug.
    OrgSlug = "org-slug",
    /// The role in it, with `org:`.
    OrgRole = "org-role",
    /// The permissions in it.
    OrgPermissions = "org-permissions",
    /// Who really acts, where somebody impersonates the user.
    ActorId = "actor-id",
    /// `iss`.
    Issuer = "issuer",
    /// `sub`.
    Subject = "subject",
    /// `scope` (RFC 8693 §4.2) or `scp`.
    Scopes = "scopes",
    /// `fea`.
    Features = "features",
    /// `pla`.
    Plans = "plans",
    /// `fva`: minutes since the first and second factor.
    FactorAge = "factor-age",
    /// `exp`, in seconds since 1970.
    ExpiresAt = "expires-at",
    /// The payload, in base64url.
    Claims = "claims",
}

impl Field {
    /// What the backend gets unless the settings say otherwise.
    pub const DEFAULT: [Self; 9] = [
        Self::Principal,
        Self::TokenType,
        Self::UserId,
        Self::SessionId,
        Self::OrgId,
        Self::OrgSlug,
        Self::OrgRole,
        Self::OrgPermissions,
        Self::ActorId,
    ];

    /// Finds a field by its name after the prefix.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

/// The claims of `identity.profile`: a header each, its name with `-` for `_`.
///
/// Those of the token that Clerk's template for Convex makes.
pub const PROFILE_CLAIMS: [&str; 10] = [
    "email",
    "email_verified",
    "name",
    "given_name",
    "family_name",
    "nickname",
    "picture",
    "updated_at",
    "phone_number",
    "phone_number_verified",
];

/// What the backend is told about one caller, ready to be sent: rendered once per token.
#[derive(Clone, Default)]
pub struct Identity {
    /// The headers, in the order in which they are signed.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// Their lines in the signature base (RFC 9421 §2.5), each with its line break.
    pub base: Box<str>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Identity({} headers)", self.headers.len())
    }
}

impl IdentityPolicy {
    /// Creates the policy for these headers in this order.
    pub fn new(headers: Vec<(HeaderName, Source)>) -> Self {
        Self { headers }
    }

    /// Returns the names of the headers, in the order in which they are signed.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// Renders what is said of `caller`.
    pub fn of(&self, caller: &Caller) -> Identity {
        self.render(|source| match source {
            Source::Field(field) => field_of(*field, caller),
            Source::Claim(pointer) => claim(pointed(caller, pointer)),
        })
    }

    /// Renders what is said of nobody.
    pub fn anonymous(&self) -> Identity {
        self.render(|source| match source {
            Source::Field(Field::Principal) => "anonymous".to_owned(),
            Source::Field(_) | Source::Claim(_) => String::new(),
        })
    }

    fn render(&self, text: impl Fn(&Source) -> String) -> Identity {
        let mut base = String::new();
        let headers = self.headers.iter().map(|(name, source)| {
            let text = text(source);
            // What a list's last empty item leaves would be trimmed by whoever verifies (RFC 9421 §2.1).
            let text = text.trim_end();
            let value = HeaderValue::try_from(text).expect("every encoding here is visible ASCII");
            let _ = writeln!(base, "\"{name}\": {text}"); // writing to a String does not fail
            (name.clone(), value)
        });
        let headers = headers.collect();
        Identity { headers, base: base.into() }
    }
}

fn field_of(field: Field, caller: &Caller) -> String {
    let organization = caller.session.organization.as_ref();
    let id = |text: Option<&str>| text.map(identifier).unwrap_or_default();
    let member = |name: &str| caller.claims.get(name);
    // Clerk reserves these names in session tokens; elsewhere anybody may have chosen them.
    let of_session = |name: &str| member(name).filter(|_| caller.class == TokenClass::SessionToken);
    match field {
        Field::Principal => "user".to_owned(),
        Field::TokenType => caller.class.as_str().to_owned(),
        Field::UserId => id(caller.user_id()),
        Field::Subject => identifier(&caller.subject),
        Field::SessionId => id(caller.session_id.as_deref()),
        Field::OrgId => id(organization.map(|org| org.id.as_str())),
        Field::OrgSlug => id(organization.and_then(|org| org.slug.as_deref())),
        Field::OrgRole => id(organization.and_then(|org| org.role.as_deref())),
        Field::OrgPermissions => {
            list(organization.into_iter().flat_map(|org| &org.permissions).map(String::as_str))
        }
        Field::ActorId => id(caller.session.actor.as_deref()),
        Field::Issuer => identifier(&caller.issuer),
        Field::Scopes => match member("scope").or_else(|| member("scp")) {
            Some(Value::String(scopes)) => list(scopes.split_ascii_whitespace()),
            Some(Value::Array(scopes)) => list(scopes.iter().filter_map(Value::as_str)),
            _ => String::new(),
        },
        Field::Features => comma_list(of_session("fea")),
        Field::Plans => comma_list(of_session("pla")),
        Field::FactorAge => {
            caller.session.factor_age.map(|(a, b)| format!("{a}, {b}")).unwrap_or_default()
        }
        Field::ExpiresAt => caller.validity.expires.as_secs().to_string(),
        Field::Claims => caller.payload.to_string(),
    }
}

fn comma_list(value: Option<&Value>) -> String {
    let items = value.and_then(Value::as_str).unwrap_or_default();
    list(items.split(',').map(str::trim).filter(|item| !item.is_empty()))
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.map(identifier).collect::<Vec<_>>().join(", ")
}

/// Follows a JSON pointer into the claims.
fn pointed<'a>(caller: &'a Caller, pointer: &str) -> Option<&'a Value> {
    let (first, rest) = match pointer.strip_prefix('/')?.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pointer.strip_prefix('/')?, None),
    };
    let value = caller.claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// Renders a claim of any form: text percent-encoded, lists of simple values joined by a comma,
/// anything deeper as base64url of its JSON.
fn claim(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::Array(items)) if items.iter().all(is_simple) => {
            items.iter().map(simple).collect::<Vec<_>>().join(", ")
        }
        Some(value) if is_simple(value) => simple(value),
        Some(value) => base64url::encode(value.to_string().as_bytes()),
    }
}

fn is_simple(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

fn simple(value: &Value) -> String {
    match value {
        Value::String(text) => percent_encoded(text),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Renders an identifier: as it is, but one with a `%`, a comma or anything but visible ASCII
/// percent-encoded whole. So decoding is always right, and a comma always parts two items.
fn identifier(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%' && byte != b',');
    if plain { text.to_owned() } else { percent_encoded(text) }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 §2.3, so that no CR, no
/// LF and no comma of a claim reaches a header.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // writing to a String does not fail
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::claims::Validity;
    use crate::core::clerk::session_claims::SessionClaims;
    use crate::core::time::UnixTime;
    use serde_json::json;

    fn caller(claims: &Value) -> Caller {
        let claims = claims.as_object().unwrap().clone();
        Caller {
            class: TokenClass::SessionToken,
            issuer: "https://clerk.example.com".into(),
            subject: "user_1".into(),
            session_id: Some("sess_1".into()),
            session: SessionClaims::read(&claims),
            validity: Validity {
                expires: UnixTime::from_secs(200),
                not_before: None,
                issued_at: None,
            },
            payload: "e30".into(),
            claims,
        }
    }

    fn rendered(source: Source, claims: &Value) -> String {
        let policy = IdentityPolicy::new(vec![(HeaderName::from_static("x-clerk-it"), source)]);
        let identity = policy.of(&caller(claims));
        let text = identity.headers[0].1.to_str().unwrap().to_owned();
        assert_eq!(&*identity.base, format!("\"x-clerk-it\": {text}\n"));
        text
    }

    #[test]
    fn claims_are_told_reversibly_in_visible_ascii() {
        for (value, want) in [
            (json!("Jürgen O'Neil"), "J%C3%BCrgen%20O%27Neil"),
            (json!("a\r\nX-Evil: 1"), "a%0D%0AX-Evil%3A%201"),
            (json!("\u{2028}\u{0}"), "%E2%80%A8%00"),
            (json!(["user,admin"]), "user%2Cadmin"),
            (json!(["user", "admin"]), "user, admin"),
            (json!([true, 5, null]), "true, 5,"),
            (json!([]), ""),
            (json!(true), "true"),
            (json!(null), ""),
            (json!({"a": 1}), "eyJhIjoxfQ"),
            (json!([["a"]]), "W1siYSJdXQ"),
        ] {
            let claims = json!({"it": value});
            let text = rendered(Source::Claim("/it".into()), &claims);
            assert_eq!(text, want, "{value}");
        }
    }

    #[test]
    fn numbers_are_told_digit_by_digit() {
        let claims = crate::core::json::parse(br#"{"it":9007199254740993,"half":1.50}"#).unwrap();
        assert_eq!(rendered(Source::Claim("/it".into()), &claims), "9007199254740993");
        assert_eq!(rendered(Source::Claim("/half".into()), &claims), "1.50");
    }

    #[test]
    fn a_pointer_finds_names_with_slashes_and_tildes() {
        let claims = json!({"https://ns/roles": ["a"], "a.b": 1, "a": {"b": [2, 3]}, "~0": 4});
        for (pointer, want) in [
            ("/https:~1~1ns~1roles", "a"),
            ("/a.b", "1"),
            ("/a/b", "2, 3"),
            ("/a/b/1", "3"),
            ("/~00", "4"),
            ("/none", ""),
            ("/a/none", ""),
        ] {
            assert_eq!(rendered(Source::Claim(pointer.into()), &claims), want, "{pointer}");
        }
    }

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
            assert_eq!(identifier(text), want);
        }
    }

    #[test]
    fn nobody_has_every_header_and_they_are_empty() {
        let named = |field: Field| {
            (
                HeaderName::try_from(format!("x-clerk-{}", field.name())).unwrap(),
                Source::Field(field),
            )
        };
        let policy = IdentityPolicy::new(Field::DEFAULT.into_iter().map(named).collect());
        let values = policy.anonymous().headers.into_iter().map(|(_, value)| value);
        let values: Vec<_> = values.collect();
        assert_eq!(values[0], "anonymous");
        assert!(values[1..].iter().all(HeaderValue::is_empty));
        assert_eq!(policy.of(&caller(&json!({}))).headers.len(), values.len());
    }

    #[test]
    fn another_issuers_subject_is_no_user_of_clerks_and_has_no_plan() {
        let claims = json!({"fea": "o:dashboard", "pla": "o:pro", "scope": "read write"});
        for (class, user, plan) in [
            (TokenClass::SessionToken, "user_1", "o:pro"),
            (TokenClass::JwtTemplate, "user_1", ""),
            (TokenClass::Oidc, "", ""),
        ] {
            let caller = Caller { class, ..caller(&claims) };
            let told = |field| field_of(field, &caller);
            assert_eq!(told(Field::TokenType), class.as_str());
            assert_eq!((told(Field::UserId), told(Field::Plans)), (user.into(), plan.into()));
            assert_eq!(told(Field::Features).is_empty(), plan.is_empty());
            assert_eq!(told(Field::Subject), "user_1");
            assert_eq!(told(Field::Scopes), "read, write");
        }
    }

    #[test]
    fn debug_shows_no_caller() {
        let policy = IdentityPolicy::new(vec![(
            HeaderName::from_static("x-clerk-user-id"),
            Source::Field(Field::UserId),
        )]);
        let identity = policy.of(&caller(&json!({})));
        assert_eq!(format!("{identity:?}"), "Identity(1 headers)");
    }

    #[test]
    fn an_organization_is_told_with_its_permissions() {
        let claims = json!({
            "v": 2, "fea": "o:dashboard,u:x", "pla": "o:pro", "fva": [1, -1],
            "o": {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3"},
        });
        for (field, want) in [
            (Field::OrgId, "org_1"),
            (Field::OrgSlug, "acme"),
            (Field::OrgRole, "org:admin"),
            (Field::OrgPermissions, "org:dashboard:read, org:dashboard:manage"),
            (Field::Features, "o:dashboard, u:x"),
            (Field::Plans, "o:pro"),
            (Field::FactorAge, "1, -1"),
            (Field::ExpiresAt, "200"),
        ] {
            assert_eq!(rendered(Source::Field(field), &claims), want, "{field:?}");
        }
    }
}
