//! JOSE header and claims: which class a token is of, and whether it is good at some moment.
//!
//! Three lines: settings (`templates`, `oidc`, `aud`, `azp`, `enforce`, `forever`), the header and
//! the claims as JSON. The time of the check is [`NOW`].

#![no_main]

use std::time::Duration;

use countersign::core::claims::{AzpPolicy, ClaimError, ClaimsPolicy};
use countersign::core::credential::BearerToken;
use countersign::core::issuer::{
    ClerkPolicy, Impersonation, IssuerPolicy, TokenClass, TokenPolicy,
};
use countersign::core::json as ours;
use countersign::core::jwk::Algorithms;
use countersign::core::jws::UnverifiedToken;
use countersign::core::time::UnixTime;
use countersign_fuzz::{base64url, first_line, json};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

const NOW: i64 = 1_700_000_000;
const LEEWAY: i64 = 5;
const DAY: i64 = 86_400;
const AUDIENCE: &str = "https://api.test";
const PARTY: &str = "https://app.test";

fuzz_target!(|data: &[u8]| {
    let (words, rest) = first_line(data);
    let (header, claims) = first_line(rest);
    if json::is_of_the_library(header) || json::is_of_the_library(claims) {
        return;
    }
    let (read, read_claims) = (ours::parse_object(header).ok(), ours::parse_object(claims).ok());
    let (header_there, claims_there) = (json::object(header), json::object(claims));
    same(read.as_ref(), header_there.as_ref());
    same(read_claims.as_ref(), claims_there.as_ref());
    let (Some(header), Some(claims)) = (header_there, claims_there) else { return };

    let words = String::from_utf8_lossy(words);
    let asked = Asked::read(&words);
    let got =
        asked.policy().check(read_claims.as_ref().expect("it is there"), UnixTime::from_secs(NOW));
    assert_eq!(got.as_ref().map(drop).map_err(word), asked.check(&claims), "{claims:?}");
    if let Ok(validity) = got {
        // What is remembered of a token is looked at in the same way.
        let again = validity.check(asked.policy().leeway, UnixTime::from_secs(NOW));
        assert!(again.is_ok(), "{again:?}");
    }

    let issuer = asked.issuer();
    let parts = [header.clone(), claims.clone()]
        .map(|it| base64url::encode(Value::from(it).to_string().as_bytes()));
    let text = format!("{}.{}.AA", parts[0], parts[1]);
    let Ok(token) = UnverifiedToken::parse(BearerToken::of(&text)) else {
        assert!(header.contains_key("crit"), "{text}");
        return;
    };
    let (named, is_session) = (issuer.is_named_by(&token), issuer.is_session(&token));
    assert_eq!(named, claims.get("iss") == Some(&"https://clerk.test".into()));
    assert_eq!(is_session, asked.class(&header, &claims) == Some(TokenClass::SessionToken));
    let admitted = issuer.admit(token).is_ok();
    assert_eq!(admitted, asked.admits(&header, &claims), "{header:?} {claims:?}");
});

fn same(got: Option<&ours::Object>, want: Option<&Object>) {
    let (got, want) = (got.map(Value::from), want.cloned().map(Value::from));
    let alike = match (&got, &want) {
        (Some(got), Some(want)) => json::same(got, want),
        (None, None) => true,
        _ => false,
    };
    assert!(alike, "{got:?} is not {want:?}");
}

/// What the settings ask.
struct Asked<'a>(&'a str);

impl<'a> Asked<'a> {
    fn read(words: &'a str) -> Self {
        Self(words)
    }

    fn has(&self, word: &str) -> bool {
        self.0.split(' ').any(|own| own == word)
    }

    fn policy(&self) -> ClaimsPolicy {
        ClaimsPolicy {
            audience: self.has("aud").then(|| vec![AUDIENCE.to_owned()]),
            parties: if self.has("azp") { vec![PARTY.to_owned()] } else { Vec::new() },
            azp: if self.has("enforce") { AzpPolicy::Enforce } else { AzpPolicy::Auto },
            leeway: ClaimsPolicy::LEEWAY,
            max_lifetime: (!self.has("forever")).then_some(Duration::from_secs(DAY as u64)),
        }
    }

    fn issuer(&self) -> IssuerPolicy {
        let clerk = ClerkPolicy {
            sessions: Some(self.policy()),
            templates: self.has("templates").then(|| self.policy()),
            impersonation: Impersonation::Allow,
        };
        let tokens = if self.has("oidc") {
            TokenPolicy::Oidc(self.policy())
        } else {
            TokenPolicy::Clerk(clerk)
        };
        let names = vec!["https://clerk.test".to_owned()];
        IssuerPolicy { names, algorithms: Algorithms::CLERK, tokens }
    }

