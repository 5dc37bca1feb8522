//! Certificates from files, and TLS made of them: with clients, and with the backend.
//!
//! A side of TLS reads its files whole, and only what is good together is used. One task a side
//! watches them, also through links that are swapped, and publishes a new snapshot: handshakes
//! from then on go by it, and connections that are there live on.
//!
//! TLS 1.2 and 1.3, by one provider that is named, never the process's default: which that is
//! depends on what else is linked. No early data, since whoever records it can send it again.

mod client;
mod pem;
mod rereader;
mod server;
mod short_chain;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::client::{Backend, BackendTlsSettings, NotAName, server_name, to_backend};
pub use self::pem::{Authorities, BadPair, NoAuthority, authorities, pair};
pub use self::rereader::{Configs, Rereader, Side};
pub use self::server::{ClientTlsSettings, with_clients};

/// HTTP/2, as it is called where a protocol is chosen under TLS (RFC 7301, 9113 §3.1).
pub const H2: &[u8] = b"h2";
/// HTTP/1.1, as it is called there.
pub const HTTP_1_1: &[u8] = b"http/1.1";

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A certificate chain and the private key of its first certificate, each in a PEM file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairFiles {
    /// The chain, one's own certificate first.
    pub certificate: PathBuf,
    /// The key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file cannot be read, or does not hold what it should.
    #[error("TLS: {}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it. Nothing that stands in it.
        problem: String,
    },
    /// Session tickets have no key.
    #[error("TLS: the system has no random bytes")]
    NoRandomness,
}

/// Makes the list to choose from, the dearest first.
pub fn alpn(names: &[&[u8]]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.to_vec()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
