//! Puts an answer onto the wire, in the way that the plan asks for.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use super::answer::{Answer, Payload, reason};
use super::modes::Shape;
use super::plan::Delivery;
use super::text;
use super::wire::{Head, Wire};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// It carries another request.
    Keep,
    /// It is closed in good order: FIN, and what still comes is read.
    Close,
    /// It is closed at once, as an idle one.
    Drop,
    /// It is reset.
    Reset,
}

/// How much of a body is sent, and how fast.
#[derive(Clone, Copy, Debug)]
struct Pace {
    limit: Option<u64>,
    bytes_per_second: Option<u64>,
}

/// Sends an answer; `close` says that it is the last one.
pub(super) async fn deliver(
    wire: &mut Wire,
    head: &Head,
    answer: &Answer,
    delivery: Delivery,
    close: bool,
) -> io::Result<Next> {
    let mut pace = Pace { limit: None, bytes_per_second: None };
    let mut shape = match answer.body {
        Payload::Pattern { chunked: true, .. } => Shape::Chunked,
        _ => Shape::ContentLength,
    };
    let mut after = if close || !head.keeps_alive() { Next::Close } else { Next::Keep };
    match delivery {
        Delivery::Plain => {}
        Delivery::Interim(interim) => wire.write(interim.as_bytes()).await?,
        Delivery::Framed(other) => shape = other,
        Delivery::Cut { after: limit, shape: framing, reset } => {
            pace.limit = Some(limit);
            shape = framing;
            after = if reset { Next::Reset } else { Next::Close };
        }
        Delivery::Drip(rate) => pace.bytes_per_second = Some(rate.max(1)),
        Delivery::Reset => return Ok(Next::Reset),
        Delivery::Close => return Ok(Next::Close),
        Delivery::Hang(time) => {
            wire.wait(time).await;
            return Ok(Next::Close);
        }
        Delivery::Raw(bytes) => {
            wire.write(&bytes).await?;
            return Ok(Next::Close);
        }
    }
    if head.version == "HTTP/1.0" && shape == Shape::Chunked {
        shape = Shape::Close;
    }
    if shape == Shape::Close && after == Next::Keep {
        after = Next::Close;
    }
    let announced = after != Next::Keep && pace.limit.is_none();
    let start = render_head(head, answer, shape, announced);
    send(wire, start, head, answer, (shape, pace)).await?;
    Ok(after)
}

/// Status line and headers.
fn render_head(head: &Head, answer: &Answer, shape: Shape, close: bool) -> Vec<u8> {
    let status = answer.status;
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    let mut line = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            text.push_str(part);
        }
    };
    line("Server", "nginx");
    line("Date", &text::http_date(text::unix_seconds()));
    for (name, value) in &answer.headers {
        line(name, value);
    }
    let length = answer.length();
    if !bodiless(status) {
        match shape {
            Shape::ContentLength => line("Content-Length", &length.to_string()),
            Shape::Chunked => line("Transfer-Encoding", "chunked"),
            Shape::Close => {}
            Shape::DuplicateLength => {
                line("Content-Length", &length.to_string());
                line("Content-Length", &length.to_string());
            }
            Shape::ConflictingLength => {
                line("Content-Length", &length.to_string());
                line("Content-Length", &(length + 1).to_string());
            }
            Shape::LengthAndChunked => {
                line("Content-Length", &length.to_string());
                line("Transfer-Encoding", "chunked");
            }
        }
    }
    if close {
        line("Connection", "close");
    } else if head.version == "HTTP/1.0" {
        line("Connection", "keep-alive");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The head, and the body piece by piece.
async fn send(
    wire: &mut Wire,
    mut buffer: Vec<u8>,
    head: &Head,
    answer: &Answer,
    (shape, pace): (Shape, Pace),
) -> io::Result<()> {
    let chunked = matches!(shape, Shape::Chunked | Shape::LengthAndChunked);
    let total = if head.method == "HEAD" || bodiless(answer.status) { 0 } else { answer.length() };
    let end = total.min(pace.limit.unwrap_or(total));
    let step =
        pace.bytes_per_second.map_or(PIECE, |rate| rate.div_ceil(DRIPS_PER_SECOND).min(PIECE));
    if pace.bytes_per_second.is_some() {
        wire.write(&std::mem::take(&mut buffer)).await?;
    }
    let mut sent = 0;
    while sent < end {
        let size = step.min(end - sent);
        if chunked {
            buffer.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        }
        answer.append_body(sent, size, &mut buffer);
        if chunked {
            buffer.extend_from_slice(b"\r\n");
        }
        sent += size;
        if sent < end {
            wire.write(&buffer).await?;
            buffer.clear();
            if let Some(rate) = pace.bytes_per_second {
                tokio::time::sleep(Duration::from_secs(size) / u32::try_from(rate).unwrap_or(1))
                    .await;
            }
        }
    }
    let whole = pace.limit.is_none() && head.method != "HEAD" && !bodiless(answer.status);
    if chunked && whole {
        buffer.extend_from_slice(b"0\r\n\r\n");
    }
    wire.write(&buffer).await
}

impl Answer {
    /// Bytes of the body.
    fn length(&self) -> u64 {
        match &self.body {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Pattern { size, .. } => *size,
        }
    }

    /// Writes a piece of the body to the end of a buffer.
    fn append_body(&self, from: u64, size: u64, buffer: &mut Vec<u8>) {
        match &self.body {
            Payload::Bytes(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let piece = bytes.get(place(from)..place(from + size));
                buffer.extend_from_slice(piece.unwrap_or_default());
            }
            Payload::Pattern { .. } => {
                let phase = usize::try_from(from % PATTERN).unwrap_or(0);
                let size = usize::try_from(size).unwrap_or(0);
                buffer.extend_from_slice(BLOCK.get(phase..phase + size).unwrap_or_default());
            }
        }
    }
}

/// Statuses whose answers have no body (RFC 9110 section 6.4.1).
fn bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// The body of `sandbox.bytes` counts to this number and begins again.
const PATTERN: u64 = 251;
/// A multiple of the pattern, near 64 KiB.
const PIECE: u64 = PATTERN * 260;
/// The pattern for a piece, wherever in the pattern it begins.
static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| (0..=250).cycle().take(251 * 261).collect());
const DRIPS_PER_SECOND: u64 = 10;
