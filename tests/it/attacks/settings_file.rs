//! Settings as an operator writes them: what starts, and what does not.

use std::collections::BTreeMap;

use countersign::config::{Disk, Flags, Loaded, Sources, Terminal, load};

/// Reads a settings file beside a publishable key and a backend; every mistake in it, or what the
/// program would run on.
pub(crate) fn settings_text(text: &str) -> Result<Loaded, Vec<String>> {
    settings_with(text, &[])
}

/// The same, with these variables.
pub(crate) fn settings_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("countersign.toml");
    std::fs::write(&file, text).unwrap();
    let usual = [
        ("CLERK_PUBLISHABLE_KEY", "pk_live_Y2xlcmsuYS5jb20k"),
        ("COUNTERSIGN_UPSTREAM", "http://127.0.0.1:3000"),
    ];
    let usual = usual.into_iter().filter(|(name, _)| {
        !(*name == "COUNTERSIGN_UPSTREAM" && text.contains("[upstream]")
            || *name == "CLERK_PUBLISHABLE_KEY" && text.contains("publishable_key"))
    });
    let environment: BTreeMap<_, _> = usual
        .chain(variables.iter().copied())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let sources = Sources {
        flags: Flags { config: Some(file), ..Flags::default() },
        environment,
        files: &Disk,
        cpus: 2,
        terminal: Terminal::No,
    };
    load(&sources).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}
