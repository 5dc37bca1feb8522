//! The path and the host of a request, in the one form that is matched, signed and forwarded.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::core::origin::Scheme;
use crate::core::reject::Reject;

/// What a path may hold that a backend might read in another way than we do.
///
/// Each is refused unless it is allowed, and where allowed it is literal text to the rules.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PathPolicy {
    /// `%2F`
    pub encoded_slash: bool,
    /// `%5C`
    pub encoded_backslash: bool,
    /// `%2E`, but never as a dot segment.
    pub encoded_dot: bool,
    /// `%25`
    pub encoded_percent: bool,
    /// `//`
    pub double_slash: bool,
    /// `;`
    pub semicolon: bool,
    /// `\`
    pub backslash: bool,
}

/// A path as rules compare it: absolute, and written in one way only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CanonicalPath<'a>(Cow<'a, str>);

impl<'a> CanonicalPath<'a> {
    /// Reads the path of a request target.
    ///
    /// Unreserved characters that came percent-encoded are decoded once (RFC 3986 §6.2.2.2), but
    /// for the dot; the escapes that stay are written in capitals (§6.2.2.1). What no path may hold
    /// as it is (§3.3) and browsers send all the same, like `[` and `|`, is encoded: readers of
    /// URLs differ in whether they take it, and a signature over it would not verify everywhere.
    ///
    /// # Errors
    ///
    /// [`Reject::RequestMalformed`]: not absolute; a control character, a byte that is not ASCII
    /// or a broken escape; a dot segment, in any spelling (two readers resolve it differently);
    /// or what `policy` does not allow.
    pub fn parse(raw: &'a str, policy: PathPolicy) -> Result<Self, Reject> {
        let bytes = raw.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(Reject::RequestMalformed("the path does not start with a slash"));
        }
        if bytes.iter().all(|byte| PLAIN[usize::from(*byte)])
            && !raw.contains("//")
            && !raw.contains("/.")
        {
            return Ok(Self(Cow::Borrowed(raw)));
        }
        canonical(bytes, policy).map(|path| Self(Cow::Owned(path)))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text on its own.
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

/// Bytes that mean themselves wherever they stand; everything else is looked at.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        let special = matches!(byte as u8, b'%' | b';' | b'\\' | b'?' | b'#');
        plain[byte] = !special && !is_to_encode(byte as u8);
        byte += 1;
    }
    plain
};

/// Tells whether a visible byte is none that RFC 3986 §3.3 has in a path. A backslash is another
/// matter: where it is allowed, it is for a backend that means just that.
const fn is_to_encode(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn canonical(bytes: &[u8], policy: PathPolicy) -> Result<String, Reject> {
    let mut out = Vec::with_capacity(bytes.len());
    // The octets as percent-decoding would give them: only to see whether they are UTF-8.
    let mut octets = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            check_literal(*byte, out.last() == Some(&b'/'), policy)?;
            if is_to_encode(*byte) {
                push_escape(&mut out, *byte);
            } else {
                out.push(*byte);
            }
            octets.push(*byte);
            continue;
        }
        let broken = Reject::RequestMalformed("a broken escape in the path");
        let [high, low, tail @ ..] = rest else { return Err(broken) };
        rest = tail;
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(broken) };
        let octet = high << 4 | low;
        octets.push(octet);
        check_escaped(octet, policy)?;
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'~') {
            out.push(octet);
        } else {
            push_escape(&mut out, octet);
        }
    }
    if std::str::from_utf8(&octets).is_err() {
        return Err(Reject::RequestMalformed("the path is not UTF-8"));
    }
    let path = String::from_utf8(out).expect("only ASCII was pushed");
    if has_dot_segment(&path) {
        return Err(Reject::RequestMalformed("a dot segment in the path"));
    }
    Ok(path)
}

