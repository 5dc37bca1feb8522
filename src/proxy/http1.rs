//! A client connection over HTTP/1.1, until it closes or goes on as a tunnel.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, sink};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::{io, time};
use tracing::debug;

use super::activity::Activity;
use super::client_socket::ClientSocket;
use super::connection::{GLANCE, drained, is_quiet, seldom};
use super::current::Current;
use super::forwarded::Peer;
use super::link::{Handover, Link, Wire};
use super::own_waker::OwnWaker;
use super::present::during;
use super::stage::{Closing, Stage};
use super::{Limits, Shared};
use crate::core::reject::Reject;

/// How long a client that is still sending has, once we are done with it.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How much of a body a connection holds while the other side takes none: hyper's default is six
/// times that, which every client that reads slowly would have of us.
const BUFFER: usize = 64 * 1024;
/// hyper's default; any other number moves its header table to the heap.
const USUAL_HEADERS: usize = 100;

/// How long a connection is kept as it was after a request, in case there is another at once.
const REST: Duration = Duration::from_secs(1);

/// Serves a connection until it closes, times out, has been quiet in a drain, or is none of HTTP's
/// any more and has ended as what it became.
pub(super) async fn serve<S>(
    mut socket: ClientSocket<S>,
    peer: Peer,
    activity: Activity,
    current: Rc<Current>,
    mut stage: watch::Receiver<Stage>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let tunnel = Rc::<Handover>::default();
    let wire = Wire::Http1 { tunnel: Rc::clone(&tunnel) };
    let link = Rc::new(Link { peer, activity, stage: stage.clone(), wire });
    // In a box, so that what requests need takes no room between them.
    while let Some(quiet) =
        Box::pin(serve_until_quiet(socket, &link, &tunnel, &current, &mut stage)).await
    {
        socket = quiet;
        if !has_more(&mut socket, &link.activity, &current, &mut stage).await {
            drop(time::timeout(LINGER, socket.shutdown()).await); // what TLS says at the end of all
            return;
        }
    }
}

/// Waits for the next request, holding nothing but the socket: hyper's buffers are most of what a
/// connection costs. Tells whether there is one, in time.
async fn has_more(
    socket: &mut ClientSocket<impl AsyncRead + Unpin>,
    activity: &Activity,
    current: &Current,
    stage: &mut watch::Receiver<Stage>,
) -> bool {
    let (timeouts, _) = current.limits();
    let since = activity.rests_since().unwrap_or_else(Instant::now);
    tokio::select! {
        biased;
        more = socket.look_ahead() => more,
        () = time::sleep_until(since + timeouts.idle) => false,
        () = drained(stage) => false,
    }
}

/// What happens on a connection.
enum Event {
    Ended(hyper::Result<()>),
    /// Something may be due.
    Timer,
    /// The request under way is the last.
    IsLast,
    /// A drain has begun.
    Closing,
}

