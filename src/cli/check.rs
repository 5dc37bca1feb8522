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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Disk, Terminal};

    #[test]
    fn each_setting_is_printed_with_where_it_comes_from_and_then_the_warnings() {
        let environment = [
            ("CLERK_PUBLISHABLE_KEY", "pk_live_Y2xlcmsuYS5jb20k"),
            ("COUNTERSIGN_SIGNING_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
            ("COUNTERSIGN_UPSTREAM", "http://127.0.0.1:3000"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = config::load(&Sources {
            flags: Flags { workers: Some("1".to_owned()), ..Flags::default() },
            environment: environment.into(),
            files: &Disk,
            cpus: 2,
            terminal: Terminal::No,
        });
        let mut printed = Vec::new();

        print(&loaded.unwrap(), &mut printed).unwrap();

        let printed = String::from_utf8(printed).unwrap();
        for line in [
            "listen                     = \"127.0.0.1:4600\"   (default)\n",
            "clerk.issuer               = [\"https://clerk.a.com\"]   (from clerk.publishable_key)\n",
            "signing.secret             = (35 bytes)   (environment COUNTERSIGN_SIGNING_SECRET)\n",
            "workers                    = 1   (flag --workers)\n",
            "\nwarning: clerk.authorized_parties: not set: ",
        ] {
            assert!(printed.contains(line), "{line}\n{printed}");
        }
        assert!(!printed.contains("hunter2"));
    }
}
