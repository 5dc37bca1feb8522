//! The only place that asks the system for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::core::time::UnixTime;

/// The clock that stands at the kernel's last tick, where there is one.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TICKS: ClockId = ClockId::RealtimeCoarse;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const TICKS: ClockId = ClockId::Realtime;

/// Tells the present: the system's, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's wall clock.
    #[default]
    System,
    /// A time that stands still until it is moved; in milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// Creates a clock that stands at `now`.
    pub fn fixed(now: UnixTime) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// Moves a fixed clock to `now`; the system's clock stays as it is.
    pub fn set(&self, now: UnixTime) {
        if let Self::Fixed(millis) = self {
            millis.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Returns the present.
    ///
    /// A system clock before 1970 reads as 1970: every token is then from the future, and refused.
    pub fn now(&self) -> UnixTime {
        self.told_by(ClockId::Realtime)
    }

    /// Returns the time of the kernel's last tick: what each request asks for, in a fifth of the time.
    ///
    /// On a machine that runs it is some milliseconds late at most, and never early: a second may have begun of
    /// which it does not know yet.
    pub fn last_tick(&self) -> UnixTime {
        self.told_by(TICKS)
    }

    fn told_by(&self, clock: ClockId) -> UnixTime {
        match self {
            Self::System => {
                let now = clock_gettime(clock);
                let millis =
                    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
                UnixTime::from_millis(millis.max(0))
            }
            Self::Fixed(millis) => UnixTime::from_millis(millis.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what the clock is held against")]
    fn the_system_s_clock_is_the_wall_s() {
        const LATE: Duration = Duration::from_secs(1); // more than a tick: a machine may stand still
        const LOOKS: u32 = 1000;
        let wall = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            UnixTime::from_millis(i64::try_from(since.as_millis()).unwrap())
        };
        for _ in 0..LOOKS {
            let (before, now, tick, after) =
                (wall(), Clock::System.now(), Clock::System.last_tick(), wall());
            assert!((before..=after).contains(&now), "{before:?} {now:?} {after:?}");
            assert!(tick <= after && after.since(tick) < LATE, "{tick:?} {after:?}");
        }
    }
}
