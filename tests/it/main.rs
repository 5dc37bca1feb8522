//! What a client, an issuer, a backend and an operator see of the whole proxy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod forward;
mod keys;
mod lifecycle;
mod limits;
mod support;
