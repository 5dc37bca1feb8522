//! One request, from its head to the answer.
//!
//! An acceptor hands each connection to one of a few workers. A worker is a thread with a runtime
//! of its own: its connections, its pool to the backend and the tokens it has at hand belong to it
//! alone, so the request path takes no lock.

mod acceptor;
mod activity;
mod alone;
mod authenticate;
mod backend_socket;
mod body;
mod borrowed;
mod broken;
mod browser;
mod client_socket;
mod connection;
mod connector;
mod current;
mod forwarded;
mod gathered;
mod handshake;
mod http1;
mod http2;
mod in_flight;
mod in_step;
mod lifetime;
mod link;
mod lobby;
mod local;
mod making;
mod outbox;
mod own_waker;
mod pipeline;
mod pool;
mod preface;
mod present;
mod reader;
mod record;
mod request_body;
mod respond;
mod response_body;
mod room;
mod seen;
mod sending;
mod settings;
mod snapshot;
mod stage;
mod streams;
mod timers;
mod trunk;
mod tunnel;
mod upstream;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};
use tokio::task;
use tokio::time::{self, Instant};

use self::acceptor::{Acceptor, WorkerEntry};
use self::in_flight::Places;
use self::lobby::Lobby;
use self::respond::Respond;
pub use self::room::Room;
use self::room::UpstreamRoom;
use self::seen::Remembered;
pub use self::settings::{
    Drain, Limits, ProxySettings, Timeouts, TrustedProxies, UpstreamAddress, UpstreamProtocol,
};
use self::stage::{Closing, Stage};
use crate::child::Awaited;
use crate::clerk_api::ClerkApi;
use crate::clock::Clock;
use crate::core::assertion;
pub use crate::core::browser::{BrowserSettings, Cookies};
use crate::core::clerk::revoked::Revoked;
use crate::core::header_name::NamePatterns;
use crate::core::identity::Identity;
use crate::core::issuer::IssuerPolicy;
pub use crate::core::preflight::Preflight;
pub use crate::core::stream::StreamLifetime;
use crate::keys::Keys;
use crate::listen::Listener;
use crate::signing::Signers;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::tls::Backend;

/// What the proxy is built from.
#[derive(Debug)]
pub struct Parts {
    /// Its settings.
    pub settings: ProxySettings,
    /// What signs the identity headers.
    pub signers: watch::Receiver<Arc<Signers>>,
    /// Whose tokens are good no more.
    pub revoked: watch::Receiver<Arc<Revoked>>,
    /// Whose tokens are good. Never empty.
    pub issuers: Vec<Issuer>,
    /// What clients that come over TCP are shown; nothing: they come without TLS.
    pub tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// How the backend is spoken with under TLS; nothing: without.
    pub upstream_tls: Option<Backend>,
    /// Clerk's Backend API; nothing without a secret key.
    pub clerk_api: Option<ClerkApi>,
    /// Where it counts.
    pub metrics: Metrics,
    /// Where each request is a line; nothing where none is wanted.
    pub log: Option<AccessLog>,
    /// The present.
    pub clock: Clock,
    /// A backend that may not listen yet; nothing where it is no child of ours.
    pub awaited: Option<Awaited>,
    /// Set once the process is on its way out: every answer then asks the client to close.
    pub leaving: Arc<AtomicBool>,
}

/// Somebody whose tokens are good.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What they must be and say.
    pub policy: IssuerPolicy,
    /// What they are verified with, and no other issuer's.
    pub keys: Keys,
}

/// Where the workers run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Threads {
    /// Each on a thread of its own.
    Own,
    /// One, on the runtime that calls: for tests, which pause that runtime's clock.
    Here,
}

/// What all workers share. Nothing in it changes but counters and snapshots; other settings come
/// with another one.
struct Shared {
    settings: ProxySettings,
    signers: watch::Receiver<Arc<Signers>>,
    revoked: watch::Receiver<Arc<Revoked>>,
    issuers: Vec<Issuer>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    upstream_tls: Option<Backend>,
    clerk_api: Option<ClerkApi>,
    metrics: Metrics,
    log: Option<AccessLog>,
    clock: Clock,
    awaited: Option<Awaited>,
    anonymous: Arc<Identity>,
    /// Every header that tells a backend who is calling.
    ours: NamePatterns,
    remembered: Remembered,
    respond: Respond,
    routes: RouteMetricsTable,
    /// Nothing where any number of requests may be under way.
    places: Option<Arc<Places>>,
    upstream_room: Arc<UpstreamRoom>,
    leaving: Arc<AtomicBool>,
}

/// The metrics of each route, then those of requests that no rule matched, then of those that
/// never got so far.
#[derive(Debug)]
struct RouteMetricsTable(Vec<RouteMetrics>);

