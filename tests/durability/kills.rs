//! The gateway is killed at every step of a refresh and started again: the chain lives on, but for
//! one moment in which nobody can know what a strict server has done.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::calls::{
    assert_refused, begin, fault, herd, profile, shown, token_requests, until,
};
use crate::support::connected::{Chain, Server};
use crate::support::trace::{Files, Trace, calls, most_calls, slot};
use crate::support::{Gate, Setup, http};

/// When the gateway died, which decides what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The OAuth server has not acted.
    Before,
    /// It has, and nothing of its answer is on the disk.
    Window,
    /// The answer is on the disk.
    Received,
}

/// Kills that were made, by moment, and those after which the chain was alive.
#[derive(Debug, Default)]
struct Tally(Mutex<Vec<(Moment, bool)>>);

impl Tally {
    fn note(&self, moment: Moment, alive: bool) {
        self.0.lock().unwrap().push((moment, alive));
    }

    fn kills(&self, moment: Moment) -> usize {
        self.0.lock().unwrap().iter().filter(|(it, _)| *it == moment).count()
    }

    fn print(&self, what: &str) {
        let all = self.0.lock().unwrap();
        for moment in [Moment::Before, Moment::Window, Moment::Received] {
            let of_it: Vec<_> = all.iter().filter(|(it, _)| *it == moment).collect();
            let alive = of_it.iter().filter(|(_, alive)| *alive).count();
            eprintln!("{what}: {moment:?}: {} kills, {alive} survived", of_it.len());
        }
    }
}

/// What a restart on the state that a kill has left must be like; says whether the chain lives.
async fn check_restart(chain: &Chain, moment: Moment, setup: &Setup) -> bool {
    let (asked, exchanges) = (chain.asked(), chain.exchanges());
    assert_eq!(exchanges, u64::from(moment != Moment::Before), "{moment:?}");
    let gate = setup.start();
    match (moment, chain.server) {
        (Moment::Received, _) => {
            assert_eq!(profile(&gate).await.status, 200);
            assert_eq!(chain.asked(), asked, "what was received is enough");
            chain.assert_alive(&gate).await;
            chain.assert_history(0);
        }
        (Moment::Before, _) | (Moment::Window, Server::Lenient) => {
            assert_eq!(profile(&gate).await.status, 200);
            assert_eq!((chain.asked(), chain.exchanges()), (asked + 1, exchanges + 1));
            chain.assert_alive(&gate).await;
            chain.assert_history(usize::from(moment == Moment::Window));
        }
        (Moment::Window, Server::StrictWithSpare) => {
            assert_eq!(profile(&gate).await.status, 200, "the first caller gets the spare");
            assert_eq!((chain.asked(), chain.exchanges()), (asked + 2, exchanges + 1));
            chain.assert_alive(&gate).await;
            chain.assert_history(1);
        }
        (Moment::Window, Server::Strict) => {
            check_dead(chain, gate).await;
            return false;
        }
    }
    true
}

