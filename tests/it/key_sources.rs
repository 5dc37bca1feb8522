//! The ways an issuer's keys are had: conditionally, through discovery, from a file; and an issuer
//! that is away, asks to be left alone, or has a neighbour that is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use countersign::core::reject::Reject;
use countersign::http_client::{HttpClient, HttpClientSettings};
use countersign::keys::{self, KeySource};
use countersign::telemetry::metrics::Metrics;
use prometheus::Registry;
use serde_json::json;
use tokio::task;
use tokio::time::{self, Instant};

use crate::keys::{NOW, Scene, naming};
use crate::support::key_server::{KeyServer, Reply, published_by};
use crate::support::{Proxy, until, until_every};

const SECOND: Duration = Duration::from_secs(1);
/// Between two looks at what takes a second or more, of paused time.
const LOOK: Duration = Duration::from_millis(100);

// Conditional requests.

#[tokio::test(flavor = "local")]
async fn keys_that_did_not_change_are_confirmed_and_not_sent_again() {
    let scene = Scene::set().await;
    let tagged = Reply::tagged("W/\"7\"", &published_by(&scene.issuer).await);
    scene.server.reply(tagged);
    let proxy = scene.proxy().await;
    assert!(!scene.server.last().contains("if-"), "{}", scene.server.last());
    time::pause();

    for round in 1..=3 {
        scene.refresh_after(Duration::from_secs(500)).await;
        assert!(scene.server.last().contains("if-none-match: W/\"7\"\r\n"), "{round}");
        assert_eq!(scene.counts(&proxy).await, [1, round, 0]);
    }
    let confirmed = scene.gauge(&proxy, "last_success_timestamp_seconds").await;
    assert_eq!(confirmed, u64::try_from(scene.clock.now().as_secs()).unwrap());
    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);

    scene.issuer.rotate();
    scene.server.reply(Reply::tagged("W/\"8\"", &published_by(&scene.issuer).await));
    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200, "a new key");
    scene.refresh_after(Duration::from_secs(500)).await;
    assert!(scene.server.last().contains("if-none-match: W/\"8\"\r\n"));
}

#[tokio::test(flavor = "local")]
async fn a_304_is_the_second_look_at_a_key_that_is_missing() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    let removed = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
    scene.issuer.rotate_and_drop();
    let tagged = Reply::tagged("\"without\"", &published_by(&scene.issuer).await);
    scene.server.reply(tagged);
    time::pause();

    scene.refresh_after(Duration::from_secs(500)).await;
    assert_eq!(proxy.get("/", &removed).await.status, 200, "one look is none");

    scene.refresh_after(Duration::from_secs(37)).await;
    assert!(scene.server.last().contains("if-none-match: \"without\""));
    let answer = proxy.get("/", &removed).await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "jwk-kid-mismatch"));
    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
}

// Discovery.

#[tokio::test(flavor = "local")]
async fn keys_are_found_through_the_discovery_document_of_their_issuer() {
    let scene = Scene::set().await;
    let good = published_by(&scene.issuer).await;
    let keys = KeyServer::start(Reply::json(&good)).await;
    let document = |issuer: &str, keys: &KeyServer| {
        let uri = keys.url("/moved/jwks").as_uri().to_string();
        let text = json!({ "issuer": issuer, "jwks_uri": uri, "scopes_supported": ["openid"] });
        Reply::Paths(vec![("/t/.well-known/openid-configuration", Reply::json(&text.to_string()))])
    };
    let issuer = scene.issuer.origin();
    scene.server.reply(document(&issuer, &keys));
    let mut settings = scene.settings();
    settings.issuers[0].keys.source = KeySource::Discovery(scene.server.url("/t/"));
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    time::pause();
    let asked = |keys: &KeyServer| (scene.server.fetches(), keys.fetches());

    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
    assert_eq!(asked(&keys), (1, 1));
    assert!(keys.last().starts_with("GET /moved/jwks "), "{}", keys.last());

    refresh(&scene, &proxy).await;
    assert_eq!(asked(&keys), (1, 2), "the address is kept while it is good");

    // The keys move. One fetch fails, the next finds them.
    let moved = KeyServer::start(Reply::json(&good)).await;
    scene.server.reply(document(&issuer, &moved));
    keys.reply(Reply::http("410 Gone", "", ""));
    refresh(&scene, &proxy).await;
    assert_eq!((asked(&keys), moved.fetches()), ((1, 3), 0));
    time::advance(SECOND).await;
    until("the keys are found again", async || moved.fetches() == 1).await;
    assert_eq!(asked(&keys), (2, 3));

    // After a day the address is looked for again, and now somebody else answers for the issuer.
    scene.server.reply(document("https://evil.example", &keys));
    time::advance(Duration::from_secs(24 * 60 * 60)).await;
    until("they are fetched from where they were", async || moved.fetches() == 2).await;
    assert_eq!(asked(&keys), (3, 3), "where a stranger says they are nothing is fetched");
    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
    let told = format!(
        "the discovery document is of the issuer \"https://evil.example\", not of {issuer:?}"
    );
    let escaped = told.replace('"', "\\\"");
    assert!(proxy.logged().contains(&escaped), "{}", proxy.logged());
    assert_eq!(
        scene.counts(&proxy).await[2],
        1,
        "no refresh failed but the one from the old address"
    );
}

