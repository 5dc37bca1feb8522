//! What PEM files hold: a certificate chain and its key, authorities.
//!
//! Problems are told in sentences of ours: those of parsers may quote what they read.

use aws_lc_rs::default_provider;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{self, CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use crate::core::time::UnixTime;

/// What is wrong with a certificate chain and a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadPair {
    /// The file of the chain holds none.
    #[error("{0}")]
    Certificate(&'static str),
    /// The file of the key holds none, or none of use.
    #[error("{0}")]
    Key(&'static str),
    /// Each is good, and they are not of each other.
    #[error("not the private key of the certificate, which is the first in the file of the chain")]
    Apart,
}

/// A file without a certificate by which others could be known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no certificate of an authority; it wants PEM, `-----BEGIN CERTIFICATE-----`")]
pub struct NoAuthority;

/// The certificates of authorities.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Those of use.
    pub roots: RootCertStore,
    /// How many others there were.
    pub ignored: usize,
}

/// Reads a certificate chain and its key.
///
/// # Errors
///
/// [`BadPair`]: by the file that is at fault.
pub fn pair(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, BadPair> {
    let chain = chain(certificate).map_err(BadPair::Certificate)?;
    let key = private_key(key).map_err(BadPair::Key)?;
    let key = default_provider().key_provider.load_private_key(key).map_err(|_| {
        BadPair::Key("a key that TLS has no use for; RSA of 2048 bits and more, P-256, P-384, P-521 and Ed25519 are")
    })?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(Error::InconsistentKeys(_)) => Err(BadPair::Apart),
        Err(_) => Err(BadPair::Certificate("its first certificate is none that TLS can use")),
    }
}

/// Reads the certificates of authorities. A system's bundle may hold oddities among hundreds: one
/// that is of use is enough.
///
/// # Errors
///
/// [`NoAuthority`] where none is, or where the file is broken off.
pub fn authorities(pem: &[u8]) -> Result<Authorities, NoAuthority> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let mut roots = RootCertStore::empty();
    let (used, ignored) = roots.add_parsable_certificates(read.map_err(|_| NoAuthority)?);
    if used == 0 { Err(NoAuthority) } else { Ok(Authorities { roots, ignored }) }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("no certificate; it wants a chain in PEM, `-----BEGIN CERTIFICATE-----`"),
        Err(_) => Err("a certificate in it is broken off, or no base64"),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    let holds = |text: &str| pem.windows(text.len()).any(|window| window == text.as_bytes());
    // As PKCS #8 has it, and as RFC 1421 §4.6.1.1.
    if holds("BEGIN ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "its key is encrypted, and nobody is there to be asked for the passphrase; `openssl pkey` writes it without",
        );
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|problem| match problem {
        pem::Error::NoItemsFound => {
            "no private key; it wants one in PEM, `-----BEGIN PRIVATE KEY-----`"
        }
        _ => "the private key in it is broken off, or no base64",
    })
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Validity {
    pub(super) from: UnixTime,
    pub(super) to: UnixTime,
}

impl Validity {
    /// Reads when the first certificate of a chain is good.
    ///
    /// That it is bad long before and after is what the verifier says first, with the dates.
    pub(super) fn of(pair: &CertifiedKey) -> Option<Self> {
        let certificate = ParsedCertificate::try_from(pair.end_entity_cert().ok()?).ok()?;
        let roots = RootCertStore::empty();
        let verified = |at| {
            let at = pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
            let algorithms = default_provider().signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], at, algorithms)
        };
        let from = match verified(0) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => time(not_before),
            _ => UnixTime::from_secs(0),
        };
        match verified(u64::MAX) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => Some(Self { from, to: time(not_after) }),
            _ => None,
        }
    }
}

fn time(time: pki_types::UnixTime) -> UnixTime {
    UnixTime::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn certificate(key: &KeyPair) -> String {
        CertificateParams::new(["a.test".to_owned()]).unwrap().self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_key_comes_in_any_of_its_forms() {
        // Of `openssl ecparam -genkey`, twice, the first through `openssl pkcs8`; and of `openssl
        // genrsa -traditional`. The certificates are of `openssl req -x509`.
        for (name, pem) in [
            ("PKCS #8", include_str!("../../tests/fixtures/tls/pkcs8.pem")),
            ("PKCS #1", include_str!("../../tests/fixtures/tls/pkcs1.pem")),
            ("SEC 1", include_str!("../../tests/fixtures/tls/sec1.pem")),
        ] {
            let certificate = include_str!("../../tests/fixtures/tls/ec.crt");
            let rsa = include_str!("../../tests/fixtures/tls/rsa.crt");
            let fits = [certificate, rsa].map(|it| pair(it.as_bytes(), pem.as_bytes()).is_ok());
            assert_eq!(fits, [name != "PKCS #1", name == "PKCS #1"], "{name}");
        }
    }

    #[test]
    fn a_bad_pair_is_told_by_the_file_at_fault() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let (good, own) = (certificate(&key), key.serialize_pem());
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let junk_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let encrypted = junk_key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        for (chain, key, want) in [
            (&*good, &*own, "good"),
            (&format!("{good}{junk}"), &own, "good"), // the chain is the client's to read
            (&good, &format!("{good}{own}"), "good"),
            ("", &own, "Certificate(\"no certificate"),
            (&own, &own, "Certificate(\"no certificate"),
            (&good[..good.len() / 2], &own, "Certificate(\"a certificate in it is broken"),
            (junk, &own, "Certificate(\"its first certificate"),
            (&format!("{junk}{good}"), &own, "Certificate(\"its first certificate"),
            (&good, "", "Key(\"no private key"),
            (&good, &good, "Key(\"no private key"),
            (&good, &own[..own.len() / 2], "Key(\"the private key in it is broken"),
            (&good, junk_key, "Key(\"a key that TLS has no use for"),
            (&good, &encrypted, "Key(\"its key is encrypted"),
            (&good, traditional, "Key(\"its key is encrypted"),
            (&good, &other.serialize_pem(), "Apart"),
        ] {
            let got = pair(chain.as_bytes(), key.as_bytes());
            let got = got.map_or_else(|bad| format!("{bad:?}"), |_| "good".to_owned());
            assert!(got.starts_with(want), "{chain} {key}: {got}");
        }
    }

    #[test]
    fn authorities_are_at_least_one() {
        let good = certificate(&KeyPair::generate().unwrap());
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, want) in [
            (good.clone(), Ok((1, 0))),
            (format!("{junk}{good}"), Ok((1, 1))),
            (junk.to_owned(), Err(NoAuthority)),
            (String::new(), Err(NoAuthority)),
            (format!("{good}{}", &good[..good.len() / 2]), Err(NoAuthority)),
        ] {
            let got = authorities(pem.as_bytes()).map(|it| (it.roots.len(), it.ignored));
            assert_eq!(got, want, "{pem}");
        }
    }

    #[test]
    fn a_certificate_says_from_when_to_when_it_is_good() {
        let dates = [(1975, 2000), (1999, 2031), (2026, 2050), (1980, 9999)];
        let new_year = |year: i32| rcgen::date_time_ymd(year, 1, 1);
        for (from, to) in dates {
            for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
                let key = KeyPair::generate_for(algorithm).unwrap();
                let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
                params.not_before = new_year(from);
                params.not_after = new_year(to);
                let certificate = params.self_signed(&key).unwrap().pem();
                let pair = pair(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
                let at = |year| UnixTime::from_secs(new_year(year).unix_timestamp());
                let want = Validity { from: at(from), to: at(to) };
                assert_eq!(Validity::of(&pair), Some(want), "{from}");
            }
        }
    }
}
