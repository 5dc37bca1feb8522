//! Who may use a route.

use std::sync::Arc;

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

/// Proof that a request may go to the backend, and as whom.
///
/// Only [`Access::permit`] makes one, and forwarding takes one: a request that was not authorized
/// has no way to the backend.
#[derive(Clone, Debug)]
pub struct Permit {
    identity: Arc<Identity>,
}

impl Access {
    /// Lets a caller in, or nobody in particular where the route asks for nobody.
    ///
    /// # Errors
    ///
    /// [`Reject::CredentialMissing`] where the route asks for a caller and there is none.
    pub fn permit(
        self,
        caller: Option<Arc<Identity>>,
        anonymous: &Arc<Identity>,
    ) -> Result<Permit, Reject> {
        match (self, caller) {
            (Self::Public, _) => Ok(Permit { identity: Arc::clone(anonymous) }),
            (Self::Required, Some(identity)) => Ok(Permit { identity }),
            (Self::Required, None) => Err(Reject::CredentialMissing),
        }
    }
}

impl Permit {
    /// Returns what the backend is told about the caller.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}
