//! What the fuzz targets hold the proxy against: the same rules once more, written for whoever
//! reads them beside the standard and not for speed, and without a line of the proxy's own.
//!
//! Inputs are text, so that a corpus can be read: a line is a header, or a word of settings.

pub mod base64url;
pub mod json;
pub mod token;

use countersign::core::form::Way;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Parts an input into lines.
pub fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}

/// Parts an input into its first line and the rest.
pub fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}

/// Reads lines of `name: value` as a connection would hand them on; what is no header is left out.
pub fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines(data) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default());
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// The way of a request, as the backend is told it.
pub fn way() -> Way {
    let [host, id, proto] = ["app.test", "1", "http"].map(HeaderValue::from_static);
    Way::new(host, id, proto)
}

/// Takes the headers of [`way`] off a head that was signed, each of which is there once.
pub fn without_way(mut head: HeaderMap) -> HeaderMap {
    for (name, value) in [
        ("host", "app.test"),
        ("x-request-id", "1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app.test"),
    ] {
        assert_eq!(head.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        head.remove(name);
    }
    head
}

/// Reads each line as a value of the header `name`.
pub fn values(name: &HeaderName, data: &[u8]) -> HeaderMap {
    let values = lines(data).filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (name.clone(), value)).collect()
}
