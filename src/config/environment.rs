//! The environment, as far as it speaks to us.

use std::collections::BTreeMap;

use super::error::{ConfigError, Origin, Warning};
use super::key::{self, KEYS, Key, Kind};
use super::reader::Notes;
use super::written::{Entries, Entry};

/// The variable that names the settings file, where no flag does.
pub(super) const CONFIG: &str = "COUNTERSIGN_CONFIG";

/// What stands for the bytes of a variable that are no UTF-8.
const REPLACEMENT: char = '\u{fffd}';

/// Reads the variables that are keys, and warns of those that only look like it.
pub(super) fn entries(environment: &BTreeMap<String, String>, notes: &mut Notes) -> Entries {
    let mut entries = Entries::new();
    for key in KEYS {
        let is_set = |name: &String| environment.get(name).is_some_and(|value| !value.is_empty());
        let Some(name) = key.variables().find(is_set) else { continue };
        let value = &environment[&name];
        let origin = Origin::Environment(name);
        if value.contains(REPLACEMENT) {
            let problem = "its bytes are not UTF-8".to_owned();
            notes.mistakes.push(ConfigError { key: key.name.to_owned(), problem, origin });
            continue;
        }
        entries.insert(key.name, entry(key, value, &origin));
    }
    for name in environment.keys().filter(|name| is_unknown(name)) {
        notes.warnings.push(Warning {
            key: name.clone(),
            text: key::unknown_variable(name),
            origin: Origin::Default,
        });
    }
    entries
}

fn entry(key: &Key, value: &str, origin: &Origin) -> Entry {
    match (key.kind, origin) {
        // What a platform that hands out ports sets: every address, on that port.
        (_, Origin::Environment(name)) if name == "PORT" => {
            Entry::new([format!("[::]:{value}")], origin)
        }
        (Kind::List | Kind::OneOrMany | Kind::Map | Kind::Values, _) => {
            Entry::new(value.split(',').map(str::trim), origin)
        }
        (Kind::Text | Kind::Bool | Kind::Int | Kind::Span | Kind::Size, _) => {
            Entry::new([value], origin)
        }
    }
}

fn is_unknown(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("COUNTERSIGN_") else { return false };
    let known = name == CONFIG || KEYS.iter().any(|key| key.variables().any(|own| own == name));
    !known && !is_of_kubernetes(rest)
}

/// Tells whether Kubernetes sets such a variable for a Service called `countersign…`, as in
/// `COUNTERSIGN_SERVICE_HOST` or `COUNTERSIGN_PORT_4600_TCP_ADDR`.
fn is_of_kubernetes(rest: &str) -> bool {
    let mut words = rest.split('_');
    words.clone().any(|word| word == "PORT")
        || words.any(|word| word == "SERVICE")
            && (rest.contains("SERVICE_HOST") || rest.contains("SERVICE_PORT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> (Entries, Notes) {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut notes = Notes::default();
        (entries(&pairs.collect(), &mut notes), notes)
    }

    #[test]
    fn what_kubernetes_sets_is_not_ours() {
        for (name, warned) in [
            ("COUNTERSIGN_PORT", false),
            ("COUNTERSIGN_PORT_4600_TCP", false),
            ("COUNTERSIGN_PORT_4600_TCP_ADDR", false),
            ("COUNTERSIGN_SERVICE_HOST", false),
            ("COUNTERSIGN_SERVICE_PORT", false),
            ("COUNTERSIGN_SERVICE_PORT_HTTP", false),
            ("COUNTERSIGN_ADMIN_SERVICE_HOST", false),
            ("COUNTERSIGN_ADMIN_PORT_80_TCP_PROTO", false),
            ("COUNTERSIGN_CONFIG", false),
            ("COUNTERSIGN_WORKERS", false),
            ("COUNTERSIGN_WORKER", true),
            ("COUNTERSIGN_REPORT", true),
            ("COUNTERSIGN_", true),
            ("COUNTERSIGNED", false),
        ] {
            assert_eq!(!of(&[(name, "1")]).1.warnings.is_empty(), warned, "{name}");
        }
    }

    #[test]
    fn the_first_name_that_is_set_counts() {
        let value = |pairs: &[(&str, &str)]| {
            let entries = of(pairs).0;
            entries.get("clerk.publishable_key").map(|entry| entry.items[0].text.clone())
        };
        let (long, short) = ("COUNTERSIGN_CLERK_PUBLISHABLE_KEY", "CLERK_PUBLISHABLE_KEY");
        let (next, vite) = ("NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY", "VITE_CLERK_PUBLISHABLE_KEY");
        for (pairs, want) in [
            (&[(long, "1"), (short, "2")] as &[_], Some("1")),
            (&[(next, "3"), (short, "2")], Some("2")),
            (&[(next, "3"), (short, "")], Some("3")),
            (&[(vite, "4"), (next, "3")], Some("3")),
            (&[(vite, "")], None),
        ] {
            assert_eq!(value(pairs).as_deref(), want, "{pairs:?}");
        }
    }

    #[test]
    fn lists_are_parted_by_commas() {
        let (entries, _) = of(&[("COUNTERSIGN_AUDIENCE", "a, b,c"), ("PORT", "8080")]);
        let texts = |key| entries[key].items.iter().map(|item| &*item.text).collect::<Vec<_>>();
        assert_eq!(texts("clerk.audience"), ["a", "b", "c"]);
        assert_eq!(texts("listen"), ["[::]:8080"]);
    }

    #[test]
    fn a_value_that_is_no_text_is_a_mistake() {
        let (entries, notes) = of(&[("COUNTERSIGN_SIGNING_SECRET", "a\u{fffd}b")]);
        assert!(entries.is_empty());
        assert_eq!(notes.mistakes[0].problem, "its bytes are not UTF-8");
    }
}
