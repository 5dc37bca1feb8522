//! Names of headers as backends compare them, and sets of such names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use http::HeaderName;

/// Folds a header's name as a backend may: CGI and what learned from it (WSGI, Rack, PHP) have one
/// variable for all names that differ in nothing but the characters between letters and digits,
/// so that `X_Clerk_User_Id` and `X.Clerk.User.Id` would overwrite ours. In lower case, with `-`
/// for every such character.
pub fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        return name.into();
    }
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(fold).collect::<String>().into()
}

/// The characters that are folded to themselves; a look at a table a character, for each of most names.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = matches!(byte as u8, b'a'..=b'z' | b'0'..=b'9' | b'-');
        byte += 1;
    }
    plain
};

/// A header name, or with `*` at its end all that start so; [folded].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern {
    text: String,
    open: bool,
}

/// A text that is no [`NamePattern`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a header name, or the beginning of one with `*` at its end, like `x-consumer-*`")]
pub struct BadNamePattern;

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`BadNamePattern`].
    pub fn parse(text: &str) -> Result<Self, BadNamePattern> {
        let (name, open) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
        let name = HeaderName::try_from(name).map_err(|_| BadNamePattern)?;
        Ok(Self { text: folded(name.as_str()).into_owned(), open })
    }

    fn matches(&self, name: &str) -> bool {
        if self.open { name.starts_with(&self.text) } else { name == self.text }
    }
}

/// A set of names: a name is looked for among those alone that begin as it does.
#[derive(Clone, Debug, Default)]
pub struct NamePatterns {
    /// By the first character, which is visible ASCII.
    by_start: Vec<Vec<NamePattern>>,
}

impl NamePatterns {
    /// Tells whether a [folded] name is one of these.
    pub fn matches(&self, name: &str) -> bool {
        let alike = name.bytes().next().and_then(|start| self.by_start.get(usize::from(start)));
        alike.is_some_and(|alike| alike.iter().any(|pattern| pattern.matches(name)))
    }
}

impl<'a> FromIterator<&'a HeaderName> for NamePatterns {
    fn from_iter<T: IntoIterator<Item = &'a HeaderName>>(names: T) -> Self {
        let pattern = |name: &HeaderName| NamePattern {
            text: folded(name.as_str()).into_owned(),
            open: false,
        };
        names.into_iter().map(pattern).collect()
    }
}

impl FromIterator<NamePattern> for NamePatterns {
    fn from_iter<T: IntoIterator<Item = NamePattern>>(patterns: T) -> Self {
        let mut by_start = vec![Vec::new(); 128];
        for pattern in patterns {
            let start = pattern.text.as_bytes()[0]; // a name is not empty
            by_start[usize::from(start)].push(pattern);
        }
        Self { by_start }
    }
}

/// The same name, never freed. One on the heap counts atomically who has it: all cores would wait for
/// that count with each request. There is one of each, however often settings are read.
pub fn lasting(name: &HeaderName) -> HeaderName {
    static NAMES: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = names.get(name.as_str()).copied().unwrap_or_else(|| {
        let kept: &str = Box::leak(name.as_str().into());
        names.insert(kept);
        kept
    });
    HeaderName::from_static(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_its_beginning_in_any_spelling() {
        let patterns = ["proxy", "x-consumer-*", "Remote_User", "x-ms-client-principal*", "cf-*"];
        let patterns: NamePatterns =
            patterns.iter().map(|text| NamePattern::parse(text).unwrap()).collect();
        for (name, is_one) in [
            ("Proxy", true),
            ("proxy-connection", false),
            ("prox", false),
            ("X-Consumer-Id", true),
            ("x_consumer.id", true),
            ("x-consumer-", true),
            ("x-consumer", false),
            ("remote-user", true),
            ("remote-user-id", false),
            ("x-ms-client-principal", true),
            ("x-ms-client-principal-id", true),
            ("CF-Connecting-IP", true),
            ("accept", false),
            ("~", false),
        ] {
            let name = HeaderName::try_from(name).unwrap();
            assert_eq!(patterns.matches(&folded(name.as_str())), is_one, "{name}");
        }
        assert!(!NamePatterns::default().matches("proxy"));
    }

    #[test]
    fn a_name_that_lasts_is_there_once() {
        let name = HeaderName::from_static("x-clerk-once");
        let [one, other] =
            [lasting(&name), lasting(&HeaderName::try_from("X-Clerk-Once").unwrap())];
        assert_eq!((&one, &other), (&name, &name));
        assert_eq!(one.as_str().as_ptr(), other.as_str().as_ptr());
    }

    #[test]
    fn no_other_text_is_a_pattern() {
        for text in ["", "*", "a b", "a:", "\u{e9}"] {
            assert_eq!(NamePattern::parse(text), Err(BadNamePattern), "{text:?}");
        }
    }
}
