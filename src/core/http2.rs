//! What a request over HTTP/2 is to everything behind its connection: the same as one over HTTP/1.1.

use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::core::reject::Reject;

/// Brings target and headers of an HTTP/2 request into the one form that all rules read: the host
/// in `Host` alone, the target without scheme and host, cookies in one line. What `CONNECT` names
/// stays as it is; nobody lets it through.
///
/// The scheme it names says nothing: a proxy before us that ends TLS may pass on `https`, and
/// whoever has no such proxy can write what they like (RFC 9113 §8.3.1).
///
/// # Errors
///
/// [`Reject::HeadTooLarge`] where there are more than `most` headers: each takes memory here and
/// at the backend, and costs a sender one byte (HPACK). [`Reject::RequestMalformed`] where `Host`
/// names another host than `:authority`.
pub fn as_http1(
    method: &Method,
    uri: Uri,
    headers: &mut HeaderMap,
    most: usize,
) -> Result<Uri, Reject> {
    if headers.len() > most {
        return Err(Reject::HeadTooLarge);
    }
    if *method == Method::CONNECT {
        return Ok(uri);
    }
    if let Some(authority) = uri.authority() {
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.map_err(|_| Reject::RequestMalformed("the authority is none"))?;
        let others = headers
            .get_all(HOST)
            .iter()
            .any(|other| !other.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
        if others {
            return Err(Reject::RequestMalformed("Host is not :authority"));
        }
        headers.insert(HOST, host);
    }
    join_cookies(headers);
    Ok(uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default())
}

/// Joins cookies that came in several lines, as HTTP/2 may split them (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(_), Some(_)) = (lines.next(), lines.next()) else { return };
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&lines.join(&b"; "[..]));
    headers.insert(COOKIE, joined.expect("what joins them is visible"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        method: &Method,
        uri: &str,
        lines: &[(&'static str, &str)],
    ) -> Result<(String, HeaderMap), Reject> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let uri = as_http1(method, uri.parse().unwrap(), &mut headers, 4)?;
        Ok((uri.to_string(), headers))
    }

    #[test]
    fn host_and_target_are_where_http_1_has_them() {
        for (uri, host, want) in [
            ("https://app.test/a?b", None, Some(("/a?b", "app.test"))),
            ("http://APP.test:80/a", Some("app.test:80"), Some(("/a", "APP.test:80"))),
            ("http://app.test/a", Some("evil.test"), None),
            ("/a", Some("app.test"), Some(("/a", "app.test"))),
        ] {
            let host: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
            let got = read(&Method::GET, uri, &host).ok();
            let got =
                got.as_ref().map(|(uri, headers)| (uri.as_str(), headers[HOST].to_str().unwrap()));
            assert_eq!(got, want, "{uri} {host:?}");
        }
        let two = [("host", "app.test"), ("host", "evil.test")];
        assert!(read(&Method::GET, "http://app.test/", &two).is_err());
        let (uri, headers) = read(&Method::CONNECT, "app.test:443", &[]).unwrap();
        assert_eq!((uri.as_str(), headers.len()), ("app.test:443", 0));
    }

    #[test]
    fn cookies_are_one_line() {
        for (lines, want) in [
            (&["a=1"][..], "a=1"),
            (&["a=1", "b=2"], "a=1; b=2"),
            (&["a=1; b=2", "c=3"], "a=1; b=2; c=3"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let (_, headers) = read(&Method::GET, "http://a/", &lines).unwrap();
            let got: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(got, [want]);
        }
    }

    #[test]
    fn headers_are_counted_as_they_came() {
        let lines = |count| vec![("cookie", "a"); count];
        assert!(read(&Method::GET, "http://a/", &lines(4)).is_ok());
        assert_eq!(read(&Method::GET, "http://a/", &lines(5)).unwrap_err(), Reject::HeadTooLarge);
    }
}
