//! What portals and networks do wrong, and what becomes of it: an answer that says whether the call
//! has run, or a transfer that is visibly broken. Never a second run, never a short 200.

mod cut;
mod hostile;
mod replays;
mod streams;

use std::net::TcpListener;

use b24gate::sandbox::Sandbox;
use serde_json::{Value, json};

use crate::support::http::{self, Answer, Client};
use crate::support::script::{Script, ok};
use crate::support::wire::{calls, open_connections, pattern, request, stage, stage_with, until};
use crate::support::{Gate, Setup};

async fn fault(portal: &Sandbox, fault: Value) {
    portal.control().fault(&json!({"portal": fault})).await.unwrap();
}

fn is_refused(answer: &Answer, status: u16, code: &str, executed: &str) {
    let found = (answer.status, answer.error(), answer.executed());
    assert_eq!(found, (status, code.to_owned(), executed.to_owned()), "{}", answer.text());
}

fn one_second(setup: Setup) -> Setup {
    setup.gateway("portal_timeout = \"1s\"\nreplay_memory = \"64KiB\"")
}

/// Bodies of every kind of handling: none, in the read buffer, in memory, in the temporary file.
fn posts(target: &str) -> Vec<Vec<u8>> {
    [0, 500, 60_000, 1_500_000]
        .map(|length| request(&format!("POST {target}"), "", &pattern(length)))
        .into()
}

#[tokio::test]
async fn f_20_a_portal_that_refuses_connections_has_run_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (_portal, gate) =
        stage_with(|setup| setup.only_portal(&format!("url = \"http://{address}\""))).await;
    for wire in posts("/rest/crm.deal.add") {
        let answer = http::send(gate.address, wire).await;
        is_refused(&answer, 502, "GATEWAY_PORTAL_UNREACHABLE", "no");
        assert_eq!(answer.field("proxy-status"), Some("b24gate; error=connection_refused"));
    }
}

#[tokio::test]
async fn f_21_a_connection_that_breaks_before_the_answer_leaves_the_call_unknown_and_run_once() {
    let (portal, gate) = stage().await;
    let mut runs = 0;
    for mode in ["reset_before_answer", "close_before_answer"] {
        for executed in [true, false] {
            fault(&portal, json!({"mode": mode, "executed": executed})).await;
            let mut wires = posts("/rest/sandbox.echo");
            wires.push(request("GET /rest/sandbox.echo", "", b""));
            for wire in wires {
                portal.control().clear_log();
                let answer = http::send(gate.address, wire).await;
                is_refused(&answer, 502, "GATEWAY_PORTAL_BROKEN", "unknown");
                assert_eq!(calls(&portal).len(), 1, "{mode}: sent once, whatever the verb");
                runs += u64::from(executed);
            }
            portal.control().clear_faults().await;
        }
    }
    assert_eq!(portal.control().executions("sandbox.echo"), runs);
}

