//! A pair arrives in the middle of it all, brought by somebody who keeps a copy.

use std::sync::Arc;

use b24gate::credential::{IntakeError, Replace};

use crate::world::{ARRIVAL, Rules, World};
use crate::{LATER, Process, QUIET, explore_with, is_served, process, runtime, want, was_lost};

/// What the portal has when the pair arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// A chain in use.
    Connected,
    /// Nothing.
    Nothing,
}

#[test]
fn an_arriving_pair_is_never_lost_and_never_harms_the_chain_in_use() {
    for rules in [QUIET, Rules { reuse_kills: true, ..QUIET }, Rules { strict: false, ..QUIET }] {
        for (before, replace) in [
            (Before::Connected, Replace::No),
            (Before::Connected, Replace::Yes),
            (Before::Nothing, Replace::No),
        ] {
            let runs = arrivals(2, rules, before, replace);
            assert!(runs > 500, "{runs} runs");
        }
    }
}

#[test]
fn three_faults_do_not_lose_the_pair_of_a_portal_that_has_no_other() {
    let rules = Rules { reuse_kills: true, ..QUIET };
    arrivals(3, rules, Before::Nothing, Replace::No);
}

fn arrivals(faults: usize, rules: Rules, before: Before, replace: Replace) -> usize {
    explore_with(faults, rules, 0, |world| {
        if before == Before::Nothing {
            world.lock().chains.clear();
        }
        run(world, replace);
        check(world, before, replace);
    })
}

/// A token is wanted, a pair is brought until somebody says what has become of it, and a token is
/// wanted again; through crashes. Then nothing goes wrong any more.
fn run(world: &World, replace: Replace) {
    let mut done = 0;
    while done < 3 {
        let runtime = runtime();
        let killed = runtime.block_on(async {
            let life = live(world, replace, &mut done);
            tokio::select! {
                biased;
                () = world.crashed() => true,
                () = life => false,
            }
        });
        // What the process knew is gone with it.
        drop(runtime);
        if !killed {
            break;
        }
    }
    let rest = world.lock().oracle.rest();
    runtime().block_on(async {
        let process = process(world).await;
        settle(&process).await;
        let served = is_served(world, &process).await;
        world.lock().starving = !served;
    });
    world.lock().oracle.resume(rest);
}

async fn live(world: &World, replace: Replace, done: &mut usize) {
    let process = process(world).await;
    while *done < 3 {
        if *done == 1 {
            bring(world, replace, &process).await;
        } else {
            drop(want(world, &process).await);
        }
        *done += 1;
        tokio::time::sleep(LATER).await;
    }
    // Nobody brings or wants anything any more, and nothing goes wrong; what is left is done all the
    // same, and without a restart.
    let rest = world.lock().oracle.rest();
    settle(&process).await;
    let served = is_served(world, &process).await;
    let mut inside = world.lock();
    if inside.chains.values().any(|row| row.arriving) {
        inside.violated("something arrives for ever".to_owned());
    }
    let active = inside.chains.values().find(|row| row.active).map(|row| row.number);
    let lent = process.1.current().as_ref().map(|token| token.access.expose().to_owned());
    if served && lent != active.map(|number| format!("A{number}")) {
        inside.violated(format!("{lent:?} is lent, and {active:?} is in use"));
    }
    inside.oracle.resume(rest);
}

/// Somebody reloads the page until it says what has become of the pair.
async fn bring(world: &World, replace: Replace, process: &Process) {
    for _ in 0..8 {
        let credential = Arc::clone(&process.1);
        match credential.adopt_exchanged(world.bring(), replace).await {
            Ok(_) | Err(IntakeError::Refused(_)) => return,
            Err(IntakeError::Exchange(failure)) if !failure.is_passing() => return,
            Err(IntakeError::Exchange(_) | IntakeError::Store(_)) => {}
        }
        tokio::time::sleep(LATER).await;
    }
    world.lock().violated("nobody says what has become of the pair".to_owned());
}

/// As often as it takes for everything that is kept waiting.
async fn settle(process: &Process) {
    let (custody, credential) = process;
    for _ in 0..4 {
        credential.tend(None);
        custody.flights().wait_idle(LATER).await;
        tokio::time::sleep(LATER).await;
    }
}

fn check(world: &World, before: Before, replace: Replace) {
    let inside = world.lock();
    let arrived = inside.chains.get(&ARRIVAL);
    let lost = |chain: i64| {
        let of = |step: &&String| {
            let exchange = step.starts_with(&format!("exchange R{chain}"));
            let written = step.starts_with(&format!("receive {chain}:"));
            (exchange || written) && was_lost(step)
        };
        inside.oracle.story.iter().find(of).cloned()
    };
    if let Some(row) = arrived {
        assert!(!row.arriving, "it has neither a seat nor was it turned away");
        let seated = row.active || row.spare;
        if inside.lives(ARRIVAL) {
            assert!(seated, "a living pair was turned away");
            assert!(inside.exchanged(ARRIVAL) > 0, "seated with the pair that was brought");
        } else {
            assert!(lost(ARRIVAL).is_some(), "no answer was lost, and yet the pair is");
        }
    }
    let living_arrival = arrived.is_some() && inside.lives(ARRIVAL);
    if before == Before::Nothing {
        assert_eq!(!inside.starving, living_arrival, "served by what arrived");
        return;
    }
    let first = &inside.chains[&1];
    assert!(inside.lives(1) || lost(1).is_some(), "no answer was lost, and yet the chain is");
    if inside.lives(1) {
        let takes_its_place = replace == Replace::Yes && living_arrival;
        // A doubt may have made it look dead before; then the other one is in its place.
        assert!(first.active || first.spare || takes_its_place || lost(1).is_some());
    }
    let serves = inside.lives(1) && (first.active || first.spare) || living_arrival;
    assert_eq!(!inside.starving, serves, "a living chain serves");
}
