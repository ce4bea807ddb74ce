//! A request that is repeated while, or just after, it runs: the repetition gets the first one's
//! answer, and the portal hears of it once.
//!
//! Clients that give up waiting send a call again, and the first may have been a write. What makes
//! two requests the same is in `mark.rs`: the id that the client gave both, and all that decides
//! what they ask for. Without an id nothing of this happens.
//!
//! What is known of an id, and how it changes:
//!
//! ```text
//!   nothing --the first comes--> waiting --a byte may have left--> sent --> ended --10 s--> nothing
//!      ^                            |                               |        answer or refusal
//!      +---- the call has not run --+-------------------------------+
//! ```
//!
//! * **waiting, sent**: those that come now wait for the first one. Its client may hang up: the work
//!   goes on, and the portal's answer is read to its end (`relay.rs`).
//! * **ended**: what the first one got is given to all who waited and who come within 10 s: an
//!   answer of the portal, or a refusal that does not know whether the call has run. An answer that
//!   cannot be kept (too large, broken off, no memory) becomes such a refusal, because running the
//!   call again is the one thing that must not happen.
//! * **nothing**, from either of the first two: it was refused before it ran, by the gateway or by
//!   the portal. Those who wait ask anew, so that one of them is the next first.
//!
//! A first one that is dropped (a panic, the end of the process) has not run in `waiting` and may
//! have in `sent`. When there is no room for another id, its request runs as if it had none.

mod join;
mod lead;
mod mark;
mod shelf;
#[cfg(test)]
mod tests;

pub(crate) use lead::Lead;
pub(crate) use mark::Mark;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Refusal;
use crate::gateway::head::Framing;
use crate::gateway::twin::mark::Identity;
use crate::gateway::twin::shelf::{Found, Shelf};

/// The requests with an id that run or have just ended, of all workers: a repetition comes by
/// another connection.
#[derive(Debug, Default)]
pub(crate) struct Twins(Mutex<Shelf>);

/// What becomes of a request that carries an id.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It is the first, and runs.
    First(Box<Lead>),
    /// It gets what the first one gets.
    Wait(watch::Receiver<Outcome>),
    /// The first one has ended with this.
    Ended(Arc<Kept>),
    /// Too many wait for the first one already.
    Crowded,
    /// It runs, and nothing is noted of it.
    Unnoted,
}

/// How the first one ended, for those who wait.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It has not.
    Pending,
    /// It has not run: ask anew.
    NotRun,
    /// With this.
    Ended(Arc<Kept>),
}

/// What is kept of one that has ended.
#[derive(Debug)]
pub(crate) enum Kept {
    /// The portal's answer.
    Answer(Answer),
    /// The gateway's own, to a call that may have run.
    Refusal(Refusal),
}

/// A portal's answer as the client got it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and the portal's fields.
    pub(crate) fields: Vec<u8>,
    /// What is said of the body's length.
    pub(crate) stated: Framing,
    pub(crate) body: Vec<u8>,
}

/// Forgets what has ended, for as long as there is something.
struct Sweep(Arc<Twins>);

impl Twins {
    /// Asks for a request with this identity.
    pub(crate) fn join(self: &Arc<Self>, identity: Identity) -> Joined {
        let now = Instant::now();
        let (found, missed) = self.with(|shelf| (shelf.find(identity, now), shelf.missed(now)));
        if let Some(missed) = missed {
            tracing::warn!(missed, "requests with an id that a repetition could not be told from");
        }
        match found {
            Found::New(told) => Joined::First(Box::new(Lead::new(self.clone(), identity, told))),
            Found::Running(told) => Joined::Wait(told),
            Found::Ended(kept) => Joined::Ended(kept),
            Found::Crowded => Joined::Crowded,
            Found::NoRoom => Joined::Unnoted,
        }
    }

    /// Keeps how the first one ended, in the place of the `room` that it had taken for its answer.
    fn keep(self: &Arc<Self>, identity: Identity, kept: Arc<Kept>, room: usize) {
        let until = Instant::now() + KEPT_FOR;
        // Without a runtime the process is ending.
        let runtime = Handle::try_current();
        let begins = self.with(|shelf| {
            shelf.end(identity, kept, room, until);
            runtime.is_ok() && shelf.begin_sweep()
        });
        if let (true, Ok(runtime)) = (begins, runtime) {
            runtime.spawn(Sweep(self.clone()).run());
        }
    }

    /// Forgets a first one that has not run.
    fn forget(&self, identity: &Identity, room: usize) {
        self.with(|shelf| shelf.forget(identity, room));
    }

    /// Takes room for `more` bytes of an answer, if there is any.
    fn take_room(&self, more: usize) -> bool {
        self.with(|shelf| shelf.take_room(more))
    }

    /// Gives it back.
    fn give_room_back(&self, room: usize) {
        self.with(|shelf| shelf.give_room_back(room));
    }

    /// Large answers are freed after the others have been let in.
    fn with<T>(&self, work: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut shelf);
        let scrap = shelf.scrap();
        drop(shelf);
        drop(scrap);
        result
    }
}

impl Sweep {
    async fn run(self) {
        while let Some(next) = self.0.with(|shelf| shelf.sweep(Instant::now())) {
            // Not once for each of thousands.
            tokio::time::sleep_until(next.max(Instant::now() + SWEPT_EVERY)).await;
        }
    }
}

impl Kept {
    /// How much memory it takes, nearly.
    fn size(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.fields.len() + answer.body.len(),
            Self::Refusal(_) => 0,
        }
    }
}

/// How long an answer is given to repetitions.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// How much longer it may take memory.
const SWEPT_EVERY: Duration = Duration::from_millis(500);
