//! The file: what goes in and out of it, and what becomes of it when something is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{calls, fate, kept, now_ms};
use crate::support::calls::{portal, profile, until};
use crate::support::http::{self, Client};
use crate::support::{Gate, Setup};

fn database(setup: &Setup) -> PathBuf {
    setup.state().join("audit.db")
}

/// Changes the file while no gateway has it.
async fn change(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// All that was noted, kept or not.
async fn noted(setup: &Setup) -> (u64, u64) {
    let (mut calls, mut not_kept) = (0, 0);
    for entry in kept(setup).await {
        match entry.not_kept {
            None => calls += 1,
            Some(count) => not_kept += count,
        }
    }
    (calls, not_kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_calls_are_kept_at_a_stop_in_files_for_this_user_alone() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    calls_and_look(&gate).await;
    let setup = gate.setup().clone();
    assert_eq!(http::get(gate.address, "/rest/the.last").await.status, 404);
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
    assert!(!setup.state().join("audit.db-wal").exists(), "it was closed in order");
    assert_eq!(fate(kept(&setup).await.last().unwrap()).0, "the.last");
    // What was kept is there after the next start.
    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(calls(&gate, 3).await.len(), 3);
}

async fn calls_and_look(gate: &Gate) {
    assert_eq!(profile(gate).await.status, 200);
    calls(gate, 1).await;
    let mut seen = 0;
    for entry in fs::read_dir(gate.setup().state()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("audit.db") {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{}", entry.file_name().display());
            seen += 1;
        }
    }
    assert_eq!(seen, 3, "the file, its log and their index");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_a_second_has_room_for_are_counted_and_the_sum_is_right() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let mut client = Client::connect(gate.address).await;
    let mut sent = 0;
    // Refusals are quick, and one connection is served by one worker.
    let batch = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    for _ in 0..30 {
        client.send(&batch).await;
        for _ in 0..100 {
            assert_eq!(client.answer().await.unwrap().status, 404);
        }
        sent += 100;
    }
    let mut found = (0, 0);
    for _ in 0..400 {
        found = noted(gate.setup()).await;
        if found.0 + found.1 >= sent {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (calls, not_kept) = found;
    assert_eq!(calls + not_kept, sent, "{calls} kept, {not_kept} not");
    assert!(not_kept > 0, "{calls} kept, in more seconds than that should take");
    let output = gate.setup().command(&["audit", "--limit", "100000"], "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(" more calls were not kept"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_or_too_much_is_taken_out() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more("[audit]\nkeep = \"1h\"");
    let gate = Gate::connected(&setup, &portal.seed());
    assert_eq!(profile(&gate).await.status, 200);
    calls(&gate, 1).await;
    let (status, _) = gate.stop();
    assert!(status.success());
    let path = database(&setup);
    // One that is two hours old, and one that is young but has five million behind it.
    change(
        &path,
        "UPDATE call SET method = 'too.many' WHERE id = 1;
         INSERT INTO call (id, at, method) SELECT 5000001, at, 'young' FROM call WHERE id = 1;
         INSERT INTO call (id, at, method) SELECT 5000002, at - 7200000, 'old' FROM call WHERE id = 1;",
    )
    .await;
    let methods = async || {
        let found = kept(&setup).await;
        found.iter().map(|call| fate(call).0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(methods().await, ["too.many", "young", "old"]);
    let gate = setup.start();
    for _ in 0..400 {
        if methods().await == ["young"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(methods().await, ["young"], "{}", gate.log());
    drop(gate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_set_aside_and_a_new_one_is_begun() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let setup = gate.setup().clone();
    assert!(gate.stop().0.success());
    let path = database(&setup);
    for damaged in [&b"no database, but as long as one that is: "[..], b""] {
        let text = damaged.repeat(200);
        fs::write(&path, &text).unwrap();
        let gate = setup.start();
        assert_eq!(profile(&gate).await.status, 200);
        assert_eq!(calls(&gate, 1).await[0].method.as_deref(), Some("profile"));
        assert_eq!(gate.log().contains("the file of calls is damaged"), !text.is_empty());
        assert_eq!(fs::read(setup.state().join("audit.db.damaged")).unwrap().len(), 8200);
        assert!(gate.stop().0.success());
    }
    // A table that is not as it was made is damage, too.
    change(&path, "ALTER TABLE call RENAME COLUMN status TO other").await;
    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    gate.wait_for_log("the file of calls is damaged");
    assert!(fs::read(setup.state().join("audit.db.damaged")).unwrap().starts_with(b"SQLite"));
    assert_eq!(calls(&gate, 1).await[0].method.as_deref(), Some("profile"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_file_cannot_be_written_calls_go_on_and_afterwards_their_number_is_told() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    fs::create_dir(database(&setup)).unwrap();
    let gate = setup.start();
    for _ in 0..3 {
        assert_eq!(profile(&gate).await.status, 200);
    }
    gate.wait_for_log("calls are NOT kept for now");
    check_mended(&gate, 3, || fs::remove_dir(database(&setup)).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_a_disk_is_left_to_the_store() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    let state = setup.state();
    fs::create_dir(&state).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m,mode=700", "b24gate-test"])
        .arg(&state)
        .output()
        .unwrap();
    if !mounted.status.success() {
        let told = String::from_utf8_lossy(&mounted.stderr);
        let forbidden = ["permission denied", "not permitted", "superuser"];
        assert!(forbidden.iter().any(|word| told.contains(word)), "{told}");
        eprintln!("skipped: nothing may be mounted here: {told}");
        return;
    }
    let _unmount = Unmount(state.clone());
    let gate = Gate::connected(&setup, &portal.seed());
    assert_eq!(profile(&gate).await.status, 200);
    calls(&gate, 1).await;
    let filler = state.join("filler");
    fs::write(&filler, vec![0x55; 12 << 20]).unwrap();
    for _ in 0..4 {
        assert_eq!(profile(&gate).await.status, 200);
    }
    let told = gate.wait_for_log("calls are NOT kept for now");
    assert!(told.contains("the disk is nearly full"), "{told}");
    // The store has what is left.
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
    check_mended(&gate, 5, || fs::remove_file(&filler).unwrap()).await;
}

/// What follows once the reason is gone: `lost` calls are counted, the trouble was told once.
async fn check_mended(gate: &Gate, lost: u64, mend: impl FnOnce()) {
    let before = noted(gate.setup()).await.0;
    // Two turns more, in which nothing is told again.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    mend();
    gate.wait_for_log("calls are kept again");
    assert_eq!(gate.log().matches("calls are NOT kept for now").count(), 1, "{}", gate.log());
    assert_eq!(profile(gate).await.status, 200);
    let kept_again = async {
        while noted(gate.setup()).await.0 != before + 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, kept_again).await.unwrap();
    assert_eq!(noted(gate.setup()).await, (before + 1, lost));
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: the gateway may still have files open there.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keep_off_there_is_no_file_until_a_reload_says_otherwise() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more("[audit]\nkeep = \"off\"");
    let gate = Gate::connected(&setup, &portal.seed());
    assert_eq!(profile(&gate).await.status, 200);
    // Longer than a turn.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!database(&setup).exists());
    let text = setup.text().replace("\"off\"", "\"30d\"");
    fs::write(setup.config(), text).unwrap();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    let since = now_ms();
    assert_eq!(profile(&gate).await.status, 200);
    let found = calls(&gate, 1).await;
    assert!(found[0].at_ms + 1 >= since, "{found:?}");
    setup.write();
    gate.signal("HUP");
    until("reloaded twice", || gate.log().matches("configuration reloaded").count() == 2).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert!(gate.stop().0.success());
    assert_eq!(kept(&setup).await.len(), 1);
}
