//! What `countersign init` leaves behind in a folder, and what it says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::{TempDir, tempdir};

const KEY: &str = "VITE_CLERK_PUBLISHABLE_KEY=pk_test_Y2xlcmsuY2xlcmsuZGV2JA\n";

/// An app in Django, with a key.
fn app() -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("manage.py"), "").unwrap();
    fs::write(dir.path().join(".env"), KEY).unwrap();
    dir
}

/// Runs a command in a folder, with nothing in the environment.
fn countersign(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).current_dir(folder).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn what_was_written_is_what_check_reads() {
    let app = app();

    let output = countersign(app.path(), &["init"]);
    let checked = countersign(app.path(), &["check", "--config", "countersign.toml"]);

    let said = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(said.starts_with("`countersign.toml` is written.\n"), "{said}");
    assert!(said.contains("\n  countersign serve --config countersign.toml\n"), "{said}");
    let read = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0));
    for (key, value) in [
        ("upstream.url", "\"http://127.0.0.1:8000\""),
        ("clerk.publishable_key", "\"pk_test_Y2xlcmsuY2xlcmsuZGV2JA\""),
    ] {
        let mut lines = read.lines().filter(|line| line.starts_with(key));
        let line = lines.next().unwrap_or_default();
        assert!(line.contains(value) && line.contains("(countersign.toml:"), "{key}: {read}");
    }
}

#[test]
fn a_file_that_is_there_is_written_over_by_force_alone() {
    let app = app();
    let file = app.path().join("countersign.toml");
    fs::write(&file, "workers = 1\n").unwrap();

    let refused = countersign(app.path(), &["init"]);
    let kept = fs::read_to_string(&file).unwrap();
    let forced = countersign(app.path(), &["init", "--force"]);

    let want = "countersign: `countersign.toml` is there already; `--force` writes over it, `--stdout` shows what would be written\n";
    assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(1), want));
    assert_eq!((text(&refused.stdout), &*kept), ("", "workers = 1\n"));
    assert_eq!(forced.status.code(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("pk_test_"));
}

#[test]
fn settings_that_are_printed_are_written_nowhere() {
    let app = app();

    let printed = countersign(app.path(), &["init", "--stdout"]);
    let written = countersign(app.path(), &["init", "--config", "a.toml"]);

    assert_eq!((printed.status.code(), written.status.code()), (Some(0), Some(0)));
    assert!(!app.path().join("countersign.toml").exists());
    assert_eq!(text(&printed.stdout), fs::read_to_string(app.path().join("a.toml")).unwrap());
    assert!(text(&printed.stderr).contains("manage.py: where Django listens by default"));
}

#[test]
fn another_folder_has_its_file_in_it() {
    let (app, here) = (app(), tempdir().unwrap());
    let folder = app.path().join("an app");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".env"), KEY).unwrap();

    let output = countersign(here.path(), &["init", folder.to_str().unwrap()]);

    let file = folder.join("countersign.toml");
    let next = format!("\n  countersign serve --config '{}'\n", file.display());
    assert!(file.exists() && text(&output.stdout).contains(&next), "{output:?}");
}

#[test]
fn without_what_it_needs_it_says_what_to_do_and_writes_nothing() {
    for (env, arguments, want) in [
        (
            "",
            &["init"] as &[_],
            "countersign: no publishable key in `.env`, `.env.local` and the like; copy it from the API keys in Clerk's dashboard to `.env.local` as CLERK_PUBLISHABLE_KEY=pk_test_…, or give it with --publishable-key\n",
        ),
        (
            "CLERK_PUBLISHABLE_KEY=sk_test_hunter2",
            &["init"],
            "countersign: CLERK_PUBLISHABLE_KEY in .env: this is a secret key; ",
        ),
        (
            "",
            &["init", "--publishable-key", "pk_x"],
            "countersign: --publishable-key: not a publishable key; ",
        ),
        (KEY, &["init", "--upstream", "localhost:3000"], "countersign: upstream.url: "),
        (
            KEY,
            &["init", "nowhere"],
            "countersign: `nowhere` cannot be read: No such file or directory",
        ),
        (
            KEY,
            &["init", "--config", "no/a.toml"],
            "countersign: `no/a.toml` could not be written: ",
        ),
    ] {
        let app = tempdir().unwrap();
        fs::write(app.path().join(".env"), env).unwrap();

        let output = countersign(app.path(), arguments);

        let told = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{arguments:?}");
        assert!(told.starts_with(want) && !told.contains("hunter2"), "{arguments:?}: {told}");
        assert_eq!(fs::read_dir(app.path()).unwrap().count(), 1, "{arguments:?}");
    }
}
