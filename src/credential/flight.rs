//! One flight for any number of passengers.
//!
//! A refresh spends the refresh token the moment it is sent, so the work runs in a task of its own:
//! whoever waits may leave, and it lands all the same. Its outcome, good or bad, is shared once;
//! the next caller after that starts anew.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// The runtime that carries the tasks nobody may cut short, and the count of those in the air.
#[derive(Clone, Debug)]
pub struct Flights {
    runtime: Handle,
    count: Arc<watch::Sender<usize>>,
}

/// One flight at a time.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    current: Mutex<Option<Landing<T>>>,
}

/// Holds the outcome once there is one; closed without one when the task died.
type Landing<T> = watch::Receiver<Option<T>>;

/// The task ended without an outcome: it panicked, or its runtime was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crashed;

impl Flights {
    /// Flights start on `runtime`, whichever runtime the caller is on.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, count: Arc::new(watch::Sender::new(0)) }
    }

    /// Runs `task` to its end, whatever becomes of the caller.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let seat = Seat::take(&self.count);
        // Not awaited: that is the point. A panic is seen by the channel that it closes.
        drop(self.runtime.spawn(async move {
            let _seat = seat;
            task.await;
        }));
    }

    /// Waits until nothing is in the air, at most `limit`. Says whether that came to be.
    pub async fn wait_idle(&self, limit: Duration) -> bool {
        let mut count = self.count.subscribe();
        let idle = async { count.wait_for(|count| *count == 0).await.is_ok() };
        tokio::time::timeout(limit, idle).await.unwrap_or(false)
    }
}

/// Counted while it lives, a panic included.
struct Seat(Arc<watch::Sender<usize>>);

impl Seat {
    fn take(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(Arc::clone(count))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { current: Mutex::new(None) }
    }

    /// Joins the flight in the air, or starts `task` as the next one, and waits for its outcome.
    /// A task that is not needed is dropped before it was ever run.
    pub(crate) async fn board(
        &self,
        flights: &Flights,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Crashed> {
        let mut landing = self.join(flights, task);
        let outcome = landing.wait_for(Option::is_some).await.map_err(|_closed| Crashed)?;
        outcome.clone().ok_or(Crashed)
    }

    /// Whether a flight is in the air.
    pub(crate) fn is_in_the_air(&self) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(in_the_air)
    }

    fn join(
        &self,
        flights: &Flights,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Landing<T> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = current.as_ref().filter(|landing| in_the_air(landing)) {
            return landing.clone();
        }
        let (sender, landing) = watch::channel(None);
        *current = Some(landing.clone());
        flights.spawn(async move {
            // The channel closes with the task, so a panic cannot leave anybody waiting.
            sender.send_replace(Some(task.await));
        });
        landing
    }
}

fn in_the_air<T>(landing: &Landing<T>) -> bool {
    landing.borrow().is_none() && landing.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    fn flights() -> Flights {
        Flights::new(Handle::current())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_callers_share_one_flight() {
        let (flights, flight) = (flights(), Arc::new(Flight::new()));
        let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let (flights, flight) = (flights.clone(), Arc::clone(&flight));
                let (runs, gate) = (Arc::clone(&runs), Arc::clone(&gate));
                tokio::spawn(async move {
                    let task = async move {
                        gate.notified().await;
                        runs.fetch_add(1, Ordering::SeqCst) + 1
                    };
                    flight.board(&flights, task).await
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        gate.notify_one();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(1));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_flight_lands_though_everybody_who_waited_has_left() {
        let (flights, flight) = (flights(), Flight::new());
        let landed = Arc::new(AtomicUsize::new(0));
        let task = {
            let landed = Arc::clone(&landed);
            async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                landed.fetch_add(1, Ordering::SeqCst);
            }
        };
        let left = tokio::time::timeout(Duration::from_millis(500), flight.board(&flights, task));
        left.await.unwrap_err();
        assert!(flight.is_in_the_air());
        assert!(!flights.wait_idle(Duration::from_secs(1)).await);
        assert!(flights.wait_idle(Duration::from_secs(10)).await);
        assert_eq!(landed.load(Ordering::SeqCst), 1);
        assert!(!flight.is_in_the_air());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_told_to_everybody_and_the_next_caller_starts_anew() {
        let (flights, flight) = (flights(), Flight::new());
        let crash = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            panic!("on purpose");
        };
        let both = tokio::join!(flight.board(&flights, crash()), flight.board(&flights, crash()));
        assert_eq!(both, (Err(Crashed), Err(Crashed)));
        assert_eq!(flight.board(&flights, async { 7 }).await, Ok(7));
        assert!(flights.wait_idle(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_once_and_not_kept() {
        let (flights, flight) = (flights(), Flight::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let fail = || {
            let runs = Arc::clone(&runs);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err::<(), _>(runs.fetch_add(1, Ordering::SeqCst))
            }
        };
        let both = tokio::join!(flight.board(&flights, fail()), flight.board(&flights, fail()));
        assert_eq!(both, (Ok(Err(0)), Ok(Err(0))));
        assert_eq!(flight.board(&flights, fail()).await, Ok(Err(1)));
    }
}
