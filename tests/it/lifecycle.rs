//! From listening to the last answer.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use countersign::app::{App, StartError};
use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::listen::ListenAddress;
use countersign::proxy::{Drained, Threads, UpstreamAddress};
use countersign::telemetry::sink::Sink;
use http::{Method, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio::time::{self, Instant};

use crate::support::settings::settings_for;
use crate::support::upstream::head;
use crate::support::wires::{Back, Front, Script, Then};
use crate::support::{Answer, Client, Issuer, Proxy, Upstream, settings, until};

/// A backend that answers each request when it is told to, and counts those that wait.
async fn patient() -> (Upstream, Rc<Notify>, Rc<Cell<usize>>) {
    let (go, waiting) = (Rc::new(Notify::new()), Rc::<Cell<usize>>::default());
    let told = (Rc::clone(&go), Rc::clone(&waiting));
    let upstream = Upstream::raw(move |mut socket| {
        let (go, waiting) = told.clone();
        async move {
            while !head(&mut socket).await.is_empty() {
                waiting.set(waiting.get() + 1);
                go.notified().await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                socket.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    (upstream, go, waiting)
}

async fn refused(settings: Settings) -> String {
    let sink = Sink::start(std::io::sink()).unwrap();
    let error = App::start(settings, Clock::System, sink, Threads::Here).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }), "{error:?}");
    error.to_string()
}

/// What became of a client that sends one request after another until there is no service.
#[derive(Default)]
struct Lost {
    served: usize,
    lost: Vec<String>,
}

#[tokio::test(flavor = "local")]
async fn no_request_is_lost_when_the_proxy_leaves_under_load() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let served = Rc::<Cell<usize>>::default();
    let mut clients = JoinSet::new();
    for number in 0..16 {
        let (address, token, served) = (proxy.address.clone(), issuer.token(), Rc::clone(&served));
        clients.spawn_local(async move {
            let mut result = Lost::default();
            loop {
                let Ok(mut kept) = Client::to(&address).bearer(&token).open().await else {
                    return result; // nobody listens any more: the end of service
                };
                // Half of the clients open a connection a request, half keep theirs.
                loop {
                    let method = if result.served % 3 == 0 { Method::POST } else { Method::GET };
                    match kept.try_send(method, "/", "").await {
                        Ok(Answer { status: 200, headers, .. }) => {
                            result.served += 1;
                            served.set(served.get() + 1);
                            if number % 2 == 0 || headers.contains_key("connection") {
                                break;
                            }
                        }
                        Ok(answer) => result.lost.push(format!("{answer:?}")),
                        Err(error) => {
                            result.lost.push(format!("{error:?}"));
                            break;
                        }
                    }
                }
            }
        });
    }
    until("there is load", async || served.get() >= 500).await;

    let drained = proxy.drain().await;

    let results = clients.join_all().await;
    let lost: Vec<_> = results.iter().flat_map(|result| &result.lost).collect();
    assert_eq!(drained, Drained::Clean);
    assert!(lost.is_empty(), "{lost:?}");
    assert!(results.iter().all(|result| result.served > 0));
}

#[tokio::test(flavor = "local")]
async fn a_request_under_way_is_finished_and_its_connection_with_it() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let (upstream, go, waiting) = patient().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    let address = proxy.address.clone();

    let under_way = task::spawn_local(async move {
        let answer = kept.get("/").await;
        let again = kept.try_send(Method::GET, "/", "").await;
        (answer, again.is_err())
    });
    until("the backend has it", async || waiting.get() == 1).await;
    time::pause();
    let drain = task::spawn_local(proxy.drain());
    time::sleep(Duration::from_secs(20)).await;
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
    go.notify_one();

    let (answer, closed) = under_way.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!((answer.header("connection"), closed), (Some("close"), true));
    assert_eq!(drain.await.unwrap(), Drained::Clean);
}

