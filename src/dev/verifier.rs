//! Verifies our signature the way a backend would: from RFC 9421 and our profile of it alone.
//!
//! Nothing here is shared with the code that signs, so a mistake there does not verify here. The
//! profile: one member `countersign` in `Signature-Input` and `Signature`, tagged `countersign`,
//! that covers every identity header received and `"@method" "@authority" "@path"`.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::countersignature::LABEL;
pub use super::countersignature::{Countersignature, VerifyError};
use crate::core::header_name::folded;
use crate::core::time::UnixTime;

/// What must be covered besides the identity headers.
const REQUIRED: [&str; 3] = ["@method", "@authority", "@path"];

/// How far the clocks of the proxy and the backend may differ.
const TOLERANCE: Duration = Duration::from_secs(5);

/// Verifies countersignatures with one key.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: Key,
    prefix: String,
}

#[derive(Clone, Debug)]
enum Key {
    Hmac(Box<hmac::Key>),
    Ed25519([u8; 32]),
}

impl Verifier {
    /// Creates a verifier for `hmac-sha256` with the secret that the proxy has.
    pub fn hmac(secret: &[u8]) -> Self {
        Self::new(Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret).into()))
    }

    /// Creates a verifier for `ed25519` with the proxy's public key.
    pub fn ed25519(raw_public_key: &[u8; 32]) -> Self {
        Self::new(Key::Ed25519(*raw_public_key))
    }

    fn new(key: Key) -> Self {
        Self { key, prefix: "x-clerk-".to_owned() }
    }

    /// Sets how the names of identity headers start, in small letters. Default: `x-clerk-`.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// Returns how the names of identity headers start.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Says whether `name` is that of an identity header. `_` counts as `-`: CGI and its heirs
    /// cannot tell them apart.
    pub fn is_identity(&self, name: &HeaderName) -> bool {
        folded(name.as_str()).starts_with(&self.prefix)
    }

    /// Verifies that `found` is our signature of `head`, and good at the time `now`.
    ///
    /// # Errors
    ///
    /// The first rule broken, in the order: whose signature it says it is, what it covers, whether
    /// the key made it, when it is good.
    pub fn verify(
        &self,
        found: &Countersignature,
        head: &Parts,
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        if found.tag != LABEL {
            return Err(VerifyError::TagMismatch(found.tag.clone()));
        }
        if found.alg != self.algorithm() {
            return Err(VerifyError::AlgorithmMismatch(found.alg.clone()));
        }
        self.check_coverage(found, &head.headers)?;
        let base = found.base(head)?;
        match &self.key {
            Key::Hmac(key) => hmac::verify(key, &base, &found.signature),
            Key::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(&base, &found.signature)
            }
        }
        .map_err(|_| VerifyError::SignatureMismatch)?;
        if now.plus(TOLERANCE) < found.created {
            return Err(VerifyError::FromTheFuture { created: found.created, now });
        }
        if now >= found.expires.plus(TOLERANCE) {
            return Err(VerifyError::Expired { expires: found.expires, now });
        }
        Ok(())
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Hmac(_) => "hmac-sha256",
            Key::Ed25519(_) => "ed25519",
        }
    }

    /// Checks that nothing a backend relies on was left out: an identity header that is not covered
    /// was put there by somebody else.
    fn check_coverage(
        &self,
        found: &Countersignature,
        headers: &HeaderMap,
    ) -> Result<(), VerifyError> {
        let identity = headers.keys().filter(|name| self.is_identity(name)).map(HeaderName::as_str);
        for name in identity.chain(REQUIRED) {
            if !found.components.iter().any(|component| component == name) {
                return Err(VerifyError::NotCovered(name.to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use http::header::HOST;
    use http::{HeaderValue, Request};

    use super::*;
    use crate::dev::mint::hex;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
    const COVERED: &str = r#"("x-clerk-user-id" "x-clerk-session-id" "x-clerk-org-id" "x-clerk-org-permissions" "x-clerk-user-name" "@method" "@authority" "@path")"#;

    /// Signatures of [`request`] made with Python's `hmac` and `cryptography`; the secret and the
    /// seed are the bytes 0 to 31.
    const BY_HMAC: &str = "xpBB8EaAQCUNFULyW2t4BdHbtGV8Y2rib6s0Uc5AmRw=";
    const BY_ED25519: &str =
        "JbXRqzX23CdTGhlV6ijTe7wBHqA+iVvj+gwTd/0cIXZIO5Sr26Lgk1MX8jZB176GnOnRruOcGj/zL6dKuTLfAQ==";

    fn secret() -> [u8; 32] {
        std::array::from_fn(|i| u8::try_from(i).unwrap())
    }

    fn params(alg: &str, tag: &str) -> String {
        format!(
            r#"{COVERED};created=1700000000;expires=1700000030;keyid="k1";alg="{alg}";tag="{tag}""#
        )
    }

    fn request(params: &str, signature: &str) -> Parts {
        let request = Request::get("/v1/widgets/a%2Fb?q=1")
            .header("host", "api.example.com:8443")
            .header("x-clerk-user-id", "user_2aBcDeFgHiJkLmNoPqRsTuVwXyZ")
            .header("x-clerk-session-id", "sess_2aBcDeFgHiJkLmNoPqRsTuVwXyZ")
            .header("x-clerk-org-id", "")
            .header("x-clerk-org-permissions", "org:dash:read, org:dash:manage")
            .header("x-clerk-user-name", "J%C3%BCrgen%20O%27Neil")
            .header("accept", "*/*")
            .header("signature-input", format!("countersign={params}"))
            .header("signature", format!("countersign=:{signature}:"));
        request.body(()).unwrap().into_parts().0
    }

    fn signed() -> Parts {
        request(&params("hmac-sha256", "countersign"), BY_HMAC)
    }

    fn verify(verifier: &Verifier, head: &Parts, now: UnixTime) -> Result<(), VerifyError> {
        verifier.verify(&Countersignature::parse(&head.headers)?, head, now)
    }

    #[test]
    fn signatures_that_others_made_verify() {
        let public = STANDARD.decode("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=").unwrap();
        let public = public.try_into().unwrap();
        for (verifier, alg, signature) in [
            (Verifier::hmac(&secret()), "hmac-sha256", BY_HMAC),
            (Verifier::ed25519(&public), "ed25519", BY_ED25519),
        ] {
            let head = request(&params(alg, "countersign"), signature);
            assert_eq!(verify(&verifier, &head, NOW), Ok(()), "{alg}");
            let other = request(&params(alg, "countersign"), &signature.replace("A", "B"));
            assert_eq!(
                verify(&verifier, &other, NOW),
                Err(VerifyError::SignatureMismatch),
                "{alg}"
            );
        }
    }

    #[test]
    fn the_base_is_the_one_that_libraries_in_node_and_python_build() {
        for (alg, bytes, sha256) in [
            (
                "hmac-sha256",
                547,
                "c29537d1454194911a9738bb12dea8eea48979380015442ac4296c72de687281",
            ),
            ("ed25519", 543, "16f98a4a2cdd7681e261a74fe07d6410941b31f1e4d2dd79eca478be6ed624d7"),
        ] {
            let head = request(&params(alg, "clerk-sidecar"), "");
            let base = Countersignature::parse(&head.headers).unwrap().base(&head).unwrap();
            assert_eq!((base.len(), &*hex(digest(&SHA256, &base).as_ref())), (bytes, sha256));
        }
    }

    #[test]
    fn a_signature_is_good_from_created_to_expires_give_or_take_five_seconds() {
        for (seconds, good) in [(-6, false), (-5, true), (0, true), (34, true), (35, false)] {
            let now = UnixTime::from_secs(1_700_000_000 + seconds);
            let answer = verify(&Verifier::hmac(&secret()), &signed(), now);
            assert_eq!(answer.is_ok(), good, "{seconds} s: {answer:?}");
        }
    }

    /// A change to a signed request, and the error it earns.
    type Tampering = (fn(&mut Parts), Result<(), VerifyError>);

    fn set(head: &mut Parts, name: &'static str, value: &'static str) {
        head.headers.insert(name, HeaderValue::from_static(value));
    }

    fn add(head: &mut Parts, name: &'static str, value: &'static str) {
        head.headers.append(name, HeaderValue::from_static(value));
    }

    fn edit(head: &mut Parts, from: &str, to: &str) {
        let text = head.headers["signature-input"].to_str().unwrap().replacen(from, to, 1);
        head.headers.insert("signature-input", HeaderValue::from_str(&text).unwrap());
    }

    #[test]
    #[rustfmt::skip]
    fn whatever_was_tampered_with_is_noticed() {
        use VerifyError::*;
        let name = HeaderName::from_static;
        let cases: Vec<Tampering> = vec![
            // What may change on the way.
            (|head| set(head, "accept", "text/html"),                        Ok(())),
            (|head| set(head, "host", "API.example.COM:8443"),               Ok(())),
            (|head| head.uri = "/v1/widgets/a%2Fb?q=2".parse().unwrap(),     Ok(())),
            (|head| add(head, "signature-input", r#"sig1=("date")"#),        Ok(())),
            (|head| edit(head, "countersign=", r#"sig1=("a,countersign=");tag="b",  countersign="#), Ok(())),
            (|head| edit(head, "\" \"", "\"   \""),                          Ok(())),
            // What may not.
            (|head| head.method = http::Method::HEAD,                        Err(SignatureMismatch)),
            (|head| head.uri = "/v1/widgets/a%2fb".parse().unwrap(),         Err(SignatureMismatch)),
            (|head| head.uri = "/".parse().unwrap(),                         Err(SignatureMismatch)),
            (|head| set(head, "host", "api.example.com"),                    Err(SignatureMismatch)),
            (|head| add(head, "host", "api.example.com:8443"),               Err(HeaderRepeated(HOST))),
            (|head| drop(head.headers.remove("host")),                       Err(HeaderMissing(HOST))),
            (|head| set(head, "x-clerk-org-id", "org_1"),                    Err(SignatureMismatch)),
            (|head| set(head, "x-clerk-user-id", ""),                        Err(SignatureMismatch)),
            (|head| add(head, "x-clerk-user-id", "user_2"),                  Err(HeaderRepeated(name("x-clerk-user-id")))),
            (|head| drop(head.headers.remove("x-clerk-org-id")),             Err(HeaderMissing(name("x-clerk-org-id")))),
            (|head| add(head, "x-clerk-org-role", "org:admin"),              Err(NotCovered("x-clerk-org-role".into()))),
            (|head| add(head, "x_clerk_user_id", "user_2"),                  Err(NotCovered("x_clerk_user_id".into()))),
            (|head| edit(head, "\"x-clerk-user-id\" ", ""),                  Err(NotCovered("x-clerk-user-id".into()))),
            (|head| edit(head, "\"@method\" ", ""),                          Err(NotCovered("@method".into()))),
            (|head| edit(head, " \"@path\"", ""),                            Err(NotCovered("@path".into()))),
            (|head| edit(head, "\"@method\" \"@auth", "\"@auth"),            Err(NotCovered("@method".into()))),
            (|head| edit(head, "\"@method\"", "\"@method\" \"@method\""),    Err(CoveredTwice("@method".into()))),
            (|head| edit(head, "\"@path\"", "\"@path\" \"@query\""),         Err(SignatureMismatch)),
            (|head| edit(head, "\"@path\"", "\"@path\" \"@scheme\""),        Err(ComponentUnknown("@scheme".into()))),
            (|head| edit(head, "\"@path\"", "\"@path\";req"),                Err(ComponentUnknown("@path".into()))),
            (|head| edit(head, "\"@path\"", "\"@path\" \"Accept\""),         Err(ComponentUnknown("Accept".into()))),
            (|head| edit(head, "\"@path\"", "\"@path\" \"accept\""),         Err(SignatureMismatch)),
            (|head| edit(head, "\"@path\"", "\"@path\" \"date\""),           Err(HeaderMissing(http::header::DATE))),
            (|head| edit(head, "\"@path\"", "\"@path\" 1"),                  Err(MemberMalformed("Signature-Input"))),
            (|head| edit(head, "created=1700000000", "created=1700000001"),  Err(SignatureMismatch)),
            (|head| edit(head, "expires=1700000030", "expires=1800000000"),  Err(SignatureMismatch)),
            (|head| edit(head, "created=1700000000;", ""),                   Err(ParameterMissing("created"))),
            (|head| edit(head, "expires=1700000030", "expires=\"never\""),   Err(ParameterMissing("expires"))),
            (|head| edit(head, "keyid=\"k1\"", "keyid=\"k2\""),              Err(SignatureMismatch)),
            (|head| edit(head, "hmac-sha256", "ed25519"),                    Err(AlgorithmMismatch("ed25519".into()))),
            (|head| edit(head, "tag=\"countersign\"", "tag=\"other\""),      Err(TagMismatch("other".into()))),
            (|head| edit(head, ";tag=\"countersign\"", ""),                  Err(ParameterMissing("tag"))),
            (|head| edit(head, "countersign=(", "other=("),                  Err(MemberMissing("Signature-Input"))),
            (|head| set(head, "signature-input", "countersign=1"),           Err(MemberMalformed("Signature-Input"))),
            (|head| set(head, "signature-input", "countersign=("),           Err(FieldMalformed("Signature-Input"))),
            (|head| drop(head.headers.remove("signature-input")),            Err(FieldMissing("Signature-Input"))),
            (|head| drop(head.headers.remove("signature")),                  Err(FieldMissing("Signature"))),
            (|head| set(head, "signature", "other=:AAAA:"),                  Err(MemberMissing("Signature"))),
            (|head| set(head, "signature", "countersign=AAAA"),              Err(MemberMalformed("Signature"))),
            (|head| set(head, "signature", "countersign=::"),                Err(SignatureMismatch)),
            (|head| add(head, "signature", "countersign=:AAAA:"),            Err(SignatureMismatch)),
        ];
        for (number, (tamper, want)) in cases.into_iter().enumerate() {
            let mut head = signed();
            tamper(&mut head);
            let answer = verify(&Verifier::hmac(&secret()), &head, NOW);
            assert_eq!(answer, want, "case {number}: {:?}", head.headers);
        }
    }

    #[test]
    fn another_prefix_makes_other_headers_identity() {
        let head = request(&params("hmac-sha256", "countersign"), BY_HMAC);
        let verifier = Verifier::hmac(&secret()).with_prefix("x-caller-");
        assert_eq!(verify(&verifier, &head, NOW), Ok(()));

        let mut head = signed();
        add(&mut head, "x-caller-id", "1");
        let answer = verify(&verifier, &head, NOW);
        assert_eq!(answer, Err(VerifyError::NotCovered("x-caller-id".into())));
    }
}
