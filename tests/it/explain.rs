//! What `countersign explain` says of a token or a request, held against what the proxy says of it.

use std::io::Write;
use std::process::{Command, Stdio};

use countersign::clock::Clock;
use countersign::config::{self, Disk, Flags, Sources, Terminal};
use http::Method;
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
        Self::start_with("pk_test_", lines).await
    }

    /// The same, with the issuer as an instance whose keys begin so.
    async fn start_with(kind: &str, lines: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(Clock::System).unwrap(), Upstream::start().await);
        let scene = Self { dir: TempDir::new().unwrap(), issuer, upstream };
        let settings = format!(
            "listen = \"127.0.0.1:0\"\nadmin.listen = \"unix:{}\"\nupstream.url = \"http://{}\"\n\
             clerk.publishable_key = {:?}\n{lines}\n",
            scene.path("admin.sock"),
            scene.upstream.address,
            scene.issuer.publishable_key().replace("pk_test_", kind),
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
    let in_two_words = scene.explain(&["--json", "Bearer", &token], "").await;
    let refused = scene.explain(&["--json"], "pk_test_Y2xlcmsuYS5jb20k").await;

    assert_eq!((as_argument.status, in_two_words.status, refused.status), (0, 0, 1));
    assert_eq!(scene.issuer.fetches(), 2, "nobody's keys are fetched for what is no token");
    as_argument.assert_hides(&token);
    in_two_words.assert_hides(&token);
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

/// A request of a browser's or a script's.
struct Asked {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    cookies: String,
}

impl Asked {
    fn new(path: &str, headers: &[(&'static str, &str)], cookies: &str) -> Self {
        let post = headers.iter().any(|(name, _)| *name == "origin");
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Self {
            method: if post { "POST" } else { "GET" },
            path: path.to_owned(),
            headers: headers.collect(),
            cookies: cookies.to_owned(),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let url = format!("http://localhost:4600{}", self.path);
        let mut arguments = vec!["--json".to_owned(), "--url".to_owned(), url];
        arguments.extend(["-X".to_owned(), self.method.to_owned()]);
        for (name, value) in &self.headers {
            arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
        if !self.cookies.is_empty() {
            arguments.extend(["-b".to_owned(), "-".to_owned()]);
        }
        arguments
    }
}

/// Requests of each kind: pages and scripts, with cookies in each state.
fn requests(issuer: &Issuer) -> Vec<Asked> {
    let now = Clock::System.now().as_secs();
    let mint = |claims: Value| issuer.mint(claims);
    let good = mint(json!({}));
    let expired = mint(json!({"exp": now - 60, "iat": now - 120}));
    let template = mint(json!({"$header": {"cat": "cl_B7d4PD222AAA"}, "sid": null}));
    let forged = format!("{}.{}", &good[..good.rfind('.').unwrap()], "A".repeat(342));
    let revoked = mint(json!({"sub": "user_revoked"}));
    let without_party = mint(json!({"azp": null}));
    let brought = |token: &str| mint(json!({"handshake": [format!("__session={token}; Path=/")]}));
    let nothing = mint(json!({"handshake": ["__client_uat=0"]}));
    let shown =
        |token: &str| format!("__session={token}; __client_uat=1; __clerk_db_jwt=dvb-secret");
    let (page, script) = (("accept", "text/html"), ("accept", "application/json"));
    let mut all = Vec::new();
    for cookies in [
        String::new(),
        "theme=dark-secret".to_owned(),
        "__clerk_db_jwt=dvb-secret".to_owned(),
        format!("__session={good}; __clerk_db_jwt=dvb-secret"),
        "__client_uat=1; __clerk_db_jwt=dvb-secret".to_owned(),
        "__client_uat=1; __clerk_db_jwt=dvb-secret; __clerk_redirect_count=3".to_owned(),
        format!("__session={good}; __client_uat=99999999999; __clerk_db_jwt=dvb-secret"),
        format!("{}; __session={expired}", shown(&good)),
        shown(&good),
        shown(&expired),
        shown(&template),
        shown(&forged),
        shown(&revoked),
        shown("junk-secret"),
    ] {
        all.push(Asked::new("/orders?x=1", &[page], &cookies));
        all.push(Asked::new("/orders", &[script], &cookies));
    }
    let authorization = |token: &str| format!("Bearer {token}");
    for headers in [
        vec![("authorization", authorization(&good))],
        vec![("authorization", authorization(&expired))],
        vec![("authorization", authorization(&expired)), ("accept", "text/html".to_owned())],
        vec![("authorization", "Bearer a b".to_owned())],
        vec![("authorization", authorization(&good)), ("authorization", authorization(&good))],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        all.push(Asked::new("/orders", &headers, &shown(&good)));
    }
    for (path, cookies) in [
        ("/public", shown("junk-secret")),
        ("/optional", shown("junk-secret")),
        ("/optional", shown(&good)),
        ("/hidden", shown(&expired)),
        ("/hidden", String::new()),
        ("/challenge", String::new()),
        ("/a/../b", String::new()),
        ("/orders", format!("__clerk_handshake={}; __clerk_db_jwt=dvb-secret", brought(&good))),
        ("/orders", format!("__clerk_handshake={}; __clerk_db_jwt=dvb-secret", brought(&expired))),
        ("/orders", format!("__clerk_handshake={nothing}; __clerk_db_jwt=dvb-secret")),
        ("/orders", "__clerk_handshake=junk-secret; __clerk_db_jwt=dvb-secret".to_owned()),
        ("/orders", "__clerk_handshake_nonce=nonce-secret; __clerk_db_jwt=dvb-secret".to_owned()),
        (&format!("/orders?x=1&__clerk_handshake={}", brought(&good)), String::new()),
        ("/orders?__clerk_db_jwt=dvb-secret", shown(&good)),
    ] {
        all.push(Asked::new(path, &[page], &cookies));
    }
    let dest = ("sec-fetch-dest", "document");
    let elsewhere = ("referer", "https://www.google.com/");
    all.push(Asked::new("/orders", &[page, dest, elsewhere], &shown(&good)));
    for origin in ["http://localhost:4600", "http://localhost:3000", "https://evil.com", "null"] {
        all.push(Asked::new("/orders", &[("origin", origin)], &shown(&good)));
        all.push(Asked::new("/orders", &[("origin", origin)], &shown(&without_party)));
    }
    all
}

const ROUTES: &str = "[[route]]\npath = \"/public\"\naccess = \"public\"\n\
                      [[route]]\npath = \"/optional\"\naccess = \"optional\"\n\
                      [[route]]\npath = \"/hidden\"\nunauthenticated = \"not-found\"\n\
                      [[route]]\npath = \"/challenge\"\nunauthenticated = \"challenge\"\n";

const PUBLIC: &str = "public_url = \"http://localhost:4600\"\n\
                      clerk.authorized_parties = [\"http://localhost:3000\"]\n";

#[tokio::test(flavor = "local")]
async fn what_is_said_of_a_request_is_the_answer_of_the_proxy() {
    for (kind, lines, every) in [
        ("pk_live_", PUBLIC, 1),
        ("pk_test_", PUBLIC, 2),
        ("pk_live_", "", 3), // no cookie is believed
        ("pk_test_", "mode = \"report\"\n", 3),
    ] {
        let dir = TempDir::new().unwrap();
        let list = dir.path().join("revoked");
        std::fs::write(&list, "user_revoked\n").unwrap();
        let lines = format!("{lines}clerk.revoked_file = {list:?}\n{ROUTES}");
        let scene = Scene::start_with(kind, &lines).await;
        let proxy = scene.proxy().await;

        for asked in requests(&scene.issuer).into_iter().step_by(every) {
            let arguments = asked.arguments();
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let explained = scene.explain(&arguments, &asked.cookies).await;
            let mut client = proxy.client().header("host", "localhost:4600");
            for (name, value) in &asked.headers {
                client = client.header(name, value);
            }
            if !asked.cookies.is_empty() {
                client = client.header("cookie", &asked.cookies);
            }
            let method = Method::from_bytes(asked.method.as_bytes()).unwrap();
            let answer = client.send(method, &asked.path, "").await;

            let what =
                format!("{kind} {lines} {} {:?} {}", asked.path, asked.headers, asked.cookies);
            let report = explained.json();
            let reaches = report["reaches_backend"].as_bool().unwrap();
            assert_eq!(reaches, answer.status == 200, "{what}: {report}");
            assert_eq!(explained.status, i32::from(!reaches), "{what}");
            if !reaches {
                assert_eq!(report["status"], answer.status, "{what}: {report}");
                let hidden = answer.status == 404;
                assert!(hidden || report["reason"] == answer.reason().as_str(), "{what}: {report}");
            }
            let location = answer.header("location").and_then(|it| it.split('?').next());
            assert_eq!(report["redirect"]["to"].as_str(), location, "{what}");
            for pair in asked.cookies.split("; ").chain(asked.path.split('&')) {
                let value = pair.split_once('=').map_or("", |(_, value)| value);
                assert!(!value.contains("secret") || !explained.out.contains(value), "{what}");
                explained.assert_hides(value);
            }
            for (_, value) in asked.headers.iter().filter(|(name, _)| *name == "authorization") {
                explained.assert_hides(value);
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_request_is_explained_to_people_and_as_developer_tools_copy_it() {
    let scene = Scene::start_with("pk_live_", PUBLIC).await;
    let good = scene.issuer.token();
    let expired = Clock::System.now().as_secs() - 60;
    let expired = scene.issuer.mint(json!({"exp": expired, "iat": expired - 60}));
    let url = ["--url", "http://localhost:4600/orders?x=1"];
    let cookies = |token: &str| format!("__session={token}; __client_uat=1; theme=dark-secret");

    let backend = scene.explain(&[&url[..], &["-b", "-"]].concat(), &cookies(&good)).await;
    let sent = scene.explain(&[&url[..], &["-b", "-"]].concat(), &cookies(&expired)).await;
    let lines = format!("accept: */*\ncookie: {}\norigin: https://evil.com\n", cookies(&good));
    let copied = ["-H", "-", "--data-raw", "{}", "--compressed"];
    let refused = scene.explain(&[&url[..], &copied].concat(), &lines).await;

    let user = "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR";
    let handshake = format!("{}/v1/client/handshake", scene.issuer.origin());
    for (explained, status, said) in [
        (&backend, 0, "Clerk's decision on cookies: row 16\n".to_owned()),
        (&backend, 0, format!("\n✓ 200: goes to the backend as {user}\n")),
        (&backend, 0, "cookies       __client_uat, __session   (and 1 of others)\n".to_owned()),
        (&sent, 1, "Clerk's decision on cookies: row 12\n".to_owned()),
        (&sent, 1, "redirect_url         http://localhost:4600/orders?x=1\n".to_owned()),
        (&sent, 1, format!("__session            ({} bytes)\n", expired.len())),
        (&sent, 1, format!("\n✗ 307 to {handshake} (session-token-expired)\n")),
        (&refused, 1, "POST, origin: https://evil.com\n".to_owned()),
        (&refused, 1, "\n✗ 403 cross-site-request\n".to_owned()),
    ] {
        assert_eq!(explained.status, status, "{}{}", explained.out, explained.complaint);
        assert!(explained.out.contains(&said), "{said}\n{}", explained.out);
        assert!(!explained.out.contains("dark-secret"), "{}", explained.out);
        explained.assert_hides(&good);
        explained.assert_hides(&expired);
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_no_request_is_a_usage_error_that_shows_nothing_of_it() {
    let scene = Scene::start("clerk.azp = \"off\"").await;
    let token = scene.issuer.token();
    for arguments in [
        &["--cookie", &*token][..],
        &["--header", &token],
        &["--url", "ftp://a.com", "--header", "x: y"],
        &["--method", "G T"],
        &["--header", "-", "--cookie", "-"],
        &["--url", "/", "a.b.c"],
    ] {
        let explained = scene.explain(arguments, "").await;
        assert_eq!(explained.status, 2, "{arguments:?}: {}", explained.out);
        assert!(!explained.complaint.is_empty());
        explained.assert_hides(&token);
    }
}
