//! An echo backend: answers what it received, and whether it believes it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::echo_page::{self, EchoPage};
use super::server::{Answer, Server, answer};
use super::verifier::{Countersignature, Verifier, VerifyError};
use crate::clock::Clock;
use crate::core::time::UnixTime;

/// A running echo backend. It ends when dropped.
///
/// Every request is answered with 200 and JSON: what arrived, who it says is calling, and what the
/// signature is worth. A browser that asks for a page gets that as a page.
pub struct Echo {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Server,
}

impl Echo {
    /// Starts a backend on a free port of 127.0.0.1 that looks at the signature of each request
    /// with `verifier`, at the system's time.
    ///
    /// # Errors
    ///
    /// What the system says, where it has no port to give.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(verifier: Verifier) -> io::Result<Self> {
        Self::start_at(verifier, Clock::System)
    }

    /// Does what [`start`](Self::start) does, at the time of `clock`.
    ///
    /// # Errors
    ///
    /// As `start`.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub fn start_at(verifier: Verifier, clock: Clock) -> io::Result<Self> {
        Self::start_with(verifier, clock, None)
    }

    /// Does what [`start_at`](Self::start_at) does. Its pages link to where one signs in and out,
    /// at the development issuer with this origin.
    ///
    /// # Errors
    ///
    /// As `start`.
    ///
    /// # Panics
    ///
    /// As `start`.
    pub fn start_beside(verifier: Verifier, clock: Clock, issuer: &str) -> io::Result<Self> {
        Self::start_with(verifier, clock, Some(issuer.to_owned()))
    }

    fn start_with(verifier: Verifier, clock: Clock, issuer: Option<String>) -> io::Result<Self> {
        let (listener, address) = Server::bind()?;
        let shared = Arc::new(Shared { verifier, clock, issuer, requests: AtomicU64::new(0) });
        let answering = Arc::clone(&shared);
        let server = Server::spawn(listener, move |request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(request).await }
        });
        Ok(Self { address, shared, _server: server })
    }

    /// Returns where it is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how many requests arrived.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

/// Says where the backend is.
impl fmt::Debug for Echo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Echo").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// What the handle and the server's task both hold.
struct Shared {
    verifier: Verifier,
    clock: Clock,
    issuer: Option<String>,
    requests: AtomicU64,
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let (head, body) = request.into_parts();
        if echo_page::is_wanted(&head.headers) {
            length(body).await;
            let signature = SignatureReport::of(&head, &self.verifier, now);
            let issuer = self.issuer.as_deref();
            let prefix = self.verifier.prefix();
            return EchoPage { head: &head, signature: &signature, prefix, issuer, now }.answer();
        }
        let report = Report {
            method: head.method.as_str(),
            path: head.uri.to_string(),
            identity: Identity { headers: &head.headers, verifier: &self.verifier },
            signature: SignatureReport::of(&head, &self.verifier, now),
            headers: head.headers.iter().map(shown).collect(),
            body_bytes: length(body).await,
        };
        let json = serde_json::to_string_pretty(&report).expect("text and numbers are JSON");
        answer(StatusCode::OK, "application/json", json + "\n")
    }
}

/// What is answered, in this order.
#[derive(serde::Serialize)]
struct Report<'a> {
    method: &'a str,
    path: String,
    identity: Identity<'a>,
    signature: SignatureReport,
    headers: Vec<String>,
    body_bytes: u64,
}

/// What became of the signature. What it says of itself is told where it could be read, whether or
/// not it is true.
#[derive(Default, serde::Serialize)]
pub(super) struct SignatureReport {
    pub(super) verified: bool,
    pub(super) keyid: Option<String>,
    pub(super) alg: Option<String>,
    created: Option<i64>,
    expires: Option<i64>,
    pub(super) problem: Option<String>,
}

impl SignatureReport {
    fn of(head: &Parts, verifier: &Verifier, now: UnixTime) -> Self {
        let problem = |error: VerifyError| error.to_string();
        match Countersignature::parse(&head.headers) {
            Err(error) => Self { problem: Some(problem(error)), ..Self::default() },
            Ok(found) => {
                let answer = verifier.verify(&found, head, now);
                Self {
                    verified: answer.is_ok(),
                    keyid: Some(found.keyid),
                    alg: Some(found.alg),
                    created: Some(found.created.as_secs()),
                    expires: Some(found.expires.as_secs()),
                    problem: answer.err().map(problem),
                }
            }
        }
    }
}

/// The identity headers in the order received, as an object. One that came more than once, which
/// none should, has an array.
struct Identity<'a> {
    headers: &'a HeaderMap,
    verifier: &'a Verifier,
}

