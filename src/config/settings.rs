//! What the program runs on.

use std::path::PathBuf;

use crate::admin::{AdminSettings, Readiness};
use crate::clerk_api::ClerkApiSettings;
use crate::core::identity::IdentityPolicy;
use crate::core::issuer::IssuerPolicy;
use crate::core::origin::Scheme;
use crate::core::path::PathPolicy;
use crate::core::route::Routes;
use crate::http_client::HttpClientSettings;
use crate::keys::KeySettings;
use crate::proxy::{BrowserSettings, Preflight, ProxySettings, TrustedProxies};
use crate::signing::SigningSettings;
use crate::telemetry::LogSettings;
use crate::tls::{BackendTlsSettings, ClientTlsSettings};

/// Everything the program is told: the settings of each room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The request path.
    pub proxy: ProxySettings,
    /// Whose tokens are good. Never empty; the Clerk instance, where there is one, comes first.
    pub issuers: Vec<IssuerSettings>,
    /// Where sessions and users are listed whose tokens are good no more.
    ///
    /// File: `clerk.revoked_file`. Default: none.
    pub revoked: Option<PathBuf>,
    /// TLS with clients; nothing: they speak plain HTTP.
    pub tls: Option<ClientTlsSettings>,
    /// TLS with the backend; nothing: it speaks plain HTTP.
    pub upstream_tls: Option<BackendTlsSettings>,
    /// How Clerk's Backend API is asked; nothing without a secret key.
    pub clerk_api: Option<ClerkApiSettings>,
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

/// What decides on tokens: the part of [`Settings`] that explains a refusal, without the backend
/// and whatever it takes to serve.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// Whose tokens are good. Never empty.
    pub issuers: Vec<IssuerSettings>,
    /// Where sessions and users are listed whose tokens are good no more.
    pub revoked: Option<PathBuf>,
    /// How keys are fetched.
    pub http_client: HttpClientSettings,
    /// The longest token that is looked at, in bytes.
    pub longest: usize,
    /// Which identity headers the backend gets.
    pub identity: IdentityPolicy,
    /// Who may go where.
    pub routes: Routes,
    /// How browsers sign in; nothing where no Clerk instance is named.
    pub browsers: Option<BrowserSettings>,
    /// Whose forwarded headers count.
    pub trusted_proxies: TrustedProxies,
    /// How requests reach the proxy.
    pub scheme: Scheme,
    /// What a path may hold.
    pub paths: PathPolicy,
    /// What becomes of a CORS preflight.
    pub preflight: Preflight,
    /// The longest token that a handshake brings, in bytes.
    pub longest_handshake: usize,
}

/// Somebody whose tokens are good.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// What they must be and say.
    pub policy: IssuerPolicy,
    /// How the keys they are verified with are had.
    pub keys: KeySettings,
}
