//! The states of an id, on a clock that the tests turn.

use super::shelf::{BYTES_MAX, ENTRIES_MAX, WAITERS_MAX};
use super::*;
use crate::error::{Executed, Kind};
use crate::gateway::answer::Manner;
use crate::gateway::relay::Delivered;
use crate::gateway::reply::{self, Parsed, Reply};

const PLAIN: Manner = Manner { xml: false, head_only: false, http10: false, close: false };
const LARGEST: usize = 1024 * 1024;

fn identity(number: usize) -> Identity {
    let mut identity = Identity::default();
    identity[..8].copy_from_slice(&number.to_be_bytes());
    identity
}

fn first(twins: &Arc<Twins>, number: usize) -> Lead {
    match twins.join(identity(number)) {
        Joined::First(lead) => *lead,
        other => panic!("{number} is not the first: {other:?}"),
    }
}

fn reply() -> Reply {
    match reply::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false).unwrap() {
        Parsed::Final(_, reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// The whole life of a first one that the portal answers.
fn answer(mut lead: Lead, body: &[u8]) {
    lead.sent();
    lead.record(body);
    lead.whole();
    lead.answered(&reply(), 17, PLAIN);
}

fn body(joined: Joined) -> Vec<u8> {
    match joined {
        Joined::Ended(kept) => match &*kept {
            Kept::Answer(answer) => answer.body.clone(),
            Kept::Refusal(refusal) => panic!("{refusal:?}"),
        },
        other => panic!("not ended: {other:?}"),
    }
}

fn refusal(joined: Joined) -> Refusal {
    match joined {
        Joined::Ended(kept) => match &*kept {
            Kept::Refusal(refusal) => refusal.clone(),
            Kept::Answer(answer) => panic!("{answer:?}"),
        },
        other => panic!("not ended: {other:?}"),
    }
}

fn taken(twins: &Twins) -> (usize, usize) {
    twins.with(|shelf| shelf.taken())
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_for_ten_seconds_and_then_the_request_runs_again() {
    let twins = Arc::default();
    answer(first(&twins, 1), b"one");
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert_eq!(body(twins.join(identity(1))), b"one");
    tokio::time::advance(Duration::from_millis(1)).await;
    answer(first(&twins, 1), b"two");
    assert_eq!(body(twins.join(identity(1))), b"two");
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_freed_even_if_nobody_asks_again() {
    let twins = Arc::default();
    for round in 0..2 {
        answer(first(&twins, 1), &[b'x'; 5000]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        answer(first(&twins, 2), b"later");
        let (entries, bytes) = taken(&twins);
        assert!(entries == 2 && bytes > 5000, "round {round}: {entries} {bytes}");
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(taken(&twins).0, 1, "round {round}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(taken(&twins), (0, 0), "round {round}");
    }
}

#[tokio::test]
async fn those_who_wait_for_one_that_has_not_run_run_one_after_another() {
    let twins = Arc::default();
    let lead = first(&twins, 1);
    let (Joined::Wait(mut a), Joined::Wait(b)) = (twins.join(identity(1)), twins.join(identity(1)))
    else {
        panic!("nobody waits");
    };
    lead.refused(&Refusal::new(Kind::QueryLimit, "later"));
    a.changed().await.unwrap();
    assert!(matches!(*a.borrow(), Outcome::NotRun) && matches!(*b.borrow(), Outcome::NotRun));
    let next = first(&twins, 1);
    let Joined::Wait(mut b) = twins.join(identity(1)) else { panic!("two run") };
    answer(next, b"now");
    b.changed().await.unwrap();
    assert!(matches!(&*b.borrow(), Outcome::Ended(_)));
    assert_eq!(body(twins.join(identity(1))), b"now");
}

#[tokio::test]
async fn a_first_one_that_is_dropped_has_run_perhaps_if_it_was_sent_and_not_otherwise() {
    let twins = Arc::default();
    drop(first(&twins, 1));
    let mut lead = first(&twins, 1);
    lead.sent();
    lead.record(b"begun");
    drop(lead);
    let refusal = refusal(twins.join(identity(1)));
    assert_eq!((refusal.kind, refusal.executed), (Kind::PortalBroken, Executed::Unknown));
    assert_eq!(taken(&twins), (1, 0));
}

#[tokio::test]
async fn only_refusals_that_do_not_know_whether_the_call_has_run_are_kept() {
    let twins = Arc::default();
    for kind in Kind::ALL {
        first(&twins, 1).refused(&Refusal::new(kind, "x"));
        match kind.executed() {
            Executed::No => assert_eq!(taken(&twins), (0, 0), "{kind:?}"),
            Executed::Unknown => {
                assert_eq!(refusal(twins.join(identity(1))).kind, kind);
                twins.with(|shelf| shelf.sweep(Instant::now() + KEPT_FOR));
            }
        }
    }
    let mut lead = first(&twins, 1);
    lead.sent();
    lead.rejected();
    assert_eq!(taken(&twins), (0, 0));
}

#[tokio::test]
async fn an_answer_that_cannot_be_kept_is_a_refusal_and_takes_no_room() {
    let twins = Arc::default();
    let mut parts = first(&twins, 1);
    parts.record(&vec![b'x'; LARGEST]);
    parts.record(b"x");
    assert_eq!(parts.client_gone(), Err(Delivered::ClientGone), "nobody can get it");
    parts.whole();
    parts.answered(&reply(), 0, PLAIN);
    let mut stated = first(&twins, 2);
    stated.expect(LARGEST as u64 + 1);
    stated.record(b"x");
    stated.answered(&reply(), 0, PLAIN);
    let mut cut = first(&twins, 3);
    cut.expect(LARGEST as u64);
    cut.record(b"x");
    assert_eq!(cut.client_gone(), Ok(()), "others may ask for it");
    cut.answered(&reply(), 0, PLAIN);
    for number in 1..=3 {
        let refusal = refusal(twins.join(identity(number)));
        assert_eq!((refusal.kind, refusal.executed), (Kind::PortalBroken, Executed::Unknown));
        assert_eq!(refusal.description.contains("too large"), number < 3, "{number}");
    }
    assert_eq!(taken(&twins), (3, 0));
}

#[tokio::test]
async fn the_oldest_that_has_ended_makes_room_for_another_id() {
    let twins = Arc::default();
    let running = first(&twins, 0);
    for number in 1..ENTRIES_MAX {
        answer(first(&twins, number), b"");
    }
    let next = first(&twins, ENTRIES_MAX);
    assert_eq!(taken(&twins).0, ENTRIES_MAX);
    assert!(matches!(twins.join(identity(0)), Joined::Wait(_)), "what runs is not dropped");
    assert!(matches!(twins.join(identity(2)), Joined::Ended(_)), "nor more than is needed");
    drop(first(&twins, 1));
    drop((running, next));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_no_room_for_its_id_runs_without_it() {
    let twins = Arc::default();
    let running: Vec<_> = (0..ENTRIES_MAX).map(|number| first(&twins, number)).collect();
    for _ in 0..2 {
        assert!(matches!(twins.join(identity(ENTRIES_MAX)), Joined::Unnoted));
    }
    assert!(matches!(twins.join(identity(0)), Joined::Wait(_)));
    // The first was told at once, and the second a minute later.
    let minute = Duration::from_mins(1);
    assert_eq!(twins.with(|shelf| shelf.missed(Instant::now())), None);
    assert_eq!(twins.with(|shelf| shelf.missed(Instant::now() + minute)), Some(1));
    drop(running);
    assert_eq!(taken(&twins), (0, 0));
}

#[tokio::test]
async fn answers_take_no_more_memory_together_than_they_may() {
    let twins = Arc::default();
    let large = vec![b'x'; LARGEST - 64];
    let count = BYTES_MAX / LARGEST;
    for number in 0..=count {
        answer(first(&twins, number), &large);
        assert!(taken(&twins).1 <= BYTES_MAX);
    }
    drop(first(&twins, 0));
    assert_eq!(body(twins.join(identity(1))).len(), large.len());
    // What is being recorded counts, and cannot be dropped.
    let mut recording: Vec<_> = (1000..=1000 + count).map(|number| first(&twins, number)).collect();
    for lead in &mut recording {
        lead.record(&large);
    }
    assert!(taken(&twins).1 <= BYTES_MAX);
    assert!(matches!(twins.join(identity(1)), Joined::First(_)));
    let mut last = recording.pop().unwrap();
    last.whole();
    last.answered(&reply(), 0, PLAIN);
    assert!(refusal(twins.join(identity(1000 + count))).description.contains("too large"));
}

#[tokio::test]
async fn a_crowd_before_one_id_is_bounded() {
    let twins = Arc::default();
    let lead = first(&twins, 1);
    let mut waiting: Vec<_> = (0..WAITERS_MAX).map(|_| twins.join(identity(1))).collect();
    assert!(waiting.iter().all(|joined| matches!(joined, Joined::Wait(_))));
    assert!(matches!(twins.join(identity(1)), Joined::Crowded));
    waiting.pop();
    assert!(matches!(twins.join(identity(1)), Joined::Wait(_)), "one has left");
    drop(lead);
}
