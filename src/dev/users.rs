//! Who can sign in at the development issuer.

use serde_json::{Value, json};

use super::mint;

/// Somebody who can sign in. All are members of one organization.
#[derive(Debug)]
pub(super) struct User {
    /// `sub`.
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// What stands in place of a picture.
    pub(super) initials: &'static str,
    /// The role in the organization, without `org:`.
    pub(super) role: &'static str,
    /// The permissions there are, and for each feature those that the user has, as bits.
    permissions: (&'static str, &'static str),
}

/// The id of the organization that everybody is a member of.
pub(super) const ORGANIZATION: &str = "org_2xHq7vJc9LmN4pRt6WyZ8bDfGkS";

/// Its slug.
pub(super) const ORGANIZATION_SLUG: &str = "acme";

/// Everybody. The first is the one that tokens are minted for.
pub(super) static USERS: [User; 2] = [
    User {
        id: mint::USER,
        name: "Ada Lovelace",
        initials: "AL",
        role: "admin",
        permissions: ("manage,read", "3,2"),
    },
    User {
        id: "user_2xHq9bLe4NpQ6sUw8YaC1dGjKnX",
        name: "Alan Turing",
        initials: "AT",
        role: "member",
        permissions: ("read", "1,1"),
    },
];

impl User {
    /// Finds a user.
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        USERS.iter().find(|user| user.id == id)
    }

    /// Returns the claim `o`: who the user is in the organization.
    pub(super) fn membership(&self) -> Value {
        let (names, bits) = self.permissions;
        json!({
            "id": ORGANIZATION,
            "slg": ORGANIZATION_SLUG,
            "rol": self.role,
            "per": names,
            "fpm": bits,
        })
    }
}
