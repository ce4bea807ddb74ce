//! An expired token is renewed once for everybody, and the call is replayed once.

mod inject; // where the portal reads the token
mod limits; // refusals that pass by themselves
mod refusals; // answers that look like an expiry, and are or are not

use std::collections::HashSet;

use b24gate::sandbox::{Sandbox, Seed};
use serde_json::json;

use crate::support::calls::{
    assert_hides_the_token, assert_refused, begin, calls_of, fault, herd, portal, portal_apart,
    profile, retry_after, shown, switch, until,
};
use crate::support::{Gate, Setup};

const CALLERS: usize = 1_000;

/// A pair whose access token has expired; whether the gateway can know that is the question.
fn expired_seed(portal: &Sandbox, by_the_clock: bool) -> Seed {
    let mut seed = portal.seed();
    portal.control().expire();
    let response = seed.token_response.as_object_mut().unwrap();
    if by_the_clock {
        response.insert("expires".to_owned(), json!(1_700_000_000));
    } else {
        response.remove("expires");
        response.remove("expires_in");
    }
    seed
}

async fn check_herd(by_the_clock: bool, old_access_dies: bool) {
    let portal = portal().await;
    switch(&portal, json!({"old_access_dies": old_access_dies}));
    let seed = expired_seed(&portal, by_the_clock);
    let gate = Gate::connected(&Setup::new(&portal).log_level("info"), &seed);

    let answers = herd(gate.address, CALLERS, "/rest/profile").await;

    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_hides_the_token(answer);
    }
    let replayed = answers.iter().filter(|answer| answer.field("x-b24-replayed").is_some());
    if by_the_clock {
        assert_eq!(replayed.count(), 0, "the expiry was known beforehand");
    } else {
        assert!(replayed.count() > 0, "somebody had to find out");
    }
    assert_eq!(portal.control().exchanges(), 1);
    assert_eq!(portal.control().state()["counters"]["oauth_requests"], 1);
    assert_eq!(portal.control().executions("profile"), CALLERS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_at_an_expiry_known_by_the_clock_share_one_exchange() {
    check_herd(true, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_share_one_exchange_though_the_old_token_lives_on() {
    check_herd(true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_whom_the_portal_refuses_share_one_exchange() {
    check_herd(false, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_refused_callers_share_one_exchange_though_the_old_token_lives_on() {
    check_herd(false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_401_of_an_old_token_is_replayed_with_the_current_one_and_renews_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    portal.control().expire();
    // The refusal is decided when the call arrives and delivered long after the renewal.
    let late = json!({"mode": "slow", "ms": 1500, "method": "user.current", "count": 1});
    fault(&portal, json!({"portal": late})).await;
    let mut late = begin(gate.address, "/rest/user.current").await;
    until("the late call is refused", || !calls_of(&portal, "user.current").is_empty()).await;

    let first = profile(&gate).await;
    assert_eq!(first.field("x-b24-replayed"), Some("expired_token"));
    assert_eq!(portal.control().exchanges(), 1);

    let answer = late.answer().await.unwrap();
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
    assert_eq!(portal.control().exchanges(), 1, "the newer token was already there");
    let calls = calls_of(&portal, "user.current");
    let outcomes: Vec<_> = calls.iter().map(|call| (call.status, call.executed)).collect();
    assert_eq!(outcomes, [(401, false), (200, true)]);
    assert_ne!(calls[0].header("authorization"), calls[1].header("authorization"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_while_its_call_drives_the_renewal_costs_nobody_the_pair() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 1000, "count": 1}})).await;
    let client = begin(gate.address, "/rest/profile").await;
    until("the exchange is made", || portal.control().exchanges() == 1).await;
    drop(client);

    gate.wait_for_log("token refreshed");
    assert_eq!(profile(&gate).await.status, 200);
    // What a crash leaves is what is stored.
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(shown(&again, "generation").as_deref(), Some("2"));
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_refuses_every_token_ends_in_503_after_one_renewal_for_all_calls() {
    let refusals = [
        json!({"mode": "always_expired"}),
        json!({"mode": "error", "code": "invalid_token", "description": "invalid_token"}),
        json!({"mode": "error", "code": "expired_token", "status": 403}),
        json!({"mode": "error", "code": "expired_token", "status": 200}),
    ];
    for refusal in refusals {
        let portal = portal().await;
        let gate = Gate::before(&portal);
        assert_eq!(profile(&gate).await.status, 200);
        fault(&portal, json!({"portal": refusal})).await;

        let first = profile(&gate).await;
        assert_refused(&first, 503, "GATEWAY_REFRESH_UNAVAILABLE");
        assert!((1..=60).contains(&retry_after(&first)), "{}", first.head);
        assert_eq!(calls_of(&portal, "profile").len(), 1 + 2, "sent, and replayed once");
        for answer in herd(gate.address, 20, "/rest/profile").await {
            assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
            assert!((1..=60).contains(&retry_after(&answer)), "{}", answer.head);
        }
        assert_eq!(portal.control().exchanges(), 1, "{refusal}");
        assert_eq!(portal.control().executions("profile"), 1);

        portal.control().clear_faults().await;
        assert_eq!(profile(&gate).await.status, 200, "the token was good all the time");
        assert_eq!(portal.control().exchanges(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_the_portal_has_forgotten_is_renewed_like_an_expired_one() {
    let portal = portal().await;
    let seed = portal.seed();
    let gate = Gate::connected(&Setup::new(&portal), &seed);
    portal.control().forget(&seed.access_token);
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
    let codes: Vec<_> = calls_of(&portal, "profile").into_iter().map(|call| call.code).collect();
    assert_eq!(codes, ["invalid_token", ""]);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_expiries_costs_one_exchange_with_the_refresh_token_of_the_one_before() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for round in 1..=5 {
        portal.control().expire();
        for answer in herd(gate.address, 20, "/rest/profile").await {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(portal.control().exchanges(), round);
    }
    let history = portal.control().state()["refresh_tokens"].as_array().unwrap().clone();
    let rotated: Vec<_> =
        history.iter().filter(|event| event["outcome"] == "rotated").cloned().collect();
    assert_eq!(rotated.len(), 5);
    for (before, after) in rotated.iter().zip(&rotated[1..]) {
        assert_eq!(before["issued"], after["presented"], "a link of the chain is missing");
    }
    let presented: HashSet<_> =
        rotated.iter().map(|event| event["presented"].to_string()).collect();
    assert_eq!(presented.len(), 5);
}
