//! The head of a request as the backend gets it: what we say in each, and then what is left of the
//! client's.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::core::header::{CleanHead, is_written_anew};

/// What the table of names has room for: about what we say and what clients send, so that it is not made
/// anew while a head is written.
const ROOM: usize = 40;

static EMPTY: HeaderValue = HeaderValue::from_static("");

/// What the backend is told of the way a request took, beside who sent it.
#[derive(Clone, Debug)]
pub struct Way {
    /// `Host`, which the client asked for.
    pub host: HeaderValue,
    /// `x-request-id`, the name that the request goes by.
    pub request_id: HeaderValue,
    /// `X-Forwarded-Proto`.
    pub proto: HeaderValue,
    /// `X-Forwarded-Host`; nothing where that is `host`.
    pub forwarded_host: Option<HeaderValue>,
    /// `X-Forwarded-For`; nothing where the request came over a Unix socket.
    pub forwarded_for: Option<HeaderValue>,
    /// `X-Forwarded-Port`, where a proxy before us says so.
    pub port: Option<HeaderValue>,
    /// `X-Forwarded-Prefix`, where a proxy before us says so.
    pub prefix: Option<HeaderValue>,
}

impl Way {
    /// The name a request goes by, from the first proxy to the log.
    pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

    /// The address of whoever sent the request, after those of whom it passed before.
    pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

    /// The host that the browser used.
    pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

    /// The port that the browser used.
    pub const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

    /// What stood before the path.
    pub const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

    /// The scheme that the browser used.
    pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

    /// What is told of nearly every request.
    const USUAL: [HeaderName; 5] =
        [HOST, Self::REQUEST_ID, Self::FORWARDED_FOR, Self::FORWARDED_PROTO, Self::FORWARDED_HOST];

    /// A way of which nothing is told but what every request has.
    pub fn new(host: HeaderValue, request_id: HeaderValue, proto: HeaderValue) -> Self {
        Self {
            host,
            request_id,
            proto,
            forwarded_host: None,
            forwarded_for: None,
            port: None,
            prefix: None,
        }
    }

    fn usual(&self) -> [&HeaderValue; 5] {
        let client = self.forwarded_for.as_ref().unwrap_or(&EMPTY);
        let host = self.forwarded_host.as_ref().unwrap_or(&self.host);
        [&self.host, &self.request_id, client, &self.proto, host]
    }
}

/// The names of the headers that we say in every request, in their order.
///
/// To copy and fill in a form costs a fraction of what it does to put its headers into a map one by
/// one, which looks for a place for each by its name.
#[derive(Debug)]
pub(super) struct Form(HeaderMap);

impl Form {
    /// Creates the form of a request's way, and of headers of these names after it.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Self {
        let mut headers = HeaderMap::with_capacity(ROOM);
        for name in Way::USUAL.into_iter().chain(names.cloned()) {
            let before = headers.insert(name, EMPTY.clone());
            debug_assert!(before.is_none(), "a value a name: two of one name would share a place");
        }
        Self(headers)
    }

    /// Writes the head of a request: its `way`, the `values` in the order of their names, and what is
    /// left of the client's headers but for those that are written anew.
    pub(super) fn fill<'a>(
        &self,
        way: &'a Way,
        values: impl Iterator<Item = &'a HeaderValue>,
        client: &CleanHead,
    ) -> HeaderMap {
        let mut headers = self.0.clone();
        let mut places = headers.values_mut();
        way.usual().into_iter().chain(values).for_each(|value| {
            let place = places.next();
            debug_assert!(place.is_some(), "a place for each value");
            if let Some(place) = place {
                *place = value.clone();
            }
        });
        debug_assert!(places.next().is_none(), "a value for each place");
        for (name, value) in &client.0 {
            if !is_written_anew(name.as_str())
                && headers.append(name, value.clone())
                && self.0.contains_key(name)
            {
                // It was to be stripped. Came one so far, ours is the one that counts.
                let ours = headers[name].clone();
                headers.insert(name, ours);
            }
        }
        if way.forwarded_for.is_none() {
            headers.remove(Way::FORWARDED_FOR);
        }
        let told = [(Way::FORWARDED_PORT, &way.port), (Way::FORWARDED_PREFIX, &way.prefix)];
        for (name, value) in told {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Way {
        let value = HeaderValue::from_static;
        let way = Way::new(value("app.test"), value("1"), value("https"));
        Way { forwarded_for: Some(value("10.0.0.1")), ..way }
    }

    fn filled(way: &Way, client: &[(&'static str, &'static str)]) -> Vec<String> {
        let names = [HeaderName::from_static("x-clerk-user-id")];
        let mut head = HeaderMap::new();
        for (name, value) in client {
            head.append(*name, HeaderValue::from_static(value));
        }
        let told = [HeaderValue::from_static("user_1")];
        let filled = Form::new(names.iter()).fill(way, told.iter(), &CleanHead(head));
        let lines =
            filled.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        lines.collect()
    }

    const USUAL: [&str; 6] = [
        "host: app.test",
        "x-request-id: 1",
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: app.test",
        "x-clerk-user-id: user_1",
    ];

    #[test]
    fn ours_come_first_and_then_the_clients() {
        for (client, more) in [
            (&[][..], &[][..]),
            (&[("accept", "*/*")], &["accept: */*"]),
            (
                &[("cookie", "a"), ("accept", "b"), ("cookie", "c")],
                &["cookie: a", "cookie: c", "accept: b"],
            ),
        ] {
            let filled = filled(&way(), client);
            assert_eq!(filled, [&USUAL[..], more].concat(), "{client:?}");
        }
    }

    #[test]
    fn a_header_of_ours_stands_there_once_whatever_was_left_of_the_clients() {
        for name in [
            "host",
            "signature",
            "signature-input",
            "x-clerk-user-id",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id",
        ] {
            assert_eq!(filled(&way(), &[(name, "evil"), (name, "worse")]), USUAL, "{name}");
        }
    }

    #[test]
    fn what_is_told_at_times_is_told_then() {
        let value = |text| Some(HeaderValue::from_static(text));
        for (way, want) in [
            (Way { port: value("443"), ..way() }, "x-forwarded-port: 443"),
            (Way { prefix: value("/a"), ..way() }, "x-forwarded-prefix: /a"),
            (
                Way { forwarded_host: value("public.test"), ..way() },
                "x-forwarded-host: public.test",
            ),
        ] {
            let (name, _) = want.split_once(": ").unwrap();
            let filled = filled(&way, &[(name, "evil"), (name, "worse")]);
            let said: Vec<_> = filled.iter().filter(|line| line.starts_with(name)).collect();
            assert_eq!(said, [want]);
        }
        let nobody = Way { forwarded_for: None, ..way() };
        let filled = filled(&nobody, &[("x-forwarded-for", "evil")]);
        assert!(!filled.iter().any(|line| line.starts_with("x-forwarded-for")), "{filled:?}");
    }
}
