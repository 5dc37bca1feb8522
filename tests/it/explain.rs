//! What `countersign explain` says of a token, held against what the proxy says of it.

use std::io::Write;
use std::process::{Command, Stdio};

use countersign::clock::Clock;
use countersign::config::{self, Disk, Flags, Sources, Terminal};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task;

use super::support::key_server::published_by;
use super::support::{Issuer, Proxy, Upstream};

/// A settings file, and who runs by it.
struct Scene {
    dir: TempDir,
    issuer: Issuer,
    upstream: Upstream,
}

/// What the command printed, and its exit status.
struct Explained {
    status: i32,
    out: String,
    complaint: String,
}

impl Scene {
    /// An issuer, a backend, and settings with these lines.
    async fn start(lines: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(Clock::System).unwrap(), Upstream::start().await);
        let scene = Self { dir: TempDir::new().unwrap(), issuer, upstream };
        let settings = format!(
            "listen = \"127.0.0.1:0\"\nadmin.listen = \"unix:{}\"\nupstream.url = \"http://{}\"\n\
             clerk.publishable_key = {:?}\n{lines}\n",
            scene.path("admin.sock"),
            scene.upstream.address,
            scene.issuer.publishable_key(),
        );
        std::fs::write(scene.path("settings.toml"), settings).unwrap();
        scene
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts the proxy with the settings of the file.
    async fn proxy(&self) -> Proxy {
        let sources = Sources {
            flags: Flags { config: Some(self.path("settings.toml").into()), ..Flags::default() },
            environment: [].into(),
            files: &Disk,
            cpus: 1,
            terminal: Terminal::No,
        };
        Proxy::start(config::load(&sources).unwrap().settings).await
    }

    /// Runs the command with the settings of the file, and this text on standard input.
    async fn explain(&self, arguments: &[&str], text: &str) -> Explained {
        let config = self.path("settings.toml");
        let arguments = [&["--config", config.as_str()], arguments].concat();
        explain(&arguments, text).await
    }
}

/// Runs the command beside the test, whose runtime goes on to answer for the issuer.
async fn explain(arguments: &[&str], text: &str) -> Explained {
    let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let text = text.to_owned();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("explain").args(arguments).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that has its token, or bad settings, does not read.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait_with_output().unwrap()
    };
    let output = task::spawn_blocking(run).await.unwrap();
    Explained {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        complaint: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Explained {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.complaint))
    }

    fn assert_hides(&self, token: &str) {
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!self.out.contains(part), "{}", self.out);
            assert!(!self.complaint.contains(part), "{}", self.complaint);
        }
    }
}

/// Tokens of each kind, as the issuer mints them.
fn tokens(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let now = Clock::System.now().as_secs();
    let mint = |claims: Value| issuer.mint(claims);
    let template = json!({"cat": "cl_B7d4PD222AAA"});
    let good = mint(json!({}));
    let cut = good[..good.rfind('.').unwrap()].to_owned();
    let forged = format!("{cut}.{}", "A".repeat(342));
    vec![
        ("good", good),
        ("expired", mint(json!({"exp": now - 60, "iat": now - 120}))),
        ("foreign issuer", mint(json!({"iss": "https://clerk.other.com"}))),
        ("template", mint(json!({"$header": template, "sid": null, "aud": "convex"}))),
        ("template for others", mint(json!({"$header": template, "sid": null, "aud": "b"}))),
        ("azp-less", mint(json!({"azp": null}))),
        ("wrong azp", mint(json!({"azp": "https://evil.example"}))),
        ("audience", mint(json!({"aud": "api"}))),
        ("machine", mint(json!({"$header": {"typ": "at+jwt"}}))),
        ("another machine", mint(json!({"sub": "mch_1"}))),
        ("garbage", "garbage".to_owned()),
        ("cut", cut),
        ("unknown kid", mint(json!({"$header": {"kid": "ins_unknown"}}))),
        ("no kid", mint(json!({"$header": {"kid": null}}))),
        ("algorithm", mint(json!({"$header": {"alg": "HS256"}}))),
        ("another key's algorithm", mint(json!({"$header": {"alg": "RS512"}}))),
        ("typ", mint(json!({"$header": {"typ": "secevent+jwt"}}))),
        ("bad signature", forged),
        ("no subject", mint(json!({"sub": null}))),
        ("no session", mint(json!({"sid": null}))),
        ("pending", mint(json!({"sts": "pending"}))),
        ("impersonated", mint(json!({"act": {"sub": "user_admin"}}))),
        ("not yet", mint(json!({"nbf": now + 600}))),
        ("from the future", mint(json!({"iat": now + 300, "exp": now + 600}))),
        ("long", mint(json!({"exp": now + 1_000_000}))),
        ("revoked", mint(json!({"sub": "user_revoked"}))),
        ("large", mint(json!({"a": "a".repeat(20_000)}))),
    ]
}

/// Settings that differ in what they accept.
const SETTINGS: [&str; 3] = [
    "clerk.authorized_parties = [\"http://localhost:3000\"]",
    "clerk.authorized_parties = [\"http://localhost:3000\"]\nclerk.azp = \"enforce\"\n\
     clerk.accept = [\"session_token\", \"jwt_template\"]\n\
     clerk.jwt_template.audience = [\"convex\"]\nclerk.impersonation = \"refuse\"",
    "clerk.azp = \"off\"\nclerk.audience = [\"api\"]\nclerk.max_lifetime = \"none\"\n\
     limits.head = \"64KiB\"\nlimits.token = \"32KiB\"",
];

