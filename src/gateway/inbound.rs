//! The client's side of a connection: what it has sent and nobody has taken.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::AllowUids;
use crate::error::{Kind, Refusal};
use crate::gateway::buffer::{Buffer, poll_fill_slot};
use crate::gateway::deadline::Deadline;
use crate::gateway::guard::UnderWay;
use crate::gateway::head::Scan;
use crate::gateway::peer::Asked;
use crate::gateway::record::Note;
use crate::gateway::wire::ClientStream;
use crate::metrics::Tally;

/// A client's connection with its time limit and its unread bytes.
#[derive(Debug)]
pub(crate) struct Inbound<S> {
    pub(crate) stream: S,
    pub(crate) inbox: Option<Buffer>,
    pub(crate) deadline: Deadline,
    /// The request that is being served.
    pub(crate) under_way: UnderWay,
    /// Who holds the other end, once that was asked.
    pub(crate) peer: Option<Asked>,
    /// What is noted of the request.
    pub(crate) note: Note,
    /// What the worker counts.
    pub(crate) tally: Arc<Tally>,
}

/// Why a request cannot go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client gets this answer, and the connection ends.
    Refuse(Refusal),
    /// There is nobody to answer.
    Gone,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl<S: ClientStream> Inbound<S> {
    /// Waits for the client's first bytes, which stay in the inbox. `None` as for
    /// [`Inbound::next_head`].
    pub(crate) async fn first_byte(&mut self) -> Option<u8> {
        let read = poll_fn(|cx| poll_fill_slot(cx, &mut self.stream, &mut self.inbox));
        match self.deadline.limit_or_drain(IDLE_MAX, read).await {
            Ok(Ok(1..)) => self.bytes().first().copied(),
            _ => None,
        }
    }

    /// Waits for the next request; the length of its head. `None` when the client ended the
    /// connection, was idle for too long, or the gateway is draining.
    pub(crate) async fn next_head(&mut self) -> Result<Option<usize>, Refusal> {
        let mut scan = Scan::default();
        if self.bytes().is_empty() {
            let read = poll_fn(|cx| poll_fill_slot(cx, &mut self.stream, &mut self.inbox));
            match self.deadline.limit_or_drain(IDLE_MAX, read).await {
                Ok(Ok(1..)) => {}
                _ => return Ok(None),
            }
        }
        if let Some(length) = scan.end_of_head(self.bytes())? {
            return Ok(Some(length));
        }
        self.rest_of_head(scan).await
    }

    /// One limit for the whole head, however slowly it drips in.
    async fn rest_of_head(&mut self, mut scan: Scan) -> Result<Option<usize>, Refusal> {
        let (stream, inbox) = (&mut self.stream, &mut self.inbox);
        let reading = async {
            loop {
                if inbox.as_ref().is_some_and(Buffer::is_full) {
                    return Err(scan.too_large());
                }
                match poll_fn(|cx| poll_fill_slot(cx, stream, inbox)).await {
                    Ok(1..) => {}
                    _ => return Ok(None),
                }
                let bytes = inbox.as_ref().map(Buffer::filled).unwrap_or_default();
                if let Some(length) = scan.end_of_head(bytes)? {
                    return Ok(Some(length));
                }
            }
        };
        self.deadline.limit(HEAD_MAX, reading).await.unwrap_or_else(|_elapsed| {
            Err(Refusal::new(Kind::ClientTimeout, "the request head did not arrive in 15 s"))
        })
    }

    /// Who holds the other end. Asked at most once, and of TCP only where it decides anything.
    pub(crate) fn peer(&mut self, allowed: &AllowUids) -> Option<Asked> {
        if self.peer.is_none() && (S::LOCAL_SOCKET || *allowed != AllowUids::Any) {
            self.peer = Some(self.stream.uid());
        }
        self.peer
    }

    /// What has arrived.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.inbox.as_ref().map(Buffer::filled).unwrap_or_default()
    }

    /// What has arrived, to be changed in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.inbox.as_mut().map(Buffer::filled_mut).unwrap_or_default()
    }

    /// Takes `count` bytes off the front.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(inbox) = &mut self.inbox {
            inbox.consume(count);
            if inbox.is_empty() {
                self.inbox = None;
            }
        }
    }

    /// Reads more of a body.
    pub(crate) async fn read_body(&mut self) -> Result<(), Stop> {
        let read = poll_fn(|cx| poll_fill_slot(cx, &mut self.stream, &mut self.inbox));
        match self.deadline.limit(BODY_STALL, read).await {
            Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0) | Err(_)) => Err(Stop::Gone),
            Err(_elapsed) => Err(stalled()),
        }
    }

    /// Reads more of a body straight to the end of `rest`, which has room for it.
    pub(crate) async fn read_into(&mut self, rest: &mut Vec<u8>, most: usize) -> Result<(), Stop> {
        use tokio::io::AsyncReadExt;
        let mut limited = (&mut self.stream).take(most as u64);
        let read: Result<io::Result<usize>, _> =
            self.deadline.limit(BODY_STALL, limited.read_buf(rest)).await;
        match read {
            Ok(Ok(1..)) => Ok(()),
            Ok(Ok(0) | Err(_)) => Err(Stop::Gone),
            Err(_elapsed) => Err(stalled()),
        }
    }

    /// Ends a connection whose request was not read to its end: what is still coming is read and
    /// thrown away for a moment, because closing on unread bytes would reset the connection and
    /// the client might never see its answer.
    pub(crate) async fn close_gently(&mut self) {
        use tokio::io::AsyncWriteExt;
        let mut scrap = Some(Buffer::lend());
        let Self { stream, deadline, .. } = self;
        let reading = async {
            if stream.shutdown().await.is_err() {
                return;
            }
            let mut read_total = 0;
            while read_total < LINGER_BYTES {
                match poll_fn(|cx| poll_fill_slot(cx, stream, &mut scrap)).await {
                    Ok(count @ 1..) => read_total += count,
                    _ => return,
                }
                scrap = None;
            }
        };
        if deadline.limit(LINGER, reading).await.is_err() {
            tracing::trace!("client keeps sending after its answer");
        }
    }
}

fn stalled() -> Stop {
    Stop::Refuse(Refusal::new(Kind::ClientTimeout, "the request body stopped arriving"))
}

/// Above the 60 s of common client pools, so that they close first.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// For a head, and for a handshake before it.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(15);
/// Longest pause inside a request body.
const BODY_STALL: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;
