//! What a client may call: a method by its path, and every command of a batch.

use b24gate::sandbox::Sandbox;
use serde_json::json;

use crate::support::Gate;
use crate::support::calls::assert_refused;
use crate::support::clients::client_key;
use crate::support::http::{self, Answer, Client};
use crate::support::wire::{calls, request, stage_with};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const FORBIDDEN: &str = "GATEWAY_METHOD_FORBIDDEN";

/// A client that may do everything with deals but delete them, one that may read, one without
/// rules.
async fn stage() -> (Sandbox, Gate, [String; 3]) {
    let clients = "[clients.erp]\nmethods = [\"crm.deal.*\", \"!*.delete\"]\n[clients.report]\n\
                   read_only = true\n[clients.free]\n";
    let gateway = "replay_memory = \"64KiB\"";
    let (portal, gate) = stage_with(|setup| setup.more(clients).gateway(gateway)).await;
    let keys = ["erp", "report", "free"].map(|name| client_key(&gate, name, &[]));
    (portal, gate, keys)
}

async fn send(gate: &Gate, line: &str, fields: &str, body: &str) -> Answer {
    let mut client = Client::connect(gate.address).await;
    client.send(request(line, fields, body.as_bytes())).await;
    client.answer().await.unwrap()
}

#[tokio::test]
async fn a_method_outside_the_rules_never_reaches_the_portal() {
    let (portal, gate, [erp, report, free]) = stage().await;
    for (key, method) in [
        (&erp, "crm.deal.delete"),
        (&erp, "CRM.Deal.Delete.json"),
        (&erp, "crm.contact.list"),
        (&erp, "profile"),
        (&report, "crm.deal.add"),
        (&report, "crm.deal.delete.xml"),
        (&report, "task.commentitem.add"),
        (&report, "upload"),
    ] {
        let answer = http::get(gate.address, &format!("/rest/1/{key}/{method}?id=1")).await;
        assert_eq!(answer.status, 403, "{method}: {}", answer.text());
        assert!(answer.text().contains(FORBIDDEN), "{method}: {}", answer.text());
        assert!(!answer.text().contains(key.as_str()));
    }
    assert!(calls(&portal).is_empty());
    for (key, method) in [
        (&erp, "crm.deal.list"),
        (&report, "crm.deal.list"),
        (&report, "profile"),
        (&free, "scope"),
    ] {
        let answer = http::get(gate.address, &format!("/rest/1/{key}/{method}")).await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_forbidden_command_keeps_its_whole_batch_from_running() {
    let (portal, gate, [erp, ..]) = stage().await;
    let line = format!("POST /rest/1/{erp}/batch");
    let in_query = format!("{line}?cmd[a]=crm.deal.add&cmd[b]=crm.deal.delete");
    let part = "--b\r\nContent-Disposition: form-data; name=\"cmd[a]\"\r\n\r\ncrm.deal.delete\r\n";
    let parts = format!("{part}--b--\r\n");
    let v3 = format!("POST /rest/api/1/{erp}/batch");
    for (line, fields, body) in [
        (&in_query, "", String::new()),
        (&in_query, JSON, json!({"cmd": ["crm.deal.add"]}).to_string()),
        (&line, FORM, "cmd%5Ba%5D=crm.deal.add&+cmd%5Bb%5D=crm.deal.delete%3Fid%3D1".to_owned()),
        (&line, "", "cmd[0]=crm.deal.add&cmd[1]=crm.deal.delete".to_owned()),
        (
            &line,
            JSON,
            json!({"cmd": {"a": "crm.deal.add", "b": "crm.deal.delete?id=1"}}).to_string(),
        ),
        (&line, JSON, r#"{"cmd":["crm.deal.add"],"\u0063md":["crm.deal.\u0064elete"]}"#.to_owned()),
        (&line, "Content-Type: multipart/form-data; boundary=b\r\n", parts),
        (&line, FORM, "cmd[a]=crm.deal.add&cmd[b]=batch%3Fcmd%5B0%5D%3Dcrm.deal.delete".to_owned()),
        (&v3, JSON, json!([{"method": "crm.deal.get"}, {"method": "crm.deal.delete"}]).to_string()),
        (&line, "Content-Type: text/xml\r\n", "cmd[a]=crm.deal.add".to_owned()),
        (&line, JSON, "{\"cmd\":[\"crm.deal.add\"]".to_owned()),
        (&line, JSON, json!({"cmd": vec!["crm.deal.add"; 51]}).to_string()),
        (&line, FORM, format!("cmd[a]=crm.deal.add&x={}", "x".repeat(70_000))),
    ] {
        let answer = send(&gate, line, fields, &body).await;
        assert_refused(&answer, 403, FORBIDDEN);
        assert!(answer.text().contains("erp"), "{}", answer.text());
    }
    assert!(calls(&portal).is_empty());
    assert_eq!(portal.control().executions("crm.deal.add"), 0);
}

#[tokio::test]
async fn a_batch_of_allowed_commands_runs_whole() {
    let (portal, gate, [erp, report, free]) = stage().await;
    let commands = json!({"cmd": {"a": "crm.deal.add?fields[TITLE]=x", "b": "crm.deal.list"}});
    let add = "cmd[a]=crm.deal.add%3Ffields%5BTITLE%5D%3Dx";
    let (erp_line, free_line) =
        (format!("POST /rest/1/{erp}/batch"), format!("POST /rest/1/{free}/batch"));
    for (line, fields, body) in [
        (&erp_line, JSON, commands.to_string()),
        (&erp_line, FORM, format!("{add}&cmd[b]=crm.deal.list%3Fstart%3D0")),
        (&free_line, FORM, format!("{add}&cmd[b]=profile")),
    ] {
        let before = portal.control().executions("crm.deal.add");
        let answer = send(&gate, line, fields, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.json()["result"]["result_error"].as_array().is_some_and(Vec::is_empty));
        assert_eq!(portal.control().executions("crm.deal.add"), before + 1);
    }
    let line = format!("POST /rest/1/{report}/batch");
    let reads = json!({"cmd": ["profile", "crm.deal.list", "user.get"]}).to_string();
    assert_eq!(send(&gate, &line, JSON, &reads).await.status, 200);
    let writes = json!({"cmd": ["profile", "crm.deal.add"]}).to_string();
    assert_refused(&send(&gate, &line, JSON, &writes).await, 403, FORBIDDEN);
}

#[tokio::test]
async fn a_key_in_the_body_brings_its_rules_along() {
    let (portal, gate, [erp, ..]) = stage().await;
    let with = |body: &str| format!("auth={erp}&{body}");
    for (target, body) in [
        ("crm.deal.delete", "id=1"),
        ("profile", ""),
        ("batch", "cmd[a]=crm.deal.add&cmd[b]=crm.deal.delete"),
    ] {
        let answer = send(&gate, &format!("POST /rest/{target}"), FORM, &with(body)).await;
        assert_refused(&answer, 403, FORBIDDEN);
    }
    assert!(calls(&portal).is_empty());
    let answer = send(&gate, "POST /rest/batch", FORM, &with("cmd[a]=crm.deal.list")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
