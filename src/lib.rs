//! A reverse proxy that verifies Clerk tokens and tells the backend who is calling.
//!
//! Countersign stands beside one backend. It verifies the token of each request against a cached
//! key set that it keeps fresh in the background, turns invalid requests away, takes off whatever
//! a client could forge, and says in signed headers who is calling. How to use it stands in
//! README.md; this is the map of the house.
//!
//! # Rooms
//!
//! ```text
//!  5  main → cli → dev                start: flags, commands; the issuer and the backend of `demo`;
//!               → init               settings for an app that is there
//!  4  app → config                    assemble: build each part once; what the operator wrote
//!  3  proxy  admin                    serve: one request from head to answer; health and metrics
//!  2  keys  clerk_api → http_client   fetch and hold: key sets; Clerk's Backend API; one bounded
//!     signing  revoked  listen       request; our own keys; who is not let in any more; sockets;
//!     tls                            certificates
//!     child  exposure                the backend as our child; whether it can be reached past us;
//!     descriptors                    how many files may be open
//!  1  telemetry  clock  watched       count, log, tell the time, see that a file changed
//!  0  core                            decide: no I/O, no clock, no randomness
//! ```
//!
//! Imports point down. No room imports its own floor, except along an arrow, or one above; the
//! test `floors` holds the imports against this plan.
//!
//! # The life of a request
//!
//! ```text
//! accept → limit → target → find the route → find the credential → take the token apart
//!        → find the key → verify the signature → check the claims → permit → strip → sign
//!        → forward → observe
//! ```
//!
//! Each step takes what the one before it returned ([`proxy`]): nobody can forward without a
//! [`Permit`](core::access::Permit), sign a head that was not
//! [stripped](core::header::CleanHead), or read a [`Caller`](core::caller::Caller) out of a token
//! whose signature was not [verified](core::jws::VerifiedToken). A refusal is an answer too, and
//! all there are stand in [`Reject`](core::reject::Reject).

pub mod admin;
pub mod app;
pub mod child;
pub mod clerk_api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod descriptors;
pub mod dev;
pub mod exposure;
pub mod http_client;
pub mod init;
pub mod keys;
pub mod listen;
pub mod proxy;
pub mod revoked;
pub mod signing;
pub mod telemetry;
pub mod tls;
pub mod watched;
