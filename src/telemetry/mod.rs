//! Counts and logs.

pub mod access_log;
pub mod metrics;
pub mod sink;
pub mod trace;

use tracing::level_filters::LevelFilter;

/// What is written to standard error, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// File: `log.level = "info"`; `error`, `warn`, `info`, `debug`, `trace`, `off`.
    pub level: LevelFilter,
    /// File: `log.format = "json"`. Default: text on a terminal, else JSON.
    pub format: LogFormat,
    /// Whether each request is a line.
    ///
    /// File: `log.access = true`.
    pub access: bool,
    /// How the access log shows who called.
    ///
    /// File: `log.caller = "plain"`.
    pub caller: CallerShown,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// How the access log shows who called.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CallerShown {
    /// As they are.
    #[default]
    Plain,
    /// As hashes with a key that is made at each start.
    Hash,
    /// Not at all.
    Omit,
}
