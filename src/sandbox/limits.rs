//! The two limits of a portal: how often it is asked, and how long a method has run.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use tokio::time::Instant;

use super::switches::Limits;
use super::text;

/// Counts requests and execution time.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    buckets: HashMap<IpAddr, (f64, Instant)>,
    operating: HashMap<String, BTreeMap<u64, u64>>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), buckets: HashMap::new(), operating: HashMap::new() }
    }

    /// One more request into the leaky bucket of its address (Bitrix24 REST docs, limits). A
    /// refused request does not fill it further.
    pub(super) fn admit(&mut self, address: IpAddr, limits: Limits) -> bool {
        let now = Instant::now();
        let (level, since) = self.buckets.entry(address).or_insert((0.0, now));
        *level = (*level - (now - *since).as_secs_f64() * limits.per_second).max(0.0);
        *since = now;
        let fits = *level + 1.0 <= limits.burst;
        if fits {
            *level += 1.0;
        }
        fits
    }

    /// Adds execution time of a method; calls under a tenth of a second are free (Bitrix24 REST
    /// docs, limits).
    pub(super) fn charge(&mut self, method: &str, millis: u64, bucket_ms: u64) {
        if millis < FREE_MS {
            return;
        }
        let bucket = self.bucket(bucket_ms);
        *self.operating.entry(method.to_owned()).or_default().entry(bucket).or_default() += millis;
    }

    /// How long the method has run in the last ten buckets, in milliseconds, and when the oldest of
    /// them falls out (Unix time).
    pub(super) fn spent(&mut self, method: &str, bucket_ms: u64) -> (u64, u64) {
        let (bucket, elapsed_ms) = (self.bucket(bucket_ms), self.elapsed_ms());
        let Some(buckets) = self.operating.get_mut(method) else {
            return (0, text::unix_seconds() + BUCKETS * bucket_ms / 1_000);
        };
        buckets.retain(|index, _| index + BUCKETS > bucket);
        let oldest = buckets.keys().next().copied().unwrap_or(bucket);
        let left_ms = ((oldest + BUCKETS) * bucket_ms).saturating_sub(elapsed_ms);
        (buckets.values().sum(), text::unix_seconds() + left_ms.div_ceil(1_000))
    }

    fn bucket(&self, bucket_ms: u64) -> u64 {
        self.elapsed_ms() / bucket_ms.max(1)
    }

    fn elapsed_ms(&self) -> u64 {
        text::millis(self.started.elapsed())
    }
}

/// Bitrix24 REST docs, limits: the sum is taken over ten one-minute buckets.
const BUCKETS: u64 = 10;
const FREE_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_bucket_holds_fifty_requests_and_leaks_two_per_second() {
        let (mut meter, limits) = (Meter::new(), Limits::default());
        let mut burst = || (0..60).filter(|_| meter.admit([127, 0, 0, 1].into(), limits)).count();
        assert_eq!(burst(), 50);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(burst(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn operating_time_is_summed_over_ten_buckets_and_short_calls_are_free() {
        let mut meter = Meter::new();
        meter.charge("m", 99, 60_000);
        assert_eq!(meter.spent("m", 60_000).0, 0);
        meter.charge("m", 5_000, 60_000);
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(meter.spent("m", 60_000).0, 5_000);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(meter.spent("m", 60_000).0, 0);
    }
}
