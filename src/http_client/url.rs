//! Addresses that may be fetched.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

use super::error::BadRedirect;

/// An address that may be fetched: `https`, or `http` to this machine.
///
/// Plain `http` goes to `127.0.0.0/8`, `[::1]` or `localhost` and nowhere else: what is fetched
/// decides who is let in, and must not pass anyone who could change it. The scheme, the host and
/// the port are kept as RFC 3986 §6.2 normalises them. `Display` and `Debug` leave the query out.
#[derive(Clone, Eq, PartialEq)]
pub struct FetchUrl {
    uri: Uri,
    origin: String,
    endpoint: Endpoint,
}

/// A text that is no [`FetchUrl`]. The sentence does not quote it: it may hold a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadUrl {
    /// It cannot be read as an absolute URL.
    #[error("not a URL; write one like `https://issuer.example/path`, in ASCII")]
    Malformed,
    /// It is of another scheme.
    #[error("neither `https://` nor `http://`")]
    Scheme,
    /// It carries a user or a password.
    #[error("a user or password in a URL ends up in logs; take out what stands before the `@`")]
    Userinfo,
    /// It has a fragment.
    #[error("a fragment is never sent; take out the `#` and what follows")]
    Fragment,
    /// Its host cannot be one.
    #[error("its host is neither a DNS name nor an IP address")]
    Host,
    /// Its port cannot be one.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// It would be fetched in the clear from another machine.
    #[error("plain `http` is only for 127.0.0.0/8, [::1] and localhost; use `https`")]
    NotLoopback,
}

impl FetchUrl {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`BadUrl`] where `text` is no URL, or none that may be fetched.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadUrl::Malformed);
        }
        // `Uri` would drop it without a word.
        if text.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| BadUrl::Malformed)?;
        let endpoint = Endpoint::of(&uri)?;
        if endpoint.scheme == Scheme::Http && !endpoint.is_loopback() {
            return Err(BadUrl::NotLoopback);
        }
        let origin = endpoint.origin();
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let normal = format!("{origin}{}{query}", uri.path());
        let uri = normal.parse().map_err(|_| BadUrl::Malformed)?;
        Ok(Self { uri, origin, endpoint })
    }

    /// Returns the address of `path` below this one, without the query of this one.
    ///
    /// `https://a.example/b` with `/c` is `https://a.example/b/c`: an issuer that is a path on
    /// somebody's host keeps what it publishes below that path.
    ///
    /// # Errors
    ///
    /// [`BadUrl`] where `path` does not start with a slash or does not fit in a URL.
    pub fn join(&self, path: &str) -> Result<Self, BadUrl> {
        if !path.starts_with('/') {
            return Err(BadUrl::Malformed);
        }
        Self::parse(&format!("{}{}{path}", self.origin, self.uri.path().trim_end_matches('/')))
    }

    /// Returns where an answer of this address leads with `location`, within the same origin.
    pub(super) fn redirected(&self, location: &str) -> Result<Self, BadRedirect> {
        // `//host/path` starts with a slash too, and names another host (RFC 3986 §4.2).
        let absolute_path = location.starts_with('/') && !location.starts_with("//");
        let next = if absolute_path {
            Self::parse(&format!("{}{location}", self.origin))
        } else {
            Self::parse(location)
        };
        match next {
            Ok(next) if next.origin == self.origin => Ok(next),
            Ok(_) => Err(BadRedirect::Origin),
            Err(_) => Err(BadRedirect::Location),
        }
    }

    /// Returns the whole address.
    pub fn as_uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns scheme, host and port, as in `https://issuer.example` or `http://[::1]:8080`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the request target: path and query (RFC 9112 §3.2.1).
    pub(super) fn origin_form(&self) -> Uri {
        self.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from)
    }

    /// Returns the `Host` header.
    pub(super) fn host(&self) -> HeaderValue {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        HeaderValue::from_str(authority).expect("a host and a port are printable ASCII")
    }

    /// Returns where to connect to.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl fmt::Display for FetchUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = if self.uri.query().is_some() { "?…" } else { "" };
        write!(out, "{}{}{query}", self.origin, self.uri.path())
    }
}

