//! Base64url as JOSE writes it (RFC 7515 §2).

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::NO_PAD;
use base64::engine::simd::Simd;

/// Takes many characters at a time, where the processor can.
static ENGINE: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// Decodes base64url. Trailing `=` count for nothing, as in Clerk's library.
///
/// Strict otherwise: no other alphabet, no white space, no bits left over in the last character.
/// A second spelling of one token would be a second entry in every cache and every log.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text.trim_end_matches('=')).ok()
}

/// Encodes without padding.
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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

    #[test]
    fn many_characters_at_a_time_decode_as_one_by_one() {
        let bytes: Vec<u8> = (0..=255).cycle().step_by(7).take(299).collect();
        for length in [199, 200, 201, 299] {
            let text = encode(&bytes[..length]);
            assert_eq!(text, URL_SAFE_NO_PAD.encode(&bytes[..length]));
            for (place, other) in
                (0..text.len()).flat_map(|place| (0..128).map(move |it| (place, it)))
            {
                let mut other_text = text.clone().into_bytes();
                other_text[place] = other;
                let other_text = String::from_utf8(other_text).unwrap();
                let want = URL_SAFE_NO_PAD.decode(other_text.trim_end_matches('=')).ok();
                assert_eq!(decode(&other_text), want, "{other_text}");
            }
            assert_eq!(decode(&text.replacen(&text[64..66], "ä", 1)), None);
        }
    }
}
