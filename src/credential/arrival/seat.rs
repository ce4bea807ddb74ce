//! The seat of a pair that is ours: decided after its exchange, given by the store, and looked up
//! when the store does not say whether it was given.

use crate::credential::arrival::Arriving;
use crate::credential::intake::{admitted, decide};
use crate::credential::refresh::{Chains, STORE};
use crate::credential::rotation::Chain;
use crate::credential::saving::reason;
use crate::credential::{
    Admission, Admitted, ChainId, Credential, IntakeError, RefreshFailure, Token,
};
use crate::store::{Added, Seat, StoreError};

impl Credential {
    /// Gives a chain whose pair is ours its seat, as things stand now: the one in use may have died
    /// meanwhile, and the answer may have told whose the pair is.
    pub(super) async fn seat_arriving(
        &self,
        chains: &mut Chains,
        id: ChainId,
    ) -> Result<Admitted, IntakeError> {
        let Some((grant, link, replace)) = chains.arriving_mut(id).and_then(|arriving| {
            let link = arriving.chain.link(&self.portal);
            Some((arriving.grant()?, link, arriving.replace))
        }) else {
            return Err(StoreError::Unknown.into());
        };
        let seat = match decide(chains, &grant, None, replace) {
            Ok(Admission::Add(seat)) => seat,
            Ok(Admission::Known { chain, generation, active, dead }) => {
                self.turn_away(chains, id).await;
                return Ok(Admitted::Known { chain, generation: generation.0, active, dead });
            }
            Err(refused) => {
                self.turn_away(chains, id).await;
                return Err(refused.into());
            }
        };
        match self.custody.store.take_seat(link, seat).await {
            Ok(added) => {
                self.custody.store_works();
                self.take_seat(chains, seat, added);
                Ok(admitted(seat, added))
            }
            Err(error) => {
                self.custody.store_fails();
                tracing::error!(
                    portal = %self.portal, reason = %reason(&error),
                    "arriving pair is stored, and has no seat yet"
                );
                if let Some(arriving) = chains.arriving_mut(id) {
                    arriving.seat_in_doubt = true;
                }
                let failure = self.put_off(chains, id, RefreshFailure::unsent(STORE));
                Err(IntakeError::Exchange(failure))
            }
        }
    }

    /// Does in memory what the store has done.
    fn take_seat(&self, chains: &mut Chains, seat: Seat, added: Added) {
        let Some(at) = chains.arriving.iter().position(|it| it.chain.id == added.chain) else {
            return;
        };
        let Arriving { chain, own, .. } = chains.arriving.remove(at);
        let Some(own) = own else { return };
        let chain = Chain { generation: added.generation, failures: 0, not_before: None, ..chain };
        let token = Token::new(added.generation, own.access, own.expires_at, own.origin);
        self.seat(chains, seat, added, (chain, token));
    }

    pub(super) async fn turn_away(&self, chains: &mut Chains, id: ChainId) {
        let Some(arriving) = chains.arriving_mut(id) else { return };
        arriving.unwanted = true;
        arriving.chain.wait(self.custody.pace.backoff_max);
        match self.custody.store.turn_away(arriving.chain.link(&self.portal)).await {
            Ok(()) => chains.arriving.retain(|it| it.chain.id != id),
            Err(error) => tracing::warn!(
                portal = %self.portal, chain = %id, reason = %reason(&error),
                "arriving pair of no use is still in the store"
            ),
        }
    }

    /// Looks up what became of seats that the store failed to give. Before that nothing else may
    /// happen to the chains, because the one in use may be another by now.
    pub(in crate::credential) async fn settle_seats(
        &self,
        chains: &mut Chains,
    ) -> Result<(), StoreError> {
        while let Some(arriving) = chains.arriving.iter_mut().find(|it| it.seat_in_doubt) {
            let id = arriving.chain.id;
            let record = self.record().await?;
            let active = record.credential.iter().flatten().find(|it| it.chain == id);
            let spare = record.spares.iter().flatten().find(|it| it.chain == id);
            let kept = |id: ChainId| record.spares.iter().flatten().any(|it| it.chain == id);
            let dropped = chains.spares.iter().map(|it| it.id).find(|id| !kept(*id));
            if let Some(stored) = active {
                let old = chains.active.as_ref().map(|active| active.id);
                let seat = Seat::Active { keep_old: old.is_some_and(kept) };
                let added = Added { chain: id, generation: stored.generation, dropped };
                self.take_seat(chains, seat, added);
            } else if let Some(stored) = spare {
                let added = Added { chain: id, generation: stored.generation, dropped };
                self.take_seat(chains, Seat::Spare, added);
            } else if record.arriving.iter().flatten().any(|it| it.chain == id) {
                arriving.seat_in_doubt = false;
            } else {
                chains.arriving.retain(|it| it.chain.id != id);
            }
        }
        Ok(())
    }
}
