//! Calls as tests of the token make them, and what the portal has seen of them.

use std::net::SocketAddr;
use std::time::Duration;

use b24gate::sandbox::{Entry, Options, Sandbox};
use serde_json::Value;

use super::http::{self, Answer, Client};
use super::{Gate, PATIENCE};

/// A portal with its OAuth server at the same address.
pub async fn portal() -> Sandbox {
    Sandbox::start(Options::default()).await.unwrap()
}

/// A portal whose OAuth server has an address of its own, so that it can be down alone.
pub async fn portal_apart() -> Sandbox {
    Sandbox::start(Options::apart()).await.unwrap()
}

/// The call that most tests make.
pub async fn profile(gate: &Gate) -> Answer {
    http::get(gate.address, "/rest/profile").await
}

/// Switches a fault on.
pub async fn fault(portal: &Sandbox, fault: Value) {
    portal.control().fault(&fault).await.unwrap();
}

/// Throws a switch.
pub fn switch(portal: &Sandbox, change: Value) {
    portal.control().switch(&change).unwrap();
}

/// A GET as bytes.
pub fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Sends a request on a connection of its own and leaves the answer to be read.
pub async fn begin(address: SocketAddr, target: &str) -> Client {
    let mut client = Client::connect(address).await;
    client.send(request(target)).await;
    client
}

/// As many callers at the same time, each on a connection of its own.
pub async fn herd(address: SocketAddr, count: usize, target: &str) -> Vec<Answer> {
    raise_descriptor_limit();
    let callers: Vec<_> = (0..count)
        .map(|_| {
            let target = target.to_owned();
            tokio::spawn(async move { http::get(address, &target).await })
        })
        .collect();
    let mut answers = Vec::with_capacity(count);
    for caller in callers {
        answers.push(caller.await.unwrap());
    }
    answers
}

/// A herd needs two sockets a caller in this process; the usual limit is 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Waits for something that must come true.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The latest requests to the token endpoint.
pub fn token_requests(portal: &Sandbox) -> Vec<Entry> {
    let log = portal.control().log();
    log.into_iter().filter(|entry| entry.target.starts_with("/oauth/token")).collect()
}

/// The latest calls of a method, as the portal got them.
pub fn calls_of(portal: &Sandbox, method: &str) -> Vec<Entry> {
    let log = portal.control().log();
    log.into_iter().filter(|entry| entry.rest_method.as_deref() == Some(method)).collect()
}

/// `name` of `b24gate portal show acme`.
pub fn shown(gate: &Gate, name: &str) -> Option<String> {
    let output = gate.setup().command(&["portal", "show", "acme"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim().to_owned())
}

/// No client ever sees a word that would make it renew a token itself.
pub fn assert_hides_the_token(answer: &Answer) {
    let (head, body) = (answer.head.to_lowercase(), answer.text().to_lowercase());
    for word in ["expired_token", "invalid_token"] {
        assert!(!body.contains(word), "{word} in {body}");
        let told = head.replace("x-b24-replayed: expired_token", "");
        assert!(!told.contains(word), "{word} in {head}");
    }
}

/// The gateway's own answer: its status, its code, and that the call has not run.
pub fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_hides_the_token(answer);
    assert_eq!((answer.status, answer.error().as_str()), (status, code), "{}", answer.text());
    assert_eq!(answer.executed(), "no", "{}", answer.text());
    assert!(answer.field("proxy-status").is_some_and(|text| text.starts_with("b24gate; error=")));
}

/// `Retry-After` in seconds.
pub fn retry_after(answer: &Answer) -> u64 {
    answer.field("retry-after").expect("Retry-After").parse().unwrap()
}
