//! Addresses without what is secret in them.

use crate::core::clerk::public_url::{form_decoded, push_parameter};
use crate::core::credential::BearerToken;
use crate::core::jws::UnverifiedToken;

/// Query parameters whose values are credentials.
const SECRET: [&str; 6] = [
    "__session",
    "__clerk_db_jwt",
    "__dev_session",
    "__clerk_handshake",
    "__clerk_handshake_nonce",
    "__clerk_ticket",
];

/// Where a browser is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirection {
    /// The address, without its query.
    pub to: String,
    /// What stands in its query: names and values, of credentials only how long they are.
    pub parameters: Vec<(String, String)>,
}

impl Redirection {
    /// Takes an address apart.
    pub(super) fn of(location: &str) -> Self {
        let (to, query) = location.split_once('?').unwrap_or((location, ""));
        let parameters = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (form_decoded(name), form_decoded(value));
            (name.to_string(), shown_value(&name, &value))
        });
        Self { to: to.to_owned(), parameters: parameters.collect() }
    }
}

/// Writes an address so that no credential in its query can be read.
pub(super) fn shown(address: &str) -> String {
    shown_within(address, DEPTH)
}

/// How deep addresses stand in addresses that are looked at.
const DEPTH: u8 = 4;

fn shown_within(address: &str, depth: u8) -> String {
    let Some((page, query)) = address.split_once('?') else { return address.to_owned() };
    let mut shown = page.to_owned();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (form_decoded(name), form_decoded(value));
        match hidden(&name, &value) {
            Some(text) => push_parameter(&mut shown, &name, &text),
            None if value.contains("://") => {
                let inner = depth.checked_sub(1).map(|depth| shown_within(&value, depth));
                let inner = inner.unwrap_or_else(|| format!("{} bytes", value.len()));
                push_parameter(&mut shown, &name, &inner);
            }
            None => {
                shown.push(if shown.contains('?') { '&' } else { '?' });
                shown.push_str(pair);
            }
        }
    }
    shown
}

/// Writes the value of a parameter: an address in it is looked at as well.
fn shown_value(name: &str, value: &str) -> String {
    match hidden(name, value) {
        Some(text) => format!("({text})"),
        None if value.contains("://") => shown(value),
        None => value.to_owned(),
    }
}

/// Says how long a value is that is not to be seen; nothing where anybody may see it.
fn hidden(name: &str, value: &str) -> Option<String> {
    // Every JSON object that begins a token begins so in base64url: one that is cut off or damaged
    // is none that can be read, and no less a secret.
    let is_token =
        || value.contains("eyJ") || UnverifiedToken::parse(BearerToken::of(value)).is_ok();
    let is_secret = SECRET.contains(&name) || is_token();
    (is_secret && !value.is_empty()).then(|| format!("{} bytes", value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_lengths() {
        let token = "e30.e30.AAAA"; // {}.{}
        for (address, want) in [
            ("https://a.com/x?y=1", "https://a.com/x?y=1"),
            ("https://a.com/x", "https://a.com/x"),
            ("https://a.com/x?__clerk_db_jwt=dvb_1&z", "https://a.com/x?__clerk_db_jwt=5+bytes&z"),
            ("/?%5F_session=abc", "/?__session=3+bytes"),
            (&format!("/?t={token}"), "/?t=12+bytes"),
            ("/?t=eyJhbGciOiJSUzI1NiJ9.cut", "/?t=24+bytes"),
            ("/?t=Bearer%20eyJhbGciOiJSUzI1NiJ9", "/?t=27+bytes"),
        ] {
            assert_eq!(shown(address), want);
        }
        let sent = Redirection::of(&format!(
            "https://c.com/h?redirect_url=https%3A%2F%2Fa.com%2F%3F__clerk_handshake%3D{token}%26x%3D1&__session={token}"
        ));
        let want = [
            ("redirect_url", "https://a.com/?__clerk_handshake=12+bytes&x=1"),
            ("__session", "(12 bytes)"),
        ];
        let want = want.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((&*sent.to, &sent.parameters[..]), ("https://c.com/h", &want[..]));
    }
}
