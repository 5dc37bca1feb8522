//! Why a request does not reach the backend.

use http::StatusCode;

use crate::core::access::Demand;
use crate::core::claims::ClaimError;
use crate::core::clerk::away::Away;
use crate::core::clerk::handshake::{Reason, Redirect};
use crate::core::clerk::has::Reverification;
use crate::core::issuer::TokenClass;
use crate::core::jwk::KeyId;

/// Why the proxy answered a request itself.
///
/// Each reason has four faces: the [`status`](Self::status), the
/// [`bearer_error`](Self::bearer_error) and the [`label`](Self::label) the client sees and metrics
/// count, and the `Display` text, which only the log keeps. None of the four contains the token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reject {
    /// The head of the request is broken, or can be read in two ways.
    #[error("malformed request: {0}")]
    RequestMalformed(&'static str),
    /// There is no bearer token.
    #[error("no bearer token")]
    CredentialMissing,
    /// A browser is signed out, as its cookies have it.
    #[error("signed out: {}", .0.as_str())]
    SignedOut(Reason),
    /// A browser would be sent to Clerk once more, and was so too often in a row.
    #[error("no end of handshakes: {}", .0.as_str())]
    HandshakeLoop(Reason),
    /// A browser is sent away, to come back with a state that is known.
    #[error("sent away for a handshake: {}", .0.reason.as_str())]
    Handshake(Box<Redirect>),
    /// A handshake of a development instance is over; the browser is sent to the address without
    /// what Clerk had put into it.
    #[error("a handshake is over")]
    HandshakeOver {
        /// The address.
        away: Box<Away>,
        /// Why nobody is signed in; nothing where somebody is.
        signed_out: Option<Reason>,
    },
    /// There is a session cookie, and none is accepted from anybody.
    #[error(
        "cookies of a production instance are not accepted without `clerk.authorized_parties` or `public_url`: a page of another origin could have sent them"
    )]
    CookiesRefused,
    /// A page of somebody else's sent the request, with the cookies of a user of ours.
    #[error("a page of another site sent the request")]
    CrossSite,
    /// Clerk's Backend API has to say something, and does not.
    #[error("{0}")]
    ClerkUnavailable(String),
    /// There are two `Authorization` headers.
    #[error("more than one Authorization header")]
    CredentialRepeated,
    /// The token is no JWT we could read in one way only.
    #[error("the token is no well-formed JWT")]
    TokenMalformed,
    /// The token is of a machine, or of another class that the settings do not accept.
    #[error("the token is of a class that is not accepted here")]
    TokenClassRefused,
    /// No issuer that is configured has issued the token, or it does not say who has.
    #[error("the token was issued by nobody who is configured")]
    IssuerUnknown,
    /// The issuer may not use this algorithm.
    #[error("the token's algorithm is not one of the issuer's")]
    AlgorithmRefused,
    /// No key of the issuer has this name.
    #[error("no key {} in the issuer's key set", .kid.as_ref().map_or("(none named)", KeyId::as_str))]
    KeyUnknown {
        /// The name the token gives, where it is one.
        kid: Option<KeyId>,
    },
    /// The key was published for another algorithm.
    #[error("the key was published for another algorithm than the token's")]
    KeyMismatch,
    /// The key says it did not sign this.
    #[error("the signature is not the key's")]
    SignatureInvalid,
    /// A claim does not say what it must.
    #[error("claims refused: {error}")]
    ClaimRefused {
        /// What kind of token it is: Clerk has words of its own for sessions.
        class: TokenClass,
        /// Which claim, and why.
        error: ClaimError,
    },
    /// The session, or its user, stands in `clerk.revoked_file`, or Clerk says that it has ended.
    #[error("the session is revoked")]
    SessionRevoked,
    /// The session has tasks left before it counts.
    #[error("the session is pending")]
    SessionPending,
    /// Somebody acts for the user, and that is not wanted here.
    #[error("somebody acts for the user, which the settings refuse")]
    ImpersonationRefused,
    /// The caller's bearer token lacks a role or a permission that the route asks for.
    #[error("the caller has not all of {needed}")]
    ScopeInsufficient {
        /// The roles and permissions that the route asks for.
        needed: Box<str>,
    },
    /// The caller lacks something else that the route asks for.
    #[error("the caller has not {0}")]
    AccessDenied(Demand),
    /// The caller has all that the route asks for, but was verified too long ago.
    #[error("the caller has to verify again: {}", .0.metadata())]
    ReverificationMissing(Reverification),
    /// TRACE or CONNECT.
    #[error("the method is refused")]
    MethodRefused,
    /// The client stopped sending.
    #[error("the request did not come in time")]
    RequestTimeout,
    /// The client left before there was an answer. Nobody reads this one; it is counted and logged.
    #[error("the client left before there was an answer")]
    ClientGone,
    /// A call outlived its token for too long before it was answered.
    #[error("the call had outlived its token")]
    StreamOver,
    /// The body is longer than `limits.body`.
    #[error("the body is over the limit")]
    BodyTooLarge,
    /// The target is longer than any path.
    #[error("the request target is over the limit")]
    TargetTooLong,
    /// More or longer headers than the limits allow.
    #[error("the head is over the limit")]
    HeadTooLarge,
    /// As many requests under way as there may be.
    #[error("too many requests under way")]
    Overloaded,
    /// We cannot tell whether the token is good.
    #[error("no usable key set: the issuer has not answered in time")]
    KeysUnavailable,
    /// No connection to the backend.
    #[error("the backend cannot be reached: {0}")]
    UpstreamUnreachable(String),
    /// The backend's answer is no HTTP, or ended before its head did.
    #[error("the backend broke off: {0}")]
    UpstreamBroken(String),
    /// The backend took too long.
    #[error("the backend did not answer in time")]
    UpstreamTimeout,
    /// The process ends, and the backend has not answered a call by then. It may have done what it
    /// was asked for.
    #[error("the proxy ended before the backend answered")]
    Draining,
    /// A bug of ours.
    #[error("internal error")]
    Internal,
}

