//! What the development issuer answers, and to whom.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, ETAG, HOST, IF_NONE_MATCH, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::backend_api::Call;
use super::clients::{Clients, Session};
use super::frontend_api::Step;
use super::mint::{self, SigningKey, Wanted, hex, parameters, random};
use super::server::{Answer, answer};
use crate::clock::Clock;
use crate::core::clerk::cookies::CookieSuffix;
use crate::core::clerk::publishable_key::PublishableKey;

/// Where a key set stands, under every issuer.
pub(super) const KEY_SET: &str = "/.well-known/jwks.json";

/// The longest body that a wish for a token may have, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// The issuer behind its addresses.
pub(super) struct Endpoints {
    pub(super) port: u16,
    /// What stands before `/mint`, `/rotate` and `/revoke`. A secret.
    pub(super) segment: String,
    /// What the Backend API is used with.
    pub(super) secret_key: String,
    pub(super) publishable_key: PublishableKey,
    /// What the issuer's cookies end in.
    pub(super) suffix: CookieSuffix,
    pub(super) clock: Clock,
    /// A lock is enough for a development issuer: it is held while one token is signed.
    keys: Mutex<Keys>,
    /// And this one while a few fields are read or set. Never taken together with the other.
    clients: Mutex<Clients>,
    /// For how many seconds the tokens of people who sign in are good.
    pub(super) session_lifetime: AtomicI64,
    fetches: AtomicU64,
    pub(super) session_checks: AtomicU64,
}

/// The key that signs, and those that are only published any more.
struct Keys {
    active: SigningKey,
    old: Vec<SigningKey>,
}

/// What becomes of the keys before a new one.
#[derive(Clone, Copy)]
pub(super) enum OldKeys {
    Keep,
    Drop,
}

/// What can be asked for besides.
#[derive(Clone, Copy)]
enum Endpoint {
    KeySet,
    Mint,
    Rotate,
    Revoke,
}

impl Endpoints {
    /// Creates an issuer on `port` with a fresh key.
    ///
    /// # Errors
    ///
    /// Where the system has no random bytes to give.
    pub(super) fn new(port: u16, clock: Clock) -> Result<Self, Unspecified> {
        let keys = Keys { active: SigningKey::generate()?, old: Vec::new() };
        let publishable_key = publishable_key(port);
        Ok(Self {
            port,
            segment: hex(&random::<16>()?),
            secret_key: format!("sk_test_{}", hex(&random::<21>()?)),
            suffix: CookieSuffix::of(&publishable_key),
            publishable_key,
            keys: Mutex::new(keys),
            clients: Mutex::new(Clients::new(clock.now())),
            clock,
            session_lifetime: AtomicI64::new(Wanted::TTL),
            fetches: AtomicU64::new(0),
            session_checks: AtomicU64::new(0),
        })
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        if let Some(step) = Step::find(head.uri.path()) {
            return self.frontend(step, &head, body).await;
        }
        if let Some(call) = Call::find(head.uri.path()) {
            return self.backend(call, &head, body).await;
        }
        let Some(endpoint) = self.find(head.uri.path()) else {
            return plain(StatusCode::NOT_FOUND, "there is nothing here\n");
        };
        let allowed = match endpoint {
            Endpoint::KeySet => [Method::GET, Method::HEAD],
            Endpoint::Mint | Endpoint::Rotate | Endpoint::Revoke
                if !self.is_from_our_machine(&head.headers) =>
            {
                return plain(StatusCode::FORBIDDEN, "not for web pages\n");
            }
            Endpoint::Mint | Endpoint::Rotate | Endpoint::Revoke => [Method::GET, Method::POST],
        };
        if !allowed.contains(&head.method) {
            return method_refused(&allowed);
        }
        let query = head.uri.query().unwrap_or("");
        match endpoint {
            Endpoint::KeySet => self.key_set(&head.headers),
            Endpoint::Mint => match read(body).await {
                Ok(body) => self.mint_as_asked(query, &body),
                Err(refused) => refused,
            },
            Endpoint::Rotate => {
                let drop = parameters(query).any(|(name, _)| name == "drop_old");
                plain(StatusCode::OK, self.rotate(if drop { OldKeys::Drop } else { OldKeys::Keep }))
            }
            Endpoint::Revoke => {
                let asked = parameters(query).find(|(name, _)| name == "sid");
                match self.revoke(asked.as_ref().map_or(mint::SESSION, |(_, id)| id)) {
                    true => plain(StatusCode::OK, "revoked\n"),
                    false => plain(StatusCode::NOT_FOUND, "there is no such session\n"),
                }
            }
        }
    }

