//! The state directory: where it is, whether it is safe, and that only one process uses it.
//!
//! Two processes that refresh with the same refresh token kill it, so the lock is taken before
//! anything is read and held until the process ends. The kernel lets go of it after `kill -9`.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use crate::store::directory::{Directory, Missing};
use crate::store::journal;

/// The file that is locked; apart from the database, which SQLite locks in its own ways.
const LOCK: &str = "b24gate.lock";

/// The files that `inspect` looks at.
const FILES: [&str; 6] =
    ["b24gate.db", "b24gate.db-wal", "b24gate.db-shm", "b24gate.key", "b24gate.lock", "ca.key"];

/// The state directory, open and locked for the life of this value.
#[derive(Debug)]
pub struct StateDirectory {
    directory: Directory,
    // Held, not read: closing it gives the lock back.
    _lock: File,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nothing says where it should be.
    #[error("no place for the state directory: give --state, or set STATE_DIRECTORY or HOME")]
    Nowhere,
    /// Somebody else could read or replace what is in it.
    #[error("{} {problem}; {mend}", path.display())]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        mend: String,
    },
    /// Another process uses it.
    #[error("{} is in use by another b24gate ({})", path.display(), holder(*pid))]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The other process, if it has written its number yet.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl StateError {
    /// The exit code for unsafe files.
    #[expect(clippy::unused_self, reason = "asked of an error, like its siblings")]
    pub fn exit_code(&self) -> u8 {
        3
    }

    pub(crate) fn unsafe_path(path: &Path, problem: impl Into<String>, mend: String) -> Self {
        Self::Unsafe { path: path.to_owned(), problem: problem.into(), mend }
    }
}

/// Finds the state directory: `--state`, `$STATE_DIRECTORY` (systemd), `$XDG_STATE_HOME/b24gate`,
/// `~/.local/state/b24gate`.
pub fn locate(cli: Option<&Path>) -> Result<PathBuf, StateError> {
    locate_in(cli, |name| std::env::var_os(name).map(PathBuf::from))
}

fn locate_in(
    cli: Option<&Path>,
    environment: impl Fn(&str) -> Option<PathBuf>,
) -> Result<PathBuf, StateError> {
    let variable = |name| environment(name).filter(|value| !value.as_os_str().is_empty());
    if let Some(path) = cli {
        return absolute(path);
    }
    if let Some(list) = variable("STATE_DIRECTORY") {
        // systemd lists several directories with colons between them, and with DynamicUser= each
        // is a link that systemd made itself.
        let first = std::env::split_paths(&list).next().unwrap_or(list);
        return Ok(first.canonicalize().unwrap_or(first));
    }
    // The XDG specification has relative values ignored.
    if let Some(base) = variable("XDG_STATE_HOME").filter(|path| path.is_absolute()) {
        return Ok(base.join("b24gate"));
    }
    let home = variable("HOME").ok_or(StateError::Nowhere)?;
    Ok(home.join(".local/state/b24gate"))
}

impl StateDirectory {
    /// Makes the directory if it is not there, checks it and locks it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let directory = private(path)?;
        let lock = lock(&directory)?;
        Ok(Self { directory, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }
}

/// The state directory, made if it is not there, for what may be done beside a running gateway.
pub(crate) fn private(path: &Path) -> Result<Directory, StateError> {
    let path = absolute(path)?;
    make(&path)?;
    Directory::open_private(&path)
}

/// The checks of [`StateDirectory::open`] without making or locking anything: one line for each
/// thing that is wrong, with its mend. A directory that is not there yet is not wrong.
pub fn inspect(path: &Path) -> Vec<String> {
    let directory = match absolute(path).and_then(|path| Directory::open_private(&path)) {
        Ok(directory) => directory,
        Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Vec::new();
        }
        Err(error) => return vec![error.to_string()],
    };
    FILES
        .iter()
        .filter_map(|name| directory.file(name, Missing::Report).err())
        .chain(journal::inspect(directory.path()))
        .map(|error| error.to_string())
        .collect()
}

fn make(path: &Path) -> Result<(), StateError> {
    // Asked without following: a dangling link must be refused below, not filled in here.
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StateError::Io { path: path.to_owned(), source })?;
    if let Some(parent) = path.parent() {
        Directory::open_elsewhere(parent)?.sync()?;
    }
    Ok(())
}

fn lock(directory: &Directory) -> Result<File, StateError> {
    let path = directory.path().join(LOCK);
    let failed = |source| StateError::Io { path: path.clone(), source };
    let missing = || failed(io::ErrorKind::NotFound.into());
    let file = directory.file(LOCK, Missing::Create)?.ok_or_else(missing)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (path, pid) = (directory.path().to_owned(), read_pid(&file));
            return Err(StateError::Locked { path, pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let text = format!("{}\n", std::process::id());
    file.write_all_at(text.as_bytes(), 0)
        .and_then(|()| file.set_len(text.len() as u64))
        .map_err(failed)?;
    Ok(file)
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = [0; 16];
    let length = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..length)?).ok()?.lines().next()?.parse().ok()
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "it has not written its pid yet".to_owned(), |pid| format!("pid {pid}"))
}

/// Also cuts a trailing slash off, which would make the system follow a link.
fn absolute(path: &Path) -> Result<PathBuf, StateError> {
    std::path::absolute(path)
        .map(|path| path.components().collect())
        .map_err(|source| StateError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
