//! CCH: a token that was good once is remembered, and asked again each time.

use std::fs;
use std::time::Duration;

use countersign::config::Settings;
use countersign::core::jwk::{Algorithm, Algorithms};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time;

use super::frames::{END_HEADERS, END_STREAM, H2, HEADERS, block, frame};
use super::raw::Ask;
use super::tokens::{
    ALICE, B, By, CLERK, NOW, OIDC, Scene, bearer, forged, good, oidc, rsa_jwk, session,
    session_by_b, usual,
};
use crate::support::key_server::Reply;
use crate::support::settings::session_claims;
use crate::support::{Proxy, client, until, until_every};

/// How often a token was found among those verified before, and how often not.
async fn look_ups(proxy: &Proxy) -> [f64; 2] {
    let line =
        |result: &str| format!(r#"countersign_token_cache_lookups_total{{result="{result}"}}"#);
    [proxy.metric(&line("hit")).await, proxy.metric(&line("miss")).await]
}

#[tokio::test(flavor = "local")]
async fn cch_01_a_remembered_token_expires() {
    let scene = Scene::set().await;
    let tokens = [(good(), "session-token-expired"), (oidc(By::Es256, json!({})), "token-expired")];
    for second in [0, 1, 64, 65, 66, 1000, 64] {
        scene.at(second);
        for (token, reason) in &tokens {
            if second < 65 {
                scene.passes(&format!("second {second}"), token).await;
            } else {
                scene.refuses(&format!("second {second}"), token, reason).await;
            }
        }
    }
    assert!(look_ups(&scene.proxy).await[0] >= 8.0, "it was remembered");
}

#[tokio::test(flavor = "local")]
async fn cch_02_a_remembered_token_is_not_good_before_its_time() {
    let scene = Scene::set().await;
    // `nbf` first, as it is looked at first; then `iat` alone.
    for (token, edge, reason) in [
        (session(json!({"nbf": NOW, "iat": NOW - 60})), -5, "session-token-nbf"),
        (session(json!({"nbf": null, "iat": NOW})), -5, "session-token-iat-in-the-future"),
    ] {
        scene.at(0);
        scene.passes("at its time", &token).await;
        scene.at(edge);
        scene.passes("at the edge", &token).await;
        scene.at(edge - 1);
        scene.refuses("before it", &token, reason).await;
        scene.at(-86_400);
        scene.refuses("a day before", &token, reason).await;
        scene.at(0);
        scene.passes("at its time again", &token).await;
    }
}

#[tokio::test(flavor = "local")]
async fn cch_03_a_remembered_token_ends_with_its_key() {
    let scene = Scene::set().await;
    let token = session(json!({ "exp": NOW + 80_000 }));
    scene.passes("its key is there", &token).await;
    let other = json!({"keys": [rsa_jwk(&B, "ins_B")]}).to_string();
    scene.clerk_keys.reply(Reply::json(&other));
    time::pause();
    let mut second = 0;
    // A key is gone with the second good fetch without it, at least 30 s after the first.
    for seconds in [600, 37] {
        let before = scene.clerk_keys.fetches();
        second += seconds;
        scene.at(second);
        time::advance(Duration::from_secs(seconds as u64)).await;
        until("the keys are refreshed", async || scene.clerk_keys.fetches() > before).await;
        time::sleep(Duration::from_millis(10)).await;
    }
    scene.catch_up().await;
    for _ in 0..2 {
        scene.refuses("its key is gone", &token, "jwk-kid-mismatch").await;
    }
}

/// A change of settings is a new proxy, which remembers nothing of another's; so what an older one
/// verified is held against the settings of now.
#[tokio::test(flavor = "local")]
async fn cch_04_what_was_verified_under_other_settings_is_verified_again() {
    let scene = Scene::set().await;
    let token = good();
    for _ in 0..2 {
        scene.passes("as it was", &token).await;
    }
    type Change = fn(&mut Settings);
    for (what, change, reason) in [
        (
            "an audience is asked for",
            (|it| session_claims(it).audience = Some(vec!["api".into()])) as Change,
            "token-verification-failed",
        ),
        (
            "the party is another",
            |it| session_claims(it).parties = vec!["https://b.test".into()],
            "token-invalid-authorized-parties",
        ),
        (
            "the issuer is another",
            |it| it.issuers[0].policy.names = vec!["https://b.test".into()],
            "token-invalid-issuer",
        ),
        ("the issuer is gone", |it| drop(it.issuers.remove(0)), "token-invalid-issuer"),
        (
            "the algorithm is not allowed",
            |it| {
                let es256 = [Algorithm::Es256];
                it.issuers[0].policy.algorithms = Algorithms::among(&es256).unwrap();
            },
            "token-invalid-algorithm",
        ),
        (
            "it may live for half a minute",
            |it| session_claims(it).max_lifetime = Some(Duration::from_secs(30)),
            "token-lifetime-exceeded",
        ),
    ] {
        let mut settings = usual(&scene.upstream, &scene.clerk_keys, &scene.oidc_keys);
        change(&mut settings);
        let proxy = Proxy::start_with(settings, scene.clock.clone()).await;
        for _ in 0..2 {
            let answer = proxy.get("/api", &token).await;
            assert_eq!((answer.status, answer.reason().as_str()), (401, reason), "{what}");
        }
        assert!(scene.upstream.seen().is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "local")]
async fn cch_05_a_token_that_was_good_for_one_route_is_asked_again_for_another() {
    let scene = Scene::set().await;
    let (member, admin) = (good(), session(json!({"o": {"id": "org_1", "rol": "admin"}})));
    for round in 0..3 {
        let what = format!("round {round}");
        scene.passes(&what, &member).await;
        let want = (403, "scope-insufficient");
        scene.refuses_at("/admin/a", &what, &bearer(&member), want).await;
        scene.passes_lines(&what, "/dashboard/a", &bearer(&member)).await;
        scene.passes_lines(&what, "/admin/a", &bearer(&admin)).await;
        scene.refuses_at("/dashboard/a", &what, &bearer(&admin), want).await;
    }
    let [hits, misses] = look_ups(&scene.proxy).await;
    assert_eq!((hits, misses), (13.0, 2.0));
}

#[tokio::test(flavor = "local")]
async fn cch_06_what_one_issuer_vouched_for_is_no_word_of_anothers() {
    // The two share a key and its name; what they do not share is whom their tokens are for.
    let scene = Scene::with(|it| {
        session_claims(it).audience = Some(vec!["web".into()]);
        it.issuers[1].policy.algorithms = Algorithms::ALL;
    })
    .await;
    let web = session(json!({"aud": "web"}));
    let api = oidc(By::Rs256, json!({"$header": {"alg": "RS256", "kid": "rs_A"}}));
    for round in 0..2 {
        let what = format!("round {round}");
        let seen = scene.passes(&what, &web).await;
        assert_eq!(seen.header("x-clerk-issuer"), Some(CLERK));
        let seen = scene.passes(&what, &api).await;
        assert_eq!(seen.header("x-clerk-issuer"), Some(OIDC));
        assert_eq!(seen.header("x-clerk-user-id"), Some(""), "no user of Clerk's");
        scene.refuses(&what, &session(json!({"aud": "api"})), "token-verification-failed").await;
        let for_web =
            oidc(By::Rs256, json!({"aud": "web", "$header": {"alg": "RS256", "kid": "rs_A"}}));
        scene.refuses(&what, &for_web, "token-verification-failed").await;
    }
}

/// `token` with the letter at `place` changed for one that keeps it well-formed where it can.
fn with_another_letter(token: &str, place: usize) -> String {
    let other = if &token[place..=place] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..place], &token[place + 1..])
}

