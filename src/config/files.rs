//! The files that settings name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::watched;

/// What files are read from: the disk, or what a test hands in.
pub trait Files {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Reads a whole file in which settings themselves stand, or a secret or certificates that are
    /// part of them: one that no other room watches, so that a change of it is a change of them.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    fn read_settings(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path)
    }

    /// Names the files in a directory, in order, each with the directory before it; nothing of
    /// those below, and none whose name starts with a dot.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Tells whether every user of the machine can read a file.
    fn is_open_to_all(&self, path: &Path) -> bool;
}

/// The disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        watched::read_once(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        watched::files(dir)
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    }
}

/// The disk, when settings are read again: what is no file was read once, and is not waited for.
#[derive(Clone, Copy, Debug)]
pub struct DiskAgain;

impl Files for DiskAgain {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        watched::read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        Disk.is_open_to_all(path)
    }
}

/// Files, with a note of what was read of them.
pub struct Noted<'a> {
    files: &'a dyn Files,
    contents: RefCell<Contents>,
}

/// What was read, file by file.
#[derive(Clone, Debug, Default)]
pub struct Contents(BTreeMap<PathBuf, Content>);

#[derive(Clone, Debug)]
struct Content {
    /// A digest, so that no secret is kept; nothing where it could not be read.
    digest: Option<Vec<u8>>,
    /// Whether no other room watches the file.
    is_ours: bool,
}

impl fmt::Debug for Noted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Noted")
    }
}

impl<'a> Noted<'a> {
    /// Notes what is read of `files` from now on.
    pub fn new(files: &'a dyn Files) -> Self {
        Self { files, contents: RefCell::default() }
    }

    /// Returns what was read.
    pub fn contents(self) -> Contents {
        self.contents.into_inner()
    }

    fn note(&self, path: &Path, read: &io::Result<Vec<u8>>, is_ours: bool) {
        let content = Content { digest: digest_of(read), is_ours };
        self.contents.borrow_mut().0.insert(path.to_owned(), content);
    }
}

impl Files for Noted<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.files.read(path);
        self.note(path, &read, false);
        read
    }

    fn read_settings(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.files.read_settings(path);
        self.note(path, &read, true);
        read
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.list(dir)
    }

    fn is_open_to_all(&self, path: &Path) -> bool {
        self.files.is_open_to_all(path)
    }
}

impl Contents {
    /// Names the files that can change: what exists and is none (a pipe) was read once.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.0
            .keys()
            .filter(|path| fs::metadata(path).is_ok_and(|it| it.is_file()) || !path.exists())
            .cloned()
    }

    /// Lets go of the files that other rooms watch. Settings that were a mistake may be one for
    /// what stands there, and then nobody else looks at it.
    pub fn forget_watched_elsewhere(&mut self) {
        self.0.retain(|_, content| content.is_ours);
    }

    /// Tells whether a file still says what it said.
    pub fn are_still(&self, path: &Path) -> bool {
        let now = digest_of(&watched::read(path));
        self.0.get(path).is_some_and(|content| content.digest == now)
    }
}

fn digest_of(read: &io::Result<Vec<u8>>) -> Option<Vec<u8>> {
    read.as_ref().ok().map(|bytes| digest(&SHA256, bytes).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_noted_and_a_file_that_says_the_same_has_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, others, missing] = ["a.toml", "tls.crt", "none"].map(|it| dir.path().join(it));
        fs::write(&ours, "a").unwrap();
        fs::write(&others, "b").unwrap();
        let noted = Noted::new(&Disk);
        assert_eq!(noted.read_settings(&ours).unwrap(), b"a");
        assert_eq!(noted.read(&others).unwrap(), b"b");
        assert!(noted.read_settings(&missing).is_err());

        let mut contents = noted.contents();
        let files: Vec<_> = contents.files().collect();
        assert_eq!(files, [ours.clone(), missing.clone(), others]);
        contents.forget_watched_elsewhere();
        assert_eq!(contents.files().collect::<Vec<_>>(), [ours.clone(), missing.clone()]);
        assert!(contents.are_still(&ours) && contents.are_still(&missing));
        fs::write(&ours, "a").unwrap();
        assert!(contents.are_still(&ours), "the same again");
        for path in [&ours, &missing] {
            fs::write(path, "c").unwrap();
            assert!(!contents.are_still(path), "{}", path.display());
        }
    }

    #[test]
    fn a_directory_has_files_and_a_file_has_a_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "it").unwrap();
        fs::create_dir(dir.path().join("..data")).unwrap();
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Disk.is_open_to_all(&path), open, "{mode:o}");
        }
        assert_eq!(Disk.list(dir.path()).unwrap(), [path.as_path()]);
        assert_eq!(Disk.read(&path).unwrap(), b"it");
        assert!(Disk.list(&path).is_err());
    }
}
