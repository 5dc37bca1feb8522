//! Which origins are the application's own, and what a browser says of the page that sent a request.
//!
//! A cookie comes with every request to its host, whichever page has it sent. What tells the pages
//! apart are headers that no script can set: `Origin` (RFC 6454 §7, Fetch "`Origin` header") and
//! `Sec-Fetch-Site` (Fetch Metadata).

use http::header::{HeaderName, ORIGIN, UPGRADE};
use http::{HeaderMap, Method};

use crate::core::claims::{AzpPolicy, ClaimError};
use crate::core::clerk::public_url::origin_of;
use crate::core::issuer::TokenClass;
use crate::core::path::Authority;
use crate::core::reject::Reject;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    /// Reads a scheme as proxies and targets write it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| scheme.as_str() == text)
    }

    /// Returns the text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port that need not be named.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The origins of the application, as far as settings name them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnOrigins {
    /// Where clients reach the proxy.
    ///
    /// File: `public_url = "https://app.example.com"`. Default: none.
    pub public: Option<String>,
    /// The authorized parties.
    ///
    /// File: `clerk.authorized_parties`. Default: the origin of `public_url`.
    pub parties: Vec<String>,
    /// The origin of the satellite domain.
    ///
    /// File: `clerk.satellite.domain`. Default: none.
    pub satellite: Option<String>,
}

/// What becomes of a request that another site's page has sent with a cookie of ours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CrossSite {
    /// It is refused, where it could change something.
    #[default]
    Refuse,
    /// It passes: the backend has a check of its own.
    Allow,
}

/// Whose page sent a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Page {
    /// One of ours, or the user by hand.
    Ours,
    /// Somebody else's.
    Foreign,
    /// Nobody says: no browser of these years sent it.
    Unknown,
}

/// What says under which origin a browser reached us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KnownBy<'a> {
    /// A setting that names the host: an authorized party, or the satellite domain.
    Setting(&'a str),
    /// `public_url`.
    PublicUrl(&'a str),
    /// The request itself.
    Host,
}

impl OwnOrigins {
    /// Returns the origin under which the browser reached us, for a request to `host` that came by
    /// `scheme`, as proxies we trust say it or else as it came to us.
    ///
    /// A setting that names this very host counts first, then `public_url`: a proxy before us may
    /// keep neither host nor scheme.
    pub fn of_request(&self, host: &str, scheme: Scheme) -> String {
        match self.known_by(host) {
            KnownBy::Setting(origin) | KnownBy::PublicUrl(origin) => origin.to_owned(),
            KnownBy::Host => format!("{}://{host}", scheme.as_str()),
        }
    }

    /// Returns the scheme under which the browser reached us, as far as a setting says it; else
    /// `otherwise`.
    pub fn scheme_of(&self, host: &str, otherwise: Scheme) -> Scheme {
        let known = match self.known_by(host) {
            KnownBy::Setting(origin) | KnownBy::PublicUrl(origin) => origin,
            KnownBy::Host => return otherwise,
        };
        known.split_once("://").and_then(|(scheme, _)| Scheme::parse(scheme)).unwrap_or(otherwise)
    }

    /// Says what decides under which origin the browser reached us, for a request to `host`.
    pub fn known_by(&self, host: &str) -> KnownBy<'_> {
        let named = self.iter().find(|origin| authority(origin) == without_usual_port(host));
        match (named, self.public.as_deref()) {
            (Some(origin), public) if public != Some(origin) => KnownBy::Setting(origin),
            (_, Some(public)) => KnownBy::PublicUrl(public),
            (_, None) => KnownBy::Host,
        }
    }

    /// Tells whether a browser may be told to come back to `origin`: to a host of ours. Where no
    /// setting names one, any may be.
    pub fn lead_home(&self, origin: &str) -> bool {
        let mut own = self.iter().peekable();
        own.peek().is_none() || own.any(|it| host(it) == host(origin))
    }

    /// Says whose page sent a request that reached us under `own`.
    ///
    /// `Origin` decides alone where a setting names it, or where it names none of ours. A page that
    /// keeps its origin to itself sends `null`, and so does a sandboxed frame; then, as without
    /// one, `Sec-Fetch-Site` decides: `none` is the user by hand.
    pub fn page(&self, headers: &HeaderMap, own: &str) -> Page {
        let site = Told::of(headers, &SEC_FETCH_SITE);
        match (Told::of(headers, &ORIGIN), site) {
            (Told::Nothing, Told::Nothing) => Page::Unknown,
            (Told::Once(origin), _) if self.name(origin) => Page::Ours,
            (Told::Once(origin), Told::Nothing | Told::Once("same-origin"))
                if self.reach(origin, own) =>
            {
                Page::Ours
            }
            (Told::Nothing | Told::Once("null"), Told::Once("same-origin" | "none")) => Page::Ours,
            (Told::Nothing | Told::Once(_) | Told::Twice, _) => Page::Foreign,
        }
    }

    /// Tells whether a setting names `origin`.
    fn name(&self, origin: &str) -> bool {
        let origin = origin_of(origin);
        origin.is_some() && self.iter().any(|it| origin_of(it) == origin)
    }

    /// Tells whether `origin` is the one under which we were reached. Where nothing says so, `own`
    /// has the scheme that a proxy before us spoke with us: the browser may have used `https`.
    fn reach(&self, origin: &str, own: &str) -> bool {
        let Some(origin) = origin_of(origin) else { return false };
        let own = origin_of(own);
        let safer =
            || own.as_deref()?.strip_prefix("http://").map(|host| format!("https://{host}"));
        own.as_ref() == Some(&origin) || safer() == Some(origin)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.public.iter().chain(&self.parties).chain(&self.satellite).map(String::as_str)
    }
}

