//! Where a backup came from, and where it was restored: a table that only backups have.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection};

use crate::store::backup::{After, Origin};
use crate::store::retired::has_table;
use crate::store::rows::now;

/// Paths are bytes, as the system has them.
const TABLE: &str = "CREATE TABLE source (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    state       BLOB NOT NULL,
    database    BLOB NOT NULL,
    key         TEXT NOT NULL,
    machine     TEXT,
    host        TEXT NOT NULL,
    made_at     INTEGER NOT NULL,
    retired     INTEGER NOT NULL CHECK (retired IN (0, 1)),
    -- Set before the restored store gets its name; 'finished' comes behind it.
    restored_at INTEGER,
    restored_to BLOB,
    restored_on TEXT,
    finished    INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1))
) STRICT";

/// What a backup says of itself.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) state: PathBuf,
    pub(super) database: PathBuf,
    pub(super) key: String,
    /// `None` on a machine that has no number.
    pub(super) machine: Option<String>,
    pub(super) host: String,
    /// Whether the store was retired with this backup.
    pub(super) retired: bool,
    pub(super) restored: Option<Use>,
}

/// A restoration of it.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) at: String,
    pub(super) to: PathBuf,
    pub(super) machine: Option<String>,
    pub(super) finished: bool,
}

/// Writes down where the copy on this connection came from.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    origin: &Origin,
    after: After,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(TABLE).execute(&mut *connection).await?;
    sqlx::query(
        "INSERT INTO source (id, state, database, key, machine, host, made_at, retired) \
         VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(bytes(&origin.state))
    .bind(bytes(&origin.database))
    .bind(&origin.key)
    .bind(machine())
    .bind(host())
    .bind(now())
    .bind(after == After::Retire)
    .execute(connection)
    .await?;
    Ok(())
}

/// What a backup says of itself; `None` when it is none.
pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Option<Source>, sqlx::Error> {
    if !has_table(connection, "source").await? {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT *, strftime('%Y-%m-%d %H:%M UTC', restored_at, 'unixepoch') AS restored \
         FROM source",
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let restored = match row.try_get::<Option<Vec<u8>>, _>("restored_to")? {
        Some(to) => Some(Use {
            at: row.try_get("restored")?,
            to: path(to),
            machine: row.try_get("restored_on")?,
            finished: row.try_get("finished")?,
        }),
        None => None,
    };
    Ok(Some(Source {
        state: path(row.try_get("state")?),
        database: path(row.try_get("database")?),
        key: row.try_get("key")?,
        machine: row.try_get("machine")?,
        host: row.try_get("host")?,
        retired: row.try_get("retired")?,
        restored,
    }))
}

/// Writes down that this backup becomes the store of the state directory `to`.
pub(super) async fn claim(connection: &mut SqliteConnection, to: &Path) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE source SET restored_at = ?, restored_to = ?, restored_on = ?, finished = 0",
    )
    .bind(now())
    .bind(bytes(to))
    .bind(machine())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down that it has become that.
pub(super) async fn finish(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE source SET finished = 1").execute(connection).await?;
    Ok(())
}

/// A number of this machine that outlives its restarts. The name goes into it because containers
/// of one image often share the number.
pub(super) fn machine() -> Option<String> {
    let read = |path| {
        let text = fs::read_to_string(path).ok()?;
        let text = text.trim();
        let is_number = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_number.then(|| text.to_owned())
    };
    let number = MACHINE_IDS.iter().find_map(read)?;
    // The number itself is not for strangers, says machine-id(5).
    let digest = Sha256::digest(format!("b24gate store\n{number}\n{}", host()).as_bytes());
    let head = digest.first_chunk::<16>().copied().unwrap_or_default();
    Some(format!("{:032x}", u128::from_be_bytes(head)))
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "an unnamed machine".to_owned(),
        name => name.to_owned(),
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// Where systems keep the machine's number.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
