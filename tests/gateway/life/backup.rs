//! `b24gate store ...`, beside a running gateway and without one.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use b24gate::sandbox::Sandbox;
use serde_json::json;

use crate::support::calls::{fault, herd, portal, portal_apart, profile, until};
use crate::support::{Gate, Setup};

fn told(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

/// Runs a command of the first setup, which must end with `code`.
fn run(setup: &Setup, code: i32, arguments: &[&str]) -> String {
    let output = setup.command(arguments, "");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
    told(&output)
}

/// A setup beside another one, with its key, as somebody prepares it who wants to restore there.
fn with_key_of(setup: &Setup, portal: &Sandbox) -> Setup {
    let other = Setup::new(portal);
    other.write();
    let state = other.state();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::copy(setup.state().join("b24gate.key"), state.join("b24gate.key")).unwrap();
    other
}

fn file_of(setup: &Setup) -> PathBuf {
    setup.config().with_file_name("gate.backup")
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

fn assert_sealed(file: &std::path::Path, portal: &Sandbox) {
    let bytes = fs::read(file).unwrap();
    let seed = portal.seed();
    for secret in [&seed.access_token, &seed.refresh_token, &seed.client_secret] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_while_calls_go_on_and_its_restoration_waits_for_the_end_of_the_source() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let address = gate.address;
    let traffic = tokio::spawn(async move {
        for _ in 0..10 {
            for answer in herd(address, 10, "/rest/profile").await {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    });
    let file = file_of(gate.setup());
    let said = run(gate.setup(), 0, &["store", "backup", text(&file)]);
    for part in ["1 portal with 1 chain", "b24gate.key", "until the next refresh"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    gate.wait_for_log("backup written");
    let said = run(gate.setup(), 1, &["store", "backup", text(&file)]);
    assert!(said.contains("exists already"), "{said}");
    let said = run(gate.setup(), 3, &["store", "backup", "--retire", text(&file)]);
    assert!(said.contains(&gate.pid().to_string()) && said.contains("stop it first"), "{said}");
    traffic.await.unwrap();
    assert_sealed(&file, &portal);

    let target = with_key_of(gate.setup(), &portal);
    let said = run(&target, 3, &["store", "restore", text(&file)]);
    assert!(said.contains(&format!("pid {}", gate.pid())), "{said}");
    assert_eq!(profile(&gate).await.status, 200);

    let source = gate.setup().clone();
    assert!(gate.stop().0.success());
    let said = run(&target, 0, &["store", "restore", text(&file)]);
    assert!(said.contains("is retired"), "{said}");
    let said = run(&source, 3, &["serve"]);
    assert!(said.contains("is retired since") && said.contains(text(&target.state())), "{said}");
    let pair = portal.seed().token_response.to_string();
    let import = source.command(&["portal", "import", "acme"], &pair);
    assert_eq!(import.status.code(), Some(3), "{}", told(&import));

    let moved = target.start();
    portal.control().expire();
    assert_eq!(profile(&moved).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
    drop(moved);
    let said = run(&target, 1, &["store", "restore", text(&file)]);
    assert!(said.contains("was restored to"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_in_the_middle_of_an_exchange_does_not_disturb_it() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 800, "count": 1}})).await;
    let mut client = crate::support::calls::begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    run(gate.setup(), 0, &["store", "backup", text(&file_of(gate.setup()))]);
    assert_eq!(client.answer().await.unwrap().status, 200);
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_moves_with_its_last_backup() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    let file = file_of(&setup);
    let said = run(&setup, 1, &["store", "backup", "--retire", text(&file)]);
    assert!(said.contains("there is no store") && !setup.state().exists(), "{said}");
    setup.import(&portal.seed());
    let said = run(&setup, 0, &["store", "backup", "--retire", text(&file)]);
    assert!(said.contains("is retired"), "{said}");
    assert_sealed(&file, &portal);
    let said = run(&setup, 3, &["serve"]);
    assert!(said.contains(text(&file)), "{said}");

    // The old machine is gone with everything on it but the key.
    let target = with_key_of(&setup, &portal);
    fs::remove_dir_all(setup.state()).unwrap();
    let taken = target.state().join("b24gate.key");
    let hidden = target.config().with_file_name("key");
    fs::rename(&taken, &hidden).unwrap();
    let said = run(&target, 3, &["store", "restore", text(&file)]);
    assert!(said.contains(text(&taken)), "{said}");
    fs::rename(&hidden, &taken).unwrap();
    run(&target, 0, &["store", "restore", text(&file)]);
    let gate = target.start();
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_leaves_no_backup_and_a_store_that_goes_on() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    let safe = setup.config().with_file_name("safe");
    fs::create_dir(&safe).unwrap();
    // No file may grow beyond 40 KiB: room for the write-ahead log and its index, not for the copy.
    let output = Command::new("bash")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_b24gate"),
        ])
        .args(["store", "backup", "--retire", text(&safe.join("b")), "--config"])
        .arg(setup.config())
        .arg("--state")
        .arg(setup.state())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains(".draft"), "{}", told(&output));
    assert_eq!(fs::read_dir(&safe).unwrap().count(), 0);
    assert_eq!(profile(&setup.start()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_made_while_no_gateway_runs_and_the_old_one_opens_nothing_any_more() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let said = run(gate.setup(), 3, &["store", "rekey"]);
    assert!(said.contains(&gate.pid().to_string()), "{said}");
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    let setup = gate.setup().clone();
    assert!(gate.stop().0.success());

    let key = setup.state().join("b24gate.key");
    let old = fs::read(&key).unwrap();
    let said = run(&setup, 0, &["store", "rekey"]);
    assert!(said.contains("1 chain sealed with the new key"), "{said}");
    let new = fs::read(&key).unwrap();
    assert_ne!(old, new);
    fs::write(&key, &old).unwrap();
    let said = run(&setup, 3, &["serve"]);
    assert!(said.contains("not the one that sealed"), "{said}");
    fs::write(&key, &new).unwrap();
    let gate = setup.start();
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 2);
}

/// Renews once more, and says how often that was done in all.
async fn renew(gate: &Gate, portal: &Sandbox) -> u64 {
    portal.control().expire();
    assert_eq!(profile(gate).await.status, 200);
    portal.control().exchanges()
}

/// What came of each refresh token that was presented.
fn outcomes(portal: &Sandbox) -> Vec<String> {
    let state = portal.control().state();
    let events = state["refresh_tokens"].as_array().unwrap().iter();
    let outcomes = events.map(|event| event["outcome"].as_str().unwrap().to_owned());
    outcomes.filter(|outcome| outcome != "seeded").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_that_is_restored_in_place_gets_the_newer_pairs_from_the_journal_beside_it()
{
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(renew(&gate, &portal).await, 1);
    let file = file_of(gate.setup());
    run(gate.setup(), 0, &["store", "backup", text(&file)]);
    assert_eq!(renew(&gate, &portal).await, 2);
    assert_eq!(renew(&gate, &portal).await, 3);
    let setup = gate.setup().clone();
    assert!(gate.stop().0.success());
    let said = run(&setup, 1, &["store", "restore", text(&file)]);
    assert!(said.contains("acme (generation 4, the backup has 2)"), "{said}");
    let said = run(&setup, 0, &["store", "restore", "--force-older", text(&file)]);
    assert!(said.contains("from the journal"), "{said}");

    let gate = setup.start();
    gate.wait_for_log("taking the newer pair from the journal");
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(portal.control().exchanges(), 3, "the pair in use is the newest");
    assert_eq!(renew(&gate, &portal).await, 4);
    assert_eq!(outcomes(&portal), ["rotated"; 4], "an old refresh token was presented");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_change_of_the_key_every_pair_lies_in_two_files_again() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(renew(&gate, &portal).await, 1);
    let setup = gate.setup().clone();
    assert!(gate.stop().0.success());
    let old = fs::read(setup.state().join("b24gate.key")).unwrap();
    run(&setup, 0, &["store", "rekey"]);

    // The database is lost before the gateway ever ran with the new key.
    let lose = || {
        for suffix in ["", "-wal", "-shm"] {
            drop(fs::remove_file(setup.state().join(format!("b24gate.db{suffix}"))));
        }
    };
    fs::write(setup.state().join("b24gate.db"), "").unwrap();
    let key = setup.state().join("b24gate.key");
    let new = fs::read(&key).unwrap();
    fs::write(&key, &old).unwrap();
    // A command that ends, whatever it finds.
    let said = run(&setup, 3, &["portal", "list"]);
    assert!(said.contains("not the one that sealed"), "the old key opens a slot: {said}");
    fs::write(&key, &new).unwrap();
    lose();
    let gate = setup.start();
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(portal.control().exchanges(), 1);
    assert_eq!(renew(&gate, &portal).await, 2);
    assert_eq!(outcomes(&portal), ["rotated"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_key_that_is_killed_anywhere_is_finished_or_undone_by_the_next_start() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    let mut healed = 0;
    // The system calls by which keys and databases become durable, one after another.
    for number in 1..=40 {
        let status = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null"])
            .args(["-e", "trace=fsync,fdatasync,renameat,renameat2,unlinkat,unlink"])
            .arg("-e")
            .arg(format!(
                "inject=fsync,fdatasync,renameat,renameat2,unlinkat,unlink:signal=KILL:when={number}"
            ))
            .args([env!("CARGO_BIN_EXE_b24gate"), "store", "rekey", "--config"])
            .arg(setup.config())
            .arg("--state")
            .arg(setup.state())
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .status;
        let gate = setup.start();
        assert_eq!(profile(&gate).await.status, 200, "killed at call {number}");
        healed += usize::from(gate.log().contains("finishing it"));
        drop(gate);
        assert!(!setup.state().join("b24gate.key.new").exists() || !status.success(), "{number}");
        if status.success() {
            assert!(number > 5, "it was never killed");
            assert!(healed > 0, "no kill fell between the commit and the rename");
            return;
        }
    }
    panic!("it never came to its end");
}
