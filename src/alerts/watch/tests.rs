use std::time::Duration;

use super::*;
use crate::alerts::outbox::{Heard, Outbox, Step};

/// A day with one target, told second by second.
struct Day {
    start: Instant,
    seconds: u64,
    watch: Watch,
    outbox: Outbox,
}

impl Day {
    fn new(heard: &[(&str, Condition)]) -> Self {
        let heard = heard.iter().map(|(name, condition)| (portal(name), *condition));
        let outbox = Outbox::new(heard.collect::<Heard>());
        Self { start: Instant::now(), seconds: 0, watch: Watch::default(), outbox }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds)
    }

    /// The portal is like this for so many seconds; what is delivered in that time, by a target
    /// that takes everything.
    fn lasts(&mut self, seconds: u64, state: &State) -> Vec<String> {
        self.passes(seconds, &[("acme", state)], true)
    }

    /// Likewise with a target that is not asked: what would be sent at the end.
    fn unheard(&mut self, seconds: u64, state: &State) -> Vec<String> {
        self.passes(seconds, &[("acme", state)], false)
    }

    fn passes(&mut self, seconds: u64, states: &[(&str, &State)], delivers: bool) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..seconds {
            let seen = states.iter().filter_map(|(name, state)| sighting(name, state)).collect();
            self.watch.look(self.now(), 1_000 + self.seconds, seen);
            while delivers && let Step::Send(change) = self.step() {
                self.outbox.delivered(&change.subject, change.fact.condition);
                told.push(line(&change));
            }
            self.seconds += 1;
        }
        if let Step::Send(change) = self.step() {
            told.push(line(&change));
        }
        told
    }

    fn step(&self) -> Step {
        self.outbox.step(self.now(), self.watch.facts())
    }
}

fn portal(name: &str) -> Subject {
    Subject::Portal(name.to_owned())
}

fn sighting(name: &str, state: &State) -> Option<Sighting> {
    Sighting::of_portal(name, &Status { state: state.clone(), ..Status::default() })
}

fn line(change: &Change) -> String {
    let (condition, code) = (change.fact.condition.word(), &change.fact.code);
    let code = code.as_ref().map_or_else(String::new, |code| format!(" {code}"));
    let since = change.fact.since - 1_000;
    format!("{} {}->{condition}{code} @{since}", change.subject, change.previous.word())
}

fn dead() -> State {
    State::Dead { code: "invalid_grant".to_owned() }
}

fn paused() -> State {
    State::Paused { code: "PAYMENT_REQUIRED".to_owned() }
}

const UP: State = State::Connected;
const DOUBT: State = State::Suspect;

#[test]
fn a_death_is_told_once_with_its_code_and_when_it_began_and_so_is_the_return() {
    let mut day = Day::new(&[]);
    assert!(day.lasts(10, &UP).is_empty(), "a healthy start is no news");
    assert_eq!(day.lasts(100, &dead()), ["portal acme connected->dead invalid_grant @10"]);
    assert_eq!(day.lasts(100, &UP), ["portal acme dead->connected @110"]);
    assert!(day.lasts(100, &UP).is_empty());
}

#[test]
fn what_does_not_last_for_two_seconds_is_no_news() {
    let mut day = Day::new(&[]);
    day.lasts(10, &UP);
    for _ in 0..20 {
        assert!(day.lasts(2, &dead()).is_empty());
        assert!(day.lasts(1, &UP).is_empty());
    }
    assert!(day.lasts(2, &dead()).is_empty());
    assert_eq!(day.lasts(1, &dead()), ["portal acme connected->dead invalid_grant @70"]);
}

#[test]
fn a_condition_that_becomes_another_one_begins_to_last_anew() {
    let mut day = Day::new(&[]);
    day.lasts(10, &UP);
    assert!(day.lasts(2, &dead()).is_empty());
    assert!(day.lasts(2, &paused()).is_empty());
    assert_eq!(day.lasts(1, &paused()), ["portal acme connected->paused PAYMENT_REQUIRED @12"]);
}

