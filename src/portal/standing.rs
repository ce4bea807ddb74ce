//! Whether a portal is served at all, and who it belongs to: what people decided, here or in the
//! portal. Shared by all generations of a `Portal`, so that a reload changes nothing of it.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::store::Facts;

/// A portal's facts in memory; what is written down is written down first.
pub struct Standing {
    closed: AtomicU8,
    facts: ArcSwap<Facts>,
    /// One change at a time.
    changing: Mutex<()>,
}

/// Why a portal is not served, whatever its credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The operator took it out of service.
    Disabled = 1,
    /// The application was removed in the portal.
    Uninstalled = 2,
}

/// The code of a portal that the operator took out of service.
pub const DISABLED: &str = "disabled";
/// The code of a portal in which the application was removed.
pub const UNINSTALLED: &str = "uninstalled";

impl Standing {
    /// As the store has it.
    pub fn new(facts: Facts) -> Self {
        Self {
            closed: AtomicU8::new(closed(&facts).map_or(0, |closed| closed as u8)),
            facts: ArcSwap::from_pointee(facts),
            changing: Mutex::new(()),
        }
    }

    /// Why it is not served; wait-free, asked at every call.
    pub fn closed(&self) -> Option<Closed> {
        match self.closed.load(Ordering::Relaxed) {
            0 => None,
            n if n == Closed::Disabled as u8 => Some(Closed::Disabled),
            _ => Some(Closed::Uninstalled),
        }
    }

    /// What is known.
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.load_full()
    }

    /// Takes over what was written down.
    pub fn note(&self, change: impl FnOnce(&mut Facts)) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut facts = Facts::clone(&self.facts.load());
        change(&mut facts);
        self.closed.store(closed(&facts).map_or(0, |closed| closed as u8), Ordering::Relaxed);
        self.facts.store(Arc::new(facts));
    }
}

fn closed(facts: &Facts) -> Option<Closed> {
    if facts.disabled {
        return Some(Closed::Disabled);
    }
    facts.uninstalled.then_some(Closed::Uninstalled)
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").field("facts", &self.facts.load()).finish_non_exhaustive()
    }
}
