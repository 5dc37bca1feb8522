//! The floor plan of the house, held against what the code imports.
//!
//! Imports point down. Nothing imports its own floor, except along an arrow, or one above. The
//! room on the ground floor, `core`, also stays away from whatever waits, reads or asks the time.
//! Code for tests is exempt.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, iter};

/// Every room, by floor, from the top.
const FLOORS: &[(u8, &[&str])] = &[
    (5, &["main", "cli", "dev", "init"]),
    (4, &["app", "config"]),
    (3, &["proxy", "admin"]),
    (
        2,
        &[
            "keys",
            "child",
            "clerk_api",
            "descriptors",
            "exposure",
            "http_client",
            "listen",
            "revoked",
            "signing",
            "tls",
        ],
    ),
    (1, &["telemetry", "clock", "watched"]),
    (0, &["core"]),
];

/// What may be imported on one's own floor.
const ARROWS: &[(&str, &str)] = &[
    ("main", "cli"),
    ("cli", "dev"),
    ("cli", "init"),
    ("app", "config"),
    ("keys", "http_client"),
    ("clerk_api", "http_client"),
];

/// The crates `core` is made of.
const CRATES_OF_CORE: &[&str] = &[
    "http",
    "httparse",
    "bytes",
    "serde",
    "serde_json",
    "base64",
    "sfv",
    "thiserror",
    "aws_lc_rs",
    "hmac",
    "jsonwebtoken",
    "sha2",
];

/// What `core` is handed and never asks for: files, sockets, the environment, time, chance.
const NOT_IN_CORE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "aws_lc_rs::rand",
];

