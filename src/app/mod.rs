//! Builds every part once, in order; binds; runs; drains. And again what follows from settings,
//! when there are others.

mod fixed;
mod in_force;
mod reload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{io, mem};

use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::{self, JoinHandle};
use tracing::{info, warn};

use self::in_force::InForce;
pub use self::reload::{Load, Reloader};
use crate::admin::{Admin, Told};
use crate::child::Awaited;
use crate::clerk_api::BadSecretKey;
use crate::clock::Clock;
use crate::config::Settings;
use crate::descriptors;
use crate::exposure::Exposure;
use crate::http_client::BadClient;
use crate::listen::{ListenAddress, Listener};
use crate::proxy::{Drained, Proxy, ProxySettings, Room, Threads, UpstreamAddress};
use crate::signing::BadSigning;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;
use crate::tls::BadTls;

/// Why the program could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, or not this machine's.
    #[error("cannot listen on {address}: {problem}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// What the system says.
        problem: io::Error,
    },
    /// What keys are fetched with could not be set up.
    #[error("cannot fetch keys: {0}")]
    Client(#[from] BadClient),
    /// The key to Clerk's Backend API is none.
    #[error(transparent)]
    SecretKey(#[from] BadSecretKey),
    /// There is nothing to sign with.
    #[error(transparent)]
    Signing(#[from] BadSigning),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] BadTls),
    /// A thread could not be had.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// Two metrics of one name: a bug.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The program, serving.
#[derive(Debug)]
pub struct App {
    proxy: Proxy,
    /// Where clients connect.
    pub listening: Vec<ListenAddress>,
    /// Where the admin listener is.
    pub admin: ListenAddress,
    house: House,
    in_force: Box<InForce>,
    /// What the admin listener tells of the settings in force.
    told: watch::Sender<Arc<Told>>,
    lookout: Lookout,
    tasks: Tasks,
}

/// What there is once a process, whatever the settings become.
#[derive(Debug)]
struct House {
    metrics: Metrics,
    clock: Clock,
    sink: Sink,
    /// The addresses that clients reach over TCP.
    over_tcp: Vec<String>,
    /// A backend that is a child of ours.
    awaited: Option<Awaited>,
    leaving: Arc<AtomicBool>,
}

/// What runs beside the workers and does not end by itself; ends with its holder.
#[derive(Debug, Default)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl App {
    /// Starts to serve. Runs on a local runtime, which also carries what runs beside the workers:
    /// keys, the admin listener, accepting.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Everything that was opened before is closed again.
    pub async fn start(
        settings: Settings,
        clock: Clock,
        sink: Sink,
        threads: Threads,
    ) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        for address in &settings.proxy.listen {
            listeners.push(bind(address, settings.proxy.listen_mode).await?);
        }
        let admin_listener = bind(&settings.admin.listen, settings.proxy.listen_mode).await?;
        let listening: Vec<_> = listeners.iter().map(|it| it.address().clone()).collect();
        let admin = admin_listener.address().clone();

        let mut tasks = Tasks::default();
        let house = House {
            metrics: Metrics::register(Registry::new())?,
            clock,
            sink,
            over_tcp: tcp(&listening).collect(),
            awaited: awaited(&settings.proxy.upstream, &mut tasks),
            leaving: Arc::default(),
        };
        let in_force = InForce::new(settings, None, &house)?;
        let (told, watched) = watch::channel(Arc::new(in_force.told()));
        let answers = Admin {
            told: watched,
            awaited: house.awaited.clone(),
            metrics: house.metrics.clone(),
            clock: house.clock.clone(),
            leaving: Arc::clone(&house.leaving),
        };
        tasks.0.push(task::spawn_local(answers.run(admin_listener)));
        let settings = &in_force.settings;
        let room = room(&settings.proxy);
        let (addresses, tls) = (shown(&listening), settings.tls.is_some());
        info!(listen = addresses, tls, admin = %admin, upstream = in_force.upstream(), "serving");
        let proxy = Proxy::start(in_force.parts(&house), listeners, room, threads)?;
        house.metrics.reloads.succeeded(house.clock.now());
        in_force.say_how_long_keys_serve(&house.metrics);
        let lookout = Lookout::default();
        let mut app = Self { proxy, listening, admin, house, in_force, told, lookout, tasks };
        app.look_out();
        Ok(app)
    }

    /// Puts other settings in force, and names those that wait for a restart.
    ///
    /// Requests that begin from now on go by them, also on connections that are there; those under
    /// way end by the ones they began with. What new settings leave as it was is kept: an issuer's
    /// keys are not fetched again. The keys of an issuer that is new are waited for, for a while,
    /// so that nobody is refused because of the change.
    ///
    /// # Errors
    ///
    /// [`StartError`] where something cannot be made of them; everything then stays as it was.
    pub async fn reload(
        &mut self,
        mut settings: Settings,
    ) -> Result<Vec<&'static str>, StartError> {
        let waiting = fixed::keep(&mut settings, &self.in_force.settings);
        let next = InForce::new(settings, Some(&self.in_force), &self.house)?;
        next.has_keys(&self.in_force, &self.house.clock).await;

        self.proxy.replace(next.parts(&self.house));
        self.told.send_replace(Arc::new(next.told()));
        let before = mem::replace(&mut self.in_force, next);
        for issuer in before.without(&self.in_force) {
            self.house.metrics.forget_issuer(issuer);
        }
        self.in_force.say_how_long_keys_serve(&self.house.metrics);
        self.look_out();
        Ok(waiting)
    }

    /// Waits until the first issuer has usable keys.
    pub async fn usable(&self) {
        self.in_force.issuers[0].keys.usable(&self.house.clock).await;
    }

    /// Returns how long requests under way have to finish, once the process is to end.
    pub fn grace(&self) -> Duration {
        self.in_force.settings.proxy.drain.grace
    }

    /// Ends: readiness goes first, then nothing new is taken, then what is under way ends.
    pub async fn drain(self) -> Drained {
        info!("draining");
        let drained = self.proxy.drain().await;
        info!(?drained, "drained");
        drop((self.told, self.in_force, self.lookout, self.tasks));
        drained
    }

    /// Looks after the port of a backend on loopback, where it is another one than before.
    fn look_out(&mut self) {
        let port = self.in_force.settings.proxy.upstream.loopback_port();
        if port != self.lookout.port {
            let own = self.listening.iter().chain([&self.admin]).filter_map(ListenAddress::tcp);
            self.lookout = Lookout::at(port, own.collect(), &self.house);
        }
    }
}

