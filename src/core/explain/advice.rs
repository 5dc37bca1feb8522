//! What to do about a refusal.

use std::time::Duration;

use http::StatusCode;

use super::pasted::MACHINES;
use super::words::{list, quoted, span};
use super::{Answer, KeysFound};
use crate::core::access::{Access, Rule};
use crate::core::caller::Caller;
use crate::core::claims::{ClaimError, ClaimsPolicy};
use crate::core::clerk::row::Row;
use crate::core::clerk::token_class::{Category, is_machine};
use crate::core::identity::{IdentityPolicy, PROFILE_CLAIMS, Source};
use crate::core::issuer::{IssuerPolicy, TokenClass, TokenPolicy};
use crate::core::json::{Object, Value};
use crate::core::reject::Reject;

pub(super) const TYP: &str = "The token was made for another purpose, which `typ` names. Send the one that is meant for requests: of Clerk's, what `await getToken()` gives.";
pub(super) const SUBJECT: &str = "Every token of a user has `sub`. Was this one made by hand, or by a template that overwrites it?";
pub(super) const LIFETIME: &str = "A token that lives long cannot be taken back. Give the template a shorter lifetime in Clerk's dashboard (JWT templates), or raise `clerk.max_lifetime`.";
pub(super) const SESSION: &str = "A session token has `sid`; an ID token of Clerk's has none, nor has one of a JWT template. Send what `await getToken()` gives, without a template; for templates see `clerk.accept`.";
pub(super) const PENDING: &str = "The user has signed in and has a task left, such as choosing an organization. Clerk counts the session from then on: lead the user there (`<ClerkProvider taskUrls=…>`, or the sign-in page's /tasks).";
pub(super) const ACTOR: &str = "Somebody acts for this user (impersonation), and `clerk.impersonation` is \"refuse\". Take it out to let it pass; who really acts is then among the identity headers.";
pub(super) const REVOKED: &str = "Take the line out of the file if that was a mistake; it counts within 2 s. A revoked session stays revoked: have the user sign in again.";

/// For a token of somebody who is not configured.
pub(super) fn issuer(claims: &Object, issuers: &[IssuerPolicy]) -> String {
    let Some(issuer) = claims.get("iss").and_then(Value::as_str) else {
        return "The token does not say who has issued it, so no key can be chosen. Tokens of Clerk's have `iss`.".to_owned();
    };
    let bare = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    let mut names = issuers.iter().flat_map(|it| &it.names);
    if let Some(near) = names.find(|name| bare(name) == bare(issuer)) {
        return format!(
            "It must be {} to the letter; a slash at the end or a capital makes it another. Write it in the settings as the token has it: `clerk.issuer = [{}]`.",
            quoted(near),
            quoted(issuer)
        );
    }
    let audience = claims.get("aud").and_then(Value::as_str).unwrap_or("https://api.example.com");
    let table = format!("[[issuer]]\nurl = {}\naudience = [{}]", quoted(issuer), quoted(audience));
    format!(
        "If this is your Clerk instance, the publishable key in the settings is of another: a development instance (pk_test_…) and a production instance (pk_live_…) are two. Use the key that the front end has.\nIf it is a further issuer whose tokens are good here, add:\n{table}"
    )
}

/// For a token of a class that is not accepted.
pub(super) fn class(header: &Object, claims: &Object) -> String {
    if is_machine(header, claims) {
        return MACHINES.to_owned();
    }
    match Category::of(header) {
        Category::Machine => MACHINES.to_owned(),
        Category::Template => template(claims),
        Category::Session | Category::Absent | Category::Ignore => "Session tokens are not accepted: add \"session_token\" to `clerk.accept`, or send what `await getToken({ template })` gives.".to_owned(),
        Category::Unknown => "Clerk has made a kind of token that this version does not know. Send what `await getToken()` gives.".to_owned(),
    }
}

