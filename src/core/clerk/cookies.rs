//! Clerk's cookies in a request, and which family of them counts.
//!
//! Several instances may share a domain, so Clerk sets its cookies twice: under their plain names
//! and with a suffix that is the instance's own. Which of the two speaks for a request is decided
//! once, as Clerk's library decides it.

use std::borrow::Cow;
use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::COOKIE;

use crate::core::clerk::claimed::Claimed;
use crate::core::clerk::publishable_key::{Environment, PublishableKey};
use crate::core::time::UnixTime;

/// The session token.
pub const SESSION: &str = "__session";
/// When the client last signed in or out, in seconds; 0 for signed out.
pub const CLIENT_UAT: &str = "__client_uat";
/// What a new session token is had with; only ever read with the suffix.
pub const REFRESH: &str = "__refresh";
/// The browser, in a development instance; a query parameter of the same name counts before it.
pub const DEV_BROWSER: &str = "__clerk_db_jwt";
/// What a handshake brings back.
pub const HANDSHAKE: &str = "__clerk_handshake";
/// What stands for that, to be asked for at the Backend API.
pub const HANDSHAKE_NONCE: &str = "__clerk_handshake_nonce";
/// How many handshakes in a row there were.
pub const REDIRECT_COUNT: &str = "__clerk_redirect_count";
/// How often in a row the browser was sent for a handshake, over a longer time than Clerk's count.
/// Ours, and not Clerk's.
pub const HANDSHAKES: &str = "__countersign_handshakes";
/// How often in a row the browser was sent to sign in. Ours, and not Clerk's.
pub const SIGN_INS: &str = "__countersign_sign_ins";

/// What an instance puts at the end of its cookies' names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CookieSuffix(String);

impl CookieSuffix {
    /// Returns the suffix of the instance that `key` names: of its SHA-1 in base64url, the first 8
    /// characters. The key counts as it was written, with its padding.
    pub fn of(key: &PublishableKey) -> Self {
        let hash = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_str().as_bytes()));
        Self(hash[..8].replace('+', "-").replace('/', "_"))
    }

    /// Returns the name of a cookie of this instance.
    pub fn name(&self, base: &str) -> String {
        format!("{base}_{}", self.0)
    }
}

/// The cookies of a request by name. Of two with one name the first counts.
struct Jar<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Jar<'a> {
    /// Parts a `Cookie` header as the `cookie` package of npm does, which Clerk's library reads it
    /// with: at `;` before anything is decoded, quotes kept, each value percent-decoded where it
    /// can be.
    fn parse(header: &'a str) -> Self {
        let pair = |text: &'a str| {
            let (name, value) = text.split_once('=')?;
            let blank = |c| matches!(c, ' ' | '\t');
            Some((name.trim_matches(blank), decoded(value.trim_matches(blank))))
        };
        Self(header.split(';').filter_map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<&Cow<'a, str>> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// A cookie that is there and not empty.
    fn text(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).map(|value| value.to_string())
    }

    /// Tells whether a name is there twice and does not mean the same.
    fn contradicts(&self, name: &str) -> bool {
        let mut values = self.0.iter().filter(|(own, _)| *own == name).map(|(_, value)| value);
        let first = values.next();
        values.any(|value| Some(value) != first)
    }
}

/// Undoes percent-encoding, as `decodeURIComponent` does; what it would refuse stays as it is.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let digit = |at: usize| rest.get(at).and_then(|it| char::from(*it).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return text.into() };
        octets.push((high << 4 | low) as u8);
        rest = &rest[2..];
    }
    String::from_utf8(octets).map_or(text.into(), Cow::from)
}

