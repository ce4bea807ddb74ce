//! The store against a model of it: random operations, some of them dropped half-way, with reopened
//! stores and power cuts in between.

mod oracle;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;

use futures_poll::poll_some;

use super::corruption::{Dice, copy, quick_home};
use super::*;
use crate::store::Registry as _;
use oracle::{Chain, Model, Operation, Sits};

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
        Operation::TakeSeat { portal, chain, generation, seat } => {
            match store.take_seat(link(portal, chain, generation), seat).await {
                // Any chain may be asked for.
                Err(StoreError::Unknown) => Ok(()),
                outcome => outcome.map(drop),
            }
        }
        Operation::TurnAway { portal, chain, generation } => {
            store.turn_away(link(portal, chain, generation)).await
        }
        Operation::Remove { portal } => store.remove(portal).await,
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
        let active = record.credential.into_iter().map(|chain| (Sits::Active, chain));
        let spares = record.spares.into_iter().map(|chain| (Sits::Spare, chain));
        let arriving = record.arriving.into_iter().map(|chain| (Sits::Arriving, chain));
        for (sits, found) in active.chain(spares).chain(arriving) {
            let found = found.unwrap();
            let pair = found.refresh.expose().strip_prefix("R-canary-").unwrap().parse().unwrap();
            assert!(found.access.matches(&format!("A-canary-{pair}")), "half a pair");
            let (generation, state) = (found.generation.0, found.state);
            let chain = Chain { sits, generation, pair, intent: found.intent_open, state };
            chains.insert((record.portal.clone(), found.chain.0), chain);
        }
    }
    let intents: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM intent").fetch_one(&store.pool).await.unwrap();
    let open = chains.values().filter(|chain| chain.intent).count();
    assert_eq!(usize::try_from(intents).unwrap(), open, "an intent that nobody will settle");
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
