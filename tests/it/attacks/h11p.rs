//! H11P: the cases of Http11Probe, a public probe of servers of HTTP/1.1, under its names.
//!
//! Here stand those that end their connection and that no other row of this catalogue holds; those
//! that pass are in `h11p_passes`, and `h11p_index` says for every one which test holds it. Bytes and
//! verdicts are ours: where the probe wants one thing and the standard leaves a choice, the row says
//! what we chose. Each is sent twice, to a route for everybody and, with a good token, to one for who
//! is signed in, and has a request behind it: what the backend saw is the one right reading, or
//! nothing.

use super::raw::{Scene, Socket, latin1};
use crate::support::until;

/// The request behind each case, after which the proxy closes.
pub(super) const CANARY: &str =
    "GET /public/canary HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n";

/// A request that nobody sent, to where everybody may send one.
pub(super) const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n";

/// A POST with these lines and this body. `{smuggled}` in the body is the request that nobody sent,
/// `{length}` in the lines the length of all that follows.
fn post(lines: &str, body: &str) -> String {
    let body = body.replace("{smuggled}", SMUGGLED);
    let lines = lines.replace("{length}", &body.len().to_string());
    format!("POST /public/x HTTP/1.1\r\nHost: p\r\n{lines}\r\n\r\n{body}")
}

/// A request as everybody may send it, and as who is signed in sends it where others may not.
pub(super) fn twice(scene: &Scene, text: &str) -> [String; 2] {
    let guarded = text.replacen("/public/", "/api/", 1);
    let signed = guarded.replacen("Host: p\r\n", &format!("Host: p\r\n{}", scene.bearer()), 1);
    [text.to_owned(), signed]
}

/// The names of the cases of a table.
pub(super) fn ids<Row>(table: &[Row], id: impl Fn(&Row) -> &'static str) -> Vec<&'static str> {
    table.iter().map(id).collect()
}

/// The tests that are here, and the cases that each holds.
#[rustfmt::skip]
pub(super) fn held() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("h11p_a_head_that_cannot_be_read_ends_its_connection", ids(UNREADABLE, |row| row.0)),
        ("h11p_a_length_that_is_said_in_two_ways_is_refused_before_a_byte_goes_on", ids(LENGTHS, |row| row.0)),
        ("h11p_a_body_whose_chunks_are_none_ends_its_connection_and_is_nobodys", ids(BROKEN, |row| row.0)),
        ("h11p_of_a_length_and_chunks_the_chunks_count_and_nothing_behind_them_does", ids(BOTH, |row| row.0)),
        ("h11p_trailers_that_nobody_announced_go_nowhere_and_harm_no_body", ids(TRAILERS, |row| row.0)),
        ("h11p_a_request_that_nobody_finished_is_nobodys", ids(UNFINISHED, |row| row.0)),
    ]
}

/// Heads that nobody can read, each to its end or beyond.
const UNREADABLE: &[(&str, &str)] = &[
    ("RFC9112-5-EMPTY-HEADER-NAME", "GET /public/x HTTP/1.1\r\nHost: p\r\n: nameless\r\n\r\n"),
    ("RFC9112-5-INVALID-HEADER-NAME", "GET /public/x HTTP/1.1\r\nHost: p\r\nX{1}: 1\r\n\r\n"),
    ("RFC9112-3-MISSING-TARGET", "POST HTTP/1.1\r\nHost: p\r\n\r\n"),
    ("RFC9112-2.3-HTTP09-REQUEST", "GET /public/x\r\n"),
    ("COMP-WHITESPACE-BEFORE-HEADERS", "GET /public/x HTTP/1.1\r\n\t\r\nHost: p\r\n\r\n"),
    ("COMP-REQUEST-LINE-TAB", "GET /public/x\tHTTP/1.1\r\nHost: p\r\n\r\n"),
    ("COMP-VERSION-MISSING-MINOR", "GET /public/x HTTP/1.\r\nHost: p\r\n\r\n"),
    ("COMP-VERSION-LEADING-ZEROS", "GET /public/x HTTP/1.01\r\nHost: p\r\n\r\n"),
    ("COMP-VERSION-WHITESPACE", "GET /public/x HTTP/1 .1\r\nHost: p\r\n\r\n"),
    ("COMP-VERSION-CASE", "GET /public/x Http/1.1\r\nHost: p\r\n\r\n"),
    ("COMP-HTTP10-NO-HOST", "GET /public/x HTTP/1.0\r\nX: 1\r\n\r\n"),
    ("MAL-BINARY-GARBAGE", "\u{9d}\u{1}\u{e7}\u{8}\u{fe}\u{3}\0\u{91}\u{ff}\u{10}\u{c4}"),
    ("MAL-NUL-IN-URL", "GET /public/a\0b HTTP/1.1\r\nHost: p\r\n\r\n"),
    ("MAL-NON-ASCII-HEADER-NAME", "GET /public/x HTTP/1.1\r\nHost: p\r\nX\u{c3}\u{bc}: 1\r\n\r\n"),
    ("MAL-WHITESPACE-ONLY-LINE", " \t \r\n\r\n"),
    (
        "NORM-TAB-IN-NAME",
        "POST /public/x HTTP/1.1\r\nHost: p\r\nContent-Length: 2\r\nContent\tLength: 9\r\n\r\nhi",
    ),
    (
        "SMUG-TE-HTTP10",
        "POST /public/x HTTP/1.0\r\nHost: p\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "SMUG-OPTIONS-TE-OBS-FOLD",
        "OPTIONS /public/x HTTP/1.1\r\nHost: p\r\nTransfer-Encoding:\r\n  chunked\r\n\r\n0\r\n\r\n",
    ),
    ("COOK-NUL", "GET /public/x HTTP/1.1\r\nHost: p\r\nCookie: a=1\0; b=2\r\n\r\n"),
    ("COOK-CONTROL-CHARS", "GET /public/x HTTP/1.1\r\nHost: p\r\nCookie: a=\u{2}\u{1b}\r\n\r\n"),
];

