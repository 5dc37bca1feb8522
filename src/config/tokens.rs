//! `clerk` again: what tokens must say to be good.

use std::path::PathBuf;
use std::time::Duration;

use crate::core::claims::{AzpPolicy, ClaimsPolicy};
use crate::core::clerk::revoked::Revoked;
use crate::core::issuer::{ClerkPolicy, Impersonation, TokenClass};
use crate::keys::KeySettings;

use super::address::{self, PublicAddress};
use super::error::Origin;
use super::reader::Reader;
use super::units::Span;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// What holds for the tokens of every issuer.
#[derive(Clone, Copy)]
pub(super) struct Common {
    pub(super) leeway: Duration,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) max_stale: Duration,
}

pub(super) fn common(reader: &mut Reader<'_>) -> Common {
    let day = KeySettings::MAX_STALE;
    let leeway = reader.span("clerk.leeway", Duration::ZERO..=5 * MINUTE);
    if leeway.is_some_and(|leeway| leeway > MINUTE) {
        reader.warn(
            "clerk.leeway",
            "Clerk's session tokens live a minute; with this each is good for more than two",
        );
    }
    let max_lifetime = reader.one("clerk.max_lifetime", |text| match text.parse::<Span>() {
        _ if text == "none" => Ok(None),
        Ok(Span(span)) if span >= SECOND => Ok(Some(span)),
        Ok(_) => Err("at least 1s".to_owned()),
        Err(error) => Err(format!("{error}, or `none`")),
    });
    Common {
        leeway: leeway.unwrap_or(ClaimsPolicy::LEEWAY),
        max_lifetime: max_lifetime.unwrap_or(Some(ClaimsPolicy::MAX_LIFETIME)),
        max_stale: reader.span("clerk.max_stale", MINUTE..=365 * day).unwrap_or(day),
    }
}

/// Which of the instance's tokens are good.
pub(super) struct Tokens {
    pub(super) policy: ClerkPolicy,
    /// The origins of the application's own pages.
    pub(super) parties: Vec<String>,
    pub(super) azp: AzpPolicy,
}

/// Reads which of the instance's tokens are good, and the authorized parties.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    common: Common,
    public: Option<&PublicAddress>,
    has_instance: bool,
) -> Tokens {
    let words =
        [("auto", AzpPolicy::Auto), ("enforce", AzpPolicy::Enforce), ("off", AzpPolicy::Off)];
    let azp = reader.choice("clerk.azp", &words).unwrap_or_default();
    let parties = parties(reader, azp, public, has_instance);
    let words = [("allow", Impersonation::Allow), ("refuse", Impersonation::Refuse)];
    let impersonation = reader.choice("clerk.impersonation", &words).unwrap_or_default();

    let accepted = accepted(reader);
    let session_audience = reader.many("clerk.audience", audience);
    let template_audience = template_audience(reader, &accepted);
    let policy = |audience| ClaimsPolicy {
        audience,
        parties: parties.clone(),
        azp,
        leeway: common.leeway,
        max_lifetime: common.max_lifetime,
    };
    let accepts = |class| accepted.contains(&class);
    let clerk = ClerkPolicy {
        sessions: accepts(TokenClass::SessionToken).then(|| policy(session_audience)),
        // Where the audience is missing, which is noted, nobody is meant.
        templates: accepts(TokenClass::JwtTemplate)
            .then(|| policy(Some(template_audience.unwrap_or_default()))),
        impersonation,
    };
    Tokens { policy: clerk, parties, azp }
}

/// Reads the list once, to say now what would be wrong with it later.
pub(super) fn revoked(reader: &mut Reader<'_>) -> Option<PathBuf> {
    const KEY: &str = "clerk.revoked_file";
    let file = reader.content(KEY)?;
    let (_, bad) = Revoked::parse(&String::from_utf8_lossy(&file.bytes));
    for line in bad {
        reader.mistake(KEY, format!("{}: {line}", file.path.display()));
    }
    Some(file.path)
}

fn accepted(reader: &mut Reader<'_>) -> Vec<TokenClass> {
    let classes = [TokenClass::SessionToken, TokenClass::JwtTemplate];
    let accepted = reader.many("clerk.accept", |text| {
        let class = classes.into_iter().find(|class| class.as_str() == text);
        class.ok_or("not one of `session_token`, `jwt_template`")
    });
    accepted.unwrap_or_else(|| vec![TokenClass::SessionToken])
}

/// Reads whom tokens from templates are for. It is required: one key signs the tokens of all
/// templates, and what one of them was made for another service is not meant for this one.
fn template_audience(reader: &mut Reader<'_>, accepted: &[TokenClass]) -> Option<Vec<String>> {
    const KEY: &str = "clerk.jwt_template.audience";
    let ours = reader.many(KEY, audience);
    match (accepted.contains(&TokenClass::JwtTemplate), reader.is_written(KEY)) {
        (true, false) => reader.mistake(
            KEY,
            "not set; tokens from templates are accepted (`clerk.accept`) only for an audience, the `aud` of your template, like `[\"convex\"]`",
        ),
        (false, true) => reader.mistake(
            KEY,
            "tokens from templates are not accepted; add `\"jwt_template\"` to `clerk.accept`",
        ),
        (true, true) | (false, false) => {}
    }
    ours
}

pub(super) fn audience(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.to_owned())
}

fn parties(
    reader: &mut Reader<'_>,
    azp: AzpPolicy,
    public: Option<&PublicAddress>,
    has_instance: bool,
) -> Vec<String> {
    const KEY: &str = "clerk.authorized_parties";
    match (reader.many(KEY, address::origin), public) {
        (Some(parties), _) => parties,
        (None, Some(public)) => {
            reader.derive(KEY, &[&public.origin], &Origin::Key("public_url"));
            vec![public.origin.clone()]
        }
        (None, None) => {
            // A public URL that was no good is told as such.
            let is_told = reader.is_written("public_url");
            if azp == AzpPolicy::Enforce && has_instance && !is_told {
                reader.mistake(
                    "clerk.azp",
                    "there is no party to enforce; name them in `clerk.authorized_parties`, like `[\"https://app.example.com\"]`",
                );
            }
            Vec::new()
        }
    }
}
