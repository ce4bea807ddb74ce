//! How the first of several equal requests can end, and what the others get.

use std::sync::Arc;
use std::time::Duration;

use b24gate::sandbox::{Options, Sandbox};
use serde_json::json;

use super::{Held, add, begin, end, is_repeated, numbered};
use crate::support::calls::calls_of;
use crate::support::http::{self, Client};
use crate::support::script::{Line, Script, ok};
use crate::support::wire::{request, until};
use crate::support::{Gate, Setup};

const FAILPOINT: &str = "B24GATE_FAILPOINT";
const LARGEST: usize = 1024 * 1024;

fn error(status: &str, code: &str) -> Vec<u8> {
    let body = json!({"error": code, "error_description": "x"}).to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length:");
    format!("{head} {length}\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn an_answer_is_read_to_its_end_for_others_when_its_client_leaves_in_the_middle() {
    for chunked in [false, true] {
        let serve = move |mut line: Line| async move {
            while line.head().await.is_some() {
                line.body(24).await;
                let piece = "x".repeat(1000);
                let frame =
                    if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 200000" };
                line.write(format!("HTTP/1.1 200 OK\r\n{frame}\r\n\r\n")).await;
                for _ in 0..200 {
                    let (size, end) = if chunked { ("3e8\r\n", "\r\n") } else { ("", "") };
                    line.write(format!("{size}{piece}{end}")).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                line.write(if chunked { "0\r\n\r\n" } else { "" }).await;
            }
        };
        let script = Script::play(serve).await;
        let mut leaving = begin(script.gate.address).await;
        leaving.taste(100).await;
        drop(leaving);
        let again = end(begin(script.gate.address).await).await;
        assert_eq!((again.status, again.body.len(), is_repeated(&again)), (200, 200_000, true));
        assert!(again.body.iter().all(|byte| *byte == b'x'));
        assert_eq!(script.requests(), 1);
    }
}

#[tokio::test]
async fn a_call_that_the_portal_turned_away_runs_again() {
    for (status, code) in [
        ("503 Service Unavailable", "QUERY_LIMIT_EXCEEDED"),
        ("429 Too Many Requests", "OPERATION_TIME_LIMIT"),
        ("401 Unauthorized", "insufficient_scope"),
    ] {
        let setup = |setup: Setup| setup.gateway("max_wait = \"0s\"");
        let answers = match code {
            "QUERY_LIMIT_EXCEEDED" => |number| match number {
                0 => error("503 Service Unavailable", "QUERY_LIMIT_EXCEEDED"),
                _ => numbered(number),
            },
            "OPERATION_TIME_LIMIT" => |number| match number {
                0 => error("429 Too Many Requests", "OPERATION_TIME_LIMIT"),
                _ => numbered(number),
            },
            _ => |number| match number {
                0 | 1 => error("401 Unauthorized", "insufficient_scope"),
                _ => numbered(number),
            },
        };
        let portal = Held::with(setup, answers).await;
        portal.let_go(1000);
        let first = http::send(portal.address(), add()).await;
        assert!(status.starts_with(&first.status.to_string()), "{}", first.text());
        assert_eq!(first.error(), code);
        let again = http::send(portal.address(), add()).await;
        assert_eq!((again.status, is_repeated(&again)), (200, false), "{code}");
        let third = http::send(portal.address(), add()).await;
        assert_eq!((third.text(), is_repeated(&third)), (again.text(), true), "{code}");
    }
}

#[tokio::test]
async fn those_who_wait_for_a_call_that_has_not_run_run_one_after_another() {
    // A token that is refused in the header is tried as a parameter once, so that is two.
    let portal = Held::new(|number| match number {
        0 | 1 => error("401 Unauthorized", "insufficient_scope"),
        _ => numbered(number),
    })
    .await;
    let first = begin(portal.address()).await;
    portal.arrived(1).await;
    let others = [begin(portal.address()).await, begin(portal.address()).await];
    portal.waiting(2).await;
    portal.let_go(2);
    assert_eq!(end(first).await.status, 401);
    portal.arrived(3).await;
    portal.waiting(3).await;
    portal.let_go(2);
    let mut repeated = 0;
    for other in others {
        let answer = end(other).await;
        assert_eq!(answer.text(), r#"{"result":2}"#);
        repeated += usize::from(is_repeated(&answer));
    }
    assert_eq!((repeated, portal.script.requests()), (1, 3));
}

#[tokio::test]
async fn a_call_that_may_have_run_is_not_sent_again() {
    let portal = Held::prompt(|_| Vec::new()).await;
    let first = http::send(portal.address(), add()).await;
    assert_eq!((first.status, first.error().as_str()), (502, "GATEWAY_PORTAL_BROKEN"));
    let mut client = Client::connect(portal.address()).await;
    for _ in 0..2 {
        client.send(add()).await;
        let again = client.answer().await.unwrap();
        assert_eq!((again.status, again.error()), (first.status, first.error()));
        assert_eq!((again.executed().as_str(), is_repeated(&again)), ("unknown", true));
        assert!(again.field("proxy-status").is_some());
    }
    assert_eq!(portal.script.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told_and_the_call_is_not_sent_again() {
    let serve = |mut line: Line| async move {
        line.head().await;
        line.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"res").await;
    };
    let script = Script::play(serve).await;
    let first = end(begin(script.gate.address).await).await;
    assert!(!first.whole);
    let again = end(begin(script.gate.address).await).await;
    assert_eq!((again.status, again.executed().as_str()), (502, "unknown"));
    assert!(is_repeated(&again));
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_keep_is_given_once_and_the_call_is_not_sent_again() {
    fn answer(length: usize, number: usize) -> Vec<u8> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let body = "x".repeat(length);
        match number {
            0 => format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes(),
            1 => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
                    .into_bytes()
            }
            _ => panic!("it ran twice"),
        }
    }
    let largest = Held::prompt(|number| answer(LARGEST, number)).await;
    let beyond = Held::prompt(|number| answer(LARGEST + 1, number)).await;
    for id in 0..2 {
        let wire = request(&format!("POST /rest/a?bx24_request_id={id}"), "", b"x=1");
        for portal in [&largest, &beyond] {
            let first = http::send(portal.address(), &wire).await;
            assert!(first.whole && first.body.len() >= LARGEST);
        }
        let kept = http::send(largest.address(), &wire).await;
        assert_eq!((kept.status, kept.body.len(), is_repeated(&kept)), (200, LARGEST, true));
        let lost = http::send(beyond.address(), &wire).await;
        assert_eq!((lost.status, lost.error().as_str()), (502, "GATEWAY_PORTAL_BROKEN"));
        assert_eq!((lost.executed().as_str(), is_repeated(&lost)), ("unknown", true));
        assert!(lost.text().contains("too large"), "{}", lost.text());
    }
}

#[tokio::test]
async fn an_expiry_inside_the_first_is_no_matter_of_the_others() {
    let portal = Held::new(|number| match number {
        0 => error("401 Unauthorized", "expired_token"),
        _ => numbered(number),
    })
    .await;
    let first = begin(portal.address()).await;
    portal.arrived(1).await;
    let other = begin(portal.address()).await;
    portal.waiting(1).await;
    portal.let_go(3);
    let (first, other) = (end(first).await, end(other).await);
    assert_eq!(first.field("x-b24-replayed"), Some("expired_token"));
    assert_eq!((other.text(), is_repeated(&other)), (first.text(), true));
    assert_eq!((first.text().as_str(), portal.script.requests()), (r#"{"result":1}"#, 2));
}

#[tokio::test]
async fn f_60_a_panic_in_the_first_leaves_the_others_with_what_is_known() {
    async fn with(failpoint: &str) -> (Sandbox, Gate) {
        let portal = Sandbox::start(Options::default()).await.unwrap();
        let setup = Setup::new(&portal).env(FAILPOINT, failpoint);
        let gate = Gate::connected(&setup, &portal.seed());
        (portal, gate)
    }
    let target = "/rest/profile?bx24_request_id=1";
    // Before it was sent: the other one runs.
    let (portal, gate) = with("forward=panic*1").await;
    assert_eq!(http::get(gate.address, target).await.executed(), "no");
    let again = http::get(gate.address, target).await;
    assert_eq!((again.status, is_repeated(&again)), (200, false));
    assert_eq!(calls_of(&portal, "profile").len(), 1);

    // After it was sent: nobody runs.
    let (portal, gate) = with("answered=panic*1").await;
    assert_eq!(http::get(gate.address, target).await.executed(), "unknown");
    let again = http::get(gate.address, target).await;
    assert_eq!((again.status, again.executed().as_str()), (500, "unknown"));
    assert!(is_repeated(&again));
    assert_eq!(calls_of(&portal, "profile").len(), 1);

    // While its answer was on its way: nobody runs.
    let (portal, gate) = with("relay=panic*1").await;
    let mut client = Client::connect(gate.address).await;
    client.send(request(&format!("GET {target}"), "", b"")).await;
    drop(client.answer().await);
    let again = http::get(gate.address, target).await;
    assert_eq!((again.status, again.executed().as_str()), (502, "unknown"));
    assert_eq!(calls_of(&portal, "profile").len(), 1);
}

#[tokio::test]
async fn whoever_waits_longer_than_for_a_portal_is_told_and_the_first_goes_on() {
    let answered = Arc::new(tokio::sync::Semaphore::new(0));
    let lets = answered.clone();
    let serve = move |mut line: Line| {
        let lets = lets.clone();
        async move {
            while line.head().await.is_some() {
                line.body(24).await;
                line.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                while lets.available_permits() == 0 {
                    line.write("1\r\nx\r\n").await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                line.write("0\r\n\r\n").await;
            }
        }
    };
    let setup = |setup: Setup| setup.gateway("portal_timeout = \"1s\"");
    let script = Script::play_with(setup, serve).await;
    let mut first = begin(script.gate.address).await;
    first.taste(1).await;
    let waited = end(begin(script.gate.address).await).await;
    assert_eq!((waited.status, waited.error().as_str()), (504, "GATEWAY_PORTAL_TIMEOUT"));
    assert_eq!(waited.executed(), "unknown");
    answered.add_permits(1);
    let first = end(first).await;
    let again = end(begin(script.gate.address).await).await;
    assert_eq!((is_repeated(&again), again.body), (true, first.body));
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn a_webhook_stays_hidden_in_what_is_repeated() {
    const SECRET: &str = "S-canary-3f9a";
    let with_webhook = |setup: Setup| {
        let text = setup.text();
        let url = text.split("[portals.acme]\nurl = \"").nth(1).unwrap();
        let url = url.split('"').next().unwrap();
        setup.only_portal(&format!("webhook_url = \"{url}/rest/1/{SECRET}/\""))
    };
    let serve = |mut line: Line| async move {
        while let Some(head) = line.head().await {
            line.body(24).await;
            let path = head.split(' ').nth(1).unwrap();
            assert!(path.contains(SECRET));
            let body = format!("no {path} here");
            let length = body.len();
            let fields = format!("X-Path: {path}\r\nContent-Length: {length}");
            line.write(format!("HTTP/1.1 404 Not Found\r\n{fields}\r\n\r\n{body}")).await;
        }
    };
    let script = Script::play_unconnected(with_webhook, serve).await;
    let first = end(begin(script.gate.address).await).await;
    let again = end(begin(script.gate.address).await).await;
    assert!(is_repeated(&again) && again.text().contains("/rest/1/*"), "{}", again.text());
    assert_eq!((again.status, again.text()), (404, first.text()));
    assert!(!again.head.contains(SECRET) && !again.text().contains(SECRET));
    assert_eq!(again.field("x-path"), first.field("x-path"));
    assert_eq!(script.requests(), 1);
    until("the log", || !script.gate.log().is_empty()).await;
    assert!(!script.gate.log().contains(SECRET));
}

#[tokio::test]
async fn a_repetition_is_answered_by_another_worker_and_over_a_unix_socket() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.sock");
    let address = format!("unix:{}", path.display());
    let serve = |mut line: Line| async move {
        while line.head().await.is_some() {
            line.body(24).await;
            line.write(ok("{\"result\":1}")).await;
        }
    };
    let script = Script::play_with(|setup| setup.listen(&address), serve).await;
    // Connections are spread over the workers while others are open.
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut client = begin(script.gate.address).await;
        assert_eq!(client.answer().await.unwrap().text(), "{\"result\":1}");
        open.push(client);
    }
    assert_eq!(script.requests(), 1);
    // There the user is known, so that it is somebody else's request, once.
    for repeated in [false, true] {
        let mut unix = tokio::net::UnixStream::connect(&path).await.unwrap();
        unix.write_all(&add()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = unix.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert_eq!(answer.contains("X-B24-Replayed: request_id"), repeated, "{answer}");
        assert_eq!(script.requests(), 2);
    }
}
