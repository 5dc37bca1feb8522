//! The head of an answer over HTTP/1.1, and where its body ends (RFC 9112).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use httparse::{Header, ParserConfig, Status};

use crate::core::list;

/// The longest head there may be, and the longest that is said before it.
const LONGEST: usize = 128 * 1024;

/// The most headers there may be.
const MOST: usize = 100;

/// How many headers there is room for beside them: `x-request-id`, and `connection` where it closes. A map that
/// grows is made anew.
const MORE: usize = 2;

/// What is copied sooner than shared.
const SMALL: usize = 4 * 1024;

/// What a backend sent is no answer over HTTP/1.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// What it says: a final status, or 101.
    pub response: Response<()>,
    /// Where its body ends.
    pub end: End,
    /// Whether the connection takes another request after it.
    pub keeps_alive: bool,
}

/// Where a body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// After so many bytes.
    After(u64),
    /// With its last chunk.
    InChunks,
    /// With the connection.
    OnClose,
}

/// Takes the head of the answer to a request of this method off what was read; nothing where more of
/// it is to come.
///
/// What a backend says before its answer (1xx) is taken off and passed over, but for 101, which is one.
/// `looked` is how much of what was read was looked at before, so that what comes byte by byte is not
/// read from its beginning with each.
///
/// # Errors
///
/// Where it is none, has over 100 headers or 128 KiB, or does not say in one way where its body ends.
pub fn take_head(
    read: &mut BytesMut,
    looked: &mut usize,
    method: &Method,
) -> Result<Option<AnswerHead>, Malformed> {
    loop {
        *looked = looked.saturating_sub(skip_empty_lines(read));
        if !may_be_whole(read, *looked) {
            break;
        }
        let Some((response, length)) = parse(read)? else { break };
        read.advance(length);
        *looked = 0;
        let status = response.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        let end = end(&response, method)?;
        let keeps_alive = keeps_alive(&response) && end != End::OnClose;
        return Ok(Some(AnswerHead { response, end, keeps_alive }));
    }
    *looked = read.len();
    Ok(None)
}

/// Takes off the empty lines that some servers end a body with, and returns how long they were.
fn skip_empty_lines(read: &mut BytesMut) -> usize {
    let before = read.len();
    while let [b'\n', ..] | [b'\r', b'\n', ..] = &read[..] {
        read.advance(if read[0] == b'\n' { 1 } else { 2 });
    }
    before - read.len()
}

/// Tells whether there may be a whole head in what was read where there was none in as much as was looked at:
/// an empty line has come, or too much, or all of it is new.
fn may_be_whole(read: &[u8], looked: usize) -> bool {
    let new = &read[looked.saturating_sub("\n\r".len())..];
    let is_end = |it: &[u8]| it.starts_with(b"\n\n") || it == b"\n\r\n";
    let ends = || new.windows(3).any(is_end) || new.ends_with(b"\n\n");
    !read.is_empty() && (looked == 0 || read.len() > LONGEST || ends())
}

/// Takes so many bytes off what was read. A copy where they are few: the memory that was read into stays
/// whole then, for what is read next, and is not kept by whoever keeps them.
pub fn take(read: &mut BytesMut, length: usize) -> Bytes {
    if length > SMALL {
        return read.split_to(length).freeze();
    }
    let bytes = Bytes::copy_from_slice(&read[..length]);
    read.advance(length);
    bytes
}

/// Reads a head, and how long it is.
fn parse(read: &[u8]) -> Result<Option<(Response<()>, usize)>, Malformed> {
    let mut lines = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST];
    let mut head = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut head, read, &mut lines);
    let length = match parsed.map_err(malformed)? {
        Status::Complete(length) if length <= LONGEST => length,
        Status::Partial if read.len() <= LONGEST => return Ok(None),
        Status::Complete(_) | Status::Partial => return Err(Malformed("a head that is too long")),
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let mut response = Response::new(());
    *response.status_mut() = status.ok_or(Malformed("a status that is none"))?;
    *response.version_mut() =
        if head.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // A copy, so that whoever keeps a value does not keep all that was read with it.
    let text = Bytes::copy_from_slice(&read[..length]);
    let mut headers = HeaderMap::with_capacity(head.headers.len() + MORE);
    for Header { name, value } in &*head.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let at = value.as_ptr() as usize - read.as_ptr() as usize;
        let value = match value.is_empty() {
            true => Ok(HeaderValue::from_static("")),
            false => HeaderValue::from_maybe_shared(text.slice(at..at + value.len())),
        };
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed("a header that is none"));
        };
        headers.append(name, value);
    }
    *response.headers_mut() = headers;
    Ok(Some((response, length)))
}

fn malformed(error: httparse::Error) -> Malformed {
    use httparse::Error::{
        HeaderName, HeaderValue, NewLine, Status, Token, TooManyHeaders, Version,
    };
    Malformed(match error {
        HeaderName => "a header's name that is none",
        HeaderValue => "a header's value that is none",
        NewLine => "a line that does not end as lines do",
        Status => "a status that is none",
        Token => "a character where it may not be",
        TooManyHeaders => "more than 100 headers",
        Version => "no version of HTTP/1",
    })
}

/// Says where the body of an answer ends.
fn end(response: &Response<()>, method: &Method) -> Result<End, Malformed> {
    use StatusCode as Code;
    let (status, headers) = (response.status(), response.headers());
    if *method == Method::HEAD
        || matches!(status, Code::SWITCHING_PROTOCOLS | Code::NO_CONTENT | Code::NOT_MODIFIED)
    {
        return Ok(End::After(0));
    }
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        let last = list::of_line(last.as_bytes()).next_back();
        let is_chunked = last.is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
        return match response.version() {
            Version::HTTP_10 => Err(Malformed("a transfer coding in HTTP/1.0")),
            _ if is_chunked => Ok(End::InChunks),
            _ => Ok(End::OnClose),
        };
    }
    match headers.contains_key(CONTENT_LENGTH) {
        true => length(headers).map(End::After).ok_or(Malformed("a length that is none")),
        false => Ok(End::OnClose),
    }
}

/// The one length that is said, however often.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = list::elements(headers, CONTENT_LENGTH).map(digits);
    let first = lengths.next()??;
    lengths.all(|other| other == Some(first)).then_some(first)
}

fn digits(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|_| text.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}

/// Tells whether a connection goes on after an answer (RFC 9112 §9.3). What says that it closes
/// counts, whatever else is said.
fn keeps_alive(response: &Response<()>) -> bool {
    let mut keeps = response.version() == Version::HTTP_11;
    for option in list::elements(response.headers(), CONNECTION) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keeps |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keeps
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
