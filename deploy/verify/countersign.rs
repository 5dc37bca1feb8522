//! Believes who Countersign says is calling: checks the RFC 9421 signature that is on each request.
//!
//! ```
//! let keys = countersign::secret(&std::env::var("COUNTERSIGN_SIGNING_SECRET")?);
//! let names = &countersign::IDENTITY;
//! let told = countersign::verify(method, target, headers, &keys, names, "x-clerk-", &[])?;
//! told["x-clerk-user-id"] // empty for nobody
//! ```
//!
//! `target` is path and query as they came, nothing decoded; `headers` are pairs, two where a name
//! came twice. As in your settings: all identity headers in their order, and `x-clerk-assertion`
//! last where `signing.mode` has both kinds; the prefix; `@query` where it is covered. A header
//! with the prefix that is not in the list is refused. Needs `hmac`, `sha2` and `base64`, since the
//! standard library has none of it. Made to be copied.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The default of `identity.headers`; those of `identity.claims` follow them.
#[rustfmt::skip]
pub const IDENTITY: [&str; 9] = [
    "x-clerk-principal", "x-clerk-token-type", "x-clerk-user-id", "x-clerk-session-id", "x-clerk-org-id",
    "x-clerk-org-slug", "x-clerk-org-role", "x-clerk-org-permissions", "x-clerk-actor-id",
];

/// Keys by their id.
pub type Keys = HashMap<String, Hmac<Sha256>>;

/// The key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
///
/// # Panics
///
/// On a secret of less than 32 bytes.
pub fn secret(text: &str) -> Keys {
    let decoded = text.strip_prefix("base64:").map(|code| BASE64.decode(code).expect("base64"));
    let key = decoded.unwrap_or_else(|| text.into());
    assert!(key.len() >= 32, "a secret has at least 32 bytes");
    let key = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length is good");
    let id = key.clone().chain_update("kid").finalize().into_bytes();
    Keys::from([(id[..4].iter().map(|byte| format!("{byte:02x}")).collect(), key)])
}

/// Returns the identity headers, by name, or why the request is not believed.
pub fn verify<'a>(
    method: &str,
    target: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    keys: &Keys,
    identity: &[&str],
    prefix: &str,
    cover: &[&str],
) -> Result<HashMap<String, String>, String> {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    // The query is a `?` where there is none.
    let derived = [("@method", method), ("@path", path), ("@query", query.max("?"))];
    let mut lines = HashMap::from(derived.map(|(name, value)| (name.into(), vec![value])));
    for (name, value) in headers {
        // A name with `_` would be taken for ours further on.
        lines.entry(name.to_lowercase().replace('_', "-")).or_default().push(value.trim());
    }
    lines.insert("@authority".into(), lines.get("host").cloned().unwrap_or_default());
    let (params, signature) = (ours(&lines, "signature-input")?, ours(&lines, "signature")?);
    let expected = [identity, &["@method", "@authority", "@path"], cover].concat();
    let covered = format!("(\"{}\");created=", expected.join("\" \""));
    let rest = params.strip_prefix(&covered).ok_or("it does not cover what it must")?;
    let (created, expires, keyid) = parse(rest).ok_or("the signature is not of our kind")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_secs() as i64);
    (created <= now + 5 && expires >= now - 5).then_some(()).ok_or("it is not of this time")?;
    let key = keys.get(keyid).ok_or("no key of this id and algorithm is known")?;
    let beside = |name: &&String| name.starts_with(prefix) && !identity.contains(&name.as_str());
    if let Some(name) = lines.keys().find(beside) {
        return Err(format!("{name} is not signed")); // what is not covered anybody may have added
    }
    let base = expected.iter().map(|name| Ok(format!("\"{name}\": {}\n", only(&lines, name)?)));
    let base = base.collect::<Result<String, String>>()? + "\"@signature-params\": " + &params;
    let mac = BASE64.decode(signature.trim_matches(':')).unwrap_or_default();
    // In constant time.
    key.clone().chain_update(base).verify_slice(&mac).map_err(|_| "the signature does not hold")?;
    identity.iter().map(|name| Ok((name.to_string(), only(&lines, name)?.into()))).collect()
}

fn only<'a>(lines: &HashMap<String, Vec<&'a str>>, name: &str) -> Result<&'a str, String> {
    once(name, lines.get(name).map(Vec::as_slice).unwrap_or_default())
}

fn once<'a>(name: &str, found: &[&'a str]) -> Result<&'a str, String> {
    if let [one] = found { Ok(one) } else { Err(format!("{name} is there {} times", found.len())) }
}

/// Our member of a structured dictionary: a comma within quotes ends none.
fn ours(lines: &HashMap<String, Vec<&str>>, name: &str) -> Result<String, String> {
    let field = lines.get(name).map(|sent| sent.join(", ")).unwrap_or_default();
    let (mut quoted, mut escaped) = (false, false);
    let members = field.split(|letter| {
        quoted ^= letter == '"' && !escaped;
        escaped = quoted && letter == '\\' && !escaped;
        letter == ',' && !quoted
    });
    let found: Vec<_> = members.filter_map(|one| one.trim().strip_prefix("countersign=")).collect();
    once(&format!("our {name}"), &found).map(Into::into)
}

/// The rest of the parameters, as they stand in `Signature-Input`.
fn parse(rest: &str) -> Option<(i64, i64, &str)> {
    let (created, rest) = rest.split_once(";expires=")?;
    let (expires, rest) = rest.split_once(";keyid=\"")?;
    let keyid = rest.strip_suffix("\";alg=\"hmac-sha256\";tag=\"countersign\"")?;
    Some((created.parse().ok()?, expires.parse().ok()?, keyid))
}
