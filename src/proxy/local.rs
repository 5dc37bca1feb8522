//! What all workers share, as one of them has it.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::Shared;
use crate::telemetry::metrics::Tally;

/// What all workers share, and what this one counts. A request holds it without an atomic operation.
#[derive(Debug)]
pub(super) struct Local {
    shared: Arc<Shared>,
    pub(super) tally: Rc<Tally>,
}

impl Local {
    pub(super) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let tally = Tally::new(&shared.metrics, &shared.routes.0);
        Rc::new(Self { shared, tally })
    }
}

impl Deref for Local {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}
