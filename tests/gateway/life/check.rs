//! `b24gate check`, and a start on files that other users can reach.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::json;

use crate::support::calls::{fault, portal, portal_apart, profile};
use crate::support::{Gate, Setup};

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

fn chmod(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// `check` and `serve` both refuse, and both say how to mend it.
fn assert_unsafe(setup: &Setup, mend: &str) {
    for command in ["check", "serve"] {
        let output = setup.command(&[command], "");
        assert_eq!(output.status.code(), Some(3), "{command}: {}", said(&output));
        assert!(said(&output).contains(mend), "{command}: {mend}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_directory_that_others_can_reach_is_refused_with_the_mend() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    let state = setup.state();
    let shown = state.display();

    chmod(&state, 0o755);
    assert_unsafe(&setup, &format!("chmod 700 {shown}"));
    chmod(&state, 0o700);
    for name in ["b24gate.key", "b24gate.db", "b24gate.lock"] {
        let path = state.join(name);
        chmod(&path, 0o640);
        assert_unsafe(&setup, &format!("chmod 600 {}", path.display()));
        chmod(&path, 0o600);

        let aside = state.join("aside");
        std::fs::hard_link(&path, &aside).unwrap();
        assert_unsafe(&setup, "remove the other names");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert_unsafe(&setup, "symbolic link");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    let journal = state.join("journal");
    chmod(&journal, 0o750);
    assert_unsafe(&setup, &format!("chmod 700 {}", journal.display()));
    chmod(&journal, 0o700);
    let slot = std::fs::read_dir(&journal).unwrap().next().unwrap().unwrap().path();
    chmod(&slot, 0o640);
    let output = setup.command(&["check"], "");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains(&format!("chmod 600 {}", slot.display())), "{}", said(&output));
    chmod(&slot, 0o600);
    let real = setup.state().with_extension("real");
    std::fs::rename(&state, &real).unwrap();
    std::os::unix::fs::symlink(&real, &state).unwrap();
    assert_unsafe(&setup, "name the real directory");
    std::fs::remove_file(&state).unwrap();
    std::fs::rename(&real, &state).unwrap();

    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200, "all is mended, nothing is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_in_a_files_place_is_refused_and_nobody_waits_for_it() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    let key = setup.state().join("b24gate.key");
    std::fs::remove_file(&key).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&key).status().unwrap();
    assert!(made.success());
    chmod(&key, 0o600);
    assert_unsafe(&setup, "not a plain file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_exits_with_0_also_beside_the_running_gateway_and_disturbs_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let output = gate.setup().command(&["check"], "");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!said(&output).contains("WRONG"), "{}", said(&output));
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_exits_with_1_when_the_oauth_server_is_down_and_with_2_for_a_wrong_word() {
    let portal = portal_apart().await;
    fault(&portal, json!({"oauth": {"mode": "down"}})).await;
    let setup = Setup::new(&portal);
    setup.write();
    let output = setup.command(&["check"], "");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("refuses connections"), "{}", said(&output));

    let setup = setup.gateway("max_wiat = \"1s\"");
    setup.write();
    for command in ["check", "serve"] {
        let output = setup.command(&[command], "");
        assert_eq!(output.status.code(), Some(2), "{command}: {}", said(&output));
        for word in ["b24gate.toml:3:", "max_wiat", "max_wait"] {
            assert!(said(&output).contains(word), "{command}: {word}: {}", said(&output));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_file_that_others_can_read_is_refused_by_check_and_serve() {
    let portal = portal().await;
    let mut seed = portal.seed();
    let secret = std::mem::take(&mut seed.client_secret);
    let setup = Setup::of(&seed);
    setup.write();
    let file = setup.config().with_file_name("secret");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let text = setup.text().replace("client_secret = \"\"", "client_secret_file = \"secret\"");
    std::fs::write(setup.config(), text).unwrap();
    chmod(&file, 0o644);
    assert_unsafe(&setup, "chmod 600");
    chmod(&file, 0o600);
    let output = setup.command(&["check"], "");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!said(&output).contains(&secret));
}
