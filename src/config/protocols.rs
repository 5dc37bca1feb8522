//! `http2`, `stream_lifetime` and `websocket_protocol_token`: what is spoken beside HTTP/1.1, and for
//! how long.

use std::time::Duration;

use crate::proxy::StreamLifetime;

use super::reader::Reader;
use super::units::Span;

/// What is spoken with clients.
pub(super) struct Protocols {
    pub(super) http2: bool,
    pub(super) stream_lifetime: StreamLifetime,
    pub(super) websocket_protocol_token: bool,
}

pub(super) fn settings(reader: &mut Reader<'_>) -> Protocols {
    let lifetime = reader.one("stream_lifetime", lifetime).unwrap_or_default();
    if lifetime == StreamLifetime::Unlimited {
        let text = "`unlimited`: whoever has a WebSocket or a stream open keeps it after signing out, for as long as they like";
        reader.warn("stream_lifetime", text);
    }
    Protocols {
        http2: reader.switch("http2").unwrap_or(true),
        stream_lifetime: lifetime,
        websocket_protocol_token: reader.switch("websocket_protocol_token").unwrap_or(false),
    }
}

/// A year: more is never, and says so.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn lifetime(text: &str) -> Result<StreamLifetime, String> {
    match (text, text.parse::<Span>()) {
        ("token", _) => Ok(StreamLifetime::Token),
        ("unlimited", _) => Ok(StreamLifetime::Unlimited),
        (_, Ok(Span(span))) if span <= LONGEST => Ok(StreamLifetime::Beyond(span)),
        (_, Ok(_)) => Err("at most 365d; `unlimited` is without end".to_owned()),
        (_, Err(_)) => Err("how long past its token a stream may live: a duration like `1h`, or `token`, or `unlimited`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{mistakes, settings, warnings};

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            ("http2 = \"yes\"", "http2: `true` or `false` without quotes"),
            ("stream_lifetime = \"5\"", "stream_lifetime: \"5\": how long past its token"),
            ("stream_lifetime = \"366d\"", "stream_lifetime: \"366d\": at most 365d"),
            ("websocket_protocol_token = 1", "websocket_protocol_token: `true` or `false`"),
        ] {
            let got = mistakes(text);
            assert!(got.len() == 1 && got[0].starts_with(want), "{text}: {got:?}");
        }
    }

    #[test]
    fn good_values_arrive() {
        let usual = settings("").proxy;
        assert!(usual.http2 && !usual.websocket_protocol_token);
        assert_eq!(usual.stream_lifetime, StreamLifetime::default());
        let minutes = StreamLifetime::Beyond(Duration::from_secs(300));
        for (text, want) in [
            ("5m", minutes),
            ("0s", StreamLifetime::Beyond(Duration::ZERO)),
            ("token", StreamLifetime::Token),
            ("unlimited", StreamLifetime::Unlimited),
        ] {
            let text = format!(
                "stream_lifetime = \"{text}\"\nhttp2 = false\nwebsocket_protocol_token = true"
            );
            let proxy = settings(&text).proxy;
            assert_eq!((proxy.stream_lifetime, proxy.http2), (want, false), "{text}");
            assert!(proxy.websocket_protocol_token);
        }
    }

    #[test]
    fn streams_without_end_are_warned_of() {
        for (text, warned) in [("unlimited", true), ("token", false), ("1d", false)] {
            let text = format!("stream_lifetime = \"{text}\"");
            let found = warnings(&text).iter().any(|got| got.starts_with("stream_lifetime: "));
            assert_eq!(found, warned, "{text}");
        }
    }
}
