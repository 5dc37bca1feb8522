//! Connections: by name, through a proxy where there is one, under TLS where it is asked for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::{BadClient, FetchError};
use super::url::{Endpoint, FetchUrl, Scheme};
use super::{AGENT, ProxySettings, http1};

/// Bytes both ways: over TCP, through a tunnel, under TLS, or several of these.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Stream = Box<dyn Duplex>;

/// Opens connections.
pub(super) struct Connector {
    tls: TlsConnector,
    proxy: Option<Proxy>,
    /// What the addresses of one host share equally, so that a silent one does not use up the
    /// time of those after it.
    patience: Duration,
}

/// A proxy that opens tunnels (RFC 9110 §9.3.6).
struct Proxy {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    matcher: Matcher,
}

impl Connector {
    pub(super) fn new(
        ca_pem: Option<&[u8]>,
        proxy: &ProxySettings,
        patience: Duration,
    ) -> Result<Self, BadClient> {
        let proxy = match proxy.https_proxy.as_deref() {
            // Set to nothing, a variable of the environment means the same as not set.
            None | Some("") => None,
            Some(url) => Some(Proxy::new(url, proxy.no_proxy.as_deref().unwrap_or_default())?),
        };
        Ok(Self { tls: tls(ca_pem)?, proxy, patience })
    }

    /// Opens a connection over which `url` can be asked for.
    pub(super) async fn connect(&self, url: &FetchUrl) -> Result<Stream, FetchError> {
        let endpoint = url.endpoint();
        let stream = match self.proxy_for(url) {
            Some(proxy) => self.tunnel(proxy, endpoint).await.map_err(FetchError::at_proxy)?,
            None => self.direct(endpoint).await?,
        };
        self.secure(stream, endpoint).await
    }

    /// Returns the proxy that `url` is reached through; this machine is reached without one.
    fn proxy_for(&self, url: &FetchUrl) -> Option<&Proxy> {
        let proxy = self.proxy.as_ref().filter(|_| !url.endpoint().is_loopback())?;
        proxy.matcher.intercept(url.as_uri()).map(|_| proxy)
    }

    async fn direct(&self, endpoint: &Endpoint) -> Result<Stream, FetchError> {
        let addresses = resolve(endpoint).await?;
        let loopback = addresses.iter().all(|address| address.ip().is_loopback());
        if endpoint.scheme == Scheme::Http && !loopback {
            return Err(FetchError::NotLoopback);
        }
        self.dial(&addresses).await
    }

    /// Asks `proxy` for a tunnel to `endpoint`.
    async fn tunnel(&self, proxy: &Proxy, endpoint: &Endpoint) -> Result<Stream, FetchError> {
        let stream = self.dial(&resolve(&proxy.endpoint).await?).await?;
        let stream = self.secure(stream, &proxy.endpoint).await?;
        let (mut sender, connection) = http1().handshake(TokioIo::new(stream)).await?;
        let permit = async {
            let status = sender.send_request(proxy.connect_request(endpoint)).await?.status();
            if status.is_success() { Ok(()) } else { Err(FetchError::ProxyRefused(status)) }
        };
        // After a 2xx the connection is no longer HTTP's, and ends as what it was made of.
        let freed = async { Ok(connection.without_shutdown().await?) };
        let ((), freed) = tokio::try_join!(biased; permit, freed)?;
        // In TLS the client speaks first, so nobody at the other end can have said anything yet.
        if !freed.read_buf.is_empty() {
            return Err(FetchError::Broken("more than the head of an answer".to_owned()));
        }
        Ok(freed.io.into_inner())
    }

    /// Connects to the first address that answers.
    async fn dial(&self, addresses: &[SocketAddr]) -> Result<Stream, FetchError> {
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = FetchError::Dns("it has no address".to_owned());
        for address in addresses {
            last = match timeout(self.patience / count, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(Box::new(stream)),
                Ok(Err(error)) => FetchError::Connect(error.kind()),
                Err(_) => FetchError::TimedOut,
            };
        }
        Err(last)
    }

    /// Puts `stream` under TLS where the scheme says so.
    async fn secure(&self, stream: Stream, endpoint: &Endpoint) -> Result<Stream, FetchError> {
        match endpoint.scheme {
            Scheme::Http => Ok(stream),
            Scheme::Https => match self.tls.connect(endpoint.name.clone(), stream).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(FetchError::Tls(error.to_string())),
            },
        }
    }
}

impl Proxy {
    fn new(url: &str, no_proxy: &str) -> Result<Self, BadClient> {
        // The matcher says nothing about a proxy it cannot read; it then matches nothing.
        let any = Uri::from_static("https://any.example/");
        let proxy =
            Matcher::builder().https(url).build().intercept(&any).ok_or(BadClient::Proxy)?;
        Ok(Self {
            endpoint: Endpoint::of(proxy.uri()).map_err(|_| BadClient::Proxy)?,
            authorization: proxy.basic_auth().cloned(),
            matcher: Matcher::builder().https(url).no(no_proxy).build(),
        })
    }

    fn connect_request(&self, endpoint: &Endpoint) -> Request<Empty<Bytes>> {
        let target = endpoint.authority();
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = target.parse().expect("a host and a port are an authority");
        let host = HeaderValue::from_str(&target).expect("a host and a port are printable ASCII");
        request.headers_mut().extend([(HOST, host), (USER_AGENT, AGENT)]);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        request
    }
}

