//! The refresh protocol against everything that can happen around it.
//!
//! The code under test is the gateway's own; what is simulated is the disk and the OAuth server. An
//! oracle decides at each step (write, exchange) what goes wrong, and all combinations of a few
//! faults are run, one after another.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]

mod arrivals;
mod disk;
mod oracle;
mod world;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use b24gate::config::{App, Endpoint};
use b24gate::credential::{
    Credential, Custody, Generation, OAuth, Secret, State, Token, Unavailable,
};
use b24gate::store::Store as _;
use b24gate::transport::Connector;
use tokio::runtime::{Builder, Handle, Runtime};

use oracle::Oracle;
use world::{Rules, World};

/// How often a fresh token is wanted in a run.
const WANTED: usize = 3;

/// Longer than any hold.
const LATER: Duration = Duration::from_hours(7);

const QUIET: Rules = Rules { strict: true, reuse_kills: false, crashes: true, shared: false };

#[test]
fn with_a_server_that_forgives_no_two_faults_lose_the_chain() {
    let rules = Rules { strict: false, ..QUIET };
    let runs = explore(2, rules, 0, |world, end| {
        assert!(end.served, "no token in the end");
        assert!(world.lock().is_alive());
    });
    assert!(runs > 500, "{runs} runs");
}

#[test]
fn with_a_strict_server_the_chain_is_lost_only_with_an_answer_that_was_never_written_down() {
    let rules = Rules { reuse_kills: true, ..QUIET };
    let runs = explore(2, rules, 0, strict_end);
    assert!(runs > 500, "{runs} runs");
}

#[test]
fn three_faults_are_no_worse_than_two() {
    explore(3, QUIET, 0, strict_end);
}

#[test]
fn a_spare_serves_when_the_chain_in_use_is_lost() {
    // One fault loses at most one chain.
    let runs = explore(1, QUIET, 1, |world, end| {
        assert!(end.served, "no token in the end");
        assert!(world.lock().is_alive());
    });
    assert!(runs > 50, "{runs} runs");
    explore(2, QUIET, 2, |_, end| assert!(end.served, "no token in the end"));
}

#[test]
fn two_processes_on_one_store_end_with_a_living_chain() {
    for strict in [true, false] {
        let rules = Rules { strict, crashes: false, shared: true, reuse_kills: false };
        let runs = explore(2, rules, 0, |world, end| {
            let alive = world.lock().is_alive();
            let lost = world.lock().oracle.story.iter().any(|step| was_lost(step));
            if !strict || !lost {
                assert!(alive && end.served, "alive: {alive}, served: {}", end.served);
            }
        });
        assert!(runs > 100, "{runs} runs");
    }
}

/// Either it serves, or the server's answer was never on the disk, and the state says so.
fn strict_end(world: &World, end: &End) {
    let alive = world.lock().is_alive();
    assert_eq!(end.served, alive, "a living chain serves, a dead one does not");
    if alive {
        return;
    }
    assert!(matches!(end.state, State::Dead { .. }), "{:?}", end.state);
    let story = &world.lock().oracle.story;
    let lost = story.iter().any(|step| was_lost(step));
    assert!(lost, "no answer was lost, and yet the chain is");
}

/// Whether the server's answer can have got lost in this step.
fn was_lost(step: &str) -> bool {
    let exchange = step.starts_with("exchange");
    (exchange && ["answer lost", "answer cut", "crash after"].iter().any(|it| step.ends_with(it)))
        || (step.starts_with("receive")
            && ["crash before", "disk full"].iter().any(|it| step.ends_with(it)))
}

/// How a run ended.
struct End {
    served: bool,
    state: State,
}

/// Runs everything that at most `faults` faults can do.
fn explore(faults: usize, rules: Rules, spares: i64, check: impl Fn(&World, &End)) -> usize {
    explore_with(faults, rules, spares, |world| {
        let end = run(world);
        check(world, &end);
    })
}

/// The same with another course of events.
fn explore_with(faults: usize, rules: Rules, spares: i64, run: impl Fn(&World)) -> usize {
    let mut runs = 0;
    let mut next = Some(Oracle::first(faults));
    while let Some(oracle) = next {
        runs += 1;
        assert!(runs < 200_000, "this does not end");
        let world = World::new(oracle, rules, spares);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&world);
            let violations = std::mem::take(&mut world.lock().violations);
            assert!(violations.is_empty(), "{violations:#?}");
            let exchanges = world.lock().exchanges;
            assert!(exchanges <= 40, "{exchanges} exchanges");
        }));
        assert!(outcome.is_ok(), "run {runs}, {rules:?}:\n{:#?}", world.lock().oracle.story);
        next = world.into_oracle().next(faults);
    }
    println!("{runs} runs of at most {faults} faults, {rules:?}, {spares} spares");
    runs
}

