//! How many files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Returns how many it may have open now; nothing where there is no limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The limit as we were started with, for whom we start.
#[derive(Clone, Debug)]
pub struct Before(Rlimit);

impl Before {
    /// Raises the limit as far as the system lets us: each connection is a file, or two. Systems
    /// start programs with a low one for those that still use `select(2)`, which we do not.
    pub fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: before.maximum, maximum: before.maximum };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => debug!(from = before.current, to = before.maximum, "more files may be open"),
            // We go by what there is.
            Err(problem) => debug!(%problem, "the limit of open files stays as it is"),
        }
        Self(before)
    }

    /// Starts something under the limit that we were started with: what it starts may go by the
    /// limit, or close all files up to it, one after the other.
    pub fn under<T>(&self, start: impl FnOnce() -> T) -> T {
        let now = getrlimit(Resource::Nofile);
        // Either fails only where raising it did, and then there is nothing to undo.
        let _ = setrlimit(Resource::Nofile, self.0);
        let started = start();
        let _ = setrlimit(Resource::Nofile, now);
        started
    }
}
