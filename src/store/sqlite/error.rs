//! Why the store does not open.

use std::path::{Path, PathBuf};

use crate::store::StateError;
use crate::store::key::KeyError;
use crate::store::retired::Retired;

/// Why the store does not open. Nothing was changed that was there before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `[store] url` is not a file of SQLite's.
    #[error("store url {0:?} is not of the form sqlite:FILE")]
    Url(String),
    /// The database file is not safe.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no key, or not the right one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was written by a later version.
    #[error("{} was written by a newer b24gate (schema {found}, this one knows {known}); \
             use that version again, or restore a backup made before the update", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this version.
        known: i64,
    },
    /// It was taken out of service.
    #[error(transparent)]
    Retired(#[from] Retired),
    /// SQLite refuses.
    #[error("{}: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// 2 for the configuration, 3 for files that are unsafe, missing or retired, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Url(_) => 2,
            Self::State(_) | Self::Key(_) | Self::Retired(_) => 3,
            Self::Newer { .. } | Self::Database { .. } => 1,
        }
    }

    pub(in crate::store) fn database(
        path: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Database { path: path.to_owned(), source: source.into() }
    }
}
