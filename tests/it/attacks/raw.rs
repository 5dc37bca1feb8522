//! What every attack is driven with: a client that sends any bytes, a backend that keeps every byte,
//! and what is held against both: the [`Scene`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::core::access::{Access, Demand, Demands};
use countersign::core::clerk::has::{Asked, Privilege};
use countersign::core::route::{Case, Routes};
use countersign::proxy::UpstreamProtocol;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use super::frames::{H2, Outcome};
use super::recorder::Recorder;
use crate::headers::{IDENTITY, identity_names};
use crate::support::settings::{route, settings_for};
use crate::support::upstream::Seen;
use crate::support::{Answer, Issuer, Proxy};

/// What is spoken on one side of the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wire {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 at once, without TLS.
    H2c,
}

/// A way through the proxy: what the client speaks, and what the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) client: Wire,
    pub(crate) backend: Wire,
}

impl Lane {
    pub(crate) fn upstream_protocol(self) -> UpstreamProtocol {
        match self.backend {
            Wire::H1 => UpstreamProtocol::Usual,
            Wire::H2c => UpstreamProtocol::Http2,
        }
    }
}

/// Every way there is.
pub(crate) const LANES: &[Lane] = &[
    Lane { client: Wire::H1, backend: Wire::H1 },
    Lane { client: Wire::H1, backend: Wire::H2c },
    Lane { client: Wire::H2c, backend: Wire::H1 },
    Lane { client: Wire::H2c, backend: Wire::H2c },
];

/// The plain way, for what is about one connection's own framing.
pub(crate) const PLAIN: Lane = LANES[0];

/// An issuer, a proxy and a backend: below `/public` and at `/healthz` everybody may come, below
/// `/optional` whoever is there is named, `/admin` is for admins, and all else for who is signed in.
///
/// When it is over it holds that no token is in the log, that nothing panicked, and that everything
/// that came to the backend was well-formed.
pub(crate) struct Scene {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) backend: Recorder,
    pub(crate) proxy: Proxy,
    lane: Lane,
    tokens: RefCell<Vec<String>>,
}

/// In place of a status: a stream or a connection of HTTP/2 was ended.
pub(crate) const ENDED: u16 = 0;

/// What had come to the backend, and what had been decided, at some moment.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    bytes: usize,
    connections: usize,
    decided: f64,
    refused: f64,
}

