//! A Clerk instance as a browser meets it: where it is, and what it calls itself.

use crate::core::clerk::cookies::{CookieOwner, CookieSuffix};
use crate::core::clerk::organization_sync::OrganizationSync;
use crate::core::clerk::publishable_key::{Environment, PublishableKey};

/// What there is to know of an instance in order to send a browser there and back.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Whose cookies are read.
    pub owner: CookieOwner,
    /// Where handshakes go: an address without a slash at its end.
    pub frontend_api: String,
    /// The pages Clerk hosts for signing in: an origin.
    pub accounts_portal: String,
    /// Where people sign in.
    pub sign_in_url: String,
    /// How a satellite domain has its state; nothing for an application's own domain.
    pub satellite: Option<Satellite>,
    /// How a handshake's result comes back.
    pub payload: Payload,
    /// Organizations that paths speak of.
    pub organizations: OrganizationSync,
}

/// A domain that has its sign-in state from another one's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Satellite {
    /// Whether a page that shows no state asks for it by itself.
    pub auto_sync: bool,
}

/// How a handshake's result comes back (`format`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload {
    /// As a nonce, exchanged at the Backend API: needs the secret key.
    Nonce,
    /// As a token that the instance signed.
    Token,
}

impl Instance {
    /// Returns the instance that `key` names, as it is without any other setting.
    pub fn of(key: &PublishableKey, payload: Payload) -> Self {
        let frontend_api = key.frontend_api();
        let scheme = frontend_api.split("://").next().unwrap_or("https");
        let accounts_portal = format!("{scheme}://{}", accounts_portal(key.host()));
        Self {
            owner: CookieOwner {
                suffix: CookieSuffix::of(key),
                issuer_host: key.host().to_owned(),
                environment: key.environment(),
            },
            frontend_api,
            sign_in_url: format!("{accounts_portal}/sign-in"),
            accounts_portal,
            satellite: None,
            payload,
            organizations: OrganizationSync::default(),
        }
    }

    /// Tells whether it is a development instance.
    pub fn is_development(&self) -> bool {
        self.owner.environment == Environment::Development
    }

    /// Tells whether a page at `origin` is one of Clerk's for this instance: the Frontend API
    /// itself, the accounts portal, or in development an accounts portal of Clerk's own domains.
    /// Of the first and the last any port will do.
    pub fn is_clerks(&self, origin: &str) -> bool {
        let authority = |url: &str| url.split_once("://").map_or(url, |(_, rest)| rest).to_owned();
        let own = authority(&self.frontend_api);
        let own = own.split('/').next().unwrap_or_default();
        let told = authority(origin);
        let host = told.rsplit_once(':').map_or(&*told, |(host, _)| host);
        [&*told, host].contains(&own)
            || origin == self.accounts_portal
            || self.is_development() && is_development_portal(host)
    }
}

/// Returns where Clerk hosts the pages of the instance whose Frontend API is at `host`.
fn accounts_portal(host: &str) -> String {
    let host = host.replacen("clerk.accountsstage.", "accountsstage.", 1);
    let old = if host.contains("clerk.accounts.") { "clerk.accounts." } else { "clerk." };
    host.replacen(old, "accounts.", 1)
}

/// Tells whether `host` is a development instance's accounts portal on one of Clerk's domains: and
/// not its Frontend API, which has `.clerk` before the domain.
fn is_development_portal(host: &str) -> bool {
    const OLD: [&str; 3] = [".lcl.dev", ".lclstage.dev", ".lclclerk.com"];
    const NEW: [&str; 3] = [".accounts.dev", ".accountsstage.dev", ".accounts.lclclerk.com"];
    let old = host.starts_with("accounts.") && OLD.iter().any(|end| host.ends_with(end));
    let new =
        NEW.iter().any(|end| host.strip_suffix(end).is_some_and(|name| !name.ends_with(".clerk")));
    old || new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_portal_follows_from_the_host() {
        for (host, portal) in [
            ("clerk.example.com", "accounts.example.com"),
            ("happy-otter-12.clerk.accounts.dev", "happy-otter-12.accounts.dev"),
            ("foo.clerk.accountsstage.dev", "foo.accountsstage.dev"),
            ("127.0.0.1:4000", "127.0.0.1:4000"),
        ] {
            assert_eq!(accounts_portal(host), portal);
        }
    }

    #[test]
    fn clerks_own_pages_are_known() {
        let of = |text| Instance::of(&PublishableKey::parse(text).unwrap(), Payload::Nonce);
        let production = of("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k");
        let development = of("pk_test_aGFwcHktb3R0ZXItMTIuY2xlcmsuYWNjb3VudHMuZGV2JA");
        for (origin, live, test) in [
            ("https://clerk.example.com", true, false),
            ("https://clerk.example.com:8443", true, false),
            ("https://accounts.example.com:8443", false, false),
            ("https://accounts.example.com", true, false),
            ("https://accounts.evil.com", false, false),
            ("https://accounts.example.com.evil.com", false, false),
            ("https://happy-otter-12.clerk.accounts.dev", false, true),
            ("https://happy-otter-12.accounts.dev", false, true),
            ("https://other-otter-1.accounts.dev", false, true),
            ("https://other-otter-1.accounts.dev:8443", false, true),
            ("https://other-otter-1.clerk.accounts.dev", false, false),
            ("https://accounts.foo.lcl.dev", false, true),
            ("https://foo.lcl.dev", false, false),
        ] {
            assert_eq!(production.is_clerks(origin), live, "{origin}");
            assert_eq!(development.is_clerks(origin), test, "{origin}");
        }
    }
}
