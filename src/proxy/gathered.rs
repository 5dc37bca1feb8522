//! Small pieces as one: a call that writes one buffer costs the system less than one for several.

use std::io::IoSlice;

use tokio::io::ReadBuf;

/// What is copied together: the head of most answers, with a body that is shorter yet.
pub(super) const SMALL: usize = 1024;

/// Returns all of these pieces in one, in `room` where they are several, which is empty and need not be
/// cleared; nothing where they are too large for that, or there are none.
pub(super) fn gathered<'a>(
    pieces: &'a [IoSlice<'_>],
    room: &'a mut ReadBuf<'_>,
) -> Option<&'a [u8]> {
    if let [one] = pieces {
        return Some(one);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > room.remaining() {
        return None;
    }
    debug_assert!(room.filled().is_empty(), "what is there already is no piece");
    for piece in pieces {
        room.put_slice(piece);
    }
    Some(room.filled()).filter(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    #[test]
    fn pieces_are_gathered_where_they_are_small_or_one() {
        let long = [b'a'; 2 * SMALL];
        for (pieces, want) in [
            (&[][..], None),
            (&[&b"ab"[..]], Some(&b"ab"[..])),
            (&[&b"ab"[..], b"", b"cd"], Some(b"abcd")),
            (&[&long[..]], Some(&long)),
            (&[&long[..SMALL - 1], b"a"], Some(&long[..SMALL])),
            (&[&long[..SMALL], b"a"], None),
            (&[b"", b""], None),
        ] {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut room = [MaybeUninit::uninit(); SMALL];
            let mut room = ReadBuf::uninit(&mut room);
            assert_eq!(gathered(&slices, &mut room), want, "{} pieces", pieces.len());
        }
    }
}