#[tokio::test(flavor = "local")]
async fn h11p_a_head_that_cannot_be_read_ends_its_connection() {
    let scene = Scene::start().await;
    for (_, head) in UNREADABLE {
        for head in twice(&scene, head) {
            scene.refuses_bytes(latin1(&format!("{head}{CANARY}")), 400).await;
        }
    }
}

/// Lines that say how long a body is, each in a way that means another length to somebody, or
/// chunks to one reader and a length to the next.
#[rustfmt::skip]
const LENGTHS: &[(&str, &str, &str)] = &[
    ("SMUG-CL-OCTAL", "Content-Length: 0o2", "hi"),
    ("SMUG-CL-UNDERSCORE", "Content-Length: 0_2", "hi"),
    ("SMUG-CL-NEGATIVE-ZERO", "Content-Length: -00", ""),
    ("COMP-UNKNOWN-TE-501", "Transfer-Encoding: br", ""),
    ("SMUG-TE-XCHUNKED", "Transfer-Encoding: x-chunked\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-SP-BEFORE-COLON", "Transfer-Encoding : chunked\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-EMPTY-VALUE", "Transfer-Encoding:\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-DUPLICATE-HEADERS", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-VTAB", "Transfer-Encoding: chunked\u{b}\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-FORMFEED", "Transfer-Encoding: chunked\u{c}\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-NULL", "Transfer-Encoding: \0chunked\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-IDENTITY", "Content-Length: 2\r\nTransfer-Encoding: identity", "hi"),
    ("SMUG-TE-OBS-FOLD", "Content-Length: 2\r\nTransfer-Encoding:\r\n\tchunked", "hi"),
    ("SMUG-CHUNKED-WITH-PARAMS", "Transfer-Encoding: chunked; a=b\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-TRAILING-COMMA", "Transfer-Encoding: chunked ,\r\nContent-Length: 2", "hi"),
    ("SMUG-CLTE-SMUGGLED-GET-CL-PLUS", "Content-Length: +{length}\r\nTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", "Content-Length: {length}x\r\nTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}"),
    ("SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD", "Content-Length: {length}\r\nTransfer-Encoding:\r\n chunked", "0\r\n\r\n{smuggled}"),
    ("SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\nContent-Length: {length}", "0\r\n\r\n{smuggled}"),
    ("SMUG-DUPLICATE-CL-SMUGGLED-GET", "Content-Length: 2\r\nContent-Length: {length}", "hi{smuggled}"),
];

#[tokio::test(flavor = "local")]
async fn h11p_a_length_that_is_said_in_two_ways_is_refused_before_a_byte_goes_on() {
    let scene = Scene::start().await;
    for (_, lines, body) in LENGTHS {
        for text in twice(&scene, &post(lines, body)) {
            scene.refuses_bytes(latin1(&format!("{text}{CANARY}")), 400).await;
        }
    }
}

/// Bodies that are in chunks to us, and not to their end. Of what came before the fault the backend
/// may see a part, and never a whole request.
#[rustfmt::skip]
const BROKEN: &[(&str, &str, &str)] = &[
    ("SMUG-TE-TRAILING-SPACE", "Transfer-Encoding: chunked\t \r\nContent-Length: 2", "hi"),
    ("SMUG-TE-TAB-BEFORE-VALUE", "Transfer-Encoding: \tchunked\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-CASE-MISMATCH", "Transfer-Encoding: CHUNKED\r\nContent-Length: 2", "hi"),
    ("NORM-CASE-TE", "Content-Length: 2\r\nTRANSFER-encoding: chunked", "hi"),
    ("SMUG-TE-DOUBLE-CHUNKED", "Transfer-Encoding: chunked,chunked\r\nContent-Length: 2", "hi"),
    ("SMUG-TE-LEADING-COMMA", "Transfer-Encoding: ,chunked\r\nContent-Length: 2", "hi"),
    ("SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA", "Content-Length: {length}\r\nTransfer-Encoding: ,chunked", "0\r\n\r\n{smuggled}"),
    ("SMUG-CHUNK-EXT-LF", "Transfer-Encoding: chunked", "2;a\nhi\r\n0\r\n\r\n"),
    ("SMUG-CHUNK-EXT-CR", "Transfer-Encoding: chunked", "2;a=\rb\r\nhi\r\n0\r\n\r\n"),
    ("SMUG-CHUNK-BARE-CR-TERM", "Transfer-Encoding: chunked", "2\rhi\r\n0\r\n\r\n"),
    ("SMUG-CHUNK-INVALID-SIZE-DESYNC", "Transfer-Encoding: chunked", "-0\r\n\r\nX"),
];

#[tokio::test(flavor = "local")]
async fn h11p_a_body_whose_chunks_are_none_ends_its_connection_and_is_nobodys() {
    let scene = Scene::start().await;
    for (id, lines, body) in BROKEN {
        for text in twice(&scene, &post(lines, body)) {
            let answers = scene.send(format!("{text}{CANARY}")).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [400], "{id}");
            assert_eq!(answers[0].header("connection"), Some("close"), "{id}");
            assert!(scene.take().is_empty(), "{id}: no whole request");
            let odd = scene.backend.odd();
            assert!(odd.iter().all(|odd| odd.starts_with("an end in a ")), "{id}: {odd:?}");
        }
    }
}

