//! The unix socket: by default only the gateway's own user may connect, and no other process loses
//! its own.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use b24gate::sandbox::{Options, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{Gate, Setup, http};

#[tokio::test]
async fn calls_over_a_unix_socket_are_served_to_its_owner_alone_beside_tcp() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let gate = Gate::connected(&listening_on(&portal, &path), &portal.seed());
    let about = std::fs::symlink_metadata(&path).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);

    for target in ["/rest/profile", "/rest/profile?filter[>ID]=0"] {
        let answer = call(&path, target).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"Ada\""), "{answer}");
    }
    portal.control().expire();
    assert!(call(&path, "/rest/profile").await.contains("X-B24-Replayed: expired_token"));
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn a_socket_gets_exactly_the_mode_that_is_configured_whatever_the_umask() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (umask, mode) in [("077", 0o666), ("000", 0o600), ("022", 0o660), ("000", 0o660)] {
        let path = folder.path().join(format!("{umask}-{mode:o}.sock"));
        let with_umask = format!("umask {umask}; exec \"$0\" \"$@\"");
        let setup = listening_on(&portal, &path).gateway(&format!("socket_mode = \"0{mode:o}\""));
        let gate = setup.through(&["sh", "-c", &with_umask]).start();
        let about = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(about.permissions().mode() & 0o7777, mode, "umask {umask}");
        drop(gate);
    }
}

#[tokio::test]
async fn a_socket_that_a_crash_left_behind_is_replaced() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let setup = Gate::connected(&listening_on(&portal, &path), &portal.seed()).kill();
    assert!(path.exists() && UnixStream::connect(&path).await.is_err(), "it is stale");
    let gate = setup.start();
    assert!(call(&path, "/rest/profile").await.starts_with("HTTP/1.1 200 OK"));
    drop(gate);
}

#[tokio::test]
async fn a_socket_that_somebody_serves_is_not_taken_away() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let gate = Gate::connected(&listening_on(&portal, &path), &portal.seed());
    assert_refused(&listening_on(&portal, &path), &path);
    assert!(call(&path, "/rest/profile").await.starts_with("HTTP/1.1 200 OK"));
    drop(gate);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("notes.txt"), folder.path().join("gate.sock"));
    std::fs::write(&file, "keep me").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        assert_refused(&listening_on(&portal, path), path);
    }
    assert_eq!(std::fs::read_to_string(&link).unwrap(), "keep me");
}

fn listening_on(portal: &Sandbox, path: &Path) -> Setup {
    Setup::new(portal).listen(&format!("unix:{}", path.display()))
}

fn assert_refused(setup: &Setup, path: &Path) {
    setup.write();
    let output = setup.command(&["serve"], "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on unix:{}", path.display())), "{said}");
}

async fn call(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    // A host name protects nothing here, so any will do.
    let request = format!("GET {target} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}
