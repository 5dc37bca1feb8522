//! Tests of the signatures the backend gets.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::core::access::{Access, Presented, Rule, Testimony};
use crate::core::assertion::{Assertion, AssertionPolicy, AssertionSigner};
use crate::core::base64url;
use crate::core::caller::Caller;
use crate::core::claims::Validity;
use crate::core::clerk::session_claims::SessionClaims;
use crate::core::identity::{Field, Identity, Source};
use crate::core::issuer::TokenClass;
use crate::core::json::tests::object;
use crate::core::jwk::KeyId;
use crate::core::signing_key::{SharedSecret, SigningKey};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

/// An Ed25519 private key in PKCS #8 (RFC 8410 §7), from its seed.
fn pkcs8(seed: &[u8]) -> Vec<u8> {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&head[..], seed].concat()
}

fn policy(names: &[&str]) -> IdentityPolicy {
    let nothing = || Source::Claim("/none".into());
    let named = names.iter().map(|name| (HeaderName::try_from(*name).unwrap(), nothing()));
    IdentityPolicy::new(named.collect())
}

fn permit(identity: Identity) -> Permit {
    permit_with(identity, None)
}

fn permit_with(identity: Identity, assertion: Option<Arc<Assertion>>) -> Permit {
    let anonymous = Arc::new(Identity::default());
    let caller = Testimony {
        standing: Arc::default(),
        presented: Presented::Bearer,
        identity: Arc::new(identity),
        assertion,
    };
    Rule::from(Access::SIGNED_IN).permit(Ok(Some(caller)), &anonymous).unwrap()
}

fn line<'a>(method: &'a Method, authority: &'a str, path: &'a str) -> RequestLine<'a> {
    RequestLine { method, authority, path, query: None }
}

fn hmac(id: Option<KeyId>) -> RequestKey {
    RequestKey::Shared(Arc::new(SharedSecret::new(SECRET, id)))
}

fn pair(der: &[u8], id: Option<KeyId>) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_pkcs8(der, id).unwrap())
}

/// A signer of requests with this key, and no assertion.
fn signer(key: RequestKey, identity: &IdentityPolicy) -> Signer {
    Signer::new(identity, None, Some((key, Cover::default())))
}

fn stamped(signer: Signer, now: UnixTime) -> Stamped {
    Stamped::new(Arc::new(signer), now)
}

/// A way that tells nothing of itself.
fn way() -> Way {
    Way::new(EMPTY.clone(), EMPTY.clone(), EMPTY.clone())
}

/// What is sent for such a request, but for its way.
fn sent(stamped: &Stamped, client: HeaderMap, permit: &Permit, line: RequestLine<'_>) -> HeaderMap {
    let (client, way) = (CleanHead(client), way());
    let signed = stamped.sign(&client, &way, permit, line);
    let mut written = Vec::new();
    signed.write(&mut written);
    let mut sent = signed.into_headers();
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        [b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()].concat()
    };
    assert_eq!(written, sent.iter().flat_map(line).collect::<Vec<u8>>());
    for name in ["host", "x-request-id", "x-forwarded-proto", "x-forwarded-host"] {
        assert_eq!(sent.remove(name), Some(EMPTY.clone()));
    }
    sent
}

/// The exact bytes that are signed.
fn base_of(stamped: &Stamped, identity: &str, line: RequestLine<'_>) -> String {
    let (requests, input) = (stamped.signer.requests.as_ref(), stamped.input.as_ref());
    let (requests, input) = (requests.unwrap(), input.unwrap());
    let rest = requests.rest_of_base(None, line, parameters(input));
    format!("{identity}{}", String::from_utf8(rest).unwrap())
}

/// What a backend gets where the client sent these headers.
fn signed(key: RequestKey, client: HeaderMap) -> HeaderMap {
    let stamped = stamped(signer(key, &policy(&[])), NOW);
    let line = line(&Method::GET, "localhost", "/");
    sent(&stamped, client, &permit(Identity::default()), line)
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let mut values = headers.get_all(name).iter();
    let text = values.next().unwrap().to_str().unwrap().to_owned();
    assert_eq!(values.next(), None, "one field");
    text
}

