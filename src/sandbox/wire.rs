//! The portal's own HTTP/1.1 reader. It is written by hand, because tests must see the bytes of a
//! request as they were sent, and because hyper refuses request targets that the portal's nginx
//! accepts (`?filter[>ID]=0` unescaped, which curl, PHP and Go send).

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request: its head, and its body as far as it came.
#[derive(Debug)]
pub(super) struct Request {
    /// The head.
    pub(super) head: Head,
    /// The body.
    pub(super) body: Body,
}

/// The head of a request, as received.
#[derive(Debug)]
pub(super) struct Head {
    /// Everything up to and without the blank line.
    pub(super) raw: Vec<u8>,
    /// The verb.
    pub(super) method: String,
    /// The request target, byte for byte.
    pub(super) target: Vec<u8>,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub(super) version: String,
    /// Names and values in order, in the spelling of the sender.
    pub(super) headers: Vec<(String, String)>,
}

/// The body of a request. Up to [`KEPT_MAX`] bytes are kept; a larger one is counted and hashed.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Bytes received.
    pub(super) length: u64,
    /// SHA-256 of the bytes received.
    pub(super) sha256: [u8; 32],
    /// The bytes, unless they were too many.
    pub(super) kept: Option<Vec<u8>>,
    /// Whether the sender got to the end.
    pub(super) complete: bool,
}

/// How a request announces its body (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Framing {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Why no request could be read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The connection ended or was idle for too long.
    Gone,
    /// Not a request: this status is the answer.
    Bad(u16),
}

/// A connection with what was read ahead.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    buffer: BytesMut,
}

impl Head {
    /// The value of a header, whatever the case of its name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a list header such as `Connection` names this element.
    pub(super) fn lists(&self, name: &str, element: &str) -> bool {
        let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.flat_map(|(_, value)| value.split(',')).any(|part| {
            part.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(element)
        })
    }

    /// The target up to the question mark; an absolute form loses its authority.
    pub(super) fn path(&self) -> &[u8] {
        let path = self.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        if path.starts_with(b"/") {
            return path;
        }
        let authority = memchr::memmem::find(path, b"://").and_then(|at| path.get(at + 3..));
        let slash = authority.and_then(|rest| memchr::memchr(b'/', rest).map(|at| (rest, at)));
        slash.and_then(|(rest, at)| rest.get(at..)).unwrap_or(b"/")
    }

    /// The target after the question mark.
    pub(super) fn query(&self) -> &[u8] {
        let mark = memchr::memchr(b'?', &self.target);
        mark.and_then(|at| self.target.get(at + 1..)).unwrap_or_default()
    }

    /// Whether the sender wants to use the connection again.
    pub(super) fn keeps_alive(&self) -> bool {
        match self.version.as_str() {
            "HTTP/1.0" => self.lists("connection", "keep-alive"),
            _ => !self.lists("connection", "close"),
        }
    }

    /// How the body is framed; an ambiguous head is refused with 400, as nginx does.
    pub(super) fn framing(&self) -> Result<Framing, Refusal> {
        let named = |name: &str| {
            let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.trim().to_owned()).collect::<Vec<_>>()
        };
        match (named("transfer-encoding").as_slice(), named("content-length").as_slice()) {
            ([], []) => Ok(Framing::None),
            ([], [length]) => length.parse().map(Framing::Length).map_err(|_bad| Refusal::Bad(400)),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            _ => Err(Refusal::Bad(400)),
        }
    }

    fn parse(raw: Vec<u8>) -> Option<Self> {
        let mut lines = raw.split(|byte| *byte == b'\n');
        let start = lines.next()?;
        let start = start.strip_suffix(b"\r").unwrap_or(start);
        let first = memchr::memchr(b' ', start)?;
        let last = memchr::memrchr(b' ', start)?;
        let method = String::from_utf8(start.get(..first)?.to_vec()).ok()?;
        let version = String::from_utf8_lossy(start.get(last + 1..)?).into_owned();
        let target = start.get(first + 1..last)?.to_vec();
        let usable = matches!(version.as_str(), "HTTP/1.0" | "HTTP/1.1");
        if !usable || target.is_empty() || target.contains(&b' ') {
            return None;
        }
        let mut headers = Vec::new();
        for line in lines {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let colon = memchr::memchr(b':', line)?;
            let name = std::str::from_utf8(line.get(..colon)?).ok()?;
            if name.is_empty() || name.contains([' ', '\t']) {
                return None;
            }
            let value = String::from_utf8_lossy(line.get(colon + 1..)?);
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Some(Self { raw, method, target, version, headers })
    }
}

