//! Our own keys: read, made and watched, and the signers that are made of them.
//!
//! One task re-reads `signing.keys_dir` when it changes and publishes what follows; which key
//! signs when is decided by [`Keyring`]. Every request reads a snapshot.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::core::assertion::{AssertionPolicy, AssertionSigner};
use crate::core::identity::IdentityPolicy;
use crate::core::jwk::KeyId;
use crate::core::keyring::{self, Keyring, Signs};
use crate::core::sign::{Cover, Signer};
use crate::core::signing_key::{RequestKey, SharedSecret, SigningKey};
use crate::core::time::UnixTime;
use crate::watched::{self, Watched};

/// What proves to the backend that the identity headers are ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningSettings {
    /// What a signature over each request covers; nothing: requests are not signed.
    ///
    /// File: `signing.mode = ["http-signature"]`, `signing.cover = ["query"]`.
    pub requests: Option<Cover>,
    /// What an assertion says; nothing: none is made.
    ///
    /// File: `signing.mode = ["jwt"]`, `signing.audience = "orders"`.
    pub assertion: Option<AssertionPolicy>,
    /// A secret that the backend has too. Where there is one, it signs the requests.
    pub secret: Option<(Secret, Option<KeyId>)>,
    /// Key pairs. What they are not there for is made at the start.
    pub keys: Option<KeysDir>,
}

/// A directory with a key pair a file, PKCS #8 in PEM, the stem of its name the key's id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeysDir {
    /// File: `signing.keys_dir`.
    pub path: PathBuf,
    /// Which of them signs; nothing: the only one.
    ///
    /// File: `signing.active`.
    pub active: Option<KeyId>,
}

/// Bytes that are shown to nobody.
#[derive(Clone)]
pub struct Secret(zeroize::Zeroizing<Vec<u8>>);

impl Secret {
    /// Wraps `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// Returns the bytes.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret({} bytes)", self.0.len())
    }
}

/// Why there is nothing to sign with.
#[derive(Debug, thiserror::Error)]
pub enum BadSigning {
    /// A key cannot be read.
    #[error("the signing key {}: {problem}", file.display())]
    File {
        /// Its file, or the directory.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key that is to sign is not there.
    #[error("no key in {} is the one to sign; name it in `signing.active`", .0.display())]
    NoActive(PathBuf),
    /// The key that is to sign requests signs none.
    #[error(
        "the signing key `{0}` is P-256, which signs no requests; set a secret, or use Ed25519"
    )]
    NotForRequests(KeyId),
    /// No key could be made.
    #[error("the system has no random bytes for a signing key")]
    NoRandomness,
}

impl From<Unspecified> for BadSigning {
    fn from(_: Unspecified) -> Self {
        Self::NoRandomness
    }
}

/// What signs at a moment, and what backends verify it with.
#[derive(Debug)]
pub struct Signers {
    /// Adds identity headers and proofs to requests.
    pub signer: Arc<Signer>,
    /// Makes assertions, where there are to be any.
    pub assertions: Option<AssertionSigner>,
    /// The public halves of our keys, as a JWK Set.
    pub published: Value,
    /// What other settings go on with.
    kept: Kept,
}

/// Keys that outlive a change of the settings: whoever verifies knows them.
#[derive(Clone, Debug, Default)]
struct Kept {
    ring: Option<Keyring>,
    /// The pair that was made to sign requests.
    requests: Option<Arc<SigningKey>>,
    /// The pair that was made to sign assertions.
    assertions: Option<Arc<SigningKey>>,
}

/// Reads our keys again and again.
#[derive(Debug)]
pub struct Rereader {
    recipe: Recipe,
    dir: KeysDir,
    ring: Keyring,
    publish: watch::Sender<Arc<Signers>>,
    clock: Clock,
}

/// What signers are made of beside the keyring: it stays as it was made.
#[derive(Debug)]
struct Recipe {
    settings: SigningSettings,
    identity: IdentityPolicy,
    /// What signs requests, unless the keyring does.
    requests: Option<RequestKey>,
    /// What signs assertions, unless the keyring does.
    assertions: Option<Arc<SigningKey>>,
}

