//! `.env` files, as Node's dotenv reads them.
//!
//! Ours and not a crate's, because those refuse a whole file for a line that Node takes, as
//! `NAME=two words`, and put the process's own variables in the place of `$NAME`.

use std::collections::BTreeSet;

use super::command;
use super::folder::Place;

/// Where variables stand, the file that wins in development first, as Next.js and Vite have it.
pub(super) const FILES: [&str; 7] = [
    ".env.development.local",
    ".env.local",
    ".env.development",
    ".env",
    ".dev.vars",
    ".env.production.local",
    ".env.production",
];

/// Reads the variables of a file, in order. What is no variable is passed over; of several of one
/// name the last counts, as everywhere.
pub(super) fn variables(text: &str) -> Vec<(&str, &str)> {
    let mut later = BTreeSet::new();
    let last = text.lines().rev().filter_map(variable).filter(|(name, _)| later.insert(*name));
    let mut last: Vec<_> = last.collect();
    last.reverse();
    last
}

/// Returns what a variable says.
pub(super) fn find<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    variables(text).into_iter().find(|(own, _)| *own == name).map(|(_, value)| value)
}

/// Returns the port that a folder's variables name, and where.
pub(super) fn port(place: &Place) -> Option<(u16, String)> {
    FILES.into_iter().find_map(|file| {
        let port = command::number(find(place.file(file)?, "PORT")?)?;
        Some((port, format!("PORT in {}", place.path(file))))
    })
}

fn variable(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let exported = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let line = exported.unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = !name.is_empty() && name.bytes().all(is_name);
    good.then(|| (name, unquoted(value.trim())))
}

/// Takes the quotes off a value, or the remark that follows it.
fn unquoted(value: &str) -> &str {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\'' | '`'));
    let within = quote.and_then(|quote| Some(&value[1..][..value[1..].find(quote)?]));
    within.unwrap_or_else(|| value.split('#').next().unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_read_as_node_reads_it() {
        for (line, want) in [
            ("A=1", Some(("A", "1"))),
            ("  A = 1  ", Some(("A", "1"))),
            ("export A=1", Some(("A", "1"))),
            ("export\tA=1", Some(("A", "1"))),
            ("A=1\r", Some(("A", "1"))),
            ("A=\"1 # 2\" # three", Some(("A", "1 # 2"))),
            ("A='1'", Some(("A", "1"))),
            ("A=`1`", Some(("A", "1"))),
            ("A=\"1", Some(("A", "\"1"))),
            ("A=two words", Some(("A", "two words"))),
            ("A=1 # one", Some(("A", "1"))),
            ("A=1#one", Some(("A", "1"))),
            ("A=b64==", Some(("A", "b64=="))),
            ("A=", Some(("A", ""))),
            ("A=\"", Some(("A", "\""))),
            ("# A=1", None),
            ("A", None),
            ("=1", None),
            ("A B=1", None),
            ("Ä=1", None),
            ("", None),
        ] {
            assert_eq!(variable(line), want, "{line:?}");
        }
    }

    #[test]
    fn of_several_the_last_counts() {
        assert_eq!(find("PORT=1\nA=2\nPORT=3", "PORT"), Some("3"));
        assert_eq!(variables("A=1\nB=2\nA=3"), [("B", "2"), ("A", "3")]);
        assert_eq!(find("PORTS=1", "PORT"), None);
    }
}
