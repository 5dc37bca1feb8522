//! Clerk's options as an operator writes them for us: as the variables of Clerk's own names, where
//! Clerk has one.

use std::collections::BTreeMap;

use countersign::config::{self, Disk, Flags, Settings, Sources, Terminal};
use serde_json::Value;

use super::list;

/// What the backend is told: all that Clerk's `auth` says, too.
const IDENTITY: &str = "principal,token-type,user-id,session-id,org-id,org-slug,org-role,\
                        org-permissions,actor-id,factor-age,claims";

/// Where the world around the proxy is, as far as a setting says so.
pub(super) struct Places {
    pub(super) upstream: String,
    pub(super) keys: String,
    pub(super) clerk_api: String,
}

/// Makes our settings of Clerk's options, for a request to this address.
///
/// Every proxy before us is trusted and every path accepted, as in Clerk's library, which reads
/// what it is given.
///
/// # Errors
///
/// The settings that are refused.
pub(super) fn settings(options: &Value, url: &str, places: &Places) -> Result<Settings, String> {
    let parties = list(&options["authorizedParties"]);
    let azp = if parties.is_empty() { "off" } else { "enforce" };
    let mut written = BTreeMap::from([
        ("COUNTERSIGN_LISTEN", "127.0.0.1:0".to_owned()),
        ("COUNTERSIGN_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ("COUNTERSIGN_UPSTREAM", places.upstream.clone()),
        ("COUNTERSIGN_WORKERS", "1".to_owned()),
        ("COUNTERSIGN_TRUSTED_PROXIES", "private".to_owned()),
        ("COUNTERSIGN_PATHS_ALLOW", "double-slash".to_owned()),
        ("COUNTERSIGN_IDENTITY_HEADERS", IDENTITY.to_owned()),
        ("COUNTERSIGN_CLERK_JWKS_URL", places.keys.clone()),
        ("CLERK_API_URL", places.clerk_api.clone()),
        ("COUNTERSIGN_CLERK_AZP", azp.to_owned()),
        ("COUNTERSIGN_AUTHORIZED_PARTIES", parties.join(",")),
        ("COUNTERSIGN_AUDIENCE", list(&options["audience"]).join(",")),
        ("COUNTERSIGN_CLERK_ISSUER", list(&options["issuer"]).join(",")),
    ]);
    for (variable, option) in [
        ("CLERK_PUBLISHABLE_KEY", "publishableKey"),
        ("CLERK_SECRET_KEY", "secretKey"),
        ("CLERK_DOMAIN", "domain"),
        ("CLERK_PROXY_URL", "proxyUrl"),
        ("CLERK_SIGN_IN_URL", "signInUrl"),
    ] {
        written.insert(variable, options[option].as_str().unwrap_or_default().to_owned());
    }
    for (variable, option) in [
        ("CLERK_IS_SATELLITE", "isSatellite"),
        ("COUNTERSIGN_CLERK_SATELLITE_AUTO_SYNC", "satelliteAutoSync"),
    ] {
        let value = options[option].as_bool().map(|on| on.to_string());
        written.insert(variable, value.unwrap_or_default());
    }
    let sync = &options["organizationSyncOptions"];
    for (variable, option) in [
        ("COUNTERSIGN_CLERK_ORGANIZATION_SYNC_ORGANIZATION_PATTERNS", "organizationPatterns"),
        (
            "COUNTERSIGN_CLERK_ORGANIZATION_SYNC_PERSONAL_ACCOUNT_PATTERNS",
            "personalAccountPatterns",
        ),
    ] {
        written.insert(variable, list(&sync[option]).join(","));
    }
    // A path of ours is one at our own origin, which has to be known.
    if options["proxyUrl"].as_str().is_some_and(|url| url.starts_with('/')) {
        written.insert("COUNTERSIGN_PUBLIC_URL", origin(url).to_owned());
    }
    load(written)
}

/// The beginning of an address, up to its path.
pub(super) fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

fn load(written: BTreeMap<&str, String>) -> Result<Settings, String> {
    let written = written.into_iter().filter(|(_, value)| !value.is_empty());
    let sources = Sources {
        flags: Flags::default(),
        environment: written.map(|(name, value)| (name.to_owned(), value)).collect(),
        files: &Disk,
        cpus: 1,
        terminal: Terminal::No,
    };
    let loaded = config::load(&sources).map_err(|mistakes| {
        let keys: Vec<_> = mistakes.into_iter().map(|mistake| mistake.key).collect();
        keys.join(", ")
    });
    Ok(loaded?.settings)
}
