//! What the backend is told about a caller.

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::core::caller::Caller;
use crate::core::fact::Fact;
use crate::core::header_name::lasting;
use crate::core::signing_key::Begun;

/// More than most lines of the signature base take.
const ROOM: usize = 64;

/// Which identity headers the backend gets. The set is fixed by the settings: every header is
/// always there, and what a caller has not is an empty value. So none can be added beside them.
#[derive(Clone, Debug, Eq, PartialEq)]
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
#[non_exhaustive]
pub struct Identity {
    /// What each header says, in the policy's order: pieces of `lines`, so that all of it lies together.
    pub values: Box<[HeaderValue]>,
    /// The headers as they are sent over HTTP/1.1, each after the end of the line before it (RFC 9112 §5).
    pub lines: Bytes,
    /// Their lines in the signature base (RFC 9421 §2.5), each with its line break; ASCII.
    pub base: Bytes,
    /// What signatures of the caller's requests begin with, once there was one.
    pub begun: OnceLock<Begun>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Identity({} headers)", self.values.len())
    }
}

impl IdentityPolicy {
    /// Creates the policy for these headers in this order.
    pub fn new(mut headers: Vec<(HeaderName, Source)>) -> Self {
        for (name, _) in &mut headers {
            *name = lasting(name);
        }
        Self { headers }
    }

    /// Returns the names of the headers, in the order in which they are signed.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// Returns the headers and what each says, in the order in which they are signed.
    pub fn headers(&self) -> impl Iterator<Item = &(HeaderName, Source)> {
        self.headers.iter()
    }

    /// Renders what is said of `caller`.
    pub fn of(&self, caller: &Caller) -> Identity {
        Identity::new(self.said(), |source, out| Fact::of(source, caller).write(out))
    }

    /// Renders what is said of nobody.
    pub fn anonymous(&self) -> Identity {
        Identity::new(self.said(), |source, out| match source {
            Source::Field(Field::Principal) => out.push_str("anonymous"),
            Source::Field(_) | Source::Claim(_) => {}
        })
    }

    fn said(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &Source)> {
        self.headers.iter().map(|(name, source)| (name, source))
    }
}

impl Identity {
    /// Renders headers: each says what `write` adds to a text for it.
    ///
    /// # Panics
    ///
    /// Where what they say is no ASCII, or has control characters.
    pub fn new<'a, T>(
        said: impl ExactSizeIterator<Item = (&'a HeaderName, T)>,
        write: impl Fn(T, &mut String),
    ) -> Self {
        let room = ROOM * said.len();
        let (mut lines, mut base) = (String::with_capacity(room), String::with_capacity(room));
        let mut places = Vec::with_capacity(said.len());
        for (name, it) in said {
            lines.extend(["\r\n", name.as_str(), ": "]); // `write!` costs ten times that
            let start = lines.len();
            write(it, &mut lines);
            // What a list's last empty item leaves would be trimmed by whoever verifies (RFC 9421 §2.1).
            lines.truncate(start + lines[start..].trim_end().len());
            base.extend(["\"", name.as_str(), "\": ", &lines[start..], "\n"]);
            places.push(start..lines.len());
        }
        assert!(lines.is_ascii(), "what is signed is ASCII (RFC 9421 §2.1)");
        // It is kept for as long as the token, so no room is.
        let [lines, base] = [lines, base].map(|mut text| {
            text.shrink_to_fit();
            Bytes::from(text)
        });
        let value = |place| HeaderValue::from_maybe_shared(lines.slice(place));
        let visible = "every encoding here is visible ASCII";
        let values = places.into_iter().map(|place| value(place).expect(visible)).collect();
        Self { values, lines, base, begun: OnceLock::new() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    use crate::core::claims::Validity;
    use crate::core::clerk::session_claims::SessionClaims;
    use crate::core::issuer::TokenClass;
    use crate::core::json::tests::object;
    use crate::core::time::UnixTime;

    pub(in crate::core) fn caller(claims: &Value) -> Caller {
        let claims = object(claims);
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
        let text = identity.values[0].to_str().unwrap().to_owned();
        assert_eq!(identity.base, format!("\"x-clerk-it\": {text}\n"));
        assert_eq!(identity.lines, format!("\r\nx-clerk-it: {text}"));
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
        let claims = serde_json::from_str(r#"{"it":9007199254740993,"half":1.50}"#).unwrap();
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
    fn nobody_has_every_header_and_they_are_empty() {
        let named = |field: Field| {
            (
                HeaderName::try_from(format!("x-clerk-{}", field.name())).unwrap(),
                Source::Field(field),
            )
        };
        let policy = IdentityPolicy::new(Field::DEFAULT.into_iter().map(named).collect());
        let values = policy.anonymous().values;
        assert_eq!(values[0], "anonymous");
        assert!(values[1..].iter().all(HeaderValue::is_empty));
        assert_eq!(policy.of(&caller(&json!({}))).values.len(), values.len());
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
