//! `countersign keygen`: makes a key for the proxy to sign with.
//!
//! The private part goes to a file that nobody else can read and that was not there before. What
//! backends need in order to verify, or to choose among secrets, is returned to be printed.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::pkcs8::Document;
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::core::jwk::KeyId;
use crate::core::signing_key::{SharedSecret, SigningKey};

/// What kind of key, and where to put it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The algorithm that the key is for.
    #[arg(long, value_enum, default_value_t = Algorithm::HmacSha256)]
    pub alg: Algorithm,
    /// The file for the private part: made with mode 0600, and refused where there is one already.
    /// The name of a public key is this file's name without its extension.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Taken as by every command; a key needs no settings, and the file is not read.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// An algorithm that the proxy can sign with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Algorithm {
    /// A secret that the proxy and the backend share: 32 random bytes.
    #[value(name = "hmac-sha256")]
    HmacSha256,
    /// An Ed25519 key pair.
    #[value(name = "ed25519")]
    Ed25519,
    /// A key pair on P-256, which signs assertions (`signing.mode`) alone.
    #[value(name = "es256")]
    Es256,
}

/// What may be shown of a new key; its `Display` is what the command prints.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// The public half of a key pair, as a JWK.
    Jwk(Value),
    /// The name of a secret, which has no public half.
    KeyId(String),
}

impl fmt::Display for Published {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwk(jwk) => jwk.fmt(out),
            Self::KeyId(id) => id.fmt(out),
        }
    }
}

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// The file's name does not do as the name of a key.
    #[error(
        "`{}` cannot name a key: use printable ASCII without spaces, quotes and backslashes",
        .0.display()
    )]
    BadName(PathBuf),
    /// There is a file already.
    #[error("`{}` is there already; keygen overwrites nothing", .0.display())]
    Exists(PathBuf),
    /// The file could not be written.
    #[error("`{}` could not be written: {problem}", file.display())]
    Write {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// The system gave no random bytes.
    #[error("no key could be made: the system has no random bytes")]
    NoRandomness,
}

impl From<Unspecified> for KeygenError {
    fn from(_: Unspecified) -> Self {
        Self::NoRandomness
    }
}

/// Makes a key, writes its private part and returns what may be shown.
///
/// # Errors
///
/// Where the file is there already or cannot be written, or its name cannot be that of a key.
pub fn run(args: &Args) -> Result<Published, KeygenError> {
    let (private, published) = match args.alg {
        Algorithm::HmacSha256 => new_secret()?,
        // PKCS#8 in version 1: version 2, which carries the public key too, is not read by every
        // OpenSSL.
        Algorithm::Ed25519 => new_pair(&Ed25519KeyPair::generate()?.to_pkcs8v1()?, kid(&args.out)?),
        Algorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
            new_pair(&pair.to_pkcs8v1()?, kid(&args.out)?)
        }
    };
    write_new(&args.out, private.as_bytes())?;
    Ok(published)
}

/// Text that is wiped when dropped.
type Secret = Zeroizing<String>;

/// `base64:` and the bytes; the key id is derived so that it tells nothing about them.
fn new_secret() -> Result<(Secret, Published), KeygenError> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(bytes.as_mut_slice())?;
    let mut text = Zeroizing::new("base64:".to_owned());
    STANDARD.encode_string(bytes.as_slice(), &mut text);
    text.push('\n');
    let id = SharedSecret::new(bytes.as_slice(), None).id().to_string();
    Ok((text, Published::KeyId(id)))
}

fn new_pair(pkcs8: &Document, kid: KeyId) -> (Secret, Published) {
    let key = SigningKey::from_pkcs8(pkcs8.as_ref(), Some(kid));
    let key = key.expect("a key that was just made is one");
    (pem(pkcs8.as_ref()), Published::Jwk(key.public_jwk()))
}

/// Returns the name of the key in `file`. It will stand between quotes in `Signature-Input`.
fn kid(file: &Path) -> Result<KeyId, KeygenError> {
    let good = |byte: u8| !matches!(byte, b'"' | b'\\');
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.filter(|stem| stem.bytes().all(good));
    stem.and_then(|stem| KeyId::parse(stem).ok())
        .ok_or_else(|| KeygenError::BadName(file.to_owned()))
}

/// Writes PKCS#8 as RFC 7468 has it: 64 characters a line.
fn pem(pkcs8: &[u8]) -> Secret {
    let mut base64 = Zeroizing::new(String::new());
    STANDARD.encode_string(pkcs8, &mut base64);
    let mut text = Zeroizing::new("-----BEGIN PRIVATE KEY-----\n".to_owned());
    for (at, digit) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(digit);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    text
}

