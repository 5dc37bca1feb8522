//! Decides; never waits.
//!
//! Everything the proxy has an opinion on is in this room: where a credential may stand, what a
//! token must say, who may use which route, which headers the backend sees. Every function here
//! is plain: same arguments, same answer. The present comes in as a [`UnixTime`](time::UnixTime),
//! keys as a key set, settings as types that cannot hold a bad value.
//!
//! This room does no I/O and imports no other room, so every rule in it can be tested with a table.

pub mod access;
pub mod again;
pub mod answer;
pub mod assertion;
pub mod base64url;
pub mod browser;
pub mod caller;
pub mod chunked;
pub mod claims;
pub mod clerk;
pub mod cookie;
pub mod credential;
pub mod explain;
mod fact;
pub mod form;
pub mod grpc;
pub mod header;
pub mod header_name;
pub mod http2;
pub mod identity;
pub mod issuer;
pub mod json;
pub mod jwk;
pub mod jwk_set;
pub mod jws;
pub mod keyring;
mod list;
pub mod origin;
pub mod path;
pub mod pem;
pub mod preflight;
pub mod reject;
pub mod request_head;
pub mod route;
pub mod sign;
pub mod signing_key;
pub mod stream;
pub mod target;
pub mod time;
pub mod trace_context;
pub mod upgrade;
pub mod verdict;
