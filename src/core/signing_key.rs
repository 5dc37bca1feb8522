//! The keys we sign with, and the names verifiers know them by.

use std::fmt::{self, Write};
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::core::base64url;
use crate::core::identity::Identity;
use crate::core::jwk::KeyId;

/// A secret that the backend has too: signs requests with HMAC-SHA256 (RFC 9421 §3.3.3).
pub struct SharedSecret {
    id: KeyId,
    /// HMAC with nothing in it yet but the secret.
    mac: Hmac<Sha256>,
}

/// What the signatures of requests by one caller begin with: it is told of in all of them, and comes
/// first in what is signed.
#[derive(Clone)]
pub struct Begun {
    secret: Arc<SharedSecret>,
    mac: Hmac<Sha256>,
}

/// A key pair of ours. Backends verify with its public half, which is published.
pub struct SigningKey {
    id: KeyId,
    pair: Pair,
    /// What assertions are signed with.
    jwt: EncodingKey,
}

enum Pair {
    Ed25519(Box<Ed25519KeyPair>),
    /// The public point, as SEC 1 §2.3.3 writes it out. P-256 signs assertions alone.
    P256(Vec<u8>),
}

/// What is no [`SigningKey`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither an Ed25519 nor a P-256 private key")]
pub struct BadSigningKey;

/// What signs requests.
#[derive(Clone, Debug)]
pub enum RequestKey {
    /// A secret.
    Shared(Arc<SharedSecret>),
    /// A key pair, which is Ed25519.
    Pair(Arc<SigningKey>),
}

impl SharedSecret {
    /// Creates a key from the bytes of the secret.
    ///
    /// Its name, where none is given: the first 8 hex digits of HMAC(secret, "kid"), so that it
    /// tells two secrets apart and tells nothing of either.
    #[expect(clippy::missing_panics_doc, reason = "hex digits are a key id")]
    pub fn new(secret: &[u8], id: Option<KeyId>) -> Self {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of every length");
        let id = id.unwrap_or_else(|| {
            let mut name = String::new();
            for byte in &digest(&mac, b"kid")[..4] {
                let _ = write!(name, "{byte:02x}"); // writing to a String does not fail
            }
            KeyId::parse(&name).expect("hex digits are visible")
        });
        Self { id, mac }
    }

    /// Returns the name verifiers know the secret by.
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

/// The HMAC of what was begun with, and `rest`.
fn digest(begun: &Hmac<Sha256>, rest: &[u8]) -> [u8; 32] {
    begun.clone().chain_update(rest).finalize().into_bytes().into()
}

impl Begun {
    fn new(secret: &Arc<SharedSecret>, identity: &Identity) -> Self {
        let mac = secret.mac.clone().chain_update(&identity.base);
        Self { secret: Arc::clone(secret), mac }
    }
}

impl SigningKey {
    /// Reads a key pair out of PKCS #8 in DER: Ed25519, or ECDSA on P-256.
    ///
    /// Its name, where none is given: its thumbprint (RFC 7638, 8037 appendix A.3).
    ///
    /// # Errors
    ///
    /// [`BadSigningKey`] where `der` is neither.
    pub fn from_pkcs8(der: &[u8], id: Option<KeyId>) -> Result<Self, BadSigningKey> {
        let (pair, jwt) = ed25519(der).or_else(|| p256(der)).ok_or(BadSigningKey)?;
        let id = id.unwrap_or_else(|| pair.thumbprint());
        Ok(Self { id, pair, jwt })
    }

    /// Returns the name verifiers know the key by.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Tells whether the key can sign requests: RFC 9421 has an algorithm for P-256 too, and many
    /// of its libraries have not.
    pub fn signs_requests(&self) -> bool {
        matches!(self.pair, Pair::Ed25519(_))
    }

    /// Returns the algorithm of assertions signed with it (RFC 7518 §3.1, 8037 §3.1).
    pub fn jwt_algorithm(&self) -> jsonwebtoken::Algorithm {
        match self.pair {
            Pair::Ed25519(_) => jsonwebtoken::Algorithm::EdDSA,
            Pair::P256(_) => jsonwebtoken::Algorithm::ES256,
        }
    }

    /// Returns what assertions are signed with.
    pub(super) fn jwt(&self) -> &EncodingKey {
        &self.jwt
    }

    /// Returns the public half as a JWK (RFC 7517).
    pub fn public_jwk(&self) -> Value {
        let mut jwk = self.pair.members();
        jwk["kid"] = self.id.as_str().into();
        jwk["use"] = "sig".into();
        jwk["alg"] = match self.pair {
            Pair::Ed25519(_) => "EdDSA".into(),
            Pair::P256(_) => "ES256".into(),
        };
        jwk
    }

    /// Tells whether the two are one key pair, whatever they are called.
    pub fn is_same(&self, other: &Self) -> bool {
        self.pair.members() == other.pair.members()
    }
}

fn ed25519(der: &[u8]) -> Option<(Pair, EncodingKey)> {
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
    // With its public half, which the library of JWTs may want to find beside the private one.
    let jwt = EncodingKey::from_ed_der(pair.to_pkcs8().ok()?.as_ref());
    Some((Pair::Ed25519(Box::new(pair)), jwt))
}

fn p256(der: &[u8]) -> Option<(Pair, EncodingKey)> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
    Some((Pair::P256(pair.public_key().as_ref().to_vec()), EncodingKey::from_ec_der(der)))
}

