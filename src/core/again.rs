//! Whether a request is sent once more that no answer came to.

use http::Method;

/// How far a request got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Got {
    /// Nothing of it was written.
    Nowhere,
    /// The backend says that it has done nothing about it (RFC 9113 §8.7).
    Refused,
    /// The connection ended, and whether the backend has acted nobody knows.
    Somewhere,
    /// The backend has acted: something came that is no answer, or the end of one did not come.
    ToTheBackend,
}

impl Got {
    /// Tells whether a request may be sent once more, over a new connection: where the backend can have acted
    /// on nothing, or on nothing that may not be repeated (RFC 9110 §9.2.2).
    ///
    /// A body that was begun is gone, since nobody keeps it: `has_body` says that there was one. Over a
    /// connection that was not `kept` from another request, the same would come of it.
    pub fn may_be_sent_again(self, method: &Method, has_body: bool, kept: bool) -> bool {
        match self {
            Self::Nowhere => kept,
            Self::Refused => !has_body,
            Self::Somewhere => kept && !has_body && method.is_idempotent(),
            Self::ToTheBackend => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_once_more_where_that_can_do_no_harm() {
        use Got::{Nowhere, Refused, Somewhere, ToTheBackend};
        let all = [
            (Nowhere, [true, false, true, false, true, false, true, false]),
            (Refused, [true, true, false, false, true, true, false, false]),
            (Somewhere, [true, false, false, false, false, false, false, false]),
            (ToTheBackend, [false; 8]),
        ];
        for (got, want) in all {
            let cases = [Method::PUT, Method::POST]
                .into_iter()
                .flat_map(|method| [false, true].map(|has_body| (method.clone(), has_body)))
                .flat_map(|(method, has_body)| {
                    [true, false].map(|kept| (method.clone(), has_body, kept))
                });
            for ((method, has_body, kept), want) in cases.zip(want) {
                let may = got.may_be_sent_again(&method, has_body, kept);
                assert_eq!(may, want, "{got:?} {method} has_body={has_body} kept={kept}");
            }
        }
    }
}
