//! Flags → settings → runtime → exit status; nothing else.

use std::process::ExitCode;

use clap::Parser;
use countersign::cli::{self, Cli};

/// Gives memory back when a peak is over, where the system's own keeps the most there ever was: what is
/// left of many short lives lies among what lives on.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
