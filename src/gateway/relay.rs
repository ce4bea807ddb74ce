//! The answer's body on its way to the client: read, written, with no more in memory than the
//! client is behind. A body that the portal cuts off ends as a broken transfer, never as an end.

use std::io::IoSlice;
use std::time::Duration;

use crate::failpoint;
use crate::gateway::chunked::{Broken, Chunked};
use crate::gateway::deadline::Deadline;
use crate::gateway::head::Framing;
use crate::gateway::mask::Mask;
use crate::gateway::twin::Lead;
use crate::gateway::upstream::Conn;
use crate::gateway::wire::{ClientStream, write_all};
use crate::secret::Secret;

/// How the transfer ended for the connection to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Complete.
    Whole,
    /// The portal broke off; the client has been left with a broken transfer.
    Cut,
    /// The portal broke off before anything was written: the client can still be told.
    Nothing,
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

/// An answer on its way from a portal's connection to a client's.
#[derive(Debug)]
pub(crate) struct Relay<'r, S> {
    pub(crate) client: &'r mut S,
    pub(crate) conn: &'r mut Conn,
    /// Written with the first bytes of the body.
    pub(crate) head: &'r [u8],
    /// How the client is told about the end of the body.
    pub(crate) to: Framing,
    pub(crate) pace: Pace<'r>,
    /// What must not be in the body, where it may be.
    pub(crate) hidden: Option<&'r Secret>,
    /// Who records it for those who repeat the request.
    pub(crate) lead: Option<&'r mut Lead>,
}

impl<S: ClientStream> Relay<'_, S> {
    /// Sends the head and the body that follows it on the portal's connection.
    pub(crate) async fn deliver(mut self, framing: Framing) -> Delivered {
        if let (Some(lead), Framing::Length(length)) = (self.lead.as_deref_mut(), framing) {
            lead.expect(length);
        }
        let ended = match framing {
            Framing::None => self.write(0).await,
            _ if self.hidden.is_some() => Box::pin(self.masked(framing)).await,
            Framing::Length(length) => self.counted(length).await,
            Framing::Chunked => self.streamed(Source::Chunked(Chunked::new())).await,
            Framing::Close => self.streamed(Source::UntilClose).await,
        };
        match ended {
            Ok(()) => self.lead.map_or(Delivered::Whole, Lead::whole),
            Err(Delivered::Cut) if !self.head.is_empty() => Delivered::Nothing,
            Err(end) => end,
        }
    }

    /// A body of known length: the bytes pass as they are.
    async fn counted(&mut self, length: u64) -> Result<(), Delivered> {
        let mut left = length;
        if left > LARGE_FROM {
            self.conn.enlarge();
        }
        loop {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let here = self.conn.arrived().len().min(most);
            self.write(here).await?;
            self.conn.consume(here);
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            if left > LARGE_FROM && self.conn.inbox.is_none() {
                self.conn.enlarge();
            }
            self.read().await?;
        }
    }

    /// A body of unknown length: chunks are taken off and put on again (HTTP/1.0 clients get none).
    async fn streamed(&mut self, mut source: Source) -> Result<(), Delivered> {
        loop {
            let arrived = self.conn.arrived();
            let batch = Batch::collect(&mut source, arrived).map_err(|_broken| Delivered::Cut)?;
            let done = source.is_done();
            self.write_batch(&batch, done).await?;
            self.conn.consume(batch.taken);
            if done {
                return Ok(());
            }
            if batch.full {
                continue;
            }
            match self.read().await {
                Ok(()) => {}
                Err(_) if matches!(source, Source::UntilClose) && self.conn.ended_cleanly() => {
                    return self.write_batch(&Batch::empty(), true).await;
                }
                Err(cut) => return Err(cut),
            }
        }
    }

    /// A body in which something has to be hidden. It is copied, which errors and pages may be.
    async fn masked(&mut self, framing: Framing) -> Result<(), Delivered> {
        let Some(secret) = self.hidden else { return Err(Delivered::Cut) };
        let mut source = match framing {
            Framing::None => return self.write(0).await,
            Framing::Length(length) => Source::Counted(length),
            Framing::Chunked => Source::Chunked(Chunked::new()),
            Framing::Close => Source::UntilClose,
        };
        let mut mask = Mask::new(secret);
        loop {
            let arrived = self.conn.arrived();
            let batch = Batch::collect(&mut source, arrived).map_err(|_broken| Delivered::Cut)?;
            for (start, end) in batch.pieces.iter().take(batch.count) {
                mask.push(arrived.get(*start..*end).unwrap_or_default());
            }
            self.conn.consume(batch.taken);
            if source.is_done() {
                return self.write_joined(&mask.rest(), true).await;
            }
            self.write_joined(&mask.ready(), false).await?;
            if batch.full {
                continue;
            }
            match self.read().await {
                Ok(()) => {}
                Err(_) if matches!(source, Source::UntilClose) && self.conn.ended_cleanly() => {
                    return self.write_joined(&mask.rest(), true).await;
                }
                Err(cut) => return Err(cut),
            }
        }
    }

    async fn write_joined(&mut self, data: &[u8], done: bool) -> Result<(), Delivered> {
        if data.is_empty() && !done {
            return Ok(());
        }
        if let Some(lead) = &mut self.lead {
            lead.record(data);
            if let Some(goes_on) = lead.without_client() {
                return goes_on;
            }
        }
        let (size, end) = chunk(self.to, data.len(), done);
        let head = std::mem::take(&mut self.head);
        let mut slices = [head, size.as_bytes(), data, end].map(IoSlice::new);
        let written = self.pace.write(self.client, &mut slices).await;
        self.written(written)
    }

    async fn write_batch(&mut self, batch: &Batch, done: bool) -> Result<(), Delivered> {
        if batch.data == 0 && !done {
            return Ok(());
        }
        let (size, end) = chunk(self.to, batch.data, done);
        let mut slices = [IoSlice::new(&[]); PIECES + 3];
        let arrived = self.conn.arrived();
        let pieces = batch.pieces.iter().take(batch.count);
        let pieces = pieces.map(|(start, end)| arrived.get(*start..*end).unwrap_or_default());
        if let Some(lead) = &mut self.lead {
            for piece in pieces.clone() {
                lead.record(piece);
            }
            if let Some(goes_on) = lead.without_client() {
                return goes_on;
            }
        }
        let parts = [self.head, size.as_bytes()].into_iter().chain(pieces).chain([end]);
        for (slot, part) in slices.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
        }
        self.head = &[];
        let written = self.pace.write(self.client, &mut slices).await;
        self.written(written)
    }

    /// Writes the head, if it is still to be written, and the first `here` bytes of what has arrived.
    async fn write(&mut self, here: usize) -> Result<(), Delivered> {
        let body = self.conn.arrived().get(..here).unwrap_or_default();
        if let Some(lead) = &mut self.lead {
            lead.record(body);
            if let Some(goes_on) = lead.without_client() {
                return goes_on;
            }
        }
        let mut slices = [IoSlice::new(self.head), IoSlice::new(body)];
        self.head = &[];
        let written = self.pace.write(self.client, &mut slices).await;
        self.written(written)
    }

    /// A client that has left is nobody's end where others may ask for the same.
    fn written(&mut self, written: Result<(), Delivered>) -> Result<(), Delivered> {
        match (written, &mut self.lead) {
            (Err(Delivered::ClientGone), Some(lead)) => lead.client_gone(),
            (written, _) => written,
        }
    }

    async fn read(&mut self) -> Result<(), Delivered> {
        match self.pace.deadline.limit(self.pace.portal, self.conn.read()).await {
            Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0) | Err(_)) | Err(_) => Err(Delivered::Cut),
        }
    }
}

