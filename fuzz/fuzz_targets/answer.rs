//! What a backend answers over HTTP/1.1: read in one way, however it comes, or refused.
//!
//! An input is a method, a line of its own, and then what the backend sends until it closes.

#![no_main]

use bytes::BytesMut;
use countersign::core::answer::{self, AnswerHead, End};
use countersign::core::chunked::{Chunked, Piece};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (method, text) = countersign_fuzz::first_line(data);
    let method = Method::from_bytes(method).unwrap_or(Method::GET);
    let whole = read(&method, text, text.len().max(1));
    for at_once in [1, 2, 7] {
        assert_eq!(read(&method, text, at_once), whole, "{at_once} bytes at once");
    }
    let Some(answer) = whole else { return };
    let head = &answer.head;
    assert!(head.status == StatusCode::SWITCHING_PROTOCOLS || !head.status.is_informational());
    assert_eq!(Some(head.end), by_the_standard(&method, head));
    assert!(!head.keeps_alive || head.end != End::OnClose);
    if let (End::InChunks, Some((body, rest))) = (head.end, &answer.body) {
        let behind = &text[text.len() - answer.behind..];
        let by_hand = chunks(behind).expect("what was read is there for whoever looks");
        assert_eq!((body, *rest), (&by_hand.0, by_hand.1));
    }
});

#[derive(Debug, PartialEq)]
struct Answer {
    head: Head,
    /// How much stands behind the head.
    behind: usize,
    /// What came in chunks, and how much stands behind them; nothing where that is none, or not whole.
    body: Option<(Vec<u8>, usize)>,
}

#[derive(Debug, PartialEq)]
struct Head {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    end: End,
    keeps_alive: bool,
}

/// Reads an answer that comes in pieces of so many bytes; nothing where that is none. Whether it is refused or
/// waited for is not looked at: what comes byte by byte is refused once it is whole.
fn read(method: &Method, text: &[u8], at_once: usize) -> Option<Answer> {
    let (mut pieces, mut read, mut looked) = (text.chunks(at_once), BytesMut::new(), 0);
    let head = loop {
        match answer::take_head(&mut read, &mut looked, method).ok()? {
            Some(head) => break head,
            None => read.extend_from_slice(pieces.next()?),
        }
    };
    let AnswerHead { response, end, keeps_alive } = head;
    let left = |read: &BytesMut, pieces: &std::slice::Chunks<'_, u8>| {
        read.len() + pieces.clone().map(<[u8]>::len).sum::<usize>()
    };
    let behind = left(&read, &pieces);
    let (head, ()) = response.into_parts();
    let (status, version, headers) = (head.status, head.version, head.headers);
    let head = Head { status, version, headers, end, keeps_alive };
    let (mut chunked, mut body) = (Chunked::default(), Vec::new());
    let body = loop {
        if end != End::InChunks {
            break None;
        }
        match chunked.next_piece(&mut read) {
            Err(_) => break None,
            Ok(Some(Piece::Data(data))) => {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
            Ok(Some(Piece::Trailers(trailers))) => assert!(!trailers.is_empty()),
            Ok(Some(Piece::End)) => break Some((body, left(&read, &pieces))),
            Ok(None) => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None => break None,
            },
        }
    };
    Some(Answer { head, behind, body })
}

/// Where a body ends, by the list of RFC 9112 §6.3.
fn by_the_standard(method: &Method, head: &Head) -> Option<End> {
    let all = |name| {
        let lines: Vec<&[u8]> = head.headers.get_all(name).iter().map(|it| it.as_bytes()).collect();
        (!lines.is_empty()).then(|| lines.join(&b','))
    };
    if *method == Method::HEAD || matches!(head.status.as_u16(), 100..=199 | 204 | 304) {
        return Some(End::After(0));
    }
    if let Some(codings) = all(TRANSFER_ENCODING) {
        let codings = String::from_utf8_lossy(&codings).to_ascii_lowercase();
        let last = codings.rsplit(',').next().map(|last| last.trim_matches([' ', '\t']));
        let end = if last == Some("chunked") { End::InChunks } else { End::OnClose };
        return (head.version != Version::HTTP_10).then_some(end);
    }
    let Some(lengths) = all(CONTENT_LENGTH) else { return Some(End::OnClose) };
    let lengths = String::from_utf8(lengths).ok()?;
    let mut lengths = lengths.split(',').map(|length| length.trim_matches([' ', '\t']));
    // `parse` would take a sign, too.
    let number =
        |text: &str| text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok())?;
    let length: u64 = number(lengths.next()?)?;
    lengths.all(|other| number(other) == Some(length)).then_some(End::After(length))
}

/// Takes chunks apart, by the grammar of RFC 9112 §7.1: the bytes in them, and how much is behind them.
fn chunks(mut text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut text)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let after = size[digits..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        if digits == 0 || after.is_some_and(|byte| *byte != b';') {
            return None;
        }
        let size = str::from_utf8(&size[..digits]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(text.get(..size)?);
        text = text[size..].strip_prefix(b"\r\n")?;
    }
    while !line(&mut text)?.is_empty() {}
    Some((body, text.len()))
}

/// Takes a line off, which ends with CR LF and has neither before that.
fn line<'a>(text: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let rest = text[end..].strip_prefix(b"\r\n")?;
    let line = &text[..end];
    *text = rest;
    Some(line)
}
