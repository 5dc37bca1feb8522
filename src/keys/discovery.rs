//! Where an issuer says its keys are (OpenID Connect Discovery 1.0).

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::KeySettings;
use super::remote::Remote;
use super::source::{Answer, Failure};
use crate::core::json;
use crate::http_client::{BadUrl, FetchUrl};

/// What stands below the issuer's URL (§4; a trailing slash of the URL is taken off first).
const PATH: &str = "/.well-known/openid-configuration";
/// An address that was found is looked for again after this time: a move is rare and announced.
const FOUND_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Finds a key set through its issuer, and keeps the address.
///
/// An address that was good is not given up before there is another: the issuer's word for it and
/// the keys themselves may be served by two machines, and fail one after the other.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    found: Option<Found>,
}

/// Where the keys were found.
#[derive(Debug)]
struct Found {
    url: FetchUrl,
    since: Instant,
    /// The last fetch from there failed: the keys may have moved.
    failed: bool,
}

impl Discovery {
    /// Fetches the key set of the issuer at the URL `issuer`; from where it was the last time, if
    /// it cannot be found out where it is now.
    ///
    /// # Errors
    ///
    /// [`Failure`] where the address could never be found, or no usable key set is there.
    pub(super) async fn fetch(
        &mut self,
        issuer: &FetchUrl,
        remote: &mut Remote,
        settings: &KeySettings,
    ) -> Result<Answer, Failure> {
        if self.found.as_ref().is_none_or(Found::is_due) {
            match find(issuer, remote, settings).await {
                Ok(url) => {
                    self.found = Some(Found { url, since: Instant::now(), failed: false });
                }
                Err(failure) if self.found.is_none() => return Err(failure),
                Err(Failure { problem, .. }) => {
                    let issuer = &settings.issuer;
                    warn!(
                        issuer,
                        problem,
                        "the issuer does not say where its keys are; they are fetched from where they were"
                    );
                }
            }
        }
        let found = self.found.as_mut().expect("without an address there was a failure");
        let answer = remote.fetch(&found.url, settings).await;
        found.failed = answer.is_err();
        answer
    }
}

impl Found {
    /// Tells whether the address is to be looked for again.
    fn is_due(&self) -> bool {
        self.failed || self.since.elapsed() >= FOUND_FOR
    }
}

/// Asks the issuer where its keys are.
async fn find(
    issuer: &FetchUrl,
    remote: &Remote,
    settings: &KeySettings,
) -> Result<FetchUrl, Failure> {
    let document = issuer.join(PATH).map_err(Failure::of)?;
    let document = remote.document(&document).await?;
    jwks_uri(&document.body, &settings.issuer, issuer).map_err(Failure::of)
}