/// What stands around `data` bytes, where the client gets chunks.
fn chunk(to: Framing, data: usize, done: bool) -> (String, &'static [u8]) {
    let chunks = to == Framing::Chunked;
    let size = if chunks && data > 0 { format!("{data:x}\r\n") } else { String::new() };
    let end: &[u8] = match (chunks, data > 0, done) {
        (true, true, true) => b"\r\n0\r\n\r\n",
        (true, true, false) => b"\r\n",
        (true, false, true) => b"0\r\n\r\n",
        _ => b"",
    };
    (size, end)
}

enum Source {
    /// So many bytes are still to come.
    Counted(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Source {
    /// Whether all of it has been taken.
    fn is_done(&self) -> bool {
        match self {
            Self::Counted(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
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
    fn empty() -> Self {
        Self { pieces: [(0, 0); PIECES], count: 0, data: 0, taken: 0, full: false }
    }

    fn collect(source: &mut Source, arrived: &[u8]) -> Result<Self, Broken> {
        let mut batch = Self::empty();
        let chunked = match source {
            Source::Chunked(chunked) => chunked,
            Source::Counted(left) => {
                let here = arrived.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                batch.add(0, here);
                return Ok(batch);
            }
            Source::UntilClose => {
                batch.add(0, arrived.len());
                return Ok(batch);
            }
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

impl Pace<'_> {
    /// Writes to the client, or says that it is gone.
    pub(crate) async fn write<S: ClientStream>(
        &self,
        client: &mut S,
        slices: &mut [IoSlice<'_>],
    ) -> Result<(), Delivered> {
        let written = self.deadline.limit(CLIENT_STALL, write_all(client, slices)).await;
        failpoint::hit("relay");
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Delivered::ClientGone),
        }
    }
}

const PIECES: usize = 16;
/// From this much on, a body is read in larger pieces.
const LARGE_FROM: u64 = 64 * 1024;
/// A client that takes nothing for this long is gone.
const CLIENT_STALL: Duration = Duration::from_mins(1);
