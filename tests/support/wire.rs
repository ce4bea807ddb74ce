//! Requests as bytes, and the pair of a simulated portal with the gateway in front of it.

use std::fmt::Write as _;
use std::time::Duration;

use b24gate::sandbox::{Entry, Options, Sandbox};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{Gate, PATIENCE, Setup};

/// A portal and the gateway in front of it.
pub async fn stage() -> (Sandbox, Gate) {
    stage_with(|setup| setup).await
}

/// As [`stage`], with other settings.
pub async fn stage_with(change: impl FnOnce(Setup) -> Setup) -> (Sandbox, Gate) {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let seed = portal.seed();
    let gate = Gate::connected(&change(Setup::of(&seed)), &seed);
    (portal, gate)
}

/// A request with a length where there is a body; `fields` are whole lines.
pub fn request(line: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}");
    if !body.is_empty() {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A request with a chunked body.
pub fn chunked_request(line: &str, fields: &str, body: &[u8], size: usize) -> Vec<u8> {
    let head =
        format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    [head.into_bytes(), chunks(body, size)].concat()
}

/// A body in chunks of `size`, with extensions and a trailer, as some libraries write them.
pub fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for (number, chunk) in body.chunks(size).enumerate() {
        let extension = if number % 2 == 0 { "" } else { ";part=\"x\"" };
        wire.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nX-Checksum: 1\r\n\r\n");
    wire
}

/// Bytes that no two places of a body share, so that a shift or a swap shows.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(length + 8);
    let mut number = 0_u64;
    while body.len() < length {
        body.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        number += 1;
    }
    body.truncate(length);
    body
}

/// As the portal's journal writes it.
pub fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The calls that have reached the portal, without the OAuth server's.
pub fn calls(portal: &Sandbox) -> Vec<Entry> {
    portal.control().log().into_iter().filter(|entry| !entry.target.starts_with("/oauth")).collect()
}

/// How many connections the portal has open now.
pub fn open_connections(portal: &Sandbox) -> u64 {
    portal.control().state()["counters"]["connections_open"].as_u64().unwrap()
}

/// Waits until `condition` holds; it must hold at last.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "never happened: {what}");
}

/// The latest call that has reached the portal.
pub fn last_call(portal: &Sandbox) -> Entry {
    calls(portal).pop().expect("a call at the portal")
}
