//! Tokens in inputs, written so that they can be read and changed.

use crate::base64url;

/// Writes what stands between `<` and `>` in base64url, so that `<{"alg":"RS256"}>.<{}>.AA` is a
/// token: a change within would leave nothing of one that is encoded.
pub fn written_out(text: &str) -> String {
    let mut parts = text.split('<');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('>') {
            Some((plain, rest)) => out += &(base64url::encode(plain.as_bytes()) + rest),
            None => out += part,
        }
    }
    out
}