#[tokio::test(flavor = "local")]
async fn the_verdict_is_that_of_the_proxy_and_no_token_is_printed() {
    for lines in SETTINGS {
        let scene = Scene::start(lines).await;
        std::fs::write(scene.path("revoked"), "user_revoked\n").unwrap();
        let list = format!("clerk.revoked_file = {:?}\n", scene.path("revoked"));
        let file = std::fs::read_to_string(scene.path("settings.toml")).unwrap();
        std::fs::write(scene.path("settings.toml"), file + &list).unwrap();
        let proxy = scene.proxy().await;

        for (what, token) in tokens(&scene.issuer) {
            let explained = scene.explain(&["--json"], &token).await;
            let answer = proxy.get("/orders", &token).await;

            let report = explained.json();
            let reason = report["reason"].as_str().unwrap_or_default();
            assert_eq!(reason, answer.reason(), "{what}, {lines}");
            assert_eq!(report["accepted"], answer.status == 200, "{what}, {lines}");
            assert_eq!(explained.status, i32::from(answer.status != 200), "{what}, {lines}");
            let failed = |step: &&Value| step["outcome"] == "failed";
            let failed = report["steps"].as_array().unwrap().iter().find(failed);
            let failed = failed.map_or("", |step| step["reason"].as_str().unwrap());
            assert_eq!(failed, reason, "{what}, {lines}: the first step that failed");
            explained.assert_hides(&token);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_report_for_people_says_what_to_do() {
    let party = "clerk.authorized_parties = [\"http://localhost:3000\"]\n\
                 identity.claims.x-clerk-email = \"/email\"\n\
                 [[route]]\npath = \"/open/**\"\naccess = \"public\"";
    let scene = Scene::start(party).await;
    let all = tokens(&scene.issuer);
    for (what, said) in [
        ("good", "✓ Accepted, as session_token."),
        ("good", "\"email\": \"{{user.primary_email_address}}\""),
        ("good", "x-clerk-user-id          user_2xHq6uHb8KkM3nQs5VxY7zCeGjR\n"),
        ("expired", "✗ Refused at exp: 401 session-token-expired\n"),
        ("expired", "must call `await getToken()` for"),
        ("foreign issuer", "url = \"https://clerk.other.com\"\n"),
        ("template", "clerk.jwt_template.audience = [\"convex\"]\n"),
        ("wrong azp", "[\"http://localhost:3000\", \"https://evil.example\"]\n"),
        ("machine", "not supported"),
        ("garbage", "7 bytes without a dot"),
        (
            "garbage",
            "  ✓ /open/** (public)\n  ✗ every path without a route (required): token-invalid\n",
        ),
        ("unknown kid", "publishes no such key"),
        ("bad signature", "which is not to be believed"),
    ] {
        let (_, token) = all.iter().find(|(name, _)| *name == what).unwrap();
        let explained = scene.explain(&[], &format!("Bearer {token}\n")).await;
        assert!(explained.out.contains(said), "{what}: {said}\n{}", explained.out);
        assert!(explained.out.contains("\"Bearer\" was taken off"), "{what}");
        explained.assert_hides(token);
    }
}

#[tokio::test(flavor = "local")]
async fn the_token_may_be_an_argument_and_goes_nowhere() {
    let scene = Scene::start("clerk.azp = \"off\"").await;
    let token = scene.issuer.token();

    let as_argument = scene.explain(&["--json", &token], "").await;
    let refused = scene.explain(&["--json"], "pk_test_Y2xlcmsuYS5jb20k").await;

    assert_eq!((as_argument.status, refused.status), (0, 1));
    assert_eq!(scene.issuer.fetches(), 1, "nobody's keys are fetched for what is no token");
    as_argument.assert_hides(&token);
    assert!(!refused.out.contains("Y2xlcmsuYS5jb20k"), "{}", refused.out);
}

#[tokio::test(flavor = "local")]
async fn keys_from_a_file_need_no_network() {
    let scene = Scene::start("clerk.azp = \"off\"").await;
    std::fs::write(scene.path("keys.json"), published_by(&scene.issuer).await).unwrap();
    let before = scene.issuer.fetches();

    let keys = scene.path("keys.json");
    let explained = scene.explain(&["--jwks-file", &keys], &scene.issuer.token()).await;

    assert_eq!(explained.status, 0, "{}{}", explained.out, explained.complaint);
    assert_eq!(scene.issuer.fetches(), before);
}

#[tokio::test(flavor = "local")]
async fn where_nobody_can_tell_the_status_is_69_and_bad_settings_are_78() {
    let scene = Scene::start("clerk.azp = \"off\"").await;
    let token = scene.issuer.token();
    let gone = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/jwks", socket.local_addr().unwrap())
    };

    let unavailable = scene.explain(&["--json", "--jwks-url", &gone], &token).await;
    let bad = scene.explain(&["--workers", "0"], &token).await;
    let nobody = explain(&[], &token).await;
    let key = scene.issuer.publishable_key();
    let without_backend = explain(&["--publishable-key", &key], &token).await;

    assert_eq!(unavailable.status, 69);
    assert_eq!(unavailable.json()["reason"], "keys-unavailable");
    unavailable.assert_hides(&token);
    assert_eq!((bad.status, nobody.status), (78, 78));
    assert!(bad.complaint.contains("workers: "), "{}", bad.complaint);
    assert!(nobody.complaint.contains("clerk.publishable_key: not set"), "{}", nobody.complaint);
    assert!(!nobody.complaint.contains("upstream"), "{}", nobody.complaint);
    assert_eq!(without_backend.status, 0, "{}", without_backend.complaint);
}
