//! `clerk.secret_key` and `clerk.api_url`: how Clerk's Backend API is asked.

use crate::clerk_api::ClerkApiSettings;
use crate::core::clerk::publishable_key::{Environment, PublishableKey};
use crate::http_client::FetchUrl;

use super::error::Origin;
use super::reader::Reader;
use super::secrets;

const VALUE: &str = "clerk.secret_key";
const FILE: &str = "clerk.secret_key_file";

/// Reads the key and where it goes; nothing where there is no key: what needs one is off.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    instance: Option<&PublishableKey>,
) -> Option<ClerkApiSettings> {
    let key = secrets::one_of(reader, VALUE, FILE, SecretKey::parse);
    let url = reader.one("clerk.api_url", FetchUrl::parse);
    if !is_written(reader) {
        if reader.is_written("clerk.api_url") {
            reader.warn("clerk.api_url", "has no effect without a secret key (CLERK_SECRET_KEY)");
        }
        return None;
    }
    let key = key?;
    if let Some(instance) = instance {
        check_same(reader, &key, instance);
    }
    let url = url.unwrap_or_else(|| {
        let url = instance.map_or(API, |instance| usual_url(instance.host()));
        if url != API {
            reader.derive("clerk.api_url", &[url], &Origin::Key("clerk.publishable_key"));
        }
        FetchUrl::parse(url).expect("an address in the table")
    });
    Some(ClerkApiSettings { url, secret_key: key.text })
}

/// Tells whether a key is named, be it well or badly.
pub(super) fn is_written(reader: &Reader<'_>) -> bool {
    reader.is_written(VALUE) || reader.is_written(FILE)
}

/// Where the Backend API of most instances is.
const API: &str = "https://api.clerk.com";

/// Where it is of the instance whose Frontend API is at `host`: Clerk tries itself out elsewhere.
fn usual_url(host: &str) -> &'static str {
    const OLD: [&str; 3] = [".lcl.dev", ".lclstage.dev", ".lclclerk.com"];
    let ends = |end: &&str| host.ends_with(*end);
    match OLD.iter().any(ends) {
        true if host.starts_with("clerk.") => API,
        true => "https://api.lclclerk.com",
        false if ends(&".accountsstage.dev") => "https://api.clerkstage.dev",
        false => API,
    }
}

/// What gives everything in an instance away.
struct SecretKey {
    text: String,
    environment: Environment,
}

impl SecretKey {
    /// Reads a secret key. No sentence repeats it.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (environment, rest) = match bytes.split_at_checked(8) {
            Some((b"sk_test_", rest)) => (Environment::Development, rest),
            Some((b"sk_live_", rest)) => (Environment::Production, rest),
            _ if bytes.starts_with(b"pk_") => return Err(
                "this is a publishable key; the secret key starts with `sk_test_` or `sk_live_`"
                    .to_owned(),
            ),
            _ => {
                return Err("not a secret key of Clerk's; it starts with `sk_test_` or `sk_live_`"
                    .to_owned());
            }
        };
        if rest.is_empty() || !rest.iter().all(u8::is_ascii_graphic) {
            return Err("after `sk_test_` or `sk_live_` come letters and digits, and nothing else; is the key whole, and alone?".to_owned());
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { text, environment })
    }
}

