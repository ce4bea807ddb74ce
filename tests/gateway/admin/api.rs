//! What programs ask and do, route by route. That answers look as `openapi.json` says is held by
//! `admin_api.rs`.

use serde_json::{Value, json};

use super::{ask, change, csrf, get};
use crate::support::calls::{fault, portal, profile};
use crate::support::{Gate, Setup};

#[tokio::test]
async fn a_portal_is_listed_and_shown_with_its_chains_and_its_history() {
    let portal = portal().await;
    let seed = portal.seed();
    let gate = Gate::connected(&Setup::new(&portal), &seed);
    assert_eq!(profile(&gate).await.status, 200);
    let list = get(&gate, "/api/v1/portals").await.json();
    let one = get(&gate, "/api/v1/portals/acme").await.json();
    assert_eq!(list, json!({"portals": [one]}));
    for (name, wanted) in [
        ("name", json!("acme")),
        ("url", json!(seed.portal_url)),
        ("state", json!("connected")),
        ("code", Value::Null),
        ("generation", json!(1)),
        ("user_id", json!(seed.user_id)),
        ("member_id", json!(seed.member_id)),
        ("spares", json!(0)),
        ("requests", json!(1)),
        ("webhook", json!(false)),
        ("disabled", json!(false)),
        ("uninstalled", json!(false)),
    ] {
        assert_eq!(one[name], wanted, "{name} of {one}");
    }
    let chains = get(&gate, "/api/v1/portals/acme/chains").await.json();
    assert_eq!(chains["chains"].as_array().unwrap().len(), 1, "{chains}");
    assert_eq!(chains["chains"][0]["role"], "active");

    assert_eq!(change(&gate, "POST /api/v1/portals/acme/refresh", "").await.status, 200);
    let ledger = get(&gate, "/api/v1/portals/acme/ledger").await.json();
    let outcomes: Vec<_> =
        ledger["ledger"].as_array().unwrap().iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["commit", "intent", "import"], "{ledger}");
    let latest = get(&gate, "/api/v1/portals/acme/ledger?limit=1").await.json();
    assert_eq!(latest["ledger"], json!([ledger["ledger"][0]]));
}

#[tokio::test]
async fn a_refresh_tells_the_new_generation_and_is_an_event() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let answer = change(&gate, "POST /api/v1/portals/acme/refresh", "").await;
    let wanted = json!({"portal": "acme", "done": "refreshed", "generation": 2});
    assert_eq!(answer.json(), wanted);
    assert_eq!(portal.control().exchanges(), 1);
    let events = get(&gate, "/api/v1/events").await.json();
    let event = &events["events"][0];
    assert_eq!(event["portal"], "acme", "{events}");
    assert!(event["what"].as_str().unwrap().contains("generation 2"), "{events}");
    assert!(event["at"].as_u64().unwrap() > 1_700_000_000, "{events}");
}

