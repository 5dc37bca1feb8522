//! A request as somebody wrote it down, in the words of `curl`.

use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::core::browser::BrowserSettings;
use crate::core::clerk::public_url::origin_of;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What was written.
#[derive(Clone, Default)]
pub struct Written {
    /// The address as a browser has it, or a path; nothing: `/`.
    pub url: Option<String>,
    /// The method; nothing: GET, or POST where there is a body.
    pub method: Option<String>,
    /// Headers, as `Name: value`.
    pub headers: Vec<String>,
    /// Cookies, as `name=value; name=value`.
    pub cookies: Vec<String>,
    /// Whether there is a body.
    pub has_body: bool,
}

/// Shows nothing: credentials stand in there.
impl std::fmt::Debug for Written {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Written({} headers)", self.headers.len())
    }
}

/// A request that somebody asks about.
#[derive(Clone)]
pub struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The origin that the browser has, where a whole address was written.
    pub(super) origin: Option<String>,
    /// What was made of what was written, in sentences.
    pub(super) notes: Vec<String>,
}

/// Shows nothing: credentials stand in there.
impl std::fmt::Debug for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Asked({} headers)", self.headers.len())
    }
}

/// What was written is no request. Says where, and not what: credentials may stand anywhere.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRequest {
    /// The address is none.
    #[error(
        "--url: no address; write one like `https://app.example.com/orders?x=1` or `/orders`, with what is not ASCII percent-encoded"
    )]
    Url,
    /// The method is none.
    #[error("--method: no method; write one like GET")]
    Method,
    /// A header, counted from 1, is none.
    #[error("--header number {0}: not `Name: value`")]
    Header(usize),
    /// The value of the header of this name is none.
    #[error("--header {0}: a character that no header has in its value")]
    Value(HeaderName),
    /// A cookie line, counted from 1, is none.
    #[error("--cookie number {0}: not `name=value; name=value`")]
    Cookie(usize),
}

impl Asked {
    /// Reads a request, with the defaults of a browser that opens a page.
    ///
    /// # Errors
    ///
    /// [`BadRequest`], by what is wrong.
    pub fn parse(
        written: &Written,
        browsers: Option<&BrowserSettings>,
    ) -> Result<Self, BadRequest> {
        let mut notes = Vec::new();
        let place = Place::parse(written.url.as_deref().unwrap_or("/"))?;
        let target = place.without_prefix(browsers, &mut notes);
        let uri = Uri::try_from(target).map_err(|_| BadRequest::Url)?;
        let mut headers = headers(&written.headers)?;
        if let Some(line) = cookie_line(&written.cookies)? {
            headers.append(COOKIE, line);
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, place.host_header(browsers, &mut notes)?);
        }
        let method = match (&written.method, written.has_body) {
            (Some(text), _) => text.trim().parse().map_err(|_| BadRequest::Method)?,
            (None, true) => Method::POST,
            (None, false) => Method::GET,
        };
        add_defaults(&mut headers, &mut notes);
        Ok(Self { method, uri, headers, origin: place.origin(), notes })
    }
}