/// Tells whether some backend could find a dot segment: whatever one takes for a slash parts two
/// segments, and what follows a semicolon is to some a parameter and no part of the name.
fn has_dot_segment(path: &str) -> bool {
    let path = path.replace("%2E", ".").replace("%2F", "/").replace("%5C", "/").replace("%3B", ";");
    path.split(['/', '\\']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

fn check_literal(byte: u8, after_slash: bool, policy: PathPolicy) -> Result<(), Reject> {
    let problem = match byte {
        b'/' if after_slash && !policy.double_slash => "an empty segment in the path",
        b';' if !policy.semicolon => "a semicolon in the path",
        b'\\' if !policy.backslash => "a backslash in the path",
        b'?' | b'#' => "a character in the path that must be encoded",
        0x21..=0x7e => return Ok(()),
        _ => "a character in the path that must be encoded",
    };
    Err(Reject::RequestMalformed(problem))
}

fn check_escaped(octet: u8, policy: PathPolicy) -> Result<(), Reject> {
    let problem = match octet {
        b'/' if !policy.encoded_slash => "an encoded slash in the path",
        b'\\' if !policy.encoded_backslash => "an encoded backslash in the path",
        b'.' if !policy.encoded_dot => "an encoded dot in the path",
        b'%' if !policy.encoded_percent => "an encoded percent sign in the path",
        b';' if !policy.semicolon => "an encoded semicolon in the path",
        0..=0x1f | 0x7f => "an encoded control character in the path",
        _ => return Ok(()),
    };
    Err(Reject::RequestMalformed(problem))
}

fn push_escape(out: &mut Vec<u8>, octet: u8) {
    out.extend([b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Checks a query: visible ASCII, as RFC 3986 §3.4 has it, so that it is one line wherever it goes.
///
/// # Errors
///
/// [`Reject::RequestMalformed`].
pub fn check_query(query: Option<&str>) -> Result<(), Reject> {
    let visible = query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
    visible
        .then_some(())
        .ok_or(Reject::RequestMalformed("a character in the query that must be encoded"))
}

/// The host a request is for, in lower case, without the port that its scheme implies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority(Box<str>);

impl Authority {
    /// Reads a `Host` (RFC 9110 §7.2): a name or an address, and a port where it is not 80.
    ///
    /// # Errors
    ///
    /// [`Reject::RequestMalformed`]: empty, with user information, with a zone, a port that is
    /// none, or a character no host has.
    pub fn parse(text: &str) -> Result<Self, Reject> {
        Self::under(Scheme::Http, text)
    }

    /// Reads the `Host` of a request that came by this scheme, whose own port need not be named.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn under(scheme: Scheme, text: &str) -> Result<Self, Reject> {
        let bad = Reject::RequestMalformed("the host is none");
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(bad.clone())?;
                address.parse::<Ipv6Addr>().map_err(|_| bad.clone())?;
                (&text[..address.len() + 2], port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (&text[..end], &text[end..])
            }
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if name.is_empty() || !(name.starts_with('[') || name.bytes().all(is_name)) {
            return Err(bad);
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => "",
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                match digits.parse::<u16>() {
                    Ok(port) if port == scheme.port() => "",
                    Ok(1..) => port, // which ends the text
                    Ok(0) | Err(_) => return Err(bad),
                }
            }
            _ => return Err(bad),
        };
        let authority = if port.is_empty() { name } else { text };
        Ok(Self(authority.to_ascii_lowercase().into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without its port, and without the dot that may end a name.
    pub fn host(&self) -> &str {
        let end = match self.0.find(']') {
            Some(end) => end + 1,
            None => self.0.find(':').unwrap_or(self.0.len()),
        };
        self.0[..end].trim_end_matches('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: PathPolicy = PathPolicy {
        encoded_slash: false,
        encoded_backslash: false,
        encoded_dot: false,
        encoded_percent: false,
        double_slash: false,
        semicolon: false,
        backslash: false,
    };
    const LAX: PathPolicy = PathPolicy {
        encoded_slash: true,
        encoded_backslash: true,
        encoded_dot: true,
        encoded_percent: true,
        double_slash: true,
        semicolon: true,
        backslash: true,
    };

    #[test]
    fn a_path_has_one_spelling() {
        for (raw, strict, lax) in [
            ("/", Some("/"), Some("/")),
            ("/a/b.c", Some("/a/b.c"), Some("/a/b.c")),
            ("/a/", Some("/a/"), Some("/a/")),
            ("/%61%2D%5f%7e", Some("/a-_~"), Some("/a-_~")),
            ("/%c3%bc", Some("/%C3%BC"), Some("/%C3%BC")),
            ("/a%20b|c", Some("/a%20b%7Cc"), Some("/a%20b%7Cc")),
            ("/[a]{b}^\"", Some("/%5Ba%5D%7Bb%7D%5E%22"), Some("/%5Ba%5D%7Bb%7D%5E%22")),
            ("/a<b>`c", Some("/a%3Cb%3E%60c"), Some("/a%3Cb%3E%60c")),
            ("/!$&'()*+,=:@", Some("/!$&'()*+,=:@"), Some("/!$&'()*+,=:@")),
            ("/.well-known/x", Some("/.well-known/x"), Some("/.well-known/x")),
            ("/...", Some("/..."), Some("/...")),
            ("/a%2fb", None, Some("/a%2Fb")),
            ("/a%5cb", None, Some("/a%5Cb")),
            ("/a%2eb", None, Some("/a%2Eb")),
            ("/a%252fb", None, Some("/a%252fb")),
            ("//a", None, Some("//a")),
            ("/a;b", None, Some("/a;b")),
            ("/a%3bb", None, Some("/a%3Bb")),
            ("/a\\b", None, Some("/a\\b")),
            ("/a/../b", None, None),
            ("/a/..", None, None),
            ("/./a", None, None),
            ("/a/%2e%2E/b", None, None),
            ("/a/.%2e", None, None),
            ("/a%2f..%2fb", None, None),
            ("/a\\..\\b", None, None),
            ("/a%5c..", None, None),
            ("/a%2f../b", None, None),
            ("/a/..%2fb", None, None),
            ("/a%5c%2e%2E/b", None, None),
            ("/a\\..%2fb", None, None),
            ("/a/..;/b", None, None),
            ("/a/.;x=1/b", None, None),
            ("/a/..%3b", None, None),
            ("/a/b;..", None, Some("/a/b;..")),
            ("/a/..%5cb", None, None),
            ("/a/%2e.;x=1/b", None, None),
            ("/a/..%3bx/b", None, None),
            ("/a/..;x%2fb", None, None),
            ("/a/...;x/b", None, Some("/a/...;x/b")),
            ("/a%00", None, None),
            ("/a%0d%0ab", None, None),
            ("/a%7f", None, None),
            ("/a b", None, None),
            ("/\u{fc}", None, None),
            ("/%", None, None),
            ("/%2", None, None),
            ("/%zz", None, None),
            ("/%u002e", None, None),
            ("/%c0%ae%c0%ae", None, None), // an overlong dot
            ("/%ff", None, None),
            ("*", None, None),
            ("", None, None),
            ("a/b", None, None),
        ] {
            for (policy, want) in [(STRICT, strict), (LAX, lax)] {
                let got = CanonicalPath::parse(raw, policy).ok();
                assert_eq!(got.as_ref().map(CanonicalPath::as_str), want, "{raw} {policy:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_is_its_own(raw in "/[a-zA-Z0-9%/.;\\\\~é \\[\\]{}|^\"]{0,24}") {
            for policy in [STRICT, LAX] {
                let Ok(once) = CanonicalPath::parse(&raw, policy) else { continue };
                let once = once.into_owned();
                let twice = CanonicalPath::parse(&once, policy).map(CanonicalPath::into_owned);
                proptest::prop_assert_eq!(twice, Ok(once));
            }
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_in_lower_case() {
        for (raw, want) in [
            ("App.Example.COM", Some("app.example.com")),
            ("app.example.com:80", Some("app.example.com")),
            ("app.example.com:8443", Some("app.example.com:8443")),
            ("self.", Some("self.")),
            ("127.0.0.1:3000", Some("127.0.0.1:3000")),
            ("[::1]", Some("[::1]")),
            ("[::1]:81", Some("[::1]:81")),
            ("my_service", Some("my_service")),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:0", None),
            ("a:99999", None),
            ("a:+80", None),
            ("a:b", None),
            ("a, b", None),
            ("a b", None),
            ("user@a", None),
            ("a/b", None),
            ("a?b", None),
            ("a\\b", None),
            ("[fe80::1%25eth0]", None),
            ("[::1", None),
            ("[::1]x", None),
            ("\u{430}.com", None),
        ] {
            let got = Authority::parse(raw).ok();
            assert_eq!(got.as_ref().map(Authority::as_str), want, "{raw}");
        }
        for (raw, want) in [("a:443", "a"), ("a:80", "a:80"), ("[::1]:443", "[::1]")] {
            assert_eq!(Authority::under(Scheme::Https, raw).unwrap().as_str(), want);
        }
        for (raw, host) in [("a.com.:81", "a.com"), ("[::1]:81", "[::1]"), ("a", "a")] {
            assert_eq!(Authority::parse(raw).unwrap().host(), host);
        }
    }
}
