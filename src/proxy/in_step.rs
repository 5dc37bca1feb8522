//! Requests that came together go through a step together.
//!
//! Taken one after the other from its head to what is sent of it, each request would find the caches filled
//! with what the last one's other steps need. So a worker lets all go through one step, and then all through the
//! next (cohort scheduling, Larus and Parkes 2002); the last is to [send](super::outbox) them. Who comes alone
//! waits for nobody.

use std::future::poll_fn;
use std::task::Poll;

/// How much news a worker takes from the system at once, and with that how many connections go in step. More
/// save nothing more; the first would be sent later, by what it takes to decide on all, and what they hold until
/// it is their turn would not stay in a core's cache.
pub(super) const AT_ONCE: usize = 32;

/// How many tasks a worker runs before it asks for news though there are more to run: so many that those which
/// go in step are through with all their steps, a connection of HTTP/2 with many streams apart. A timer may be
/// late by what they take: some milliseconds where each verifies a signature.
pub(super) const TASKS: u32 = 4 * AT_ONCE as u32;

/// Lets all tasks go first that the worker has heard could go on.
///
/// Unlike [`tokio::task::yield_now`] it does not ask the system for news in between, which would be a call
/// more for each request that comes alone.
pub(super) async fn others_first() {
    let mut is_last = false;
    poll_fn(|context| {
        if is_last {
            return Poll::Ready(());
        }
        is_last = true;
        context.waker().wake_by_ref(); // to the end of the queue
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn all_go_through_a_step_before_one_goes_on() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let tasks = LocalSet::new();
        for name in ["a", "b", "c"] {
            let seen = Rc::clone(&seen);
            tasks.spawn_local(async move {
                for step in 1..=3 {
                    seen.borrow_mut().push((step, name));
                    others_first().await;
                }
            });
        }
        tasks.await;
        let in_step = [1, 2, 3].map(|step| ["a", "b", "c"].map(|name| (step, name)));
        assert_eq!(*seen.borrow(), in_step.as_flattened());
    }
}
