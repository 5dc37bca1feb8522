//! OPS: TLS, the admin listener, settings, files, and what is shipped.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use countersign::app::{App, StartError};
use countersign::clock::Clock;
use countersign::core::time::UnixTime;
use countersign::dev::verifier::Verifier;
use countersign::listen::ListenAddress;
use countersign::proxy::Threads;
use countersign::telemetry::sink::Sink;
use countersign::tls::ClientTlsSettings;
use http::{Method, Response};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task;
use tokio::time::{self, Instant};
use toml::{Table, Value};

use super::raw::{Ask, PLAIN, Scene, Socket};
use super::recorder::Recorder;
use super::settings_file::{settings_text, settings_with};
use crate::signature::verify;
use crate::support::settings::{SECRET, settings_for, settings_with_public};
use crate::support::tls::{Authority, Mounted, Pair, connect};
use crate::support::{Client, Issuer, Proxy, Upstream, settings, until};

/// Every version of a crate that is built in.
pub(crate) fn locked(name: &str) -> Vec<(u64, u64, u64)> {
    let lock = include_str!("../../../Cargo.lock");
    let packages = lock.split("[[package]]\n");
    let named = packages.filter(|it| it.starts_with(&format!("name = \"{name}\"\n")));
    let number = |text: &str| text.split(['-', '+']).next().unwrap().parse().unwrap();
    named
        .map(|package| {
            let version = package.split("version = \"").nth(1).unwrap().split('"').next().unwrap();
            let mut parts = version.splitn(3, '.').map(number);
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
        })
        .collect()
}

/// The crates that the program is made of: what it depends on, and what those do. `Cargo.lock` has what
/// tests and benches are made of, too.
pub(crate) fn built_in() -> BTreeSet<String> {
    let table = |text: &str| text.parse::<Table>().unwrap();
    let manifest = table(include_str!("../../../Cargo.toml"));
    let lock = table(include_str!("../../../Cargo.lock"));
    let packages = lock["package"].as_array().unwrap();
    let of_a_system = manifest["target"].as_table().unwrap().values();
    let own = of_a_system.map(|it| &it["dependencies"]).chain([&manifest["dependencies"]]);
    let mut open: Vec<String> = own.flat_map(|it| it.as_table().unwrap().keys().cloned()).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        for package in packages.iter().filter(|it| it["name"].as_str() == Some(&name)) {
            let theirs =
                package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
            let named = theirs.map(|it| it.as_str().unwrap().split(' ').next().unwrap());
            open.extend(named.filter(|it| !found.contains(*it)).map(str::to_owned));
        }
        found.insert(name);
    }
    found
}

/// Holds that a crate is built in, and in no version before this one.
fn is_at_least(name: &str, floor: (u64, u64, u64)) {
    let versions = locked(name);
    assert!(!versions.is_empty(), "{name} is in no build");
    assert!(versions.iter().all(|version| *version >= floor), "{name}: {versions:?}");
}

#[tokio::test(flavor = "local")]
async fn ops_01_without_the_authority_of_clients_nothing_starts() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    files.replace("empty.crt", "");
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    for name in ["gone.crt", "empty.crt", "tls.key"] {
        let mut settings = settings(&issuer, &upstream);
        let client_ca = Some(files.path(name));
        settings.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca, http2: true });
        let sink = Sink::start(std::io::sink()).unwrap();
        let error = App::start(settings, Clock::System, sink, Threads::Here).await.unwrap_err();
        assert!(matches!(error, StartError::Tls(_)), "{name}: {error:?}");
    }
    let pair = files.pair();
    let text = format!(
        "[tls]\ncertificate_file = {:?}\nkey_file = {:?}\nclient_ca_file = {:?}\n",
        pair.certificate,
        pair.key,
        files.path("gone.crt")
    );
    assert!(settings_text(&text).unwrap_err()[0].contains("tls.client_ca_file"));
    let without = settings_text("[tls]\nclient_ca_file = \"/x\"\n").unwrap_err();
    assert!(without.iter().any(|it| it.contains("there is no TLS")), "{without:?}");
}

