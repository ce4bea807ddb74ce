//! Time limits that cost nothing while they hold.
//!
//! A timer entry per request is 2 % of the whole request. Here a limit is one store into a cell of
//! the connection; a ticker of the worker looks at all cells ten times a second and wakes the few
//! whose time is up. Limits are therefore coarse (a tenth of a second) and never early.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The coarse clock of one worker and the connections that watch it.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    now_ms: AtomicU64,
    draining: AtomicBool,
    watched: Mutex<Vec<Weak<Cell>>>,
    arrival: Notify,
}

/// The limit of one connection; reused for every phase of every request on it.
#[derive(Debug)]
pub(crate) struct Deadline {
    clock: Arc<Clock>,
    cell: Arc<Cell>,
}

/// The time limit passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

#[derive(Debug)]
struct Cell {
    at_ms: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Clock {
    /// A clock that stands still until [`Clock::run`] is polled.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            now_ms: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            watched: Mutex::new(Vec::new()),
            arrival: Notify::new(),
        })
    }

    /// A deadline for a new connection.
    pub(crate) fn watch(self: &Arc<Self>) -> Deadline {
        let cell = Arc::new(Cell { at_ms: AtomicU64::new(NEVER), waker: Mutex::new(None) });
        self.advance();
        lock(&self.watched).push(Arc::downgrade(&cell));
        self.arrival.notify_one();
        Deadline { clock: self.clone(), cell }
    }

    /// Whether connections should end after the request they are serving.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Tells every connection to end: idle ones at once, busy ones after their answer.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        for cell in lock(&self.watched).iter().filter_map(Weak::upgrade) {
            cell.wake();
        }
    }

    /// How many connections are watched.
    pub(crate) fn watched(&self) -> usize {
        lock(&self.watched).iter().filter(|cell| cell.strong_count() > 0).count()
    }

    /// Ticks for as long as it is polled; sleeps while there is no connection.
    #[expect(clippy::infinite_loop, reason = "it ends when it is no longer polled")]
    pub(crate) async fn run(&self, mut on_tick: impl FnMut()) {
        loop {
            self.advance();
            if self.wake_expired() == 0 {
                on_tick();
                self.arrival.notified().await;
                continue;
            }
            on_tick();
            tokio::time::sleep(TICK).await;
        }
    }

    /// Milliseconds since the clock was made, as of the last tick.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        let elapsed = Instant::now().saturating_duration_since(self.origin);
        self.now_ms.store(whole_ms(elapsed), Ordering::Relaxed);
    }

    /// Wakes whose time is up, forgets who is gone, and returns how many are left.
    fn wake_expired(&self) -> usize {
        let now = self.now_ms();
        let mut watched = lock(&self.watched);
        watched.retain(|weak| {
            let Some(cell) = weak.upgrade() else {
                return false;
            };
            if cell.at_ms.load(Ordering::Relaxed) <= now {
                cell.wake();
            }
            true
        });
        watched.len()
    }
}

impl Deadline {
    /// Runs `work`, but not for longer than `limit` (and up to two ticks).
    pub(crate) async fn limit<F: Future>(
        &self,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        self.run(limit, work, || false).await
    }

    /// As [`Deadline::limit`], and ends early when the worker drains.
    pub(crate) async fn limit_or_drain<F: Future>(
        &self,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, Elapsed> {
        self.run(limit, work, || self.clock.is_draining()).await
    }

    async fn run<F: Future>(
        &self,
        limit: Duration,
        work: F,
        ends_early: impl Fn() -> bool,
    ) -> Result<F::Output, Elapsed> {
        let at = self.start(limit);
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.clock.now_ms() >= at || ends_early() {
                return Poll::Ready(Err(Elapsed));
            }
            self.cell.park(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Another limit on the same clock, for work inside work.
    pub(crate) fn sibling(&self) -> Self {
        self.clock.watch()
    }

    /// The worker's clock.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// One tick is added, because the clock may stand up to a tick behind: never early.
    fn start(&self, limit: Duration) -> u64 {
        let at = self.clock.now_ms().saturating_add(whole_ms(limit + TICK));
        self.cell.at_ms.store(at, Ordering::Relaxed);
        at
    }
}

impl Cell {
    fn park(&self, waker: &Waker) {
        let mut slot = lock(&self.waker);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = lock(&self.waker).as_ref() {
            waker.wake_by_ref();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

const TICK: Duration = Duration::from_millis(100);
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_ends_a_silent_wait_and_is_never_early() {
        let clock = Clock::new();
        let ticker = clock.clone();
        tokio::spawn(async move { ticker.run(|| ()).await });
        let deadline = clock.watch();
        let started = Instant::now();
        let result = deadline.limit(Duration::from_secs(5), std::future::pending::<()>()).await;
        assert_eq!(result, Err(Elapsed));
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(5), "took {took:?}");
        assert!(took <= Duration::from_millis(5400), "took {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_an_idle_wait_at_once() {
        let clock = Clock::new();
        let deadline = clock.watch();
        let drainer = clock.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drainer.drain();
        });
        let idle = deadline.limit_or_drain(Duration::from_secs(75), std::future::pending::<()>());
        assert_eq!(idle.await, Err(Elapsed));
    }
}
