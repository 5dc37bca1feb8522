//! What a task that is woken for much waits for beside it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop;

/// Has a future polled only where that itself has woken the task.
///
/// Whatever a task waits for is asked again each time it is woken, and a timer or a channel takes locks to say
/// that there is nothing. A connection is woken several times a request, and what it waits for beside
/// requests once in seconds.
#[derive(Debug)]
pub(super) struct OwnWaker {
    bell: Arc<Bell>,
    /// The same, as it is handed on.
    waker: Waker,
    /// What `bell` wakes.
    task: Waker,
}

#[derive(Debug)]
struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl OwnWaker {
    pub(super) fn new() -> Self {
        let task = Waker::noop().clone();
        let bell = Bell { has_rung: AtomicBool::new(true), task: Mutex::new(task.clone()) };
        let bell = Arc::new(bell);
        Self { waker: Waker::from(Arc::clone(&bell)), bell, task }
    }

    /// Waits for `future`. That is polled once, and then whenever it has woken; also where the task has used up
    /// what the runtime lets it do at a time, or one that is kept busy would never hear of it.
    pub(super) async fn polled_when_woken<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(coop::unconstrained(future));
        self.bell.has_rung.store(true, Ordering::Relaxed); // which is of the one before
        poll_fn(|context| {
            self.wakes(context.waker());
            if !self.bell.has_rung.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            // Before it is polled: it may wake while it is.
            self.bell.has_rung.swap(false, Ordering::AcqRel);
            future.as_mut().poll(&mut Context::from_waker(&self.waker))
        })
        .await
    }

    fn wakes(&mut self, task: &Waker) {
        if !self.task.will_wake(task) {
            self.task = task.clone();
            *self.bell.task.lock().unwrap_or_else(PoisonError::into_inner) = task.clone();
            self.bell.has_rung.swap(true, Ordering::AcqRel); // for whoever was woken instead
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::time::{self, Instant};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_has_not_woken_is_not_polled() {
        let (polls, handed_on) = (Cell::new(0), Cell::new(None));
        let tasks = [Arc::<Count>::default(), Arc::default()];
        let wakers = tasks.clone().map(Waker::from);
        let mut own = OwnWaker::new();
        for round in ["first", "second"] {
            polls.set(0);
            let future = poll_fn(|context| {
                polls.set(polls.get() + 1);
                handed_on.set(Some(context.waker().clone()));
                if polls.get() < 4 { Poll::Pending } else { Poll::Ready(()) }
            });
            let mut waiting = pin!(own.polled_when_woken(future));
            let mut poll = |task: usize, wakes: bool, want: usize| {
                if wakes {
                    handed_on.take().unwrap().wake();
                }
                let polled = waiting.as_mut().poll(&mut Context::from_waker(&wakers[task]));
                assert_eq!(polls.get(), want, "{round}");
                polled.is_ready()
            };
            let before = tasks[1].0.load(Ordering::Relaxed);
            assert!(!poll(0, false, 1), "{round}: once, to begin");
            assert!(!poll(0, false, 1), "{round}: something else has woken the task");
            assert!(!poll(0, true, 2), "{round}: it has");
            assert!(!poll(1, false, 3), "{round}: another task waits for it");
            assert!(poll(1, true, 4), "{round}");
            let woken = tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
            assert_eq!(woken[1], before + 1, "{round}: and that is woken: {woken:?}");
        }
    }

    #[tokio::test]
    async fn a_task_that_is_kept_busy_hears_of_it() {
        const SOON: Duration = Duration::from_millis(50);
        let (mut own, began) = (OwnWaker::new(), Instant::now());
        let mut busy = pin!(async {
            while began.elapsed() < 100 * SOON {
                coop::consume_budget().await;
            }
        });
        let mut timer = pin!(own.polled_when_woken(time::sleep(SOON)));
        let ended = poll_fn(|context| match busy.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready("it was kept busy for ever"),
            Poll::Pending => timer.as_mut().poll(context).map(|()| "in time"),
        });
        assert_eq!(ended.await, "in time");
    }
}
