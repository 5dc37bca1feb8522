//! Every protocol of clients before every protocol of backends: bodies, trailers, early answers,
//! resets, cancellation.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use countersign::clock::Clock;
use countersign::listen::ListenAddress;
use countersign::proxy::{UpstreamAddress, UpstreamProtocol};
use countersign::tls::{BackendTlsSettings, ClientTlsSettings, server_name};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::support::settings::settings_for;
use crate::support::tls::{Authority, Mounted};
use crate::support::wires::{Back, Backend, Front, Script, Sender, Then};
use crate::support::{Issuer, Proxy, until};

const MIB: usize = 1024 * 1024;

/// Who speaks with whom, and what happened at the backend.
struct Scene {
    name: String,
    front: Front,
    token: String,
    proxy: Proxy,
    waits: Waits,
    _backend: Backend,
    _issuer: Issuer,
    _files: (Mounted, Mounted, tempfile::TempDir),
}

/// Answers of the backend's that are waited for, and how many there have been.
#[derive(Clone, Default)]
struct Waits(Rc<(Cell<usize>, Cell<usize>)>);

impl Waits {
    fn begin(&self) -> Waiting {
        let (now, ever) = &*self.0;
        now.set(now.get() + 1);
        ever.set(ever.get() + 1);
        Waiting(self.clone())
    }

    fn counts(&self) -> (usize, usize) {
        (self.0.0.get(), self.0.1.get())
    }
}

/// Says that an answer is waited for.
struct Waiting(Waits);

impl Drop for Waiting {
    fn drop(&mut self) {
        let (now, _) = &*self.0.0;
        now.set(now.get() - 1);
    }
}

/// A backend that does what the path says.
async fn answer(request: Request<Incoming>, waits: Waits) -> Response<Script> {
    let path = request.uri().path().to_owned();
    let mut response = match path.as_str() {
        "/echo" => {
            let collected = request.into_body().collect().await.unwrap();
            let sum = collected.trailers().and_then(|it| it.get("x-sum")).cloned();
            let bytes = collected.to_bytes();
            let pieces = bytes.chunks(10_000).map(Bytes::copy_from_slice).collect::<Vec<_>>();
            let body =
                Script::of(pieces, Then::End).with_trailer("x-length", &bytes.len().to_string());
            let mut response = Response::new(body);
            response.headers_mut().insert("trailer", "x-length".parse().unwrap());
            if let Some(sum) = sum {
                response.headers_mut().insert("x-sum-came", sum);
            }
            response
        }
        "/early" => {
            let mut response = Response::new(Script::of(["enough".into()], Then::End));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        "/broken" => Response::new(Script::of(["half".into()], Then::Break)),
        "/silent" => {
            let _waiting = waits.begin();
            std::future::pending().await
        }
        "/endless" => Response::new(Script::of(["begins".into()], Then::Wait)),
        "/dies" => panic!("an answer that never comes"),
        _ => Response::new(Script::empty()),
    };
    response.headers_mut().insert("x-path", path.parse().unwrap());
    response
}

/// Every client before every backend.
async fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for front in ["http1", "http1 tls", "h2c", "http2 tls"] {
        for back in ["http1", "unix", "h2c", "http2 tls"] {
            scenes.push(scene(front, back).await);
        }
    }
    scenes
}

async fn scene(front: &str, back: &str) -> Scene {
    let name = format!("{front} before {back}");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (pair, backends_pair) = (ours.pair("localhost"), theirs.pair("localhost"));
    let home = tempfile::tempdir().unwrap();
    let (files, authority) = (Mounted::of(&pair), Mounted::new(&[("ca.crt", &theirs.pem())]));
    let path = home.path().join("backend.sock");
    let back = match back {
        "http1" => Back::Http1,
        "unix" => Back::Unix(path.clone()),
        "h2c" => Back::H2c,
        _ => Back::Http2(Arc::new(backends_pair.server())),
    };
    let waits = Waits::default();
    let told = waits.clone();
    let backend = back.start(move |request| answer(request, told.clone())).await;
    let issuer = Issuer::start(Clock::System).unwrap();
    let mut settings = settings_for(&issuer.origin(), &backend.address);
    match &back {
        Back::Http1 => {}
        Back::Unix(_) => settings.proxy.upstream = UpstreamAddress::Unix(path),
        Back::H2c => settings.proxy.upstream_protocol = UpstreamProtocol::Http2,
        Back::Http2(_) => {
            settings.upstream_tls = Some(BackendTlsSettings {
                server_name: server_name("localhost").unwrap(),
                ca: Some(authority.path("ca.crt")),
                pair: None,
            });
        }
    }
    let front = match front {
        "http1" => Front::Http1,
        "http1 tls" => Front::Http1Tls(ours.client(None)),
        "h2c" => Front::H2c,
        _ => Front::Http2(ours.client(None)),
    };
    if let Front::Http1Tls(_) | Front::Http2(_) = front {
        settings.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca: None, http2: true });
    }
    settings.proxy.listen.truncate(1);
    assert!(matches!(settings.proxy.listen[0], ListenAddress::Tcp(_)));
    let token = issuer.token();
    let proxy = Proxy::start(settings).await;
    let _files = (files, authority, home);
    Scene { name, front, token, proxy, waits, _backend: backend, _issuer: issuer, _files }
}

impl Scene {
    async fn open(&self) -> Sender {
        self.front.open(&self.proxy.address).await
    }

