//! What is refused: every vector gets a clear 4xx, the portal never hears of it, and nothing of it is
//! left on the connection. Browsers are in `hostile/browsers.rs`, answers in `hostile/fields.rs`, and
//! the long list of raw requests in `hostile/vectors.rs`.

mod browsers;
mod fields;
mod heads;
mod hosts;
mod pages;
mod paths;
mod vectors;

use b24gate::sandbox::Sandbox;

use crate::support::Gate;
use crate::support::http::{Answer, Client};
use crate::support::wire::{calls, request};

/// Sends `wire`, expects it to be refused, and then asks for something harmless on the same
/// connection: that is answered as itself, or the connection is closed.
async fn refused(gate: &Gate, wire: &[u8], number: usize) -> Answer {
    let shown = String::from_utf8_lossy(&wire[..wire.len().min(200)]).into_owned();
    let mut client = Client::connect(gate.address).await;
    // A refusal may come before all of it is sent.
    client.try_send(wire).await;
    let Some(answer) = client.answer().await else {
        panic!("no answer to {shown:?}");
    };
    assert!((400..500).contains(&answer.status), "{} to {shown:?}", answer.head);
    assert!(answer.error().starts_with("GATEWAY_"), "{} to {shown:?}", answer.text());
    assert_eq!(answer.executed(), "no", "{shown:?}");
    assert!(answer.field("proxy-status").is_some_and(|field| field.starts_with("b24gate; error=")));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let closes = answer.field("connection") == Some("close");
    client.try_send(request(&format!("GET /rest/sandbox.echo?probe={number}"), "", b"")).await;
    match client.answer().await {
        Some(next) => {
            assert!(!closes, "an answer after the last one to {shown:?}: {}", next.head);
            let probe = &next.json()["result"]["params"]["probe"];
            assert_eq!(*probe, number.to_string().as_str(), "{shown:?}");
        }
        None => assert!(closes, "closed without a word after {shown:?}"),
    }
    answer
}

/// Only the probes of [`refused`] have reached the portal.
fn only_probes(portal: &Sandbox) {
    let others: Vec<_> = calls(portal)
        .into_iter()
        .filter(|call| !call.target.starts_with("/rest/sandbox.echo?probe="))
        .map(|call| (call.method, call.target))
        .collect();
    assert_eq!(others, []);
}
