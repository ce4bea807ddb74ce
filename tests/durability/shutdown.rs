//! Signals in the middle of an exchange, and a second process on the same state: an exchange that
//! was begun is brought to its end, and nobody whose call was taken notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::calls::{begin, fault, portal, portal_apart, profile, shown, until};
use crate::support::{Gate, Setup, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_51_a_second_process_on_the_same_state_exits_with_3_and_names_the_first() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let second = gate.setup().command(&["serve"], "");
    assert_eq!(second.status.code(), Some(3));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another b24gate"), "{said}");
    assert!(said.contains(&gate.pid().to_string()), "{said}");
    assert_eq!(profile(&gate).await.status, 200, "the first is unaffected");
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
}

/// Stops a gateway in the middle of an exchange, and starts it again.
async fn check_stop_during_exchange(signals: usize, client_stays: bool) {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 1500, "count": 1}})).await;
    let client = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    let mut client = client_stays.then_some(client);
    for number in 1..signals {
        gate.signal(if number % 2 == 0 { "INT" } else { "TERM" });
        // Signals that come faster than they are seen count as one.
        until("the signal is seen", || gate.log().matches("stopping").count() >= number).await;
    }
    let setup = gate.setup().clone();
    let stopping = tokio::task::spawn_blocking(|| gate.stop());
    if let Some(client) = &mut client {
        let answer = client.answer().await.expect("an answer before the end");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let (status, log) = stopping.await.unwrap();
    assert!(status.success(), "{status} {log}");
    assert!(log.contains("token refreshed"), "{log}");

    let again = setup.start();
    let answer = profile(&again).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(portal.control().exchanges(), 1, "the pair was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_55_a_stop_waits_for_the_exchange_and_its_client_gets_the_answer() {
    check_stop_during_exchange(1, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_55_a_stop_waits_for_an_exchange_whose_client_has_left() {
    check_stop_during_exchange(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_56_ten_further_signals_do_not_hurry_an_exchange() {
    check_stop_during_exchange(11, true).await;
}

/// What became of the calls of one caller.
#[derive(Debug, Default)]
struct Outcome {
    served: Vec<String>,
    /// Calls that were turned away without a byte: the gateway had not taken them.
    turned_away: Vec<String>,
}

/// Calls with a connection for each call, until the gateway takes no more.
async fn keep_calling(address: SocketAddr, caller: usize, served: Arc<AtomicUsize>) -> Outcome {
    let mut outcome = Outcome::default();
    for number in 0.. {
        let id = format!("c{caller}-{number}");
        let Ok(mut stream) = TcpStream::connect(address).await else { break };
        let head = format!(
            "GET /neighbour/rest/profile?id={id} HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\n\r\n"
        );
        let mut answer = Vec::new();
        let sent = stream.write_all(head.as_bytes()).await;
        drop(stream.read_to_end(&mut answer).await);
        if answer.is_empty() {
            outcome.turned_away.push(id);
            break;
        }
        sent.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 200 "), "{id}: {text}");
        assert!(text.contains("\"result\"") && text.ends_with('}'), "{id} is cut off: {text}");
        outcome.served.push(id);
        served.fetch_add(1, Ordering::Relaxed);
    }
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_55_a_stop_under_load_with_an_exchange_in_flight_fails_no_call_that_was_taken() {
    let (acme, neighbour) = (portal_apart().await, portal_apart().await);
    let other = neighbour.seed();
    let more = format!(
        "[apps.other]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_server = \"{}\"\n\
         [portals.neighbour]\nurl = \"{}\"\napp = \"other\"\n",
        other.client_id, other.client_secret, other.oauth_url, other.portal_url
    );
    let setup = Setup::new(&acme).portal("app = \"main\"").more(&more);
    let gate = Gate::connected(&setup, &acme.seed());
    let pair = other.token_response.to_string();
    assert!(gate.setup().command(&["portal", "import", "neighbour"], &pair).status.success());

    let served = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..20)
        .map(|caller| tokio::spawn(keep_calling(gate.address, caller, served.clone())))
        .collect();
    until("there is load", || served.load(Ordering::Relaxed) > 100).await;
    acme.control().expire();
    fault(&acme, json!({"oauth": {"mode": "slow", "ms": 1000, "count": 1}})).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(begin(gate.address, "/acme/rest/profile").await);
    }
    until("the exchange is made", || acme.control().exchanges() == 1).await;
    let setup = gate.setup().clone();
    let stopping = tokio::task::spawn_blocking(|| gate.stop());
    for client in &mut waiting {
        let answer = client.answer().await.expect("an answer to a call that was taken");
        assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
        assert!(client.is_closed().await);
    }
    let ran = || neighbour.control().marked_executions();
    for caller in callers {
        let Outcome { served, turned_away } = caller.await.unwrap();
        for id in served {
            assert_eq!(ran().get(&format!("profile id={id}")), Some(&1), "{id}");
        }
        for id in turned_away {
            assert_eq!(ran().get(&format!("profile id={id}")), None, "{id} ran unanswered");
        }
    }
    let (status, log) = stopping.await.unwrap();
    assert!(status.success(), "{status} {log}");
    assert!(log.contains("token refreshed"), "{log}");

    let again = setup.start();
    let answer = http::get(again.address, "/acme/rest/profile").await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(acme.control().exchanges(), 1, "the pair was stored");
}
