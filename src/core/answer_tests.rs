use super::*;

fn read(text: &str) -> BytesMut {
    BytesMut::from(text)
}

fn head(text: &str) -> Result<Option<AnswerHead>, Malformed> {
    take_head(&mut read(text), &mut 0, &Method::GET)
}

#[test]
fn a_head_is_taken_off_and_what_is_behind_it_stays() {
    let mut read = read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\nX-A:  c \r\n\r\nhi");
    let head = take_head(&mut read, &mut 0, &Method::GET).unwrap().unwrap();
    assert_eq!(head.response.status(), 200);
    let values: Vec<_> = head.response.headers().get_all("x-a").iter().collect();
    assert_eq!(values, ["b", "c"]);
    assert_eq!((head.end, head.keeps_alive), (End::After(2), true));
    assert_eq!(&read[..], b"hi");
}

#[test]
fn of_a_part_of_a_head_nothing_is_taken() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    for length in 0..whole.len() {
        let mut read = read(&whole[..length]);
        assert!(take_head(&mut read, &mut 0, &Method::GET).unwrap().is_none(), "{length}");
        assert_eq!(read.len(), length);
    }
}

#[test]
fn what_is_said_before_an_answer_is_passed_over() {
    let before = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let mut read = read(before);
    assert!(take_head(&mut read, &mut 0, &Method::GET).unwrap().is_none());
    assert!(read.is_empty());
    read.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
    let head = take_head(&mut read, &mut 0, &Method::GET).unwrap().unwrap();
    assert_eq!(head.response.status(), 204);
    assert!(!head.response.headers().contains_key("link"));

    let switched = self::head("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(switched.unwrap().unwrap().response.status(), 101);
}

/// RFC 9112 §6.3, in its order.
#[test]
fn where_a_body_ends_is_said_in_one_way() {
    use End::{After, InChunks, OnClose};
    let length = "a length that is none";
    for (method, start, lines, want) in [
        ("HEAD", "1.1 200", "content-length: 5", Ok(After(0))),
        ("HEAD", "1.1 200", "transfer-encoding: chunked", Ok(After(0))),
        ("GET", "1.1 204", "content-length: 5", Ok(After(0))),
        ("GET", "1.1 304", "transfer-encoding: chunked", Ok(After(0))),
        ("GET", "1.1 101", "content-length: 5", Ok(After(0))),
        ("GET", "1.1 200", "transfer-encoding: chunked", Ok(InChunks)),
        ("GET", "1.1 200", "transfer-encoding: gzip, Chunked", Ok(InChunks)),
        ("GET", "1.1 200", "transfer-encoding: gzip\r\ntransfer-encoding: chunked", Ok(InChunks)),
        ("GET", "1.1 200", "transfer-encoding: chunked, gzip", Ok(OnClose)),
        ("GET", "1.1 200", "transfer-encoding: gzip", Ok(OnClose)),
        ("GET", "1.1 200", "transfer-encoding: xchunked", Ok(OnClose)),
        ("GET", "1.0 200", "transfer-encoding: chunked", Err("a transfer coding in HTTP/1.0")),
        ("GET", "1.1 200", "content-length: 5", Ok(After(5))),
        ("GET", "1.0 200", "content-length: 5", Ok(After(5))),
        ("POST", "1.1 500", "content-length: 18446744073709551615", Ok(After(u64::MAX))),
        ("GET", "1.1 200", "content-length: 5\r\ncontent-length: 5", Ok(After(5))),
        ("GET", "1.1 200", "content-length: 5, 5", Ok(After(5))),
        ("GET", "1.1 200", "content-length: 5\r\ncontent-length: 6", Err(length)),
        ("GET", "1.1 200", "content-length: 5, 6", Err(length)),
        ("GET", "1.1 200", "content-length: +5", Err(length)),
        ("GET", "1.1 200", "content-length: -1", Err(length)),
        ("GET", "1.1 200", "content-length: 0x5", Err(length)),
        ("GET", "1.1 200", "content-length: ", Err(length)),
        ("GET", "1.1 200", "content-length: 18446744073709551616", Err(length)),
        ("GET", "1.1 200", "x-a: b", Ok(OnClose)),
    ] {
        let text = format!("HTTP/{start} Whatever\r\n{lines}\r\n\r\n");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let head = take_head(&mut read(&text), &mut 0, &method);
        let end = head.map(|head| head.unwrap().end);
        assert_eq!(end, want.map_err(Malformed), "{method} {text}");
    }
}

#[test]
fn a_connection_goes_on_unless_an_answer_says_that_it_closes() {
    for (version, lines, want) in [
        ("1.1", "content-length: 0", true),
        ("1.1", "content-length: 0\r\nconnection: Close", false),
        ("1.1", "content-length: 0\r\nconnection: x-a, close", false),
        ("1.1", "content-length: 0\r\nconnection: close\r\nconnection: keep-alive", false),
        ("1.1", "content-length: 0\r\nconnection: keep-alive, close", false),
        ("1.1", "content-length: 0\r\nconnection: xclose", true),
        ("1.1", "x-a: b", false), // its body ends with it
        ("1.0", "content-length: 0", false),
        ("1.0", "content-length: 0\r\nconnection: keep-alive", true),
        ("1.0", "content-length: 0\r\nconnection: close, keep-alive", false),
    ] {
        let text = format!("HTTP/{version} 200 OK\r\n{lines}\r\n\r\n");
        assert_eq!(head(&text).unwrap().unwrap().keeps_alive, want, "{text}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST + 1));
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(LONGEST));
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(LONGEST));
    for text in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na : c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        &many,
        &long,
        &endless,
    ] {
        assert!(head(text).is_err(), "{:?}", &text[..text.len().min(60)]);
    }
    let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST));
    assert_eq!(head(&most).unwrap().unwrap().response.headers().len(), MOST);
}

#[test]
fn empty_lines_before_an_answer_are_passed_over_and_a_lone_cr_is_none() {
    for (before, good) in [("\r\n", true), ("\n\r\n\n", true), ("\r", false), ("\n\r", false)] {
        for hints in ["", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
            let text = format!("{hints}{before}HTTP/1.1 204 No Content\r\n\r\n");
            assert_eq!(head(&text).is_ok_and(|head| head.is_some()), good, "{text:?}");
            let (mut read, mut looked) = (BytesMut::new(), 0);
            let whole = text.bytes().any(|byte| {
                read.extend_from_slice(&[byte]);
                take_head(&mut read, &mut looked, &Method::GET).is_ok_and(|head| head.is_some())
            });
            assert_eq!(whole, good, "{text:?} byte by byte");
        }
    }
}

/// To look at all that was read with each byte would be the square of it.
#[test]
fn a_head_that_comes_byte_by_byte_is_read_once() {
    for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
        let text = format!("HTTP/1.1 204 No Content\r\na: {}{end}", "b".repeat(1000));
        let (mut read, mut looked) = (BytesMut::new(), 0);
        for (at, byte) in text.bytes().enumerate() {
            read.extend_from_slice(&[byte]);
            assert_eq!(
                may_be_whole(&read, looked),
                at == 0 || at + 1 == text.len(),
                "{at} {end:?}"
            );
            let head = take_head(&mut read, &mut looked, &Method::GET).unwrap();
            assert_eq!(head.is_some(), at + 1 == text.len(), "{at} {end:?}");
        }
        assert_eq!(looked, 0);
    }
}
