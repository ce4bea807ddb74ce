//! Reading the ledger, and what people were alerted to.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use crate::credential::Secret;
use crate::store::rows::{hash, now, unsigned};
use crate::store::{LedgerEntry, StoreError};

type Line = (i64, i64, i64, String, String);

pub(in crate::store) async fn ledger(
    pool: &SqlitePool,
    portal: &str,
    limit: u32,
) -> Result<Vec<LedgerEntry>, StoreError> {
    let lines: Vec<Line> = sqlx::query_as(
        "SELECT at, chain, generation, outcome, refresh_hash FROM ledger WHERE portal = ? \
         ORDER BY id DESC LIMIT ?",
    )
    .bind(portal)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(lines.into_iter().map(entry).collect())
}

pub(in crate::store) async fn seen(
    pool: &SqlitePool,
    portal: &str,
    refresh: &Secret,
) -> Result<Option<LedgerEntry>, StoreError> {
    let line: Option<Line> = sqlx::query_as(
        "SELECT at, chain, generation, outcome, refresh_hash FROM ledger \
         WHERE portal = ? AND refresh_hash = ? ORDER BY id DESC LIMIT 1",
    )
    .bind(portal)
    .bind(hash(refresh))
    .fetch_optional(pool)
    .await?;
    Ok(line.map(entry))
}

pub(in crate::store) async fn alerted(
    pool: &SqlitePool,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(sqlx::query_as("SELECT subject, condition FROM alert").fetch_all(pool).await?)
}

pub(in crate::store) async fn remember_alert(
    connection: &mut SqliteConnection,
    subject: &str,
    condition: &str,
) -> Result<(), StoreError> {
    sqlx::query("INSERT OR REPLACE INTO alert (subject, condition, at) VALUES (?, ?, ?)")
        .bind(subject)
        .bind(condition)
        .bind(now())
        .execute(connection)
        .await?;
    Ok(())
}

fn entry((at, chain, generation, outcome, refresh_hash): Line) -> LedgerEntry {
    LedgerEntry { at: unsigned(at), chain, generation: unsigned(generation), outcome, refresh_hash }
}
