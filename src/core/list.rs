//! Headers that are lists.

use http::{HeaderMap, HeaderName};

/// Returns the elements of a header that is a list, from all of its lines (RFC 9110 §5.6.1), without the
/// blanks around them; empty ones too.
pub(super) fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).iter().flat_map(|line| of_line(line.as_bytes()))
}

/// Returns those of one line.
pub(super) fn of_line(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::header::CONNECTION;

    use super::*;

    #[test]
    fn a_list_goes_on_in_the_next_line() {
        for (lines, want) in [
            (&[][..], &[][..]),
            (&[""], &[""]),
            (&["close"], &["close"]),
            (&["a, b", "c"], &["a", "b", "c"]),
            (&[" a\t,\tb "], &["a", "b"]),
            (&[",a,,"], &["", "a", "", ""]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONNECTION, line.parse().unwrap());
            }
            let got: Vec<_> = elements(&headers, CONNECTION).collect();
            let want: Vec<_> = want.iter().map(|element| element.as_bytes()).collect();
            assert_eq!(got, want, "{lines:?}");
        }
    }
}
