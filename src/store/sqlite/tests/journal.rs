//! Every pair lies in two files, and an answer is durable before it is read.

use std::os::unix::fs::MetadataExt as _;

use super::*;

#[tokio::test]
async fn an_answer_that_was_received_is_there_after_reopening_as_it_came() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.intend(link("acme", 1)).await.unwrap();
    let answer = RawAnswer {
        retry_after: Some(std::time::Duration::from_secs(3)),
        complete: false,
        ..raw(502, b"{\"access_token\":\"A-canary-2\",\"refre")
    };
    store.receive(link("acme", 1), &answer).await.unwrap();
    drop((state, store));
    let (_state, store) = home.open().await;
    let found = answers(&store, "acme").await;
    assert_eq!(places(&found), [(1, 1)]);
    assert!(found[0].ours);
    assert_eq!(found[0].answer.to_bytes(), answer.to_bytes());
    assert_eq!(store.commit(link("acme", 1), &grant(2)).await.unwrap(), Generation(2));
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 1)] && holds(&found[0], 2), "the pair in place of the answer");
}

#[tokio::test]
async fn an_intent_makes_room_for_the_answer_before_the_exchange() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    fs::remove_file(home.slot("acme-1.answer")).unwrap();
    store.intend(link("acme", 1)).await.unwrap();
    let slot = fs::metadata(home.slot("acme-1.answer")).unwrap();
    assert_eq!((slot.len(), slot.mode() & 0o7777), (16 * 1024, 0o600));
    assert!(slot.blocks() * 512 >= 16 * 1024, "a hole is no room");
    store.receive(link("acme", 1), &brings(2)).await.unwrap();
    let after = fs::metadata(home.slot("acme-1.answer")).unwrap();
    assert_eq!((after.ino(), after.len()), (slot.ino(), slot.len()));
    let unknown = store.intend(Link { chain: ChainId(9), ..link("acme", 1) }).await;
    assert!(matches!(unknown, Err(StoreError::Unknown)));
    assert!(!home.slot("acme-9.answer").exists());
}

#[tokio::test]
async fn every_pair_that_is_added_promoted_or_rotated_lies_in_the_journal_too() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 0)] && holds(&found[0], 1));
    let full = Grant::parse(&found[0].answer.body, 0).unwrap();
    let given = grant(1);
    assert_eq!(full.expires_at, given.expires_at);
    assert_eq!(full.member_id, given.member_id);
    assert_eq!(full.user_id, given.user_id);
    assert_eq!(full.client_endpoint, given.client_endpoint);
    // Rotated without an answer that was received.
    store.commit(link("acme", 1), &grant(2)).await.unwrap();
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 1)] && holds(&found[0], 2));
    let spare = store.add("acme", &grant(7), Seat::Spare).await.unwrap();
    assert_eq!(spare.generation, Generation(3));
    store.promote("acme", spare.chain).await.unwrap().unwrap();
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(2, 3)] && holds(&found[0], 7), "{found:?}");
    assert!(!home.slot("acme-1.answer").exists(), "the chain that was replaced");
    let next = Link { chain: spare.chain, ..link("acme", 5) };
    store.recover(next, &grant(8)).await.unwrap();
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(2, 5)] && holds(&found[0], 8), "{found:?}");
}

#[tokio::test]
async fn the_slots_of_chains_that_make_room_are_removed_and_no_others() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    import(&store, "acme-1", &grant(2)).await;
    for number in 3..6 {
        store.add("acme", &grant(number), Seat::Spare).await.unwrap();
    }
    store.add("acme", &grant(6), Seat::Active { keep_old: false }).await.unwrap();
    let mut slots: Vec<_> = fs::read_dir(home.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    slots.sort();
    let left = ["acme-1-2.answer", "acme-4.answer", "acme-5.answer", "acme-6.answer"];
    assert_eq!(slots, left);
}

#[tokio::test]
async fn a_refusal_gives_its_slot_back_to_the_pair_and_a_200_that_nobody_could_read_stays() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    let link = link("acme", 1);
    store.intend(link).await.unwrap();
    store.receive(link, &raw(401, b"{\"error\":\"invalid_grant\"}")).await.unwrap();
    let dead = State::Dead { code: "invalid_grant".to_owned() };
    store.fail(link, &dead).await.unwrap();
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 0)] && holds(&found[0], 1), "{found:?}");
    store.intend(link).await.unwrap();
    store.receive(link, &raw(200, b"<html>R-canary-2")).await.unwrap();
    store.fail(link, &State::Suspect).await.unwrap();
    let found = answers(&store, "acme").await;
    assert_eq!(places(&found), [(1, 1)]);
    assert_eq!(found[0].answer.body.as_slice(), b"<html>R-canary-2");
}

