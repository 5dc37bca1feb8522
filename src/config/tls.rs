//! `tls`, and TLS in `upstream`: certificates, and whose are believed.
//!
//! Files are read here to say now what is wrong with them; what runs reads them for itself, and
//! again whenever they change.

use std::path::PathBuf;

use crate::core::origin::Scheme;
use crate::listen::ListenAddress;
use crate::proxy::UpstreamAddress;
use crate::tls::{self, BackendTlsSettings, BadPair, ClientTlsSettings, PairFiles};

use super::error::quoted;
use super::listen::Addresses;
use super::reader::{Content, Reader};
use super::secrets;

/// TLS on both sides; nothing where there is none, or where it is wrong, which is noted.
pub(super) struct Tls {
    pub(super) with_clients: Option<ClientTlsSettings>,
    pub(super) to_backend: Option<BackendTlsSettings>,
}

const PAIR: [&str; 2] = ["tls.certificate_file", "tls.key_file"];
const CLIENT_CA: &str = "tls.client_ca_file";

const BACKEND_PAIR: [&str; 2] = ["upstream.certificate_file", "upstream.key_file"];
const BACKEND_CA: &str = "upstream.ca_file";
const BACKEND_NAME: &str = "upstream.server_name";

pub(super) fn settings(reader: &mut Reader<'_>, addresses: &Addresses, http2: bool) -> Tls {
    let with_clients = with_clients(reader, &addresses.listen, http2);
    Tls { with_clients, to_backend: to_backend(reader, addresses) }
}

fn with_clients(
    reader: &mut Reader<'_>,
    listen: &[ListenAddress],
    http2: bool,
) -> Option<ClientTlsSettings> {
    let pair = pair(reader, PAIR);
    let client_ca = authorities(reader, CLIENT_CA);
    let is_on = PAIR.iter().any(|name| reader.is_written(name));
    if reader.is_written(CLIENT_CA) && !is_on {
        reader.mistake(
            CLIENT_CA,
            "asks clients for certificates, and there is no TLS; set `tls.certificate_file` and `tls.key_file`",
        );
    }
    if is_on && !listen.iter().any(|address| matches!(address, ListenAddress::Tcp(_))) {
        reader
            .warn(PAIR[0], "every address in `listen` is a Unix socket, and those are without TLS");
    }
    Some(ClientTlsSettings { pair: pair?, client_ca, http2 })
}

fn to_backend(reader: &mut Reader<'_>, addresses: &Addresses) -> Option<BackendTlsSettings> {
    let pair = pair(reader, BACKEND_PAIR);
    let ca = authorities(reader, BACKEND_CA);
    let name = reader.one(BACKEND_NAME, tls::server_name);
    let backend = addresses.upstream.as_ref()?;
    let host = match (&backend.address, backend.scheme) {
        (UpstreamAddress::Tcp { host, .. }, Scheme::Https) => host,
        (
            UpstreamAddress::Tcp { .. } | UpstreamAddress::Unix(_) | UpstreamAddress::Child { .. },
            _,
        ) => {
            for name in BACKEND_PAIR.into_iter().chain([BACKEND_CA, BACKEND_NAME]) {
                if reader.is_written(name) {
                    reader.mistake(name, "is for TLS, and the backend is spoken with in the clear; write `https://…` in `upstream.url`");
                }
            }
            return None;
        }
    };
    let of_host = || match tls::server_name(host) {
        Ok(name) => Some(name),
        Err(_) => {
            reader.mistake(
                "upstream.url",
                "its host is no name that stands in a certificate; write the one that does in `upstream.server_name`",
            );
            None
        }
    };
    let server_name = name.or_else(of_host)?;
    Some(BackendTlsSettings { server_name, ca, pair })
}

