//! What is kept of portals besides their chains.

use sqlx::sqlite::SqliteColumn;
use sqlx::{Column, Row as _, ValueRef as _};

use super::corruption::copy;
use super::*;
use crate::store::{Arrived, Facts, Person, Registry as _};

fn token(number: u32) -> Secret {
    Secret::new(format!("T-canary-{number}"))
}

fn arrived() -> Arrived {
    let member_id = "a223c6b3710f85df22e9377d6c4f7553".to_owned();
    Arrived { client_id: "local.5c8bb1b0891cf2.87252039".to_owned(), member_id }
}

fn endpoint() -> Endpoint {
    Endpoint { tls: true, host: "acme.bitrix24.com".to_owned(), port: 443 }
}

async fn record(store: &SqliteStore, portal: &str) -> Record {
    let records = store.load().await.unwrap();
    records.into_iter().find(|record| record.portal == portal).unwrap()
}

async fn facts(store: &SqliteStore, portal: &str) -> Facts {
    record(store, portal).await.facts
}

fn is_blank(facts: &Facts) -> bool {
    let Facts { disabled, uninstalled, installed_at, uninstalled_at, .. } = facts;
    let Facts { application_token, person, arrived, .. } = facts;
    !disabled
        && !uninstalled
        && installed_at.or(*uninstalled_at).is_none()
        && application_token.is_none()
        && person.is_none()
        && arrived.is_none()
}

/// Everything that can be said of a portal.
async fn fill(store: &SqliteStore, portal: &str) {
    store.note_arrival(portal, &arrived(), &endpoint()).await.unwrap();
    store.note_install(portal, 100, Some(&token(1))).await.unwrap();
    store.note_uninstall(portal, 200).await.unwrap();
    store.set_disabled(portal, true).await.unwrap();
    let name = "Mila Canary".to_owned();
    store.note_person(portal, &Person { user_id: 7, name }).await.unwrap();
    store.remember_inject(portal, Inject::Bearer).await.unwrap();
}

#[tokio::test]
async fn what_is_noted_of_a_portal_is_there_after_reopening_without_any_chain() {
    let home = Home::new();
    let (state, store) = home.open().await;
    fill(&store, "acme").await;
    // Each makes its row.
    store.note_install("installed", 5, None).await.unwrap();
    store.note_uninstall("uninstalled", 6).await.unwrap();
    store.set_disabled("disabled", true).await.unwrap();
    store.note_person("person", &Person { user_id: 1, name: String::new() }).await.unwrap();
    drop((state, store));
    let (_state, store) = home.open().await;
    let acme = record(&store, "acme").await;
    assert!(acme.credential.is_none() && acme.arriving.is_empty());
    assert_eq!((acme.inject, acme.endpoint), (Some(Inject::Bearer), Some(endpoint())));
    let facts_of = acme.facts;
    assert!(facts_of.disabled && facts_of.uninstalled);
    assert_eq!((facts_of.installed_at, facts_of.uninstalled_at), (Some(100), Some(200)));
    assert!(facts_of.application_token.unwrap().matches("T-canary-1"));
    let person = facts_of.person.unwrap();
    assert_eq!((person.user_id, person.name.as_str()), (7, "Mila Canary"));
    assert_eq!(facts_of.arrived, Some(arrived()));
    assert_eq!(facts(&store, "installed").await.installed_at, Some(5));
    let gone = facts(&store, "uninstalled").await;
    assert!(gone.uninstalled && gone.uninstalled_at == Some(6));
    assert!(facts(&store, "disabled").await.disabled);
    assert_eq!(facts(&store, "person").await.person.unwrap().user_id, 1);
}

