//! What operators do to portals by commands, and `b24gate wait`.

use std::process::Output;

use serde_json::json;

use crate::support::calls::{fault, portal, profile, shown};
use crate::support::{Gate, Setup};

fn told(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

fn command(setup: &Setup, arguments: &[&str], code: i32) -> String {
    let output = setup.command(arguments, "");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
    told(&output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_when_the_operator_says_so() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    let text = command(gate.setup(), &["portal", "refresh", "acme"], 0);
    assert!(text.contains("token renewed, generation 2"), "{text}");
    assert_eq!(portal.control().exchanges(), 1);
    assert_eq!(shown(&gate, "generation").as_deref(), Some("2"));
    assert_eq!(profile(&gate).await.status, 200);

    fault(&portal, json!({"oauth": {"mode": "status", "status": 502, "count": 1}})).await;
    let text = command(gate.setup(), &["portal", "refresh", "acme"], 1);
    assert!(text.contains("answers 502") && text.contains("nothing is lost"), "{text}");
    // It would wait for a while; the operator need not.
    let text = command(gate.setup(), &["portal", "refresh", "acme"], 0);
    assert!(text.contains("generation 3"), "{text}");
    assert!(command(gate.setup(), &["portal", "refresh", "acmee"], 1).contains("no portal acmee"));
    let setup = gate.kill();
    assert!(command(&setup, &["portal", "refresh", "acme"], 1).contains("b24gate serve"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_without_a_credential_is_not_renewed_and_says_how_to_get_one() {
    let portal = portal().await;
    let gate = Setup::new(&portal).start();
    let text = command(gate.setup(), &["portal", "refresh", "acme"], 1);
    assert!(text.contains("portal connect acme"), "{text}");
    gate.setup().import(&portal.seed());
    portal.control().kill_chain();
    let text = command(gate.setup(), &["portal", "refresh", "acme"], 1);
    assert!(text.contains("invalid_grant") && text.contains("portal connect acme"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_is_disabled_and_enabled_with_and_without_a_gateway() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    command(gate.setup(), &["portal", "disable", "acme"], 0);
    assert_eq!(shown(&gate, "state").as_deref(), Some("disabled"));
    let list = command(gate.setup(), &["portal", "list"], 0);
    assert!(list.contains("disabled"), "{list}");

    let setup = gate.kill();
    assert!(command(&setup, &["portal", "show", "acme"], 0).contains("disabled"));
    command(&setup, &["portal", "enable", "acme"], 0);
    assert!(command(&setup, &["portal", "show", "acme"], 0).contains("connected"));
    command(&setup, &["portal", "disable", "acme"], 0);
    let gate = setup.start();
    assert_eq!(shown(&gate, "state").as_deref(), Some("disabled"), "survives a restart");
    command(gate.setup(), &["portal", "enable", "acme"], 0);
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
    assert_eq!(profile(&gate).await.status, 200);
    command(gate.setup(), &["portal", "disable", "acmee"], 1);
    let setup = gate.kill();
    assert!(command(&setup, &["portal", "disable", "acmee"], 2).contains("known: acme"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_portal_is_not_connected_and_can_be_connected_again() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    let text = command(gate.setup(), &["portal", "remove", "acme"], 2);
    assert!(text.contains("--yes") && text.contains("disable"), "{text}");
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));

    command(gate.setup(), &["portal", "remove", "acme", "--yes"], 0);
    assert_eq!(shown(&gate, "state").as_deref(), Some("not connected"));
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
    let gate = gate.kill().start();
    assert_eq!(shown(&gate, "state").as_deref(), Some("not connected"), "also after a restart");

    // Another portal may live there now: nothing of the old one stands in its way.
    let member = "0".repeat(32);
    let anew = portal.control().seed_for(&member, 3);
    gate.setup().import(&anew);
    assert_eq!(shown(&gate, "user").unwrap().split(',').next(), Some("3"));
    let setup = gate.kill();
    command(&setup, &["portal", "remove", "acme", "--yes"], 0);
    assert!(command(&setup, &["portal", "show", "acme"], 0).contains("not connected"));
    let gate = setup.start();
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_ends_when_calls_can_be_served_and_else_says_what_stands_in_the_way() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    let text = command(&setup, &["wait", "--timeout", "0s"], 1);
    assert!(text.contains("no gateway runs"), "{text}");
    assert!(command(&setup, &["wait", "--timeout", "soon"], 2).contains("write it as 60s"));

    // Begun before the gateway is there.
    let waiting = setup.begin(&["wait"]);
    let gate = setup.start();
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));

    let no_credential = command(&setup, &["wait", "--timeout", "0s", "--portal", "acme"], 1);
    assert!(no_credential.contains("acme: not connected"), "{no_credential}");
    let unknown = command(&setup, &["wait", "--timeout", "0s", "--portal", "acmee"], 1);
    assert!(unknown.contains("no such portal"), "{unknown}");
    let waiting = setup.begin(&["wait", "--portal", "acme"]);
    setup.import(&portal.seed());
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));

    portal.control().kill_chain();
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 403);
    for portal in [&[][..], &["--portal", "acme"]] {
        let arguments = [&["wait", "--timeout", "0s"], portal].concat();
        let text = command(&setup, &arguments, 1);
        assert!(text.contains("acme: dead (invalid_grant)"), "{text}");
    }
}