#[tokio::test(flavor = "local")]
async fn what_is_not_answered_before_the_grace_is_over_is_told_so() {
    for front in [Front::Http1, Front::H2c] {
        let upload = Script::of(["the first of many".into()], Then::Wait);
        for (method, body, grace, want, again) in [
            (Method::GET, Script::empty(), 25_000, 24_500, Some("1")),
            (Method::POST, upload, 25_000, 24_500, None), // it may have been done
            (Method::PUT, Script::empty(), 10_000, 9_500, Some("1")),
            (Method::GET, Script::empty(), 3_000, 2_500, Some("1")),
            (Method::GET, Script::empty(), 1_000, 500, Some("1")),
        ] {
            let issuer = Issuer::start(Clock::System).unwrap();
            let backend = Back::Http1.start(async |_| std::future::pending().await).await;
            let mut settings = settings_for(&issuer.origin(), &backend.address);
            settings.proxy.drain.grace = Duration::from_millis(grace);
            let proxy = Proxy::start(settings).await;
            let mut sender = front.open(&proxy.address).await;
            let mut ask = front.request("/", &issuer.token(), body);
            *ask.method_mut() = method;
            let asked = task::spawn_local(async move { (sender.send(ask).await, Instant::now()) });
            let in_flight = "countersign_requests_in_flight";
            until("it is under way", async || proxy.metric(in_flight).await == 1.0).await;
            time::pause();

            let began = Instant::now();
            let drain = task::spawn_local(proxy.drain_and_tell());
            let (answer, answered) = asked.await.unwrap();
            let (drained, logged) = drain.await.unwrap();

            let answer = answer.unwrap();
            let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!((answer.status().as_u16(), header("retry-after")), (503, again));
            let closes = (!front.is_http2()).then_some("close");
            assert_eq!(header("connection"), closes, "{front:?} {grace}");
            let took = (answered - began).as_millis() as u64;
            assert!((want..want + 100).contains(&took), "{front:?} {grace}: {took} ms");
            assert_eq!(drained, Drained::Clean, "{front:?} {grace}");
            let mut lines = logged.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let line = lines.rfind(|line| line["target"] == "access").unwrap();
            let told = (&line["status"], &line["decision"], &line["reason"]);
            assert_eq!(told, (&503.into(), &"failed".into(), &"draining".into()), "{line}");
            time::resume();
        }
    }
}

