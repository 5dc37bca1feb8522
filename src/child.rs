//! The backend as a child of ours: its port, its life, and how it ends.
//!
//! The child leads a process group of its own. What reaches ours from a terminal (Ctrl-C) does so
//! without ending the backend under the requests that are under way; and what it has started
//! itself ends with it. Whatever ends below us is waited for, also what is nobody's child but ours
//! by now: as the first process of a container there is nobody else to do it.

use std::ffi::OsString;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;
use tokio::task::{self, JoinHandle};
use tokio::time::{self, Instant};
use tracing::{info, warn};

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The command is not to be had, or not to be run.
    #[error("cannot start the backend `{command}`: {problem}")]
    Start {
        /// Its first word.
        command: String,
        /// What the system says.
        problem: io::Error,
    },
    /// No port is free.
    #[error("no port is free for the backend: {0}")]
    Port(io::Error),
    /// Signals cannot be listened for.
    #[error("cannot look after the backend: {0}")]
    System(#[from] io::Error),
}

/// A free port, kept for a child.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Bound, so that nobody else takes it; it does not listen.
    kept: Socket,
}

/// The ports to choose from: below those that systems give to connections (Linux from 32768, macOS
/// from 49152), one of which could take the port before the child does.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_768;

/// How many ports are tried: more than so many are not taken by chance.
const TRIES: usize = 100;

impl Port {
    /// Chooses a port that is free on every address, and none of `others`.
    ///
    /// # Errors
    ///
    /// Where none is to be had.
    ///
    /// # Panics
    ///
    /// Where the system has no random bytes.
    pub fn choose(others: &[u16]) -> Result<Self, ChildError> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            let mut random = [0; 2];
            aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
            let number = FIRST_PORT + u16::from_ne_bytes(random) % PORTS;
            if others.contains(&number) {
                continue;
            }
            match keep(number) {
                Ok(kept) => return Ok(Self { number, kept }),
                Err(problem) => last = problem,
            }
        }
        Err(ChildError::Port(last))
    }

    /// Returns the port.
    pub fn number(&self) -> u16 {
        self.number
    }
}

fn keep(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket)
}

/// A backend that may not listen yet.
#[derive(Clone, Debug)]
pub struct Awaited(watch::Receiver<bool>);

/// Time between two attempts to reach a child that does not listen yet.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// How long a child may take before somebody should look.
const LONG: Duration = Duration::from_secs(15);

impl Awaited {
    /// Sets up the wait for a child on this port of 127.0.0.1: a task runs the second, which ends
    /// once it listens.
    pub fn at(port: u16) -> (Self, impl Future<Output = ()> + use<>) {
        let (publish, listens) = watch::channel(false);
        (Self(listens), async move {
            until_it_listens(port).await;
            publish.send_replace(true);
            // Kept for whoever waits: a channel that is closed says nothing.
            publish.closed().await;
        })
    }

    /// Tells whether it has been seen to listen.
    pub fn is_there(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it listens.
    pub async fn there(&self) {
        // Nobody tries any more where the process ends; whoever waits then finds out by itself.
        let _ = self.0.clone().wait_for(|listens| *listens).await;
    }
}

async fn until_it_listens(port: u16) {
    let since = Instant::now();
    let mut is_told = false;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        if !is_told && since.elapsed() >= LONG {
            warn!(
                port,
                "the backend does not listen on 127.0.0.1 yet: does it take its port from PORT?"
            );
            is_told = true;
        }
        time::sleep(TRY_EVERY).await;
    }
    info!(port, "the backend listens");
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// By itself, with this status.
    Status(u8),
    /// By this signal.
    Signal(u8),
}

impl Ended {
    fn of(status: WaitStatus) -> Self {
        let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => Self::Status(byte(status)),
            (None, signal) => Self::Signal(byte(signal.unwrap_or(0))),
        }
    }

    /// Returns the status as a shell has it: 128 and the signal, where it was one.
    pub fn status(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }

    /// Tells whether it ended well, for one that was sent SIGTERM: by that, or as a shell or a
    /// runtime says so, or with 0.
    pub fn is_as_asked(self) -> bool {
        self.status() == 0 || i32::from(self.status()) == 128 + Signal::TERM.as_raw()
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(out, "with status {status}"),
            Self::Signal(signal) => write!(out, "by signal {signal}"),
        }
    }
}

