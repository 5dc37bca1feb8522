//! One key an issuer has published, and what it may verify (RFC 7517).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use jsonwebtoken::DecodingKey;

use crate::core::json::{Object, Value};
use crate::core::{base64url, pem};

/// The name an issuer gives one of its keys: `kid` in a JWK and in a token's header.
///
/// At most [`MAX_BYTES`](Self::MAX_BYTES) of visible ASCII. RFC 7517 §4.5 allows any text; the
/// bound keeps what a stranger writes there from reaching logs and caches as it came.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(Arc<str>);

/// A text that is no [`KeyId`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a key id is 1 to {max} visible ASCII characters", max = KeyId::MAX_BYTES)]
pub struct BadKeyId;

impl KeyId {
    /// The longest `kid` accepted, in bytes. Well-known issuers use 20 to 64.
    pub const MAX_BYTES: usize = 128;

    /// Reads a `kid`.
    ///
    /// # Errors
    ///
    /// [`BadKeyId`] where `text` is empty, too long or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, BadKeyId> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > Self::MAX_BYTES || !visible {
            return Err(BadKeyId);
        }
        Ok(Self(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A signature algorithm (RFC 7518 §3.1, 8037 §3.1). `none` and the symmetric ones do not exist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names of RFC 7518")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Every algorithm there is to us.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// Reads an `alg`, to the letter.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }

    /// Returns the name that stands in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Returns the same algorithm in the words of the library that verifies.
    pub(super) fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    fn rsa_parameters(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// The algorithms an issuer may use. Never empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Algorithms(u16);

impl Algorithms {
    /// What Clerk instances sign with: RS256, and by its own library's rule RS384 and RS512.
    pub const CLERK: Self = Self::of(&[Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512]);
    /// Every algorithm we can verify.
    pub const ALL: Self = Self::of(&Algorithm::ALL);

    /// Returns the set of these algorithms; nothing where there are none.
    pub fn among(algorithms: &[Algorithm]) -> Option<Self> {
        (!algorithms.is_empty()).then_some(Self::of(algorithms))
    }

    const fn of(algorithms: &[Algorithm]) -> Self {
        let (mut bits, mut place) = (0, 0);
        while place < algorithms.len() {
            bits |= 1 << algorithms[place] as u16;
            place += 1;
        }
        Self(bits)
    }

    /// Tells whether `algorithm` is among them.
    pub fn allow(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u16) != 0
    }
}

/// One public key, and the algorithms it was published for.
pub struct VerificationKey {
    kid: Option<KeyId>,
    key: DecodingKey,
    /// One for each algorithm the key verifies; an RSA key is prepared once, which a verification
    /// through `jsonwebtoken` would do again for every token (27 µs against 21 µs).
    prepared: Vec<(Algorithm, Option<ParsedPublicKey>)>,
    material: Material,
}

/// What makes two keys the same key, whatever else is said about them.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Curve { x: Vec<u8>, y: Vec<u8> },
}

/// Why one key of a set is not used. The others are.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKey {
    /// Not an object, or a member is missing or of a wrong type.
    #[error("it is not a JWK: {0}")]
    Malformed(&'static str),
    /// No RSA public key in PEM.
    #[error("no RSA public key in PEM; paste it whole, with its BEGIN and END lines")]
    Pem,
    /// `oct`, or a kind nobody here knows. A symmetric key that came over the network verifies
    /// whatever anybody who has read the key set signs.
    #[error("a key of this `kty` or `crv` verifies nothing here")]
    Kind,
    /// `use` is not `sig`, or `key_ops` does not have `verify`.
    #[error("it was not published to verify signatures (`use`, `key_ops`)")]
    Use,
    /// `alg` is none this issuer may use, or one that does not go with the key.
    #[error("its `alg` is not one this issuer may use with such a key")]
    Algorithm,
    /// RSA: under 2048 or over 8192 bits, an even modulus, or an exponent that is even or 1.
    #[error("a weak RSA key; 2048 to 8192 bits and an odd exponent from 3 are needed")]
    WeakRsa,
    /// The coordinates are no point of the curve, or one of small order.
    #[error("its coordinates are no usable point of the curve")]
    OffCurve,
}

impl VerificationKey {
    /// Reads a JWK (RFC 7517 §4) and says, too, whether it held private parts, which are ignored.
    ///
    /// # Errors
    ///
    /// [`BadKey`], by what is wrong.
    pub fn from_jwk(jwk: &Object, allowed: Algorithms) -> Result<(Self, PrivateParts), BadKey> {
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => {
                let kid = kid.as_str().and_then(|kid| KeyId::parse(kid).ok());
                Some(kid.ok_or(BadKey::Malformed("kid"))?)
            }
        };
        check_use(jwk)?;
        let (material, fitting) = material(jwk)?;
        let algorithms = published_for(jwk, fitting, allowed)?;
        let private = ["d", "p", "q"].iter().any(|member| jwk.contains_key(member));
        Ok((Self::new(kid, material, &algorithms)?, PrivateParts(private)))
    }

    /// Reads PEM: one or more RSA public keys, with or without a frame, `\n` written out or not.
    ///
    /// Such a key has no name: it verifies whatever `kid` a token carries.
    ///
    /// # Errors
    ///
    /// [`BadKey`] where there is no RSA public key in `text`, or a weak one.
    pub fn all_from_pem(text: &str, allowed: Algorithms) -> Result<Vec<Self>, BadKey> {
        let keys = pem::rsa_public_keys(text).ok_or(BadKey::Pem)?;
        let fitting = RSA.into_iter().filter(|algorithm| allowed.allow(*algorithm));
        let fitting: Vec<_> = fitting.collect();
        keys.into_iter()
            .map(|(n, e)| {
                let material = Material::Rsa { n, e };
                Self::new(None, check_rsa(material)?, &fitting)
            })
            .collect()
    }

    fn new(
        kid: Option<KeyId>,
        material: Material,
        algorithms: &[Algorithm],
    ) -> Result<Self, BadKey> {
        let (n_or_x, e_or_y) = match &material {
            Material::Rsa { n, e } => (n, e),
            Material::Curve { x, y } => (x, y),
        };
        let key = match (&material, algorithms) {
            (Material::Rsa { n, e }, _) => DecodingKey::from_rsa_raw_components(n, e),
            (Material::Curve { x, .. }, [Algorithm::EdDsa]) => DecodingKey::from_ed_der(x),
            (Material::Curve { x, y }, _) => DecodingKey::from_ec_der(&uncompressed(x, y)),
        };
        let prepared = algorithms
            .iter()
            .map(|algorithm| {
                let Some(parameters) = algorithm.rsa_parameters() else {
                    return Ok((*algorithm, None));
                };
                let components = RsaPublicKeyComponents { n: n_or_x, e: e_or_y };
                let prepared = components.to_parsed_public_key(parameters);
                Ok((*algorithm, Some(prepared.map_err(|_| BadKey::WeakRsa)?)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { kid, key, prepared, material })
    }

    /// Returns the name the issuer gave the key.
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Returns what the key verifies, in words for `/status`.
    pub fn algorithms(&self) -> impl Iterator<Item = &'static str> {
        self.prepared.iter().map(|(algorithm, _)| algorithm.as_str())
    }

    /// Tells whether it is an RSA key whose exponent is not 65537, the one that everybody makes keys
    /// with: a smaller one has made forgeries possible wherever a verifier was careless.
    pub fn has_unusual_exponent(&self) -> bool {
        matches!(&self.material, Material::Rsa { e, .. } if e != &[1, 0, 1])
    }

    /// Tells whether the key was published for `algorithm`.
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.prepared.iter().any(|(own, _)| *own == algorithm)
    }

    /// Verifies `signature` over `message`.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let Some((_, prepared)) = self.prepared.iter().find(|(own, _)| *own == algorithm) else {
            return false;
        };
        match prepared {
            Some(key) => key.verify_sig(message, signature).is_ok(),
            None => self.verify_by_reference(algorithm, message, signature),
        }
    }

    /// Verifies as [`verify`](Self::verify) does, through `jsonwebtoken`: the only way for curves,
    /// and what the prepared keys are held against in tests.
    fn verify_by_reference(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let signature = base64url::encode(signature);
        jsonwebtoken::crypto::verify(&signature, message, &self.key, algorithm.of_library())
            .unwrap_or(false)
    }

    /// Tells whether the two are one key, published for the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.material == other.material
            && self.prepared.len() == other.prepared.len()
            && self.prepared.iter().all(|(algorithm, _)| other.is_for(*algorithm))
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "VerificationKey({:?})", self.kid)
    }
}

