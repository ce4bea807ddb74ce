//! Writing a backup: a draft beside the file, which gets its name when it is whole and sound.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::NamedTempFile;

use crate::store::backup::{After, Backup, BackupError, Origin, source};
use crate::store::directory::Directory;
use crate::store::sqlite::{connect_to_read, options};
use crate::store::{OpenError, SqliteStore, StateError, journal, retired};

/// How the reason begins for which a backup retires its store.
pub(super) const WENT_INTO: &str = "its chains went into the backup ";

/// Writes a backup of `store` to `file`.
///
/// The store is retired before the file gets its name: a crash between the two leaves a store that
/// is retired and can be backed up again. The other way round it would leave a backup that calls
/// its store retired while that goes on, which is how tokens are destroyed.
pub(super) async fn write(
    store: &SqliteStore,
    origin: &Origin,
    file: &Path,
    after: After,
) -> Result<Backup, BackupError> {
    let unnamed = || BackupError::Name { path: file.to_owned() };
    let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(unnamed)?;
    let parent = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: file.to_owned() });
    }
    let directory = Directory::open_elsewhere(parent)?;
    // 0600, and removed again whatever goes wrong from here on.
    let draft = tempfile::Builder::new()
        .prefix(&format!("{name}."))
        .suffix(".draft")
        .tempfile_in(parent)
        .map_err(|source| io(parent, source))?;
    let counts = fill(store, origin, &draft, after).await?;
    draft.as_file().sync_all().map_err(|source| io(draft.path(), source))?;
    if after == After::Retire {
        retire(store, file).await?;
        // It would bring the chains back if the database were damaged or removed.
        journal::set_aside(&origin.state, "retired")?;
    }
    draft.persist_noclobber(file).map_err(|failed| match failed.error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists { path: file.to_owned() },
        _ => io(file, failed.error),
    })?;
    directory.sync()?;
    Ok(counts)
}

async fn fill(
    store: &SqliteStore,
    origin: &Origin,
    draft: &NamedTempFile,
    after: After,
) -> Result<Backup, BackupError> {
    let path = draft.path();
    let name = path.to_str().ok_or_else(|| BackupError::Name { path: path.to_owned() })?;
    let failed = |source| BackupError::Open(OpenError::database(path, source));
    let mut connection = store.pool.acquire().await?;
    let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut *connection).await;
    if let Err(error) = copied {
        // What a full disk leaves of a connection is not trusted with the next pair.
        connection.close_on_drop();
        return Err(failed(error));
    }
    drop(connection);
    let mut copy = open_single(path).await.map_err(failed)?;
    let described = describe(&mut copy, origin, after).await;
    let closed = copy.close().await;
    let backup = described.map_err(failed)?;
    closed.map_err(failed)?;
    check(path).await?;
    Ok(backup)
}

/// Says in the copy where it came from, and keeps it from being served as it is.
async fn describe(
    copy: &mut SqliteConnection,
    origin: &Origin,
    after: After,
) -> Result<Backup, sqlx::Error> {
    let mut transaction = copy.begin().await?;
    source::write(&mut transaction, origin, after).await?;
    retired::mark(&mut transaction, IS_BACKUP).await?;
    let (portals, chains): (i64, i64) =
        sqlx::query_as("SELECT COUNT(DISTINCT portal), COUNT(*) FROM chain WHERE history = 0")
            .fetch_one(&mut *transaction)
            .await?;
    transaction.commit().await?;
    Ok(Backup { portals: portals.unsigned_abs(), chains: chains.unsigned_abs(), earlier: None })
}

async fn retire(store: &SqliteStore, file: &Path) -> Result<(), BackupError> {
    let file = file.display();
    let why = format!(
        "{WENT_INTO}{file}; restore that where the gateway is to run from now on (`b24gate store \
         restore`), or if it is lost and was never restored, make another with `b24gate store \
         backup --retire`"
    );
    let mut transaction = store.begin().await?;
    retired::mark(transaction.connection()?, &why).await?;
    Ok(transaction.commit().await?)
}

/// Opens a database that is one file and nothing beside it.
pub(super) async fn open_single(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
}

/// Has SQLite look through the whole file.
pub(super) async fn check(path: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Open(OpenError::database(path, source));
    let mut connection = connect_to_read(path).await.map_err(failed)?;
    let said: Result<String, _> =
        sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut connection).await;
    connection.close().await.map_err(failed)?;
    match said.map_err(failed)? {
        said if said == "ok" => Ok(()),
        problem => Err(BackupError::Unsound { path: path.to_owned(), problem }),
    }
}

fn io(path: &Path, source: std::io::Error) -> BackupError {
    StateError::Io { path: PathBuf::from(path), source }.into()
}

/// A backup that is copied into a state directory by hand is not served.
const IS_BACKUP: &str = "it is a backup; put it in place with `b24gate store restore`, which makes \
                         sure that no other store goes on with the same tokens";
