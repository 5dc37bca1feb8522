//! A reverse proxy that verifies Clerk tokens and tells the backend who is calling.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod dev;
pub mod http_client;
pub mod keys;
pub mod listen;
pub mod proxy;
pub mod telemetry;
