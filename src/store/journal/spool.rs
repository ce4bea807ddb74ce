//! The last resort for an answer: a file on another file system than the state directory's. It need
//! not survive the machine, only the process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::StateError;
use crate::store::directory::Directory;
use crate::store::journal::slot::Identity;

/// Where answers go that the state directory does not take.
#[derive(Debug)]
pub(super) struct Spool {
    /// The first that can be used is used; all are read.
    places: Vec<PathBuf>,
    /// Several stores may share a place.
    prefix: String,
    /// The files that are there, as far as this process knows.
    filled: Mutex<BTreeSet<String>>,
}

/// `$RUNTIME_DIRECTORY/spool` (systemd), `$XDG_RUNTIME_DIR/b24gate`, `/dev/shm/b24gate-<uid>`.
pub(in crate::store) fn places() -> Vec<PathBuf> {
    places_in(|name| std::env::var_os(name).map(PathBuf::from))
}

fn places_in(environment: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let variable = |name| environment(name).filter(|path| path.is_absolute());
    let mut places = Vec::new();
    // systemd lists several directories with colons between them, and lets others look into them
    // unless it is told otherwise; hence one of our own inside.
    let runtime = variable("RUNTIME_DIRECTORY");
    let first = runtime.and_then(|list| std::env::split_paths(&list).next());
    places.extend(first.map(|path| path.join("spool")));
    places.extend(variable("XDG_RUNTIME_DIR").map(|path| path.join("b24gate")));
    let user = rustix::process::geteuid().as_raw();
    places.push(PathBuf::from(format!("/dev/shm/b24gate-{user}")));
    places
}

impl Spool {
    pub(super) fn new(places: Vec<PathBuf>, identity: Identity) -> Self {
        let head = identity.0.first_chunk().copied().unwrap_or_default();
        let prefix = format!("{:08x}-", u32::from_be_bytes(head));
        Self { places, prefix, filled: Mutex::default() }
    }

    /// Writes the file in the first place that takes it, and says which; else why none did.
    pub(super) fn publish(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Vec<StateError>> {
        let name = format!("{}{name}", self.prefix);
        let mut causes = Vec::new();
        for place in &self.places {
            let written = Directory::make_private(place)
                .and_then(|directory| directory.publish(&name, bytes));
            match written {
                Ok(()) => {
                    self.filled().insert(name.clone());
                    return Ok(place.join(name));
                }
                Err(error) => {
                    tracing::warn!(place = %place.display(), %error, "spool_unusable");
                    causes.push(error);
                }
            }
        }
        Err(causes)
    }

    /// Removes the file of a chain, if there is one.
    pub(super) fn forget(&self, name: &str) {
        let name = format!("{}{name}", self.prefix);
        if !self.filled().remove(&name) {
            return;
        }
        for place in &self.places {
            let removed =
                Directory::open_private(place).and_then(|directory| directory.remove(&name));
            if let Err(error) = removed {
                tracing::debug!(place = %place.display(), %error, "spool_file_stays");
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled().is_empty()
    }

    /// The directories that are there, and the names of this store's files in them.
    pub(super) fn files(&self) -> Vec<(Directory, Vec<String>)> {
        let mut found = Vec::new();
        for place in self.places.iter().filter(|place| is_there(place)) {
            let listed = Directory::open_private(place)
                .and_then(|directory| directory.names().map(|names| (directory, names)));
            match listed {
                Ok((directory, mut names)) => {
                    names
                        .retain(|name| name.starts_with(&self.prefix) && name.ends_with(".answer"));
                    self.filled().extend(names.iter().cloned());
                    found.push((directory, names));
                }
                Err(error) => {
                    tracing::warn!(place = %place.display(), %error, "spool_unusable");
                }
            }
        }
        found
    }

    /// Removes this store's files, and drafts of them.
    pub(super) fn clear(&self) -> Result<(), StateError> {
        for place in self.places.iter().filter(|place| is_there(place)) {
            let directory = Directory::open_private(place)?;
            let ours = |name: &&String| name.starts_with(&self.prefix);
            for name in directory.names()?.iter().filter(ours) {
                directory.remove(name)?;
            }
        }
        Ok(())
    }

    fn filled(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spool_is_looked_for_in_the_documented_order() {
        let find = |variables: &[(&str, &str)]| {
            let variables = variables.to_vec();
            places_in(move |name| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| PathBuf::from(value))
            })
        };
        let user = rustix::process::geteuid().as_raw();
        let last = PathBuf::from(format!("/dev/shm/b24gate-{user}"));
        let all = [("RUNTIME_DIRECTORY", "/r:/s"), ("XDG_RUNTIME_DIR", "/x")];
        assert_eq!(find(&all), [Path::new("/r/spool"), Path::new("/x/b24gate"), &last]);
        assert_eq!(find(&all[1..]), [Path::new("/x/b24gate"), &last]);
        assert_eq!(find(&[("XDG_RUNTIME_DIR", "x")]), [last]);
    }
}
