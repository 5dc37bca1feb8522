//! Base64url as JOSE writes it (RFC 7515 §2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Decodes base64url. Trailing `=` count for nothing, as in Clerk's library.
///
/// Strict otherwise: no other alphabet, no white space, no bits left over in the last character.
/// A second spelling of one token would be a second entry in every cache and every log.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// Encodes without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_decodes_and_others_do_not() {
        for (text, want) in [
            ("", Some(&b""[..])),
            ("AQ", Some(b"\x01")),
            ("AQ==", Some(b"\x01")),
            ("AQ=====", Some(b"\x01")),
            ("AR", None), // bits left over
            ("A", None),
            ("+/", None),
            ("-_8", Some(b"\xfb\xff")),
            ("A Q", None),
            ("AQ\n", None),
            ("A=Q", None),
        ] {
            assert_eq!(decode(text).as_deref(), want, "{text:?}");
        }
    }
}
