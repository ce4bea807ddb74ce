//! What the gateway lends to a request: one access token of one generation.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::{Secret, unix_now};

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

/// Where a token came from, which decides by which clock it expires and how far it is trusted when
/// the portal refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Loaded from the store or imported: its age is unknown, and its expiry is a time of the wall
    /// clock.
    Stored,
    /// Answered by the OAuth server to this process. Its time is measured, so a wall clock that is
    /// wrong or jumps cannot end it.
    Renewed {
        /// When it was put in use.
        at: Instant,
        /// How long it is good; not known when the answer did not say.
        good_until: Option<Instant>,
    },
}

/// An access token with what is known about it.
#[derive(Debug)]
pub struct Token {
    /// Which rotation produced it.
    pub generation: Generation,
    /// The text that goes into `Authorization: Bearer` or `auth=`.
    pub access: Secret,
    /// When it expires by the wall clock, unix seconds; a hint, the portal's 401 decides.
    pub expires_at: Option<u64>,
    /// Where it came from.
    pub origin: Origin,
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
            accepted: AtomicBool::new(false),
            beyond_doubt: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    /// Whether it is known to have expired, by the one clock that counts for it.
    ///
    /// The monotonic clock stands still while the machine is suspended. That is as it should be:
    /// the first call afterwards learns from the portal's 401 what this clock does not know.
    pub fn is_past_expiry(&self) -> bool {
        self.expires_within(Duration::ZERO, unix_now)
    }

    fn expires_within(&self, margin: Duration, wall: impl FnOnce() -> u64) -> bool {
        match self.origin {
            Origin::Stored => self.wall_says(margin, wall),
            Origin::Renewed { good_until, .. } => {
                good_until.is_some_and(|until| Instant::now() + margin >= until)
            }
        }
    }

    fn wall_says(&self, margin: Duration, wall: impl FnOnce() -> u64) -> bool {
        self.expires_at.is_some_and(|at| wall().saturating_add(margin.as_secs()) >= at)
    }

    /// Notes that the portal accepted it once.
    pub fn mark_accepted(&self) {
        // Read first: after the first success this cache line stays shared between the cores.
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// How long ago this process renewed it; a token that it did not renew has no known age.
    pub fn age(&self) -> Option<Duration> {
        match self.origin {
            Origin::Stored => None,
            Origin::Renewed { at, .. } => Some(at.elapsed()),
        }
    }

    /// Whether the portal has ever accepted it.
    pub fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Whether it was renewed less than `limit` ago; a token of unknown age was not.
    pub fn is_younger_than(&self, limit: Duration) -> bool {
        match self.origin {
            Origin::Stored => false,
            Origin::Renewed { at, .. } => at.elapsed() < limit,
        }
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
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful_at(unix_now)
    }

    fn is_doubtful_at(&self, wall: impl Fn() -> u64) -> bool {
        if self.is_younger_than(FRESH) && !self.was_accepted() {
            return false;
        }
        !self.beyond_doubt.load(Ordering::Relaxed)
            || self.expires_within(NEAR_EXPIRY, &wall)
            || self.wall_moved_on(wall)
    }

    /// After a suspend the wall clock alone knows that a renewed token is old. Here it may speak:
    /// the portal has refused the token already, and the next one begins by the clock as it then
    /// is, so that a clock that is merely wrong costs one exchange.
    fn wall_moved_on(&self, wall: impl FnOnce() -> u64) -> bool {
        let measured =
            matches!(self.origin, Origin::Renewed { good_until, .. } if good_until.is_some());
        measured && self.wall_says(NEAR_EXPIRY, wall)
    }
}

/// A token this young has not expired.
const FRESH: Duration = Duration::from_mins(1);

/// A refusal this close to the expiry is taken for it.
const NEAR_EXPIRY: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const HOUR: u64 = 3_600;

