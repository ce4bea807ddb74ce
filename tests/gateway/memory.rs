//! Bodies larger than memory, in both directions, at a flat size of the gateway's process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use b24gate::sandbox::{Options, Sandbox};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{self, Client};
use crate::support::{Gate, PATIENCE, Setup, hex};

#[tokio::test]
async fn a_gigabyte_goes_up_with_a_length_and_without_one_at_flat_memory() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = gate(&portal, "max_body = \"2GiB\"").await;
    let expected = std::thread::spawn(|| {
        let mut digest = Sha256::new();
        (0..GIB / BLOCK.len() as u64).for_each(|_| digest.update(BLOCK));
        hex(&digest.finalize())
    });
    let watch = Watch::on(&gate);
    let mut digests = Vec::new();
    for chunked in [false, true] {
        let answer = upload(gate.address, GIB, chunked).await;
        assert_eq!(answer["result"]["body_length"], GIB, "{answer}");
        digests.push(answer["result"]["body_sha256"].as_str().unwrap().to_owned());
    }
    let expected = expected.join().unwrap();
    assert_eq!(digests, [expected.clone(), expected]);
    watch.assert_growth_below(FLAT_KIB);
}

#[tokio::test]
async fn a_gigabyte_comes_down_with_a_length_and_without_one_at_flat_memory() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = gate(&portal, "").await;
    let watch = Watch::on(&gate);
    for chunked in [false, true] {
        let mut download = Download::start(gate.address, GIB, chunked).await;
        assert_eq!(download.read_all().await, GIB, "chunked: {chunked}");
    }
    watch.assert_growth_below(FLAT_KIB);
}

#[tokio::test]
async fn clients_that_stop_reading_hold_the_portal_back_and_cost_no_memory() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = gate(&portal, "").await;
    let watch = Watch::on(&gate);
    let mut stalled = Vec::new();
    for number in 0..STALLED {
        stalled.push(Download::start(gate.address, GIB, number % 2 == 0).await);
    }
    // As long as the portal takes for all of this, the others could have been sent as much.
    let mut reader = Download::start(gate.address, GIB / 4, false).await;
    assert_eq!(reader.read_all().await, GIB / 4);
    watch.assert_growth_below(FLAT_KIB);

    // What they were owed is still there, in order.
    let first = stalled.first_mut().unwrap();
    first.read_at_least(GIB / 64).await;
    drop(stalled);
    wait_until("the portal's connections end with those of the clients", || open(&portal) <= 1)
        .await;
}

#[tokio::test]
async fn a_client_that_cancels_a_download_ends_the_transfer_at_the_portal() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = gate(&portal, "").await;
    for chunked in [false, true] {
        let mut download = Download::start(gate.address, GIB, chunked).await;
        download.read_at_least(1 << 20).await;
        let before = open(&portal);
        drop(download);
        wait_until("the portal's connection ends", || open(&portal) < before).await;
    }
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test]
async fn many_bodies_at_once_share_one_room_in_memory_and_the_rest_goes_to_disk() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    // Together twice the room, so that holding all of them would be seen.
    let gate = gate(&portal, "replay_memory = \"2MiB\"").await;
    let watch = Watch::on(&gate);
    let body = BLOCK.repeat(1800 * 1024 / BLOCK.len());
    // Not a form, which the portal would take apart.
    let head = format!(
        "POST /rest/sandbox.echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\n\r\n",
        body.len()
    );
    let mut clients = Vec::new();
    for _ in 0..BODIES {
        let mut client = Client::connect(gate.address).await;
        client.send(&head).await;
        client.send(&body[..body.len() - 1]).await;
        clients.push(client);
    }
    wait_until("the bodies are held until they are whole", || {
        watch.growth_kib() > ROOM_KIB * 3 / 4
    })
    .await;
    let mut answers = Vec::new();
    for client in &mut clients {
        client.send(&body[body.len() - 1..]).await;
        answers.push(client.answer().await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer.json()["result"]["body_length"] == body.len()));
    assert_eq!(portal.control().executions("sandbox.echo"), BODIES);
    // Beside the room, a connection that gathers holds one read buffer.
    watch.assert_growth_below(ROOM_KIB + BODIES * 64 + FLAT_KIB);
}

/// A gateway that has served a call, so that what it needs once is there.
async fn gate(portal: &Sandbox, settings: &str) -> Gate {
    let gate = Gate::connected(&Setup::new(portal).gateway(settings), &portal.seed());
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
    gate
}

