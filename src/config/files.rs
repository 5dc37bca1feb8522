//! The files that settings name.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::watched;

/// What files are read from: the disk, or what a test hands in.
pub trait Files {
    /// Reads a whole file.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

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

#[cfg(test)]
mod tests {
    use super::*;

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
