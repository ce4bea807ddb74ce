//! The journal's files. Everything here blocks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::credential::{ChainId, RawAnswer};
use crate::store::directory::{Directory, Mark, Missing};
use crate::store::journal::slot::{self, Identity, Label, READ_MAX, SIZE};
use crate::store::journal::spool::Spool;
use crate::store::journal::{Found, Held, NoPlace};
use crate::store::sealed::Sealer;
use crate::store::{Answered, StateError};

/// The directory of the slots, the spool, and what this process knows of them.
#[derive(Debug)]
pub(in crate::store) struct Files {
    directory: Directory,
    marks: Vec<Mark>,
    spool: Spool,
    slots: Mutex<HashMap<ChainId, Arc<Mutex<Slot>>>>,
    tickets: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Open for the answer that is awaited.
    file: Option<File>,
    /// Whether its name and its room are known to be durable.
    durable: bool,
    /// The ticket of the last write.
    last: u64,
    held: Option<Held>,
}

/// One write.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) chain: ChainId,
    pub(super) bytes: Vec<u8>,
    pub(super) held: Held,
    pub(super) kind: Kind,
    /// Writes to one slot take effect in the order in which they were asked for: the task of a
    /// future that was dropped may run late.
    pub(super) ticket: u64,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The only copy: into the open slot, else anywhere.
    Answer,
    /// The second copy, over whatever the slot holds, in a new file.
    Copy,
}

impl Files {
    pub(super) fn new(directory: Directory, marks: Vec<Mark>, spool: Spool) -> Self {
        // The first ticket is one: zero stands for a slot that nothing was written to.
        let tickets = AtomicU64::new(1);
        Self { directory, marks, spool, slots: Mutex::default(), tickets }
    }

    pub(super) fn ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn holds(&self, chain: ChainId) -> Option<Held> {
        let slot = self.slot(chain);
        lock(&slot).held
    }

    pub(super) fn spool_is_empty(&self) -> bool {
        self.spool.is_empty()
    }

    pub(super) fn forget_spooled(&self, name: &str) {
        self.spool.forget(name);
    }

    /// Lets the next write into the open slot fail: the descriptor is one for reading.
    #[cfg(test)]
    pub(super) fn spoil(&self, name: &str, chain: ChainId) {
        let file = File::open(self.directory.path().join(name)).ok();
        lock(&self.slot(chain)).file = file;
    }

    pub(super) fn check_in_place(&self) -> Result<(), StateError> {
        self.marks.iter().try_for_each(Mark::check)
    }

    pub(super) fn prepare(&self, name: &str, chain: ChainId) -> Result<(), StateError> {
        self.check_in_place()?;
        let slot = self.slot(chain);
        let mut slot = lock(&slot);
        // By its name each time: an open descriptor may be one of a file that was removed.
        slot.file = None;
        let path = self.directory.path().join(name);
        let failed = |source| StateError::Io { path: path.clone(), source };
        let missing = || failed(io::ErrorKind::NotFound.into());
        let file = self.directory.file(name, Missing::Create)?.ok_or_else(missing)?;
        let length = file.metadata().map_err(failed)?.len();
        let short = (SIZE as u64).saturating_sub(length);
        if short > 0 || !slot.durable {
            let zeros = vec![0; usize::try_from(short).unwrap_or(0)];
            file.write_all_at(&zeros, length).and_then(|()| file.sync_all()).map_err(failed)?;
            self.directory.sync()?;
            slot.durable = true;
        }
        slot.file = Some(file);
        Ok(())
    }

    pub(super) fn write(&self, job: Job) -> Result<(), NoPlace> {
        let slot = self.slot(job.chain);
        let mut slot = lock(&slot);
        if slot.last > job.ticket {
            return Ok(());
        }
        slot.last = job.ticket;
        slot.held = None;
        let mut causes = Vec::new();
        // Never again through this descriptor, unless all of it went well.
        if let Some(file) = slot.file.take()
            && job.kind == Kind::Answer
            && job.bytes.len() <= SIZE
        {
            match overwrite(&file, &job.bytes) {
                Ok(()) => {
                    slot.file = Some(file);
                    slot.held = Some(job.held);
                    self.spool.forget(&job.name);
                    return Ok(());
                }
                Err(source) => {
                    let path = self.directory.path().join(&job.name);
                    causes.push(StateError::Io { path, source });
                }
            }
        }
        let mut bytes = job.bytes;
        let length = bytes.len();
        bytes.resize(length.max(SIZE), 0);
        match self.directory.publish(&job.name, &bytes) {
            Ok(()) => {
                warn(&causes, &self.directory.path().join(&job.name));
                slot.held = Some(job.held);
                self.spool.forget(&job.name);
                return Ok(());
            }
            Err(error) => causes.push(error),
        }
        if job.kind != Kind::Answer {
            return Err(NoPlace(causes));
        }
        bytes.truncate(length);
        match self.spool.publish(&job.name, &bytes) {
            Ok(place) => {
                warn(&causes, &place);
                Ok(())
            }
            Err(more) => {
                causes.extend(more);
                Err(NoPlace(causes))
            }
        }
    }

