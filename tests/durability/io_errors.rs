//! The n-th call of a save fails, for every n: whoever called gets an answer that is true, and the
//! chain lives on, in the running process and in the next one.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::calls::{assert_refused, begin, fault, profile, retry_after, until};
use crate::support::connected::{Chain, Server};
use crate::support::trace::{Files, Trace, calls, most_calls, slot};
use crate::support::{Gate, http};

/// The calls by which a refresh is saved, as strace names them.
const SAVING: &str =
    "trace=openat,pwrite64,write,fsync,fdatasync,ftruncate,renameat,unlinkat,?mkdir,?mkdirat,close";

/// A call that fails.
#[derive(Clone, Copy, Debug)]
struct Fault {
    files: Files,
    /// What goes wrong besides, so that the way of a new file is taken.
    before: &'static str,
    call: &'static str,
    error: &'static str,
    number: usize,
    /// `+` when all after it fail, too.
    more: &'static str,
}

impl Fault {
    fn trace(self, gate: &Gate) -> Trace {
        let Self { files, before, call, error, number, more } = self;
        let inject = format!("inject={call}:error={error}:when={number}{more}");
        Trace::of_files(gate, files, &[SAVING, before, &inject])
    }
}

const SLOT_FAILS: &str = "inject=fdatasync:error=EIO:when=1";

/// Where errors are put: the files, what goes wrong before, the calls, the errors.
const SWEEPS: [(Files, &str, &[&str], &[&str]); 5] = [
    (Files::Database, "", &["pwrite64"], &["ENOSPC", "EIO"]),
    (Files::Database, "", &["fsync"], &["ENOSPC", "EIO"]),
    (Files::Journal, "", &["openat"], &["ENOSPC", "EIO", "EROFS"]),
    (Files::Journal, "", &["pwrite64", "fsync", "fdatasync"], &["ENOSPC", "EIO", "EDQUOT"]),
    (Files::Journal, SLOT_FAILS, &["openat", "write", "fsync", "renameat"], &["ENOSPC", "EIO"]),
];

/// One expiry with the fault in place; what strace saw, and how long the caller is to wait, if it was
/// not served.
async fn call_with(chain: &Chain, gate: &Gate, fault: Fault) -> (String, Option<Duration>) {
    let trace = fault.trace(gate);
    let (asked, exchanges) = (chain.asked(), chain.exchanges());
    let answer = chain.call_expired(gate).await.expect("an answer");
    let log = trace.end();
    assert!(log.contains("(INJECTED)"), "{fault:?}: nothing failed:\n{log}");
    if answer.status == 200 {
        assert_eq!(chain.exchanges(), exchanges + 1);
        return (log, None);
    }
    assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert_eq!(chain.asked(), asked, "{fault:?}: exchanged without an intent");
    (log, Some(Duration::from_secs(retry_after(&answer))))
}

/// The fault once in a process that goes on, and once before a crash. Says whether the exchange was
/// made.
async fn check(fault: Fault) -> bool {
    let chain = Chain::new(Server::Strict).await;
    let gate = chain.start().await;
    let (log, wait) = call_with(&chain, &gate, fault).await;
    if let Some(wait) = wait {
        // A client that does as it is told is not told twice.
        tokio::time::sleep(wait).await;
    }
    assert_eq!(profile(&gate).await.status, 200, "{fault:?}\n{log}");
    assert_eq!(chain.asked(), 1);
    chain.assert_alive(&gate).await;
    until("everything is stored", || ready(&gate)).await;
    let asked = chain.asked();
    let (status, _) = gate.stop();
    assert!(status.success());

    // After a proper end, the first refresh asks for the same as the first before.
    let gate = chain.setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(chain.asked(), asked, "{fault:?}: not stored");
    let (log, _) = call_with(&chain, &gate, fault).await;
    let gate = gate.kill().start();
    assert_eq!(profile(&gate).await.status, 200, "{fault:?}\n{log}");
    assert_eq!(chain.asked(), asked + 1, "{fault:?}: a crash has cost the pair\n{log}");
    chain.assert_alive(&gate).await;
    chain.assert_history(0);
    wait.is_none()
}

