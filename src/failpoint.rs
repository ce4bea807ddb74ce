//! Crashes on purpose, for tests of what a crash leaves behind.
//!
//! `B24GATE_FAILPOINT=after_intent=kill` kills the process where the code says
//! `hit("after_intent")`. Release builds know nothing of it: there [`hit`] is empty.

#[cfg(debug_assertions)]
mod armed;

/// Why `B24GATE_FAILPOINT` is not understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "B24GATE_FAILPOINT: {0:?} is not name=action, with panic, kill, abort or sleep:MILLISECONDS as \
     action, and *COUNT after it to act the first times only"
)]
pub struct Misspelt(String);

#[cfg(debug_assertions)]
pub use armed::{arm, hit};

/// Nothing to read in a release build.
#[cfg(not(debug_assertions))]
pub fn arm() -> Result<(), Misspelt> {
    Ok(())
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn hit(_name: &'static str) {}
