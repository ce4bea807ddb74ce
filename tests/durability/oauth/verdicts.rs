//! Refusals that a human has to lift: told with their code, asked about once, and no token is lost.

use b24gate::sandbox::Seed;
use b24gate::store::Seat;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::calls::{
    assert_refused, fault, herd, portal_apart, profile, shown, switch, token_requests,
};
use crate::support::http;
use crate::support::{Gate, Setup};

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
    for said in ["acme", &told, &format!("http://{}/", gate.admin), "portal connect acme"] {
        assert!(text.contains(said), "{said} is missing in {text}");
    }
    assert_eq!(profile(&gate).await.status, 200, "{code}: the live token is unaffected");

    portal.control().expire();
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_refused(&answer, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    }
    assert_eq!(token_requests(&portal).len(), 1, "{code}: asked once");
    let pause = if state == "dead" { "next_try_in=21600s" } else { "next_try_in=600s" };
    assert!(gate.wait_for_log("token refresh failed").contains(pause), "{code}: {}", gate.log());
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

async fn check_verdicts(verdicts: &[(&'static str, &'static str, &'static str)]) {
    let mut cases = JoinSet::new();
    for &(mode, state, code) in verdicts {
        cases.spawn(check_verdict(json!({"mode": mode}), state, code));
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_15_a_refresh_token_called_invalid_is_told_asked_about_once_and_kept() {
    check_verdicts(&[("invalid_grant", "dead", "invalid_grant")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_16_a_refresh_token_called_expired_is_no_expired_access_token() {
    check_verdicts(&[("expired_token", "dead", "expired_token")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_17_a_refusal_with_another_code_is_told_with_it_asked_once_and_costs_no_token() {
    check_verdicts(&[
        ("not_installed", "dead", "NOT_INSTALLED"),
        ("payment_required", "paused", "PAYMENT_REQUIRED"),
        ("invalid_client", "paused", "invalid_client"),
        ("wrong_client", "paused", "wrong_client"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_18_a_pair_of_another_portal_is_told_asked_about_once_and_costs_no_token() {
    check_verdicts(&[("other_member", "paused", "member_id_mismatch")]).await;
}

/// A chain that dies with a spare behind it: the calls that were waiting are served. The spare is
/// renewed at once, whether its access token lives by what was stored or not.
async fn check_takeover(verdict: &str, code: &str, spare_lives: bool) {
    let portal = portal_apart().await;
    let active = portal.seed();
    portal.control().expire();
    let mut spare = portal.seed();
    if !spare_lives {
        portal.control().expire();
        spare.token_response["expires"] = json!(1_700_000_000);
    }
    let setup = Setup::new(&portal);
    setup.keep(&[("acme", &active)], Seat::Active { keep_old: false }).await;
    setup.keep(&[("acme", &spare)], Seat::Spare).await;
    let gate = setup.start();
    fault(&portal, json!({"oauth": {"mode": verdict, "count": 1}})).await;

    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{code}: {}", answer.text());
    }
    let asked = token_requests(&portal);
    let presented = |seed: &Seed| {
        asked.iter().filter(|it| it.body.as_ref().unwrap().contains(&seed.refresh_token)).count()
    };
    let counts = (presented(&active), presented(&spare));
    assert_eq!(counts, (1, 1), "{code}");
    let told = gate.wait_for_log("token refresh failed");
    assert!(told.contains(&format!("code={code}")), "{told}");
    gate.wait_for_log("a spare takes over");
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));

    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(token_requests(&portal).len(), asked.len(), "{code}: the spare stays in its seat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_15_f_16_f_17_a_spare_takes_the_place_of_a_chain_that_is_dead() {
    tokio::join!(
        check_takeover("invalid_grant", "invalid_grant", true),
        check_takeover("invalid_grant", "invalid_grant", false),
        check_takeover("expired_token", "expired_token", false),
        check_takeover("not_installed", "NOT_INSTALLED", true),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_17_a_spare_does_not_take_over_while_the_portal_only_has_to_pay() {
    let portal = portal_apart().await;
    let (active, spare) = (portal.seed(), portal.seed());
    let setup = Setup::new(&portal);
    setup.keep(&[("acme", &active)], Seat::Active { keep_old: false }).await;
    setup.keep(&[("acme", &spare)], Seat::Spare).await;
    let gate = setup.start();
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "payment_required"}})).await;
    assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    assert_eq!(token_requests(&portal).len(), 1);
    assert_eq!(shown(&gate, "state").as_deref(), Some("paused"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_18_a_pair_of_another_portal_is_never_used_and_never_stored() {
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
async fn f_17_a_wrong_client_secret_is_mended_by_a_reload() {
    let portal = portal_apart().await;
    let mut seed = portal.seed();
    let right = std::mem::replace(&mut seed.client_secret, "S-of-another-app".to_owned());
    let gate = Gate::connected(&Setup::of(&seed), &seed);
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
