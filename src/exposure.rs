//! Whether the backend can be reached past the proxy: what the kernel says of its port.
//!
//! A backend on loopback that also listens on another address believes whoever connects there. The
//! kernel's socket tables tell, and no connection is made. Where there are none (macOS), nobody can
//! tell, and nothing is said.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::time;
use tracing::{info, warn};

/// Time between two looks. A hole that was there for a minute is told of while it can be closed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The tables of the network we are in: IPv4, then IPv6.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The most that is read of a table: some 14,000 sockets that listen.
const MOST: u64 = 2 * 1024 * 1024;

/// Looks after the port of a backend on loopback.
#[derive(Debug)]
pub struct Exposure {
    port: u16,
    /// Where we listen ourselves, perhaps on the same port of another address.
    own: Vec<SocketAddr>,
    tables: [PathBuf; 2],
    gauge: IntGauge,
    /// Where else somebody listens on the port, as of the last look.
    known: Vec<SocketAddr>,
}

impl Exposure {
    /// Takes a first look; nothing where the tables cannot be read.
    ///
    /// `gauge` is made where they can.
    pub fn of(port: u16, own: Vec<SocketAddr>, gauge: impl FnOnce() -> IntGauge) -> Option<Self> {
        let tables = TABLES.map(PathBuf::from);
        listening(&tables).ok()?;
        Some(Self { port, own, tables, gauge: gauge(), known: Vec::new() })
    }

    /// Looks every minute, until the task is ended.
    pub async fn run(mut self) {
        loop {
            self.look();
            time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks once: counts, and tells of a change.
    fn look(&mut self) {
        let Ok(all) = listening(&self.tables) else { return };
        let exposed = exposed(&all, self.port, &self.own);
        self.gauge.set(i64::from(!exposed.is_empty()));
        if exposed == self.known {
            return;
        }
        if exposed.is_empty() {
            info!(port = self.port, "the backend is on loopback alone");
        } else {
            let addresses: Vec<_> = exposed.iter().map(ToString::to_string).collect();
            warn!(
                listens = addresses.join(", "),
                "the proxy can be walked around: bind the backend to 127.0.0.1"
            );
        }
        self.known = exposed;
    }
}

/// Returns where somebody listens on `port` that others than this machine may reach, without us.
fn exposed(all: &[SocketAddr], port: u16, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_open =
        |it: &&SocketAddr| it.port() == port && !it.ip().is_loopback() && !own.contains(it);
    let mut open: Vec<_> = all.iter().filter(is_open).copied().collect();
    open.sort();
    open.dedup(); // several processes may share a port
    open
}

/// Reads who listens, of both tables. A system without IPv6 has no second.
fn listening(tables: &[PathBuf; 2]) -> io::Result<Vec<SocketAddr>> {
    let read = |path| listeners(BufReader::new(File::open(path)?.take(MOST)));
    let mut all = read(&tables[0])?;
    match read(&tables[1]) {
        Ok(more) => all.extend(more),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => {}
        Err(problem) => return Err(problem),
    }
    Ok(all)
}

/// Reads the sockets that listen, which come first in a table; the connections after them, of which
/// there may be many, are not read.
fn listeners(table: impl BufRead) -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        match listener(&line?) {
            Some(address) => found.push(address),
            None => break,
        }
    }
    Ok(found)
}

/// The state of a socket that listens: `TCP_LISTEN`.
const LISTEN: &str = "0A";

/// Reads a line of a table: where a socket listens; nothing where it does not.
fn listener(line: &str) -> Option<SocketAddr> {
    // sl: local_address rem_address st …
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (ip, port) = local.split_once(':')?;
    let ip = address(ip)?.to_canonical();
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then_some(SocketAddr::new(ip, port))
}

