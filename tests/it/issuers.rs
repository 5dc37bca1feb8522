//! Several issuers, and several classes of tokens of one: whose keys verify what, and for whom.

use countersign::clock::Clock;
use countersign::config::{IssuerSettings, Settings};
use countersign::core::claims::AzpPolicy;
use countersign::core::identity::{Field, IdentityPolicy, PROFILE_CLAIMS, Source};
use countersign::core::issuer::{IssuerPolicy, TokenPolicy};
use countersign::core::jwk::Algorithms;
use countersign::core::jwk_set::KeyNames;
use countersign::keys::{KeySettings, KeySource};
use http::HeaderName;
use serde_json::{Value, json};

use crate::support::key_server::{KeyServer, Reply, published_by};
use crate::support::settings::{claims, clerk_policy};
use crate::support::{Answer, Issuer, Proxy, Upstream, settings, until};

/// A name that both issuers give their key.
const SAME: &str = "ins_same";

/// An OIDC issuer beside Clerk, whose tokens have to be for `audience`.
fn oidc(issuer: &Issuer, source: KeySource, audience: &str) -> IssuerSettings {
    let mut claims = claims();
    claims.parties = Vec::new();
    claims.azp = AzpPolicy::Off;
    claims.audience = Some(vec![audience.to_owned()]);
    let algorithms = Algorithms::ALL;
    let name = issuer.origin();
    IssuerSettings {
        policy: IssuerPolicy {
            names: vec![name.clone()],
            algorithms,
            tokens: TokenPolicy::Oidc(claims),
        },
        keys: KeySettings {
            issuer: name,
            source,
            algorithms,
            names: KeyNames::Optional,
            max_stale: KeySettings::MAX_STALE,
        },
    }
}

/// A server of the issuer's keys, every one of them called [`SAME`].
async fn renamed(issuer: &Issuer) -> KeyServer {
    let mut set: Value = serde_json::from_str(&published_by(issuer).await).unwrap();
    for key in set["keys"].as_array_mut().unwrap() {
        key["kid"] = SAME.into();
    }
    KeyServer::start(Reply::json(&set.to_string())).await
}

/// The identity headers there are, and those of whom they are told with several issuers.
fn with_issuer(settings: &mut Settings) {
    let fields = Field::DEFAULT.into_iter().chain([Field::Issuer, Field::Subject]);
    let named = fields.map(|field| {
        (HeaderName::try_from(format!("x-clerk-{}", field.name())).unwrap(), Source::Field(field))
    });
    settings.proxy.identity = IdentityPolicy::new(named.collect());
}

fn verdict(answer: &Answer) -> String {
    if answer.status == 200 { "200".to_owned() } else { answer.reason() }
}

