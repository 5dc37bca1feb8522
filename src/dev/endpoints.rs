//! What the development issuer answers, and to whom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{constant_time, digest};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, ETAG, HOST, IF_NONE_MATCH, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::mint::{SigningKey, Wanted, hex, parameters, random};
use super::server::{Answer, answer};
use crate::clock::Clock;

/// Where a key set stands, under every issuer.
pub(super) const KEY_SET: &str = "/.well-known/jwks.json";

/// The longest body that a wish for a token may have, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// The issuer behind its addresses.
pub(super) struct Endpoints {
    pub(super) port: u16,
    /// What stands before `/mint` and `/rotate`. A secret.
    pub(super) segment: String,
    clock: Clock,
    /// A lock is enough for a development issuer: it is held while one token is signed.
    keys: Mutex<Keys>,
    fetches: AtomicU64,
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

/// What can be asked for.
#[derive(Clone, Copy)]
enum Endpoint {
    KeySet,
    Mint,
    Rotate,
}

impl Endpoints {
    /// Creates an issuer on `port` with a fresh key.
    ///
    /// # Errors
    ///
    /// Where the system has no random bytes to give.
    pub(super) fn new(port: u16, clock: Clock) -> Result<Self, Unspecified> {
        let keys = Keys { active: SigningKey::generate()?, old: Vec::new() };
        Ok(Self {
            port,
            segment: hex(&random::<16>()?),
            clock,
            keys: Mutex::new(keys),
            fetches: AtomicU64::new(0),
        })
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Some(endpoint) = self.find(head.uri.path()) else {
            return plain(StatusCode::NOT_FOUND, "there is nothing here\n");
        };
        let allowed = match endpoint {
            Endpoint::KeySet => [Method::GET, Method::HEAD],
            Endpoint::Mint | Endpoint::Rotate if !self.is_from_our_machine(&head.headers) => {
                return plain(StatusCode::FORBIDDEN, "not for web pages\n");
            }
            Endpoint::Mint | Endpoint::Rotate => [Method::GET, Method::POST],
        };
        if !allowed.contains(&head.method) {
            return method_refused(&allowed);
        }
        let query = head.uri.query().unwrap_or("");
        match endpoint {
            Endpoint::KeySet => self.key_set(&head.headers),
            Endpoint::Mint => match Limited::new(body, MAX_BODY).collect().await {
                Ok(body) => self.mint_as_asked(query, &body.to_bytes()),
                Err(_) => {
                    plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long or broke off\n")
                }
            },
            Endpoint::Rotate => {
                let drop = parameters(query).any(|(name, _)| name == "drop_old");
                plain(StatusCode::OK, self.rotate(if drop { OldKeys::Drop } else { OldKeys::Keep }))
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
            _ => None,
        }
    }

    /// Refuses what a browser sends for a page: an `Origin`, or the page's own name as `Host` after
    /// it was made to resolve to 127.0.0.1 (DNS rebinding).
    fn is_from_our_machine(&self, headers: &HeaderMap) -> bool {
        let own = |host: &HeaderValue| {
            ["127.0.0.1", "localhost"].iter().any(|name| *host == *format!("{name}:{}", self.port))
        };
        let mut hosts = headers.get_all(HOST).iter();
        hosts.next().is_some_and(own) && hosts.next().is_none() && !headers.contains_key(ORIGIN)
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
fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = answer(status, "text/plain; charset=utf-8", text);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn method_refused(allowed: &[Method]) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
    for method in allowed {
        let name = HeaderValue::from_str(method.as_str()).expect("a method is a token");
        answer.headers_mut().append(ALLOW, name);
    }
    answer
}