#[tokio::test]
async fn a_disabled_portal_is_refused_and_no_reason_not_to_be_ready() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let answer = change(&gate, "POST /api/v1/portals/acme/disable", "").await;
    assert_eq!(answer.json(), json!({"portal": "acme", "done": "disabled"}));
    assert_eq!(profile(&gate).await.status, 403);
    let view = get(&gate, "/api/v1/portals/acme").await.json();
    assert_eq!((&view["disabled"], &view["code"]), (&json!(true), &json!("disabled")));
    assert_eq!(get(&gate, "/readyz").await.text(), "ready\n");

    let answer = change(&gate, "POST /api/v1/portals/acme/enable", "").await;
    assert_eq!(answer.json(), json!({"portal": "acme", "done": "enabled"}));
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test]
async fn a_dead_portal_is_a_reason_not_to_be_ready_until_it_is_disabled() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "invalid_grant"}})).await;
    profile(&gate).await;
    let ready = ask(&gate, "GET /readyz", &[], "").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.text(), "acme: dead (invalid_grant)\n");
    // What the OAuth server refuses is no fault of the gateway.
    let answer = change(&gate, "POST /api/v1/portals/acme/refresh", "").await;
    assert_eq!((answer.status, answer.error().as_str()), (409, "conflict"), "{}", answer.text());
    assert_eq!(change(&gate, "POST /api/v1/portals/acme/disable", "").await.status, 200);
    assert_eq!(ask(&gate, "GET /readyz", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_portal_is_removed_by_either_verb() {
    for line in ["DELETE /api/v1/portals/acme", "POST /api/v1/portals/acme/remove"] {
        let portal = portal().await;
        let gate = Gate::before(&portal);
        let answer = change(&gate, line, "").await;
        assert_eq!(answer.json(), json!({"portal": "acme", "done": "removed"}), "{line}");
        let chains = get(&gate, "/api/v1/portals/acme/chains").await.json();
        assert_eq!(chains, json!({"chains": []}), "{line}");
        let ledger = get(&gate, "/api/v1/portals/acme/ledger").await.json();
        assert_eq!(ledger["ledger"][0]["outcome"], "removed", "{line}: {ledger}");
    }
}

#[tokio::test]
async fn a_login_is_begun_and_asked_after() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for body in ["", "{}", r#"{"replace": false}"#, " {\"replace\": true}\n"] {
        let login = change(&gate, "POST /api/v1/portals/acme/connect", body).await;
        assert_eq!(login.status, 200, "{}", login.text());
        let login = login.json();
        let link = login["link"].as_str().unwrap();
        assert!(link.starts_with("http://localhost:8026/oauth/start?ticket="), "{login}");
        assert_eq!(login["expires_in"], 600);
        let id = login["id"].as_str().unwrap();
        assert!(!link.contains(id), "the number opens nothing: {login}");
        let state = get(&gate, &format!("/api/v1/logins/{id}")).await.json();
        assert_eq!(state, json!({"state": "waiting"}));
    }
    let unknown = ask(&gate, "GET /api/v1/logins/0123456789", &[], "").await;
    assert_eq!((unknown.status, unknown.error().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_with_a_reason() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let token = &*csrf(&gate).await;
    let connect = "POST /api/v1/portals/acme/connect";
    let kind = "Content-Type: application/json";
    let long = format!("{{\"replace\": {}}}", " ".repeat(20_000));
    for (line, fields, body, status, error) in [
        ("GET /api/v1/portals/nobody", &[][..], "", 404, "not_found"),
        ("GET /api/v1/portals/crm.example.com%3A8443", &[], "", 404, "not_found"),
        ("GET /api/v1/portals/%zz", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/%ff/chains", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/acme%00", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/acme/nothing", &[], "", 404, "not_found"),
        ("GET /api/v2/portals", &[], "", 404, "not_found"),
        ("GET /api/v1/portals/acme/ledger?limit=0", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/acme/ledger?limit=1001", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/acme/ledger?limit=", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/acme/ledger?limit=+1", &[], "", 400, "bad_request"),
        ("GET /api/v1/portals/acme/ledger?limit=1&limit=1", &[], "", 400, "bad_request"),
        ("POST /api/v1/portals/nobody/refresh", &[token], "", 404, "not_found"),
        (connect, &[token, kind], "[]", 400, "bad_request"),
        (connect, &[token, kind], "{", 400, "bad_request"),
        (connect, &[token, kind], "null", 400, "bad_request"),
        (connect, &[token, kind], "[true]", 400, "bad_request"),
        (connect, &[token, kind], r#"{"replace": 1}"#, 400, "bad_request"),
        (connect, &[token, kind], r#"{"replaces": true}"#, 400, "bad_request"),
        (connect, &[token, kind], &long, 400, "bad_request"),
        (connect, &[token], "{}", 415, "unsupported_media_type"),
        (connect, &[token, "Content-Type: text/plain"], "{}", 415, "unsupported_media_type"),
    ] {
        let answer = ask(&gate, line, fields, body).await;
        let told = (answer.status, answer.error());
        assert_eq!(told, (status, error.to_owned()), "{line} {body}: {}", answer.text());
        assert_eq!(answer.field("content-type"), Some("application/json"), "{line}");
        let description = &answer.json()["error_description"];
        assert!(description.as_str().is_some_and(|text| text.len() > 10), "{line}: {description}");
    }
    assert!(!gate.log().contains("login begun"));
    let body = " ".repeat(70_000);
    let answer = ask(&gate, connect, &[token, kind], &body).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[tokio::test]
async fn a_method_that_an_address_does_not_take_is_told_which_it_takes() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let token = csrf(&gate).await;
    for (path, allowed) in [
        ("/", "GET, HEAD"),
        ("/livez", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/api/v1/portals", "GET, HEAD"),
        ("/api/v1/portals/acme", "GET, HEAD, DELETE"),
        ("/api/v1/portals/acme/token", "GET, HEAD"),
        ("/api/v1/portals/acme/connect", "POST"),
        ("/portals/acme/connect", "POST"),
    ] {
        for verb in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"] {
            if allowed.split(", ").any(|allowed| allowed == verb) {
                continue;
            }
            let answer = ask(&gate, &format!("{verb} {path}"), &[&token], "").await;
            assert_eq!(answer.status, 405, "{verb} {path}: {}", answer.text());
            assert_eq!(answer.field("allow"), Some(allowed), "{verb} {path}");
        }
    }
}
