//! What was written, whoever wrote it where: one flat table from key to texts.

use std::collections::BTreeMap;

use super::error::Origin;
use super::key::{Home, KEYS, Kind};

/// One text, and where it stands.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// What one key says: a single text, or those of a list.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) origin: Origin,
    pub(super) items: Vec<Item>,
}

/// Keys and what they say.
pub(super) type Entries = BTreeMap<&'static str, Entry>;

/// All that was written, each key by the source that wins.
#[derive(Default)]
pub(super) struct Written {
    pub(super) entries: Entries,
    /// The tables of the file that there may be several of: each `[[route]]`, each `[[issuer]]`.
    pub(super) elements: BTreeMap<Home, Vec<Entries>>,
}

impl Entry {
    /// A text outside of the file, or a list of them: all from one place.
    pub(super) fn new<T: Into<String>>(
        texts: impl IntoIterator<Item = T>,
        origin: &Origin,
    ) -> Self {
        let item = |text: T| Item { text: text.into(), origin: origin.clone() };
        Self { origin: origin.clone(), items: texts.into_iter().map(item).collect() }
    }
}

impl Written {
    /// Returns the tables of this kind, in the order in which they were written.
    pub(super) fn all(&self, home: Home) -> &[Entries] {
        self.elements.get(&home).map_or(&[], Vec::as_slice)
    }

    /// Lays `above` over what is written here: a higher source replaces a list, and adds to a table.
    pub(super) fn cover(&mut self, mut above: Entries) {
        for key in KEYS {
            let Some(mut entry) = above.remove(key.name) else { continue };
            if key.kind == Kind::Map
                && let Some(below) = self.entries.remove(key.name)
            {
                entry.items.splice(0..0, below.items);
            }
            self.entries.insert(key.name, entry);
        }
    }
}
