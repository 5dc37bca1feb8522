//! A refusal as a response.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use serde_json::{Value, json};

use crate::core::clerk::away::Away;
use crate::core::clerk::has::Reverification;
use crate::core::form::Way;
use crate::core::grpc::Code;
use crate::core::reject::{Refusal, Reject};

const AUTH_STATUS: HeaderName = HeaderName::from_static("x-clerk-auth-status");
const AUTH_REASON: HeaderName = HeaderName::from_static("x-clerk-auth-reason");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Answers requests that do not reach the backend.
#[derive(Clone, Debug)]
pub(super) struct Respond {
    /// The origins whose scripts may read our answers.
    pub(super) parties: Vec<String>,
    /// Whether the client learns the reason in a word.
    pub(super) reveal_reason: bool,
}

impl Respond {
    /// Makes the answer (RFC 9457, 6750 §3). What it says is the status, the code of RFC 6750 and
    /// one word; which value, which key and which rule only the log learns. Of a refusal that is
    /// hidden it says that there is nothing.
    pub(super) fn with(
        &self,
        refusal: &Refusal,
        request_id: &HeaderValue,
        origin: Option<&HeaderValue>,
    ) -> Response<Bytes> {
        let (media_type, body) = self.body(refusal, request_id);
        let mut response = Response::new(body);
        *response.status_mut() = refusal.status();
        let headers = response.headers_mut();
        let fixed = HeaderValue::from_static;
        headers.insert(CONTENT_TYPE, fixed(media_type));
        headers.insert(CACHE_CONTROL, fixed("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        headers.insert(Way::REQUEST_ID, request_id.clone());
        if let Some(reject) = refusal.shown() {
            self.explain(reject, refusal.status(), headers);
        }
        if let Some(away) = refusal.away() {
            send(away, headers);
        }
        let origin = origin.filter(|origin| self.is_party(origin) && refusal.shown().is_some());
        if let Some(origin) = origin {
            share_with(origin, headers);
        }
        response
    }

    /// Makes the answer to a call of gRPC, whose clients read a code of their own: a head and nothing
    /// more. Headers say why, as they do to others.
    pub(super) fn to_call(
        &self,
        refusal: &Refusal,
        request_id: &HeaderValue,
        origin: Option<&HeaderValue>,
    ) -> Response<Bytes> {
        let mut response = self.with(refusal, request_id, origin).map(|_| Bytes::new());
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(Code::STATUS, Code::of(refusal.status()).number().into());
        if let Some(reject) = refusal.shown().filter(|_| self.reveal_reason) {
            headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reject.label()));
        }
        response
    }

