//! The list of the revoked, as it stands in a file that changes.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::core::clerk::revoked::Revoked;
use crate::watched::{self, Watched};

/// Reads the list again and again.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    publish: watch::Sender<Arc<Revoked>>,
}

/// Sets up the list: those who ask get the first, a task runs the second, if there is a file.
pub fn revoked(path: Option<PathBuf>) -> (watch::Receiver<Arc<Revoked>>, Option<Reader>) {
    let first = path.as_deref().and_then(|path| read(path).ok()).unwrap_or_default();
    let (publish, list) = watch::channel(Arc::new(first));
    (list, path.map(|path| Reader { path, publish }))
}

impl Reader {
    /// Reads the file whenever it changes, until nobody asks any more.
    ///
    /// A list that cannot be read, or is gone, stays as it was: whoever takes a file away did not
    /// say that everybody may come back.
    pub async fn run(self) {
        let mut watched = Watched::new(self.path.clone());
        loop {
            tokio::select! {
                () = watched.changed() => self.reread(),
                () = self.publish.closed() => return,
            }
        }
    }

    fn reread(&self) {
        match read(&self.path) {
            Ok(list) if list != **self.publish.borrow() => {
                info!(file = %self.path.display(), entries = list.len(), "revoked sessions and users");
                self.publish.send_replace(Arc::new(list));
            }
            Ok(_) => {}
            Err(problem) => {
                warn!(file = %self.path.display(), problem, "the list of the revoked stays as it was");
            }
        }
    }
}

fn read(path: &std::path::Path) -> Result<Revoked, String> {
    let bytes = watched::read(path).map_err(|error| error.to_string())?;
    // What is no UTF-8 costs its own line alone: a remark in another encoding revokes nobody less.
    let (list, bad) = Revoked::parse(&String::from_utf8_lossy(&bytes));
    for line in bad {
        warn!(file = %path.display(), %line, "the list of the revoked");
    }
    Ok(list)
}
