//! Our own key pairs over time: which of them signs, which are published.
//!
//! Those who verify keep our key set for a while and do not ask for it again at once. So a new key
//! is published before it signs, and an old one stays published after it has signed: however the
//! files are exchanged, nothing we have signed is refused for its key.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::core::jwk::KeyId;
use crate::core::signing_key::SigningKey;
use crate::core::time::UnixTime;

/// How long a new key is published before it signs: a verifier may keep our key set for 60 s
/// (`max-age`), and may be told not to ask again within the 30 s after that.
pub const BEFORE_SIGNING: Duration = Duration::from_secs(90);

/// How long a key stays published after it has signed for the last time, or its file has gone:
/// what it signed lasts 60 s, and the key set that still has it is kept for 60 s.
pub const AFTER_SIGNING: Duration = Duration::from_secs(120);

/// Our key pairs as they stand at a moment.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<Entry>,
    /// The one that signs.
    active: KeyId,
    /// The one that will, once it was published for long enough.
    next: Option<KeyId>,
    /// What the one that signs is for.
    signs: Signs,
}

/// What the key that signs is needed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signs {
    /// Assertions alone: any key pair does.
    Assertions,
    /// Requests too, or only: an Ed25519 key.
    Requests,
}

impl Signs {
    fn may(self, key: &SigningKey) -> bool {
        match self {
            Self::Assertions => true,
            Self::Requests => key.signs_requests(),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    key: Arc<SigningKey>,
    /// Since when it is published.
    since: UnixTime,
    /// Until when it is, where its file has gone.
    until: Option<UnixTime>,
}

/// What is odd about the keys that were read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Oddity {
    /// A file now holds another key under the name of one that verifiers know.
    #[error("another key was put in the place of `{0}`; it is not used: give it a name of its own")]
    Replaced(KeyId),
    /// There are several keys and nothing says which signs.
    #[error("there are several keys and `signing.active` names none; `{0}` goes on signing")]
    Ambiguous(KeyId),
    /// The key that is to sign is not there.
    #[error("there is no key `{0}`, which `signing.active` names")]
    Missing(KeyId),
    /// The key that is to sign cannot sign requests, and has to.
    #[error("`{0}` is a P-256 key, which signs no requests; another goes on signing")]
    NotForRequests(KeyId),
    /// Two files have keys of one name.
    #[error("there are two keys `{0}`; the first is used")]
    Repeated(KeyId),
    /// No key is left.
    #[error("no key is left; `{0}` goes on signing")]
    Empty(KeyId),
}

impl Keyring {
    /// Creates the keyring of a start: `active` signs at once. What was published before is not
    /// known any more, so a verifier may not know the key for as long as it keeps an older key set:
    /// who exchanges keys leaves [`BEFORE_SIGNING`] between that and a restart.
    ///
    /// Nothing where `active` is not among the keys, or cannot sign what it is to.
    pub fn new(keys: Vec<SigningKey>, active: &KeyId, signs: Signs, now: UnixTime) -> Option<Self> {
        let entry = |key| Entry { key: Arc::new(key), since: now, until: None };
        let keys: Vec<_> = keys.into_iter().map(entry).collect();
        let can_sign = |entry: &Entry| entry.key.id() == active && signs.may(&entry.key);
        keys.iter().any(can_sign).then(|| Self { keys, active: active.clone(), next: None, signs })
    }

