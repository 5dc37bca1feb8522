//! Requests on their way to the backend, and answers on their way back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use countersign::clock::Clock;
use countersign::dev::echo::Echo;
use countersign::dev::verifier::Verifier;
use countersign::listen::ListenAddress;
use countersign::proxy::{TrustedProxies, UpstreamAddress};
use http::{Method, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::task;
use tokio::time::{self, Instant};

use crate::support::settings::{SECRET, settings_for};
use crate::support::upstream::head;
use crate::support::{Issuer, Proxy, Upstream, client, settings, until};

const MIB: usize = 1024 * 1024;

/// A head as it goes over the wire, with a good token.
fn request(issuer: &Issuer, line: &str, headers: &str) -> String {
    let token = issuer.token();
    format!("{line} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{headers}\r\n")
}

/// An issuer, a backend that does `script` with each connection, and the proxy between.
async fn before<F: Future<Output = ()> + 'static>(
    script: impl Fn(TcpStream) -> F + 'static,
) -> (Issuer, Upstream, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(script).await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    (issuer, upstream, proxy)
}

/// Writes until nobody takes any more, or all of `size` is written; counts into `written`.
pub(crate) async fn pour(socket: &mut TcpStream, size: usize, written: &Cell<usize>) {
    let piece = vec![b'x'; 64 * 1024];
    while written.get() < size {
        let most = piece.len().min(size - written.get());
        let Ok(bytes) = socket.write(&piece[..most]).await else { return };
        written.set(written.get() + bytes);
    }
}

/// Waits until a count has not changed for a while, and returns it.
pub(crate) async fn settled(count: &Cell<usize>) -> usize {
    loop {
        let before = count.get();
        time::sleep(Duration::from_secs(1)).await;
        if count.get() == before {
            return before;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_good_token_reaches_the_backend_as_a_signed_identity() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let echo = Echo::start(Verifier::hmac(SECRET)).unwrap();
    let proxy =
        Proxy::start(settings_for(&issuer.origin(), echo.url().trim_start_matches("http://")))
            .await;

    let answer = proxy
        .client()
        .bearer(&issuer.token())
        .header("x-clerk-user-id", "root")
        .header("x_clerk_user_id", "root")
        .get("/orders?page=2")
        .await;

    let echoed = answer.json();
    assert_eq!(answer.status, 200, "{echoed}");
    assert_eq!(echoed["signature"]["verified"], true, "{echoed}");
    assert!(echoed["identity"]["x-clerk-user-id"].as_str().unwrap().starts_with("user_"));
    assert_eq!(echoed["path"], "/orders?page=2");
}

#[tokio::test(flavor = "local")]
async fn a_request_without_a_token_gets_no_further_than_the_proxy() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let answer = proxy.client().get("/").await;

    assert_eq!((answer.status, answer.reason().as_str()), (401, "session-token-and-uat-missing"));
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="countersign""#));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn one_kept_connection_carries_many_requests() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let request =
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", issuer.token());
    let last = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");

    let answers =
        client::raw(&proxy.address, format!("{}{last}", request.repeat(99)).as_bytes()).await;

    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 100);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_body_reaches_the_backend_as_it_was_sent() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let answer = proxy.client().bearer(&issuer.token()).post("/orders", "one of each").await;

    let seen = upstream.last();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/orders"));
    assert_eq!(
        (seen.body, seen.headers["content-length"].to_str().unwrap()),
        ("one of each".into(), "11")
    );
}

