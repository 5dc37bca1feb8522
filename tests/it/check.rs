//! What `countersign check` tells an operator of a settings file.

use std::process::{Command, Output};

/// Runs the command on a file of the fixtures, with nothing in the environment.
fn check(file: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(["check", "--config", file])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear();
    command.output().unwrap()
}

/// Each with its key, what is wrong, what would be right, and where.
#[test]
fn a_file_with_ten_mistakes_is_told_all_ten() {
    let file = "tests/fixtures/config/ten-mistakes.toml";
    let output = check(file, &[]);

    let want = [
        "listen: \"localhost:4600\": listens on addresses, not on names; write `127.0.0.1:4600` (3:10)",
        "workers: \"0\": at least 1 (4:11)",
        "trusted_proxies: \"0.0.0.0/0\": that is everybody, and everybody's forwarded headers would count; name the networks of your proxies (5:34)",
        "upstream.url: requests keep their own path and query; write `http://HOST:PORT`, `https://HOST:PORT`, `h2c://HOST:PORT` or `unix:/PATH` (8:7)",
        "clerk.publishable_key: this is a secret key; the publishable key starts with `pk_test_` or `pk_live_` (11:19)",
        "clerk.authorised_parties: unknown key; did you mean `clerk.authorized_parties`? (12:1)",
        "clerk.leeway: \"5\": not a duration; write one like `250ms`, `30s`, `5m` or `1h` (13:10)",
        "clerk.sign_in_url: a path is one at the origin of `public_url`; set that, or write the whole address (14:15)",
        "route[1].session: asks Clerk, which takes a secret key; set CLERK_SECRET_KEY or `clerk.secret_key_file` (18:11)",
        "signing.secret: unknown key; a secret does not stand in this file; name its own file in `signing.secret_file`, or set COUNTERSIGN_SIGNING_SECRET (21:1)",
    ];
    let told = String::from_utf8(output.stderr).unwrap();
    let told: Vec<_> = told.lines().map(|line| line.replace(&format!("{file}:"), "")).collect();
    assert_eq!(told, want.map(|sentence| format!("countersign: {sentence}")));
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
}

#[test]
fn a_file_that_leaves_holes_is_told_each_and_is_a_mistake_on_request() {
    let file = "tests/fixtures/config/holes.toml";
    let (output, strict) = (check(file, &[]), check(file, &["--strict"]));

    let want = [
        "route[2].path: never matches: the route `/admin/**` before it has all its requests (16:8)",
        "route[4].path: the route `/users/*/avatar` before it is public and has some of its requests; put this one first, unless that is meant (24:8)",
        "paths.case_insensitive: not set: what the route `/admin/**` asks is not asked where its path comes in other capitals; write `true` if the backend takes the two for one path, `false` if not",
        "clerk.authorized_parties: not set: session cookies are not accepted without it or `public_url`, and a bearer token that was given to any application of the instance is good; name the origins of yours",
        "public_url: not set, nor are `clerk.authorized_parties` and `trusted_proxies`: browsers are sent to sign in, and back to whichever host a request names, at `http://…` where a proxy before this one ends TLS; write what they call this host, like `https://app.example.com`",
    ];
    let told = String::from_utf8(output.stdout).unwrap().replace(&format!("{file}:"), "");
    let told: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    assert_eq!(told, want);
    assert_eq!((output.status.code(), strict.status.code()), (Some(0), Some(78)));
}