    fn find(&self, path: &str) -> Option<Endpoint> {
        if path == KEY_SET {
            return Some(Endpoint::KeySet);
        }
        let (segment, action) = path.strip_prefix('/')?.split_once('/')?;
        constant_time::verify_slices_are_equal(segment.as_bytes(), self.segment.as_bytes()).ok()?;
        match action {
            "mint" => Some(Endpoint::Mint),
            "rotate" => Some(Endpoint::Rotate),
            "revoke" => Some(Endpoint::Revoke),
            _ => None,
        }
    }

    /// Refuses what a browser sends for a page: an `Origin`, or a name that is not ours.
    fn is_from_our_machine(&self, headers: &HeaderMap) -> bool {
        self.is_under_our_name(headers) && !headers.contains_key(ORIGIN)
    }

    /// Refuses a page's own name as `Host` after it was made to resolve to 127.0.0.1 (DNS
    /// rebinding).
    pub(super) fn is_under_our_name(&self, headers: &HeaderMap) -> bool {
        let own = |host: &HeaderValue| self.names().iter().any(|name| *host == **name);
        let mut hosts = headers.get_all(HOST).iter();
        hosts.next().is_some_and(own) && hosts.next().is_none()
    }

    /// Returns the hosts that we are.
    pub(super) fn names(&self) -> [String; 2] {
        ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port))
    }

    fn key_set(&self, headers: &HeaderMap) -> Answer {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let keys = self.keys().published();
        let body = json!({ "keys": keys }).to_string();
        let hash = digest::digest(&digest::SHA256, body.as_bytes());
        let tag = format!("\"{}\"", hex(&hash.as_ref()[..16]));

        let mut answer = answer(StatusCode::OK, "application/json", body);
        if names_tag(headers, &tag) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.body_mut() = Full::default();
        }
        let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes");
        answer.headers_mut().insert(ETAG, tag);
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        answer
    }

    fn mint_as_asked(&self, query: &str, body: &[u8]) -> Answer {
        match Wanted::parse(query, body) {
            Ok(wanted) => plain(StatusCode::OK, self.mint(wanted)),
            Err(problem) => plain(StatusCode::BAD_REQUEST, format!("{problem}\n")),
        }
    }

    /// Mints a token that says what is `wanted`.
    pub(super) fn mint(&self, wanted: Wanted) -> String {
        self.keys().active.mint(&self.origin(), self.clock.now(), wanted)
    }

    /// Signs with a new key from now on, and returns its `kid`.
    pub(super) fn rotate(&self, old_keys: OldKeys) -> String {
        let new = SigningKey::generate().expect("the system had random bytes for the first key");
        let kid = new.kid().to_owned();
        let mut keys = self.keys();
        let before = std::mem::replace(&mut keys.active, new);
        match old_keys {
            OldKeys::Keep => keys.old.push(before),
            OldKeys::Drop => keys.old.clear(),
        }
        kid
    }

    /// Mints a token of a session, as a handshake brings it.
    pub(super) fn mint_for(&self, session: &Session) -> String {
        self.mint(session.wanted(self.session_lifetime.load(Ordering::Relaxed)))
    }

    /// Mints a token that carries lines of `Set-Cookie`.
    pub(super) fn mint_handshake(&self, lines: &[String]) -> String {
        let iat = self.clock.now().as_secs();
        let exp = iat.saturating_add(Wanted::TTL);
        let claims = json!({ "handshake": lines, "iss": self.origin(), "iat": iat, "exp": exp });
        self.keys().active.mint_bare(&claims)
    }

    /// Revokes a session, and tells whether there is one of this id.
    pub(super) fn revoke(&self, session: &str) -> bool {
        self.clients().revoke(session, self.clock.now())
    }

    pub(super) fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("whoever holds the clients does not panic")
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().expect("whoever holds the keys does not panic")
    }

    /// Returns how often the key set was asked for.
    pub(super) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// Returns the issuer's name.
    pub(super) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Keys {
    fn published(&self) -> Vec<Value> {
        std::iter::once(&self.active).chain(&self.old).map(SigningKey::jwk).collect()
    }
}

/// Returns the publishable key that names the issuer on `port`.
fn publishable_key(port: u16) -> PublishableKey {
    let text = format!("pk_test_{}", STANDARD.encode(format!("127.0.0.1:{port}$")));
    PublishableKey::parse(&text).expect("a host with a port")
}

/// Reads a body that is not too long.
///
/// # Errors
///
/// What is answered where it is, or where it broke off.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Answer> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => {
            let told = "the body is too long or broke off\n";
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, told))
        }
    }
}

/// Says whether `If-None-Match` names `tag`, by the weak comparison of RFC 9110 §13.1.2.
fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

/// Returns an answer in plain text that nobody keeps: it may be a token.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = answer(status, "text/plain; charset=utf-8", text);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub(super) fn method_refused(allowed: &[Method]) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
    for method in allowed {
        let name = HeaderValue::from_str(method.as_str()).expect("a method is a token");
        answer.headers_mut().append(ALLOW, name);
    }
    answer
}
