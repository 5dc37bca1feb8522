//! What a `[[route]]` asks and works, and not as it may be meant.

use crate::core::access::{Access, Demand, Forbidden, Rule, Session, Unauthenticated};
use crate::core::clerk::has::Asked;

use super::reader::Reader;
use super::rules::Callers;

/// Warns of it.
pub(super) fn warn(reader: &mut Reader<'_>, rule: &Rule, callers: Callers) {
    let Access::Required(demands) = &rule.access else {
        return warn_of_no_effect(reader, &rule.access);
    };
    for demand in demands.iter() {
        let Demand::Has(asked) = demand else { continue };
        let text =
            if callers.sessions { surprise(asked, rule.forbidden) } else { Some(NO_SESSIONS) };
        text.into_iter().for_each(|text| reader.warn(key_of(asked), text));
    }
    match (rule.session, callers) {
        (Session::Active, Callers { sessions: false, .. }) => {
            reader.warn("route.session", NO_SESSIONS);
        }
        (Session::Active, Callers { others: true, .. }) => reader.warn(
            "route.session",
            "tokens of templates and of other issuers are of no session: they are refused here; let their routes be without it",
        ),
        (Session::Active | Session::Token, _) => {}
    }
    if !callers.browsers
        && reader.is_written("route.unauthenticated")
        && rule.unauthenticated == Unauthenticated::Auto
    {
        let text = "`auto` is a 401 here, for pages too: where they could sign in is known with `clerk.publishable_key`";
        reader.warn("route.unauthenticated", text);
    }
}

const NO_SESSIONS: &str =
    "only session tokens of Clerk's say so, and none are accepted: nobody gets past this";

/// Says what whoever asks for this may not expect.
fn surprise(asked: &Asked, forbidden: Forbidden) -> Option<&'static str> {
    match (asked, forbidden) {
        (Asked::Permission(name), _) if name.as_str().starts_with("org:sys_") => Some(
            "Clerk puts no system permission into tokens: nobody gets past this; ask for one of your own",
        ),
        (Asked::Reverification(_), Forbidden::NotFound) => {
            Some("with `forbidden = \"not-found\"` no client learns that it should verify again")
        }
        (Asked::Reverification(_), Forbidden::Forbidden)
        | (Asked::Role(_) | Asked::Permission(_) | Asked::Feature(_) | Asked::Plan(_), _) => None,
    }
}

fn warn_of_no_effect(reader: &mut Reader<'_>, access: &Access) {
    for name in ["route.unauthenticated", "route.forbidden", "route.mode"] {
        if *access == Access::Public && reader.is_written(name) {
            reader.warn(name, "nobody is refused on a public route");
        }
    }
}

fn key_of(asked: &Asked) -> &'static str {
    match asked {
        Asked::Role(_) => "route.role",
        Asked::Permission(_) => "route.permission",
        Asked::Feature(_) => "route.feature",
        Asked::Plan(_) => "route.plan",
        Asked::Reverification(_) => "route.reverification",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{Scene, bare_warnings, settings, warnings};

    #[test]
    fn clerk_is_asked_of_sessions_where_a_route_says_so() {
        const OTHERS: &str = "[[issuer]]\nurl = \"https://b.com\"\naudience = [\"a\"]\n";
        let templates =
            |accept| format!("[clerk]\naccept = [{accept}]\njwt_template.audience = [\"a\"]\n");
        for (before, want) in [
            ("", None),
            (OTHERS, Some("route[1].session: tokens of templates and of other issuers are of no")),
            (&templates("\"session_token\", \"jwt_template\""), Some("route[1].session: tokens")),
            (&templates("\"jwt_template\""), Some("route[1].session: only session tokens")),
        ] {
            let text = format!("{before}[[route]]\npath = \"/1\"\nsession = \"active\"");
            let scene = Scene::default().toml(&text).env("CLERK_SECRET_KEY", "sk_live_x");
            let loaded = scene.load().unwrap();
            let got = loaded.warnings.iter().map(ToString::to_string);
            let got: Vec<_> = got.filter(|got| got.starts_with("route[1]")).collect();
            assert_eq!(got.len(), usize::from(want.is_some()), "{text}: {got:?}");
            assert!(want.is_none_or(|want| got[0].starts_with(want)), "{text}: {got:?}");
            let rule = &loaded.settings.proxy.routes.iter().next().unwrap().rule;
            assert_eq!(rule.session, Session::Active);
        }
        let usual = settings("[[route]]\npath = \"/1\"").proxy.routes;
        assert_eq!(usual.iter().next().unwrap().rule.session, Session::Token);
    }

    #[test]
    fn what_works_and_may_not_be_meant_is_told() {
        const TEMPLATES: &str =
            "[clerk]\naccept = [\"jwt_template\"]\njwt_template.audience = [\"a\"]\n";
        for (before, text, want) in [
            ("", "role = \"org:admin\"", None),
            (TEMPLATES, "role = \"org:admin\"", Some("route[1].role: only session tokens")),
            (TEMPLATES, "reverification = \"lax\"", Some("route[1].reverification: only session")),
            (TEMPLATES, "claims.a = 1", None),
            (
                "",
                "permission = \"sys_memberships:manage\"",
                Some("route[1].permission: Clerk puts"),
            ),
            (
                "",
                "reverification = \"lax\"\nforbidden = \"not-found\"",
                Some("route[1].reverification: with `forbidden"),
            ),
            (
                "",
                "access = \"public\"\nforbidden = \"not-found\"",
                Some("route[1].forbidden: nobody is refused on a public route"),
            ),
        ] {
            let got = warnings(&format!("{before}[[route]]\npath = \"/1\"\n{text}"));
            let got: Vec<_> = got.iter().filter(|got| got.starts_with("route[1]")).collect();
            assert_eq!(got.len(), usize::from(want.is_some()), "{text}: {got:?}");
            assert!(want.is_none_or(|want| got[0].starts_with(want)), "{text}: {got:?}");
        }
        let text =
            "[[issuer]]\nurl = \"https://b.com\"\naudience = [\"a\"]\n[[route]]\npath = \"/1\"\n";
        for (written, told) in [("", false), ("\"auto\"", true), ("\"challenge\"", false)] {
            let line = if written.is_empty() { "" } else { "unauthenticated = " };
            let got = bare_warnings(&format!("{text}{line}{written}"));
            let found =
                got.iter().any(|it| it.starts_with("route[1].unauthenticated: `auto` is a"));
            assert_eq!(found, told, "{written}: {got:?}");
        }
    }
}
