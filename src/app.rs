//! Builds every part once, in order; binds; runs; drains.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use prometheus::Registry;
use tokio::task::{self, JoinHandle};
use tracing::{info, warn};

use crate::admin::Admin;
use crate::child::Awaited;
use crate::clerk_api::{BadSecretKey, ClerkApi};
use crate::clock::Clock;
use crate::config::{IssuerSettings, Settings};
use crate::core::origin::Scheme;
use crate::descriptors;
use crate::exposure::Exposure;
use crate::http_client::{BadClient, HttpClient};
use crate::keys::{self, Keys};
use crate::listen::{ListenAddress, Listener};
use crate::proxy::{Drained, Issuer, Parts, Proxy, ProxySettings, Room, Threads, UpstreamAddress};
use crate::revoked;
use crate::signing::{self, BadSigning};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;
use crate::tls::{self, BadTls};

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
    /// The keys of each issuer.
    pub keys: Vec<Keys>,
    leaving: Arc<AtomicBool>,
    tasks: Tasks,
}

/// What runs beside the workers; ends with the program.
#[derive(Debug)]
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
        let fingerprint = fingerprint(&settings);
        let Settings {
            proxy: settings,
            issuers: issuer_settings,
            revoked,
            tls,
            upstream_tls,
            clerk_api,
            http_client,
            signing,
            admin,
            readiness,
            log,
        } = settings;
        let metrics = Metrics::register(Registry::new())?;
        let log = AccessLog::new(&log, sink);
        let (revoked, reader) = revoked::revoked(revoked);
        let (signers, rereader) =
            signing::signers(signing, settings.identity.clone(), clock.clone())?;

        let mut listeners = Vec::new();
        for address in &settings.listen {
            listeners.push(bind(address, settings.listen_mode).await?);
        }
        let admin_listener = bind(&admin.listen, settings.listen_mode).await?;
        let listening: Vec<_> = listeners.iter().map(|it| it.address().clone()).collect();
        let admin_address = admin_listener.address().clone();

        let mut tasks = Tasks(Vec::new());
        let of_certificate = metrics.of_certificate(tls.iter().flat_map(|_| tcp(&listening)));
        let tls =
            tls.map(|tls| tls::with_clients(tls, clock.clone(), of_certificate)).transpose()?;
        let tls = tls.map(|(configs, rereader)| {
            tasks.0.push(task::spawn_local(rereader.run()));
            configs
        });
        let upstream_tls =
            upstream_tls.map(|tls| tls::to_backend(tls, clock.clone())).transpose()?;
        let upstream_tls = upstream_tls.map(|(backend, rereader)| {
            tasks.0.push(task::spawn_local(rereader.run()));
            backend
        });

        let client = HttpClient::new(&http_client)?;
        let clerk_api =
            clerk_api.map(|api| ClerkApi::new(&api, client.clone(), metrics.of_clerk_api()));
        let clerk_api = clerk_api.transpose()?;
        let issuers = issuer_settings.into_iter().map(|IssuerSettings { policy, keys }| {
            let key_metrics = metrics.of_issuer(&keys.issuer);
            let (keys, refresher) = keys::keys(keys, client.clone(), clock.clone(), key_metrics);
            tasks.0.push(task::spawn_local(refresher.run()));
            Issuer { policy, keys }
        });
        let issuers: Vec<_> = issuers.collect();
        let keys: Vec<_> = issuers.iter().map(|issuer| issuer.keys.clone()).collect();
        let awaited = match settings.upstream {
            UpstreamAddress::Child { port } => {
                let (awaited, tries) = Awaited::at(port);
                tasks.0.push(task::spawn_local(tries));
                Some(awaited)
            }
            UpstreamAddress::Tcp { .. } | UpstreamAddress::Unix(_) => None,
        };
        let leaving = Arc::new(AtomicBool::new(false));
        let told = Admin {
            status: admin.status,
            readiness,
            keys: keys.clone(),
            awaited: awaited.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            signers: signers.clone(),
            fingerprint,
            leaving: Arc::clone(&leaving),
        };
        tasks.0.push(task::spawn_local(told.run(admin_listener)));
        tasks.0.extend(rereader.map(|rereader| task::spawn_local(rereader.run())));
        tasks.0.extend(reader.map(|reader| task::spawn_local(reader.run())));
        if let Some(port) = settings.upstream.loopback_port() {
            let own = listening.iter().chain([&admin_address]).filter_map(ListenAddress::tcp);
            let exposure = Exposure::of(port, own.collect(), || metrics.of_exposure())?;
            let awaited = awaited.clone();
            let run = async |exposure: Exposure| {
                if let Some(awaited) = awaited {
                    awaited.there().await;
                }
                exposure.run().await;
            };
            tasks.0.extend(exposure.map(|exposure| task::spawn_local(run(exposure))));
        }
        let room = room(&settings);
        let (addresses, admin) = (shown(&listening), admin_address.to_string());
        let scheme = if upstream_tls.is_some() { Scheme::Https } else { Scheme::Http };
        let upstream = settings.upstream.url(settings.upstream_protocol.scheme(scheme));
        info!(listen = addresses, tls = tls.is_some(), admin, upstream, "serving");
        let parts = Parts {
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
            leaving: Arc::clone(&leaving),
        };
        let proxy = Proxy::start(parts, listeners, room, threads)?;
        Ok(Self { proxy, listening, admin: admin_address, keys, leaving, tasks })
    }

    /// Ends: readiness goes first, then nothing new is taken, then what is under way ends.
    pub async fn drain(self) -> Drained {
        info!("draining");
        let drained = self.proxy.drain().await;
        info!(?drained, "drained");
        drop((self.leaving, self.tasks));
        drained
    }
}

async fn bind(address: &ListenAddress, mode: u32) -> Result<Listener, StartError> {
    Listener::bind(address, mode)
        .await
        .map_err(|problem| StartError::Listen { address: address.clone(), problem })
}

/// A fingerprint of the settings: two proxies that show the same one run on the same settings.
/// Secrets show their length alone.
fn fingerprint(settings: &Settings) -> String {
    let mut settings = settings.clone();
    if let UpstreamAddress::Child { port } = &mut settings.proxy.upstream {
        *port = 0; // another one at each start
    }
    let text = format!("{settings:?}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    crate::core::base64url::encode(&digest.as_ref()[..9])
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
