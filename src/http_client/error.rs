//! Why a fetch failed, and why a client could not be made.

use std::error::Error;
use std::io;

use http::StatusCode;

/// Why there is no answer, or none that could be used.
///
/// The text is for an operator and the [`label`](Self::label) for what counts. Neither holds a
/// credential, a path or a query.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The host's name leads to no address.
    #[error("the host was not found: {0}")]
    Dns(String),
    /// A plain `http` address leads off this machine.
    #[error("`localhost` resolves to an address that is not loopback")]
    NotLoopback,
    /// None of the host's addresses took the connection; the last one for this reason.
    #[error("no connection: {0}")]
    Connect(io::ErrorKind),
    /// The TLS handshake failed: mostly a certificate that is not to be trusted.
    #[error("no TLS: {0}")]
    Tls(String),
    /// The proxy could not be asked for a tunnel.
    #[error("at the proxy: {0}")]
    Proxy(Box<Self>),
    /// The proxy was asked for a tunnel and gave none.
    #[error("the proxy answered {0} instead of a tunnel")]
    ProxyRefused(StatusCode),
    /// The time for the whole fetch, or for the last address, was over.
    #[error("no whole answer in time")]
    TimedOut,
    /// The head or the body is longer than allowed.
    #[error("the answer is longer than allowed")]
    TooLarge,
    /// The body is compressed.
    #[error("the body has a Content-Encoding, which was not asked for")]
    Encoded,
    /// The answer is a redirect that is not followed.
    #[error("redirect refused: {0}")]
    RedirectRefused(#[from] BadRedirect),
    /// What was answered is not HTTP, or not all of it.
    #[error("broken answer: {0}")]
    Broken(String),
}

impl FetchError {
    /// Returns the reason as one word out of a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::NotLoopback => "not-loopback",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Proxy(_) => "proxy",
            Self::ProxyRefused(_) => "proxy-refused",
            Self::TimedOut => "timed-out",
            Self::TooLarge => "too-large",
            Self::Encoded => "encoded",
            Self::RedirectRefused(_) => "redirect-refused",
            Self::Broken(_) => "broken",
        }
    }

    /// Tells what went wrong between us and the proxy from what went wrong behind it.
    pub(super) fn at_proxy(self) -> Self {
        match self {
            Self::ProxyRefused(_) => self,
            error => Self::Proxy(Box::new(error)),
        }
    }
}

impl From<hyper::Error> for FetchError {
    fn from(error: hyper::Error) -> Self {
        match error.source() {
            _ if error.is_parse_too_large() => Self::TooLarge,
            Some(source) => Self::Broken(format!("{error}: {source}")),
            None => Self::Broken(error.to_string()),
        }
    }
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRedirect {
    /// It names no address that may be fetched.
    #[error("its Location is neither an absolute path nor an address that may be fetched")]
    Location,
    /// It leads to another scheme, host or port.
    #[error("it leaves the origin")]
    Origin,
    /// One more than allowed.
    #[error("too many in a row")]
    TooMany,
}

/// Why a client could not be made of its settings. The text does not quote the proxy's URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadClient {
    /// The own authorities are not PEM.
    #[error("the CA certificates are not PEM: {0}")]
    CaMalformed(String),
    /// There are no own authorities where there should be.
    #[error("the CA file holds no usable certificate; it wants `-----BEGIN CERTIFICATE-----`")]
    CaEmpty,
    /// The proxy is not one we can speak to.
    #[error("the proxy is not an address like `http://proxy.example:3128` or `https://…`")]
    Proxy,
}
