//! What becomes of a request: from its route to the answer, as the proxy goes.
//!
//! Every rule is the proxy's own; here stands only their order, which the proxy's pipeline has, and
//! what is told on the way. Nothing waits here: where the proxy would ask Clerk's Backend API, both
//! answers are told.

use std::sync::Arc;

use http::HeaderName;
use http::header::{ORIGIN, UPGRADE};

use super::answer::{Answer, Ask, Deciding, Judged, Matched, RequestReport, Stands};
use super::asked::Asked;
use super::browsing::{Browser, Stop};
use super::shown_url::Redirection;
use super::{
    Pasted, Question, Step, Told, advice, caller_of, check_revoked, steps, testimony_of, told,
};
use crate::core::access::{Access, Presented, Rule, Session};
use crate::core::browser::BrowserSettings;
use crate::core::caller::Caller;
use crate::core::credential::BearerToken;
use crate::core::header;
use crate::core::issuer::{IssuerPolicy, TokenClass};
use crate::core::origin::Scheme;
use crate::core::path::PathPolicy;
use crate::core::preflight::Preflight;
use crate::core::reject::{Refusal, Reject};
use crate::core::target::Target;

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
pub(super) struct Telling<'a> {
    pub(super) asked: &'a Asked,
    pub(super) question: &'a RequestQuestion<'a>,
    pub(super) report: RequestReport,
}

/// A request whose rule is known.
pub(super) struct Visit<'a> {
    rule: &'a Rule,
    browser: Option<Browser<'a>>,
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

    /// Says whose a token is, and tells all that was looked at.
    pub(super) fn identified(
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
    pub(super) fn clerk(&self) -> Result<&'a IssuerPolicy, Reject> {
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
                let values = tokens.identity.anonymous().values;
                let text = |value: http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
                let headers = tokens.identity.names().zip(values);
                let headers = headers.map(|(name, value)| (name.to_string(), text(value)));
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
}

/// Sends whoever is signed out to sign in, where the route does so and the request is a page's.
fn or_sign_in(refusal: Refusal, visit: &Visit<'_>) -> Refusal {
    let browser = visit.browser.as_ref().filter(|_| visit.rule.sends_to_sign_in(&refusal));
    match browser.and_then(|browser| browser.sign_in(&refusal.reject)) {
        Some(sign_in) => refusal.with_sign_in(sign_in),
        None => refusal,
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