/// Runs a row on every lane.
pub(crate) async fn on_every_lane(row: impl AsyncFn(Scene)) {
    for lane in LANES {
        row(Scene::on(*lane).await).await;
    }
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::on(PLAIN).await
    }

    pub(crate) async fn on(lane: Lane) -> Self {
        Self::with(lane, |_| {}).await
    }

    /// A scene whose settings were changed by `change`.
    pub(crate) async fn with(lane: Lane, change: impl FnOnce(&mut Settings)) -> Self {
        Self::before(lane, Recorder::start(lane.backend).await, change).await
    }

    /// A scene before a backend of the test's.
    pub(crate) async fn before(
        lane: Lane,
        backend: Recorder,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        // One for all: to make its key costs more than most rows.
        static ISSUER: LazyLock<Arc<Issuer>> = LazyLock::new(issuer_of_its_own);
        Self::between(lane, Arc::clone(&ISSUER), backend, change).await
    }

    /// A scene whose issuer nobody else asks.
    pub(crate) async fn alone(lane: Lane) -> Self {
        let issuer = Arc::new(Issuer::start(Clock::System).unwrap());
        Self::between(lane, issuer, Recorder::start(lane.backend).await, |_| {}).await
    }

    async fn between(
        lane: Lane,
        issuer: Arc<Issuer>,
        backend: Recorder,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = settings_for(&issuer.origin(), &backend.address);
        settings.proxy.routes = routes();
        settings.proxy.upstream_protocol = lane.upstream_protocol();
        change(&mut settings);
        let proxy = Proxy::start(settings).await;
        Self::of(lane, issuer, backend, proxy)
    }

    /// A scene of parts of the test's.
    pub(crate) fn of(lane: Lane, issuer: Arc<Issuer>, backend: Recorder, proxy: Proxy) -> Self {
        Self { issuer, backend, proxy, lane, tokens: RefCell::default() }
    }

    /// A good token.
    pub(crate) fn token(&self) -> String {
        self.mint(json!({}))
    }

    /// A token that says this.
    pub(crate) fn mint(&self, claims: Value) -> String {
        let token = self.issuer.mint(claims);
        self.tokens.borrow_mut().push(token.clone());
        token
    }

    /// The header line of a good token.
    pub(crate) fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token())
    }

    /// Tells whether the client speaks HTTP/2.
    pub(crate) fn over_h2(&self) -> bool {
        self.lane.client == Wire::H2c
    }

    pub(crate) fn before_h2(&self) -> bool {
        self.lane.backend == Wire::H2c
    }

    /// Sends a request over a connection of its own, and reads the answer.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        match self.lane.client {
            Wire::H1 => {
                let mut client = Socket::open(&self.proxy.address).await;
                client.send(&ask.h1()).await;
                client.answer().await.unwrap_or_else(|| panic!("no answer to {ask:?}"))
            }
            // Without its headers, which are coded. No status stands for a stream or a connection
            // that was ended: HTTP/2 has no other answer to what is no request.
            Wire::H2c => {
                let outcome = H2::open(&self.proxy.address).await.ask(ask).await;
                let status = outcome.status().unwrap_or(ENDED);
                let body = if let Outcome::Answered { body, .. } = outcome { body } else { vec![] };
                Answer { status, headers: HeaderMap::new(), body: body.into() }
            }
        }
    }

    /// Sends bytes over a connection of its own, and reads until that is closed.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> Vec<Answer> {
        let mut client = Socket::open(&self.proxy.address).await;
        client.send(bytes.as_ref()).await;
        client.rest().await
    }

    /// The requests that came to the backend since this was asked before.
    pub(crate) fn take(&self) -> Vec<Seen> {
        self.backend.take()
    }

    pub(crate) async fn mark(&self) -> Mark {
        let (decided, refused) = self.decisions().await;
        let (bytes, connections) = (self.backend.bytes(), self.backend.connections());
        Mark { bytes, connections, decided, refused }
    }

    /// Holds that nothing was sent to the backend.
    pub(crate) async fn untouched(&self, since: &Mark, case: &str) -> Mark {
        let now = self.mark().await;
        assert_eq!(now.bytes, since.bytes, "{case}: the backend was sent something");
        assert_eq!(now.connections, since.connections, "{case}: the backend was connected to");
        now
    }

    /// Holds what is true of every refusal: nothing was sent to the backend, and one decision was
    /// counted, with a reason of the closed set.
    pub(crate) async fn nothing_passed(&self, since: &Mark, case: &str) {
        let now = self.untouched(since, case).await;
        assert_eq!(now.decided - since.decided, 1.0, "{case}: one decision is counted");
        assert_eq!(now.refused - since.refused, 1.0, "{case}: and it is a refusal");
    }

    /// Sends a request that has to be refused with this status.
    pub(crate) async fn refuses(&self, ask: &Ask, status: u16) -> Answer {
        let since = self.mark().await;
        let answer = self.ask(ask).await;
        let case = format!("{:?} {ask:?}", self.lane);
        if answer.status == ENDED && [400, 431].contains(&status) {
            self.untouched(&since, &case).await;
            return answer;
        }
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        self.nothing_passed(&since, &case).await;
        answer
    }

    /// Sends bytes to which the one answer has to be this status, and a closed connection.
    pub(crate) async fn refuses_bytes(&self, bytes: impl AsRef<[u8]>, status: u16) -> Answer {
        let since = self.mark().await;
        let mut answers = self.send(&bytes).await;
        let case = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let case = if case.len() > 300 { case.chars().take(300).collect() } else { case };
        assert_eq!(answers.len(), 1, "{case:?}: {answers:?}");
        let answer = answers.remove(0);
        assert_eq!(answer.status, status, "{case:?}: {answer:?}");
        self.nothing_passed(&since, &case).await;
        answer
    }

    /// How many requests were decided on, and how many of them refused.
    async fn decisions(&self) -> (f64, f64) {
        let metrics = self.proxy.admin("/metrics").await.text();
        let (mut decided, mut refused) = (0.0, 0.0);
        for line in metrics.lines() {
            let Some(labels) = line.strip_prefix("countersign_requests_total{") else { continue };
            let (labels, value) = labels.split_once("} ").unwrap();
            let value: f64 = value.parse().unwrap();
            decided += value;
            if labels.contains(r#"decision="rejected""#) {
                refused += value;
                let reason = labels.split("reason=\"").nth(1).unwrap().split('"').next().unwrap();
                assert!(REASONS.contains(&reason), "{reason} is of no closed set");
            }
        }
        (decided, refused)
    }
}

