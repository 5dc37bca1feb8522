//! Sockets that listen: TCP and Unix.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use socket2::TcpKeepalive;
use tokio::net::{TcpListener, UnixListener};

/// An address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// `127.0.0.1:4600`, `[::]:4600`
    Tcp(SocketAddr),
    /// `unix:/run/countersign.sock`
    Unix(PathBuf),
}

impl ListenAddress {
    /// Returns address and port; nothing of a file.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// A connection that was accepted and belongs to no runtime yet.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP, without Nagle's delay.
    Tcp(std::net::TcpStream),
    /// Through a file.
    Unix(std::os::unix::net::UnixStream),
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: ListenAddress,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A client that says nothing for a minute is asked whether it is there, and is gone when it has
/// not said so a minute later.
fn keepalive() -> TcpKeepalive {
    const ASKED_AFTER: Duration = Duration::from_secs(60);
    const AGAIN_AFTER: Duration = Duration::from_secs(15);
    TcpKeepalive::new().with_time(ASKED_AFTER).with_interval(AGAIN_AFTER).with_retries(4)
}

/// Removes a Unix socket's file when nobody listens there any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already, or not ours to remove: either way there is nobody to tell.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Tells whether every address was asked for, of a system that was started without IPv6.
fn is_without_ipv6(address: SocketAddr, error: &io::Error) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
        && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

impl Listener {
    /// Listens on `address`. A Unix socket gets this mode. Where the system has no IPv6, `[::]` is every
    /// address it has: `0.0.0.0`.
    ///
    /// # Errors
    ///
    /// Where the address is taken or not to be had. A Unix socket that nobody listens on any more
    /// is replaced; any other file stays, and is an error.
    pub async fn bind(address: &ListenAddress, mode: u32) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = match TcpListener::bind(address).await {
                    Err(error) if is_without_ipv6(*address, &error) => {
                        TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
                    }
                    listener => listener?,
                };
                // What it accepts has it, too: a client that is gone without a word, from a
                // WebSocket on which nobody speaks, is noticed.
                socket2::SockRef::from(&listener).set_tcp_keepalive(&keepalive())?;
                let address = ListenAddress::Tcp(listener.local_addr()?);
                Ok(Self { kind: Kind::Tcp(listener), address })
            }
            ListenAddress::Unix(path) => {
                remove_stale(path)?;
                let kind = Kind::Unix(UnixListener::bind(path)?, SocketFile(path.clone()));
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
                Ok(Self { kind, address: address.clone() })
            }
        }
    }

    /// Returns the address, with the port the system chose where it was 0.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    ///
    /// Where the system has none to give, most likely for want of file descriptors.
    pub async fn accept(&self) -> io::Result<Socket> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                // Fails where the client is gone already, which is no fault of the listener's.
                let _ = socket.set_nodelay(true);
                Ok(Socket::Tcp(socket.into_std()?))
            }
            Kind::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0.into_std()?)),
        }
    }

    /// Has the system ignore connections that begin from now on; those that have begun come
    /// through. To whoever begins one it is as if nobody listened yet: their system asks again
    /// after a second, and is then refused.
    ///
    /// A socket that is closed resets what lies in its queue, and between the last look into the
    /// queue and the close there is always a moment: under load a request was lost in every
    /// hundredth drain or so. Linux only; elsewhere nothing happens.
    pub fn ignore_new(&self) {
        #[cfg(target_os = "linux")]
        if let Kind::Tcp(listener) = &self.kind {
            let socket = socket2::SockRef::from(listener);
            if let Err(problem) = socket.attach_filter(&not_a_bare_syn()) {
                tracing::debug!(%problem, "new connections cannot be held off");
            }
        }
    }

    /// Takes the connections that the system has accepted for us, and stops listening.
    pub fn last(self) -> Vec<Socket> {
        match self.kind {
            Kind::Tcp(listener) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                let accepted = std::iter::from_fn(|| listener.accept().ok()).map(|(socket, _)| {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    Ok(Socket::Tcp(socket))
                });
                accepted.filter_map(io::Result::ok).collect()
            }
            Kind::Unix(listener, _file) => {
                let Ok(listener) = listener.into_std() else { return Vec::new() };
                let accepted = std::iter::from_fn(|| listener.accept().ok())
                    .filter(|(socket, _)| socket.set_nonblocking(true).is_ok());
                accepted.map(|(socket, _)| Socket::Unix(socket)).collect()
            }
        }
    }
}

/// A filter for packets that lets everything pass but a SYN without an ACK, in the kernel's own
/// words: load byte 13 of the TCP header, its flags; keep SYN and ACK; is only SYN left?
#[cfg(target_os = "linux")]
fn not_a_bare_syn() -> [socket2::SockFilter; 5] {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    [
        socket2::SockFilter::new(LOAD_BYTE, 0, 0, 13),
        socket2::SockFilter::new(AND, 0, 0, SYN_OR_ACK),
        socket2::SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        socket2::SockFilter::new(RETURN, 0, 0, 0),
        socket2::SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let abandoned = || {
        std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if metadata.file_type().is_socket() && abandoned() {
        return std::fs::remove_file(path);
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "the path exists, and not as an abandoned socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_what_a_system_without_ipv6_has_of_them() {
        for (address, error, without) in [
            ("[::]:4600", Errno::AFNOSUPPORT, true),
            ("[::]:4600", Errno::ADDRINUSE, false),
            ("[::1]:4600", Errno::AFNOSUPPORT, false),
            ("0.0.0.0:4600", Errno::AFNOSUPPORT, false),
        ] {
            let got = is_without_ipv6(address.parse().unwrap(), &io::Error::from(error));
            assert_eq!(got, without, "{address} {error}");
        }
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_asked_whether_it_is_there() {
        let any_port = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(&any_port, 0o600).await.unwrap();
        let _client = std::net::TcpStream::connect(listener.address().tcp().unwrap()).unwrap();
        let Socket::Tcp(socket) = listener.accept().await.unwrap() else { panic!("it is TCP") };
        let socket = socket2::SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    }
}
