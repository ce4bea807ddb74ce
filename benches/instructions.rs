//! How many instructions of the gateway one kept-alive request takes, all of its own code between
//! the two sockets: `cargo bench --bench instructions`.
//!
//! The real binary runs under valgrind, which counts only inside the future that serves a
//! connection. Counts hardly depend on what else the machine does, so a change of a few percent is
//! a change of the code. The bound below fails the run; raise it only with a reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints what it found"
)]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return; // `cargo test --benches` only wants to know that it builds
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed; nothing was counted");
        return;
    }
    let portal = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", portal.local_addr().unwrap());
    std::thread::spawn(move || portal.incoming().for_each(|stream| serve(stream.unwrap())));
    let (few, many) = (count(&url, FEW), count(&url, MANY));
    let each = (many - few) / u64::from(MANY - FEW);
    println!("{each} instructions for one request (bound {BOUND})");
    assert!(each > BOUND / 2, "the function that is counted in has another name now");
    assert!(each <= BOUND, "the request path has become more expensive");
}

/// Instructions of the request path for `requests` requests on one connection.
fn count(url: &str, requests: u32) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let (config, state) = (directory.path().join("b24gate.toml"), directory.path().join("state"));
    let text = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[callback]\n\
         listen = \"127.0.0.1:0\"\n[apps.main]\nclient_id = \"x\"\nclient_secret = \"x\"\n\
         oauth_server = \"{url}\"\n[portals.acme]\nurl = \"{url}\"\ninject = \"bearer\"\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    import(&config, &state);
    let mut gateway = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*Worker*serve*closure*")
        .arg(env!("CARGO_BIN_EXE_b24gate"))
        .args(["serve", "--config"])
        .arg(&config)
        .arg("--state")
        .arg(&state)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(gateway.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = log.find(|line| line.contains("gateway listening")).unwrap();
    let address = listening.split("http://").nth(1).unwrap().trim();
    call(address, requests);
    let pid = gateway.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let collected = log.find(|line| line.contains("Collected")).expect("a count from valgrind");
    gateway.wait().unwrap();
    collected.rsplit(' ').next().unwrap().parse().unwrap()
}

fn import(config: &Path, state: &Path) {
    let mut import = Command::new(env!("CARGO_BIN_EXE_b24gate"))
        .args(["portal", "import", "acme", "--config"])
        .arg(config)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let token = format!(r#"{{"access_token":"{}","refresh_token":"r"}}"#, "0123456789".repeat(7));
    import.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

fn call(address: &str, requests: u32) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = "GET /rest/user.get?id=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n\
                   Accept: */*\r\n\r\n";
    let mut answer = [0; 4096];
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).unwrap();
        let length = stream.read(&mut answer).unwrap();
        assert!(answer.get(..length).unwrap().starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// Answers every request on the connection with the same 300 bytes of JSON.
fn serve(mut stream: TcpStream) {
    let body = format!("{{\"result\":\"{}\"}}", "x".repeat(287));
    let answer = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.set_nodelay(true).unwrap();
    let mut request = [0; 4096];
    while matches!(stream.read(&mut request), Ok(1..)) {
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

const FEW: u32 = 500;
const MANY: u32 = 2500;
/// Instructions; measured plus a tenth.
const BOUND: u64 = 15_250;
