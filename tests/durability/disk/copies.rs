//! F-66: the database comes back from a copy that is three generations old, with the journal as it
//! was left, or with a journal that is as old.

use std::fs;
use std::path::{Path, PathBuf};

use b24gate::sandbox::Sandbox;
use b24gate::store::Seat;
use serde_json::json;

use crate::support::calls::{assert_refused, portal, profile, shown, token_requests};
use crate::support::{Gate, Setup};

const DATABASE: &str = "b24gate.db";
const JOURNAL: &str = "journal";

/// Copies a directory's files.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Stops a gateway as it should be stopped.
fn stop(gate: Gate) -> Setup {
    let setup = gate.setup().clone();
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
    setup
}

async fn renew(portal: &Sandbox, gate: &Gate, times: u64) {
    for _ in 0..times {
        let before = portal.control().exchanges();
        portal.control().expire();
        assert_eq!(profile(gate).await.status, 200);
        assert_eq!(portal.control().exchanges(), before + 1);
    }
}

/// A copy of a database at generation `before` + 1 and of its journal, beside a state that has gone
/// three generations further and is not in use.
async fn copy_and_go_on(portal: &Sandbox, setup: Setup, before: u64) -> (Setup, PathBuf) {
    let gate = setup.start();
    renew(portal, &gate, 1).await;
    assert_eq!(shown(&gate, "generation"), Some((before + 1).to_string()));
    let setup = stop(gate);
    let kept = setup.state().with_file_name("kept");
    fs::create_dir_all(kept.join(JOURNAL)).unwrap();
    fs::copy(setup.state().join(DATABASE), kept.join(DATABASE)).unwrap();
    copy(&setup.state().join(JOURNAL), &kept.join(JOURNAL));
    let gate = setup.start();
    renew(portal, &gate, 3).await;
    let setup = stop(gate);
    for beside in ["-wal", "-shm", "-journal"] {
        assert!(!setup.state().join(format!("{DATABASE}{beside}")).exists(), "{beside}");
    }
    portal.control().clear_log();
    (setup, kept)
}

fn connected(portal: &Sandbox) -> Setup {
    let setup = Setup::new(portal);
    setup.write();
    setup.import(&portal.seed());
    setup
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_66_an_old_copy_of_the_database_gets_the_newer_pair_from_the_journal_without_a_human() {
    let portal = portal().await;
    let (setup, kept) = copy_and_go_on(&portal, connected(&portal), 1).await;
    fs::copy(kept.join(DATABASE), setup.state().join(DATABASE)).unwrap();

    let gate = setup.start();
    let told = gate.wait_for_log("the database is older than the chain");
    assert!(told.contains(" ERROR ") && told.contains("portal=acme"), "{told}");
    assert!(told.contains("stored=2") && told.contains("journal=5"), "{told}");
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(token_requests(&portal).len(), 0, "the pair was there, access token and all");
    assert_eq!(shown(&gate, "generation").as_deref(), Some("5"));
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
    renew(&portal, &gate, 1).await;
    let again = gate.kill().start();
    assert!(!again.log().contains("older than the chain"), "{}", again.log());
    assert_eq!(shown(&again, "generation").as_deref(), Some("6"));
    renew(&portal, &again, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_66_with_a_journal_that_is_as_old_the_chain_is_dead_after_one_try_and_the_log_says_why() {
    let portal = portal().await;
    let (setup, kept) = copy_and_go_on(&portal, connected(&portal), 1).await;
    fs::copy(kept.join(DATABASE), setup.state().join(DATABASE)).unwrap();
    copy(&kept.join(JOURNAL), &setup.state().join(JOURNAL));

    let gate = setup.start();
    for _ in 0..10 {
        assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    assert_eq!(token_requests(&portal).len(), 1, "one try");
    assert_eq!(shown(&gate, "state").as_deref(), Some("dead"));
    assert_eq!(shown(&gate, "generation").as_deref(), Some("2"));
    let told = gate.wait_for_log("if this store was restored from a backup");
    assert!(
        told.contains("it is older than the chain") && told.contains("portal=\"acme\""),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_66_with_a_journal_that_is_as_old_a_spare_takes_over() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.keep(&[("acme", &portal.seed())], Seat::Active { keep_old: false }).await;
    let mut spare = portal.seed();
    // Its access token has long expired when it is needed, as a spare's has.
    spare.token_response["expires"] = json!(1_700_000_000);
    setup.keep(&[("acme", &spare)], Seat::Spare).await;
    let (setup, kept) = copy_and_go_on(&portal, setup, 1).await;
    fs::copy(kept.join(DATABASE), setup.state().join(DATABASE)).unwrap();
    copy(&kept.join(JOURNAL), &setup.state().join(JOURNAL));

    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    gate.wait_for_log("if this store was restored from a backup");
    gate.wait_for_log("a spare takes over");
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
    renew(&portal, &gate, 2).await;
}
