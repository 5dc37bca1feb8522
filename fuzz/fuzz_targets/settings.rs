//! The settings file: it loads, or there is a mistake to tell; nothing that was written counts for
//! nothing, and nobody sees a secret.
//!
//! An input is a settings file. A line `#! NAME=VALUE` in it sets a variable of the environment;
//! in one that holds a secret, `*` stands for it.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use countersign::config::{self, ConfigError, Files, Flags, Loaded, Settings, Sources, Terminal};
use countersign::core::issuer::TokenClass;
use libfuzzer_sys::fuzz_target;
use toml::{Table, Value};

const FILE: &str = "a.toml";
const SECRET: &str = "hunter2hunter2hunter2hunter2hunter2";
/// What gives a secret away: the one above, and what is in the files below.
const GIVEN_AWAY: [&str; 3] = ["hunter2", "MC4CAQAwBQYDK2VwBCIEINT", "MHcCAQEEI"];
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if text.chars().any(char::is_uppercase) && GIVEN_AWAY.iter().any(|it| text.contains(it))
        || text.contains("hunter2")
    {
        return;
    }
    let scene = Scene { text: data.to_vec() };
    let sources = Sources {
        flags: Flags { config: Some(FILE.into()), ..Flags::default() },
        environment: environment(&text),
        files: &scene,
        cpus: 2,
        terminal: Terminal::No,
    };
    let file = str::from_utf8(data).ok().and_then(|text| text.parse::<Table>().ok());
    match config::load(&sources) {
        Ok(loaded) => {
            let file = file.expect("a file that is no TOML does not load");
            nothing_is_left_out(&file, &loaded);
            nothing_is_open(&loaded.settings);
            shows_no_secret(&format!("{loaded:?}"));
            config::load_for_tokens(&sources).expect("what serves can explain");
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused for nothing");
            mistakes.iter().for_each(says_what_is_wrong);
            let broken = |it: &ConfigError| it.key == FILE;
            assert!(file.is_some() || mistakes.iter().any(broken), "{mistakes:?}");
        }
    }
    drop(
        config::load_for_child(&sources)
            .map_err(|mistakes| mistakes.iter().for_each(says_what_is_wrong)),
    );
});

/// The files an operator may name.
struct Scene {
    text: Vec<u8>,
}

impl Files for Scene {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(match path.to_str().unwrap_or_default() {
            FILE => self.text.clone(),
            "keys.json" => include_bytes!("../corpus/key_set/clerk").to_vec(),
            "secret" => SECRET.into(),
            "sk" => format!("sk_test_{SECRET}\n").into(),
            "keys/one.pem" => ED25519.into(),
            "ca.pem" | "ec.crt" => include_bytes!("../../tests/fixtures/tls/ec.crt").to_vec(),
            "ec.pem" => include_bytes!("../../tests/fixtures/tls/sec1.pem").to_vec(),
            "revoked" => b"user_1\nsess_2\n".to_vec(),
            _ => return Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        if dir == Path::new("keys") {
            Ok(vec!["keys/one.pem".into()])
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        path == Path::new("secret")
    }
}

/// What the lines `#! NAME=VALUE` say.
fn environment(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("#! ")?.split_once('='));
    let secret = |name: &str, value: &str| match name {
        "COUNTERSIGN_SIGNING_SECRET" | "CLERK_SECRET_KEY" => value.replace('*', SECRET),
        "HTTPS_PROXY" | "ALL_PROXY" | "CLERK_FAPI_URL" => {
            value.replace(":*@", &format!(":{SECRET}@"))
        }
        _ => value.to_owned(),
    };
    lines.map(|(name, value)| (name.to_owned(), secret(name, value))).collect()
}

/// One line that names a key, says what is wrong, and gives nothing away.
fn says_what_is_wrong(mistake: &ConfigError) {
    assert!(!mistake.key.is_empty() && !mistake.problem.is_empty(), "{mistake:?}");
    let line = mistake.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    shows_no_secret(&format!("{line} {mistake:?}"));
}

fn shows_no_secret(text: &str) {
    assert!(!GIVEN_AWAY.iter().any(|it| text.contains(it)), "{text}");
}

/// Each value in the file is one of those that are shown as understood.
fn nothing_is_left_out(file: &Table, loaded: &Loaded) {
    let mut keys = Vec::new();
    leaves(file, "", &mut keys);
    let is_shown = |key: &str| loaded.shown.iter().any(|it| it.key == key);
    for key in keys {
        assert!(is_shown(&key), "{key} counts for nothing: {:?}", loaded.shown);
    }
}

/// The dotted keys of everything that is no table; of a list of tables each with its place.
fn leaves(table: &Table, before: &str, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
        match value {
            Value::Table(inner) => leaves(inner, &key, keys),
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for (place, item) in items.iter().enumerate() {
                    leaves(
                        item.as_table().unwrap_or(&Table::new()),
                        &format!("{key}[{}]", place + 1),
                        keys,
                    );
                }
            }
            _ => keys.push(key),
        }
    }
}

/// Nothing configured means nothing accepted.
fn nothing_is_open(settings: &Settings) {
    assert!(!settings.issuers.is_empty());
    let mut names: Vec<&String> = settings.issuers.iter().flat_map(|it| &it.policy.names).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "two issuers of one name: {names:?}");
    for issuer in &settings.issuers {
        assert!(
            !issuer.policy.names.is_empty() && issuer.policy.names.iter().all(|it| !it.is_empty())
        );
        for class in [TokenClass::SessionToken, TokenClass::JwtTemplate, TokenClass::Oidc] {
            let audience = issuer.policy.claims(class).and_then(|claims| claims.audience.as_ref());
            assert!(audience.is_none_or(
                |audience| !audience.is_empty() && audience.iter().all(|it| !it.is_empty())
            ));
        }
    }
    let strip = &settings.proxy.strip;
    assert!(strip.prefix.len() >= 4 && strip.prefix.ends_with('-'), "{}", strip.prefix);
    for name in settings.proxy.identity.names() {
        let own = name.as_str();
        let goes = own.starts_with(&strip.prefix)
            || own.starts_with("x-clerk-")
            || strip.ours.contains(name);
        assert!(goes, "{name} is ours, and a client's would come through");
    }
}
