//! `countersign explain`: what would become of a token or a request, and why.

mod print;
mod print_request;
mod request;

use std::io::{self, BufRead, IsTerminal, Read};
use std::process::ExitCode;

use prometheus::Registry;
use tokio::task;

pub use self::request::RequestFlags;
use super::serve::{control_runtime, failed};
use super::{Failure, complain, say};
use crate::app::StartError;
use crate::clock::Clock;
use crate::config::{self, Flags, IssuerSettings, Sources, TokenSettings};
use crate::core::explain::{
    self, Answer, Asked, KeysFound, Pasted, Question, Report, RequestQuestion, RequestReport,
};
use crate::core::issuer::IssuerPolicy;
use crate::core::jwk::KeyId;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;
use crate::http_client::{HttpClient, HttpClientSettings};
use crate::keys::{self, KeySource};
use crate::revoked;
use crate::telemetry::metrics::Metrics;

/// A token or a request, and the settings it is held against.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The token; as an argument it shows in the list of processes, and stays in the shell's history
    /// [default: standard input]
    // Several words, so that a `Bearer` in front is none that is not expected, and told of.
    #[arg(value_name = "TOKEN", conflicts_with = "request")]
    pub token: Vec<String>,
    /// Print one line of JSON instead
    #[arg(long)]
    pub json: bool,
    /// The request.
    #[command(flatten)]
    pub request: RequestFlags,
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// The status where nobody can tell: `EX_UNAVAILABLE` of sysexits.h.
const NO_KEYS: u8 = 69;
/// The most that is read from standard input, in bytes: more than any token has.
const LONGEST_INPUT: u64 = 1024 * 1024;
/// How often a first key set is waited for, two seconds each: a fetch ends within five, and one by
/// discovery is two.
const PATIENCE: usize = 6;