impl Serialize for Identity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        for name in self.headers.keys().filter(|name| self.verifier.is_identity(name)) {
            let values: Vec<_> = self.headers.get_all(name).iter().map(lossy).collect();
            match values.as_slice() {
                [value] => members.serialize_entry(name.as_str(), value)?,
                values => members.serialize_entry(name.as_str(), values)?,
            }
        }
        members.end()
    }
}

fn shown((name, value): (&HeaderName, &HeaderValue)) -> String {
    format!("{name}: {}", shown_value(name, value))
}

/// Returns the value of a header as it may be shown: of a credential, only how long it is.
pub(super) fn shown_value(name: &HeaderName, value: &HeaderValue) -> String {
    match *name {
        AUTHORIZATION | COOKIE => format!("({} bytes)", value.len()),
        _ => lossy(value),
    }
}

pub(super) fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Reads a body to its end, keeping nothing, and returns how many bytes it had.
async fn length(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use http_body_util::Full;
    use serde_json::{Value, json};

    use super::*;
    use crate::dev::server::client::send;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
    const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

    /// A request that is signed by hand: `value` is what is signed, not what is sent.
    fn signed(echo: &Echo, value: &str) -> Request<Full<Bytes>> {
        let host = echo.url().replace("http://", "");
        let params = r#"("x-clerk-user-id" "x-clerk-org-id" "@method" "@authority" "@path");created=1700000000;expires=1700000030;keyid="k1";alg="hmac-sha256";tag="countersign""#;
        let base = format!(
            "\"x-clerk-user-id\": {value}\n\"x-clerk-org-id\": \n\"@method\": POST\n\
             \"@authority\": {host}\n\"@path\": /a%20b\n\"@signature-params\": {params}"
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), base.as_bytes());
        Request::post("/a%20b?c=%64")
            .header("Host", host)
            .header("X-Clerk-User-Id", "user_1")
            .header("X-Clerk-Org-Id", "")
            .header("Authorization", "Bearer abc")
            .header("Cookie", "__session=abc")
            .header("Signature-Input", format!("countersign={params}"))
            .header("Signature", format!("countersign=:{}:", STANDARD.encode(tag)))
            .body(Full::from("hello"))
            .unwrap()
    }

    #[tokio::test(flavor = "local")]
    async fn what_arrived_is_echoed_and_its_signature_verified() {
        let echo = Echo::start_at(Verifier::hmac(SECRET), Clock::fixed(NOW)).unwrap();

        let (head, body) = send(&echo.url(), signed(&echo, "user_1")).await;

        assert_eq!((head.status, echo.requests()), (StatusCode::OK, 1));
        assert!(!body.contains("abc"), "{body}");
        let mut report: Value = serde_json::from_str(&body).unwrap();
        let headers = report["headers"].take();
        for header in ["authorization: (10 bytes)", "cookie: (13 bytes)"] {
            assert!(headers.as_array().unwrap().contains(&json!(header)), "{headers}");
        }
        assert_eq!(
            report,
            json!({
                "method": "POST", "path": "/a%20b?c=%64", "headers": null, "body_bytes": 5,
                "identity": { "x-clerk-user-id": "user_1", "x-clerk-org-id": "" },
                "signature": {
                    "verified": true, "keyid": "k1", "alg": "hmac-sha256",
                    "created": 1_700_000_000, "expires": 1_700_000_030, "problem": null,
                },
            })
        );
        assert!(body.find("x-clerk-user-id") < body.find("x-clerk-org-id"), "{body}");
    }

    #[tokio::test(flavor = "local")]
    async fn a_signature_that_is_missing_or_wrong_is_told_with_its_problem() {
        let echo = Echo::start_at(Verifier::hmac(SECRET), Clock::fixed(NOW)).unwrap();
        let mut bare = signed(&echo, "user_1");
        bare.headers_mut().remove("signature");
        let mut twice = signed(&echo, "user_1");
        twice.headers_mut().append("x-clerk-user-id", HeaderValue::from_static("user_2"));

        for (request, keyid, identity, problem) in [
            (
                signed(&echo, "user_2"),
                json!("k1"),
                json!("user_1"),
                "the signature does not match the request",
            ),
            (bare, json!(null), json!("user_1"), "there is no `Signature`"),
            (
                twice,
                json!("k1"),
                json!(["user_1", "user_2"]),
                "the header `x-clerk-user-id` is there more than once",
            ),
        ] {
            let (_, body) = send(&echo.url(), request).await;
            let report: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(report["signature"]["verified"], false, "{problem}");
            assert_eq!(report["signature"]["keyid"], keyid, "{problem}");
            assert_eq!(report["identity"]["x-clerk-user-id"], identity, "{problem}");
            assert_eq!(report["signature"]["problem"], problem);
        }
    }
}
