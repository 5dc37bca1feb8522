//! Requests under way, and those that wait to be.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use super::Limits;
use super::local::Local;
use super::room::{PATIENCE, places};
use crate::core::reject::Reject;

/// The places of requests under way, where their number has a limit.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    free: Arc<Semaphore>,
    /// As many may wait as there are places: who comes after those would not have one in time.
    queue: Semaphore,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { most, free: places(most), queue: Semaphore::new(most.min(Semaphore::MAX_PERMITS)) }
    }

    /// The places that these limits allow; those there were `before`, with whoever has one, where
    /// that is as many.
    pub(super) fn of(limits: &Limits, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let most = limits.in_flight?;
        let same = before.filter(|before| before.most == most);
        Some(same.map_or_else(|| Arc::new(Self::new(most)), Arc::clone))
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, Reject> {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(place) => Ok(place),
            // In a box, so that it takes no room in requests that do not wait.
            Err(_) => Box::pin(self.wait()).await,
        }
    }

    /// Waits, in order. The places are given to those who wait before anybody who comes later.
    async fn wait(&self) -> Result<OwnedSemaphorePermit, Reject> {
        let _queued = self.queue.try_acquire().map_err(|_| Reject::Overloaded)?;
        match time::timeout(PATIENCE, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Reject::Overloaded),
        }
    }
}

/// A place among the requests under way, which counts while it is held.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Rc<Local>,
    _place: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    /// Takes a place, and waits a moment for one where all are taken.
    ///
    /// # Errors
    ///
    /// [`Reject::Overloaded`] where none is free in time, or too many wait already.
    pub(super) async fn enter(shared: &Rc<Local>) -> Result<Self, Reject> {
        let place = match &shared.places {
            None => None,
            Some(places) => {
                Some(places.take().await.inspect_err(|_| shared.metrics.overload.inc())?)
            }
        };
        shared.tally.in_flight.inc();
        Ok(Self { shared: Rc::clone(shared), _place: place })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.tally.in_flight.dec();
    }
}
