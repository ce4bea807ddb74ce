//! The request's body, kept so that it can be sent a second time byte for byte.
//!
//! Small bodies are gathered before anything is forwarded: then a replay costs nothing, and a slow
//! sender holds no connection to the portal. Larger ones stream (see `upload.rs`).

use std::io::IoSlice;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Kind, Refusal};
use crate::gateway::buffer::SIZE;
use crate::gateway::chunked::Chunked;
use crate::gateway::head::{Framing, malformed};
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::upload::Upload;
use crate::gateway::wire::{ClientStream, write_all};

/// A request body, ready to be sent as often as needed.
#[derive(Debug)]
pub(crate) enum Body {
    /// There is none.
    None,
    /// The first bytes of the inbox; not copied anywhere.
    Inbox(usize),
    /// The first bytes in the inbox, the rest behind them in memory.
    Memory { inbox: usize, rest: Vec<u8>, _room: Option<OwnedSemaphorePermit> },
    /// Too large for memory.
    Upload(Box<Upload>),
}

/// What bounds a body.
#[derive(Debug)]
pub(crate) struct Bounds<'g> {
    /// `max_body`
    pub(crate) most: u64,
    /// `replay_memory`
    pub(crate) in_memory: usize,
    /// Memory for the bodies of all requests together, in KiB.
    pub(crate) room: &'g Arc<Semaphore>,
    /// Where larger bodies are recorded.
    pub(crate) spool: &'g std::path::Path,
}

impl Body {
    /// Gathers the body, or starts to stream it. The inbox stands at its first byte.
    pub(crate) async fn gather<S: ClientStream>(
        inbound: &mut Inbound<S>,
        framing: Framing,
        bounds: &Bounds<'_>,
        expects_continue: bool,
    ) -> Result<Self, Stop> {
        let length = match framing {
            Framing::None | Framing::Close => return Ok(Self::None),
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        if length.is_some_and(|length| length > bounds.most) {
            return Err(too_large(bounds.most).into());
        }
        if expects_continue && inbound.bytes().is_empty() {
            let mut interim = [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
            write_all(&mut inbound.stream, &mut interim).await.map_err(|_error| Stop::Gone)?;
        }
        match length.map(|length| (length, usize::try_from(length))) {
            Some((_, Ok(length))) if length <= inbound.bytes().len() => Ok(Self::Inbox(length)),
            Some((_, Ok(length))) if length <= bounds.in_memory => match room_for(length, bounds) {
                Some(room) => gather_counted(inbound, length, room).await,
                None => Ok(Upload::start(Framing::Length(length as u64), bounds)),
            },
            Some((length, _)) => Ok(Upload::start(Framing::Length(length), bounds)),
            None => gather_chunked(inbound, bounds).await,
        }
    }

    /// What the gateway itself says in place of a client's body.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self::Memory { inbox: 0, rest: bytes, _room: None }
    }

    /// How the portal is told about its end.
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Self::None => Framing::None,
            Self::Inbox(length) => Framing::Length(*length as u64),
            Self::Memory { inbox, rest, .. } => Framing::Length((inbox + rest.len()) as u64),
            Self::Upload(upload) => upload.framing(),
        }
    }

    /// The bytes of a gathered body.
    pub(crate) fn slices<'a>(&'a self, inbox: &'a [u8]) -> [&'a [u8]; 2] {
        match self {
            Self::None | Self::Upload(_) => [&[], &[]],
            Self::Inbox(length) => [inbox.get(..*length).unwrap_or_default(), &[]],
            Self::Memory { inbox: length, rest, .. } => {
                [inbox.get(..*length).unwrap_or_default(), rest]
            }
        }
    }

    /// How much of the inbox it occupies.
    pub(crate) fn in_inbox(&self) -> usize {
        match self {
            Self::None | Self::Upload(_) => 0,
            Self::Inbox(length) | Self::Memory { inbox: length, .. } => *length,
        }
    }
}

async fn gather_counted<S: ClientStream>(
    inbound: &mut Inbound<S>,
    length: usize,
    room: Option<OwnedSemaphorePermit>,
) -> Result<Body, Stop> {
    let inbox = inbound.bytes().len();
    let missing = length - inbox;
    let mut rest = Vec::with_capacity(missing);
    while rest.len() < missing {
        let most = missing - rest.len();
        inbound.read_into(&mut rest, most).await?;
    }
    Ok(Body::Memory { inbox, rest, _room: room })
}

/// A chunked body is joined in memory, so that the portal gets a length.
async fn gather_chunked<S: ClientStream>(
    inbound: &mut Inbound<S>,
    bounds: &Bounds<'_>,
) -> Result<Body, Stop> {
    let Some(room) = room_for(bounds.in_memory, bounds) else {
        return Ok(Upload::start(Framing::Chunked, bounds));
    };
    let mut chunked = Chunked::new();
    let mut rest = Vec::new();
    loop {
        let piece = chunked.next(inbound.bytes()).map_err(|_broken| broken_chunks())?;
        let data = inbound.bytes().get(piece.skip..piece.skip + piece.data).unwrap_or_default();
        if (rest.len() + data.len()) as u64 > bounds.most {
            return Err(too_large(bounds.most).into());
        }
        rest.extend_from_slice(data);
        inbound.consume(piece.skip + piece.data);
        if rest.len() > bounds.in_memory {
            return Upload::go_on(chunked, rest, bounds).await;
        }
        if chunked.is_done() {
            return Ok(Body::Memory { inbox: 0, rest, _room: room });
        }
        if piece.data == 0 {
            inbound.read_body().await?;
        }
    }
}

/// A share of the memory for bodies; `None` when it is used up. Bodies that fit into a read buffer
/// need no share.
#[expect(clippy::option_option, reason = "no share needed and no share left are different")]
fn room_for(length: usize, bounds: &Bounds<'_>) -> Option<Option<OwnedSemaphorePermit>> {
    if length <= SIZE {
        return Some(None);
    }
    let kib = u32::try_from(length.div_ceil(1024)).ok()?;
    bounds.room.clone().try_acquire_many_owned(kib).ok().map(Some)
}

pub(crate) fn too_large(most: u64) -> Refusal {
    Refusal::new(
        Kind::BodyTooLarge,
        format!("the request body is larger than gateway.max_body ({most} bytes)"),
    )
}

pub(crate) fn broken_chunks() -> Stop {
    Stop::Refuse(malformed("the request body is not valid chunked coding"))
}
