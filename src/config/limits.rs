//! `timeouts`, `limits`, `drain` and `workers`: how long, how much, how many.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::proxy::{Drain, Limits, Timeouts};

use super::error::Origin;
use super::reader::Reader;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A step that may take no time at all would never be done.
const STEP: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

const KIB: u64 = 1024;

pub(super) fn timeouts(reader: &mut Reader<'_>) -> Timeouts {
    let usual = Timeouts::default();
    let mut step = |name, usual| reader.span(name, STEP).unwrap_or(usual);
    Timeouts {
        head: step("timeouts.head", usual.head),
        handshake: step("timeouts.handshake", usual.handshake),
        idle: step("timeouts.idle", usual.idle),
        connect: step("timeouts.connect", usual.connect),
        response: step("timeouts.response", usual.response),
        body: step("timeouts.body", usual.body),
        upstream_idle: step("timeouts.upstream_idle", usual.upstream_idle),
    }
}

pub(super) fn limits(reader: &mut Reader<'_>) -> Limits {
    let usual = Limits::default();
    let bytes = |size| usize::try_from(size).unwrap_or(usize::MAX);
    let head = reader.size("limits.head", 8 * KIB..=1024 * KIB).map_or(usual.head, bytes);
    let token = reader.size("limits.token", KIB..=1024 * KIB).map_or(usual.token, bytes);
    if token > head {
        // Only one of them may be written; that one is told.
        let key = if reader.is_written("limits.token") { "limits.token" } else { "limits.head" };
        reader
            .mistake(key, "a token stands in the head, so `limits.token` is at most `limits.head`");
    }
    Limits {
        connections: reader.number("limits.connections", 1..=1_000_000),
        in_flight: reader.number("limits.in_flight", 1..=1_000_000),
        head,
        headers: reader.number("limits.headers", 1..=1000).unwrap_or(usual.headers),
        token,
        body: reader.size("limits.body", 1..=u64::MAX),
    }
}

pub(super) fn drain(reader: &mut Reader<'_>) -> Drain {
    let usual = Drain::default();
    Drain {
        delay: reader.span("drain.delay", Duration::ZERO..=DAY).unwrap_or(usual.delay),
        grace: reader.span("drain.grace", Duration::ZERO..=DAY).unwrap_or(usual.grace),
    }
}

/// How many workers there are, where `cpus` is what the process may use.
pub(super) fn workers(reader: &mut Reader<'_>, cpus: usize) -> usize {
    reader.number("workers", 1..=256).unwrap_or_else(|| {
        let workers = cpus.clamp(1, 2);
        reader.derive("workers", &[workers.to_string()], &Origin::Default);
        workers
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::tests::{mistakes, settings};

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            ("timeouts.head = \"0s\"", "timeouts.head: \"0s\": at least 1ms"),
            ("timeouts.handshake = \"0s\"", "timeouts.handshake: \"0s\": at least 1ms"),
            ("timeouts.body = \"25h\"", "timeouts.body: \"25h\": at most 1d"),
            ("timeouts.idle = 75", "timeouts.idle: \"75\": not a duration"),
            ("limits.head = \"8191B\"", "limits.head: \"8191B\": at least 8KiB"),
            ("limits.head = \"2MiB\"", "limits.head: \"2MiB\": at most 1MiB"),
            ("limits.head = 32768", "limits.head: \"32768\": not a size"),
            ("limits.head = \"8KiB\"", "limits.head: a token stands in the head"),
            ("limits.token = \"33KiB\"", "limits.token: a token stands in the head"),
            ("limits.token = \"1B\"", "limits.token: \"1B\": at least 1KiB"),
            ("limits.headers = 0", "limits.headers: \"0\": at least 1"),
            ("limits.headers = 1001", "limits.headers: \"1001\": at most 1000"),
            ("limits.connections = 0", "limits.connections: \"0\": at least 1"),
            ("limits.in_flight = -1", "limits.in_flight: \"-1\": not a whole number"),
            ("limits.body = \"0B\"", "limits.body: \"0B\": at least 1B"),
            ("workers = 0", "workers: \"0\": at least 1"),
            ("workers = 257", "workers: \"257\": at most 256"),
            ("drain.grace = \"2d\"", "drain.grace: \"2d\": at most 1d"),
        ] {
            let got = mistakes(text);
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
        }
    }

    #[test]
    fn good_values_arrive() {
        let text = "workers = 8\ndrain.delay = \"5s\"\n[limits]\nhead = \"64KiB\"\ntoken = \"64KiB\"\nbody = \"10MiB\"\nin_flight = 1_000";
        let proxy = settings(text).proxy;
        assert_eq!((proxy.workers, proxy.drain.delay), (8, Duration::from_secs(5)));
        assert_eq!((proxy.limits.head, proxy.limits.token), (65536, 65536));
        assert_eq!((proxy.limits.body, proxy.limits.in_flight), (Some(10 << 20), Some(1000)));
    }
}