#[test]
fn imports_point_down() {
    let crates = dependencies();
    let files = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(files.len() > 20, "the sources were not found");
    let faults: Vec<String> =
        files.iter().flat_map(|(file, text)| faults(file, text, &crates)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_fault_is_found_wherever_it_hides() {
    let crates = ["hyper", "tokio", "http"].map(str::to_owned).into();
    for (file, text, lines) in [
        ("core/a.rs", "use crate::core::b;\nuse std::fmt;\nuse http::HeaderMap;", &[][..]),
        ("core/a.rs", "fn f() {\n    crate::keys::find()\n}", &[2]),
        ("core/a.rs", "use crate::{\n    core::b,\n    keys::{self, held},\n};", &[3, 3]),
        ("core/a/b.rs", "use super::super::super::keys;", &[1]),
        ("core/a.rs", "use super::super::keys;\nuse super::keys;", &[1]),
        ("core/mod.rs", "use super::keys;", &[1]),
        ("core/a.rs", "use tokio::time;\nlet x: hyper::Error;", &[1, 2]),
        ("core/a.rs", "use std::{fmt, fs};", &[1]),
        ("core/a.rs", "use std::net::{IpAddr, Ipv4Addr, TcpStream};", &[1]),
        ("core/a.rs", "use std::time::{Duration, SystemTime};", &[1, 1]),
        ("core/a.rs", "use aws_lc_rs::{hmac, rand::SystemRandom};", &[1]),
        ("core/a.rs", "// use tokio::time;\n/* crate::keys */ let s = \"crate::keys\";", &[]),
        ("core/a.rs", "let s = r#\"\"crate::keys\"#; let c = '\"'; crate::keys::x();", &[1]),
        ("core/a.rs", "#[cfg(test)]\nmod tests {\n    use tokio::test;\n}\nuse tokio::x;", &[5]),
        ("core/a.rs", "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nuse tokio::x;", &[4]),
        ("core/a_tests.rs", "use tokio::test;", &[]),
        ("core/tests/a.rs", "use tokio::test;", &[]),
        ("keys/mod.rs", "use crate::http_client::A;\nuse crate::clerk_api::B;", &[2]),
        ("keys/mod.rs", "use crate::core::A;\nuse crate::clock::B;\nuse tokio::time;", &[]),
        ("http_client/mod.rs", "use crate::keys::A;", &[1]),
        ("proxy/mod.rs", "use crate::config::Settings;\nuse crate::admin::A;", &[1, 2]),
        ("admin/mod.rs", "use crate::listen::Listener;\nuse crate::proxy::Limits;", &[2]),
        ("config/mod.rs", "use crate::proxy::A;\nuse crate::keys::B;\nuse crate::app;", &[3]),
        ("app.rs", "use crate::config::A;\nuse crate::cli::B;", &[2]),
        ("main.rs", "use countersign::cli;\nuse countersign::dev;", &[2]),
        ("telemetry/mod.rs", "use std::time::SystemTime;", &[1]),
        ("clock.rs", "use std::time::SystemTime;", &[]),
        ("helpers.rs", "", &[1]),
    ] {
        let found = faults(Path::new(file), text, &crates);
        let want: Vec<String> = lines.iter().map(|line| format!("src/{file}:{line}: ")).collect();
        let as_wanted = found.iter().zip(&want).all(|(fault, place)| fault.starts_with(place));
        assert!(found.len() == want.len() && as_wanted, "{file}: {text}\n{found:#?}");
    }
}

/// Returns what a file of the house imports that it may not, with file and line.
fn faults(file: &Path, text: &str, crates: &BTreeSet<String>) -> Vec<String> {
    let module = module(file);
    let at = |line, what: String| format!("src/{}:{line}: {what}", file.display());
    let Some(room) = module.first().filter(|room| floor(room).is_some()) else {
        let map = module.is_empty();
        return iter::once(at(1, "this room has no floor".into())).filter(|_| !map).collect();
    };
    if module.iter().any(|name| is_for_tests(name)) {
        return Vec::new();
    }
    let code = without_tests(&without_text(text));
    let mut faults = Vec::new();
    for (line, path) in paths(&code) {
        let path = absolute(&path, &module);
        if path.first().is_some_and(|root| root == "crate") {
            let imported = path.get(1).filter(|room| floor(room).is_some());
            let bad = imported.is_some_and(|imported| !may_import(room, imported));
            faults.extend(bad.then(|| at(line, format!("`{room}` imports `{}`", path.join("::")))));
        } else if room == "core" && is_not_for_core(&path, crates) {
            faults.push(at(line, format!("`core` uses `{}`", path.join("::"))));
        }
        if room != "clock" && path.iter().any(|name| name == "SystemTime") {
            faults.push(at(line, "only `clock` asks the system for the time".into()));
        }
    }
    faults
}

/// Returns the names from the crate's root to a file: `core`, `clerk` for `core/clerk/mod.rs`.
fn module(file: &Path) -> Vec<String> {
    let names = file.with_extension("");
    let names = names.iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(floor, _)| *floor)
}

fn may_import(room: &str, imported: &str) -> bool {
    room == imported || floor(imported) < floor(room) || ARROWS.contains(&(room, imported))
}

fn is_not_for_core(path: &[String], crates: &BTreeSet<String>) -> bool {
    let [root, rest @ ..] = path else { return false };
    let foreign = crates.contains(root) && !CRATES_OF_CORE.contains(&root.as_str());
    let whole = path.join("::");
    let barred = NOT_IN_CORE.iter().any(|bad| {
        whole.strip_prefix(bad).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    // Addresses are values; what connects to one is not.
    let socket = root == "std"
        && rest.first().is_some_and(|name| name == "net")
        && !rest.get(1).is_some_and(|name| name.starts_with("Ip"));
    foreign || barred || socket
}

/// Makes a path start at `crate` where it leads there: over `super`, or by the crate's name.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let root = "crate".to_owned();
    match path.first().map(String::as_str) {
        Some("countersign") => iter::once(root).chain(path[1..].to_vec()).collect(),
        Some("super") if ups >= module.len() => {
            iter::once(root).chain(path[ups..].to_vec()).collect()
        }
        Some("super") => {
            let above = module[..module.len() - ups].iter().cloned();
            iter::once(root).chain(above).chain(path[ups..].to_vec()).collect()
        }
        _ => path.to_vec(),
    }
}

/// Finds every path of two or more names, a group (`a::{b, c}`) as one path a member.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let tokens = tokens(code);
    let mut place = 0;
    while place < tokens.len() {
        place = read_path(&tokens, place, &[], &mut found).max(place + 1);
    }
    found.retain(|(_, path)| path.len() > 1);
    found
}

/// Reads the path that starts at `place`, and returns the place behind it.
fn read_path<'a>(
    tokens: &[(usize, &'a str)],
    mut place: usize,
    before: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = before.to_vec();
    let token = |place: usize| tokens.get(place).map_or("", |(_, token): &(usize, &'a str)| *token);
    let line = tokens.get(place).map_or(0, |(line, _)| *line);
    let named = is_name(token(place));
    while is_name(token(place)) {
        if token(place) != "self" {
            path.push(token(place).to_owned());
        }
        place += 1;
        match (token(place), token(place + 1)) {
            ("::", "{") => {
                place += 2;
                while !matches!(token(place), "}" | "") {
                    place = read_path(tokens, place, &path, found).max(place + 1);
                }
                return place + 1;
            }
            ("::", next) if is_name(next) => place += 1,
            _ => break,
        }
    }
    if named {
        found.push((line, path)); // `a::{self}` is `a`
    }
    place
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Cuts code into names, `::` and single other characters, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while let Some(first) = rest.chars().next() {
        let of_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            c if of_name(c) => rest.find(|c| !of_name(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            tokens.push((line, &rest[..length]));
        }
        line += usize::from(first == '\n');
        rest = &rest[length..];
    }
    tokens
}

/// Blanks comments, strings and characters; lines stay where they are.
fn without_text(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = text_length(rest);
        let taken = length.max(first.len_utf8());
        if length == 0 {
            out.push(first);
        } else {
            out.push(' ');
            out.extend(rest[..length].chars().filter(|c| *c == '\n'));
        }
        rest = &rest[taken..];
    }
    out
}

/// Returns how long the comment, string or character at the start of `code` is; 0 for none.
fn text_length(code: &str) -> usize {
    let until = |end: &str, from: usize| code[from..].find(end).map_or(code.len(), |at| from + at);
    let hashes =
        code.strip_prefix('r').map_or(0, |rest| rest.len() - rest.trim_start_matches('#').len());
    match code.as_bytes() {
        [b'/', b'/', ..] => until("\n", 0),
        [b'/', b'*', ..] => (until("*/", 2) + 2).min(code.len()),
        [b'r', b'"' | b'#', ..] if code[1 + hashes..].starts_with('"') => {
            let end = format!("\"{}", "#".repeat(hashes));
            (until(&end, 2 + hashes) + end.len()).min(code.len())
        }
        [b'"', ..] => quoted(code, '"'),
        [b'\'', b'\\', ..] => quoted(code, '\''),
        [b'\'', ..] => {
            let mut chars = code.chars().skip(1);
            let (character, end) = (chars.next(), chars.next());
            // Else a lifetime.
            character.filter(|_| end == Some('\'')).map_or(0, |c| 2 + c.len_utf8())
        }
        _ => 0,
    }
}

fn quoted(code: &str, quote: char) -> usize {
    let mut chars = code.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let end = at + MARK.len() + item_length(&rest[at + MARK.len()..]);
        out.extend(rest[at..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    out + rest
}

/// Returns how long the item at the start of `code` is: to its `;` or the brace that closes it.
fn item_length(code: &str) -> usize {
    let (mut braces, mut others) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '{' => braces += 1,
            '}' => braces -= 1,
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            _ => {}
        }
        if matches!(c, ';' | '}') && braces == 0 && others == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn is_for_tests(name: &str) -> bool {
    name == "tests" || name.ends_with("_tests")
}

/// Reads every source file under `folder`, with its path from there.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let path = path.strip_prefix(folder).expect("a path in the folder");
                found.push((path.to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Reads the names of the crates we depend on, as code writes them.
fn dependencies() -> BTreeSet<String> {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest.split_once("[dependencies]").expect("dependencies");
    let lines = rest.lines().skip(1).take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}
