//! What is told of clients; neither a key nor a digest.

use std::time::Duration;

use crate::client::register::{Book, Kept};
use crate::store::{ClientRules, KeptRules};

/// A client, as far as it is told.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Where its rules are.
    pub source: Source,
    /// What it may do; the default where nobody knows.
    pub rules: ClientRules,
    /// Its share of a portal's budget.
    pub weight: u32,
    /// The longest time that its calls are held back, where that is its own.
    pub max_wait: Option<Duration>,
    /// Whether it is let in.
    pub standing: Standing,
    /// Its keys, oldest first: when each was made and when it ends, unix seconds.
    pub keys: Vec<(u64, Option<u64>)>,
    /// Requests that it made of this process.
    pub calls: u64,
    /// When the last of them ended, unix seconds.
    pub last_used_at: Option<u64>,
}

/// Where the rules of a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In its section.
    Configuration,
    /// In the store.
    Command,
    /// They were in a section that is gone.
    Nowhere,
}

/// Whether a client is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Ready,
    /// It has no key.
    NoKey,
    /// It has expired, or the last of its keys.
    Expired,
    /// Its section is gone, so that nothing says what it may do.
    NoRules,
    /// What the store says of it cannot be read.
    Unreadable,
    /// It was revoked, and the store does not say so yet.
    Revoked,
}

impl Book {
    pub(super) fn known(&self, now: u64) -> Vec<Known> {
        let mut names: Vec<_> = self.configured.keys().chain(self.kept.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| self.describe(name, now)).collect()
    }

    fn describe(&self, name: &str, now: u64) -> Known {
        let section = self.configured.get(name);
        let kept = self.kept.get(name);
        let rules = self.rules_of(name);
        Known {
            name: name.to_owned(),
            source: self.source(name),
            standing: standing(kept, rules.as_ref(), now),
            rules: rules.unwrap_or_default(),
            weight: section.map_or(1, |section| section.weight),
            max_wait: section.and_then(|section| section.max_wait),
            keys: kept.map(ends).unwrap_or_default(),
            calls: kept.map_or(0, |kept| kept.tally.calls()),
            last_used_at: kept.and_then(|kept| kept.tally.last_used_at()),
        }
    }
}

fn standing(kept: Option<&Kept>, rules: Option<&ClientRules>, now: u64) -> Standing {
    let Some(kept) = kept else { return Standing::NoKey };
    let past = |at: Option<u64>| at.is_some_and(|at| at <= now);
    match rules {
        _ if kept.revoked => Standing::Revoked,
        None if kept.rules == KeptRules::Unreadable => Standing::Unreadable,
        None => Standing::NoRules,
        Some(_) if kept.keys.is_empty() => Standing::NoKey,
        Some(rules) if past(rules.expires_at) => Standing::Expired,
        Some(_) if kept.keys.iter().all(|key| past(key.expires_at)) => Standing::Expired,
        Some(_) => Standing::Ready,
    }
}

fn ends(kept: &Kept) -> Vec<(u64, Option<u64>)> {
    kept.keys.iter().map(|key| (key.made_at, key.expires_at)).collect()
}
