//! Pairs of which somebody else may have a copy: stored as arriving, exchanged, and seated with the
//! pair that came of it. Until then the portal's other chains are not touched.

mod seat;

use std::sync::Arc;

use tokio::time::Instant;

use crate::credential::admission::spent;
use crate::credential::intake::decide;
use crate::credential::recovery::Held;
use crate::credential::refresh::{Chains, STORE};
use crate::credential::rotation::{Chain, Rotation, Stored};
use crate::credential::saving::reason;
use crate::credential::{
    Admission, Admitted, ChainId, Credential, FailureKind, Grant, IntakeError, Origin,
    RefreshFailure, Replace, Secret, State,
};
use crate::store::{Added, Record, Seat, StoreError};

/// A chain without a seat.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) chain: Chain,
    replace: Replace,
    /// What its exchange brought. There is nothing left to do but to seat it.
    own: Option<Own>,
    /// The store failed to seat it, and may have done so all the same.
    seat_in_doubt: bool,
    /// It is to be turned away.
    unwanted: bool,
    /// Why it has no seat yet.
    last: RefreshFailure,
}

/// An access token that only this gateway has.
#[derive(Debug)]
struct Own {
    access: Secret,
    expires_at: Option<u64>,
    origin: Origin,
}

impl Credential {
    /// Takes a pair in that has to be exchanged first.
    pub(super) async fn arrive(
        self: Arc<Self>,
        grant: Grant,
        replace: Replace,
    ) -> Result<Admitted, IntakeError> {
        let mut chains = self.chains.lock().await;
        self.save_all(&mut chains).await?;
        let store = &self.custody.store;
        let seen = store.seen(&self.portal, &grant.refresh).await?;
        if let Some(entry) = seen.as_ref().filter(|entry| entry.outcome == "arriving") {
            self.find_arriving(&mut chains, ChainId(entry.chain)).await?;
        }
        if let Some(id) = chains.arriving_with(&grant.refresh) {
            return self.try_again(&mut chains, id, replace).await;
        }
        if let Some(entry) = &seen
            && chains.arriving.iter().any(|it| it.chain.id == ChainId(entry.chain))
            && let Some(refused) = spent(entry)
        {
            return Err(refused.into());
        }
        match decide(&chains, &grant, seen.as_ref(), replace)? {
            Admission::Add(_) => {}
            Admission::Known { chain, generation, active, dead } => {
                return Ok(Admitted::Known { chain, generation: generation.0, active, dead });
            }
        }
        if chains.arriving.len() >= ARRIVING_MAX {
            return Err(IntakeError::Exchange(RefreshFailure::unsent("too_many_wait")));
        }
        let Added { chain, generation, .. } =
            store.add(&self.portal, &grant, Seat::Arriving).await?;
        let arriving = Chain::started(chain, generation, &grant);
        chains.arriving.push(Arriving::new(arriving, replace));
        self.finish(&mut chains, chain).await
    }

    /// A pair that waits for its exchange is brought again.
    pub(super) async fn try_again(
        self: &Arc<Self>,
        chains: &mut Chains,
        id: ChainId,
        replace: Replace,
    ) -> Result<Admitted, IntakeError> {
        if let Some(arriving) = chains.arriving_mut(id) {
            arriving.replace = replace;
            if !arriving.chain.is_ready() {
                return Err(IntakeError::Exchange(arriving.last.clone()));
            }
        }
        self.finish(chains, id).await
    }

    /// Tries those again whose pause is over.
    pub(super) async fn finish_arrivals(self: &Arc<Self>) {
        let mut chains = self.chains.lock().await;
        if self.save_all(&mut chains).await.is_err() {
            return;
        }
        let ready = chains.arriving.iter().filter(|it| it.chain.is_ready());
        let ready: Vec<ChainId> = ready.map(|it| it.chain.id).collect();
        for id in ready {
            // Its outcome is in the log.
            drop(self.finish(&mut chains, id).await);
        }
    }

