//! The assertion, as a backend verifies it that knows the proxy's key set and nothing else; and
//! keys of ours that change under load.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::core::access::Access;
use countersign::core::assertion::AssertionPolicy;
use countersign::core::identity::Field;
use countersign::core::identity::Source;
use countersign::core::route::{Case, Routes};
use countersign::core::time::UnixTime;
use countersign::signing::KeysDir;
use http::HeaderName;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use tokio::time::{self, Instant};

use crate::support::settings::route;
use crate::support::{Issuer, Proxy, Upstream, settings};

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const HEADER: &str = "x-clerk-assertion";

fn policy() -> AssertionPolicy {
    let claim = |field: &Field| {
        Some((AssertionPolicy::claim_name(*field)?.to_owned(), Source::Field(*field)))
    };
    AssertionPolicy {
        header: HeaderName::from_static(HEADER),
        audience: "orders".into(),
        claims: Field::DEFAULT.iter().filter_map(claim).collect(),
    }
}

fn asserting(issuer: &Issuer, upstream: &Upstream) -> Settings {
    let mut settings = settings(issuer, upstream);
    settings.signing.assertion = Some(policy());
    settings.proxy.routes = Routes::new(vec![route("/public/**", Access::Public)], Case::Sensitive);
    settings
}

/// A backend's verifier: it fetches the key set and keeps it, for 60 s, and asks again for a key
/// that it has not, but not within 30 s of the last time. So the library most used of Node does.
struct Verifier<'a> {
    proxy: &'a Proxy,
    kept: RefCell<Option<(Instant, JwkSet)>>,
}

impl<'a> Verifier<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        Self { proxy, kept: RefCell::new(None) }
    }

    async fn refresh(&self) {
        let set = self.proxy.admin("/.well-known/jwks.json").await.text();
        *self.kept.borrow_mut() = Some((Instant::now(), serde_json::from_str(&set).unwrap()));
    }

    fn age(&self) -> Duration {
        self.kept.borrow().as_ref().map_or(Duration::MAX, |(then, _)| then.elapsed())
    }

    fn has(&self, kid: &str) -> bool {
        self.kept.borrow().as_ref().is_some_and(|(_, set)| set.find(kid).is_some())
    }

    /// Verifies everything but the dates, which are of the test's clock, and returns the claims.
    async fn verify(&self, assertion: &str) -> Result<Value, String> {
        let header = decode_header(assertion).map_err(|error| error.to_string())?;
        let kid = header.kid.ok_or("no kid")?;
        if self.age() > Duration::from_secs(60)
            || !self.has(&kid) && self.age() > Duration::from_secs(30)
        {
            self.refresh().await;
        }
        let kept = self.kept.borrow();
        let key = kept.as_ref().unwrap().1.find(&kid).ok_or(format!("no key {kid}"))?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&["orders"]);
        validation.set_issuer(&["countersign"]);
        validation.validate_exp = false;
        let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
        let decoded = decode::<Value>(assertion, &key, &validation);
        decoded.map(|token| token.claims).map_err(|error| error.to_string())
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_verifies_an_assertion_with_the_key_set_of_the_proxy() {
    let clock = Clock::fixed(NOW);
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = asserting(&issuer, &upstream);
    settings.signing.requests = None;
    let proxy = Proxy::start_with(settings, clock.clone()).await;
    let verifier = Verifier::new(&proxy);

    let token = issuer.mint(json!({"act": {"sub": "user_admin"}, "exp": NOW.as_secs() + 300}));
    assert_eq!(proxy.get("/", &token).await.status, 200);
    let seen = upstream.last();
    assert_eq!((seen.header("signature"), seen.header("signature-input")), (None, None));
    let assertion = seen.header(HEADER).unwrap();
    let header = decode_header(assertion).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (jsonwebtoken::Algorithm::ES256, Some("JWT")));
    let now = NOW.as_secs();
    assert_eq!(
        verifier.verify(assertion).await.unwrap(),
        json!({
            "iss": "countersign", "aud": "orders", "iat": now, "nbf": now - 1, "exp": now + 60,
            "principal": "user", "token_type": "session_token",
            "sub": "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR", "sid": "sess_2xHq8aKd3MnP5rTv7XzB9cFhJmW",
            "org_id": "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS", "org_slug": "acme",
            "org_role": "org:admin",
            "org_permissions": [
                "org:dashboard:manage", "org:dashboard:read", "org:teams:read",
            ],
            "act": {"sub": "user_admin"},
        })
    );

    // Somebody else's assertion, and one of the client's own making, are not passed on.
    for forged in ["root", assertion] {
        let answer = proxy.client().header(HEADER, forged).get("/public/x").await;
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.last().header(HEADER), Some(""), "nobody is asserted");
    }
    // SIG-02: what we assert of a caller lets nobody in.
    let answer = proxy.get("/", assertion).await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "token-invalid-issuer"));
}

