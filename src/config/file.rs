//! The shape of the file: which texts stand where. No rules, no defaults.
//!
//! The walk goes on after a mistake, so that one reading finds them all.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::key::{self, Home, Key, Kind};
use super::written::{Entries, Entry, Item, Written};

/// What stands in a file, and what is wrong with how it is written.
#[derive(Default)]
pub(super) struct FileContent {
    /// What could be read.
    pub(super) written: Written,
    /// Where the text is no TOML.
    pub(super) syntax: Vec<ConfigError>,
    /// Keys that are none, and values of another type.
    pub(super) mistakes: Vec<ConfigError>,
}

/// Reads the text of the file that is called `path`.
pub(super) fn parse(path: &str, text: &str) -> FileContent {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut walk =
        Walk { path: path.into(), text, written: Written::default(), mistakes: Vec::new() };
    let syntax = errors.iter().map(|error| {
        let end = text.len()..text.len();
        let problem = format!("not TOML: {}", error.message());
        ConfigError { key: path.to_owned(), problem, origin: walk.at(error.span().unwrap_or(end)) }
    });
    let syntax = syntax.collect();
    walk.table("", table.get_ref());
    FileContent { written: walk.written, syntax, mistakes: walk.mistakes }
}

/// Finds the tables of a name that there may be several of.
fn element(name: &str) -> Option<Home> {
    Home::ELEMENTS.into_iter().find(|home| home.element() == Some(name))
}

struct Walk<'a> {
    path: Arc<str>,
    text: &'a str,
    written: Written,
    mistakes: Vec<ConfigError>,
}

