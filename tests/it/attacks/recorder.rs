//! A backend that keeps every byte that comes, reads it as strictly as RFC 9112 allows, and says
//! what was odd.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, JoinHandle};

use super::raw::{Wire, find};
use crate::support::upstream::Seen;

/// The backend. It ends when dropped.
pub(crate) struct Recorder {
    pub(crate) address: String,
    kept: Rc<Kept>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Kept {
    /// What came, by connection.
    bytes: RefCell<Vec<Vec<u8>>>,
    seen: RefCell<Vec<Seen>>,
    odd: RefCell<Vec<String>>,
}

/// What a backend answers each request with.
#[derive(Clone)]
pub(crate) struct Reply {
    /// Sent before the answer, over HTTP/1.
    pub(crate) before: &'static str,
    pub(crate) status: u16,
    pub(crate) lines: Vec<(&'static str, &'static str)>,
    pub(crate) body: &'static str,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self { before: "", status: 200, lines: Vec::new(), body: "ok" }
    }

    pub(crate) fn line(mut self, name: &'static str, value: &'static str) -> Self {
        self.lines.push((name, value));
        self
    }

    fn h2(&self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.lines {
            response = response.header(*name, *value);
        }
        response.body(Full::new(self.body.into())).unwrap()
    }

    fn h1(&self, to: &Seen) -> String {
        let mut text = format!("{}HTTP/1.1 {} X\r\n", self.before, self.status);
        for (name, value) in &self.lines {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        if to.method != "HEAD" {
            text.push_str(self.body);
        }
        text
    }
}

impl Recorder {
    /// A backend that answers `ok`.
    pub(crate) async fn start(wire: Wire) -> Self {
        Self::replying(wire, Reply::ok()).await
    }

    pub(crate) async fn replying(wire: Wire, reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let kept = Rc::<Kept>::default();
        let own = Rc::clone(&kept);
        let task = task::spawn_local(async move {
            let mut tasks = task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let place = own.bytes.borrow().len();
                own.bytes.borrow_mut().push(Vec::new());
                let reader = Reader { socket, unread: Vec::new(), place, kept: Rc::clone(&own) };
                match wire {
                    Wire::H1 => tasks.spawn_local(reader.serve(reply.clone())),
                    Wire::H2c => tasks.spawn_local(reader.serve_h2(reply.clone())),
                };
            }
        });
        Self { address, kept, task }
    }

