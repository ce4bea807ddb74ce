//! A gateway under load that is killed again and again, at any moment and most of all around
//! renewals, and is started again at once. Nothing that it has answered may turn out wrong, and no
//! pair may be lost that it had.
//!
//! `B24GATE_SOAK_KILLS` (20) says how often, `B24GATE_SOAK_SEED` which of the possible runs; a seed
//! fixes what is decided, not how the machine takes its turns. `scripts/soak` runs the long form.

mod clients;
mod dice;
mod remains;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use b24gate::sandbox::{Options, Rotation, Sandbox};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{sleep, timeout};

use crate::support::Setup;
use crate::support::calls::until;
use crate::support::chain::{self, Event};
use crate::support::http;

use clients::{Fate, Gateway, Seen};
use dice::Dice;
use remains::Remains;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_server_that_forgives_serves_the_one_chain_after_any_number_of_kills() {
    let run = Box::pin(soak("lenient", Rotation::Lenient)).await;
    assert!(run.events.iter().all(|event| event.chain == 1), "no chain but the first was used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_strict_server_costs_a_spare_at_most_for_an_answer_that_no_gateway_could_keep() {
    let run = Box::pin(soak("strict", Rotation::Strict)).await;
    // Nobody but the crash has taken a chain.
    let used: BTreeSet<u64> = run.presentations().map(|event| event.chain).collect();
    assert!(used.len() <= 1 + run.windows, "{} chains, {} windows", used.len(), run.windows);
}

/// When a gateway is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after it was started.
    Starting(u64),
    /// This long after it began to listen.
    Anywhere(u64),
    /// This long after its access token expired.
    AfterExpiry(u64),
}

/// A run, and what is counted in it.
struct Run {
    variant: &'static str,
    seed: u64,
    portal: Sandbox,
    setup: Setup,
    client_secret: String,
    dice: Dice,
    gateway: watch::Sender<Gateway>,
    events: Vec<Event>,
    /// The places of exchanges whose answer was nowhere when the gateway was killed.
    ambiguous: BTreeSet<usize>,
    kills: u64,
    /// How often a kill came between the server's commit and the gateway's receipt.
    windows: usize,
    spares: u64,
}

async fn soak(variant: &'static str, rotation: Rotation) -> Run {
    let kills = number("B24GATE_SOAK_KILLS").unwrap_or(20);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("B24GATE_SOAK_SEED").unwrap_or_else(|| clock.subsec_nanos().into());
    println!("soak: {variant}, seed {seed}: begins");
    let options = Options { rotation, token_ttl: TTL, ..Options::default() };
    let portal = Sandbox::start(options).await.unwrap();
    // Not at the log's loudest: what a call says of itself would only be more of the same.
    let first = portal.seed();
    let setup = Setup::of(&first).log_level("debug");
    setup.write();
    block_in_place(|| setup.import(&first));
    let gateway = watch::Sender::new(Gateway::Down);
    let dice = Dice::new(seed ^ u64::from(rotation == Rotation::Strict) << 32);
    let mut run = Run {
        variant,
        seed,
        portal,
        setup,
        client_secret: first.client_secret,
        dice,
        gateway,
        events: Vec::new(),
        ambiguous: BTreeSet::new(),
        kills: 0,
        windows: 0,
        spares: 0,
    };
    let limit = Duration::from_mins(1) + Duration::from_secs(5) * u32::try_from(kills).unwrap();
    Box::pin(timeout(limit, run.run(kills))).await.expect("the soak ends in time");
    run
}

impl Run {
    async fn run(&mut self, kills: u64) {
        self.refill(&remains::inspect(&self.setup.state()).await).await;
        let clients =
            (0..CLIENTS).map(|it| clients::start(it, self.seed, self.gateway.subscribe()));
        let clients: Vec<JoinHandle<Seen>> = clients.collect();
        while self.kills < kills {
            self.live_and_die().await;
        }
        self.live_to_the_end(clients).await;
    }

