//! What others replace now and then, as one worker last saw it.

use std::cell::{Ref, RefCell};
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// The newest value of a channel: a look at a counter where it has not changed.
pub(super) struct Snapshot<T> {
    source: RefCell<watch::Receiver<Arc<T>>>,
    seen: RefCell<Arc<T>>,
}

impl<T> Snapshot<T> {
    pub(super) fn new(mut source: watch::Receiver<Arc<T>>) -> Self {
        let seen = Arc::clone(&source.borrow_and_update());
        Self { source: RefCell::new(source), seen: RefCell::new(seen) }
    }

    /// Looks at the value of this moment; for a few lines, never across a wait.
    pub(super) fn look(&self) -> Ref<'_, Arc<T>> {
        let mut source = self.source.borrow_mut();
        if source.has_changed().unwrap_or(false) {
            *self.seen.borrow_mut() = Arc::clone(&source.borrow_and_update());
        }
        self.seen.borrow()
    }
}

impl<T> fmt::Debug for Snapshot<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Snapshot")
    }
}
