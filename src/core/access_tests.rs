//! Tables for who may use a route.

use std::num::NonZeroU32;

use serde_json::json;

use super::*;
use crate::core::caller::session_of;
use crate::core::claims::ClaimError;
use crate::core::clerk::has::{Entitlement, Level, Privilege, Reverification};
use crate::core::issuer::TokenClass;
use crate::core::json::tests::object;

fn role(name: &str) -> Demand {
    Demand::Has(Asked::Role(Privilege::parse(name).unwrap()))
}

fn permission(name: &str) -> Demand {
    Demand::Has(Asked::Permission(Privilege::parse(name).unwrap()))
}

fn plan(name: &str) -> Demand {
    Demand::Has(Asked::Plan(Entitlement::parse(name).unwrap()))
}

fn reverification(it: Reverification) -> Demand {
    Demand::Has(Asked::Reverification(it))
}

fn claim(pointer: &str, allowed: &[Scalar]) -> Demand {
    Demand::Claim(ClaimDemand { pointer: pointer.into(), allowed: allowed.to_vec() })
}

fn text(text: &str) -> Scalar {
    Scalar::Text(text.to_owned())
}

/// What is known of whoever comes with a token of this class that says this.
fn testimony(class: TokenClass, claims: &Value, asked: &[&str]) -> Testimony {
    let claims = object(claims);
    let asked: Vec<Arc<str>> = asked.iter().map(|pointer| (*pointer).into()).collect();
    Testimony {
        standing: Arc::new(Standing::new(session_of(class, &claims), &claims, asked.iter())),
        presented: Presented::Bearer,
        identity: Arc::default(),
        assertion: None,
    }
}

fn required(demands: &[Demand]) -> Access {
    Access::Required(Demands::new(demands.to_vec()))
}

fn session() -> Value {
    json!({
        "v": 2, "fea": "o:dash", "pla": "o:pro", "fva": [5, 30],
        "o": {"id": "org_1", "rol": "admin", "per": "read", "fpm": "1"},
    })
}

#[test]
fn a_route_asks_for_nothing_for_anybody_or_for_more() {
    let known = testimony(TokenClass::SessionToken, &session(), &[]);
    let missing = Err(Reject::CredentialMissing);
    for (access, nobody, somebody) in [
        (Access::Public, Ok(()), Ok(())),
        (Access::Optional, Ok(()), Ok(())),
        (Access::SIGNED_IN, missing.clone(), Ok(())),
        (required(&[role("admin"), permission("dash:read"), plan("pro")]), missing, Ok(())),
    ] {
        assert_eq!(access.check(None), nobody, "{access:?}");
        assert_eq!(access.check(Some(&known)), somebody, "{access:?}");
    }
}

#[test]
fn the_first_thing_that_is_lacking_is_told_and_a_verification_last() {
    let strict = reverification(Reverification::Strict);
    let scope = |needed: &str| Reject::ScopeInsufficient { needed: needed.into() };
    for (demands, want) in [
        (vec![role("member")], scope("org:member")),
        (vec![permission("a:b")], scope("org:a:b")),
        (vec![role("admin"), permission("a:b")], scope("org:admin org:a:b")),
        (vec![plan("free")], Reject::AccessDenied(plan("free"))),
        (vec![plan("free"), role("member")], Reject::AccessDenied(plan("free"))),
        (vec![role("member"), plan("free")], scope("org:member")),
        (vec![strict.clone()], Reject::ReverificationMissing(Reverification::Strict)),
        (
            vec![strict.clone(), role("admin")],
            Reject::ReverificationMissing(Reverification::Strict),
        ),
        (vec![strict.clone(), role("member")], scope("org:member")),
        (vec![strict, claim("/a", &[text("a")])], Reject::AccessDenied(claim("/a", &[text("a")]))),
    ] {
        let caller = testimony(TokenClass::SessionToken, &session(), &[]);
        assert_eq!(required(&demands).check(Some(&caller)), Err(want), "{demands:?}");
    }
}

#[test]
fn a_cookie_is_told_no_scope() {
    let bearer = testimony(TokenClass::SessionToken, &session(), &[]);
    let cookie = Testimony { presented: Presented::Cookie, ..bearer };
    let answer = required(&[role("member")]).check(Some(&cookie));
    assert_eq!(answer, Err(Reject::AccessDenied(role("member"))));
}

#[test]
fn only_a_session_token_has_what_clerk_says_of_sessions() {
    let lax = reverification(Reverification::Lax);
    for demand in [role("admin"), permission("dash:read"), plan("pro"), lax] {
        for (class, good) in [
            (TokenClass::SessionToken, true),
            (TokenClass::JwtTemplate, false),
            (TokenClass::Oidc, false),
        ] {
            let answer = required(std::slice::from_ref(&demand)).check(Some(&testimony(
                class,
                &session(),
                &[],
            )));
            assert_eq!(answer.is_ok(), good, "{demand:?} {class:?}");
        }
    }
}

