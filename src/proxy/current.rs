//! What a worker handles requests with at this moment.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use super::local::Local;
use super::pipeline::Pipeline;
use super::{Limits, Shared, Timeouts};

/// The pipeline of one worker, made anew whenever what all workers share is.
///
/// A request takes it once and uses it to its end, so that it is decided by one set of settings;
/// the one before lives on until the last request that took it is over.
pub(super) struct Current {
    shared: RefCell<watch::Receiver<Arc<Shared>>>,
    pipeline: RefCell<Rc<Pipeline>>,
}

impl Current {
    /// Runs on a local runtime, as the pipelines do.
    pub(super) fn new(mut shared: watch::Receiver<Arc<Shared>>) -> Self {
        let first = Rc::new(Pipeline::new(Local::new(Arc::clone(&shared.borrow_and_update()))));
        Self { shared: RefCell::new(shared), pipeline: RefCell::new(first) }
    }

    /// Returns how long things may take on a connection that begins now, and how much there may
    /// be; without holding on to the settings, which may be replaced before it ends.
    pub(super) fn limits(&self) -> (Timeouts, Limits) {
        let pipeline = self.pipeline();
        let settings = &pipeline.shared().settings;
        (settings.timeouts, settings.limits)
    }

    /// Returns the pipeline for a request that begins now.
    pub(super) fn pipeline(&self) -> Rc<Pipeline> {
        let mut shared = self.shared.borrow_mut();
        if shared.has_changed().unwrap_or(false) {
            let newest = Local::new(Arc::clone(&shared.borrow_and_update()));
            self.pipeline.replace(Rc::new(Pipeline::new(newest)));
        }
        Rc::clone(&self.pipeline.borrow())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Current")
    }
}
