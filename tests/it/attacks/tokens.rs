//! Tokens that no issuer would make, and the scene in which they are tried.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use std::{fs, io};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Clock;
use countersign::config::{
    self, Files, Flags, IssuerSettings, Loaded, Settings, Sources, Terminal,
};
use countersign::core::access::{Access, ClaimDemand, Demand, Demands, Scalar};
use countersign::core::claims::AzpPolicy;
use countersign::core::clerk::has::{Asked, Privilege};
use countersign::core::clerk::instance::{Instance, Payload};
use countersign::core::clerk::publishable_key::PublishableKey;
use countersign::core::identity::{Field, IdentityPolicy, Source};
use countersign::core::issuer::{IssuerPolicy, TokenPolicy};
use countersign::core::jwk::Algorithms;
use countersign::core::jwk_set::KeyNames;
use countersign::core::origin::{CrossSite, OwnOrigins};
use countersign::core::route::{Case, Routes};
use countersign::core::time::UnixTime;
use countersign::dev::verifier::Verifier;
use countersign::keys::{KeySettings, KeySource};
use countersign::proxy::{BrowserSettings, Cookies};
use serde_json::{Map, Value, json};
use tokio::time;

use crate::signature::verify;
use crate::support::key_server::{KeyServer, Reply};
use crate::support::settings::{PARTY, SECRET, claims, route, settings_for};
use crate::support::upstream::Seen;
use crate::support::{Answer, Proxy, Upstream, client};

/// The time at which every attack begins, in seconds since 1970.
pub(crate) const NOW: i64 = 1_700_000_000;
/// The Clerk instance whose sessions are good: it signs with [`A`], under the name `ins_A`.
pub(crate) const CLERK: &str = "https://clerk.a.test";
/// The other issuer, whose tokens are good for the audience `api`.
pub(crate) const OIDC: &str = "https://oidc.a.test";
/// The user of every session.
pub(crate) const ALICE: &str = "user_alice";

/// The signatures that no library makes, by `make_rsa.py`; their keys are the other issuer's.
pub(crate) static RSA: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../fixtures/attacks/rsa.json")).unwrap()
});

/// Clerk's key.
pub(crate) static A: LazyLock<RsaKeyPair> = LazyLock::new(rsa_key);
/// A key of nobody's: an attacker's own.
pub(crate) static B: LazyLock<RsaKeyPair> = LazyLock::new(rsa_key);
static P256: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    pair.to_pkcs8v1().unwrap().as_ref().to_vec()
});
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

fn rsa_key() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

fn p256(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(algorithm, &P256).unwrap()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The public half of an RSA key.
pub(crate) fn rsa_jwk(pair: &RsaKeyPair, kid: &str) -> Value {
    let key = pair.public_key();
    let n = encode(key.modulus().big_endian_without_leading_zero());
    let e = encode(key.exponent().big_endian_without_leading_zero());
    json!({"kty": "RSA", "kid": kid, "n": n, "e": e})
}

fn ec_jwk(pair: &EcdsaKeyPair, curve: &str, kid: &str) -> Value {
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({"kty": "EC", "crv": curve, "kid": kid, "x": encode(x), "y": encode(y)})
}

/// The public half of an Ed25519 key.
pub(crate) fn ed_jwk(x: &[u8], kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(x)})
}

/// What Clerk publishes.
pub(crate) fn clerk_set() -> Value {
    json!({ "keys": [rsa_jwk(&A, "ins_A")] })
}

/// What the other issuer publishes.
pub(crate) fn oidc_set() -> Value {
    let mut keys = vec![
        rsa_jwk(&A, "rs_A"),
        ec_jwk(&p256(&ECDSA_P256_SHA256_FIXED_SIGNING), "P-256", "ec_A"),
        ec_jwk(&P384, "P-384", "p384_A"),
        ed_jwk(ED25519.public_key().as_ref(), "ed_A"),
    ];
    keys.extend(RSA["keys"].as_array().unwrap().clone());
    json!({ "keys": keys })
}

fn rs256(pair: &RsaKeyPair, input: &str) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
    signature
}

/// A signature of Clerk's over `input`, whatever that is.
pub(crate) fn signature(input: &str) -> String {
    encode(rs256(&A, input))
}