/// Clients are let in by who made their certificate. What it calls them decides nothing and goes to
/// nobody, so no way of writing a name does; a backend's name is compared whole.
#[tokio::test(flavor = "local")]
async fn ops_02_a_zero_in_a_name_ends_no_name() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Mounted::of(&authority.pair("localhost"));
    files.replace("ca.crt", &clients.pem());
    let scene = Scene::with(PLAIN, |it| {
        let client_ca = Some(files.path("ca.crt"));
        it.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca, http2: true });
    })
    .await;
    let client = authority.client(Some(&clients.pair("admin\0.evil.test")));
    let secure = Client::to(&scene.proxy.address).tls(&client);
    assert_eq!(secure.clone().get("/api").await.status, 401, "it is no credential");
    assert_eq!(secure.get("/public").await.status, 200);
    let seen = format!("{:?} {}", scene.take(), scene.proxy.logged());
    assert!(!seen.contains("evil"), "{seen}");

    let upstream = crate::tls::backend(authority.pair("localhost\0.evil.test").server()).await;
    let (issuer, proxy) =
        crate::tls::before(&upstream, "localhost", &crate::tls::only_ca(&authority)).await;
    assert_eq!(proxy.get("/", &issuer.token()).await.status, 502);
}

#[tokio::test(flavor = "local")]
async fn ops_03_a_backend_that_cannot_prove_its_name_is_a_502() {
    let authority = Authority::new();
    let unnamed = {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        authority.sign(&params)
    };
    let itself = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let itself = Pair { certificate: itself.cert.pem(), key: itself.signing_key.serialize_pem() };
    for (what, pair, name, status) in [
        ("its own", authority.pair("localhost"), "localhost", 200),
        ("another name", authority.pair("other.test"), "localhost", 502),
        ("a longer name", authority.pair("localhost.evil.test"), "localhost", 502),
        ("expired", authority.pair_until("localhost", 2000), "localhost", 502),
        ("its own signature", itself, "localhost", 502),
        ("no name but in its subject", unnamed, "localhost", 502),
        ("an address for a name", authority.pair("127.0.0.1"), "localhost", 502),
        ("a name for an address", authority.pair("localhost"), "127.0.0.1", 502),
    ] {
        let upstream = crate::tls::backend(pair.server()).await;
        let files = crate::tls::only_ca(&authority);
        let (issuer, proxy) = crate::tls::before(&upstream, name, &files).await;
        assert_eq!(proxy.get("/", &issuer.token()).await.status, status, "{what}");
    }
}

/// A ClientHello of this version with these cipher suites, and no extension.
fn hello(version: [u8; 2], ciphers: &[u16]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(ciphers.len() * 2).unwrap().to_be_bytes());
    ciphers.iter().for_each(|cipher| body.extend(cipher.to_be_bytes()));
    body.extend([1, 0]);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

#[tokio::test(flavor = "local")]
async fn ops_04_old_versions_old_ciphers_and_early_data_are_refused() {
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let scene = Scene::with(PLAIN, |it| it.tls = crate::tls::shows(&files)).await;
    for (what, version, ciphers) in [
        ("SSL 3.0", [3, 0], &[0x000a_u16, 0x0005][..]),
        ("TLS 1.0", [3, 1], &[0xc013, 0x002f]),
        ("TLS 1.1", [3, 2], &[0xc013, 0x002f]),
        ("RC4", [3, 3], &[0x0005, 0xc011]),
        ("3DES", [3, 3], &[0x000a, 0xc012]),
        ("no encryption", [3, 3], &[0x0001, 0x0002, 0x003b]),
        ("exported", [3, 3], &[0x0003, 0x0006]),
        ("RSA key exchange", [3, 3], &[0x002f, 0x009c]),
    ] {
        let mut socket = TcpStream::connect(&scene.proxy.address).await.unwrap();
        socket.write_all(&hello(version, ciphers)).await.unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await; // a reset is an end too
        assert_eq!(answer.first(), Some(&21), "{what}: an alert, not {answer:?}");
    }
    let mut early = ClientConfig::clone(&authority.client(None));
    early.enable_early_data = true;
    let early = Arc::new(early);
    for resumed in [false, true] {
        let name: rustls::pki_types::ServerName<'_> = "localhost".try_into().unwrap();
        let mut offered = rustls::ClientConnection::new(Arc::clone(&early), name).unwrap();
        assert!(offered.early_data().is_none(), "nothing may be sent before the handshake");
        let mut socket = connect(&scene.proxy.address, &early).await.unwrap();
        let ask = Ask::new("POST", "/public").line("Connection", "close").body("once").h1();
        socket.write_all(&ask).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let kind = socket.get_ref().1.handshake_kind();
        assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{kind:?}");
    }
    assert_eq!(scene.take().len(), 2);
}

