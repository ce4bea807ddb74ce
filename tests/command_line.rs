//! The program as a shell sees it: exit codes, and what is said where.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Runs the program in `dir`, where its configuration and its state are looked for.
fn b24gate(dir: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_b24gate"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir.path())
        .output()
        .unwrap()
}

fn folder(config: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    // Free ports, so that nothing on this machine gets in the way.
    let listeners = "admin.listen = \"127.0.0.1:0\"\ncallback.listen = \"127.0.0.1:0\"\n\
                     gateway.listen = \"127.0.0.1:0\"\n";
    fs::write(dir.path().join("b24gate.toml"), format!("{listeners}{config}")).unwrap();
    dir
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_is_no_failure_and_names_files_and_exit_codes() {
    let dir = folder("");
    let help = b24gate(&dir, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for said in
        ["$B24GATE_CONFIG", "/etc/b24gate/b24gate.toml", "$STATE_DIRECTORY", "3 unsafe files"]
    {
        assert!(stdout(&help).contains(said), "{said}");
    }
    for command in [
        &["serve"][..],
        &["sandbox"],
        &["check"],
        &["portal"],
        &["wait"],
        &["audit"],
        &["portal", "connect"],
        &["portal", "import"],
        &["portal", "list"],
        &["portal", "show"],
        &["portal", "refresh"],
        &["portal", "disable"],
        &["portal", "enable"],
        &["portal", "remove"],
        &["store"],
        &["store", "backup"],
        &["store", "restore"],
        &["store", "rekey"],
    ] {
        let help = b24gate(&dir, &[command, &["--help"]].concat());
        assert!(stdout(&help).contains("\n  b24gate "), "no example for {command:?}");
    }
}

#[test]
fn a_wrong_command_line_or_log_level_exits_with_2() {
    let dir = folder("");
    for arguments in [&[][..], &["serv"], &["check", "--tokken"], &["portal", "import"]] {
        assert_eq!(b24gate(&dir, arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_b24gate"))
        .arg("check")
        .env("B24GATE_LOG", "inof")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("B24GATE_LOG: \"inof\" is not a level"));
}

#[test]
fn check_is_content_with_a_portal_that_can_be_reached() {
    let portal = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = portal.local_addr().unwrap();
    let dir = folder(&format!(
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"S-canary\"\n\
         oauth_server = \"http://{address}\"\n[portals.acme]\nurl = \"http://{address}\"\n"
    ));
    let output = b24gate(&dir, &["check"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "ok     configuration: b24gate.toml",
        &format!("ok     portals.acme: url http://{address} accepts connections"),
        "note   portals.acme: plan is recorded; this version does not hold calls back by it yet",
    ] {
        assert!(said.lines().any(|known| known == line), "{line}\nis not in\n{said}");
    }
    assert!(said.contains("note   b24gate.toml: holds client_secret"), "{said}");
    assert!(!said.contains("canary"));
}

#[test]
fn check_tells_every_problem_with_its_line_and_exits_with_2() {
    let dir = TempDir::new().unwrap();
    let text = "[gateway]\nlistn = 1\n[portals.acme]\nurll = 1\n";
    fs::write(dir.path().join("b24gate.toml"), text).unwrap();
    let output = b24gate(&dir, &["check"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stdout(&output);
    assert!(said.contains("WRONG  b24gate.toml:2: [gateway] unknown key \"listn\""), "{said}");
    assert!(said.contains("WRONG  b24gate.toml:4: [portals.acme] unknown key \"urll\""), "{said}");
}

#[test]
fn check_exits_with_3_when_a_secret_lies_open() {
    let dir = folder("[apps.main]\nclient_id = \"a\"\nclient_secret_file = \"secret\"\n");
    let secret = dir.path().join("secret");
    fs::write(&secret, "S-canary\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let output = b24gate(&dir, &["check"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).contains("chmod 600 secret"), "{}", stdout(&output));
}

#[test]
fn check_exits_with_1_when_a_portal_cannot_be_reached() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = folder(&format!(
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"b\"\noauth_server = \"http://{closed}\"\n"
    ));
    let output = b24gate(&dir, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("refuses connections"), "{}", stdout(&output));
}

#[test]
fn a_configuration_that_is_named_and_missing_exits_with_2() {
    let dir = folder("");
    let output = b24gate(&dir, &["serve", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("nowhere.toml: there is no such file"));
}