/// A token of these bytes that Clerk has signed, whatever they are.
pub(crate) fn signed(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    format!("{input}.{}", signature(&input))
}

/// The same, signed by the attacker's own key.
pub(crate) fn signed_by_b(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let input = format!("{}.{}", encode(header), encode(payload));
    format!("{input}.{}", encode(rs256(&B, &input)))
}

/// Puts `changes` over an object: `null` takes a member off.
fn changed(mut object: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
            value => object[name] = value.clone(),
        }
    }
    object
}

/// The header of a session token, with these changes.
pub(crate) fn header(changes: &Value) -> String {
    let header = json!({"alg": "RS256", "cat": "cl_B7d4PD111AAA", "kid": "ins_A", "typ": "JWT"});
    changed(header, changes).to_string()
}

/// The claims of a session token, with these changes.
pub(crate) fn payload(changes: &Value) -> String {
    let claims = json!({
        "azp": PARTY, "exp": NOW + 60, "iat": NOW, "iss": CLERK, "nbf": NOW - 10,
        "sid": "sess_1", "sts": "active", "sub": ALICE, "v": 2,
        "fea": "o:dashboard", "o": {
            "id": "org_1", "slg": "acme", "rol": "member", "per": "read,manage", "fpm": "1",
        },
    });
    changed(claims, changes).to_string()
}

/// A session token that Clerk has signed, with these changes; the member `$header` has those to its
/// header.
pub(crate) fn session(changes: Value) -> String {
    let (of_header, of_payload) = parted(changes);
    signed(header(&of_header), payload(&of_payload))
}

/// The same, as the attacker's own key signs it.
pub(crate) fn session_by_b(changes: Value) -> String {
    let (of_header, of_payload) = parted(changes);
    signed_by_b(header(&of_header), payload(&of_payload))
}

fn parted(mut changes: Value) -> (Value, Value) {
    let of_header = changes.as_object_mut().unwrap().remove("$header");
    (of_header.unwrap_or(json!({})), changes)
}

/// A session token whose payload has these members, as they are written, after the usual ones
/// without `instead`.
pub(crate) fn session_with(instead: &[&str], members: &str) -> String {
    let off: Map<_, _> = instead.iter().map(|it| ((*it).to_owned(), Value::Null)).collect();
    let usual = payload(&off.into());
    signed(header(&json!({})), format!("{},{members}}}", usual.strip_suffix('}').unwrap()))
}

/// A good session token.
pub(crate) fn good() -> String {
    session(json!({}))
}

/// `token` with one letter of its signature changed.
pub(crate) fn forged(token: &str) -> String {
    let place = token.len() - 20;
    let other = if &token[place..=place] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..place], &token[place + 1..])
}

/// Header and payload of a token of the other issuer, with these changes, as they are signed.
pub(crate) fn oidc_input(changes: Value) -> String {
    let (of_header, of_payload) = parted(changes);
    let header = json!({"alg": "ES256", "kid": "ec_A", "typ": "JWT"});
    let claims = json!({"iss": OIDC, "aud": "api", "sub": "alice", "iat": NOW, "exp": NOW + 60});
    let (header, claims) = (changed(header, &of_header), changed(claims, &of_payload));
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

/// How the other issuer signs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Rs256,
    Es256,
    /// In DER, as no JWT has it.
    Es256InDer,
    Es384,
    EdDsa,
}

/// The other issuer's signature over `input`.
pub(crate) fn oidc_signature(by: By, input: &str) -> Vec<u8> {
    let (random, message) = (SystemRandom::new(), input.as_bytes());
    match by {
        By::Rs256 => rs256(&A, input),
        By::Es256 => {
            let pair = p256(&ECDSA_P256_SHA256_FIXED_SIGNING);
            pair.sign(&random, message).unwrap().as_ref().to_vec()
        }
        By::Es256InDer => {
            let pair = p256(&ECDSA_P256_SHA256_ASN1_SIGNING);
            pair.sign(&random, message).unwrap().as_ref().to_vec()
        }
        By::Es384 => P384.sign(&random, message).unwrap().as_ref().to_vec(),
        By::EdDsa => ED25519.sign(message).as_ref().to_vec(),
    }
}

