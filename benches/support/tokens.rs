//! Tokens like those that issuers sign, about 1 KB each, and what is asked of an issuer's tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use countersign::core::base64url::encode;
use countersign::core::claims::{AzpPolicy, ClaimsPolicy};
use countersign::core::issuer::{ClerkPolicy, Impersonation, IssuerPolicy, TokenPolicy};
use countersign::core::jwk::{Algorithm, Algorithms};
use countersign::core::jwk_set::{KeyNames, KeySet};
use countersign::core::time::UnixTime;
use serde_json::{Value, json};

/// When all tokens were issued, and when they are looked at.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
/// The host of the instance whose tokens these are.
pub(crate) const ISSUER_HOST: &str = "clerk.example.com";

const PARTY: &str = "https://app.example.com";
const AUDIENCE: &str = "orders";
const KEY_ID: &str = "ins_2xHq5PcA1BdR8tYw6ZsUeGfJkVn";

/// An issuer with one key, which signs.
pub(crate) struct Issuer {
    pub(crate) policy: IssuerPolicy,
    pub(crate) keys: KeySet,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Issuer {
    /// Creates a Clerk instance, or for what Clerk does not sign with, another issuer.
    pub(crate) fn of(algorithm: Algorithm) -> Self {
        let pair = Pair::generate(algorithm);
        let set = json!({ "keys": [pair.jwk()] }).to_string();
        let (keys, _) = KeySet::parse(set.as_bytes(), Algorithms::ALL, KeyNames::Required)
            .expect("a key that was just made is usable");
        let tokens = match pair {
            Pair::Rsa(_) => TokenPolicy::Clerk(ClerkPolicy {
                sessions: Some(claims_policy(None)),
                templates: None,
                impersonation: Impersonation::Allow,
            }),
            Pair::P256(_) | Pair::Ed25519(_) => {
                TokenPolicy::Oidc(claims_policy(Some(vec![AUDIENCE.to_owned()])))
            }
        };
        let names = vec![format!("https://{ISSUER_HOST}")];
        Self { policy: IssuerPolicy { names, algorithms: Algorithms::ALL, tokens }, keys, pair }
    }

    /// Signs a token of this user's.
    pub(crate) fn token(&self, user: usize) -> String {
        let alg = self.pair.algorithm().as_str();
        let header = json!({"alg": alg, "cat": "cl_B7d4PD111AAA", "kid": KEY_ID, "typ": "JWT"});
        let part = |part: &Value| encode(part.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims(user)));
        let signature = encode(&self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

impl Pair {
    fn generate(algorithm: Algorithm) -> Self {
        const MADE: &str = "the system has random bytes";
        match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                Self::P256(pair.expect(MADE))
            }
            Algorithm::EdDsa => Self::Ed25519(Ed25519KeyPair::generate().expect(MADE)),
            _ => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect(MADE)),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn jwk(&self) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encode(&public.n), "e": encode(&public.e)})
            }
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = KEY_ID.into();
        jwk["alg"] = self.algorithm().as_str().into();
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        const SIGNS: &str = "such a key signs any text";
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .expect(SIGNS);
                signature
            }
            Self::P256(pair) => {
                pair.sign(&SystemRandom::new(), message).expect(SIGNS).as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn claims_policy(audience: Option<Vec<String>>) -> ClaimsPolicy {
    ClaimsPolicy {
        audience,
        parties: vec![PARTY.to_owned()],
        azp: AzpPolicy::Auto,
        leeway: ClaimsPolicy::LEEWAY,
        max_lifetime: Some(ClaimsPolicy::MAX_LIFETIME),
    }
}

/// What the session token of somebody says who is signed in to an organization, in its version 2;
/// and whom it is for, as other issuers say it.
fn claims(user: usize) -> Value {
    let iat = NOW.as_secs();
    json!({
        "aud": AUDIENCE,
        "azp": PARTY,
        "exp": iat + 3600, // what is remembered of it outlives a bench
        "fea": "o:dashboard,o:teams",
        "fva": [1, -1],
        "iat": iat,
        "iss": format!("https://{ISSUER_HOST}"),
        "jti": format!("{user:020x}"),
        "nbf": iat - 10,
        "o": {
            "id": "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS",
            "slg": "acme",
            "rol": "admin",
            "per": "manage,read",
            "fpm": "3,2",
        },
        "pla": "o:pro",
        "sid": format!("sess_{user:027}"),
        "sts": "active",
        "sub": format!("user_{user:027}"),
        "v": 2,
    })
}
