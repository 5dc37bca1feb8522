//! Clerk's `has()`: whether a session has a role, a permission, a feature or a plan, and whether
//! its user was verified lately.
//!
//! The rules are those of `createCheckAuthorization` in Clerk's library. Whatever a token says in
//! a form of its own is nothing: each answer that is not a plain yes is a no.

use std::fmt;
use std::num::NonZeroU32;

use serde_json::{Value, json};

use crate::core::clerk::session_claims::{ScopedList, SessionClaims};

/// One thing that may be asked of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// A role in the active organization.
    Role(Privilege),
    /// A permission in the active organization.
    Permission(Privilege),
    /// A feature, of the organization or the user.
    Feature(Entitlement),
    /// A plan, of the organization or the user.
    Plan(Entitlement),
    /// That the user was verified lately.
    Reverification(Reverification),
}

impl SessionClaims {
    /// Tells whether the session has all that is asked. Who asks for nothing is told no, as by
    /// Clerk's library.
    ///
    /// Only session tokens say anything of this kind
    /// ([`SessionClaims::only_actor`] is read of others), so no other caller has anything.
    pub fn has(&self, asked: &[Asked]) -> bool {
        !asked.is_empty() && asked.iter().all(|one| self.has_one(one))
    }

    fn has_one(&self, asked: &Asked) -> bool {
        let organization = self.organization.as_ref();
        match asked {
            // Both sides are compared with one prefix: version 1 of the claims has had `admin` too.
            Asked::Role(role) => organization
                .and_then(|org| Privilege::parse(org.role.as_deref()?).ok())
                .is_some_and(|own| own == *role),
            Asked::Permission(permission) => organization
                .is_some_and(|org| org.permissions.iter().any(|own| *own == *permission.0)),
            Asked::Feature(feature) => feature.is_among(&self.features),
            Asked::Plan(plan) => plan.is_among(&self.plans),
            Asked::Reverification(reverification) => reverification.is_met_by(self.factor_age),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(out, "the role {}", role.as_str()),
            Self::Permission(permission) => write!(out, "the permission {}", permission.as_str()),
            Self::Feature(feature) => write!(out, "the feature {feature}"),
            Self::Plan(plan) => write!(out, "the plan {plan}"),
            Self::Reverification(it) => write!(out, "the verification {}", it.metadata()),
        }
    }
}

/// The name of a role or a permission in an organization, with exactly one `org:` before it.
///
/// Characters are those of a scope (RFC 6749 §3.3), so that a challenge can name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Privilege(Box<str>);

/// A text that is no [`Privilege`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the key of a role or permission; write it as in Clerk's dashboard, like `org:admin`")]
pub struct BadPrivilege;

impl Privilege {
    /// Reads a name, with the prefix `org:` or without.
    ///
    /// # Errors
    ///
    /// [`BadPrivilege`] where nothing is left of it without its prefixes, or it holds anything but
    /// visible ASCII, or a quote or a backslash.
    pub fn parse(text: &str) -> Result<Self, BadPrivilege> {
        let name = text.trim_start_matches("org:");
        let of_scope = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if name.is_empty() || !name.bytes().all(of_scope) {
            return Err(BadPrivilege);
        }
        Ok(Self(format!("org:{name}").into()))
    }

    /// Returns the name, with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A feature or a plan that somebody may have, as a question names it: `teams`, `o:teams`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entitlement {
    /// Who is to have it; nothing: the organization or the user.
    holder: Option<Holder>,
    id: Box<str>,
}

/// Who has a feature or a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holder {
    Organization,
    User,
}

/// A text that is no [`Entitlement`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the key of a feature or plan; write one like `teams`, `org:teams` or `user:gold`")]
pub struct BadEntitlement;

