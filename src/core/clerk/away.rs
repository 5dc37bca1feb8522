//! Where a browser is sent.

use std::fmt;

use http::HeaderValue;

use crate::core::clerk::cookies::{ClerkCookies, HANDSHAKES, SIGN_INS};

/// An address that a browser is sent to, and the cookies that go along.
///
/// Neither is shown by `Debug`: session tokens and browsers of development instances stand in there.
#[derive(Clone, Eq, PartialEq)]
pub struct Away {
    /// The address.
    pub location: String,
    /// Lines of `Set-Cookie`.
    pub cookies: Vec<String>,
}

impl fmt::Debug for Away {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self.location.split('?').next().unwrap_or_default();
        write!(out, "Away({page})")
    }
}

/// Returns the lines of `Set-Cookie` with which our counts begin anew, for a browser that was sent
/// away, came back and was let in: what it does next is no turn of a loop.
pub fn arrived(cookies: &ClerkCookies) -> Vec<HeaderValue> {
    let counts = [(HANDSHAKES, cookies.handshakes), (SIGN_INS, cookies.sign_ins)];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let line = |name| format!("{name}=; Path=/; SameSite=Lax; HttpOnly; Max-Age=0");
    counts.filter_map(|(name, _)| HeaderValue::try_from(line(name)).ok()).collect()
}
