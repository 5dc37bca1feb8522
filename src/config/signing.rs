//! `signing`: what proves to the backend that the identity headers are ours.

use std::path::Path;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::core::jwk::KeyId;
use crate::core::sign::SigningKey;
use crate::proxy::UpstreamAddress;

use super::reader::{Content, Reader};
use super::settings::{Secret, SigningSettings};

/// As long as the hash that is made with it (RFC 2104 §3).
const SHORTEST_SECRET: usize = 32;

/// Standard base64, with or without the padding that some tools leave off.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn settings(
    reader: &mut Reader<'_>,
    upstream: Option<&UpstreamAddress>,
) -> SigningSettings {
    let id = reader.one("signing.key_id", KeyId::parse);
    let secret = secret(reader);
    let has_secret =
        reader.is_written("signing.secret") || reader.is_written("signing.secret_file");
    if id.is_some() && !has_secret {
        reader.mistake(
            "signing.key_id",
            "names a secret, and there is none; a key in `signing.keys_dir` is called by its file",
        );
    }
    let key = active_key(reader);
    match (secret, key) {
        (Some(secret), _) => SigningSettings::Secret { secret, id },
        (None, Some((pkcs8, id))) => SigningSettings::Ed25519 { pkcs8, id },
        (None, None) => {
            if upstream.is_some_and(|upstream| !upstream.is_local()) {
                let text = "nothing is set, so each start makes a key that a backend elsewhere has to ask for; set COUNTERSIGN_SIGNING_SECRET or `signing.keys_dir`";
                reader.warn("signing.secret_file", text);
            }
            SigningSettings::Generate
        }
    }
}

fn secret(reader: &mut Reader<'_>) -> Option<Secret> {
    let (value, file) = ("signing.secret", "signing.secret_file");
    if reader.is_written(value) && reader.is_written(file) {
        let problem =
            format!("excludes the secret itself ({}); keep one of them", reader.origin(value));
        reader.mistake(file, problem);
    }
    if let Some(secret) = reader.one(value, |text| read_secret(text.as_bytes())) {
        return Some(secret);
    }
    let content = reader.content(file)?;
    warn_of_open_file(reader, file, &content.path);
    match read_secret(without_newline(&content.bytes)) {
        Ok(secret) => Some(secret),
        Err(problem) => {
            reader.mistake(file, format!("{}: {problem}", content.path.display()));
            None
        }
    }
}

fn read_secret(text: &[u8]) -> Result<Secret, String> {
    let bytes = match text.strip_prefix(b"base64:") {
        Some(encoded) => {
            BASE64.decode(encoded).map_err(|_| "what follows `base64:` is no base64")?
        }
        None => text.to_vec(),
    };
    match bytes.len() {
        SHORTEST_SECRET.. => Ok(Secret::new(bytes)),
        short => Err(format!(
            "{short} bytes, where a secret has at least {SHORTEST_SECRET}; `countersign keygen` makes one"
        )),
    }
}