fn check_same(reader: &mut Reader<'_>, key: &SecretKey, instance: &PublishableKey) {
    let (own, other) = match (key.environment, instance.environment()) {
        (Environment::Development, Environment::Production) => {
            ("a development instance (`sk_test_`)", "a production one (`pk_live_`)")
        }
        (Environment::Production, Environment::Development) => {
            ("a production instance (`sk_live_`)", "a development one (`pk_test_`)")
        }
        (Environment::Development, Environment::Development)
        | (Environment::Production, Environment::Production) => return,
    };
    let name = if reader.is_written(VALUE) { VALUE } else { FILE };
    let problem = format!(
        "is of {own}, and `clerk.publishable_key` of {other}; take both from one instance in Clerk's dashboard"
    );
    reader.mistake(name, problem);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Scene;

    const TEST: &str = "clerk.publishable_key = \"pk_test_Y2xlcmsuY2xlcmsuZGV2JA\"\n";

    fn scene() -> Scene {
        Scene::default()
            .file("live", "sk_live_hunter2\n")
            .file("other", "hunter2")
            .file("twice", "sk_live_hunter2\nsk_live_hunter2")
    }

    #[test]
    fn bad_keys_earn_these_sentences_and_are_not_repeated() {
        const NONE: &str = "not a secret key of Clerk's; it starts with";
        for (name, value, want) in [
            ("CLERK_SECRET_KEY", "hunter2", format!("clerk.secret_key: {NONE}")),
            ("CLERK_SECRET_KEY", "sk_hunter2", format!("clerk.secret_key: {NONE}")),
            (
                "CLERK_SECRET_KEY",
                "pk_live_hunter2",
                "clerk.secret_key: this is a publishable key; the secret key starts with".into(),
            ),
            (
                "CLERK_SECRET_KEY",
                "sk_live_",
                "clerk.secret_key: after `sk_test_` or `sk_live_` come letters".into(),
            ),
            (
                "CLERK_SECRET_KEY",
                "sk_live_hunter2 ",
                "clerk.secret_key: after `sk_test_` or `sk_live_` come letters".into(),
            ),
            (
                "CLERK_SECRET_KEY",
                "sk_test_hunter2",
                "clerk.secret_key: is of a development instance (`sk_test_`), and `clerk.publishable_key` of a production one".into(),
            ),
            (
                "CLERK_SECRET_KEY_FILE",
                "sk_live_hunter2",
                "clerk.secret_key_file: cannot be read".into(),
            ),
            ("CLERK_SECRET_KEY_FILE", "other", format!("clerk.secret_key_file: other: {NONE}")),
            (
                "CLERK_SECRET_KEY_FILE",
                "twice",
                "clerk.secret_key_file: twice: after `sk_test_`".into(),
            ),
            (
                "CLERK_API_URL",
                "http://a.com",
                "clerk.api_url: plain `http` is only for".into(),
            ),
        ] {
            let got = scene().env(name, value).mistakes();
            assert!(got.len() == 1 && got[0].starts_with(&want), "{name}={value}: {got:?}");
            assert!(!got[0].contains("hunter2"), "{got:?}");
        }
        let got = scene().toml(TEST).env("CLERK_SECRET_KEY_FILE", "live").mistakes();
        let want = "clerk.secret_key_file: is of a production instance (`sk_live_`), and `clerk.publishable_key` of a development one";
        assert!(got.len() == 1 && got[0].starts_with(want), "{got:?}");
        let got = scene()
            .toml("clerk.secret_key_file = \"live\"")
            .env("CLERK_SECRET_KEY", "sk_live_hunter2")
            .mistakes();
        let want = "clerk.secret_key_file: excludes the secret itself (environment CLERK_SECRET_KEY); keep one of them (a.toml:1:25)";
        assert_eq!(got, [want]);
    }

    #[test]
    fn clerk_is_asked_with_the_key_and_without_one_not_at_all() {
        for (scene, want) in [
            (scene(), None),
            (scene().env("CLERK_SECRET_KEY_FILE", "live"), Some("https://api.clerk.com/")),
            (scene().env("CLERK_SECRET_KEY", "sk_live_hunter2"), Some("https://api.clerk.com/")),
            (
                scene()
                    .env("CLERK_SECRET_KEY", "sk_live_hunter2")
                    .env("CLERK_API_URL", "http://127.0.0.1:9"),
                Some("http://127.0.0.1:9/"),
            ),
        ] {
            let loaded = scene.load().unwrap();
            assert!(!format!("{loaded:?}").contains("hunter2"));
            let api = loaded.settings.clerk_api;
            let got = api.map(|it| (it.url.to_string(), it.secret_key));
            assert_eq!(got, want.map(|url| (url.to_owned(), "sk_live_hunter2".to_owned())));
        }
    }

    #[test]
    fn an_address_without_a_key_is_for_nothing() {
        let loaded = scene().env("CLERK_API_URL", "https://a.com").load().unwrap();
        let found = loaded.warnings.iter().any(|it| it.key == "clerk.api_url");
        assert!(found, "{:?}", loaded.warnings);
    }

    #[test]
    fn clerks_own_instances_have_an_api_of_their_own() {
        for (host, want) in [
            ("clerk.example.com", API),
            ("happy-otter-12.clerk.accounts.dev", API),
            ("happy-otter-12.clerk.accountsstage.dev", "https://api.clerkstage.dev"),
            ("happy-otter-12.clerk.accounts.lclclerk.com", "https://api.lclclerk.com"),
            ("foo.lclstage.dev", "https://api.lclclerk.com"),
            ("clerk.foo.bar-12.lcl.dev", API),
        ] {
            assert_eq!(usual_url(host), want, "{host}");
        }
    }
}