fn members(headers: &HeaderMap, name: &str) -> Vec<String> {
    let field = header(headers, name);
    let members = Parser::new(&field).parse::<Dictionary>().unwrap();
    members.keys().map(|name| name.as_str().to_owned()).collect()
}

/// Vectors that two libraries of others agree on.
#[test]
fn the_vectors_are_met_byte_for_byte() {
    let file = include_str!("../../tests/fixtures/signature-vectors.json");
    let vectors: Vec<Value> = serde_json::from_str(file).unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let secret = STANDARD.decode(text("key")).unwrap();
        let key = match text("alg") {
            "hmac-sha256" => {
                RequestKey::Shared(Arc::new(SharedSecret::new(&secret, Some(id(text("keyid"))))))
            }
            _ => RequestKey::Pair(pair(&pkcs8(&secret), Some(id(text("keyid"))))),
        };
        let headers: Vec<(HeaderName, HeaderValue)> =
            serde_json::from_value::<Vec<(String, String)>>(vector["headers"].clone())
                .unwrap()
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
        let lines = headers
            .iter()
            .map(|(name, value)| format!("\"{name}\": {}\n", value.to_str().unwrap()));
        let identity_base: String = lines.collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let signer = signer(key, &policy(&names));
        let method = text("method").parse().unwrap();
        let line = line(&method, text("authority"), text("path"));
        let now = UnixTime::from_secs(vector["created"].as_i64().unwrap());

        let stamped = stamped(signer, now);

        let base = base_of(&stamped, &identity_base, line);
        assert_eq!(base, text("base"), "{}", vector["name"]);

        let said = headers.iter().map(|(name, value)| (name, value.to_str().unwrap()));
        let identity = Identity::new(said, |text, out| out.push_str(text));
        assert_eq!(identity.base, identity_base, "{}", vector["name"]);
        let sent = sent(&stamped, HeaderMap::new(), &permit(identity), line);
        assert_eq!(header(&sent, "signature-input"), text("signature_input"), "{}", vector["name"]);
        assert_eq!(header(&sent, "signature"), text("signature"), "{}", vector["name"]);
        assert_eq!(sent.len(), headers.len() + 2);
        for (name, value) in &headers {
            assert_eq!(sent.get_all(name).iter().collect::<Vec<_>>(), [value]);
        }
    }
}

#[test]
fn a_second_later_the_signature_is_another() {
    let signer = Arc::new(signer(hmac(None), &policy(&[])));
    for (millis, created) in [(1_700_000_000_999, 1_700_000_000), (-1000, -1)] {
        let now = UnixTime::from_millis(millis);
        let stamped = Stamped::new(Arc::clone(&signer), now);
        let want = format!(";created={created};expires={};", created + LIFETIME);
        assert!(stamped.input.as_ref().unwrap().to_str().unwrap().contains(&want), "{now}");
        for (later, same) in [(-1000, false), (0, true), (1, millis == -1000), (1000, false)] {
            let then = UnixTime::from_millis(millis + later);
            assert_eq!(stamped.is_of(&signer, then), same, "{now} {then}");
        }
    }
}

#[test]
fn another_signer_stamps_anew() {
    let [one, other] = [0; 2].map(|_| Arc::new(signer(hmac(None), &policy(&[]))));
    let stamped = Stamped::new(Arc::clone(&one), NOW);
    assert!(stamped.is_of(&one, NOW) && !stamped.is_of(&other, NOW));
}

