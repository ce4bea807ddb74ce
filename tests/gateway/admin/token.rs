//! The raw token, for those who must have it.

use serde_json::{Value, json};

use super::{ask, change, get};
use crate::support::calls::{portal, switch, token_requests};
use crate::support::http::Answer;
use crate::support::{Gate, Setup};

const PATH: &str = "GET /api/v1/portals/acme/token";

fn assert_no_token(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.json()["error_description"].is_string(), "{}", answer.text());
    assert!(!answer.text().contains("access_token"), "{}", answer.text());
}

#[tokio::test]
async fn a_token_is_shown_to_nobody_unless_the_operator_says_so() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let answer = ask(&gate, PATH, &[], "").await;
    assert_no_token(&answer, 403);
    assert!(answer.text().contains("expose_tokens"), "{}", answer.text());
}

#[tokio::test]
async fn a_program_gets_the_token_in_use_and_never_the_refresh_token() {
    let portal = portal().await;
    let setup = Setup::new(&portal).admin("expose_tokens = true");
    let seed = portal.seed();
    let gate = Gate::connected(&setup, &seed);
    let answer = ask(&gate, PATH, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let shown = answer.json();
    assert_eq!(shown["access_token"], Value::from(seed.access_token.as_str()));
    assert_eq!(shown["generation"], 1);
    assert_eq!(shown["url"], Value::from(seed.portal_url.as_str()));
    assert_eq!(shown["user_id"], seed.user_id);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let names: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let known = ["access_token", "expires_at", "generation", "member_id", "url", "user_id"];
    assert_eq!(names, known);
    assert!(!answer.text().contains(&seed.refresh_token));
    assert!(!gate.log().contains(&seed.access_token));
    // It is good.
    let call = format!("{}/rest/profile?auth={}", seed.portal_url, seed.access_token);
    let curl = std::process::Command::new("curl");
    let output = tokio::task::spawn_blocking(move || {
        let mut curl = curl;
        curl.args(["--silent", "--max-time", "20", "--noproxy", "*"]).arg(call).output()
    });
    let said = String::from_utf8(output.await.unwrap().unwrap().stdout).unwrap();
    assert!(said.contains("Ada"), "{said}");
}

#[tokio::test]
async fn a_browser_gets_no_token_though_they_are_shown() {
    let portal = portal().await;
    let setup = Setup::new(&portal).admin("expose_tokens = true");
    let gate = Gate::connected(&setup, &portal.seed());
    let own = format!("Origin: http://localhost:{}", gate.admin.port());
    for field in [
        own.as_str(),
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-User: ?1",
    ] {
        assert_no_token(&ask(&gate, PATH, &[field], "").await, 403);
    }
}

#[tokio::test]
async fn a_token_that_has_expired_is_renewed_before_it_is_shown() {
    let portal = portal().await;
    switch(&portal, json!({"rotation": "strict"}));
    let setup = Setup::new(&portal).admin("expose_tokens = true");
    setup.write();
    let seed = portal.seed();
    let mut pair = seed.token_response.clone();
    pair["expires"] = json!(1_700_000_000);
    let imported = setup.command(&["portal", "import", "acme"], &pair.to_string());
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let gate = setup.start();
    let shown = ask(&gate, PATH, &[], "").await.json();
    assert_eq!(shown["generation"], 2, "{shown}");
    assert_ne!(shown["access_token"], Value::from(seed.access_token));
    assert_eq!(token_requests(&portal).len(), 1);
}

#[tokio::test]
async fn where_there_is_no_token_the_answer_says_why() {
    let portal = portal().await;
    let secret = "1/w3bh00ks3cr3tw0rd";
    let hook = format!(
        "[portals.hook]\nurl = \"http://127.0.0.1:9\"\nwebhook_url = \"http://127.0.0.1:9/rest/{secret}/\"\n"
    );
    let setup = Setup::new(&portal)
        .admin("expose_tokens = true")
        .gateway("default_portal = \"acme\"")
        .more(&hook);
    setup.write();
    let gate = setup.start();
    let answer = ask(&gate, PATH, &[], "").await;
    assert_no_token(&answer, 409);
    assert!(answer.text().contains("not connected"), "{}", answer.text());
    assert_no_token(&ask(&gate, "GET /api/v1/portals/nobody/token", &[], "").await, 404);
    let answer = ask(&gate, "GET /api/v1/portals/hook/token", &[], "").await;
    assert_no_token(&answer, 409);
    assert!(!answer.text().contains(secret), "{}", answer.text());
    assert_eq!(get(&gate, "/api/v1/portals/hook").await.json()["webhook"], true);

    setup.import(&portal.seed());
    assert_eq!(change(&gate, "POST /api/v1/portals/acme/disable", "").await.status, 200);
    let answer = ask(&gate, PATH, &[], "").await;
    assert_no_token(&answer, 409);
    assert!(answer.text().contains("disabled"), "{}", answer.text());
}
