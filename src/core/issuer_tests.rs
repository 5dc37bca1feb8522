//! Tests of whose tokens are taken, and as what.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::core::base64url;
use crate::core::claims::AzpPolicy;
use crate::core::credential::BearerToken;
use crate::core::json::tests::object;

fn claims() -> ClaimsPolicy {
    ClaimsPolicy {
        audience: None,
        parties: Vec::new(),
        azp: AzpPolicy::Off,
        leeway: Duration::ZERO,
        max_lifetime: None,
    }
}

fn issuer(tokens: TokenPolicy) -> IssuerPolicy {
    let names = vec!["https://clerk.example.com".to_owned(), "https://example.com/clerk".into()];
    IssuerPolicy { names, algorithms: Algorithms::ALL, tokens }
}

/// A Clerk instance whose session tokens and templates are taken, or not.
fn clerk(sessions: bool, templates: bool) -> IssuerPolicy {
    let [sessions, templates] = [sessions, templates].map(|taken| taken.then(claims));
    let impersonation = Impersonation::Allow;
    issuer(TokenPolicy::Clerk(ClerkPolicy { sessions, templates, impersonation }))
}

fn token(header: &Value, claims: &Value) -> String {
    let part = |part: &Value| base64url::encode(part.to_string().as_bytes());
    format!("{}.{}.AAAA", part(header), part(claims))
}

#[test]
fn a_key_that_is_named_in_a_way_none_could_be_is_not_left_to_be_guessed() {
    let odd = Err(Reject::KeyUnknown { kid: None });
    for (kid, of_oidc) in [
        (json!("k"), Ok(())),
        (json!(""), odd.clone()),
        (json!("a b"), odd.clone()),
        (json!("k".repeat(129)), odd.clone()),
        (json!(5), odd.clone()),
        (json!(null), odd.clone()),
        (json!(["k"]), odd),
    ] {
        let text = token(&json!({"alg": "RS256", "kid": kid}), &json!({"sid": "sess_1"}));
        let parsed = || UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
        let admit = |issuer: &IssuerPolicy| issuer.admit(parsed()).map(drop);
        assert_eq!(admit(&issuer(TokenPolicy::Oidc(claims()))), of_oidc, "{kid}");
        assert_eq!(admit(&clerk(true, false)), Ok(()), "{kid}: there a name is always asked for");
    }
    let text = token(&json!({"alg": "RS256"}), &json!({}));
    let parsed = UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
    assert!(issuer(TokenPolicy::Oidc(claims())).admit(parsed).is_ok(), "none is named");
}

#[test]
fn an_issuer_is_named_to_the_letter() {
    for (iss, named) in [
        (json!("https://clerk.example.com"), true),
        (json!("https://example.com/clerk"), true),
        (json!("https://clerk.example.com/"), false),
        (json!("HTTPS://CLERK.EXAMPLE.COM"), false),
        (json!("https://clerk.example.com.evil.com"), false),
        (json!("https://clerk.example.com:443"), false),
        (json!("https://clerk.example.co"), false),
        (json!(["https://clerk.example.com"]), false),
        (json!(""), false),
        (json!(5), false),
        (json!(null), false),
    ] {
        let text = token(&json!({}), &json!({"iss": iss}));
        let token = UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
        assert_eq!(clerk(true, false).is_named_by(&token), named, "{iss}");
    }
    let text = token(&json!({}), &json!({}));
    let token = UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
    assert!(!clerk(true, false).is_named_by(&token), "no issuer");
}

