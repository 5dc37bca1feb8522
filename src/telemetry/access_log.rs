//! One line a request, written when the request is over.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::hmac;

use super::sink::Sink;
use super::{CallerShown, LogFormat, LogSettings};
use crate::core::time::UnixTime;
use crate::core::trace_context::TraceContext;

/// Writes a line a request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    sink: Sink,
    format: LogFormat,
    shown: Shown,
}

#[derive(Clone)]
enum Shown {
    Plain,
    Hash(Box<hmac::Key>),
    Omit,
}

impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Shown")
    }
}

/// What is told of one request. Nothing in it is a token, a secret or a query.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// When it ended.
    pub time: UnixTime,
    /// Its `x-request-id`.
    pub request_id: &'a str,
    /// Its method.
    pub method: &'a str,
    /// The route that stood for it.
    pub route: &'a str,
    /// Its path without the query.
    pub path: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// What became of it.
    pub decision: &'static str,
    /// Why it was refused, in a word.
    pub reason: &'static str,
    /// Why it was refused, in a sentence.
    pub detail: Option<String>,
    /// Where its credential stood.
    pub carrier: &'static str,
    /// Who called.
    pub caller: Option<CallerLine<'a>>,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From the end of its head to the end of the answer.
    pub total: Duration,
    /// To know who calls.
    pub auth: Duration,
    /// From sending it on to the head of the backend's answer.
    pub upstream: Option<Duration>,
    /// Who connected, or whom a trusted proxy names.
    pub client: Option<IpAddr>,
    /// The trace that it is part of.
    pub trace: Option<&'a TraceContext>,
}

/// Who called.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names of the claims")]
pub struct CallerLine<'a> {
    pub token_type: &'static str,
    pub sub: &'a str,
    pub sid: Option<&'a str>,
    pub org_id: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub kid: Option<&'a str>,
    pub iss: &'a str,
}

impl AccessLog {
    /// Creates the log; nothing where the settings want none.
    pub fn new(settings: &LogSettings, sink: Sink) -> Option<Self> {
        let wanted = settings.access && settings.level >= tracing::level_filters::LevelFilter::INFO;
        let shown = match settings.caller {
            CallerShown::Plain => Shown::Plain,
            CallerShown::Hash => Shown::Hash(Box::new(fresh_key())),
            CallerShown::Omit => Shown::Omit,
        };
        wanted.then_some(Self { sink, format: settings.format, shown })
    }

    /// Writes one line.
    pub fn write(&self, line: &Line<'_>) {
        let mut text = String::with_capacity(512);
        match self.format {
            LogFormat::Json => self.json(line, &mut text),
            LogFormat::Text => self.text(line, &mut text),
        }
        text.push('\n');
        self.sink.write(text.into_bytes());
    }