#[tokio::test(flavor = "local")]
async fn an_address_that_was_discovered_is_kept_while_the_issuer_names_no_other() {
    let scene = Scene::set().await;
    let keys = Reply::json(&published_by(&scene.issuer).await);
    let (document, uri) = ("/.well-known/openid-configuration", scene.server.url("/keys"));
    let text = json!({ "issuer": scene.issuer.origin(), "jwks_uri": uri.as_uri().to_string() });
    let both =
        |document: (&'static str, Reply), keys| Reply::Paths(vec![document, ("/keys", keys)]);
    scene.server.reply(both((document, Reply::json(&text.to_string())), keys.clone()));
    let mut settings = scene.settings();
    settings.issuers[0].keys.source = KeySource::Discovery(scene.server.url("/"));
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    time::pause();

    // From now on the issuer does not say where its keys are, and one fetch of them fails.
    let gone = || (document, Reply::http("404 Not Found", "", ""));
    scene.server.reply(both(gone(), Reply::http("503 No", "", "")));
    refresh(&scene, &proxy).await;
    assert_eq!(scene.counts(&proxy).await, [1, 0, 1]);
    scene.server.reply(both(gone(), keys.clone()));

    let healed = async || scene.counts(&proxy).await == [1, 1, 1];
    until_every(LOOK, "the keys are fetched from where they were", healed).await;

    // Nor does it help after a day to have nothing but the address.
    time::advance(Duration::from_secs(24 * 60 * 60)).await;
    let after_a_day = async || scene.counts(&proxy).await[1] >= 2;
    until_every(LOOK, "they are fetched again", after_a_day).await;
    assert_eq!(scene.counts(&proxy).await[2], 1);
}

/// Has a refresh made that is due, whatever it comes to.
async fn refresh(scene: &Scene, proxy: &Proxy) {
    let before = scene.counts(proxy).await;
    time::advance(Duration::from_secs(500)).await;
    until_every(LOOK, "the keys are refreshed", async || scene.counts(proxy).await != before).await;
}

// An issuer that is away.

#[tokio::test(flavor = "local")]
async fn no_request_is_refused_while_the_issuer_is_down_for_a_minute() {
    let Scene { issuer, upstream, server, clock } = Scene::set().await;
    let good = published_by(&issuer).await;
    let mut settings = crate::support::settings(&issuer, &upstream);
    settings.issuers[0].keys.source = server.source();
    let address = server.address.clone();
    let proxy = Proxy::start_with(settings, clock.clone()).await;
    time::pause();
    drop(server);
    time::advance(Duration::from_secs(480)).await;

    for second in 0..60 {
        clock.set(NOW.plus(Duration::from_secs(480 + second)));
        assert_eq!(proxy.get("/", &issuer.token()).await.status, 200, "after {second} s");
        time::advance(SECOND).await;
    }
    let status = proxy.admin("/status").await.json();
    let failures = status["issuers"][0]["failures"].as_u64().unwrap();
    assert!((5..=9).contains(&failures), "it was asked less and less often: {failures}");

    let server = KeyServer::start_at(&address, Reply::json(&good)).await;
    time::advance(Duration::from_secs(60)).await;
    until("the issuer is found", async || server.fetches() > 0).await;
}

#[tokio::test(flavor = "local")]
async fn keys_turn_stale_with_time_and_end_with_max_stale() {
    let scene = Scene::set().await;
    let mut settings = scene.settings();
    settings.issuers[0].keys.max_stale = Duration::from_secs(3600);
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    scene.server.reply(Reply::http("500 Oh", "", ""));
    time::pause();
    refresh(&scene, &proxy).await;

    for (secs, stale, keys, ready, status) in [
        (599, 0, 1, 200, 200),
        (600, 1, 1, 200, 200),
        (3599, 1, 1, 200, 200),
        (3600, 1, 0, 503, 503),
    ] {
        scene.clock.set(NOW.plus(Duration::from_secs(secs)));
        let told = (scene.gauge(&proxy, "stale").await, scene.gauge(&proxy, "keys").await);
        assert_eq!(told, (stale, keys), "after {secs} s");
        assert_eq!(proxy.admin("/readyz").await.status, ready, "after {secs} s");
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, status, "after {secs} s");
    }

    scene.server.reply(Reply::json(&published_by(&scene.issuer).await));
    until_every(LOOK, "the proxy is ready", async || proxy.admin("/readyz").await.status == 200)
        .await;
    let told = (scene.gauge(&proxy, "stale").await, scene.gauge(&proxy, "keys").await);
    assert_eq!(told, (0, 1));
}

