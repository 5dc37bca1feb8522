//! What works and leaves a hole, or is not what may be meant: where several sections meet.

use http::Method;

use crate::core::access::{Access, Mode, Rule};
use crate::core::claims::AzpPolicy;
use crate::core::path::{Authority, CanonicalPath, PathPolicy};
use crate::core::route::Routes;
use crate::listen::ListenAddress;
use crate::proxy::{BrowserSettings, Cookies, TrustedProxies};

use super::address::PublicAddress;
use super::clerk::Clerk;
use super::error::Origin;
use super::hosts::Hosts;
use super::listen::is_local;
use super::reader::Reader;
use super::routes::Paths;

/// What the sections say, each for itself.
pub(super) struct Whole<'a> {
    pub(super) listen: &'a [ListenAddress],
    pub(super) has_tls: bool,
    pub(super) trusted_proxies: &'a TrustedProxies,
    pub(super) public: Option<&'a PublicAddress>,
    pub(super) hosts: &'a Hosts,
    pub(super) clerk: &'a Clerk,
    pub(super) browsers: Option<&'a BrowserSettings>,
    pub(super) paths: &'a Paths,
}

/// Warns of each.
pub(super) fn warn(reader: &mut Reader<'_>, whole: &Whole<'_>) {
    // What was written and is no good is told as such.
    if !reader.is_written("public_url") && !reader.is_written("clerk.authorized_parties") {
        of_parties(reader, whole);
    }
    let Some(browsers) = whole.browsers else { return };
    of_port(reader, whole);
    if !reader.is_written("public_url") {
        of_public_url(reader, whole, browsers);
    }
    if browsers.cookies == Cookies::Accepted {
        of_signed_in_pages(reader, whole, browsers);
    }
    of_own_pages(reader, whole, browsers);
}

/// What has Clerk sign somebody in whom we then turn away, or sends them over the network in the
/// clear.
fn of_signed_in_pages(reader: &mut Reader<'_>, whole: &Whole<'_>, browsers: &BrowserSettings) {
    if whole.clerk.azp == AzpPolicy::Enforce {
        reader.warn(
            "clerk.azp",
            "`enforce`: a token that comes with a handshake names no party, so pages are not signed in for longer than a minute; write `auto`, or leave cookies alone (`access = \"public\"`)",
        );
    }
    let is_live = !browsers.instance.is_development();
    let public = browsers.origins.public.as_ref();
    if is_live && public.is_some_and(|public| public.starts_with("http://")) {
        let text = "`http`: sessions of a production instance, and browsers that are sent back, go over the network in the clear; write `https://…`";
        reader.warn("public_url", text);
    }
}

/// Without a party to hold a token against, those of every application of the instance are good.
fn of_parties(reader: &mut Reader<'_>, whole: &Whole<'_>) {
    const PARTIES: &str = "clerk.authorized_parties";
    match (whole.clerk.azp, whole.browsers.map(|browsers| browsers.cookies)) {
        (AzpPolicy::Auto, _) if !whole.clerk.has_instance => {}
        (AzpPolicy::Auto, Some(Cookies::Refused)) => reader.warn(
            PARTIES,
            "not set: session cookies are not accepted without it or `public_url`, and a bearer token that was given to any application of the instance is good; name the origins of yours",
        ),
        (AzpPolicy::Auto, Some(Cookies::Accepted) | None) => reader.warn(
            PARTIES,
            "not set: a token that was given to any application of the instance is good here; name the origins of yours",
        ),
        (AzpPolicy::Off, Some(Cookies::Accepted)) => reader.warn(
            "clerk.azp",
            "`off`, without authorized parties: a page of a sibling domain can put its own session into a user's cookies; write `auto`, and name your origins in `clerk.authorized_parties`",
        ),
        // The first is a mistake, which was noted.
        (AzpPolicy::Enforce, _) | (AzpPolicy::Off, Some(Cookies::Refused) | None) => {}
    }
}

/// On one's own machine browsers reach us where we listen. Not so in a container, where that is every
/// address, and whose port is another outside; but for a `PORT` that was given to us here.
fn of_port(reader: &mut Reader<'_>, whole: &Whole<'_>) {
    let Some(public) = whole.public else { return };
    let Some(port) = local_port(&public.origin) else { return };
    let is_given = reader.origin("listen") == Origin::Environment("PORT".to_owned());
    let is_here = is_given || whole.listen.iter().all(is_local);
    let ports: Vec<_> = whole.listen.iter().filter_map(ListenAddress::tcp).collect();
    let is_behind = !whole.trusted_proxies.0.is_empty();
    let is_reached = ports.is_empty() || ports.iter().any(|address| address.port() == port);
    if !is_here || is_behind || is_reached {
        return;
    }
    let refused = match reader.is_written("clerk.authorized_parties") {
        true => "",
        false => ", and a token of a page at a port of ours is refused",
    };
    let text = format!(
        "`{}`: nothing here listens on that port: browsers are sent there from signing in{refused}; write that of `listen`, or the proxy that listens there into `trusted_proxies`",
        public.origin
    );
    reader.warn("public_url", text);
}

