//! Authorities, certificates in files, and TLS as clients and backends speak it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::tls::PairFiles;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Somebody who makes certificates.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// How many authorities there are.
static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // By its name it is known whose certificate one is.
        let name = format!("authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), certificate }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for this name, good until long after any test.
    pub(crate) fn pair(&self, name: &str) -> Pair {
        self.pair_until(name, 4000)
    }

    /// A certificate that is good until the beginning of a year.
    pub(crate) fn pair_until(&self, name: &str, year: i32) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1990, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.sign(&params)
    }

    /// A certificate that says this.
    pub(crate) fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that believes this authority and shows this certificate, if any.
    pub(crate) fn client(&self, shown: Option<&Pair>) -> Arc<ClientConfig> {
        self.client_of(&[&TLS13, &TLS12], shown)
    }

    /// The same, of these versions of TLS.
    pub(crate) fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Pair>,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(match shown {
            Some(pair) => builder.with_client_auth_cert(pair.chain(), pair.private()).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    /// A client that believes this authority and shows all of this.
    pub(crate) fn client_of_chain(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
    }

    /// A server that asks clients for a certificate of this authority's.
    pub(crate) fn server_that_asks(&self, shown: &Pair) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(shown.chain(), shown.private())
            .unwrap()
    }
}

impl Pair {
    /// A server that shows this certificate.
    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.private())
            .unwrap()
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).map(Result::unwrap).collect()
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }
}

/// A directory with files as Kubernetes mounts them: each a link through `..data` to one of a
/// generation.
pub(crate) struct Mounted {
    home: TempDir,
    generation: std::cell::Cell<u32>,
}

impl Mounted {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let mounted = Self { home: tempfile::tempdir().unwrap(), generation: 0.into() };
        mounted.swap(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), mounted.path(name)).unwrap();
        }
        mounted
    }

    pub(crate) fn of(pair: &Pair) -> Self {
        Self::new(&[("tls.crt", &pair.certificate), ("tls.key", &pair.key)])
    }

    pub(crate) fn pair(&self) -> PairFiles {
        PairFiles { certificate: self.path("tls.crt"), key: self.path("tls.key") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Puts all files in the place of the ones that are there, in one move.
    pub(crate) fn swap(&self, files: &[(&str, &str)]) {
        self.generation.set(self.generation.get() + 1);
        let generation = format!("..{}", self.generation.get());
        fs::create_dir(self.path(&generation)).unwrap();
        for (name, text) in files {
            fs::write(self.path(&generation).join(name), text).unwrap();
        }
        symlink(&generation, self.path("..new")).unwrap();
        fs::rename(self.path("..new"), self.path("..data")).unwrap();
    }

    pub(crate) fn swap_pair(&self, pair: &Pair) {
        self.swap(&[("tls.crt", &pair.certificate), ("tls.key", &pair.key)]);
    }

    /// Puts another file in the place of one, as an editor does.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        fs::write(self.path("..file"), text).unwrap();
        fs::rename(self.path("..file"), self.path(name)).unwrap();
    }
}

/// Opens a connection under TLS to `localhost` at this address.
pub(crate) async fn connect(
    address: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?; // time may be paused, and systems wait in theirs
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await
}
