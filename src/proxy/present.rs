//! The time, as it is while a connection goes on.
//!
//! A look at the clock costs 30 ns, and nearly everything that is kept of a connection and of its requests says
//! since when. From one wait to the next that is taken for one time, and looked up once: it is microseconds, some
//! milliseconds where much is to be read or signed. What has its time from then on may be over that much early, and
//! never late. Who measures what nobody waits for [looks](looked) when it is over.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;

use tokio::time::Instant;

thread_local! {
    static PRESENT: Cell<Present> = const { Cell::new(Present::Passes) };
}

#[derive(Clone, Copy, Debug)]
enum Present {
    /// Nobody keeps it: each who asks is told the time.
    Passes,
    /// Nobody has asked yet.
    Unasked,
    Is(Instant),
}

/// Waits for what goes on, to which it is one time from one wait to the next.
pub(super) fn during<F: Future + Unpin>(task: &mut F) -> impl Future<Output = F::Output> {
    poll_fn(|context| {
        let _before = Before(PRESENT.replace(Present::Unasked));
        Pin::new(&mut *task).poll(context)
    })
}

/// What there is to be again, also after a panic.
struct Before(Present);

impl Drop for Before {
    fn drop(&mut self) {
        PRESENT.set(self.0);
    }
}

/// Returns the present.
pub(super) fn now() -> Instant {
    match PRESENT.get() {
        Present::Is(now) => now,
        Present::Unasked | Present::Passes => looked(),
    }
}

/// Looks at the clock, and returns what from now on is the present.
pub(super) fn looked() -> Instant {
    let now = Instant::now();
    if !matches!(PRESENT.get(), Present::Passes) {
        PRESENT.set(Present::Is(now));
    }
    now
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tokio::task;
    use tokio::time;

    use super::*;

    /// Lets a second pass.
    fn a_second_passes() {
        let mut context = Context::from_waker(Waker::noop());
        let _ = pin!(time::advance(Duration::from_secs(1))).poll(&mut context); // it then waits for others
    }

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_until_somebody_looks_or_waits() {
        let began = Instant::now();
        let seconds = |at: Instant| (at - began).as_secs();
        let mut task = pin!(async {
            a_second_passes();
            let mut told = vec![now()];
            a_second_passes();
            told.extend([now(), looked()]);
            a_second_passes();
            told.push(now());
            task::yield_now().await;
            told.push(now());
            told
        });
        assert_eq!(
            during(&mut task).await.into_iter().map(seconds).collect::<Vec<_>>(),
            [1, 1, 2, 2, 3]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_passes_for_all_others_also_after_a_panic() {
        let began = Instant::now();
        let broken = task::spawn(async {
            during(&mut pin!(async { panic!("at {:?}", now()) })).await;
        });
        assert!(broken.await.unwrap_err().is_panic());
        for passed in 0..3 {
            assert_eq!((now() - began).as_secs(), passed);
            let asked = pin!(during(&mut pin!(async { now() })))
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(asked.is_ready());
            a_second_passes();
        }
    }
}
