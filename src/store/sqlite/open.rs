//! Opening the database: which file it is, whether it is sound, with which key, and what happens
//! when it is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqlSafeStr as _};

use crate::config;
use crate::credential::{Generation, Secret};
use crate::store::clients::Closing;
use crate::store::directory::{Directory, Mark, Missing};
use crate::store::journal::{self, Identity, Journal};
use crate::store::key::{Key, KeyError, Sealed, origin};
use crate::store::rekey;
use crate::store::retired;
use crate::store::rows;
use crate::store::sealed::{Field, Place, Sealer};
use crate::store::sqlite::damage::{self, Look, is_damage};
use crate::store::sqlite::{OpenError, SqliteStore};
use crate::store::{StateDirectory, StoreError};

/// Every step of the schema, oldest first; a published step never changes.
pub(super) const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "custody", include_str!("../migrations/0001_custody.sql")),
    (2, "spares", include_str!("../migrations/0002_spares.sql")),
    (3, "ways_in", include_str!("../migrations/0003_ways_in.sql")),
    (4, "clients", include_str!("../migrations/0004_clients.sql")),
];

/// How long a statement waits for a backup tool that reads the file.
const BUSY: Duration = Duration::from_secs(5);

/// How long a write waits for the writes before it.
const QUEUE: Duration = Duration::from_secs(10);

/// The text whose seal tells the right key.
pub(in crate::store) const PROOF: &str = "b24gate";

/// Where that text belongs.
pub(in crate::store) const PROOF_PLACE: Place<'_> =
    Place { portal: "", chain: 0, generation: Generation(0), field: Field::Proof };

/// Why a database that looked sound cannot be used.
enum Trouble {
    Damaged(String),
    Refused(OpenError),
}

impl SqliteStore {
    /// Opens the database that `settings` names, and makes it on first start. `state` must stay
    /// open as long as the store: its lock is what keeps other processes out.
    ///
    /// A store that is retired is refused before anything is changed, the journal included: its
    /// answers would start its chains a second time.
    ///
    /// A database that is damaged is moved aside and a new one is made; what the journal holds is
    /// then all there is, and [`crate::store::Store::load`] brings it. The journal is not touched
    /// by this, so that a crash at any point leaves the answers for the next start.
    pub async fn open(state: &StateDirectory, settings: &config::Store) -> Result<Self, OpenError> {
        let path = database_path(state.path(), &settings.url)?;
        if check(state, &path)? {
            retired::refuse(&path).await?;
        }
        Self::open_even_retired(state, settings).await
    }

    /// As [`SqliteStore::open`], for what is done with a store that is out of service.
    pub(in crate::store) async fn open_even_retired(
        state: &StateDirectory,
        settings: &config::Store,
    ) -> Result<Self, OpenError> {
        Self::open_with(state, settings, journal::places()).await
    }

