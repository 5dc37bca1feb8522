//! The address a browser has for a page, put together as text.
//!
//! Never resolved as a reference: the path `//evil.com/a` is a path on our own host, not another
//! host, however a URL library would read it.

use std::borrow::Cow;
use std::fmt::{self, Write};

use crate::core::origin::Scheme;
use crate::core::path::Authority;

/// A page's address as the browser knows it.
#[derive(Clone, Eq, PartialEq)]
pub struct PublicUrl {
    /// Scheme, host and port.
    pub origin: String,
    /// What a proxy before us takes off the path; mostly nothing.
    pub prefix: String,
    /// Path and query, as they reach us.
    pub target: String,
}

/// Says where, without the query: Clerk puts secrets in there.
impl fmt::Debug for PublicUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicUrl({}{}{})", self.origin, self.prefix, self.path())
    }
}

impl PublicUrl {
    /// Returns the path as it reaches us.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Returns a query parameter: the first of its name, decoded as forms are.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs =
            self.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .find(|(own, _)| form_decoded(own) == name)
            .map(|(_, value)| form_decoded(value).into_owned())
    }

    /// Returns the address without these query parameters; the rest stays as it was written.
    pub fn without(&self, names: &[&str]) -> String {
        let Self { origin, prefix, target } = self;
        let Some(query) = self.query() else { return format!("{origin}{prefix}{target}") };
        let is_kept = |pair: &&str| {
            let name = form_decoded(pair.split('=').next().unwrap_or_default());
            !names.contains(&&*name)
        };
        let kept: Vec<_> = query.split('&').filter(is_kept).collect();
        let separator = if kept.is_empty() { "" } else { "?" };
        format!("{origin}{prefix}{}{separator}{}", self.path(), kept.join("&"))
    }
}

/// Undoes the encoding of forms (WHATWG URL, `application/x-www-form-urlencoded`).
pub fn form_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digit = |at: usize| rest.get(at).and_then(|it| char::from(*it).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'+', ..) => octets.push(b' '),
            (b'%', Some(high), Some(low)) => {
                octets.push((high << 4 | low) as u8);
                rest = &rest[2..];
            }
            _ => octets.push(*first),
        }
    }
    String::from_utf8_lossy(&octets).into_owned().into()
}

/// Adds a query parameter in the encoding of forms, as `URLSearchParams` writes it.
pub fn push_parameter(address: &mut String, name: &str, value: &str) {
    address.push(if address.contains('?') { '&' } else { '?' });
    for (text, end) in [(name, "="), (value, "")] {
        for byte in text.bytes() {
            match byte {
                b'*' | b'-' | b'.' | b'_' => address.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => address.push(char::from(byte)),
                b' ' => address.push('+'),
                byte => {
                    let _ = write!(address, "%{byte:02X}"); // writing to a String does not fail
                }
            }
        }
        address.push_str(end);
    }
}

/// Returns the origin of an absolute http address: scheme, host and port, written in one way only;
/// nothing where it is none, or where what stands for its port is no number.
pub fn origin_of(address: &str) -> Option<String> {
    let uri: http::Uri = address.trim().parse().ok()?;
    let scheme = Scheme::parse(&uri.scheme_str()?.to_ascii_lowercase())?;
    let host = uri.authority()?.as_str().rsplit('@').next()?; // without the name of a user
    let authority = Authority::under(scheme, host).ok()?;
    Some(format!("{}://{}", scheme.as_str(), authority.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(target: &str) -> PublicUrl {
        PublicUrl {
            origin: "https://app.example.com".into(),
            prefix: String::new(),
            target: target.into(),
        }
    }

    #[test]
    fn what_is_taken_off_on_the_way_to_us_is_put_before_again() {
        let page = PublicUrl { prefix: "/app".into(), ..url("/a?x=1") };
        assert_eq!(page.path(), "/a");
        assert_eq!(page.without(&[]), "https://app.example.com/app/a?x=1");
        assert_eq!(page.without(&["x"]), "https://app.example.com/app/a");
    }

    #[test]
    fn a_path_stays_a_path() {
        for (target, want) in [
            ("//evil.com/a", "https://app.example.com//evil.com/a"),
            ("/a?b=c", "https://app.example.com/a?b=c"),
            ("/a?", "https://app.example.com/a?"),
            ("/", "https://app.example.com/"),
        ] {
            assert_eq!(url(target).without(&[]), want);
        }
    }

    #[test]
    fn parameters_are_found_and_taken_out_and_the_rest_stays_as_it_was() {
        let page = url("/a?x=1%20y&t=a+b%21&t=2&x");
        assert_eq!(page.parameter("t").as_deref(), Some("a b!"));
        assert_eq!(page.parameter("none"), None);
        assert_eq!(page.without(&["t"]), "https://app.example.com/a?x=1%20y&x");
        assert_eq!(page.without(&["t", "x"]), "https://app.example.com/a");
        assert_eq!(url("/a?%74=1&b").without(&["t"]), "https://app.example.com/a?b");
    }

    #[test]
    fn a_parameter_is_written_as_a_browser_writes_it() {
        let mut address = "https://a.com/x".to_owned();
        push_parameter(&mut address, "redirect_url", "https://b.com/c d?e=f&g=~*ü");
        push_parameter(&mut address, "n", "");
        let want =
            "https://a.com/x?redirect_url=https%3A%2F%2Fb.com%2Fc+d%3Fe%3Df%26g%3D%7E*%C3%BC&n=";
        assert_eq!(address, want);
    }

    #[test]
    fn an_origin_is_written_in_one_way() {
        for (address, want) in [
            ("https://A.com/x?y", Some("https://a.com")),
            ("https://a.com:443", Some("https://a.com")),
            ("http://a.com:443/", Some("http://a.com:443")),
            ("http://a.com:80", Some("http://a.com")),
            ("https://user@a.com/", Some("https://a.com")),
            ("https://a.com:8443.evil.com/", None),
            ("https://a.com:x", None),
            ("ftp://a.com/", None),
            ("nota url", None),
            ("/a", None),
            ("", None),
        ] {
            assert_eq!(origin_of(address).as_deref(), want, "{address}");
        }
    }
}
