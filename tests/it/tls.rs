//! TLS with clients and with the backend.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign::app::{App, StartError};
use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::proxy::{Drained, Threads};
use countersign::telemetry::sink::Sink;
use countersign::tls::{BackendTlsSettings, ClientTlsSettings, server_name};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tokio_rustls::TlsAcceptor;

use crate::support::settings::{settings_for, settings_for_browsers};
use crate::support::tls::{Authority, Mounted, Pair, connect};
use crate::support::upstream::head;
use crate::support::{HandMoved, Issuer, Proxy, Upstream, settings, until, until_every};

/// TLS with a certificate out of these files, and clients that show none.
pub(crate) fn shows(files: &Mounted) -> Option<ClientTlsSettings> {
    Some(ClientTlsSettings { pair: files.pair(), client_ca: None, http2: true })
}

/// An issuer, a backend that answers `ok`, and a proxy whose settings were changed by `change`.
async fn with(change: impl FnOnce(&mut Settings)) -> (Issuer, Upstream, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    change(&mut settings);
    let proxy = Proxy::start(settings).await;
    (issuer, upstream, proxy)
}

/// The certificate that a new connection is shown.
pub(crate) async fn shown(proxy: &Proxy, client: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let socket = connect(&proxy.address, client).await.unwrap();
    socket.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

pub(crate) fn expiry_of(proxy: &Proxy) -> String {
    let listener = &proxy.address;
    format!("countersign_tls_certificate_expiry_timestamp_seconds{{listener=\"{listener}\"}}")
}

fn new_year(year: i32) -> f64 {
    rcgen::date_time_ymd(year, 1, 1).unix_timestamp() as f64
}

// With clients.

#[tokio::test(flavor = "local")]
async fn both_versions_of_tls_are_served_and_the_backend_learns_of_it() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let (issuer, upstream, proxy) = with(|it| it.tls = shows(&files)).await;
    for (version, protocol) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let client = authority.client_of(&[version], None);
        let mut offering = ClientConfig::clone(&client);
        offering.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];

        let socket = connect(&proxy.address, &Arc::new(offering)).await.unwrap();
        let kept = proxy.client().tls(&client).bearer(&issuer.token()).open().await;
        let mut kept = kept.unwrap();
        let answers = [kept.get("/a").await, kept.get("/b").await];

        let session = socket.get_ref().1;
        assert_eq!(session.protocol_version(), Some(protocol));
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]), "ours to choose");
        assert_eq!(answers.map(|answer| answer.status), [200, 200]);
        assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
        assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    }
    assert_eq!(proxy.metric(&expiry_of(&proxy)).await, new_year(4000));
}

#[tokio::test(flavor = "local")]
async fn without_tls_there_is_no_certificate_to_tell_of() {
    let (_issuer, _upstream, proxy) = with(|_| {}).await;
    let metrics = proxy.admin("/metrics").await.text();
    assert!(!metrics.contains("countersign_tls_"), "{metrics}");
}

#[tokio::test(flavor = "local")]
async fn a_target_is_of_the_scheme_that_it_comes_by() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let (issuer, _upstream, proxy) = with(|it| it.tls = shows(&files)).await;
    for (target, host, status) in [
        ("https://a.test/x", "a.test", 200),
        ("https://a.test/x", "a.test:443", 200),
        ("https://a.test/x", "b.test", 400),
        ("http://a.test/x", "a.test", 400),
    ] {
        let mut socket = connect(&proxy.address, &authority.client(None)).await.unwrap();
        let token = issuer.token();
        let asked = format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap(); // an error where TLS does not end as such
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {host}: {answer}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_browser_is_sent_back_by_the_scheme_that_it_came_by() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_for_browsers(&issuer, &upstream);
    settings.tls = shows(&files);
    let proxy = Proxy::start(settings).await;

    let client = proxy.client().tls(&authority.client(None)).header("host", "localhost:8443");
    let answer = client.header("accept", "text/html").get("/page").await;

    assert_eq!(answer.status, 307);
    let location = answer.header("location").unwrap();
    assert!(location.contains("redirect_url=https%3A%2F%2Flocalhost%3A8443%2Fpage"), "{location}");
}

