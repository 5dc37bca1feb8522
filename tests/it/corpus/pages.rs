//! Requests of browsers: cookies, handshakes, redirects.
//!
//! Held against Clerk's library are the verdict, its reason, the address a browser is sent to and
//! the cookies that are set. What the shell does around the decision (fetch keys, ask the Backend
//! API) is done here by hand.

use countersign::core::caller::Caller;
use countersign::core::clerk::cookies::ClerkCookies;
use countersign::core::clerk::directives::Directives;
use countersign::core::clerk::handshake::{Brought, Exchange, Next, Verdict};
use countersign::core::clerk::instance::{Instance, Payload, Satellite};
use countersign::core::clerk::organization_sync::{OrganizationSync, Pattern};
use countersign::core::clerk::public_url::{PublicUrl, origin_of};
use countersign::core::clerk::publishable_key::{Environment, PublishableKey};
use countersign::core::clerk::refresh;
use countersign::core::credential::BearerToken;
use countersign::core::issuer::{IssuerPolicy, TokenClass};
use countersign::core::jws::UnverifiedToken;
use countersign::core::reject::Reject;
use countersign::core::time::UnixTime;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::{Verdicts, keys, list, one_word, policy, text, verified_caller};

/// `authenticateRequest`, where cookies decide.
pub(super) fn page(case: &Value, clerk: &Value) -> Verdicts {
    let location = clerk["headers"].get("location").cloned().unwrap_or_default();
    let clerks = match clerk["status"].as_str() {
        Some("signed-in") => {
            json!({"in": clerk["auth"]["userId"], "location": location, "cookies": clerk["setCookie"]})
        }
        Some("handshake") => json!({
            "handshake": one_word(text(&clerk["reason"])), "location": location,
            "cookies": clerk["setCookie"],
        }),
        Some(_) => json!({"refused": one_word(text(&clerk["reason"]))}),
        None => json!({"refused": "throws"}),
    };
    Verdicts { id: text(&case["id"]).into(), clerk: clerks, ours: verdict(case), session: None }
}

fn verdict(case: &Value) -> Value {
    let options = &case["options"];
    let Some(instance) = instance(options, case) else { return json!({"refused": "settings"}) };
    let (headers, url) = (headers(case), public_url(case));
    let method: Method = case["method"].as_str().unwrap_or("GET").parse().unwrap();
    let now = UnixTime::from_secs(case["now"].as_i64().unwrap());
    let cookies = ClerkCookies::read(&headers, &instance.owner, now);
    let exchange = Exchange {
        instance: &instance,
        method: &method,
        headers: &headers,
        url: &url,
        leads_home: true,
        cookies: &cookies,
    };
    let policy = policy(options, issuers(options, &instance));
    let is_session = |token: &UnverifiedToken<'_>| {
        policy.class_of(token.header(), token.claims()) == Some(TokenClass::SessionToken)
    };
    let mut next = exchange.before(false, is_session);
    if let Next::Resolve(brought) = &next {
        match resolved(&exchange, brought, case, options, &policy) {
            Some(answer) => return answer,
            None => next = exchange.before(true, is_session),
        }
    }
    let verdict = match next {
        Next::Resolve(_) => panic!("it was resolved"),
        Next::Decided(decided) => decided.verdict,
        Next::Verify => {
            let token = cookies.session.as_deref().unwrap();
            let verified = verified_caller(token, case, options, &policy);
            match verified {
                Ok(caller) => return signed_in(&exchange, &caller, &[]),
                Err(reject) => match refreshed(&exchange, &reject, case, options, &policy) {
                    Ok((caller, lines)) => return signed_in(&exchange, &caller, &lines),
                    Err(detail) => exchange.refused(reject, &detail).verdict,
                },
            }
        }
    };
    told(&verdict)
}

fn told(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::SignedOut(reason) | Verdict::Looped(reason) => json!({"refused": reason.as_str()}),
        Verdict::Refused(reject) => json!({"refused": reject.label()}),
        Verdict::Handshake(redirect) => json!({
            "handshake": redirect.reason.as_str(), "location": redirect.location,
            "cookies": [redirect.cookie],
        }),
    }
}

fn signed_in(exchange: &Exchange<'_>, caller: &Caller, lines: &[String]) -> Value {
    let organization = caller.session.organization.as_ref();
    let active = organization.map(|org| (org.id.as_str(), org.slug.as_deref()));
    match exchange.signed_in(active) {
        None => json!({"in": caller.subject, "location": null, "cookies": lines}),
        Some(decided) => told(&decided.verdict),
    }
}