/// Returns the host and the scheme that the browser used, as the proxies before us say: of several
/// that they name, the first. Only to be asked where they are trusted.
pub fn told(headers: &HeaderMap) -> (Option<Authority>, Option<Scheme>) {
    let first = |name: &HeaderName| {
        let line = headers.get(name)?.to_str().ok()?;
        Some(line.split(',').next()?.trim())
    };
    let scheme = first(&FORWARDED_PROTO).and_then(Scheme::parse);
    let host = first(&FORWARDED_HOST)
        .and_then(|host| Authority::under(scheme.unwrap_or(Scheme::Http), host).ok());
    (host, scheme)
}

/// Checks that a request whose credential is a cookie was not sent by another site's page, where
/// it could change something; and, where its token names no party, that it was sent by one of ours.
///
/// Clerk mints tokens without `azp` where no page asked for them: with a handshake, for native
/// apps. The page that shows one is asked for in its place.
///
/// # Errors
///
/// [`Reject::CrossSite`]; [`ClaimError::AuthorizedPartyMismatch`] for a token without a party.
pub fn check_page(
    method: &Method,
    headers: &HeaderMap,
    page: impl FnOnce() -> Page,
    rules: &PageRules,
) -> Result<(), Reject> {
    if is_safe(method) && !headers.contains_key(UPGRADE) {
        return Ok(());
    }
    match (page(), rules.cross_site) {
        (Page::Ours, _) => Ok(()),
        (Page::Foreign, CrossSite::Refuse) => Err(Reject::CrossSite),
        (Page::Foreign | Page::Unknown, _) if rules.party_is_missing => {
            let error = ClaimError::AuthorizedPartyMismatch;
            Err(Reject::ClaimRefused { class: TokenClass::SessionToken, error })
        }
        (Page::Foreign | Page::Unknown, _) => Ok(()),
    }
}

/// What [`check_page`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRules {
    /// What becomes of another site's requests.
    pub cross_site: CrossSite,
    /// Whether parties are known, and the token names none.
    pub party_is_missing: bool,
}

impl AzpPolicy {
    /// Tells whether a token without a party needs a page of ours to be shown by.
    pub fn asks_for_a_page(self, parties: &[String]) -> bool {
        match self {
            Self::Auto => !parties.is_empty(),
            Self::Enforce | Self::Off => false, // refused long before, or not looked at
        }
    }
}

