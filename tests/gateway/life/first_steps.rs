//! What somebody sees who has just installed it. The default ports are used here, so another
//! gateway on this machine is waited for, and respected if it stays.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{PATIENCE, http};

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `b24gate` as it starts on a machine where nothing is set up.
fn bare(arguments: &[&str], home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_b24gate"));
    command.args(arguments).current_dir(home).env_clear().env("HOME", home.path());
    command
}

fn default_ports_are_free() -> bool {
    // All three at the same time, as the gateway needs them.
    let bound: Vec<_> =
        [8024, 8025, 8026].map(|port| TcpListener::bind(("127.0.0.1", port))).into_iter().collect();
    bound.iter().all(Result::is_ok)
}

/// Starts a command that needs the default ports and reads lines of `pipe` up to one that holds
/// `last`; `None` when somebody else keeps the ports for too long.
async fn start(
    arguments: &[&str],
    home: &TempDir,
    on_stdout: bool,
    last: &str,
) -> Option<(Running, String)> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if default_ports_are_free() {
            let mut command = bare(arguments, home);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut running = Running(command.spawn().unwrap());
            let (out, err) = (running.0.stdout.take().unwrap(), running.0.stderr.take().unwrap());
            let (pipe, other): (Box<dyn Read + Send>, Box<dyn Read + Send>) = if on_stdout {
                (Box::new(out), Box::new(err))
            } else {
                (Box::new(err), Box::new(out))
            };
            std::thread::spawn(move || BufReader::new(other).lines().map_while(Result::ok).count());
            let mut text = String::new();
            let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
            for line in lines.by_ref() {
                text.push_str(&line);
                text.push('\n');
                if line.contains(last) {
                    std::thread::spawn(move || lines.count());
                    return Some((running, text));
                }
            }
            // Somebody else was faster; anything but that is a failure.
            let lost = running.0.wait().unwrap().code() == Some(1);
            assert!(lost, "ended without {last:?}: {text}");
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    eprintln!("ports 8024 to 8026 are in use by somebody else: nothing was tested");
    None
}

fn default_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8024))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_without_any_configuration_starts_and_says_how_to_connect_a_portal() {
    let home = TempDir::new().unwrap();
    let Some((_gate, log)) = start(&["serve"], &home, false, "no portal is configured").await
    else {
        return;
    };
    for said in ["gateway listening", "b24gate.toml", "portal connect NAME", "[portals.NAME]"] {
        assert!(log.contains(said), "{said} is missing in {log}");
    }
    let page = http::get(SocketAddr::from(([127, 0, 0, 1], 8025)), "/").await.text();
    assert!(page.contains("portal connect NAME"), "{page}");
    let answer = http::get(default_address(), "/rest/profile").await;
    assert_eq!((answer.status, answer.executed().as_str()), (404, "no"), "{}", answer.text());
    assert_eq!(answer.error(), "GATEWAY_PORTAL_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_prints_calls_to_try_and_its_gateway_answers_them() {
    let home = TempDir::new().unwrap();
    let Some((mut sandbox, told)) = start(&["sandbox"], &home, true, "Stop with Ctrl-C").await
    else {
        return;
    };
    let calls = told.lines().filter(|line| line.contains("curl ")).count();
    assert_eq!(calls, 5, "{told}");
    let after = told.split("stands at http://").nth(1).unwrap();
    let portal: SocketAddr = after.split_whitespace().next().unwrap().parse().unwrap();

    let answer = http::get(default_address(), "/rest/profile").await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    let expire = http::post(portal, "/sandbox/expire", "application/json", b"").await;
    assert_eq!(expire.status, 200);
    let answer = http::get(default_address(), "/rest/profile").await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));

    // What Bitrix24 keeps of an application leads to this gateway.
    let settings = http::get(portal, "/sandbox/switch").await.json();
    let at = |path: &str| serde_json::json!(format!("http://localhost:8026{path}"));
    assert_eq!(settings["redirect_uri"], at("/oauth/callback"));
    assert_eq!(settings["handler_url"], at("/install"));
    assert_eq!(settings["event_url"], at("/events"));
    for said in ["click \"Connect\"", "/sandbox/app", "/sandbox/event"] {
        assert!(told.contains(said), "{told}");
    }

    let pid = sandbox.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert!(sandbox.0.wait().unwrap().success());
    let left: Vec<_> = std::fs::read_dir(&home).unwrap().collect();
    assert!(left.is_empty(), "it keeps nothing: {left:?}");
}

#[test]
fn help_teaches_by_example_and_names_every_command() {
    let home = TempDir::new().unwrap();
    let help = bare(&["--help"], &home).output().unwrap();
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for said in [
        "b24gate sandbox",
        "b24gate check",
        "b24gate portal connect acme",
        "b24gate serve",
        "curl http://localhost:8024/rest/profile",
        "B24GATE_LOG",
        "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 unsafe files",
    ] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    for command in ["serve", "sandbox", "check", "portal", "store", "wait", "ca"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{command}");
    }
}
