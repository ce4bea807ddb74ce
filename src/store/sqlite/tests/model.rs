//! The store against a model of it: random operations, some of them dropped half-way, with reopened
//! stores and power cuts in between.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;

use futures_poll::poll_some;

use super::corruption::{Dice, copy, quick_home};
use super::*;
use crate::store::SPARES_MAX;

const PORTALS: [&str; 2] = ["acme", "beta"];

/// A chain that is active or spare.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chain {
    active: bool,
    generation: u64,
    /// The number of its pair.
    pair: u32,
    intent: bool,
    state: State,
}

/// What the store should hold: the chains by portal and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    chains: BTreeMap<(String, i64), Chain>,
    /// By portal: no generation is given out twice.
    highest: BTreeMap<String, u64>,
    next_chain: i64,
}

#[derive(Clone, Debug)]
enum Operation {
    Add { portal: &'static str, pair: u32, seat: Seat },
    Intend { portal: &'static str, chain: i64, generation: u64 },
    Receive { portal: &'static str, chain: i64, generation: u64, pair: u32 },
    Commit { portal: &'static str, chain: i64, generation: u64, pair: u32 },
    Recover { portal: &'static str, chain: i64, generation: u64, pair: u32 },
    Fail { portal: &'static str, chain: i64, generation: u64 },
    Promote { portal: &'static str, chain: i64 },
}

impl Model {
    fn random(&self, dice: &mut Dice, pair: u32) -> Operation {
        let portal = PORTALS[dice.roll(2)];
        let mine: Vec<_> = self.chains.iter().filter(|((name, _), _)| name == portal).collect();
        if mine.is_empty() || dice.roll(8) == 0 {
            let seats =
                [Seat::Spare, Seat::Active { keep_old: true }, Seat::Active { keep_old: false }];
            let seat = if mine.is_empty() { seats[2] } else { seats[dice.roll(3)] };
            return Operation::Add { portal, pair, seat };
        }
        let ((_, chain), found) = mine[dice.roll(mine.len())];
        // Sometimes an actor that comes late.
        let late = u64::from(dice.roll(10) == 0);
        let (chain, generation) = (*chain, found.generation.saturating_sub(late));
        match dice.roll(8) {
            0 | 1 => Operation::Intend { portal, chain, generation },
            2 => Operation::Receive { portal, chain, generation: found.generation, pair },
            3 | 4 => Operation::Commit { portal, chain, generation, pair },
            5 => {
                let ahead = u64::try_from(dice.roll(3)).unwrap();
                Operation::Recover { portal, chain, generation: generation + ahead, pair }
            }
            6 => Operation::Fail { portal, chain, generation },
            _ => Operation::Promote { portal, chain },
        }
    }

    /// What may be after the operation; which spare makes room is the store's choice.
    fn after(&self, operation: &Operation) -> Vec<Self> {
        let mut next = self.clone();
        match *operation {
            Operation::Add { portal, pair, seat } => {
                let id = next.next_chain + 1;
                next.next_chain = id;
                let generation = next.above_all(portal);
                if let Seat::Active { keep_old } = seat {
                    next.unseat(portal, keep_old);
                }
                let (active, state) = (seat != Seat::Spare, State::Connected);
                let chain = Chain { active, generation, pair, intent: false, state };
                next.chains.insert((portal.to_owned(), id), chain);
                return next.with_room(portal);
            }
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
                let generation = next.above_all(portal);
                next.unseat(portal, false);
                let key = (portal.to_owned(), chain);
                let found = self.chains.get(&key).cloned();
                let found =
                    found.map(|old| Chain { active: true, generation, intent: false, ..old });
                next.chains.extend(found.map(|found| (key, found)));
            }
        }
        vec![next]
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
        for ((name, _), chain) in &mut self.chains {
            if name == portal && chain.active {
                // A spare from now on; or to be dropped below.
                chain.active = false;
                chain.intent = false;
                chain.generation = if keep { chain.generation } else { 0 };
            }
        }
        self.chains.retain(|_, chain| chain.generation > 0);
    }

    fn with_room(self, portal: &str) -> Vec<Self> {
        let spare = |(key, chain): (&(String, i64), &Chain)| {
            (key.0 == portal && !chain.active).then(|| key.clone())
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

async fn apply(store: &SqliteStore, operation: &Operation) {
    let link = |portal, chain, generation| Link {
        portal,
        chain: ChainId(chain),
        generation: Generation(generation),
    };
    let outcome = match *operation {
        Operation::Add { portal, pair, seat } => {
            store.add(portal, &grant(pair), seat).await.map(drop)
        }
        Operation::Intend { portal, chain, generation } => {
            store.intend(link(portal, chain, generation)).await
        }
        Operation::Receive { portal, chain, generation, pair } => {
            store.receive(link(portal, chain, generation), &brings(pair)).await
        }
        Operation::Commit { portal, chain, generation, pair } => {
            store.commit(link(portal, chain, generation), &grant(pair)).await.map(drop)
        }
        Operation::Recover { portal, chain, generation, pair } => {
            store.recover(link(portal, chain, generation), &grant(pair)).await.map(drop)
        }
        Operation::Fail { portal, chain, generation } => {
            store.fail(link(portal, chain, generation), &State::Suspect).await
        }
        Operation::Promote { portal, chain } => {
            store.promote(portal, ChainId(chain)).await.map(drop)
        }
    };
    match outcome {
        Ok(()) | Err(StoreError::Superseded(_)) => {}
        Err(error) => panic!("{operation:?}: {error:?}"),
    }
}

/// The chains as the store shows them.
async fn view(store: &SqliteStore) -> BTreeMap<(String, i64), Chain> {
    let mut chains = BTreeMap::new();
    for record in store.load().await.unwrap() {
        let active = record.credential.into_iter().map(|chain| (true, chain));
        let spares = record.spares.into_iter().map(|chain| (false, chain));
        for (active, found) in active.chain(spares) {
            let found = found.unwrap();
            let pair = found.refresh.expose().strip_prefix("R-canary-").unwrap().parse().unwrap();
            assert!(found.access.matches(&format!("A-canary-{pair}")), "half a pair");
            let (generation, state) = (found.generation.0, found.state);
            let chain = Chain { active, generation, pair, intent: found.intent_open, state };
            chains.insert((record.portal.clone(), found.chain.0), chain);
        }
    }
    chains
}

/// A copy of the files as they lay at one moment: what was dropped half-way may still be going on.
fn still(path: &Path) -> Home {
    loop {
        let home = quick_home();
        copy(path, &home.path());
        let same = |name: &str| {
            let [here, there] = [path.join(name), home.path().join(name)].map(fs::read);
            here.ok() == there.ok()
        };
        if same("b24gate.db") && same("b24gate.db-wal") && same("b24gate.db") {
            return home;
        }
    }
}

/// Opens a copy of the files, as they lie after a power cut, without the database if `lost`.
async fn after_power_cut(
    path: &Path,
    log: Option<usize>,
    lost: bool,
    models: &[Model],
    what: &str,
) {
    let cut = still(path);
    let written = cut.path().join("b24gate.db-wal");
    if let Some(log) = log
        && let Ok(bytes) = fs::read(&written)
    {
        fs::write(&written, &bytes[..log.min(bytes.len())]).unwrap();
    }
    if lost {
        fs::remove_file(cut.database()).unwrap();
        fs::remove_file(written).unwrap_or_default();
    }
    let (_state, store) = cut.open().await;
    let found = view(&store).await;
    if !lost {
        assert!(models.iter().any(|model| model.chains == found), "{what}: {found:?}, {models:?}");
        return;
    }
    assert!(found.is_empty());
    for ((portal, _), chain) in &models[0].chains {
        let held = answers(&store, portal).await;
        let there = held.iter().any(|found| !found.ours && holds(found, chain.pair));
        assert!(there, "{what}: pair {} of {portal} is not in the journal", chain.pair);
    }
}

async fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let home = quick_home();
    let (mut state, mut store) = home.open().await;
    let mut model = Model::default();
    // The pairs in slots that no commit followed: the pair before is in its row only.
    let mut received = BTreeMap::new();
    for step in 0..30 {
        let pair = u32::try_from(step).unwrap() + 1;
        let mut operation = model.random(&mut dice, pair);
        if let Operation::Commit { chain, ref mut pair, .. } = operation {
            // What is committed is what was received, when something was.
            *pair = received.get(&chain).copied().unwrap_or(*pair);
        }
        let what = format!("seed {seed}, step {step}, {operation:?}");
        let mut after = model.after(&operation);
        let log = home.path().join("b24gate.db-wal");
        let acknowledged = fs::metadata(&log).map_or(0, |log| log.len());
        if dice.roll(4) == 0 {
            let whole = poll_some(apply(&store, &operation), dice.roll(6)).await;
            if !whole {
                after.insert(0, model.clone());
            }
            let grown = usize::try_from(fs::metadata(&log).map_or(0, |log| log.len())).unwrap();
            let sure = usize::try_from(acknowledged).unwrap();
            let cut = if whole { grown } else { sure + dice.roll(grown.max(sure) - sure + 1) };
            after_power_cut(&home.path(), Some(cut), false, &after, &what).await;
        } else {
            apply(&store, &operation).await;
        }
        if dice.roll(5) == 0 {
            drop(store);
            drop(state);
            (state, store) = home.open().await;
        }
        let found = view(&store).await;
        let next = after.into_iter().find(|after| after.chains == found);
        let next = next.unwrap_or_else(|| panic!("{what}: {found:?} after {model:?}"));
        if let Operation::Receive { chain, pair, .. } = operation {
            received.insert(chain, pair);
        }
        let rotated = |chain: &i64| {
            let key = |(_, id): &&(String, i64)| id == chain;
            let generation = |model: &Model| {
                model.chains.keys().find(key).map(|key| model.chains[key].generation)
            };
            generation(&model) != generation(&next)
        };
        received.retain(|chain, _| !rotated(chain));
        model = next;
        if dice.roll(4) == 0 {
            after_power_cut(&home.path(), None, false, std::slice::from_ref(&model), &what).await;
            let mut sure = model.clone();
            sure.chains.retain(|(_, chain), _| !received.contains_key(chain));
            after_power_cut(&home.path(), None, true, &[sure], &what).await;
        }
    }
    drop((state, store));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_store_holds_what_it_acknowledged_and_nothing_half_done() {
    for seed in 1..=24 {
        run(seed).await;
    }
}

mod futures_poll {
    use super::{Future, pin};

    /// Polls a few times, then drops; whether it came to its end.
    pub(super) async fn poll_some(future: impl Future<Output = ()>, times: usize) -> bool {
        let mut future = pin!(future);
        let mut left = times;
        std::future::poll_fn(|context| {
            if future.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(true);
            }
            if left == 0 {
                return std::task::Poll::Ready(false);
            }
            left -= 1;
            std::task::Poll::Pending
        })
        .await
    }
}