    /// One gateway, from its start to its end by a kill.
    async fn live_and_die(&mut self) {
        let begun = chain::history(&self.portal).len();
        let moment = self.next_moment();
        self.hold_up_oauth().await;
        // The thread stands still between the journal and the database, so that kills fall there.
        let pause = self.dice.below(PAUSE_MS);
        let setup =
            self.setup.clone().env("B24GATE_FAILPOINT", &format!("{RECEIVED}=sleep:{pause}"));
        let mut gate = block_in_place(|| setup.launch());
        if let Moment::Starting(ms) = moment {
            sleep(Duration::from_millis(ms)).await;
        } else {
            block_in_place(|| gate.wait_until_it_listens());
            self.gateway.send_replace(Gateway::At(gate.address));
            self.wait_for(moment).await;
        }
        let log = block_in_place(|| gate.kill_for_log());
        self.kills += 1;
        self.gateway.send_replace(Gateway::Down);
        let state = || self.portal.control().state();
        // What the dead had sent is read and answered by now.
        let open = || state()["counters"]["connections_open"] != 0;
        until("the sandbox notices the death", || !open()).await;
        self.search(&log);
        self.settle_accounts(begun, &log).await;
    }

    fn next_moment(&mut self) -> Moment {
        match self.dice.below(8) {
            0..4 => Moment::AfterExpiry(self.dice.below(31)),
            4..7 => Moment::Anywhere(self.dice.below(TTL_MS + 200)),
            _ => Moment::Starting(self.dice.below(150)),
        }
    }

    async fn wait_for(&self, moment: Moment) {
        match moment {
            Moment::Starting(ms) | Moment::Anywhere(ms) => sleep(Duration::from_millis(ms)).await,
            Moment::AfterExpiry(ms) => {
                // A token that had expired before the start is renewed first.
                sleep(Duration::from_millis(100)).await;
                let state = self.portal.control().state();
                let left = state["live_access_tokens"][0]["left_ms"].as_u64().unwrap_or(0);
                sleep(Duration::from_millis(left + ms)).await;
            }
        }
    }

    /// The OAuth server takes a while to answer after its commit; now and then it is not there at
    /// first, so that calls are refused.
    async fn hold_up_oauth(&mut self) {
        let mut faults = vec![json!({"mode": "slow", "ms": self.dice.below(SLOW_MS)})];
        if self.dice.below(4) == 0 {
            faults.push(json!({"mode": "down", "ms": 2 * TTL_MS}));
        }
        self.portal.control().clear_faults().await;
        self.portal.control().fault(&json!({"oauth": faults})).await.unwrap();
    }

    /// Finds out what the kill has left in doubt. `begun`: where the history of this gateway begins.
    async fn settle_accounts(&mut self, begun: usize, log: &str) {
        self.events = chain::history(&self.portal);
        let remains = remains::inspect(&self.setup.state()).await;
        let own = || self.events.iter().enumerate().skip(begun);
        let presented = own().filter(|(_, event)| event.presented.is_some());
        if let Some((at, last)) = presented.clone().next_back() {
            let reached =
                |line: &&str| line.contains("failpoint reached") && line.contains(RECEIVED);
            let received = log.lines().filter(reached).count();
            assert!(received <= presented.clone().count(), "{log}");
            let received_last = received == presented.count();
            let in_doubt = match &last.issued {
                Some(issued) => {
                    let kept = remains.refresh.contains(issued);
                    assert!(
                        kept || !received_last,
                        "seed {}, kill {}: the gateway went on with an answer that is nowhere on \
                         the disk: {last:?}\n{log}",
                        self.seed,
                        self.kills
                    );
                    self.windows += usize::from(!kept);
                    !kept
                }
                // A refusal has no trace until a spare has the place of the refused.
                None => last.presented.as_ref() == Some(&remains.active),
            };
            if in_doubt {
                self.ambiguous.insert(at);
            }
        }
        self.refill(&remains).await;
    }

    /// On a strict server, a spare waits.
    async fn refill(&mut self, remains: &Remains) {
        let strict = self.portal.control().switches().rotation == Rotation::Strict;
        if strict && remains.spares == 0 {
            remains::add_spare(&self.setup.state(), &self.portal.seed()).await;
            self.spares += 1;
        }
    }

