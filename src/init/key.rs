//! The publishable key: in a file of variables, or in the environment.

use std::collections::BTreeMap;

use crate::core::clerk::publishable_key::{Environment, PublishableKey};

use super::InitError;
use super::env_file;
use super::folder::Folder;

/// A key, and where it stood.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: PublishableKey,
    /// As in `VITE_CLERK_PUBLISHABLE_KEY in .env.local`.
    pub(super) by: String,
    /// The folder that has it, where it is of a file.
    pub(super) place: Option<String>,
    /// Where other keys stand.
    pub(super) others: Vec<String>,
}

/// The name of the variable; each framework puts its own word and `_` before it.
const NAME: &str = "CLERK_PUBLISHABLE_KEY";

/// Finds the key: the one that was given, else that of a file, else that of the environment.
///
/// # Errors
///
/// Where there is none; what stood in its place is named and not repeated, as it may be a secret.
pub(super) fn find(
    folder: &Folder,
    environment: &BTreeMap<String, String>,
    given: Option<&str>,
) -> Result<Found, InitError> {
    if let Some(text) = given {
        let by = "--publishable-key".to_owned();
        let key = PublishableKey::parse(text)
            .map_err(|error| InitError::NoKey(vec![format!("{by}: {error}")]))?;
        return Ok(Found { key, by, place: None, others: Vec::new() });
    }
    let mut bad = Vec::new();
    let mut found: Option<Found> = None;
    for Candidate { by, place, text } in candidates(folder, environment) {
        match (PublishableKey::parse(text), &mut found) {
            (Ok(key), None) => found = Some(Found { key, by, place, others: Vec::new() }),
            (Ok(key), Some(found)) if key != found.key => found.others.push(by),
            (Ok(_), Some(_)) => {}
            (Err(error), _) => bad.push(format!("{by}: {error}")),
        }
    }
    found.ok_or(InitError::NoKey(bad))
}

/// What may be a key.
struct Candidate<'a> {
    by: String,
    place: Option<String>,
    text: &'a str,
}

fn candidates<'a>(
    folder: &'a Folder,
    environment: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Candidate<'a>> {
    let of_files = folder.places.iter().flat_map(|place| {
        env_file::FILES.into_iter().flat_map(move |file| {
            let variables = place.file(file).map(env_file::variables).unwrap_or_default();
            variables.into_iter().map(move |(name, text)| {
                let by = format!("{name} in {}", place.path(file));
                (name, Candidate { by, place: Some(place.path("")), text })
            })
        })
    });
    let own = environment.iter().map(|(name, text)| {
        let by = format!("{name} in the environment");
        (&**name, Candidate { by, place: None, text })
    });
    let named = of_files.chain(own).filter(|(name, _)| is_of_a_key(name));
    named.map(|(_, candidate)| candidate).filter(|candidate| !candidate.text.is_empty())
}

fn is_of_a_key(name: &str) -> bool {
    name.strip_suffix(NAME).is_some_and(|before| before.is_empty() || before.ends_with('_'))
}

