//! Reads the settings again: when told to, and when a file they stand in has changed.

use std::convert::Infallible;
use std::fmt;

use tokio::time;
use tracing::{error, info, warn};

use super::App;
use crate::config::{ConfigError, Contents, DiskAgain, Files, Loaded, Noted, Sources};
use crate::telemetry::trace::Level;
use crate::watched::{self, LOOK_EVERY, Watched};

/// How the settings are read: for a backend of its own, or for a child of ours.
pub type Load = fn(&Sources<'_>) -> Result<Loaded, Vec<ConfigError>>;

/// Reads the settings, again and again. Flags and environment stay those of the start.
pub struct Reloader {
    sources: Sources<'static>,
    load: Load,
    level: Option<Level>,
    /// What was read last, whether or not it was good.
    contents: Contents,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reloader")
    }
}

impl Reloader {
    /// Reads the settings for the first time.
    ///
    /// # Errors
    ///
    /// As [`config::load`](crate::config::load).
    pub fn start(
        sources: Sources<'static>,
        load: Load,
    ) -> Result<(Loaded, Self), Vec<ConfigError>> {
        let (loaded, mut contents) = read(&sources, load, sources.files);
        contents.forget_watched_elsewhere();
        Ok((loaded?, Self { sources, load, level: None, contents }))
    }

    /// Sets what is logged as the settings say, from now on.
    #[must_use]
    pub fn with_level(self, level: Level) -> Self {
        Self { level: Some(level), ..self }
    }

    /// Reads the settings again whenever `told` ends or a file changes, and puts them in force.
    ///
    /// A file counts once nothing has changed for a look; one that says what it said before changes
    /// nothing, but where somebody asks for it.
    pub async fn run(mut self, app: &mut App, mut told: impl AsyncFnMut()) -> Infallible {
        loop {
            let mut files = self.contents.files().map(Watched::new).collect::<Vec<_>>();
            loop {
                tokio::select! {
                    () = told() => break,
                    () = watched::any_changed(&mut files) => {}
                }
                // The first look at each comes here too: it may have changed since it was read.
                if files.iter().all(|file| self.contents.are_still(file.path())) {
                    continue;
                }
                // And had none before it to be compared with. What has not settled is found again.
                time::sleep(LOOK_EVERY).await;
                if files.iter().all(Watched::is_settled) {
                    break;
                }
            }
            let (loaded, contents) = read(&self.sources, self.load, &DiskAgain);
            self.contents = contents;
            self.apply(loaded, app).await;
        }
    }

    async fn apply(&mut self, loaded: Result<Loaded, Vec<ConfigError>>, app: &mut App) {
        let applied = match loaded {
            Ok(loaded) => self.put_in_force(loaded, app).await,
            Err(mistakes) => Err(mistakes.iter().map(ToString::to_string).collect()),
        };
        match applied {
            Ok(()) => {
                self.contents.forget_watched_elsewhere();
                app.house.metrics.reloads.succeeded(app.house.clock.now());
                info!(fingerprint = app.in_force.fingerprint(), "settings reloaded");
            }
            Err(mistakes) => {
                app.house.metrics.reloads.failed();
                for mistake in &mistakes {
                    error!("{mistake}");
                }
                error!(mistakes = mistakes.len(), "settings not reloaded: the last good ones stay");
            }
        }
    }

    async fn put_in_force(&self, loaded: Loaded, app: &mut App) -> Result<(), Vec<String>> {
        let Loaded { settings, warnings, .. } = loaded;
        let level = settings.log.level;
        let waiting = app.reload(settings).await.map_err(|problem| vec![problem.to_string()])?;
        if let Some(shown) = &self.level {
            shown.set(level);
        }
        for warning in warnings {
            warn!("{warning}");
        }
        if !waiting.is_empty() {
            warn!(keys = waiting.join(", "), "these settings wait for a restart");
        }
        Ok(())
    }
}

fn read(
    sources: &Sources<'_>,
    load: Load,
    files: &dyn Files,
) -> (Result<Loaded, Vec<ConfigError>>, Contents) {
    let noted = Noted::new(files);
    let sources = Sources {
        flags: sources.flags.clone(),
        environment: sources.environment.clone(),
        files: &noted,
        cpus: sources.cpus,
        terminal: sources.terminal,
    };
    let loaded = load(&sources);
    (loaded, noted.contents())
}
