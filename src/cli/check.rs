//! `countersign check`: the settings as they were understood.

use std::process::ExitCode;

use crate::config::Flags;

/// The settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// Placeholder until merged.
pub fn run(_args: &Args) -> ExitCode {
    ExitCode::SUCCESS
}
