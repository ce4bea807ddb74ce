//! S-31: answers that could be read in two ways are no answers, and what a portal says unasked is
//! the answer to nothing.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::http::{self, Client};
use crate::support::script::{Script, ok};
use crate::support::wire::{calls, request, stage};

use super::{fault, is_refused};

/// Heads that are not one answer; a well-formed body follows where one could be seen.
const HEADS: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nX: a\u{1}b\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nX y: a\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 2000 Long\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "ICY 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "SSH-2.0-OpenSSH_9.6\r\n",
    "220 smtp.example ESMTP\r\n",
    "<html>no head at all</html>",
    "{\"result\":true}",
    "\0\0\0\0\0\0\0\0",
    "\u{15}\u{3}\u{1}\0\u{2}\u{2}F",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "HTTP/1.1 200",
    "H",
    "",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 103 Early",
];

#[tokio::test]
async fn s_31_what_is_not_plainly_one_answer_is_a_502_and_is_asked_for_once() {
    let (portal, gate) = stage().await;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let more = [many.as_str(), long.as_str()];
    let mut client = Client::connect(gate.address).await;
    for text in HEADS.iter().chain(&more) {
        let shown = &text[..text.len().min(100)];
        portal.control().clear_log();
        fault(&portal, json!({"mode": "raw", "text": text, "count": 1})).await;
        client.send(request("POST /rest/crm.deal.add", "", b"a=1")).await;
        let answer = client.answer().await.unwrap();
        assert!(answer.status == 502, "{shown:?}: {}", answer.head);
        is_refused(&answer, 502, "GATEWAY_PORTAL_BROKEN", "unknown");
        assert_eq!(calls(&portal).len(), 1, "{shown:?}");
        client.send(request("GET /rest/profile", "", b"")).await;
        assert_eq!(client.answer().await.unwrap().json()["result"]["NAME"], "Ada", "{shown:?}");
    }
}

/// Bodies that break after a good head.
const BODIES: &[&str] = &[
    "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
    "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: \u{1}\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    "Transfer-Encoding: chunked\r\n\r\n",
    "Content-Length: 3\r\n\r\n{}",
    "Content-Length: 100000\r\n\r\n{}",
    "Content-Length: 999999999999999\r\n\r\n{}",
];

#[tokio::test]
async fn s_31_a_body_that_breaks_its_framing_is_never_a_whole_200() {
    let (portal, gate) = stage().await;
    for content in ["application/json", "text/plain"] {
        for body in BODIES {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Type: {content}\r\n{body}");
            for version in ["1.0", "1.1"] {
                fault(&portal, json!({"mode": "raw", "text": text, "count": 1})).await;
                let mut client = Client::connect(gate.address).await;
                let head = format!("GET /rest/profile HTTP/{version}\r\nHost: localhost\r\n\r\n");
                client.send(head).await;
                if let Some(answer) = client.answer().await {
                    let broken = !answer.whole || client.was_reset() || answer.status == 502;
                    assert!(broken, "{body:?} to {version}: {}{}", answer.head, answer.text());
                }
            }
        }
    }
}

