//! The issuer's keys: rotated, removed, not to be had, and lied about.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::core::time::UnixTime;
use countersign::keys::KeySource;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use crate::support::key_server::{KeyServer, Reply, published_by};
use crate::support::{
    Answer, Client, Issuer, Proxy, Upstream, client, settings, until, until_every,
};

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A proxy whose keys come from a server of the test's, in place of the issuer itself.
pub(crate) struct Scene {
    pub(crate) issuer: Issuer,
    pub(crate) upstream: Upstream,
    pub(crate) server: KeyServer,
    pub(crate) clock: Clock,
}

impl Scene {
    /// The server publishes what the issuer does.
    pub(crate) async fn set() -> Self {
        let clock = Clock::fixed(NOW);
        let issuer = Issuer::start(clock.clone()).unwrap();
        let server = KeyServer::start(Reply::json(&published_by(&issuer).await)).await;
        Self { issuer, upstream: Upstream::start().await, server, clock }
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = settings(&self.issuer, &self.upstream);
        settings.issuers[0].keys.source = self.server.source();
        settings
    }

    pub(crate) async fn proxy(&self) -> Proxy {
        Proxy::start_with(self.settings(), self.clock.clone()).await
    }

    /// Publishes what the issuer has now.
    pub(crate) async fn publish(&self) {
        self.server.reply(Reply::json(&published_by(&self.issuer).await));
    }

    /// Moves both clocks, and waits for the refresh that is due by then.
    pub(crate) async fn refresh_after(&self, span: Duration) {
        let before = self.server.fetches();
        self.clock.set(self.clock.now().plus(span));
        time::advance(span).await;
        until("the keys are refreshed", async || self.server.fetches() > before).await;
        // The answer is read by the proxy without another wait than for its own sockets.
        time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends requests from eight tasks, half of them with a token of before, half with one of the
/// moment, and does `deed` somewhere in the middle. Returns every answer that was not a 200.
async fn load(proxy: &Proxy, issuer: &Rc<Issuer>, deed: impl Fn(&Issuer)) -> Vec<Answer> {
    let old = issuer.token();
    let done = Rc::new(Cell::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (client, issuer, old) = (proxy.client(), Rc::clone(issuer), old.clone());
        let done = Rc::clone(&done);
        tasks.spawn_local(async move {
            let mut refused = Vec::new();
            for round in 0..50 {
                let token = if round % 2 == 0 { old.clone() } else { issuer.token() };
                let answer = client.clone().bearer(&token).get("/").await;
                done.set(done.get() + 1);
                if answer.status != 200 {
                    refused.push(answer);
                }
            }
            refused
        });
    }
    until("half of the load is done", async || done.get() >= 200).await;
    deed(issuer);
    tasks.join_all().await.into_iter().flatten().collect()
}

/// The same token, naming another key.
pub(crate) fn naming(token: &str, kid: &str) -> String {
    let (header, rest) = token.split_once('.').unwrap();
    let mut header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"] = kid.into();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
}

#[tokio::test(flavor = "local")]
async fn no_good_request_is_refused_while_a_key_is_added() {
    let issuer = Rc::new(Issuer::start(Clock::System).unwrap());
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let refused = load(&proxy, &issuer, |issuer| drop(issuer.rotate())).await;

    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(issuer.fetches(), 2, "one at the start, one for the new key");
}

#[tokio::test(flavor = "local")]
async fn no_good_request_is_refused_while_a_key_takes_the_place_of_another() {
    let issuer = Rc::new(Issuer::start(Clock::System).unwrap());
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let refused = load(&proxy, &issuer, |issuer| drop(issuer.rotate_and_drop())).await;

    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(issuer.fetches(), 2, "one at the start, one for the new key");
}

#[tokio::test(flavor = "local")]
async fn a_new_key_is_fetched_once_for_a_thousand_requests_that_name_it() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    scene.issuer.rotate();
    let late = Reply::json(&published_by(&scene.issuer).await).after(Duration::from_millis(200));
    scene.server.reply(late);

    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (client, token) = (proxy.client(), scene.issuer.token());
        requests.spawn_local(async move { client.bearer(&token).get("/").await.status });
    }
    let answers = requests.join_all().await;

