//! Tokens verified before.
//!
//! A look-up costs tens of nanoseconds where a signature costs tens of microseconds. What is
//! remembered is that a signature was good and what the token said; whether it is good *now*, and
//! whether its key still is, is asked again at each use.
//!
//! Two levels: a small table a worker, without a lock, before one cache for all (`moka`), which is
//! bounded in bytes. Both compare the whole token, never a hash alone.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use moka::sync::Cache;
use moka::{Equivalent, Expiry};

use crate::core::access::{Presented, Standing, Testimony};
use crate::core::assertion::{Assertion, AssertionSigner};
use crate::core::caller::Caller;
use crate::core::claims::Validity;
use crate::core::clerk::claimed::Claimed;
use crate::core::credential::BearerToken;
use crate::core::identity::{Identity, IdentityPolicy};
use crate::core::issuer::TokenClass;
use crate::core::jwk::VerificationKey;
use crate::core::reject::Reject;
use crate::core::route::Routes;
use crate::core::time::UnixTime;
use crate::keys::Held;

/// How many bytes of tokens and identities are remembered for all workers together.
const BYTES: u64 = 32 * 1024 * 1024;
/// How many tokens a worker has at hand.
const AT_HAND: usize = 1024;
/// Larger entries stay in the shared cache: with these bounds a worker's table stays under 8 MiB.
const AT_HAND_BYTES: usize = 8192;
/// What an entry costs beside its texts.
const OVERHEAD: usize = 1024;

/// What a token was verified with.
#[derive(Debug)]
pub(super) struct Proof {
    /// The place of its issuer among those that are configured.
    pub(super) place: usize,
    /// How far that issuer's clock and ours may differ.
    pub(super) leeway: Duration,
    pub(super) key: Arc<VerificationKey>,
    /// The generation of the key set in which `key` was found.
    pub(super) generation: u64,
}

/// A caller whose token was verified, with everything that is made once per token.
pub(super) struct Known {
    /// The place of the issuer among those that are configured.
    pub(super) place: usize,
    pub(super) issuer: String,
    pub(super) class: TokenClass,
    pub(super) subject: String,
    pub(super) session_id: Option<String>,
    /// What routes may ask about: a token that was verified on one is asked again on each.
    pub(super) standing: Arc<Standing>,
    pub(super) validity: Validity,
    pub(super) leeway: Duration,
    pub(super) names_party: bool,
    pub(super) identity: Arc<Identity>,
    /// What it said as a cookie, before anybody believed it.
    pub(super) claimed: Claimed,
    asserted: Option<Asserted>,
    pub(super) key: Arc<VerificationKey>,
    /// The generation of the key set in which `key` was last seen.
    generation: AtomicU64,
}

impl Known {
    pub(super) fn new(
        caller: Caller,
        proof: Proof,
        policy: &IdentityPolicy,
        routes: &Routes,
        assertions: Option<&AssertionSigner>,
    ) -> Self {
        let Proof { place, leeway, key, generation } = proof;
        let names_party = caller.names_party();
        let identity = Arc::new(policy.of(&caller));
        let asserted = assertions.map(|assertions| Asserted::new(assertions.claims_of(&caller)));
        let Caller { class, issuer, subject, session_id, session, validity, claims, .. } = caller;
        let claimed = Claimed::of(&claims);
        let standing = Arc::new(Standing::new(session, &claims, routes.asked_claims()));
        let generation = AtomicU64::new(generation);
        Self {
            place,
            issuer,
            class,
            subject,
            session_id,
            standing,
            validity,
            leeway,
            names_party,
            identity,
            claimed,
            asserted,
            key,
            generation,
        }
    }

    /// Checks that the token is good at the present, which was `tick` a moment ago: all that was found out about
    /// it but this stays as it was.
    pub(super) fn check_dates(
        &self,
        tick: UnixTime,
        now: impl FnOnce() -> UnixTime,
    ) -> Result<(), Reject> {
        let checked = self.validity.check_by_tick(self.leeway, tick, now);
        checked.map_err(|error| Reject::ClaimRefused { class: self.class, error })
    }

    /// Returns until when the token is good.
    pub(super) fn expires(&self) -> UnixTime {
        self.validity.expires.plus(self.leeway)
    }

    /// Returns what is told of the caller, whose credential stood there. `now` is asked where the time is in
    /// it.
    pub(super) fn testimony(
        &self,
        presented: Presented,
        assertions: Option<&AssertionSigner>,
        now: impl FnOnce() -> UnixTime,
    ) -> Testimony {
        let asserted = self.asserted.as_ref().zip(assertions);
        let assertion =
            asserted.map(|(asserted, signer)| asserted.at(signer, self.expires(), now()));
        let standing = Arc::clone(&self.standing);
        Testimony { standing, presented, identity: Arc::clone(&self.identity), assertion }
    }

    /// Returns id and slug of the organization that is active in the session.
    pub(super) fn active_organization(&self) -> Option<(&str, Option<&str>)> {
        let organization = self.standing.session.organization.as_ref()?;
        Some((&organization.id, organization.slug.as_deref()))
    }

    /// Tells whether the key that signed the token is still one of the issuer's.
    pub(super) fn key_is_held(&self, held: &Held) -> bool {
        if self.generation.load(Ordering::Relaxed) == held.generation {
            return true;
        }
        let still = held.set.holds(&self.key);
        if still {
            self.generation.store(held.generation, Ordering::Relaxed);
        }
        still
    }

