//! Chains that wait for a seat: pairs of which somebody else may have a copy.

use super::corruption::copy;
use super::*;

/// The steps by which a pair that somebody brought becomes the portal's credential.
const STEPS: usize = 5;

/// Chain 2, as pair 2 came: its exchange brings pair 3.
fn brought(generation: u64) -> Link<'static> {
    Link { chain: ChainId(2), ..link("acme", generation) }
}

async fn step(store: &SqliteStore, number: usize) {
    match number {
        0 => assert!(store.add("acme", &grant(2), Seat::Arriving).await.is_ok()),
        1 => store.intend(brought(2)).await.unwrap(),
        2 => store.receive(brought(2), &brings(3)).await.unwrap(),
        3 => assert!(store.commit(brought(2), &grant(3)).await.is_ok()),
        _ => {
            let seat = Seat::Active { keep_old: true };
            assert!(store.take_seat(brought(3), seat).await.is_ok());
        }
    }
}

/// A chain's number, its generation and its pair, and whether an exchange is under way.
type Seen = (i64, u64, u32, bool);

fn seen(stored: &Result<StoredCredential, StoreError>) -> Seen {
    let stored = stored.as_ref().unwrap();
    let pair = stored.refresh.expose().strip_prefix("R-canary-").unwrap().parse().unwrap();
    assert!(stored.access.matches(&format!("A-canary-{pair}")));
    (stored.chain.0, stored.generation.0, pair, stored.intent_open)
}

/// The active chain, the spares and the arriving ones.
async fn seats(store: &SqliteStore) -> (Option<Seen>, Vec<Seen>, Vec<Seen>) {
    let records = store.load().await.unwrap();
    let record = records.iter().find(|record| record.portal == "acme").unwrap();
    let all = |chains: &[_]| chains.iter().map(seen).collect();
    (record.credential.as_ref().map(seen), all(&record.spares), all(&record.arriving))
}

async fn outcomes(store: &SqliteStore) -> Vec<(String, i64, u64)> {
    let lines = store.ledger("acme", 4).await.unwrap();
    lines.into_iter().map(|line| (line.outcome, line.chain, line.generation)).collect()
}

