//! Fetches from small servers on loopback, each with a script of its own.

use http::header::{AUTHORIZATION, ETAG, IF_NONE_MATCH};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{advance, pause};
use tokio_rustls::TlsAcceptor;

use super::*;

#[test]
fn settings_are_told_apart_without_the_certificates_themselves() {
    let told = |pem: Option<Vec<u8>>| {
        format!("{:?}", HttpClientSettings { ca_pem: pem, ..HttpClientSettings::default() })
    };
    let [one, other, none] = [Some(vec![b'a'; 200_000]), Some(vec![b'b'; 200_000]), None].map(told);
    assert!(one != other && one != none, "{one}");
    assert!(one.len() < 1000, "{one}");
}

// What is sent, what is followed.

#[tokio::test]
async fn a_fetch_says_what_it_wants_and_nothing_of_anybody_else() {
    let server =
        Scripted::start([b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 2\r\n\r\n{}"]).await;
    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"0\""));
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    headers.insert(HOST, HeaderValue::from_static("other.example"));

    let fetched = client().get(&server.url("/keys?v=1"), &headers).await.unwrap();

    assert_eq!((fetched.status, &*fetched.body), (StatusCode::OK, &b"{}"[..]));
    assert_eq!(fetched.headers[ETAG], "\"1\"");
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = server.heads.await.unwrap().remove(0);
    lines[1..].sort();
    assert_eq!(
        lines,
        [
            "GET /keys?v=1 HTTP/1.1",
            "accept-encoding: identity",
            "accept: application/json",
            "authorization: Bearer secret",
            "connection: close",
            &format!("host: 127.0.0.1:{}", server.port),
            "if-none-match: \"0\"",
            &format!("user-agent: countersign/{version}"),
        ]
    );
}

#[tokio::test]
async fn any_status_is_an_answer() {
    for (answer, status, body) in [
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx", 101, ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n", 304, ""),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404, "no"),
        ("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 500, "a"),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nto the end", 200, "to the end"),
        ("HTTP/1.0 200 OK\r\nContent-Encoding: Identity\r\n\r\nold", 200, "old"),
    ] {
        let fetched = outcome(answer.as_bytes()).await.unwrap_or_else(|e| panic!("{answer}: {e}"));
        assert_eq!((fetched.status.as_u16(), &*fetched.body), (status, body.as_bytes()));
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_the_same_headers() {
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!("HTTP/1.1 {status} Over There\r\nLocation: /b?c\r\n\r\n");
        let server = Scripted::start([redirect.as_bytes(), OK]).await;
        let headers = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("mine"))]);

        let fetched = client().get(&server.url("/a"), &headers).await.unwrap();

        assert_eq!(fetched.status, 200, "{status}");
        let heads = server.heads.await.unwrap();
        assert_eq!((&*heads[0][0], &*heads[1][0]), ("GET /a HTTP/1.1", "GET /b?c HTTP/1.1"));
        assert!(heads[1].contains(&"etag: mine".to_owned()), "{heads:?}");
    }
}

#[tokio::test]
async fn a_redirect_that_leaves_the_origin_or_leads_nowhere_is_refused() {
    for (location, why) in [
        ("Location: http://127.0.0.1:1/", BadRedirect::Origin),
        ("Location: https://issuer.example/", BadRedirect::Origin),
        ("Location: http://issuer.example/", BadRedirect::Location),
        ("Location: //issuer.example/", BadRedirect::Location),
        ("Location: \u{e4}", BadRedirect::Location),
        ("X: y", BadRedirect::Location),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\n{location}\r\n\r\n");
        let refused = FetchError::RedirectRefused(why);
        assert_eq!(outcome(answer.as_bytes()).await.err(), Some(refused), "{location}");
    }
}

#[tokio::test]
async fn the_fourth_redirect_in_a_row_is_refused() {
    let around = b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n";
    let server = Scripted::start([around; 4]).await;

    let outcome = client().get(&server.url("/"), &HeaderMap::new()).await;

    assert_eq!(outcome.err(), Some(FetchError::RedirectRefused(BadRedirect::TooMany)));
    assert_eq!(server.heads.await.unwrap().len(), 4);
}

// Bounds.

