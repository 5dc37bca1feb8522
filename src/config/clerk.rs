//! `clerk`: which instance tokens come from, and where its keys are.

use std::path::PathBuf;

use crate::core::claims::AzpPolicy;
use crate::core::clerk::publishable_key::{Environment, PublishableKey};
use crate::core::issuer::{IssuerPolicy, TokenPolicy};
use crate::core::jwk::{Algorithms, VerificationKey};
use crate::core::jwk_set::{KeyNames, KeySet};
use crate::http_client::FetchUrl;
use crate::keys::{KeySettings, KeySource};
use crate::listen::ListenAddress;

use super::address::PublicAddress;
use super::error::Origin;
use super::hosts::Hosts;
use super::listen::is_local;
use super::reader::Reader;
use super::settings::IssuerSettings;
use super::tokens::{self, Common, Tokens};

/// What the section says.
pub(super) struct Clerk {
    /// The instance, where there is one.
    pub(super) issuer: Option<IssuerSettings>,
    /// Whether anything names one, be it well or badly.
    pub(super) has_instance: bool,
    /// The origins of the application's own pages.
    pub(super) parties: Vec<String>,
    /// What becomes of tokens that were given to others, or to nobody in particular.
    pub(super) azp: AzpPolicy,
    /// What holds for the tokens of every issuer.
    pub(super) common: Common,
    /// Where the revoked are listed.
    pub(super) revoked: Option<PathBuf>,
}

/// What names an instance, beside the ways to say where its keys are.
const INSTANCE: [&str; 3] = ["clerk.publishable_key", "clerk.issuer", "clerk.frontend_api_url"];

/// The ways to say where keys are. Each changes nothing else, and two of them contradict.
const SOURCES: [&str; 3] = ["clerk.jwks_url", "clerk.jwks_file", "clerk.jwt_key"];

/// Reads the key that names the instance.
pub(super) fn publishable_key(
    reader: &mut Reader<'_>,
    listen: &[ListenAddress],
) -> Option<PublishableKey> {
    let key = reader.one("clerk.publishable_key", PublishableKey::parse);
    if key.as_ref().is_some_and(|key| key.environment() == Environment::Development)
        && !listen.iter().all(is_local)
    {
        let text = "the key of a development instance, on a listener that other machines reach; production has a `pk_live_` key";
        reader.warn("clerk.publishable_key", text);
    }
    key
}

/// Reads the section. There is no instance where there are no keys or no issuer, which is noted,
/// unless other issuers stand in its place.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    instance: Option<&PublishableKey>,
    hosts: &Hosts,
    public: Option<&PublicAddress>,
    has_others: bool,
) -> Clerk {
    let source = source(reader, instance, hosts);
    let issuers = issuers(reader, instance, hosts);
    check_complete(reader, has_others);

    let common = tokens::common(reader);
    let has_instance = INSTANCE.iter().chain(&SOURCES).any(|name| reader.is_written(name));
    if !has_instance {
        warn_of_no_effect(reader);
    }
    let Tokens { policy, parties, azp } = tokens::settings(reader, common, public, has_instance);
    let algorithms = Algorithms::CLERK;
    let issuer = issuers.first().cloned().zip(source).map(|(issuer, source)| IssuerSettings {
        policy: IssuerPolicy { names: issuers, algorithms, tokens: TokenPolicy::Clerk(policy) },
        keys: KeySettings {
            issuer,
            source,
            algorithms,
            names: KeyNames::Required,
            max_stale: common.max_stale,
        },
    });
    let revoked = tokens::revoked(reader);
    Clerk { issuer, has_instance, parties, azp, common, revoked }
}

/// Says what is written for nothing where no instance is: the rest of `clerk` holds for others too.
fn warn_of_no_effect(reader: &mut Reader<'_>) {
    const REVOKED: &str = "clerk.revoked_file";
    const OF_AN_INSTANCE: [&str; 4] =
        ["clerk.accept", "clerk.audience", "clerk.azp", "clerk.impersonation"];
    for key in OF_AN_INSTANCE {
        if reader.is_written(key) {
            reader.warn(key, "has no effect without a Clerk instance (`clerk.publishable_key`)");
        }
    }
    if reader.is_written(REVOKED) {
        reader
            .mistake(REVOKED, "revokes nobody without a Clerk instance (`clerk.publishable_key`)");
    }
}