#[tokio::test]
async fn s_31_framings_that_can_be_read_in_one_way_only_pass() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    for shape in ["content_length", "chunked", "close"] {
        fault(&portal, json!({"mode": "framing", "as": shape, "count": 1})).await;
        client.send(request("GET /rest/profile", "", b"")).await;
        let answer = client.answer().await.unwrap();
        assert!(answer.whole && answer.status == 200, "{shape}");
        assert_eq!(answer.json()["result"]["NAME"], "Ada", "{shape}");
    }
    for shape in ["duplicate_length", "conflicting_length", "length_and_chunked"] {
        fault(&portal, json!({"mode": "framing", "as": shape, "count": 1})).await;
        client.send(request("GET /rest/profile", "", b"")).await;
        let answer = client.answer().await.unwrap();
        is_refused(&answer, 502, "GATEWAY_PORTAL_BROKEN", "unknown");
    }
    assert_eq!(portal.control().executions("profile"), 6);
}

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n\
                      {\"result\":\"evil\"}";

#[tokio::test]
async fn s_31_what_comes_with_or_behind_an_answer_is_never_the_next_one() {
    let script = Script::play(|mut line| async move {
        while let Some(head) = line.head().await {
            let target = head.split(' ').nth(1).unwrap_or_default();
            let honest = ok(&format!("{{\"result\":\"{target}\"}}"));
            match target.split('?').next().unwrap_or_default() {
                "/rest/plain" => line.write(honest).await,
                "/rest/with" => line.write(honest + POISON).await,
                "/rest/half" => line.write(honest + "HTTP/1.1 200 OK\r\nContent-Le").await,
                "/rest/chunked" => {
                    let body =
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
                    line.write(body.to_owned() + POISON).await;
                }
                "/rest/empty" => line.write(format!("HTTP/1.1 204 None\r\n\r\n{POISON}")).await,
                "/rest/unchanged" => line.write(format!("HTTP/1.1 304 No\r\n\r\n{POISON}")).await,
                _ => {
                    line.write(honest).await;
                    line.write(POISON).await;
                }
            }
        }
    })
    .await;
    let mut client = Client::connect(script.gate.address).await;
    for round in 0..20 {
        for kind in ["with", "half", "chunked", "empty", "unchanged", "behind", "head"] {
            let verb = if kind == "head" { "HEAD" } else { "GET" };
            client.send(request(&format!("{verb} /rest/{kind}?{round}"), "", b"")).await;
            let answer = client.answer_to(kind == "head").await.unwrap();
            assert!(!answer.text().contains("evil"), "{kind}");
            client.send(request(&format!("GET /rest/plain?{round}"), "", b"")).await;
            let next = client.answer().await.unwrap();
            assert_eq!(next.json()["result"], format!("/rest/plain?{round}").as_str(), "{kind}");
        }
    }
}

#[tokio::test]
async fn s_31_what_a_portal_says_while_the_connection_is_idle_is_the_answer_to_nothing() {
    let (speak, spoken) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (cue, done) = (speak.clone(), spoken.clone());
    let script = Script::play(move |mut line| {
        let (cue, done) = (cue.clone(), done.clone());
        async move {
            while let Some(head) = line.head().await {
                let target = head.split(' ').nth(1).unwrap_or_default();
                line.write(ok(&format!("{{\"result\":\"{target}\"}}"))).await;
                cue.acquire().await.unwrap().forget();
                line.write(POISON).await;
                done.add_permits(1);
            }
        }
    })
    .await;
    let mut client = Client::connect(script.gate.address).await;
    for round in 0..200 {
        client.send(request(&format!("GET /rest/plain?{round}"), "", b"")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.json()["result"], format!("/rest/plain?{round}").as_str());
        speak.add_permits(1);
        spoken.acquire().await.unwrap().forget();
    }
}

#[tokio::test]
async fn interim_answers_are_skipped_and_never_reach_the_client() {
    let (portal, gate) = stage().await;
    for mode in ["continue_102", "continue_103"] {
        fault(&portal, json!({"mode": mode, "count": 1})).await;
        let mut client = Client::connect(gate.address).await;
        client.send(request("POST /rest/profile", "", b"a=1")).await;
        assert_eq!(client.first_line().await.trim_end(), "HTTP/1.1 200 OK", "{mode}");
        assert_eq!(client.answer().await.unwrap().json()["result"]["NAME"], "Ada");
    }
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let text = format!("{}{}", interim.repeat(2_000), ok("{\"result\":1}"));
    fault(&portal, json!({"mode": "raw", "text": text, "count": 1})).await;
    assert_eq!(http::get(gate.address, "/rest/profile").await.json()["result"], 1);
}
