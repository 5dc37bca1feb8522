//! Addresses and origins, in the one form in which each is taken.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::core::origin::Scheme;
use crate::core::path::Authority;
use crate::listen::ListenAddress;
use crate::proxy::{UpstreamAddress, UpstreamProtocol};

/// Reads an address to listen on: an IP address and a port, or `unix:` and an absolute path.
pub(super) fn listen(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path).map(ListenAddress::Unix);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenAddress::Tcp(address));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let Ok(port) = port.parse::<u16>() else {
        return Err("not an address; write one like `127.0.0.1:4600` or `unix:/path`".to_owned());
    };
    Err(match host {
        "localhost" => format!("listens on addresses, not on names; write `127.0.0.1:{port}`"),
        "" | "*" => {
            format!("on which address? `[::]:{port}` is all, `127.0.0.1:{port}` this machine")
        }
        _ => format!("listens on addresses, not on names; write one like `127.0.0.1:{port}`"),
    })
}

/// Where the backend is, and how it is spoken with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Backend {
    pub(super) address: UpstreamAddress,
    pub(super) scheme: Scheme,
    pub(super) protocol: UpstreamProtocol,
}

impl Backend {
    pub(super) fn in_the_clear(address: UpstreamAddress) -> Self {
        Self { address, scheme: Scheme::Http, protocol: UpstreamProtocol::Usual }
    }
}

/// Reads where the backend is, and how it is spoken with.
pub(super) fn upstream(text: &str) -> Result<Backend, String> {
    const RIGHT: &str =
        "write `http://HOST:PORT`, `https://HOST:PORT`, `h2c://HOST:PORT` or `unix:/PATH`";
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Backend::in_the_clear(UpstreamAddress::Unix(socket(path)?)));
    }
    let (scheme, protocol, authority) = match text.split_once("://") {
        Some(("h2c", authority)) => (Some(Scheme::Http), UpstreamProtocol::Http2, authority),
        Some((scheme, authority)) => (Scheme::parse(scheme), UpstreamProtocol::Usual, authority),
        None => (None, UpstreamProtocol::Usual, text),
    };
    let Some(scheme) = scheme else {
        return Err(format!("not the address of a backend; {RIGHT}"));
    };
    if authority.contains('@') {
        return Err(format!("a user or password has no place here; {RIGHT}"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(format!("requests keep their own path and query; {RIGHT}"));
    }
    let authority = Authority::under(scheme, authority)
        .map_err(|_| format!("no host, or none with such a port; {RIGHT}"))?;
    let (host, port) = host_and_port(authority.as_str());
    let port = port.unwrap_or(scheme.port());
    Ok(Backend { address: UpstreamAddress::Tcp { host: host.to_owned(), port }, scheme, protocol })
}

/// Reads an origin (RFC 6454 §6.2), in the one spelling in which browsers and tokens have it.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let form = origin_form(text)
        .ok_or("not an origin; write one like `https://app.example.com`, or with a port that is not the scheme's own")?;
    if form == text {
        Ok(form)
    } else {
        Err(format!("an origin is scheme, host and port; write `{form}`"))
    }
}

/// The address under which browsers reach us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PublicAddress {
    /// Scheme, host and port.
    pub(super) origin: String,
    /// What stands before our paths there, without a slash at its end.
    pub(super) prefix: String,
}

/// Reads the address under which browsers reach us.
pub(super) fn public_url(text: &str) -> Result<PublicAddress, String> {
    const RIGHT: &str = "write one like `https://app.example.com`";
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| format!("neither `https://` nor `http://`; {RIGHT}"))?;
    if rest.contains(['?', '#', '@']) {
        return Err(format!("a user, a query or a fragment has no place here; {RIGHT}"));
    }
    let is_visible = rest.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || text.parse::<http::Uri>().is_err() {
        return Err(format!("not an address; {RIGHT}"));
    }
    let path = rest.find('/').map_or("", |start| &rest[start..]);
    let origin = origin(&text[..text.len() - path.len()])?;
    Ok(PublicAddress { origin, prefix: path.trim_end_matches('/').to_owned() })
}

