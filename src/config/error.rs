//! What is wrong with what was written, said to the operator who wrote it.

use std::fmt;
use std::sync::Arc;

/// One mistake in the settings: which key, what is wrong and what would be right, and where it
/// was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key}: {problem}{}", Place(.origin))]
pub struct ConfigError {
    /// The dotted key; the file where that could not be read.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
    /// Where it was written; [`Origin::Default`] where it was not written at all.
    pub origin: Origin,
}

/// Something in the settings that works, and that somebody should look at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// The dotted key, or the name of a variable that is none.
    pub key: String,
    /// What may be wrong and what would help.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}{}", self.key, self.text, Place(&self.origin))
    }
}

/// Where a value comes from. In the order in which mistakes are told.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// The command line; the flag with its dashes.
    Flag(&'static str),
    /// A variable of the environment, by its name.
    Environment(String),
    /// The settings file.
    File {
        /// The path as it was given.
        path: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
    },
    /// Follows from what another key says.
    Key(&'static str),
    /// Nothing was written.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(out, "flag {name}"),
            Self::Environment(name) => write!(out, "environment {name}"),
            Self::File { path, line, column } => write!(out, "{path}:{line}:{column}"),
            Self::Key(name) => write!(out, "from {name}"),
            Self::Default => out.write_str("default"),
        }
    }
}

/// An origin in brackets, after a sentence; nothing where nothing was written.
struct Place<'a>(&'a Origin);

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Origin::Default => Ok(()),
            origin => write!(out, " ({origin})"),
        }
    }
}

/// Quotes what was written: on one line, and not all of what is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
