//! The flags of every command that reads settings.

use std::path::PathBuf;

use clap::Args;

use super::error::Origin;
use super::key::KEYS;
use super::written::{Entries, Entry};

/// The flags. Their values are texts here: a bad one is told together with all other mistakes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// TOML file with the settings; flags and environment win over it
    /// [env: COUNTERSIGN_CONFIG] [default: no file]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where clients connect: IP:PORT or unix:/PATH; repeat for several
    /// [env: COUNTERSIGN_LISTEN, else PORT] [default: 127.0.0.1:4600]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,

    /// The backend: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    /// [env: COUNTERSIGN_UPSTREAM] [required to serve, here or elsewhere; not beside -- CMD]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,

    /// Where health, metrics and status are served: IP:PORT or unix:/PATH
    /// [env: COUNTERSIGN_ADMIN_LISTEN] [default: 127.0.0.1:4601]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,

    /// Whether requests are refused: enforce; report counts them and lets them pass as anonymous
    /// [env: COUNTERSIGN_MODE] [default: enforce]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,

    /// The publishable key of the Clerk instance
    /// [env: CLERK_PUBLISHABLE_KEY, else NEXT_PUBLIC_…, VITE_…, EXPO_PUBLIC_…, GATSBY_…]
    #[arg(long, value_name = "KEY")]
    pub publishable_key: Option<String>,

    /// Where the key set is fetched from; http only from this machine
    /// [env: COUNTERSIGN_CLERK_JWKS_URL] [default: from the publishable key]
    #[arg(long, value_name = "URL")]
    pub jwks_url: Option<String>,

    /// A key set in a file, instead of fetching one
    /// [env: COUNTERSIGN_CLERK_JWKS_FILE] [default: none]
    #[arg(long, value_name = "FILE")]
    pub jwks_file: Option<String>,

    /// An origin that tokens may have been given to (azp); repeat for several
    /// [env: COUNTERSIGN_AUTHORIZED_PARTIES] [default: the origin of public_url]
    #[arg(long, value_name = "ORIGIN")]
    pub authorized_party: Vec<String>,

    /// An audience (aud) one of which tokens must name; repeat for several
    /// [env: COUNTERSIGN_AUDIENCE] [default: none, not looked at]
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Vec<String>,

    /// A path that needs no credential: /a, /a/* or /a/**; repeat for several
    /// [env: COUNTERSIGN_PUBLIC] [default: none]
    #[arg(long, value_name = "PATH")]
    pub public: Vec<String>,

    /// A header that tells the backend the claim at a JSON pointer; repeat for several
    /// [env: COUNTERSIGN_CLAIMS] [default: none]
    #[arg(long, value_name = "HEADER=POINTER")]
    pub claim: Vec<String>,

    /// How many threads handle requests, 1 to 256
    /// [env: COUNTERSIGN_WORKERS] [default: the CPUs there are, at most 2]
    #[arg(long, value_name = "NUMBER")]
    pub workers: Option<String>,

    /// How much is logged: error, warn, info, debug, trace or off
    /// [env: COUNTERSIGN_LOG] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Flags {
    /// Returns the keys that flags speak of, and what they say.
    pub(super) fn entries(&self) -> Entries {
        let given = |(name, texts): (&'static str, &[String])| {
            let key = KEYS.iter().find(|key| key.flag == Some(name))?;
            let entry = Entry::new(texts.to_vec(), &Origin::Flag(name));
            (!texts.is_empty()).then_some((key.name, entry))
        };
        self.values().into_iter().filter_map(given).collect()
    }

    fn values(&self) -> [(&'static str, &[String]); 13] {
        [
            ("--listen", &self.listen),
            ("--upstream", self.upstream.as_slice()),
            ("--admin-listen", self.admin_listen.as_slice()),
            ("--mode", self.mode.as_slice()),
            ("--publishable-key", self.publishable_key.as_slice()),
            ("--jwks-url", self.jwks_url.as_slice()),
            ("--jwks-file", self.jwks_file.as_slice()),
            ("--authorized-party", &self.authorized_party),
            ("--audience", &self.audience),
            ("--public", &self.public),
            ("--claim", &self.claim),
            ("--workers", self.workers.as_slice()),
            ("--log-level", self.log_level.as_slice()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, CommandFactory, FromArgMatches, Parser};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    fn command() -> Command {
        Program::command()
    }

    #[test]
    fn every_flag_of_the_table_of_keys_is_one() {
        for key in KEYS.iter().filter(|key| key.flag.is_some()) {
            let flag = key.flag.unwrap();
            let line = ["countersign", flag, "x"];
            let flags = Program::from_arg_matches(&command().get_matches_from(line)).unwrap().flags;
            assert_eq!(flags.entries().keys().collect::<Vec<_>>(), [&key.name], "{flag}");
        }
        let flags = KEYS.iter().filter(|key| key.flag.is_some()).count();
        assert_eq!(Flags::default().values().len(), flags);
    }

    #[test]
    fn the_help_of_a_flag_names_its_variable_and_its_default() {
        for argument in command().get_arguments().filter(|argument| argument.get_id() != "help") {
            let Some(flag) = argument.get_long() else { continue };
            let help = argument.get_help().unwrap().to_string();
            let flag = format!("--{flag}");
            let Some(key) = KEYS.iter().find(|key| key.flag == Some(&*flag)) else { continue };
            assert!(key.variables().any(|name| help.contains(&name)), "{flag}: {help}");
            assert!(key.default.is_none_or(|text| help.contains(text)), "{flag}: {help}");
        }
    }
}
