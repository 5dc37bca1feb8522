//! `signing`: what proves to the backend that the identity headers are ours.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::core::assertion::{self, AssertionPolicy, REGISTERED};
use crate::core::identity::{IdentityPolicy, Source};
use crate::core::jwk::KeyId;
use crate::core::sign::Cover;
use crate::core::signing_key::SigningKey;
use crate::proxy::UpstreamAddress;
use crate::signing::{self, KeysDir, Secret, SigningSettings};

use super::reader::Reader;
use super::secrets;

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
    identity: &IdentityPolicy,
    prefix: &str,
) -> SigningSettings {
    let modes = modes(reader);
    let cover = cover(reader);
    let id = reader.one("signing.key_id", KeyId::parse);
    let secret = secrets::one_of(reader, "signing.secret", "signing.secret_file", read_secret);
    let has_secret =
        reader.is_written("signing.secret") || reader.is_written("signing.secret_file");
    if id.is_some() && !has_secret {
        reader.mistake(
            "signing.key_id",
            "names a secret, and there is none; a key in `signing.keys_dir` is called by its file",
        );
    }
    let keys = keys_dir(reader, modes.requests && !has_secret);
    let is_made = !reader.is_written("signing.keys_dir") && (modes.assertion || !has_secret);
    if is_made && upstream.is_some_and(|upstream| !upstream.is_local()) {
        let text = "nothing is set, so each start makes a key that a backend elsewhere has to ask for; set COUNTERSIGN_SIGNING_SECRET or `signing.keys_dir`";
        let key = if modes.assertion { "signing.keys_dir" } else { "signing.secret_file" };
        reader.warn(key, text);
    }
    SigningSettings {
        requests: modes.requests.then_some(cover),
        assertion: assertion(reader, modes, identity, prefix),
        secret: secret.map(|secret| (secret, id)),
        keys,
    }
}

/// Which proofs the backend gets.
#[derive(Clone, Copy)]
struct Modes {
    requests: bool,
    assertion: bool,
}

fn modes(reader: &mut Reader<'_>) -> Modes {
    let modes = reader.many("signing.mode", |text| match text {
        "http-signature" | "jwt" => Ok(text.to_owned()),
        _ => Err("not one of `http-signature`, `jwt`"),
    });
    let modes = modes.unwrap_or_else(|| vec!["http-signature".to_owned()]);
    let among = |mode: &str| modes.iter().any(|text| text == mode);
    Modes { requests: among("http-signature"), assertion: among("jwt") }
}

fn cover(reader: &mut Reader<'_>) -> Cover {
    let cover = reader.many("signing.cover", |text| match text {
        "query" => Ok(()),
        _ => Err("not `query`, the one part that may be added"),
    });
    Cover { query: cover.is_some() }
}

/// Reads what assertions say: what the identity headers do, and for whom.
fn assertion(
    reader: &mut Reader<'_>,
    modes: Modes,
    identity: &IdentityPolicy,
    prefix: &str,
) -> Option<AssertionPolicy> {
    const KEY: &str = "signing.audience";
    let audience = reader.one(KEY, |text| Ok::<_, String>(text.to_owned()));
    match (modes.assertion, reader.is_written(KEY)) {
        (true, false) => reader.mistake(
            KEY,
            "not set; an assertion (`signing.mode`) is for one backend: its name, like `orders`",
        ),
        (false, true) => reader.mistake(
            KEY,
            "is whom an assertion is for, and none is made; add `jwt` to `signing.mode`",
        ),
        (true, true) | (false, false) => {}
    }
    let header = assertion::header_after(prefix).expect("a prefix begins a header name");
    let claims = modes.assertion.then(|| claims(reader, identity, prefix))?;
    Some(AssertionPolicy { header, audience: audience?, claims })
}

