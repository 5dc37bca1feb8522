//! KEY: a key server that lies, hangs or is away, and keys that come, go and are none.
//!
//! What a server can do wrong between two good answers is the table of `key_faults`, which is
//! played here row by row of the catalogue.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::time::Duration;

use countersign::config::Settings;
use countersign::core::access::{Access, Rule, Session};
use countersign::core::route::{Case, Route, Routes};
use countersign::http_client::FetchUrl;
use countersign::keys::KeySource;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};
use tokio_rustls::TlsAcceptor;

use super::tokens::{
    A, B, By, CLERK, NOW, OIDC, Scene, clerk_set, decode, ed_jwk, encode, good, load, oidc,
    oidc_set, rsa_jwk, session, session_by_b, usual,
};
use crate::key_faults::play;
use crate::keys::naming;
use crate::support::key_server::{KeyServer, Reply};
use crate::support::settings::{clerk_api, route};
use crate::support::tls::{Authority, Pair};
use crate::support::upstream::head;
use crate::support::{Proxy, Upstream, client, until, until_every};

const SECOND: Duration = Duration::from_secs(1);
/// Between two looks, of paused time.
const LOOK: Duration = Duration::from_millis(100);
/// Long enough for any token of these tests.
const LONG: i64 = NOW + 80_000;

impl Scene {
    /// Clerk's keys are these from now on.
    fn clerk_publishes(&self, set: &Value) {
        self.clerk_keys.reply(Reply::json(&set.to_string()));
    }

    /// Moves both clocks, and waits for the refresh of Clerk's keys that is due by then.
    async fn refresh_after(&self, seconds: u64) {
        let before = self.clerk_keys.fetches();
        let span = Duration::from_secs(seconds);
        self.clock.set(self.clock.now().plus(span));
        time::advance(span).await;
        until("the keys are refreshed", async || self.clerk_keys.fetches() > before).await;
        time::sleep(Duration::from_millis(10)).await;
    }

    /// The status and the reason for this token.
    async fn verdict(&self, token: &str) -> String {
        let answer = self.proxy.get("/api", token).await;
        if answer.status == 200 { "200".to_owned() } else { answer.reason() }
    }

