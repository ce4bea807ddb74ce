//! Where the portal reads the token: in the header, or only as a parameter.

use b24gate::sandbox::{Entry, Sandbox};
use serde_json::json;

use crate::support::calls::{
    assert_refused, calls_of, fault, portal, profile, switch, token_requests,
};
use crate::support::{Gate, Setup, http};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn in_parameter_mode(portal: &Sandbox) -> Gate {
    Gate::connected(&Setup::new(portal).portal("inject = \"parameter\""), &portal.seed())
}

fn carries_a_parameter(call: &Entry) -> bool {
    call.target.contains("auth=") && call.header("authorization").is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_drops_the_header_gets_a_parameter_and_that_is_remembered() {
    let portal = portal().await;
    fault(&portal, json!({"portal": {"mode": "drop_bearer"}})).await;
    let gate = Gate::before(&portal);
    let first = profile(&gate).await;
    assert_eq!((first.status, first.field("x-b24-replayed")), (200, Some("parameter")));
    let second = profile(&gate).await;
    assert_eq!((second.status, second.field("x-b24-replayed")), (200, None));

    gate.wait_for_log("the portal reads its token here");
    let setup = gate.setup().clone();
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
    portal.control().clear_log();
    let again = setup.start();
    let third = profile(&again).await;
    assert_eq!((third.status, third.field("x-b24-replayed")), (200, None));
    let calls = calls_of(&portal, "profile");
    assert_eq!(calls.len(), 1);
    assert!(carries_a_parameter(&calls[0]), "{}", calls[0].target);
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_has_worked_once_is_not_given_up_for_a_401() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    let refusal = json!({"mode": "error", "code": "NO_AUTH_FOUND", "count": 1});
    fault(&portal, json!({"portal": refusal})).await;
    assert_eq!(profile(&gate).await.status, 401);
    assert_eq!(profile(&gate).await.status, 200);
    assert!(calls_of(&portal, "profile").iter().all(|call| !carries_a_parameter(call)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_before_any_success_does_not_cost_the_portal_its_header() {
    for target in ["/rest/user.current", "/rest/api/tasks.task.list"] {
        let portal = portal().await;
        let gate = Gate::before(&portal);
        portal.control().expire();
        let answer = http::post(gate.address, target, JSON, b"{}").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        portal.control().clear_log();
        assert_eq!(profile(&gate).await.status, 200);
        assert!(!carries_a_parameter(&calls_of(&portal, "profile")[0]), "{target}");
        assert_eq!(portal.control().exchanges(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_header_is_dropped_a_clients_stale_credential_in_the_body_does_not_stand_in() {
    for (kind, body) in [(FORM, "a=1&auth=stale"), (JSON, r#"{"auth":"stale","a":1}"#)] {
        let portal = portal().await;
        fault(&portal, json!({"portal": {"mode": "drop_bearer"}})).await;
        let gate = Gate::before(&portal);
        for round in 0..2 {
            let answer = http::post(gate.address, "/rest/profile", kind, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{kind} {round}: {}", answer.text());
        }
        assert_eq!(token_requests(&portal).len(), 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_parameter_the_gateways_token_wins_over_a_clients_own_in_the_body() {
    let portal = portal().await;
    let gate = in_parameter_mode(&portal);
    for (kind, body, left) in [
        (FORM, "auth=stale&a=1", "a=1"),
        (FORM, "a=1&access_token=stale", "a=1"),
        (FORM, "a=1&%61uth=stale", "a=1"),
        (JSON, r#"{"auth":"stale","a":1}"#, r#"{"a":1}"#),
        (JSON, r#"{"a":1,"access_token":"stale"}"#, r#"{"a":1}"#),
        (JSON, r#"{"\u0061uth":"stale","a":1}"#, r#"{"a":1}"#),
    ] {
        portal.control().clear_log();
        let answer = http::post(gate.address, "/rest/profile", kind, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let call = calls_of(&portal, "profile").remove(0);
        assert!(carries_a_parameter(&call), "{}", call.target);
        let sent = call.body.unwrap();
        assert_eq!(sent.len(), body.len(), "blanked in place");
        assert!(!sent.contains("stale"), "{sent}");
        if kind == JSON {
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(parse(&sent), parse(left));
        } else {
            assert_eq!(sent.trim_matches('&'), left);
        }
    }
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_parameter_an_expired_token_is_renewed_with_the_same_body() {
    let portal = portal().await;
    let gate = in_parameter_mode(&portal);
    portal.control().expire();
    let body = br#"{"auth":"stale","a":1}"#;
    let answer = http::post(gate.address, "/rest/profile", JSON, body).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
    let calls = calls_of(&portal, "profile");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].body_sha256, calls[1].body_sha256);
    assert_ne!(calls[0].target, calls[1].target);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_link_passes_as_it_is_and_is_never_renewed() {
    let portal = portal().await;
    let gate = in_parameter_mode(&portal);
    let file = http::get(gate.address, "/rest/disk.file.get?id=7").await.json();
    let link = file["result"]["DOWNLOAD_URL"].as_str().unwrap().to_owned();
    let target = link.strip_prefix(&format!("http://{}", portal.address())).unwrap();
    assert!(target.contains("auth=") && target.contains("&token="), "{target}");

    let answer = http::get(gate.address, target).await;
    assert_eq!((answer.status, answer.body.len()), (200, 100_000));
    let call = calls_of(&portal, "download").remove(0);
    assert_eq!(call.target, target);
    assert_eq!(call.header("authorization"), None);

    portal.control().expire();
    let answer = http::get(gate.address, target).await;
    assert_refused(&answer, 403, "GATEWAY_LINK_EXPIRED");
    switch(&portal, json!({"auth_errors": "xml"}));
    assert_refused(&http::get(gate.address, target).await, 403, "GATEWAY_LINK_EXPIRED");
    assert_eq!(portal.control().exchanges(), 0, "what is inside a link cannot be renewed");
}
