//! `issuer`: those whose tokens are good beside Clerk's, or instead of them.

use crate::core::claims::{AzpPolicy, ClaimsPolicy};
use crate::core::issuer::{IssuerPolicy, TokenPolicy};
use crate::core::jwk::{Algorithm, Algorithms};
use crate::core::jwk_set::KeySet;
use crate::http_client::FetchUrl;
use crate::keys::{KeySettings, KeySource};

use super::clerk;
use super::key::Home;
use super::reader::Reader;
use super::settings::IssuerSettings;
use super::tokens::{self, Common};
use super::written::Entries;

/// Puts the issuers that were written after the Clerk instance, where there is one.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    instance: Option<IssuerSettings>,
    written: &[Entries],
    common: Common,
) -> Vec<IssuerSettings> {
    let mut issuers: Vec<_> = instance.into_iter().collect();
    for (place, entries) in written.iter().enumerate() {
        let mut reader = reader.of_element(Home::Issuer, place + 1, entries);
        let Some(issuer) = issuer(&mut reader, common) else { continue };
        let name = &issuer.keys.issuer;
        if issuers.iter().any(|other| other.policy.names.contains(name)) {
            reader.mistake("issuer.url", format!("`{name}` is an issuer already; two sets of keys for one name would be a choice for whoever sends a token"));
        }
        issuers.push(issuer);
    }
    issuers
}

/// Reads one issuer; nothing where it has no name, no keys or no audience, which is noted.
fn issuer(reader: &mut Reader<'_>, common: Common) -> Option<IssuerSettings> {
    let name = reader.one("issuer.url", clerk::issuer);
    if !reader.is_written("issuer.url") {
        reader.mistake("issuer.url", "not set; it is what tokens have in `iss`, to the letter, like `https://idp.example.com`");
    }
    let algorithms = algorithms(reader);
    let source = source(reader, algorithms);
    let audience = audience(reader);
    let issuer = name?;
    let claims = ClaimsPolicy {
        audience: audience?,
        parties: Vec::new(),
        azp: AzpPolicy::Off, // a client's id there, not an origin
        leeway: common.leeway,
        max_lifetime: common.max_lifetime,
    };
    Some(IssuerSettings {
        policy: IssuerPolicy {
            names: vec![issuer.clone()],
            algorithms,
            tokens: TokenPolicy::Oidc(claims),
        },
        keys: KeySettings { issuer, source: source?, algorithms, max_stale: common.max_stale },
    })
}

/// Where the keys are: at the address that is given, in a file, or where the issuer says itself.
fn source(reader: &mut Reader<'_>, algorithms: Algorithms) -> Option<KeySource> {
    let (url, file) = ("issuer.jwks_url", "issuer.jwks_file");
    if reader.is_written(url) && reader.is_written(file) {
        let problem = format!("excludes `jwks_url` ({}); keep one of them", reader.origin(url));
        reader.mistake(file, problem);
    }
    if reader.is_written(url) {
        return reader.one(url, FetchUrl::parse).map(KeySource::Url);
    }
    if reader.is_written(file) {
        let content = reader.content(file)?;
        return match KeySet::parse(&content.bytes, algorithms) {
            Ok(_) => Some(KeySource::File(content.path)),
            Err(error) => {
                reader.mistake(file, format!("{}: {error}", content.path.display()));
                None
            }
        };
    }
    let discovered = reader.one("issuer.url", |text| match clerk::issuer(text) {
        Ok(_) => FetchUrl::parse(text).map_err(|error| error.to_string()),
        Err(problem) => Err(problem.to_owned()),
    });
    discovered.map(KeySource::Discovery)
}

/// Reads for whom tokens have to be; `any`, alone, is everybody.
fn audience(reader: &mut Reader<'_>) -> Option<Option<Vec<String>>> {
    const KEY: &str = "issuer.audience";
    if !reader.is_written(KEY) {
        reader.mistake(
            KEY,
            "not set; it is whom tokens are for (`aud`): a list like `[\"https://api.example.com\"]`, or `\"any\"`",
        );
        return None;
    }
    let audience = reader.many(KEY, tokens::audience)?;
    if audience == ["any"] {
        reader.warn(KEY, "a token that this issuer made for any other service is good here");
        return Some(None);
    }
    if audience.iter().any(|name| name == "any") {
        reader.mistake(KEY, "`any` is everybody and stands alone");
    }
    Some(Some(audience))
}

