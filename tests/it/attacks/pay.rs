//! PAY: claims in JSON that can be read in two ways, and what they become on their way.

use countersign::core::identity::{IdentityPolicy, Source};
use serde_json::json;

use super::tokens::{ALICE, Scene, bearer, header, payload, session, session_with, signed};

/// Clerk's signature over this payload, whatever it is.
fn saying(payload: impl AsRef<[u8]>) -> String {
    signed(header(&json!({})), payload)
}

#[tokio::test(flavor = "local")]
async fn pay_01_claims_are_an_object() {
    let scene = Scene::set().await;
    for text in ["[]", "\"x\"", "1", "null", "true", "", " ", "[{}]", "[[\"sub\",\"user_root\"]]"] {
        scene.refuses(text, &saying(text), "token-invalid").await;
        scene.refuses(text, &signed(text, payload(&json!({}))), "token-invalid").await;
    }
}

#[tokio::test(flavor = "local")]
async fn pay_02_no_member_is_there_twice() {
    let scene = Scene::set().await;
    for twice in [
        r#""sub":"user_alice""#,
        r#""sub":"user_root""#,
        r#""iss":"https://clerk.a.test""#,
        r#""exp":1700000060"#,
        r#""exp":9999999999"#,
        r#""aud":"a","aud":"b""#,
        r#""role":"member","role":"admin""#,
        r#""x":{"role":"member","role":"admin"}"#,
        r#""x":[{"a":1,"a":1}]"#,
    ] {
        scene.refuses(twice, &session_with(&[], twice), "token-invalid").await;
    }
    let before = payload(&json!({})).replacen('{', r#"{"sub":"user_root","#, 1);
    scene.refuses("the other order", &saying(before), "token-invalid").await;
    for twice in [r#""alg":"none""#, r#""kid":"ins_A""#, r#""x":1,"x":2"#] {
        let head = header(&json!({})).replacen('{', &format!("{{{twice},"), 1);
        scene.refuses(twice, &signed(head, payload(&json!({}))), "token-invalid").await;
    }
}

#[tokio::test(flavor = "local")]
async fn pay_03_a_member_is_the_same_however_it_is_escaped() {
    let scene = Scene::set().await;
    for twice in [r#""\u0073ub":"user_root""#, r#""su\u0062":"user_root""#, r#""\u0065xp":1"#] {
        scene.refuses(twice, &session_with(&[], twice), "token-invalid").await;
    }
    // Alone it is that member.
    let token = session_with(&["sub"], r#""\u0073ub":"user_escaped""#);
    let seen = scene.passes("alone", &token).await;
    assert_eq!(seen.header("x-clerk-user-id"), Some("user_escaped"));
}

#[tokio::test(flavor = "local")]
async fn pay_04_a_claim_in_other_capitals_is_another_claim() {
    let scene = Scene::set().await;
    for (instead, members, reason) in [
        (&["sub"][..], r#""Sub":"user_root""#, "token-verification-failed"),
        (&["exp"], r#""EXP":1700000060"#, "token-verification-failed"),
        (&["iss"], r#""ISS":"https://clerk.a.test""#, "token-invalid-issuer"),
        (&["sub", "exp"], r#""Sub":"user_root","EXP":1700000060"#, "token-verification-failed"),
        (&["sid"], r#""SID":"sess_1""#, "token-type-mismatch"),
    ] {
        scene.refuses(members, &session_with(instead, members), reason).await;
    }
    let seen = scene.passes("beside", &session_with(&[], r#""SUB":"user_root","Azp":1"#)).await;
    assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
}

#[tokio::test(flavor = "local")]
async fn pay_05_claims_that_mean_something_to_javascript_mean_nothing_here() {
    let scene = Scene::set().await;
    for claims in [
        json!({"__proto__": {"sub": "user_root", "role": "admin"}}),
        json!({"constructor": {"prototype": {"admin": true}}}),
        json!({"toString": 1, "hasOwnProperty": 1, "valueOf": {}}),
    ] {
        let seen = scene.passes(&claims.to_string(), &session(claims.clone())).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE), "{claims}");
        let told: Vec<_> = seen.headers.values().map(|it| it.to_str().unwrap()).collect();
        for word in ["user_root", "admin", "__proto__", "prototype"] {
            assert!(!told.iter().any(|value| value.contains(word)), "{claims}: {told:?}");
        }
        let lines = bearer(&session(claims));
        scene.refuses_at("/claims/role", "the role", &lines, (403, "access-denied")).await;
    }
}

#[tokio::test(flavor = "local")]
async fn pay_06_json_is_written_to_the_letter() {
    let scene = Scene::set().await;
    let good = payload(&json!({}));
    let body = good.strip_suffix('}').unwrap();
    for text in [
        format!("{body},}}"),
        format!("{body}//x\n}}"),
        format!("{body}/*x*/}}"),
        good.replace('"', "'"),
        good.replace("\"sub\"", "sub"),
        format!("{body},\"x\":NaN}}"),
        format!("{body},\"x\":Infinity}}"),
        format!("{body},\"x\":-Infinity}}"),
        format!("{body},\"x\":01}}"),
        format!("{body},\"x\":0x1}}"),
        format!("{body},\"x\":+1}}"),
        format!("{body},\"x\":.5}}"),
        format!("{body},\"x\":5.}}"),
        format!("{body},\"x\":True}}"),
        format!("{body},\"x\":\"a\nb\"}}"),
        format!("{body},\"x\":\"\\x41\"}}"),
        format!("\u{feff}{good}"),
        format!("{good}}}"),
        format!("{good}{good}"),
        format!("{good}x"),
        format!("{good}\0"),
        format!("{good},"),
        good.replace(':', "="),
        good[..good.len() - 1].to_owned(),
    ] {
        scene.refuses(&text, &saying(&text), "token-invalid").await;
    }
    for (what, bytes) in [
        ("UTF-16", good.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        (
            "Latin-1",
            good.replace("acme", "@")
                .bytes()
                .map(|it| if it == b'@' { 0xe9 } else { it })
                .collect(),
        ),
        ("an overlong letter", [body.as_bytes(), b",\"x\":\"\xc1\x81\"}"].concat()),
    ] as [(&str, Vec<u8>); 3]
    {
        scene.refuses(what, &saying(bytes), "token-invalid").await;
    }
    scene.passes("with white space around", &saying(format!(" \n{good}\t"))).await;
}

#[tokio::test(flavor = "local")]
async fn pay_07_a_number_of_any_size_costs_nothing() {
    let scene = Scene::set().await;
    let long = "9".repeat(10_000);
    for (exp, reason) in [
        ("1e999999999", "token-verification-failed"),
        ("1e-999999999", "session-token-expired"),
        ("1e99999999999999999999", "token-verification-failed"),
        (long.as_str(), "token-verification-failed"),
        (&format!("0.{long}"), "session-token-expired"),
        (&format!("1e{long}"), "token-verification-failed"),
    ] {
        let token = session_with(&["exp"], &format!(r#""exp":{exp}"#));
        scene.refuses(&format!("{exp:.30}"), &token, reason).await;
        let token = session_with(&["nbf"], &format!(r#""nbf":{exp}"#));
        if reason == "token-verification-failed" {
            scene.refuses(&format!("nbf {exp:.30}"), &token, reason).await;
        }
        // In a claim that is none of ours it stays what it is.
        let seen = scene.passes("elsewhere", &session_with(&[], &format!(r#""x":{exp}"#))).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
    }
}

#[tokio::test(flavor = "local")]
async fn pay_09_half_a_character_is_no_text() {
    let scene = Scene::set().await;
    for text in [r"\ud800", r"\udc00", r"\ud800\ud800", r"a\ud83db", r"\udc00\ud800"] {
        for claim in ["sub", "email", "x"] {
            let token = session_with(&[claim], &format!(r#""{claim}":"{text}""#));
            scene.refuses(&format!("{claim}: {text}"), &token, "token-invalid").await;
        }
    }
    for bytes in [&b"\xed\xa0\x80"[..], b"\xff", b"\xc3", b"\xf5\x80\x80\x80"] {
        let good = payload(&json!({"sub": "@"})).into_bytes();
        let place = good.iter().position(|it| *it == b'@').unwrap();
        let text = [&good[..place], bytes, &good[place + 1..]].concat();
        scene.refuses(&format!("{bytes:02x?}"), &saying(text), "token-invalid").await;
    }
    let seen = scene.passes("both halves", &session_with(&[], r#""it":"\ud83d\ude00""#)).await;
    assert_eq!(seen.header("x-clerk-it"), Some("%F0%9F%98%80"));
}

/// Undoes percent-encoding, as a backend does.
fn decoded(value: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            octets.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            octets.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(octets).unwrap()
}

/// Our way: such a claim is not dropped but told in percent-encoding, which has no line to break.
#[tokio::test(flavor = "local")]
async fn pay_10_a_claim_never_becomes_a_header_of_its_own() {
    let scene = Scene::set().await;
    for text in [
        "a\r\nX-Clerk-Org-Role: org:admin",
        "a\nb",
        "a\rb",
        "\u{0}",
        "\u{85}",
        "\u{2028}",
        "a\tb",
        " a ",
        "a\u{7f}",
        "\",\"x-clerk-org-role\"",
    ] {
        // `passes` counts the identity headers and verifies what was signed over them.
        let claims = json!({"email": text, "roles": [text], "it": {"a": text}, "sub": text});
        let seen = scene.passes(&format!("{text:?}"), &session(claims)).await;
        for name in ["email", "roles", "user-id", "subject"] {
            let told = seen.header(&format!("x-clerk-{name}")).unwrap();
            assert!(told.bytes().all(|it| it.is_ascii_graphic()), "{text:?}: {told:?}");
            assert_eq!(decoded(told), text, "{text:?}");
        }
        assert_eq!(seen.header("x-clerk-org-role"), Some("org:member"), "{text:?}");
        let org = json!({"o": {"id": text, "slg": text, "rol": text, "per": text, "fpm": "1"}});
        scene.passes(&format!("of an organization: {text:?}"), &session(org)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn pay_12_names_in_any_script_arrive_and_can_be_told_apart() {
    let scene = Scene::set().await;
    let mut told = Vec::new();
    for name in
        ["root", "\u{440}oot", "ålice", "a\u{30a}lice", "😀", "\u{202e}toor", "%72oot", "r,oot"]
    {
        let seen = scene.passes(name, &session(json!({"sub": name, "email": name}))).await;
        let (user, email) = ("x-clerk-user-id", "x-clerk-email");
        assert_eq!(decoded(seen.header(user).unwrap()), name, "reversibly");
        assert_eq!(decoded(seen.header(email).unwrap()), name, "reversibly");
        told.push(seen.header(user).unwrap().to_owned());
    }
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "no two are told alike: {told:?}");
}

#[tokio::test(flavor = "local")]
async fn pay_13_a_comma_within_an_item_is_not_one_between_items() {
    let scene = Scene::set().await;
    let mut told = Vec::new();
    for (roles, want) in [
        (json!(["user,admin"]), "user%2Cadmin"),
        (json!(["user", "admin"]), "user, admin"),
        (json!(["user, admin"]), "user%2C%20admin"),
        (json!("user,admin"), "user%2Cadmin"),
        (json!(["user%2Cadmin"]), "user%252Cadmin"),
    ] {
        let seen = scene.passes(&roles.to_string(), &session(json!({ "roles": roles }))).await;
        assert_eq!(seen.header("x-clerk-roles"), Some(want), "{roles}");
        told.push(seen.header("x-clerk-roles").unwrap().to_owned());
    }
    assert_ne!(told[0], told[1]);
    // A rule that asks for one item does not find it within another.
    for role in [json!(["user,admin"]), json!("user,admin"), json!(["user, admin"])] {
        let lines = bearer(&session(json!({ "role": role })));
        scene.refuses_at("/claims/role", "one item", &lines, (403, "access-denied")).await;
    }
    let lines = bearer(&session(json!({"role": ["user", "admin"]})));
    scene.passes_lines("two items", "/claims/role", &lines).await;
}

#[tokio::test(flavor = "local")]
async fn pay_15_a_number_keeps_its_digits() {
    let scene = Scene::set().await;
    for digits in [
        "9007199254740993",
        "1.50",
        "-0",
        "0.1",
        "123456789012345678901234567890",
        "18446744073709551616",
        "1.0",
    ] {
        let seen = scene.passes(digits, &session_with(&[], &format!(r#""it":{digits}"#))).await;
        assert_eq!(seen.header("x-clerk-it"), Some(digits), "{digits}");
    }
    // An exponent may get its sign written; its digits stay.
    let seen = scene.passes("1e3", &session_with(&[], r#""it":1e3"#)).await;
    let told = decoded(seen.header("x-clerk-it").unwrap());
    assert_eq!(told.replace('+', ""), "1e3");
}

#[tokio::test(flavor = "local")]
async fn pay_17_the_way_to_a_claim_means_one_claim() {
    let claims = json!({
        "https://ns/roles": "slashes", "a.b": "dot", "a/b": "slash", "~0": "tilde", "~": "bare",
        "a": {"b": "nested", "": "empty"}, "": "nameless", "list": ["zero", "one"],
    });
    for (pointer, want) in [
        ("/https:~1~1ns~1roles", "slashes"),
        ("/a.b", "dot"),
        ("/a~1b", "slash"),
        ("/~00", "tilde"),
        ("/~0", "bare"),
        ("/a/b", "nested"),
        ("/a/", "empty"),
        ("/", "nameless"),
        ("/list/1", "one"),
        ("/list/01", ""), // RFC 6901 §4
        ("/list/-", ""),
        ("/list/+1", ""),
        ("/a/b/c", ""),
        ("/~01", ""),
    ] {
        let scene = Scene::with(|settings| {
            // In the place of the last of the usual ones.
            let usual = settings.proxy.identity.headers().cloned();
            let told = usual.map(|(name, source)| match name.as_str() {
                "x-clerk-it" => (name, Source::Claim(pointer.to_owned())),
                _ => (name, source),
            });
            settings.proxy.identity = IdentityPolicy::new(told.collect());
        })
        .await;
        let seen = scene.passes(pointer, &session(claims.clone())).await;
        assert_eq!(seen.header("x-clerk-it"), Some(want), "{pointer}");
    }
}

#[tokio::test(flavor = "local")]
async fn pay_18_a_claim_is_compared_as_it_is_written() {
    let scene = Scene::set().await;
    for scope in [
        json!("read:/home/u/.."),
        json!("read:/home/"),
        json!("read:/home/."),
        json!("read:/home/u"),
        json!("read:%2Fhome"),
        json!("READ:/home"),
        json!(" read:/home"),
        json!("read:/home read:/"),
        json!("read:/home\u{0}"),
        json!(["read:/home/u/.."]),
    ] {
        let lines = bearer(&session(json!({ "scope": scope })));
        let what = scope.to_string();
        scene.refuses_at("/claims/scope", &what, &lines, (403, "access-denied")).await;
    }
    for scope in [json!("read:/home"), json!(["read:/", "read:/home"])] {
        let lines = bearer(&session(json!({ "scope": scope })));
        scene.passes_lines(&scope.to_string(), "/claims/scope", &lines).await;
    }
}
