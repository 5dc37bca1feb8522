//! One client connection, from accept to close: which HTTP is spoken on it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{self, Instant};

use super::activity::Activity;
use super::client_socket::ClientSocket;
use super::current::Current;
use super::forwarded::Peer;
use super::preface::{self, Protocol};
use super::stage::Stage;
use super::{Timeouts, handshake, http1, http2};
use crate::core::origin::Scheme;
use crate::core::reject::Reject;
use crate::tls::H2;

/// What a kept-alive connection, and one that was served nothing, get before they are closed in a
/// drain: a request that was on its way when we began is served.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// How often a draining connection is looked at.
pub(super) const GLANCE: Duration = Duration::from_millis(50);

/// Serves a connection without TLS.
pub(super) async fn serve<S>(
    socket: S,
    address: Option<IpAddr>,
    current: Rc<Current>,
    mut stage: watch::Receiver<Stage>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = Peer::new(address, Scheme::Http);
    let activity = Activity::start();
    let mut socket = ClientSocket::new(socket, activity.clone());
    let known = greeted(&mut socket, &activity, &current, &mut stage).await;
    match known {
        Some(protocol) => speak(protocol, socket, peer, activity, current, stage).await,
        None => {
            if !stage.borrow().is_closing() {
                current.pipeline().shared().metrics.unreadable(&Reject::RequestTimeout);
                http1::give_up(socket).await;
            }
        }
    }
}

/// Serves a connection under TLS, from its handshake on.
pub(super) async fn serve_tls(
    socket: TcpStream,
    address: Option<IpAddr>,
    tls: Arc<ServerConfig>,
    current: Rc<Current>,
    mut stage: watch::Receiver<Stage>,
) {
    let at_most = current.pipeline().shared().settings.timeouts.handshake;
    let shaken = handshake::shake(socket, address, tls, at_most, &mut stage).await;
    let Some(socket) = shaken else { return };
    let chosen = socket.get_ref().1.alpn_protocol();
    let protocol = if chosen == Some(H2) { Protocol::Http2 } else { Protocol::Http1 };
    let peer = Peer::new(address, Scheme::Https);
    let activity = Activity::start();
    let socket = ClientSocket::new(socket, activity.clone());
    speak(protocol, socket, peer, activity, current, stage).await;
}

async fn speak<S>(
    protocol: Protocol,
    socket: ClientSocket<S>,
    peer: Peer,
    activity: Activity,
    current: Rc<Current>,
    stage: watch::Receiver<Stage>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    match protocol {
        Protocol::Http1 => http1::serve(socket, peer, activity, current, stage).await,
        // In a box, so that what it needs takes no room in the connections of the other kind.
        Protocol::Http2 => Box::pin(http2::serve(socket, peer, activity, current, stage)).await,
    }
}

/// Waits for what tells the protocol; nothing where that takes too long: as long as a head may
/// take, and in a drain no longer than a connection that was served nothing has.
async fn greeted(
    socket: &mut ClientSocket<impl AsyncRead + Unpin>,
    activity: &Activity,
    current: &Current,
    stage: &mut watch::Receiver<Stage>,
) -> Option<Protocol> {
    let (http2, at_most) = {
        let pipeline = current.pipeline();
        let settings = &pipeline.shared().settings;
        (settings.http2, settings.timeouts.head)
    };
    if !http2 {
        return Some(Protocol::Http1);
    }
    let due = activity.head_due(at_most).unwrap_or_else(Instant::now);
    tokio::select! {
        biased;
        protocol = preface::read(socket) => Some(protocol),
        () = time::sleep_until(due) => None,
        () = drained(stage) => None,
    }
}

/// How often a connection is looked at on which nothing is due: nobody tells its timer that a request is
/// over. With settings that are shorter than a glance a busy one would look all the time.
pub(super) fn seldom(timeouts: &Timeouts) -> Duration {
    timeouts.head.min(timeouts.idle).max(GLANCE)
}

/// Waits until a drain has had the time in which a request that was on its way comes.
pub(super) async fn drained(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(Stage::is_closing).await; // the proxy is gone: no less a reason
    time::sleep(QUIET).await;
}

/// Tells whether a connection has been without a request for long enough, in a drain that began
/// at `closing`.
pub(super) fn is_quiet(activity: &Activity, closing: Instant) -> bool {
    let quiet = activity.quiet_since().map(|since| since.max(closing));
    quiet.is_some_and(|since| since.elapsed() >= QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_on_which_nothing_is_due_is_not_looked_at_all_the_time() {
        for (head, idle, want) in
            [(10_000, 75_000, 10_000), (10_000, 3_000, 3_000), (10_000, 1, 50), (1, 75_000, 50)]
        {
            let [head, idle, want] = [head, idle, want].map(Duration::from_millis);
            let timeouts = Timeouts { head, idle, ..Timeouts::default() };
            assert_eq!(seldom(&timeouts), want, "{head:?} and {idle:?}");
        }
    }
}