    pub(super) fn read(&self, sealer: &Sealer, identity: Identity) -> Vec<Found> {
        let mut found = Vec::new();
        for name in names(&self.directory) {
            let Some((label, answer)) = open(&self.directory, &name, &name, sealer) else {
                continue;
            };
            let ours = label.identity == identity;
            let slot = self.slot(label.chain);
            let mut slot = lock(&slot);
            // A pair that an earlier process left there may not be the one that is taken over: the
            // spool may hold a later answer to the same exchange.
            if ours && slot.last == 0 && answer.status != 200 && name.ends_with(".answer") {
                slot.held = Some((label.generation, answer.status));
            }
            found.push(answered(label, answer, ours, true));
        }
        for (directory, names) in self.spool.files() {
            for name in names {
                let plain = name.split_once('-').map_or(name.as_str(), |(_, name)| name);
                match open(&directory, &name, plain, sealer) {
                    Some((label, answer)) if label.identity == identity => {
                        found.push(answered(label, answer, true, false));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// Removes the slots of these chains, if this store wrote them.
    pub(super) fn prune(
        &self,
        portal: &str,
        identity: Identity,
        chains: &[ChainId],
    ) -> Result<(), StateError> {
        for name in names(&self.directory) {
            let label = read(&self.directory, &name).and_then(|bytes| slot::label(&bytes));
            if let Some(label) = label
                && label.identity == identity
                && label.portal == portal
                && chains.contains(&label.chain)
            {
                self.remove(&name, label.chain)?;
            }
        }
        for chain in chains {
            self.spool.forget(&super::name(portal, *chain));
        }
        Ok(())
    }

    /// Removes the slots that open and whose label is `doomed`.
    pub(super) fn forget(
        &self,
        doomed: impl Fn(&Label) -> bool,
        sealer: &Sealer,
    ) -> Result<(), StateError> {
        for name in names(&self.directory) {
            if let Some((label, _)) = open(&self.directory, &name, &name, sealer)
                && doomed(&label)
            {
                self.directory.remove(&name)?;
            }
        }
        self.directory.sync()
    }

    fn remove(&self, name: &str, chain: ChainId) -> Result<(), StateError> {
        let slot = self.slot(chain);
        let mut slot = lock(&slot);
        *slot = Slot { last: self.ticket(), ..Slot::default() };
        self.directory.remove(name)?;
        self.spool.forget(name);
        self.directory.sync()
    }

    fn slot(&self, chain: ChainId) -> Arc<Mutex<Slot>> {
        Arc::clone(lock(&self.slots).entry(chain).or_default())
    }
}

/// No chain has such a number; a file that claims it must not use the numbers up.
const CHAIN_MAX: i64 = 1 << 48;

/// Whether any slot holds an answer, opened or not.
pub(in crate::store) fn has_answers(directory: &Directory) -> bool {
    names(directory)
        .iter()
        .any(|name| read(directory, name).is_some_and(|bytes| slot::is_written(&bytes)))
}

/// Whether this key opens any answer.
pub(in crate::store) fn opens_any(directory: &Directory, sealer: &Sealer) -> bool {
    names(directory).iter().any(|name| open(directory, name, name, sealer).is_some())
}

/// The highest number of a chain that a slot was ever made for.
pub(in crate::store) fn highest_chain(directory: &Directory) -> i64 {
    let number = |name: &String| {
        let (rest, _) = name.split_once(".answer")?;
        rest.rsplit_once('-')?.1.parse().ok().filter(|number| *number < CHAIN_MAX)
    };
    names(directory).iter().filter_map(number).max().unwrap_or(0)
}

/// Finished slots, and drafts of them: a process may have been killed between writing a draft and
/// giving it its name.
pub(super) fn names(directory: &Directory) -> Vec<String> {
    let mut names = directory.names().unwrap_or_else(|error| {
        tracing::warn!(%error, "journal_unreadable");
        Vec::new()
    });
    names.retain(|name| name.ends_with(".answer") || name.ends_with(".answer.new"));
    names.sort();
    names
}

fn open(
    directory: &Directory,
    name: &str,
    plain: &str,
    sealer: &Sealer,
) -> Option<(Label, RawAnswer)> {
    let bytes = read(directory, name)?;
    if !slot::is_written(&bytes) && bytes.iter().all(|byte| *byte == 0) {
        return None; // Prepared, and not used yet.
    }
    let found = slot::decode(sealer, &bytes).filter(|(label, _)| {
        let right = super::name(&label.portal, label.chain);
        plain.strip_suffix(".new").unwrap_or(plain) == right
    });
    if found.is_none() {
        tracing::debug!(file = name, "answer_does_not_open");
    }
    found
}

pub(super) fn read(directory: &Directory, name: &str) -> Option<Vec<u8>> {
    let read = || -> Result<Option<Vec<u8>>, StateError> {
        let Some(file) = directory.file(name, Missing::Report)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(READ_MAX)
            .read_to_end(&mut bytes)
            .map_err(|source| StateError::Io { path: directory.path().join(name), source })?;
        Ok(Some(bytes))
    };
    read().unwrap_or_else(|error| {
        tracing::debug!(%error, "answer_unreadable");
        None
    })
}

/// All of it in one write. A file that was removed meanwhile would take it gladly.
fn overwrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    if file.metadata()?.nlink() == 0 {
        return Err(io::Error::other("the slot was removed while it was in use"));
    }
    Ok(())
}

fn answered(label: Label, answer: RawAnswer, ours: bool, kept: bool) -> Found {
    let Label { portal, chain, generation, at, .. } = label;
    Found { portal, answered: Answered { chain, generation, at, ours, answer }, kept }
}

fn warn(causes: &[StateError], place: &std::path::Path) {
    if !causes.is_empty() {
        let causes = super::texts(causes);
        tracing::warn!(place = %place.display(), causes, "answer_kept_elsewhere");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
