//! The bytes: what may be sent, what is written down, and the control over HTTP.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Bench, call, parse, send};

#[tokio::test]
async fn raw_brackets_and_angles_in_a_target_are_read_and_logged_as_sent() {
    let bench = Bench::start().await;
    let target = r#"/rest/crm.deal.list?filter[>ID]=118&select[]="ID""#;
    assert_eq!(bench.bearer(target).await.json()["total"], 2);
    let entry = bench.control.log().pop().unwrap();
    assert_eq!(entry.target, target);
    assert_eq!(entry.headers[0], "Host: portal");
    assert!(entry.executed && entry.status == 200 && entry.body_complete);
    assert_eq!(entry.rest_method.as_deref(), Some("crm.deal.list"));
}

#[tokio::test]
async fn a_connection_carries_many_requests_until_someone_asks_for_its_end() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    let request = format!("GET /rest/profile?auth={token} HTTP/1.1\r\nHost: p\r\n\r\n");
    let last = request.replace("Host: p", "Host: p\r\nConnection: close");
    let raw = send(bench.sandbox.address(), format!("{request}{request}{last}").as_bytes()).await;
    assert_eq!(memchr::memmem::find_iter(&raw, b"HTTP/1.1 200 OK").count(), 3);
    let connections: Vec<u64> = bench.control.log().iter().map(|entry| entry.connection).collect();
    assert_eq!(connections, [1, 1, 1]);
}

#[tokio::test]
async fn chunked_bodies_and_expectations_are_understood() {
    let bench = Bench::start().await;
    let head = format!(
        "POST /rest/sandbox.echo HTTP/1.1\r\nHost: p\r\nAuthorization: bearer {}\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
        bench.seed.access_token
    );
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n").await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    let echo = parse(&raw).result();
    assert_eq!((&echo["body"], &echo["body_length"]), (&json!("abcde"), &json!(5)));
    assert_eq!(echo["body_sha256"], super::super::text::hex(&Sha256::digest("abcde")));
}

#[tokio::test]
async fn an_ambiguous_head_is_a_400() {
    let bench = Bench::start().await;
    for framing in ["Content-Length: 1\r\nTransfer-Encoding: chunked", "Content-Length: x"] {
        let request = format!("POST /rest/profile HTTP/1.1\r\nHost: p\r\n{framing}\r\n\r\n");
        let raw = send(bench.sandbox.address(), request.as_bytes()).await;
        assert_eq!(parse(&raw).status, 400, "{framing}");
    }
    assert_eq!(parse(&send(bench.sandbox.address(), b"nonsense\r\n\r\n").await).status, 400);
}

#[tokio::test]
async fn bytes_stream_with_a_length_or_in_chunks() {
    let bench = Bench::start().await;
    for chunked in [0, 1] {
        let target = format!("/rest/sandbox.bytes?size=200000&chunked={chunked}");
        let reply = bench.bearer(&target).await;
        let expected =
            (0..200_000_u32).all(|index| u32::from(reply.body[index as usize]) == index % 251);
        assert!(expected && reply.body.len() == 200_000);
        assert_eq!(reply.has("Transfer-Encoding: chunked"), chunked == 1);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_runs_nothing() {
    let bench = Bench::start().await;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let head = "POST /rest/profile HTTP/1.1\r\nHost: p\r\nContent-Length: 10\r\n\r\nabc";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    assert!(raw.is_empty());
    let entry = bench.control.log().pop().unwrap();
    assert!(!entry.body_complete && entry.body_length == 3 && entry.status == 0);
}

#[tokio::test]
async fn answers_are_compressed_for_whoever_accepts_it() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"gzip": true})).unwrap();
    let bearer = format!("Authorization: Bearer {}", bench.seed.access_token);
    let headers = [bearer.as_str(), "Accept-Encoding: br, gzip;q=0.8"];
    let reply = bench.call("GET", "/rest/profile", &headers, b"").await;
    assert!(reply.has("Content-Encoding: gzip") && reply.body.starts_with(&[0x1f, 0x8b]));
    assert!(!bench.bearer("/rest/profile").await.has("Content-Encoding: gzip"));
}

#[tokio::test]
async fn a_head_request_and_an_old_client_get_what_they_understand() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    let head = bench.call("HEAD", &format!("/rest/profile?auth={token}"), &[], b"").await;
    assert!(head.body.is_empty() && head.head.contains("Content-Length: "));
    let target = format!("/rest/sandbox.bytes?size=9&chunked=1&auth={token}");
    let request = format!("GET {target} HTTP/1.0\r\n\r\n");
    let old = parse(&send(bench.sandbox.address(), request.as_bytes()).await);
    assert!(!old.head.contains("Transfer-Encoding") && old.body.len() == 9);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_long_call_is_noticed() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    let mut stream = TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let request =
        format!("GET /rest/sandbox.sleep?ms=60000&auth={token} HTTP/1.1\r\nHost: p\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    while bench.control.executions("sandbox.sleep") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    while bench.control.state()["counters"]["connections_open"] != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn everything_can_be_switched_over_http() {
    let bench = Bench::start().await;
    let address = bench.sandbox.address();
    let control = |verb: &'static str, path: &'static str, body: &'static str| async move {
        call(address, verb, &format!("/sandbox/{path}"), &[], body.as_bytes()).await
    };
    let seed = control("POST", "seed", r#"{"member_id":"m","user_id":9}"#).await.json();
    assert_eq!((&seed["member_id"], &seed["user_id"]), (&json!("m"), &json!(9)));
    let target = format!("/rest/profile?auth={}", seed["access_token"].as_str().unwrap());
    assert_eq!(bench.get(&target).await.result()["ID"], "9");
    control("POST", "expire", "").await;
    assert_eq!(bench.get(&target).await.error(), "expired_token");
    control("POST", "kill-chain", "").await;
    assert_eq!(control("GET", "log", "").await.json().as_array().unwrap().len(), 2);
    assert_eq!(control("DELETE", "log", "").await.json(), json!([]));
    let switched = control("POST", "switch", r#"{"token_ttl_ms":5000}"#).await.json();
    assert_eq!(switched["token_ttl_ms"], 5000);
    assert_eq!(control("POST", "switch", r#"{"typo":1}"#).await.status, 400);
    assert_eq!(control("POST", "fault", r#"{"portal":{"mode":"hang"}}"#).await.status, 200);
    let state = control("GET", "state", "").await.json();
    assert_eq!(state["faults"]["portal"][0]["mode"], "hang");
    assert_eq!(state["counters"]["executions"]["profile"], 1);
    assert!(!state.to_string().contains(seed["refresh_token"].as_str().unwrap()));
    let cleared = control("DELETE", "fault", "").await.json();
    assert_eq!(cleared["portal"], json!([]));
    assert_eq!(control("GET", "nonsense", "").await.status, 404);
}
