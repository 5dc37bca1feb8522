//! Other settings while the proxy serves: what changes, what stays, and that nobody notices.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use countersign::app::Reloader;
use countersign::clock::Clock;
use countersign::config::{self, Disk, Flags, Loaded, Sources, Terminal};
use countersign::dev::verifier::Verifier;
use countersign::proxy::UpstreamAddress;
use countersign::signing::{KeysDir, Secret};
use countersign::telemetry::LogFormat;
use http::Response;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::{self, JoinSet};
use tokio::time;

use crate::signature::verify;
use crate::support::settings::{SECRET, session_claims, settings_with_public};
use crate::support::tls::Mounted;
use crate::support::upstream::head;
use crate::support::{Client, Issuer, Proxy, Upstream, settings, until};

const GOOD: &str = "countersign_config_last_reload_successful";
const SINCE: &str = "countersign_config_last_reload_success_timestamp_seconds";

/// Where a backend at this address is, as settings have it.
fn address(upstream: &Upstream) -> UpstreamAddress {
    let (host, port) = upstream.address.rsplit_once(':').unwrap();
    UpstreamAddress::Tcp { host: host.into(), port: port.parse().unwrap() }
}

async fn named(name: &'static str) -> Upstream {
    Upstream::answering(move |_| Response::new(Bytes::from_static(name.as_bytes()))).await
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_is_kept_goes_by_new_routes_from_its_next_request_on() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut kept = proxy.client().open().await.unwrap();
    assert_eq!(kept.get("/public/a").await.status, 401);

    proxy.app.reload(settings_with_public(&issuer, &upstream)).await.unwrap();
    assert_eq!(kept.get("/public/a").await.status, 200, "opened");

    proxy.app.reload(settings(&issuer, &upstream)).await.unwrap();
    assert_eq!(kept.get("/public/a").await.status, 401, "closed again");
}