fn template(claims: &Object) -> String {
    const SEND: &str = "This token is of a JWT template. Send what `await getToken()` gives, without a template; or accept templates:";
    let accept =
        "clerk.accept = [\"session_token\", \"jwt_template\"]\nclerk.jwt_template.audience =";
    let found = claims.get("aud");
    let listed = found.and_then(Value::as_array).is_some_and(|mut it| it.next().is_some());
    match found {
        Some(audiences) if listed => format!("{SEND}\n{accept} {audiences}"),
        Some(audience) if audience.as_str().is_some() => {
            format!("{SEND}\n{accept} [{audience}]")
        }
        _ => format!(
            "{SEND}\n{accept} [\"my-backend\"]\nand give the template the claim `{{\"aud\": \"my-backend\"}}` in Clerk's dashboard (JWT templates): it has none, and tokens that are for nobody in particular are not accepted."
        ),
    }
}

/// For an algorithm that is not the issuer's.
pub(super) fn algorithm(found: &str, issuer: &IssuerPolicy) -> String {
    match &issuer.tokens {
        TokenPolicy::Clerk(_) if found.starts_with("\"HS") => "A template with a signing key of its own makes such tokens. Switch \"Custom signing key\" off in Clerk's dashboard (JWT templates): it is then signed with the instance's key.".to_owned(),
        TokenPolicy::Clerk(_) => "Clerk signs with RS256. Was this token made by something else, or by a template with a signing key of its own?".to_owned(),
        TokenPolicy::Oidc(_) => "Add the algorithm to `algorithms` of this `[[issuer]]`, if the issuer really signs with it. Shared secrets (HS256 …) and `none` are never accepted.".to_owned(),
    }
}

/// For a key that is not to be had.
pub(super) fn key(keys: &KeysFound) -> String {
    match &keys.found {
        Err(Reject::KeysUnavailable) => format!(
            "Nobody can tell whether the token is good; the proxy answers 503. Can this machine reach the address (`curl -i`)? Behind a proxy, set HTTPS_PROXY; without a way out, use `clerk.jwks_file`. What happened: {}.",
            keys.problem.as_deref().unwrap_or("no answer came in time")
        ),
        Ok(_) | Err(_) => "The issuer publishes no such key. Either the token is of another instance, or the key was replaced and the token is old: sign in again. If the keys are in a file, is that of this instance, and new enough? A proxy that runs asks for new keys at most once in 10 s.".to_owned(),
    }
}

/// For a `kid` that no key could have.
pub(super) const KID: &str = "No key can have such a name. How does the issuer make its tokens?";

/// For a signature that is not the key's.
pub(super) fn signature(reject: &Reject) -> String {
    if *reject == Reject::KeyMismatch {
        return "The key of this name is published for another algorithm than the token's. Was the token made by the issuer it names?".to_owned();
    }
    "The token was changed after it was signed (one lost character is enough), or somebody else signed it. Copy it whole from where it is made. With keys from a file or `clerk.jwt_key`, are they of this instance?".to_owned()
}

/// For an audience that is not ours.
pub(super) fn audience(
    found: Option<Value<'_>>,
    class: TokenClass,
    policy: &ClaimsPolicy,
) -> String {
    let ours = policy.audience.as_deref().unwrap_or_default();
    let wanted = ours.first().map_or("my-backend", String::as_str);
    let claim = format!("{{\"aud\": {}}}", quoted(wanted));
    let (key, place) = match class {
        TokenClass::SessionToken => ("clerk.audience", "Sessions → Customize session token"),
        TokenClass::JwtTemplate => ("clerk.jwt_template.audience", "JWT templates"),
        TokenClass::Oidc => {
            return "Have the issuer make the token for this backend; or, if tokens for that audience are meant for it too, add it to `audience` of this `[[issuer]]`.".to_owned();
        }
    };
    match found.and_then(Value::as_str) {
        Some(other) if !other.is_empty() => format!(
            "The token is for somebody else. If tokens for it are meant for this backend too, add it:\n{key} = {}",
            list(&[ours, &[other.to_owned()]].concat())
        ),
        _ if class == TokenClass::SessionToken => format!(
            "Clerk's session tokens have no audience unless you add one: in the dashboard, {place}, add\n{claim}\nor take `{key}` out of the settings."
        ),
        _ => {
            format!("Give the template an audience, in Clerk's dashboard, {place}:\n{claim}")
        }
    }
}

