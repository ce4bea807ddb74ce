//! Events that wait to be worked on.

use super::*;
use crate::store::{INBOX_MAX, Letter, Registry as _};

fn texts(letters: &[Letter]) -> Vec<(i64, &[u8])> {
    letters.iter().map(|letter| (letter.id, letter.body.as_slice())).collect()
}

#[tokio::test]
async fn events_wait_in_their_order_until_they_are_dropped_and_no_number_comes_back() {
    let home = Home::new();
    let (state, store) = home.open().await;
    // Not every body is text.
    for (id, body) in (1..).zip([b"first".as_slice(), b"\xff\x00", b"third"]) {
        assert_eq!(store.put_letter(body).await.unwrap(), id);
    }
    drop((state, store));
    let (state, store) = home.open().await;
    let letters = store.letters().await.unwrap();
    assert_eq!(texts(&letters), [(1, b"first".as_slice()), (2, b"\xff\x00"), (3, b"third")]);
    assert!(letters.iter().all(|letter| letter.at > 1_600_000_000));
    for id in [3, 1, 1, 99] {
        store.drop_letter(id).await.unwrap();
    }
    drop((state, store));
    let (_state, store) = home.open().await;
    assert_eq!(store.put_letter(b"fourth").await.unwrap(), 4);
    let letters = store.letters().await.unwrap();
    assert_eq!(texts(&letters), [(2, b"\xff\x00".as_slice()), (4, b"fourth")]);
}

#[tokio::test]
async fn f_62_the_inbox_is_bounded_and_a_full_one_is_not_written_to() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    for _ in 0..INBOX_MAX {
        store.put_letter(b"event").await.unwrap();
    }
    let log = home.path().join("b24gate.db-wal");
    let before = fs::read(&log).unwrap();
    for _ in 0..3 {
        let full = store.put_letter(b"one more").await;
        assert!(matches!(full, Err(StoreError::InboxFull)), "{full:?}");
    }
    assert!(fs::read(&log).unwrap() == before);
    // Nor does one get in that was let past the first look.
    let mut transaction = store.begin().await.unwrap();
    let connection = transaction.connection().unwrap();
    let full = rows::inbox::put(connection, &store.sealer, b"one more").await;
    assert!(matches!(full, Err(StoreError::InboxFull)), "{full:?}");
    drop(transaction);
    store.drop_letter(7).await.unwrap();
    store.put_letter(b"one more").await.unwrap();
    let letters = store.letters().await.unwrap();
    assert_eq!(letters.len(), INBOX_MAX);
    assert_eq!(letters.last().unwrap().body.as_slice(), b"one more");
}

#[tokio::test]
async fn an_event_that_was_moved_or_altered_is_left_out_and_hides_no_other() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    for body in [b"first", b"other", b"third"] {
        store.put_letter(body).await.unwrap();
    }
    home.tamper("UPDATE inbox SET event = (SELECT event FROM inbox WHERE id = 1) WHERE id = 2")
        .await;
    let letters = store.letters().await.unwrap();
    assert_eq!(texts(&letters), [(1, b"first".as_slice()), (3, b"third")]);
    home.tamper("UPDATE inbox SET event = x'' WHERE id = 1").await;
    assert_eq!(texts(&store.letters().await.unwrap()), [(3, b"third".as_slice())]);
}

#[tokio::test]
async fn nothing_of_an_event_an_arrival_or_an_application_token_is_readable_in_any_file() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    store.add("acme", &grant(1), Seat::Arriving).await.unwrap();
    store.note_install("acme", 1, Some(&Secret::new("T-canary"))).await.unwrap();
    store.put_letter(b"auth[application_token]=T-canary").await.unwrap();
    store.take_seat(link("acme", 1), Seat::Active { keep_old: false }).await.unwrap();
    let mut seen = 0;
    for folder in [home.path(), home.path().join("journal")] {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in paths.filter(|path| path.is_file()) {
            let bytes = fs::read(&path).unwrap();
            assert!(memchr::memmem::find(&bytes, b"canary").is_none(), "{}", path.display());
            seen += 1;
        }
    }
    // The database, its log and its index, the key, the lock, the slot.
    assert_eq!(seen, 6);
}

#[tokio::test]
async fn the_key_cannot_change_while_an_event_or_an_application_token_is_sealed_with_it() {
    for what in ["event", "application token"] {
        let home = Home::new();
        let (state, store) = home.open().await;
        if what == "event" {
            store.put_letter(b"event").await.unwrap();
        } else {
            store.note_install("acme", 1, Some(&Secret::new("T"))).await.unwrap();
        }
        store.close().await;
        drop((state, store));
        let other = "ab".repeat(32);
        let error = home.refused(Some(&other)).await;
        assert!(error.to_string().contains("not the one that sealed"), "{what}: {error}");
        // By what it opens the right key is known, when the proof is damaged.
        home.tamper("UPDATE seal SET proof = x'00'").await;
        let error = home.refused(Some(&other)).await;
        assert!(error.to_string().contains("not the one that sealed"), "{what}: {error}");
        drop(home.open().await);
        let key = home.path().join("b24gate.key");
        fs::remove_file(&key).unwrap();
        let error = home.refused(None).await;
        assert!(error.to_string().contains("restore it"), "{what}: {error}");
    }
}