/// Whether a JWK held private parts. They are ignored, but whoever published them should know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PrivateParts(pub bool);

const RSA: [Algorithm; 6] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
];

fn check_use(jwk: &Object) -> Result<(), BadKey> {
    let for_signatures = match jwk.get("use") {
        None => true,
        Some(usage) => usage.as_str() == Some("sig"),
    };
    let for_verifying = match jwk.get("key_ops") {
        None => true,
        Some(ops) => {
            let mut ops = ops.as_array().into_iter().flatten();
            ops.any(|op| op.as_str() == Some("verify"))
        }
    };
    if for_signatures && for_verifying { Ok(()) } else { Err(BadKey::Use) }
}

/// Reads the numbers of a key, and says which algorithms go with such a key.
fn material(jwk: &Object) -> Result<(Material, &'static [Algorithm]), BadKey> {
    let member = |name: &'static str| {
        let text = jwk.get(name).and_then(Value::as_str).ok_or(BadKey::Malformed(name))?;
        base64url::decode(text).ok_or(BadKey::Malformed(name))
    };
    let text = |name| jwk.get(name).and_then(Value::as_str);
    match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let material = Material::Rsa { n: member("n")?, e: member("e")? };
            Ok((check_rsa(material)?, &RSA))
        }
        (Some("EC"), Some("P-256")) => {
            let (x, y) = (member("x")?, member("y")?);
            check_point(&signature::ECDSA_P256_SHA256_FIXED, &x, &y, 32)?;
            Ok((Material::Curve { x, y }, &[Algorithm::Es256]))
        }
        (Some("EC"), Some("P-384")) => {
            let (x, y) = (member("x")?, member("y")?);
            check_point(&signature::ECDSA_P384_SHA384_FIXED, &x, &y, 48)?;
            Ok((Material::Curve { x, y }, &[Algorithm::Es384]))
        }
        (Some("OKP"), Some("Ed25519")) => {
            let x = member("x")?;
            if x.len() != 32 || is_small_order(&x) {
                return Err(BadKey::OffCurve);
            }
            Ok((Material::Curve { x, y: Vec::new() }, &[Algorithm::EdDsa]))
        }
        (Some(_), _) => Err(BadKey::Kind),
        (None, _) => Err(BadKey::Malformed("kty")),
    }
}

