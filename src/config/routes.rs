//! `route`, `paths` and `cors`: which paths there are, and who may use them.

use http::Method;

use crate::core::access::{Access, Mode};
use crate::core::path::{Authority, PathPolicy};
use crate::core::route::{Case, PathPattern, Route, Routes};
use crate::proxy::Preflight;

use super::key::Home;
use super::reader::Reader;
use super::rule_warnings;
use super::rules::{self, Callers};
use super::written::Entries;

/// What the section says.
pub(super) struct Paths {
    pub(super) policy: PathPolicy,
    pub(super) routes: Routes,
    pub(super) preflight: Preflight,
}

/// Reads the sections.
pub(super) fn settings(reader: &mut Reader<'_>, written: &[Entries], callers: Callers) -> Paths {
    let policy = policy(reader);
    let case = match reader.switch("paths.case_insensitive") {
        Some(true) => Case::Insensitive,
        Some(false) | None => Case::Sensitive,
    };
    let words = [("forward", Preflight::Forward), ("refuse", Preflight::Refuse)];
    let preflight = reader.choice("cors.preflight", &words).unwrap_or_default();
    let mode = rules::mode(reader, "mode").unwrap_or_default();

    let public = reader.many("public", |text| pattern(text, policy)).unwrap_or_default();
    let open = |path: PathPattern| Route {
        name: path.as_str().to_owned(),
        host: None,
        path,
        methods: None,
        rule: Access::Public.into(),
    };
    let mut routes: Vec<Route> = public.into_iter().map(open).collect();
    for route in &routes {
        warn_of_all_public(reader, "public", route);
    }
    for (place, entries) in written.iter().enumerate() {
        let mut reader = reader.of_element(Home::Route, place + 1, entries);
        let Some(route) = route(&mut reader, policy, mode, callers) else { continue };
        warn_of_all_public(&mut reader, "route.path", &route);
        rule_warnings::warn(&mut reader, &route.rule, callers);
        warn_of_earlier(&mut reader, &routes, &route, case);
        routes.push(route);
    }
    if !reader.is_written("paths.case_insensitive") {
        warn_of_case(reader, &routes);
    }
    Paths { policy, routes: Routes::new(routes, case).otherwise_in(mode), preflight }
}

fn policy(reader: &mut Reader<'_>) -> PathPolicy {
    let mut policy = PathPolicy::default();
    reader.many("paths.allow", |text| {
        *match text {
            "encoded-slash" => &mut policy.encoded_slash,
            "encoded-backslash" => &mut policy.encoded_backslash,
            "encoded-dot" => &mut policy.encoded_dot,
            "encoded-percent" => &mut policy.encoded_percent,
            "double-slash" => &mut policy.double_slash,
            "semicolon" => &mut policy.semicolon,
            "backslash" => &mut policy.backslash,
            _ => return Err("not one of `encoded-slash`, `encoded-backslash`, `encoded-dot`, `encoded-percent`, `double-slash`, `semicolon`, `backslash`"),
        } = true;
        Ok(())
    });
    policy
}

/// Reads one route; nothing where it has no path, which is noted.
fn route(
    reader: &mut Reader<'_>,
    policy: PathPolicy,
    mode: Mode,
    callers: Callers,
) -> Option<Route> {
    let path = reader.one("route.path", |text| pattern(text, policy));
    if !reader.is_written("route.path") {
        reader.mistake("route.path", "not set; a route is for some paths, like `/admin/**`");
    }
    let name = reader.one("route.name", name);
    let host = reader.one("route.host", host);
    let methods = reader.many("route.methods", method);
    let rule = rules::rule(reader, mode, callers);
    let path = path?;
    let name = name.unwrap_or_else(|| path.as_str().to_owned());
    Some(Route { name, host, path, methods, rule })
}

fn pattern(text: &str, policy: PathPolicy) -> Result<PathPattern, String> {
    let pattern = PathPattern::parse(text).map_err(|error| error.to_string())?;
    pattern.check_canonical(policy).map_err(|error| error.to_string())?;
    Ok(pattern)
}

/// Reads what metrics and logs call a route.
fn name(text: &str) -> Result<String, &'static str> {
    const LONGEST: usize = 64;
    match text {
        "default" | "none" => Err("metrics call something else so; choose another name"),
        _ if text.len() > LONGEST => Err("longer than 64 bytes"),
        _ => Ok(text.to_owned()),
    }
}

