//! What people paste where a token is asked for.

use crate::core::base64url;
use crate::core::credential::BearerToken;
use crate::core::json::{self, Object};

/// A token as somebody pasted it, without what is not of it.
#[derive(Clone, Debug)]
pub struct Pasted<'a> {
    /// The token.
    pub token: BearerToken<'a>,
    /// What was taken off, in sentences.
    pub notes: Vec<&'static str>,
}

impl<'a> Pasted<'a> {
    /// Takes white space, the beginning of an `Authorization` header and quotes off.
    pub fn read(text: &'a str) -> Self {
        let mut notes = Vec::new();
        let mut rest = trimmed(text);
        if let Some(value) = without_prefix(rest, "authorization:") {
            notes.push("\"Authorization:\" was taken off: it is the name of the header.");
            rest = value;
        }
        if let Some(inner) = unquoted(rest) {
            notes.push(
                "The quotes around it were taken off; in a request they would make it no token.",
            );
            rest = inner;
        }
        if let Some(token) = without_prefix(rest, "bearer ") {
            notes.push(
                "\"Bearer\" was taken off: it stands in the header before a token, and is not of it.",
            );
            rest = token;
        }
        Self { token: BearerToken::of(rest), notes }
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

fn without_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| trimmed(rest))
}

fn unquoted(text: &str) -> Option<&str> {
    let quotes = ['"', '\'', '`'];
    quotes.iter().find_map(|it| text.strip_prefix(*it)?.strip_suffix(*it)).map(trimmed)
}

/// Why a text is no token, as far as that can be seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Slip {
    /// There is nothing.
    Empty,
    /// What JavaScript writes for something that is no text.
    NotAText,
    /// A publishable key.
    PublishableKey,
    /// A secret of Clerk's.
    Secret,
    /// A token for machines, which only Clerk can read.
    Opaque(&'static str),
    /// The id of a session, a user or the like.
    Id,
    /// Cookies.
    Cookies,
    /// White space within.
    Broken,
    /// Dots that some program put in the place of what it left out.
    Shortened,
    /// Longer than `limits.token`.
    TooLong,
    /// Not three parts.
    Parts(usize),
    /// A part, from 1, that is no base64url.
    Encoding(u8),
    /// A part, from 1, that is not one JSON object, or one that can be read in two ways.
    Json(u8),
    /// A header with `crit`.
    Critical,
}

/// What Clerk's secrets and opaque tokens begin with, and what they are.
const KINDS: [(&str, Slip); 11] = [
    ("pk_test_", Slip::PublishableKey),
    ("pk_live_", Slip::PublishableKey),
    ("sk_", Slip::Secret),
    ("whsec_", Slip::Secret),
    ("ak_", Slip::Opaque("an API key of Clerk's (ak_…)")),
    ("oat_", Slip::Opaque("an OAuth access token of Clerk's (oat_…)")),
    ("mt_", Slip::Opaque("a machine-to-machine token of Clerk's (mt_…)")),
    ("m2m_", Slip::Opaque("a machine-to-machine token of Clerk's (m2m_…)")),
    ("sess_", Slip::Id),
    ("user_", Slip::Id),
    ("client_", Slip::Id),
];

impl Slip {
    /// Looks for what is wrong with a text that is no token.
    pub(super) fn of(text: &str, longest: usize) -> Option<Self> {
        let kind = KINDS.iter().find(|(prefix, _)| text.starts_with(prefix));
        match text {
            "" | "Bearer" | "bearer" => return Some(Self::Empty),
            "undefined" | "null" | "[object Promise]" | "[object Object]" => {
                return Some(Self::NotAText);
            }
            _ if kind.is_some() => return kind.map(|(_, slip)| *slip),
            _ if text.contains("__session") && text.contains('=') => return Some(Self::Cookies),
            _ if text.contains(char::is_whitespace) => return Some(Self::Broken),
            _ if text.contains("..") || text.contains('…') => return Some(Self::Shortened),
            _ if text.len() > longest => return Some(Self::TooLong),
            _ => {}
        }
        let parts: Vec<_> = text.split('.').collect();
        if parts.len() != 3 {
            return Some(Self::Parts(parts.len()));
        }
        let header = match object(1, parts[0]) {
            Ok(header) => header,
            Err(slip) => return Some(slip),
        };
        let rest = object(2, parts[1]).map(drop).and_then(|()| decoded(3, parts[2]).map(drop));
        let critical = header.contains_key("crit").then_some(Self::Critical);
        rest.err().or(critical)
    }