/// Reads an address: words of 32 bits in hex, each as it lies in the memory of this machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (place, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(place * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

    /// Lines as a little-endian machine has them.
    #[cfg(target_endian = "little")]
    const LINES: &[(&str, Option<&str>)] = &[
        (
            "   0: 0100007F:11F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 96184 1 00000000a1e4f6ed 100 0 0 10 0",
            Some("127.0.0.1:4600"),
        ),
        (
            "   1: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 96185 1 00000000a1e4f6ed 100 0 0 10 0",
            Some("0.0.0.0:3000"),
        ),
        (
            "   2: 0500A8C0:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 96186 1 00000000a1e4f6ed 100 0 0 10 0",
            Some("192.168.0.5:3000"),
        ),
        (
            "  10: 0100007F:0BB8 0100007F:D2F4 01 00000000:00000000 00:00000000 00000000     0        0 96187 1 00000000a1e4f6ed 20 4 30 10 -1",
            None,
        ),
        (
            "   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 44201 1 0000000000000000 100 0 0 10 0",
            Some("[::]:3000"),
        ),
        (
            "   1: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44202 1 0000000000000000 100 0 0 10 0",
            Some("[::1]:3000"),
        ),
        (
            "   2: B80D0120000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44203 1 0000000000000000 100 0 0 10 0",
            Some("[2001:db8::1]:3000"),
        ),
        (
            "   3: 0000000000000000FFFF00000100007F:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44204 1 0000000000000000 100 0 0 10 0",
            Some("127.0.0.1:3000"),
        ),
        (
            "   4: 0000000000000000FFFF00000500A8C0:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44205 1 0000000000000000 100 0 0 10 0",
            Some("192.168.0.5:3000"),
        ),
    ];

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_says_where_a_socket_listens() {
        for (line, want) in LINES {
            let want = want.map(|text| text.parse::<SocketAddr>().unwrap());
            assert_eq!(listener(line), want, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_none_says_nothing() {
        for line in [
            "",
            HEAD,
            "0:",
            "0: 0100007F 00000000:0000 0A",
            "0: 0100007:11F8 0:0 0A",
            "0: 0100007F:11F80 0:0 0A",
            "0: 010000ü7:11F8 0:0 0A",
            "0: ++++++++:11F8 0:0 0A",
            "0: 0100007F:11F8 0:0",
            "0: 0100007F:11F8 0:0 0a",
        ] {
            assert_eq!(listener(line), None, "{line}");
        }
    }

    #[test]
    fn connections_are_not_read() {
        let (listens, connected) = ("0: 00000000:0BB8 0:0 0A", "1: 00000000:0BB9 0:0 01");
        let table = format!("{HEAD}\n{listens}\n{connected}\n{listens}\n");
        assert_eq!(listeners(table.as_bytes()).unwrap().len(), 1);
        assert!(listeners(&b"head\n\xff\n"[..]).is_err());
        assert_eq!(listeners(&b""[..]).unwrap(), []);
    }

    #[test]
    fn a_port_is_exposed_where_it_is_open_on_another_address_than_loopback_and_ours() {
        let own = ["10.0.0.1:3000".parse().unwrap()];
        for (listens, want) in [
            (&["127.0.0.1:3000"][..], &[][..]),
            (&["127.0.0.1:3000", "127.1.2.3:3000", "[::1]:3000"], &[]),
            (&["0.0.0.0:3000"], &["0.0.0.0:3000"]),
            (&["0.0.0.0:3000", "0.0.0.0:3000"], &["0.0.0.0:3000"]),
            (&["[::]:3000", "10.0.0.2:3000"], &["10.0.0.2:3000", "[::]:3000"]),
            (&["[fe80::1]:3000"], &["[fe80::1]:3000"]),
            (&["0.0.0.0:3001"], &[]),
            (&["10.0.0.1:3000"], &[]),
            (&[], &[]),
        ] {
            let listens: Vec<_> = listens.iter().map(|it| it.parse().unwrap()).collect();
            let found = exposed(&listens, 3000, &own);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, want, "{listens:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_later_it_is_told_otherwise() {
        let home = tempfile::tempdir().unwrap();
        let tables = ["tcp", "tcp6"].map(|name| home.path().join(name));
        let open = format!("{HEAD}\n0: 00000000:0BB8 0:0 0A\n");
        fs::write(&tables[0], format!("{HEAD}\n")).unwrap();
        let gauge = IntGauge::new("exposed", "Exposed.").unwrap();
        let (known, own) = (Vec::new(), Vec::new());
        let exposure = Exposure { port: 3000, own, tables, gauge: gauge.clone(), known };
        let tables = exposure.tables.clone();
        let task = tokio::spawn(exposure.run());
        let minute = LOOK_EVERY + Duration::from_millis(1);

        time::sleep(Duration::from_millis(1)).await;
        assert_eq!(gauge.get(), 0, "no IPv6 there, and nothing open");
        fs::write(&tables[1], open).unwrap();
        time::sleep(minute).await;
        assert_eq!(gauge.get(), 1, "open");
        fs::remove_file(&tables[0]).unwrap();
        time::sleep(minute).await;
        assert_eq!(gauge.get(), 1, "nobody can tell: as it was");
        fs::write(&tables[0], HEAD).unwrap();
        fs::remove_file(&tables[1]).unwrap();
        time::sleep(minute).await;
        assert_eq!(gauge.get(), 0, "closed");
        task.abort();
    }
}
