//! Stores that are out of service: their chains go on elsewhere, and two stores that hold the same
//! chain destroy each other's credential at the next refresh.

use std::path::{Path, PathBuf};

use sqlx::{Connection as _, SqliteConnection};

use crate::store::OpenError;
use crate::store::rows::now;
use crate::store::sqlite::{connect_to_read, unless_damaged};

/// The store was taken out of service.
#[derive(Debug, thiserror::Error)]
#[error("{} is retired since {at}: {why}", path.display())]
pub struct Retired {
    /// The database file.
    pub path: PathBuf,
    /// When, for people.
    pub at: String,
    /// For what, and what to do.
    pub why: String,
}

/// Fails when the database in `path` is retired. Looks through a connection that cannot write. One
/// that is damaged says nothing: whoever opens it moves it aside.
pub(super) async fn refuse(path: &Path) -> Result<(), OpenError> {
    match unless_damaged(path, look(path).await)? {
        Some(retired) => Err(retired.into()),
        None => Ok(()),
    }
}

async fn look(path: &Path) -> Result<Option<Retired>, sqlx::Error> {
    let mut connection = connect_to_read(path).await?;
    let found = since(&mut connection, path).await?;
    connection.close().await?;
    Ok(found)
}

/// Since when and why the database is retired, if it is.
pub(super) async fn since(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Option<Retired>, sqlx::Error> {
    if !has_table(connection, "identity").await? {
        return Ok(None);
    }
    let found: Option<(String, Option<String>)> = sqlx::query_as(
        "SELECT strftime('%Y-%m-%d %H:%M UTC', retired_at, 'unixepoch'), retired_for \
         FROM identity WHERE retired_at IS NOT NULL",
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(at, why)| {
        let why = why.unwrap_or_else(|| "its chains go on elsewhere".to_owned());
        Retired { path: path.to_owned(), at, why }
    }))
}

/// Takes the store out of service.
pub(super) async fn mark(connection: &mut SqliteConnection, why: &str) -> Result<(), sqlx::Error> {
    identify(connection).await?;
    sqlx::query("UPDATE identity SET retired_at = ?, retired_for = ?")
        .bind(now())
        .bind(why)
        .execute(connection)
        .await?;
    Ok(())
}

/// Puts the store back into service.
pub(super) async fn clear(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE identity SET retired_at = NULL, retired_for = NULL")
        .execute(connection)
        .await?;
    Ok(())
}

/// Which store it is; makes the number when it has none.
pub(super) async fn identify(connection: &mut SqliteConnection) -> Result<Vec<u8>, sqlx::Error> {
    sqlx::query(
        "INSERT INTO identity (id, store) VALUES (1, randomblob(16)) ON CONFLICT DO NOTHING",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar("SELECT store FROM identity").fetch_one(connection).await
}

/// Whether the database has a table of this name.
pub(super) async fn has_table(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?)",
    )
    .bind(name)
    .fetch_one(connection)
    .await
}
