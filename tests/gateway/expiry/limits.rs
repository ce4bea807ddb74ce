//! Refusals that pass by themselves: waited for and replayed, within `max_wait`.

use serde_json::json;

use crate::support::calls::{
    assert_refused, calls_of, fault, portal, profile, retry_after, token_requests,
};
use crate::support::{Gate, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_up_request_limit_is_waited_for_and_the_call_runs_once() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    fault(&portal, json!({"portal": {"mode": "query_limit", "count": 2}})).await;
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("query_limit")));
    assert_eq!(calls_of(&portal, "profile").len(), 3);
    assert_eq!(portal.control().executions("profile"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_limit_that_stays_used_up_ends_in_503_after_max_wait() {
    let portal = portal().await;
    let gate = Gate::connected(&Setup::new(&portal).gateway("max_wait = \"1s\""), &portal.seed());
    fault(&portal, json!({"portal": {"mode": "query_limit"}})).await;
    let answer = profile(&gate).await;
    assert_refused(&answer, 503, "QUERY_LIMIT_EXCEEDED");
    assert!((1..=8).contains(&retry_after(&answer)));
    assert_eq!(calls_of(&portal, "profile").len(), 2, "one wait of half a second fits");
    assert_eq!(portal.control().executions("profile"), 0);
    portal.control().clear_faults().await;
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_met_on_the_replay_after_a_renewal_is_waited_for_too() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"portal": {"mode": "query_limit", "count": 1, "skip": 1}})).await;
    assert_eq!(profile(&gate).await.status, 200);
    let codes: Vec<_> = calls_of(&portal, "profile").into_iter().map(|call| call.code).collect();
    assert_eq!(codes, ["expired_token", "QUERY_LIMIT_EXCEEDED", ""]);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_out_of_operating_time_is_tried_once_more_and_then_told_with_a_time() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    fault(&portal, json!({"portal": {"mode": "operating_limit", "count": 1}})).await;
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("operation_time")));

    portal.control().clear_log();
    fault(&portal, json!({"portal": {"mode": "operating_limit"}})).await;
    let answer = profile(&gate).await;
    assert_refused(&answer, 429, "OPERATION_TIME_LIMIT");
    assert!((1..=600).contains(&retry_after(&answer)));
    assert_eq!(calls_of(&portal, "profile").len(), 2);
    assert_eq!(portal.control().executions("profile"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_cannot_ask_about_the_token_is_asked_once_more_and_renews_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    portal.control().clear_log();
    fault(&portal, json!({"portal": {"mode": "connection_error", "count": 1}})).await;
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("connection_error")));

    portal.control().clear_log();
    fault(&portal, json!({"portal": {"mode": "connection_error"}})).await;
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "CONNECTION_ERROR"));
    assert_eq!(calls_of(&portal, "profile").len(), 2);
    assert_eq!(token_requests(&portal).len(), 0);
    assert_eq!(portal.control().exchanges(), 0);
}