    fn request(&self, path: &str, body: Script) -> Request<Script> {
        self.front.request(path, &self.token, body)
    }

    /// Sends a request over a connection of its own.
    async fn send(&self, path: &str, body: Script) -> hyper::Result<Response<Incoming>> {
        self.open().await.send(self.request(path, body)).await
    }
}

#[tokio::test(flavor = "local")]
async fn bodies_and_trailers_pass_both_ways() {
    for scene in scenes().await {
        let pieces = (0..10).map(|number| Bytes::from(vec![number; MIB / 10]));
        let body = Script::of(pieces, Then::End).with_trailer("x-sum", "42");
        let mut request = scene.request("/echo", body);
        request.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        request.headers_mut().insert("te", "trailers".parse().unwrap());

        let answer = scene.open().await.send(request).await.unwrap();

        let name = &scene.name;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(
            answer.headers().get("x-sum-came").map(|it| it.as_bytes()),
            Some(&b"42"[..]),
            "{name}"
        );
        let collected = answer.into_body().collect().await.unwrap();
        let length = collected.trailers().and_then(|it| it.get("x-length")).cloned();
        let bytes = collected.to_bytes();
        assert_eq!(bytes.len(), 10 * (MIB / 10), "{name}");
        assert!(
            bytes
                .chunks(MIB / 10)
                .enumerate()
                .all(|(at, piece)| piece.iter().all(|byte| usize::from(*byte) == at)),
            "{name}"
        );
        assert_eq!(length.unwrap(), bytes.len().to_string(), "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_without_a_length_passes_whatever_the_method() {
    for scene in scenes().await {
        for method in [Method::GET, Method::OPTIONS, Method::DELETE, Method::PATCH] {
            let body = Script::of(["hel".into(), "lo".into()], Then::End);
            let mut request = scene.request("/echo", body);
            *request.method_mut() = method.clone();
            // hyper's client would leave it out, too.
            if !scene.front.is_http2() {
                request.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
            }
            let answer = scene.open().await.send(request).await.unwrap();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, "hello", "{} {method}", scene.name);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn one_connection_carries_one_request_after_another() {
    for scene in scenes().await {
        let mut sender = scene.open().await;
        for _ in 0..5 {
            let body = Script::of(["x".into()], Then::End);
            let answer = sender.send(scene.request("/echo", body)).await.unwrap();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes, "x", "{}", scene.name);
        }
        let count = scene.proxy.metric("countersign_connections").await;
        assert_eq!(count, 1.0, "{}", scene.name);
        let idle = r#"countersign_upstream_connections{state="idle"}"#;
        until("the backend's connection is free", async || scene.proxy.metric(idle).await == 1.0)
            .await;
    }
}

#[tokio::test(flavor = "local")]
async fn an_early_answer_comes_while_the_body_is_still_being_sent() {
    for scene in scenes().await {
        let body = Script::of(["begins".into()], Then::Wait);

        let answer = scene.send("/early", body).await.unwrap();

        assert_eq!(answer.status(), 413, "{}", scene.name);
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes, "enough", "{}", scene.name);
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    for scene in scenes().await {
        // Over HTTP/2 the break can come before the head was handed on.
        if let Ok(answer) = scene.send("/broken", Script::empty()).await
            && answer.status() == 200
        {
            assert!(answer.into_body().collect().await.is_err(), "{}", scene.name);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_that_dies_before_its_answer_is_a_502() {
    for scene in scenes().await {
        let answer = scene.send("/dies", Script::of(["x".into()], Then::End)).await.unwrap();
        assert_eq!(answer.status(), 502, "{}", scene.name);
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_is_not_waited_for() {
    for scene in scenes().await {
        let mut sender = scene.open().await;
        let in_flight = async || scene.proxy.metric("countersign_requests_in_flight").await;
        {
            let request = scene.request("/silent", Script::empty());
            let mut asked = Box::pin(sender.send(request));
            tokio::select! {
                _ = &mut asked => panic!("nobody answers"),
                () = until("it is there", async || scene.waits.counts() == (1, 1)) => {}
            }
        }
        if !scene.front.is_http2() {
            drop(sender); // there a request ends with its connection alone
        }

        let name = &scene.name;
        until(name, async || in_flight().await == 0.0).await;
        until(name, async || scene.waits.counts() == (0, 1)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_in_the_middle_of_an_answer_ends_it() {
    for scene in scenes().await {
        let mut sender = scene.open().await;
        let answer = sender.send(scene.request("/endless", Script::empty())).await.unwrap();
        let mut body = answer.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "begins", "{}", scene.name);

        drop(body);
        if !scene.front.is_http2() {
            drop(sender);
        }

        let in_flight = async || scene.proxy.metric("countersign_requests_in_flight").await;
        until(&scene.name, async || in_flight().await == 0.0).await;
        let active = r#"countersign_upstream_connections{state="active"}"#;
        until(&scene.name, async || scene.proxy.metric(active).await == 0.0).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_that_breaks_off_reaches_no_backend_as_whole() {
    for scene in scenes().await {
        let body = Script::of(["half".into()], Then::Break);

        let answer = scene.send("/echo", body).await;

        assert!(answer.is_err(), "{}: {answer:?}", scene.name);
        let in_flight = async || scene.proxy.metric("countersign_requests_in_flight").await;
        until(&scene.name, async || in_flight().await == 0.0).await;
    }
}
