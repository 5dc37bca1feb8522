//! Tests of Clerk's cookies: how they are read, and which family counts.

use serde_json::{Value, json};

use super::*;
use crate::core::base64url;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn owner(key: &str) -> CookieOwner {
    let key = PublishableKey::parse(key).unwrap();
    CookieOwner {
        suffix: CookieSuffix::of(&key),
        issuer_host: key.host().to_owned(),
        environment: key.environment(),
    }
}

fn production() -> CookieOwner {
    owner("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k") // clerk.example.com
}

fn read(owner: &CookieOwner, cookies: &str) -> ClerkCookies {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, cookies.parse().unwrap());
    ClerkCookies::read(&headers, owner, NOW, Claimed::read)
}

fn token(claims: Value) -> String {
    let part = |part: Value| base64url::encode(part.to_string().as_bytes());
    format!("{}.{}.AAAA", part(json!({})), part(claims))
}

/// The vectors of Clerk's own library.
#[test]
fn a_suffix_is_a_hash_of_the_key_as_it_was_written() {
    for (key, suffix) in [
        ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", "QvfNY2dr"),
        ("pk_live_ZmFrZS1jbGVyay10ZXN0LmNsZXJrLmFjY291bnRzLmRldiQ=", "qReyu04C"),
        ("pk_test_ZW5vdWdoLWFscGFjYS04Mi5jbGVyay5hY2NvdW50cy5sY2xjbGVyay5jb20k", "jtYvyt_H"),
    ] {
        assert_eq!(CookieSuffix::of(&PublishableKey::parse(key).unwrap()).0, suffix, "{key}");
    }
}

#[test]
fn a_cookie_is_read_as_clerks_library_reads_it() {
    for (cookies, session) in [
        ("__session=a", Some("a")),
        ("x=1;__session=a;y=2", Some("a")),
        ("x=1; \t__session = a ; y=2", Some("a")),
        ("__session=a; __session=b", Some("a")),
        ("__session=\"a\"", Some("\"a\"")),
        ("__session=a%2Eb", Some("a.b")),
        ("__session=%E4%BD%A0", Some("\u{4f60}")),
        ("__session=a%2", Some("a%2")),
        ("__session=a%ff", Some("a%ff")),
        ("__session=a%3Bb", Some("a;b")),
        ("__session=a=b", Some("a=b")),
        ("__session=", None),
        ("__session", None),
        ("__SESSION=a", None),
        ("x__session=a", None),
        ("", None),
    ] {
        let got = read(&production(), cookies);
        assert_eq!(got.session.as_deref(), session, "{cookies}");
        assert_eq!(
            got.contradicts,
            cookies.contains("=b") && cookies.contains("; __"),
            "{cookies}"
        );
    }
    let mut headers = HeaderMap::new();
    headers.append(COOKIE, "a=1".parse().unwrap());
    headers.append(COOKIE, "__session=t".parse().unwrap());
    let got = ClerkCookies::read(&headers, &production(), NOW, Claimed::read);
    assert_eq!(got.session.as_deref(), Some("t"), "several lines are one");
}

#[test]
fn numbers_are_read_as_javascript_reads_them() {
    for (text, want) in [
        ("1700000000", 1_700_000_000),
        ("0", 0),
        ("", 0),
        ("x", 0),
        (" 5", 5),
        ("\u{feff}5", 5),
        ("\u{85}5", 0),
        ("5x", 5),
        ("5.9", 5),
        ("-5", -5),
        ("+5", 5),
        ("0x1f", 31),
        ("1e3", 1),
        ("99999999999999999999", i64::MAX),
    ] {
        assert_eq!(parse_int(text), want, "{text:?}");
    }
    for (text, want) in [
        ("3", 3),
        (" 3 ", 3),
        ("x", 0),
        ("", 0),
        ("-1", 0),
        ("9999999999", 0),
        ("03", 3),
        ("3.0", 3),
        ("3.5", 0),
        ("nan", 0),
    ] {
        assert_eq!(count(text), want, "{text:?}");
    }
}

#[test]
fn the_family_that_counts_is_chosen_in_eight_steps() {
    let owner = production();
    let ours = |iat: i64| token(json!({"iss": "https://clerk.example.com", "iat": iat}));
    let theirs = token(json!({"iss": "https://clerk.other.com", "iat": 1}));
    let (old, new) = (ours(100), ours(200));
    let CookieSuffix(suffix) = &owner.suffix;
    let no_issuer = token(json!({"iat": 1}));
    let number = token(json!({"iss": 5}));
    for (what, cookies, suffixed) in [
        ("1: junk", format!("__session=junk; __session_{suffix}={new}"), false),
        ("1: no issuer", format!("__session={no_issuer}; __session_{suffix}={new}"), false),
        ("2: another instance's", format!("__session={theirs}"), true),
        ("2: an issuer that is no text", format!("__session={number}"), true),
        ("3: nothing suffixed", format!("__session={old}; __client_uat=1"), false),
        ("3: nothing at all", "a=1".to_owned(), false),
        (
            "4: the plain one is newer",
            format!(
                "__session={new}; __client_uat=1; __session_{suffix}={old}; __client_uat_{suffix}=1"
            ),
            false,
        ),
        (
            "5: signed out with the suffix, in without",
            format!("__session={old}; __client_uat=1; __client_uat_{suffix}=0"),
            false,
        ),
        ("7: a session without its state", format!("__session_{suffix}={new}"), false),
        (
            "8: both",
            format!(
                "__session={old}; __client_uat=1; __session_{suffix}={new}; __client_uat_{suffix}=1"
            ),
            true,
        ),
        ("8: signed out everywhere", format!("__client_uat=0; __client_uat_{suffix}=0"), true),
    ] {
        let family = read(&owner, &cookies).family;
        assert_eq!(family.is_suffixed(), suffixed, "{what}");
        assert!(what.starts_with(&format!("{}: ", family.step())), "{what}: {family:?}");
    }
}

#[test]
fn in_development_an_expired_suffixed_session_gives_way() {
    let development = owner("pk_test_Y2xlcmsuZXhhbXBsZS5jb20k");
    for (owner, exp, suffixed) in [
        (&development, NOW.as_secs(), false),
        (&development, NOW.as_secs() + 1, true),
        (&production(), NOW.as_secs(), true),
    ] {
        let CookieSuffix(suffix) = &owner.suffix;
        let session = token(json!({"iss": "https://clerk.example.com", "exp": exp}));
        let cookies =
            format!("__client_uat=0; __session_{suffix}={session}; __client_uat_{suffix}=1");
        let family = if suffixed { Family::Suffixed } else { Family::SuffixedExpired };
        assert_eq!(read(owner, &cookies).family, family, "{exp}");
    }
}

#[test]
fn the_refresh_token_has_a_suffix_and_what_a_handshake_brings_has_none() {
    let owner = production();
    let CookieSuffix(suffix) = &owner.suffix;
    let cookies = format!(
        "__refresh=a; __refresh_{suffix}=b; __clerk_handshake=c; __clerk_handshake_{suffix}=d; __clerk_handshake_nonce=e; __clerk_redirect_count=2; __clerk_db_jwt=f"
    );
    let got = read(&owner, &cookies);
    let texts = [&got.refresh, &got.handshake, &got.nonce, &got.dev_browser];
    assert_eq!(texts.map(|text| text.as_deref().unwrap()), ["b", "c", "e", "f"]);
    assert_eq!(got.redirect_count, 2);
    assert!(!format!("{got:?}").contains('"'), "no value is shown");
}
