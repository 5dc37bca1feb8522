//! Takes connections to the backend, or makes them.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use http::Version;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io;
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{self, AbortHandle};
use tokio::time::{self, Instant};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::alone::Alone;
use super::backend_socket::{BackendSocket, Transport};
use super::local::Local;
use super::making::Making;
use super::outbox::Outbox;
use super::pool::{Lease, Made, Pool};
use super::present;
use super::room;
use super::settings::{UpstreamAddress, UpstreamProtocol};
use super::snapshot::Snapshot;
use super::trunk::Trunk;
use crate::core::reject::Reject;
use crate::core::upgrade::Wish;
use crate::tls::{self, Backend, H2, HTTP_1_1};

/// What has connections to the backend: one a worker.
#[derive(Debug)]
pub(super) struct Connector {
    pool: Rc<Pool>,
    outbox: Rc<Outbox>,
    making: Making,
    reaper: AbortHandle,
    tls: Option<Tls>,
    shared: Rc<Local>,
}

/// How the backend is spoken with under TLS.
#[derive(Debug)]
struct Tls {
    server_name: ServerName<'static>,
    configs: Snapshot<ClientConfig>,
}

impl Connector {
    /// Runs on a local runtime.
    pub(super) fn new(shared: Rc<Local>) -> Self {
        let tls = shared.upstream_tls.clone().map(|Backend { server_name, configs }| Tls {
            server_name,
            configs: Snapshot::new(configs),
        });
        let pool = Pool::new(shared.settings.timeouts.upstream_idle, Rc::clone(&shared));
        let reaper = task::spawn_local(Rc::clone(&pool).reap()).abort_handle();
        let outbox = Rc::new(Outbox::new());
        Self { pool, outbox, making: Making::default(), reaper, tls, shared }
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Takes a connection that is there, or makes one; and says when that was.
    pub(super) async fn take(&self, wish: Wish) -> Result<(Lease, Instant), Reject> {
        let now = present::now();
        let kept = match wish {
            Wish::Http => self.pool.take(now),
            Wish::WebSocket => self.pool.take_alone(now),
        };
        match kept {
            Some(lease) => Ok((lease, now)),
            // In a box: what is seldom needed is no room in each request.
            None => Ok((Box::pin(self.make(wish)).await?, Instant::now())),
        }
    }

    /// Makes a connection. Where one serves many, as many are made as those who wait need, and no
    /// more: whoever finds them being made waits for a place. A WebSocket has one of its own.
    pub(super) async fn make(&self, wish: Wish) -> Result<Lease, Reject> {
        if wish == Wish::WebSocket || !self.is_shared() {
            return self.connect(wish).await;
        }
        let until = Instant::now() + self.shared.settings.timeouts.connect;
        let waiting = self.making.wait();
        while self.is_shared() {
            let changed = self.making.changed();
            if let Some(lease) = self.pool.take_shared() {
                return Ok(lease);
            }
            if let Some(_maker) = self.making.begin(self.pool.places()) {
                return self.connect(wish).await;
            }
            time::timeout_at(until, changed).await.map_err(|_| Reject::UpstreamTimeout)?;
        }
        drop(waiting);
        self.connect(wish).await // it has shown that it speaks HTTP/1.1
    }

    /// Tells whether one connection serves many: what the backend has shown, or may yet show under
    /// TLS.
    fn is_shared(&self) -> bool {
        match self.pool.spoken() {
            Some(version) => version == Version::HTTP_2,
            None => {
                self.tls.is_some()
                    || self.shared.settings.upstream_protocol == UpstreamProtocol::Http2
            }
        }
    }

    async fn connect(&self, wish: Wish) -> Result<Lease, Reject> {
        let at_most = self.shared.settings.timeouts.connect;
        let place = self.shared.upstream_room.enter(at_most).await?;
        let connected = time::timeout(at_most, async {
            match &self.shared.settings.upstream {
                UpstreamAddress::Tcp { host, port } => {
                    let stream = dial((host.as_str(), *port)).await?;
                    match &self.tls {
                        None => {
                            let protocol = self.shared.settings.upstream_protocol;
                            self.start(stream, place, protocol).await
                        }
                        Some(tls) => {
                            let (stream, protocol) = tls.connect(stream, wish).await?;
                            self.start(stream, place, protocol).await
                        }
                    }
                }
                UpstreamAddress::Unix(path) => {
                    let stream = UnixStream::connect(path).await?;
                    self.start(stream, place, UpstreamProtocol::Usual).await
                }
                UpstreamAddress::Child { port } => {
                    if let Some(awaited) = &self.shared.awaited {
                        awaited.there().await;
                    }
                    let stream = dial((Ipv4Addr::LOCALHOST, *port)).await?;
                    self.start(stream, place, UpstreamProtocol::Usual).await
                }
            }
        });
        match connected.await {
            Ok(Ok(made)) => Ok(self.pool.made(made, wish)),
            Ok(Err(error)) if room::is_want_of_descriptors(&error) => Err(Reject::Overloaded),
            Ok(Err(error)) => Err(Reject::UpstreamUnreachable(error.to_string())),
            Err(_) => Err(Reject::UpstreamTimeout),
        }
    }

    /// Begins to speak HTTP over a connection, which has its place until it is closed.
    async fn start(
        &self,
        stream: impl Transport + 'static,
        place: OwnedSemaphorePermit,
        protocol: UpstreamProtocol,
    ) -> io::Result<Made> {
        let socket = BackendSocket::new(Box::new(stream) as Box<dyn Transport>, place);
        match protocol {
            UpstreamProtocol::Http2 => Trunk::start(socket).await.map(Made::Http2),
            UpstreamProtocol::Usual => {
                Ok(Made::Http1(Box::new(Alone::new(socket, Rc::clone(&self.outbox)))))
            }
        }
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

impl Tls {
    /// Speaks what the backend chooses; HTTP/1.1 where that is needed.
    async fn connect(
        &self,
        stream: TcpStream,
        wish: Wish,
    ) -> io::Result<(TlsStream<TcpStream>, UpstreamProtocol)> {
        let config = Arc::clone(&self.configs.look());
        let config = match wish {
            Wish::Http => config,
            Wish::WebSocket => {
                let mut config = ClientConfig::clone(&config);
                config.alpn_protocols = tls::alpn(&[HTTP_1_1]);
                Arc::new(config)
            }
        };
        let stream = TlsConnector::from(config).connect(self.server_name.clone(), stream).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(name) if name == H2 => UpstreamProtocol::Http2,
            Some(_) | None => UpstreamProtocol::Usual,
        };
        Ok((stream, protocol))
    }
}

async fn dial(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
