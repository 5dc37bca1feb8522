//! A request as a browser's script sends it through a load balancer.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What comes with every request, beside the one header that says who calls.
const USUAL: [(&str, &str); 11] = [
    ("host", "app.example.com"),
    ("connection", "keep-alive"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://app.example.com/orders?page=2"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
];

/// The twelve headers of a request with this credential.
pub(crate) fn headers(name: HeaderName, credential: &str) -> HeaderMap {
    let usual = USUAL
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let credential = HeaderValue::from_str(credential).expect("a credential is visible ASCII");
    usual.chain([(name, credential)]).collect()
}
