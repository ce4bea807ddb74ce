//! The file that calls are kept in. Whatever is wrong with it is told once and tried again every
//! second; meanwhile calls are counted, and the count is the first thing that is written after.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, QueryBuilder, Sqlite, SqliteConnection};

use crate::audit::Entry;
use crate::audit::scribe::unix_ms;

/// The file, open or not.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    connection: Option<SqliteConnection>,
    /// Calls that were not kept, and of which no row says so yet.
    unwritten: u64,
    is_failing: bool,
    /// Turns until old rows are looked for although there is nothing new.
    until_pruned: u32,
}

/// Why nothing can be written.
#[derive(Debug)]
enum Trouble {
    /// The file's content is wrong.
    Damaged(String),
    /// It may pass.
    Passing(String),
}

/// What follows a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    TryAgain,
    Wait,
}

impl Book {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: None, unwritten: 0, is_failing: false, until_pruned: 0 }
    }

    /// Writes `entries`, and that `missed` more are not among them; takes out what is older than
    /// `keep`.
    pub(super) async fn keep(&mut self, entries: &[Entry], missed: u64, keep: Duration) {
        self.unwritten += missed;
        if entries.is_empty() && self.unwritten == 0 && self.until_pruned > 0 {
            self.until_pruned -= 1;
            return;
        }
        let mut written = self.write(entries, keep).await;
        if let Err(trouble) = &written {
            // The next write begins with a new connection: after a failed one nobody knows what
            // the old one still believes. And one that is closed after the file was moved would
            // remove the write-ahead log of the next.
            self.close().await;
            if self.fail(trouble) == Then::TryAgain {
                written = self.write(entries, keep).await;
            }
        }
        match written {
            Ok(more_is_old) => {
                if std::mem::take(&mut self.is_failing) {
                    let not_kept = self.unwritten;
                    tracing::info!(file = %self.path.display(), not_kept, "calls are kept again");
                }
                self.unwritten = 0;
                self.until_pruned = if more_is_old { 0 } else { PRUNE_TURNS };
            }
            Err(_told) => {
                self.unwritten += entries.len() as u64;
                self.close().await;
            }
        }
    }

    /// Lets go of the file, with everything folded into it.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "the file of calls was not closed in order");
        }
    }

    /// One transaction; says whether there is more that is too old.
    async fn write(&mut self, entries: &[Entry], keep: Duration) -> Result<bool, Trouble> {
        leave_room(&self.path)?;
        if self.connection.is_none() {
            self.connection = Some(open(&self.path).await?);
        }
        let Some(connection) = &mut self.connection else { return Ok(false) };
        let now_ms = unix_ms();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        if self.unwritten > 0 {
            let row = Entry { at_ms: now_ms, not_kept: Some(self.unwritten), ..Entry::default() };
            insert(connection, &[row]).await?;
        }
        for some in entries.chunks(ROWS_AT_ONCE) {
            insert(connection, some).await?;
        }
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let more_is_old = prune(connection, now_ms.saturating_sub(keep_ms)).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
        Ok(more_is_old)
    }

    /// Tells of it once, and moves a damaged file out of the way.
    fn fail(&mut self, trouble: &Trouble) -> Then {
        let file = self.path.display();
        let first = !self.is_failing;
        let (error, hint) = match trouble {
            Trouble::Passing(error) => (error.clone(), ""),
            Trouble::Damaged(problem) => match set_aside(&self.path) {
                Ok(moved_to) => {
                    tracing::error!(
                        %file, problem, moved_to = %moved_to.display(),
                        "the file of calls is damaged: it was moved aside, and a new one is begun"
                    );
                    return Then::TryAgain;
                }
                Err(error) => (error.to_string(), "; it is damaged and cannot be moved aside"),
            },
        };
        if first {
            self.is_failing = true;
            tracing::error!(
                %file, error,
                "calls are NOT kept for now, and go on; it is tried again every second{hint}"
            );
        }
        Then::Wait
    }
}

/// What is left of a disk belongs to the tokens.
fn leave_room(path: &Path) -> Result<(), Trouble> {
    let folder = path.parent().unwrap_or(path);
    let disk = rustix::fs::statvfs(folder).map_err(|error| Trouble::Passing(error.to_string()))?;
    let room = disk.f_bavail.saturating_mul(disk.f_frsize);
    if room >= ROOM_LEFT_MIN {
        return Ok(());
    }
    Err(Trouble::Passing(format!("the disk is nearly full: {room} bytes are left")))
}

