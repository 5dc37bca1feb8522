//! What a client, an issuer, a backend and an operator see of the whole proxy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod corpus_requests;
mod cors;
mod credential;
mod forward;
mod headers;
mod observe;
mod paths;
mod signature;
mod support;