/// An issuer that outlives the runtime of a test, on a thread of its own. Whoever pauses the time does
/// so when there are keys.
fn issuer_of_its_own() -> Arc<Issuer> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            send.send(Arc::new(Issuer::start(Clock::System).unwrap())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let logged = self.proxy.logged();
        assert!(!logged.contains("panic"), "{logged}");
        for token in self.tokens.borrow().iter() {
            for part in token.split('.').skip(1) {
                assert!(part.is_empty() || !logged.contains(part), "a token is in the log");
            }
        }
        self.backend.hold();
    }
}

fn routes() -> Routes {
    let admin = Demand::Has(Asked::Role(Privilege::parse("org:admin").unwrap()));
    let rows = vec![
        route("/public/**", Access::Public),
        route("/healthz", Access::Public),
        route("/optional/**", Access::Optional),
        route("/admin/**", Access::Required(Demands::new(vec![admin]))),
    ];
    Routes::new(rows, Case::Sensitive)
}

/// Every reason that a refusal may be counted with.
const REASONS: &[&str] = &[
    "request-malformed",
    "session-token-and-uat-missing",
    "cross-site-request",
    "credential-repeated",
    "token-invalid",
    "token-type-mismatch",
    "token-invalid-issuer",
    "token-invalid-algorithm",
    "jwk-kid-mismatch",
    "token-verification-failed",
    "token-invalid-signature",
    "token-invalid-authorized-parties",
    "token-lifetime-exceeded",
    "session-token-expired",
    "session-token-nbf",
    "session-token-iat-in-the-future",
    "session-revoked",
    "session-pending",
    "impersonation-refused",
    "scope-insufficient",
    "access-denied",
    "method-refused",
    "request-timeout",
    "client-gone",
    "body-too-large",
    "target-too-long",
    "head-too-large",
    "overloaded",
];

/// A request in the making, in words that every version of HTTP has.
///
/// Texts are Latin-1, so that they can hold any byte.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<(String, String)>,
}

/// Without the value of `Authorization`, so that a failure shows no token.
impl std::fmt::Debug for Ask {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let target: String = self.target.chars().take(200).collect();
        write!(out, "{} {target} of {:?} with", self.method, self.host)?;
        for (name, value) in self.lines.iter().take(12) {
            let shown = if name.eq_ignore_ascii_case("authorization") { "…" } else { value };
            write!(out, " {name}: {:?}", shown.chars().take(100).collect::<String>())?;
        }
        Ok(())
    }
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "a.test".to_owned(),
            lines: Vec::new(),
            body: String::new(),
            trailers: Vec::new(),
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(crate) fn line(mut self, name: &str, value: &str) -> Self {
        self.lines.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Several header lines, as a table writes them: `A: 1` and line ends between.
    pub(crate) fn lines(self, lines: &str) -> Self {
        lines.split("\r\n").filter(|line| !line.is_empty()).fold(self, |ask, line| {
            let (name, value) = line.split_once(':').unwrap();
            ask.line(name, value.strip_prefix(' ').unwrap_or(value))
        })
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.line("authorization", &format!("Bearer {token}"))
    }

    /// Tells whether it has what HTTP/2 has no place for (RFC 9113 §8.2.2).
    pub(crate) fn is_of_a_hop(&self) -> bool {
        let hop =
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"];
        self.lines.iter().any(|(name, value)| {
            hop.contains(&name.to_ascii_lowercase().as_str()) && value != "trailers"
        })
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As HTTP/1.1 has it.
    pub(crate) fn h1(&self) -> Vec<u8> {
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        let put = |text: &mut String, lines: &[(String, String)]| {
            lines.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        };
        put(&mut text, &self.lines);
        if !self.trailers.is_empty() {
            let names: Vec<_> = self.trailers.iter().map(|(name, _)| name.as_str()).collect();
            text.push_str(&format!("Trailer: {}\r\n", names.join(", ")));
            text.push_str("Transfer-Encoding: chunked\r\n\r\n");
            if !self.body.is_empty() {
                text.push_str(&format!("{:x}\r\n{}\r\n", self.body.len(), self.body));
            }
            text.push_str("0\r\n");
            put(&mut text, &self.trailers);
            text.push_str("\r\n");
        } else if self.body.is_empty() {
            text.push_str("\r\n");
        } else {
            text.push_str(&format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        }
        latin1(&text)
    }
}

/// The bytes of a text of Latin-1.
pub(crate) fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|it| u8::try_from(it).unwrap()).collect()
}

