//! Versions 1 and 2: paths, credentials, order of checks, parameters, lists, limits.

use std::time::Duration;

use serde_json::json;

use super::{Bench, call};
use crate::sandbox::{Limits, Options};

pub(super) async fn refused(bench: &Bench, target: &str, status: u16, code: &str) {
    let reply = bench.get(target).await;
    assert_eq!((reply.status, reply.error().as_str()), (status, code), "{target}");
}

#[tokio::test]
async fn a_token_is_found_in_header_auth_and_access_token() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    assert_eq!(bench.bearer("/rest/profile").await.result()["ID"], "1");
    for target in ["profile?auth", "profile.json?access_token", "Profile/?auth"] {
        let reply = bench.get(&format!("/rest/{target}={token}")).await;
        assert_eq!(reply.status, 200, "{target}");
    }
    let basic = ["Authorization: Basic eDp5"];
    let reply = bench.call("GET", &format!("/rest/profile?auth={token}"), &basic, b"").await;
    assert_eq!(reply.status, 200, "another scheme is not heard");
}

#[tokio::test]
async fn bearer_beats_auth_and_the_body_beats_the_query() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    assert_eq!(bench.bearer("/rest/profile?auth=other").await.status, 200);
    let body = format!("auth={token}");
    assert_eq!(bench.form("/rest/profile?auth=other", &body).await.status, 200);
    let reply = bench.form(&format!("/rest/profile?auth={token}"), "auth=other").await;
    assert_eq!(reply.error(), "invalid_token");
}

#[tokio::test]
async fn a_body_counts_only_for_post_and_only_if_it_can_be_read() {
    let bench = Bench::start().await;
    let body = format!(r#"{{"auth":"{}"}}"#, bench.seed.access_token);
    let json = ["Content-Type: application/json; charset=utf-8"];
    let post = |verb: &'static str, body: String| {
        let bench = &bench;
        async move { bench.call(verb, "/rest/profile", &json, body.as_bytes()).await }
    };
    assert_eq!(post("POST", body.clone()).await.status, 200);
    assert_eq!(post("GET", body.clone()).await.error(), "NO_AUTH_FOUND");
    assert_eq!(post("PUT", body.clone()).await.error(), "NO_AUTH_FOUND");
    assert_eq!(post("POST", body.replace('}', "")).await.error(), "NO_AUTH_FOUND");
    let raw = format!("auth={}", bench.seed.access_token);
    let reply = bench.call("POST", "/rest/profile", &["Content-Type: text/plain"], raw.as_bytes());
    assert_eq!(reply.await.status, 200, "any other body is read as a urlencoded string");
}

#[tokio::test]
async fn an_unknown_method_is_a_404_even_without_a_token() {
    let bench = Bench::start().await;
    refused(&bench, "/rest/no.such.method", 404, "ERROR_METHOD_NOT_FOUND").await;
    refused(&bench, "/rest/profile", 401, "NO_AUTH_FOUND").await;
    refused(&bench, "/rest/profile?auth=garbage", 401, "invalid_token").await;
    refused(&bench, "/rest/profile?auth[]=x", 401, "NO_AUTH_FOUND").await;
    refused(&bench, "/rest/1/wrong/profile", 401, "INVALID_CREDENTIALS").await;
    bench.control.expire();
    let expired = format!("/rest/profile?auth={}", bench.seed.access_token);
    refused(&bench, &expired, 401, "expired_token").await;
    assert_eq!(bench.control.executions("profile"), 0);
}

