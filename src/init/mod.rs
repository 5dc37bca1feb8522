//! `countersign init`: a settings file for an app that is there.
//!
//! An app's folder says which Clerk instance it belongs to, and mostly where its backend listens.
//! What is found is told with the file that said it, for somebody to look over. Nothing is run and
//! nobody is asked over the network, and no secret that stands in the same files is repeated.

mod command;
mod compose;
mod env_file;
mod folder;
mod front_end;
mod key;
mod package;
mod pages;
mod port;
mod server;
mod server_settings;
mod settings;
mod source;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{self, ConfigError, Files, Flags, Sources, Terminal, Warning};
use crate::core::clerk::publishable_key::Environment;

pub use self::folder::Folder;
use self::folder::Place;
use self::front_end::{FrontEnd, Serves};
use self::pages::Pages;
use self::port::{Guess, Sure};

/// Every file that is looked at, as it is named by who asks for it: first those of variables, in the
/// order in which they count.
fn files() -> impl Iterator<Item = &'static str> {
    let others: BTreeSet<_> = port::files().chain(front_end::files()).collect();
    env_file::FILES.into_iter().chain(others)
}

/// What need not be found, because somebody said it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The publishable key.
    pub publishable_key: Option<String>,
    /// The backend's address.
    pub upstream: Option<String>,
}

/// What was found, and the settings that follow from it.
#[derive(Debug)]
pub struct Draft {
    key: key::Found,
    backend: Backend,
    pages: Vec<Pages>,
    unreadable: Vec<String>,
}

/// A settings file, as it is to be written.
#[derive(Debug)]
pub struct Settings {
    /// What stands in it.
    pub text: String,
    /// What `check` will say of it.
    pub warnings: Vec<Warning>,
}

/// Where the backend listens.
#[derive(Debug)]
struct Backend {
    url: String,
    port: Option<u16>,
    /// The folder that tells of it.
    place: Option<String>,
    /// What says that it is there.
    by: Option<String>,
    /// Whether nothing does, but what many do.
    is_guess: bool,
    /// Whether it answers with the pages of a front end in its folder.
    has_pages: bool,
}

/// Why there is no settings file.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// No variable has a publishable key; what stands in its place.
    #[error("{}", NoKey(.0))]
    NoKey(Vec<String>),
    /// The app's folder cannot be read.
    #[error("`{}` cannot be read: {problem}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// What was given does not do as a setting.
    #[error("{}", Lines(.0))]
    Settings(Vec<ConfigError>),
    /// There is a file already.
    #[error(
        "`{}` is there already; `--force` writes over it, `--stdout` shows what would be written",
        .0.display()
    )]
    Exists(PathBuf),
    /// The file could not be written.
    #[error("`{}` could not be written: {problem}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
}

/// Where the proxy listens unless told otherwise, as a browser on this machine calls it: as it
/// calls the pages, so that Clerk's cookies are for both.
const PROXY: &str = "http://localhost:4600";

/// Where a backend is looked for that nothing speaks of.
const PORT: u16 = 3000;

impl Draft {
    /// Puts together what a folder says and what was given.
    ///
    /// # Errors
    ///
    /// Where no publishable key is found.
    pub fn of(
        folder: &Folder,
        environment: &BTreeMap<String, String>,
        given: &Given,
    ) -> Result<Self, InitError> {
        let key = key::find(folder, environment, given.publishable_key.as_deref())?;
        let places = in_order(folder, &key);
        let backend = match &given.upstream {
            Some(url) => Backend::given(url),
            None => Backend::of(&places),
        };
        let pages = Pages::of(&places, &backend, key.place.as_deref());
        Ok(Self { key, backend, pages, unreadable: folder.unreadable.clone() })
    }

    /// Writes the settings, once the program's own reader has taken them.
    ///
    /// # Errors
    ///
    /// The mistakes it finds: what was given is no address, or the proxy's own.
    pub fn settings(&self, path: &Path) -> Result<Settings, InitError> {
        let text = settings::text(self);
        let warnings = read(path, &text).map_err(InitError::Settings)?;
        Ok(Settings { text, warnings })
    }