/// The one case in which a human is needed: said as it is, without a circle, with everything kept.
async fn check_dead(chain: &Chain, gate: Gate) {
    let asked = chain.asked();
    for answer in herd(gate.address, 10, "/rest/profile").await {
        assert_refused(&answer, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    for _ in 0..5 {
        assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    // Once by itself, or for the first caller; the next attempt is hours away.
    assert!(chain.asked() <= asked + 1, "asked in a circle");
    assert_eq!(chain.asked(), 2, "the one that was killed, and one more");
    assert_eq!(shown(&gate, "state").as_deref(), Some("dead"));
    assert_eq!(shown(&gate, "generation").as_deref(), Some("1"));

    // The token is kept: whoever starts again may try it again.
    let gate = gate.kill().start();
    assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    let presented = token_requests(&chain.portal);
    assert_eq!(presented.len(), 3);
    assert!(presented.iter().all(|it| it.body_sha256 == presented[0].body_sha256));
    gate.setup().import(&chain.portal.seed());
    chain.assert_alive(&gate).await;
}

/// Kills the gateway at a failpoint, in both ways, in front of each of `servers`.
async fn check_failpoint(name: &'static str, moment: Moment, servers: &[Server]) {
    let mut cases = JoinSet::new();
    for server in servers.iter().copied() {
        for (action, signal) in [("kill", 9), ("abort", 6)] {
            cases.spawn(async move {
                let chain = Chain::new(server).await;
                let gate = chain.start_armed(&format!("{name}={action}*1")).await;
                let answer = chain.call_expired(&gate).await;
                assert!(answer.is_none(), "{answer:?}");
                let (status, _) = gate.ended();
                assert_eq!(status.signal(), Some(signal));
                (moment, check_restart(&chain, moment, &chain.setup).await)
            });
        }
    }
    let tally = Tally::default();
    while let Some(case) = cases.join_next().await {
        let (moment, alive) = case.unwrap();
        tally.note(moment, alive);
    }
    tally.print(name);
}

const ALL: [Server; 3] = [Server::Strict, Server::Lenient, Server::StrictWithSpare];
const BOTH: [Server; 2] = [Server::Strict, Server::Lenient];

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_02_a_kill_between_the_intent_and_the_exchange_costs_nothing() {
    check_failpoint("after_intent", Moment::Before, &BOTH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_03_a_kill_between_the_exchange_and_the_receipt_is_survived_unless_the_server_is_strict()
{
    check_failpoint("after_exchange", Moment::Window, &ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_04_a_kill_after_the_receipt_costs_nothing_and_no_second_exchange() {
    for name in ["after_receive", "after_commit", "after_publish"] {
        check_failpoint(name, Moment::Received, &BOTH).await;
    }
}

/// A call of the system at which the gateway is killed.
#[derive(Clone, Copy, Debug)]
struct Point {
    files: Files,
    call: &'static str,
    number: usize,
}

impl Point {
    /// What was seen to be done before this point decides, but for the one write that is the
    /// receipt.
    fn moment(self, exchanges: u64) -> Moment {
        match (exchanges, self.files, self.call) {
            (0, ..) => Moment::Before,
            (_, Files::Journal, "pwrite64") => Moment::Window,
            _ => Moment::Received,
        }
    }
}

const SAVING: &str = "trace=openat,fsync,pwrite64,fdatasync,write,renameat";

/// What a refresh asks of the system for its files. An error at the receipt makes it take the way of
/// a new file in the slot's place.
const DISK: [(Files, &str, &[&str]); 3] = [
    (Files::Database, "", &["pwrite64", "fsync"]),
    (Files::Journal, "", &["openat", "fsync", "pwrite64", "fdatasync"]),
    (
        Files::Journal,
        "inject=fdatasync:error=EIO:when=1",
        &["openat", "write", "fsync", "renameat"],
    ),
];

/// Kills the gateway at each call that a refresh makes for its files.
async fn check_disk(server: Server) -> Tally {
    let (mut cases, tally) = (JoinSet::new(), Tally::default());
    for (files, fault, names) in DISK {
        let chain = Chain::new(server).await;
        let gate = chain.start().await;
        let trace = Trace::of_files(&gate, files, &[SAVING, fault]);
        assert_eq!(chain.call_expired(&gate).await.unwrap().status, 200);
        let log = trace.end();
        for call in names {
            let count = most_calls(&log, call);
            assert!(count > 0, "no {call} in\n{log}");
            eprintln!("{files:?} {fault}: {count} {call}");
            for number in 1..=count {
                let point = Point { files, call, number };
                cases.spawn(async move { kill_at(server, fault, point).await });
                if cases.len() >= AT_ONCE {
                    let (moment, alive) = cases.join_next().await.unwrap().unwrap();
                    tally.note(moment, alive);
                }
            }
        }
    }
    while let Some(case) = cases.join_next().await {
        let (moment, alive) = case.unwrap();
        tally.note(moment, alive);
    }
    tally
}

async fn kill_at(server: Server, fault: &str, point: Point) -> (Moment, bool) {
    let Point { files, call, number } = point;
    let chain = Chain::new(server).await;
    let gate = chain.start().await;
    let kill = format!("inject={call}:signal=KILL:when={number}");
    let trace = Trace::of_files(&gate, files, &[SAVING, fault, &kill]);
    let answer = chain.call_expired(&gate).await;
    assert!(answer.is_none(), "{point:?}: {answer:?}");
    let (status, setup) = gate.ended();
    let log = trace.end();
    assert_eq!(status.signal(), Some(9), "{log}");
    let moment = point.moment(chain.exchanges());
    (moment, check_restart(&chain, moment, &setup).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_01_and_f_04_a_kill_at_any_disk_call_but_the_receipt_costs_a_strict_chain_nothing() {
    if !Trace::is_allowed() {
        return;
    }
    let tally = check_disk(Server::Strict).await;
    tally.print("disk, strict");
    assert_eq!(tally.kills(Moment::Window), 1, "the write that is the receipt");
    assert!(tally.kills(Moment::Before) >= 10 && tally.kills(Moment::Received) >= 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_01_and_f_04_a_kill_at_any_disk_call_costs_a_lenient_chain_nothing() {
    if !Trace::is_allowed() {
        return;
    }
    let tally = check_disk(Server::Lenient).await;
    tally.print("disk, lenient");
    assert_eq!(tally.kills(Moment::Window), 1);
    assert!(tally.kills(Moment::Before) >= 10 && tally.kills(Moment::Received) >= 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_02_and_f_03_a_kill_at_any_network_call_is_survived_unless_the_answer_was_on_its_way() {
    if !Trace::is_allowed() {
        return;
    }
    let tally = Tally::default();
    for server in ALL {
        for (call, moment) in
            [("connect", Moment::Before), ("writev", Moment::Before), ("recvfrom", Moment::Window)]
        {
            let chain = Chain::new(server).await;
            let gate = chain.start().await;
            let kill = format!("inject={call}:signal=KILL:when=1");
            let trace = Trace::of_refreshes(&gate, &["trace=connect,writev,recvfrom", &kill]);
            let answer = chain.call_expired(&gate).await;
            assert!(answer.is_none(), "{answer:?}");
            let (status, setup) = gate.ended();
            assert_eq!(status.signal(), Some(9), "{}", trace.end());
            tally.note(moment, check_restart(&chain, moment, &setup).await);
        }
    }
    tally.print("network");
}

/// Kills the gateway wherever a thread that takes part in the refresh wakes another.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn f_01_to_f_04_a_kill_between_any_two_steps_costs_at_most_what_its_moment_allows() {
    if !Trace::is_allowed() {
        return;
    }
    let tally = Tally::default();
    for number in 1..=WAKES_MAX {
        let chain = Chain::new(Server::Strict).await;
        let gate = chain.start().await;
        let before = std::fs::read(slot(&chain.setup)).unwrap();
        let kill = format!("inject=write:signal=KILL:when={number}");
        let trace = Trace::of_refreshes(&gate, &["trace=write,writev", &kill]);
        let answer = chain.call_expired(&gate).await;
        if let Some(answer) = answer {
            assert_eq!(answer.status, 200);
            if !trace.end().contains("killed by SIGKILL") {
                eprintln!("{} kills between steps", number - 1);
                assert!(number > 4, "hardly anything was killed");
                break;
            }
        } else {
            let log = trace.end();
            if calls(&log, "writev").iter().any(|line| line.contains("POST /oauth/token")) {
                // Sent, or not quite: the server is given time to act on what it got.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let (status, setup) = gate.ended();
        assert_eq!(status.signal(), Some(9));
        let received = std::fs::read(slot(&setup)).unwrap() != before;
        let moment = match (chain.exchanges(), received) {
            (0, _) => Moment::Before,
            (_, false) => Moment::Window,
            (_, true) => Moment::Received,
        };
        tally.note(moment, check_restart(&chain, moment, &setup).await);
    }
    tally.print("between steps, strict");
    assert!(tally.kills(Moment::Before) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_05_a_client_that_hangs_up_during_its_refresh_costs_nothing_though_a_kill_follows() {
    let chain = Chain::new(Server::Strict).await;
    let gate = chain.start().await;
    fault(&chain.portal, json!({"oauth": {"mode": "slow", "ms": 1000, "count": 1}})).await;
    chain.portal.control().expire();
    let leaver = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || chain.exchanges() == 1).await;
    drop(leaver);
    let answer = http::get(gate.address, "/rest/profile").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(chain.asked(), 1);
    assert!(check_restart(&chain, Moment::Received, &gate.kill()).await);
}

/// Prints how long an answer is on no disk, median of twenty refreshes: with strace from the return
/// of the read that brought its end to the return of the slot's sync, and by the gateway's own
/// account, without strace, from when it has the whole answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and holds nothing to it"]
async fn the_time_between_an_answer_and_its_receipt() {
    let chain = Chain::new(Server::Strict).await;
    let gate = chain.start().await;
    for _ in 0..SAMPLES {
        assert_eq!(chain.call_expired(&gate).await.unwrap().status, 200);
    }
    let log = gate.log();
    let told = log.lines().filter(|line| line.contains("answer kept"));
    let told = told.map(|line| line.split("took_us=").nth(1).unwrap().parse().unwrap());
    print_median("by the gateway's log", told.collect());

    let trace = Trace::of_all(&gate, &["trace=recvfrom,pwrite64,fdatasync"]);
    for _ in 0..SAMPLES {
        assert_eq!(chain.call_expired(&gate).await.unwrap().status, 200);
    }
    let (log, mut read, mut windows) = (trace.end(), None, Vec::new());
    for line in log.lines() {
        if line.contains(" recvfrom(") && line.contains("\"HTTP/1.1 200 OK") {
            read = end_of(line);
        }
        if line.contains(" fdatasync(") {
            windows.extend(read.take().zip(end_of(line)).map(|(read, synced)| synced - read));
        }
    }
    print_median("by strace", windows);
}

/// When the call in a whole line of strace's returned, in microseconds.
fn end_of(line: &str) -> Option<u64> {
    let begun: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let took: f64 = line.rsplit_once('<')?.1.strip_suffix('>')?.parse().ok()?;
    Some(Duration::from_secs_f64(begun + took).as_micros().try_into().unwrap())
}

fn print_median(how: &str, mut samples: Vec<u64>) {
    samples.sort_unstable();
    assert!(samples.len() > SAMPLES / 2, "{samples:?}");
    let [least, median, most] = [0, samples.len() / 2, samples.len() - 1].map(|at| samples[at]);
    eprintln!("{how}: {} refreshes: {least} us, median {median} us, {most} us", samples.len());
}

const SAMPLES: usize = 20;

/// Cases that run at the same time.
const AT_ONCE: usize = 4;

/// A refresh has about fifteen.
const WAKES_MAX: usize = 60;
