//! A line of the log that must not be written as often as there is a reason for it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When it may be written again.
#[derive(Debug)]
pub(super) struct Seldom {
    every: Duration,
    /// Milliseconds since [`START`].
    next: AtomicU64,
    unsaid: AtomicU64,
}

impl Seldom {
    pub(super) const fn every(every: Duration) -> Self {
        Self { every, next: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Whether it is time; with the number of times that it was not, since it last was.
    pub(super) fn turn(&self) -> Option<u64> {
        self.turn_at(START.elapsed())
    }

    fn turn_at(&self, now: Duration) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let after = millis(now.saturating_add(self.every));
        let is_due = millis(now) >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            return Some(self.unsaid.swap(0, Ordering::Relaxed));
        }
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_at_once_then_rarely_and_says_how_often_it_did_not() {
        let line = Seldom::every(Duration::from_mins(1));
        let at = |seconds| line.turn_at(Duration::from_secs(seconds));
        let turns: Vec<_> = [0, 1, 59, 60, 61, 500].into_iter().map(at).collect();
        assert_eq!(turns, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