#[tokio::test(flavor = "local")]
async fn an_assertion_is_made_once_a_token_and_again_in_time() {
    let clock = Clock::fixed(NOW);
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(asserting(&issuer, &upstream), clock.clone()).await;
    let mint = |user: &str| issuer.mint(json!({"sub": user, "exp": NOW.as_secs() + 80}));
    let (one, two) = (mint("user_1"), mint("user_2"));
    let verifier = Verifier::new(&proxy);
    let asserted = async |token: &str, at: i64| {
        clock.set(UnixTime::from_secs(NOW.as_secs() + at));
        assert_eq!(proxy.get("/", token).await.status, 200, "{at}");
        let assertion = upstream.last().header(HEADER).unwrap().to_owned();
        let claims = verifier.verify(&assertion).await.unwrap();
        let date = |name: &str| claims[name].as_i64().unwrap() - NOW.as_secs();
        (assertion, claims["sub"].as_str().unwrap().to_owned(), date("iat"), date("exp"))
    };

    let (first, sub, iat, exp) = asserted(&one, 0).await;
    assert_eq!((sub.as_str(), iat, exp), ("user_1", 0, 60));
    assert_eq!(asserted(&one, 50).await.0, first, "10 s are left");
    let (again, _, iat, exp) = asserted(&one, 51).await;
    assert_ne!(again, first);
    assert_eq!((iat, exp), (51, 85), "no longer than the token, and the leeway that it is given");
    assert_eq!(asserted(&one, 84).await.0, again, "a new one would end no later");
    // SIG-14
    assert_eq!(asserted(&two, 52).await.1, "user_2");
}

