//! The disk: what the store's contract promises, and how it fails.

use b24gate::config::{Endpoint, Inject};
use b24gate::credential::{ChainId, Generation, Grant, Link, RawAnswer, Secret, State};
use b24gate::store::{
    Added, Answered, Facts, LedgerEntry, Pending, Record, Seat, Store, StoreError, StoredCredential,
};

use crate::world::{Inside, Row, World, number};

fn down() -> StoreError {
    StoreError::Unavailable("no space left on device".into())
}

impl Store for World {
    fn load(&self) -> Pending<'_, Vec<Record>> {
        Box::pin(async move {
            self.step("load", &[], |inside, _| {
                let all = |which: fn(&Row) -> bool| {
                    let rows = inside.chains.iter().filter(move |(_, row)| which(row));
                    rows.map(|(id, _)| Ok(inside.stored(*id)))
                };
                // The slots of chains that are history are removed.
                let sits = |id: &i64| {
                    let row = &inside.chains[id];
                    row.active || row.spare || row.arriving
                };
                let answers = inside.journal.iter().filter(|(id, _)| sits(id)).map(
                    |(id, (generation, answer))| Answered {
                        chain: ChainId(*id),
                        generation: *generation,
                        at: 0,
                        ours: true,
                        answer: answer.clone(),
                    },
                );
                Ok(vec![Record {
                    portal: "acme".to_owned(),
                    inject: None,
                    endpoint: None,
                    credential: all(|row| row.active).next(),
                    spares: all(|row| row.spare).collect(),
                    arriving: all(|row| row.arriving).collect(),
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
                let number = row.number;
                inside.enter(link.chain.0, number, "intent");
                Ok(())
            })
            .await
        })
    }

    fn receive<'a>(&'a self, link: Link<'a>, answer: &'a RawAnswer) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step(&format!("receive {}", link.chain), &["disk full"], |inside, fault| {
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
                    let number = row.number;
                    let outcome = format!("failed: {}", state.word());
                    inside.enter(link.chain.0, number, &outcome);
                }
                Ok(())
            })
            .await
        })
    }

    fn add<'a>(&'a self, _: &'a str, grant: &'a Grant, seat: Seat) -> Pending<'a, Added> {
        assert_eq!(seat, Seat::Arriving, "nothing is imported here");
        Box::pin(async move {
            self.step("add", &UNHEARD, |inside, fault| {
                heard(inside, fault, |inside| Ok(add(inside, number(&grant.refresh))))
            })
            .await
        })
    }

    fn promote<'a>(&'a self, _: &'a str, spare: ChainId) -> Pending<'a, Option<StoredCredential>> {
        Box::pin(async move {
            self.step("promote", &["disk full"], |inside, fault| {
                if fault == "disk full" {
                    return Err(down());
                }
                let above = inside.above_all();
                for row in inside.chains.values_mut().filter(|row| row.active) {
                    row.active = false;
                }
                let Some(row) = inside.chains.get_mut(&spare.0).filter(|row| row.spare) else {
                    return Ok(None);
                };
                (row.active, row.spare, row.generation) = (true, false, above);
                Ok(Some(inside.stored(spare.0)))
            })
            .await
        })
    }

    fn take_seat<'a>(&'a self, link: Link<'a>, seat: Seat) -> Pending<'a, Added> {
        Box::pin(async move {
            self.step("take_seat", &UNHEARD, |inside, fault| {
                heard(inside, fault, |inside| take_seat(inside, link, seat))
            })
            .await
        })
    }

    fn turn_away<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("turn_away", &UNHEARD, |inside, fault| {
                heard(inside, fault, |inside| {
                    let id = link.chain.0;
                    let row = inside.chains.get_mut(&id).ok_or(StoreError::Unknown)?;
                    if row.arriving && row.generation == link.generation {
                        (row.arriving, row.intent) = (false, None);
                        let number = row.number;
                        inside.enter(id, number, "turned away");
                    }
                    Ok(())
                })
            })
            .await
        })
    }

    fn forget_answers<'a>(&'a self, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn ledger<'a>(&'a self, _: &'a str, _: u32) -> Pending<'a, Vec<LedgerEntry>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn seen<'a>(&'a self, _: &'a str, of: &'a Secret) -> Pending<'a, Option<LedgerEntry>> {
        Box::pin(async move { Ok(self.lock().ledger.get(&number(of)).cloned()) })
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

/// How a write that seats somebody can fail.
const UNHEARD: [&str; 2] = ["disk full", "done and reported failed"];

fn heard<T>(
    inside: &mut Inside,
    fault: &str,
    write: impl FnOnce(&mut Inside) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match fault {
        "disk full" => Err(down()),
        "done and reported failed" => {
            drop(write(inside));
            Err(down())
        }
        _ => write(inside),
    }
}

fn add(inside: &mut Inside, number: u64) -> Added {
    let id = i64::try_from(number / 1000).unwrap();
    if inside.chains.get(&id).is_some_and(|row| row.arriving) {
        inside.violated(format!("R{number} arrives twice"));
    }
    let generation = inside.above_all();
    let row = Row {
        active: false,
        spare: false,
        arriving: true,
        generation,
        number,
        state: State::Connected,
        intent: None,
    };
    inside.chains.insert(id, row);
    inside.durable.insert(number);
    inside.enter(id, number, "arriving");
    Added { chain: ChainId(id), generation, dropped: None }
}

fn take_seat(inside: &mut Inside, link: Link<'_>, seat: Seat) -> Result<Added, StoreError> {
    let id = link.chain.0;
    let above = inside.above_all();
    let row = inside.chains.get(&id).filter(|row| row.arriving).ok_or(StoreError::Unknown)?;
    if row.generation != link.generation {
        return Err(StoreError::Superseded(row.generation));
    }
    let number = row.number;
    if let Seat::Active { keep_old } = seat {
        for row in inside.chains.values_mut().filter(|row| row.active) {
            (row.active, row.spare) = (false, keep_old);
        }
    }
    let row = inside.chains.get_mut(&id).ok_or(StoreError::Unknown)?;
    (row.arriving, row.active, row.spare) = (false, seat != Seat::Spare, seat == Seat::Spare);
    if row.active {
        (row.generation, row.intent) = (above, None);
    }
    let generation = row.generation;
    inside.enter(id, number, "seated");
    Ok(Added { chain: link.chain, generation, dropped: None })
}
