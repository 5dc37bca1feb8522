//! What becomes of a request that shows cookies, or nothing: Clerk's decision, and what is told of it.

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::COOKIE;

use super::answer::{Address, CookiesSeen, Ruling, page};
use super::asked::Asked;
use super::request::Telling;
use super::shown_url;
use super::{Question, advice, caller_of};
use crate::core::browser::{BrowserSettings, Cookies};
use crate::core::caller::Caller;
use crate::core::clerk::away::Away;
use crate::core::clerk::claimed::{Claimed, Shown};
use crate::core::clerk::cookies::ClerkCookies;
use crate::core::clerk::directives::Directives;
use crate::core::clerk::handshake::{Brought, Decided, Exchange, Next, Reason, Verdict};
use crate::core::clerk::instance::Payload;
use crate::core::clerk::public_url::PublicUrl;
use crate::core::clerk::refresh::Failure;
use crate::core::clerk::row::Row;
use crate::core::cookie;
use crate::core::credential::BearerToken;
use crate::core::origin::{self, KnownBy};
use crate::core::reject::Reject;
use crate::core::target::Target;
use crate::core::verdict;

/// A browser's request as Clerk's decision sees it.
#[derive(Clone)]
pub(super) struct Browser<'a> {
    pub(super) asked: &'a Asked,
    pub(super) settings: &'a BrowserSettings,
    pub(super) url: PublicUrl,
    pub(super) cookies: ClerkCookies,
}

impl Browser<'_> {
    pub(super) fn exchange(&self) -> Exchange<'_> {
        Exchange {
            instance: &self.settings.instance,
            method: &self.asked.method,
            headers: &self.asked.headers,
            url: &self.url,
            leads_home: self.settings.origins.lead_home(&self.url.origin),
            cookies: &self.cookies,
        }
    }

    /// Tells whether Clerk's Backend API can be asked: whoever can has handshakes come as a nonce.
    pub(super) fn can_ask(&self) -> bool {
        self.settings.instance.payload == Payload::Nonce
    }

    pub(super) fn sign_in(&self, reject: &Reject) -> Option<Away> {
        let accepted = self.settings.cookies == Cookies::Accepted;
        if accepted { self.exchange().sign_in(reject) } else { None }
    }
}