impl Entitlement {
    /// Reads a name, alone or after `o:`, `org:`, `organization:`, `u:` or `user:`.
    ///
    /// # Errors
    ///
    /// [`BadEntitlement`]: another scope; nothing after it, where Clerk's library would take the
    /// scope for the name; a second colon, where it would ignore what follows.
    pub fn parse(text: &str) -> Result<Self, BadEntitlement> {
        let (holder, id) = match text.split_once(':') {
            None => (None, text),
            Some(("o" | "org" | "organization", id)) => (Some(Holder::Organization), id),
            Some(("u" | "user", id)) => (Some(Holder::User), id),
            Some(_) => return Err(BadEntitlement),
        };
        // A comma or a space at an end parts two items of the claim, and is in none of them.
        if id.is_empty() || id.contains([':', ',']) || id.trim() != id {
            return Err(BadEntitlement);
        }
        Ok(Self { holder, id: id.into() })
    }

    /// Tells whether it is in a list; no list that holds an item without a scope has anything.
    fn is_among(&self, list: &ScopedList) -> bool {
        let of_holder = |scope: &str| match self.holder {
            Some(Holder::Organization) => matches!(scope, "o" | "ou" | "uo"),
            Some(Holder::User) => matches!(scope, "u" | "ou" | "uo"),
            None => matches!(scope, "o" | "u" | "ou" | "uo"),
        };
        let items = list.parted();
        items.is_some_and(|items| {
            items.iter().any(|(scope, id)| of_holder(scope) && **id == *self.id)
        })
    }
}

impl fmt::Display for Entitlement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.holder {
            Some(Holder::Organization) => "o:",
            Some(Holder::User) => "u:",
            None => "",
        };
        write!(out, "{scope}{}", self.id)
    }
}

/// How lately a user must have been verified, and by what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reverification {
    /// Both factors within 10 minutes.
    StrictMfa,
    /// The second factor within 10 minutes.
    Strict,
    /// The second factor within an hour.
    Moderate,
    /// The second factor within a day.
    Lax,
    /// This within so many minutes.
    Within {
        /// What must have been verified.
        level: Level,
        /// How long ago at most; the very minute is too long ago.
        after_minutes: NonZeroU32,
    },
}

/// What of a user must have been verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// The first factor.
    FirstFactor,
    /// The second factor; the first, of a user who has no second.
    SecondFactor,
    /// Both; the first, of a user who has no second.
    MultiFactor,
}

impl Level {
    /// Finds a level by Clerk's word.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::FirstFactor, Self::SecondFactor, Self::MultiFactor];
        all.into_iter().find(|level| level.as_str() == word)
    }

    /// Returns Clerk's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstFactor => "first_factor",
            Self::SecondFactor => "second_factor",
            Self::MultiFactor => "multi_factor",
        }
    }
}

impl Reverification {
    /// Finds a preset by Clerk's word.
    pub fn preset(word: &str) -> Option<Self> {
        let all = [Self::StrictMfa, Self::Strict, Self::Moderate, Self::Lax];
        all.into_iter().find(|preset| preset.metadata() == word)
    }

    /// Returns what a client is told it has to do, in the form that Clerk's front-end library
    /// takes: the word of a preset, or level and minutes.
    pub fn metadata(self) -> Value {
        match self {
            Self::StrictMfa => json!("strict_mfa"),
            Self::Strict => json!("strict"),
            Self::Moderate => json!("moderate"),
            Self::Lax => json!("lax"),
            Self::Within { level, after_minutes } => {
                json!({"level": level.as_str(), "afterMinutes": after_minutes})
            }
        }
    }

    fn parts(self) -> (Level, u32) {
        match self {
            Self::StrictMfa => (Level::MultiFactor, 10),
            Self::Strict => (Level::SecondFactor, 10),
            Self::Moderate => (Level::SecondFactor, 60),
            Self::Lax => (Level::SecondFactor, 24 * 60),
            Self::Within { level, after_minutes } => (level, after_minutes.get()),
        }
    }

