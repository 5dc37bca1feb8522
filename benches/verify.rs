//! What it costs to know who calls, and to tell the backend: the pure functions a request goes
//! through, each on its own.
//!
//! ```text
//! cargo bench --bench verify                   # all of it
//! cargo bench --bench verify -- never_seen     # what has this in its name
//! ```
//!
//! On one thread, and without sockets: add them up, and the rest of a request is reading, writing
//! and waiting. Machines are noisy: read the median, and compare rows of one run.

#[path = "support/request.rs"]
mod request;
// No part of the library's interface, so the room itself is taken; it finds the rooms below it in
// the library.
#[path = "../src/proxy/seen.rs"]
#[expect(dead_code, reason = "some of it is for those who count and forget")]
mod seen;
#[path = "support/tokens.rs"]
mod tokens;

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use countersign::core::access::{Access, Permit, Presented, Rule};
use countersign::core::caller::Caller;
use countersign::core::clerk::claimed::Claimed;
use countersign::core::clerk::cookies::{ClerkCookies, CookieOwner, CookieSuffix};
use countersign::core::clerk::publishable_key::PublishableKey;
use countersign::core::credential::BearerToken;
use countersign::core::form::Way;
use countersign::core::header::{CleanHead, Credentials, StripPolicy};
use countersign::core::header_name::NamePatterns;
use countersign::core::identity::{Field, Identity, IdentityPolicy, Source};
use countersign::core::jwk::{Algorithm, VerificationKey};
use countersign::core::origin::Scheme;
use countersign::core::path::PathPolicy;
use countersign::core::request_head::{self, Framing};
use countersign::core::route::{Case, Routes};
use countersign::core::sign::{Cover, RequestLine, Signer, Stamped};
use countersign::core::signing_key::{RequestKey, SharedSecret, SigningKey};
use countersign::core::target::Target;
use countersign::core::verdict;
use countersign::keys::Held;
use countersign::{core, keys};
use divan::{Bencher, Divan, black_box};
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use self::seen::{Known, Proof, Remembered, Seen};
use self::tokens::{ISSUER_HOST, Issuer, NOW};

/// The program's own.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    // Of what takes nanoseconds, too, there are then enough samples for a median.
    Divan::default().min_time(Duration::from_millis(200)).config_with_args().main();
}

/// `limits.token`, as it is unless somebody says otherwise.
const LONGEST: usize = 16 * 1024;
/// `clerk.max_stale`, likewise.
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// What is signed beside the identity.
const LINE: RequestLine<'_> = RequestLine {
    method: &Method::GET,
    authority: "app.example.com",
    path: "/orders/42",
    query: None,
};
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// How much does a token cost that nobody came with before: taken apart, verified, and its claims
/// checked? And what does an issuer's choice of algorithm cost those who verify?
#[divan::bench(args = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa])]
fn never_seen(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let issuer = Issuer::of(algorithm);
    let token = issuer.token(1);
    bencher.bench(|| verified(&issuer, black_box(&token)));
}

/// How much of that is no cryptography: two parts of base64 and JSON, read strictly?
#[divan::bench]
fn never_seen_taken_apart(bencher: Bencher<'_, '_>) {
    let token = Issuer::of(Algorithm::Rs256).token(1);
    bencher.bench(|| verdict::parse(BearerToken::of(black_box(&token)), LONGEST));
}

/// How much does it cost to find who comes with a token that was verified before, and to ask again
/// what may have changed? With few tokens they are all at a worker's hand; with many, nearly all
/// come from what the workers share.
#[divan::bench(args = [1, 100, 5000])]
fn known(bencher: Bencher<'_, '_>, tokens: usize) {
    let issuer = Issuer::of(Algorithm::Rs256);
    let held = Held::default().renewed(issuer.keys.clone(), MAX_STALE, NOW);
    let tokens: Vec<_> = (0..tokens).map(|user| issuer.token(user)).collect();
    let mut seen = Seen::new(Remembered::new());
    for token in &tokens {
        let (caller, key) = verified(&issuer, token);
        let sought = seen.sought(BearerToken::of(token));
        seen.remember(sought, &remembered(&issuer, caller, key), NOW);
    }
    let mut next = tokens.iter().cycle();
    bencher.bench_local(|| {
        let token = BearerToken::of(next.next().expect("there is one"));
        let sought = seen.sought(token);
        let known = seen.find(sought).expect("it is remembered");
        assert!(held.usable(MAX_STALE, NOW) && known.key_is_held(&held));
        assert!(known.check_dates(NOW, || NOW).is_ok());
        known
    });
}

/// How much does it cost to find the credential where programs send it?
#[divan::bench]
fn credential_in_authorization(bencher: Bencher<'_, '_>) {
    let token = Issuer::of(Algorithm::Rs256).token(1);
    let headers = request::headers(AUTHORIZATION, &format!("Bearer {token}"));
    bencher.bench(|| BearerToken::from_headers(black_box(&headers)).map(|it| it.is_some()));
}

/// How much does it cost to find it where browsers send it, in cookies that Clerk writes twice, and
/// to decide which of the two count?
#[divan::bench]
fn credential_in_cookies(bencher: Bencher<'_, '_>) {
    let owner = cookie_owner();
    let token = Issuer::of(Algorithm::Rs256).token(1);
    let pairs = [("__client_uat", "1699999900"), ("__session", &token)];
    let both =
        pairs.map(|(name, value)| format!("{name}={value}; {}={value}", owner.suffix.name(name)));
    let headers = request::headers(COOKIE, &both.join("; "));
    bencher.bench(|| ClerkCookies::read(black_box(&headers), &owner, NOW, Claimed::read));
}

