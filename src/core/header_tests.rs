//! What goes and what stays.

use super::*;
use crate::core::header_name::NamePattern;

fn policy() -> StripPolicy {
    StripPolicy {
        prefix: "x-id-".into(),
        ours: vec![HeaderName::from_static("x_email")],
        foreign: FOREIGN_IDENTITY.iter().map(|it| NamePattern::parse(it).unwrap()).collect(),
        credentials: Credentials::Forward,
    }
}

fn head(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    headers
}

#[test]
fn whatever_a_client_could_forge_goes() {
    for (name, goes) in [
        ("X-Id-User", true),
        ("x_id_user", true),
        ("X-Id_User", true),
        ("X-Clerk-User-Id", true),
        ("X_Clerk_User_Id", true),
        ("X.Clerk.User.Id", true),
        ("x!clerk'user~id", true),
        ("X.Email", true),
        ("Remote.User", true),
        ("X.Forwarded.For", true),
        ("X.Request.Id", true),
        ("Script.Name", true),
        ("Content_Length", true),
        ("Transfer.Encoding", true),
        ("Content-Length", false),
        ("Proxy", true),
        ("X-Real-IP", true),
        ("X-Middleware-Subrequest", true),
        ("x-clerk-auth-status", true),
        ("X-Email", true),
        ("x_email", true),
        ("X_Request_Id", true),
        ("Signature_Input", true),
        ("Signature-Input", false), // the signer keeps what others have signed
        ("Remote-User", true),
        ("Remote_User", true),
        ("X-Forwarded-Email", true),
        ("X-Forwarded-Uri", true),
        ("x_forwarded_uri", true),
        ("Forwarded", true),
        ("X-Forwarded-Client-Cert", true),
        ("X-Consumer-Username", true),
        ("Impersonate-User", true),
        ("X-Original-URL", true),
        ("Script-Name", true),
        ("SCRIPT_NAME", true),
        ("Path_Info", true),
        ("OIDC_CLAIM_email", true),
        ("Expect", true),
        ("Upgrade", true),
        ("TE", true),
        ("Keep-Alive", true),
        ("Proxy-Authorization", true),
        ("Authorization", false),
        ("Cookie", false),
        ("X-Identity", false),
        ("X-Goog-Channel-Id", false),
        ("Accept", false),
        ("traceparent", false),
    ] {
        let (clean, _) = policy().strip(head(&[(name, "root"), (name, "root")]));
        assert_eq!(clean.0.is_empty(), goes, "{name}: {:?}", clean.0);
    }
}

#[test]
fn a_prefix_with_an_underscore_covers_both_spellings() {
    let policy = StripPolicy { prefix: "x_id-".into(), ..policy() };
    for (name, goes) in
        [("x_id-user", true), ("x-id-user", true), ("X_Id_User", true), ("x-id", false)]
    {
        let (clean, _) = policy.strip(head(&[(name, "root")]));
        assert_eq!(clean.0.is_empty(), goes, "{name}");
    }
}

#[test]
fn debug_shows_no_credential() {
    let (clean, _) = policy().strip(head(&[("authorization", "Bearer T"), ("accept", "*/*")]));
    assert_eq!(format!("{clean:?}"), "CleanHead(2 headers)");
}

#[test]
fn headers_that_connection_names_go_in_any_spelling() {
    let lines = [
        ("connection", "close, x-One ,, X-TWO"),
        ("connection", "keep-alive, x-three;q=1"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("x-four", "4"),
    ];
    let (clean, count) = policy().strip(head(&lines));
    let left: Vec<_> = clean.0.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["x-three", "x-four"]); // `x-three;q=1` is no name
    assert_eq!(count.of(Stripped::HopByHop), 2);
}

#[test]
fn of_te_only_trailers_stays() {
    for (te, kept) in [("trailers", true), ("deflate, Trailers", true), ("deflate", false)] {
        let (clean, _) = policy().strip(head(&[("te", te), ("connection", "te")]));
        assert_eq!(clean.0.get(TE).is_some(), kept, "{te}");
    }
}