/// Names the claims of an assertion: of our own headers as JWTs name such claims, of any other
/// header what stands after the prefix, with `_` for `-`.
fn claims(
    reader: &mut Reader<'_>,
    identity: &IdentityPolicy,
    prefix: &str,
) -> Vec<(String, Source)> {
    let mut claims: Vec<(String, Source)> = Vec::new();
    for (header, source) in identity.headers() {
        let name = match source {
            Source::Field(field) => match AssertionPolicy::claim_name(*field) {
                Some(name) => name.to_owned(),
                None => continue, // `sub` says it
            },
            Source::Claim(_) => {
                let name = header.as_str();
                name.strip_prefix(prefix).unwrap_or(name).replace('-', "_")
            }
        };
        if REGISTERED.contains(&&*name) || claims.iter().any(|(other, _)| *other == name) {
            let problem = format!(
                "`{header}` would be the claim `{name}` of the assertion, which is another's; choose another header"
            );
            reader.mistake("identity.claims", problem);
            continue;
        }
        claims.push((name, source.clone()));
    }
    claims
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

/// Reads every key of the directory, to say now what would be wrong with them later.
fn keys_dir(reader: &mut Reader<'_>, signs_requests: bool) -> Option<KeysDir> {
    const DIR: &str = "signing.keys_dir";
    let active = reader.one("signing.active", KeyId::parse);
    if !reader.is_written(DIR) {
        if active.is_some() {
            reader.mistake("signing.active", "names a key in `signing.keys_dir`, which is not set");
        }
        return None;
    }
    let files = reader.files;
    let (path, files) = reader.one(DIR, |text| {
        let listed =
            files.list(Path::new(text)).map_err(|error| format!("cannot be read: {error}"));
        listed.map(|files| (PathBuf::from(text), files))
    })?;
    let keys: Vec<_> = files.iter().filter_map(|file| key(reader, file)).collect();
    let mut ids: Vec<_> = keys.iter().map(SigningKey::id).collect();
    ids.sort();
    match (&active, &*keys) {
        _ if files.is_empty() => {
            reader.mistake(DIR, "there is no key in it; `countersign keygen` makes one");
        }
        _ if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) => {
            reader.mistake(DIR, format!("two files have a key called `{}`", twice[0]));
        }
        _ if keys.len() < files.len() => {} // told already
        (None, [_, _, ..]) => reader.mistake(
            "signing.active",
            "not set, and `signing.keys_dir` holds several keys; name the one that signs",
        ),
        (active, keys) => {
            let signs = |key: &&SigningKey| active.as_ref().is_none_or(|id| id == key.id());
            match keys.iter().find(signs) {
                Some(key) if signs_requests && !key.signs_requests() => reader.mistake(
                    DIR,
                    format!("`{}` is a P-256 key, which signs assertions alone (`signing.mode`); requests want a secret or an Ed25519 key", key.id()),
                ),
                Some(_) => {}
                None => {
                    let id = active.as_ref().map_or("", KeyId::as_str);
                    let problem = format!("no file of that name in `signing.keys_dir`: {id}");
                    reader.mistake("signing.active", problem);
                }
            }
        }
    }
    Some(KeysDir { path, active })
}