/// Says what kind of instance a key is of.
pub(super) fn kind(key: &PublishableKey) -> &'static str {
    match key.environment() {
        Environment::Development => "development",
        Environment::Production => "production",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::folder::tests::folder;

    const A: &str = "pk_test_Y2xlcmsuY2xlcmsuZGV2JA";
    const B: &str = "pk_live_Y2xlcmsuYS5jb20k";

    fn found(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Found, InitError> {
        let environment =
            environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (*path, text.replace("$A", A).replace("$B", B)))
            .collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, &**text)).collect();
        find(&folder(&files), &environment.collect(), None)
    }

    #[test]
    fn the_key_of_development_is_found_under_the_name_of_each_framework() {
        for (files, by) in [
            (&[(".env", "CLERK_PUBLISHABLE_KEY=$A")] as &[_], "CLERK_PUBLISHABLE_KEY in .env"),
            (
                &[(".env.local", "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY=$A")],
                "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY in .env.local",
            ),
            (
                &[(".env.local", "VITE_CLERK_PUBLISHABLE_KEY='$A'")],
                "VITE_CLERK_PUBLISHABLE_KEY in .env.local",
            ),
            (
                &[(".env", "EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY=$A")],
                "EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY in .env",
            ),
            (
                &[(".env.development", "GATSBY_CLERK_PUBLISHABLE_KEY=$A")],
                "GATSBY_CLERK_PUBLISHABLE_KEY in .env.development",
            ),
            (
                &[(".env", "REACT_APP_CLERK_PUBLISHABLE_KEY=$A")],
                "REACT_APP_CLERK_PUBLISHABLE_KEY in .env",
            ),
            (
                &[(".env", "PUBLIC_CLERK_PUBLISHABLE_KEY=$A")],
                "PUBLIC_CLERK_PUBLISHABLE_KEY in .env",
            ),
            (
                &[(".env", "NUXT_PUBLIC_CLERK_PUBLISHABLE_KEY=\"$A\"")],
                "NUXT_PUBLIC_CLERK_PUBLISHABLE_KEY in .env",
            ),
            (
                &[("web/.env.local", "VITE_CLERK_PUBLISHABLE_KEY=$A")],
                "VITE_CLERK_PUBLISHABLE_KEY in web/.env.local",
            ),
            // The file that wins when the app is started on one's own machine.
            (
                &[(".env", "CLERK_PUBLISHABLE_KEY=$B"), (".env.local", "CLERK_PUBLISHABLE_KEY=$A")],
                "CLERK_PUBLISHABLE_KEY in .env.local",
            ),
            (
                &[
                    (".env.production", "CLERK_PUBLISHABLE_KEY=$B"),
                    (".env", "CLERK_PUBLISHABLE_KEY=$A"),
                ],
                "CLERK_PUBLISHABLE_KEY in .env",
            ),
            (
                &[(".env.production", "CLERK_PUBLISHABLE_KEY=$B")],
                "CLERK_PUBLISHABLE_KEY in .env.production",
            ),
            // Of one file the last, as everywhere.
            (
                &[(".env", "CLERK_PUBLISHABLE_KEY=$B\nCLERK_PUBLISHABLE_KEY=$A")],
                "CLERK_PUBLISHABLE_KEY in .env",
            ),
            // One that was not filled in yet.
            (
                &[
                    (".env", "CLERK_PUBLISHABLE_KEY=pk_test_..."),
                    ("api/.env", "CLERK_PUBLISHABLE_KEY=$A"),
                ],
                "CLERK_PUBLISHABLE_KEY in api/.env",
            ),
        ] {
            assert_eq!(found(files, &[]).unwrap().by, by, "{files:?}");
        }
        let environment = [("CLERK_PUBLISHABLE_KEY", A), ("NOCLERK_PUBLISHABLE_KEY", B)];
        let found = found(&[(".env", "")], &environment).unwrap();
        assert_eq!(found.by, "CLERK_PUBLISHABLE_KEY in the environment");
        assert_eq!(found.others, [""; 0]);
    }

    #[test]
    fn another_key_is_told_and_the_same_one_is_not() {
        let files = [
            (".env", "CLERK_PUBLISHABLE_KEY=$A\nVITE_CLERK_PUBLISHABLE_KEY=$A"),
            (".env.production", "CLERK_PUBLISHABLE_KEY=$B"),
        ];
        assert_eq!(
            found(&files, &[]).unwrap().others,
            ["CLERK_PUBLISHABLE_KEY in .env.production"]
        );
    }

    #[test]
    fn what_is_no_key_is_named_and_not_repeated() {
        let files = [(".env", "CLERK_PUBLISHABLE_KEY=sk_live_hunter2\nCLERK_SECRET_KEY=sk_live_x")];
        let text = found(&files, &[]).unwrap_err().to_string();
        assert!(text.contains("CLERK_PUBLISHABLE_KEY in .env: this is a secret key"), "{text}");
        assert!(!text.contains("sk_"), "{text}");
    }
}
