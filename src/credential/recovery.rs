//! What a crash, a damaged database or an old copy of it left behind, settled before it is used.
//!
//! The journal holds the answer that brought every pair. An answer to the generation that the store
//! still stands at was not taken yet; one to a later generation says that the database is older than
//! the chain; and where there is no record that opens, the answers are what is left.

use crate::credential::rotation::Chain;
use crate::credential::{ChainId, Custody, Grant, Link, State};
use crate::store::{Added, Answered, Record, SPARES_MAX, Seat, StoreError, StoredCredential};

/// What a portal has.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) active: Option<Result<Held, StoreError>>,
    pub(super) spares: Vec<Held>,
    pub(super) arriving: Vec<Held>,
}

/// A chain as it will be used.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) stored: StoredCredential,
    /// The pair itself, when it was found in the journal and the store did not take it.
    pub(super) unsaved: Option<Grant>,
}

impl Custody {
    /// Makes of a record what can be used, and writes down what was found.
    pub(super) async fn settle(&self, record: Record) -> Settled {
        let Record { portal, credential, spares, arriving, answers, .. } = record;
        let mut settled = Settled::default();
        for spare in spares {
            match spare {
                Ok(spare) => settled.spares.push(self.take_newer(&portal, spare, &answers).await),
                Err(error) => tracing::warn!(portal = %portal, %error, "a spare does not open"),
            }
        }
        for chain in arriving {
            match chain {
                Ok(it) => settled.arriving.push(self.take_newer(&portal, it, &answers).await),
                Err(error) => {
                    tracing::warn!(portal = %portal, %error, "an arriving pair does not open");
                }
            }
        }
        settled.active = match credential {
            Some(Ok(stored)) => {
                let active = self.take_newer(&portal, stored, &answers).await;
                self.take_strays(&portal, &active, &mut settled.spares, &answers).await;
                Some(Ok(active))
            }
            lost => match self.rescue(&portal, &mut settled, &answers).await {
                Some(rescued) => Some(Ok(rescued)),
                None => lost.map(|it| it.map(Held::from)),
            },
        };
        settled
    }

    /// The newest pair of a chain: the store's, or one that the journal holds and the store not yet.
    pub(super) async fn take_newer(
        &self,
        portal: &str,
        stored: StoredCredential,
        answers: &[Answered],
    ) -> Held {
        let newest = answers
            .iter()
            .filter(|it| it.ours && it.chain == stored.chain && it.generation >= stored.generation)
            .filter_map(|it| Some((it, it.answer.grant().ok()?)))
            .filter(|(_, grant)| !Chain::of(&stored).is_of_another_portal(grant))
            .max_by_key(|(it, _)| it.generation);
        let Some((answer, grant)) = newest else {
            return Held::from(stored);
        };
        if answer.generation > stored.generation {
            tracing::error!(
                portal = %portal,
                stored = %stored.generation,
                journal = %answer.generation.next(),
                "the database is older than the chain: taking the newer pair from the journal"
            );
        }
        let link = Link { portal, chain: stored.chain, generation: answer.generation };
        let written = self.store.recover(link, &grant).await;
        let held = Held::of(stored, answer, grant);
        match written {
            Ok(generation) => {
                tracing::warn!(portal = %portal, %generation, "pair recovered from the journal");
                Held { unsaved: None, ..held }
            }
            Err(error) => {
                tracing::error!(portal = %portal, %error, "pair found in the journal, not stored");
                held
            }
        }
    }

    /// Chains that the database does not know, because it is an old copy or a new file: what they
    /// brought waits as a spare, if it is the same user's.
    async fn take_strays(
        &self,
        portal: &str,
        active: &Held,
        spares: &mut Vec<Held>,
        answers: &[Answered],
    ) {
        let strays = answers.iter().filter(|it| !it.ours);
        let strays: Vec<_> = strays.filter_map(|it| Some((it, it.answer.grant().ok()?))).collect();
        if strays.is_empty() {
            return;
        }
        for (answer, grant) in strays {
            // A pair that this store has seen needs no second chain.
            let is_new = matches!(self.store.seen(portal, &grant.refresh).await, Ok(None));
            let foreign = Chain::of(&active.stored).is_of_another_portal(&grant);
            if !is_new || foreign || !of_same_user(active, &grant) || spares.len() >= SPARES_MAX {
                continue;
            }
            match self.store.add(portal, &grant, Seat::Spare).await {
                Ok(Added { chain, generation, .. }) => {
                    tracing::warn!(portal = %portal, %chain, "pair of the journal kept as a spare");
                    let stored = started(chain, generation, answer, &grant);
                    spares.push(Held::from(stored));
                }
                // The slot stays, and the next start tries again.
                Err(error) => {
                    tracing::error!(portal = %portal, %error, "pair of the journal not stored");
                    return;
                }
            }
        }
        self.forget_strays(portal).await;
    }

