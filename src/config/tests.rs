//! All sources at once, and the scene for the tests of the sections.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::key::{Home, KEYS, Kind};
use super::*;
use crate::proxy::UpstreamAddress;

/// A private key of RFC 8410 §10.3.
pub(super) const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// A key set with the RSA key of RFC 7517 appendix A.1.
const KEY_SET: &str = r#"{"keys": [{"kty": "RSA", "kid": "2011-04-29", "alg": "RS256", "e": "AQAB", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}]}"#;

/// What an operator wrote: a file called `a.toml`, the environment, flags.
///
/// The publishable key of `clerk.a.com` and a backend on this machine are set, unless the file
/// speaks of them.
#[derive(Default)]
pub(super) struct Scene {
    flags: Flags,
    environment: BTreeMap<String, String>,
    files: Memory,
}

#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
    open: Vec<PathBuf>,
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let shown =
            |path: &&PathBuf| !path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
        let paths = self.files.keys().filter(|path| path.parent() == Some(dir)).filter(shown);
        let paths: Vec<_> = paths.cloned().collect();
        if paths.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(paths) }
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        self.open.iter().any(|open| open == path)
    }
}

impl Scene {
    pub(super) fn toml(mut self, text: &str) -> Self {
        self.flags.config = Some("a.toml".into());
        self.file("a.toml", text)
    }

