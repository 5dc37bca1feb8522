//! CORS preflights: which requests are some, and what becomes of them.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, Method};

/// What becomes of a CORS preflight: an OPTIONS request that no browser can send a token with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preflight {
    /// The backend answers it, as from nobody in particular.
    #[default]
    Forward,
    /// It is a request like others.
    Refuse,
}

impl Preflight {
    /// Tells whether a request goes to the backend as a preflight (Fetch, "CORS-preflight
    /// request"): browsers send no credentials with it. Anything more or less is a request like
    /// others.
    pub fn forwards(self, method: &Method, headers: &HeaderMap) -> bool {
        let one = |name| headers.get_all(name).iter().count() == 1;
        self == Self::Forward
            && *method == Method::OPTIONS
            && one(ORIGIN)
            && one(ACCESS_CONTROL_REQUEST_METHOD)
    }
}