fn slots(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.path().join("journal")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_crash_after_any_step_of_an_arrival_leaves_it_where_it_was_and_it_goes_on() {
    for crash in 0..=STEPS {
        let home = Home::new();
        let (state, store) = home.open().await;
        import(&store, "acme", &grant(1)).await;
        for number in 0..crash {
            step(&store, number).await;
        }
        drop((state, store));
        let (state, store) = home.open().await;
        let active = (1, 1, 1, false);
        let want = match crash {
            0 => (Some(active), vec![], vec![]),
            1 => (Some(active), vec![], vec![(2, 2, 2, false)]),
            2 | 3 => (Some(active), vec![], vec![(2, 2, 2, true)]),
            4 => (Some(active), vec![], vec![(2, 3, 3, false)]),
            _ => (Some((2, 4, 3, false)), vec![active], vec![]),
        };
        assert_eq!(seats(&store).await, want, "after {crash} steps");
        let held = answers(&store, "acme").await;
        let received = held.iter().find(|found| found.chain == ChainId(2));
        match crash {
            0 => assert!(received.is_none()),
            1 | 2 => assert!(received.is_some_and(|found| holds(found, 2))),
            _ => assert!(received.is_some_and(|found| found.ours && holds(found, 3))),
        }
        for number in crash..STEPS {
            step(&store, number).await;
        }
        let want = (Some((2, 4, 3, false)), vec![active], vec![]);
        assert_eq!(seats(&store).await, want, "went on after {crash} steps");
        drop((state, store));
    }
}

#[tokio::test]
async fn without_its_database_the_pair_of_an_arriving_chain_is_in_the_journal_at_every_step() {
    for crash in 1..=STEPS {
        let home = Home::new();
        let (state, store) = home.open().await;
        import(&store, "acme", &grant(1)).await;
        for number in 0..crash {
            step(&store, number).await;
        }
        drop((state, store));
        fs::remove_file(home.database()).unwrap();
        let (_state, store) = home.open().await;
        let held = answers(&store, "acme").await;
        let newest = if crash < 3 { 2 } else { 3 };
        for pair in [1, newest] {
            let there = held.iter().any(|found| !found.ours && holds(found, pair));
            assert!(there, "pair {pair} after {crash} steps");
        }
    }
}

#[tokio::test]
async fn a_crash_between_the_database_and_the_journal_is_made_good_at_the_next_start() {
    for (number, left) in [
        // The step, and what lies in the journal after the next start.
        (0, [(1, 1), (2, 2)].as_slice()),
        (3, &[(1, 1), (2, 3)]),
        (4, &[(1, 1), (2, 3)]),
        (5, &[(1, 1)]),
        (6, &[(2, 3)]),
    ] {
        let home = Home::new();
        let (state, store) = home.open().await;
        import(&store, "acme", &grant(1)).await;
        for earlier in (0..number.min(4)).filter(|earlier| *earlier != 2) {
            step(&store, earlier).await;
        }
        let before = home.0.path().join("before");
        copy(&home.path().join("journal"), &before);
        match number {
            5 => store.turn_away(brought(3)).await.unwrap(),
            6 => {
                let seat = Seat::Active { keep_old: false };
                assert!(store.take_seat(brought(3), seat).await.is_ok());
            }
            number => step(&store, number).await,
        }
        drop((state, store));
        fs::remove_dir_all(home.path().join("journal")).unwrap();
        copy(&before, &home.path().join("journal"));
        let (state, store) = home.open().await;
        store.load().await.unwrap();
        let names: Vec<_> = left.iter().map(|(chain, _)| format!("acme-{chain}.answer")).collect();
        assert_eq!(slots(&home), names, "step {number}");
        let held = answers(&store, "acme").await;
        assert_eq!(held.len(), left.len(), "step {number}");
        for (chain, pair) in left {
            let copied = |found: &Answered| found.chain == ChainId(*chain) && holds(found, *pair);
            assert!(held.iter().any(copied), "step {number}: pair {pair}");
        }
        let (active, spares, arriving) = seats(&store).await;
        for (chain, generation, ..) in active.into_iter().chain(spares).chain(arriving) {
            let found = held.iter().find(|found| found.chain == ChainId(chain)).unwrap();
            assert_eq!(found.generation.0 + 1, generation, "step {number}: chain {chain}");
        }
        drop((state, store));
    }
}

#[tokio::test]
async fn nobody_makes_room_for_chains_that_arrive_and_they_are_told_oldest_first() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    for pair in [2, 3] {
        store.add("acme", &grant(pair), Seat::Spare).await.unwrap();
    }
    for pair in [4, 5, 6] {
        let added = store.add("acme", &grant(pair), Seat::Arriving).await.unwrap();
        assert_eq!((added.generation.0, added.dropped), (u64::from(pair), None));
    }
    // Neither takes the place of the other.
    assert!(store.promote("acme", ChainId(4)).await.unwrap().is_none());
    drop((state, store));
    let (_state, store) = home.open().await;
    let (active, spares, arriving) = seats(&store).await;
    assert_eq!(active, Some((1, 1, 1, false)));
    assert_eq!(spares, [(3, 3, 3, false), (2, 2, 2, false)]);
    assert_eq!(arriving, [(4, 4, 4, false), (5, 5, 5, false), (6, 6, 6, false)]);
    assert_eq!(slots(&home).len(), 6);
    store.fail(Link { chain: ChainId(5), ..link("acme", 5) }, &State::Suspect).await.unwrap();
    let records = store.load().await.unwrap();
    assert_eq!(records[0].arriving[1].as_ref().unwrap().state, State::Suspect);
}

#[tokio::test]
async fn a_seat_as_the_credential_is_taken_above_all_generations_and_the_old_one_goes() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.add("acme", &grant(2), Seat::Arriving).await.unwrap();
    // Meanwhile the one in use is renewed, and its next exchange is under way.
    for generation in 1..5 {
        store.commit(link("acme", generation), &grant(10)).await.unwrap();
    }
    store.intend(link("acme", 5)).await.unwrap();
    store.commit(brought(2), &grant(3)).await.unwrap();
    let seat = Seat::Active { keep_old: false };
    let late = store.take_seat(brought(2), seat).await;
    assert!(matches!(late, Err(StoreError::Superseded(Generation(3)))), "{late:?}");
    store.intend(brought(3)).await.unwrap();
    let added = store.take_seat(brought(3), seat).await.unwrap();
    assert_eq!((added.chain, added.generation.0, added.dropped), (ChainId(2), 6, None));
    let intents: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM intent").fetch_one(&store.pool).await.unwrap();
    assert_eq!(intents, 0, "none of the chain before, none at the generation before");
    // At once, and not only when it is read again.
    assert_eq!(slots(&home), ["acme-2.answer"]);
    let copied = store.journal.read().await.unwrap();
    assert_eq!(copied[0].answered.generation, Generation(5));
    assert!(holds(&copied[0].answered, 3));
    assert_eq!(seats(&store).await, (Some((2, 6, 3, false)), vec![], vec![]));
    let again = store.take_seat(brought(6), seat).await;
    assert!(matches!(again, Err(StoreError::Unknown)), "{again:?}");
    let late = store.commit(link("acme", 5), &grant(11)).await;
    assert!(matches!(late, Err(StoreError::Unknown)), "{late:?}");
    store.commit(brought(6), &grant(4)).await.unwrap();
    let lines = outcomes(&store).await;
    let lines: Vec<_> = lines.iter().map(|(what, a, b)| (what.as_str(), *a, *b)).collect();
    assert_eq!(lines, [("commit", 2, 7), ("seated", 2, 6), ("intent", 2, 3), ("commit", 2, 3)]);
}

