//! The OAuth server fails in every way it can: what clients see meanwhile, that the tokens are
//! kept, that it is not asked in a circle, and that all is well when the fault ends.

mod answers; // answers that hold no pair, half a pair, or somebody else's
mod herd; // as many callers as the machine allows, and one exchange
mod verdicts; // refusals that a human has to lift

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use b24gate::sandbox::Sandbox;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::calls::{
    assert_refused, begin, calls_of, fault, herd, portal_apart, profile, retry_after, shown,
    switch, token_requests, until,
};
use crate::support::{Gate, PATIENCE, Setup, http};

/// A fault that passes: what the client is told, and how long the first pause lasts.
async fn check_transient(fault_of_oauth: Value, pause: RangeInclusive<u64>) {
    let shown_fault = fault_of_oauth.to_string();
    let portal = portal_apart().await;
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

async fn check_all(faults: impl IntoIterator<Item = Value>) {
    let mut cases = JoinSet::new();
    for fault in faults {
        cases.spawn(check_transient(fault, 2..=3));
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_10_a_server_that_is_down_is_a_503_with_a_time_keeps_the_pair_and_ends_by_itself() {
    check_all([json!({"mode": "down"}), json!({"mode": "hang", "ms": 100})]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_11_a_server_that_fails_is_a_503_with_a_time_keeps_the_pair_and_ends_by_itself() {
    check_all([
        json!({"mode": "status", "status": 500}),
        json!({"mode": "status", "status": 502, "body": "<html>", "content_type": "text/html"}),
        json!({"mode": "status", "status": 503, "body": "{\"error\":\"temporarily_unavailable\"}"}),
        json!({"mode": "status", "status": 429}),
        json!({"mode": "status", "status": 404}),
        json!({"mode": "status", "status": 400, "body": "{\"error\":\"server_error\"}"}),
        json!({"mode": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:9/"}}),
        json!({"mode": "status", "status": 400, "body": "{\"error\":\"invalid_token\"}"}),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_11_however_many_call_the_server_is_asked_at_most_once_in_two_seconds() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "status", "status": 429}})).await;
    let calling = async {
        while token_requests(&portal).len() < 3 {
            assert_refused(&profile(&gate).await, 503, "GATEWAY_REFRESH_UNAVAILABLE");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, calling).await.expect("three attempts");
    // The pause begins after the answer, so the portal's own clock cannot see a shorter one.
    let at: Vec<_> = token_requests(&portal).iter().map(|request| request.at_ms).collect();
    assert!(at[1] - at[0] >= 2_000 && at[2] - at[1] >= 4_000, "{at:?}");
    let bodies: HashSet<_> = token_requests(&portal).into_iter().map(|it| it.body_sha256).collect();
    assert_eq!(bodies.len(), 1, "always the same refresh token");
}

/// Loses the answer to an exchange: the caller is told, and nobody knows whether it took place.
async fn lose_an_answer(portal: &Sandbox, gate: &Gate) {
    portal.control().expire();
    fault(portal, json!({"oauth": {"mode": "reset_after_commit", "count": 1}})).await;
    let refused = profile(gate).await;
    assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    assert!((2..=3).contains(&retry_after(&refused)), "{}", refused.head);
    assert_eq!(shown(gate, "state").as_deref(), Some("suspect"));
    assert_eq!(portal.control().exchanges(), 1);
}

/// That both exchanges were tried with one and the same refresh token.
fn assert_same_token_twice(portal: &Sandbox) {
    let asked = token_requests(portal);
    assert_eq!(asked.len(), 2, "the same token once more, and no third time");
    assert_eq!(asked[0].body_sha256, asked[1].body_sha256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_14_after_a_lost_answer_a_server_that_forgives_is_asked_again_without_a_call() {
    let portal = portal_apart().await;
    switch(&portal, json!({"rotation": "lenient"}));
    let gate = Gate::before(&portal);
    lose_an_answer(&portal, &gate).await;
    let calls = calls_of(&portal, "profile").len();

    until("the retry by itself", || portal.control().exchanges() == 2).await;
    gate.wait_for_log("token refreshed");
    assert_same_token_twice(&portal);
    assert_eq!(calls_of(&portal, "profile").len(), calls, "nobody has called meanwhile");
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(portal.control().exchanges(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_14_after_a_lost_answer_a_client_that_does_as_it_is_told_is_served() {
    let portal = portal_apart().await;
    switch(&portal, json!({"rotation": "lenient"}));
    let gate = Gate::before(&portal);
    lose_an_answer(&portal, &gate).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert_same_token_twice(&portal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_14_a_lost_answer_that_the_server_holds_against_us_is_dead_only_after_a_second_try() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    lose_an_answer(&portal, &gate).await;

    gate.wait_for_log("the refresh token is dead");
    for _ in 0..10 {
        assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    assert_eq!(shown(&gate, "state").as_deref(), Some("dead"));
    assert_same_token_twice(&portal);

    gate.setup().import(&portal.seed());
    assert_eq!(profile(&gate).await.status, 200, "a human has connected it again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_11_a_server_that_says_when_to_come_back_is_left_alone_for_that_long() {
    for (status, asked, told) in
        [(429, "30", 29..=31), (503, "30", 29..=31), (429, "86400", 299..=300)]
    {
        let portal = portal_apart().await;
        let gate = Gate::before(&portal);
        portal.control().expire();
        let limit = json!({"mode": "status", "status": status, "headers": {"Retry-After": asked}});
        fault(&portal, json!({"oauth": limit})).await;
        let refused = profile(&gate).await;
        assert_refused(&refused, 503, "GATEWAY_REFRESH_UNAVAILABLE");
        assert!(told.contains(&retry_after(&refused)), "{}", refused.head);
        for answer in herd(gate.address, 20, "/rest/profile").await {
            assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
            assert!((20..=*told.end()).contains(&retry_after(&answer)), "{}", answer.head);
        }
        assert_eq!(token_requests(&portal).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_13_a_slow_server_is_waited_for_by_all_callers_together_and_some_may_leave() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 5000, "count": 1}})).await;
    let mut leavers = Vec::new();
    for _ in 0..10 {
        leavers.push(begin(gate.address, "/rest/profile").await);
    }
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    drop(leavers);
    for answer in herd(gate.address, 50, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let timing = answer.field("server-timing").unwrap();
        assert!(!timing.contains("refresh;dur=0.0"), "{timing}");
    }
    assert_eq!(portal.control().exchanges(), 1);
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1, "the pair was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_19_a_refresh_token_that_stays_the_same_is_a_renewal_all_the_same() {
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
async fn f_10_a_dead_token_endpoint_does_not_touch_calls_with_a_live_token_or_the_start() {
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
async fn f_15_one_portals_dead_chain_is_not_its_neighbours() {
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
