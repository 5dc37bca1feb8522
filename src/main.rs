//! Flags → settings → runtime → exit status; nothing else.

use std::process::ExitCode;

use clap::Parser;
use countersign::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
