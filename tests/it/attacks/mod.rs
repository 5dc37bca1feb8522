//! Nothing gets past: what was tried on others in fifteen years, tried on this proxy.
//!
//! A module a family, a function a row of the catalogue: its name starts with the row's id and
//! then says the rule. Where an attack cannot be, its test shows what it would need and does not
//! find. The scene and the tokens of those about tokens are in `tokens`; those about messages and
//! connections have theirs in `raw`, with the bytes of HTTP/2 in `frames` and a backend that keeps
//! every byte in `recorder`.

mod alg;
mod cch;
mod clm;
mod dos;
mod ext;
mod frames;
mod h1;
mod h2;
mod hdr;
mod key;
mod lek;
mod ops;
mod opt;
mod pay;
mod pth;
mod raw;
mod recorder;
mod ser;
mod settings_file;
mod sig;
mod spf;
mod tokens;
mod upg;
