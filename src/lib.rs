//! A reverse proxy that verifies Clerk tokens and tells the backend who is calling.

pub mod cli;
pub mod clock;
pub mod core;
pub mod dev;
pub mod http_client;