#[tokio::test]
async fn f_22_a_connection_closed_while_idle_is_replaced_and_nothing_runs_twice() {
    let (portal, gate) = stage().await;
    fault(&portal, json!({"mode": "idle_close", "ms": 1})).await;
    let mut client = Client::connect(gate.address).await;
    for number in 0..1_000 {
        let line = format!("POST /rest/sandbox.echo?id={number}");
        client.send(request(&line, "", b"a=1")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        until("the portal closes the idle connection", || open_connections(&portal) == 0).await;
    }
    let runs = portal.control().marked_executions();
    assert_eq!(runs.len(), 1_000);
    assert!(runs.values().all(|count| *count == 1));
    assert_eq!(portal.control().executions("sandbox.echo"), 1_000);
}

#[tokio::test]
async fn f_22_a_close_that_races_with_the_next_request_never_makes_it_run_twice() {
    let (portal, gate) = stage().await;
    fault(&portal, json!({"mode": "idle_close", "ms": 1})).await;
    let mut client = Client::connect(gate.address).await;
    let mut unknown = Vec::new();
    for number in 0..500_u64 {
        // From well before the close to well after it.
        for _ in 0..(number % 60) * 50 {
            tokio::task::yield_now().await;
        }
        client.send(request(&format!("POST /rest/sandbox.echo?id={number}"), "", b"a=1")).await;
        let answer = client.answer().await.unwrap();
        if answer.status != 200 {
            is_refused(&answer, 502, "GATEWAY_PORTAL_BROKEN", "unknown");
            unknown.push(number);
        }
    }
    let runs = portal.control().marked_executions();
    for number in 0..500 {
        let count = runs.get(&format!("sandbox.echo id={number}")).copied().unwrap_or(0);
        let sound = if unknown.contains(&number) { count <= 1 } else { count == 1 };
        assert!(sound, "call {number} ran {count} times; unknown: {unknown:?}");
    }
}

#[tokio::test]
async fn f_23_a_reused_connection_that_dies_under_a_request_leaves_it_unknown_and_run_once() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    let wires = posts("/rest/sandbox.echo");
    for (number, wire) in wires.iter().enumerate() {
        client.send(request("GET /rest/profile", "", b"")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        fault(&portal, json!({"mode": "reset_before_answer", "reused": true, "count": 1})).await;
        client.send(wire).await;
        is_refused(&client.answer().await.unwrap(), 502, "GATEWAY_PORTAL_BROKEN", "unknown");
        assert_eq!(portal.control().executions("sandbox.echo"), number as u64 + 1);
    }
}

#[tokio::test]
async fn f_26_a_portal_that_never_answers_is_a_504_and_its_connection_is_given_up() {
    let (portal, gate) = stage_with(one_second).await;
    fault(&portal, json!({"mode": "hang"})).await;
    let mut hanging = tokio::task::JoinSet::new();
    for wire in posts("/rest/sandbox.echo") {
        hanging.spawn(http::send(gate.address, wire));
    }
    while let Some(answer) = hanging.join_next().await {
        is_refused(&answer.unwrap(), 504, "GATEWAY_PORTAL_TIMEOUT", "unknown");
    }
    until("the gateway hangs up", || open_connections(&portal) == 0).await;
    assert_eq!(portal.control().executions("sandbox.echo"), 4, "each ran once, and only once");
    portal.control().clear_faults().await;
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test]
async fn f_26_a_portal_that_stops_in_its_head_or_takes_no_body_is_a_504() {
    let script = Script::play_with(one_second, |mut line| async move {
        let head = line.head().await.unwrap_or_default();
        if head.starts_with("GET") {
            line.write("HTTP/1.1 200 OK\r\nContent-Type: application/js").await;
        }
        if head.starts_with("HEAD") {
            line.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n").await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    let address = script.gate.address;
    let large = vec![7; 20_000_000];
    let (head, interim, body) = tokio::join!(
        http::get(address, "/rest/profile"),
        async {
            let mut client = Client::connect(address).await;
            client.send(request("HEAD /rest/profile", "", b"")).await;
            client.answer_to(true).await.unwrap()
        },
        http::post(address, "/rest/upload", "application/octet-stream", &large),
    );
    is_refused(&head, 504, "GATEWAY_PORTAL_TIMEOUT", "unknown");
    assert_eq!(interim.status, 504);
    is_refused(&body, 504, "GATEWAY_PORTAL_TIMEOUT", "unknown");
    assert_eq!(script.requests(), 3);
}

#[tokio::test]
async fn f_27_error_pages_of_the_portals_front_end_pass_through_and_are_not_retried() {
    let (portal, gate) = stage().await;
    for status in [500, 502, 503, 504, 404, 413, 429, 403, 401] {
        portal.control().clear_log();
        // A 401 is tried once more while nobody knows whether the portal hears Bearer.
        http::get(gate.address, "/rest/profile").await;
        fault(&portal, json!({"mode": "html", "status": status, "count": 1})).await;
        let answer = http::post(gate.address, "/rest/crm.deal.add", "text/plain", b"a=1").await;
        assert_eq!((answer.status, answer.field("content-type")), (status, Some("text/html")));
        assert!(answer.text().contains("<center>nginx</center>"), "{}", answer.text());
        assert_eq!(answer.field("proxy-status"), None, "it is the portal's own");
        assert_eq!(calls(&portal).len(), 2, "{status}");
    }
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test]
async fn f_28_a_200_with_a_page_is_not_an_answer() {
    let (portal, gate) = stage().await;
    fault(&portal, json!({"mode": "html", "status": 200, "count": 1})).await;
    let answer = http::get(gate.address, "/rest/profile").await;
    is_refused(&answer, 502, "GATEWAY_PORTAL_BROKEN", "unknown");
    assert_eq!(calls(&portal).len(), 1);
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
}

/// What can go wrong with one call, and leaves the next one alone.
fn mishaps() -> Vec<Value> {
    let mut mishaps: Vec<Value> = [
        "reset_before_answer",
        "close_before_answer",
        "expired_once",
        "garbage",
        "continue_102",
        "continue_103",
        "html",
    ]
    .map(|mode| json!({"mode": mode}))
    .into();
    mishaps.push(json!({"mode": "cut_body", "after": 20}));
    mishaps.push(json!({"mode": "cut_body", "after": 20, "framing": "chunked", "reset": true}));
    mishaps.push(json!({"mode": "hang", "ms": 10}));
    mishaps.push(json!({"mode": "reset_before_answer", "reused": true, "executed": false}));
    mishaps.push(json!({"mode": "error", "code": "expired_token", "format": "gzip"}));
    mishaps.push(json!({"mode": "framing", "as": "close"}));
    mishaps.push(json!({"mode": "framing", "as": "length_and_chunked"}));
    mishaps
}

#[tokio::test]
async fn every_answer_is_true_about_whether_its_call_has_run() {
    let (portal, gate) = stage().await;
    let mut verdicts = Vec::new();
    for number in 0..280 {
        let mut mishap = mishaps()[number % 14].clone();
        mishap["count"] = 1.into();
        fault(&portal, mishap).await;
        verdicts.push(verdict(&gate, number).await);
        portal.control().clear_faults().await;
    }
    let runs = portal.control().marked_executions();
    for (number, verdict) in verdicts.iter().enumerate() {
        let count = runs.get(&format!("sandbox.echo id={number}")).copied().unwrap_or(0);
        let mishap = &mishaps()[number % 14];
        let sound = match verdict.as_str() {
            "yes" => count == 1,
            "no" => count == 0,
            _ => count <= 1,
        };
        assert!(sound, "{mishap}: said {verdict}, ran {count} times");
    }
    assert!(verdicts.iter().filter(|verdict| *verdict == "yes").count() >= 100, "{verdicts:?}");
}

/// What the client may believe after a call.
async fn verdict(gate: &Gate, number: usize) -> String {
    let body = pattern(if number.is_multiple_of(3) { 100_000 } else { 10 });
    let wire = request(&format!("POST /rest/sandbox.echo?id={number}"), "", &body);
    let answer = http::send(gate.address, wire).await;
    match answer.status {
        200 if answer.whole => "yes".to_owned(),
        502 if answer.field("proxy-status").is_some() => answer.executed(),
        _ => "unknown".to_owned(),
    }
}

#[tokio::test]
async fn a_portal_that_answers_well_again_is_served_well_again() {
    let script = Script::play(|mut line| async move {
        while line.head().await.is_some() {
            if line.number < 3 {
                return line.reset();
            }
            line.write(ok("{\"result\":true}")).await;
        }
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(http::get(script.gate.address, "/rest/profile").await.status);
    }
    assert_eq!(statuses, [502, 502, 502, 200, 200]);
    assert_eq!(script.requests(), 5, "no request was sent twice");
}
