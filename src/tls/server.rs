//! TLS with clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use super::rereader::{Configs, Reading, Rereader, Side};
use super::short_chain::ShortChain;
use super::{BadTls, H2, HTTP_1_1, PairFiles, VERSIONS, alpn, provider};
use crate::clock::Clock;
use crate::telemetry::metrics::CertificateMetrics;

/// How the proxy shows itself to clients on its TCP listeners.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientTlsSettings {
    /// File: `tls.certificate_file`, `tls.key_file`.
    pub pair: PairFiles,
    /// Whose certificates clients must show one of; nothing: they show none.
    ///
    /// File: `tls.client_ca_file`. Default: none.
    pub client_ca: Option<PathBuf>,
    /// Whether HTTP/2 may be chosen.
    ///
    /// File: `http2`. Default: true.
    pub http2: bool,
}

/// Sets up TLS with clients: handshakes go by the first, a task runs the second.
///
/// # Errors
///
/// [`BadTls`] where a file cannot be read, or the files do not fit each other.
pub fn with_clients(
    settings: ClientTlsSettings,
    clock: Clock,
    metrics: CertificateMetrics,
) -> Result<(Configs<ClientTlsSettings>, Rereader<ClientTlsSettings>), BadTls> {
    Rereader::start(settings, clock, metrics)
}

impl Side for ClientTlsSettings {
    type Config = ServerConfig;

    fn files(&self) -> Vec<PathBuf> {
        let pair = [&self.pair.certificate, &self.pair.key];
        pair.into_iter().chain(&self.client_ca).cloned().collect()
    }

    fn read(&self, reading: &mut Reading) -> Result<ServerConfig, BadTls> {
        let pair = reading.pair(&self.pair)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider has suites for both versions");
        let builder = match &self.client_ca {
            Some(file) => {
                let roots = Arc::new(reading.authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().expect("there is at least one root");
                builder.with_client_cert_verifier(Arc::new(ShortChain(verifier)))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = if self.http2 { alpn(&[H2, HTTP_1_1]) } else { alpn(&[HTTP_1_1]) };
        // Sessions are resumed by tickets, which any worker can read, and not out of a memory that
        // they would share under a lock. The keys of tickets end with these files: nobody comes
        // back by a certificate that is no longer asked for.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if self.client_ca.is_some() {
            // A ticket would stand for a client's certificate past its end.
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = Ticketer::new().map_err(|_| BadTls::NoRandomness)?;
        }
        Ok(config)
    }
}