impl Shared {
    fn new(parts: Parts, places: Option<Arc<Places>>, upstream_room: Arc<UpstreamRoom>) -> Self {
        let Parts {
            settings,
            signers,
            revoked,
            issuers,
            tls,
            upstream_tls,
            clerk_api,
            metrics,
            log,
            clock,
            awaited,
            leaving,
        } = parts;
        let names = settings.routes.iter().map(|route| route.name.as_str());
        let routes = names.chain(["default", "none"]).map(|name| metrics.of_route(name)).collect();
        let assertion = assertion::header_after(&settings.strip.prefix);
        let respond =
            Respond { parties: settings.parties.clone(), reveal_reason: settings.reveal_reason };
        Self {
            anonymous: Arc::new(settings.identity.anonymous()),
            ours: settings.identity.names().chain(&assertion).collect(),
            remembered: Remembered::new(),
            routes: RouteMetricsTable(routes),
            places,
            upstream_room,
            leaving,
            respond,
            settings,
            signers,
            revoked,
            issuers,
            tls,
            upstream_tls,
            clerk_api,
            metrics,
            log,
            clock,
            awaited,
        }
    }

    /// Returns where the metrics of the route at this place are.
    fn metrics_place(&self, route: Option<usize>) -> usize {
        route.unwrap_or(self.routes.0.len() - 2)
    }

    /// Returns where those are of a request that never got to a route.
    fn no_metrics_place(&self) -> usize {
        self.routes.0.len() - 1
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Shared")
    }
}

/// A proxy that serves.
#[derive(Debug)]
pub struct Proxy {
    shared: watch::Sender<Arc<Shared>>,
    stage: watch::Sender<Stage>,
    /// Ends when the last connection has.
    connections: mpsc::Receiver<()>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Every request was answered.
    Clean,
    /// Some were still under way when time was up.
    Cut,
}

impl Proxy {
    /// Starts to serve on `listeners`.
    ///
    /// # Errors
    ///
    /// Where a worker's thread cannot be had.
    pub fn start(
        parts: Parts,
        listeners: Vec<Listener>,
        room: Room,
        threads: Threads,
    ) -> io::Result<Self> {
        let count = if threads == Threads::Own { parts.settings.workers } else { 1 };
        let places = Places::of(&parts.settings.limits, None);
        let upstream_room = Arc::new(UpstreamRoom::new(room.upstream));
        parts.metrics.connections_limit.set(i64::try_from(room.clients).unwrap_or(i64::MAX));
        let shared = Shared::new(parts, places, upstream_room);
        let (publish, shared) = watch::channel(Arc::new(shared));
        let (stage, watched) = watch::channel(Stage::Running);
        let (alive, connections) = mpsc::channel(1);
        let workers = (0..count).map(|number| start_worker(number, &shared, &watched, threads));
        let acceptor = Acceptor {
            shared: shared.clone(),
            workers: workers.collect::<io::Result<_>>()?,
            room: room::places(room.clients),
            lobby: Lobby::new(room.waiting),
            alive,
        };
        task::spawn_local(tidy(shared));
        for listener in listeners {
            task::spawn_local(acceptor.clone().run(listener, watched.clone()));
        }
        Ok(Self { shared: publish, stage, connections })
    }

    /// Has requests that begin from now on decided by other parts; those under way end by theirs.
    ///
    /// What cannot change while the proxy lives, it goes on with: where it listens, how many
    /// workers and connections there are, and whether clients come under TLS.
    pub fn replace(&self, parts: Parts) {
        let before = Arc::clone(&self.shared.borrow());
        let places = Places::of(&parts.settings.limits, before.places.as_ref());
        let next = Shared::new(parts, places, Arc::clone(&before.upstream_room));
        self.shared.send_replace(Arc::new(next));
    }

    /// Stops: accepts for `drain.delay` more, asking each client to close; then takes nothing new
    /// and lets what is under way end, for `drain.grace` at most.
    pub async fn drain(mut self) -> Drained {
        let shared = Arc::clone(&self.shared.borrow());
        let drain = shared.settings.drain;
        shared.leaving.store(true, Ordering::Relaxed);
        time::sleep(drain.delay).await;
        self.stage.send_replace(Stage::Closing(Closing::new(Instant::now(), drain.grace)));
        match time::timeout(drain.grace, self.connections.recv()).await {
            Ok(_) => Drained::Clean,
            Err(_) => Drained::Cut,
        }
    }
}

/// How often what is remembered is tidied up and counted.
const TIDY: Duration = Duration::from_secs(5);

/// Lets go of tokens that have expired, without a request to cause it; ends with the proxy.
async fn tidy(shared: watch::Receiver<Arc<Shared>>) {
    while shared.has_changed().is_ok() {
        let newest = Arc::clone(&shared.borrow());
        newest.metrics.cache_entries.set(newest.remembered.tidied() as i64);
        drop(newest);
        time::sleep(TIDY).await;
    }
}

fn start_worker(
    number: usize,
    shared: &watch::Receiver<Arc<Shared>>,
    stage: &watch::Receiver<Stage>,
    threads: Threads,
) -> io::Result<WorkerEntry> {
    let (connections, accepted) = mpsc::unbounded_channel();
    let (shared, stage) = (shared.clone(), stage.clone());
    match threads {
        Threads::Own => worker::spawn(format!("worker-{number}"), shared, accepted, stage)?,
        Threads::Here => drop(task::spawn_local(worker::run(shared, accepted, stage))),
    }
    Ok(WorkerEntry { connections, count: Arc::default() })
}