    /// How many of Clerk's keys are in use.
    async fn keys(&self) -> f64 {
        self.proxy.metric(&format!(r#"countersign_jwks_keys{{issuer="{CLERK}"}}"#)).await
    }

    /// How many of the other issuer's are.
    async fn other_keys(&self) -> f64 {
        self.proxy.metric(&format!(r#"countersign_jwks_keys{{issuer="{OIDC}"}}"#)).await
    }
}

/// A scene in which the other issuer publishes this.
async fn publishing(set: &Value) -> Scene {
    let clerk = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
    let other = KeyServer::start(Reply::json(&set.to_string())).await;
    Scene::among(clerk, other, |_| ()).await
}

#[tokio::test(flavor = "local")]
async fn key_01_a_key_set_is_read_to_one_mebibyte() {
    assert_eq!(play("KEY-01").await, 5);
}

#[tokio::test(flavor = "local")]
async fn key_04_a_page_is_no_key_set_and_a_key_set_may_say_it_is_text() {
    assert_eq!(play("KEY-04").await, 2);
}

#[tokio::test(flavor = "local")]
async fn key_05_nothing_never_takes_the_place_of_keys() {
    assert_eq!(play("KEY-05").await, 7);
}

#[tokio::test(flavor = "local")]
async fn key_06_nothing_is_unpacked() {
    assert_eq!(play("KEY-06").await, 4);
}

#[tokio::test(flavor = "local")]
async fn key_08_a_key_without_a_name_is_no_key_of_a_token_that_names_one() {
    assert_eq!(play("KEY-08").await, 1);
    // Of another issuer it is a key, for tokens that name none.
    let mut nameless = rsa_jwk(&B, "x");
    nameless.as_object_mut().unwrap().remove("kid");
    let mut set = oidc_set();
    set["keys"].as_array_mut().unwrap().push(nameless);
    let scene = publishing(&set).await;
    let by_b = |kid: Value| {
        let changes = json!({"iss": OIDC, "aud": "api", "$header": {"kid": kid}});
        session_by_b(changes)
    };
    assert_eq!(scene.verdict(&by_b(json!(null))).await, "200");
    assert_eq!(scene.verdict(&by_b(json!("rs_A"))).await, "token-invalid-signature");
    assert_eq!(scene.verdict(&by_b(json!("other"))).await, "jwk-kid-mismatch");
}

/// Clerk's way: its keys and tokens have names, and a token without one is refused. Of another
/// issuer at most eight keys are tried, and none is fetched.
#[tokio::test(flavor = "local")]
async fn key_09_a_token_without_a_name_has_none_fetched_and_few_tried() {
    assert_eq!(play("KEY-09").await, 1);
    let scene = Scene::set().await;
    let fetched = scene.oidc_keys.fetches();
    let nameless = |by, alg: &str| oidc(by, json!({"$header": {"alg": alg, "kid": null}}));
    for (by, alg) in [(By::Rs256, "RS256"), (By::Es256, "ES256"), (By::EdDsa, "EdDSA")] {
        scene.passes(alg, &nameless(by, alg)).await;
    }
    for number in 0..20 {
        let token = session_by_b(json!({
            "iss": OIDC, "aud": "api", "jti": number, "$header": {"kid": null},
        }));
        scene.refuses("by nobody", &token, "token-invalid-signature").await;
    }
    assert_eq!(scene.oidc_keys.fetches(), fetched);

    // The ninth key of an algorithm is not tried: each costs us a verification, and the attacker
    // nothing.
    let many = |last: Value| {
        let other = |number: usize| rsa_jwk(&A, &format!("k{number}"));
        let keys: Vec<_> = (0..8).map(other).chain([last]).collect();
        json!({ "keys": keys })
    };
    let scene = publishing(&many(rsa_jwk(&B, "zz"))).await;
    let token = session_by_b(json!({"iss": OIDC, "aud": "api", "$header": {"kid": null}}));
    let verdict = scene.verdict(&token).await;
    assert!(
        ["token-invalid-signature", "jwk-kid-mismatch"].contains(&verdict.as_str()),
        "{verdict}"
    );
    let named = session_by_b(json!({"iss": OIDC, "aud": "api", "$header": {"kid": "zz"}}));
    assert_eq!(scene.verdict(&named).await, "200");
}

/// The attacker's key with these members, each as a row of [`uses_none_of`].
fn key_of_b(members: &[Value]) -> Vec<(String, Value)> {
    members.iter().map(|it| (it.to_string(), with(rsa_jwk(&B, "x"), it))).collect()
}

#[tokio::test(flavor = "local")]
async fn key_10_a_key_that_is_not_for_verifying_verifies_nothing() {
    assert_eq!(play("KEY-10").await, 3);
    uses_none_of(key_of_b(&[
        json!({"use": "enc"}),
        json!({"use": "SIG"}),
        json!({"use": ["sig"]}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": []}),
        json!({"key_ops": "verify"}),
        json!({"use": "sig", "key_ops": ["wrapKey"]}),
    ]))
    .await;
}

/// `jwk` with these members.
fn with(mut jwk: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

#[tokio::test(flavor = "local")]
async fn key_11_a_key_of_another_algorithm_costs_only_itself() {
    assert_eq!(play("KEY-11").await, 4);
    uses_none_of(key_of_b(&[
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"alg": "ES256"}),
        json!({"alg": "rs256"}),
        json!({"alg": ["RS256"]}),
        json!({"alg": ""}),
        json!({"kty": "oct", "k": encode("secret")}),
        json!({"kty": "LWE"}),
        json!({"kty": "rsa"}),
    ]))
    .await;
}

/// A scene in which the other issuer publishes these bad keys before a good one: none of them is
/// used, and the good one is.
async fn uses_none_of(bad: Vec<(String, Value)>) {
    let named = |(place, (_, key)): (usize, &(String, Value))| {
        with(key.clone(), &json!({"kid": format!("bad-{place}")}))
    };
    let mut keys: Vec<_> = bad.iter().enumerate().map(named).collect();
    keys.push(rsa_jwk(&A, "rs_A"));
    let scene = publishing(&json!({ "keys": keys })).await;
    let token = oidc(By::Rs256, json!({"$header": {"alg": "RS256", "kid": "rs_A"}}));
    scene.passes("the good one", &token).await;
    assert_eq!(scene.other_keys().await, 1.0, "of {} and a good one", bad.len());
    for (place, (what, _)) in bad.iter().enumerate() {
        let kid = format!("bad-{place}");
        for (by, alg) in [(By::Es256, "ES256"), (By::EdDsa, "EdDSA")] {
            let token = oidc(by, json!({"$header": {"alg": alg, "kid": kid}}));
            scene.refuses(what, &token, "jwk-kid-mismatch").await;
        }
        let by_b = session_by_b(json!({"iss": OIDC, "aud": "api", "$header": {"kid": kid}}));
        scene.refuses(what, &by_b, "jwk-kid-mismatch").await;
    }
}

#[tokio::test(flavor = "local")]
async fn key_12_a_weak_rsa_key_is_no_key() {
    assert_eq!(play("KEY-12").await, 8);
    /// A number of so many bits, even or odd.
    fn number(bits: usize, low: u8) -> Vec<u8> {
        let mut number = vec![0; bits.div_ceil(8)];
        number[0] = 1 << ((bits - 1) % 8);
        *number.last_mut().unwrap() |= low;
        number
    }
    let usual = || vec![1, 0, 1];
    let rows = [
        ("512 bits", number(512, 1), usual()),
        ("1024 bits", number(1024, 1), usual()),
        ("1024 bits in 256 bytes", [vec![0; 128], number(1024, 1)].concat(), usual()),
        ("2047 bits", number(2047, 1), usual()),
        ("8193 bits", number(8193, 1), usual()),
        ("16,384 bits", number(16_384, 1), usual()),
        ("n even", number(2048, 0), usual()),
        ("n = 0", vec![0], usual()),
        ("n empty", vec![], usual()),
        ("e = 0", number(2048, 1), vec![0]),
        ("e = 1", number(2048, 1), vec![1]),
        ("e = 2", number(2048, 1), vec![2]),
        ("e = 65536", number(2048, 1), vec![1, 0, 0]),
        ("e of 33 bits", number(2048, 1), number(33, 1)),
        ("e of 64 bits", number(2048, 1), number(64, 1)),
        ("e = n", number(2048, 1), number(2048, 1)),
        ("e empty", number(2048, 1), vec![]),
    ];
    let key = |(what, n, e): (&str, Vec<u8>, Vec<u8>)| {
        (what.to_owned(), json!({"kty": "RSA", "n": encode(n), "e": encode(e)}))
    };
    uses_none_of(rows.into_iter().map(key).collect()).await;

    // What is unusual but strong enough is used, and the log says so.
    let (_, odd) = key(("e = 3", number(2048, 1), vec![3]));
    let set = json!({"keys": [rsa_jwk(&A, "rs_A"), with(odd, &json!({"kid": "odd"}))]});
    let scene = publishing(&set).await;
    assert_eq!(scene.other_keys().await, 2.0);
    let log = scene.proxy.logged();
    assert!(log.contains("RSA keys with another exponent than 65537 are used"), "{log}");
}

#[tokio::test(flavor = "local")]
async fn key_13_a_point_that_is_not_on_its_curve_is_no_key() {
    assert_eq!(play("KEY-13").await, 4);
    let set = oidc_set();
    let good = |name: &str| set["keys"][1][name].as_str().unwrap().to_owned();
    let (x, y) = (good("x"), good("y"));
    let shorter = encode(&decode(&x)[1..]);
    let longer = encode([vec![0], decode(&x)].concat());
    let zeros = encode([0; 32]);
    let rows = [
        ("off the curve", "P-256", encode([1; 32]), json!(encode([1; 32]))),
        ("x for y", "P-256", x.clone(), json!(x)),
        ("infinity", "P-256", zeros.clone(), json!(zeros)),
        ("all bits", "P-256", encode([0xff; 32]), json!(encode([0xff; 32]))),
        ("x alone", "P-256", x.clone(), json!(null)),
        ("x too short", "P-256", shorter, json!(y)),
        ("x too long", "P-256", longer, json!(y)),
        ("nothing", "P-256", String::new(), json!("")),
        ("P-192", "P-192", encode([1; 24]), json!(encode([1; 24]))),
        ("P-521", "P-521", encode([1; 66]), json!(encode([1; 66]))),
        ("secp256k1", "secp256k1", x.clone(), json!(y)),
        ("a point of P-256 as one of P-384", "P-384", x.clone(), json!(y)),
    ];
    let key = |(what, crv, x, y): (&str, &str, String, Value)| {
        (what.to_owned(), json!({"kty": "EC", "crv": crv, "x": x, "y": y}))
    };
    uses_none_of(rows.into_iter().map(key).collect()).await;
}

#[tokio::test(flavor = "local")]
async fn key_14_a_point_of_small_order_or_another_curve_is_no_key() {
    assert_eq!(play("KEY-14").await, 4);
    let point = |low: u8, middle: u8, high: u8| {
        let mut x = vec![middle; 32];
        (x[0], x[31]) = (low, high);
        x
    };
    let rows = [
        ("31 bytes", "Ed25519", vec![9; 31]),
        ("33 bytes", "Ed25519", vec![9; 33]),
        ("nothing", "Ed25519", vec![]),
        ("the identity", "Ed25519", point(1, 0, 0)),
        ("the identity with a sign", "Ed25519", point(1, 0, 0x80)),
        ("order 4", "Ed25519", point(0, 0, 0)),
        ("order 4 with a sign", "Ed25519", point(0, 0, 0x80)),
        ("order 2", "Ed25519", point(0xec, 0xff, 0x7f)),
        ("0, not reduced", "Ed25519", point(0xed, 0xff, 0x7f)),
        ("1, not reduced", "Ed25519", point(0xee, 0xff, 0x7f)),
        ("X25519", "X25519", vec![9; 32]),
        ("Ed448", "Ed448", vec![9; 57]),
    ];
    let key = |(what, crv, x): (&str, &str, Vec<u8>)| {
        (what.to_owned(), with(ed_jwk(&x, "x"), &json!({ "crv": crv })))
    };
    uses_none_of(rows.into_iter().map(key).collect()).await;
}

#[tokio::test(flavor = "local")]
async fn key_16_a_set_that_is_none_replaces_nothing_and_a_key_that_is_none_costs_itself() {
    assert_eq!(play("KEY-16").await, 10);
}

#[tokio::test(flavor = "local")]
async fn key_17_whatever_status_a_key_server_answers_with_the_keys_that_are_held_serve() {
    assert_eq!(play("KEY-17").await, 21);
}

/// A server of Clerk's keys under TLS, with this certificate.
async fn tls_server(pair: &Pair) -> Upstream {
    let acceptor = TlsAcceptor::from(Arc::new(pair.server()));
    let set = clerk_set().to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{set}", set.len());
    Upstream::raw(move |socket| {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        async move {
            if let Ok(mut socket) = acceptor.accept(socket).await {
                head(&mut socket).await;
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        }
    })
    .await
}

/// What becomes of a good token where the keys are at `url`, and this authority is trusted.
async fn from_url(scene: &Scene, url: &str, ca_pem: Option<String>) -> (u16, String) {
    let mut settings = usual(&scene.upstream, &scene.clerk_keys, &scene.oidc_keys);
    settings.issuers.truncate(1); // so that readiness is about these keys
    settings.issuers[0].keys.source = KeySource::Url(FetchUrl::parse(url).unwrap());
    settings.http_client.ca_pem = ca_pem.map(String::into_bytes);
    let proxy = Proxy::start_at(settings, scene.clock.clone()).await;
    let answer = proxy.get("/api", &good()).await;
    let ready = proxy.admin("/readyz").await.status;
    assert_eq!(ready == 200, answer.status == 200, "{url}: readiness agrees");
    (answer.status, answer.reason())
}

#[tokio::test(flavor = "local")]
async fn key_18_keys_come_from_the_host_that_was_named_and_certified_or_not_at_all() {
    assert_eq!(play("KEY-18").await, 7);
    let scene = Scene::set().await;
    let (ours, others) = (Authority::new(), Authority::new());
    let unavailable = (503, "keys-unavailable".to_owned());
    let (good, expired) = (ours.pair("localhost"), ours.pair_until("localhost", 2000));
    let (wrong, foreign) = (ours.pair("elsewhere.test"), others.pair("localhost"));
    for (what, pair, ca, want) in [
        ("all is well", &good, Some(&ours), (200, String::new())),
        ("expired", &expired, Some(&ours), unavailable.clone()),
        ("of another name", &wrong, Some(&ours), unavailable.clone()),
        ("of an authority nobody trusts", &foreign, Some(&ours), unavailable.clone()),
        ("of an authority of one's own", &good, None, unavailable.clone()),
    ] {
        let server = tls_server(pair).await;
        let port = server.address.rsplit_once(':').unwrap().1.to_owned();
        let url = format!("https://localhost:{port}/jwks");
        let got = from_url(&scene, &url, ca.map(Authority::pem)).await;
        assert_eq!(got, want, "{what}");
        assert!(server.connections() > 0, "{what}: it was asked");
    }
    for url in ["https://nowhere.invalid/jwks", "https://127.0.0.1:1/jwks"] {
        assert_eq!(from_url(&scene, url, None).await, unavailable, "{url}");
    }
    // Never without TLS after all.
    let plain = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
    let url = format!("https://{}/jwks", plain.address);
    assert_eq!(from_url(&scene, &url, None).await, unavailable);
}

#[tokio::test(flavor = "local")]
async fn key_20_a_proxy_without_keys_says_so_and_finds_them_when_they_are_there() {
    let scene = Scene::set().await;
    let server = KeyServer::start(Reply::Silence).await;
    let (address, source) = (server.address.clone(), server.source());
    drop(server); // refuses from now on
    let mut settings = usual(&scene.upstream, &scene.clerk_keys, &scene.oidc_keys);
    settings.issuers.truncate(1);
    settings.issuers[0].keys.source = source;
    time::pause();
    let proxy = Proxy::start_at(settings, scene.clock.clone()).await;
    time::sleep(60 * SECOND).await;

    let answer = proxy.get("/api", &good()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let ready = proxy.admin("/readyz").await.status;
    assert_eq!((ready, proxy.admin("/livez").await.status), (503, 200));

    let back = Instant::now();
    let keys = Reply::json(&clerk_set().to_string());
    let _server = KeyServer::start_at(&address, keys).await;
    let good = async || proxy.get("/api", &good()).await.status == 200;
    until_every(LOOK, "it has keys", good).await;
    assert!(back.elapsed() <= 2 * SECOND, "{:?}", back.elapsed());
    assert_eq!(proxy.admin("/readyz").await.status, 200);
}

#[tokio::test(flavor = "local")]
async fn key_23_invented_keys_are_not_fetched_the_more_for_a_server_that_is_down() {
    let scene = Scene::set().await;
    let token = session(json!({ "exp": LONG }));
    scene.clerk_keys.reply(Reply::http("500 Oh", "", ""));
    time::pause();
    let (before, began) = (scene.clerk_keys.fetches(), Instant::now());
    let last = "GET /api HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    for step in 0..20 {
        let requests: String = (0..100)
            .map(|number| naming(&token, &format!("new-{step}-{number}")))
            .map(|it| format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {it}\r\n\r\n"))
            .collect();
        let refused = client::raw(&scene.proxy.address, (requests + last).as_bytes()).await;
        assert_eq!(refused.matches(r#""keys-unavailable""#).count(), 100, "step {step}");
        assert!(!refused.contains("HTTP/1.1 200"), "step {step}: nobody is let in");
        assert_eq!(scene.verdict(&token).await, "200", "step {step}: known keys serve");
        time::advance(3 * SECOND).await;
    }

    // One in ten seconds for unknown keys; between two of them, the back-off's own.
    let (fetches, seconds) = (scene.clerk_keys.fetches() - before, began.elapsed().as_secs());
    let most = 2 * (1 + seconds / 10) + 4;
    assert!(fetches <= most, "{fetches} fetches in {seconds} s");
}

#[tokio::test(flavor = "local")]
async fn key_24_a_new_key_is_good_at_once_and_fetched_once_for_all_who_show_it() {
    let scene = Scene::set().await;
    let before = scene.clerk_keys.fetches();
    let both = json!({"keys": [rsa_jwk(&A, "ins_A"), rsa_jwk(&B, "ins_B")]});
    let late = Reply::json(&both.to_string()).after(Duration::from_millis(200));
    scene.clerk_keys.reply(late);
    let token = session_by_b(json!({"$header": {"kid": "ins_B"}}));

    let mut requests = JoinSet::new();
    for _ in 0..150 {
        let (client, token) = (scene.proxy.client(), token.clone());
        requests.spawn_local(async move { client.bearer(&token).get("/api").await.status });
    }
    assert_eq!(requests.join_all().await, [200; 150]);
    assert_eq!(scene.clerk_keys.fetches() - before, 1);
    assert_eq!(scene.verdict(&good()).await, "200", "the old one is good too");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn key_26_an_issuer_that_is_down_hurts_nobody_elses_tokens() {
    let clerk = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
    let other = KeyServer::start(Reply::Silence).await;
    let scene = Scene::among(clerk, other, |_| ()).await;
    let foreign = oidc(By::Es256, json!({ "exp": LONG }));
    let own = session(json!({ "exp": LONG }));

    assert_eq!(scene.verdict(&foreign).await, "keys-unavailable");
    let asked = Instant::now();
    assert_eq!(scene.verdict(&own).await, "200");
    assert!(asked.elapsed() < SECOND / 2, "it does not wait for the other's");
    for _ in 0..3 {
        scene.refresh_after(500).await;
        assert_eq!(scene.verdict(&own).await, "200");
    }
    scene.oidc_keys.reply(Reply::json(&oidc_set().to_string()));
    let good = async || scene.verdict(&foreign).await == "200";
    until_every(LOOK, "the other's keys are there", good).await;
}

#[tokio::test(flavor = "local")]
async fn key_28_another_key_under_the_same_name_takes_the_place_of_the_first() {
    assert_eq!(play("KEY-28").await, 1);
    let scene = Scene::set().await;
    let (old, new) = (session(json!({"exp": LONG})), session_by_b(json!({"exp": LONG})));
    assert_eq!(scene.verdict(&old).await, "200");
    scene.clerk_publishes(&json!({"keys": [rsa_jwk(&B, "ins_A")]}));

    assert_eq!(scene.verdict(&new).await, "200", "it is fetched for the new one");
    for token in [&old, &session(json!({"exp": LONG, "jti": "other"}))] {
        assert_eq!(scene.verdict(token).await, "token-invalid-signature", "remembered or not");
    }
}

#[tokio::test(flavor = "local")]
async fn key_29_keys_of_replicas_that_disagree_are_good_while_both_answer() {
    let scene = Scene::set().await;
    let (one, other) = (clerk_set(), json!({"keys": [rsa_jwk(&B, "ins_B")]}));
    let turns = |number| Reply::json(&if number % 2 == 0 { &other } else { &one }.to_string());
    scene.clerk_keys.reply(Reply::Turns((0..30).map(turns).collect()));
    let of_one = session(json!({"exp": LONG}));
    let of_other = session_by_b(json!({"exp": LONG, "$header": {"kid": "ins_B"}}));
    time::pause();
    assert_eq!(scene.verdict(&of_other).await, "200", "a fetch finds it");

    for fetch in 0..12 {
        scene.refresh_after(37).await;
        for token in [&of_one, &of_other] {
            assert_eq!(scene.verdict(token).await, "200", "after {fetch} more");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn key_30_after_a_change_of_keys_all_connections_agree() {
    let scene = Scene::set().await;
    let removed = session(json!({"exp": LONG}));
    assert_eq!(scene.verdict(&removed).await, "200");
    scene.clerk_publishes(&json!({"keys": [rsa_jwk(&B, "ins_B")]}));
    let new = session_by_b(json!({"exp": LONG, "$header": {"kid": "ins_B"}}));
    // Connections from before the change, each of which has seen the old key.
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut connection = scene.proxy.client().bearer(&removed).open().await.unwrap();
        assert_eq!(connection.get("/api").await.status, 200);
        kept.push(connection);
    }
    time::pause();
    assert_eq!(scene.verdict(&new).await, "200");
    scene.refresh_after(37).await; // the second fetch without the old key

    for connection in &mut kept {
        assert_eq!(connection.get("/api").await.reason(), "jwk-kid-mismatch");
    }
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let client = scene.proxy.client();
        let token = if number % 2 == 0 { new.clone() } else { removed.clone() };
        requests.spawn_local(async move {
            (number % 2, client.bearer(&token).get("/api").await.status)
        });
    }
    for (place, status) in requests.join_all().await {
        assert_eq!(status, [200, 401][place]);
    }
}

#[tokio::test(flavor = "local")]
async fn key_31_a_key_set_is_fresh_for_a_minute_to_a_day_whatever_is_asked() {
    assert_eq!(play("KEY-31").await, 6);
}

#[tokio::test(flavor = "local")]
async fn key_33_proxies_that_start_together_do_not_fetch_together() {
    let scene = Scene::set().await;
    let mut next = Vec::new();
    for _ in 0..16 {
        let settings = usual(&scene.upstream, &scene.clerk_keys, &scene.oidc_keys);
        let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
        let status = proxy.admin("/status").await.json();
        next.push(status["issuers"][0]["next_refresh_seconds"].as_u64().unwrap());
    }
    // 80 % of ten minutes, a little less by chance.
    assert!(next.iter().all(|it| (415..=480).contains(it)), "{next:?}");
    next.sort_unstable();
    next.dedup();
    assert!(next.len() > 4, "sixteen of them have as many times: {next:?}");
}

#[tokio::test(flavor = "local")]
async fn key_34_a_wall_clock_that_jumps_neither_starts_a_storm_nor_stops_the_refreshes() {
    let scene = Scene::set().await;
    time::pause();
    let before = scene.clerk_keys.fetches();
    // Forward and back, by seconds, hours and years, without any time passing for timers.
    for seconds in [3600, -3600, 5, -5, 7200, 0] {
        scene.at(seconds);
        let token = session(json!({
            "iat": NOW + seconds, "nbf": NOW + seconds, "exp": NOW + seconds + 60,
        }));
        assert_eq!(scene.verdict(&token).await, "200", "{seconds} s");
    }
    assert_eq!(scene.clerk_keys.fetches(), before, "no jump fetches");
    // Back by ten years: nothing is good now, and when it is forward again all is well.
    scene.at(-10 * 365 * 86_400);
    assert_ne!(scene.verdict(&good()).await, "200");
    scene.at(0);
    assert_eq!(scene.verdict(&good()).await, "200");
    // Timers go on as they would have.
    time::advance(500 * SECOND).await;
    until("the keys are refreshed", async || scene.clerk_keys.fetches() > before).await;
    assert_eq!(scene.clerk_keys.fetches() - before, 1);
}

#[tokio::test(flavor = "local")]
async fn key_36_a_fetch_carries_nothing_of_the_request_that_caused_it() {
    let scene = Scene::set().await;
    let before = scene.clerk_keys.fetches();
    let token = session(json!({"$header": {"kid": "new"}}));
    let client = scene.proxy.client().bearer(&token);
    let sent = [
        ("cookie", "a=secret-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-own", "secret-2"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-request-id", "secret-3"),
        ("user-agent", "secret-4"),
        ("accept-language", "secret-5"),
        ("proxy-authorization", "Basic secret-6"),
    ];
    let client = sent.iter().fold(client, |client, (name, value)| client.header(name, value));
    let answer = client.get("/api?secret-7").await;

    assert_eq!((answer.status, scene.clerk_keys.fetches() - before), (401, 1));
    let head = scene.clerk_keys.last().to_lowercase();
    assert!(
        head.starts_with("get /jwks http/1.1\r\n") && head.contains("user-agent: countersign/")
    );
    for (name, _) in sent.iter().filter(|(name, _)| *name != "user-agent") {
        assert!(!head.contains(&format!("\n{name}:")), "{name}: {head}");
    }
    assert!(!head.contains("secret") && !head.contains("203.0.113.9"), "{head}");
}

#[tokio::test(flavor = "local")]
async fn key_37_keys_in_the_clear_come_from_this_machine_alone() {
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/jwks",
        "http://metadata.google.internal/jwks",
        "http://clerk.a.test/jwks",
        "http://127.0.0.1.evil.test/jwks",
        "http://localhost.evil.test/jwks",
        "http://0.0.0.0/jwks",
        "http://[::]/jwks",
        "http://2130706433/jwks",
        "http://127.1/jwks",
        "ftp://127.0.0.1/jwks",
        "file:///etc/passwd",
        "unix:/run/docker.sock",
        "//evil.test/jwks",
    ] {
        assert!(FetchUrl::parse(url).is_err(), "{url}");
        assert!(load(&format!("clerk.jwks_url = \"{url}\"")).is_err(), "{url}");
    }
    for url in ["http://127.0.0.1:9/jwks", "http://[::1]:9/jwks", "https://10.0.0.1/jwks"] {
        assert!(load(&format!("clerk.jwks_url = \"{url}\"")).is_ok(), "{url}: it was written so");
    }
    // Nor does a redirect lead there.
    let scene = Scene::set().await;
    let inner = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
    let to = format!("location: http://{}/jwks\r\n", inner.address);
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let outer = KeyServer::start(Reply::http(status, &to, "")).await;
        let (code, _) = from_url(&scene, &format!("http://{}/jwks", outer.address), None).await;
        assert_eq!((code, inner.fetches()), (503, 0), "{status}");
        assert!(outer.fetches() > 0, "{status}");
    }
}

#[tokio::test(flavor = "local")]
async fn key_38_a_key_file_changes_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let (file, set) = (home.path().join("jwks.json"), clerk_set().to_string());
    let mount = |name: &str, text: &str| {
        fs::create_dir(home.path().join(name)).unwrap();
        fs::write(home.path().join(name).join("jwks.json"), text).unwrap();
        symlink(name, home.path().join("..new")).unwrap();
        fs::rename(home.path().join("..new"), home.path().join("..data")).unwrap();
    };
    mount("..1", &set);
    symlink("..data/jwks.json", &file).unwrap();
    let scene = Scene::with(|it| it.issuers[0].keys.source = KeySource::File(file.clone())).await;
    let token = session(json!({"exp": LONG}));
    time::pause();
    let failures = async || {
        let line =
            format!(r#"countersign_jwks_refreshes_total{{issuer="{CLERK}",result="error"}}"#);
        scene.proxy.metric(&line).await
    };

    for (what, spoil) in [
        ("half written", &(|| mount("..2", &set[..set.len() / 2])) as &dyn Fn()),
        ("empty", &|| mount("..3", "")),
        ("an empty set", &|| mount("..4", r#"{"keys":[]}"#)),
        ("gone", &|| fs::remove_file(home.path().join("..data")).unwrap()),
        ("a link to itself", &|| symlink("..data", home.path().join("..data")).unwrap()),
    ] {
        let before = failures().await;
        spoil();
        until_every(LOOK, what, async || failures().await > before).await;
        assert_eq!(scene.verdict(&token).await, "200", "{what}");
        assert_eq!(scene.keys().await, 1.0, "{what}");
    }
    // As ConfigMaps are exchanged.
    mount("..5", &json!({"keys": [rsa_jwk(&A, "ins_A"), rsa_jwk(&B, "ins_B")]}).to_string());
    let new = session_by_b(json!({"exp": LONG, "$header": {"kid": "ins_B"}}));
    until_every(LOOK, "the new key", async || scene.verdict(&new).await == "200").await;
    // Not to be read any more; whoever runs as root reads it all the same.
    let inner = home.path().join("..5/jwks.json");
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o000)).unwrap();
    time::sleep(5 * SECOND).await;
    assert_eq!(scene.verdict(&new).await, "200");
}

#[tokio::test(flavor = "local")]
async fn key_39_a_secret_in_an_address_is_nowhere_to_be_read() {
    assert!(FetchUrl::parse("https://user:hunter2@clerk.a.test/jwks").is_err());
    let errors = load("clerk.jwks_url = \"https://user:hunter2@clerk.a.test/jwks\"").unwrap_err();
    assert!(errors.iter().all(|it| !it.to_string().contains("hunter2")), "{errors:?}");

    let scene = Scene::set().await;
    let url = format!("http://{}/jwks?secret=hunter2", scene.clerk_keys.address);
    let change = |settings: &mut Settings| {
        settings.issuers[0].keys.source = KeySource::Url(FetchUrl::parse(&url).unwrap());
    };
    for reply in [Reply::json(&clerk_set().to_string()), Reply::http("500 Oh", "", "")] {
        scene.clerk_keys.reply(reply);
        let mut settings = usual(&scene.upstream, &scene.clerk_keys, &scene.oidc_keys);
        change(&mut settings);
        let shown = format!("{settings:?}");
        let proxy = Proxy::start_at(settings, scene.clock.clone()).await;
        until("it was asked", async || scene.clerk_keys.last().contains("hunter2")).await;
        let answer = proxy.get("/api", &good()).await;
        let told = [
            shown,
            answer.text(),
            proxy.logged(),
            proxy.admin("/status").await.text(),
            proxy.admin("/metrics").await.text(),
            proxy.admin("/readyz").await.text(),
        ];
        assert!(told.iter().all(|text| !text.contains("hunter2")), "{told:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn key_40_keys_need_no_secret_and_one_that_is_given_stays_with_clerk() {
    // Where nothing but the publishable key is given, keys come from where all the world finds them.
    let loaded = load("").unwrap().settings;
    assert!(loaded.clerk_api.is_none());
    let KeySource::Url(url) = &loaded.issuers[0].keys.source else { panic!("an address") };
    assert_eq!(url.to_string(), format!("{CLERK}/.well-known/jwks.json"));
    // It is not written in the file itself.
    assert!(load("clerk.secret_key = \"sk_live_hunter2\"").is_err());

    let evil = KeyServer::start(Reply::json(r#"{"status":"active"}"#)).await;
    let to = format!("location: http://{}/v1/sessions/sess_1\r\n", evil.address);
    let api = KeyServer::start(Reply::http("302 Found", &to, "")).await;
    let scene = Scene::with(|settings| {
        settings.clerk_api = Some(clerk_api(&api.address));
        let rule = Rule { session: Session::Active, ..Access::SIGNED_IN.into() };
        let asking = Route { rule, ..route("/active/**", Access::Public) };
        settings.proxy.routes = Routes::new(vec![asking], Case::Sensitive);
    })
    .await;
    let answer = scene.proxy.get("/active/a", &good()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "clerk-unavailable"));
    assert!(api.last().contains("sk_test_hunter2"), "it is shown to Clerk");
    assert_eq!((api.fetches() > 0, evil.fetches()), (true, 0), "and to nobody else");
    // Nor to the server of keys.
    assert!(!scene.clerk_keys.last().contains("hunter2"));
    let told = scene.proxy.logged() + &answer.text() + &scene.proxy.admin("/status").await.text();
    assert!(!told.contains("hunter2"));
}
