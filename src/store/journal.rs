//! The journal: one slot file per chain beside the database. An answer of the OAuth server is made
//! durable there before it is read, and what was added or promoted is copied there, so that every
//! pair lies in two files.
//!
//! A slot is made and filled with zeros before an exchange begins: writing the answer then needs no
//! room on the disk and one `fdatasync`. When that fails, the descriptor is not trusted again (a
//! second fsync may report success for pages that are lost): a new file takes the slot's place, and
//! when that fails too, the spool takes the answer.

mod away;
mod file;
mod pair;
mod slot;
mod spool;

pub(super) use away::{
    DIRECTORY, clear_spool, has_answers_in, has_answers_of, inspect, remove_slots, set_aside,
};
pub(super) use file::{Files, has_answers, highest_chain, opens_any};
pub(super) use pair::Pair;
pub(super) use slot::Identity;
pub(super) use spool::places;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::credential::{ChainId, Generation, Link, RawAnswer, unix_now};
use crate::store::directory::{Directory, Mark};
use crate::store::journal::file::{Job, Kind};
use crate::store::journal::pair::before;
use crate::store::journal::slot::Label;
use crate::store::journal::spool::Spool;
use crate::store::sealed::Sealer;
use crate::store::{Answered, Record, StateError, StoreError, StoredCredential};

/// The slots and the spool of one store. All file work is done on tokio's blocking threads, with
/// owned bytes that are sealed already; a future that is dropped does not stop it.
#[derive(Debug)]
pub(super) struct Journal {
    files: Arc<Files>,
    sealer: Arc<Sealer>,
    identity: Identity,
}

/// A place in the order of writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(u64);

/// An answer that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) portal: String,
    pub(super) answered: Answered,
    /// Whether it lies in the state directory, where it counts as a second copy.
    pub(super) kept: bool,
}

/// Why an answer could not be kept: what every place said.
#[derive(Debug, thiserror::Error)]
#[error("no place takes the answer: {}", texts(.0))]
pub(super) struct NoPlace(pub(super) Vec<StateError>);

impl Journal {
    /// `marks` is what must be in place for an exchange to begin.
    pub(super) fn new(
        directory: Directory,
        marks: Vec<Mark>,
        spool: Vec<std::path::PathBuf>,
        sealer: Arc<Sealer>,
        identity: Identity,
    ) -> Self {
        let files = Files::new(directory, marks, Spool::new(spool, identity));
        Self { files: Arc::new(files), sealer, identity }
    }

    /// Fails when the store's files are not where they were.
    pub(super) async fn check_in_place(&self) -> Result<(), StoreError> {
        Ok(self.run(Files::check_in_place).await??)
    }

    /// Makes sure that the store's files are where they were, and makes room for an answer.
    pub(super) async fn prepare(&self, link: Link<'_>) -> Result<(), StoreError> {
        let name = name(link.portal, link.chain);
        let chain = link.chain;
        Ok(self.run(move |files| files.prepare(&name, chain)).await??)
    }

    /// Writes an answer where it can be kept.
    pub(super) async fn receive(
        &self,
        link: Link<'_>,
        answer: &RawAnswer,
    ) -> Result<(), StoreError> {
        let job = self.job(link, answer, unix_now(), Kind::Answer)?;
        Ok(self.run(move |files| files.write(job)).await??)
    }

    /// Writes a copy of the pair at `link` into its slot; a failure is a line in the log.
    pub(super) async fn copy(&self, link: Link<'_>, pair: Pair<'_>) {
        self.copy_as_of(self.moment(), link, pair).await;
    }

    /// As [`Journal::copy`], unless the slot was written to after that moment.
    async fn copy_as_of(&self, moment: Moment, link: Link<'_>, pair: Pair<'_>) {
        let from = Link { generation: before(link.generation), ..link };
        let written = async {
            let answer = pair.answer().map_err(|error| StoreError::Unavailable(error.into()))?;
            let job = self.job(from, &answer, pair.issued_at(), Kind::Copy)?;
            let job = Job { ticket: moment.0, ..job };
            Ok::<_, StoreError>(self.run(move |files| files.write(job)).await??)
        };
        if let Err(StoreError::Unavailable(error)) = written.await {
            tracing::warn!(portal = link.portal, chain = %link.chain, %error, "pair_not_copied");
        }
    }

