//! What becomes of a request that shows cookies, or none: Clerk's decision, in its order.
//!
//! Clerk's session tokens live for a minute. A page that comes without a good one, from a browser
//! that is signed in all the same, is sent to Clerk and back with a new one: the handshake. When
//! that is to be, and when the request is signed in or signed out as it stands, is decided here,
//! with the rows of Clerk's own library in its order.
//!
//! The decision has two halves, with the verification of the token between them:
//! [`Exchange::before`] looks at everything that costs nothing, [`Exchange::signed_in`] and
//! [`Exchange::refused`] at what came of the token.

use std::fmt::{self, Write};

use http::header::{ACCEPT, REFERER};
use http::{HeaderMap, Method};

use crate::core::claims::ClaimError;
use crate::core::clerk::away::Away;
use crate::core::clerk::claimed::Shown;
use crate::core::clerk::cookies::{
    ClerkCookies, DEV_BROWSER, HANDSHAKE, HANDSHAKE_NONCE, HANDSHAKES, REDIRECT_COUNT,
};
use crate::core::clerk::instance::{Instance, Payload};
use crate::core::clerk::public_url::{PublicUrl, origin_of, push_parameter};
use crate::core::clerk::row::Row;
use crate::core::reject::Reject;

/// The version of Clerk's API that the form of these requests is of.
pub const API_VERSION: &str = "2026-05-12";

/// After so many handshakes in a row no further one is begun: Clerk's own count, of those that
/// come back within 2 s.
const LOOP: u32 = 3;
/// Ours, of those that come back within [`ROW`] seconds: a slow Frontend API would never let
/// Clerk's get to its end.
const SLOW_LOOP: u32 = 5;
/// For how many seconds our own count is kept.
const ROW: u32 = 10;

/// In bytes; Clerk's have some 30. What is sent to its Backend API is bounded, whoever made it up.
const LONGEST_NONCE: usize = 4096;

/// Why a request is not signed in, in Clerk's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the words of Clerk's library")]
pub enum Reason {
    ClientUatButNoSessionToken,
    DevBrowserMissing,
    DevBrowserSync,
    PrimaryDomainCrossOriginSync,
    SatelliteNeedsSyncing,
    SessionTokenAndUatMissing,
    SessionTokenMissing,
    SessionTokenExpired,
    SessionTokenNbf,
    SessionTokenIatInTheFuture,
    SessionTokenIatBeforeClientUat,
    SessionTokenButNoClientUat,
    ActiveOrganizationMismatch,
}

impl Reason {
    /// Returns Clerk's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientUatButNoSessionToken => "client-uat-but-no-session-token",
            Self::DevBrowserMissing => "dev-browser-missing",
            Self::DevBrowserSync => "dev-browser-sync",
            Self::PrimaryDomainCrossOriginSync => "primary-domain-cross-origin-sync",
            Self::SatelliteNeedsSyncing => "satellite-needs-syncing",
            Self::SessionTokenAndUatMissing => "session-token-and-uat-missing",
            Self::SessionTokenMissing => "session-token-missing",
            Self::SessionTokenExpired => "session-token-expired",
            Self::SessionTokenNbf => "session-token-nbf",
            Self::SessionTokenIatInTheFuture => "session-token-iat-in-the-future",
            Self::SessionTokenIatBeforeClientUat => "session-token-iat-before-client-uat",
            Self::SessionTokenButNoClientUat => "session-token-but-no-client-uat",
            Self::ActiveOrganizationMismatch => "active-organization-mismatch",
        }
    }
}

/// A request of a browser's, and everything Clerk's decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The instance that people sign in to.
    pub instance: &'a Instance,
    /// The method.
    pub method: &'a Method,
    /// The headers as they came.
    pub headers: &'a HeaderMap,
    /// The address as the browser has it.
    pub url: &'a PublicUrl,
    /// Whether a browser that is sent away may be told to come back there: to a host of ours.
    pub leads_home: bool,
    /// Clerk's cookies.
    pub cookies: &'a ClerkCookies,
}

/// What is to be done before anything was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next {
    /// A handshake has brought something; it is to be looked at first.
    Resolve(Brought),
    /// The session token is to be verified.
    Verify,
    /// It is decided.
    Decided(Decided),
}

/// What becomes of a request that is not signed in, and by which row of the decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decided {
    /// The row that applied.
    pub row: Row,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What a handshake has brought.
#[derive(Clone, Eq, PartialEq)]
pub enum Brought {
    /// What stands for the result, to be exchanged at the Backend API.
    Nonce(String),
    /// The result, as a token of the instance's.
    Token(String),
}

