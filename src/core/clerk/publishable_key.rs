//! The publishable key: one value, not secret, that names a Clerk instance.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::uri::Authority;

/// Standard base64 as browsers' `atob` reads it: padding is optional.
const ATOB: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A Clerk publishable key: `pk_test_` or `pk_live_`, then base64 of the instance's host and a `$`.
///
/// The text is kept as it was written: the suffix of Clerk's cookies is a hash of it, and one `=`
/// more or less changes that.
#[derive(Clone, Eq, PartialEq)]
pub struct PublishableKey {
    text: String,
    environment: Environment,
    host: String,
}

/// Which kind of Clerk instance a key belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// `pk_test_`
    Development,
    /// `pk_live_`
    Production,
}

/// A text that is no [`PublishableKey`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadPublishableKey {
    /// A secret key stands where the publishable one belongs.
    #[error("this is a secret key; the publishable key starts with `pk_test_` or `pk_live_`")]
    Secret,
    /// It does not have the three parts of a publishable key.
    #[error("not a publishable key; it starts with `pk_test_` or `pk_live_`")]
    Prefix,
    /// Its last part is not base64 of `host$`.
    #[error(
        "the part after `pk_test_` or `pk_live_` does not decode to a host name and `$`; is the key whole?"
    )]
    Payload,
    /// It decodes, but to something that is no host.
    #[error("it decodes to something that is no host name")]
    Host,
}

impl PublishableKey {
    /// Reads a publishable key (clerk.com, "Publishable key": `pk_<environment>_<base64 of host$>`).
    ///
    /// # Errors
    ///
    /// [`BadPublishableKey`], by what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadPublishableKey> {
        if text.starts_with("sk_") {
            return Err(BadPublishableKey::Secret);
        }
        let (environment, payload) = match text.split_at_checked(8) {
            Some(("pk_test_", payload)) => (Environment::Development, payload),
            Some(("pk_live_", payload)) => (Environment::Production, payload),
            _ => return Err(BadPublishableKey::Prefix),
        };
        let payload: String = payload.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let decoded = ATOB.decode(payload).map_err(|_| BadPublishableKey::Payload)?;
        let decoded = String::from_utf8(decoded).map_err(|_| BadPublishableKey::Payload)?;
        let host = decoded.strip_suffix('$').ok_or(BadPublishableKey::Payload)?;
        if host.contains('$') || !host.contains('.') {
            return Err(BadPublishableKey::Payload);
        }
        if !is_host(host) {
            return Err(BadPublishableKey::Host);
        }
        Ok(Self { text: text.to_owned(), environment, host: host.to_owned() })
    }

    /// Returns the key as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns which kind of instance the key belongs to.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Returns the host of the instance's Frontend API, with its port where it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the origin of the instance's Frontend API, which is also the issuer of its tokens.
    ///
    /// `https`, but for a loopback address, which only a development issuer has: `http`.
    pub fn frontend_api(&self) -> String {
        let name = Authority::from_str(&self.host).map_or("", |_| bare_host(&self.host));
        let scheme = match name.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => "http",
            _ => "https",
        };
        format!("{scheme}://{}", self.host)
    }
}

impl fmt::Debug for PublishableKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublishableKey({})", self.text)
    }
}

/// Tells whether `text` is a host name or an IPv4 address, with or without a port.
fn is_host(text: &str) -> bool {
    let name = bare_host(text);
    let port = &text[name.len()..];
    let names_ok = name.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    names_ok && (port.is_empty() || port[1..].parse::<u16>().is_ok_and(|port| port != 0))
}

fn bare_host(text: &str) -> &str {
    text.split_once(':').map_or(text, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use BadPublishableKey::{Host, Payload, Prefix, Secret};

    #[test]
    fn a_publishable_key_names_the_host_of_an_instance() {
        for (text, want) in [
            ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", Ok("clerk.clerk.dev")),
            ("pk_live_Y2xlcmsuYS5jb20k", Ok("clerk.a.com")),
            ("pk_live_Y2xlcmsuYS5jb206ODQ0MyQ=", Ok("clerk.a.com:8443")),
            ("pk_live_Y2xlcmsuYS5jb20", Err(Payload)),
            ("pk_test_YS5iPz4k", Err(Host)),            // a.b?>$
            ("pk_live_YS5jb20vZXZpbCQ=", Err(Host)),    // a.com/evil$
            ("pk_live_ZXZpbEBhLmNvbSQ=", Err(Host)),    // evil@a.com$
            ("pk_live_YS5jb206MCQ=", Err(Host)),        // a.com:0$
            ("pk_live_YS5jb20kJA==", Err(Payload)),     // a.com$$
            ("pk_live_bG9jYWxob3N0JA==", Err(Payload)), // localhost$
            ("pk_live_", Err(Payload)),
            ("pk_live", Err(Prefix)),
            ("pk_prod_Y2xlcmsuYS5jb20k", Err(Prefix)),
            ("", Err(Prefix)),
            ("sk_live_abc", Err(Secret)),
        ] {
            let got = PublishableKey::parse(text);
            assert_eq!(got.as_ref().map(PublishableKey::host).map_err(|e| *e), want, "{text}");
        }
    }

    #[test]
    fn only_a_loopback_address_is_spoken_to_in_plain_http() {
        for (payload, want) in [
            ("127.0.0.1:4000$", "http://127.0.0.1:4000"),
            ("clerk.a.com$", "https://clerk.a.com"),
            ("10.0.0.1:80$", "https://10.0.0.1:80"),
            ("127.0.0.1.evil.com$", "https://127.0.0.1.evil.com"),
        ] {
            let key = PublishableKey::parse(&format!("pk_test_{}", ATOB.encode(payload)));
            assert_eq!(key.unwrap().frontend_api(), want);
        }
    }
}
