//! Clerk's own rules, where the standards leave a choice or Clerk adds a claim.
//!
//! What becomes of a browser's cookies ([`handshake`] and what it stands on) is decided here and
//! held against Clerk's own verdicts.

pub mod away;
pub mod claimed;
pub mod cookies;
pub mod directives;
pub mod handshake;
pub mod has;
pub mod instance;
pub mod organization_sync;
pub mod public_url;
pub mod publishable_key;
pub mod refresh;
pub mod revoked;
pub mod row;
pub mod session_claims;
pub mod sign_in;
pub mod token_class;
