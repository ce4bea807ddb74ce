//! F-24: an answer that the portal cuts off is a visibly broken transfer, in every framing, towards
//! every version of HTTP.

use serde_json::json;

use crate::support::http::{self, Client};
use crate::support::script::Script;
use crate::support::wire::{request, stage};

use super::{fault, one_second};

#[tokio::test]
async fn f_24_a_body_cut_off_by_the_portal_is_never_a_whole_200() {
    let (portal, gate) = stage().await;
    let target = "/rest/sandbox.bytes?size=300000";
    for framing in ["content_length", "chunked", "close"] {
        for reset in [false, true] {
            if framing == "close" && !reset {
                continue; // that end is an end like any other
            }
            for after in [0, 1, 1_000, 100_000, 299_999] {
                let cut = json!({
                    "mode": "cut_body", "after": after, "framing": framing, "reset": reset,
                });
                fault(&portal, cut).await;
                for version in ["1.0", "1.1"] {
                    let mut client = Client::connect(gate.address).await;
                    let head = format!("GET {target} HTTP/{version}\r\nHost: localhost\r\n\r\n");
                    client.send(head).await;
                    let answer = client.answer().await;
                    let shown = format!("{framing}, reset {reset}, after {after}, {version}");
                    // Before anything was passed on, the break can still be told in words.
                    if let Some(told) = answer.as_ref().filter(|answer| answer.status == 502) {
                        assert_eq!(told.executed(), "unknown", "{shown}");
                        continue;
                    }
                    // A reset may overtake the head; then there is no answer at all.
                    if let Some(answer) = answer.filter(|answer| answer.status == 200) {
                        let broken = !answer.whole || client.was_reset();
                        assert!(broken, "{shown}: {}", answer.head);
                        assert!(answer.body.len() <= after, "{shown}");
                    }
                    assert!(client.is_closed().await, "{shown}");
                }
                portal.control().clear_faults().await;
            }
        }
    }
    assert_eq!(http::get(gate.address, target).await.body.len(), 300_000);
}

#[tokio::test]
async fn f_24_a_cut_error_is_as_visible_as_a_cut_result() {
    let (portal, gate) = stage().await;
    http::get(gate.address, "/rest/profile").await;
    for framing in ["content_length", "chunked"] {
        for (status, after) in [(400, 5), (401, 5), (403, 5), (500, 5), (503, 5), (503, 0)] {
            let cut = json!({"mode": "cut_body", "after": after, "framing": framing, "count": 1});
            fault(&portal, cut).await;
            let target = format!("/rest/sandbox.error?status={status}&code=X&description=y");
            let mut client = Client::connect(gate.address).await;
            client.send(request(&format!("GET {target}"), "", b"")).await;
            if let Some(answer) = client.answer().await {
                let broken = !answer.whole || client.was_reset() || answer.status == 502;
                assert!(broken, "{framing} {status}: {} {}", answer.head, answer.text());
            }
        }
    }
    assert_eq!(portal.control().executions("sandbox.error"), 12, "none was sent again");
}

/// A head and the beginning of a body, and then nothing more.
fn begun(target: &str) -> String {
    let framing = match target {
        _ if target.contains("length") => "Content-Length: 100\r\n\r\n",
        _ if target.contains("chunked") => "Transfer-Encoding: chunked\r\n\r\n64\r\n",
        _ => "\r\n",
    };
    let kind = if target.contains("error") { "401 Unauthorized" } else { "200 OK" };
    format!("HTTP/1.1 {kind}\r\nContent-Type: application/json\r\n{framing}{{\"result\":[1,2,3,4,5")
}

#[tokio::test]
async fn f_25_an_answer_that_stops_coming_is_a_broken_transfer_after_the_limit() {
    let script = Script::play_with(one_second, |mut line| async move {
        let head = line.head().await.unwrap_or_default();
        line.write(begun(head.lines().next().unwrap_or_default())).await;
        line.wait_for_end().await;
    })
    .await;
    let mut stopped = tokio::task::JoinSet::new();
    for version in ["1.0", "1.1"] {
        for target in ["length", "chunked", "close"] {
            let address = script.gate.address;
            stopped.spawn(async move {
                let mut client = Client::connect(address).await;
                let line = format!("GET /rest/{target} HTTP/{version}\r\nHost: localhost\r\n\r\n");
                client.send(line).await;
                let whole = client.answer().await.is_some_and(|answer| answer.whole);
                assert!(!whole || client.was_reset(), "{target}, HTTP/{version}");
                assert!(client.is_closed().await);
            });
        }
    }
    while let Some(done) = stopped.join_next().await {
        done.unwrap();
    }
    assert_eq!(script.requests(), 6);
}

#[tokio::test]
async fn f_25_a_slow_drip_passes_as_long_as_it_drips() {
    let (portal, gate) = crate::support::wire::stage_with(one_second).await;
    // Ten drops a second: one and a half times the limit in all, a tenth of it between two drops.
    fault(&portal, json!({"mode": "drip", "bytes_per_second": 2_000})).await;
    let target = "/rest/sandbox.bytes?size=3000";
    let chunked = format!("{target}&chunked=1");
    let (counted, chunked, other) = tokio::join!(
        http::get(gate.address, target),
        http::get(gate.address, &chunked),
        http::get(gate.address, "/rest/a/b"),
    );
    for answer in [counted, chunked] {
        assert!(answer.whole && answer.status == 200);
        assert_eq!(answer.body, (0..=250).cycle().take(3_000).collect::<Vec<u8>>());
    }
    assert_eq!(other.status, 404);
}