/// Both a length and chunks, and what is the body by the chunks. The standard lets a server refuse
/// them; where it does not, no length goes on and the connection ends (RFC 9112 §6.1, §6.3).
#[rustfmt::skip]
const BOTH: &[(&str, &str, &str, &str)] = &[
    ("SMUG-CL-TE-BOTH", "Content-Length: {length}\r\nTransfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n", "hi"),
    ("SMUG-CLTE-PIPELINE", "Content-Length: 1\r\nTransfer-Encoding: chunked", "0\r\n\r\n", ""),
    ("SMUG-TECL-PIPELINE", "Transfer-Encoding: chunked\r\nContent-Length: 99", "0\r\n\r\n", ""),
    ("SMUG-CLTE-CONN-CLOSE", "Content-Length: 0\r\nTransfer-Encoding: chunked", "1\r\na\r\n0\r\n\r\n", "a"),
    ("SMUG-TECL-CONN-CLOSE", "Transfer-Encoding: chunked\r\nContent-Length: 0", "1\r\na\r\n0\r\n\r\n", "a"),
    ("SMUG-CLTE-DESYNC", "Content-Length: {length}\r\nTransfer-Encoding: chunked", "0\r\n\r\nP", ""),
    ("SMUG-TECL-DESYNC", "Transfer-Encoding: chunked\r\nContent-Length: 40", "0\r\n\r\nP", ""),
    ("SMUG-CLTE-SMUGGLED-GET", "Content-Length: {length}\r\nTransfer-Encoding: chunked", "0\r\n\r\n{smuggled}", ""),
    ("SMUG-CLTE-SMUGGLED-HEAD", "Content-Length: {length}\r\nTransfer-Encoding: chunked", "0\r\n\r\nHEAD /public/smuggled HTTP/1.1\r\nHost: p\r\n\r\n", ""),
    ("SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE", "Content-Length: {length}\r\nTransfer-Encoding: chunked \t", "0\r\n\r\n{smuggled}", ""),
    ("SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH", "Content-Length: {length}\r\nTransfer-Encoding: cHUNKED", "0\r\n\r\n{smuggled}", ""),
    ("SMUG-TECL-SMUGGLED-GET", "Transfer-Encoding: chunked\r\nContent-Length: 4", "31\r\n{smuggled}\r\n0\r\n\r\n", SMUGGLED),
];

