//! PTH: paths, hosts and methods that mean one thing to a rule and another to a backend.
//!
//! What is forwarded is what was matched, byte for byte; and nothing of a stranger's reaches the
//! backend as `/admin`.

use countersign::core::access::Access;
use countersign::core::route::{Case, Route, Routes};
use countersign::proxy::TrustedProxies;
use http::Method;

use super::raw::{Ask, LANES, PLAIN, Scene, Wire, on_every_lane, only_ours};
use super::settings_file::settings_text;
use crate::support::settings::route;

/// A target that nobody can be served, whoever asks.
async fn is_malformed(scene: &Scene, target: &str) {
    scene.refuses(&Ask::get(target), 400).await;
    scene.refuses(&Ask::get(target).bearer(&scene.token()), 400).await;
}

/// A target for which a credential is wanted, and which goes to the backend as it was matched.
async fn is_guarded(scene: &Scene, target: &str, forwarded: &str) {
    scene.refuses(&Ask::get(target), 401).await;
    let answer = scene.ask(&Ask::get(target).bearer(&scene.token())).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    let seen = scene.take().remove(0);
    assert_eq!(seen.target, forwarded, "{target}");
    only_ours(&seen, "user", target);
}

/// A target that everybody may have, and which goes to the backend as it was matched.
async fn is_open(scene: &Scene, target: &str, forwarded: &str) {
    let answer = scene.ask(&Ask::get(target)).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    let seen = scene.take().remove(0);
    assert_eq!(seen.target, forwarded, "{target}");
    only_ours(&seen, "anonymous", target);
}

