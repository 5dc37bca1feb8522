//! CLM: what a token says of itself: until when it is good, from whom, for whom, and of whom.

use countersign::config::Settings;
use countersign::core::claims::AzpPolicy;
use countersign::core::issuer::Impersonation;
use serde_json::{Value, json};

use super::tokens::{
    ALICE, By, CLERK, NOW, OIDC, Scene, bearer, good, mistakes, oidc, session, session_with,
};
use crate::support::key_server::{KeyServer, Reply};
use crate::support::settings::{PARTY, clerk_policy, session_claims};

/// `token` passes or is refused for this reason; an empty one lets it pass.
async fn becomes(scene: &Scene, what: &str, token: &str, reason: &str) {
    if reason.is_empty() {
        scene.passes(what, token).await;
    } else {
        scene.refuses(what, token, reason).await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_02_a_token_that_expired_in_1970_has_expired() {
    let scene = Scene::set().await;
    for exp in ["0", "-0", "0.0", "-0.0", "0e5", "-1", "-9223372036854775808", "1"] {
        let token = session_with(&["exp"], &format!(r#""exp":{exp}"#));
        scene.refuses(exp, &token, "session-token-expired").await;
        let token = oidc(By::Es256, json!({"exp": exp.parse::<f64>().unwrap()}));
        scene.refuses(exp, &token, "token-expired").await;
    }
    for exp in [json!(null), json!(false), json!(""), json!("9999999999"), json!([]), json!({})] {
        let token = session(json!({ "exp": exp }));
        scene.refuses(&exp.to_string(), &token, "token-verification-failed").await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_04_no_date_is_so_large_that_it_wraps_around() {
    let scene = Scene::set().await;
    let forever = Scene::with(|settings| session_claims(settings).max_lifetime = None).await;
    for (exp, reason) in [
        ("1e300", "token-lifetime-exceeded"),
        ("1.7976931348623157e308", "token-lifetime-exceeded"),
        ("1e400", "token-verification-failed"), // no number that ends
        ("9223372036854775807", "token-lifetime-exceeded"),
        ("9223372036854775808", "token-lifetime-exceeded"),
        ("18446744073709551615", "token-lifetime-exceeded"),
        ("18446744073709551616", "token-lifetime-exceeded"),
        ("253402300800", "token-lifetime-exceeded"), // the year 10000
        ("-1", "session-token-expired"),
        ("-1e300", "session-token-expired"),
        ("-9223372036854775809", "session-token-expired"),
    ] {
        let token = session_with(&["exp"], &format!(r#""exp":{exp}"#));
        // Where tokens may live for ever, one may still not end never.
        for scene in [&scene, &forever] {
            scene.refuses(exp, &token, reason).await;
        }
    }
    for (name, number, reason) in [
        ("nbf", "1e300", "session-token-nbf"),
        ("nbf", "9223372036854775807", "session-token-nbf"),
        ("iat", "1e300", "session-token-iat-in-the-future"),
        ("iat", "-9223372036854775808", "token-lifetime-exceeded"),
    ] {
        let token = session_with(&[name], &format!(r#""{name}":{number}"#));
        scene.refuses(&format!("{name} {number}"), &token, reason).await;
    }
}

/// Clerk's way: the fraction is cut off, so such a token ends the sooner, and no cache keeps it.
#[tokio::test(flavor = "local")]
async fn clm_06_a_fraction_of_a_second_lengthens_no_life() {
    let scene = Scene::set().await;
    let token = session_with(&["exp"], &format!(r#""exp":{NOW}.5"#));
    for (second, reason) in
        [(0, ""), (4, ""), (5, "session-token-expired"), (6, "session-token-expired")]
    {
        scene.at(second);
        becomes(&scene, &format!("second {second}"), &token, reason).await;
        // And where it was not remembered.
        let again = session_with(&["exp"], &format!(r#""x":{second},"exp":{NOW}.5"#));
        becomes(&scene, &format!("second {second}, anew"), &again, reason).await;
    }
    assert!(
        scene.proxy.metric(r#"countersign_token_cache_lookups_total{result="hit"}"#).await > 2.0
    );
}

/// A token is good while `now < exp + leeway`; the leeway is 5 s.
#[tokio::test(flavor = "local")]
async fn clm_08_a_token_is_good_until_its_leeway_is_over() {
    let scene = Scene::set().await;
    for (exp, reason) in [
        (-6, "session-token-expired"),
        (-5, "session-token-expired"),
        (-4, ""),
        (-1, ""),
        (0, ""),
        (1, ""),
    ] {
        let token = session(json!({"exp": NOW + exp, "iat": NOW - 60}));
        becomes(&scene, &format!("exp {exp}"), &token, reason).await;
        let reason = if reason.is_empty() { "" } else { "token-expired" };
        let token = oidc(By::Es256, json!({"exp": NOW + exp, "iat": NOW - 60}));
        becomes(&scene, &format!("exp {exp}, the other issuer"), &token, reason).await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_09_a_token_is_not_good_before_its_time() {
    let scene = Scene::set().await;
    for (nbf, of_clerk, of_other) in [
        (json!(NOW + 6), "session-token-nbf", "token-not-active-yet"),
        (json!(NOW + 5), "", ""),
        (json!(null), "", ""),
        (json!("1"), "token-verification-failed", "token-verification-failed"),
        (json!([]), "token-verification-failed", "token-verification-failed"),
    ] {
        becomes(&scene, &nbf.to_string(), &session(json!({ "nbf": nbf })), of_clerk).await;
        becomes(&scene, &nbf.to_string(), &oidc(By::Es256, json!({ "nbf": nbf })), of_other).await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_10_no_token_comes_from_the_future() {
    let scene = Scene::set().await;
    for (iat, of_clerk, of_other) in
        [(NOW + 6, "session-token-iat-in-the-future", "token-iat-in-the-future"), (NOW + 5, "", "")]
    {
        let what = format!("iat {}", iat - NOW);
        becomes(&scene, &what, &session(json!({ "iat": iat })), of_clerk).await;
        becomes(&scene, &what, &oidc(By::Es256, json!({ "iat": iat })), of_other).await;
    }
}

/// Clerk's way where `iat` is absent: the token is good; its life is then measured from now.
#[tokio::test(flavor = "local")]
async fn clm_11_no_token_lives_longer_than_a_day() {
    const DAY: i64 = 86_400;
    let scene = Scene::set().await;
    for (exp, iat, good) in [
        (NOW + 10 * 365 * DAY, json!(NOW), false),
        (NOW + 10 * 365 * DAY, json!(null), false),
        (NOW + DAY + 1, json!(NOW), false),
        (NOW + DAY, json!(NOW), true),
        (NOW + DAY, json!(null), true),
        (NOW + DAY + 1, json!(null), false),
        (NOW + 60, json!(null), true),
        (NOW + 60, json!(NOW - DAY), false),
        (NOW + 60, json!(0), false),
    ] {
        let what = format!("exp {}, iat {iat}", exp - NOW);
        let reason = if good { "" } else { "token-lifetime-exceeded" };
        becomes(&scene, &what, &session(json!({"exp": exp, "iat": iat})), reason).await;
        becomes(&scene, &what, &oidc(By::Es256, json!({"exp": exp, "iat": iat})), reason).await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_14_a_token_of_nobody_is_refused() {
    let scene = Scene::set().await;
    for iss in [json!(null), json!(5), json!([CLERK]), json!({"iss": CLERK}), json!(true)] {
        let token = session(json!({ "iss": iss }));
        scene.refuses(&iss.to_string(), &token, "token-invalid-issuer").await;
        let token = oidc(By::Es256, json!({ "iss": iss }));
        scene.refuses(&iss.to_string(), &token, "token-invalid-issuer").await;
    }
    let null = session_with(&["iss"], r#""iss":null"#);
    scene.refuses("null", &null, "token-invalid-issuer").await;
}

#[tokio::test(flavor = "local")]
async fn clm_16_a_part_of_an_issuers_name_is_not_its_name() {
    let scene = Scene::set().await;
    for iss in ["h", "https://", "https://clerk.a", "clerk.a.test", "", "a.test", "t"] {
        let token = session(json!({ "iss": iss }));
        scene.refuses(iss, &token, "token-invalid-issuer").await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_17_nor_is_another_spelling_of_it() {
    let scene = Scene::set().await;
    for iss in [
        "https://clerk.a.test/",
        "HTTPS://CLERK.A.TEST",
        "https://Clerk.a.test",
        "https://clerk.a.test.evil.test",
        "https://clerk.a.test#",
        "https://clerk.a.test?",
        "https://clerk.a.test:443",
        "https://clerk.a.test.",
        "http://clerk.a.test",
        "https://clerk.\u{430}.test",
        "https://clerk.%61.test",
        " https://clerk.a.test",
        "https://clerk.a.test ",
        "https://clerk.a.test\u{0}",
        "https://clerk.a.test\n",
    ] {
        let token = session(json!({ "iss": iss }));
        scene.refuses(&format!("{iss:?}"), &token, "token-invalid-issuer").await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_18_a_strangers_token_is_refused_where_none_is_needed() {
    let scene = Scene::set().await;
    for (what, token, reason) in [
        ("of nobody we know", session(json!({"iss": "https://b.test"})), "token-invalid-issuer"),
        ("expired", session(json!({"exp": 1})), "session-token-expired"),
        ("for others", oidc(By::Es256, json!({"aud": "web"})), "token-verification-failed"),
        ("no token", "junk".to_owned(), "token-invalid"),
    ] {
        scene.refuses_at("/optional/a", what, &bearer(&token), (401, reason)).await;
    }
    let seen = scene.passes_lines("none", "/optional/a", "").await;
    assert_eq!(seen.header("x-clerk-principal"), Some("anonymous"));
}

#[tokio::test(flavor = "local")]
async fn clm_19_nothing_is_fetched_from_an_issuer_nobody_configured() {
    let scene = Scene::set().await;
    let evil = KeyServer::start(Reply::json("{}")).await;
    let before = (scene.clerk_keys.fetches(), scene.oidc_keys.fetches());
    for iss in [
        "http://169.254.169.254/latest".to_owned(),
        format!("{CLERK}@{}", evil.address),
        format!("http://{}", evil.address),
        format!("http://{}/{CLERK}", evil.address),
        format!("{CLERK}/../../{}", evil.address),
        "file:///etc/passwd".to_owned(),
        "unix:/run/docker.sock".to_owned(),
    ] {
        let token = session(json!({ "iss": iss }));
        scene.refuses(&iss, &token, "token-invalid-issuer").await;
        let token = session(json!({"iss": iss, "$header": {"kid": "new"}}));
        scene.refuses(&iss, &token, "token-invalid-issuer").await;
    }
    assert_eq!(evil.fetches(), 0);
    assert_eq!((scene.clerk_keys.fetches(), scene.oidc_keys.fetches()), before);
}

/// Sessions are for this audience.
fn for_api(settings: &mut Settings) {
    session_claims(settings).audience = Some(vec!["api".to_owned()]);
}

/// A session, and a token of the other issuer's, for this audience.
fn for_whom(aud: &Value) -> [String; 2] {
    [session(json!({ "aud": aud })), oidc(By::Es256, json!({ "aud": aud }))]
}

#[tokio::test(flavor = "local")]
async fn clm_20_a_token_for_somebody_else_is_refused() {
    let scene = Scene::with(for_api).await;
    for aud in [json!("other"), json!("https://other.test"), json!(["other", "another"])] {
        for token in for_whom(&aud) {
            scene.refuses(&aud.to_string(), &token, "token-verification-failed").await;
        }
    }
    // That another issuer's token is for one of ours must be said in the settings.
    let issuer = "[[issuer]]\nurl = \"https://o.a.test\"\njwks_url = \"https://o.a.test/k\"";
    assert!(mistakes(issuer).iter().any(|it| it.starts_with("issuer[1].audience: ")));
    assert!(!mistakes(&format!("{issuer}\naudience = []")).is_empty());
}

#[tokio::test(flavor = "local")]
async fn clm_22_an_audience_that_is_none_is_nobody() {
    let scene = Scene::with(for_api).await;
    for aud in [
        json!([]),
        json!([""]),
        json!(""),
        json!([1]),
        json!({}),
        json!({"api": true}),
        json!(null), // taken off
        json!(1),
        json!(true),
        json!([["api"]]),
        json!([null, "api"]),
        json!(["api", 1]),
        json!([{"aud": "api"}]),
    ] {
        for token in for_whom(&aud) {
            scene.refuses(&aud.to_string(), &token, "token-verification-failed").await;
        }
    }
    let null = session_with(&["aud"], r#""aud":null"#);
    scene.refuses("null", &null, "token-verification-failed").await;
}

#[tokio::test(flavor = "local")]
async fn clm_23_an_audience_is_compared_to_the_letter() {
    let scene = Scene::with(for_api).await;
    for aud in [
        json!("api.evil"),
        json!("API"),
        json!("x api"),
        json!("api x"),
        json!("api,x"),
        json!("ap"),
        json!("apis"),
        json!("api "),
        json!("api/"),
        json!("\u{430}pi"),
        json!("*"),
        json!(["x", "API"]),
    ] {
        for token in for_whom(&aud) {
            scene.refuses(&aud.to_string(), &token, "token-verification-failed").await;
        }
    }
    for aud in [json!("api"), json!(["api"]), json!(["x", "api", "y"])] {
        for token in for_whom(&aud) {
            scene.passes(&aud.to_string(), &token).await;
        }
    }
}

/// By default a bearer token without a party passes: Clerk itself mints such ones (for native apps,
/// in handshakes). `clerk.azp = "enforce"` refuses it, as the row has it; a wrong one never passes.
#[tokio::test(flavor = "local")]
async fn clm_24_a_token_that_names_no_party_is_refused_where_settings_say_so() {
    let usual = Scene::set().await;
    let strict = Scene::with(|settings| session_claims(settings).azp = AzpPolicy::Enforce).await;
    for (azp, by_default) in [
        (r#""x":1"#, ""), // none
        (r#""azp":"""#, "token-invalid-authorized-parties"),
        (r#""azp":null"#, "token-invalid-authorized-parties"),
        (r#""azp":[]"#, "token-invalid-authorized-parties"),
        (r#""azp":5"#, "token-invalid-authorized-parties"),
        (r#""azp":false"#, "token-invalid-authorized-parties"),
        (r#""azp":{}"#, "token-invalid-authorized-parties"),
        (&format!(r#""azp":["{PARTY}"]"#), "token-invalid-authorized-parties"),
    ] {
        let token = session_with(&["azp"], azp);
        becomes(&usual, azp, &token, by_default).await;
        strict.refuses(azp, &token, "token-invalid-authorized-parties").await;
    }
    let counted = usual.proxy.metric(r#"countersign_azp_missing_total{carrier="header"}"#).await;
    assert_eq!(counted, 1.0, "it is counted");
}

#[tokio::test(flavor = "local")]
async fn clm_25_a_sibling_of_a_party_is_none() {
    let scene = Scene::with(|settings| {
        session_claims(settings).parties = vec!["https://app.a.test".to_owned()];
    })
    .await;
    for azp in [
        "https://evil.a.test",
        "https://evil.app.a.test",
        "https://app.a.test/",
        "https://APP.a.test",
        "HTTPS://app.a.test",
        "https://app.a.test:443",
        "http://app.a.test",
        "https://app.a.test.evil.test",
        "https://app.a.test@evil.test",
        "app.a.test",
        "null",
        "*",
        " https://app.a.test",
    ] {
        let token = session(json!({ "azp": azp }));
        scene.refuses(azp, &token, "token-invalid-authorized-parties").await;
    }
    scene.passes("the party", &session(json!({"azp": "https://app.a.test"}))).await;
}

/// Clerk's way: 401, since a session with tasks left is not yet one.
#[tokio::test(flavor = "local")]
async fn clm_26_a_pending_session_lets_nobody_in() {
    let scene = Scene::set().await;
    let pending = session(json!({"sts": "pending"}));
    for _ in 0..2 {
        scene.refuses("pending", &pending, "session-pending").await;
    }
    let lines = bearer(&pending);
    scene.refuses_at("/admin/a", "for a role", &lines, (401, "session-pending")).await;
    scene.refuses_at("/optional/a", "optional", &lines, (401, "session-pending")).await;
    for sts in [json!("active"), json!(null)] {
        scene.passes(&sts.to_string(), &session(json!({ "sts": sts }))).await;
    }
}

#[tokio::test(flavor = "local")]
async fn clm_27_who_acts_for_a_user_is_told_or_refused() {
    let allowing = Scene::set().await;
    let refusing = Scene::with(|it| clerk_policy(it).impersonation = Impersonation::Refuse).await;
    for (act, actor) in [
        (json!({"sub": "user_admin"}), "user_admin"),
        (json!({"sub": "user_admin", "act": {"sub": "user_other"}}), "user_admin"),
        (json!({"iss": "x"}), ""),
        (json!("user_admin"), ""),
        (json!([]), ""),
        (json!(false), ""),
    ] {
        let token = session(json!({ "act": act }));
        let seen = allowing.passes(&act.to_string(), &token).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE), "{act}");
        assert_eq!(seen.header("x-clerk-actor-id"), Some(actor), "{act}");
        for _ in 0..2 {
            let want = (403, "impersonation-refused");
            refusing.refuses_lines(&act.to_string(), &bearer(&token), want).await;
        }
    }
    refusing.passes("nobody acts", &good()).await;
}

#[tokio::test(flavor = "local")]
async fn clm_28_the_version_of_the_claims_says_which_organization_counts() {
    let scene = Scene::set().await;
    let both = |v: Value, new: &str, old: &str| {
        let o = json!({"id": "org_new", "rol": new, "slg": "new"});
        session(json!({
            "v": v, "o": o, "org_id": "org_old", "org_role": old, "org_slug": "old",
            "org_permissions": ["org:all:manage"],
        }))
    };
    let token = both(json!(2), "member", "org:admin");
    let seen = scene.passes("version 2", &token).await;
    for (name, want) in
        [("id", "org_new"), ("slug", "new"), ("role", "org:member"), ("permissions", "")]
    {
        assert_eq!(seen.header(&format!("x-clerk-org-{name}")), Some(want), "{name}");
    }
    let want = (403, "scope-insufficient");
    scene.refuses_at("/admin/a", "version 2", &bearer(&token), want).await;
    let token = both(json!(1), "admin", "org:member");
    scene.refuses_at("/admin/a", "version 1", &bearer(&token), want).await;
    // A version 2 token without `o` has no organization, whatever the old claims say.
    let token = session(json!({"o": null, "org_id": "org_old", "org_role": "org:admin"}));
    scene.refuses_at("/admin/a", "no organization", &bearer(&token), want).await;
    let token = both(json!(2), "admin", "org:member");
    scene.passes_lines("version 2, admin", "/admin/a", &bearer(&token)).await;
}

#[tokio::test(flavor = "local")]
async fn clm_29_a_mask_that_is_none_gives_no_permission() {
    let scene = Scene::set().await;
    for (fea, fpm, want) in [
        ("o:dashboard", "-1,999999999999", ""),
        ("o:dashboard", "-1", ""),
        ("o:dashboard", "x", ""),
        ("o:dashboard", "0x1", ""),
        ("o:dashboard", "1e1", ""),
        ("o:dashboard", "", ""),
        ("o:dashboard", ",1", ""),
        ("o:dashboard", "\u{661}", ""),
        ("dashboard", "1", ""),
        ("", "1,1,1,1", ""),
        ("u:dashboard", "1", ""),
        ("o:other,o:dashboard", "1", "org:other:read"),
        ("o:dashboard", "999999999999999999999999999998", "org:dashboard:manage"),
        ("o:dashboard", "4", ""), // a bit beyond the names
    ] {
        let o = json!({"id": "org_1", "rol": "member", "per": "read,manage", "fpm": fpm});
        let token = session(json!({"fea": fea, "o": o}));
        let what = format!("{fea} {fpm}");
        let seen = scene.passes(&what, &token).await;
        assert_eq!(seen.header("x-clerk-org-permissions"), Some(want), "{what}");
        let refused = (403, "scope-insufficient");
        scene.refuses_at("/dashboard/a", &what, &bearer(&token), refused).await;
    }
    for fpm in [json!(1), json!([1]), json!(null), json!({"o": 1}), json!("9".repeat(4000) + "x")] {
        let o = json!({"id": "org_1", "rol": "member", "per": "read,manage", "fpm": fpm});
        let seen = scene.passes("no text", &session(json!({ "o": o }))).await;
        assert_eq!(seen.header("x-clerk-org-permissions"), Some(""));
    }
    scene.passes_lines("a mask", "/dashboard/a", &bearer(&good())).await;
}

#[tokio::test(flavor = "local")]
async fn clm_32_a_role_within_something_else_is_not_that_role() {
    let scene = Scene::set().await;
    for role in [
        json!({"admin": true}),
        json!(["user", ["admin"]]),
        json!([{"role": "admin"}]),
        json!("user admin"),
        json!("Admin"),
        json!("admin\u{0}"),
        json!(true),
        json!(null),
        json!(1),
        json!([]),
    ] {
        let token = session(json!({ "role": role }));
        let want = (403, "access-denied");
        scene.refuses_at("/claims/role", &role.to_string(), &bearer(&token), want).await;
        // And the same of a role in the organization.
        let token = session(json!({"o": {"id": "org_1", "rol": role}}));
        let want = (403, "scope-insufficient");
        scene.refuses_at("/admin/a", &role.to_string(), &bearer(&token), want).await;
    }
    for role in [json!("admin"), json!(["user", "admin"])] {
        let token = session(json!({ "role": role }));
        scene.passes_lines(&role.to_string(), "/claims/role", &bearer(&token)).await;
    }
}

/// There is no rule about the domain of an address, which could be read in two ways; a rule about
/// an address is about the whole of it.
#[tokio::test(flavor = "local")]
async fn clm_33_an_address_is_compared_as_a_whole() {
    let scene = Scene::set().await;
    for email in [
        "admin@good.test@evil.test",
        "a@evil.test\n@good.test",
        "\"admin@good.test\"@evil.test",
        "evil@evil.test,admin@good.test",
        "admin@good.test\u{0}",
        "admin@good.test ",
        "ADMIN@good.test",
        "admin@good.test.evil.test",
        "xadmin@good.test",
    ] {
        let token = session(json!({ "email": email }));
        let want = (403, "access-denied");
        scene.refuses_at("/claims/email", &format!("{email:?}"), &bearer(&token), want).await;
    }
    let token = session(json!({"email": "admin@good.test"}));
    scene.passes_lines("the address", "/claims/email", &bearer(&token)).await;
    for key in ["email_domain = \"good.test\"", "email_domains = [\"good.test\"]"] {
        let told = mistakes(&format!("[[route]]\npath = \"/a\"\naccess = \"required\"\n{key}"));
        assert!(told.iter().any(|it| it.contains("unknown key")), "{told:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn clm_34_an_address_is_verified_where_that_is_true() {
    let scene = Scene::set().await;
    for verified in [
        json!(false),
        json!("true"),
        json!(null),
        json!(1),
        json!("1"),
        json!({"true": true}),
        json!([[true]]),
    ] {
        let token = session(json!({"email": "a@good.test", "email_verified": verified}));
        let want = (403, "access-denied");
        scene.refuses_at("/claims/verified", &verified.to_string(), &bearer(&token), want).await;
    }
    let token = session(json!({"email_verified": true}));
    scene.passes_lines("true", "/claims/verified", &bearer(&token)).await;
}

#[tokio::test(flavor = "local")]
async fn clm_35_a_user_has_the_role_of_the_token_that_is_shown() {
    let scene = Scene::set().await;
    let with = |role: &str| session(json!({"o": {"id": "org_1", "rol": role}}));
    let (admin, member) = (with("admin"), with("member"));
    for round in 0..3 {
        let what = format!("round {round}");
        let seen = scene.passes_lines(&what, "/admin/a", &bearer(&admin)).await;
        assert_eq!(seen.header("x-clerk-org-role"), Some("org:admin"));
        let want = (403, "scope-insufficient");
        scene.refuses_at("/admin/a", &what, &bearer(&member), want).await;
        let seen = scene.passes(&what, &member).await;
        assert_eq!(seen.header("x-clerk-org-role"), Some("org:member"));
        assert_eq!(seen.header("x-clerk-issuer"), Some(CLERK));
    }
    let other = scene.passes("the other issuer's", &oidc(By::Es256, json!({"sub": ALICE}))).await;
    assert_eq!(other.header("x-clerk-issuer"), Some(OIDC));
    assert_eq!(other.header("x-clerk-org-role"), Some(""));
}
