//! What `serve` costs: CPU time a request, latency beside a plain connection, memory.
//!
//! ```text
//! cargo bench --bench proxy            # three rounds of two seconds a row
//! cargo bench --bench proxy -- 5 4     # five rounds of four seconds
//! ```
//!
//! The proxy runs as a process of its own; load, backend and issuer run here. CPU time is that of
//! the proxy's process, user and system, from `/proc/<pid>/stat`; rows are interleaved, best and
//! median of the rounds are shown. Machines are noisy: compare rows of one run.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::dev::issuer::Issuer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::time::Instant;

/// As many kept-alive connections as the comparisons of other proxies have.
const CONNECTIONS: usize = 32;
/// More tokens than one round can use up, so that none is seen twice in it.
const FRESH_TOKENS: usize = 3000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\nok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok\n";

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(3);
    let seconds = Duration::from_secs(numbers.get(1).copied().unwrap_or(2));

    let issuer_thread = IssuerThread::start();
    let backend = backend();
    let proxy = Served::start(&issuer_thread.publishable_key, &backend);
    println!("idle: {} KiB resident", proxy.resident_kib());

    let host = "host: bench.test\r\nuser-agent: bench\r\naccept: */*\r\n";
    let get = |path: &str, extra: &str| format!("GET {path} HTTP/1.1\r\n{host}{extra}\r\n");
    let bearer = |token: &str| get("/", &format!("authorization: Bearer {token}\r\n"));
    let known = vec![bearer(&issuer_thread.token)];
    let rows = [
        ("no proxy", &backend, known.clone()),
        ("public route", &proxy.address, vec![get("/public", "")]),
        ("known token", &proxy.address, known),
        ("refused, no token", &proxy.address, vec![get("/", "")]),
    ];
    let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for _ in 0..rounds {
        for (name, address, requests) in &rows {
            let taken = measure(&proxy, address, requests.clone(), Until::Time(seconds));
            figures.entry(name).or_default().push(taken);
        }
        let fresh: Vec<_> = issuer_thread.mint(FRESH_TOKENS).iter().map(|it| bearer(it)).collect();
        let taken = measure(&proxy, &proxy.address, fresh, Until::Used);
        figures.entry("token never seen").or_default().push(taken);
    }
    println!(
        "{:<20} {:>12} {:>12} {:>10} {:>10} {:>10}",
        "", "µs CPU best", "median", "p50 µs", "p99 µs", "req/s"
    );
    for (name, taken) in &figures {
        let of = |figure: fn(&Figures) -> f64| {
            let mut all: Vec<f64> = taken.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let median = |all: &[f64]| all[all.len() / 2];
        let cpu = of(|it| it.cpu_us);
        println!(
            "{name:<20} {:>12.1} {:>12.1} {:>10.0} {:>10.0} {:>10.0}",
            cpu[0],
            median(&cpu),
            median(&of(|it| it.p50_us)),
            median(&of(|it| it.p99_us)),
            median(&of(|it| it.rate)),
        );
    }
    println!("after load: {} KiB resident", proxy.resident_kib());
    println!("an idle connection: {:.1} KiB", idle_connection_kib(&proxy));
}

/// One round of one row.
struct Figures {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    rate: f64,
}

/// How long a round is.
#[derive(Clone, Copy)]
enum Until {
    /// The requests again and again for so long.
    Time(Duration),
    /// Each request once.
    Used,
}

fn measure(proxy: &Served, address: &str, requests: Vec<String>, until: Until) -> Figures {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (cpu, started) = (proxy.cpu(), Instant::now());
    let mut latencies = runtime.block_on(load(address.to_owned(), requests, until));
    let (cpu, took) = (proxy.cpu() - cpu, started.elapsed());
    latencies.sort_unstable();
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_secs_f64() * 1e6;
    let count = latencies.len() as f64;
    Figures {
        cpu_us: cpu.as_secs_f64() * 1e6 / count,
        p50_us: at(50),
        p99_us: at(99),
        rate: count / took.as_secs_f64(),
    }
}

