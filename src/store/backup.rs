//! Backups of the store: how one is written, and how one takes the place of a store.
//!
//! The refresh token is replaced at every use, so a backup goes stale with the next refresh of each
//! portal, and two stores that hold the same chain destroy each other's credential. That is why a
//! backup says where it was made, is restored once, and never beside the store it was made from.

mod compare;
mod error;
mod place;
mod restore;
mod source;
mod write;

pub use error::BackupError;
pub use restore::{Older, Restore, Restored, Whereabouts};

use std::path::{Path, PathBuf};

use crate::config;
use crate::store::key::origin_in;
use crate::store::retired::{Retired, since};
use crate::store::sqlite::database_path;
use crate::store::{OpenError, Record, SqliteStore, StateDirectory, Store as _};

/// What becomes of the store after the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It goes on.
    Serve,
    /// It is never served again: its chains go on where the backup is restored.
    Retire,
}

/// A backup that was written.
#[derive(Debug)]
pub struct Backup {
    /// Portals in it that have a credential.
    pub portals: u64,
    /// Chains in it, the spares among them.
    pub chains: u64,
    /// Why the store was retired before, when it was.
    pub earlier: Option<Retired>,
}

/// Where a store lies and what its key is called: what a backup says of where it came from.
#[derive(Clone, Debug)]
pub struct Origin {
    state: PathBuf,
    database: PathBuf,
    key: String,
}

impl Origin {
    /// The store that `settings` names in the state directory `state`.
    pub fn new(state: &Path, settings: &config::Store) -> Result<Self, OpenError> {
        Ok(Self {
            state: state.to_owned(),
            database: database_path(state, &settings.url)?,
            key: origin_in(state, &settings.key),
        })
    }

    /// Where its key is.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl SqliteStore {
    /// Writes a backup while the store is in use.
    pub async fn back_up(&self, origin: &Origin, file: &Path) -> Result<Backup, BackupError> {
        write::write(self, origin, file, After::Serve).await
    }

    /// Writes a backup of a store that no gateway uses.
    ///
    /// A store that was retired for a backup may be backed up and retired again: the power may have
    /// failed between the two, and a file can be lost, while the only tokens that are still good
    /// lie here.
    pub async fn back_up_at_rest(
        state: &StateDirectory,
        settings: &config::Store,
        file: &Path,
        after: After,
    ) -> Result<Backup, BackupError> {
        let origin = Origin::new(state.path(), settings)?;
        let (store, earlier) = match after {
            After::Serve => (Self::open(state, settings).await?, None),
            After::Retire => {
                let store = Self::open_even_retired(state, settings).await?;
                let earlier = since(&mut *store.pool.acquire().await?, &origin.database).await?;
                (store, earlier)
            }
        };
        let written = match earlier {
            Some(earlier) if !earlier.why.starts_with(write::WENT_INTO) => {
                Err(OpenError::from(earlier).into())
            }
            earlier => match settled(&store, after).await {
                Ok(()) => write::write(&store, &origin, file, after)
                    .await
                    .map(|backup| Backup { earlier, ..backup }),
                Err(error) => Err(error),
            },
        };
        store.close().await;
        written
    }
}

/// The last backup must hold the newest pair of every chain.
async fn settled(store: &SqliteStore, after: After) -> Result<(), BackupError> {
    match after {
        After::Serve => Ok(()),
        After::Retire => match unsettled(&store.load().await?) {
            portals if portals.is_empty() => Ok(()),
            portals => Err(BackupError::Unsettled { portals }),
        },
    }
}

/// The portals of which the journal or the spool may hold a newer pair than the database.
pub(super) fn unsettled(records: &[Record]) -> Vec<String> {
    let newer = |record: &&Record| {
        let stored = || record.chains().flatten();
        record.answers.iter().any(|answered| {
            if answered.ours {
                let chain = stored().find(|stored| stored.chain == answered.chain);
                return chain.is_none_or(|stored| answered.generation >= stored.generation);
            }
            // Its numbers mean nothing here, so the times have to do.
            stored().all(|stored| answered.at > stored.issued_at)
        })
    };
    records.iter().filter(newer).map(|record| record.portal.clone()).collect()
}

#[cfg(test)]
mod tests;
