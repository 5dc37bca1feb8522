//! H1: how a request is framed, and what follows it on its connection.
//!
//! Each attack is followed by a request with a good token. What the backend saw is what we
//! authorized, in order, or the connection is closed before that request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::proxy::UpstreamProtocol;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task;

use super::raw::{Ask, PLAIN, Scene, Socket, latin1};
use super::recorder::{Recorder, Reply};
use crate::support::early::{Answers, Early};
use crate::support::settings::settings_for;
use crate::support::upstream::head;
use crate::support::{HandMoved, Issuer, Proxy, Upstream, settings, until};

/// A head of a POST with a good token and these lines; what follows is the body.
fn post(scene: &Scene, lines: &str) -> String {
    format!("POST /api HTTP/1.1\r\nHost: p\r\n{}{lines}\r\n", scene.bearer())
}

/// A request that nobody sent: with it in a body, no backend may see it as a request.
fn smuggled(scene: &Scene) -> String {
    format!("GET /smuggled HTTP/1.1\r\nHost: p\r\n{}\r\n", scene.bearer())
}

/// The request that follows, after which the proxy closes.
fn canary(scene: &Scene) -> String {
    format!("GET /canary HTTP/1.1\r\nHost: p\r\n{}Connection: close\r\n\r\n", scene.bearer())
}

/// Refused with a 400, and the connection with it.
async fn is_malformed(scene: &Scene, attack: &str) {
    scene.refuses_bytes(latin1(&format!("{attack}{}", canary(scene))), 400).await;
}

/// The targets the backend saw.
fn targets(scene: &Scene) -> Vec<String> {
    scene.take().into_iter().map(|seen| seen.target).collect()
}

#[tokio::test(flavor = "local")]
async fn h1_02_of_two_framings_chunks_count_no_length_is_passed_on_and_the_connection_ends() {
    let scene = Scene::start().await;
    let inner = "GET /admin HTTP/1.1\r\nHost: p\r\nContent-Length: 9\r\n\r\n";
    let (chunked, length) = ("Transfer-Encoding: chunked\r\n", "Content-Length: 4\r\n");
    for lines in [format!("{chunked}{length}"), format!("{length}{chunked}")] {
        let body = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
        let bytes = format!("{}{body}{}", post(&scene, &lines), canary(&scene));

        let answers = scene.send(bytes).await;

        let seen = scene.take();
        assert_eq!((answers.len(), seen.len()), (1, 1), "{lines:?}");
        match answers[0].status {
            200 => {
                assert_eq!(answers[0].header("connection"), Some("close"), "{lines:?}");
                assert_eq!(
                    (seen[0].target.as_str(), &seen[0].body[..]),
                    ("/api", inner.as_bytes())
                );
                assert_eq!(seen[0].header("content-length"), None, "{lines:?}");
            }
            other => assert_eq!(other, 400, "{lines:?}"),
        }
    }
}

