//! `b24gate portal connect`, from the terminal's side.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout};

use serde_json::json;

use super::browser::Browser;
use super::{PUBLIC, parameter, setup};
use crate::support::Setup;
use crate::support::calls::{portal, profile, shown, switch};

/// A command that waits for a login.
struct Waiting {
    child: Child,
    stdout: BufReader<ChildStdout>,
    link: String,
}

impl Waiting {
    /// Starts it and reads up to the link.
    fn begin(setup: &Setup, arguments: &[&str]) -> Self {
        let mut child = setup.begin(&[&["portal", "connect", "acme"], arguments].concat());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.trim().starts_with("http") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{:?}", child.wait_with_output());
        }
        let link = line.trim().to_owned();
        Self { child, stdout, link }
    }

    /// Waits for its end.
    fn end(self) -> (Option<i32>, String) {
        let Self { child, mut stdout, .. } = self;
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), text + &String::from_utf8(output.stderr).unwrap())
    }

    /// Pastes a line.
    fn paste(mut self, line: &str) -> (Option<i32>, String) {
        writeln!(self.child.stdin.take().unwrap(), "{line}").unwrap();
        self.end()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_prints_a_link_waits_and_says_how_it_ended() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let waiting = Waiting::begin(gate.setup(), &["--no-browser"]);
    assert!(waiting.link.starts_with(PUBLIC));
    assert_eq!(Browser::new(&gate).open(&waiting.link).await.answer.status, 200);
    let (code, text) = waiting.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("portal acme: connected with the rights of user"), "{text}");
    assert_eq!(profile(&gate).await.status, 200);

    switch(&portal, json!({"browser_user": 5}));
    let waiting = Waiting::begin(gate.setup(), &["--no-browser"]);
    Browser::new(&gate).open(&waiting.link).await;
    let (code, text) = waiting.end();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--replace"), "{text}");

    let waiting = Waiting::begin(gate.setup(), &["--no-browser", "--replace"]);
    Browser::new(&gate).open(&waiting.link).await;
    assert_eq!(waiting.end().0, Some(0));
    assert_eq!(shown(&gate, "user").unwrap().split(',').next(), Some("5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_is_started_with_the_link_where_there_is_a_screen() {
    let portal = portal().await;
    let place = tempfile::tempdir().unwrap();
    let (program, opened) = (place.path().join("browser"), place.path().join("opened"));
    std::fs::write(&program, format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let setup = setup(&portal).env("DISPLAY", ":0").env("BROWSER", program.to_str().unwrap());
    let setup = setup.env("SSH_CONNECTION", "").env("SSH_TTY", "");
    let gate = setup.start();
    let waiting = Waiting::begin(gate.setup(), &["--no-browser"]);
    let link = waiting.link.clone();
    Browser::new(&gate).open(&link).await;
    assert_eq!(waiting.end().0, Some(0));
    assert!(!opened.exists());

    let waiting = Waiting::begin(gate.setup(), &[]);
    let link = waiting.link.clone();
    let read = || std::fs::read_to_string(&opened).unwrap_or_default();
    crate::support::calls::until("the browser is started", || read() == format!("{link}\n")).await;
    Browser::new(&gate).open(&link).await;
    assert_eq!(waiting.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_browser_was_sent_to_is_pasted_or_the_code_alone() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let seed = portal.seed();
    let begin = || Waiting::begin(gate.setup(), &["--paste"]);
    let back = async |waiting: &Waiting| {
        assert!(waiting.link.starts_with(&format!("{}/oauth/authorize/?", seed.portal_url)));
        Browser::new(&gate).follow_until(&waiting.link, "/oauth/callback").await
    };
    let waiting = begin();
    let (code, text) = {
        let url = back(&waiting).await;
        waiting.paste(&format!("  {url}#_  "))
    };
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("portal acme: connected with the rights"), "{text}");
    assert_eq!(profile(&gate).await.status, 200);

    let waiting = begin();
    let url = back(&waiting).await;
    let (code, text) = waiting.paste(&parameter(&url, "code"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("waits as a spare"), "{text}");

    // The answer of another login, something else, and nothing.
    let other = begin();
    let url = back(&other).await;
    for (line, told) in [
        (url.as_str(), "not under way"),
        ("https://gate.example/oauth/callback?code=x", "not an answer"),
        ("no code at all", "not an answer"),
        ("", "nothing was pasted"),
    ] {
        let (code, text) = begin().paste(line);
        assert_eq!(code, Some(1), "{line}: {text}");
        assert!(text.contains(told), "{line}: {text}");
    }
    assert_eq!(portal.control().exchanges(), 2);
    // At the callback listener its state opens nothing, whoever comes.
    assert_eq!(Browser::new(&gate).open(&url).await.answer.status, 400);
    assert_eq!(other.paste(&url).0, Some(0), "and it is still good here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_cannot_begin_says_what_to_do() {
    let portal = portal().await;
    let setup = setup(&portal);
    setup.write();
    let connect = |name: &str| {
        let output = setup.command(&["portal", "connect", name, "--no-browser"], "");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(connect("acme").contains("start `b24gate serve` first"), "{}", connect("acme"));
    let _gate = setup.start();
    let text = connect("acmee");
    assert!(text.contains("no portal acmee") && text.contains("acme"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_with_a_webhook_needs_no_login() {
    let portal = portal().await;
    let seed = portal.seed();
    let lines = format!("webhook_url = \"{}/rest/{}/\"", seed.portal_url, seed.webhook);
    let gate = setup(&portal).only_portal(&lines).start();
    for command in ["connect", "refresh", "remove"] {
        let more: &[&str] = if command == "remove" { &["--yes"] } else { &[] };
        let output = gate.setup().command(&[&["portal", command, "acme"], more].concat(), "");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("webhook"), "{text}");
    }
    assert_eq!(shown(&gate, "kind").as_deref(), Some("webhook"));
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
}