    /// What is left to do with one of them.
    async fn finish(
        self: &Arc<Self>,
        chains: &mut Chains,
        id: ChainId,
    ) -> Result<Admitted, IntakeError> {
        let outcome = match self.exchange_arriving(chains, id).await {
            Ok(()) => self.seat_arriving(chains, id).await,
            Err(failure) => Err(IntakeError::Exchange(failure)),
        };
        let portal = &self.portal;
        match &outcome {
            Ok(admitted) => tracing::info!(%portal, chain = %id, ?admitted, "arriving_pair_seated"),
            Err(error) => tracing::warn!(%portal, chain = %id, %error, "arriving_pair_not_seated"),
        }
        outcome
    }

    /// Exchanges a pair, unless that is done.
    async fn exchange_arriving(
        self: &Arc<Self>,
        chains: &mut Chains,
        id: ChainId,
    ) -> Result<(), RefreshFailure> {
        let Some(arriving) = chains.arriving_mut(id) else {
            return Err(RefreshFailure::unsent(STORE));
        };
        if arriving.is_unwanted() {
            let last = arriving.last.clone();
            self.turn_away(chains, id).await;
            return Err(last);
        }
        // Should this task die, the next one does not follow on its heels.
        arriving.chain.wait(self.custody.pace.backoff_max);
        if arriving.chain.in_doubt {
            let Some(held) = self.settled(&arriving.chain).await else {
                return Err(self.put_off(chains, id, RefreshFailure::unsent(STORE)));
            };
            if arriving.take(&held) {
                self.note(|status| status.unsaved = true);
                self.keep_saving();
                return Err(self.put_off(chains, id, RefreshFailure::unsent(STORE)));
            }
        }
        if arriving.own.is_some() {
            return Ok(());
        }
        match self.custody.rotate(&self.portal, &self.app(), &mut arriving.chain).await {
            Rotation::Renewed(grant, stored) => {
                arriving.own = Some(Own::renewed(&grant));
                arriving.chain.failures = 0;
                let generation = arriving.chain.generation;
                self.note_stored(generation, &stored);
                match stored {
                    Stored::Yes => Ok(()),
                    // The store has to know the pair before it can seat it.
                    Stored::Journal(_) | Stored::No(_) => {
                        Err(self.put_off(chains, id, RefreshFailure::unsent(STORE)))
                    }
                }
            }
            Rotation::Failed(failure) => Err(self.not_exchanged(chains, id, failure).await),
            // Somebody has removed the portal's chains.
            Rotation::StoreDown(StoreError::Unknown) => {
                chains.arriving.retain(|it| it.chain.id != id);
                Err(RefreshFailure::unsent(STORE))
            }
            Rotation::StoreDown(error) => {
                self.custody.store_fails();
                tracing::error!(
                    portal = %self.portal, reason = %reason(&error),
                    "arriving pair not exchanged, the store is down"
                );
                Err(self.put_off(chains, id, RefreshFailure::unsent(STORE)))
            }
            Rotation::Overtaken => {
                arriving.chain.in_doubt = true;
                Err(self.put_off(chains, id, RefreshFailure::unsent(STORE)))
            }
        }
    }

    /// Writes down why there is no pair. Only one whose refresh token is dead is given up.
    async fn not_exchanged(
        &self,
        chains: &mut Chains,
        id: ChainId,
        failure: RefreshFailure,
    ) -> RefreshFailure {
        if let Some(arriving) = chains.arriving_mut(id) {
            let code = failure.code.clone();
            let chain = &mut arriving.chain;
            match failure.kind {
                FailureKind::Dead => chain.state = State::Dead { code },
                FailureKind::Paused | FailureKind::Configuration => {
                    chain.state = State::Paused { code };
                }
                FailureKind::Transient if failure.sent => chain.state = State::Suspect,
                FailureKind::Transient => {}
            }
            self.write_failure(chain).await;
        }
        let failure = self.put_off(chains, id, failure);
        if failure.kind == FailureKind::Dead {
            self.turn_away(chains, id).await;
        }
        failure
    }

