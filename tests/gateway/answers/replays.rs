//! F-33 and early answers: a refused token is recognised in every disguise, and the call replayed.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::http::{self, Client};
use crate::support::script::{Line, Script, ok};
use crate::support::wire::{calls, chunks, pattern, request, stage};

use super::{fault, one_second};

#[tokio::test]
async fn f_33_an_expiry_is_recognised_in_every_disguise_that_portals_have() {
    let (portal, gate) = stage().await;
    let mut exchanges = 0;
    for disguise in ["plain", "json", "xml", "gzip", "bom", "cp1251", "200"] {
        portal.control().switch(&json!({"auth_errors": disguise})).unwrap();
        for target in ["/rest/profile", "/rest/profile.json", "/rest/profile.xml"] {
            for accepts in ["", "Accept-Encoding: gzip\r\n"] {
                portal.control().expire();
                portal.control().clear_log();
                let wire = request(&format!("POST {target}"), accepts, b"a=1");
                let answer = http::send(gate.address, wire).await;
                let shown = format!("{disguise} {target} {accepts}");
                assert_eq!(answer.status, 200, "{shown}: {}", answer.text());
                assert!(answer.text().contains("Ada"), "{shown}: {}", answer.text());
                assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"), "{shown}");
                exchanges += 1;
                assert_eq!(portal.control().exchanges(), exchanges, "{shown}");
                assert_eq!(calls(&portal).len(), 2, "{shown}");
            }
        }
    }
    assert_eq!(portal.control().executions("profile"), exchanges);
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}");
    if fields.contains("chunked") {
        return [head.as_bytes(), b"\r\n", chunks(body, 7).as_slice()].concat();
    }
    if fields.contains("Connection: close") {
        return [head.as_bytes(), b"\r\n", body].concat();
    }
    [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// Refusals of a token, with and without packing, in every framing.
fn refusals() -> Vec<Vec<u8>> {
    let json = br#"{"error":"expired_token","error_description":"The access token provided has expired."}"#;
    let turned = br#"{ "error_description" : "x", "error" : "expired_token" }"#;
    let xml = b"<?xml version=\"1.0\"?>\n<response><error>expired_token</error></response>";
    let unknown = br#"{"error":"invalid_token","error_description":"Unable to get application"}"#;
    let upper = br#"{"error":"EXPIRED_TOKEN"}"#;
    let packed = gzip(json);
    let unauthorized = "401 Unauthorized";
    let mut all = Vec::new();
    for framing in ["", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        let kind = |name: &str| format!("Content-Type: {name}\r\n{framing}");
        all.push(answer(unauthorized, &kind("application/json"), json));
        all.push(answer(unauthorized, &kind("application/json"), turned));
        all.push(answer(unauthorized, &kind("application/json"), unknown));
        all.push(answer(unauthorized, &kind("application/json"), upper));
        all.push(answer(unauthorized, &kind("text/html"), json));
        all.push(answer(unauthorized, framing, json));
        all.push(answer(unauthorized, &kind("text/xml"), xml));
        all.push(answer("200 OK", &kind("text/xml; charset=utf-8"), xml));
        all.push(answer("200 OK", &kind("application/json; charset=utf-8"), json));
        all.push(answer("200 OK", &kind("application/json"), b"{\"error\":\"expired_token\"}"));
        let gzipped = kind("application/json") + "Content-Encoding: gzip\r\n";
        all.push(answer(unauthorized, &gzipped, &packed));
        all.push(answer("200 OK", &gzipped, &packed));
    }
    all
}

#[tokio::test]
async fn f_33_an_expiry_is_recognised_in_every_framing() {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let script = Script::play(move |mut line| {
        let seen = seen.clone();
        async move {
            while let Some(head) = line.head().await {
                let number: usize = head.split("number=").nth(1).unwrap()[..2].parse().unwrap();
                line.body(3).await;
                let first = seen.lock().unwrap().insert(number);
                if first {
                    let refusal = &refusals()[number];
                    line.write(refusal).await;
                    if refusal.windows(5).any(|five| five == b"close") {
                        return;
                    }
                } else {
                    line.write(ok("{\"result\":true}")).await;
                }
            }
        }
    })
    .await;
    for (number, refusal) in refusals().iter().enumerate() {
        let target = format!("/rest/profile?number={number:02}");
        let answer = http::post(script.gate.address, &target, "text/plain", b"a=1").await;
        let shown = String::from_utf8_lossy(refusal);
        assert_eq!(answer.text(), "{\"result\":true}", "{shown}");
        assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"), "{shown}");
    }
}

#[tokio::test]
async fn refusals_for_other_reasons_pass_and_refresh_nothing() {
    let (portal, gate) = stage().await;
    http::get(gate.address, "/rest/profile").await;
    for (status, code) in [
        (401, "NO_AUTH_FOUND"),
        (401, "METHOD_CONFIRM_WAITING"),
        (401, "authorization_error"),
        (401, "INVALID_CREDENTIALS"),
        (401, "expired_token_not"),
        (400, "expired_token"),
        (403, "insufficient_scope"),
        (500, "INTERNAL_SERVER_ERROR"),
    ] {
        for format in ["json", "xml", "gzip", "bom", "cp1251"] {
            portal.control().clear_log();
            let error = json!({
                "mode": "error", "status": status, "code": code, "format": format, "count": 1,
            });
            fault(&portal, error).await;
            let answer = http::get(gate.address, "/rest/profile").await;
            assert_eq!((answer.status, answer.field("x-b24-replayed")), (status, None), "{code}");
            assert_eq!(calls(&portal).len(), 1, "{code} {format}");
        }
    }
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test]
async fn results_that_look_like_errors_pass_as_they_are() {
    let (portal, gate) = stage().await;
    for body in [
        r#"{"result":{"error":"expired_token"},"error":"expired_token"}"#,
        r#"{"error":[],"result":1}"#,
        r#"{"errors":"expired_token"}"#,
        r#"{"error":"partly","result":{"error":"expired_token"}}"#,
        r#"{"error""#,
        r#"[{"error":"expired_token"}]"#,
        "",
    ] {
        let raw = String::from_utf8(answer(
            "200 OK",
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        ));
        fault(&portal, json!({"mode": "raw", "text": raw.unwrap(), "count": 1})).await;
        let answer = http::get(gate.address, "/rest/profile").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test]
async fn an_early_refusal_reaches_the_client_that_is_still_sending() {
    let (portal, gate) = stage().await;
    fault(&portal, json!({"mode": "ignore_body", "status": 413})).await;
    for length in [100, 900_000, 8_000_000] {
        let mut client = Client::connect(gate.address).await;
        client.try_send(request("POST /rest/crm.deal.add", "", &pattern(length))).await;
        let answer = client.answer().await.expect("the refusal, not a broken connection");
        assert_eq!(answer.status, 413, "{length}");
        assert!(answer.text().contains("nginx"), "{length}");
    }
    assert_eq!(portal.control().executions("crm.deal.add"), 0);
}

/// Answers before the body has been read: with a refusal of the token the first time, or with
/// interim answers.
async fn early(mut line: Line, body: usize, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    while let Some(head) = line.head().await {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        if head.contains("/rest/interim") {
            line.write(interim).await;
            line.write("HTTP/1.1 102 Pro").await;
            line.body(body / 2).await;
            line.write("cessing\r\n\r\n").await;
            let rest = line.body(body - body / 2).await;
            line.write(ok(&format!("{{\"result\":{}}}", rest.len()))).await;
            continue;
        }
        if line.number == 0 {
            let refusal = "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 25\r\n\r\n";
            line.write(format!("{refusal}{{\"error\":\"expired_token\"}}")).await;
            return line.wait_for_end().await;
        }
        let whole = line.body(body).await;
        seen.lock().unwrap().push(whole);
        line.write(ok("{\"result\":true}")).await;
    }
}

#[tokio::test]
async fn an_expiry_told_before_the_body_was_read_is_replayed_with_the_whole_body() {
    const LENGTH: usize = 6_000_000;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let bodies = seen.clone();
    let script = Script::play(move |line| early(line, LENGTH, bodies.clone())).await;
    let body = pattern(LENGTH);
    let answer = http::post(script.gate.address, "/rest/upload", "text/plain", &body).await;
    assert_eq!(answer.text(), "{\"result\":true}");
    assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"));
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 1 && seen[0] == body, "the portal got the body once, byte for byte");
}

#[tokio::test]
async fn interim_answers_in_the_middle_of_an_upload_do_not_end_it() {
    const LENGTH: usize = 6_000_000;
    let script = Script::play_with(one_second, |line| early(line, LENGTH, Arc::default())).await;
    let mut client = Client::connect(script.gate.address).await;
    for _ in 0..2 {
        client.send(request("POST /rest/interim", "", &pattern(LENGTH))).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.json()["result"], LENGTH / 2, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_middle_of_an_upload_is_told_to_the_client() {
    for reset in [true, false] {
        let script = Script::play_with(one_second, move |mut line| async move {
            line.head().await.unwrap();
            line.body(100_000).await;
            if reset {
                line.reset();
            }
        })
        .await;
        let wire = request("POST /rest/upload", "", &pattern(1_000_000));
        let mut client = Client::connect(script.gate.address).await;
        client.send(&wire[..200_000]).await;
        let answer = client.answer().await.expect("an answer, though the body is not all sent");
        super::is_refused(&answer, 502, "GATEWAY_PORTAL_BROKEN", "unknown");
        assert_eq!(script.requests(), 1);
    }
}