    /// The place of now in the order of writes.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.files.ticket())
    }

    /// After the pair that `from` brought is durable in the database: sees to its second copy, and
    /// lets the spool's go.
    pub(super) async fn settle(&self, from: Link<'_>, pair: Pair<'_>) {
        if self.files.holds(from.chain) != Some((from.generation, 200)) {
            let link = Link { generation: from.generation.next(), ..from };
            self.copy(link, pair).await;
        }
        if !self.files.spool_is_empty() {
            let name = name(from.portal, from.chain);
            let forget = move |files: &Files| {
                files.forget_spooled(&name);
                Ok(())
            };
            self.attempt(forget).await;
        }
    }

    /// After an exchange failed: whether the slot's place can go back to the pair. An answer of
    /// status 200 may hold a pair that could not be read; it stays until the next exchange.
    pub(super) fn holds_refusal(&self, link: Link<'_>) -> bool {
        let held = self.files.holds(link.chain);
        held.is_some_and(|(generation, status)| generation == link.generation && status != 200)
    }

    /// Removes the slots of chains that were replaced.
    pub(super) async fn prune(&self, portal: &str, replaced: Vec<ChainId>) {
        let (portal, identity) = (portal.to_owned(), self.identity);
        self.attempt(move |files| files.prune(&portal, identity, &replaced)).await;
    }

    /// Removes what other stores wrote for a portal, and what chains brought that this one does not
    /// know.
    pub(super) async fn forget_foreign(
        &self,
        portal: &str,
        known: Vec<ChainId>,
    ) -> Result<(), StoreError> {
        let (portal, identity) = (portal.to_owned(), self.identity);
        let sealer = Arc::clone(&self.sealer);
        let forget = move |files: &Files| {
            files.forget(
                |label| {
                    label.portal == portal
                        && !(label.identity == identity && known.contains(&label.chain))
                },
                &sealer,
            )
        };
        Ok(self.run(forget).await??)
    }

    /// Everything that opens, latest first. What does not is left where it is.
    pub(super) async fn read(&self) -> Result<Vec<Found>, StoreError> {
        let (sealer, identity) = (Arc::clone(&self.sealer), self.identity);
        let mut found = self.run(move |files| files.read(&sealer, identity)).await?;
        found
            .sort_by_key(|found| std::cmp::Reverse((found.answered.at, found.answered.generation)));
        Ok(found)
    }

    /// Copies every pair that has no second copy. `moment` is from before `records` were read: an
    /// answer that came since is newer than they are.
    pub(super) async fn complete(&self, moment: Moment, records: &[Record], found: &[Found]) {
        for (link, stored) in uncovered(records, found) {
            self.copy_as_of(moment, link, stored.into()).await;
        }
    }

    fn job(
        &self,
        link: Link<'_>,
        answer: &RawAnswer,
        at: u64,
        kind: Kind,
    ) -> Result<Job, StoreError> {
        let label = Label {
            identity: self.identity,
            portal: link.portal.to_owned(),
            chain: link.chain,
            generation: link.generation,
            at,
        };
        let bytes = slot::encode(&self.sealer, &label, answer)?;
        let held = (link.generation, answer.status);
        let name = name(link.portal, link.chain);
        Ok(Job { name, chain: link.chain, bytes, held, kind, ticket: self.files.ticket() })
    }

    /// Lets the next write into the open slot of a chain fail.
    #[cfg(test)]
    pub(super) fn spoil(&self, portal: &str, chain: ChainId) {
        self.files.spoil(&name(portal, chain), chain);
    }

    async fn attempt(&self, work: impl FnOnce(&Files) -> Result<(), StateError> + Send + 'static) {
        match self.run(work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "journal_not_tidied"),
            Err(error) => tracing::warn!(%error, "journal_not_tidied"),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let files = Arc::clone(&self.files);
        tokio::task::spawn_blocking(move || work(&files))
            .await
            .map_err(|error| StoreError::Unavailable(error.into()))
    }
}

fn uncovered<'a>(records: &'a [Record], found: &[Found]) -> Vec<(Link<'a>, &'a StoredCredential)> {
    let mut uncovered = Vec::new();
    for record in records {
        for stored in record.chains().flatten() {
            if !found.iter().any(|found| covers(found, &record.portal, stored)) {
                let (chain, generation) = (stored.chain, stored.generation);
                uncovered.push((Link { portal: &record.portal, chain, generation }, stored));
            }
        }
    }
    uncovered
}

/// Whether this answer is the pair's second copy, or even newer than the pair, or another store's:
/// then it must not be written over.
fn covers(found: &Found, portal: &str, stored: &StoredCredential) -> bool {
    let Answered { chain, generation, ours, ref answer, .. } = found.answered;
    if !found.kept || found.portal != portal || chain != stored.chain {
        return false;
    }
    let token = stored.refresh.expose().as_bytes();
    let same = || memchr::memmem::find(&answer.body, token).is_some();
    match generation.next().cmp(&stored.generation) {
        _ if !ours => true,
        Ordering::Greater => true,
        Ordering::Equal => same(),
        Ordering::Less => false,
    }
}

fn name(portal: &str, chain: ChainId) -> String {
    format!("{portal}-{chain}.answer")
}

fn texts(errors: &[StateError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<StateError> for StoreError {
    fn from(error: StateError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<NoPlace> for StoreError {
    fn from(error: NoPlace) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// What a slot was last given: the generation that was exchanged, and the status of the answer.
type Held = (Generation, u16);
