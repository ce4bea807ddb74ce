//! What happened to refresh tokens: the proof of what a gateway did with them.

use std::collections::VecDeque;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::sandbox::text;

/// The latest events, the latest last.
#[derive(Debug)]
pub(in crate::sandbox) struct History {
    events: VecDeque<Event>,
    /// How many events were lost to the limit.
    forgotten: usize,
    started: Instant,
}

/// A line of the history; tokens appear as fingerprints only.
#[derive(Clone, Debug, Serialize)]
pub(in crate::sandbox) struct Event {
    pub(in crate::sandbox) at_ms: u64,
    pub(in crate::sandbox) chain: u64,
    pub(in crate::sandbox) presented: Option<String>,
    pub(in crate::sandbox) issued: Option<String>,
    pub(in crate::sandbox) outcome: String,
    /// The fault that hit the answer.
    pub(in crate::sandbox) fault: Option<String>,
    /// When the portal first took the access token that was issued with it: proof that the answer
    /// had arrived.
    pub(in crate::sandbox) used_ms: Option<u64>,
}

impl History {
    pub(super) fn new() -> Self {
        Self { events: VecDeque::new(), forgotten: 0, started: Instant::now() }
    }

    /// How many events there were.
    pub(super) fn count(&self) -> usize {
        self.forgotten + self.events.len()
    }

    /// One more event.
    pub(super) fn note(
        &mut self,
        chain: u64,
        presented: Option<&str>,
        issued: Option<&str>,
        outcome: &str,
    ) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.forgotten += 1;
        }
        self.events.push_back(Event {
            at_ms: text::millis(self.started.elapsed()),
            chain,
            presented: presented.map(text::fingerprint),
            issued: issued.map(text::fingerprint),
            outcome: outcome.to_owned(),
            fault: None,
            used_ms: None,
        });
    }

    /// Notes that the portal took the access token that was issued in the event of that number.
    pub(super) fn note_use(&mut self, number: usize) {
        let now = text::millis(self.started.elapsed());
        let place = number.checked_sub(self.forgotten);
        if let Some(event) = place.and_then(|place| self.events.get_mut(place)) {
            event.used_ms.get_or_insert(now);
        }
    }

    /// Notes which fault hit the answer to the latest event.
    pub(super) fn note_fault(&mut self, name: String) {
        if let Some(event) = self.events.back_mut() {
            event.fault = Some(name);
        }
    }

    /// The events that are not forgotten.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.events.serialize(serializer)
    }
}

const EVENTS_MAX: usize = 100_000;
