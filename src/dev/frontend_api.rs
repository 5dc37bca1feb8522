//! The issuer's Frontend API: what a browser is sent to, to sign in, to sign out, and to come back
//! with cookies.
//!
//! Shaped like that of a development instance of Clerk's. There is no password: whoever opens the
//! page picks a user. What keeps other people's pages out is the rest: a page of another origin can
//! neither post the form nor look at its answer, and nobody is sent anywhere but to this machine.

use http::header::{LOCATION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::Incoming;

use super::clients::Session;
use super::endpoints::{Endpoints, method_refused, plain, read};
use super::html::Html;
use super::local_url::LocalUrl;
use super::mint::parameters;
use super::server::Answer;
use super::users::{ORGANIZATION_SLUG, USERS, User};
use crate::core::clerk::cookies::{
    CLIENT_UAT, DEV_BROWSER, HANDSHAKE, HANDSHAKE_NONCE, REFRESH, SESSION,
};

/// Where people sign in.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Where they sign out.
pub(super) const SIGN_OUT: &str = "/sign-out";
/// Where they are sent for their cookies.
pub(super) const HANDSHAKE_PATH: &str = "/v1/client/handshake";

/// How long a cookie stays: a year, in seconds. The token in it is good for a minute.
const KEPT: &str = "Max-Age=31536000";
/// How a cookie is taken away.
const GONE: &str = "Max-Age=0";

/// What a browser is sent to.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Handshake,
    SignIn,
    SignOut,
}

impl Step {
    /// Finds what stands at a path.
    pub(super) fn find(path: &str) -> Option<Self> {
        match path {
            HANDSHAKE_PATH => Some(Self::Handshake),
            SIGN_IN => Some(Self::SignIn),
            SIGN_OUT => Some(Self::SignOut),
            _ => None,
        }
    }
}

/// What is wrong with a request for one of these.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Problem {
    #[error("`redirect_url` is missing: where is the browser to go afterwards?")]
    NowhereToGo,
    #[error("`redirect_url` must be an http address of localhost, 127.0.0.1 or [::1]")]
    NotLocal,
    #[error("`format` must be `nonce` or `token`")]
    Format,
    #[error("`user` must be one of the users that the page names")]
    User,
}

/// What a request says: its query, or the form that it posts.
struct Asked {
    parameters: Vec<(String, String)>,
    back: LocalUrl,
}

