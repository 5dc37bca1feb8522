//! What kind of token a JWT of a Clerk instance is.
//!
//! One key of an instance signs session tokens, tokens from JWT templates, machine tokens and
//! OAuth access tokens alike, so a good signature says nothing of the kind. The kind stands in the
//! `cat` header, in `typ` and in the form of `sub`. It is looked at before anything is believed.

use crate::core::json::{Object, Value};

/// What the JOSE header's `cat` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Category {
    /// No `cat`: an older token, or not Clerk's.
    Absent,
    /// A session token, or a handshake's.
    Session,
    /// A token from a JWT template.
    Template,
    /// A machine-to-machine token.
    Machine,
    /// An instance that stamps one category on every class of token: it says nothing.
    Ignore,
    /// A category of its own, or one of a wrong type.
    Unknown,
}

impl Category {
    /// Reads the `cat` of a JOSE header.
    pub fn of(header: &Object) -> Self {
        match header.get("cat") {
            None => Self::Absent,
            Some(cat) => match cat.as_str() {
                Some("cl_B7d4PD111AAA") => Self::Session,
                Some("cl_B7d4PD222AAA") => Self::Template,
                Some("cl_B7d4PD333AAA") => Self::Machine,
                Some("cl_I7d4PD111III") => Self::Ignore,
                Some(_) | None => Self::Unknown,
            },
        }
    }
}

/// Tells whether header and claims are those of a machine's token: an OAuth access token
/// (RFC 9068 §2.1) or a machine-to-machine token, whose subject is a machine.
pub fn is_machine(header: &Object, claims: &Object) -> bool {
    let typ = header.get("typ").and_then(Value::as_str);
    let subject = claims.get("sub").and_then(Value::as_str);
    matches!(typ, Some("at+jwt" | "application/at+jwt"))
        || subject.is_some_and(|subject| subject.starts_with("mch_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json::tests::object;
    use serde_json::json;

    #[test]
    fn a_category_is_read_to_the_letter() {
        for (header, category) in [
            (json!({}), Category::Absent),
            (json!({"cat": "cl_B7d4PD111AAA"}), Category::Session),
            (json!({"cat": "cl_I7d4PD111III"}), Category::Ignore),
            (json!({"cat": "cl_B7d4PD222AAA"}), Category::Template),
            (json!({"cat": "cl_B7d4PD333AAA"}), Category::Machine),
            (json!({"cat": "cl_b7d4pd111aaa"}), Category::Unknown),
            (json!({"cat": ""}), Category::Unknown),
            (json!({"cat": null}), Category::Unknown),
            (json!({"cat": 5}), Category::Unknown),
        ] {
            assert_eq!(Category::of(&object(&header)), category, "{header}");
        }
    }

    #[test]
    fn a_machine_is_known_by_typ_or_subject() {
        for (header, claims, machine) in [
            (json!({"typ": "JWT"}), json!({"sub": "user_1"}), false),
            (json!({"typ": "JWT"}), json!({"sub": 5}), false),
            (json!({"typ": "at+jwt"}), json!({"sub": "user_1"}), true),
            (json!({"typ": "application/at+jwt"}), json!({}), true),
            (json!({}), json!({"sub": "mch_1"}), true),
        ] {
            let got = is_machine(&object(&header), &object(&claims));
            assert_eq!(got, machine, "{header} {claims}");
        }
    }
}
