//! Base64url (RFC 4648 §5), bit by bit.

/// Decodes base64url without padding; nothing where it is not the one spelling of its octets.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|own| *own == digit)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let (octets, over) = bits.split_at(bits.len() / 8 * 8);
    if over.len() >= 6 || over.contains(&1) {
        return None;
    }
    let octet = |bits: &[usize]| bits.iter().fold(0, |octet, bit| octet << 1 | *bit) as u8;
    Some(octets.chunks(8).map(octet).collect())
}

/// Encodes without padding.
pub fn encode(octets: &[u8]) -> String {
    let mut bits: Vec<usize> = octets
        .iter()
        .flat_map(|octet| (0..8).rev().map(move |bit| usize::from(octet >> bit & 1)))
        .collect();
    bits.resize(bits.len().next_multiple_of(6), 0);
    let digit = |bits: &[usize]| char::from(DIGITS[bits.iter().fold(0, |sum, bit| sum << 1 | bit)]);
    bits.chunks(6).map(digit).collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