async fn load(address: String, requests: Vec<String>, until: Until) -> Vec<Duration> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (address, requests) = (address.clone(), Arc::clone(&requests));
        let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
            socket.set_nodelay(true).expect("an option");
            let (mut taken, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
            while !stop.load(Ordering::Relaxed) {
                let place = next.fetch_add(1, Ordering::Relaxed) as usize;
                if matches!(until, Until::Used) && place >= requests.len() {
                    break;
                }
                let started = Instant::now();
                let request = requests[place % requests.len()].as_bytes();
                socket.write_all(request).await.expect("the proxy reads");
                answer(&mut socket, &mut buffer).await;
                taken.push(started.elapsed());
            }
            taken
        }));
    }
    if let Until::Time(span) = until {
        tokio::time::sleep(span).await;
        stop.store(true, Ordering::Relaxed);
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("no panic"));
    }
    all
}

/// Reads one answer with a `Content-Length`.
async fn answer(socket: &mut tokio::net::TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = socket.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(read > 0, "closed in the middle of an answer");
        filled += read;
        let text = &buffer[..filled];
        let Some(head) = text.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let lower = String::from_utf8_lossy(&text[..head]).to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").trim().parse().expect("a number");
        if filled >= head + 4 + length {
            return;
        }
    }
}

/// A backend that answers each head with the same 48 bytes; a thread a connection.
fn backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_all(socket));
        }
    });
    address
}

fn answer_all(mut socket: TcpStream) {
    socket.set_nodelay(true).expect("an option");
    let (mut buffer, mut filled) = (vec![0; 64 * 1024], 0);
    loop {
        match socket.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if socket.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

/// The development issuer, on a thread and a runtime of its own.
struct IssuerThread {
    publishable_key: String,
    token: String,
    wanted: tokio::sync::mpsc::UnboundedSender<usize>,
    minted: std::sync::mpsc::Receiver<Vec<String>>,
}

impl IssuerThread {
    fn start() -> Self {
        let (wanted, mut counts) = tokio::sync::mpsc::unbounded_channel::<usize>();
        let (send, minted) = std::sync::mpsc::channel();
        let (ready, started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let issuer = Issuer::start(Clock::System).expect("an issuer");
                let lives = json!({ "exp": Clock::System.now().as_secs() + 3600 });
                let first = (issuer.publishable_key(), issuer.mint(lives.clone()));
                ready.send(first).expect("a reader");
                while let Some(count) = counts.recv().await {
                    let tokens: Vec<_> = (0..count).map(|_| issuer.mint(lives.clone())).collect();
                    send.send(tokens).expect("a reader");
                }
            });
        });
        let (publishable_key, token) = started.recv().expect("an issuer");
        Self { publishable_key, token, wanted, minted }
    }

    fn mint(&self, count: usize) -> Vec<String> {
        self.wanted.send(count).expect("an issuer");
        self.minted.recv().expect("tokens")
    }
}

/// `countersign serve` as a process of its own; ends with this value.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(publishable_key: &str, backend: &str) -> Self {
        let free =
            || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let (address, admin) = (free().to_string(), free().to_string());
        let process = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--listen", &address, "--admin-listen", &admin, "--public", "/public"])
            .args(["--upstream", &format!("http://{backend}"), "--workers", "1"])
            .env("CLERK_PUBLISHABLE_KEY", publishable_key)
            .env("COUNTERSIGN_SIGNING_SECRET", "0123456789abcdef0123456789abcdef")
            .env("COUNTERSIGN_LOG_ACCESS", "false")
            .stderr(Stdio::null())
            .spawn()
            .expect("the proxy starts");
        while !is_ready(&admin) {
            thread::sleep(Duration::from_millis(10));
        }
        Self { process, address }
    }

    fn cpu(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("Linux");
        let after_name = stat.rsplit_once(") ").expect("a name in brackets").1;
        let fields: Vec<&str> = after_name.split(' ').collect();
        let ticks: u64 =
            fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux
    }

    fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn is_ready(admin: &str) -> bool {
    let Ok(mut socket) = TcpStream::connect(admin) else { return false };
    let mut answer = String::new();
    let request = "GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).is_ok()
        && socket.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// What a thousand connections cost that were served once and are kept alive.
fn idle_connection_kib(proxy: &Served) -> f64 {
    const COUNT: usize = 1000;
    let before = proxy.resident_kib();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut kept = Vec::new();
        for _ in 0..COUNT {
            let mut socket =
                tokio::net::TcpStream::connect(&proxy.address).await.expect("a connection");
            let request = "GET /public HTTP/1.1\r\nhost: a\r\n\r\n";
            socket.write_all(request.as_bytes()).await.expect("the proxy reads");
            answer(&mut socket, &mut vec![0; 4096]).await;
            kept.push(socket);
        }
        (proxy.resident_kib() - before) as f64 / COUNT as f64
    })
}
