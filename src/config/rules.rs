//! `mode`, and what a `[[route]]` asks of the caller.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde_json::Value;

use crate::core::access::{
    Access, ClaimDemand, Demand, Demands, Forbidden, Mode, Rule, Scalar, Session, Unauthenticated,
};
use crate::core::clerk::has::{Asked, Entitlement, Level, Privilege, Reverification};

use super::identity::is_pointer;
use super::reader::Reader;

/// What the other sections say of callers.
#[derive(Clone, Copy)]
pub(super) struct Callers {
    /// Whether session tokens are good. Where none are, nobody has what Clerk says of sessions.
    pub(super) sessions: bool,
    /// Whether others are, which are of no session.
    pub(super) others: bool,
    /// Whether it is known where browsers sign in.
    pub(super) browsers: bool,
    /// Whether Clerk can be asked of a session.
    pub(super) secret_key: bool,
}

/// The keys that ask something of the caller.
const DEMANDS: [&str; 9] = [
    "route.role",
    "route.permission",
    "route.feature",
    "route.plan",
    "route.claims",
    "route.reverification",
    "route.reverification.level",
    "route.reverification.after_minutes",
    "route.session",
];

/// The longest time since a verification that can be asked for, in minutes: a year.
const LONGEST: usize = 365 * 24 * 60;

/// Reads whether requests are refused.
pub(super) fn mode(reader: &mut Reader<'_>, name: &'static str) -> Option<Mode> {
    let mode = reader.choice(name, &[("enforce", Mode::Enforce), ("report", Mode::Report)]);
    if mode == Some(Mode::Report) {
        reader
            .warn(name, "`report`: nobody is refused; what would be is counted as `would_reject`");
    }
    mode
}

/// Reads what a route asks, and what becomes of whoever has it not.
pub(super) fn rule(reader: &mut Reader<'_>, mode_of_all: Mode, callers: Callers) -> Rule {
    let unauthenticated = [
        ("auto", Unauthenticated::Auto),
        ("challenge", Unauthenticated::Challenge),
        ("not-found", Unauthenticated::NotFound),
    ];
    let unauthenticated = reader.choice("route.unauthenticated", &unauthenticated);
    let forbidden = [("forbidden", Forbidden::Forbidden), ("not-found", Forbidden::NotFound)];
    let forbidden = reader.choice("route.forbidden", &forbidden);
    let access = access(reader);
    Rule {
        session: session(reader, &access, callers),
        access,
        unauthenticated: unauthenticated.unwrap_or_default(),
        forbidden: forbidden.unwrap_or_default(),
        mode: mode(reader, "route.mode").unwrap_or(mode_of_all),
    }
}

/// Reads whether Clerk is asked, too, that the caller is still signed in.
fn session(reader: &mut Reader<'_>, access: &Access, callers: Callers) -> Session {
    let session = reader.choice("route.session", &[("active", Session::Active)]);
    let asks_clerk = session.is_some() && matches!(access, Access::Required(_));
    if asks_clerk && !callers.secret_key {
        reader.mistake(
            "route.session",
            "asks Clerk, which takes a secret key; set CLERK_SECRET_KEY or `clerk.secret_key_file`",
        );
    }
    session.unwrap_or_default()
}

/// Reads who may come. What says nothing of access is no reason to let anybody in.
fn access(reader: &mut Reader<'_>) -> Access {
    let required = Access::Required(Demands::new(demands(reader)));
    let access = reader.one("route.access", |text| match text {
        "public" => Ok(Access::Public),
        "optional" => Ok(Access::Optional),
        "required" => Ok(required.clone()),
        _ => Err("not one of `public`, `optional`, `required`"),
    });
    let access = access.unwrap_or(required);
    if !matches!(access, Access::Required(_)) {
        refuse_demands(reader, access.as_str());
    }
    access
}

/// Whoever needs no credential can be asked for nothing.
fn refuse_demands(reader: &mut Reader<'_>, access: &str) {
    for name in DEMANDS.into_iter().filter(|name| reader.is_written(name)).collect::<Vec<_>>() {
        let problem =
            format!("asks for a caller, and the route is {access}; write `access = \"required\"`");
        reader.mistake(name, problem);
    }
}

/// Reads what is asked of the caller, in the order in which it is looked at.
fn demands(reader: &mut Reader<'_>) -> Vec<Demand> {
    let role = reader.one("route.role", Privilege::parse).map(Asked::Role);
    let permission = reader.one("route.permission", Privilege::parse).map(Asked::Permission);
    let feature = reader.one("route.feature", Entitlement::parse).map(Asked::Feature);
    let plan = reader.one("route.plan", Entitlement::parse).map(Asked::Plan);
    let reverification = reverification(reader).map(Asked::Reverification);
    let claims = reader.many("route.claims", claim).unwrap_or_default();
    let of_session = [role, permission, feature, plan, reverification].into_iter().flatten();
    of_session.map(Demand::Has).chain(claims.into_iter().map(Demand::Claim)).collect()
}

