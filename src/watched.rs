//! A file or a directory that is looked at again and again.
//!
//! Looked at, not notified of: what Kubernetes mounts changes by a symlink that is swapped behind
//! the path, and notifications are lost on overlays, network mounts and mounted single files. A
//! look costs a few system calls.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::future::{self, Future};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use tokio::time;

/// Time between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A file or directory under watch.
///
/// A change is found by what the system says of a file (identity, size, times), and counts once
/// nothing has changed any more for one look: who writes a file in pieces is let finish. One that
/// is slower still may be found half written. What cannot be read then is kept as it was: the end
/// of the writing is a change too.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    /// What was there at the last look; nothing before the first.
    seen: Option<Looks>,
}

/// How a path looks from outside.
#[derive(Debug, Eq, PartialEq)]
enum Looks {
    Absent,
    File(Stamp),
    /// The files in it, by name.
    Directory(Vec<(OsString, Option<Stamp>)>),
}

/// What changes when a file does, also when another takes its place.
#[derive(Debug, Eq, PartialEq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    /// Watches `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the path still looks as at the end of the last call of [`changed`](Self::changed):
    /// what was read of it in between is whole.
    pub fn is_settled(&self) -> bool {
        self.seen.as_ref() == Some(&Looks::of(&self.path))
    }

    /// Waits until the path looks other than at the last call, and has for one look; the first
    /// call returns at once.
    ///
    /// Of a directory, the files in it count, each by its name and through links.
    pub async fn changed(&mut self) {
        let mut last = Looks::of(&self.path);
        while self.seen.is_some() {
            time::sleep(LOOK_EVERY).await;
            let now = Looks::of(&self.path);
            let is_settled = now == last;
            last = now;
            if is_settled && self.seen.as_ref() != Some(&last) {
                break;
            }
        }
        self.seen = Some(last);
    }
}

/// Waits until one of several files has [changed](Watched::changed).
pub async fn any_changed(files: &mut [Watched]) {
    // Whoever else has changed meanwhile is found at the next call: only a change that was told
    // is forgotten.
    let mut changes: Vec<_> = files.iter_mut().map(|file| Box::pin(file.changed())).collect();
    future::poll_fn(|context| {
        let changed = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
        if changed { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The most that is read of a file: no setting, key or certificate is larger.
const MOST: u64 = 1024 * 1024;

/// Reads a whole file, again and again: so nothing that is no file, where reading may never end.
///
/// # Errors
///
/// Where it cannot be read, is no file, or is larger than 1 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    read_once(path)
}

/// Reads whatever is at `path`, once: at the start, where somebody waits for it.
///
/// # Errors
///
/// Where it cannot be read, or is larger than 1 MiB.
pub fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// Names the files in a directory, in order, each with the directory before it; nothing of those
/// below, and none whose name starts with a dot: a mounted Secret has its files behind `..data`,
/// and editors leave dotfiles.
///
/// # Errors
///
/// Where the directory cannot be read.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Looks {
    fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Self::Directory(stamps(path)),
            Ok(found) => Self::File(Stamp::of(&found)),
            Err(_) => Self::Absent,
        }
    }
}

fn stamps(directory: &Path) -> Vec<(OsString, Option<Stamp>)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut stamps: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let stamp = fs::metadata(entry.path()).ok().map(|found| Stamp::of(&found));
            (entry.file_name(), stamp)
        })
        .collect();
    stamps.sort_by(|a, b| a.0.cmp(&b.0));
    stamps
}

impl Stamp {
    fn of(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Tells whether there was a change, without waiting for one to come.
    async fn has_changed(watched: &mut Watched) -> bool {
        time::timeout(LOOK_EVERY * 3, watched.changed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_changes_when_it_is_written_replaced_swapped_or_deleted() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("one")).unwrap();
        fs::create_dir(at("two")).unwrap();
        fs::write(at("one/file"), "one").unwrap();
        fs::write(at("two/file"), "two").unwrap();
        symlink("one", at("..data")).unwrap();
        symlink("..data/file", at("file")).unwrap(); // as Kubernetes mounts it
        let mut watched = Watched::new(at("file"));

        assert!(has_changed(&mut watched).await, "the first look");
        assert!(!has_changed(&mut watched).await, "nothing happened");
        fs::write(at("one/file"), "1").unwrap();
        assert!(has_changed(&mut watched).await, "written");
        symlink("two", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        assert!(has_changed(&mut watched).await, "swapped");
        fs::write(at("new"), "two").unwrap();
        fs::rename(at("new"), at("two/file")).unwrap();
        assert!(has_changed(&mut watched).await, "replaced by one of the same size");
        fs::remove_file(at("two/file")).unwrap();
        assert!(has_changed(&mut watched).await, "deleted");
        assert!(!has_changed(&mut watched).await, "still deleted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_changes_with_the_files_in_it() {
        let home = tempfile::tempdir().unwrap();
        let mut watched = Watched::new(home.path().to_owned());

        assert!(has_changed(&mut watched).await, "the first look");
        fs::write(home.path().join("a"), "a").unwrap();
        assert!(has_changed(&mut watched).await, "a file came");
        fs::write(home.path().join("a"), "ab").unwrap();
        assert!(has_changed(&mut watched).await, "a file was written");
        assert!(!has_changed(&mut watched).await, "nothing happened");
        fs::remove_file(home.path().join("a")).unwrap();
        assert!(has_changed(&mut watched).await, "a file went");
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_files_each_change_is_told() {
        let home = tempfile::tempdir().unwrap();
        let paths = ["a", "b", "c"].map(|name| home.path().join(name));
        let mut files: Vec<_> = paths.iter().map(|path| Watched::new(path.clone())).collect();
        for _ in &paths {
            any_changed(&mut files).await; // the first look at each
        }
        for path in paths.iter().chain(&paths) {
            let nothing = time::timeout(LOOK_EVERY * 3, any_changed(&mut files)).await;
            assert!(nothing.is_err(), "nothing happened");
            fs::write(path, path.display().to_string()).unwrap();
            let changed = time::timeout(LOOK_EVERY * 3, any_changed(&mut files)).await;
            assert!(changed.is_ok(), "{}", path.display());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_found_within_a_second() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        let mut watched = Watched::new(file.clone());
        watched.changed().await;
        fs::write(&file, "a").unwrap();
        let started = time::Instant::now();
        watched.changed().await;
        assert!(started.elapsed() <= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_in_pieces_has_changed_once_that_is_over() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        let mut watched = Watched::new(file.clone());
        watched.changed().await;
        let mut text = String::new();
        let changed = watched.changed();
        let mut changed = std::pin::pin!(changed);
        for piece in 0..6 {
            text.push_str("piece\n");
            fs::write(&file, &text).unwrap();
            let found = time::timeout(LOOK_EVERY * 3 / 4, changed.as_mut()).await.is_ok();
            assert!(!found, "in piece {piece}");
        }
        changed.await;
    }

    #[test]
    fn what_is_no_file_is_not_read_again_and_again() {
        let home = tempfile::tempdir().unwrap();
        let fifo = home.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&fifo).unwrap_err().to_string(), "it is no file");
        assert!(read(home.path()).is_err());
    }
}