    async fn forget_strays(&self, portal: &str) {
        if let Err(error) = self.store.forget_answers(portal).await {
            tracing::warn!(portal = %portal, %error, "slots of another database stay");
        }
    }

    /// Where no record opens, the pairs of the journal start anew: the latest becomes the
    /// credential, others of the same user wait as spares.
    async fn rescue(
        &self,
        portal: &str,
        settled: &mut Settled,
        answers: &[Answered],
    ) -> Option<Held> {
        let Settled { spares, arriving, .. } = settled;
        let known = |chain: ChainId| {
            spares.iter().chain(arriving.iter()).any(|it| it.stored.chain == chain)
        };
        let mut orphans: Vec<(&Answered, Grant)> = answers
            .iter()
            .filter(|it| !it.ours || !known(it.chain))
            .filter_map(|it| Some((it, it.answer.grant().ok()?)))
            .collect();
        orphans.sort_by_key(|(it, _)| std::cmp::Reverse(it.at));
        let mut active: Option<Held> = None;
        for (answer, grant) in orphans {
            let seat = match &active {
                None => Seat::Active { keep_old: false },
                Some(active) if spares.len() < SPARES_MAX && of_same_user(active, &grant) => {
                    Seat::Spare
                }
                Some(_) => continue,
            };
            match self.store.add(portal, &grant, seat).await {
                Ok(added) => {
                    let generation = added.generation;
                    tracing::error!(
                        portal = %portal, %generation, ?seat,
                        "the record was damaged or lost: pair taken from the journal"
                    );
                    let stored = started(added.chain, generation, answer, &grant);
                    let held = Held { stored, unsaved: None };
                    match seat {
                        Seat::Active { .. } => active = Some(held),
                        Seat::Spare | Seat::Arriving => spares.push(held),
                    }
                }
                // The slot stays, and the next start tries again.
                Err(error) => {
                    tracing::error!(portal = %portal, %error, "pair of the journal not stored");
                    return active;
                }
            }
        }
        if active.is_some() {
            self.forget_strays(portal).await;
        }
        active
    }
}

fn of_same_user(active: &Held, grant: &Grant) -> bool {
    active.stored.user_id.is_some() && active.stored.user_id == grant.user_id
}

fn started(
    chain: ChainId,
    generation: crate::credential::Generation,
    answer: &Answered,
    grant: &Grant,
) -> StoredCredential {
    StoredCredential {
        chain,
        generation,
        access: grant.access.clone(),
        refresh: grant.refresh.clone(),
        expires_at: grant.expires_at,
        member_id: grant.member_id.clone(),
        user_id: grant.user_id,
        client_endpoint: grant.client_endpoint.clone(),
        issued_at: answer.answer.at,
        state: State::Connected,
        intent_open: false,
    }
}

impl Held {
    fn of(before: StoredCredential, answer: &Answered, grant: Grant) -> Self {
        let generation = answer.generation.next();
        let mut stored = started(before.chain, generation, answer, &grant);
        stored.member_id = stored.member_id.or(before.member_id);
        stored.user_id = stored.user_id.or(before.user_id);
        stored.client_endpoint = stored.client_endpoint.or(before.client_endpoint);
        Self { stored, unsaved: Some(grant) }
    }

    pub(super) fn chain(&self) -> Chain {
        Chain { unsaved: self.unsaved.clone(), ..Chain::of(&self.stored) }
    }
}

impl From<StoredCredential> for Held {
    fn from(stored: StoredCredential) -> Self {
        Self { stored, unsaved: None }
    }
}
