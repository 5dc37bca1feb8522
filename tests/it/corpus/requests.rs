//! `authenticateRequest`: what Clerk's library makes of a request, and what a client of the whole
//! proxy sees.
//!
//! Each case is sent as it is, to a proxy with the settings that Clerk's options are here. Before
//! the proxy stands one that it trusts and that says under which scheme the client came, and behind
//! it Clerk's Backend API answers as the case has it. Held against Clerk's library are the verdict,
//! its reason, the address a browser is sent to, the cookies that are set, who the backend is told
//! is calling, and what the Backend API was asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use countersign::clock::Clock;
use countersign::config::Settings;
use countersign::core::access::{Access, Demands, Rule, Unauthenticated};
use countersign::core::credential::BearerToken;
use countersign::core::origin::OwnOrigins;
use countersign::core::route::{Case, Routes};
use countersign::core::time::UnixTime;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Response, Uri};
use serde_json::{Value, json};

use super::settings::{Places, settings};
use super::{Outcome, REQUEST, tables, text};
use crate::support::client::Answer;
use crate::support::settings::route;
use crate::support::upstream::Seen;
use crate::support::{Proxy, Upstream};

/// The path at which the instance publishes its keys.
const KEYS: &str = "/.well-known/jwks.json";

/// The identity headers, by the names that Clerk's `auth` has for them.
const IDENTITY: [(&str, &str); 10] = [
    ("tokenType", "x-clerk-token-type"),
    ("userId", "x-clerk-user-id"),
    ("sessionId", "x-clerk-session-id"),
    ("orgId", "x-clerk-org-id"),
    ("orgSlug", "x-clerk-org-slug"),
    ("orgRole", "x-clerk-org-role"),
    ("orgPermissions", "x-clerk-org-permissions"),
    ("actor", "x-clerk-actor-id"),
    ("factorVerificationAge", "x-clerk-factor-age"),
    ("sessionClaims", "x-clerk-claims"),
];

#[tokio::test(flavor = "local")]
async fn requests_end_as_clerk_ends_them_but_for_the_deviations_that_have_a_reason() {
    let mut outcome = Outcome::new(&tables::OF_REQUESTS);
    let lines = REQUEST.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines: Vec<_> = lines.collect();
    let mut scenes = BTreeMap::<String, Vec<&Value>>::new();
    for line in &lines {
        let id = text(&line["case"]["id"]);
        if !outcome.leave(&id[..1], id) {
            scenes.entry(scene_of(&line["case"])).or_default().push(line);
        }
    }

    for lines in scenes.values() {
        let scene = Scene::start(&lines[0]["case"]).await;
        for line in lines {
            let (case, id) = (&line["case"], text(&line["case"]["id"]));
            let ours = match &scene {
                Ok(scene) => scene.answer(case).await,
                Err(keys) => json!({"verdict": format!("no start: {keys}")}),
            };
            outcome.compare(&id[..1], id, &clerks(&line["clerk"]), &ours);
        }
    }
    outcome.judge();
}

/// What a case shares with others: the settings, the moment, and what Clerk answers, which a proxy
/// remembers for a while.
fn scene_of(case: &Value) -> String {
    let origin = super::settings::origin(text(&case["url"]));
    format!("{} {origin} {} {} {}", case["options"], case["now"], keys(case), case["bapi"])
}

/// The answer of whoever publishes the instance's keys.
fn keys(case: &Value) -> Value {
    let served = || json!({"json": case["jwks"]});
    case["bapi"].get("GET /v1/jwks").cloned().unwrap_or_else(served)
}

/// Two proxies with the settings of some cases, and the world around them.
struct Scene {
    upstream: Upstream,
    clerk_api: Upstream,
    /// What the Backend API answers, by method and path.
    answers: Rc<RefCell<Value>>,
    required: Proxy,
    optional: Proxy,
}

