//! Bodies reach the portal byte for byte, the first time and when they are replayed.

use std::fs;

use b24gate::sandbox::Sandbox;

use crate::support::http::{self, Client};
use crate::support::wire::{
    calls, chunked_request, chunks, last_call, pattern, request, sha256, stage, stage_with,
};
use crate::support::{Gate, Setup};

/// A multipart body with bytes in it that are no text.
fn multipart() -> Vec<u8> {
    let mut body =
        b"--XX\r\nContent-Disposition: form-data; name=\"fields[TITLE]\"\r\n\r\n".to_vec();
    body.extend_from_slice("\u{421}\u{434}\u{435}\u{43b}\u{43a}\u{430}\r\n--XX\r\n".as_bytes());
    body.extend_from_slice(b"Content-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n");
    body.extend_from_slice(&pattern(3_000));
    body.extend_from_slice(b"\r\n--XX--\r\n");
    body
}

/// Content types and bodies as clients in the field label them.
fn labelled() -> Vec<(&'static str, Vec<u8>)> {
    const FORM: &str = "application/x-www-form-urlencoded";
    vec![
        ("application/json", br#"[123,{"POST_MESSAGE":"t"}]"#.to_vec()),
        ("application/json", br#"{"2":"b","10":"a","1":{"z":1,"a":2},"a":1,"a":2}"#.to_vec()),
        ("application/json", b" \t\r\n{ \"a\" : 1.0e2 , \"b\":\"\\u0041\\/\" }\n".to_vec()),
        ("application/json", b"{\"broken\": ".to_vec()),
        ("application/json; charset=utf-8", "{\"a\":\"\u{1f600}\"}".as_bytes().to_vec()),
        (FORM, br#"{"fields":{"TITLE":"JSON labelled as a form"}}"#.to_vec()),
        (FORM, b"fields[TITLE]=%D0%A1&fields[>X]=1&a+b=c%20d&&=&x".to_vec()),
        (FORM, b"auth=stale&fields[TITLE]=1".to_vec()),
        ("multipart/form-data; boundary=XX", multipart()),
        ("text/plain", b"a=1\r\n\r\nGET /rest/profile HTTP/1.1\r\n\r\n".to_vec()),
        ("application/octet-stream", (0..=255).collect()),
    ]
}

#[tokio::test]
async fn w5_w6_w7_bodies_of_every_label_reach_the_portal_byte_for_byte() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    for (label, body) in labelled() {
        let fields = format!("Content-Type: {label}\r\n");
        let line = "POST /rest/sandbox.echo";
        for wire in [request(line, &fields, &body), chunked_request(line, &fields, &body, 7)] {
            client.send(wire).await;
            assert_eq!(client.answer().await.unwrap().status, 200, "{label}");
            let call = last_call(&portal);
            assert_eq!(call.body_sha256, sha256(&body), "{label}: {:?}", call.body);
            assert_eq!(call.header("content-type"), Some(label));
            assert_eq!(call.header("content-length"), Some(body.len().to_string().as_str()));
            assert_eq!(call.header("transfer-encoding"), None);
        }
    }
}

#[tokio::test]
async fn w5_positional_parameters_keep_their_order() {
    let (_portal, gate) = stage().await;
    let body = br#"[8,{"POST_MESSAGE":"t"}]"#;
    let target = "/rest/task.commentitem.add";
    let answer = http::post(gate.address, target, "application/json", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_body_that_trickles_in_byte_by_byte_is_the_same_body() {
    let (portal, gate) = stage().await;
    let body = b"fields[>TITLE]=x&y=\"1\"";
    for wire in [
        request("POST /rest/sandbox.echo?filter[>ID]=1", "", body),
        chunked_request("POST /rest/sandbox.echo?filter[>ID]=1", "", body, 5),
    ] {
        let mut client = Client::connect(gate.address).await;
        for byte in wire {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await.unwrap().status, 200);
        assert_eq!(last_call(&portal).body.unwrap().as_bytes(), body);
    }
}

#[tokio::test]
async fn a_form_of_20_mb_is_replayed_from_the_temporary_file_byte_for_byte() {
    let (portal, gate) = stage().await;
    let mut body = b"fileContent[1]=".to_vec();
    body.resize(20 * 1024 * 1024, b'%');
    body.extend_from_slice(&pattern(1_000));
    portal.control().expire();
    let form = "application/x-www-form-urlencoded";
    let answer = http::post(gate.address, "/rest/sandbox.echo", form, &body).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
    let expected = sha256(&body);
    let seen: Vec<_> = calls(&portal).into_iter().map(|call| call.body_sha256).collect();
    assert_eq!(seen, [expected.as_str(), expected.as_str()]);
    assert_eq!(portal.control().executions("sandbox.echo"), 1);
}

/// What a replay must get through: a name, the bytes on the wire, and the body in them.
fn replayables() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let line = "POST /rest/sandbox.echo?filter[>ID]=1";
    let expect = "Expect: 100-continue\r\n";
    let (small, medium, large) = (pattern(900), pattern(100_000), pattern(700_000));
    let edge = pattern(256 * 1024);
    let over = pattern(256 * 1024 + 1);
    vec![
        ("none", request("GET /rest/sandbox.echo", "", b""), Vec::new()),
        ("empty", request(line, "Content-Length: 0\r\n", b""), Vec::new()),
        ("in the read buffer", request(line, "", &small), small.clone()),
        ("in memory", request(line, "", &medium), medium.clone()),
        ("just in memory", request(line, "", &edge), edge.clone()),
        ("just in the file", request(line, "", &over), over.clone()),
        ("in the file", request(line, "", &large), large.clone()),
        ("chunked", chunked_request(line, "", &small, 100), small),
        ("chunked in memory", chunked_request(line, "", &medium, 999), medium.clone()),
        ("chunked at the edge", chunked_request(line, "", &edge, 4096), edge),
        ("chunked over the edge", chunked_request(line, "", &over, 4096), over),
        ("chunked in the file", chunked_request(line, "", &large, 65_535), large.clone()),
        ("chunked in one chunk", chunked_request(line, "", &large, large.len()), large.clone()),
        (
            "multipart",
            request(line, "Content-Type: multipart/form-data; boundary=XX\r\n", &multipart()),
            multipart(),
        ),
        ("expect", request(line, expect, &medium), medium),
        ("expect, in the file", chunked_request(line, expect, &large, 50_000), large),
    ]
}

fn small_memory(setup: Setup) -> Setup {
    setup.gateway("replay_memory = \"256KiB\"")
}

#[tokio::test]
async fn f_65_a_body_of_any_kind_is_replayed_after_an_expiry_byte_for_byte() {
    let (portal, gate) = stage_with(small_memory).await;
    let mut client = Client::connect(gate.address).await;
    for (number, (kind, wire, body)) in replayables().into_iter().enumerate() {
        portal.control().expire();
        portal.control().clear_log();
        client.send(&wire).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"), "{kind}");
        let seen = calls(&portal);
        assert_eq!(seen.len(), 2, "{kind}");
        for call in &seen {
            assert!(call.body_complete, "{kind}");
            assert_eq!(call.body_sha256, sha256(&body), "{kind}");
            assert_eq!(call.header("expect"), None, "{kind}");
        }
        assert_ne!(seen[0].header("authorization"), seen[1].header("authorization"), "{kind}");
        assert_eq!(portal.control().executions("sandbox.echo"), number as u64 + 1, "{kind}");
        // The connection stands at the next request, whatever the last one was.
        client.send(request("GET /rest/profile", "", b"")).await;
        assert_eq!(client.answer().await.unwrap().json()["result"]["NAME"], "Ada", "{kind}");
    }
    assert_eq!(open_temporary_files(&gate), 0);
}

/// Files of the process that have no name any more.
fn open_temporary_files(gate: &Gate) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gate.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.to_string_lossy().ends_with("(deleted)"))
        .count()
}

#[tokio::test]
async fn w10_a_client_that_waits_for_100_continue_gets_it_before_it_sends_a_byte() {
    let (portal, gate) = stage_with(small_memory).await;
    for body in [pattern(10), pattern(2_000_000)] {
        for chunked in [false, true] {
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {}", body.len())
            };
            let head = format!(
                "POST /rest/sandbox.echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\n\
                 {framing}\r\n\r\n"
            );
            let mut client = Client::connect(gate.address).await;
            client.send(head).await;
            client.interim().await;
            client.send(if chunked { chunks(&body, 64 * 1024) } else { body.clone() }).await;
            assert_eq!(client.answer().await.unwrap().status, 200);
            assert_eq!(last_call(&portal).body_sha256, sha256(&body));
        }
    }
}

