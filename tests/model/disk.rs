//! The disk: what the store's contract promises, and how it fails.

use b24gate::config::{Endpoint, Inject};
use b24gate::credential::{ChainId, Generation, Grant, Link, RawAnswer, Secret, State};
use b24gate::store::{
    Added, Answered, Facts, LedgerEntry, Pending, Record, Seat, Store, StoreError, StoredCredential,
};

use crate::world::{World, number};

fn down() -> StoreError {
    StoreError::Unavailable("no space left on device".into())
}

impl Store for World {
    fn load(&self) -> Pending<'_, Vec<Record>> {
        Box::pin(async move {
            self.step("load", &[], |inside, _| {
                let one = |active: bool, id: &i64| {
                    let row = &inside.chains[id];
                    (row.active == active && (active || row.spare)).then(|| Ok(inside.stored(*id)))
                };
                let answers = inside.journal.iter().map(|(id, (generation, answer))| Answered {
                    chain: ChainId(*id),
                    generation: *generation,
                    at: 0,
                    ours: true,
                    answer: answer.clone(),
                });
                Ok(vec![Record {
                    portal: "acme".to_owned(),
                    inject: None,
                    endpoint: None,
                    credential: inside.chains.keys().find_map(|id| one(true, id)),
                    spares: inside.chains.keys().filter_map(|id| one(false, id)).collect(),
                    arriving: Vec::new(),
                    facts: Facts::default(),
                    answers: answers.collect(),
                }])
            })
            .await
        })
    }

    fn intend<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("intend", &["disk full"], |inside, fault| {
                let row = inside.chains.get_mut(&link.chain.0).ok_or(StoreError::Unknown)?;
                if fault == "disk full" {
                    return Err(down());
                }
                if row.generation != link.generation {
                    return Err(StoreError::Superseded(row.generation));
                }
                row.intent = Some(link.generation);
                Ok(())
            })
            .await
        })
    }

    fn receive<'a>(&'a self, link: Link<'a>, answer: &'a RawAnswer) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("receive", &["disk full"], |inside, fault| {
                if fault == "disk full" {
                    return Err(down());
                }
                inside.journal.insert(link.chain.0, (link.generation, answer.clone()));
                if let Ok(grant) = answer.grant() {
                    inside.durable.insert(number(&grant.refresh));
                }
                Ok(())
            })
            .await
        })
    }

    fn commit<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            let faults = ["disk full", "done and reported failed"];
            self.step("commit", &faults, |inside, fault| match fault {
                "disk full" => Err(down()),
                "done and reported failed" => {
                    drop(inside.commit(link, number(&grant.refresh), true));
                    Err(down())
                }
                _ => inside.commit(link, number(&grant.refresh), true),
            })
            .await
        })
    }

    fn recover<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            self.step("recover", &["disk full"], |inside, fault| match fault {
                "disk full" => Err(down()),
                _ => inside.commit(link, number(&grant.refresh), false),
            })
            .await
        })
    }

    fn fail<'a>(&'a self, link: Link<'a>, state: &'a State) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("fail", &["disk full"], |inside, fault| {
                let row = inside.chains.get_mut(&link.chain.0).ok_or(StoreError::Unknown)?;
                if fault == "disk full" {
                    return Err(down());
                }
                if row.generation == link.generation {
                    row.state = state.clone();
                    row.intent = None;
                }
                Ok(())
            })
            .await
        })
    }

    fn add<'a>(&'a self, _: &'a str, _: &'a Grant, _: Seat) -> Pending<'a, Added> {
        unreachable!("nothing is imported here")
    }

    fn promote<'a>(&'a self, _: &'a str, spare: ChainId) -> Pending<'a, Option<StoredCredential>> {
        Box::pin(async move {
            self.step("promote", &["disk full"], |inside, fault| {
                if fault == "disk full" {
                    return Err(down());
                }
                let above = inside.chains.values().map(|row| row.generation).max().unwrap();
                for row in inside.chains.values_mut().filter(|row| row.active) {
                    row.active = false;
                }
                let Some(row) = inside.chains.get_mut(&spare.0).filter(|row| row.spare) else {
                    return Ok(None);
                };
                (row.active, row.spare, row.generation) = (true, false, above.next());
                Ok(Some(inside.stored(spare.0)))
            })
            .await
        })
    }

    fn take_seat<'a>(&'a self, _: Link<'a>, _: Seat) -> Pending<'a, Added> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn turn_away<'a>(&'a self, _: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unknown) })
    }

    fn forget_answers<'a>(&'a self, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn ledger<'a>(&'a self, _: &'a str, _: u32) -> Pending<'a, Vec<LedgerEntry>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn seen<'a>(&'a self, _: &'a str, _: &'a Secret) -> Pending<'a, Option<LedgerEntry>> {
        Box::pin(async { Ok(None) })
    }

    fn alerted(&self) -> Pending<'_, Vec<(String, String)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn remember_alert<'a>(&'a self, _: &'a str, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn remember_inject<'a>(&'a self, _: &'a str, _: Inject) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn remember_endpoint<'a>(&'a self, _: &'a str, _: Option<&'a Endpoint>) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
