//! One file a command, or a folder.

pub mod check;
pub mod demo;
pub mod explain;
pub mod init;
pub mod keygen;
pub mod serve;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::StartError;
use crate::child::{ChildError, Ended};
use crate::config::ConfigError;
use crate::init::InitError;

/// Verifies Clerk tokens in front of a backend, and tells it in signed headers who is calling.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or SIGINT, then let requests under way finish.
    ///
    /// With a command after `--` the backend is run too: it finds a free port of 127.0.0.1 in PORT,
    /// is ended with SIGTERM after the last request, and its own end ends all, with its status.
    Serve(Box<serve::Args>),
    /// Serve with a development issuer and an echo backend: nothing to set up.
    Demo(demo::Args),
    /// Read the settings, print them as understood, and exit.
    Check(Box<check::Args>),
    /// Say step by step what would become of a token or a request, and what to do about it.
    ///
    /// A request is written as for curl: in one that a browser's developer tools copied, put
    /// `countersign explain --url` in the place of `curl`.
    ///
    /// Ends with 0 where the token is accepted or the request reaches the backend, 1 where it is
    /// refused or sent away, 69 where nobody can tell (the issuer's keys are not to be had, or
    /// Clerk's Backend API decides, which is not asked), 78 for bad settings. Nothing of it goes
    /// anywhere: all that is fetched is the key set of the issuer that the token names. Its claims
    /// are printed, which say who the user is; the token itself, its signature, cookies and secrets
    /// never are.
    Explain(Box<explain::Args>),
    /// Write a settings file for the app in a folder: its Clerk key, its backend's port.
    ///
    /// The key is looked for in .env.local, .env and their like, the port in start commands, the
    /// Compose file, the sources and by the framework; what was found where is told, and how a page
    /// of the front end sends its token. Nothing is run, nobody is asked over the network, and no
    /// secret is copied or printed.
    Init(init::Args),
    /// Make a key to sign requests with.
    Keygen(keygen::Args),
}

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The settings are wrong: a line a mistake.
    Settings(Vec<ConfigError>),
    /// The program could not start.
    Start(StartError),
    /// Requests were still under way when time was up.
    Cut,
    /// The backend is not to be started.
    Child(ChildError),
    /// The backend ended, and nobody had asked it to, or not well.
    Backend(Ended),
    /// Standard output is full or gone.
    Output(io::Error),
    /// What was written cannot be meant.
    Usage(String),
    /// No key was made.
    Keygen(keygen::KeygenError),
    /// No settings were written.
    Init(InitError),
}

/// Runs a command to its end.
///
/// Ends with 0 where all went well, 1 where the program could not run or not end in peace, 78
/// (`EX_CONFIG`) for bad settings, and as the backend where that ended first.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => return check::run(&args),
        Command::Explain(args) => return explain::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Keygen(args) => {
            keygen::run(&args).map_err(Failure::Keygen).and_then(|made| say(&format!("{made}\n")))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The status for a usage error, as clap has it.
const BAD_USAGE: u8 = 2;
/// The status for bad settings: `EX_CONFIG` of sysexits.h.
const BAD_SETTINGS: u8 = 78;

impl Failure {
    /// Says what went wrong, to standard error, and returns the status.
    fn report(&self) -> ExitCode {
        match self {
            Self::Settings(mistakes) => {
                for mistake in mistakes {
                    complain(&mistake.to_string());
                }
                ExitCode::from(BAD_SETTINGS)
            }
            Self::Start(error) => failed(&error.to_string()),
            Self::Child(error) => failed(&error.to_string()),
            Self::Backend(ended) => {
                complain(&format!("the backend ended {ended}"));
                ExitCode::from(ended.status())
            }
            Self::Output(error) => failed(&format!("nothing could be printed: {error}")),
            Self::Keygen(error) => failed(&error.to_string()),
            Self::Init(error) => {
                for line in error.to_string().lines() {
                    complain(line);
                }
                ExitCode::FAILURE
            }
            Self::Usage(problem) => {
                complain(problem);
                ExitCode::from(BAD_USAGE)
            }
            Self::Cut => failed("requests were cut off: they took longer than drain.grace"),
        }
    }
}

fn failed(sentence: &str) -> ExitCode {
    complain(sentence);
    ExitCode::FAILURE
}

/// Writes a sentence to standard error. Where that is gone, the status says what it can.
fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "countersign: {sentence}");
}

/// Writes what a command was asked for to standard output.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}
