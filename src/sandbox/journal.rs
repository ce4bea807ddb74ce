//! What the sandbox has seen: the latest requests, and counters that prove what ran how often.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;

use super::text;
use super::wire::Request;

/// A request as it arrived, and what became of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    /// The number of the request since the start.
    pub number: u64,
    /// Milliseconds since the start, on the monotonic clock.
    pub at_ms: u64,
    /// The listener: `portal`, `oauth` or `renamed`.
    pub listener: &'static str,
    /// The number of the connection.
    pub connection: u64,
    /// The verb.
    pub method: String,
    /// The request target as it was sent.
    pub target: String,
    /// `HTTP/1.1`
    pub version: String,
    /// Header lines in order, in the spelling of the sender.
    pub headers: Vec<String>,
    /// Bytes of the body that arrived.
    pub body_length: u64,
    /// Their SHA-256, in hex.
    pub body_sha256: String,
    /// Whether the sender got to the end of the body.
    pub body_complete: bool,
    /// The body as text, if it is no larger than 64 KiB.
    pub body: Option<String>,
    /// The REST method, if the target names one.
    pub rest_method: Option<String>,
    /// Whether the method's body ran.
    pub executed: bool,
    /// The status of the answer; 0 when none was sent.
    pub status: u16,
    /// The error code of the answer; empty for success.
    pub code: String,
    /// The fault that hit the request.
    pub fault: Option<String>,
}

impl Entry {
    /// Describes a request; its fate is filled in later.
    pub(super) fn of(request: &Request) -> Self {
        let head = &request.head;
        let lines = head.raw.split(|byte| *byte == b'\n').skip(1);
        let headers = lines.map(|line| String::from_utf8_lossy(line).trim_end().to_owned());
        let body = request.body.kept.as_deref().filter(|body| body.len() <= BODY_MAX);
        Self {
            method: head.method.clone(),
            target: String::from_utf8_lossy(&head.target).into_owned(),
            version: head.version.clone(),
            headers: headers.collect(),
            body_length: request.body.length,
            body_sha256: text::hex(&request.body.sha256),
            body_complete: request.body.complete,
            body: body.map(|body| String::from_utf8_lossy(body).into_owned()),
            ..Self::default()
        }
    }

    /// The value of a header line, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.headers.iter().filter_map(|line| line.split_once(':'));
        pairs.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// The latest requests, the latest last.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
}

impl Journal {
    pub(super) fn push(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// What happened how often since the start.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Counters {
    /// Connections accepted.
    pub(super) connections: u64,
    /// Connections open now.
    pub(super) connections_open: u64,
    /// Requests to the REST API.
    pub(super) requests: u64,
    /// Of these, answered without running the method.
    pub(super) refused: u64,
    /// Requests to the OAuth server.
    pub(super) oauth_requests: u64,
    /// Pairs that it issued for a refresh token or a code.
    pub(super) exchanges: u64,
    /// Requests that it refused.
    pub(super) oauth_refused: u64,
    /// Runs per method; commands of a batch count under their own names, too.
    pub(super) executions: BTreeMap<String, u64>,
    #[serde(skip)]
    marked: HashMap<String, u64>,
}

impl Counters {
    /// One more run of a method, under its name and under each mark that the call carries.
    pub(super) fn execute(&mut self, method: &str, marks: &[Option<String>]) {
        *self.executions.entry(method.to_owned()).or_default() += 1;
        for mark in marks.iter().flatten() {
            if self.marked.len() < MARKS_MAX {
                *self.marked.entry(format!("{method} {mark}")).or_default() += 1;
            }
        }
    }

    /// Runs per `method id=<id>` and `method request=<X-Request-Id>`.
    pub(super) fn marked(&self) -> &HashMap<String, u64> {
        &self.marked
    }
}

const ENTRIES_MAX: usize = 1_000;
/// Larger bodies are in the log with length and hash only.
const BODY_MAX: usize = 64 * 1024;
const MARKS_MAX: usize = 1_000_000;