/// A refusal as it is answered: why, and what the client sees of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why: what is counted and logged, whatever the client sees.
    pub reject: Reject,
    face: Face,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Face {
    /// The refusal as it is.
    Plain,
    /// Nothing: as if there were nothing.
    Hidden,
    /// The way to where people sign in.
    SignIn(Box<Away>),
}

impl Refusal {
    /// A refusal that the client cannot tell from a path where there is nothing.
    pub fn hidden(reject: Reject) -> Self {
        Self { reject, face: Face::Hidden }
    }

    /// The same refusal, with which the browser is sent to sign in.
    #[must_use]
    pub fn with_sign_in(self, sign_in: Away) -> Self {
        Self { face: Face::SignIn(Box::new(sign_in)), ..self }
    }

    /// Returns the status the client is answered with.
    pub fn status(&self) -> StatusCode {
        match self.face {
            Face::Plain => self.reject.status(),
            Face::Hidden => StatusCode::NOT_FOUND,
            Face::SignIn(_) => StatusCode::TEMPORARY_REDIRECT,
        }
    }

    /// Returns the reason, where the client may see it.
    pub fn shown(&self) -> Option<&Reject> {
        match self.face {
            Face::Plain | Face::SignIn(_) => Some(&self.reject),
            Face::Hidden => None,
        }
    }

    /// Returns where the browser is sent, if it is.
    pub fn away(&self) -> Option<&Away> {
        match (&self.face, &self.reject) {
            (Face::SignIn(away), _) => Some(away),
            (Face::Plain, Reject::Handshake(redirect)) => Some(&redirect.away),
            (Face::Plain, Reject::HandshakeOver { away, .. }) => Some(away),
            (Face::Plain | Face::Hidden, _) => None,
        }
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self { reject, face: Face::Plain }
    }
}

