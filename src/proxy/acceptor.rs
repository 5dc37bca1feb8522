//! Listens, and hands each connection to the worker that has the fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::{task, time};
use tracing::warn;

use super::Shared;
use super::lobby::{self, Lobby};
use super::room::PATIENCE;
use super::stage::Stage;
use super::worker::{Accepted, Slot};
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
    /// One permit a connection that is served.
    pub(super) room: Arc<Semaphore>,
    /// Where the others are.
    pub(super) lobby: Lobby,
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
            match listener.accept().await {
                Ok(socket) => {
                    failing = false;
                    self.admit(socket);
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

    fn admit(&self, socket: Socket) {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => self.hand_out(socket, Some(permit)),
            Err(_) => self.keep_waiting(socket),
        }
    }

    /// Lets a connection wait for a place: those that wait have theirs in order, and before
    /// whoever comes later. Not in the system's queue, where nobody would tell it to come back.
    fn keep_waiting(&self, socket: Socket) {
        let Some(seat) = self.lobby.seat() else { return self.turn_away(socket) };
        let acceptor = self.clone();
        task::spawn_local(async move {
            let permit = Arc::clone(&acceptor.room).acquire_owned();
            let permit = time::timeout(PATIENCE, permit).await;
            drop(seat);
            match permit {
                Ok(Ok(permit)) => acceptor.hand_out(socket, Some(permit)),
                Ok(Err(_)) | Err(_) => acceptor.turn_away(socket),
            }
        });
    }

    /// Tells a client to come back, where that can be told and not too many are being told;
    /// closes the connection in any case.
    fn turn_away(&self, socket: Socket) {
        let shared = Arc::clone(&self.shared.borrow());
        shared.metrics.overload.inc();
        // Before its handshake a client under TLS understands nothing that we could say.
        let is_tls = shared.tls.is_some() && matches!(socket, Socket::Tcp(_));
        let Some(exit) = self.lobby.exit().filter(|_| !is_tls) else { return };
        let alive = self.alive.clone();
        task::spawn_local(async move {
            lobby::turn_away(socket, &shared.metrics).await;
            drop((exit, alive));
        });
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