fn key(reader: &mut Reader<'_>, file: &Path) -> Option<SigningKey> {
    const DIR: &str = "signing.keys_dir";
    let read = reader.files.read(file).map_err(|error| format!("cannot be read: {error}"));
    secrets::warn_of_open_file(reader, DIR, file);
    let key = read.and_then(|bytes| signing::read_key(file, &bytes));
    key.map_err(|problem| reader.mistake(DIR, format!("{}: {problem}", file.display()))).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

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
            .file("twice/a.pem", ED25519)
            .file("twice/a.key", ED25519)
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
            ("secret_file = \"nowhere\"", "secret_file: cannot be read: "),
            (
                "secret_file = \"short\"",
                "secret_file: short: 4 bytes, where a secret has at least 32",
            ),
            ("key_id = \"k\"", "key_id: names a secret, and there is none"),
            ("key_id = \"a b\", secret_file = \"secret\"", "key_id: \"a b\": a key id is"),
            ("keys_dir = \"nowhere\"", "keys_dir: cannot be read: "),
            ("keys_dir = \"twice\", active = \"a\"", "keys_dir: two files have a key called `a`"),
            ("keys_dir = \"bad\"", "keys_dir: bad/a.pem: not a private key"),
            ("keys_dir = \"ec\"", "keys_dir: `a` is a P-256 key, which signs assertions alone"),
            ("mode = [\"hmac\"]", "mode: \"hmac\": not one of `http-signature`, `jwt`"),
            ("mode = [\"jwt\"]", "audience: not set; an assertion"),
            ("audience = \"a\"", "audience: is whom an assertion is for, and none is made"),
            ("cover = [\"body\"]", "cover: \"body\": not `query`"),
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
    fn a_secret_and_keys_may_both_be_set() {
        for (text, secret, id, keys) in [
            ("", None, None, None),
            ("secret_file = \"secret\"", Some(LONG), None, None),
            (
                "secret_file = \"secret\", key_id = \"k\", keys_dir = \"one\"",
                Some(LONG),
                Some("k"),
                Some(("one", None)),
            ),
            ("keys_dir = \"one\"", None, None, Some(("one", None))),
            ("keys_dir = \"two\", active = \"b\"", None, None, Some(("two", Some("b")))),
        ] {
            let got = signing(text);
            let got_secret = got.secret.as_ref().map(|(secret, _)| secret.reveal().to_vec());
            assert_eq!(got_secret, secret.map(Into::into), "{text}");
            let name = |id: &str| KeyId::parse(id).unwrap();
            assert_eq!(got.secret.and_then(|(_, id)| id), id.map(name), "{text}");
            let dir = |(path, active): (&str, Option<&str>)| KeysDir {
                path: path.into(),
                active: active.map(name),
            };
            assert_eq!(got.keys, keys.map(dir), "{text}");
        }
    }

    #[test]
    fn a_request_is_signed_an_assertion_made_or_both() {
        let jwt = "mode = [\"jwt\"], audience = \"orders\"";
        let both = "mode = [\"http-signature\", \"jwt\"], audience = \"orders\"";
        for (text, requests, audience) in [
            ("", Some(Cover { query: false }), None),
            ("cover = [\"query\"]", Some(Cover { query: true }), None),
            (jwt, None, Some("orders")),
            (both, Some(Cover { query: false }), Some("orders")),
            (&format!("{jwt}, keys_dir = \"ec\""), None, Some("orders")),
        ] {
            let got = signing(text);
            assert_eq!(got.requests, requests, "{text}");
            let assertion = got.assertion.map(|policy| (policy.header, policy.audience));
            let want = audience.map(|it| (HeaderName::from_static("x-clerk-assertion"), it.into()));
            assert_eq!(assertion, want, "{text}");
        }
    }

    #[test]
    fn an_assertion_has_a_claim_for_each_header() {
        let text = "signing = {mode = [\"jwt\"], audience = \"a\"}\nidentity = {profile = true, claims = {x-plan = \"/plan\", x-clerk-team-name = \"/t\"}}";
        let policy = scene().toml(text).load().unwrap().settings.signing.assertion.unwrap();
        let names: Vec<_> = policy.claims.iter().map(|(name, _)| &**name).collect();
        let want = "principal token_type sid org_id org_slug org_role org_permissions act issuer email email_verified name given_name family_name nickname picture updated_at phone_number phone_number_verified x_plan team_name";
        assert_eq!(names.join(" "), want);
        for header in ["x-clerk-iss", "x-clerk-exp", "x-clerk-act"] {
            let text = format!(
                "signing = {{mode = [\"jwt\"], audience = \"a\"}}\nidentity.claims = {{{header} = \"/x\"}}"
            );
            let got = scene().toml(&text).mistakes();
            assert!(got.len() == 1 && got[0].contains("which is another's"), "{header}: {got:?}");
        }
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