/// Waits for something else than an answer: the backend's word on a WebSocket, a body that
/// the client holds back, a place among those under way.
#[tokio::test(flavor = "local")]
async fn whatever_a_request_waits_for_it_is_told_before_the_grace_is_over() {
    const SOCKET: &str = "GET / HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const LATER: &str = "PUT / HTTP/1.1\r\ncontent-length: 3\r\nexpect: 100-continue\r\n";
    const USUAL: &str = "GET / HTTP/1.1\r\n";
    for (asked, is_crowded) in [(SOCKET, false), (LATER, false), (USUAL, true)] {
        let issuer = Issuer::start(Clock::System).unwrap();
        let (upstream, _go, waiting) = patient().await;
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.drain.grace = Duration::from_secs(1);
        settings.proxy.limits.in_flight = Some(1);
        let proxy = Proxy::start(settings).await;
        let ask = async || {
            let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
            let end = format!("host: a\r\nauthorization: Bearer {}\r\n\r\n", issuer.token());
            socket.write_all(format!("{asked}{end}").as_bytes()).await.unwrap();
            socket
        };
        let mut sockets = vec![ask().await];
        until("the backend has it", async || waiting.get() == 1).await;
        time::pause();
        if is_crowded {
            sockets.push(ask().await);
            time::sleep(Duration::from_millis(10)).await;
        }

        let began = Instant::now();
        let drain = task::spawn_local(proxy.drain());
        for socket in &mut sockets {
            let mut told = head(socket).await;
            if told.starts_with("HTTP/1.1 100 ") {
                told = head(socket).await;
            }
            assert!(told.starts_with("HTTP/1.1 503 "), "{asked}: {told}");
        }
        let took = began.elapsed().as_millis();
        assert!((500..600).contains(&took), "{asked}: {took} ms");
        assert_eq!(drain.await.unwrap(), Drained::Clean, "{asked}");
        time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn a_drain_is_not_held_up_by_a_client_that_was_told_so_and_goes_on_sending() {
    for grace in [25_000, 3_000] {
        let issuer = Issuer::start(Clock::System).unwrap();
        let backend = Back::Http1.start(async |_| std::future::pending().await).await;
        let mut settings = settings_for(&issuer.origin(), &backend.address);
        settings.proxy.drain.grace = Duration::from_millis(grace);
        let proxy = Proxy::start(settings).await;
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        let asked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 60\r\nauthorization: Bearer {}\r\n\r\nsome",
            issuer.token()
        );
        socket.write_all(asked.as_bytes()).await.unwrap();
        let in_flight = "countersign_requests_in_flight";
        until("it is under way", async || proxy.metric(in_flight).await == 1.0).await;
        time::pause();

        let drain = task::spawn_local(proxy.drain());
        let told = head(&mut socket).await;
        let drained = drain.await.unwrap();

        assert!(told.starts_with("HTTP/1.1 503"), "{grace}: {told}");
        assert_eq!(drained, Drained::Clean, "{grace}");
        time::resume();
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_takes_longer_than_the_grace_is_cut() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n").await.unwrap();
        while socket.write_all(b"x").await.is_ok() {
            time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let asked =
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", issuer.token());
    time::pause();
    socket.write_all(asked.as_bytes()).await.unwrap();
    head(&mut socket).await;

    let began = Instant::now();
    let drained = proxy.drain().await;

    assert_eq!((drained, began.elapsed().as_secs()), (Drained::Cut, 25));
}

#[tokio::test(flavor = "local")]
async fn quiet_connections_have_a_second_for_what_was_on_its_way() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let open = async || proxy.client().bearer(&issuer.token()).open().await.unwrap();
    let (mut idle, mut late, mut new) = (open().await, open().await, open().await);
    let mut silent = TcpStream::connect(&proxy.address).await.unwrap();
    assert_eq!((idle.get("/").await.status, late.get("/").await.status), (200, 200));
    until("all are served", async || proxy.metric("countersign_connections").await == 4.0).await;
    time::pause();

    let began = Instant::now();
    let drain = task::spawn_local(async move { (proxy.drain().await, began.elapsed()) });
    let silent = task::spawn_local(async move {
        let _ = silent.read_to_end(&mut Vec::new()).await;
        began.elapsed()
    });
    time::sleep(Duration::from_millis(900)).await;
    let (late, new) = (late.get("/").await, new.get("/").await);
    let (drained, took) = drain.await.unwrap();

    for answer in [late, new] {
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    assert!(idle.try_send(Method::GET, "/", "").await.is_err());
    let silent = silent.await.unwrap();
    assert_eq!((silent.as_secs(), drained, took.as_secs()), (1, Drained::Clean, 1));
}

#[tokio::test(flavor = "local")]
async fn a_proxy_that_was_told_to_wait_serves_meanwhile_and_calls_itself_not_ready() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.drain.delay = Duration::from_secs(5);
    let proxy = Proxy::start(settings).await;
    let (client, admin) = (proxy.client().bearer(&issuer.token()), Client::to(&proxy.admin));
    let mut kept = client.clone().open().await.unwrap();
    assert_eq!(kept.get("/").await.header("connection"), None);
    assert_eq!(admin.clone().get("/readyz").await.status, 200);
    time::pause();

    let began = Instant::now();
    let drain = task::spawn_local(proxy.drain());
    time::sleep(Duration::from_secs(4)).await;
    let (ready, live) = (admin.clone().get("/readyz").await, admin.get("/livez").await);
    let (new, kept) = (client.clone().get("/").await, kept.get("/").await);

    assert_eq!((ready.status, ready.text().as_str(), live.status), (503, "draining\n", 200));
    for answer in [new, kept] {
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    assert_eq!(drain.await.unwrap(), Drained::Clean);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(client.try_send(Method::GET, "/", "").await.is_err());
}

#[tokio::test(flavor = "local")]
async fn a_streaming_answer_goes_on_in_a_drain() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n").await.unwrap();
        for _ in 0..20 {
            time::sleep(Duration::from_secs(1)).await;
            socket.write_all(b"x").await.unwrap();
        }
        head(&mut socket).await;
    })
    .await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let asked =
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", issuer.token());
    time::pause();
    socket.write_all(asked.as_bytes()).await.unwrap();
    let answer = head(&mut socket).await;

    let drain = task::spawn_local(proxy.drain());
    let mut body = String::new();
    socket.read_to_string(&mut body).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!((body, drain.await.unwrap()), ("x".repeat(20), Drained::Clean));
}