/// Puts a path behind the origin of `public_url`; a whole address stays as it is.
pub(super) fn at_public(text: &str, public: Option<&PublicAddress>) -> Result<String, String> {
    match (text.starts_with('/'), public) {
        (false, _) => Ok(text.to_owned()),
        (true, _) if text.starts_with("//") => {
            Err("one slash begins a path, two another host; write the whole address".to_owned())
        }
        (true, Some(public)) => Ok(format!("{}{text}", public.origin)),
        (true, None) => {
            Err("a path is one at the origin of `public_url`; set that, or write the whole address"
                .to_owned())
        }
    }
}

/// Reads the address of a page, or a path at the origin of `public_url`.
pub(super) fn page(text: &str, public: Option<&PublicAddress>) -> Result<String, String> {
    const RIGHT: &str =
        "write the whole address, like `https://app.example.com/sign-in`, or a path";
    let address = at_public(text, public)?;
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| format!("neither `https://` nor `http://`; {RIGHT}"))?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains('\\') {
        return Err(format!(
            "a space, a `\\` or what is not ASCII is encoded in an address; {RIGHT}"
        ));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[..end].contains('@') {
        return Err(format!("a user or password has no place here; {RIGHT}"));
    }
    if rest.contains('#') {
        return Err(format!(
            "a fragment has no place here: what is put behind it gets lost; {RIGHT}"
        ));
    }
    let start = address.len() - rest.len();
    Authority::parse(&rest[..end].to_ascii_lowercase())
        .map_err(|_| format!("no host, or none with such a port; {RIGHT}"))?;
    let origin = address[..start + end].to_ascii_lowercase();
    Ok(format!("{origin}{}", &rest[end..]))
}

/// Reads a network, a single address, or the word for all private ones.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    if text == "private" {
        return Ok(PRIVATE
            .iter()
            .map(|net| net.parse().expect("a network in the table"))
            .collect());
    }
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            "not a network; write one like `10.0.0.0/8`, an address, or `private`".to_owned()
        })?,
    };
    let mapped = matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some());
    if net.prefix_len() == 0 {
        return Err("that is everybody, and everybody's forwarded headers would count; name the networks of your proxies".to_owned());
    }
    if mapped {
        return Err(
            "peers are compared as IPv4 addresses; write the network as one of those".to_owned()
        );
    }
    if net != net.trunc() {
        return Err(format!("that is an address within a network; write `{}`", net.trunc()));
    }
    Ok(vec![net])
}

/// Tells whether a network is more than one address, and not all of it is private in some way.
pub(super) fn is_of_strangers(net: &IpNet) -> bool {
    // Shared address space (RFC 6598), and link-local addresses (RFC 3927, RFC 4291 §2.5.6).
    const ALSO_PRIVATE: [&str; 3] = ["100.64.0.0/10", "169.254.0.0/16", "fe80::/10"];
    let holds = |own: &&str| own.parse::<IpNet>().is_ok_and(|own| own.contains(net));
    let is_private = PRIVATE.iter().chain(&ALSO_PRIVATE).any(holds);
    net.prefix_len() < net.max_prefix_len() && !is_private
}

/// Loopback, RFC 1918, and unique local addresses (RFC 4193).
const PRIVATE: [&str; 6] =
    ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

fn socket(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err("the path of a socket is absolute, as in `unix:/run/app.sock`".to_owned());
    }
    UnixAddress::from_pathname(path)
        .map_err(|_| "longer than the path of a socket may be".to_owned())?;
    Ok(path.into())
}

/// Parts an authority, taking the brackets off an IPv6 address.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').and_then(|port| port.parse().ok())),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (authority, None),
        },
    }
}

