//! Timers that one request has after another.

use std::cell::RefCell;
use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::task::coop;
use tokio::time::{self, Instant, Sleep};

/// How many are kept: as many as may well be in use at a time.
const MOST: usize = 1024;

/// The timers of one worker.
///
/// To set one and take it back with each request costs more than to leave it where it is: it goes off now and
/// then while somebody else has it, and is set to when that is due. Until it has gone off (`timeouts.response` at
/// most) it keeps the memory of whichever task had it last, which may be over.
#[derive(Default)]
pub(super) struct Timers(RefCell<Vec<Pin<Box<Sleep>>>>);

/// A timer, while somebody has it.
pub(super) struct Timer<'a> {
    sleep: Option<Pin<Box<Sleep>>>,
    timers: &'a Timers,
}

impl Timers {
    pub(super) fn take(&self) -> Timer<'_> {
        Timer { sleep: self.0.borrow_mut().pop(), timers: self }
    }
}

impl Timer<'_> {
    /// Ready once it is `due`.
    pub(super) fn poll(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            // Also where whoever it is for has used up what the runtime lets a task do at a time, or
            // who is kept busy would have no end.
            ready!(pin!(coop::unconstrained(sleep.as_mut())).poll(context));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let mut kept = self.timers.0.borrow_mut();
        if kept.len() < MOST {
            kept.extend(self.sleep.take());
        }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Timers({})", self.0.borrow().len())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    /// Polls a timer once for what is due after so long from now.
    fn poll(timer: &mut Timer<'_>, after: Duration) -> Poll<()> {
        timer.poll(Instant::now() + after, &mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_goes_off_when_it_is_due_whoever_had_it_before() {
        const LONG: Duration = Duration::from_secs(30);
        const SHORT: Duration = Duration::from_secs(10);
        let timers = Timers::default();
        for (before, passed, after) in [
            (None, Duration::ZERO, SHORT),
            (Some(LONG), SHORT, LONG), // it goes off in between, too early
            (Some(LONG), 2 * LONG, LONG), // it has gone off while nobody had it
            (Some(LONG), SHORT, SHORT), // it would go off too late
            (Some(SHORT), SHORT, Duration::ZERO),
        ] {
            if let Some(before) = before {
                assert!(poll(&mut timers.take(), before).is_pending());
                time::advance(passed).await;
                assert_eq!(timers.0.borrow().len(), 1, "it is used again");
            }
            let (began, mut timer) = (Instant::now(), timers.take());
            poll_fn(|context| timer.poll(began + after, context)).await;
            assert_eq!(began.elapsed(), after, "{before:?} {passed:?}");
        }
    }

    #[tokio::test]
    async fn a_timer_goes_off_for_a_task_that_is_kept_busy() {
        const SOON: Duration = Duration::from_millis(50);
        let (timers, began) = (Timers::default(), Instant::now());
        let mut busy = pin!(async {
            while began.elapsed() < 100 * SOON {
                coop::consume_budget().await;
            }
        });
        let mut timer = timers.take();
        let ended = poll_fn(|context| match busy.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready("it was kept busy for ever"),
            Poll::Pending => timer.poll(began + SOON, context).map(|()| "in time"),
        });
        assert_eq!(ended.await, "in time");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_timers_are_kept_than_are_of_use() {
        let timers = Timers::default();
        let mut taken: Vec<_> = (0..=MOST).map(|_| timers.take()).collect();
        for timer in &mut taken {
            assert!(poll(timer, Duration::from_secs(1)).is_pending());
        }
        drop(taken);
        assert_eq!(timers.0.borrow().len(), MOST);
    }
}