/// How much does it cost, once a token, to write down what the backend is told about its caller?
#[divan::bench]
fn identity_to_headers(bencher: Bencher<'_, '_>) {
    let issuer = Issuer::of(Algorithm::Rs256);
    let (caller, _) = verified(&issuer, &issuer.token(1));
    let policy = identity();
    bencher.bench(|| policy.of(black_box(&caller)));
}

/// How much does each request cost that is told with a signature of a shared secret, of our own
/// key, or with none? What the last costs is in the others too: the head, written with fourteen headers
/// beside twelve.
#[divan::bench(args = [Proven::ByHmac, Proven::ByEd25519, Proven::Not])]
fn signed(bencher: Bencher<'_, '_>, proven: Proven) {
    let issuer = Issuer::of(Algorithm::Rs256);
    let token = issuer.token(1);
    let (head, way, permit) = (head(&token), way(), permit(&issuer, &token));
    let signer = Stamped::new(Arc::new(proven.signer()), NOW);
    let (uri, host) = (Uri::from_static(LINE.path), HeaderValue::from_static(LINE.authority));
    let host = HeaderMap::from_iter([(HOST, host)]);
    let paths = PathPolicy::default();
    let target = Target::read(&Method::GET, &uri, &host, Scheme::Http, paths).expect("it is one");
    bencher.bench(|| {
        let signed = signer.sign(black_box(&head), &way, &permit, RequestLine::of(&target));
        request_head::write(&target, &signed, &Framing::Nothing)
    });
}

/// How much of that is the HMAC itself, over as many bytes, give or take the names of a few parts?
#[divan::bench]
fn hmac_alone(bencher: Bencher<'_, '_>) {
    let issuer = Issuer::of(Algorithm::Rs256);
    let token = issuer.token(1);
    let permit = permit(&issuer, &token);
    let signer = Stamped::new(Arc::new(Proven::ByHmac.signer()), NOW);
    let signed = signer.sign(&head(&token), &way(), &permit, LINE).into_headers();
    let base = vec![b'x'; permit.identity().base.len() + signed["signature-input"].len() + 100];
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    bencher.bench(|| hmac::sign(&key, black_box(&base)));
}

/// What proves to the backend who calls.
#[derive(Clone, Copy, Debug)]
enum Proven {
    ByHmac,
    ByEd25519,
    Not,
}

impl Proven {
    fn signer(self) -> Signer {
        let key = match self {
            Self::ByHmac => Some(RequestKey::Shared(Arc::new(SharedSecret::new(SECRET, None)))),
            Self::ByEd25519 => Some(RequestKey::Pair(Arc::new(ed25519()))),
            Self::Not => None,
        };
        Signer::new(&identity(), None, key.map(|key| (key, Cover::default())))
    }
}

/// Says who calls with a token, as a request does that nothing is remembered for.
fn verified(issuer: &Issuer, token: &str) -> (Caller, Arc<VerificationKey>) {
    let policy = &issuer.policy;
    let admitted = verdict::admit(BearerToken::of(token), LONGEST, iter::once(policy));
    let (_, admitted) = admitted.expect("it is a token of the issuer's");
    let kid = admitted.kid();
    let keys = issuer.keys.find(kid.as_ref());
    verdict::caller(admitted, policy, keys, NOW).expect("the token is good")
}

fn remembered(issuer: &Issuer, caller: Caller, key: Arc<VerificationKey>) -> Arc<Known> {
    let leeway = issuer.policy.leeway(caller.class);
    let proof = Proof { place: 0, leeway, key, generation: 0 };
    let routes = Routes::new(Vec::new(), Case::Sensitive);
    Arc::new(Known::new(caller, proof, &identity(), &routes, None))
}

/// The identity headers, as they are unless somebody says otherwise.
fn identity() -> IdentityPolicy {
    let header = |field: Field| {
        let name = format!("x-clerk-{}", field.name());
        (HeaderName::try_from(name).expect("it is a header's name"), Source::Field(field))
    };
    IdentityPolicy::new(Field::DEFAULT.map(header).to_vec())
}

/// The way of a request that came from nowhere but the client.
fn way() -> Way {
    let value = HeaderValue::from_static;
    let (host, id) = (value("app.example.com"), value("00000000000000000000000000000000"));
    Way { forwarded_for: Some(value("10.0.0.1")), ..Way::new(host, id, value("http")) }
}

/// The headers of a request with this token, as they are signed.
fn head(token: &str) -> CleanHead {
    let policy = StripPolicy {
        prefix: "x-clerk-".to_owned(),
        ours: Vec::new(),
        foreign: NamePatterns::default(),
        credentials: Credentials::Forward,
    };
    policy.strip(request::headers(AUTHORIZATION, &format!("Bearer {token}"))).0
}

/// What a request with this token is let in with.
fn permit(issuer: &Issuer, token: &str) -> Permit {
    let (caller, key) = verified(issuer, token);
    let caller = remembered(issuer, caller, key).testimony(Presented::Bearer, None, || NOW);
    let nobody = Arc::new(Identity::default());
    Rule::from(Access::SIGNED_IN).permit(Ok(Some(caller)), &nobody).expect("the caller is known")
}

fn cookie_owner() -> CookieOwner {
    // `clerk.example.com$` in base64.
    let key = PublishableKey::parse("pk_live_Y2xlcmsuZXhhbXBsZS5jb20k").expect("it is a key");
    CookieOwner {
        suffix: CookieSuffix::of(&key),
        issuer_host: ISSUER_HOST.to_owned(),
        environment: key.environment(),
    }
}

fn ed25519() -> SigningKey {
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().expect("there are random bytes");
    let der = pair.to_pkcs8().expect("a key can be written");
    SigningKey::from_pkcs8(der.as_ref(), None).expect("it is an Ed25519 key")
}
