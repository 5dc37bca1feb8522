//! Where a token may stand in a request.

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use crate::core::list::elements;
use crate::core::reject::Reject;

/// The text of a bearer token, as the client sent it (RFC 6750 §2.1).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct BearerToken<'a>(
    /// UTF-8; looked at as a text where the token is taken apart, and not for one that is remembered.
    &'a [u8],
);

impl<'a> BearerToken<'a> {
    /// Finds the bearer token of a request; nothing where it has no `Authorization` or one of
    /// another scheme, which may be the backend's own business.
    ///
    /// The scheme's case is free (RFC 9110 §11.1), one space follows, the rest is the token. Blanks
    /// around a value are no part of it (§5.5), and HTTP/2 hands them on all the same.
    ///
    /// # Errors
    ///
    /// [`Reject::CredentialRepeated`] where there are two `Authorization` headers: two callers,
    /// and the backend may take the one we did not check. [`Reject::TokenMalformed`] where the
    /// scheme is `Bearer` and no single token follows, or where what stands before or after a
    /// scheme is a blank to some backends: those would find a token.
    pub fn from_headers(headers: &'a HeaderMap) -> Result<Option<Self>, Reject> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), second) = (values.next(), values.next()) else { return Ok(None) };
        if second.is_some() {
            return Err(Reject::CredentialRepeated);
        }
        let value = value.as_bytes().trim_ascii();
        if value.first().is_some_and(|byte| !byte.is_ascii()) {
            return Err(Reject::TokenMalformed);
        }
        let Some((scheme, token)) = value.split_at_checked(BEARER.len()) else {
            return Ok(None);
        };
        if !scheme.eq_ignore_ascii_case(BEARER) {
            return Ok(None);
        }
        let token = match token {
            [b' ', token @ ..] => token,
            [] | [b'\t' | 0x80.., ..] => token,
            _ => return Ok(None), // `Bearerfoo`: a scheme of its own
        };
        match !token.is_empty() && is_one_word(token) {
            true => Ok(Some(Self(token))),
            false => Err(Reject::TokenMalformed),
        }
    }

    /// Finds the bearer token of a request for a WebSocket, which may stand among its protocols too:
    /// `bearer, <token>`. A page can set no other header there.
    ///
    /// # Errors
    ///
    /// As [`from_headers`](Self::from_headers). [`Reject::CredentialRepeated`] also where there is
    /// one in each place, or two among the protocols; [`Reject::TokenMalformed`] where none follows
    /// the word.
    pub fn of_websocket(headers: &'a HeaderMap) -> Result<Option<Self>, Reject> {
        match (Self::from_headers(headers)?, Self::from_protocols(headers)?) {
            (Some(_), Some(_)) => Err(Reject::CredentialRepeated),
            (in_header, in_protocols) => Ok(in_header.or(in_protocols)),
        }
    }

    fn from_protocols(headers: &'a HeaderMap) -> Result<Option<Self>, Reject> {
        let mut protocols = protocols(headers);
        if !protocols.any(|protocol| protocol == BEARER_PROTOCOL) {
            return Ok(None);
        }
        let token = protocols.next().filter(|token| !token.is_empty());
        if protocols.any(|protocol| protocol == BEARER_PROTOCOL) {
            return Err(Reject::CredentialRepeated);
        }
        let token = token.filter(|token| is_one_word(token)).ok_or(Reject::TokenMalformed)?;
        Ok(Some(Self(token)))
    }

    /// Takes a token that did not come in a request.
    pub fn of(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// Returns the text. It is a secret: whoever has it is the caller.
    #[expect(clippy::missing_panics_doc, reason = "it was a text, or is one word of ASCII")]
    pub fn reveal(self) -> &'a str {
        std::str::from_utf8(self.0).expect("a token is a text")
    }

    /// Returns its bytes, which are as secret.
    pub fn reveal_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Tells whether all of it is visible ASCII. Looks at every byte, whatever it finds: sixteen at a time
/// are faster than an early end.
fn is_one_word(text: &[u8]) -> bool {
    text.iter().fold(true, |is_so, byte| is_so & byte.is_ascii_graphic())
}

const BEARER: &[u8] = b"Bearer";

/// The protocol that a token follows among those that are offered for a WebSocket. Names of
/// protocols are compared to the letter (RFC 6455 §11.5).
pub const BEARER_PROTOCOL: &[u8] = b"bearer";

/// Tells whether a token stands among the protocols that are offered for a WebSocket.
pub fn in_protocols(headers: &HeaderMap) -> bool {
    protocols(headers).any(|protocol| protocol == BEARER_PROTOCOL)
}

/// Returns the protocols that are offered for a WebSocket, the first choice first. Empty elements of
/// a list are none (RFC 9110 §5.6.1.2).
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    elements(headers, SEC_WEBSOCKET_PROTOCOL).filter(|protocol| !protocol.is_empty())
}