    /// The rules in the order in which Clerk has them.
    fn check(&self, claims: &Object) -> Result<(), &'static str> {
        let text = |name| claims.get(name).and_then(Value::as_str);
        text("sub").filter(|sub| !sub.is_empty()).ok_or("sub")?;
        let for_us = match claims.get("aud") {
            Some(Value::String(aud)) => aud == AUDIENCE,
            Some(Value::Array(list)) => {
                list.iter().all(Value::is_string) && list.contains(&AUDIENCE.into())
            }
            _ => false,
        };
        (for_us || !self.has("aud")).then_some(()).ok_or("aud")?;
        let from_party = match claims.get("azp") {
            None => !self.has("enforce"),
            Some(azp) => azp == PARTY,
        };
        (from_party || !self.has("azp")).then_some(()).ok_or("azp")?;
        let exp = date(claims, "exp")?.ok_or("exp")?;
        (NOW < exp + LEEWAY).then_some(()).ok_or("expired")?;
        let nbf = date(claims, "nbf")?.unwrap_or(NOW);
        (nbf <= NOW + LEEWAY).then_some(()).ok_or("not yet")?;
        let iat = date(claims, "iat")?.unwrap_or(NOW);
        (iat <= NOW + LEEWAY).then_some(()).ok_or("future")?;
        let lives = exp - iat <= DAY || self.has("forever");
        (lives && exp <= 253_402_300_799).then_some(()).ok_or("lifetime")
    }

    /// Says which class a token is of: by `cat` where that says something, else by `sid`.
    fn class(&self, header: &Object, claims: &Object) -> Option<TokenClass> {
        if self.has("oidc") {
            return Some(TokenClass::Oidc);
        }
        let typ = header.get("typ").and_then(Value::as_str).unwrap_or_default();
        let machine =
            claims.get("sub").and_then(Value::as_str).is_some_and(|sub| sub.starts_with("mch_"));
        if machine || typ == "at+jwt" || typ == "application/at+jwt" {
            return None;
        }
        let templates = self.has("templates");
        let template = || templates.then_some(TokenClass::JwtTemplate);
        match header.get("cat").map(|cat| cat.as_str().unwrap_or("?")) {
            Some("cl_B7d4PD111AAA") => Some(TokenClass::SessionToken),
            Some("cl_B7d4PD222AAA") => template(),
            None | Some("cl_I7d4PD111III") if templates && !claims.contains_key("sid") => {
                template()
            }
            None | Some("cl_I7d4PD111III") => Some(TokenClass::SessionToken),
            Some(_) => None,
        }
    }

    fn admits(&self, header: &Object, claims: &Object) -> bool {
        let typ = match (header.get("typ"), self.has("oidc")) {
            (None, _) => true,
            (Some(typ), false) => typ == "JWT",
            (Some(typ), true) => {
                let typ = typ.as_str().unwrap_or_default().to_ascii_lowercase();
                ["jwt", "at+jwt", "application/jwt", "application/at+jwt"].contains(&&*typ)
            }
        };
        let algorithms = ["RS256", "RS384", "RS512"];
        let algorithm = header.get("alg").and_then(Value::as_str);
        let kid = match header.get("kid") {
            Some(kid) if self.has("oidc") => {
                let kid = kid.as_str().unwrap_or_default();
                (1..=128).contains(&kid.len())
                    && kid.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
            }
            _ => true,
        };
        self.class(header, claims).is_some()
            && typ
            && kid
            && algorithm.is_some_and(|own| algorithms.contains(&own))
    }
}

/// A NumericDate, cut off toward zero (RFC 7519 §2).
fn date(claims: &Object, name: &'static str) -> Result<Option<i64>, &'static str> {
    /// Far enough for every comparison, and nothing overflows.
    const FAR: f64 = 1e15;
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(name) };
    let seconds: f64 = number.to_string().parse().map_err(|_| name)?;
    if !seconds.is_finite() {
        return Err(name);
    }
    Ok(Some(seconds.trunc().clamp(-FAR, FAR) as i64))
}

fn word(error: &ClaimError) -> &'static str {
    match error {
        ClaimError::SubjectMissing => "sub",
        ClaimError::AudienceMismatch => "aud",
        ClaimError::AuthorizedPartyMismatch => "azp",
        ClaimError::DateMalformed(name) => name,
        ClaimError::Expired { .. } => "expired",
        ClaimError::NotYetValid { .. } => "not yet",
        ClaimError::IssuedInFuture { .. } => "future",
        ClaimError::LifetimeTooLong => "lifetime",
    }
}
