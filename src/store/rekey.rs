//! A new key: everything sealed is opened with the key in use and sealed with the next one.
//!
//! With the key in the state directory, the next one is durable beside it before the database
//! changes, and takes its name afterwards. A crash before the commit leaves a file that the next
//! attempt replaces. A crash after it leaves a database that the old key does not open and the one
//! beside it does, by which the next opening knows that it has to finish ([`heal`]).

mod records;

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::config::{self, KeySource};
use crate::credential::Secret;
use crate::store::backup::unsettled;
use crate::store::journal::{self, Identity};
use crate::store::key::{Key, Sealed};
use crate::store::retired::{has_table, identify};
use crate::store::sealed::{CannotSeal, Sealer};
use crate::store::sqlite::{
    PROOF, PROOF_PLACE, connect_to_read, database_path, options, unless_damaged,
};
use crate::store::{
    KeyError, OpenError, Record, SqliteStore, StateDirectory, Store as _, StoreError,
};

/// What was sealed anew.
#[derive(Debug)]
pub struct Rekeyed {
    /// Chains, the history among them.
    pub chains: u64,
}

/// Why there is no new key. Nothing was changed, unless the sentence says so.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The store does not open, or the new key is of no use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store opens and cannot be read or written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The configuration names the key, so it has to name the new one, too.
    #[error(
        "the configuration names the key (key_file or key_env), so the new one has to be made by \
         you: openssl rand -hex 32 > PATH, chmod 600 PATH, and --new-key-file PATH"
    )]
    NoNewKey,
    /// The new key is the old one.
    #[error("{} holds the key that is in use already", path.display())]
    SameKey {
        /// Its file.
        path: PathBuf,
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
    /// It is done but for the end.
    #[error(
        "the tokens are sealed with the new key, but {problem}; the next start of the gateway \
         finishes it"
    )]
    Unfinished {
        /// What went wrong.
        problem: String,
    },
    /// Something does not open with the key in use.
    #[error(
        "these records do not open with the key in use, so they cannot be sealed anew: {}; \
         nothing was changed", records.join(", ")
    )]
    Unreadable {
        /// Chains and application tokens of portals, and events.
        records: Vec<String>,
    },
}

impl RekeyError {
    /// 2 for the command line, 1 for what stands in the way, else as for opening.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) => error.exit_code(),
            Self::NoNewKey | Self::SameKey { .. } => 2,
            Self::Store(_)
            | Self::Unsettled { .. }
            | Self::Unfinished { .. }
            | Self::Unreadable { .. } => 1,
        }
    }
}

/// Seals everything in the store with another key: the one in `new`, or else a new one in the
/// state directory.
pub async fn rekey(
    state: &StateDirectory,
    settings: &config::Store,
    new: Option<&Path>,
) -> Result<Rekeyed, RekeyError> {
    if new.is_none() && !matches!(settings.key, KeySource::StateDirectory) {
        return Err(RekeyError::NoNewKey);
    }
    let store = SqliteStore::open(state, settings).await?;
    let sealed = seal_anew(&store, state, new).await;
    store.close().await;
    let rekeyed = sealed?;
    match finish(state, settings, new).await {
        Ok(alone) if alone.is_empty() => Ok(rekeyed),
        Ok(alone) => {
            let problem = format!("{} cannot be copied into the journal", alone.join(", "));
            Err(RekeyError::Unfinished { problem })
        }
        Err(error) => Err(RekeyError::Unfinished { problem: error.to_string() }),
    }
}

/// From the commit on. Says whose pairs lie in the database alone.
async fn finish(
    state: &StateDirectory,
    settings: &config::Store,
    new: Option<&Path>,
) -> Result<Vec<String>, RekeyError> {
    let path = database_path(state.path(), &settings.url)?;
    clean(state, &path, &journal::places()).await;
    let key = if let Some(new) = new {
        KeySource::File(new.to_owned())
    } else {
        Key::take_next(state)?;
        KeySource::StateDirectory
    };
    let store = SqliteStore::open(state, &config::Store { url: settings.url.clone(), key }).await?;
    let loaded = async {
        // What has no copy is copied by this, and seen by the next.
        store.load().await?;
        store.load().await
    };
    let records = loaded.await;
    store.close().await;
    let alone = records?.into_iter().filter(lacks_a_copy);
    Ok(alone.map(|record| record.portal).collect())
}

