//! TLS with the backend.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::rereader::{Configs, Reading, Rereader, Side};
use super::{BadTls, H2, HTTP_1_1, PairFiles, VERSIONS, alpn, provider};
use crate::clock::Clock;
use crate::telemetry::metrics::CertificateMetrics;

/// How the backend is known, and how the proxy shows itself to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackendTlsSettings {
    /// The name that is asked for, and that the backend's certificate must be good for.
    ///
    /// File: `upstream.server_name`. Default: the host of `upstream.url`.
    pub server_name: ServerName<'static>,
    /// Whose certificates are believed, and nobody else's.
    ///
    /// File: `upstream.ca_file`. Default: Mozilla's roots.
    pub ca: Option<PathBuf>,
    /// What the proxy shows where the backend asks for it.
    ///
    /// File: `upstream.certificate_file`, `upstream.key_file`. Default: nothing.
    pub pair: Option<PairFiles>,
}

/// What a handshake with the backend needs.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The name its certificate must be good for.
    pub server_name: ServerName<'static>,
    /// The newest snapshot of all else.
    pub configs: Configs<BackendTlsSettings>,
}

/// A text that is no name of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no name that stands in a certificate; write a host name or an IP address")]
pub struct NotAName;

/// Reads the name of a server: a host name, or an IP address without brackets.
///
/// # Errors
///
/// [`NotAName`] where it is neither.
pub fn server_name(text: &str) -> Result<ServerName<'static>, NotAName> {
    ServerName::try_from(text.to_owned()).map_err(|_| NotAName)
}

/// Sets up TLS with the backend: handshakes go by the first, a task runs the second.
///
/// # Errors
///
/// [`BadTls`] where a file cannot be read, or the files do not fit each other.
pub fn to_backend(
    settings: BackendTlsSettings,
    clock: Clock,
) -> Result<(Backend, Rereader<BackendTlsSettings>), BadTls> {
    let server_name = settings.server_name.clone();
    let (configs, rereader) = Rereader::start(settings, clock, CertificateMetrics::default())?;
    Ok((Backend { server_name, configs }, rereader))
}

impl Side for BackendTlsSettings {
    type Config = ClientConfig;

    fn files(&self) -> Vec<PathBuf> {
        let pair = self.pair.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        pair.chain(&self.ca).cloned().collect()
    }

    fn read(&self, reading: &mut Reading) -> Result<ClientConfig, BadTls> {
        let roots = match &self.ca {
            Some(file) => reading.authorities(file)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider has suites for both versions")
            .with_root_certificates(roots);
        let mut config = match &self.pair {
            Some(files) => {
                let pair = SingleCertAndKey::from(reading.pair(files)?);
                builder.with_client_cert_resolver(Arc::new(pair))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn(&[H2, HTTP_1_1]);
        Ok(config)
    }
}
