//! The operator's API against its own description: schemathesis reads `openapi.json` and asks
//! everything that it allows and much that it does not.

use std::path::Path;
use std::process::{Command, Stdio};

use b24gate::sandbox::Sandbox;
use serde_json::json;

use crate::admin::{csrf, get};
use crate::support::calls::{portal, switch};
use crate::support::{Gate, Setup, repository};

/// Both that a portal is there and that nothing is: the first run names the portal and does not
/// remove it, so that every route has something to answer with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_as_it_is_described() {
    let portal = portal().await;
    switch(&portal, json!({"rotation": "lenient"}));
    let gate = before(&portal);
    let token = csrf(&gate).await;
    run(
        &gate,
        &token,
        &["--exclude-operation-id", "deletePortal", "--exclude-operation-id", "removePortal"],
        "[parameters]\n\"path.name\" = \"acme\"\n",
    )
    .await;
    let view = get(&gate, "/api/v1/portals/acme").await.json();
    assert!(view["generation"].as_u64().unwrap() > 1, "it was renewed: {view}");
    assert!(gate.log().contains("access token shown"), "the token was asked for");
    assert!(gate.log().contains("login begun"), "a login was begun");
}

/// All of it, with names as they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_is_as_it_is_described_whatever_is_asked_and_removed() {
    let portal = portal().await;
    let gate = before(&portal);
    let token = csrf(&gate).await;
    run(&gate, &token, &[], "").await;
    assert!(gate.log().contains("portal removed"), "the portal was removed");
}

fn before(portal: &Sandbox) -> Gate {
    Gate::connected(&Setup::new(portal).admin("expose_tokens = true"), &portal.seed())
}

async fn run(gate: &Gate, token: &str, more: &[&str], config: &str) {
    let python = repository().join("target/clients/bin/python");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemathesis.toml");
    std::fs::write(&file, format!("{config}{EXPECTED}")).unwrap();
    let mut command = Command::new(&python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(&file);
    command.arg("run").arg(format!("http://{}/api/v1/openapi.json", gate.admin));
    command.args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"]);
    command.args(["--max-examples", "20", "--generation-deterministic", "--continue-on-failure"]);
    // A portal that is removed can still be asked after: it stays in the configuration.
    command.args(["--exclude-checks", "use_after_free", "--request-timeout", "20", "--no-color"]);
    command.args(["--header", token]).args(more);
    command.current_dir(folder.path()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| missing(&python, &error.to_string()));
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    if complained.contains("No module named") {
        missing(&python, &complained);
    }
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("Coverage") && said.contains("Stateful"), "{said}");
}

fn missing(python: &Path, error: &str) -> ! {
    let python = python.display();
    panic!("{python} cannot be run ({error}): scripts/test installs what the tests need")
}

/// A portal that was renewed a moment ago is not renewed again: 503, as described.
const EXPECTED: &str = "[[operations]]\ninclude-operation-id = \"refreshPortal\"\n\
    [operations.checks]\nnot_a_server_error.expected-statuses = [200, \"4xx\", 503]\n";