#[tokio::test(flavor = "local")]
async fn a_request_under_way_ends_by_what_it_began_with() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (go, waits) = (Rc::new(Notify::new()), Rc::<Cell<bool>>::default());
    let told = (Rc::clone(&go), Rc::clone(&waits));
    let slow = Upstream::raw(move |mut socket| {
        let (go, waits) = told.clone();
        async move {
            while !head(&mut socket).await.is_empty() {
                socket
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfirst")
                    .await
                    .unwrap();
                waits.set(true);
                go.notified().await;
                socket.write_all(b"one").await.unwrap();
            }
        }
    })
    .await;
    let other = named("other").await;
    let mut proxy = Proxy::start(settings(&issuer, &slow)).await;
    let client = proxy.client().bearer(&issuer.token());
    let under_way = task::spawn_local(client.get("/"));
    until("it is under way", async || waits.get()).await;

    let mut new = settings(&issuer, &other);
    session_claims(&mut new).parties = vec!["https://other.test".to_owned()];
    proxy.app.reload(new).await.unwrap();
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 401, "by the new settings");
    go.notify_one();

    let answer = under_way.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "firstone"));
    until("its connection is let go of", async || {
        proxy.metric(r#"countersign_upstream_connections{state="idle"}"#).await == 0.0
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn another_backend_gets_the_next_request_and_the_old_connections_are_closed() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (one, two) = (named("one").await, named("two").await);
    let mut proxy = Proxy::start(settings(&issuer, &one)).await;
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.text(), "one");

    let mut new = settings(&issuer, &one);
    new.proxy.upstream = address(&two);
    proxy.app.reload(new).await.unwrap();

    until("no connection waits for a request", async || {
        proxy.metric(r#"countersign_upstream_connections{state="idle"}"#).await == 0.0
    })
    .await;
    assert_eq!(kept.get("/").await.text(), "two");
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[tokio::test(flavor = "local")]
async fn an_issuer_that_stays_keeps_its_keys_and_its_fetches() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let stays = issuer.token();

    for _ in 0..3 {
        let mut new = settings_with_public(&issuer, &upstream);
        new.proxy.reveal_reason = false;
        proxy.app.reload(new).await.unwrap();
        assert_eq!(proxy.get("/", &stays).await.status, 200);
    }

    assert_eq!(issuer.fetches(), 1, "the one at the start");
    issuer.rotate();
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200, "a new key is fetched");
    assert_eq!(issuer.fetches(), 2);
}

#[tokio::test(flavor = "local")]
async fn an_issuer_in_the_place_of_another_has_keys_before_it_counts() {
    let (old, new) = (Issuer::start(Clock::System).unwrap(), Issuer::start(Clock::System).unwrap());
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&old, &upstream)).await;
    let mut kept = proxy.client().bearer(&old.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.status, 200);
    let keys = |issuer: &Issuer| format!("countersign_jwks_keys{{issuer=\"{}\"}}", issuer.origin());
    assert_eq!(proxy.metric(&keys(&old)).await, 1.0);
    let before = proxy.admin("/status").await.json();

    proxy.app.reload(settings(&new, &upstream)).await.unwrap();

    assert_eq!(new.fetches(), 1, "before anybody asked");
    assert_eq!(proxy.get("/", &new.token()).await.status, 200);
    let refused = kept.get("/").await;
    assert_eq!((refused.status, refused.reason().as_str()), (401, "token-invalid-issuer"));
    assert_eq!(proxy.metric(&keys(&new)).await, 1.0);
    let told = proxy.admin("/metrics").await.text();
    assert!(!told.contains(&keys(&old)), "nothing is said of an issuer that is none any more");
    let status = proxy.admin("/status").await.json();
    assert_eq!(status["issuers"][0]["issuer"], new.origin());
    assert_ne!(status["settings_fingerprint"], before["settings_fingerprint"]);
    assert_eq!(proxy.admin("/readyz").await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn how_long_keys_serve_is_told_of_the_settings_in_force() {
    let (old, new) = (Issuer::start(Clock::System).unwrap(), Issuer::start(Clock::System).unwrap());
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&old, &upstream)).await;
    let of =
        |it: &Issuer| format!("countersign_keys_max_stale_seconds{{issuer=\"{}\"}}", it.origin());
    let days = |days: u64| {
        let mut settings = settings(&old, &upstream);
        settings.issuers[0].keys.max_stale = Duration::from_secs(days * 86400);
        settings
    };
    assert_eq!(proxy.metric(&of(&old)).await, 86400.0);

    let mut bad = days(2);
    bad.signing.keys = Some(KeysDir { path: "/nowhere".into(), active: None });
    assert!(proxy.app.reload(bad).await.is_err());
    assert_eq!(proxy.metric(&of(&old)).await, 86400.0, "they are not in force");

    proxy.app.reload(days(3)).await.unwrap();
    assert_eq!(proxy.metric(&of(&old)).await, 3.0 * 86400.0);

    proxy.app.reload(settings(&new, &upstream)).await.unwrap();
    assert_eq!(proxy.metric(&of(&new)).await, 86400.0);
    assert!(!proxy.admin("/metrics").await.text().contains(&of(&old)), "it is none any more");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_issuer_that_is_none_any_more_is_not_asked_any_more() {
    let (old, new) = (Issuer::start(Clock::System).unwrap(), Issuer::start(Clock::System).unwrap());
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&old, &upstream)).await;
    let kept = proxy.client().bearer(&old.token()).open().await.unwrap();

    proxy.app.reload(settings(&new, &upstream)).await.unwrap();
    time::sleep(Duration::from_secs(60 * 60)).await;

    assert_eq!(old.fetches(), 1, "though a connection of its time is there");
    assert!(new.fetches() > 1);
    drop(kept);
}

#[tokio::test(flavor = "local")]
async fn settings_that_wait_for_a_restart_are_named_and_all_others_count() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let mut new = settings_with_public(&issuer, &upstream);
    new.proxy
        .listen
        .push("127.0.0.1:0".parse().map(countersign::listen::ListenAddress::Tcp).unwrap());
    new.proxy.listen_mode = 0o600;
    new.proxy.workers = 7;
    new.proxy.limits.connections = Some(3);
    new.admin.listen = countersign::listen::ListenAddress::Unix("/nowhere/admin.sock".into());
    new.log.format = LogFormat::Text;
    let waiting = proxy.app.reload(new).await.unwrap();

    assert_eq!(
        waiting,
        ["listen", "listen_mode", "admin.listen", "workers", "limits.connections", "log.format"]
    );
    assert_eq!(proxy.client().get("/public/a").await.status, 200);
    let again = proxy.app.reload(settings(&issuer, &upstream)).await.unwrap();
    assert_eq!(again, [""; 0], "as at the start");
}

