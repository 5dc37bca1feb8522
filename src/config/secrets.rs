//! Secrets: out of the environment, or out of a file of their own.

use std::path::Path;

use super::reader::Reader;

/// Reads a secret that stands in the environment or in a file, not in both.
pub(super) fn one_of<T>(
    reader: &mut Reader<'_>,
    value: &'static str,
    file: &'static str,
    parse: impl Fn(&[u8]) -> Result<T, String>,
) -> Option<T> {
    if reader.is_written(value) && reader.is_written(file) {
        let problem =
            format!("excludes the secret itself ({}); keep one of them", reader.origin(value));
        reader.mistake(file, problem);
    }
    if let Some(secret) = reader.one(value, |text| parse(text.as_bytes())) {
        return Some(secret);
    }
    let content = reader.own_content(file)?;
    warn_of_open_file(reader, file, &content.path);
    match parse(without_newline(&content.bytes)) {
        Ok(secret) => Some(secret),
        Err(problem) => {
            reader.mistake(file, format!("{}: {problem}", content.path.display()));
            None
        }
    }
}

/// Warns of a file with a secret that is everybody's to read.
pub(super) fn warn_of_open_file(reader: &mut Reader<'_>, key: &'static str, path: &Path) {
    if reader.files.is_open_to_all(path) {
        let text = format!("everybody on this machine can read {}; `chmod o-r` it", path.display());
        reader.warn(key, text);
    }
}

/// What an editor or `echo` puts at the end of a file is not part of the secret.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_the_files_and_not_the_secrets() {
        for (text, want) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(without_newline(text.as_bytes()), want.as_bytes());
        }
    }
}
