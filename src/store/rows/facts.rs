//! What is kept of a portal besides its chains.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::config::Endpoint;
use crate::credential::{Generation, Secret};
use crate::store::rows::{know, remember_endpoint, signed, unsigned};
use crate::store::sealed::{Field, Place, Sealer};
use crate::store::{Arrived, Facts, Person, StoreError};

/// The facts in a row of `portal`. What cannot be read counts as not known.
pub(super) fn read(row: &SqliteRow, sealer: &Sealer) -> Facts {
    let flag = |column| row.try_get::<bool, _>(column).unwrap_or_default();
    let number = |column| row.try_get::<Option<i64>, _>(column).unwrap_or_default().map(unsigned);
    let text = |column| row.try_get::<Option<String>, _>(column).unwrap_or_default();
    let person = number("user_id")
        .map(|user_id| Person { user_id, name: text("user_name").unwrap_or_default() });
    let arrived = text("arrived_client_id")
        .zip(text("arrived_member_id"))
        .map(|(client_id, member_id)| Arrived { client_id, member_id });
    Facts {
        disabled: flag("disabled"),
        uninstalled: flag("uninstalled"),
        installed_at: number("installed_at"),
        uninstalled_at: number("uninstalled_at"),
        application_token: application_token(row, sealer),
        person,
        arrived,
    }
}

fn application_token(row: &SqliteRow, sealer: &Sealer) -> Option<Secret> {
    let portal: &str = row.try_get("name").ok()?;
    let sealed: Option<&[u8]> = row.try_get("application_token").ok()?;
    let opened = sealer.open(place(portal), sealed?);
    if opened.is_err() {
        tracing::error!(portal, "application_token_does_not_open");
    }
    opened.ok()
}

/// Where the application token of a portal belongs.
pub(in crate::store) fn place(portal: &str) -> Place<'_> {
    Place { portal, chain: 0, generation: Generation(0), field: Field::ApplicationToken }
}

pub(in crate::store) async fn set_disabled(
    connection: &mut SqliteConnection,
    portal: &str,
    disabled: bool,
) -> Result<(), StoreError> {
    know(connection, portal).await?;
    sqlx::query("UPDATE portal SET disabled = ? WHERE name = ?")
        .bind(disabled)
        .bind(portal)
        .execute(connection)
        .await?;
    Ok(())
}

pub(in crate::store) async fn note_install(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    portal: &str,
    at: u64,
    application_token: Option<&Secret>,
) -> Result<(), StoreError> {
    know(connection, portal).await?;
    let token = application_token.map(|token| sealer.seal(place(portal), token)).transpose()?;
    sqlx::query(
        "UPDATE portal SET uninstalled = 0, installed_at = MAX(COALESCE(installed_at, 0), ?), \
                application_token = COALESCE(?, application_token) WHERE name = ?",
    )
    .bind(signed(at))
    .bind(token)
    .bind(portal)
    .execute(connection)
    .await?;
    Ok(())
}

pub(in crate::store) async fn note_uninstall(
    connection: &mut SqliteConnection,
    portal: &str,
    at: u64,
) -> Result<(), StoreError> {
    know(connection, portal).await?;
    sqlx::query(
        "UPDATE portal SET uninstalled = 1, uninstalled_at = MAX(COALESCE(uninstalled_at, 0), ?) \
         WHERE name = ?",
    )
    .bind(signed(at))
    .bind(portal)
    .execute(connection)
    .await?;
    Ok(())
}

pub(in crate::store) async fn note_arrival(
    connection: &mut SqliteConnection,
    portal: &str,
    arrived: &Arrived,
    endpoint: &Endpoint,
) -> Result<(), StoreError> {
    remember_endpoint(connection, portal, Some(endpoint)).await?;
    sqlx::query("UPDATE portal SET arrived_client_id = ?, arrived_member_id = ? WHERE name = ?")
        .bind(&arrived.client_id)
        .bind(&arrived.member_id)
        .bind(portal)
        .execute(connection)
        .await?;
    Ok(())
}

pub(in crate::store) async fn note_person(
    connection: &mut SqliteConnection,
    portal: &str,
    person: &Person,
) -> Result<(), StoreError> {
    know(connection, portal).await?;
    sqlx::query("UPDATE portal SET user_id = ?, user_name = ? WHERE name = ?")
        .bind(signed(person.user_id))
        .bind(&person.name)
        .bind(portal)
        .execute(connection)
        .await?;
    Ok(())
}

/// Everything but the name, which the history refers to.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    portal: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE portal SET inject = NULL, endpoint_tls = NULL, endpoint_host = NULL, \
                endpoint_port = NULL, disabled = 0, uninstalled = 0, installed_at = NULL, \
                uninstalled_at = NULL, application_token = NULL, user_id = NULL, \
                user_name = NULL, arrived_client_id = NULL, arrived_member_id = NULL \
         WHERE name = ?",
    )
    .bind(portal)
    .execute(connection)
    .await?;
    Ok(())
}