#[tokio::test(flavor = "local")]
async fn whoever_speaks_plain_http_to_tls_is_closed_on() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let (issuer, upstream, proxy) = with(|it| it.tls = shows(&files)).await;
    let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
    let asked =
        format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", issuer.token());

    socket.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await; // a reset is a close too

    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    until("it is told", async || proxy.logged().contains("no TLS handshake")).await;
    assert!(upstream.seen().is_empty());
    let secure = proxy.client().tls(&authority.client(None)).bearer(&issuer.token());
    assert_eq!(secure.get("/").await.status, 200);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_handshake_that_takes_too_long_is_cut_off() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let (issuer, _upstream, proxy) = with(|it| {
        it.tls = shows(&files);
        it.proxy.timeouts.head = Duration::from_secs(3);
    })
    .await;
    let connections = "countersign_connections";
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let since = Instant::now();
        let mut socket = TcpStream::connect(&proxy.address).await.unwrap();
        socket.write_all(said).await.unwrap();
        until("it counts", async || proxy.metric(connections).await == 1.0).await;
        let other = proxy.client().tls(&authority.client(None)).bearer(&issuer.token());
        assert_eq!(other.get("/").await.status, 200, "others do not wait for it");

        let _ = socket.read_to_end(&mut Vec::new()).await; // a reset is a close too

        assert_eq!(since.elapsed().as_secs(), 10, "{said:?}");
        until("it is gone", async || proxy.metric(connections).await == 0.0).await;
    }

    let since = Instant::now();
    let mut socket = connect(&proxy.address, &authority.client(None)).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(since.elapsed().as_secs(), 3, "a head has its own time, after the handshake");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_handshake_that_does_not_come_holds_up_no_drain() {
    let files = Mounted::of(&Authority::new().pair("localhost"));
    let (_issuer, _upstream, proxy) = with(|it| it.tls = shows(&files)).await;
    let _silent = TcpStream::connect(&proxy.address).await.unwrap();
    until("it counts", async || proxy.metric("countersign_connections").await == 1.0).await;

    let since = Instant::now();
    let drained = proxy.drain().await;

    assert_eq!(drained, Drained::Clean);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "local")]
