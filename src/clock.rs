//! The only place that asks the system for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use crate::core::time::UnixTime;

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
                #[expect(clippy::disallowed_methods, reason = "this is the one place")]
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let millis = since_1970.map_or(0, |span| span.as_millis());
                UnixTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
            }
            Self::Fixed(millis) => UnixTime::from_millis(millis.load(Ordering::Relaxed)),
        }
    }
}
