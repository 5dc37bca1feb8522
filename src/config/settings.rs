//! What the program runs on.

use crate::admin::{AdminSettings, Readiness};
use crate::core::issuer::IssuerPolicy;
use crate::core::jwk::KeyId;
use crate::http_client::HttpClientSettings;
use crate::keys::KeySettings;
use crate::proxy::ProxySettings;
use crate::telemetry::LogSettings;

/// Everything the program is told: the settings of each room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The request path.
    pub proxy: ProxySettings,
    /// Whose tokens are good. Never empty; the Clerk instance, where there is one, comes first.
    pub issuers: Vec<IssuerSettings>,
    /// How keys are fetched.
    pub http_client: HttpClientSettings,
    /// What signs the identity headers.
    pub signing: SigningSettings,
    /// The admin listener.
    pub admin: AdminSettings,
    /// When the proxy calls itself ready.
    pub readiness: Readiness,
    /// What is logged.
    pub log: LogSettings,
}

/// Somebody whose tokens are good.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// What they must be and say.
    pub policy: IssuerPolicy,
    /// How the keys they are verified with are had.
    pub keys: KeySettings,
}

/// What signs the identity headers.
#[derive(Clone, Debug)]
pub enum SigningSettings {
    /// A secret that the backend has too, at least 32 bytes.
    Secret {
        /// Its bytes.
        secret: Secret,
        /// `signing.key_id`
        id: Option<KeyId>,
    },
    /// An Ed25519 key from `signing.keys_dir`, as PKCS #8 in DER.
    Ed25519 {
        /// Its bytes.
        pkcs8: Secret,
        /// The stem of its file.
        id: KeyId,
    },
    /// An Ed25519 key that is made at the start.
    Generate,
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

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Secret({} bytes)", self.0.len())
    }
}