/// A connection whose bytes are the test's own.
pub(crate) struct Socket {
    stream: TcpStream,
    unread: Vec<u8>,
    heads: Cell<bool>,
}

/// How long an answer may take in the time of the world. Nothing in these tests takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

impl Socket {
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new(), heads: Cell::default() }
    }

    /// Sends bytes; the proxy may have closed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Sends each piece in a packet of its own.
    pub(crate) async fn send_in_pieces(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.send(piece).await;
            // The proxy reads one piece before there is another.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Says that nothing more will come.
    pub(crate) async fn half_close(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Says that the next answers are to HEAD, and have no body.
    pub(crate) fn to_head(&self, heads: bool) {
        self.heads.set(heads);
    }

    /// Reads the next answer, of whatever status; nothing where the proxy has closed.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = first_answer(&self.unread, self.heads.get()) {
                self.unread.drain(..length);
                return Some(answer);
            }
            if self.read().await == 0 {
                assert!(self.unread.is_empty(), "{:?}", String::from_utf8_lossy(&self.unread));
                return None;
            }
        }
    }

    /// Reads until the proxy closes.
    pub(crate) async fn rest(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer().await {
            answers.push(answer);
        }
        answers
    }

    /// Reads until the proxy closes, in whatever time.
    pub(crate) async fn closed(&mut self) {
        let mut buffer = vec![0; 16 * 1024];
        while self.stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    }

    /// Sends so many bytes more, and returns how many of all that was sent came back.
    pub(crate) async fn echo(self, length: usize) -> usize {
        let (mut read, mut write) = self.stream.into_split();
        let sending = tokio::task::spawn_local(async move {
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..length / piece.len() {
                write.write_all(&piece).await.unwrap();
            }
            write.shutdown().await.unwrap();
        });
        let came = tokio::io::copy(&mut read, &mut tokio::io::sink()).await.unwrap();
        sending.await.unwrap();
        self.unread.len() + usize::try_from(came).unwrap()
    }

    async fn read(&mut self) -> usize {
        let mut buffer = vec![0; 16 * 1024];
        // A reset is an end too.
        let read = time::timeout(PATIENCE, self.stream.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| {
            panic!("neither answer nor end after {:?}", String::from_utf8_lossy(&self.unread))
        });
        let length = read.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..length]);
        length
    }
}

/// Takes the first whole answer off what was read, and says how long it is.
fn first_answer(bytes: &[u8], to_head: bool) -> Option<(Answer, usize)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let mut answer = Answer::parse(std::str::from_utf8(&bytes[..end]).unwrap());
    let rest = &bytes[end..];
    let without_body = to_head || answer.status < 200 || [204, 304].contains(&answer.status);
    if without_body {
        return Some((answer, end));
    }
    if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().unwrap();
        answer.body = rest.get(..length)?.to_vec().into();
        return Some((answer, end + length));
    }
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&rest[at..], b"\r\n")?;
        let size = std::str::from_utf8(&rest[at..at + line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        at += line + 2;
        if size == 0 {
            let trailers = find(&rest[at.checked_sub(2)?..], b"\r\n\r\n")?;
            answer.body = body.into();
            return Some((answer, end + at + trailers + 2));
        }
        body.extend_from_slice(rest.get(at..at + size)?);
        at += size + 2;
        if rest.len() < at {
            return None;
        }
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Holds that every header that stands for our identity to somebody is one of ours, each once.
pub(crate) fn only_ours(seen: &Seen, principal: &str, case: &str) {
    let ours: BTreeSet<_> = IDENTITY.into_iter().map(str::to_owned).collect();
    assert_eq!(identity_names(seen), ours.into_iter().collect::<Vec<_>>(), "{case}");
    assert_eq!(seen.header(IDENTITY[0]), Some(principal), "{case}");
    let user = seen.header("x-clerk-user-id").unwrap();
    assert_eq!(user.starts_with("user_"), principal == "user", "{case}: {user}");
    for name in ["signature", "signature-input", "x-request-id", "x-forwarded-for"] {
        assert_eq!(seen.headers.get_all(name).iter().count(), 1, "{case}: {name}");
    }
}
