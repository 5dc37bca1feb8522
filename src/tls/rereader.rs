//! The files of one side of TLS, read again and again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{self, Digest, SHA256};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::pem::Validity;
use super::{Authorities, BadPair, BadTls, PairFiles, authorities, pair};
use crate::clock::Clock;
use crate::telemetry::metrics::CertificateMetrics;
use crate::watched::{self, Watched};

/// One side of TLS: which files it reads, and what it makes of them.
pub trait Side {
    /// What a handshake needs.
    type Config;

    /// Names the files.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads them all.
    ///
    /// # Errors
    ///
    /// [`BadTls`] where one cannot be read, or they do not fit each other.
    fn read(&self, reading: &mut Reading) -> Result<Self::Config, BadTls>;
}

/// What is found out while files are read.
pub struct Reading {
    contents: digest::Context,
    certificate: Option<(PathBuf, Validity)>,
    ignored: Vec<(PathBuf, usize)>,
}

impl Reading {
    pub(super) fn pair(&mut self, files: &PairFiles) -> Result<CertifiedKey, BadTls> {
        let (certificate, key) = (self.file(&files.certificate)?, self.file(&files.key)?);
        let pair = pair(&certificate, &key).map_err(|bad| {
            let file = match bad {
                BadPair::Certificate(_) => &files.certificate,
                BadPair::Key(_) | BadPair::Apart => &files.key,
            };
            BadTls::File { file: file.clone(), problem: bad.to_string() }
        })?;
        self.certificate = Validity::of(&pair).map(|it| (files.certificate.clone(), it));
        Ok(pair)
    }

    pub(super) fn authorities(&mut self, file: &Path) -> Result<rustls::RootCertStore, BadTls> {
        let read = authorities(&self.file(file)?);
        let Authorities { roots, ignored } =
            read.map_err(|bad| BadTls::File { file: file.to_owned(), problem: bad.to_string() })?;
        if ignored > 0 {
            self.ignored.push((file.to_owned(), ignored));
        }
        Ok(roots)
    }

    fn new() -> Self {
        let contents = digest::Context::new(&SHA256);
        Self { contents, certificate: None, ignored: Vec::new() }
    }

    fn file(&mut self, file: &Path) -> Result<Zeroizing<Vec<u8>>, BadTls> {
        let read = watched::read(file).map(Zeroizing::new).map_err(|error| BadTls::File {
            file: file.to_owned(),
            problem: format!("cannot be read: {error}"),
        })?;
        self.contents.update(&read.len().to_le_bytes());
        self.contents.update(&read);
        Ok(read)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Reading")
    }
}

/// The newest snapshot of what handshakes of one side go by.
pub type Configs<S> = watch::Receiver<Arc<<S as Side>::Config>>;

/// Reads the files of one side again when they change.
#[derive(Debug)]
pub struct Rereader<S: Side> {
    side: S,
    publish: watch::Sender<Arc<S::Config>>,
    clock: Clock,
    metrics: CertificateMetrics,
    /// The contents that are in use.
    contents: Vec<u8>,
    /// What was told of the files last, so that each mistake is told once.
    told: Option<String>,
}

impl<S: Side> Rereader<S> {
    /// Reads the files for the first time: handshakes go by the first, a task runs the second.
    ///
    /// # Errors
    ///
    /// As [`Side::read`].
    pub(super) fn start(
        side: S,
        clock: Clock,
        metrics: CertificateMetrics,
    ) -> Result<(Configs<S>, Self), BadTls> {
        let mut reading = Reading::new();
        let config = side.read(&mut reading)?;
        let (publish, configs) = watch::channel(Arc::new(config));
        let mut rereader = Self { side, publish, clock, metrics, contents: Vec::new(), told: None };
        rereader.uses(reading);
        Ok((configs, rereader))
    }

    /// Watches the files and publishes what follows from them, until nobody asks any more.
    ///
    /// What cannot be used changes nothing: the last good files stay in use.
    pub async fn run(mut self) {
        let mut files: Vec<_> = self.side.files().into_iter().map(Watched::new).collect();
        loop {
            tokio::select! {
                () = watched::any_changed(&mut files) => self.reread(),
                () = self.publish.closed() => return,
            }
        }
    }

    fn reread(&mut self) {
        let mut reading = Reading::new();
        match self.side.read(&mut reading) {
            Ok(_) if digest_of(&reading).as_ref() == self.contents => self.told = None,
            Ok(config) => {
                self.publish.send_replace(Arc::new(config));
                info!(files = %shown(&self.side.files()), "TLS: new handshakes go by the new files");
                self.uses(reading);
            }
            Err(problem) => {
                let problem = problem.to_string();
                if self.told.as_ref() != Some(&problem) {
                    warn!(problem, "the last good files stay in use");
                    self.told = Some(problem);
                }
            }
        }
    }

    /// Notes and tells what is in use from now on.
    fn uses(&mut self, reading: Reading) {
        self.contents = digest_of(&reading).as_ref().to_vec();
        self.told = None;
        for (file, ignored) in reading.ignored {
            warn!(file = %file.display(), ignored, "TLS: certificates of no use as an authority's");
        }
        let Some((file, Validity { from, to })) = reading.certificate else { return };
        self.metrics.expires(to);
        let now = self.clock.now();
        if now > to {
            warn!(file = %file.display(), since = %to.rfc3339(), "TLS: the certificate has expired");
        } else if now < from {
            warn!(file = %file.display(), until = %from.rfc3339(), "TLS: the certificate is not good yet");
        }
    }
}

fn digest_of(reading: &Reading) -> Digest {
    reading.contents.clone().finish()
}

fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