    fn json(&self, line: &Line<'_>, text: &mut String) {
        text.push_str(r#"{"timestamp":""#);
        let _ = write!(text, "{}", line.time.rfc3339()); // writing to a String does not fail
        text.push_str(r#"","level":"INFO","target":"access""#);
        self.fields(line, |name, value| {
            let _ = write!(text, r#","{name}":"#); // writing to a String does not fail
            match value {
                Value::Text(value) => push_json(text, value),
                Value::Number(value) => text.push_str(&value.to_string()),
                Value::Micros(span) => text.push_str(&span.as_micros().to_string()),
            }
        });
        text.push('}');
    }

    fn text(&self, line: &Line<'_>, text: &mut String) {
        let _ = write!(text, "{}", line.time.rfc3339()); // writing to a String does not fail
        text.push_str("  INFO access:");
        self.fields(line, |name, value| {
            let _ = match value {
                Value::Text(value) if value.bytes().all(is_bare) => write!(text, " {name}={value}"),
                Value::Text(value) => write!(text, " {name}={value:?}"),
                Value::Number(value) => write!(text, " {name}={value}"),
                Value::Micros(span) => write!(text, " {name}={}", span.as_micros()),
            };
        });
    }

    /// Tells the fields in their order; what is not there is left out.
    fn fields(&self, line: &Line<'_>, mut tell: impl FnMut(&'static str, Value<'_>)) {
        tell("request_id", Value::Text(line.request_id));
        tell("method", Value::Text(line.method));
        tell("route", Value::Text(line.route));
        tell("path", Value::Text(line.path));
        tell("status", Value::Number(line.status.into()));
        tell("decision", Value::Text(line.decision));
        tell("reason", Value::Text(line.reason));
        if let Some(detail) = &line.detail {
            tell("detail", Value::Text(detail));
        }
        tell("carrier", Value::Text(line.carrier));
        if let Some(caller) = &line.caller {
            tell("token_type", Value::Text(caller.token_type));
            for (name, value) in
                [("sub", Some(caller.sub)), ("sid", caller.sid), ("actor", caller.actor)]
            {
                match (value, &self.shown) {
                    (None, _) | (_, Shown::Omit) => {}
                    (Some(value), Shown::Plain) => tell(name, Value::Text(value)),
                    (Some(value), Shown::Hash(key)) => tell(name, Value::Text(&hashed(key, value))),
                }
            }
            for (name, value) in
                [("org_id", caller.org_id), ("kid", caller.kid), ("iss", Some(caller.iss))]
            {
                if let Some(value) = value {
                    tell(name, Value::Text(value));
                }
            }
        }
        tell("bytes_in", Value::Number(line.bytes_in));
        tell("bytes_out", Value::Number(line.bytes_out));
        tell("duration_us", Value::Micros(line.total));
        tell("auth_us", Value::Micros(line.auth));
        if let Some(upstream) = line.upstream {
            tell("upstream_us", Value::Micros(upstream));
        }
        if let Some(client) = line.client {
            tell("client", Value::Text(&client.to_string()));
        }
        if let Some(trace) = line.trace {
            tell("traceparent", Value::Text(&trace.parent));
            if let Some(state) = &trace.state {
                tell("tracestate", Value::Text(state));
            }
        }
    }
}

enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Micros(Duration),
}

fn fresh_key() -> hmac::Key {
    hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
        .expect("the system has random bytes")
}

fn hashed(key: &hmac::Key, text: &str) -> String {
    let tag = hmac::sign(key, text.as_bytes());
    crate::core::base64url::encode(&tag.as_ref()[..12])
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'='
}

fn push_json(text: &mut String, value: &str) {
    match serde_json::to_string(value) {
        Ok(quoted) if quoted.bytes().all(|byte| (0x20..0x7f).contains(&byte)) => {
            text.push_str(&quoted)
        }
        Ok(quoted) => quoted.chars().for_each(|c| push_visible(text, c)),
        Err(_) => text.push_str("null"),
    }
}

/// JSON escapes the controls of ASCII alone. There are others that end a line or move a cursor where
/// a log is shown as text: those of Latin-1, the separators of Unicode, and what turns the direction
/// of writing around.
fn push_visible(text: &mut String, c: char) {
    match c {
        '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            let _ = write!(text, "\\u{:04x}", u32::from(c)); // writing to a String does not fail
        }
        _ => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> Line<'_> {
        Line {
            time: UnixTime::from_secs(0),
            request_id: "r1",
            method: "GET",
            route: "default",
            path,
            status: 200,
            decision: "allowed",
            reason: "none",
            detail: None,
            carrier: "header",
            caller: Some(CallerLine {
                token_type: "session_token",
                sub: "user_1",
                sid: Some("sess_1"),
                org_id: None,
                actor: Some("user_admin"),
                kid: Some("ins_1"),
                iss: "https://clerk.example.com",
            }),
            bytes_in: 0,
            bytes_out: 5,
            total: Duration::from_micros(1500),
            auth: Duration::from_micros(7),
            upstream: None,
            client: Some(IpAddr::from([127, 0, 0, 1])),
            trace: None,
        }
    }

    fn log(format: LogFormat, shown: Shown) -> AccessLog {
        AccessLog { sink: Sink::start(std::io::sink()).unwrap(), format, shown }
    }

    #[test]
    fn a_line_is_one_object_whatever_the_path_holds() {
        const CONTROLS: [char; 6] = ['\n', '\r', '\u{1b}', '\u{85}', '\u{2028}', '\u{202e}'];
        let path = "/a\"b\r\n{\u{1b}[2J\u{85}\u{9b}2J\u{2028}\u{202e}é";
        let mut text = String::new();
        log(LogFormat::Json, Shown::Plain).json(&line(path), &mut text);
        assert!(!text.contains(CONTROLS) && text.contains('é'), "{text}");
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["path"], path);
        assert_eq!((&object["sub"], &object["duration_us"]), (&"user_1".into(), &1500.into()));

        let mut text = String::new();
        log(LogFormat::Text, Shown::Plain).text(&line(path), &mut text);
        assert!(!text.contains(CONTROLS), "{text}");
    }

    #[test]
    fn who_called_is_hashed_or_left_out_where_that_is_wanted() {
        for (shown, same) in
            [(Shown::Hash(Box::new(fresh_key())), Some(false)), (Shown::Omit, None)]
        {
            let mut text = String::new();
            log(LogFormat::Json, shown).json(&line("/"), &mut text);
            assert!(!text.contains("user_"), "{text}");
            let object: serde_json::Value = serde_json::from_str(&text).unwrap();
            let told = object.get("sub").map(|sub| sub == "user_1");
            assert_eq!(told, same);
        }
    }
}