/// What an editor or `echo` puts at the end of a file is not part of the secret.
fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Reads every key of the directory, and returns the one that signs.
fn active_key(reader: &mut Reader<'_>) -> Option<(Secret, KeyId)> {
    const DIR: &str = "signing.keys_dir";
    let active = reader.one("signing.active", KeyId::parse);
    if !reader.is_written(DIR) {
        if active.is_some() {
            reader.mistake("signing.active", "names a key in `signing.keys_dir`, which is not set");
        }
        return None;
    }
    let files = reader.files;
    let mut paths = reader.one(DIR, |text| {
        files.list(Path::new(text)).map_err(|error| format!("cannot be read: {error}"))
    })?;
    // A mounted Secret has its files behind `..data`; editors leave dotfiles.
    paths.retain(|path| {
        !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    paths.sort();
    let mut keys: Vec<_> = paths
        .iter()
        .filter_map(|path| {
            let key = files.read(path).map_err(|error| format!("cannot be read: {error}"));
            let key = key.and_then(|bytes| read_key(&Content { path: path.clone(), bytes }));
            warn_of_open_file(reader, DIR, path);
            key.map_err(|problem| reader.mistake(DIR, format!("{}: {problem}", path.display())))
                .ok()
        })
        .collect();

    match (&active, keys.len()) {
        _ if paths.is_empty() => {
            reader.mistake(DIR, "there is no key in it; `countersign keygen` makes one")
        }
        (None, 2..) => reader.mistake(
            "signing.active",
            "not set, and `signing.keys_dir` holds several keys; name the one that signs",
        ),
        (Some(active), _)
            if keys.len() == paths.len() && !keys.iter().any(|(_, id)| id == active) =>
        {
            reader.mistake(
                "signing.active",
                format!("no file of that name in `signing.keys_dir`: {active}"),
            );
        }
        _ => {}
    }
    let place =
        keys.iter().position(|(_, id)| active.as_ref().is_none_or(|active| active == id))?;
    Some(keys.swap_remove(place))
}

fn read_key(file: &Content) -> Result<(Secret, KeyId), String> {
    /// id-ecPublicKey (RFC 5480 §2.1.1), as it stands in a PKCS #8 document.
    const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let stem = file.path.file_stem().and_then(|stem| stem.to_str());
    let id = stem.and_then(|stem| KeyId::parse(stem).ok());
    let id =
        id.ok_or("the name of a key's file, without its ending, is the key's id: visible ASCII")?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(&file.bytes)
        .map_err(|_| "not a private key; it wants PKCS #8 in PEM, `-----BEGIN PRIVATE KEY-----`")?;
    let der = der.secret_pkcs8_der();
    match SigningKey::ed25519(der, Some(id.clone())) {
        Ok(_) => Ok((Secret::new(der.to_vec()), id)),
        Err(_) if der.windows(EC.len()).any(|window| window == EC) => {
            Err("P-256 keys are not supported yet by this version; it wants an Ed25519 key"
                .to_owned())
        }
        Err(_) => Err("not an Ed25519 key".to_owned()),
    }
}

fn warn_of_open_file(reader: &mut Reader<'_>, key: &'static str, path: &Path) {
    if reader.files.is_open_to_all(path) {
        let text = format!("everybody on this machine can read {}; `chmod o-r` it", path.display());
        reader.warn(key, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{ED25519, Scene};

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    fn scene() -> Scene {
        Scene::default()
            .file("secret", format!("{LONG}\n").as_str())
            .file("short", "0123")
            .file("one/a.pem", ED25519)
            .file("one/.gitignore", "*")
            .file("two/a.pem", ED25519)
            .file("two/b.pem", ED25519)
            .file("bad/a.pem", "-----BEGIN CERTIFICATE-----")
            .file("ec/a.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem())
    }

    fn signing(text: &str) -> SigningSettings {
        scene().toml(&format!("signing = {{{text}}}")).load().unwrap().settings.signing
    }

    #[test]
    fn bad_values_earn_these_sentences() {
        for (text, want) in [
            ("secret = \"x\"", "secret: unknown key; a secret does not stand in this file"),
            ("secret_file = \"nowhere\"", "secret_file: \"nowhere\": cannot be read: "),
            (
                "secret_file = \"short\"",
                "secret_file: short: 4 bytes, where a secret has at least 32",
            ),
            ("key_id = \"k\"", "key_id: names a secret, and there is none"),
            ("key_id = \"a b\", secret_file = \"secret\"", "key_id: \"a b\": a key id is"),
            ("keys_dir = \"nowhere\"", "keys_dir: \"nowhere\": cannot be read: "),
            ("keys_dir = \"bad\"", "keys_dir: bad/a.pem: not a private key"),
            ("keys_dir = \"ec\"", "keys_dir: ec/a.pem: P-256 keys are not supported yet"),
            ("keys_dir = \"two\"", "active: not set, and `signing.keys_dir` holds several keys"),
            (
                "keys_dir = \"two\", active = \"c\"",
                "active: no file of that name in `signing.keys_dir`: c",
            ),
            ("active = \"a\"", "active: names a key in `signing.keys_dir`, which is not set"),
        ] {
            let got = scene().toml(&format!("signing = {{{text}}}")).mistakes();
            assert!(
                got.len() == 1 && got[0].starts_with(&format!("signing.{want}")),
                "{text}: {got:?}"
            );
        }
    }

    #[test]
    fn a_secret_signs_before_a_key_does() {
        let secret = |text| match signing(text) {
            SigningSettings::Secret { secret, id } => {
                (secret.reveal().to_vec(), id.map(|id| id.to_string()))
            }
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(secret("secret_file = \"secret\""), (LONG.into(), None));
        let both = "secret_file = \"secret\", key_id = \"k\", keys_dir = \"one\"";
        assert_eq!(secret(both), (LONG.into(), Some("k".to_owned())));
    }

    #[test]
    fn the_key_that_signs_is_the_active_or_the_only_one() {
        for (text, want) in
            [("keys_dir = \"one\"", "a"), ("keys_dir = \"two\", active = \"b\"", "b")]
        {
            match signing(text) {
                SigningSettings::Ed25519 { id, .. } => assert_eq!(id.as_str(), want),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert!(matches!(signing(""), SigningSettings::Generate));
    }

    #[test]
    fn a_secret_is_its_bytes_or_those_it_encodes() {
        let bytes = |text: &[u8]| read_secret(text).map(|secret| secret.reveal().to_vec());
        let encoded = b"base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        assert_eq!(bytes(encoded), Ok((0..32).collect()));
        assert_eq!(bytes(&[&encoded[..], b"="].concat()), Ok((0..32).collect()));
        assert_eq!(bytes(&[0xff; 32]), Ok(vec![0xff; 32]));
        for (text, want) in [
            (&b"base64:AAEC"[..], "3 bytes"),
            (b"base64:%%%", "no base64"),
            (&[b'x'; 31], "31 bytes"),
            (b"", "0 bytes"),
        ] {
            assert!(bytes(text).is_err_and(|error| error.contains(want)), "{text:?}");
        }
        for (text, want) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(without_newline(text.as_bytes()), want.as_bytes());
        }
    }

    #[test]
    fn a_secret_comes_from_one_place() {
        let scene = scene()
            .toml("signing.secret_file = \"secret\"")
            .env("COUNTERSIGN_SIGNING_SECRET", LONG);
        let want = "signing.secret_file: excludes the secret itself (environment COUNTERSIGN_SIGNING_SECRET); keep one of them (a.toml:1:23)";
        assert_eq!(scene.mistakes(), [want]);
    }

    #[test]
    fn what_leaves_the_proof_weak_is_warned_of() {
        let found = |scene: Scene, want: &str| {
            scene.load().unwrap().warnings.iter().any(|got| got.to_string().starts_with(want))
        };
        let open = scene().toml("signing.secret_file = \"secret\"").open("secret");
        assert!(found(open, "signing.secret_file: everybody on this machine can read secret"));
        let open = scene().toml("signing.keys_dir = \"one\"").open("one/a.pem");
        assert!(found(open, "signing.keys_dir: everybody on this machine can read one/a.pem"));
        for (upstream, warned) in
            [("http://app:80", true), ("http://127.0.0.1:1", false), ("unix:/a", false)]
        {
            let scene = scene().env("COUNTERSIGN_UPSTREAM", upstream);
            assert_eq!(found(scene, "signing.secret_file: nothing is set"), warned, "{upstream}");
        }
    }
}
