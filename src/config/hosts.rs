//! `clerk.frontend_api_url`, `clerk.proxy_url` and `clerk.satellite`: where an instance is, and
//! what it is called there, beside what its publishable key says.

use crate::core::clerk::instance::{Instance, Satellite};
use crate::core::clerk::publishable_key::{Environment, PublishableKey};
use crate::core::path::Authority;
use crate::http_client::FetchUrl;

use super::address::{self, PublicAddress};
use super::error::Origin;
use super::reader::Reader;

const FRONTEND_API: &str = "clerk.frontend_api_url";
const PROXY: &str = "clerk.proxy_url";
const DOMAIN: &str = "clerk.satellite.domain";
const AUTO_SYNC: &str = "clerk.satellite.auto_sync";
const IS_SATELLITE: &str = "clerk.is_satellite";

/// What the sections say.
#[derive(Default)]
pub(super) struct Hosts {
    /// Where the Frontend API is, if elsewhere.
    frontend_api: Option<FetchUrl>,
    /// The address of ours under which browsers reach it.
    proxy: Option<FetchUrl>,
    /// The satellite domain that this application is on.
    satellite: Option<Domain>,
}

struct Domain {
    /// Its host, and its port where it has one.
    name: String,
    auto_sync: bool,
    /// Whether it is one of a production instance: the Frontend API has a name there too.
    is_production: bool,
}

/// Reads the sections.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    key: Option<&PublishableKey>,
    public: Option<&PublicAddress>,
) -> Hosts {
    Hosts {
        frontend_api: reader.one(FRONTEND_API, FetchUrl::parse),
        proxy: reader.one(PROXY, |text| proxy(text, public)),
        satellite: satellite(reader, key),
    }
}

impl Hosts {
    /// Returns below which address the keys are, and which key says so. A proxy of ours stands
    /// before the instance that a publishable key names, and before no other.
    pub(super) fn of_keys(&self, has_key: bool) -> Option<(&FetchUrl, &'static str)> {
        let named = self.frontend_api.as_ref().map(|url| (url, FRONTEND_API));
        let proxy = self.proxy.as_ref().filter(|_| has_key).map(|url| (url, PROXY));
        named.or(proxy)
    }

    /// Returns what the instance calls itself in tokens, beside the name in its publishable key.
    pub(super) fn issuers(&self) -> impl Iterator<Item = String> {
        let satellite = self.satellite.as_ref().and_then(Domain::frontend_api);
        satellite.map(|host| format!("https://{host}")).into_iter().chain(self.proxy())
    }

    /// Returns where browsers find the Frontend API at an origin of ours.
    pub(super) fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(base)
    }

    /// Returns the origin of the satellite domain.
    pub(super) fn satellite(&self) -> Option<String> {
        self.satellite.as_ref().map(Domain::origin)
    }

    /// Puts it down where browsers are sent there and back. What is written counts before what
    /// follows from a domain.
    pub(super) fn apply(&self, instance: &mut Instance) {
        if let Some(domain) = &self.satellite {
            instance.satellite = Some(Satellite { auto_sync: domain.auto_sync });
            if let Some(host) = domain.frontend_api() {
                instance.frontend_api = format!("https://{host}");
                instance.owner.issuer_host = host;
            }
        }
        if let Some(url) = self.proxy.as_ref().or(self.frontend_api.as_ref()) {
            instance.frontend_api = base(url);
        }
    }
}

impl Domain {
    /// The name that the Frontend API has on the domain.
    fn frontend_api(&self) -> Option<String> {
        self.is_production.then(|| format!("clerk.{}", self.name))
    }

    fn origin(&self) -> String {
        let secure = format!("https://{}", self.name);
        let is_here = FetchUrl::parse(&format!("http://{}", self.name)).is_ok();
        if is_here { format!("http://{}", self.name) } else { secure }
    }
}

/// An address without a query, and without a slash at its end.
fn base(url: &FetchUrl) -> String {
    format!("{}{}", url.origin(), url.as_uri().path().trim_end_matches('/'))
}