#[tokio::test(flavor = "local")]
async fn no_request_fails_for_twenty_reloads() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (one, two) = (named("one").await, named("two").await);
    let mut proxy = Proxy::start(settings(&issuer, &one)).await;
    let (bad, served) = (Rc::<RefCell<Vec<String>>>::default(), Rc::<Cell<usize>>::default());
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let (address, token) = (proxy.address.clone(), issuer.token());
        let (bad, served) = (Rc::clone(&bad), Rc::clone(&served));
        clients.spawn_local(async move {
            loop {
                let mut kept = Client::to(&address).bearer(&token).open().await.unwrap();
                for _ in 0..if number % 2 == 0 { 1 } else { 50 } {
                    match kept.try_send(http::Method::POST, "/", "body").await {
                        Ok(answer) if answer.status == 200 => served.set(served.get() + 1),
                        other => bad.borrow_mut().push(format!("{other:?}")),
                    }
                }
            }
        });
    }

    for reload in 0..20 {
        let target = served.get() + 20;
        until("there is load", async || served.get() >= target).await;
        let mut new = settings(&issuer, if reload % 2 == 0 { &two } else { &one });
        new.signing.secret = Some((Secret::new(vec![reload; 32]), None));
        proxy.app.reload(new).await.unwrap();
    }
    let target = served.get() + 20;
    until("there is load after the last", async || served.get() >= target).await;
    drop(clients);

    assert_eq!(*bad.borrow(), [""; 0]);
    assert_eq!(issuer.fetches(), 1);
    assert!(!one.seen().is_empty() && !two.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_pair_that_was_made_to_sign_is_not_made_again() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let made = || {
        let mut settings = settings(&issuer, &upstream);
        settings.signing.secret = None;
        settings
    };
    let mut proxy = Proxy::start(made()).await;
    let published = proxy.admin("/.well-known/jwks.json").await.json();
    assert_eq!(published["keys"].as_array().unwrap().len(), 1);

    let mut new = made();
    new.signing.requests = Some(countersign::core::sign::Cover { query: true });
    proxy.app.reload(new).await.unwrap();

    assert_eq!(proxy.admin("/.well-known/jwks.json").await.json(), published);
    assert_eq!(proxy.get("/?a=b", &issuer.token()).await.status, 200);
    assert!(upstream.last().header("signature-input").unwrap().contains(r#""@query""#));
}

/// A proxy whose settings stand in files that are watched.
struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    files: Mounted,
    home: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let issuer = Issuer::start(Clock::System).unwrap();
        let upstream = Upstream::start().await;
        let files = Mounted::new(&[]);
        let home = files.path("");
        let scene = Self { issuer, upstream, files, home };
        scene.write("secret", std::str::from_utf8(SECRET).unwrap());
        scene.write("settings.toml", &scene.text(""));
        scene
    }

    /// Good settings with these lines after them.
    fn text(&self, lines: &str) -> String {
        format!(
            "listen = \"127.0.0.1:0\"\nadmin.listen = \"unix:{}\"\nupstream.url = \"http://{}\"\n\
             clerk.publishable_key = {:?}\nclerk.authorized_parties = [\"http://localhost:3000\"]\n\
             signing.secret_file = \"{}\"\nlog.level = \"debug\"\n{lines}\n",
            self.path("admin.sock").display(),
            self.upstream.address,
            self.issuer.publishable_key(),
            self.path("secret").display(),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn start(&self) -> (Loaded, Reloader) {
        let sources = Sources {
            flags: Flags { config: Some(self.path("settings.toml")), ..Flags::default() },
            environment: [].into(),
            files: &Disk,
            cpus: 1,
            terminal: Terminal::No,
        };
        Reloader::start(sources, config::load).unwrap()
    }
}

/// What a test sees of the proxy while its settings are watched.
struct View {
    proxy: Client,
    admin: Client,
    hangups: mpsc::UnboundedSender<()>,
}

impl View {
    async fn status(&self, path: &str) -> u16 {
        self.proxy.clone().get(path).await.status
    }

    async fn metric(&self, name: &str) -> f64 {
        let metrics = self.admin.clone().get("/metrics").await.text();
        let found = metrics.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        found.map_or(f64::NAN, |value| value.parse().unwrap())
    }
}

/// Runs a proxy with the scene's settings, and `deeds` beside it; returns what was logged.
async fn watching(scene: &Scene, deeds: impl AsyncFnOnce(View)) -> String {
    let (loaded, reloader) = scene.start();
    let mut proxy = Proxy::start(loaded.settings).await;
    let (hangups, mut received) = mpsc::unbounded_channel();
    let (proxy_client, admin) = (proxy.client(), Client::to(&proxy.admin));
    let view = View { proxy: proxy_client, admin, hangups };
    let told = async || {
        if received.recv().await.is_none() {
            std::future::pending().await
        }
    };
    tokio::select! {
        never = Box::pin(reloader.run(&mut proxy.app, told)) => match never {},
        () = deeds(view) => {}
    }
    proxy.logged()
}

const OPEN: &str = "[[route]]\npath = \"/open\"\naccess = \"public\"";

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_mistake_leaves_the_last_good_settings_and_is_told() {
    let scene = Scene::new().await;
    let log = watching(&scene, async |view| {
        assert_eq!(view.metric(GOOD).await, 1.0, "from the start");
        assert!(view.metric(SINCE).await > 1e9);
        scene.write("settings.toml", &scene.text(OPEN));
        until("the file counts", async || view.status("/open").await == 200).await;

        scene.write("settings.toml", &scene.text("workerz = 3\nclerk.leeway = 5"));
        until("the mistake is known", async || view.metric(GOOD).await == 0.0).await;
        assert_eq!(view.status("/open").await, 200, "as it was");

        scene.write("settings.toml", &scene.text(""));
        until("it is good again", async || view.metric(GOOD).await == 1.0).await;
        assert_eq!(view.status("/open").await, 401);
    })
    .await;
    for line in [
        "workerz: unknown key; did you mean `workers`?",
        "clerk.leeway: ",
        "settings not reloaded: the last good ones stay",
        "settings reloaded",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_same_again_is_read_for_a_signal_alone() {
    let scene = Scene::new().await;
    let log = watching(&scene, async |view| {
        for name in ["settings.toml", "secret"] {
            let text = fs::read_to_string(scene.path(name)).unwrap();
            scene.write(name, &text);
        }
        time::sleep(Duration::from_secs(5)).await;
        view.hangups.send(()).unwrap();
        time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    assert_eq!(log.matches("settings reloaded").count(), 1, "{log}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_file_in_pieces_counts_once_it_is_whole() {
    let scene = Scene::new().await;
    let log = watching(&scene, async |view| {
        let text = scene.text(OPEN);
        for end in (1..=text.len()).step_by(text.len() / 20) {
            scene.write("settings.toml", &text[..end]);
            time::sleep(Duration::from_millis(300)).await;
        }
        scene.write("settings.toml", &text);
        until("the file counts", async || view.status("/open").await == 200).await;
        assert_eq!(view.metric(GOOD).await, 1.0);
    })
    .await;
    assert!(!log.contains("not reloaded"), "{log}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_link_that_is_swapped_is_a_change() {
    let scene = Scene::new().await;
    fs::remove_file(scene.path("settings.toml")).unwrap();
    scene.files.swap(&[("settings.toml", &scene.text(""))]);
    let link = Path::new("..data/settings.toml");
    std::os::unix::fs::symlink(link, scene.path("settings.toml")).unwrap();
    watching(&scene, async |view| {
        assert_eq!(view.status("/open").await, 401);

        scene.files.swap(&[("settings.toml", &scene.text(OPEN))]);

        until("the file counts", async || view.status("/open").await == 200).await;
    })
    .await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_secret_is_exchanged_by_its_file() {
    let scene = Scene::new().await;
    let other = "fedcba9876543210fedcba9876543210";
    watching(&scene, async |view| {
        let by = async |secret: &str| {
            let client = view.proxy.clone().bearer(&scene.issuer.token());
            assert_eq!(client.get("/").await.status, 200);
            let verifier = Verifier::hmac(secret.as_bytes());
            verify(&scene.upstream.last(), &verifier, Clock::System.now()).is_ok()
        };
        assert!(by(std::str::from_utf8(SECRET).unwrap()).await);

        scene.write("secret", other);

        until("the new secret signs", async || by(other).await).await;
    })
    .await;
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_a_mistake_was_about_is_looked_at_until_it_is_mended() {
    let scene = Scene::new().await;
    let missing = scene.path("revoked");
    watching(&scene, async |view| {
        let lines = format!("clerk.revoked_file = \"{}\"\n{OPEN}", missing.display());
        scene.write("settings.toml", &scene.text(&lines));
        until("the mistake is known", async || view.metric(GOOD).await == 0.0).await;

        fs::write(&missing, "sess_gone\n").unwrap();

        until("the settings count", async || view.status("/open").await == 200).await;
        assert_eq!(view.metric(GOOD).await, 1.0);
    })
    .await;
}