    /// Tells whether factors of this age, in minutes, are young enough. -1 is a factor that was
    /// never verified, as of a user who has none.
    fn is_met_by(self, age: Option<(i64, i64)>) -> bool {
        const NEVER: i64 = -1;
        let (level, minutes) = self.parts();
        let Some((first, second)) = age.filter(|(a, b)| *a >= NEVER && *b >= NEVER) else {
            return false;
        };
        let fresh = |age: i64| age != NEVER && age < i64::from(minutes);
        match level {
            Level::FirstFactor => fresh(first),
            Level::SecondFactor | Level::MultiFactor if second == NEVER => fresh(first),
            Level::SecondFactor => fresh(second),
            Level::MultiFactor => fresh(first) && fresh(second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::caller;
    use crate::core::issuer::TokenClass;
    use crate::core::json::tests::object;

    fn session(claims: &Value) -> SessionClaims {
        SessionClaims::read(&object(claims))
    }

    fn role(text: &str) -> Asked {
        Asked::Role(Privilege::parse(text).unwrap())
    }

    fn permission(text: &str) -> Asked {
        Asked::Permission(Privilege::parse(text).unwrap())
    }

    fn feature(text: &str) -> Asked {
        Asked::Feature(Entitlement::parse(text).unwrap())
    }

    fn plan(text: &str) -> Asked {
        Asked::Plan(Entitlement::parse(text).unwrap())
    }

    fn everything() -> Value {
        json!({
            "v": 2, "fea": "o:dash,u:gold,ou:both,x:odd", "pla": "o:pro", "fva": [5, 30],
            "o": {"id": "org_1", "rol": "admin", "per": "read", "fpm": "1"},
        })
    }

    #[test]
    fn all_that_is_asked_must_be_had() {
        let strict = Asked::Reverification(Reverification::Strict);
        for (asked, want) in [
            (vec![], false),
            (vec![role("admin")], true),
            (vec![role("org:org:admin")], true),
            (vec![role("Admin")], false),
            (vec![permission("dash:read")], true),
            (vec![permission("org:dash:read")], true),
            (vec![permission("dash:write")], false),
            (vec![role("admin"), permission("dash:read"), feature("dash"), plan("pro")], true),
            (vec![role("member"), permission("dash:read")], false),
            (vec![role("admin"), permission("dash:write")], false),
            (vec![role("admin"), feature("none")], false),
            (vec![role("admin"), plan("none")], false),
            (vec![plan("pro"), strict.clone()], false),
            (vec![strict, role("admin")], false),
        ] {
            assert_eq!(session(&everything()).has(&asked), want, "{asked:?}");
        }
    }

    #[test]
    fn a_scope_says_whose_it_is() {
        for (text, want) in [
            ("dash", true),
            ("o:dash", true),
            ("org:dash", true),
            ("organization:dash", true),
            ("u:dash", false),
            ("user:dash", false),
            ("gold", true),
            ("u:gold", true),
            ("o:gold", false),
            ("o:both", true),
            ("user:both", true),
            ("odd", false), // nobody has what has a scope of its own
            ("das", false),
        ] {
            assert_eq!(session(&everything()).has(&[feature(text)]), want, "{text}");
        }
    }

    #[test]
    fn claims_in_a_form_of_their_own_have_nothing() {
        for (claims, asked) in [
            (json!({"fea": "o:dash,gold"}), feature("dash")),
            (json!({"fea": "o:dash,"}), feature("dash")),
            (json!({"fea": ["o:dash"]}), feature("dash")),
            (json!({"fea": ""}), feature("dash")),
            (json!({"pla": "pro"}), plan("pro")),
            (json!({"pla": {"o": "pro"}}), plan("pro")),
            (json!({"org_role": "org:admin"}), role("admin")), // of no organization
            (json!({"org_id": "", "org_role": "org:admin"}), role("admin")),
            (json!({"org_id": "org_1", "org_role": {"admin": true}}), role("admin")),
            (json!({"org_id": "org_1", "org_role": ["admin"]}), role("admin")),
            (json!({"org_id": "org_1", "org_permissions": "org:a:b"}), permission("a:b")),
            (json!({"org_id": "org_1", "org_permissions": [["org:a:b"]]}), permission("a:b")),
            (json!({"v": 2, "org_id": "org_1", "org_role": "org:admin"}), role("admin")),
        ] {
            assert!(!session(&claims).has(std::slice::from_ref(&asked)), "{claims} {asked:?}");
        }
    }

    #[test]
    fn a_role_is_had_with_any_number_of_prefixes() {
        for own in ["admin", "org:admin", "org:org:admin"] {
            let claims = json!({"org_id": "org_1", "org_role": own});
            assert!(session(&claims).has(&[role("org:admin")]), "{own}");
        }
    }

    #[test]
    fn only_session_tokens_have_anything() {
        let claims = object(&everything());
        let lax = Asked::Reverification(Reverification::Lax);
        for asked in [role("admin"), permission("dash:read"), feature("dash"), plan("pro"), lax] {
            let asked = std::slice::from_ref(&asked);
            for (class, want) in [
                (TokenClass::SessionToken, true),
                (TokenClass::JwtTemplate, false),
                (TokenClass::Oidc, false),
            ] {
                assert_eq!(caller::session_of(class, &claims).has(asked), want, "{class:?}");
            }
            assert!(!SessionClaims::default().has(asked), "nobody");
        }
    }

    #[test]
    fn factors_grow_old_by_the_minute() {
        use Level::{FirstFactor, MultiFactor, SecondFactor};
        let within = |level, minutes| Reverification::Within {
            level,
            after_minutes: NonZeroU32::new(minutes).unwrap(),
        };
        let all = [
            (Reverification::StrictMfa, "strict_mfa"),
            (Reverification::Strict, "strict"),
            (Reverification::Moderate, "moderate"),
            (Reverification::Lax, "lax"),
            (within(FirstFactor, 6), "first"),
            (within(SecondFactor, 31), "second"),
            (within(MultiFactor, 31), "multi"),
        ];
        for (age, met) in [
            (json!([5, 30]), &["moderate", "lax", "first", "second", "multi"][..]),
            (json!([9, 9]), &["strict_mfa", "strict", "moderate", "lax", "second", "multi"]),
            (json!([10, 10]), &["moderate", "lax", "second", "multi"]),
            (json!([11, 9]), &["strict", "moderate", "lax", "second", "multi"]),
            (json!([60, 60]), &["lax"]),
            (json!([1440, 1440]), &[]),
            // No second factor: the first stands for both.
            (json!([9, -1]), &["strict_mfa", "strict", "moderate", "lax", "second", "multi"]),
            // No first factor: it was never verified.
            (json!([-1, 9]), &["strict", "moderate", "lax", "second"]),
            (json!([-1, -1]), &[]),
            (json!([5, -2]), &[]),
            (json!([5]), &[]),
            (json!([5, 30, 30]), &[]),
            (json!(["5", "30"]), &[]),
            (json!(5), &[]),
            (json!(null), &[]),
        ] {
            let session = session(&json!({"fva": age}));
            let got = all.iter().filter(|(it, _)| session.has(&[Asked::Reverification(*it)]));
            assert_eq!(got.map(|(_, name)| *name).collect::<Vec<_>>(), met, "{age}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        for text in ["", "org:", "org:org:", "a b", "a\"b", "a\\b", "ä"] {
            assert_eq!(Privilege::parse(text), Err(BadPrivilege), "{text}");
        }
        for text in ["", "o:", "x:teams", ":teams", "o:a:b", "a,b", " a", "o:a "] {
            assert_eq!(Entitlement::parse(text), Err(BadEntitlement), "{text}");
        }
    }
}