#[tokio::test(flavor = "local")]
async fn keys_of_one_issuer_never_verify_a_token_of_another_whatever_they_are_called() {
    let (clerk, other) = (Issuer::start(Clock::System), Issuer::start(Clock::System));
    let (clerk, other) = (clerk.unwrap(), other.unwrap());
    let (clerk_keys, other_keys) = (renamed(&clerk).await, renamed(&other).await);
    let upstream = Upstream::start().await;
    let mut settings = settings(&clerk, &upstream);
    settings.issuers[0].keys.source = clerk_keys.source();
    settings.issuers.push(oidc(&other, other_keys.source(), "api"));
    with_issuer(&mut settings);
    let proxy = Proxy::start(settings).await;

    // What a token says, and who signs it.
    let session = json!({"iss": clerk.origin(), "$header": {"kid": SAME}});
    let id_token = json!({
        "iss": other.origin(), "aud": "api", "sid": null, "azp": "a-client", "sub": "user_1",
        "$header": {"kid": SAME, "cat": null},
    });
    let with = |claims: &Value, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    for (what, by, claims, want) in [
        ("Clerk's, by Clerk", &clerk, &session, "200"),
        ("the other's, by the other", &other, &id_token, "200"),
        ("Clerk's, by the other", &other, &session, "token-invalid-signature"),
        ("the other's, by Clerk", &clerk, &id_token, "token-invalid-signature"),
        (
            "nobody's, by Clerk",
            &clerk,
            &with(&session, "iss", json!("https://evil.example")),
            "token-invalid-issuer",
        ),
        ("no one's, by Clerk", &clerk, &with(&session, "iss", json!(null)), "token-invalid-issuer"),
        (
            "the other's, for another audience",
            &other,
            &with(&id_token, "aud", json!("web")),
            "token-verification-failed",
        ),
        (
            "the other's, without an audience",
            &other,
            &with(&id_token, "aud", json!(null)),
            "token-verification-failed",
        ),
        ("the other's, expired", &other, &with(&id_token, "exp", json!(1)), "token-expired"),
        (
            "the other's, an access token",
            &other,
            &with(&id_token, "$header", json!({"kid": SAME, "typ": "at+jwt"})),
            "200",
        ),
        (
            "the other's, made to log out with",
            &other,
            &with(&id_token, "$header", json!({"kid": SAME, "typ": "logout+jwt"})),
            "token-invalid",
        ),
    ] {
        // Twice: the second time it is remembered.
        let token = by.mint(claims.clone());
        for _ in 0..2 {
            assert_eq!(verdict(&proxy.get("/", &token).await), want, "{what}");
        }
    }
    let fetches = (clerk_keys.fetches(), other_keys.fetches());
    assert_eq!(fetches, (2, 2), "one at the start, one for signatures that are another's");
}

/// A server of the issuer's keys, without their names.
async fn nameless(issuer: &Issuer) -> KeyServer {
    let mut set: Value = serde_json::from_str(&published_by(issuer).await).unwrap();
    for key in set["keys"].as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("kid");
    }
    KeyServer::start(Reply::json(&set.to_string())).await
}

#[tokio::test(flavor = "local")]
async fn keys_and_tokens_of_an_oidc_issuer_need_no_name_and_those_of_clerk_do() {
    let (clerk, other) = (Issuer::start(Clock::System), Issuer::start(Clock::System));
    let (clerk, other) = (clerk.unwrap(), other.unwrap());
    other.rotate(); // two keys, of which the second signs
    let upstream = Upstream::start().await;
    let named = KeyServer::start(Reply::json(&published_by(&other).await)).await;
    let nameless = nameless(&other).await;

    // What a token says of its key, and what comes of it where keys have names and where not.
    for (kid, with_names, without) in [
        (Some(json!(null)), "200", "200"), // taken off
        (None, "200", "jwk-kid-mismatch"),
        (Some(json!("another")), "jwk-kid-mismatch", "jwk-kid-mismatch"),
        (Some(json!("")), "jwk-kid-mismatch", "jwk-kid-mismatch"),
        (Some(json!(5)), "jwk-kid-mismatch", "jwk-kid-mismatch"),
    ] {
        for (server, want) in [(&named, with_names), (&nameless, without)] {
            let mut settings = settings(&clerk, &upstream);
            settings.issuers.push(oidc(&other, server.source(), "api"));
            let proxy = Proxy::start(settings).await;
            let fetched = server.fetches();
            let header = kid.as_ref().map_or(json!({}), |kid| json!({ "kid": kid }));
            let claims = json!({"aud": "api", "sid": null, "azp": "a-client", "$header": header});
            let token = other.mint(claims);
            for _ in 0..2 {
                let answer = proxy.get("/", &token).await;
                assert_eq!(verdict(&answer), want, "{kid:?}");
            }
            // A name that could be one is looked for once; for all else nothing is fetched.
            let fetches =
                u64::from(want != "200" && kid.as_ref().is_none_or(|it| *it == "another"));
            assert_eq!(server.fetches() - fetched, fetches, "{kid:?}");

            let of_clerk = clerk.mint(json!({"$header": {"kid": null}}));
            assert_eq!(verdict(&proxy.get("/", &of_clerk).await), "jwk-kid-mismatch");
        }
    }

    // Who signs with another's key is not among those who may have.
    let mut settings = settings(&clerk, &upstream);
    settings.issuers.push(oidc(&other, nameless.source(), "api"));
    let proxy = Proxy::start(settings).await;
    let fetched = nameless.fetches();
    let forged = clerk.mint(json!({
        "iss": other.origin(), "aud": "api", "sid": null, "azp": "a-client",
        "$header": {"kid": null},
    }));
    assert_eq!(verdict(&proxy.get("/", &forged).await), "token-invalid-signature");
    assert_eq!(nameless.fetches(), fetched, "a token that names no key has none fetched");
}

