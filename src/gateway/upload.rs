//! A body too large for memory: it streams to the portal and into an unlinked temporary file at
//! once, so that it can be sent again although the client sends it only once.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::Poll;

use crate::gateway::body::{Body, Bounds, broken_chunks, too_large};
use crate::gateway::buffer::{Buffer, poll_fill_slot};
use crate::gateway::chunked::Chunked;
use crate::gateway::deadline::Elapsed;
use crate::gateway::head::Framing;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::parameter::Finder;
use crate::gateway::relay::Pace;
use crate::gateway::upstream::{Conn, Sent};
use crate::gateway::wire::ClientStream;

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Source,
    file: Arc<File>,
    /// Bytes in the file.
    recorded: u64,
    /// The file could not take everything: this body can be sent only once.
    incomplete: bool,
    most: u64,
}

#[derive(Debug)]
enum Source {
    Length { total: u64, left: u64 },
    Chunked(Chunked),
}

/// How sending a body ended.
#[derive(Debug)]
pub(crate) enum Sending {
    /// The portal has it all, or answered before that.
    Done(Sent),
    /// The connection to the portal failed.
    Broke,
    /// The portal takes nothing more.
    Stalled,
    /// The client is the reason.
    Stop(Stop),
}

impl Upload {
    /// Starts with nothing read.
    pub(crate) fn start(framing: Framing, bounds: &Bounds<'_>) -> Body {
        let source = match framing {
            Framing::Length(total) => Source::Length { total, left: total },
            _ => Source::Chunked(Chunked::new()),
        };
        Body::Upload(Box::new(Self::new(source, bounds)))
    }

    /// Goes on where gathering in memory became too much.
    pub(crate) async fn go_on(
        chunked: Chunked,
        gathered: Vec<u8>,
        bounds: &Bounds<'_>,
    ) -> Result<Body, Stop> {
        let mut upload = Self::new(Source::Chunked(chunked), bounds);
        let file = upload.file.clone();
        let length = gathered.len() as u64;
        let written = tokio::task::spawn_blocking(move || file.write_all_at(&gathered, 0)).await;
        upload.recorded = length;
        match written {
            Ok(Ok(())) => Ok(Body::Upload(Box::new(upload))),
            // What was gathered is nowhere else now, so this request cannot go on.
            _ => Err(Stop::Refuse(no_room())),
        }
    }

    fn new(source: Source, bounds: &Bounds<'_>) -> Self {
        let made = tempfile::tempfile_in(bounds.spool).or_else(|error| {
            tracing::error!(%error, "no temporary file in the state directory; trying the system's");
            tempfile::tempfile()
        });
        let incomplete = made.is_err();
        let file = made.or_else(|_error| File::open("/dev/null"));
        Self {
            source,
            #[expect(clippy::expect_used, reason = "/dev/null can be opened on every unix")]
            file: Arc::new(file.expect("/dev/null opens")),
            recorded: 0,
            incomplete,
            most: bounds.most,
        }
    }

    /// How the portal is told about its end.
    pub(crate) fn framing(&self) -> Framing {
        match &self.source {
            Source::Length { total, .. } => Framing::Length(*total),
            Source::Chunked(_) => Framing::Chunked,
        }
    }

    /// Whether it can be sent (again) from the start.
    pub(crate) fn is_replayable(&self) -> bool {
        !self.incomplete
    }

