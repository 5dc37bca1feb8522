//! Clerk's own rules, where the standards leave a choice or Clerk adds a claim.

pub mod has;
pub mod publishable_key;
pub mod revoked;
pub mod session_claims;
pub mod token_class;