/// Finds the addresses of a host, in the order the system prefers them.
async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, FetchError> {
    if let ServerName::IpAddress(ip) = endpoint.name {
        return Ok(vec![SocketAddr::new(IpAddr::from(ip), endpoint.port)]);
    }
    let name = endpoint.name.to_str();
    let found = lookup_host((&*name, endpoint.port)).await;
    Ok(found.map_err(|error| FetchError::Dns(error.to_string()))?.collect())
}

/// TLS 1.2 and 1.3 with the public authorities, and those of `ca_pem` beside them.
fn tls(ca_pem: Option<&[u8]>) -> Result<TlsConnector, BadClient> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = ca_pem {
        let own = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let own = own.map_err(|error| BadClient::CaMalformed(error.to_string()))?;
        // A system's bundle may hold oddities among hundreds; one usable certificate is enough.
        let (usable, _) = roots.add_parsable_certificates(own);
        if usable == 0 {
            return Err(BadClient::CaEmpty);
        }
    }
    // Named, not the process's default: which that is depends on what else is linked.
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::net::TcpListener;

    use super::*;

    async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    fn connector(https_proxy: &str, no_proxy: &str) -> Result<Connector, BadClient> {
        let proxy = ProxySettings {
            https_proxy: Some(https_proxy.to_owned()),
            no_proxy: Some(no_proxy.to_owned()),
        };
        Connector::new(None, &proxy, Duration::from_secs(5))
    }

    #[test]
    fn a_proxy_is_http_or_https_with_or_without_a_password() {
        for (text, want) in [
            ("", Ok(None)),
            ("proxy.example:3128", Ok(Some("http://proxy.example:3128"))),
            ("http://proxy.example", Ok(Some("http://proxy.example:80"))),
            ("https://proxy.example", Ok(Some("https://proxy.example:443"))),
            ("http://user:secret@10.0.0.1:3128/", Ok(Some("http://10.0.0.1:3128"))),
            ("http://[::1]:3128", Ok(Some("http://[::1]:3128"))),
            ("socks5://proxy.example:1080", Err(BadClient::Proxy)),
            ("http://proxy.example:secret", Err(BadClient::Proxy)),
            ("not a proxy", Err(BadClient::Proxy)),
        ] {
            let got = connector(text, "").map(|connector| {
                let endpoint = connector.proxy?.endpoint;
                Some(match endpoint.scheme {
                    Scheme::Http => format!("http://{}", endpoint.authority()),
                    Scheme::Https => format!("https://{}", endpoint.authority()),
                })
            });
            assert_eq!(got, want.map(|want| want.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn this_machine_and_what_no_proxy_names_are_reached_without_a_proxy() {
        let no_proxy = "inside.example, 10.0.0.0/8, 2001:db8::/32";
        let connector = connector("http://proxy.example:3128", no_proxy).unwrap();
        for (url, through) in [
            ("https://outside.example/", true),
            ("https://notinside.example/", true),
            ("https://11.0.0.1/", true),
            ("https://[2001:db9::1]/", true),
            ("https://inside.example/", false),
            ("https://deep.inside.example:8443/", false),
            ("https://10.1.2.3/", false),
            ("https://[2001:db8::1]/", false),
            ("https://localhost/", false),
            ("https://127.0.0.2/", false),
            ("http://127.0.0.1/", false),
            ("http://localhost/", false),
            ("http://[::1]/", false),
        ] {
            let proxy = connector.proxy_for(&FetchUrl::parse(url).unwrap());
            assert_eq!(proxy.is_some(), through, "{url}");
        }
    }

    #[tokio::test]
    async fn plain_http_stays_on_this_machine_whatever_its_name_resolves_to() {
        let endpoint = Endpoint::of(&Uri::from_static("http://192.0.2.1/")).unwrap();
        let outcome = connector("", "").unwrap().direct(&endpoint).await;
        assert_eq!(outcome.err(), Some(FetchError::NotLoopback));
    }

    #[tokio::test]
    async fn each_address_is_tried_until_one_answers() {
        let connector = connector("", "").unwrap();
        let (listener, gone) = (listen().await, listen().await);
        let (live, dead) = (listener.local_addr().unwrap(), gone.local_addr().unwrap());
        drop(gone);
        let refused = FetchError::Connect(ErrorKind::ConnectionRefused);
        for (addresses, want) in [
            (vec![dead, live], None),
            (vec![live, dead], None),
            (vec![dead, dead], Some(refused)),
            (vec![], Some(FetchError::Dns("it has no address".to_owned()))),
        ] {
            assert_eq!(connector.dial(&addresses).await.err(), want, "{addresses:?}");
        }
    }

    #[test]
    fn own_authorities_are_pem_and_at_least_one() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "certificate", key, junk] {
            assert_eq!(tls(Some(pem.as_bytes())).err(), Some(BadClient::CaEmpty), "{pem}");
        }
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(matches!(tls(Some(cut.as_bytes())).err(), Some(BadClient::CaMalformed(_))));
        assert!(tls(None).is_ok());
    }
}
