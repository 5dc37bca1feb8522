//! `Authorization`: a bearer token is found in one way, or the request is refused.
//!
//! Each line of an input is one header.

#![no_main]

use countersign::core::credential::BearerToken;
use countersign::core::reject::Reject;
use http::header::AUTHORIZATION;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let headers = countersign_fuzz::values(&AUTHORIZATION, data);
    let lines: Vec<&[u8]> = headers.get_all(AUTHORIZATION).iter().map(|it| it.as_bytes()).collect();
    let got = BearerToken::from_headers(&headers).map(|it| it.map(BearerToken::reveal));

    let shown = lines.iter().map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>();
    assert_eq!(got, by_the_grammar(&lines), "{shown:?}");
    // Whoever is less strict finds the same token, or is not asked.
    for lax in lines.iter().flat_map(|line| as_backends_read(line)) {
        assert!(got.is_err() || got == Ok(Some(&lax)), "{lax:?} was not looked at in {shown:?}");
    }
    if let Ok(Some(token)) = got {
        assert_eq!(
            format!("{:?}", BearerToken::of(token)),
            format!("BearerToken({} bytes)", token.len())
        );
    }
});

/// `credentials = "Bearer" SP token` (RFC 6750 §2.1, RFC 9110 §11.4), the case of the scheme free.
fn by_the_grammar<'a>(lines: &[&'a [u8]]) -> Result<Option<&'a str>, Reject> {
    let line = match lines {
        [] => return Ok(None),
        [line] => *line,
        _ => return Err(Reject::CredentialRepeated),
    };
    // A field value has no blanks around it (RFC 9110 §5.5), whoever brought it. What is no ASCII
    // is a blank to some, and part of no scheme.
    let line = line.trim_ascii();
    if line.first().is_some_and(|byte| !byte.is_ascii()) {
        return Err(Reject::TokenMalformed);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t') || !byte.is_ascii();
    let (scheme, rest) = line.split_at(line.iter().position(is_blank).unwrap_or(line.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = rest.strip_prefix(b" ").filter(|token| !token.is_empty());
    let token = token.filter(|token| token.iter().all(|byte| (0x21..=0x7e).contains(byte)));
    token.map(|token| str::from_utf8(token).ok()).ok_or(Reject::TokenMalformed)
}

/// Reads words as most libraries do: what follows `Bearer`, with blanks as they come, out of UTF-8
/// or of Latin-1.
fn as_backends_read(line: &[u8]) -> impl Iterator<Item = String> {
    let latin1: String = line.iter().map(|byte| char::from(*byte)).collect();
    [String::from_utf8_lossy(line).into_owned(), latin1].into_iter().filter_map(|line| {
        let (scheme, token) = line.trim().split_once(char::is_whitespace)?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    })
}
