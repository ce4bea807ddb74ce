//! A file system of its own for the state, with no room left, or with little.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use b24gate::sandbox::{Sandbox, Seed};

use crate::disk::{check_back, check_out_of_reach};
use crate::support::calls::{assert_refused, portal, profile, retry_after, shown};
use crate::support::{Gate, Setup};

/// A small file system at the state directory, gone when this is dropped.
#[derive(Debug)]
struct SmallDisk {
    /// Keeps the directory that the file system is mounted in.
    setup: Setup,
}

impl SmallDisk {
    /// `None` where nothing may be mounted.
    fn mount(setup: &Setup) -> Option<Self> {
        let state = setup.state();
        fs::create_dir(&state).unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k,mode=700", "b24gate-test"])
            .arg(&state)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Some(Self { setup: setup.clone() });
        }
        let forbidden = ["permission denied", "not permitted", "superuser"];
        assert!(forbidden.iter().any(|word| told.contains(word)), "{told}");
        eprintln!("skipped: nothing may be mounted here: {told}");
        None
    }

    fn filler(&self) -> PathBuf {
        self.setup.state().join("filler")
    }

    /// Takes all room but for so many KiB.
    fn fill(&self, left: usize) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.filler()).unwrap();
        loop {
            match file.write(&[0x55; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length - 1024 * left as u64).unwrap();
    }

    /// Gives the room back.
    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the gateway may still have files open there.
        drop(Command::new("umount").arg("-l").arg(self.setup.state()).status());
    }
}

/// A gateway whose state lies on a file system of its own.
fn start(portal: &Sandbox, seed: &Seed) -> Option<(SmallDisk, Gate)> {
    let setup = Setup::new(portal);
    let disk = SmallDisk::mount(&setup)?;
    let gate = Gate::connected(&setup, seed);
    Some((disk, gate))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_06_on_a_full_disk_no_refresh_token_is_spent_and_what_needs_none_is_served() {
    let portal = portal().await;
    let Some((disk, gate)) = start(&portal, &portal.seed()) else { return };
    disk.fill(0);
    check_out_of_reach(&portal, &gate).await;
    disk.free();
    check_back(&portal, &gate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_06_the_first_call_after_there_is_room_again_is_served_after_one_exchange() {
    let portal = portal().await;
    let Some((disk, gate)) = start(&portal, &portal.seed()) else { return };
    portal.control().expire();
    disk.fill(0);
    let refused = profile(&gate).await;
    assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert_eq!(portal.control().state()["counters"]["oauth_requests"], 0);
    disk.free();
    tokio::time::sleep(Duration::from_secs(retry_after(&refused))).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_06_a_file_system_with_64_kib_of_room_fills_up_and_no_chain_is_lost() {
    let portal = portal().await;
    let Some((disk, gate)) = start(&portal, &portal.seed()) else { return };
    disk.fill(64);
    let (mut served, mut refused) = (0, 0);
    while refused == 0 && served < 100 {
        portal.control().expire();
        let answer = profile(&gate).await;
        if answer.status == 200 {
            served += 1;
        } else {
            assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
            refused += 1;
        }
    }
    assert!(served > 0 && refused == 1, "{served} renewals, and the disk is not full");
    assert_eq!(portal.control().exchanges(), served, "none that could not be kept");
    disk.free();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(profile(&gate).await.status, 200);
    let generation = shown(&gate, "generation");

    let again = gate.kill().start();
    assert_eq!(shown(&again, "generation"), generation);
    assert_eq!(profile(&again).await.status, 200);
    portal.control().expire();
    assert_eq!(profile(&again).await.status, 200);
    let state = portal.control().state();
    assert_eq!(state["counters"]["oauth_refused"], 0, "no refresh token was presented twice");
}
