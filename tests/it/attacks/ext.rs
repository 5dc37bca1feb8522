//! EXT: where a credential may stand in a request, and where one is not looked for.

use std::time::Duration;

use countersign::core::clerk::instance::{Instance, Payload};
use countersign::core::credential::BearerToken;
use countersign::core::header::Credentials;
use countersign::core::reject::Reject;
use http::HeaderMap;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time;

use super::tokens::{
    ALICE, Scene, bearer, clerk_set, forged, good, mistakes, oidc_set, publishable_key, session,
};
use crate::support::key_server::{KeyServer, Reply};
use crate::support::until;

const MISSING: (u16, &str) = (401, "session-token-and-uat-missing");
const MALFORMED: (u16, &str) = (401, "token-invalid");
const REPEATED: (u16, &str) = (400, "credential-repeated");

/// Each of these header lines, in which `@` is a good token, is refused like this.
async fn refuses_each(scene: &Scene, lines: &[&str], want: (u16, &str)) {
    for line in lines {
        let sent = format!("{}\r\n", line.replace('@', &good()));
        scene.refuses_lines(line, &sent, want).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_01_no_token_is_no_caller() {
    let scene = Scene::set().await;
    scene.refuses_lines("nothing", "", MISSING).await;
    refuses_each(&scene, &["Authorization:", "Authorization: "], MISSING).await;
    let lines = ["Authorization: Bearer", "Authorization: Bearer ", "Authorization: Bearer   "];
    refuses_each(&scene, &lines, MALFORMED).await;
}

#[tokio::test(flavor = "local")]
async fn ext_03_one_space_stands_between_scheme_and_token() {
    let scene = Scene::set().await;
    let malformed = [
        "Authorization: Bearer\t@",
        "Authorization: Bearer  @",
        "Authorization: Bearer \t@",
        "Authorization: Bearer\u{a0}@", // a blank to some backends
    ];
    refuses_each(&scene, &malformed, MALFORMED).await;
    let missing = [
        "Authorization: Bearer=@",
        "Authorization: Bearer:@",
        "Authorization: Bearer@",
        "Authorization: Bearer,@",
        "Authorization: Bearer/@",
    ];
    refuses_each(&scene, &missing, MISSING).await;
    for line in ["Authorization: Bearer @", "authorization:bearer @", "AUTHORIZATION:  BEARER @  "]
    {
        let sent = format!("{}\r\n", line.replace('@', &good()));
        scene.passes_lines(line, "/api", &sent).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_04_the_scheme_is_what_a_header_starts_with() {
    let scene = Scene::set().await;
    let lines = [
        "Authorization: Foo Bearer @",
        "Authorization: Basic x, Bearer @",
        "Authorization: {\"jwt\":\"Bearer @\"}",
        "Authorization: XBearer @",
        "Authorization: \"Bearer @\"",
        "Authorization: ;Bearer @",
    ];
    refuses_each(&scene, &lines, MISSING).await;
}

#[tokio::test(flavor = "local")]
async fn ext_05_a_token_without_its_scheme_is_none() {
    refuses_each(&Scene::set().await, &["Authorization: @"], MISSING).await;
}

#[tokio::test(flavor = "local")]
async fn ext_06_other_schemes_are_the_backends_business_and_let_nobody_in() {
    let scene = Scene::set().await;
    let lines = [
        "Authorization: Basic dTpw",
        "Authorization: Token @",
        "Authorization: JWT @",
        "Authorization: DPoP @",
        "Authorization: Negotiate",
        "Authorization: Digest username=\"@\"",
        "Authorization: AWS4-HMAC-SHA256 @",
    ];
    refuses_each(&scene, &lines, MISSING).await;
    // Where nobody is asked for, they go on as they came.
    let seen = scene.passes_lines("public", "/public/a", "Authorization: Basic dTpw\r\n").await;
    assert_eq!(seen.header("authorization"), Some("Basic dTpw"));
    assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"));
}

/// Pairs of lines that name two callers, or one twice.
fn twice() -> Vec<String> {
    let (good, other) = (good(), session(json!({"sub": "user_root"})));
    let forged = forged(&good);
    let pairs = [
        (&*good, &*good),
        (&good, &forged),
        (&forged, &good),
        (&good, &other),
        (&other, &good),
        (&good, "junk"),
        ("junk", &good),
    ];
    let lines = pairs.map(|(one, two)| format!("{}{}", bearer(one), bearer(two)));
    let basic = "Authorization: Basic dTpw\r\n";
    let empty = "Authorization:\r\n";
    let more = [
        format!("{basic}{}", bearer(&good)),
        format!("{}{basic}", bearer(&good)),
        format!("{empty}{}", bearer(&good)),
        format!("{}{empty}", bearer(&good)),
        format!("{}x: y\r\nauthorization: bearer {good}\r\n", bearer(&good)),
    ];
    lines.into_iter().chain(more).collect()
}

#[tokio::test(flavor = "local")]
async fn ext_07_two_authorization_headers_are_two_callers() {
    let scene = Scene::set().await;
    for lines in twice() {
        scene.refuses_lines(&lines, &lines, REPEATED).await;
        scene.refuses_at("/optional/a", &lines, &lines, REPEATED).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_08_two_tokens_in_one_header_are_none() {
    let scene = Scene::set().await;
    let lines = [
        "Authorization: Bearer @, Bearer @",
        "Authorization: Bearer @,@",
        "Authorization: Bearer @ @",
        "Authorization: Bearer junk, Bearer @",
        "Authorization: Bearer @, Bearer junk",
        "Authorization: Bearer @, Basic dTpw",
    ];
    refuses_each(&scene, &lines, MALFORMED).await;
}

/// Fields of HTTP/2 come to the rule as lines of HTTP/1 do: each for itself in one `HeaderMap`.
#[test]
fn ext_09_two_fields_are_two_callers_whichever_protocol_brought_them() {
    let good = format!("Bearer {}", good());
    for (one, two) in [(&*good, &*good), (&good, "Bearer junk"), ("Basic a", &good), ("", &good)] {
        let mut headers = HeaderMap::new();
        headers.append("authorization", one.parse().unwrap());
        headers.append("authorization", two.parse().unwrap());
        assert_eq!(BearerToken::from_headers(&headers), Err(Reject::CredentialRepeated), "{one}");
    }
}

#[tokio::test(flavor = "local")]
async fn ext_10_who_leaves_while_keys_are_fetched_harms_nobody() {
    let late =
        |set: serde_json::Value| Reply::json(&set.to_string()).after(Duration::from_millis(300));
    let clerk = KeyServer::start(Reply::json(&clerk_set().to_string())).await;
    let other = KeyServer::start(Reply::json(&oidc_set().to_string())).await;
    let scene = Scene::among(clerk, other, |_| ()).await;
    scene.clerk_keys.reply(late(clerk_set()));
    let unknown = session(json!({"$header": {"kid": "new"}}));
    let before = scene.clerk_keys.fetches();

    for path in ["/optional/a", "/api"] {
        for lines in [bearer(&unknown), format!("{}{}", bearer(&unknown), bearer(&unknown))] {
            let mut socket = TcpStream::connect(&scene.proxy.address).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            time::sleep(Duration::from_millis(20)).await;
            socket.set_zero_linger().unwrap();
        }
    }
    until("there was a fetch", async || scene.clerk_keys.fetches() > before).await;
    time::sleep(Duration::from_millis(400)).await;

    scene.catch_up().await;
    let twice = format!("{}{}", bearer(&unknown), bearer(&unknown));
    scene.refuses_at("/optional/a", "two, and still here", &twice, REPEATED).await;
    scene.passes_lines("a good one", "/optional/a", &bearer(&good())).await;
    assert_eq!(scene.proxy.metric("countersign_panics_total").await, 0.0);
    assert!(scene.upstream.seen().is_empty());
}

/// The cookies of somebody who is signed in with this token.
fn cookies(token: &str) -> String {
    format!("Cookie: __session={token}; __client_uat=1600000000\r\n")
}

/// Clerk's way: who shows a bearer token is its caller, and the cookies are not looked at. The row
/// would have the two agree; but a page's script sends both where a session was just renewed.
#[tokio::test(flavor = "local")]
async fn ext_11_a_bearer_token_comes_before_cookies_which_are_then_not_looked_at() {
    let scene = Scene::with_browsers().await;
    let other = session(json!({"sub": "user_other"}));
    for (what, shown) in [
        ("the same", good()),
        ("another user's", other.clone()),
        ("a forged one", forged(&good())),
        ("junk", "junk".to_owned()),
    ] {
        let lines = format!("{}{}", bearer(&good()), cookies(&shown));
        let seen = scene.passes_lines(what, "/api", &lines).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE), "{what}");
        // And a bearer token that is none is not made up for by a cookie.
        let lines = format!("{}{}", bearer(&forged(&other)), cookies(&shown));
        scene.refuses_lines(what, &lines, (401, "token-invalid-signature")).await;
    }
    let seen = scene.passes_lines("a cookie alone", "/api", &cookies(&other)).await;
    assert_eq!(seen.header("x-clerk-user-id"), Some("user_other"));
}

#[tokio::test(flavor = "local")]
async fn ext_12_a_token_in_the_query_is_none_and_is_not_logged() {
    let scene = Scene::set().await;
    let token = good();
    for name in ["access_token", "token", "jwt", "bearer_token", "__session", "__clerk_token"] {
        let path = format!("/api?{name}={token}");
        scene.refuses_at(&path, name, "", MISSING).await;
        let path = format!("/public/a?{name}={token}&b=1");
        let seen = scene.passes_lines(name, &path, "").await;
        assert_eq!(seen.target, path, "the query goes on as it came");
        assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"), "{name}");
    }
    let logged = scene.proxy.logged();
    assert!(!logged.contains(&token) && !logged.contains("access_token"), "paths have no query");
}

/// There is no such thing to turn on: the settings have no key for it, and every way to write one
/// is a query like another.
#[tokio::test(flavor = "local")]
async fn ext_13_a_query_cannot_be_made_to_carry_a_token() {
    for line in
        ["clerk.query_token = true", "query_token = \"access_token\"", "clerk.token_query = \"t\""]
    {
        let told = mistakes(line);
        assert!(told.iter().any(|it| it.contains("unknown key")), "{line}: {told:?}");
    }
    let scene = Scene::set().await;
    for query in [
        "access_token=@&access_token=@",
        "access%5Ftoken=@",
        "a=1;access_token=@",
        "access_token=+@",
        "access_token=",
        "access_token[]=@",
        "ACCESS_TOKEN=@",
    ] {
        let path = format!("/api?{}", query.replace('@', &good()));
        scene.refuses_at(&path, query, "", MISSING).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_14_a_header_of_almost_that_name_is_another() {
    let scene = Scene::set().await;
    let lines = [
        "Proxy-Authorization: Bearer @",
        "X-Authorization: Bearer @",
        "X-Forwarded-Authorization: Bearer @",
        "Authorization_: Bearer @",
        "X-Auth-Token: @",
        "X-Clerk-Auth-Token: @",
        "Token: @",
    ];
    refuses_each(&scene, &lines, MISSING).await;
    for name in ["Authorization ", "Authorization\t", " Authorization", "Authorization\u{b}"] {
        let line = format!("X: y\r\n{name}: Bearer {}\r\n", good());
        scene.refuses_unread(&format!("{name:?}"), &line, 400).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_15_two_session_cookies_that_differ_are_nobodys() {
    let scene = Scene::with_browsers().await;
    let (mallory, alice) = (session(json!({"sub": "user_mallory"})), good());
    let uat = "__client_uat=1600000000";
    for (one, two) in [
        (&mallory, &alice),
        (&alice, &mallory),
        (&forged(&alice), &alice),
        (&alice, &forged(&alice)),
    ] {
        for (what, lines) in [
            ("in one line", format!("Cookie: __session={one}; __session={two}; {uat}\r\n")),
            ("apart", format!("Cookie: __session={one}; a=b; {uat}; __session={two}\r\n")),
            (
                "in two lines, as HTTP/2 may bring them",
                format!("Cookie: __session={one}; {uat}\r\nCookie: __session={two}\r\n"),
            ),
            (
                "in three lines",
                format!("Cookie: {uat}\r\nCookie: __session={one}\r\nCookie: __session={two}\r\n"),
            ),
        ] {
            scene.refuses_lines(what, &lines, (401, "session-token-missing")).await;
        }
    }
    // The same one twice means one session.
    let lines = format!("Cookie: __session={alice}; __session={alice}; {uat}\r\n");
    let seen = scene.passes_lines("the same", "/api", &lines).await;
    assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
}

#[tokio::test(flavor = "local")]
async fn ext_17_a_malformed_cookie_moves_no_other() {
    let scene = Scene::with_browsers().await;
    let (token, uat) = (good(), "__client_uat=1600000000");
    for before in [
        "=T; ",
        "junk; ",
        ";; ",
        "; ",
        "a; ",
        "a=; ",
        "=; ",
        "$Version=1; ",
        "a=\"b; ",
        "a=b=c; ",
        "a=%; ",
        "a=%zz; ",
        "\u{e9}=\u{e9}; ",
        "a,b; ",
        "__session; ",
        "__sessionx=1; ",
        "\"__session\"=1; ",
    ] {
        let lines = format!("Cookie: {before}__session={token}; {uat}\r\n");
        let seen = scene.passes_lines(before, "/api", &lines).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE), "{before}");
    }
    for after in [";", ";;", "; ", "; a", "; =", "; \"", "; __session", "\t", " "] {
        let lines = format!("Cookie: {uat}; __session={token}{after}\r\n");
        scene.passes_lines(after, "/api", &lines).await;
    }
    // Here the cookie itself is another.
    for (what, lines, reason) in [
        ("in quotes", format!("Cookie: __session=\"{token}\"; {uat}\r\n"), "token-invalid"),
        (
            "after a comma",
            format!("Cookie: a=b,__session={token}; {uat}\r\n"),
            "client-uat-but-no-session-token",
        ),
        ("before a comma", format!("Cookie: __session={token},b=c; {uat}\r\n"), "token-invalid"),
        (
            "a space within",
            format!("Cookie: __session={} {}; {uat}\r\n", &token[..9], &token[9..]),
            "token-invalid",
        ),
        ("empty", format!("Cookie: __session=; {uat}\r\n"), "client-uat-but-no-session-token"),
        (
            "in capitals",
            format!("Cookie: __SESSION={token}; {uat}\r\n"),
            "client-uat-but-no-session-token",
        ),
    ] {
        scene.refuses_lines(what, &lines, (401, reason)).await;
    }
    for junk in ["\0", "\u{1}", "\u{7f}"] {
        let lines = format!("Cookie: a={junk}; __session={token}; {uat}\r\n");
        scene.refuses_unread(&format!("{junk:?}"), &lines, 400).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_18_cookies_that_count_chunks_or_nothing_are_read_in_one_go() {
    let scene = Scene::with_browsers().await;
    for crafted in [
        ";",
        "=;=;",
        "__session_chunks=99999999",
        "__session.0=a; __session.1=b; __session_chunks=2",
        "__client_uat=99999999999999999999999",
        "__client_uat=-1; __clerk_redirect_count=99999999999999999999",
        "__clerk_redirect_count=-1",
        "__session_=; __client_uat_=",
        "__session_%00=x",
        "%",
        "__clerk_handshake=",
    ] {
        let answer = scene.send("/api", &format!("Cookie: {crafted}\r\n")).await;
        assert!([401, 307].contains(&answer.status), "{crafted}: {}", answer.status);
        assert!(scene.upstream.seen().is_empty(), "{crafted}");
    }
    let many = ";".repeat(20_000);
    let lines = format!("Cookie: {many}\r\n");
    scene.catch_up().await;
    scene.refuses_lines("20,000 of nothing", &lines, MISSING).await;
    assert_eq!(scene.proxy.metric("countersign_panics_total").await, 0.0);
}

#[tokio::test(flavor = "local")]
async fn ext_19_more_cookies_than_a_head_holds_are_refused() {
    let scene = Scene::with_browsers().await;
    let pairs = |count: usize| (0..count).map(|it| format!("c{it}=1; ")).collect::<String>();
    let all = format!("Cookie: {}{}", pairs(10_000), cookies(&good()).replace("Cookie: ", ""));
    assert!(all.len() > 64 << 10);
    scene.refuses_unread("10,000 in one line", &all, 431).await;
    let lines: String = (0..101).map(|it| format!("Cookie: c{it}=1\r\n")).collect();
    scene.refuses_unread("101 lines", &(lines + &cookies(&good())), 431).await;
    let some = format!("Cookie: {}{}", pairs(2_500), cookies(&good()).replace("Cookie: ", ""));
    scene.passes_lines("2,500", "/api", &some).await;
}

#[tokio::test(flavor = "local")]
async fn ext_20_of_several_instances_cookies_those_with_our_suffix_count() {
    let scene = Scene::with_browsers().await;
    let suffix = |host: &str| Instance::of(&publishable_key(host), Payload::Token).owner.suffix;
    let (ours, theirs) = (suffix("clerk.a.test"), suffix("clerk.b.test"));
    let named = |suffix: &countersign::core::clerk::cookies::CookieSuffix, token: &str| {
        let (session, uat) = (suffix.name("__session"), suffix.name("__client_uat"));
        format!("{session}={token}; {uat}=1600000000")
    };
    let other = session(json!({"iss": "https://clerk.b.test", "sub": "user_b"}));
    let plain = |token: &str| format!("__session={token}; __client_uat=1600000000");
    for (what, all) in [
        (
            "another's plain, ours with the suffix",
            format!("{}; {}", plain(&other), named(&ours, &good())),
        ),
        ("ours with the suffix alone", named(&ours, &good())),
        (
            "both with their suffixes",
            format!("{}; {}", named(&theirs, &other), named(&ours, &good())),
        ),
        (
            "ours plain, another's with a suffix",
            format!("{}; {}", plain(&good()), named(&theirs, &other)),
        ),
        (
            "ours among 200",
            format!(
                "{}{}",
                (0..200).map(|it| format!("__session_{it:08}=x; ")).collect::<String>(),
                named(&ours, &good())
            ),
        ),
    ] {
        let seen = scene.passes_lines(what, "/api", &format!("Cookie: {all}\r\n")).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE), "{what}");
    }
    for (what, all, reason) in [
        ("another's plain", plain(&other), MISSING.1),
        ("ours with another's suffix", named(&theirs, &good()), MISSING.1),
        (
            "the suffix misspelt",
            named(&ours, &good()).replace("__session_", "__session_x"),
            "client-uat-but-no-session-token",
        ),
    ] {
        scene.refuses_lines(what, &format!("Cookie: {all}\r\n"), (401, reason)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn ext_21_a_token_that_a_sibling_domain_has_put_there_is_not_for_us() {
    let scene = Scene::with_browsers().await;
    // The attacker's own session, at another application of the instance's.
    let own = session(json!({"sub": "user_mallory", "azp": "https://evil.a.test"}));
    let want = (401, "token-invalid-authorized-parties");
    scene.refuses_lines("tossed", &cookies(&own), want).await;
    scene.refuses_lines("shown", &bearer(&own), want).await;
}

#[tokio::test(flavor = "local")]
async fn ext_22_only_clerks_cookies_are_taken_off_and_the_rest_stays_to_the_byte() {
    let scene = Scene::with(|settings| settings.proxy.strip.credentials = Credentials::Strip).await;
    for (sent, want) in [
        ("a=1; __session=@; b=\"x;y\"; a=2", Some("a=1; b=\"x;y\"; a=2")),
        ("__session=@", None),
        ("__session=@; __client_uat=1; __refresh_x=2; __clerk_db_jwt=3", None),
        ("__session_abc=@; a=1", Some("a=1")),
        ("a=__session=@", Some("a=__session=@")),
        ("__sessionx=1; x__session=2", Some("__sessionx=1; x__session=2")),
        ("a=1;b=2", Some("a=1;b=2")),
    ] {
        let token = good();
        let sent = sent.replace('@', &token);
        let lines = format!("Cookie: {sent}\r\n{}", bearer(&token));
        let seen = scene.passes_lines(&sent, "/api", &lines).await;
        let want = want.map(|it| it.replace('@', &token));
        assert_eq!(seen.header("cookie"), want.as_deref(), "{sent}");
        assert_eq!(seen.header("authorization"), None);
    }
    // By default they stay: many backends run a library of Clerk's too.
    let scene = Scene::set().await;
    let lines = format!("Cookie: a=1; __session=x\r\n{}", bearer(&good()));
    let seen = scene.passes_lines("by default", "/api", &lines).await;
    assert_eq!(seen.header("cookie"), Some("a=1; __session=x"));
}

#[tokio::test(flavor = "local")]
async fn ext_23_another_sites_page_changes_nothing_with_a_users_cookies() {
    let scene = Scene::with_browsers().await;
    let post = async |lines: &str| {
        let head =
            "POST /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n";
        let sent = format!("{head}{}{lines}\r\n", cookies(&good()));
        let answer = scene.proxy.raw(sent).await;
        (answer.status, answer.reason())
    };
    for lines in [
        "Origin: https://evil.test\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: http://localhost.evil.test\r\n",
        "Origin: http://localhost:3000.evil.test\r\n",
        "Origin: http://localhost:3000\r\nOrigin: https://evil.test\r\n",
        "Origin: https://evil.test\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        assert_eq!(post(lines).await, (403, "cross-site-request".to_owned()), "{lines}");
        assert!(scene.upstream.seen().is_empty(), "{lines}");
    }
    for lines in ["", "Origin: http://localhost:3000\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        assert_eq!(post(lines).await.0, 200, "{lines}");
    }
}

#[tokio::test(flavor = "local")]
async fn ext_24_a_token_among_subprotocols_is_none_unless_settings_say_so() {
    let scene = Scene::set().await;
    let lines = [
        "Sec-WebSocket-Protocol: bearer, @",
        "Sec-WebSocket-Protocol: @",
        "Sec-WebSocket-Protocol: bearer, @, @",
        "Sec-WebSocket-Protocol: access_token, @",
        "Sec-WebSocket-Protocol: bearer\r\nSec-WebSocket-Protocol: @",
    ];
    refuses_each(&scene, &lines, MISSING).await;
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let lines = format!("{upgrade}Sec-WebSocket-Protocol: bearer, {}\r\n", good());
    scene.refuses_lines("with an upgrade", &lines, MISSING).await;
}

#[tokio::test(flavor = "local")]
async fn ext_25_a_token_in_a_body_is_none() {
    let scene = Scene::set().await;
    for (media_type, body) in [
        ("application/x-www-form-urlencoded", "access_token=@"),
        ("application/x-www-form-urlencoded", "client_assertion=@&token=@"),
        ("application/json", "{\"access_token\":\"@\"}"),
        ("text/plain", "@"),
        ("application/x-www-form-urlencoded", ""),
    ] {
        let body = body.replace('@', &good());
        let head = format!(
            "POST /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n",
            body.len()
        );
        let answer = scene.proxy.raw(format!("{head}\r\n{body}")).await;
        assert_eq!((answer.status, answer.reason().as_str()), MISSING, "{body}");
        assert!(scene.upstream.seen().is_empty(), "{body}");
        // Beside one in the header it is a body like another.
        let answer = scene.proxy.raw(format!("{head}{}\r\n{body}", bearer(&good()))).await;
        assert_eq!(answer.status, 200, "{body}");
        assert_eq!(scene.upstream.take()[0].body, body.as_bytes());
    }
}
