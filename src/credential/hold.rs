//! When not to try again yet: between two exchanges that fail there is a pause, and whoever asks
//! meanwhile is told so at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::credential::{State, Unavailable};

/// How patient the gateway is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// First pause after a passing failure; it doubles with each further one.
    pub(crate) backoff_min: Duration,
    /// Longest pause of that kind.
    pub(crate) backoff_max: Duration,
    /// Longest pause that the OAuth server can ask for.
    pub(crate) retry_after_max: Duration,
    /// Pause after a refusal that a human has to lift: a payment, a wrong secret.
    pub(crate) refused: Duration,
    /// Pause after the refresh token was called dead. It is kept and tried again all the same:
    /// servers have been wrong before.
    pub(crate) dead: Duration,
    /// How long a renewed token that was never accepted is too young to be renewed again.
    pub(crate) fresh: Duration,
    /// Age of a refresh token that nobody uses at which it is renewed once. Sources disagree
    /// whether it dies after 28, 30 or 180 days.
    pub(crate) keep_alive: Duration,
    /// First pause before a pair that could not be stored is written again.
    pub(crate) save_min: Duration,
    /// Longest pause of that kind.
    pub(crate) save_max: Duration,
}

/// No exchange before `until`.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) until: Instant,
    pub(crate) why: Why,
}

/// What callers are told meanwhile.
#[derive(Debug)]
pub(crate) enum Why {
    /// It will pass.
    Later(String),
    /// A human has to act.
    Human(State),
}

impl Hold {
    /// Starts now.
    pub(crate) fn new(pause: Duration, why: Why) -> Self {
        Self { until: Instant::now() + pause, why }
    }

    /// What to tell a caller; nothing when the time is over.
    pub(crate) fn answer(&self) -> Option<Unavailable> {
        let retry_after = self.until.checked_duration_since(Instant::now())?;
        if retry_after.is_zero() {
            return None;
        }
        Some(self.why.unavailable(retry_after))
    }
}

impl Why {
    /// What a caller is told.
    pub(crate) fn unavailable(&self, retry_after: Duration) -> Unavailable {
        match self {
            Self::Later(reason) => Unavailable::Later { retry_after, reason: reason.clone() },
            Self::Human(state) => Unavailable::NotConnected(state.clone()),
        }
    }
}

impl Pace {
    /// The pause after the `failures`th passing failure in a row.
    ///
    /// In `doubt` (the server may have exchanged the token) the second attempt follows at once,
    /// because a server that forgives a lost answer does so for a short while; then slowly, because
    /// one that does not may count the attempts.
    pub(crate) fn backoff(
        &self,
        failures: u32,
        doubt: bool,
        retry_after: Option<Duration>,
    ) -> Duration {
        let doubled = match failures {
            0 | 1 => 1,
            2 if doubt => 16,
            _ if doubt => 32,
            _ => 2_u32.saturating_pow((failures - 1).min(16)),
        };
        let pause = jittered(self.backoff_min.saturating_mul(doubled).min(self.backoff_max));
        pause.max(retry_after.unwrap_or_default().min(self.retry_after_max))
    }

    /// The pause of a spare after its `failures`th failure in a row: nobody waits for it.
    pub(crate) fn spare(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        jittered(self.refused.saturating_mul(doubled).min(self.dead))
    }
}

/// Up to a quarter longer, so that a thousand portals do not come back in the same second.
fn jittered(pause: Duration) -> Duration {
    let part = getrandom::u32().unwrap_or_default() % 1024;
    pause + pause / 4 * part / 1024
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_mins(1),
            retry_after_max: Duration::from_mins(5),
            refused: Duration::from_mins(10),
            dead: Duration::from_hours(6),
            fresh: Duration::from_mins(1),
            keep_alive: Duration::from_hours(21 * 24),
            save_min: Duration::from_secs(1),
            save_max: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_from_two_seconds_to_a_minute() {
        let pace = Pace::default();
        for (failures, seconds) in [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (u32::MAX, 60)] {
            let pause = pace.backoff(failures, false, None).as_secs_f64();
            let least = f64::from(seconds);
            assert!((least..=least * 1.25).contains(&pause), "{failures}: {pause}");
        }
    }

    #[test]
    fn in_doubt_there_are_two_attempts_in_the_first_minute_and_one_in_the_next() {
        let pace = Pace::default();
        for (failures, seconds) in [(1, 2), (2, 32), (3, 60), (4, 60), (u32::MAX, 60)] {
            let pause = pace.backoff(failures, true, None).as_secs_f64();
            let least = f64::from(seconds);
            assert!((least..=least * 1.25).contains(&pause), "{failures}: {pause}");
        }
    }

    #[test]
    fn the_servers_own_wish_counts_up_to_five_minutes() {
        let pace = Pace::default();
        let asked = |seconds| pace.backoff(1, false, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(17), 17);
        assert_eq!(asked(0), 2);
        assert_eq!(asked(86_400), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_answers_with_the_time_that_is_left_and_then_no_more() {
        let hold = Hold::new(Duration::from_secs(2), Why::Later("x".to_owned()));
        tokio::time::advance(Duration::from_millis(500)).await;
        let Some(Unavailable::Later { retry_after, .. }) = hold.answer() else {
            panic!("no answer");
        };
        assert_eq!(retry_after, Duration::from_millis(1500));
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert!(hold.answer().is_none());
    }
}