#[tokio::test(flavor = "local")]
async fn h11p_of_a_length_and_chunks_the_chunks_count_and_nothing_behind_them_does() {
    let scene = Scene::start().await;
    for (id, lines, body, want) in BOTH {
        for text in twice(&scene, &post(lines, body)) {
            let answers = scene.send(format!("{text}{CANARY}")).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [200], "{id}");
            assert_eq!(answers[0].header("connection"), Some("close"), "{id}");
            let seen = scene.take();
            assert_eq!((seen.len(), &seen[0].body[..]), (1, want.as_bytes()), "{id}");
            assert_eq!(seen[0].header("content-length"), None, "{id}");
        }
    }
}

/// What comes behind the last chunk and belongs into a head, or nowhere.
const TRAILERS: &[(&str, &str)] = &[
    ("COMP-CHUNKED-TRAILER-VALID", "X-Sum: 1"),
    ("SMUG-TRAILER-CL", "Content-Length: 99"),
    ("SMUG-TRAILER-TE", "Transfer-Encoding: chunked"),
    ("SMUG-TRAILER-HOST", "Host: smuggled"),
    ("SMUG-TRAILER-AUTH", "Authorization: Bearer smuggled"),
    ("SMUG-TRAILER-CONTENT-TYPE", "Content-Type: text/smuggled"),
];

#[tokio::test(flavor = "local")]
async fn h11p_trailers_that_nobody_announced_go_nowhere_and_harm_no_body() {
    let scene = Scene::start().await;
    for (id, line) in TRAILERS {
        let text = post("Transfer-Encoding: chunked", &format!("2\r\nhi\r\n0\r\n{line}\r\n\r\n"));
        for text in twice(&scene, &text) {
            let answers = scene.send(format!("{text}{CANARY}")).await;
            let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [200], "{id}: the connection ends with it");
            assert_eq!(answers[0].header("connection"), Some("close"), "{id}");
            let seen = scene.take();
            assert_eq!((seen.len(), &seen[0].body[..]), (1, &b"hi"[..]), "{id}");
            assert_eq!(seen[0].trailers, None, "{id}");
        }
    }
    assert!(!scene.backend.text().contains("smuggled"));
}

/// What stops before its end: a request that nobody finished is nobody's.
#[rustfmt::skip]
const UNFINISHED: &[(&str, &str)] = &[
    ("MAL-EMPTY-REQUEST", ""),
    ("MAL-INCOMPLETE-REQUEST", "GET /public/x HTTP/1.1\r\nHost: p\r\nX: 1\r\n"),
    ("COMP-POST-CL-UNDERSEND", "POST /public/x HTTP/1.1\r\nHost: p\r\nContent-Length: 4\r\n\r\nabc"),
    ("MAL-POST-CL-HUGE-NO-BODY", "POST /public/x HTTP/1.1\r\nHost: p\r\nContent-Length: 9000000000\r\n\r\n"),
    ("COMP-CHUNKED-NO-FINAL", "POST /public/x HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    // A lone line feed may be taken for the last line's end (RFC 9112 §2.2), and is not.
    ("SMUG-CHUNK-LF-TRAILER", "POST /public/x HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n"),
];

#[tokio::test(flavor = "local")]
async fn h11p_a_request_that_nobody_finished_is_nobodys() {
    let scene = Scene::start().await;
    for (id, text) in UNFINISHED {
        for text in twice(&scene, text) {
            let mut client = Socket::open(&scene.proxy.address).await;
            client.send(text.as_bytes()).await;
            client.half_close().await;
            let answers = client.rest().await;
            assert!(answers.iter().all(|answer| answer.status == 400), "{id}: {answers:?}");
            assert!(scene.take().is_empty(), "{id}: no whole request");
        }
    }
    until("no request is under way", async || {
        scene.proxy.metric("countersign_requests_in_flight").await == 0.0
    })
    .await;
    let odd = scene.backend.odd();
    assert!(odd.iter().all(|odd| odd.starts_with("an end in a ")), "{odd:?}");
    assert!(scene.take().is_empty());
}
