//! `countersign check`: the settings as they were understood.

use std::io::Write;
use std::process::ExitCode;

use super::{BAD_SETTINGS, Failure};
use crate::config::{self, Flags, Loaded, Sources};

/// The settings, and how warnings count.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Count a warning as a mistake
    #[arg(long)]
    pub strict: bool,
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// Prints each setting with where it comes from, secrets masked, then what should be looked at.
///
/// Ends with 0, or with 78 where there is a mistake, or a warning that counts as one.
pub fn run(args: &Args) -> ExitCode {
    let loaded = match config::load(&Sources::of_this_process(args.flags.clone())) {
        Ok(loaded) => loaded,
        Err(mistakes) => return Failure::Settings(mistakes).report(),
    };
    // Nobody is left to tell where standard output is gone.
    let _ = print(&loaded, &mut std::io::stdout().lock());
    if args.strict && !loaded.warnings.is_empty() {
        return ExitCode::from(BAD_SETTINGS);
    }
    ExitCode::SUCCESS
}

fn print(loaded: &Loaded, out: &mut impl Write) -> std::io::Result<()> {
    let width = |text: fn(&config::Setting) -> usize| loaded.shown.iter().map(text).max();
    let keys = width(|setting| setting.key.chars().count()).unwrap_or(0);
    for setting in &loaded.shown {
        writeln!(out, "{:keys$} = {}   ({})", setting.key, setting.value, setting.origin)?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}
