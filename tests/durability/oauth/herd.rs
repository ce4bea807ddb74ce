//! As many callers as the machine allows, all with a token that has expired: one exchange, and
//! every call is answered.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::support::calls::{portal, request};
use crate::support::{Gate, Setup};

/// As many callers as there are descriptors for: each needs one here and one at the gateway, and
/// each call one more in both places on its way to the portal and at the portal.
fn callers() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let most = limit.maximum.unwrap_or(u64::MAX).saturating_sub(500) / 2;
    usize::try_from(most).unwrap().min(10_000)
}

/// One call on a connection that is open already: its whole answer.
async fn call(stream: &mut TcpStream) -> String {
    stream.write_all(request("/rest/profile").as_bytes()).await.unwrap();
    let mut answer = Vec::with_capacity(2048);
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            };
            if head.lines().find_map(length).is_some_and(|length| body.len() >= length) {
                return text.into_owned();
            }
        }
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "cut off");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_43_ten_thousand_callers_with_an_expired_token_share_one_exchange_and_all_are_served() {
    let count = callers();
    if count < 5_000 {
        eprintln!("skipped: the limit of file descriptors allows {count} callers only");
        return;
    }
    let portal = portal().await;
    let mut seed = portal.seed();
    portal.control().expire();
    // The gateway cannot know it beforehand: somebody has to be refused.
    let response = seed.token_response.as_object_mut().unwrap();
    response.retain(|name, _| name != "expires" && name != "expires_in");
    let setup = Setup::new(&portal).log_level("info");
    let gate = Gate::connected(&setup, &seed);

    let start = Arc::new(Barrier::new(count));
    let mut herd = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let start = start.clone();
        herd.push(tokio::spawn(async move {
            start.wait().await;
            call(&mut stream).await
        }));
    }
    let mut replayed = 0;
    for caller in herd {
        let answer = caller.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        replayed += u64::from(answer.to_lowercase().contains("x-b24-replayed"));
    }
    let counters = &portal.control().state()["counters"];
    assert_eq!(counters["exchanges"], 1);
    assert_eq!(counters["oauth_requests"], 1);
    assert_eq!(portal.control().executions("profile"), count as u64);
    // Nobody was sent more often than once and again, and only those who were refused.
    assert!(replayed > 0, "somebody had to find out");
    assert_eq!(counters["requests"], json!(count as u64 + replayed));
}
