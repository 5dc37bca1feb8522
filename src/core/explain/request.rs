//! What becomes of a request: from its route to the answer, as the proxy goes.
//!
//! Every rule is the proxy's own; here stands only their order, which the proxy's pipeline has, and
//! what is told on the way. Nothing waits here: where the proxy would ask Clerk's Backend API, both
//! answers are told.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{COOKIE, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::asked::Asked;
use super::shown_url::{self, Redirection};
use super::{
    Outcome, Pasted, Question, Step, Told, advice, caller_of, check_revoked, steps, testimony_of,
    told,
};
use crate::core::access::{Access, Presented, Rule, Session};
use crate::core::browser::{BrowserSettings, Cookies};
use crate::core::caller::Caller;
use crate::core::clerk::away::Away;
use crate::core::clerk::cookies::{ClerkCookies, Family};
use crate::core::clerk::directives::Directives;
use crate::core::clerk::handshake::{Brought, Decided, Exchange, Next, Reason, Row, Verdict};
use crate::core::clerk::instance::Payload;
use crate::core::clerk::public_url::PublicUrl;
use crate::core::clerk::refresh::Failure;
use crate::core::cookie;
use crate::core::credential::BearerToken;
use crate::core::header;
use crate::core::issuer::{IssuerPolicy, TokenClass};
use crate::core::json::Object;
use crate::core::jwk::KeyId;
use crate::core::jws::UnverifiedToken;
use crate::core::origin::{self, KnownBy, Scheme};
use crate::core::path::PathPolicy;
use crate::core::preflight::Preflight;
use crate::core::reject::{Refusal, Reject};
use crate::core::route::Route;
use crate::core::target::Target;
use crate::core::verdict;

/// What a request is held against.
#[derive(Clone, Copy, Debug)]
pub struct RequestQuestion<'a> {
    /// What its token is held against.
    pub tokens: Question<'a>,
    /// How browsers sign in; nothing where no Clerk instance is named.
    pub browsers: Option<&'a BrowserSettings>,
    /// How the request reaches the proxy.
    pub scheme: Scheme,
    /// What a path may hold.
    pub paths: PathPolicy,
    /// What becomes of a CORS preflight.
    pub preflight: Preflight,
    /// Whether the request is taken for one that a trusted proxy passed on.
    pub trusted: bool,
    /// The longest token that a handshake brings, in bytes.
    pub longest_handshake: usize,
}

/// What would become of a request.
#[derive(Debug)]
pub struct RequestReport {
    /// What was made of what was written, in sentences.
    pub notes: Vec<String>,
    /// The request as routes match it; nothing where it cannot be read in one way only.
    pub matched: Option<Matched>,
    /// The address as the browser has it; nothing where no Clerk instance is named.
    pub address: Option<Address>,
    /// The rule that decides.
    pub route: Option<Deciding>,
    /// Where the credential stands; nothing where none is looked at.
    pub stands: Option<Stands>,
    /// Clerk's cookies; nothing where none are looked at.
    pub cookies: Option<CookiesSeen>,
    /// Clerk's decision on cookies; nothing where it is not asked.
    pub ruling: Option<Ruling>,
    /// The token that was looked at.
    pub token: Option<Judged>,
    /// What else was looked at: the page that sent the request, the session, the route.
    pub steps: Vec<Step>,
    /// What the backend is told; nothing where the request does not reach it.
    pub identity: Option<Told>,
    /// Where a browser is sent, if it is.
    pub redirect: Option<Redirection>,
    /// What comes of it.
    pub answer: Answer,
    /// Whose keys are needed, and the key that the token names: what [`super::wanted`] says of a
    /// token. Without them nobody can tell.
    pub wanted: Option<(usize, Option<KeyId>)>,
}

/// A request as routes match it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Matched {
    /// The method.
    pub method: String,
    /// The host, and its port where it is not the usual one.
    pub host: String,
    /// The path, written in one way.
    pub path: String,
}

/// The address as the browser has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// The address; of credentials in it, only how long they are.
    pub text: String,
    /// What says so.
    pub from: String,
}

/// The rule that decides.
#[derive(Clone, Debug)]
pub struct Deciding {
    /// Its route; nothing: no route matches.
    pub route: Option<Route>,
    /// What is asked of the caller.
    pub rule: Rule,
    /// Whether it is a CORS preflight, of which no route asks anything.
    pub preflight: bool,
}