impl std::fmt::Debug for BearerToken<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "BearerToken({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_one_word_after_one_space() {
        for (value, want) in [
            ("Bearer a.b.c", Ok(Some("a.b.c"))),
            ("bearer a.b.c", Ok(Some("a.b.c"))),
            ("BEARER a.b.c", Ok(Some("a.b.c"))),
            ("Basic dTpw", Ok(None)),
            ("DPoP a.b.c", Ok(None)),
            ("a.b.c", Ok(None)),
            ("Foo Bearer a.b.c", Ok(None)),
            ("Bearer=a.b.c", Ok(None)),
            ("Bearera.b.c", Ok(None)),
            ("", Ok(None)),
            ("Bearer", Err(Reject::TokenMalformed)),
            ("Bearer ", Err(Reject::TokenMalformed)),
            ("Bearer  a.b.c", Err(Reject::TokenMalformed)),
            ("Bearer\ta.b.c", Err(Reject::TokenMalformed)),
            ("Bearer a.b.c junk", Err(Reject::TokenMalformed)),
            ("Bearer a.b.c, Bearer d.e.f", Err(Reject::TokenMalformed)),
            (" Bearer a.b.c\t", Ok(Some("a.b.c"))),
            ("\u{a0}Bearer a.b.c", Err(Reject::TokenMalformed)),
            ("Bearer\u{a0}a.b.c", Err(Reject::TokenMalformed)),
            ("Bearer\u{3000}a.b.c", Err(Reject::TokenMalformed)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            let got =
                BearerToken::from_headers(&headers).map(|token| token.map(|token| token.reveal()));
            assert_eq!(got, want, "{value:?}");
        }
    }

    #[test]
    fn two_authorization_headers_are_two_callers() {
        for (first, second) in [("Bearer a", "Bearer a"), ("Bearer a", "Basic b"), ("", "Bearer a")]
        {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, first.parse().unwrap());
            headers.append(AUTHORIZATION, second.parse().unwrap());
            assert_eq!(BearerToken::from_headers(&headers), Err(Reject::CredentialRepeated));
        }
    }

    #[test]
    fn a_websocket_brings_its_token_in_one_place() {
        let bearer = "Bearer a.b.c";
        for (authorization, protocols, want) in [
            (None, &["bearer, a.b.c"][..], Ok(Some("a.b.c"))),
            (None, &["chat, bearer,a.b.c, json"], Ok(Some("a.b.c"))),
            (None, &["bearer", "a.b.c"], Ok(Some("a.b.c"))),
            (None, &["chat", "json"], Ok(None)),
            (None, &["Bearer, a.b.c"], Ok(None)),
            (None, &[], Ok(None)),
            (Some(bearer), &["chat"], Ok(Some("a.b.c"))),
            (Some("Basic dTpw"), &["bearer, a.b.c"], Ok(Some("a.b.c"))),
            (Some(bearer), &["bearer, a.b.c"], Err(Reject::CredentialRepeated)),
            (None, &["bearer, a.b.c", "bearer, d.e.f"], Err(Reject::CredentialRepeated)),
            (None, &["bearer"], Err(Reject::TokenMalformed)),
            (None, &["bearer, "], Err(Reject::TokenMalformed)),
            (None, &["bearer, a b"], Err(Reject::TokenMalformed)),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            for line in protocols {
                headers.append(SEC_WEBSOCKET_PROTOCOL, line.parse().unwrap());
            }
            let got =
                BearerToken::of_websocket(&headers).map(|token| token.map(|token| token.reveal()));
            assert_eq!(got, want, "{authorization:?} {protocols:?}");
        }
    }

    #[test]
    fn debug_shows_a_length() {
        assert_eq!(format!("{:?}", BearerToken::of("a.b.c")), "BearerToken(5 bytes)");
    }
}