    pub(super) async fn open_with(
        state: &StateDirectory,
        settings: &config::Store,
        spool: Vec<PathBuf>,
    ) -> Result<Self, OpenError> {
        let path = database_path(state.path(), &settings.url)?;
        // Before anything that does not open with the key is taken for damage.
        if check(state, &path)? {
            rekey::heal(state, settings, &path, &spool).await?;
        }
        let slots = Directory::make_private(&state.path().join(journal::DIRECTORY))?;
        let answers = journal::has_answers(&slots);
        prepare(state, &path, answers)?;
        let opened = match damage::look(&path, answers).await? {
            Look::Sound => connect(&path).await,
            Look::Damaged(problem) => Err(Trouble::Damaged(problem)),
        };
        let sealed = match &opened {
            Ok(pool) => what_is_sealed(pool, answers).await.map_err(at(&path))?,
            Err(Trouble::Damaged(_)) => Sealed::Credentials,
            Err(Trouble::Refused(_)) => Sealed::Nothing,
        };
        let opened = match opened {
            Err(Trouble::Refused(error)) => return Err(error),
            Err(Trouble::Damaged(problem)) => Err(problem),
            Ok(pool) => Ok(pool),
        };
        let key = Key::load(state, &settings.key, sealed)?;
        let sealer = Arc::new(Sealer::new(&key));
        let wrong = || KeyError::Wrong { origin: origin(state, &settings.key) };
        let (pool, sealed) = match opened {
            Ok(pool) => (pool, sealed),
            Err(_) if answers && !journal::opens_any(&slots, &sealer) => return Err(wrong().into()),
            Err(problem) => (replace(state, &path, &problem).await?, Sealed::Nothing),
        };
        if !proves(&pool, &sealer, sealed, &slots).await.map_err(at(&path))? {
            return Err(wrong().into());
        }
        let identity = identify(&pool).await.map_err(at(&path))?;
        count_from(&pool, journal::highest_chain(&slots)).await.map_err(at(&path))?;
        let marks = [state.path(), &path, slots.path()].map(Mark::of);
        let marks = marks.into_iter().collect::<Result<_, _>>()?;
        let journal = Journal::new(slots, marks, spool, Arc::clone(&sealer), identity);
        let closing = Arc::new(Closing::new(Directory::open_private(state.path())?));
        Ok(Self { pool, sealer, journal, closing })
    }

    /// Whether there is a database to open in `state`; makes nothing.
    pub fn is_there(state: &Path, settings: &config::Store) -> bool {
        database_path(state, &settings.url).is_ok_and(|path| path.exists())
    }
}

pub(in crate::store) fn database_path(state: &Path, url: &str) -> Result<PathBuf, OpenError> {
    let refuse = || OpenError::Url(url.to_owned());
    let rest = url.strip_prefix("sqlite:").ok_or_else(refuse)?;
    let file = rest.strip_prefix("//").unwrap_or(rest);
    let path = state.join(file);
    if file.contains(['?', '#']) || file.starts_with(':') || path.file_name().is_none() {
        return Err(refuse());
    }
    Ok(path)
}

/// Checks the database file and SQLite's own files beside it, and says whether the first is there.
fn check(state: &StateDirectory, path: &Path) -> Result<bool, OpenError> {
    in_its_folder(state, path, |folder, name| {
        for suffix in damage::BESIDE {
            folder.file(&format!("{name}{suffix}"), Missing::Report)?;
        }
        Ok(folder.file(name, Missing::Report)?.is_some())
    })
}

/// As [`check`], and makes the database file, because SQLite would make it readable for everybody
/// that the umask allows.
fn prepare(state: &StateDirectory, path: &Path, answers: bool) -> Result<(), OpenError> {
    if check(state, path)? {
        return Ok(());
    }
    in_its_folder(state, path, |folder, name| {
        // A process died while it moved a damaged database aside, or the file was removed. Its
        // write-ahead log must not be read into a new one.
        let moved = damage::set_aside(folder, name)?;
        if answers || moved.is_some() {
            let file = path.display();
            tracing::error!(%file, "database_missing: a new one is made; the pairs are taken from the journal");
        }
        folder.file(name, Missing::Create)?;
        Ok(())
    })
}

fn in_its_folder<T>(
    state: &StateDirectory,
    path: &Path,
    act: impl FnOnce(&Directory, &str) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(OpenError::Url(path.display().to_string()));
    };
    if path.parent() == Some(state.path()) {
        return act(state.directory(), name);
    }
    act(&Directory::open_elsewhere(path.parent().unwrap_or(path))?, name)
}

