//! Durations and sizes, each with its unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in the settings: a whole number and its unit, as in `250ms` or `5m`.
///
/// A bare number is refused: seconds to one reader are milliseconds to the next.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

/// A text that is no [`Span`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a duration; write one like `250ms`, `30s`, `5m` or `1h`")]
pub struct NotASpan;

/// A number of bytes in the settings, as in `512B` or `32KiB`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Size(pub u64);

/// A text that is no [`Size`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a size; write one like `512B`, `32KiB`, `10MiB` or `1GiB`")]
pub struct NotASize;

/// Units of time in milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 60 * 60 * 1000), ("d", 24 * 60 * 60 * 1000)];

/// Units of size in bytes.
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        number_of(text, &TIMES).map(|millis| Self(Duration::from_millis(millis))).ok_or(NotASpan)
    }
}

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        number_of(text, &SIZES).map(Self).ok_or(NotASize)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        out.write_str(&in_largest_unit(millis, &TIMES, "0s"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&in_largest_unit(self.0, &SIZES, "0B"))
    }
}

/// Reads digits and a unit, with nothing before, between or behind.
fn number_of(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn in_largest_unit(number: u64, units: &[(&str, u64)], zero: &str) -> String {
    let whole = units.iter().rev().find(|(_, factor)| number.is_multiple_of(*factor));
    match whole {
        Some((name, factor)) if number != 0 => format!("{}{name}", number / factor),
        _ => zero.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_whole_number_and_a_unit() {
        for (text, want) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("1.5s", None),
            ("1 s", None),
            ("-1s", None),
            ("+1s", None),
            ("1S", None),
            ("1s ", None),
            ("1m30s", None),
            ("18446744073709551615h", None), // overflows
            ("99999999999999999999ms", None),
        ] {
            let millis = text.parse::<Span>().ok().map(|span| span.0.as_millis());
            assert_eq!(millis, want, "{text:?}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_unit() {
        for (text, want) in [
            ("512B", Some(512)),
            ("32KiB", Some(32 * 1024)),
            ("10MiB", Some(10 * 1024 * 1024)),
            ("1GiB", Some(1024 * 1024 * 1024)),
            ("32KB", None), // 32,000 to one reader
            ("32k", None),
            ("32", None),
            ("KiB", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(text.parse::<Size>().ok().map(|size| size.0), want, "{text:?}");
        }
    }

    #[test]
    fn what_was_read_is_written_in_its_largest_unit() {
        for (text, want) in [("60s", "1m"), ("90s", "90s"), ("24h", "1d"), ("0ms", "0s")] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(want.to_owned()));
        }
        for (text, want) in [("1024B", "1KiB"), ("1025B", "1025B"), ("0GiB", "0B")] {
            assert_eq!(text.parse::<Size>().map(|size| size.to_string()), Ok(want.to_owned()));
        }
    }
}
