//! The OAuth server fails in every way it can: what clients see meanwhile, that the tokens are
//! kept, that it is not asked in a circle, and that all is well when the fault ends.

mod urls; // where secrets travel
mod verdicts; // refusals that a human has to lift

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::calls::{
    assert_refused, begin, fault, herd, portal_apart, profile, retry_after, shown, switch,
    token_requests, until,
};
use crate::support::{Gate, Setup, http};

/// A fault that passes: what the client is told, and how long the first pause lasts.
async fn check_transient(
    fault_of_oauth: Value,
    lenient: bool,
    pause: std::ops::RangeInclusive<u64>,
) {
    let shown_fault = fault_of_oauth.to_string();
    let portal = portal_apart().await;
    if lenient {
        switch(&portal, json!({"rotation": "lenient"}));
    }
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    fault(&portal, json!({"oauth": fault_of_oauth})).await;

    // A single refusal of the portal's makes the gateway try, and fail, to renew a live token.
    fault(&portal, json!({"portal": {"mode": "expired_once"}})).await;
    let refused = profile(&gate).await;
    assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert!(pause.contains(&retry_after(&refused)), "{shown_fault}: {}", refused.head);
    assert_eq!(profile(&gate).await.status, 200, "{shown_fault}: the live token is unaffected");

    portal.control().expire();
    let asked = token_requests(&portal).len();
    let began = Instant::now();
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    }
    // On a machine so slow that the pause is over already, a second attempt is right.
    let most = if began.elapsed() < Duration::from_millis(1500) { asked } else { asked + 1 };
    assert!(token_requests(&portal).len() <= most, "{shown_fault}: asked during the pause");
    assert!(asked <= 1, "{shown_fault}: one call, one request");

    let last = profile(&gate).await;
    assert_refused(&last, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    portal.control().clear_faults().await;
    // A client that does as it is told is not told twice.
    tokio::time::sleep(Duration::from_secs(retry_after(&last))).await;
    let recovered = profile(&gate).await;
    assert_eq!(recovered.status, 200, "{shown_fault}: {}", recovered.text());
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"), "{shown_fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_passes_is_a_503_with_a_time_keeps_the_pair_and_ends_by_itself() {
    let wrong_types = r#"{"access_token": 7, "refresh_token": ["x"]}"#;
    let huge = format!("{{\"x\": \"{}\"}}", "x".repeat(70_000));
    let faults = [
        json!({"mode": "down"}),
        json!({"mode": "status", "status": 500}),
        json!({"mode": "status", "status": 502, "body": "<html>", "content_type": "text/html"}),
        json!({"mode": "status", "status": 503, "body": "{\"error\":\"temporarily_unavailable\"}"}),
        json!({"mode": "status", "status": 404}),
        json!({"mode": "status", "status": 400, "body": "{\"error\":\"server_error\"}"}),
        json!({"mode": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}),
        json!({"mode": "status", "status": 200, "body": wrong_types}),
        json!({"mode": "status", "status": 200, "body": huge}),
        json!({"mode": "status", "status": 400, "body": "{\"error\":\"invalid_token\"}"}),
        json!({"mode": "html"}),
        json!({"mode": "truncated"}),
        json!({"mode": "empty_json"}),
        json!({"mode": "no_refresh_token"}),
        json!({"mode": "hang", "ms": 100}),
    ];
    let mut cases = JoinSet::new();
    for fault in faults {
        cases.spawn(check_transient(fault, false, 2..=3));
    }
    let lost = json!({"mode": "reset_after_commit"});
    cases.spawn(check_lost_answer(lost));
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

/// The answer to an exchange is lost; the server takes the same refresh token again.
async fn check_lost_answer(lost: Value) {
    let portal = portal_apart().await;
    switch(&portal, json!({"rotation": "lenient"}));
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": lost})).await;
    let refused = profile(&gate).await;
    assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert_eq!(shown(&gate, "state").as_deref(), Some("suspect"));
    assert_eq!(portal.control().exchanges(), 1);
    portal.control().clear_faults().await;
    tokio::time::sleep(Duration::from_secs(retry_after(&refused))).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
    assert_eq!(portal.control().exchanges(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_that_the_server_holds_against_us_is_dead_only_after_a_second_try() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "reset_after_commit", "count": 1}})).await;
    let refused = profile(&gate).await;
    assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert_eq!(shown(&gate, "state").as_deref(), Some("suspect"));

    tokio::time::sleep(Duration::from_secs(retry_after(&refused))).await;
    for _ in 0..10 {
        assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    assert_eq!(shown(&gate, "state").as_deref(), Some("dead"));
    let asked = token_requests(&portal);
    assert_eq!(asked.len(), 2, "the same token once more, and no third time");
    assert_eq!(asked[0].body_sha256, asked[1].body_sha256);

    gate.setup().import(&portal.seed());
    assert_eq!(profile(&gate).await.status, 200, "a human has connected it again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_when_to_come_back_is_left_alone_for_that_long() {
    for status in [429, 503] {
        let portal = portal_apart().await;
        let gate = Gate::before(&portal);
        portal.control().expire();
        let limit = json!({"mode": "status", "status": status, "headers": {"Retry-After": "30"}});
        fault(&portal, json!({"oauth": limit})).await;
        let refused = profile(&gate).await;
        assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
        assert!((29..=31).contains(&retry_after(&refused)), "{}", refused.head);
        for answer in herd(gate.address, 20, "/rest/profile").await {
            assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
            assert!((1..=30).contains(&retry_after(&answer)), "{}", answer.head);
        }
        assert_eq!(token_requests(&portal).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_waited_for_by_all_callers_together() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 3000, "count": 1}})).await;
    let leaver = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    drop(leaver);
    for answer in herd(gate.address, 50, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let timing = answer.field("server-timing").unwrap();
        assert!(!timing.contains("refresh;dur=0.0"), "{timing}");
    }
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_stays_the_same_is_a_renewal_all_the_same() {
    let portal = portal_apart().await;
    fault(&portal, json!({"oauth": {"mode": "same_refresh_token"}})).await;
    let gate = Gate::before(&portal);
    for round in 1..=3_u64 {
        portal.control().expire();
        assert_eq!(profile(&gate).await.status, 200);
        assert_eq!(shown(&gate, "generation"), Some((round + 1).to_string()));
        assert_eq!(portal.control().exchanges(), round);
    }
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_endpoint_does_not_touch_calls_with_a_live_token_or_the_start() {
    let portal = portal_apart().await;
    fault(&portal, json!({"oauth": {"mode": "down"}})).await;
    let gate = Gate::before(&portal);
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_portals_dead_chain_is_not_its_neighbours() {
    let (portal, neighbour) = (portal_apart().await, portal_apart().await);
    let other = neighbour.seed();
    let more = format!(
        "[apps.other]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_server = \"{}\"\n\
         [portals.neighbour]\nurl = \"{}\"\napp = \"other\"\n",
        other.client_id, other.client_secret, other.oauth_url, other.portal_url
    );
    let setup = Setup::new(&portal).portal("app = \"main\"").more(&more);
    let gate = Gate::connected(&setup, &portal.seed());
    let pair = other.token_response.to_string();
    assert!(gate.setup().command(&["portal", "import", "neighbour"], &pair).status.success());
    portal.control().expire();
    neighbour.control().expire();
    fault(&portal, json!({"oauth": {"mode": "invalid_grant"}})).await;
    let call = |name: &str| format!("/{name}/rest/profile");
    let dead = http::get(gate.address, &call("acme")).await;
    assert_refused(&dead, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    let live = http::get(gate.address, &call("neighbour")).await;
    assert_eq!(live.status, 200, "{}", live.text());
}