    fn bytes(&self) -> usize {
        let values = size_of_val(&*self.identity.values);
        // What else `standing` holds stands in the base too, unless the settings leave it out.
        let standing = self.standing.bytes();
        // An assertion holds its claims in base64, and is kept beside them.
        let asserted = self.asserted.as_ref().map_or(0, |it| 4 * it.claims.len() + OVERHEAD);
        values
            + self.identity.lines.len()
            + 2 * self.identity.base.len()
            + 2 * self.issuer.len()
            + standing
            + asserted
            + OVERHEAD
    }
}

/// What is asserted of a caller, and the last assertion that was made of it.
struct Asserted {
    claims: Box<str>,
    last: ArcSwapOption<Assertion>,
}

impl Asserted {
    fn new(claims: Box<str>) -> Self {
        Self { claims, last: ArcSwapOption::empty() }
    }

    /// Returns an assertion that is good at the time `now` and for a while: the last, or a new one.
    fn at(&self, signer: &AssertionSigner, ends: UnixTime, now: UnixTime) -> Arc<Assertion> {
        let last = self.last.load_full().filter(|last| signer.may_send(last, now));
        last.unwrap_or_else(|| {
            let new = Arc::new(signer.make(&self.claims, ends, now));
            self.last.store(Some(Arc::clone(&new)));
            new
        })
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Known({:?})", self.key.kid())
    }
}

/// What all workers remember. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    cache: Cache<Kept, Entry, RandomState>,
    /// Of whole tokens, which are a kilobyte: one hash is for both levels.
    hasher: RandomState,
}

/// A token with its hash, which is all that is read of it where a table is laid out anew.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Hashed<T> {
    hash: u64,
    pub(super) token: T,
}

/// One that is looked for.
pub(super) type Sought<'a> = Hashed<BearerToken<'a>>;

/// One that is remembered.
type Kept = Hashed<Arc<[u8]>>;

impl<T> Hashed<T> {
    /// Where a worker has it at hand.
    fn place(&self) -> usize {
        self.hash as usize % AT_HAND
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Sought<'_> {
    fn kept(self) -> Kept {
        Hashed { hash: self.hash, token: self.token.reveal_bytes().into() }
    }
}

impl Equivalent<Kept> for Sought<'_> {
    fn equivalent(&self, kept: &Kept) -> bool {
        self.hash == kept.hash && *self.token.reveal_bytes() == *kept.token
    }
}

impl<T> fmt::Debug for Hashed<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Hashed")
    }
}

#[derive(Clone, Debug)]
struct Entry {
    known: Arc<Known>,
    /// For how long it is worth keeping.
    lives: Duration,
}

struct WhileGood;

impl Expiry<Kept, Entry> for WhileGood {
    fn expire_after_create(&self, _: &Kept, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.lives)
    }
}

impl Remembered {
    pub(super) fn new() -> Self {
        let weight = |kept: &Kept, entry: &Entry| {
            u32::try_from(kept.token.len() + entry.known.bytes()).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(BYTES)
            .weigher(weight)
            .expire_after(WhileGood)
            .build_with_hasher(RandomState::default());
        Self { cache, hasher: RandomState::default() }
    }

    /// Lets go of what has expired, and returns how many tokens are remembered.
    pub(super) fn tidied(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }
}

/// What one worker remembers, and the way to what all do.
pub(super) struct Seen {
    at_hand: Box<[Option<AtHand>]>,
    shared: Remembered,
}

/// A token and who calls with it.
type AtHand = (Kept, Arc<Known>);

impl Seen {
    pub(super) fn new(shared: Remembered) -> Self {
        let at_hand = std::iter::repeat_with(|| None).take(AT_HAND).collect();
        Self { at_hand, shared }
    }

    /// Hashes a token, which is a kilobyte, for all that is asked about it here.
    pub(super) fn sought<'a>(&self, token: BearerToken<'a>) -> Sought<'a> {
        Hashed { hash: self.shared.hasher.hash_one(token.reveal_bytes()), token }
    }

    /// Finds who was found to call with this very token before.
    pub(super) fn find(&mut self, sought: Sought<'_>) -> Option<Arc<Known>> {
        if let Some((kept, known)) = &self.at_hand[sought.place()]
            && sought.equivalent(kept)
        {
            return Some(Arc::clone(known));
        }
        let known = self.shared.cache.get(&sought)?.known;
        self.keep_at_hand(sought.kept(), &known);
        Some(known)
    }

    /// Remembers who calls with a token, until it expires or room is needed.
    pub(super) fn remember(&mut self, sought: Sought<'_>, known: &Arc<Known>, now: UnixTime) {
        let lives = known.validity.expires.plus(known.leeway).since(now);
        let kept = sought.kept();
        self.shared.cache.insert(kept.clone(), Entry { known: Arc::clone(known), lives });
        self.keep_at_hand(kept, known);
    }

    /// Forgets a token that has become useless.
    pub(super) fn forget(&mut self, sought: Sought<'_>) {
        let at_hand = &mut self.at_hand[sought.place()];
        at_hand.take_if(|(kept, _)| sought.equivalent(kept));
        self.shared.cache.invalidate(&sought);
    }

    fn keep_at_hand(&mut self, kept: Kept, known: &Arc<Known>) {
        if kept.token.len() + known.bytes() <= AT_HAND_BYTES {
            let place = kept.place();
            self.at_hand[place] = Some((kept, Arc::clone(known)));
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seen")
    }
}
