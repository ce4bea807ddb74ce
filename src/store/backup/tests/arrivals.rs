//! Backups of what came by itself, and of earlier versions.

use super::*;
use crate::config::Endpoint;
use crate::store::sqlite::tests::upgrade::to_version_2;
use crate::store::{Arrived, Registry as _};

/// A second chain of acme, which arrives; facts and an event.
async fn fill(store: &SqliteStore) {
    store.add("acme", &grant(2), Seat::Arriving).await.unwrap();
    let arrived = Arrived { client_id: "app".to_owned(), member_id: "ab".repeat(16) };
    let endpoint = Endpoint { tls: true, host: "acme.bitrix24.com".to_owned(), port: 443 };
    store.note_arrival("acme", &arrived, &endpoint).await.unwrap();
    store.note_install("acme", 5, Some(&Secret::new("T-canary"))).await.unwrap();
    store.set_disabled("acme", true).await.unwrap();
    store.put_letter(b"event-canary").await.unwrap();
}

async fn restore(machine: &Machine, name: &str, file: &str) -> Result<Restored, BackupError> {
    let state = StateDirectory::open(&machine.path(name)).unwrap();
    let (whereabouts, older) = (Whereabouts::Look, Older::Refuse);
    let file = &machine.path(file);
    Restore { file, state: &state, settings: &settings(), whereabouts, older }.run().await
}

#[tokio::test]
async fn a_backup_carries_what_arrives_what_is_noted_and_what_waits() {
    let machine = Machine::with_acme("a").await;
    let (state, store) = machine.open("a").await.unwrap();
    fill(&store).await;
    store.close().await;
    drop(state);
    let backup = machine.back_up("a", "file", After::Retire).await.unwrap();
    assert_eq!((backup.portals, backup.chains), (1, 2));
    let bytes = fs::read(machine.path("file")).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    drop(StateDirectory::open(&machine.path("b")).unwrap());
    fs::copy(machine.path("a/b24gate.key"), machine.path("b/b24gate.key")).unwrap();
    restore(&machine, "b", "file").await.unwrap();
    let (_state, store) = machine.open("b").await.unwrap();
    let records = store.load().await.unwrap();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert!(record.arriving[0].as_ref().unwrap().refresh.matches("R-canary-2"));
    let facts = &record.facts;
    assert!(facts.disabled && facts.installed_at == Some(5));
    assert_eq!(facts.arrived.as_ref().unwrap().client_id, "app");
    assert!(facts.application_token.as_ref().unwrap().matches("T-canary"));
    assert_eq!(store.letters().await.unwrap()[0].body.as_slice(), b"event-canary");
}

#[tokio::test]
async fn a_chain_that_arrived_since_the_backup_is_not_lost_to_it_silently() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    let (state, store) = machine.open("a").await.unwrap();
    fill(&store).await;
    store.close().await;
    drop(state);
    let refused = restore(&machine, "a", "file").await.unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("acme (generation 2, this chain is not in the backup)"), "{said}");
}

#[tokio::test]
async fn an_arriving_chain_whose_answer_was_not_taken_keeps_the_store_from_being_retired() {
    let machine = Machine::with_acme("a").await;
    let (state, store) = machine.open("a").await.unwrap();
    fill(&store).await;
    let link = Link { portal: "acme", chain: ChainId(2), generation: Generation(2) };
    store.intend(link).await.unwrap();
    let body = Zeroizing::new(b"{\"refresh_token\":\"R-canary-3\"}".to_vec());
    let answer = RawAnswer { status: 200, retry_after: None, at: 1, complete: true, body };
    store.receive(link, &answer).await.unwrap();
    store.close().await;
    drop(state);
    let refused = machine.back_up("a", "file", After::Retire).await.unwrap_err();
    assert!(matches!(&refused, BackupError::Unsettled { portals } if portals == &["acme"]));
}

#[tokio::test]
async fn a_backup_of_version_2_is_restored_and_brought_up_to_date_in_its_place() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    to_version_2(&machine.path("file")).await;
    let restored = restore(&machine, "a", "file").await.unwrap();
    assert_eq!(restored.portals, 1);
    let (_state, store) = machine.open("a").await.unwrap();
    assert!(acme(&store).await.refresh.matches("R-canary-1"));
    fill(&store).await;
    assert_eq!(store.letters().await.unwrap().len(), 1);
}
