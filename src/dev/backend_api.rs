//! The issuer's Backend API: what a backend that has the secret key may ask about sessions.

use std::sync::atomic::Ordering;

use aws_lc_rs::constant_time;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::clients::Session;
use super::endpoints::{Endpoints, method_refused, read};
use super::mint::{hex, parameters, random};
use super::server::{Answer, answer};
use crate::core::credential::BearerToken;
use crate::core::jws::UnverifiedToken;

/// What can be asked.
pub(super) enum Call {
    /// What a nonce of a handshake stands for.
    HandshakePayload,
    /// The session with this id.
    Session(String),
    /// New cookies for the session with this id.
    Refresh(String),
}

impl Call {
    /// Finds what stands at a path.
    pub(super) fn find(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        if rest == "clients/handshake_payload" {
            return Some(Self::HandshakePayload);
        }
        let session = rest.strip_prefix("sessions/")?;
        match session.split_once('/') {
            None => Some(Self::Session(session.to_owned())),
            Some((id, "refresh")) => Some(Self::Refresh(id.to_owned())),
            Some(_) => None,
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::HandshakePayload | Self::Session(_) => Method::GET,
            Self::Refresh(_) => Method::POST,
        }
    }
}

/// Why something is not answered, as Clerk says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Problem {
    KeyMissing,
    KeyUnknown,
    SessionUnknown,
    NonceUnknown,
    BodyMalformed,
    FormatUnknown,
    NotRefreshed,
}

impl Problem {
    /// One row a problem: status, code, and what it is in words.
    #[rustfmt::skip]
    fn faces(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::KeyMissing     => (StatusCode::UNAUTHORIZED,         "authentication_invalid",        "The request has no `Authorization: Bearer` with the secret key."),
            Self::KeyUnknown     => (StatusCode::UNAUTHORIZED,         "clerk_key_invalid",             "The secret key is not this instance's."),
            Self::SessionUnknown => (StatusCode::NOT_FOUND,            "resource_not_found",            "There is no session with this id."),
            Self::NonceUnknown   => (StatusCode::NOT_FOUND,            "resource_not_found",            "There is no handshake with this nonce, or it was called for before."),
            Self::BodyMalformed  => (StatusCode::BAD_REQUEST,          "request_body_invalid",          "The body is not a JSON object."),
            Self::FormatUnknown  => (StatusCode::UNPROCESSABLE_ENTITY, "form_param_value_invalid",      "`format` must be `cookie`."),
            Self::NotRefreshed   => (StatusCode::UNAUTHORIZED,         "session_refresh_token_invalid", "The session has ended, or these are not its tokens."),
        }
    }
}

impl Endpoints {
    /// Answers a backend.
    pub(super) async fn backend(&self, call: Call, head: &Parts, body: Incoming) -> Answer {
        let method = call.method();
        if head.method != method {
            return method_refused(&[method]);
        }
        if let Err(problem) = self.check_secret_key(&head.headers) {
            return refusal(problem);
        }
        let answered = match call {
            Call::HandshakePayload => self.handshake_payload(head.uri.query().unwrap_or("")),
            Call::Session(id) => self.session(&id),
            Call::Refresh(id) => match read(body).await {
                Ok(body) => self.refresh(&id, &body),
                Err(refused) => return refused,
            },
        };
        answered.map_or_else(refusal, |told| json_answer(StatusCode::OK, &told))
    }

    fn check_secret_key(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut lines = headers.get_all(AUTHORIZATION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(Problem::KeyMissing);
        };
        let key = line.as_bytes().strip_prefix(b"Bearer ").ok_or(Problem::KeyMissing)?;
        constant_time::verify_slices_are_equal(key, self.secret_key.as_bytes())
            .map_err(|_| Problem::KeyUnknown)
    }

    fn handshake_payload(&self, query: &str) -> Result<Value, Problem> {
        let nonce = parameters(query).find(|(name, _)| name == "nonce");
        let (_, nonce) = nonce.ok_or(Problem::NonceUnknown)?;
        let lines = self.clients().call_for(&nonce).ok_or(Problem::NonceUnknown)?;
        Ok(json!({ "directives": lines }))
    }

    fn session(&self, id: &str) -> Result<Value, Problem> {
        self.session_checks.fetch_add(1, Ordering::Relaxed);
        self.clients().session(id).map(Session::shown).ok_or(Problem::SessionUnknown)
    }

    /// Returns new cookies for a session whose token has expired.
    ///
    /// The refresh token decides. What the expired one says is only compared, so its signature is
    /// not verified: it adds nothing that the caller could not have made up.
    fn refresh(&self, id: &str, body: &[u8]) -> Result<Value, Problem> {
        let body: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| Problem::BodyMalformed)?;
        let text = |name| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("format") != "cookie" {
            return Err(Problem::FormatUnknown);
        }
        let session = self.clients().session(id).cloned().ok_or(Problem::SessionUnknown)?;
        let expired = UnverifiedToken::parse(BearerToken::of(text("expired_token")));
        let names = |token: &UnverifiedToken<'_>| {
            token.issuer() == Some(&self.origin())
                && token.claims().get("sid").and_then(|sid| sid.as_str()) == Some(id)
        };
        if !expired.is_ok_and(|token| names(&token))
            || !session.is_refreshed_by(text("refresh_token"))
        {
            return Err(Problem::NotRefreshed);
        }
        Ok(json!({ "object": "cookies", "cookies": self.session_cookies(Some(&session)) }))
    }
}

/// Returns a problem in the shape of Clerk's errors.
fn refusal(problem: Problem) -> Answer {
    let (status, code, told) = problem.faces();
    let trace = hex(&random::<16>().expect("the system had random bytes for the key"));
    let body = json!({
        "errors": [{ "message": told, "long_message": told, "code": code }],
        "clerk_trace_id": trace,
    });
    json_answer(status, &body)
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = answer(status, "application/json", body.to_string());
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
#[path = "backend_api_tests.rs"]
mod tests;
