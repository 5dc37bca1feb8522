//! What a session token says about a user: version 1 and version 2 of Clerk's claims.

use crate::core::json::{Object, Value};

/// What a session token says about its user beside the registered claims.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionClaims {
    /// The organization that is active in the session.
    pub organization: Option<Organization>,
    /// `act.sub`: who really acts, where somebody impersonates the user.
    pub actor: Option<String>,
    /// `sts` is `pending`: signed in, but with a task left before the session counts.
    pub pending: bool,
    /// `fva`: minutes since the first and the second factor were verified; -1 for never.
    pub factor_age: Option<(i64, i64)>,
    /// `fea`: what the organization and the user may use.
    pub features: ScopedList,
    /// `pla`: what they have booked.
    pub plans: ScopedList,
}

/// A claim that lists what the organization and the user have, each item after its scope:
/// `o:teams,u:gold,ou:chat`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScopedList(Box<str>);

/// The organization that is active in a session, and what the user may do in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Organization {
    /// `org_…`
    pub id: String,
    /// The name in addresses.
    pub slug: Option<String>,
    /// With its prefix: `org:admin`.
    pub role: Option<String>,
    /// As `org:feature:permission`, in the order of the token.
    pub permissions: Vec<String>,
}

impl SessionClaims {
    /// Reads the claims of a session.
    ///
    /// `v` is the number 2: organization and permissions stand packed under `o` and `fea`. Any
    /// other `v`, the text `"2"` too: they stand open under `org_…`. One form is read, never both:
    /// a token with two organizations has the one of its version.
    pub fn read(claims: &Object) -> Self {
        let version_2 = claims.get("v").and_then(Value::as_f64) == Some(2.0);
        let features = ScopedList::read(claims.get("fea"));
        Self {
            organization: if version_2 {
                organization_v2(claims, &features)
            } else {
                organization_v1(claims)
            },
            features,
            plans: ScopedList::read(claims.get("pla")),
            pending: claims.get("sts").and_then(Value::as_str) == Some("pending"),
            factor_age: factor_age(claims),
            ..Self::only_actor(claims)
        }
    }

    /// Reads who really acts, and nothing else: the names of the other claims mean something to
    /// Clerk alone, and only in a session token.
    pub fn only_actor(claims: &Object) -> Self {
        let actor = claims.get("act").and_then(|act| text(act.get("sub")?));
        Self { actor, ..Self::default() }
    }
}

impl ScopedList {
    fn read(claim: Option<Value<'_>>) -> Self {
        Self(claim.and_then(Value::as_str).unwrap_or_default().into())
    }

    /// Returns the items, each with its scope, as the token has them.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').map(str::trim).filter(|item| !item.is_empty())
    }

    /// Returns scope and name of each item; nothing where one has no scope.
    pub(super) fn parted(&self) -> Option<Vec<(&str, &str)>> {
        self.0.split(',').map(|item| item.trim().split_once(':')).collect()
    }

    /// Returns how much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Tells whether somebody acts for the user: `act` is there and not null, whatever it holds.
pub fn is_impersonated(claims: &Object) -> bool {
    claims.get("act").is_some_and(|act| !act.is_null())
}

fn organization_v1(claims: &Object) -> Option<Organization> {
    let permissions = claims.get("org_permissions").and_then(Value::as_array);
    Some(Organization {
        id: text(claims.get("org_id")?)?,
        slug: claims.get("org_slug").and_then(text),
        role: claims.get("org_role").and_then(text),
        permissions: permissions.into_iter().flatten().filter_map(text).collect(),
    })
}

fn organization_v2(claims: &Object, features: &ScopedList) -> Option<Organization> {
    let o = claims.get("o")?;
    Some(Organization {
        id: text(o.get("id")?)?,
        slug: o.get("slg").and_then(text),
        role: o.get("rol").and_then(text).map(|role| ["org:", &role].concat()),
        permissions: permissions_v2(features, o.get("per"), o.get("fpm")),
    })
}

/// Unpacks the permissions of version 2: `fpm` holds, per feature of the organization, a bit mask
/// over the names in `per`, lowest bit first.
///
/// Masks count the organization's features alone; a user's feature (`u:…`) in between takes no
/// mask. Clerk's own library reads it so. Masks are of any length. Whatever does not fit (a
/// feature without a scope, a mask that is no number) gives no permission rather than a wrong one.
fn permissions_v2(fea: &ScopedList, per: Option<Value<'_>>, fpm: Option<Value<'_>>) -> Vec<String> {
    let (Some(features), Some(names), Some(masks)) =
        (organization_features(fea), non_empty(per), non_empty(fpm))
    else {
        return Vec::new();
    };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    let mut permissions = Vec::new();
    for (feature, mask) in features.iter().zip(masks.split(',')) {
        for bit in bits(mask.trim(), names.len()) {
            permissions.push(["org:", feature, ":", names[bit]].concat());
        }
    }
    permissions
}

