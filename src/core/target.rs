//! What a request is for: read once, in the one form that is matched, signed and forwarded.

use http::header::HOST;
use http::{HeaderMap, Method, Uri};

use crate::core::origin::Scheme;
use crate::core::path::{self, Authority, CanonicalPath, PathPolicy};
use crate::core::reject::Reject;

/// Method, host and path of a request.
#[derive(Debug)]
pub struct Target<'a> {
    /// The method.
    pub method: &'a Method,
    /// How the request came to us.
    pub scheme: Scheme,
    /// The host, and its port where it is not the usual one.
    pub authority: Authority,
    /// The path, as rules compare it.
    pub path: CanonicalPath<'a>,
    /// Path and query, as they are forwarded.
    pub uri: Uri,
}

impl<'a> Target<'a> {
    /// Reads the target of a request that came by `scheme`.
    ///
    /// # Errors
    ///
    /// [`Reject::MethodRefused`] for TRACE, which would echo credentials, and CONNECT, which would
    /// make us a tunnel. [`Reject::RequestMalformed`] where there is not one host, where it differs
    /// from that of an absolute target (RFC 9112 §3.2.2), where such a target is of another scheme
    /// (RFC 9110 §7.4), or by [`CanonicalPath::parse`].
    pub fn read(
        method: &'a Method,
        uri: &'a Uri,
        headers: &HeaderMap,
        scheme: Scheme,
        policy: PathPolicy,
    ) -> Result<Self, Reject> {
        if *method == Method::TRACE || *method == Method::CONNECT {
            return Err(Reject::MethodRefused);
        }
        let authority = authority(headers, scheme)?;
        if let Some(own) = uri.authority()
            && Authority::under(scheme, own.as_str())? != authority
        {
            return Err(Reject::RequestMalformed(
                "the target's host is not that of the Host header",
            ));
        }
        if uri.scheme_str().is_some_and(|own| Scheme::parse(own) != Some(scheme)) {
            return Err(Reject::RequestMalformed("the target has another scheme than it came by"));
        }
        path::check_query(uri.query())?;
        let path = CanonicalPath::parse(uri.path(), policy)?;
        let as_it_came = uri.authority().is_none() && path.as_str() == uri.path();
        let uri = if as_it_came { uri.clone() } else { origin_form(path.as_str(), uri.query())? };
        Ok(Self { method, scheme, authority, path, uri })
    }
}

/// The one `Host` of a request.
fn authority(headers: &HeaderMap, scheme: Scheme) -> Result<Authority, Reject> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let text = host.to_str().map_err(|_| Reject::RequestMalformed("the host is none"))?;
            Authority::under(scheme, text)
        }
        (None, _) => Err(Reject::RequestMalformed("no Host header")),
        (Some(_), Some(_)) => Err(Reject::RequestMalformed("more than one Host header")),
    }
}

/// The target in origin form, for a request line (RFC 9112 §3.2.1).
fn origin_form(path: &str, query: Option<&str>) -> Result<Uri, Reject> {
    let text = query.map(|query| format!("{path}?{query}"));
    Uri::try_from(text.as_deref().unwrap_or(path))
        .map_err(|_| Reject::RequestMalformed("the request target is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_in_one_way_or_not_at_all() {
        use Scheme::{Http, Https};
        for (scheme, method, target, hosts, want) in [
            (Http, "GET", "/a?b=c", &["App.Test"][..], Some(("app.test", "/a?b=c"))),
            (Http, "GET", "/%61", &["app.test:80"], Some(("app.test", "/a"))),
            (Http, "GET", "http://app.test/a?b", &["app.test"], Some(("app.test", "/a?b"))),
            (Http, "GET", "http://APP.test:80", &["app.test"], Some(("app.test", "/"))),
            (Http, "GET", "http://app.test/a", &["evil.test"], None),
            (Http, "GET", "http://user@app.test/a", &["app.test"], None),
            (Http, "GET", "https://app.test/a", &["app.test"], None),
            (Http, "GET", "HTTP://app.test/a", &["app.test"], Some(("app.test", "/a"))),
            (Https, "GET", "/a", &["app.test:443"], Some(("app.test", "/a"))),
            (Https, "GET", "/a", &["app.test:80"], Some(("app.test:80", "/a"))),
            (Https, "GET", "https://app.test/a", &["app.test:443"], Some(("app.test", "/a"))),
            (Https, "GET", "http://app.test/a", &["app.test"], None),
            (Http, "GET", "/a", &[], None),
            (Http, "GET", "/a", &["a.test", "a.test"], None),
            (Http, "GET", "/a", &["a.test, b.test"], None),
            (Http, "GET", "/a/../b", &["a.test"], None),
            (Http, "OPTIONS", "*", &["a.test"], None),
            (Http, "TRACE", "/a", &["a.test"], None),
            (Http, "CONNECT", "a.test:443", &["a.test"], None),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            let (method, uri) = (method.parse().unwrap(), target.parse().unwrap());
            let got = Target::read(&method, &uri, &headers, scheme, PathPolicy::default());
            let got = got.map(|it| (it.authority.as_str().to_owned(), it.uri.to_string())).ok();
            let want = want.map(|(host, uri)| (host.to_owned(), uri.to_owned()));
            assert_eq!(got, want, "{scheme:?} {method} {target}");
        }
    }
}
