//! The head of a request as it is sent over HTTP/1.1, and how its body is framed (RFC 9112).

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};

use crate::core::form::write_line;
use crate::core::header::CleanHead;
use crate::core::list::elements;
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
    /// Says how a body is framed that comes with this head: as long as was `said`, or else in chunks,
    /// whatever the method (RFC 9112 §6.3).
    pub fn of(said: Option<u64>, has_body: bool, client: &CleanHead) -> Self {
        match (said, has_body) {
            (None, false) => Self::Nothing,
            (Some(_), false) => Self::Length(0),
            (Some(length), true) => Self::Length(length),
            (None, true) => Self::Chunks(announced(client)),
        }
    }
}

/// The trailers that a request says will follow its body.
fn announced(client: &CleanHead) -> Vec<HeaderName> {
    let names = elements(&client.0, TRAILER);
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
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
    fn written(target: &str, client: &[&str], framing: &Framing) -> String {
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
        let written = String::from_utf8(write(&target, &signed, framing)).unwrap();
        let way = "\r\nhost: a.test\r\nx-request-id: 1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a.test";
        assert!(written.contains(way), "{written}");
        written.replace(way, "")
    }

    #[test]
    fn a_head_is_written_as_it_is_read() {
        let (nothing, chunks) = (Framing::Nothing, Framing::Chunks(vec![]));
        for (target, client, framing, want) in [
            ("/", &[][..], &nothing, "POST / HTTP/1.1\r\n\r\n"),
            ("/a/b?c=d&e", &[], &nothing, "POST /a/b?c=d&e HTTP/1.1\r\n\r\n"),
            ("/a?", &[], &nothing, "POST /a? HTTP/1.1\r\n\r\n"),
            ("http://a.test/a?b", &[], &nothing, "POST /a?b HTTP/1.1\r\n\r\n"),
            (
                "/",
                &["accept: a", "accept: b", "x-empty: "],
                &nothing,
                "POST / HTTP/1.1\r\naccept: a\r\naccept: b\r\nx-empty: \r\n\r\n",
            ),
            (
                "/",
                &["content-length: 5", "content-length: 5"],
                &Framing::Length(5),
                "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n",
            ),
            ("/", &[], &chunks, "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"),
            (
                "/",
                &["te: trailers"],
                &nothing,
                "POST / HTTP/1.1\r\nte: trailers\r\nconnection: te\r\n\r\n",
            ),
        ] {
            assert_eq!(written(target, client, framing), want, "{target} {client:?}");
        }
    }

    #[test]
    fn a_body_is_framed_as_its_head_says() {
        let trailers = ["trailer: a, B", "trailer: c"];
        for (said, has_body, client, want) in [
            (None, false, &[][..], Framing::Nothing),
            (Some(0), false, &[], Framing::Length(0)),
            (Some(5), false, &[], Framing::Length(0)),
            (Some(5), true, &[], Framing::Length(5)),
            (None, true, &[], Framing::Chunks(vec![])),
            (
                None,
                true,
                &trailers,
                Framing::Chunks(["a", "b", "c"].map(HeaderName::from_static).into()),
            ),
        ] {
            assert_eq!(Framing::of(said, has_body, &clean(client)), want, "{said:?} {client:?}");
        }
    }
}
