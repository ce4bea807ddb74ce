//! From what is seen once a second to facts: what has lasted long enough to be told. Pure, so that
//! tests need no clock.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::credential::{State, Status};

use super::outbox::Facts;
use super::subject::{Condition, Subject};

/// How a subject is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) subject: Subject,
    pub(super) condition: Condition,
    /// Why, in the OAuth server's word.
    pub(super) code: Option<String>,
}

/// A condition that has lasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) condition: Condition,
    pub(super) code: Option<String>,
    /// When it was first seen, unix seconds.
    pub(super) since: u64,
}

/// A fact that was another one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) subject: Subject,
    pub(super) previous: Condition,
    pub(super) fact: Fact,
}

/// What is known of every subject.
#[derive(Debug, Default)]
pub(super) struct Watch {
    facts: Facts,
    /// What is so now and has not lasted yet, and since when.
    unsettled: BTreeMap<Subject, (Instant, Fact)>,
}

impl Sighting {
    /// Nothing of a portal that was never connected.
    pub(super) fn of_portal(name: &str, status: &Status) -> Option<Self> {
        let condition = match status.state {
            State::Connected => Condition::Connected,
            State::Suspect => Condition::Suspect,
            State::Paused { .. } => Condition::Paused,
            State::Dead { .. } => Condition::Dead,
            State::NotConnected => return None,
        };
        let subject = Subject::Portal(name.to_owned());
        Some(Self { subject, condition, code: status.state.code().map(str::to_owned) })
    }

    pub(super) fn of_store(fails: bool) -> Self {
        let condition = if fails { Condition::Failing } else { Condition::Ok };
        Self { subject: Subject::Store, condition, code: None }
    }
}

impl Watch {
    /// Takes in what is seen at `now` (`at` by the wall clock); says what has changed by it.
    pub(super) fn look(&mut self, now: Instant, at: u64, seen: Vec<Sighting>) -> Vec<Change> {
        let there = |subject: &Subject| seen.iter().any(|sighting| sighting.subject == *subject);
        self.facts.retain(|subject, _| there(subject));
        self.unsettled.retain(|subject, _| there(subject));
        seen.into_iter().filter_map(|sighting| self.take(now, at, sighting)).collect()
    }

    /// Everything that has lasted.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    fn take(&mut self, now: Instant, at: u64, sighting: Sighting) -> Option<Change> {
        let Sighting { subject, condition, code } = sighting;
        if self.facts.get(&subject).is_some_and(|fact| fact.condition == condition) {
            self.unsettled.remove(&subject);
            return None;
        }
        let first = (now, Fact { condition, code, since: at });
        let unsettled = self.unsettled.entry(subject.clone()).or_insert_with(|| first.clone());
        if unsettled.1.condition != condition {
            *unsettled = first;
        }
        if now.duration_since(unsettled.0) < condition.news_after() {
            return None;
        }
        let (_, fact) = self.unsettled.remove(&subject)?;
        let before = self.facts.insert(subject.clone(), fact.clone());
        let previous = before.map_or_else(|| subject.healthy(), |before| before.condition);
        // A healthy start is no change.
        (previous != condition).then_some(Change { subject, previous, fact })
    }
}

#[cfg(test)]
mod tests;
