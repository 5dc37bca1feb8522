//! The development issuer of `demo`.
//!
//! A real server on a loopback port of its own, so that `countersign demo` and the tests of the
//! whole proxy talk to it as they would to Clerk.

mod endpoints;
pub mod issuer;
mod mint;
mod server;
