//! What the operator wrote, as types that cannot hold a bad value.
//!
//! Flags win over the environment, which wins over the file. [`load`] reads all three into one flat
//! table of texts, key by key; the sections turn that into the settings of each room. They go on
//! after a mistake, so that an operator learns of all of them at once. Nothing else in the house
//! reads the environment or the file.

mod address;
mod clerk;
mod environment;
mod error;
mod fetch;
mod file;
mod files;
mod flags;
mod identity;
mod issuers;
mod key;
mod limits;
mod listen;
mod log;
mod reader;
mod routes;
mod rules;
mod settings;
mod shown;
mod signing;
mod units;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::path::Path;

use crate::core::issuer::TokenClass;
use crate::proxy::ProxySettings;

pub use self::error::{ConfigError, Origin, Warning};
use self::file::FileContent;
pub use self::files::{Disk, Files};
pub use self::flags::Flags;
use self::key::Home;
use self::reader::{Notes, Reader};
pub use self::settings::{IssuerSettings, Settings};
pub use self::shown::Setting;
pub use self::units::{NotASize, NotASpan, Size, Span};
use self::written::Written;

/// Where settings come from: everything that [`load`] looks at.
pub struct Sources<'a> {
    /// The command line.
    pub flags: Flags,
    /// The environment. What is not UTF-8 in a value is U+FFFD, and refused where we need it.
    pub environment: BTreeMap<String, String>,
    /// What the settings file and others are read from.
    pub files: &'a dyn Files,
    /// How many CPUs the process may use.
    pub cpus: usize,
    /// Whether somebody reads the log as it is written.
    pub terminal: Terminal,
}

/// Whether standard error is a terminal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Terminal {
    /// It is.
    Yes,
    /// It is a file, a pipe, or closed.
    No,
}

/// The settings, and what is to be said about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program runs on.
    pub settings: Settings,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    /// Each setting as it was understood, in the order of the table of keys.
    pub shown: Vec<Setting>,
}

impl Sources<'static> {
    /// Takes the environment, the disk and the machine of this process.
    pub fn of_this_process(flags: Flags) -> Self {
        let environment = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        let terminal = if std::io::stderr().is_terminal() { Terminal::Yes } else { Terminal::No };
        Self {
            flags,
            environment: environment.collect(),
            files: &Disk,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            terminal,
        }
    }
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sources").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

/// Reads the settings.
///
/// # Errors
///
/// Every mistake there is, in the order of their sources and places; at least one.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Vec<ConfigError>> {
    let FileContent { mut written, syntax, mistakes } = file_content(sources);
    let mut notes = Notes { mistakes, ..Notes::default() };
    let mut above = environment::entries(&sources.environment, &mut notes);
    above.extend(sources.flags.entries());
    written.cover(above);

    let reader = Reader {
        entries: &written.entries,
        files: sources.files,
        notes: &mut notes,
        element: None,
    };
    let settings = settings_of(reader, &written, sources);
    let shown = shown::settings(&written, &notes.derived);
    let mistakes = told(notes.mistakes, syntax);
    match settings {
        Some(settings) if mistakes.is_empty() => {
            Ok(Loaded { settings, warnings: notes.warnings, shown })
        }
        _ => Err(mistakes),
    }
}

fn file_content(sources: &Sources<'_>) -> FileContent {
    let flag = sources.flags.config.as_deref().map(|path| (path, Origin::Flag("--config")));
    let variable = sources.environment.get(environment::CONFIG).filter(|path| !path.is_empty());
    let variable =
        variable.map(|path| (Path::new(path), Origin::Environment(environment::CONFIG.to_owned())));
    let Some((path, origin)) = flag.or(variable) else { return FileContent::default() };

    let bytes = sources.files.read(path).map_err(|error| format!("cannot be read: {error}"));
    let text = bytes.and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| "its bytes are not UTF-8, as TOML is".to_owned())
    });
    let name = path.display().to_string();
    match text {
        Ok(text) => file::parse(&name, &text),
        Err(problem) => FileContent {
            syntax: vec![ConfigError { key: name, problem, origin }],
            ..FileContent::default()
        },
    }
}

/// Hands each section its keys; nothing where something is missing that there is no default for.
fn settings_of(
    mut reader: Reader<'_>,
    written: &Written,
    sources: &Sources<'_>,
) -> Option<Settings> {
    let reader = &mut reader;
    let addresses = listen::settings(reader);
    let public_origin = reader.one("public_url", address::public_url);
    let others = written.all(Home::Issuer);
    let clerk = clerk::settings(reader, public_origin, &addresses.listen, !others.is_empty());
    let issuers = issuers::settings(reader, clerk.issuer, others, clerk.common);
    let sessions = issuers.iter().any(|it| it.policy.claims(TokenClass::SessionToken).is_some());
    let paths = routes::settings(reader, written.all(Home::Route), sessions || issuers.is_empty());
    let (identity, strip) = identity::settings(reader, !others.is_empty());
    let signing = signing::settings(reader, addresses.upstream.as_ref(), &identity, &strip.prefix);
    let trusted_proxies = listen::trusted_proxies(reader);
    let workers = limits::workers(reader, sources.cpus);
    let timeouts = limits::timeouts(reader);
    let limits = limits::limits(reader);
    let drain = limits::drain(reader);
    let http_client = fetch::settings(reader);
    let readiness = log::readiness(reader);
    let reveal_reason = log::reveal_reason(reader);
    let log = log::settings(reader, sources.terminal);

    let upstream = addresses.upstream?;
    let proxy = ProxySettings {
        listen: addresses.listen,
        listen_mode: addresses.listen_mode,
        upstream,
        workers,
        timeouts,
        limits,
        drain,
        paths: paths.policy,
        routes: paths.routes,
        preflight: paths.preflight,
        parties: clerk.parties,
        identity,
        strip,
        trusted_proxies,
        reveal_reason,
    };
    let admin = addresses.admin;
    let revoked = clerk.revoked;
    let settings =
        Settings { proxy, issuers, revoked, http_client, signing, admin, readiness, log };
    (!settings.issuers.is_empty()).then_some(settings)
}

/// Puts the mistakes in order, without those that only follow from a file that could not be read.
fn told(mut mistakes: Vec<ConfigError>, syntax: Vec<ConfigError>) -> Vec<ConfigError> {
    let line = |error: &ConfigError| match error.origin {
        Origin::File { line, .. } => Some(line),
        _ => None,
    };
    let follows = |error: &ConfigError| {
        // What is not set may stand where the file is broken; what is odd there is the break.
        let broken = |other: &ConfigError| line(other).is_some() && line(other) == line(error);
        !syntax.is_empty() && (error.origin == Origin::Default || syntax.iter().any(broken))
    };
    mistakes.retain(|error| !follows(error));
    mistakes.extend(syntax);
    mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
    mistakes
}