/// What a request's cookies say to Clerk.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct ClerkCookies {
    /// The session token of the family that counts.
    pub session: Option<String>,
    /// When the client last signed in or out; 0 where it did not, or there is none.
    pub client_uat: i64,
    /// The browser of a development instance.
    pub dev_browser: Option<String>,
    /// The refresh token.
    pub refresh: Option<String>,
    /// A handshake's result.
    pub handshake: Option<String>,
    /// What stands for one.
    pub nonce: Option<String>,
    /// How many handshakes in a row there were.
    pub redirect_count: u32,
    /// The same, by our own count.
    pub handshakes: u32,
    /// How often in a row the browser was sent to sign in.
    pub sign_ins: u32,
    /// Which family counts, and why.
    pub family: Family,
    /// There are two session cookies, and they differ: whose, nobody can tell.
    pub contradicts: bool,
}

impl ClerkCookies {
    /// Reads the cookies of a request to this instance at the time `now`. `claimed` says what a token
    /// claims: as [`Claimed::read`] does, or from memory.
    ///
    /// Several `Cookie` lines are one (RFC 9113 §8.2.3).
    pub fn read(
        headers: &HeaderMap,
        instance: &CookieOwner,
        now: UnixTime,
        claimed: impl Fn(&str) -> Option<Claimed>,
    ) -> Self {
        let lines = headers.get_all(COOKIE).iter().map(|line| latin1(line.as_bytes()));
        let header = lines.collect::<Vec<_>>().join("; ");
        if !header.contains("__") {
            return Self::default();
        }
        let jar = Jar::parse(&header);
        let family = family(&jar, instance, now, claimed);
        let named = |base: &str| {
            if family.is_suffixed() { instance.suffix.name(base) } else { base.to_owned() }
        };
        let session = named(SESSION);
        Self {
            contradicts: jar.contradicts(&session),
            session: jar.text(&session),
            client_uat: jar.get(&named(CLIENT_UAT)).map_or(0, |text| parse_int(text)),
            dev_browser: jar.text(&named(DEV_BROWSER)),
            refresh: jar.text(&instance.suffix.name(REFRESH)),
            handshake: jar.text(HANDSHAKE),
            nonce: jar.text(HANDSHAKE_NONCE),
            redirect_count: jar.get(REDIRECT_COUNT).map_or(0, |text| count(text)),
            handshakes: jar.get(HANDSHAKES).map_or(0, |text| count(text)),
            sign_ins: jar.get(SIGN_INS).map_or(0, |text| count(text)),
            family,
        }
    }
}

impl ClerkCookies {
    /// Tells whether the family with the suffix counts.
    pub fn uses_suffix(&self) -> bool {
        self.family.is_suffixed()
    }
}

impl fmt::Debug for ClerkCookies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ClerkCookies")
            .field("session", &self.session.is_some())
            .field("client_uat", &self.client_uat)
            .field("family", &self.family)
            .finish_non_exhaustive()
    }
}

/// Whose cookies are read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CookieOwner {
    /// What the instance's cookies end in.
    pub suffix: CookieSuffix,
    /// The host that its session tokens name as their issuer.
    pub issuer_host: String,
    /// Which kind of instance it is.
    pub environment: Environment,
}

/// Which family of cookies counts: the step that decides, of Clerk's eight in their order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Family {
    /// 1: the plain session cookie is no token, or names no issuer.
    PlainIsOdd,
    /// 2: the plain session cookie is another instance's.
    PlainIsForeign,
    /// 3: there is no cookie with the suffix.
    #[default]
    NothingSuffixed,
    /// 4: the plain session token is the newer one.
    PlainIsNewer,
    /// 5: signed out with the suffix, and not without.
    SignedOutSuffixed,
    /// 6: in development, an expired session with the suffix where the plain family is signed out.
    SuffixedExpired,
    /// 7: a session with the suffix without its `__client_uat`.
    SuffixedIsIncomplete,
    /// 8: none of these.
    Suffixed,
}

impl Family {
    /// Tells whether it is the family with the suffix.
    pub fn is_suffixed(self) -> bool {
        self.face().1
    }

    /// Returns the number of the step, from 1.
    pub fn step(self) -> u8 {
        self.face().0
    }

