//! Each fault of the portal does what it says.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Bench, Reply, call, parse, send};
use crate::sandbox::Options;

pub(super) async fn fault(bench: &Bench, side: &str, fault: Json) {
    bench.control.clear_faults().await;
    bench.control.fault(&json!({side: fault})).await.unwrap();
}

/// The bytes that a call gets while the fault is on.
async fn raw(bench: &Bench) -> Vec<u8> {
    let token = &bench.seed.access_token;
    let request =
        format!("GET /rest/profile?auth={token} HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n");
    send(bench.sandbox.address(), request.as_bytes()).await
}

#[tokio::test]
async fn faults_of_the_portal_that_are_answers_run_nothing() {
    let bench = Bench::start().await;
    for (mode, status, code) in [
        (json!({"mode": "always_expired"}), 401, "expired_token"),
        (json!({"mode": "query_limit"}), 503, "QUERY_LIMIT_EXCEEDED"),
        (json!({"mode": "operating_limit"}), 429, "OPERATION_TIME_LIMIT"),
        (json!({"mode": "connection_error"}), 401, "CONNECTION_ERROR"),
        (json!({"mode": "error", "code": "PORTAL_DELETED", "status": 403}), 403, "PORTAL_DELETED"),
    ] {
        fault(&bench, "portal", mode).await;
        let reply = bench.bearer("/rest/profile").await;
        assert_eq!((reply.status, reply.error().as_str()), (status, code));
    }
    assert_eq!(bench.bearer("/rest/no.such").await.error(), "PORTAL_DELETED");
    fault(&bench, "portal", json!({"mode": "always_expired"})).await;
    assert_eq!(bench.bearer("/rest/no.such").await.status, 404, "existence comes first");
    let v3 = bench.json("/rest/api/tasks.task.get", r#"{"id":1}"#).await;
    assert!(v3.json()["error"]["code"].as_str().unwrap().ends_with("ACCESSDENIEDEXCEPTION"));
    assert_eq!(bench.control.executions("profile"), 0);
    fault(&bench, "portal", json!({"mode": "expired_once"})).await;
    let twice = [bench.bearer("/rest/profile").await, bench.bearer("/rest/profile").await];
    assert_eq!(twice.map(|reply| reply.status), [401, 200]);
}

#[tokio::test]
async fn an_error_comes_in_every_disguise() {
    let bench = Bench::start().await;
    bench.control.expire();
    for (disguise, status, begins) in [
        ("plain", 401, &b"{\"error\":\"expired_token\""[..]),
        ("xml", 401, b"<response><error>expired_token</error>"),
        ("gzip", 401, b"\x1f\x8b"),
        ("bom", 401, b"\xef\xbb\xbf{\"error\":\"expired_token\""),
        ("cp1251", 401, b"{\"error\":\"expired_token\",\"error_description\":\"\xd1"),
        ("200", 200, b"{\"error\":\"expired_token\""),
    ] {
        bench.control.switch(&json!({"auth_errors": disguise})).unwrap();
        let reply = bench.bearer("/rest/profile").await;
        assert_eq!(reply.status, status, "{disguise}");
        assert!(reply.body.starts_with(begins), "{disguise}: {reply:?}");
        let mode = json!({"mode": "error", "code": "expired_token", "format": disguise});
        fault(&bench, "portal", mode).await;
        assert!(bench.bearer("/rest/profile").await.body.starts_with(begins), "{disguise}");
        bench.control.clear_faults().await;
    }
}

#[tokio::test]
async fn pages_and_redirects_come_from_the_front_end() {
    let bench = Bench::with(Options::apart()).await;
    fault(&bench, "portal", json!({"mode": "html", "status": 200})).await;
    assert!(bench.bearer("/rest/profile").await.has("Content-Type: text/html"));
    let location = json!({"mode": "redirect", "location": "/bitrix/coupon_activation.php"});
    fault(&bench, "portal", location).await;
    let reply = bench.bearer("/rest/profile").await;
    assert_eq!(reply.status, 302);
    assert!(reply.has("Location: /bitrix/coupon_activation.php"));
    fault(&bench, "portal", json!({"mode": "redirect", "status": 307})).await;
    let renamed = bench.sandbox.renamed_address().unwrap();
    let reply = bench.bearer("/rest/profile").await;
    assert!(reply.has(&format!("Location: http://{renamed}/rest/profile")) && reply.status == 307);
}

#[tokio::test]
async fn lost_answers_belong_to_calls_that_ran_unless_told_otherwise() {
    let bench = Bench::start().await;
    for (mode, runs) in [
        (json!({"mode": "reset_before_answer"}), 1),
        (json!({"mode": "close_before_answer"}), 2),
        (json!({"mode": "hang", "ms": 20}), 3),
        (json!({"mode": "reset_before_answer", "executed": false}), 3),
    ] {
        fault(&bench, "portal", mode).await;
        assert_eq!(raw(&bench).await, b"");
        assert_eq!(bench.control.executions("profile"), runs);
    }
    fault(&bench, "portal", json!({"mode": "html", "executed": true})).await;
    assert_eq!(parse(&raw(&bench).await).status, 502);
    assert_eq!(bench.control.executions("profile"), 4);
    let entry = bench.control.log().pop().unwrap();
    assert!(entry.executed && entry.fault.as_deref() == Some("html"));
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "reset_before_answer"})).await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    stream.write_all(b"GET /rest/profile HTTP/1.1\r\nHost: p\r\n\r\n").await.unwrap();
    let error = stream.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_body_ends_early_in_either_framing() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "cut_body", "after": 5})).await;
    let reply = parse(&raw(&bench).await);
    assert_eq!(reply.body, b"{\"res");
    assert!(reply.head.contains("Content-Length: ") && !reply.has("Connection: close"));
    let chunked = json!({"mode": "cut_body", "after": 5, "framing": "chunked"});
    fault(&bench, "portal", chunked).await;
    assert!(raw(&bench).await.ends_with(b"5\r\n{\"res\r\n"), "no last chunk");
}

