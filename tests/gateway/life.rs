//! The gateway's own life: restarts, crashes, signals, reloads.

mod backup; // `b24gate store`: backups, restorations, new keys
mod check; // `b24gate check`, and files that others can reach
mod commands; // commands beside a running gateway, and without one
mod first_steps; // what somebody sees who starts it for the first time
mod intake; // what becomes of the pairs that are brought

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::calls::{
    begin, calls_of, fault, herd, portal, portal_apart, profile, shown, until,
};
use crate::support::{Gate, Setup, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_right_after_a_renewal_loses_nothing() {
    let portal = portal().await;
    let mut gate = Gate::before(&portal);
    for round in 1..=5 {
        portal.control().expire();
        assert_eq!(profile(&gate).await.status, 200);
        gate = gate.kill().start();
        let answer = profile(&gate).await;
        assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None), "{round}");
        assert_eq!(portal.control().exchanges(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_an_exchange_is_tried_again_with_the_same_token() {
    let portal = portal_apart().await;
    portal.control().switch(&json!({"rotation": "lenient"})).unwrap();
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "hang", "count": 1, "commit": true}})).await;
    let _waits = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    let setup = gate.kill();
    let shows = String::from_utf8(setup.command(&["portal", "show", "acme"], "").stdout).unwrap();
    assert!(shows.contains("suspect"), "{shows}");
    let again = setup.start();
    // No call has to ask for it.
    again.wait_for_log("token refreshed");
    assert_eq!(shown(&again, "state").as_deref(), Some("connected"));
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 2);
}

async fn is_refused(address: SocketAddr) -> bool {
    let refused = TcpStream::connect(address)
        .await
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    if !refused {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_delivers_what_is_in_flight_and_takes_nothing_new() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    let mut idle = begin(gate.address, "/rest/profile").await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    let slow = json!({"mode": "slow", "ms": 1500, "method": "sandbox.bytes"});
    fault(&portal, json!({"portal": slow})).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(begin(gate.address, "/rest/sandbox.bytes?size=300000").await);
    }
    until("all calls are with the portal", || calls_of(&portal, "sandbox.bytes").len() == 10).await;

    gate.signal("TERM");
    gate.wait_for_log("stopping");
    let address = gate.address;
    tokio::time::timeout(crate::support::PATIENCE, async { while !is_refused(address).await {} })
        .await
        .expect("new connections are refused");
    assert_eq!(http::get(gate.admin, "/readyz").await.status, 503);
    assert!(idle.is_closed().await, "an idle connection ends");
    for client in &mut clients {
        let answer = client.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.whole, answer.body.len()), (200, true, 300_000));
        assert!(client.is_closed().await);
    }
    let (status, log) = tokio::task::spawn_blocking(|| gate.stop()).await.unwrap();
    assert!(status.success(), "{log}");
    assert!(log.ends_with("stopped"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_not_taken_over_and_the_log_says_where_it_is_wrong() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let text = gate.setup().text();
    let line = 2 + text.lines().count();
    std::fs::write(gate.setup().config(), format!("{text}[portals.beta]\nurll = \"x\"\n")).unwrap();
    gate.signal("HUP");
    let told = gate.wait_for_log("unknown key");
    for said in [&format!("b24gate.toml:{line}:"), "NOT reloaded", "[portals.beta]", "\"urll\""] {
        assert!(told.contains(said), "{said} is missing in {told}");
    }
    assert_eq!(profile(&gate).await.status, 200, "the old one stays");

    // A file that is being written in place is empty for a moment.
    std::fs::write(gate.setup().config(), "").unwrap();
    gate.signal("HUP");
    gate.wait_for_log("the new one has no portals");
    assert_eq!(profile(&gate).await.status, 200);

    // A file that is gone is no configuration either.
    std::fs::remove_file(gate.setup().config()).unwrap();
    gate.signal("HUP");
    gate.wait_for_log("there is no such file");
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_adds_a_portal_while_calls_go_on_and_takes_one_away() {
    let (portal, other) = (portal().await, portal().await);
    let setup = Setup::new(&portal).portal("app = \"main\"");
    let gate = Gate::connected(&setup, &portal.seed());
    let seed = other.seed();
    let more = format!(
        "[apps.other]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_server = \"{}\"\n\
         [portals.beta]\nurl = \"{}\"\napp = \"other\"\n",
        seed.client_id, seed.client_secret, seed.oauth_url, seed.portal_url
    );
    let answer = http::get(gate.address, "/beta/rest/profile").await;
    assert_eq!((answer.status, answer.error().as_str()), (404, "GATEWAY_PORTAL_UNKNOWN"));

    let with_beta = setup.more(&more).gateway("default_portal = \"acme\"");
    with_beta.write();
    let address = gate.address;
    let traffic = tokio::spawn(async move {
        for _ in 0..20 {
            for answer in herd(address, 10, "/rest/profile").await {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    });
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded portals=2");
    let unconnected = http::get(gate.address, "/beta/rest/profile").await;
    assert_eq!(unconnected.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
    let pair = seed.token_response.to_string();
    assert!(with_beta.command(&["portal", "import", "beta"], &pair).status.success());
    assert_eq!(http::get(gate.address, "/beta/rest/profile").await.status, 200);
    traffic.await.unwrap();
    assert_eq!(other.control().executions("profile"), 1);

    gate.setup().write();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded portals=1");
    assert_eq!(http::get(gate.address, "/beta/rest/profile").await.status, 404);
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test]
async fn a_reload_that_fails_half_way_changes_nothing_at_all() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    let gate = Gate::connected(&setup, &portal.seed());
    let roots = setup.config().with_file_name("roots.pem");
    std::fs::write(&roots, "no certificate").unwrap();
    let beta = format!(
        "[portals.beta]\nurl = \"https://127.0.0.1:9\"\nca_file = \"{}\"\n",
        roots.display()
    );
    let wrong = setup.gateway("default_portal = \"acme\"").more(&beta).text();
    let wrong = wrong.replace(&portal.seed().client_secret, "another-secret");
    std::fs::write(gate.setup().config(), wrong).unwrap();
    gate.signal("HUP");
    assert!(gate.wait_for_log("NOT reloaded").contains("roots.pem"));
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200, "the old secret is still in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_in_the_middle_of_an_exchange_does_not_disturb_it() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 800, "count": 1}})).await;
    let mut client = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    let late = profile(&gate).await;
    assert_eq!(late.status, 200, "{}", late.text());
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}
