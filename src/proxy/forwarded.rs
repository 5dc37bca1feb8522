//! Whom a request came from, and what the proxies before us said about it.

use std::net::IpAddr;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::settings::TrustedProxies;
use crate::core::browser::Told;
use crate::core::header::CleanHead;
use crate::core::origin::{self, Scheme};

/// What the backend is told, in this order.
const NAMES: [HeaderName; 5] = [FOR, PROTO, HOST, PORT, PREFIX];
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The name a request goes by, from the first proxy to the log.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Nothing for a Unix socket.
    pub(super) address: Option<IpAddr>,
    /// The same as the backend is told, written once a connection.
    pub(super) hop: Option<HeaderValue>,
    pub(super) scheme: Scheme,
}

impl Peer {
    pub(super) fn new(address: Option<IpAddr>, scheme: Scheme) -> Self {
        let address = address.map(|address| address.to_canonical());
        let hop = address.and_then(|address| HeaderValue::try_from(address.to_string()).ok());
        Self { address, hop, scheme }
    }
}

/// What is told the backend about the way a request took.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The client, as far as proxies we trust can tell.
    pub(super) client: Option<IpAddr>,
    /// The name a trusted proxy gave the request.
    pub(super) request_id: Option<HeaderValue>,
    /// Whether what proxies said is believed.
    believed: bool,
    /// The values of [`NAMES`].
    told: [Option<HeaderValue>; 5],
}

impl Forwarded {
    /// Reads what is to be believed, and adds our own hop. The browser used `scheme`, and `host` is what
    /// the client asked for.
    pub(super) fn read(
        headers: &HeaderMap,
        peer: &Peer,
        scheme: Scheme,
        host: &HeaderValue,
        trusted: &TrustedProxies,
    ) -> Self {
        let Peer { address, hop, .. } = peer;
        let believed = trusted.trusts(*address);
        // What was read from headers is a legal value.
        let said = |name: &HeaderName| if believed { one_line(headers, name) } else { None };
        let told = |name: &HeaderName| said(name).and_then(|text| HeaderValue::try_from(text).ok());
        let (client, chain) = match said(&FOR) {
            None => (*address, hop.clone()),
            Some(before) => {
                let hop = hop.as_ref().and_then(|hop| hop.to_str().ok());
                let chain = hop.map_or(before.clone(), |hop| format!("{before}, {hop}"));
                (client(&chain, trusted).or(*address), HeaderValue::try_from(chain).ok())
            }
        };
        let own_scheme = HeaderValue::from_static(scheme.as_str());
        let request_id = if believed { request_id(headers) } else { None };
        let told = [
            chain,
            told(&PROTO).or(Some(own_scheme)),
            told(&HOST).or_else(|| Some(host.clone())),
            told(&PORT),
            told(&PREFIX),
        ];
        Self { client, request_id, believed, told }
    }

    /// Returns the host and the scheme that the browser used, as far as a proxy we trust says: of
    /// several that it names, the first.
    pub(super) fn public(&self, headers: &HeaderMap) -> Told {
        if self.believed { origin::told(headers) } else { (None, None) }
    }

    /// Adds the headers to a request that was stripped of the client's.
    pub(super) fn apply(self, head: &mut CleanHead) {
        for (name, value) in NAMES.into_iter().zip(self.told) {
            if let Some(value) = value {
                head.set(name, value);
            }
        }
    }
}

/// The last address of the chain that is not one of the proxies we trust.
fn client(chain: &str, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut furthest = None;
    for hop in chain.rsplit(',') {
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        furthest = Some(address.to_canonical());
        if !trusted.trusts(furthest) {
            break;
        }
    }
    furthest
}

/// Joins the lines of a header to one, as RFC 9110 §5.3 has it.
fn one_line(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Option<Vec<&str>> =
        headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(", "))
}

/// A request id that fits a log: one, of 1 to 128 visible characters.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut ids = headers.get_all(REQUEST_ID).iter();
    let id = ids.next().filter(|_| ids.next().is_none())?;
    let visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
    ((1..=128).contains(&id.len()) && visible)
        .then(|| HeaderValue::from_bytes(id.as_bytes()).ok())?
}

