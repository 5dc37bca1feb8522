//! A development issuer: what Clerk is to the proxy, on loopback.
//!
//! It publishes a key set in Clerk's shape and mints tokens for whoever knows the address. That
//! address has a random segment, and a request from a web page is refused: a page may guess a port
//! and may have its own name resolved to 127.0.0.1, but cannot leave out `Origin` when it posts,
//! nor send a `Host` that is ours.
//!
//! People sign in to it as to a development instance of Clerk's (`frontend_api`), and backends ask
//! it about them (`backend_api`).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::endpoints::{Endpoints, KEY_SET, OldKeys};
use super::frontend_api::SIGN_IN;
use super::mint::Wanted;
use super::server::Server;
use crate::clock::Clock;

/// A running development issuer. It ends when dropped.
pub struct Issuer {
    endpoints: Arc<Endpoints>,
    _server: Server,
}

impl Issuer {
    /// Starts an issuer with a fresh key on a free port of 127.0.0.1. Its tokens are issued at the
    /// time of `clock`.
    ///
    /// # Errors
    ///
    /// Where the system has no port or no random bytes to give.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(clock: Clock) -> io::Result<Self> {
        let (listener, address) = Server::bind()?;
        let endpoints = Endpoints::new(address.port(), clock)
            .map_err(|_| io::Error::other("the system has no random bytes"))?;
        let endpoints = Arc::new(endpoints);
        let answering = Arc::clone(&endpoints);
        let server = Server::spawn(listener, move |request| {
            let endpoints = Arc::clone(&answering);
            async move { endpoints.answer(request).await }
        });
        Ok(Self { endpoints, _server: server })
    }

    /// Adds a key and signs with it from now on; tokens of the old one stay good. Returns the new
    /// `kid`.
    pub fn rotate(&self) -> String {
        self.endpoints.rotate(OldKeys::Keep)
    }

    /// Puts a new key in the place of all others, so that no token from before stays good. Returns
    /// the new `kid`.
    pub fn rotate_and_drop(&self) -> String {
        self.endpoints.rotate(OldKeys::Drop)
    }

    /// Mints a token that says what Clerk's session tokens say.
    pub fn token(&self) -> String {
        self.mint(json!({}))
    }

    /// Mints a token with `claims` over the default ones: `null` removes a claim, anything else
    /// replaces it whole. The member `$header` does the same to the header.
    ///
    /// # Panics
    ///
    /// Where `claims`, or its `$header`, is not an object.
    pub fn mint(&self, claims: Value) -> String {
        let wanted = Wanted::from_claims(claims).expect("claims are an object");
        self.endpoints.mint(wanted)
    }

    /// Returns how often the key set was asked for, 304s counted too.
    pub fn fetches(&self) -> u64 {
        self.endpoints.fetches()
    }

    /// Returns the issuer's name, which is also its address: `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        self.endpoints.origin()
    }

    /// Returns where the key set is.
    pub fn jwks_url(&self) -> String {
        format!("{}{KEY_SET}", self.origin())
    }

    /// Returns where tokens are minted: `GET` with claims in the query, or `POST` of JSON. `ttl` in
    /// the query is the lifetime in seconds.
    pub fn mint_url(&self) -> String {
        format!("{}/{}/mint", self.origin(), self.endpoints.segment)
    }

    /// Returns where the key is rotated; with `?drop_old` the old ones go.
    pub fn rotate_url(&self) -> String {
        format!("{}/{}/rotate", self.origin(), self.endpoints.segment)
    }

    /// Returns the publishable key that names this issuer. A loopback host in one means `http`.
    pub fn publishable_key(&self) -> String {
        self.endpoints.publishable_key.as_str().to_owned()
    }

    /// Returns what the issuer's Backend API is used with: `sk_test_…`. It stands at
    /// [`origin`](Self::origin), as everything else does.
    pub fn secret_key(&self) -> String {
        self.endpoints.secret_key.clone()
    }

    /// Returns where people sign in; with `redirect_url` in the query, it is where they come from.
    pub fn sign_in_url(&self) -> String {
        format!("{}{SIGN_IN}", self.origin())
    }

    /// Returns where a session is revoked: that of minted tokens, or with `?sid=` another.
    pub fn revoke_url(&self) -> String {
        format!("{}/{}/revoke", self.origin(), self.endpoints.segment)
    }

    /// Revokes the session with this id, and tells whether there is one: of somebody who signed in,
    /// or that of minted tokens, whose `sid` was not asked for.
    pub fn revoke_session(&self, id: &str) -> bool {
        self.endpoints.revoke(id)
    }

    /// Returns how often somebody with the secret key asked for a session.
    pub fn session_checks(&self) -> u64 {
        self.endpoints.session_checks.load(Ordering::Relaxed)
    }

    /// Sets how long the tokens are good that handshakes and refreshes bring from now on, in whole
    /// seconds. Default: 60 s, as Clerk's.
    pub fn set_session_lifetime(&self, lifetime: Duration) {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.endpoints.session_lifetime.store(seconds, Ordering::Relaxed);
    }
}

