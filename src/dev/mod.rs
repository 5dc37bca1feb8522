//! The development issuer and the echo backend of `demo`.
//!
//! Both are real servers on loopback ports of their own, so that `countersign demo` and the tests
//! of the whole proxy talk to them as they would to Clerk and to a backend. Neither knows the
//! proxy: the issuer signs with a key that nobody else has, and the echo backend verifies our
//! signature with code of its own, written from RFC 9421 and not from our signer.

mod backend_api;
mod clients;
mod countersignature;
pub mod echo;
mod echo_page;
mod endpoints;
mod frontend_api;
mod html;
pub mod issuer;
mod local_url;
mod mint;
mod newest;
mod server;
mod users;
pub mod verifier;