/// The `error` of a `Bearer` challenge (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BearerError {
    /// The request is at fault.
    InvalidRequest,
    /// The token is at fault.
    InvalidToken,
    /// The token is good, and not enough.
    InsufficientScope,
}

impl BearerError {
    /// Returns the word of RFC 6750.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

impl Reject {
    /// Returns the status the client is answered with.
    pub fn status(&self) -> StatusCode {
        self.faces().0
    }

    /// Returns the code in the challenge. RFC 6750 §3.1: a request without a credential is told none.
    pub fn bearer_error(&self) -> Option<BearerError> {
        self.faces().1
    }

    /// Returns the reason in a word: Clerk's own where Clerk has one.
    pub fn label(&self) -> &'static str {
        self.faces().2
    }

    /// Returns the scope that the token lacks, as a challenge names it (RFC 6750 §3).
    pub fn needed_scope(&self) -> Option<&str> {
        let Self::ScopeInsufficient { needed } = self else { return None };
        Some(needed)
    }

    /// Returns after how many seconds the client may try again, where that helps.
    pub fn retry_after(&self) -> Option<u8> {
        (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1)
    }

    /// Tells whether nothing but a date is wrong with the token.
    pub fn is_of_a_date(&self) -> bool {
        let Self::ClaimRefused { error, .. } = self else { return false };
        match error {
            ClaimError::Expired { .. }
            | ClaimError::NotYetValid { .. }
            | ClaimError::IssuedInFuture { .. } => true,
            ClaimError::SubjectMissing
            | ClaimError::AudienceMismatch
            | ClaimError::AuthorizedPartyMismatch
            | ClaimError::DateMalformed(_)
            | ClaimError::LifetimeTooLong => false,
        }
    }

    /// Tells whether a claim of a session token is at fault.
    pub fn is_of_a_session(&self) -> bool {
        matches!(self, Self::ClaimRefused { class: TokenClass::SessionToken, .. })
    }

    /// Tells whether the issuer, the backend or we are to blame, not the request.
    pub fn is_failure(&self) -> bool {
        self.status().is_server_error()
    }

