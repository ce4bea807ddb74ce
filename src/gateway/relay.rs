//! The answer's body on its way to the client: read, written, with no more in memory than the
//! client is behind. A body that the portal cuts off ends as a broken transfer, never as an end.

use std::io::IoSlice;
use std::time::Duration;

use crate::gateway::chunked::Chunked;
use crate::gateway::deadline::Deadline;
use crate::gateway::head::Framing;
use crate::gateway::upstream::Conn;
use crate::gateway::wire::{ClientStream, write_all};

/// How the transfer ended for the connection to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Complete.
    Whole,
    /// The portal broke off; the client has been left with a broken transfer.
    Cut,
    /// The client is gone.
    ClientGone,
}

/// How fast both sides must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace<'d> {
    pub(crate) deadline: &'d Deadline,
    /// Longest silence of the portal.
    pub(crate) portal: Duration,
}

/// Sends `head` and the body that follows it on `conn`.
pub(crate) async fn deliver<S: ClientStream>(
    client: &mut S,
    conn: &mut Conn,
    head: &[u8],
    framing: Framing,
    to: Framing,
    pace: Pace<'_>,
) -> Delivered {
    match framing {
        Framing::None => {
            pace.write(client, &mut [IoSlice::new(head)]).await.unwrap_or_else(|end| end)
        }
        Framing::Length(length) => counted(client, conn, head, length, pace).await,
        Framing::Chunked | Framing::Close => {
            let source = match framing {
                Framing::Chunked => Source::Chunked(Chunked::new()),
                _ => Source::UntilClose,
            };
            streamed(client, conn, head, source, to, pace).await
        }
    }
}

/// A body of known length: the bytes pass as they are.
async fn counted<S: ClientStream>(
    client: &mut S,
    conn: &mut Conn,
    head: &[u8],
    length: u64,
    pace: Pace<'_>,
) -> Delivered {
    let mut left = length;
    let mut head = head;
    if left > LARGE_FROM {
        conn.enlarge();
    }
    loop {
        let here = conn.arrived().len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let body = conn.arrived().get(..here).unwrap_or_default();
        if let Err(end) = pace.write(client, &mut [IoSlice::new(head), IoSlice::new(body)]).await {
            return end;
        }
        head = &[];
        conn.consume(here);
        left -= here as u64;
        if left == 0 {
            return Delivered::Whole;
        }
        if left > LARGE_FROM && conn.inbox.is_none() {
            conn.enlarge();
        }
        if pace.read(conn).await != Came::More {
            return Delivered::Cut;
        }
    }
}

/// What reading from the portal brought.
#[derive(PartialEq, Eq)]
enum Came {
    More,
    /// The portal ended the connection in good order.
    End,
    /// The connection broke, or the portal is silent.
    Failure,
}

enum Source {
    Chunked(Chunked),
    UntilClose,
}

/// A body of unknown length: chunks are taken off and put on again (HTTP/1.0 clients get none).
async fn streamed<S: ClientStream>(
    client: &mut S,
    conn: &mut Conn,
    head: &[u8],
    mut source: Source,
    to: Framing,
    pace: Pace<'_>,
) -> Delivered {
    let mut head = head;
    loop {
        let Ok(batch) = Batch::collect(&mut source, conn.arrived()) else {
            return Delivered::Cut;
        };
        let done = matches!(&source, Source::Chunked(chunked) if chunked.is_done());
        if let Err(end) = write_batch(client, conn, head, &batch, (to, done), pace).await {
            return end;
        }
        if batch.data > 0 || done {
            head = &[];
        }
        conn.consume(batch.taken);
        if done {
            return Delivered::Whole;
        }
        if batch.full {
            continue;
        }
        match pace.read(conn).await {
            Came::More => continue,
            Came::End if matches!(source, Source::UntilClose) => {}
            Came::End | Came::Failure => return Delivered::Cut,
        }
        let end: &[u8] = if to == Framing::Chunked { b"0\r\n\r\n" } else { b"" };
        return pace
            .write(client, &mut [IoSlice::new(head), IoSlice::new(end)])
            .await
            .unwrap_or_else(|end| end);
    }
}