/// Says of which form it is, and not what: whoever has it has the session.
impl fmt::Debug for Brought {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nonce(_) => "Nonce",
            Self::Token(_) => "Token",
        })
    }
}

/// What becomes of a request that is not signed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is signed out.
    SignedOut(Reason),
    /// The browser was sent away as often in a row as it may be, and would be once more.
    Looped(Reason),
    /// The browser is sent away, to come back with a state that is known.
    Handshake(Redirect),
    /// Its token is at fault.
    Refused(Reject),
}

impl From<Verdict> for Reject {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::SignedOut(reason) => Self::SignedOut(reason),
            Verdict::Looped(reason) => Self::HandshakeLoop(reason),
            Verdict::Handshake(redirect) => Self::Handshake(Box::new(redirect)),
            Verdict::Refused(reject) => reject,
        }
    }
}

/// Where a browser is sent for a handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// Why.
    pub reason: Reason,
    /// Where to, and the cookies that count how often in a row.
    pub away: Away,
}

impl Exchange<'_> {
    /// Tells whether the request is for a page, which may be sent away and come back: a GET for a
    /// document, or from a browser that does not say and takes HTML first.
    pub fn is_eligible(&self) -> bool {
        let accepts_html =
            || self.header(ACCEPT.as_str()).is_some_and(|it| it.starts_with("text/html"));
        *self.method == Method::GET
            && match self.header("sec-fetch-dest") {
                Some(dest) => matches!(dest, "document" | "iframe"),
                None => accepts_html(),
            }
    }

    /// Decides what can be decided before a token is verified: rows 1 to 11.
    ///
    /// `resolved`: what a handshake has brought was looked at already, and decided nothing.
    /// `shown`: says what the session cookie is, as [`Shown::read`] does, or from memory.
    pub fn before(&self, resolved: bool, shown: impl Fn(&str) -> Result<Shown, Reject>) -> Next {
        let cookies = self.cookies;
        if !resolved && let Some(brought) = self.brought() {
            return Next::Resolve(brought);
        }
        if let Some(decided) = self.of_satellite().or_else(|| self.of_development()) {
            return Next::Decided(decided);
        }
        if cookies.contradicts {
            return self.decided(Row::SessionsContradict, Reason::SessionTokenMissing);
        }
        let has_client = cookies.client_uat != 0;
        let session = match (&cookies.session, has_client) {
            (None, false) => {
                let verdict = Verdict::SignedOut(Reason::SessionTokenAndUatMissing);
                return Next::Decided(Row::NothingShown.says(verdict));
            }
            (Some(_), false) => {
                return self.decided(Row::SessionWithoutClient, Reason::SessionTokenButNoClientUat);
            }
            (None, true) => {
                return self.decided(Row::ClientWithoutSession, Reason::ClientUatButNoSessionToken);
            }
            (Some(session), true) => session,
        };
        let Shown { is_session, claimed } = match shown(session) {
            Ok(shown) => shown,
            Err(reject) => {
                return Next::Decided(Row::SessionUnreadable.says(Verdict::Refused(reject)));
            }
        };
        if !is_session {
            let verdict = Verdict::Refused(Reject::TokenClassRefused);
            return Next::Decided(Row::SessionOfAnotherClass.says(verdict));
        }
        if claimed.issued_at().is_some_and(|iat| iat < cookies.client_uat as f64) {
            let reason = Reason::SessionTokenIatBeforeClientUat;
            return self.decided(Row::SessionOlderThanClient, reason);
        }
        Next::Verify
    }

    /// What a handshake has brought: in a cookie, or in development in the address.
    ///
    /// Only where a page was asked for; Clerk's library takes it from any request, and in
    /// production from the address too, where whoever makes a link could put another's session.
    fn brought(&self) -> Option<Brought> {
        let query = |name| {
            let parameter = self.url.parameter(name).filter(|text| !text.is_empty());
            parameter.filter(|_| self.instance.is_development())
        };
        // In development the browser is sent to the clean address, which has to be one of ours.
        if !self.is_eligible() || self.instance.is_development() && !self.leads_home {
            return None;
        }
        let nonce = query(HANDSHAKE_NONCE).or_else(|| self.cookies.nonce.clone());
        // Where none can be exchanged it is that of another application on our domain.
        let nonce = nonce.filter(|_| self.instance.payload == Payload::Nonce);
        let nonce = nonce.filter(|nonce| nonce.len() <= LONGEST_NONCE);
        let token = || query(HANDSHAKE).or_else(|| self.cookies.handshake.clone());
        nonce.map(Brought::Nonce).or_else(|| token().map(Brought::Token))
    }

    /// Returns the address that a browser is sent to once a development handshake was looked at:
    /// the same, without what Clerk had put into it.
    pub fn clean_url(&self) -> Option<String> {
        let clerks = [HANDSHAKE, "__clerk_help", DEV_BROWSER, HANDSHAKE_NONCE];
        self.instance.is_development().then(|| self.url.without(&clerks))
    }

    /// Row 2: a satellite that shows no state has it from its primary domain.
    fn of_satellite(&self) -> Option<Decided> {
        let satellite = self.instance.satellite.as_ref()?;
        let is_document =
            *self.method == Method::GET && self.header("sec-fetch-dest") == Some("document");
        let synced = self.url.parameter("__clerk_synced");
        let (needs_sync, done) =
            (synced.as_deref() == Some("false"), synced.as_deref() == Some("true"));
        if !is_document || done {
            return None;
        }
        let has_cookies = self.cookies.session.is_some() || self.cookies.client_uat != 0;
        if !satellite.auto_sync && !has_cookies && !needs_sync {
            let verdict = Verdict::SignedOut(Reason::SessionTokenAndUatMissing);
            return Some(Row::SatelliteWithoutState.says(verdict));
        }
        if has_cookies && !needs_sync {
            return None;
        }
        let location = self.instance.is_development().then(|| {
            let mut location = self.instance.sign_in_url.clone();
            push_parameter(&mut location, "__clerk_redirect_url", &self.url.without(&[]));
            location
        });
        let verdict = self.or_signed_out(Reason::SatelliteNeedsSyncing, location);
        Some(Row::SatelliteWithoutState.says(verdict))
    }

    /// Rows 4 and 5: a development instance knows its browser.
    ///
    /// Row 3, with which a primary domain sends a browser and its development session to whatever
    /// address `__clerk_redirect_url` names, is left out: it is an open redirect.
    fn of_development(&self) -> Option<Decided> {
        if !self.instance.is_development() {
            return None;
        }
        if self.url.parameter(DEV_BROWSER).is_some() {
            let verdict = self.or_signed_out(Reason::DevBrowserSync, None);
            return Some(Row::DevBrowserInAddress.says(verdict));
        }
        let missing = self.cookies.dev_browser.is_none();
        let verdict = || self.or_signed_out(Reason::DevBrowserMissing, None);
        missing.then(|| Row::DevBrowserUnknown.says(verdict()))
    }

    /// Says what becomes of a request whose handshake has brought no session token.
    pub fn without_session(&self) -> Reject {
        let reason = Reason::SessionTokenMissing;
        self.over(Some(reason)).unwrap_or(Reject::SignedOut(reason))
    }

    /// Says what becomes of a request whose handshake was looked at: in development the browser is
    /// sent to the address without what Clerk had put into it, else it goes on.
    pub fn over(&self, signed_out: Option<Reason>) -> Option<Reject> {
        let away = Away { location: self.clean_url()?, cookies: Vec::new() };
        Some(Reject::HandshakeOver { away: Box::new(away), signed_out })
    }

    /// Decides for a good token: nothing where the request is signed in. Rows 14 and 15.
    pub fn signed_in(&self, organization: Option<(&str, Option<&str>)>) -> Option<Decided> {
        let is_document =
            *self.method == Method::GET && self.header("sec-fetch-dest") == Some("document");
        if self.instance.satellite.is_none()
            && is_document
            && self.cookies.redirect_count == 0
            && self.cookies.handshakes == 0
            && self.comes_from_elsewhere()
        {
            let verdict = self.or_signed_out(Reason::PrimaryDomainCrossOriginSync, None);
            return Some(Row::FromAnotherSite.says(verdict));
        }
        let wanted = self.instance.organizations.wanted(self.url.path())?;
        if wanted.is_met(organization) || self.cookies.redirect_count >= LOOP {
            return None;
        }
        // Whoever cannot be sent for another organization is signed in with the one that is active.
        let verdict = self.away(Reason::ActiveOrganizationMismatch, None, None);
        let is_sent = matches!(verdict, Verdict::Handshake(_));
        is_sent.then(|| Row::OrganizationDiffers.says(verdict))
    }

    /// Decides for a token that was refused. `refresh` says what came of trying to refresh it,
    /// where it had expired. Row 12 and the table of token errors.
    pub fn refused(&self, reject: Reject, refresh: &str) -> Decided {
        Row::TokenRefused.says(self.of_refused(reject, refresh))
    }

    fn of_refused(&self, reject: Reject, refresh: &str) -> Verdict {
        let Reject::ClaimRefused { error, .. } = &reject else { return Verdict::Refused(reject) };
        let reason = match error {
            ClaimError::Expired { .. } => Reason::SessionTokenExpired,
            ClaimError::NotYetValid { .. } => Reason::SessionTokenNbf,
            ClaimError::IssuedInFuture { .. } => Reason::SessionTokenIatInTheFuture,
            ClaimError::SubjectMissing
            | ClaimError::AudienceMismatch
            | ClaimError::AuthorizedPartyMismatch
            | ClaimError::DateMalformed(_)
            | ClaimError::LifetimeTooLong => return Verdict::Refused(reject),
        };
        let detail = (reason == Reason::SessionTokenExpired).then_some(refresh);
        self.away(reason, None, detail)
    }

    /// Row 14: a page of another origin led here, and it is none of Clerk's.
    fn comes_from_elsewhere(&self) -> bool {
        let referrer = self.header(REFERER.as_str()).and_then(origin_of);
        referrer.is_some_and(|origin| {
            origin_of(&self.url.origin).as_ref() != Some(&origin)
                && !self.instance.is_clerks(&origin)
        })
    }

    fn decided(&self, row: Row, reason: Reason) -> Next {
        Next::Decided(row.says(self.or_signed_out(reason, None)))
    }

    fn or_signed_out(&self, reason: Reason, location: Option<String>) -> Verdict {
        self.away(reason, location, None)
    }

    /// Sends the browser away where that may be, and is signed out with the same reason where not.
    fn away(&self, reason: Reason, location: Option<String>, detail: Option<&str>) -> Verdict {
        let count = self.cookies.redirect_count;
        if !self.is_eligible() || !self.leads_home {
            return Verdict::SignedOut(reason);
        }
        let slow = self.cookies.handshakes;
        if count == LOOP || slow >= SLOW_LOOP {
            return Verdict::Looped(reason);
        }
        let location = location.unwrap_or_else(|| self.handshake_url(reason, detail));
        let next = if count > LOOP { 1 } else { count + 1 };
        let cookies = vec![
            format!("{REDIRECT_COUNT}={next}; SameSite=Lax; HttpOnly; Max-Age=2"),
            format!("{HANDSHAKES}={}; Path=/; SameSite=Lax; HttpOnly; Max-Age={ROW}", slow + 1),
        ];
        Verdict::Handshake(Redirect { reason, away: Away { location, cookies } })
    }

    /// The address of Clerk's handshake, its parameters in the order of Clerk's library.
    fn handshake_url(&self, reason: Reason, detail: Option<&str>) -> String {
        let mut word = reason.as_str().to_owned();
        if let Some(detail) = detail {
            let _ = write!(word, "-refresh-{detail}"); // writing to a String does not fail
        }
        let format = match self.instance.payload {
            Payload::Nonce => "nonce",
            Payload::Token => "token",
        };
        let back = self.url.without(&[DEV_BROWSER, "__dev_session"]);
        let dev_browser = self.dev_browser();
        let wanted = self.instance.organizations.wanted(self.url.path());
        let suffixed = if self.cookies.uses_suffix() { "true" } else { "false" };
        // Clerk may make a new token of it: of two that differ, nobody knows which that should be.
        let session = self.cookies.session.as_deref().filter(|_| !self.cookies.contradicts);
        let mut url = format!("{}/v1/client/handshake", self.instance.frontend_api);
        for (name, value) in [
            ("redirect_url", Some(&*back)),
            ("__clerk_api_version", Some(API_VERSION)),
            ("suffixed_cookies", Some(suffixed)),
            ("__clerk_hs_reason", Some(&*word)),
            ("format", Some(format)),
            ("__session", session),
            (DEV_BROWSER, dev_browser.as_deref()),
            ("organization_id", wanted.as_ref().map(|wanted| &*wanted.value)),
        ] {
            if let Some(value) = value {
                push_parameter(&mut url, name, value);
            }
        }
        url
    }

    /// The browser, where it is known to a development instance.
    pub(super) fn dev_browser(&self) -> Option<String> {
        let told = || self.url.parameter(DEV_BROWSER).filter(|text| !text.is_empty());
        let known = || self.cookies.dev_browser.clone();
        if self.instance.is_development() { told().or_else(known) } else { None }
    }

    /// A header that is there and not empty.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
