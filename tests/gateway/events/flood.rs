//! F-62: more events than anybody can want.

use std::collections::BTreeMap;

use serde_json::json;

use crate::installs_support::{
    FORM, encoded, event, install_event, now, page, post_page, sandbox, stored, with,
};
use crate::support::http::{self, Client};

/// Connections that flood, and what each of them posts.
const CONNECTIONS: usize = 8;
const EACH: usize = 1250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_62_ten_thousand_forged_events_are_answered_and_cost_no_write_and_no_question() {
    let portal = sandbox().await;
    let (gate, seed) = super::installed(&portal).await;
    gate.wait_for_log("connect::welcome");
    let (setup, before) = stored(gate).await;
    let gate = setup.start();
    let asked = portal.control().log().len();
    let unknown = portal.control().seed_for(&"ab".repeat(16), 7);
    let forged = [
        event("ONCRMDEALADD", &seed, "wrong-token", now()),
        event("ONAPPUNINSTALL", &seed, "wrong-token", now() + 5),
        event("ONAPPUNINSTALL", &unknown, "app-token", now() + 5),
        // A portal that is not ours: none of its fields leads to an application of ours.
        with(install_event(&unknown, "app-token", now()), "auth[domain]", "evil.example"),
        event("ONAPPPAYMENT", &seed, "", now()),
    ];
    let forged: Vec<_> = forged.iter().map(|fields| request(&encoded(fields))).collect();
    let mut floods = Vec::new();
    for _ in 0..CONNECTIONS {
        let (address, forged) = (gate.callback, forged.clone());
        floods.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut refused = 0;
            for request in forged.iter().cycle().take(EACH) {
                client.send(request).await;
                let answer = client.answer().await.expect("an answer to every event");
                refused += usize::from(answer.status == 403);
            }
            refused
        }));
    }
    // Who calls the portal meanwhile does not notice.
    let mut calls = 0;
    while !floods.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
        calls += 1;
    }
    let mut refused = 0;
    for flood in floods {
        refused += flood.await.unwrap();
    }
    assert_eq!(refused, CONNECTIONS * EACH);
    assert!(calls > 0);
    let log = portal.control().log();
    let questions = log.iter().skip(asked).filter(|it| it.target.contains("app.info")).count();
    assert_eq!((questions, portal.control().exchanges()), (0, 1));
    assert_eq!(stored(gate).await.1, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_62_a_flood_that_nobody_can_judge_writes_a_quarter_of_the_inbox_and_no_more() {
    let portal = sandbox().await;
    let (gate, _) = super::installed(&portal).await;
    portal.control().fault(&json!({"oauth": {"mode": "down"}})).await.unwrap();
    let mut client = Client::connect(gate.callback).await;
    let mut statuses = BTreeMap::new();
    for number in 0..400 {
        let fields = install_event(&portal.seed(), "evil-token", now());
        let fields = with(fields, "auth[access_token]", &format!("5eed{number}"));
        client.send(request(&encoded(&fields))).await;
        let status = client.answer().await.expect("an answer to every event").status;
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 64), (503, 336)]));
    portal.control().clear_faults().await;
    while post_page(gate.callback, &page(&portal.seed(), "app-token")).await.status != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(super::profile(&gate).await.status, 200);
}

fn request(body: &str) -> String {
    format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
