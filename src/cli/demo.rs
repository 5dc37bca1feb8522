//! `countersign demo`: the whole thing in one process, with nothing to set up.
//!
//! A development issuer shaped like Clerk, an echo backend, the proxy between them. For one's own
//! machine: loopback only, with fresh keys at each start.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use super::serve::{Stop, control_runtime, drain, failed, log_of, tell};
use super::{Failure, say};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{self, Disk, Flags, Loaded, Sources};
use crate::core::origin::Scheme;
use crate::dev::echo::Echo;
use crate::dev::issuer::Issuer;
use crate::dev::verifier::Verifier;
use crate::listen::ListenAddress;
use crate::proxy::Threads;

/// How to show it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A backend of yours in the echo's place: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    /// [default: an echo backend that verifies the signature]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// TOML file with further settings; what the demo sets itself wins over it
    /// [default: no file]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one line of JSON with the addresses, a token and the signing secret instead
    #[arg(long)]
    pub json: bool,
}

/// The origin the demo's tokens are given to.
const PARTY: &str = "http://localhost:3000";
/// Where the demo's own pages are, whatever the port: a browser is sent back to no other host.
const OWN: &str = "http://127.0.0.1";
/// A path that needs no token.
const PUBLIC: &str = "/public/**";
/// Tells the backend until when the token is good, which its page counts down to.
const EXPIRES: &str = "x-clerk-expires-at=/exp";
/// How long the demo's token lives, in seconds: an hour, where Clerk's live a minute.
const TOKEN_LIVES: i64 = 3600;

/// Serves the demo until SIGTERM or SIGINT.
///
/// # Errors
///
/// [`Failure`], as for `serve`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let runtime = control_runtime().map_err(failed)?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<(), Failure> {
    let mut stop = Stop::listen().map_err(failed)?;
    let issuer = Issuer::start(Clock::System).map_err(failed)?;
    let secret = fresh_secret();
    let verifier = Verifier::hmac(secret.as_bytes());
    let echo = Echo::start_beside(verifier, Clock::System, &issuer.origin()).map_err(failed)?;
    let upstream = args.upstream.clone().unwrap_or_else(|| echo.url());

    let Loaded { settings, warnings, .. } =
        config::load(&sources(args, &issuer, upstream, &secret)).map_err(Failure::Settings)?;
    let scheme = if settings.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let (sink, _) = log_of(&settings)?;
    tell(&warnings);
    let app = App::start(settings, Clock::System, sink.clone(), Threads::Own).await;
    let app = app.map_err(Failure::Start)?;
    app.usable().await;
    sink.flush();
    let shown = Shown {
        issuer: &issuer,
        secret: &secret,
        proxy: url(scheme, &app.listening[0]),
        admin: url(Scheme::Http, &app.admin),
    };
    say(&if args.json { format!("{}\n", shown.json()) } else { shown.lines() })?;
    stop.asked().await;
    let ended = drain(app, &mut stop).await;
    sink.flush();
    ended
}

/// The settings of the demo, written as an operator would. The environment has no say.
fn sources(args: &Args, issuer: &Issuer, upstream: String, secret: &str) -> Sources<'static> {
    let any_port = || "127.0.0.1:0".to_owned();
    // What the backend is told is the file's to say, where there is one.
    let claims = if args.config.is_some() { Vec::new() } else { vec![EXPIRES.to_owned()] };
    let flags = Flags {
        config: args.config.clone(),
        listen: vec![any_port()],
        admin_listen: Some(any_port()),
        upstream: Some(upstream),
        publishable_key: Some(issuer.publishable_key()),
        authorized_party: [PARTY, OWN].map(str::to_owned).to_vec(),
        public: vec![PUBLIC.to_owned()],
        claim: claims,
        ..Flags::default()
    };
    let environment = [
        ("COUNTERSIGN_SIGNING_SECRET", secret.to_owned()),
        ("CLERK_SECRET_KEY", issuer.secret_key()),
        ("CLERK_API_URL", issuer.origin()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    Sources { flags, environment, files: &Disk, ..Sources::of_this_process(Flags::default()) }
}

/// 32 random bytes, in hex.
fn fresh_secret() -> String {
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).expect("the system has random bytes");
    let mut secret = String::new();
    for byte in random {
        let _ = write!(secret, "{byte:02x}"); // writing to a String does not fail
    }
    secret
}

fn url(scheme: Scheme, address: &ListenAddress) -> String {
    format!("{}://{address}", scheme.as_str())
}

/// What the demo tells about itself.
struct Shown<'a> {
    issuer: &'a Issuer,
    secret: &'a str,
    proxy: String,
    admin: String,
}

impl Shown<'_> {
    fn json(&self) -> serde_json::Value {
        json!({
            "proxy": self.proxy,
            "admin": self.admin,
            "issuer": self.issuer.origin(),
            "jwks_url": self.issuer.jwks_url(),
            "mint_url": self.issuer.mint_url(),
            "rotate_url": self.issuer.rotate_url(),
            "revoke_url": self.issuer.revoke_url(),
            "sign_in_url": self.issuer.sign_in_url(),
            "publishable_key": self.issuer.publishable_key(),
            "secret_key": self.issuer.secret_key(),
            "token": self.token(),
            "signing_secret": self.secret,
        })
    }

    fn token(&self) -> String {
        let now = Clock::System.now().as_secs();
        self.issuer.mint(json!({ "exp": now + TOKEN_LIVES }))
    }

    fn lines(&self) -> String {
        let Self { proxy, admin, issuer, .. } = self;
        let (token, mint, rotate) = (self.token(), issuer.mint_url(), issuer.rotate_url());
        format!(
            r#"
A development issuer, a backend, and the proxy between them. Ctrl-C ends all three.

  proxy   {proxy}
  admin   {admin}
  issuer  {issuer_origin}

Open {proxy} in a browser. It is sent to the issuer to sign in: pick Ada or Alan, and the backend
shows you who is calling. Wait a minute and reload: the session token has expired, a new one comes
without a question. Sign out, and it asks again. {proxy}/public/hello is there for anybody.

The same with curl.

No token: refused, and why.
  curl -i {proxy}/hello

A good token: the backend sees who calls, and that the signature verifies.
  curl -s {proxy}/hello -H 'Authorization: Bearer {token}'

A good token and forged identity headers: they are gone.
  curl -s {proxy}/hello -H "Authorization: Bearer $(curl -s '{mint}')" -H 'X-Clerk-User-Id: root' -H 'X_Clerk_User_Id: root'

Another user, and nobody on a public path.
  curl -s {proxy}/hello -H "Authorization: Bearer $(curl -s '{mint}?sub=user_2')"
  curl -s {proxy}/public/hello

A new key at the issuer: tokens signed with it are good at once (one new key in ten seconds:
strangers who invent key names must not have us fetch all the time).
  curl -s '{rotate}'

What was counted.
  curl -s {admin}/metrics | grep countersign_requests_total

"#,
            issuer_origin = issuer.origin(),
        )
    }
}