/// What a handshake has brought, looked at; nothing where the request is decided as if it had not.
fn resolved(
    exchange: &Exchange<'_>,
    brought: &Brought,
    case: &Value,
    options: &Value,
    policy: &IssuerPolicy,
) -> Option<Value> {
    let directives = match brought {
        Brought::Nonce(_) => {
            let answer = &case["bapi"]["GET /v1/clients/handshake_payload"]["json"];
            Directives::of_answer(answer.to_string().as_bytes(), "directives").unwrap_or_default()
        }
        Brought::Token(token) => {
            let token = UnverifiedToken::parse(BearerToken::of(token)).ok()?;
            let token = policy.admit(token).ok()?;
            let keys = keys(case, options).ok()?;
            let kid = token.kid();
            Directives::of_handshake(&token.verify(keys.find(kid.as_ref())).ok()?)
        }
    };
    let lines = lines(&directives);
    let location = exchange.clean_url();
    let Some(token) = directives.session_token() else {
        return Some(json!({"refused": "session-token-missing"}));
    };
    let mut verified = verified_caller(token, case, options, policy);
    if exchange.instance.is_development() && verified.as_ref().is_err_and(Reject::is_of_a_date) {
        verified = verified_caller(token, case, options, &policy.lenient());
    }
    let caller = verified.ok()?;
    Some(json!({"in": caller.subject, "location": location, "cookies": lines}))
}

fn lines(directives: &Directives) -> Vec<String> {
    directives.lines().iter().map(|line| line.to_str().unwrap().to_owned()).collect()
}

/// What came of trying to refresh a token that has expired; or the word for why there was nothing
/// to try, or nothing came of it.
fn refreshed(
    exchange: &Exchange<'_>,
    reject: &Reject,
    case: &Value,
    options: &Value,
    policy: &IssuerPolicy,
) -> Result<(Caller, Vec<String>), String> {
    let session = exchange.refreshable(reject).map_err(|why| why.as_str().to_owned())?;
    let answer = &case["bapi"][format!("POST /v1/sessions/{session}/refresh")];
    let status = answer["status"].as_u64().unwrap_or(200) as u16;
    let body = answer.get("json").map(Value::to_string);
    let body = body.or_else(|| Some(answer["text"].as_str()?.to_owned())).unwrap_or_default();
    let directives =
        refresh::answer(status, body.as_bytes()).map_err(|why| why.as_str().to_owned())?;
    let token = directives.session_token().unwrap();
    let caller = verified_caller(token, case, options, policy);
    let caller = caller.map_err(|_| refresh::Failure::InvalidSessionToken.as_str().to_owned())?;
    Ok((caller, lines(&directives)))
}

fn headers(case: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in case["headers"].as_object().unwrap() {
        let value = value.as_str().unwrap().trim();
        headers.insert(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

/// The address as the browser has it, where every proxy before us is trusted.
fn public_url(case: &Value) -> PublicUrl {
    let (scheme, rest) = text(&case["url"]).split_once("://").unwrap();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    let first = |name: &str| {
        let value = case["headers"].get(name)?.as_str()?;
        Some(value.split(',').next()?.trim().to_owned())
    };
    let host = first("x-forwarded-host").unwrap_or_else(|| host.to_owned());
    let scheme = first("x-forwarded-proto").unwrap_or_else(|| scheme.to_owned());
    let raw = || text(&case["url"])[..scheme_end(case) + end].to_owned();
    let origin = origin_of(&format!("{scheme}://{host}")).unwrap_or_else(raw);
    PublicUrl { prefix: String::new(), origin, target: target.to_owned() }
}

fn scheme_end(case: &Value) -> usize {
    text(&case["url"]).find("://").unwrap() + 3
}

/// Makes our settings of Clerk's options; nothing where ours would not start with them.
fn instance(options: &Value, case: &Value) -> Option<Instance> {
    let key = PublishableKey::parse(options["publishableKey"].as_str()?).ok()?;
    let has_secret = options["secretKey"].as_str().is_some_and(|key| !key.is_empty());
    let payload = if has_secret { Payload::Nonce } else { Payload::Token };
    let mut instance = Instance::of(&key, payload);
    let is_satellite = options["isSatellite"] == true;
    let domain = options["domain"].as_str().filter(|domain| !domain.is_empty());
    if is_satellite {
        let auto_sync = options["satelliteAutoSync"] == true;
        instance.satellite = Some(Satellite { auto_sync });
        if let (Some(domain), Environment::Production) = (domain, key.environment()) {
            instance.frontend_api = format!("https://clerk.{domain}");
            instance.owner.issuer_host = format!("clerk.{domain}");
        }
    }
    if let Some(url) = options["proxyUrl"].as_str() {
        let url = url.trim_end_matches('/');
        instance.frontend_api = if url.starts_with('/') {
            format!("{}{url}", public_url(case).origin)
        } else {
            url.into()
        };
    }
    if let Some(url) = options["signInUrl"].as_str() {
        instance.sign_in_url = url.to_owned();
    }
    let sync = &options["organizationSyncOptions"];
    let patterns =
        |name: &str| list(&sync[name]).iter().map(|it| Pattern::parse(it).unwrap()).collect();
    instance.organizations = OrganizationSync {
        organizations: patterns("organizationPatterns"),
        personal: patterns("personalAccountPatterns"),
    };
    Some(instance)
}

/// Who may have issued a session token: the instance, under each of its names.
fn issuers(options: &Value, instance: &Instance) -> Vec<String> {
    let key = PublishableKey::parse(text(&options["publishableKey"])).unwrap();
    let mut issuers = vec![key.frontend_api()];
    issuers.push(format!("https://{}", instance.owner.issuer_host));
    issuers.push(instance.frontend_api.clone());
    issuers
}