impl fmt::Debug for FetchUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FetchUrl({self})")
    }
}

/// Where a connection goes, and whether TLS is spoken there: a server or a proxy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint {
    pub(super) scheme: Scheme,
    pub(super) name: ServerName<'static>,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Endpoint {
    /// Reads scheme, host and port of an absolute URL that carries no credentials.
    pub(super) fn of(uri: &Uri) -> Result<Self, BadUrl> {
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) => return Err(BadUrl::Scheme),
            None => return Err(BadUrl::Malformed),
        };
        let authority = uri.authority().ok_or(BadUrl::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(BadUrl::Userinfo);
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => scheme.default_port(),
            rest => rest.and_then(port_after_colon).ok_or(BadUrl::Port)?,
        };
        Ok(Self { scheme, name: host_name(host).ok_or(BadUrl::Host)?, port })
    }

    /// Says whether this is this machine, as far as the name tells.
    pub(super) fn is_loopback(&self) -> bool {
        match &self.name {
            ServerName::IpAddress(ip) => IpAddr::from(*ip).is_loopback(),
            name => name.to_str() == "localhost",
        }
    }

    /// Returns host and port, as `CONNECT` names them (RFC 9112 §3.2.3).
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn origin(&self) -> String {
        match self.scheme {
            Scheme::Http if self.port == 80 => format!("http://{}", self.bracketed()),
            Scheme::Https if self.port == 443 => format!("https://{}", self.bracketed()),
            Scheme::Http => format!("http://{}", self.authority()),
            Scheme::Https => format!("https://{}", self.authority()),
        }
    }

    fn bracketed(&self) -> String {
        match &self.name {
            ServerName::IpAddress(ip) => match IpAddr::from(*ip) {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            },
            name => name.to_str().into_owned(),
        }
    }
}

impl Scheme {
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Reads the name a certificate would have to be for.
fn host_name(host: &str) -> Option<ServerName<'static>> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => Some(IpAddr::from(ip.parse::<Ipv6Addr>().ok()?).into()),
        None => ServerName::try_from(host.to_ascii_lowercase()).ok(),
    }
}