    /// Says what was found by what, what the settings leave open, and what to do now; `config` is
    /// how their file is called.
    pub fn report(&self, config: &str, warnings: &[Warning]) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let (key, by) = (&self.key.key, &self.key.by);
        let _ = writeln!(out, "key      {}, {} ({by})", key.host(), key::kind(key));
        let _ = writeln!(out, "backend  {} ({})", self.backend.url, self.backend.by());
        for front_end in self.pages.iter().map(Pages::front_end) {
            let name = front_end.framework.name;
            let _ = match front_end.origin() {
                Some(origin) => {
                    writeln!(out, "pages    {name} at {origin} ({})", front_end.port_by())
                }
                None => writeln!(out, "pages    {name} ({})", front_end.by),
            };
        }
        for note in self.notes() {
            let _ = writeln!(out, "note     {note}");
        }
        for warning in warnings {
            let _ = writeln!(out, "warning  {warning}");
        }
        let _ = write!(
            out,
            "\nLook the file over, start your backend, and the proxy before it:\n\n  countersign serve --config {config}\n"
        );
        let _ = write!(out, "\n{}:\n\n", self.invitation());
        let front_end = self.pages.first().map(Pages::front_end);
        for line in front_end::snippet(front_end, PROXY).lines() {
            let _ = writeln!(out, "{}", format!("  {line}").trim_end());
        }
        out
    }

    /// Returns the origins of pages that are another server's, and the proxy's own where it has pages
    /// too; none where those are all. In production no file says them.
    fn parties(&self) -> Vec<String> {
        let apart = self.pages.iter().filter_map(Pages::apart).filter_map(FrontEnd::origin);
        let mut origins: BTreeSet<_> = apart.filter(|_| self.is_development()).collect();
        if !origins.is_empty() {
            origins.extend(self.public_url().map(str::to_owned));
        }
        origins.into_iter().collect()
    }

    /// Returns where browsers find the pages of a backend. In production no file says it.
    ///
    /// Those of a front end in the backend's own folder may be the backend's, which has a server for
    /// their scripts beside it (Laravel and Rails with Vite), or that server's: they are both's.
    fn public_url(&self) -> Option<&'static str> {
        let is_here = |it: &FrontEnd| self.backend.place.as_ref() == Some(&it.place);
        let has_pages = self.pages.iter().any(|pages| match pages {
            Pages::Backends(_) => true,
            Pages::Apart(front_end) => is_here(front_end) && front_end.origin().is_some(),
        });
        (has_pages && self.is_development()).then_some(PROXY)
    }

    fn is_development(&self) -> bool {
        self.key.key.environment() == Environment::Development
    }

    /// Returns the framework whose pages come from the backend, and the paths of what it builds.
    fn built_files(&self) -> Option<(&'static str, &'static str)> {
        self.pages.iter().find_map(|pages| match pages {
            Pages::Backends(front_end) => {
                Some((front_end.framework.name, front_end.framework.built_files()?))
            }
            Pages::Apart(_) => None,
        })
    }

    fn notes(&self) -> Vec<String> {
        let unreadable = self.unreadable.iter().map(|it| format!("not read: {it}"));
        let others = self.key.others.iter().map(|it| {
            format!("another key: {it}; give the one that is meant with --publishable-key")
        });
        let of_backend = self.backend.is_guess.then(|| {
            "where does your backend listen? Change `upstream.url` in the file, or say it with --upstream http://127.0.0.1:PORT".to_owned()
        });
        let built = self.built_files().map(|(framework, path)| {
            format!(
                "what {framework} builds for browsers, {path}, is for everybody; all else needs a token, until a route says otherwise"
            )
        });
        let notes = unreadable.chain(others).chain(of_backend).chain(self.same_port());
        notes.chain(self.whose_tokens()).chain(built).collect()
    }

    /// Two that listen on one port by custom: one of them is told another when it is started.
    fn same_port(&self) -> Option<String> {
        let mut apart = self.pages.iter().filter_map(Pages::apart);
        let other =
            apart.find(|it| self.backend.port == Some(it.port()) && it.origin().is_some())?;
        Some(format!(
            "the backend and {} would both be at port {}: change the one that is not, in `upstream.url` or `clerk.authorized_parties`",
            other.framework.name,
            other.port()
        ))
    }

    fn whose_tokens(&self) -> Option<String> {
        let parties = self.parties();
        let (origins, key) = match self.public_url() {
            _ if !parties.is_empty() => (parties.join(", "), "clerk.authorized_parties"),
            Some(url) => (url.to_owned(), "public_url"),
            None => return None,
        };
        Some(format!("tokens are taken from pages of {origins} alone: `{key}`"))
    }

    fn invitation(&self) -> String {
        match self.pages.first() {
            Some(Pages::Backends(front_end)) => format!(
                "Open {PROXY} for the pages of {}; a page of another origin sends its token so",
                front_end.framework.name
            ),
            Some(Pages::Apart(front_end)) if front_end.framework.serves == Serves::Phones => {
                "The app sends its token so; a phone needs this machine's address, and `listen = \"0.0.0.0:4600\"`".to_owned()
            }
            Some(Pages::Apart(front_end)) => format!(
                "A page of {} sends its token so; your backend answers its CORS preflight, as without a proxy",
                front_end.framework.name
            ),
            None => format!("Open {PROXY} for pages of the backend; a script sends its token so"),
        }
    }
}

