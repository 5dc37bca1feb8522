//! Who sent a request, by the credential that it shows.

use std::sync::Arc;

use super::browser::Visit;
use super::in_step::others_first;
use super::pipeline::Pipeline;
use super::present;
use super::record::Record;
use super::seen::{Known, Proof, Sought};
use crate::clerk_api::SessionState;
use crate::core::access::{Presented, Rule, Session, Testimony};
use crate::core::caller::Caller;
use crate::core::credential::BearerToken;
use crate::core::jwk::VerificationKey;
use crate::core::reject::Reject;
use crate::core::time::UnixTime;
use crate::core::verdict;
use crate::keys::{Found, Held};
use crate::telemetry::metrics::{AuthSource, Carrier, Lookup};

impl Pipeline {
    /// Says who sent the request, as the backend is to be told; nothing where it shows no credential.
    ///
    /// Here and below, what most requests do not need is in a box where it is waited for: it would be
    /// room, and be moved about, in all of them.
    pub(super) async fn authenticate(
        &self,
        visit: &Visit<'_>,
        rule: &Rule,
        record: &mut Record,
    ) -> Result<Option<Testimony>, Reject> {
        let found = match self.takes_protocol_token(visit.wish) {
            true => BearerToken::of_websocket(visit.headers),
            false => BearerToken::from_headers(visit.headers),
        };
        if !matches!(found, Ok(None)) {
            record.carrier = Carrier::Header; // one that cannot be read stood there too
        }
        let started = present::now();
        let (answer, presented) = match (found?, &self.shared.settings.browsers) {
            (Some(token), _) => (self.bear(token, visit, record).await, Presented::Bearer),
            (None, Some(browsers)) => {
                (Box::pin(self.browse(visit, browsers, record)).await, Presented::Cookie)
            }
            (None, None) => return Ok(None),
        };
        record.auth = (present::looked() - started).saturating_sub(record.others);
        let testimony = match answer {
            Ok((known, source)) => self.testimony(known, source, presented, visit, record),
            Err(reject) => Err(reject),
        };
        match (testimony, presented) {
            (Ok(testimony), _) => self.ask_clerk(testimony, rule, record).await.map(Some),
            (Err(reject), Presented::Bearer) => Err(reject),
            (Err(reject), Presented::Cookie) => rule.access.without_cookie(reject),
        }
    }

    /// Says who calls with a token in `Authorization`.
    async fn bear(
        &self,
        token: BearerToken<'_>,
        visit: &Visit<'_>,
        record: &mut Record,
    ) -> Result<(Arc<Known>, AuthSource), Reject> {
        match self.identify(token, record).await {
            Err(reject) if reject.is_of_a_date() => {
                Box::pin(self.renew(token, reject, visit, record)).await
            }
            answer => answer,
        }
    }

    /// Says what is told of somebody whose token is good, and who may still come.
    fn testimony(
        &self,
        known: Arc<Known>,
        source: AuthSource,
        presented: Presented,
        visit: &Visit<'_>,
        record: &mut Record,
    ) -> Result<Testimony, Reject> {
        self.shared.tally.authenticated(source, record.auth.as_secs_f64());
        if !known.names_party {
            self.shared.metrics.azp_missing(record.carrier);
        }
        if self.revoked.look().holds(known.class, &known.subject, known.session_id.as_deref()) {
            return Err(Reject::SessionRevoked);
        }
        if let (Presented::Cookie, Some(browsers)) = (presented, &self.shared.settings.browsers) {
            self.check_page(visit, browsers, &known)?;
        }
        let (signers, now) = (self.signers.look(), || self.shared.clock.now());
        let testimony = known.testimony(presented, signers.assertions.as_ref(), now);
        record.caller = Some(known);
        Ok(testimony)
    }

    /// Asks Clerk whether the session still is, where the route wants that and the caller has all
    /// else that it asks.
    async fn ask_clerk(
        &self,
        testimony: Testimony,
        rule: &Rule,
        record: &Record,
    ) -> Result<Testimony, Reject> {
        if rule.session == Session::Token || rule.access.check(Some(&testimony)).is_err() {
            return Ok(testimony);
        }
        let session = record.caller.as_ref().and_then(|known| known.session_id.as_deref());
        let (Some(session), Some(api)) = (session, &self.shared.clerk_api) else {
            return Err(Reject::TokenClassRefused); // it has no session that could have ended
        };
        match Box::pin(api.session(session)).await {
            Ok(SessionState::Active) => Ok(testimony),
            Ok(SessionState::Over) => Err(Reject::SessionRevoked),
            Err(problem) => Err(Reject::ClerkUnavailable(problem.to_string())),
        }
    }

