//! One thread's share of the connections.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use prometheus::IntGauge;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};
use tracing::{error, warn};

use super::current::Current;
use super::stage::Stage;
use super::{Shared, connection, in_step};
use crate::listen::Socket;
use crate::telemetry::metrics;

/// A connection that was accepted, on its way to a worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) slot: Slot,
}

/// A connection's place: while it is held, the connection counts.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) of_worker: Arc<AtomicUsize>,
    pub(super) connections: IntGauge,
    /// Nothing for what a drain found in the queue where there was no room.
    pub(super) _permit: Option<tokio::sync::OwnedSemaphorePermit>,
    /// The last of these to go ends the drain.
    pub(super) _alive: mpsc::Sender<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
        self.connections.dec();
    }
}

/// Starts a worker on a thread and a runtime of its own.
///
/// # Errors
///
/// Where thread or runtime cannot be had.
pub(super) fn spawn(
    name: String,
    shared: watch::Receiver<Arc<Shared>>,
    connections: mpsc::UnboundedReceiver<Accepted>,
    stage: watch::Receiver<Stage>,
) -> io::Result<()> {
    let (started, wait) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name(name).spawn(move || {
        let runtime = match local_runtime() {
            Ok(runtime) => runtime,
            Err(problem) => return drop(started.send(Err(problem))),
        };
        drop(started.send(Ok(()))); // whoever started us waits for it
        runtime.block_on(run(shared, connections, stage));
    })?;
    wait.recv().map_err(io::Error::other)?
}

/// A runtime of one thread, whose tasks never leave it: what a work-stealing pool spends on
/// moving them is half of what a request costs in user time.
fn local_runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2) // names are looked up there
        .max_io_events_per_tick(in_step::AT_ONCE)
        .event_interval(in_step::TASKS)
        .on_thread_park(metrics::add_up)
        .build_local(LocalOptions::default())
}

/// Serves the connections handed to this worker, until there are no more and all have ended.
pub(super) async fn run(
    shared: watch::Receiver<Arc<Shared>>,
    mut connections: mpsc::UnboundedReceiver<Accepted>,
    stage: watch::Receiver<Stage>,
) {
    let mut replaced = shared.clone();
    let current = Rc::new(Current::new(shared));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connections.recv() => {
                let Some(accepted) = accepted else { break };
                tasks.spawn_local(serve(accepted, Rc::clone(&current), stage.clone()));
            }
            Some(ended) = tasks.join_next() => observe(ended, &current),
            // Without a request to cause it, so that nothing of the old settings lives on.
            Ok(()) = replaced.changed() => drop(current.pipeline()),
        }
    }
    while let Some(ended) = tasks.join_next().await {
        observe(ended, &current);
    }
}

async fn serve(accepted: Accepted, current: Rc<Current>, stage: watch::Receiver<Stage>) {
    let Accepted { socket, slot } = accepted;
    match socket {
        Socket::Tcp(socket) => {
            let address = socket.peer_addr().map(|peer| peer.ip().to_canonical()).ok();
            match (TcpStream::from_std(socket), current.pipeline().tls()) {
                (Ok(socket), None) => connection::serve(socket, address, current, stage).await,
                // In a box, so that what TLS needs takes no room in connections without.
                (Ok(socket), Some(tls)) => {
                    Box::pin(connection::serve_tls(socket, address, tls, current, stage)).await;
                }
                (Err(problem), _) => warn!(%problem, "connection lost"),
            }
        }
        Socket::Unix(socket) => match UnixStream::from_std(socket) {
            Ok(socket) => connection::serve(socket, None, current, stage).await,
            Err(problem) => warn!(%problem, "connection lost"),
        },
    }
    drop(slot);
}

/// A bug ends the one connection it happened on.
fn observe(ended: Result<(), task::JoinError>, current: &Current) {
    if ended.is_err_and(|error| error.is_panic()) {
        current.pipeline().shared().metrics.panics.inc();
        error!("a connection ended in a panic");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;
    use std::time::Duration;

    use prometheus::Registry;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::metrics::{Lookup, Metrics, Tally};

    /// What comes meanwhile is read when all are through: as many as come at once, with each of two waits.
    #[test]
    fn a_worker_does_not_ask_for_news_while_tasks_go_in_step() {
        let done = Rc::new(RefCell::new(Vec::new()));
        local_runtime().unwrap().block_on(async {
            let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            let far = UnixStream::from_std(far).unwrap();
            let mut tasks = JoinSet::new();
            let heard = Rc::clone(&done);
            let (listening, listens) = oneshot::channel();
            tasks.spawn_local(async move {
                listening.send(()).unwrap();
                far.readable().await.unwrap();
                heard.borrow_mut().push("news");
            });
            listens.await.unwrap();
            for _ in 0..in_step::AT_ONCE {
                let done = Rc::clone(&done);
                tasks.spawn_local(async move {
                    in_step::others_first().await;
                    in_step::others_first().await;
                    done.borrow_mut().push("a request");
                });
            }
            near.write_all(b"news").unwrap();
            tasks.join_all().await;
        });
        let done = done.borrow();
        assert_eq!(done.iter().position(|it| *it == "news"), Some(in_step::AT_ONCE));
    }

    #[test]
    fn what_a_worker_has_counted_is_told_before_it_sleeps() {
        const HIT: &str = r#"countersign_token_cache_lookups_total{result="hit"} 1"#;
        let metrics = Metrics::register(Registry::new()).unwrap();
        let (theirs, (end, ended)) = (metrics.clone(), oneshot::channel::<()>());
        let worker = thread::spawn(move || {
            local_runtime().unwrap().block_on(async move {
                let tally = Tally::new(&theirs, &[]);
                tally.looked_up(Lookup::Hit);
                let _ = ended.await; // the tally lives until then, or it would tell as it goes
            });
        });
        let (began, patience) = (Instant::now(), Duration::from_secs(10));
        let is_told = || String::from_utf8(metrics.render()).unwrap().contains(HIT);
        while !is_told() && began.elapsed() < patience {
            thread::yield_now();
        }
        assert!(is_told());
        drop(end);
        worker.join().unwrap();
    }
}