/// Returns the features an organization has, in order; nothing where one has no scope.
fn organization_features(fea: &ScopedList) -> Option<Vec<&str>> {
    let parted = fea.parted()?.into_iter();
    let own = parted.filter(|(scope, _)| matches!(*scope, "o" | "ou" | "uo"));
    Some(own.map(|(_, name)| name).collect())
}

/// Returns which of the lowest `count` bits are set in a decimal number of any length.
///
/// Halves the number digit by digit, so that a mask beyond 64 bits is read as exactly as a small
/// one. Nothing where `mask` is no number.
fn bits(mask: &str, count: usize) -> Vec<usize> {
    if mask.is_empty() || !mask.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let mut digits: Vec<u8> = mask.bytes().map(|byte| byte - b'0').collect();
    let mut set = Vec::new();
    for bit in 0..count {
        let mut carry = 0;
        for digit in &mut digits {
            let value = carry * 10 + *digit;
            *digit = value / 2;
            carry = value % 2;
        }
        if carry == 1 {
            set.push(bit);
        }
        if digits.iter().all(|digit| *digit == 0) {
            break;
        }
    }
    set
}

fn factor_age(claims: &Object) -> Option<(i64, i64)> {
    let mut ages = claims.get("fva")?.as_array()?;
    let (first, second) = (ages.next()?, ages.next()?);
    if ages.next().is_some() {
        return None;
    }
    Some((first.as_i64()?, second.as_i64()?))
}

fn text(value: Value<'_>) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn non_empty(value: Option<Value<'_>>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json::tests::object;
    use serde_json::json;

    fn organization(claims: &serde_json::Value) -> Organization {
        SessionClaims::read(&object(claims)).organization.unwrap_or_default()
    }

    #[test]
    fn permissions_are_unpacked_to_the_letter() {
        let beyond_64_bits = (0..70).map(|n| format!("p{n}")).collect::<Vec<_>>().join(",");
        for (fea, per, fpm, want) in [
            (
                "o:dashboard,o:teams",
                "manage,read",
                "3,2",
                &["org:dashboard:manage", "org:dashboard:read", "org:teams:read"][..],
            ),
            ("o:a,uo:b,u:c", "x,y", "1,2,3", &["org:a:x", "org:b:y"]),
            ("u:x,o:dashboard", "read,manage", "0,3", &[]), // masks skip users' features
            (
                "u:x,o:dashboard",
                "read,manage",
                "3",
                &["org:dashboard:read", "org:dashboard:manage"],
            ),
            ("o:a", "x", "7", &["org:a:x"]), // bits beyond the names
            ("o:a,o:b", "x", "1", &["org:a:x"]), // a mask too few
            ("o:a", "x", "-1", &[]),
            ("o:a", "x", "0x1", &[]),
            ("o:a", "x", "", &[]),
            ("o:a", "x", " 01 ", &["org:a:x"]),
            ("a", "x", "1", &[]), // no scope: nothing is granted
            ("o:a", &beyond_64_bits, "590295810358705651712", &["org:a:p69"]),
        ] {
            let claims = json!({"v": 2, "fea": fea, "o": {"id": "org_1", "per": per, "fpm": fpm}});
            assert_eq!(organization(&claims).permissions, want, "{fea} {fpm}");
        }
    }

    #[test]
    fn the_version_decides_which_organization_counts() {
        let both = |v: serde_json::Value| json!({"v": v, "org_id": "org_v1", "org_role": "org:admin", "o": {"id": "org_v2", "rol": "member"}});
        for (v, id, role) in [
            (json!(2), "org_v2", "org:member"),
            (json!("2"), "org_v1", "org:admin"),
            (json!(1), "org_v1", "org:admin"),
            (json!(3), "org_v1", "org:admin"),
            (json!(null), "org_v1", "org:admin"),
        ] {
            let got = organization(&both(v.clone()));
            assert_eq!((got.id.as_str(), got.role.as_deref()), (id, Some(role)), "{v}");
        }
    }

    #[test]
    fn an_actor_is_seen_in_any_form() {
        for (act, actor, impersonated) in [
            (json!({"sub": "user_admin"}), Some("user_admin"), true),
            (json!({"iss": "x"}), None, true),
            (json!("user_admin"), None, true),
            (json!(null), None, false),
        ] {
            let claims = json!({"act": act});
            let claims = object(&claims);
            assert_eq!(SessionClaims::read(&claims).actor.as_deref(), actor, "{act}");
            assert_eq!(is_impersonated(&claims), impersonated, "{act}");
        }
    }
}