#[tokio::test]
async fn the_latest_time_counts_and_an_installation_lifts_an_uninstallation() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    store.note_install("acme", 100, Some(&token(1))).await.unwrap();
    store.note_uninstall("acme", 300).await.unwrap();
    store.note_uninstall("acme", 200).await.unwrap();
    let gone = facts(&store, "acme").await;
    assert!(gone.uninstalled && gone.uninstalled_at == Some(300));
    assert!(gone.application_token.unwrap().matches("T-canary-1"), "a tombstone deletes nothing");
    store.note_install("acme", 50, None).await.unwrap();
    let back = facts(&store, "acme").await;
    assert!(!back.uninstalled);
    assert_eq!((back.installed_at, back.uninstalled_at), (Some(100), Some(300)));
    assert!(back.application_token.unwrap().matches("T-canary-1"), "none was given");
    store.note_install("acme", 400, Some(&token(2))).await.unwrap();
    let again = facts(&store, "acme").await;
    assert_eq!(again.installed_at, Some(400));
    assert!(again.application_token.unwrap().matches("T-canary-2"));
    store.set_disabled("acme", true).await.unwrap();
    store.set_disabled("acme", false).await.unwrap();
    assert!(!facts(&store, "acme").await.disabled);
}

#[tokio::test]
async fn an_application_token_opens_for_its_portal_only_and_hides_nothing_else() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    fill(&store, "acme").await;
    store.note_install("beta", 1, Some(&token(2))).await.unwrap();
    import(&store, "acme", &grant(1)).await;
    home.tamper(
        "UPDATE portal SET application_token = (SELECT application_token FROM portal \
         WHERE name = 'beta') WHERE name = 'acme'",
    )
    .await;
    let acme = facts(&store, "acme").await;
    assert!(acme.application_token.is_none());
    assert!(acme.disabled && acme.arrived.is_some() && acme.person.is_some());
    assert!(credential(&store, "acme").await.unwrap().refresh.matches("R-canary-1"));
    assert!(facts(&store, "beta").await.application_token.unwrap().matches("T-canary-2"));
}

/// An active chain, a spare and an arriving one, each with its slot; everything noted.
async fn whole_portal(store: &SqliteStore) {
    fill(store, "acme").await;
    import(store, "acme", &grant(1)).await;
    store.add("acme", &grant(2), Seat::Spare).await.unwrap();
    store.add("acme", &grant(3), Seat::Arriving).await.unwrap();
    store.intend(link("acme", 1)).await.unwrap();
    store.intend(Link { chain: ChainId(3), ..link("acme", 3) }).await.unwrap();
    import(store, "beta", &grant(4)).await;
    store.note_install("beta", 1, Some(&token(2))).await.unwrap();
}

async fn assert_removed(store: &SqliteStore) {
    let records = store.load().await.unwrap();
    if let Some(acme) = records.iter().find(|record| record.portal == "acme") {
        assert_eq!(acme.chains().count() + acme.answers.len(), 0);
        assert!(acme.inject.is_none() && acme.endpoint.is_none() && is_blank(&acme.facts));
    }
}

#[tokio::test]
async fn a_portal_that_was_removed_is_not_there_at_the_next_start_and_others_are() {
    let home = Home::new();
    let (state, store) = home.open().await;
    whole_portal(&store).await;
    store.receive(link("acme", 1), &brings(9)).await.unwrap();
    store.remove("acme").await.unwrap();
    // At once, and not only when it is read again.
    let left = store.journal.read().await.unwrap();
    assert!(left.iter().all(|found| found.portal == "beta"), "{left:?}");
    assert_removed(&store).await;
    let late = store.commit(link("acme", 1), &grant(9)).await;
    assert!(matches!(late, Err(StoreError::Unknown)), "{late:?}");
    let intents: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM intent").fetch_one(&store.pool).await.unwrap();
    assert_eq!(intents, 0);
    let mut lines = store.ledger("acme", 3).await.unwrap();
    lines.sort_by_key(|line| line.chain);
    let lines: Vec<_> = lines.iter().map(|line| (line.outcome.as_str(), line.chain)).collect();
    assert_eq!(lines, [("removed", 1), ("removed", 2), ("removed", 3)]);
    let row = sqlx::query("SELECT * FROM portal WHERE name = 'acme'");
    let row = row.fetch_one(&store.pool).await.unwrap();
    let is_kept = |column: &&SqliteColumn| !row.try_get_raw(column.ordinal()).unwrap().is_null();
    let kept: Vec<_> = row.columns().iter().filter(is_kept).map(Column::name).collect();
    assert_eq!(kept, ["name", "disabled", "uninstalled"]);
    drop((state, store));
    for lost in [false, true] {
        if lost {
            fs::remove_file(home.database()).unwrap();
        }
        let (state, store) = home.open().await;
        assert_removed(&store).await;
        if !lost {
            assert!(credential(&store, "beta").await.unwrap().refresh.matches("R-canary-4"));
            assert!(facts(&store, "beta").await.application_token.is_some());
        }
        assert!(holds(&answers(&store, "beta").await[0], 4));
        drop((state, store));
    }
}