fn lacks_a_copy(record: &Record) -> bool {
    record.chains().flatten().any(|stored| {
        !record.answers.iter().any(|answered| {
            let brought = (answered.chain, answered.generation.next());
            answered.ours && brought == (stored.chain, stored.generation)
        })
    })
}

/// Finishes what a crash cut short after its commit.
pub(super) async fn heal(
    state: &StateDirectory,
    settings: &config::Store,
    path: &Path,
    spool: &[PathBuf],
) -> Result<(), OpenError> {
    if !matches!(settings.key, KeySource::StateDirectory) {
        return Ok(());
    }
    let Some(next) = Key::next(state)? else {
        return Ok(());
    };
    let Some(proof) = unless_damaged(path, proof(path).await)? else {
        return Ok(());
    };
    if !proves(&Sealer::new(&next), &proof) {
        return Ok(());
    }
    tracing::warn!(database = %path.display(), "a change of the key was cut short; finishing it");
    clean(state, path, spool).await;
    Ok(Key::take_next(state)?)
}

/// Up to the commit.
async fn seal_anew(
    store: &SqliteStore,
    state: &StateDirectory,
    new: Option<&Path>,
) -> Result<Rekeyed, RekeyError> {
    let portals = unsettled(&store.load().await?);
    if !portals.is_empty() {
        return Err(RekeyError::Unsettled { portals });
    }
    let key = match new {
        Some(path) => Key::load(state, &KeySource::File(path.to_owned()), Sealed::Credentials)?,
        None => Key::make_next(state)?,
    };
    let next = Sealer::new(&key);
    let mut transaction = store.begin().await?;
    let connection = transaction.connection()?;
    let proof: Vec<u8> =
        sqlx::query_scalar("SELECT proof FROM seal").fetch_one(&mut *connection).await?;
    if let Some(path) = new.filter(|_| proves(&next, &proof)) {
        return Err(RekeyError::SameKey { path: path.to_owned() });
    }
    let chains = records::seal_anew(connection, &store.sealer, &next).await?;
    let proof = next.seal(PROOF_PLACE, &Secret::new(PROOF))?;
    sqlx::query("UPDATE seal SET proof = ?").bind(proof).execute(connection).await?;
    transaction.commit().await?;
    Ok(Rekeyed { chains })
}

/// What the old key sealed must not linger: in the journal, in the spool, in free pages, in the
/// write-ahead log. That it cannot be removed is no reason to leave the change of the key unfinished.
async fn clean(state: &StateDirectory, path: &Path, spool: &[PathBuf]) {
    if let Err(error) = journal::remove_slots(state.path()) {
        tracing::warn!(%error, "journal slots of the old key stay; the gateway replaces them");
    }
    if let Err(error) = clear_spool(path, spool).await {
        tracing::warn!(%error, "answers that the old key sealed stay in the spool");
    }
    if let Err(error) = compact(path).await {
        tracing::warn!(%error, "records of the old key stay in free pages of the database");
    }
}

async fn clear_spool(path: &Path, places: &[PathBuf]) -> Result<(), OpenError> {
    let failed = |source| OpenError::database(path, source);
    let mut connection = options(path).connect().await.map_err(failed)?;
    let identity = identify(&mut connection).await;
    connection.close().await.map_err(failed)?;
    match identity.map_err(failed)?.try_into() {
        Ok(identity) => Ok(journal::clear_spool(places.to_vec(), Identity(identity))?),
        // It has nothing there: a store whose number is damaged does not open.
        Err(_wrong_length) => Ok(()),
    }
}

async fn compact(path: &Path) -> Result<(), sqlx::Error> {
    let mut connection = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::raw_sql("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    connection.close().await
}

fn proves(sealer: &Sealer, proof: &[u8]) -> bool {
    sealer.open(PROOF_PLACE, proof).is_ok_and(|text| text.matches(PROOF))
}

async fn proof(path: &Path) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let mut connection = connect_to_read(path).await?;
    let found = if has_table(&mut connection, "seal").await? {
        sqlx::query_scalar("SELECT proof FROM seal").fetch_optional(&mut connection).await?
    } else {
        None
    };
    connection.close().await?;
    Ok(found)
}

impl From<sqlx::Error> for RekeyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<CannotSeal> for RekeyError {
    fn from(error: CannotSeal) -> Self {
        Self::Store(error.into())
    }
}

impl From<KeyError> for RekeyError {
    fn from(error: KeyError) -> Self {
        Self::Open(error.into())
    }
}

#[cfg(test)]
mod tests;