async fn upload(address: SocketAddr, size: u64, chunked: bool) -> Value {
    let mut client = Client::connect(address).await;
    let framing = if chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {size}")
    };
    client
        .send(format!(
            "POST /rest/sandbox.echo HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        ))
        .await;
    let chunk = [format!("{:x}\r\n", BLOCK.len()).as_bytes(), BLOCK, b"\r\n"].concat();
    let piece = if chunked { &chunk[..] } else { BLOCK };
    for _ in 0..size / BLOCK.len() as u64 {
        client.send(piece).await;
    }
    if chunked {
        client.send("0\r\n\r\n").await;
    }
    client.answer().await.unwrap().json()
}

/// A download whose every byte is compared, and which is read only as far as it is asked to be.
struct Download {
    stream: TcpStream,
    chunked: bool,
    seen: Vec<u8>,
    /// Bytes of the body so far, and what is left of the chunk.
    read: u64,
    left: u64,
    done: bool,
}

impl Download {
    /// Sends the request and reads the head of the answer.
    async fn start(address: SocketAddr, size: u64, chunked: bool) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let target = format!("/rest/sandbox.bytes?size={size}&chunked={}", u8::from(chunked));
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
        let left = if chunked { 0 } else { size };
        Self { stream, chunked, seen: Vec::new(), read: 0, left, done: false }
    }

    async fn read_all(&mut self) -> u64 {
        self.read_at_least(u64::MAX).await;
        self.read
    }

    async fn read_at_least(&mut self, wanted: u64) {
        while self.read < wanted && !self.done {
            if self.seen.len() < 64 {
                self.seen.reserve(BLOCK.len());
                let read = self.stream.read_buf(&mut self.seen);
                let count = tokio::time::timeout(PATIENCE, read).await.expect("bytes in time");
                assert!(count.unwrap() > 0, "the download ends after {} bytes", self.read);
            }
            let used = self.take();
            self.seen.drain(..used);
        }
    }

    /// Compares what is at hand; how much of it is used up.
    fn take(&mut self) -> usize {
        let mut at = 0;
        loop {
            if self.left == 0 && self.chunked {
                let rest = &self.seen[at..];
                let skip = if self.read == 0 { 0 } else { 2 };
                let line = rest.get(skip..).unwrap_or_default();
                let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
                    return at;
                };
                let size = std::str::from_utf8(&line[..end]).unwrap();
                self.left = u64::from_str_radix(size, 16).unwrap();
                self.done = self.left == 0;
                at += skip + end + 2;
            }
            self.done |= self.left == 0 && !self.chunked;
            let here = (self.seen.len() - at).min(usize::try_from(self.left).unwrap()).min(PIECE);
            if here == 0 || self.done {
                return at;
            }
            let phase = usize::try_from(self.read % 251).unwrap();
            let (found, sent) = (&self.seen[at..at + here], &PATTERN[phase..phase + here]);
            assert!(found == sent, "a byte near {} is not the portal's", self.read);
            at += here;
            self.read += here as u64;
            self.left -= here as u64;
            self.done |= self.left == 0 && !self.chunked;
        }
    }
}

/// Samples the gateway's memory from a thread of its own.
struct Watch {
    before: u64,
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn on(gate: &Gate) -> Self {
        let before = gate.memory_kib();
        let (most, over) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let watch = Self { before, most: most.clone(), over: over.clone() };
        let sample = gate.memory_sampler();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Some(now) = sample() else { return };
                most.fetch_max(now, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        watch
    }

    /// The most so far.
    fn growth_kib(&self) -> u64 {
        self.most.load(Ordering::Relaxed) - self.before
    }

    fn assert_growth_below(&self, kib: u64) {
        let grown = self.growth_kib();
        // Shown with --no-capture: the figures are worth more than the verdict.
        println!("memory: {} KiB, and at most {grown} KiB more", self.before);
        assert!(grown < kib, "the gateway grew by {grown} KiB; {kib} KiB is too much");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn open(portal: &Sandbox) -> u64 {
    portal.control().state()["counters"]["connections_open"].as_u64().unwrap()
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let polling = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

const GIB: u64 = 1 << 30;
const STALLED: usize = 16;
const BODIES: u64 = 300;
/// The gateway's memory for gathered bodies of all requests.
const ROOM_KIB: u64 = 256 * 1024;
/// What a transfer of any size may cost: buffers, the blocking threads' stacks, the allocator.
const FLAT_KIB: u64 = 48 * 1024;
const PIECE: usize = 64 * 1024;
static BLOCK: &[u8] = &[0x5a; 64 * 1024];
/// What `sandbox.bytes` sends, wherever it begins.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=250).cycle().take(PIECE + 251).collect());