/// The key's own `alg` where it has one, else all that go with it; never one not allowed.
fn published_for(
    jwk: &Object,
    fitting: &[Algorithm],
    allowed: Algorithms,
) -> Result<Vec<Algorithm>, BadKey> {
    let named = match jwk.get("alg") {
        None => None,
        Some(alg) => Some(alg.as_str().and_then(Algorithm::parse).ok_or(BadKey::Algorithm)?),
    };
    let usable = fitting
        .iter()
        .copied()
        .filter(|algorithm| allowed.allow(*algorithm) && named.is_none_or(|own| own == *algorithm));
    let usable: Vec<_> = usable.collect();
    if usable.is_empty() { Err(BadKey::Algorithm) } else { Ok(usable) }
}

/// Checks the size and the form of an RSA key, after taking leading zeros off its numbers.
fn check_rsa(material: Material) -> Result<Material, BadKey> {
    let Material::Rsa { n, e } = material else { return Err(BadKey::Kind) };
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = |number: &[u8]| {
        number.first().map_or(0, |top| number.len() * 8 - top.leading_zeros() as usize)
    };
    let odd = |number: &[u8]| number.last().is_some_and(|low| low % 2 == 1);
    let strong = (2048..=8192).contains(&bits(&n)) && odd(&n);
    let exponent = odd(&e) && e != [1] && bits(&e) <= 32;
    if strong && exponent { Ok(Material::Rsa { n, e }) } else { Err(BadKey::WeakRsa) }
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn check_point(
    algorithm: &'static signature::EcdsaVerificationAlgorithm,
    x: &[u8],
    y: &[u8],
    width: usize,
) -> Result<(), BadKey> {
    // RFC 7518 §6.2.1.2: coordinates have the full width of the field.
    if x.len() != width || y.len() != width {
        return Err(BadKey::OffCurve);
    }
    ParsedPublicKey::new(algorithm, uncompressed(x, y)).map(drop).map_err(|_| BadKey::OffCurve)
}

/// A point as SEC 1 §2.3.3 writes it out.
fn uncompressed(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// Tells whether an Ed25519 point is of small order: such a key accepts signatures nobody made.
///
/// The eight points, by their `y`, and the spellings of theirs that are not reduced.
fn is_small_order(point: &[u8]) -> bool {
    const P_MINUS_1: [u8; 32] = near_p(0xec);
    const P: [u8; 32] = near_p(0xed);
    const P_PLUS_1: [u8; 32] = near_p(0xee);
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = point.to_vec();
    if let Some(top) = y.last_mut() {
        *top &= 0x7f; // the sign of x
    }
    let small = |low: u8| y[0] == low && y[1..].iter().all(|byte| *byte == 0);
    small(0) || small(1) || [P_MINUS_1, P, P_PLUS_1].iter().chain(&ORDER_8).any(|bad| y == bad)
}

/// 2^255 - 19, give or take, little endian: its lowest byte is `low`.
const fn near_p(low: u8) -> [u8; 32] {
    let mut number = [0xff; 32];
    number[0] = low;
    number[31] = 0x7f;
    number
}

#[cfg(test)]
#[path = "jwk_tests.rs"]
mod tests;