/// Reads or makes our keys: those who sign get the first, a task runs the second, if there is one.
///
/// What was `had` under other settings is gone on with: a pair that was made is not made again, and
/// a key that is new in a directory is published before it signs.
///
/// # Errors
///
/// [`BadSigning`] where a key cannot be read or made, or the wrong one would sign.
pub fn signers(
    settings: SigningSettings,
    identity: IdentityPolicy,
    clock: Clock,
    had: Option<&Signers>,
) -> Result<(watch::Receiver<Arc<Signers>>, Option<Rereader>), BadSigning> {
    let had = had.map(|had| had.kept.clone()).unwrap_or_default();
    let signs = match (settings.requests, &settings.secret) {
        (Some(_), None) => Signs::Requests,
        (Some(_), Some(_)) | (None, _) => Signs::Assertions,
    };
    let had_ring = had.ring.filter(|ring| ring.signs() == signs);
    let ring = match (&settings.keys, had_ring) {
        (Some(dir), Some(had)) => Some(next(&had, dir, clock.now())?),
        (Some(dir), None) => Some(first(dir, signs, clock.now())?),
        (None, _) => None,
    };
    let shared = settings.secret.as_ref();
    let shared = shared.map(|(secret, id)| SharedSecret::new(secret.reveal(), id.clone()));
    let mut recipe = Recipe {
        requests: shared.map(|secret| RequestKey::Shared(Arc::new(secret))),
        assertions: None,
        settings,
        identity,
    };
    if ring.is_none() && recipe.settings.requests.is_some() && recipe.requests.is_none() {
        let pair = match had.requests {
            Some(pair) => pair,
            None => announced(Ed25519KeyPair::generate()?.to_pkcs8v1()?.as_ref()),
        };
        recipe.requests = Some(RequestKey::Pair(pair));
    }
    if ring.is_none() && recipe.settings.assertion.is_some() {
        recipe.assertions = Some(match had.assertions {
            Some(pair) => pair,
            None => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                announced(pair.to_pkcs8v1()?.as_ref())
            }
        });
    }
    let (publish, signers) = watch::channel(Arc::new(recipe.signers(ring.as_ref())));
    let rereader = recipe.settings.keys.clone().zip(ring);
    let rereader = rereader.map(|(dir, ring)| Rereader { recipe, dir, ring, publish, clock });
    Ok((signers, rereader))
}

/// Reads a key that was just made, and says so.
fn announced(der: &[u8]) -> Arc<SigningKey> {
    let key = SigningKey::from_pkcs8(der, None).expect("a key that was just made is one");
    info!(kid = %key.id(), algorithm = ?key.jwt_algorithm(), "a signing key was made; its public part is at /.well-known/jwks.json of the admin listener");
    Arc::new(key)
}

impl Recipe {
    fn signers(&self, ring: Option<&Keyring>) -> Signers {
        let active = ring.map(Keyring::active);
        let requests = match (self.settings.requests, &self.requests, active) {
            (None, ..) | (Some(_), None, None) => None,
            (Some(cover), Some(key), _) => Some((key.clone(), cover)),
            (Some(cover), None, Some(key)) => Some((RequestKey::Pair(Arc::clone(key)), cover)),
        };
        let assertion = self.settings.assertion.as_ref();
        let assertion_key = active.or(self.assertions.as_ref());
        let header = assertion.map(|policy| policy.header.clone());
        let assertions = assertion.cloned().zip(assertion_key.cloned());
        let pair = match &self.requests {
            Some(RequestKey::Pair(key)) => Some(key),
            Some(RequestKey::Shared(_)) | None => None,
        };
        let made = pair.into_iter().chain(&self.assertions).map(|key| key.public_jwk());
        Signers {
            signer: Arc::new(Signer::new(&self.identity, header, requests)),
            assertions: assertions.map(|(policy, key)| AssertionSigner::new(policy, key)),
            published: keyring::jwks(ring.into_iter().flat_map(Keyring::published).chain(made)),
            kept: Kept {
                ring: ring.cloned(),
                requests: pair.cloned(),
                assertions: self.assertions.clone(),
            },
        }
    }
}

