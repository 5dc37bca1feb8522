//! Nothing gets past: the attacks of fifteen years on proxies, tokens and their readers, each tried
//! on the whole proxy.
//!
//! A module a family, a function a row of the catalogue: its name starts with the row's id and then
//! says the rule that stands against it. Where an attack cannot be, its test shows what it would
//! need and does not find. The scene and the tokens of those about tokens are in `tokens`; what sends
//! any bytes and any frames, and keeps what a backend got, in `raw`, `frames` and `recorder`.

mod alg;
mod cch;
mod clm;
mod dos;
mod ext;
pub(crate) mod frames;
mod h1;
mod h11p;
mod h11p_index;
mod h11p_passes;
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
