//! Answers that look like an expiry: some are, most are not.

use serde_json::json;

use crate::support::calls::{
    assert_hides_the_token, calls_of, fault, herd, portal, profile, switch, token_requests,
};
use crate::support::{Gate, Setup, http};

const DENIED: &str = "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION";

async fn tasks(gate: &Gate) -> http::Answer {
    http::post(gate.address, "/rest/api/tasks.task.list", "application/json", b"{}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_is_seen_in_every_wrapping() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let wrappings = ["plain", "json", "xml", "gzip", "bom", "cp1251", "200"];
    for (round, wrapping) in (1..).zip(wrappings) {
        portal.control().expire();
        switch(&portal, json!({"auth_errors": wrapping}));
        let answer = profile(&gate).await;
        assert_eq!(answer.status, 200, "{wrapping}: {}", answer.text());
        assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"), "{wrapping}");
        assert_eq!(answer.json()["result"]["NAME"], "Ada", "{wrapping}");
        assert_hides_the_token(&answer);
        assert_eq!(portal.control().exchanges(), round, "{wrapping}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_401_passes_unchanged_is_sent_once_and_renews_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    for (status, code) in [
        (401, "NO_AUTH_FOUND"),
        (401, "METHOD_CONFIRM_WAITING"),
        (401, "METHOD_CONFIRM_DENIED"),
        (401, "authorization_error"),
        (401, "insufficient_scope"),
        (401, "user_access_error"),
        (401, "ERROR_OAUTH"),
        (401, "APPLICATION_NOT_FOUND"),
        (401, "INVALID_CREDENTIALS"),
        (401, "PAYMENT_REQUIRED"),
        (401, "invalid_grant"),
        (401, "expired"),
        (401, "NOT_INSTALLED"),
        (401, DENIED),
        (403, "ACCESS_DENIED"),
        (403, "insufficient_scope"),
        (429, "SOMETHING"),
        (503, "OVERLOAD_LIMIT"),
    ] {
        portal.control().clear_log();
        let refusal = json!({"mode": "error", "status": status, "code": code,
            "description": "as the portal says it", "count": 1});
        fault(&portal, json!({"portal": refusal})).await;
        let answer = profile(&gate).await;
        let told = json!({"error": code, "error_description": "as the portal says it"});
        assert_eq!((answer.status, answer.json()), (status, told));
        assert_eq!(answer.field("x-b24-replayed"), None, "{code}");
        assert_eq!(answer.field("proxy-status"), None, "{code} is the portal's word");
        assert_eq!(calls_of(&portal, "profile").len(), 1, "{code}");
        assert_eq!(token_requests(&portal).len(), 0, "{code}");
    }
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_without_a_code_passes_unchanged() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    fault(&portal, json!({"portal": {"mode": "html", "status": 401, "count": 1}})).await;
    let answer = profile(&gate).await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("<html>"), "{}", answer.text());
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_renewed_for_v3_too_though_it_has_no_code_for_that() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for round in 1..=2 {
        portal.control().expire();
        let answer = tasks(&gate).await;
        assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
        assert_eq!(portal.control().exchanges(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_v3_call_without_the_right_to_it_is_denied_after_one_renewal_for_good() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    let denial = json!({"mode": "error", "code": DENIED, "method": "tasks.task.list"});
    fault(&portal, json!({"portal": denial})).await;
    for round in 1..=5 {
        let answer = tasks(&gate).await;
        assert_eq!(answer.status, 401, "call {round}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], DENIED);
        assert_eq!(answer.field("proxy-status"), None);
        // The token serves everybody else, which is no reason to doubt it anew.
        assert_eq!(profile(&gate).await.status, 200);
        assert_eq!(portal.control().exchanges(), 1, "call {round}");
    }
    for answer in herd(gate.address, 20, "/rest/api/tasks.task.list").await {
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_v3_denial_right_after_a_renewal_is_the_portals_word() {
    let portal = portal().await;
    let mut seed = portal.seed();
    seed.token_response["expires"] = json!(1_700_000_000);
    let gate = Gate::connected(&Setup::new(&portal), &seed);
    let denial = json!({"mode": "error", "code": DENIED, "method": "tasks.task.list"});
    fault(&portal, json!({"portal": denial})).await;
    let answer = tasks(&gate).await;
    assert_eq!((answer.status, answer.field("proxy-status")), (401, None), "{}", answer.text());
    assert_eq!(portal.control().exchanges(), 1, "for the expiry alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_stale_credential_never_causes_an_exchange() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let form = "application/x-www-form-urlencoded";
    for round in 0..50 {
        let head = "Host: localhost\r\nAuthorization: Bearer stale\r\n\r\n";
        let bearer = format!("GET /rest/profile?auth=stale HTTP/1.1\r\n{head}");
        let answers = [
            http::get(gate.address, "/rest/profile?auth=stale&access_token=stale").await,
            http::send(gate.address, bearer).await,
            http::post(gate.address, "/rest/profile", form, b"auth=stale&a=1").await,
            http::post(gate.address, "/rest/profile", "application/json", br#"{"auth":"stale"}"#)
                .await,
        ];
        for answer in answers {
            assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None), "{round}");
        }
    }
    assert_eq!(portal.control().executions("profile"), 200);
    assert_eq!(portal.control().exchanges(), 0);
    assert_eq!(token_requests(&portal).len(), 0);
}
