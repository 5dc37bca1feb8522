//! The TLS handshake of a client connection.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{self, Duration};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::connection::QUIET;
use super::stage::Stage;

/// Puts a connection under TLS, in this time; in a drain it has no longer than a connection that
/// was served nothing. Nothing where it ends there: whoever speaks plain HTTP is closed on, too.
pub(super) async fn shake(
    socket: TcpStream,
    peer: Option<IpAddr>,
    config: Arc<ServerConfig>,
    at_most: Duration,
    stage: &mut watch::Receiver<Stage>,
) -> Option<TlsStream<TcpStream>> {
    let drained = async {
        let _ = stage.wait_for(Stage::is_closing).await; // the proxy is gone: no less a reason
        time::sleep(QUIET).await;
    };
    tokio::select! {
        biased;
        shaken = TlsAcceptor::from(config).accept(socket) => match shaken {
            Ok(socket) => return Some(socket),
            Err(problem) => debug!(?peer, %problem, "no TLS handshake"),
        },
        () = time::sleep(at_most) => debug!(?peer, "no TLS handshake: it took too long"),
        () = drained => {}
    }
    None
}
