//! A state directory that is full, read-only, out of reach or gone: what needs no renewal is served
//! as ever, no refresh token is spent that could not be kept, and it ends by itself.

mod copies; // a database, and a journal, from before
mod full; // no room
mod slow; // a disk that takes its time

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use b24gate::sandbox::Sandbox;
use serde_json::json;
use tokio::time::timeout;

use crate::support::calls::{assert_refused, fault, herd, portal, profile, retry_after};
use crate::support::{Gate, PATIENCE, Setup, http};

/// Something that is done to the system calls of a gateway that runs, until it is dropped.
#[derive(Debug)]
struct Injection(Child);

impl Injection {
    /// What strace's `inject=` takes. `None` where no process may look into another.
    fn into(gate: &Gate, what: &str, record: &Path) -> Option<Self> {
        let mut child = Command::new("strace")
            .args(["-f", "-p", &gate.pid().to_string(), "-e", &format!("inject={what}"), "-o"])
            .arg(record)
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is not installed; scripts/test installs it");
        let mut line = String::new();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        told.read_line(&mut line).unwrap();
        let injection = Self(child);
        if line.contains("not permitted") {
            eprintln!("skipped: {line}");
            return None;
        }
        assert!(line.contains("attached"), "{line}");
        // It must not be stopped by what it says of new threads.
        std::thread::spawn(move || told.lines().for_each(drop));
        Some(injection)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // Told to end it lets go of the gateway, delays included.
        let pid = self.0.id().to_string();
        drop(Command::new("kill").args(["-s", "TERM", &pid]).status());
        drop(self.0.wait());
    }
}

async fn ready(gate: &Gate) -> (u16, String) {
    let answer = http::get(gate.admin, "/readyz").await;
    (answer.status, answer.text())
}

/// The store is out of reach, and the access token lives, and then it does not.
async fn check_out_of_reach(portal: &Sandbox, gate: &Gate) {
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(ready(gate).await.0, 200, "nothing has had to be written yet");
    fault(portal, json!({"portal": {"mode": "expired_once"}})).await;
    let refused = profile(gate).await;
    assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert!((1..=3).contains(&retry_after(&refused)), "{}", refused.head);
    assert!(refused.text().contains("the store cannot be written"), "{}", refused.text());
    assert_eq!(profile(gate).await.status, 200, "the live token is unaffected");

    portal.control().expire();
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    }
    let (status, reasons) = ready(gate).await;
    assert_eq!(status, 503);
    assert!(reasons.contains("the store cannot be written"), "{reasons}");
    assert_eq!(http::get(gate.admin, "/livez").await.status, 200);
    assert_eq!(portal.control().state()["counters"]["oauth_requests"], 0);
}

/// The store is back: the renewal that was asked for comes without a further call, once.
async fn check_back(portal: &Sandbox, gate: &Gate) {
    let waiting = async {
        while ready(gate).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("ready again");
    assert_eq!(portal.control().exchanges(), 1);
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    }
    assert_eq!(portal.control().state()["counters"]["oauth_requests"], 1);
}

/// A gateway that file modes bind, also where the tests are run by root.
fn bound_by_modes(portal: &Sandbox) -> Gate {
    let setup = Setup::new(portal);
    let setup = if is_root() {
        let without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"];
        setup.through(&without)
    } else {
        setup
    };
    let gate = Gate::connected(&setup, &portal.seed());
    assert!(!gate.log().contains("ERROR"), "{}", gate.log());
    gate
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_state_directory_that_nobody_may_enter_costs_no_refresh_token() {
    let portal = portal().await;
    let gate = bound_by_modes(&portal);
    let state = gate.setup().state();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o000)).unwrap();
    check_out_of_reach(&portal, &gate).await;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    check_back(&portal, &gate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_state_directory_that_belongs_to_somebody_else_costs_no_refresh_token() {
    if !is_root() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let portal = portal().await;
    let gate = bound_by_modes(&portal);
    let state = gate.setup().state();
    chown(&state, Some(65_534), None).unwrap();
    check_out_of_reach(&portal, &gate).await;
    chown(&state, Some(0), None).unwrap();
    check_back(&portal, &gate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_state_directory_that_was_moved_away_costs_no_refresh_token() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let state = gate.setup().state();
    let elsewhere = state.with_file_name("elsewhere");
    fs::rename(&state, &elsewhere).unwrap();
    check_out_of_reach(&portal, &gate).await;
    fs::rename(&elsewhere, &state).unwrap();
    check_back(&portal, &gate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_state_directory_that_was_removed_costs_no_refresh_token_and_a_stop_is_a_stop() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    // Until it is gone: the gateway may make a file in it meanwhile.
    while fs::remove_dir_all(gate.setup().state())
        .is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound)
    {}
    check_out_of_reach(&portal, &gate).await;

    let setup = gate.setup().clone();
    let (status, log) = gate.stop();
    assert!(status.success(), "{status} {log}");
    let again = setup.start();
    assert_refused(&profile(&again).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    setup.import(&portal.seed());
    assert_eq!(profile(&again).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_08_a_file_system_that_becomes_read_only_costs_no_refresh_token() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let record = gate.setup().config().with_file_name("strace");
    // A kernel does this to a file system with errors. One with open files cannot be remounted.
    let read_only = "pwrite64,ftruncate,fsync,fdatasync:error=EROFS";
    let Some(injection) = Injection::into(&gate, read_only, &record) else { return };
    check_out_of_reach(&portal, &gate).await;
    drop(injection);
    assert!(fs::read_to_string(&record).unwrap().contains("EROFS"));
    check_back(&portal, &gate).await;
}
