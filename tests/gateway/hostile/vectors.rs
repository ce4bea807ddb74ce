//! Raw requests, each with what must become of it: refused without a call, or one call and no more.
//! Odd ones that are legal are among them, because a wall that lets nothing through is no gateway.
//!
//! The portal here counts, and reads what it gets as strictly as can be. Behind every vector stands
//! a request of its own, a probe: whatever the vector was meant to smuggle would show in between.

mod framing;
mod lines;
mod senders;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::script::{Line, Script, ok};

/// What becomes of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A 4xx, and no call.
    Refused,
    /// A 2xx, and this many calls.
    Calls(usize),
    /// The gateway waits for the rest until there is none.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Vector {
    pub(super) wire: Vec<u8>,
    pub(super) fate: Fate,
}

/// The vectors of one fate.
pub(super) fn all(fate: Fate, wires: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<Vector> {
    wires.into_iter().map(|wire| Vector { wire: wire.as_ref().to_vec(), fate }).collect()
}

/// A GET with these lines behind its Host.
pub(super) fn get(lines: &str) -> String {
    format!("GET /rest/vector HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

/// A POST with these lines, and a body that they frame.
pub(super) fn post(lines: &str, body: &str) -> String {
    format!("POST /rest/vector HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

/// Heads and bodies as the portal got them, and what was wrong with them.
#[derive(Debug, Default)]
struct Seen {
    heads: Vec<String>,
    wrong: Vec<String>,
}

const PROBE: &str = "GET /rest/probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// What hides in a body or behind a head.
pub(super) const SMUGGLED: &str = "GET /rest/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn s_30_s_36_every_vector_is_refused_or_is_one_call_and_nothing_hides_behind_it() {
    let vectors: Vec<_> =
        [framing::vectors(), lines::vectors(), senders::vectors()].into_iter().flatten().collect();
    let mut distinct = BTreeSet::new();
    for vector in &vectors {
        let shown = String::from_utf8_lossy(&vector.wire);
        assert!(distinct.insert(&vector.wire), "twice: {shown:?}");
    }
    assert!(vectors.len() >= 300, "{} vectors", vectors.len());
    let passing = vectors.iter().filter(|vector| vector.fate != Fate::Refused).count();
    assert!(passing >= 60, "{passing} that pass");
    let seen = Arc::new(Mutex::new(Seen::default()));
    let portal = seen.clone();
    let script = Script::play(move |line| serve(line, portal.clone())).await;
    let mut failed = Vec::new();
    for vector in &vectors {
        if let Err(reason) = check(script.gate.address, vector, &seen).await {
            let shown = String::from_utf8_lossy(&vector.wire[..vector.wire.len().min(300)]);
            failed.push(format!("{reason}\n    {:?} {shown:?}", vector.fate));
        }
    }
    assert!(failed.is_empty(), "{} vectors:\n{}", failed.len(), failed.join("\n"));
}

async fn check(gate: SocketAddr, vector: &Vector, seen: &Mutex<Seen>) -> Result<(), String> {
    *seen.lock().unwrap() = Seen::default();
    let answer = exchange(gate, &[&vector.wire[..], PROBE.as_bytes()].concat()).await;
    let seen = seen.lock().unwrap();
    let Seen { heads, wrong } = &*seen;
    let of = |path: &str| {
        let names = |head: &&String| head.split(['?', ' ']).nth(1) == Some(path);
        heads.iter().filter(names).count()
    };
    let (calls, probes, smuggled) =
        (heads.len() - of("/rest/probe"), of("/rest/probe"), of("/rest/smuggled"));
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let class = status.map_or(0, |status| status.parse::<u16>().unwrap() / 100);
    let expected = match vector.fate {
        Fate::Refused => (4, 0),
        Fate::Calls(count) => (2, count),
        Fate::Nothing => (0, 0),
    };
    let told = format!("status {status:?}, {calls} calls, {probes} probes: {heads:?}");
    if (class, calls) != expected {
        return Err(told);
    }
    if smuggled > 0 || probes > 1 || !wrong.is_empty() {
        return Err(format!("{told}; smuggled {smuggled}; {wrong:?}"));
    }
    // A connection goes on or ends, and says which.
    let first = answer.split("\r\n\r\n").next().unwrap_or_default();
    let goes_on = !first.contains("\r\nConnection: close");
    let says_end = answer.contains("\r\nConnection: close");
    let lies = if probes == 0 { !says_end } else { calls < 2 && !goes_on };
    if class != 0 && lies {
        return Err(format!("{told}; what it says of its end is not so"));
    }
    Ok(())
}

/// Sends everything and reads everything.
async fn exchange(gate: SocketAddr, wire: &[u8]) -> String {
    let mut stream = TcpStream::connect(gate).await.unwrap();
    let mut answer = Vec::new();
    let all = async {
        let (mut from, mut to) = stream.split();
        let sending = async {
            // It may have hung up in the middle.
            drop(to.write_all(wire).await);
            drop(to.shutdown().await);
        };
        let reading = async { drop(from.read_to_end(&mut answer).await) };
        tokio::join!(sending, reading);
    };
    timeout(PATIENCE, all).await.expect("the end of the connection in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A portal that takes nothing for granted.
async fn serve(mut line: Line, seen: Arc<Mutex<Seen>>) {
    while let Some(head) = line.head().await {
        let values = |name: &str| -> Vec<String> {
            let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let of_name = fields.filter(|(found, _)| found.eq_ignore_ascii_case(name));
            of_name.map(|(_, value)| value.to_owned()).collect()
        };
        let verb = head.split(' ').next().unwrap().to_owned();
        let length = values("content-length");
        let mut wrong = Vec::new();
        let mut hold = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{what}: {head:?}"));
            }
        };
        hold(head.lines().next().unwrap().ends_with(" HTTP/1.1"), "its first line");
        hold(["GET", "HEAD", "POST"].contains(&&*verb), "its verb");
        hold(values("host").len() == 1, "one Host");
        hold(values("authorization").len() == 1, "one credential");
        hold(length.len() == usize::from(verb == "POST" || !length.is_empty()), "one length");
        hold(values("transfer-encoding").is_empty(), "bodies this short are gathered");
        for name in NEVER {
            hold(values(name).is_empty(), name);
        }
        hold(head.bytes().all(|byte| byte >= b' ' || b"\r\n\t".contains(&byte)), "its bytes");
        let length = length.first().map_or(0, |length| length.parse().unwrap());
        let body = line.body(length).await;
        if body.len() == length {
            let mut seen = seen.lock().unwrap();
            seen.heads.push(head.clone());
            seen.wrong.extend(wrong);
        }
        let whole = ok("{\"result\":true}");
        let shown = if verb == "HEAD" { whole.split_inclusive("\r\n\r\n").next() } else { None };
        line.write(shown.unwrap_or(&whole)).await;
    }
}

/// Fields that end at the gateway.
const NEVER: &[&str] = &[
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "cookie",
    "origin",
    "referer",
    "via",
    "forwarded",
    "x-forwarded-for",
    "proxy-connection",
    "proxy-authorization",
    "x-b24-portal",
    "x-bitrix-csrf-token",
];