/// The payload in the bytes at hand, as up to [`PIECES`] stretches.
struct Batch {
    pieces: [(usize, usize); PIECES],
    count: usize,
    data: usize,
    taken: usize,
    full: bool,
}

impl Batch {
    fn collect(
        source: &mut Source,
        arrived: &[u8],
    ) -> Result<Self, crate::gateway::chunked::Broken> {
        let mut batch = Self { pieces: [(0, 0); PIECES], count: 0, data: 0, taken: 0, full: false };
        let Source::Chunked(chunked) = source else {
            batch.add(0, arrived.len());
            return Ok(batch);
        };
        while batch.count < PIECES {
            let piece = chunked.next(arrived.get(batch.taken..).unwrap_or_default())?;
            let start = batch.taken + piece.skip;
            batch.taken = start;
            if piece.data == 0 {
                return Ok(batch);
            }
            batch.add(start, piece.data);
        }
        batch.full = true;
        Ok(batch)
    }

    fn add(&mut self, start: usize, length: usize) {
        if let Some(slot) = self.pieces.get_mut(self.count).filter(|_| length > 0) {
            *slot = (start, start + length);
            self.count += 1;
            self.data += length;
            self.taken = start + length;
        }
    }
}

async fn write_batch<S: ClientStream>(
    client: &mut S,
    conn: &Conn,
    head: &[u8],
    batch: &Batch,
    (to, done): (Framing, bool),
    pace: Pace<'_>,
) -> Result<Delivered, Delivered> {
    if batch.data == 0 && !done {
        return Ok(Delivered::Whole);
    }
    let chunks = to == Framing::Chunked;
    let size =
        if chunks && batch.data > 0 { format!("{:x}\r\n", batch.data) } else { String::new() };
    let end: &[u8] = match (chunks, batch.data > 0, done) {
        (true, true, true) => b"\r\n0\r\n\r\n",
        (true, true, false) => b"\r\n",
        (true, false, true) => b"0\r\n\r\n",
        _ => b"",
    };
    let mut slices = [IoSlice::new(&[]); PIECES + 3];
    let arrived = conn.arrived();
    let mut all = slices.iter_mut();
    let pieces = batch.pieces.iter().take(batch.count);
    let pieces = pieces.map(|(start, end)| arrived.get(*start..*end).unwrap_or_default());
    let parts = [head, size.as_bytes()].into_iter().chain(pieces).chain([end]);
    for (slot, part) in all.by_ref().zip(parts) {
        *slot = IoSlice::new(part);
    }
    pace.write(client, &mut slices).await
}

impl Pace<'_> {
    /// Writes to the client, or says that it is gone.
    pub(crate) async fn write<S: ClientStream>(
        &self,
        client: &mut S,
        slices: &mut [IoSlice<'_>],
    ) -> Result<Delivered, Delivered> {
        match self.deadline.limit(CLIENT_STALL, write_all(client, slices)).await {
            Ok(Ok(())) => Ok(Delivered::Whole),
            Ok(Err(_)) | Err(_) => Err(Delivered::ClientGone),
        }
    }

    /// Reads more from the portal.
    async fn read(&self, conn: &mut Conn) -> Came {
        match self.deadline.limit(self.portal, conn.read()).await {
            Ok(Ok(1..)) => Came::More,
            Ok(Ok(0)) => Came::End,
            Ok(Err(_)) | Err(_) => Came::Failure,
        }
    }
}

const PIECES: usize = 16;
/// From this much on, a body is read in larger pieces.
const LARGE_FROM: u64 = 64 * 1024;
/// A client that takes nothing for this long is gone.
const CLIENT_STALL: Duration = Duration::from_secs(60);
