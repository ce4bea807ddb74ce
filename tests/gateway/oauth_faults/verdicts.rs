//! Refusals that a human has to lift: told with their code, asked about once, and no token is lost.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::Gate;
use crate::support::calls::{
    assert_refused, fault, herd, portal_apart, profile, shown, switch, token_requests,
};
use crate::support::http;

/// What a verdict is shown as, and that a restart finds the same pair and tries it again.
async fn check_verdict(verdict: Value, state: &str, code: &str) {
    let portal = portal_apart().await;
    // So that a committed exchange whose pair was turned away leaves the old one good.
    switch(&portal, json!({"rotation": "lenient", "old_access_dies": false}));
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    fault(&portal, json!({"oauth": verdict})).await;
    fault(&portal, json!({"portal": {"mode": "expired_once"}})).await;
    let refused = profile(&gate).await;
    assert_refused(&refused, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    let text = refused.text();
    let told = code.replace("expired_token", "expired token");
    for said in ["acme", &told, &format!("http://{}/", gate.admin), "portal import acme"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert_eq!(profile(&gate).await.status, 200, "{code}: the live token is unaffected");

    portal.control().expire();
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_refused(&answer, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    assert_eq!(token_requests(&portal).len(), 1, "{code}: asked once");
    assert_eq!(shown(&gate, "state").as_deref(), Some(state), "{code}");
    assert_eq!(shown(&gate, "reason").as_deref(), Some(code));
    let ready = http::get(gate.admin, "/readyz").await;
    assert_eq!(ready.status, 503, "{code}");
    assert!(ready.text().contains(state), "{}", ready.text());
    assert_eq!(http::get(gate.admin, "/livez").await.status, 200);

    portal.control().clear_faults().await;
    let again = gate.kill().start();
    let recovered = profile(&again).await;
    assert_eq!(recovered.status, 200, "{code}: the pair was kept: {}", recovered.text());
    assert_eq!(shown(&again, "state").as_deref(), Some("connected"), "{code}");
    assert_eq!(http::get(again.admin, "/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_is_told_with_its_code_asked_once_and_costs_no_token() {
    let mut cases = JoinSet::new();
    for (mode, state, code) in [
        ("invalid_grant", "dead", "invalid_grant"),
        ("expired_token", "dead", "expired_token"),
        ("not_installed", "dead", "NOT_INSTALLED"),
        ("payment_required", "paused", "PAYMENT_REQUIRED"),
        ("invalid_client", "paused", "invalid_client"),
        ("wrong_client", "paused", "wrong_client"),
        ("other_member", "paused", "member_id_mismatch"),
    ] {
        cases.spawn(check_verdict(json!({"mode": mode}), state, code));
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_of_another_portal_is_never_used_and_never_stored() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    let before = (shown(&gate, "member_id"), shown(&gate, "generation"));
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "other_member"}})).await;
    assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    assert_eq!((shown(&gate, "member_id"), shown(&gate, "generation")), before);
    let again = gate.kill().start();
    assert_eq!((shown(&again, "member_id"), shown(&again, "generation")), before);
    assert_eq!(portal.control().executions("profile"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_client_secret_is_mended_by_a_reload() {
    let portal = portal_apart().await;
    let mut seed = portal.seed();
    let right = std::mem::replace(&mut seed.client_secret, "S-of-another-app".to_owned());
    let gate = Gate::connected(&crate::support::Setup::of(&seed), &seed);
    portal.control().expire();
    let refused = profile(&gate).await;
    assert_refused(&refused, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    assert!(refused.text().contains("invalid_client"), "{}", refused.text());

    let text = gate.setup().text().replace("S-of-another-app", &right);
    std::fs::write(gate.setup().config(), text).unwrap();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    let recovered = profile(&gate).await;
    assert_eq!(recovered.status, 200, "{}", recovered.text());
    assert_eq!(portal.control().exchanges(), 1);
}
