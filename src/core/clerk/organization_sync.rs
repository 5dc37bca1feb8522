//! Paths that speak of an organization: whoever opens one is to have it active in the session.

/// Which paths are an organization's, and which a user's own (`clerk.organization_sync`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OrganizationSync {
    /// Paths of an organization, with `:id` or `:slug` in them.
    pub organizations: Vec<Pattern>,
    /// Paths of a personal account.
    pub personal: Vec<Pattern>,
}

/// A pattern for paths, in the form of Clerk's settings: segments whatever their case, one `:id` or
/// `:slug`, and `(.*)` at the end for whatever follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    segments: Vec<Segment>,
    open: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Text(String),
    Id,
    Slug,
}

/// A text that is no [`Pattern`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a path of segments, `:id` or `:slug`, with `/(.*)` at its end for all below, like `/orgs/:slug/(.*)`"
)]
pub struct BadPattern;

/// The organization that a path speaks of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    kind: Kind,
    /// What the path says; empty for the personal account.
    pub value: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Id,
    Slug,
    Personal,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`BadPattern`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let rest = text.strip_prefix('/').ok_or(BadPattern)?;
        let (rest, open) = match rest.strip_suffix("/(.*)") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let segments = rest.split('/').map(|segment| match segment {
            ":id" => Ok(Segment::Id),
            ":slug" => Ok(Segment::Slug),
            text if text.contains([':', '(', ')', '*', '?', '+']) => Err(BadPattern),
            text => Ok(Segment::Text(text.to_owned())),
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, open })
    }

    /// Tells whether the pattern says which organization is meant.
    pub fn names_organization(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Id | Segment::Slug))
    }

    /// Matches a path, and returns what stands for the organization, where something does.
    fn find<'a>(&self, path: &'a str) -> Option<Option<(Kind, &'a str)>> {
        let mut found = None;
        let mut rest = path.strip_prefix('/')?.split('/');
        for segment in &self.segments {
            let text = rest.next()?;
            match segment {
                Segment::Text(own) if own.eq_ignore_ascii_case(text) => {}
                Segment::Text(_) => return None,
                Segment::Id | Segment::Slug if text.is_empty() => return None,
                Segment::Id => found = Some((Kind::Id, text)),
                Segment::Slug => found = Some((Kind::Slug, text)),
            }
        }
        let more = rest.next();
        let matches = if self.open { more.is_some() } else { more.is_none_or(str::is_empty) };
        matches.then_some(found)
    }
}

impl OrganizationSync {
    /// Says which organization a path wants to be active; nothing where it speaks of none.
    pub fn wanted(&self, path: &str) -> Option<Wanted> {
        let organization =
            self.organizations.iter().find_map(|pattern| pattern.find(path).flatten());
        if let Some((kind, value)) = organization {
            return Some(Wanted { kind, value: value.to_owned() });
        }
        let personal = self.personal.iter().any(|pattern| pattern.find(path).is_some());
        personal.then(|| Wanted { kind: Kind::Personal, value: String::new() })
    }
}

impl Wanted {
    /// Tells whether the active organization, by its id and slug, is the one that is wanted.
    pub fn is_met(&self, active: Option<(&str, Option<&str>)>) -> bool {
        match self.kind {
            Kind::Id => active.is_some_and(|(id, _)| id == self.value),
            Kind::Slug => active.is_some_and(|(_, slug)| slug == Some(&*self.value)),
            Kind::Personal => active.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_speaks_of_an_organization_or_not() {
        let patterns =
            |texts: &[&str]| texts.iter().map(|it| Pattern::parse(it).unwrap()).collect();
        let sync = OrganizationSync {
            organizations: patterns(&["/orgs/:slug", "/orgs/:slug/(.*)", "/o/:id"]),
            personal: patterns(&["/me", "/me/(.*)"]),
        };
        for (path, active, want) in [
            ("/orgs/one", Some(("org_1", Some("one"))), Some(true)),
            ("/orgs/one/x/y", Some(("org_1", Some("two"))), Some(false)),
            ("/orgs/one", None, Some(false)),
            ("/Orgs/one", None, Some(false)),
            ("/orgs/ONE", Some(("org_1", Some("one"))), Some(false)),
            ("/o/org_1", Some(("org_1", None)), Some(true)),
            ("/o/org_2", Some(("org_1", None)), Some(false)),
            ("/me", None, Some(true)),
            ("/me/x", Some(("org_1", None)), Some(false)),
            ("/orgs", None, None),
            ("/orgs/", None, None),
            ("/x/orgs/one", None, None),
            ("/", None, None),
        ] {
            let got = sync.wanted(path).map(|wanted| wanted.is_met(active));
            assert_eq!(got, want, "{path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_none() {
        for text in ["", "orgs", "/orgs/:name", "/orgs/(.*)/x", "/a*", "/:slug?"] {
            assert_eq!(Pattern::parse(text), Err(BadPattern), "{text}");
        }
    }
}