fn source(
    reader: &mut Reader<'_>,
    instance: Option<&PublishableKey>,
    hosts: &Hosts,
) -> Option<KeySource> {
    check_exclusive(reader);
    let url = reader.one("clerk.jwks_url", FetchUrl::parse);
    if url.as_ref().is_some_and(|url| url.origin().starts_with("http://")) {
        reader
            .warn("clerk.jwks_url", "keys that come over plain http are whoever's is on that port");
    }
    let url = url.map(KeySource::Url);
    let file = reader.content("clerk.jwks_file").and_then(|file| {
        match KeySet::parse(&file.bytes, Algorithms::CLERK, KeyNames::Required) {
            Ok(_) => Some(KeySource::File(file.path)),
            Err(error) => {
                reader.mistake("clerk.jwks_file", format!("{}: {error}", file.path.display()));
                None
            }
        }
    });
    let pem = reader.one("clerk.jwt_key", |text| {
        VerificationKey::all_from_pem(text, Algorithms::CLERK)
            .map(|_| KeySource::Pem(text.to_owned()))
    });
    let instance = published(reader, instance, hosts);
    url.or(file).or(pem).or(instance)
}

/// Where an instance publishes its keys.
fn published(
    reader: &mut Reader<'_>,
    instance: Option<&PublishableKey>,
    hosts: &Hosts,
) -> Option<KeySource> {
    const PATH: &str = "/.well-known/jwks.json";
    let own = hosts.of_keys(instance.is_some());
    let own = own.and_then(|(url, from)| Some((url.join(PATH).ok()?, from)));
    let (url, from) = match (own, instance) {
        (Some((url, from)), _) => (url, from),
        (None, Some(instance)) => {
            let from = "clerk.publishable_key";
            match FetchUrl::parse(&instance.frontend_api()).and_then(|url| url.join(PATH)) {
                Ok(url) => (url, from),
                Err(error) => {
                    reader.mistake(from, format!("its host has no keys to fetch: {error}"));
                    return None;
                }
            }
        }
        (None, None) => return None,
    };
    if !SOURCES.iter().any(|name| reader.is_written(name)) {
        reader.derive("clerk.jwks_url", &[url.to_string()], &Origin::Key(from));
    }
    Some(KeySource::Url(url))
}

fn check_exclusive(reader: &mut Reader<'_>) {
    let written: Vec<_> = SOURCES.into_iter().filter(|name| reader.is_written(name)).collect();
    if let [first, others @ ..] = &*written {
        for other in others {
            let problem =
                format!("excludes `{first}` ({}); keep one of them", reader.origin(first));
            reader.mistake(other, problem);
        }
    }
}

fn issuers(
    reader: &mut Reader<'_>,
    instance: Option<&PublishableKey>,
    hosts: &Hosts,
) -> Vec<String> {
    match (reader.many("clerk.issuer", issuer), instance) {
        (Some(issuers), _) => issuers,
        (None, Some(instance)) => {
            let mut issuers = vec![instance.frontend_api()];
            issuers.extend(hosts.issuers());
            issuers.dedup();
            reader.derive("clerk.issuer", &issuers, &Origin::Key("clerk.publishable_key"));
            issuers
        }
        (None, None) => Vec::new(),
    }
}

/// Reads what stands in `iss`.
pub(super) fn issuer(text: &str) -> Result<String, &'static str> {
    let known = text.starts_with("https://") || text.starts_with("http://");
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !known || !visible {
        return Err(
            "write it to the letter as tokens have it in `iss`, like `https://clerk.example.com`",
        );
    }
    if text.contains('@') {
        return Err("a user or password in it would stand in logs and metrics; take it out");
    }
    Ok(text.to_owned())
}

