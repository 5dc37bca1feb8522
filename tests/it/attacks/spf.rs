//! SPF: what a client says of itself, and what is for one connection only.

use std::sync::Arc;

use countersign::clock::Clock;
use countersign::core::identity::{Field, IdentityPolicy, Source};
use countersign::core::time::UnixTime;
use countersign::dev::verifier::Verifier;
use serde_json::json;

use super::frames::{DATA, END_STREAM, H2, block, frame, literal};
use super::raw::{Ask, LANES, Lane, PLAIN, Scene, Wire, on_every_lane, only_ours};
use super::recorder::{Recorder, Reply};
use crate::signature::verify;
use crate::support::settings::{SECRET, settings_for};
use crate::support::{Issuer, Proxy};

/// Holds that these header lines change nothing of what the backend is told, whoever sends them and
/// wherever to: nothing of theirs says `root` to it.
async fn is_stripped(scene: &Scene, lines: &str) {
    let preflight = "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: PUT\r\n";
    let token = scene.token();
    for (what, ask, principal) in [
        ("a caller", Ask::get("/api").bearer(&token), "user"),
        ("an admin", Ask::get("/admin/x").bearer(&token), "user"),
        ("nobody", Ask::get("/public/x"), "anonymous"),
        ("a probe", Ask::get("/healthz"), "anonymous"),
        ("nobody where a caller is optional", Ask::get("/optional/x"), "anonymous"),
        ("a caller where nobody is asked for", Ask::get("/public/x").bearer(&token), "anonymous"),
        ("a preflight", Ask::new("OPTIONS", "/api").lines(preflight), "anonymous"),
    ] {
        let case = format!("{what}: {lines:?}");
        let ask = ask.lines(lines);
        if scene.over_h2() && ask.is_of_a_hop() {
            scene.refuses(&ask, 400).await;
            continue;
        }
        let answer = scene.ask(&ask).await;
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        let seen = scene.take();
        assert_eq!(seen.len(), 1, "{case}");
        only_ours(&seen[0], principal, &case);
        let shown = format!("{:?}", seen[0].headers);
        assert!(!shown.contains("root"), "{case}: {shown}");
        assert_eq!(seen[0].header("connection"), None, "{case}");
    }
}

