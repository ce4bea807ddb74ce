//! The statements that write to the SQLite store. Each function runs inside a transaction that its
//! caller begins and commits; reading is in `rows/load.rs`.

mod load;

pub(super) use load::load;

use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;

use crate::config::{Endpoint, Inject};
use crate::credential::{Generation, Grant, Secret, State, unix_now};
use crate::store::StoreError;
use crate::store::sealed::{CannotSeal, Field, Place, Sealer};

/// The active chain of a portal, as far as writing needs it.
struct Active {
    id: i64,
    refresh_hash: String,
}

/// A line of the ledger.
struct Entry<'a> {
    portal: &'a str,
    chain: i64,
    generation: Generation,
    outcome: &'a str,
    refresh_hash: &'a str,
}

pub(super) async fn intend(
    connection: &mut SqliteConnection,
    portal: &str,
    from: Generation,
) -> Result<(), StoreError> {
    let chain = active(connection, portal, from).await?;
    sqlx::query("INSERT OR REPLACE INTO intent (chain, generation, begun_at) VALUES (?, ?, ?)")
        .bind(chain.id)
        .bind(signed(from.0))
        .bind(now())
        .execute(&mut *connection)
        .await?;
    let refresh_hash = &chain.refresh_hash;
    let entry =
        Entry { portal, chain: chain.id, generation: from, outcome: "intent", refresh_hash };
    enter(connection, entry).await
}

pub(super) async fn commit(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    from: Generation,
    grant: &Grant,
) -> Result<Generation, StoreError> {
    let chain = active(connection, portal, from).await?;
    let generation = from.next();
    let (access, refresh) = seal_pair(sealer, portal, chain.id, generation, grant)?;
    let refresh_hash = &hash(&grant.refresh);
    let updated = sqlx::query(
        "UPDATE chain SET generation = ?, access = ?, prev_refresh = refresh, refresh = ?, \
                refresh_hash = ?, expires_at = ?, member_id = COALESCE(?, member_id), \
                user_id = COALESCE(?, user_id), client_endpoint = COALESCE(?, client_endpoint), \
                state = 'connected', code = NULL, updated_at = ? \
         WHERE id = ? AND generation = ?",
    )
    .bind(signed(generation.0))
    .bind(access)
    .bind(refresh)
    .bind(refresh_hash)
    .bind(grant.expires_at.map(signed))
    .bind(&grant.member_id)
    .bind(grant.user_id.map(signed))
    .bind(&grant.client_endpoint)
    .bind(now())
    .bind(chain.id)
    .bind(signed(from.0))
    .execute(&mut *connection)
    .await?;
    if updated.rows_affected() != 1 {
        return Err(StoreError::Superseded(from));
    }
    forget_intent(connection, chain.id).await?;
    let entry = Entry { portal, chain: chain.id, generation, outcome: "commit", refresh_hash };
    enter(connection, entry).await?;
    Ok(generation)
}

pub(super) async fn fail(
    connection: &mut SqliteConnection,
    portal: &str,
    from: Generation,
    state: &State,
) -> Result<(), StoreError> {
    let chain = match active(connection, portal, from).await {
        Ok(chain) => chain,
        Err(StoreError::Superseded(_) | StoreError::Unknown) => return Ok(()),
        Err(error) => return Err(error),
    };
    let (word, code) = words(state);
    sqlx::query(
        "UPDATE chain SET state = ?, code = ?, updated_at = ? WHERE id = ? AND generation = ?",
    )
    .bind(word)
    .bind(code)
    .bind(now())
    .bind(chain.id)
    .bind(signed(from.0))
    .execute(&mut *connection)
    .await?;
    forget_intent(connection, chain.id).await?;
    let outcome = match code {
        Some(code) => format!("failed: {word} {code}"),
        None => format!("failed: {word}"),
    };
    let refresh_hash = &chain.refresh_hash;
    let outcome = &outcome;
    enter(connection, Entry { portal, chain: chain.id, generation: from, outcome, refresh_hash })
        .await
}