/// Checks that something says who issues tokens and something where the keys are.
fn check_complete(reader: &mut Reader<'_>, has_others: bool) {
    if reader.is_written("clerk.publishable_key") {
        return;
    }
    let issuer = reader.is_written("clerk.issuer");
    let keys =
        SOURCES.iter().chain(&["clerk.frontend_api_url"]).any(|name| reader.is_written(name));
    match (issuer, keys) {
        (true, true) => {}
        (false, false) if has_others => {}
        (false, false) => reader.mistake(
            "clerk.publishable_key",
            "not set; whose tokens are good? Set CLERK_PUBLISHABLE_KEY (or --publishable-key) to the publishable key of your Clerk instance",
        ),
        (true, false) => reader.mistake(
            "clerk.jwks_url",
            "not set; with `clerk.issuer` and no publishable key, one of `clerk.jwks_url`, `clerk.jwks_file` and `clerk.jwt_key` says where keys are",
        ),
        (false, true) => reader.mistake(
            "clerk.issuer",
            "not set; without a publishable key it says who issues tokens, like `[\"https://clerk.example.com\"]`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{bare_mistakes, mistakes, settings, warnings};
    use crate::core::issuer::TokenClass;

    const ISSUER: &str = "clerk.issuer = [\"https://clerk.a.com\"]\n";

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            (
                "publishable_key = \"pk_x\"",
                "publishable_key: \"pk_x\": not a publishable key; it starts",
            ),
            ("publishable_key = \"sk_live_x\"", "publishable_key: this is a secret key"),
            ("issuer = []", "issuer: an empty list"),
            ("issuer = [\"clerk.a.com\"]", "issuer: \"clerk.a.com\": write it to the letter"),
            ("jwks_url = \"http://a.com/k\"", "jwks_url: plain `http` is only for"),
            ("jwks_url = \"https://user:pw@a.com/k\"", "jwks_url: a user or password in a URL"),
            ("jwks_file = \"nowhere.json\"", "jwks_file: \"nowhere.json\": cannot be read: "),
            ("jwks_file = \"a.toml\"", "jwks_file: a.toml: "),
            ("jwt_key = \"secret\"", "jwt_key: "),
            ("frontend_api_url = \"clerk.a.com\"", "frontend_api_url: "),
            (
                "authorized_parties = [\"https://a.com/\"]",
                "authorized_parties: \"https://a.com/\": an origin is scheme, host and port; write `https://a.com`",
            ),
            ("azp = \"strict\"", "azp: \"strict\": not one of `auto`, `enforce`, `off`"),
            ("azp = \"enforce\"", "azp: there is no party to enforce"),
            ("audience = [\"\"]", "audience: empty"),
            ("revoked_file = \"nowhere\"", "revoked_file: \"nowhere\": cannot be read"),
            ("revoked_file = \"a.toml\"", "revoked_file: a.toml: line 1 is neither a session"),
            ("accept = [\"m2m_token\"]", "accept: \"m2m_token\": not one of `session_token`, "),
            (
                "accept = [\"jwt_template\"]",
                "jwt_template.audience: not set; tokens from templates",
            ),
            (
                "jwt_template.audience = [\"convex\"]",
                "jwt_template.audience: tokens from templates are not accepted; add",
            ),
            (
                "leeway = \"5\"",
                "leeway: \"5\": not a duration; write one like `250ms`, `30s`, `5m` or `1h` (a.toml:1:16)",
            ),
            ("leeway = 5", "leeway: \"5\": not a duration"),
            ("leeway = \"6m\"", "leeway: \"6m\": at most 5m"),
            ("max_lifetime = \"0s\"", "max_lifetime: \"0s\": at least 1s"),
            (
                "max_lifetime = \"never\"",
                "max_lifetime: \"never\": not a duration; write one like `250ms`, `30s`, `5m` or `1h`, or `none`",
            ),
            ("max_stale = \"59s\"", "max_stale: \"59s\": at least 1m"),
            ("impersonation = \"no\"", "impersonation: \"no\": not one of `allow`, `refuse`"),
        ] {
            let got = mistakes(&format!("clerk.{text}"));
            assert!(
                got.iter().any(|got| got.starts_with(&format!("clerk.{want}"))),
                "{text}: {got:?}"
            );
        }
    }

    #[test]
    fn neither_a_password_nor_a_key_is_repeated() {
        for text in [
            "clerk.jwks_url = \"https://user:hunter2@a.com\"",
            "upstream.url = \"http://user:hunter2@a.com\"",
            "clerk.jwt_key = \"hunter2\"",
            "[[issuer]]\naudience = [\"a\"]\nurl = \"https://u:hunter2@x\"",
            "[[issuer]]\naudience = [\"a\"]\njwks_file = \"keys.json\"\nurl = \"https://u:hunter2@x\"",
            "clerk.publishable_key = \"sk_live_hunter2\"",
        ] {
            assert!(!mistakes(text).is_empty());
            assert!(mistakes(text).iter().all(|got| !got.contains("hunter2")), "{text}");
        }
    }

    #[test]
    fn something_must_say_who_issues_tokens_and_where_the_keys_are() {
        let url = "clerk.jwks_url = \"https://a.com/k\"\n";
        for (text, want) in [
            (
                String::new(),
                Some(
                    "clerk.publishable_key: not set; whose tokens are good? Set CLERK_PUBLISHABLE_KEY (or --publishable-key)",
                ),
            ),
            (ISSUER.to_owned(), Some("clerk.jwks_url: not set")),
            (url.to_owned(), Some("clerk.issuer: not set")),
            (
                "clerk.frontend_api_url = \"https://a.com\"".to_owned(),
                Some("clerk.issuer: not set"),
            ),
            (format!("{ISSUER}{url}"), None),
            (format!("{ISSUER}clerk.frontend_api_url = \"https://a.com\""), None),
        ] {
            let got = bare_mistakes(&text);
            match want {
                Some(want) => {
                    assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}")
                }
                None => assert_eq!(got, [""; 0], "{text}"),
            }
        }
    }

    #[test]
    fn the_ways_to_name_keys_exclude_each_other_wherever_they_are_written() {
        let got = mistakes("clerk.jwks_url = \"https://a.com/k\"\nclerk.jwks_file = \"keys.json\"");
        let want = "clerk.jwks_file: excludes `clerk.jwks_url` (a.toml:1:18); keep one of them (a.toml:2:19)";
        assert_eq!(got, [want]);
    }

    #[test]
    fn an_instance_says_where_its_keys_are_and_other_keys_may_say_otherwise() {
        let url = |text| KeySource::Url(FetchUrl::parse(text).unwrap());
        for (text, source) in [
            ("", url("https://clerk.a.com/.well-known/jwks.json")),
            (
                "frontend_api_url = \"https://b.com/clerk\"",
                url("https://b.com/clerk/.well-known/jwks.json"),
            ),
            ("jwks_url = \"https://b.com/k\"", url("https://b.com/k")),
            ("jwks_file = \"keys.json\"", KeySource::File("keys.json".into())),
        ] {
            let text = if text.is_empty() { String::new() } else { format!("clerk.{text}") };
            let settings = settings(&text);
            assert_eq!(settings.issuers[0].keys.source, source, "{text}");
            assert_eq!(settings.issuers[0].keys.issuer, "https://clerk.a.com");
            assert_eq!(settings.issuers[0].policy.names, ["https://clerk.a.com"]);
        }
        let other = settings("clerk.issuer = [\"https://b.com\", \"https://c.com\"]");
        assert_eq!(other.issuers[0].policy.names, ["https://b.com", "https://c.com"]);
    }

    #[test]
    fn templates_have_an_audience_of_their_own() {
        let both = "clerk = {accept = [\"session_token\", \"jwt_template\"], audience = [\"api\"], jwt_template.audience = [\"convex\"]}";
        let only = "clerk = {accept = [\"jwt_template\"], jwt_template.audience = [\"convex\"]}";
        for (text, sessions, templates) in [
            ("", Some(None), None),
            (both, Some(Some("api")), Some(Some("convex"))),
            (only, None, Some(Some("convex"))),
        ] {
            let policy = &settings(text).issuers[0].policy;
            let audience = |class| {
                let claims = policy.claims(class)?;
                Some(claims.audience.as_ref().map(|audience| audience[0].clone()))
            };
            let want = |audience: Option<Option<&str>>| audience.map(|it| it.map(str::to_owned));
            assert_eq!(audience(TokenClass::SessionToken), want(sessions), "{text}");
            assert_eq!(audience(TokenClass::JwtTemplate), want(templates), "{text}");
        }
    }

    #[test]
    fn the_origin_of_the_public_url_is_the_authorized_party() {
        for (text, parties) in [
            ("public_url = \"https://a.com/b\"", &["https://a.com"] as &[_]),
            (
                "public_url = \"https://a.com\"\nclerk.authorized_parties = [\"https://b.com\"]",
                &["https://b.com"],
            ),
            ("", &[]),
        ] {
            let settings = settings(text);
            assert_eq!(settings.proxy.parties, parties, "{text}");
            let sessions = settings.issuers[0].policy.claims(TokenClass::SessionToken);
            assert_eq!(sessions.unwrap().parties, parties, "{text}");
        }
    }

    #[test]
    fn what_is_weaker_than_it_should_be_is_warned_of() {
        const TEST: &str = "clerk.publishable_key = \"pk_test_Y2xlcmsuY2xlcmsuZGV2JA\"\n";
        for (text, key, warned) in [
            ("clerk.leeway = \"61s\"", "clerk.leeway", true),
            ("clerk.leeway = \"60s\"", "clerk.leeway", false),
            ("clerk.jwks_url = \"http://127.0.0.1:1/k\"", "clerk.jwks_url", true),
            ("clerk.jwks_url = \"https://127.0.0.1:1/k\"", "clerk.jwks_url", false),
            (&format!("{TEST}listen = \"[::]:4600\""), "clerk.publishable_key", true),
            (TEST, "clerk.publishable_key", false),
            ("listen = \"[::]:4600\"", "clerk.publishable_key", false),
        ] {
            let found = warnings(text).iter().any(|got| got.starts_with(&format!("{key}: ")));
            assert_eq!(found, warned, "{text}");
        }
    }
}