impl Asked {
    fn parse(text: &str) -> Result<Self, Problem> {
        let parameters: Vec<_> = parameters(text).collect();
        let back = parameters.iter().find(|(name, _)| name == "redirect_url");
        let (_, back) = back.ok_or(Problem::NowhereToGo)?;
        let back = LocalUrl::parse(back).ok_or(Problem::NotLocal)?;
        Ok(Self { parameters, back })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl Endpoints {
    /// Answers a browser.
    pub(super) async fn frontend(&self, step: Step, head: &Parts, body: Incoming) -> Answer {
        if !self.is_under_our_name(&head.headers) {
            return plain(StatusCode::FORBIDDEN, "not under this name\n");
        }
        let query = head.uri.query().unwrap_or("");
        let answer = match (step, &head.method) {
            (Step::Handshake, &Method::GET) => self.handshake(query),
            (Step::Handshake, _) => return method_refused(&[Method::GET]),
            (Step::SignIn, &Method::GET) => self.sign_in_page(query),
            (Step::SignOut, &Method::GET) => self.sign_out_page(query),
            (_, &Method::POST) => {
                if !self.is_from_our_page(&head.headers) {
                    return plain(StatusCode::FORBIDDEN, "only the page here posts this form\n");
                }
                let form = match read(body).await {
                    Ok(form) => form,
                    Err(refused) => return refused,
                };
                let form = String::from_utf8_lossy(&form);
                match step {
                    Step::SignIn => self.sign_in(&form),
                    Step::SignOut | Step::Handshake => self.sign_out(&form),
                }
            }
            _ => return method_refused(&[Method::GET, Method::POST]),
        };
        answer.unwrap_or_else(|problem| plain(StatusCode::BAD_REQUEST, format!("{problem}\n")))
    }

    /// Tells whether a form was posted by a page of ours: the browser says so, in one header or in
    /// both, and does not contradict itself.
    fn is_from_our_page(&self, headers: &HeaderMap) -> bool {
        let origins = self.names().map(|name| format!("http://{name}"));
        let is_own = |origin: &HeaderValue| origins.iter().any(|own| *origin == **own);
        let said: Vec<bool> = (headers.get_all(ORIGIN).iter().map(is_own))
            .chain(headers.get_all("sec-fetch-site").iter().map(|site| site == "same-origin"))
            .collect();
        !said.is_empty() && said.iter().all(|is_own| *is_own)
    }

    /// Sends a browser back with its cookies, as they are now.
    fn handshake(&self, query: &str) -> Result<Answer, Problem> {
        let asked = Asked::parse(query)?;
        let is_nonce = match asked.get("format") {
            None | Some("token") => false,
            Some("nonce") => true,
            Some(_) => return Err(Problem::Format),
        };
        let (browser, session) = {
            let mut clients = self.clients();
            let browser = clients.browser(asked.get(DEV_BROWSER));
            if let Some(organization) = asked.get("organization_id") {
                clients.activate(&browser, organization);
            }
            let session = clients.signed_in(&browser).cloned();
            (browser, session)
        };
        let lines = self.cookies(&browser, session.as_ref());
        let (name, value) = match is_nonce {
            true => (HANDSHAKE_NONCE, self.clients().keep(lines)),
            false => (HANDSHAKE, self.mint_handshake(&lines)),
        };
        let away = asked.back.with(name, &value);
        Ok(redirect(StatusCode::TEMPORARY_REDIRECT, &away))
    }

    /// Returns the cookies that a browser gets, each under its plain name and with the suffix of
    /// the instance. A reader that goes by the suffix reads the browser's id with it, too.
    fn cookies(&self, browser: &str, session: Option<&Session>) -> Vec<String> {
        let since = session.map_or(0, |session| session.created.as_secs()).to_string();
        let mut lines = Vec::new();
        for (base, value) in [(DEV_BROWSER, browser), (CLIENT_UAT, &since)] {
            for name in [base.to_owned(), self.suffix.name(base)] {
                lines.push(format!("{name}={value}; Path=/; SameSite=Lax; {KEPT}"));
            }
        }
        lines.extend(self.session_cookies(session));
        lines
    }

    /// Returns the cookies that show who is signed in; where nobody is, they are taken away.
    pub(super) fn session_cookies(&self, session: Option<&Session>) -> [String; 3] {
        let token = session.map_or_else(String::new, |session| self.mint_for(session));
        let refresh = session.map_or("", |session| &session.refresh_token);
        let lasts = if session.is_some() { KEPT } else { GONE };
        let own = |base| self.suffix.name(base);
        [
            format!("{SESSION}={token}; Path=/; SameSite=Lax; {lasts}"),
            format!("{}={token}; Path=/; SameSite=Lax; {lasts}", own(SESSION)),
            format!("{}={refresh}; Path=/; HttpOnly; SameSite=Lax; {lasts}", own(REFRESH)),
        ]
    }

    /// Shows who can sign in; a browser in which somebody is, goes back.
    fn sign_in_page(&self, query: &str) -> Result<Answer, Problem> {
        let asked = Asked::parse(query)?;
        let browser = self.browser(&asked);
        if self.clients().signed_in(&browser).is_some() {
            return Ok(back(&asked, &browser));
        }
        let users: Html = USERS.iter().map(choice).collect();
        Ok(page(include_str!("pages/sign_in.html"), &asked, &browser, ("users", &users)))
    }

    /// Signs the browser in as the user that was picked.
    fn sign_in(&self, form: &str) -> Result<Answer, Problem> {
        let asked = Asked::parse(form)?;
        let user = asked.get("user").and_then(User::find).ok_or(Problem::User)?;
        let browser = self.browser(&asked);
        self.clients().sign_in(&browser, user, self.clock.now());
        Ok(back(&asked, &browser))
    }

    /// Asks whether to sign out: to follow a link must not.
    fn sign_out_page(&self, query: &str) -> Result<Answer, Problem> {
        let asked = Asked::parse(query)?;
        let browser = self.browser(&asked);
        let user = self.clients().signed_in(&browser).map(|session| session.user);
        let Some(user) = user else { return Ok(back(&asked, &browser)) };
        let name = Html::text(user.name);
        Ok(page(include_str!("pages/sign_out.html"), &asked, &browser, ("user", &name)))
    }

    /// Signs the browser out.
    fn sign_out(&self, form: &str) -> Result<Answer, Problem> {
        let asked = Asked::parse(form)?;
        let browser = self.browser(&asked);
        self.clients().sign_out(&browser, self.clock.now());
        Ok(back(&asked, &browser))
    }

    fn browser(&self, asked: &Asked) -> String {
        self.clients().browser(asked.get(DEV_BROWSER))
    }
}

/// Returns the button that picks a user.
fn choice(user: &User) -> Html {
    let role = format!("{} of {ORGANIZATION_SLUG}", user.role);
    Html::fill(
        include_str!("pages/user.html"),
        &[
            ("id", &Html::text(user.id)),
            ("initials", &Html::text(user.initials)),
            ("name", &Html::text(user.name)),
            ("role", &Html::text(&role)),
        ],
    )
}

/// Returns a page with a form that knows the browser and where it came from.
fn page(template: &'static str, asked: &Asked, browser: &str, own: (&str, &Html)) -> Answer {
    Html::page(
        template,
        &[
            ("host", &Html::text(asked.back.host())),
            ("redirect_url", &Html::text(&asked.back.to_string())),
            ("browser", &Html::text(browser)),
            own,
        ],
    )
}

/// Sends a browser back where it came from, with its id: so the page there knows to ask anew.
fn back(asked: &Asked, browser: &str) -> Answer {
    redirect(StatusCode::SEE_OTHER, &asked.back.with(DEV_BROWSER, browser))
}

fn redirect(status: StatusCode, address: &str) -> Answer {
    let address = HeaderValue::from_str(address).expect("printable ASCII");
    let mut answer = plain(status, "");
    answer.headers_mut().insert(LOCATION, address);
    answer
}

#[cfg(test)]
#[path = "frontend_api_tests.rs"]
mod tests;
