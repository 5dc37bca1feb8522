//! What a request loses on its way in, and a response on its way out.

use std::borrow::Cow;
use std::fmt;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, SEC_WEBSOCKET_PROTOCOL,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::core::cookie;
use crate::core::credential::{self, BEARER_PROTOCOL};
use crate::core::header_name::{NamePatterns, folded};
use crate::core::list::elements;
use crate::core::reject::Reject;

/// Which headers are taken off a request before ours are added.
#[derive(Clone, Debug)]
pub struct StripPolicy {
    /// The first letters of our own identity headers, in lower case, with `-` at the end.
    pub prefix: String,
    /// Headers of ours that do not start with the prefix.
    pub ours: Vec<HeaderName>,
    /// The identity headers of other products.
    pub foreign: NamePatterns,
    /// Whether the backend sees credentials.
    pub credentials: Credentials,
}

/// Whether the credentials that we looked at go on to the backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Credentials {
    /// They do: many backends run a library of Clerk's too.
    #[default]
    Forward,
    /// `Authorization` and Clerk's cookies are taken off.
    Strip,
}

/// The identity headers of other products, and those that claim another address than the
/// request's or the client's: a backend that was written for one of them believes them. `Proxy`
/// becomes `HTTP_PROXY` to CGI, which its HTTP clients take for their own (httpoxy).
pub const FOREIGN_IDENTITY: &[&str] = &[
    "cf-access-*",
    "impersonate-*",
    "proxy",
    "oidc-claim-*",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "ssl-client-*",
    "x-accel-redirect",
    "x-amzn-ava-*",
    "x-amzn-oidc-*",
    "x-auth-request-*",
    "x-authentik-*",
    "x-consumer-*",
    "x-credential-*",
    "x-envoy-original-*",
    "x-goog-authenticated-user-*",
    "x-goog-iap-*",
    "x-invoke-*",
    "x-middleware-*",
    "x-ms-client-principal*",
    "x-ms-original-url",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-pomerium-*",
    "x-real-ip",
    "x-remote-*",
    "x-rewrite-url",
    "x-ssl-*",
    "x-userinfo",
    "x-webauth-*",
];

/// Why a header was taken off, as metrics count it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stripped {
    /// It looks like one of our identity headers.
    Identity,
    /// It is for this connection only.
    HopByHop,
    /// It looks like an identity header of another product.
    ForeignIdentity,
}

impl Stripped {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Identity, Self::HopByHop, Self::ForeignIdentity];

    /// Returns the label metrics have for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::HopByHop => "hop_by_hop",
            Self::ForeignIdentity => "foreign_identity",
        }
    }
}

/// How many headers were taken off, by kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StripCount([u16; 3]);

impl StripCount {
    /// Adds a header that went; but not `Connection`, which most requests have, and which says nothing by
    /// itself.
    fn add(&mut self, name: &HeaderName, kind: Stripped) {
        if *name != CONNECTION {
            self.0[kind as usize] = self.0[kind as usize].saturating_add(1);
        }
    }

    /// Returns how many were of this kind.
    pub fn of(self, kind: Stripped) -> u16 {
        self.0[kind as usize]
    }
}

/// The headers of a request without anything a client could forge or that ends at us.
#[derive(Clone)]
pub struct CleanHead(pub(super) HeaderMap);

impl fmt::Debug for CleanHead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CleanHead({} headers)", self.0.len())
    }
}

impl CleanHead {
    /// Takes off what a preflight does not carry: credentials, cookies, a body's framing, and what
    /// would make another method of it for a backend that reads such headers. It goes where
    /// nobody else goes without a token, so it must stay the OPTIONS it was taken for.
    #[must_use]
    pub fn without_credentials_and_body(self) -> Self {
        let mut head = self.without_method_overrides();
        for name in [AUTHORIZATION, COOKIE, CONTENT_LENGTH] {
            head.0.remove(name);
        }
        head
    }

    /// Takes off the list of trailers of a body that has none.
    #[must_use]
    pub fn without_trailers(mut self) -> Self {
        self.0.remove(TRAILER);
        self
    }

    /// Asks the backend to go on as a WebSocket, which has no trailers.
    pub fn ask_for_websocket(&mut self) {
        self.0.remove(TE);
        go_on_as_websocket(&mut self.0);
    }

    /// How long the headers are as they are written, about.
    pub(super) fn length(&self) -> usize {
        self.0.iter().map(|(name, value)| name.as_str().len() + value.len() + "\r\n: ".len()).sum()
    }

