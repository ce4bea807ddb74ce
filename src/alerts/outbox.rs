//! What one target has heard and what it has still to hear. Pure, so that tests need no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::subject::{Condition, Subject};
use super::watch::{Change, Fact};

/// What is so, by subject.
pub(super) type Facts = BTreeMap<Subject, Fact>;

/// What a target has heard, by subject.
pub(super) type Heard = BTreeMap<Subject, Condition>;

/// The memory of one target.
#[derive(Debug)]
pub(super) struct Outbox {
    heard: Heard,
    /// Attempts in a row that failed.
    failures: u32,
    /// No attempt before.
    not_before: Option<Instant>,
    /// What failed last: something else goes first, should it alone be to blame.
    failed: Option<Subject>,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Deliver this.
    Send(Change),
    /// There is something to deliver, and it is too early.
    Wait(Instant),
    /// People know everything.
    Idle,
}

/// What `target` has heard, from all that the store remembers.
pub(super) fn heard(target: &str, remembered: &[(String, String)]) -> Heard {
    let known = |(key, word): &(String, String)| {
        Some((Subject::of_key(target, key)?, Condition::of_word(word)?))
    };
    remembered.iter().filter_map(known).collect()
}

impl Outbox {
    pub(super) fn new(heard: Heard) -> Self {
        Self { heard, failures: 0, not_before: None, failed: None }
    }

    /// What to do at `now`, while `facts` hold. Only what is so now is ever sent: a condition that
    /// has passed undelivered is replaced, or forgotten when people believe the right thing anyway.
    pub(super) fn step(&self, now: Instant, facts: &Facts) -> Step {
        let mut news = facts.iter().filter_map(|(subject, fact)| self.news(subject, fact));
        let Some(first) = news.next() else { return Step::Idle };
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return Step::Wait(until);
        }
        let rotated = |change: &Change| self.failed.as_ref().is_some_and(|it| change.subject > *it);
        Step::Send(if rotated(&first) { first } else { news.find(rotated).unwrap_or(first) })
    }

    /// People have heard it.
    pub(super) fn delivered(&mut self, subject: &Subject, condition: Condition) {
        self.heard.insert(subject.clone(), condition);
        self.start_anew();
    }

    /// It did not arrive; says how long the target is left alone.
    pub(super) fn failed(&mut self, subject: &Subject, now: Instant) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = jittered(pause(self.failures));
        self.not_before = Some(now + pause);
        self.failed = Some(subject.clone());
        pause
    }

    /// The target is another one: what the old one did says nothing.
    pub(super) fn start_anew(&mut self) {
        self.failures = 0;
        self.not_before = None;
        self.failed = None;
    }

    fn news(&self, subject: &Subject, fact: &Fact) -> Option<Change> {
        let previous = self.heard.get(subject).copied().unwrap_or_else(|| subject.healthy());
        let (subject, fact) = (subject.clone(), fact.clone());
        (previous != fact.condition).then_some(Change { subject, previous, fact })
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    PAUSE_MIN.saturating_mul(doubled).min(PAUSE_MAX)
}

/// Up to a quarter longer, so that many gateways do not come back in the same second.
fn jittered(pause: Duration) -> Duration {
    let part = getrandom::u32().unwrap_or_default() % 1024;
    pause + pause / 4 * part / 1024
}

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests;
