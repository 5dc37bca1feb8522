//! Whether a token is good, and whose: the steps in their order.
//!
//! Two halves, with the keys between them: to find those may take a fetch, and nothing here waits.
//! Whoever decides on a token goes this way, be it for a request or for somebody who asks.

use std::sync::Arc;

use crate::core::caller::Caller;
use crate::core::credential::BearerToken;
use crate::core::issuer::IssuerPolicy;
use crate::core::jwk::VerificationKey;
use crate::core::jws::{AdmittedToken, UnverifiedToken};
use crate::core::reject::Reject;
use crate::core::time::UnixTime;

/// The first half: takes a token apart, and for one of the issuer that it names. Returns the place
/// of that issuer among `policies`.
///
/// # Errors
///
/// Those of [`parse`], of [`issuer_of`] and of [`IssuerPolicy::admit`], in this order.
pub fn admit<'a, 'p>(
    token: BearerToken<'a>,
    longest: usize,
    policies: impl Iterator<Item = &'p IssuerPolicy>,
) -> Result<(usize, AdmittedToken<'a>), Reject> {
    let token = parse(token, longest)?;
    let (place, policy) = issuer_of(&token, policies)?;
    policy.admit(token).map(|admitted| (place, admitted))
}

/// Takes a token apart that is no longer than `longest`, in bytes.
///
/// # Errors
///
/// [`Reject::TokenMalformed`] where it is longer, or by [`UnverifiedToken::parse`].
pub fn parse(token: BearerToken<'_>, longest: usize) -> Result<UnverifiedToken<'_>, Reject> {
    if token.reveal().len() > longest {
        return Err(Reject::TokenMalformed);
    }
    UnverifiedToken::parse(token)
}

/// Finds the issuer that a token names, and its place. That a token names one is no reason to
/// believe it: it is verified with the keys of that issuer alone.
///
/// # Errors
///
/// [`Reject::IssuerUnknown`] where it names none of them.
pub fn issuer_of<'p>(
    token: &UnverifiedToken<'_>,
    policies: impl Iterator<Item = &'p IssuerPolicy>,
) -> Result<(usize, &'p IssuerPolicy), Reject> {
    let found = policies.enumerate().find(|(_, policy)| policy.is_named_by(token));
    found.ok_or(Reject::IssuerUnknown)
}

/// Checks that a token may be one of a session of the instance whose policy this is: what a cookie
/// holds must be, though other tokens are good in `Authorization`.
///
/// # Errors
///
/// Those of [`parse`]; [`Reject::IssuerUnknown`] where the token names another issuer;
/// [`Reject::TokenClassRefused`] where it is of another class.
pub fn check_session(
    token: BearerToken<'_>,
    longest: usize,
    policy: &IssuerPolicy,
) -> Result<(), Reject> {
    let token = parse(token, longest)?;
    if !policy.is_named_by(&token) {
        return Err(Reject::IssuerUnknown);
    }
    if policy.is_session(&token) { Ok(()) } else { Err(Reject::TokenClassRefused) }
}

/// The second half: says who calls with a token of the issuer's whose policy this is, and with
/// which of `keys` it was signed, the issuer's that may have.
///
/// # Errors
///
/// Those of [`AdmittedToken::verify`] and of [`IssuerPolicy::caller`], in this order.
pub fn caller(
    token: AdmittedToken<'_>,
    policy: &IssuerPolicy,
    keys: &[Arc<VerificationKey>],
    now: UnixTime,
) -> Result<(Caller, Arc<VerificationKey>), Reject> {
    let verified = token.verify(keys)?;
    let key = Arc::clone(&verified.key);
    policy.caller(verified, now).map(|caller| (caller, key))
}
