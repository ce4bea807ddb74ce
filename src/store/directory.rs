//! Opening files whose neighbours are not trusted: relative to a directory that stays open, never
//! through a symbolic link, and only when nobody else can read or change them.
//!
//! Everything is asked of the open descriptor, so that what was checked is what is used.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat};

use crate::store::StateError;

/// A directory held open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

/// What to do when a file is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Leave it so.
    Report,
    /// Make it, empty and for this user only.
    Create,
}

impl Directory {
    /// Opens a directory that nobody but this user may look into.
    pub(crate) fn open_private(path: &Path) -> Result<Self, StateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = Self::open(path, flags)?;
        let stat = rustix::fs::fstat(&directory.handle).map_err(|e| io_error(path, e))?;
        check_owner(path, &stat)?;
        if stat.st_mode & 0o077 != 0 {
            return Err(StateError::unsafe_path(
                path,
                format!("is open to other users (mode {:04o})", stat.st_mode & 0o7777),
                format!("chmod 700 {}", path.display()),
            ));
        }
        Ok(directory)
    }

    /// As [`Directory::open_private`], and makes the directory if it is not there.
    pub(crate) fn make_private(path: &Path) -> Result<Self, StateError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                if let Some(parent) = path.parent() {
                    Self::open_elsewhere(parent)?.sync()?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(StateError::Io { path: path.to_owned(), source }),
        }
        Self::open_private(path)
    }

    /// Opens the directory of a file that the operator placed elsewhere; only the file is checked.
    pub(crate) fn open_elsewhere(path: &Path) -> Result<Self, StateError> {
        Self::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    fn open(path: &Path, flags: OFlags) -> Result<Self, StateError> {
        use rustix::io::Errno;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => StateError::unsafe_path(
                path,
                "is a symbolic link or not a directory",
                "name the real directory".to_owned(),
            ),
            other => io_error(path, other),
        })?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `name` for reading and writing if it is a plain file of this user, with one name, and
    /// closed to everybody else. `None` when it is missing and shall stay so.
    pub(crate) fn file(&self, name: &str, missing: Missing) -> Result<Option<File>, StateError> {
        use rustix::io::Errno;
        let path = self.path.join(name);
        // NONBLOCK: a pipe in the file's place must not hang the start.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) if missing == Missing::Report => return Ok(None),
            Err(Errno::NOENT) => {
                let made = self.create(name)?;
                self.sync()?;
                return Ok(Some(made));
            }
            Err(Errno::LOOP) => {
                let mend = format!("replace the link {} by the file itself", path.display());
                return Err(StateError::unsafe_path(&path, "is a symbolic link", mend));
            }
            Err(error) => return Err(io_error(&path, error)),
        };
        let stat = rustix::fs::fstat(&handle).map_err(|error| io_error(&path, error))?;
        check_file(&path, &stat)?;
        Ok(Some(File::from(handle)))
    }

    /// The checks of [`Directory::file`] on a file that is only read.
    pub(crate) fn check_readable(&self, name: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |error| io_error(&path, error);
        let handle = openat(&self.handle, name, flags, Mode::empty()).map_err(failed)?;
        check_file(&path, &rustix::fs::fstat(&handle).map_err(failed)?)
    }

    /// Opens a plain file that others may read, too, for reading; `None` when there is none.
    pub(crate) fn public_file(&self, name: &str) -> Result<Option<File>, StateError> {
        let path = self.path.join(name);
        let failed = |error| io_error(&path, error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let stat = rustix::fs::fstat(&handle).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let mend = format!("remove {}", path.display());
            return Err(StateError::unsafe_path(&path, "is not a plain file", mend));
        }
        Ok(Some(File::from(handle)))
    }

    /// Makes a new file with mode 0600; fails when anything has that name already.
    pub(crate) fn create(&self, name: &str) -> Result<File, StateError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.handle, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| io_error(&self.path.join(name), error))
    }

    /// Makes `name` hold `content`, durably and all at once: a crash leaves either no such file or
    /// the whole of it.
    pub(crate) fn publish(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        self.publish_with(name, content, Mode::RUSR | Mode::WUSR)
    }

    /// As [`Directory::publish`], for what every user may read who gets here.
    pub(crate) fn publish_public(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        self.publish_with(name, content, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
    }

    fn publish_with(&self, name: &str, content: &[u8], mode: Mode) -> Result<(), StateError> {
        use io::Write as _;
        let draft = format!("{name}.new");
        self.remove(&draft)?;
        let mut file = self.create(&draft)?;
        // Whatever the umask says.
        rustix::fs::fchmod(&file, mode)
            .map_err(|error| io_error(&self.path.join(&draft), error))?;
        if let Err(source) = file.write_all(content).and_then(|()| file.sync_all()) {
            // Half a draft is of no use and takes room on a disk that may be full. What matters is
            // the first error.
            self.remove(&draft).unwrap_or_default();
            return Err(StateError::Io { path: self.path.join(&draft), source });
        }
        rustix::fs::renameat(&self.handle, &draft, &self.handle, name)
            .map_err(|error| io_error(&self.path.join(name), error))?;
        self.sync()
    }

    /// Gives `from` the name `to`, in the place of what had it. [`Directory::sync`] makes it durable.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), StateError> {
        rustix::fs::renameat(&self.handle, from, &self.handle, to)
            .map_err(|error| io_error(&self.path.join(from), error))
    }

    /// Gives `name` a second name; fails when anything has that already.
    pub(crate) fn link(&self, name: &str, second: &str) -> Result<(), StateError> {
        rustix::fs::linkat(&self.handle, name, &self.handle, second, AtFlags::empty())
            .map_err(|error| io_error(&self.path.join(second), error))
    }

    /// Removes a file; it may be gone already.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StateError> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(io_error(&self.path.join(name), error)),
        }
    }

    /// The names in it, those that are text; the rest are not ours.
    pub(crate) fn names(&self) -> Result<Vec<String>, StateError> {
        let failed = |error| io_error(&self.path, error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    /// Makes names that were added durable.
    pub(crate) fn sync(&self) -> Result<(), StateError> {
        rustix::fs::fsync(&self.handle).map_err(|error| io_error(&self.path, error))
    }
}

/// A file or a directory as it was found under its name once.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Mark {
    pub(crate) fn of(path: &Path) -> Result<Self, StateError> {
        let (device, inode) =
            inode(path).map_err(|source| StateError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), device, inode })
    }

    /// Fails when the name leads elsewhere by now: whoever holds the file open would not notice.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        match inode(&self.path) {
            Ok(found) if found == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(self.gone("is another one than the one that was opened")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.gone("was removed or unmounted while it was in use"))
            }
            Err(source) => Err(StateError::Io { path: self.path.clone(), source }),
        }
    }

    fn gone(&self, problem: &str) -> StateError {
        StateError::unsafe_path(&self.path, problem, "put it back, or restart b24gate".to_owned())
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|found| (found.dev(), found.ino()))
}

fn check_file(path: &Path, stat: &Stat) -> Result<(), StateError> {
    let refuse = |problem: String, mend: String| Err(StateError::unsafe_path(path, problem, mend));
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refuse("is not a plain file".to_owned(), format!("remove {}", path.display()));
    }
    check_owner(path, stat)?;
    if stat.st_nlink > 1 {
        return refuse(
            format!("has {} names (hard links)", stat.st_nlink),
            format!("find and remove the other names of {}", path.display()),
        );
    }
    if stat.st_mode & 0o077 != 0 {
        return refuse(
            format!("is open to other users (mode {:04o})", stat.st_mode & 0o7777),
            format!("chmod 600 {}", path.display()),
        );
    }
    Ok(())
}

fn check_owner(path: &Path, stat: &Stat) -> Result<(), StateError> {
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid == me {
        return Ok(());
    }
    let problem = format!("belongs to user {}, not to {me}", stat.st_uid);
    let mend = format!("run b24gate as that user, or chown {me} {}", path.display());
    Err(StateError::unsafe_path(path, problem, mend))
}

pub(crate) fn io_error(path: &Path, error: rustix::io::Errno) -> StateError {
    StateError::Io { path: path.to_owned(), source: error.into() }
}
