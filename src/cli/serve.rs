//! `countersign serve`: the proxy, until it is told to end.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task;
use tokio::time::Instant;
use tracing::warn;

use super::Failure;
use crate::app::{App, Load, Reloader, StartError};
use crate::child::{self, Child, Port};
use crate::clock::Clock;
use crate::config::{self, Flags, Loaded, Settings, Sources, Warning};
use crate::descriptors::Before;
use crate::proxy::{Drained, Threads, UpstreamAddress};
use crate::telemetry::sink::Sink;
use crate::telemetry::trace::{self, Level};

/// The settings, and the backend where it is ours to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
    /// A backend to run: gets a free port of 127.0.0.1 as PORT, and ends with the proxy
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Serves until SIGTERM or SIGINT, or until the backend that was started here ends; then drains.
///
/// # Errors
///
/// [`Failure`], by what kept it from serving, or from ending in peace.
pub fn run(args: &Args) -> Result<(), Failure> {
    let sources = Sources::of_this_process(args.flags.clone());
    let load: Load = if args.command.is_empty() { config::load } else { config::load_for_child };
    let (loaded, reloader) = Reloader::start(sources, load).map_err(Failure::Settings)?;
    let Loaded { settings, warnings, .. } = loaded;
    let (sink, level) = log_of(&settings)?;
    let reloader = reloader.with_level(level);
    tell(&warnings);
    let descriptors = Before::raise();
    let runtime = control_runtime().map_err(failed)?;
    let served = runtime.block_on(async {
        // Before anything is served, so that no signal is missed.
        let stop = Stop::listen().map_err(failed)?;
        if args.command.is_empty() {
            let hangup = signal(SignalKind::hangup()).map_err(failed)?;
            Box::pin(serve(settings, reloader, hangup, sink.clone(), stop)).await
        } else {
            let command = &args.command;
            let child = serve_child(settings, reloader, command, &descriptors, sink.clone(), stop);
            Box::pin(child).await
        }
    });
    // What still waits for the system, as for a name server that says nothing, has no more to do.
    runtime.shutdown_background();
    sink.flush();
    served
}

async fn serve(
    settings: Settings,
    reloader: Reloader,
    mut hangup: Signal,
    sink: Sink,
    mut stop: Stop,
) -> Result<(), Failure> {
    let app = App::start(settings, Clock::System, sink, Threads::Own).await;
    let mut app = app.map_err(Failure::Start)?;
    let orphans = task::spawn_local(child::wait_for_orphans());
    let told = async || {
        hangup.recv().await;
    };
    tokio::select! {
        () = stop.asked() => {}
        never = reloader.run(&mut app, told) => match never {},
    }
    let drained = drain(app, &mut stop).await;
    orphans.abort();
    drained
}

/// The least time a backend gets to end: what it began after its last request may take some.
const AT_LEAST: Duration = Duration::from_secs(5);

/// Serves with the backend as a child, which is there from before the first request to after the
/// last; what is left of `drain.grace` is for its own end.
async fn serve_child(
    mut settings: Settings,
    reloader: Reloader,
    command: &[OsString],
    descriptors: &Before,
    sink: Sink,
    mut stop: Stop,
) -> Result<(), Failure> {
    let own = settings.proxy.listen.iter().chain([&settings.admin.listen]);
    let own: Vec<u16> = own.filter_map(|it| it.tcp().map(|address| address.port())).collect();
    let port = Port::choose(&own).map_err(Failure::Child)?;
    settings.proxy.upstream = UpstreamAddress::Child { port: port.number() };
    let app = App::start(settings, Clock::System, sink, Threads::Own).await;
    let mut app = app.map_err(Failure::Start)?;
    let child = descriptors.under(|| Child::start(command, port));
    let mut child = child.map_err(Failure::Child)?;

    let mut asked = tokio::select! {
        () = stop.asked() => true,
        _ = child.ended() => false,
        // A SIGHUP is the backend's.
        never = reloader.run(&mut app, async || pending().await) => match never {},
    };
    let grace = app.grace();
    let since = Instant::now();
    let drained = {
        let mut draining = pin!(app.drain());
        loop {
            tokio::select! {
                drained = &mut draining => break drained,
                // The first may come after the end of the backend, where it goes to both of us.
                () = stop.asked() => if asked { break Drained::Cut } else { asked = true },
            }
        }
    };
    let left = grace.saturating_sub(since.elapsed()).max(AT_LEAST);
    let ended = child.stop(left, stop.asked()).await;
    let as_asked = if asked { ended.is_as_asked() } else { ended.status() == 0 };
    if as_asked { in_peace(drained) } else { Err(Failure::Backend(ended)) }
}

/// Starts the log and makes it the place for the process's own events.
pub(super) fn log_of(settings: &Settings) -> Result<(Sink, Level), Failure> {
    let sink = Sink::start(io::stderr()).map_err(failed)?;
    let (subscriber, level) = trace::subscriber(&settings.log, sink.clone());
    // Fails where there is one already, as in a test that runs two commands: that one stays.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok((sink, level))
}

pub(super) fn tell(warnings: &[Warning]) {
    for warning in warnings {
        warn!("{warning}");
    }
}

/// The runtime for all that is not a request: keys, the admin listener, accepting, signals.
pub(super) fn control_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

pub(super) fn failed(error: io::Error) -> Failure {
    Failure::Start(StartError::System(error))
}

/// Lets what is under way finish; a second signal is an order not to wait.
pub(super) async fn drain(app: App, stop: &mut Stop) -> Result<(), Failure> {
    let drained = tokio::select! {
        drained = app.drain() => drained,
        () = stop.asked() => Drained::Cut,
    };
    in_peace(drained)
}

fn in_peace(drained: Drained) -> Result<(), Failure> {
    match drained {
        Drained::Clean => Ok(()),
        Drained::Cut => Err(Failure::Cut),
    }
}

/// The signals that end the program.
#[derive(Debug)]
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