fn proxy(text: &str, public: Option<&PublicAddress>) -> Result<FetchUrl, String> {
    let url = FetchUrl::parse(&address::at_public(text, public)?);
    let url = url.map_err(|error| error.to_string())?;
    if url.as_uri().query().is_some() {
        return Err("a query has no place here; paths are put behind the address".to_owned());
    }
    Ok(url)
}

fn satellite(reader: &mut Reader<'_>, key: Option<&PublishableKey>) -> Option<Domain> {
    let words = [("true", true), ("1", true), ("false", false), ("0", false)];
    let is_satellite = reader.choice(IS_SATELLITE, &words);
    let name = reader.one(DOMAIN, domain);
    let auto_sync = reader.switch(AUTO_SYNC);
    // Of Clerk's variables the one without the other says nothing.
    let is_clerks = reader.origin(DOMAIN) == Origin::Environment("CLERK_DOMAIN".to_owned());
    if is_clerks && is_satellite != Some(true) {
        reader.warn(DOMAIN, "has no effect without CLERK_IS_SATELLITE=true");
        return None;
    }
    if !reader.is_written(DOMAIN) {
        if is_satellite == Some(true) {
            reader.mistake(
                DOMAIN,
                "not set, and CLERK_IS_SATELLITE is: on which domain is this? Set CLERK_DOMAIN to its host, like `satellite.example`",
            );
        } else if auto_sync == Some(true) {
            reader.mistake(
                AUTO_SYNC,
                "is of a satellite domain; name it in `clerk.satellite.domain`",
            );
        }
    }
    let is_production = key.is_some_and(|key| key.environment() == Environment::Production);
    Some(Domain { name: name?, auto_sync: auto_sync.unwrap_or_default(), is_production })
}

