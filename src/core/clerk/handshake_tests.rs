use http::header::HeaderValue;

use super::*;
use crate::core::clerk::claimed::Claimed;
use crate::core::clerk::organization_sync::{OrganizationSync, Pattern};
use crate::core::clerk::publishable_key::PublishableKey;

/// A production instance whose pages below `/orgs` are an organization's.
fn instance() -> Instance {
    let key = PublishableKey::parse("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k").unwrap();
    let organizations = vec![Pattern::parse("/orgs/:slug").unwrap()];
    let personal = vec![Pattern::parse("/me").unwrap()];
    Instance {
        organizations: OrganizationSync { organizations, personal },
        ..Instance::of(&key, Payload::Nonce)
    }
}

/// Takes any token for one of a session.
fn a_session(token: &str) -> Result<Shown, Reject> {
    let claimed = Claimed::read(token).ok_or(Reject::TokenMalformed)?;
    Ok(Shown { is_session: true, claimed })
}

/// Asks about a GET for a page of this path, with these headers beside.
fn ask<T>(
    path: &str,
    headers: &[(&'static str, &'static str)],
    leads_home: bool,
    cookies: &ClerkCookies,
    question: impl FnOnce(Exchange<'_>) -> T,
) -> T {
    ask_of(&instance(), path, headers, leads_home, cookies, question)
}

fn ask_of<T>(
    instance: &Instance,
    path: &str,
    headers: &[(&'static str, &'static str)],
    leads_home: bool,
    cookies: &ClerkCookies,
    question: impl FnOnce(Exchange<'_>) -> T,
) -> T {
    let headers = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let url = PublicUrl {
        origin: "https://app.example.com".into(),
        prefix: String::new(),
        target: path.into(),
    };
    question(Exchange {
        instance,
        method: &Method::GET,
        headers: &headers,
        url: &url,
        leads_home,
        cookies,
    })
}

const PAGE: (&str, &str) = ("sec-fetch-dest", "document");
const SCRIPT: (&str, &str) = ("sec-fetch-dest", "empty");

#[test]
fn whoever_cannot_be_sent_for_another_organization_stays_signed_in() {
    for (headers, leads_home, count, sent) in [
        (PAGE, true, 0, true),
        (PAGE, true, 2, true),
        (PAGE, true, 3, false),
        (PAGE, false, 0, false),
        (SCRIPT, true, 0, false),
    ] {
        let cookies = ClerkCookies { redirect_count: count, ..ClerkCookies::default() };
        let active = Some(("org_1", Some("other")));
        let verdict = ask("/orgs/acme", &[headers], leads_home, &cookies, |exchange| {
            exchange.signed_in(active)
        });
        assert_eq!(verdict.is_some(), sent, "{headers:?} {leads_home} {count}: {verdict:?}");
    }
}

#[test]
fn every_handshake_says_which_organization_the_page_wants() {
    let cookies = ClerkCookies { client_uat: 5, ..ClerkCookies::default() };
    for (path, want) in [
        ("/orgs/acme", "&format=nonce&organization_id=acme"),
        ("/me", "&format=nonce&organization_id="),
        ("/", "&format=nonce"),
    ] {
        let next = ask(path, &[PAGE], true, &cookies, |exchange| exchange.before(false, a_session));
        let Next::Decided(Decided { verdict: Verdict::Handshake(redirect), .. }) = next else {
            panic!("{path}: {next:?}")
        };
        assert!(redirect.away.location.ends_with(want), "{path}: {}", redirect.away.location);
    }
}

#[test]
fn a_header_that_is_empty_says_nothing() {
    let html = ("accept", "text/html");
    for (headers, eligible) in [
        (&[PAGE, html][..], true),
        (&[html], true),
        (&[("sec-fetch-dest", ""), html], true),
        (&[("sec-fetch-dest", "")], false),
        (&[SCRIPT, html], false),
    ] {
        let got =
            ask("/", headers, true, &ClerkCookies::default(), |exchange| exchange.is_eligible());
        assert_eq!(got, eligible, "{headers:?}");
    }
}

#[test]
fn a_nonce_is_only_taken_where_it_can_be_exchanged() {
    let (nonce, handshake) = (Some("n".to_owned()), Some("t".to_owned()));
    let cookies = ClerkCookies { nonce, handshake, ..ClerkCookies::default() };
    for (payload, want) in [
        (Payload::Nonce, Brought::Nonce("n".to_owned())),
        (Payload::Token, Brought::Token("t".to_owned())),
    ] {
        let instance = Instance { payload, ..instance() };
        let next = ask_of(&instance, "/", &[PAGE], true, &cookies, |exchange| {
            exchange.before(false, a_session)
        });
        assert_eq!(next, Next::Resolve(want));
    }
}
