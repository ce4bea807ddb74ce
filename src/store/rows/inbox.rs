//! Events that were acknowledged and wait to be worked on.

use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, SqliteConnection};

use crate::store::rows::{now, unsigned};
use crate::store::sealed::Sealer;
use crate::store::{INBOX_MAX, Letter, StoreError};

/// Whether there is no room for another; writes nothing, so that a flood costs next to nothing.
pub(in crate::store) async fn is_full(pool: &SqlitePool) -> Result<bool, StoreError> {
    let waiting: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM inbox").fetch_one(pool).await?;
    Ok(waiting >= room())
}

pub(in crate::store) async fn put(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    event: &[u8],
) -> Result<i64, StoreError> {
    // The number is part of the seal, so the row comes before what it holds.
    let made = sqlx::query(
        "INSERT INTO inbox (at, event) SELECT ?, x'' WHERE (SELECT COUNT(*) FROM inbox) < ?",
    )
    .bind(now())
    .bind(room())
    .execute(&mut *connection)
    .await?;
    if made.rows_affected() == 0 {
        return Err(StoreError::InboxFull);
    }
    let id = made.last_insert_rowid();
    let sealed = sealer.seal_bytes(&label(id), event)?;
    sqlx::query("UPDATE inbox SET event = ? WHERE id = ?")
        .bind(sealed)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(id)
}

pub(in crate::store) async fn letters(
    pool: &SqlitePool,
    sealer: &Sealer,
) -> Result<Vec<Letter>, StoreError> {
    let rows = sqlx::query("SELECT id, at, event FROM inbox ORDER BY id").fetch_all(pool).await?;
    let mut letters = Vec::new();
    for row in &rows {
        let id: i64 = row.try_get("id")?;
        let opened = letter(row, id, sealer);
        if opened.is_none() {
            tracing::error!(id, "event_does_not_open");
        }
        letters.extend(opened);
    }
    Ok(letters)
}

fn letter(row: &SqliteRow, id: i64, sealer: &Sealer) -> Option<Letter> {
    let sealed: &[u8] = row.try_get("event").ok()?;
    let body = sealer.open_bytes(&label(id), sealed).ok()?;
    Some(Letter { id, at: unsigned(row.try_get("at").ok()?), body })
}

pub(in crate::store) async fn drop_letter(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM inbox WHERE id = ?").bind(id).execute(connection).await?;
    Ok(())
}

/// Where an event belongs. Journal slots have labels that begin otherwise.
pub(in crate::store) fn label(id: i64) -> Vec<u8> {
    let mut label = b"b24mail\x01".to_vec();
    label.extend_from_slice(&id.to_le_bytes());
    label
}

fn room() -> i64 {
    i64::try_from(INBOX_MAX).unwrap_or(i64::MAX)
}
