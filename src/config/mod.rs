//! What the operator wrote, as types that cannot hold a bad value.
//!
//! Flags win over the environment, which wins over the file. [`load`] reads all three into one flat
//! table of texts, key by key; the sections turn that into the settings of each room. They go on
//! after a mistake, so that an operator learns of all of them at once. Nothing else in the house
//! reads the environment or the file.

mod address;
mod browsers;
mod clerk;
mod environment;
mod error;
mod fetch;
mod file;
mod files;
mod flags;
mod hosts;
mod identity;
mod issuers;
mod key;
mod limits;
mod listen;
mod log;
mod protocols;
mod reader;
mod routes;
mod rule_warnings;
mod rules;
mod secret_key;
mod secrets;
mod settings;
mod shown;
mod signing;
mod surprises;
mod tls;
mod tokens;
mod units;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::admin::Readiness;
use crate::clerk_api::ClerkApiSettings;
use crate::core::header::StripPolicy;
use crate::core::identity::IdentityPolicy;
use crate::core::issuer::TokenClass;
use crate::core::origin::Scheme;
use crate::http_client::HttpClientSettings;
use crate::proxy::{BrowserSettings, Drain, Limits, ProxySettings, Timeouts, TrustedProxies};
use crate::signing::SigningSettings;
use crate::telemetry::LogSettings;

use self::browsers::Known;
pub use self::error::{ConfigError, Origin, Warning};
use self::file::FileContent;
pub use self::files::{Contents, Disk, DiskAgain, Files, Noted};
pub use self::flags::Flags;
use self::key::Home;
use self::listen::Addresses;
use self::protocols::Protocols;
use self::reader::{Notes, Reader};
use self::routes::Paths;
use self::rules::Callers;
pub use self::settings::{IssuerSettings, Settings, TokenSettings};
pub use self::shown::Setting;
use self::surprises::Whole;
use self::tls::Tls;
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
    read(sources, Needs::Backend, |sections, warnings, shown| {
        sections.settings().map(|settings| Loaded { settings, warnings, shown })
    })
}

/// Reads the settings for a backend that is a child of ours, as [`load`] does; `upstream.url` is then
/// a mistake, and its port is left to choose ([`UpstreamAddress::Child`](crate::proxy::UpstreamAddress)).
///
/// # Errors
///
/// As [`load`].
pub fn load_for_child(sources: &Sources<'_>) -> Result<Loaded, Vec<ConfigError>> {
    read(sources, Needs::Child, |sections, warnings, shown| {
        sections.settings().map(|settings| Loaded { settings, warnings, shown })
    })
}

/// Reads what decides on tokens, out of the same sources and with the same mistakes as [`load`];
/// only where the backend is need not be said.
///
/// # Errors
///
/// As [`load`].
pub fn load_for_tokens(sources: &Sources<'_>) -> Result<TokenSettings, Vec<ConfigError>> {
    read(sources, Needs::Tokens, |sections, _, _| sections.token_settings())
}

/// What must be known before a command can begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Needs {
    /// Where the backend is.
    Backend,
    /// Nothing of the backend: we start it.
    Child,
    /// Whose tokens are good, and nothing else.
    Tokens,
}

/// Reads all sections, and has what a command wants made out of them where there is no mistake.
fn read<T>(
    sources: &Sources<'_>,
    needs: Needs,
    made: impl FnOnce(Sections, Vec<Warning>, Vec<Setting>) -> Option<T>,
) -> Result<T, Vec<ConfigError>> {
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
    let sections = sections(reader, &written, sources, needs);
    let mistakes = told(notes.mistakes, syntax);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let shown = shown::settings(&written, &notes.derived);
    made(sections, notes.warnings, shown).ok_or(mistakes)
}