#[tokio::test(flavor = "local")]
async fn cch_08_a_token_is_remembered_by_every_one_of_its_bytes() {
    let scene = Scene::set().await;
    let token = good();
    scene.passes("the token", &token).await;
    for place in (0..token.len()).step_by(5) {
        let other = with_another_letter(&token, place);
        let answer = scene.proxy.get("/api", &other).await;
        assert_eq!(answer.status, 401, "byte {place}");
    }
    for other in [format!("{token}x"), token[..token.len() - 1].to_owned(), token.to_uppercase()] {
        assert_eq!(scene.proxy.get("/api", &other).await.status, 401);
    }
    assert!(scene.upstream.seen().is_empty());
    let [hits, _] = look_ups(&scene.proxy).await;
    assert_eq!(hits, 0.0, "none of them was found");
    scene.catch_up().await;
    scene.passes("the token", &token).await;
    assert_eq!(look_ups(&scene.proxy).await[0], 1.0);
}

#[tokio::test(flavor = "local")]
async fn cch_09_a_remembered_token_with_another_signature_is_forged() {
    let scene = Scene::set().await;
    let token = good();
    let (input, signature) = token.rsplit_once('.').unwrap();
    scene.passes("the token", &token).await;
    for place in [0, 1, signature.len() / 2, signature.len() - 3, signature.len() - 2] {
        let other = format!("{input}.{}", with_another_letter(signature, place));
        scene.refuses(&format!("letter {place}"), &other, "token-invalid-signature").await;
    }
    let cut = format!("{input}.{}", &signature[..signature.len() - 2]);
    scene.refuses("cut off", &cut, "token-invalid-signature").await;
    scene.refuses("by another key", &session_by_b(json!({})), "token-invalid-signature").await;
    scene.passes("the token", &token).await;
}

