//! Which chain of a portal is active, and which wait for it to die.

use sqlx::SqliteConnection;

use crate::credential::{ChainId, Generation, Grant, Link, Secret};
use crate::store::rows::{enter, forget_intent, hash, know, now, seal_texts, signed, unsigned};
use crate::store::sealed::Sealer;
use crate::store::{Added, SPARES_MAX, Seat, StoreError};

/// Starts a chain, and says which spare had to make room.
pub(in crate::store) async fn add(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    grant: &Grant,
    seat: Seat,
) -> Result<Added, StoreError> {
    know(connection, portal).await?;
    let generation = above_all(connection, portal).await?;
    if let Seat::Active { keep_old } = seat {
        unseat(connection, portal, keep_old).await?;
    }
    let refresh_hash = &hash(&grant.refresh);
    let now = now();
    // The chain's number is part of what is sealed, so the row comes before its tokens.
    let id = sqlx::query(
        "INSERT INTO chain (portal, active, spare, generation, access, refresh, refresh_hash, \
                expires_at, member_id, user_id, client_endpoint, state, issued_at, created_at, \
                updated_at) \
         VALUES (?, ?, ?, ?, x'', x'', ?, ?, ?, ?, ?, 'connected', ?, ?, ?)",
    )
    .bind(portal)
    .bind(seat != Seat::Spare)
    .bind(seat == Seat::Spare)
    .bind(signed(generation.0))
    .bind(refresh_hash)
    .bind(grant.expires_at.map(signed))
    .bind(&grant.member_id)
    .bind(grant.user_id.map(signed))
    .bind(&grant.client_endpoint)
    .bind(now)
    .bind(now)
    .bind(now)
    .execute(&mut *connection)
    .await?
    .last_insert_rowid();
    let link = Link { portal, chain: ChainId(id), generation };
    write_pair(connection, sealer, link, &grant.access, &grant.refresh).await?;
    let outcome = if seat == Seat::Spare { "spare" } else { "import" };
    enter(connection, link, outcome, refresh_hash).await?;
    let dropped = drop_oldest_spare(connection, portal).await?;
    Ok(Added { chain: link.chain, generation, dropped })
}

/// Makes a spare the active chain; the caller has opened its pair.
pub(in crate::store) async fn promote(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    spare: Link<'_>,
    access: &Secret,
    refresh: &Secret,
) -> Result<Generation, StoreError> {
    let generation = above_all(connection, spare.portal).await?;
    unseat(connection, spare.portal, false).await?;
    let link = Link { generation, ..spare };
    sqlx::query(
        "UPDATE chain SET active = 1, spare = 0, generation = ?, prev_refresh = NULL, \
                updated_at = ? WHERE id = ?",
    )
    .bind(signed(generation.0))
    .bind(now())
    .bind(link.chain.0)
    .execute(&mut *connection)
    .await?;
    forget_intent(connection, link.chain).await?;
    write_pair(connection, sealer, link, access, refresh).await?;
    enter(connection, link, "promoted", &hash(refresh)).await?;
    Ok(generation)
}

async fn write_pair(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    link: Link<'_>,
    access: &Secret,
    refresh: &Secret,
) -> Result<(), StoreError> {
    let (access, refresh) = seal_texts(sealer, link, access, refresh)?;
    sqlx::query("UPDATE chain SET access = ?, refresh = ? WHERE id = ?")
        .bind(access)
        .bind(refresh)
        .bind(link.chain.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Over all chains: a number that was ever shown never comes back.
async fn above_all(
    connection: &mut SqliteConnection,
    portal: &str,
) -> Result<Generation, StoreError> {
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT MAX(generation) FROM chain WHERE portal = ?")
            .bind(portal)
            .fetch_one(connection)
            .await?;
    Ok(Generation(newest.map_or(0, unsigned)).next())
}

/// Takes the active chain's seat away.
async fn unseat(
    connection: &mut SqliteConnection,
    portal: &str,
    keep: bool,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM intent WHERE chain IN (SELECT id FROM chain WHERE portal = ? AND active = 1)",
    )
    .bind(portal)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE chain SET active = 0, spare = ? WHERE portal = ? AND active = 1")
        .bind(keep)
        .bind(portal)
        .execute(connection)
        .await?;
    Ok(())
}

/// The spare that waits longest, if there are too many.
async fn drop_oldest_spare(
    connection: &mut SqliteConnection,
    portal: &str,
) -> Result<Option<ChainId>, StoreError> {
    let spares: Vec<(i64, i64, String)> = sqlx::query_as(
        "SELECT id, generation, refresh_hash FROM chain WHERE portal = ? AND spare = 1 \
         ORDER BY issued_at DESC, id DESC",
    )
    .bind(portal)
    .fetch_all(&mut *connection)
    .await?;
    let Some((id, generation, refresh_hash)) = spares.get(SPARES_MAX) else {
        return Ok(None);
    };
    sqlx::query("UPDATE chain SET spare = 0 WHERE id = ?")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    let chain = ChainId(*id);
    let link = Link { portal, chain, generation: Generation(unsigned(*generation)) };
    enter(connection, link, "dropped", refresh_hash).await?;
    Ok(Some(chain))
}