/// Reads a preset by its name, or level and minutes.
fn reverification(reader: &mut Reader<'_>) -> Option<Reverification> {
    const TABLE: &str = "`{level = \"second_factor\", after_minutes = 10}`";
    let preset = reader.one("route.reverification", |text| {
        Reverification::preset(text).ok_or_else(|| {
            format!(
                "not one of `strict_mfa`, `strict`, `moderate`, `lax`, nor a table like {TABLE}"
            )
        })
    });
    let level = reader.one("route.reverification.level", |text| {
        Level::parse(text).ok_or("not one of `first_factor`, `second_factor`, `multi_factor`")
    });
    let minutes = reader.number("route.reverification.after_minutes", 1..=LONGEST);
    for (name, other) in [
        ("route.reverification.level", "route.reverification.after_minutes"),
        ("route.reverification.after_minutes", "route.reverification.level"),
    ] {
        if !reader.is_written(name) && reader.is_written(other) {
            reader.mistake(name, format!("not set; write both, like {TABLE}"));
        }
    }
    let minutes = minutes.and_then(|minutes| NonZeroU32::new(u32::try_from(minutes).ok()?));
    let within = level.zip(minutes);
    preset.or(within.map(|(level, after_minutes)| Reverification::Within { level, after_minutes }))
}

/// Reads what a claim must say: its name or a JSON pointer, and one value or a list of them.
fn claim(text: &str) -> Result<ClaimDemand, String> {
    let (name, json) = text.split_once('=').ok_or("a claim and its values")?;
    let pointer: Arc<str> = match name {
        "" => return Err("a claim has a name".to_owned()),
        pointer if pointer.starts_with('/') => pointer.into(),
        name => format!("/{}", name.replace('~', "~0").replace('/', "~1")).into(),
    };
    if !is_pointer(&pointer) {
        return Err("a JSON pointer has `~` only as `~0` and `~1`".to_owned());
    }
    let values = match serde_json::from_str(json).map_err(|_| "no `=` in the name of a claim")? {
        Value::Array(values) => values,
        value => vec![value],
    };
    if values.is_empty() {
        return Err("no value is allowed, so nobody could meet it; name some".to_owned());
    }
    let allowed = values.into_iter().map(scalar).collect::<Option<_>>();
    Ok(ClaimDemand { pointer, allowed: allowed.ok_or("texts, whole numbers, `true`, `false`")? })
}