#[tokio::test(flavor = "local")]
async fn a_machine_that_slept_through_an_outage_asks_at_once() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    scene.server.reply(Reply::http("500 Oh", "", ""));
    time::pause();
    time::advance(Duration::from_secs(500)).await;
    let failed = async || scene.counts(&proxy).await[2] >= 6; // waits half a minute from now on
    until_every(LOOK, "the issuer failed", failed).await;
    scene.server.reply(Reply::json(&published_by(&scene.issuer).await));

    // The wall clock goes on in a machine that sleeps; timers do not.
    scene.clock.set(NOW.plus(Duration::from_secs(2 * 86_400)));
    let woke = Instant::now();
    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 503);
    let good = async || proxy.get("/", &scene.issuer.token()).await.status == 200;
    until("there are keys", good).await;

    assert!(woke.elapsed() < SECOND, "{:?}", woke.elapsed());
}

#[tokio::test(flavor = "local")]
async fn an_issuer_that_asks_to_be_left_alone_is_not_asked_for_unknown_keys_either() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    scene.server.reply(Reply::http("429 Too Many Requests", "retry-after: 120\r\n", ""));
    time::pause();
    refresh(&scene, &proxy).await;
    let before = scene.server.fetches();

    for second in 0..115 {
        let unknown = naming(&scene.issuer.token(), &format!("unknown-{second}"));
        let answer = proxy.get("/", &unknown).await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
        time::advance(SECOND).await;
    }
    assert_eq!(scene.server.fetches(), before);

    time::advance(Duration::from_secs(30)).await;
    until_every(LOOK, "it is asked again", async || scene.server.fetches() > before).await;
}

#[tokio::test(flavor = "local")]
async fn an_issuer_without_keys_is_left_alone_for_two_seconds_at_most() {
    let scene = Scene::set().await;
    scene.server.reply(Reply::http("503 No", "retry-after: 3600\r\n", ""));
    time::pause();
    let _proxy = Proxy::start_at(scene.settings(), scene.clock.clone()).await;
    until("it was asked", async || scene.server.fetches() == 1).await;

    let asked = Instant::now();
    until_every(LOOK, "it is asked again", async || scene.server.fetches() == 2).await;

    let waited = asked.elapsed().as_secs_f64();
    assert!((1.8..=2.2).contains(&waited), "{waited} s");
}