fn file_content(sources: &Sources<'_>) -> FileContent {
    let flag = sources.flags.config.as_deref().map(|path| (path, Origin::Flag("--config")));
    let variable = sources.environment.get(environment::CONFIG).filter(|path| !path.is_empty());
    let variable =
        variable.map(|path| (Path::new(path), Origin::Environment(environment::CONFIG.to_owned())));
    let Some((path, origin)) = flag.or(variable) else { return FileContent::default() };

    let bytes =
        sources.files.read_settings(path).map_err(|error| format!("cannot be read: {error}"));
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

/// What each section says.
struct Sections {
    addresses: Addresses,
    protocols: Protocols,
    tls: Tls,
    parties: Vec<String>,
    browsers: Option<BrowserSettings>,
    clerk_api: Option<ClerkApiSettings>,
    revoked: Option<PathBuf>,
    issuers: Vec<IssuerSettings>,
    paths: Paths,
    identity: IdentityPolicy,
    strip: StripPolicy,
    signing: SigningSettings,
    trusted_proxies: TrustedProxies,
    workers: usize,
    timeouts: Timeouts,
    limits: Limits,
    drain: Drain,
    http_client: HttpClientSettings,
    readiness: Readiness,
    reveal_reason: bool,
    log: LogSettings,
}

/// Hands each section its keys.
fn sections(
    mut reader: Reader<'_>,
    written: &Written,
    sources: &Sources<'_>,
    needs: Needs,
) -> Sections {
    let reader = &mut reader;
    let addresses = listen::settings(reader, needs);
    let protocols = protocols::settings(reader);
    let tls = tls::settings(reader, &addresses, protocols.http2);
    let public = reader.one("public_url", address::public_url);
    let public = public.as_ref();
    let others = written.all(Home::Issuer);
    let key = clerk::publishable_key(reader, &addresses.listen);
    let hosts = hosts::settings(reader, key.as_ref(), public);
    let clerk = clerk::settings(reader, key.as_ref(), &hosts, public, !others.is_empty());
    let clerk_api = secret_key::settings(reader, key.as_ref());
    let has_secret_key = secret_key::is_written(reader);
    let known = Known { key: key.as_ref(), hosts: &hosts, public, clerk: &clerk, has_secret_key };
    let browsers = browsers::settings(reader, &known);
    let issuers = issuers::settings(reader, clerk.issuer.clone(), others, clerk.common);
    let accepts = |class| issuers.iter().any(|it| it.policy.claims(class).is_some());
    let callers = Callers {
        sessions: accepts(TokenClass::SessionToken) || issuers.is_empty(),
        others: accepts(TokenClass::JwtTemplate) || accepts(TokenClass::Oidc),
        browsers: browsers.is_some(),
        secret_key: has_secret_key,
    };
    let paths = routes::settings(reader, written.all(Home::Route), callers);
    let trusted_proxies = listen::trusted_proxies(reader);
    let whole = Whole {
        listen: &addresses.listen,
        has_tls: tls.with_clients.is_some(),
        trusted_proxies: &trusted_proxies,
        public,
        hosts: &hosts,
        clerk: &clerk,
        browsers: browsers.as_ref(),
        paths: &paths,
    };
    surprises::warn(reader, &whole);
    let (identity, strip) = identity::settings(reader, !others.is_empty());
    let backend = addresses.upstream.as_ref().map(|backend| &backend.address);
    let signing = signing::settings(reader, backend, &identity, &strip.prefix);
    Sections {
        addresses,
        protocols,
        tls,
        parties: clerk.parties,
        browsers,
        clerk_api,
        revoked: clerk.revoked,
        issuers,
        paths,
        identity,
        strip,
        signing,
        trusted_proxies,
        workers: limits::workers(reader, sources.cpus),
        timeouts: limits::timeouts(reader),
        limits: limits::limits(reader),
        drain: limits::drain(reader),
        http_client: fetch::settings(reader),
        readiness: log::readiness(reader),
        reveal_reason: log::reveal_reason(reader),
        log: log::settings(reader, sources.terminal),
    }
}

impl Sections {
    /// Makes each room's settings; nothing where something is missing that there is no default
    /// for, which was noted.
    fn settings(self) -> Option<Settings> {
        let backend = self.addresses.upstream?;
        let proxy = ProxySettings {
            listen: self.addresses.listen,
            listen_mode: self.addresses.listen_mode,
            upstream: backend.address,
            upstream_protocol: backend.protocol,
            http2: self.protocols.http2,
            stream_lifetime: self.protocols.stream_lifetime,
            websocket_protocol_token: self.protocols.websocket_protocol_token,
            workers: self.workers,
            timeouts: self.timeouts,
            limits: self.limits,
            drain: self.drain,
            paths: self.paths.policy,
            routes: self.paths.routes,
            preflight: self.paths.preflight,
            parties: self.parties,
            identity: self.identity,
            strip: self.strip,
            trusted_proxies: self.trusted_proxies,
            browsers: self.browsers,
            reveal_reason: self.reveal_reason,
        };
        let settings = Settings {
            proxy,
            issuers: self.issuers,
            revoked: self.revoked,
            tls: self.tls.with_clients,
            upstream_tls: self.tls.to_backend,
            clerk_api: self.clerk_api,
            http_client: self.http_client,
            signing: self.signing,
            admin: self.addresses.admin,
            readiness: self.readiness,
            log: self.log,
        };
        (!settings.issuers.is_empty()).then_some(settings)
    }

    /// Takes what decides on tokens; nothing where nobody's are good, which was noted.
    fn token_settings(self) -> Option<TokenSettings> {
        let settings = TokenSettings {
            issuers: self.issuers,
            revoked: self.revoked,
            http_client: self.http_client,
            longest: self.limits.token,
            identity: self.identity,
            routes: self.paths.routes,
            browsers: self.browsers,
            trusted_proxies: self.trusted_proxies,
            scheme: if self.tls.with_clients.is_some() { Scheme::Https } else { Scheme::Http },
            paths: self.paths.policy,
            preflight: self.paths.preflight,
            longest_handshake: self.limits.head,
        };
        (!settings.issuers.is_empty()).then_some(settings)
    }
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
