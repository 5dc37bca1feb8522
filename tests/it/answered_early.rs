//! Requests that are answered before all of them has come, and what becomes of their connections.

use std::rc::Rc;
use std::time::Duration;

use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::proxy::UpstreamProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task;

use crate::support::early::{Answers, Early};
use crate::support::settings::settings_for;
use crate::support::upstream::head;
use crate::support::{HandMoved, Issuer, Proxy, Upstream, settings, until};

/// `timeouts.idle` here.
const IDLE: Duration = Duration::from_secs(3);
/// `timeouts.body` where that counts.
const SILENCE: Duration = Duration::from_secs(20);

/// A client's connection on which a POST with a body of this length has begun.
async fn posting(proxy: &Proxy, issuer: &Issuer, length: usize) -> TcpStream {
    sent(proxy, &request(issuer, "POST", &format!("content-length: {length}\r\n"))).await
}

/// The same with a body of which one chunk has come.
async fn posting_chunks(proxy: &Proxy, issuer: &Issuer) -> TcpStream {
    let head = request(issuer, "POST", "transfer-encoding: chunked\r\n");
    sent(proxy, &format!("{head}5\r\nhello\r\n")).await
}

fn get(issuer: &Issuer) -> String {
    request(issuer, "GET", "")
}

fn request(issuer: &Issuer, method: &str, headers: &str) -> String {
    let token = issuer.token();
    format!("{method} / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{headers}\r\n")
}

/// A connection on which this was sent.
async fn sent(proxy: &Proxy, text: &str) -> TcpStream {
    let mut client = TcpStream::connect(&proxy.address).await.unwrap();
    client.set_nodelay(true).unwrap(); // the system's time is not paused
    client.write_all(text.as_bytes()).await.unwrap();
    client
}

fn before(issuer: &Issuer, backend: &Early) -> Settings {
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    settings.proxy.upstream_protocol = UpstreamProtocol::Http2;
    settings.proxy.timeouts.idle = IDLE;
    settings
}

/// Waits for an answer, and for the end of its connection, before which nothing more is said: when it
/// has been idle, and two seconds later for whoever still sends. The clock goes by whole seconds.
async fn ends_when_idle(mut client: TcpStream, clock: &HandMoved) {
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
    let more = task::spawn_local(async move {
        let mut more = Vec::new();
        let _ = client.read_to_end(&mut more).await; // a reset is an end too
        more
    });
    let took = clock.until("it is over", async || more.is_finished()).await;
    assert!(more.await.unwrap().is_empty());
    assert!((3..=8).contains(&took), "{took} s");
}

#[tokio::test(flavor = "local")]
async fn a_connection_ends_whose_body_is_stuck_on_the_way_to_a_backend_over_http_2() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Early::start(65_535, Answers::WhenTold).await;
    let proxy = Proxy::start(before(&issuer, &backend)).await;
    let mut client = posting(&proxy, &issuer, 70_100).await;
    for (piece, taken) in [(40_000, 40_000), (30_000, 65_535)] {
        client.write_all(&vec![b'x'; piece]).await.unwrap();
        until("there is no more room", async || backend.bytes.get() == taken).await;
    }
    client.write_all(&[b'x'; 100]).await.unwrap();
    let clock = HandMoved::pause();
    clock.by(Duration::from_secs(1)).await; // all of it is read

    backend.answer.notify_one();
    ends_when_idle(client, &clock).await;
}

#[tokio::test(flavor = "local")]
async fn a_connection_ends_whose_body_is_stuck_on_the_way_to_a_backend_over_http_1() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let answer = Rc::new(Notify::new());
    let told = Rc::clone(&answer);
    let backend = Upstream::raw(move |mut socket| {
        let told = Rc::clone(&told);
        async move {
            head(&mut socket).await;
            told.notified().await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            std::future::pending::<()>().await; // and reads nothing
        }
    })
    .await;
    let mut settings = settings(&issuer, &backend);
    settings.proxy.timeouts.idle = IDLE;
    settings.proxy.timeouts.body = SILENCE;
    let proxy = Proxy::start(settings).await;
    let client = posting(&proxy, &issuer, 64 * 1024 * 1024).await;
    let clock = HandMoved::pause();
    let is_full = async || {
        let nothing_goes = client.try_write(&[b'x'; 1024]).is_err();
        while client.try_write(&[b'x'; 64 * 1024]).is_ok() {}
        nothing_goes
    };
    clock.until("every buffer is full", is_full).await;

    answer.notify_one();
    ends_when_idle(client, &clock).await;
    // The backend's connection counts for as long as it is there, which is no longer than a silence.
    let active = r#"countersign_upstream_connections{state="active"}"#;
    assert_eq!(proxy.metric(active).await, 1.0);
    let is_over = async || proxy.metric(active).await == 0.0;
    let took = clock.until("the backend is left", is_over).await;
    assert!(took <= SILENCE.as_secs(), "{took} s");
}

#[tokio::test(flavor = "local")]
async fn a_body_that_goes_on_after_its_answer_is_neither_a_head_nor_silence() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Early::start(65_535, Answers::AtOnce).await;
    let proxy = Proxy::start(before(&issuer, &backend)).await;
    let clock = HandMoved::pause();
    let mut client = posting(&proxy, &issuer, 15_000).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));

    for piece in 1..=15 {
        client.write_all(&[b'x'; 1_000]).await.unwrap();
        clock.by(Duration::from_secs(2)).await; // 30 in all, where a head has 10
        assert_eq!(backend.bytes.get(), piece * 1_000);
    }
    client.write_all(get(&issuer).as_bytes()).await.unwrap();

    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "), "and it serves on");
    assert_eq!(backend.heads.get(), 2);
}

/// The last chunk is no data: it ends a body all the same, and a connection is idle from there.
#[tokio::test(flavor = "local")]
async fn a_body_that_ends_after_its_answer_leaves_the_whole_silence() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Early::start(65_535, Answers::AtOnce).await;
    let proxy = Proxy::start(before(&issuer, &backend)).await;
    let clock = HandMoved::pause();
    let mut client = posting_chunks(&proxy, &issuer).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));

    clock.by(Duration::from_secs(2)).await;
    client.write_all(b"0\r\n\r\n").await.unwrap();
    clock.by(Duration::from_secs(2)).await; // four from the answer
    client.write_all(get(&issuer).as_bytes()).await.unwrap();

    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
}

/// The backend takes nothing of a body that the client has sent whole: what comes then is a head.
#[tokio::test(flavor = "local")]
async fn a_head_that_follows_a_stuck_body_has_the_time_of_a_head() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let backend = Early::start(0, Answers::AtOnce).await;
    let proxy = Proxy::start(before(&issuer, &backend)).await;
    let clock = HandMoved::pause();
    let mut client = posting(&proxy, &issuer, 5).await;
    client.write_all(b"hello").await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));

    let next = get(&issuer);
    let (half, rest) = next.split_at(10);
    clock.by(Duration::from_secs(1)).await;
    client.write_all(half.as_bytes()).await.unwrap();
    clock.by(Duration::from_secs(5)).await; // longer than a silence
    client.write_all(rest.as_bytes()).await.unwrap();

    assert!(head(&mut client).await.starts_with("HTTP/1.1 200 "));
}