/// Where the credential stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stands {
    /// In `Authorization`, before all cookies.
    Bearer,
    /// In `Authorization`, where it cannot be read.
    Unreadable,
    /// In cookies, if anywhere.
    Cookies,
    /// Nowhere: cookies say nothing where no Clerk instance is named.
    Nowhere,
}

/// Clerk's cookies in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CookiesSeen {
    /// Their names, once each.
    pub names: Vec<String>,
    /// How many others there are.
    pub others: usize,
    /// Which family counts, and why.
    pub family: Family,
    /// What `__client_uat` of that family says; 0 where it does not.
    pub client_uat: i64,
    /// How many handshakes in a row there were.
    pub redirect_count: u32,
}

/// Clerk's decision on a request's cookies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ruling {
    /// The row that applied.
    pub row: Row,
    /// What it says: `signed-in`, `signed-out`, `handshake`, `refused`, or `clerk-decides`.
    pub verdict: &'static str,
    /// The same in sentences.
    pub sentence: String,
    /// What to do about it; empty where there is nothing to do.
    pub advice: String,
}

/// A token that was looked at.
#[derive(Debug)]
pub struct Judged {
    /// What was looked at, in the order of the proxy.
    pub steps: Vec<Step>,
    /// Whether a key of the issuer signed the claims.
    pub verified: bool,
    /// All claims.
    pub claims: Object,
}

/// What comes of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It goes to the backend.
    Backend {
        /// As whom; nothing: as nobody in particular.
        caller: Option<String>,
        /// Why it would be refused, where that is only reported.
        reported: Option<Reject>,
    },
    /// It is refused, or the browser is sent away.
    Refused(Refusal),
    /// Clerk's Backend API decides, which was not asked.
    Asks(Ask),
}

/// A question to Clerk's Backend API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ask {
    /// What the proxy would ask.
    pub question: &'static str,
    /// What comes of the good answer.
    pub yes: String,
    /// What comes of the bad one.
    pub no: String,
}

impl Answer {
    /// Says it in a line.
    pub fn in_short(&self) -> String {
        match self {
            Self::Backend { caller: Some(caller), .. } => {
                format!("200: goes to the backend as {caller}")
            }
            Self::Backend { caller: None, reported: None } => {
                "200: goes to the backend as nobody".to_owned()
            }
            Self::Backend { caller: None, reported: Some(reject) } => format!(
                "200: goes to the backend as nobody, since refusals are only reported: {} {}",
                reject.status().as_u16(),
                reject.label()
            ),
            Self::Refused(refusal) => {
                let (status, label) = (refusal.status().as_u16(), refusal.reject.label());
                match refusal.away() {
                    Some(away) => format!("{status} to {} ({label})", page(&away.location)),
                    None if refusal.shown().is_none() => format!("{status} that hides {label}"),
                    None => format!("{status} {label}"),
                }
            }
            Self::Asks(Ask { yes, no, .. }) => {
                format!("Clerk decides, which was not asked: {yes}; or {no}")
            }
        }
    }
}

/// An address without its query.
fn page(address: &str) -> &str {
    address.split('?').next().unwrap_or_default()
}

/// Says what becomes of a request.
pub fn explain_request(asked: &Asked, question: &RequestQuestion<'_>) -> RequestReport {
    let mut telling = Telling {
        asked,
        question,
        report: RequestReport {
            notes: asked.notes.clone(),
            matched: None,
            address: None,
            route: None,
            stands: None,
            cookies: None,
            ruling: None,
            token: None,
            steps: Vec::new(),
            identity: None,
            redirect: None,
            answer: Answer::Refused(Reject::Internal.into()),
            wanted: None,
        },
    };
    let answer = match telling.target() {
        Ok(target) => telling.handle(&target),
        Err(reject) => Answer::Refused(reject.into()),
    };
    let mut report = telling.report;
    if let Answer::Refused(refusal) = &answer {
        report.redirect = refusal.away().map(|away| Redirection::of(&away.location));
    }
    report.answer = answer;
    report
}

/// A request on its way, and what is told of it.
struct Telling<'a> {
    asked: &'a Asked,
    question: &'a RequestQuestion<'a>,
    report: RequestReport,
}

/// A request whose rule is known.
struct Visit<'a> {
    rule: &'a Rule,
    browser: Option<Browser<'a>>,
}

/// A browser's request as Clerk's decision sees it.
#[derive(Clone)]
struct Browser<'a> {
    asked: &'a Asked,
    settings: &'a BrowserSettings,
    url: PublicUrl,
    cookies: ClerkCookies,
}

