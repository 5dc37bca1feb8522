//! Whose tokens are good: the issuers that are configured, and what kind of token each may send.

use std::time::Duration;

use crate::core::claims::ClaimsPolicy;
use crate::core::clerk::token_class::{Category, is_machine};
use crate::core::json::{Object, Value};
use crate::core::jwk::Algorithms;
use crate::core::jws::{AdmittedToken, UnverifiedToken};
use crate::core::reject::Reject;

/// What kind of token a caller comes with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenClass {
    /// A session token of Clerk's: a user who is signed in.
    SessionToken,
    /// A token from a JWT template of Clerk's: a user, in a form of the application's own.
    JwtTemplate,
    /// An ID token (OpenID Connect Core §2) or access token (RFC 9068) of another issuer.
    Oidc,
}

impl TokenClass {
    /// Returns the word that settings, headers and logs have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionToken => "session_token",
            Self::JwtTemplate => "jwt_template",
            Self::Oidc => "oidc",
        }
    }

    /// Tells whether a token of this class may have this `typ` (RFC 8725 §3.11): one that was
    /// made for another purpose names it there.
    ///
    /// Clerk's have `JWT` to the letter, as its own library wants it; another issuer's a media
    /// type in any case, with or without `application/` (RFC 7515 §4.1.9).
    pub(super) fn goes_with(self, typ: Option<Value<'_>>) -> bool {
        let Some(typ) = typ else { return true };
        let Some(typ) = typ.as_str() else { return false };
        match self {
            Self::SessionToken | Self::JwtTemplate => typ == "JWT",
            Self::Oidc => {
                let typ = typ.to_ascii_lowercase();
                matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
            }
        }
    }
}

/// One issuer, and what its tokens must be and say.
#[derive(Clone, Debug)]
pub struct IssuerPolicy {
    /// What `iss` says, to the letter. Never empty; no two issuers share one.
    pub names: Vec<String>,
    /// What it may sign with.
    pub algorithms: Algorithms,
    /// Which of its tokens are good.
    pub tokens: TokenPolicy,
}

/// Which tokens of an issuer are good, by what the issuer is.
#[derive(Clone, Debug)]
pub enum TokenPolicy {
    /// A Clerk instance.
    Clerk(ClerkPolicy),
    /// Any other issuer.
    Oidc(ClaimsPolicy),
}

/// Which tokens of a Clerk instance are good.
#[derive(Clone, Debug)]
pub struct ClerkPolicy {
    /// What session tokens must say; nothing: they are refused.
    pub sessions: Option<ClaimsPolicy>,
    /// What tokens from JWT templates must say; nothing: they are refused.
    pub templates: Option<ClaimsPolicy>,
    /// Whether somebody may act for a user.
    pub impersonation: Impersonation,
}

/// What becomes of a token that somebody else uses in a user's name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Impersonation {
    /// It passes; who really acts is among the identity headers.
    #[default]
    Allow,
    /// It is refused.
    Refuse,
}

impl IssuerPolicy {
    /// Tells whether `token` names this issuer. RFC 7519 §2, StringOrURI: to the letter.
    pub fn is_named_by(&self, token: &UnverifiedToken<'_>) -> bool {
        token.issuer().is_some_and(|issuer| self.names.iter().any(|name| name == issuer))
    }

