//! What the gateway lends to a request: one access token of one generation.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::credential::Secret;

/// Counts the rotations of a portal's credential; grows by one with every stored pair.
///
/// A 401 that was earned by an older generation never starts a refresh: the caller is simply
/// replayed with the current token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that a successful rotation of this one produces.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a token came from, which decides how far it is trusted when the portal refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Loaded from the store or imported: its age is unknown.
    Stored,
    /// Answered by the OAuth server to this process at this unix time, in seconds.
    Renewed {
        /// When the OAuth server answered, unix seconds.
        at: u64,
    },
}

/// An access token with what is known about it.
#[derive(Debug)]
pub struct Token {
    /// Which rotation produced it.
    pub generation: Generation,
    /// The text that goes into `Authorization: Bearer` or `auth=`.
    pub access: Secret,
    /// When it expires by the OAuth server's word, unix seconds; a hint, the portal's 401 decides.
    pub expires_at: Option<u64>,
    /// Where it came from.
    pub origin: Origin,
    accepted: AtomicBool,
    doubted: AtomicBool,
    told: AtomicBool,
}

impl Token {
    /// A token that no portal has seen yet.
    pub fn new(
        generation: Generation,
        access: Secret,
        expires_at: Option<u64>,
        origin: Origin,
    ) -> Self {
        Self {
            generation,
            access,
            expires_at,
            origin,
            accepted: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    /// Whether its stored expiry has passed at `now` (unix seconds).
    pub fn is_past_expiry(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// Notes that the portal accepted it once.
    pub fn mark_accepted(&self) {
        // Read first: after the first success this cache line stays shared between the cores.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the portal has ever accepted it.
    pub fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// True for the first caller only: of a thousand calls that are replayed with this token, one
    /// is worth a line that people read.
    pub fn tell_once(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// True for the first caller only: an answer that may or may not mean expiry (REST v3 uses one
    /// code for every refusal) is worth one refresh per token, not one per request.
    pub fn doubt_once(&self) -> bool {
        !self.doubted.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_doubted_once() {
        let token = Token::new(Generation(1), Secret::new("A"), None, Origin::Stored);
        assert!(token.doubt_once());
        assert!(!token.doubt_once());
    }

    #[test]
    fn a_token_without_a_known_expiry_never_counts_as_expired() {
        let token = Token::new(Generation(1), Secret::new("A"), None, Origin::Stored);
        assert!(!token.is_past_expiry(u64::MAX));
    }
}