impl Body {
    fn absent() -> Self {
        Self {
            length: 0,
            sha256: Sha256::digest([]).into(),
            kept: Some(Vec::new()),
            complete: true,
        }
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Reads the next head, waiting for its first byte no longer than `idle`.
    pub(super) async fn read_head(&mut self, idle: Duration) -> Result<Head, Refusal> {
        let mut searched = 0;
        loop {
            while searched == 0 && self.buffer.starts_with(b"\r\n") {
                drop(self.buffer.split_to(2));
            }
            let from = self.buffer.get(searched..).unwrap_or_default();
            if let Some(found) = memchr::memmem::find(from, b"\r\n\r\n") {
                let mut raw = self.buffer.split_to(searched + found + 4);
                raw.truncate(raw.len() - 4);
                return Head::parse(raw.to_vec()).ok_or(Refusal::Bad(400));
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(Refusal::Bad(414));
            }
            searched = self.buffer.len().saturating_sub(3);
            let patience = if self.buffer.is_empty() { idle } else { HEAD_WAIT };
            match tokio::time::timeout(patience, self.fill()).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return Err(Refusal::Gone),
            }
        }
    }

    /// Reads the body that the head announced; a sender that stops early leaves it incomplete.
    pub(super) async fn read_body(&mut self, framing: Framing) -> Result<Body, Refusal> {
        let mut sink = Sink::new();
        let ended = match framing {
            Framing::None => return Ok(Body::absent()),
            Framing::Length(length) => self.copy(length, &mut sink).await,
            Framing::Chunked => self.copy_chunks(&mut sink).await,
        };
        match ended {
            Ok(()) => Ok(sink.finish(true)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Refusal::Bad(400)),
            Err(_gone) => Ok(sink.finish(false)),
        }
    }

    /// Writes all of it at once.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits, but not longer than the other side stays: `false` when it has closed.
    pub(super) async fn wait(&mut self, time: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + time;
        let closed = async {
            if self.buffer.is_empty() {
                return !matches!(self.stream.peek(&mut [0]).await, Ok(read) if read > 0);
            }
            false
        };
        match tokio::time::timeout_at(deadline, closed).await {
            Ok(true) => false,
            Ok(false) => {
                tokio::time::sleep_until(deadline).await;
                true
            }
            Err(_elapsed) => true,
        }
    }

    /// Makes the close of this connection a reset: what was sent and not yet read is lost.
    pub(super) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "no_reset");
        }
    }

    /// Ends the connection in good order: what still comes is read and thrown away for a while.
    pub(super) async fn close(mut self, linger: Duration) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let drained = async {
            self.buffer.clear();
            while self.fill().await.is_ok_and(|read| read > 0) {
                self.buffer.clear();
            }
        };
        if tokio::time::timeout(linger, drained).await.is_err() {
            tracing::debug!("lingered_in_vain");
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_SIZE);
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn copy(&mut self, length: u64, sink: &mut Sink) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            sink.push(&self.buffer.split_to(take));
            left -= take as u64;
        }
        Ok(())
    }

    async fn copy_chunks(&mut self, sink: &mut Sink) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_bad| io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.copy(size, sink).await?;
            if !self.line().await?.is_empty() {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(
                    String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned()
                );
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Collects a body: counts, hashes, and keeps it while it is small.
struct Sink {
    digest: Sha256,
    length: u64,
    kept: Option<Vec<u8>>,
}

impl Sink {
    fn new() -> Self {
        Self { digest: Sha256::new(), length: 0, kept: Some(Vec::new()) }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        if self.length > KEPT_MAX {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
    }

    fn finish(self, complete: bool) -> Body {
        let sha256 = self.digest.finalize().into();
        Body { length: self.length, sha256, kept: self.kept, complete }
    }
}

/// The largest head that is read; nginx's own limit is lower and answers 414 as well.
const HEAD_MAX: usize = 128 * 1024;
/// The largest body that is kept; larger ones are only counted and hashed.
const KEPT_MAX: u64 = 64 * 1024 * 1024;
/// How long a begun head may take.
const HEAD_WAIT: Duration = Duration::from_mins(1);
/// How much is read at once.
const READ_SIZE: usize = 64 * 1024;