/// Returns the port of an address of this machine, in the clear.
fn local_port(origin: &str) -> Option<u16> {
    let hosts = ["http://localhost", "http://127.0.0.1", "http://[::1]"];
    let port = hosts.iter().find_map(|host| origin.strip_prefix(host))?;
    if port.is_empty() { Some(80) } else { port.strip_prefix(':')?.parse().ok() }
}

/// Where nothing says what browsers call this host, its requests do.
fn of_public_url(reader: &mut Reader<'_>, whole: &Whole<'_>, browsers: &BrowserSettings) {
    const RIGHT: &str = "write what they call this host, like `https://app.example.com`";
    let origins = &browsers.origins;
    let is_reached = !whole.listen.iter().all(is_local);
    let is_live = !browsers.instance.is_development();
    let in_the_clear =
        is_reached && is_live && !whole.has_tls && whole.trusted_proxies.0.is_empty();
    let text = match (origins.parties.is_empty() && origins.satellite.is_none(), in_the_clear) {
        (true, false) => format!(
            "not set, nor is `clerk.authorized_parties`: browsers are sent to sign in, and back to whichever host a request names; {RIGHT}"
        ),
        (true, true) => format!(
            "not set, nor are `clerk.authorized_parties` and `trusted_proxies`: browsers are sent to sign in, and back to whichever host a request names, at `http://…` where a proxy before this one ends TLS; {RIGHT}"
        ),
        (false, true) => format!(
            "not set, nor is `trusted_proxies`: where a proxy before this one ends TLS, browsers are sent back to `http://…`, unless their host is an authorized party's; {RIGHT}, or the networks of that proxy"
        ),
        (false, false) => return,
    };
    reader.warn("public_url", text);
}

/// Pages that everybody must reach are no use behind a route that asks who is there.
fn of_own_pages(reader: &mut Reader<'_>, whole: &Whole<'_>, browsers: &BrowserSettings) {
    let policy = whole.paths.policy;
    let find = |address: &str| {
        let path = path_here(address, whole.public?)?;
        let rule = rule_of(&whole.paths.routes, policy, whole.public?, path)?;
        Some((path.to_owned(), rule))
    };
    let sign_in = reader.is_written("clerk.sign_in_url");
    let sign_in = sign_in.then(|| find(&browsers.instance.sign_in_url)).flatten();
    if let Some((path, Rule { access: Access::Required(_), mode: Mode::Enforce, .. })) = sign_in {
        let pattern = if path.is_empty() { "/".to_owned() } else { format!("{path}/**") };
        let text = format!(
            "is behind this proxy, and the route there asks who is signed in: nobody gets to sign in; write a [[route]] for `{pattern}` with `access = \"public\"`"
        );
        reader.warn("clerk.sign_in_url", text);
    }
    let Some(proxy) = whole.hosts.proxy() else { return };
    let handshake = find(&format!("{proxy}/v1/client/handshake"));
    if let Some((path, Rule { access: Access::Required(_) | Access::Optional, .. })) = handshake {
        let path = path.trim_end_matches("/v1/client/handshake");
        let text = format!(
            "is behind this proxy, which asks there who calls: no browser gets through to sign in; write a [[route]] for `{path}/**` with `access = \"public\"`"
        );
        reader.warn("clerk.proxy_url", text);
    }
}

/// Returns the path under which an address reaches us; nothing where it does not.
fn path_here<'a>(address: &'a str, public: &PublicAddress) -> Option<&'a str> {
    let rest = address.strip_prefix(&*public.origin)?;
    let path = rest.split(['?', '#']).next()?.trim_end_matches('/');
    let below = path.strip_prefix(&*public.prefix)?;
    (below.is_empty() || below.starts_with('/')).then_some(below)
}