#[tokio::test]
async fn w10_a_body_that_will_be_refused_is_not_asked_for() {
    let (portal, gate) = stage_with(|setup| setup.gateway("max_body = \"1MiB\"")).await;
    for (line, fields, status) in [
        ("POST /rest/profile", "Content-Length: 1048577", 413),
        ("POST /bitrix/admin", "Content-Length: 5", 404),
        ("POST /rest/profile", "Content-Length: 5\r\nOrigin: http://evil.example", 403),
    ] {
        let mut client = Client::connect(gate.address).await;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{fields}\r\n\r\n"
        );
        client.send(head).await;
        let (raw, answer) = (client.first_line().await, client.answer().await.unwrap());
        assert!(!raw.contains(" 100 "), "{raw}");
        assert_eq!(answer.status, status, "{line}");
        assert!(client.is_closed().await, "{line}");
    }
    no_calls(&portal);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_has_called_nothing() {
    let (portal, gate) = stage_with(small_memory).await;
    for length in [1_000, 100_000, 1_000_000] {
        let wire = request("POST /rest/sandbox.echo", "", &pattern(length));
        let mut client = Client::connect(gate.address).await;
        client.send(&wire[..wire.len() - 1]).await;
        client.half_close().await;
        assert!(client.is_closed().await, "{length}");
    }
    assert_eq!(portal.control().executions("sandbox.echo"), 0);
}

fn no_calls(portal: &Sandbox) {
    let seen: Vec<_> = calls(portal).into_iter().map(|call| call.target).collect();
    assert_eq!(seen, Vec::<String>::new());
}
