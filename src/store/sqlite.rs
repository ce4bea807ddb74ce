//! The store in one SQLite file.
//!
//! WAL with `synchronous=FULL`: a committed transaction survives a power cut. One connection does
//! all the work, so writers never meet; what belongs together is one transaction, and every write
//! after an exchange carries the generation it started from in its `WHERE`.

mod error;

pub use error::OpenError;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _, Sqlite, SqliteConnection};

use crate::config::{self, Endpoint, Inject};
use crate::credential::{ChainId, Generation, Grant, Link, RawAnswer, Secret, State};
use crate::store::directory::{Directory, Missing};
use crate::store::key::{Key, KeyError, Sealed, origin};
use crate::store::rekey;
use crate::store::retired;
use crate::store::rows;
use crate::store::sealed::{Field, Place, Sealer};
use crate::store::{
    Added, LedgerEntry, Pending, Record, Seat, StateDirectory, Store, StoreError, StoredCredential,
};

/// Every step of the schema, oldest first; a published step never changes.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "custody", include_str!("migrations/0001_custody.sql")),
    (2, "spares", include_str!("migrations/0002_spares.sql")),
];

/// How long a statement waits for a backup tool that reads the file.
const BUSY: Duration = Duration::from_secs(5);

/// How long a write waits for the writes before it.
const QUEUE: Duration = Duration::from_secs(10);

/// The text whose seal tells the right key.
pub(super) const PROOF: &str = "b24gate";

/// Where that text belongs.
pub(super) const PROOF_PLACE: Place<'_> =
    Place { portal: "", chain: 0, generation: Generation(0), field: Field::Proof };

/// Credentials in a SQLite file, the tokens sealed.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) pool: SqlitePool,
    pub(super) sealer: Sealer,
}

impl SqliteStore {
    /// Opens the database that `settings` names, and makes it on first start. `state` must stay
    /// open as long as the store: its lock is what keeps other processes out.
    pub async fn open(state: &StateDirectory, settings: &config::Store) -> Result<Self, OpenError> {
        let path = database_path(state.path(), &settings.url)?;
        prepare(state, &path)?;
        retired::refuse(&path).await?;
        Self::open_even_retired(state, settings).await
    }

    /// As [`SqliteStore::open`], for what is done with a store that is out of service.
    pub(super) async fn open_even_retired(
        state: &StateDirectory,
        settings: &config::Store,
    ) -> Result<Self, OpenError> {
        let path = database_path(state.path(), &settings.url)?;
        prepare(state, &path)?;
        refuse_newer(&path).await?;
        rekey::heal(state, settings, &path).await?;
        let failed = |source: MigrateError| database_error(&path, source);
        let options = options(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(QUEUE)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(|source| database_error(&path, source))?;
        migrations().run(&pool).await.map_err(failed)?;
        let sealed = what_is_sealed(&pool).await.map_err(|error| database_error(&path, error))?;
        let key = Key::load(state, &settings.key, sealed)?;
        let store = Self { pool, sealer: Sealer::new(&key) };
        if store.proves(sealed).await.map_err(|error| database_error(&path, error))? {
            Ok(store)
        } else {
            Err(KeyError::Wrong { origin: origin(state, &settings.key) }.into())
        }
    }

    /// Whether there is a database to open in `state`; makes nothing.
    pub fn is_there(state: &Path, settings: &config::Store) -> bool {
        database_path(state, &settings.url).is_ok_and(|path| path.exists())
    }

    /// Finishes what was begun and folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut transaction = Transaction(Some(self.pool.acquire().await?));
        // IMMEDIATE: what is read inside cannot be overtaken before it is written.
        transaction.execute("BEGIN IMMEDIATE").await?;
        Ok(transaction)
    }

    /// Whether the key is the one that sealed what is there; takes it on when nothing is.
    async fn proves(&self, sealed: Sealed) -> Result<bool, StoreError> {
        let proof: Option<Vec<u8>> = sqlx::query_scalar("SELECT proof FROM seal WHERE id = 1")
            .fetch_optional(&self.pool)
            .await?;
        let opens = proof.is_some_and(|proof| {
            self.sealer.open(PROOF_PLACE, &proof).is_ok_and(|text| text.matches(PROOF))
        });
        if !opens && sealed == Sealed::Nothing {
            let proof = self.sealer.seal(PROOF_PLACE, &Secret::new(PROOF))?;
            sqlx::query("INSERT OR REPLACE INTO seal (id, proof) VALUES (1, ?)")
                .bind(proof)
                .execute(&self.pool)
                .await?;
            return Ok(true);
        }
        Ok(opens)
    }
}

