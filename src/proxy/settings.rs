//! What the proxy is told before it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::core::browser::BrowserSettings;
use crate::core::header::StripPolicy;
use crate::core::identity::IdentityPolicy;
use crate::core::origin::Scheme;
use crate::core::path::PathPolicy;
use crate::core::preflight::Preflight;
use crate::core::route::Routes;
use crate::core::stream::StreamLifetime;
use crate::listen::ListenAddress;

/// Everything the request path is told. Each of its rooms takes the part it needs.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Where clients connect. Never empty.
    pub listen: Vec<ListenAddress>,
    /// The mode of the Unix sockets among them.
    ///
    /// File: `listen_mode = "0660"`. Default: 0660.
    pub listen_mode: u32,
    /// Where the backend is.
    pub upstream: UpstreamAddress,
    /// What is spoken with it.
    pub upstream_protocol: UpstreamProtocol,
    /// Whether clients may speak HTTP/2: at once on connections without TLS, and as they choose
    /// under TLS.
    ///
    /// File: `http2 = true`. Default: true.
    pub http2: bool,
    /// How long a WebSocket, an event stream or a call of gRPC may live.
    pub stream_lifetime: StreamLifetime,
    /// Whether a WebSocket's token may stand among its protocols, as `bearer, <token>`.
    ///
    /// File: `websocket_protocol_token = false`. Default: false.
    pub websocket_protocol_token: bool,
    /// How many threads handle requests.
    ///
    /// File: `workers = 2`. 1 to 256. Default: the CPU quota, at most 2: one handles some 30,000
    /// requests a second, and a sidecar's CPU is the backend's.
    pub workers: usize,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// How much of everything there may be.
    pub limits: Limits,
    /// How the process ends.
    pub drain: Drain,
    /// What a path may hold.
    pub paths: PathPolicy,
    /// Who may go where.
    pub routes: Routes,
    /// What becomes of a CORS preflight.
    pub preflight: Preflight,
    /// The origins of our own pages, which may read why a request of theirs was refused.
    pub parties: Vec<String>,
    /// Which identity headers the backend gets.
    pub identity: IdentityPolicy,
    /// Which headers it never gets.
    pub strip: StripPolicy,
    /// Whose forwarded headers count.
    pub trusted_proxies: TrustedProxies,
    /// How browsers sign in; nothing where no Clerk instance is named: cookies then say nothing.
    pub browsers: Option<BrowserSettings>,
    /// Whether a client learns the reason of a refusal, in a word.
    ///
    /// File: `log.reveal_reason = true`. Default: true.
    pub reveal_reason: bool,
}

/// What is spoken with the backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1; under TLS, HTTP/2 where the backend chooses it (ALPN).
    #[default]
    Usual,
    /// HTTP/2 at once, without TLS (RFC 9113 §3.3): `h2c://`.
    Http2,
}

impl UpstreamProtocol {
    /// Returns what is asked for at the beginning of an address.
    pub fn scheme(self, under: Scheme) -> &'static str {
        match self {
            Self::Usual => under.as_str(),
            Self::Http2 => "h2c",
        }
    }
}