    /// Takes a token off the protocols that are offered for a WebSocket, and the word before it: a
    /// backend would not know them, or worse, would choose them.
    pub fn remove_protocol_token(&mut self) {
        let mut offered = credential::protocols(&self.0);
        let mut kept = Vec::new();
        while let Some(protocol) = offered.next() {
            match protocol == BEARER_PROTOCOL {
                // The word twice is no token: what stands behind it may be one.
                true => drop(offered.find(|protocol| *protocol != BEARER_PROTOCOL)),
                false => kept.push(protocol),
            }
        }
        let kept = HeaderValue::from_bytes(&kept.join(&b", "[..])).ok();
        drop(offered);
        match kept.filter(|kept| !kept.is_empty()) {
            Some(kept) => drop(self.0.insert(SEC_WEBSOCKET_PROTOCOL, kept)),
            None => drop(self.0.remove(SEC_WEBSOCKET_PROTOCOL)),
        }
    }

    /// Takes off what would make another method of a request for a backend that reads such
    /// headers: where rules look at methods, the one they looked at is the one that counts.
    #[must_use]
    pub fn without_method_overrides(mut self) -> Self {
        let overrides = |name: &&HeaderName| METHOD_OVERRIDES.contains(&&*folded(name.as_str()));
        let overrides: Vec<HeaderName> = self.0.keys().filter(overrides).cloned().collect();
        for name in overrides {
            self.0.remove(name);
        }
        self
    }
}

/// Tells whether a header is one that is written anew, beside the identity headers and those that are
/// stripped of whoever sent them.
pub(super) fn is_written_anew(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "signature"
            | "signature-input"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-request-id"
    )
}

/// Tells whether a header is one that we set beside the identity headers.
fn is_also_ours(name: &str) -> bool {
    let forwarded = name.strip_prefix("x-forwarded-");
    is_written_anew(name) || matches!(forwarded, Some("for" | "host" | "port" | "prefix" | "proto"))
}

/// What a gateway says of the path, in the words of CGI (RFC 3875 §4.1.5, §4.1.13), folded.
/// Servers of Python take them from whoever connects from loopback, and hand the application
/// another path than the one that was matched.
const OF_A_GATEWAY: [&str; 2] = ["path-info", "script-name"];

/// What says where a body ends, folded.
const FRAMING: [&str; 2] = ["content-length", "transfer-encoding"];

/// Folded.
const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method", "x-http-method-override", "x-method-override"];

impl StripPolicy {
    /// Takes off what must not reach the backend; done before anything of ours is added.
    pub fn strip(&self, mut headers: HeaderMap) -> (CleanHead, StripCount) {
        let mut gone = StripCount::default();
        let trailers = accepts_trailers(&headers);
        strip_named(&mut headers, &mut gone);
        // The connection to the backend frames the body anew, and hyper answers `Expect` for us.
        headers.remove(EXPECT);
        let prefix = folded(&self.prefix);
        let kind = |name: &str| match is_hop_by_hop(name) {
            true => Some(Stripped::HopByHop),
            false => self.kind(name, &prefix),
        };
        let marked: Vec<(HeaderName, Stripped)> = headers
            .keys()
            .filter_map(|name| kind(name.as_str()).map(|kind| (name.clone(), kind)))
            .collect();
        for (name, kind) in marked {
            headers.remove(&name);
            gone.add(&name, kind);
        }
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if self.credentials == Credentials::Strip {
            strip_credentials(&mut headers);
        }
        (CleanHead(headers), gone)
    }

    /// Takes the same names off trailers, and those that could change how the request is read.
    pub fn strip_trailers(&self, trailers: &mut HeaderMap) {
        let prefix = folded(&self.prefix);
        let goes =
            |name: &HeaderName| self.kind(name.as_str(), &prefix).is_some() || is_of_the_head(name);
        for name in names_that(trailers, goes) {
            trailers.remove(name);
        }
    }

    /// Says what a header of this name is, if it is to go. Names are compared [folded], and so is `prefix`.
    fn kind(&self, name: &str, prefix: &str) -> Option<Stripped> {
        let folded_name = folded(name);
        let name = match &folded_name {
            Cow::Borrowed(name) => name,
            Cow::Owned(name) if is_also_ours(name) => {
                return Some(Stripped::Identity); // to the letter we set or mend it ourselves
            }
            // To the letter it frames the body. Of another spelling it says nothing to us, and to
            // somebody where a body ends that we did not see (CL.0).
            Cow::Owned(name) if FRAMING.contains(&name.as_str()) => {
                return Some(Stripped::HopByHop);
            }
            Cow::Owned(name) => name.as_str(),
        };
        let ours = || self.ours.iter().any(|own| folded(own.as_str()) == name);
        if name.starts_with(prefix) || name.starts_with("x-clerk-") || ours() {
            return Some(Stripped::Identity);
        }
        // All of `x-forwarded-*` is made anew from what is trusted.
        let claims_address = name.starts_with("x-forwarded-")
            || name == FORWARDED.as_str()
            || OF_A_GATEWAY.contains(&name);
        (claims_address || self.foreign.matches(name)).then_some(Stripped::ForeignIdentity)
    }
}