impl Browser<'_> {
    fn exchange(&self) -> Exchange<'_> {
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
    fn can_ask(&self) -> bool {
        self.settings.instance.payload == Payload::Nonce
    }

    fn sign_in(&self, reject: &Reject) -> Option<Away> {
        let accepted = self.settings.cookies == Cookies::Accepted;
        if accepted { self.exchange().sign_in(reject) } else { None }
    }
}

/// Why nobody is found out.
enum Stop {
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
    fn target(&mut self) -> Result<Target<'a>, Reject> {
        let Asked { method, uri, headers, .. } = self.asked;
        header::check_framing(headers)?;
        let target = Target::read(method, uri, headers, self.question.scheme, self.question.paths)?;
        self.report.matched = Some(Matched {
            method: method.to_string(),
            host: target.authority.as_str().to_owned(),
            path: target.path.as_str().to_owned(),
        });
        Ok(target)
    }

    /// The straight line.
    fn handle(&mut self, target: &Target<'_>) -> Answer {
        let Asked { method, headers, .. } = self.asked;
        let routes = self.question.tokens.routes;
        let found = routes.find(method, &target.authority, &target.path);
        let preflight = self.question.preflight.forwards(method, headers);
        let anything = Rule::from(Access::Public);
        let rule = if preflight { &anything } else { found.rule };
        let route = found.place.and_then(|place| routes.iter().nth(place)).cloned();
        self.report.route = Some(Deciding { route, rule: rule.clone(), preflight });
        let visit = Visit { rule, browser: self.browser(target) };
        let (presented, who) = match rule.access.asks_who() {
            true => self.authenticate(&visit),
            false => (Presented::Bearer, Ok(None)),
        };
        match who {
            Ok(caller) => self.concluded(&visit, presented, Ok(caller.as_ref())),
            Err(Stop::Rejected(reject)) => self.concluded(&visit, presented, Err(reject)),
            Err(Stop::Asks { question, yes, no }) => {
                let no = self.ending(&visit, presented, Err(no)).in_short();
                Answer::Asks(Ask { question, yes, no })
            }
        }
    }

    /// Looks at a request as one of a browser's, and tells which address that has.
    fn browser(&mut self, target: &Target<'_>) -> Option<Browser<'a>> {
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
        let cookies = ClerkCookies::read(&self.asked.headers, &settings.instance.owner, now);
        Some(Browser { asked: self.asked, settings, url, cookies })
    }

    /// Says who sent the request, and where the credential stood.
    fn authenticate(&mut self, visit: &Visit<'_>) -> (Presented, Result<Option<Caller>, Stop>) {
        let found = BearerToken::from_headers(&self.asked.headers);
        let (stands, presented, answer) = match (found, &visit.browser) {
            (Err(reject), _) => (Stands::Unreadable, Presented::Bearer, Err(reject.into())),
            (Ok(Some(token)), browser) => {
                (Stands::Bearer, Presented::Bearer, self.bear(token, browser.as_ref()).map(Some))
            }
            (Ok(None), Some(browser)) => {
                (Stands::Cookies, Presented::Cookie, self.browse(browser).map(Some))
            }
            (Ok(None), None) => (Stands::Nowhere, Presented::Bearer, Ok(None)),
        };
        self.report.stands = Some(stands);
        let answer = answer.and_then(|caller| match caller {
            Some(caller) => self.admitted(caller, presented, visit).map(Some),
            None => Ok(None),
        });
        (presented, answer)
    }

    /// Says who calls with a token in `Authorization`; where nothing but a date is wrong with it,
    /// a page gets a new one.
    fn bear(
        &mut self,
        token: BearerToken<'_>,
        browser: Option<&Browser<'_>>,
    ) -> Result<Caller, Stop> {
        let reject = match self.identified(token, &self.question.tokens) {
            Err(reject) if reject.is_of_a_date() => reject,
            answer => return answer.map_err(Stop::from),
        };
        let Some(browser) = browser else { return Err(reject.into()) };
        if !browser.settings.renews(&self.asked.method, &reject) {
            return Err(reject.into());
        }
        let mut browser = browser.clone();
        browser.cookies.session = Some(token.reveal().to_owned());
        match self.refused(&browser, reject.clone()) {
            Stop::Rejected(Reject::SignedOut(_)) => Err(reject.into()),
            Stop::Asks { question, yes, no: Reject::SignedOut(_) } => {
                Err(Stop::Asks { question, yes, no: reject })
            }
            stop => Err(stop),
        }
    }

    /// Says who shows cookies.
    fn browse(&mut self, browser: &Browser<'_>) -> Result<Caller, Stop> {
        self.report.cookies = Some(cookies_seen(&self.asked.headers, &browser.cookies));
        if browser.settings.cookies == Cookies::Refused {
            let shown = browser.cookies.session.is_some();
            return Err(
                if shown { Reject::CookiesRefused } else { Reject::CredentialMissing }.into()
            );
        }
        let policy = self.clerk()?;
        let is_session = |token: &UnverifiedToken<'_>| policy.is_session(token);
        let exchange = browser.exchange();
        let mut next = exchange.before(false, is_session);
        if let Next::Resolve(brought) = &next {
            match self.resolved(browser, brought)? {
                Some(caller) => return Ok(caller),
                None => next = exchange.before(true, is_session),
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
    fn refused(&mut self, browser: &Browser<'_>, reject: Reject) -> Stop {
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

    /// Says whose a token is, and tells all that was looked at.
    fn identified(
        &mut self,
        token: BearerToken<'_>,
        question: &Question<'_>,
    ) -> Result<Caller, Reject> {
        let pasted = Pasted { token, notes: Vec::new() };
        let wanted = super::wanted(&pasted, question.longest, question.issuers);
        if self.report.wanted.is_none() {
            self.report.wanted = wanted;
        }
        let steps::Looked { steps, verified, claims } = steps::look(&pasted, question);
        self.report.token = Some(Judged { steps, verified, claims });
        caller_of(token, question)
    }

    /// Returns what the tokens of the Clerk instance must be and say.
    fn clerk(&self) -> Result<&'a IssuerPolicy, Reject> {
        self.question.tokens.issuers.first().ok_or(Reject::Internal)
    }

    /// Asks what the route and the settings ask of somebody whose token is good.
    fn admitted(
        &mut self,
        caller: Caller,
        presented: Presented,
        visit: &Visit<'_>,
    ) -> Result<Caller, Stop> {
        check_revoked(&caller, &self.question.tokens)?;
        if let (Presented::Cookie, Some(browser)) = (presented, &visit.browser) {
            self.check_page(browser, &caller)?;
        }
        let testimony = testimony_of(&caller, presented, &self.question.tokens);
        if visit.rule.session == Session::Token
            || visit.rule.access.check(Some(&testimony)).is_err()
        {
            return Ok(caller);
        }
        let can_ask = visit.browser.as_ref().is_some_and(Browser::can_ask);
        if caller.session_id.is_none() || !can_ask {
            return Err(Reject::TokenClassRefused.into());
        }
        Err(Stop::Asks {
            question: "whether the session still is",
            yes: self.ending(visit, presented, Ok(Some(&caller))).in_short(),
            no: Reject::SessionRevoked,
        })
    }

    /// Checks that a page that may has sent a request with a cookie.
    fn check_page(&mut self, browser: &Browser<'_>, caller: &Caller) -> Result<(), Reject> {
        let Asked { method, headers, .. } = self.asked;
        let (settings, own) = (browser.settings, &browser.url.origin);
        let sessions = self.clerk()?.claims(TokenClass::SessionToken);
        let names_party = caller.names_party();
        let result = settings.check_page(sessions, names_party, (method, headers), || own.clone());
        if result.is_ok() && method.is_safe() && !headers.contains_key(UPGRADE) {
            return result; // no page was asked for
        }
        let said = |name: HeaderName| {
            let value = headers.get(&name)?.to_str().ok()?;
            Some(format!("{name}: {value}"))
        };
        let said = [ORIGIN, HeaderName::from_static("sec-fetch-site")].into_iter().filter_map(said);
        let said = said.collect::<Vec<_>>().join(", ");
        let found = if said.is_empty() { "nothing says which page".to_owned() } else { said };
        let expected = format!(
            "a page of {own} or of an origin that a setting names, or a method that changes nothing"
        );
        let advice = || advice::PAGE.to_owned();
        let told = (expected, format!("{method}, {found}"));
        self.report.steps.push(Step::judged("page", told, result.clone(), advice));
        result
    }

    /// Tells what comes of it, and what the route says.
    fn concluded(
        &mut self,
        visit: &Visit<'_>,
        presented: Presented,
        who: Result<Option<&Caller>, Reject>,
    ) -> Answer {
        let answer = self.ending(visit, presented, who.clone());
        let found = match &who {
            Ok(Some(caller)) => caller.subject.clone(),
            Ok(None) => "nobody".to_owned(),
            Err(reject) => format!("nobody: {}", reject.label()),
        };
        let result = match &answer {
            Answer::Backend { reported: Some(reject), .. } => Err(reject.clone()),
            Answer::Refused(refusal) => Err(refusal.reject.clone()),
            Answer::Backend { reported: None, .. } | Answer::Asks(_) => Ok(()),
        };
        let expected = match &visit.rule.access {
            Access::Public => "nobody in particular".to_owned(),
            Access::Optional => "a good credential, or none".to_owned(),
            Access::Required(demands) if demands.is_empty() => "a good credential".to_owned(),
            Access::Required(demands) => {
                let demands: Vec<_> = demands.iter().map(ToString::to_string).collect();
                format!("a good credential, and {}", demands.join(", "))
            }
        };
        let advice = || advice::route(&answer, visit.rule);
        self.report.steps.push(Step::judged("route", (expected, found), result, advice));
        let tokens = &self.question.tokens;
        self.report.identity = match (&answer, who) {
            (Answer::Backend { caller: Some(_), .. }, Ok(Some(caller))) => {
                Some(told(caller, tokens.identity))
            }
            (Answer::Backend { .. }, _) => {
                let headers = tokens.identity.anonymous().headers;
                let text =
                    |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
                let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value)));
                Some(Told { headers: headers.collect(), advice: String::new() })
            }
            (Answer::Refused(_) | Answer::Asks(_), _) => None,
        };
        answer
    }

    /// Asks the route for a permit.
    fn ending(
        &self,
        visit: &Visit<'_>,
        presented: Presented,
        who: Result<Option<&Caller>, Reject>,
    ) -> Answer {
        let tokens = &self.question.tokens;
        let testimony = |caller: &Caller| testimony_of(caller, presented, tokens);
        let name = who.as_ref().ok().copied().flatten().map(|caller| caller.subject.clone());
        let known = match (who.map(|caller| caller.map(testimony)), presented) {
            (Err(reject), Presented::Cookie) => visit.rule.access.without_cookie(reject),
            (answer, _) => answer,
        };
        match visit.rule.permit(known, &Arc::new(tokens.identity.anonymous())) {
            Ok(permit) => {
                let reported = permit.reported().cloned();
                Answer::Backend { caller: name.filter(|_| reported.is_none()), reported }
            }
            Err(refusal) => Answer::Refused(or_sign_in(refusal, visit)),
        }
    }

    /// Tells by which row it was decided, and what that means.
    fn decided(&mut self, browser: &Browser<'_>, Decided { row, verdict }: Decided) -> Stop {
        let exchange = browser.exchange();
        let (word, sentence) = match &verdict {
            Verdict::SignedOut(reason) => {
                let why = why_not_away(&exchange, &verdict);
                ("signed-out", format!("Signed out: {}.{why}", reason.as_str()))
            }
            Verdict::Looped(reason) => (
                "signed-out",
                format!(
                    "Signed out: {}. The browser was sent to Clerk three times in a row, and came back without a session.",
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

    fn rule(&mut self, row: Row, verdict: &'static str, sentence: String) {
        let advice = advice::row(row).to_owned();
        let advice = if verdict == "signed-in" { String::new() } else { advice };
        self.report.ruling = Some(Ruling { row, verdict, sentence, advice });
    }
}

/// Sends whoever is signed out to sign in, where the route does so and the request is a page's.
fn or_sign_in(refusal: Refusal, visit: &Visit<'_>) -> Refusal {
    let browser = visit.browser.as_ref().filter(|_| visit.rule.sends_to_sign_in(&refusal));
    match browser.and_then(|browser| browser.sign_in(&refusal.reject)) {
        Some(sign_in) => refusal.with_sign_in(sign_in),
        None => refusal,
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

impl RequestReport {
    /// Tells whether nobody can tell: keys are not to be had, or Clerk would have to be asked.
    pub fn is_open(&self) -> bool {
        match &self.answer {
            Answer::Asks(_) => true,
            Answer::Refused(refusal) => refusal.reject == Reject::KeysUnavailable,
            Answer::Backend { .. } => false,
        }
    }

    /// Returns the status that the client is answered with; nothing where the backend answers, or
    /// nobody can tell.
    pub fn status(&self) -> Option<StatusCode> {
        match &self.answer {
            Answer::Refused(refusal) => Some(refusal.status()),
            Answer::Backend { .. } | Answer::Asks(_) => None,
        }
    }

    /// Returns the step that failed first, of all that were taken.
    pub fn failed(&self) -> Option<&Step> {
        let token = self.token.iter().flat_map(|token| &token.steps);
        token.chain(&self.steps).find(|step| matches!(step.outcome, Outcome::Failed(_)))
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
