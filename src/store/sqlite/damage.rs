//! Telling a damaged database from one that is only newer, locked or on a full disk, and moving it
//! out of the way without losing a byte of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::credential::unix_now;
use crate::store::StateError;
use crate::store::directory::Directory;
use crate::store::sqlite::OpenError;
use crate::store::sqlite::open::{MIGRATIONS, migrations, options};

/// What SQLite puts beside its file.
pub(in crate::store) const BESIDE: [&str; 3] = ["-wal", "-shm", ROLLBACK];

/// Where SQLite keeps what a transaction overwrites, unless there is a write-ahead log.
const ROLLBACK: &str = "-journal";

/// By which every database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Bytes of a database's header that are looked at: the magic, the page size, and the versions of
/// the format for writing and for reading.
const HEAD: usize = 20;

/// What was seen of a database.
#[derive(Debug)]
pub(in crate::store) enum Look {
    /// It can be opened; it may be older, or new and empty.
    Sound,
    /// It cannot be relied on; says why.
    Damaged(String),
}

/// A table, an index or a trigger: its type, its name and its text.
type Item = (String, String, Option<String>);

/// Looks at the database through a connection that cannot write. An empty file is a new database,
/// unless there are answers in the journal: then it was one that held pairs.
pub(in crate::store) async fn look(path: &Path, answers: bool) -> Result<Look, OpenError> {
    let head = head(path).map_err(|error| OpenError::database(path, error))?;
    if head.is_empty() && !answers {
        return Ok(Look::Sound);
    }
    let formats = head.get(18..HEAD).unwrap_or_default();
    if !head.starts_with(MAGIC) || formats.len() != 2 || formats.iter().any(|format| *format > 2) {
        let problem = if head.is_empty() { "it is empty" } else { "it is not a database" };
        return Ok(Look::Damaged(problem.to_owned()));
    }
    let found = async {
        let mut connection = connect_to_read(path).await?;
        let schema = schema_of(&mut connection).await;
        let problem = problem(&mut connection, &schema).await;
        connection.close().await?;
        Ok::<_, sqlx::Error>((schema?, problem?))
    };
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max().unwrap_or(0);
    match found.await {
        Ok((Some(found), _)) if found > known => {
            Err(OpenError::Newer { path: path.to_owned(), found, known })
        }
        Ok((_, Some(problem))) => Ok(Look::Damaged(problem)),
        Ok((_, None)) => Ok(Look::Sound),
        Err(error) if is_damage(&error) => Ok(Look::Damaged(error.to_string())),
        Err(error) => Err(OpenError::database(path, error)),
    }
}

/// Whether this error says that the file's content is wrong. All others (full, busy, read-only, no
/// memory, a failing disk) may pass, and a file that may be good is not moved.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    /// `SQLITE_IOERR_SHORT_READ`: the file ends before its pages do.
    const SHORT_READ: i64 = 522;
    match error {
        sqlx::Error::Database(error) => {
            let code: i64 = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
            // ERROR (a table or a column that should be there is not), CORRUPT, CONSTRAINT,
            // MISMATCH, NOTADB.
            code == SHORT_READ || matches!(code & 0xff, 1 | 11 | 19 | 20 | 26)
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => true,
        _ => false,
    }
}

/// A connection that cannot write. What a crash left of a transaction is taken back before, which
/// only a connection that can write does; otherwise SQLite would refuse to read.
pub(in crate::store) async fn connect_to_read(
    path: &Path,
) -> Result<SqliteConnection, sqlx::Error> {
    let mut journal = path.as_os_str().to_owned();
    journal.push(ROLLBACK);
    if Path::new(&journal).symlink_metadata().is_ok_and(|found| found.len() > 0) {
        let mut connection = options(path).connect().await?;
        sqlx::query("SELECT COUNT(*) FROM sqlite_schema").fetch_one(&mut connection).await?;
        connection.close().await?;
    }
    options(path).read_only(true).connect().await
}

/// What was read of a database; nothing, when it is damaged.
pub(in crate::store) fn unless_damaged<T>(
    path: &Path,
    found: Result<Option<T>, sqlx::Error>,
) -> Result<Option<T>, OpenError> {
    match found {
        Err(error) if is_damage(&error) => Ok(None),
        found => found.map_err(|error| OpenError::database(path, error)),
    }
}

/// Moves a database and what lies beside it to names that nothing has yet, and says to which.
///
/// The database goes first: if the process dies in the middle, the next start finds no database
/// and moves the rest. The other way round it would find the database without its write-ahead log,
/// which may look sound and be old.
pub(super) fn set_aside(directory: &Directory, name: &str) -> Result<Option<String>, StateError> {
    let names = directory.names()?;
    let taken = |to: &str| names.iter().any(|name| name.starts_with(to));
    let numbers = unix_now()..;
    let target = numbers.map(|at| format!("{name}.corrupt-{at}")).find(|to| !taken(to));
    let Some(target) = target else {
        return Ok(None);
    };
    let mut moved = None;
    for suffix in ["", BESIDE[0], BESIDE[1], BESIDE[2]] {
        let from = format!("{name}{suffix}");
        if names.contains(&from) {
            directory.rename(&from, &format!("{target}{suffix}"))?;
            directory.sync()?;
            moved = Some(target.clone());
        }
    }
    Ok(moved)
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

async fn schema_of(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let table = "SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query_scalar(table).fetch_one(&mut *connection).await?;
    if tables == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(connection).await
}

/// What is wrong with the pages or with the schema.
async fn problem(
    connection: &mut SqliteConnection,
    schema: &Result<Option<i64>, sqlx::Error>,
) -> Result<Option<String>, sqlx::Error> {
    let said: String =
        sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut *connection).await?;
    if said != "ok" {
        return Ok(Some(said));
    }
    let current = MIGRATIONS.iter().map(|(version, ..)| *version).max();
    if schema.as_ref().is_ok_and(|found| *found == current) {
        let found = items(connection).await?;
        let missing = expected().await?.into_iter().find(|item| !found.contains(item));
        return Ok(
            missing.map(|(kind, name, _)| format!("its {kind} {name} is not as it was made"))
        );
    }
    Ok(None)
}

/// The schema as this version makes it.
async fn expected() -> Result<Vec<Item>, sqlx::Error> {
    let mut connection =
        SqliteConnectOptions::new().in_memory(true).disable_statement_logging().connect().await?;
    migrations().run(&mut connection).await.map_err(|error| sqlx::Error::Migrate(error.into()))?;
    let items = items(&mut connection).await?;
    connection.close().await?;
    Ok(items)
}

async fn items(connection: &mut SqliteConnection) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as("SELECT type, name, sql FROM sqlite_schema").fetch_all(connection).await
}
