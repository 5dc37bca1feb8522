//! Listens, and hands each connection to the worker that has the fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time;
use tracing::warn;

use super::worker::{Accepted, Slot};
use super::{Shared, Stage};
use crate::listen::{Listener, Socket};

/// How long to wait where no connection can be accepted, most likely for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);
/// How long a connection that has begun may take to be whole, in a drain.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Hands connections out.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    pub(super) shared: watch::Receiver<Arc<Shared>>,
    pub(super) workers: Vec<WorkerEntry>,
    /// One permit a connection.
    pub(super) room: Arc<Semaphore>,
    pub(super) alive: mpsc::Sender<()>,
}

/// The way to a worker, and how many connections it has.
#[derive(Clone, Debug)]
pub(super) struct WorkerEntry {
    pub(super) connections: mpsc::UnboundedSender<Accepted>,
    pub(super) count: Arc<AtomicUsize>,
}

impl Acceptor {
    /// Accepts on one listener until the proxy closes, then takes what had begun by then.
    ///
    /// Where there is no room, connections wait in the system's queue.
    pub(super) async fn run(self, listener: Listener, mut stage: watch::Receiver<Stage>) {
        tokio::select! {
            _ = stage.wait_for(Stage::is_closing) => {}
            () = self.accept_all(&listener) => {}
        }
        listener.ignore_new();
        // Ends with its time: a connection that had begun is whole within a round trip.
        let _ = time::timeout(ROUND_TRIP, self.accept_all(&listener)).await;
        for socket in listener.last() {
            // Even where there is no room: these have connected, and there will be no more.
            self.hand_out(socket, Arc::clone(&self.room).try_acquire_owned().ok());
        }
    }

    async fn accept_all(&self, listener: &Listener) {
        let mut failing = false;
        loop {
            let permit = Arc::clone(&self.room).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok(socket) => {
                    failing = false;
                    self.hand_out(socket, Some(permit));
                }
                Err(problem) => {
                    if !failing {
                        warn!(%problem, "no connection accepted");
                    }
                    failing = true;
                    time::sleep(BREATH).await;
                }
            }
        }
    }

    fn hand_out(&self, socket: Socket, permit: Option<OwnedSemaphorePermit>) {
        let fewest = self.workers.iter().min_by_key(|worker| worker.count.load(Ordering::Relaxed));
        let Some(worker) = fewest else { return };
        worker.count.fetch_add(1, Ordering::Relaxed);
        let connections = self.shared.borrow().metrics.connections.clone();
        connections.inc();
        let slot = Slot {
            of_worker: Arc::clone(&worker.count),
            connections,
            _permit: permit,
            _alive: self.alive.clone(),
        };
        if worker.connections.send(Accepted { socket, slot }).is_err() {
            warn!("a worker is gone; its connection is lost");
        }
    }
}