fn origin_form(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(known)
    {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    Authority::parse(&authority).ok()?;
    let own_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = authority.strip_suffix(own_port).unwrap_or(&authority);
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_is_an_ip_address_or_a_socket() {
        for (text, want) in [
            ("127.0.0.1:4600", Ok(())),
            ("[::]:4600", Ok(())),
            ("127.0.0.1:0", Ok(())),
            ("unix:/run/countersign.sock", Ok(())),
            ("localhost:4600", Err("write `127.0.0.1:4600`")),
            ("backend:4600", Err("not on names")),
            (":4600", Err("`[::]:4600` is all")),
            ("4600", Err("`127.0.0.1:4600` this machine")),
            ("*:80", Err("`[::]:80` is all")),
            ("[::]:abc", Err("not an address")),
            ("127.0.0.1:65536", Err("not an address")),
            ("127.0.0.1", Err("not an address")),
            ("http://127.0.0.1:80/", Err("not an address")),
            ("unix:run/a.sock", Err("absolute")),
            ("unix:", Err("absolute")),
        ] {
            expect(text, &listen(text).map(drop), want);
        }
        assert!(listen(&format!("unix:/{}", "a".repeat(200))).is_err());
    }

    #[test]
    fn a_backend_is_a_host_and_a_port_or_a_socket() {
        let tcp = |host: &str, port| UpstreamAddress::Tcp { host: host.to_owned(), port };
        use Scheme::{Http, Https};
        for (text, want, scheme) in [
            ("http://127.0.0.1:3000", tcp("127.0.0.1", 3000), Http),
            ("http://[::1]:3000", tcp("::1", 3000), Http),
            ("http://[::1]", tcp("::1", 80), Http),
            ("http://My_Service", tcp("my_service", 80), Http),
            ("http://app.internal.:81", tcp("app.internal.", 81), Http),
            ("http://app:443", tcp("app", 443), Http),
            ("https://app", tcp("app", 443), Https),
            ("https://app:80", tcp("app", 80), Https),
            ("https://[::1]:8443", tcp("::1", 8443), Https),
            ("unix:/run/app.sock", UpstreamAddress::Unix("/run/app.sock".into()), Http),
        ] {
            let want = Backend { address: want, scheme, protocol: UpstreamProtocol::Usual };
            assert_eq!(upstream(text), Ok(want), "{text}");
        }
        let call = upstream("h2c://127.0.0.1:50051").unwrap();
        assert_eq!(call.address, tcp("127.0.0.1", 50051));
        assert_eq!((call.scheme, call.protocol), (Http, UpstreamProtocol::Http2));
        for (text, want) in [
            ("http://127.0.0.1:3000/", "own path"),
            ("http://a?b", "own path"),
            ("http://user:secret@a", "password"),
            ("http://", "no host"),
            ("http://a:0", "no host"),
            ("http://a b", "no host"),
            ("https://a/", "own path"),
            ("https://", "no host"),
            ("h2c://a/b", "own path"),
            ("h2://a", "not the address"),
            ("ftp://a", "not the address"),
            ("127.0.0.1:3000", "not the address"),
            ("unix:app.sock", "absolute"),
        ] {
            expect(text, &upstream(text).map(drop), Err(want));
        }
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for (text, want) in [
            ("https://app.example.com", Ok(())),
            ("http://localhost:3000", Ok(())),
            ("http://[::1]:3000", Ok(())),
            ("chrome-extension://abcdefgh", Ok(())),
            ("https://app.example.com/", Err("write `https://app.example.com`")),
            ("https://app.example.com/path?q#f", Err("write `https://app.example.com`")),
            ("HTTPS://App.example.com", Err("write `https://app.example.com`")),
            ("https://app.example.com:443", Err("write `https://app.example.com`")),
            ("http://app.example.com:80", Err("write `http://app.example.com`")),
            ("https://app.example.com:80", Ok(())),
            ("app.example.com", Err("not an origin")),
            ("https://*.example.com", Err("not an origin")),
            ("https://user@app.example.com", Err("not an origin")),
            ("https://", Err("not an origin")),
            ("://a", Err("not an origin")),
            ("null", Err("not an origin")),
        ] {
            expect(text, &origin(text).map(drop), want);
        }
    }

    #[test]
    fn a_public_url_is_an_origin_and_perhaps_a_path() {
        for (text, origin, prefix) in [
            ("https://app.example.com", "https://app.example.com", ""),
            ("http://localhost:3000/base", "http://localhost:3000", "/base"),
            ("http://localhost:3000/base/x/", "http://localhost:3000", "/base/x"),
            ("https://app.example.com/", "https://app.example.com", ""),
        ] {
            let (origin, prefix) = (origin.to_owned(), prefix.to_owned());
            assert_eq!(public_url(text), Ok(PublicAddress { origin, prefix }), "{text}");
        }
        for (text, want) in [
            ("ftp://a", "neither"),
            ("app.example.com", "neither"),
            ("https://a/?q", "query"),
            ("https://u:p@a/", "user"),
            ("https://App.example.com/x", "write `https://app.example.com`"),
            ("https://a b", "not an address"),
            ("https:///x", "not an"),
        ] {
            expect(text, &public_url(text).map(drop), Err(want));
        }
    }

    #[test]
    fn a_page_has_a_whole_address_or_a_path_of_ours() {
        let public = public_url("https://app.example.com/base").unwrap();
        for (text, want) in [
            ("https://a.com/sign-in", "https://a.com/sign-in"),
            ("http://A.com:3000", "http://a.com:3000"),
            ("https://a.com?x=/Y", "https://a.com?x=/Y"),
            ("/sign-in", "https://app.example.com/sign-in"),
        ] {
            assert_eq!(page(text, Some(&public)).as_deref(), Ok(want), "{text}");
        }
        for (text, want) in [
            ("sign-in", "neither"),
            ("HTTPS://a.com", "neither"),
            ("javascript:alert(1)", "neither"),
            ("//evil.com/a", "one slash"),
            ("https://a.com/a b", "a space"),
            ("https://a.com\\@b.com", "a space"),
            ("https://u:p@a.com/", "a user or password"),
            ("https:///x", "no host"),
            ("https://a.com:x/", "no host"),
            ("https://a.com/#/sign-in", "a fragment"),
        ] {
            expect(text, &page(text, Some(&public)).map(drop), Err(want));
        }
        expect("/sign-in", &page("/sign-in", None).map(drop), Err("`public_url`; set that"));
    }

    #[test]
    fn a_network_is_never_everybody() {
        for (text, want) in [
            ("10.0.0.0/8", Ok(1)),
            ("192.0.2.7", Ok(1)),
            ("2001:db8::/32", Ok(1)),
            ("private", Ok(6)),
            ("0.0.0.0/0", Err("everybody")),
            ("::/0", Err("everybody")),
            ("10.0.0.1/8", Err("write `10.0.0.0/8`")),
            ("::ffff:10.0.0.0/104", Err("IPv4")),
            ("10.0.0.0/33", Err("not a network")),
            ("localhost", Err("not a network")),
            ("10.0.0.0-10.0.0.9", Err("not a network")),
        ] {
            match (networks(text), want) {
                (Ok(nets), Ok(count)) => assert_eq!(nets.len(), count, "{text}"),
                (got, want) => expect(text, &got.map(drop), want.map(drop)),
            }
        }
    }

    fn expect(text: &str, got: &Result<(), String>, want: Result<(), &str>) {
        match (got, want) {
            (Ok(()), Ok(())) => {}
            (Err(got), Err(want)) if got.contains(want) => {}
            _ => panic!("{text}: {got:?} instead of {want:?}"),
        }
    }
}
