//! Code that panics in the middle of a call or of a renewal: one caller is told, nobody else
//! notices, and no pair is lost.

use std::time::Duration;

use crate::support::calls::{
    assert_refused, calls_of, herd, portal, profile, request, retry_after, shown,
};
use crate::support::http::{Answer, Client, send};
use crate::support::script::{Script, ok};
use crate::support::{Gate, Setup};

const FAILPOINT: &str = "B24GATE_FAILPOINT";

fn assert_internal(answer: &Answer, executed: &str) {
    assert_eq!((answer.status, answer.error().as_str()), (500, "GATEWAY_INTERNAL"));
    assert_eq!(answer.executed(), executed, "{}", answer.text());
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.field("proxy-status"), Some("b24gate; error=proxy_internal_error"));
}

/// The log tells the panic as a line of its own kind, and the standard hook says nothing.
fn assert_logged(gate: &Gate, name: &str, file: &str) {
    let line = gate.wait_for_log(&format!("said=failpoint {name} "));
    assert!(line.contains(" ERROR ") && line.contains(&format!("place={file}:")), "{line}");
    assert!(!gate.log().contains("panicked at"), "{}", gate.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_60_a_panic_before_a_call_is_sent_is_a_500_and_other_connections_live_on() {
    let portal = portal().await;
    let setup = Setup::new(&portal).env(FAILPOINT, "forward=panic*3");
    let gate = Gate::connected(&setup, &portal.seed());
    let mut bystander = Client::connect(gate.address).await;

    let mut client = Client::connect(gate.address).await;
    let head = "GET /rest/profile HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: r-17\r\n\r\n";
    client.send(head).await;
    let answer = client.answer().await.unwrap();
    assert_internal(&answer, "no");
    assert_eq!(answer.json()["gateway"]["request_id"], "r-17");
    assert!(gate.wait_for_log("call ended by a panic").contains("r-17"));
    assert!(client.is_closed().await);
    let xml = send(gate.address, request("/rest/profile.xml")).await;
    assert!(xml.text().contains("<error>GATEWAY_INTERNAL</error>"), "{}", xml.text());
    let mut client = Client::connect(gate.address).await;
    client.send("HEAD /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(client.answer_to(true).await.unwrap().status, 500);
    assert!(client.is_closed().await, "an answer to HEAD has no body");

    assert!(calls_of(&portal, "profile").is_empty());
    assert_logged(&gate, "forward", "src/gateway/exchange.rs");
    for _ in 0..2 {
        bystander.send(request("/rest/profile")).await;
        assert_eq!(bystander.answer().await.unwrap().status, 200);
    }
    assert!(gate.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_60_a_panic_after_a_call_was_sent_is_a_500_that_does_not_know_whether_it_has_run() {
    let portal = portal().await;
    let setup = Setup::new(&portal).env(FAILPOINT, "answered=panic*1");
    let gate = Gate::connected(&setup, &portal.seed());
    assert_internal(&profile(&gate).await, "unknown");
    assert_eq!(portal.control().executions("profile"), 1);
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_60_a_panic_in_the_middle_of_an_answer_is_a_broken_transfer() {
    let script = Script::play_with(
        |setup| setup.env(FAILPOINT, "relay=panic*2"),
        |mut line| async move {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
            let body = "{\"result\": [1, 2, 3, 4, 5, 6, ";
            let parts = [format!("Content-Length: 100\r\n\r\n{body}"), format!("\r\n{body}")];
            while line.head().await.is_some() {
                match parts.get(line.number) {
                    Some(part) => line.write(format!("{head}{part}")).await,
                    None => line.write(ok("{}")).await,
                }
            }
        },
    )
    .await;
    let counted = send(script.gate.address, request("/rest/profile")).await;
    assert_eq!((counted.status, counted.whole), (200, false), "a part of the length it states");
    // HTTP/1.0 knows the end of the connection only, so that end must be a reset.
    let mut client = Client::connect(script.gate.address).await;
    client.send("GET /rest/profile HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.is_none_or(|answer| answer.status == 200));
    assert!(client.was_reset());

    assert_eq!(profile(&script.gate).await.status, 200);
    assert_logged(&script.gate, "relay", "src/gateway/relay.rs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_60_a_panic_in_the_renewal_is_a_503_for_all_who_wait_and_costs_no_pair() {
    let portal = portal().await;
    let setup = Setup::new(&portal).env(FAILPOINT, "after_intent=panic*1");
    let gate = Gate::connected(&setup, &portal.seed());
    portal.control().expire();

    let mut wait = 0;
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
        wait = wait.max(retry_after(&answer));
    }
    assert_eq!(portal.control().exchanges(), 0, "it failed before the exchange");
    assert_logged(&gate, "after_intent", "src/credential/rotation.rs");

    // A client that does as it is told is not told twice.
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
    let again = gate.kill().start();
    assert_eq!(shown(&again, "generation").as_deref(), Some("2"));
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_failpoint_is_refused_at_the_start() {
    let setup = Setup::new(&portal().await).env(FAILPOINT, "forward=explode");
    setup.write();
    // A command that ends by itself, should it not be refused.
    let refused = setup.command(&["portal", "list"], "");
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("\"forward=explode\" is not name=action"), "{told}");
}