/// Moves a damaged database aside and makes a new one.
///
/// The journal holds what the new one lacks, and whoever loads is given it; so a crash in here can
/// only lead to another start that finds a damaged, a missing or an empty database, and the answers.
async fn replace(
    state: &StateDirectory,
    path: &Path,
    problem: &str,
) -> Result<SqlitePool, OpenError> {
    let directory = Directory::open_elsewhere(path.parent().unwrap_or(path))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let moved = damage::set_aside(&directory, name)?;
    tracing::error!(
        file = %path.display(),
        moved_to = moved.unwrap_or_default(),
        problem,
        "database_damaged: it was moved aside, and a new one is made; the pairs are taken from \
         the journal, and a portal whose pair is not there has to be connected again"
    );
    prepare(state, path, true)?;
    connect(path).await.map_err(|trouble| match trouble {
        Trouble::Damaged(problem) => OpenError::database(path, problem),
        Trouble::Refused(error) => error,
    })
}

pub(in crate::store) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging()
}

pub(in crate::store) fn migrations() -> Migrator {
    let step = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(step).collect())
}

async fn connect(path: &Path) -> Result<SqlitePool, Trouble> {
    let options = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true);
    let sort = |error: sqlx::Error| {
        if is_damage(&error) {
            Trouble::Damaged(error.to_string())
        } else {
            Trouble::Refused(OpenError::database(path, error))
        }
    };
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(QUEUE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .map_err(sort)?;
    let trouble = match migrations().run(&pool).await {
        Ok(()) => return Ok(pool),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => sort(error),
        // What was written down about the steps is not what these steps are: published ones never
        // change, and newer ones were refused before.
        Err(error) => Trouble::Damaged(error.to_string()),
    };
    pool.close().await;
    Err(trouble)
}

async fn what_is_sealed(pool: &SqlitePool, answers: bool) -> Result<Sealed, sqlx::Error> {
    let any: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM chain) OR EXISTS (SELECT 1 FROM inbox) \
             OR EXISTS (SELECT 1 FROM portal WHERE application_token IS NOT NULL)",
    )
    .fetch_one(pool)
    .await?;
    Ok(if any || answers { Sealed::Credentials } else { Sealed::Nothing })
}

/// Whether the key is the one that sealed what is there; takes it on when nothing is.
async fn proves(
    pool: &SqlitePool,
    sealer: &Sealer,
    sealed: Sealed,
    slots: &Directory,
) -> Result<bool, StoreError> {
    let proof: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT proof FROM seal WHERE id = 1").fetch_optional(pool).await?;
    if proof
        .is_some_and(|proof| sealer.open(PROOF_PLACE, &proof).is_ok_and(|text| text.matches(PROOF)))
    {
        return Ok(true);
    }
    // The proof may be missing (a new database) or damaged while the key is right: then the key
    // opens something else.
    let right = sealed == Sealed::Nothing
        || journal::opens_any(slots, sealer)
        || !rows::inbox::letters(pool, sealer).await?.is_empty()
        || rows::load(pool, sealer).await?.iter().any(|record| {
            record.facts.application_token.is_some() || record.chains().any(Result::is_ok)
        });
    if right {
        let proof = sealer.seal(PROOF_PLACE, &Secret::new(PROOF))?;
        sqlx::query("INSERT OR REPLACE INTO seal (id, proof) VALUES (1, ?)")
            .bind(proof)
            .execute(pool)
            .await?;
    }
    Ok(right)
}

/// Which store this is.
async fn identify(pool: &SqlitePool) -> Result<Identity, StoreError> {
    let stored = retired::identify(&mut *pool.acquire().await?).await?;
    let wrong = |_wrong_length| StoreError::Unavailable("the store's identity is damaged".into());
    stored.try_into().map(Identity).map_err(wrong)
}

/// Lets new chains have numbers above those that the journal has slots for: in a new database, or
/// in one restored from a backup, they would write over answers that were not taken over yet.
async fn count_from(pool: &SqlitePool, highest: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'chain', 0 \
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'chain')",
    )
    .execute(pool)
    .await?;
    sqlx::query("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'chain' AND seq < ?1")
        .bind(highest)
        .execute(pool)
        .await?;
    Ok(())
}

fn at<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    path: &Path,
) -> impl Fn(E) -> OpenError + '_ {
    |error| OpenError::database(path, error)
}
