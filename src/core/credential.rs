//! Where a token may stand in a request.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::core::reject::Reject;

/// The text of a bearer token, as the client sent it (RFC 6750 §2.1).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct BearerToken<'a>(&'a str);

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
        let one_word = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
        match std::str::from_utf8(token) {
            Ok(text) if one_word => Ok(Some(Self(text))),
            _ => Err(Reject::TokenMalformed),
        }
    }

    /// Takes a token that did not come in a request.
    pub fn of(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the text. It is a secret: whoever has it is the caller.
    pub fn reveal(self) -> &'a str {
        self.0
    }
}

const BEARER: &[u8] = b"Bearer";

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
            let got = BearerToken::from_headers(&headers).map(|token| token.map(|token| token.0));
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
    fn debug_shows_a_length() {
        assert_eq!(format!("{:?}", BearerToken("a.b.c")), "BearerToken(5 bytes)");
    }
}
