//! REST version 3.

use serde_json::json;

use super::{Bench, Reply};

fn code(reply: &Reply) -> String {
    let code = reply.json()["error"]["code"].as_str().unwrap().to_owned();
    code.trim_start_matches("BITRIX_REST_V3_EXCEPTION_").to_owned()
}

#[tokio::test]
async fn success_has_an_item_and_a_time() {
    let bench = Bench::start().await;
    let reply = bench.json("/rest/api/tasks.task.get", r#"{"id":7}"#).await;
    assert_eq!(reply.result()["item"]["id"], 7);
    assert!(reply.json()["time"]["start"].is_number());
    let raw = bench.bearer("/rest/api/documentation").await;
    assert_eq!(raw.json()["openapi"], "3.0.0", "no envelope");
}

#[tokio::test]
async fn every_failed_authorization_has_the_same_code() {
    let bench = Bench::start().await;
    bench.control.expire();
    let expired = bench.json("/rest/api/tasks.task.get", r#"{"id":7}"#).await;
    let missing = bench.get("/rest/api/tasks.task.get").await;
    let webhook = bench.get("/rest/api/1/wrong/tasks.task.get").await;
    for reply in [expired, missing, webhook] {
        assert_eq!((reply.status, code(&reply).as_str()), (401, "ACCESSDENIEDEXCEPTION"));
    }
}

#[tokio::test]
async fn an_unknown_method_comes_first_and_broken_json_last() {
    let bench = Bench::start().await;
    let unknown = bench.get("/rest/api/tasks.task.get.json").await;
    assert_eq!((unknown.status, code(&unknown).as_str()), (404, "METHODNOTFOUNDEXCEPTION"));
    let broken = bench.json("/rest/api/tasks.task.get", "{").await;
    assert_eq!((broken.status, code(&broken).as_str()), (400, "INVALIDJSONEXCEPTION"));
}

#[tokio::test]
async fn auth_may_be_in_the_body_or_the_query() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    let json = ["Content-Type: application/json"];
    let body = format!(r#"{{"id":7,"auth":"{token}"}}"#);
    let target = "/rest/api/tasks.task.get";
    let reply = bench.call("POST", target, &json, body.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let reply = bench.call("POST", &format!("{target}?auth={token}"), &json, b"{\"id\":7}").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_batch_is_a_bare_array_and_an_error_hides_what_was_done() {
    let bench = Bench::start().await;
    let add = json!({"method": "tasks.task.add", "query": {"fields": {"title": "x"}}, "as": "t"});
    let get = json!({"method": "tasks.task.get", "query": {"id": {"$ref": "t.item.id"}}});
    let reply = bench.json("/rest/api/batch", &json!([add, get]).to_string()).await;
    assert_eq!(reply.result()[1]["item"]["id"], reply.result()[0]["item"]["id"]);
    let lost = json!([add, {"method": "tasks.task.get", "query": {}}]).to_string();
    let reply = bench.json("/rest/api/batch", &lost).await;
    assert_eq!(reply.status, 400);
    assert_eq!(bench.control.executions("tasks.task.add"), 2);
    let unknown = json!([add, {"method": "no.such", "query": {}}]).to_string();
    assert_eq!(bench.json("/rest/api/batch", &unknown).await.status, 404);
    assert_eq!(bench.control.executions("tasks.task.add"), 2, "found before anything runs");
    for body in [r#"{"cmd":{"a":"x"}}"#.to_owned(), json!({"0": add, "auth": "x"}).to_string()] {
        assert_eq!(code(&bench.json("/rest/api/batch", &body).await), "INVALIDSELECTEXCEPTION");
    }
}

#[tokio::test]
async fn an_idempotency_key_replays_the_answer_and_refuses_other_data() {
    let bench = Bench::start().await;
    let bearer = format!("Authorization: Bearer {}", bench.seed.access_token);
    let headers = [bearer.as_str(), "Content-Type: application/json", "Idempotency-Key: k1"];
    let add = |title: &str| {
        let body = format!(r#"{{"fields":{{"title":"{title}"}}}}"#);
        let (bench, headers) = (&bench, &headers);
        async move { bench.call("POST", "/rest/api/tasks.task.add", headers, body.as_bytes()).await }
    };
    let first = add("a").await;
    let again = add("a").await;
    assert_eq!(first.result(), again.result());
    assert!(again.has("Idempotent-Replayed: true") && !first.has("Idempotent-Replayed: true"));
    assert_eq!(bench.control.executions("tasks.task.add"), 1);
    assert_eq!(add("b").await.status, 422);
}