fn ready(gate: &Gate) -> bool {
    let address = gate.admin;
    let get = http::get(address, "/readyz");
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(get)).status == 200
}

/// Every number of calls that a refresh makes, from the first start on.
async fn faults() -> Vec<Fault> {
    let mut faults = Vec::new();
    for (files, before, names, errors) in SWEEPS {
        let chain = Chain::new(Server::Strict).await;
        let gate = chain.start().await;
        let trace = Trace::of_files(&gate, files, &[SAVING, before]);
        assert_eq!(chain.call_expired(&gate).await.unwrap().status, 200);
        let log = trace.end();
        for call in names {
            let count = most_calls(&log, call);
            assert!(count > 0, "no {call} in\n{log}");
            for error in errors {
                let fault = |number, more| Fault { files, before, call, error, number, more };
                faults.extend((1..=count).map(|number| fault(number, "")));
                // On a disk that is full, nothing works from then on.
                let more = (1..=count).filter(|_| *error == "ENOSPC");
                faults.extend(more.map(|number| fault(number, "+")));
            }
        }
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn an_error_at_the_nth_call_of_a_save_costs_no_pair_and_no_caller_a_wrong_answer() {
    if !Trace::is_allowed() {
        return;
    }
    let (mut cases, mut served, mut later) = (JoinSet::new(), 0, 0);
    let mut faults = faults().await.into_iter();
    loop {
        while cases.len() < AT_ONCE
            && let Some(fault) = faults.next()
        {
            cases.spawn(check(fault));
        }
        let Some(case) = cases.join_next().await else { break };
        *if case.unwrap() { &mut served } else { &mut later } += 1;
    }
    eprintln!("{served} refreshes came through an error, {later} were put off before the exchange");
    assert!(served >= 40 && later >= 30);
}

/// Where in the log the first line with all of these texts is.
fn place(log: &str, texts: &[&str]) -> Option<usize> {
    log.lines().position(|line| texts.iter().all(|text| line.contains(text)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_09_an_answer_whose_sync_fails_once_is_written_to_a_new_file_and_not_synced_again() {
    if !Trace::is_allowed() {
        return;
    }
    let chain = Chain::new(Server::Strict).await;
    let gate = chain.start().await;
    let trace = Trace::of_files(&gate, Files::Journal, &[SAVING, SLOT_FAILS]);
    assert_eq!(chain.call_expired(&gate).await.unwrap().status, 200);
    let log = trace.end();

    let failed = place(&log, &["fdatasync(", "acme-1.answer>", "(INJECTED)"]).expect(&log);
    let rest: Vec<_> = log.lines().skip(failed + 1).collect();
    let rest = rest.join("\n");
    let renamed = place(&rest, &["renameat(", "\"acme-1.answer\") = 0"]).expect(&log);
    let synced = place(&rest, &["fsync(", "acme-1.answer.new>) = 0"]).expect(&log);
    let durable = rest.lines().skip(renamed).any(|line| line.contains("/journal>) = 0"));
    assert!(synced < renamed && durable, "{log}");
    let again = rest.lines().take(renamed);
    let mut again = again.filter(|line| line.contains("sync(") && line.contains("acme-1.answer>"));
    assert_eq!(again.next(), None, "{log}");
    assert!(chain.spooled().is_empty());

    let gate = gate.kill().start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(chain.asked(), 1);
    chain.assert_alive(&gate).await;
    chain.assert_history(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_09_a_transaction_whose_sync_fails_is_not_repeated_through_the_same_descriptor() {
    if !Trace::is_allowed() {
        return;
    }
    // Before these, the log gets its head.
    for number in 3..=4 {
        let chain = Chain::new(Server::Strict).await;
        let gate = chain.start().await;
        let fail = format!("inject=fsync:error=EIO:when={number}");
        let trace = Trace::of_files(&gate, Files::Database, &[SAVING, &fail]);
        let first = chain.call_expired(&gate).await.unwrap();
        assert_eq!(first.status == 200, number == 4, "the intent, then the pair: {}", first.text());
        let closed = |log: &str| place(log, &["close(", ".db-wal>"]);
        until("the connection is closed", || closed(&trace.log()).is_some()).await;
        let log = trace.end();
        // SQLite itself syncs once more before it closes the file; nothing hangs on that, because
        // nothing was written since, and what was lost is not taken for committed.
        let failed = place(&log, &["fsync(", ".db-wal>", "(INJECTED)"]).expect(&log);
        let closed = closed(&log).expect(&log);
        let between: Vec<_> = log.lines().take(closed).skip(failed + 1).collect();
        assert!(failed < closed, "{log}");
        assert!(
            calls(&between.join("\n"), "pwrite64").iter().all(|it| !it.contains("-wal>")),
            "{log}"
        );

        if first.status != 200 {
            tokio::time::sleep(Duration::from_secs(retry_after(&first))).await;
        }
        assert_eq!(profile(&gate).await.status, 200);
        until("everything is stored", || ready(&gate)).await;
        assert_eq!(chain.asked(), 1);
        chain.assert_alive(&gate.kill().start()).await;
        chain.assert_history(0);
    }
}

/// Every call by which anything could be written below the state directory.
const NOTHING_WORKS: &str = "inject=openat,pwrite64,write,fsync,fdatasync,ftruncate,renameat,\
                             unlinkat,?mkdir,?mkdirat:error=EIO";

/// A gateway for which `files` have failed in every call since the exchange was made.
async fn broken_after_the_exchange(chain: &Chain, files: Files) -> (Gate, Trace) {
    let gate = chain.start().await;
    fault(&chain.portal, json!({"oauth": {"mode": "slow", "ms": 1500, "count": 1}})).await;
    chain.portal.control().expire();
    let before = std::fs::read(slot(&chain.setup)).unwrap();
    let mut client = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || chain.exchanges() == 1).await;
    let trace = Trace::of_files(&gate, files, &[SAVING, NOTHING_WORKS]);
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 200, "served from memory: {}", answer.text());
    assert_eq!(std::fs::read(slot(&chain.setup)).unwrap(), before, "not in the state directory");
    (gate, trace)
}

async fn assert_not_ready(gate: &Gate) {
    let answer = http::get(gate.admin, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("acme: a renewed token is not stored yet"), "{}", answer.text());
}

/// After SIGTERM the gateway tries on to store its pair.
async fn assert_waits_for_the_store(gate: &mut Gate) {
    const TRYING: &str = "renewed pair is still NOT in the store";
    gate.signal("TERM");
    gate.wait_for_log("stopping: no new connections");
    let tried = gate.log().matches(TRYING).count();
    until("it tries on", || gate.log().matches(TRYING).count() > tried).await;
    assert!(gate.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_07_an_answer_that_the_state_directory_does_not_take_is_kept_in_the_spool() {
    if !Trace::is_allowed() {
        return;
    }
    let chain = Chain::new(Server::Strict).await;
    let (mut gate, trace) = broken_after_the_exchange(&chain, Files::State).await;
    assert_eq!(chain.spooled().len(), 1);
    assert_not_ready(&gate).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert_waits_for_the_store(&mut gate).await;

    let setup = gate.kill();
    assert!(trace.end().contains("(INJECTED)"));
    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(chain.asked(), 1, "what the spool holds is enough");
    assert!(chain.spooled().is_empty(), "it is in the state directory now");
    chain.assert_alive(&gate).await;
    chain.assert_history(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_07_a_pair_that_no_place_takes_is_waited_for_by_a_shutdown_and_stored_in_the_end() {
    if !Trace::is_allowed() {
        return;
    }
    let chain = Chain::new(Server::Strict).await;
    // A file is where its spool should be, and the common one fails like the state directory.
    std::fs::write(chain.spool().join("b24gate"), "").unwrap();
    let (mut gate, trace) = broken_after_the_exchange(&chain, Files::Everywhere).await;
    gate.wait_for_log("do not stop the gateway");
    assert_not_ready(&gate).await;
    assert_waits_for_the_store(&mut gate).await;
    drop(trace);
    let (status, setup) = gate.ended();
    assert!(status.success(), "it ends by itself when the pair is stored");
    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(chain.asked(), 1);
    chain.assert_alive(&gate).await;
    chain.assert_history(0);
}

/// Cases that run at the same time; most of them wait for their time to try again.
const AT_ONCE: usize = 16;
