//! HDR: what a stranger writes into the header of a token, which is read before anything is known.

use std::fs;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::core::credential::BearerToken;
use countersign::core::jws::UnverifiedToken;
use serde_json::{Value, json};

use super::tokens::{
    A, ALICE, B, By, CLERK, OIDC, Scene, bearer, encode, forged, good, header, oidc, payload,
    rsa_jwk, session, session_by_b, session_with, signature, signed, signed_by_b,
};
use crate::support::Proxy;
use crate::support::key_server::{KeyServer, Reply};

/// The attacker's own server, whose keys verify what the attacker signs.
async fn evil() -> KeyServer {
    KeyServer::start(Reply::json(&json!({"keys": [rsa_jwk(&B, "ins_A")]}).to_string())).await
}

#[tokio::test(flavor = "local")]
async fn hdr_02_no_key_set_is_fetched_from_where_a_token_says() {
    let (scene, evil) = (Scene::set().await, evil().await);
    for name in ["jku", "x5u", "jwks_uri", "iss"] {
        let token = session_by_b(json!({"$header": {name: evil.url("/jwks").to_string()}}));
        scene.refuses(name, &token, "token-invalid-signature").await;
    }
    // One that Clerk has signed may say it, and nobody goes there.
    let token = session(json!({"$header": {"jku": evil.url("/jwks").to_string()}}));
    scene.passes("Clerk's own", &token).await;
    assert_eq!(evil.fetches(), 0);
}

#[tokio::test(flavor = "local")]
async fn hdr_03_nor_from_an_address_that_looks_like_the_issuers_or_is_a_file() {
    let (scene, evil) = (Scene::set().await, evil().await);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("jwks.json");
    fs::write(&file, json!({"keys": [rsa_jwk(&B, "ins_A")]}).to_string()).unwrap();
    let before = scene.clerk_keys.fetches();

    for url in [
        format!("{CLERK}@{}/jwks", evil.address),
        format!("{CLERK}.evil.test/jwks"),
        format!("{CLERK}/redirect?u=http://{}/jwks", evil.address),
        format!("http://{}/jwks#{CLERK}", evil.address),
        format!("file://{}", file.display()),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/".to_owned(),
        format!("http://{}/other", scene.clerk_keys.address),
        "\\\\evil.test\\share".to_owned(),
    ] {
        for name in ["jku", "kid"] {
            let token = session_by_b(json!({"$header": {name: url}}));
            let reason = if name == "kid" { "jwk-kid-mismatch" } else { "token-invalid-signature" };
            scene.refuses(&format!("{name}: {url}"), &token, reason).await;
        }
    }
    assert_eq!(evil.fetches(), 0);
    // Neither did the address of the issuer's own keys change.
    assert!(scene.clerk_keys.fetches() - before <= 1);
    assert!(scene.clerk_keys.last().starts_with("GET /jwks "), "{}", scene.clerk_keys.last());
}

