//! Why there is no backup, or why it is not restored.

use std::path::PathBuf;

use crate::store::backup::compare::Ahead;
use crate::store::{KeyError, OpenError, StateError, StoreError};

/// Why there is no backup, or why it is not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store opens and cannot be read or written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is something of that name.
    #[error("{} exists already; name a new file (nothing is overwritten)", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The path names no file.
    #[error("{} is not the name of a file (as text in UTF-8)", path.display())]
    Name {
        /// The path.
        path: PathBuf,
    },
    /// SQLite finds fault with what was written.
    #[error("the copy {} is not sound: {problem}; is the disk in order?", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Answers lie in the journal that the database has not taken yet.
    #[error(
        "an answer of the OAuth server for {} is not in the database yet; start the gateway once \
         so that it can settle it, stop it, and repeat this", portals.join(", ")
    )]
    Unsettled {
        /// Whose.
        portals: Vec<String>,
    },
    /// The file is a database, but not from `store backup`.
    #[error("{} was not made by `b24gate store backup`", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// It was restored before.
    #[error(
        "{} was restored to {} on {at}: its chains went on from there, and a second store with the \
         same chains would destroy their tokens; make a new backup of the store that runs now",
        path.display(), to.display()
    )]
    Used {
        /// The file.
        path: PathBuf,
        /// When.
        at: String,
        /// To which state directory.
        to: PathBuf,
    },
    /// Another key sealed it, or there is none.
    #[error(
        "{problem}; {} is sealed with the key that was in {key} on {host}: put that key where \
         the configuration looks for it (now {wanted}), with mode 600, and repeat this",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with the key that is there.
        problem: Box<KeyError>,
        /// Where its key was.
        key: String,
        /// On which machine.
        host: String,
        /// Where a key is looked for now.
        wanted: String,
    },
    /// The store that the backup was made from is in use.
    #[error(
        "the store that this backup was made from is being served: {0}; stop that gateway first"
    )]
    Served(StateError),
    /// The store that the backup was made from may be in use.
    #[error(
        "it cannot be shown that the store in {} on {host}, from which this backup was made, is out \
         of service: {problem}. Both stores would refresh with the same tokens, and each refresh \
         destroys the other's. Stop that gateway for good, then repeat this with --source-is-gone \
         (or make the backup there with --retire)",
        state.display()
    )]
    SourceUnclear {
        /// Its state directory.
        state: PathBuf,
        /// On which machine.
        host: String,
        /// What is not clear.
        problem: String,
    },
    /// A store on this machine holds newer tokens than the backup.
    #[error(
        "{} holds newer tokens than the backup: {}; the backup's are of no use any more. Keep that \
         store, or make a new backup of it; --force-older restores this one all the same",
        database.display(), ahead.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Ahead {
        /// Its database.
        database: PathBuf,
        /// What is newer in it.
        ahead: Vec<Ahead>,
    },
}

impl BackupError {
    /// 2 for the command line, 3 for files that are unsafe, in use, retired, or without their key,
    /// 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) => error.exit_code(),
            Self::Name { .. } => 2,
            Self::Key { .. } | Self::Served(_) => 3,
            Self::Store(_)
            | Self::Exists { .. }
            | Self::Unsound { .. }
            | Self::Unsettled { .. }
            | Self::NotABackup { .. }
            | Self::Used { .. }
            | Self::SourceUnclear { .. }
            | Self::Ahead { .. } => 1,
        }
    }
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<StateError> for BackupError {
    fn from(error: StateError) -> Self {
        Self::Open(error.into())
    }
}
