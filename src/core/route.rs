//! The route table: which rule stands for a request.

use std::cmp::Ordering;
use std::sync::Arc;

use http::Method;

use crate::core::access::{Access, Demand, Mode, Rule};
use crate::core::path::{Authority, CanonicalPath};

/// A rule for some paths.
#[derive(Clone, Debug)]
pub struct Route {
    /// What metrics and logs call it.
    pub name: String,
    /// The host it is for, in lower case and without a port; nothing: any.
    pub host: Option<String>,
    /// The paths it is for.
    pub path: PathPattern,
    /// The methods it is for; nothing: all. HEAD goes with GET.
    pub methods: Option<Vec<Method>>,
    /// What it asks of the caller, and what becomes of whoever has it not.
    pub rule: Rule,
}

/// The paths a route is for: `/a` exactly, `/a/*` one segment below, `/a/**` itself and all below.
///
/// Whole segments match, so `/orders` is not `/ordersadmin`; `/a` covers `/a/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// `**` at the end.
    below: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Text(String),
    Any,
}

/// A text that is no [`PathPattern`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadPathPattern {
    /// It does not start with a slash.
    #[error("a path starts with `/`")]
    Relative,
    /// A star stands beside other text.
    #[error("`*` and `**` stand alone between slashes, `**` only at the end")]
    Star,
    /// No request has such a path.
    #[error(
        "no request has this path: it is not in canonical form (no `//`, no dot segment, `%` only as `%XX` in capitals)"
    )]
    NotCanonical,
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`BadPathPattern`], by what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadPathPattern> {
        let inner = text.strip_prefix('/').ok_or(BadPathPattern::Relative)?;
        let (inner, below) = match inner.strip_suffix("**") {
            Some(rest) if rest.is_empty() || rest.ends_with('/') => (rest, true),
            Some(_) => return Err(BadPathPattern::Star),
            None => (inner, false),
        };
        let segments = segments(inner).map(|segment| match segment {
            "*" => Ok(Segment::Any),
            text if text.contains('*') => Err(BadPathPattern::Star),
            text => Ok(Segment::Text(text.to_owned())),
        });
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { text: text.to_owned(), segments, below })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether every segment of it could stand in a canonical path under `policy`.
    ///
    /// # Errors
    ///
    /// [`BadPathPattern::NotCanonical`] where it could not, so that the route would never match.
    pub fn check_canonical(
        &self,
        policy: crate::core::path::PathPolicy,
    ) -> Result<(), BadPathPattern> {
        let sample = self.text.replace('*', "x");
        match CanonicalPath::parse(&sample, policy) {
            Ok(path) if path.as_str() == sample => Ok(()),
            _ => Err(BadPathPattern::NotCanonical),
        }
    }

    /// Tells whether `path` is one of the pattern's.
    pub fn matches(&self, path: &str, case: Case) -> bool {
        let mut rest = segments(path.strip_prefix('/').unwrap_or(path));
        for segment in &self.segments {
            match (segment, rest.next()) {
                (_, None) => return false,
                (Segment::Any, Some(_)) => {}
                (Segment::Text(text), Some(other)) if case.same(text, other) => {}
                (Segment::Text(_), Some(_)) => return false,
            }
        }
        self.below || rest.next().is_none()
    }
}

impl PathPattern {
    /// Tells whether some path is one of both patterns'.
    pub fn crosses(&self, other: &Self, case: Case) -> bool {
        let alike = |(one, other): (&Segment, &Segment)| match (one, other) {
            (Segment::Text(one), Segment::Text(other)) => case.same(one, other),
            (Segment::Any, _) | (_, Segment::Any) => true,
        };
        let longer_goes_on = match self.segments.len().cmp(&other.segments.len()) {
            Ordering::Less => self.below,
            Ordering::Equal => true,
            Ordering::Greater => other.below,
        };
        longer_goes_on && self.segments.iter().zip(&other.segments).all(alike)
    }
}

/// The segments of a path without its first slash; a slash at the end adds none.
fn segments(inner: &str) -> impl Iterator<Item = &str> {
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let empty = inner.is_empty();
    inner.split('/').filter(move |_| !empty)
}

/// Whether capitals count in paths.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Case {
    /// `/A` is not `/a`.
    #[default]
    Sensitive,
    /// `/A` is `/a`, as some backends have it.
    Insensitive,
}

impl Case {
    fn same(self, a: &str, b: &str) -> bool {
        match self {
            Self::Sensitive => a == b,
            Self::Insensitive => a.eq_ignore_ascii_case(b),
        }
    }
}

/// The rules in their order. The first that matches decides.
#[derive(Clone, Debug)]
pub struct Routes {
    routes: Vec<Route>,
    case: Case,
    otherwise: Rule,
    /// The claims that routes ask about, by their pointers.
    asked: Vec<Arc<str>>,
}

/// Which route stands for a request: its place in the table, or none of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RouteMatch<'a> {
    /// The place, for what is kept beside each route; nothing where no rule matched.
    pub place: Option<usize>,
    /// What is asked of the caller. Where no rule matched: [`Routes::otherwise`].
    pub rule: &'a Rule,
}