#[tokio::test]
async fn a_pair_without_a_second_copy_is_given_one_and_a_newer_answer_is_not_written_over() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    let beta = Link { chain: ChainId(2), ..link("beta", 1) };
    import(&store, "beta", &grant(5)).await;
    store.intend(beta).await.unwrap();
    store.receive(beta, &brings(6)).await.unwrap();
    drop((state, store));
    fs::remove_file(home.slot("acme-1.answer")).unwrap();
    let (state, store) = home.open().await;
    assert!(answers(&store, "acme").await.is_empty());
    drop((state, store));
    let (_state, store) = home.open().await;
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 0)] && holds(&found[0], 1));
    let found = answers(&store, "beta").await;
    assert!(places(&found) == [(2, 1)] && holds(&found[0], 6));
}

#[tokio::test]
async fn what_does_not_open_is_skipped_and_left_and_hides_nothing() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    for portal in ["acme", "beta", "corp", "dorm", "echo"] {
        import(&store, portal, &grant(1)).await;
    }
    let slots = ["acme-1.answer", "beta-2.answer", "corp-3.answer", "dorm-4.answer"];
    let [flipped, cut, swapped, zeroed] = slots.map(|name| home.slot(name));
    let mut bytes = fs::read(&flipped).unwrap();
    bytes[90] ^= 1;
    fs::write(&flipped, &bytes).unwrap();
    fs::write(&cut, &fs::read(&cut).unwrap()[..100]).unwrap();
    fs::write(&swapped, fs::read(home.slot("echo-5.answer")).unwrap()).unwrap();
    fs::write(&zeroed, vec![0; 16 * 1024]).unwrap();
    let found = store.journal.read().await.unwrap();
    let names: Vec<_> = found.iter().map(|found| found.portal.as_str()).collect();
    assert_eq!(names, ["echo"]);
    assert_eq!(fs::read(&flipped).unwrap(), bytes);
    assert!(cut.exists() && swapped.exists());
}

#[tokio::test]
async fn without_its_database_a_store_brings_the_answers_of_the_one_before() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    import(&store, "beta", &grant(2)).await;
    store.add("acme", &grant(3), Seat::Spare).await.unwrap();
    store.close().await;
    drop((state, store));
    fs::remove_file(home.database()).unwrap();
    let (_state, store) = home.open().await;
    let found = answers(&store, "acme").await;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|found| !found.ours));
    assert!(found.iter().any(|found| holds(found, 1)) && found.iter().any(|found| holds(found, 3)));
    let added = import(&store, "acme", &grant(1)).await;
    assert_eq!(added.chain, ChainId(4), "no slot of the old store is written over");
    assert_eq!(answers(&store, "acme").await.len(), 3);
    store.forget_answers("acme").await.unwrap();
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(4, 0)] && found[0].ours);
    assert_eq!(answers(&store, "beta").await.len(), 1);
}

#[tokio::test]
async fn answers_of_chains_that_an_older_database_does_not_know_are_foreign() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.close().await;
    drop((state, store));
    let backup = fs::read(home.database()).unwrap();
    let (state, store) = home.open().await;
    store.add("acme", &grant(2), Seat::Active { keep_old: true }).await.unwrap();
    store.close().await;
    drop((state, store));
    fs::write(home.database(), backup).unwrap();
    let (_state, store) = home.open().await;
    let found = answers(&store, "acme").await;
    let ours = |chain: i64| found.iter().find(|found| found.chain.0 == chain).unwrap().ours;
    assert!(ours(1) && !ours(2), "{found:?}");
    assert_eq!(import(&store, "acme", &grant(2)).await.chain, ChainId(3));
}

#[tokio::test]
async fn f_08_no_exchange_begins_when_the_files_are_no_longer_where_they_were() {
    for wrong in ["removed", "replaced", "moved", "slots removed"] {
        let home = Home::new();
        let (_state, store) = home.open().await;
        import(&store, "acme", &grant(1)).await;
        store.intend(link("acme", 1)).await.unwrap();
        match wrong {
            "removed" => fs::remove_file(home.database()).unwrap(),
            "replaced" => {
                let copy = home.path().join("copy");
                fs::copy(home.database(), &copy).unwrap();
                fs::rename(copy, home.database()).unwrap();
            }
            "moved" => fs::rename(home.path(), home.0.path().join("elsewhere")).unwrap(),
            _ => fs::remove_dir_all(home.path().join("journal")).unwrap(),
        }
        let refused = store.intend(link("acme", 1)).await.unwrap_err();
        let StoreError::Unavailable(source) = refused else { panic!("{wrong}: {refused:?}") };
        let text = source.to_string();
        assert!(text.contains("b24gate") || text.contains("state"), "{wrong}: {text}");
        assert!(text.contains("restart"), "{wrong}: {text}");
    }
}
