//! The portal's request budget: the one place every call passes before it may use the portal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Plan;
use crate::metrics::Level;

/// Hands out places to calls. This version gives each call a place at once, answers the portal's
/// own refusals with growing delays, and knows how full the portal's bucket is.
#[derive(Debug)]
pub struct Budget {
    plan: Plan,
    bucket: Option<Bucket>,
}

/// A place in the budget, held for as long as the call is with the portal.
#[derive(Debug)]
pub struct Place<'b> {
    _budget: &'b Budget,
}

/// The portal's leaky bucket as far as it is filled from here, in one cell (the generic cell rate
/// algorithm): the moment at which it will be empty, if nothing comes.
#[derive(Debug)]
struct Bucket {
    origin: Instant,
    /// Nanoseconds after the origin.
    empty_at: AtomicU64,
    /// How long a request takes to drain.
    interval_ns: u64,
    /// How long a full bucket takes.
    burst_ns: u64,
}

impl Budget {
    /// The budget of a plan.
    pub fn new(plan: Plan) -> Self {
        let bucket = match plan {
            Plan::Standard => Some(Bucket::new(500, 50)),
            Plan::Enterprise => Some(Bucket::new(200, 250)),
            Plan::Unlimited => None,
        };
        Self { plan, bucket }
    }

    /// The plan it was made for.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// Waits for a place.
    #[expect(clippy::unused_async, reason = "a place is waited for as soon as there is a bucket")]
    pub async fn place(&self) -> Place<'_> {
        Place { _budget: self }
    }

    /// Notes that a request is sent to the portal.
    pub fn sent(&self, now: Instant) {
        if let Some(bucket) = &self.bucket {
            bucket.add(now);
        }
    }

    /// Requests in the portal's bucket; none where the plan has no limit.
    pub fn level_at(&self, now: Instant) -> f64 {
        self.bucket.as_ref().map_or(0.0, |bucket| bucket.level(now))
    }

    /// How long to wait after the portal's `attempt`-th `QUERY_LIMIT_EXCEEDED` in a row: half a
    /// second, one, two, two, ... The bucket of the smallest plan drains two requests a second.
    /// Up to a quarter more is added by chance, so that callers refused together do not come back
    /// together.
    pub fn delay(attempt: u32) -> Duration {
        let delay = Duration::from_millis(500 << attempt.min(2));
        let mut chance = [0];
        match getrandom::fill(&mut chance) {
            Ok(()) => delay + delay / 4 * u32::from(chance[0]) / 256,
            Err(_) => delay,
        }
    }
}

impl Level for Budget {
    fn level(&self) -> f64 {
        self.level_at(Instant::now())
    }
}

impl Bucket {
    fn new(interval_ms: u64, burst: u64) -> Self {
        let interval_ns = interval_ms * 1_000_000;
        Self {
            origin: Instant::now(),
            empty_at: AtomicU64::new(0),
            interval_ns,
            burst_ns: burst * interval_ns,
        }
    }

    /// What is beyond the burst, the portal refuses and does not put in.
    fn add(&self, now: Instant) {
        let now = self.time(now);
        let full = now + self.burst_ns;
        let filled = |empty_at: u64| Some((empty_at.max(now) + self.interval_ns).min(full));
        // It always succeeds: the closure never says no.
        let _before = self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, filled);
    }

    fn level(&self, now: Instant) -> f64 {
        let left = self.empty_at.load(Ordering::Relaxed).saturating_sub(self.time(now));
        Duration::from_nanos(left).as_secs_f64()
            / Duration::from_nanos(self.interval_ns).as_secs_f64()
    }

    fn time(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(budget: &Budget, seconds: f64, now: Instant) -> f64 {
        budget.level_at(now + Duration::from_secs_f64(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn the_bucket_fills_by_one_a_request_and_drains_at_the_plans_rate() {
        let (budget, now) = (Budget::new(Plan::Standard), Instant::now());
        for _ in 0..10 {
            budget.sent(now);
        }
        for (seconds, level) in [(0.0, 10.0), (0.5, 9.0), (4.0, 2.0), (60.0, 0.0)] {
            assert!((after(&budget, seconds, now) - level).abs() < 1e-9, "{seconds}");
        }
        let later = now + Duration::from_mins(1);
        budget.sent(later);
        assert!((after(&budget, 0.0, later) - 1.0).abs() < 1e-9, "an empty one saves nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn the_bucket_holds_no_more_than_the_burst() {
        for (plan, burst) in [(Plan::Standard, 50.0), (Plan::Enterprise, 250.0)] {
            let (budget, now) = (Budget::new(plan), Instant::now());
            for _ in 0..300 {
                budget.sent(now);
            }
            assert!((after(&budget, 0.0, now) - burst).abs() < 1e-9, "{plan:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_plan_without_a_limit_has_no_level() {
        let (budget, now) = (Budget::new(Plan::Unlimited), Instant::now());
        budget.sent(now);
        assert!(budget.level_at(now).abs() < 1e-9);
    }
}
