//! The first of several equal requests: what it gets is what all of them get.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Executed, Kind, Refusal};
use crate::gateway::answer::Manner;
use crate::gateway::forward::broken_off;
use crate::gateway::head::Framing;
use crate::gateway::relay::Delivered;
use crate::gateway::reply::Reply;
use crate::gateway::twin::mark::Identity;
use crate::gateway::twin::{Answer, Kept, Outcome, Twins};

/// The duty to say how it ended. Dropping it says so too.
#[derive(Debug)]
pub(crate) struct Lead {
    twins: Arc<Twins>,
    identity: Identity,
    told: Arc<watch::Sender<Outcome>>,
    /// A byte of it may have reached the portal.
    sent: bool,
    ended: bool,
    tape: Tape,
}

/// The body of the answer, while it goes to the client.
#[derive(Debug, Default)]
struct Tape {
    body: Vec<u8>,
    /// Taken from what all answers together may take.
    room: usize,
    /// All of it is here.
    whole: bool,
    /// It cannot be kept.
    lost: bool,
    /// The client has left, and the answer is read for others.
    alone: bool,
}

impl Lead {
    pub(super) fn new(
        twins: Arc<Twins>,
        identity: Identity,
        told: Arc<watch::Sender<Outcome>>,
    ) -> Self {
        Self { twins, identity, told, sent: false, ended: false, tape: Tape::default() }
    }

    /// From here on it may have run.
    pub(crate) fn sent(&mut self) {
        self.sent = true;
    }

    /// The body that comes is so long. What is too long is not begun.
    pub(crate) fn expect(&mut self, length: u64) {
        match usize::try_from(length) {
            Ok(length) if length <= BODY_MAX => self.reserve(length),
            _ => self.lose(),
        }
    }

    /// Records what the client gets next.
    pub(crate) fn record(&mut self, bytes: &[u8]) {
        let length = self.tape.body.len() + bytes.len();
        if self.tape.lost {
            return;
        }
        if length > BODY_MAX {
            return self.lose();
        }
        if length > self.tape.room {
            self.reserve(length.next_power_of_two().max(LEAST));
        }
        if !self.tape.lost {
            self.tape.body.extend_from_slice(bytes);
        }
    }

    /// The client has left; whether the answer is read on, for others.
    pub(crate) fn client_gone(&mut self) -> Result<(), Delivered> {
        self.tape.alone = true;
        if self.tape.lost { Err(Delivered::ClientGone) } else { Ok(()) }
    }

    /// The same, once it has left; nothing while it is there.
    pub(crate) fn without_client(&mut self) -> Option<Result<(), Delivered>> {
        self.tape.alone.then(|| self.client_gone())
    }

    /// The answer has come to its end.
    pub(crate) fn whole(&mut self) -> Delivered {
        self.tape.whole = true;
        if self.tape.alone { Delivered::ClientGone } else { Delivered::Whole }
    }

    /// The portal's answer was delivered; `fields` bytes of its head are the portal's own.
    pub(crate) fn answered(mut self, reply: &Reply, fields: usize, mut manner: Manner) {
        let tape = &mut self.tape;
        let kept = if tape.lost {
            Kept::Refusal(not_kept())
        } else if tape.whole {
            let mut body = std::mem::take(&mut tape.body);
            body.shrink_to_fit();
            let stated = match reply.framing {
                Framing::None => reply.framing_for(&mut manner).stated,
                _ => Framing::Length(body.len() as u64),
            };
            let fields = reply.head.get(..fields).unwrap_or_default().to_vec();
            Kept::Answer(Answer { status: reply.status, fields, stated, body })
        } else {
            Kept::Refusal(broken_off())
        };
        self.end(Some(kept));
    }

    /// The gateway answers by itself.
    pub(crate) fn refused(mut self, refusal: &Refusal) {
        let kept = (refusal.executed == Executed::Unknown).then(|| refusal.clone());
        self.end(kept.map(Kept::Refusal));
    }

    /// The portal has answered that it did not run the call.
    pub(crate) fn rejected(mut self) {
        self.end(None);
    }

    fn reserve(&mut self, room: usize) {
        let tape = &mut self.tape;
        if !self.twins.take_room(room - tape.room) {
            return self.lose();
        }
        tape.room = room;
        tape.body.reserve_exact(room - tape.body.len());
    }

    fn lose(&mut self) {
        self.tape.lost = true;
        self.tape.body = Vec::new();
        self.twins.give_room_back(std::mem::take(&mut self.tape.room));
    }

    fn end(&mut self, kept: Option<Kept>) {
        self.ended = true;
        let room = self.tape.room;
        // Known to those who come before those who wait are told, so that nobody runs in between.
        self.told.send_replace(if let Some(kept) = kept {
            let kept = Arc::new(kept);
            self.twins.keep(self.identity, kept.clone(), room);
            Outcome::Ended(kept)
        } else {
            self.twins.forget(&self.identity, room);
            Outcome::NotRun
        });
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.ended {
            self.end(self.sent.then(|| Kept::Refusal(broken_off())));
        }
    }
}

fn not_kept() -> Refusal {
    Refusal::new(
        Kind::PortalBroken,
        "this request has run already, and its answer is too large to be given again: ask without \
         its id if it may run twice",
    )
}

/// The largest answer that is kept.
const BODY_MAX: usize = 1024 * 1024;
/// The least room that is taken for an answer of unknown length.
const LEAST: usize = 1024;
