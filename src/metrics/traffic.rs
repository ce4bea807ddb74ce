//! What the request path counts. Each worker and each portal has cells of its own, which are added
//! up when somebody asks for the page: at a request nothing is looked up, locked or allocated.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::clients::ClientTally;
use super::histogram::{Count, Histogram, Sum};
use super::words::{self, Guard, KINDS, NONE, Replay};

/// The numbers of all workers and portals.
#[derive(Debug, Default)]
pub struct Traffic {
    workers: Mutex<Vec<Arc<Tally>>>,
    portals: Mutex<BTreeMap<String, Listed>>,
    clients: Mutex<BTreeMap<String, Weak<ClientTally>>>,
}

/// What one worker counts; no other thread writes here.
#[derive(Debug, Default)]
pub struct Tally {
    duration: Histogram<DURATION_US>,
    overhead: Histogram<OVERHEAD_US>,
    queue_wait: Histogram<QUEUE_US>,
    replays: [Count; Replay::ALL.len()],
    rejected: [Count; Guard::ALL.len()],
    /// Answers to requests that were for no portal.
    unrouted: [Count; KINDS],
}

/// What is counted of one portal, by all workers.
#[derive(Debug)]
pub struct PortalTally {
    answers: [AtomicU64; KINDS],
    held: AtomicU64,
}

/// A call that is being held back, for as long as this lives.
#[derive(Debug)]
pub struct Held<'t>(&'t PortalTally);

/// Something that fills and drains by itself, so that it has to be asked.
pub trait Level: fmt::Debug + Send + Sync {
    /// How full it is now.
    fn level(&self) -> f64;
}

#[derive(Debug)]
struct Listed {
    tally: Weak<PortalTally>,
    level: Weak<dyn Level>,
}

impl Traffic {
    /// Cells for a new worker.
    pub fn worker(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        lock(&self.workers).push(tally.clone());
        tally
    }

    /// Cells for a portal. One that replaces another of its name goes on where that one stands;
    /// the numbers of one that is gone are gone with it.
    pub fn portal(&self, name: &str, level: Weak<dyn Level>) -> Arc<PortalTally> {
        let mut portals = lock(&self.portals);
        portals.retain(|_, listed| listed.tally.strong_count() > 0);
        let known = portals.get(name).and_then(|listed| listed.tally.upgrade());
        let tally = known.unwrap_or_default();
        let listed = Listed { tally: Arc::downgrade(&tally), level };
        portals.insert(name.to_owned(), listed);
        tally
    }

    /// Cells for a client; as with portals, they last as long as somebody holds them.
    pub fn client(&self, name: &str) -> Arc<ClientTally> {
        let mut clients = lock(&self.clients);
        clients.retain(|_, tally| tally.strong_count() > 0);
        let known = clients.get(name).and_then(Weak::upgrade);
        let tally = known.unwrap_or_default();
        clients.insert(name.to_owned(), Arc::downgrade(&tally));
        tally
    }
}

impl Tally {
    /// A request has been answered, and this is how long that took.
    pub fn took(&self, time: Duration) {
        self.duration.observe(time);
    }

    /// How much of it was the gateway's own work, until the portal's answer could go on.
    pub fn spent(&self, overhead: Duration) {
        self.overhead.observe(overhead);
    }

    /// How long a call was held back, if it was.
    pub fn waited(&self, time: Duration) {
        if !time.is_zero() {
            self.queue_wait.observe(time);
        }
    }

    /// A call is sent once more, or answered as another was.
    pub fn replayed(&self, reason: Replay) {
        if let Some(count) = self.replays.get(reason as usize) {
            count.add(1);
        }
    }

    /// A request was turned away.
    pub fn rejected(&self, guard: Guard) {
        if let Some(count) = self.rejected.get(guard as usize) {
            count.add(1);
        }
    }

    /// A request that was for no portal was answered.
    pub fn answered(&self, status: u16) {
        if let Some(count) = self.unrouted.get(words::place_of(status)) {
            count.add(1);
        }
    }
}

