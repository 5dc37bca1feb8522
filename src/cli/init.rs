//! `countersign init`: writes a settings file for the app in a folder.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Failure, say};
use crate::config::{Flags, Sources};
use crate::init::{Draft, Folder, Given, InitError};

/// Which app, and where to put the file.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The app's folder; the folders in it are looked at too
    #[arg(default_value = ".", value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The settings file to write [default: countersign.toml in the app's folder]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The publishable key of the Clerk instance
    /// [default: the one of .env.local, .env and the like, else of the environment]
    #[arg(long, value_name = "KEY")]
    pub publishable_key: Option<String>,
    /// The backend: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    /// [default: what start command, PORT, Compose file, sources or the framework say]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Write over a file that is there
    #[arg(long, conflicts_with = "stdout")]
    pub force: bool,
    /// Print the settings instead of writing them; what was found goes to standard error
    #[arg(long)]
    pub stdout: bool,
}

/// Writes the settings and says what they were made from.
///
/// # Errors
///
/// Where nothing says which Clerk instance the app is of, what was given is no setting, or the file
/// is there already or cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    let unreadable = |problem| InitError::Folder { path: args.folder.clone(), problem };
    let folder = Folder::read(&args.folder).map_err(unreadable).map_err(Failure::Init)?;
    let environment = Sources::of_this_process(Flags::default()).environment;
    let given =
        Given { publishable_key: args.publishable_key.clone(), upstream: args.upstream.clone() };
    let draft = Draft::of(&folder, &environment, &given).map_err(Failure::Init)?;
    let file = args.config.clone().unwrap_or_else(|| in_folder(&args.folder));
    let settings = draft.settings(&file).map_err(Failure::Init)?;
    let report = draft.report(&shell_word(&file), &settings.warnings);
    if args.stdout {
        say(&settings.text)?;
        // Where standard error is gone, the settings are there all the same.
        let _ = io::stderr().write_all(report.as_bytes());
        return Ok(());
    }
    write(&file, &settings.text, args.force).map_err(Failure::Init)?;
    say(&format!("`{}` is written.\n\n{report}", file.display()))
}

fn in_folder(folder: &Path) -> PathBuf {
    const FILE: &str = "countersign.toml";
    if folder == Path::new(".") { FILE.into() } else { folder.join(FILE) }
}

/// Writes a path as a shell takes it for one word.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,@%".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Writes a file that is not there yet, not as a link either; over one that is only if `force`d.
fn write(path: &Path, settings: &str, force: bool) -> Result<(), InitError> {
    let failed = |problem| InitError::Write { path: path.to_owned(), problem };
    if force {
        return fs::write(path, settings).map_err(failed);
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(settings.as_bytes()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(InitError::Exists(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}
