//! The cast of every whole-proxy test: [`Proxy`], [`Issuer`], [`Upstream`], each on a port of its
//! own choosing.

pub(crate) mod client;
pub(crate) mod early;
pub(crate) mod key_server;
pub(crate) mod settings;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod wires;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::app::App;
use countersign::clock::Clock;
use countersign::config::Settings;
pub(crate) use countersign::dev::issuer::Issuer;
use countersign::listen::ListenAddress;
use countersign::proxy::{Drained, Threads};
use countersign::telemetry::sink::Sink;
use countersign::telemetry::trace;
use tokio::task::{self, JoinSet};
use tokio::time;

pub(crate) use self::client::{Answer, Client};
pub(crate) use self::settings::settings;
pub(crate) use self::upstream::Upstream;

/// The proxy, whole, on the test's own runtime.
pub(crate) struct Proxy {
    pub(crate) app: App,
    pub(crate) address: String,
    pub(crate) admin: String,
    log: Log,
    sink: Sink,
    /// What the process says on this thread goes to the log too.
    _events: tracing::subscriber::DefaultGuard,
}

/// Everything the proxy wrote.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What has come through `sink` so far.
    fn read(&self, sink: &Sink) -> String {
        sink.flush();
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Proxy {
    /// Starts the proxy and waits until it has keys.
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::start_with(settings, Clock::System).await
    }

    /// Starts the proxy with a clock of the test's and waits until it has keys.
    pub(crate) async fn start_with(settings: Settings, clock: Clock) -> Self {
        let proxy = Self::start_at(settings, clock).await;
        let usable = proxy.app.usable();
        time::timeout(Duration::from_secs(30), usable).await.expect("there are keys");
        proxy
    }

    /// Starts the proxy with a clock of the test's, and waits for nothing.
    pub(crate) async fn start_at(settings: Settings, clock: Clock) -> Self {
        let log = Log::default();
        let sink = Sink::start(log.clone()).unwrap();
        let (events, _) = trace::subscriber(&settings.log, sink.clone());
        let events = tracing::subscriber::set_default(events);
        let app = Box::pin(App::start(settings, clock, sink.clone(), Threads::Here)).await.unwrap();
        let address = shown(&app.listening[0]);
        let admin = shown(&app.admin);
        Self { app, address, admin, log, sink, _events: events }
    }

    /// Every address that clients come to.
    pub(crate) fn listening(&self) -> &[ListenAddress] {
        &self.app.listening
    }

    /// Sends a GET with this bearer token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        Client::to(&self.address).bearer(token).get(path).await
    }

    /// A client of the proxy's.
    pub(crate) fn client(&self) -> Client {
        Client::to(&self.address)
    }

    /// Sends `bytes` as they are, over a connection of its own, and reads what comes back.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        Answer::parse(&client::raw(&self.address, bytes.as_ref()).await)
    }

    /// What the admin listener says at `path`.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Client::to(&self.admin).get(path).await
    }

    /// The value of one line of `/metrics`; 0 where there is none.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let metrics = self.admin("/metrics").await.text();
        let found = metrics.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }

    /// What was logged so far.
    pub(crate) fn logged(&self) -> String {
        self.log.read(&self.sink)
    }

    /// Ends the proxy as SIGTERM does.
    pub(crate) async fn drain(self) -> Drained {
        self.drain_and_tell().await.0
    }

    /// Ends the proxy as SIGTERM does; returns all that it has logged, too.
    pub(crate) async fn drain_and_tell(self) -> (Drained, String) {
        let drained = self.app.drain().await;
        (drained, self.log.read(&self.sink))
    }
}

/// Waits until `so` holds: a moment of the runtime's time, paused or not, between two looks.
pub(crate) async fn until(what: &str, so: impl AsyncFnMut() -> bool) {
    until_every(Duration::from_millis(1), what, so).await;
}

/// Waits until `so` holds, with so much of the runtime's time between two looks; for what takes
/// seconds while the time is paused.
pub(crate) async fn until_every(span: Duration, what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..20_000 {
        if so().await {
            return;
        }
        time::sleep(span).await;
    }
    panic!("never came true: {what}");
}

/// Moves the paused clock by hand. By itself it moves whenever everybody waits for the system, which
/// on a busy machine they do while bytes are on their way.
pub(crate) struct HandMoved {
    _busy: JoinSet<()>,
}

impl HandMoved {
    /// Pauses the clock, and gives the runtime something to do at all times: so it stands still.
    pub(crate) fn pause() -> Self {
        time::pause();
        let mut busy = JoinSet::new();
        busy.spawn_local(async {
            loop {
                task::yield_now().await;
            }
        });
        Self { _busy: busy }
    }

    /// Lets so much time pass, and everybody do what is due then.
    pub(crate) async fn by(&self, span: Duration) {
        time::advance(span).await;
        for _ in 0..500 {
            task::yield_now().await;
        }
    }

    /// Lets seconds pass until `so` holds; returns how many.
    pub(crate) async fn until(&self, what: &str, mut so: impl AsyncFnMut() -> bool) -> u64 {
        for second in 0..10_000 {
            if so().await {
                return second;
            }
            self.by(Duration::from_secs(1)).await;
        }
        panic!("never came true: {what}");
    }
}

fn shown(address: &ListenAddress) -> String {
    address.to_string()
}
