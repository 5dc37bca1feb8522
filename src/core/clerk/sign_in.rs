//! Whether whoever is signed out is sent to sign in, and with which address.

use http::Method;
use http::header::ACCEPT;

use crate::core::clerk::away::Away;
use crate::core::clerk::cookies::{DEV_BROWSER, HANDSHAKE, HANDSHAKE_NONCE, SIGN_INS};
use crate::core::clerk::handshake::Exchange;
use crate::core::clerk::public_url::{origin_of, push_parameter};
use crate::core::reject::Reject;

/// After so many times in a row nobody is sent to sign in again.
const LOOP: u32 = 3;
/// A browser that is back within so many seconds comes in a row.
const ROW: u32 = 10;

impl Exchange<'_> {
    /// Returns the way to where people sign in, for whoever asked for a page and was refused with
    /// 401 by `reject`. Nothing where that would not help: the browser may not be told to come
    /// back, or comes from there without end, or signing in changes nothing.
    ///
    /// Clerk's library sends a browser there however often; an application whose settings refuse
    /// what the sign-in page gives would never see it again.
    pub fn sign_in(&self, reject: &Reject) -> Option<Away> {
        let count = self.cookies.sign_ins;
        if !self.wants_sign_in(reject) || count >= LOOP {
            return None;
        }
        let cookie =
            format!("{SIGN_INS}={}; Path=/; SameSite=Lax; HttpOnly; Max-Age={ROW}", count + 1);
        Some(Away { location: self.sign_in_location(reject), cookies: vec![cookie] })
    }

    /// Tells whether whoever was refused by `reject` would be sent to sign in, had it not been
    /// three times in a row.
    pub fn sign_in_loops(&self, reject: &Reject) -> bool {
        self.wants_sign_in(reject) && self.cookies.sign_ins >= LOOP
    }

    fn wants_sign_in(&self, reject: &Reject) -> bool {
        let curable = !matches!(reject, Reject::HandshakeLoop(_) | Reject::CookiesRefused);
        curable && self.is_page() && self.leads_home && !self.is_sign_in()
    }

    /// Tells whether somebody is to see the answer: what Clerk's `protect()` takes for a page, and
    /// can be asked for again.
    fn is_page(&self) -> bool {
        let is_document = matches!(self.header("sec-fetch-dest"), Some("document" | "iframe"));
        let takes_html = || self.header(ACCEPT.as_str()).is_some_and(|it| it.contains("text/html"));
        matches!(*self.method, Method::GET | Method::HEAD) && (is_document || takes_html())
    }

    /// Tells whether this is the sign-in page itself, behind us and not public.
    fn is_sign_in(&self) -> bool {
        let page = page_of(&self.instance.sign_in_url);
        let own = self.url.without(&[]);
        let is_whole_site = origin_of(page).as_deref() == Some(page);
        match page_of(&own).strip_prefix(page) {
            Some("") => true,
            Some(rest) => rest.starts_with('/') && !is_whole_site,
            None => false,
        }
    }

    fn sign_in_location(&self, reject: &Reject) -> String {
        let instance = self.instance;
        let elsewhere = origin_of(&instance.sign_in_url) != origin_of(&self.url.origin);
        let mut gone = vec![HANDSHAKE, "__clerk_help", DEV_BROWSER, HANDSHAKE_NONCE];
        if elsewhere || instance.satellite.is_some() {
            gone.push("__clerk_synced");
        }
        let mut back = self.url.without(&gone);
        if instance.satellite.is_some() {
            push_parameter(&mut back, "__clerk_synced", "false");
        }
        let mut location = match reject {
            Reject::SessionPending => with_tasks(&instance.sign_in_url),
            _ => instance.sign_in_url.clone(),
        };
        push_parameter(&mut location, "redirect_url", &back);
        if let Some(browser) = self.dev_browser().filter(|_| elsewhere) {
            push_parameter(&mut location, DEV_BROWSER, &browser);
        }
        location
    }
}

/// The page where a session that is pending does what it has left to do.
fn with_tasks(sign_in: &str) -> String {
    let query = sign_in.find(['?', '#']).map_or("", |start| &sign_in[start..]);
    format!("{}/tasks{query}", page_of(sign_in))
}