    /// Times of a wall clock that is right, ahead, behind, or was never set.
    const WALLS: [u64; 4] = [NOW, NOW + 2 * HOUR, NOW - 2 * HOUR, 0];

    fn stored(expires_at: Option<u64>) -> Token {
        Token::new(Generation(1), Secret::new("A"), expires_at, Origin::Stored)
    }

    /// Good for an hour from now on.
    fn renewed() -> Token {
        let at = Instant::now();
        let good_until = Some(at + Duration::from_secs(HOUR));
        let origin = Origin::Renewed { at, good_until };
        Token::new(Generation(2), Secret::new("A"), Some(NOW + HOUR), origin)
    }

    fn is_past(token: &Token, wall: u64) -> bool {
        token.expires_within(Duration::ZERO, || wall)
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_token_expires_by_its_lifetime_whatever_the_wall_clock_says() {
        let token = renewed();
        for wall in WALLS {
            assert!(!is_past(&token, wall), "{wall}");
        }
        pass(HOUR - 1).await;
        for wall in WALLS {
            assert!(!is_past(&token, wall), "{wall}");
        }
        pass(1).await;
        for wall in WALLS {
            assert!(is_past(&token, wall), "{wall}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stored_token_expires_by_the_wall_clock_whatever_time_has_passed_here() {
        let token = stored(Some(NOW + HOUR));
        assert!(is_past(&token, NOW + 2 * HOUR));
        pass(2 * HOUR).await;
        for wall in [0, NOW - 2 * HOUR, NOW, NOW + HOUR - 1] {
            assert!(!is_past(&token, wall), "{wall}");
        }
        assert!(is_past(&token, NOW + HOUR));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_without_a_known_expiry_never_counts_as_expired() {
        assert!(!is_past(&stored(None), u64::MAX));
        let origin = Origin::Renewed { at: Instant::now(), good_until: None };
        // What the server said of an absolute time stands for people, not for this.
        let token = Token::new(Generation(1), Secret::new("A"), Some(NOW), origin);
        pass(1_000 * HOUR).await;
        assert!(!is_past(&token, u64::MAX));
        token.mark_accepted();
        token.mark_beyond_doubt();
        assert!(!token.is_doubtful_at(|| u64::MAX));
    }

    #[test]
    fn a_token_is_doubtful_until_it_is_known_that_renewing_does_not_help() {
        let token = stored(None);
        assert!(token.is_doubtful_at(|| NOW));
        token.mark_beyond_doubt();
        assert!(!token.is_doubtful_at(|| NOW));
    }

    #[test]
    fn near_its_expiry_a_stored_token_is_doubtful_whatever_was_known() {
        let token = stored(Some(NOW));
        token.mark_beyond_doubt();
        assert!(!token.is_doubtful_at(|| NOW - 61));
        assert!(token.is_doubtful_at(|| NOW - 60));
    }

    #[tokio::test(start_paused = true)]
    async fn near_its_expiry_a_renewed_token_is_doubtful_by_either_clock() {
        let token = renewed();
        token.mark_accepted();
        token.mark_beyond_doubt();
        for wall in [0, NOW - 2 * HOUR, NOW] {
            assert!(!token.is_doubtful_at(|| wall), "{wall}");
        }
        assert!(token.is_doubtful_at(|| NOW + 8 * HOUR), "the machine was suspended");
        pass(HOUR - 60).await;
        for wall in WALLS {
            assert!(token.is_doubtful_at(|| wall), "{wall}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_token_is_not_doubtful_unless_it_was_accepted_before() {
        let (token, accepted) = (renewed(), renewed());
        accepted.mark_accepted();
        pass(59).await;
        for wall in WALLS {
            assert!(!token.is_doubtful_at(|| wall), "{wall}");
            assert!(accepted.is_doubtful_at(|| wall), "{wall}");
        }
        pass(1).await;
        assert!(token.is_doubtful_at(|| NOW));
    }
}