impl Scene {
    /// Starts both proxies.
    ///
    /// # Errors
    ///
    /// The settings that are refused.
    async fn start(case: &Value) -> Result<Self, String> {
        let upstream = Upstream::start().await;
        let answers = Rc::<RefCell<Value>>::default();
        let (told, keys) = (Rc::clone(&answers), keys(case));
        let clerk_api = Upstream::answering(move |seen| match path(seen) {
            KEYS => told_by(&keys),
            path => told_by(&told.borrow()[format!("{} {path}", seen.method)]),
        })
        .await;
        let places = Places {
            upstream: format!("http://{}", upstream.address),
            keys: format!("http://{}{KEYS}", clerk_api.address),
            clerk_api: format!("http://{}", clerk_api.address),
        };
        let mut settings = settings(&case["options"], text(&case["url"]), &places)?;
        // Clerk's library sends a browser back wherever it came from.
        settings.proxy.browsers.as_mut().expect("an instance").origins = OwnOrigins::default();
        let clock = Clock::fixed(UnixTime::from_secs(case["now"].as_i64().expect("seconds")));
        let start = async |access| {
            let settings = with_access(settings.clone(), access);
            Proxy::start_at(settings, clock.clone()).await
        };
        let required = start(Access::Required(Demands::default())).await;
        let optional = start(Access::Optional).await;
        Ok(Self { upstream, clerk_api, answers, required, optional })
    }

    /// Says what came of a case's request.
    async fn answer(&self, case: &Value) -> Value {
        let required = self.send(case, &self.required).await;
        let optional = self.send(case, &self.optional).await;
        let want = where_nobody_need_be_signed_in(&required, case);
        assert_eq!(optional, want, "{}, where nobody need be signed in", case["id"]);
        required
    }

    /// Sends a case's request to a proxy.
    async fn send(&self, case: &Value, proxy: &Proxy) -> Value {
        *self.answers.borrow_mut() = case["bapi"].clone();
        let url: Uri = text(&case["url"]).parse().expect("an address");
        let headers = case["headers"].as_object().expect("headers");
        let mut client = proxy.client();
        for (name, value) in headers {
            client = client.header(name, text(value));
        }
        for (name, value) in [
            ("host", url.authority().map(|it| it.as_str())),
            ("x-forwarded-proto", url.scheme_str()),
        ] {
            if !headers.contains_key(name) {
                client = client.header(name, value.expect("an address is absolute"));
            }
        }
        let method = case["method"].as_str().unwrap_or("GET").parse().expect("a method");
        let target = url.path_and_query().expect("a path").as_str();
        let answer = client.send(method, target, "").await;

        let passed = self.upstream.take();
        let asked = self.clerk_api.take();
        let asked = asked.iter().filter(|seen| path(seen) != KEYS);
        let asked: Vec<_> = asked.map(|seen| format!("{} {}", seen.method, path(seen))).collect();
        assert_eq!(passed.len(), usize::from(answer.status == 200), "{answer:?}");
        ours(&answer, passed.first(), &asked)
    }
}

fn with_access(mut settings: Settings, access: Access) -> Settings {
    let mut everything = route("/**", access.clone());
    everything.rule = Rule { unauthenticated: Unauthenticated::Challenge, ..access.into() };
    settings.proxy.routes = Routes::new(vec![everything], Case::Sensitive);
    settings
}

fn path(seen: &Seen) -> &str {
    seen.target.split('?').next().unwrap_or_default()
}

/// An answer as a case has it; what it says nothing about is not there.
fn told_by(case: &Value) -> Response<Bytes> {
    let missing = if case.is_null() { 404 } else { 200 };
    let status = case["status"].as_u64().map_or(missing, |status| status as u16);
    let body = case.get("json").map(Value::to_string);
    let body = body.or_else(|| case["text"].as_str().map(str::to_owned)).unwrap_or_default();
    Response::builder().status(status).body(body.into()).expect("an answer")
}

/// What a client of Clerk's library sees, and what the application behind it is told.
fn clerks(clerk: &Value) -> Value {
    if clerk.get("threw").or(clerk.get("toAuthThrew")).is_some() {
        return json!({"verdict": "throws"});
    }
    let (status, reason) = (text(&clerk["status"]), clerk["reason"].as_str());
    let location = &clerk["headers"]["location"];
    let is_told = status == "signed-in" && location.is_null();
    let asked = clerk["bapi_calls"].as_array().into_iter().flatten();
    json!({
        "verdict": format!("{status} {}", one_word(reason.unwrap_or_default())).trim(),
        "location": location,
        "cookies": clerk["setCookie"],
        "told": if is_told { clerks_identity(&clerk["auth"]) } else { Value::Null },
        // The keys are public here, and fetched when they are wanted and not once a request.
        "asked": asked.filter(|it| **it != "GET /v1/jwks").collect::<Vec<_>>(),
    })
}

