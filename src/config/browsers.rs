//! `clerk` once more, and `cross_site`: how browsers sign in.

use crate::core::claims::AzpPolicy;
use crate::core::clerk::instance::{Instance, Payload};
use crate::core::clerk::organization_sync::{OrganizationSync, Pattern};
use crate::core::clerk::public_url::origin_of;
use crate::core::clerk::publishable_key::{Environment, PublishableKey};
use crate::core::origin::{CrossSite, OwnOrigins};
use crate::proxy::{BrowserSettings, Cookies};

use super::address::{self, PublicAddress};
use super::clerk::Clerk;
use super::error::Origin;
use super::hosts::Hosts;
use super::reader::Reader;

const SIGN_IN: &str = "clerk.sign_in_url";

/// What the other sections say of the instance.
pub(super) struct Known<'a> {
    /// Which instance it is; nothing where nothing names one, or not well.
    pub(super) key: Option<&'a PublishableKey>,
    pub(super) hosts: &'a Hosts,
    pub(super) public: Option<&'a PublicAddress>,
    pub(super) clerk: &'a Clerk,
    /// Whether Clerk's Backend API can be asked.
    pub(super) has_secret_key: bool,
}

/// Reads the section; nothing without a publishable key, which alone says whose cookies are read.
pub(super) fn settings(reader: &mut Reader<'_>, known: &Known<'_>) -> Option<BrowserSettings> {
    let sign_in_url = reader.one(SIGN_IN, |text| address::page(text, known.public));
    let organizations = organizations(reader);
    let words = [("refuse", CrossSite::Refuse), ("allow", CrossSite::Allow)];
    let cross_site = reader.choice("cross_site", &words).unwrap_or_default();
    let Some(key) = known.key else {
        warn_of_no_effect(reader);
        return None;
    };
    if cross_site == CrossSite::Allow {
        let text = "`allow`: any site's page can have a user's browser change things; good only where the backend checks for itself which page a request is from";
        reader.warn("cross_site", text);
    }

    let payload = if known.has_secret_key { Payload::Nonce } else { Payload::Token };
    let mut instance = Instance::of(key, payload);
    known.hosts.apply(&mut instance);
    instance.organizations = organizations;
    let origins = OwnOrigins {
        public: known.public.map(|public| public.origin.clone()),
        parties: known.clerk.parties.clone(),
        satellite: known.hosts.satellite(),
    };
    check_satellite(reader, &instance, &origins, sign_in_url.as_deref());
    match sign_in_url {
        Some(url) => instance.sign_in_url = url,
        None => {
            let from = Origin::Key("clerk.publishable_key");
            reader.derive(SIGN_IN, &[&instance.sign_in_url], &from);
        }
    }
    Some(BrowserSettings {
        instance,
        cookies: cookies(key, &origins, known.clerk.azp),
        cross_site,
        origins,
        prefix: known.public.map(|public| public.prefix.clone()).unwrap_or_default(),
    })
}

/// Pages of a sibling domain can set cookies here, and Clerk's for the whole domain are all read:
/// of a production instance nobody's are believed unless something says which pages are ours.
fn cookies(key: &PublishableKey, origins: &OwnOrigins, azp: AzpPolicy) -> Cookies {
    let is_told = !origins.parties.is_empty() || origins.public.is_some() || azp == AzpPolicy::Off;
    match key.environment() {
        Environment::Production if !is_told => Cookies::Refused,
        Environment::Production | Environment::Development => Cookies::Accepted,
    }
}

fn organizations(reader: &mut Reader<'_>) -> OrganizationSync {
    let organizations = reader.many("clerk.organization_sync.organization_patterns", |text| {
        let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
        let names_one = pattern.names_organization();
        names_one.then_some(pattern).ok_or_else(|| {
            "says no organization; put `:id` or `:slug` where the path has it".to_owned()
        })
    });
    let personal = reader.many("clerk.organization_sync.personal_account_patterns", Pattern::parse);
    OrganizationSync {
        organizations: organizations.unwrap_or_default(),
        personal: personal.unwrap_or_default(),
    }
}

