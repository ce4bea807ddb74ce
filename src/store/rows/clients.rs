//! Who may call.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;

use crate::store::rows::{now, signed, unsigned};
use crate::store::{ClientKey, ClientRules, KeptClient, KeptRules, StoreError};

/// A key in the table, with whose it is.
type KeyRow = (String, Vec<u8>, i64, Option<i64>);

/// Everybody, and whether there ever was somebody.
pub(in crate::store) async fn load(
    pool: &SqlitePool,
) -> Result<(Vec<KeptClient>, bool), StoreError> {
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT name, rules FROM client ORDER BY name").fetch_all(pool).await?;
    let keys: Vec<KeyRow> = sqlx::query_as(
        "SELECT client, digest, made_at, expires_at FROM client_key ORDER BY made_at, rowid",
    )
    .fetch_all(pool)
    .await?;
    let closed: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM closed)").fetch_one(pool).await?;
    let clients = rows.into_iter().map(|(name, rules)| KeptClient {
        keys: keys.iter().filter(|(client, ..)| *client == name).filter_map(key).collect(),
        rules: read(&name, rules.as_deref()),
        name,
    });
    Ok((clients.collect(), closed))
}

fn key((_, digest, made_at, expires_at): &KeyRow) -> Option<ClientKey> {
    let digest = digest.as_slice().try_into().ok()?;
    let expires_at = expires_at.map(unsigned);
    Some(ClientKey { digest, made_at: unsigned(*made_at), expires_at })
}

fn read(name: &str, rules: Option<&str>) -> KeptRules {
    let Some(text) = rules else { return KeptRules::Configured };
    serde_json::from_str(text).map_or_else(
        |error| {
            tracing::error!(client = name, %error, "rules_unreadable");
            KeptRules::Unreadable
        },
        KeptRules::Made,
    )
}

pub(in crate::store) async fn add(
    connection: &mut SqliteConnection,
    name: &str,
    rules: Option<&ClientRules>,
    key: &ClientKey,
) -> Result<(), StoreError> {
    let unavailable = |error: serde_json::Error| StoreError::Unavailable(error.into());
    let rules = rules.map(serde_json::to_string).transpose().map_err(unavailable)?;
    sqlx::query("INSERT INTO closed (id, since) VALUES (1, ?) ON CONFLICT DO NOTHING")
        .bind(now())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO client (name, rules, made_at) VALUES (?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET rules = excluded.rules",
    )
    .bind(name)
    .bind(rules)
    .bind(now())
    .execute(&mut *connection)
    .await?;
    insert(connection, name, key).await
}

pub(in crate::store) async fn rotate(
    connection: &mut SqliteConnection,
    name: &str,
    key: &ClientKey,
    until: Option<u64>,
) -> Result<(), StoreError> {
    let ended = match until {
        None => sqlx::query("DELETE FROM client_key WHERE client = ?1").bind(name),
        Some(until) => sqlx::query(
            "UPDATE client_key SET expires_at = MIN(COALESCE(expires_at, ?2), ?2) \
             WHERE client = ?1",
        )
        .bind(name)
        .bind(signed(until)),
    };
    ended.execute(&mut *connection).await?;
    // Of what ended long ago nothing is kept.
    sqlx::query("DELETE FROM client_key WHERE client = ? AND expires_at <= ?")
        .bind(name)
        .bind(now())
        .execute(&mut *connection)
        .await?;
    insert(connection, name, key).await
}

pub(in crate::store) async fn remove(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<(), StoreError> {
    for sql in ["DELETE FROM client_key WHERE client = ?", "DELETE FROM client WHERE name = ?"] {
        sqlx::query(sql).bind(name).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    name: &str,
    key: &ClientKey,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO client_key (digest, client, made_at, expires_at) VALUES (?, ?, ?, ?)")
        .bind(key.digest.as_slice())
        .bind(name)
        .bind(signed(key.made_at))
        .bind(key.expires_at.map(signed))
        .execute(connection)
        .await?;
    Ok(())
}
