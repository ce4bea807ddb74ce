//! What the store should hold after each operation.

use std::collections::BTreeMap;

use super::Dice;
use crate::credential::State;
use crate::store::{SPARES_MAX, Seat};

const PORTALS: [&str; 2] = ["acme", "beta"];

/// A chain that is not history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) sits: Sits,
    pub(super) generation: u64,
    /// The number of its pair.
    pub(super) pair: u32,
    pub(super) intent: bool,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sits {
    Active,
    Spare,
    Arriving,
}

/// What the store should hold: the chains by portal and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) chains: BTreeMap<(String, i64), Chain>,
    /// By portal: no generation is given out twice.
    highest: BTreeMap<String, u64>,
    next_chain: i64,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Add { portal: &'static str, pair: u32, seat: Seat },
    Intend { portal: &'static str, chain: i64, generation: u64 },
    Receive { portal: &'static str, chain: i64, generation: u64, pair: u32 },
    Commit { portal: &'static str, chain: i64, generation: u64, pair: u32 },
    Recover { portal: &'static str, chain: i64, generation: u64, pair: u32 },
    Fail { portal: &'static str, chain: i64, generation: u64 },
    Promote { portal: &'static str, chain: i64 },
    TakeSeat { portal: &'static str, chain: i64, generation: u64, seat: Seat },
    TurnAway { portal: &'static str, chain: i64, generation: u64 },
    Remove { portal: &'static str },
}

const SEATS: [Seat; 4] = [
    Seat::Active { keep_old: false },
    Seat::Active { keep_old: true },
    Seat::Spare,
    Seat::Arriving,
];

impl Model {
    pub(super) fn random(&self, dice: &mut Dice, pair: u32) -> Operation {
        let portal = PORTALS[dice.roll(2)];
        let mine: Vec<_> = self.chains.iter().filter(|((name, _), _)| name == portal).collect();
        if mine.is_empty() || dice.roll(4) == 0 {
            let seat = if mine.is_empty() { SEATS[0] } else { SEATS[dice.roll(6).min(3)] };
            return Operation::Add { portal, pair, seat };
        }
        let ((_, chain), found) = mine[dice.roll(mine.len())];
        // Sometimes an actor that comes late.
        let late = u64::from(dice.roll(10) == 0);
        let (chain, generation) = (*chain, found.generation.saturating_sub(late));
        if dice.roll(2) == 0 {
            match found.sits {
                Sits::Active => {}
                Sits::Spare => return Operation::Promote { portal, chain },
                Sits::Arriving => {
                    return match dice.roll(5) {
                        0 => Operation::TurnAway { portal, chain, generation },
                        seat => {
                            let seat = SEATS[seat - 1];
                            Operation::TakeSeat { portal, chain, generation, seat }
                        }
                    };
                }
            }
        }
        match dice.roll(24) {
            0..=6 => Operation::Intend { portal, chain, generation },
            7..=9 => Operation::Receive { portal, chain, generation: found.generation, pair },
            10..=15 => Operation::Commit { portal, chain, generation, pair },
            16..=18 => {
                let ahead = u64::try_from(dice.roll(3)).unwrap();
                Operation::Recover { portal, chain, generation: generation + ahead, pair }
            }
            19..=20 => Operation::Fail { portal, chain, generation },
            21 => Operation::Promote { portal, chain },
            22 => Operation::TurnAway { portal, chain, generation },
            _ => Operation::Remove { portal },
        }
    }

    /// What may be after the operation; which spare makes room is the store's choice.
    pub(super) fn after(&self, operation: &Operation) -> Vec<Self> {
        let mut next = self.clone();
        match *operation {
            Operation::Add { portal, pair, seat } => return next.add(portal, pair, seat),
            Operation::Receive { .. } => {}
            Operation::Intend { portal, chain, generation } => {
                if let Some(found) = next.at(portal, chain, |found| found == generation) {
                    found.intent = true;
                }
            }
            Operation::Commit { portal, chain, generation, pair } => {
                if let Some(found) = next.at(portal, chain, |found| found == generation) {
                    found.rotate(generation + 1, pair);
                    next.raise(portal, generation + 1);
                }
            }
            Operation::Recover { portal, chain, generation, pair } => {
                if let Some(found) = next.at(portal, chain, |found| found <= generation) {
                    found.rotate(generation + 1, pair);
                    next.raise(portal, generation + 1);
                }
            }
            Operation::Fail { portal, chain, generation } => {
                if let Some(found) = next.at(portal, chain, |found| found == generation) {
                    found.intent = false;
                    found.state = State::Suspect;
                }
            }
            Operation::Promote { portal, chain } => {
                if next.sits(portal, chain) == Some(Sits::Spare) {
                    next.activate(portal, chain, false);
                }
            }
            Operation::TakeSeat { portal, chain, generation, seat } => {
                if next.arrives(portal, chain, generation) {
                    return next.take_seat(portal, chain, seat);
                }
            }
            Operation::TurnAway { portal, chain, generation } => {
                if next.arrives(portal, chain, generation) {
                    next.chains.remove(&(portal.to_owned(), chain));
                }
            }
            Operation::Remove { portal } => next.chains.retain(|(name, _), _| name != portal),
        }
        vec![next]
    }

    fn add(mut self, portal: &str, pair: u32, seat: Seat) -> Vec<Self> {
        self.next_chain += 1;
        let generation = self.above_all(portal);
        let sits = match seat {
            Seat::Active { keep_old } => {
                self.unseat(portal, keep_old);
                Sits::Active
            }
            Seat::Spare => Sits::Spare,
            Seat::Arriving => Sits::Arriving,
        };
        let chain = Chain { sits, generation, pair, intent: false, state: State::Connected };
        self.chains.insert((portal.to_owned(), self.next_chain), chain);
        self.with_room(portal)
    }

    fn take_seat(mut self, portal: &str, chain: i64, seat: Seat) -> Vec<Self> {
        match seat {
            Seat::Active { keep_old } => self.activate(portal, chain, keep_old),
            Seat::Spare => {
                if let Some(found) = self.at(portal, chain, |_any| true) {
                    found.sits = Sits::Spare;
                }
            }
            Seat::Arriving => {}
        }
        self.with_room(portal)
    }

    fn activate(&mut self, portal: &str, chain: i64, keep_old: bool) {
        let generation = self.above_all(portal);
        self.unseat(portal, keep_old);
        if let Some(found) = self.at(portal, chain, |_any| true) {
            (found.sits, found.generation, found.intent) = (Sits::Active, generation, false);
        }
    }

    fn sits(&self, portal: &str, chain: i64) -> Option<Sits> {
        self.chains.get(&(portal.to_owned(), chain)).map(|found| found.sits)
    }

    fn arrives(&mut self, portal: &str, chain: i64, generation: u64) -> bool {
        let found = self.at(portal, chain, |found| found == generation);
        found.is_some_and(|found| found.sits == Sits::Arriving)
    }

    fn at(&mut self, portal: &str, chain: i64, right: impl Fn(u64) -> bool) -> Option<&mut Chain> {
        let found = self.chains.get_mut(&(portal.to_owned(), chain));
        found.filter(|found| right(found.generation))
    }

    fn above_all(&mut self, portal: &str) -> u64 {
        let highest = self.highest.entry(portal.to_owned()).or_default();
        *highest += 1;
        *highest
    }

    fn raise(&mut self, portal: &str, generation: u64) {
        let highest = self.highest.entry(portal.to_owned()).or_default();
        *highest = generation.max(*highest);
    }

    fn unseat(&mut self, portal: &str, keep: bool) {
        let active = |name: &str, chain: &Chain| name == portal && chain.sits == Sits::Active;
        self.chains.retain(|(name, _), chain| keep || !active(name, chain));
        for ((name, _), chain) in &mut self.chains {
            if active(name, chain) {
                (chain.sits, chain.intent) = (Sits::Spare, false);
            }
        }
    }

    fn with_room(self, portal: &str) -> Vec<Self> {
        let spare = |(key, chain): (&(String, i64), &Chain)| {
            (key.0 == portal && chain.sits == Sits::Spare).then(|| key.clone())
        };
        let spares: Vec<_> = self.chains.iter().filter_map(spare).collect();
        if spares.len() <= SPARES_MAX {
            return vec![self];
        }
        let without = |key| {
            let mut next = self.clone();
            next.chains.remove(key);
            next
        };
        spares.iter().map(without).collect()
    }
}

impl Chain {
    fn rotate(&mut self, generation: u64, pair: u32) {
        (self.generation, self.pair) = (generation, pair);
        (self.intent, self.state) = (false, State::Connected);
    }
}