#[tokio::test(flavor = "local")]
async fn h1_03_a_second_transfer_coding_in_a_line_of_its_own_is_refused() {
    let scene = Scene::start().await;
    for second in ["x", "identity", "cow", "gzip", "", " ", "xchunked"] {
        for (first, second) in [("chunked", second), (second, "chunked")] {
            let lines = format!("Transfer-Encoding: {first}\r\nTransfer-encoding: {second}\r\n");
            is_malformed(&scene, &format!("{}0\r\n\r\n", post(&scene, &lines))).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn h1_04_a_transfer_coding_is_chunked_to_the_letter_or_refused() {
    let scene = Scene::start().await;
    for (value, served) in [
        ("chunked", true),
        ("chunKed", true),
        ("  chunked", true),
        ("chunked \t", true),
        ("chunked,", false),
        (",chunked", false),
        ("xchunked", false),
        ("chunkedx", false),
        ("\u{b}chunked", false),
        ("chunked\0", false),
        ("\u{a0}chunked", false),
        ("\"chunked\"", false),
        ("'chunked'", false),
        ("chunked;q=1", false),
        ("chunked, chunked", false),
        ("gzip, chunked", false),
        ("chunked, identity", false),
        ("identity", false),
        ("chunk", false),
        ("\r\n chunked", false),
        ("x\r\n chunked", false),
        ("x\nchunked", false),
    ] {
        let head = post(&scene, &format!("Transfer-Encoding: {value}\r\n"));
        if served {
            let answers = scene.send(format!("{head}2\r\nhi\r\n0\r\n\r\n{}", canary(&scene))).await;
            assert_eq!(
                answers.iter().map(|it| it.status).collect::<Vec<_>>(),
                [200, 200],
                "{value:?}"
            );
            let seen = scene.take();
            assert_eq!((seen.len(), &seen[0].body[..]), (2, &b"hi"[..]), "{value:?}");
            assert_eq!(seen[0].header("transfer-encoding"), Some("chunked"));
        } else {
            is_malformed(&scene, &format!("{head}2\r\nhi\r\n0\r\n\r\n")).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn h1_05_one_line_names_the_transfer_coding_or_the_request_is_refused() {
    let scene = Scene::start().await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    for lines in [
        chunked.repeat(2),
        chunked.repeat(3),
        format!("{chunked}Transfer-Encoding:\r\n"),
        format!("Transfer-Encoding:\r\n{chunked}"),
        format!("{chunked}X: 1\r\ntransfer-encoding: CHUNKED\r\n"),
    ] {
        is_malformed(&scene, &format!("{}0\r\n\r\n", post(&scene, &lines))).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h1_06_a_length_is_digits_and_no_more_than_a_length_can_be() {
    let scene = Scene::start().await;
    for value in [
        "+5",
        "-5",
        "0x5",
        "5,5",
        "5, 5",
        "5, 6",
        "5 5",
        "5.0",
        "5e0",
        "five",
        "",
        "18446744073709551616",
        "99999999999999999999999",
        "5\u{b2}",
        "\u{b}5",
        "5;",
        "5\0",
    ] {
        let attack = format!("{}hello", post(&scene, &format!("Content-Length: {value}\r\n")));
        is_malformed(&scene, &attack).await;
    }
    // With a zero before it it is octal to somebody.
    for value in ["05", "0000000000000000000005", "00"] {
        let head = format!(
            "POST /api HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Length: {value}\r\n\r\n"
        );
        scene.refuses_bytes(format!("{head}hello"), 400).await;
    }
    // White space around a value is none of it (RFC 9110 §5.5).
    for value in ["5 ", "5\t", "\t 5"] {
        let head = post(&scene, &format!("Content-Length: {value}\r\n"));
        let answers = scene.send(format!("{head}hello{}", canary(&scene))).await;
        let seen = scene.take();
        assert_eq!(
            (answers.len(), seen.len(), &seen[0].body[..]),
            (2, 2, &b"hello"[..]),
            "{value:?}"
        );
        assert_eq!(seen[0].header("content-length"), Some("5"), "{value:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn h1_07_two_lengths_that_agree_are_one_and_two_that_differ_are_none() {
    let scene = Scene::start().await;
    let lengths =
        |one: &str, two: &str| format!("Content-Length: {one}\r\nContent-Length: {two}\r\n");
    for (one, two) in [("5", "6"), ("6", "5"), ("5", "0"), ("5", ""), ("5", "+5")] {
        is_malformed(&scene, &format!("{}hello", post(&scene, &lengths(one, two)))).await;
    }
    let bytes = format!("{}hello{}", post(&scene, &lengths("5", "5")), canary(&scene));
    let answers = scene.send(bytes).await;
    let seen = scene.take();
    assert_eq!((answers.len(), seen.len()), (2, 2));
    assert_eq!((seen[0].header("content-length"), &seen[0].body[..]), (Some("5"), &b"hello"[..]));
}

/// A chunked body whose framing is broken ends its request and its connection, and no byte of it is
/// a request to anybody: what came before may have gone on, but not as a whole body.
async fn breaks_off(scene: &Scene, body: &str) {
    let head = post(scene, "Transfer-Encoding: chunked\r\n");
    let answers = scene.send(latin1(&format!("{head}{body}{}", canary(scene)))).await;
    assert!(answers.len() <= 1, "{body:?}: {answers:?}");
    for answer in &answers {
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{body:?}: {answer:?}");
    }
    assert_eq!(targets(scene), Vec::<String>::new(), "{body:?}: no whole request");
    // Of a body that broke off the backend saw at most a part.
    let odd = scene.backend.odd();
    assert!(odd.iter().all(|odd| odd.starts_with("an end in a ")), "{body:?}: {odd:?}");
}

#[tokio::test(flavor = "local")]
async fn h1_08_the_size_of_a_chunk_is_hex_digits_and_no_more_than_a_size_can_be() {
    let scene = Scene::start().await;
    for size in [
        "fffffffffffffffff",
        "10000000000000000",
        "-1",
        "0x5",
        "+5",
        "5_0",
        " 5",
        "\t5",
        "",
        "g",
        "5 5",
        "5\u{b}",
        "\u{b2}",
        "5\0",
    ] {
        breaks_off(&scene, &format!("{size}\r\nhello\r\n0\r\n\r\n")).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h1_10_what_follows_a_chunk_is_the_end_of_its_line() {
    let scene = Scene::start().await;
    let inner = smuggled(&scene);
    for body in [
        format!("5\r\nhelloXX0\r\n\r\n{inner}"),
        format!("5\r\nhelloXX\r\n0\r\n\r\n{inner}"),
        format!("5\r\nhello0\r\n\r\n{inner}"),
        format!("5\r\nhello\n0\r\n\r\n{inner}"),
        format!("5\r\nhello\r0\r\n\r\n{inner}"),
        format!("5\r\nhello\r\r\n0\r\n\r\n{inner}"),
        format!("5\rXhello\r\n0\r\n\r\n{inner}"),
    ] {
        breaks_off(&scene, &body).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h1_12_extensions_of_chunks_are_counted_and_not_passed_on() {
    let scene = Scene::start().await;
    let extension = format!(";x={}", "y".repeat(1024));
    for (what, body) in [
        ("one of 17 KiB", format!("1{}\r\na\r\n", ";x".repeat(8704))),
        ("seventeen of 1 KiB", format!("1{extension}\r\na\r\n").repeat(17)),
        ("without an end", format!("1;{}", "x".repeat(20_000))),
    ] {
        let head = post(&scene, "Transfer-Encoding: chunked\r\n");
        let answers = scene.send(format!("{head}{body}0\r\n\r\n{}", canary(&scene))).await;
        let statuses: Vec<_> = answers.iter().map(|it| it.status).collect();
        assert_eq!(statuses, [400], "{what}");
        assert!(targets(&scene).is_empty(), "{what}");
        scene.backend.odd();
    }
    // A few are nobody's matter but ours: RFC 9112 §7.1.1 has them ignored.
    let head = post(&scene, "Transfer-Encoding: chunked\r\n");
    let answers =
        scene.send(format!("{head}5;a=b;c\r\nhello\r\n0;d\r\n\r\n{}", canary(&scene))).await;
    assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 200]);
    assert_eq!(scene.take()[0].body, "hello");
    let text = scene.backend.text();
    assert!(!text.contains("a=b") && !text.contains(";d"), "{text}");
}

#[tokio::test(flavor = "local")]
async fn h1_13_an_end_of_a_line_within_quotes_ends_the_line() {
    let scene = Scene::start().await;
    let inner = smuggled(&scene);
    let body = format!("5;x=\"\r\n0\r\n\r\n{inner}\"\r\nhello\r\n0\r\n\r\n");
    breaks_off(&scene, &body).await;
    // Here both readings are of one length: the quote is not looked at, and is passed on to nobody.
    let head = post(&scene, "Transfer-Encoding: chunked\r\n");
    let answers = scene.send(format!("{head}5;x=\"\r\nhello\r\n0\r\n\r\n{}", canary(&scene))).await;
    let statuses: Vec<_> = answers.iter().map(|it| it.status).collect();
    match statuses[..] {
        [400] => assert!(targets(&scene).is_empty()),
        _ => {
            assert_eq!(statuses, [200, 200]);
            assert_eq!(targets(&scene), ["/api", "/canary"]);
            assert!(!scene.backend.text().contains("x=\""));
        }
    }
    scene.backend.odd(); // of a body that broke off
}

#[tokio::test(flavor = "local")]
async fn h1_14_the_last_chunk_and_the_trailers_end_in_lines_of_their_own() {
    let scene = Scene::start().await;
    for body in [
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n",
        "5\r\nhello\r\n0\r\n X-A: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-A: 1\r\n Y: 2\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-A\r\n\r\n",
        "5\r\nhello\r\n0\r\n\0\r\n\r\n",
    ] {
        breaks_off(&scene, body).await;
    }
    // To a lone line feed among trailers the lines go on: what follows is read as more of them, and
    // is nobody's request, here or at the backend. Nobody waits for its answer: the connection ends.
    let mut client = Socket::open(&scene.proxy.address).await;
    let head = post(&scene, "Transfer-Encoding: chunked\r\n");
    let body = format!("5\r\nhello\r\n0\r\nX-A: 1\n\r\n{}", canary(&scene));
    client.send(format!("{head}{body}").as_bytes()).await;
    assert!([200, 400].contains(&client.answer().await.unwrap().status));
    assert!(client.rest().await.is_empty());
    assert!(targets(&scene).iter().all(|target| target == "/api"));
    // Zeros and white space mean what they mean to every reader (RFC 9112 §7.1); they stay here.
    for body in
        ["5\r\nhello\r\n000\r\n\r\n", "5\r\nhello\r\n00;x\r\n\r\n", "5\r\nhello\r\n0 \r\n\r\n"]
    {
        let head = post(&scene, "Transfer-Encoding: chunked\r\n");
        let answers = scene.send(format!("{head}{body}{}", canary(&scene))).await;
        let statuses: Vec<_> = answers.iter().map(|it| it.status).collect();
        match statuses[..] {
            [400] => assert!(targets(&scene).is_empty(), "{body:?}"),
            _ => {
                assert_eq!(statuses, [200, 200], "{body:?}");
                assert_eq!(targets(&scene), ["/api", "/canary"], "{body:?}");
            }
        }
    }
    // Without the last line a body has no end: it breaks off where the client does.
    let mut client = Socket::open(&scene.proxy.address).await;
    let head = post(&scene, "Transfer-Encoding: chunked\r\n");
    client.send(format!("{head}5\r\nhello\r\n0\r\n").as_bytes()).await;
    client.half_close().await;
    assert!(client.rest().await.iter().all(|answer| answer.status == 400));
    until("the backend is left", async || !scene.backend.odd().is_empty()).await;
    assert!(targets(&scene).is_empty());
}

#[tokio::test(flavor = "local")]
async fn h1_15_chunks_are_not_of_version_1_0_nor_is_a_body_without_a_length() {
    let scene = Scene::start().await;
    let chunked = format!(
        "POST /api HTTP/1.0\r\nHost: p\r\n{}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
        scene.bearer()
    );
    is_malformed(&scene, &format!("{chunked}0\r\n\r\n{}", smuggled(&scene))).await;

    // Without a length there is no body (RFC 9112 §6.3): what follows is the next request, or nobody's.
    for connection in ["", "Connection: keep-alive\r\n"] {
        let head = format!("POST /api HTTP/1.0\r\nHost: p\r\n{}{connection}\r\n", scene.bearer());
        let answers = scene.send(format!("{head}{}", canary(&scene))).await;
        let seen = targets(&scene);
        assert_eq!(answers.len(), seen.len(), "{connection:?}");
        assert_eq!(seen, ["/api", "/canary"][..seen.len()], "{connection:?}");
        let garbage = scene.send(format!("{head}a=1&b=2\r\n\r\n")).await;
        assert_eq!(targets(&scene), ["/api"], "{connection:?}");
        assert!(garbage.len() <= 2 && garbage[0].status == 200, "{garbage:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn h1_16_the_body_of_a_refused_request_is_never_the_next_one() {
    let scene = Scene::start().await;
    let inner = smuggled(&scene);
    for (line, body) in [
        (format!("Content-Length: {}\r\n", inner.len()), inner.clone()),
        ("Content-Length: 100000\r\n".to_owned(), inner.clone()),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
        ),
    ] {
        let head = format!("POST /api HTTP/1.1\r\nHost: p\r\nConnection: keep-alive\r\n{line}\r\n");
        let answer = scene.refuses_bytes(format!("{head}{body}"), 401).await;
        assert_eq!(answer.header("connection"), Some("close"), "{line}");

        let since = scene.mark().await;
        let mut client = Socket::open(&scene.proxy.address).await;
        client.send_in_pieces(&[head.as_bytes(), body.as_bytes()]).await;
        let answers = client.rest().await;
        assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [401], "{line}");
        scene.nothing_passed(&since, &line).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h1_18_a_length_that_is_written_oddly_is_refused_and_one_of_another_name_does_not_go_on() {
    let scene = Scene::start().await;
    for line in [
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content-Length:\r\n 5",
        "Content-Length:\n 5",
        "\u{b}Content-Length: 5",
        "X: 1\r\n Content-Length: 5",
        "Content-Length\0: 5",
        "Content Length: 5",
    ] {
        is_malformed(&scene, &format!("{}hello", post(&scene, &format!("{line}\r\n")))).await;
    }
    // It says nothing of a body here. To a backend that has one variable for both spellings it
    // would say the length of one.
    for name in ["Content_Length", "content.length", "Transfer_Encoding"] {
        let value = if name.starts_with('T') { "chunked" } else { "5" };
        let head = post(&scene, &format!("{name}: {value}\r\n"));
        let answers = scene.send(format!("{head}{}", canary(&scene))).await;
        assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 200], "{name}");
        let seen = scene.take();
        assert_eq!(
            seen.iter().map(|it| it.target.as_str()).collect::<Vec<_>>(),
            ["/api", "/canary"]
        );
        assert_eq!(seen[0].header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn h1_19_a_line_ends_in_one_way() {
    let scene = Scene::start().await;
    let bearer = scene.bearer();
    let bearer = bearer.trim_end();
    for head in [
        format!("GET /api HTTP/1.1\rHost: p\r{bearer}\r\r"),
        format!("GET /api HTTP/1.1\r\nHost: p\r{bearer}\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\rHost: p\r\n{bearer}\r\n\r\n"),
        format!("GET /api HTTP/1.1\n\rHost: p\r\n{bearer}\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\nHost: p\r\n{bearer}\r\n\r\r\n"),
    ] {
        is_malformed(&scene, &head).await;
    }
    // One empty line before a request is passed over, as RFC 9112 §2.2 has it.
    let answers = scene.send(format!("\r\n{}", canary(&scene))).await;
    assert_eq!((answers.len(), answers[0].status), (1, 200));
    assert_eq!(targets(&scene), ["/canary"]);
    // A lone line feed ends a line to the reader that hyper has, which RFC 9112 §2.2 allows: it is
    // a line end like others, wherever one may stand, and goes on as one of two bytes.
    for head in [
        format!("GET /api HTTP/1.1\nHost: p\n{bearer}\n\n"),
        format!("GET /api HTTP/1.1\r\nHost: p\n{bearer}\r\n\r\n"),
        format!("GET /api HTTP/1.1\r\nHost: p\r\n{bearer}\r\n\n"),
        format!("GET /api HTTP/1.1\nHost: p\r\n{bearer}\nX-Clerk-User-Id: root\r\n\r\n"),
    ] {
        let answers = scene.send(format!("{head}{}", canary(&scene))).await;
        assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 200]);
        let seen = scene.take();
        assert_eq!(
            seen.iter().map(|it| it.target.as_str()).collect::<Vec<_>>(),
            ["/api", "/canary"]
        );
        super::raw::only_ours(&seen[0], "user", &head);
    }
}

#[tokio::test(flavor = "local")]
async fn h1_22_a_name_that_is_longer_than_any_head_is_refused() {
    let scene = Scene::start().await;
    for length in [40_000, 65_535, 65_536, 65_541, 270_000] {
        let name = "a".repeat(length);
        let head = post(&scene, &format!("{name}: 1\r\nContent-Length: 0\r\n"));
        scene.refuses_bytes(format!("{head}{}", canary(&scene)), 431).await;
        let long = format!("Content-Length{}: 0\r\n", "\u{61}".repeat(length));
        scene.refuses_bytes(post(&scene, &long), 431).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h1_23_an_empty_length_is_none_and_refused() {
    let scene = Scene::start().await;
    for line in [
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: \t",
        "Content-Length:\r\nContent-Length: 5",
    ] {
        is_malformed(&scene, &format!("{}hello", post(&scene, &format!("{line}\r\n")))).await;
    }
}

#[tokio::test(flavor = "local")]
async fn h1_25_after_a_head_that_cannot_be_read_the_connection_is_over() {
    let scene = Scene::start().await;
    for bad in [
        "GARBAGE\r\n\r\n",
        "GET /api\r\n\r\n",
        "GET  /api HTTP/1.1\r\nHost: p\r\n\r\n",
        "GET /api HTTP/1.2\r\nHost: p\r\n\r\n",
        "GET /api HTTP/2.0\r\nHost: p\r\n\r\n",
        "GET /api HTTP/1.1 x\r\nHost: p\r\n\r\n",
        "GET /api HTTP/1.1\r\nHost p\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: p\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\r\n\r\n",
    ] {
        is_malformed(&scene, bad).await;
    }
    // One that was read and refused says itself where the next one begins, and is no end.
    let bytes = format!("GET /api//x HTTP/1.1\r\nHost: p\r\n\r\n{}", canary(&scene));
    let answers = scene.send(bytes).await;
    assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [400, 200]);
    assert_eq!(targets(&scene), ["/canary"]);
}

#[tokio::test(flavor = "local")]
async fn h1_26_an_answer_that_can_be_read_in_two_ways_is_a_502_and_its_connection_is_dropped() {
    let answer = Rc::new(RefCell::new(String::new()));
    let bytes = Rc::clone(&answer);
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(move |mut socket| {
        let bytes = bytes.borrow().clone();
        async move {
            while !head(&mut socket).await.is_empty() {
                socket.write_all(bytes.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let ok = "HTTP/1.1 200 OK\r\n";
    let second = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    for (bytes, statuses) in [
        (format!("{ok}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"), &[502][..]),
        (format!("{ok}content-length: +5\r\n\r\nhello"), &[502]),
        (format!("{ok}content-length: 5, 6\r\n\r\nhello"), &[502]),
        (format!("{ok}x: 1\r\n content-length: 5\r\n\r\nhello"), &[502]),
        (format!("{ok}content-length : 5\r\n\r\nhello"), &[502]),
        ("HTTP/1.1 200\0\r\n\r\n".to_owned(), &[502]),
        ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), &[502]),
        ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), &[502]),
        ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), &[502]),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), &[502]),
        ("junk\r\nHTTP/1.1 200 OK\r\n\r\n".to_owned(), &[502]),
        // Both framings: a client that is told the one would wait for what came by the other.
        (
            format!(
                "{ok}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n{second}"
            ),
            &[502],
        ),
        // More than was announced is nobody's answer either.
        (format!("{ok}content-length: 2\r\n\r\nhi{second}"), &[200]),
        // Bare line feeds: each line is one line to every reader.
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\nhi".to_owned(), &[200]),
    ] {
        *answer.borrow_mut() = bytes.clone();
        for _ in 0..2 {
            let before = upstream.connections();
            let got = proxy.client().bearer(&issuer.token()).post("/", "a").await;
            assert!(statuses.contains(&got.status), "{bytes:?}: {got:?}");
            assert!(got.status == 502 || got.text() == "hi", "{bytes:?}: {got:?}");
            if got.status == 502 {
                assert_eq!(got.reason(), "upstream-broken", "{bytes:?}");
            }
            if bytes.contains("forged") || got.status == 502 {
                assert_eq!(upstream.connections() - before, 1, "{bytes:?}: is not used again");
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn h1_28_nobody_is_answered_with_what_another_one_left() {
    let leavers = Rc::<Cell<u64>>::default();
    let left = Rc::clone(&leavers);
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(move |mut socket| {
        let left = Rc::clone(&left);
        async move {
            loop {
                let asked = head(&mut socket).await;
                let Some(tag) = asked.split([' ', '/']).nth(2).map(str::to_owned) else { break };
                let body = format!("{tag:>8}").repeat(4_000);
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let half = if tag.starts_with("left") { answer.len() / 2 } else { answer.len() };
                if socket.write_all(&answer.as_bytes()[..half]).await.is_err() {
                    break;
                }
                if half < answer.len() {
                    left.set(left.get() + 1);
                    task::yield_now().await;
                    let _ = socket.write_all(&answer.as_bytes()[half..]).await; // may be gone
                }
            }
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let token = issuer.token();
    for round in 0..300 {
        let before = leavers.get();
        let ask = |tag: &str| Ask::get(&format!("/{tag}{round}")).bearer(&token).h1();
        let mut leaver = Socket::open(&proxy.address).await;
        leaver.send(&ask("left")).await;
        if round % 3 > 0 {
            until("it is being answered", async || leavers.get() > before).await;
        }
        drop(leaver);
        let mut client = Socket::open(&proxy.address).await;
        client.send(&ask("kept")).await;
        let answer = client.answer().await.unwrap();
        let want = format!("{:>8}", format!("kept{round}")).repeat(4_000);
        assert!(answer.status == 200 && answer.text() == want, "round {round}: {}", answer.status);
    }
}

#[tokio::test(flavor = "local")]
async fn h1_30_a_list_of_trailers_that_do_not_come_is_harmless() {
    let scene = Scene::start().await;
    for lines in ["Trailer: x-clerk-user-id\r\n", "Trailer: x-sum\r\nContent-Length: 2\r\n"] {
        let body = if lines.contains("Content-Length") { "hi" } else { "" };
        let answers = scene.send(format!("{}{body}{}", post(&scene, lines), canary(&scene))).await;
        assert_eq!(answers.iter().map(|it| it.status).collect::<Vec<_>>(), [200, 200], "{lines:?}");
        let seen = scene.take();
        assert_eq!((seen.len(), seen[0].trailers.as_ref()), (2, None), "{lines:?}");
        assert_eq!(seen[0].header("transfer-encoding"), None, "{lines:?}");
        assert_eq!(seen[0].header("trailer"), None, "{lines:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn h1_requests_in_one_packet_or_byte_by_byte_are_the_same_requests() {
    let scene =
        Scene::before(PLAIN, Recorder::replying(PLAIN.backend, Reply::ok()).await, |_| {}).await;
    let bytes = format!("{}hello{}", post(&scene, "Content-Length: 5\r\n"), canary(&scene));
    let mut client = Socket::open(&scene.proxy.address).await;
    let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(7).collect();
    client.send_in_pieces(&pieces).await;
    let split = client.rest().await;
    let whole = scene.send(&bytes).await;
    assert_eq!(split.len(), whole.len());
    assert_eq!(targets(&scene), ["/api", "/canary", "/api", "/canary"]);
}

#[tokio::test(flavor = "local")]
async fn h1_a_body_whose_end_is_read_late_hides_nothing_of_the_next_one() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Early::start(0, Answers::AtOnce).await;
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    let proxy = Proxy::start(settings).await;
    let mut client = TcpStream::connect(&proxy.address).await.unwrap();
    let token = issuer.token();
    let line =
        |line: &str| format!("{line} HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer {token}\r\n");
    let smuggled = format!("{}\r\n", line("GET /smuggled"));
    let length = smuggled.len() + 10;
    for (path, length, sent) in [("/one", 5, "hello"), ("/two", length, "0123456789")] {
        let post =
            format!("{}Content-Length: {length}\r\n\r\n{sent}", line(&format!("POST {path}")));
        client.write_all(post.as_bytes()).await.unwrap();
        assert!(
            head(&mut client).await.starts_with("HTTP/1.1 200"),
            "{path} is answered at its head"
        );
    }

    backend.read.notify_one();
    until("the first body is read", async || backend.bodies.get() == 1).await;
    let clock = HandMoved::pause();
    for _ in 0..15 {
        clock.by(Duration::from_secs(1)).await; // a connection would rest by now
    }
    let _ = client.write_all(smuggled.as_bytes()).await; // it may be closed
    for _ in 0..5 {
        clock.by(Duration::from_secs(1)).await;
    }

    assert_eq!(backend.heads.get(), 2, "what is left of a body is no request");
}