async fn with_an_authority_clients_show_a_certificate_or_are_not_served() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Mounted::of(&authority.pair("localhost"));
    files.replace("ca.crt", &clients.pem());
    let (issuer, upstream, proxy) = with(|it| {
        let client_ca = Some(files.path("ca.crt"));
        it.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca, http2: true });
    })
    .await;
    let expired = clients.pair_until("somebody", 2000);
    let (own, foreign) = (clients.pair("somebody"), others.pair("somebody"));
    for version in [&TLS12, &TLS13] {
        for (what, pair, served) in [
            ("none", None, false),
            ("another authority's", Some(&foreign), false),
            ("expired", Some(&expired), false),
            ("good", Some(&own), true),
        ] {
            let client = authority.client_of(&[version], pair);
            for _ in 0..2 {
                let asked = proxy.client().tls(&client).bearer(&issuer.token());
                let answer = asked.try_send(http::Method::GET, "/", "").await;
                let status = answer.map(|answer| answer.status).ok();
                assert_eq!(status, served.then_some(200), "{version:?} {what}");
            }
        }
    }
    assert_eq!(upstream.seen().len(), 4);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn new_connections_are_shown_the_new_certificate_and_old_ones_live_on() {
    let authority = Authority::new();
    let client = authority.client(None);
    let pair = |year| authority.pair_until("localhost", year);
    let first = pair(3000);
    let files = Mounted::of(&first);
    let (issuer, _upstream, proxy) = with(|it| it.tls = shows(&files)).await;
    let mut kept = proxy.client().tls(&client).bearer(&issuer.token()).open().await.unwrap();
    assert_eq!(kept.get("/").await.status, 200);
    assert_eq!(shown(&proxy, &client).await, first.chain()[0]);
    type Change = fn(&Mounted, &Pair);
    let by_swap: Change = Mounted::swap_pair;
    let by_rename: Change = |files, pair| {
        files.replace("tls.crt", &pair.certificate);
        files.replace("tls.key", &pair.key);
    };

    for (year, change) in [(3001, by_swap), (3002, by_swap), (3003, by_rename), (3004, by_rename)] {
        let next = pair(year);
        change(&files, &next);
        let changed = Instant::now();
        until_every(Duration::from_millis(50), "the next is shown", async || {
            shown(&proxy, &client).await == next.chain()[0]
        })
        .await;
        assert!(changed.elapsed().as_millis() <= 2000, "{:?}", changed.elapsed());
        assert_eq!(proxy.metric(&expiry_of(&proxy)).await, new_year(year));
        assert_eq!(kept.get("/").await.status, 200);
    }
    assert!(!proxy.logged().contains("the last good files stay in use"), "{}", proxy.logged());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_cannot_be_used_leaves_the_last_good_certificate_and_is_told_once() {
    let authority = Authority::new();
    let client = authority.client(None);
    let pair = || authority.pair("localhost");
    let mut good = pair();
    let files = Mounted::of(&good);
    files.replace("ca.crt", &authority.pem());
    let own = authority.pair("somebody");
    let client_with = authority.client(Some(&own));
    let (_issuer, _upstream, proxy) = with(|it| {
        let client_ca = Some(files.path("ca.crt"));
        it.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca, http2: true });
    })
    .await;
    let torn = |text: &str| text[..text.len() / 2].to_owned();
    let told = || proxy.logged().matches("the last good files stay in use").count();
    for (number, (file, text, problem)) in [
        ("tls.crt", torn(&good.certificate), "tls.crt: a certificate in it is broken off"),
        ("tls.crt", String::new(), "tls.crt: no certificate"),
        ("tls.key", torn(&good.key), "tls.key: the private key in it is broken off"),
        ("tls.key", pair().key, "tls.key: not the private key of the certificate"),
        ("ca.crt", String::new(), "ca.crt: no certificate of an authority"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = proxy.logged().len();
        files.replace(file, &text);

        until("it is told", async || told() > number).await;
        time::sleep(Duration::from_secs(5)).await; // the time is paused

        assert_eq!(told(), number + 1, "{problem}");
        let line = proxy.logged()[before..].to_owned();
        assert!(line.contains(problem), "{problem}: {line}");
        let quoted = text.lines().find(|text| text.len() > 20 && line.contains(text));
        assert_eq!(quoted, None, "{line}");
        assert_eq!(shown(&proxy, &client_with).await, good.chain()[0]);
        let mut without = connect(&proxy.address, &client).await.unwrap();
        assert!(without.read_u8().await.is_err(), "clients still have to show theirs");

        good = pair();
        files.replace("ca.crt", &authority.pem());
        files.swap_pair(&good);
        files.replace("tls.crt", &good.certificate);
        files.replace("tls.key", &good.key);
        until_every(Duration::from_millis(50), "what is good again is used", async || {
            shown(&proxy, &client_with).await == good.chain()[0]
        })
        .await;
    }
}

#[tokio::test(flavor = "local")]
async fn an_expired_certificate_is_shown_and_warned_of() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair_until("localhost", 2000));
    let (_issuer, _upstream, proxy) = with(|it| it.tls = shows(&files)).await;
    let logged = proxy.logged();
    assert!(logged.contains("the certificate has expired"), "{logged}");
    assert!(logged.contains("2000-01-01T00:00:00"), "{logged}");
    assert_eq!(proxy.metric(&expiry_of(&proxy)).await, new_year(2000));
    let refused = connect(&proxy.address, &authority.client(None)).await.unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
}