impl PortalTally {
    /// A call of nobody known was answered.
    pub fn answered(&self, status: u16) {
        if let Some(count) = self.answers.get(words::place_of(status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The client of a call, nobody known, has left before there was an answer.
    pub fn left(&self) {
        if let Some(count) = self.answers.get(NONE) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call is being held back.
    pub fn hold(&self) -> Held<'_> {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }
}

impl Default for PortalTally {
    fn default() -> Self {
        Self { answers: [const { AtomicU64::new(0) }; KINDS], held: AtomicU64::new(0) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = lock(&self.workers).clone();
        let portals: Vec<_> = lock(&self.portals)
            .iter()
            .filter_map(|(name, listed)| {
                let level = listed.level.upgrade().map_or(0.0, |level| level.level());
                Some((name.clone(), listed.tally.upgrade()?, level))
            })
            .collect();
        let named = |(name, tally): (&String, &Weak<_>)| Some((name.clone(), tally.upgrade()?));
        let clients: Vec<_> = lock(&self.clients).iter().filter_map(named).collect();
        encode_requests(&mut encoder, &workers, &portals, &clients)?;
        encode_workers(&mut encoder, &workers)?;
        encode_portals(&mut encoder, &portals)
    }
}

fn encode_requests(
    encoder: &mut DescriptorEncoder<'_>,
    workers: &[Arc<Tally>],
    portals: &[(String, Arc<PortalTally>, f64)],
    clients: &[(String, Arc<ClientTally>)],
) -> fmt::Result {
    let help = "Requests by portal, by client and by the status that the client got";
    let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    let mut line = |portal: &str, client: &str, place, value: u64| {
        if value == 0 {
            return Ok(());
        }
        let status = words::status_word(place);
        let labels = [("portal", portal), ("client", client), ("status", status.as_str())];
        count(&mut family, &labels, value)
    };
    for place in 0..KINDS {
        let unrouted = |tally: &Arc<Tally>| tally.unrouted.get(place).map_or(0, Count::get);
        line("", ANONYMOUS, place, workers.iter().map(unrouted).sum())?;
    }
    for (name, tally, _) in portals {
        for (place, value) in tally.answers.iter().enumerate() {
            line(name, ANONYMOUS, place, value.load(Ordering::Relaxed))?;
        }
    }
    for (name, tally) in clients {
        tally.each(&mut |portal, place, value| line(portal, name, place, value))?;
    }
    Ok(())
}

fn encode_workers(encoder: &mut DescriptorEncoder<'_>, workers: &[Arc<Tally>]) -> fmt::Result {
    let (mut duration, mut overhead, mut wait) = (Sum::default(), Sum::default(), Sum::default());
    for tally in workers {
        tally.duration.add_to(&mut duration);
        tally.overhead.add_to(&mut overhead);
        tally.queue_wait.add_to(&mut wait);
    }
    for (name, help, first_us, sum) in [
        ("request_duration", "Time of a request, to the end of its answer", DURATION_US, duration),
        ("overhead", "Time that the gateway adds before an answer", OVERHEAD_US, overhead),
        ("queue_wait", "Time that calls were held back, of those that were", QUEUE_US, wait),
    ] {
        let kind = MetricType::Histogram;
        let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        let buckets = sum.buckets(first_us);
        metric.encode_histogram::<NoLabelSet>(sum.seconds(), sum.count(), &buckets, None)?;
    }
    let total = |cells: fn(&Tally) -> &[Count], number: usize| {
        workers.iter().filter_map(|tally| cells(tally).get(number)).map(Count::get).sum()
    };
    let help = "Calls sent to the portal once more; with request_id, answered as another was";
    let mut family = encoder.encode_descriptor("replays", help, None, MetricType::Counter)?;
    for reason in Replay::ALL {
        let value = total(|tally| &tally.replays, reason as usize);
        count(&mut family, &[("reason", reason.as_str())], value)?;
    }
    let help = "Requests that the gateway turned away";
    let mut family = encoder.encode_descriptor("rejected", help, None, MetricType::Counter)?;
    for guard in Guard::ALL {
        let value = total(|tally| &tally.rejected, guard as usize);
        count(&mut family, &[("guard", guard.as_str())], value)?;
    }
    Ok(())
}

fn encode_portals(
    encoder: &mut DescriptorEncoder<'_>,
    portals: &[(String, Arc<PortalTally>, f64)],
) -> fmt::Result {
    let help = "Calls that are being held back";
    let mut family = encoder.encode_descriptor("queue_depth", help, None, MetricType::Gauge)?;
    for (name, tally, _) in portals {
        let held = tally.held.load(Ordering::Relaxed);
        family.encode_family(&[("portal", name.as_str())])?.encode_gauge(&held)?;
    }
    let help = "Requests in the portal's leaky bucket, of those that this gateway sent";
    let mut family = encoder.encode_descriptor("budget_level", help, None, MetricType::Gauge)?;
    for (name, _, level) in portals {
        family.encode_family(&[("portal", name.as_str())])?.encode_gauge(level)?;
    }
    Ok(())
}

fn count(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    let labels = labels.to_vec();
    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The label of clients that have no name.
const ANONYMOUS: &str = "anonymous";
/// A millisecond to a minute.
const DURATION_US: u64 = 1_000;
/// Ten microseconds to 0.6 s.
const OVERHEAD_US: u64 = 10;
/// A millisecond to a minute.
const QUEUE_US: u64 = 1_000;
