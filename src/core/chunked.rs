//! A body in chunks (RFC 9112 §7.1), taken apart.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{EMPTY_HEADER, Status};

use crate::core::answer::{Malformed, take};

/// How many bytes the extensions of all chunks may have together, and the trailers.
const LONGEST: usize = 16 * 1024;

/// The most trailers there may be.
const MOST: usize = 100;

/// How far a body in chunks was read.
#[derive(Debug, Default)]
pub struct Chunked {
    next: Next,
    /// How long the extensions of its chunks were so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Size,
    Data(u64),
    EndOfData,
    Trailers,
    Nothing,
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// What was said after it.
    Trailers(HeaderMap),
    /// It is over.
    End,
}

impl Chunked {
    /// Takes the next piece off what was read; nothing where more of it is to come.
    ///
    /// # Errors
    ///
    /// Where a size, the end of a chunk or a trailer is none, or where extensions or trailers have over
    /// 16 KiB.
    pub fn next_piece(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        loop {
            match self.next {
                Next::Size => {
                    let Some(size) = self.take_size(read)? else { return Ok(None) };
                    self.next = if size == 0 { Next::Trailers } else { Next::Data(size) };
                }
                Next::Data(0) => self.next = Next::EndOfData,
                Next::Data(left) => {
                    let length = read.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.next = Next::Data(left - length as u64);
                    return Ok((length > 0).then(|| Piece::Data(take(read, length))));
                }
                Next::EndOfData => match read.get(..2) {
                    None => return Ok(None),
                    Some(b"\r\n") => {
                        read.advance(2);
                        self.next = Next::Size;
                    }
                    Some(_) => return Err(Malformed("a chunk that is longer than its size")),
                },
                Next::Trailers => {
                    let Some(trailers) = take_trailers(read)? else { return Ok(None) };
                    self.next = Next::Nothing;
                    if !trailers.is_empty() {
                        return Ok(Some(Piece::Trailers(trailers)));
                    }
                }
                Next::Nothing => return Ok(Some(Piece::End)),
            }
        }
    }

    /// Tells whether all of the body was taken.
    pub fn is_over(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    fn take_size(&mut self, read: &mut BytesMut) -> Result<Option<u64>, Malformed> {
        let Some(end) = read.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
            let is_short = read.len() < LONGEST;
            return if is_short { Ok(None) } else { Err(Malformed("a chunk without a size")) };
        };
        let (size, extensions) =
            size(&read[..end]).ok_or(Malformed("the size of a chunk is none"))?;
        self.extensions += extensions;
        if self.extensions > LONGEST {
            return Err(Malformed("extensions that are too long"));
        }
        read.advance(end + 1);
        Ok(Some(size))
    }
}

/// Reads the line before a chunk, up to its LF: the size, and how long its extensions are.
fn size(line: &[u8]) -> Option<(u64, usize)> {
    let line = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'))?;
    let size = line.split(|byte| *byte == b';').next()?;
    let extensions = line.len() - size.len();
    let size = &size[..size.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'))? + 1];
    // `from_str_radix` would take a sign, too.
    let digits =
        std::str::from_utf8(size).ok().filter(|_| size.iter().all(u8::is_ascii_hexdigit))?;
    Some((u64::from_str_radix(digits, 16).ok()?, extensions))
}

fn take_trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    let mut lines = [EMPTY_HEADER; MOST];
    let parsed = httparse::parse_headers(&read[..read.len().min(LONGEST)], &mut lines);
    let (length, lines) = match parsed.map_err(|_| Malformed("trailers that are none"))? {
        Status::Complete(parsed) => parsed,
        Status::Partial if read.len() < LONGEST => return Ok(None),
        Status::Partial => return Err(Malformed("trailers that are too long")),
    };
    let ends = read[..length].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    if !ends.map(|(at, _)| at).all(|at| at > 0 && read[at - 1] == b'\r') {
        return Err(Malformed("a trailer that does not end as lines do"));
    }
    let mut trailers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line.value)) else {
            return Err(Malformed("a trailer that is none"));
        };
        trailers.append(name, value);
    }
    read.advance(length);
    Ok(Some(trailers))
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