    /// Sends what is recorded and then what is still coming.
    pub(crate) async fn send<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        conn: &mut Conn,
        pace: Pace<'_>,
    ) -> Sending {
        match self.send_recorded(conn, pace).await {
            Sending::Done(Sent::All) => {}
            other => return other,
        }
        loop {
            let piece = match self.next_piece(inbound, Some(&mut *conn)).await {
                Ok(Next::Piece(piece)) => piece,
                Ok(Next::End) => break,
                Ok(Next::Answered) => return Sending::Done(Sent::Answered),
                Err(stop) => return Sending::Stop(stop),
            };
            if let Err(stop) = self.record(inbound, piece).await {
                return Sending::Stop(stop);
            }
            let data = inbound.bytes().get(..piece).unwrap_or_default();
            let sent = send_piece(conn, data, self.framing(), pace).await;
            self.take(inbound, piece);
            match sent {
                Sending::Done(Sent::All) => {}
                other => return other,
            }
        }
        if self.framing() == Framing::Chunked {
            return timed(pace, conn.send(&mut [IoSlice::new(b"0\r\n\r\n")])).await;
        }
        Sending::Done(Sent::All)
    }

    /// Reads the rest of the body from the client without sending it, so that it can be replayed.
    pub(crate) async fn record_rest<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
    ) -> Result<(), Stop> {
        while let Next::Piece(piece) = self.next_piece(inbound, None).await? {
            self.record(inbound, piece).await?;
            self.take(inbound, piece);
        }
        Ok(())
    }

    /// Whether the client has sent everything.
    pub(crate) fn is_read(&self) -> bool {
        match &self.source {
            Source::Length { left, .. } => *left == 0,
            Source::Chunked(chunked) => chunked.is_done(),
        }
    }

    /// Brings payload to the front of the inbox and says how much, while keeping an eye on the
    /// portal: it may refuse before it has read everything.
    async fn next_piece<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        mut conn: Option<&mut Conn>,
    ) -> Result<Next, Stop> {
        loop {
            if let Some(next) = self.at_hand(inbound)? {
                return Ok(next);
            }
            if inbound.inbox.is_none() {
                inbound.inbox = Some(Buffer::lend_large());
            }
            let Inbound { stream, inbox, deadline, .. } = &mut *inbound;
            let reading = poll_fn(|cx| {
                if let Some(conn) = conn.as_deref_mut()
                    && conn.poll_answer(cx).is_ready()
                {
                    return Poll::Ready(Ok(true));
                }
                poll_fill_slot(cx, stream, inbox).map(|read| match read {
                    Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    Ok(_) => Ok(false),
                    Err(error) => Err(error),
                })
            });
            match deadline.limit(BODY_STALL, reading).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => return Ok(Next::Answered),
                Ok(Err(_)) => return Err(Stop::Gone),
                Err(Elapsed) => return Err(Stop::Refuse(stalled())),
            }
        }
    }

    fn at_hand<S: ClientStream>(&mut self, inbound: &mut Inbound<S>) -> Result<Option<Next>, Stop> {
        match &mut self.source {
            Source::Length { left: 0, .. } => Ok(Some(Next::End)),
            Source::Length { left, .. } => {
                let here = (inbound.bytes().len() as u64).min(*left);
                Ok((here > 0).then_some(Next::Piece(usize::try_from(here).unwrap_or(usize::MAX))))
            }
            Source::Chunked(chunked) => {
                if chunked.is_done() {
                    return Ok(Some(Next::End));
                }
                let piece = chunked.next(inbound.bytes()).map_err(|_broken| broken_chunks())?;
                inbound.consume(piece.skip);
                if self.recorded + piece.data as u64 > self.most {
                    return Err(too_large(self.most).into());
                }
                Ok(match (piece.data, chunked.is_done()) {
                    (0, true) => Some(Next::End),
                    (0, false) => None,
                    (data, _) => Some(Next::Piece(data)),
                })
            }
        }
    }

    /// Writes the piece at the front of the inbox to the file, off the worker's thread.
    async fn record<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        piece: usize,
    ) -> Result<(), Stop> {
        let at = self.recorded;
        self.recorded += piece as u64;
        if self.incomplete {
            return Ok(());
        }
        let Some(inbox) = inbound.inbox.take() else {
            return Err(Stop::Gone);
        };
        let file = self.file.clone();
        let job = move || {
            let data = inbox.filled().get(..piece).unwrap_or_default();
            let result = file.write_all_at(data, at);
            (inbox, result)
        };
        match tokio::task::spawn_blocking(job).await {
            Ok((inbox, result)) => {
                inbound.inbox = Some(inbox);
                if let Err(error) = result {
                    tracing::error!(%error, "a large body cannot be recorded; it can be sent once");
                    self.incomplete = true;
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "recording a body was cut short");
                Err(Stop::Gone)
            }
        }
    }

    /// Has `finder` read the first `within` bytes, which are recorded; true if there are no more.
    pub(crate) async fn look<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        finder: &mut Finder,
        within: usize,
    ) -> Result<bool, Stop> {
        let mut left = within;
        let mut read = |bytes: &[u8]| {
            finder.read(bytes.get(..bytes.len().min(left)).unwrap_or_default());
            left = left.saturating_sub(bytes.len());
        };
        if self.recorded > 0 {
            let file = self.file.clone();
            let mut gathered = vec![0; usize::try_from(self.recorded).unwrap_or_default()];
            let job = move || file.read_exact_at(&mut gathered, 0).map(|()| gathered);
            match tokio::task::spawn_blocking(job).await {
                Ok(Ok(gathered)) => read(&gathered),
                _ => return Err(Stop::Refuse(no_room())),
            }
        }
        while self.recorded <= within as u64 {
            let Next::Piece(piece) = self.next_piece(inbound, None).await? else {
                return Ok(true);
            };
            read(inbound.bytes().get(..piece).unwrap_or_default());
            self.record(inbound, piece).await?;
            self.take(inbound, piece);
            if self.incomplete {
                return Err(Stop::Refuse(no_room()));
            }
        }
        Ok(false)
    }

    /// Blanks what `finder` finds in the recorded body, in place; true if there was any.
    pub(crate) async fn edit(&mut self, mut finder: Finder) -> Result<bool, Stop> {
        let (file, recorded) = (self.file.clone(), self.recorded);
        let job = move || -> io::Result<bool> {
            let mut block = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
            let mut at = 0;
            while at < recorded {
                let length = usize::try_from((recorded - at).min(BLOCK)).unwrap_or_default();
                let part = block.get_mut(..length).unwrap_or_default();
                file.read_exact_at(part, at)?;
                finder.read(part);
                at += length as u64;
            }
            let found = finder.finish();
            block.fill(finder.filler());
            for range in found.iter().flat_map(|found| &found.ranges) {
                for start in range.clone().step_by(block.len()) {
                    let length = (range.end - start).min(block.len());
                    let part = block.get(..length).unwrap_or_default();
                    file.write_all_at(part, start as u64)?;
                }
            }
            Ok(!found.is_empty())
        };
        match tokio::task::spawn_blocking(job).await {
            Ok(Ok(hidden)) => Ok(hidden),
            _ => Err(Stop::Refuse(no_room())),
        }
    }

    fn take<S: ClientStream>(&mut self, inbound: &mut Inbound<S>, piece: usize) {
        inbound.consume(piece);
        if let Source::Length { left, .. } = &mut self.source {
            *left -= piece as u64;
        }
    }

    async fn send_recorded(&self, conn: &mut Conn, pace: Pace<'_>) -> Sending {
        let mut at = 0;
        let mut block = Vec::new();
        while at < self.recorded {
            let length = (self.recorded - at).min(BLOCK);
            let file = self.file.clone();
            block.resize(usize::try_from(length).unwrap_or_default(), 0);
            let read = tokio::task::spawn_blocking(move || {
                let result = file.read_exact_at(&mut block, at);
                (block, result)
            });
            match read.await {
                Ok((read, Ok(()))) => block = read,
                Ok((_, Err(_))) | Err(_) => return Sending::Broke,
            }
            match send_piece(conn, &block, self.framing(), pace).await {
                Sending::Done(Sent::All) => at += length,
                other => return other,
            }
        }
        Sending::Done(Sent::All)
    }
}

