//! The attacks of fifteen years on proxies, tokens and their readers, each tried on the whole proxy.
//!
//! A module a family. A test's name starts with the number of the attack and says the rule that
//! stands against it. Where an attack cannot be, its test shows what it would need and does not find.

mod dos;
mod frames;
mod h1;
mod h2;
mod lek;
mod ops;
mod pth;
mod raw;
mod recorder;
mod settings_file;
mod spf;
mod upg;

use self::settings_file::settings_text;
