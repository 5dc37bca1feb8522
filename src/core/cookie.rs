//! Clerk's cookies in a `Cookie` header.

/// Returns `cookies` without Clerk's own and ours, every other byte as it was; nothing where none is left.
///
/// Clerk's are the session, its refresh token, the client's state and whatever starts with
/// `__clerk_`, each with or without the suffix of an instance.
pub fn without_clerk(cookies: &[u8]) -> Option<Vec<u8>> {
    let kept: Vec<&[u8]> = cookies
        .split(|byte| *byte == b';')
        .filter(|pair| !is_credential(name(pair)) && !pair.trim_ascii().is_empty())
        .collect();
    let kept = kept.join(&b';');
    let kept = kept.trim_ascii();
    (!kept.is_empty()).then(|| kept.to_vec())
}

/// Tells whether a cookie of this name is one of Clerk's, or of ours beside them.
fn is_credential(name: &[u8]) -> bool {
    is_clerk(name) || name.starts_with(b"__countersign_")
}

/// Returns the name of the cookie in a pair.
pub(super) fn name(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// Tells whether a cookie of this name is one of Clerk's.
pub(super) fn is_clerk(name: &[u8]) -> bool {
    let is = |base: &[u8]| {
        name.strip_prefix(base).is_some_and(|suffix| suffix.is_empty() || suffix[0] == b'_')
    };
    is(b"__session") || is(b"__refresh") || is(b"__client_uat") || name.starts_with(b"__clerk_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clerks_cookies_go() {
        for (cookies, want) in [
            ("a=1; __session=T; b=\"x;y\"; a=2", Some("a=1; b=\"x;y\"; a=2")),
            ("__session=T", None),
            ("__countersign_sign_ins=1; a=1", Some("a=1")),
            ("__session_abc12345=T;  __client_uat=1; __refresh_x=2; __clerk_db_jwt=3", None),
            ("__sessionfoo=1", Some("__sessionfoo=1")),
            ("a=__session=T", Some("a=__session=T")),
            (" __session =T; a=1", Some("a=1")),
            (";;a=1;;", Some("a=1")),
            ("", None),
        ] {
            let got = without_clerk(cookies.as_bytes());
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{cookies}");
        }
    }
}