    /// Says why, as the end of a sentence.
    pub fn why(self) -> &'static str {
        self.face().2
    }

    #[rustfmt::skip]
    fn face(self) -> (u8, bool, &'static str) {
        match self {
            Self::PlainIsOdd           => (1, false, "__session is no token, or names no issuer"),
            Self::PlainIsForeign       => (2, true,  "__session is of another instance"),
            Self::NothingSuffixed      => (3, false, "no session cookie has the instance's suffix"),
            Self::PlainIsNewer         => (4, false, "__session is newer than the one with the suffix"),
            Self::SignedOutSuffixed    => (5, false, "__client_uat with the suffix says signed out, the plain one does not"),
            Self::SuffixedExpired      => (6, false, "in development, the session with the suffix has expired"),
            Self::SuffixedIsIncomplete => (7, false, "the session with the suffix has no __client_uat beside it"),
            Self::Suffixed             => (8, true,  "nothing speaks against the cookies with the instance's suffix"),
        }
    }
}

/// Decides which family counts. Tokens are taken apart and not verified here; a family is chosen
/// with what they claim, and nothing else.
fn family(
    jar: &Jar<'_>,
    instance: &CookieOwner,
    now: UnixTime,
    claimed: impl Fn(&str) -> Option<Claimed>,
) -> Family {
    let suffixed = |base: &str| jar.text(&instance.suffix.name(base));
    let (plain, plain_uat) = (jar.text(SESSION), jar.text(CLIENT_UAT));
    let (own, own_uat) = (suffixed(SESSION), suffixed(CLIENT_UAT));
    let of_plain = plain.as_deref().and_then(&claimed);
    match &of_plain {
        None if plain.is_some() => return Family::PlainIsOdd,
        Some(claims) if !claims.has_issuer() => return Family::PlainIsOdd,
        Some(claims) if !claims.is_of(&instance.issuer_host) => return Family::PlainIsForeign,
        None | Some(_) => {}
    }
    if own.is_none() && own_uat.is_none() {
        return Family::NothingSuffixed;
    }
    let signed_out = |uat: &Option<String>| uat.as_deref() == Some("0");
    // Mostly it is the same token twice, which is taken apart once.
    let of_own = if own == plain { of_plain.clone() } else { own.as_deref().and_then(&claimed) };
    let issued_at = |claims: &Option<Claimed>| claims.as_ref().and_then(Claimed::issued_at);
    let newer = issued_at(&of_plain).unwrap_or(0.0) > issued_at(&of_own).unwrap_or(0.0);
    if !signed_out(&own_uat) && !signed_out(&plain_uat) && newer {
        return Family::PlainIsNewer;
    }
    if signed_out(&own_uat) && !signed_out(&plain_uat) {
        return Family::SignedOutSuffixed;
    }
    if instance.environment == Environment::Development
        && !signed_out(&own_uat)
        && signed_out(&plain_uat)
        && of_own.is_some_and(|claims| claims.has_expired(now))
    {
        return Family::SuffixedExpired;
    }
    if own.is_some() && own_uat.is_none() {
        return Family::SuffixedIsIncomplete;
    }
    Family::Suffixed
}

/// Bytes of a header as JavaScript reads them: one character each.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => text.into(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Reads a number as JavaScript's `parseInt(text) || 0` does: what follows the digits is ignored.
fn parse_int(text: &str) -> i64 {
    // A byte order mark is white space to JavaScript, the character for a next line is none.
    let is_blank = |c: char| c == '\u{feff}' || c.is_whitespace() && c != '\u{85}';
    let text = text.trim_start_matches(is_blank);
    let (sign, text) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |hex| (hex, 16));
    let values = digits.chars().map_while(|digit| digit.to_digit(radix));
    sign * values.fold(0_i64, |sum, digit| {
        sum.saturating_mul(i64::from(radix)).saturating_add(i64::from(digit))
    })
}

/// Reads a whole number, however it is written; anything else counts as none, so that a loop is
/// counted from there.
fn count(text: &str) -> u32 {
    let number = text.trim().parse::<f64>().unwrap_or(0.0);
    if number.fract() == 0.0 && (0.0..1e6).contains(&number) { number as u32 } else { 0 }
}

#[cfg(test)]
#[path = "cookies_tests.rs"]
mod tests;