/// Clerk's reason, its one open-ended family as the one word it is to us; what follows it stands in
/// `location`, to the letter.
fn one_word(reason: &str) -> &str {
    let expired = "session-token-expired";
    if reason.starts_with("session-token-expired-refresh-") { expired } else { reason }
}

fn clerks_identity(auth: &Value) -> Value {
    let fields = IDENTITY.iter().map(|(name, _)| match (&auth[name], *name) {
        (claims @ Value::Object(_), "sessionClaims") => (*name, claims.clone()),
        (Value::Object(actor), "actor") => (*name, actor["sub"].clone()),
        (Value::Array(items), _) => {
            let texts = items.iter().map(text).collect::<Vec<_>>();
            (*name, texts.join(", ").into())
        }
        (value, _) => (*name, value.as_str().unwrap_or_default().into()),
    });
    fields.collect()
}

/// What a client of ours sees, and what the backend is told.
fn ours(answer: &Answer, passed: Option<&Seen>, asked: &[String]) -> Value {
    let (status, reason) =
        (answer.header("x-clerk-auth-status"), answer.header("x-clerk-auth-reason"));
    let verdict = match (answer.status, status, passed) {
        (200, None, Some(seen)) if seen.header("x-clerk-principal") == Some("user") => {
            "signed-in".to_owned()
        }
        (200, None, Some(_)) => "anonymous".to_owned(),
        // A page's address without what Clerk had put into it: whoever comes to that is signed in.
        (307, None, None) => "signed-in".to_owned(),
        (307, Some("handshake"), None) | (401, Some("signed-out"), None) => {
            format!("{} {}", status.unwrap_or_default(), reason.unwrap_or_default())
        }
        (status, ..) => format!("{status} {}", answer.reason()),
    };
    let cookies =
        answer.headers.get_all("set-cookie").iter().map(|it| it.to_str().expect("a text"));
    let ours = |line: &&str| line.starts_with("__countersign_"); // counts of our own
    let cookies: Vec<_> = cookies.filter(|line| !ours(line)).collect();
    let told = passed.filter(|_| verdict == "signed-in").map(our_identity);
    let is_of_one = !cookies.is_empty() || answer.status != 200;
    let may_be_kept = answer.header("cache-control") != Some("no-store");
    assert!(!(is_of_one && may_be_kept), "nobody else is to see this: {answer:?}");
    json!({
        "verdict": verdict, "location": answer.header("location"), "cookies": cookies,
        "told": told, "asked": asked,
    })
}

fn our_identity(seen: &Seen) -> Value {
    let fields = IDENTITY.iter().map(|(name, header)| {
        let value = seen.header(header).expect("identity headers are always there");
        match *name {
            "sessionClaims" => {
                let claims = URL_SAFE_NO_PAD.decode(value).expect("base64url");
                (*name, serde_json::from_slice::<Value>(&claims).expect("JSON"))
            }
            _ => (*name, value.into()),
        }
    });
    fields.collect()
}

/// What an answer is where signed-in callers are welcome and nobody else is refused: the same,
/// but that whoever is signed out by cookies, or shows nothing, is let in as nobody.
fn where_nobody_need_be_signed_in(required: &Value, case: &Value) -> Value {
    let mut headers = HeaderMap::new();
    if let Some(value) = case["headers"]["authorization"].as_str() {
        headers.insert(AUTHORIZATION, HeaderValue::try_from(value).expect("a header value"));
    }
    let shows_bearer = !matches!(BearerToken::from_headers(&headers), Ok(None));
    let mut want = required.clone();
    if !shows_bearer && text(&required["verdict"]).starts_with("signed-out") {
        want["verdict"] = "anonymous".into();
    }
    want
}