    assert_eq!(answers, [200; 1000]);
    assert_eq!(scene.server.fetches(), 2, "one at the start, one for the new key");
    let line = |action: &str| {
        let issuer = scene.issuer.origin();
        format!(r#"countersign_jwks_unknown_kid_total{{action="{action}",issuer="{issuer}"}}"#)
    };
    let waited = proxy.metric(&line("refetched")).await;
    assert!((1.0..=1000.0).contains(&waited), "tokens are counted, not fetches: {waited}");
    assert_eq!(proxy.metric(&line("throttled")).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn ten_thousand_invented_keys_cost_the_issuer_six_fetches_a_minute() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    time::pause();
    let (began, before) = (Instant::now(), scene.server.fetches());
    let token = scene.issuer.token();
    let invented = |number: usize| {
        let token = naming(&token, &format!("invented-{number}"));
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    for step in 0..59 {
        let requests: String = (0..170).map(|number| invented(step * 170 + number)).collect();
        let refused = client::raw(&proxy.address, (requests + last).as_bytes()).await;
        let good = proxy.get("/", &scene.issuer.token()).await;

        assert_eq!(refused.matches("jwk-kid-mismatch").count(), 2 * 170, "step {step}");
        assert_eq!(good.status, 200, "step {step}");
        time::advance(Duration::from_secs(1)).await;
    }

    let line = |action: &str| {
        let issuer = scene.issuer.origin();
        format!(r#"countersign_jwks_unknown_kid_total{{action="{action}",issuer="{issuer}"}}"#)
    };
    time::advance(Duration::from_secs(10)).await;
    for _ in 0..2 {
        let again = proxy.get("/", &naming(&token, "invented-again")).await;
        assert_eq!(again.reason(), "jwk-kid-mismatch");
    }
    let refetched = proxy.metric(&line("refetched")).await;
    let refused =
        proxy.metric(&line("throttled")).await + proxy.metric(&line("negative_cached")).await;
    assert_eq!(refetched + refused, 10_032.0);
    // On a machine that is busy, the paused clock may run a little further than it was moved.
    let most = 1 + began.elapsed().as_secs() / 10;
    let fetches = scene.server.fetches() - before;
    assert!(fetches <= most && refetched == fetches as f64, "{fetches} fetches");
    assert_eq!(proxy.metric(&line("negative_cached")).await, 1.0);
}

/// The key set that the issuer publishes, every key in it called the same, and a token to go with
/// its last key.
async fn under_one_name(issuer: &Issuer) -> (Reply, String) {
    let mut set: Value = serde_json::from_str(&published_by(issuer).await).unwrap();
    for key in set["keys"].as_array_mut().unwrap() {
        key["kid"] = "ins_same".into();
    }
    let token = issuer.mint(json!({
        "exp": NOW.as_secs() + 7200, "$header": {"kid": "ins_same"},
    }));
    (Reply::json(&set.to_string()), token)
}

#[tokio::test(flavor = "local")]
async fn a_new_key_under_the_name_of_the_old_one_is_fetched_once_for_all_its_tokens() {
    let scene = Scene::set().await;
    let (old_keys, of_old) = under_one_name(&scene.issuer).await;
    scene.server.reply(old_keys);
    let proxy = scene.proxy().await;
    assert_eq!(proxy.get("/", &of_old).await.status, 200);
    scene.issuer.rotate_and_drop();
    let (new_keys, of_new) = under_one_name(&scene.issuer).await;
    scene.server.reply(new_keys.after(Duration::from_millis(200)));

    let mut requests = JoinSet::new();
    for _ in 0..200 {
        let (client, token) = (proxy.client(), of_new.clone());
        requests.spawn_local(async move { client.bearer(&token).get("/").await.status });
    }
    let answers = requests.join_all().await;

    assert_eq!(answers, [200; 200]);
    assert_eq!(scene.server.fetches(), 2, "one at the start, one for the new key");
    let answer = proxy.get("/", &of_old).await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "token-invalid-signature"));
    assert_eq!(scene.server.fetches(), 2, "just now there was one");
    for action in ["refetched", "throttled", "negative_cached"] {
        let issuer = scene.issuer.origin();
        let line =
            format!(r#"countersign_jwks_unknown_kid_total{{action="{action}",issuer="{issuer}"}}"#);
        assert_eq!(proxy.metric(&line).await, 0.0, "{action}: its name is known");
    }
}

#[tokio::test(flavor = "local")]
async fn forged_signatures_share_six_fetches_a_minute_with_invented_keys_and_slow_nobody() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    let remembered = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
    assert_eq!(proxy.get("/", &remembered).await.status, 200);
    time::pause();
    let (began, before) = (Instant::now(), scene.server.fetches());
    let token = scene.issuer.token();
    let forged = |number: usize| {
        let (input, signature) = token.rsplit_once('.').unwrap();
        format!("{input}.{}{}", &signature[..300], "A".repeat(signature.len() - 300)).replacen(
            &signature[..8],
            &format!("{number:08}"),
            1,
        )
    };

    for step in 0..59 {
        for number in 0..10 {
            let answer = proxy.get("/", &forged(step * 10 + number)).await;
            assert_eq!(answer.reason(), "token-invalid-signature", "step {step}");
        }
        let invented = proxy.get("/", &naming(&token, &format!("invented-{step}"))).await;
        assert_eq!(invented.reason(), "jwk-kid-mismatch", "step {step}");
        for good in [&remembered, &scene.issuer.token()] {
            let asked = Instant::now();
            assert_eq!(proxy.get("/", good).await.status, 200, "step {step}");
            assert!(asked.elapsed() < Duration::from_millis(100), "step {step}");
        }
        time::advance(Duration::from_secs(1)).await;
    }

    // On a machine that is busy, the paused clock may run a little further than it was moved.
    let most = 1 + began.elapsed().as_secs() / 10;
    let fetches = scene.server.fetches() - before;
    assert!((5..=most).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(flavor = "local")]
async fn a_forged_signature_is_refused_as_such_whatever_becomes_of_the_fetch() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    time::pause();
    let token = scene.issuer.token();
    let forged = format!("{}{}", &token[..token.len() - 40], "A".repeat(40));

    for reply in [Reply::Bytes(Vec::new()), Reply::http("500 Oh", "", ""), Reply::Silence] {
        scene.server.reply(reply.clone());
        time::advance(Duration::from_secs(20)).await;
        let before = scene.server.fetches();
        let asked = Instant::now();
        let answer = proxy.get("/", &forged).await;
        let reason = answer.reason();
        assert_eq!((answer.status, reason.as_str()), (401, "token-invalid-signature"), "{reply:?}");
        assert!(asked.elapsed() < Duration::from_secs(6), "{reply:?}: {:?}", asked.elapsed());
        assert!(scene.server.fetches() > before, "{reply:?}: there was a fetch");

        let asked = Instant::now();
        assert_eq!(proxy.get("/", &forged).await.status, 401);
        assert!(asked.elapsed() < Duration::from_millis(100), "{reply:?}: just now there was one");
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200, "{reply:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_new_key_is_found_though_a_fetch_was_under_way_when_it_was_published() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    let of_before = Reply::json(&published_by(&scene.issuer).await);
    scene.server.reply(of_before.after(Duration::from_secs(1)));
    time::pause();
    time::advance(Duration::from_secs(600)).await;
    until("the fetch is under way", async || scene.server.fetches() == 2).await;

    scene.issuer.rotate();
    scene.publish().await;
    let answer = proxy.get("/", &scene.issuer.token()).await;

    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "local")]
async fn known_keys_serve_while_their_issuer_is_down() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    scene.server.reply(Reply::Bytes(Vec::new()));
    let known = scene.issuer.token();
    scene.issuer.rotate();

    let unknown = proxy.get("/", &scene.issuer.token()).await;
    let unknown_again = proxy.get("/", &scene.issuer.token()).await;
    let known = proxy.get("/", &known).await;

    assert_eq!(known.status, 200);
    for answer in [unknown, unknown_again] {
        // The key may well exist: it is we who cannot tell.
        assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(proxy.admin("/readyz").await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn an_issuer_that_is_down_at_the_start_is_found_within_two_seconds_of_its_return() {
    let Scene { issuer, upstream, server, clock } = Scene::set().await;
    let mut settings = settings(&issuer, &upstream);
    settings.issuers[0].keys.source = server.source();
    let address = server.address.clone();
    drop(server);
    time::pause();
    let proxy = Proxy::start_at(settings, clock).await;
    time::sleep(Duration::from_secs(60)).await;

    let refused = proxy.get("/", &issuer.token()).await;
    let ready = proxy.admin("/readyz").await;
    let live = proxy.admin("/livez").await;

    assert_eq!((refused.status, refused.reason().as_str()), (503, "keys-unavailable"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        (ready.status, ready.text().as_str()),
        (503, "no usable key set of any issuer yet\n")
    );
    assert_eq!(live.status, 200);

    let back = Instant::now();
    let keys = Reply::json(&published_by(&issuer).await);
    let _server = KeyServer::start_at(&address, keys).await;
    until("the proxy is ready", async || proxy.admin("/readyz").await.status == 200).await;

    assert!(back.elapsed() <= Duration::from_secs(2), "{:?}", back.elapsed());
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn a_server_that_hangs_from_the_start_is_found_within_two_seconds_of_its_return() {
    let Scene { issuer, upstream, server: _, clock } = Scene::set().await;
    let good = Reply::json(&published_by(&issuer).await);
    time::pause();
    // Wherever in a fetch the server comes back.
    for millis in (20_000..26_000).step_by(600) {
        let server = KeyServer::start(Reply::Silence).await;
        let mut settings = settings(&issuer, &upstream);
        settings.issuers[0].keys.source = server.source();
        let proxy = Proxy::start_at(settings, clock.clone()).await;
        time::sleep(Duration::from_millis(millis)).await;
        let refused = proxy.get("/", &issuer.token()).await;
        assert_eq!((refused.status, refused.reason().as_str()), (503, "keys-unavailable"));
        let (asked, spent) = (server.fetches(), millis / 600);
        assert!(asked <= spent, "it was asked {asked} times in {millis} ms");

        let back = Instant::now();
        server.reply(good.clone());
        let ready = async || proxy.admin("/readyz").await.status == 200;
        until_every(Duration::from_millis(20), "the proxy is ready", ready).await;

        assert!(back.elapsed() <= Duration::from_secs(2), "{millis}: {:?}", back.elapsed());
        assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
    }
}

#[tokio::test(flavor = "local")]
async fn a_server_that_takes_three_seconds_is_waited_for() {
    let scene = Scene::set().await;
    let slow = Reply::json(&published_by(&scene.issuer).await).after(Duration::from_secs(3));
    scene.server.reply(slow);
    time::pause();

    let began = Instant::now();
    let _proxy = Proxy::start_with(scene.settings(), scene.clock.clone()).await;

    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "local")]
async fn a_request_that_comes_during_the_first_fetch_waits_for_it() {
    let scene = Scene::set().await;
    scene
        .server
        .reply(Reply::json(&published_by(&scene.issuer).await).after(Duration::from_millis(700)));
    time::pause();
    let proxy = Proxy::start_at(scene.settings(), scene.clock.clone()).await;

    let answer = proxy.get("/", &scene.issuer.token()).await;

    assert_eq!(answer.status, 200);
    assert_eq!(scene.server.fetches(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_request_waits_two_seconds_for_the_first_fetch_and_no_longer() {
    let scene = Scene::set().await;
    scene.server.reply(Reply::Silence);
    time::pause();
    let proxy = Proxy::start_at(scene.settings(), scene.clock.clone()).await;

    let asked = Instant::now();
    let answer = proxy.get("/", &scene.issuer.token()).await;

    assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
    assert_eq!(asked.elapsed().as_secs(), 2);
}

#[tokio::test(flavor = "local")]
async fn keys_past_their_time_are_our_fault_and_not_the_tokens() {
    let scene = Scene::set().await;
    let mut settings = scene.settings();
    settings.issuers[0].keys.max_stale = Duration::from_secs(60 * 60);
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    let token = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
    assert_eq!(proxy.get("/", &token).await.status, 200);
    scene.server.reply(Reply::Bytes(Vec::new()));

    scene.clock.set(NOW.plus(Duration::from_secs(3599)));
    let in_time = proxy.get("/", &token).await;
    scene.clock.set(NOW.plus(Duration::from_secs(3600)));
    let remembered = proxy.get("/", &token).await;
    let new = proxy.get("/", &scene.issuer.token()).await;
    let ready = proxy.admin("/readyz").await.status;

    assert_eq!((in_time.status, ready), (200, 503));
    for answer in [remembered, new] {
        assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
    }
}

#[tokio::test(flavor = "local")]
async fn keys_that_aged_while_the_machine_slept_are_fetched_when_a_request_needs_them() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    let remembered = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 80_000 }));
    assert_eq!(proxy.get("/", &remembered).await.status, 200);

    // The wall clock goes on in a machine that sleeps; timers do not.
    scene.clock.set(NOW.plus(Duration::from_secs(86_400 - 3_000)));
    let in_time = proxy.get("/", &scene.issuer.token()).await;
    scene.clock.set(NOW.plus(Duration::from_secs(2 * 86_400)));
    let late = proxy.get("/", &scene.issuer.token()).await;

    assert_eq!((in_time.status, late.status), (200, 200));
    assert_eq!(scene.server.fetches(), 2);
}

#[tokio::test(flavor = "local")]
async fn keys_that_never_change_never_grow_stale() {
    let scene = Scene::set().await;
    let mut settings = scene.settings();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    settings.issuers[0].keys.source = KeySource::Pem(key.public_key_pem());
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    time::pause();

    for hour in 0..50 {
        scene.clock.set(NOW.plus(Duration::from_secs(hour * 3600)));
        assert_eq!(proxy.admin("/readyz").await.status, 200, "after {hour} h");
        time::advance(Duration::from_secs(3600)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn keys_are_refreshed_before_they_are_stale() {
    let scene = Scene::set().await;
    let mut settings = scene.settings();
    settings.issuers[0].keys.max_stale = Duration::from_secs(60);
    let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
    time::pause();

    for second in 0..180 {
        scene.clock.set(NOW.plus(Duration::from_secs(second)));
        assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200, "after {second} s");
        time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_removed_key_ends_with_the_second_fetch_without_it_and_all_its_tokens_with_it() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    let remembered = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
    let new = scene.issuer.mint(json!({ "exp": NOW.as_secs() + 7200 }));
    assert_eq!(proxy.get("/", &remembered).await.status, 200);
    scene.issuer.rotate_and_drop();
    scene.publish().await;
    time::pause();

    scene.refresh_after(Duration::from_secs(600)).await;
    assert_eq!(
        proxy.get("/", &remembered).await.status,
        200,
        "one fetch may be of a stale replica"
    );

    scene.refresh_after(Duration::from_secs(37)).await; // looked for again sooner than is usual
    for token in [&remembered, &new] {
        let answer = proxy.get("/", token).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "jwk-kid-mismatch"));
    }
    assert_eq!(proxy.get("/", &scene.issuer.token()).await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn a_fetch_carries_nothing_of_the_request_that_caused_it() {
    let scene = Scene::set().await;
    let proxy = scene.proxy().await;
    scene.issuer.rotate();
    scene.publish().await;

    let client = Client::to(&proxy.address).header("cookie", "a=b").header("x-own", "1");
    let answer = client.bearer(&scene.issuer.token()).get("/").await;

    assert_eq!((answer.status, scene.server.fetches()), (200, 2));
    let head = scene.server.last().to_lowercase();
    assert!(head.contains("user-agent: countersign/"), "{head}");
    for name in ["cookie", "authorization", "x-own", "x-request-id", "x-forwarded"] {
        assert!(!head.contains(name), "{head}");
    }
}