    /// One row a reason, and no wildcard: whoever adds a reason is asked for all its faces.
    #[rustfmt::skip]
    fn faces(&self) -> (StatusCode, Option<BearerError>, &'static str) {
        use BearerError::{InsufficientScope, InvalidRequest, InvalidToken};
        match self {
            Self::RequestMalformed(_)    => (StatusCode::BAD_REQUEST,           None,                 "request-malformed"),
            Self::CredentialMissing      => (StatusCode::UNAUTHORIZED,          None,                 "session-token-and-uat-missing"),
            Self::SignedOut(reason)      => (StatusCode::UNAUTHORIZED,          None,                 reason.as_str()),
            Self::HandshakeLoop(reason)  => (StatusCode::UNAUTHORIZED,          None,                 reason.as_str()),
            Self::Handshake(redirect)    => (StatusCode::TEMPORARY_REDIRECT,    None,                 redirect.reason.as_str()),
            Self::HandshakeOver { signed_out, .. } => (StatusCode::TEMPORARY_REDIRECT, None,          signed_out.map_or("handshake-over", Reason::as_str)),
            Self::CookiesRefused         => (StatusCode::UNAUTHORIZED,          None,                 "cookies-refused"),
            Self::CrossSite              => (StatusCode::FORBIDDEN,             None,                 "cross-site-request"),
            // Not 401: the user may be signed in, it is the proxy that cannot tell.
            Self::ClerkUnavailable(_)    => (StatusCode::SERVICE_UNAVAILABLE,   None,                 "clerk-unavailable"),
            Self::CredentialRepeated     => (StatusCode::BAD_REQUEST,           Some(InvalidRequest), "credential-repeated"),
            Self::TokenMalformed         => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "token-invalid"),
            Self::TokenClassRefused      => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "token-type-mismatch"),
            Self::IssuerUnknown          => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "token-invalid-issuer"),
            Self::AlgorithmRefused       => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "token-invalid-algorithm"),
            Self::KeyUnknown { .. }      => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "jwk-kid-mismatch"),
            Self::KeyMismatch            => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "token-verification-failed"),
            Self::SignatureInvalid       => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "token-invalid-signature"),
            Self::ClaimRefused { class, error } => (StatusCode::UNAUTHORIZED,   Some(InvalidToken),   claim_label(*class, error)),
            Self::SessionRevoked         => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "session-revoked"),
            Self::SessionPending         => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "session-pending"),
            Self::ImpersonationRefused   => (StatusCode::FORBIDDEN,             None,                 "impersonation-refused"),
            Self::ScopeInsufficient { .. } => (StatusCode::FORBIDDEN,           Some(InsufficientScope), "scope-insufficient"),
            Self::AccessDenied(_)        => (StatusCode::FORBIDDEN,             None,                 "access-denied"),
            Self::ReverificationMissing(_) => (StatusCode::FORBIDDEN,           None,                 "reverification-error"),
            Self::MethodRefused          => (StatusCode::METHOD_NOT_ALLOWED,    None,                 "method-refused"),
            Self::RequestTimeout         => (StatusCode::REQUEST_TIMEOUT,       None,                 "request-timeout"),
            Self::ClientGone             => (client_closed_request(),           None,                 "client-gone"),
            Self::BodyTooLarge           => (StatusCode::PAYLOAD_TOO_LARGE,     None,                 "body-too-large"),
            Self::TargetTooLong          => (StatusCode::URI_TOO_LONG,          None,                 "target-too-long"),
            Self::HeadTooLarge           => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, None,       "head-too-large"),
            Self::Overloaded             => (StatusCode::SERVICE_UNAVAILABLE,   None,                 "overloaded"),
            Self::StreamOver             => (StatusCode::UNAUTHORIZED,          Some(InvalidToken),   "stream-over"),
            // Not 401: the token may be good, it is the proxy that cannot tell.
            Self::KeysUnavailable        => (StatusCode::SERVICE_UNAVAILABLE,   None,                 "keys-unavailable"),
            Self::UpstreamUnreachable(_) => (StatusCode::BAD_GATEWAY,           None,                 "upstream-unreachable"),
            Self::UpstreamBroken(_)      => (StatusCode::BAD_GATEWAY,           None,                 "upstream-broken"),
            Self::UpstreamTimeout        => (StatusCode::GATEWAY_TIMEOUT,       None,                 "upstream-timeout"),
            // Not 504: the backend was not given its time.
            Self::Draining               => (StatusCode::SERVICE_UNAVAILABLE,   None,                 "draining"),
            Self::Internal               => (StatusCode::INTERNAL_SERVER_ERROR, None,                 "internal"),
        }
    }
}

/// 499, which no RFC has and every log analyst knows from nginx.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).expect("a status is 100 to 999")
}

/// Clerk's words: for a date, of a session as its middleware says it, of any other token as its
/// `verifyToken` does.
fn claim_label(class: TokenClass, error: &ClaimError) -> &'static str {
    let of_session = class == TokenClass::SessionToken;
    match error {
        ClaimError::SubjectMissing
        | ClaimError::AudienceMismatch
        | ClaimError::DateMalformed(_) => "token-verification-failed",
        ClaimError::AuthorizedPartyMismatch => "token-invalid-authorized-parties",
        ClaimError::Expired { .. } if of_session => "session-token-expired",
        ClaimError::Expired { .. } => "token-expired",
        ClaimError::NotYetValid { .. } if of_session => "session-token-nbf",
        ClaimError::NotYetValid { .. } => "token-not-active-yet",
        ClaimError::IssuedInFuture { .. } if of_session => "session-token-iat-in-the-future",
        ClaimError::IssuedInFuture { .. } => "token-iat-in-the-future",
        ClaimError::LifetimeTooLong => "token-lifetime-exceeded",
    }
}