/// Reads a host as routes compare it: in lower case, without a port.
fn host(text: &str) -> Result<String, &'static str> {
    let host =
        Authority::parse(text).map_err(|_| "not a host; write one like `app.example.com`")?;
    if host.as_str() != host.host() || text.ends_with(":80") {
        return Err("only the host; take off the port, or the dot at the end");
    }
    Ok(host.host().to_owned())
}

fn method(text: &str) -> Result<Method, String> {
    let capitals = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::TRACE | Method::CONNECT) => {
            Err("no such request is ever forwarded; take it out".to_owned())
        }
        Ok(method) if text == capitals => Ok(method),
        Ok(_) => Err(format!("methods are written in capitals; write `{capitals}`")),
        Err(_) => Err("not a method; write one like `GET`".to_owned()),
    }
}

fn warn_of_all_public(reader: &mut Reader<'_>, key: &'static str, route: &Route) {
    if route.rule.access == Access::Public && route.path.as_str() == "/**" {
        reader.warn(key, "`/**` is public: no credential is looked at, on any path");
    }
}

/// Warns where routes before this one have all its requests, or one that asks less has some: an
/// exception from a wider route is meant, unless that one asks for more than a good token; two
/// routes that only cross may not be.
fn warn_of_earlier(reader: &mut Reader<'_>, routes: &[Route], route: &Route, case: Case) {
    if let Some(earlier) = routes.iter().find(|earlier| covers(earlier, route, case)) {
        let name = &earlier.name;
        let text = format!("never matches: the route `{name}` before it has all its requests");
        return reader.warn("route.path", text);
    }
    let asks_for_a_caller = |route: &Route| matches!(route.rule.access, Access::Required(_));
    let Access::Required(demands) = &route.rule.access else { return };
    let within =
        |earlier: &&Route| earlier.rule.access == Access::Public && covers(route, earlier, case);
    if let Some(earlier) = routes.iter().find(within).filter(|_| !demands.is_empty()) {
        let text = format!(
            "the route `{}` before it is public and lies within it: nothing that is asked here is asked there",
            earlier.name
        );
        reader.warn("route.path", text);
    }
    let crossing = routes.iter().find(|earlier| {
        !asks_for_a_caller(earlier)
            && crosses(earlier, route, case)
            && !covers(route, earlier, case)
    });
    if let Some(earlier) = crossing {
        let (name, access) = (&earlier.name, earlier.rule.access.as_str());
        let text = format!(
            "the route `{name}` before it is {access} and has some of its requests; put this one first, unless that is meant"
        );
        reader.warn("route.path", text);
    }
}

/// Warns once where a route asks more than the same path would be asked in another case: the
/// routes take the two for different, and the backend may not.
fn warn_of_case(reader: &mut Reader<'_>, routes: &[Route]) {
    let has_letters =
        |route: &Route| route.path.as_str().bytes().any(|it| it.is_ascii_alphabetic());
    let asks_more = |(place, route): &(usize, &Route)| match &route.rule.access {
        Access::Public | Access::Optional => false,
        Access::Required(demands) => {
            let opens = |later: &Route| {
                !matches!(later.rule.access, Access::Required(_))
                    && covers(later, route, Case::Sensitive)
            };
            !demands.is_empty() || routes[place + 1..].iter().any(opens)
        }
    };
    let route = routes
        .iter()
        .enumerate()
        .filter(asks_more)
        .map(|(_, route)| route)
        .find(|it| has_letters(it));
    if let Some(route) = route {
        let text = format!(
            "not set: what the route `{}` asks is not asked where its path comes in other capitals; write `true` if the backend takes the two for one path, `false` if not",
            route.name
        );
        reader.warn("paths.case_insensitive", text);
    }
}

/// Tells whether some request is for both routes.
fn crosses(one: &Route, other: &Route, case: Case) -> bool {
    let hosts = one.host.is_none() || other.host.is_none() || one.host == other.host;
    let methods = match (&one.methods, &other.methods) {
        (Some(one), Some(other)) => one.iter().any(|method| other.contains(method)),
        (None, _) | (_, None) => true,
    };
    hosts && methods && one.path.crosses(&other.path, case)
}

