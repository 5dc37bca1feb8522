//! Sessions and users that were revoked before their tokens end.

use std::collections::HashSet;

use crate::core::issuer::TokenClass;

/// Who is not let in any more, whatever their token says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revoked(HashSet<Box<str>>);

/// A line that names neither a session nor a user.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {0} is neither a session `sess_…` nor a user `user_…`")]
pub struct BadLine(pub usize);

impl Revoked {
    /// Reads a list: `sess_…` or `user_…` a line. Empty lines, and what follows a `#`, say nothing.
    ///
    /// The lines that can be read count even where others cannot: a slip in one does not let the
    /// rest in again.
    pub fn parse(text: &str) -> (Self, Vec<BadLine>) {
        let (mut ids, mut bad) = (HashSet::new(), Vec::new());
        let text = text.trim_start_matches('\u{feff}');
        for (place, line) in lines(text).enumerate() {
            let id = line.split('#').next().unwrap_or_default().trim();
            if is_id(id) {
                ids.insert(id.into());
            } else if !id.is_empty() {
                bad.push(BadLine(place + 1));
            }
        }
        (Self(ids), bad)
    }

    /// Tells whether a token of this class, for this user and in this session, is revoked.
    pub fn holds(&self, class: TokenClass, subject: &str, session_id: Option<&str>) -> bool {
        let of_clerk = match class {
            TokenClass::SessionToken | TokenClass::JwtTemplate => true,
            TokenClass::Oidc => false, // its subjects are its own
        };
        let named = |id: &str| self.0.contains(id);
        of_clerk && !self.0.is_empty() && (named(subject) || session_id.is_some_and(named))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The lines of a text, whatever ends them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn is_id(text: &str) -> bool {
    let rest = text.strip_prefix("sess_").or_else(|| text.strip_prefix("user_"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_line_by_line() {
        let (revoked, bad) = Revoked::parse(
            "sess_1\r\n\n  user_2  # left the company\n# nothing\nsess_\nuser 3\norg_1\nsess_4,sess_5\nsess_6",
        );
        let mut ids: Vec<_> = revoked.0.iter().map(|id| &**id).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["sess_1", "sess_6", "user_2"]);
        assert_eq!(bad, [BadLine(5), BadLine(6), BadLine(7), BadLine(8)]);
        assert!(Revoked::parse("").0.is_empty());
        let (revoked, bad) = Revoked::parse("\u{feff}sess_1\rsess_2\r\nsess_3\n");
        assert_eq!((revoked.len(), bad), (3, vec![]));
    }

    #[test]
    fn a_session_or_its_user_is_revoked() {
        use TokenClass::{JwtTemplate, Oidc, SessionToken};
        let (revoked, _) = Revoked::parse("sess_1\nuser_2");
        for (class, user, session, want) in [
            (SessionToken, "user_1", Some("sess_1"), true),
            (SessionToken, "user_1", Some("sess_2"), false),
            (SessionToken, "user_2", Some("sess_2"), true),
            (SessionToken, "sess_1x", Some("user_2x"), false),
            (JwtTemplate, "user_2", None, true),
            (JwtTemplate, "user_1", None, false),
            (Oidc, "user_2", None, false),
        ] {
            assert_eq!(revoked.holds(class, user, session), want, "{class:?} {user} {session:?}");
        }
        assert!(!Revoked::default().holds(SessionToken, "user_1", Some("sess_1")));
    }
}
