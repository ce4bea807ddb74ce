//! Answers that state no length: the end of the connection is the end of the body, and only an end
//! in good order is one.

use b24gate::sandbox::{Options, Sandbox};
use serde_json::json;

use crate::support::http::Client;
use crate::support::{Gate, http};

#[tokio::test]
async fn an_expiry_is_seen_in_an_answer_that_ends_with_its_connection() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    let framing = json!({"portal": {"mode": "framing", "as": "close"}});
    portal.control().fault(&framing).await.unwrap();
    portal.control().expire();
    let answer = http::get(gate.address, "/rest/profile").await;
    assert_eq!((answer.status, answer.whole), (200, true));
    assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"));
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test]
async fn a_reset_is_not_taken_for_the_end_of_an_answer_without_a_length() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    for (after, reset) in [(0, true), (5, true), (40, true), (40, false)] {
        let cut = json!({"mode": "cut_body", "after": after, "framing": "close", "reset": reset});
        portal.control().clear_faults().await;
        portal.control().fault(&json!({"portal": cut})).await.unwrap();
        let mut client = Client::connect(gate.address).await;
        client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = client.answer().await;
        // After a reset even the head may be lost on its way; a whole answer it must not be. An
        // end in good order cannot be told from the true one.
        let whole = answer.as_ref().is_some_and(|answer| answer.status == 200 && answer.whole);
        assert_eq!(whole, !reset, "{after} {answer:?}");
    }
}