/// Writes an Ed25519 key as `countersign keygen` does.
fn write_key(file: &Path) {
    let der = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    fs::write(file, pem).unwrap();
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn our_keys_are_exchanged_under_load_and_no_verification_fails() {
    let clock = Clock::fixed(NOW);
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    write_key(&file("one.pem"));
    let mut settings = asserting(&issuer, &upstream);
    settings.signing.keys = Some(KeysDir { path: home.path().to_owned(), active: None });
    let proxy = Proxy::start_with(settings, clock.clone()).await;
    let token = issuer.mint(json!({"exp": NOW.as_secs() + 3600}));

    // One verifier fetched the key set a moment before the exchange, another long ago, and a
    // third starts afresh each time.
    let (recent, old) = (Verifier::new(&proxy), Verifier::new(&proxy));
    old.refresh().await;
    let mut signed_by = Vec::new();
    let mut published = BTreeSet::new();
    for second in 0..400 {
        match second {
            29 => recent.refresh().await,
            30 => {
                write_key(&file("two.pem"));
                fs::remove_file(file("one.pem")).unwrap();
            }
            _ => {}
        }
        clock.set(NOW.plus(Duration::from_secs(second)));
        time::sleep(Duration::from_secs(1)).await;
        assert_eq!(proxy.get("/", &token).await.status, 200);
        let assertion = upstream.last().header(HEADER).unwrap().to_owned();
        for verifier in [&recent, &old, &Verifier::new(&proxy)] {
            let verified = verifier.verify(&assertion).await;
            assert!(verified.is_ok(), "in second {second}: {verified:?}");
        }
        let kid = decode_header(&assertion).unwrap().kid.unwrap();
        if signed_by.last() != Some(&kid) {
            signed_by.push(kid);
        }
        let set: JwkSet =
            serde_json::from_str(&proxy.admin("/.well-known/jwks.json").await.text()).unwrap();
        published.insert(set.keys.len());
    }
    assert_eq!(signed_by, ["one", "two"]);
    assert_eq!(published.into_iter().collect::<Vec<_>>(), [1, 2]);
    let set = proxy.admin("/.well-known/jwks.json").await.json();
    assert_eq!(set["keys"].as_array().unwrap().len(), 1, "the old key is gone: {set}");
    assert_eq!(set["keys"][0]["kid"], "two");
    assert_eq!(set["keys"][0].get("d"), None);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_cannot_be_read_in_the_directory_changes_nothing() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    write_key(&file("one.pem"));
    let mut settings = asserting(&issuer, &upstream);
    settings.signing.keys = Some(KeysDir { path: home.path().to_owned(), active: None });
    let proxy = Proxy::start(settings).await;
    let token = issuer.mint(json!({"exp": Clock::System.now().as_secs() + 3600}));
    let published = async || proxy.admin("/.well-known/jwks.json").await.json();
    let before = published().await;

    let whole = fs::read(file("one.pem")).unwrap();
    let deeds: [(&str, &dyn Fn()); 5] = [
        ("half a file", &|| fs::write(file("one.pem"), "-----BEGIN PRIV").unwrap()),
        ("another key under its name", &|| write_key(&file("one.pem"))),
        ("no file", &|| fs::remove_file(file("one.pem")).unwrap()),
        ("no key", &|| fs::write(file("two.pem"), "junk").unwrap()),
        ("a link to nowhere", &|| {
            std::os::unix::fs::symlink("nowhere", file("three.pem")).unwrap();
        }),
    ];
    for (what, deed) in deeds {
        deed();
        time::sleep(Duration::from_secs(3)).await;
        assert_eq!(published().await, before, "{what}");
        assert_eq!(proxy.get("/", &token).await.status, 200);
        let assertion = upstream.last().header(HEADER).unwrap().to_owned();
        assert_eq!(decode_header(&assertion).unwrap().kid.as_deref(), Some("one"), "{what}");
    }
    let logged = proxy.logged();
    for told in ["not a private key", "another key was put in the place of `one`", "no key is left"]
    {
        assert!(logged.contains(told), "{told}: {logged}");
    }
    fs::write(file("one.pem"), whole).unwrap();
    fs::remove_file(file("two.pem")).unwrap();
    time::sleep(Duration::from_secs(300)).await;
    assert_eq!(published().await, before);
}

#[tokio::test(flavor = "local")]
async fn the_key_set_is_the_public_half_alone_and_only_on_the_admin_listener() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = asserting(&issuer, &upstream);
    settings.signing.secret = None; // so that a key for requests is made too
    let proxy = Proxy::start(settings).await;

    let answer = proxy.admin("/.well-known/jwks.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    let set = answer.json();
    let curves: BTreeSet<_> =
        set["keys"].as_array().unwrap().iter().map(|key| key["crv"].as_str().unwrap()).collect();
    assert_eq!(curves, ["Ed25519", "P-256"].into());
    for key in set["keys"].as_array().unwrap() {
        for private in ["d", "p", "q", "k"] {
            assert_eq!(key.get(private), None, "SIG-13");
        }
        let thumbprint = URL_SAFE_NO_PAD.decode(key["kid"].as_str().unwrap()).unwrap();
        assert_eq!(thumbprint.len(), 32);
    }
    let answer = proxy.client().get("/.well-known/jwks.json").await;
    assert_eq!(answer.status, 401, "to clients it is a path of the backend's");
}