impl Store for SqliteStore {
    fn load(&self) -> Pending<'_, Vec<Record>> {
        Box::pin(rows::load(&self.pool, &self.sealer))
    }

    fn intend<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::intend(transaction.connection()?, link).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn receive<'a>(&'a self, _link: Link<'a>, _answer: &'a RawAnswer) -> Pending<'a, ()> {
        Box::pin(async move { Ok(()) })
    }

    fn commit<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let stored = rows::commit(transaction.connection()?, &self.sealer, link, grant).await?;
            transaction.commit().await?;
            Ok(stored)
        })
    }

    fn recover<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let stored =
                rows::recover(transaction.connection()?, &self.sealer, link, grant).await?;
            transaction.commit().await?;
            Ok(stored)
        })
    }

    fn fail<'a>(&'a self, link: Link<'a>, state: &'a State) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::fail(transaction.connection()?, link, state).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn add<'a>(&'a self, portal: &'a str, grant: &'a Grant, seat: Seat) -> Pending<'a, Added> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let added =
                rows::add(transaction.connection()?, &self.sealer, portal, grant, seat).await?;
            transaction.commit().await?;
            Ok(added)
        })
    }

    fn promote<'a>(
        &'a self,
        portal: &'a str,
        spare: ChainId,
    ) -> Pending<'a, Option<StoredCredential>> {
        Box::pin(async move {
            let Some(found) = rows::load_chain(&self.pool, &self.sealer, portal, spare).await?
            else {
                return Ok(None);
            };
            let mut transaction = self.begin().await?;
            let link = Link { portal, chain: spare, generation: found.generation };
            let connection = transaction.connection()?;
            let (access, refresh) = (&found.access, &found.refresh);
            let generation = rows::promote(connection, &self.sealer, link, access, refresh).await?;
            transaction.commit().await?;
            Ok(Some(StoredCredential { generation, intent_open: false, ..found }))
        })
    }

    fn ledger<'a>(&'a self, portal: &'a str, limit: u32) -> Pending<'a, Vec<LedgerEntry>> {
        Box::pin(rows::ledger(&self.pool, portal, limit))
    }

    fn seen<'a>(
        &'a self,
        portal: &'a str,
        refresh: &'a Secret,
    ) -> Pending<'a, Option<LedgerEntry>> {
        Box::pin(rows::seen(&self.pool, portal, refresh))
    }

    fn alerted(&self) -> Pending<'_, Vec<(String, String)>> {
        Box::pin(rows::alerted(&self.pool))
    }

    fn remember_alert<'a>(&'a self, subject: &'a str, condition: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::remember_alert(transaction.connection()?, subject, condition).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn remember_inject<'a>(&'a self, portal: &'a str, inject: Inject) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::remember_inject(transaction.connection()?, portal, inject).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn remember_endpoint<'a>(
        &'a self,
        portal: &'a str,
        endpoint: Option<&'a Endpoint>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::remember_endpoint(transaction.connection()?, portal, endpoint).await?;
            Ok(transaction.commit().await?)
        })
    }
}

/// A transaction on the one connection.
///
/// Unless it is committed, the connection is closed and the next write opens another: after a full
/// disk SQLite has rolled back by itself, which sqlx's own transactions count wrongly from then on,
/// and after a failed fsync the same descriptor may report success for pages that are lost.
pub(super) struct Transaction(Option<PoolConnection<Sqlite>>);

impl Transaction {
    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(self.connection()?).await.map(drop)
    }

    /// When this returns `Ok`, what was written is on the disk.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        self.0 = None; // Back to the pool.
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

pub(super) fn database_path(state: &Path, url: &str) -> Result<PathBuf, OpenError> {
    let refuse = || OpenError::Url(url.to_owned());
    let rest = url.strip_prefix("sqlite:").ok_or_else(refuse)?;
    let file = rest.strip_prefix("//").unwrap_or(rest);
    let path = state.join(file);
    if file.contains(['?', '#']) || file.starts_with(':') || path.file_name().is_none() {
        return Err(refuse());
    }
    Ok(path)
}

/// Checks the database file and SQLite's own files beside it, and makes the first, because SQLite
/// would make it readable for everybody that the umask allows.
fn prepare(state: &StateDirectory, path: &Path) -> Result<(), OpenError> {
    let elsewhere;
    let directory = if path.parent() == Some(state.path()) {
        state.directory()
    } else {
        elsewhere = Directory::open_elsewhere(path.parent().unwrap_or(path))?;
        &elsewhere
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(OpenError::Url(path.display().to_string()));
    };
    directory.file(name, Missing::Create)?;
    for suffix in ["-wal", "-shm", "-journal"] {
        directory.file(&format!("{name}{suffix}"), Missing::Report)?;
    }
    Ok(())
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging()
}

pub(super) fn migrations() -> Migrator {
    let step = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(step).collect())
}

/// Looks at the schema through a connection that cannot write.
pub(super) async fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    let failed = |source: sqlx::Error| database_error(path, source);
    let mut connection = options(path).read_only(true).connect().await.map_err(failed)?;
    let found = schema_of(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0);
    match found {
        Some(found) if found > known => {
            Err(OpenError::Newer { path: path.to_owned(), found, known })
        }
        _ => Ok(()),
    }
}

async fn schema_of(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let table = "SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(table).fetch_one(&mut *connection).await?;
    if tables == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(connection).await
}

async fn what_is_sealed(pool: &SqlitePool) -> Result<Sealed, sqlx::Error> {
    let any: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM chain)").fetch_one(pool).await?;
    Ok(if any { Sealed::Credentials } else { Sealed::Nothing })
}

pub(super) fn database_error(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Database { path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests;
