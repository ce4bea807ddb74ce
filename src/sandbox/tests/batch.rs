//! `batch` of versions 1 and 2.

use serde_json::json;

use super::Bench;

#[tokio::test]
async fn commands_run_in_order_and_refer_to_earlier_results() {
    let bench = Bench::start().await;
    let body = r#"{"cmd":{"z":"crm.deal.get?id=7","a":"crm.deal.get?id=$result[z][ID]"}}"#;
    let reply = bench.json("/rest/batch", body).await;
    let result = reply.result();
    assert_eq!(result["result"]["a"]["ID"], "7");
    assert_eq!(result["result_error"], json!([]), "an empty map is a list");
    assert!(result["result_time"]["a"]["start"].is_number());
    assert_eq!(bench.control.executions("crm.deal.get"), 2);
    assert_eq!(bench.control.executions("batch"), 1);
}

#[tokio::test]
async fn a_form_carries_commands_encoded_twice() {
    let bench = Bench::start().await;
    let body = format!(
        "auth={}&halt=0&cmd[l]=crm.deal.list%3Ffilter%255B%253EID%255D%3D118",
        bench.seed.access_token
    );
    let result = bench.form("/rest/batch.json", &body).await.result();
    assert_eq!(result["result_total"]["l"], 2);
}

#[tokio::test]
async fn failures_are_inside_a_200_and_halt_stops_at_the_first() {
    let bench = Bench::start().await;
    let commands = r#"{"a":"no.such","b":"batch?cmd[]=profile","c":"profile"}"#;
    let reply = bench.json("/rest/batch", &format!(r#"{{"halt":0,"cmd":{commands}}}"#)).await;
    assert_eq!(reply.status, 200);
    let errors = &reply.result()["result_error"];
    assert_eq!(errors["a"]["error"], "ERROR_METHOD_NOT_FOUND");
    assert_eq!(errors["b"]["error"], "ERROR_BATCH_METHOD_NOT_ALLOWED");
    assert_eq!(bench.control.executions("profile"), 1);
    bench.json("/rest/batch", &format!(r#"{{"halt":1,"cmd":{commands}}}"#)).await;
    assert_eq!(bench.control.executions("profile"), 1);
}

#[tokio::test]
async fn the_fifty_first_command_is_too_much() {
    let bench = Bench::start().await;
    let commands = vec!["profile"; 51];
    let reply = bench.json("/rest/batch", &json!({"cmd": commands}).to_string()).await;
    let code = &reply.result()["result_error"]["50"]["error"];
    assert_eq!(code, "ERROR_BATCH_LENGTH_EXCEEDED");
    assert_eq!(bench.control.executions("profile"), 50);
}

#[tokio::test]
async fn an_expired_token_fails_the_whole_batch_before_any_command() {
    let bench = Bench::start().await;
    bench.control.expire();
    let reply = bench.json("/rest/batch", r#"{"cmd":["profile"]}"#).await;
    assert_eq!((reply.status, reply.error().as_str()), (401, "expired_token"));
    assert_eq!(bench.control.executions("profile"), 0);
}
