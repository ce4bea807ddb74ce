//! Events: what is acknowledged is durable, what is proven changes something, and nothing else does.

mod flood; // more than anybody can want
mod waiting; // what cannot be proven at once

use b24gate::sandbox::{Sandbox, Seed};
use serde_json::json;

use crate::installs_support::{
    event, expecting, install_event, now, open_to_all, page, post_event, post_page, sandbox,
    standing, stored, with,
};
use crate::support::{Gate, http};

async fn profile(gate: &Gate) -> http::Answer {
    http::get(gate.address, "/rest/profile").await
}

fn connected_state() -> (String, String) {
    ("connected".to_owned(), String::new())
}

fn uninstalled_state() -> (String, String) {
    ("dead".to_owned(), "uninstalled".to_owned())
}

/// A gateway whose portal was installed by a page, with `app-token` as its `application_token`.
async fn installed(portal: &Sandbox) -> (Gate, Seed) {
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    let answer = post_page(gate.callback, &page(&seed, "app-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (gate, seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_event_connects_a_portal_without_a_browser() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    let answer = post_event(gate.callback, &install_event(&seed, "app-token", now())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gate.wait_for_log("connect::welcome");
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
    let uninstall = event("ONAPPUNINSTALL", &seed, "app-token", now() + 5);
    assert_eq!(post_event(gate.callback, &uninstall).await.status, 200, "its token was taken, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_event_brings_a_portal_that_nobody_configured() {
    let portal = sandbox().await;
    let seed = portal.control().seed_for(&"c0de".repeat(8), 7);
    let gate = open_to_all(&seed).start();
    let answer = post_event(gate.callback, &install_event(&seed, "app-token", now())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gate.wait_for_log("connect::welcome");
    let domain = seed.portal_url.split("://").nth(1).unwrap();
    let answer = http::get(gate.address, &format!("/{domain}/rest/profile")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_installation_event_that_comes_again_changes_nothing() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    let event = install_event(&seed, "app-token", now());
    post_event(gate.callback, &event).await;
    gate.wait_for_log("connect::welcome");
    let newer = portal.seed();
    post_page(gate.callback, &page(&newer, "newer-token")).await;
    for _ in 0..5 {
        post_event(gate.callback, &event).await;
    }
    assert_eq!(standing(gate.setup()), connected_state());
    let (_, text) = stored(gate).await;
    assert!(text.contains("Some(\"newer-token\")"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_22_f_38_an_uninstallation_needs_the_application_token_and_outlives_a_restart() {
    let portal = sandbox().await;
    let (gate, seed) = installed(&portal).await;
    let forged = [
        event("ONAPPUNINSTALL", &seed, "wrong-token", now() + 5),
        event("ONAPPUNINSTALL", &seed, "", now() + 5),
        event("ONAPPUNINSTALL", &seed, "app-token2", now() + 5),
        with(event("ONAPPUNINSTALL", &seed, "app-token", 0), "auth[member_id]", &"ab".repeat(16)),
        with(event("ONAPPUNINSTALL", &seed, "app-token", 0), "ts", ""),
        with(event("ONAPPUNINSTALL", &seed, "app-token", 0), "ts", "tomorrow"),
    ];
    for fields in &forged {
        assert_eq!(post_event(gate.callback, fields).await.status, 403, "{fields:?}");
    }
    assert_eq!(standing(gate.setup()), connected_state());
    assert_eq!(profile(&gate).await.status, 200);

    let genuine = event("ONAPPUNINSTALL", &seed, "app-token", now() + 5);
    assert_eq!(post_event(gate.callback, &genuine).await.status, 200);
    assert_eq!(standing(gate.setup()), uninstalled_state());
    let gate = gate.kill().start();
    assert_eq!(standing(gate.setup()), uninstalled_state());
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "GATEWAY_PORTAL_NOT_CONNECTED"));
    assert!(answer.text().contains("the application was uninstalled"), "{}", answer.text());
    assert_eq!(portal.control().exchanges(), 1, "no token was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_installation_lifts_an_uninstallation_whoever_makes_it() {
    let portal = sandbox().await;
    let (gate, seed) = installed(&portal).await;
    post_event(gate.callback, &event("ONAPPUNINSTALL", &seed, "app-token", now() + 5)).await;
    assert_eq!(standing(gate.setup()), uninstalled_state());
    let other = portal.control().seed_for(&seed.member_id, seed.user_id + 1);
    let answer = post_page(gate.callback, &page(&other, "second-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(standing(gate.setup()), connected_state());
    let gate = gate.kill().start();
    assert_eq!(standing(gate.setup()), connected_state());
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_23_uninstallations_that_are_late_or_come_again_are_ignored() {
    let portal = sandbox().await;
    let (gate, seed) = installed(&portal).await;
    let late = event("ONAPPUNINSTALL", &seed, "app-token", now() - 100);
    assert_eq!(post_event(gate.callback, &late).await.status, 200);
    assert_eq!(standing(gate.setup()), connected_state(), "installed after that");

    let genuine = event("ONAPPUNINSTALL", &seed, "app-token", now() + 5);
    assert_eq!(post_event(gate.callback, &genuine).await.status, 200);
    assert_eq!(standing(gate.setup()), uninstalled_state());
    post_page(gate.callback, &page(&portal.seed(), "app-token")).await;
    assert_eq!(standing(gate.setup()), connected_state());
    assert_eq!(post_event(gate.callback, &genuine).await.status, 200);
    assert_eq!(standing(gate.setup()), connected_state(), "the same event once more");
    let gate = gate.kill().start();
    assert_eq!(post_event(gate.callback, &genuine).await.status, 200);
    assert_eq!(standing(gate.setup()), connected_state(), "also after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_brings_another_application_token() {
    let portal = sandbox().await;
    let (gate, seed) = installed(&portal).await;
    let update = with(install_event(&portal.seed(), "newer-token", now()), "event", "ONAPPUPDATE");
    assert_eq!(post_event(gate.callback, &update).await.status, 200);
    let with_token = |token| event("ONAPPUNINSTALL", &seed, token, now() + 5);
    // The update may be finished in the background.
    while post_event(gate.callback, &with_token("newer-token")).await.status == 403 {
        tokio::task::yield_now().await;
    }
    assert_eq!(standing(gate.setup()), uninstalled_state());
    assert_eq!(post_event(gate.callback, &with_token("app-token")).await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_lets_what_was_refused_for_want_of_it_be_tried_again_at_once() {
    let portal = sandbox().await;
    let (gate, seed) = installed(&portal).await;
    assert_eq!(profile(&gate).await.status, 200);
    portal.control().fault(&json!({"oauth": {"mode": "payment_required"}})).await.unwrap();
    portal.control().expire();
    assert_ne!(profile(&gate).await.status, 200);
    portal.control().clear_faults().await;
    assert_ne!(profile(&gate).await.status, 200, "it is not tried again by itself yet");
    let payment = |token, expired| {
        let payment = event("ONAPPPAYMENT", &seed, token, now());
        with(with(payment, "data[STATUS]", "P"), "data[PAYMENT_EXPIRED]", expired)
    };
    assert_eq!(post_event(gate.callback, &payment("wrong-token", "N")).await.status, 403);
    assert_eq!(post_event(gate.callback, &payment("app-token", "Y")).await.status, 200);
    assert_ne!(profile(&gate).await.status, 200);
    assert_eq!(post_event(gate.callback, &payment("app-token", "N")).await.status, 200);
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_events_are_acknowledged_when_they_are_genuine_and_cost_nothing() {
    let portal = sandbox().await;
    let (gate, seed) = installed(&portal).await;
    gate.wait_for_log("connect::welcome");
    let before = portal.control().log().len();
    let deal = |token| event("ONCRMDEALADD", &seed, token, now());
    assert_eq!(post_event(gate.callback, &deal("app-token")).await.status, 200);
    assert_eq!(post_event(gate.callback, &deal("wrong-token")).await.status, 403);
    let nonsense = event("ON CRM<script>", &seed, "app-token", now());
    assert_eq!(post_event(gate.callback, &nonsense).await.status, 403);
    assert_eq!(portal.control().log().len(), before);
    assert!(!gate.log().contains("script"));
}