    /// Says what there is, without a word of it.
    pub(super) fn found(self, text: &str) -> String {
        let length = text.len();
        match self {
            Self::Empty => "nothing".to_owned(),
            Self::NotAText => format!("the text {text}"),
            Self::PublishableKey => "a publishable key".to_owned(),
            Self::Secret => "a secret".to_owned(),
            Self::Opaque(what) => what.to_owned(),
            Self::Id => "the id of a session, a user or a client".to_owned(),
            Self::Cookies => "a line of cookies".to_owned(),
            Self::Broken => {
                format!("{} words with white space between", text.split_whitespace().count())
            }
            Self::Shortened => "a token of which something was left out".to_owned(),
            Self::TooLong => format!("{length} bytes"),
            Self::Parts(1) => format!("{length} bytes without a dot"),
            Self::Parts(parts) => format!("{parts} parts, {length} bytes"),
            Self::Encoding(part) => format!("3 parts, of which the {} is no base64url", nth(part)),
            Self::Json(part) => format!("3 parts, of which the {} is no JSON object", nth(part)),
            Self::Critical => "a header with crit".to_owned(),
        }
    }

    /// Says what to do.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Empty => {
                "Nothing came. A token goes to standard input, like `pbpaste | countersign explain`. Where a request has none, is anybody signed in?"
            }
            Self::NotAText => {
                "JavaScript wrote this: getToken() gave null because nobody is signed in, or because Clerk has not loaded yet; or its promise was not awaited. Write `await getToken()`, and send no request while it gives null."
            }
            Self::PublishableKey => {
                "This names your Clerk instance and proves nothing. Send what `await getToken()` gives in the front end of somebody who is signed in."
            }
            Self::Secret => {
                "Never send a secret where a token goes. If this one stood in a request or a log, replace it in Clerk's dashboard. Send what `await getToken()` gives in the front end of somebody who is signed in."
            }
            Self::Opaque(_) => MACHINES,
            Self::Id => {
                "An id proves nothing. Send what `await getToken()` gives in the front end of somebody who is signed in."
            }
            Self::Cookies => {
                "Cookies are explained as those of a request, with `--url` and `--cookie -`. To have the token explained, paste the value of `__session` alone."
            }
            Self::Broken => {
                "A token has no white space; it may have been copied over the end of a line. Copy it whole, on one line."
            }
            Self::Shortened => {
                "Many programs show long texts with dots in the middle. Copy the whole token from where it is made."
            }
            Self::TooLong => {
                "Make the token smaller: take custom claims out of it. Or raise `limits.token`."
            }
            Self::Parts(1) => {
                "This is no JWT: one begins with `ey` and has three parts with dots between. Send what `await getToken()` gives."
            }
            Self::Parts(2) => {
                "The last part, the signature, is missing; the end was cut off. Copy the token whole."
            }
            Self::Parts(5) => {
                "Five parts are an encrypted token (JWE), which only who it is meant for can read. Have the issuer send a signed one (JWS)."
            }
            Self::Parts(_) => "A JWT has three parts with dots between. Copy the token whole.",
            Self::Encoding(_) => {
                "A character is in it that no token has, or one is missing. Copy the token whole."
            }
            Self::Json(_) => {
                "The text was changed or cut, is no JWT, or names a member twice. Copy the token whole."
            }
            Self::Critical => {
                "`crit` names extensions that whoever verifies must understand; none is understood here. Have the issuer leave it out."
            }
        }
    }
}

