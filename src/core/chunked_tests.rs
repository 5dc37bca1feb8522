use proptest::prelude::*;

use super::*;

/// The bytes of a body, its trailers, and what is left of what was read.
type Taken = (Vec<u8>, HeaderMap, Vec<u8>);

/// What comes of a body that is read in pieces of so many bytes; nothing where it is not whole.
fn taken(text: &[u8], at_once: usize) -> Result<Option<Taken>, Malformed> {
    let (mut chunked, mut read) = (Chunked::default(), BytesMut::new());
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    let mut pieces = text.chunks(at_once);
    loop {
        match chunked.next_piece(&mut read)? {
            Some(Piece::Data(data)) => body.extend_from_slice(&data),
            Some(Piece::Trailers(told)) => trailers = told,
            Some(Piece::End) => {
                assert!(chunked.is_over());
                let rest = pieces.flatten().copied();
                return Ok(Some((body, trailers, read.iter().copied().chain(rest).collect())));
            }
            None => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None => return Ok(None),
            },
        }
    }
}

#[test]
fn a_body_is_put_together_however_it_comes() {
    for (text, body, trailers, rest) in [
        ("0\r\n\r\n", "", &[][..], ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", &[], ""),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nHTTP", "hello world", &[], "HTTP"),
        ("0000A\r\n0123456789\r\n00\r\n\r\n", "0123456789", &[], ""),
        ("5;a=b;c=\"d;e\"\r\nhello\r\n0;x\r\n\r\n", "hello", &[], ""),
        ("5 \t;a\r\nhello\r\n0 \r\n\r\n", "hello", &[], ""),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", &[], ""),
        ("1\r\na\r\n0\r\nX-A: b\r\nx-c: d\r\n\r\ne", "a", &["x-a: b", "x-c: d"], "e"),
    ] {
        for at_once in [1, 2, 3, 5, text.len()] {
            let (got, told, left) = taken(text.as_bytes(), at_once).unwrap().unwrap();
            assert_eq!((&*got, &*left), (body.as_bytes(), rest.as_bytes()), "{text:?} {at_once}");
            let line = |(name, value): (&HeaderName, &HeaderValue)| {
                format!("{name}: {}", value.to_str().unwrap())
            };
            assert_eq!(told.iter().map(line).collect::<Vec<_>>(), trailers, "{text:?}");
        }
    }
}

/// Some servers write all sizes as wide, and a body may have any number of chunks.
#[test]
fn blanks_after_a_size_are_no_extension() {
    let padded = format!("{}0\r\n\r\n", "2      \r\nab\r\n".repeat(10_000));
    let (body, ..) = taken(padded.as_bytes(), padded.len()).unwrap().unwrap();
    assert_eq!(body.len(), 20_000);
    let much = format!("1;{}\r\na\r\n", "x".repeat(LONGEST - 4));
    let more = format!("{much}1000\r\n{}\r\n0\r\n\r\n", "a".repeat(0x1000));
    let (body, ..) = taken(more.as_bytes(), more.len()).unwrap().unwrap();
    assert_eq!(body.len(), 0x1001);
}

#[test]
fn what_is_no_chunk_is_refused() {
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(LONGEST));
    let extensions = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
    let trailer = format!("0\r\nx: {}\r\n\r\n", "y".repeat(LONGEST));
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MOST + 1));
    for text in [
        "\r\n\r\n",
        "x\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n",
        "10000000000000000\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "0\r\na b: c\r\n\r\n",
        "0\r\n: c\r\n\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\r\na: b\r\n\n",
        "5\x0c\r\nhello\r\n",
        &extension,
        &extensions,
        &trailer,
        &trailers,
    ] {
        for at_once in [1, text.len()] {
            let got = taken(text.as_bytes(), at_once);
            assert!(got.is_err(), "{:?} {got:?}", &text[..text.len().min(60)]);
        }
    }
}

#[test]
fn of_a_part_of_a_body_there_is_no_end() {
    let text = b"5;a\r\nhello\r\n0\r\nx-a: b\r\n\r\n";
    for length in 0..text.len() {
        assert!(taken(&text[..length], 1).unwrap().is_none(), "{length}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_it_is_the_same_in_pieces(
        text in "[0-9a-f;\r\n a-z:]{0,40}|([0-3]\r\n[a\r\n]{0,3}\r\n){0,4}0\r\n(x: y\r\n)?\r\n",
        at_once in 1_usize..8,
    ) {
        let whole = taken(text.as_bytes(), text.len().max(1));
        prop_assert_eq!(taken(text.as_bytes(), at_once), whole);
    }
}