    /// Says who calls with this token, and what it took to know.
    pub(super) async fn identify(
        &self,
        token: BearerToken<'_>,
        record: &mut Record,
    ) -> Result<(Arc<Known>, AuthSource), Reject> {
        let mut tick = self.shared.clock.last_tick();
        let sought = self.seen.borrow().sought(token);
        let recalled = match self.recall(sought, tick) {
            Ok(None) => {
                let began = present::looked();
                others_first().await;
                record.others += present::looked() - began;
                tick = self.shared.clock.last_tick();
                self.recall(sought, tick) // one of them may have come with the same token
            }
            recalled => recalled,
        };
        let lookup = if matches!(recalled, Ok(None)) { Lookup::Miss } else { Lookup::Hit };
        self.shared.tally.looked_up(lookup);
        match recalled? {
            Some(known) => Ok((known, AuthSource::Cache)),
            None => Box::pin(self.verify(sought, tick)).await,
        }
    }

    /// Finds who was found to call with this token before. That its signature was good is
    /// remembered; that it is good now, and that its key still is, is asked again.
    fn recall(&self, sought: Sought<'_>, tick: UnixTime) -> Result<Option<Arc<Known>>, Reject> {
        let mut seen = self.seen.borrow_mut();
        let Some(known) = seen.find(sought) else { return Ok(None) };
        let held = self.keys[known.place].look();
        let max_stale = self.shared.issuers[known.place].keys.settings().max_stale;
        if !held.usable(max_stale, tick) {
            return Ok(None); // whoever finds keys has them fetched, or says there are none
        }
        if !known.key_is_held(&held) {
            seen.forget(sought);
            return Ok(None);
        }
        known.check_dates(tick, || self.shared.clock.now())?;
        Ok(Some(known))
    }

    /// Finds out who calls with a token that nobody came with before.
    async fn verify(
        &self,
        sought: Sought<'_>,
        tick: UnixTime,
    ) -> Result<(Arc<Known>, AuthSource), Reject> {
        let (settings, token) = (&self.shared.settings, sought.token);
        let policies = self.shared.issuers.iter().map(|issuer| &issuer.policy);
        let (place, admitted) = verdict::admit(token, settings.limits.token, policies)?;
        let issuer = &self.shared.issuers[place];
        let kid = admitted.kid();
        let mut found = issuer.keys.find(kid.as_ref(), tick).await?;
        let judge = |admitted, held: &Held| {
            let now = self.shared.clock.now(); // it may have taken a while
            verdict::caller(admitted, &issuer.policy, held.set.find(kid.as_ref()), now)
        };
        let mut judged = judge(admitted, &found.held);
        if matches!(judged, Err(Reject::SignatureInvalid))
            && let Some(held) = issuer.keys.replaced(kid.as_ref(), &found.held).await
        {
            let policies = self.shared.issuers.iter().map(|issuer| &issuer.policy);
            let (_, again) = verdict::admit(token, settings.limits.token, policies)?;
            found = Found { held, waited: true };
            judged = judge(again, &found.held);
        }
        let (caller, key) = judged?;
        let known = self.known(caller, key, place, &found.held);
        self.seen.borrow_mut().remember(sought, &known, tick);
        let source = if found.waited { AuthSource::Waited } else { AuthSource::Verified };
        Ok((known, source))
    }

    /// Makes everything that is made once per token.
    pub(super) fn known(
        &self,
        caller: Caller,
        key: Arc<VerificationKey>,
        place: usize,
        held: &Held,
    ) -> Arc<Known> {
        let settings = &self.shared.settings;
        let leeway = self.shared.issuers[place].policy.leeway(caller.class);
        let proof = Proof { place, leeway, key, generation: held.generation };
        let signers = self.signers.look();
        let assertion = signers.assertions.as_ref();
        Arc::new(Known::new(caller, proof, &settings.identity, &settings.routes, assertion))
    }
}
