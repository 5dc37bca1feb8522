//! A browser that shows cookies, or nothing: signed in, signed out, or sent to Clerk and back.
//!
//! What is to be done is decided by [`Exchange`]; here it is done: a token verified, a handshake's
//! result exchanged, a session refreshed.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::forwarded::Forwarded;
use super::pipeline::Pipeline;
use super::record::Record;
use super::seen::Known;
use crate::core::browser::{BrowserSettings, Cookies};
use crate::core::clerk::away::{self, Away};
use crate::core::clerk::claimed::{Claimed, Shown};
use crate::core::clerk::cookies::ClerkCookies;
use crate::core::clerk::directives::Directives;
use crate::core::clerk::handshake::{Brought, Decided, Exchange, Next, Verdict};
use crate::core::clerk::public_url::PublicUrl;
use crate::core::clerk::refresh::{Failure, session_of};
use crate::core::credential::BearerToken;
use crate::core::issuer::{IssuerPolicy, TokenClass};
use crate::core::reject::Reject;
use crate::core::target::Target;
use crate::core::time::UnixTime;
use crate::core::upgrade::Wish;
use crate::core::verdict;
use crate::telemetry::metrics::{AuthSource, Carrier};

/// A request before anybody knows who sent it.
pub(super) struct Visit<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) target: &'a Target<'a>,
    pub(super) forwarded: &'a Forwarded,
    /// How the connection is to go on.
    pub(super) wish: Wish,
}

/// A browser's request as Clerk's decision sees it.
struct Browser<'a> {
    visit: &'a Visit<'a>,
    settings: &'a BrowserSettings,
    url: PublicUrl,
    cookies: ClerkCookies,
    now: UnixTime,
}

/// Somebody who is signed in, and what it took to know.
type SignedIn = (Arc<Known>, AuthSource);

impl Browser<'_> {
    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            instance: &self.settings.instance,
            method: self.visit.method,
            headers: self.visit.headers,
            url: &self.url,
            leads_home: self.settings.origins.lead_home(&self.url.origin),
            cookies: &self.cookies,
        }
    }
}

impl Visit<'_> {
    /// Returns the address as the browser has it.
    fn url(&self, settings: &BrowserSettings) -> PublicUrl {
        settings.url(self.target, self.forwarded.public(self.headers))
    }
}

