//! The keys of an issuer (RFC 7517 §5): which of them can be used, and how a newer set changes an
//! older one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::json;
use crate::core::jwk::{Algorithms, BadKey, KeyId, PrivateParts, VerificationKey};

/// The usable keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    named: HashMap<KeyId, Arc<VerificationKey>>,
    /// From PEM: tried whatever `kid` a token carries.
    unnamed: Vec<Arc<VerificationKey>>,
}

/// What was wrong in a key set that could be used all the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeySetNotes {
    /// The keys that are not used, by their place in the set.
    pub skipped: Vec<(usize, BadKey)>,
    /// The places of keys that were published with their private parts.
    pub private: Vec<usize>,
}

/// An answer that is no key set.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKeySet {
    /// Not JSON, not an object, or without a list of `keys`.
    #[error("this is no JWK Set")]
    Malformed,
    /// More keys than any issuer has: [`KeySet::MAX_KEYS`].
    #[error("the key set has {0} keys; at most {max} are read", max = KeySet::MAX_KEYS)]
    TooMany(usize),
    /// A key set without a key we could use is a failure, never an empty set.
    #[error("no key of the set can be used: {}", first_reason(.0))]
    NoUsableKey(KeySetNotes),
}

/// A key set as it is written, each key for itself.
#[derive(serde::Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    keys: Vec<&'a serde_json::value::RawValue>,
}

fn first_reason(notes: &KeySetNotes) -> String {
    match notes.skipped.first() {
        Some((place, why)) => format!("key {place}: {why}"),
        None => "it is empty".to_owned(),
    }
}

impl KeySet {
    /// The most keys that are read from one set.
    pub const MAX_KEYS: usize = 100;

    /// Reads a JWK Set (RFC 7517 §5). One bad key costs only itself; of two keys with one name
    /// the last counts, as in Clerk's library.
    ///
    /// # Errors
    ///
    /// [`BadKeySet`] where nothing in it can be used.
    pub fn parse(text: &[u8], allowed: Algorithms) -> Result<(Self, KeySetNotes), BadKeySet> {
        // A list of members in their order would be read as an object too.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(BadKeySet::Malformed);
        }
        let Written { keys } = serde_json::from_slice(text).map_err(|_| BadKeySet::Malformed)?;
        if keys.len() > Self::MAX_KEYS {
            return Err(BadKeySet::TooMany(keys.len()));
        }
        let (mut set, mut notes) = (Self::default(), KeySetNotes::default());
        for (place, jwk) in keys.iter().enumerate() {
            let jwk = json::parse(jwk.get().as_bytes());
            let jwk = jwk.map_err(|_| BadKey::Malformed("no JSON that can be read in one way"));
            match jwk.and_then(|jwk| VerificationKey::from_jwk(&jwk, allowed)) {
                Ok((key, PrivateParts(private))) => {
                    if private {
                        notes.private.push(place);
                    }
                    // A key without a name can be meant by no token that names one (KEY-08).
                    match key.kid().cloned() {
                        Some(kid) => drop(set.named.insert(kid, Arc::new(key))),
                        None => notes.skipped.push((place, BadKey::Malformed("no kid"))),
                    }
                }
                Err(why) => notes.skipped.push((place, why)),
            }
        }
        if set.named.is_empty() { Err(BadKeySet::NoUsableKey(notes)) } else { Ok((set, notes)) }
    }

    /// Creates a set of keys without a name: each is tried for every token.
    pub fn unnamed(keys: Vec<VerificationKey>) -> Self {
        Self { named: HashMap::new(), unnamed: keys.into_iter().map(Arc::new).collect() }
    }

    /// Finds the keys that may have signed a token with this `kid`: one, or those without a name.
    pub fn find(&self, kid: Option<&KeyId>) -> &[Arc<VerificationKey>] {
        match kid.and_then(|kid| self.named.get(kid)) {
            Some(key) => std::slice::from_ref(key),
            None => &self.unnamed,
        }
    }

    /// Tells whether this very key is in the set.
    pub fn holds(&self, key: &Arc<VerificationKey>) -> bool {
        self.find(key.kid()).iter().any(|own| Arc::ptr_eq(own, key))
    }

    /// Returns the keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VerificationKey>> {
        self.named.values().chain(&self.unnamed)
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.named.len() + self.unnamed.len()
    }

    /// Tells whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns this set after a newer one was fetched: the newer keys, and those `kept` of the old.
    ///
    /// A key that did not change stays the same allocation, so that what was verified with it
    /// need not be verified again.
    #[must_use]
    pub fn renewed(&self, newer: Self, kept: impl Fn(&KeyId) -> bool) -> Self {
        let mut named: HashMap<_, _> = self
            .named
            .iter()
            .filter(|(kid, _)| !newer.named.contains_key(*kid) && kept(kid))
            .map(|(kid, key)| (kid.clone(), Arc::clone(key)))
            .collect();
        let same = |key: &Arc<VerificationKey>| self.iter().find(|old| old.is_same(key)).cloned();
        for (kid, key) in newer.named {
            named.insert(kid, same(&key).unwrap_or(key));
        }
        let unnamed = newer.unnamed.into_iter().map(|key| same(&key).unwrap_or(key));
        Self { named, unnamed: unnamed.collect() }
    }
}
