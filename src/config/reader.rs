//! How a section reads its keys: each text through a parser, each mistake with its place.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Files;
use super::error::{ConfigError, Origin, Warning, quoted};
use super::key::{self, Home, Shown};
use super::units::{Size, Span};
use super::written::{Entries, Entry, Item};

/// What is to be said about the settings, beside what they are.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
    /// What keys come to that are not written.
    pub(super) derived: Entries,
}

/// Reads keys. What it cannot read it notes, and goes on as if nothing had been written.
pub(super) struct Reader<'a> {
    pub(super) entries: &'a Entries,
    pub(super) files: &'a dyn Files,
    pub(super) notes: &'a mut Notes,
    /// Which table of several these keys are of, and its place among them, from 1.
    pub(super) element: Option<(&'static str, usize)>,
}

/// A file that a setting names.
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// Creates a reader of the keys of one table of several.
    pub(super) fn of_element<'b>(
        &'b mut self,
        home: Home,
        place: usize,
        entries: &'b Entries,
    ) -> Reader<'b> {
        let element = home.element().map(|name| (name, place));
        Reader { entries, files: self.files, notes: self.notes, element }
    }

    /// Reads a key that says one thing.
    pub(super) fn one<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let item = self.entry(name)?.items.first()?;
        self.parse(name, item, parse)
    }

    /// Reads a key that says several things; nothing where it is not written.
    pub(super) fn many<T, E: Display>(
        &mut self,
        name: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let entry = self.entry(name)?;
        if entry.items.is_empty() {
            self.mistake(name, "an empty list; take it out, or name what belongs there");
        }
        let read = entry.items.iter().filter_map(|item| self.parse(name, item, &mut parse));
        Some(read.collect())
    }

    /// Reads a key that says one of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.one(name, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
                format!("not one of {}", words.join(", "))
            })
        })
    }

    /// Reads a key that says yes or no.
    pub(super) fn switch(&mut self, name: &'static str) -> Option<bool> {
        self.choice(name, &[("true", true), ("false", false)])
    }

    /// Reads a duration within these bounds.
    pub(super) fn span(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let bounds = Span(*bounds.start())..=Span(*bounds.end());
        self.one(name, |text| {
            let span: Span = text.parse().map_err(|error| format!("{error}"))?;
            within(&span, &bounds).map(|()| span.0)
        })
    }

    /// Reads a number of bytes within these bounds.
    pub(super) fn size(&mut self, name: &'static str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let bounds = Size(*bounds.start())..=Size(*bounds.end());
        self.one(name, |text| {
            let size: Size = text.parse().map_err(|error| format!("{error}"))?;
            within(&size, &bounds).map(|()| size.0)
        })
    }

    /// Reads a whole number within these bounds.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<usize>,
    ) -> Option<usize> {
        self.one(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit()); // `parse` would take `+5`
            let number = text.parse().ok().filter(|_| digits);
            let number = number.ok_or_else(|| "not a whole number".to_owned())?;
            within(&number, &bounds).map(|()| number)
        })
    }

    /// Reads the file that a key names.
    pub(super) fn content(&mut self, name: &'static str) -> Option<Content> {
        let files = self.files;
        self.one(name, |text| {
            let path = PathBuf::from(text);
            let bytes = files.read(&path).map_err(|error| format!("cannot be read: {error}"))?;
            Ok::<_, String>(Content { path, bytes })
        })
    }

    /// Tells whether a key is written, be it well or badly.
    pub(super) fn is_written(&self, name: &'static str) -> bool {
        self.entry(name).is_some()
    }

    /// Returns where a key is written.
    pub(super) fn origin(&self, name: &'static str) -> Origin {
        self.entry(name).map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// Notes a mistake in what a key says, or in its absence.
    pub(super) fn mistake(&mut self, name: &'static str, problem: impl Into<String>) {
        let (key, origin) = (self.label(name), self.origin(name));
        self.notes.mistakes.push(ConfigError { key, problem: problem.into(), origin });
    }

    /// Notes what somebody should look at.
    pub(super) fn warn(&mut self, name: &'static str, text: impl Into<String>) {
        let (key, origin) = (self.label(name), self.origin(name));
        self.notes.warnings.push(Warning { key, text: text.into(), origin });
    }

    /// Notes what a key that is not written comes to, and what that follows from.
    pub(super) fn derive(
        &mut self,
        name: &'static str,
        values: &[impl AsRef<str>],
        origin: &Origin,
    ) {
        let values = values.iter().map(AsRef::as_ref);
        self.notes.derived.insert(name, Entry::new(values, origin));
    }

    fn entry(&self, name: &'static str) -> Option<&'a Entry> {
        debug_assert!(key::find(name).is_some(), "{name} is not in the table of keys");
        self.entries.get(name)
    }

    fn parse<T, E: Display>(
        &mut self,
        name: &'static str,
        item: &Item,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let shown = key::find(name).map_or(Shown::Length, |key| key.shown);
        let text = &item.text;
        // What may hold a password or a secret key is not repeated.
        let said = |problem: String| match shown {
            Shown::Plain if !text.starts_with("sk_") => format!("{}: {problem}", quoted(text)),
            Shown::Plain | Shown::Address | Shown::Length => problem,
        };
        let problem = if text.is_empty() {
            "empty; take it out, or write what belongs there".to_owned()
        } else if shown != Shown::Length && text.chars().any(char::is_control) {
            said("a control character has no place here".to_owned())
        } else {
            match parse(text) {
                Ok(value) => return Some(value),
                Err(error) => said(error.to_string()),
            }
        };
        let (key, origin) = (self.label(name), item.origin.clone());
        self.notes.mistakes.push(ConfigError { key, problem, origin });
        None
    }

    fn label(&self, name: &str) -> String {
        match self.element {
            Some((table, place)) => name.replacen(table, &format!("{table}[{place}]"), 1),
            None => name.to_owned(),
        }
    }
}

fn within<T: PartialOrd + Display>(value: &T, bounds: &RangeInclusive<T>) -> Result<(), String> {
    if bounds.contains(value) {
        return Ok(());
    }
    let (least, most) = (bounds.start(), bounds.end());
    if value < least { Err(format!("at least {least}")) } else { Err(format!("at most {most}")) }
}
