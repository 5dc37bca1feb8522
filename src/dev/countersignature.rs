//! Our member of `Signature-Input` and `Signature`, read by the rules of RFC 9421.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, ListSerializer, Parser};

use crate::core::time::UnixTime;

/// The name of our member, and its tag.
pub(super) const LABEL: &str = "countersign";

/// Our member of `Signature-Input` and `Signature`, taken apart and not verified.
#[derive(Clone, Debug)]
pub struct Countersignature {
    /// Which key is said to have made it.
    pub keyid: String,
    /// With which algorithm.
    pub alg: String,
    /// When it was made.
    pub created: UnixTime,
    /// From when on it is no longer good.
    pub expires: UnixTime,
    pub(super) tag: String,
    pub(super) components: Vec<String>,
    /// The last line of the signature base, without its name.
    params: String,
    pub(super) signature: Vec<u8>,
}

impl Countersignature {
    /// Takes our member out of the two fields. Members of others are left alone.
    ///
    /// # Errors
    ///
    /// Where it is not there, not whole or not of our profile.
    pub fn parse(headers: &HeaderMap) -> Result<Self, VerifyError> {
        let ListEntry::InnerList(input) = member(headers, "Signature-Input")? else {
            return Err(VerifyError::MemberMalformed("Signature-Input"));
        };
        let ListEntry::Item(Item { bare_item: BareItem::ByteSequence(signature), .. }) =
            member(headers, "Signature")?
        else {
            return Err(VerifyError::MemberMalformed("Signature"));
        };
        Ok(Self {
            keyid: text(&input, "keyid")?,
            alg: text(&input, "alg")?,
            created: time(&input, "created")?,
            expires: time(&input, "expires")?,
            tag: text(&input, "tag")?,
            components: components(&input)?,
            params: serialized(input),
            signature,
        })
    }

    /// Rebuilds what was signed (RFC 9421 §2.5).
    pub(super) fn base(&self, head: &Parts) -> Result<Vec<u8>, VerifyError> {
        let mut base = Vec::new();
        for name in &self.components {
            base.extend_from_slice(format!("\"{name}\": ").as_bytes());
            base.extend_from_slice(&value(name, head)?);
            base.push(b'\n');
        }
        base.extend_from_slice(format!("\"@signature-params\": {}", self.params).as_bytes());
        Ok(base)
    }
}

/// Finds our member of a field. Several lines of a field are one list (RFC 9651 §4.2).
fn member(headers: &HeaderMap, field: &'static str) -> Result<ListEntry, VerifyError> {
    let lines: Result<Vec<&str>, _> =
        headers.get_all(field).iter().map(HeaderValue::to_str).collect();
    let lines = lines.map_err(|_| VerifyError::FieldMalformed(field))?;
    if lines.is_empty() {
        return Err(VerifyError::FieldMissing(field));
    }
    let mut members: Dictionary =
        Parser::new(&lines.join(", ")).parse().map_err(|_| VerifyError::FieldMalformed(field))?;
    members.swap_remove(LABEL).ok_or(VerifyError::MemberMissing(field))
}

