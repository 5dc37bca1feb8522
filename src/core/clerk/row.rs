//! The rows of Clerk's decision on cookies, and what each is about.

use crate::core::clerk::handshake::{Decided, Verdict};

/// A row of the decision: the first that applies decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "each has its sentence")]
pub enum Row {
    HandshakeBrought,
    SatelliteWithoutState,
    DevBrowserInAddress,
    DevBrowserUnknown,
    SessionsContradict,
    NothingShown,
    SessionWithoutClient,
    ClientWithoutSession,
    SessionUnreadable,
    SessionOfAnotherClass,
    SessionOlderThanClient,
    TokenRefused,
    FromAnotherSite,
    OrganizationDiffers,
    SignedIn,
}

impl Row {
    /// Every row, in the order of the decision.
    pub const ALL: [Self; 15] = [
        Self::HandshakeBrought,
        Self::SatelliteWithoutState,
        Self::DevBrowserInAddress,
        Self::DevBrowserUnknown,
        Self::SessionsContradict,
        Self::NothingShown,
        Self::SessionWithoutClient,
        Self::ClientWithoutSession,
        Self::SessionUnreadable,
        Self::SessionOfAnotherClass,
        Self::SessionOlderThanClient,
        Self::TokenRefused,
        Self::FromAnotherSite,
        Self::OrganizationDiffers,
        Self::SignedIn,
    ];

    /// Returns the number of the row in the decision of Clerk's library; nothing for one of ours.
    pub fn number(self) -> Option<u8> {
        self.face().0
    }

    /// Says when the row applies.
    pub fn sentence(self) -> &'static str {
        self.face().1
    }

    pub(super) fn says(self, verdict: Verdict) -> Decided {
        Decided { row: self, verdict }
    }

    /// Rows 3 and 13 are not here: the first is left out, the second decides nothing.
    #[rustfmt::skip]
    fn face(self) -> (Option<u8>, &'static str) {
        match self {
            Self::HandshakeBrought       => (Some(1),  "A handshake has brought something, in a cookie or in the address."),
            Self::SatelliteWithoutState  => (Some(2),  "A page on a satellite domain that shows no state, or whose state is to be synced."),
            Self::DevBrowserInAddress    => (Some(4),  "In development, the address brings a browser (`__clerk_db_jwt`)."),
            Self::DevBrowserUnknown      => (Some(5),  "In development, no cookie says which browser this is (`__clerk_db_jwt`)."),
            Self::SessionsContradict     => (None,     "There are two session cookies of one name, and they differ: whose, nobody can tell."),
            Self::NothingShown           => (Some(6),  "No session cookie, and `__client_uat` does not say that anybody has signed in."),
            Self::SessionWithoutClient   => (Some(7),  "A session cookie, and `__client_uat` does not say that anybody has signed in."),
            Self::ClientWithoutSession   => (Some(8),  "`__client_uat` says that somebody has signed in, and there is no session cookie."),
            Self::SessionUnreadable      => (Some(9),  "The session cookie holds no token."),
            Self::SessionOfAnotherClass  => (Some(10), "The session cookie holds a token that is none of a session."),
            Self::SessionOlderThanClient => (Some(11), "The session token was issued before the client last signed in or out (`__client_uat`)."),
            Self::TokenRefused           => (Some(12), "The session token was verified and refused."),
            Self::FromAnotherSite        => (Some(14), "Signed in, and a page of another site (`Referer`) led here."),
            Self::OrganizationDiffers    => (Some(15), "Signed in, and the path wants another organization to be active."),
            Self::SignedIn               => (Some(16), "Signed in."),
        }
    }
}
