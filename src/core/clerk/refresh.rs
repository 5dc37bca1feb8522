//! A new session token for one that has expired, from the Backend API and without a redirect.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::core::claims::ClaimError;
use crate::core::clerk::directives::Directives;
use crate::core::clerk::handshake::Exchange;
use crate::core::credential::BearerToken;
use crate::core::jws::UnverifiedToken;
use crate::core::reject::Reject;

/// Why a token was not refreshed, in the words of Clerk's library.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the words of Clerk's library")]
pub enum Failure {
    /// The Backend API's own word.
    Told(Box<str>),
    NonEligibleNonGet,
    NonEligibleNoRefreshCookie,
    MissingApiClient,
    ExpiredSessionTokenMissingSidClaim,
    FetchError,
    UnexpectedBapiError,
    UnexpectedSdkError,
    InvalidSessionToken,
}

impl Failure {
    /// Returns Clerk's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Told(word) => word,
            Self::NonEligibleNonGet => "non-eligible-non-get",
            Self::NonEligibleNoRefreshCookie => "non-eligible-no-refresh-cookie",
            Self::MissingApiClient => "missing-api-client",
            Self::ExpiredSessionTokenMissingSidClaim => "expired-session-token-missing-sid-claim",
            Self::FetchError => "fetch-error",
            Self::UnexpectedBapiError => "unexpected-bapi-error",
            Self::UnexpectedSdkError => "unexpected-sdk-error",
            Self::InvalidSessionToken => "invalid-session-token",
        }
    }
}

impl Exchange<'_> {
    /// Returns the session that is to be refreshed: its token has expired, and the browser showed
    /// a refresh token with a GET. `has_api`: the Backend API can be asked.
    ///
    /// # Errors
    ///
    /// Why there is nothing to be tried.
    pub fn refreshable(&self, reject: &Reject, has_api: bool) -> Result<String, Failure> {
        let expired =
            matches!(reject, Reject::ClaimRefused { error: ClaimError::Expired { .. }, .. });
        if !expired || self.cookies.refresh.is_none() {
            return Err(Failure::NonEligibleNoRefreshCookie);
        }
        if *self.method != http::Method::GET {
            return Err(Failure::NonEligibleNonGet);
        }
        if !has_api {
            return Err(Failure::MissingApiClient);
        }
        let id = self.cookies.session.as_deref().and_then(session_of);
        id.filter(|id| is_session_id(id)).ok_or(Failure::ExpiredSessionTokenMissingSidClaim)
    }

    /// Returns the body of the request for a refresh.
    ///
    /// Of the request's headers only what Clerk needs to judge the browser goes to Clerk: neither
    /// `Authorization` nor any cookie. `client` is its address, as far as proxies we trust can tell.
    pub fn refresh_body(&self, client: Option<IpAddr>) -> Value {
        let told = ["user-agent", "accept-language"].into_iter().filter_map(|name| {
            let value = self.headers.get(name)?.to_str().ok()?;
            Some((name, value.to_owned()))
        });
        let client = client.map(|client| ("x-forwarded-for", client.to_string()));
        let headers: serde_json::Map<String, Value> =
            told.chain(client).map(|(name, value)| (name.to_owned(), json!([value]))).collect();
        json!({
            "format": "cookie",
            "expired_token": self.cookies.session,
            "refresh_token": self.cookies.refresh,
            "request_origin": self.url.origin,
            "request_headers": headers,
        })
    }
}

/// Returns the session that a token names, whoever signed it.
pub fn session_of(token: &str) -> Option<String> {
    let token = UnverifiedToken::parse(BearerToken::of(token)).ok()?;
    Some(token.claims().get("sid")?.as_str()?.to_owned())
}

/// A session id becomes part of an address: it is one of Clerk's, or it is none.
fn is_session_id(text: &str) -> bool {
    let rest = text.strip_prefix("sess_");
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_alphanumeric()))
}

/// Reads an error of the Backend API's: the first one has a word, which goes back to Clerk.
fn of_error(body: &[u8]) -> Failure {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_word = |word: &&str| word.len() <= 64 && word.bytes().all(|it| it.is_ascii_graphic());
    match answer["errors"][0]["code"].as_str().filter(is_word) {
        Some("unexpected_error") => Failure::FetchError,
        Some(word) => Failure::Told(word.into()),
        None => Failure::UnexpectedBapiError,
    }
}

/// Reads the Backend API's answer: the cookies to set, a session token among them.
///
/// # Errors
///
/// What is wrong with the answer.
pub fn answer(status: u16, body: &[u8]) -> Result<Directives, Failure> {
    if !(200..300).contains(&status) {
        return Err(of_error(body));
    }
    let directives = Directives::of_answer(body, "cookies").ok_or(Failure::FetchError)?;
    if directives.lines().is_empty() {
        return Err(Failure::UnexpectedSdkError);
    }
    if directives.session_token().is_none() {
        return Err(Failure::InvalidSessionToken);
    }
    Ok(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_new_token_has_clerks_word() {
        let of = |list: &str| format!(r#"{{"object": "cookies", "cookies": {list}}}"#);
        for (status, body, want) in [
            (200, of(r#"["__session=a; Path=/", "__client_uat=1"]"#), "a"),
            (200, of(r#"["__client_uat=1"]"#), "invalid-session-token"),
            (200, of(r#"["__session=; Path=/"]"#), "invalid-session-token"),
            (200, of("[]"), "unexpected-sdk-error"),
            (200, of("null"), "unexpected-sdk-error"),
            (200, "no JSON".to_owned(), "fetch-error"),
            (500, of("[]"), "unexpected-bapi-error"),
        ] {
            let got = answer(status, body.as_bytes());
            let told = match &got {
                Ok(directives) => directives.session_token().unwrap_or_default(),
                Err(failure) => failure.as_str(),
            };
            assert_eq!(told, want, "{status} {body}");
        }
    }
}