#[tokio::test]
async fn a_drip_is_slow_and_complete() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "drip", "bytes_per_second": 2000})).await;
    let begun = Instant::now();
    let reply = parse(&raw(&bench).await);
    assert_eq!(reply.result()["ID"], "1");
    assert!(begun.elapsed() > Duration::from_millis(50));
}

#[tokio::test]
async fn answers_come_in_framings_that_no_honest_server_uses() {
    let bench = Bench::start().await;
    for (shape, lengths) in [
        ("chunked", 0),
        ("close", 0),
        ("duplicate_length", 2),
        ("conflicting_length", 2),
        ("length_and_chunked", 1),
    ] {
        fault(&bench, "portal", json!({"mode": "framing", "as": shape})).await;
        let reply = parse(&raw(&bench).await);
        assert_eq!(reply.head.matches("Content-Length").count(), lengths, "{shape}");
        assert_eq!(reply.result()["ID"], "1", "{shape}");
    }
}

#[tokio::test]
async fn interim_answers_garbage_and_raw_bytes_are_sent_as_they_are() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "continue_103"})).await;
    assert!(raw(&bench).await.starts_with(b"HTTP/1.1 103 Early Hints\r\n"));
    fault(&bench, "portal", json!({"mode": "continue_102"})).await;
    assert!(raw(&bench).await.starts_with(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200"));
    fault(&bench, "portal", json!({"mode": "garbage"})).await;
    assert!(!raw(&bench).await.starts_with(b"HTTP"));
    fault(&bench, "portal", json!({"mode": "raw", "text": "HTTP/1.1 200 OK\n\nx"})).await;
    assert_eq!(raw(&bench).await, b"HTTP/1.1 200 OK\n\nx");
    fault(&bench, "portal", json!({"mode": "raw", "base64": "AAEC"})).await;
    assert_eq!(raw(&bench).await, [0, 1, 2]);
    let headers = json!({"mode": "headers", "headers": {"Retry-After": "7"}});
    fault(&bench, "portal", headers).await;
    assert!(bench.bearer("/rest/profile").await.has("Retry-After: 7"));
}

#[tokio::test]
async fn a_dropped_bearer_leaves_the_parameter() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "drop_bearer"})).await;
    assert_eq!(bench.bearer("/rest/profile").await.error(), "NO_AUTH_FOUND");
    let target = format!("/rest/profile?auth={}", bench.seed.access_token);
    assert_eq!(bench.bearer(&target).await.status, 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "idle_close", "ms": 30})).await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let request = "GET /rest/profile HTTP/1.1\r\nHost: p\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!parse(&answer).has("Connection: close"), "it was meant to be kept");
}

#[tokio::test]
async fn an_ignored_body_gets_its_answer_before_it_is_sent() {
    let bench = Bench::start().await;
    fault(&bench, "portal", json!({"mode": "ignore_body", "status": 413})).await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let head = "POST /rest/profile HTTP/1.1\r\nHost: p\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(parse(&answer).status, 413);
    assert_eq!(bench.control.executions("profile"), 0);
}

#[tokio::test]
async fn a_verdict_is_remembered_when_the_portal_caches_it() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"negative_cache": true})).unwrap();
    fault(&bench, "portal", json!({"mode": "error", "code": "PAYMENT_REQUIRED", "count": 1})).await;
    let replies: [Reply; 2] =
        [bench.bearer("/rest/profile").await, bench.bearer("/rest/profile").await];
    assert!(replies.iter().all(|reply| reply.error() == "PAYMENT_REQUIRED"));
    let fresh = format!("Authorization: Bearer {}", bench.control.seed().access_token);
    let reply = call(bench.sandbox.address(), "GET", "/rest/profile", &[&fresh], b"").await;
    assert_eq!(reply.status, 200);
}
