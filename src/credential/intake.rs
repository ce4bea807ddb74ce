//! Bringing a pair into a store: what is there is looked up, [`admit`] decides.

use std::sync::Arc;

use crate::credential::refresh::Chains;
use crate::credential::rotation::Chain;
use crate::credential::{
    Admission, Admitted, Credential, Grant, Held, Origin, RefreshFailure, Refused, Replace, Token,
    admit,
};
use crate::store::{Added, LedgerEntry, Seat, Store, StoreError, StoredCredential};

/// Why a pair that somebody brought is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It is not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Its refresh token was tried at once, and there is no pair of our own in use. Unless the token
    /// is dead, the pair is kept and tried again by itself; one that comes when too many of its
    /// portal wait already (`too_many_wait`) is not kept, and may be brought again.
    #[error("{0}")]
    Exchange(RefreshFailure),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What should become of `grant`, by what the store holds for `portal`.
pub async fn consider(
    store: &dyn Store,
    portal: &str,
    grant: &Grant,
    replace: Replace,
) -> Result<Admission, IntakeError> {
    let records = store.load().await?;
    let seen = store.seen(portal, &grant.refresh).await?;
    let record = records.iter().find(|record| record.portal == portal);
    let active: Option<&StoredCredential> =
        record.and_then(|record| record.credential.as_ref()?.as_ref().ok());
    let spares = record.into_iter().flat_map(|record| &record.spares);
    let spares: Vec<Held<'_>> = spares.flatten().map(Held::from).collect();
    let active = active.map(Held::from);
    Ok(admit(active.as_ref(), &spares, grant, seen.as_ref(), replace)?)
}

/// Takes `grant` into a store that no gateway uses.
pub async fn take_in(
    store: &dyn Store,
    portal: &str,
    grant: &Grant,
    replace: Replace,
) -> Result<Admitted, IntakeError> {
    let seat = match consider(store, portal, grant, replace).await? {
        Admission::Add(seat) => seat,
        Admission::Known { chain, generation, active, dead } => {
            return Ok(Admitted::Known { chain, generation: generation.0, active, dead });
        }
    };
    Ok(admitted(seat, store.add(portal, grant, seat).await?))
}

/// The same for the running gateway, by what it holds in memory.
pub(super) fn decide(
    chains: &Chains,
    grant: &Grant,
    seen: Option<&LedgerEntry>,
    replace: Replace,
) -> Result<Admission, Refused> {
    let spares: Vec<Held<'_>> = chains.spares.iter().map(Held::from).collect();
    let active = chains.active.as_ref().map(Held::from);
    admit(active.as_ref(), &spares, grant, seen, replace)
}

pub(super) fn admitted(seat: Seat, added: Added) -> Admitted {
    match seat {
        Seat::Active { keep_old } => {
            Admitted::Active { generation: added.generation.0, old_kept: keep_old }
        }
        Seat::Spare | Seat::Arriving => {
            Admitted::Spare { chain: added.chain, dropped: added.dropped }
        }
    }
}

impl Credential {
    /// The same for the running gateway, which may know more than the store.
    pub(super) async fn take_in(
        self: Arc<Self>,
        grant: Grant,
        replace: Replace,
    ) -> Result<Admitted, IntakeError> {
        let mut chains = self.chains.lock().await;
        // First what was exchanged and not stored yet: its generation is already in use.
        self.save_all(&mut chains).await?;
        let store = &self.custody.store;
        if let Some(id) = chains.arriving_with(&grant.refresh) {
            return self.try_again(&mut chains, id, replace).await;
        }
        let seen = store.seen(&self.portal, &grant.refresh).await?;
        let seat = match decide(&chains, &grant, seen.as_ref(), replace)? {
            Admission::Add(seat) => seat,
            Admission::Known { chain, generation, active, dead } => {
                return Ok(Admitted::Known { chain, generation: generation.0, active, dead });
            }
        };
        let added = store.add(&self.portal, &grant, seat).await?;
        self.custody.store_works();
        let chain = Chain::started(added.chain, added.generation, &grant);
        let (access, expires_at) = (grant.access, grant.expires_at);
        let token = Token::new(added.generation, access, expires_at, Origin::Stored);
        self.seat(&mut chains, seat, added, (chain, token));
        tracing::info!(
            portal = %self.portal, chain = %added.chain, generation = %added.generation, ?seat,
            "credential imported"
        );
        Ok(admitted(seat, added))
    }

    /// Does in memory what the store has done.
    pub(super) fn seat(
        &self,
        chains: &mut Chains,
        seat: Seat,
        added: Added,
        (chain, token): (Chain, Token),
    ) {
        match seat {
            Seat::Active { keep_old } => {
                self.publish(&chain, token);
                let old = chains.active.replace(chain).filter(|_| keep_old);
                chains.spares.splice(0..0, old);
            }
            Seat::Arriving => {}
            Seat::Spare => chains.spares.insert(0, chain),
        }
        chains.spares.retain(|spare| Some(spare.id) != added.dropped);
        let spares = chains.spares.len();
        self.note(|status| status.spares = spares);
    }
}

impl<'a> From<&'a Chain> for Held<'a> {
    fn from(chain: &'a Chain) -> Self {
        Self {
            chain: chain.id,
            generation: chain.generation,
            member_id: chain.member_id.as_deref(),
            user_id: chain.user_id,
            dead: chain.is_dead(),
            refresh: &chain.refresh,
        }
    }
}
