//! What claims may cost, whoever makes them: a number at a time, a number per second, and nothing for
//! one that has failed already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::connect::verify::Doubt;

/// The claims that are looked at, and those that failed lately.
#[derive(Debug)]
pub(in crate::connect) struct Claims {
    places: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
    failed: Mutex<HashMap<[u8; 32], Instant>>,
}

/// Whether the claim can wait for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connect) enum Pace {
    /// Somebody waits for the answer.
    Now,
    /// Nobody does.
    Background,
}

/// Fills up by a question every [`EVERY`].
#[derive(Debug)]
struct Bucket {
    left: u32,
    counted: Instant,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            bucket: Mutex::new(Bucket { left: BURST, counted: Instant::now() }),
            failed: Mutex::default(),
        }
    }
}

impl Claims {
    /// A place to ask the OAuth servers about one claim.
    pub(super) async fn place(&self, pace: Pace) -> Result<OwnedSemaphorePermit, Doubt> {
        let busy = || Doubt::Later("too many ask at once".to_owned());
        if pace == Pace::Now {
            let place = self.places.clone().try_acquire_owned().map_err(|_busy| busy())?;
            return if self.take() { Ok(place) } else { Err(busy()) };
        }
        let place = self.places.clone().acquire_owned().await.map_err(|_closed| busy())?;
        while !self.take() {
            tokio::time::sleep(EVERY).await;
        }
        Ok(place)
    }

    /// Whether this very claim failed lately.
    pub(super) fn has_failed(&self, mark: &[u8; 32]) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(mark).is_some_and(|at| at.elapsed() < REMEMBERED)
    }

    pub(super) fn remember_failed(&self, mark: [u8; 32]) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= FAILED_MAX {
            failed.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        if failed.len() >= FAILED_MAX
            && let Some(oldest) = failed.iter().min_by_key(|(_, at)| **at).map(|(mark, _)| *mark)
        {
            failed.remove(&oldest);
        }
        failed.insert(mark, Instant::now());
    }

    fn take(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let due = bucket.counted.elapsed().as_millis() / EVERY.as_millis();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        bucket.left = bucket.left.saturating_add(due).min(BURST);
        bucket.counted = match EVERY.checked_mul(due) {
            Some(time) => bucket.counted + time,
            None => Instant::now(),
        };
        let enough = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        enough
    }
}

/// Questions to OAuth servers under way at a time.
const AT_A_TIME: usize = 8;
/// Questions at once after a pause: more than a person who tries things out, fewer than hurt anybody.
const BURST: u32 = 20;
/// Five a second.
const EVERY: Duration = Duration::from_millis(200);
/// How long a claim that failed is refused without a question.
const REMEMBERED: Duration = Duration::from_mins(10);
/// At five a second, more cannot fail in three minutes.
const FAILED_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    async fn asks(claims: &Claims) -> bool {
        claims.place(Pace::Now).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn twenty_may_ask_at_once_and_five_a_second_after_that() {
        let claims = Claims::default();
        for _ in 0..BURST {
            assert!(asks(&claims).await);
        }
        assert!(!asks(&claims).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..5 {
            assert!(asks(&claims).await);
        }
        assert!(!asks(&claims).await);
        tokio::time::advance(Duration::from_hours(1)).await;
        for _ in 0..BURST {
            assert!(asks(&claims).await);
        }
        assert!(!asks(&claims).await, "an hour saves up no more than a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn eight_questions_are_under_way_at_a_time_and_what_can_wait_waits() {
        let claims = Arc::new(Claims::default());
        let mut places = Vec::new();
        for _ in 0..AT_A_TIME {
            places.push(claims.place(Pace::Now).await.unwrap());
        }
        assert!(!asks(&claims).await);
        let patient = tokio::spawn({
            let claims = claims.clone();
            async move { claims.place(Pace::Background).await.is_ok() }
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!patient.is_finished());
        places.pop();
        assert!(patient.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_claim_is_known_for_ten_minutes_and_a_thousand_are_kept() {
        let claims = Claims::default();
        let mark = |number: u64| {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_le_bytes());
            mark
        };
        for number in 0..=FAILED_MAX as u64 {
            claims.remember_failed(mark(number));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(!claims.has_failed(&mark(0)), "the oldest makes room");
        assert!(claims.has_failed(&mark(1)) && claims.has_failed(&mark(1000)));
        tokio::time::advance(REMEMBERED).await;
        assert!(!claims.has_failed(&mark(1000)));
    }
}
