//! Holds the sandbox's history of refresh tokens against the one thing that must be true of it:
//! what was presented is what was issued, in that order, each once.
//!
//! An exception follows an ambiguous end: when the answer to an exchange was lost, nobody but the
//! server knows its outcome, and the same token is the only one that can be presented next. Whether
//! an answer was lost the history tells where a fault took it; the caller tells where a gateway was
//! killed before it had the answer.

use std::collections::{BTreeMap, BTreeSet};

use b24gate::sandbox::Sandbox;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::hex;

/// A line of the history, as `GET /sandbox/state` has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub at_ms: u64,
    pub chain: u64,
    pub presented: Option<String>,
    pub issued: Option<String>,
    pub outcome: String,
    pub fault: Option<String>,
    pub used_ms: Option<u64>,
}

/// What a sound history holds.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    /// Tokens that were presented for the first time.
    pub exchanges: u64,
    /// Presentations that repeat the one before because its end was ambiguous.
    pub repeats: u64,
    /// How old each of the `exchanges` was, in milliseconds, when it was presented.
    pub ages: Vec<u64>,
}

/// A token of a chain that the gateway may know.
struct Link {
    token: String,
    at_ms: u64,
    presented: bool,
}

/// The history of a chain so far.
#[derive(Default)]
struct Chain {
    known: Vec<Link>,
    lost: BTreeSet<String>,
    /// Whether nobody but the server knows how the latest exchange ended.
    ambiguous: bool,
}

/// The history so far.
pub fn history(sandbox: &Sandbox) -> Vec<Event> {
    of_state(&sandbox.control().state())
}

/// The history in the answer of `GET /sandbox/state`.
pub fn of_state(state: &Value) -> Vec<Event> {
    serde_json::from_value(state["refresh_tokens"].clone()).unwrap()
}

/// As the history names a token.
pub fn fingerprint(token: &str) -> String {
    hex(&Sha256::digest(token)).chars().take(12).collect()
}

/// Checks a history. `ambiguous`: the places in it of exchanges whose answer never got into the
/// gateway's keeping, beyond those that the faults tell of.
pub fn check(history: &[Event], ambiguous: &BTreeSet<usize>) -> Result<Tally, String> {
    let mut chains: BTreeMap<u64, Chain> = BTreeMap::new();
    let mut tally = Tally::default();
    for (at, event) in history.iter().enumerate() {
        let ambiguous = ambiguous.contains(&at) || event.loses_its_answer();
        let chain = chains.entry(event.chain).or_default();
        let taken = chain.take(event, ambiguous, &mut tally);
        taken.map_err(|problem| format!("event {at}: {problem}\n{}", shown(history, at)))?;
    }
    Ok(tally)
}

impl Event {
    /// Whether the gateway cannot know the outcome, because a fault took the true answer away.
    fn loses_its_answer(&self) -> bool {
        let whole = ["slow", "no_refresh_token", "same_refresh_token"];
        self.fault.as_deref().is_some_and(|fault| !whole.contains(&fault))
    }
}

impl Chain {
    fn take(&mut self, event: &Event, ambiguous: bool, tally: &mut Tally) -> Result<(), String> {
        match &event.presented {
            Some(presented) => self.present(presented, event, tally)?,
            None if self.known.is_empty() => {}
            None => return Err("a chain begins twice".to_owned()),
        }
        if event.outcome == "kept"
            && let Some(newest) = self.known.last_mut()
        {
            // The server gave the same token again.
            (newest.presented, newest.at_ms) = (false, event.at_ms);
        }
        self.ambiguous = ambiguous;
        let Some(issued) = &event.issued else { return Ok(()) };
        if ambiguous {
            if event.used_ms.is_some() {
                return Err(format!(
                    "the answer with {issued} is called lost, and its access token was used"
                ));
            }
            self.lost.insert(issued.clone());
        } else {
            let token = issued.clone();
            self.known.push(Link { token, at_ms: event.at_ms, presented: false });
        }
        Ok(())
    }

    fn present(&mut self, token: &str, event: &Event, tally: &mut Tally) -> Result<(), String> {
        if self.lost.contains(token) {
            return Err(format!("{token} is presented, and its answer is called lost"));
        }
        let Some(place) = self.known.iter().position(|link| link.token == token) else {
            return Err(format!("{token} was never issued"));
        };
        if let Some(newer) = self.known.get(place + 1) {
            return Err(format!("{token} is presented after {} was known", newer.token));
        }
        let link = &mut self.known[place];
        match (link.presented, self.ambiguous) {
            (false, _) => {
                link.presented = true;
                tally.exchanges += 1;
                tally.ages.push(event.at_ms - link.at_ms);
                Ok(())
            }
            (true, true) => {
                tally.repeats += 1;
                Ok(())
            }
            (true, false) => Err(format!("{token} is presented again, with nothing in doubt")),
        }
    }
}

/// The history around a place.
fn shown(history: &[Event], at: usize) -> String {
    let lines = history.iter().enumerate().skip(at.saturating_sub(6)).take(8);
    lines.fold(String::new(), |text, (at, event)| text + &format!("  {at}: {event:?}\n"))
}
