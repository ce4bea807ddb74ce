//! A herd of clients for `scripts/bench-peers`: many kept-alive connections that all call in the
//! same moment, once with a good token and once right after the portal has ended it.
//!
//!     herd PORT CONNECTIONS STUB_PORT
//!
//! Prints one JSON object. Every latency counts from the moment the herd starts, so a call that
//! the herd itself sends late is not flattered.

#![expect(clippy::print_stdout, reason = "the report is the product")]

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How one stampede went.
struct Report {
    latencies_us: Vec<u128>,
    statuses: BTreeMap<u16, u32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let numbers: Vec<u16> = env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let &[port, connections, stub_port] = numbers.as_slice() else {
        let usage = "usage: herd PORT CONNECTIONS STUB_PORT";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, usage));
    };
    let mut herd = Vec::new();
    for _ in 0..connections {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
        client.set_nodelay(true)?;
        call(&mut client, CALL).await?;
        herd.push(client);
    }
    let (herd, _) = stampede(herd).await; // opens the proxy's connections to the portal
    let (herd, before) = stampede(herd).await;
    let mut stub = TcpStream::connect(("127.0.0.1", stub_port)).await?;
    call(&mut stub, b"GET /bench/expire HTTP/1.1\r\nHost: stub\r\n\r\n").await?;
    let (_, storm) = stampede(herd).await;
    println!(r#"{{"before":{},"storm":{}}}"#, before.json(), storm.json());
    Ok(())
}

/// One call on every connection at once.
async fn stampede(herd: Vec<TcpStream>) -> (Vec<TcpStream>, Report) {
    let start = Instant::now();
    let calls: Vec<_> = herd
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let status = call(&mut client, CALL).await.unwrap_or(0);
                (client, status, start.elapsed().as_micros())
            })
        })
        .collect();
    let mut herd = Vec::new();
    let mut report = Report { latencies_us: Vec::new(), statuses: BTreeMap::new() };
    for call in calls {
        if let Ok((client, status, latency)) = call.await {
            herd.push(client);
            report.latencies_us.push(latency);
            *report.statuses.entry(status).or_default() += 1;
        }
    }
    report.latencies_us.sort_unstable();
    (herd, report)
}

/// Sends `request` and reads all of the answer; the status is what comes back.
async fn call(client: &mut TcpStream, request: &[u8]) -> io::Result<u16> {
    client.write_all(request).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if client.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(&answer).map_err(io::Error::other)?;
        let httparse::Status::Complete(head_length) = parsed else {
            continue;
        };
        let body_length = head
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("content-length"))
            .and_then(|field| str::from_utf8(field.value).ok()?.parse::<usize>().ok())
            .unwrap_or(0);
        if answer.len() >= head_length + body_length {
            return Ok(head.code.unwrap_or(0));
        }
    }
}

impl Report {
    fn json(&self) -> String {
        let at = |percent: usize| {
            let last = self.latencies_us.len().saturating_sub(1);
            self.latencies_us.get(last * percent / 100).copied().unwrap_or(0)
        };
        let mut statuses = String::new();
        for (status, count) in &self.statuses {
            let comma = if statuses.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            write!(statuses, r#"{comma}"{status}":{count}"#).ok();
        }
        format!(
            r#"{{"p50_us":{},"p99_us":{},"max_us":{},"statuses":{{{statuses}}}}}"#,
            at(50),
            at(99),
            at(100)
        )
    }
}

const CALL: &[u8] = b"GET /rest/crm.item.get?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