/// Serves a connection until it is over, or has had no request for a while: then the socket is
/// returned.
async fn serve_until_quiet<S>(
    socket: ClientSocket<S>,
    link: &Rc<Link>,
    tunnel: &Handover,
    current: &Rc<Current>,
    stage: &mut watch::Receiver<Stage>,
) -> Option<ClientSocket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let activity = &link.activity;
    let (timeouts, limits) = current.limits();
    let service = service_fn(|request: Request<Incoming>| {
        let (pipeline, link) = (current.pipeline(), Rc::clone(link));
        link.activity.begins(!request.body().is_end_stream());
        // In a box, for hyper keeps the room of one for as long as there is a connection. Written into the
        // box, so that the compiler may make it there: `Box::pin` takes what is made and moves it, 4 KB.
        Box::into_pin(Box::write(Box::new_uninit(), pipeline.serve(request, link)))
    });
    let mut connection = builder(limits).serve_connection(TokioIo::new(socket), service);
    let rest = REST.min(timeouts.idle);
    let mut timer = pin!(time::sleep(rest.min(timeouts.head)));
    let mut closing: Option<Closing> = None;
    let mut own = OwnWaker::new();
    loop {
        // What a request does not wake, so that it is not asked about with each.
        let others = own.polled_when_woken(async {
            tokio::select! {
                biased;
                () = timer.as_mut() => Event::Timer,
                () = activity.until_last() => Event::IsLast,
                Ok(_) = stage.wait_for(Stage::is_closing), if closing.is_none() => Event::Closing,
            }
        });
        let event = tokio::select! {
            biased;
            ended = during(&mut connection) => Event::Ended(ended),
            event = others => event,
        };
        match event {
            Event::Ended(ended) => {
                match (ended, tunnel.take()) {
                    (Err(error), _) => observe(&error, current.pipeline().shared()),
                    (Ok(()), Some(tunnel)) => {
                        let parts = connection.into_parts();
                        // In a box, so that it takes no room in connections without.
                        Box::pin(tunnel.run(parts.io.into_inner(), parts.read_buf)).await;
                    }
                    (Ok(()), None) if activity.may_be_sent_more() => {
                        linger(connection.into_parts().io.into_inner(), patience(link)).await;
                    }
                    (Ok(()), None) => {}
                }
                return None;
            }
            Event::Timer => {
                if closing.is_some_and(|closing| is_quiet(activity, closing.since)) {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                let now = Instant::now();
                let word_due = closing.map(Closing::last_word);
                if word_due.is_some_and(|due| due <= now) {
                    activity.cut(); // which the connection finds when it is polled next, above
                }
                let head_due = activity.head_due(timeouts.head);
                if head_due.is_some_and(|due| due <= now) {
                    current.pipeline().shared().metrics.unreadable(&Reject::RequestTimeout);
                    give_up(connection.into_parts().io.into_inner()).await;
                    return None;
                }
                let read_due = activity.read_due(timeouts.body);
                if read_due.is_some_and(|due| due <= now) {
                    debug!("connection ended: the client takes nothing");
                    return None;
                }
                let rest_due = activity.rests_since().map(|since| since + rest);
                let rest_due = rest_due.filter(|_| closing.is_none());
                if rest_due.is_some_and(|due| due <= now) {
                    let parts = connection.into_parts();
                    let mut socket = parts.io.into_inner();
                    socket.put_back(&parts.read_buf);
                    return Some(socket);
                }
                // What is left of a body may be with a backend that takes none of it.
                let idle_due = activity.answered_since().map(|since| since + timeouts.idle);
                if idle_due.is_some_and(|due| due <= now) {
                    linger(connection.into_parts().io.into_inner(), patience(link)).await;
                    return None;
                }
                let again = now + if closing.is_some() { GLANCE } else { seldom(&timeouts) };
                let word_due = word_due.filter(|due| *due > now);
                let dues = [head_due, read_due, rest_due, idle_due, word_due];
                timer.as_mut().reset(dues.into_iter().flatten().fold(again, Instant::min));
            }
            Event::IsLast => std::pin::Pin::new(&mut connection).graceful_shutdown(),
            Event::Closing => {
                closing = stage.borrow().closing();
                timer.as_mut().reset(Instant::now() + GLANCE);
            }
        }
    }
}

fn patience(link: &Link) -> Duration {
    link.stage.borrow().patience(LINGER)
}

/// Reads on for so long, for nothing, after our last word was sent.
///
/// Closing a socket with bytes unread resets the connection (RFC 9112 §9.6): a client that is
/// still sending would get an error, and lose the answer that says why it can stop.
pub(super) async fn linger(mut socket: impl AsyncRead + Unpin, at_most: Duration) {
    drop(time::timeout(at_most, io::copy(&mut socket, &mut sink())).await);
}

/// Tells a client that its head did not come in time (RFC 9110 §15.5.9), and that is all.
pub(super) async fn give_up(mut socket: impl AsyncWrite + Unpin) {
    const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
        connection: close\r\ncache-control: no-store\r\ncontent-length: 0\r\n\r\n";
    let told = async {
        socket.write_all(ANSWER).await?;
        socket.shutdown().await // what TLS says at the end of all
    };
    // It fits a socket's buffer, or the client reads nothing either way.
    drop(time::timeout(LINGER, told).await);
}

fn builder(limits: Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // It would be set and taken back with each request: what we wait with is one a connection.
        .header_read_timeout(None)
        .max_header_size(limits.head)
        .max_buf_size(BUFFER.max(2 * limits.head))
        .half_close(false);
    if limits.headers != USUAL_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

/// Counts what ended a connection before a request could be read. hyper has answered it.
fn observe(error: &hyper::Error, shared: &Shared) {
    debug!(%error, "connection ended");
    let metrics = &shared.metrics;
    if error.is_parse_too_large() {
        // hyper has one answer to the question and two to the client: 414 and 431.
        let of_target = error.to_string().contains("URI");
        let reject = if of_target { Reject::TargetTooLong } else { Reject::HeadTooLarge };
        metrics.unreadable(&reject);
    } else if error.is_parse() {
        metrics.unreadable(&Reject::RequestMalformed("not HTTP/1.1"));
    }
}
