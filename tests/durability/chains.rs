//! The checker of refresh token histories itself: what it lets through, and what not.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::calls::{fault, portal, profile};
use crate::support::chain::{self, Event, Tally};
use crate::support::{Gate, Setup};

/// `seed A`, `A B` (A was presented, B issued), `A -` (A was refused), each a second after the
/// other; `!fault` behind it says what hit the answer, `+` that the access token was used.
fn history(lines: &[&str]) -> Vec<Event> {
    let event = |(at, line): (usize, &&str)| {
        let mut words: Vec<&str> = line.split(' ').collect();
        let used_ms = words.last().filter(|word| **word == "+").map(|_| 1);
        words.retain(|word| *word != "+");
        let fault = words.get(2).map(|word| word.trim_start_matches('!').to_owned());
        let some = |word: &str| (word != "seed" && word != "-").then(|| word.to_owned());
        let (presented, issued) = (some(words[0]), some(words[1]));
        let outcome = match (&presented, &issued, fault.as_deref()) {
            (None, ..) => "seeded",
            (_, Some(_), _) => "rotated",
            (.., Some("same_refresh_token")) => "kept",
            _ => "invalid_grant",
        };
        let (at_ms, outcome) = (at as u64 * 1000, outcome.to_owned());
        Event { at_ms, chain: 1, presented, issued, outcome, fault, used_ms }
    };
    lines.iter().enumerate().map(event).collect()
}

fn check(lines: &[&str], ambiguous: &[usize]) -> Result<(u64, u64), String> {
    let ambiguous: BTreeSet<usize> = ambiguous.iter().copied().collect();
    chain::check(&history(lines), &ambiguous).map(|tally| (tally.exchanges, tally.repeats))
}

#[track_caller]
fn assert_refused(lines: &[&str], ambiguous: &[usize], why: &str) {
    let refusal = check(lines, ambiguous).expect_err("the history is called sound");
    assert!(refusal.contains(why), "{refusal}");
}

#[test]
fn what_was_issued_and_then_presented_in_order_is_sound() {
    assert_eq!(check(&["seed A"], &[]), Ok((0, 0)));
    assert_eq!(check(&["seed A", "A B +", "B C +", "C D"], &[]), Ok((3, 0)));
    let tally = chain::check(&history(&["seed A", "A B", "B C"]), &BTreeSet::new()).unwrap();
    assert_eq!(tally, Tally { exchanges: 2, repeats: 0, ages: vec![1000, 1000] });
}

#[test]
fn chains_are_held_apart() {
    let mut mixed = history(&["seed A", "seed P", "A B", "P Q", "B C"]);
    assert!(chain::check(&mixed, &BTreeSet::new()).is_err());
    mixed[1].chain = 2;
    mixed[3].chain = 2;
    assert_eq!(chain::check(&mixed, &BTreeSet::new()).unwrap().exchanges, 3);
}

#[test]
fn a_token_after_a_newer_one_was_known_is_found() {
    assert_refused(&["seed A", "A B", "A C"], &[], "A is presented after B was known");
    assert_refused(&["seed A", "A B", "B C", "A -"], &[], "A is presented after B was known");
    assert_refused(&["seed A", "A B", "B C !slow", "B D"], &[], "B is presented after C was known");
}

#[test]
fn a_repeat_is_sound_right_after_an_ambiguous_end_and_nowhere_else() {
    assert_eq!(check(&["seed A", "A B", "A C", "C D"], &[1]), Ok((2, 1)));
    assert_eq!(check(&["seed A", "A B", "A C", "A D", "D E"], &[1, 2]), Ok((2, 2)));
    assert_eq!(check(&["seed A", "A B !reset_after_commit", "A C"], &[]), Ok((1, 1)));
    // The strict server's answer to it, got and got lost.
    assert_eq!(check(&["seed A", "A B", "A -"], &[1]), Ok((1, 1)));
    assert_eq!(check(&["seed A", "A B", "A -", "A -"], &[1, 2]), Ok((1, 2)));
    assert_refused(&["seed A", "A B", "A -", "A -"], &[1], "A is presented again");
    assert_refused(&["seed A", "A -", "A -"], &[], "A is presented again");
    assert_refused(&["seed A", "A B", "A C", "A D"], &[1], "A is presented after C was known");
    assert_refused(&["seed A", "A B", "A C", "C D", "C E"], &[1], "C is presented after D was");
}

#[test]
fn an_end_that_was_not_ambiguous_cannot_be_called_so() {
    assert_refused(&["seed A", "A B +", "A C"], &[1], "B is called lost, and its access token");
    assert_refused(&["seed A", "A B", "B C"], &[1], "B is presented, and its answer is called");
}

#[test]
fn a_token_from_nowhere_is_found() {
    assert_refused(&["seed A", "X -"], &[], "X was never issued");
    assert_refused(&["X -"], &[], "X was never issued");
    assert_refused(&["seed A", "seed B"], &[], "begins twice");
}

#[test]
fn a_token_that_the_server_let_stand_is_presented_again() {
    let kept = ["seed A", "A - !same_refresh_token", "A B"];
    assert_eq!(check(&kept, &[]), Ok((2, 0)));
    assert_refused(&["seed A", "A -", "A B"], &[], "A is presented again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_of_a_gateway_with_lost_and_late_answers_is_sound() {
    let portal = portal().await;
    let seed = portal.seed();
    let gate = Gate::connected(&Setup::of(&seed), &seed);
    portal.control().switch(&json!({"rotation": "lenient"})).unwrap();
    for mode in ["slow", "reset_after_commit"] {
        portal.control().expire();
        fault(&portal, json!({"oauth": {"mode": mode, "ms": 5, "count": 1}})).await;
        profile(&gate).await;
    }
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);

    let mut events = chain::history(&portal);
    let faults: Vec<_> = events.iter().map(|event| event.fault.as_deref()).collect();
    assert_eq!(faults, [None, Some("slow"), Some("reset_after_commit"), None]);
    let used: Vec<_> = events.iter().map(|event| event.used_ms.is_some()).collect();
    assert_eq!(used, [false, true, false, true]);
    let tally = chain::check(&events, &BTreeSet::new()).unwrap();
    assert_eq!((tally.exchanges, tally.repeats), (2, 1));
    events[2].fault = None;
    assert!(chain::check(&events, &BTreeSet::new()).is_err());
}
