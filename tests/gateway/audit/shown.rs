//! How calls are shown: by the command, on the page, by the API.

use std::io::{BufRead as _, BufReader, Read as _};

use serde_json::{Value, json};

use super::calls;
use crate::admin::{get, page};
use crate::support::calls::{fault, portal, profile};
use crate::support::{Gate, Setup, http};

fn said(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(&[&["audit"], arguments].concat(), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two that went well, one that is refused here, one of which nothing is known.
async fn four_calls() -> Gate {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(http::get(gate.address, "/rest/crm.deal.list").await.status, 200);
    assert_eq!(http::get(gate.address, "/rest/").await.status, 404);
    fault(&portal, json!({"portal": {"mode": "reset_before_answer", "count": 1}})).await;
    assert_eq!(http::get(gate.address, "/rest/crm.deal.add").await.status, 502);
    calls(&gate, 4).await;
    gate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_filters_and_sums_with_a_gateway_and_without_one() {
    let gate = four_calls().await;
    let setup = gate.setup().clone();
    check_command(&setup);
    assert!(gate.stop().0.success());
    check_command(&setup);
}

fn check_command(setup: &Setup) {
    let table = said(setup, &[]);
    let lines: Vec<_> = table.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let head = ["WHEN", "(UTC)", "CLIENT", "PORTAL", "METHOD", "STATUS", "MS", "EXECUTED", "CODE"];
    assert_eq!(words(lines[0]), head);
    assert_eq!(lines.len(), 5, "{table}");
    let first = words(lines[1]);
    assert!(first[0].ends_with('Z') && first[0].len() == 24, "{first:?}");
    assert_eq!(first[1..5], ["-", "acme", "profile", "200"]);
    assert_eq!(first[6], "yes");
    let last = words(lines[4]);
    assert_eq!((last[3].as_str(), last[6].as_str()), ("crm.deal.add", "unknown"));
    assert_eq!(last[7], "GATEWAY_PORTAL_BROKEN");

    let methods = |arguments: &[&str]| -> Vec<String> {
        let lines = said(setup, &[arguments, &["--json"]].concat());
        let calls = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        calls.map(|call| call["method"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(methods(&[]), ["profile", "crm.deal.list", "-", "crm.deal.add"]);
    assert_eq!(methods(&["--limit", "2"]), ["-", "crm.deal.add"]);
    assert_eq!(methods(&["--method", "CRM.*"]), ["crm.deal.list", "crm.deal.add"]);
    assert_eq!(methods(&["--method", "crm_deal%"]), [""; 0]);
    assert_eq!(methods(&["--status", "4xx"]), ["-"]);
    assert_eq!(methods(&["--status", "502"]), ["crm.deal.add"]);
    assert_eq!(methods(&["--executed", "unknown"]), ["crm.deal.add"]);
    assert_eq!(methods(&["--portal", "acme", "--executed", "yes"]), ["profile", "crm.deal.list"]);
    assert_eq!(methods(&["--portal", "-"]), ["-"]);
    assert_eq!(methods(&["--client", "nobody"]), [""; 0]);
    assert_eq!(methods(&["--client", "-"]).len(), 4);
    assert_eq!(methods(&["--since", "1h"]).len(), 4);
    assert_eq!(methods(&["--since", "9999-01-01"]), [""; 0]);
    for wrong in
        [&["--status", "4x"], &["--executed", "maybe"], &["--since", "1w"], &["--limit", "0"]]
    {
        let output = setup.command(&[&["audit"], &wrong[..]].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let sums = said(setup, &["--summary"]);
    let lines: Vec<_> = sums.lines().map(words).collect();
    assert_eq!(lines[0], ["CLIENT", "METHOD", "CALLS", "ERRORS", "LAST", "(UTC)"]);
    assert!(lines.iter().any(|line| line[..4] == ["-", "crm.deal.add", "1", "1"]), "{sums}");
    assert!(lines.iter().any(|line| line[..4] == ["-", "profile", "1", "0"]), "{sums}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_was_ever_kept_the_command_says_so_and_makes_nothing() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    assert!(said(&setup, &[]).starts_with("no call is kept in "));
    assert!(!setup.state().exists());
    let output = setup.command(&["audit", "--follow"], "");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("nothing to follow"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_shows_calls_as_they_come_and_ends_with_the_gateway() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    calls(&gate, 1).await;
    let setup = gate.setup().clone();
    let mut follower = setup.begin(&["audit", "--follow"]);
    let mut output = BufReader::new(follower.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line
    };
    assert!(line().starts_with("WHEN (UTC)"));
    assert!(line().contains("profile"));
    assert_eq!(http::get(gate.address, "/rest/meanwhile").await.status, 404);
    assert!(line().contains("meanwhile"));
    assert_eq!(http::get(gate.address, "/rest/the.last").await.status, 404);
    assert!(gate.stop().0.success());
    assert!(line().contains("the.last"), "what is written at the stop is shown");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(follower.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_ends_when_nobody_reads_any_more() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let mut follower = gate.setup().begin(&["audit", "--follow"]);
    let mut output = BufReader::new(follower.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    assert_eq!(profile(&gate).await.status, 200);
    let ended = tokio::task::spawn_blocking(move || follower.wait().unwrap()).await.unwrap();
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_the_latest_calls_and_points_at_those_of_which_nothing_is_known() {
    let gate = four_calls().await;
    let front = page(&gate, "/").await.text();
    assert!(front.contains("href=\"/calls\""), "{front}");
    let whole = page(&gate, "/calls").await;
    assert_eq!(whole.status, 200);
    let (whole, part) = (whole.text(), page(&gate, "/calls?fragment").await.text());
    assert!(whole.starts_with("<!doctype html>") && part.starts_with("<div id=\"status\""));
    for text in [whole, part] {
        let rows: Vec<_> = text.split("<tr class=").skip(1).collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[0].starts_with("\"warn\"") && rows[0].contains("crm.deal.add"), "{}", rows[0]);
        assert!(rows[0].contains("<strong class=\"unknown\">unknown</strong>"), "{}", rows[0]);
        assert!(rows[1].starts_with("\"bad\"") && rows[1].contains("GATEWAY_NOT_A_METHOD"));
        assert!(rows[3].starts_with("\"good\"") && rows[3].contains("<code>profile</code>"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_lists_the_latest_calls_and_refuses_parameters_that_are_none() {
    let gate = four_calls().await;
    let list = async |query: &str| {
        let answer = get(&gate, &format!("/api/v1/calls{query}")).await.json();
        answer["calls"].as_array().unwrap().clone()
    };
    let all = list("").await;
    assert_eq!(all.len(), 4);
    assert_eq!(
        (&all[0]["method"], &all[0]["executed"]),
        (&"crm.deal.add".into(), &"unknown".into())
    );
    assert_eq!((&all[3]["status"], &all[3]["client"]), (&json!(200), &Value::Null));
    assert_eq!(list("?portal=acme&limit=2").await.len(), 2);
    assert_eq!(list("?portal=beta").await.len(), 0);
    assert_eq!(list("?client=reports").await.len(), 0);
    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=1&limit=1",
        "client=",
        "portal=A",
        "client=a&client=b",
        "portal=a%00",
    ] {
        let answer = crate::admin::ask(&gate, &format!("GET /api/v1/calls?{wrong}"), &[], "").await;
        assert_eq!(answer.status, 400, "{wrong}");
    }
}
