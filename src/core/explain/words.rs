//! How values, moments and lists are put into words.

use std::fmt::Write;
use std::time::Duration;

use crate::core::claims;
use crate::core::json::{Object, Value};
use crate::core::time::UnixTime;

/// The longest value that is told whole, in characters.
const LONGEST: usize = 200;

/// Writes a claim or header parameter as JSON, cut where it is long.
pub(super) fn shown(value: Option<Value<'_>>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Writes whatever a terminal would obey, or what turns the direction of a line, as JSON escapes
/// it. Line breaks stay.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || (c.is_control() && c != '\n') {
            let _ = write!(out, "\\u{:04x}", u32::from(c)); // writing to a String does not fail
        } else {
            out.push(c);
        }
    }
    out
}

/// Writes a list as JSON and TOML have it.
pub(super) fn list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// Writes what may stand in a place: one thing, or one of several.
pub(super) fn one_of(items: &[String]) -> String {
    match items {
        [one] => quoted(one),
        several => format!("one of {}", list(several)),
    }
}

/// Writes a text as JSON and TOML have it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes a date of a token: as it stands there, as calendars have it, and how long ago that is.
pub(super) fn date(claims: &Object, name: &'static str, now: UnixTime) -> String {
    let written = shown(claims.get(name));
    match claims::date(claims, name) {
        Ok(Some(moment)) => {
            format!("{written}, {:.0}, {}", moment.rfc3339(), relative(moment, now))
        }
        Ok(None) | Err(_) => written,
    }
}

/// Says how long ago a moment is, or how far ahead; less than a second is no difference.
pub(super) fn relative(moment: UnixTime, now: UnixTime) -> String {
    if moment.as_secs() == now.as_secs() {
        "now".to_owned()
    } else if moment > now {
        format!("in {}", span(moment.since(now)))
    } else {
        format!("{} ago", span(now.since(moment)))
    }
}

/// Writes a duration in its two largest units; what is under a second is none.
pub(super) fn span(span: Duration) -> String {
    let secs = span.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let Some(first) = units.iter().position(|(unit, _)| secs >= *unit) else {
        return "0 s".to_owned();
    };
    let (unit, name) = units[first];
    let mut text = format!("{} {name}", secs / unit);
    if let Some((smaller, name)) = units.get(first + 1)
        && secs % unit >= *smaller
    {
        let _ = write!(text, " {} {name}", secs % unit / smaller); // writing to a String does not fail
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json::tests::object;
    use serde_json::json;

    #[test]
    fn a_span_has_its_two_largest_units() {
        for (secs, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (86_400 * 3 + 59, "3 d"),
            (86_400 * 400 + 7200, "400 d 2 h"),
        ] {
            assert_eq!(span(Duration::from_secs(secs)), want);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escaped("a\u{1b}[2J\u{9b}\u{202e}ü\n"), "a\\u001b[2J\\u009b\\u202eü\n");
    }

    #[test]
    fn a_value_is_cut_where_it_is_long() {
        assert_eq!(shown(None), "none");
        let short = object(&json!({"it": ["a", 1]}));
        assert_eq!(shown(short.get("it")), r#"["a",1]"#);
        let long = object(&json!({"it": "ü".repeat(500)}));
        let long = shown(long.get("it"));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST + 1, true));
    }

    #[test]
    fn a_date_is_told_as_it_stands_there_and_as_people_read_it() {
        let now = UnixTime::from_secs(1_700_000_000);
        for (exp, want) in [
            (json!(1_699_999_990), "1699999990, 2023-11-14T22:13:10Z, 10 s ago"),
            (json!(1_700_000_060), "1700000060, 2023-11-14T22:14:20Z, in 1 min"),
            (json!(1_700_000_000), "1700000000, 2023-11-14T22:13:20Z, now"),
            (json!("soon"), "\"soon\""),
        ] {
            let claims = object(&json!({"exp": exp}));
            assert_eq!(date(&claims, "exp", now), want);
        }
        assert_eq!(date(&Object::default(), "exp", now), "none");
    }
}
