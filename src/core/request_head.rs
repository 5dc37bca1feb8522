//! The head of a request as it is sent over HTTP/1.1, and how its body is framed (RFC 9112).

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use crate::core::form::write_line;
use crate::core::header::CleanHead;
use crate::core::sign::SignedHead;
use crate::core::target::Target;

/// How a body is framed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Framing {
    /// There is none, and nothing says so.
    Nothing,
    /// It has so many bytes.
    Length(u64),
    /// It comes in chunks, and after them those of its trailers that were announced.
    Chunks(Vec<HeaderName>),
}

impl Framing {
    /// Says how a body is framed that comes with this head: as long as that says, or else in chunks,
    /// whatever the method (RFC 9112 §6.3).
    pub fn of(client: &CleanHead, has_body: bool) -> Self {
        let length = client.0.get(CONTENT_LENGTH);
        match (length.map(|length| length.to_str().ok()?.parse().ok()), has_body) {
            (None, false) => Self::Nothing,
            (Some(_), false) => Self::Length(0),
            (Some(Some(length)), true) => Self::Length(length),
            (Some(None) | None, true) => Self::Chunks(announced(client)),
        }
    }
}

/// The trailers that a request says will follow its body.
fn announced(client: &CleanHead) -> Vec<HeaderName> {
    let lines = client.0.get_all(TRAILER).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// Writes a head.
pub fn write(target: &Target<'_>, head: &SignedHead<'_>, framing: &Framing) -> Vec<u8> {
    let (path, query) = (target.uri.path(), target.uri.query());
    let mut written = Vec::with_capacity(path.len() + query.map_or(0, str::len) + head.length());
    written.extend_from_slice(target.method.as_str().as_bytes());
    written.push(b' ');
    written.extend_from_slice(path.as_bytes());
    if let Some(query) = query {
        written.push(b'?');
        written.extend_from_slice(query.as_bytes());
    }
    written.extend_from_slice(b" HTTP/1.1");
    head.write(&mut written);
    match framing {
        Framing::Nothing => {}
        Framing::Length(length) => write_line(&mut written, &CONTENT_LENGTH, &(*length).into()),
        Framing::Chunks(_) => {
            write_line(&mut written, &TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
        }
    }
    let client = &head.client().0;
    if client.contains_key(TE) && !client.contains_key(CONNECTION) {
        // It ends at the other side (RFC 9110 §10.1.4).
        write_line(&mut written, &CONNECTION, &HeaderValue::from_static("te"));
    }
    written.extend_from_slice(b"\r\n\r\n");
    written
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, Method, Uri};

    use super::*;
    use crate::core::access::{Access, Rule};
    use crate::core::form::Way;
    use crate::core::identity::{Identity, IdentityPolicy};
    use crate::core::origin::Scheme;
    use crate::core::path::PathPolicy;
    use crate::core::sign::{RequestLine, Signer, Stamped};
    use crate::core::time::UnixTime;

    fn clean(lines: &[&str]) -> CleanHead {
        let split = |line: &&str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
        };
        CleanHead(lines.iter().filter_map(split).collect())
    }

    /// What is written for a request with these headers, but for the way that it took.
    fn written(target: &str, client: &[&str], has_body: bool) -> String {
        let nobody = Arc::new(Identity::default());
        let permit = Rule::from(Access::Public).permit(Ok(None), &nobody).unwrap();
        let signer = Signer::new(&IdentityPolicy::new(Vec::new()), None, None);
        let stamped = Stamped::new(Arc::new(signer), UnixTime::from_secs(0));
        let [host, id, proto] = ["a.test", "1", "http"].map(HeaderValue::from_static);
        let (client, way) = (clean(client), Way::new(host.clone(), id, proto));
        let uri = target.parse::<Uri>().unwrap();
        let headers = HeaderMap::from_iter([(http::header::HOST, host)]);
        let policy = PathPolicy::default();
        let target = Target::read(&Method::POST, &uri, &headers, Scheme::Http, policy).unwrap();
        let signed = stamped.sign(&client, &way, &permit, RequestLine::of(&target));
        let framing = Framing::of(&client, has_body);
        let written = String::from_utf8(write(&target, &signed, &framing)).unwrap();
        let way = "\r\nhost: a.test\r\nx-request-id: 1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a.test";
        assert!(written.contains(way), "{written}");
        written.replace(way, "")
    }

    #[test]
    fn a_head_is_written_as_it_is_read() {
        for (target, client, has_body, want) in [
            ("/", &[][..], false, "POST / HTTP/1.1\r\n\r\n"),
            ("/a/b?c=d&e", &[], false, "POST /a/b?c=d&e HTTP/1.1\r\n\r\n"),
            ("/a?", &[], false, "POST /a? HTTP/1.1\r\n\r\n"),
            ("http://a.test/a?b", &[], false, "POST /a?b HTTP/1.1\r\n\r\n"),
            (
                "/",
                &["accept: a", "accept: b", "x-empty: "],
                false,
                "POST / HTTP/1.1\r\naccept: a\r\naccept: b\r\nx-empty: \r\n\r\n",
            ),
            ("/", &["content-length: 5"], true, "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n"),
            ("/", &[], true, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"),
            (
                "/",
                &["content-length: 5", "content-length: 5"],
                true,
                "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n",
            ),
            (
                "/",
                &["content-length: "],
                true,
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            (
                "/",
                &["te: trailers"],
                false,
                "POST / HTTP/1.1\r\nte: trailers\r\nconnection: te\r\n\r\n",
            ),
        ] {
            assert_eq!(written(target, client, has_body), want, "{target} {client:?}");
        }
    }

    #[test]
    fn a_body_is_framed_as_its_head_says() {
        for (client, has_body, want) in [
            (&[][..], false, Framing::Nothing),
            (&["content-length: 0"], false, Framing::Length(0)),
            (&["content-length: 5"], false, Framing::Length(0)),
            (&["content-length: "], true, Framing::Chunks(vec![])),
            (&["content-length: 5"], true, Framing::Length(5)),
            (&[], true, Framing::Chunks(vec![])),
            (
                &["trailer: a, B", "trailer: c"],
                true,
                Framing::Chunks(["a", "b", "c"].map(HeaderName::from_static).into()),
            ),
        ] {
            assert_eq!(Framing::of(&clean(client), has_body), want, "{client:?}");
        }
    }
}
