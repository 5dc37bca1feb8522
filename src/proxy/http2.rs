//! A client connection over HTTP/2, until it closes, has been idle or in use for too long, or is
//! drained.

use std::error::Error;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tracing::{debug, error};

use super::activity::Activity;
use super::borrowed;
use super::client_socket::ClientSocket;
use super::connection::{QUIET, seldom};
use super::current::Current;
use super::forwarded::Peer;
use super::link::{Link, Wire};
use super::present::during;
use super::stage::{Closing, Stage};
use super::streams::{Stall, Streams};
use super::{Limits, Shared};
use crate::core::reject::Reject;

/// Requests at a time on one connection (RFC 9113 §5.1.2 recommends no less).
const STREAMS: u32 = 100;
/// What a client may send of one body before the backend takes it: 64 KiB, as the standard has it.
const STREAM_WINDOW: u32 = 65_535;
/// And of all bodies on the connection: those that stand still do not stop the others.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW + 1024 * 1024;
/// What waits to be sent on one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that are reset before we have looked at them, as many as may wait. More at a time is an
/// attack (CVE-2023-44487), which ends the connection.
const RESETS: usize = 20;
/// Streams that we had to reset for a client's own mistakes (CVE-2025-8671).
const LOCAL_RESETS: usize = 256;
/// How often a connection that says nothing is asked whether it still is, and how long it may take
/// to say so.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// How long a connection lives before its client is asked to open another: whoever balances load
/// by connections gets to do so now and then.
const AGE: Duration = Duration::from_secs(60 * 60);
/// By how much that differs, so that those that began together do not end together.
const AGE_SPREAD: Duration = Duration::from_secs(6 * 60);
/// How long a client that was told to begin nothing more may be silent before it is taken for gone.
/// One that is there has said so by then, but where it has an answer to read before: that takes as
/// long as it takes, up to `timeouts.body`.
const SILENCE: Duration = Duration::from_secs(10);

/// Serves a connection until it ends.
pub(super) async fn serve<S>(
    socket: ClientSocket<S>,
    peer: Peer,
    activity: Activity,
    current: Rc<Current>,
    mut stage: watch::Receiver<Stage>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    activity.speaks_http2();
    let (timeouts, limits) = current.limits();
    let streams = Streams::new(timeouts.body);
    let own_stage = stage.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let pipeline = current.pipeline();
        let (peer, activity, stage) = (peer.clone(), activity.clone(), own_stage.clone());
        async move {
            let wire = Wire::Http2 { stall: Stall::of_this_stream() };
            let link = Link { peer, activity, stage, wire };
            pipeline.serve(request, Rc::new(link)).await
        }
    });
    let (owner, socket) = borrowed::lend(socket);
    let socket = TokioIo::new(socket);
    let mut connection = builder(limits, streams.clone()).serve_connection(socket, service);
    let grows_old = Instant::now() + age();
    let mut timer = pin!(time::sleep(timeouts.idle));
    let mut farewell = Farewell::Unsaid;
    let mut closing: Option<Closing> = None;
    let mut silence = SILENCE;
    loop {
        tokio::select! {
            biased;
            ended = during(&mut connection) => {
                match ended {
                    Ok(()) => break,
                    Err(error) => return observe(&error, current.pipeline().shared()),
                }
            }
            bug = streams.panicked() => {
                current.pipeline().shared().metrics.panics.inc();
                error!(%bug, "a request ended in a panic");
            }
            () = timer.as_mut() => {
                let now = Instant::now();
                let word_due = closing.map(Closing::last_word);
                if word_due.is_some_and(|due| due <= now) {
                    activity.cut();
                }
                let read_due = activity.read_due(timeouts.body);
                let silent_due = match farewell {
                    Farewell::Unsaid => activity.quiet_since().map(|since| since + timeouts.idle),
                    Farewell::Said => {
                        let reads = activity.may_be_read();
                        let at_most = if reads { timeouts.body } else { silence };
                        let due = activity.silent_since().map(|since| since + at_most);
                        let in_peace = closing.filter(|_| !reads).map(Closing::in_peace);
                        due.map(|due| in_peace.map_or(due, |in_peace| due.min(in_peace)))
                    }
                };
                if read_due.is_some_and(|due| due <= now) {
                    debug!("connection ended: the client takes nothing");
                    return;
                }
                match farewell {
                    Farewell::Said if silent_due.is_some_and(|due| due <= now) => return,
                    Farewell::Unsaid
                        if grows_old <= now || silent_due.is_some_and(|due| due <= now) =>
                    {
                        farewell = Farewell::Said;
                        std::pin::Pin::new(&mut connection).graceful_shutdown();
                    }
                    Farewell::Said | Farewell::Unsaid => {}
                }
                let dues = [read_due, silent_due, word_due];
                let due = dues.into_iter().flatten().filter(|due| *due > now);
                timer.as_mut().reset(due.fold(now + seldom(&timeouts), Instant::min));
            }
            Ok(stage) = stage.wait_for(Stage::is_closing), if closing.is_none() => {
                closing = stage.closing();
                farewell = Farewell::Said;
                silence = stage.patience(SILENCE + QUIET).saturating_sub(QUIET);
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                let first = Instant::now() + timeouts.head.min(silence);
                let word_due = closing.map(Closing::last_word);
                timer.as_mut().reset(word_due.into_iter().fold(first, Instant::min));
            }
        }
    }
    drop(connection);
    if let Some(socket) = owner.back() {
        let silence = stage.borrow().patience(silence);
        see_off(socket, &activity, silence, timeouts.body).await;
    }
}

/// Whether the client was told to begin nothing more (GOAWAY).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Farewell {
    Unsaid,
    Said,
}

/// Reads on, for nothing, until the client has closed, too: for so long at most, and while it says
/// something, or may have something to read.
///
/// All was written, and lies with the system. Whoever reads it goes on to open windows, and a
/// socket that is closed answers that with a reset: the rest of the answer would be lost.
async fn see_off(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    activity: &Activity,
    silence: Duration,
    at_most: Duration,
) {
    let mut unwanted = [0; 512];
    let reads = async {
        socket.shutdown().await.ok()?; // where hyper has not
        loop {
            let patience = if activity.may_be_read() { at_most } else { silence };
            let Ok(Ok(1..)) = time::timeout(patience, socket.read(&mut unwanted)).await else {
                return Some(());
            };
        }
    };
    drop(time::timeout(at_most, reads).await);
}

fn builder(limits: Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}

fn age() -> Duration {
    let mut random = [0];
    aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
    AGE + AGE_SPREAD * u32::from(random[0]) / 256
}

/// Counts what ended a connection: a client that does not keep to the protocol is told so in a
/// GOAWAY.
fn observe(error: &hyper::Error, shared: &Shared) {
    debug!(%error, "connection ended");
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    if cause.is_some_and(|cause| cause.is_go_away() && cause.is_library()) {
        shared.metrics.unreadable(&Reject::RequestMalformed("not HTTP/2"));
    }
}