#[tokio::test]
async fn a_body_is_read_up_to_its_bound() {
    for (length, whole) in [(LIMIT, true), (LIMIT + 1, false)] {
        let body = "x".repeat(length);
        let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let chunked = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        );
        let to_the_end = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        for answer in [announced, chunked, to_the_end] {
            let outcome = outcome(answer.as_bytes()).await.map(|fetched| fetched.body.len());
            assert_eq!(outcome, if whole { Ok(length) } else { Err(FetchError::TooLarge) });
        }
    }
}

#[tokio::test]
async fn a_length_over_the_bound_is_refused_before_the_body() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551613\r\n\r\n";
    assert_eq!(outcome(answer).await.err(), Some(FetchError::TooLarge));
}

#[tokio::test]
async fn a_body_or_a_head_without_end_is_cut_off() {
    for (start, more) in [
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("HTTP/1.1 200 OK\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\n", "X-Y: z\r\n"),
        ("HTTP/1.1 200 OK\r\nX: ", "y"),
        ("HTTP/1.1 200 ", "y"),
    ] {
        let (listener, url) = listen().await;
        let flood = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(start.as_bytes()).await.unwrap();
            while stream.write_all(more.repeat(1000).as_bytes()).await.is_ok() {}
        };
        let (client, headers) = (client(), HeaderMap::new());

        let (outcome, ()) = tokio::join!(client.get(&url, &headers), flood);

        assert_eq!(outcome.err(), Some(FetchError::TooLarge), "{start:?}");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_given_five_seconds_and_no_more() {
    let (listener, url) = listen().await;
    let client = HttpClient::new(&HttpClientSettings::default()).unwrap();
    let fetch = tokio::spawn(async move { client.get(&url, &HeaderMap::new()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await.unwrap();

    pause();
    for _ in 0..3 {
        stream.write_all(b"x").await.unwrap();
        advance(Duration::from_secs(1)).await;
        assert!(!fetch.is_finished());
    }
    advance(Duration::from_secs(2)).await;

    assert_eq!(fetch.await.unwrap().err(), Some(FetchError::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_five_seconds_and_no_more() {
    let (_silent, url) = listen().await;
    let client = HttpClient::new(&HttpClientSettings::default()).unwrap();
    let start = tokio::time::Instant::now();

    let outcome = client.get(&url, &HeaderMap::new()).await;

    assert_eq!(outcome.err(), Some(FetchError::TimedOut));
    assert_eq!(start.elapsed().as_secs(), 5);
}

// Answers that are none.

#[tokio::test]
async fn an_encoded_body_is_refused() {
    for encoding in ["gzip", "br", "identity, gzip", "x", ""] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: {encoding}\r\n\r\n{{}}"
        );
        assert_eq!(outcome(answer.as_bytes()).await.err(), Some(FetchError::Encoded), "{encoding}");
    }
}

#[tokio::test]
async fn half_an_answer_and_garbage_are_refused() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\u{15}\u{3}\u{1}\u{0}\u{2}",
        "{}",
    ] {
        let error = outcome(answer.as_bytes()).await.err();
        assert_eq!(error.map(|error| error.label()), Some("broken"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_no_connection() {
    let (listener, url) = listen().await;
    drop(listener);
    let error = client().get(&url, &HeaderMap::new()).await.unwrap_err();
    assert_eq!(error, FetchError::Connect(std::io::ErrorKind::ConnectionRefused));
}

// TLS.

#[tokio::test]
async fn an_own_authority_vouches_for_the_name_it_certified_and_no_other() {
    let authority = Authority::new();
    for (host, ca_pem, tls) in [
        ("localhost", Some(authority.pem()), true),
        ("127.0.0.1", Some(authority.pem()), false),
        ("localhost", Some(Authority::new().pem()), false),
        ("localhost", None, false),
    ] {
        let (listener, plain) = listen().await;
        let port = plain.endpoint().port;
        let acceptor = authority.acceptor("localhost");
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            serve(&mut stream, OK).await;
        });
        let trusting = HttpClientSettings { ca_pem, ..settings() };
        let url = FetchUrl::parse(&format!("https://{host}:{port}/")).unwrap();

        let outcome = HttpClient::new(&trusting).unwrap().get(&url, &HeaderMap::new()).await;

        let label = outcome.as_ref().map_err(FetchError::label).map(|fetched| fetched.status);
        let want = if tls { Ok(StatusCode::OK) } else { Err("tls") };
        assert_eq!(label, want, "{host}: {outcome:?}");
        assert_eq!(server.await.is_ok(), tls, "{host}");
    }
}

#[tokio::test]
async fn a_certificate_is_believed_within_its_time_and_from_an_authority() {
    let authority = Authority::new();
    let now = rcgen::date_time_ymd(2000, 1, 1);
    let (past, future) = (rcgen::date_time_ymd(1990, 1, 1), rcgen::date_time_ymd(4000, 1, 1));
    let own = KeyPair::generate().unwrap();
    let params = |not_before, not_after| {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (not_before, not_after);
        params
    };
    let signed = |params: CertificateParams| params.signed_by(&own, &authority.issuer).unwrap();
    for (what, certificate, good) in [
        ("of now", signed(params(past, future)), true),
        ("expired", signed(params(past, now)), false),
        ("not yet", signed(params(future, future)), false),
        ("of its own", params(past, future).self_signed(&own).unwrap(), false),
    ] {
        let (listener, plain) = listen().await;
        let port = plain.endpoint().port;
        let acceptor = acceptor(&certificate, &own);
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            serve(&mut stream, OK).await;
        });
        let trusting = HttpClientSettings { ca_pem: Some(authority.pem()), ..settings() };
        let url = FetchUrl::parse(&format!("https://localhost:{port}/")).unwrap();

        let outcome = HttpClient::new(&trusting).unwrap().get(&url, &HeaderMap::new()).await;

        assert_eq!(outcome.err().map(|it| it.label()), (!good).then_some("tls"), "{what}");
        assert_eq!(server.await.is_ok(), good, "{what}");
    }
}

#[tokio::test]
async fn a_host_without_an_address_is_not_found() {
    // Never a name (RFC 6761 §6.4), with or without anybody to ask.
    let url = FetchUrl::parse("https://nowhere.invalid/").unwrap();
    let outcome = client().get(&url, &HeaderMap::new()).await;
    assert_eq!(outcome.unwrap_err().label(), "dns");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_apart() {
    let (listener, plain) = listen().await;
    let url = FetchUrl::parse(&plain.origin().replace("http:", "https:")).unwrap();
    let (client, headers) = (client(), HeaderMap::new());
    let server = async { listener.accept().await.unwrap().0.write_all(OK).await.unwrap() };

    let (outcome, ()) = tokio::join!(client.get(&url, &headers), server);

    assert_eq!(outcome.unwrap_err().label(), "tls");
}

// Through a proxy.

#[tokio::test]
async fn https_goes_through_the_proxy_and_stays_secret_from_it() {
    for (scheme, host) in [("http", "127.0.0.1"), ("https", "localhost")] {
        let authority = Authority::new();
        let (target, target_url) = listen().await;
        let (proxy, proxy_url) = listen().await;
        let target_port = target_url.endpoint().port;
        let proxy_port = proxy_url.endpoint().port;
        let acceptor = authority.acceptor("issuer.example");
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(target.accept().await.unwrap().0).await.unwrap();
            serve(&mut stream, OK).await
        });
        let proxy_acceptor = authority.acceptor("localhost");
        let proxy = tokio::spawn(async move {
            let (stream, _) = proxy.accept().await.unwrap();
            match scheme {
                "http" => tunnel(stream, target_port).await,
                _ => tunnel(proxy_acceptor.accept(stream).await.unwrap(), target_port).await,
            }
        });
        let https_proxy = format!("{scheme}://me:p%40ss@{host}:{proxy_port}");
        let client = HttpClient::new(&HttpClientSettings {
            ca_pem: Some(authority.pem()),
            proxy: ProxySettings { https_proxy: Some(https_proxy), no_proxy: None },
            ..settings()
        });
        let url = FetchUrl::parse("https://issuer.example/keys").unwrap();

        let fetched = client.unwrap().get(&url, &HeaderMap::new()).await.unwrap();

        assert_eq!(fetched.status, 200);
        assert_eq!(server.await.unwrap()[0], "GET /keys HTTP/1.1");
        let asked = proxy.await.unwrap();
        assert_eq!(asked[0], "CONNECT issuer.example:443 HTTP/1.1");
        assert!(asked.contains(&"host: issuer.example:443".to_owned()), "{asked:?}");
        assert!(asked.contains(&"proxy-authorization: Basic bWU6cEBzcw==".to_owned()), "{asked:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_gives_no_tunnel_is_told_apart_and_its_password_kept() {
    let refused = FetchError::ProxyRefused(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    for (answer, label, want) in [
        ("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "proxy-refused", Some(refused)),
        ("HTTP/1.1 302 No\r\nLocation: /\r\n\r\n", "proxy-refused", None),
        ("HTTP/1.1 200 OK\r\n", "proxy", None),
        ("nonsense", "proxy", None),
        // A tunnel, and nobody at its end.
        ("HTTP/1.1 200 OK\r\n\r\n", "tls", None),
    ] {
        let proxy = Scripted::start([answer]).await;
        let https_proxy = format!("http://me:secret@127.0.0.1:{}", proxy.port);
        let client = HttpClient::new(&HttpClientSettings {
            proxy: ProxySettings { https_proxy: Some(https_proxy), no_proxy: None },
            ..settings()
        });
        let url = FetchUrl::parse("https://issuer.example/?secret").unwrap();

        let error = client.unwrap().get(&url, &HeaderMap::new()).await.unwrap_err();

        assert_eq!(error.label(), label, "{answer:?}: {error}");
        assert!(want.is_none_or(|want| want == error), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[test]
fn settings_and_clients_print_no_password() {
    let settings = HttpClientSettings {
        proxy: ProxySettings {
            https_proxy: Some("http://me:secret@proxy.example".to_owned()),
            no_proxy: None,
        },
        ..settings()
    };
    let client = HttpClient::new(&settings).unwrap();
    assert!(!format!("{settings:?} {client:?}").contains("secret"));
}

#[test]
fn a_fetch_may_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let (client, headers) = (client(), HeaderMap::new());
    is_send(&client.get(&FetchUrl::parse("https://issuer.example").unwrap(), &headers));
}

// The cast.

const LIMIT: usize = 1000;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

fn settings() -> HttpClientSettings {
    let limits = FetchLimits { body: LIMIT, ..FetchLimits::default() };
    HttpClientSettings { limits, ..HttpClientSettings::default() }
}

fn client() -> HttpClient {
    HttpClient::new(&settings()).unwrap()
}

/// Fetches once from a server that gives `answer` and hangs up.
async fn outcome(answer: &[u8]) -> Result<Fetched, FetchError> {
    let server = Scripted::start([answer]).await;
    let outcome = client().get(&server.url("/"), &HeaderMap::new()).await;
    assert_eq!(server.heads.await.unwrap().len(), 1);
    outcome
}

async fn listen() -> (TcpListener, FetchUrl) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, FetchUrl::parse(&url).unwrap())
}

/// A server that gives the n-th connection the n-th answer, whatever it asks for, and hangs up.
struct Scripted {
    port: u16,
    /// The request heads, as lines, once all answers are given.
    heads: JoinHandle<Vec<Vec<String>>>,
}

impl Scripted {
    async fn start<const N: usize>(answers: [impl AsRef<[u8]>; N]) -> Self {
        let (listener, url) = listen().await;
        let answers = answers.map(|answer| answer.as_ref().to_vec());
        let heads = tokio::spawn(async move {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                heads.push(serve(&mut stream, &answer).await);
            }
            heads
        });
        Self { port: url.endpoint().port, heads }
    }

    fn url(&self, path: &str) -> FetchUrl {
        FetchUrl::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }
}

async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8]) -> Vec<String> {
    let head = read_head(stream).await;
    stream.write_all(answer).await.unwrap();
    stream.shutdown().await.unwrap();
    head
}

/// Opens a tunnel to `port` here, whatever it was asked for, and returns what that was.
async fn tunnel(mut client: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> Vec<String> {
    let head = read_head(&mut client).await;
    let mut target = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    // A client that has what it wants drops the tunnel as it stands.
    copy_bidirectional(&mut client, &mut target).await.ok();
    head
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Vec<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().trim_end().lines().map(str::to_owned).collect()
}

/// A certificate authority of our own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.pem().into_bytes()
    }

    /// Returns a server's side of TLS, certified for `name`.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(&certificate, &key)
    }
}

/// A server's side of TLS with this certificate.
fn acceptor(certificate: &rcgen::Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