#[test]
fn a_doubt_is_news_after_ten_minutes_and_says_nothing_before() {
    let mut day = Day::new(&[]);
    day.lasts(10, &UP);
    assert!(day.lasts(600, &DOUBT).is_empty());
    assert!(day.lasts(10, &UP).is_empty(), "it has settled itself");
    assert!(day.lasts(600, &DOUBT).is_empty());
    assert_eq!(day.lasts(1, &DOUBT), ["portal acme connected->suspect @620"]);
    assert_eq!(day.lasts(3, &UP), ["portal acme suspect->connected @1221"]);
    day.lasts(3, &paused());
    assert!(day.lasts(599, &DOUBT).is_empty(), "a doubt is no proof that the payment came");
}

#[test]
fn a_portal_that_was_never_connected_is_no_news_and_neither_is_its_first_connection() {
    let mut day = Day::new(&[]);
    assert!(day.lasts(10, &State::NotConnected).is_empty());
    assert!(day.lasts(10, &UP).is_empty());
}

#[test]
fn a_start_with_a_dead_portal_is_news_for_those_who_have_not_heard_and_only_for_them() {
    let told = Day::new(&[]).lasts(5, &dead());
    assert_eq!(told, ["portal acme connected->dead invalid_grant @0"]);
    assert!(Day::new(&[("acme", Condition::Dead)]).lasts(5, &dead()).is_empty());
    let told = Day::new(&[("acme", Condition::Dead)]).lasts(5, &UP);
    assert_eq!(told, ["portal acme dead->connected @0"]);
    let told = Day::new(&[("acme", Condition::Paused)]).lasts(5, &dead());
    assert_eq!(told, ["portal acme paused->dead invalid_grant @0"]);
}

#[test]
fn what_has_passed_undelivered_is_replaced_or_forgotten() {
    let mut day = Day::new(&[]);
    day.lasts(10, &UP);
    assert_eq!(day.unheard(10, &dead()), ["portal acme connected->dead invalid_grant @10"]);
    assert!(day.unheard(10, &UP).is_empty(), "people believe the right thing already");
    assert_eq!(day.unheard(10, &paused()).len(), 1);
    assert_eq!(day.unheard(10, &dead()), ["portal acme connected->dead invalid_grant @40"]);
}

#[test]
fn one_portal_is_not_another() {
    let mut day = Day::new(&[("bolt", Condition::Dead)]);
    let told = day.passes(5, &[("acme", &dead()), ("bolt", &dead()), ("cyan", &UP)], true);
    assert_eq!(told, ["portal acme connected->dead invalid_grant @0"]);
    let told = day.passes(5, &[("acme", &dead()), ("bolt", &UP), ("cyan", &paused())], true);
    let expected =
        ["portal bolt dead->connected @5", "portal cyan connected->paused PAYMENT_REQUIRED @5"];
    assert_eq!(told, expected);
}

#[test]
fn a_portal_that_is_taken_out_of_the_configuration_is_no_longer_told_of() {
    let mut day = Day::new(&[]);
    assert_eq!(day.unheard(5, &dead()).len(), 1);
    assert!(day.passes(1, &[], false).is_empty());
}

#[test]
fn the_log_has_each_change_once_and_no_healthy_start() {
    let mut watch = Watch::default();
    let start = Instant::now();
    let mut logged = Vec::new();
    let states = [UP, UP, UP, dead(), dead(), dead(), dead(), UP, UP, UP, UP];
    for (second, state) in (0..).zip(&states) {
        let seen = vec![sighting("acme", state).unwrap(), Sighting::of_store(second > 5)];
        logged.extend(watch.look(start + Duration::from_secs(second), 1_000 + second, seen));
    }
    let logged: Vec<_> = logged.iter().map(line).collect();
    let expected = [
        "portal acme connected->dead invalid_grant @3",
        "store ok->failing @6",
        "portal acme dead->connected @7",
    ];
    assert_eq!(logged, expected);
}