/// Why nobody is found out.
pub(super) enum Stop {
    /// That is the answer.
    Rejected(Reject),
    /// Clerk would be asked; this is what its bad answer leads to.
    Asks { question: &'static str, yes: String, no: Reject },
}

impl From<Reject> for Stop {
    fn from(reject: Reject) -> Self {
        Self::Rejected(reject)
    }
}

impl<'a> Telling<'a> {
    /// Looks at a request as one of a browser's, and tells which address that has.
    pub(super) fn browser(&mut self, target: &Target<'_>) -> Option<Browser<'a>> {
        let settings = self.question.browsers?;
        let trusted = self.question.trusted;
        let told = if trusted { origin::told(&self.asked.headers) } else { (None, None) };
        let url = settings.url(target, told.clone());
        let host = told.0.as_ref().unwrap_or(&target.authority).as_str();
        let from = match (settings.origins.known_by(host), &told) {
            (KnownBy::Setting(_), _) => "a setting names this host".to_owned(),
            (KnownBy::PublicUrl(_), _) => "public_url".to_owned(),
            (KnownBy::Host, (Some(_), _)) => "X-Forwarded-Host".to_owned(),
            (KnownBy::Host, (None, Some(_))) => "Host and X-Forwarded-Proto".to_owned(),
            (KnownBy::Host, (None, None)) => "Host".to_owned(),
        };
        if let Some(origin) = self.asked.origin.as_ref().filter(|it| **it != url.origin) {
            let own = &url.origin;
            self.report.notes.push(format!("The browser has {origin}, and the proxy takes that for {own}: set `public_url`, or `trusted_proxies` before which a proxy sets X-Forwarded-Host and X-Forwarded-Proto."));
        }
        self.report.address = Some(Address { text: shown_url::shown(&url.without(&[])), from });
        let now = self.question.tokens.now;
        let cookies =
            ClerkCookies::read(&self.asked.headers, &settings.instance.owner, now, Claimed::read);
        Some(Browser { asked: self.asked, settings, url, cookies })
    }

    /// Says who shows cookies.
    pub(super) fn browse(&mut self, browser: &Browser<'_>) -> Result<Caller, Stop> {
        self.report.cookies = Some(cookies_seen(&self.asked.headers, &browser.cookies));
        if browser.settings.cookies == Cookies::Refused {
            let shown = browser.cookies.session.is_some();
            return Err(
                if shown { Reject::CookiesRefused } else { Reject::CredentialMissing }.into()
            );
        }
        let policy = self.clerk()?;
        let shown = |token: &str| Shown::read(token, policy);
        let exchange = browser.exchange();
        let mut next = exchange.before(false, shown);
        if let Next::Resolve(brought) = &next {
            match self.resolved(browser, brought)? {
                Some(caller) => return Ok(caller),
                None => next = exchange.before(true, shown),
            }
        }
        match next {
            Next::Verify => self.verify_cookie(browser),
            Next::Decided(decided) => Err(self.decided(browser, decided)),
            Next::Resolve(_) => Err(Reject::Internal.into()), // it was resolved
        }
    }

    /// Verifies the session cookie.
    fn verify_cookie(&mut self, browser: &Browser<'_>) -> Result<Caller, Stop> {
        let token = browser.cookies.session.as_deref().unwrap_or_default();
        let caller = match self.session(token) {
            Ok(caller) => caller,
            Err(reject) if reject.is_failure() => return Err(reject.into()),
            Err(reject) => return Err(self.refused(browser, reject)),
        };
        let organization = caller.session.organization.as_ref();
        let organization = organization.map(|it| (&*it.id, it.slug.as_deref()));
        match browser.exchange().signed_in(organization) {
            Some(decided) => Err(self.decided(browser, decided)),
            None => {
                self.rule(Row::SignedIn, "signed-in", String::new());
                Ok(caller)
            }
        }
    }

    /// Says what becomes of a session token that was refused: a new one is had without a redirect,
    /// with one, or not at all.
    pub(super) fn refused(&mut self, browser: &Browser<'_>, reject: Reject) -> Stop {
        let exchange = browser.exchange();
        if let Err(failure) = exchange.refreshable(&reject, browser.can_ask()) {
            let decided = exchange.refused(reject, failure.as_str());
            return self.decided(browser, decided);
        }
        let sentence = format!("{}; Clerk is asked for a new token.", reject.label());
        self.rule(Row::TokenRefused, "clerk-decides", sentence);
        Stop::Asks {
            question: "for a new token of the session, with the refresh token that a cookie holds",
            yes: "with a new token it goes on as with a good one".to_owned(),
            no: exchange.refused(reject, Failure::FetchError.as_str()).verdict.into(),
        }
    }

    /// Looks at what a handshake has brought; nothing where the request is decided as if it had
    /// not.
    fn resolved(
        &mut self,
        browser: &Browser<'_>,
        brought: &Brought,
    ) -> Result<Option<Caller>, Stop> {
        let exchange = browser.exchange();
        let directives = match brought {
            Brought::Nonce(_) if browser.can_ask() => {
                let sentence = "Clerk is asked what the handshake has brought.".to_owned();
                self.rule(Row::HandshakeBrought, "clerk-decides", sentence);
                let yes = match exchange.clean_url() {
                    Some(url) => format!("307 to {} with the new session", page(&url)),
                    None => "it goes on with the new session".to_owned(),
                };
                return Err(Stop::Asks {
                    question: "what the handshake has brought, for its nonce",
                    yes,
                    no: exchange.without_session(),
                });
            }
            Brought::Nonce(_) => None, // nobody can be asked
            Brought::Token(token) => self.carried(token)?,
        };
        let Some(directives) = directives else { return self.nothing_brought() };
        let Some(token) = directives.session_token() else {
            let sentence = "It brings no session: nobody is signed in.".to_owned();
            self.rule(Row::HandshakeBrought, "signed-out", sentence);
            return Err(exchange.without_session().into());
        };
        let caller = match self.session(token) {
            Err(reject) if exchange.instance.is_development() && reject.is_of_a_date() => {
                let issuers = [self.clerk()?.lenient()];
                let question = Question { issuers: &issuers, ..self.question.tokens };
                caller_of(BearerToken::of(token), &question)
            }
            answer => answer,
        };
        let caller = match caller {
            Ok(caller) => caller,
            Err(reject) if reject.is_failure() => return Err(reject.into()),
            Err(_) => return self.nothing_brought(),
        };
        self.rule(Row::HandshakeBrought, "signed-in", "It brings a good session.".to_owned());
        match exchange.over(None) {
            Some(over) => Err(over.into()),
            None => Ok(Some(caller)),
        }
    }

    fn nothing_brought(&mut self) -> Result<Option<Caller>, Stop> {
        let note = "A handshake has brought something that is no good session of this instance's: it is decided as if it had not come.";
        self.report.notes.push(note.to_owned());
        Ok(None)
    }

    /// Reads what a handshake's token carries; nothing where it is none of the instance's.
    fn carried(&mut self, token: &str) -> Result<Option<Directives>, Reject> {
        let policy = self.clerk()?.of_handshakes();
        let token = verdict::parse(BearerToken::of(token), self.question.longest_handshake);
        let Ok(token) = token.and_then(|token| policy.admit(token)) else { return Ok(None) };
        let kid = token.kid();
        self.report.wanted.get_or_insert((0, kid.clone()));
        let set = match self.question.tokens.set_with(kid.as_ref()) {
            Ok(set) => set,
            Err(reject) if reject.is_failure() => return Err(reject),
            Err(_) => return Ok(None),
        };
        let verified = token.verify(set.find(kid.as_ref()));
        Ok(verified.ok().map(|token| Directives::of_handshake(&token)))
    }

    /// Says whose a session token of the instance is, and no other token.
    fn session(&mut self, token: &str) -> Result<Caller, Reject> {
        let tokens = &self.question.tokens;
        let policy = self.clerk()?;
        let issuers = [policy.of_handshakes()]; // which are sessions, and nothing else
        let question = Question { issuers: &issuers, ..*tokens };
        let token = BearerToken::of(token);
        let checked = verdict::check_session(token, tokens.longest, policy);
        let identified = self.identified(token, &question);
        checked.and(identified)
    }

    /// Tells by which row it was decided, and what that means.
    pub(super) fn decided(
        &mut self,
        browser: &Browser<'_>,
        Decided { row, verdict }: Decided,
    ) -> Stop {
        let exchange = browser.exchange();
        let (word, sentence) = match &verdict {
            Verdict::SignedOut(reason) => {
                let why = why_not_away(&exchange, &verdict);
                ("signed-out", format!("Signed out: {}.{why}", reason.as_str()))
            }
            Verdict::Looped(reason) => (
                "signed-out",
                format!(
                    "Signed out: {}. The browser was sent to Clerk too often in a row, and came back without a session.",
                    reason.as_str()
                ),
            ),
            Verdict::Handshake(redirect) => (
                "handshake",
                format!(
                    "Sent to Clerk, to come back with a state that is known: {}.",
                    redirect.reason.as_str()
                ),
            ),
            Verdict::Refused(reject) => ("refused", format!("Refused: {}.", reject.label())),
        };
        self.rule(row, word, sentence);
        Stop::Rejected(verdict.into())
    }

    pub(super) fn rule(&mut self, row: Row, verdict: &'static str, sentence: String) {
        let advice = advice::row(row).to_owned();
        let advice = if verdict == "signed-in" { String::new() } else { advice };
        self.report.ruling = Some(Ruling { row, verdict, sentence, advice });
    }
}

/// Says why a browser was not sent to Clerk by a row that does so.
fn why_not_away(exchange: &Exchange<'_>, verdict: &Verdict) -> String {
    if *verdict == Verdict::SignedOut(Reason::SessionTokenAndUatMissing) {
        return String::new();
    }
    if !exchange.is_eligible() {
        return " A page would be sent to Clerk and back, and this request is for none: a page is a GET with `Sec-Fetch-Dest: document` or `iframe`, or, where nothing says so, with an `Accept` that begins with text/html.".to_owned();
    }
    if !exchange.leads_home {
        return format!(
            " A page would be sent to Clerk and back, but {} is no host that the settings name.",
            exchange.url.origin
        );
    }
    String::new()
}

fn cookies_seen(headers: &HeaderMap, cookies: &ClerkCookies) -> CookiesSeen {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let pairs = pairs.filter(|pair| pair.contains(&b'='));
    let (clerks, others): (Vec<_>, Vec<_>) =
        pairs.map(cookie::name).partition(|name| cookie::is_clerk(name));
    let names: BTreeSet<_> = clerks.into_iter().map(cookie_name).collect();
    CookiesSeen {
        names: names.into_iter().collect(),
        others: others.len(),
        family: cookies.family,
        client_uat: cookies.client_uat,
        redirect_count: cookies.redirect_count,
    }
}

/// Writes the name of a cookie. No name of Clerk's is longer than this.
fn cookie_name(name: &[u8]) -> String {
    const LONGEST: usize = 48;
    let text = String::from_utf8_lossy(&name[..name.len().min(LONGEST)]).into_owned();
    if name.len() > LONGEST { format!("{text}…") } else { text }
}