    pub(super) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.files.insert(path.into(), text.into());
        self
    }

    pub(super) fn open(mut self, path: &str) -> Self {
        self.files.open.push(path.into());
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flags(mut self, flags: Flags) -> Self {
        self.flags = Flags { config: self.flags.config, ..flags };
        self
    }

    pub(super) fn load(self) -> Result<Loaded, Vec<ConfigError>> {
        let mut scene = self.file("keys.json", KEY_SET);
        let file = scene.files.files.get(Path::new("a.toml"));
        let file = String::from_utf8_lossy(file.map_or(&[], |file| file)).into_owned();
        for (word, name, value) in [
            ("publishable_key", "CLERK_PUBLISHABLE_KEY", "pk_live_Y2xlcmsuYS5jb20k"),
            ("upstream", "COUNTERSIGN_UPSTREAM", "http://127.0.0.1:3000"),
        ] {
            if !file.contains(word) {
                scene.environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        scene.load_bare()
    }

    fn load_bare(self) -> Result<Loaded, Vec<ConfigError>> {
        load(&Sources {
            flags: self.flags,
            environment: self.environment,
            files: &self.files,
            cpus: 8,
            terminal: Terminal::No,
        })
    }

    pub(super) fn mistakes(self) -> Vec<String> {
        self.load().err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }
}

/// The mistakes in a file.
pub(super) fn mistakes(text: &str) -> Vec<String> {
    Scene::default().toml(text).mistakes()
}

/// The mistakes in a file that has to say itself whose tokens are good.
pub(super) fn bare_mistakes(text: &str) -> Vec<String> {
    Scene::default().toml(text).env("CLERK_PUBLISHABLE_KEY", "").mistakes()
}

/// The warnings that a good file earns that says itself whose tokens are good.
pub(super) fn bare_warnings(text: &str) -> Vec<String> {
    let loaded = Scene::default().toml(text).env("CLERK_PUBLISHABLE_KEY", "").load().unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// The warnings that a good file earns where a platform has given us a port.
pub(super) fn warnings_at(port: &str, text: &str) -> Vec<String> {
    let loaded = Scene::default().toml(text).env("PORT", port).load().unwrap();
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// The warnings that a good file earns.
pub(super) fn warnings(text: &str) -> Vec<String> {
    loaded(text).warnings.iter().map(ToString::to_string).collect()
}

/// The settings in a good file.
pub(super) fn settings(text: &str) -> Settings {
    loaded(text).settings
}

fn loaded(text: &str) -> Loaded {
    Scene::default().toml(text).load().unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

fn shown(loaded: &Loaded, key: &str) -> Option<String> {
    let setting = loaded.shown.iter().find(|setting| setting.key == key)?;
    Some(format!("{} ({})", setting.value, setting.origin))
}

#[test]
fn a_publishable_key_and_a_backend_are_enough() {
    let scene = Scene::default().env("CLERK_PUBLISHABLE_KEY", "pk_live_Y2xlcmsuYS5jb20k");
    let flags = Flags { upstream: Some("http://127.0.0.1:3000".to_owned()), ..Flags::default() };
    let loaded = scene.flags(flags).load_bare().unwrap();
    for (key, want) in [
        ("listen", "\"127.0.0.1:4600\" (default)"),
        ("upstream.url", "\"http://127.0.0.1:3000\" (flag --upstream)"),
        (
            "clerk.publishable_key",
            "\"pk_live_Y2xlcmsuYS5jb20k\" (environment CLERK_PUBLISHABLE_KEY)",
        ),
        ("clerk.issuer", "[\"https://clerk.a.com\"] (from clerk.publishable_key)"),
        (
            "clerk.jwks_url",
            "\"https://clerk.a.com/.well-known/jwks.json\" (from clerk.publishable_key)",
        ),
        ("workers", "2 (default)"),
        ("log.format", "\"json\" (default)"),
    ] {
        assert_eq!(shown(&loaded, key).as_deref(), Some(want));
    }
    let keys: Vec<_> = loaded.warnings.iter().map(|warning| &*warning.key).collect();
    assert_eq!(keys, ["clerk.authorized_parties", "public_url"]);
}

#[test]
fn nothing_at_all_is_two_mistakes() {
    let mistakes = Scene::default().load_bare().unwrap_err();
    let keys: Vec<_> = mistakes.iter().map(|mistake| &*mistake.key).collect();
    assert_eq!(keys, ["upstream.url", "clerk.publishable_key"]);
}

#[test]
fn a_backend_that_is_started_here_has_no_address_of_its_own() {
    let sources = |upstream: &str| Sources {
        flags: Flags {
            publishable_key: Some("pk_live_Y2xlcmsuYS5jb20k".to_owned()),
            ..Flags::default()
        },
        environment: [("COUNTERSIGN_UPSTREAM".to_owned(), upstream.to_owned())].into(),
        files: &Disk,
        cpus: 1,
        terminal: Terminal::No,
    };

    let alone = load_for_child(&sources("")).unwrap();
    let both = load_for_child(&sources("http://127.0.0.1:3000")).unwrap_err();

    assert_eq!(alone.settings.proxy.upstream, UpstreamAddress::Child { port: 0 });
    let both: Vec<_> = both.iter().map(ToString::to_string).collect();
    let want = "upstream.url: take this out, or the command after `--`: a backend that is started here gets a port of its own (environment COUNTERSIGN_UPSTREAM)";
    assert_eq!(both, [want]);
}

#[test]
fn whose_tokens_are_good_can_be_said_without_a_backend() {
    let sources = |key: &str, more: &[(&str, &str)]| Sources {
        flags: Flags { publishable_key: Some(key.to_owned()), ..Flags::default() },
        environment: more.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        files: &Disk,
        cpus: 1,
        terminal: Terminal::No,
    };
    let key = "pk_live_Y2xlcmsuYS5jb20k";

    let good = load_for_tokens(&sources(key, &[])).unwrap();
    let two = sources("sk_live_x", &[("COUNTERSIGN_UPSTREAM", "3000")]);
    let mistakes = load_for_tokens(&two).unwrap_err();

    assert_eq!(good.issuers[0].policy.names, ["https://clerk.a.com"]);
    let keys: Vec<_> = mistakes.iter().map(|mistake| &*mistake.key).collect();
    assert_eq!(keys, ["clerk.publishable_key", "upstream.url"], "what is written has to be right");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "workers = 3\nclerk.audience = [\"file\"]\n[identity.claims]\nx-a = \"/a\"\n[[route]]\npath = \"/file\"";
    let flags = || Flags {
        workers: Some("5".to_owned()),
        audience: vec!["flag".to_owned(), "other".to_owned()],
        public: vec!["/flag".to_owned()],
        claim: vec!["x-c=/c".to_owned()],
        ..Flags::default()
    };
    let environment = |scene: Scene| {
        scene
            .env("COUNTERSIGN_WORKERS", "4")
            .env("COUNTERSIGN_AUDIENCE", "env")
            .env("COUNTERSIGN_PUBLIC", "/env")
            .env("COUNTERSIGN_CLAIMS", "x-b=/b")
    };
    let file = || Scene::default().toml(file);
    for (scene, workers, audience, routes, claims) in [
        (file(), 3, &["file"] as &[&str], &["/file"] as &[&str], &["x-a"] as &[&str]),
        (environment(file()), 4, &["env"], &["/env", "/file"], &["x-a", "x-b"]),
        (
            environment(file()).flags(flags()),
            5,
            &["flag", "other"],
            &["/flag", "/file"],
            &["x-a", "x-c"],
        ),
    ] {
        let Settings { proxy, issuers, .. } = scene.load().unwrap().settings;
        assert_eq!(proxy.workers, workers);
        let sessions = issuers[0].policy.claims(TokenClass::SessionToken).unwrap();
        assert_eq!(sessions.audience.clone().unwrap(), audience);
        assert_eq!(proxy.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(), routes);
        let headers: Vec<_> = proxy.identity.names().skip(9).map(ToString::to_string).collect();
        assert_eq!(headers, claims);
    }
}

#[test]
fn an_empty_variable_is_none() {
    let scene = Scene::default().toml("workers = 3").env("COUNTERSIGN_WORKERS", "");
    assert_eq!(scene.load().unwrap().settings.proxy.workers, 3);
}

#[test]
fn every_mistake_is_told_at_once_in_its_order() {
    let file = "\
listen = \"localhost:4600\"
http2 = 2
lisen = 1

[clerk]
leeway = \"5\"
azp = \"enforce\"

[[route]]
path = \"nowhere\"

[signing]
secret = \"0123456789\"

[limits]
head = true
";
    let scene = Scene::default()
        .toml(file)
        .env("COUNTERSIGN_DRAIN_GRACE", "25")
        .env("CLERK_PUBLISHABLE_KEY", "pk_live_x")
        .env("COUNTERSIGN_UPSTREAM", "")
        .flags(Flags { workers: Some("many".to_owned()), ..Flags::default() });
    let want = [
        "workers: \"many\": not a whole number (flag --workers)",
        "clerk.publishable_key: \"pk_live_x\": the part after `pk_test_` or `pk_live_` does not decode to a host name and `$`; is the key whole? (environment CLERK_PUBLISHABLE_KEY)",
        "drain.grace: \"25\": not a duration; write one like `250ms`, `30s`, `5m` or `1h` (environment COUNTERSIGN_DRAIN_GRACE)",
        "listen: \"localhost:4600\": listens on addresses, not on names; write `127.0.0.1:4600` (a.toml:1:10)",
        "http2: `true` or `false` without quotes, not a number (a.toml:2:9)",
        "lisen: unknown key; did you mean `listen`? (a.toml:3:1)",
        "clerk.leeway: \"5\": not a duration; write one like `250ms`, `30s`, `5m` or `1h` (a.toml:6:10)",
        "clerk.azp: there is no party to enforce; name them in `clerk.authorized_parties`, like `[\"https://app.example.com\"]` (a.toml:7:7)",
        "route[1].path: \"nowhere\": a path starts with `/` (a.toml:10:8)",
        "signing.secret: unknown key; a secret does not stand in this file; name its own file in `signing.secret_file`, or set COUNTERSIGN_SIGNING_SECRET (a.toml:13:1)",
        "limits.head: a size in quotes, like `\"32KiB\"`, not `true` or `false` (a.toml:16:8)",
        "upstream.url: not set; where is the backend? Set COUNTERSIGN_UPSTREAM (or --upstream) to an address like `http://127.0.0.1:3000`",
    ];
    assert_eq!(scene.mistakes(), want);
}

#[test]
fn a_broken_file_is_told_without_what_follows_from_that() {
    let got = Scene::default().toml("workers = 0\nupstream.url = \nlisten = \"x\"").mistakes();
    let starts: Vec<_> = got.iter().map(|got| got.split(": ").next().unwrap()).collect();
    assert_eq!(starts, ["workers", "a.toml", "listen"], "{got:?}");

    let flags = Flags { config: Some("b.toml".into()), ..Flags::default() };
    let scene = Scene { flags, ..Scene::default() };
    let got: Vec<_> = scene.load_bare().unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(got, ["b.toml: cannot be read: entity not found (flag --config)"]);
}

#[test]
fn every_key_is_read_from_its_variables() {
    for key in KEYS {
        for name in key.variables() {
            // A control character is good in no value, but for a secret, which is too short here.
            let got = Scene::default().env(&name, "\u{7}").load_bare().unwrap_err();
            let got: Vec<_> = got.iter().map(ToString::to_string).collect();
            let found = got.iter().any(|got| {
                got.starts_with(&format!("{}: ", key.name))
                    && got.contains(&format!("environment {name}"))
            });
            assert!(found, "{name}: {got:?}");
        }
    }
}

#[test]
fn every_key_of_a_route_is_read() {
    let of_texts = |key: &&key::Key| !matches!(key.kind, Kind::Int | Kind::Values);
    for key in KEYS.iter().filter(|key| key.home == Home::Route).filter(of_texts) {
        let name = key.name.trim_start_matches("route.");
        let value = if key.kind == Kind::List { "[\"\\u0007\"]" } else { "\"\\u0007\"" };
        let got = mistakes(&format!("[[route]]\n{name} = {value}"));
        assert!(
            got.iter().any(|got| got.starts_with(&format!("route[1].{name}: \"\\u{{7}}\""))),
            "{got:?}"
        );
    }
}

#[test]
fn the_defaults_that_are_shown_are_those_that_count() {
    let usual = Scene::default().load().unwrap();
    for key in KEYS {
        let (Some(text), Some(name)) = (key.default, key.variables().next()) else { continue };
        let written = Scene::default().env(&name, text).load().unwrap();
        assert_eq!(format!("{:?}", written.settings), format!("{:?}", usual.settings), "{name}");
    }
}

#[test]
fn no_secret_is_shown() {
    const SECRET: &str = "hunter2hunter2hunter2hunter2hunter2";
    let loaded = Scene::default()
        .env("COUNTERSIGN_SIGNING_SECRET", SECRET)
        .env("HTTPS_PROXY", "http://user:hunter2@proxy:3128")
        .env("CLERK_FAPI_URL", "https://b.com/?key=hunter2")
        .load();
    let loaded = loaded.unwrap();
    assert_eq!(
        shown(&loaded, "signing.secret").as_deref(),
        Some("(35 bytes) (environment COUNTERSIGN_SIGNING_SECRET)")
    );
    assert!(!format!("{loaded:?}").contains("hunter2"), "{loaded:?}");
}

#[test]
fn a_secret_that_stands_where_its_file_or_an_address_belongs_is_not_repeated() {
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----";
    for (name, text) in [
        ("COUNTERSIGN_SIGNING_SECRET_FILE", "hunter2hunter2hunter2hunter2hunter2"),
        ("COUNTERSIGN_SIGNING_KEYS_DIR", PEM),
        ("CLERK_SECRET_KEY_FILE", "hunter2"),
        ("COUNTERSIGN_TLS_KEY_FILE", PEM),
        ("COUNTERSIGN_UPSTREAM_KEY_FILE", PEM),
        ("COUNTERSIGN_CLERK_REVOKED_FILE", PEM),
        ("COUNTERSIGN_AUTHORIZED_PARTIES", "https://user:hunter2@app.test"),
        ("CLERK_DOMAIN", "user:hunter2@app.test"),
        ("COUNTERSIGN_LISTEN", "user:hunter2@127.0.0.1:1"),
    ] {
        let mistakes = Scene::default().env(name, text).mistakes();
        assert!(!mistakes.is_empty() && !mistakes.concat().contains("hunter2"), "{mistakes:?}");
    }
}

#[test]
fn no_mistake_repeats_a_secret() {
    for (name, value) in [
        ("HTTPS_PROXY", "http://user:hunter2@proxy\u{7}:3128"),
        ("HTTPS_PROXY", "gopher://user:hunter2@proxy"),
        ("CLERK_FAPI_URL", "https://user:hunter2@b.com\u{7}"),
        ("CLERK_PUBLISHABLE_KEY", "sk_live_hunter2\u{7}"),
        ("CLERK_SECRET_KEY", "hunter2\u{7}"),
    ] {
        let got = Scene::default().env(name, value).mistakes();
        assert!(!got.is_empty(), "{name}");
        assert!(!got.concat().contains("hunter2"), "{name}: {got:?}");
    }
}

#[test]
fn routes_and_claims_are_shown_row_by_row() {
    let loaded = loaded(
        "identity.claims = {x-a = \"/a\"}\n[[route]]\npath = \"/b\"\nmethods = [\"GET\", \"PUT\"]\nclaims.n = [5, \"5\", true]\nreverification = {level = \"first_factor\", after_minutes = 5}",
    );
    for (key, want) in [
        ("identity.claims.x-a", "\"/a\" (a.toml:1:26)"),
        ("route[1].path", "\"/b\" (a.toml:3:8)"),
        ("route[1].methods", "[\"GET\", \"PUT\"] (a.toml:4:11)"),
        ("route[1].access", "\"required\" (default)"),
        ("route[1].claims.n", "[5,\"5\",true] (a.toml:5:12)"),
        ("route[1].reverification.level", "\"first_factor\" (a.toml:6:27)"),
        ("route[1].reverification.after_minutes", "5 (a.toml:6:59)"),
        ("route[1].unauthenticated", "\"auto\" (default)"),
    ] {
        assert_eq!(shown(&loaded, key).as_deref(), Some(want), "{:?}", loaded.shown);
    }
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in file_like()) {
        if let Err(mistakes) = Scene::default().toml(&text).load() {
            prop_assert!(!mistakes.is_empty());
        }
    }

    #[test]
    fn no_variable_makes_it_panic(place in 0..KEYS.len(), value in value_like()) {
        for name in KEYS[place].variables() {
            if let Err(mistakes) = Scene::default().env(&name, &value).load() {
                prop_assert!(!mistakes.is_empty());
            }
        }
    }
}

/// Lines that look like settings more often than not.
fn file_like() -> impl Strategy<Value = String> {
    let key = (0..KEYS.len()).prop_map(|place| KEYS[place].name.to_owned());
    let value = prop_oneof![
        value_like().prop_map(|text| format!("{text:?}")),
        value_like().prop_map(|text| format!("[{text:?}]")),
        value_like().prop_map(|text| format!("{{ x = {text:?} }}")),
        "\\PC{0,12}",
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    let line = prop_oneof![
        4 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => Just("[[route]]".to_owned()),
        1 => "\\PC{0,24}",
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

fn value_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,16}",
        "[a-z0-9:/.@\\[\\]*=~%?#-]{0,24}",
        "(https?|unix|h2c)://[a-zA-Z0-9:/.@\\[\\]é-]{0,16}",
        "[0-9]{0,22}(ms|s|m|h|d|B|KiB|GiB)",
        "/[a-z*/.%;é]{0,12}",
        "x-[a-z_-]{1,8}=/[a-z~01]{0,6}",
        "pk_(test|live)_[A-Za-z0-9+/=]{0,16}",
    ]
}
