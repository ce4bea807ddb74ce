//! The portal's request budget: the one place every call passes before it may use the portal.

use std::time::Duration;

use crate::config::Plan;

/// Hands out places to calls. This version gives each call a place at once and answers the
/// portal's own refusals with growing delays; the plan is kept for the bucket that comes here.
#[derive(Debug)]
pub struct Budget {
    plan: Plan,
}

/// A place in the budget, held for as long as the call is with the portal.
#[derive(Debug)]
pub struct Place<'b> {
    _budget: &'b Budget,
}

impl Budget {
    /// The budget of a plan.
    pub fn new(plan: Plan) -> Self {
        Self { plan }
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
