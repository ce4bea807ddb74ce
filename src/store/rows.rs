//! The statements that write to the SQLite store. Each function runs inside a transaction that its
//! caller begins and commits; reading is in `rows/load.rs` and
//! `rows/look.rs`, who sits where in `rows/seats.rs`, what is not about chains in `rows/facts.rs`
//! `rows/clients.rs` and `rows/inbox.rs`.

pub(super) mod clients;
pub(super) mod facts;
pub(super) mod inbox;
mod load;
mod look;
mod seats;

pub(super) use load::{load, load_chain, standings};
pub(super) use look::{alerted, ledger, remember_alert, seen};
pub(super) use seats::{add, promote, remove, take_seat, turn_away};

use load::{load_arriving, load_spare};

use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use crate::config::{Endpoint, Inject};
use crate::credential::{ChainId, Generation, Grant, Link, Secret, State, unix_now};
use crate::store::StoreError;
use crate::store::sealed::{CannotSeal, Field, Place, Sealer};

/// A chain, as far as writing needs it.
struct Found {
    generation: Generation,
    refresh_hash: String,
}

/// Fails as [`intend`] would, and writes nothing.
pub(super) async fn is_standing(pool: &SqlitePool, link: Link<'_>) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    standing(&mut connection, link).await.map(drop)
}

pub(super) async fn intend(
    connection: &mut SqliteConnection,
    link: Link<'_>,
) -> Result<(), StoreError> {
    let chain = standing(connection, link).await?;
    sqlx::query("INSERT OR REPLACE INTO intent (chain, generation, begun_at) VALUES (?, ?, ?)")
        .bind(link.chain.0)
        .bind(signed(link.generation.0))
        .bind(now())
        .execute(&mut *connection)
        .await?;
    enter(connection, link, "intent", &chain.refresh_hash).await
}

pub(super) async fn commit(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    link: Link<'_>,
    grant: &Grant,
) -> Result<Generation, StoreError> {
    standing(connection, link).await?;
    rotate(connection, sealer, link, grant, "commit").await
}

/// As [`commit`], from an earlier generation too.
pub(super) async fn recover(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    link: Link<'_>,
    grant: &Grant,
) -> Result<Generation, StoreError> {
    let found = find(connection, link).await?;
    if found.generation > link.generation {
        return Err(StoreError::Superseded(found.generation));
    }
    rotate(connection, sealer, link, grant, "recovered").await
}

async fn rotate(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    link: Link<'_>,
    grant: &Grant,
    outcome: &str,
) -> Result<Generation, StoreError> {
    let next = Link { generation: link.generation.next(), ..link };
    let (access, refresh) = seal_pair(sealer, next, grant)?;
    let refresh_hash = &hash(&grant.refresh);
    let updated = sqlx::query(
        "UPDATE chain SET generation = ?, access = ?, prev_refresh = refresh, refresh = ?, \
                refresh_hash = ?, expires_at = ?, member_id = COALESCE(?, member_id), \
                user_id = COALESCE(?, user_id), client_endpoint = COALESCE(?, client_endpoint), \
                state = 'connected', code = NULL, issued_at = ?, updated_at = ? \
         WHERE id = ? AND portal = ? AND generation <= ?",
    )
    .bind(signed(next.generation.0))
    .bind(access)
    .bind(refresh)
    .bind(refresh_hash)
    .bind(grant.expires_at.map(signed))
    .bind(&grant.member_id)
    .bind(grant.user_id.map(signed))
    .bind(&grant.client_endpoint)
    .bind(now())
    .bind(now())
    .bind(link.chain.0)
    .bind(link.portal)
    .bind(signed(link.generation.0))
    .execute(&mut *connection)
    .await?;
    if updated.rows_affected() != 1 {
        return Err(StoreError::Superseded(link.generation));
    }
    forget_intent(connection, link.chain).await?;
    enter(connection, next, outcome, refresh_hash).await?;
    Ok(next.generation)
}

pub(super) async fn fail(
    connection: &mut SqliteConnection,
    link: Link<'_>,
    state: &State,
) -> Result<(), StoreError> {
    let chain = match standing(connection, link).await {
        Ok(chain) => chain,
        Err(StoreError::Superseded(_) | StoreError::Unknown) => return Ok(()),
        Err(error) => return Err(error),
    };
    let (word, code) = words(state);
    sqlx::query("UPDATE chain SET state = ?, code = ?, updated_at = ? WHERE id = ?")
        .bind(word)
        .bind(code)
        .bind(now())
        .bind(link.chain.0)
        .execute(&mut *connection)
        .await?;
    forget_intent(connection, link.chain).await?;
    let outcome = match code {
        Some(code) => format!("failed: {word} {code}"),
        None => format!("failed: {word}"),
    };
    enter(connection, link, &outcome, &chain.refresh_hash).await
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

/// The chain, if it stands at `link`.
async fn standing(connection: &mut SqliteConnection, link: Link<'_>) -> Result<Found, StoreError> {
    let found = find(connection, link).await?;
    if found.generation == link.generation {
        Ok(found)
    } else {
        Err(StoreError::Superseded(found.generation))
    }
}

async fn find(connection: &mut SqliteConnection, link: Link<'_>) -> Result<Found, StoreError> {
    let found: Option<(i64, String)> = sqlx::query_as(
        "SELECT generation, refresh_hash FROM chain WHERE id = ? AND portal = ? \
                AND history = 0",
    )
    .bind(link.chain.0)
    .bind(link.portal)
    .fetch_optional(connection)
    .await?;
    let (generation, refresh_hash) = found.ok_or(StoreError::Unknown)?;
    Ok(Found { generation: Generation(unsigned(generation)), refresh_hash })
}

async fn forget_intent(
    connection: &mut SqliteConnection,
    chain: ChainId,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM intent WHERE chain = ?").bind(chain.0).execute(connection).await?;
    Ok(())
}

async fn enter(
    connection: &mut SqliteConnection,
    link: Link<'_>,
    outcome: &str,
    refresh_hash: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ledger (at, portal, chain, generation, outcome, refresh_hash) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(now())
    .bind(link.portal)
    .bind(link.chain.0)
    .bind(signed(link.generation.0))
    .bind(outcome)
    .bind(refresh_hash)
    .execute(connection)
    .await?;
    Ok(())
}

fn seal_pair(
    sealer: &Sealer,
    link: Link<'_>,
    grant: &Grant,
) -> Result<(Vec<u8>, Vec<u8>), CannotSeal> {
    seal_texts(sealer, link, &grant.access, &grant.refresh)
}

fn seal_texts(
    sealer: &Sealer,
    link: Link<'_>,
    access: &Secret,
    refresh: &Secret,
) -> Result<(Vec<u8>, Vec<u8>), CannotSeal> {
    let Link { portal, chain, generation } = link;
    let place = |field| Place { portal, chain: chain.0, generation, field };
    Ok((sealer.seal(place(Field::Access), access)?, sealer.seal(place(Field::Refresh), refresh)?))
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

pub(super) fn now() -> i64 {
    signed(unix_now())
}

/// SQLite's integers are signed. Times and numbers this large do not occur; if one does, it is
/// kept as the largest rather than turned negative.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