/// Says what would become of a token or a request.
///
/// Ends with 0 where it is accepted or reaches the backend, 1 where it is refused or sent away, 69
/// where nobody can tell, 78 for bad settings.
pub fn run(args: &Args) -> ExitCode {
    match answer(args) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

fn answer(args: &Args) -> Result<ExitCode, Failure> {
    let sources = Sources::of_this_process(args.flags.clone());
    let settings = config::load_for_tokens(&sources).map_err(Failure::Settings)?;
    if args.request.is_given() {
        return answer_request(args, &settings);
    }
    let text = match &*args.token {
        [] => read("a token").map_err(failed)?,
        words => words.join(" "),
    };
    let runtime = control_runtime().map_err(failed)?;
    let report = runtime.block_on(report(&text, &settings, &Clock::System));
    let report = report.map_err(Failure::Start)?;
    say(&if args.json { print::json(&report) } else { print::text(&report) })?;
    Ok(status(&report))
}

fn status(report: &Report) -> ExitCode {
    match &report.verdict {
        Ok(_) => ExitCode::SUCCESS,
        Err(Reject::KeysUnavailable) => ExitCode::from(NO_KEYS),
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer_request(args: &Args, settings: &TokenSettings) -> Result<ExitCode, Failure> {
    let written = args.request.written(|what| read(what).map_err(failed))?;
    let asked = Asked::parse(&written, settings.browsers.as_ref());
    let asked = asked.map_err(|problem| Failure::Usage(problem.to_string()))?;
    let runtime = control_runtime().map_err(failed)?;
    let report = runtime.block_on(report_of_request(&asked, settings, &Clock::System));
    let report = report.map_err(Failure::Start)?;
    let text = if args.json { print_request::json(&report) } else { print_request::text(&report) };
    say(&text)?;
    Ok(match &report.answer {
        _ if report.is_open() => ExitCode::from(NO_KEYS),
        Answer::Backend { .. } => ExitCode::SUCCESS,
        Answer::Refused(_) | Answer::Asks(_) => ExitCode::FAILURE,
    })
}

/// Reads what was asked for: from a terminal one line, else all there is.
fn read(what: &str) -> io::Result<String> {
    let mut input = io::stdin().lock().take(LONGEST_INPUT);
    let mut bytes = Vec::new();
    if io::stdin().is_terminal() {
        complain(&format!(
            "paste {what} and press Enter (pipe what is longer than 4,000 characters: a terminal cuts it)"
        ));
        input.read_until(b'\n', &mut bytes)?;
    } else {
        input.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Fetches the keys of the issuer that the token names, and has the token explained. It goes
/// nowhere: a fetch is the same whatever token asks for it.
///
/// # Errors
///
/// [`StartError`] where nothing can be fetched with.
async fn report(text: &str, settings: &TokenSettings, clock: &Clock) -> Result<Report, StartError> {
    let pasted = Pasted::read(text);
    let now = clock.now();
    let issuers: Vec<IssuerPolicy> = settings.issuers.iter().map(|it| it.policy.clone()).collect();
    let keys = match explain::wanted(&pasted, settings.longest, &issuers) {
        Some((place, kid)) => {
            let issuer = &settings.issuers[place];
            Some(keys_of(issuer, &settings.http_client, kid.as_ref(), clock, now).await?)
        }
        None => None,
    };
    let (revoked, _) = revoked::revoked(settings.revoked.clone());
    let revoked = revoked.borrow().clone();
    let question = Question {
        now,
        longest: settings.longest,
        issuers: &issuers,
        keys: keys.as_ref(),
        revoked: &revoked,
        identity: &settings.identity,
        routes: &settings.routes,
    };
    Ok(explain::explain(&pasted, &question))
}

/// Has a request explained, with the keys of the issuer that its token names.
///
/// # Errors
///
/// [`StartError`] where nothing can be fetched with.
async fn report_of_request(
    asked: &Asked,
    settings: &TokenSettings,
    clock: &Clock,
) -> Result<RequestReport, StartError> {
    let now = clock.now();
    let issuers: Vec<IssuerPolicy> = settings.issuers.iter().map(|it| it.policy.clone()).collect();
    let (revoked, _) = revoked::revoked(settings.revoked.clone());
    let revoked = revoked.borrow().clone();
    let explained = |keys: Option<&KeysFound>| {
        let tokens = Question {
            now,
            longest: settings.longest,
            issuers: &issuers,
            keys,
            revoked: &revoked,
            identity: &settings.identity,
            routes: &settings.routes,
        };
        let question = RequestQuestion {
            tokens,
            browsers: settings.browsers.as_ref(),
            scheme: settings.scheme,
            paths: settings.paths,
            preflight: settings.preflight,
            trusted: !settings.trusted_proxies.0.is_empty(),
            longest_handshake: settings.longest_handshake,
        };
        explain::explain_request(asked, &question)
    };
    let report = explained(None);
    let Some((place, kid)) = &report.wanted else { return Ok(report) };
    let issuer = &settings.issuers[*place];
    let keys = keys_of(issuer, &settings.http_client, kid.as_ref(), clock, now).await?;
    Ok(explained(Some(&keys)))
}

/// Has an issuer's keys fetched as the proxy does, and waits until that has ended.
async fn keys_of(
    issuer: &IssuerSettings,
    client: &HttpClientSettings,
    kid: Option<&KeyId>,
    clock: &Clock,
    now: UnixTime,
) -> Result<KeysFound, StartError> {
    let metrics = Metrics::register(Registry::new())?.of_issuer(&issuer.keys.issuer);
    let client = HttpClient::new(client)?;
    let (keys, refresher) = keys::keys(issuer.keys.clone(), None, client, clock.clone(), metrics);
    let refreshing = task::spawn_local(refresher.run());
    let mut found = keys.find(kid, now).await;
    for _ in 1..PATIENCE {
        if keys.snapshot().fetches > 0 {
            break;
        }
        found = keys.find(kid, now).await;
    }
    refreshing.abort();
    let held = keys.snapshot();
    Ok(KeysFound {
        found: found.map(|found| found.held.set.clone()),
        set: held.set.clone(),
        source: source(&issuer.keys.source),
        fetched: held.last_success,
        problem: held.last_error.clone(),
    })
}

/// Says where keys come from.
fn source(source: &KeySource) -> String {
    match source {
        KeySource::Url(url) => url.to_string(),
        KeySource::Discovery(url) => format!("what {url} discovers"),
        KeySource::File(path) => path.display().to_string(),
        KeySource::Pem(_) => "clerk.jwt_key".to_owned(),
    }
}