/// A satellite has nobody sign in: that is what the primary domain is for.
fn check_satellite(
    reader: &mut Reader<'_>,
    instance: &Instance,
    origins: &OwnOrigins,
    sign_in_url: Option<&str>,
) {
    let Some(satellite) = &origins.satellite else { return };
    let Some(url) = sign_in_url else {
        if instance.is_development() && !reader.is_written(SIGN_IN) {
            let problem = "not set; a satellite of a development instance (`clerk.satellite.domain`) has its sign-in state from the primary domain: name the sign-in page there, like `https://primary.example/sign-in`";
            reader.mistake(SIGN_IN, problem);
        }
        return;
    };
    let origin = origin_of(url);
    let is_own = |own: &String| origin_of(own) == origin;
    if is_own(satellite) || origins.public.as_ref().is_some_and(is_own) {
        let problem = "is on the satellite domain itself (`clerk.satellite.domain`), where nobody signs in; write the whole address of the sign-in page on the primary domain";
        reader.mistake(SIGN_IN, problem);
    }
}

fn warn_of_no_effect(reader: &mut Reader<'_>) {
    const OF_BROWSERS: [&str; 6] = [
        "clerk.sign_in_url",
        "clerk.proxy_url",
        "clerk.satellite.domain",
        "clerk.organization_sync.organization_patterns",
        "clerk.organization_sync.personal_account_patterns",
        "cross_site",
    ];
    if reader.is_written("clerk.publishable_key") {
        return; // and no good, which was noted
    }
    for key in OF_BROWSERS {
        if reader.is_written(key) {
            reader.warn(key, "has no effect without `clerk.publishable_key`: cookies say nothing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{Scene, bare_mistakes, bare_warnings, mistakes, settings, warnings};

    const TEST: &str = "clerk.publishable_key = \"pk_test_Y2xlcmsuY2xlcmsuZGV2JA\"\n";
    const PUBLIC: &str = "public_url = \"https://app.a.com/base/\"\n";
    const NO_KEY: &str =
        "clerk.issuer = [\"https://clerk.a.com\"]\nclerk.jwks_file = \"keys.json\"\n";

    fn browsers(text: &str) -> BrowserSettings {
        settings(text).proxy.browsers.unwrap()
    }

    #[test]
    fn bad_values_earn_these_sentences() {
        let sat = "clerk.satellite.domain = \"sat.com\"\n";
        for (text, want) in [
            (
                "clerk.sign_in_url = \"sign-in\"".to_owned(),
                "clerk.sign_in_url: neither `https://` nor `http://`; write the whole address",
            ),
            (
                "clerk.sign_in_url = \"/sign-in\"".to_owned(),
                "clerk.sign_in_url: a path is one at the origin of `public_url`; set that",
            ),
            (
                format!("{TEST}{sat}"),
                "clerk.sign_in_url: not set; a satellite of a development instance",
            ),
            (
                format!("{sat}clerk.sign_in_url = \"https://sat.com/in\""),
                "clerk.sign_in_url: is on the satellite domain itself",
            ),
            (
                format!("public_url = \"https://sat.com\"\n{sat}clerk.sign_in_url = \"/in\""),
                "clerk.sign_in_url: is on the satellite domain itself",
            ),
            (
                "clerk.organization_sync.organization_patterns = [\"/orgs/*\"]".to_owned(),
                "clerk.organization_sync.organization_patterns: \"/orgs/*\": a path of segments, `:id` or",
            ),
            (
                "clerk.organization_sync.organization_patterns = [\"/orgs\"]".to_owned(),
                "clerk.organization_sync.organization_patterns: \"/orgs\": says no organization; put",
            ),
            (
                "clerk.organization_sync.personal_account_patterns = [\"me\"]".to_owned(),
                "clerk.organization_sync.personal_account_patterns: \"me\": a path of segments",
            ),
            (
                "cross_site = \"deny\"".to_owned(),
                "cross_site: \"deny\": not one of `refuse`, `allow`",
            ),
        ] {
            let got = mistakes(&text);
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
        }
    }

    #[test]
    fn people_sign_in_where_the_settings_say_or_at_clerks_own_pages() {
        for (text, want) in [
            ("", "https://accounts.a.com/sign-in"),
            ("clerk.sign_in_url = \"https://Www.a.com/in?a\"", "https://www.a.com/in?a"),
            (&format!("{PUBLIC}clerk.sign_in_url = \"/in\""), "https://app.a.com/in"),
            (
                "clerk.satellite.domain = \"sat.com\"\nclerk.sign_in_url = \"https://a.com/in\"",
                "https://a.com/in",
            ),
        ] {
            assert_eq!(browsers(text).instance.sign_in_url, want, "{text}");
        }
    }

    #[test]
    fn the_origins_and_the_prefix_are_those_of_the_public_url() {
        let got = browsers(&format!("{PUBLIC}clerk.satellite.domain = \"sat.com\""));
        let app = || "https://app.a.com".to_owned();
        let satellite = Some("https://sat.com".to_owned());
        let want = OwnOrigins { public: Some(app()), parties: vec![app()], satellite };
        assert_eq!((got.origins, &*got.prefix), (want, "/base"));
        assert_eq!(browsers("").prefix, "");
        assert_eq!(browsers("").origins, OwnOrigins::default());
    }

    #[test]
    fn a_handshake_comes_back_as_a_nonce_where_that_can_be_exchanged() {
        let of =
            |scene: Scene| scene.load().unwrap().settings.proxy.browsers.unwrap().instance.payload;
        assert_eq!(of(Scene::default()), Payload::Token);
        assert_eq!(of(Scene::default().env("CLERK_SECRET_KEY", "sk_live_x")), Payload::Nonce);
    }

    #[test]
    fn cookies_are_believed_where_something_says_which_pages_are_ours() {
        for (text, want) in [
            ("", Cookies::Refused),
            ("clerk.azp = \"off\"", Cookies::Accepted),
            (PUBLIC, Cookies::Accepted),
            ("clerk.authorized_parties = [\"https://a.com\"]", Cookies::Accepted),
            ("trusted_proxies = [\"private\"]", Cookies::Refused),
            ("clerk.satellite.domain = \"sat.com\"", Cookies::Refused),
            (TEST, Cookies::Accepted),
        ] {
            assert_eq!(browsers(text).cookies, want, "{text}");
        }
    }

    #[test]
    fn paths_speak_of_organizations() {
        let text = "[clerk.organization_sync]\norganization_patterns = [\"/orgs/:slug/(.*)\"]\npersonal_account_patterns = [\"/me\"]";
        let sync = browsers(text).instance.organizations;
        assert!(sync.wanted("/orgs/a/b").is_some() && sync.wanted("/me").is_some());
    }

    #[test]
    fn pages_of_other_sites_are_let_in_with_a_warning() {
        assert_eq!(browsers("").cross_site, CrossSite::Refuse);
        let text = "cross_site = \"allow\"";
        assert_eq!(browsers(text).cross_site, CrossSite::Allow);
        assert!(warnings(text).iter().any(|it| it.starts_with("cross_site: `allow`: any site's")));
    }

    #[test]
    fn without_a_publishable_key_nothing_is_said_to_browsers() {
        assert!(settings(NO_KEY).proxy.browsers.is_some(), "the scene has a key");
        assert_eq!(bare_mistakes(NO_KEY), [""; 0]);
        let text =
            format!("cross_site = \"refuse\"\n{NO_KEY}clerk.sign_in_url = \"https://a.com\"");
        let got = bare_warnings(&text);
        for key in ["clerk.sign_in_url", "cross_site"] {
            let want = format!("{key}: has no effect without `clerk.publishable_key`");
            assert!(got.iter().any(|it| it.starts_with(&want)), "{got:?}");
        }
    }
}
