//! Taking answers out of use, when the key that opens them goes or the store that they belong to.

use std::io;
use std::path::{Path, PathBuf};

use crate::credential::unix_now;
use crate::store::StateError;
use crate::store::directory::{Directory, Missing};
use crate::store::journal::file::{has_answers, names, read};
use crate::store::journal::slot::{self, Identity};
use crate::store::journal::spool::Spool;

/// The directory of the slots, in the state directory.
pub(in crate::store) const DIRECTORY: &str = "journal";

/// Removes every slot in a state directory, and the drafts of slots.
pub(in crate::store) fn remove_slots(state: &Path) -> Result<(), StateError> {
    let Some(slots) = slots(state)? else {
        return Ok(());
    };
    for name in names(&slots) {
        slots.remove(&name)?;
    }
    slots.sync()
}

/// Removes what a store has in the spool.
pub(in crate::store) fn clear_spool(
    places: Vec<PathBuf>,
    identity: Identity,
) -> Result<(), StateError> {
    Spool::new(places, identity).clear()
}

/// Gives the journal of a state directory another name, under which nobody looks for it.
pub(in crate::store) fn set_aside(state: &Path, why: &str) -> Result<(), StateError> {
    let state = Directory::open_elsewhere(state)?;
    let there = state.names()?;
    if !there.iter().any(|name| name == DIRECTORY) {
        return Ok(());
    }
    let mut free = (unix_now()..).map(|at| format!("{DIRECTORY}.{why}-{at}"));
    if let Some(name) = free.find(|name| !there.contains(name)) {
        state.rename(DIRECTORY, &name)?;
    }
    state.sync()
}

/// Whether a state directory has any answer, opened or not.
pub(in crate::store) fn has_answers_in(state: &Path) -> Result<bool, StateError> {
    Ok(slots(state)?.is_some_and(|slots| has_answers(&slots)))
}

/// Whether a state directory has an answer of this store, by what the slots say of themselves.
pub(in crate::store) fn has_answers_of(state: &Path, store: &[u8]) -> Result<bool, StateError> {
    let Some(slots) = slots(state)? else {
        return Ok(false);
    };
    let label = |name: &String| slot::label(&read(&slots, name)?);
    Ok(names(&slots).iter().filter_map(label).any(|label| label.identity.0 == store))
}

/// What other users could reach of the journal of a state directory.
pub(in crate::store) fn inspect(state: &Path) -> Vec<StateError> {
    match slots(state) {
        Ok(None) => Vec::new(),
        Ok(Some(slots)) => {
            let unsafe_file = |name: &String| slots.file(name, Missing::Report).err();
            names(&slots).iter().filter_map(unsafe_file).collect()
        }
        Err(error) => vec![error],
    }
}

fn slots(state: &Path) -> Result<Option<Directory>, StateError> {
    match Directory::open_private(&state.join(DIRECTORY)) {
        Ok(slots) => Ok(Some(slots)),
        Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
