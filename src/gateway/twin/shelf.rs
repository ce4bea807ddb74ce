//! The identities that are known, within bounds; the oldest that has ended goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::gateway::twin::mark::Identity;
use crate::gateway::twin::{Kept, Outcome};

/// All that is known. Number and bytes are bounded together and the oldest is dropped for either,
/// so this is one state behind one lock, which is held for a moment and never across a wait.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    entries: HashMap<Identity, Entry>,
    /// Those that have ended, the oldest first, with the time at which they go. Exactly these are
    /// [`Entry::Ended`].
    ended: VecDeque<(Instant, Identity)>,
    /// Of answers that are kept, and that are being recorded.
    bytes: usize,
    /// Somebody sweeps.
    swept: bool,
    /// Requests that found no room and that the log has not told of.
    missed: u64,
    told_at: Option<Instant>,
    /// Taken out, to be freed.
    scrap: Vec<Arc<Kept>>,
}

#[derive(Debug)]
enum Entry {
    Running(Arc<watch::Sender<Outcome>>),
    Ended(Arc<Kept>),
}

/// What is known of an identity.
pub(super) enum Found {
    /// Nothing; it is running from now on.
    New(Arc<watch::Sender<Outcome>>),
    Running(watch::Receiver<Outcome>),
    Ended(Arc<Kept>),
    Crowded,
    /// Nothing, and nothing more can be noted.
    NoRoom,
}

impl Shelf {
    pub(super) fn find(&mut self, identity: Identity, now: Instant) -> Found {
        self.expire(now);
        match self.entries.get(&identity) {
            Some(Entry::Ended(kept)) => return Found::Ended(kept.clone()),
            Some(Entry::Running(told)) if told.receiver_count() >= WAITERS_MAX => {
                return Found::Crowded;
            }
            Some(Entry::Running(told)) => return Found::Running(told.subscribe()),
            None => {}
        }
        if self.entries.len() >= ENTRIES_MAX && !self.drop_oldest() {
            self.missed += 1;
            return Found::NoRoom;
        }
        let told = Arc::new(watch::Sender::new(Outcome::Pending));
        self.entries.insert(identity, Entry::Running(told.clone()));
        Found::New(told)
    }

    /// What runs has ended, and had taken `room`.
    pub(super) fn end(&mut self, identity: Identity, kept: Arc<Kept>, room: usize, until: Instant) {
        self.bytes = self.bytes.saturating_sub(room) + kept.size();
        self.entries.insert(identity, Entry::Ended(kept));
        self.ended.push_back((until, identity));
    }

    /// What runs has come to nothing.
    pub(super) fn forget(&mut self, identity: &Identity, room: usize) {
        self.bytes = self.bytes.saturating_sub(room);
        self.entries.remove(identity);
    }

    pub(super) fn take_room(&mut self, more: usize) -> bool {
        while self.bytes + more > BYTES_MAX {
            if !self.drop_oldest() {
                return false;
            }
        }
        self.bytes += more;
        true
    }

    pub(super) fn give_room_back(&mut self, room: usize) {
        self.bytes = self.bytes.saturating_sub(room);
    }

    /// Whether somebody has to begin to sweep.
    pub(super) fn begin_sweep(&mut self) -> bool {
        !std::mem::replace(&mut self.swept, true)
    }

    /// Drops what is too old; when the next will be, or nothing when nothing is left.
    pub(super) fn sweep(&mut self, now: Instant) -> Option<Instant> {
        self.expire(now);
        let next = self.ended.front().map(|(until, _)| *until);
        self.swept = next.is_some();
        next
    }

    /// How many requests found no room, when it is time to tell that again.
    pub(super) fn missed(&mut self, now: Instant) -> Option<u64> {
        let told = self.told_at.is_some_and(|told_at| now < told_at + TOLD_EVERY);
        if self.missed == 0 || told {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.missed))
    }

    /// What was dropped.
    pub(super) fn scrap(&mut self) -> Vec<Arc<Kept>> {
        std::mem::take(&mut self.scrap)
    }

    fn expire(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest();
        }
    }

    /// False when nothing has ended.
    fn drop_oldest(&mut self) -> bool {
        let Some((_, identity)) = self.ended.pop_front() else { return false };
        if let Some(Entry::Ended(kept)) = self.entries.remove(&identity) {
            self.bytes = self.bytes.saturating_sub(kept.size());
            self.scrap.push(kept);
        }
        true
    }

    /// How many are known, and how many bytes are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

pub(super) const ENTRIES_MAX: usize = 4096;
/// Of the answers of all workers.
pub(super) const BYTES_MAX: usize = 64 * 1024 * 1024;
/// More than this are not told apart from an attack.
pub(super) const WAITERS_MAX: usize = 64;
const TOLD_EVERY: Duration = Duration::from_mins(1);
