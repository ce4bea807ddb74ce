//! `b24gate portal ...`, beside a running gateway and without one.

use std::process::Output;

use serde_json::json;

use crate::support::Setup;
use crate::support::calls::{portal, profile};

fn told(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_imported_into_a_running_gateway_and_used_at_once() {
    let portal = portal().await;
    let gate = Setup::new(&portal).start();
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
    gate.setup().import(&portal.seed());
    assert_eq!(profile(&gate).await.status, 200);

    // When somebody insists, a newer pair takes the place of the older one, whose access token is
    // no longer used.
    portal.control().expire();
    let newer = portal.seed().token_response.to_string();
    let output = gate.setup().command(&["portal", "import", "acme", "--replace"], &newer);
    assert!(output.status.success(), "{}", told(&output));
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_of_no_use_says_why_and_leaves_the_pair_alone() {
    let portal = portal().await;
    let seed = portal.seed();
    let long = format!("{{\"access_token\": \"{}\"}}", "x".repeat(70_000));
    let wrong = [
        ("", "not a JSON object"),
        ("<html>", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "no access_token"),
        ("https://acme.bitrix24.com/rest/1/secret/", "looks like a webhook"),
        (r#"{"AUTH_ID": "A", "member_id": "x"}"#, "install request: there is no REFRESH_ID in it"),
        (r#"{"access_token": "A"}"#, "no refresh_token"),
        (r#"{"access_token": 7, "refresh_token": "R"}"#, "access_token is not a token"),
        (r#"{"error": "invalid_grant"}"#, "an error answer"),
        (long.as_str(), "longer than 64 KiB"),
    ];
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&seed);
    let check = |when: &str| {
        for (input, reason) in wrong {
            let output = setup.command(&["portal", "import", "acme"], input);
            assert_eq!(output.status.code(), Some(1), "{when}: {reason}");
            assert!(told(&output).contains(reason), "{when}: {reason}: {}", told(&output));
        }
        let output = setup.command(&["portal", "import", "acmee"], "{}");
        assert_eq!(output.status.code(), Some(2), "{when}");
        assert!(told(&output).contains("known: acme"), "{}", told(&output));
    };
    check("not running");
    let gate = setup.start();
    check("running");
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_and_show_tell_all_but_the_tokens() {
    let portal = portal().await;
    let seed = portal.seed();
    let setup = Setup::new(&portal);
    setup.write();
    let empty = told(&setup.command(&["portal", "list"], ""));
    assert!(empty.contains("acme") && empty.contains("not connected"), "{empty}");
    assert!(!setup.state().exists(), "looking makes nothing");
    setup.import(&seed);

    let check = |state: &str| {
        for arguments in [&["portal", "list"][..], &["portal", "show", "acme"]] {
            let output = setup.command(arguments, "");
            let text = told(&output);
            assert!(output.status.success(), "{text}");
            for said in ["acme", state, &seed.portal_url, " min"] {
                assert!(text.contains(said), "{said} is missing in {text}");
            }
            for secret in [&seed.access_token, &seed.refresh_token, &seed.client_secret] {
                assert!(!text.contains(secret.as_str()), "{text}");
            }
        }
        let details = told(&setup.command(&["portal", "show", "acme"], ""));
        assert!(details.contains(&seed.member_id), "{details}");
    };
    check("connected");
    let _gate = setup.start();
    check("connected");
    let unknown = setup.command(&["portal", "show", "beta"], "");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(told(&unknown).contains("known: acme"), "{}", told(&unknown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_pair_is_imported_and_renewed_at_its_first_use() {
    let portal = portal().await;
    let mut seed = portal.seed();
    portal.control().expire();
    seed.token_response["expires"] = json!(1_700_000_000);
    let setup = Setup::new(&portal);
    setup.write();
    let pair = seed.token_response.to_string();
    let output = setup.command(&["portal", "import", "acme"], &pair);
    assert!(told(&output).contains("it is renewed at its first use"), "{}", told(&output));
    let gate = setup.start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_on_the_command_line_is_refused() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    for arguments in [
        &["serve", "--client-secret=S-canary"][..],
        &["serve", "--client_secret", "S-canary"],
        &["portal", "import", "acme", "--refresh-token=S-canary"],
        &["portal", "import", "acme", "S-canary"],
    ] {
        let output = setup.command(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", told(&output));
        assert!(output.stdout.is_empty());
    }
    let output = setup.command(&["serve", "--client-secret=S-canary"], "");
    assert!(!told(&output).contains("canary"), "{}", told(&output));
    let help = told(&setup.command(&["--help"], ""));
    assert!(help.contains("never from the command"), "{help}");
}
