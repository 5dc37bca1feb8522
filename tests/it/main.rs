//! What a client, an issuer, a backend and an operator see of the whole proxy.

mod forward;
mod support;