/// A discovery document that leads to no keys.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum BadDocument {
    /// Not JSON, not an object, or one that can be read in two ways.
    #[error("the discovery document is not a JSON object of unique members")]
    Malformed,
    /// It is somebody else's: whoever is behind the URL speaks for another issuer (§4.3).
    #[error("the discovery document is of the issuer {found:?}, not of {wanted:?}")]
    Issuer { found: String, wanted: String },
    /// A member is absent or no text.
    #[error("the discovery document has no {0:?}")]
    Missing(&'static str),
    /// The key set is nowhere that may be fetched.
    #[error("the discovery document's \"jwks_uri\" is no address of keys: {0}")]
    JwksUri(#[from] BadUrl),
    /// It leads from `https` to plain `http`.
    #[error("the discovery document came over https and its \"jwks_uri\" is plain http")]
    Downgrade,
}

/// Reads where the keys of the issuer `wanted` are, out of what was found below the URL `from`.
///
/// The address may be of another origin: the document is the issuer's word for it. From `https` it
/// does not lead to plain `http` (§3: "This URL MUST use the https scheme"), which `from` itself
/// may be on loopback.
fn jwks_uri(document: &[u8], wanted: &str, from: &FetchUrl) -> Result<FetchUrl, BadDocument> {
    let document = json::parse_object(document).map_err(|_| BadDocument::Malformed)?;
    let text = |name| {
        let text = document.get(name).and_then(|value| value.as_str());
        text.ok_or(BadDocument::Missing(name))
    };
    let found = text("issuer")?;
    if found != wanted {
        let (found, wanted) = (found.chars().take(200).collect(), wanted.to_owned());
        return Err(BadDocument::Issuer { found, wanted });
    }
    let url = FetchUrl::parse(text("jwks_uri")?)?;
    let secure = |url: &FetchUrl| url.origin().starts_with("https:");
    if secure(from) && !secure(&url) { Err(BadDocument::Downgrade) } else { Ok(url) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_this_issuer_says_where_its_keys_are() {
        let mismatch = |found: &str| {
            let wanted = "https://a.example/t".to_owned();
            BadDocument::Issuer { found: found.to_owned(), wanted }
        };
        let secure = "https://a.example/t";
        let local = "http://127.0.0.1:1/t";
        for (from, document, want) in [
            (secure, r#"{"jwks_uri":"https://a.example/k"}"#, Err(BadDocument::Missing("issuer"))),
            (secure, r#"{"issuer":7}"#, Err(BadDocument::Missing("issuer"))),
            (secure, r#"{"issuer":"https://a.example/t"}"#, Err(BadDocument::Missing("jwks_uri"))),
            (secure, r#"{"issuer":"https://a.example/t/"}"#, Err(mismatch("https://a.example/t/"))),
            (secure, r#"{"issuer":"https://A.example/t"}"#, Err(mismatch("https://A.example/t"))),
            (
                secure,
                r#"{"issuer":"https://a.example/t","issuer":"https://a.example/t"}"#,
                Err(BadDocument::Malformed),
            ),
            (secure, "[]", Err(BadDocument::Malformed)),
            (secure, "<html>", Err(BadDocument::Malformed)),
            (secure, "", Err(BadDocument::Malformed)),
            (secure, &good("https://a.example/k"), Ok("https://a.example/k")),
            (secure, &good("https://cdn.example/k?v=1"), Ok("https://cdn.example/k?v=1")),
            (secure, &good("http://127.0.0.1:2/k"), Err(BadDocument::Downgrade)),
            (local, &good("http://127.0.0.1:2/k"), Ok("http://127.0.0.1:2/k")),
            (local, &good("https://a.example/k"), Ok("https://a.example/k")),
            (local, &good("http://a.example/k"), Err(BadUrl::NotLoopback.into())),
            (secure, &good("/k"), Err(BadUrl::Malformed.into())),
            (secure, &good("file:///etc/passwd"), Err(BadUrl::Malformed.into())),
        ] {
            let from = FetchUrl::parse(from).unwrap();
            let got = jwks_uri(document.as_bytes(), "https://a.example/t", &from);
            let got = got.as_ref().map(|url| url.as_uri().to_string());
            assert_eq!(got.as_deref().map_err(|it| (*it).clone()), want, "{document}");
        }
    }

    #[test]
    fn a_mismatch_names_both_issuers_and_no_more_than_a_line_of_either() {
        let from = FetchUrl::parse("https://a.example").unwrap();
        let document = format!(r#"{{"issuer":"b\n{}"}}"#, "x".repeat(100_000));
        let error = jwks_uri(document.as_bytes(), "https://a.example", &from).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains(r#"issuer "b\nxx"#), "{sentence}");
        assert!(sentence.ends_with(r#", not of "https://a.example""#), "{sentence}");
        assert!(sentence.len() < 300 && !sentence.contains('\n'), "{sentence}");
    }

    fn good(jwks_uri: &str) -> String {
        format!(r#"{{"issuer":"https://a.example/t","jwks_uri":"{jwks_uri}"}}"#)
    }
}
