//! `access_log`: each call is a line of the log.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::support::calls::{portal, profile};
use crate::support::{Gate, Setup, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_a_line_of_the_log_and_the_last_one_is_not_lost_at_a_stop() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more("[audit]\nkeep = \"off\"\naccess_log = true");
    let gate = Gate::connected(&setup.log_level("info"), &portal.seed());
    assert_eq!(http::get(gate.address, "/rest/profile?word=canary-query").await.status, 200);
    let line = gate.wait_for_log("b24gate::access");
    for part in
        [" INFO ", "portal=acme", "method=profile", "status=200", "executed=yes", " ms=", "at_ms="]
    {
        assert!(line.contains(part), "no {part} in {line}");
    }
    for part in ["client=", "uid=", "replayed=", "code="] {
        assert!(!line.contains(part), "{part} in {line}");
    }
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(http::get(gate.address, "/rest/").await.status, 404);
    gate.signal("TERM");
    gate.wait_for_log(" stopped");
    let log = gate.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("b24gate::access")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[1].contains("replayed=expired_token"), "{lines:?}");
    assert!(
        lines[2].contains("status=404") && lines[2].contains("code=GATEWAY_NOT_A_METHOD"),
        "{lines:?}"
    );
    assert!(!log.contains("canary-query"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_log_of_json_a_call_is_an_object_with_the_same_fields() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more("[audit]\naccess_log = true").log_level("info");
    setup.write();
    setup.import(&portal.seed());
    let mut gate = setup.begin(&["serve", "--log-format", "json"]);
    let mut lines = BufReader::new(gate.stderr.take().unwrap()).lines().map(Result::unwrap);
    let listening = lines.find(|line| line.contains("gateway listening")).unwrap();
    let listening: Value = serde_json::from_str(&listening).unwrap();
    let address: SocketAddr =
        listening["address"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    assert_eq!(http::get(address, "/rest/profile").await.status, 200);
    // At once, so that it is written at the stop.
    let pid = gate.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    let (found, rest) = tokio::task::spawn_blocking(move || {
        let found = lines.find(|line| line.contains("b24gate::access"));
        (found, lines.count())
    })
    .await
    .unwrap();
    let call: Value = serde_json::from_str(&found.expect("a line of the call")).unwrap();
    assert_eq!((&call["target"], &call["level"]), (&"b24gate::access".into(), &"INFO".into()));
    assert_eq!((&call["method"], &call["portal"]), (&"profile".into(), &"acme".into()));
    assert_eq!((&call["status"], &call["executed"]), (&200.into(), &"yes".into()));
    assert!(call["ms"].is_u64() && call["at_ms"].is_u64(), "{call}");
    assert_eq!(call.get("client"), None, "{call}");
    assert!(rest > 0, "it went on to its end");
    assert!(gate.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_switches_the_lines_on() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more("[audit]\nkeep = \"off\"\naccess_log = false");
    let gate = Gate::connected(&setup, &portal.seed());
    assert_eq!(http::get(gate.address, "/rest/before").await.status, 404);
    std::fs::write(setup.config(), setup.text().replace("= false", "= true")).unwrap();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    assert_eq!(http::get(gate.address, "/rest/after").await.status, 404);
    gate.wait_for_log("method=after");
    assert!(!gate.log().contains("method=before"), "{}", gate.log());
}
