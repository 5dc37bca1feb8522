//! SER: one token has one spelling, and what is no token is not read as one.

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use countersign::core::clerk::publishable_key::PublishableKey;
use serde_json::json;

use super::tokens::{
    ALICE, By, Scene, bearer, encode, good, header, oidc, payload, public_der, session,
    signature as signed_by_clerk, signed,
};

/// The three parts of a token.
fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().unwrap()
}

/// `token` with another part in this place.
fn with(token: &str, place: usize, part: &str) -> String {
    let mut parts = parts(token);
    parts[place] = part;
    parts.join(".")
}

#[tokio::test(flavor = "local")]
async fn ser_01_an_empty_part_is_a_part() {
    let (scene, good) = (Scene::set().await, good());
    let [header, payload, signature] = parts(&good);
    for token in [
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload}..{signature}"),
        format!(".{good}"),
        format!("{good}."),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
    ] {
        scene.refuses(&token, &token, "token-invalid").await;
    }
}

#[tokio::test(flavor = "local")]
async fn ser_02_a_token_has_three_parts() {
    let (scene, good) = (Scene::set().await, good());
    let [header, payload, signature] = parts(&good);
    for token in [
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{good}.{good}"),
    ] {
        scene.refuses(&token, &token, "token-invalid").await;
    }
}

/// A token in five parts with this header and this for its ciphertext.
fn encrypted(header: &serde_json::Value, key: &[u8], ciphertext: &[u8]) -> String {
    let parts = [header.to_string().as_bytes(), key, &[7; 12], ciphertext, &[9; 16]].map(encode);
    parts.join(".")
}

