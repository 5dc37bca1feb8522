//! A folder in, settings and a report out.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::folder::tests::folder;
use super::*;

const KEY: (&str, &str) = (
    ".env.local",
    "CLERK_PUBLISHABLE_KEY=pk_test_Y2xlcmsuY2xlcmsuZGV2JA\nCLERK_SECRET_KEY=sk_test_hunter2",
);
const PRODUCTION: (&str, &str) =
    (".env", "CLERK_PUBLISHABLE_KEY=pk_live_Y2xlcmsuYS5jb20k\nPORT=sk_live_hunter2");
const VITE: (&str, &str) = ("package.json", r#"{"dependencies": {"vite": "7", "react": "19"}}"#);
const CLERK: &str = r#"{"dependencies": {"vite": "7", "@clerk/react": "6"}}"#;
const CLERK_5174: &str = r#"{"dependencies": {"vite": "7", "@clerk/react": "6"}, "scripts": {"dev": "vite --port 5174"}}"#;
const EXPO: (&str, &str) = ("package.json", r#"{"dependencies": {"expo": "54", "react": "19"}}"#);
const NEXT: (&str, &str) = ("package.json", r#"{"dependencies": {"next": "16"}}"#);
const DJANGO: (&str, &str) = ("manage.py", "");
const SECRETIVE: (&str, &str) =
    ("Procfile", "web: CLERK_SECRET_KEY=sk_live_hunter2 gunicorn -b :8001 app");

/// One folder of each kind.
static FOLDERS: LazyLock<Vec<Folder>> = LazyLock::new(|| {
    let kinds: [&[_]; 8] = [
        &[KEY],
        &[KEY, VITE],
        &[KEY, EXPO],
        &[KEY, NEXT],
        &[KEY, DJANGO],
        &[KEY, SECRETIVE],
        &[PRODUCTION, VITE],
        &[KEY, PRODUCTION, DJANGO, VITE],
    ];
    kinds.map(folder).into()
});

fn draft(folder: &Folder, upstream: Option<&str>) -> Draft {
    let given = Given { upstream: upstream.map(str::to_owned), ..Given::default() };
    Draft::of(folder, &BTreeMap::new(), &given).unwrap()
}

fn text(draft: &Draft) -> String {
    draft.settings(Path::new("a.toml")).unwrap().text
}

/// What is said of it, as the command says it.
fn report(draft: &Draft) -> String {
    draft.report("a.toml", &draft.settings(Path::new("a.toml")).unwrap().warnings)
}

/// The settings with every remark that is a setting made one.
fn all_on(settings: &str) -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    settings.lines().map(on).collect()
}

#[test]
fn the_settings_are_read_as_they_are_and_with_every_remark_made_a_setting() {
    for folder in &*FOLDERS {
        let text = text(&draft(folder, None));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        let secret_key = if text.contains("pk_live_") { "sk_live_x" } else { "sk_test_x" };
        let secrets =
            [("signing.key", "s".repeat(32)), ("clerk-secret.key", secret_key.to_owned())];
        let mut whole = all_on(&text);
        for (name, secret) in secrets {
            let file = dir.path().join(name);
            std::fs::write(&file, secret).unwrap();
            whole = whole.replace(name, file.to_str().unwrap());
        }
        std::fs::write(&path, &whole).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let loaded = config::load(&Sources {
            flags,
            environment: BTreeMap::new(),
            files: &config::Disk,
            cpus: 1,
            terminal: Terminal::No,
        });
        let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{whole}"));
        let written = loaded
            .shown
            .iter()
            .filter(|it| matches!(it.origin, config::Origin::File { .. }))
            .count();
        assert!(written >= 24, "{written} settings\n{whole}");
    }
}

#[test]
fn what_is_called_a_default_is_one() {
    let text = text(&draft(&FOLDERS[0], None));
    for line in [
        "listen = \"127.0.0.1:4600\"",
        "listen = \"127.0.0.1:4601\"",
        "leeway = \"5s\"",
        "response = \"60s\"",
        "delay = \"0s\"",
        "grace = \"25s\"",
    ] {
        assert!(text.contains(&format!("\n#{line}\n")), "{line}");
    }
}

#[test]
fn no_secret_is_written_or_told() {
    for folder in &*FOLDERS {
        let draft = draft(folder, None);
        for text in [text(&draft), report(&draft)] {
            assert!(!text.contains("sk_") && !text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn pages_that_are_not_the_backends_are_a_party_in_development() {
    for (files, parties) in [
        (&[KEY, VITE] as &[_], &["http://localhost:5173"] as &[_]),
        (&[KEY, EXPO], &[]),
        (&[KEY, NEXT], &[]),
        (&[KEY, DJANGO], &[]),
        (&[KEY, NEXT, ("api/go.mod", "")], &["http://localhost:3000"]),
        // Each that signs in, and of those alone where any has Clerk's package.
        (
            &[KEY, ("api/go.mod", ""), ("a/package.json", CLERK), ("b/package.json", CLERK_5174)],
            &["http://localhost:5173", "http://localhost:5174"],
        ),
        (
            &[KEY, ("api/go.mod", ""), ("a/package.json", CLERK), ("b/package.json", VITE.1)],
            &["http://localhost:5173"],
        ),
        // The proxy's own too, where it has pages: they would be refused beside the others.
        (&[KEY, VITE, ("artisan", "")], &["http://localhost:4600", "http://localhost:5173"]),
        // Where the pages of production are, no folder says.
        (&[PRODUCTION, VITE], &[]),
    ] {
        let draft = draft(&folder(files), None);
        assert_eq!(draft.parties(), parties, "{files:?}");
        let settings = text(&draft);
        assert_eq!(settings.contains("\nauthorized_parties"), !parties.is_empty(), "{settings}");
    }
}

#[test]
fn pages_of_the_backend_are_where_the_proxy_is_in_development() {
    for (files, is_told) in [
        (&[KEY, NEXT] as &[_], true),
        (&[KEY, NEXT, ("api/go.mod", "")], false),
        (&[KEY, VITE], false),
        // In one folder: the backend's pages may be made with it.
        (&[KEY, VITE, ("artisan", "")], true),
        (&[KEY, VITE, ("api/artisan", "")], false),
        (&[KEY, EXPO, ("go.mod", "")], false),
        (&[KEY, DJANGO], false),
        (&[PRODUCTION, NEXT], false),
    ] {
        let settings = text(&draft(&folder(files), None));
        let own = settings.contains("\npublic_url = \"http://localhost:4600\"\n");
        assert_eq!(own, is_told, "{files:?}: {settings}");
    }
}

#[test]
fn what_a_strict_check_would_not_take_is_told() {
    for (files, want) in [
        (&[KEY, NEXT] as &[_], &[] as &[_]),
        (&[KEY, VITE, ("api/go.mod", "")], &[]),
        (&[KEY, DJANGO], &["clerk.authorized_parties: not set", "public_url: not set"]),
        (&[KEY, EXPO], &["clerk.authorized_parties: not set", "public_url: not set"]),
        (
            &[PRODUCTION, VITE],
            &["clerk.authorized_parties: not set: session cookies", "public_url: not set"],
        ),
    ] {
        let report = report(&draft(&folder(files), None));
        let told = report.lines().filter_map(|line| line.strip_prefix("warning  "));
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), want.len(), "{files:?}: {report}");
        for (told, want) in told.iter().zip(want) {
            assert!(told.starts_with(want), "{files:?}: {told}");
        }
    }
}

#[test]
fn what_the_backend_builds_for_browsers_is_for_everybody_where_its_paths_are_known() {
    for (files, want) in [
        (&[KEY, NEXT] as &[_], &[["/_next/static/**", "public"]] as &[_]),
        // The proxy is not before these pages.
        (&[KEY, NEXT, ("api/go.mod", "")], &[]),
        (&[KEY, VITE], &[]),
        (&[KEY, DJANGO], &[]),
    ] {
        let settings = text(&draft(&folder(files), None));
        let table: toml::Table = settings.parse().unwrap();
        let routes = table.get("route").and_then(toml::Value::as_array);
        let word = |route: &toml::Value, key| route[key].as_str().unwrap().to_owned();
        let open = routes.into_iter().flatten();
        let open: Vec<_> = open.map(|it| [word(it, "path"), word(it, "access")]).collect();
        assert_eq!(open, want, "{files:?}: {settings}");
    }
}

#[test]
fn an_address_that_does_not_do_is_told_before_anything_is_written() {
    for (upstream, want) in [
        ("127.0.0.1:3000", "upstream.url: "),
        ("http://127.0.0.1:4600", "upstream.url: this is where the proxy itself listens"),
        ("http://u:hunter2@127.0.0.1:3000", "upstream.url: "),
        ("http://a\"\nworkers = 1\n", "upstream.url: "),
    ] {
        let error = draft(&FOLDERS[0], Some(upstream)).settings(Path::new("a.toml")).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with(want) && !told.contains("hunter2"), "{upstream:?}: {told}");
    }
    let settings = draft(&FOLDERS[0], Some("unix:/run/app.sock")).settings(Path::new("a.toml"));
    assert!(settings.unwrap().text.contains("\nurl = \"unix:/run/app.sock\"\n"));
}

#[test]
fn the_report_says_what_was_found_by_what_and_what_to_do() {
    for (files, lines) in [
        (
            &[KEY] as &[_],
            &[
                "key      clerk.clerk.dev, development (CLERK_PUBLISHABLE_KEY in .env.local)",
                "backend  http://127.0.0.1:3000 (a guess: no file says where it listens)",
                "note     where does your backend listen? ",
            ][..],
        ),
        (
            &[KEY, DJANGO],
            &[
                "backend  http://127.0.0.1:8000 (manage.py: where Django listens by default)",
                "  countersign serve --config a.toml",
                "Open http://localhost:4600 for pages of the backend",
            ],
        ),
        (
            &[KEY, VITE],
            &[
                "pages    Vite at http://localhost:5173 (package.json: where Vite listens by default)",
                "note     tokens are taken from pages of http://localhost:5173 alone",
                "A page of Vite sends its token so",
                "  import { useAuth } from \"@clerk/react\"",
            ],
        ),
        (&[KEY, EXPO], &["a phone needs this machine's address"]),
        (
            &[KEY, NEXT],
            &[
                "note     tokens are taken from pages of http://localhost:4600 alone",
                "note     what Next.js builds for browsers, /_next/static/**, is for everybody; ",
                "Open http://localhost:4600 for the pages of Next.js",
            ],
        ),
        (
            &[
                KEY,
                ("package.json", r#"{"dependencies": {"react-scripts": "5"}}"#),
                ("api/Gemfile", "gem 'rails'"),
            ],
            &["note     the backend and Create React App would both be at port 3000: "],
        ),
        (
            &[KEY, VITE, ("artisan", "")],
            &[
                "note     tokens are taken from pages of http://localhost:4600, http://localhost:5173 alone: `clerk.authorized_parties`",
            ],
        ),
        (&[KEY, PRODUCTION], &["note     another key: CLERK_PUBLISHABLE_KEY in .env; "]),
    ] {
        let report = report(&draft(&folder(files), None));
        for line in lines {
            assert!(
                report
                    .lines()
                    .any(|own| own.starts_with(line) || own.contains(&format!("; {line}"))),
                "{line}\n{report}"
            );
        }
    }
}

#[test]
fn of_several_apps_the_one_with_the_key_is_meant() {
    const DOCS: &str =
        r#"{"dependencies": {"next": "16"}, "scripts": {"dev": "next dev -p 3001"}}"#;
    const WEB: &str = r#"{"dependencies": {"next": "16"}, "scripts": {"dev": "next dev"}}"#;
    const SIGNS_IN: &str = r#"{"dependencies": {"next": "16", "@clerk/nextjs": "7"}}"#;
    for (files, url) in [
        (
            [
                ("apps/docs/package.json", DOCS),
                ("apps/web/package.json", WEB),
                ("apps/web/.env.local", KEY.1),
            ],
            "http://127.0.0.1:3000",
        ),
        (
            [("apps/docs/package.json", DOCS), ("apps/web/package.json", SIGNS_IN), KEY],
            "http://127.0.0.1:3000",
        ),
        (
            [("apps/docs/package.json", DOCS), ("apps/web/package.json", WEB), KEY],
            "http://127.0.0.1:3001",
        ),
    ] {
        let draft = draft(&folder(&files), None);
        assert_eq!(draft.backend.url, url, "{files:?}");
        assert!(matches!(draft.pages[0], Pages::Backends(_)), "{draft:?}");
    }
}

proptest! {
    /// Whatever files say, there are settings for the key that was given, and they are read; but
    /// for a backend where the proxy itself listens, which is told.
    #[test]
    fn no_text_is_too_odd(
        name in prop::sample::select(vec![
            ".env", "package.json", "Procfile", "compose.yaml", "Dockerfile", "main.go", "go.mod",
            "server.js", "Properties/launchSettings.json", "vite.config.ts",
        ]),
        words in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec![
                    "PORT=", "web:", "--port ", "${", ":-", "}", "services:\n", "  a:\n", "    build: .\n",
                    "    ports:\n", "      - ", "8000", ":", "EXPOSE ", "listen(", "\"", "'", "#", "\n", "[",
                    "{\"dependencies\":{\"next\":\"", "\"}}", "\"applicationUrl\": \"http://", "=", "tcp://",
                ]).prop_map(str::to_owned),
                "\\PC{0,4}",
            ],
            0..24,
        ),
    ) {
        let text = words.concat();
        let given = Given {
            publishable_key: Some("pk_test_Y2xlcmsuY2xlcmsuZGV2JA".to_owned()),
            upstream: None,
        };
        let draft = Draft::of(&folder(&[(name, &text)]), &BTreeMap::new(), &given).unwrap();
        let settings = draft.settings(Path::new("a.toml"));
        prop_assert!(settings.is_ok() || draft.backend.url.ends_with(":4600"), "{settings:?}");
        let warnings = settings.map(|it| it.warnings).unwrap_or_default();
        prop_assert!(draft.report("a.toml", &warnings).starts_with("key "));
    }
}