#[tokio::test]
async fn a_seat_as_a_spare_leaves_the_chain_as_it_is_and_the_oldest_spare_makes_room() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.add("acme", &grant(2), Seat::Arriving).await.unwrap();
    for pair in [3, 4] {
        store.add("acme", &grant(pair), Seat::Spare).await.unwrap();
    }
    // However late it is seated.
    home.tamper("UPDATE chain SET issued_at = issued_at - 900 WHERE id = 2").await;
    let stay = store.take_seat(brought(2), Seat::Arriving).await.unwrap();
    assert_eq!((stay.generation.0, stay.dropped), (2, None));
    let added = store.take_seat(brought(2), Seat::Spare).await.unwrap();
    assert_eq!((added.generation.0, added.dropped), (2, Some(ChainId(3))));
    assert_eq!(slots(&home), ["acme-1.answer", "acme-2.answer", "acme-4.answer"]);
    drop((state, store));
    let (_state, store) = home.open().await;
    let (active, spares, arriving) = seats(&store).await;
    assert_eq!((active, arriving), (Some((1, 1, 1, false)), vec![]));
    assert_eq!(spares, [(4, 4, 4, false), (2, 2, 2, false)]);
    let lines = outcomes(&store).await;
    let lines: Vec<_> = lines.iter().map(|(what, a, b)| (what.as_str(), *a, *b)).collect();
    assert_eq!(lines, [("dropped", 3, 3), ("seated", 2, 2), ("spare", 4, 4), ("spare", 3, 3)]);
}

#[tokio::test]
async fn what_a_chain_received_and_did_not_commit_stays_when_it_becomes_a_spare() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    for number in 0..3 {
        step(&store, number).await;
    }
    store.take_seat(brought(2), Seat::Spare).await.unwrap();
    let held = answers(&store, "acme").await;
    assert!(held.iter().any(|found| found.chain == ChainId(2) && holds(found, 3)), "{held:?}");
}

#[tokio::test]
async fn a_chain_that_is_turned_away_is_history_and_nothing_else_changes() {
    let home = Home::new();
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.add("acme", &grant(2), Seat::Arriving).await.unwrap();
    store.intend(brought(2)).await.unwrap();
    // Those that are not arriving, or no longer at that generation.
    store.turn_away(link("acme", 1)).await.unwrap();
    store.turn_away(brought(1)).await.unwrap();
    assert_eq!(seats(&store).await.2, [(2, 2, 2, true)]);
    for _ in 0..2 {
        store.turn_away(brought(2)).await.unwrap();
        assert_eq!(slots(&home), ["acme-1.answer"]);
        let want = (Some((1, 1, 1, false)), vec![], vec![]);
        assert_eq!(seats(&store).await, want);
    }
    let lines = outcomes(&store).await;
    let lines: Vec<_> = lines.iter().map(|(what, a, b)| (what.as_str(), *a, *b)).collect();
    let want = [("turned away", 2, 2), ("intent", 2, 2), ("arriving", 2, 2), ("import", 1, 1)];
    assert_eq!(lines, want);
    drop((state, store));
    let (_state, store) = home.open().await;
    for refused in [
        store.intend(brought(2)).await,
        store.commit(brought(2), &grant(3)).await.map(drop),
        store.take_seat(brought(2), Seat::Spare).await.map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::Unknown)), "{refused:?}");
    }
    assert_eq!(seats(&store).await.0, Some((1, 1, 1, false)));
    let intents: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM intent").fetch_one(&store.pool).await.unwrap();
    assert_eq!(intents, 0);
}

#[tokio::test]
async fn a_pair_that_does_not_open_gets_no_seat_and_hides_no_other() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.add("acme", &grant(2), Seat::Arriving).await.unwrap();
    store.add("acme", &grant(3), Seat::Arriving).await.unwrap();
    store.add("acme", &grant(4), Seat::Spare).await.unwrap();
    home.tamper("UPDATE chain SET refresh = access WHERE id IN (2, 4)").await;
    let refused = store.take_seat(brought(2), Seat::Active { keep_old: false }).await;
    assert!(matches!(refused, Err(StoreError::Sealed)), "{refused:?}");
    assert!(store.promote("acme", ChainId(4)).await.unwrap().is_none());
    let records = store.load().await.unwrap();
    let [Err(StoreError::Sealed), Ok(whole)] = &records[0].arriving[..] else {
        panic!("{records:?}")
    };
    assert_eq!(whole.chain, ChainId(3));
    assert!(credential(&store, "acme").await.unwrap().refresh.matches("R-canary-1"));
}