fn scalar(value: Value) -> Option<Scalar> {
    match value {
        Value::String(text) => Some(Scalar::Text(text)),
        Value::Bool(truth) => Some(Scalar::Bool(truth)),
        Value::Number(number) => number.as_i64().map(Scalar::Number),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{mistakes, settings, warnings};

    fn rule_of(text: &str) -> Rule {
        let settings = settings(&format!("[[route]]\npath = \"/a\"\n{text}"));
        settings.proxy.routes.iter().next().unwrap().rule.clone()
    }

    #[test]
    fn bad_rules_earn_these_sentences() {
        for (text, want) in [
            ("role = \"\"", "role: empty; take it out"),
            ("role = \"org:\"", "role: \"org:\": not the key of a role or permission"),
            ("permission = \"a b\"", "permission: \"a b\": not the key of a role or permission"),
            ("feature = \"x:a\"", "feature: \"x:a\": not the key of a feature or plan"),
            ("plan = \"o:\"", "plan: \"o:\": not the key of a feature or plan"),
            (
                "reverification = \"stern\"",
                "reverification: \"stern\": not one of `strict_mfa`, `strict`, `moderate`, `lax`, nor a table",
            ),
            (
                "reverification = {level = \"third\", after_minutes = 1}",
                "reverification.level: \"third\": not one of `first_factor`",
            ),
            (
                "reverification = {level = \"first_factor\", after_minutes = 0}",
                "reverification.after_minutes: \"0\": at least 1",
            ),
            (
                "reverification.level = \"first_factor\"",
                "reverification.after_minutes: not set; write both",
            ),
            ("reverification.after_minutes = 5", "reverification.level: not set; write both"),
            ("claims = {}", "claims: an empty list"),
            ("claims.a = []", "claims: \"a=[]\": no value is allowed"),
            ("claims.\"\" = 1", "claims: \"=1\": a claim has a name"),
            ("claims.\"/a~b\" = 1", "claims: \"/a~b=1\": a JSON pointer has"),
            ("claims.\"a=b\" = true", "claims: \"a=b=true\": no `=` in the name of a claim"),
            (
                "access = \"public\"\nrole = \"a\"",
                "role: asks for a caller, and the route is public",
            ),
            (
                "access = \"optional\"\nclaims.a = 1",
                "claims: asks for a caller, and the route is optional; write `access = \"required\"`",
            ),
            (
                "access = \"public\"\nsession = \"active\"",
                "session: asks for a caller, and the route is public; write",
            ),
            ("session = \"token\"", "session: \"token\": not one of `active`"),
            ("session = \"active\"", "session: asks Clerk, which takes a secret key; set"),
            ("mode = \"audit\"", "mode: \"audit\": not one of `enforce`, `report`"),
            (
                "unauthenticated = \"404\"",
                "unauthenticated: \"404\": not one of `auto`, `challenge`, `not-found`",
            ),
            ("forbidden = \"404\"", "forbidden: \"404\": not one of `forbidden`, `not-found`"),
        ] {
            let got = mistakes(&format!("[[route]]\npath = \"/a\"\n{text}"));
            let want = format!("route[1].{want}");
            assert!(got.len() == 1 && got[0].starts_with(&want), "{text}: {got:?}");
        }
        assert!(mistakes("mode = \"audit\"")[0].starts_with("mode: \"audit\": not one of"));
    }

    #[test]
    fn what_is_asked_is_read() {
        let has = |asked| Demand::Has(asked);
        let claim = |pointer: &str, allowed| {
            Demand::Claim(ClaimDemand { pointer: pointer.into(), allowed })
        };
        let text = |text: &str| Scalar::Text(text.into());
        let privilege = |name| Privilege::parse(name).unwrap();
        let entitlement = |name| Entitlement::parse(name).unwrap();
        let ten = NonZeroU32::new(10).unwrap();
        let within = |level| Reverification::Within { level, after_minutes: ten };
        for (written, want) in [
            ("", vec![]),
            ("role = \"admin\"", vec![has(Asked::Role(privilege("org:admin")))]),
            (
                "permission = \"org:a:b\"\nplan = \"u:pro\"\nfeature = \"f\"",
                vec![
                    has(Asked::Permission(privilege("a:b"))),
                    has(Asked::Feature(entitlement("f"))),
                    has(Asked::Plan(entitlement("user:pro"))),
                ],
            ),
            (
                "reverification = \"strict_mfa\"",
                vec![has(Asked::Reverification(Reverification::StrictMfa))],
            ),
            (
                "reverification = {level = \"first_factor\", after_minutes = 10}",
                vec![has(Asked::Reverification(within(Level::FirstFactor)))],
            ),
            (
                "claims = {email_verified = true, \"https://a/b~\" = [\"x\", 5], \"/a/0\" = -1}",
                vec![
                    claim("/email_verified", vec![Scalar::Bool(true)]),
                    claim("/https:~1~1a~1b~0", vec![text("x"), Scalar::Number(5)]),
                    claim("/a/0", vec![Scalar::Number(-1)]),
                ],
            ),
        ] {
            assert_eq!(rule_of(written).access, Access::Required(Demands::new(want)), "{written}");
        }
        assert_eq!(rule_of("access = \"optional\"").access, Access::Optional);
        let hidden = rule_of("unauthenticated = \"not-found\"\nforbidden = \"not-found\"");
        assert_eq!(hidden.unauthenticated, Unauthenticated::NotFound);
        assert_eq!(hidden.forbidden, Forbidden::NotFound);
    }

    #[test]
    fn a_route_is_in_the_mode_of_all_unless_it_has_its_own() {
        for (all, own, routes, otherwise) in [
            ("", "", Mode::Enforce, Mode::Enforce),
            ("report", "", Mode::Report, Mode::Report),
            ("report", "enforce", Mode::Enforce, Mode::Report),
            ("enforce", "report", Mode::Report, Mode::Enforce),
        ] {
            let line = |mode: &str| match mode {
                "" => String::new(),
                mode => format!("mode = {mode:?}\n"),
            };
            let text = format!("{}[[route]]\npath = \"/a\"\n{}", line(all), line(own));
            let proxy = settings(&text).proxy;
            assert_eq!(proxy.routes.iter().next().unwrap().rule.mode, routes, "{text}");
            assert_eq!(proxy.routes.otherwise().mode, otherwise, "{text}");
            let warned = warnings(&text).iter().any(|got| got.contains("nobody is refused; what"));
            assert_eq!(warned, all == "report" || own == "report", "{text}");
        }
    }
}
