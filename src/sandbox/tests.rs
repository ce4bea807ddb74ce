//! Each rule of the protocol that the sandbox keeps, and each fault, over a real socket.

mod batch;
mod browsers;
mod events;
mod faults;
mod files;
mod handler;
mod installs;
mod oauth;
mod old_portals;
mod outages;
mod rest;
mod v3;
mod wire;

use std::net::SocketAddr;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Control, Options, Sandbox, Seed};

/// A running sandbox with a pair.
pub(super) struct Bench {
    sandbox: Sandbox,
    control: Control,
    seed: Seed,
}

/// An answer as it was read to the end of the connection.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Bench {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let (control, seed) = (sandbox.control(), sandbox.seed());
        Self { sandbox, control, seed }
    }

    /// A GET without credential.
    async fn get(&self, target: &str) -> Reply {
        self.call("GET", target, &[], b"").await
    }

    /// A GET with the seeded token in a Bearer header.
    async fn bearer(&self, target: &str) -> Reply {
        let bearer = format!("Authorization: Bearer {}", self.seed.access_token);
        self.call("GET", target, &[&bearer], b"").await
    }

    /// A POST of JSON with the seeded token in a Bearer header.
    async fn json(&self, target: &str, body: &str) -> Reply {
        let bearer = format!("Authorization: Bearer {}", self.seed.access_token);
        let headers = [bearer.as_str(), "Content-Type: application/json"];
        self.call("POST", target, &headers, body.as_bytes()).await
    }

    /// A POST of a form without credential.
    async fn form(&self, target: &str, body: &str) -> Reply {
        let form = "Content-Type: application/x-www-form-urlencoded";
        self.call("POST", target, &[form], body.as_bytes()).await
    }

    async fn call(&self, verb: &str, target: &str, headers: &[&str], body: &[u8]) -> Reply {
        call(self.sandbox.address(), verb, target, headers, body).await
    }
}

impl Reply {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn result(&self) -> Json {
        self.json()["result"].clone()
    }

    /// The code of a v1/v2 error.
    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|known| known.eq_ignore_ascii_case(line))
    }
}

/// One request on a connection of its own.
pub(super) async fn call(
    address: SocketAddr,
    verb: &str,
    target: &str,
    headers: &[&str],
    body: &[u8],
) -> Reply {
    let mut request = format!("{verb} {target} HTTP/1.1\r\nHost: portal\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("Content-Length: ");
    request.push_str(&body.len().to_string());
    request.push_str("\r\n\r\n");
    let raw = send(address, &[request.as_bytes(), body].concat()).await;
    parse(&raw)
}

/// Sends bytes and reads until the other side closes; what arrived before a reset counts.
pub(super) async fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ended = stream.read_to_end(&mut answer).await;
    answer
}

/// Splits an answer and takes chunks apart.
pub(super) fn parse(raw: &[u8]) -> Reply {
    let end =
        memchr::memmem::find(raw, b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    let head = String::from_utf8(raw[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = raw[end + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        let (mut rest, mut joined) = (body.as_slice(), Vec::new());
        while let Some(line) = memchr::memmem::find(rest, b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            joined.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
        }
        body = joined;
    }
    Reply { status, head, body }
}