/// Where a request goes.
struct Place {
    /// `https` and `app.example.com`.
    whole: Option<(&'static str, String)>,
    /// Path and query.
    target: String,
}

impl Place {
    fn parse(text: &str) -> Result<Self, BadRequest> {
        let text = text.trim();
        let text = text.split('#').next().unwrap_or_default(); // browsers keep it to themselves
        if text.starts_with('/') {
            return Ok(Self { whole: None, target: text.to_owned() });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => "https",
            "http" | "ws" => "http",
            _ => return Err(BadRequest::Url),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or_default(); // browsers send no user
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(usual).unwrap_or(host);
        if host.is_empty() {
            return Err(BadRequest::Url);
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { whole: Some((scheme, host.to_owned())), target: format!("{slash}{target}") })
    }

    fn origin(&self) -> Option<String> {
        let (scheme, host) = self.whole.as_ref()?;
        origin_of(&format!("{scheme}://{host}"))
    }

    /// Takes off the path what a proxy before us takes off.
    fn without_prefix(
        &self,
        browsers: Option<&BrowserSettings>,
        notes: &mut Vec<String>,
    ) -> String {
        let settings = browsers.filter(|it| {
            let public = it.origins.public.as_deref().and_then(origin_of);
            !it.prefix.is_empty() && public.is_some() && public == self.origin()
        });
        let rest = settings.and_then(|it| self.target.strip_prefix(&it.prefix));
        let rest = rest.filter(|it| it.is_empty() || it.starts_with(['/', '?']));
        let Some(rest) = rest else { return self.target.clone() };
        notes.push(
            "The path of `public_url` was taken off, as the proxy before this one has to.".into(),
        );
        let slash = if rest.starts_with('/') { "" } else { "/" };
        format!("{slash}{rest}")
    }

    fn host_header(
        &self,
        browsers: Option<&BrowserSettings>,
        notes: &mut Vec<String>,
    ) -> Result<HeaderValue, BadRequest> {
        let public = browsers.and_then(|it| it.origins.public.as_deref());
        let public = public.and_then(|it| it.split("://").nth(1));
        let host = match (&self.whole, public) {
            (Some((_, host)), _) => host,
            (None, host) => {
                let host = host.unwrap_or("localhost");
                notes.push(format!("No host was given: it is taken for one to {host}."));
                host
            }
        };
        HeaderValue::from_str(host).map_err(|_| BadRequest::Url)
    }
}

/// Reads lines of headers. Pseudo-headers, as browsers' developer tools show them, are left out,
/// and so is a line that begins a request.
fn headers(lines: &[String]) -> Result<HeaderMap, BadRequest> {
    let mut headers = HeaderMap::new();
    for (place, line) in lines.iter().enumerate() {
        let line = line.trim();
        let begins = line.ends_with("HTTP/1.1") || line.ends_with("HTTP/1.0");
        if line.is_empty() || line.starts_with(':') || begins {
            continue;
        }
        // As for curl, `Name;` is a header without a value.
        let (name, value) = match line.split_once(':') {
            Some(parts) => parts,
            None => (line.strip_suffix(';').ok_or(BadRequest::Header(place + 1))?, ""),
        };
        let name: HeaderName = name.trim().parse().map_err(|_| BadRequest::Header(place + 1))?;
        let value = HeaderValue::from_bytes(value.trim().as_bytes());
        let value = value.map_err(|_| BadRequest::Value(name.clone()))?;
        headers.try_append(name, value).map_err(|_| BadRequest::Header(place + 1))?;
    }
    Ok(headers)
}

/// Makes one line of cookies; nothing where there are none.
fn cookie_line(cookies: &[String]) -> Result<Option<HeaderValue>, BadRequest> {
    let mut lines = Vec::new();
    for (place, line) in cookies.iter().enumerate() {
        let line = line.trim();
        let start = line.get(.."cookie:".len()).filter(|it| it.eq_ignore_ascii_case("cookie:"));
        let line = line[start.map_or(0, str::len)..].trim().trim_end_matches(';');
        if line.is_empty() {
            continue;
        }
        if !line.contains('=') || HeaderValue::from_str(line).is_err() {
            return Err(BadRequest::Cookie(place + 1));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_str(&lines.join("; ")).map(Some).map_err(|_| BadRequest::Cookie(1))
}

/// Adds what tells a page from a script's request, where nothing was said of it.
fn add_defaults(headers: &mut HeaderMap, notes: &mut Vec<String>) {
    if headers.contains_key(ACCEPT) || headers.contains_key(SEC_FETCH_DEST) {
        return;
    }
    if headers.contains_key(AUTHORIZATION) {
        notes.push("There is an `Authorization`, so it is taken for a script's request and not for a page (no `Accept`, no `Sec-Fetch-Dest`).".into());
        return;
    }
    headers.insert(ACCEPT, HeaderValue::from_static("text/html"));
    headers.insert(SEC_FETCH_DEST, HeaderValue::from_static("document"));
    notes.push("No `Accept` and no `Sec-Fetch-Dest` was given: it is taken for a browser that opens a page (`Accept: text/html`, `Sec-Fetch-Dest: document`).".into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str, headers: &[&str], cookies: &[&str]) -> Result<Asked, BadRequest> {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let (headers, cookies) = (texts(headers), texts(cookies));
        let written = Written { url: Some(url.into()), headers, cookies, ..Written::default() };
        Asked::parse(&written, None)
    }

    #[test]
    fn an_address_is_read_as_a_browser_reads_it() {
        for (url, want) in [
            ("https://app.example.com/orders?x=1", Some(("app.example.com", "/orders?x=1"))),
            ("https://app.example.com", Some(("app.example.com", "/"))),
            ("https://app.example.com?x", Some(("app.example.com", "/?x"))),
            ("HTTPS://app.example.com:443/a#top", Some(("app.example.com", "/a"))),
            ("http://localhost:4600/a", Some(("localhost:4600", "/a"))),
            ("http://user:secret@a.com/", Some(("a.com", "/"))),
            ("app.example.com/a", Some(("app.example.com", "/a"))),
            ("/orders", Some(("localhost", "/orders"))),
            ("//evil.com/a", Some(("localhost", "//evil.com/a"))),
            ("", None),
            ("ftp://a.com/", None),
            ("https:///a", None),
            ("https://a.com/a b", None),
        ] {
            let got = asked(url, &[], &[]);
            let got = got.as_ref().ok().map(|it| (&it.headers[HOST], it.uri.to_string()));
            let got = got.map(|(host, uri)| (host.to_str().unwrap().to_owned(), uri));
            let want = want.map(|(host, uri)| (host.to_owned(), uri.to_owned()));
            assert_eq!(got, want, "{url}");
        }
    }

    #[test]
    fn headers_and_cookies_are_read_as_developer_tools_copy_them() {
        let lines =
            [":authority: a.com", "GET /a HTTP/1.1", "accept:  */*", "x-empty;", "X-B: 1:2"];
        let got = asked("/", &lines, &["a=1; b=2;", "Cookie: c=3", ""]).unwrap();
        let value = |name: &str| got.headers[name].to_str().unwrap();
        assert_eq!([value("accept"), value("x-empty"), value("x-b")], ["*/*", "", "1:2"]);
        assert_eq!(value("cookie"), "a=1; b=2; c=3");
        assert_eq!((got.headers.len(), got.notes.len()), (5, 1), "{:?}", got.notes);
    }

    #[test]
    fn what_is_no_request_is_told_without_what_was_written() {
        for (header, cookie, want) in [
            ("eyJhbGciOi", "", BadRequest::Header(1)),
            ("eyJ hbG: x", "", BadRequest::Header(1)),
            ("x: a\nb", "", BadRequest::Value(HeaderName::from_static("x"))),
            ("x: y", "eyJhbGciOi", BadRequest::Cookie(1)),
            ("x: y", "a=\u{1}", BadRequest::Cookie(1)),
        ] {
            let got = asked("/", &[header], &[cookie]).unwrap_err();
            assert_eq!(got, want, "{header} {cookie}");
            assert!(!got.to_string().contains("eyJ"), "{got}");
        }
    }

    #[test]
    fn a_page_is_what_nothing_else_was_said_of() {
        for (headers, page) in [
            (&[][..], true),
            (&["x-a: 1"], true),
            (&["Accept: */*"], false),
            (&["sec-fetch-dest: empty"], false),
            (&["authorization: Bearer a.b.c"], false),
        ] {
            let got = asked("/", headers, &[]).unwrap();
            let dest = got.headers.get(SEC_FETCH_DEST).is_some_and(|it| it == "document");
            assert_eq!(dest, page, "{headers:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_written_makes_it_panic(url in ".{0,40}", line in ".{0,40}") {
            let written = Written {
                url: Some(url),
                method: Some(line.clone()),
                headers: vec![line.clone()],
                cookies: vec![line],
                has_body: false,
            };
            let _ = Asked::parse(&written, None);
            let _ = Asked::parse(&Written { method: None, ..written }, None);
        }
    }
}
