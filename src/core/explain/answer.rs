//! What is told of a request.

use http::StatusCode;

use super::shown_url::Redirection;
use super::{Outcome, Step, Told};
use crate::core::access::Rule;
use crate::core::clerk::cookies::Family;
use crate::core::clerk::row::Row;
use crate::core::json::Object;
use crate::core::jwk::KeyId;
use crate::core::reject::{Refusal, Reject};
use crate::core::route::Route;

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
pub(super) fn page(address: &str) -> &str {
    address.split('?').next().unwrap_or_default()
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
