//! What happens to a database that was damaged, moved or written by others.

use std::fs::Permissions;

use super::*;

#[tokio::test]
async fn swapped_and_altered_records_do_not_open_and_do_not_hide_the_others() {
    for (sql, shut) in [
        // Two portals' refresh tokens exchanged.
        (
            "CREATE TEMP TABLE kept AS SELECT id, refresh FROM chain; \
             UPDATE chain SET refresh = (SELECT refresh FROM kept WHERE kept.id = 3 - chain.id) \
             WHERE id IN (1, 2)",
            ["acme", "beta"].as_slice(),
        ),
        // An old generation's token put back.
        ("UPDATE chain SET refresh = prev_refresh WHERE portal = 'acme'", &["acme"]),
        // A generation counted up without a rotation.
        ("UPDATE chain SET generation = generation + 1 WHERE portal = 'acme'", &["acme"]),
        // The access token in the refresh token's place.
        ("UPDATE chain SET refresh = access WHERE portal = 'beta'", &["beta"]),
        ("UPDATE chain SET access = substr(access, 1, 30) WHERE portal = 'beta'", &["beta"]),
    ] {
        let home = Home::new();
        let (state, store) = home.open().await;
        for portal in ["acme", "beta", "corp"] {
            let chain = import(&store, portal, &grant(1)).await.chain;
            store.commit(Link { chain, ..link(portal, 1) }, &grant(2)).await.unwrap();
        }
        store.close().await;
        drop((state, store));
        home.tamper(sql).await;
        let (_state, store) = home.open().await;
        for portal in ["acme", "beta", "corp"] {
            let opened = credential(&store, portal).await;
            let sealed = matches!(opened, Err(StoreError::Sealed));
            assert_eq!(sealed, shut.contains(&portal), "{portal} after {sql}");
        }
    }
}

#[tokio::test]
async fn another_key_is_refused_by_name_and_changes_nothing() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.close().await;
    drop((state, store));
    let error = home.refused(Some(&"ab".repeat(32))).await;
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("not the one that sealed"), "{error}");
    let key = home.path().join("b24gate.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = home.refused(None).await;
    assert!(error.to_string().contains("restore it"), "{error}");
    assert!(!key.exists());
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let (_state, store) = home.open().await;
    assert!(credential(&store, "acme").await.unwrap().access.matches("A-canary-1"));
}

#[tokio::test]
async fn a_key_may_change_as_long_as_nothing_is_sealed() {
    let home = Home::new();
    drop(home.open().await);
    let state = StateDirectory::open(&home.path()).unwrap();
    let other = "ab".repeat(32);
    let store = home.open_in(&state, Some(&other)).await.unwrap();
    import(&store, "acme", &grant(1)).await;
    store.close().await;
    home.open_in(&state, Some(&other)).await.unwrap();
}

#[tokio::test]
async fn f_50_a_newer_schema_is_refused_and_the_file_is_left_as_it_was() {
    let home = Home::new();
    let (state, store) = home.open().await;
    store.close().await;
    drop((state, store));
    home.tamper(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', TRUE, x'00', 1)",
    )
    .await;
    let before = fs::read(home.database()).unwrap();
    let error = home.refused(None).await;
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert_eq!(fs::read(home.database()).unwrap(), before);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_store_works_again_afterwards() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    let huge = Grant { refresh: Secret::new("R".repeat(100_000)), ..grant(2) };
    for _ in 0..3 {
        sqlx::query("PRAGMA max_page_count = 1").execute(&store.pool).await.unwrap();
        let full = store.commit(link("acme", 1), &huge).await;
        assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    }
    assert!(credential(&store, "acme").await.unwrap().refresh.matches("R-canary-1"));
    store.commit(link("acme", 1), &huge).await.unwrap();
    assert_eq!(credential(&store, "acme").await.unwrap().generation, Generation(2));
}