/// For an authorized party that is not ours, or is missing.
pub(super) fn party(found: Option<Value<'_>>, parties: &[String]) -> String {
    match found.and_then(Value::as_str) {
        Some(party) if !party.is_empty() => format!(
            "The token was made for a page of another origin. If that is your front end, add it, to the letter:\nclerk.authorized_parties = {}",
            list(&[parties, &[party.to_owned()]].concat())
        ),
        _ if found.is_none() => "Clerk leaves `azp` out where no web page asked for the token (native apps, handshakes, servers), and `clerk.azp` is \"enforce\". With \"auto\" those pass.".to_owned(),
        _ => "`azp` is there and is no origin, so nobody knows whom the token was given to. Clerk makes no such token.".to_owned(),
    }
}

/// For a date that is wrong now.
pub(super) fn date(error: &ClaimError, class: TokenClass, leeway: Duration) -> String {
    match error {
        ClaimError::Expired { exp, now } => {
            let clock = if now.since(*exp) < 10 * MINUTE {
                " If it was made just now, this machine's clock is ahead."
            } else {
                ""
            };
            format!("{}{clock}", fresh(class))
        }
        ClaimError::NotYetValid { .. } | ClaimError::IssuedInFuture { .. } => format!(
            "The clock of this machine is behind that of the issuer: set it (NTP). Up to 5 min can be allowed with `clerk.leeway`, which is {}.",
            span(leeway)
        ),
        ClaimError::DateMalformed(name) => format!(
            "`{name}` must be a number, seconds since 1970; a template that writes it as a text makes tokens nobody accepts."
        ),
        ClaimError::SubjectMissing
        | ClaimError::AudienceMismatch
        | ClaimError::AuthorizedPartyMismatch
        | ClaimError::LifetimeTooLong => String::new(),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn fresh(class: TokenClass) -> &'static str {
    match class {
        TokenClass::SessionToken => {
            "Clerk's session tokens live 60 s. The front end must call `await getToken()` for each request and must not keep what it gives: it renews the token in the background."
        }
        TokenClass::JwtTemplate => {
            "The front end must call `await getToken({ template })` for each request and must not keep what it gives. How long such a token lives stands in Clerk's dashboard (JWT templates)."
        }
        TokenClass::Oidc => "Get a new token from the issuer.",
    }
}

/// For identity headers that are empty because the token lacks the claim.
pub(super) fn missing_claims(caller: &Caller, policy: &IdentityPolicy) -> String {
    let mut missing = Vec::new();
    for (_, source) in policy.headers() {
        let Source::Claim(pointer) = source else { continue };
        let name = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
        let name = name.replace("~1", "/").replace("~0", "~");
        let reserved = RESERVED.contains(&&*name);
        if !caller.claims.contains_key(&name) && !reserved && !missing.contains(&name) {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return String::new();
    }
    let place = match caller.class {
        TokenClass::SessionToken => "Sessions → Customize session token",
        TokenClass::JwtTemplate => "JWT templates",
        TokenClass::Oidc => {
            return format!(
                "The token has no {}; the issuer may put them there when it is asked for other scopes.",
                missing.join(", ")
            );
        }
    };
    let members: Vec<_> = missing
        .iter()
        .map(|name| format!("  {}: {}", quoted(name), quoted(&shortcode(name))))
        .collect();
    format!(
        "Headers are empty because the token has no such claims. Add them in Clerk's dashboard, {place}:\n{{\n{}\n}}",
        members.join(",\n")
    )
}

/// Claims that Clerk sets itself, and lets nobody else set.
const RESERVED: [&str; 15] = [
    "act", "azp", "exp", "fea", "fva", "iat", "iss", "jti", "nbf", "o", "pla", "sid", "sts", "sub",
    "v",
];

/// Returns what Clerk's dashboard has for a claim: that of its template for Convex where that has
/// one, else a member of the user's public metadata.
fn shortcode(claim: &str) -> String {
    const OF_PROFILE: [&str; 10] = [
        "primary_email_address",
        "email_verified",
        "full_name",
        "first_name",
        "last_name",
        "username",
        "image_url",
        "updated_at",
        "primary_phone_number",
        "phone_number_verified",
    ];
    let known = PROFILE_CLAIMS.iter().zip(OF_PROFILE).find(|(name, _)| **name == claim);
    match (known, claim) {
        (Some((_, code)), _) => format!("{{{{user.{code}}}}}"),
        (None, "metadata" | "public_metadata") => "{{user.public_metadata}}".to_owned(),
        (None, other) => format!("{{{{user.public_metadata.{other}}}}}"),
    }
}

/// For a page that may not send such a request.
pub(super) const PAGE: &str = "A cookie comes with every request, whichever page has it sent. If the page is yours, name its origin in `clerk.authorized_parties`; a program sends the token as `Authorization: Bearer …`. With `cross_site = \"allow\"` the backend has to tell such requests apart.";

/// For a row of the decision on cookies that let nobody in; empty where there is nothing to do.
#[rustfmt::skip]
pub(super) fn row(row: Row) -> &'static str {
    match row {
        Row::HandshakeBrought       => "",
        Row::SatelliteWithoutState  => "A satellite domain has its state from the primary domain. The cookies of the primary domain are none of its own.",
        Row::DevBrowserInAddress    => "",
        Row::DevBrowserUnknown      => "A browser gets `__clerk_db_jwt` when it first opens a page of the front end, or on its way back from Clerk. Copy all cookies of the request, or send the token as `Authorization: Bearer …`.",
        Row::SessionsContradict     => "Two sites of this domain have set the cookie, with different `Domain` or `Path`. Delete both, and sign in again.",
        Row::NothingShown           => "Is anybody signed in, at this very host? A script on another origin sends cookies only with `credentials: \"include\"`, and a program sends the token as `Authorization: Bearer …`.",
        Row::SessionWithoutClient   => "Clerk sets `__client_uat` beside `__session`, and counts a session only with it. Copy all cookies of the request; a program that has a token alone sends it as `Authorization: Bearer …`.",
        Row::ClientWithoutSession   => "Usual for the first page after a while: the browser comes back with a session. If not, does something before the proxy take cookies away, or is `__session` set for another host?",
        Row::SessionUnreadable      => "Something else has set a cookie of this name. Delete it, and sign in again.",
        Row::SessionOfAnotherClass  => "Cookies hold session tokens; one of a JWT template is sent as `Authorization: Bearer …`.",
        Row::SessionOlderThanClient => "Usual after a sign-in or a sign-out elsewhere: the browser comes back with a new session.",
        Row::TokenRefused           => "",
        Row::FromAnotherSite        => "Usual for a link from elsewhere: Clerk has every such page ask once.",
        Row::OrganizationDiffers    => "Usual for a link into another organization: the browser comes back with a session in which it is active.",
        Row::SignedIn               => "",
    }
}

/// For a route that does not let the request in; empty where there is nothing more to say.
pub(super) fn route(answer: &Answer, rule: &Rule) -> String {
    let Answer::Refused(refusal) = answer else { return String::new() };
    let status = refusal.reject.status();
    match &refusal.reject {
        Reject::CookiesRefused => "Set `public_url`, or `clerk.authorized_parties`: then it is known which pages are yours.".to_owned(),
        _ if refusal.shown().is_none() => format!(
            "The answer gives nothing away, because the route has `{} = \"not-found\"`.",
            if status == StatusCode::FORBIDDEN { "forbidden" } else { "unauthenticated" }
        ),
        Reject::Handshake(_) | Reject::HandshakeOver { .. } => String::new(),
        _ if refusal.away().is_some() => {
            "The request is for a page, which is sent to sign in; for 401 set `unauthenticated = \"challenge\"`.".to_owned()
        }
        Reject::CredentialMissing if rule.access == Access::SIGNED_IN => {
            "Send a token as `Authorization: Bearer …`, or make the path `access = \"public\"` or `\"optional\"`.".to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_claim_of_the_profile_has_clerks_shortcode() {
        for (claim, want) in [
            ("email", "{{user.primary_email_address}}"),
            ("family_name", "{{user.last_name}}"),
            ("picture", "{{user.image_url}}"),
            ("phone_number_verified", "{{user.phone_number_verified}}"),
            ("metadata", "{{user.public_metadata}}"),
            ("team", "{{user.public_metadata.team}}"),
        ] {
            assert_eq!(shortcode(claim), want);
        }
    }
}