/// Checks that a body is framed in one way: `chunked` is the one transfer coding there is to us,
/// and a length is written as it would be counted. Returns the length, where that is what frames it.
///
/// # Errors
///
/// [`Reject::RequestMalformed`]: another coding before it would pass to the backend as if it were
/// none, and of two lines each reader takes its own (RFC 9112 §6.1). An empty length is 0 to some reader,
/// and one with zeros before it octal.
pub fn check_framing(headers: &HeaderMap) -> Result<Option<u64>, Reject> {
    let mut said = None;
    for length in headers.get_all(CONTENT_LENGTH) {
        let length = counted(length.as_bytes())
            .ok_or(Reject::RequestMalformed("a length that is not as it would be counted"))?;
        if said.replace(length).is_some_and(|before| before != length) {
            return Err(Reject::RequestMalformed("two lengths"));
        }
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(said),
        // Chunks are what counts, whatever is said beside them (RFC 9112 §6.3).
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(None),
        _ => Err(Reject::RequestMalformed("a transfer coding that is not chunked alone")),
    }
}

fn counted(length: &[u8]) -> Option<u64> {
    let is_counted = match length {
        [b'0'] => true,
        [b'1'..=b'9', more @ ..] => more.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    std::str::from_utf8(length).ok().filter(|_| is_counted)?.parse().ok()
}

/// Tells whether a response says in two ways where its body ends (RFC 9112 §6.3): a client that
/// is told the length while chunks were counted reads on into the next answer, or waits for one.
pub fn is_framed_twice(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// Takes off a response what ends at us, and the headers we set: a backend that sends back what
/// it was sent would hand a client our signature.
///
/// `ours` are their names. No more than those: other `x-clerk-…` headers are what Clerk's libraries in
/// a backend say to a client.
pub fn strip_response(headers: &mut HeaderMap, ours: &NamePatterns) {
    let trailer = headers.get(TRAILER).cloned();
    strip_named(headers, &mut StripCount::default());
    let goes = |name: &HeaderName| {
        let name = name.as_str();
        is_hop_by_hop(name) || ours.matches(&folded(name)) || is_also_ours(name)
    };
    for name in names_that(headers, goes) {
        headers.remove(name);
    }
    if let Some(trailer) = trailer {
        headers.insert(TRAILER, trailer);
    }
}

/// Says on one connection that it goes on as a WebSocket (RFC 9110 §7.8).
pub fn go_on_as_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Has the client's own word chosen where it offered its token among the protocols of a WebSocket,
/// and the backend chose nothing: a browser gives a connection up that has none of those it named
/// (RFC 6455 §4.1).
///
/// # Panics
///
/// Never: the word is visible.
pub fn choose_protocol_token<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let bearer = HeaderValue::from_bytes(BEARER_PROTOCOL).expect("the word is visible");
        response.headers_mut().entry(SEC_WEBSOCKET_PROTOCOL).or_insert(bearer);
    }
}

/// Removes the headers that `Connection` names (RFC 9110 §7.6.1).
///
/// Runs before the proxy adds its own headers. The other way round, a client could name one of
/// ours in `Connection` and have it taken off again.
fn strip_named(headers: &mut HeaderMap, gone: &mut StripCount) {
    let named: Vec<HeaderName> = elements(headers, CONNECTION)
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive")) // as most say; it goes anyway
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named {
        if headers.remove(&name).is_some() {
            gone.add(&name, Stripped::HopByHop);
        }
    }
}

/// The names among these headers that are so. Most requests have few headers, and few of them go:
/// to look at each costs less than to look for everything that could be there.
fn names_that(headers: &HeaderMap, so: impl Fn(&HeaderName) -> bool) -> Vec<HeaderName> {
    headers.keys().filter(|name| so(name)).cloned().collect()
}

/// Tells whether a header is for one connection only (RFC 9110 §7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Tells whether the client takes trailers; nothing else of `TE` passes a hop.
fn accepts_trailers(headers: &HeaderMap) -> bool {
    elements(headers, TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// What says how a request is framed, where it goes and who sent it has no place in a trailer
/// (RFC 9110 §6.5.1).
fn is_of_the_head(name: &HeaderName) -> bool {
    is_hop_by_hop(name.as_str())
        || is_written_anew(name.as_str())
        || [AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, TRAILER].contains(name)
}

fn strip_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    let cookies: Vec<HeaderValue> = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| HeaderValue::try_from(cookie::without_clerk(value.as_bytes())?).ok())
        .collect();
    headers.remove(COOKIE);
    for value in cookies {
        headers.append(COOKIE, value);
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
