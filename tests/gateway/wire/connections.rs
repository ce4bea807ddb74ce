//! Connections as clients use them: old versions, pipelines, half-closed, many at once.

use crate::support::http::Client;
use crate::support::wire::{chunked_request, last_call, pattern, request, sha256, stage};

const BODY: &str = "POST /rest/sandbox.echo?n=2 HTTP/1.0\r\nHost: localhost\r\n";

#[tokio::test]
async fn w11_http_1_0_ends_after_one_answer_unless_it_asks_to_go_on() {
    let (portal, gate) = stage().await;
    for close in ["", "Connection: close\r\n", "Connection: keep-alive, close\r\n"] {
        let mut client = Client::connect(gate.address).await;
        client.send(format!("GET /rest/profile HTTP/1.0\r\nHost: localhost\r\n{close}\r\n")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
        assert!(client.is_closed().await);
    }
    let mut client = Client::connect(gate.address).await;
    for _ in 0..3 {
        client.send(format!("{BODY}Connection: Keep-Alive\r\nContent-Length: 3\r\n\r\na=1")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")));
        assert_eq!(answer.field("transfer-encoding"), None);
        let call = last_call(&portal);
        assert_eq!((call.version.as_str(), call.body.as_deref()), ("HTTP/1.1", Some("a=1")));
    }
}

#[tokio::test]
async fn w11_http_1_0_never_gets_chunks() {
    let (_portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    let target = "/rest/sandbox.bytes?size=100000&chunked=1";
    client
        .send(format!("GET {target} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"))
        .await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection"), Some("close"), "the end of the body is the end");
    let expected: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    assert_eq!(sha256(&answer.body), sha256(&expected));
}

#[tokio::test]
async fn w11_connection_close_is_kept_to() {
    let (_portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    client.send(request("GET /rest/profile", "", b"")).await;
    assert_eq!(client.answer().await.unwrap().field("connection"), None);
    client.send(request("POST /rest/profile", "Connection: Close\r\n", b"a=1")).await;
    assert_eq!(client.answer().await.unwrap().field("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn w11_head_gets_the_fields_of_get_and_no_body() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    for target in [
        "/rest/profile",
        "/rest/sandbox.bytes?size=5000",
        "/rest/sandbox.bytes?size=5000&chunked=1",
        "/rest/no.such.method",
        "/not/a/method",
    ] {
        client.send(request(&format!("HEAD {target}"), "", b"")).await;
        let head = client.answer_to(true).await.unwrap();
        client.send(request(&format!("GET {target}"), "", b"")).await;
        let get = client.answer().await.unwrap();
        assert_eq!(head.status, get.status, "{target}");
        assert_eq!(head.field("content-type"), get.field("content-type"), "{target}");
    }
    let verbs: Vec<_> = portal.control().log().into_iter().map(|call| call.method).collect();
    assert_eq!(verbs.iter().filter(|verb| *verb == "HEAD").count(), 4);
}

#[tokio::test]
async fn w14_calls_on_connections_of_their_own_share_the_gateways_connections() {
    let (portal, gate) = stage().await;
    for _ in 0..40 {
        let mut client = Client::connect(gate.address).await;
        client.send(request("GET /rest/profile", "Connection: close\r\n", b"")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let connections = portal.control().state()["counters"]["connections"].as_u64().unwrap();
    assert!(connections <= 8, "{connections} connections for 40 calls: about one per worker");
}

#[tokio::test]
async fn w15_fifty_parallel_calls_each_get_their_own_answer_through_one_expiry() {
    let (portal, gate) = stage().await;
    portal.control().expire();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..50 {
        let address = gate.address;
        calls.spawn(async move {
            let mut client = Client::connect(address).await;
            for round in 0..4 {
                let target = format!("/rest/sandbox.echo?filter[>ID]={number}&id={number}-{round}");
                let body = pattern(number * 100 + round);
                client.send(request(&format!("POST {target}"), "", &body)).await;
                let echo = client.answer().await.unwrap().json();
                assert_eq!(echo["result"]["params"]["id"], format!("{number}-{round}").as_str());
                assert_eq!(echo["result"]["body_sha256"], sha256(&body).as_str());
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(portal.control().exchanges(), 1);
    let runs = portal.control().marked_executions();
    assert_eq!(runs.len(), 200);
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
}

/// A hundred requests of all kinds in a row; each says which it is.
fn pipeline() -> Vec<u8> {
    let mut wire = Vec::new();
    for number in 0..100 {
        let target = format!("/rest/sandbox.echo?filter[>ID]={number}&id={number}");
        let body = pattern(number * 37);
        wire.extend(match number % 4 {
            0 => request(&format!("GET {target}"), "", b""),
            1 => request(&format!("POST {target}"), "", &body),
            2 => chunked_request(&format!("POST {target}"), "", &body, 500),
            _ => request(&format!("POST {target}"), "Expect: 100-continue\r\n", &body),
        });
    }
    wire
}

#[tokio::test]
async fn f_65_a_hundred_pipelined_requests_are_answered_in_order_even_when_half_closed() {
    let (portal, gate) = stage().await;
    for half_closed in [false, true] {
        portal.control().expire();
        let mut client = Client::connect(gate.address).await;
        client.send(pipeline()).await;
        if half_closed {
            client.half_close().await;
        }
        for number in 0..100 {
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.status, 200, "{number}");
            let echo = &answer.json()["result"];
            assert_eq!(echo["params"]["id"], number.to_string().as_str());
            let body = if number % 4 == 0 { Vec::new() } else { pattern(number * 37) };
            assert_eq!(echo["body_sha256"], sha256(&body).as_str(), "{number}");
        }
        if half_closed {
            assert!(client.is_closed().await);
        }
    }
    let runs = portal.control().marked_executions();
    assert!(runs.values().all(|count| *count == 2), "{runs:?}");
}

#[tokio::test]
async fn f_65_a_client_that_half_closes_after_its_request_still_gets_the_answer() {
    let (_portal, gate) = stage().await;
    for wire in [
        request("GET /rest/sandbox.sleep?ms=150", "", b""),
        request("POST /rest/sandbox.sleep?ms=150", "", &pattern(100_000)),
        request("POST /rest/sandbox.sleep?ms=150", "", &pattern(3_000_000)),
        request("GET /rest/sandbox.bytes?size=3000000&chunked=1", "", b""),
    ] {
        let mut client = Client::connect(gate.address).await;
        client.send(wire).await;
        client.half_close().await;
        let answer = client.answer().await.unwrap();
        assert!(answer.status == 200 && answer.whole, "{}", answer.head);
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn one_blank_line_before_a_request_is_an_old_habit_and_is_forgiven() {
    let (_portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    for _ in 0..3 {
        let wire = [request("POST /rest/profile", "", b"a=1"), b"\r\n".to_vec()].concat();
        client.send(wire).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
}