/// Reads the host of a satellite domain, with its port where it has one.
fn domain(text: &str) -> Result<String, &'static str> {
    const RIGHT: &str = "not a domain; write its host alone, like `satellite.example`";
    let host = text.to_ascii_lowercase();
    Authority::parse(&host).map_err(|_| RIGHT)?;
    match host.strip_prefix("clerk.") {
        Some(_) => Err("that is where the Frontend API is on the domain; leave out `clerk.`"),
        None => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{Scene, mistakes, settings, warnings};
    use crate::http_client::FetchUrl;
    use crate::keys::KeySource;

    const TEST: &str = "clerk.publishable_key = \"pk_test_Y2xlcmsuY2xlcmsuZGV2JA\"\n";
    const PUBLIC: &str = "public_url = \"https://app.a.com/base\"\n";

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            ("proxy_url = \"http://a.com/__clerk\"", "proxy_url: plain `http` is only for"),
            ("proxy_url = \"__clerk\"", "proxy_url: not a URL"),
            ("proxy_url = \"/__clerk\"", "proxy_url: a path is one at the origin of `public_url`"),
            ("proxy_url = \"https://a.com/?x\"", "proxy_url: a query has no place here"),
            ("proxy_url = \"https://u:hunter2@a.com\"", "proxy_url: a user or password"),
            (
                "satellite.domain = \"https://sat.com\"",
                "satellite.domain: \"https://sat.com\": not a domain; write its host alone",
            ),
            ("satellite.domain = \"sat.com/x\"", "satellite.domain: \"sat.com/x\": not a domain"),
            (
                "satellite.domain = \"clerk.sat.com\"",
                "satellite.domain: \"clerk.sat.com\": that is",
            ),
            ("satellite.auto_sync = true", "satellite.auto_sync: is of a satellite domain"),
        ] {
            let got = mistakes(&format!("clerk.{text}"));
            let want = format!("clerk.{want}");
            assert!(got.len() == 1 && got[0].starts_with(&want), "{text}: {got:?}");
            assert!(!got[0].contains("hunter2"));
        }
        assert!(
            mistakes(&format!("{PUBLIC}clerk.proxy_url = \"//evil.com\""))[0]
                .starts_with("clerk.proxy_url: one slash")
        );
    }

    #[test]
    fn browsers_are_sent_where_the_instance_is() {
        let whole = "clerk.proxy_url = \"https://app.a.com/__clerk/\"";
        let path = format!("{PUBLIC}clerk.proxy_url = \"/__clerk\"");
        let both = format!("{whole}\nclerk.frontend_api_url = \"https://b.com\"");
        let domain = "clerk.satellite.domain = \"sat.com\"";
        let test = format!(
            "{TEST}clerk.satellite.domain = \"sat.com\"\nclerk.sign_in_url = \"https://a.com/in\""
        );
        let proxied = "https://app.a.com/__clerk";
        for (text, handshakes, issuer_host, issuers, keys) in [
            ("", "https://clerk.a.com", "clerk.a.com", &[][..], "https://clerk.a.com"),
            (whole, proxied, "clerk.a.com", &[proxied][..], proxied),
            (&path, proxied, "clerk.a.com", &[proxied], proxied),
            (&both, proxied, "clerk.a.com", &[proxied], "https://b.com"),
            (
                "clerk.frontend_api_url = \"https://b.com/c/?x\"",
                "https://b.com/c",
                "clerk.a.com",
                &[],
                "https://b.com/c",
            ),
            (
                domain,
                "https://clerk.sat.com",
                "clerk.sat.com",
                &["https://clerk.sat.com"],
                "https://clerk.a.com",
            ),
            (&test, "https://clerk.clerk.dev", "clerk.clerk.dev", &[], "https://clerk.clerk.dev"),
        ] {
            let settings = settings(text);
            let instance = settings.proxy.browsers.unwrap().instance;
            assert_eq!(instance.frontend_api, handshakes, "{text}");
            assert_eq!(instance.owner.issuer_host, issuer_host, "{text}");
            assert_eq!(settings.issuers[0].policy.names[1..], *issuers, "{text}");
            let keys = FetchUrl::parse(&format!("{keys}/.well-known/jwks.json")).unwrap();
            assert_eq!(settings.issuers[0].keys.source, KeySource::Url(keys), "{text}");
        }
    }

    #[test]
    fn a_satellite_is_one_by_the_file_or_by_both_of_clerks_variables() {
        let of = |scene: Scene| {
            let browsers = scene.load().unwrap().settings.proxy.browsers.unwrap();
            (browsers.instance.satellite.map(|it| it.auto_sync), browsers.origins.satellite)
        };
        let none = (None, None);
        let sat = |auto_sync| (Some(auto_sync), Some("https://sat.com".to_owned()));
        let file = |text: &str| Scene::default().toml(text);
        let domain = || Scene::default().env("CLERK_DOMAIN", "Sat.com");
        for (scene, want) in [
            (file("clerk.satellite.domain = \"sat.com\""), sat(false)),
            (file("clerk.satellite = {domain = \"sat.com\", auto_sync = true}"), sat(true)),
            (domain(), none.clone()),
            (domain().env("CLERK_IS_SATELLITE", "false"), none),
            (domain().env("CLERK_IS_SATELLITE", "true"), sat(false)),
            (Scene::default().env("COUNTERSIGN_CLERK_SATELLITE_DOMAIN", "sat.com"), sat(false)),
            (
                file("clerk.satellite.domain = \"localhost:3001\""),
                (Some(false), Some("http://localhost:3001".to_owned())),
            ),
        ] {
            assert_eq!(of(scene), want);
        }
        let told = |scene: Scene| {
            scene.load().unwrap().warnings.iter().any(|it| it.key == "clerk.satellite.domain")
        };
        assert!(told(domain()));
        assert!(!told(domain().env("CLERK_IS_SATELLITE", "1")));
        let got = Scene::default().env("CLERK_IS_SATELLITE", "true").mistakes();
        assert!(got[0].starts_with("clerk.satellite.domain: not set, and CLERK_IS_SATELLITE is"));
    }

    #[test]
    fn an_issuer_that_is_written_is_the_only_one() {
        let text =
            "clerk.proxy_url = \"https://app.a.com/__clerk\"\nclerk.issuer = [\"https://c.com\"]";
        assert_eq!(settings(text).issuers[0].policy.names, ["https://c.com"]);
        assert!(warnings(text).iter().all(|it| !it.starts_with("clerk.proxy_url")));
    }
}