impl Pair {
    /// The members of a JWK that a thumbprint is made of, in their order (RFC 7638 §3.2).
    fn members(&self) -> Value {
        match self {
            Self::Ed25519(pair) => {
                let x = base64url::encode(pair.public_key().as_ref());
                json!({"crv": "Ed25519", "kty": "OKP", "x": x})
            }
            Self::P256(point) => {
                let (x, y) = point[1..].split_at(32); // after the byte that says "uncompressed"
                let (x, y) = (base64url::encode(x), base64url::encode(y));
                json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
            }
        }
    }

    fn thumbprint(&self) -> KeyId {
        let jwk = self.members().to_string();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.as_bytes());
        KeyId::parse(&base64url::encode(digest.as_ref())).expect("base64url is visible")
    }
}

impl RequestKey {
    /// Returns the name verifiers know the key by.
    pub fn id(&self) -> &KeyId {
        match self {
            Self::Shared(secret) => &secret.id,
            Self::Pair(key) => &key.id,
        }
    }

    /// Returns the algorithm in the words of RFC 9421 §6.2.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Shared(_) => "hmac-sha256",
            Self::Pair(_) => "ed25519",
        }
    }

    /// Signs a signature base: the lines of `identity`, and the `rest` of it. Nothing comes of a key
    /// that signs no requests.
    pub(super) fn sign(&self, identity: &Identity, rest: &[u8], out: &mut String) {
        match self {
            Self::Shared(secret) => {
                let begun = identity.begun.get_or_init(|| Begun::new(secret, identity));
                let digest = match Arc::ptr_eq(&begun.secret, secret) {
                    true => digest(&begun.mac, rest),
                    false => digest(&Begun::new(secret, identity).mac, rest),
                };
                write(&digest, out);
            }
            Self::Pair(key) => match &key.pair {
                Pair::Ed25519(pair) => {
                    let base = [&identity.base[..], rest].concat();
                    write(pair.sign(&base).as_ref(), out);
                }
                Pair::P256(_) => {}
            },
        }
    }
}

/// Writes a signature in base64; `encode_string` would clear and fill a kilobyte for that first.
fn write(signature: &[u8], out: &mut String) {
    let mut room = [0; 88]; // for 64 bytes, an Ed25519 signature
    let length = STANDARD.encode_slice(signature, &mut room).expect("no signature is longer");
    out.push_str(str::from_utf8(&room[..length]).expect("base64 is ASCII"));
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SharedSecret({})", self.id)
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Begun({})", self.secret.id)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({:?}, {})", self.jwt_algorithm(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_secret_is_named_by_a_digest_of_it() {
        let digest = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), b"kid");
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = |secret: &[u8]| SharedSecret::new(secret, None).id;
        assert_eq!(name(SECRET).as_str(), &hex[..8]);
        assert_eq!(name(SECRET).as_str(), "52c54f29");
        assert_ne!(name(b"another secret"), name(SECRET));
        let mine = KeyId::parse("mine").unwrap();
        assert_eq!(SharedSecret::new(SECRET, Some(mine.clone())).id, mine);
    }

    fn signature(key: &RequestKey, identity: &Identity, rest: &[u8]) -> String {
        let mut signature = String::new();
        key.sign(identity, rest, &mut signature);
        signature
    }

    /// Another library's word on each, whoever signed with the same identity before.
    fn by_aws(secret: &[u8], parts: [&[u8]; 2]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        STANDARD.encode(hmac::sign(&key, &parts.concat()))
    }

    proptest! {
        #[test]
        fn what_was_begun_ends_as_if_it_had_not_been(
            secrets in proptest::array::uniform2(proptest::collection::vec(any::<u8>(), 0..200)),
            base in "[ -~]{0,300}",
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let identity = Identity { base: base.clone().into(), ..Identity::default() };
            let keys = secrets.each_ref().map(|secret| SharedSecret::new(secret, None));
            let keys = keys.map(|key| RequestKey::Shared(Arc::new(key)));
            for place in [0, 1, 0] {
                let want = by_aws(&secrets[place], [base.as_bytes(), &rest]);
                prop_assert_eq!(signature(&keys[place], &identity, &rest), want);
            }
        }
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn an_ed25519_key_is_named_by_its_thumbprint() {
        let seed = base64url::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let der =
            [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20], &*seed];
        let der = der.concat();
        let key = SigningKey::from_pkcs8(&der, None).unwrap();
        assert_eq!(key.id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let jwk = key.public_jwk();
        assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(jwk["kid"], key.id().as_str());
        assert_eq!(jwk["alg"], "EdDSA");
        assert_eq!(jwk.get("d"), None);
        assert!(key.signs_requests());
        assert!(SigningKey::from_pkcs8(&der[1..], None).is_err());
    }

    #[test]
    fn a_p256_key_signs_assertions_alone() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = SigningKey::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref(), None).unwrap();
        let jwk = key.public_jwk();
        assert_eq!(
            (&jwk["kty"], &jwk["crv"], &jwk["alg"]),
            (&json!("EC"), &json!("P-256"), &json!("ES256"))
        );
        let library: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
        let thumbprint = library.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
        assert_eq!(key.id().as_str(), thumbprint, "as the library of JWTs has it");
        assert_eq!(jwk.get("d"), None);
        assert!(!key.signs_requests());
        assert_eq!(format!("{key:?}"), format!("SigningKey(ES256, {})", key.id()));
    }

    #[test]
    fn other_keys_are_none_of_ours() {
        let p384 = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING);
        let p384 = p384.unwrap().to_pkcs8v1().unwrap();
        assert_eq!(SigningKey::from_pkcs8(p384.as_ref(), None).err(), Some(BadSigningKey));
        assert_eq!(SigningKey::from_pkcs8(b"", None).err(), Some(BadSigningKey));
    }
}
