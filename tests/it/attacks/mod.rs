//! The attacks of fifteen years on proxies, tokens and their readers, each tried on the whole proxy.
//!
//! A module a family. A test's name starts with the number of the attack and says the rule that
//! stands against it. Where an attack cannot be, its test shows what it would need and does not find.

mod h1;
mod pth;
mod raw;
mod recorder;
mod settings_file;
mod spf;

use self::settings_file::settings_text;