#[tokio::test(flavor = "local")]
async fn hdr_05_a_key_that_a_token_brings_along_verifies_nothing() {
    let scene = Scene::set().await;
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["clerk.a.test".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&pair).unwrap();
    let x5c = STANDARD.encode(certificate.der());
    for own in [
        json!({ "x5c": [x5c] }),
        json!({"x5c": [x5c, x5c], "x5t": "AAAA", "x5t#S256": "AAAA"}),
        json!({ "jwk": rsa_jwk(&B, "ins_A") }),
        json!({"jwk": rsa_jwk(&B, "mine"), "kid": "mine"}),
        json!({"jwks": {"keys": [rsa_jwk(&B, "ins_A")]}}),
    ] {
        let reason =
            if own["kid"] == "mine" { "jwk-kid-mismatch" } else { "token-invalid-signature" };
        let token = session_by_b(json!({ "$header": own }));
        scene.refuses(&format!("{own:.60}"), &token, reason).await;
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_07_the_name_of_a_key_is_never_that_of_a_file() {
    let scene = Scene::set().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ins_A");
    fs::write(&file, json!({"keys": [rsa_jwk(&B, "ins_A")]}).to_string()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"");
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "/proc/self/environ",
        "....//....//dev/null",
        "..%2f..%2fdev%2fnull",
        &file.display().to_string(),
    ] {
        // HS256 with the empty secret that such a file would give.
        let head = header(&json!({"alg": "HS256", "kid": kid}));
        let input = format!("{}.{}", encode(head), encode(payload(&json!({}))));
        let tag = encode(hmac::sign(&key, input.as_bytes()));
        scene.refuses(kid, &format!("{input}.{tag}"), "token-invalid-algorithm").await;
        let token = session_by_b(json!({"$header": {"kid": kid}}));
        scene.refuses(kid, &token, "jwk-kid-mismatch").await;
    }
}

/// How often a token named a key that is not there, and what was done about it.
async fn unknown_kids(proxy: &Proxy) -> f64 {
    let mut sum = 0.0;
    for action in ["refetched", "throttled", "negative_cached"] {
        let line =
            format!(r#"countersign_jwks_unknown_kid_total{{action="{action}",issuer="{CLERK}"}}"#);
        sum += proxy.metric(&line).await;
    }
    sum
}

#[tokio::test(flavor = "local")]
async fn hdr_08_the_name_of_a_key_is_a_word_to_look_up_and_nothing_more() {
    let scene = Scene::set().await;
    let before = scene.clerk_keys.fetches();
    let kids = [
        "' UNION SELECT 'k'-- ",
        "$(id)",
        "`id`",
        "*)(uid=*",
        "{{7*7}}",
        "${jndi:ldap://e}",
        "\"},{\"level\":\"error",
        "<script>alert(1)</script>",
        "%s%n",
    ];
    for kid in kids {
        let token = session(json!({"$header": {"kid": kid}}));
        for _ in 0..2 {
            scene.refuses(kid, &token, "jwk-kid-mismatch").await;
        }
    }
    // What could be a name is looked for; all of them share one fetch. What has a space is none.
    assert_eq!(unknown_kids(&scene.proxy).await, 2.0 * (kids.len() - 1) as f64);
    assert_eq!(scene.clerk_keys.fetches() - before, 1);
    // Each line of the log was read as JSON; there the name is, in a text.
    assert!(scene.proxy.logged().contains(r#"\"},{\"level\":\"error"#), "it is escaped");
    let metrics = scene.proxy.admin("/metrics").await.text();
    assert!(kids.iter().all(|kid| !metrics.contains(kid)), "no label comes from a request");
}

#[tokio::test(flavor = "local")]
async fn hdr_09_a_name_with_line_breaks_or_escapes_writes_no_line_of_its_own() {
    let scene = Scene::set().await;
    let before = scene.clerk_keys.fetches();
    for kid in [
        "a\r\nlevel=info",
        "a\n{\"level\":\"ERROR\"}",
        "\u{0}",
        "\u{1b}[2J",
        "ins_A\u{0}",
        "\u{202e}A_sni",
        "\u{2028}",
        "ins_A\u{7f}",
        "ins_\u{410}",
    ] {
        let token = session(json!({"$header": {"kid": kid}}));
        let lines = scene.proxy.logged().lines().count();
        scene.refuses(&format!("{kid:?}"), &token, "jwk-kid-mismatch").await;
        assert_eq!(scene.proxy.logged().lines().count() - lines, 1, "{kid:?}");
    }
    let logged = scene.proxy.logged();
    assert!(!logged.contains(['\u{1b}', '\u{0}', '\u{202e}', '\u{2028}']), "none of it is logged");
    assert!(!logged.contains("level=info"), "none of it is logged");
    assert_eq!(scene.clerk_keys.fetches(), before, "no key could have such a name");
    assert_eq!(unknown_kids(&scene.proxy).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn hdr_10_a_name_is_a_short_text() {
    let scene = Scene::set().await;
    for kid in [
        json!(1),
        json!([]),
        json!(["ins_A"]),
        json!({}),
        json!({"ins_A": 1}),
        json!(""),
        json!(" ins_A"),
        json!(true),
        json!("x".repeat(129)),
        json!("x".repeat(8000)),
    ] {
        let token = session(json!({"$header": {"kid": kid}}));
        scene.refuses(&format!("{:.40}", kid.to_string()), &token, "jwk-kid-mismatch").await;
    }
    let null = signed(r#"{"alg":"RS256","kid":null}"#, payload(&json!({})));
    scene.refuses("null", &null, "jwk-kid-mismatch").await;
    scene.refuses("none", &session(json!({"$header": {"kid": null}})), "jwk-kid-mismatch").await;
    // 1 MiB does not get so far; whoever takes it apart finds no name in it.
    let giant = session(json!({"$header": {"kid": "x".repeat(1 << 20)}}));
    scene.refuses_unread("1 MiB", &bearer(&giant), 431).await;
    let parsed = UnverifiedToken::parse(BearerToken::of(&giant)).unwrap();
    assert_eq!(parsed.kid(), None);
}

#[tokio::test(flavor = "local")]
async fn hdr_11_keys_of_one_name_are_each_their_issuers() {
    let set = |pair| json!({"keys": [rsa_jwk(pair, "k1")]}).to_string();
    let clerk = KeyServer::start(Reply::json(&set(&A))).await;
    let other = KeyServer::start(Reply::json(&set(&B))).await;
    let scene = Scene::among(clerk, other, |_| ()).await;
    let head = header(&json!({"kid": "k1"}));
    let of_clerk = payload(&json!({}));
    let of_other =
        json!({"iss": OIDC, "aud": "api", "sub": "bob", "exp": 1_700_000_060}).to_string();

    // Good ones first, so that both are remembered.
    scene.passes("Clerk's by Clerk", &signed(&head, &of_clerk)).await;
    scene.passes("the other's by the other", &signed_by_b(&head, &of_other)).await;
    for (what, token) in [
        ("Clerk's by the other", signed_by_b(&head, &of_clerk)),
        ("the other's by Clerk", signed(&head, &of_other)),
    ] {
        scene.refuses(what, &token, "token-invalid-signature").await;
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_13_an_extension_that_must_be_understood_is_refused() {
    let scene = Scene::set().await;
    for extension in [
        json!({"crit": ["x"], "x": 1}),
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": ["http://openbanking.org.uk/iat"], "http://openbanking.org.uk/iat": 1}),
    ] {
        let token = session(json!({ "$header": extension }));
        scene.refuses(&extension.to_string(), &token, "token-invalid").await;
        let mut extension = extension;
        extension["alg"] = "ES256".into();
        let token = oidc(By::Es256, json!({ "$header": extension }));
        scene.refuses("the other issuer's", &token, "token-invalid").await;
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_14_and_so_is_a_list_of_them_that_is_none() {
    let scene = Scene::set().await;
    for crit in [
        json!([]),
        json!("exp"),
        json!([1]),
        json!(["alg"]),
        json!(["x", "x"]),
        json!(["absent"]),
        json!({}),
        json!(true),
        json!([""]),
        json!([["x"]]),
    ] {
        let token = session(json!({"$header": {"crit": crit, "x": 1}}));
        scene.refuses(&crit.to_string(), &token, "token-invalid").await;
    }
    let null = signed(r#"{"alg":"RS256","kid":"ins_A","crit":null}"#, payload(&json!({})));
    scene.refuses("null", &null, "token-invalid").await;
}

/// Clerk's way where nothing says that `b64` must be understood: RFC 7797 §6 wants `crit` beside
/// it, so it is a header like any other, and what was signed are the letters that were sent.
#[tokio::test(flavor = "local")]
async fn hdr_15_what_is_verified_is_what_is_read_whatever_b64_says() {
    let scene = Scene::set().await;
    let raw = payload(&json!({}));
    let undotted = r#"{"sub":"user_root"}"#;
    for (what, changes, verifies) in [
        ("with crit", json!({"b64": false, "crit": ["b64"]}), false),
        ("true, with crit", json!({"b64": true, "crit": ["b64"]}), false),
        ("without crit", json!({"b64": false}), true),
        ("true, without crit", json!({"b64": true}), true),
        ("no truth value, without crit", json!({"b64": "false"}), true),
    ] {
        let head = header(&changes);
        let as_sent = signed(&head, &raw);
        if verifies {
            scene.passes(what, &as_sent).await;
        } else {
            scene.refuses(what, &as_sent, "token-invalid").await;
        }
        // Signed is the payload as it is, as RFC 7797 §3 has it.
        let signature = signature(&format!("{}.{raw}", encode(&head)));
        let encoded = format!("{}.{}.{signature}", encode(&head), encode(&raw));
        let reason = if verifies { "token-invalid-signature" } else { "token-invalid" };
        scene.refuses(what, &encoded, reason).await;
        let unencoded = format!("{}.{undotted}.{signature}", encode(&head));
        scene.refuses(what, &unencoded, "token-invalid").await;
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_17_a_token_that_was_made_for_another_purpose_is_refused() {
    let scene = Scene::set().await;
    // What becomes of a session, and of a token of the other issuer's, whose access tokens count.
    for (typ, of_clerk, of_other) in [
        (json!("JWT"), "", ""),
        (json!(null), "", ""), // taken off
        (json!("at+jwt"), "token-type-mismatch", ""),
        (json!("application/at+jwt"), "token-type-mismatch", ""),
        (json!("dpop+jwt"), "token-invalid", "token-invalid"),
        (json!("logout+jwt"), "token-invalid", "token-invalid"),
        (json!("secevent+jwt"), "token-invalid", "token-invalid"),
        (json!("token-introspection+jwt"), "token-invalid", "token-invalid"),
        (json!("JWE"), "token-invalid", "token-invalid"),
        (json!("JWT "), "token-invalid", "token-invalid"),
        (json!(""), "token-invalid", "token-invalid"),
        (json!(5), "token-invalid", "token-invalid"),
        (json!(["JWT"]), "token-invalid", "token-invalid"),
    ] {
        for (token, reason) in [
            (session(json!({"$header": {"typ": typ}})), of_clerk),
            (oidc(By::Es256, json!({"$header": {"typ": typ}})), of_other),
        ] {
            if reason.is_empty() {
                scene.passes(&typ.to_string(), &token).await;
            } else {
                scene.refuses(&typ.to_string(), &token, reason).await;
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_18_clerks_other_tokens_are_no_sessions_though_one_key_signs_them_all() {
    let scene = Scene::set().await;
    for (what, changes) in [
        ("a template's", json!({"$header": {"cat": "cl_B7d4PD222AAA"}})),
        ("a machine's", json!({"$header": {"cat": "cl_B7d4PD333AAA"}})),
        ("a machine, by its subject", json!({"sub": "mch_1"})),
        ("an access token", json!({"$header": {"typ": "at+jwt"}})),
        ("a category nobody knows", json!({"$header": {"cat": "cl_X"}})),
        ("a category that is no text", json!({"$header": {"cat": 1}})),
        ("no session, by its claims", json!({"sid": null})),
        ("a template of an older instance", json!({"sid": null, "$header": {"cat": null}})),
    ] {
        scene.refuses(what, &session(changes), "token-type-mismatch").await;
    }
    for cat in [json!("cl_B7d4PD111AAA"), json!("cl_I7d4PD111III"), json!(null)] {
        scene.passes(&cat.to_string(), &session(json!({"$header": {"cat": cat}}))).await;
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_19_headers_that_nobody_knows_yet_change_nothing() {
    let scene = Scene::set().await;
    for changes in [
        json!({"oiat": 1}),
        json!({"foo": {}}),
        json!({"x5t": "AAAA", "nonce": "1", "cnf": {"jkt": "a"}}),
        json!({"ALG": "none", "alg ": "none"}),
        json!({"zip": "DEF", "enc": "A256GCM"}),
    ] {
        let seen = scene.passes(&changes.to_string(), &session(json!({"$header": changes}))).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
    }
}

#[tokio::test(flavor = "local")]
async fn hdr_20_a_token_within_a_token_is_not_looked_at() {
    let scene = Scene::set().await;
    let inner = good();
    for head in [header(&json!({"cty": "JWT"})), header(&json!({}))] {
        for (what, body) in [
            ("a token", inner.clone()),
            ("a token in quotes", json!(inner).to_string()),
            ("a list with a token", json!([inner]).to_string()),
        ] {
            scene.refuses(what, &signed(&head, body), "token-invalid").await;
            scene.refuses(what, &signed_by_b(&head, &inner), "token-invalid").await;
        }
    }
    let within = signed_by_b(header(&json!({"cty": "JWT"})), json!({"jwt": inner}).to_string());
    scene.refuses("a member with a token", &within, "token-invalid-issuer").await;
}

#[tokio::test(flavor = "local")]
async fn hdr_22_a_hundred_thousand_levels_are_refused_and_harmless() {
    let scene = Scene::set().await;
    let deep = |open: &str, close: &str, levels: usize| {
        format!(r#"{{"a":{}1{}}}"#, open.repeat(levels), close.repeat(levels))
    };
    for (what, text) in [
        ("lists", deep("[", "]", 5000)),
        ("objects", deep(r#"{"a":"#, "}", 1600)),
        ("lists that do not end", "[".repeat(11_000)),
        ("objects that do not end", r#"{"a":"#.repeat(2200)),
    ] {
        scene.refuses(what, &signed(&text, payload(&json!({}))), "token-invalid").await;
        scene.refuses(what, &signed(header(&json!({})), &text), "token-invalid").await;
    }
    let within = session_with(&[], &format!(r#""x":{}1{}"#, "[".repeat(4000), "]".repeat(4000)));
    scene.refuses("in a good token", &within, "token-invalid").await;
    // Over the limit of a token, and over that of a head.
    let over = signed(deep("[", "]", 7000), payload(&json!({})));
    assert!((16_385..30_000).contains(&over.len()), "{}", over.len());
    scene.refuses("over the limit", &over, "token-invalid").await;
    let giant = signed(deep("[", "]", 100_000), payload(&json!({})));
    scene.refuses_unread("200 KB", &bearer(&giant), 431).await;
    assert!(UnverifiedToken::parse(BearerToken::of(&giant)).is_err());
    scene.passes("a good one, after them", &good()).await;
}

#[tokio::test(flavor = "local")]
async fn hdr_23_two_thousand_members_cost_nothing() {
    let scene = Scene::set().await;
    // Members of an object are kept in order, not by a hash that could be made to collide; so all
    // that can be sent is many of them.
    let mut many: Value = serde_json::from_str(&header(&json!({}))).unwrap();
    for number in 0..1200 {
        many[format!("{number:x}")] = 0.into();
    }
    let token = signed(many.to_string(), payload(&json!({})));
    assert!((12_000..16_384).contains(&token.len()), "{}", token.len());
    scene.passes("1,200 members", &token).await;
    scene.refuses("1,200 members, forged", &forged(&token), "token-invalid-signature").await;
    let twice: String = (0..1200).map(|it| format!(r#","{:x}":0"#, it % 1199)).collect();
    let head = header(&json!({})).replacen('}', &format!("{twice}}}"), 1);
    scene.refuses("one of them twice", &signed(head, payload(&json!({}))), "token-invalid").await;
}
