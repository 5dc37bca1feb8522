//! How much there is room for, by the file descriptors the process may have.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::settings::Limits;
use crate::core::reject::Reject;

/// How long a connection or a request waits for a place before it is told to come back.
///
/// Long enough for a burst to pass, or a garbage collection of the backend's; short enough that a
/// client hears of it before it gives up by itself, and that what waits is still wanted. It is the
/// `Retry-After` too.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Descriptors for all but workers and connections: listeners, the admin listener's connections,
/// fetches of keys, files, the runtime.
const OTHERS: usize = 64;
/// What a worker's runtime has open.
const OF_WORKER: usize = 4;
/// The most connections that wait for a place, and the most that are told there is none.
const WAITING: usize = 64;
/// Fewer places are none: where there are so few descriptors, it is tried nevertheless.
const LEAST: usize = 16;

/// How many connections there is room for at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// Clients that are served.
    pub clients: usize,
    /// Clients that wait to be served; and, once more, those that are told to come back.
    pub waiting: usize,
    /// To the backend.
    pub upstream: usize,
    /// Clients at most, where that is fewer than are written.
    pub cut_to: Option<usize>,
}

impl Room {
    /// Divides up this many descriptors, or any number: half for clients, or as many as are
    /// written, and for the backend what they leave.
    ///
    /// No more than there are, whatever is written: the admin listener and the fetches of keys
    /// need theirs most when there is too much to do.
    pub fn new(limits: &Limits, workers: usize, descriptors: Option<u64>) -> Self {
        let all = descriptors.and_then(|all| usize::try_from(all).ok()).unwrap_or(usize::MAX);
        let spare = all.saturating_sub(OTHERS + workers * OF_WORKER);
        let waiting = (spare / 8).clamp(1, WAITING);
        let both = spare.saturating_sub(2 * waiting).max(2 * LEAST);
        let most = both - LEAST;
        let clients = limits.connections.unwrap_or(both / 2);
        let cut_to = (clients > most).then_some(most);
        let clients = clients.min(most);
        Self { clients, waiting, upstream: both - clients, cut_to }
    }
}

/// Places of this number, or as many as can be counted.
pub(super) fn places(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
}

/// The places of connections to the backend, idle ones included, of all workers.
///
/// They have a number of their own, so that no number of requests on few connections takes the
/// descriptors that clients, keys and the admin listener need.
#[derive(Debug)]
pub(super) struct UpstreamRoom {
    free: Arc<Semaphore>,
    short: Notify,
}

impl UpstreamRoom {
    pub(super) fn new(most: usize) -> Self {
        Self { free: places(most), short: Notify::new() }
    }

    /// Takes a place, to be held until the connection is closed. Where there is none, idle
    /// connections are closed for it, and it is waited for.
    ///
    /// # Errors
    ///
    /// [`Reject::Overloaded`], where there is none in time.
    pub(super) async fn enter(&self, at_most: Duration) -> Result<OwnedSemaphorePermit, Reject> {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(place);
        }
        self.short.notify_waiters();
        match time::timeout(at_most, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Reject::Overloaded),
        }
    }

    /// Tells whether there is no place left: what becomes idle is better closed.
    pub(super) fn is_full(&self) -> bool {
        self.free.available_permits() == 0
    }

    /// Waits until somebody finds no place.
    pub(super) async fn is_short(&self) {
        self.short.notified().await;
    }
}

/// Tells whether the system has no file descriptor left, for us or for anybody.
pub(super) fn is_want_of_descriptors(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| ours.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_between_clients_and_the_backend() {
        for (written, descriptors, clients, waiting, upstream) in [
            (None, Some(128), 21, 7, 21),
            (None, Some(1024), 412, 64, 412),
            (None, Some(65_536), 32_668, 64, 32_668),
            (None, Some(0), 16, 1, 16), // tried nevertheless
            (None, None, usize::MAX / 2 - 100, 64, usize::MAX / 2 - 99),
            (Some(20), Some(1024), 20, 64, 804), // what clients leave
            (Some(412), Some(1024), 412, 64, 412),
            (Some(808), Some(1024), 808, 64, 16),
            (Some(809), Some(1024), 808, 64, 16), // and it is told
            (Some(10_000), None, 10_000, 64, usize::MAX - 200 - 10_000),
        ] {
            let limits = Limits { connections: written, ..Limits::default() };
            let room = Room::new(&limits, 2, descriptors);
            let got = (room.clients, room.waiting, room.upstream);
            assert_eq!(got, (clients, waiting, upstream), "{written:?} of {descriptors:?}");
            let cut = written.filter(|written| *written != clients).map(|_| clients);
            assert_eq!(room.cut_to, cut, "{written:?} of {descriptors:?}");
        }
    }

    #[test]
    fn a_want_of_descriptors_is_known_by_its_number() {
        for (error, want) in [
            (io::Error::from(Errno::MFILE), true),
            (io::Error::from(Errno::NFILE), true),
            (io::Error::from(Errno::CONNREFUSED), false),
            (io::Error::other("too many open files"), false),
        ] {
            assert_eq!(is_want_of_descriptors(&error), want, "{error}");
        }
    }
    #[tokio::test(start_paused = true)]
    async fn a_place_to_the_backend_is_waited_for_and_idle_connections_give_theirs_up() {
        let room = UpstreamRoom::new(1);
        let at_most = Duration::from_secs(2);
        let idle = room.enter(at_most).await.unwrap();
        assert!(room.is_full());

        let since = time::Instant::now();
        let refused = room.enter(at_most).await.unwrap_err();
        assert_eq!((refused, since.elapsed()), (Reject::Overloaded, at_most));

        let reaper = async {
            room.is_short().await;
            drop(idle);
        };
        let since = time::Instant::now();
        let ((), place) = tokio::join!(biased; reaper, room.enter(at_most));
        assert!(place.is_ok() && since.elapsed() < at_most);
    }
}