    /// Lets a chain wait for the next attempt.
    fn put_off(&self, chains: &mut Chains, id: ChainId, failure: RefreshFailure) -> RefreshFailure {
        let served = chains.active.as_ref().is_some_and(|active| !active.is_dead());
        let pace = &self.custody.pace;
        if let Some(arriving) = chains.arriving_mut(id) {
            let chain = &mut arriving.chain;
            chain.failures = chain.failures.saturating_add(1);
            let doubt = chain.state == State::Suspect;
            // Where calls wait for it, and where no server is asked, it is worth more haste.
            let pause = if failure.code == STORE || (!served && failure.is_passing()) {
                pace.backoff(chain.failures, doubt, failure.retry_after)
            } else {
                pace.spare(chain.failures)
            };
            chain.wait(pause);
            arriving.last = failure.clone();
        }
        if chains.active.is_none() {
            self.note(|status| status.last_error = Some(failure.code.clone()));
        }
        failure
    }

    /// Takes a chain over that the store has added although it reported a failure.
    async fn find_arriving(&self, chains: &mut Chains, id: ChainId) -> Result<(), StoreError> {
        if chains.arriving.iter().any(|it| it.chain.id == id) {
            return Ok(());
        }
        let record = self.record().await?;
        if let Some(stored) = record.arriving.into_iter().flatten().find(|it| it.chain == id) {
            chains.arriving.push(Arriving::new(Chain::of(&stored), Replace::No));
        }
        Ok(())
    }

    async fn record(&self) -> Result<Record, StoreError> {
        let records = self.custody.store.load().await?;
        records.into_iter().find(|it| it.portal == self.portal).ok_or(StoreError::Unknown)
    }
}

impl Arriving {
    fn new(chain: Chain, replace: Replace) -> Self {
        let last = RefreshFailure::unsent("cut_short");
        Self { chain, replace, own: None, seat_in_doubt: false, unwanted: false, last }
    }

    /// One that an earlier process left. Whether its pair is the one that was brought or the one
    /// that came of it, another exchange makes it ours.
    pub(super) fn left(held: &Held) -> Self {
        Self::new(held.chain(), Replace::No)
    }

    /// Goes on with what the store and the journal have; whether the store lacks the pair.
    fn take(&mut self, held: &Held) -> bool {
        if held.stored.generation > self.chain.generation {
            self.own = Some(Own {
                access: held.stored.access.clone(),
                expires_at: held.stored.expires_at,
                origin: Origin::Stored,
            });
        }
        let Chain { failures, not_before, .. } = self.chain;
        self.chain = Chain { failures, not_before, ..held.chain() };
        self.chain.unsaved.is_some()
    }

    fn is_unwanted(&self) -> bool {
        self.unwanted || self.chain.is_dead()
    }

    /// The pair that is ours.
    fn grant(&self) -> Option<Grant> {
        let Own { access, expires_at, .. } = self.own.as_ref()?;
        Some(Grant {
            access: access.clone(),
            refresh: self.chain.refresh.clone(),
            expires_at: *expires_at,
            good_until: None,
            member_id: self.chain.member_id.clone(),
            user_id: self.chain.user_id,
            client_endpoint: self.chain.client_endpoint.clone(),
        })
    }
}

impl Own {
    fn renewed(grant: &Grant) -> Self {
        Self {
            access: grant.access.clone(),
            expires_at: grant.expires_at,
            origin: Origin::Renewed { at: Instant::now(), good_until: grant.good_until },
        }
    }
}

impl Chains {
    fn arriving_mut(&mut self, id: ChainId) -> Option<&mut Arriving> {
        self.arriving.iter_mut().find(|it| it.chain.id == id)
    }

    /// The arriving chain whose refresh token this is.
    pub(super) fn arriving_with(&self, refresh: &Secret) -> Option<ChainId> {
        let found = self.arriving.iter().find(|it| it.chain.refresh.matches(refresh.expose()));
        found.map(|it| it.chain.id)
    }
}

/// Pairs of one portal that may wait for their exchange. Whoever brings more may come again.
const ARRIVING_MAX: usize = 4;
