//! Who may call, through restarts, damage and new keys.

use super::*;
use crate::store::{ClientKey, ClientRules, ClientStore as _, KeptClients, KeptRules};

fn key(number: u8) -> ClientKey {
    ClientKey { digest: [number; 32], made_at: 1_700_000_000 + u64::from(number), expires_at: None }
}

fn rules() -> ClientRules {
    ClientRules {
        portals: Some(vec!["acme".to_owned()]),
        methods: vec!["crm.*".to_owned(), "!*.delete".to_owned()],
        read_only: true,
        expires_at: Some(2_000_000_000),
    }
}

/// Two clients, one of them of the configuration.
async fn with_two(home: &Home) {
    let (state, store) = home.open().await;
    store.add_client("erp", None, &key(1)).await.unwrap();
    store.add_client("report", Some(&rules()), &key(2)).await.unwrap();
    store.close().await;
    drop((state, store));
}

async fn found(home: &Home) -> KeptClients {
    let (_state, store) = home.open().await;
    let found = store.clients().await.unwrap();
    store.close().await;
    found
}

fn numbers(found: &KeptClients, name: &str) -> Vec<u8> {
    let client = found.clients.iter().find(|client| client.name == name).unwrap();
    client.keys.iter().map(|key| key.digest[0]).collect()
}

#[tokio::test]
async fn clients_are_as_they_were_after_a_restart() {
    let home = Home::new();
    let nobody = found(&home).await;
    assert!(nobody.clients.is_empty() && !nobody.closed && !nobody.lost);
    with_two(&home).await;
    let two = found(&home).await;
    assert!(two.closed && !two.lost);
    let names: Vec<_> = two.clients.iter().map(|client| client.name.as_str()).collect();
    assert_eq!(names, ["erp", "report"]);
    assert_eq!(two.clients[0].rules, KeptRules::Configured);
    assert_eq!(two.clients[1].rules, KeptRules::Made(rules()));
    assert_eq!(two.clients[1].keys, [key(2)]);
}

#[tokio::test]
async fn a_key_ends_at_once_or_after_a_while_but_never_later_than_it_would_have() {
    let home = Home::new();
    with_two(&home).await;
    let (state, store) = home.open().await;
    store.rotate_key("erp", &key(3), None).await.unwrap();
    store.rotate_key("report", &key(4), Some(2_000_000_000)).await.unwrap();
    store.rotate_key("report", &key(5), Some(2_100_000_000)).await.unwrap();
    let kept = store.clients().await.unwrap();
    assert_eq!((numbers(&kept, "erp"), numbers(&kept, "report")), (vec![3], vec![2, 4, 5]));
    let ends: Vec<_> = kept.clients[1].keys.iter().map(|key| key.expires_at).collect();
    assert_eq!(ends, [Some(2_000_000_000), Some(2_100_000_000), None]);
    // What has ended is not kept beyond the next change.
    store.rotate_key("report", &key(6), Some(1)).await.unwrap();
    assert_eq!(numbers(&store.clients().await.unwrap(), "report"), [6]);
    let stranger = store.rotate_key("nobody", &key(7), None).await;
    assert!(matches!(stranger, Err(StoreError::Unavailable(_))), "{stranger:?}");
    store.close().await;
    drop((state, store));
    assert_eq!(numbers(&found(&home).await, "erp"), [3]);
}

#[tokio::test]
async fn it_stays_closed_when_the_last_client_is_gone_and_when_the_database_is() {
    let home = Home::new();
    with_two(&home).await;
    let (state, store) = home.open().await;
    for name in ["erp", "report", "nobody"] {
        store.remove_client(name).await.unwrap();
    }
    store.close().await;
    drop((state, store));
    let nobody = found(&home).await;
    assert!(nobody.clients.is_empty() && nobody.closed && !nobody.lost);
    for damage in ["removed", "overwritten", "emptied"] {
        let home = Home::new();
        with_two(&home).await;
        match damage {
            "removed" => fs::remove_file(home.database()).unwrap(),
            "overwritten" => fs::write(home.database(), vec![7; 8192]).unwrap(),
            _ => fs::write(home.database(), b"").unwrap(),
        }
        let lost = found(&home).await;
        assert!(lost.clients.is_empty() && lost.closed && lost.lost, "{damage}");
        let (state, store) = home.open().await;
        store.add_client("erp", None, &key(9)).await.unwrap();
        store.close().await;
        drop((state, store));
        let again = found(&home).await;
        assert!(again.closed && !again.lost, "{damage}");
    }
}

#[tokio::test]
async fn the_file_beside_the_database_is_there_before_the_first_key_and_made_again() {
    let home = Home::new();
    let (state, store) = home.open().await;
    let file = home.path().join("b24gate.clients");
    assert!(!file.exists());
    // What has its name cannot be a key's place: no key without the file.
    fs::create_dir(home.path().join("b24gate.clients.new")).unwrap();
    assert!(store.add_client("erp", None, &key(1)).await.is_err());
    let kept = store.clients().await.unwrap();
    assert!(kept.clients.is_empty() && !kept.closed, "{kept:?}");
    fs::remove_dir(home.path().join("b24gate.clients.new")).unwrap();
    store.add_client("erp", None, &key(1)).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    store.close().await;
    drop((state, store));
    fs::remove_file(&file).unwrap();
    assert!(found(&home).await.closed, "the database says it, too");
    assert!(file.exists(), "a restored backup brings it with it");
}

#[tokio::test]
async fn rules_that_cannot_be_read_are_no_rules_at_all() {
    let home = Home::new();
    with_two(&home).await;
    home.tamper("UPDATE client SET rules = '{\"methods\":[]}' WHERE name = 'report'").await;
    let kept = found(&home).await;
    assert_eq!(kept.clients[1].rules, KeptRules::Unreadable);
}

#[tokio::test]
async fn no_key_is_written_to_a_database_that_is_not_there_any_more() {
    let home = Home::new();
    with_two(&home).await;
    let (_state, store) = home.open().await;
    fs::rename(home.database(), home.path().join("elsewhere")).unwrap();
    assert!(store.add_client("late", None, &key(3)).await.is_err());
    assert!(store.rotate_key("erp", &key(4), None).await.is_err());
    assert!(store.remove_client("erp").await.is_err());
}