enum Next {
    Piece(usize),
    End,
    Answered,
}

async fn send_piece(conn: &mut Conn, data: &[u8], framing: Framing, pace: Pace<'_>) -> Sending {
    if framing != Framing::Chunked {
        return timed(pace, conn.send(&mut [IoSlice::new(data)])).await;
    }
    let size = format!("{:x}\r\n", data.len());
    let mut slices = [IoSlice::new(size.as_bytes()), IoSlice::new(data), IoSlice::new(b"\r\n")];
    timed(pace, conn.send(&mut slices)).await
}

async fn timed(pace: Pace<'_>, sending: impl Future<Output = io::Result<Sent>>) -> Sending {
    match pace.deadline.limit(pace.portal, sending).await {
        Ok(Ok(sent)) => Sending::Done(sent),
        Ok(Err(_)) => Sending::Broke,
        Err(Elapsed) => Sending::Stalled,
    }
}

fn stalled() -> crate::error::Refusal {
    crate::error::Refusal::new(
        crate::error::Kind::ClientTimeout,
        "the request body stopped arriving",
    )
}

fn no_room() -> crate::error::Refusal {
    crate::error::Refusal::new(
        crate::error::Kind::BodyTooLarge,
        "a large chunked body cannot be recorded: is the disk of the state directory full?",
    )
}

/// Longest pause inside a request body.
const BODY_STALL: std::time::Duration = std::time::Duration::from_secs(30);
/// How much is read back from the file at a time.
const BLOCK: u64 = 256 * 1024;