/// The backend's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UpstreamAddress {
    /// `http://127.0.0.1:3000`, `https://backend.example`, `h2c://127.0.0.1:50051`
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/run/backend.sock`
    Unix(PathBuf),
    /// `serve -- CMD`: on 127.0.0.1, once it listens.
    Child {
        /// The port that it is given; 0 until that is chosen.
        port: u16,
    },
}

impl UpstreamAddress {
    /// Returns the address as settings have it, of a backend that is spoken with by `scheme`.
    pub fn url(&self, scheme: &str) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("{scheme}://[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{scheme}://{host}:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Child { port } => format!("{scheme}://127.0.0.1:{port}"),
        }
    }

    /// Tells whether nobody but this machine can stand between us and the backend.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Child { .. } => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// Returns the port of a backend on loopback.
    pub fn loopback_port(&self) -> Option<u16> {
        match self {
            Self::Child { port } => Some(*port),
            Self::Tcp { port, .. } if self.is_local() => Some(*port),
            Self::Tcp { .. } | Self::Unix(_) => None,
        }
    }
}

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From accepting a connection, or from the first byte of a later head, to the end of the head.
    ///
    /// File: `timeouts.head = "10s"`. Default: 10 s; slower than that is an attack (Slowloris).
    pub head: Duration,
    /// From accepting a connection to the end of the TLS handshake. `head` begins after it.
    ///
    /// File: `timeouts.handshake = "10s"`. Default: 10 s; slower than that is an attack.
    pub handshake: Duration,
    /// How long a connection may be kept alive in silence. Part of a head is none: that has `head`,
    /// also where it is longer.
    ///
    /// File: `timeouts.idle = "75s"`. Default: 75 s, above the 60 s after which common load
    /// balancers give a connection up: who closes first loses no request.
    pub idle: Duration,
    /// To reach the backend, TLS included.
    ///
    /// File: `timeouts.connect = "2s"`. Default: 2 s.
    pub connect: Duration,
    /// From the last piece of a request to the first byte of the backend's answer.
    ///
    /// File: `timeouts.response = "60s"`. Default: 60 s.
    pub response: Duration,
    /// Between two pieces of a body, either way.
    ///
    /// File: `timeouts.body = "5m"`. Default: 5 min.
    pub body: Duration,
    /// How long a connection to the backend is kept for the next request.
    ///
    /// File: `timeouts.upstream_idle = "4s"`. Default: 4 s, below the 5 s after which Node.js and
    /// uvicorn close one.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            connect: Duration::from_secs(2),
            response: Duration::from_secs(60),
            body: Duration::from_secs(5 * 60),
            upstream_idle: Duration::from_secs(4),
        }
    }
}

/// How much of everything there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Client connections at a time; nothing: what the file-descriptor limit leaves room for.
    ///
    /// One too many waits for a second, and is then answered 503.
    ///
    /// File: `limits.connections = 10000`.
    pub connections: Option<usize>,
    /// Requests under way at a time; nothing: any number. One too many waits for a second, and is
    /// then answered 503.
    ///
    /// File: `limits.in_flight = 1000`.
    pub in_flight: Option<usize>,
    /// Bytes of a request's head.
    ///
    /// File: `limits.head = "32KiB"`. 8 KiB to 1 MiB. Default: 32 KiB.
    pub head: usize,
    /// Headers of a request.
    ///
    /// File: `limits.headers = 100`. 1 to 1,000. Default: 100.
    pub headers: usize,
    /// Bytes of a token.
    ///
    /// File: `limits.token = "16KiB"`. Default: 16 KiB.
    pub token: usize,
    /// Bytes of a request's body; nothing: any number.
    ///
    /// File: `limits.body = "10MiB"`.
    pub body: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            in_flight: None,
            head: 32 * 1024,
            headers: 100,
            token: 16 * 1024,
            body: None,
        }
    }
}

/// How the process ends after SIGTERM.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long it still accepts, so that whoever balances load has time to look elsewhere.
    ///
    /// File: `drain.delay = "0s"`. Default: none.
    pub delay: Duration,
    /// How long requests under way have to finish. What is not answered half a second before its
    /// end is told so with a 503; half way, where it is under 1 s, and `0s` tells nobody.
    ///
    /// File: `drain.grace = "25s"`. Default: 25 s, below the 30 s that Kubernetes gives a Pod.
    pub grace: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::ZERO, grace: Duration::from_secs(25) }
    }
}

/// Whose `X-Forwarded-…` and `x-request-id` count.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Vec<IpNet>);

impl TrustedProxies {
    /// Tells whether `peer` is one of them. Who comes through a Unix socket has no address and
    /// counts as this machine.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical();
        self.0.iter().any(|net| net.contains(&peer))
    }
}