#[tokio::test]
async fn what_a_crash_left_in_the_journal_of_a_removed_portal_goes_at_the_next_start() {
    let home = Home::new();
    let (state, store) = home.open().await;
    whole_portal(&store).await;
    let (journal, before) = (home.path().join("journal"), home.0.path().join("before"));
    copy(&journal, &before);
    store.remove("acme").await.unwrap();
    store.remove("nobody").await.unwrap();
    drop((state, store));
    fs::remove_dir_all(&journal).unwrap();
    copy(&before, &journal);
    let (state, store) = home.open().await;
    assert_removed(&store).await;
    drop((state, store));
    // Nor does it come from there once the database is lost.
    fs::remove_file(home.database()).unwrap();
    let (_state, store) = home.open().await;
    assert_removed(&store).await;
    assert!(holds(&answers(&store, "beta").await[0], 4));
}

#[tokio::test]
async fn a_removed_portal_leaves_nothing_of_an_earlier_database_or_in_the_spool() {
    let home = Home::new();
    let (state, store) = home.open().await;
    whole_portal(&store).await;
    drop((state, store));
    fs::remove_file(home.database()).unwrap();
    let (state, store) = home.open().await;
    assert_eq!(answers(&store, "acme").await.len(), 3);
    let added = import(&store, "acme", &grant(5)).await;
    let link = Link { chain: added.chain, ..link("acme", added.generation.0) };
    store.intend(link).await.unwrap();
    // The journal takes no answer for a while.
    let obstacle = home.slot(&format!("acme-{}.answer.new", added.chain));
    fs::create_dir(&obstacle).unwrap();
    store.journal.spoil("acme", added.chain);
    store.receive(link, &brings(6)).await.unwrap();
    assert_eq!(fs::read_dir(home.spool()).unwrap().count(), 1);
    fs::remove_dir(&obstacle).unwrap();
    // Nor does its slot lead there.
    fs::remove_file(obstacle.with_extension("")).unwrap();
    store.remove("acme").await.unwrap();
    assert_eq!(fs::read_dir(home.spool()).unwrap().count(), 0);
    drop((state, store));
    let (_state, store) = home.open().await;
    assert_removed(&store).await;
    assert_eq!(answers(&store, "beta").await.len(), 1);
}

#[tokio::test]
async fn a_portal_that_was_removed_can_come_again() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    whole_portal(&store).await;
    store.remove("acme").await.unwrap();
    let added = import(&store, "acme", &grant(8)).await;
    assert_eq!((added.chain, added.generation.0), (ChainId(5), 4), "no number comes back");
    assert!(holds(&answers(&store, "acme").await[0], 8));
    // A spare that was removed a moment ago takes nobody's place.
    assert!(store.promote("acme", ChainId(2)).await.unwrap().is_none());
    assert!(credential(&store, "acme").await.unwrap().refresh.matches("R-canary-8"));
}
