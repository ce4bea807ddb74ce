//! A histogram that costs a handful of instructions: buckets that double, one thread that writes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times that one thread observes and any thread reads. The first bucket ends at `FIRST_US`
/// microseconds, every further one at the double of the one before.
#[derive(Debug, Default)]
pub(super) struct Histogram<const FIRST_US: u64> {
    buckets: [Count; BUCKETS],
    beyond: Count,
    sum_ns: Count,
}

/// A number that one thread raises.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

/// What several threads have observed together.
#[derive(Debug, Default)]
pub(super) struct Sum {
    buckets: [u64; BUCKETS],
    beyond: u64,
    ns: u64,
}

impl Count {
    /// Raises it. With one writer there is nothing to be torn, and no lock on the bus is needed.
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Reads it.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<const FIRST_US: u64> Histogram<FIRST_US> {
    /// Takes a time in.
    pub(super) fn observe(&self, time: Duration) {
        let whole_ns = time.as_secs().saturating_mul(1_000_000_000);
        let ns = whole_ns.saturating_add(u64::from(time.subsec_nanos()));
        // A bucket holds its upper end: (0, f], (f, 2f], (2f, 4f], ...
        let whole = ns.saturating_sub(1) / (FIRST_US * 1_000);
        let number = (u64::BITS - whole.leading_zeros()) as usize;
        self.buckets.get(number).unwrap_or(&self.beyond).add(1);
        self.sum_ns.add(ns);
    }

    /// Adds what was observed here to `sum`.
    pub(super) fn add_to(&self, sum: &mut Sum) {
        for (total, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.get();
        }
        sum.beyond += self.beyond.get();
        sum.ns += self.sum_ns.get();
    }
}

impl Sum {
    /// Upper ends in seconds with what lies in each bucket, the last one without an end.
    pub(super) fn buckets(&self, first_us: u64) -> Vec<(f64, u64)> {
        let first = u32::try_from(first_us).map_or(f64::MAX, f64::from) / 1e6;
        let ends = std::iter::successors(Some(first), |end| Some(end * 2.0));
        let mut buckets: Vec<_> = ends.zip(self.buckets).collect();
        buckets.push((f64::INFINITY, self.beyond));
        buckets
    }

    /// All observations.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.beyond
    }

    /// The sum of all times, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.ns).as_secs_f64()
    }
}

/// From the first bucket to 65,536 times as much.
const BUCKETS: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_in_the_bucket_that_ends_at_or_above_it() {
        for (us, end) in
            [(0, 0.001), (1, 0.001), (1_000, 0.001), (1_001, 0.002), (2_000, 0.002), (2_001, 0.004)]
        {
            let (histogram, mut sum) = (Histogram::<1_000>::default(), Sum::default());
            histogram.observe(Duration::from_micros(us));
            histogram.add_to(&mut sum);
            let hit: Vec<_> =
                sum.buckets(1_000).into_iter().filter(|(_, count)| *count > 0).collect();
            assert_eq!(hit, [(end, 1)], "{us}");
        }
    }

    #[test]
    fn what_is_beyond_all_buckets_is_counted_without_an_end() {
        let (histogram, mut sum) = (Histogram::<1_000>::default(), Sum::default());
        let end = Duration::from_millis(65_536);
        histogram.observe(end);
        histogram.observe(end + Duration::from_nanos(1));
        histogram.observe(Duration::MAX);
        histogram.add_to(&mut sum);
        let buckets = sum.buckets(1_000);
        assert_eq!(buckets[BUCKETS - 1], (65.536, 1));
        assert_eq!(buckets[BUCKETS], (f64::INFINITY, 2));
        assert_eq!(sum.count(), 3);
    }

    #[test]
    fn what_threads_have_observed_is_added_up() {
        let (one, other, mut sum) =
            (Histogram::<10>::default(), Histogram::<10>::default(), Sum::default());
        one.observe(Duration::from_millis(1));
        other.observe(Duration::from_millis(2));
        one.add_to(&mut sum);
        other.add_to(&mut sum);
        assert_eq!((sum.count(), sum.seconds()), (2, 0.003));
    }
}
