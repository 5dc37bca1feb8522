//! HTTP/2 by hand: frames are bytes here, so none is too odd to be sent (RFC 9113, RFC 7541).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use super::raw::{Ask, latin1};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of HEADERS and DATA: the last frame of its stream.
pub(crate) const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION: the last frame of its block.
pub(crate) const END_HEADERS: u8 = 4;
/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 1;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Returns a frame as it goes over the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field of a head, written out whole and entered in no table (RFC 7541 §6.2.2).
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [latin1(name), latin1(value)] {
        integer(&mut bytes, text.len());
        bytes.extend(text);
    }
    bytes
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn integer(bytes: &mut Vec<u8>, value: usize) {
    if value < 127 {
        bytes.push(u8::try_from(value).unwrap());
        return;
    }
    bytes.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// The block of a request's head.
pub(crate) fn block(ask: &Ask) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in [
        (":method", &ask.method),
        (":scheme", &"http".to_owned()),
        (":authority", &ask.host),
        (":path", &ask.target),
    ] {
        bytes.extend(literal(name, value));
    }
    for (name, value) in &ask.lines {
        bytes.extend(literal(&name.to_ascii_lowercase(), value));
    }
    bytes
}

/// A setting, as SETTINGS has it.
pub(crate) fn setting(name: u16, value: u32) -> Vec<u8> {
    let mut bytes = name.to_be_bytes().to_vec();
    bytes.extend(value.to_be_bytes());
    bytes
}

/// A frame that came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn number_at(&self, place: usize) -> u32 {
        let bytes = self.payload.get(place..place + 4);
        bytes.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
    }
}

/// What became of a stream.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Answered { status: u16, body: Vec<u8> },
    Reset(u32),
    Gone(u32),
    Closed,
}

impl Outcome {
    /// The status of an answer; nothing where there was none.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            Self::Reset(_) | Self::Gone(_) | Self::Closed => None,
        }
    }
}

/// A connection whose frames are the test's own.
pub(crate) struct H2 {
    socket: TcpStream,
    unread: Vec<u8>,
    /// What the last GOAWAY said, once there was one.
    pub(crate) gone: Option<u32>,
    /// Whether windows are opened again as bytes come.
    pub(crate) reads: bool,
    next: u32,
}

/// How long a frame may take in the time of the world.
const PATIENCE: Duration = Duration::from_secs(20);

impl H2 {
    /// Opens a connection: preface, and settings by which no table of ours is used.
    pub(crate) async fn open(address: &str) -> Self {
        let mut h2 = Self::bare(address).await;
        h2.send(PREFACE).await;
        h2.send(&frame(SETTINGS, 0, 0, &setting(1, 0))).await;
        h2
    }