#[test]
fn members_the_client_sent_for_others_stay_before_ours() {
    let ours = [LABEL].map(str::to_owned).to_vec();
    let both = ["sig1", LABEL].map(str::to_owned).to_vec();
    for (input, signature, want) in [
        (None, None, &ours),
        (Some("sig1=(\"@method\");tag=\"app\""), Some("sig1=:AQID:"), &both),
        (Some("sig1=()"), Some("sig1=:AQID:, other=:AQID:"), &both),
        (Some("sig1=(), other=()"), Some("sig1=:AQID:"), &both),
        (Some("countersign=(), sig1=()"), Some("countersign=:AQID:, sig1=:AQID:"), &both),
        (Some("a=();tag=\"countersign\", sig1=()"), Some("a=:AQID:, sig1=:AQID:"), &both),
        (Some("a=();tag=countersign, sig1=()"), Some("a=:AQID:, sig1=:AQID:"), &both),
        (Some("a;tag=\"countersign\", sig1=()"), Some("a=:AQID:, sig1=:AQID:"), &both),
        (Some("a=();tag=\"countersign\""), Some("a=:AQID:"), &ours),
        (Some("countersign=()"), Some("countersign=:AQID:"), &ours),
        (Some("countersign=();tag=\"x\""), Some("sig1=:AQID:"), &ours),
        (Some("sig1=()"), None, &ours),
        (None, Some("sig1=:AQID:"), &ours),
        (Some("sig1=("), Some("sig1=:AQID:"), &ours),
        (Some("sig1=()"), Some("sig1=:AQ"), &ours),
        (Some("sig1=()"), Some("sig1=:AQID:,"), &ours),
        (Some("Countersign=()"), Some("Countersign=:AQID:"), &ours), // no key has capitals
        (Some(""), Some(""), &ours),
        (Some("sig1=()\u{e9}"), Some("sig1=:AQID:"), &ours),
    ] {
        let mut client = HeaderMap::new();
        for (name, value) in [("signature-input", input), ("signature", signature)] {
            let value = value.map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
            client.extend(value.map(|value| (HeaderName::from_static(name), value)));
        }
        let sent = signed(hmac(None), client);
        assert_eq!(&members(&sent, "signature-input"), want, "{input:?} {signature:?}");
        assert_eq!(&members(&sent, "signature"), want, "{input:?} {signature:?}");
        let last = header(&sent, "signature-input");
        assert!(last.ends_with(r#";alg="hmac-sha256";tag="countersign""#), "{last}");
    }
}

/// A head of 32 KiB with 8,000 of them, none of which signs anything, kept a worker busy for half a second; of so
/// many it would be minutes.
#[test]
fn members_that_go_cost_no_more_the_more_there_are() {
    const MANY: usize = 100_000;
    let inputs: Vec<_> = (0..MANY).map(|number| format!("k{number}")).collect();
    let client = HeaderMap::from_iter([
        (SIGNATURE_INPUT, HeaderValue::try_from(inputs.join(",")).unwrap()),
        (SIGNATURE, HeaderValue::from_static("z=::")),
    ]);
    let began = tokio::time::Instant::now();
    let sent = signed(hmac(None), client);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(members(&sent, "signature-input"), [LABEL]);
}

#[test]
fn members_in_several_fields_are_one_dictionary() {
    let mut client = HeaderMap::new();
    for (name, value) in [
        ("signature-input", "sig1=()"),
        ("signature-input", "countersign=(), sig2=()"),
        ("signature", "sig2=:AQID:, countersign=:AQID:"),
        ("signature", "sig1=:AQID:"),
    ] {
        client.append(name, HeaderValue::from_static(value));
    }
    let sent = signed(hmac(None), client);
    assert_eq!(members(&sent, "signature-input"), ["sig1", "sig2", LABEL]);
    assert_eq!(members(&sent, "signature"), ["sig2", "sig1", LABEL]);
}

#[test]
fn debug_shows_no_secret() {
    let key = hmac(Some(id("mine")));
    assert_eq!(format!("{key:?}"), "Shared(SharedSecret(mine))");
    let stamped = stamped(signer(key, &policy(&[])), NOW);
    let (head, line) = (CleanHead(HeaderMap::new()), line(&Method::GET, "localhost", "/"));
    let (way, permit) = (way(), permit(Identity::default()));
    let head = stamped.sign(&head, &way, &permit, line);
    assert_eq!(format!("{head:?}"), "SignedHead(CleanHead(0 headers))");
}

#[test]
fn a_key_id_with_a_quote_or_a_backslash_is_still_one_text() {
    for name in [r#"a"b"#, r"a\b", r#"a\";tag="x"#, r#"\""#] {
        let sent = signed(hmac(Some(id(name))), HeaderMap::new());
        let input = header(&sent, "signature-input");
        let members = Parser::new(&input).parse::<Dictionary>().unwrap();
        let ListEntry::InnerList(ours) = &members[LABEL] else { panic!("an inner list") };
        let text = |name| ours.params.get(name).unwrap().as_string().unwrap().as_str();
        assert_eq!((text("keyid"), text("tag")), (name, LABEL), "{input}");
    }
}

/// The lines of the base that the covered components give, by RFC 9421 §2.2.7 and §2.5.
#[test]
fn a_query_is_covered_where_that_is_asked_for() {
    for (query, want) in [(None, "?"), (Some(""), "?"), (Some("a=b&c=%20'"), "?a=b&c=%20'")] {
        let line = RequestLine { query, ..line(&Method::GET, "localhost", "/a") };
        let with = |cover| stamped(Signer::new(&policy(&[]), None, Some((hmac(None), cover))), NOW);
        let base = base_of(&with(Cover { query: true }), "", line);
        assert!(base.contains(&format!("\"@path\": /a\n\"@query\": {want}\n")), "{base}");
        assert!(base.contains(r#"("@method" "@authority" "@path" "@query");created="#), "{base}");
        assert!(!base_of(&with(Cover::default()), "", line).contains("@query"));
    }
}

#[test]
fn an_assertion_stands_beside_the_signature_and_is_covered_by_it() {
    let p256 = rcgen::KeyPair::generate().unwrap().serialize_der();
    let name = HeaderName::from_static("x-clerk-assertion");
    let about = AssertionPolicy { header: name.clone(), audience: "a".into(), claims: Vec::new() };
    let assertion = AssertionSigner::new(about, pair(&p256, None));
    let made = Arc::new(assertion.make(r#""sub":"user_1""#, NOW, NOW));
    let text = made.value.to_str().unwrap();
    let line = line(&Method::GET, "localhost", "/");
    let signs = Some((hmac(None), Cover::default()));
    let both = stamped(Signer::new(&policy(&[]), Some(name.clone()), signs), NOW);
    let alone = stamped(Signer::new(&policy(&[]), Some(name), None), NOW);
    for (somebody, want) in [(true, text), (false, "")] {
        let permit = permit_with(Identity::default(), somebody.then(|| Arc::clone(&made)));
        let signed = sent(&both, HeaderMap::new(), &permit, line);
        assert_eq!(header(&signed, "x-clerk-assertion"), want);
        let input = header(&signed, "signature-input");
        assert!(input.starts_with(r#"countersign=("x-clerk-assertion" "@method""#), "{input}");
        let base = base_of(&both, &format!("\"x-clerk-assertion\": {want}\n"), line);
        let mut signature = String::new();
        hmac(None).sign(&Identity::default(), base.as_bytes(), &mut signature);
        assert_eq!(header(&signed, "signature"), format!("countersign=:{signature}:"));

        let unsigned = sent(&alone, HeaderMap::new(), &permit, line);
        assert_eq!(unsigned.len(), 1, "no signature where none is wanted");
        assert_eq!(header(&unsigned, "x-clerk-assertion"), want);
    }
}

#[test]
fn without_a_signature_of_ours_only_theirs_are_left() {
    let mut client = HeaderMap::new();
    client.insert("signature-input", HeaderValue::from_static("countersign=(), sig1=()"));
    client.insert("signature", HeaderValue::from_static("countersign=:AQID:, sig1=:AQID:"));
    let stamped = stamped(Signer::new(&policy(&[]), None, None), NOW);
    let line = line(&Method::GET, "localhost", "/");
    let sent = sent(&stamped, client, &permit(Identity::default()), line);
    assert_eq!(members(&sent, "signature-input"), ["sig1"]);
    assert_eq!(members(&sent, "signature"), ["sig1"]);
}

fn caller(claims: &Value) -> Caller {
    let payload = base64url::encode(claims.to_string().as_bytes()).into();
    let claims = object(claims);
    let text = |name: &str| claims.get(name).unwrap().as_str().unwrap().to_owned();
    Caller {
        issuer: text("iss"),
        class: TokenClass::SessionToken,
        subject: text("sub"),
        session_id: Some(text("sid")),
        session: SessionClaims::read(&claims),
        validity: Validity { expires: NOW, not_before: None, issued_at: None },
        payload,
        claims,
    }
}

proptest! {
    /// No claim adds a line to what is signed, or a byte to a header that could end it.
    #[test]
    fn whatever_claims_say_the_base_is_ascii_and_a_line_a_component(
        texts in proptest::collection::vec(any::<String>(), 8),
        number in any::<f64>(),
    ) {
        let [a, b, c, d, e, f, g, h] = &texts[..] else { panic!("eight texts") };
        let claims = json!({
            "iss": a, "sub": b, "sid": c, "act": {"sub": d}, "scope": e, "pla": f, "fea": g,
            "v": 2, "o": {"id": h, "slg": a, "rol": b, "per": c, "fpm": "3,5"},
            "text": d, "list": [e, f, null, number], "object": {(g): h}, "number": number,
        });
        let fields = Field::ALL.iter().map(|field| (field.name(), Source::Field(*field)));
        let own = ["text", "list", "object", "number"];
        let own = own.iter().map(|name| (*name, Source::Claim(format!("/{name}"))));
        let headers = fields.chain(own).map(|(name, source)| {
            (HeaderName::try_from(format!("x-clerk-{name}")).unwrap(), source)
        });
        let policy = IdentityPolicy::new(headers.collect());
        let stamped = stamped(signer(hmac(None), &policy), NOW);
        let identity = policy.of(&caller(&claims));
        let line = line(&Method::GET, "localhost", "/");

        let lines = std::str::from_utf8(&identity.base).unwrap();
        let base = base_of(&stamped, lines, line);
        prop_assert!(base.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)));
        prop_assert_eq!(base.lines().count(), identity.values.len() + 4);
        for ((name, value), line) in policy.names().zip(&identity.values).zip(base.lines()) {
            prop_assert_eq!(line, format!("\"{name}\": {}", value.to_str().unwrap()));
            prop_assert_eq!(value.to_str().unwrap().trim(), value.to_str().unwrap());
        }

        let told = identity.values.clone();
        let sent = sent(&stamped, HeaderMap::new(), &permit(identity), line);
        for (name, value) in policy.names().zip(&told) {
            prop_assert_eq!(sent.get_all(name).iter().collect::<Vec<_>>(), [value]);
        }
        prop_assert_eq!(members(&sent, "signature-input"), [LABEL]);
        prop_assert_eq!(members(&sent, "signature"), [LABEL]);
    }

    /// Whatever a client sends as a signature, what the backend gets are two dictionaries of the
    /// same members, and ours is the last of each.
    #[test]
    fn whatever_a_client_signs_ours_is_the_last(
        input in "[ -~]{0,40}|(sig1|countersign|a)=\\(\\)(;tag=(\"countersign\"|b))?(, b=\\(\\))?",
        signature in "[ -~]{0,40}|(sig1|countersign|a)=:AQID:(, b=:AQID:)?",
    ) {
        let mut client = HeaderMap::new();
        client.insert("signature-input", HeaderValue::try_from(input).unwrap());
        client.insert("signature", HeaderValue::try_from(signature).unwrap());
        let sent = signed(hmac(None), client);
        let (mut inputs, mut signatures) =
            (members(&sent, "signature-input"), members(&sent, "signature"));
        prop_assert_eq!(inputs.last().map(String::as_str), Some(LABEL));
        prop_assert_eq!(signatures.last().map(String::as_str), Some(LABEL));
        inputs.sort();
        signatures.sort();
        prop_assert_eq!(inputs, signatures);
    }
}