#[tokio::test(flavor = "local")]
async fn an_upload_goes_no_faster_than_the_backend_reads() {
    const SIZE: usize = 64 * MIB;
    let reads = Rc::new(tokio::sync::Notify::new());
    let may_read = Rc::clone(&reads);
    let (issuer, _upstream, proxy) = before(move |mut socket| {
        let may_read = Rc::clone(&may_read);
        async move {
            head(&mut socket).await;
            may_read.notified().await;
            let mut body = (&mut socket).take(SIZE as u64);
            let read = tokio::io::copy(&mut body, &mut tokio::io::sink()).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{read}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let length = format!("content-length: {SIZE}\r\nconnection: close\r\n");
    socket.write_all(request(&issuer, "PUT /", &length).as_bytes()).await.unwrap();
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    time::pause();

    let client = task::spawn_local(async move {
        pour(&mut socket, SIZE, &count).await;
        head(&mut socket).await;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let ahead = settled(&written).await;
    reads.notify_one();
    let answer = client.await.unwrap();

    // What the sockets of the system hold, and not much more.
    assert!((MIB..SIZE / 2).contains(&ahead), "{ahead} bytes ahead");
    assert_eq!(answer, SIZE.to_string());
}

#[tokio::test(flavor = "local")]
async fn a_download_goes_no_faster_than_the_client_reads() {
    const SIZE: usize = 64 * MIB;
    let written = Rc::new(Cell::new(0));
    let count = Rc::clone(&written);
    let (issuer, _upstream, proxy) = before(move |mut socket| {
        let count = Rc::clone(&count);
        async move {
            head(&mut socket).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
            pour(&mut socket, SIZE, &count).await;
        }
    })
    .await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let asked = request(&issuer, "GET /", "connection: close\r\n");
    time::pause();

    socket.write_all(asked.as_bytes()).await.unwrap();
    until("the answer begins", async || written.get() > 0).await;
    let ahead = settled(&written).await;
    head(&mut socket).await;
    let read = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.unwrap();

    assert!((MIB..SIZE / 2).contains(&ahead), "{ahead} bytes ahead");
    assert_eq!(read, SIZE as u64);
}

#[tokio::test(flavor = "local")]
async fn chunks_and_trailers_pass_without_what_a_client_may_not_say() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let chunked = "transfer-encoding: chunked\r\nconnection: close\r\n\
                   trailer: x-sum, x-clerk-user-id, content-length\r\n";
    let body = "3\r\none\r\n5\r\n more\r\n0\r\n\
                x-sum: 8\r\nx-clerk-user-id: root\r\ncontent-length: 3\r\n\r\n";

    let asked = request(&issuer, "POST /", chunked) + body;
    let answer = client::raw(&proxy.address, asked.as_bytes()).await;

    let seen = upstream.last();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.body, "one more");
    let trailers = seen.trailers.unwrap();
    assert_eq!((trailers.len(), trailers.get("x-sum").unwrap().to_str().unwrap()), (1, "8"));
}

#[tokio::test(flavor = "local")]
async fn what_may_have_gone_with_trailers_is_waited_for_by_nobody() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let chunked = "transfer-encoding: chunked\r\n";
    for trailers in ["x-a: 1\r\n\r\n", "x-a: 1\n\r\nGET /next HTTP/1.1\r\nhost: p\r\n\r\n"] {
        let asked = request(&issuer, "POST /", chunked);
        let answer = proxy.raw(format!("{asked}1\r\nx\r\n0\r\n{trailers}")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{trailers:?}");
        assert_eq!(upstream.take().len(), 1, "{trailers:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn trailers_of_an_answer_pass_to_a_client_that_wants_them() {
    let (issuer, _upstream, proxy) = before(|mut socket| async move {
        let asked = head(&mut socket).await;
        assert!(asked.contains("te: trailers\r\n"), "{asked}");
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
                      trailer: x-sum, x-clerk-user-id\r\n\r\n\
                      2\r\nok\r\n0\r\nx-sum: 2\r\nx-clerk-user-id: root\r\n\r\n";
        socket.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;

    let asked = request(&issuer, "GET /", "te: trailers\r\nconnection: te, close\r\n");
    let answer = client::raw(&proxy.address, asked.as_bytes()).await;

    assert!(answer.ends_with("2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "local")]
async fn answers_without_a_body_leave_both_connections_open() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        loop {
            let asked = head(&mut socket).await;
            let answer = match asked.split(' ').nth(1) {
                None => return,
                Some("/head") => "200 OK\r\ncontent-length: 5",
                Some("/204") => "204 No Content",
                Some("/304") => "304 Not Modified\r\ncontent-length: 5",
                Some(_) => "200 OK\r\ncontent-length: 0",
            };
            socket.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let requests: String = ["HEAD /head", "GET /204", "GET /304", "GET /empty"]
        .map(|line| request(&issuer, line, ""))
        .concat();
    let last = request(&issuer, "GET /empty", "connection: close\r\n");
    let answers = client::raw(&proxy.address, (requests + &last).as_bytes()).await;

    let statuses: Vec<_> = answers
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "))
        .map(|line| &line[..3])
        .collect();
    assert_eq!(statuses, ["200", "204", "304", "200", "200"], "{answers}");
    assert_eq!(answers.matches("content-length: 5").count(), 1, "{answers}");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test(flavor = "local")]
async fn an_answer_may_come_before_the_body_has_gone() {
    let uploaded = Rc::<Cell<u64>>::default();
    let count = Rc::clone(&uploaded);
    let (issuer, upstream, proxy) = before(move |mut socket| {
        let count = Rc::clone(&count);
        async move {
            head(&mut socket).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly";
            socket.write_all(answer).await.unwrap();
            let body = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
            count.set(count.get().max(body.unwrap_or_default()));
        }
    })
    .await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();

    let asked = request(&issuer, "POST /", "content-length: 1000\r\n");
    socket.write_all((asked + "some").as_bytes()).await.unwrap();
    let answer = head(&mut socket).await;
    let mut body = [0; 5];
    socket.read_exact(&mut body).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(&body, b"early");
    // Whatever still comes of that body, it is on no connection that another request could get.
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
    assert_eq!(upstream.connections(), 2);
    // A backend may read on, for what it has said that it will do.
    socket.write_all(&[b'a'; 996]).await.unwrap();
    until("the backend has all of it", async || uploaded.get() == 1000).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_that_goes_takes_its_connection_to_the_backend_with_it() {
    let closed = Rc::<Cell<usize>>::default();
    let count = Rc::clone(&closed);
    let (issuer, _upstream, proxy) = before(move |mut socket| {
        let count = Rc::clone(&count);
        async move {
            loop {
                let asked = head(&mut socket).await;
                let Some(tag) = asked.split([' ', '/']).nth(2).map(str::to_owned) else { break };
                let body = format!("{tag:>8}").repeat(20_000);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                // Who will leave gets half of it.
                let leaves = tag.starts_with("left");
                let body = if leaves { &body[..body.len() / 2] } else { &body };
                if socket.write_all((answer + body).as_bytes()).await.is_err() || leaves {
                    break;
                }
            }
            let _ = socket.read(&mut [0; 1]).await;
            count.set(count.get() + 1);
        }
    })
    .await;

    for round in 0..100 {
        let mut leaver = TcpStream::connect(&proxy.address).await.unwrap();
        let asked = request(&issuer, &format!("GET /left{round}"), "");
        leaver.write_all(asked.as_bytes()).await.unwrap();
        if round % 2 == 0 {
            head(&mut leaver).await; // otherwise it leaves before there is an answer
        }
        drop(leaver);

        let answer = proxy.get(&format!("/kept{round}"), &issuer.token()).await;

        assert_eq!(answer.text(), format!("{:>8}", format!("kept{round}")).repeat(20_000));
    }
    let active = r#"countersign_upstream_connections{state="active"}"#;
    until("the backend is left", async || proxy.metric(active).await == 0.0).await;
    until("the backend has seen half of them go", async || closed.get() >= 50).await;
}

/// A backend that answers each connection's first request and closes at the second one.
async fn forgetful(mut socket: TcpStream) {
    head(&mut socket).await;
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    head(&mut socket).await;
}

#[tokio::test(flavor = "local")]
async fn what_may_be_repeated_is_sent_again_where_a_kept_connection_turns_out_closed() {
    let (issuer, _upstream, proxy) = before(forgetful).await;
    let retried = r#"countersign_upstream_requests_total{result="retried"}"#;

    let repeatable =
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::QUERY, Method::PUT, Method::DELETE];
    for (count, method) in (1..).zip(repeatable) {
        assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
        let client = proxy.client().bearer(&issuer.token());
        assert_eq!(client.send(method.clone(), "/", "").await.status, 200, "{method}");
        assert_eq!(proxy.metric(retried).await, f64::from(count), "{method}");
        // The second attempt's connection is kept now, and would be found closed by the next GET.
        assert_eq!(proxy.client().bearer(&issuer.token()).post("/", "").await.status, 502);
    }
}

#[tokio::test(flavor = "local")]
async fn what_may_not_be_repeated_is_sent_once() {
    let (issuer, upstream, proxy) = before(forgetful).await;

    let others = Method::from_bytes(b"PROPFIND").unwrap();
    for (method, body) in [
        (Method::POST, ""),
        (Method::PATCH, ""),
        (others, ""),
        (Method::POST, "a"),
        (Method::PUT, "a"),
    ] {
        assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
        let before = upstream.connections();
        let answer = proxy.client().bearer(&issuer.token()).send(method, "/", body).await;
        assert_eq!((answer.status, answer.reason().as_str()), (502, "upstream-broken"));
        assert_eq!(upstream.connections(), before);
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_closes_after_each_answer_costs_no_request() {
    let noticed = Rc::<Cell<u64>>::default();
    let ends = Rc::clone(&noticed);
    let (issuer, upstream, proxy) = before(move |mut socket| {
        let ends = Rc::clone(&ends);
        async move {
            head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            socket.shutdown().await.unwrap();
            while socket.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
            ends.set(ends.get() + 1);
        }
    })
    .await;

    for round in 0..100 {
        let client = proxy.client().bearer(&issuer.token());
        let answer = if round % 2 == 0 {
            client.get("/").await
        } else {
            // What was written before the end was read may not be repeated (RFC 9110 §9.2.2).
            until("the end is noticed", async || noticed.get() == upstream.connections()).await;
            client.post("/", "a").await
        };
        assert_eq!(answer.status, 200, "round {round}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_is_away_is_a_502_until_it_is_back() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
    let address = upstream.address.clone();

    drop(upstream);
    let client = proxy.client().bearer(&issuer.token());
    until("the backend is away", async || client.clone().get("/").await.status == 502).await;
    let away = client.clone().get("/").await;
    let _upstream =
        Upstream::on(TcpListener::bind(address).await.unwrap(), |_| Response::new("ok".into()));
    let back = client.post("/", "a").await;

    assert_eq!((away.status, away.reason().as_str()), (502, "upstream-unreachable"));
    assert_eq!(back.status, 200);
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_never_answers_is_a_504() {
    let (issuer, _upstream, proxy) = before(|mut socket| async move {
        head(&mut socket).await;
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0, "the proxy lets go");
    })
    .await;
    time::pause();

    let asked = Instant::now();
    let answer = proxy.get("/", &issuer.token()).await;

    assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream-timeout"));
    assert_eq!(asked.elapsed().as_secs(), 60);
    let active = r#"countersign_upstream_connections{state="active"}"#;
    assert_eq!(proxy.metric(active).await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn a_backend_has_its_time_from_the_last_piece_of_a_request_on() {
    const PAUSE: Duration = Duration::from_secs(40);
    let (issuer, _upstream, proxy) = before(|mut socket| async move {
        head(&mut socket).await;
        socket.read_exact(&mut [0; 3]).await.unwrap();
        time::sleep(PAUSE).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        head(&mut socket).await;
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0, "and the next gets no answer");
    })
    .await;
    let mut client = TcpStream::connect(&proxy.address).await.unwrap();
    client.write_all(request(&issuer, "PUT /", "content-length: 3\r\n").as_bytes()).await.unwrap();
    time::pause();

    for _ in 0..3 {
        time::sleep(PAUSE).await;
        client.write_all(b"a").await.unwrap();
    }
    let answer = head(&mut client).await;
    let asked = Instant::now();
    let next = proxy.get("/", &issuer.token()).await;

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!((next.status, asked.elapsed().as_secs()), (504, 60), "whoever had the timer before");
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_cannot_be_connected_to_is_a_504() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let _first = TcpStream::connect(address).await.unwrap(); // all there is room for
    let proxy = Proxy::start(settings_for(&issuer.origin(), &address.to_string())).await;
    time::pause();

    let asked = Instant::now();
    let answer = proxy.get("/", &issuer.token()).await;

    assert_eq!((answer.status, answer.reason().as_str()), (504, "upstream-timeout"));
    assert_eq!(asked.elapsed().as_secs(), 2);
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_is_none_is_a_502() {
    let answer = Rc::new(RefCell::new(""));
    let bytes = Rc::clone(&answer);
    let (issuer, _upstream, proxy) = before(move |mut socket| {
        let bytes = *bytes.borrow();
        async move {
            head(&mut socket).await;
            socket.write_all(bytes.as_bytes()).await.unwrap();
        }
    })
    .await;

    for bytes in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "garbage\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
    ] {
        *answer.borrow_mut() = bytes;
        let got = proxy.get("/", &issuer.token()).await;
        assert_eq!((got.status, got.reason().as_str()), (502, "upstream-broken"), "{bytes:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_answers_twice_gives_its_second_answer_to_nobody() {
    const FIRST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst";
    const SECOND: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";
    for (second, pause) in
        [(SECOND, Pause::None), (SECOND, Pause::UntilIdle), (&SECOND[..1], Pause::UntilIdle)]
    {
        let idle = Rc::new(tokio::sync::Notify::new());
        let is_idle = Rc::clone(&idle);
        let (issuer, upstream, proxy) = before(move |mut socket| {
            let is_idle = Rc::clone(&is_idle);
            async move {
                head(&mut socket).await;
                socket.write_all(FIRST).await.unwrap();
                if pause == Pause::UntilIdle {
                    is_idle.notified().await;
                }
                socket.write_all(second).await.unwrap();
                let _ = socket.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        for number in 1..=3 {
            let answer = proxy.get("/", &issuer.token()).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "first"), "{pause:?}");
            idle.notify_one();
            let kept = r#"countersign_upstream_connections{state="idle"}"#;
            until("it is not kept", async || proxy.metric(kept).await == 0.0).await;
            assert_eq!(upstream.connections(), number, "{pause:?}");
        }
    }
}

/// When a second answer comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pause {
    None,
    /// Once the connection has no request.
    UntilIdle,
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let (issuer, _upstream, proxy) = before(move |mut socket| async move {
            head(&mut socket).await;
            socket.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;

        let got = client::raw(&proxy.address, request(&issuer, "GET /", "").as_bytes()).await;

        assert!(got.starts_with("HTTP/1.1 200 OK") && got.contains("abc"), "{got}");
        assert!(!got.ends_with("0\r\n\r\n"), "what was cut must not look whole: {got}");
    }
}

#[tokio::test(flavor = "local")]
async fn unix_sockets_do_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(Clock::System).unwrap();
    let path = directory.path().join("backend.sock");
    let backend = UnixListener::bind(&path).unwrap();
    let backend = task::spawn_local(async move {
        let (mut socket, _) = backend.accept().await.unwrap();
        let asked = head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        asked
    });
    let mut settings = settings_for(&issuer.origin(), "none:0");
    settings.proxy.upstream = UpstreamAddress::Unix(path);
    settings.proxy.listen = vec![ListenAddress::Unix(directory.path().join("proxy.sock"))];
    let proxy = Proxy::start(settings).await;

    let answer = proxy.get("/orders", &issuer.token()).await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let asked = backend.await.unwrap();
    assert!(asked.starts_with("GET /orders HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("x-forwarded-for"), "who comes through a file has no address: {asked}");
}

#[tokio::test(flavor = "local")]
async fn a_body_that_stops_coming_is_a_408() {
    let (issuer, _upstream, proxy) = before(|mut socket| async move {
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok();
    })
    .await;
    time::pause();

    let asked = Instant::now();
    let bytes = request(&issuer, "POST /", "content-length: 10\r\n") + "abc";
    let answer = client::raw(&proxy.address, bytes.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout"), "{answer}");
    assert!(answer.contains("connection: close") && answer.contains("request-timeout"), "{answer}");
    assert_eq!(asked.elapsed().as_secs(), 5 * 60);
}

#[tokio::test(flavor = "local")]
async fn a_client_that_stops_reading_is_let_go() {
    let (issuer, _upstream, proxy) = before(|mut socket| async move {
        head(&mut socket).await;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 * MIB);
        socket.write_all(answer.as_bytes()).await.unwrap();
        pour(&mut socket, 64 * MIB, &Cell::new(0)).await;
    })
    .await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    socket.write_all(request(&issuer, "GET /", "").as_bytes()).await.unwrap();
    head(&mut socket).await;
    time::pause();

    let stopped = Instant::now();
    let connections = "countersign_connections";
    until("the connection is closed", async || {
        time::sleep(Duration::from_secs(1)).await;
        proxy.metric(connections).await == 0.0
    })
    .await;

    assert!((300..=311).contains(&stopped.elapsed().as_secs()), "{:?}", stopped.elapsed());
    assert_eq!(proxy.metric(r#"countersign_upstream_connections{state="active"}"#).await, 0.0);
    assert_eq!(proxy.metric("countersign_requests_in_flight").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn a_client_is_told_to_send_its_body_once_its_token_is_known_to_be_good() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let expecting = "content-length: 3\r\nexpect: 100-continue\r\nconnection: close\r\n";

    let refused = format!("POST / HTTP/1.1\r\nhost: a\r\n{expecting}\r\n");
    let refused = client::raw(&proxy.address, refused.as_bytes()).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    socket.write_all(request(&issuer, "POST /", expecting).as_bytes()).await.unwrap();
    let first = head(&mut socket).await;
    socket.write_all(b"abc").await.unwrap();
    let second = head(&mut socket).await;

    assert!(refused.starts_with("HTTP/1.1 401 Unauthorized"), "{refused}");
    assert_eq!(first, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(second.starts_with("HTTP/1.1 200 OK"), "{second}");
    assert_eq!((upstream.last().body, upstream.last().headers.get("expect")), ("abc".into(), None));
}

#[tokio::test(flavor = "local")]
async fn the_body_of_a_refused_request_is_never_taken_for_another() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let inner = request(&issuer, "GET /inner", "");

    for (head, body) in [
        (format!("content-length: {}\r\n", inner.len()), inner.clone()),
        ("content-length: 100000\r\n".to_owned(), inner.clone()),
        ("transfer-encoding: chunked\r\n".to_owned(), format!("{:x}\r\n{inner}", inner.len())),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n{body}");
        let answer = client::raw(&proxy.address, bytes.as_bytes()).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(
            answer.contains("HTTP/1.1 401 ") && answer.contains("connection: close"),
            "{answer}"
        );
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_refusal_is_heard_by_a_client_that_is_still_sending() {
    const SIZE: usize = 16 * MIB;
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    for round in 0..20 {
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        let asked = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n");
        socket.write_all(asked.as_bytes()).await.unwrap();
        let sent = Cell::new(0);
        pour(&mut socket, SIZE, &sent).await;
        let answer = head(&mut socket).await;

        assert_eq!(sent.get(), SIZE, "round {round}");
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized"), "round {round}: {answer:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_keeps_its_cookies_and_its_date() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::answering(|_| {
        let answer = Response::builder()
            .header("set-cookie", "a=1; Path=/")
            .header("set-cookie", "b=2, c")
            .header("date", "Tue, 15 Nov 1994 08:12:31 GMT")
            .header("x-clerk-user-id", "root");
        answer.body(Bytes::new()).unwrap()
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let answer = proxy.get("/", &issuer.token()).await;

    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2, c"]);
    assert_eq!(answer.header("date"), Some("Tue, 15 Nov 1994 08:12:31 GMT"));
    assert_eq!(answer.header("x-clerk-user-id"), None);
    assert_eq!(answer.header("x-request-id"), upstream.last().header("x-request-id"));
}

#[tokio::test(flavor = "local")]
async fn the_backend_is_told_where_a_request_came_from() {
    for (trusted, chain, proto, host, id) in [
        (None, "127.0.0.1", "http", "app.test", None),
        (Some("127.0.0.0/8"), "6.6.6.6, 127.0.0.1", "https", "public.test", Some("own-name")),
        (Some("10.0.0.0/8"), "127.0.0.1", "http", "app.test", None),
    ] {
        let issuer = Issuer::start(Clock::System).unwrap();
        let upstream = Upstream::start().await;
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.trusted_proxies =
            TrustedProxies(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let proxy = Proxy::start(settings).await;

        let client = proxy
            .client()
            .header("host", "App.Test")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "public.test")
            .header("x-request-id", "own-name");
        let answer = client.bearer(&issuer.token()).get("/").await;

        let seen = upstream.last();
        assert_eq!(seen.header("host"), Some("app.test"));
        assert_eq!(seen.header("x-forwarded-for"), Some(chain));
        assert_eq!(seen.header("x-forwarded-proto"), Some(proto));
        assert_eq!(seen.header("x-forwarded-host"), Some(host));
        assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
        let name = answer.header("x-request-id").unwrap();
        assert!(id.map_or(name.len() == 32, |id| name == id), "{name}");
        let kept = |other: &&str| seen.headers.get_all(*other).iter().count() == 1;
        assert!(["x-forwarded-for", "x-request-id", "host"].iter().all(kept), "{:?}", seen.headers);
    }
}
