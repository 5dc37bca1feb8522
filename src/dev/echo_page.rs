//! What the echo backend shows a browser: the same as it tells everybody else, as a page.

use http::HeaderMap;
use http::header::{ACCEPT, COOKIE, HOST};
use http::request::Parts;

use super::echo::{SignatureReport, lossy, shown_value};
use super::frontend_api::{SIGN_IN, SIGN_OUT};
use super::html::Html;
use super::server::Answer;
use crate::core::clerk::cookies::DEV_BROWSER;
use crate::core::clerk::public_url::push_parameter;
use crate::core::time::UnixTime;

/// What is told of the caller: a label, and the identity header after the prefix.
const FACTS: [(&str, &str); 5] = [
    ("User", "user-id"),
    ("Session", "session-id"),
    ("Organization", "org-slug"),
    ("Role", "org-role"),
    ("Permissions", "org-permissions"),
];

/// Tells whether a page is asked for, as browsers do.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted.into_iter().any(|types| lossy(types).to_ascii_lowercase().contains("text/html"))
}

/// A request, and everything its page tells of it.
pub(super) struct EchoPage<'a> {
    pub(super) head: &'a Parts,
    pub(super) signature: &'a SignatureReport,
    /// How the names of identity headers start.
    pub(super) prefix: &'a str,
    /// The origin of the development issuer, where there is one.
    pub(super) issuer: Option<&'a str>,
    pub(super) now: UnixTime,
}

impl EchoPage<'_> {
    /// Returns the page.
    pub(super) fn answer(&self) -> Answer {
        let title = match (self.user(), self.signature.verified) {
            (None, _) => "Nobody is signed in",
            (Some(_), true) => "You are signed in",
            (Some(_), false) => "Anybody could have said who you are",
        };
        let request = format!("{} {}", self.head.method, self.head.uri);
        Html::page(
            include_str!("pages/echo.html"),
            &[
                ("title", &Html::text(title)),
                ("request", &Html::text(&request)),
                ("verdict", &self.verdict()),
                ("facts", &self.facts()),
                ("links", &self.links()),
                ("headers", &self.headers()),
            ],
        )
    }

    /// Returns an identity header that is there and says something.
    fn identity(&self, name: &str) -> Option<String> {
        let value = self.head.headers.get(format!("{}{name}", self.prefix))?;
        Some(lossy(value)).filter(|text| !text.is_empty())
    }

    fn user(&self) -> Option<String> {
        self.identity("user-id")
    }

    /// Says whether what the headers say may be believed.
    fn verdict(&self) -> Html {
        let signature = self.signature;
        let said = |text: &Option<String>| Html::text(text.as_deref().unwrap_or("unknown"));
        if signature.verified {
            let values = [("alg", &said(&signature.alg)), ("keyid", &said(&signature.keyid))];
            return Html::fill(
                r#"<p class="verdict good"><strong>The countersignature verifies.</strong> The proxy said this, and nobody changed it: <code>{{alg}}</code>, key <code>{{keyid}}</code>.</p>"#,
                &values,
            );
        }
        Html::fill(
            r#"<p class="verdict bad"><strong>The countersignature does not verify:</strong> {{problem}}. Do not believe what these headers say.</p>"#,
            &[("problem", &said(&signature.problem))],
        )
    }

    fn facts(&self) -> Html {
        if self.user().is_none() {
            return Html::fill("", &[]);
        }
        let told = FACTS.iter().map(|(label, name)| {
            (*label, self.identity(name).unwrap_or_else(|| "none".to_owned()))
        });
        let expires = self.identity("expires-at").and_then(|text| text.parse::<i64>().ok());
        let left = expires.map(|expires| {
            let left = expires.saturating_sub(self.now.as_secs());
            ("Token", format!("good for {} more seconds", left.max(0)))
        });
        let rows = told.chain(left).map(|(label, text)| {
            let values = [("label", &Html::text(label)), ("text", &Html::text(&text))];
            Html::fill("<div><dt>{{label}}</dt><dd>{{text}}</dd></div>", &values)
        });
        Html::fill("<dl>{{rows}}</dl>", &[("rows", &rows.collect())])
    }

    /// Returns the links to sign in or out, which lead back here.
    fn links(&self) -> Html {
        let Some(issuer) = self.issuer else { return Html::fill("", &[]) };
        let (path, label) = match self.user() {
            Some(_) => (SIGN_OUT, "Sign out"),
            None => (SIGN_IN, "Sign in"),
        };
        let mut address = format!("{issuer}{path}");
        push_parameter(&mut address, "redirect_url", &self.address());
        if let Some(browser) = self.browser() {
            push_parameter(&mut address, DEV_BROWSER, &browser);
        }
        let values = [("address", &Html::text(&address)), ("label", &Html::text(label))];
        Html::fill(r#"<a class="action" href="{{address}}">{{label}}</a>"#, &values)
    }

    /// Returns the address that the browser has for this page.
    fn address(&self) -> String {
        let said = |name: &str| self.head.headers.get(name).map(lossy);
        let host = said("x-forwarded-host").or_else(|| said(HOST.as_str())).unwrap_or_default();
        let scheme = match said("x-forwarded-proto").as_deref() {
            Some("https") => "https",
            _ => "http",
        };
        let target = self.head.uri.path_and_query().map_or("/", |target| target.as_str());
        format!("{scheme}://{host}{target}")
    }

    /// Returns the id that the issuer knows this browser by.
    fn browser(&self) -> Option<String> {
        let lines: Vec<String> = self.head.headers.get_all(COOKIE).iter().map(lossy).collect();
        let mut pairs = lines.iter().flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name.trim() == DEV_BROWSER).then(|| value.trim().to_owned())
        });
        pairs.next()
    }

    fn headers(&self) -> Html {
        let rows = self.head.headers.iter().map(|(name, value)| {
            let identity = name.as_str().starts_with(self.prefix);
            let template = match identity {
                true => {
                    r#"<tr class="identity"><th scope="row">{{name}}</th><td>{{value}}</td></tr>"#
                }
                false => r#"<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>"#,
            };
            let value = Html::text(&shown_value(name, value));
            Html::fill(template, &[("name", &Html::text(name.as_str())), ("value", &value)])
        });
        rows.collect()
    }
}

#[cfg(test)]
#[path = "echo_page_tests.rs"]
mod tests;
