//! The latest happenings, for the status page. In memory only; the ledger and the log are for good.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::credential::unix_now;

/// Something that happened to a portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When, unix seconds.
    pub at: u64,
    /// The portal's name, if it is one of ours.
    pub portal: Option<String>,
    /// What, in a sentence without secrets and without text from a request.
    pub what: String,
}

/// The latest happenings.
#[derive(Debug, Default)]
pub struct Recent {
    kept: Mutex<VecDeque<Happening>>,
}

impl Recent {
    /// Adds one; the oldest makes room.
    pub fn tell(&self, portal: Option<&str>, what: impl Into<String>) {
        let happening =
            Happening { at: unix_now(), portal: portal.map(str::to_owned), what: what.into() };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_back();
        }
        kept.push_front(happening);
    }

    /// All that are kept, newest first.
    pub fn all(&self) -> Vec<Happening> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// A page full.
const KEPT_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stands_first_and_the_oldest_makes_room() {
        let recent = Recent::default();
        for number in 0..=KEPT_MAX {
            recent.tell(Some("acme"), number.to_string());
        }
        let all = recent.all();
        assert_eq!(all.len(), KEPT_MAX);
        assert_eq!(all.first().unwrap().what, KEPT_MAX.to_string());
        assert_eq!(all.last().unwrap().what, "1");
    }
}