impl Rereader {
    /// Watches the directory and publishes what follows from it, until nobody signs any more.
    pub async fn run(mut self) {
        let mut watched = Watched::new(self.dir.path.clone());
        loop {
            let due = self.ring.changes_at().map(|at| at.since(self.clock.now()));
            tokio::select! {
                () = watched.changed() => self.reread(),
                () = time::sleep(due.unwrap_or_default()), if due.is_some() => {
                    self.publish(self.ring.at(self.clock.now()));
                }
                () = self.publish.closed() => return,
            }
        }
    }

    fn reread(&mut self) {
        match next(&self.ring, &self.dir, self.clock.now()) {
            Ok(ring) => self.publish(ring),
            Err(problem) => warn!(%problem, "the signing keys were not read again"),
        }
    }

    fn publish(&mut self, ring: Keyring) {
        if ring.active().id() != self.ring.active().id() {
            info!(kid = %ring.active().id(), "another key signs from now on");
        }
        self.ring = ring;
        self.publish.send_replace(Arc::new(self.recipe.signers(Some(&self.ring))));
    }
}

/// Reads the keys of a start, where each has to be one.
fn first(dir: &KeysDir, signs: Signs, now: UnixTime) -> Result<Keyring, BadSigning> {
    let (keys, problems) = read_dir(&dir.path)?;
    if let Some(problem) = problems.into_iter().next() {
        return Err(BadSigning::File { file: dir.path.clone(), problem });
    }
    let active = match (&dir.active, &*keys) {
        (Some(active), _) => active.clone(),
        (None, [only]) => only.id().clone(),
        (None, _) => return Err(BadSigning::NoActive(dir.path.clone())),
    };
    if let Some(key) = keys.iter().find(|key| *key.id() == active && !key.signs_requests())
        && signs == Signs::Requests
    {
        return Err(BadSigning::NotForRequests(key.id().clone()));
    }
    Keyring::new(keys, &active, signs, now).ok_or_else(|| BadSigning::NoActive(dir.path.clone()))
}

/// Reads the keys that follow on those of `ring`, and tells what is odd about them.
fn next(ring: &Keyring, dir: &KeysDir, now: UnixTime) -> Result<Keyring, BadSigning> {
    let (found, mut problems) = read_dir(&dir.path)?;
    let (ring, oddities) = ring.reread(found, dir.active.as_ref(), now);
    problems.extend(oddities.iter().map(ToString::to_string));
    for problem in problems {
        warn!(dir = %dir.path.display(), problem, "signing keys");
    }
    Ok(ring)
}

/// Reads every key of a directory, and says what is wrong with those that are none.
fn read_dir(dir: &Path) -> Result<(Vec<SigningKey>, Vec<String>), BadSigning> {
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |error: std::io::Error| BadSigning::File { file, problem: error.to_string() }
    };
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for path in watched::files(dir).map_err(failed(dir))? {
        let read = watched::read(&path).map_err(|error| error.to_string());
        match read.and_then(|bytes| read_key(&path, &bytes)) {
            Ok(key) => keys.push(key),
            Err(problem) => problems.push(format!("{}: {problem}", path.display())),
        }
    }
    Ok((keys, problems))
}

/// Reads one key: PKCS #8 in PEM, named by the stem of its file.
///
/// # Errors
///
/// A sentence that says what would be right.
pub fn read_key(path: &Path, bytes: &[u8]) -> Result<SigningKey, String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let id = stem.and_then(|stem| KeyId::parse(stem).ok());
    let id =
        id.ok_or("the name of a key's file, without its ending, is the key's id: visible ASCII")?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(bytes)
        .map_err(|_| "not a private key; it wants PKCS #8 in PEM, `-----BEGIN PRIVATE KEY-----`")?;
    SigningKey::from_pkcs8(der.secret_pkcs8_der(), Some(id)).map_err(|error| error.to_string())
}
