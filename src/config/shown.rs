//! The settings as they were understood, for whoever asks.

use super::error::Origin;
use super::key::{Home, KEYS, Key, Kind, Shown};
use super::written::{Entries, Entry, Item, Written};

/// One setting as it was understood, with its secrets masked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// Its value, written as in the file.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// The settings in the order of the table of keys; keys that say nothing are left out.
pub(super) fn settings(written: &Written, derived: &Entries) -> Vec<Setting> {
    let mut all = Vec::new();
    for key in KEYS.iter().filter(|key| key.home.element().is_none()) {
        let entry = written.entries.get(key.name).or_else(|| derived.get(key.name));
        all.extend(rows(key, key.name, entry));
        if key.name == "public" {
            all.extend(elements(written, Home::Issuer));
            all.extend(elements(written, Home::Route));
        }
    }
    all
}

fn elements(written: &Written, home: Home) -> Vec<Setting> {
    let name = home.element().unwrap_or_default();
    let mut all = Vec::new();
    for (place, entries) in written.all(home).iter().enumerate() {
        for key in KEYS.iter().filter(|key| key.home == home) {
            let label = key.name.replacen(name, &format!("{name}[{}]", place + 1), 1);
            all.extend(rows(key, &label, entries.get(key.name)));
        }
    }
    all
}

/// One row, or of a table one row a member; none where there is neither an entry nor a default.
fn rows(key: &Key, label: &str, entry: Option<&Entry>) -> Vec<Setting> {
    let usual = key.default.map(|text| {
        let parts = if is_list(key) { text.split(',').collect() } else { vec![text] };
        Entry::new(parts, &Origin::Default)
    });
    let Some(entry) = entry.or(usual.as_ref()) else { return Vec::new() };
    let row = |label: String, value, origin: &Origin| Setting {
        key: label,
        value,
        origin: origin.clone(),
    };
    if matches!(key.kind, Kind::Map | Kind::Values) {
        let member = |item: &Item| {
            let (name, text) = item.text.split_once('=').unwrap_or((&item.text, ""));
            row(format!("{label}.{}", name.trim()), shown(key, text.trim()), &item.origin)
        };
        return entry.items.iter().map(member).collect();
    }
    let values: Vec<String> = entry.items.iter().map(|item| shown(key, &item.text)).collect();
    let value = match &*values {
        [one] if key.kind != Kind::List => one.clone(),
        _ => format!("[{}]", values.join(", ")),
    };
    vec![row(label.to_owned(), value, &entry.origin)]
}

fn is_list(key: &Key) -> bool {
    matches!(key.kind, Kind::List | Kind::OneOrMany)
}

fn shown(key: &Key, text: &str) -> String {
    match (key.shown, key.kind) {
        (Shown::Length, _) => format!("({} bytes)", text.len()),
        (Shown::Address, _) => format!("{:?}", without_secrets(text)),
        (Shown::Plain, Kind::Bool | Kind::Int | Kind::Values) => text.to_owned(),
        (Shown::Plain | Shown::SecretFile, _) => format!("{text:?}"),
    }
}

/// Masks what may be a secret in an address: who asks, with which password, and for what.
fn without_secrets(text: &str) -> String {
    let (address, query) = match text.split_once('?') {
        Some((address, _)) => (address, "?…"),
        None => (text, ""),
    };
    let address = match (address.split_once("://"), address.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://***{}", &address[at..]),
        (None, Some(at)) => format!("***{}", &address[at..]),
        (_, None) => address.to_owned(),
    };
    format!("{address}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (text, want) in [
            ("https://a.com/k", "https://a.com/k"),
            ("https://a.com/k?token=t", "https://a.com/k?…"),
            ("http://user:pass@proxy:3128", "http://***@proxy:3128"),
            ("user:p@ss@proxy:3128", "***@proxy:3128"),
            ("http://user:p@ss@proxy:3128", "http://***@proxy:3128"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(without_secrets(text), want);
        }
    }
}