/// Writes a file that must not be there yet, not as a link either, for its owner's eyes only.
fn write_new(file: &Path, content: &[u8]) -> Result<(), KeygenError> {
    let failed = |problem| KeygenError::Write { file: file.to_owned(), problem };
    let mut out = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(out) => out,
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeygenError::Exists(file.to_owned()));
        }
        Err(problem) => return Err(failed(problem)),
    };
    out.write_all(content).and_then(|()| out.sync_all()).map_err(|problem| {
        fs::remove_file(file).ok(); // half a key helps nobody, and would block the next try
        failed(problem)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use aws_lc_rs::hmac;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use clap::Parser;
    use tempfile::tempdir;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(alg: Algorithm, out: PathBuf) -> Args {
        Args { alg, out, config: None }
    }

    /// Makes a key pair `k1.pem`; returns the PKCS#8 in it and the JWK.
    fn key_pair(alg: Algorithm) -> (Vec<u8>, Value) {
        let dir = tempdir().unwrap();
        let out = dir.path().join("k1.pem");
        let Published::Jwk(jwk) = run(&args(alg, out.clone())).unwrap() else {
            panic!("{alg:?} has a public half");
        };
        let text = fs::read_to_string(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let [first, body @ .., last] = lines.as_slice() else { panic!("{text}") };
        assert_eq!(*first, "-----BEGIN PRIVATE KEY-----");
        assert_eq!(*last, "-----END PRIVATE KEY-----");
        assert!(body.iter().all(|line| (1..=64).contains(&line.len())), "{}", body.len());
        (STANDARD.decode(body.concat()).unwrap(), jwk)
    }

    fn member(jwk: &Value, name: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn an_ed25519_key_is_read_again_and_its_jwk_verifies_what_it_signs() {
        let (pkcs8, jwk) = key_pair(Algorithm::Ed25519);

        let signature = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap().sign(b"text");

        let public = UnparsedPublicKey::new(&ED25519, member(&jwk, "x"));
        assert!(public.verify(b"text", signature.as_ref()).is_ok());
        for (name, want) in
            [("kty", "OKP"), ("crv", "Ed25519"), ("kid", "k1"), ("use", "sig"), ("alg", "EdDSA")]
        {
            assert_eq!(jwk[name], want, "{name}");
        }
    }

    #[test]
    fn an_es256_key_is_read_again_and_its_jwk_verifies_what_it_signs() {
        let (pkcs8, jwk) = key_pair(Algorithm::Es256);

        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
        let signature = pair.sign(&SystemRandom::new(), b"text").unwrap();

        let point = [vec![4], member(&jwk, "x"), member(&jwk, "y")].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        assert!(public.verify(b"text", signature.as_ref()).is_ok());
        for (name, want) in
            [("kty", "EC"), ("crv", "P-256"), ("kid", "k1"), ("use", "sig"), ("alg", "ES256")]
        {
            assert_eq!(jwk[name], want, "{name}");
        }
    }

    #[test]
    fn a_secret_is_32_bytes_and_its_key_id_is_derived_from_them() {
        let dir = tempdir().unwrap();
        let out = dir.path().join("a name with spaces");

        let published = run(&args(Algorithm::HmacSha256, out.clone())).unwrap();

        let text = fs::read_to_string(&out).unwrap();
        let base64 = text.strip_prefix("base64:").and_then(|rest| rest.strip_suffix('\n'));
        let secret = STANDARD.decode(base64.unwrap()).unwrap();
        assert_eq!(secret.len(), 32);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), b"kid");
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(published.to_string(), hex[..8]);
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let dir = tempdir().unwrap();
        let (file, link) = (dir.path().join("key"), dir.path().join("link"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();

        for out in [&file, &link] {
            for alg in [Algorithm::HmacSha256, Algorithm::Ed25519, Algorithm::Es256] {
                let error = run(&args(alg, out.clone())).unwrap_err();
                let want =
                    format!("`{}` is there already; keygen overwrites nothing", out.display());
                assert_eq!(error.to_string(), want);
            }
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn a_file_that_cannot_be_one_earns_a_sentence() {
        let no_name =
            "cannot name a key: use printable ASCII without spaces, quotes and backslashes";
        let no_folder = "could not be written: No such file or directory (os error 2)";
        for (out, want) in [
            ("/", no_name),
            ("a b.pem", no_name),
            ("a\"b", no_name),
            ("Jürgen", no_name),
            ("/no/such/dir/k1", no_folder),
        ] {
            let error = run(&args(Algorithm::Ed25519, out.into())).unwrap_err();
            assert_eq!(error.to_string(), format!("`{out}` {want}"));
        }
    }

    #[test]
    fn the_flags_are_those_of_the_manual() {
        for (line, want) in [
            ("keygen --out k", Some(Algorithm::HmacSha256)),
            ("keygen --out k --alg hmac-sha256", Some(Algorithm::HmacSha256)),
            ("keygen --out k --alg ed25519", Some(Algorithm::Ed25519)),
            ("keygen --out k --alg es256", Some(Algorithm::Es256)),
            ("keygen --out k --alg rs256", None),
            ("keygen", None),
        ] {
            let read = Command::try_parse_from(line.split(' ')).ok();
            assert_eq!(read.map(|command| command.args.alg), want, "{line}");
        }
    }
}
