//! How keys are fetched: `keys.ca_file`, and the way out of the network.

use crate::http_client::{BadClient, HttpClient, HttpClientSettings, ProxySettings};

use super::reader::Reader;

pub(super) fn settings(reader: &mut Reader<'_>) -> HttpClientSettings {
    let text = |text: &str| Ok::<_, String>(text.to_owned());
    let settings = HttpClientSettings {
        ca_pem: reader.own_content("keys.ca_file").map(|file| file.bytes),
        proxy: ProxySettings {
            https_proxy: reader.one("https_proxy", text),
            no_proxy: reader.one("no_proxy", text),
        },
        ..HttpClientSettings::default()
    };
    // Whether these can be used is the client's to say, and the operator's to know now.
    if let Err(error) = HttpClient::new(&settings) {
        let key = match error {
            BadClient::CaMalformed(_) | BadClient::CaEmpty => "keys.ca_file",
            BadClient::Proxy => "https_proxy",
        };
        reader.mistake(key, error.to_string());
    }
    settings
}

#[cfg(test)]
mod tests {
    use crate::config::tests::Scene;

    #[test]
    fn bad_values_earn_these_sentences() {
        let scene = || Scene::default().file("ca.pem", "no certificate").file("empty.pem", "");
        for (name, value, want) in [
            ("SSL_CERT_FILE", "nowhere", "keys.ca_file: \"nowhere\": cannot be read: "),
            ("SSL_CERT_FILE", "ca.pem", "keys.ca_file: the CA file holds no usable certificate"),
            (
                "COUNTERSIGN_KEYS_CA_FILE",
                "empty.pem",
                "keys.ca_file: the CA file holds no usable certificate",
            ),
            ("HTTPS_PROXY", "ftp://user:hunter2@a", "https_proxy: the proxy is not an address"),
            ("https_proxy", "ftp://user:hunter2@a", "https_proxy: the proxy is not an address"),
        ] {
            let got = scene().env(name, value).mistakes();
            assert!(got.len() == 1 && got[0].starts_with(want), "{name}={value}: {got:?}");
            assert!(!got[0].contains("hunter2"));
        }
    }

    #[test]
    fn the_way_out_comes_from_the_environment() {
        let scene =
            Scene::default().env("https_proxy", "http://proxy:3128").env("NO_PROXY", "a.com");
        let proxy = scene.load().unwrap().settings.http_client.proxy;
        assert_eq!(proxy.https_proxy.as_deref(), Some("http://proxy:3128"));
        assert_eq!(proxy.no_proxy.as_deref(), Some("a.com"));
    }
}
