//! `Signature-Input` and `Signature`: what the client sent for others stays, ours comes last and
//! once, and is good for exactly what the backend gets.
//!
//! An input is the headers of a request, `name: value` in each line.

#![no_main]

use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::core::access::{Access, Permit, Presented, Rule, Testimony};
use countersign::core::header::{CleanHead, Credentials, StripPolicy};
use countersign::core::header_name::NamePatterns;
use countersign::core::identity::{Field, Identity, IdentityPolicy, Source};
use countersign::core::sign::{Cover, RequestLine, Signer, Stamped};
use countersign::core::signing_key::{RequestKey, SharedSecret};
use countersign::core::time::UnixTime;
use http::{HeaderMap, HeaderName, Method};
use libfuzzer_sys::fuzz_target;
use sfv::{Dictionary, FieldType, Parser};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const LINE: [&str; 4] = ["GET", "app.test", "/a/b", "x=1"];

fuzz_target!(|data: &[u8]| {
    let client = countersign_fuzz::headers(data);
    let sent = signed(STRIP.strip(client.clone()).0);
    let (input, signature) = (one(&sent, "signature-input"), one(&sent, "signature"));

    let (inputs, signatures) = (members(&input), members(&signature));
    let by_label = |it: &&String| label(it) == "countersign";
    assert_eq!(inputs.iter().filter(|it| is_ours(it)).count(), 1, "{input}");
    assert_eq!(signatures.iter().filter(by_label).count(), 1, "{signature}");
    for members in [&inputs, &signatures] {
        assert!(members.last().as_ref().is_some_and(by_label), "{members:?}");
    }
    let labels =
        |members: &[String]| members.iter().map(|it| label(it).to_owned()).collect::<Vec<_>>();
    assert_eq!(sorted(labels(&inputs)), sorted(labels(&signatures)), "{input} {signature}");
    theirs_stay(&client, &inputs, &signatures);
    ours_is_good(&sent, &input, &signature);
});

static STRIP: LazyLock<StripPolicy> = LazyLock::new(|| StripPolicy {
    prefix: "x-clerk-".to_owned(),
    ours: Vec::new(),
    foreign: NamePatterns::default(),
    credentials: Credentials::Forward,
});

static SIGNER: LazyLock<(Stamped, Permit)> = LazyLock::new(|| {
    let names = [Field::Principal, Field::UserId];
    let name =
        |field: &Field| HeaderName::try_from(format!("x-clerk-{}", field.name())).expect("a name");
    let policy =
        IdentityPolicy::new(names.iter().map(|it| (name(it), Source::Field(*it))).collect());
    let told = policy.names().zip(["user", "user_1"]);
    let caller = Testimony {
        standing: Arc::default(),
        presented: Presented::Bearer,
        identity: Arc::new(Identity::new(told, |text, out| out.push_str(text))),
        assertion: None,
    };
    let permit = Rule::from(Access::SIGNED_IN).permit(Ok(Some(caller)), &Arc::default());
    let key = RequestKey::Shared(Arc::new(SharedSecret::new(SECRET, None)));
    let signer = Signer::new(&policy, None, Some((key, Cover { query: true })));
    let signer = Stamped::new(Arc::new(signer), UnixTime::from_secs(1_700_000_000));
    (signer, permit.expect("whoever is known may"))
});

fn signed(head: CleanHead) -> HeaderMap {
    let [_, authority, path, query] = LINE;
    let line = RequestLine { method: &Method::GET, authority, path, query: Some(query) };
    let (signer, permit) = &*SIGNER;
    signer.sign(&head, &countersign_fuzz::way(), permit, line).into_headers()
}

/// The one line of a header.
fn one(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    let [value] = &*values else { panic!("{} lines of {name}", values.len()) };
    value.to_str().expect("structured fields are ASCII").to_owned()
}

/// The members of a dictionary as they are written.
fn members(text: &str) -> Vec<String> {
    parted(text, ',')
}

/// Parts a text at each `separator` outside of quotes and brackets.
fn parted(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut quoted, mut escaped, mut depth) = (vec![String::new()], false, false, 0);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            c if c == separator && !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is one").push(c);
    }
    let parts = parts.iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

fn label(member: &str) -> &str {
    member.split(['=', ';']).next().unwrap_or_default()
}

/// A member of `Signature-Input` that a backend could take for ours: by its label, or by its `tag`
/// as a text or a word.
fn is_ours(member: &str) -> bool {
    let parameters = parted(member, ';');
    let tag = parameters.iter().filter_map(|it| it.strip_prefix("tag=")).next_back();
    label(member) == "countersign" || tag.is_some_and(|tag| tag.trim_matches('"') == "countersign")
}

fn sorted(mut labels: Vec<String>) -> Vec<String> {
    labels.sort();
    labels
}

/// What the client sent in the one way to write it stays byte for byte and in its order, but for
/// what looks like ours and what is only in one of the two.
fn theirs_stay(client: &HeaderMap, inputs: &[String], signatures: &[String]) {
    let (Some(their_inputs), Some(their_signatures)) =
        (plainly_written(client, "signature-input"), plainly_written(client, "signature"))
    else {
        return;
    };
    let among = |all: &[String], own: &str| all.iter().any(|it| label(it) == own);
    let kept = |it: &&String| {
        among(&their_inputs, label(it))
            && among(&their_signatures, label(it))
            && label(it) != "countersign"
    };
    let tagged = |own: &str| their_inputs.iter().any(|it| label(it) == own && is_ours(it));
    let kept = |all: &[String]| -> Vec<String> {
        all.iter().filter(kept).filter(|it| !tagged(label(it))).cloned().collect()
    };
    assert_eq!(inputs[..inputs.len() - 1], kept(&their_inputs));
    assert_eq!(signatures[..signatures.len() - 1], kept(&their_signatures));
}

/// The members of a header that is written as a library would write it; nothing where it is not.
fn plainly_written(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> =
        headers.get_all(name).iter().map(|it| it.to_str().ok()).collect::<Option<_>>()?;
    let text = lines.join(", ");
    let read = Parser::new(&text).parse::<Dictionary>().ok()?;
    (read.serialize()? == text).then(|| members(&text))
}

/// A backend that puts the message together from what it got (RFC 9421 §2.5) finds our signature
/// good.
fn ours_is_good(sent: &HeaderMap, input: &str, signature: &str) {
    let ours = |members: Vec<String>| {
        members.last().map(|it| it.split_once('=').expect("a member").1.to_owned())
    };
    let (Some(parameters), Some(signature)) = (ours(members(input)), ours(members(signature)))
    else {
        return;
    };
    let end = parameters.find(')').expect("an inner list");
    let mut base = String::new();
    for component in parameters[1..end].split(' ') {
        let name = component.trim_matches('"');
        let [method, authority, path, query] = LINE;
        let value = match name {
            "@method" => method.to_owned(),
            "@authority" => authority.to_owned(),
            "@path" => path.to_owned(),
            "@query" => format!("?{query}"),
            name => one(sent, name).trim().to_owned(),
        };
        base += &format!("\"{name}\": {value}\n");
    }
    base += &format!("\"@signature-params\": {parameters}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let bytes = STANDARD.decode(signature.trim_matches(':')).expect("a byte sequence");
    assert!(hmac::verify(&key, base.as_bytes(), &bytes).is_ok(), "{base}");
}