#[test]
fn credentials_go_where_the_settings_say_so() {
    let lines =
        [("authorization", "Bearer T"), ("cookie", "a=1; __session=T"), ("cookie", "__session=T")];
    let (clean, _) =
        StripPolicy { credentials: Credentials::Strip, ..policy() }.strip(head(&lines));
    assert_eq!(clean.0.get(AUTHORIZATION), None);
    assert_eq!(clean.0.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1"]);
}

#[test]
fn trailers_carry_no_identity_and_no_framing() {
    let mut trailers = head(&[
        ("x-clerk-user-id", "root"),
        ("x_clerk_user_id", "root"),
        ("authorization", "Bearer evil"),
        ("content-length", "5"),
        ("grpc-status", "0"),
    ]);
    policy().strip_trailers(&mut trailers);
    assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["grpc-status"]);
}

#[test]
fn a_body_is_framed_in_one_way() {
    for (lines, length) in [
        (&[][..], Some(None)),
        (&[("transfer-encoding", "chunked")], Some(None)),
        (&[("transfer-encoding", "Chunked")], Some(None)),
        (&[("transfer-encoding", "gzip, chunked")], None),
        (&[("transfer-encoding", "chunked, chunked")], None),
        (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], None),
        (&[("transfer-encoding", "identity")], None),
        (&[("transfer-encoding", "chunked"), ("content-length", "5")], Some(None)),
        (&[("content-length", "0")], Some(Some(0))),
        (&[("content-length", "10")], Some(Some(10))),
        (&[("content-length", "18446744073709551615")], Some(Some(u64::MAX))),
        (&[("content-length", "18446744073709551616")], None),
        (&[("content-length", "010")], None),
        (&[("content-length", "00")], None),
        (&[("content-length", "")], None),
        (&[("content-length", "+5")], None),
        (&[("content-length", "5, 5")], None),
        (&[("content-length", "5"), ("content-length", "5")], Some(Some(5))),
        (&[("content-length", "5"), ("content-length", "6")], None),
    ] {
        assert_eq!(check_framing(&head(lines)).ok(), length, "{lines:?}");
    }
    let (chunked, length) = (("transfer-encoding", "chunked"), ("content-length", "2"));
    for (lines, twice) in [(&[chunked][..], false), (&[length], false), (&[chunked, length], true)]
    {
        assert_eq!(is_framed_twice(&head(lines)), twice, "{lines:?}");
    }
}

#[test]
fn a_response_cannot_speak_in_our_name() {
    let mut headers = head(&[
        ("x-clerk-user-id", "root"),
        ("x_clerk_user_id", "root"),
        ("x-clerk-assertion", "root"),
        ("x.clerk.assertion", "root"),
        ("x-clerk-auth-reason", "session-token-expired"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("trailer", "grpc-status"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]);
    let ours = ["x-clerk-user-id", "x-clerk-assertion"].map(HeaderName::from_static);
    strip_response(&mut headers, &ours.iter().collect());
    assert_eq!(headers.len(), 4);
    assert!(headers.contains_key("x-clerk-auth-reason"), "a library of Clerk's may say this");
    assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
}

#[test]
fn a_backend_is_offered_the_protocols_without_the_token() {
    for (offered, want) in [
        (&["bearer, a.b.c"][..], None),
        (&["chat, bearer,a.b.c, json"], Some("chat, json")),
        (&["chat", "bearer", "a.b.c"], Some("chat")),
        (&["chat, bearer, bearer, a.b.c, json"], Some("chat, json")),
        (&["bearer", "bearer"], None),
        (&["bearer, , a.b.c", "", ",chat,"], Some("chat")),
        (&["chat,json"], Some("chat, json")),
        (&[], None),
    ] {
        let mut headers = HeaderMap::new();
        for line in offered {
            headers.append(SEC_WEBSOCKET_PROTOCOL, line.parse().unwrap());
        }
        let mut head = CleanHead(headers);
        head.remove_protocol_token();
        let left: Vec<_> = head.0.get_all(SEC_WEBSOCKET_PROTOCOL).iter().collect();
        assert_eq!(left, want.into_iter().collect::<Vec<_>>(), "{offered:?}");
    }
}
