//! Reading what the SQLite store holds, one record at a time, so that one that cannot be opened does
//! not hide the others.

use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use crate::config::{Endpoint, Inject};
use crate::credential::{Generation, Secret, State};
use crate::store::rows::unsigned;
use crate::store::sealed::{Field, Place, Sealer};
use crate::store::{Record, StoreError, StoredCredential};

pub(in crate::store) async fn load(
    pool: &SqlitePool,
    sealer: &Sealer,
) -> Result<Vec<Record>, StoreError> {
    let rows = sqlx::query(
        "SELECT portal.name, inject, endpoint_tls, endpoint_host, endpoint_port, chain.id, \
                chain.generation, access, refresh, expires_at, member_id, user_id, state, code, \
                intent.chain IS NOT NULL AS intent_open \
         FROM portal \
         LEFT JOIN chain ON chain.portal = portal.name AND chain.active = 1 \
         LEFT JOIN intent ON intent.chain = chain.id AND intent.generation = chain.generation \
         ORDER BY portal.name",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| record(row, sealer)).collect()
}

fn record(row: &SqliteRow, sealer: &Sealer) -> Result<Record, StoreError> {
    let portal: String = row.try_get("name")?;
    let inject = match row.try_get::<Option<&str>, _>("inject")? {
        Some("bearer") => Some(Inject::Bearer),
        Some("parameter") => Some(Inject::Parameter),
        _ => None,
    };
    let host: Option<String> = row.try_get("endpoint_host")?;
    let endpoint = match host {
        Some(host) => Some(Endpoint {
            tls: row.try_get("endpoint_tls")?,
            host,
            port: row.try_get("endpoint_port")?,
        }),
        None => None,
    };
    let chain: Option<i64> = row.try_get("id")?;
    let credential = chain.map(|chain| credential(row, sealer, &portal, chain));
    Ok(Record { portal, inject, endpoint, credential })
}

fn credential(
    row: &SqliteRow,
    sealer: &Sealer,
    portal: &str,
    chain: i64,
) -> Result<StoredCredential, StoreError> {
    let generation = Generation(unsigned(row.try_get("generation")?));
    let open = |column: &str, field| -> Result<Secret, StoreError> {
        let sealed: &[u8] = row.try_get(column)?;
        let place = Place { portal, chain, generation, field };
        sealer.open(place, sealed).map_err(|_does_not_open| StoreError::Sealed)
    };
    Ok(StoredCredential {
        generation,
        access: open("access", Field::Access)?,
        refresh: open("refresh", Field::Refresh)?,
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(unsigned),
        member_id: row.try_get("member_id")?,
        user_id: row.try_get::<Option<i64>, _>("user_id")?.map(unsigned),
        state: state(row.try_get("state")?, row.try_get("code")?),
        intent_open: row.try_get("intent_open")?,
    })
}

fn state(word: &str, code: Option<String>) -> State {
    let code = code.unwrap_or_default();
    match word {
        "suspect" => State::Suspect,
        "paused" => State::Paused { code },
        "dead" => State::Dead { code },
        _ => State::Connected,
    }
}
