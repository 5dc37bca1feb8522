//! What headers lose and gain on their way to the backend and back.

use bytes::Bytes;
use countersign::clock::Clock;
use countersign::core::access::Access;
use countersign::core::header::Credentials;
use countersign::core::header_name::folded;
use countersign::core::identity::{Field, IdentityPolicy, PROFILE_CLAIMS, Source};
use countersign::core::route::{Case, Routes};
use http::{HeaderName, Method, Response};
use serde_json::json;

use crate::support::settings::{route, settings_with_public};
use crate::support::upstream::Seen;
use crate::support::{Issuer, Proxy, Upstream, settings};

/// The identity headers, in the order of the settings.
pub(crate) const IDENTITY: [&str; 9] = [
    "x-clerk-principal",
    "x-clerk-token-type",
    "x-clerk-user-id",
    "x-clerk-session-id",
    "x-clerk-org-id",
    "x-clerk-org-slug",
    "x-clerk-org-role",
    "x-clerk-org-permissions",
    "x-clerk-actor-id",
];

/// Names that stand for an identity header to somebody: `_` is `-` to CGI and its heirs.
pub(crate) fn identity_names(seen: &Seen) -> Vec<String> {
    let names = seen.headers.iter().map(|(name, _)| name.as_str().to_owned());
    let mut names: Vec<_> = names.filter(|name| folded(name).starts_with("x-clerk-")).collect();
    names.sort();
    names
}