#[tokio::test(flavor = "local")]
async fn pth_03_an_encoded_slash_is_no_part_of_a_path_in_either_case() {
    on_every_lane(async |scene| {
        for target in [
            "/admin%2fsecret",
            "/admin%2Fsecret",
            "/public/..%2fadmin",
            "/public/..%2Fadmin",
            "/public%2f..%2fadmin",
            "/public%2fx",
            "/%2fadmin",
            "/public/%2F/admin",
        ] {
            is_malformed(&scene, target).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_05_a_backslash_is_no_part_of_a_path_encoded_or_not() {
    on_every_lane(async |scene| {
        for target in [
            "/public\\..\\admin",
            "/public%5c..%5cadmin",
            "/public%5C..%5Cadmin",
            "/admin%5cx",
            "/public/..\\admin",
            "/public\\",
            "\\admin",
            "/\\admin",
        ] {
            // A target that does not begin with a slash is refused by the reader of HTTP.
            is_malformed(&scene, target).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_08_a_control_character_is_no_part_of_a_path_and_a_space_is_one_byte_of_it() {
    on_every_lane(async |scene| {
        for target in [
            "/admin%00",
            "/public%00/../admin",
            "/public/x%00",
            "/public%0a",
            "/public/%0A/admin",
            "/public%0d%0aX-Clerk-User-Id:%20root",
            "/public/x%0d%0a%0d%0aGET%20/admin",
            "/public%09",
            "/public/%1b[2J",
            "/public/%7f",
        ] {
            is_malformed(&scene, target).await;
        }
        is_open(&scene, "/public/a%20b", "/public/a%20b").await;
        is_guarded(&scene, "/public%20/x", "/public%20/x").await;
        is_guarded(&scene, "/admin%20", "/admin%20").await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_09_capitals_count_and_what_no_rule_knows_is_guarded() {
    on_every_lane(async |scene| {
        is_guarded(&scene, "/ADMIN", "/ADMIN").await;
        is_guarded(&scene, "/PUBLIC/x", "/PUBLIC/x").await;
        is_guarded(&scene, "/HealthZ", "/HealthZ").await;
        is_malformed(&scene, "/Public/../ADMIN").await;
    })
    .await;
    // Where a backend takes the two for one, settings say so, and then rules do too.
    for lane in LANES {
        let scene = Scene::with(*lane, |it| {
            let rows = vec![
                route("/open/secret/**", Access::SIGNED_IN),
                route("/open/**", Access::Public),
            ];
            it.proxy.routes = Routes::new(rows, Case::Insensitive);
        })
        .await;
        is_guarded(&scene, "/OPEN/Secret/x", "/OPEN/Secret/x").await;
        is_open(&scene, "/Open/x", "/Open/x").await;
    }
}

#[tokio::test(flavor = "local")]
async fn pth_10_no_query_makes_a_path_public() {
    on_every_lane(async |scene| {
        for target in [
            "/admin?x=/public/",
            "/admin?/healthz",
            "/admin?/public/x",
            "/api?/../public/x",
            "/admin?%2fpublic",
            "/admin?a=1;/public",
        ] {
            is_guarded(&scene, target, target).await;
        }
        // A pattern is text, not an expression: what it says is all that it matches.
        let all = Ask::get("/x/healthz");
        scene.refuses(&all, 401).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_13_a_prefix_ends_where_a_segment_does() {
    on_every_lane(async |scene| {
        for target in [
            "/publicadmin",
            "/public.admin",
            "/public-",
            "/public_x/y",
            "/public~",
            "/healthzz",
            "/healthz/x",
            "/healthz.json",
            "/publi",
            "/public%20",
        ] {
            is_guarded(&scene, target, target).await;
        }
        for target in ["/public", "/public/", "/public/x", "/healthz", "/healthz/"] {
            is_open(&scene, target, target).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_15_no_line_end_gets_past_the_end_of_a_pattern() {
    on_every_lane(async |scene| {
        for target in ["/healthz%0a", "/healthz%0d", "/public%0a/../admin", "/admin%0a/public"] {
            is_malformed(&scene, target).await;
        }
    })
    .await;
    // Patterns are of segments and stars: an expression is a mistake of the operator's or plain text.
    let scene = Scene::with(PLAIN, |it| {
        it.proxy.routes = Routes::new(vec![route("/^api.+$", Access::Public)], Case::Sensitive);
    })
    .await;
    is_guarded(&scene, "/apix", "/apix").await;
}

#[tokio::test(flavor = "local")]
async fn pth_16_of_an_absolute_target_and_a_host_that_differ_neither_counts() {
    // Over HTTP/2 a request has one of them (PTH-37).
    let scene = Scene::start().await;
    for (target, host) in [
        ("http://other/public", "self"),
        ("http://self/admin", "public.self"),
        ("http://self/public", "self:81"),
        ("http://self:81/public", "self"),
        ("http:///public", "self"),
        ("http://self", "other"),
    ] {
        scene.refuses_bytes(closing(&Ask::get(target).host(host)), 400).await;
    }
    for (target, host, status) in [
        ("http://self/admin", "self", 401),
        ("http://SELF:80/public", "self", 200),
        ("http://self/public/x?y", "Self", 200),
    ] {
        let answer = scene.ask(&Ask::get(target).host(host)).await;
        assert_eq!(answer.status, status, "{target} {host}");
        for seen in scene.take() {
            assert!(seen.target.starts_with("/public"), "{target}: {}", seen.target);
            assert_eq!(seen.header("host"), Some("self"));
        }
    }
}

/// As HTTP/1.1 has it, with an end of the connection.
fn closing(ask: &Ask) -> Vec<u8> {
    ask.clone().line("Connection", "close").h1()
}

#[tokio::test(flavor = "local")]
async fn pth_17_a_scheme_is_the_one_a_request_came_by_in_any_case() {
    let scene = Scene::start().await;
    for target in [
        "hTTps://self/public",
        "https://self/public",
        "HTTPS://self/admin",
        "ftp://self/public",
        "javascript://self/public",
        "javascript:alert(1)",
        "http/x://self/public",
        "ws://self/public",
        "file:///etc/passwd",
        "self/public",
    ] {
        let ask = Ask::get(target).host("self");
        scene.refuses_bytes(closing(&ask), 400).await;
        let ask = ask.bearer(&scene.token());
        scene.refuses_bytes(closing(&ask), 400).await;
    }
    let answer = scene.ask(&Ask::get("hTTp://self/public").host("self")).await;
    assert_eq!((answer.status, scene.take()[0].target.as_str()), (200, "/public"));
}

#[tokio::test(flavor = "local")]
async fn pth_18_a_host_has_no_user() {
    let scene = Scene::start().await;
    for (target, host) in [
        ("http://public@self/admin", "self"),
        ("http://public@self/public", "public@self"),
        ("http://self:80@evil/public", "self"),
    ] {
        scene.refuses_bytes(closing(&Ask::get(target).host(host)), 400).await;
    }
    on_every_lane(async |scene| {
        for host in ["a@b", "public@self", "user:pass@self", "@self", "self@"] {
            scene.refuses(&Ask::get("/public").host(host), 400).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_19_an_asterisk_is_nobodys_path() {
    on_every_lane(async |scene| {
        let preflight = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: PUT";
        for ask in [
            Ask::get("*"),
            Ask::new("OPTIONS", "*"),
            Ask::new("OPTIONS", "*").lines(preflight),
            Ask::new("OPTIONS", "*").bearer(&scene.token()),
        ] {
            scene.refuses(&ask, 400).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_21_bytes_that_are_no_utf_8_and_no_ascii_are_no_path() {
    on_every_lane(async |scene| {
        for target in [
            "/%c0%ae%c0%ae/admin",
            "/public/%c0%ae%c0%ae/admin",
            "/public%c0%af..%c0%afadmin",
            "/public/%e0%80%af",
            "/public/%f0%80%80%af",
            "/public/%ff",
            "/public/%u002e%u002e/admin",
            "/public/%u002f",
        ] {
            is_malformed(&scene, target).await;
        }
        for raw in
            ["/public/\u{80}", "/public/\u{ff}", "/public/\u{c0}\u{ae}", "/public/\u{c3}\u{bc}"]
        {
            scene.refuses(&Ask::get(raw), 400).await;
        }
        // A full-width dot is a letter like others: it is no dot to us, and is passed on as it is.
        is_open(&scene, "/public/%ef%bc%8e%ef%bc%8e/admin", "/public/%EF%BC%8E%EF%BC%8E/admin")
            .await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_22_an_escape_is_whole_or_the_path_is_none() {
    on_every_lane(async |scene| {
        for target in [
            "/%",
            "/%2",
            "/%zz",
            "/public/%",
            "/public/x%2",
            "/public/%g0",
            "/public/%0g",
            "/public/% 20",
            "/public/%%32%65",
            "/public/%-1",
        ] {
            if !target.contains(' ') {
                is_malformed(&scene, target).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_24_a_path_has_an_end_and_is_read_once() {
    on_every_lane(async |scene| {
        is_open(
            &scene,
            &format!("/public/{}", "x".repeat(8 * 1024)),
            &format!("/public/{}", "x".repeat(8 * 1024)),
        )
        .await;
        is_malformed(&scene, &format!("/public/{}admin", "../".repeat(9_000))).await;
        is_malformed(&scene, &format!("/public/{}admin", "%2e%2e/".repeat(3_000))).await;
    })
    .await;
    let scene = Scene::start().await;
    for length in [40 * 1024, 64 * 1024 + 1, 200 * 1024] {
        let since = scene.mark().await;
        let target = format!("/public/{}", "x".repeat(length));
        let answers = scene.send(closing(&Ask::get(&target))).await;
        // A target that is longer than a head may be is a head that is too long (see limits).
        assert!([414, 431].contains(&answers[0].status), "{length}: {answers:?}");
        scene.nothing_passed(&since, &length.to_string()).await;
    }
}

#[tokio::test(flavor = "local")]
async fn pth_25_no_header_says_another_path() {
    on_every_lane(async |scene| {
        for name in [
            "X-Forwarded-Uri",
            "X-Forwarded-Path",
            "X-Forwarded-Prefix",
            "X-Forwarded-Method",
            "X-Original-URI",
            "X-Original-URL",
            "X-Original-Path",
            "X-Rewrite-URL",
            "X-Envoy-Original-Path",
            "X-Accel-Redirect",
            "X_Forwarded_Uri",
            "X.Original.Url",
            "X-MS-Original-URL",
            "X-Invoke-Path",
            "Path-Info",
            "Script_Name",
        ] {
            for ask in [Ask::get("/admin"), Ask::get("/api")] {
                scene.refuses(&ask.line(name, "/public/x"), 401).await;
            }
            let answer = scene.ask(&Ask::get("/public/y").line(name, "/admin/root")).await;
            assert_eq!(answer.status, 200, "{name}");
            let seen = scene.take().remove(0);
            assert_eq!(seen.target, "/public/y", "{name}");
            assert!(!format!("{:?}", seen.headers).contains("root"), "{name}: {:?}", seen.headers);
        }
    })
    .await;
}

/// There is no such mode: no address of ours answers for another path than its own, not even to a
/// proxy that is trusted, and no setting would turn one on.
#[tokio::test(flavor = "local")]
async fn pth_26_nobody_is_asked_about_a_path_that_a_header_names() {
    let scene = Scene::with(PLAIN, |it| {
        it.proxy.trusted_proxies = TrustedProxies(vec!["127.0.0.0/8".parse().unwrap()]);
    })
    .await;
    for path in
        ["/", "/auth", "/verify", "/_auth", "/oauth2/auth", "/forward-auth", "/.countersign"]
    {
        for lines in [
            "",
            "X-Forwarded-Uri: /public",
            "X-Forwarded-Uri: /public\r\nX-Forwarded-Uri: /public/x",
            "X-Forwarded-Uri: public/x\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: a.test",
            "X-Original-Method: GET\r\nX-Original-URL: http://a.test/public",
        ] {
            scene.refuses(&Ask::get(path).lines(lines), 401).await;
        }
    }
    for key in [
        "forward_auth = true",
        "[forward_auth]\nlisten = \"127.0.0.1:4602\"",
        "mode = \"forward-auth\"",
    ] {
        assert!(!settings_text(key).unwrap_err().is_empty(), "{key}");
    }
}

#[tokio::test(flavor = "local")]
async fn pth_27_no_user_agent_is_a_probe() {
    on_every_lane(async |scene| {
        for agent in [
            "GoogleHC/1.0",
            "kube-probe/1.30",
            "ELB-HealthChecker/2.0",
            "Amazon-Route53-Health-Check-Service",
            "Prometheus/2.53",
            "curl/8",
            "",
        ] {
            for target in ["/admin", "/api", "/"] {
                scene.refuses(&Ask::get(target).line("User-Agent", agent), 401).await;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_28_no_address_is_a_credential() {
    for trusted in [vec![], vec!["127.0.0.0/8".parse().unwrap()]] {
        let scene =
            Scene::with(PLAIN, |it| it.proxy.trusted_proxies = TrustedProxies(trusted)).await;
        for line in [
            "X-Forwarded-For: 127.0.0.1",
            "X-Real-IP: 127.0.0.1",
            "Forwarded: for=127.0.0.1",
            "True-Client-IP: 127.0.0.1",
            "CF-Connecting-IP: 127.0.0.1",
            "X-Client-IP: ::1",
            "X-Forwarded-Host: localhost",
            "Via: 1.1 localhost",
            "X-Cluster-Client-IP: 10.0.0.1",
        ] {
            scene.refuses(&Ask::get("/admin").lines(line), 401).await;
            scene.refuses(&Ask::get("/admin").host("localhost").lines(line), 401).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn pth_29_no_header_turns_authentication_off() {
    on_every_lane(async |scene| {
        for line in [
            "X-Middleware-Subrequest: middleware:middleware:middleware:middleware:middleware",
            "X-Middleware-Subrequest: src/middleware",
            "X-Middleware-Next: 1",
            "X-Middleware-Rewrite: /public",
            "X-Invoke-Path: /public",
            "X-Internal: true",
            "X-Auth-Skip: 1",
            "X-Debug: true",
            "X-Clerk-Auth-Status: signed-in",
            "X-Clerk-Principal: user",
            "X-Countersign-Verified: true",
            "Signature: countersign=:AA==:\r\nSignature-Input: countersign=();keyid=\"x\"",
            "X-Clerk-Assertion: x",
            "Sec-Fetch-Site: same-origin",
            "Upgrade-Insecure-Requests: 1",
        ] {
            scene.refuses(&Ask::get("/admin").lines(line), 401).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_30_the_method_of_a_request_is_the_one_in_its_first_line() {
    for lane in LANES {
        let scene = Scene::with(*lane, |it| {
            let reads = Route {
                methods: Some(vec![Method::GET, Method::POST]),
                ..route("/things", Access::Public)
            };
            it.proxy.routes = Routes::new(vec![reads], Case::Sensitive);
        })
        .await;
        for name in [
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "X-HTTP-Method",
            "X_HTTP_Method_Override",
        ] {
            let ask = Ask::new("POST", "/things").line(name, "DELETE").body("a");
            assert_eq!(scene.ask(&ask).await.status, 200, "{name}");
            let seen = scene.take().remove(0);
            assert_eq!((seen.method.as_str(), seen.header(name)), ("POST", None), "{name}");
            scene.refuses(&Ask::new("DELETE", "/things").line(name, "GET"), 401).await;
        }
        // A query is the backend's own: it goes on as it came, and no rule looks at it.
        let ask = Ask::new("POST", "/things?_method=DELETE").body("a");
        assert_eq!(scene.ask(&ask).await.status, 200);
        assert_eq!(scene.take()[0].target, "/things?_method=DELETE");
    }
    // Where no rule looks at methods, the backend's own conventions are not ours to change.
    let scene = Scene::start().await;
    let ask = Ask::new("POST", "/public/x").line("X-HTTP-Method-Override", "PATCH");
    assert_eq!(scene.ask(&ask).await.status, 200);
    assert_eq!(scene.take()[0].header("x-http-method-override"), Some("PATCH"));
}

#[tokio::test(flavor = "local")]
async fn pth_31_a_method_is_a_token_and_not_folded() {
    let scene = Scene::start().await;
    for line in [
        "GE T /public",
        "GET\u{b} /public",
        "G\0T /public",
        " /public",
        "G(T /public",
        "GET\t/public x",
        "GET /admin HTTP/1.1\r\nX: /public",
        "\"GET\" /public",
        "G\u{c9}T /public",
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: p\r\n\r\n");
        let since = scene.mark().await;
        let answers = scene
            .send(super::raw::latin1(&format!(
                "{head}{}",
                "GET /public HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n"
            )))
            .await;
        let first = answers.first().map(|answer| answer.status);
        assert!(
            first == Some(400) || line.contains("HTTP/1.1") && first == Some(401),
            "{line:?}: {answers:?}"
        );
        if first == Some(400) {
            scene.nothing_passed(&since, line).await;
        }
        scene.take();
    }
    on_every_lane(async |scene| {
        // No rule for GET is one for `get`, and what no rule knows needs a token.
        for method in ["get", "Get", "gET"] {
            scene.refuses(&Ask::new(method, "/admin"), 401).await;
            let answer = scene.ask(&Ask::new(method, "/api").bearer(&scene.token())).await;
            assert_eq!((answer.status, scene.take()[0].method.as_str()), (200, method));
        }
    })
    .await;
    let long = format!("{} /public HTTP/1.1\r\nHost: p\r\n\r\n", "G".repeat(40 * 1024));
    scene.refuses_bytes(long, 431).await;
}

#[tokio::test(flavor = "local")]
async fn pth_32_a_verb_that_no_rule_lists_is_guarded() {
    for lane in LANES {
        let scene = Scene::with(*lane, |it| {
            let reads =
                Route { methods: Some(vec![Method::GET]), ..route("/page", Access::Public) };
            it.proxy.routes = Routes::new(vec![reads], Case::Sensitive);
        })
        .await;
        for method in ["FOO", "PROPFIND", "POST", "DELETE", "OPTIONS", "QUERY", "get", "PRI"] {
            scene.refuses(&Ask::new(method, "/page"), 401).await;
        }
        is_open(&scene, "/page", "/page").await;
        // HEAD goes with GET: it is told less, not more.
        if lane.client == Wire::H1 {
            let head = "HEAD /page HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n";
            let raw = crate::support::client::raw(&scene.proxy.address, head.as_bytes()).await;
            assert!(raw.starts_with("HTTP/1.1 200 ") && raw.ends_with("\r\n\r\n"), "{raw}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn pth_33_trace_is_refused_and_echoes_nothing() {
    on_every_lane(async |scene| {
        let token = scene.token();
        for ask in [
            Ask::new("TRACE", "/api").bearer(&token),
            Ask::new("TRACE", "/public/x").bearer(&token).line("cookie", "__session=crumb"),
            Ask::new("TRACE", "*"),
        ] {
            let answer = scene.refuses(&ask, 405).await;
            let shown = format!("{answer:?}");
            assert!(!shown.contains(&token) && !shown.contains("crumb"), "{shown}");
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn pth_34_nobody_is_connected_through_to_anywhere() {
    let scene = Scene::start().await;
    let evil = super::recorder::Recorder::start(Wire::H1).await;
    let token = scene.token();
    for target in
        ["evil:25", "self:80", &evil.address, &scene.backend.address, "/public", "http://self/x"]
    {
        for bearer in [String::new(), format!("Authorization: Bearer {token}\r\n")] {
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: self\r\n{bearer}\r\n");
            let since = scene.mark().await;
            let answers = scene.send(format!("{head}EHLO\r\n")).await;
            assert_eq!(answers.len(), 1, "{target}: {answers:?}");
            let refused = [400, 405].contains(&answers[0].status);
            assert!(
                refused && answers[0].header("connection") == Some("close"),
                "{target}: {answers:?}"
            );
            scene.nothing_passed(&since, target).await;
        }
    }
    assert_eq!(evil.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn pth_35_a_host_is_compared_without_its_case_its_dot_and_its_port() {
    for lane in LANES {
        let scene = Scene::with(*lane, |it| {
            let mut rows: Vec<_> = (0..150)
                .map(|n| Route { host: Some(format!("h{n}.test")), ..route("/x", Access::Public) })
                .collect();
            rows.push(Route { host: Some("open.test".into()), ..route("/x", Access::Public) });
            rows.push(Route { host: Some("shut.test".into()), ..route("/x", Access::SIGNED_IN) });
            rows.push(route("/x", Access::Public));
            it.proxy.routes = Routes::new(rows, Case::Sensitive);
        })
        .await;
        for host in ["SHUT.test", "shut.test.", "shut.test:80", "Shut.Test.:8080", "shut.test:99"] {
            scene.refuses(&Ask::get("/x").host(host), 401).await;
        }
        for host in ["h149.TEST", "open.test.", "OPEN.test:8080", "other.test"] {
            let answer = scene.ask(&Ask::get("/x").host(host)).await;
            assert_eq!(answer.status, 200, "{host}");
            let told = scene.take().remove(0);
            assert_eq!(told.header("host"), Some(host.to_ascii_lowercase().as_str()), "{host}");
        }
        for host in
            ["self:99999", "self:0", "self:-1", "self:", "self:80:80", "self:+80", "self: 80"]
        {
            scene.refuses(&Ask::get("/x").host(host), 400).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn pth_36_a_request_is_for_one_host_that_can_be_one() {
    let scene = Scene::start().await;
    for hosts in [&[][..], &["a", "a"], &["a", "b"], &["", "a"]] {
        let lines: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let head = format!("GET /public HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        scene.refuses_bytes(head, 400).await;
    }
    on_every_lane(async |scene| {
        for host in [
            "",
            "a, b",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a;b",
            "a%2eb",
            "[fe80::1%25eth0]",
            "[::1",
            "[::1]x",
            "::1",
            "[127.0.0.1]",
            "[]",
            "\u{ff}",
            "\u{430}.com",
            "a\u{a0}b",
        ]
        .iter()
        .filter(|host| host.chars().all(|it| u32::from(it) < 256))
        {
            scene.refuses(&Ask::get("/public").host(host), 400).await;
        }
        for host in ["[::1]", "[::1]:8080", "127.0.0.1", "xn--example-.org", "a_b"] {
            let answer = scene.ask(&Ask::get("/public").host(host)).await;
            assert_eq!(answer.status, 200, "{host}");
            assert_eq!(scene.take()[0].header("host"), Some(host));
        }
    })
    .await;
    // An alias is another name: no rule for the one is one for the other.
    let scene = Scene::with(PLAIN, |it| {
        let of_host =
            Route { host: Some("xn--exmple-cua.org".into()), ..route("/x", Access::Public) };
        it.proxy.routes = Routes::new(vec![of_host], Case::Sensitive);
    })
    .await;
    for host in ["xn--example-.org", "example.org", "xn--exmple-cua.org.evil.org"] {
        scene.refuses(&Ask::get("/x").host(host), 401).await;
    }
}

#[tokio::test(flavor = "local")]
async fn pth_37_two_hosts_of_one_request_are_none() {
    for lane in LANES.iter().filter(|lane| lane.client == Wire::H2c) {
        let scene = Scene::on(*lane).await;
        for (authority, hosts, served) in [
            ("a.test", &["a.test"][..], true),
            ("a.test", &["b.test"], false),
            ("a.test", &["a.test", "b.test"], false),
            ("a.test", &["a.test:81"], false),
            ("a.test", &[""], false),
        ] {
            let ask = hosts.iter().fold(Ask::get("/public"), |ask, host| ask.line("host", host));
            let ask = ask.host(authority);
            if !served {
                scene.refuses(&ask, 400).await;
                continue;
            }
            assert_eq!(scene.ask(&ask).await.status, 200, "{authority} {hosts:?}");
            assert_eq!(scene.take()[0].header("host"), Some("a.test"));
        }
    }
}

/// No rule is of a connection: TLS and its client certificates are the same for every host, so what
/// a handshake named is not asked, and the host of each request is.
#[tokio::test(flavor = "local")]
async fn pth_38_the_name_in_a_handshake_decides_nothing() {
    use crate::support::tls::{Authority, Mounted};
    let authority = Authority::new();
    let files = Mounted::of(&authority.pair("localhost"));
    let scene = Scene::with(PLAIN, |it| {
        it.tls = Some(countersign::tls::ClientTlsSettings {
            pair: files.pair(),
            client_ca: None,
            http2: true,
        });
        let open = Route { host: Some("localhost".into()), ..route("/x", Access::Public) };
        it.proxy.routes = Routes::new(vec![open], Case::Sensitive);
    })
    .await;
    for (host, status) in [("localhost", 200), ("admin.test", 401), ("localhost.admin.test", 401)] {
        // The name that is asked for in the handshake is `localhost` each time.
        let client = scene.proxy.client().tls(&authority.client(None)).header("host", host);
        assert_eq!(client.get("/x").await.status, status, "{host}");
    }
    for key in ["[[tls]]\nhost = \"a\"", "[route.tls]\na = 1", "[tls.hosts]\na = \"b\""] {
        assert!(!settings_text(key).unwrap_err().is_empty(), "{key}");
    }
}

#[tokio::test(flavor = "local")]
async fn pth_39_the_first_rule_that_matches_decides_and_one_that_never_can_is_told() {
    for lane in LANES {
        let scene = Scene::with(*lane, |it| {
            let writes =
                Route { methods: Some(vec![Method::POST]), ..route("/files/x", Access::SIGNED_IN) };
            let rows = vec![
                writes,
                route("/files/**", Access::Public),
                route("/files/private/**", Access::SIGNED_IN),
                route("/files/**", Access::SIGNED_IN),
            ];
            it.proxy.routes = Routes::new(rows, Case::Sensitive);
        })
        .await;
        for (method, path, status) in [
            ("GET", "/files/x", 200),
            ("POST", "/files/x", 401),
            ("PUT", "/files/x", 200),
            ("GET", "/files/private/x", 200),
            ("GET", "/file", 401),
        ] {
            let answer = scene.ask(&Ask::new(method, path)).await;
            assert_eq!(answer.status, status, "{method} {path}");
        }
        scene.take();
    }
    let text = "[[route]]\npath = \"/files/**\"\naccess = \"public\"\n\
                [[route]]\npath = \"/files/private/**\"\nrole = \"org:admin\"\n";
    let told = settings_text(text).unwrap().warnings;
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("route[2].path: never matches")), "{told:?}");
}

#[tokio::test(flavor = "local")]
async fn pth_40_what_no_rule_names_is_guarded() {
    on_every_lane(async |scene| {
        for target in
            ["/nowhere", "/", "/favicon.ico", "/.well-known/jwks.json", "/metrics", "/status"]
        {
            is_guarded(&scene, target, target).await;
        }
    })
    .await;
    let none =
        Scene::with(PLAIN, |it| it.proxy.routes = Routes::new(vec![], Case::Sensitive)).await;
    is_guarded(&none, "/public/x", "/public/x").await;
}

/// A route without `access` asks for a credential, and what a later one says takes nothing off an
/// earlier one.
#[tokio::test(flavor = "local")]
async fn pth_41_a_rule_that_says_nothing_of_access_is_guarded() {
    let text = "[[route]]\npath = \"/api/**\"\n[[route]]\npath = \"/api/x\"\naccess = \"public\"\n";
    let loaded = settings_text(text).unwrap();
    let routes = loaded.settings.proxy.routes;
    let scene = Scene::with(PLAIN, |it| it.proxy.routes = routes).await;
    is_guarded(&scene, "/api/y", "/api/y").await;
    is_guarded(&scene, "/api/x", "/api/x").await;
    let told: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("never matches")), "{told:?}");
    for wrong in
        ["access = \"\"", "access = \"none\"", "access = false", "access = []", "auth = \"off\""]
    {
        let text = format!("[[route]]\npath = \"/a\"\n{wrong}\n");
        let mistakes = settings_text(&text).unwrap_err();
        assert!(
            mistakes[0].contains("(3:") || mistakes[0].contains(":3:"),
            "{wrong}: {mistakes:?}"
        );
    }
}

/// No rule looks at a header, so none sees the first of two: what a client sends twice goes on twice.
#[tokio::test(flavor = "local")]
async fn pth_42_no_rule_is_of_a_header() {
    for key in [
        "header = \"x-tenant\"",
        "headers = { x-tenant = \"a\" }",
        "query = \"a\"",
        "source = \"10.0.0.0/8\"",
    ] {
        let text = format!("[[route]]\npath = \"/a\"\n{key}\n");
        let mistakes = settings_text(&text).unwrap_err();
        assert!(mistakes[0].contains("unknown key"), "{key}: {mistakes:?}");
    }
    on_every_lane(async |scene| {
        let ask = Ask::get("/public/x")
            .line("x-tenant", "a")
            .line("x-tenant", "b")
            .line("x-tenant", "a,b");
        assert_eq!(scene.ask(&ask).await.status, 200);
        let seen = scene.take().remove(0);
        let told: Vec<_> = seen.headers.get_all("x-tenant").iter().collect();
        assert_eq!(told, ["a", "b", "a,b"]);
        scene.refuses(&Ask::get("/admin").line("x-tenant", "a").line("x-tenant", "b"), 401).await;
    })
    .await;
}
