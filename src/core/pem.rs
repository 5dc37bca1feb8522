//! Public keys in PEM, as people paste them into an environment variable.

use aws_lc_rs::rsa::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Reads the RSA public keys in `text`: modulus and exponent of each; nothing where one is none.
///
/// PEM with its frame (RFC 7468), once or several times, as SubjectPublicKeyInfo or PKCS #1; with
/// its line breaks lost to spaces or written out as `\n`; or without a frame; or all that in
/// base64 again. Those are the ways a PEM comes through a shell, a `.env` and a dashboard.
pub fn rsa_public_keys(text: &str) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let text = text.replace("\\n", "\n").replace("\\r", "");
    let text = text.trim();
    if !text.contains("-----BEGIN") {
        let bytes = decode(text)?;
        return match std::str::from_utf8(&bytes) {
            Ok(inner) if inner.contains("-----BEGIN") => rsa_public_keys(inner),
            _ => Some(vec![components(&bytes)?]),
        };
    }
    let blocks = text.split("-----BEGIN ").skip(1);
    blocks.map(|block| components(&decode(body(block)?)?)).collect()
}

/// Returns what stands between the two lines of a frame, for the two labels public keys have.
fn body(block: &str) -> Option<&str> {
    let (label, rest) = block.split_once("-----")?;
    let (body, end) = rest.split_once("-----END ")?;
    let whole = end.strip_prefix(label)?.starts_with("-----");
    (whole && matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY")).then_some(body)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

fn components(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    // The library reads over bytes after the key. In both forms the PKCS #1 one stands last.
    let key = PublicKey::from_der(der).ok().filter(|key| der.ends_with(key.as_ref()))?;
    let bytes = |number: aws_lc_rs::rsa::PublicKeyComponents<Vec<u8>>| (number.n, number.e);
    Some(bytes((&key).into()))
}
