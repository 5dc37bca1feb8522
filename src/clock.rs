//! The only place that asks the system for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::core::time::UnixTime;

/// The time of the kernel's last tick, which was some milliseconds ago on a machine that runs: claims count seconds,
/// and to look up what it is to the nanosecond takes five times as long.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SYSTEM: ClockId = ClockId::RealtimeCoarse;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SYSTEM: ClockId = ClockId::Realtime;

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
        match self {
            Self::System => {
                let now = clock_gettime(SYSTEM);
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
        let wall = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let before = wall().saturating_sub(LATE).as_millis();
        let now = u128::try_from(Clock::System.now().as_millis()).unwrap();
        assert!((before..=wall().as_millis()).contains(&now), "{before} {now}");
    }
}