/// How far a child and its process group are.
#[derive(Clone, Copy, Debug)]
enum Life {
    Runs,
    /// It has ended; something that it started has not.
    Ended(Ended),
    /// Nothing is left of its group, whose number may be another's by now.
    Gone(Ended),
}

impl Life {
    fn ended(self) -> Option<Ended> {
        match self {
            Self::Runs => None,
            Self::Ended(ended) | Self::Gone(ended) => Some(ended),
        }
    }
}

/// The backend's process. Dropped before it was stopped, it is killed.
#[derive(Debug)]
pub struct Child {
    group: Group,
    life: watch::Receiver<Life>,
    attendant: JoinHandle<()>,
}

/// Signals that are for the backend where they come to us.
const FORWARDED: [(SignalKind, Signal); 5] = [
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
    (SignalKind::window_change(), Signal::WINCH),
];

/// How long what was killed may take to be gone.
const LAST: Duration = Duration::from_secs(1);

impl Child {
    /// Starts `command`, its port in `PORT` and the rest of our environment as it is.
    ///
    /// Its output is ours; so is its input, but for a terminal, which only those in the foreground
    /// can read. Runs on a local runtime, and takes charge of all children of the process.
    ///
    /// # Errors
    ///
    /// [`ChildError`], where it does not run.
    pub fn start(command: &[OsString], port: Port) -> Result<Self, ChildError> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let children = unix::signal(SignalKind::child())?;
        adopt_orphans();
        let input = if io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() };
        let mut command = Command::new(program);
        command.args(arguments).env("PORT", port.number.to_string());
        command.process_group(0).stdin(input);
        drop(port.kept);
        let child = command.spawn().map_err(|problem| ChildError::Start {
            command: program.to_string_lossy().into_owned(),
            problem,
        })?;
        // Only now: what was ignored when we were started (`nohup`) is ignored by the child too.
        let listen = |(kind, signal): (SignalKind, Signal)| {
            unix::signal(kind).ok().map(|received| (received, signal))
        };
        let forwarded = FORWARDED.into_iter().filter_map(listen).collect();
        let group = Group(Pid::from_child(&child));
        let (publish, life) = watch::channel(Life::Runs);
        info!(pid = child.id(), port = port.number, "the backend was started");
        let attendant = task::spawn_local(attend(group, children, forwarded, publish));
        Ok(Self { group, life, attendant })
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> Ended {
        Self::known(self.life.wait_for(|life| life.ended().is_some()).await.map(|life| *life))
    }

    /// Ends it, and what it has started in its group: with SIGTERM, and with SIGKILL what is still
    /// there after `within`, or once there is a `hurry`.
    pub async fn stop(mut self, within: Duration, hurry: impl Future<Output = ()>) -> Ended {
        if self.life.borrow().ended().is_none() {
            self.group.send(Signal::TERM);
            self.group.send(Signal::CONT); // who is stopped hears nothing
        }
        tokio::select! {
            ended = self.gone() => return ended,
            () = time::sleep(within) => warn!("the backend did not end in time, and is killed"),
            () = hurry => {}
        }
        self.kill();
        time::timeout(LAST, self.gone()).await.unwrap_or(Ended::Signal(KILLED))
    }

    async fn gone(&mut self) -> Ended {
        let is_gone = |life: &Life| matches!(life, Life::Gone(_));
        Self::known(self.life.wait_for(is_gone).await.map(|life| *life))
    }

    fn known<E>(life: Result<Life, E>) -> Ended {
        life.ok().and_then(Life::ended).unwrap_or(Ended::Signal(KILLED))
    }

    fn kill(&self) {
        if !matches!(*self.life.borrow(), Life::Gone(_)) {
            self.group.send(Signal::KILL);
        }
    }
}

/// SIGKILL, of which nothing survives, whoever has seen it end.
const KILLED: u8 = 9;

impl Drop for Child {
    fn drop(&mut self) {
        self.attendant.abort();
        self.kill();
    }
}

/// A process group, by its leader.
#[derive(Clone, Copy, Debug)]
struct Group(Pid);

impl Group {
    fn send(self, signal: Signal) {
        // Gone already, or another user's: either way there is nothing to do about it.
        let _ = process::kill_process_group(self.0, signal);
    }