    /// How many bytes came.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.bytes.borrow().iter().map(Vec::len).sum()
    }

    /// Everything that came, one connection after the other.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept.bytes.borrow().concat()).into_owned()
    }

    pub(crate) fn connections(&self) -> usize {
        self.kept.bytes.borrow().len()
    }

    pub(crate) fn take(&self) -> Vec<Seen> {
        self.kept.seen.take()
    }

    /// Holds that nothing that came was odd.
    pub(crate) fn hold(&self) {
        assert_eq!(*self.kept.odd.borrow(), Vec::<String>::new());
    }

    /// What was odd is expected; returns and forgets it.
    pub(crate) fn odd(&self) -> Vec<String> {
        self.kept.odd.take()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, read to the letter.
struct Reader {
    socket: TcpStream,
    unread: Vec<u8>,
    place: usize,
    kept: Rc<Kept>,
}

impl Reader {
    async fn serve(mut self, reply: Reply) {
        loop {
            match self.request().await {
                Ok(Some(seen)) => {
                    let answer = reply.h1(&seen);
                    self.kept.seen.borrow_mut().push(seen);
                    if self.socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(odd) => {
                    self.kept.odd.borrow_mut().push(odd);
                    return;
                }
            }
        }
    }

    /// Serves HTTP/2. Of its bytes the heads of requests are kept: the others say nothing of those.
    async fn serve_h2(self, reply: Reply) {
        let (place, kept) = (self.place, &self.kept);
        let service = service_fn(|request: Request<Incoming>| {
            let (kept, reply) = (Rc::clone(kept), reply.clone());
            async move {
                let line = format!("{} {}\r\n", request.method(), request.uri());
                kept.bytes.borrow_mut()[place].extend_from_slice(line.as_bytes());
                match read_h2(request).await {
                    Ok(seen) => kept.seen.borrow_mut().push(seen),
                    Err(odd) => kept.odd.borrow_mut().push(odd),
                }
                Ok::<_, Infallible>(reply.h2())
            }
        });
        let builder = http2::Builder::new(LocalExec);
        let _ = builder.serve_connection(TokioIo::new(self.socket), service).await; // it may close
    }

    /// Reads a request; nothing where the connection ends before one.
    async fn request(&mut self) -> Result<Option<Seen>, String> {
        let head = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break self.unread.drain(..end + 4).collect::<Vec<_>>();
            }
            if self.more().await == 0 {
                let nothing = self.unread.is_empty();
                return if nothing { Ok(None) } else { Err("an end in a head".into()) };
            }
        };
        let mut seen = parse_head(&head)?;
        let (length, chunked) = framing(&seen.headers)?;
        match (length, chunked) {
            (Some(_), true) => return Err("both a length and chunks".into()),
            (_, true) => self.chunks(&mut seen).await?,
            (Some(length), false) => seen.body = self.bytes(length).await?.into(),
            (None, false) => {}
        }
        // The next request comes when this one was answered.
        if self.unread.is_empty() { Ok(Some(seen)) } else { Err("bytes after a request".into()) }
    }

    async fn chunks(&mut self, seen: &mut Seen) -> Result<(), String> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let hex = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = if hex { usize::from_str_radix(&line, 16).ok() } else { None };
            match size.ok_or_else(|| format!("a chunk of size {line:?}"))? {
                0 => break,
                size => body.extend(self.bytes(size).await?),
            }
            if self.bytes(2).await? != b"\r\n" {
                return Err("a chunk without its end".into());
            }
        }
        let mut trailers = HeaderMap::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => break,
                line => put(&mut trailers, &line)?,
            }
        }
        seen.body = body.into();
        seen.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
        Ok(())
    }

    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(line[..end].iter().map(|byte| char::from(*byte)).collect());
            }
            if self.more().await == 0 {
                return Err("an end in a body".into());
            }
        }
    }

    async fn bytes(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.unread.len() < length {
            if self.more().await == 0 {
                return Err("an end in a body".into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn more(&mut self) -> usize {
        let mut buffer = vec![0; 16 * 1024];
        let length = self.socket.read(&mut buffer).await.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..length]);
        self.kept.bytes.borrow_mut()[self.place].extend_from_slice(&buffer[..length]);
        length
    }
}

/// Reads a request over HTTP/2, with its host where HTTP/1 has it.
async fn read_h2(request: Request<Incoming>) -> Result<Seen, String> {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    if let Some(name) = ["connection", "keep-alive", "transfer-encoding", "upgrade", "host"]
        .into_iter()
        .find(|name| headers.contains_key(*name))
    {
        return Err(format!("a line {name:?} over HTTP/2"));
    }
    let authority = parts.uri.authority().ok_or("not one host")?;
    headers.insert("host", HeaderValue::try_from(authority.as_str()).unwrap());
    let target = parts.uri.path_and_query().map_or("", |it| it.as_str()).to_owned();
    let body = body.collect().await.map_err(|_| "an end in a body")?;
    let trailers = body.trailers().cloned().filter(|trailers| !trailers.is_empty());
    let (method, body) = (parts.method.to_string(), body.to_bytes());
    Ok(Seen { method, target, headers, body, trailers })
}

/// Runs what HTTP/2 starts beside a connection on this thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalExec;

impl<F: Future<Output: 'static> + 'static> Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        task::spawn_local(future);
    }
}

fn parse_head(head: &[u8]) -> Result<Seen, String> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let line = lines.next().unwrap_or_default();
    let parts: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("line {line:?}")) };
    let mut headers = HeaderMap::new();
    for line in lines {
        put(&mut headers, line)?;
    }
    if headers.get_all("host").iter().count() != 1 {
        return Err("not one host".into());
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Seen { method, target, headers, body: Vec::new().into(), trailers: None })
}

/// A line that no reader could take for two, or for none.
fn put(headers: &mut HeaderMap, line: &str) -> Result<(), String> {
    let odd = || format!("a line {line:?}");
    let (name, value) = line.split_once(':').ok_or_else(odd)?;
    if value.contains(['\r', '\n', '\0']) {
        return Err(odd());
    }
    let name = HeaderName::try_from(name).map_err(|_| odd())?;
    let value: Vec<u8> = value.trim().chars().filter_map(|it| u8::try_from(it).ok()).collect();
    headers.append(name, HeaderValue::from_bytes(&value).map_err(|_| odd())?);
    Ok(())
}

/// The one length of a body, and whether it comes in chunks.
fn framing(headers: &HeaderMap) -> Result<(Option<usize>, bool), String> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let length = match &lengths[..] {
        [] => None,
        [one] if one.bytes().all(|byte| byte.is_ascii_digit()) => one.parse().ok(),
        _ => return Err(format!("lengths {lengths:?}")),
    };
    if lengths.len() == 1 && length.is_none() {
        return Err(format!("lengths {lengths:?}"));
    }
    match codings.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok((length, false)),
        ["chunked"] => Ok((length, true)),
        _ => Err(format!("codings {codings:?}")),
    }
}