impl Routes {
    /// Creates the table.
    pub fn new(routes: Vec<Route>, case: Case) -> Self {
        let mut asked: Vec<_> = routes.iter().flat_map(claims).map(Arc::clone).collect();
        asked.sort();
        asked.dedup();
        Self { routes, case, otherwise: Access::SIGNED_IN.into(), asked }
    }

    /// Says what becomes of requests that no rule matches and that would be refused.
    #[must_use]
    pub fn otherwise_in(mut self, mode: Mode) -> Self {
        self.otherwise.mode = mode;
        self
    }

    /// Finds the route for a request.
    pub fn find(
        &self,
        method: &Method,
        host: &Authority,
        path: &CanonicalPath<'_>,
    ) -> RouteMatch<'_> {
        let found = self.routes.iter().enumerate().find(|(_, route)| {
            route.path.matches(path.as_str(), self.case)
                && route.host.as_deref().is_none_or(|own| own == host.host())
                && route.methods.as_ref().is_none_or(|own| allows(own, method))
        });
        match found {
            Some((place, route)) => RouteMatch { place: Some(place), rule: &route.rule },
            None => RouteMatch { place: None, rule: &self.otherwise },
        }
    }

    /// Returns what is asked where no rule matches: a good credential, and nothing else.
    pub fn otherwise(&self) -> &Rule {
        &self.otherwise
    }

    /// Returns the claims that some route asks about, by their JSON pointers.
    pub fn asked_claims(&self) -> impl Iterator<Item = &Arc<str>> {
        self.asked.iter()
    }

    /// Tells whether it can matter which method a request has.
    pub fn look_at_methods(&self) -> bool {
        self.iter().any(|route| route.methods.is_some())
    }

    /// Returns the routes in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

fn claims(route: &Route) -> impl Iterator<Item = &Arc<str>> {
    let demands = match &route.rule.access {
        Access::Public | Access::Optional => None,
        Access::Required(demands) => Some(demands.iter()),
    };
    demands.into_iter().flatten().filter_map(|demand| match demand {
        Demand::Claim(claim) => Some(&claim.pointer),
        Demand::Has(_) => None,
    })
}

fn allows(own: &[Method], method: &Method) -> bool {
    own.contains(method) || (*method == Method::HEAD && own.contains(&Method::GET))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::path::PathPolicy;

    #[test]
    fn a_pattern_matches_whole_segments() {
        for (pattern, path, want) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/a", "/a", true),
            ("/a", "/a/", true),
            ("/a/", "/a", true),
            ("/a", "/a/b", false),
            ("/a", "/ab", false),
            ("/a", "/A", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/a/**", "/a%2Fb", false),
        ] {
            let pattern = PathPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(path, Case::Sensitive), want, "{pattern:?} {path}");
        }
        let pattern = PathPattern::parse("/Admin/**").unwrap();
        assert!(pattern.matches("/ADMIN/x", Case::Insensitive));
    }

    #[test]
    fn a_pattern_that_no_path_could_match_is_told() {
        for (text, want) in [
            ("a", Err(BadPathPattern::Relative)),
            ("", Err(BadPathPattern::Relative)),
            ("/a*", Err(BadPathPattern::Star)),
            ("/a**", Err(BadPathPattern::Star)),
            ("/**/a", Err(BadPathPattern::Star)),
            ("/a//b", Err(BadPathPattern::NotCanonical)),
            ("/a/../b", Err(BadPathPattern::NotCanonical)),
            ("/a%2fb", Err(BadPathPattern::NotCanonical)),
            ("/%61", Err(BadPathPattern::NotCanonical)),
            ("/a?b", Err(BadPathPattern::NotCanonical)),
            ("/a/*", Ok(())),
            ("/**", Ok(())),
        ] {
            let got = PathPattern::parse(text)
                .and_then(|pattern| pattern.check_canonical(PathPolicy::default()));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        let route = |path: &str, host: Option<&str>, methods: Option<Vec<Method>>| Route {
            name: path.into(),
            host: host.map(Into::into),
            path: PathPattern::parse(path).unwrap(),
            methods,
            rule: Access::Public.into(),
        };
        let routes = Routes::new(
            vec![
                route("/hooks/**", None, Some(vec![Method::POST])),
                route("/page", None, Some(vec![Method::GET])),
                route("/a", Some("one.test"), None),
                route("/a/**", None, None),
            ],
            Case::Sensitive,
        );
        for (method, host, path, place) in [
            (Method::POST, "x", "/hooks/1", Some(0)),
            (Method::GET, "x", "/hooks/1", None),
            (Method::HEAD, "x", "/page", Some(1)),
            (Method::DELETE, "x", "/page", None),
            (Method::GET, "ONE.test:8080", "/a", Some(2)),
            (Method::GET, "one.test.", "/a", Some(2)),
            (Method::GET, "two.test", "/a", Some(3)),
            (Method::GET, "x", "/nowhere", None),
        ] {
            let authority = Authority::parse(host).unwrap();
            let canonical = CanonicalPath::parse(path, PathPolicy::default()).unwrap();
            let found = routes.find(&method, &authority, &canonical);
            assert_eq!(found.place, place, "{method} {host}{path}");
            let public = place.is_some();
            assert_eq!(
                found.rule.access == Access::Public,
                public,
                "what no rule matches is required"
            );
        }
    }
}

#[cfg(test)]
#[path = "route_properties.rs"]
mod properties;