/// A token of the other issuer, with these changes.
pub(crate) fn oidc(by: By, changes: Value) -> String {
    let input = oidc_input(changes);
    format!("{input}.{}", encode(oidc_signature(by, &input)))
}

/// The public key of Clerk's in DER, as whoever confuses algorithms takes it for a secret.
pub(crate) fn public_der() -> Vec<u8> {
    A.public_key().as_der().unwrap().as_ref().to_vec()
}

/// A proxy before a backend that records, with keys of two issuers.
pub(crate) struct Scene {
    pub(crate) upstream: Upstream,
    pub(crate) clerk_keys: KeyServer,
    pub(crate) oidc_keys: KeyServer,
    pub(crate) clock: Clock,
    pub(crate) proxy: Proxy,
    /// How many decisions there were of each kind, and how long the log was.
    before: RefCell<(BTreeMap<String, f64>, usize)>,
}

impl Scene {
    /// The usual rules: what is below `/public` is everybody's, below `/optional` a caller is
    /// optional, `/admin` needs the role `org:admin`, `/claims` and a claim's name that claim.
    pub(crate) async fn set() -> Self {
        Self::with(|_| ()).await
    }

    /// The usual settings, changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let clerk_keys = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
        let oidc_keys = KeyServer::start(Reply::json(&oidc_set().to_string())).await;
        Self::among(clerk_keys, oidc_keys, change).await
    }

    /// The same with cookies, of a production instance.
    pub(crate) async fn with_browsers() -> Self {
        Self::with(|settings| settings.proxy.browsers = Some(browsers())).await
    }

    /// The same with these servers of keys.
    pub(crate) async fn among(
        clerk_keys: KeyServer,
        oidc_keys: KeyServer,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let (upstream, clock) = (Upstream::start().await, Clock::fixed(UnixTime::from_secs(NOW)));
        let mut settings = usual(&upstream, &clerk_keys, &oidc_keys);
        change(&mut settings);
        let proxy = Proxy::start_with(settings, clock.clone()).await;
        let before = RefCell::default();
        let scene = Self { upstream, clerk_keys, oidc_keys, clock, proxy, before };
        scene.catch_up().await;
        scene
    }

    /// Moves the clock to so many seconds after [`NOW`].
    pub(crate) fn at(&self, seconds: i64) {
        self.clock.set(UnixTime::from_secs(NOW + seconds));
    }

    /// Sends a GET to `path` with these header lines, and reads the answer.
    pub(crate) async fn send(&self, path: &str, lines: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let head = format!("{head}{lines}\r\n");
        let sent = client::raw(&self.proxy.address, head.as_bytes());
        // Long enough for a machine that is busy, and none of what costs us dearly is done by then.
        let answer = time::timeout(Duration::from_secs(20), sent).await;
        Answer::parse(&answer.expect("there is an answer in time"))
    }

    /// The token is refused with 401 for this reason.
    pub(crate) async fn refuses(&self, what: &str, token: &str, reason: &str) {
        self.refuses_lines(what, &bearer(token), (401, reason)).await;
    }

    /// Whoever sends these lines is refused, with this status and reason: the backend hears
    /// nothing, one decision is counted, one line is written, and nothing of the token is anywhere.
    pub(crate) async fn refuses_lines(&self, what: &str, lines: &str, want: (u16, &str)) -> Answer {
        self.refuses_at("/api", what, lines, want).await
    }

    /// The same, at this path.
    pub(crate) async fn refuses_at(
        &self,
        path: &str,
        what: &str,
        lines: &str,
        (status, reason): (u16, &str),
    ) -> Answer {
        let connections = self.upstream.connections();
        let answer = self.send(path, lines).await;

        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{what}");
        let heard = (self.upstream.take().len(), self.upstream.connections() - connections);
        assert_eq!(heard, (0, 0), "{what}: the backend heard of it");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        let body = answer.json();
        let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["reason", "request_id", "status", "title"], "{what}");
        let (counted, logged) = self.catch_up().await;
        let decision = if status >= 500 { "failed" } else { "rejected" };
        let labels = format!(r#"decision="{decision}",reason="{reason}""#);
        assert!(counted.len() == 1 && counted[0].contains(&labels), "{what}: {counted:?}");
        self.tells_nothing(what, lines, &answer, &logged);
        answer
    }

    /// Whoever sends these lines is refused before anything is decided: what came is no HTTP, or
    /// more of it than is read.
    pub(crate) async fn refuses_unread(&self, what: &str, lines: &str, status: u16) {
        let connections = self.upstream.connections();
        let answer = self.send("/api", lines).await;

        assert_eq!(answer.status, status, "{what}");
        let heard = (self.upstream.take().len(), self.upstream.connections() - connections);
        assert_eq!(heard, (0, 0), "{what}: the backend heard of it");
        let (_, logged) = self.catch_up().await;
        self.tells_nothing(what, lines, &answer, &logged);
    }

    /// The token is good, and the backend sees one request of one caller, which we have signed.
    pub(crate) async fn passes(&self, what: &str, token: &str) -> Seen {
        self.passes_lines(what, "/api", &bearer(token)).await
    }

    /// The same with these lines, at this path.
    pub(crate) async fn passes_lines(&self, what: &str, path: &str, lines: &str) -> Seen {
        let answer = self.send(path, lines).await;

        assert_eq!((answer.status, answer.reason().as_str()), (200, ""), "{what}");
        let mut seen = self.upstream.take();
        assert_eq!(seen.len(), 1, "{what}: one request");
        let seen = seen.remove(0);
        let names = seen.headers.keys().filter(|name| name.as_str().starts_with("x-clerk-"));
        let names: Vec<_> = names.map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names.len(), identity().count(), "{what}: {names:?}");
        for name in names {
            assert_eq!(seen.headers.get_all(&name).iter().count(), 1, "{what}: {name}");
        }
        verify(&seen, &Verifier::hmac(SECRET), self.clock.now()).expect(what);
        let (counted, logged) = self.catch_up().await;
        assert_eq!(counted.len(), 1, "{what}: {counted:?}");
        self.tells_nothing(what, lines, &answer, &logged);
        seen
    }

    /// Checks that no token, and no part of one that is long enough to be of use, stands in the
    /// answer or in the log, and that each line of the log is one JSON object.
    fn tells_nothing(&self, what: &str, lines: &str, answer: &Answer, logged: &str) {
        let words = lines.split(|it: char| !(it.is_ascii_alphanumeric() || "-_".contains(it)));
        let body = String::from_utf8_lossy(&answer.body);
        for part in words.filter(|word| word.len() >= 40) {
            assert!(!body.contains(part), "{what}: {part} is in the answer");
            assert!(!logged.contains(part), "{what}: {part} is in the log");
        }
        for line in logged.lines() {
            let line = serde_json::from_str::<Map<String, Value>>(line);
            assert!(line.is_ok(), "{what}: a line of the log is no JSON object: {line:?}");
        }
        let access = logged.lines().filter(|line| line.contains(r#""request_id""#)).count();
        assert!(access <= 1, "{what}: {logged}");
    }

    /// Returns which decisions were counted since this was asked before, and what was logged.
    pub(crate) async fn catch_up(&self) -> (Vec<String>, String) {
        let metrics = self.proxy.admin("/metrics").await.text();
        let lines = metrics.lines().filter(|it| it.starts_with("countersign_requests_total{"));
        let now: BTreeMap<String, f64> = lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect();
        let logged = self.proxy.logged();
        let (before, place) = self.before.replace((now.clone(), logged.len()));
        let mut counted = Vec::new();
        for (name, value) in now {
            let more = value - before.get(&name).copied().unwrap_or_default();
            counted.extend((0..more as usize).map(|_| name.clone()));
        }
        (counted, logged[place..].to_owned())
    }
}

/// The header line of a bearer token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The identity headers of the scene: the usual, who and whose, and some claims.
fn identity() -> impl Iterator<Item = (String, Source)> {
    let fields = Field::DEFAULT.into_iter().chain([Field::Issuer, Field::Subject]);
    let fields = fields.map(|field| (field.name().to_owned(), Source::Field(field)));
    let claims = ["email", "roles", "it"];
    fields.chain(claims.map(|it| (it.to_owned(), Source::Claim(format!("/{it}")))))
}

/// The usual settings, between these.
pub(crate) fn usual(
    upstream: &Upstream,
    clerk_keys: &KeyServer,
    oidc_keys: &KeyServer,
) -> Settings {
    let mut settings = settings_for(CLERK, &upstream.address);
    settings.issuers[0].keys.source = clerk_keys.source();
    settings.issuers.push(other_issuer(oidc_keys.source()));
    settings.proxy.identity = IdentityPolicy::new(
        identity().map(|(name, it)| (format!("x-clerk-{name}").parse().unwrap(), it)).collect(),
    );
    let claim = |pointer: &str, allowed: Scalar| {
        Demand::Claim(ClaimDemand { pointer: pointer.into(), allowed: vec![allowed] })
    };
    let text = |text: &str| Scalar::Text(text.to_owned());
    let asking = |demand| Access::Required(Demands::new(vec![demand]));
    let admin = Demand::Has(Asked::Role(Privilege::parse("org:admin").unwrap()));
    let read = Demand::Has(Asked::Permission(Privilege::parse("org:dashboard:read").unwrap()));
    settings.proxy.routes = Routes::new(
        vec![
            route("/public/**", Access::Public),
            route("/optional/**", Access::Optional),
            route("/admin/**", asking(admin)),
            route("/dashboard/**", asking(read)),
            route("/claims/role", asking(claim("/role", text("admin")))),
            route("/claims/email", asking(claim("/email", text("admin@good.test")))),
            route("/claims/verified", asking(claim("/email_verified", Scalar::Bool(true)))),
            route("/claims/scope", asking(claim("/scope", text("read:/home")))),
        ],
        Case::Sensitive,
    );
    settings
}

fn other_issuer(source: KeySource) -> IssuerSettings {
    let mut claims = claims();
    claims.parties = Vec::new();
    claims.azp = AzpPolicy::Off;
    claims.audience = Some(vec!["api".to_owned()]);
    let algorithms = Algorithms::ALL;
    let tokens = TokenPolicy::Oidc(claims);
    let keys = KeySettings {
        issuer: OIDC.to_owned(),
        source,
        algorithms,
        names: KeyNames::Optional,
        max_stale: KeySettings::MAX_STALE,
    };
    let policy = IssuerPolicy { names: vec![OIDC.to_owned()], algorithms, tokens };
    IssuerSettings { policy, keys }
}

/// The publishable key of a production instance at this host.
pub(crate) fn publishable_key(host: &str) -> PublishableKey {
    let host = base64::engine::general_purpose::STANDARD.encode(format!("{host}$"));
    PublishableKey::parse(&format!("pk_live_{host}")).unwrap()
}

fn browsers() -> BrowserSettings {
    BrowserSettings {
        instance: Instance::of(&publishable_key("clerk.a.test"), Payload::Token),
        cookies: Cookies::Accepted,
        cross_site: CrossSite::Refuse,
        origins: OwnOrigins { parties: vec![PARTY.to_owned()], ..OwnOrigins::default() },
        prefix: String::new(),
    }
}

/// A settings file, and nothing else on the disk.
struct OneFile(String);

impl Files for OneFile {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("a.toml") { Ok(self.0.clone().into()) } else { fs::read(path) }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn is_open_to_all(&self, _: &Path) -> bool {
        false
    }
}

/// What is said of these lines in a settings file, after those that every file has: every mistake.
pub(crate) fn mistakes(lines: &str) -> Vec<String> {
    match load(lines) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// What the program would run on with these lines in its settings file, after those that every
/// file has.
pub(crate) fn load(lines: &str) -> Result<Loaded, Vec<config::ConfigError>> {
    let key = publishable_key("clerk.a.test");
    let file = format!(
        "upstream.url = \"http://127.0.0.1:3000\"\nclerk.publishable_key = \"{}\"\nclerk.authorized_parties = [\"https://app.a.test\"]\n{lines}\n",
        key.as_str()
    );
    config::load(&Sources {
        flags: Flags { config: Some("a.toml".into()), ..Flags::default() },
        environment: BTreeMap::new(),
        files: &OneFile(file),
        cpus: 1,
        terminal: Terminal::No,
    })
}