    /// A connection on which nothing was said.
    pub(crate) async fn bare(address: &str) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, unread: Vec::new(), gone: None, reads: true, next: 1 }
    }

    /// Reads a client's preface, as a server.
    pub(crate) async fn skip_preface(&mut self) {
        let mut preface = vec![0; PREFACE.len()];
        drop(self.socket.read_exact(&mut preface).await);
    }

    /// Sends bytes, and tells whether they could be: the proxy may have closed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// The next stream of ours.
    pub(crate) fn stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Sends a request on a stream of its own, and returns that.
    pub(crate) async fn request(&mut self, ask: &Ask) -> u32 {
        let stream = self.stream();
        let whole = ask.body.is_empty() && ask.trailers.is_empty();
        self.head(stream, &block(ask), if whole { END_STREAM } else { 0 }).await;
        if !ask.body.is_empty() {
            let end = if ask.trailers.is_empty() { END_STREAM } else { 0 };
            self.send(&frame(DATA, end, stream, &latin1(&ask.body))).await;
        }
        if !ask.trailers.is_empty() {
            let trailers = ask.trailers.iter();
            let block: Vec<u8> = trailers.flat_map(|(name, value)| literal(name, value)).collect();
            self.head(stream, &block, END_STREAM).await;
        }
        stream
    }

    /// Sends a block in as many frames as it takes.
    pub(crate) async fn head(&mut self, stream: u32, block: &[u8], flags: u8) {
        let mut pieces = block.chunks(16_384).peekable();
        let mut kind = HEADERS;
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let own = if kind == HEADERS { flags } else { 0 };
            self.send(&frame(kind, own | end, stream, piece)).await;
            kind = CONTINUATION;
        }
    }

    /// Sends a request and says what became of it.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Outcome {
        let stream = self.request(ask).await;
        self.outcome(stream).await
    }

    /// Reads until it is known what became of a stream. An interim answer is none.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.frame().await {
            match (frame.kind, frame.stream == stream) {
                (HEADERS, true) if status < 200 => status = status_of(&frame.payload),
                (DATA, true) => body.extend_from_slice(&frame.payload),
                (RST_STREAM, true) if status < 200 => return Outcome::Reset(frame.number_at(0)),
                (RST_STREAM, true) => return Outcome::Answered { status, body },
                (GOAWAY, _) if frame.number_at(4) != 0 => return Outcome::Gone(frame.number_at(4)),
                _ => {}
            }
            let ended = frame.flags & END_STREAM != 0 && [HEADERS, DATA].contains(&frame.kind);
            if ended && frame.stream == stream {
                return Outcome::Answered { status, body };
            }
        }
        self.gone.map_or(Outcome::Closed, Outcome::Gone)
    }

    /// Reads the next frame; nothing where the proxy has closed. Settings and pings are answered.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.whole() {
                self.acknowledge(&frame).await;
                return Some(frame);
            }
            let mut buffer = vec![0; 64 * 1024];
            let read = time::timeout(PATIENCE, self.socket.read(&mut buffer)).await;
            let length = read.expect("neither frame nor end").unwrap_or(0);
            if length == 0 {
                return None;
            }
            self.unread.extend_from_slice(&buffer[..length]);
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        let head = self.unread.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if self.unread.len() < 9 + length {
            return None;
        }
        let bytes: Vec<u8> = self.unread.drain(..9 + length).collect();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        Some(Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() })
    }

    /// Reads on in whatever time, and answers pings.
    pub(crate) async fn answer_pings(mut self) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            while let Some(frame) = self.whole() {
                self.acknowledge(&frame).await;
            }
            match self.socket.read(&mut buffer).await {
                Ok(length) if length > 0 => self.unread.extend_from_slice(&buffer[..length]),
                _ => return,
            }
        }
    }

    async fn acknowledge(&mut self, came: &Frame) {
        let length = u32::try_from(came.payload.len()).unwrap();
        match (came.kind, came.flags & ACK) {
            (SETTINGS, 0) => drop(self.send(&frame(SETTINGS, ACK, 0, &[])).await),
            (PING, 0) => drop(self.send(&frame(PING, ACK, 0, &came.payload)).await),
            (GOAWAY, _) => self.gone = Some(came.number_at(4)),
            (DATA, _) if self.reads && length > 0 => {
                for stream in [0, came.stream] {
                    self.send(&frame(WINDOW_UPDATE, 0, stream, &length.to_be_bytes())).await;
                }
            }
            _ => {}
        }
    }
}

/// The status at the beginning of an answer's head: one of the static table, or digits, as they are
/// or in the code of RFC 7541 appendix B.
fn status_of(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut rest = block;
    while let [first, tail @ ..] = rest
        && first & 0xe0 == 0x20
    {
        rest = tail; // a new size of the table
    }
    match rest {
        [first, ..] if first & 0x80 != 0 => STATIC[usize::from(first & 0x7f) - 8],
        [first, length, value @ ..] if first & 0x0f >= 8 => {
            let value = &value[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return std::str::from_utf8(value).unwrap().parse().unwrap();
            }
            digits(value)
        }
        _ => panic!("no status in {block:?}"),
    }
}

/// Three digits in the code: 0 to 2 have five bits, the others six.
fn digits(coded: &[u8]) -> u16 {
    let mut bits =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut take = |count: usize| (0..count).fold(0, |sum, _| sum * 2 + bits.next().unwrap_or(1));
    (0..3).fold(0, |sum, _| {
        let five = take(5);
        sum * 10 + if five < 3 { five } else { five * 2 + take(1) - 22 }
    })
}

#[test]
fn a_status_is_read_as_it_was_written() {
    for (block, status) in [
        (&[0x88][..], 200),
        (&[0x20, 0x8c], 400),
        (&[0x48, 3, b'4', b'3', b'1'], 431),
        // RFC 7541 appendix C.6.1: "302", C.6.2: "307".
        (&[0x48, 0x82, 0x64, 0x02], 302),
        (&[0x48, 0x83, 0x64, 0x0e, 0xff], 307),
    ] {
        assert_eq!(status_of(block), status);
    }
}
