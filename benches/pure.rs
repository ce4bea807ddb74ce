//! What the pure steps of a request cost: `cargo bench --bench pure`.
#![allow(missing_docs, reason = "a benchmark")]

use b24gate::credential::Secret;
use b24gate::gateway::pure;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const REQUEST: &[u8] = b"POST /rest/1/abcdef0123456789/crm.deal.list.json?start=50&filter[>ID]=0 \
    HTTP/1.1\r\nHost: localhost:8024\r\nUser-Agent: python-requests/2.32\r\nAccept: */*\r\n\
    Accept-Encoding: gzip, deflate\r\nContent-Type: application/json\r\n\
    Content-Length: 170\r\nConnection: keep-alive\r\n\r\n";

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 15:00:00 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 300\r\n\
    Connection: keep-alive\r\nAccess-Control-Allow-Origin: *\r\nX-Bitrix-Rest-Time: 0.0412\r\n\
    X-Bitrix-Rest-Application: local.5c8b.00000001\r\n\r\n";

const EXPIRED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\
    Content-Length: 95\r\n\r\n{\"error\":\"expired_token\",\"error_description\":\"The access token \
    provided has expired.\"}";

#[divan::bench]
fn request_head(bencher: Bencher<'_, '_>) {
    let token = Secret::new("0123456789abcdef".repeat(4));
    bencher.bench_local(|| pure::request_head(black_box(REQUEST), &token));
}

#[divan::bench]
fn answer_head() -> usize {
    pure::answer_head(black_box(ANSWER))
}

#[divan::bench]
fn expired_answer_is_recognised() -> bool {
    pure::says_expired(black_box(EXPIRED))
}

#[divan::bench(args = ["start=50&filter[>ID]=0", "auth=stale&start=50", "a=%20&acc%65ss.token=x"])]
fn query(text: &str) -> usize {
    pure::query(black_box(text.as_bytes()))
}

#[divan::bench(args = [300, 65_536])]
fn chunked_body(bencher: Bencher<'_, '_>, size: usize) {
    let mut wire = format!("{size:x}\r\n").into_bytes();
    wire.resize(wire.len() + size, b'x');
    wire.extend_from_slice(b"\r\n0\r\n\r\n");
    bencher.bench_local(|| pure::chunks(black_box(&wire)));
}
