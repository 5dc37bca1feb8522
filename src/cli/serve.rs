//! `countersign serve`: the proxy, until it is told to end.

use std::io;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::Failure;
use crate::app::{App, StartError};
use crate::clock::Clock;
use crate::config::{self, Flags, Loaded, Settings, Sources, Warning};
use crate::proxy::{Drained, Threads};
use crate::telemetry::{sink::Sink, trace};

/// The settings.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
///
/// [`Failure`], by what kept it from serving, or from ending in peace.
pub fn run(args: &Args) -> Result<(), Failure> {
    let sources = Sources::of_this_process(args.flags.clone());
    let Loaded { settings, warnings, .. } = config::load(&sources).map_err(Failure::Settings)?;
    let sink = log_of(&settings)?;
    tell(&warnings);
    let runtime = control_runtime().map_err(failed)?;
    let served = runtime.block_on(async {
        // Before anything is served, so that no signal is missed.
        let mut stop = Stop::listen().map_err(failed)?;
        let app = App::start(settings, Clock::System, sink.clone(), Threads::Own).await;
        let app = app.map_err(Failure::Start)?;
        stop.asked().await;
        drain(app, &mut stop).await
    });
    sink.flush();
    served
}

/// Starts the log and makes it the place for the process's own events.
pub(super) fn log_of(settings: &Settings) -> Result<Sink, Failure> {
    let sink = Sink::start(io::stderr()).map_err(failed)?;
    let subscriber = trace::subscriber(&settings.log, sink.clone());
    // Fails where there is one already, as in a test that runs two commands: that one stays.
    drop(tracing::subscriber::set_global_default(subscriber));
    Ok(sink)
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
