//! Secrets travel in bodies. A server that takes no POST is asked with GET, and only that one.

use serde_json::json;

use crate::support::Gate;
use crate::support::calls::{fault, portal_apart, profile, switch, token_requests};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exchange_is_a_form_and_its_url_holds_nothing() {
    let portal = portal_apart().await;
    let seed = portal.seed();
    let gate = Gate::connected(&crate::support::Setup::new(&portal), &seed);
    for _ in 0..3 {
        portal.control().expire();
        assert_eq!(profile(&gate).await.status, 200);
    }
    let asked = token_requests(&portal);
    assert_eq!(asked.len(), 3);
    for request in &asked {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/oauth/token/"));
        assert!(request.body.as_ref().unwrap().contains(&seed.client_secret));
        assert!(!request.headers.join("\n").contains(&seed.client_secret));
    }
    for entry in portal.control().log() {
        for secret in [&seed.client_secret, &seed.refresh_token, &seed.access_token] {
            assert!(!entry.target.contains(secret), "{}", entry.target);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_post_is_asked_with_get_from_then_on() {
    let portal = portal_apart().await;
    switch(&portal, json!({"oauth_post": false}));
    let gate = Gate::before(&portal);
    for _ in 0..2 {
        portal.control().expire();
        let answer = profile(&gate).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let verbs: Vec<_> = token_requests(&portal).into_iter().map(|request| request.method).collect();
    assert_eq!(verbs, ["POST", "GET", "GET"]);
    assert_eq!(portal.control().exchanges(), 2);
    gate.wait_for_log("takes no POST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_is_refused_once_falls_back_within_the_same_call() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "post_refused", "count": 1}})).await;
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_failure_makes_a_secret_travel_in_a_url() {
    for mode in [
        json!({"mode": "status", "status": 500, "count": 1}),
        json!({"mode": "status", "status": 404, "count": 1}),
        json!({"mode": "invalid_client", "count": 1}),
        json!({"mode": "html", "count": 1}),
        json!({"mode": "hang", "ms": 50, "count": 1}),
    ] {
        let portal = portal_apart().await;
        let gate = Gate::before(&portal);
        portal.control().expire();
        fault(&portal, json!({"oauth": mode})).await;
        assert_ne!(profile(&gate).await.status, 200);
        let asked = token_requests(&portal);
        assert_eq!(asked.len(), 1, "{mode}");
        assert_eq!(asked[0].target, "/oauth/token/", "{mode}");
    }
}