/// Tells whether every request that `later` matches is one of `earlier`'s.
///
/// Sound and not complete: two routes that together cover a third are not found.
fn covers(earlier: &Route, later: &Route, case: Case) -> bool {
    let hosts = earlier.host.is_none() || earlier.host == later.host;
    let methods = match (&earlier.methods, &later.methods) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => later.iter().all(|method| {
            earlier.contains(method) || (*method == Method::HEAD && earlier.contains(&Method::GET))
        }),
    };
    let (wide, narrow) = (earlier.path.as_str(), later.path.as_str());
    // A star of the later one is a segment like any: only a star of the earlier one matches it.
    let paths = match narrow.strip_suffix("/**") {
        None => earlier.path.matches(narrow, case),
        Some(base) => {
            wide.ends_with("/**")
                && earlier.path.matches(if base.is_empty() { "/" } else { base }, case)
        }
    };
    hosts && methods && paths
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{mistakes, settings, warnings};
    use crate::core::access::Access;

    #[test]
    fn bad_routes_earn_these_sentences() {
        for (text, want) in [
            ("", "route[1].path: not set"),
            ("path = \"a\"", "route[1].path: \"a\": a path starts with `/` (a.toml:2:8)"),
            ("path = \"/a*\"", "route[1].path: \"/a*\": `*` and `**` stand alone"),
            ("path = \"/a//b\"", "route[1].path: \"/a//b\": no request has this path"),
            (
                "path = \"/\"\naccess = \"open\"",
                "route[1].access: \"open\": not one of `public`, `optional`, `required`",
            ),
            ("path = \"/\"\nmethods = []", "route[1].methods: an empty list"),
            (
                "path = \"/\"\nmethods = [\"get\"]",
                "route[1].methods: \"get\": methods are written in capitals; write `GET`",
            ),
            ("path = \"/\"\nmethods = [\"G T\"]", "route[1].methods: \"G T\": not a method"),
            (
                "path = \"/\"\nmethods = [\"TRACE\"]",
                "route[1].methods: \"TRACE\": no such request is ever forwarded",
            ),
            ("path = \"/\"\nhost = \"a b\"", "route[1].host: \"a b\": not a host"),
            ("path = \"/\"\nhost = \"a:81\"", "route[1].host: \"a:81\": only the host"),
            ("path = \"/\"\nhost = \"a:80\"", "route[1].host: \"a:80\": only the host"),
            (
                "path = \"/\"\nname = \"default\"",
                "route[1].name: \"default\": metrics call something else so",
            ),
        ] {
            let got = mistakes(&format!("[[route]]\n{text}"));
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
        }
        for (text, want) in [
            ("paths.allow = [\"slash\"]", "paths.allow: \"slash\": not one of `encoded-slash`"),
            (
                "cors.preflight = \"answer\"",
                "cors.preflight: \"answer\": not one of `forward`, `refuse`",
            ),
        ] {
            let got = mistakes(text);
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
        }
    }

    #[test]
    fn a_path_is_canonical_as_the_settings_have_it() {
        let route = "[[route]]\npath = \"/a//b\"\naccess = \"public\"";
        assert_eq!(mistakes(&format!("paths.allow = [\"double-slash\"]\n{route}")), [""; 0]);
    }

    #[test]
    fn a_route_is_required_unless_it_says_otherwise() {
        let text = "[[route]]\npath = \"/a\"\n[[route]]\npath = \"/b\"\naccess = \"public\"\nhost = \"A.com\"\nname = \"b\"";
        let settings = settings(text);
        let routes: Vec<_> = settings.proxy.routes.iter().collect();
        assert_eq!((&routes[0].rule, routes[0].name.as_str()), (&Access::SIGNED_IN.into(), "/a"));
        assert_eq!((&routes[1].rule, routes[1].name.as_str()), (&Access::Public.into(), "b"));
        assert_eq!(routes[1].host.as_deref(), Some("a.com"));
    }

    #[test]
    fn a_route_that_never_matches_is_told() {
        for (earlier, later, told) in [
            ("path = \"/**\"", "path = \"/a\"", true),
            ("path = \"/a/**\"", "path = \"/a\"", true),
            ("path = \"/a/**\"", "path = \"/a/b/**\"", true),
            ("path = \"/a/**\"", "path = \"/**\"", false),
            ("path = \"/a/*\"", "path = \"/a/**\"", false),
            ("path = \"/a/*\"", "path = \"/a/b\"", true),
            ("path = \"/a/b\"", "path = \"/a/*\"", false),
            ("path = \"/*/b\"", "path = \"/*/b\"", true),
            ("path = \"/a\"", "path = \"/a/\"", true),
            ("path = \"/a\"", "path = \"/b\"", false),
            ("path = \"/a\"", "path = \"/A\"", false),
            ("path = \"/a\"\nhost = \"x\"", "path = \"/a\"", false),
            ("path = \"/a\"", "path = \"/a\"\nhost = \"x\"", true),
            ("path = \"/a\"\nhost = \"x\"", "path = \"/a\"\nhost = \"y\"", false),
            ("path = \"/a\"\nmethods = [\"GET\"]", "path = \"/a\"", false),
            ("path = \"/a\"\nmethods = [\"GET\"]", "path = \"/a\"\nmethods = [\"HEAD\"]", true),
            (
                "path = \"/a\"\nmethods = [\"GET\"]",
                "path = \"/a\"\nmethods = [\"GET\", \"PUT\"]",
                false,
            ),
        ] {
            let text = format!("[[route]]\n{earlier}\n[[route]]\n{later}");
            let found =
                warnings(&text).iter().any(|got| got.starts_with("route[2].path: never matches"));
            assert_eq!(found, told, "{text}");
        }
    }

    #[test]
    fn a_route_that_crosses_one_that_asks_less_is_told() {
        for (earlier, later, told) in [
            ("path = \"/users/*/avatar\"\naccess = \"public\"", "path = \"/users/admin/**\"", true),
            ("path = \"/users/*/avatar\"\naccess = \"optional\"", "path = \"/users/a/**\"", true),
            ("path = \"/users/*/avatar\"", "path = \"/users/admin/**\"", false),
            ("path = \"/a/b\"\naccess = \"public\"", "path = \"/a/**\"", false),
            ("path = \"/a/*\"\naccess = \"public\"", "path = \"/*/b\"", true),
            ("path = \"/a/*\"\naccess = \"public\"", "path = \"/*/b\"\naccess = \"public\"", false),
            ("path = \"/a/*\"\naccess = \"public\"", "path = \"/*/b/c\"", false),
            ("path = \"/**\"\nhost = \"x\"\naccess = \"public\"", "path = \"/a\"", true),
            (
                "path = \"/**\"\nhost = \"x\"\naccess = \"public\"",
                "path = \"/a\"\nhost = \"y\"",
                false,
            ),
            (
                "path = \"/a\"\nmethods = [\"GET\"]\naccess = \"public\"",
                "path = \"/a\"\nmethods = [\"PUT\"]",
                false,
            ),
        ] {
            let text = format!("[[route]]\n{earlier}\n[[route]]\n{later}");
            let found = warnings(&text).iter().any(|got| got.contains("has some of its requests"));
            assert_eq!(found, told, "{text}");
        }
    }

    #[test]
    fn a_public_route_within_one_that_asks_for_more_than_a_token_is_told() {
        for (earlier, later, told) in [
            ("path = \"/admin/a\"\naccess = \"public\"", "role = \"org:admin\"", true),
            ("path = \"/admin/a\"\naccess = \"public\"", "", false),
            ("path = \"/admin/a\"\naccess = \"optional\"", "role = \"org:admin\"", false),
            ("path = \"/other\"\naccess = \"public\"", "role = \"org:admin\"", false),
        ] {
            let text = format!("[[route]]\n{earlier}\n[[route]]\npath = \"/admin/**\"\n{later}");
            let want = "route[2].path: the route `/admin/a` before it is public and lies within it";
            assert_eq!(warnings(&text).iter().any(|got| got.starts_with(want)), told, "{text}");
        }
    }

    #[test]
    fn a_route_that_asks_more_than_its_path_in_capitals_is_told_once() {
        let admin = "[[route]]\npath = \"/admin/**\"\nrole = \"org:admin\"\n";
        for (text, told) in [
            (admin.to_owned(), 1),
            (format!("{admin}{admin}"), 1),
            (format!("paths.case_insensitive = false\n{admin}"), 0),
            (format!("paths.case_insensitive = true\n{admin}"), 0),
            ("[[route]]\npath = \"/**\"\nrole = \"org:admin\"".to_owned(), 0),
            ("[[route]]\npath = \"/admin\"".to_owned(), 0), // as all other paths
            (
                "[[route]]\npath = \"/admin\"\n[[route]]\npath = \"/**\"\naccess = \"public\""
                    .to_owned(),
                1,
            ),
        ] {
            let warnings = warnings(&text);
            let found = warnings.iter().filter(|got| got.starts_with("paths.case_insensitive: "));
            assert_eq!(found.count(), told, "{text}: {warnings:?}");
        }
    }

    #[test]
    fn a_proxy_that_lets_everybody_in_is_warned_of() {
        let found = |text: &str| warnings(text).iter().any(|got| got.contains("`/**` is public"));
        assert!(found("[[route]]\npath = \"/**\"\naccess = \"public\""));
        assert!(!found("[[route]]\npath = \"/**\""));
    }
}
