//! The table of the fault script: rows by the ids of the attack catalogue.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Outcome;
use crate::support::key_server::Reply;

/// One fault and what comes of it.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) what: &'static str,
    /// What the server answered when all was well.
    pub(super) before: Reply,
    pub(super) then: Then,
    pub(super) unknown: UnknownToken,
    pub(super) want: Outcome,
}

/// What the server does then.
pub(super) enum Then {
    Reply(Reply),
    /// It is gone, and its port refuses.
    Refuse,
}

/// A token whose key is not held.
pub(super) enum UnknownToken {
    /// It names `bad`, which is also the name of whatever bad key is published.
    Named,
    /// It names none.
    Nameless,
}

/// Where a row of the catalogue is proven that has another script than this table's.
#[rustfmt::skip]
pub(super) const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("KEY-08", &["keys_and_tokens_of_an_oidc_issuer_need_no_name_and_those_of_clerk_do", "an_issuer_may_give_its_keys_no_names"], "keys without a name"),
    ("KEY-09", &["keys_and_tokens_of_an_oidc_issuer_need_no_name_and_those_of_clerk_do", "the_key_of_a_token_is_guessed_among_eight_and_no_more"], "tokens without one, of an OIDC issuer"),
    ("KEY-12", &["a_weak_rsa_key_is_no_key"], "every bad modulus and exponent"),
    ("KEY-13", &["a_point_that_is_not_on_its_curve_is_no_key"], "every bad point"),
    ("KEY-14", &["an_edwards_point_of_small_order_is_no_key"], "every point of small order"),
    ("KEY-18", &["an_own_authority_vouches_for_the_name_it_certified_and_no_other", "a_certificate_is_believed_within_its_time_and_from_an_authority", "a_host_without_an_address_is_not_found"], "names and certificates"),
    ("KEY-20", &["an_issuer_that_is_down_at_the_start_is_found_within_two_seconds_of_its_return", "a_server_that_hangs_from_the_start_is_found_within_two_seconds_of_its_return", "an_issuer_without_keys_is_left_alone_for_two_seconds_at_most"], "down at the start"),
    ("KEY-23", &["invented_keys_cost_a_broken_issuer_no_more_than_a_sound_one"], "a storm while it is down"),
    ("KEY-24", &["a_new_key_is_fetched_once_for_a_thousand_requests_that_name_it"], "a real rotation"),
    ("KEY-26", &["the_keys_of_one_issuer_do_not_wait_for_those_of_another"], "another issuer is down"),
    ("KEY-28", &["a_new_key_under_the_name_of_the_old_one_is_fetched_once_for_all_its_tokens", "forged_signatures_share_six_fetches_a_minute_with_invented_keys_and_slow_nobody"], "tokens of the new key, and of none"),
    ("KEY-29", &["keys_of_replicas_that_disagree_are_good_while_both_answer"], "replicas that disagree"),
    ("KEY-30", &["no_good_request_is_refused_while_a_key_is_added"], "many connections after a rotation"),
    ("KEY-31", &["a_key_set_is_fresh_for_a_minute_to_a_day"], "every Cache-Control"),
    ("KEY-33", &["waiting_depends_on_what_is_at_stake"], "a thousand start at once"),
    ("KEY-34", &["keys_that_aged_while_the_machine_slept_are_fetched_when_a_request_needs_them"], "the wall clock jumps"),
    ("KEY-36", &["a_fetch_carries_nothing_of_the_request_that_caused_it"], "a fetch is ours alone"),
    ("KEY-37", &["every_other_text_earns_a_sentence_that_does_not_quote_it"], "addresses that may not be fetched"),
    ("KEY-38", &["a_key_file_that_changes_is_read_within_two_seconds", "a_key_file_that_cannot_be_read_leaves_the_keys_as_they_are"], "key files"),
    ("KEY-39", &["an_address_prints_without_its_query"], "no secret is logged"),
];

/// The answers of a proxy that keeps what it has: nobody can tell about the unknown key.
fn kept() -> Outcome {
    Outcome {
        known: "200".into(),
        unknown: "503 keys-unavailable".into(),
        fetches: 2,
        refreshes: [0, 0, 2],
        keys: 1,
        stale: (false, true),
        next: 1..=2,
    }
}

/// The answers of a proxy whose key server is well.
fn well() -> Outcome {
    Outcome {
        known: "200".into(),
        unknown: "401 jwk-kid-mismatch".into(),
        fetches: 2,
        refreshes: [0, 2, 0],
        keys: 1,
        stale: (false, false),
        next: 420..=480,
    }
}

/// The answers of a proxy that leaves the server alone for this long because it asked for it.
fn held_off(seconds: u64, most: u64) -> Outcome {
    Outcome { fetches: 1, refreshes: [0, 0, 1], next: seconds..=most, ..kept() }
}

