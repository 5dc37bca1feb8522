//! One client connection, from accept to close.

use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{self, Instant};
use tracing::debug;

use super::activity::{Activity, Watched};
use super::pipeline::Pipeline;
use super::{Limits, Stage};
use crate::core::reject::Reject;

/// What a kept-alive connection, and one that was served nothing, get before they are closed in a
/// drain: a request that was on its way when we began is served.
const QUIET: Duration = Duration::from_secs(1);
/// How often a draining connection is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// hyper's default; any other number moves its header table to the heap.
const USUAL_HEADERS: usize = 100;

/// Serves one connection until it closes, times out, or has been quiet in a drain.
pub(super) async fn serve<S>(
    socket: S,
    peer: Option<IpAddr>,
    pipeline: Rc<Pipeline>,
    mut stage: watch::Receiver<Stage>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let activity = Activity::start();
    let socket = TokioIo::new(Watched::new(socket, activity.clone()));
    let shared = Rc::clone(&pipeline);
    let timeouts = shared.shared().settings.timeouts;
    let limits = shared.shared().settings.limits;
    let service = service_fn(|request| {
        let (pipeline, activity) = (Rc::clone(&pipeline), activity.clone());
        async move { Ok::<_, std::convert::Infallible>(pipeline.serve(request, peer, &activity).await) }
    });
    let mut connection = pin!(builder(limits, timeouts.idle).serve_connection(socket, service));
    let mut timer = pin!(time::sleep(timeouts.head));
    let mut closing = None;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    observe(&error, &shared);
                }
                return;
            }
            () = timer.as_mut() => {
                if closing.is_some_and(|since| is_quiet(&activity, since)) {
                    connection.as_mut().graceful_shutdown();
                }
                let now = Instant::now();
                let due = activity.head_due(timeouts.head);
                if due.is_some_and(|due| due <= now) {
                    shared.shared().metrics.unreadable(&Reject::RequestTimeout);
                    return;
                }
                let again = now + if closing.is_some() { GLANCE } else { timeouts.head };
                timer.as_mut().reset(due.map_or(again, |due| due.min(again)));
            }
            Ok(stage) = stage.wait_for(Stage::is_closing), if closing.is_none() => {
                closing = stage.closing_since();
                timer.as_mut().reset(Instant::now() + GLANCE);
            }
        }
    }
}

fn builder(limits: Limits, idle: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Armed while the next request is waited for; our own timer guards a head that has begun.
        .header_read_timeout(idle)
        .max_header_size(limits.head)
        // The backend's `Date` passes.
        .auto_date_header(false)
        .half_close(false);
    if limits.headers != USUAL_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

/// Tells whether a connection has been without a request for long enough, in a drain that began
/// at `closing`.
fn is_quiet(activity: &Activity, closing: Instant) -> bool {
    let quiet = activity.quiet_since().map(|since| since.max(closing));
    quiet.is_some_and(|since| since.elapsed() >= QUIET)
}

/// Counts what ended a connection before a request could be read. hyper has answered it.
fn observe(error: &hyper::Error, pipeline: &Pipeline) {
    debug!(%error, "connection ended");
    let metrics = &pipeline.shared().metrics;
    if error.is_parse_too_large() {
        metrics.unreadable(&Reject::HeadTooLarge);
    } else if error.is_parse() {
        metrics.unreadable(&Reject::RequestMalformed("not HTTP/1.1"));
    }
}
