//! The head of a request as the backend gets it: what we say in each, and then what is left of the
//! client's.

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::core::header::{CleanHead, is_written_anew};
use crate::core::identity::Identity;

/// What is told of some requests.
static AT_TIMES: [HeaderName; 2] = [Way::FORWARDED_PORT, Way::FORWARDED_PREFIX];

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

    fn usual(&self) -> [Option<&HeaderValue>; 5] {
        let host = self.forwarded_host.as_ref().unwrap_or(&self.host);
        let client = self.forwarded_for.as_ref();
        [Some(&self.host), Some(&self.request_id), client, Some(&self.proto), Some(host)]
    }

    fn at_times(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let values = [&self.port, &self.prefix];
        AT_TIMES.iter().zip(values).filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }
}

/// The names of the headers that we say in every request, in their order, each as it begins its line.
#[derive(Debug)]
pub(super) struct Form {
    names: HeaderMap<Box<[u8]>>,
    /// How many of them are those of a request's way and of an identity.
    before_proof: usize,
    length: usize,
}

impl Form {
    /// Creates the form of a request's way, of identities with headers of these names, and of what proves
    /// them.
    pub(super) fn new<'a>(
        identity: impl Iterator<Item = &'a HeaderName>,
        proof: impl Iterator<Item = &'a HeaderName>,
    ) -> Self {
        let mut form = Self { names: HeaderMap::default(), before_proof: 0, length: 0 };
        Way::USUAL.iter().for_each(|name| form.add(name));
        identity.for_each(|name| form.add(name));
        form.before_proof = form.names.len();
        proof.for_each(|name| form.add(name));
        form
    }

    fn add(&mut self, name: &HeaderName) {
        let begun = [b"\r\n", name.as_str().as_bytes(), b": "].concat();
        self.length += begun.len();
        let before = self.names.insert(name, begun.into());
        debug_assert!(before.is_none(), "a value a name: two of one name would share a place");
    }

    /// Fills the form in: with a request's `way`, an `identity`, the values of its `proof` in the order of
    /// their names, and what is left of the client's headers, but for those that we say.
    pub(super) fn fill<'a, V>(
        &'a self,
        way: &'a Way,
        identity: &'a Identity,
        proof: V,
        client: &'a CleanHead,
    ) -> Filled<'a, V> {
        let before_proof = Way::USUAL.len() + identity.values.len();
        assert_eq!(before_proof, self.before_proof, "the identity is of another policy");
        Filled { form: self, way, identity, proof, client }
    }

    /// How long all of them are, as they begin their lines.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    fn theirs<'a>(
        &'a self,
        client: &'a CleanHead,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        // What is in the form was to be stripped. Came one so far, ours is the one that counts.
        client
            .0
            .iter()
            .filter(|(name, _)| !is_written_anew(name.as_str()) && !self.names.contains_key(*name))
    }
}

/// A form that is filled in.
pub(super) struct Filled<'a, V> {
    form: &'a Form,
    way: &'a Way,
    identity: &'a Identity,
    proof: V,
    client: &'a CleanHead,
}

impl<'a, V: Iterator<Item = &'a HeaderValue>> Filled<'a, V> {
    /// Returns the headers.
    pub(super) fn into_headers(self) -> HeaderMap {
        let Self { form, way, identity, proof, client } = self;
        let mut headers = HeaderMap::with_capacity(form.names.len() + client.0.len());
        let told = identity.values.iter().chain(proof);
        let values = way.usual().into_iter().chain(told.map(Some));
        let ours = form.names.keys().zip(values).filter_map(|(name, value)| Some((name, value?)));
        for (name, value) in ours.chain(form.theirs(client)).chain(way.at_times()) {
            headers.append(name, value.clone());
        }
        headers
    }

    /// Writes the headers, each after the end of the line before it (RFC 9112 §5); but for the length, which is
    /// said by whoever frames the body.
    pub(super) fn write(self, head: &mut Vec<u8>) {
        let Self { form, way, identity, proof, client } = self;
        for (begun, value) in form.names.values().zip(way.usual()) {
            if let Some(value) = value {
                head.extend_from_slice(begun);
                head.extend_from_slice(value.as_bytes());
            }
        }
        head.extend_from_slice(&identity.lines);
        for (begun, value) in form.names.values().skip(form.before_proof).zip(proof) {
            head.extend_from_slice(begun);
            head.extend_from_slice(value.as_bytes());
        }
        let theirs = form.theirs(client).filter(|(name, _)| **name != CONTENT_LENGTH);
        for (name, value) in theirs.chain(way.at_times()) {
            write_line(head, name, value);
        }
    }
}

/// Writes a header after the end of the line before it.
pub(super) fn write_line(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::identity::tests::caller;
    use crate::core::identity::{Field, IdentityPolicy, Source};

    const SIGNATURE: HeaderName = HeaderName::from_static("signature");

    fn way() -> Way {
        let value = HeaderValue::from_static;
        let way = Way::new(value("app.test"), value("1"), value("https"));
        Way { forwarded_for: Some(value("10.0.0.1")), ..way }
    }

    fn filled(way: &Way, client: &[(&'static str, &'static str)]) -> Vec<String> {
        let user_id = HeaderName::from_static("x-clerk-user-id");
        let policy = IdentityPolicy::new(vec![(user_id, Source::Field(Field::UserId))]);
        let identity = policy.of(&caller(&json!({})));
        let mut head = HeaderMap::new();
        for (name, value) in client {
            head.append(*name, HeaderValue::from_static(value));
        }
        let (names, proof) = ([SIGNATURE], [HeaderValue::from_static("countersign=::")]);
        let (form, head) = (Form::new(policy.names(), names.iter()), CleanHead(head));
        let mut written = Vec::new();
        form.fill(way, &identity, proof.iter(), &head).write(&mut written);
        let headers = form.fill(way, &identity, proof.iter(), &head).into_headers();
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}", text(value)));
        let lines: Vec<String> = lines.collect();
        let as_written = lines.iter().map(|line| format!("\r\n{line}")).collect::<String>();
        assert_eq!(String::from_utf8(written).unwrap(), as_written);
        lines
    }

    const USUAL: [&str; 7] = [
        "host: app.test",
        "x-request-id: 1",
        "x-forwarded-for: 10.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: app.test",
        "x-clerk-user-id: user_1",
        "signature: countersign=::",
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
