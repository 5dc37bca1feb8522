//! Time as tokens count it.

use std::fmt;
use std::time::Duration;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Every sum saturates: no claim can make one wrap around.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(i64);

impl UnixTime {
    /// Creates the moment `secs` seconds after 1970.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Creates the moment `millis` milliseconds after 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the whole seconds since 1970, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the moment as calendars have it.
    pub fn rfc3339(self) -> Rfc3339 {
        Rfc3339(self)
    }

    /// Returns the moment `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// Returns the moment `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(span)))
    }

    /// Returns the time since `earlier`, or nothing where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.as_secs())
    }
}

/// A moment as RFC 3339 writes it, in UTC: with milliseconds, or without (`{:.0}`).
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(UnixTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(UnixTime(time)) = self;
        let (days, millis) = (time.div_euclid(86_400_000), time.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match out.precision() {
            Some(0) => out.write_str("Z"),
            Some(_) | None => write!(out, ".{:03}Z", millis % 1000),
        }
    }
}

/// Returns year, month and day of a day counted from 1970-01-01, by counting from a year that
/// starts in March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn millis_of(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_at_both_ends() {
        let far = Duration::from_secs(u64::MAX);
        assert_eq!(UnixTime::from_secs(5).plus(far), UnixTime::from_millis(i64::MAX));
        assert_eq!(UnixTime::from_secs(i64::MIN).minus(far), UnixTime::from_millis(i64::MIN));
        assert_eq!(UnixTime::from_secs(5).since(UnixTime::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn seconds_round_down_before_1970_too() {
        for (millis, secs) in [(1999, 1), (0, 0), (-1, -1), (-1000, -1), (-1001, -2)] {
            assert_eq!(UnixTime::from_millis(millis).as_secs(), secs, "{millis}");
        }
    }

    #[test]
    fn moments_are_written_as_calendars_have_them() {
        for (secs, want) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_700_000_000, "2023-11-14T22:13:20"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (-1, "1969-12-31T23:59:59"),
        ] {
            let time = UnixTime::from_secs(secs).rfc3339();
            assert_eq!(format!("{time} {time:.0}"), format!("{want}.000Z {want}Z"));
        }
        for end in [i64::MIN, i64::MAX] {
            assert!(UnixTime::from_millis(end).rfc3339().to_string().ends_with('Z'));
        }
    }
}
