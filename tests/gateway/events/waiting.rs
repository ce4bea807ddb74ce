//! Events that cannot be proven at once: durable before they are acknowledged, worked on when the
//! OAuth server is back.

use std::path::Path;
use std::time::Duration;

use b24gate::sandbox::{Entry, Sandbox};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::time::timeout;

use crate::installs_support::{
    event, expecting, install_event, now, post_event, sandbox, standing, stored,
};
use crate::support::{Gate, PATIENCE, hex};

async fn down(portal: &Sandbox) {
    portal.control().fault(&json!({"oauth": {"mode": "down"}})).await.unwrap();
}

async fn until_connected(gate: &Gate) {
    let connected = async {
        while super::profile(gate).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, connected).await.expect("connected in the background");
}

/// Somebody else has the database, and nothing can be written to it.
async fn lock(state: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(state.join("b24gate.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_while_the_oauth_server_is_down_is_worked_off_when_it_is_back() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    down(&portal).await;
    let answer = post_event(gate.callback, &install_event(&seed, "app-token", now())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gate.wait_for_log("an event waits in the inbox");
    assert_ne!(super::profile(&gate).await.status, 200);
    portal.control().clear_faults().await;
    until_connected(&gate).await;
    assert_eq!(portal.control().exchanges(), 1);
    let (_, text) = stored(gate).await;
    assert!(text.ends_with("[]\n"), "nothing waits any more: {text}");
    assert!(text.contains("Some(\"app-token\")"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_23_an_acknowledged_event_survives_a_kill() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    down(&portal).await;
    let answer = post_event(gate.callback, &install_event(&seed, "app-token", now())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let setup = gate.kill();
    portal.control().clear_faults().await;
    let gate = setup.start();
    until_connected(&gate).await;
    assert_eq!(portal.control().exchanges(), 1);
    assert!(!gate.log().contains(&seed.access_token), "letters hold tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oauth_server_that_takes_its_time_is_asked_once_and_holds_up_no_answer() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    portal.control().fault(&json!({"oauth": {"mode": "slow", "ms": 2000}})).await.unwrap();
    let answer = post_event(gate.callback, &install_event(&seed, "app-token", now())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(portal.control().exchanges() == 0, "acknowledged before the OAuth server has answered");
    until_connected(&gate).await;
    assert_eq!(portal.control().exchanges(), 1, "the event and its letter are one");
    let (_, text) = stored(gate).await;
    assert!(text.ends_with("[]\n"), "nothing waits any more: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_23_what_cannot_be_made_durable_is_not_acknowledged() {
    let portal = sandbox().await;
    let (gate, seed) = super::installed(&portal).await;
    gate.wait_for_log("connect::welcome");
    let locked = lock(&gate.setup().state()).await;
    let uninstall = event("ONAPPUNINSTALL", &seed, "app-token", now() + 5);
    assert_eq!(post_event(gate.callback, &uninstall).await.status, 503);
    down(&portal).await;
    let install = install_event(&portal.seed(), "app-token", now());
    assert_eq!(post_event(gate.callback, &install).await.status, 503);
    assert!(gate.log().contains("ERROR"), "{}", gate.log());
    assert_eq!(super::profile(&gate).await.status, 200, "calls do not notice");
    locked.close().await.unwrap();
    portal.control().clear_faults().await;
    assert_eq!(standing(gate.setup()), super::connected_state());
    assert_eq!(post_event(gate.callback, &uninstall).await.status, 200);
    assert_eq!(standing(gate.setup()), super::uninstalled_state());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_event_is_still_looked_at_is_left_alone_by_who_works_the_others_off() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    down(&portal).await;
    post_event(gate.callback, &install_event(&portal.seed(), "app-token", now())).await;
    gate.wait_for_log("an event waits in the inbox");
    // From now on there is somebody who tries again and again.
    portal.control().clear_faults().await;
    portal.control().fault(&json!({"oauth": {"mode": "slow", "ms": 3000}})).await.unwrap();
    let answer = post_event(gate.callback, &install_event(&seed, "app-token", now())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    until_connected(&gate).await;
    let question = hex(&Sha256::digest(format!("auth={}", seed.access_token)));
    let (_, text) = stored(gate).await;
    assert!(text.ends_with("[]\n"), "nothing waits any more: {text}");
    let asked = |entry: &&Entry| entry.target.contains("app.info") && entry.body_sha256 == question;
    assert_eq!(portal.control().log().iter().filter(asked).count(), 1);
}
