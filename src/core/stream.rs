//! What lives longer than a request does: until when it may.

use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::core::time::UnixTime;

/// How long a WebSocket, an event stream or a call of gRPC may live.
///
/// Clerk's session tokens are good for a minute, and nobody sends another one on a connection that
/// is open already. Whoever was let in is let out at some time, comes again with a new token, and
/// is asked again: who has signed out stays out.
///
/// File: `stream_lifetime = "1h"`. Default: 1 h past the end of the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamLifetime {
    /// As long as its token.
    Token,
    /// So much longer than its token.
    Beyond(Duration),
    /// As long as both sides want.
    Unlimited,
}

impl Default for StreamLifetime {
    fn default() -> Self {
        Self::Beyond(Duration::from_secs(60 * 60))
    }
}

impl StreamLifetime {
    /// Returns the end of a stream whose token is good until `expires`; nothing where it has none.
    pub fn end(self, expires: UnixTime) -> Option<UnixTime> {
        match self {
            Self::Token => Some(expires),
            Self::Beyond(span) => Some(expires.plus(span)),
            Self::Unlimited => None,
        }
    }
}

/// Tells whether an answer is a stream of events, which has no end of its own (HTML, "Server-sent
/// events").
pub fn is_of_events(headers: &HeaderMap) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let media_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(EVENTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_its_token_or_later_or_never() {
        let at = UnixTime::from_secs;
        let minute = Duration::from_secs(60);
        for (lifetime, want) in [
            (StreamLifetime::Token, Some(at(100))),
            (StreamLifetime::Beyond(minute), Some(at(160))),
            (StreamLifetime::default(), Some(at(3700))),
            (StreamLifetime::Unlimited, None),
        ] {
            assert_eq!(lifetime.end(at(100)), want, "{lifetime:?}");
        }
        let never = StreamLifetime::Beyond(Duration::MAX).end(at(i64::MAX));
        assert!(never.is_some(), "no sum wraps around");
    }

    #[test]
    fn events_are_told_by_their_content_type() {
        for (media_type, want) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-streams", false),
            ("text/html", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]);
            assert_eq!(is_of_events(&headers), want, "{media_type}");
        }
    }
}
