//! Where a token may stand, what it must say, and for how long it is good.

use countersign::clock::Clock;
use countersign::core::claims::AzpPolicy;
use countersign::core::issuer::Impersonation;
use countersign::core::time::UnixTime;
use serde_json::{Value, json};

use crate::support::settings::{clerk_policy, session_claims};
use crate::support::{Answer, Issuer, Proxy, Upstream, client, settings};

/// The time at which every test here begins, in seconds since 1970.
const NOW: i64 = 1_700_000_000;

fn clock() -> Clock {
    Clock::fixed(UnixTime::from_secs(NOW))
}

/// `Bearer` with this token, once.
async fn with(proxy: &Proxy, token: &str) -> (u16, String) {
    let answer = proxy.get("/", token).await;
    (answer.status, answer.reason())
}

#[tokio::test(flavor = "local")]
async fn a_token_stands_after_bearer_and_one_space() {
    let clock = clock();
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(settings(&issuer, &upstream), clock).await;
    let token = issuer.token();
    let missing = "session-token-and-uat-missing";

    // `@` is a good token.
    for (lines, status, reason) in [
        (&["Bearer @"][..], 200, ""),
        (&["bearer @"], 200, ""),
        (&["BEARER @"], 200, ""),
        (&["Bearer @ "], 200, ""), // space around a value is not part of it
        (&[" Bearer @"], 200, ""),
        (&["Bearer"], 401, "token-invalid"),
        (&["Bearer "], 401, "token-invalid"),
        (&["Bearer  @"], 401, "token-invalid"),
        (&["Bearer\tT"], 401, "token-invalid"),
        (&["Bearer @ junk"], 401, "token-invalid"),
        (&["Bearer @, Bearer @"], 401, "token-invalid"),
        (&["Bearer @,@"], 401, "token-invalid"),
        (&["Bearer \"@\""], 401, "token-invalid"),
        (&["Bearer @="], 200, ""), // padding, as Clerk takes it
        (&["Bearer @."], 401, "token-invalid"),
        (&["Bearer @@"], 401, "token-invalid"),
        (&["Bearer junk"], 401, "token-invalid"),
        (&[], 401, missing),
        (&[""], 401, missing),
        (&["@"], 401, missing),
        (&["Bearer@"], 401, missing),
        (&["Bearer=@"], 401, missing),
        (&["Bearer:@"], 401, missing),
        (&["Basic Zm9vOmJhcg=="], 401, missing),
        (&["Basic Zm9vOmJhcg==, Bearer @"], 401, missing),
        (&["Foo Bearer @"], 401, missing),
        (&["{\"jwt\":\"Bearer @\"}"], 401, missing),
        (&["DPoP @"], 401, missing),
        (&["Token @"], 401, missing),
        (&["Negotiate"], 401, missing),
        (&["Bearer @", "Bearer @"], 400, "credential-repeated"),
        (&["Bearer @", "Bearer junk"], 400, "credential-repeated"),
        (&["Bearer junk", "Bearer @"], 400, "credential-repeated"),
        (&["Basic Zm9vOmJhcg==", "Bearer @"], 400, "credential-repeated"),
        (&["", "Bearer @"], 400, "credential-repeated"),
    ] {
        let before = upstream.seen().len();
        let lines: String = lines.iter().map(|it| format!("Authorization: {it}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
        let answer = proxy.raw(head.replace('@', &token)).await;

        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{lines:?}");
        let challenge = match (status, reason) {
            (200, _) => None,
            (400, _) => Some(r#"Bearer realm="countersign", error="invalid_request""#),
            (_, "token-invalid") => Some(r#"Bearer realm="countersign", error="invalid_token""#),
            _ => Some(r#"Bearer realm="countersign""#),
        };
        assert_eq!(answer.header("www-authenticate"), challenge, "{lines:?}");
        assert_eq!(upstream.seen().len() - before, usize::from(status == 200), "{lines:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_token_anywhere_else_is_no_credential() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let token = issuer.token();

    for (name, value) in [
        ("proxy-authorization", "Bearer T"),
        ("x-authorization", "Bearer T"),
        ("x-forwarded-authorization", "Bearer T"),
        ("authorization_", "Bearer T"),
        ("sec-websocket-protocol", "bearer, T"),
        ("x-http-method-override", "OPTIONS"),
        ("x-middleware-subrequest", "middleware"),
        ("x-clerk-auth-status", "signed-in"),
        ("user-agent", "kube-probe/1.30"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-original-url", "/public"),
    ] {
        let client = proxy.client().header(name, &value.replace('T', &token));
        let answer = client.get("/").await;
        assert_eq!(answer.reason(), "session-token-and-uat-missing", "{name}");
    }
    let in_the_query = proxy.client().get(&format!("/?access_token={token}")).await;
    assert_eq!(in_the_query.reason(), "session-token-and-uat-missing");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_token_must_say_what_a_session_token_says() {
    let clock = clock();
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(settings(&issuer, &upstream), clock).await;
    let near = issuer.origin();

    for (claims, reason) in [
        (json!({}), ""),
        // Both sides of each edge; the leeway is 5 s.
        (json!({"exp": NOW - 4}), ""),
        (json!({"exp": NOW - 5}), "session-token-expired"),
        (json!({"exp": 0}), "session-token-expired"),
        (json!({"exp": -1}), "session-token-expired"),
        (json!({"exp": NOW as f64 - 4.1}), "session-token-expired"), // cut off, as Clerk does
        (json!({"nbf": NOW + 5}), ""),
        (json!({"nbf": NOW + 6}), "session-token-nbf"),
        (json!({"nbf": null}), ""),
        (json!({"iat": NOW + 5}), ""),
        (json!({"iat": NOW + 6}), "session-token-iat-in-the-future"),
        (json!({"iat": null}), ""),
        (json!({"exp": NOW + 86_400}), ""),
        (json!({"exp": NOW + 86_401}), "token-lifetime-exceeded"),
        (json!({"exp": NOW + 86_401, "iat": null}), "token-lifetime-exceeded"),
        (json!({"exp": i64::MAX}), "token-lifetime-exceeded"),
        (json!({"exp": u64::MAX}), "token-lifetime-exceeded"),
        (json!({"exp": 1e300}), "token-lifetime-exceeded"),
        (json!({"exp": null}), "token-verification-failed"),
        (json!({"exp": "1700000060"}), "token-verification-failed"),
        (json!({"nbf": "1"}), "token-verification-failed"),
        // Who issued it, to the letter.
        (json!({"iss": "https://evil.example"}), "token-invalid-issuer"),
        (json!({"iss": null}), "token-invalid-issuer"),
        (json!({"iss": 5}), "token-invalid-issuer"),
        (json!({"iss": [near]}), "token-invalid-issuer"),
        (json!({"iss": format!("{near}/")}), "token-invalid-issuer"),
        (json!({"iss": near.to_uppercase()}), "token-invalid-issuer"),
        (json!({"iss": near[..near.len() - 1]}), "token-invalid-issuer"),
        // Whom it was given to.
        (json!({"azp": "http://localhost:3000"}), ""),
        (json!({"azp": null}), ""),
        (json!({"azp": ""}), "token-invalid-authorized-parties"),
        (json!({"azp": []}), "token-invalid-authorized-parties"),
        (json!({"azp": 5}), "token-invalid-authorized-parties"),
        (json!({"azp": "http://localhost:3000/"}), "token-invalid-authorized-parties"),
        (json!({"azp": "HTTP://localhost:3000"}), "token-invalid-authorized-parties"),
        (json!({"azp": "https://evil.localhost:3000"}), "token-invalid-authorized-parties"),
        // Whose it is.
        (json!({"sub": null}), "token-verification-failed"),
        (json!({"sub": ""}), "token-verification-failed"),
        (json!({"sub": 5}), "token-verification-failed"),
        (json!({"sid": null}), "token-type-mismatch"),
        (json!({"sid": ""}), "token-type-mismatch"),
        (json!({"sub": "mch_1"}), "token-type-mismatch"),
        (json!({"sts": "pending"}), "session-pending"),
        (json!({"act": {"sub": "user_admin"}}), ""),
        (json!({"aud": "https://other.example"}), ""), // no audience is asked for
        // What kind of token it is.
        (json!({"$header": {"cat": "cl_B7d4PD222AAA"}}), "token-type-mismatch"),
        (json!({"$header": {"cat": "cl_B7d4PD333AAA"}}), "token-type-mismatch"),
        (json!({"$header": {"cat": "zzz"}}), "token-type-mismatch"),
        (json!({"$header": {"cat": "cl_I7d4PD111III"}}), ""),
        (json!({"$header": {"cat": null}}), ""),
        (json!({"$header": {"typ": "at+jwt"}}), "token-type-mismatch"),
        (json!({"$header": {"typ": "logout+jwt"}}), "token-invalid"),
        (json!({"$header": {"typ": "jwt"}}), "token-invalid"),
        (json!({"$header": {"typ": 5}}), "token-invalid"),
        (json!({"$header": {"typ": null}}), ""),
        (json!({"$header": {"crit": ["exp"]}}), "token-invalid"),
        (json!({"$header": {"crit": []}}), "token-invalid"),
        (json!({"$header": {"b64": false, "crit": ["b64"]}}), "token-invalid"),
        (json!({"$header": {"oiat": NOW, "foo": {}}}), ""), // Clerk may add headers
        (json!({"$header": {"jku": "https://evil.example/k"}}), ""), // and is not asked there
        (json!({"$header": {"alg": "none"}}), "token-invalid-algorithm"),
        (json!({"$header": {"alg": "HS256"}}), "token-invalid-algorithm"),
        (json!({"$header": {"alg": "rs256"}}), "token-invalid-algorithm"),
        (json!({"$header": {"alg": ["RS256"]}}), "token-invalid-algorithm"),
        (json!({"$header": {"alg": null}}), "token-invalid-algorithm"),
        (json!({"$header": {"alg": "RS512"}}), "token-verification-failed"), // not the key's
        (json!({"$header": {"kid": null}}), "jwk-kid-mismatch"),
        (json!({"$header": {"kid": 1}}), "jwk-kid-mismatch"),
        (json!({"$header": {"kid": "../../../dev/null"}}), "jwk-kid-mismatch"),
        (json!({"$header": {"kid": "a\r\nlevel=info"}}), "jwk-kid-mismatch"),
        (json!({"$header": {"kid": "x".repeat(8000)}}), "jwk-kid-mismatch"),
        // What else it says changes nothing.
        (json!({"__proto__": {"a": 1}, "constructor": 1, "role": {"admin": true}}), ""),
    ] {
        let before = upstream.seen().len();
        let got = with(&proxy, &issuer.mint(claims.clone())).await;
        let status = if reason.is_empty() { 200 } else { 401 };
        assert_eq!(got, (status, reason.to_owned()), "{claims}");
        assert_eq!(upstream.seen().len() - before, usize::from(status == 200), "{claims}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_audience_that_is_asked_for_must_be_there() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    session_claims(&mut settings).audience = Some(vec!["https://api.example".into()]);
    let proxy = Proxy::start(settings).await;

    for (aud, status) in [
        (json!("https://api.example"), 200),
        (json!(["https://other.example", "https://api.example"]), 200),
        (json!(null), 401),
        (json!(""), 401),
        (json!([]), 401),
        (json!([""]), 401),
        (json!([1, "https://api.example"]), 401),
        (json!({}), 401),
        (json!("https://api.example.evil"), 401),
        (json!("HTTPS://API.EXAMPLE"), 401),
        (json!("x https://api.example"), 401),
    ] {
        let got = with(&proxy, &issuer.mint(json!({"aud": aud}))).await;
        let reason = if status == 200 { "" } else { "token-verification-failed" };
        assert_eq!(got, (status, reason.to_owned()), "{aud}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_missing_party_is_refused_where_the_settings_say_so() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    for (azp, missing, wrong) in
        [(AzpPolicy::Auto, 200, 401), (AzpPolicy::Enforce, 401, 401), (AzpPolicy::Off, 200, 200)]
    {
        let mut settings = settings(&issuer, &upstream);
        session_claims(&mut settings).azp = azp;
        let proxy = Proxy::start(settings).await;

        let got = with(&proxy, &issuer.mint(json!({"azp": null}))).await.0;
        assert_eq!(got, missing, "{azp:?}: missing");
        let got = with(&proxy, &issuer.mint(json!({"azp": "https://evil.example"}))).await.0;
        assert_eq!(got, wrong, "{azp:?}: wrong");
    }
}

#[tokio::test(flavor = "local")]
async fn who_impersonates_a_user_is_told_or_refused() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let allowing = settings(&issuer, &upstream);
    let mut refusing = allowing.clone();
    clerk_policy(&mut refusing).impersonation = Impersonation::Refuse;
    let (allowing, refusing) = (Proxy::start(allowing).await, Proxy::start(refusing).await);

    for (act, actor) in [
        (json!({"sub": "user_admin"}), "user_admin"),
        (json!({"iss": "x"}), ""),
        (json!("user_admin"), ""),
    ] {
        let token = issuer.mint(json!({"sub": "user_1", "act": act}));
        assert_eq!(with(&allowing, &token).await.0, 200, "{act}");
        let seen = upstream.last();
        assert_eq!(seen.header("x-clerk-user-id"), Some("user_1"), "{act}");
        assert_eq!(seen.header("x-clerk-actor-id"), Some(actor), "{act}");
        let refused = with(&refusing, &token).await;
        assert_eq!(refused, (403, "impersonation-refused".to_owned()), "{act}");
    }
    assert_eq!(with(&refusing, &issuer.token()).await.0, 200);
}

/// The token with one letter of its signature changed.
fn forged(token: &str) -> String {
    let place = token.len() - 20;
    let other = if &token[place..=place] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..place], &token[place + 1..])
}

/// Everything an answer says but its request id and the second it was made in.
fn said(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let varies = ["x-request-id", "date"];
    let headers = answer.headers.iter().filter(|(name, _)| !varies.contains(&name.as_str()));
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut body = answer.json();
    assert!(body["request_id"].take().is_string());
    (answer.status, headers, body)
}

#[tokio::test(flavor = "local")]
async fn what_a_forged_token_says_makes_no_difference() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    let plain = said(&proxy.get("/", &forged(&issuer.token())).await);
    assert_eq!(plain.2["reason"], "token-invalid-signature");
    for claims in [
        json!({"exp": 1}),
        json!({"nbf": 9_999_999_999_i64}),
        json!({"aud": "https://other.example"}),
        json!({"azp": "https://evil.example"}),
        json!({"sub": null}),
        json!({"sid": null}),
        json!({"sts": "pending"}),
    ] {
        let answer = proxy.get("/", &forged(&issuer.mint(claims.clone()))).await;
        assert_eq!(said(&answer), plain, "{claims}");
    }
    // But for `iss`, which chooses the keys: nobody's tokens are verified with anybody's.
    let foreign = forged(&issuer.mint(json!({"iss": "https://evil.example"})));
    assert_eq!(proxy.get("/", &foreign).await.reason(), "token-invalid-issuer");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_remembered_token_is_good_as_long_as_it_says() {
    let clock = clock();
    let issuer = Issuer::start(clock.clone()).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_with(settings(&issuer, &upstream), clock.clone()).await;
    let token = issuer.token(); // nbf −10 s, exp +60 s
    assert_eq!(with(&proxy, &token).await.0, 200);

    for (second, reason) in [
        (0, ""),
        (64, ""),
        (65, "session-token-expired"),
        (3600, "session-token-expired"),
        (-5, ""),
        (-6, "session-token-iat-in-the-future"),
        (-16, "session-token-nbf"),
        (10, ""),
    ] {
        clock.set(UnixTime::from_secs(NOW + second));
        assert_eq!(with(&proxy, &token).await.1, reason, "at {second} s");
    }
    let verified = r#"countersign_auth_duration_seconds_count{source="verified"}"#;
    assert_eq!(proxy.metric(verified).await, 1.0, "every other time it was remembered");
}

#[tokio::test(flavor = "local")]
async fn another_signature_under_a_remembered_token_is_verified() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let token = issuer.token();

    for _ in 0..2 {
        assert_eq!(with(&proxy, &token).await.0, 200);
        let got = with(&proxy, &forged(&token)).await;
        assert_eq!(got, (401, "token-invalid-signature".to_owned()));
        let cut = &token[..token.rfind('.').unwrap() + 1];
        assert_eq!(with(&proxy, cut).await.0, 401, "no signature");
    }
}

#[tokio::test(flavor = "local")]
async fn each_token_of_a_user_keeps_what_it_says() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let token = |role: &str| issuer.mint(json!({"o": {"id": "org_1", "slg": "a", "rol": role}}));
    let (admin, member) = (token("admin"), token("member"));

    for _ in 0..3 {
        for (token, role) in [(&admin, "org:admin"), (&member, "org:member")] {
            assert_eq!(with(&proxy, token).await.0, 200);
            assert_eq!(upstream.last().header("x-clerk-org-role"), Some(role));
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_token_over_the_limit_is_not_taken_apart() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    settings.proxy.limits.token = 2048;
    let proxy = Proxy::start(settings).await;

    let of = |bytes: usize| issuer.mint(json!({"pad": "x".repeat(bytes)}));
    let length = of(0).len();
    let longest = (2048 - length) * 3 / 4 - 3;
    assert_eq!(with(&proxy, &of(longest)).await.0, 200);
    assert_eq!(with(&proxy, &of(longest + 10)).await, (401, "token-invalid".to_owned()));
}

#[tokio::test(flavor = "local")]
async fn a_refused_body_is_neither_asked_for_nor_read() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let inner =
        format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", issuer.token());

    for (framing, body) in [
        ("Expect: 100-continue\r\nContent-Length: 1073741824", ""),
        (&format!("Content-Length: {}", inner.len()), inner.as_str()),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}");
        let answers = client::raw(&proxy.address, head.as_bytes()).await;

        assert!(answers.starts_with("HTTP/1.1 401 "), "{framing}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{framing}: {answers}");
        assert!(answers.contains("connection: close"), "{framing}: {answers}");
    }
    assert!(upstream.seen().is_empty());
}