/// What to send in the place of a machine's token.
pub(super) const MACHINES: &str = "Tokens of machines (API keys, OAuth access tokens, machine-to-machine tokens) are not supported. Send the session token of a user, which `await getToken()` gives in the front end.";

fn object(place: u8, part: &str) -> Result<Object, Slip> {
    json::parse_object(decoded(place, part)?).map_err(|_| Slip::Json(place))
}

fn decoded(place: u8, part: &str) -> Result<Vec<u8>, Slip> {
    base64url::decode(part).ok_or(Slip::Encoding(place))
}

fn nth(part: u8) -> &'static str {
    match part {
        1 => "first",
        2 => "second",
        _ => "third",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_a_token_is_taken_off_and_told() {
        for (text, token, notes) in [
            ("a.b.c", "a.b.c", 0),
            (" a.b.c\r\n", "a.b.c", 0),
            ("\u{feff}a.b.c", "a.b.c", 0),
            ("Bearer a.b.c\n", "a.b.c", 1),
            ("bearer   a.b.c", "a.b.c", 1),
            ("Authorization: Bearer a.b.c", "a.b.c", 2),
            ("authorization:a.b.c", "a.b.c", 1),
            ("\"a.b.c\"\n", "a.b.c", 1),
            ("'Bearer a.b.c'", "a.b.c", 2),
            ("Bearer", "Bearer", 0),
            ("\"", "\"", 0),
            ("", "", 0),
        ] {
            let pasted = Pasted::read(text);
            assert_eq!((pasted.token.reveal(), pasted.notes.len()), (token, notes), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_token_is_known_for_what_it_is() {
        let part = |text: &str| base64url::encode(text.as_bytes());
        let (header, claims) = (part(r#"{"alg":"RS256"}"#), part("{}"));
        let critical = part(r#"{"crit":["b64"]}"#);
        for (text, want) in [
            ("", Some(Slip::Empty)),
            ("Bearer", Some(Slip::Empty)),
            ("undefined", Some(Slip::NotAText)),
            ("[object Promise]", Some(Slip::NotAText)),
            ("pk_test_Y2xlcmsuYS5jb20k", Some(Slip::PublishableKey)),
            ("sk_live_abc", Some(Slip::Secret)),
            ("ak_abc", Some(Slip::Opaque("an API key of Clerk's (ak_…)"))),
            ("user_2x", Some(Slip::Id)),
            ("__client_uat=1; __session=ey.ey.x", Some(Slip::Cookies)),
            ("ey.e y.x", Some(Slip::Broken)),
            ("eyJhb...abc", Some(Slip::Shortened)),
            ("eyJhb…", Some(Slip::Shortened)),
            (&"a".repeat(201), Some(Slip::TooLong)),
            ("abc", Some(Slip::Parts(1))),
            (&format!("{header}.{claims}"), Some(Slip::Parts(2))),
            ("a.b.c.d.e", Some(Slip::Parts(5))),
            (&format!("*.{claims}.AA"), Some(Slip::Encoding(1))),
            (&format!("{claims}.{}.AA", part("[]")), Some(Slip::Json(2))),
            (&format!("{header}.{claims}.A"), Some(Slip::Encoding(3))),
            (&format!("{critical}.{claims}.AA"), Some(Slip::Critical)),
            (&format!("{header}.{claims}.AA"), None),
        ] {
            let slip = Slip::of(text, 200);
            assert_eq!(slip, want, "{text}");
            let Some(slip) = slip else { continue };
            let told = format!("{} {}", slip.found(text), slip.advice());
            let secret = text.len() > 10 && slip != Slip::NotAText;
            assert!(!secret || !told.contains(text), "{told}");
        }
    }
}