#[tokio::test(flavor = "local")]
async fn cch_12_what_was_refused_takes_the_place_of_nothing() {
    let scene = Scene::set().await;
    let token = good();
    let seen = scene.passes("the token", &token).await;
    assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
    let junk = forged(&token);
    let mut sent = String::new();
    for number in 0..1500 {
        let other =
            junk.replacen(&junk[junk.len() - 60..junk.len() - 52], &format!("{number:08}"), 1);
        sent += &format!("GET /api HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {other}\r\n\r\n");
    }
    sent += "GET /api HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answers = client::raw(&scene.proxy.address, sent.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 1501);

    let [hits, misses] = look_ups(&scene.proxy).await;
    scene.catch_up().await;
    scene.passes("the token", &token).await;
    assert_eq!(look_ups(&scene.proxy).await, [hits + 1.0, misses], "it is still remembered");
    time::pause();
    time::sleep(Duration::from_secs(6)).await; // it is counted every 5 s
    let entries = scene.proxy.metric("countersign_token_cache_entries").await;
    assert_eq!(entries, 1.0, "and nothing else is");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn cch_13_a_remembered_token_of_a_revoked_session_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("revoked");
    fs::write(&file, "").unwrap();
    let scene = Scene::with(|settings| settings.revoked = Some(file.clone())).await;
    let (one, two) = (good(), session(json!({"sub": "user_bob", "sid": "sess_2"})));
    for token in [&one, &two] {
        scene.passes("at first", token).await;
        scene.passes("again", token).await;
    }
    for (list, token) in [("sess_1\n", &one), ("user_bob\n", &two)] {
        fs::write(home.path().join("new"), list).unwrap();
        fs::rename(home.path().join("new"), &file).unwrap();
        let out = async || scene.proxy.get("/api", token).await.reason() == "session-revoked";
        let began = time::Instant::now();
        until_every(Duration::from_millis(100), "the list counts", out).await;
        assert!(began.elapsed() <= Duration::from_secs(2), "{list}");
        scene.catch_up().await;
        scene.upstream.take();
        scene.refuses(list, token, "session-revoked").await;
    }
    // The first list is gone: who stands in none is let in again.
    scene.passes("the other", &one).await;
}

