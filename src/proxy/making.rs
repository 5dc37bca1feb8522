//! Connections that are being made, where each serves many: no more than those who wait need.

use std::cell::Cell;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Who waits for a connection to the backend, and how many are being made.
#[derive(Debug, Default)]
pub(super) struct Making {
    waiting: Cell<usize>,
    making: Cell<usize>,
    changed: Notify,
}

/// One of so many, until it is dropped.
#[derive(Debug)]
pub(super) struct One<'a>(&'a Cell<usize>, &'a Notify);

impl<'a> One<'a> {
    fn more(count: &'a Cell<usize>, changed: &'a Notify) -> Self {
        count.set(count.get() + 1);
        Self(count, changed)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        self.1.notify_waiters();
    }
}

impl Making {
    /// Somebody waits.
    pub(super) fn wait(&self) -> One<'_> {
        One::more(&self.waiting, &self.changed)
    }

    /// Begins to make a connection with so many places; nothing where those that are being made are
    /// enough for all who wait.
    pub(super) fn begin(&self, places: usize) -> Option<One<'_>> {
        let enough = self.making.get() >= self.waiting.get().div_ceil(places.max(1));
        (!enough).then(|| One::more(&self.making, &self.changed))
    }

    /// Waits until fewer wait, or fewer are being made, than at the time of this call.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_made_as_those_who_wait_need() {
        for (waiting, places, want) in
            [(1, 100, 1), (100, 100, 1), (101, 100, 2), (5, 1, 5), (3, 0, 3)]
        {
            let making = Making::default();
            let _waiting: Vec<_> = (0..waiting).map(|_| making.wait()).collect();
            let begun: Vec<_> = std::iter::from_fn(|| making.begin(places)).collect();
            assert_eq!(begun.len(), want, "{waiting} wait for places of {places}");
        }
    }

    #[tokio::test]
    async fn whoever_gives_up_lets_another_begin() {
        let making = Making::default();
        let _waiting = (making.wait(), making.wait());
        let first = making.begin(2).unwrap();
        assert!(making.begin(2).is_none());
        let changed = making.changed();
        drop(first);
        changed.await;
        assert!(making.begin(2).is_some());
    }
}