fn algorithms(reader: &mut Reader<'_>) -> Algorithms {
    let algorithms = reader.many("issuer.algorithms", |text| {
        Algorithm::parse(text).ok_or_else(|| {
            let names: Vec<_> =
                Algorithm::ALL.iter().map(|it| format!("`{}`", it.as_str())).collect();
            format!("not one of {}", names.join(", "))
        })
    });
    algorithms.and_then(|algorithms| Algorithms::among(&algorithms)).unwrap_or(Algorithms::ALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{bare_mistakes, bare_warnings, mistakes, settings, warnings};
    use crate::core::issuer::TokenClass;

    const WHOLE: &str = "[[issuer]]\nurl = \"https://idp.example.com\"\naudience = [\"api\"]\n";

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            ("audience = [\"api\"]", "url: not set; it is what tokens have in `iss`"),
            ("url = \"idp.example.com\"\naudience = [\"a\"]", "url: write it to the letter"),
            (
                "url = \"http://idp.example.com\"\naudience = [\"a\"]",
                "url: plain `http` is only for",
            ),
            ("url = \"https://idp.example.com\"", "audience: not set; it is whom tokens are for"),
            ("url = \"https://a.com\"\naudience = []", "audience: an empty list"),
            (
                "url = \"https://a.com\"\naudience = [\"any\", \"a\"]",
                "audience: `any` is everybody and stands alone",
            ),
            (
                "url = \"https://a.com\"\naudience = [\"a\"]\nalgorithms = [\"HS256\"]",
                "algorithms: \"HS256\": not one of `RS256`, ",
            ),
            (
                "url = \"https://a.com\"\naudience = [\"a\"]\njwks_url = \"http://b.com\"",
                "jwks_url: plain `http` is only for",
            ),
            (
                "url = \"https://a.com\"\naudience = [\"a\"]\njwks_file = \"nowhere\"",
                "jwks_file: \"nowhere\": cannot be read",
            ),
            (
                "url = \"https://a.com\"\naudience = [\"a\"]\njwks_file = \"keys.json\"\njwks_url = \"https://b.com\"",
                "jwks_file: excludes `jwks_url`",
            ),
            (
                "url = \"https://clerk.a.com\"\naudience = [\"a\"]",
                "url: `https://clerk.a.com` is an issuer already",
            ),
            ("uri = \"https://a.com\"", "uri: unknown key; did you mean `url`?"),
            (
                "workers = 2",
                "workers: unknown key; if `workers` is meant, it stands before every [[issuer]]",
            ),
        ] {
            let got = mistakes(&format!("[[issuer]]\n{text}"));
            let want = format!("issuer[1].{want}");
            assert!(got.iter().any(|got| got.starts_with(&want)), "{text}: {got:?}");
        }
        let got = mistakes("issuer = \"https://a.com\"");
        assert_eq!(
            got,
            ["issuer: each issuer is a table of its own, written [[issuer]] (a.toml:1:10)"]
        );
    }

    #[test]
    fn keys_are_where_the_issuer_says_or_the_settings() {
        let url = |text| FetchUrl::parse(text).unwrap();
        for (text, source) in [
            ("", KeySource::Discovery(url("https://idp.example.com"))),
            ("jwks_url = \"https://b.com/k\"", KeySource::Url(url("https://b.com/k"))),
            ("jwks_file = \"keys.json\"", KeySource::File("keys.json".into())),
        ] {
            let issuers = settings(&format!("{WHOLE}{text}")).issuers;
            let names: Vec<_> = issuers.iter().map(|issuer| &*issuer.keys.issuer).collect();
            assert_eq!(names, ["https://clerk.a.com", "https://idp.example.com"], "{text}");
            assert_eq!(issuers[1].keys.source, source, "{text}");
        }
    }

    #[test]
    fn an_issuer_has_an_audience_and_algorithms_of_its_own() {
        let es256 = Algorithms::among(&[Algorithm::Es256]).unwrap();
        for (text, audience, algorithms) in [
            ("audience = [\"a\", \"b\"]", Some(vec!["a", "b"]), Algorithms::ALL),
            ("audience = \"a\"\nalgorithms = [\"ES256\"]", Some(vec!["a"]), es256),
            ("audience = \"any\"", None, Algorithms::ALL),
        ] {
            let text = format!("[[issuer]]\nurl = \"https://idp.example.com\"\n{text}");
            let issuer = &settings(&text).issuers[1];
            let claims = issuer.policy.claims(TokenClass::Oidc).unwrap();
            let want = audience.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(claims.audience, want, "{text}");
            assert_eq!(
                (issuer.policy.algorithms, issuer.keys.algorithms),
                (algorithms, algorithms)
            );
            let warned = warnings(&text).iter().any(|it| it.starts_with("issuer[1].audience: "));
            assert_eq!(warned, text.contains("any"), "{text}");
        }
    }

    #[test]
    fn an_issuer_may_stand_in_the_place_of_clerk() {
        assert_eq!(bare_mistakes(WHOLE), [""; 0]);
        assert_eq!(bare_warnings(WHOLE), [""; 0], "nothing is said of an instance there is not");
        let warned = bare_warnings(&format!("clerk.audience = [\"a\"]\n{WHOLE}"));
        assert!(warned[0].starts_with("clerk.audience: has no effect"), "{warned:?}");
        let got = bare_mistakes(&format!("clerk.revoked_file = \"a.toml\"\n{WHOLE}"));
        assert!(
            got.iter().any(|it| it.starts_with("clerk.revoked_file: revokes nobody")),
            "{got:?}"
        );
    }

    #[test]
    fn a_caller_is_told_with_its_issuer_where_there_are_several() {
        let names = |text: &str| {
            let policy = settings(text).proxy.identity;
            policy.names().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("").len(), 9);
        assert_eq!(names(WHOLE)[9..], ["x-clerk-issuer", "x-clerk-subject"]);
    }
}