/// An address without its query, and without a slash at its end.
fn page_of(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::core::clerk::cookies::ClerkCookies;
    use crate::core::clerk::handshake::Reason;
    use crate::core::clerk::instance::{Instance, Payload, Satellite};
    use crate::core::clerk::public_url::PublicUrl;
    use crate::core::clerk::publishable_key::PublishableKey;

    const SIGNED_OUT: Reject = Reject::SignedOut(Reason::SessionTokenAndUatMissing);

    fn instance(key: &str) -> Instance {
        Instance::of(&PublishableKey::parse(key).unwrap(), Payload::Token)
    }

    fn production() -> Instance {
        instance("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k")
    }

    fn development() -> Instance {
        instance("pk_test_aGFwcHktb3R0ZXItMTIuY2xlcmsuYWNjb3VudHMuZGV2JA")
    }

    fn page(target: &str) -> PublicUrl {
        let origin = "https://app.example.com".to_owned();
        PublicUrl { origin, prefix: String::new(), target: target.to_owned() }
    }

    /// Where a page of this address sends whoever is refused.
    fn location(instance: &Instance, target: &str, reject: &Reject) -> Option<String> {
        let headers = [(ACCEPT, "text/html".parse().unwrap())].into_iter().collect();
        let dev_browser = Some("dvb_1".to_owned());
        let cookies = ClerkCookies { dev_browser, ..ClerkCookies::default() };
        let url = page(target);
        let exchange = Exchange {
            instance,
            method: &Method::GET,
            headers: &headers,
            url: &url,
            leads_home: true,
            cookies: &cookies,
        };
        exchange.sign_in(reject).map(|it| it.location)
    }

    #[test]
    fn the_way_back_stands_in_the_address() {
        let back = "redirect_url=https%3A%2F%2Fapp.example.com%2Fa%3Fx%3D1";
        for (instance, target, want) in [
            (production(), "/a?x=1", format!("https://accounts.example.com/sign-in?{back}")),
            (
                production(),
                "/a?x=1&__clerk_handshake=t&__clerk_synced=true",
                format!("https://accounts.example.com/sign-in?{back}"),
            ),
            (
                development(),
                "/a?x=1",
                format!("https://happy-otter-12.accounts.dev/sign-in?{back}&__clerk_db_jwt=dvb_1"),
            ),
            (
                Instance { sign_in_url: "https://app.example.com/in?a=b".into(), ..development() },
                "/a?x=1",
                format!("https://app.example.com/in?a=b&{back}"),
            ),
            (
                Instance { satellite: Some(Satellite { auto_sync: false }), ..production() },
                "/a?x=1",
                format!("https://accounts.example.com/sign-in?{back}%26__clerk_synced%3Dfalse"),
            ),
        ] {
            assert_eq!(location(&instance, target, &SIGNED_OUT), Some(want));
        }
        let slash = "https://app.example.com/in/?a=b".to_owned();
        let slash = Instance { sign_in_url: slash, ..production() };
        let tasks = location(&slash, "/", &Reject::SessionPending).unwrap();
        assert!(tasks.starts_with("https://app.example.com/in/tasks?a=b&redirect_url="));
        let tasks = location(&production(), "/", &Reject::SessionPending).unwrap();
        assert!(tasks.starts_with("https://accounts.example.com/sign-in/tasks?redirect_url="));
    }

    #[test]
    fn the_sign_in_page_is_not_sent_to_itself() {
        for (own, target, sent) in [
            ("/sign-in?lang=en", "/sign-in", false),
            ("/sign-in?lang=en", "/sign-in?x", false),
            ("/sign-in?lang=en", "/sign-in/", false),
            ("/sign-in?lang=en", "/sign-in/factor-one", false),
            ("/sign-in?lang=en", "/sign-inside", true),
            ("/sign-in?lang=en", "/", true),
            ("/sign-in/", "/sign-in", false),
            ("", "/", false),
            ("", "/orders", true),
            ("/?lang=en", "/", false),
            ("/?lang=en", "/orders", true),
        ] {
            let sign_in_url = format!("https://app.example.com{own}");
            let instance = Instance { sign_in_url, ..production() };
            let got = location(&instance, target, &SIGNED_OUT).is_some();
            assert_eq!(got, sent, "{own} {target}");
        }
    }

    #[test]
    fn only_a_page_is_sent_and_only_where_that_helps() {
        let instance = production();
        let url = page("/");
        let html = "text/html";
        for (method, headers, home, sign_ins, reject, sent) in [
            ("GET", &[("accept", html)][..], true, 0, SIGNED_OUT, true),
            ("HEAD", &[("accept", html)], true, 0, SIGNED_OUT, true),
            ("POST", &[("accept", html)], true, 0, SIGNED_OUT, false),
            ("GET", &[("accept", "application/json, text/html;q=0.1")], true, 0, SIGNED_OUT, true),
            ("GET", &[("accept", "*/*")], true, 0, SIGNED_OUT, false),
            ("GET", &[("sec-fetch-dest", "document")], true, 0, SIGNED_OUT, true),
            ("GET", &[("sec-fetch-dest", "empty")], true, 0, SIGNED_OUT, false),
            ("GET", &[], true, 0, SIGNED_OUT, false),
            ("GET", &[("accept", html)], false, 0, SIGNED_OUT, false),
            ("GET", &[("accept", html)], true, 2, SIGNED_OUT, true),
            ("GET", &[("accept", html)], true, 3, SIGNED_OUT, false),
            ("GET", &[("accept", html)], true, 0, Reject::SignatureInvalid, true),
            ("GET", &[("accept", html)], true, 0, Reject::CookiesRefused, false),
            (
                "GET",
                &[("accept", html)],
                true,
                0,
                Reject::HandshakeLoop(Reason::SessionTokenExpired),
                false,
            ),
        ] {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
                })
                .collect();
            let cookies = ClerkCookies { sign_ins, ..ClerkCookies::default() };
            let exchange = Exchange {
                instance: &instance,
                method: &method.parse().unwrap(),
                headers: &headers,
                url: &url,
                leads_home: home,
                cookies: &cookies,
            };
            let got = exchange.sign_in(&reject);
            assert_eq!(got.is_some(), sent, "{method} {headers:?} {home} {sign_ins} {reject:?}");
            let counted =
                got.is_none_or(|it| it.cookies[0].contains(&format!("={};", sign_ins + 1)));
            assert!(counted);
        }
    }
}
