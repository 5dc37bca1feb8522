//! Where the development issuer sends a browser: back to this machine, and nowhere else.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::core::clerk::cookies::{DEV_BROWSER, HANDSHAKE, HANDSHAKE_NONCE};
use crate::core::clerk::public_url::{PublicUrl, push_parameter};

/// An http address whose host is the loopback interface.
///
/// It is read so narrowly that no browser can read it otherwise: what stands before the path is a
/// host and a port, in the spelling they have on this machine. All of it is printable ASCII, and so
/// good for a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LocalUrl {
    url: PublicUrl,
    /// With its `#`, or empty.
    fragment: String,
}

impl LocalUrl {
    /// Reads an address; nothing where it is not of this machine.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        if !matches!(scheme, "http" | "https") || !is_loopback(authority) {
            return None;
        }
        let after = &rest[authority.len()..];
        let (target, fragment) = after.split_at(after.find('#').unwrap_or(after.len()));
        let slash = if target.starts_with('/') { "" } else { "/" };
        let url = PublicUrl {
            prefix: String::new(),
            origin: format!("{scheme}://{authority}"),
            target: format!("{slash}{target}"),
        };
        Some(Self { url, fragment: fragment.to_owned() })
    }

    /// Returns the host and its port.
    pub(super) fn host(&self) -> &str {
        self.url.origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// Returns the address with one of Clerk's parameters, in the place of any that it had.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let mut url = self.url.without(&[DEV_BROWSER, HANDSHAKE, HANDSHAKE_NONCE]);
        push_parameter(&mut url, name, value);
        url + &self.fragment
    }
}

impl fmt::Display for LocalUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{}", self.url.origin, self.url.target, self.fragment)
    }
}

/// Tells whether a host, with or without a port, is the loopback interface.
fn is_loopback(authority: &str) -> bool {
    let name_ends = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(0, |at| at + 2),
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, port) = authority.split_at(name_ends);
    let is_port = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse().is_ok_and(|port: u16| port > 0)
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(name) => name.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_this_machine_is_one() {
        for (text, want) in [
            ("http://127.0.0.1:4000/a?b=c#d", Some("http://127.0.0.1:4000/a?b=c#d")),
            ("http://127.8.9.1", Some("http://127.8.9.1/")),
            ("https://localhost/", Some("https://localhost/")),
            ("http://LOCALHOST:1?a", Some("http://LOCALHOST:1/?a")),
            ("http://[::1]:3000/", Some("http://[::1]:3000/")),
            ("http://[0:0:0:0:0:0:0:1]#x", Some("http://[0:0:0:0:0:0:0:1]/#x")),
            ("http://127.0.0.1//evil.example/", Some("http://127.0.0.1//evil.example/")),
            ("http://127.0.0.1/@evil.example", Some("http://127.0.0.1/@evil.example")),
            ("", None),
            ("/", None),
            ("//localhost/", None),
            ("localhost", None),
            ("http:localhost", None),
            ("http:///localhost", None),
            ("http://", None),
            ("HTTP://localhost/", None),
            (" http://localhost/", None),
            ("ftp://localhost/", None),
            ("javascript://localhost/%0aalert(1)", None),
            ("javascript:alert(1)//http://localhost", None),
            ("http://evil.example/", None),
            ("http://evil.example:80/?http://localhost", None),
            ("http://localhost.evil.example/", None),
            ("http://127.0.0.1.evil.example/", None),
            ("http://localhost@evil.example/", None),
            ("http://evil.example@localhost/", None),
            ("http://localhost:80@evil.example/", None),
            ("http://evil.example\\@localhost/", None),
            ("http://localhost\\.evil.example/", None),
            ("http://evil.example#@localhost/", None),
            ("http://localhost:/", None),
            ("http://localhost:0/", None),
            ("http://localhost:+80/", None),
            ("http://localhost:65536/", None),
            ("http://localhost:80:80/", None),
            ("http://localhost./", None),
            ("http://127.1/", None),
            ("http://0177.0.0.1/", None),
            ("http://0.0.0.0/", None),
            ("http://10.0.0.1/", None),
            ("http://[::2]/", None),
            ("http://[::1/", None),
            ("http://[::1]evil.example/", None),
            ("http://localhost/\r\nSet-Cookie: a=b", None),
            ("http://local\thost/", None),
            ("http://localhost/\u{e9}", None),
            ("http://lo\u{441}alhost/", None),
        ] {
            let got = LocalUrl::parse(text).map(|url| url.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn clerks_parameter_comes_once_and_before_the_fragment() {
        for (text, want) in [
            ("http://localhost/", "http://localhost/?__clerk_db_jwt=x%26y"),
            ("http://localhost/a?b=%2f#c", "http://localhost/a?b=%2f&__clerk_db_jwt=x%26y#c"),
            (
                "http://localhost/?__clerk_db_jwt=1&__clerk%5fhandshake=2&__clerk_handshake_nonce=3&a",
                "http://localhost/?a&__clerk_db_jwt=x%26y",
            ),
        ] {
            assert_eq!(LocalUrl::parse(text).unwrap().with(DEV_BROWSER, "x&y"), want, "{text}");
        }
    }
}