    /// Says in headers why, and what would help.
    fn explain(&self, reject: &Reject, status: StatusCode, headers: &mut HeaderMap) {
        let fixed = HeaderValue::from_static;
        if let Some(challenge) = self.challenge(reject, status) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(state) = auth_status(reject) {
            headers.insert(AUTH_STATUS, fixed(state));
            if self.reveal_reason {
                headers.insert(AUTH_REASON, fixed(reject.label()));
            }
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, fixed("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if let Some(seconds) = reject.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
    }

    /// Makes the body, and says what it is.
    fn body(&self, refusal: &Refusal, request_id: &HeaderValue) -> (&'static str, Bytes) {
        if let Some(Reject::ReverificationMissing(missing)) = refusal.shown() {
            return ("application/json", Bytes::from(reverification_error(*missing).to_string()));
        }
        let status = refusal.status();
        let mut problem = json!({
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "request_id": request_id.to_str().unwrap_or_default(),
        });
        if let Some(reject) = refusal.shown().filter(|_| self.reveal_reason) {
            problem["reason"] = reject.label().into();
        }
        ("application/problem+json", Bytes::from(problem.to_string()))
    }

    /// RFC 6750 §3: every 401 has a challenge, and one without a credential is told no error code.
    fn challenge(&self, reject: &Reject, status: StatusCode) -> Option<HeaderValue> {
        let mut text = r#"Bearer realm="countersign""#.to_owned();
        match (reject.bearer_error(), status) {
            (_, StatusCode::TEMPORARY_REDIRECT) => return None,
            (None, StatusCode::UNAUTHORIZED) => {}
            (None, _) => return None,
            (Some(error), _) => text.push_str(&format!(r#", error="{}""#, error.as_str())),
        }
        if let Some(scope) = reject.needed_scope().filter(|_| self.reveal_reason) {
            text.push_str(&format!(r#", scope="{scope}""#));
        }
        Some(HeaderValue::try_from(text).expect("the words of RFC 6750 are visible"))
    }

    fn is_party(&self, origin: &HeaderValue) -> bool {
        self.parties.iter().any(|party| party.as_bytes() == origin.as_bytes())
    }
}

/// What Clerk's middleware calls the state of whoever is refused like this.
fn auth_status(reject: &Reject) -> Option<&'static str> {
    match reject {
        Reject::Handshake(_) => Some("handshake"),
        Reject::HandshakeOver { signed_out: Some(_), .. } => Some("signed-out"),
        _ if reject.status() == StatusCode::UNAUTHORIZED => Some("signed-out"),
        _ => None,
    }
}

/// Sends the browser away.
fn send(away: &Away, headers: &mut HeaderMap) {
    // Made of what headers had, and encoded: a value that is none is one we did not make.
    let value = |text: &str| HeaderValue::try_from(text).ok();
    if let Some(location) = value(&away.location) {
        headers.insert(LOCATION, location);
    }
    for cookie in away.cookies.iter().filter_map(|line| value(line)) {
        headers.append(SET_COOKIE, cookie);
    }
}

/// Returns the one `Origin` of a request; nothing where it has none or several.
pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next()?;
    // A copy: a slice of the read buffer would keep all of it alive.
    origins.next().is_none().then(|| HeaderValue::from_bytes(origin.as_bytes()).ok())?
}

/// What Clerk's front-end library takes for a reason to verify the user once more and try again:
/// `reverificationError` in `@clerk/shared`. It is part of a protocol, so it is told whether or not
/// reasons are.
fn reverification_error(missing: Reverification) -> Value {
    json!({"clerk_error": {
        "type": "forbidden",
        "reason": "reverification-error",
        "metadata": {"reverification": missing.metadata()},
    }})
}

/// Lets a page of `origin` read the answer (Fetch, "CORS protocol").
fn share_with(origin: &HeaderValue, headers: &mut HeaderMap) {
    let fixed = HeaderValue::from_static;
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true"));
    headers.insert(VARY, fixed("Origin"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        fixed("WWW-Authenticate, x-clerk-auth-reason, x-clerk-auth-status, x-request-id"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::claims::ClaimError;
    use crate::core::issuer::TokenClass;

    fn respond(reveal_reason: bool) -> Respond {
        Respond { parties: vec!["https://app.test".into()], reveal_reason }
    }

    fn answer(reject: &Reject) -> Response<Bytes> {
        let refusal = Refusal::from(reject.clone());
        respond(true).with(&refusal, &HeaderValue::from_static("r1"), None)
    }

    #[test]
    fn each_status_says_what_it_must() {
        let expired = Reject::ClaimRefused {
            class: TokenClass::SessionToken,
            error: ClaimError::SubjectMissing,
        };
        for (reject, status, challenge, retry) in [
            (Reject::CredentialMissing, 401, Some(r#"Bearer realm="countersign""#), None),
            (expired, 401, Some(r#"Bearer realm="countersign", error="invalid_token""#), None),
            (
                Reject::CredentialRepeated,
                400,
                Some(r#"Bearer realm="countersign", error="invalid_request""#),
                None,
            ),
            (Reject::ImpersonationRefused, 403, None, None),
            (
                Reject::ScopeInsufficient { needed: "org:admin org:a:read".into() },
                403,
                Some(
                    r#"Bearer realm="countersign", error="insufficient_scope", scope="org:admin org:a:read""#,
                ),
                None,
            ),
            (Reject::KeysUnavailable, 503, None, Some("1")),
            (Reject::UpstreamTimeout, 504, None, None),
            (Reject::Draining, 503, None, Some("1")),
        ] {
            let answer = answer(&reject);
            let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(answer.status().as_u16(), status);
            assert_eq!(header(WWW_AUTHENTICATE), challenge, "{reject:?}");
            assert_eq!(header(RETRY_AFTER), retry, "{reject:?}");
            assert_eq!(header(AUTH_STATUS).is_some(), status == 401, "{reject:?}");
            let body: Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(
                (&body["status"], &body["reason"]),
                (&status.into(), &reject.label().into())
            );
            assert_eq!(body["request_id"], "r1");
        }
    }

    #[test]
    fn a_reason_can_be_kept_to_ourselves() {
        let id = HeaderValue::from_static("r1");
        let answer = respond(false).with(&Reject::TokenMalformed.into(), &id, None);
        assert!(!format!("{:?}{:?}", answer.headers(), answer.body()).contains("token-invalid"));
    }

    #[test]
    fn a_call_is_told_in_its_own_words() {
        let id = HeaderValue::from_static("r1");
        let hidden = Refusal::hidden(Reject::CredentialMissing);
        for (refusal, code, message) in [
            (Reject::CredentialMissing.into(), "16", Some("session-token-and-uat-missing")),
            (Reject::ImpersonationRefused.into(), "7", Some("impersonation-refused")),
            (hidden, "12", None),
            (Reject::KeysUnavailable.into(), "14", Some("keys-unavailable")),
            (Reject::UpstreamTimeout.into(), "14", Some("upstream-timeout")),
            (Reject::Draining.into(), "14", Some("draining")),
            (Reject::BodyTooLarge.into(), "2", Some("body-too-large")),
        ] {
            let answer = respond(true).to_call(&refusal, &id, None);
            let header =
                |name: &HeaderName| answer.headers().get(name).map(|it| it.to_str().unwrap());
            assert_eq!((answer.status().as_u16(), answer.body().len()), (200, 0), "{refusal:?}");
            assert_eq!(header(&CONTENT_TYPE), Some("application/grpc"));
            assert_eq!((header(&Code::STATUS), header(&GRPC_MESSAGE)), (Some(code), message));
        }
        let quiet = respond(false).to_call(&Reject::TokenMalformed.into(), &id, None);
        assert!(!quiet.headers().contains_key(GRPC_MESSAGE));
    }

    #[test]
    fn what_is_hidden_looks_like_nothing() {
        let id = HeaderValue::from_static("r1");
        for reject in [
            Reject::CredentialMissing,
            Reject::TokenMalformed,
            Reject::ScopeInsufficient { needed: "org:admin".into() },
            Reject::ReverificationMissing(Reverification::Strict),
        ] {
            let party = HeaderValue::from_static("https://app.test");
            let answer = respond(true).with(&Refusal::hidden(reject), &id, Some(&party));
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
            let plain = ["content-type", "cache-control", "x-content-type-options", "x-request-id"];
            assert_eq!(names, plain);
            let body: Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(body, json!({"title": "Not Found", "status": 404, "request_id": "r1"}));
        }
    }

    #[test]
    fn who_has_to_verify_again_is_told_in_clerks_words() {
        let id = HeaderValue::from_static("r1");
        let refusal = Reject::ReverificationMissing(Reverification::Strict).into();
        let answer = respond(false).with(&refusal, &id, None);
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(
            body,
            json!({"clerk_error": {
                "type": "forbidden",
                "reason": "reverification-error",
                "metadata": {"reverification": "strict"},
            }})
        );
    }

    #[test]
    fn only_a_party_may_read_why() {
        let id = HeaderValue::from_static("r1");
        for (origin, shared) in [
            ("https://app.test", true),
            ("https://evil.test", false),
            ("https://app.test.evil.test", false),
            ("null", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            let answer = respond(true).with(&Reject::CredentialMissing.into(), &id, Some(&origin));
            assert_eq!(
                answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN),
                shared,
                "{origin:?}"
            );
        }
    }
}
