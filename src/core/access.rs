//! Who may use a route.

use std::sync::Arc;

use http::HeaderValue;

use crate::core::assertion::Assertion;
use crate::core::identity::Identity;
use crate::core::reject::Reject;

/// What a route asks of the caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Nothing: no credential is looked at.
    Public,
    /// A good credential.
    Required,
}

/// What the backend is told about one caller, and what proves it beyond one request.
#[derive(Clone, Debug)]
pub struct Testimony {
    /// The identity headers.
    pub identity: Arc<Identity>,
    /// The same as a JWT; nothing where none is wanted, or there is nobody to assert.
    pub assertion: Option<Arc<Assertion>>,
}

/// Proof that a request may go to the backend, and as whom.
///
/// Only [`Access::permit`] makes one, and forwarding takes one: a request that was not authorized
/// has no way to the backend.
#[derive(Clone, Debug)]
pub struct Permit(Testimony);

impl Access {
    /// Returns the word that settings have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Required => "required",
        }
    }

    /// Lets a caller in, or nobody in particular where the route asks for nobody.
    ///
    /// # Errors
    ///
    /// [`Reject::CredentialMissing`] where the route asks for a caller and there is none.
    pub fn permit(
        self,
        caller: Option<Testimony>,
        anonymous: &Arc<Identity>,
    ) -> Result<Permit, Reject> {
        let nobody = || Testimony { identity: Arc::clone(anonymous), assertion: None };
        match (self, caller) {
            (Self::Public, _) => Ok(Permit(nobody())),
            (Self::Required, Some(caller)) => Ok(Permit(caller)),
            (Self::Required, None) => Err(Reject::CredentialMissing),
        }
    }
}

impl Permit {
    /// Returns what the backend is told about the caller.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Returns the same as a JWT, where there is one.
    pub fn assertion(&self) -> Option<&HeaderValue> {
        self.0.assertion.as_ref().map(|assertion| &assertion.value)
    }
}
