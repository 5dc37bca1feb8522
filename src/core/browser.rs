//! Requests of browsers, as the settings have them looked at.

use http::{HeaderMap, Method};

use crate::core::claims::ClaimsPolicy;
use crate::core::clerk::instance::Instance;
use crate::core::clerk::public_url::PublicUrl;
use crate::core::origin::{self, CrossSite, OwnOrigins, PageRules, Scheme};
use crate::core::path::Authority;
use crate::core::reject::Reject;
use crate::core::target::Target;

/// How browsers sign in.
#[derive(Clone, Debug)]
pub struct BrowserSettings {
    /// The Clerk instance, which is the first of the issuers.
    pub instance: Instance,
    /// Whether a session cookie is believed.
    pub cookies: Cookies,
    /// What becomes of a request that another site's page has sent.
    ///
    /// File: `cross_site = "refuse"`. Default: [`CrossSite::Refuse`].
    pub cross_site: CrossSite,
    /// Whose pages are ours.
    pub origins: OwnOrigins,
    /// What stands before our paths at the origin of `public_url`, and a proxy before us takes off:
    /// its path, without a slash at its end.
    pub prefix: String,
}

/// Whether session cookies are believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cookies {
    /// They are.
    Accepted,
    /// They are not: it is a production instance, and nothing says which pages are ours, so that
    /// those of a sibling domain could not be told apart.
    Refused,
}

/// The host and the scheme that the browser used, as far as a proxy we trust says.
pub type Told = (Option<Authority>, Option<Scheme>);

impl BrowserSettings {
    /// Returns the address of a request as the browser has it.
    pub fn url(&self, target: &Target<'_>, (host, scheme): Told) -> PublicUrl {
        let own = &self.origins;
        let host = host.as_ref().unwrap_or(&target.authority).as_str();
        let origin = own.of_request(host, scheme.unwrap_or(target.scheme));
        let is_public = own.public.as_ref() == Some(&origin);
        let prefix = if is_public { self.prefix.clone() } else { String::new() };
        PublicUrl { origin, prefix, target: target.uri.to_string() }
    }

    /// Tells whether a token in `Authorization` that was refused by `reject` may be renewed: nothing
    /// but a date is wrong with it.
    pub fn renews(&self, method: &Method, reject: &Reject) -> bool {
        *method == Method::GET
            && self.cookies == Cookies::Accepted // in which a new one would come
            && reject.is_of_a_date()
            && reject.is_of_a_session()
    }

    /// Checks that a request with somebody's cookie, which reached us under `own`, was sent by a
    /// page that may. `sessions` is what session tokens must say; `names_party`: whether this one
    /// names the party it was given to.
    ///
    /// # Errors
    ///
    /// As [`origin::check_page`].
    pub fn check_page(
        &self,
        sessions: Option<&ClaimsPolicy>,
        names_party: bool,
        (method, headers): (&Method, &HeaderMap),
        own: impl FnOnce() -> String,
    ) -> Result<(), Reject> {
        let asked = sessions.is_some_and(|it| it.azp.asks_for_a_page(&it.parties));
        let rules =
            PageRules { cross_site: self.cross_site, party_is_missing: asked && !names_party };
        let page = || self.origins.page(headers, &own());
        origin::check_page(method, headers, page, &rules)
    }
}