#[tokio::test(flavor = "local")]
async fn an_address_that_is_taken_is_named() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ListenAddress::Tcp(taken.local_addr().unwrap());
    let mut as_proxy = settings(&issuer, &upstream);
    as_proxy.proxy.listen = vec![address.clone()];
    let mut as_admin = settings(&issuer, &upstream);
    as_admin.admin.listen = address.clone();

    for settings in [as_proxy, as_admin] {
        let sentence = refused(settings).await;
        assert!(sentence.starts_with(&format!("cannot listen on {address}: ")), "{sentence}");
        assert!(sentence.contains("in use"), "{sentence}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_socket_nobody_listens_on_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let at = |name: &str| {
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.listen = vec![ListenAddress::Unix(path(name))];
        settings
    };
    drop(UnixListener::bind(path("abandoned")).unwrap());
    let _live = UnixListener::bind(path("live")).unwrap();
    std::fs::write(path("file"), "a letter").unwrap();
    std::os::unix::fs::symlink(path("abandoned"), path("link")).unwrap();

    for name in ["live", "file", "link"] {
        let sentence = refused(at(name)).await;
        assert!(sentence.starts_with("cannot listen on unix:"), "{sentence}");
    }
    assert_eq!(std::fs::read_to_string(path("file")).unwrap(), "a letter");
    let proxy = Proxy::start(at("abandoned")).await;
    let mode = std::fs::metadata(path("abandoned")).unwrap().permissions().mode();
    let answer = proxy.get("/", &issuer.token()).await;
    let drained = proxy.drain().await;

    assert_eq!((mode & 0o777, answer.status, drained), (0o660, 200, Drained::Clean));
    assert!(!path("abandoned").exists(), "the file goes with the listener");
    assert!(path("live").exists());
}

#[tokio::test(flavor = "local")]
async fn several_addresses_are_one_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::answering(|_| Response::new(Bytes::from("ok"))).await;
    let path = directory.path().join("proxy.sock");
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.listen.push(ListenAddress::Unix(path.clone()));
    settings.proxy.listen_mode = 0o600;
    if there_is_ipv6() {
        settings.proxy.listen.insert(1, ListenAddress::Tcp("[::1]:0".parse().unwrap()));
    }
    // One place for all of them: an address that nobody comes to takes none.
    settings.proxy.limits.connections = Some(1);
    let proxy = Proxy::start(settings).await;

    let addresses: Vec<String> = proxy.listening().iter().map(ToString::to_string).collect();
    for address in &addresses {
        let answer = Client::to(address).bearer(&issuer.token()).get("/").await;
        assert_eq!(answer.status, 200, "{address}");
    }

    let hops =
        upstream.seen().into_iter().map(|seen| seen.header("x-forwarded-for").map(str::to_owned));
    let hops: Vec<_> = hops.collect();
    let want = addresses.iter().map(|address| match address.as_str() {
        address if address.starts_with("unix:") => None,
        address if address.starts_with('[') => Some("::1".to_owned()),
        _ => Some("127.0.0.1".to_owned()),
    });
    assert_eq!(hops, want.collect::<Vec<_>>());
    assert_eq!(upstream.connections(), 1, "they share what is kept to the backend");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(proxy.drain().await, Drained::Clean);
}

/// Tells whether this machine has IPv6; where it has none, says that something was not tried.
fn there_is_ipv6() -> bool {
    let there_is = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !there_is {
        // Not by `eprintln`, of which nobody sees anything where the test passes.
        let line = "NOT TRIED: this machine has no IPv6\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    there_is
}

#[tokio::test(flavor = "local")]
async fn the_unspecified_address_of_ipv6_takes_ipv4_too_and_calls_it_that() {
    if !there_is_ipv6() {
        return;
    }
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.listen = vec![ListenAddress::Tcp("[::]:0".parse().unwrap())];
    let proxy = Proxy::start(settings).await;
    let port = proxy.listening()[0].tcp().unwrap().port();

    for (host, client) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let to = Client::to(&format!("{host}:{port}"));
        assert_eq!(to.clone().bearer(&issuer.token()).get("/").await.status, 200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
        // Refused before anything else was looked at.
        let logged = proxy.logged().lines().count();
        assert_eq!(to.header("x-odd", "1").header("host", "a b").get("/").await.status, 400);
        let logged: Vec<_> = proxy.logged().lines().skip(logged).map(str::to_owned).collect();
        let told = format!("\"client\":\"{client}\"");
        assert!(logged.iter().any(|line| line.contains(&told)), "{logged:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_may_listen_on_ipv6() {
    if !there_is_ipv6() {
        return;
    }
    let issuer = Issuer::start(Clock::System).unwrap();
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = Upstream::on(listener, |_| Response::new(Bytes::from("ok")));
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.upstream = UpstreamAddress::Tcp { host: "::1".to_owned(), port };
    let proxy = Proxy::start(settings).await;

    let answer = proxy.get("/", &issuer.token()).await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}
