//! Everything sealed in the database: what is left under the old key would open no more.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::credential::{Generation, Secret};
use crate::store::RekeyError;
use crate::store::rows::{facts, inbox, unsigned};
use crate::store::sealed::{CannotSeal, Field, Place, Sealer};

/// Seals with `next` what `old` opens, and says how many chains there are.
pub(super) async fn seal_anew(
    connection: &mut SqliteConnection,
    old: &Sealer,
    next: &Sealer,
) -> Result<u64, RekeyError> {
    let mut unreadable = Vec::new();
    let chains = seal_chains(connection, old, next, &mut unreadable).await?;
    seal_application_tokens(connection, old, next, &mut unreadable).await?;
    seal_events(connection, old, next, &mut unreadable).await?;
    if unreadable.is_empty() {
        Ok(chains)
    } else {
        Err(RekeyError::Unreadable { records: unreadable })
    }
}

/// Every chain, the history among them.
async fn seal_chains(
    connection: &mut SqliteConnection,
    old: &Sealer,
    next: &Sealer,
    unreadable: &mut Vec<String>,
) -> Result<u64, RekeyError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, portal, generation, access, refresh, prev_refresh FROM chain ORDER BY id",
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let Some(texts) = row.open(old) else {
            unreadable.push(format!("portal {} chain {}", row.portal, row.id));
            continue;
        };
        let [access, refresh, previous] = row.seal(next, &texts)?;
        sqlx::query("UPDATE chain SET access = ?, refresh = ?, prev_refresh = ? WHERE id = ?")
            .bind(access)
            .bind(refresh)
            .bind(previous)
            .bind(row.id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(rows.len() as u64)
}

async fn seal_application_tokens(
    connection: &mut SqliteConnection,
    old: &Sealer,
    next: &Sealer,
    unreadable: &mut Vec<String>,
) -> Result<(), RekeyError> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT name, application_token FROM portal WHERE application_token IS NOT NULL \
         ORDER BY name",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (portal, sealed) in rows {
        let place = facts::place(&portal);
        let Ok(token) = old.open(place, &sealed) else {
            unreadable.push(format!("portal {portal} application token"));
            continue;
        };
        sqlx::query("UPDATE portal SET application_token = ? WHERE name = ?")
            .bind(next.seal(place, &token)?)
            .bind(&portal)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn seal_events(
    connection: &mut SqliteConnection,
    old: &Sealer,
    next: &Sealer,
    unreadable: &mut Vec<String>,
) -> Result<(), RekeyError> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as("SELECT id, event FROM inbox ORDER BY id")
        .fetch_all(&mut *connection)
        .await?;
    for (id, sealed) in rows {
        let label = inbox::label(id);
        let Ok(event) = old.open_bytes(&label, &sealed) else {
            unreadable.push(format!("event {id}"));
            continue;
        };
        sqlx::query("UPDATE inbox SET event = ? WHERE id = ?")
            .bind(next.seal_bytes(&label, &event)?)
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The sealed texts of a chain.
struct Row {
    id: i64,
    portal: String,
    generation: i64,
    access: Vec<u8>,
    refresh: Vec<u8>,
    prev_refresh: Option<Vec<u8>>,
}

/// They, open.
struct Texts {
    access: Secret,
    refresh: Secret,
    /// With the generation that it was issued with.
    previous: Option<(u64, Secret)>,
}

impl sqlx::FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            portal: row.try_get("portal")?,
            generation: row.try_get("generation")?,
            access: row.try_get("access")?,
            refresh: row.try_get("refresh")?,
            prev_refresh: row.try_get("prev_refresh")?,
        })
    }
}

impl Row {
    fn place(&self, generation: u64, field: Field) -> Place<'_> {
        Place { portal: &self.portal, chain: self.id, generation: Generation(generation), field }
    }

    /// `None` when one of them does not open.
    fn open(&self, sealer: &Sealer) -> Option<Texts> {
        let generation = unsigned(self.generation);
        let open = |generation, field, sealed: &[u8]| {
            sealer.open(self.place(generation, field), sealed).ok()
        };
        let previous = match &self.prev_refresh {
            None => None,
            // Most often the generation before; earlier when the journal knew more than the
            // database.
            Some(sealed) => Some((0..generation).rev().find_map(|earlier| {
                open(earlier, Field::Refresh, sealed).map(|text| (earlier, text))
            })?),
        };
        Some(Texts {
            access: open(generation, Field::Access, &self.access)?,
            refresh: open(generation, Field::Refresh, &self.refresh)?,
            previous,
        })
    }

    /// The access token, the refresh token and the one before.
    fn seal(&self, sealer: &Sealer, texts: &Texts) -> Result<[Option<Vec<u8>>; 3], CannotSeal> {
        let generation = unsigned(self.generation);
        let seal = |generation, field, text| sealer.seal(self.place(generation, field), text);
        let previous = match &texts.previous {
            Some((earlier, text)) => Some(seal(*earlier, Field::Refresh, text)?),
            None => None,
        };
        Ok([
            Some(seal(generation, Field::Access, &texts.access)?),
            Some(seal(generation, Field::Refresh, &texts.refresh)?),
            previous,
        ])
    }
}