#[tokio::test(flavor = "local")]
async fn nothing_starts_with_certificates_that_cannot_be_used() {
    let authority = Authority::new();
    let (one, two) = (authority.pair("localhost"), authority.pair("localhost"));
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let good = Mounted::of(&one);
    let apart = Mounted::new(&[("tls.crt", &one.certificate), ("tls.key", &two.key)]);
    let asks = |file: &str| ClientTlsSettings {
        client_ca: Some(good.path(file)),
        pair: good.pair(),
        http2: true,
    };
    for (tls, problem) in [
        (shows(&apart).unwrap(), "tls.key: not the private key of the certificate"),
        (asks("gone.crt"), "gone.crt: cannot be read: "),
        (asks("tls.key"), "tls.key: no certificate of an authority"),
    ] {
        let mut settings = settings(&issuer, &upstream);
        settings.tls = Some(tls);
        let sink = Sink::start(io::sink()).unwrap();
        let error = App::start(settings, Clock::System, sink, Threads::Here).await.unwrap_err();
        assert!(matches!(error, StartError::Tls(_)), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

// With the backend.

/// A backend under TLS that answers each request with its head.
pub(crate) async fn backend(config: ServerConfig) -> Upstream {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Upstream::raw(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            // Else the answer waits until the proxy's system confirms TLS's tickets, as long as it
            // likes: 40 ms, in which a paused clock runs far.
            socket.set_nodelay(true).unwrap();
            let Ok(socket) = acceptor.accept(socket).await else { return };
            let service = service_fn(|request: Request<Incoming>| async move {
                let head = format!("{:?}", request.headers());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(head))))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            let _ = connection.await; // the proxy may close at any time
        }
    })
    .await
}

/// A proxy before a backend whose certificate is to be good for this name, by the authority in
/// `ca.crt` of these files.
pub(crate) async fn before(upstream: &Upstream, name: &str, files: &Mounted) -> (Issuer, Proxy) {
    let issuer = Issuer::start(Clock::System).unwrap();
    let mut settings = settings_for(&issuer.origin(), &upstream.address);
    settings.upstream_tls = Some(BackendTlsSettings {
        server_name: server_name(name).unwrap(),
        ca: Some(files.path("ca.crt")),
        pair: files.path("tls.crt").exists().then(|| files.pair()),
    });
    let proxy = Proxy::start(settings).await;
    (issuer, proxy)
}

pub(crate) fn only_ca(authority: &Authority) -> Mounted {
    Mounted::new(&[("ca.crt", &authority.pem())])
}