impl Backend {
    fn given(url: &str) -> Self {
        let (url, port) = (url.to_owned(), command::of_address(url));
        let by = Some("--upstream".to_owned());
        Self { url, port, place: None, by, is_guess: false, has_pages: false }
    }

    fn of(places: &[&Place]) -> Self {
        let (guess, place) = port::guess(places).unzip();
        let at = |port| format!("http://127.0.0.1:{port}");
        match guess {
            Some(Guess { port, by, sure, has_pages }) => Self {
                url: at(port),
                port: Some(port),
                place,
                by: Some(by),
                is_guess: sure == Sure::ByCustom,
                has_pages,
            },
            None => Self {
                url: at(PORT),
                port: None,
                place: None,
                by: None,
                is_guess: true,
                has_pages: false,
            },
        }
    }

    /// Tells whether it answers with the pages of a front end: one in its folder, or at the port
    /// that was given.
    fn is_of(&self, front_end: &FrontEnd) -> bool {
        match &self.place {
            Some(place) => self.has_pages && *place == front_end.place,
            None => self.port == Some(front_end.port()),
        }
    }

    fn by(&self) -> &str {
        self.by.as_deref().unwrap_or("a guess: no file says where it listens")
    }
}

/// The folders, those first that are about Clerk: where the key is, and what needs a package of
/// Clerk's.
fn in_order<'f>(folder: &'f Folder, key: &key::Found) -> Vec<&'f Place> {
    let mut places: Vec<_> = folder.places.iter().collect();
    places.sort_by_key(|place| {
        let has_clerk = front_end::of_place(place).is_some_and(|front_end| front_end.has_clerk);
        (key.place.as_ref() != Some(&place.path("")), !has_clerk)
    });
    places
}

/// Reads settings as `serve` will, in an environment that says nothing; returns what is to be said
/// about them.
fn read(path: &Path, text: &str) -> Result<Vec<Warning>, Vec<ConfigError>> {
    let files = Written { path, text };
    let sources = Sources {
        flags: Flags { config: Some(path.to_owned()), ..Flags::default() },
        environment: BTreeMap::new(),
        files: &files,
        cpus: 1,
        terminal: Terminal::No,
    };
    config::load(&sources).map(|loaded| loaded.warnings)
}

/// A disk with the one file on it that is not written yet.
struct Written<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Files for Written<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.path { Ok(self.text.into()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn is_open_to_all(&self, _: &Path) -> bool {
        false
    }
}

/// What to do where there is no key.
struct NoKey<'a>(&'a [String]);

impl fmt::Display for NoKey<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bad in self.0 {
            writeln!(out, "{bad}")?;
        }
        out.write_str(
            "no publishable key in `.env`, `.env.local` and the like; copy it from the API keys in Clerk's dashboard to `.env.local` as CLERK_PUBLISHABLE_KEY=pk_test_…, or give it with --publishable-key",
        )
    }
}

/// A line a mistake.
struct Lines<'a>(&'a [ConfigError]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, ConfigError { key, problem, .. }) in self.0.iter().enumerate() {
            // Not where in the file: it is not there.
            write!(out, "{}{key}: {problem}", if place > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}
