//! Databases that an earlier version wrote.

use sqlx::migrate::Migrator;

use super::*;
use crate::store::Registry as _;
use crate::store::sqlite::migrations;

/// Everything that the schema before this one has.
const TO_VERSION_2: &str = "
    INSERT INTO main.portal SELECT name, inject, endpoint_tls, endpoint_host, endpoint_port
        FROM new.portal;
    INSERT INTO main.chain (id, portal, active, spare, generation, access, refresh, prev_refresh,
            refresh_hash, expires_at, member_id, user_id, client_endpoint, state, code, created_at,
            updated_at, issued_at)
        SELECT id, portal, active, spare, generation, access, refresh, prev_refresh,
            refresh_hash, expires_at, member_id, user_id, client_endpoint, state, code, created_at,
            updated_at, issued_at FROM new.chain;
    INSERT INTO main.intent SELECT * FROM new.intent;
    INSERT INTO main.ledger SELECT * FROM new.ledger;
    INSERT INTO main.seal SELECT * FROM new.seal;
    INSERT INTO main.identity SELECT * FROM new.identity;
    INSERT INTO main.alert SELECT * FROM new.alert;";

/// Puts a database of version 2 in the place of one that is closed, with the same chains.
pub(in crate::store) async fn to_version_2(database: &Path) {
    let old = database.with_extension("old");
    let mut connection = options(&old).create_if_missing(true).connect().await.unwrap();
    let steps = migrations().iter().take(2).cloned().collect();
    Migrator::with_migrations(steps).run(&mut connection).await.unwrap();
    sqlx::query("ATTACH ? AS new")
        .bind(database.to_str().unwrap())
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql(TO_VERSION_2).execute(&mut connection).await.unwrap();
    let sources: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM new.sqlite_schema WHERE name = 'source'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    if sources > 0 {
        let sql = "CREATE TABLE main.source AS SELECT * FROM new.source";
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(old, database).unwrap();
}

async fn version(home: &Home) -> i64 {
    let mut connection = options(&home.database()).connect().await.unwrap();
    let version = sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    version
}

#[tokio::test]
async fn a_database_of_version_2_goes_on_with_all_it_has() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    import(&store, "acme", &grant(2)).await;
    store.add("acme", &grant(3), Seat::Spare).await.unwrap();
    let second = Link { chain: ChainId(2), ..link("acme", 2) };
    store.commit(second, &grant(4)).await.unwrap();
    let second = Link { generation: Generation(3), ..second };
    store.intend(second).await.unwrap();
    store.remember_inject("acme", Inject::Bearer).await.unwrap();
    store.remember_alert("acme", "dead").await.unwrap();
    let ledger = store.ledger("acme", 100).await.unwrap();
    store.close().await;
    drop((state, store));
    to_version_2(&home.database()).await;
    assert_eq!(version(&home).await, 2);

    let (state, store) = home.open().await;
    let records = store.load().await.unwrap();
    let [record] = &records[..] else { panic!("{records:?}") };
    let active = record.credential.as_ref().unwrap().as_ref().unwrap();
    assert_eq!((active.chain, active.generation), (ChainId(2), Generation(3)));
    assert!(active.refresh.matches("R-canary-4") && active.intent_open);
    assert!(record.spares[0].as_ref().unwrap().refresh.matches("R-canary-3"));
    assert!(record.arriving.is_empty() && record.spares.len() == 1);
    assert_eq!(record.inject, Some(Inject::Bearer));
    assert!(!record.facts.disabled && record.facts.installed_at.is_none());
    assert_eq!(store.ledger("acme", 100).await.unwrap(), ledger);
    assert_eq!(store.alerted().await.unwrap(), [("acme".to_owned(), "dead".to_owned())]);
    let late = store.intend(link("acme", 1)).await;
    assert!(matches!(late, Err(StoreError::Unknown)), "history stays history: {late:?}");
    let added = store.add("acme", &grant(5), Seat::Arriving).await.unwrap();
    assert_eq!((added.chain, added.generation), (ChainId(4), Generation(4)));
    store.note_install("acme", 1, Some(&Secret::new("T"))).await.unwrap();
    store.put_letter(b"event").await.unwrap();
    store.close().await;
    drop((state, store));

    // What was brought up to date is what a new one is: it is not taken for a damaged one.
    let (_state, store) = home.open().await;
    assert_eq!(version(&home).await, 4);
    let records = store.load().await.unwrap();
    assert!(records[0].arriving[0].as_ref().unwrap().refresh.matches("R-canary-5"));
    assert!(records[0].facts.application_token.as_ref().unwrap().matches("T"));
    assert_eq!(store.letters().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_database_that_lacks_a_part_of_the_newest_step_is_damaged_and_not_used() {
    for sql in [
        "DROP TABLE inbox",
        "ALTER TABLE portal DROP COLUMN application_token",
        "ALTER TABLE chain DROP COLUMN history",
    ] {
        let home = Home::new();
        let (state, store) = home.open().await;
        import(&store, "acme", &grant(1)).await;
        store.close().await;
        drop((state, store));
        home.tamper(sql).await;
        let (_state, store) = home.open().await;
        assert!(answers(&store, "acme").await.iter().any(|found| !found.ours && holds(found, 1)));
        let records = store.load().await.unwrap();
        assert!(records[0].credential.is_none(), "{sql}");
    }
}