#[tokio::test(flavor = "local")]
async fn spf_02_identity_is_stripped_on_routes_that_ask_for_nobody_too() {
    on_every_lane(async |scene| {
        for name in crate::headers::IDENTITY {
            is_stripped(&scene, &format!("{name}: root")).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_03_identity_is_stripped_from_a_preflight() {
    on_every_lane(async |scene| {
        let preflight = Ask::new("OPTIONS", "/api")
            .line("origin", "https://evil.test")
            .line("access-control-request-method", "PUT")
            .line("x-clerk-user-id", "root")
            .line("authorization", "Bearer root")
            .line("cookie", "__session=root")
            .body("root");
        assert_eq!(scene.ask(&preflight).await.status, 200);
        let seen = scene.take();
        only_ours(&seen[0], "anonymous", "a preflight");
        assert!(!format!("{:?}", seen[0]).contains("root"), "{:?}", seen[0]);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_04_a_claim_that_is_absent_is_an_empty_header_and_not_the_clients() {
    for lane in LANES {
        let scene = Scene::with(*lane, |settings| {
            let email = ("x-clerk-email".parse().unwrap(), Source::Claim("/email".to_owned()));
            let plain = ("x-mail".parse().unwrap(), Source::Claim("/email".to_owned()));
            settings.proxy.identity = IdentityPolicy::new(vec![email, plain]);
            settings.proxy.strip.ours = vec!["x-mail".parse().unwrap()];
        })
        .await;
        let spoof =
            "X-Clerk-Email: root@x\r\nX_Clerk_Email: root@x\r\nX-Mail: root@x\r\nx_mail: root@x";
        for claims in [json!({}), json!({"email": null}), json!({"email": ""})] {
            let ask = Ask::get("/api").bearer(&scene.mint(claims.clone())).lines(spoof);
            assert_eq!(scene.ask(&ask).await.status, 200);
            let seen = scene.take().remove(0);
            for name in ["x-clerk-email", "x-mail"] {
                let values: Vec<_> = seen.headers.get_all(name).iter().collect();
                assert_eq!(values, [""], "{claims} {name}");
            }
            assert!(!format!("{:?}", seen.headers).contains("root"), "{:?}", seen.headers);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn spf_05_an_underscore_is_a_hyphen_to_somebody_and_stripped_as_one() {
    on_every_lane(async |scene| {
        for name in [
            "X_Clerk_User_Id",
            "X-Clerk_User-Id",
            "x_clerk-user-id",
            "X_CLERK_ORG_ROLE",
            "x-clerk-user_id",
        ] {
            is_stripped(&scene, &format!("{name}: root")).await;
        }
    })
    .await;
}

/// By default more goes than the attack list asks for: whatever folds to one of ours in some
/// gateway. A name that stays another one after folding is passed on as it came.
#[tokio::test(flavor = "local")]
async fn spf_06_whatever_a_gateway_folds_to_one_of_ours_is_stripped() {
    on_every_lane(async |scene| {
        for name in [
            "X.Clerk.User.Id",
            "X!Clerk!User!Id",
            "X-Clerk-User-Id-",
            "x-clerk-user-id_",
            "X~Clerk'User`Id",
            "x|clerk|user|id",
            "X+Clerk*User#Id",
        ] {
            is_stripped(&scene, &format!("{name}: root")).await;
        }
        let ask = Ask::get("/public/x").line("HTTP_X_CLERK_USER_ID", "other");
        assert_eq!(scene.ask(&ask).await.status, 200);
        let seen = scene.take().remove(0);
        assert_eq!(
            seen.header("http_x_clerk_user_id"),
            Some("other"),
            "HTTP_HTTP_X_… to a gateway"
        );
        only_ours(&seen, "anonymous", "HTTP_X_CLERK_USER_ID");
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_07_capitals_and_repetition_hide_nothing() {
    // Over HTTP/2 a name in capitals is no name at all (SPF-21).
    let scene = Scene::start().await;
    for lines in [
        "x-CLERK-user-ID: root",
        "X-CLERK-USER-ID: root",
        "X-Clerk-User-Id: root\r\nx-clerk-user-id: root\r\nX-CLERK-user-id: root",
        "X-Clerk-User-Id: user_1, root\r\nX-Clerk-Principal: root",
    ] {
        is_stripped(&scene, lines).await;
    }
}

#[tokio::test(flavor = "local")]
async fn spf_08_a_header_that_settings_write_in_another_case_is_one_header() {
    for lane in LANES {
        let scene = Scene::with(*lane, |settings| {
            let user = ("x-auth-user".parse().unwrap(), Source::Field(Field::UserId));
            settings.proxy.identity = IdentityPolicy::new(vec![user]);
            settings.proxy.strip.ours = vec!["x-auth-user".parse().unwrap()];
        })
        .await;
        let ask = Ask::get("/api").bearer(&scene.token());
        let ask = ask.lines("X-Auth-User: root\r\nX-AUTH-USER: root\r\nx_auth_user: root");
        assert_eq!(scene.ask(&ask).await.status, 200);
        let seen = scene.take().remove(0);
        let values: Vec<_> = seen.headers.get_all("x-auth-user").iter().collect();
        assert!(values.len() == 1 && values[0].as_bytes().starts_with(b"user_"), "{values:?}");
        assert!(!format!("{:?}", seen.headers).contains("root"), "{:?}", seen.headers);
    }
}

/// A head that is refused before anything is decided on it, whatever else is in it.
async fn hides(scene: &Scene, lines: &str) {
    let head = format!("GET /public/x HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
    scene.refuses_bytes(super::raw::latin1(&head), 400).await;
}

#[tokio::test(flavor = "local")]
async fn spf_09_a_space_before_the_colon_is_refused() {
    let scene = Scene::start().await;
    for name in
        ["X-Clerk-User-Id ", "X-Clerk-User-Id\t", "X-Clerk-User-Id  ", "X-Clerk-User-Id\u{b}"]
    {
        hides(&scene, &format!("Host: p\r\n{name}: root")).await;
    }
}

#[tokio::test(flavor = "local")]
async fn spf_10_a_folded_line_is_refused() {
    let scene = Scene::start().await;
    for lines in [
        "Host: p\r\nFoo: a\r\n X-Clerk-User-Id: root",
        "Host: p\r\nFoo: a\r\n\tX-Clerk-User-Id: root",
        " X-Clerk-User-Id: root\r\nHost: p",
        "\tX-Clerk-User-Id: root\r\nHost: p",
        "Host: p\r\nFoo:\r\n X-Clerk-User-Id: root",
    ] {
        hides(&scene, lines).await;
    }
}

#[tokio::test(flavor = "local")]
async fn spf_11_no_byte_hides_a_header_within_another() {
    let scene = Scene::start().await;
    for lines in [
        "Host: p\r\nFoo: a\rX-Clerk-User-Id: root",
        "Host: p\r\nFoo: a\0b",
        "Host: p\r\nX-Clerk-User-Id\0: root",
        "Host: p\r\nFoo: a\u{7f}b",
        "Host: p\r\nFoo: a\u{1}b",
    ] {
        hides(&scene, lines).await;
    }
    // A lone line feed ends a line here, as RFC 9112 §2.2 allows (see H1-19): what follows it is a
    // header like others, and stripped like others.
    let head = "GET /public/x HTTP/1.1\r\nHost: p\r\nConnection: close\r\nFoo: a\nX-Clerk-User-Id: root\r\n\r\n";
    assert_eq!(scene.send(head).await[0].status, 200);
    let seen = scene.take().remove(0);
    only_ours(&seen, "anonymous", head);
    assert_eq!(seen.header("foo"), Some("a"));
}

#[tokio::test(flavor = "local")]
async fn spf_12_what_connection_names_is_taken_off_before_ours_is_added() {
    on_every_lane(async |scene| {
        for lines in [
            "Connection: close, X-Clerk-User-Id".to_owned(),
            "Connection: close, Signature, Signature-Input".to_owned(),
            format!("Connection: {}", crate::headers::IDENTITY.join(", ")),
            "Connection: host, x-request-id, x-forwarded-for, x-forwarded-host".to_owned(),
        ] {
            is_stripped(&scene, &lines).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_13_no_connection_header_is_left_for_the_next_hop_to_act_on() {
    on_every_lane(async |scene| {
        is_stripped(&scene, "Connection: X-Clerk-User-Id, Signature, x-clerk-assertion").await;
        assert!(!scene.backend.text().to_ascii_lowercase().contains("\r\nconnection:"));
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_14_no_spelling_of_connection_takes_an_identity_header_off() {
    on_every_lane(async |scene| {
        let many =
            (0..999).fold("x-clerk-user-id".to_owned(), |all, name| format!("{all},n{name}"));
        for lines in [
            "connection: x-CLERK-user-id",
            "Connection: close\r\nConnection: X-Clerk-User-Id",
            "Connection: , ,X-Clerk-User-Id;q=1, x-clerk-user-id",
            "Connection: X_Clerk_User_Id\r\nX_Clerk_User_Id: root",
            "Connection:\tx-clerk-user-id\t,\tx-clerk-principal",
            "Connection: \"x-clerk-user-id\", x-clerk-org-role",
            &format!("Connection: {many}"),
        ] {
            is_stripped(&scene, lines).await;
        }
        let over = "x-clerk-user-id,".repeat(2200);
        scene.refuses(&Ask::get("/public/x").line("connection", &over), 431).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_16_what_is_for_one_hop_goes_no_further() {
    on_every_lane(async |scene| {
        for (lines, te) in [
            ("Proxy-Connection: X-Clerk-User-Id", None),
            ("Keep-Alive: timeout=5, x-clerk-user-id=root", None),
            ("TE: trailers, deflate\r\nConnection: TE", Some("trailers")),
            ("TE: deflate", None),
            ("Proxy-Authorization: Basic cm9vdDpyb290", None),
            ("Proxy-Authenticate: Basic", None),
            ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk", None),
        ] {
            let ask = Ask::get("/api").bearer(&scene.token()).lines(lines);
            if scene.over_h2() && ask.is_of_a_hop() {
                scene.refuses(&ask, 400).await;
                continue;
            }
            assert_eq!(scene.ask(&ask).await.status, 200, "{lines}");
            let seen = scene.take().remove(0);
            only_ours(&seen, "user", lines);
            assert_eq!(seen.header("te"), te, "{lines}");
            // Ours, which says that `te` ends at the backend.
            let connection = te.filter(|_| !scene.before_h2()).map(|_| "te");
            assert_eq!(seen.header("connection"), connection, "{lines}");
            for gone in [
                "proxy-connection",
                "keep-alive",
                "proxy-authorization",
                "proxy-authenticate",
                "upgrade",
                "http2-settings",
            ] {
                assert_eq!(seen.header(gone), None, "{lines}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_17_a_connection_header_that_is_no_text_is_taken_off_like_any() {
    on_every_lane(async |scene| {
        for lines in [
            "Connection: \u{ff}",
            "Connection: \u{ff}, x-clerk-user-id",
            "Connection: x-clerk-user-id, \u{c3}\u{28}\r\nConnection: \u{80}",
        ] {
            is_stripped(&scene, lines).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_18_a_trailer_is_no_second_head() {
    on_every_lane(async |scene| {
        let ask = Ask::new("POST", "/api").bearer(&scene.token()).body("hello");
        let ask = ask
            .trailer("x-clerk-user-id", "root")
            .trailer("x_clerk_org_role", "root")
            .trailer("authorization", "Bearer evil")
            .trailer("remote-user", "root")
            .trailer("signature", "root")
            .trailer("content-length", "9")
            .trailer("host", "root")
            .trailer("cookie", "__session=root")
            .trailer("x-sum", "1");
        assert_eq!(scene.ask(&ask).await.status, 200);
        let seen = scene.take().remove(0);
        only_ours(&seen, "user", "trailers");
        assert_eq!(seen.body, "hello");
        let trailers = seen.trailers.unwrap_or_default();
        assert!(trailers.keys().all(|name| name == "x-sum"), "{trailers:?}");
    })
    .await;
}

/// A connection of HTTP/2 on which something is sent that is no request.
async fn is_no_request(scene: &Scene, case: &str, block: &[u8], trailers: Option<&[u8]>) {
    let since = scene.mark().await;
    let mut h2 = H2::open(&scene.proxy.address).await;
    let stream = h2.stream();
    h2.head(stream, block, if trailers.is_some() { 0 } else { END_STREAM }).await;
    if let Some(trailers) = trailers {
        h2.send(&frame(DATA, 0, stream, b"hello")).await;
        h2.head(stream, trailers, END_STREAM).await;
    }
    let outcome = h2.outcome(stream).await;
    let refused = outcome.status().is_none_or(|status| status == 400);
    assert!(refused, "{case}: {outcome:?}");
    if trailers.is_none() {
        scene.untouched(&since, case).await;
    }
    assert!(scene.take().is_empty(), "{case}: no whole request");
}

#[tokio::test(flavor = "local")]
async fn spf_19_trailers_of_http_2_carry_neither_identity_nor_a_second_target() {
    for lane in LANES.iter().filter(|lane| lane.client == Wire::H2c) {
        let scene = Scene::on(*lane).await;
        for (kind, status) in [("", 200), ("application/grpc", 200)] {
            let ask = Ask::new("POST", "/api").bearer(&scene.token()).line("content-type", kind);
            let ask = ask.body("hello").trailer("x-clerk-user-id", "root").trailer("x-sum", "1");
            let ask =
                ask.trailer("authorization", "Bearer root").trailer("x_clerk_org_role", "root");
            assert_eq!(scene.ask(&ask).await.status, status, "{kind}");
            let seen = scene.take().remove(0);
            only_ours(&seen, "user", kind);
            assert!(!format!("{seen:?}").contains("root"), "{:?}", seen.trailers);
        }
        let head = block(&Ask::new("POST", "/api").bearer(&scene.token()));
        // The reader of HTTP/2 takes the names of a target off trailers; any other is no trailer.
        for (name, value) in [(":path", "/admin"), (":method", "GET"), (":status", "200")] {
            let mut h2 = H2::open(&scene.proxy.address).await;
            let stream = h2.stream();
            h2.head(stream, &head, 0).await;
            h2.send(&frame(DATA, 0, stream, b"hello")).await;
            h2.head(stream, &literal(name, value), END_STREAM).await;
            let outcome = h2.outcome(stream).await;
            assert!(
                [None, Some(200), Some(400)].contains(&outcome.status()),
                "{name}: {outcome:?}"
            );
            for seen in scene.take() {
                assert_eq!(
                    (seen.target.as_str(), seen.method.as_str()),
                    ("/api", "POST"),
                    "{name}"
                );
                assert_eq!(seen.trailers, None, "{name}");
            }
        }
        is_no_request(&scene, ":x", &head, Some(&literal(":x", "y"))).await;
        let odd = scene.backend.odd();
        assert!(odd.iter().all(|odd| odd.starts_with("an end in a ")), "{odd:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn spf_21_a_name_in_capitals_is_none_over_http_2() {
    let scene = Scene::on(Lane { client: Wire::H2c, backend: Wire::H1 }).await;
    for name in ["X-Clerk-User-Id", "x-clerk-user-iD", "Host", "COOKIE"] {
        let mut head = block(&Ask::get("/public"));
        head.extend(literal(name, "root"));
        is_no_request(&scene, name, &head, None).await;
    }
}

#[tokio::test(flavor = "local")]
async fn spf_22_no_byte_makes_two_fields_of_one_over_http_2() {
    let scene = Scene::on(Lane { client: Wire::H2c, backend: Wire::H1 }).await;
    for (name, value) in [
        ("foo: x\r\nx-clerk-user-id", "root"),
        ("foo x", "root"),
        ("foo:", "root"),
        ("", "root"),
        ("foo\0", "root"),
        ("f\u{e9}", "root"),
        ("foo", "x\r\nx-clerk-user-id: root"),
        ("foo", "x\nx-clerk-user-id: root"),
        ("foo", "x\rx-clerk-user-id: root"),
        ("foo", "x\0"),
        (":x-clerk-user-id", "root"),
        (":path", "/public/two"),
    ] {
        let mut head = block(&Ask::get("/public"));
        head.extend(literal(name, value));
        is_no_request(&scene, &format!("{name:?}: {value:?}"), &head, None).await;
    }
}

#[tokio::test(flavor = "local")]
async fn spf_23_the_identity_headers_of_other_products_are_stripped() {
    on_every_lane(async |scene| {
        for name in [
            "X-Forwarded-User",
            "X-Forwarded-Email",
            "X-Forwarded-Groups",
            "X-Remote-User",
            "X-Remote-Group",
            "Remote-User",
            "Remote_User",
            "Remote-Groups",
            "Remote-Email",
            "X-WEBAUTH-USER",
            "X-WebAuth-Role",
            "X-Consumer-Username",
            "X-Consumer-Id",
            "X-Credential-Identifier",
            "X-Userinfo",
            "X-Goog-Authenticated-User-Email",
            "X-Goog-IAP-JWT-Assertion",
            "x-amzn-oidc-identity",
            "x-amzn-oidc-data",
            "x-amzn-ava-user",
            "Cf-Access-Jwt-Assertion",
            "Cf-Access-Authenticated-User-Email",
            "X-Pomerium-Claim-Email",
            "X-Pomerium-Jwt-Assertion",
            "OIDC_CLAIM_email",
            "OIDC-Claim-sub",
            "Impersonate-User",
            "Impersonate-Group",
            "X-authentik-username",
            "X-authentik-groups",
            "X-MS-Client-Principal",
            "X-MS-Client-Principal-Name",
            "X-Auth-Request-User",
            "X-Auth-Request-Email",
        ] {
            is_stripped(&scene, &format!("{name}: root")).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_24_the_certificate_of_a_client_is_not_a_clients_to_name() {
    on_every_lane(async |scene| {
        for name in [
            "X-Forwarded-Client-Cert",
            "X-Forwarded-Tls-Client-Cert",
            "SSL-Client-Cert",
            "SSL_CLIENT_CERT",
            "SSL-Client-S-DN",
            "X-SSL-Client-Cert",
            "X-SSL-Client-S-DN",
            "X-SSL-Client-Verify",
        ] {
            is_stripped(&scene, &format!("{name}: root")).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_25_a_head_of_too_many_headers_is_refused_whole() {
    on_every_lane(async |scene| {
        let many = (0..110).fold(Ask::get("/public/x"), |ask, n| ask.line(&format!("a-{n}"), "1"));
        scene.refuses(&many.line("x-clerk-user-id", "root"), 431).await;
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_26_the_signature_covers_what_we_say_and_nothing_else() {
    for lane in LANES {
        let clock = Clock::fixed(UnixTime::from_secs(1_700_000_000));
        let issuer = Issuer::start(clock.clone()).unwrap();
        let backend = Recorder::start(lane.backend).await;
        let mut settings = settings_for(&issuer.origin(), &backend.address);
        settings.proxy.upstream_protocol = lane.upstream_protocol();
        let proxy = Proxy::start_with(settings, clock.clone()).await;
        let scene = Scene::of(*lane, Arc::new(issuer), backend, proxy);
        let plain = Ask::get("/api").bearer(&scene.token());
        let spoofed = plain.clone().lines(
            "X-Clerk-User-Id: root\r\nx_clerk_user_id: root\r\nX-Clerk-Other: root\r\n\
             Signature: countersign=:cm9vdA==:, own=:cm9vdA==:\r\n\
             Signature-Input: countersign=(\"x-clerk-other\");keyid=\"root\", own=(\"x-own\")",
        );
        let mut told = Vec::new();
        for ask in [&plain, &spoofed] {
            assert_eq!(scene.ask(ask).await.status, 200);
            let seen = scene.take().remove(0);
            verify(&seen, &Verifier::hmac(SECRET), clock.now()).unwrap();
            let input = seen.header("signature-input").unwrap();
            let ours = input.split("countersign=").nth(1).unwrap();
            told.push(ours.split(", own=").next().unwrap().to_owned());
            assert!(!ours.contains("x-clerk-other") && !ours.contains("root"), "{input}");
        }
        assert_eq!(told[0], told[1]);
    }
}

#[tokio::test(flavor = "local")]
async fn spf_27_our_values_are_never_joined_with_a_clients() {
    on_every_lane(async |scene| {
        let lines = "X-Clerk-Org-Permissions: org:root\r\nX-Clerk-Org-Permissions: org:b:root\r\n\
                     x-clerk-org-role: org:root, org:owner";
        let ask = Ask::get("/api").bearer(&scene.token()).lines(lines);
        assert_eq!(scene.ask(&ask).await.status, 200);
        let seen = scene.take().remove(0);
        only_ours(&seen, "user", lines);
        assert_eq!(seen.header("x-clerk-org-role"), Some("org:admin"));
        assert!(!format!("{:?}", seen.headers).contains("root"), "{:?}", seen.headers);
    })
    .await;
}

#[tokio::test(flavor = "local")]
async fn spf_28_a_backend_that_echoes_what_it_was_sent_gives_no_proof_away() {
    for lane in LANES {
        let reply = Reply::ok()
            .line("x-clerk-user-id", "user_root")
            .line("x_clerk_user_id", "user_root")
            .line("x-clerk-principal", "user_root")
            .line("signature", "countersign=:cm9vdA==:")
            .line("signature-input", "countersign=()")
            .line("x-forwarded-for", "root")
            .line("x-other", "kept");
        let backend = Recorder::replying(lane.backend, reply).await;
        let scene = Scene::before(*lane, backend, |_| {}).await;
        for ask in [Ask::get("/api").bearer(&scene.token()), Ask::get("/public/x")] {
            let answer = scene.ask(&ask).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
            if lane.client == PLAIN.client {
                let shown = format!("{:?}", answer.headers);
                assert!(!shown.contains("root") && !shown.contains("countersign="), "{shown}");
                assert_eq!(answer.header("x-other"), Some("kept"));
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn spf_30_an_interim_answer_carries_no_identity() {
    let before = "HTTP/1.1 103 Early Hints\r\nx-clerk-user-id: user_root\r\nlink: </a>\r\n\r\n\
                  HTTP/1.1 103 Early Hints\r\nsignature: root\r\n\r\n";
    let backend = Recorder::replying(PLAIN.backend, Reply { before, ..Reply::ok() }).await;
    let scene = Scene::before(PLAIN, backend, |_| {}).await;
    let ask = "GET /public/x HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n";
    let answers = scene.send(ask).await;
    assert!(!format!("{answers:?}").contains("root"), "{answers:?}");
    assert_eq!(answers.last().map(|answer| answer.status), Some(200));
}