/// RFC 9110 §9.2.1: such requests change nothing.
fn is_safe(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS
}

/// What a header that there is one of says.
enum Told<'a> {
    Nothing,
    Once(&'a str),
    Twice,
}

impl<'a> Told<'a> {
    fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Self::Once(value.to_str().unwrap_or_default()),
            (Some(_), Some(_)) => Self::Twice,
        }
    }
}

/// Host and port of an origin, without a port that its scheme implies.
fn authority(origin: &str) -> &str {
    without_usual_port(origin.split_once("://").map_or(origin, |(_, authority)| authority))
}

fn without_usual_port(authority: &str) -> &str {
    let bare = authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80"));
    bare.unwrap_or(authority)
}

/// The host of an origin, in brackets where it is an IPv6 address.
fn host(origin: &str) -> &str {
    let authority = authority(origin);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> OwnOrigins {
        OwnOrigins {
            public: Some("https://app.example.com".into()),
            parties: vec!["https://www.example.com".into(), "http://localhost:3000".into()],
            satellite: Some("https://other.com".into()),
        }
    }

    #[test]
    fn the_origin_of_a_request_is_the_one_the_browser_knows() {
        for (host, scheme, want) in [
            ("app.example.com", Scheme::Http, "https://app.example.com"),
            ("app.example.com:443", Scheme::Http, "https://app.example.com"),
            ("www.example.com", Scheme::Http, "https://www.example.com"),
            ("other.com", Scheme::Http, "https://other.com"),
            ("localhost:3000", Scheme::Http, "http://localhost:3000"),
            ("localhost:3000", Scheme::Https, "http://localhost:3000"),
            ("localhost:4600", Scheme::Http, "https://app.example.com"),
            ("evil.com", Scheme::Http, "https://app.example.com"),
            ("evil.com", Scheme::Https, "https://app.example.com"),
        ] {
            assert_eq!(own().of_request(host, scheme), want, "{host}");
        }
        let nothing = OwnOrigins::default();
        assert_eq!(nothing.of_request("a.test:4600", Scheme::Http), "http://a.test:4600");
        assert_eq!(nothing.of_request("a.test", Scheme::Https), "https://a.test");
    }

    #[test]
    fn the_scheme_is_the_one_that_a_setting_says() {
        let without_public = OwnOrigins { public: None, ..own() };
        for (origins, host, want) in [
            (own(), "app.example.com", Scheme::Https),
            (own(), "localhost:3000", Scheme::Http),
            (own(), "inner", Scheme::Https),
            (without_public.clone(), "other.com", Scheme::Https),
            (without_public, "inner", Scheme::Http),
        ] {
            assert_eq!(origins.scheme_of(host, Scheme::Http), want, "{host}");
        }
        assert_eq!(OwnOrigins::default().scheme_of("a.test", Scheme::Https), Scheme::Https);
    }

    #[test]
    fn nobody_is_sent_to_a_host_that_is_not_ours() {
        for (origin, ours) in [
            ("https://app.example.com", true),
            ("http://app.example.com:8080", true),
            ("http://localhost:4600", true),
            ("https://other.com", true),
            ("https://evil.com", false),
            ("https://app.example.com.evil.com", false),
            ("https://evil-app.example.com", false),
        ] {
            assert_eq!(own().lead_home(origin), ours, "{origin}");
            assert!(OwnOrigins::default().lead_home(origin));
        }
    }

    #[test]
    fn a_browser_says_whose_page_sent_a_request() {
        use Page::{Foreign, Ours, Unknown};
        for (origins, site, want) in [
            (&["https://app.example.com"][..], None, Ours),
            (&["https://app.example.com"], Some("cross-site"), Ours),
            (&["https://www.example.com"], Some("same-site"), Ours),
            (&["http://app.example.com"], None, Foreign),
            (&["http://app.example.com:443"], None, Foreign),
            (&["https://app.example.com:80"], None, Foreign),
            (&["https://reached.example"], None, Ours),
            (&["https://reached.example"], Some("same-origin"), Ours),
            (&["https://reached.example"], Some("cross-site"), Foreign),
            (&["http://reached.example"], None, Ours),
            (&["https://reached.example:444"], None, Foreign),
            (&["https://evil.com"], None, Foreign),
            (&["https://evil.com"], Some("same-origin"), Foreign),
            (&["https://sibling.example.com"], Some("same-site"), Foreign),
            (&["https://app.example.com", "https://evil.com"], None, Foreign),
            (&["https://app.example.com.evil.com"], None, Foreign),
            (&["https://app.example.com:443.evil.com"], None, Foreign),
            (&["http://reached.example:x"], None, Foreign),
            (&["https://app.example.com@evil.com"], None, Foreign),
            (&["app.example.com"], None, Foreign),
            (&[""], None, Foreign),
            (&["null"], None, Foreign),
            (&["null"], Some("cross-site"), Foreign),
            (&["null"], Some("same-origin"), Ours),
            (&[], Some("same-origin"), Ours),
            (&[], Some("none"), Ours),
            (&[], Some("same-site"), Foreign),
            (&[], Some("cross-site"), Foreign),
            (&[], Some("Same-Origin"), Foreign),
            (&[], None, Unknown),
        ] {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            if let Some(site) = site {
                headers.insert(SEC_FETCH_SITE, site.parse().unwrap());
            }
            let got = own().page(&headers, "http://reached.example");
            assert_eq!(got, want, "{origins:?} {site:?}");
        }
    }

    #[test]
    fn a_page_that_came_without_tls_is_none_of_an_origin_that_has_it() {
        for (origin, own, want) in [
            ("http://reached.example", "https://reached.example", Page::Foreign),
            ("https://reached.example", "http://reached.example", Page::Ours),
            ("http://reached.example:4600", "http://reached.example:4600", Page::Ours),
            ("https://reached.example", "http://reached.example:80", Page::Ours),
            ("https://reached.example:80", "http://reached.example:80", Page::Foreign),
        ] {
            let headers = [(ORIGIN, origin.parse().unwrap())].into_iter().collect();
            assert_eq!(OwnOrigins::default().page(&headers, own), want, "{origin} at {own}");
        }
    }

    #[test]
    fn only_what_could_change_something_is_asked_for_its_page() {
        use Page::{Foreign, Ours, Unknown};
        for (method, upgrade, page, cross_site, missing, want) in [
            ("GET", false, Foreign, CrossSite::Refuse, true, "none"),
            ("HEAD", false, Foreign, CrossSite::Refuse, true, "none"),
            ("GET", true, Foreign, CrossSite::Refuse, false, "cross-site-request"),
            ("POST", false, Foreign, CrossSite::Refuse, false, "cross-site-request"),
            ("PROPFIND", false, Foreign, CrossSite::Refuse, false, "cross-site-request"),
            ("POST", false, Foreign, CrossSite::Allow, false, "none"),
            ("POST", false, Foreign, CrossSite::Allow, true, "token-invalid-authorized-parties"),
            ("POST", false, Unknown, CrossSite::Refuse, false, "none"),
            ("POST", false, Unknown, CrossSite::Refuse, true, "token-invalid-authorized-parties"),
            ("DELETE", false, Ours, CrossSite::Refuse, true, "none"),
            ("GET", true, Ours, CrossSite::Refuse, true, "none"),
        ] {
            let mut headers = HeaderMap::new();
            if upgrade {
                headers.insert(UPGRADE, "websocket".parse().unwrap());
            }
            let rules = PageRules { cross_site, party_is_missing: missing };
            let got = check_page(&method.parse().unwrap(), &headers, || page, &rules);
            let got = got.as_ref().err().map_or("none", Reject::label);
            assert_eq!(got, want, "{method} {upgrade} {page:?} {cross_site:?} {missing}");
        }
    }
}