#[test]
fn a_token_of_clerks_is_of_the_class_its_category_says_and_only_what_is_accepted() {
    use TokenClass::{JwtTemplate, SessionToken};
    let (session, template) = (json!({"sid": "sess_1"}), json!({"aud": "convex"}));
    for (cat, claims, sessions_only, both, templates_only) in [
        (json!("cl_B7d4PD111AAA"), &session, Some(SessionToken), Some(SessionToken), None),
        // Without `sid` it is refused later: that a claim is missing is told of a verified token.
        (json!("cl_B7d4PD111AAA"), &template, Some(SessionToken), Some(SessionToken), None),
        (json!("cl_B7d4PD222AAA"), &template, None, Some(JwtTemplate), Some(JwtTemplate)),
        (json!("cl_B7d4PD222AAA"), &session, None, Some(JwtTemplate), Some(JwtTemplate)),
        (json!("cl_I7d4PD111III"), &session, Some(SessionToken), Some(SessionToken), None),
        (
            json!("cl_I7d4PD111III"),
            &template,
            Some(SessionToken),
            Some(JwtTemplate),
            Some(JwtTemplate),
        ),
        (json!("-"), &session, Some(SessionToken), Some(SessionToken), None),
        (json!("-"), &template, Some(SessionToken), Some(JwtTemplate), Some(JwtTemplate)),
        (json!("cl_B7d4PD333AAA"), &session, None, None, None),
        (json!("cl_B7d4PD444AAA"), &session, None, None, None),
        (json!(null), &session, None, None, None),
    ] {
        let header = if cat == "-" { json!({}) } else { json!({"cat": cat}) };
        let (header, claims) = (object(&header), object(claims));
        for (policy, class) in [
            (clerk(true, false), sessions_only),
            (clerk(true, true), both),
            (clerk(false, true), templates_only),
        ] {
            assert_eq!(policy.class_of(&header, &claims), class, "{cat} {claims:?} {policy:?}");
        }
    }
}

#[test]
fn a_machines_token_is_of_no_class_whatever_its_category_says() {
    for (header, claims) in [
        (json!({"cat": "cl_B7d4PD111AAA", "typ": "at+jwt"}), json!({"sid": "sess_1"})),
        (json!({"cat": "cl_B7d4PD222AAA"}), json!({"sub": "mch_1"})),
        (json!({}), json!({"sub": "mch_1"})),
    ] {
        let class = clerk(true, true).class_of(&object(&header), &object(&claims));
        assert_eq!(class, None, "{header} {claims}");
    }
}

#[test]
fn a_typ_that_was_made_for_something_else_is_refused() {
    let (clerk, other) = (clerk(true, false), issuer(TokenPolicy::Oidc(claims())));
    for (typ, of_clerk, of_other) in [
        (json!("-"), "admitted", "admitted"),
        (json!("JWT"), "admitted", "admitted"),
        (json!("jwt"), "token-invalid", "admitted"),
        (json!("application/JWT"), "token-invalid", "admitted"),
        (json!("at+jwt"), "token-type-mismatch", "admitted"),
        (json!("application/at+jwt"), "token-type-mismatch", "admitted"),
        (json!("AT+JWT"), "token-invalid", "admitted"),
        (json!("logout+jwt"), "token-invalid", "token-invalid"),
        (json!("dpop+jwt"), "token-invalid", "token-invalid"),
        (json!("secevent+jwt"), "token-invalid", "token-invalid"),
        (json!(""), "token-invalid", "token-invalid"),
        (json!(null), "token-invalid", "token-invalid"),
        (json!(5), "token-invalid", "token-invalid"),
    ] {
        let mut header = json!({"alg": "RS256", "typ": typ});
        if typ == "-" {
            header.as_object_mut().unwrap().remove("typ");
        }
        let text = token(&header, &json!({"sid": "sess_1"}));
        for (policy, want) in [(&clerk, of_clerk), (&other, of_other)] {
            let token = UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
            let got = policy.admit(token).map_or_else(|reject| reject.label(), |_| "admitted");
            assert_eq!(got, want, "{typ} {policy:?}");
        }
    }
}

#[test]
fn an_issuer_signs_with_its_own_algorithms_alone() {
    let only = |algorithms| IssuerPolicy { algorithms, ..issuer(TokenPolicy::Oidc(claims())) };
    let es256 = Algorithms::among(&[crate::core::jwk::Algorithm::Es256]).unwrap();
    for (alg, all, es256_only) in [
        ("RS256", true, false),
        ("ES256", true, true),
        ("EdDSA", true, false),
        ("HS256", false, false),
        ("none", false, false),
        ("rs256", false, false),
    ] {
        let text = token(&json!({"alg": alg}), &json!({}));
        for (allowed, good) in [(Algorithms::ALL, all), (es256, es256_only)] {
            let token = UnverifiedToken::parse(BearerToken::of(&text)).unwrap();
            assert_eq!(only(allowed).admit(token).is_ok(), good, "{alg}");
        }
    }
    assert_eq!(Algorithms::among(&[]), None);
}
