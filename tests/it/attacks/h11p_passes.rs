//! H11P, the cases that pass: a request with one reading reaches the backend in that reading, what
//! it says reaches it as it came, and so does the answer its client.

use http::Response;

use super::h11p::{CANARY, SMUGGLED, ids, twice};
use super::raw::{Ask, Scene, Socket};
use crate::support::settings::settings_with_public;
use crate::support::{Issuer, Proxy, Upstream};

/// The tests that are here, and the cases that each holds.
#[rustfmt::skip]
pub(super) fn held() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("h11p_a_request_with_one_reading_is_served_and_so_is_the_next", ids(SERVED, |row| row.0)),
        ("h11p_a_request_begins_where_the_one_before_it_ended", ids(BEHIND, |row| row.0)),
        ("h11p_what_is_the_last_request_of_its_connection_is_answered_once_and_then_it_ends", ids(LAST, |row| row.0)),
        ("h11p_what_is_the_backends_business_reaches_it_as_it_came", ids(AS_THEY_CAME, |row| row.0)),
        ("h11p_an_answer_reaches_its_client_as_it_came", ids(ANSWERS, |row| row.0)),
    ]
}

/// Requests with one reading, by their method and what follows `Host`; and the body of that reading.
#[rustfmt::skip]
const SERVED: &[(&str, &str, &str, &str)] = &[
    ("COMP-BASELINE", "GET", "\r\n", ""),
    ("COMP-UNKNOWN-METHOD", "BREW", "\r\n", ""),
    ("COMP-HEAD-NO-BODY", "HEAD", "\r\n", ""),
    ("COMP-EXPECT-UNKNOWN", "GET", "Expect: a-miracle\r\n\r\n", ""),
    ("SMUG-EXPECT-100-CL", "POST", "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", "abc"),
    ("SMUG-EXPECT-100-CL-DESYNC", "PUT", "Content-Length: 49\r\nExpect: 100-Continue\r\n\r\n{smuggled}", SMUGGLED),
    ("COMP-POST-CL-BODY", "POST", "Content-Length: 3\r\n\r\nabc", "abc"),
    ("COMP-POST-CL-ZERO", "POST", "Content-Length: 0\r\n\r\n", ""),
    ("COMP-POST-NO-CL-NO-TE", "POST", "\r\n", ""),
    ("COMP-CHUNKED-BODY", "POST", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("COMP-CHUNKED-MULTI", "POST", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n02\r\nbc\r\n0\r\n\r\n", "abc"),
    ("COMP-CHUNKED-EMPTY", "POST", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
    ("COMP-CHUNKED-HEX-UPPERCASE", "POST", "Transfer-Encoding: chunked\r\n\r\nB\r\nabcdefghijk\r\n0\r\n\r\n", "abcdefghijk"),
    ("COMP-GET-WITH-CL-BODY", "GET", "Content-Length: 3\r\n\r\nabc", "abc"),
    ("SMUG-HEAD-CL-BODY", "HEAD", "Content-Length: 3\r\n\r\nabc", "abc"),
    ("SMUG-OPTIONS-CL-BODY", "OPTIONS", "Content-Length: 3\r\n\r\nabc", "abc"),
    // What looks like a request is a body where a length says so, whatever the method.
    ("SMUG-GET-CL-BODY-DESYNC", "GET", "Content-Length: 49\r\n\r\n{smuggled}", SMUGGLED),
    ("SMUG-OPTIONS-CL-BODY-DESYNC", "OPTIONS", "Content-Length: 49\r\n\r\n{smuggled}", SMUGGLED),
    ("SMUG-GET-CL-PREFIX-DESYNC", "GET", "Content-Length: 17\r\n\r\nGET /smuggled HTT", "GET /smuggled HTT"),
    // Extensions that are none by their grammar. They end where their line does, and stay here:
    // to ignore what one does not know is what RFC 9112 §7.1.1 asks for.
    ("SMUG-CHUNK-BARE-SEMICOLON", "POST", "Transfer-Encoding: chunked\r\n\r\n3;\r\nabc\r\n0\r\n\r\n", "abc"),
    ("SMUG-CHUNK-EXT-INVALID-TOKEN", "POST", "Transfer-Encoding: chunked\r\n\r\n3;smuggled{=}\r\nabc\r\n0\r\n\r\n", "abc"),
    ("SMUG-CHUNK-EXT-CTRL", "POST", "Transfer-Encoding: chunked\r\n\r\n3;\0smuggled\r\nabc\r\n0\r\n\r\n", "abc"),
    ("SMUG-CHUNK-SIZE-TRAILING-OWS", "POST", "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", "abc"),
];

#[tokio::test(flavor = "local")]
async fn h11p_a_request_with_one_reading_is_served_and_so_is_the_next() {
    let scene = Scene::start().await;
    for (id, method, rest, want) in SERVED {
        let rest = rest.replace("{smuggled}", SMUGGLED);
        for text in twice(&scene, &format!("{method} /public/x HTTP/1.1\r\nHost: p\r\n{rest}")) {
            let mut client = Socket::open(&scene.proxy.address).await;
            client.to_head(*method == "HEAD");
            client.send(format!("{text}{CANARY}").as_bytes()).await;
            let mut answer = client.answer().await.unwrap();
            if answer.status == 100 {
                assert!(rest.contains("Expect: 100-"), "{id}");
                answer = client.answer().await.unwrap();
            }
            assert_eq!(answer.status, 200, "{id}");
            client.to_head(false);
            let next: Vec<_> = client.rest().await.iter().map(|answer| answer.status).collect();
            assert_eq!(next, [200], "{id}: the next");
            let seen = scene.take();
            let [first, second] = &seen[..] else { panic!("{id}: {} came", seen.len()) };
            assert_eq!((&first.method[..], &first.body[..]), (*method, want.as_bytes()), "{id}");
            assert_eq!(second.target, "/public/canary", "{id}");
            assert_eq!(first.header("expect"), None, "{id}");
        }
    }
    let text = scene.backend.text();
    assert!(!text.contains(";smuggled") && !text.contains('\0'), "no extension goes on");
}

/// What comes before a request and is none, and the methods that are seen.
#[rustfmt::skip]
const BEHIND: &[(&str, &str, &[&str])] = &[
    ("COMP-LEADING-CRLF", "\r\n\r\n", &["GET"]),
    // Where a body ends the next request begins, with whatever letter.
    ("SMUG-CL0-BODY-POISON", "POST /public/x HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\nX", &["POST", "XGET"]),
];

#[tokio::test(flavor = "local")]
async fn h11p_a_request_begins_where_the_one_before_it_ended() {
    let scene = Scene::start().await;
    for (id, before, want) in BEHIND {
        for before in twice(&scene, before) {
            let answers = scene.send(format!("{before}{CANARY}")).await;
            assert!(answers.iter().all(|answer| answer.status == 200), "{id}");
            let seen = scene.take();
            let methods: Vec<_> = seen.iter().map(|seen| seen.method.as_str()).collect();
            assert_eq!((answers.len(), &methods[..]), (want.len(), *want), "{id}");
        }
    }
}

/// Requests after which their connection ends, because they say so or are of a version that has no
/// other way.
#[rustfmt::skip]
const LAST: &[(&str, &str)] = &[
    ("COMP-CONNECTION-CLOSE", "GET /public/x HTTP/1.1\r\nHost: p\r\nConnection: Close\r\n\r\n"),
    ("COMP-HTTP10-DEFAULT-CLOSE", "GET /public/x HTTP/1.0\r\nHost: p\r\n\r\n"),
    ("COMP-NO-1XX-HTTP10", "POST /public/x HTTP/1.0\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
    ("COMP-UPGRADE-HTTP10", "GET /public/x HTTP/1.0\r\nHost: p\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"),
];

#[tokio::test(flavor = "local")]
async fn h11p_what_is_the_last_request_of_its_connection_is_answered_once_and_then_it_ends() {
    let scene = Scene::start().await;
    for (id, text) in LAST {
        for text in twice(&scene, text) {
            let answers = scene.send(format!("{text}{CANARY}")).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [200], "{id}");
            let seen = scene.take();
            assert_eq!(seen.len(), 1, "{id}");
            assert_eq!((seen[0].header("upgrade"), seen[0].header("connection")), (None, None));
        }
    }
}

/// Lines that are the backend's business.
#[rustfmt::skip]
const AS_THEY_CAME: &[(&str, &str)] = &[
    ("COMP-RANGE-POST", "Range: bytes=1-2"),
    ("COMP-RANGE-INVALID", "Range: bytes=z-a"),
    ("COMP-ACCEPT-NONSENSE", "Accept: text/x-nothing-of-the-kind"),
    ("COMP-POST-UNSUPPORTED-CT", "Content-Type: text/x-nothing-of-the-kind"),
    ("COMP-DUPLICATE-CT", "Content-Type: text/csv\r\nContent-Type: text/xml"),
    ("MAL-RANGE-OVERLAPPING", "Range: bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-"),
    ("CAP-ETAG-304", "If-None-Match: \"v7\""),
    ("CAP-LAST-MODIFIED-304", "If-Modified-Since: Sun, 01 Nov 2026 08:00:00 GMT"),
    ("CAP-INM-PRECEDENCE", "If-None-Match: \"v7\"\r\nIf-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT"),
    ("CAP-INM-WILDCARD", "If-None-Match: *"),
    ("CAP-IMS-FUTURE", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
    ("CAP-IMS-INVALID", "If-Modified-Since: tomorrow"),
    ("CAP-INM-UNQUOTED", "If-None-Match: v7"),
    ("CAP-ETAG-WEAK", "If-None-Match: W/\"v7\""),
    ("COOK-ECHO", "Cookie: one=1"),
    ("COOK-EMPTY", "Cookie:"),
    ("COOK-MALFORMED", "Cookie: ;==;;="),
    ("COOK-MULTI-HEADER", "Cookie: one=1\r\nCookie: two=2"),
    ("COOK-PARSED-BASIC", "Cookie: two=2"),
    ("COOK-PARSED-MULTI", "Cookie: one=1; two=2; three=3"),
    ("COOK-PARSED-EMPTY-VAL", "Cookie: one="),
    ("COOK-PARSED-SPECIAL", "Cookie: one=a b; two=a=b"),
];

#[tokio::test(flavor = "local")]
async fn h11p_what_is_the_backends_business_reaches_it_as_it_came() {
    let scene = Scene::start().await;
    for (id, lines) in AS_THEY_CAME {
        let ask = Ask::new("POST", "/public/x").lines(lines).body("hi");
        for ask in [ask.clone(), Ask { target: "/api".to_owned(), ..ask.bearer(&scene.token()) }] {
            assert_eq!(scene.ask(&ask).await.status, 200, "{id}");
            let seen = scene.take().remove(0);
            let sent = |name: &str| {
                let own = ask.lines.iter().filter(|line| line.0.eq_ignore_ascii_case(name));
                own.map(|line| line.1.clone()).collect::<Vec<_>>()
            };
            for (name, _) in &ask.lines {
                let came = seen.headers.get_all(name).iter();
                let came: Vec<_> = came.map(|value| value.to_str().unwrap().to_owned()).collect();
                assert_eq!(came, sent(name), "{id}");
            }
        }
    }
}

/// What a backend answers with, by method, status and line.
#[rustfmt::skip]
const ANSWERS: &[(&str, &str, u16, (&str, &str))] = &[
    ("COMP-405-ALLOW", "DELETE", 405, ("allow", "GET, PUT")),
    ("COMP-OPTIONS-ALLOW", "OPTIONS", 200, ("allow", "GET, PUT")),
    ("COMP-NO-CL-IN-204", "OPTIONS", 204, ("allow", "GET, PUT")),
    ("COMP-DATE-HEADER", "GET", 200, ("date", "Sun, 01 Nov 2026 08:00:00 GMT")),
    ("COMP-DATE-FORMAT", "GET", 200, ("date", "Sunday, 01-Nov-26 08:00:00 GMT")),
    ("COMP-CONTENT-TYPE", "GET", 200, ("content-type", "text/x-nothing-of-the-kind")),
    ("CAP-ETAG-IN-304", "GET", 304, ("etag", "\"v7\"")),
];

#[tokio::test(flavor = "local")]
async fn h11p_an_answer_reaches_its_client_as_it_came() {
    let issuer = Issuer::start(countersign::clock::Clock::System).unwrap();
    for (id, method, status, (name, value)) in ANSWERS {
        let body = if [204, 304].contains(status) { "" } else { "hi" };
        let upstream = Upstream::answering(move |_| {
            let response = Response::builder().status(*status).header(*name, *value);
            response.body(body.into()).unwrap()
        })
        .await;
        let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
        for ask in [Ask::new(method, "/public"), Ask::new(method, "/api").bearer(&issuer.token())] {
            let mut client = Socket::open(&proxy.address).await;
            client.send(&ask.h1()).await;
            let answer = client.answer().await.unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (*status, body), "{id}");
            assert_eq!(answer.headers.get_all(*name).iter().count(), 1, "{id}");
            assert_eq!(answer.header(name), Some(*value), "{id}");
            let length = answer.header("content-length");
            assert_eq!(length.is_none(), [204, 304].contains(status), "{id}: {length:?}");
        }
    }
}
