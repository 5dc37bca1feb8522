//! An app's folder, as far as it is looked at.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// Folders with folders of the app in them.
const OF_SEVERAL: [&str; 3] = ["apps", "packages", "services"];

/// Folders with other people's code, or with what was built.
const NOT_OURS: [&str; 6] = ["build", "dist", "node_modules", "target", "vendor", "venv"];

/// The longest file that is read. Nothing of what is looked for stands in one that long.
const LONGEST: u64 = 1024 * 1024;

/// The most folders that are looked at, so that a folder of everything costs no minute.
const MOST: usize = 64;

/// An app: its own folder, then those below it.
#[derive(Debug, Default)]
pub struct Folder {
    pub(super) places: Vec<Place>,
    /// Files that are there and could not be read, each with the reason.
    pub(super) unreadable: Vec<String>,
}

/// One folder: the text of each file that is looked at.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Empty, or as in `web/`. Letters, digits, `.`, `_` and `-` alone: it stands in comments.
    name: String,
    files: BTreeMap<&'static str, String>,
}

impl Folder {
    /// Reads what is looked at of a folder and of those in it. Nothing is run.
    ///
    /// # Errors
    ///
    /// Where `path` is no folder that can be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let mut names = vec![String::new()];
        let below = folders(path)?;
        let (several, own): (Vec<_>, Vec<_>) =
            below.into_iter().partition(|name| OF_SEVERAL.contains(&name.as_str()));
        names.extend(own.into_iter().map(|name| format!("{name}/")));
        for above in several {
            let below = folders(&path.join(&above)).unwrap_or_default();
            names.extend(below.into_iter().map(|name| format!("{above}/{name}/")));
        }
        let files: Vec<_> = super::files().collect();
        for name in names.into_iter().take(MOST) {
            found.read_place(path, name, &files);
        }
        Ok(found)
    }

    fn read_place(&mut self, path: &Path, name: String, files: &[&'static str]) {
        let mut place = Place { name, files: BTreeMap::new() };
        for file in files {
            match text(&path.join(&place.name).join(file)) {
                Ok(Some(text)) => {
                    place.files.insert(file, text);
                }
                Ok(None) => {}
                Err(error) => self.unreadable.push(format!("`{}`: {error}", place.path(file))),
            }
        }
        self.places.push(place);
    }
}

impl Place {
    /// Returns the text of a file, which has to be one of those that are looked at.
    pub(super) fn file(&self, name: &str) -> Option<&str> {
        debug_assert!(super::files().any(|file| file == name), "`{name}` is never read");
        self.files.get(name).map(String::as_str)
    }

    /// Returns the first of some files that is there, with its name.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| Some((*name, self.file(name)?)))
    }

    /// Returns a file's path from the app's folder.
    pub(super) fn path(&self, file: &str) -> String {
        format!("{}{file}", self.name)
    }
}

/// Reads a file; nothing where there is none, or something else (a pipe would be waited for).
fn text(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(None),
        // Also where a folder of the path is a file.
        Err(error) => {
            let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            return if absent.contains(&error.kind()) { Ok(None) } else { Err(error) };
        }
    };
    if metadata.len() > LONGEST {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_start_matches('\u{feff}').to_owned()))
}

/// Names the folders in a folder that may hold a part of the app, in order.
fn folders(path: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(path)?.filter_map(Result::ok);
    // Not through links: those lead to other apps, or to all of the disk.
    let names = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| is_plain(name)).collect();
    names.sort();
    Ok(names)
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.bytes().all(plain) && !name.starts_with('.') && !NOT_OURS.contains(&name)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with these files in it, or in one below: `web/package.json`.
    pub(in crate::init) fn folder(files: &[(&str, &str)]) -> Folder {
        let mut places = BTreeMap::from([("", Place::default())]);
        for (path, text) in files {
            let known = super::super::files().filter(|file| path.ends_with(file));
            let file = known.max_by_key(|file| file.len()).expect("a file that is looked at");
            let name = &path[..path.len() - file.len()];
            let place = places.entry(name).or_default();
            place.name = name.to_owned();
            place.files.insert(file, (*text).to_owned());
        }
        Folder { places: places.into_values().collect(), unreadable: Vec::new() }
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn an_app_is_read_with_the_folders_that_are_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "manage.py",
            "web/.env.local",
            "apps/api/go.mod",
            "node_modules/.env",
            "a name\n/.env",
            ".hidden/.env",
            "deep/er/.env",
        ] {
            write(&dir.path().join(file), file);
        }
        symlink(dir.path().join("web"), dir.path().join("link")).unwrap();
        let found = Folder::read(dir.path()).unwrap();

        let files = found
            .places
            .iter()
            .flat_map(|place| place.files.keys().map(move |file| place.path(file)));
        let files: Vec<_> = files.collect();
        assert_eq!(files, ["manage.py", "web/.env.local", "apps/api/go.mod"]);
    }

    #[test]
    fn what_is_no_file_or_a_long_one_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("Procfile"), &"x".repeat(LONGEST as usize + 1));
        write(&dir.path().join("src"), "a file, where others have a folder");
        write(&dir.path().join(".env/bin/python"), "a virtual environment");
        write(&dir.path().join(".env.local"), "\u{feff}A=1");

        let found = Folder::read(dir.path()).unwrap();
        let root = &found.places[0];
        assert_eq!(root.files.keys().collect::<Vec<_>>(), [&".env.local"]);
        assert_eq!(root.file(".env.local"), Some("A=1"));
        assert_eq!(found.unreadable, [""; 0]);
        assert!(Folder::read(&dir.path().join("src")).is_err());
    }

    #[test]
    fn what_is_there_and_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        symlink(".env", dir.path().join(".env")).unwrap(); // of itself: not even root can
        write(&dir.path().join("go.mod"), "");

        let found = Folder::read(dir.path()).unwrap();
        assert!(found.unreadable[0].starts_with("`.env`: "), "{:?}", found.unreadable);
        assert_eq!((found.unreadable.len(), found.places[0].file("go.mod")), (1, Some("")));
    }
}
