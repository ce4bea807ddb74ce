//! Which chain of a portal is active, which wait for it to die, and which wait for a seat.

use sqlx::SqliteConnection;

use crate::credential::{ChainId, Generation, Grant, Link, Secret};
use crate::store::rows::{
    enter, facts, forget_intent, hash, know, load_arriving, load_spare, now, seal_texts, signed,
    unsigned,
};
use crate::store::sealed::Sealer;
use crate::store::{Added, SPARES_MAX, Seat, StoreError, StoredCredential};

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
        "INSERT INTO chain (portal, active, spare, arriving, generation, access, refresh, \
                refresh_hash, expires_at, member_id, user_id, client_endpoint, state, issued_at, \
                created_at, updated_at) \
         VALUES (?, ?, ?, ?, ?, x'', x'', ?, ?, ?, ?, ?, 'connected', ?, ?, ?)",
    )
    .bind(portal)
    .bind(matches!(seat, Seat::Active { .. }))
    .bind(seat == Seat::Spare)
    .bind(seat == Seat::Arriving)
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
    let outcome = match seat {
        Seat::Active { .. } => "import",
        Seat::Spare => "spare",
        Seat::Arriving => "arriving",
    };
    enter(connection, link, outcome, refresh_hash).await?;
    let dropped = drop_oldest_spare(connection, link).await?;
    Ok(Added { chain: link.chain, generation, dropped })
}

/// Makes a spare the active chain; `None` when there is no such spare.
pub(in crate::store) async fn promote(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    spare: ChainId,
) -> Result<Option<StoredCredential>, StoreError> {
    let found = match load_spare(connection, sealer, portal, spare).await {
        Ok(Some(found)) => found,
        Ok(None) | Err(StoreError::Sealed) => return Ok(None),
        Err(error) => return Err(error),
    };
    unseat(connection, portal, false).await?;
    let generation = activate(connection, sealer, portal, &found).await?;
    let link = Link { portal, chain: spare, generation };
    enter(connection, link, "promoted", &hash(&found.refresh)).await?;
    Ok(Some(StoredCredential { generation, intent_open: false, ..found }))
}

/// Gives an arriving chain its seat, and returns its pair with what became of the seats.
pub(in crate::store) async fn take_seat(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    link: Link<'_>,
    seat: Seat,
) -> Result<(Added, StoredCredential), StoreError> {
    let Link { portal, chain, .. } = link;
    let found =
        load_arriving(connection, sealer, portal, chain).await?.ok_or(StoreError::Unknown)?;
    if found.generation != link.generation {
        return Err(StoreError::Superseded(found.generation));
    }
    let generation = match seat {
        // It has that one already.
        Seat::Arriving => found.generation,
        Seat::Spare => {
            sqlx::query("UPDATE chain SET arriving = 0, spare = 1, updated_at = ? WHERE id = ?")
                .bind(now())
                .bind(chain.0)
                .execute(&mut *connection)
                .await?;
            found.generation
        }
        Seat::Active { keep_old } => {
            unseat(connection, portal, keep_old).await?;
            activate(connection, sealer, portal, &found).await?
        }
    };
    let link = Link { generation, ..link };
    if seat != Seat::Arriving {
        enter(connection, link, "seated", &hash(&found.refresh)).await?;
    }
    let dropped = drop_oldest_spare(connection, link).await?;
    Ok((Added { chain, generation, dropped }, StoredCredential { generation, ..found }))
}

/// Makes an arriving chain history; changes nothing when it is not arriving at `link`.
pub(in crate::store) async fn turn_away(
    connection: &mut SqliteConnection,
    link: Link<'_>,
) -> Result<(), StoreError> {
    let refresh_hash: Option<String> = sqlx::query_scalar(
        "UPDATE chain SET arriving = 0, updated_at = ? \
         WHERE id = ? AND portal = ? AND generation = ? AND arriving = 1 RETURNING refresh_hash",
    )
    .bind(now())
    .bind(link.chain.0)
    .bind(link.portal)
    .bind(signed(link.generation.0))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(refresh_hash) = refresh_hash else {
        return Ok(());
    };
    forget_intent(connection, link.chain).await?;
    enter(connection, link, "turned away", &refresh_hash).await
}

/// Makes every chain of the portal history and forgets what else is known of it.
pub(in crate::store) async fn remove(
    connection: &mut SqliteConnection,
    portal: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM intent WHERE chain IN (SELECT id FROM chain WHERE portal = ?)")
        .bind(portal)
        .execute(&mut *connection)
        .await?;
    let removed: Vec<(i64, i64, String)> = sqlx::query_as(
        "UPDATE chain SET active = 0, spare = 0, arriving = 0, updated_at = ? \
         WHERE portal = ? AND history = 0 RETURNING id, generation, refresh_hash",
    )
    .bind(now())
    .bind(portal)
    .fetch_all(&mut *connection)
    .await?;
    for (id, generation, refresh_hash) in removed {
        let generation = Generation(unsigned(generation));
        let link = Link { portal, chain: ChainId(id), generation };
        enter(connection, link, "removed", &refresh_hash).await?;
    }
    facts::forget(connection, portal).await
}

/// Makes a chain active, under a generation above all that the portal ever had. Nothing else is.
async fn activate(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    found: &StoredCredential,
) -> Result<Generation, StoreError> {
    let generation = above_all(connection, portal).await?;
    sqlx::query(
        "UPDATE chain SET active = 1, spare = 0, arriving = 0, generation = ?, \
                prev_refresh = NULL, updated_at = ? WHERE id = ?",
    )
    .bind(signed(generation.0))
    .bind(now())
    .bind(found.chain.0)
    .execute(&mut *connection)
    .await?;
    forget_intent(connection, found.chain).await?;
    let link = Link { portal, chain: found.chain, generation };
    write_pair(connection, sealer, link, &found.access, &found.refresh).await?;
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

/// The spare that waits longest, if there are too many; never the one that has just come.
async fn drop_oldest_spare(
    connection: &mut SqliteConnection,
    newest: Link<'_>,
) -> Result<Option<ChainId>, StoreError> {
    let portal = newest.portal;
    let spares: Vec<(i64, i64, String)> = sqlx::query_as(
        "SELECT id, generation, refresh_hash FROM chain WHERE portal = ? AND spare = 1 \
         ORDER BY id = ? DESC, issued_at DESC, id DESC",
    )
    .bind(portal)
    .bind(newest.chain.0)
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
    forget_intent(connection, chain).await?;
    let link = Link { portal, chain, generation: Generation(unsigned(*generation)) };
    enter(connection, link, "dropped", refresh_hash).await?;
    Ok(Some(chain))
}