#[tokio::test]
async fn a_webhook_works_in_the_path_and_as_parameters() {
    let bench = Bench::start().await;
    let (user, secret) = bench.seed.webhook.split_once('/').unwrap();
    assert_eq!(bench.get(&format!("/rest/{user}/{secret}/profile.json")).await.status, 200);
    let reply = bench.get(&format!("/rest/profile?aplogin={user}&ap={secret}")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn tokens_expire_after_their_time() {
    let options = Options { token_ttl: Duration::from_millis(80), ..Options::default() };
    let bench = Bench::with(options).await;
    assert_eq!(bench.bearer("/rest/profile").await.status, 200);
    tokio::time::sleep(Duration::from_millis(90)).await;
    assert_eq!(bench.bearer("/rest/profile").await.error(), "expired_token");
}

#[tokio::test]
async fn method_names_are_tried_in_lower_case_and_then_as_spelt() {
    let bench = Bench::start().await;
    assert_eq!(bench.bearer("/rest/CRM.Deal.Get?id=1").await.status, 200);
    assert_eq!(bench.bearer("/rest/tasks.flow.Flow.get").await.status, 200);
    assert_eq!(bench.bearer("/rest/tasks.flow.flow.get").await.status, 404);
}

#[tokio::test]
async fn the_suffix_xml_asks_for_xml() {
    let bench = Bench::start().await;
    let reply = bench.bearer("/rest/crm.deal.get.xml?id=1").await;
    assert!(reply.has("Content-Type: text/xml; charset=utf-8"));
    assert!(reply.body.starts_with(b"<response><result><ID>1</ID>"));
    let expired = bench.get("/rest/profile.xml").await;
    assert!(expired.body.starts_with(b"<response><error>NO_AUTH_FOUND</error>"));
}

#[tokio::test]
async fn answers_carry_the_headers_of_the_portal() {
    let bench = Bench::start().await;
    let reply = bench.bearer("/rest/profile").await;
    assert!(reply.has("Access-Control-Allow-Origin: *"));
    assert!(reply.has(&format!("X-Bitrix-Rest-Application: {}", bench.seed.client_id)));
    assert!(reply.head.contains("Set-Cookie: PHPSESSID="));
    let time = &reply.json()["time"];
    for field in ["start", "finish", "duration", "processing", "operating", "operating_reset_at"] {
        assert!(time[field].is_number(), "{field}");
    }
    assert!(bench.get("/rest/profile").await.json().get("time").is_none());
}

#[tokio::test]
async fn lists_come_in_pages_of_fifty() {
    let bench = Bench::start().await;
    let first = bench.bearer("/rest/crm.deal.list").await.json();
    assert_eq!(first["result"].as_array().unwrap().len(), 50);
    assert_eq!((&first["next"], &first["total"]), (&json!(50), &json!(120)));
    let last = bench.bearer("/rest/crm.deal.list?start=100").await.json();
    assert_eq!(last["result"].as_array().unwrap().len(), 20);
    assert!(last.get("next").is_none());
    let uncounted = bench.bearer("/rest/crm.deal.list?start=-1&filter[>ID]=118").await.json();
    assert_eq!(uncounted["result"].as_array().unwrap().len(), 2);
    assert!(uncounted.get("total").is_none());
    let items = bench.bearer("/rest/crm.item.list?entityTypeId=2").await.result();
    assert_eq!(items["items"][0]["id"], 1);
}

#[tokio::test]
async fn deals_are_added_changed_and_deleted_and_each_run_is_counted() {
    let bench = Bench::start().await;
    let added = bench.json("/rest/crm.deal.add?id=k1", r#"{"fields":{"TITLE":"New"}}"#).await;
    let id = added.result().as_i64().unwrap();
    let deal = format!("/rest/crm.deal.get?id={id}");
    assert_eq!(bench.bearer(&deal).await.result()["TITLE"], "New");
    let update = format!(r#"{{"ID":{id},"fields":{{"TITLE":"Old"}}}}"#);
    assert_eq!(bench.json("/rest/crm.deal.update", &update).await.result(), true);
    assert_eq!(bench.bearer(&deal).await.result()["TITLE"], "Old");
    assert_eq!(bench.bearer(&format!("/rest/crm.deal.delete?id={id}")).await.result(), true);
    assert_eq!(bench.bearer(&deal).await.status, 400);
    assert_eq!(bench.control.executions("crm.deal.add"), 1);
    assert_eq!(bench.control.marked_executions()["crm.deal.add id=k1"], 1);
}

#[tokio::test]
async fn a_positional_method_refuses_any_further_parameter() {
    let bench = Bench::start().await;
    let target = "/rest/task.commentitem.add";
    let good = r#"[123,{"POST_MESSAGE":"x"}]"#;
    assert_eq!(bench.json(target, good).await.status, 200);
    let token = &bench.seed.access_token;
    let form = "0=123&1[POST_MESSAGE]=x";
    assert_eq!(bench.form(&format!("{target}?auth={token}"), form).await.status, 200);
    for (target, body) in
        [("/rest/task.commentitem.add?trace=1", good), (target, r#"[{"POST_MESSAGE":"x"},123]"#)]
    {
        let reply = bench.json(target, body).await;
        assert!(String::from_utf8_lossy(&reply.body).contains("WRONG_ARGUMENTS"), "{body}");
    }
}

#[tokio::test]
async fn the_bucket_overflows_with_503() {
    let limits = Some(Limits { per_second: 0.1, burst: 3.0 });
    let bench = Bench::with(Options { limits, ..Options::default() }).await;
    for _ in 0..3 {
        assert_eq!(bench.bearer("/rest/profile").await.status, 200);
    }
    let reply = bench.bearer("/rest/profile").await;
    assert_eq!((reply.status, reply.error().as_str()), (503, "QUERY_LIMIT_EXCEEDED"));
    assert_eq!(bench.control.executions("profile"), 3);
}

#[tokio::test]
async fn a_method_out_of_operating_time_is_refused_and_others_go_on() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"operating_limit_ms": 100})).unwrap();
    assert_eq!(bench.bearer("/rest/sandbox.sleep?ms=150").await.status, 200);
    let reply = bench.bearer("/rest/sandbox.sleep?ms=150").await;
    assert_eq!((reply.status, reply.error().as_str()), (429, "OPERATION_TIME_LIMIT"));
    assert_eq!(bench.bearer("/rest/profile").await.status, 200);
}

#[tokio::test]
async fn a_renamed_portal_redirects_from_its_old_address() {
    let bench = Bench::with(Options::apart()).await;
    bench.control.switch(&json!({"renamed": true})).unwrap();
    let renamed = bench.sandbox.renamed_address().unwrap();
    let reply = bench.bearer("/rest/profile?x=1").await;
    assert_eq!(reply.status, 302);
    assert!(reply.has(&format!("Location: http://{renamed}/rest/profile?x=1")));
    let bearer = format!("Authorization: Bearer {}", bench.seed.access_token);
    assert_eq!(call(renamed, "GET", "/rest/profile", &[&bearer], b"").await.status, 200);
    let endpoint = bench.control.seed().token_response["client_endpoint"].clone();
    assert_eq!(endpoint, format!("http://{renamed}/rest/"));
}

#[tokio::test]
async fn reserved_parameters_do_not_reach_the_method() {
    let bench = Bench::start().await;
    let echo =
        bench.bearer("/rest/sandbox.echo?method=x&auth_connector=y&access_token=z&a=1").await;
    assert_eq!(echo.result()["params"], json!({"a": "1"}));
    assert!(bench.bearer("/rest/profile?state=s").await.result()["signature"].is_string());
}

#[tokio::test]
async fn a_session_of_another_user_is_an_authorization_error() {
    let bench = Bench::start().await;
    let bearer = format!("Authorization: Bearer {}", bench.seed.access_token);
    let headers = [bearer.as_str(), "Cookie: PHPSESSID=x", "X-Bitrix-Csrf-Token: y"];
    let reply = bench.call("GET", "/rest/profile", &headers, b"").await;
    assert_eq!((reply.status, reply.error().as_str()), (401, "authorization_error"));
}