/// Makes names for requests: a random number a worker, and a count.
#[derive(Debug)]
pub(super) struct RequestIds {
    worker: u64,
    count: std::cell::Cell<u64>,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
        Self { worker: u64::from_le_bytes(random), count: std::cell::Cell::new(0) }
    }

    /// Returns a name nobody had before: 32 hex digits.
    pub(super) fn next(&self) -> HeaderValue {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        let mut text = [0; 32];
        for (place, digit) in text.iter_mut().enumerate() {
            let half = if place < 16 { self.worker } else { count };
            let nibble = half >> (60 - 4 * (place % 16)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        HeaderValue::from_bytes(&text).expect("hex digits are visible")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(nets: &[&str]) -> TrustedProxies {
        TrustedProxies(nets.iter().map(|net| net.parse().unwrap()).collect())
    }

    fn read(
        lines: &[(&str, &str)],
        peer: &str,
        scheme: Scheme,
        trusted: &TrustedProxies,
    ) -> (HeaderMap, Forwarded) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let peer = Peer::new(peer.parse().ok(), scheme);
        let host = HeaderValue::from_static("app.test");
        let forwarded = Forwarded::read(&headers, &peer, scheme, &host, trusted);
        let told = NAMES.into_iter().zip(forwarded.told.clone());
        let told = told.filter_map(|(name, value)| Some((name, value?))).collect();
        (told, forwarded)
    }

    #[test]
    fn forwarded_headers_count_only_from_trusted_proxies() {
        let lines = [
            ("x-forwarded-for", "6.6.6.6, 9.9.9.9"),
            ("x-forwarded-for", "10.0.0.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.test"),
            ("x-request-id", "abc"),
        ];
        for (nets, peer, chain, client, proto, id) in [
            (&[][..], "10.0.0.1", "10.0.0.1", "10.0.0.1", "http", None),
            (
                &["10.0.0.0/8"],
                "10.0.0.1",
                "6.6.6.6, 9.9.9.9, 10.0.0.7, 10.0.0.1",
                "9.9.9.9",
                "https",
                Some("abc"),
            ),
            (
                &["10.0.0.0/8"],
                "::ffff:10.0.0.1",
                "6.6.6.6, 9.9.9.9, 10.0.0.7, 10.0.0.1",
                "9.9.9.9",
                "https",
                Some("abc"),
            ),
            (&["10.0.0.0/8"], "11.0.0.1", "11.0.0.1", "11.0.0.1", "http", None),
            (
                &["127.0.0.0/8", "10.0.0.0/8"],
                "unix",
                "6.6.6.6, 9.9.9.9, 10.0.0.7",
                "9.9.9.9",
                "https",
                Some("abc"),
            ),
        ] {
            let (told, forwarded) = read(&lines, peer, Scheme::Http, &trusted(nets));
            assert_eq!(told["x-forwarded-for"], chain, "{nets:?} {peer}");
            assert_eq!(told["x-forwarded-proto"], proto, "{nets:?} {peer}");
            assert_eq!(forwarded.client, client.parse().ok(), "{nets:?} {peer}");
            let got = forwarded.request_id.as_ref().map(|id| id.to_str().unwrap());
            assert_eq!(got, id, "{nets:?} {peer}");
        }
    }

    #[test]
    fn the_scheme_is_a_trusted_proxys_to_say_or_our_own() {
        use Scheme::{Http, Https};
        for (own, said, nets, proto, scheme) in [
            (Http, None, &[][..], "http", None),
            (Https, None, &[], "https", None),
            (Https, Some("http"), &[], "https", None),
            (Https, Some("http"), &["10.0.0.0/8"], "http", Some(Http)),
            (Http, Some("https"), &["10.0.0.0/8"], "https", Some(Https)),
            (Https, Some("gopher"), &["10.0.0.0/8"], "gopher", None),
        ] {
            let lines: Vec<_> = said.map(|said| ("x-forwarded-proto", said)).into_iter().collect();
            let (told, forwarded) = read(&lines, "10.0.0.1", own, &trusted(nets));
            assert_eq!(told["x-forwarded-proto"], proto, "{own:?} {said:?}");
            let headers = said.map(|said| (PROTO, said.parse().unwrap())).into_iter().collect();
            assert_eq!(forwarded.public(&headers).1, scheme, "{own:?} {said:?}");
        }
    }

    #[test]
    fn a_request_id_fits_a_log() {
        let long = "x".repeat(129);
        for (ids, good) in [
            (&["abc-1"][..], true),
            (&["a", "b"], false),
            (&["a b"], false),
            (&[""], false),
            (&[&long], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(REQUEST_ID, id.parse().unwrap());
            }
            assert_eq!(request_id(&headers).is_some(), good, "{ids:?}");
        }
    }

    #[test]
    fn every_request_has_a_name_of_its_own() {
        let ids = RequestIds::new();
        let (first, second) = (ids.next(), ids.next());
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
    }
}