/// Reads a certificate and its key, of which there are both or neither.
fn pair(reader: &mut Reader<'_>, [certificate, key]: [&'static str; 2]) -> Option<PairFiles> {
    match (reader.is_written(certificate), reader.is_written(key)) {
        (true, false) => {
            let problem = format!("not set; which file holds the private key of `{certificate}`?");
            reader.mistake(key, problem);
        }
        (false, true) => {
            reader.mistake(certificate, format!("not set; of which certificate is `{key}`?"));
        }
        (true, true) | (false, false) => {}
    }
    let (chain, private) = (reader.content(certificate), reader.content(key));
    if let Some(private) = &private {
        secrets::warn_of_open_file(reader, key, &private.path);
    }
    let (chain, private) = (chain?, private?);
    match tls::pair(&chain.bytes, &private.bytes) {
        Ok(_) => Some(PairFiles { certificate: chain.path, key: private.path }),
        Err(bad) => {
            let (name, file) = match bad {
                BadPair::Certificate(_) => (certificate, &chain),
                BadPair::Key(_) | BadPair::Apart => (key, &private),
            };
            reader.mistake(name, format!("{}: {bad}", shown(file)));
            None
        }
    }
}

fn authorities(reader: &mut Reader<'_>, name: &'static str) -> Option<PathBuf> {
    let file = reader.content(name)?;
    match tls::authorities(&file.bytes) {
        Ok(_) => Some(file.path),
        Err(bad) => {
            reader.mistake(name, format!("{}: {bad}", shown(&file)));
            None
        }
    }
}