/// One run: fresh tokens are wanted again and again, through crashes; then nothing goes wrong any
/// more, and one is wanted once more.
fn run(world: &World) -> End {
    let mut done = 0;
    while done < WANTED {
        let runtime = runtime();
        let killed = runtime.block_on(async {
            let life = live(world, &mut done);
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
    end(world)
}

async fn live(world: &World, done: &mut usize) {
    let mut processes = vec![process(world).await];
    if world.lock().rules.shared {
        processes.push(process(world).await);
    }
    while *done < WANTED {
        let wanted = processes.iter().map(|it| want(world, it));
        let tasks: Vec<_> = wanted.map(Box::pin).collect();
        for outcome in join_all(tasks).await {
            drop(outcome);
        }
        *done += 1;
        tokio::time::sleep(LATER).await;
    }
    for (custody, _) in &processes {
        custody.flights().wait_idle(LATER).await;
    }
    if processes.len() > 1 {
        let rest = world.lock().oracle.rest();
        for process in &processes {
            let served = is_served(world, process).await;
            world.lock().starving |= !served;
        }
        world.lock().oracle.resume(rest);
    }
}

/// Whether it gets a fresh token, now or when its holds are over.
async fn is_served(world: &World, process: &Process) -> bool {
    for _ in 0..3 {
        if want(world, process).await.is_ok() {
            return true;
        }
        tokio::time::sleep(LATER).await;
    }
    false
}

/// A few attempts without a fault, as after a mend.
fn end(world: &World) -> End {
    let rest = world.lock().oracle.rest();
    let runtime = runtime();
    let end = runtime.block_on(async {
        let process = process(world).await;
        let served = is_served(world, &process).await && !world.lock().starving;
        End { served, state: process.1.state().state.clone() }
    });
    world.lock().oracle.resume(rest);
    end
}

type Process = (Arc<Custody>, Arc<Credential>);

async fn process(world: &World) -> Process {
    let oauth = oauth();
    let custody = Custody::new(Arc::new(world.clone()), oauth, Handle::current());
    let custody = Arc::new(custody.with_endpoint(Arc::new(world.clone())));
    let record = world.load().await.unwrap().pop();
    let credential = Credential::open("acme".to_owned(), app(), Arc::clone(&custody), record).await;
    (custody, credential)
}

/// The portal has just said that the token in use is of no use any more.
async fn want(world: &World, process: &Process) -> Result<Arc<Token>, Unavailable> {
    let seen = process.1.current().as_ref().map_or(Generation(0), |token| token.generation);
    let token = process.1.renew(seen).await?;
    assert!(token.generation > seen, "not newer");
    token.mark_accepted();
    let access = token.access.expose();
    let latest = world.lock().is_latest(access);
    let durable = world.lock().is_durable(access);
    let rules = world.lock().rules;
    assert!(latest || rules.shared || !rules.strict, "{access} is old");
    assert!(durable || process.1.state().memory_only, "{access} is lent and nowhere written");
    Ok(token)
}

async fn join_all<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut outcomes = Vec::new();
    let mut futures = futures.into_iter();
    if let (Some(first), second) = (futures.next(), futures.next()) {
        match second {
            Some(second) => {
                let (first, second) = tokio::join!(first, second);
                outcomes.extend([first, second]);
            }
            None => outcomes.push(first.await),
        }
    }
    outcomes
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Not asked in these tests; made once, because it reads the system's certificates.
fn oauth() -> OAuth {
    static OAUTH: OnceLock<OAuth> = OnceLock::new();
    OAUTH.get_or_init(|| OAuth::new(Connector::new(None).unwrap())).clone()
}

fn app() -> Arc<App> {
    Arc::new(App {
        name: "main".to_owned(),
        client_id: "local.5f".to_owned(),
        client_secret: Secret::new("S"),
        oauth_server: Endpoint { tls: true, host: "oauth.invalid".to_owned(), port: 443 },
        scope: None,
        redirect_uri: None,
        accept_installs: false,
    })
}
