//! Cookies that Clerk has us set: what a handshake, or a refresh, brings back.

use std::fmt;

use http::HeaderValue;

use crate::core::cookie;
use crate::core::json::{self, Value};
use crate::core::jws::VerifiedToken;

/// Lines of `Set-Cookie`, each of a cookie of Clerk's own.
///
/// Whatever else a payload names is left out: what comes back with a handshake decides about a
/// sign-in, and about nothing else of the application's.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Directives(Vec<HeaderValue>);

/// Says how many there are, and not what they set.
impl fmt::Debug for Directives {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Directives({})", self.0.len())
    }
}

impl Directives {
    /// Reads what a handshake's token holds: its claim `handshake`, a list of texts. Anything else
    /// there is no directive.
    pub fn of_handshake(token: &VerifiedToken) -> Self {
        Self::of_list(token.claims.get("handshake"))
    }

    /// Reads an answer of the Backend API, whose member of this name is the list; nothing where
    /// it is no JSON object.
    pub fn of_answer(body: &[u8], member: &str) -> Option<Self> {
        let answer = json::parse_object(body).ok()?;
        Some(Self::of_list(answer.get(member)))
    }

    fn of_list(list: Option<Value<'_>>) -> Self {
        let texts = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let ours = texts.filter(|text| text.is_ascii() && is_clerks(text));
        let lines = ours.filter_map(|text| HeaderValue::from_str(text).ok());
        let hidden = lines.map(|mut line| {
            line.set_sensitive(true);
            line
        });
        Self(hidden.collect())
    }

    /// Returns the session token that the browser gets: that of the last directive for one, under
    /// its plain name or with a suffix. Nothing where there is none, or it is taken away.
    pub fn session_token(&self) -> Option<&str> {
        let texts = self.0.iter().rev().filter_map(|value| value.to_str().ok());
        let mut sessions = texts.filter_map(pair).filter(|(name, _)| is_session(name));
        sessions.next().map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// Returns the lines, in order.
    pub fn lines(&self) -> &[HeaderValue] {
        &self.0
    }
}

/// Takes a directive apart as browsers do (RFC 6265 §5.2): what is before the first `;`, at its
/// first `=`.
fn pair(directive: &str) -> Option<(&str, &str)> {
    let (name, value) = directive.split(';').next()?.split_once('=')?;
    Some((name.trim(), value.trim()))
}

fn is_clerks(directive: &str) -> bool {
    pair(directive).is_some_and(|(name, _)| cookie::is_clerk(name.as_bytes()))
}

fn is_session(name: &str) -> bool {
    name.strip_prefix("__session").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(list: &serde_json::Value) -> Directives {
        Directives::of_answer(json!({"directives": list}).to_string().as_bytes(), "directives")
            .unwrap()
    }

    #[test]
    fn only_clerks_own_cookies_are_set() {
        let got = of(&json!([
            "__session=a; Path=/",
            "__session_abc12345=b",
            "__client_uat=1",
            "__refresh_x=2",
            "__clerk_db_jwt=3",
            "__sessionfoo=4",
            "admin=true",
            "=5",
            "",
            "__session=\r\nSet-Cookie: admin=true",
            "__session=a; \u{e9}",
            "__clerk_; admin=true",
            "__session_",
            5,
        ]));
        let names: Vec<_> =
            got.lines().iter().map(|it| it.to_str().unwrap().split('=').next().unwrap()).collect();
        assert_eq!(
            names,
            ["__session", "__session_abc12345", "__client_uat", "__refresh_x", "__clerk_db_jwt"]
        );
    }

    #[test]
    fn the_last_session_counts() {
        for (list, want) in [
            (json!(["__session=a; Path=/"]), Some("a")),
            (json!(["__session=a", "__session_x=b; Path=/"]), Some("b")),
            (json!(["__session=a", "__session=; Max-Age=0"]), None),
            (json!(["__session=a", "__session=b; \u{e9}"]), Some("a")),
            (json!(["__session=a", "__session_;x=b"]), Some("a")),
            (json!(["__session=a=b; Path=/"]), Some("a=b")),
            (json!(["__client_uat=1"]), None),
            (json!("x"), None),
            (json!(null), None),
        ] {
            assert_eq!(of(&list).session_token(), want, "{list}");
        }
        assert_eq!(Directives::of_answer(b"notjson", "directives"), None);
        assert_eq!(Directives::of_answer(b"[]", "directives"), None);
    }
}