fn shown(file: &Content) -> String {
    quoted(&file.path.display().to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::Settings;
    use crate::config::tests::Scene;

    /// Files of two pairs, and some that hold neither.
    fn scene() -> Scene {
        let mut scene = Scene::default().file("none", "hunter2");
        for name in ["a", "b"] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([format!("{name}.test")]).unwrap();
            let certificate = certificate.self_signed(&key).unwrap().pem();
            let half = &certificate[..certificate.len() / 2];
            scene = scene
                .file(&format!("{name}.half"), half)
                .file(&format!("{name}.crt"), &certificate)
                .file(&format!("{name}.key"), &key.serialize_pem());
        }
        scene
    }

    fn tls(text: &str) -> Settings {
        scene().toml(text).load().unwrap_or_else(|it| panic!("{text}: {it:?}")).settings
    }

    #[test]
    fn bad_certificates_earn_these_sentences() {
        let own = "certificate_file = \"a.crt\", key_file = \"a.key\"";
        let https = "url = \"https://a.test\"";
        for (text, want) in [
            ("tls.key_file = \"a.key\"", "tls.certificate_file: not set; of which certificate is"),
            ("tls.certificate_file = \"a.crt\"", "tls.key_file: not set; which file holds"),
            (
                "tls = {certificate_file = \"a.crt\", key_file = \"no\"}",
                "tls.key_file: cannot be read",
            ),
            (
                "tls = {certificate_file = \"a.half\", key_file = \"a.key\"}",
                "tls.certificate_file: \"a.half\": a certificate in it is broken off",
            ),
            (
                "tls = {certificate_file = \"a.key\", key_file = \"a.key\"}",
                "tls.certificate_file: \"a.key\": no certificate; it wants a chain in PEM",
            ),
            (
                "tls = {certificate_file = \"a.crt\", key_file = \"none\"}",
                "tls.key_file: \"none\": no private key; it wants one in PEM",
            ),
            (
                "tls = {certificate_file = \"a.crt\", key_file = \"b.key\"}",
                "tls.key_file: \"b.key\": not the private key of the certificate",
            ),
            ("tls.client_ca_file = \"a.crt\"", "tls.client_ca_file: asks clients for certificates"),
            (
                &format!("tls = {{{own}, client_ca_file = \"none\"}}"),
                "tls.client_ca_file: \"none\": no certificate of an authority",
            ),
            (
                &format!("upstream = {{{https}, ca_file = \"none\"}}"),
                "upstream.ca_file: \"none\": no certificate of an authority",
            ),
            (
                &format!("upstream = {{{https}, server_name = \"a b\"}}"),
                "upstream.server_name: \"a b\": no name that stands in a certificate",
            ),
            (
                &format!("upstream = {{{https}, key_file = \"a.key\"}}"),
                "upstream.certificate_file: not set; of which certificate is",
            ),
            (
                "upstream = {url = \"http://a\", server_name = \"a\"}",
                "upstream.server_name: is for TLS, and the backend is spoken with in the clear",
            ),
            (
                "upstream = {url = \"unix:/a\", ca_file = \"a.crt\"}",
                "upstream.ca_file: is for TLS, and the backend",
            ),
            ("upstream.url = \"https://-\"", "upstream.url: its host is no name that stands"),
        ] {
            let got = scene().toml(text).mistakes();
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
            assert!(!got[0].contains("hunter2"));
        }
    }

    #[test]
    fn good_certificates_arrive() {
        let own = "certificate_file = \"a.crt\", key_file = \"a.key\"";
        let files = PairFiles { certificate: "a.crt".into(), key: "a.key".into() };

        let none = tls("");
        let on = tls(&format!("tls = {{{own}}}"));
        let asking = tls(&format!("tls = {{{own}, client_ca_file = \"b.crt\"}}"));
        let plain = tls("upstream.url = \"https://a.test\"");
        let full = tls(&format!(
            "upstream = {{url = \"https://10.0.0.1\", ca_file = \"b.crt\", server_name = \"B.test\", {own}}}"
        ));

        assert!(none.tls.is_none() && none.upstream_tls.is_none());
        let of_clients =
            |client_ca| ClientTlsSettings { pair: files.clone(), client_ca, http2: true };
        assert_eq!(on.tls, Some(of_clients(None)));
        assert_eq!(asking.tls, Some(of_clients(Some("b.crt".into()))));
        let of_backend = |name, ca, pair| {
            Some(BackendTlsSettings { server_name: tls::server_name(name).unwrap(), ca, pair })
        };
        assert_eq!(plain.upstream_tls, of_backend("a.test", None, None));
        assert_eq!(
            full.upstream_tls,
            of_backend("b.test", Some("b.crt".into()), Some(files.clone()))
        );
        let by_address = tls("upstream.url = \"https://[::1]:1\"");
        assert_eq!(by_address.upstream_tls, of_backend("::1", None, None));
    }

    #[test]
    fn browsers_that_come_under_tls_are_not_sent_back_without() {
        let own = "tls = {certificate_file = \"a.crt\", key_file = \"a.key\"}\n";
        let text = "listen = \"[::]:4600\"\nclerk.authorized_parties = [\"https://other.test\"]\n";
        for (text, warned) in [(text.to_owned(), true), (format!("{own}{text}"), false)] {
            let warnings = scene().toml(&text).load().unwrap().warnings;
            let told = warnings.iter().any(|warning| warning.key == "public_url");
            assert_eq!(told, warned, "{text}: {warnings:?}");
        }
    }

    #[test]
    fn a_key_for_everybody_and_tls_for_nobody_are_warned_of() {
        let own = "tls = {certificate_file = \"a.crt\", key_file = \"a.key\"}";
        for (text, open, want) in [
            (own.to_owned(), false, None),
            (own.to_owned(), true, Some("tls.key_file: everybody on this machine can read a.key")),
            (
                format!("listen = \"unix:/a\"\n{own}"),
                false,
                Some("tls.certificate_file: every address in `listen` is a Unix socket"),
            ),
            (format!("listen = [\"unix:/a\", \"127.0.0.1:1\"]\n{own}"), false, None),
        ] {
            let scene = if open { scene().open("a.key") } else { scene() };
            let warnings = scene.toml(&text).load().unwrap().warnings;
            let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
            let told = told.iter().find(|told| told.starts_with("tls."));
            assert_eq!(told.is_some(), want.is_some(), "{text}: {told:?}");
            assert!(told.zip(want).is_none_or(|(told, want)| told.starts_with(want)), "{told:?}");
        }
    }
}