    /// The last gateway serves without a human, and everything before it adds up.
    async fn live_to_the_end(&mut self, clients: Vec<JoinHandle<Seen>>) {
        let begun = chain::history(&self.portal).len();
        self.portal.control().clear_faults().await;
        let gate = block_in_place(|| self.setup.start());
        self.gateway.send_replace(Gateway::At(gate.address));
        self.wait_for(Moment::AfterExpiry(50)).await;
        let is_served = async {
            while http::get(gate.address, "/rest/profile").await.status != 200 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let served = timeout(crate::support::PATIENCE, is_served).await;
        assert!(served.is_ok(), "seed {}: not served in the end\n{}", self.seed, gate.log());
        self.gateway.send_replace(Gateway::Gone);
        let mut seen = Seen::default();
        for client in clients {
            let Seen { writes, answered } = client.await.unwrap();
            seen.writes.extend(writes);
            seen.answered += answered;
        }
        let (status, log) = block_in_place(|| gate.stop());
        assert!(status.success());
        self.search(&log);
        let doubts = self.ambiguous.len();
        self.settle_accounts(begun, "").await;
        assert_eq!(self.ambiguous.len(), doubts, "who is asked to stop leaves nothing in doubt");
        self.check_history(&seen);
        self.check_writes(&seen);
    }

    fn presentations(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.presented.is_some())
    }

    /// What was presented is what was issued, and as often as tokens expire.
    fn check_history(&self, seen: &Seen) {
        let tally = chain::check(&self.events, &self.ambiguous);
        let tally = tally.unwrap_or_else(|problem| panic!("seed {}: {problem}", self.seed));
        let ttl = TTL_MS - 1;
        let expiries = tally.ages.iter().filter(|age| **age >= ttl).count() as u64;
        let presented = self.presentations().count() as u64;
        println!(
            "soak: {}, seed {}: {} kills, {} restarts, {} calls answered, {} writes checked ({} \
             answered, {} refused, {} unknown), {presented} exchanges, {expiries} expiries, {} \
             repeats, {} windows hit, {} spares added",
            self.variant,
            self.seed,
            self.kills,
            self.kills,
            seen.answered,
            seen.writes.len(),
            seen.count(Fate::Ran),
            seen.count(Fate::NotRun),
            seen.count(Fate::Unknown),
            tally.repeats,
            self.windows,
            self.spares,
        );
        // The stored expiry is in whole seconds: a start may take a token for older than it is.
        let due = expiries + self.kills + tally.repeats;
        assert!(presented <= due, "{presented} exchanges, {due} due");
        assert!(expiries > 0, "nothing has expired in this run");
    }

    fn check_writes(&self, seen: &Seen) {
        let runs = self.portal.control().marked_executions();
        let name = |mark: &str| format!("crm.deal.add id={mark}");
        for (mark, fate) in &seen.writes {
            let ran = runs.get(&name(mark)).copied().unwrap_or(0);
            let sound = match fate {
                Fate::Ran => ran == 1,
                Fate::NotRun => ran == 0,
                Fate::Unknown => ran <= 1,
            };
            assert!(sound, "seed {}: write {mark} ran {ran} times, told: {fate:?}", self.seed);
        }
        let sent: BTreeSet<String> = seen.writes.keys().map(|mark| name(mark)).collect();
        let strange = runs.keys().find(|ran| !sent.contains(*ran));
        assert_eq!(strange, None, "nobody has sent this");
        assert!(seen.count(Fate::Ran) > 100, "{} writes answered", seen.count(Fate::Ran));
    }

    /// No token in the log.
    fn search(&self, log: &str) {
        assert!(!log.contains(&self.client_secret), "the client secret is in the log");
        let tokens = self.portal.control().tokens();
        let tails: BTreeSet<&str> =
            tokens.iter().map(|token| &token[token.len() - TAIL..]).collect();
        let lower = log.to_ascii_lowercase();
        let mut digits = 0;
        for (at, byte) in lower.bytes().enumerate() {
            digits = if byte.is_ascii_hexdigit() { digits + 1 } else { 0 };
            let tail = (digits >= TAIL).then(|| &lower[at + 1 - TAIL..=at]);
            assert!(!tail.is_some_and(|tail| tails.contains(tail)), "a token is in the log");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

const CLIENTS: u64 = 4;
const TTL: Duration = Duration::from_millis(TTL_MS);
const TTL_MS: u64 = 900;
const SLOW_MS: u64 = 20;
/// The failpoint behind the journal.
const RECEIVED: &str = "after_receive";
const PAUSE_MS: u64 = 25;
/// The random end of a token, in hexadecimal digits; all tokens of a portal begin alike.
const TAIL: usize = 32;