/// The answers of a proxy that fetches again after this long, in seconds, and all is well.
fn well_for(low: u64, high: u64) -> Outcome {
    Outcome { next: low..=high, ..well() }
}

/// Returns the rows; `good` is the key set that was held before.
pub(super) fn rows(good: &str) -> Vec<Row> {
    let all = [lies(good), statuses(good), connections(good), bad_keys(good), lifetimes(good)];
    all.into_iter().flatten().collect()
}

/// A row that starts with the good key set.
fn row(id: &'static str, what: &'static str, good: &str, reply: Reply, want: Outcome) -> Row {
    let before = Reply::json(good);
    Row { id, what, before, then: Then::Reply(reply), unknown: UnknownToken::Named, want }
}

#[rustfmt::skip]
fn lies(good: &str) -> Vec<Row> {
    let typed = |media_type: &str, body: &str| {
        Reply::http("200 OK", &format!("content-type: {media_type}\r\n"), body)
    };
    let encoded = |coding: &str, body: &[u8]| {
        Reply::http("200 OK", &format!("content-encoding: {coding}\r\n"), body)
    };
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let kib = format!("400\r\n{}\r\n", " ".repeat(1024)).into_bytes();
    let padded = |size: usize| Reply::json(&format!("{good}{}", " ".repeat(size - good.len())));
    let giant = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n{".to_vec();
    let twice = good.replacen('{', r#"{"keys":[],"#, 1);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
    let many = |count: usize| {
        let key = key(good);
        let named = |number: usize| with(&key, &json!({"kid": format!("key-{number}")}));
        let first = std::iter::once(key.clone());
        json!({ "keys": first.chain((1..count).map(named)).collect::<Vec<_>>() }).to_string()
    };
    let empty = [vec![json!({}); 9_999], vec![key(good)]].concat();
    let empty = json!({ "keys": empty });
    let list = json!([[key(good)]]).to_string();
    let hundred = Outcome { keys: 100, refreshes: [1, 1, 0], ..well() };
    [
        ("KEY-01", "1 GiB, announced", Reply::Endless(giant, vec![b' '; 1024]), kept()),
        ("KEY-01", "chunks without end", Reply::Endless(chunked, kib), kept()),
        ("KEY-01", "a head without end", Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(100)), kept()),
        ("KEY-01", "1 MiB and a byte", padded((1 << 20) + 1), kept()),
        ("KEY-01", "1 MiB", padded(1 << 20), well()),
        ("KEY-04", "a page to sign in", typed("text/html", "<html>Sign in</html>"), kept()),
        ("KEY-04", "text/plain", typed("text/plain", good), well()),
        ("KEY-05", r#"{"keys":[]}"#, Reply::json(r#"{"keys":[]}"#), kept()),
        ("KEY-05", "{}", Reply::json("{}"), kept()),
        ("KEY-05", "[]", Reply::json("[]"), kept()),
        ("KEY-05", "[[key]]", Reply::json(&list), kept()),
        ("KEY-05", "null", Reply::json("null"), kept()),
        ("KEY-05", "an empty body", Reply::json(""), kept()),
        ("KEY-05", "a byte order mark", Reply::json(&format!("\u{feff}{good}")), kept()),
        ("KEY-06", "gzip, said", encoded("gzip", gzip), kept()),
        ("KEY-06", "gzip, not said", Reply::http("200 OK", "", gzip), kept()),
        ("KEY-06", "deflate", encoded("deflate", b"x\x9c\x03\0"), kept()),
        ("KEY-06", "br", encoded("br", b"\x3b"), kept()),
        ("KEY-16", "broken JSON", Reply::json(&good[..good.len() - 1]), kept()),
        ("KEY-16", "more after it", Reply::json(&format!("{good}{{}}")), kept()),
        ("KEY-16", "two members `keys`", Reply::json(&twice), kept()),
        ("KEY-16", "100,000 levels", Reply::json(&format!(r#"{{"keys":{deep}}}"#)), kept()),
        ("KEY-16", "100 keys", Reply::json(&many(100)), hundred),
        ("KEY-16", "101 keys", Reply::json(&many(101)), kept()),
        ("KEY-16", "10,000 keys", Reply::json(&empty.to_string()), kept()),
    ]
    .into_iter()
    .map(|(id, what, reply, want)| row(id, what, good, reply, want))
    .collect()
}

#[rustfmt::skip]
fn statuses(good: &str) -> Vec<Row> {
    let status = |line: &str| Reply::http(line, "", good);
    let after = |line: &str, asked: &str| {
        Reply::http(line, &format!("retry-after: {asked}\r\n"), good)
    };
    let cut = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{good}").into_bytes()
    };
    let date = "Fri, 15 Jan 2027 08:10:20 GMT"; // two minutes after the fetch
    let mut rows: Vec<_> = [
        ("500", status("500 Internal Server Error"), kept()),
        ("503", status("503 Service Unavailable"), kept()),
        ("503, Retry-After: 120", after("503 Service Unavailable", "120"), held_off(120, 144)),
        ("503, Retry-After: a date", after("503 Service Unavailable", date), held_off(120, 144)),
        ("503, Retry-After: a day", after("503 Service Unavailable", "86400"), held_off(300, 300)),
        ("503, Retry-After: soon", after("503 Service Unavailable", "soon"), kept()),
        ("429, Retry-After: 30", after("429 Too Many Requests", "30"), held_off(30, 36)),
        ("429, Retry-After: 0", after("429 Too Many Requests", "0"), kept()),
        ("403, Retry-After: 30", after("403 Forbidden", "30"), held_off(30, 36)),
        ("200, Retry-After: 30", after("200 OK", "30"), well()),
        ("401", status("401 Unauthorized"), kept()),
        ("404", status("404 Not Found"), kept()),
        ("204", Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()), kept()),
        ("206 with all of it", status("206 Partial Content"), kept()),
        ("302 to elsewhere", Reply::http("302 Found", "location: http://127.0.0.1:1/\r\n", ""), kept()),
        ("304 nobody asked for", status("304 Not Modified"), kept()),
        ("200, a part, a reset", Reply::Reset(cut(good.len() + 9)), kept()),
        ("a length too long", Reply::Bytes(cut(good.len() + 1)), kept()),
        ("a length too short", Reply::Bytes(cut(good.len() - 1)), kept()),
    ]
    .into_iter()
    .map(|(what, reply, want)| row("KEY-17", what, good, reply, want))
    .collect();

    let tagged = || Reply::tagged("\"1\"", good);
    // Whoever still asked conditionally after garbage would be told 304 and miss the second key.
    let second = with(&key(good), &json!({"kid": "second"}));
    let two = json!({ "keys": [key(good), second] }).to_string();
    let garbage = Reply::Turns(vec![Reply::json("garbage"), Reply::tagged("\"1\"", &two)]);
    let mended = Outcome { refreshes: [1, 0, 1], keys: 2, ..well() };
    rows.extend([
        Row { before: tagged(), ..row("KEY-17", "304 to If-None-Match", good, tagged(), well()) },
        Row { before: tagged(), ..row("KEY-17", "garbage, then no 304", good, garbage, mended) },
    ]);
    rows
}

#[rustfmt::skip]
fn connections(good: &str) -> Vec<Row> {
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{good}", good.len());
    let mut rows: Vec<_> = [
        ("silence", Reply::Silence),
        ("a byte a second", Reply::Drip(whole.into_bytes())),
        ("a close", Reply::Bytes(Vec::new())),
        ("a reset", Reply::Reset(Vec::new())),
        ("no HTTP", Reply::Bytes(good.as_bytes().to_vec())),
        ("TLS where none is", Reply::Bytes(b"\x15\x03\x01\0\x02\x02\x46".to_vec())),
    ]
    .into_iter()
    .map(|(what, reply)| row("KEY-18", what, good, reply, kept()))
    .collect();
    let refused = row("KEY-18", "refused", good, Reply::Silence, Outcome { fetches: 0, ..kept() });
    rows.push(Row { then: Then::Refuse, ..refused });
    rows
}

#[rustfmt::skip]
fn bad_keys(good: &str) -> Vec<Row> {
    let rsa = |members: Value| with(&key(good), &with(&json!({"kid": "bad"}), &members));
    let modulus = |bits: usize, last: u8| {
        let mut bytes = vec![0xff; bits / 8];
        *bytes.last_mut().unwrap() = last;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let bytes = |count: usize| URL_SAFE_NO_PAD.encode(vec![1; count]);
    let point = |crv: &str, x: usize, y: usize| {
        json!({"kty": "EC", "kid": "bad", "crv": crv, "x": bytes(x), "y": bytes(y)})
    };
    let okp = |crv: &str, x: Vec<u8>| {
        json!({"kty": "OKP", "kid": "bad", "crv": crv, "x": URL_SAFE_NO_PAD.encode(x)})
    };
    let mut rows: Vec<_> = [
        ("KEY-08", "no kid", rsa(json!({"kid": null}))),
        ("KEY-10", "use: enc", rsa(json!({"use": "enc"}))),
        ("KEY-10", "key_ops: encrypt", rsa(json!({"key_ops": ["encrypt"]}))),
        ("KEY-10", "key_ops: sign", rsa(json!({"key_ops": ["sign"]}))),
        ("KEY-11", "alg: RSA-OAEP", rsa(json!({"alg": "RSA-OAEP"}))),
        ("KEY-11", "alg: HS256 on RSA", rsa(json!({"alg": "HS256"}))),
        ("KEY-11", "kty: oct", json!({"kty": "oct", "kid": "bad", "k": "c2VjcmV0"})),
        ("KEY-11", "kty unknown", json!({"kty": "LWE", "kid": "bad"})),
        ("KEY-12", "512 bits", rsa(json!({"n": modulus(512, 1)}))),
        ("KEY-12", "1024 bits", rsa(json!({"n": modulus(1024, 1)}))),
        ("KEY-12", "16384 bits", rsa(json!({"n": modulus(16384, 1)}))),
        ("KEY-12", "n even", rsa(json!({"n": modulus(2048, 2)}))),
        ("KEY-12", "n = 0", rsa(json!({"n": "AA"}))),
        ("KEY-12", "e = 1", rsa(json!({"e": "AQ"}))),
        ("KEY-12", "e = 2", rsa(json!({"e": "Ag"}))),
        ("KEY-12", "e = 0", rsa(json!({"e": "AA"}))),
        ("KEY-13", "a point off its curve", point("P-256", 32, 32)),
        ("KEY-13", "a point too short", point("P-256", 31, 32)),
        ("KEY-13", "P-192", point("P-192", 24, 24)),
        ("KEY-13", "secp256k1", point("secp256k1", 32, 32)),
        ("KEY-14", "31 bytes", okp("Ed25519", vec![1; 31])),
        ("KEY-14", "33 bytes", okp("Ed25519", vec![1; 33])),
        ("KEY-14", "small order", okp("Ed25519", vec![0; 32])),
        ("KEY-14", "X25519", okp("X25519", vec![9; 32])),
        ("KEY-16", "a modulus of 900 KiB", rsa(json!({"n": bytes(600 << 10)}))),
        ("KEY-16", "a key 200 levels deep", rsa(json!({"x": nested(200)}))),
        ("KEY-16", "a key that is a number", json!(7)),
    ]
    .into_iter()
    .map(|(id, what, bad)| {
        let set = json!({ "keys": [bad, key(good)] }).to_string();
        row(id, what, good, Reply::json(&set), well())
    })
    .collect();

    let once = Outcome { fetches: 1, refreshes: [0, 1, 0], ..well() };
    let nameless = row("KEY-09", "a token of Clerk's without kid", good, Reply::json(good), once);
    rows.push(Row { unknown: UnknownToken::Nameless, ..nameless });

    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let other = with(&key(good), &json!({"n": n_of(&other)}));
    let replaced = Reply::json(&json!({ "keys": [other] }).to_string());
    let known = "401 token-invalid-signature".into();
    let new_alone = Outcome { known, refreshes: [1, 1, 0], ..well() };
    // The token of the old key has the second fetch made, and the unknown key comes too soon after.
    rows.push(row("KEY-28", "another key, same kid", good, replaced, new_alone));
    rows
}

#[rustfmt::skip]
fn lifetimes(good: &str) -> Vec<Row> {
    let cached = |directives: &str| {
        Reply::http("200 OK", &format!("cache-control: {directives}\r\n"), good)
    };
    [
        ("max-age=0", cached("max-age=0"), well_for(42, 48)),
        ("no-store", cached("no-store"), well_for(42, 48)),
        ("max-age=31536000, immutable", cached("max-age=31536000, immutable"), well_for(60_480, 69_120)),
        ("max-age=-5", cached("max-age=-5"), well_for(420, 480)),
        ("garbage", cached("garbage"), well_for(420, 480)),
        ("two lines", Reply::http("200 OK", "cache-control: public\r\ncache-control: max-age=3600\r\n", good), well_for(2520, 2880)),
    ]
    .into_iter()
    .map(|(what, reply, want)| row("KEY-31", what, good, reply, want))
    .collect()
}

/// The one key of a set.
fn key(set: &str) -> Value {
    serde_json::from_str::<Value>(set).unwrap()["keys"][0].clone()
}

/// `jwk` with these members; `null` takes one off.
fn with(jwk: &Value, members: &Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => drop(jwk.as_object_mut().unwrap().remove(name)),
            value => jwk[name] = value.clone(),
        }
    }
    jwk
}

/// The modulus of an RSA key: the first number in its `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn n_of(pair: &rcgen::KeyPair) -> String {
    let der = pair.public_key_raw();
    // SEQUENCE { INTEGER n: 257 bytes with a zero before, INTEGER e }
    let start = der.windows(5).position(|it| it == [0x02, 0x82, 0x01, 0x01, 0x00]).unwrap() + 5;
    URL_SAFE_NO_PAD.encode(&der[start..start + 256])
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!([]), |inner, _| json!([inner]))
}
