//! Whom a request came from, and what the proxies before us said about it.

use std::net::IpAddr;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::settings::TrustedProxies;
use crate::core::browser::Told;
use crate::core::form::Way;
use crate::core::origin::{self, Scheme};

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

/// The way a request took to us.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The client, as far as proxies we trust can tell.
    pub(super) client: Option<IpAddr>,
    /// What the backend is told of it.
    pub(super) way: Way,
    /// Whether what proxies said is believed.
    pub(super) believed: bool,
}

impl Forwarded {
    /// Reads what is to be believed, and adds our own hop. The browser used `scheme`, `host` is what the
    /// client asked for, and `request_id` our name for the request where it has no other.
    pub(super) fn read(
        headers: &HeaderMap,
        peer: &Peer,
        scheme: Scheme,
        host: HeaderValue,
        request_id: HeaderValue,
        trusted: &TrustedProxies,
    ) -> Self {
        let Peer { address, hop, .. } = peer;
        let proto = HeaderValue::from_static(scheme.as_str());
        let mut way = Way { forwarded_for: hop.clone(), ..Way::new(host, request_id, proto) };
        let believed = trusted.trusts(*address);
        if !believed {
            return Self { client: *address, way, believed };
        }
        let mut client = *address;
        if let Some(before) = one_line(headers, Way::FORWARDED_FOR) {
            let hop = hop.as_ref().and_then(|hop| hop.to_str().ok());
            let chain = hop.map_or(before.clone(), |hop| format!("{before}, {hop}"));
            client = nearest(&chain, trusted).or(client);
            way.forwarded_for = HeaderValue::try_from(chain).ok();
        }
        // What was read from headers is a legal value.
        let told = |name: HeaderName| HeaderValue::try_from(one_line(headers, name)?).ok();
        way.proto = told(Way::FORWARDED_PROTO).unwrap_or(way.proto);
        way.forwarded_host = told(Way::FORWARDED_HOST);
        way.port = told(Way::FORWARDED_PORT);
        way.prefix = told(Way::FORWARDED_PREFIX);
        way.request_id = named(headers).unwrap_or(way.request_id);
        Self { client, way, believed }
    }

    /// Returns the host and the scheme that the browser used, as far as a proxy we trust says: of
    /// several that it names, the first.
    pub(super) fn public(&self, headers: &HeaderMap) -> Told {
        if self.believed { origin::told(headers) } else { (None, None) }
    }
}

/// The last address of the chain that is not one of the proxies we trust.
fn nearest(chain: &str, trusted: &TrustedProxies) -> Option<IpAddr> {
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
fn one_line(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Option<Vec<&str>> =
        headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    lines.filter(|lines| !lines.is_empty()).map(|lines| lines.join(", "))
}

/// A request id that fits a log: one, of 1 to 128 visible characters.
fn named(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut ids = headers.get_all(Way::REQUEST_ID).iter();
    let id = ids.next().filter(|_| ids.next().is_none())?;
    let visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
    ((1..=128).contains(&id.len()) && visible)
        .then(|| HeaderValue::from_bytes(id.as_bytes()).ok())?
}

/// Makes names for requests: a random number a worker, and a count.
#[derive(Debug)]
pub(super) struct RequestIds {
    worker: [u8; 16],
    count: std::cell::Cell<u64>,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
        Self { worker: hex(u64::from_le_bytes(random)), count: std::cell::Cell::new(0) }
    }

    /// Returns a name nobody had before: 32 hex digits.
    pub(super) fn next(&self) -> HeaderValue {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        let mut text = [0; 32];
        text[..16].copy_from_slice(&self.worker);
        text[16..].copy_from_slice(&hex(count));
        HeaderValue::from_bytes(&text).expect("hex digits are visible")
    }
}

/// The digits of a number, in lower case.
fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| {
        let nibble = number >> (60 - 4 * place) & 0xf;
        b"0123456789abcdef"[nibble as usize]
    })
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
    ) -> Forwarded {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let peer = Peer::new(peer.parse().ok(), scheme);
        let [host, id] = ["app.test", "ours"].map(HeaderValue::from_static);
        Forwarded::read(&headers, &peer, scheme, host, id, trusted)
    }

    #[test]
    fn forwarded_headers_count_only_from_trusted_proxies() {
        let lines = [
            ("x-forwarded-for", "6.6.6.6, 9.9.9.9"),
            ("x-forwarded-for", "10.0.0.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.test"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/a"),
            ("x-request-id", "abc"),
        ];
        for (nets, peer, chain, client, proto, believed) in [
            (&[][..], "10.0.0.1", "10.0.0.1", "10.0.0.1", "http", false),
            (
                &["10.0.0.0/8"],
                "10.0.0.1",
                "6.6.6.6, 9.9.9.9, 10.0.0.7, 10.0.0.1",
                "9.9.9.9",
                "https",
                true,
            ),
            (
                &["10.0.0.0/8"],
                "::ffff:10.0.0.1",
                "6.6.6.6, 9.9.9.9, 10.0.0.7, 10.0.0.1",
                "9.9.9.9",
                "https",
                true,
            ),
            (&["10.0.0.0/8"], "11.0.0.1", "11.0.0.1", "11.0.0.1", "http", false),
            (
                &["127.0.0.0/8", "10.0.0.0/8"],
                "unix",
                "6.6.6.6, 9.9.9.9, 10.0.0.7",
                "9.9.9.9",
                "https",
                true,
            ),
        ] {
            let Forwarded { client: got, way, .. } =
                read(&lines, peer, Scheme::Http, &trusted(nets));
            assert_eq!(got, client.parse().ok(), "{nets:?} {peer}");
            assert_eq!(way.forwarded_for.unwrap(), chain, "{nets:?} {peer}");
            assert_eq!(way.proto, proto, "{nets:?} {peer}");
            assert_eq!(way.host, "app.test", "{nets:?} {peer}");
            assert_eq!(way.request_id, if believed { "abc" } else { "ours" }, "{nets:?} {peer}");
            let told = [way.forwarded_host, way.port, way.prefix];
            let want =
                ["public.test", "443", "/a"].map(|text| believed.then(|| text.parse().unwrap()));
            assert_eq!(told, want, "{nets:?} {peer}");
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
            let forwarded = read(&lines, "10.0.0.1", own, &trusted(nets));
            assert_eq!(forwarded.way.proto, proto, "{own:?} {said:?}");
            let headers = said
                .map(|said| (Way::FORWARDED_PROTO, said.parse().unwrap()))
                .into_iter()
                .collect();
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
                headers.append(Way::REQUEST_ID, id.parse().unwrap());
            }
            assert_eq!(named(&headers).is_some(), good, "{ids:?}");
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