/// Reads what is covered. The profile has no parameters of components (`;sf`, `;bs`, `;req` …).
fn components(input: &InnerList) -> Result<Vec<String>, VerifyError> {
    let mut names: Vec<String> = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let BareItem::String(name) = &item.bare_item else {
            return Err(VerifyError::MemberMalformed("Signature-Input"));
        };
        let name = name.as_str();
        if !item.params.is_empty() {
            return Err(VerifyError::ComponentUnknown(name.to_owned()));
        }
        if names.iter().any(|known| known == name) {
            return Err(VerifyError::CoveredTwice(name.to_owned()));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn text(input: &InnerList, name: &'static str) -> Result<String, VerifyError> {
    let value = input.params.get(name).and_then(BareItem::as_string);
    value.map(|text| text.as_str().to_owned()).ok_or(VerifyError::ParameterMissing(name))
}

fn time(input: &InnerList, name: &'static str) -> Result<UnixTime, VerifyError> {
    let value = input.params.get(name).and_then(BareItem::as_integer);
    value.map(|secs| UnixTime::from_secs(secs.into())).ok_or(VerifyError::ParameterMissing(name))
}

/// Writes the member again in the one spelling that RFC 9651 has for it, which is the one signed.
fn serialized(input: InnerList) -> String {
    let mut list = ListSerializer::new();
    list.members([&ListEntry::InnerList(input)]);
    list.finish().expect("a list of one member is not empty")
}

/// Returns the value of a component of this request (RFC 9421 §2.1, §2.2).
fn value<'a>(name: &str, head: &'a Parts) -> Result<Cow<'a, [u8]>, VerifyError> {
    match name {
        "@method" => Ok(head.method.as_str().as_bytes().into()),
        "@path" => Ok(head.uri.path().as_bytes().into()),
        "@query" => Ok(format!("?{}", head.uri.query().unwrap_or_default()).into_bytes().into()),
        "@authority" => {
            let host = only(&head.headers, &HOST)?.to_ascii_lowercase();
            Ok(host.strip_suffix(b":80").unwrap_or(&host).to_owned().into())
        }
        name => match HeaderName::from_lowercase(name.as_bytes()) {
            Ok(name) => only(&head.headers, &name).map(Cow::from),
            Err(_) => Err(VerifyError::ComponentUnknown(name.to_owned())),
        },
    }
}

/// Returns the value of a header that must be there once: two lines are two answers.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], VerifyError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes().trim_ascii()),
        (None, _) => Err(VerifyError::HeaderMissing(name.clone())),
        (Some(_), Some(_)) => Err(VerifyError::HeaderRepeated(name.clone())),
    }
}

/// Why a request is not taken for one that the proxy signed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// One of the two fields is not there.
    #[error("there is no `{0}`")]
    FieldMissing(&'static str),
    /// A field is no dictionary of structured fields.
    #[error("`{0}` is not a dictionary as RFC 9651 writes one")]
    FieldMalformed(&'static str),
    /// A field has no member of ours.
    #[error("`{0}` has no member `countersign`")]
    MemberMissing(&'static str),
    /// Our member is of another type.
    #[error("the member `countersign` of `{0}` is not what RFC 9421 wants there")]
    MemberMalformed(&'static str),
    /// A parameter is not there, or of another type.
    #[error("the signature does not say its `{0}`")]
    ParameterMissing(&'static str),
    /// The signature is for something else.
    #[error("the signature is tagged {0:?}, not \"countersign\"")]
    TagMismatch(String),
    /// The signature is not of the kind that the key is for.
    #[error("the signature says it is {0:?}, for which there is no key")]
    AlgorithmMismatch(String),
    /// Something is covered that the profile does not have.
    #[error("the signature covers {0:?}, which is not in the profile")]
    ComponentUnknown(String),
    /// Something is covered twice.
    #[error("the signature covers {0:?} twice")]
    CoveredTwice(String),
    /// Something that a backend relies on is not covered.
    #[error("{0:?} is not covered by the signature")]
    NotCovered(String),
    /// A covered header did not arrive.
    #[error("the header `{0}` is signed and not there")]
    HeaderMissing(HeaderName),
    /// A covered header arrived more than once.
    #[error("the header `{0}` is there more than once")]
    HeaderRepeated(HeaderName),
    /// The key did not sign this.
    #[error("the signature does not match the request")]
    SignatureMismatch,
    /// The signature is not good yet.
    #[error("the signature was made at {created}, and it is only {now}")]
    FromTheFuture {
        /// When it says it was made.
        created: UnixTime,
        /// When it arrived.
        now: UnixTime,
    },
    /// The signature is not good any more.
    #[error("the signature expired at {expires}, and it is {now}")]
    Expired {
        /// Until when it was good.
        expires: UnixTime,
        /// When it arrived.
        now: UnixTime,
    },
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_authority_is_in_small_letters_and_without_the_default_port() {
        for (host, want) in [
            ("API.Example.com", "api.example.com"),
            ("api.example.com:80", "api.example.com"),
            ("api.example.com:8080", "api.example.com:8080"),
            ("[::1]:80", "[::1]"),
            ("[::80]", "[::80]"),
        ] {
            let head = Request::get("/").header(HOST, host).body(()).unwrap().into_parts().0;
            assert_eq!(value("@authority", &head).unwrap(), want.as_bytes(), "{host}");
        }
    }
}