#[tokio::test(flavor = "local")]
async fn ops_05_a_certificate_that_cannot_be_used_leaves_the_last_good_one() {
    let authority = Authority::new();
    let client = authority.client(None);
    let good = authority.pair("localhost");
    let files = Mounted::of(&good);
    let scene = Scene::with(PLAIN, |it| it.tls = crate::tls::shows(&files)).await;
    let expiry = scene.proxy.metric(&crate::tls::expiry_of(&scene.proxy)).await;
    time::pause();
    let other = authority.pair("localhost");
    let told = || scene.proxy.logged().matches("the last good files stay in use").count();
    for (number, (file, text)) in [
        ("tls.crt", other.certificate[..other.certificate.len() / 2].to_owned()),
        ("tls.key", other.key[..other.key.len() / 2].to_owned()),
        ("tls.key", other.key.clone()),
        ("tls.crt", "junk".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        files.replace(file, &text);
        until("it is told", async || told() > number).await;
        assert_eq!(crate::tls::shown(&scene.proxy, &client).await, good.chain()[0], "{file}");
        let key = text.lines().find(|line| line.len() > 20 && scene.proxy.logged().contains(line));
        assert_eq!(key, None);
        assert_eq!(scene.proxy.metric(&crate::tls::expiry_of(&scene.proxy)).await, expiry);
        let name = if file == "tls.crt" { &good.certificate } else { &good.key };
        files.replace(file, name);
        time::sleep(Duration::from_secs(5)).await; // until that is found; the time is paused
    }
    // One that has expired is the operator's: it is shown, warned of, and seen in the metric.
    files.swap_pair(&authority.pair_until("localhost", 2000));
    for name in ["tls.crt", "tls.key"] {
        files.replace(name, &fs::read_to_string(files.path("..data").join(name)).unwrap());
    }
    until("it is told", async || scene.proxy.logged().contains("the certificate has expired"))
        .await;
    assert!(scene.proxy.metric(&crate::tls::expiry_of(&scene.proxy)).await < expiry);
}

/// Lists of revoked certificates are read nowhere: there is no setting for one.
#[test]
fn ops_06_the_reader_of_certificates_is_one_without_known_faults() {
    is_at_least("rustls-webpki", (0, 103, 13));
    assert!(include_str!("../../../deny.toml").contains("rustls-webpki:<0.103.13"));
    for key in ["[tls]\ncrl_file = \"/x\"", "[upstream]\nurl = \"http://a\"\ncrl_file = \"/x\""] {
        let mistakes = settings_text(key).unwrap_err();
        assert!(mistakes.iter().any(|it| it.contains("unknown key")), "{mistakes:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn ops_07_a_web_of_certificates_is_looked_at_for_so_long_and_no_longer() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = Mounted::of(&authority.pair("localhost"));
    files.replace("ca.crt", &clients.pem());
    let scene = Scene::with(PLAIN, |it| {
        let client_ca = Some(files.path("ca.crt"));
        it.tls = Some(ClientTlsSettings { pair: files.pair(), client_ca, http2: true });
    })
    .await;
    // Each of these authorities has one name and was made by each of the others.
    let named = || {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "x");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let keys: Vec<_> = (0..8).map(|_| KeyPair::generate().unwrap()).collect();
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    let leaf = KeyPair::generate().unwrap();
    let by = |key: &KeyPair| {
        rcgen::Issuer::new(named(), KeyPair::from_pem(&key.serialize_pem()).unwrap())
    };
    let of_client = CertificateParams::new(["somebody".to_owned()]).unwrap();
    chain.push(of_client.signed_by(&leaf, &by(&keys[0])).unwrap().der().clone());
    for one in &keys {
        for other in &keys {
            chain.push(named().signed_by(one, &by(other)).unwrap().der().clone());
        }
    }
    let pem = leaf.serialize_pem();
    // As many as may be, and all of them.
    for length in [7, chain.len()] {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        let client = authority.client_of_chain(chain[..length].to_vec(), key);
        let client = Client::to(&scene.proxy.address).tls(&client);
        let began = Instant::now();
        assert!(client.try_send(Method::GET, "/public", "").await.is_err(), "{length}");
        assert!(began.elapsed() < Duration::from_secs(10), "{length}: {:?}", began.elapsed());
    }
    let good = authority.client(Some(&clients.pair("somebody")));
    assert_eq!(Client::to(&scene.proxy.address).tls(&good).get("/public").await.status, 200);
}

/// No address of the admin listener does anything: all are for reading. A page that has its own name
/// lead to this machine (DNS rebinding) comes from loopback and is told no state all the same.
#[tokio::test(flavor = "local")]
async fn ops_09_no_page_makes_the_admin_listener_do_or_tell_anything() {
    let scene = Scene::start().await;
    let admin = || Client::to(&scene.proxy.admin);
    for path in ["/shutdown", "/quitquitquit", "/reload", "/config", "/debug/pprof", "/status", "/"]
    {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let client = admin()
                .header("origin", "https://evil.test")
                .header("sec-fetch-site", "cross-site");
            assert_eq!(client.send(method.clone(), path, "x").await.status, 405, "{method} {path}");
        }
    }
    for path in ["/shutdown", "/quitquitquit", "/reload", "/config", "/debug/pprof"] {
        assert_eq!(admin().get(path).await.status, 404, "{path}");
    }
    for (host, status) in [
        ("127.0.0.1:4601", 200),
        ("localhost:4601", 200),
        ("LOCALHOST", 200),
        ("[::1]:4601", 200),
        ("10.0.0.7:4601", 200),
        ("evil.test", 403),
        ("evil.test:4601", 403),
        ("localhost.evil.test", 403),
        ("127.0.0.1.evil.test:4601", 403),
        ("evil.test:127.0.0.1", 403),
        ("", 403),
    ] {
        let answer = admin().header("host", host).get("/status").await;
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.text().contains("issuer"), status == 200, "{host}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(scene.ask(&Ask::get("/public")).await.status, 200, "nothing was shut down");
}

#[tokio::test(flavor = "local")]
async fn ops_10_no_secret_is_in_what_is_told_of_settings_or_counted() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("signing.key");
    fs::write(&file, SECRET).unwrap();
    let text = format!("[signing]\nsecret_file = {file:?}\n");
    let variables = [("CLERK_SECRET_KEY", "sk_live_hunter2hunter2hunter2")];
    let loaded = settings_with(&text, &variables).unwrap();
    let shown: String = loaded.shown.iter().map(|it| format!("{it:?}\n")).collect();
    let warned: String = loaded.warnings.iter().map(ToString::to_string).collect();
    let debug = format!("{:?}", loaded.settings);
    let secret = std::str::from_utf8(SECRET).unwrap();
    for told in [&shown, &warned, &debug] {
        assert!(!told.contains("hunter2") && !told.contains(secret), "{told}");
    }

    let scene = Scene::start().await;
    let token = scene.mint(serde_json::json!({"sub": "user_private", "email": "private@x.test"}));
    let ask = Ask::get("/api").bearer(&token).line("cookie", "a=private-cookie");
    assert_eq!(scene.ask(&ask).await.status, 200);
    for path in ["/status", "/metrics", "/readyz", "/livez", "/.well-known/jwks.json"] {
        let told = scene.proxy.admin(path).await.text();
        assert!(!told.contains("private") && !told.contains(secret), "{path}: {told}");
        assert!(!told.contains("\"d\""), "{path}: public keys alone");
    }
}

#[test]
fn ops_11_a_mistake_in_the_settings_is_told_with_its_line_and_nothing_starts() {
    let mut missed = Vec::new();
    for (text, line, word) in [
        ("\n[clerk]\naudiance = \"x\"\n", 3, "did you mean"),
        ("[clerk]\nauthorized_parties = []\n", 2, "empty"),
        ("[clerk]\nissuer = \"\"\n", 2, "clerk.issuer"),
        ("[clerk]\naudience = \"a\"\naudience = \"b\"\n", 3, "duplicate"),
        ("[clerk]\nleeway = 5\n", 2, "clerk.leeway"),
        ("[clerk]\nazp = \"no\"\n", 2, "clerk.azp"),
        ("mode = \"off\"\n", 1, "mode"),
        ("trusted_proxies = [\"0.0.0.0/0\"]\n", 1, "everybody"),
        ("trusted_proxies = [\"::/0\"]\n", 1, "everybody"),
        ("cross_site = true\n", 1, "cross_site"),
        ("[identity]\nprefix = \"x-\"\n", 2, "identity.prefix"),
        ("[paths]\nallow = [\"dot-segments\"]\n", 2, "paths.allow"),
        ("[[issuer]]\nurl = \"https://b.test\"\n", 0, "audience"),
        (
            "[[issuer]]\nurl = \"https://b.test\"\naudience = \"a\"\nalgorithms = [\"none\"]\n",
            4,
            "algorithms",
        ),
        (
            "[[issuer]]\nurl = \"https://b.test\"\naudience = \"a\"\nalgorithms = [\"HS256\"]\n",
            4,
            "algorithms",
        ),
        ("[signing]\nsecret = \"0123456789abcdef0123456789abcdef\"\n", 2, "secret"),
        ("a: 1\nb: 2\n", 1, ""),
    ] {
        let mistakes = settings_text(text).err().unwrap_or_default();
        // What is missing stands nowhere.
        let place = if line == 0 { String::new() } else { format!(":{line}:") };
        if !mistakes.iter().any(|it| it.contains(&place) && it.contains(word)) {
            missed.push(format!("{text:?}: {mistakes:?}"));
        }
        assert!(mistakes.iter().all(|it| !it.contains("0123456789abcdef")), "{mistakes:?}");
    }
    assert!(missed.is_empty(), "{missed:#?}");
    // What the environment says has a name for a place.
    for (name, value) in [
        ("COUNTERSIGN_MODE", "off"),
        ("COUNTERSIGN_CLERK_LEEWAY", "never"),
        ("COUNTERSIGN_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("COUNTERSIGN_CLERK_AZP", "none"),
        ("COUNTERSIGN_LISTEN", "*:80"),
    ] {
        let mistakes = settings_with("", &[(name, value)]).unwrap_err();
        assert!(mistakes[0].contains(name), "{name}: {mistakes:?}");
    }
}

/// Settings and files are exchanged whole or not at all. That a mistake in them leaves the last good
/// ones is held where reloading is.
#[tokio::test(flavor = "local")]
async fn ops_12_no_request_is_lost_and_nothing_half_read_while_files_change() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let mut kept = proxy.client().open().await.unwrap();
    for round in 0..100 {
        let (new, status) = match round % 2 {
            0 => (settings_with_public(&issuer, &upstream), 200),
            _ => (settings(&issuer, &upstream), 401),
        };
        proxy.app.reload(new).await.unwrap();
        assert_eq!(kept.get("/public/a").await.status, status, "{round}");
    }

    let authority = Authority::new();
    let client = authority.client(None);
    let files = Mounted::of(&authority.pair("localhost"));
    let home = tempfile::tempdir().unwrap();
    let revoked = home.path().join("revoked");
    fs::write(&revoked, "user_nobody\n").unwrap();
    let scene = Scene::with(PLAIN, |it| {
        it.tls = crate::tls::shows(&files);
        it.revoked = Some(revoked.clone());
    })
    .await;
    let token = scene.token();
    time::pause();
    let mut kept =
        Client::to(&scene.proxy.address).tls(&client).bearer(&token).open().await.unwrap();
    for round in 0..50 {
        match round % 5 {
            4 => fs::write(&revoked, "half a li").unwrap(),
            _ => fs::write(&revoked, format!("user_{round}\nsess_{round}\n")).unwrap(),
        }
        files.swap_pair(&authority.pair("localhost"));
        assert_eq!(kept.get("/api").await.status, 200, "{round}");
        let fresh = Client::to(&scene.proxy.address).tls(&client).bearer(&token);
        assert_eq!(fresh.get("/api").await.status, 200, "{round}");
        time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(scene.take().len(), 100);
}

#[tokio::test(flavor = "local")]
async fn ops_13_a_secret_in_a_file_is_its_bytes_but_for_one_line_end_and_ours_to_read() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("signing.key");
    let text = format!("[signing]\nsecret_file = {file:?}\n");
    let secret = std::str::from_utf8(SECRET).unwrap();
    let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
    for (content, used) in [
        (secret.to_owned(), secret.to_owned()),
        (format!("{secret}\n"), secret.to_owned()),
        (format!("{secret} \n"), format!("{secret} ")),
        (format!("{secret}\n\n"), format!("{secret}\n")),
    ] {
        fs::write(&file, &content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let loaded = settings_text(&text).unwrap();
        let warned =
            loaded.warnings.iter().any(|it| it.to_string().contains("everybody on this machine"));
        assert!(!warned, "{content:?}");
        let issuer = Issuer::start(clock.clone()).unwrap();
        let backend = Recorder::start(PLAIN.backend).await;
        let mut settings = settings_for(&issuer.origin(), &backend.address);
        settings.signing = loaded.settings.signing;
        let proxy = Proxy::start_with(settings, clock.clone()).await;
        let scene = Scene::of(PLAIN, Arc::new(issuer), backend, proxy);
        assert_eq!(scene.ask(&Ask::get("/api").bearer(&scene.token())).await.status, 200);
        verify(&scene.take()[0], &Verifier::hmac(used.as_bytes()), clock.now()).unwrap();
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let warned: Vec<_> =
        settings_text(&text).unwrap().warnings.iter().map(ToString::to_string).collect();
    assert!(
        warned.iter().any(|it| it.contains("everybody on this machine can read")),
        "{warned:?}"
    );
    for short in ["", "\n", "short"] {
        fs::write(&file, short).unwrap();
        assert!(settings_text(&text).unwrap_err()[0].contains("signing.secret_file"), "{short:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn ops_14_of_sockets_only_one_that_nobody_listens_on_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let at = |name: &str| {
        let mut settings = settings(&issuer, &upstream);
        settings.proxy.listen = vec![ListenAddress::Unix(path(name))];
        settings
    };
    drop(UnixListener::bind(path("stale")).unwrap());
    let _live = UnixListener::bind(path("live")).unwrap();
    fs::write(path("file"), "a letter").unwrap();
    fs::create_dir(path("directory")).unwrap();
    symlink(path("stale"), path("link")).unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    for name in ["live", "file", "directory", "link", "dangling"] {
        let sink = Sink::start(std::io::sink()).unwrap();
        let started = App::start(at(name), Clock::System, sink, Threads::Here).await;
        assert!(matches!(started, Err(StartError::Listen { .. })), "{name}");
        assert!(fs::symlink_metadata(path(name)).is_ok(), "{name} is left alone");
    }
    assert!(!path("nowhere").exists());
    let proxy = Proxy::start(at("stale")).await;
    let mode = fs::metadata(path("stale")).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, proxy.get("/", &issuer.token()).await.status), (0o660, 200));
    for address in ["unix:@abstract", "unix:relative", "unix:", "unix:\\u0000abstract"] {
        let mistakes = settings_text(&format!("listen = \"{address}\"\n")).unwrap_err();
        assert!(!mistakes.is_empty(), "{address}");
    }
}

#[test]
fn ops_16_without_a_word_only_this_machine_is_listened_to() {
    let settings = settings_text("").unwrap().settings;
    let told: Vec<_> = settings.proxy.listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        (told, settings.admin.listen.to_string()),
        (vec!["127.0.0.1:4600".into()], "127.0.0.1:4601".into())
    );
    assert_eq!(settings.admin.status, countersign::admin::StatusAccess::Loopback);
    // Where it has to be reached from elsewhere, that is written down.
    let image = include_str!("../../../deploy/Dockerfile");
    assert!(image.contains("COUNTERSIGN_LISTEN=[::]:4600"));
    let open = settings_text("listen = \"*:4600\"\n").unwrap_err();
    assert!(open[0].contains("on which address?"), "{open:?}");
}

#[tokio::test(flavor = "local")]
async fn ops_17_a_backend_that_can_be_reached_past_the_proxy_is_told_of() {
    let issuer = Issuer::start(Clock::System).unwrap();
    for (address, exposed) in [("0.0.0.0:0", 1.0), ("127.0.0.1:0", 0.0)] {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _upstream = Upstream::on(listener, |_| Response::new("ok".into()));
        let proxy =
            Proxy::start(settings_for(&issuer.origin(), &format!("127.0.0.1:{port}"))).await;
        assert_eq!(proxy.get("/", &issuer.token()).await.status, 200);
        #[cfg(target_os = "linux")]
        {
            let gauge = "countersign_upstream_exposed";
            until("a look was taken", async || proxy.metric(gauge).await == exposed).await;
            let warned = proxy.logged().contains("the proxy can be walked around");
            assert_eq!(warned, exposed > 0.0, "{address}");
        }
    }
    let pod = include_str!("../../../deploy/kubernetes/pod.yaml");
    assert!(pod.contains("listens on 127.0.0.1:3000 alone"));
    assert!(!pod.contains("containerPort: 3000"), "nobody else is told of the backend's port");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn ops_19_more_than_there_is_room_for_is_shed() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::raw(|mut socket| async move {
        crate::support::upstream::head(&mut socket).await;
        std::future::pending().await
    })
    .await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.limits.in_flight = Some(4);
    let proxy = Proxy::start(settings).await;
    let ask = Ask::get("/").bearer(&issuer.token()).h1();
    let mut under_way = Vec::new();
    for _ in 0..4 {
        let mut client = Socket::open(&proxy.address).await;
        client.send(&ask).await;
        under_way.push(client);
    }
    let in_flight = "countersign_requests_in_flight";
    until("four are under way", async || proxy.metric(in_flight).await == 4.0).await;

    // As many wait for a second as there are places, and nobody else.
    let began = Instant::now();
    let mut shed = task::JoinSet::new();
    for _ in 0..40 {
        let client = proxy.client().bearer(&issuer.token());
        shed.spawn_local(async move { client.get("/").await });
    }
    for answer in shed.join_all().await {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(upstream.connections(), 4);
    // What a Pod is asked to have for it.
    let pod = include_str!("../../../deploy/kubernetes/pod.yaml");
    assert!(pod.contains("cpu: 50m") && pod.contains("memory: 32Mi"));
}

#[test]
fn ops_20_the_image_is_the_program_and_nothing_else() {
    let image = include_str!("../../../deploy/Dockerfile");
    let last = image.rsplit("\nFROM ").next().unwrap();
    assert!(last.starts_with("scratch\n"), "no shell, no libraries");
    let copied: Vec<_> =
        last.lines().filter(|line| line.starts_with("COPY") || line.starts_with("ADD")).collect();
    assert_eq!(copied, ["COPY --from=binary /countersign /countersign"]);
    assert!(last.contains("\nUSER 65532:65532\n") && !last.contains("\nRUN "));
    let pod = include_str!("../../../deploy/kubernetes/pod.yaml");
    for line in [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "automountServiceAccountToken: false",
    ] {
        assert!(pod.contains(line), "{line}");
    }
    // Roots for fetching keys are built in: the image has no files of its own to take them from.
    assert!(!locked("webpki-roots").is_empty());
}

#[test]
fn ops_21_no_version_with_a_known_fault_is_built_in_and_no_second_cryptography() {
    for (name, floor) in [
        ("aws-lc-sys", (0, 39, 0)),
        ("h2", (0, 4, 20)),
        ("hyper", (1, 12, 0)),
        ("bytes", (1, 11, 1)),
        ("rustls-webpki", (0, 103, 13)),
        ("rustls", (0, 23, 18)),
        ("tracing-subscriber", (0, 3, 20)),
        ("jsonwebtoken", (11, 1, 0)),
    ] {
        is_at_least(name, floor);
    }
    let gate = include_str!("../../../deny.toml");
    for name in ["rsa", "openssl", "native-tls", "lru", "serde_yaml"] {
        assert!(locked(name).is_empty(), "{name}");
        assert!(gate.contains(&format!("crate = \"{name}\"")), "{name}");
    }
    let checks = include_str!("../../../.ci/run");
    assert!(checks.contains("deny") && checks.contains("bans licenses sources"));
}