impl Walk<'_> {
    fn table(&mut self, above: &str, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            let dotted = if above.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{above}.{}", name.get_ref())
            };
            match (key::find(&dotted).filter(|key| key.is_in_file()), value.get_ref()) {
                (Some(key), _) => {
                    if let Some(entry) = self.entry(key, &dotted, value) {
                        self.written.entries.insert(key.name, entry);
                    }
                }
                (None, _) if let Some(home) = element(&dotted) => {
                    self.elements(&dotted, home, value)
                }
                (None, DeValue::Table(inner)) if key::is_table(&dotted) => {
                    self.table(&dotted, inner)
                }
                (None, _) if key::is_table(&dotted) => {
                    let problem = format!("a table, written [{dotted}], not {}", a(value));
                    self.mistake(dotted, problem, value.span());
                }
                (None, _) => {
                    let problem = key::unknown(&dotted);
                    self.mistake(dotted, problem, name.span());
                }
            }
        }
    }

    /// Reads the tables of a name that there may be several of.
    fn elements(&mut self, name: &str, home: Home, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(elements) = value.get_ref() else {
            let problem = format!("each {name} is a table of its own, written [[{name}]]");
            return self.mistake(name.to_owned(), problem, value.span());
        };
        for (place, element) in elements.iter().enumerate() {
            let label = format!("{name}[{}]", place + 1);
            let DeValue::Table(table) = element.get_ref() else {
                let problem = format!("a table, written [[{name}]], not {}", a(element));
                self.mistake(label, problem, element.span());
                continue;
            };
            let mut entries = Entries::new();
            self.element(home, name, &label, table, &mut entries);
            self.written.elements.entry(home).or_default().push(entries);
        }
    }

    /// Reads one of them, or a table within.
    fn element(
        &mut self,
        home: Home,
        name: &str,
        label: &str,
        table: &DeTable<'_>,
        entries: &mut Entries,
    ) {
        for (key, value) in in_order(table) {
            let (dotted, label) =
                (format!("{name}.{}", key.get_ref()), format!("{label}.{}", key.get_ref()));
            match (key::find(&dotted).filter(|key| key.home == home), value.get_ref()) {
                (_, DeValue::Table(inner)) if key::is_table_in(home, &dotted) => {
                    self.element(home, &dotted, &label, inner, entries);
                }
                (Some(key), _) => {
                    entries.extend(self.entry(key, &label, value).map(|entry| (key.name, entry)));
                }
                (None, _) => self.mistake(label, key::unknown(&dotted), key.span()),
            }
        }
    }

    /// Reads the value of a key; nothing where it is of another type.
    fn entry(&mut self, key: &Key, label: &str, value: &Spanned<DeValue<'_>>) -> Option<Entry> {
        let origin = self.at(value.span());
        let one = |text: String| Entry::new([text], &origin);
        match (key.kind, value.get_ref()) {
            (Kind::Text | Kind::Span | Kind::Size | Kind::OneOrMany, DeValue::String(text)) => {
                Some(one(text.to_string()))
            }
            // A number without its unit; whoever reads the unit says so.
            (Kind::Int | Kind::Span | Kind::Size, DeValue::Integer(number)) => {
                Some(one(number.to_string()))
            }
            (Kind::Bool, DeValue::Boolean(word)) => Some(one(word.to_string())),
            (Kind::List | Kind::OneOrMany, DeValue::Array(values)) => {
                let items = values.iter().map(|value| self.item(label, None, value));
                let items: Vec<_> = items.collect();
                Some(Entry { items: items.into_iter().collect::<Option<_>>()?, origin })
            }
            (Kind::Map, DeValue::Table(table)) => {
                let items = in_order(table).into_iter().map(|(name, value)| {
                    let label = format!("{label}.{}", name.get_ref());
                    self.item(&label, Some(name.get_ref()), value)
                });
                let items: Vec<_> = items.collect();
                Some(Entry { items: items.into_iter().collect::<Option<_>>()?, origin })
            }
            (Kind::Values, DeValue::Table(table)) => {
                let items = in_order(table).into_iter().map(|(name, value)| {
                    let label = format!("{label}.{}", name.get_ref());
                    self.value(&label, name.get_ref(), value)
                });
                let items: Vec<_> = items.collect();
                Some(Entry { items: items.into_iter().collect::<Option<_>>()?, origin })
            }
            (kind, _) => {
                self.mistake(
                    label.to_owned(),
                    format!("{}, not {}", wanted(kind), a(value)),
                    value.span(),
                );
                None
            }
        }
    }

    fn item(
        &mut self,
        label: &str,
        name: Option<&str>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Item> {
        let DeValue::String(text) = value.get_ref() else {
            let problem = format!("{}, not {}", wanted(Kind::Text), a(value));
            self.mistake(label.to_owned(), problem, value.span());
            return None;
        };
        let text = name.map_or_else(|| text.to_string(), |name| format!("{name}={text}"));
        Some(Item { text, origin: self.at(value.span()) })
    }

    /// Reads a member of a table of values, or of lists of such.
    fn value(&mut self, label: &str, name: &str, value: &Spanned<DeValue<'_>>) -> Option<Item> {
        let json = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| scalar(value.get_ref())).collect(),
            value => scalar(value),
        };
        let Some(json) = json else {
            let wanted = "a text, a whole number, `true` or `false`, or a list of such";
            self.mistake(label.to_owned(), format!("{wanted}, not {}", a(value)), value.span());
            return None;
        };
        Some(Item { text: format!("{name}={json}"), origin: self.at(value.span()) })
    }

    fn mistake(&mut self, key: String, problem: String, span: Range<usize>) {
        let origin = self.at(span);
        self.mistakes.push(ConfigError { key, problem, origin });
    }

    fn at(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Origin::File {
            path: Arc::clone(&self.path),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// Reads what can be compared in one way only; nothing where it is anything else.
fn scalar(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(&**text)),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from)
        }
        DeValue::Boolean(truth) => Some(Value::from(*truth)),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A table's members in the order in which they were written.
fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> Vec<(&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>)> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    members
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text in quotes",
        Kind::Bool => "`true` or `false` without quotes",
        Kind::Int => "a whole number without quotes",
        Kind::Span => "a duration in quotes, like `\"30s\"`",
        Kind::Size => "a size in quotes, like `\"32KiB\"`",
        Kind::List => "a list of texts, like `[\"…\"]`",
        Kind::OneOrMany => "a text in quotes or a list of such",
        Kind::Map => "a table of texts",
        Kind::Values => "a table of values",
    }
}