#[tokio::test(flavor = "local")]
async fn another_issuers_caller_is_told_with_the_issuer_and_as_no_user_of_clerks() {
    let (clerk, other) = (Issuer::start(Clock::System), Issuer::start(Clock::System));
    let (clerk, other) = (clerk.unwrap(), other.unwrap());
    let upstream = Upstream::start().await;
    let mut settings = settings(&clerk, &upstream);
    let keys = KeyServer::start(Reply::json(&published_by(&other).await)).await;
    settings.issuers.push(oidc(&other, keys.source(), "api"));
    with_issuer(&mut settings);
    let proxy = Proxy::start(settings).await;

    let token = other.mint(json!({"aud": "api", "sub": "user_1"}));
    assert_eq!(proxy.get("/", &token).await.status, 200);
    let seen = upstream.last();
    let told = |name: &str| seen.header(&format!("x-clerk-{name}")).unwrap().to_owned();
    assert_eq!(told("principal"), "user");
    assert_eq!(told("token-type"), "oidc");
    assert_eq!((told("issuer"), told("subject")), (other.origin(), "user_1".to_owned()));
    for empty in ["user-id", "session-id", "org-id", "org-role", "org-permissions"] {
        assert_eq!(told(empty), "", "{empty}");
    }
    assert!(
        proxy.logged().contains(&format!(r#""token_type":"oidc","iss":"{}""#, other.origin()))
            || proxy.logged().contains(r#""token_type":"oidc""#)
    );

    assert_eq!(proxy.get("/", &clerk.token()).await.status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-clerk-issuer"), Some(&*clerk.origin()));
    assert_eq!(seen.header("x-clerk-subject"), seen.header("x-clerk-user-id"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_issuer_that_is_down_hurts_nobody_elses_tokens() {
    let (clerk, other) = (Issuer::start(Clock::System), Issuer::start(Clock::System));
    let (clerk, other) = (clerk.unwrap(), other.unwrap());
    let upstream = Upstream::start().await;
    let mut settings = settings(&clerk, &upstream);
    let keys = KeyServer::start(Reply::Silence).await;
    settings.issuers.push(oidc(&other, keys.source(), "api"));
    let proxy = Proxy::start(settings).await;

    let foreign = other.mint(json!({"aud": "api"}));
    assert_eq!(proxy.admin("/readyz").await.status, 200, "one issuer's keys are enough");
    let answer = proxy.get("/", &foreign).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "keys-unavailable"));
    assert_eq!(proxy.get("/", &clerk.token()).await.status, 200);
    assert_eq!(clerk.fetches(), 1, "what the other's keys need is not asked of Clerk");

    keys.reply(Reply::json(&published_by(&other).await));
    until("the other's keys are there", async || proxy.get("/", &foreign).await.status == 200)
        .await;
}

/// The claims of Clerk's template for Convex, as it makes them.
fn convex() -> Value {
    json!({
        "$header": {"cat": "cl_B7d4PD222AAA"},
        "aud": "convex", "sid": null, "v": null, "pla": null, "fea": null, "sts": null,
        "fva": null, "o": null,
        "email": "jane@example.com", "email_verified": true, "name": "Jane Dö",
        "given_name": "Jane", "family_name": "Dö", "nickname": "jd",
        "picture": "https://img.clerk.com/x?y=z", "updated_at": 1_700_000_000,
        "phone_number": "+441632960960", "phone_number_verified": false,
    })
}

#[tokio::test(flavor = "local")]
async fn a_template_token_is_good_where_that_is_accepted_and_for_its_audience_alone() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let refusing = settings(&issuer, &upstream);
    let mut accepting = refusing.clone();
    let mut templates = claims();
    templates.audience = Some(vec!["convex".to_owned()]);
    clerk_policy(&mut accepting).templates = Some(templates);
    let mut only = accepting.clone();
    clerk_policy(&mut only).sessions = None;
    let (refusing, accepting, only) =
        (Proxy::start(refusing).await, Proxy::start(accepting).await, Proxy::start(only).await);

    let with = |name: &str, value: Value| {
        let mut claims = convex();
        claims[name] = value;
        issuer.mint(claims)
    };
    for (what, token, by_default, both, templates_only) in [
        ("a session", issuer.token(), "200", "200", "token-type-mismatch"),
        ("Convex's template", with("x", json!(1)), "token-type-mismatch", "200", "200"),
        (
            "a template for somebody else",
            with("aud", json!("hasura")),
            "token-type-mismatch",
            "token-verification-failed",
            "token-verification-failed",
        ),
        (
            "a template for nobody",
            with("aud", json!(null)),
            "token-type-mismatch",
            "token-verification-failed",
            "token-verification-failed",
        ),
        (
            "a template that has expired",
            with("exp", json!(1)),
            "token-type-mismatch",
            "token-expired",
            "token-expired",
        ),
        (
            "a template that was given to a stranger",
            with("azp", json!("https://evil.example")),
            "token-type-mismatch",
            "token-invalid-authorized-parties",
            "token-invalid-authorized-parties",
        ),
        (
            "an older instance's template",
            with("$header", json!({"cat": null})),
            "token-type-mismatch",
            "200",
            "200",
        ),
        (
            "a machine's token",
            with("$header", json!({"cat": "cl_B7d4PD333AAA"})),
            "token-type-mismatch",
            "token-type-mismatch",
            "token-type-mismatch",
        ),
    ] {
        for (proxy, want) in [(&refusing, by_default), (&accepting, both), (&only, templates_only)]
        {
            assert_eq!(verdict(&proxy.get("/", &token).await), want, "{what}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn convexs_template_arrives_complete() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    let mut templates = claims();
    templates.audience = Some(vec!["convex".to_owned()]);
    clerk_policy(&mut settings).templates = Some(templates);
    let fields = [Field::Principal, Field::TokenType, Field::UserId, Field::SessionId];
    let fields = fields.into_iter().chain([Field::Issuer, Field::Subject]);
    let fields = fields.map(|field| (field.name().to_owned(), Source::Field(field)));
    let profile = PROFILE_CLAIMS.into_iter();
    let profile = profile.map(|it| (it.replace('_', "-"), Source::Claim(format!("/{it}"))));
    let headers = fields.chain(profile);
    let headers = headers.map(|(name, it)| (format!("x-clerk-{name}").parse().unwrap(), it));
    settings.proxy.identity = IdentityPolicy::new(headers.collect());
    let proxy = Proxy::start(settings).await;

    assert_eq!(proxy.get("/", &issuer.mint(convex())).await.status, 200);
    let (seen, origin) = (upstream.last(), issuer.origin());
    for (name, want) in [
        ("principal", "user"),
        ("token-type", "jwt_template"),
        ("user-id", "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR"),
        ("session-id", ""),
        ("issuer", &origin),
        ("subject", "user_2xHq6uHb8KkM3nQs5VxY7zCeGjR"),
        ("email", "jane%40example.com"),
        ("email-verified", "true"),
        ("name", "Jane%20D%C3%B6"),
        ("given-name", "Jane"),
        ("family-name", "D%C3%B6"),
        ("nickname", "jd"),
        ("picture", "https%3A%2F%2Fimg.clerk.com%2Fx%3Fy%3Dz"),
        ("updated-at", "1700000000"),
        ("phone-number", "%2B441632960960"),
        ("phone-number-verified", "false"),
    ] {
        assert_eq!(seen.header(&format!("x-clerk-{name}")), Some(want), "{name}");
    }
}