#[test]
fn a_claim_holds_an_allowed_value_to_the_letter_or_among_its_items() {
    let (five, truth) = (Scalar::Number(5), Scalar::Bool(true));
    for (claims, pointer, allowed, good) in [
        (json!({"a": "x"}), "/a", vec![text("x")], true),
        (json!({"a": "x"}), "/a", vec![text("y"), text("x")], true),
        (json!({"a": "X"}), "/a", vec![text("x")], false),
        (json!({"a": "x "}), "/a", vec![text("x")], false),
        (json!({"a": ["y", "x"]}), "/a", vec![text("x")], true),
        (json!({"a": ["x,y"]}), "/a", vec![text("x")], false),
        (json!({"a": "x,y"}), "/a", vec![text("x")], false),
        (json!({"a": [["x"]]}), "/a", vec![text("x")], false),
        (json!({"a": {"x": true}}), "/a", vec![text("x")], false),
        (json!({"a": [{"x": true}]}), "/a", vec![text("x")], false),
        (json!({"a": 5}), "/a", vec![five.clone()], true),
        (json!({"a": 5.5}), "/a", vec![five.clone()], false),
        (json!({"a": "5"}), "/a", vec![five], false),
        (json!({"a": 5}), "/a", vec![text("5")], false),
        (json!({"a": true}), "/a", vec![truth.clone()], true),
        (json!({"a": false}), "/a", vec![truth.clone()], false),
        (json!({"a": "true"}), "/a", vec![truth.clone()], false),
        (json!({"a": 1}), "/a", vec![truth], false),
        (json!({"a": null}), "/a", vec![text("null")], false),
        (json!({"a": ""}), "/a", vec![text("x")], false),
        (json!({"a": []}), "/a", vec![text("x")], false),
        (json!({}), "/a", vec![text("x")], false),
        (json!({"a": "x"}), "/a", vec![], false),
        (json!({"a": {"b": ["x"]}}), "/a/b", vec![text("x")], true),
        (json!({"a": {"b": "x"}}), "/a/c", vec![text("x")], false),
        (json!({"https://ns/a": "x"}), "/https:~1~1ns~1a", vec![text("x")], true),
    ] {
        for class in [TokenClass::SessionToken, TokenClass::JwtTemplate, TokenClass::Oidc] {
            let caller = testimony(class, &claims, &[pointer]);
            let answer = required(&[claim(pointer, &allowed)]).check(Some(&caller));
            assert_eq!(answer.is_ok(), good, "{claims} {pointer} {allowed:?}");
        }
        // What is not kept for routes is had by nobody.
        let forgotten = testimony(TokenClass::SessionToken, &claims, &[]);
        assert!(required(&[claim(pointer, &allowed)]).check(Some(&forgotten)).is_err());
    }
}

#[test]
fn what_is_hidden_is_a_404_and_keeps_its_reason() {
    let expired = Reject::ClaimRefused {
        class: TokenClass::SessionToken,
        error: ClaimError::LifetimeTooLong,
    };
    let anonymous = Arc::default();
    for (caller, unauthenticated, forbidden, status) in [
        (Ok(None), Unauthenticated::Auto, Forbidden::NotFound, 401),
        (Ok(None), Unauthenticated::Challenge, Forbidden::NotFound, 401),
        (Ok(None), Unauthenticated::NotFound, Forbidden::Forbidden, 404),
        (Err(expired.clone()), Unauthenticated::NotFound, Forbidden::Forbidden, 404),
        (Err(expired), Unauthenticated::Auto, Forbidden::NotFound, 401),
        (Err(Reject::ImpersonationRefused), Unauthenticated::Auto, Forbidden::NotFound, 404),
        (Err(Reject::KeysUnavailable), Unauthenticated::NotFound, Forbidden::NotFound, 503),
        (
            Ok(Some(testimony(TokenClass::SessionToken, &json!({}), &[]))),
            Unauthenticated::NotFound,
            Forbidden::Forbidden,
            403,
        ),
        (
            Ok(Some(testimony(TokenClass::SessionToken, &json!({}), &[]))),
            Unauthenticated::Auto,
            Forbidden::NotFound,
            404,
        ),
    ] {
        let rule =
            Rule { unauthenticated, forbidden, ..Rule::from(required(&[role("org:admin")])) };
        let refusal = rule.permit(caller.clone(), &anonymous).unwrap_err();
        assert_eq!(refusal.status().as_u16(), status, "{unauthenticated:?} {forbidden:?}");
        assert_eq!(refusal.shown().is_none(), status == 404);
        assert_ne!(refusal.reject.status().as_u16(), 404, "what is counted is the true reason");
    }
}

#[test]
fn what_is_only_reported_goes_on_as_nobody() {
    let anonymous = Arc::new(Identity { base: "nobody".into(), ..Identity::default() });
    let rule = Rule { mode: Mode::Report, ..Rule::from(required(&[role("admin")])) };
    let known = |claims| testimony(TokenClass::SessionToken, &claims, &[]);
    for (caller, reported) in [
        (Ok(None), Some("session-token-and-uat-missing")),
        (Err(Reject::TokenMalformed), Some("token-invalid")),
        (Err(Reject::KeysUnavailable), Some("keys-unavailable")),
        (Ok(Some(known(json!({})))), Some("scope-insufficient")),
        (Ok(Some(known(session()))), None),
    ] {
        let permit = rule.permit(caller, &anonymous).unwrap();
        assert_eq!(permit.reported().map(Reject::label), reported);
        assert_eq!(permit.identity().base == "nobody", reported.is_some(), "{reported:?}");
        assert!(permit.assertion().is_none());
    }
}

#[test]
fn a_verification_is_asked_for_in_the_words_of_clerks_front_end() {
    let after_minutes = NonZeroU32::new(15).unwrap();
    for (asked, want) in [
        (Reverification::StrictMfa, json!("strict_mfa")),
        (Reverification::Moderate, json!("moderate")),
        (
            Reverification::Within { level: Level::FirstFactor, after_minutes },
            json!({"level": "first_factor", "afterMinutes": 15}),
        ),
    ] {
        assert_eq!(asked.metadata(), want);
    }
}

#[test]
fn debug_shows_no_caller() {
    let caller = testimony(TokenClass::SessionToken, &session(), &["/pla"]);
    let shown = format!("{caller:?}");
    assert!(!shown.contains("org_1") && !shown.contains("pro"), "{shown}");
}