fn port_after_colon(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(':')?;
    // `parse` alone would take `+80`.
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| all_digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_or_http_on_this_machine() {
        for (text, normal, origin) in [
            ("https://a.example", "https://a.example/", "https://a.example"),
            ("HTTPS://A.Example:443/P", "https://a.example/P", "https://a.example"),
            (
                "https://a.example:8443/p?q=1",
                "https://a.example:8443/p?q=1",
                "https://a.example:8443",
            ),
            ("https://a.example?q", "https://a.example/?q", "https://a.example"),
            ("https://10.0.0.1/", "https://10.0.0.1/", "https://10.0.0.1"),
            ("https://[2001:DB8:0::1]/", "https://[2001:db8::1]/", "https://[2001:db8::1]"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://127.255.0.9:80", "http://127.255.0.9/", "http://127.255.0.9"),
            ("http://[::1]:8080/", "http://[::1]:8080/", "http://[::1]:8080"),
            ("http://LocalHost/", "http://localhost/", "http://localhost"),
        ] {
            let url = FetchUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((&*url.as_uri().to_string(), url.origin()), (normal, origin), "{text}");
        }
    }

    #[test]
    fn every_other_text_earns_a_sentence_that_does_not_quote_it() {
        for (text, want) in [
            ("", BadUrl::Malformed),
            ("a.example", BadUrl::Malformed),
            ("/path", BadUrl::Malformed),
            ("//a.example/", BadUrl::Malformed),
            ("https:///path", BadUrl::Malformed),
            ("https://a.example/a b", BadUrl::Malformed),
            ("https://a.example/ä", BadUrl::Malformed),
            ("https://a.example\\@b.example/", BadUrl::Malformed),
            ("ftp://a.example/", BadUrl::Scheme),
            ("file:///etc/passwd", BadUrl::Malformed),
            ("https://secret@a.example/", BadUrl::Userinfo),
            ("http://127.0.0.1:secret@a.example/", BadUrl::Userinfo),
            ("https://a.example/#", BadUrl::Fragment),
            ("https://a.example/p#f", BadUrl::Fragment),
            ("https://a.example:/", BadUrl::Port),
            ("https://a.example:0/", BadUrl::Port),
            ("https://a.example:+80/", BadUrl::Port),
            ("https://a.example:65536/", BadUrl::Port),
            ("https://a..example/", BadUrl::Host),
            ("https://a,b/", BadUrl::Host),
            ("https://127.1/", BadUrl::Host),
            ("https://0x7f.0.0.1/", BadUrl::Host),
            ("https://[127.0.0.1]/", BadUrl::Host),
            ("http://a.example/", BadUrl::NotLoopback),
            ("http://10.0.0.1/", BadUrl::NotLoopback),
            ("http://0.0.0.0/", BadUrl::NotLoopback),
            ("http://[::ffff:127.0.0.1]/", BadUrl::NotLoopback),
            ("http://127.0.0.1.example/", BadUrl::NotLoopback),
            ("http://localhost.example/", BadUrl::NotLoopback),
            ("http://a.localhost/", BadUrl::NotLoopback),
        ] {
            let got = FetchUrl::parse(text);
            assert_eq!(got, Err(want), "{text:?}");
            assert!(!want.to_string().contains("secret"), "{text:?}");
        }
    }

    #[test]
    fn a_path_is_joined_below_the_one_there_is() {
        for (base, path, want) in [
            ("https://a.example", "/c", Some("https://a.example/c")),
            ("https://a.example/b", "/c?d=1", Some("https://a.example/b/c?d=1")),
            ("https://a.example/b/?q", "/c", Some("https://a.example/b/c")),
            ("https://a.example/b", "c", None),
            ("https://a.example", "@b.example/", None),
            ("https://a.example", "/c#d", None),
        ] {
            let joined = FetchUrl::parse(base).unwrap().join(path).ok();
            let joined = joined.map(|url| url.as_uri().to_string());
            assert_eq!(joined.as_deref(), want, "{base} {path}");
        }
    }

    #[test]
    fn a_redirect_stays_within_scheme_host_and_port() {
        let url = FetchUrl::parse("https://a.example/p?q=1").unwrap();
        for (location, want) in [
            ("/r?s=1", Ok("https://a.example/r?s=1")),
            ("https://A.example:443/r", Ok("https://a.example/r")),
            ("http://a.example/r", Err(BadRedirect::Location)),
            ("http://127.0.0.1/r", Err(BadRedirect::Origin)),
            ("https://a.example:8443/r", Err(BadRedirect::Origin)),
            ("https://b.example/r", Err(BadRedirect::Origin)),
            ("https://a.example@b.example/", Err(BadRedirect::Location)),
            ("//b.example/r", Err(BadRedirect::Location)),
            ("/\\b.example/r", Ok("https://a.example/\\b.example/r")), // a browser's trap, not ours
            ("r", Err(BadRedirect::Location)),
            ("", Err(BadRedirect::Location)),
        ] {
            let next = url.redirected(location).map(|url| url.as_uri().to_string());
            assert_eq!(next.as_deref().map_err(|error| *error), want, "{location:?}");
        }
    }

    #[test]
    fn an_address_prints_without_its_query() {
        let url = FetchUrl::parse("https://a.example/p?key=secret").unwrap();
        let (display, debug) = (format!("{url}"), format!("{url:?}"));
        assert_eq!(display, "https://a.example/p?…");
        assert_eq!(debug, "FetchUrl(https://a.example/p?…)");
    }
}
