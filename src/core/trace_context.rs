//! The trace that a request is part of, for the log (W3C Trace Context).
//!
//! The headers pass as they are, whatever they hold: they are the backend's. What a stranger wrote
//! there is in our log only where it is of the standard's form.

use http::HeaderMap;

/// The place of a request in a trace, as its headers tell it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// `traceparent`, as far as version 00 has it.
    pub parent: Box<str>,
    /// `tracestate`, in one line.
    pub state: Option<Box<str>>,
}

/// The bytes of a version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;
/// The bytes of a `tracestate` that everybody must be able to pass on (§3.3.1.5).
const STATE: usize = 512;

impl TraceContext {
    /// Reads it; nothing where there is not exactly one good `traceparent`. A `tracestate` says
    /// nothing without it (§3.3).
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all("traceparent").iter();
        let parent = parents.next().filter(|_| parents.next().is_none())?;
        let parent = parent_of(parent.to_str().ok()?)?.into();
        Some(Self { parent, state: state_of(headers) })
    }
}

/// Checks a `traceparent`. Of a later version it takes what 00 has, as such a version may only add
/// to it (§3.2.4).
fn parent_of(text: &str) -> Option<&str> {
    let (known, added) = text.split_at_checked(LENGTH)?;
    let [version, trace, parent, flags] = known.split('-').collect::<Vec<_>>().try_into().ok()?;
    let parts = [(version, 2), (trace, 32), (parent, 16), (flags, 2)];
    let is_whole = parts.iter().all(|(part, length)| part.len() == *length && is_hex(part));
    let is_named = [trace, parent].iter().all(|id| id.bytes().any(|byte| byte != b'0'));
    let is_of_version = match version {
        "00" => added.is_empty(),
        "ff" => false,
        _ => added.is_empty() || added.starts_with('-'),
    };
    (is_whole && is_named && is_of_version).then_some(known)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Joins the lines of `tracestate`; nothing where there is none, or what does not fit a log: more
/// than 512 bytes, or any that cannot be seen.
fn state_of(headers: &HeaderMap) -> Option<Box<str>> {
    let mut joined = String::new();
    for line in headers.get_all("tracestate") {
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(line.to_str().ok()?);
    }
    let is_seen = joined.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    (!joined.is_empty() && joined.len() <= STATE && is_seen).then(|| joined.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let named = |name, values: &[&str]| {
            let value = |text: &&str| (name, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            values.iter().map(value).collect::<Vec<(&'static str, _)>>()
        };
        let mut headers = HeaderMap::new();
        for (name, value) in
            named("traceparent", parents).into_iter().chain(named("tracestate", states))
        {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn a_traceparent_is_of_the_form_of_version_00() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let zeros = |count| "0".repeat(count);
        for (text, want) in [
            (GOOD.to_owned(), true),
            (format!("00-{trace}-{parent}-00"), true),
            (format!("00-{trace}-{parent}-ff"), true), // flags that nobody knows yet
            (format!("01-{trace}-{parent}-01"), true),
            (format!("cc-{trace}-{parent}-01-what-comes-later"), true),
            (format!("cc-{trace}-{parent}-01-"), true),
            (format!("cc-{trace}-{parent}-01.what"), false),
            (format!("ff-{trace}-{parent}-01"), false), // §3.2.2.1
            (format!("00-{trace}-{parent}-01-more"), false),
            (format!("00-{trace}-{parent}-01 "), false),
            (format!("00-{}-{parent}-01", zeros(32)), false),
            (format!("00-{trace}-{}-01", zeros(16)), false),
            (GOOD.to_uppercase(), false),
            (format!("00-{trace}-{parent}-0g"), false),
            (format!("00-{trace}-{parent}-1"), false),
            (format!("0-{trace}-{parent}-001"), false),
            (format!("00-{trace}0-{}-01", &parent[1..]), false),
            (format!("00_{trace}-{parent}-01"), false),
            (format!("00-{trace}-{parent}"), false),
            (format!("00-{}é-{parent}-01", &trace[2..]), false),
            (format!("{}é", &GOOD[..54]), false), // ends within a character
            (String::new(), false),
        ] {
            let read = TraceContext::read(&headers(&[&text], &[]));
            let told = read.map(|trace| trace.parent.into_string());
            assert_eq!(told, want.then(|| text.chars().take(55).collect()), "{text:?}");
        }
    }

    #[test]
    fn one_traceparent_is_wanted_and_a_tracestate_beside_it() {
        let most = format!("a={}", "b".repeat(510));
        let more = format!("a={}", "b".repeat(511));
        for (parents, states, want) in [
            (&[GOOD][..], &[][..], Some(None)),
            (&[], &["a=1"], None),
            (&[GOOD, GOOD], &["a=1"], None),
            (&["00-0-0-0"], &["a=1"], None),
            (&[GOOD], &["a=1"], Some(Some("a=1"))),
            (&[GOOD], &["a=1, b=2", "c=3"], Some(Some("a=1, b=2,c=3"))),
            (&[GOOD], &[&most], Some(Some(&most))),
            (&[GOOD], &[&more], Some(None)),
            (&[GOOD], &[&most, "c=3"], Some(None)),
            (&[GOOD], &[""], Some(None)),
            (&[GOOD], &["a=\t1"], Some(None)),
            (&[GOOD], &["a=é"], Some(None)),
        ] {
            let read = TraceContext::read(&headers(parents, states));
            let told = read.as_ref().map(|trace| trace.state.as_deref());
            assert_eq!(told, want, "{parents:?} {states:?}");
        }
    }
}