#[tokio::test(flavor = "local")]
async fn a_backend_under_tls_gets_what_one_without_would_and_its_connections_are_kept() {
    let authority = Authority::new();
    let upstream = backend(authority.pair("localhost").server()).await;
    let (issuer, proxy) = before(&upstream, "localhost", &only_ca(&authority)).await;

    let answers = [proxy.get("/a", &issuer.token()).await, proxy.get("/b", &issuer.token()).await];

    for answer in answers {
        assert_eq!(answer.status, 200);
        let head = answer.text();
        assert!(head.contains("x-clerk-user-id") && head.contains("signature-input"), "{head}");
        assert!(head.contains("\"x-forwarded-proto\": \"http\""), "as the client came: {head}");
    }
    assert_eq!(upstream.connections(), 1);
    let scheme = format!("https://{}", upstream.address);
    assert!(proxy.logged().contains(&scheme), "{}", proxy.logged());
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_is_not_the_one_it_should_be_is_unreachable_and_the_log_says_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = || authority.pair("localhost");
    for (what, server, name, why) in [
        ("good", good().server(), "localhost", None),
        ("good by address", authority.pair("127.0.0.1").server(), "127.0.0.1", None),
        ("another name", good().server(), "backend.test", Some("not valid for name")),
        ("an address", good().server(), "127.0.0.1", Some("not valid for name")),
        ("another's", other.pair("localhost").server(), "localhost", Some("UnknownIssuer")),
        ("expired", authority.pair_until("localhost", 2000).server(), "localhost", Some("expired")),
        (
            "asks for a certificate",
            authority.server_that_asks(&good()),
            "localhost",
            Some("CertificateRequired"),
        ),
    ] {
        let upstream = backend(server).await;
        let (issuer, proxy) = before(&upstream, name, &only_ca(&authority)).await;

        let answer = proxy.get("/", &issuer.token()).await;

        let status = if why.is_some() { 502 } else { 200 };
        assert_eq!(answer.status, status, "{what}: {}", proxy.logged());
        let Some(why) = why else { continue };
        assert_eq!(answer.reason(), "upstream-unreachable", "{what}");
        assert!(!answer.text().contains(why), "{what}: {}", answer.text());
        assert!(proxy.logged().contains(why), "{what}: {}", proxy.logged());
        let unreachable = r#"countersign_upstream_requests_total{result="unreachable"}"#;
        assert_eq!(proxy.metric(unreachable).await, 1.0, "{what}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_speaks_no_tls_is_unreachable() {
    let authority = Authority::new();
    let upstream = Upstream::start().await;
    let (issuer, proxy) = before(&upstream, "localhost", &only_ca(&authority)).await;

    let answer = proxy.get("/", &issuer.token()).await;

    assert_eq!((answer.status, &*answer.reason()), (502, "upstream-unreachable"));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_backend_that_does_not_shake_hands_is_a_timeout() {
    let authority = Authority::new();
    let upstream = Upstream::raw(|socket| async move {
        let _socket = socket;
        std::future::pending().await
    })
    .await;
    let (issuer, proxy) = before(&upstream, "localhost", &only_ca(&authority)).await;

    let since = Instant::now();
    let answer = proxy.get("/", &issuer.token()).await;

    assert_eq!((answer.status, &*answer.reason()), (504, "upstream-timeout"));
    assert_eq!(since.elapsed().as_secs(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_asks_for_a_certificate_is_shown_ours() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let upstream = backend(clients.server_that_asks(&authority.pair("localhost"))).await;
    let own = clients.pair("countersign");
    let files = Mounted::new(&[
        ("ca.crt", &authority.pem()),
        ("tls.crt", &own.certificate),
        ("tls.key", &own.key),
    ]);
    let (issuer, proxy) = before(&upstream, "localhost", &files).await;

    let answer = proxy.get("/", &issuer.token()).await;

    assert_eq!(answer.status, 200, "{}", proxy.logged());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn new_connections_to_the_backend_go_by_the_new_files() {
    let (before_it, authority) = (Authority::new(), Authority::new());
    let upstream = backend(authority.pair("localhost").server()).await;
    let files = only_ca(&before_it);
    let (issuer, proxy) = before(&upstream, "localhost", &files).await;
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 502);

    files.swap(&[("ca.crt", &authority.pem())]);

    until_every(Duration::from_millis(50), "its authority is believed", async || {
        proxy.get("/", &issuer.token()).await.status == 200
    })
    .await;
}

/// As many do: without a word of TLS's at the end.
#[tokio::test(flavor = "local")]
async fn a_kept_connection_that_the_backend_has_closed_costs_no_request() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(authority.pair("localhost").server()));
    let upstream = Upstream::raw(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let mut socket = acceptor.accept(socket).await.unwrap();
            head(&mut socket).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            socket.write_all(answer).await.unwrap();
            socket.flush().await.unwrap();
            let _ = socket.get_mut().0.read(&mut [0; 16 * 1024]).await; // the next, to no avail
        }
    })
    .await;
    let (issuer, proxy) = before(&upstream, "localhost", &only_ca(&authority)).await;
    let mut kept = proxy.client().bearer(&issuer.token()).open().await.unwrap();
    for _ in 0..3 {
        let asked = time::timeout(Duration::from_secs(10), kept.get("/")).await;
        assert_eq!(asked.unwrap().status, 200);
    }
}

/// RFC 8446 §6.1: or the backend could not tell its end from an attack, and its log says so.
#[tokio::test(flavor = "local")]
async fn a_connection_that_has_been_idle_ends_with_what_tls_says_at_the_end() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(authority.pair("localhost").server()));
    let ended = Rc::<RefCell<Option<io::Result<usize>>>>::default();
    let told = Rc::clone(&ended);
    let upstream = Upstream::raw(move |socket| {
        let (acceptor, told) = (acceptor.clone(), Rc::clone(&told));
        async move {
            let mut socket = acceptor.accept(socket).await.unwrap();
            head(&mut socket).await;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            socket.flush().await.unwrap();
            *told.borrow_mut() = Some(socket.read(&mut [0; 1]).await);
        }
    })
    .await;
    let (issuer, proxy) = before(&upstream, "localhost", &only_ca(&authority)).await;
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);

    let clock = HandMoved::pause();
    clock.until("the backend hears the end", async || ended.borrow().is_some()).await;
    assert!(matches!(*ended.borrow(), Some(Ok(0))), "{ended:?}");
}