    /// Takes `token`, which names this issuer, for one of a class that is accepted.
    ///
    /// # Errors
    ///
    /// [`Reject::TokenClassRefused`], then those of its `typ` and `alg`
    /// ([`TokenMalformed`](Reject::TokenMalformed), [`AlgorithmRefused`](Reject::AlgorithmRefused)),
    /// then that of [`check_key_name`](Self::check_key_name).
    pub fn admit<'a>(&self, token: UnverifiedToken<'a>) -> Result<AdmittedToken<'a>, Reject> {
        let class = self.class_of(token.header(), token.claims());
        let class = class.ok_or(Reject::TokenClassRefused)?;
        let key_name = self.check_key_name(&token);
        let admitted = token.admitted(class, self.algorithms)?;
        key_name.map(|()| admitted)
    }

    /// Checks, where a token need not name its key, that it does not do so in a way no key could be
    /// named: that is not to name none, which leaves us to guess.
    ///
    /// # Errors
    ///
    /// [`Reject::KeyUnknown`].
    pub fn check_key_name(&self, token: &UnverifiedToken<'_>) -> Result<(), Reject> {
        match self.tokens {
            TokenPolicy::Oidc(_) if token.has_odd_kid() => Err(Reject::KeyUnknown { kid: None }),
            TokenPolicy::Oidc(_) | TokenPolicy::Clerk(_) => Ok(()),
        }
    }

    /// Returns what tokens of `class` must say; nothing where they are refused.
    pub fn claims(&self, class: TokenClass) -> Option<&ClaimsPolicy> {
        match (&self.tokens, class) {
            (TokenPolicy::Clerk(clerk), TokenClass::SessionToken) => clerk.sessions.as_ref(),
            (TokenPolicy::Clerk(clerk), TokenClass::JwtTemplate) => clerk.templates.as_ref(),
            (TokenPolicy::Oidc(claims), TokenClass::Oidc) => Some(claims),
            (TokenPolicy::Clerk(_), TokenClass::Oidc)
            | (TokenPolicy::Oidc(_), TokenClass::SessionToken | TokenClass::JwtTemplate) => None,
        }
    }

    /// Returns how far the issuer's clock and ours may differ for a token of `class`.
    pub fn leeway(&self, class: TokenClass) -> Duration {
        self.claims(class).map_or(Duration::ZERO, |claims| claims.leeway)
    }

    /// Returns the same policy with a leeway of a day: for what a handshake of a development
    /// instance brings to a machine whose clock is wrong, and for nothing else.
    #[must_use]
    pub fn lenient(&self) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let lenient = |claims: &ClaimsPolicy| ClaimsPolicy { leeway: DAY, ..claims.clone() };
        let mut policy = self.clone();
        if let TokenPolicy::Clerk(clerk) = &mut policy.tokens {
            clerk.sessions = clerk.sessions.as_ref().map(lenient);
        }
        policy
    }

    /// Returns the same policy for the tokens that handshakes bring: they are of the class of
    /// sessions, and never from a template, which an application's settings could fill with
    /// anything.
    #[must_use]
    pub fn of_handshakes(&self) -> Self {
        let mut policy = self.clone();
        if let TokenPolicy::Clerk(clerk) = &mut policy.tokens {
            clerk.templates = None;
        }
        policy
    }

    /// Tells whether a token is of the class of sessions, and those are accepted.
    pub fn is_session(&self, token: &UnverifiedToken<'_>) -> bool {
        self.class_of(token.header(), token.claims()) == Some(TokenClass::SessionToken)
    }

    /// Says of which accepted class a token of this issuer's is; nothing where it is of none.
    ///
    /// A Clerk instance signs all its classes with one key, so the class is looked at before
    /// anything is believed. Where `cat` says nothing (an older instance, or one that stamps one
    /// category on every class), a `sid` tells a session token: Clerk reserves that claim, and a
    /// template cannot set it.
    pub fn class_of(&self, header: &Object, claims: &Object) -> Option<TokenClass> {
        let TokenPolicy::Clerk(clerk) = &self.tokens else { return Some(TokenClass::Oidc) };
        if is_machine(header, claims) {
            return None;
        }
        let by_sid = || match (&clerk.templates, claims.get("sid")) {
            (Some(_), None) => TokenClass::JwtTemplate,
            (Some(_) | None, _) => TokenClass::SessionToken,
        };
        let class = match Category::of(header) {
            Category::Absent | Category::Ignore => by_sid(),
            Category::Session => TokenClass::SessionToken,
            Category::Template => TokenClass::JwtTemplate,
            Category::Machine | Category::Unknown => return None,
        };
        self.claims(class).map(|_| class)
    }
}

#[cfg(test)]
#[path = "issuer_tests.rs"]
mod tests;
