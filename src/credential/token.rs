//! What the gateway lends to a request: one access token of one generation.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
    since: Instant,
    accepted: AtomicBool,
    beyond_doubt: AtomicBool,
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
            since: Instant::now(),
            accepted: AtomicBool::new(false),
            beyond_doubt: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    /// Whether its stored expiry has passed at `now` (unix seconds).
    pub fn is_past_expiry(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// How long ago this process renewed it, by the clock that does not jump.
    pub fn age(&self) -> Option<Duration> {
        match self.origin {
            Origin::Stored => None,
            Origin::Renewed { .. } => Some(self.since.elapsed()),
        }
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

    /// Notes that it was renewed for a refusal and refused all the same: where one code stands for
    /// every refusal (REST v3), that is about rights, and renewing it again would not help.
    pub fn mark_beyond_doubt(&self) {
        self.beyond_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether a refusal that may or may not mean expiry is worth a renewal: not when the token is
    /// new and nothing else was heard of it, and not when a renewal was in vain, unless its expiry
    /// is near.
    pub fn is_doubtful(&self, now: u64) -> bool {
        let fresh = match self.origin {
            Origin::Stored => false,
            Origin::Renewed { at } => now.checked_sub(at).is_some_and(|age| age < FRESH_S),
        };
        if fresh && !self.was_accepted() {
            return false;
        }
        !self.beyond_doubt.load(Ordering::Relaxed) || self.is_past_expiry(now + NEAR_EXPIRY_S)
    }
}

/// A token this young has not expired, seconds.
const FRESH_S: u64 = 60;

/// A refusal this close to the expiry is taken for it, seconds.
const NEAR_EXPIRY_S: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_doubtful_until_it_is_known_that_renewing_does_not_help() {
        let token = Token::new(Generation(1), Secret::new("A"), None, Origin::Stored);
        assert!(token.is_doubtful(1_000));
        token.mark_beyond_doubt();
        assert!(!token.is_doubtful(1_000));
    }

    #[test]
    fn near_its_expiry_a_token_is_doubtful_whatever_was_known() {
        let token = Token::new(Generation(1), Secret::new("A"), Some(1_000), Origin::Stored);
        token.mark_beyond_doubt();
        assert!(!token.is_doubtful(939));
        assert!(token.is_doubtful(940));
    }

    #[test]
    fn a_new_token_is_not_doubtful_unless_it_was_accepted_before() {
        let renewed = Origin::Renewed { at: 1_000 };
        let token = Token::new(Generation(1), Secret::new("A"), None, renewed);
        assert!(!token.is_doubtful(1_059));
        assert!(token.is_doubtful(1_060));
        assert!(token.is_doubtful(900), "a clock that was set back proves nothing");
        token.mark_accepted();
        assert!(token.is_doubtful(1_000));
    }

    #[test]
    fn a_token_without_a_known_expiry_never_counts_as_expired() {
        let token = Token::new(Generation(1), Secret::new("A"), None, Origin::Stored);
        assert!(!token.is_past_expiry(u64::MAX));
    }
}