fn values(seen: &Seen, name: &str) -> Vec<String> {
    let values = seen.headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// What a client may try so that the backend takes it for `root`.
const SPOOFS: &[&str] = &[
    "X-Clerk-User-Id: root",
    "x-clerk-user-id: root",
    "x-CLERK-user-ID: root\r\nX-Clerk-User-Id: root\r\nx-clerk-user-id: root",
    "X_Clerk_User_Id: root",
    "X-Clerk_User-Id: root",
    "x_clerk-user-id: root",
    "X-Clerk-Principal: root",
    "X-Clerk-Anything: root",
    "x-clerk-auth-token: root",
    "X-Clerk-Actor-Id: root\r\nX-Clerk-Org-Role: root\r\nX-Clerk-Org-Permissions: root",
    "Connection: x-clerk-user-id\r\nX-Clerk-User-Id: root",
    "Connection: close, X-CLERK-User-Id, x-clerk-principal, x-clerk-org-role",
    "Connection: , ,x-clerk-user-id;q=1, x-clerk-user-id",
    "Connection: signature, signature-input, x-request-id, host, x-forwarded-for, content-length",
    "Connection: x-clerk-user-id\r\nConnection: x-clerk-session-id, upgrade",
    "Connection: \u{ff}, x-clerk-user-id",
    "Proxy-Connection: x-clerk-user-id\r\nKeep-Alive: x-clerk-user-id=root",
    "X-Forwarded-User: root\r\nX-Forwarded-Email: root\r\nX-Forwarded-Groups: root",
    "X-Forwarded-Host: root\r\nX-Forwarded-Proto: root\r\nX-Forwarded-For: root",
    "X-Forwarded-Uri: /root\r\nX-Forwarded-Method: root\r\nX-Forwarded-Prefix: root",
    "X-Forwarded-Client-Cert: root\r\nForwarded: for=root\r\nx_forwarded_user: root",
    "Remote-User: root\r\nRemote_User: root\r\nX-Remote-User: root\r\nRemote-Groups: root",
    "X-WEBAUTH-USER: root\r\nX-Userinfo: root\r\nX-Auth-Request-User: root",
    "X-Consumer-Username: root\r\nX-Credential-Identifier: root",
    "X-Goog-Authenticated-User-Email: root\r\nX-Goog-IAP-JWT-Assertion: root",
    "x-amzn-oidc-identity: root\r\nCf-Access-Jwt-Assertion: root\r\nX-Pomerium-Claim-Email: root",
    "OIDC_CLAIM_email: root\r\nImpersonate-User: root\r\nX-authentik-username: root",
    "X-MS-Client-Principal: root\r\nX-MS-Client-Principal-Name: root",
    "SSL-Client-Cert: root\r\nX-SSL-Client-S-DN: root",
    "X-Original-URL: /root\r\nX-Original-URI: /root\r\nX-Rewrite-URL: /root",
    "X.Clerk.User.Id: root\r\nX!Clerk'Org~Role: org:admin\r\nRemote.User: root",
    "Proxy: http://root\r\nX-Real-IP: 10.0.0.1\r\nX-Middleware-Subrequest: root",
    "X-Envoy-Original-Path: /root\r\nX-Accel-Redirect: /root",
    "SCRIPT_NAME: /root\r\nPATH_INFO: /root\r\nScript-Name: /root",
    "X-Request-Id: root",
    "Signature: countersign=:cm9vdA==:\r\nSignature-Input: countersign=();keyid=\"root\"",
    "Signature: \"root\"\r\nSignature-Input: (root",
];

#[tokio::test(flavor = "local")]
async fn nothing_a_client_says_of_itself_reaches_the_backend() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
    let bearer = format!("Authorization: Bearer {}\r\n", issuer.token());
    let preflight = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: PUT\r\n";

    for (lane, line, more, principal) in [
        ("a caller", "GET /api", bearer.as_str(), "user"),
        ("nobody", "GET /public/x", "", "anonymous"),
        ("a caller on a public route", "GET /public/x", bearer.as_str(), "anonymous"),
        ("a preflight", "OPTIONS /api", preflight, "anonymous"),
    ] {
        for spoof in SPOOFS {
            // Latin-1, so that a byte which is no UTF-8 can be among them.
            let head = format!(
                "{line} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{more}{spoof}\r\n\r\n"
            );
            let bytes: Vec<u8> = head.chars().map(|it| u8::try_from(it).unwrap()).collect();
            let answer = proxy.raw(bytes).await;

            let case = format!("{lane}: {spoof:?}");
            assert_eq!(answer.status, 200, "{case}");
            let seen = upstream.last();
            let mut names = IDENTITY.map(str::to_owned);
            names.sort();
            assert_eq!(identity_names(&seen), names, "{case}");
            assert_eq!(seen.header(IDENTITY[0]), Some(principal), "{case}");
            let caller = seen.header("x-clerk-user-id").unwrap().starts_with("user_");
            assert_eq!(caller, principal == "user", "{case}");
            let shown = format!("{:?}", seen.headers);
            assert!(!shown.contains("root") && !shown.contains("cm9vdA"), "{case}: {shown}");
            for gone in ["connection", "keep-alive", "proxy-connection", "te", "upgrade"] {
                assert_eq!(seen.header(gone), None, "{case}");
            }
            assert_eq!(seen.header("host"), Some("a.test"), "{case}");
            assert_eq!(values(&seen, "signature").len(), 1, "{case}");
            assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"], "{case}");
            let id = seen.header("x-request-id");
            assert!(id.is_some() && id == answer.header("x-request-id"), "{case}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_head_that_hides_a_header_is_refused() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;

    for lines in [
        "Host: a\r\nX-Clerk-User-Id : root",
        "Host: a\r\nFoo: a\r\n X-Clerk-User-Id: root",
        " X-Clerk-User-Id: root\r\nHost: a",
        "Host: a\r\nFoo: a\rX-Clerk-User-Id: root",
        "Host: a\r\nFoo: a\0b",
        "Host: a\r\nX-Clerk-User-Id\0: root",
        "Host: a\r\n: root",
        "Host: a\r\nX Clerk: root",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Host: a\r\nTransfer-Encoding: xchunked",
        "Host: a\r\nContent-Length: 5\r\nContent-Length: 6",
        "Host: a\r\nContent-Length: +5",
    ] {
        let answer = proxy
            .raw(format!("GET /public/x HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 400, "{lines:?}");
        assert!(upstream.seen().is_empty(), "{lines:?}");
    }
    // One lone line feed ends a line to this parser; what follows is a header, and goes as one.
    let answer = proxy
        .raw("GET /public/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nFoo: a\nX-Clerk-User-Id: root\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().header("x-clerk-user-id"), Some(""));
}

#[tokio::test(flavor = "local")]
async fn a_head_of_too_many_headers_is_refused_whole() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_with_public(&issuer, &upstream);
    settings.proxy.limits.headers = 50;
    let proxy = Proxy::start(settings).await;

    for (count, status) in [(50, 200), (51, 431)] {
        let many = "X-A: 1\r\n".repeat(count - 3);
        let head = format!(
            "GET /public/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{many}X-Clerk-User-Id: root\r\n\r\n"
        );
        assert_eq!(proxy.raw(head).await.status, status, "{count}");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn trailers_carry_neither_identity_nor_framing() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\nTrailer: x-clerk-user-id, x_clerk_user_id, authorization, \
         cookie, content-length, host, remote-user, signature, x-checksum\r\n\r\n",
        issuer.token()
    );
    let body = "5\r\nhello\r\n0\r\nX-Clerk-User-Id: root\r\nX_Clerk_User_Id: root\r\n\
                Authorization: Bearer root\r\nCookie: root\r\nContent-Length: 9\r\nHost: root\r\n\
                Remote-User: root\r\nSignature: root\r\nX-Checksum: 1\r\n\r\n";

    assert_eq!(proxy.raw(head + body).await.status, 200);

    let seen = upstream.last();
    assert_eq!(seen.body, "hello");
    let trailers = seen.trailers.unwrap();
    assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-checksum"]);
}

#[tokio::test(flavor = "local")]
async fn what_a_caller_has_not_is_an_empty_header() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
    let told = |seen: &Seen| IDENTITY.map(|name| values(seen, name).join("|"));
    let personal = issuer.mint(json!({"sub": "user_1", "sid": "sess_1", "o": null}));
    let member = issuer.mint(json!({
        "sub": "user_1", "sid": "sess_1", "act": {"sub": "user_admin"}, "fea": "o:a,o:b",
        "o": {"id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,2"},
    }));

    let spoofed = |token: &str| proxy.client().bearer(token).header("x-clerk-org-id", "org_root");
    spoofed(&personal).get("/").await;
    let all = ["user", "session_token", "user_1", "sess_1", "", "", "", "", ""];
    assert_eq!(told(&upstream.last()), all);
    spoofed(&member).get("/").await;
    let permissions = "org:a:read, org:a:manage, org:b:manage";
    let org = ["org_1", "acme", "org:admin", permissions, "user_admin"];
    let all = ["user", "session_token", "user_1", "sess_1", org[0], org[1], org[2], org[3], org[4]];
    assert_eq!(told(&upstream.last()), all);
    spoofed(&member).get("/public").await;
    assert_eq!(told(&upstream.last()), ["anonymous", "", "", "", "", "", "", "", ""]);
}

#[tokio::test(flavor = "local")]
async fn identity_has_the_names_and_claims_of_the_settings() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings_with_public(&issuer, &upstream);
    let field = |field: Field| (format!("x-id-{}", field.name()), Source::Field(field));
    let claim = |name: &str, pointer: &str| (name.to_owned(), Source::Claim(pointer.to_owned()));
    let mut headers: Vec<_> = Field::ALL.iter().copied().map(field).collect();
    headers.extend(
        PROFILE_CLAIMS.map(|name| claim(&format!("x-id-{}", folded(name)), &format!("/{name}"))),
    );
    headers.push(claim("x-plan", "/meta/plan"));
    headers.push(claim("x-roles", "/https:~1~1ns~1roles"));
    headers.push(claim("x-deep", "/meta"));
    let named = headers.into_iter().map(|(name, source)| (name.parse().unwrap(), source));
    settings.proxy.identity = IdentityPolicy::new(named.collect());
    settings.proxy.strip.prefix = "x-id-".into();
    settings.proxy.strip.ours =
        ["x-plan", "x-roles", "x-deep"].map(|it| it.parse().unwrap()).into();
    let proxy = Proxy::start(settings).await;
    let token = issuer.mint(json!({
        "sub": "user_1", "email": "jürgen@a.test", "email_verified": true, "name": "J\r\nx-id-user-id: root",
        "updated_at": 1_700_000_000, "phone_number": null, "scope": "read write",
        "meta": {"plan": "gold, silver"}, "https://ns/roles": ["a,b", "c"], "fva": [3, -1],
    }));

    for (path, principal) in [("/", "user"), ("/public", "anonymous")] {
        let client = proxy.client().bearer(&token);
        let client = ["x-id-email", "x-plan", "X_PLAN", "x_roles", "x-clerk-user-id"]
            .iter()
            .fold(client, |client, name| client.header(name, "root"));
        assert_eq!(client.get(path).await.status, 200);

        let seen = upstream.last();
        assert!(!format!("{:?}", seen.headers).contains("\"root\""), "{:?}", seen.headers);
        assert_eq!(identity_names(&seen), Vec::<String>::new());
        let told = |name: &str| values(&seen, name).join("|");
        assert_eq!(told("x-id-principal"), principal);
        let wanted = [
            ("x-id-user-id", "user_1"),
            ("x-id-subject", "user_1"),
            ("x-id-email", "j%C3%BCrgen%40a.test"),
            ("x-id-email-verified", "true"),
            ("x-id-name", "J%0D%0Ax-id-user-id%3A%20root"),
            ("x-id-updated-at", "1700000000"),
            ("x-id-scopes", "read, write"),
            ("x-id-factor-age", "3, -1"),
            ("x-id-plans", "o:pro"),
            ("x-id-features", "o:dashboard, o:teams"),
            ("x-plan", "gold%2C%20silver"),
            ("x-roles", "a%2Cb, c"),
            ("x-deep", "eyJwbGFuIjoiZ29sZCwgc2lsdmVyIn0"),
        ];
        for (name, want) in wanted {
            let want = if principal == "user" { want } else { "" };
            assert_eq!(told(name), want, "{name} of {principal}");
        }
        for name in
            ["x-id-phone-number", "x-id-picture", "x-id-nickname", "x-id-phone-number-verified"]
        {
            assert_eq!(values(&seen, name), [""], "{name} is there and empty");
        }
        let payload = token.split('.').nth(1).unwrap();
        assert_eq!(told("x-id-claims"), if principal == "user" { payload } else { "" });
    }
}

#[tokio::test(flavor = "local")]
async fn credentials_stay_unless_they_are_to_be_taken_off() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let keeping = settings_with_public(&issuer, &upstream);
    let mut stripping = keeping.clone();
    stripping.proxy.strip.credentials = Credentials::Strip;
    let (keeping, stripping) = (Proxy::start(keeping).await, Proxy::start(stripping).await);
    let bearer = format!("Bearer {}", issuer.token());

    for (cookie, left) in [
        ("a=1; __session=T; b=\"x;y\"; a=2", Some("a=1; b=\"x;y\"; a=2")),
        ("a=1;b=2", Some("a=1;b=2")),
        ("__session=T", None),
        ("__session_Ab-1_x9z=T; __client_uat=1; __refresh_x=2; __clerk_db_jwt=3; c=3", Some("c=3")),
        ("__sessions=1; my__session=2", Some("__sessions=1; my__session=2")),
        ("=x; c", Some("=x; c")),
    ] {
        for path in ["/", "/public"] {
            let send = |proxy: &Proxy| {
                let client = proxy.client().header("authorization", &bearer);
                client.header("cookie", cookie).get(path)
            };
            assert_eq!(send(&keeping).await.status, 200);
            assert_eq!(values(&upstream.last(), "cookie"), [cookie]);
            assert_eq!(values(&upstream.last(), "authorization"), [bearer.as_str()]);
            assert_eq!(send(&stripping).await.status, 200);
            assert_eq!(upstream.last().header("cookie"), left, "{cookie}");
            assert_eq!(upstream.last().header("authorization"), None);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_for_one_hop_ends_there() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let proxy = Proxy::start(settings(&issuer, &upstream)).await;

    for (lines, left) in [
        ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings", None),
        ("Upgrade: websocket", None),
        ("Upgrade: WebSocket/13\r\nConnection: Upgrade", None),
        ("Upgrade: websocket, h2c\r\nUpgrade: foo\r\nConnection: upgrade", None),
        ("Keep-Alive: timeout=5", None),
        ("Proxy-Connection: keep-alive", None),
        ("Proxy-Authorization: Basic eA==", None),
        ("Proxy-Authenticate: Basic", None),
        ("TE: deflate\r\nConnection: TE", None),
        ("TE: trailers", Some(("te", "trailers"))),
        ("TE: gzip;q=1, Trailers\r\nConnection: TE", Some(("te", "trailers"))),
        ("Expect: 100-continue", None),
        ("X-Hop: 1\r\nX-Other: 2\r\nConnection: x-hop , X-OTHER", None),
        ("Connection: authorization", None),
        ("X-Kept: 1", Some(("x-kept", "1"))),
    ] {
        let answer = proxy
            .raw(format!(
                "GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n{lines}\r\nConnection: close\r\n\r\n",
                issuer.token()
            ))
            .await;

        assert_eq!(answer.status, 200, "{lines:?}");
        let seen = upstream.last();
        let usual = |name: &str| {
            IDENTITY.contains(&name)
                || name.starts_with("x-forwarded-")
                || ["host", "authorization", "signature", "signature-input", "x-request-id"]
                    .contains(&name)
        };
        // Ours, which says that `te` ends at the backend.
        let connection = left.filter(|(name, _)| *name == "te").map(|(name, _)| name);
        assert_eq!(seen.header("connection"), connection, "{lines:?}");
        let others = |name: &str| !usual(name) && name != "connection";
        let rest: Vec<_> = seen.headers.iter().filter(|(name, _)| others(name.as_str())).collect();
        let rest: Vec<_> =
            rest.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(rest, left.into_iter().collect::<Vec<_>>(), "{lines:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_backend_cannot_answer_in_our_name() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::answering(|_| {
        let mut answer = Response::new(Bytes::from("ok"));
        for (name, value) in [
            ("x-clerk-user-id", "user_root"),
            ("x_clerk_user_id", "user_root"),
            ("x-clerk-principal", "user_root"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("x-request-id", "theirs"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("server", "backend"),
            ("www-authenticate", "Basic realm=\"backend\""),
        ] {
            let name = HeaderName::try_from(name).unwrap();
            answer.headers_mut().append(name, value.parse().unwrap());
        }
        answer
    })
    .await;
    let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;

    let answer = proxy.client().get("/public").await;

    assert!(!format!("{answer:?}").contains("user_root"), "{answer:?}");
    for gone in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(answer.header("server"), Some("backend"));
    assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"backend\""));
    let sent = upstream.last();
    assert_eq!(answer.header("x-request-id"), sent.header("x-request-id"), "the request's own");
}

#[tokio::test(flavor = "local")]
async fn an_answer_is_of_our_version_and_framing_whatever_the_backends_is() {
    let issuer = Issuer::start(Clock::System).unwrap();
    for (spoken, body) in [
        ("HTTP/1.0 200 OK\r\n\r\nuntil it closes", "until it closes"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 Fine\r\nConnection: close\r\n\r\nuntil it closes", "until it closes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
        (
            "HTTP/1.1 103 Early Hints\r\nX-Clerk-User-Id: root\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
        ),
    ] {
        let upstream = Upstream::speaking(spoken).await;
        let proxy = Proxy::start(settings_with_public(&issuer, &upstream)).await;
        let head = "GET /public HTTP/1.1\r\nHost: a\r\n\r\nGET /public HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

        let answers = crate::support::client::raw(&proxy.address, head.as_bytes()).await;

        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{spoken:?}: {answers:?}");
        assert!(answers.contains(body), "{spoken:?}: {answers:?}");
        assert!(!answers.contains("root"), "{spoken:?}: {answers:?}");
    }
}

/// A backend that takes the method from a header would be asked for what a rule on methods refused.
#[tokio::test(flavor = "local")]
async fn where_rules_look_at_methods_no_header_makes_another_of_one() {
    let issuer = Issuer::start(Clock::System).unwrap();
    let upstream = Upstream::start().await;
    let mut settings = settings(&issuer, &upstream);
    let plain = Proxy::start(settings.clone()).await;
    let mut posts = route("/items/**", Access::Public);
    posts.methods = Some(vec![Method::POST]);
    settings.proxy.routes = Routes::new(vec![posts], Case::Sensitive);
    let ruled = Proxy::start(settings).await;

    for name in ["X-HTTP-Method-Override", "X_Http_Method", "x-method-override"] {
        let answer = ruled.client().header(name, "DELETE").send(Method::POST, "/items/1", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.last().header(name), None, "{name}");
        let answer = ruled.client().send(Method::DELETE, "/items/1", "").await;
        assert_eq!(answer.status, 401);
        let client = plain.client().bearer(&issuer.token()).header(name, "DELETE");
        assert_eq!(client.send(Method::POST, "/items/1", "").await.status, 200);
        assert_eq!(upstream.last().header(name), Some("DELETE"), "otherwise it is the backend's");
    }
}