    /// Returns the keyring after the keys were read again, and what is odd about them.
    ///
    /// `wanted` names the key that is to sign; without it, the only one there is.
    #[must_use]
    pub fn reread(
        &self,
        found: Vec<SigningKey>,
        wanted: Option<&KeyId>,
        now: UnixTime,
    ) -> (Self, Vec<Oddity>) {
        let mut oddities = Vec::new();
        let mut keys = self.keys.clone();
        for entry in &mut keys {
            let is_there = found.iter().any(|key| key.id() == entry.key.id());
            entry.until =
                if is_there { None } else { entry.until.or(Some(now.plus(AFTER_SIGNING))) };
        }
        for key in found {
            let repeated = keys.iter().skip(self.keys.len()).any(|it| it.key.id() == key.id());
            match self.keys.iter().find(|entry| entry.key.id() == key.id()) {
                None if repeated => oddities.push(Oddity::Repeated(key.id().clone())),
                None => keys.push(Entry { key: Arc::new(key), since: now, until: None }),
                Some(old) if old.key.is_same(&key) => {}
                Some(old) => oddities.push(Oddity::Replaced(old.key.id().clone())),
            }
        }
        let next = self.chosen(&keys, wanted).unwrap_or_else(|oddity| {
            oddities.push(oddity);
            self.active.clone()
        });
        let next = Some(next).filter(|next| *next != self.active);
        (Self { keys, next, ..self.clone() }.at(now), oddities)
    }

    /// Returns the keyring as it is at the time `now`: a new key signs once it was published for
    /// long enough, an old one goes once nobody needs it.
    #[must_use]
    pub fn at(&self, now: UnixTime) -> Self {
        let mut ring = self.clone();
        if let Some(next) = self.next.as_ref().filter(|next| self.may_sign(next, now)) {
            // What it signed a moment ago is good for as long as what it signed first.
            let retired = ring.keys.iter_mut().find(|entry| entry.key.id() == &self.active);
            for until in retired.into_iter().filter_map(|entry| entry.until.as_mut()) {
                *until = (*until).max(now.plus(AFTER_SIGNING));
            }
            ring.active = next.clone();
            ring.next = None;
        }
        let active = ring.active.clone();
        ring.keys.retain(|entry| {
            *entry.key.id() == active || entry.until.is_none_or(|until| now < until)
        });
        ring
    }

    /// Returns when [`at`](Self::at) will next change something.
    pub fn changes_at(&self) -> Option<UnixTime> {
        let due = |next: &KeyId| Some(self.entry(next)?.since.plus(BEFORE_SIGNING));
        let others = self.keys.iter().filter(|entry| *entry.key.id() != self.active);
        self.next.as_ref().and_then(due).into_iter().chain(others.filter_map(|it| it.until)).min()
    }

    /// Returns the key that signs.
    ///
    /// # Panics
    ///
    /// Never: the active key is always one of the keys.
    pub fn active(&self) -> &Arc<SigningKey> {
        &self.entry(&self.active).expect("the active key is one of the keys").key
    }

    /// Returns what the key that signs is for.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// Returns the public halves of all keys, each as a JWK.
    pub fn published(&self) -> impl Iterator<Item = Value> {
        self.keys.iter().map(|entry| entry.key.public_jwk())
    }

    /// Says which of the keys that are there is to sign, or why that cannot be told.
    fn chosen(&self, keys: &[Entry], wanted: Option<&KeyId>) -> Result<KeyId, Oddity> {
        let there = keys.iter().filter(|entry| entry.until.is_none());
        let there: Vec<&SigningKey> = there.map(|entry| &*entry.key).collect();
        let named = |id: &KeyId| there.iter().find(|key| key.id() == id);
        let chosen = match (wanted, &*there) {
            (_, []) => return Err(Oddity::Empty(self.active.clone())),
            (Some(wanted), _) => named(wanted).ok_or(Oddity::Missing(wanted.clone()))?,
            (None, [only]) => only,
            (None, _) => return Err(Oddity::Ambiguous(self.active.clone())),
        };
        if self.signs.may(chosen) {
            Ok(chosen.id().clone())
        } else {
            Err(Oddity::NotForRequests(chosen.id().clone()))
        }
    }

    fn may_sign(&self, id: &KeyId, now: UnixTime) -> bool {
        self.entry(id).is_some_and(|entry| entry.since.plus(BEFORE_SIGNING) <= now)
    }

    fn entry(&self, id: &KeyId) -> Option<&Entry> {
        self.keys.iter().find(|entry| entry.key.id() == id)
    }
}

/// Returns a JWK Set (RFC 7517 §5) of public keys.
pub fn jwks(keys: impl Iterator<Item = Value>) -> Value {
    json!({ "keys": keys.collect::<Vec<_>>() })
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
