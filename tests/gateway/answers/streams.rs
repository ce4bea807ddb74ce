//! F-64: answers of any size stream with back-pressure, and end when their client ends.

use crate::support::http::{self, Client};
use crate::support::wire::{open_connections, request, sha256, stage, until};

const ENDLESS: &str = "/rest/sandbox.bytes?size=4294967296";

#[tokio::test]
async fn f_64_a_client_that_hangs_up_ends_the_portals_answer() {
    let (portal, gate) = stage().await;
    for target in [ENDLESS.to_owned(), format!("{ENDLESS}&chunked=1")] {
        for half_closed in [false, true] {
            let mut client = Client::connect(gate.address).await;
            client.send(request(&format!("GET {target}"), "", b"")).await;
            if half_closed {
                client.half_close().await;
            }
            client.taste(100_000).await;
            assert_eq!(open_connections(&portal), 1);
            drop(client);
            until("the gateway gives the answer up", || open_connections(&portal) == 0).await;
        }
    }
    assert_eq!(portal.control().executions("sandbox.bytes"), 4);
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test]
async fn f_64_clients_that_read_nothing_cost_buffers_and_not_bodies() {
    let (portal, gate) = stage().await;
    http::get(gate.address, "/rest/profile").await;
    let before = gate.memory_kib();
    let mut slow = Vec::new();
    for number in 0..24 {
        let mut client = Client::connect(gate.address).await;
        let line = format!("GET {ENDLESS}&chunked={}", number % 2);
        client.send(request(&line, "", b"")).await;
        client.taste(1_000).await;
        slow.push(client);
    }
    // Others are served meanwhile, and long enough for the slow ones to fill whatever there is.
    for _ in 0..30 {
        let answer = http::get(gate.address, "/rest/sandbox.bytes?size=1000000").await;
        assert_eq!(answer.body.len(), 1_000_000);
    }
    let grown = gate.memory_kib().saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB for 24 clients that do not read");
    drop(slow);
    until("the portal is left alone", || open_connections(&portal) <= 8).await;
}

#[tokio::test]
async fn f_64_a_large_answer_passes_whole_in_flat_memory() {
    let (_portal, gate) = stage().await;
    http::get(gate.address, "/rest/sandbox.bytes?size=1000000").await;
    let before = gate.memory_kib();
    let size = 32 * 1024 * 1024;
    for chunked in [0, 1] {
        let target = format!("/rest/sandbox.bytes?size={size}&chunked={chunked}");
        let answer = http::get(gate.address, &target).await;
        assert!(answer.whole);
        let expected: Vec<u8> = (0..=250).cycle().take(size).collect();
        assert_eq!(sha256(&answer.body), sha256(&expected));
    }
    let grown = gate.memory_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for answers of 32 MiB");
}