/// Says where the issuer is. The segment and the secret key are secrets.
impl fmt::Debug for Issuer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Issuer").field("origin", &self.origin()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use http::header::{CACHE_CONTROL, ETAG, HOST, IF_NONE_MATCH, ORIGIN};
    use http::{Method, Request, StatusCode};
    use http_body_util::Full;
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

    use super::*;
    use crate::core::time::UnixTime;
    use crate::dev::endpoints::MAX_BODY;
    use crate::dev::server::client::send;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    fn issuer() -> Issuer {
        Issuer::start(Clock::fixed(NOW)).unwrap()
    }

    /// Asks as curl would.
    async fn ask(
        issuer: &Issuer,
        method: &str,
        url: &str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, String) {
        let origin = issuer.origin();
        let request = Request::builder()
            .method(method)
            .uri(url.strip_prefix(&origin).unwrap())
            .header(HOST, origin.strip_prefix("http://").unwrap())
            .body(Full::new(body.into()))
            .unwrap();
        let (head, body) = send(&origin, request).await;
        (head.status, body)
    }

    /// Verifies `token` against the key set as it is served, with code that is not ours.
    async fn claims(issuer: &Issuer, token: &str) -> Option<Value> {
        let (_, body) = ask(issuer, "GET", &issuer.jwks_url(), "").await;
        let keys: JwkSet = serde_json::from_str(&body).unwrap();
        let jwk = keys.find(&decode_header(token).unwrap().kid?)?;
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_required_spec_claims::<&str>(&[]);
        (rules.validate_exp, rules.validate_nbf) = (false, false); // the time stands in 2023
        Some(decode(token, &DecodingKey::from_jwk(jwk).unwrap(), &rules).unwrap().claims)
    }

    #[tokio::test(flavor = "local")]
    async fn a_token_is_shaped_like_clerks_and_verifies_against_the_served_keys() {
        let issuer = issuer();

        let token = issuer.token();

        let header = decode_header(&token).unwrap();
        let kid = header.kid.unwrap();
        assert_eq!((kid.len(), &kid[..4]), (31, "ins_"), "{kid}");
        assert_eq!(header.extras.inner()["cat"], "cl_B7d4PD111AAA");
        let mut claims = claims(&issuer, &token).await.unwrap();
        assert_eq!(claims["jti"].take().as_str().unwrap().len(), 20);
        assert_eq!(
            claims,
            json!({
                "azp": "http://localhost:3000", "exp": 1_700_000_060, "fea": "o:dashboard,o:teams",
                "fva": [1, -1], "iat": 1_700_000_000, "iss": issuer.origin(), "jti": null,
                "nbf": 1_699_999_990, "pla": "o:pro", "sts": "active", "v": 2,
                "o": {
                    "id": "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS", "slg": "acme", "rol": "admin",
                    "per": "manage,read", "fpm": "3,2",
                },
                "sid": "sess_2xHq8aKd3MnP5rTv7XzB9cFhJmW",
                "sub": "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR",
            })
        );
    }

    #[tokio::test(flavor = "local")]
    async fn a_token_says_what_it_was_asked_to_say() {
        let issuer = issuer();
        let asked = json!({ "sub": null, "n": 1, "$header": { "cat": null, "typ": "at+jwt" } });
        let with_query = format!("{}?sub=user_1&ttl=-5&name=A+%26%20B", issuer.mint_url());

        let (status, by_get) = ask(&issuer, "GET", &with_query, "").await;
        let (_, by_post) = ask(&issuer, "POST", &issuer.mint_url(), asked.to_string()).await;

        assert_eq!(status, 200);
        let got = claims(&issuer, &by_get).await.unwrap();
        assert_eq!((&got["sub"], &got["name"]), (&json!("user_1"), &json!("A & B")));
        assert_eq!(got["exp"], 1_699_999_995);
        for token in [by_post, issuer.mint(asked)] {
            let (header, claims) =
                (decode_header(&token).unwrap(), claims(&issuer, &token).await.unwrap());
            assert_eq!((claims.get("sub"), &claims["n"]), (None, &json!(1)));
            assert_eq!(header.typ.as_deref(), Some("at+jwt"));
            assert!(!header.extras.inner().contains_key("cat"));
        }
    }

    #[tokio::test(flavor = "local")]
    async fn an_old_key_stays_published_unless_it_is_dropped() {
        let issuer = issuer();
        let first = issuer.token();

        let (_, kid) = ask(&issuer, "POST", &issuer.rotate_url(), "").await;
        let second = issuer.token();

        assert_eq!(decode_header(&second).unwrap().kid, Some(kid));
        assert!(claims(&issuer, &first).await.is_some());
        assert!(claims(&issuer, &second).await.is_some());

        ask(&issuer, "GET", &format!("{}?drop_old", issuer.rotate_url()), "").await;

        for (token, published) in [(&first, false), (&second, false), (&issuer.token(), true)] {
            assert_eq!(claims(&issuer, token).await.is_some(), published);
        }
    }

    #[tokio::test(flavor = "local")]
    async fn only_a_request_from_our_own_machine_mints_rotates_or_revokes() {
        let issuer = issuer();
        let origin = issuer.origin();
        let port = issuer.endpoints.port;
        let (own, named) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
        let other_port = format!("127.0.0.1:{}", port ^ 1);
        let (rebound, absolute) = (format!("evil.example:{port}"), format!("{own}."));

        for (hosts, web_origin, want) in [
            (vec![own.as_str()], None, 200),
            (vec![&named], None, 200),
            (vec![&own], Some(origin.as_str()), 403),
            (vec![&own], Some("null"), 403),
            (vec![&own], Some("https://evil.example"), 403),
            (vec![&rebound], None, 403),
            (vec![&other_port], None, 403),
            (vec![&absolute], None, 403),
            (vec!["127.0.0.1"], None, 403),
            (vec!["localhost"], None, 403),
            (vec![""], None, 403),
            (vec![], None, 403),
            (vec![&own, &own], None, 403),
        ] {
            for url in [issuer.mint_url(), issuer.rotate_url(), issuer.revoke_url()] {
                for method in [Method::GET, Method::POST] {
                    let path = url.strip_prefix(&origin).unwrap();
                    let mut request = Request::builder().method(method).uri(path);
                    for host in &hosts {
                        request = request.header(HOST, *host);
                    }
                    if let Some(web_origin) = web_origin {
                        request = request.header(ORIGIN, web_origin);
                    }
                    let (head, _) = send(&origin, request.body(Full::default()).unwrap()).await;
                    assert_eq!(head.status, want, "{hosts:?} {web_origin:?} {path}");
                }
            }
        }
    }

    #[tokio::test(flavor = "local")]
    async fn anything_else_is_refused_with_its_status() {
        let issuer = issuer();
        let mint = issuer.mint_url();
        let long = format!(r#"{{"a": "{}"}}"#, "a".repeat(MAX_BODY));
        let guessed = format!("{}/{}/mint", issuer.origin(), "0".repeat(32));

        for (method, url, body, want) in [
            ("GET", &format!("{}/", issuer.origin()), "", 404),
            ("GET", &format!("{}/mint", issuer.origin()), "", 404),
            ("GET", &guessed, "", 404),
            ("GET", &format!("{mint}/"), "", 404),
            ("PUT", &mint, "", 405),
            ("POST", &issuer.jwks_url(), "", 405),
            ("POST", &mint, "{", 400),
            ("POST", &mint, "\"sub\"", 400),
            ("GET", &format!("{mint}?ttl=soon"), "", 400),
            ("GET", &format!("{}?sid=sess_0", issuer.revoke_url()), "", 404),
            ("POST", &mint, &long, 413),
        ] {
            let (status, answer) = ask(&issuer, method, url, body.to_owned()).await;
            assert_eq!(status, want, "{method} {url}: {answer}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn a_key_set_that_did_not_change_is_not_sent_again() {
        let issuer = issuer();
        let origin = issuer.origin();
        let fetch = async |tag: &str| {
            let request = Request::get(KEY_SET).header(HOST, "any").header(IF_NONE_MATCH, tag);
            send(&origin, request.body(Full::default()).unwrap()).await.0
        };

        let first = fetch("").await;
        let tag = first.headers[ETAG].to_str().unwrap();
        let weak = fetch(&format!("\"other\", W/{tag}")).await;
        let exact = fetch(tag).await;
        issuer.rotate();
        let changed = fetch(tag).await;

        assert_eq!(first.headers[CACHE_CONTROL], "max-age=60");
        let all = [first.status, weak.status, exact.status, changed.status];
        assert_eq!(all.map(|status| status.as_u16()), [200, 304, 304, 200]);
        assert_eq!(issuer.fetches(), 4);
    }

    #[tokio::test(flavor = "local")]
    async fn a_publishable_key_names_the_host_as_clerks_do() {
        let issuer = issuer();

        let key = issuer.publishable_key();

        let host = STANDARD.decode(key.strip_prefix("pk_test_").unwrap()).unwrap();
        let host = String::from_utf8(host).unwrap();
        assert_eq!(format!("http://{host}"), format!("{}$", issuer.origin()));
        assert!(!format!("{issuer:?}").contains(&issuer.endpoints.segment));
    }
}