/// What a value is, with its article.
fn a(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let content = parse("a.toml", text);
        content.syntax.iter().chain(&content.mistakes).map(ToString::to_string).collect()
    }

    #[test]
    fn a_value_of_another_type_is_told_its_place_and_what_is_wanted() {
        for (text, want) in [
            (
                "listen = 5",
                "listen: a text in quotes or a list of such, not a number (a.toml:1:10)",
            ),
            ("workers = \"2\"", "workers: a whole number without quotes, not a text (a.toml:1:11)"),
            ("workers = 1.5", "workers: a whole number without quotes, not a number (a.toml:1:11)"),
            ("clerk = 5", "clerk: a table, written [clerk], not a number (a.toml:1:9)"),
            (
                "[clerk]\nleeway = true",
                "clerk.leeway: a duration in quotes, like `\"30s\"`, not `true` or `false` (a.toml:2:10)",
            ),
            (
                "[clerk]\nissuer = \"x\"",
                "clerk.issuer: a list of texts, like `[\"…\"]`, not a text (a.toml:2:10)",
            ),
            (
                "clerk.issuer = [\"ä\", 5]",
                "clerk.issuer: a text in quotes, not a number (a.toml:1:22)",
            ),
            (
                "clerk.leway = 1",
                "clerk.leway: unknown key; did you mean `clerk.leeway`? (a.toml:1:7)",
            ),
            (
                "log.access = \"no\"",
                "log.access: `true` or `false` without quotes, not a text (a.toml:1:14)",
            ),
            ("identity.claims = []", "identity.claims: a table of texts, not a list (a.toml:1:19)"),
            (
                "[identity.claims]\nx = 1979-05-27",
                "identity.claims.x: a text in quotes, not a date (a.toml:2:5)",
            ),
            (
                "route = 1",
                "route: each route is a table of its own, written [[route]] (a.toml:1:9)",
            ),
            ("route = [1]", "route[1]: a table, written [[route]], not a number (a.toml:1:10)"),
            (
                "[[route]]\n[[route]]\npaht = \"/\"",
                "route[2].paht: unknown key; did you mean `path`? (a.toml:3:1)",
            ),
            (
                "[[route]]\nsession = true",
                "route[1].session: a text in quotes, not `true` or `false` (a.toml:2:11)",
            ),
            (
                "[clerk]\nsecret_key = \"sk_test_x\"",
                "clerk.secret_key: unknown key; a secret does not stand in this file; name its own file in `clerk.secret_key_file`, or set CLERK_SECRET_KEY (a.toml:2:1)",
            ),
            (
                "[[route]]\nreverification = 5",
                "route[1].reverification: a text in quotes, not a number (a.toml:2:18)",
            ),
            (
                "[[route]]\nreverification.after_minutes = \"5\"",
                "route[1].reverification.after_minutes: a whole number without quotes, not a text (a.toml:2:32)",
            ),
            (
                "[[route]]\nclaims = [\"x\"]",
                "route[1].claims: a table of values, not a list (a.toml:2:10)",
            ),
            (
                "[[route]]\nclaims.x = 1.5",
                "route[1].claims.x: a text, a whole number, `true` or `false`, or a list of such, not a number (a.toml:2:12)",
            ),
            (
                "[[route]]\nclaims.x = [[\"a\"]]",
                "route[1].claims.x: a text, a whole number, `true` or `false`, or a list of such, not a list (a.toml:2:12)",
            ),
            (
                "[http2]\nenabled = true",
                "http2: `true` or `false` without quotes, not a table (a.toml:1:1)",
            ),
        ] {
            assert_eq!(mistakes(text), [want], "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_is_told_where() {
        for (text, place) in [
            ("listen = ", "a.toml:1:10)"),
            ("workers = 1\nlisten = \"a", "a.toml:2:12)"),
            ("workers = 1\nworkers = 2", "a.toml:2:1)"),
        ] {
            let all = mistakes(text);
            let found =
                all.iter().any(|one| one.starts_with("a.toml: not TOML: ") && one.ends_with(place));
            assert!(found, "{text}: {all:?}");
        }
    }

    #[test]
    fn a_table_keeps_the_order_it_was_written_in() {
        let content = parse("a.toml", "[identity.claims]\nx-b = \"/b\"\nx-a = \"/a\"");
        let items = &content.written.entries["identity.claims"].items;
        assert_eq!(items.iter().map(|item| &*item.text).collect::<Vec<_>>(), ["x-b=/b", "x-a=/a"]);
    }
}
