//! Nothing gets past: what was tried on others in fifteen years, tried on this proxy.
//!
//! A module a family, a function a row of the catalogue: its name starts with the row's id and
//! then says the rule. The scene and the tokens of those about tokens are in `tokens`.

mod alg;
mod cch;
mod clm;
mod ext;
mod hdr;
mod key;
mod opt;
mod pay;
mod ser;
mod sig;
mod tokens;
