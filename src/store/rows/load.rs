//! Reading what the SQLite store holds, one chain at a time, so that one that cannot be opened does
//! not hide the others.

use sqlx::Row as _;
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use crate::config::{Endpoint, Inject};
use crate::credential::{ChainId, Generation, Secret, State};
use crate::store::rows::{facts, unsigned};
use crate::store::sealed::{Field, Place, Sealer};
use crate::store::{Record, StoreError, StoredCredential};

/// The columns that [`credential`] reads.
macro_rules! chains {
    ($rest:literal) => {
        concat!(
            "SELECT chain.id, portal, active, arriving, chain.generation, access, refresh, expires_at, \
                    member_id, user_id, client_endpoint, issued_at, state, code, \
                    intent.chain IS NOT NULL AS intent_open \
             FROM chain \
             LEFT JOIN intent ON intent.chain = chain.id \
                AND intent.generation = chain.generation ",
            $rest
        )
    };
}

pub(in crate::store) async fn load(
    pool: &SqlitePool,
    sealer: &Sealer,
) -> Result<Vec<Record>, StoreError> {
    let portals = sqlx::query("SELECT * FROM portal ORDER BY name").fetch_all(pool).await?;
    let record = |row| record(row, sealer);
    let mut records = portals.iter().map(record).collect::<Result<Vec<_>, StoreError>>()?;
    let chains = sqlx::query(chains!("WHERE history = 0 ORDER BY issued_at DESC, chain.id DESC"))
        .fetch_all(pool)
        .await?;
    for row in &chains {
        // A damaged name belongs to no portal; that must not hide the others.
        let portal: &str = row.try_get("portal").unwrap_or_default();
        let Some(record) = records.iter_mut().find(|record| record.portal == portal) else {
            continue;
        };
        let chain = credential(row, sealer);
        if row.try_get("active")? {
            record.credential = Some(chain);
        } else if row.try_get("arriving")? {
            // They are read newest first.
            record.arriving.insert(0, chain);
        } else {
            record.spares.push(chain);
        }
    }
    Ok(records)
}

/// One chain of a portal, if it is there.
pub(in crate::store) async fn load_chain(
    pool: &SqlitePool,
    sealer: &Sealer,
    portal: &str,
    chain: ChainId,
) -> Result<Option<StoredCredential>, StoreError> {
    let row = sqlx::query(chains!("WHERE chain.id = ? AND portal = ?"))
        .bind(chain.0)
        .bind(portal)
        .fetch_optional(pool)
        .await?;
    row.map(|row| credential(&row, sealer)).transpose()
}

/// The same, if it is a spare.
pub(super) async fn load_spare(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    chain: ChainId,
) -> Result<Option<StoredCredential>, StoreError> {
    let row = sqlx::query(chains!("WHERE chain.id = ? AND portal = ? AND spare = 1"))
        .bind(chain.0)
        .bind(portal)
        .fetch_optional(connection)
        .await?;
    row.map(|row| credential(&row, sealer)).transpose()
}

/// The same, if it is arriving.
pub(super) async fn load_arriving(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    chain: ChainId,
) -> Result<Option<StoredCredential>, StoreError> {
    let row = sqlx::query(chains!("WHERE chain.id = ? AND portal = ? AND arriving = 1"))
        .bind(chain.0)
        .bind(portal)
        .fetch_optional(connection)
        .await?;
    row.map(|row| credential(&row, sealer)).transpose()
}

/// Where a chain stands.
pub(in crate::store) struct Standing {
    pub(in crate::store) id: ChainId,
    pub(in crate::store) portal: String,
    /// Replaced, dropped, turned away or removed.
    history: bool,
}

impl Standing {
    pub(in crate::store) fn is(&self, chain: ChainId) -> bool {
        self.id == chain
    }

    pub(in crate::store) fn is_history(&self, portal: &str) -> bool {
        self.history && self.portal == portal
    }
}

/// Every chain that the database knows.
pub(in crate::store) async fn standings(pool: &SqlitePool) -> Result<Vec<Standing>, StoreError> {
    let rows = sqlx::query("SELECT id, portal, history FROM chain").fetch_all(pool).await?;
    let standing = |row: &SqliteRow| {
        let portal = row.try_get("portal").unwrap_or_default();
        Ok(Standing { id: ChainId(row.try_get("id")?), portal, history: row.try_get("history")? })
    };
    rows.iter().map(standing).collect()
}

fn record(row: &SqliteRow, sealer: &Sealer) -> Result<Record, StoreError> {
    let inject = match row.try_get::<Option<&str>, _>("inject") {
        Ok(Some("bearer")) => Some(Inject::Bearer),
        Ok(Some("parameter")) => Some(Inject::Parameter),
        _ => None,
    };
    // What cannot be read is learned again.
    let host = row.try_get::<Option<String>, _>("endpoint_host").unwrap_or_default();
    let endpoint = host.and_then(|host| {
        let (tls, port) = (row.try_get("endpoint_tls").ok()?, row.try_get("endpoint_port").ok()?);
        Some(Endpoint { tls, host, port })
    });
    let facts = facts::read(row, sealer);
    Ok(Record { inject, endpoint, facts, ..Record::new(row.try_get("name")?) })
}

fn credential(row: &SqliteRow, sealer: &Sealer) -> Result<StoredCredential, StoreError> {
    let portal: &str = row.try_get("portal")?;
    let chain: i64 = row.try_get("id")?;
    let generation = Generation(unsigned(row.try_get("generation")?));
    let open = |column: &str, field| -> Result<Secret, StoreError> {
        let sealed: &[u8] = row.try_get(column)?;
        let place = Place { portal, chain, generation, field };
        sealer.open(place, sealed).map_err(|_does_not_open| StoreError::Sealed)
    };
    Ok(StoredCredential {
        chain: ChainId(chain),
        generation,
        access: open("access", Field::Access)?,
        refresh: open("refresh", Field::Refresh)?,
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(unsigned),
        member_id: row.try_get("member_id")?,
        user_id: row.try_get::<Option<i64>, _>("user_id")?.map(unsigned),
        client_endpoint: row.try_get("client_endpoint")?,
        issued_at: unsigned(row.try_get("issued_at")?),
        state: state(row.try_get("state")?, row.try_get("code").unwrap_or_default()),
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
