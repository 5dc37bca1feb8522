//! `listen`, `upstream` and `admin`: who speaks to whom, and where.

use std::net::IpAddr;

use crate::admin::{AdminSettings, StatusAccess};
use crate::listen::ListenAddress;
use crate::proxy::{TrustedProxies, UpstreamAddress};

use super::address::Backend;
use super::reader::Reader;
use super::{Needs, address};

/// The proxy's two listeners and its backend.
pub(super) struct Addresses {
    pub(super) listen: Vec<ListenAddress>,
    pub(super) listen_mode: u32,
    /// Nothing where it is missing or wrong, which is noted.
    pub(super) upstream: Option<Backend>,
    pub(super) admin: AdminSettings,
}

/// Readable and writable by the owner and the group: a backend's clients, not every process.
const LISTEN_MODE: u32 = 0o660;

/// Which of the two is meant, nobody can tell.
const CHILD_AND_ADDRESS: &str = "take this out, or the command after `--`: a backend that is started here gets a port of its own";

pub(super) fn settings(reader: &mut Reader<'_>, needs: Needs) -> Addresses {
    let mut listen = reader.many("listen", address::listen).unwrap_or_default();
    if !reader.is_written("listen") {
        listen.push(local(4600));
    }
    let admin = reader.one("admin.listen", address::listen).unwrap_or_else(|| local(4601));
    check_distinct(reader, &listen, &admin);

    let upstream = match needs {
        Needs::Child => {
            if reader.is_written("upstream.url") {
                reader.mistake("upstream.url", CHILD_AND_ADDRESS);
            }
            Some(Backend::in_the_clear(UpstreamAddress::Child { port: 0 }))
        }
        Needs::Backend | Needs::Tokens => reader.one("upstream.url", address::upstream),
    };
    if needs == Needs::Backend && !reader.is_written("upstream.url") {
        let problem = "not set; where is the backend? Set COUNTERSIGN_UPSTREAM (or --upstream) to an address like `http://127.0.0.1:3000`";
        reader.mistake("upstream.url", problem);
    }
    let is_ours = |upstream: &Backend| listen.iter().any(|own| is_same(own, &upstream.address));
    if upstream.as_ref().is_some_and(is_ours) {
        reader.mistake(
            "upstream.url",
            "this is where the proxy itself listens; it would forward to itself",
        );
    }

    let words = [("loopback", StatusAccess::Loopback), ("all", StatusAccess::All)];
    let status = reader.choice("admin.status", &words).unwrap_or_default();
    if status == StatusAccess::All && !is_local(&admin) {
        reader.warn(
            "admin.status",
            "whoever reaches the admin listener may read /status, from other machines too",
        );
    }
    let listen_mode = reader.one("listen_mode", mode).unwrap_or(LISTEN_MODE);
    let admin = AdminSettings { listen: admin, status };
    Addresses { listen, listen_mode, upstream, admin }
}

pub(super) fn trusted_proxies(reader: &mut Reader<'_>) -> TrustedProxies {
    let networks = reader.many("trusted_proxies", address::networks).unwrap_or_default();
    let networks: Vec<_> = networks.into_iter().flatten().collect();
    if let Some(wide) = networks.iter().find(|it| address::is_of_strangers(it)) {
        let text = format!(
            "`{wide}` is more than private addresses: whoever has one there says from which client and for which host a request is; name the addresses of your proxies alone"
        );
        reader.warn("trusted_proxies", text);
    }
    TrustedProxies(networks)
}

/// Tells whether only this machine reaches what listens there.
pub(super) fn is_local(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Tcp(address) => address.ip().is_loopback(),
        ListenAddress::Unix(_) => true,
    }
}

fn local(port: u16) -> ListenAddress {
    ListenAddress::Tcp((IpAddr::from([127, 0, 0, 1]), port).into())
}

fn check_distinct(reader: &mut Reader<'_>, listen: &[ListenAddress], admin: &ListenAddress) {
    // Port 0 is another one each time.
    let is_taken = |address: &ListenAddress| !matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
    for (place, address) in listen.iter().enumerate().filter(|(_, address)| is_taken(address)) {
        if listen[..place].contains(address) {
            reader.mistake("listen", format!("{} stands there twice", shown(address)));
        }
        if address == admin {
            let key = if reader.is_written("admin.listen") { "admin.listen" } else { "listen" };
            let problem = format!("clients and admin cannot both have {}", shown(address));
            reader.mistake(key, problem);
        }
    }
}

fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("`{address}`"),
        ListenAddress::Unix(path) => format!("`unix:{}`", path.display()),
    }
}

fn is_same(own: &ListenAddress, upstream: &UpstreamAddress) -> bool {
    match (own, upstream) {
        (ListenAddress::Unix(own), UpstreamAddress::Unix(path)) => own == path,
        (ListenAddress::Tcp(own), UpstreamAddress::Tcp { host, port }) => {
            let ip = if host == "localhost" { "127.0.0.1" } else { host };
            let ip = ip.parse::<IpAddr>();
            // What listens on every address listens on this machine's own too.
            let same =
                |ip: IpAddr| ip == own.ip() || (own.ip().is_unspecified() && ip.is_loopback());
            own.port() == *port && ip.is_ok_and(same)
        }
        (ListenAddress::Unix(_) | ListenAddress::Tcp(_), _) => false,
    }
}

fn mode(text: &str) -> Result<u32, &'static str> {
    const WRONG: &str = "not the mode of a file; write four octal digits like `0660`";
    let digits = text.len() == 4 && text.starts_with('0');
    u32::from_str_radix(text, 8).ok().filter(|_| digits).ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{mistakes, warnings};

    #[test]
    fn bad_addresses_earn_these_sentences() {
        for (text, want) in [
            ("listen = []", "listen: an empty list"),
            ("listen = \"\"", "listen: empty"),
            (
                "listen = [\"127.0.0.1:1\", \"localhost:2\"]",
                "listen: \"localhost:2\": listens on addresses, not on names; write `127.0.0.1:2` (a.toml:1:26)",
            ),
            (
                "listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
                "listen: `127.0.0.1:1` stands there twice",
            ),
            (
                "listen = \"127.0.0.1:4601\"",
                "listen: clients and admin cannot both have `127.0.0.1:4601`",
            ),
            (
                "admin.listen = \"127.0.0.1:4600\"",
                "admin.listen: clients and admin cannot both have `127.0.0.1:4600`",
            ),
            (
                "listen_mode = \"660\"",
                "listen_mode: \"660\": not the mode of a file; write four octal digits like `0660`",
            ),
            ("listen_mode = \"0888\"", "listen_mode: \"0888\": not the mode of a file"),
            ("listen_mode = \"+660\"", "listen_mode: \"+660\": not the mode of a file"),
            (
                "admin.status = \"everybody\"",
                "admin.status: \"everybody\": not one of `loopback`, `all`",
            ),
            (
                "upstream.url = \"http://127.0.0.1:4600\"",
                "upstream.url: this is where the proxy itself listens",
            ),
            (
                "listen = \"[::]:81\"\nupstream.url = \"http://localhost:81\"",
                "upstream.url: this is where the proxy itself listens",
            ),
            ("upstream.url = \"h2://a\"", "upstream.url: not the address of a backend"),
            (
                "trusted_proxies = [\"0.0.0.0/0\"]",
                "trusted_proxies: \"0.0.0.0/0\": that is everybody",
            ),
        ] {
            assert!(
                mistakes(text).iter().any(|got| got.starts_with(want)),
                "{text}: {:?}",
                mistakes(text)
            );
        }
        assert_eq!(mistakes("listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]"), [""; 0]);
    }

    #[test]
    fn a_network_that_others_have_addresses_in_is_warned_of() {
        for (net, warned) in [
            ("private", false),
            ("10.1.0.0/16", false),
            ("100.64.0.0/10", false),
            ("fe80::/10", false),
            ("203.0.113.7", false),
            ("203.0.113.0/24", true),
            ("8.0.0.0/5", true), // with 10.0.0.0/8 in it
            ("2001:db8::/32", true),
            ("2001:db8::1", false),
        ] {
            let text = format!("trusted_proxies = [\"{net}\"]");
            let found = warnings(&text).iter().any(|got| got.starts_with("trusted_proxies: "));
            assert_eq!(found, warned, "{net}");
        }
    }

    #[test]
    fn a_status_that_everybody_reads_is_warned_of() {
        for (listen, warned) in [("[::]:4601", true), ("127.0.0.1:4601", false), ("unix:/a", false)]
        {
            let text = format!("admin = {{ listen = \"{listen}\", status = \"all\" }}");
            let found = warnings(&text).iter().any(|got| got.starts_with("admin.status: "));
            assert_eq!(found, warned, "{listen}");
        }
    }
}