pub(super) async fn import(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    grant: &Grant,
) -> Result<Generation, StoreError> {
    know(connection, portal).await?;
    // Over all chains: a number that was ever shown never comes back.
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT MAX(generation) FROM chain WHERE portal = ?")
            .bind(portal)
            .fetch_one(&mut *connection)
            .await?;
    let generation = Generation(newest.map_or(0, unsigned)).next();
    for sql in [
        "DELETE FROM intent WHERE chain IN (SELECT id FROM chain WHERE portal = ? AND active = 1)",
        "UPDATE chain SET active = 0 WHERE portal = ? AND active = 1",
    ] {
        sqlx::query(sql).bind(portal).execute(&mut *connection).await?;
    }
    let refresh_hash = &hash(&grant.refresh);
    let now = now();
    // The chain's number is part of what is sealed, so the row comes before its tokens.
    let chain = sqlx::query(
        "INSERT INTO chain (portal, active, generation, access, refresh, refresh_hash, \
                expires_at, member_id, user_id, client_endpoint, state, created_at, updated_at) \
         VALUES (?, 1, ?, x'', x'', ?, ?, ?, ?, ?, 'connected', ?, ?)",
    )
    .bind(portal)
    .bind(signed(generation.0))
    .bind(refresh_hash)
    .bind(grant.expires_at.map(signed))
    .bind(&grant.member_id)
    .bind(grant.user_id.map(signed))
    .bind(&grant.client_endpoint)
    .bind(now)
    .bind(now)
    .execute(&mut *connection)
    .await?
    .last_insert_rowid();
    let (access, refresh) = seal_pair(sealer, portal, chain, generation, grant)?;
    sqlx::query("UPDATE chain SET access = ?, refresh = ? WHERE id = ?")
        .bind(access)
        .bind(refresh)
        .bind(chain)
        .execute(&mut *connection)
        .await?;
    enter(connection, Entry { portal, chain, generation, outcome: "import", refresh_hash }).await?;
    Ok(generation)
}

pub(super) async fn remember_inject(
    connection: &mut SqliteConnection,
    portal: &str,
    inject: Inject,
) -> Result<(), StoreError> {
    know(connection, portal).await?;
    let word = match inject {
        Inject::Auto => None,
        Inject::Bearer => Some("bearer"),
        Inject::Parameter => Some("parameter"),
    };
    sqlx::query("UPDATE portal SET inject = ? WHERE name = ?")
        .bind(word)
        .bind(portal)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn remember_endpoint(
    connection: &mut SqliteConnection,
    portal: &str,
    endpoint: Option<&Endpoint>,
) -> Result<(), StoreError> {
    know(connection, portal).await?;
    sqlx::query(
        "UPDATE portal SET endpoint_tls = ?, endpoint_host = ?, endpoint_port = ? WHERE name = ?",
    )
    .bind(endpoint.map(|endpoint| endpoint.tls))
    .bind(endpoint.map(|endpoint| endpoint.host.as_str()))
    .bind(endpoint.map(|endpoint| endpoint.port))
    .bind(portal)
    .execute(connection)
    .await?;
    Ok(())
}

async fn know(connection: &mut SqliteConnection, portal: &str) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO portal (name) VALUES (?) ON CONFLICT DO NOTHING")
        .bind(portal)
        .execute(connection)
        .await?;
    Ok(())
}

/// The portal's active chain, if it is at generation `from`.
async fn active(
    connection: &mut SqliteConnection,
    portal: &str,
    from: Generation,
) -> Result<Active, StoreError> {
    let found: Option<(i64, i64, String)> = sqlx::query_as(
        "SELECT id, generation, refresh_hash FROM chain WHERE portal = ? AND active = 1",
    )
    .bind(portal)
    .fetch_optional(connection)
    .await?;
    let (id, generation, refresh_hash) = found.ok_or(StoreError::Unknown)?;
    if unsigned(generation) != from.0 {
        return Err(StoreError::Superseded(Generation(unsigned(generation))));
    }
    Ok(Active { id, refresh_hash })
}

async fn forget_intent(connection: &mut SqliteConnection, chain: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM intent WHERE chain = ?").bind(chain).execute(connection).await?;
    Ok(())
}

async fn enter(connection: &mut SqliteConnection, entry: Entry<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ledger (at, portal, chain, generation, outcome, refresh_hash) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(now())
    .bind(entry.portal)
    .bind(entry.chain)
    .bind(signed(entry.generation.0))
    .bind(entry.outcome)
    .bind(entry.refresh_hash)
    .execute(connection)
    .await?;
    Ok(())
}

fn seal_pair(
    sealer: &Sealer,
    portal: &str,
    chain: i64,
    generation: Generation,
    grant: &Grant,
) -> Result<(Vec<u8>, Vec<u8>), CannotSeal> {
    let place = |field| Place { portal, chain, generation, field };
    let access = sealer.seal(place(Field::Access), &grant.access)?;
    let refresh = sealer.seal(place(Field::Refresh), &grant.refresh)?;
    Ok((access, refresh))
}

fn words(state: &State) -> (&'static str, Option<&str>) {
    match state {
        // A portal without a pair has no chain, and so no row to write this into.
        State::Connected | State::NotConnected => ("connected", None),
        State::Suspect => ("suspect", None),
        State::Paused { code } => ("paused", Some(code)),
        State::Dead { code } => ("dead", Some(code)),
    }
}

impl From<CannotSeal> for StoreError {
    fn from(error: CannotSeal) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// Enough to follow a token through the ledger, too little to be one.
fn hash(refresh: &Secret) -> String {
    let digest = Sha256::digest(refresh.expose().as_bytes());
    let head = digest.first_chunk::<4>().copied().unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(head))
}

fn now() -> i64 {
    signed(unix_now())
}

/// SQLite's integers are signed. Times and numbers this large do not occur; if one does, it is
/// kept as the largest rather than turned negative.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