async fn open(path: &Path) -> Result<SqliteConnection, Trouble> {
    make_private(path).map_err(|error| Trouble::Passing(error.to_string()))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .journal_mode(SqliteJournalMode::Wal)
        // What the last second before a power cut brought may be lost; the file stays whole.
        .synchronous(SqliteSynchronous::Normal)
        .pragma("journal_size_limit", WAL_BYTES)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let steps = MIGRATIONS.into_iter().map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let made = Migrator::with_migrations(steps.collect()).run(&pool).await;
    let connection = pool.acquire().await.map(PoolConnection::detach);
    match (made, connection) {
        (Ok(()), connection) => Ok(connection?),
        (Err(error), connection) => {
            if let Ok(connection) = connection {
                connection.close().await?;
            }
            Err(error.into())
        }
    }
}

/// `SQLite` would make it readable for everybody that the umask allows.
fn make_private(path: &Path) -> io::Result<()> {
    let nofollow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

async fn insert(connection: &mut SqliteConnection, rows: &[Entry]) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO call (at, client, uid, portal, method, status, ms, replayed, executed, code, \
         not_kept) ",
    );
    query.push_values(rows, |mut row, entry| {
        row.push_bind(number(entry.at_ms))
            .push_bind(entry.client.as_deref())
            .push_bind(entry.uid)
            .push_bind(entry.portal.as_deref())
            .push_bind(entry.method.as_deref())
            .push_bind(entry.status)
            .push_bind(entry.ms.map(number))
            .push_bind(entry.replayed.as_deref())
            .push_bind(entry.executed.as_deref())
            .push_bind(entry.code.as_deref())
            .push_bind(entry.not_kept.map(number));
    });
    // As many texts as there are numbers of rows are not worth being remembered.
    query.build().persistent(rows.len() == ROWS_AT_ONCE).execute(connection).await.map(drop)
}

/// Takes out what is too old or too much, but no more than a moment's work of it; says whether there
/// is more.
async fn prune(connection: &mut SqliteConnection, before_ms: u64) -> Result<bool, sqlx::Error> {
    let old = sqlx::query(
        "DELETE FROM call WHERE id IN (SELECT id FROM call WHERE at < ?1 ORDER BY at LIMIT ?2)",
    )
    .bind(number(before_ms))
    .bind(PRUNED_AT_ONCE)
    .execute(&mut *connection)
    .await?;
    let many = sqlx::query(
        "DELETE FROM call WHERE id IN (SELECT id FROM call \
         WHERE id <= (SELECT max(id) FROM call) - ?1 ORDER BY id LIMIT ?2)",
    )
    .bind(ROWS_MAX)
    .bind(PRUNED_AT_ONCE)
    .execute(connection)
    .await?;
    let is_much = |rows: u64| rows >= u64::from(PRUNED_AT_ONCE);
    Ok(is_much(old.rows_affected()) || is_much(many.rows_affected()))
}

/// Moves the file, with what `SQLite` has put beside it, to a name that takes the last one only, so
/// that damage does not fill the disk.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    for beside in ["", "-wal", "-shm"] {
        let to = with(&format!(".damaged{beside}"));
        for done in [std::fs::remove_file(&to), std::fs::rename(with(beside), &to)] {
            match done {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(with(".damaged"))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        /// `SQLITE_IOERR_SHORT_READ`: the file ends before its pages do.
        const SHORT_READ: i64 = 522;
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<i64>().ok());
        // ERROR (a table or a column that should be there is not), CORRUPT, NOTADB. All others (full,
        // busy, read-only, a failing disk) may pass, and a file that may be good is not moved.
        match code {
            Some(code) if code == SHORT_READ || matches!(code & 0xff, 1 | 11 | 26) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Passing(error.to_string()),
        }
    }
}

impl From<MigrateError> for Trouble {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(_) => {
                Self::Passing("a newer b24gate has written it".to_owned())
            }
            // Published steps never change.
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Every step of the schema, oldest first; a published step never changes.
const MIGRATIONS: [(i64, &str, &str); 1] =
    [(1, "calls", include_str!("migrations/0001_calls.sql"))];
/// Rows at most, whatever the age: half a gigabyte.
const ROWS_MAX: i64 = 5_000_000;
/// Rows in one statement.
const ROWS_AT_ONCE: usize = 64;
/// More than any number of workers brings in a second, and a tenth of a second's work.
const PRUNED_AT_ONCE: u32 = 16_384;
/// A minute of turns.
const PRUNE_TURNS: u32 = 60;
/// How long a write waits for somebody who looks at the file with a tool of their own.
const BUSY: Duration = Duration::from_secs(2);
/// What the write-ahead log is cut back to.
const WAL_BYTES: &str = "1048576";
/// The last of a disk belongs to the store, which has tokens to keep: 16 MiB.
const ROOM_LEFT_MIN: u64 = 16 << 20;
