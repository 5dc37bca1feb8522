//! What a client, an issuer, a backend and an operator see of the whole proxy; and what Clerk's own
//! library says of the same tokens.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod answered_early;
mod assertion;
mod attacks;
mod browser;
mod browser_clerk;
mod calls;
mod check;
mod corpus;
mod cors;
mod credential;
mod explain;
mod forward;
mod headers;
mod init;
mod issuers;
mod key_faults;
mod key_sources;
mod keys;
mod lifecycle;
mod limits;
mod observe;
mod paths;
mod protocols;
mod reload;
mod report;
mod revoked;
mod shared_connections;
mod signature;
mod streams;
mod support;
mod tls;
mod websockets;