impl Pipeline {
    fn browser<'a>(&self, visit: &'a Visit<'a>, settings: &'a BrowserSettings) -> Browser<'a> {
        let now = self.shared().clock.now();
        let claimed = |token: &str| match self.known_session(BearerToken::of(token)) {
            Some(known) => Some(known.claimed.clone()),
            None => Claimed::read(token),
        };
        let owner = &settings.instance.owner;
        let cookies = ClerkCookies::read(visit.headers, owner, now, claimed);
        Browser { url: visit.url(settings), visit, settings, cookies, now }
    }

    /// Says what a session cookie is. One that was verified before is not taken apart again.
    fn shown(&self, token: &str) -> Result<Shown, Reject> {
        match self.known_session(BearerToken::of(token)) {
            Some(known) => Ok(Shown { is_session: true, claimed: known.claimed.clone() }),
            None => Shown::read(token, self.clerk()),
        }
    }

    /// Says who sent a request without a bearer token.
    ///
    /// # Errors
    ///
    /// Why nobody is signed in, or where the browser is sent.
    pub(super) async fn browse(
        &self,
        visit: &Visit<'_>,
        settings: &BrowserSettings,
        record: &mut Record,
    ) -> Result<SignedIn, Reject> {
        let browser = self.browser(visit, settings);
        if browser.cookies.session.is_some() {
            record.carrier = Carrier::Cookie;
        }
        record.on_arrival = away::arrived(&browser.cookies);
        if settings.cookies == Cookies::Refused {
            let shown = browser.cookies.session.is_some();
            return Err(if shown { Reject::CookiesRefused } else { Reject::CredentialMissing });
        }
        let exchange = browser.exchange();
        let shown = |token: &str| self.shown(token);
        let mut next = exchange.before(false, shown);
        if let Next::Resolve(brought) = &next {
            match self.resolve(&browser, brought, record).await? {
                Some(signed_in) => return Ok(signed_in),
                None => next = exchange.before(true, shown),
            }
        }
        match next {
            Next::Verify => self.verify_cookie(&browser, record).await,
            Next::Decided(decided) => Err(self.rejected(decided)),
            Next::Resolve(_) => Err(Reject::Internal), // it was resolved
        }
    }

    /// Says who calls with a session token in `Authorization` with which nothing is wrong but its
    /// dates: for a page, a new one is to be had.
    ///
    /// # Errors
    ///
    /// `reject` where it is not, or where the browser is sent.
    pub(super) async fn renew(
        &self,
        token: BearerToken<'_>,
        reject: Reject,
        visit: &Visit<'_>,
        record: &mut Record,
    ) -> Result<SignedIn, Reject> {
        let Some(settings) = &self.shared().settings.browsers else { return Err(reject) };
        if !settings.renews(visit.method, &reject) {
            return Err(reject);
        }
        let mut browser = self.browser(visit, settings);
        browser.cookies.session = Some(token.reveal().to_owned());
        browser.cookies.contradicts = false; // of the cookies nothing is asked
        match self.refresh(&browser, &reject, record).await {
            Ok(signed_in) => signed_in,
            Err(failure) => {
                let decided = browser.exchange().refused(reject.clone(), failure.as_str());
                match decided.verdict {
                    Verdict::SignedOut(_) => Err(reject),
                    _ => Err(self.rejected(decided)),
                }
            }
        }
    }

    /// Returns the way to where people sign in, for a request that was refused by `reject`.
    pub(super) fn sign_in(&self, visit: &Visit<'_>, reject: &Reject) -> Option<Away> {
        let settings = self.shared().settings.browsers.as_ref()?;
        if settings.cookies == Cookies::Refused {
            return None;
        }
        let browser = self.browser(visit, settings);
        let exchange = browser.exchange();
        if exchange.sign_in_loops(reject) {
            self.shared().metrics.handshake_loops.inc();
        }
        exchange.sign_in(reject)
    }

    /// Checks that a request with somebody's cookie was sent by a page that may.
    pub(super) fn check_page(
        &self,
        visit: &Visit<'_>,
        settings: &BrowserSettings,
        known: &Known,
    ) -> Result<(), Reject> {
        let sessions = self.clerk().claims(TokenClass::SessionToken);
        let request = (visit.method, visit.headers);
        settings.check_page(sessions, known.names_party, request, || visit.url(settings).origin)
    }

    /// Verifies the session cookie, and refreshes it where it has expired.
    async fn verify_cookie(
        &self,
        browser: &Browser<'_>,
        record: &mut Record,
    ) -> Result<SignedIn, Reject> {
        let token = browser.cookies.session.as_deref().unwrap_or_default();
        let reject = match self.session(token, record).await {
            Ok(signed_in) => return self.kept(browser, signed_in),
            Err(reject) if reject.is_failure() => return Err(reject),
            Err(reject) => reject,
        };
        match self.refresh(browser, &reject, record).await {
            Ok(signed_in) => signed_in,
            Err(failure) => {
                Err(self.rejected(browser.exchange().refused(reject, failure.as_str())))
            }
        }
    }

    /// Lets somebody who is signed in stay so, unless another session is wanted here.
    fn kept(&self, browser: &Browser<'_>, signed_in: SignedIn) -> Result<SignedIn, Reject> {
        match browser.exchange().signed_in(signed_in.0.active_organization()) {
            None => Ok(signed_in),
            Some(decided) => Err(self.rejected(decided)),
        }
    }

    /// Looks at what a handshake has brought; nothing where the request is to be decided as if it
    /// had not.
    async fn resolve(
        &self,
        browser: &Browser<'_>,
        brought: &Brought,
        record: &mut Record,
    ) -> Result<Option<SignedIn>, Reject> {
        let directives = match brought {
            Brought::Nonce(nonce) => self.exchanged(nonce).await?,
            Brought::Token(token) => self.carried(token, browser.now).await?,
        };
        let (Some(directives), exchange) = (directives, browser.exchange()) else {
            return Ok(None);
        };
        let Some(token) = directives.session_token() else {
            record.cookies.extend_from_slice(directives.lines());
            return Err(exchange.without_session());
        };
        let signed_in = match self.session(token, record).await {
            Err(reject) if exchange.instance.is_development() && reject.is_of_a_date() => {
                self.late_session(token, browser.now).await
            }
            answer => answer,
        };
        let signed_in = match signed_in {
            Ok(signed_in) => Ok(signed_in),
            // A session all the same, which the browser is to have.
            Err(Reject::SessionPending) => Err(Reject::SessionPending),
            Err(reject) if reject.is_failure() => return Err(reject),
            Err(_) => return Ok(None),
        };
        record.cookies.extend_from_slice(directives.lines());
        match exchange.over(None) {
            Some(over) => Err(over),
            None => signed_in.map(Some),
        }
    }

    /// Exchanges a nonce; nothing where there is nobody to ask.
    async fn exchanged(&self, nonce: &str) -> Result<Option<Directives>, Reject> {
        let Some(api) = &self.shared().clerk_api else { return Ok(None) };
        let payload = api.handshake_payload(nonce).await;
        payload.map(Some).map_err(|problem| Reject::ClerkUnavailable(problem.to_string()))
    }

    /// Reads what a handshake's token carries; nothing where it is none of the instance's.
    ///
    /// Neither its dates nor its issuer are looked at, as in Clerk's library: the session token in
    /// it is, and whoever has an old one could have had that.
    async fn carried(&self, token: &str, now: UnixTime) -> Result<Option<Directives>, Reject> {
        let shared = self.shared();
        let policy = self.clerk().of_handshakes();
        let token = verdict::parse(BearerToken::of(token), shared.settings.limits.head);
        let Ok(token) = token.and_then(|token| policy.admit(token)) else { return Ok(None) };
        let kid = token.kid();
        let found = match shared.issuers[CLERK].keys.find(kid.as_ref(), now).await {
            Ok(found) => found,
            Err(reject) if reject.is_failure() => return Err(reject),
            Err(_) => return Ok(None),
        };
        let verified = token.verify(found.held.set.find(kid.as_ref()));
        Ok(verified.ok().map(|token| Directives::of_handshake(&token)))
    }

    /// Gets a new token for a session whose token has expired, and says who calls with that.
    async fn refresh(
        &self,
        browser: &Browser<'_>,
        reject: &Reject,
        record: &mut Record,
    ) -> Result<Result<SignedIn, Reject>, Failure> {
        let exchange = browser.exchange();
        let api = self.shared().clerk_api.as_ref();
        let session = exchange.refreshable(reject, api.is_some())?;
        let api = api.ok_or(Failure::MissingApiClient)?;
        let suffixed = browser.cookies.uses_suffix();
        let token = browser.cookies.refresh.as_deref().unwrap_or_default();
        let body = exchange.refresh_body(browser.visit.forwarded.client);
        let directives = api.refresh(&session, token, &body, suffixed).await?;
        let token = directives.session_token().ok_or(Failure::UnexpectedSdkError)?;
        // Another's Clerk would not send, and nobody else may.
        if session_of(token).as_ref() != Some(&session) {
            return Err(Failure::InvalidSessionToken);
        }
        let answer = match self.session(token, record).await {
            Ok(signed_in) => Ok(signed_in),
            // A session all the same, which the browser is to have.
            Err(Reject::SessionPending) => Err(Reject::SessionPending),
            Err(_) => return Err(Failure::InvalidSessionToken),
        };
        record.cookies.extend_from_slice(directives.lines());
        Ok(answer)
    }

    /// Verifies a session token of the instance's, and no other token.
    async fn session(&self, token: &str, record: &mut Record) -> Result<SignedIn, Reject> {
        let bearer = BearerToken::of(token);
        if self.known_session(bearer).is_none() {
            verdict::check_session(bearer, self.shared().settings.limits.token, self.clerk())?;
        }
        self.identify(bearer, record).await
    }

    /// Returns what was found out about a session token of the instance's before.
    fn known_session(&self, token: BearerToken<'_>) -> Option<Arc<Known>> {
        let is_session =
            |known: &Arc<Known>| known.place == CLERK && known.class == TokenClass::SessionToken;
        let mut seen = self.seen.borrow_mut();
        let sought = seen.sought(token);
        seen.find(sought).filter(is_session)
    }

    /// Verifies a session token that a handshake has brought to a machine whose clock is wrong.
    async fn late_session(&self, token: &str, now: UnixTime) -> Result<SignedIn, Reject> {
        let policy = self.clerk().lenient();
        let token = verdict::parse(BearerToken::of(token), self.shared().settings.limits.token)?;
        let token = policy.admit(token)?;
        let kid = token.kid();
        let found = self.shared().issuers[CLERK].keys.find(kid.as_ref(), now).await?;
        let keys = found.held.set.find(kid.as_ref());
        let (caller, key) = verdict::caller(token, &policy, keys, now)?;
        Ok((self.known(caller, key, CLERK, &found.held), AuthSource::Verified))
    }

    fn rejected(&self, decided: Decided) -> Reject {
        if matches!(decided.verdict, Verdict::Looped(_)) {
            self.shared().metrics.handshake_loops.inc();
        }
        decided.verdict.into()
    }

    /// Returns what the tokens of the Clerk instance must be and say.
    fn clerk(&self) -> &IssuerPolicy {
        &self.shared().issuers[CLERK].policy
    }
}

/// The place of the Clerk instance among the issuers, where browsers sign in to one.
const CLERK: usize = 0;
