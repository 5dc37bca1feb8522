//! SIG: what proves to a backend that the proxy said it, and what would prove too much.

use std::fs;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::CommandFactory;
use countersign::cli::Cli;
use countersign::config::Settings;
use countersign::core::access::Access;
use countersign::core::assertion::AssertionPolicy;
use countersign::core::identity::{Field, Source};
use countersign::core::route::{Case, Routes};
use countersign::core::time::UnixTime;
use countersign::dev::verifier::Verifier;
use countersign::signing::{KeysDir, Secret};
use http::{HeaderName, Method};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header,
};
use serde_json::{Value, json};

use super::tokens::{
    ALICE, NOW, Scene, bearer, decode as base64url, encode, good, mistakes, session,
};
use crate::signature::verify;
use crate::support::Proxy;
use crate::support::settings::{SECRET, route};
use crate::support::upstream::Seen;

const HEADER: &str = "x-clerk-assertion";

/// An assertion for this backend is sent too.
fn for_backend(settings: &mut Settings, audience: &str) {
    let claim = |field: &Field| {
        Some((AssertionPolicy::claim_name(*field)?.to_owned(), Source::Field(*field)))
    };
    settings.signing.assertion = Some(AssertionPolicy {
        header: HeaderName::from_static(HEADER),
        audience: audience.to_owned(),
        claims: Field::DEFAULT.iter().filter_map(claim).collect(),
    });
}

async fn asserting(audience: &str) -> Scene {
    Scene::with(|settings| for_backend(settings, audience)).await
}

/// What is asserted of whoever has this token.
async fn asserted(scene: &Scene, token: &str) -> String {
    assert_eq!(scene.proxy.get("/api", token).await.status, 200);
    scene.upstream.take().remove(0).header(HEADER).unwrap().to_owned()
}

async fn key_set(proxy: &Proxy) -> JwkSet {
    serde_json::from_str(&proxy.admin("/.well-known/jwks.json").await.text()).unwrap()
}

/// Verifies as a backend called `audience` does that pins our name and our key set.
fn backend(assertion: &str, set: &JwkSet, audience: &str, dates: Dates) -> Result<Value, String> {
    let kid = decode_header(assertion).map_err(|it| it.to_string())?.kid.ok_or("no kid")?;
    let key = set.find(&kid).ok_or("no such key")?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["countersign"]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "nbf"]);
    validation.validate_exp = dates == Dates::Checked;
    validation.validate_nbf = dates == Dates::Checked;
    validation.leeway = 5;
    let key = DecodingKey::from_jwk(key).map_err(|it| it.to_string())?;
    decode::<Value>(assertion, &key, &validation).map(|it| it.claims).map_err(|it| it.to_string())
}

/// Whether the dates of an assertion count; the library knows only the time of the system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dates {
    Checked,
    AsideForNow,
}

#[tokio::test(flavor = "local")]
async fn sig_02_what_we_assert_of_a_caller_lets_nobody_in() {
    let scene = asserting("orders").await;
    let assertion = asserted(&scene, &good()).await;
    scene.catch_up().await;
    scene.refuses("an assertion", &assertion, "token-invalid-issuer").await;
    // Nor can settings make it do so.
    for lines in [
        "[[issuer]]\nurl = \"countersign\"\njwks_url = \"https://a.test/k\"\naudience = \"any\"",
        "clerk.issuer = [\"countersign\"]",
    ] {
        assert!(!mistakes(lines).is_empty(), "{lines}");
    }
}