#[tokio::test(flavor = "local")]
async fn invented_keys_cost_a_broken_issuer_no_more_than_a_sound_one() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    scene.server.reply(Reply::http("500 Oh", "", ""));
    time::pause();
    let (before, began) = (scene.server.fetches(), Instant::now());

    for number in 0..600 {
        let invented = naming(&scene.issuer.token(), &format!("invented-{number}"));
        let answer = proxy.get("/", &invented).await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
        time::advance(SECOND / 10).await;
    }

    // One in ten seconds for unknown keys; between two of them, the back-off's own.
    let (fetches, seconds) = (scene.server.fetches() - before, began.elapsed().as_secs());
    let most = 2 * (1 + seconds / 10) + 4;
    assert!(fetches <= most, "{fetches} fetches in {seconds} s");
}

#[tokio::test(flavor = "local")]
async fn keys_of_replicas_that_disagree_are_good_while_both_answer() {
    let scene = Scene::set().await;
    let old = published_by(&scene.issuer).await;
    let of_old = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 80_000 }));
    scene.issuer.rotate_and_drop();
    let new = published_by(&scene.issuer).await;
    let of_new = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 80_000 }));
    let turns = |number| Reply::json(if number % 2 == 0 { &old } else { &new });
    scene.server.reply(Reply::Turns((0..30).map(turns).collect()));
    let proxy = scene.proxy().await;
    time::pause();
    assert_eq!(proxy.get("/", &of_new).await.status, 200, "a fetch finds it");

    for fetch in 0..20 {
        scene.refresh_after(Duration::from_secs(37)).await;
        for token in [&of_old, &of_new] {
            assert_eq!(proxy.get("/", token).await.status, 200, "after {fetch} more");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn the_keys_of_one_issuer_do_not_wait_for_those_of_another() {
    let scene = Scene::set().await;
    let silent = KeyServer::start(Reply::Silence).await;
    let metrics = Metrics::register(Registry::new()).unwrap();
    let client = HttpClient::new(&HttpClientSettings::default()).unwrap();
    let start = |server: &KeyServer, issuer: &str| {
        let mut settings = scene.settings().issuers.remove(0).keys;
        (settings.source, settings.issuer) = (server.source(), issuer.to_owned());
        let metrics = metrics.of_issuer(issuer);
        let (keys, refresher) =
            keys::keys(settings, None, client.clone(), scene.clock.clone(), metrics);
        task::spawn_local(refresher.run());
        keys
    };
    time::pause();
    let (down, well) = (start(&silent, "https://b.test"), start(&scene.server, "https://a.test"));

    let began = Instant::now();
    well.usable(&scene.clock).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    let refused = down.find(None, scene.clock.now()).await;
    assert_eq!(refused.err(), Some(Reject::KeysUnavailable));
}

// Files.

/// A scene whose keys are in a file, and the home of that file.
async fn with_file(write: impl Fn(&Path, &str)) -> (Scene, tempfile::TempDir, Proxy) {
    let scene = Scene::set().await;
    let home = tempfile::tempdir().unwrap();
    write(home.path(), &published_by(&scene.issuer).await);
    let mut settings = scene.settings();
    settings.issuers[0].keys.source = KeySource::File(home.path().join("keys.json"));
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    (scene, home, proxy)
}

fn write(home: &Path, keys: &str) {
    fs::write(home.join("keys.json"), keys).unwrap();
}

/// Puts a new file in the place of the old one.
fn replace(home: &Path, keys: &str) {
    fs::write(home.join("new"), keys).unwrap();
    fs::rename(home.join("new"), home.join("keys.json")).unwrap();
}

/// Mounts a file as Kubernetes does: behind a link to a directory, which is swapped.
fn mount(home: &Path, keys: &str) {
    let version = format!("..{}", keys.len());
    fs::create_dir(home.join(&version)).unwrap();
    write(&home.join(&version), keys);
    symlink(&version, home.join("..tmp")).unwrap();
    fs::rename(home.join("..tmp"), home.join("..data")).unwrap();
    if !home.join("keys.json").exists() {
        symlink("..data/keys.json", home.join("keys.json")).unwrap();
    }
}

#[tokio::test(flavor = "local")]
async fn a_key_file_that_changes_is_read_within_two_seconds() {
    type Way = fn(&Path, &str);
    for (what, way) in
        [("written", write as Way), ("replaced", replace as Way), ("swapped", mount as Way)]
    {
        let (scene, home, proxy) = with_file(way).await;
        let removed = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
        assert_eq!(proxy.get("/", &removed).await.status, 200, "{what}");
        scene.issuer.rotate();
        let unknown = proxy.get("/", &scene.issuer.token()).await;
        assert_eq!(unknown.reason(), "jwk-kid-mismatch", "{what}");
        time::pause();

        way(home.path(), &published_by(&scene.issuer).await);

        let changed = Instant::now();
        let good = async || proxy.get("/", &scene.issuer.token()).await.status == 200;
        until_every(LOOK, "the new key is good", good).await;
        assert!(changed.elapsed() <= 2 * SECOND, "{what}: {:?}", changed.elapsed());
        assert_eq!(scene.counts(&proxy).await, [2, 0, 0], "{what}");
        time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn a_key_that_is_taken_out_of_a_file_is_gone_after_two_looks() {
    let (scene, home, proxy) = with_file(write).await;
    let removed = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
    assert_eq!(proxy.get("/", &removed).await.status, 200);
    scene.issuer.rotate_and_drop();
    time::pause();
    replace(home.path(), &published_by(&scene.issuer).await);
    let good = async || proxy.get("/", &scene.issuer.token()).await.status == 200;
    until_every(LOOK, "the new key is good", good).await;
    assert_eq!(proxy.get("/", &removed).await.status, 200);

    let span = Duration::from_secs(37);
    scene.clock.set(NOW.plus(span));
    time::advance(span).await;

    let gone = async || proxy.get("/", &removed).await.reason() == "jwk-kid-mismatch";
    until_every(LOOK, "the old key is gone", gone).await;
}

#[tokio::test(flavor = "local")]
async fn a_key_file_that_cannot_be_read_leaves_the_keys_as_they_are() {
    let (scene, home, proxy) = with_file(write).await;
    let file = home.path().join("keys.json");
    let good = published_by(&scene.issuer).await;
    let half = &good[..good.len() / 2];
    time::pause();

    for (what, spoil) in [
        ("half written", &(|| fs::write(&file, half).unwrap()) as &dyn Fn()),
        ("deleted", &|| fs::remove_file(&file).unwrap()),
        ("a directory", &|| fs::create_dir(&file).unwrap()),
        ("a link to nowhere", &|| symlink("nowhere", &file).unwrap()),
        ("2 MiB", &|| fs::write(&file, format!("{good}{}", " ".repeat(2 << 20))).unwrap()),
        ("not to be opened", &|| symlink("keys.json", &file).unwrap()), // not by root either
    ] {
        let [_, _, before] = scene.counts(&proxy).await;
        if what != "deleted" && what != "half written" {
            let _ = fs::remove_file(&file);
        }
        spoil();
        until_every(LOOK, what, async || scene.counts(&proxy).await[2] > before).await;
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200, "{what}");
        assert_eq!(proxy.admin("/readyz").await.status, 200, "{what}");
        assert_eq!(scene.gauge(&proxy, "keys").await, 1, "{what}");

        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        let [ok, unchanged, _] = scene.counts(&proxy).await;
        replace(home.path(), &good);
        let mended = async || scene.counts(&proxy).await[1] > unchanged;
        until_every(LOOK, "the file is good again", mended).await;
        assert_eq!(scene.counts(&proxy).await[0], ok, "{what}: they are the same keys");
    }
}

#[tokio::test(flavor = "local")]
async fn keys_from_a_file_that_never_changes_never_grow_stale() {
    let (scene, _home, proxy) = with_file(write).await;
    time::pause();

    for minute in 0..10 {
        scene.clock.set(NOW.plus(Duration::from_secs(minute * 60)));
        assert_eq!(scene.gauge(&proxy, "stale").await, 0, "after {minute} min");
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
        time::advance(Duration::from_secs(60)).await;
    }
    let [ok, unchanged, error] = scene.counts(&proxy).await;
    assert!(ok == 1 && unchanged >= 9 && error == 0, "{ok} {unchanged} {error}");
}