/// Finds what is asked where a browser opens the page at `path`.
fn rule_of<'a>(
    routes: &'a Routes,
    policy: PathPolicy,
    public: &PublicAddress,
    path: &str,
) -> Option<&'a Rule> {
    let (_, host) = public.origin.split_once("://")?;
    let path = if path.is_empty() { "/" } else { path };
    let path = CanonicalPath::parse(path, policy).ok()?;
    Some(routes.find(&Method::GET, &Authority::parse(host).ok()?, &path).rule)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{bare_warnings, warnings, warnings_at};

    const TEST: &str = "clerk.publishable_key = \"pk_test_Y2xlcmsuY2xlcmsuZGV2JA\"\n";
    const PARTY: &str = "clerk.authorized_parties = [\"https://a.com\"]\n";

    /// Holds what is said under a key against what is wanted: the beginning of its one sentence.
    fn expect(text: &str, key: &str, want: Option<&str>) {
        let all = warnings(text);
        let start = format!("{key}: ");
        let got: Vec<_> = all.iter().filter_map(|got| got.strip_prefix(&start)).collect();
        assert_eq!(got.len(), usize::from(want.is_some()), "{text}: {all:?}");
        assert!(want.is_none_or(|want| got[0].starts_with(want)), "{text}: {all:?}");
    }

    #[test]
    fn what_no_party_is_held_against_is_told() {
        const PARTIES: &str = "clerk.authorized_parties";
        let off = "clerk.azp = \"off\"\n";
        let refused = "not set: session cookies are not accepted without it or `public_url`";
        for (text, key, want) in [
            ("", PARTIES, Some(refused)),
            (TEST, PARTIES, Some("not set: a token that was given to any application")),
            (PARTY, PARTIES, None),
            ("public_url = \"https://a.com\"", PARTIES, None),
            (off, PARTIES, None),
            (off, "clerk.azp", Some("`off`, without authorized parties")),
            (&format!("{TEST}{off}"), "clerk.azp", Some("`off`, without authorized parties")),
            (&format!("{PARTY}{off}"), "clerk.azp", None),
            (&format!("public_url = \"https://a.com\"\n{off}"), "clerk.azp", None),
        ] {
            expect(text, key, want);
        }
        let other = "clerk.issuer = [\"https://a.com\"]\nclerk.jwks_url = \"https://a.com/k\"";
        let got = bare_warnings(other);
        assert!(got.len() == 1 && got[0].contains("to any application"), "{got:?}");
        assert_eq!(bare_warnings(&format!("{off}{other}")), [""; 0]);
    }

    #[test]
    fn settings_that_turn_away_whom_clerk_has_signed_in_are_told() {
        let a = "public_url = \"https://a.com\"\n";
        let enforce = "clerk.azp = \"enforce\"\n";
        for (text, key, want) in [
            (format!("{a}{enforce}"), "clerk.azp", Some("`enforce`: a token that comes with")),
            (a.to_owned(), "clerk.azp", None),
            ("public_url = \"http://a.com\"".to_owned(), "public_url", Some("`http`: sessions")),
            (a.to_owned(), "public_url", None),
            (format!("{TEST}public_url = \"http://a.com\""), "public_url", None),
        ] {
            expect(&text, key, want);
        }
    }

    #[test]
    fn where_browsers_are_sent_back_to_is_told_unless_something_says_it() {
        let any = Some("not set, nor is `clerk.authorized_parties`: browsers are sent to sign in");
        let both =
            Some("not set, nor are `clerk.authorized_parties` and `trusted_proxies`: browsers");
        let http = Some("not set, nor is `trusted_proxies`: where a proxy before this one");
        let open = "listen = \"[::]:4600\"\n";
        for (text, want) in [
            ("", any),
            (TEST, any),
            (open, both),
            (&format!("{open}{TEST}"), any),
            ("trusted_proxies = [\"private\"]", any),
            ("public_url = \"https://a.com\"", None),
            ("clerk.satellite.domain = \"sat.com\"", None),
            (PARTY, None),
            (&format!("{open}{PARTY}"), http),
            (&format!("listen = [\"127.0.0.1:1\", \"[::]:2\"]\n{PARTY}"), http),
            (&format!("listen = \"unix:/a\"\n{PARTY}"), None),
            (&format!("{open}{TEST}{PARTY}"), None),
            (&format!("{open}{PARTY}trusted_proxies = [\"private\"]"), None),
            (&format!("{open}{PARTY}public_url = \"https://a.com\""), None),
        ] {
            expect(text, "public_url", want);
        }
    }

    #[test]
    fn an_address_of_this_machine_where_nothing_listens_is_told() {
        let told = Some("`http://localhost:5000`: nothing here listens on that port");
        let at = |listen: &str| format!("public_url = \"http://localhost:5000\"\n{listen}\n");
        for (text, want) in [
            (at(""), told),
            (at("listen = \"127.0.0.1:5000\""), None),
            (at("listen = [\"127.0.0.1:1\", \"[::1]:5000\"]"), None),
            (at("listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]"), told),
            // Behind something else, or in a container.
            (at("trusted_proxies = [\"127.0.0.1/32\"]"), None),
            (at("listen = \"[::]:4600\""), None),
            (at("listen = \"unix:/a\""), None),
            ("public_url = \"https://localhost:5000\"".to_owned(), None),
            ("public_url = \"http://localhost.a.com:5000\"".to_owned(), None),
            ("public_url = \"http://localhost:4600\"".to_owned(), None),
        ] {
            expect(&format!("{TEST}{text}"), "public_url", want);
        }
        let party = format!("{TEST}{}{PARTY}", at(""));
        assert!(!warnings(&party).iter().any(|it| it.contains("is refused")), "{party}");
        let given = warnings_at("5000", &format!("{TEST}{}", at("")));
        assert!(!given.iter().any(|it| it.starts_with("public_url")), "{given:?}");
        let other = warnings_at("5001", &format!("{TEST}{}", at("")));
        assert!(other.iter().any(|it| it.starts_with("public_url: `http://")), "{other:?}");
    }

    #[test]
    fn a_sign_in_page_that_asks_who_is_there_is_told() {
        let told = Some("is behind this proxy, and the route there asks who is signed in");
        let route = |path: &str, more: &str| format!("[[route]]\npath = \"{path}\"\n{more}\n");
        let (public, optional) = ("access = \"public\"", "access = \"optional\"");
        for (at, url, routes, want) in [
            ("https://a.com", "/sign-in", String::new(), told),
            ("https://a.com", "https://a.com/sign-in/?x", String::new(), told),
            ("https://a.com", "https://a.com", String::new(), told),
            ("https://a.com", "https://b.com/sign-in", String::new(), None),
            ("https://a.com", "https://a.com.b.com/sign-in", String::new(), None),
            ("https://a.com", "/sign-in", route("/sign-in/**", public), None),
            ("https://a.com", "/sign-in", route("/**", optional), None),
            ("https://a.com", "/sign-in", route("/sign-in", "mode = \"report\""), None),
            ("https://a.com", "/sign-in", route("/other", public), told),
            (
                "https://a.com",
                "/sign-in",
                format!("{}{}", route("/*", ""), route("/sign-in", public)),
                told,
            ),
            (
                "https://a.com",
                "/sign-in",
                route("/sign-in", "access = \"public\"\nmethods = [\"POST\"]"),
                told,
            ),
            (
                "https://a.com",
                "/sign-in",
                route("/sign-in", "access = \"public\"\nhost = \"b.com\""),
                told,
            ),
            ("https://a.com/app", "/sign-in", String::new(), None),
            ("https://a.com/app", "/app/sign-in", String::new(), told),
            ("https://a.com/app", "/app/sign-in", route("/sign-in", public), None),
            ("https://a.com/app", "/apple/sign-in", String::new(), None),
        ] {
            let text = format!("public_url = \"{at}\"\nclerk.sign_in_url = \"{url}\"\n{routes}");
            expect(&text, "clerk.sign_in_url", want);
        }
        for (path, pattern) in [("/in", "`/in/**`"), ("/", "`/`")] {
            let text = format!("public_url = \"https://a.com\"\nclerk.sign_in_url = \"{path}\"");
            assert!(warnings(&text)[0].contains(&format!("a [[route]] for {pattern} with")));
        }
    }

    #[test]
    fn a_frontend_api_that_asks_who_is_there_is_told() {
        let told = Some("is behind this proxy, which asks there who calls");
        let route =
            |access: &str| format!("[[route]]\npath = \"/__clerk/**\"\naccess = \"{access}\"\n");
        for (url, routes, want) in [
            ("/__clerk", String::new(), told),
            ("/__clerk", route("optional"), told),
            ("/__clerk", route("public"), None),
            ("https://b.com/__clerk", String::new(), None),
        ] {
            let text =
                format!("public_url = \"https://a.com\"\nclerk.proxy_url = \"{url}\"\n{routes}");
            expect(&text, "clerk.proxy_url", want);
        }
        let text = "public_url = \"https://a.com\"\nclerk.proxy_url = \"/__clerk\"";
        assert!(warnings(text)[0].contains("a [[route]] for `/__clerk/**` with"));
    }
}
