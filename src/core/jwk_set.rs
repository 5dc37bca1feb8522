//! The keys of an issuer (RFC 7517 §5): which of them can be used, and how a newer set changes an
//! older one.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::core::json::{self, Object};
use crate::core::jwk::{Algorithm, Algorithms, BadKey, KeyId, PrivateParts, VerificationKey};

/// The usable keys of one issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    names: KeyNames,
    named: HashMap<KeyId, Arc<VerificationKey>>,
    unnamed: Vec<Arc<VerificationKey>>,
    /// What may have signed a token that names no key, where its issuer's need not.
    guesses: Vec<Arc<VerificationKey>>,
}

/// What the name of a key, `kid`, is to an issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyNames {
    /// Every key has one and every token names one, as with Clerk. A key without is not used.
    #[default]
    Required,
    /// A key may have none, and a token name none (OpenID Connect Core §10.1): then each key of
    /// the token's algorithm may have signed it. A token that names a key means that one alone.
    Optional,
    /// It says nothing of a key without one, which may have signed any token: as those in PEM.
    Ignored,
}

/// What was wrong in a key set that could be used all the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeySetNotes {
    /// The keys that are not used, by their place in the set.
    pub skipped: Vec<(usize, BadKey)>,
    /// The places of keys that were published with their private parts.
    pub private: Vec<usize>,
    /// The places of RSA keys whose exponent is not 65537.
    pub unusual: Vec<usize>,
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
    keys: Vec<&'a RawValue>,
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
    /// The most keys of one algorithm among which that of a token is guessed: each costs whoever
    /// signs nothing, and us a verification.
    pub const MAX_GUESSES: usize = 8;

    /// Reads a JWK Set (RFC 7517 §5) of an issuer to whom names are this. One bad key costs only itself; of two keys with one name
    /// the last counts, as in Clerk's library.
    ///
    /// # Errors
    ///
    /// [`BadKeySet`] where nothing in it can be used.
    pub fn parse(
        text: &[u8],
        allowed: Algorithms,
        names: KeyNames,
    ) -> Result<(Self, KeySetNotes), BadKeySet> {
        // A list of members in their order would be read as an object too.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(BadKeySet::Malformed);
        }
        let Written { keys } = serde_json::from_slice(text).map_err(|_| BadKeySet::Malformed)?;
        if keys.len() > Self::MAX_KEYS {
            return Err(BadKeySet::TooMany(keys.len()));
        }
        let (mut named, mut unnamed) = (HashMap::new(), Vec::new());
        let mut notes = KeySetNotes::default();
        for (place, jwk) in keys.iter().enumerate() {
            match object(jwk).and_then(|jwk| VerificationKey::from_jwk(&jwk, allowed)) {
                Ok((key, PrivateParts(private))) => {
                    if private {
                        notes.private.push(place);
                    }
                    if key.has_unusual_exponent() {
                        notes.unusual.push(place);
                    }
                    match key.kid().cloned() {
                        Some(kid) => drop(named.insert(kid, Arc::new(key))),
                        // A key without a name can be meant by no token that names one (KEY-08).
                        None if names == KeyNames::Required => {
                            notes.skipped.push((place, BadKey::Malformed("no kid")));
                        }
                        None => unnamed.push(Arc::new(key)),
                    }
                }
                Err(why) => notes.skipped.push((place, why)),
            }
        }
        let set = Self::of(names, named, unnamed);
        if set.is_empty() { Err(BadKeySet::NoUsableKey(notes)) } else { Ok((set, notes)) }
    }

    /// Creates a set of keys without a name: each is tried for every token.
    pub fn unnamed(keys: Vec<VerificationKey>) -> Self {
        let keys = keys.into_iter().map(Arc::new).collect();
        Self::of(KeyNames::Ignored, HashMap::new(), keys)
    }

    fn of(
        names: KeyNames,
        named: HashMap<KeyId, Arc<VerificationKey>>,
        unnamed: Vec<Arc<VerificationKey>>,
    ) -> Self {
        let guesses = match names {
            KeyNames::Optional => guesses(named.values().chain(&unnamed)),
            KeyNames::Required | KeyNames::Ignored => Vec::new(),
        };
        Self { names, named, unnamed, guesses }
    }

    /// Finds the keys that may have signed a token with this `kid`, or with none: the one of that
    /// name, or by what names are to the issuer.
    pub fn find(&self, kid: Option<&KeyId>) -> &[Arc<VerificationKey>] {
        match (kid.and_then(|kid| self.named.get(kid)), kid, self.names) {
            (Some(key), _, _) => std::slice::from_ref(key),
            (None, _, KeyNames::Ignored) => &self.unnamed,
            (None, None, KeyNames::Optional) => &self.guesses,
            (None, Some(_), KeyNames::Optional) | (None, _, KeyNames::Required) => &[],
        }
    }

    /// Returns what names are to the issuer.
    pub fn names(&self) -> KeyNames {
        self.names
    }

    /// Tells whether this very key is in the set.
    pub fn holds(&self, key: &Arc<VerificationKey>) -> bool {
        let same = |own: &Arc<VerificationKey>| Arc::ptr_eq(own, key);
        match key.kid() {
            Some(kid) => self.named.get(kid).is_some_and(same),
            None => self.unnamed.iter().any(same),
        }
    }

    /// Tells whether the set has a key in the place of this one: one of its name, or the same if
    /// it has none.
    pub fn succeeds(&self, key: &VerificationKey) -> bool {
        match key.kid() {
            Some(kid) => self.named.contains_key(kid),
            None => self.unnamed.iter().any(|own| own.is_same(key)),
        }
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
    pub fn renewed(&self, newer: Self, kept: impl Fn(&Arc<VerificationKey>) -> bool) -> Self {
        let (mut named, mut unnamed) = (HashMap::new(), Vec::new());
        let mut add = |key: Arc<VerificationKey>| match key.kid().cloned() {
            Some(kid) => drop(named.insert(kid, key)),
            None => unnamed.push(key),
        };
        for key in self.iter().filter(|key| !newer.succeeds(key) && kept(key)) {
            add(Arc::clone(key));
        }
        for key in newer.named.into_values().chain(newer.unnamed) {
            let same = self.iter().find(|old| old.is_same(&key)).cloned();
            add(same.unwrap_or(key));
        }
        Self::of(newer.names, named, unnamed)
    }
}

fn object(jwk: &RawValue) -> Result<Object, BadKey> {
    let jwk = json::parse(jwk.get());
    let jwk = jwk.map_err(|_| BadKey::Malformed("no JSON that can be read in one way"))?;
    jwk.ok_or(BadKey::Malformed("not an object"))
}

/// Returns the keys that are tried for a token that names none: all but those of an algorithm of
/// which there are too many.
fn guesses<'a>(
    keys: impl Iterator<Item = &'a Arc<VerificationKey>> + Clone,
) -> Vec<Arc<VerificationKey>> {
    let mut too_many = Algorithm::ALL.to_vec();
    too_many.retain(|algorithm| {
        keys.clone().filter(|key| key.is_for(*algorithm)).count() > KeySet::MAX_GUESSES
    });
    let few = |key: &&Arc<VerificationKey>| !too_many.iter().any(|it| key.is_for(*it));
    keys.filter(few).cloned().collect()
}