#[tokio::test(flavor = "local")]
async fn sig_03_what_was_said_to_one_backend_is_no_word_to_another() {
    let scene = asserting("orders").await;
    let assertion = asserted(&scene, &good()).await;
    let set = key_set(&scene.proxy).await;
    let claims = backend(&assertion, &set, "orders", Dates::AsideForNow).unwrap();
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!("orders"), &json!(ALICE)));
    assert!(claims["aud"].is_string(), "one backend, not a list of them");
    for other in ["billing", "order", "orders2", "ORDERS", ""] {
        let answer = backend(&assertion, &set, other, Dates::AsideForNow);
        assert!(answer.is_err(), "{other}: {answer:?}");
    }

    // And what is signed is one request: to this host, with this method, for this path.
    assert_eq!(scene.proxy.get("/api", &good()).await.status, 200);
    let seen = scene.upstream.take().remove(0);
    let verified = |seen: &Seen| verify(seen, &Verifier::hmac(SECRET), scene.clock.now());
    verified(&seen).unwrap();
    for change in [
        (|it: &mut Seen| drop(it.headers.insert("host", "other.test".parse().unwrap())))
            as fn(&mut Seen),
        |it| it.method = "DELETE".to_owned(),
        |it| it.target = "/admin".to_owned(),
        |it| drop(it.headers.insert("x-clerk-user-id", "user_root".parse().unwrap())),
        |it| drop(it.headers.insert("x-clerk-org-role", "org:admin".parse().unwrap())),
        |it| drop(it.headers.remove("x-clerk-actor-id")),
        |it| assert!(it.headers.append("x-clerk-user-id", "user_root".parse().unwrap())),
        |it| drop(it.headers.insert("x-clerk-is-admin", "true".parse().unwrap())),
    ] {
        let mut changed = seen.clone();
        change(&mut changed);
        assert!(verified(&changed).is_err(), "{changed:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn sig_04_what_was_said_a_while_ago_or_will_be_is_not_believed() {
    let scene = asserting("orders").await;
    assert_eq!(scene.proxy.get("/api", &good()).await.status, 200);
    let seen = scene.upstream.take().remove(0);
    for (second, believed) in
        [(-6, false), (-5, true), (0, true), (34, true), (35, false), (3600, false)]
    {
        let now = UnixTime::from_secs(NOW + second);
        let answer = verify(&seen, &Verifier::hmac(SECRET), now);
        assert_eq!(answer.is_ok(), believed, "second {second}: {answer:?}");
    }

    // The library of a backend goes by its own clock, which is long after `NOW`.
    let set = key_set(&scene.proxy).await;
    let old = seen.header(HEADER).unwrap();
    assert!(backend(old, &set, "orders", Dates::AsideForNow).is_ok());
    assert!(backend(old, &set, "orders", Dates::Checked).is_err(), "from years ago");
    let future = 4_000_000_000;
    scene.clock.set(UnixTime::from_secs(future));
    let token = session(json!({"iat": future, "nbf": future, "exp": future + 60}));
    // The keys are years old by then; whoever needs them has them fetched.
    let answer = scene.proxy.get("/api", &token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let early = scene.upstream.take().remove(0).header(HEADER).unwrap().to_owned();
    assert!(backend(&early, &set, "orders", Dates::AsideForNow).is_ok());
    assert!(backend(&early, &set, "orders", Dates::Checked).is_err(), "from the future");
}

#[tokio::test(flavor = "local")]
async fn sig_05_another_proxys_word_is_not_ours() {
    let (ours, evil) = (
        asserting("orders").await,
        Scene::with(|settings| {
            for_backend(settings, "orders");
            settings.signing.secret =
                Some((Secret::new(b"the attacker's own secret, 32 bytes".to_vec()), None));
        })
        .await,
    );
    let set = key_set(&ours.proxy).await;
    let forged = asserted(&evil, &good()).await;
    assert!(backend(&forged, &key_set(&evil.proxy).await, "orders", Dates::AsideForNow).is_ok());
    assert!(backend(&forged, &set, "orders", Dates::AsideForNow).is_err(), "of another's key");
    // Under the name of our key, too.
    let kid = set.keys[0].common.key_id.clone().unwrap();
    let (head, rest) = forged.split_once('.').unwrap();
    let mut head: Value = serde_json::from_slice(&base64url(head)).unwrap();
    head["kid"] = kid.into();
    let renamed = format!("{}.{rest}", encode(head.to_string()));
    assert!(backend(&renamed, &set, "orders", Dates::AsideForNow).is_err(), "of our key's name");

    assert_eq!(evil.proxy.get("/api", &good()).await.status, 200);
    let seen = evil.upstream.take().remove(0);
    assert!(verify(&seen, &Verifier::hmac(SECRET), evil.clock.now()).is_err());
}

#[tokio::test(flavor = "local")]
async fn sig_06_all_that_is_signed_is_sent_and_all_that_is_sent_of_a_caller_is_signed() {
    let scene = Scene::set().await;
    let verifier = Verifier::hmac(SECRET);
    for (method, path, token) in [
        (Method::GET, "/api", Some(good())),
        (
            Method::POST,
            "/api/a?b=c",
            Some(session(json!({"email": "ålice@a.test", "roles": ["a", ""]}))),
        ),
        (Method::PUT, "/api/%61%7e", Some(session(json!({"o": null, "sub": "user_\u{440}"})))),
        (Method::DELETE, "/public/a", Some(good())),
        (Method::GET, "/optional/a", None),
        (Method::HEAD, "/optional/a", Some(session(json!({"act": {"sub": "user_admin"}})))),
        (Method::OPTIONS, "/api", Some(session(json!({"it": {"a": [1, null, " "]}, "roles": []})))),
    ] {
        let client = scene.proxy.client().header("x-clerk-user-id", "user_root");
        let client = match &token {
            Some(token) => client.bearer(token),
            None => client,
        };
        let case = format!("{method} {path}");
        assert_eq!(client.send(method, path, "").await.status, 200, "{case}");
        let seen = scene.upstream.take().remove(0);
        verify(&seen, &verifier, scene.clock.now()).expect(&case);
        let is_ours = |name: &&str| name.starts_with("x-clerk-");
        let told: Vec<_> = seen.headers.keys().map(HeaderName::as_str).filter(is_ours).collect();
        let input = seen.header("signature-input").unwrap();
        let signed: Vec<_> = input.split('"').filter(is_ours).collect();
        assert_eq!(told.len(), signed.len(), "{case}");
        assert!(told.iter().all(|name| signed.contains(name)), "{case}: {told:?} {signed:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn sig_09_a_weaker_algorithm_is_not_taken_for_ours() {
    let scene = asserting("orders").await;
    let assertion = asserted(&scene, &good()).await;
    let set = key_set(&scene.proxy).await;
    let published = scene.proxy.admin("/.well-known/jwks.json").await.json();
    let [_, claims, _] = assertion.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let kid = decode_header(&assertion).unwrap().kid.unwrap();
    let none = encode(json!({"alg": "none", "kid": kid, "typ": "JWT"}).to_string());
    let jwk = &published["keys"][0];
    let point =
        [&[4], &*base64url(jwk["x"].as_str().unwrap()), &*base64url(jwk["y"].as_str().unwrap())];
    let body: Value = serde_json::from_slice(&base64url(claims)).unwrap();
    let hmac = |secret: &[u8]| {
        let header = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &body, &EncodingKey::from_secret(secret)).unwrap()
    };
    for (what, forged) in [
        ("none", format!("{none}.{claims}.")),
        (
            "none, with a signature",
            format!("{none}.{claims}.{}", assertion.rsplit_once('.').unwrap().1),
        ),
        ("HS256 with the public key", hmac(&point.concat())),
        ("HS256 with the key set", hmac(published.to_string().as_bytes())),
        ("HS256 with nothing", hmac(b"")),
    ] {
        let answer = backend(&forged, &set, "orders", Dates::AsideForNow);
        assert!(answer.is_err(), "{what}: {answer:?}");
    }

    // The same of the signature of a request: its public key is no secret.
    let signing = |secret: Option<Vec<u8>>| {
        Scene::with(move |it| it.signing.secret = secret.map(|it| (Secret::new(it), None)))
    };
    let honest = signing(None).await;
    let published = honest.proxy.admin("/.well-known/jwks.json").await.json();
    let public = base64url(published["keys"][0]["x"].as_str().unwrap());
    let evil = signing(Some(public.clone())).await;
    assert_eq!(evil.proxy.get("/api", &good()).await.status, 200);
    let forged = evil.upstream.take().remove(0);
    assert!(verify(&forged, &Verifier::hmac(&public), evil.clock.now()).is_ok());
    let verifier = Verifier::ed25519(&public.try_into().unwrap());
    let answer = verify(&forged, &verifier, evil.clock.now());
    assert!(answer.as_ref().is_err_and(|it| it.contains("hmac-sha256")), "{answer:?}");
    assert_eq!(honest.proxy.get("/api", &good()).await.status, 200);
    let sound = honest.upstream.take().remove(0);
    assert!(verify(&sound, &verifier, honest.clock.now()).is_ok());
}

#[tokio::test(flavor = "local")]
async fn sig_11_no_private_key_is_to_be_read_anywhere() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let seed = pair.seed().unwrap();
    let seed = seed.as_be_bytes().unwrap();
    let seed: &[u8] = seed.as_ref();
    let der = pair.to_pkcs8v1().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("one.pem"), &pem).unwrap();
    let mut shown = String::new();
    let scene = Scene::with(|settings| {
        for_backend(settings, "orders");
        settings.signing.keys = Some(KeysDir { path: home.path().to_owned(), active: None });
        settings.clerk_api = Some(crate::support::settings::clerk_api("127.0.0.1:1"));
        shown = format!("{settings:?} {settings:#?}");
    })
    .await;
    assert_eq!(scene.proxy.get("/api", &good()).await.status, 200);
    let forwarded = format!("{:?}", scene.upstream.take());
    let mut told = vec![shown, forwarded, scene.proxy.logged()];
    for path in [
        "/status",
        "/metrics",
        "/.well-known/jwks.json",
        "/readyz",
        "/livez",
        "/config",
        "/debug",
        "/env",
        "/",
    ] {
        told.push(scene.proxy.admin(path).await.text());
    }
    told.push(scene.proxy.get("/api", "junk").await.text());
    told.push(Cli::command().render_long_help().to_string());

    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let secrets = [
        STANDARD.encode(seed),
        encode(seed),
        hex(seed),
        format!("{seed:?}"),
        STANDARD.encode(der.as_ref()),
        String::from_utf8(SECRET.to_vec()).unwrap(),
        STANDARD.encode(SECRET),
        encode(SECRET),
        hex(SECRET),
        format!("{SECRET:?}"),
        "hunter2".to_owned(),
        "PRIVATE KEY".to_owned(),
    ];
    for secret in secrets {
        let place = told.iter().position(|text| text.contains(&secret));
        assert_eq!(place, None, "it stands in {:.400}", told[place.unwrap_or_default()]);
    }
}

#[tokio::test(flavor = "local")]
async fn sig_13_the_key_set_is_public_parts_alone_and_on_the_admin_listener_alone() {
    let scene = Scene::with(|settings| {
        for_backend(settings, "orders");
        settings.signing.secret = None; // so that a key for requests is made too
        settings.proxy.routes =
            Routes::new(vec![route("/public/**", Access::Public)], Case::Sensitive);
    })
    .await;
    const PLACE: &str = "/.well-known/jwks.json";
    let set = scene.proxy.admin(PLACE).await.json();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        for member in &members {
            let public = ["alg", "crv", "kid", "kty", "use", "x", "y", "key_ops"].contains(member);
            assert!(public, "{member} in {key}");
        }
    }
    // To clients it is a path of the backend's, and asks who they are.
    let missing = (401, "session-token-and-uat-missing");
    for path in [PLACE, "/metrics", "/status", "/livez", "/readyz"] {
        scene.refuses_at(path, path, "", missing).await;
        assert_eq!(
            scene.proxy.get(path, &good()).await.text(),
            "ok",
            "{path}: the backend's answer"
        );
        assert_eq!(scene.upstream.take()[0].target, path);
        scene.catch_up().await;
    }
    for path in ["/public/..%2f.well-known/jwks.json", "/public/../.well-known/jwks.json"] {
        assert_eq!(scene.send(path, "").await.status, 400, "{path}");
    }
    // On the admin listener it is read, and nothing else is there under another spelling.
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let client = crate::support::Client::to(&scene.proxy.admin);
        let answer = client.send(method.clone(), PLACE, "").await;
        assert!([404, 405].contains(&answer.status), "{method}: {}", answer.status);
    }
    for path in [
        "/.well-known/",
        "/.well-known/jwks.json/..",
        "/.well-known/..%2fstatus",
        "/.well-known/jwks",
    ] {
        assert_eq!(scene.proxy.admin(path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "local")]
async fn sig_14_what_is_said_is_of_the_token_that_was_shown() {
    let scene = asserting("orders").await;
    let set = key_set(&scene.proxy).await;
    let claims = async |token: &str| {
        let assertion = asserted(&scene, token).await;
        backend(&assertion, &set, "orders", Dates::AsideForNow).unwrap()
    };
    let of =
        |org: &str, role: &str| session(json!({"o": {"id": org, "rol": role}, "exp": NOW + 600}));
    let tokens = [of("org_1", "admin"), of("org_1", "member"), of("org_2", "member"), good()];
    for second in [0, 20, 70] {
        scene.at(second);
        for (token, org, role) in [
            (&tokens[0], "org_1", "org:admin"),
            (&tokens[1], "org_1", "org:member"),
            (&tokens[2], "org_2", "org:member"),
            (&tokens[0], "org_1", "org:admin"),
        ] {
            let said = claims(token).await;
            assert_eq!(said["sub"], ALICE);
            assert_eq!((&said["org_id"], &said["org_role"]), (&json!(org), &json!(role)));
            let age = NOW + second - said["iat"].as_i64().unwrap();
            assert!((0..=50).contains(&age), "second {second}: {age} s old");
        }
    }
    // A session that was renewed is told by its new token.
    let renewed = session(json!({"exp": NOW + 600, "o": null, "jti": "new"}));
    assert_eq!(claims(&renewed).await.get("org_id"), None);
    // None is said of nobody, whatever a client says of itself.
    let lines = format!("X-Clerk-Assertion: {}\r\n", asserted(&scene, &tokens[0]).await);
    let answer = scene.send("/public/a", &lines).await;
    assert_eq!((answer.status, scene.upstream.take()[0].header(HEADER)), (200, Some("")));
    assert_eq!(scene.send("/api", &bearer(&good())).await.status, 401, "it has expired by now");
}