/// Who sees whether the backend can be reached past us.
#[derive(Debug, Default)]
struct Lookout {
    /// The port that is looked after; nothing where the backend is not on loopback.
    port: Option<u16>,
    _task: Tasks,
}

impl Lookout {
    fn at(port: Option<u16>, own: Vec<SocketAddr>, house: &House) -> Self {
        house.metrics.forget_exposure();
        let exposure =
            port.and_then(|port| Exposure::of(port, own, || house.metrics.of_exposure()));
        let task = exposure.map(|exposure| {
            let awaited = house.awaited.clone();
            task::spawn_local(async move {
                if let Some(awaited) = awaited {
                    awaited.there().await;
                }
                exposure.run().await;
            })
        });
        Self { port, _task: Tasks(task.into_iter().collect()) }
    }
}

/// Sets up the wait for a backend that is a child of ours.
fn awaited(upstream: &UpstreamAddress, tasks: &mut Tasks) -> Option<Awaited> {
    match upstream {
        UpstreamAddress::Child { port } => {
            let (awaited, tries) = Awaited::at(*port);
            tasks.0.push(task::spawn_local(tries));
            Some(awaited)
        }
        UpstreamAddress::Tcp { .. } | UpstreamAddress::Unix(_) => None,
    }
}

async fn bind(address: &ListenAddress, mode: u32) -> Result<Listener, StartError> {
    Listener::bind(address, mode)
        .await
        .map_err(|problem| StartError::Listen { address: address.clone(), problem })
}

/// The addresses that clients reach over TCP.
fn tcp(addresses: &[ListenAddress]) -> impl Iterator<Item = String> {
    let is_tcp = |address: &&ListenAddress| matches!(address, ListenAddress::Tcp(_));
    addresses.iter().filter(is_tcp).map(ToString::to_string)
}

fn shown(addresses: &[ListenAddress]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How many connections there is room for.
fn room(settings: &ProxySettings) -> Room {
    let descriptors = descriptors::limit();
    let room = Room::new(&settings.limits, settings.workers, descriptors);
    if let (Some(written), Some(most)) = (settings.limits.connections, room.cut_to) {
        warn!(
            descriptors,
            "limits.connections is {written}, and the limit of open files leaves room for {most}"
        );
    }
    room
}