#[tokio::test(flavor = "local")]
async fn cch_15_all_who_first_show_a_token_at_once_get_one_answer() {
    let scene = Scene::set().await;
    for (token, want) in [(good(), 200), (forged(&session(json!({"jti": "x"}))), 401)] {
        let mut requests = JoinSet::new();
        for _ in 0..150 {
            let (client, token) = (scene.proxy.client(), token.clone());
            requests.spawn_local(async move { client.bearer(&token).get("/api").await.status });
        }
        assert_eq!(requests.join_all().await, [want; 150]);
    }
    let seen = scene.upstream.take();
    assert_eq!(seen.len(), 150);
    assert!(seen.iter().all(|it| it.header("x-clerk-user-id") == Some(ALICE)));
}

/// A page that opens sends several requests at once, all with a token that nobody came with before; also one that
/// is too large to be kept at hand.
#[tokio::test(flavor = "local")]
async fn a_token_that_several_requests_bring_at_once_is_verified_once() {
    const REQUESTS: usize = 8;
    let scene = Scene::set().await;
    let mut client = H2::open(&scene.proxy.address).await;
    let large = session(json!({"more": "x".repeat(7000)}));
    for (before, token) in [good(), large].iter().enumerate() {
        let head = block(&Ask::get("/api").bearer(token));
        let requests: Vec<u8> = (0..REQUESTS)
            .flat_map(|_| frame(HEADERS, END_STREAM | END_HEADERS, client.stream(), &head))
            .collect();
        assert!(client.send(&requests).await);
        let all = REQUESTS * (before + 1);
        until("all have come", async || scene.upstream.seen().len() == all).await;
        let missed = before + 1;
        assert_eq!(look_ups(&scene.proxy).await, [all - missed, missed].map(|count| count as f64));
    }
}

/// The packages that the program is built of, and their versions.
fn packages() -> Vec<(&'static str, &'static str)> {
    let lock = include_str!("../../../Cargo.lock");
    let entries = lock.split("[[package]]").skip(1);
    let quoted = |entry: &'static str, name: &str| {
        let (_, rest) = entry.split_once(&format!("{name} = \"")).unwrap();
        rest.split_once('"').unwrap().0
    };
    entries.map(|entry| (quoted(entry, "name"), quoted(entry, "version"))).collect()
}

#[test]
fn cch_16_what_remembers_is_no_package_with_a_known_fault() {
    let packages = packages();
    assert!(packages.len() > 50 && packages.iter().any(|(name, _)| *name == "moka"));
    for (name, _) in &packages {
        assert!(
            !["lru", "lru-cache", "lru_time_cache"].contains(name),
            "RUSTSEC-2026-0253: {name}"
        );
    }
}

/// There is no replay cache that could be filled, or fail: a proof of possession is no credential
/// here, and a token may be shown as often as its owner likes until it expires. What is remembered
/// is bounded, and who finds no room in it is verified again.
#[tokio::test(flavor = "local")]
async fn cch_17_no_proof_is_remembered_since_none_is_accepted() {
    let scene = Scene::set().await;
    let proof = session(
        json!({"jti": "1", "htm": "GET", "htu": "http://localhost/api", "$header": {"typ": "dpop+jwt"}}),
    );
    let missing = (401, "session-token-and-uat-missing");
    for lines in [
        format!("DPoP: {proof}\r\n"),
        format!("Authorization: DPoP {}\r\nDPoP: {proof}\r\n", good()),
    ] {
        for _ in 0..2 {
            scene.refuses_lines("a proof", &lines, missing).await;
        }
    }
    scene.refuses("a proof for a token", &proof, "token-invalid").await;
    let token = session(json!({"jti": "once"}));
    for _ in 0..3 {
        scene.passes("one `jti`", &token).await;
    }
}