    fn is_gone(self) -> bool {
        process::test_kill_process_group(self.0).is_err()
    }
}

/// Time between two looks at what a child has left behind, where no signal tells.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks after the child: hands it signals, waits for it and for whatever else is ours to wait for,
/// and asks what it leaves behind to end.
async fn attend(
    group: Group,
    mut children: unix::Signal,
    mut forwarded: Vec<(unix::Signal, Signal)>,
    publish: watch::Sender<Life>,
) {
    let ended = loop {
        if let Some(ended) = reap(group.0) {
            break ended;
        }
        tokio::select! {
            _ = children.recv() => {}
            signal = next(&mut forwarded) => {
                info!(signal = signal.as_raw(), "signal handed to the backend");
                // To the child alone: a server tells those that it started itself.
                let _ = process::kill_process(group.0, signal);
            }
        }
    };
    info!(%ended, "the backend ended");
    publish.send_replace(Life::Ended(ended));
    group.send(Signal::TERM);
    while !group.is_gone() {
        tokio::select! {
            _ = children.recv() => {}
            () = time::sleep(LOOK_EVERY) => {}
        }
        reap(group.0);
    }
    publish.send_replace(Life::Gone(ended));
}

/// Waits for the next of these signals.
async fn next(signals: &mut [(unix::Signal, Signal)]) -> Signal {
    poll_fn(|context| {
        let mut came = signals.iter_mut().filter_map(|(received, signal)| {
            received.poll_recv(context).is_ready().then_some(*signal)
        });
        came.next().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Takes note of every process below us that has ended, and returns how the child did, if it has.
fn reap(child: Pid) -> Option<Ended> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = process::wait(WaitOptions::NOHANG) {
        if pid == child {
            ended = Some(Ended::of(status));
        }
    }
    ended
}

/// Waits, as the first process, for whatever ends below it and is nobody's child: what somebody ran
/// inside the container and left behind. Does nothing where we are not the first.
pub async fn wait_for_orphans() {
    let Ok(mut children) = unix::signal(SignalKind::child()) else { return };
    while std::process::id() == 1 {
        while let Ok(Some(_)) = process::wait(WaitOptions::NOHANG) {}
        children.recv().await;
    }
}

/// Has what loses its parent below us become our child, as it does below the first process: so it
/// can be seen when all of them are gone. Where the system has no such thing, its own first
/// process waits for them.
fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(problem) = process::set_child_subreaper(Some(process::getpid())) {
        tracing::debug!(%problem, "orphans go elsewhere");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_kept_without_listening_until_the_child_has_it() {
        let port = Port::choose(&[]).unwrap();
        let address = (Ipv4Addr::LOCALHOST, port.number());
        assert!(TcpListener::bind(address).is_err(), "kept");
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
        drop(port);
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn the_ports_are_below_those_of_connections_and_none_of_the_others() {
        assert_eq!(u32::from(FIRST_PORT) + u32::from(PORTS), 32_768);
        let all: Vec<_> = (FIRST_PORT..FIRST_PORT + PORTS).collect();
        let [free, others @ ..] = &*all else { panic!("there are some") };
        assert!(Port::choose(&all).is_err());
        assert!(Port::choose(others).map_or(true, |port| port.number() == *free));
    }

    #[tokio::test]
    async fn a_child_is_awaited_until_it_listens() {
        let port = Port::choose(&[]).unwrap();
        let (awaited, tries) = Awaited::at(port.number());
        let tries = tokio::spawn(tries);
        time::sleep(TRY_EVERY * 2).await;
        assert!(!awaited.is_there());

        let number = port.number();
        drop(port);
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();

        time::timeout(Duration::from_secs(10), awaited.there()).await.unwrap();
        assert!(awaited.is_there());
        tries.abort();
    }

    #[test]
    fn a_child_that_was_asked_to_end_may_say_so_in_three_ways() {
        for (ended, status, as_asked) in [
            (Ended::Status(0), 0, true),
            (Ended::Status(3), 3, false),
            (Ended::Signal(15), 143, true),
            (Ended::Status(143), 143, true),
            (Ended::Signal(9), 137, false),
            (Ended::Signal(255), 255, false),
        ] {
            assert_eq!((ended.status(), ended.is_as_asked()), (status, as_asked), "{ended:?}");
        }
    }
}
