//! Who is told when a portal or the store needs a human: what, how often, and what becomes of the
//! calls meanwhile.

mod people;

use std::fmt::Write as _;
use std::time::Duration;

use b24gate::sandbox::Sandbox;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::support::calls::{
    assert_refused, fault, herd, portal_apart, profile, retry_after, until,
};
use crate::support::{Gate, Setup};

use people::{Hook, PATH, Pager, Reply};

/// A gateway with a connected portal, whose `[alerts]` hold these lines.
fn watched(portal: &Sandbox, lines: &[String]) -> Gate {
    let setup = Setup::new(portal).more(&format!("[alerts]\n{}", lines.join("\n")));
    Gate::connected(&setup, &portal.seed())
}

/// The refresh token dies; the access token goes on.
async fn die(portal: &Sandbox, gate: &Gate) {
    fault(portal, json!({"oauth": {"mode": "invalid_grant"}})).await;
    fault(portal, json!({"portal": {"mode": "expired_once"}})).await;
    assert_refused(&profile(gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
}

fn conditions(alerts: &[Value]) -> Vec<String> {
    let words = |alert: &Value| {
        let word = |key: &str| alert[key].as_str().unwrap().to_owned();
        format!("{} {}->{}", word("subject"), word("previous"), word("condition"))
    };
    alerts.iter().map(words).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_is_told_once_to_everybody_and_so_is_the_return_whatever_restarts_between() {
    let portal = portal_apart().await;
    let (hook, pager) = (Hook::start(&[]).await, Pager::new(""));
    let gate = watched(&portal, &[hook.line(), pager.line()]);
    die(&portal, &gate).await;
    let (by_hook, by_pager) = (hook.told(1).await, pager.told(1).await);
    let message = by_hook[0]["message"].as_str().unwrap();
    assert!(message.contains("portal connect acme"), "{message}");
    let since = by_hook[0]["since"].as_str().unwrap();
    assert!(since.len() == 20 && since.starts_with("20") && since.ends_with('Z'), "{since}");
    let expected = json!({
        "gateway": "b24gate", "version": env!("CARGO_PKG_VERSION"), "subject": "portal",
        "portal": "acme", "condition": "dead", "previous": "connected", "code": "invalid_grant",
        "since": since, "message": message, "admin_url": format!("http://{}/", gate.admin),
    });
    assert_eq!(by_hook, std::slice::from_ref(&expected));
    assert_eq!(by_pager, [expected]);
    assert_eq!(pager.read("arguments"), "on call\n");
    let head = hook.heads().remove(0);
    assert!(head.starts_with(&format!("POST {PATH} HTTP/1.1\r\n")), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let line = gate.wait_for_log("alert subject=portal portal=acme");
    assert!(line.contains("ERROR") && line.contains("code=invalid_grant"), "{line}");

    let setup = gate.setup().clone();
    assert!(gate.stop().0.success());
    let again = setup.start();
    // It is known there too by now, and nobody has to be told.
    again.wait_for_log("alert subject=portal portal=acme");
    portal.control().clear_faults().await;
    setup.import(&portal.seed());
    let expected = ["portal connected->dead", "portal dead->connected"];
    assert_eq!(conditions(&hook.told(2).await), expected);
    assert_eq!(conditions(&pager.told(2).await), expected);
    assert_eq!(hook.alerts()[1]["code"], Value::Null);
    assert!(again.wait_for_log("was=dead").contains("INFO"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_over_a_payment_is_told_as_one() {
    let portal = portal_apart().await;
    let hook = Hook::start(&[]).await;
    let gate = watched(&portal, &[hook.line()]);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "payment_required"}})).await;
    assert_refused(&profile(&gate).await, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    let alert = hook.told(1).await.remove(0);
    assert_eq!(
        (&alert["condition"], &alert["code"]),
        (&json!("paused"), &json!("PAYMENT_REQUIRED"))
    );
    assert!(alert["message"].as_str().unwrap().contains("pay, and it goes on"), "{alert}");
    assert!(gate.wait_for_log("alert subject=portal portal=acme").contains("WARN"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_anybody_to_tell_the_log_still_says_it() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    die(&portal, &gate).await;
    let line = gate.wait_for_log("alert subject=portal portal=acme");
    assert!(line.contains("condition=dead") && line.contains("portal connect acme"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_is_tried_until_it_takes_the_alert() {
    let portal = portal_apart().await;
    let failed = Reply::Status(500, String::new());
    let hook = Hook::start(&[failed.clone(), failed]).await;
    let gate = watched(&portal, &[hook.line()]);
    die(&portal, &gate).await;
    gate.wait_for_log("alert delivered");
    assert_eq!(conditions(&hook.alerts()), ["portal connected->dead"; 3]);
    let log = gate.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("NOT delivered")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for line in lines {
        assert!(line.contains("WARN") && line.contains("answered 500"), "{line}");
        assert!(line.contains(&format!("place={}", hook.address)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let portal = portal_apart().await;
    let other = Hook::start(&[]).await;
    let location = format!("Location: http://{}/\r\n", other.address);
    let hook = Hook::start(&[Reply::Status(307, location)]).await;
    let gate = watched(&portal, &[hook.line()]);
    die(&portal, &gate).await;
    assert!(gate.wait_for_log("alert NOT delivered").contains("redirects are not followed"));
    assert_eq!(hook.told(2).await.len(), 2);
    assert!(other.alerts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_hangs_holds_back_neither_calls_nor_the_program() {
    let portal = portal_apart().await;
    let (hook, pager) = (Hook::start(&[const { Reply::Hang }; 10]).await, Pager::new(""));
    let gate = watched(&portal, &[hook.line(), pager.line()]);
    die(&portal, &gate).await;
    hook.told(1).await;
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    pager.told(1).await;
    assert!(gate.wait_for_log("alert NOT delivered").contains("no answer within 10 s"));
    hook.told(2).await;
    assert!(hook.hung_up() > 0 && !gate.log().contains("alert delivered target=webhook"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_hangs_holds_back_neither_calls_nor_the_webhook_nor_the_end() {
    let portal = portal_apart().await;
    let (hook, pager) = (Hook::start(&[]).await, Pager::new("sleep 1000"));
    let gate = watched(&portal, &[hook.line(), pager.line()]);
    die(&portal, &gate).await;
    pager.told(1).await;
    hook.told(1).await;
    for answer in herd(gate.address, 20, "/rest/profile").await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(pager.runs(), "it has hung all the time");
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
    assert!(log.contains("stopping although an alert is on its way"), "{log}");
    until("the program has ended", || !pager.runs()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_fails_is_tried_again() {
    let portal = portal_apart().await;
    let pager = Pager::new("echo its last words; test $(wc -l < \"$(dirname \"$0\")/alerts\") = 2");
    let gate = watched(&portal, &[pager.line()]);
    die(&portal, &gate).await;
    assert!(gate.wait_for_log("alert delivered").contains("place=page-me"));
    assert_eq!(conditions(&pager.alerts()), ["portal connected->dead"; 2]);
    let line = gate.wait_for_log("alert NOT delivered");
    assert!(line.contains("place=page-me") && line.contains("exit status: 1"), "{line}");
    assert!(gate.wait_for_log("alert command said").contains("its last words"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_an_alert_in_the_programs_environment_or_in_the_log() {
    let portal = portal_apart().await;
    let hook = Hook::start(&[Reply::Status(500, String::new())]).await;
    let pager = Pager::new("");
    let lines = [hook.line(), pager.line()];
    let setup = Setup::new(&portal).log_level("trace");
    let gate =
        Gate::connected(&setup.more(&format!("[alerts]\n{}", lines.join("\n"))), &portal.seed());
    die(&portal, &gate).await;
    hook.told(2).await;
    pager.told(1).await;
    let log = gate.log();
    assert!(!log.contains("W-canary"), "{log}");
    let mut told = pager.read("alerts");
    for alert in hook.alerts() {
        writeln!(told, "{alert}").unwrap();
    }
    let seed = portal.seed();
    for secret in [&seed.access_token, &seed.refresh_token, &seed.client_secret, "W-canary"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    // The shell adds names of its own to what it is given.
    let env = pager.read("env");
    let names: Vec<_> = env.lines().filter_map(|line| line.split_once('=')).collect();
    assert!(names.iter().any(|(name, _)| *name == "PATH"), "{env}");
    for (name, _) in names {
        let known = ["PATH", "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_"];
        assert!(known.contains(&name), "{name} in the environment:\n{env}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_brings_new_targets_that_know_what_the_old_ones_have_heard() {
    let portal = portal_apart().await;
    let gate = Gate::before(&portal);
    die(&portal, &gate).await;
    gate.wait_for_log("alert subject=portal portal=acme");
    let (first, second) = (Hook::start(&[]).await, Hook::start(&[]).await);
    for hook in [&first, &second] {
        let text = format!("{}\n[alerts]\n{}\n", gate.setup().text(), hook.line());
        std::fs::write(gate.setup().config(), text).unwrap();
        let before = gate.log().matches("configuration reloaded").count();
        gate.signal("HUP");
        let reloaded = || gate.log().matches("configuration reloaded").count() > before;
        until("it is reloaded", reloaded).await;
        first.told(1).await;
    }
    portal.control().clear_faults().await;
    let imported = portal.seed().token_response.to_string();
    assert!(gate.setup().command(&["portal", "import", "acme"], &imported).status.success());
    assert_eq!(conditions(&second.told(1).await), ["portal dead->connected"]);
    assert_eq!(conditions(&first.alerts()), ["portal connected->dead"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_written_is_told_and_so_is_that_it_can_again() {
    let portal = portal_apart().await;
    let hook = Hook::start(&[]).await;
    let gate = watched(&portal, &[hook.line()]);
    let database = gate.setup().state().join("b24gate.db");
    let mut other = SqliteConnection::connect(&database.display().to_string()).await.unwrap();
    // Somebody else writes, and does not come to an end.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    portal.control().expire();
    assert_refused(&profile(&gate).await, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    let alert = hook.told(1).await.remove(0);
    assert_eq!(conditions(std::slice::from_ref(&alert)), ["store ok->failing"]);
    assert_eq!((&alert["portal"], &alert["code"]), (&Value::Null, &Value::Null));
    assert!(gate.wait_for_log("alert subject=store").contains("ERROR"));

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let mut answer = profile(&gate).await;
    while answer.status == 503 {
        tokio::time::sleep(Duration::from_secs(retry_after(&answer))).await;
        answer = profile(&gate).await;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(conditions(&hook.told(2).await), ["store ok->failing", "store failing->ok"]);
}