#[tokio::test(flavor = "local")]
async fn ser_04_nothing_is_decrypted_for_a_token_within() {
    let scene = Scene::set().await;
    let claims = payload(&json!({"sub": "user_root"}));
    let plain = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(claims));
    let public = PublicEncryptingKey::from_der(&public_der()).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut sealed = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &[1; 32], &mut sealed, None).unwrap();
    for cty in [json!("JWT"), json!(null)] {
        let head = json!({"alg": "RSA-OAEP-256", "enc": "A256GCM", "kid": "ins_A", "cty": cty});
        for ciphertext in [plain.as_bytes(), good().as_bytes()] {
            let token = encrypted(&head, &sealed, ciphertext);
            scene.refuses(&head.to_string(), &token, "token-invalid").await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn ser_05_no_password_is_stretched_for_a_stranger() {
    let scene = Scene::set().await;
    for count in [json!(2_147_483_647_u32), json!(u64::MAX), json!(-1), json!("1")] {
        let head = json!({
            "alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": count, "p2s": "AAAAAAAAAAA",
        });
        let token = encrypted(&head, &[1; 24], b"junk");
        scene.refuses(&count.to_string(), &token, "token-invalid").await;
        // Nor where it stands in three parts.
        let token = signed(head.to_string(), payload(&json!({})));
        scene.refuses(&count.to_string(), &token, "token-invalid-algorithm").await;
    }
}

#[tokio::test(flavor = "local")]
async fn ser_07_an_encrypted_token_with_an_empty_key_is_refused_and_harmless() {
    let scene = Scene::set().await;
    for alg in ["A128KW", "A256KW", "A128GCMKW", "ECDH-ES+A128KW", "dir", "RSA1_5", ""] {
        let head = json!({"alg": alg, "enc": "A128GCM", "kid": "ins_A"});
        for (key, text) in [(&[][..], &b"junk"[..]), (&[], &[]), (&[1], &[])] {
            scene.refuses(alg, &encrypted(&head, key, text), "token-invalid").await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn ser_08_what_cannot_be_decrypted_is_not_let_through() {
    let scene = Scene::set().await;
    for token in ["a.b.c.d.e", "....", "AAAA.AAAA.AAAA.AAAA.AAAA", "!.!.!.!.!"] {
        scene.refuses(token, token, "token-invalid").await;
    }
    let [header, payload, signature] = parts(&good()).map(str::to_owned);
    let token = format!("{header}.{payload}.{signature}.{payload}.{signature}");
    scene.refuses("a good token and more", &token, "token-invalid").await;
}

#[tokio::test(flavor = "local")]
async fn ser_10_the_last_character_of_a_part_has_one_spelling() {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let scene = Scene::set().await;
    let mut tried = 0;
    for pad in ["", "x", "xx"] {
        // Longer and longer, so that each part ends in each way.
        let token = session(json!({"$header": {"pad": pad}, "pad": pad}));
        scene.passes(pad, &token).await;
        for (place, part) in parts(&token).into_iter().enumerate() {
            let (rest, last) = part.split_at(part.len() - 1);
            let (spare, value) = ([0, 0, 4, 2][part.len() % 4], ALPHABET.find(last).unwrap());
            for bits in 1..1 << spare {
                let other = format!("{rest}{}", &ALPHABET[value ^ bits..][..1]);
                let case = format!("part {place}, bits {bits}");
                scene.refuses(&case, &with(&token, place, &other), "token-invalid").await;
                tried += 1;
            }
        }
    }
    assert!(tried >= 2 * (15 + 3), "{tried}");
}

/// Clerk's way: `=` after the signature counts for nothing. After the other parts it is among what
/// was signed, so such a token is forged; and it is remembered under each spelling for itself.
#[tokio::test(flavor = "local")]
async fn ser_11_padding_counts_for_nothing_and_is_signed_where_it_stands() {
    let (scene, good) = (Scene::set().await, good());
    let [header, payload, signature] = parts(&good);
    for end in ["", "=", "==", "===="] {
        let seen = scene.passes(end, &format!("{good}{end}")).await;
        assert_eq!(seen.header("x-clerk-user-id"), Some(ALICE));
    }
    for (what, token, reason) in [
        ("header", with(&good, 0, &format!("{header}=")), "token-invalid-signature"),
        ("payload", with(&good, 1, &format!("{payload}==")), "token-invalid-signature"),
        ("before", with(&good, 2, &format!("={signature}")), "token-invalid"),
        ("within", with(&good, 2, &signature.replacen('A', "=A", 1)), "token-invalid"),
        ("encoded", format!("{good}%3D"), "token-invalid"),
        ("encoded, header", with(&good, 0, &format!("{header}%3D")), "token-invalid"),
    ] {
        scene.refuses(what, &token, reason).await;
    }
    // A load balancer that writes padding signs what it has written.
    let input = format!("{header}=.{payload}==");
    let padded = format!("{input}.{}==", signed_by_clerk(&input));
    scene.passes("signed with its padding", &padded).await;
}

#[tokio::test(flavor = "local")]
async fn ser_12_the_other_alphabet_is_not_read() {
    let scene = Scene::set().await;
    let mut tried = 0;
    for number in 0..8 {
        let token =
            session(json!({"$header": {"pad": "??>>~~"}, "pad": format!("??>>~~{number}")}));
        for (place, part) in parts(&token).into_iter().enumerate() {
            for (ours, theirs) in [("-", "+"), ("_", "/")] {
                let other = part.replacen(ours, theirs, 1);
                if other != part {
                    scene.refuses(&other, &with(&token, place, &other), "token-invalid").await;
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 16, "{tried}");
}

#[tokio::test(flavor = "local")]
async fn ser_13_nothing_within_a_part_is_skipped() {
    let (scene, good) = (Scene::set().await, good());
    for (place, part) in parts(&good).into_iter().enumerate() {
        for at in [0, part.len() / 2, part.len()] {
            let with_junk =
                |junk: &str| with(&good, place, &format!("{}{junk}{}", &part[..at], &part[at..]));
            for junk in [" ", "\t", "!", "%0A", "%20", "\u{200b}", "\u{feff}", "~", "\\n", "\""] {
                let case = format!("{junk:?} in part {place} at {at}");
                let token = with_junk(junk);
                if token.trim() == good {
                    continue; // space around a header's value is not part of it
                }
                scene.refuses(&case, &token, "token-invalid").await;
            }
            for junk in ["\0", "\u{7f}", "\u{1}"] {
                let case = format!("{junk:?} in part {place} at {at}");
                scene.refuses_unread(&case, &bearer(&with_junk(junk)), 400).await;
            }
        }
        // A line break ends the header, and what follows is none.
        for junk in ["\n", "\r\n", "\r"] {
            let token = with(&good, place, &format!("{}{junk}{}", &part[..8], &part[8..]));
            scene.refuses_unread(&format!("{junk:?} in part {place}"), &bearer(&token), 400).await;
        }
    }
}

#[tokio::test(flavor = "local")]
async fn ser_14_no_part_ends_in_the_middle_of_a_byte() {
    let (scene, good) = (Scene::set().await, good());
    for place in 0..3 {
        for short in ["A", "AAAAA", "AAAAAAAAA"] {
            let token = with(&good, place, short);
            scene.refuses(&format!("part {place}: {short}"), &token, "token-invalid").await;
        }
    }
    // The key that browsers carry is read by the same rule.
    assert!(PublishableKey::parse("pk_live_A").is_err());
}

#[tokio::test(flavor = "local")]
async fn ser_15_nothing_stands_around_a_token() {
    let (scene, good) = (Scene::set().await, good());
    for token in [
        format!("{good}."),
        format!("{good},"),
        format!("{good};x"),
        format!("{good}%00"),
        format!("{good} extra"),
        format!("\"{good}\""),
        format!("'{good}'"),
        format!("<{good}>"),
        format!("{good}{good}"),
        format!("{good} {good}"),
        format!("{good}\textra"),
        format!("{good}#x"),
        format!("token={good}"),
    ] {
        scene.refuses(&token, &token, "token-invalid").await;
    }
    // A space or tab around a header's value is no part of it (RFC 9110 §5.5).
    scene.passes("a tab after it", &format!("{good}\t")).await;
}

#[tokio::test(flavor = "local")]
async fn ser_16_a_dot_is_a_dot() {
    let (scene, good) = (Scene::set().await, good());
    for dot in ["\u{ff0e}", "\u{3002}", "\u{2024}", "\u{fe52}", "%2E", "\\u002e", "\u{b7}"] {
        scene.refuses(&format!("{dot:?}"), &good.replace('.', dot), "token-invalid").await;
        let one = good.replacen('.', dot, 1);
        scene.refuses(&format!("{dot:?}, one of them"), &one, "token-invalid").await;
    }
}

/// A token of just so many bytes.
fn of_size(size: usize) -> String {
    let room = size - session(json!({"pad": ""})).len();
    let token = session(json!({"pad": "x".repeat(room * 3 / 4)}));
    assert!(token.len() <= size && size - token.len() < 4);
    // What base64 cannot make up for, padding does.
    format!("{token}{}", "=".repeat(size - token.len()))
}

#[tokio::test(flavor = "local")]
async fn ser_17_a_token_is_no_longer_than_16_kib() {
    let scene = Scene::set().await;
    scene.passes("16 KiB", &of_size(16 << 10)).await;
    scene.refuses("16 KiB and a byte", &of_size((16 << 10) + 1), "token-invalid").await;
    scene.refuses("30 KiB", &of_size(30 << 10), "token-invalid").await;
    for size in [64 << 10, 1 << 20] {
        scene.refuses_unread(&format!("{size}"), &bearer(&of_size(size)), 431).await;
    }
    // Refused before it is taken apart: it is no token in any other way either.
    scene.refuses("16 KiB of dots", &".".repeat((16 << 10) + 1), "token-invalid").await;
}

#[tokio::test(flavor = "local")]
async fn ser_18_a_signature_that_was_taken_off_is_missed() {
    let (scene, good) = (Scene::set().await, good());
    for (what, token) in [
        ("none", with(&good, 2, "")),
        ("padding alone", with(&good, 2, "==")),
        ("three bytes", with(&good, 2, "AAAA")),
        ("a part of it", with(&good, 2, &parts(&good)[2][..100])),
        ("of other claims", with(&session(json!({"sub": "user_root"})), 2, parts(&good)[2])),
        ("of the header alone", with(&good, 2, &signed_by_clerk(&encode(header(&json!({})))))),
    ] {
        scene.refuses(what, &token, "token-invalid-signature").await;
    }
    let other = oidc(By::Es256, json!({}));
    scene.refuses("the other issuer's", &with(&other, 2, ""), "token-invalid-signature").await;
}
